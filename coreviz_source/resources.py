"""Batches of rows become dlt resources, one a table: the last stage, and the only one that knows dlt's extract."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import dlt
import pyarrow as pa
from dlt.extract import DltResource, DltSource

from coreviz_source.memory import Memory
from coreviz_source.mirror import Batch
from coreviz_source.rows import records
from coreviz_source.tables import BY_NAME, GONE, LOAD_ID, RUNS, TABLES, Table

#: Bytes of arrow that dlt is given at once.
PACKED = 16 * 2**20


def table_resources(library: Callable[[], tuple[Memory, Iterable[Batch]]]) -> list[DltResource]:
    """A resource for each table, all fed by one iteration over the batches.

    The rows of all tables are built before they part, because dlt hands the same batch to every resource.

    Args:
        library: Called once, when dlt extracts: the warehouse, and what has to be written to it.
    """

    def batches() -> Iterator[Any]:
        memory, found = library()
        _prepare(dlt.current.source(), memory)
        give = _as_records if _destination().endswith("bigquery") else _with_load_id(_load_id())
        for tables in _packed(found):
            yield {name: give(rows, BY_NAME[name]) for name, rows in tables.items()}

    parent = dlt.resource(batches, name="library", selected=False)
    return [_table_resource(table, parent) for table in TABLES]


def selected_tables() -> frozenset[str]:
    """The names of the tables that the source being extracted is to load."""
    return frozenset(dlt.current.source().selected_resources) & BY_NAME.keys()


def _table_resource(table: Table, parent: DltResource) -> DltResource:
    def pick(batch: dict[str, Any]) -> Iterator[Any]:
        if table.name in batch:
            yield batch[table.name]

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


def _packed(batches: Iterable[Batch]) -> Iterator[dict[str, pa.Table]]:
    """The rows of several batches together: dlt examines each table that it is given as if it were the first."""
    waiting: dict[str, list[pa.Table]] = {}
    size = 0
    for batch in batches:
        for name, rows in batch.tables.items():
            waiting.setdefault(name, []).append(rows)
            size += rows.nbytes
        if size >= PACKED:
            yield {name: pa.concat_tables(tables) for name, tables in waiting.items()}
            waiting, size = {}, 0
    if waiting:
        yield {name: pa.concat_tables(tables) for name, tables in waiting.items()}


def _destination() -> str:
    return str(dlt.current.pipeline().destination.destination_type)


def _prepare(source: DltSource, memory: Memory) -> None:
    """Says how the tables are loaded, and makes those that the warehouse does not have yet."""
    if memory.file_format:
        for resource in source.resources.values():
            resource.apply_hints(file_format=memory.file_format)
    schema = dlt.Schema("coreviz")
    for name in source.selected_resources.keys() & BY_NAME.keys():
        resource = source.resources[name]
        if memory.fresh:
            # each item comes once a listing, so what nothing was ever loaded into needs no merge
            resource.apply_hints(write_disposition="append", columns={GONE: {"hard_delete": False}})
        if name not in memory.tables:
            schema.update_table(resource.compute_table_schema())
    memory.make(schema)


def _load_id() -> str:
    return str(dlt.current.load_package_state()["load_id"])


def _with_load_id(load_id: str) -> Callable[[pa.Table, Table], Any]:
    """Gives dlt arrow, for destinations that take parquet with JSON in it; dlt adds no load id to that itself."""

    def give(rows: pa.Table, table: Table) -> pa.Table:
        return rows.append_column(pa.field(LOAD_ID, pa.string()), pa.array([load_id] * rows.num_rows, pa.string()))

    return give


def _as_records(rows: pa.Table, table: Table) -> Any:
    """Gives dlt plain dictionaries, for destinations that refuse parquet with JSON in it."""
    return records(rows, table)


class _JsonIsText(logging.Filter):
    """Drops dlt's warning that JSON columns of our tables arrive as text, which is how arrow carries JSON."""

    def filter(self, record: logging.LogRecord) -> bool:
        message = record.getMessage()
        return not (
            "when merging arrow schema with dlt schema" in message
            and any(f"In resource: {name}," in message for name in BY_NAME)
        )


logging.getLogger("dlt").addFilter(_JsonIsText())
