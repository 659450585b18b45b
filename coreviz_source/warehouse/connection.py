"""The connection to a warehouse: one client per run, opened once, and the SQL that is run over it."""

from __future__ import annotations

import re
import time
import warnings
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import dlt
from dlt.destinations.job_client_impl import SqlJobClientBase
from dlt.destinations.sql_client import SqlClientBase

from coreviz_source.errors import CorevizError, DestinationError
from coreviz_source.warehouse.destination import prepare
from coreviz_source.warehouse.failures import CONNECTION_LOST, cause_of, connection_error, is_open_here
from coreviz_source.warehouse.file import DatabaseFile

# BigQuery's responses are read by REST; the storage API, which Google's client recommends, needs one permission more
warnings.filterwarnings("ignore", message="Cannot create BigQuery Storage client")

#: Seconds without a query after which a connection is tried before it is used.
IDLE = 0.05
#: Rows that are fetched at once.
_ROWS = 10_000


class Connection:
    """The warehouse of a pipeline, connected when it is first used.

    Every method raises `DestinationError` (exit code 7) if the warehouse cannot be reached.

    Args:
        pipeline: Its destination and dataset are used.
        read_only: Whether a file is opened for reading only: beside others who read it, or from a disk that cannot be
            written.

    Raises:
        ConfigurationError: The destination is not supported.
    """

    def __init__(self, pipeline: dlt.Pipeline, read_only: bool = False) -> None:
        self.pipeline = pipeline
        self._read_only = read_only
        self.destination = prepare(pipeline)
        self._resources = ExitStack()
        self._opened: SqlJobClientBase | None = None
        #: A client that is not connected yet.
        self._next: Any = None
        self._used = 0.0

    @property
    def is_missing(self) -> bool:
        """Whether the warehouse is a file that does not exist.

        Raises:
            DestinationError: There is no folder for it either.
        """
        if not self.destination.is_file or self._opened is not None:
            return False
        with self._translated():
            self._next = self._next or self.pipeline.destination_client()
            file = DatabaseFile.of(self.destination, self._next)
            return file is not None and file.is_missing

    @contextmanager
    def client(self) -> Iterator[SqlJobClientBase]:
        """The warehouse's client, connected. It is opened once, because opening costs more than most queries."""
        with self._translated():
            yield self._open()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except CorevizError:
            raise
        except Exception as error:
            failure = connection_error(error, "read or prepared", self.pipeline)
            raise failure from cause_of(error, self.pipeline)

    def _open(self) -> SqlJobClientBase:
        now = time.monotonic()
        # a session that waited for the API may have been ended by the server or a proxy
        if self._opened is not None and self.destination.ends_idle_sessions and now - self._used > IDLE:
            try:
                self._opened.sql_client.execute_sql("SELECT 1")
            except Exception:
                self.close()
        if self._opened is None:
            self._opened = self._enter()
            self.destination.check(self._opened.sql_client)
            self.destination.tune(self._opened.sql_client)
        self._used = now
        assert self._opened is not None
        return self._opened

    def _enter(self) -> SqlJobClientBase:
        # what was resolved to look for the file is opened, because to resolve it again takes a while
        client: Any = self._next or self.pipeline.destination_client()
        self._next = None
        if self._read_only and self.destination.is_file:
            client.sql_client.credentials = self.destination.for_reading(client.sql_client.credentials)
            try:
                entered: SqlJobClientBase = self._resources.enter_context(client)
                return entered
            except Exception as error:
                if not is_open_here(error):
                    raise
            # this process has it open for writing, and shares that
            client = self.pipeline.destination_client()
        entered = self._resources.enter_context(client)
        return entered

    @contextmanager
    def sql_client(self) -> Iterator[SqlClientBase[Any]]:
        """The open connection, for the SQL of other modules."""
        with self.client() as client:
            yield client.sql_client

    def execute(self, sql: str) -> None:
        """Runs a statement without rows in which `{table}` stands for a table; it may run twice."""
        deque(self.query(sql), maxlen=0)

    def query(self, sql: str, *values: Any) -> Iterator[tuple[Any, ...]]:
        """Rows of a query in which `{table}` stands for a table and `{{column}}` for a column.

        The query runs once more if the connection was lost before it gave a row.
        """
        attempts = 2
        while attempts:
            attempts -= 1
            try:
                with (
                    self.client() as client,
                    client.sql_client.execute_query(_statement(client, sql), *values) as cursor,
                ):
                    attempts = 0
                    # a statement without rows has nothing to fetch
                    while rows := cursor.fetchmany(_ROWS) if cursor.description else []:
                        yield from rows
            except DestinationError as error:
                if not attempts or not CONNECTION_LOST.matches(error):
                    raise
                self.close()

    def close(self) -> None:
        """Closes the connection; the next query opens another one."""
        # what the server has closed cannot be closed again
        with suppress(Exception):
            self._resources.close()
        self._opened = None


def _statement(client: SqlJobClientBase, sql: str) -> str:
    def qualified(match: Any) -> str:
        names = client.sql_client
        return names.escape_column_name(match[1]) if match[1] else names.make_qualified_table_name(match[2])

    return re.sub(r"\{\{(\w+)\}\}|\{(\w+)\}", qualified, sql)
