"""Batches of rows become dlt resources, one a table: the last stage, and the only one that knows dlt's extract."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import dlt
import pyarrow as pa
from dlt.common.schema.utils import dlt_id_column
from dlt.destinations.impl.bigquery.bigquery_adapter import (
    CLUSTER_COLUMNS_HINT,
    PARTITION_HINT,
    TABLE_DESCRIPTION_HINT,
)
from dlt.extract import DltResource, DltSource

from coreviz_source.loading.files import RowFile, RowFiles
from coreviz_source.locks import Locks
from coreviz_source.memory import Memory, takes_files
from coreviz_source.mirror import Batch
from coreviz_source.rows import records
from coreviz_source.tables import BY_NAME, GONE, LOAD_ID, RUNS, TABLES, Table

#: Folder in the pipeline's working directory where rows are on their way to dlt.
ROWS_FOLDER = "coreviz_rows"


def table_resources(library: Callable[[], tuple[Locks, Memory, Iterable[Batch]]]) -> list[DltResource]:
    """A resource for each table, all fed by one iteration over the batches.

    The rows of all tables are built before they part, because dlt hands the same batch to every resource.

    Args:
        library: Called once, when dlt extracts: what the run holds, the warehouse, and what has to be written to it.
    """

    def batches() -> Iterator[Any]:
        locks, memory, found = library()
        by_file = takes_files(_destination())
        _prepare(dlt.current.source(), locks, memory, by_file)
        yield from _as_files(found) if by_file else _as_records(found)
        # until the package is loaded
        locks.take_load()

    parent = dlt.resource(batches, name="library", selected=False)
    return [_table_resource(table, parent) for table in TABLES]


def selected_tables() -> frozenset[str]:
    """The names of the tables that the source being extracted is to load."""
    return frozenset(dlt.current.source().selected_resources) & BY_NAME.keys()


def _table_resource(table: Table, parent: DltResource) -> DltResource:
    def pick(batch: dict[str, Any]) -> Iterator[Any]:
        if table.name in batch:
            given = batch[table.name]
            if isinstance(given, RowFile):
                # dlt takes the file as it is: nothing is inferred, examined or written a second time
                yield dlt.mark.with_file_import(str(given.path), "parquet", given.rows)
                given.path.unlink()
            else:
                yield given

    resource: DltResource = dlt.transformer(pick, data_from=parent, max_table_nesting=0, **table.hints)
    if table is RUNS:
        resource.__class__ = _AlwaysSelected
    return resource


class _AlwaysSelected(DltResource):
    """The line of a run is written whatever is selected: the next run reads there when this one listed what."""

    @property
    def selected(self) -> bool:
        return True

    @selected.setter
    def selected(self, value: bool) -> None:
        pass


def _destination() -> str:
    return str(dlt.current.pipeline().destination.destination_type)


def _prepare(source: DltSource, locks: Locks, memory: Memory, by_file: bool) -> None:
    """Says how the tables are loaded, and makes those that the warehouse does not have yet."""
    if by_file or _destination().endswith("postgres"):
        # dlt's own choice for Postgres, csv, would turn empty texts into nulls
        for resource in source.resources.values():
            resource.apply_hints(file_format="parquet" if by_file else "insert_values")
    bigquery = _destination().endswith("bigquery")
    schema = dlt.Schema("coreviz")
    for name in source.selected_resources.keys() & BY_NAME.keys():
        resource = source.resources[name]
        if bigquery:
            _lay_out(resource, BY_NAME[name])
        if not by_file:
            # dlt numbers the rows that it is given as dictionaries, and BigQuery takes no required column later on
            resource.apply_hints(columns={"_dlt_id": dlt_id_column()})
        if BY_NAME[name].replaces:
            # each item comes once a listing, so what nothing was ever loaded into needs no merge; said either way,
            # because a source may be run again
            first = memory.fresh and locks.alone
            disposition: Any = "append" if first else BY_NAME[name].hints["write_disposition"]
            resource.apply_hints(write_disposition=disposition, columns={GONE: {"hard_delete": not first}})
        if name not in memory.tables:
            schema.update_table(resource.compute_table_schema())
    if schema.data_table_names(seen_data_only=False):
        with locks.load():
            memory.make(schema)


def _lay_out(resource: DltResource, table: Table) -> None:
    """Says how BigQuery keeps a table.

    Partitions are months: days would be small, and after eleven years more than the 4,000 that one job may write. No
    query has to name one, because a merge finds its rows by the columns of the clusters.
    """
    layout: dict[str, Any] = {TABLE_DESCRIPTION_HINT: table.description}
    if table.partitioned_by:
        layout[PARTITION_HINT] = {table.partitioned_by: "TIMESTAMP_TRUNC({column_name}, MONTH)"}
    if table.clustered_by:
        layout[CLUSTER_COLUMNS_HINT] = list(table.clustered_by)
    # by parquet, dlt's choice where files are staged, there would be no JSON
    resource.apply_hints(file_format="jsonl", additional_table_hints=layout)


def _as_files(batches: Iterable[Batch]) -> Iterator[dict[str, RowFile]]:
    """All rows as a parquet file a table."""
    directory = Path(dlt.current.pipeline().working_dir) / ROWS_FOLDER
    # a run that was killed may have left some
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    load_id = pa.scalar(_load_id(), pa.string())
    with RowFiles(directory) as rows:
        for batch in batches:
            rows.add(
                {name: t.append_column(LOAD_ID, pa.repeat(load_id, t.num_rows)) for name, t in batch.tables.items()}
            )
    yield rows.files


def _as_records(batches: Iterable[Batch]) -> Iterator[dict[str, Any]]:
    """Rows as plain dictionaries, which dlt gives its load id."""
    for batch in batches:
        yield {name: records(rows, BY_NAME[name]) for name, rows in batch.tables.items()}


def _load_id() -> str:
    return str(dlt.current.load_package_state()["load_id"])
