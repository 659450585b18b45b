"""The mirror as Dagster assets: `dagster dev -f pipelines/dagster_definitions.py`; see docs/dagster.md.

Every table is an asset, partitioned by dataset. A huge dataset can be loaded first in slices, a month of creation
each, on as many machines as there are; the tables' own run then compares it whole. Each run calls `sync()` and not
the dagster-dlt integration, which wraps `pipeline.run`: what an interrupted run left would be loaded instead of the
run, and neither checkpoints nor the report with its exit code would be there.
"""

import os
import re
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import dagster as dg
import dlt
from dlt.destinations.impl.ducklake.configuration import DuckLakeCredentials

from coreviz_source import sync
from coreviz_source.api.studio import CorevizClient
from coreviz_source.loading.configuration import resolve
from coreviz_source.tables import CURRENT, GONE, RUNS, Column, Table
from coreviz_source.values import canonical_id
from coreviz_source.warehouse.connection import Connection
from coreviz_source.warehouse.state import LastRuns, StoredState

#: Everything that sends requests to the API is in this pool; its limit is the number of processes that do so at once.
API_POOL = "coreviz_api"
#: A dataset is not fresh if its last complete listing began longer ago.
MAX_AGE = timedelta(days=2)

DATASETS = dg.DynamicPartitionsDefinition(name="coreviz_datasets")
MONTHS = dg.MonthlyPartitionsDefinition(
    start_date=os.environ.get("COREVIZ_BACKFILL_FROM", "2024-01-01"), end_offset=1, timezone="UTC"
)
#: An unavailable API or warehouse comes back; a wrong setting stays wrong.
RETRIES = dg.RetryPolicy(max_retries=2, delay=60, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.PLUS_MINUS)
RETRIED = (1, 5, 7)


class Warehouse(dg.ConfigurableResource):
    """Where the tables are; credentials come from dlt's own configuration."""

    destination: str = "postgres"
    dataset_name: str = "coreviz"
    duckdb_file: str = "coreviz_library.duckdb"
    lake: str = "coreviz_library.ducklake"

    def pipeline(self, name: str) -> dlt.Pipeline:
        """A pipeline with a working directory of its own: no two partitions share load packages."""
        name = re.sub(r"[^A-Za-z0-9]", "_", f"coreviz_{name}")
        return dlt.pipeline(name, destination=self._destination(), dataset_name=self.dataset_name)

    def _destination(self) -> Any:
        # whole paths: dlt remembers for each pipeline the folder in which it first ran
        if self.destination == "duckdb":
            return dlt.destinations.duckdb(os.path.abspath(self.duckdb_file))
        # by default each pipeline would have a lake of its own
        if self.destination == "ducklake" and not dlt.secrets.get("destination.ducklake.credentials.catalog"):
            lake = os.path.abspath(self.lake)
            return dlt.destinations.ducklake(
                DuckLakeCredentials(catalog=f"sqlite:///{lake}.sqlite", storage=f"{lake}.files")
            )
        return self.destination


class Again(dg.Config):
    """What an operator may set for one run in the launchpad."""

    resync: bool = False
    max_deletes: float | None = None


def _key(table: str) -> dg.AssetKey:
    return dg.AssetKey(["coreviz", table])


def _column(column: Column) -> dg.TableColumn:
    refers = [f"references {column.references}"] if column.references else []
    return dg.TableColumn(
        column.name,
        "text" if column.kind == "id" else column.kind,
        column.description,
        dg.TableColumnConstraints(nullable=column.nullable, other=refers),
    )


def _spec(table: Table) -> dg.AssetSpec:
    parents = {c.references for c in table.columns if c.references} - {table.name}
    deps: list[Any] = [_key(name) for name in sorted(parents)]
    if not parents:
        deps.append(dg.AssetDep(_key("slices"), partition_mapping=dg.MultiToSingleDimensionPartitionMapping("dataset")))
    schema = dg.TableSchema(
        [_column(c) for c in table.columns if c.name != GONE],
        dg.TableConstraints(other=[f"key ({', '.join(table.key)})"]),
    )
    return dg.AssetSpec(
        _key(table.name),
        deps=deps,
        description=table.description,
        metadata={"dagster/column_schema": schema, "dagster/table_name": table.name},
        group_name="coreviz",
        kinds={"table", "dlt"},
    )


def _sync(pipeline: dlt.Pipeline, dataset_id: str, **arguments: Any) -> dict[str, Any]:
    """Mirrors a dataset, and fails if the report does; returns figures to show."""
    report = sync(pipeline, dataset_ids=[dataset_id], **arguments)
    dataset = report.datasets.get(canonical_id(dataset_id))
    if report.exit_code:
        messages = [str(error) for error in report.errors] + ([dataset.message] if dataset else [])
        raise dg.Failure(
            "\n".join(dict.fromkeys(filter(None, messages))),
            metadata={"exit_code": report.exit_code, "report": dg.MetadataValue.json(report.to_dict())},
            allow_retries=report.exit_code in RETRIED,
        )
    assert dataset is not None
    shown = ("outcome", "message", "listed", "new", "changed", "gone", "unchanged", "requests", "retries", "seconds")
    return {name: getattr(dataset, name) for name in shown} | {"rows": dataset.rows}


