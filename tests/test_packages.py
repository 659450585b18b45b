"""How batches are distributed over load packages, and what is reported meanwhile: in memory, without a warehouse."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pyarrow as pa
import pytest

from coreviz_source.errors import ApiUnavailableError, DestinationError
from coreviz_source.loading import packages
from coreviz_source.loading.packages import Packages
from coreviz_source.report import DatasetReport, Progress
from coreviz_source.run import Batch


class Warehouse:
    """Takes packages, and notes the media of each; from package `broken` on, it refuses them."""

    def __init__(self, broken: int = 99) -> None:
        self.loaded: list[int] = []
        self.broken = broken

    def load(self, batches: Iterable[Batch]) -> None:
        media = sum(batch.media for batch in batches)
        if len(self.loaded) >= self.broken:
            raise DestinationError("The disk is full.")
        self.loaded.append(media)


def dataset(name: str, *sizes: int, error: Exception | None = None) -> Iterator[Batch]:
    """The batches of a dataset, each of so many media items."""
    rows = {"media": pa.table({"id": ["x"]})}
    for media in sizes:
        yield Batch(rows, media, Progress(name))
    if error is not None:
        raise error
    report = DatasetReport(name, phase="listed", outcome="complete", rows={"media": sum(sizes)})
    yield Batch(rows, 0, Progress(name, phase="listed", rows=sum(sizes), report=report))


@pytest.fixture
def events(monkeypatch) -> list[tuple[str, str]]:
    monkeypatch.setattr(packages, "WAITING", 10)
    monkeypatch.setattr(packages, "CHECKPOINT", 20)
    return []


def packages_of(warehouse: Warehouse, events: list[tuple[str, str]]) -> Packages:
    return Packages(warehouse.load, lambda event: events.append((event.dataset_id, event.phase)), 2**20)


def test_small_datasets_wait_and_are_loaded_together(events):
    warehouse = Warehouse()
    found = packages_of(warehouse, events)
    found.add_dataset(dataset("a", 3), in_checkpoints=True)
    found.add_dataset(dataset("b", 4), in_checkpoints=True)
    assert found.reports == []
    found.finish(even_if_empty=False)
    assert warehouse.loaded == [7]
    assert events == [(name, phase) for phase in ("listed", "loading", "done") for name in "ab"]
    assert [(report.phase, report.outcome) for report in found.reports] == [("done", "complete")] * 2


@pytest.mark.parametrize(("in_checkpoints", "loaded"), [(True, [3, 20, 20, 5]), (False, [3, 45])])
def test_a_large_dataset_is_loaded_alone_and_in_checkpoints_only_if_it_is_the_first_load(
    events, in_checkpoints, loaded
):
    warehouse = Warehouse()
    found = packages_of(warehouse, events)
    found.add_dataset(dataset("small", 3), in_checkpoints=True)
    found.add_dataset(dataset("large", *[5] * 9), in_checkpoints=in_checkpoints)
    assert warehouse.loaded == loaded
    assert [report.dataset_id for report in found.reports] == ["small", "large"]


def test_a_dataset_that_fails_takes_none_of_its_package_with_it_and_none_of_the_others_down(events):
    warehouse = Warehouse()
    found = packages_of(warehouse, events)
    found.add_dataset(dataset("a", 3), in_checkpoints=True)
    error = ApiUnavailableError()
    with pytest.raises(ApiUnavailableError):
        found.add_dataset(dataset("b", 4, error=error), in_checkpoints=True)
    report = DatasetReport("b", phase=found.phase_of("b")).failed(error)
    found.fail(Batch({}, 0, Progress("b", phase="failed", report=report)))
    found.finish(even_if_empty=False)
    assert warehouse.loaded == [3]
    assert {r.dataset_id: (r.phase, r.exit_code) for r in found.reports} == {"a": ("done", 0), "b": ("listing", 5)}


def test_when_the_warehouse_fails_what_was_not_loaded_has_failed_with_it_and_what_was_loaded_has_not(events):
    warehouse = Warehouse(broken=1)
    found = packages_of(warehouse, events)
    found.add_dataset(dataset("loaded", 30), in_checkpoints=False)
    found.add_dataset(dataset("waits", 3), in_checkpoints=True)
    with pytest.raises(DestinationError) as failure:
        found.finish(even_if_empty=False)
    found.abandon(failure.value)
    loaded, waits = found.reports
    assert (loaded.phase, loaded.exit_code, loaded.rows) == ("done", 0, {"media": 30})
    assert (waits.phase, waits.outcome, waits.exit_code, waits.rows) == ("loading", "failed", 7, {})
    assert events[-2:] == [("waits", "loading"), ("waits", "failed")]


def test_a_run_with_nothing_to_load_loads_a_package_only_to_create_the_tables(events):
    warehouse = Warehouse()
    found = packages_of(warehouse, events)
    found.finish(even_if_empty=False)
    assert warehouse.loaded == []
    found.finish(even_if_empty=True)
    assert warehouse.loaded == [0]
