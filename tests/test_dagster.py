"""The Dagster assets: as declared, in one process on DuckDB, and with a process for each step on Postgres."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import dagster as dg
import dlt
import pytest
import yaml
from dagster._core.execution.plan import instance_concurrency_context
from dagster._core.execution.plan.active import ActiveExecution

from coreviz_source.local_studio import Library, Studio
from coreviz_source.local_studio.library import NEWEST
from coreviz_source.tables import CURRENT, GONE
from coreviz_source.warehouse.destination import prepare
from pipelines import dagster_definitions as deployed
from tests.docs import ROOT, blocks
from tests.postgres import Postgres
from tests.scenario import assert_equal_to, frozen, media_of, run_sync
from tests.warehouse import assert_equal, assert_mirror, query, read

NAMES = ("datasets", "folders", "media", "frames", "captions", "objects", "media_tags", "moderation_categories")
#: So many partitions run in processes, and so many of them may ask the API at once.
PARTITIONS, AT_ONCE = 12, 3


def sync_job() -> dg.JobDefinition:
    """For the processes of the steps: they import this by its name."""
    return deployed.definitions.resolve_job_def("coreviz_sync")


@pytest.fixture
def instance(tmp_path, monkeypatch) -> Iterator[dg.DagsterInstance]:
    monkeypatch.setenv("DAGSTER_DISABLE_TELEMETRY", "1")
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    with dg.DagsterInstance.local_temp(str(tmp_path)) as made:
        yield made


def point_to(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCES__COREVIZ__BASE_URL", studio.url)
    monkeypatch.setenv("SOURCES__COREVIZ__API_KEY", studio.key)
    monkeypatch.setenv("SOURCES__COREVIZ__PAGE_SIZE", "20")


@pytest.fixture
def duckdb_file(tmp_path) -> deployed.Warehouse:
    return deployed.Warehouse(destination="duckdb", duckdb_file=str(tmp_path / "library.duckdb"))


def add_datasets(instance: dg.DagsterInstance, library: Library) -> None:
    instance.add_dynamic_partitions(deployed.DATASETS.name, list(library.datasets))


def materialize(
    what: Any, instance: dg.DagsterInstance, warehouse: deployed.Warehouse, key: str, **more: Any
) -> dg.ExecuteInProcessResult:
    return dg.materialize(
        [what], instance=instance, resources={"warehouse": warehouse}, partition_key=key, raise_on_error=False, **more
    )


def test_every_table_is_an_asset_with_its_columns_types_descriptions_and_references():
    dg.Definitions.validate_loadable(deployed.definitions)
    specs = {spec.key.path[-1]: spec for spec in deployed.definitions.resolve_all_asset_specs()}
    assert specs.keys() == {"slices", *(table.name for table in CURRENT)}
    for table in CURRENT:
        spec = specs[table.name]
        schema = spec.metadata["dagster/column_schema"]
        assert spec.description == table.description
        assert [(c.name, c.description, c.constraints.nullable) for c in schema.columns] == [
            (c.name, c.description, c.nullable) for c in table.columns if c.name != GONE
        ]
        references = {c.references for c in table.columns if c.references} - {table.name}
        assert {dep.asset_key.path[-1] for dep in spec.deps} == (references or {"slices"})
    types = {c.name: c.type for c in specs["media"].metadata["dagster/column_schema"].columns}
    assert [types[name] for name in ("id", "duration", "exif", "created_at")] == ["text", "double", "json", "timestamp"]


def test_a_sensor_makes_a_partition_for_each_dataset_and_the_schedule_runs_each(instance, monkeypatch):
    library = frozen(24, datasets=3)
    with Studio(library) as studio:
        point_to(studio, monkeypatch)
        found = deployed.new_datasets(dg.build_sensor_context(instance=instance))
        (request,) = found.dynamic_partitions_requests
        assert sorted(request.partition_keys) == sorted(library.datasets)
        add_datasets(instance, library)
        assert isinstance(deployed.new_datasets(dg.build_sensor_context(instance=instance)), dg.SkipReason)
    now = datetime(2026, 2, 1, 5, tzinfo=timezone.utc)
    requests = list(deployed.hourly(dg.build_schedule_context(instance=instance, scheduled_execution_time=now)))
    assert sorted(r.partition_key for r in requests) == sorted(library.datasets)
    assert len({r.run_key for r in requests}) == 3


def test_slices_by_month_and_then_a_run_that_compares_all_end_equal_to_the_truth(
    instance, duckdb_file, pipeline, monkeypatch
):
    library = Library.generate(40, 1, every=3 * 86400)
    library.clock = lambda: NEWEST
    library.advance(hours=1)
    (dataset,) = library.datasets
    add_datasets(instance, library)
    months = sorted({item["createdAt"][:7] for item in media_of(library)})
    assert len(months) == 4
    with Studio(library) as studio:
        point_to(studio, monkeypatch)
        # the newest month is not sliced: what slices leave out is what the last run has to find
        for month in months[:-1]:
            key = str(dg.MultiPartitionKey({"dataset": dataset, "month": f"{month}-01"}))
            done = materialize(deployed.slices, instance, duckdb_file, key)
            assert done.success
            assert {m[:7] for m in created(pipeline)} == set(months[: months.index(month) + 1])
            (event,) = done.get_asset_materialization_events()
            assert event.materialization.metadata["outcome"].value == "slice"
        library.delete(media_of(library)[-1]["id"])
        library.add_caption(media_of(library, frames=1)[-1]["id"], "Late.")
        done = materialize(deployed.tables, instance, duckdb_file, dataset)
        assert done.success
        assert_equal_to(pipeline, studio)
    shown = {e.asset_key.path[-1]: e.materialization.metadata for e in done.get_asset_materialization_events()}
    for table in CURRENT:
        ((rows,),) = query(pipeline, f"SELECT count(*) FROM {table.name}")
        assert shown[table.name]["dagster/partition_row_count"].value == rows, table.name
    newest = sum(item["createdAt"][:7] == months[-1] for item in media_of(library))
    assert shown["media"]["rows_written"].value == newest + 2
    assert (shown["_coreviz_runs"]["gone"].value, shown["_coreviz_runs"]["outcome"].value) == (1, "complete")


def created(pipeline: dlt.Pipeline) -> list[str]:
    return [row["created_at"].isoformat() for row in read(pipeline, "media")["media"]]


def test_a_dataset_that_fails_fails_its_partition_with_the_reports_message_and_is_not_tried_in_vain(
    instance, duckdb_file, pipeline, monkeypatch
):
    library = frozen(20)
    missing = "00000000-0000-4000-8000-000000000000"
    instance.add_dynamic_partitions(deployed.DATASETS.name, [missing, *library.datasets])
    with Studio(library) as studio:
        point_to(studio, monkeypatch)
        assert materialize(deployed.tables, instance, duckdb_file, *library.datasets).success
        done = materialize(deployed.tables, instance, duckdb_file, missing)
        assert not done.success
        (failure,) = [e for e in done.all_events if e.event_type == dg.DagsterEventType.STEP_FAILURE]
        said = failure.step_failure_data.user_failure_data
        assert missing in said.description
        assert "Check the id in `dataset_ids`" in said.description
        assert said.metadata["exit_code"].value == 4
        assert not [e for e in done.all_events if e.event_type == dg.DagsterEventType.STEP_UP_FOR_RETRY]
        assert_mirror(pipeline, {dataset: studio.snapshot(dataset) for dataset in library.datasets})


def test_the_freshness_check_fails_for_old_and_for_missing_datasets_only(instance, duckdb_file, monkeypatch):
    library = frozen(20, datasets=2)
    first, second = library.datasets
    add_datasets(instance, library)

    def check() -> Any:
        job = deployed.definitions.resolve_job_def("coreviz_freshness")
        done = job.execute_in_process(instance=instance, resources={"warehouse": duckdb_file})
        (evaluation,) = done.get_asset_check_evaluations()
        return evaluation

    with Studio(library) as studio:
        point_to(studio, monkeypatch)
        library.clock = lambda: datetime.now(timezone.utc)
        assert materialize(deployed.tables, instance, duckdb_file, first).success
        assert (check().passed, check().metadata["old"].value) == (False, {second: "never"})
        assert materialize(deployed.tables, instance, duckdb_file, second).success
        assert check().passed
        monkeypatch.setattr(deployed, "MAX_AGE", -deployed.MAX_AGE)
        assert set(check().metadata["old"].value) == {first, second}
        assert not check().passed


def test_all_partitions_of_a_lake_are_in_one_lake_whatever_their_pipelines_are_called(instance, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    library = frozen(20, datasets=2)
    lake = deployed.Warehouse(destination="ducklake")
    add_datasets(instance, library)
    with Studio(library) as studio:
        point_to(studio, monkeypatch)
        for dataset in library.datasets:
            assert materialize(deployed.tables, instance, lake, dataset).success
        seen = lake.pipeline("seen")
        prepare(seen)
        assert_equal_to(seen, studio)
    job = deployed.definitions.resolve_job_def("coreviz_freshness")
    done = job.execute_in_process(instance=instance, resources={"warehouse": lake})
    (evaluation,) = done.get_asset_check_evaluations()
    # the library's clock stands still, so all listings are old; but none is missing
    assert set(evaluation.metadata["old"].value) == set(library.datasets)
    assert "never" not in evaluation.description
    assert [path.name for path in tmp_path.glob("*.sqlite")] == ["coreviz_library.ducklake.sqlite"]


def wait_for_a_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    """dagster looks for a slot in a loop without a pause, and asks for one less and less often, at last every 15 s."""
    ask = ActiveExecution.get_steps_to_execute

    def then_wait(self: ActiveExecution, limit: int | None = None) -> Any:
        steps = ask(self, limit)
        if not steps and not self.has_in_flight_steps and not self.is_complete:
            time.sleep(0.1)
        return steps

    monkeypatch.setattr(ActiveExecution, "get_steps_to_execute", then_wait)
    monkeypatch.setattr(instance_concurrency_context, "MAX_CONCURRENCY_CLAIM_BLOCKED_INTERVAL", 0.5)


def test_twelve_partitions_at_once_in_processes_end_equal_to_one_run_and_to_the_truth(instance, tmp_path, monkeypatch):
    library = frozen(60, datasets=PARTITIONS)
    add_datasets(instance, library)
    wait_for_a_slot(monkeypatch)
    instance.event_log_storage.set_concurrency_slots(deployed.API_POOL, AT_ONCE)
    forkserver = {
        "start_method": {"forkserver": {"preload_modules": ["tests.test_dagster", "adbc_driver_postgresql.dbapi"]}}
    }
    with Postgres() as postgres, Studio(library) as studio:
        point_to(studio, monkeypatch)
        monkeypatch.setenv("DESTINATION__POSTGRES__CREDENTIALS", postgres.url)
        monkeypatch.setenv("PYTHONPATH", str(ROOT))

        def partition(key: str) -> tuple[bool, str]:
            with dg.execute_job(
                dg.reconstructable(sync_job),
                instance,
                run_config={"execution": {"config": {"multiprocess": forkserver}}},
                tags={"dagster/partition": key},
            ) as done:
                return done.success, done.run_id

        with ThreadPoolExecutor(PARTITIONS) as threads:
            done = list(threads.map(partition, library.datasets))
        assert [success for success, _ in done] == [True] * PARTITIONS
        warehouse = deployed.Warehouse().pipeline("seen")
        assert_equal_to(warehouse, studio)
        alone = dlt.pipeline("coreviz_alone", destination="postgres", dataset_name="alone")
        assert run_sync(alone, studio).exit_code == 0
        assert_equal(read(warehouse, *NAMES), read(alone, *NAMES))
        assert query(warehouse, "SELECT count(*), count(DISTINCT dataset_id) FROM _coreviz_runs") == [
            (PARTITIONS, PARTITIONS)
        ]
    steps = [instance.get_run_step_stats(run_id)[0] for _, run_id in done]
    assert most_at_once([(s.start_time, s.end_time) for s in steps]) <= AT_ONCE
    assert len({pid for _, run_id in done for pid in processes(instance, run_id)}) == PARTITIONS


def most_at_once(spans: list[tuple[float, float]]) -> int:
    return max(sum(start <= moment < end for start, end in spans) for moment, _ in spans)


def processes(instance: dg.DagsterInstance, run_id: str) -> set[int]:
    """The processes in which a run's steps ran."""
    found = {
        record.event_log_entry.dagster_event.pid
        for record in instance.get_records_for_run(run_id).records
        if record.event_log_entry.dagster_event
        and record.event_log_entry.dagster_event.event_type == dg.DagsterEventType.STEP_START
    }
    return found - {os.getpid()}


def test_the_documents_settings_are_taken_by_dagster_and_its_values_parse(tmp_path, monkeypatch):
    settings, values = blocks(ROOT / "docs" / "dagster.md", "yaml")
    (tmp_path / "dagster.yaml").write_text(settings)
    with dg.DagsterInstance.from_config(str(tmp_path)) as configured:
        assert configured.get_concurrency_config().pool_config.default_pool_limit == 4
        assert configured.python_log_level == "WARNING"
    (deployment,) = yaml.safe_load(values)["dagster-user-deployments"]["deployments"]
    assert (ROOT / Path(deployment["dagsterApiGrpcArgs"][1]).relative_to("/app")).exists()