@dg.asset(
    key=_key("slices"),
    partitions_def=dg.MultiPartitionsDefinition({"dataset": DATASETS, "month": MONTHS}),
    group_name="coreviz",
    pool=API_POOL,
    retry_policy=RETRIES,
    kinds={"dlt"},
)
def slices(context: dg.AssetExecutionContext, warehouse: Warehouse) -> dg.MaterializeResult:
    """A dataset's media created in one month: for the first load of a huge dataset. Never needed, never deletes."""
    assert isinstance(context.partition_key, dg.MultiPartitionKey)
    keys = context.partition_key.keys_by_dimension
    span = MONTHS.time_window_for_partition_key(keys["month"])
    pipeline = warehouse.pipeline(f"{keys['dataset']}_{keys['month']}")
    done = _sync(pipeline, keys["dataset"], date_from=span.start.isoformat(), date_to=span.end.isoformat())
    rows = done.pop("rows").get("media", 0)
    return dg.MaterializeResult(metadata={**done, "dagster/partition_row_count": rows})


@dg.multi_asset(
    specs=[_spec(table) for table in CURRENT],
    partitions_def=DATASETS,
    name="tables",
    pool=API_POOL,
    retry_policy=RETRIES,
)
def tables(context: dg.AssetExecutionContext, config: Again, warehouse: Warehouse) -> Iterator[dg.MaterializeResult]:
    """All tables of a dataset: what changed since the last run."""
    dataset_id = context.partition_key
    pipeline = warehouse.pipeline(dataset_id)
    done = _sync(pipeline, dataset_id, resync=config.resync or None, max_deletes=config.max_deletes)
    written = done.pop("rows")
    with pipeline.sql_client() as client:
        for table in CURRENT:
            sql, values = f"SELECT COUNT(*) FROM {client.make_qualified_table_name(table.name)}", list[str]()
            if "dataset_id" in table.by_name:
                sql, values = f"{sql} WHERE dataset_id = %s", [canonical_id(dataset_id)]
            counted = client.execute_sql(sql, *values)
            metadata = {"dagster/partition_row_count": counted[0][0], "rows_written": written.get(table.name, 0)}
            yield dg.MaterializeResult(_key(table.name), metadata | (done if table is RUNS else {}))


@dg.asset_check(asset=_key(RUNS.name), description=f"Every dataset was listed completely in the last {MAX_AGE}.")
def fresh(context: dg.AssetCheckExecutionContext, warehouse: Warehouse) -> dg.AssetCheckResult:
    """Queries the warehouse itself, so that it also fails if nothing runs any more."""
    memory = StoredState(Connection(warehouse.pipeline("freshness"), read_only=True))
    last = memory.last_runs()
    memory.close()
    began = {
        d: last.get(canonical_id(d), LastRuns()).complete
        for d in context.instance.get_dynamic_partitions(DATASETS.name)
    }
    old = {d: str(at or "never") for d, at in began.items() if at is None or datetime.now(timezone.utc) - at > MAX_AGE}
    return dg.AssetCheckResult(
        passed=not old,
        description="; ".join(f"{d}: last complete listing {at}" for d, at in old.items()) or None,
        metadata={"datasets": len(began), "old": dg.MetadataValue.json(old)},
    )


sync_job = dg.define_asset_job("coreviz_sync", dg.AssetSelection.assets(tables).without_checks())
freshness_job = dg.define_asset_job("coreviz_freshness", dg.AssetSelection.checks(fresh))


@dg.schedule(job=sync_job, cron_schedule="0 * * * *")
def hourly(context: dg.ScheduleEvaluationContext) -> Iterator[dg.RunRequest]:
    """A run for every dataset."""
    for dataset_id in context.instance.get_dynamic_partitions(DATASETS.name):
        yield dg.RunRequest(f"{dataset_id} {context.scheduled_execution_time.isoformat()}", partition_key=dataset_id)


@dg.sensor(minimum_interval_seconds=3600)
def new_datasets(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
    """Makes a partition for each dataset: those of `dataset_ids`, else all that the account sees."""
    settings = resolve()
    ids = settings.dataset_ids or [info["id"] for info in CorevizClient(settings).account().datasets]
    known = set(context.instance.get_dynamic_partitions(DATASETS.name))
    new = sorted({canonical_id(i) for i in ids} - known)
    if not new:
        return dg.SkipReason("There is no new dataset.")
    return dg.SensorResult(dynamic_partitions_requests=[DATASETS.build_add_request(new)])


definitions = dg.Definitions(
    assets=[slices, tables],
    asset_checks=[fresh],
    jobs=[sync_job, freshness_job],
    schedules=[hourly, dg.ScheduleDefinition(name="freshness", job=freshness_job, cron_schedule="30 * * * *")],
    sensors=[new_datasets],
    resources={"warehouse": Warehouse(destination=os.environ.get("COREVIZ_DESTINATION", "postgres"))},
)
