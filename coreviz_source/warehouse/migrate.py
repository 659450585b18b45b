"""Tables and columns that are missing in the warehouse are created before a run reads or writes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

import dlt

from coreviz_source.tables import NOTICES, RUNS, TABLES, Table
from coreviz_source.warehouse.ownership import is_ours, table_error
from coreviz_source.warehouse.state import StoredState


def ensure_schema(
    state: StoredState, selected: frozenset[str], lock: Callable[[], AbstractContextManager[Any]]
) -> None:
    """Creates columns that somebody dropped, or that an older release did not have.

    Their values are lost, so every stored hash is cleared first: the rows are built again. Columns are created here,
    because the run reads them; missing tables are created with the load.

    Args:
        state: The warehouse. Its `repaired` is set if something was missing.
        selected: Names of the tables that are loaded.
        lock: Keeps other runs from loading while a block runs.

    Raises:
        DestinationError: A column is not what it is declared to be, or a table is not ours.
    """
    if state.fresh:
        return
    schema = dlt.Schema("coreviz")
    missing = "_dlt_loads" not in state.tables
    for table in TABLES:
        stored = state.stored_columns.get(table.name, {})
        if table.name not in selected and table is not RUNS:
            continue
        if table is NOTICES and not stored:
            # created with the next load; no item has to be loaded again because of it
            continue
        hints = table.hints
        if stored:
            _check_columns(state, table, hints["columns"])
        if hints["columns"].keys() <= stored.keys():
            continue
        # where history begins, nothing was lost
        missing = missing or bool(stored) or not table.versions_of
        if stored:
            if not is_ours(state.connection, table.name):
                raise table_error(
                    f"A table {table.name} exists that lacks columns of this source.", state.connection, table.name
                )
            resource = dlt.resource([], **hints)
            # the JSON type that Postgres gets depends on it
            resource.apply_hints(file_format=state.connection.destination.file_format)
            schema.update_table(resource.compute_table_schema())
    if missing:
        state.repaired = True
        with lock():
            for table in TABLES:
                if "content_hash" in state.stored_columns.get(table.name, {}):
                    state.connection.execute(f"UPDATE {{{table.name}}} SET content_hash = NULL WHERE 1 = 1")
            create_tables(state, schema)


def _check_columns(state: StoredState, table: Table, declared: Mapping[str, Any]) -> None:
    """Checks that the stored columns of a table have their types. Every column that cannot be null has to exist."""
    stored = state.stored_columns[table.name]
    for name, hints in declared.items():
        found = stored.get(name, {}).get("data_type")
        if found != hints["data_type"] and (found or not hints["nullable"]):
            raise table_error(
                f"The column {table.name}.{name} is {found or 'missing'} in the warehouse; it has to be "
                f"{hints['data_type']}.",
                state.connection,
                table.name,
            )


def create_tables(state: StoredState, schema: dlt.Schema) -> None:
    """Creates the tables of a schema, or the columns that they lack, and dlt's own tables."""
    names = schema.data_table_names(seen_data_only=False)
    with state.connection.client() as client:
        # as if it came from storage: dlt does not apply a schema that was never saved
        stored = dlt.Schema.from_dict(schema.to_dict(), validate_schema=False)  # type: ignore[arg-type]
        usual, client.schema = client.schema, stored
        try:
            if not client.is_storage_initialized():
                client.initialize_storage()
            client.update_stored_schema([*schema.dlt_table_names(), *names], force=True)
        finally:
            client.schema = usual
    state.tables.update(names, ["_dlt_loads"])
