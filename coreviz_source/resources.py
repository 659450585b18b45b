"""Batches of rows become dlt resources, one a table: the last stage, and the only one that knows dlt's extract."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import dlt
import pyarrow as pa
from dlt.extract import DltResource

from coreviz_source.memory import Memory
from coreviz_source.mirror import Batch
from coreviz_source.rows import full, records
from coreviz_source.tables import BY_NAME, LOAD_ID, RUNS, TABLES, Table


def table_resources(batches: Callable[[], Iterable[Batch]]) -> list[DltResource]:
    """A resource for each table, all fed by one iteration over the batches.

    The rows of all tables are built before they part, because dlt hands the same batch to every resource.

    Args:
        batches: Called once, when dlt extracts.
    """
    library = dlt.resource(batches, name="library", selected=False)
    return [_table_resource(table, library) for table in TABLES]


def selected_tables() -> frozenset[str]:
    """The names of the tables that the source being extracted is to load."""
    return frozenset(dlt.current.source().selected_resources) & BY_NAME.keys()


def missing_tables(memory: Memory, selected: Iterable[str]) -> Batch:
    """Tables without rows for those that the warehouse does not have yet, so that they are made."""
    missing = memory.missing(BY_NAME[name] for name in {*selected, RUNS.name})
    return Batch({table.name: full(table, {}, 0) for table in missing})


def _table_resource(table: Table, library: DltResource) -> DltResource:
    def pick(batch: Batch) -> Iterator[Any]:
        if table.name in batch.tables:
            yield _item(batch.tables[table.name], table)
        if RUNS.name in batch.tables and _carries_runs(table):
            hints = dlt.mark.make_hints(table_name=RUNS.name, **_hints(RUNS))
            yield dlt.mark.with_hints(_item(batch.tables[RUNS.name], RUNS), hints, create_table_variant=True)

    return dlt.transformer(pick, data_from=library, name=table.name, max_table_nesting=0, **_hints(table))


def _hints(table: Table) -> dict[str, Any]:
    return {name: hint for name, hint in table.hints.items() if name != "name"}


def _carries_runs(table: Table) -> bool:
    """Whether this table's resource also writes the line of the run: it is always written, selected or not."""
    selected = selected_tables()
    return RUNS.name not in selected and table.name == min(selected, key=list(BY_NAME).index)


def _item(rows: pa.Table, table: Table) -> Any:
    """What dlt is given: arrow where the destination takes parquet with JSON in it, plain dictionaries elsewhere."""
    if dlt.current.pipeline().destination.destination_type.endswith("bigquery"):
        return records(rows, table) if rows.num_rows else dlt.mark.materialize_table_schema()
    load_id = dlt.current.load_package_state()["load_id"]
    return rows.append_column(pa.field(LOAD_ID, pa.string()), pa.array([load_id] * rows.num_rows, pa.string()))


class _JsonIsText(logging.Filter):
    """Drops dlt's warning that JSON columns of our tables arrive as text, which is how arrow carries JSON."""

    def filter(self, record: logging.LogRecord) -> bool:
        message = record.getMessage()
        return not (
            "when merging arrow schema with dlt schema" in message
            and any(f"In resource: {name}," in message for name in BY_NAME)
        )


logging.getLogger("dlt").addFilter(_JsonIsText())
