"""Packages, destinations and steps of a dlt user: what is loaded is what was compared, or nothing is loaded."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dlt
import pytest

from coreviz_source.errors import ConfigurationError, find
from coreviz_source.local_studio import Studio
from tests.scenario import assert_equal_to, frozen, media_of, pipeline_in, run
from tests.test_dlt_switches import source, warehouse  # noqa: F401
from tests.warehouse import read


def refused(attempt: Callable[[], Any], word: str) -> None:
    with pytest.raises(Exception) as raised:
        attempt()
    error = find(raised.value)
    assert isinstance(error, ConfigurationError) and word in str(error), raised.value


def test_destinations_named_in_turn_by_run_are_each_a_mirror(tmp_path: Path, server: Any) -> None:
    library = frozen(20)
    pipeline = dlt.pipeline("coreviz_turns", dataset_name="turns", pipelines_dir=str(tmp_path / "pipelines"))
    file = dlt.destinations.duckdb(str(tmp_path / "one.duckdb"))
    other = dlt.destinations.duckdb(str(tmp_path / "two.duckdb"))
    postgres = dlt.destinations.postgres(server.url)
    with Studio(library) as studio:
        for destination in (file, other, postgres, file, postgres):
            pipeline.run(source(studio, reconcile_every="0"), destination=destination)
            assert_equal_to(pipeline, studio)
            library.delete(media_of(library)[0]["id"])


def test_two_sources_in_one_run_are_refused_before_anything_is_written(warehouse):  # noqa: F811
    library = frozen(30)
    with Studio(library) as studio:
        for _ in range(2):
            refused(lambda: warehouse.run([source(studio), source(studio)]), "dataset_ids")
            run(warehouse, studio, reconcile_every="0")
            assert_equal_to(warehouse, studio)
            library.add_media(next(iter(library.datasets)))


@pytest.mark.parametrize("normalized", [True, False])
def test_nothing_is_compared_while_rows_wait_to_be_loaded(warehouse, normalized):  # noqa: F811
    library = frozen(30)
    with Studio(library) as studio:
        warehouse.extract(source(studio))
        if normalized:
            warehouse.normalize()
        refused(lambda: warehouse.extract(source(studio)), "`load`")
        warehouse.normalize()
        warehouse.load()
        assert_equal_to(warehouse, studio)
        run(warehouse, studio, reconcile_every="0")
        assert_equal_to(warehouse, studio)


@pytest.mark.parametrize("place", ["here", "in another process"])
def test_a_package_without_all_media_is_not_loaded_step_by_step_either(warehouse, place):  # noqa: F811
    with Studio(frozen(30)) as studio:
        filtered = source(studio)
        filtered.resources["media"].add_filter(lambda row: row["type"] == "image")
        warehouse.extract(filtered)
        pipeline = warehouse
        if place != "here":
            pipeline = dlt.attach(
                warehouse.pipeline_name,
                warehouse.pipelines_dir,
                destination=warehouse.destination,
                dataset_name=warehouse.dataset_name,
            )
        pipeline.normalize()
        refused(pipeline.load, "step")
        run(warehouse, studio, reconcile_every="0")
        assert_equal_to(warehouse, studio)


def hashed(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "name": hashlib.sha256(str(row["name"]).encode()).hexdigest()}


def test_a_softly_deleted_row_keeps_the_values_that_a_step_gave_it(warehouse):  # noqa: F811
    library = frozen(20)
    with Studio(library) as studio:

        def load() -> dict[str, str]:
            masked = source(studio, deletes="soft", reconcile_every="0")
            masked.resources["media"].add_map(hashed)
            warehouse.run(masked)
            return {row["id"]: row["name"] for row in read(warehouse, "media")["media"]}

        names = load()
        library.delete(media_of(library)[2]["id"])
        assert load() == names
        assert load() == names


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda source: source.resources["captions"].apply_hints(table_name=lambda row: row["text"]), "view"),
        (lambda source: source.resources["captions"].add_map(lambda row: row, insert_at=0), "insert_at"),
        (lambda source: source.resources["media"].add_filter(lambda row: False, insert_at=2), "insert_at"),
        (
            lambda source: source.resources["captions"].apply_hints(incremental=dlt.sources.incremental("created_at")),
            "lookback",
        ),
        (
            lambda source: source.resources.add(
                dlt.transformer(lambda row: row, data_from=source.resources["media"], name="mine")
            ),
            "add_yield_map",
        ),
    ],
    ids=[
        "names by row",
        "a step before the rows",
        "a step behind the check",
        "an incremental",
        "another resource's parent",
    ],
)
def test_what_would_get_no_rows_is_refused_before_a_request(pipeline, change, word):
    with Studio(frozen(20)) as studio:
        changed = source(studio)
        change(changed)
        refused(lambda: pipeline.run(changed), word)
        assert not studio.requests
        run(pipeline, studio)
        assert_equal_to(pipeline, studio)


@pytest.mark.parametrize(
    ("table", "values"),
    [
        ("media", {"created_at": None}),
        ("captions", {"_coreviz_gone": True}),
        ("captions", {"_dlt_load_id": "mine"}),
        ("_coreviz_runs", {"outcome": "complete "}),
    ],
)
def test_a_step_keeps_the_columns_that_later_runs_compare_with(pipeline, table, values):
    with Studio(frozen(20)) as studio:
        changed = source(studio)
        changed.resources[table].add_map(lambda row: {**row, **values})
        refused(lambda: pipeline.run(changed), next(iter(values)) if table == "media" else "step on")
        run(pipeline, studio)
        assert_equal_to(pipeline, studio)


def test_a_dataset_per_schema_is_refused_where_it_is_not_the_one_that_was_compared(tmp_path, monkeypatch):
    monkeypatch.setenv("USE_SINGLE_DATASET", "false")
    with Studio(frozen(20)) as studio:
        alone = pipeline_in(tmp_path)
        run(alone, studio)
        run(alone, studio, reconcile_every="0")
        assert_equal_to(alone, studio)
        shared = pipeline_in(tmp_path, "others", "others.duckdb")
        shared.run([{"id": 1}], table_name="others")
        before = len(studio.requests)
        refused(lambda: run(shared, studio), "dataset_name")
        assert len(studio.requests) == before
        monkeypatch.setenv("USE_SINGLE_DATASET", "true")
        again = pipeline_in(tmp_path, "others", "others.duckdb")
        run(again, studio)
        assert_equal_to(again, studio)


@pytest.mark.parametrize("prefix", ["", "COREVIZ_TEST__NORMALIZE__", "NORMALIZE__"])
def test_numbered_rows_are_loaded_wherever_dlt_is_told_to_number_them(pipeline, monkeypatch, prefix):
    monkeypatch.setenv(f"{prefix}PARQUET_NORMALIZER__ADD_DLT_ID", "true")
    with Studio(frozen(20)) as studio:
        run(pipeline, studio)
        run(pipeline, studio, reconcile_every="0")
        assert_equal_to(pipeline, studio)
