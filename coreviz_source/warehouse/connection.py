"""The connection to a warehouse: one client per run, opened once, and the SQL that is run over it."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import dlt
from dlt.common.destination.exceptions import DestinationUndefinedEntity
from dlt.destinations.job_client_impl import SqlJobClientBase
from dlt.destinations.sql_client import SqlClientBase

from coreviz_source.errors import CorevizError, DestinationError
from coreviz_source.warehouse.destination import destination_of
from coreviz_source.warehouse.failures import connection_error

# BigQuery's responses are read by REST; the storage API, which Google's client recommends, needs one permission more
warnings.filterwarnings("ignore", message="Cannot create BigQuery Storage client")

#: Rows that are fetched at once.
_ROWS = 10_000


class Connection:
    """The warehouse of a pipeline, connected when it is first used.

    Every method raises `DestinationError` (exit code 7) if the warehouse cannot be reached.

    Args:
        pipeline: Its destination and dataset are used.

    Raises:
        ConfigurationError: The destination is not supported.
    """

    def __init__(self, pipeline: dlt.Pipeline) -> None:
        self.pipeline = pipeline
        self.destination = destination_of(pipeline)
        self._resources = ExitStack()
        self._opened: SqlJobClientBase | None = None

    @property
    def is_missing(self) -> bool:
        """Whether the warehouse is a file that does not exist."""
        if not self.destination.is_file:
            return False
        credentials: Any = self.pipeline.destination_client().config.credentials
        return not Path(credentials.database).exists()

    @contextmanager
    def client(self) -> Iterator[SqlJobClientBase]:
        """The warehouse's client, connected. It is opened once, because opening costs more than most queries."""
        try:
            if self._opened is None:
                client: Any = self._resources.enter_context(self.pipeline.destination_client())  # type: ignore[arg-type]
                self._opened = client
            assert self._opened is not None
            yield self._opened
        except CorevizError:
            raise
        except Exception as error:
            raise connection_error(error, "read or prepared", self.pipeline) from error

    @contextmanager
    def sql_client(self) -> Iterator[SqlClientBase[Any]]:
        """The open connection, for the SQL of other modules."""
        with self.client() as client:
            yield client.sql_client

    def execute(self, sql: str) -> None:
        """Runs a statement without rows in which `{table}` stands for a table."""
        with self.client() as client:
            client.sql_client.execute_sql(_statement(client, sql))

    def query(self, sql: str, *values: Any) -> Iterator[tuple[Any, ...]]:
        """Rows of a query in which `{table}` stands for a table and `{{column}}` for a column."""
        with self.client() as client:
            try:
                with client.sql_client.execute_query(_statement(client, sql), *values) as cursor:
                    while rows := cursor.fetchmany(_ROWS):
                        yield from rows
            except DestinationUndefinedEntity as error:
                raise DestinationError(
                    f"A table or column is not what this release expects: {error}",
                    remedy="Load with `resync`, or drop the table so that it is made again.",
                ) from error

    def close(self) -> None:
        """Closes the connection; the next query opens another one."""
        self._resources.close()
        self._opened = None


def _statement(client: SqlJobClientBase, sql: str) -> str:
    def qualified(match: Any) -> str:
        names = client.sql_client
        return names.escape_column_name(match[1]) if match[1] else names.make_qualified_table_name(match[2])

    return re.sub(r"\{\{(\w+)\}\}|\{(\w+)\}", qualified, sql)
