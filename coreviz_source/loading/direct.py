"""Rows that are written in one transaction, without a load package, as a load that dlt records as complete."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dlt.common.configuration.utils import get_resolved_traces
from dlt.common.normalizers.utils import generate_dlt_ids
from dlt.common.schema.typing import C_DLT_ID
from dlt.destinations.job_client_impl import SqlJobClientBase

from coreviz_source.tables import LOAD_ID


def insert(
    client: SqlJobClientBase, table: str, columns: Mapping[str, Sequence[Any]], load_id: str, numbered: bool
) -> None:
    """Inserts rows into a table.

    Args:
        client: The warehouse's client, connected.
        table: Name of the table.
        columns: The values of each column, without the load id.
        load_id: Id of the load.
        numbered: Whether the table has dlt's column with an id per row.
    """
    size = len(next(iter(columns.values())))
    columns = {**columns, LOAD_ID: [load_id] * size}
    if numbered:
        columns[C_DLT_ID] = generate_dlt_ids(size)
    sql = client.sql_client
    row = f"({', '.join(['%s'] * len(columns))})"
    statement = (
        f"INSERT INTO {sql.make_qualified_table_name(table)} ({', '.join(map(sql.escape_column_name, columns))}) "
        f"VALUES {', '.join([row] * size)}"
    )
    values: list[Any] = [value for values in zip(*columns.values(), strict=True) for value in values]
    sql.execute_sql(statement, *values)


def forget_settings() -> None:
    """Removes dlt's notes of the settings that were looked up, which dlt itself does at the end of a package."""
    get_resolved_traces().clear()
