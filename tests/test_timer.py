"""A source on a schedule: `status` is right at every step, and the disk does not fill."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from random import Random

import pytest

from coreviz_source import sync
from coreviz_source.commands.status import Status, read_status
from coreviz_source.local_studio import Studio
from coreviz_source.report import DatasetReport
from coreviz_source.tables import CURRENT
from tests.scenario import arguments, assert_equal_to, first_sync, frozen, media_of, run_sync
from tests.test_crash import killed
from tests.warehouse import query


def status_of(pipeline, studio: Studio, **given) -> Status:
    return read_status(pipeline, studio.library.clock(), **arguments(studio, {"dataset_ids": None, **given}))


def files(pipeline) -> dict[str, int]:
    working = Path(pipeline.working_dir)
    return {str(p.relative_to(working)): p.stat().st_size for p in working.rglob("*") if p.is_file()}


def check(status: Status, pipeline, report: DatasetReport | None) -> None:
    """Compares the status with what the last run reported and with what the warehouse holds."""
    (found,) = status.datasets
    if report is None:
        assert (found.last_run, found.last_complete, found.rows) == (None, None, {})
        return
    assert (status.warnings, status.pending_packages, found.in_account) == ([], 0, True)
    assert (found.last_run, found.outcome) == (report.started_at, report.outcome)
    if report.outcome == "complete":
        assert found.last_complete == report.started_at
    names = {table.name for table in CURRENT} - {"_coreviz_runs", "organizations"}
    counts = " UNION ALL ".join(f"SELECT '{name}', count(*) FROM {name}" for name in names)
    assert {name: rows for name, rows in query(pipeline, counts) if rows} == found.rows
    bare = "SELECT count(*), count(*) FILTER (WHERE id NOT IN (SELECT media_id FROM captions)) FROM media"
    assert query(pipeline, bare) == [(found.media, found.without_caption)]


def test_many_syncs_of_a_changing_library_one_killed_end_equal_to_the_truth_and_fill_no_disk(new_pipeline, tmp_path):
    random = Random(30)
    library = frozen(30)
    (dataset,) = library.datasets
    moment = random.choice(["before normalize", "before load", "before completion"])
    victim = random.randrange(4, 10)
    report = None
    on_disk = []
    with Studio(library) as studio:
        for step in range(14):
            pipeline = new_pipeline()
            library.advance(hours=3)
            for _ in range(random.choice((0, 1, 3, 6))):
                library.mutate(random)
            status = status_of(pipeline, studio)
            expected = status.datasets[0].next_run
            if step == victim + 1:
                assert status.pending_packages == 1
                assert expected == "lists everything, because a run was interrupted"
                assert "interrupted" in " ".join(status.warnings)
            else:
                check(status, pipeline, report)
            if step == victim:
                killed(studio, tmp_path, moment, 0)
                continue
            # what changes while the run reads the pages
            studio.before = lambda request: None if request.number % 7 else library.mutate(random) and None
            report = run_sync(pipeline, studio, dataset_ids=None, page_size=15).datasets[dataset]
            studio.before = None
            assert report.exit_code == 0, report.message
            on_disk.append(files(pipeline))
            mode = "lists everything" if report.outcome == "complete" else "lists media created since"
            assert expected.startswith(mode)
        assert run_sync(pipeline, studio).exit_code == 0
        assert_equal_to(pipeline, studio)
    # neither the disk nor the staging dataset has grown
    assert set(on_disk[-1]) == set(on_disk[1])
    assert sum(on_disk[-1].values()) < 1.1 * sum(on_disk[1].values())
    for name in ("media", "frames", "captions"):
        assert query(pipeline, f"SELECT count(*) FROM coreviz_staging.{name}") == [(0,)], name


def test_an_extract_that_failed_leaves_nothing_behind(pipeline, monkeypatch):
    monkeypatch.setattr("coreviz_source.loading.packages.WAITING", 20)
    monkeypatch.setattr("coreviz_source.mirror.BATCH", 10)
    library = frozen(100)
    with Studio(library) as studio:
        run_sync(pipeline, studio)
        run_sync(pipeline, studio)
        before = files(pipeline)
        for item in media_of(library, frames=1):
            library.add_caption(item["id"], "Extracted, then the brake is pulled.")
        for item in media_of(library)[:40]:
            library.delete(item["id"])
        assert run_sync(pipeline, studio, reconcile_every="0").exit_code == 6
    assert set(files(pipeline)) == set(before)


def test_status_warns_of_a_dataset_that_left_the_account_and_keeps_its_rows(pipeline):
    library = frozen(20, datasets=2)
    kept, left = library.datasets
    with Studio(library) as studio:
        assert [d.next_run for d in status_of(pipeline, studio).datasets] == [
            "lists everything, because no complete listing was ever finished"
        ] * 2
        assert not Path(str(pipeline.working_dir)).parents[1].joinpath("library.duckdb").exists()
        first_sync(pipeline, studio)
        library.remove_dataset(left)
        assert run_sync(pipeline, studio, dataset_ids=None).exit_code == 0
        status = status_of(pipeline, studio)
        found = {d.dataset_id: d for d in status.datasets}
        assert (found[kept].in_account, found[left].in_account) == (True, False)
        assert found[left].next_run == "nothing: the account does not list it"
        assert found[left].media == 10
        (warning,) = status.warnings
        assert f"forget --dataset-ids {left}" in warning
        named = {d.dataset_id: d.next_run for d in status_of(pipeline, studio, dataset_ids=[kept]).datasets}
        assert named[left] == "nothing: dataset_ids does not name it"
        assert status_of(pipeline, studio, max_media=5).datasets[0].next_run == "lists at most 5 media items"
        keyless = status_of(pipeline, studio, api_key=None)
        assert "no key" in keyless.account
        address = studio.url
    offline = read_status(pipeline, base_url=address, api_key="any", reconcile_every=timedelta(days=10**4))
    assert "The connection was refused" in offline.account
    assert [(d.in_account, d.media) for d in offline.datasets] == [(None, 10)] * 2
    assert {d.name for d in offline.datasets} == {d.name for d in keyless.datasets} != {None}
    assert sync(pipeline, base_url=address, api_key=None).exit_code == 3


@pytest.mark.parametrize("outcome", ["failed", "unproven"])
def test_status_reports_a_run_that_did_not_succeed(pipeline, outcome):
    library = frozen(20)
    with Studio(library) as studio:
        first_sync(pipeline, studio)
        if outcome == "failed":
            for item in media_of(library):
                library.delete(item["id"])
        else:
            studio.after = lambda _, answer: {**answer, "pagination": {**answer["pagination"], "total": 10**6}}
        assert run_sync(pipeline, studio, reconcile_every="0").exit_code == 6
        status = status_of(pipeline, studio)
    assert status.datasets[0].outcome == outcome
    assert status.datasets[0].message
    assert len(status.warnings) == 1
