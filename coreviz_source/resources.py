"""Batches of rows become dlt resources, one a table: the last stage, and the only one that knows dlt's extract."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import dlt
import pyarrow as pa
from dlt.extract import DltResource, DltSource

from coreviz_source.memory import Memory
from coreviz_source.mirror import Batch
from coreviz_source.rows import gone_rows, records
from coreviz_source.tables import BY_NAME, LOAD_ID, RUNS, TABLES, Table


def table_resources(batches: Callable[[], Iterable[Batch]]) -> list[DltResource]:
    """A resource for each table, all fed by one iteration over the batches.

    The rows of all tables are built before they part, because dlt hands the same batch to every resource.

    Args:
        batches: Called once, when dlt extracts.
    """

    def library() -> Iterator[Any]:
        destination = _destination()
        if destination.endswith("postgres"):
            _load_faithfully(dlt.current.source())
        give = _as_records if destination.endswith("bigquery") else _with_load_id(_load_id())
        for batch in batches():
            yield {name: give(rows, BY_NAME[name]) for name, rows in batch.tables.items()}

    parent = dlt.resource(library, selected=False)
    return [_table_resource(table, parent) for table in TABLES]


def selected_tables() -> frozenset[str]:
    """The names of the tables that the source being extracted is to load."""
    return frozenset(dlt.current.source().selected_resources) & BY_NAME.keys()


def missing_tables(memory: Memory, selected: Iterable[str]) -> Batch:
    """A tombstone of nothing for each table that the warehouse does not have yet, so that it is made.

    A tombstone never arrives in its table; a file without any row is more than Postgres' driver can take.
    """
    missing = memory.missing(BY_NAME[name] for name in selected if name != RUNS.name)
    return Batch({table.name: gone_rows(table, "", [""]) for table in missing})


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


def _destination() -> str:
    return str(dlt.current.pipeline().destination.destination_type)


def _load_faithfully(source: DltSource) -> None:
    """Keeps dlt from loading Postgres by csv, its choice for arrow, which turns empty texts into nulls."""
    fast = importlib.util.find_spec("adbc_driver_postgresql") is not None
    for resource in source.resources.values():
        resource.apply_hints(file_format="parquet" if fast else "insert_values")


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
