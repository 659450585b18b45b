"""Whether a table is ours: only then does an error propose to drop it."""

from __future__ import annotations

from contextlib import closing

import dlt

from coreviz_source.errors import CorevizError, DestinationError
from coreviz_source.tables import BY_NAME, GONE, LOAD_ID
from coreviz_source.warehouse.connection import Connection
from coreviz_source.warehouse.failures import CHANGED, failure_of, reason_of, remedy_for, scrub


def is_ours(connection: Connection, table: str) -> bool:
    """Whether this source created a table: it has a column that nobody else has, or rows of a recorded load of ours.

    A table of somebody else's does not pass, and neither does one that another dlt source loads.
    """
    with connection.client() as client:
        names = [table, "_dlt_loads"]
        stored = {name: columns for name, columns in client.get_storage_tables(names) if columns}
    columns = stored.get(table, {})
    if table.startswith("_coreviz") or GONE in columns:
        return True
    if "_dlt_loads" not in stored or not {"dataset_id", LOAD_ID} <= columns.keys():
        return False
    sql = (
        f"SELECT 1 FROM {{{table}}} d JOIN {{_dlt_loads}} l ON l.load_id = d.{LOAD_ID} WHERE l.schema_name = %s LIMIT 1"
    )
    return next(connection.query(sql, "coreviz"), None) is not None


def table_error(message: str, connection: Connection, table: str) -> DestinationError:
    """The error of a table that is not as declared.

    Args:
        message: What is wrong with it.
        connection: The warehouse.
        table: Name of the table.
    """
    pipeline = connection.pipeline
    with connection.sql_client() as client:
        qualified = client.make_qualified_table_name(table)
    if is_ours(connection, table):
        remedy = f"Run DROP TABLE {qualified}, with your views on it; the next run creates and fills it again."
    else:
        remedy = (
            f"The table {qualified} was not created by this source. Load into another schema (`dataset_name`), or "
            "rename that table."
        )
    return DestinationError(
        message,
        remedy=remedy,
        destination=pipeline.destination.destination_name,
        schema=pipeline.dataset_name,
        table=table,
    )


def load_error(error: BaseException, pipeline: dlt.Pipeline, table: str) -> DestinationError:
    """The error of rows that the warehouse refused.

    Args:
        error: What the warehouse reported.
        pipeline: The pipeline that loaded them.
        table: Name of the table.
    """
    message = f"The rows could not be loaded: {scrub(reason_of(error), pipeline)[:500]}"
    if table in BY_NAME and failure_of(error) is None and CHANGED.matches(error):
        with closing(Connection(pipeline)) as connection:
            try:
                return table_error(message, connection, table)
            except CorevizError:
                # the warehouse does not respond: nothing is known of the table
                pass
    return DestinationError(
        message,
        remedy=remedy_for(error, pipeline),
        destination=pipeline.destination.destination_name,
        schema=pipeline.dataset_name,
        table=table,
    )
