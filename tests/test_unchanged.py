"""A run over an unchanged library writes its rows of `_coreviz_runs` in one transaction, without a load package."""

from __future__ import annotations

import shutil
from pathlib import Path

import dlt
import pytest
from dlt.common.configuration.utils import get_resolved_traces
from dlt.destinations.job_client_impl import SqlJobClientBase

from coreviz_source.local_studio import Studio
from coreviz_source.warehouse.connection import Connection
from tests import hostile
from tests.scenario import assert_equal_to, frozen, media_of, run, run_sync
from tests.test_crash import killed
from tests.warehouse import load_ids, query, runs

MISSING = "00000000-0000-4000-8000-000000000000"
#: Columns of a run's row that differ between any two runs.
OF_A_RUN = {"run", "started_at", "requests"}


@pytest.fixture
def packages(monkeypatch) -> list[dlt.Pipeline]:
    """The pipelines of the packages that dlt has loaded."""
    loaded = []
    original = dlt.Pipeline.load
    monkeypatch.setattr(dlt.Pipeline, "load", lambda self, *a, **k: loaded.append(self) or original(self, *a, **k))
    return loaded


def loads(pipeline: dlt.Pipeline) -> list[tuple]:
    return query(pipeline, "SELECT load_id, schema_name, status, schema_version_hash FROM _dlt_loads ORDER BY load_id")


@pytest.mark.parametrize("kind", ["duckdb", "postgres"])
def test_an_unchanged_run_leaves_what_a_package_would_leave(kind, request, packages, monkeypatch):
    pipeline = request.getfixturevalue("pipeline" if kind == "duckdb" else "postgres")
    library = frozen(40, datasets=2)
    # a row with every kind of value: a list of unknown fields, a null, a message
    media_of(library)[0]["it's"] = 1
    with Studio(library) as studio:
        given = {"dataset_ids": [*library.datasets, MISSING], "reconcile_every": "0"}
        run_sync(pipeline, studio, **given)
        written = load_ids(pipeline)
        packages.clear()
        with monkeypatch.context() as patch:
            patch.setattr("coreviz_source.loading.load.write_runs", lambda *_: False)
            assert run_sync(pipeline, studio, **given).exit_code == 4
        assert len(packages) == 1
        assert run_sync(pipeline, studio, **given).exit_code == 4
        assert len(packages) == 1
        assert get_resolved_traces().all_traces == []
        _, packed, direct = ([r for r in runs(pipeline) if r["run"] == run] for run in order_of_runs(pipeline))
        assert [r["dataset_id"] for r in direct] == [r["dataset_id"] for r in packed]
        for before, after in zip(packed, direct, strict=True):
            assert {k: v for k, v in after.items() if k not in OF_A_RUN} == {
                k: v for k, v in before.items() if k not in OF_A_RUN
            }
        first, packed_load, direct_load = loads(pipeline)
        assert direct_load[1:] == packed_load[1:] == (first[1], 0, first[3])
        assert direct_load[0] > packed_load[0]
        unfinished = "SELECT _dlt_load_id FROM _coreviz_runs WHERE _dlt_load_id NOT IN (SELECT load_id FROM _dlt_loads)"
        assert query(pipeline, unfinished) == []
        assert load_ids(pipeline) == written
        # dlt continues, with the working directory and without it
        for lost in (False, True):
            library.add_caption(media_of(library, frames=1)[0]["id"], f"Late {lost}.")
            if lost:
                shutil.rmtree(pipeline.working_dir)
                pipeline = dlt.pipeline(
                    pipeline.pipeline_name,
                    destination=pipeline.destination,
                    dataset_name=pipeline.dataset_name,
                    pipelines_dir=pipeline.pipelines_dir,
                )
            report = run_sync(pipeline, studio)
            assert [d.outcome for d in report.datasets.values()] == ["window"] * 2, report.to_json()
            assert sum(d.changed for d in report.datasets.values()) == 1
            assert_equal_to(pipeline, studio)


def order_of_runs(pipeline: dlt.Pipeline) -> list[str]:
    return list(dict.fromkeys(row["run"] for row in runs(pipeline)))


def test_a_package_is_loaded_where_it_does_more_than_add_a_row(new_pipeline, packages):
    with Studio(frozen(20)) as studio:
        pipeline = new_pipeline()
        run_sync(pipeline, studio)
        for loaded, change in enumerate(
            (
                lambda pipeline: run(pipeline, studio),
                lambda pipeline: query(pipeline, "DROP TABLE organizations"),
                lambda pipeline: query(pipeline, "DROP TABLE _dlt_loads"),
                lambda pipeline: shutil.rmtree(pipeline.working_dir),
            ),
            start=2,
        ):
            change(pipeline)
            pipeline = new_pipeline()
            assert run_sync(pipeline, studio).exit_code == 0
            assert len(packages) == loaded
            assert run_sync(pipeline, studio).exit_code == 0
            assert len(packages) == loaded
        assert_equal_to(pipeline, studio)


def test_a_package_is_loaded_where_this_run_created_the_tables(pipeline, packages, monkeypatch):
    """Also where the server ends sessions, so that the connection knows the tables that this run has created."""
    monkeypatch.setenv("NORMALIZE__PARQUET_NORMALIZER__ADD_DLT_ID", "true")
    monkeypatch.setattr("coreviz_source.loading.packages.WAITING", 5)
    usual = Connection._open
    monkeypatch.setattr(Connection, "_open", lambda self: self.close() or usual(self))
    with Studio(frozen(20, datasets=2)) as studio:
        _, second = studio.library.datasets
        studio.before = lambda request: hostile.status(500)() if second in request.path else None
        assert run_sync(pipeline, studio).exit_code == 5
        assert [row["outcome"] for row in runs(pipeline)] == ["complete", "failed"]
        assert query(pipeline, "SELECT COUNT(*) FROM _coreviz_runs WHERE _dlt_id IS NULL") == [(0,)]
        assert len(packages) == 2


@pytest.mark.parametrize("kind", ["duckdb", "postgres"])
def test_an_unchanged_run_that_cannot_be_completed_leaves_nothing(kind, request, monkeypatch):
    pipeline = request.getfixturevalue("pipeline" if kind == "duckdb" else "postgres")
    with Studio(frozen(20)) as studio:
        run_sync(pipeline, studio)
        before = runs(pipeline), loads(pipeline)

        def broken(self, load_id):
            raise OSError("No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(SqlJobClientBase, "complete_load", broken)
            report = run_sync(pipeline, studio)
        assert report.exit_code == 7
        assert [d.exit_code for d in report.datasets.values()] == [7]
        assert (runs(pipeline), loads(pipeline)) == before
        assert run_sync(pipeline, studio).exit_code == 0
        assert len(runs(pipeline)) == len(loads(pipeline)) == 2


def test_an_unchanged_run_that_is_killed_leaves_nothing(pipeline, tmp_path: Path):
    with Studio(frozen(20)) as studio:
        run_sync(pipeline, studio, reconcile_every="0")
        before = runs(pipeline), loads(pipeline)
        killed(studio, tmp_path, "between a row and its completion", 0)
        assert (runs(pipeline), loads(pipeline)) == before
        assert pipeline.has_pending_data is False
        assert run_sync(pipeline, studio).exit_code == 0
        assert_equal_to(pipeline, studio)
