"""The warehouse, opened to be read and no more: one connection for the questions of one page, closed at once.

Closed at once, because DuckDB lets nobody load into a file that somebody has open.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import dlt
import sqlglot
from dlt.common.destination.exceptions import DestinationUndefinedEntity
from dlt.destinations.impl.postgres.configuration import PostgresCredentials
from dlt.destinations.job_client_impl import SqlJobClientBase
from sqlglot import exp

from coreviz_source.errors import BusyError, CorevizError, DestinationError, find
from coreviz_source.tables import BY_NAME, CURRENT, LOAD, LOADS, MEDIA, Table
from coreviz_source.warehouse.destination import prepare
from coreviz_source.warehouse.failures import cause_of, connection_error, is_locked
from coreviz_source.warehouse.search import WRITTEN, with_parameters, with_stems

#: Seconds that a page waits for a load that has the DuckDB file.
PATIENCE = 2.0
#: Seconds after which tables that were missing are looked for again: those of the history come when it is switched on.
RECHECK = 60.0
#: The tables that a query can name.
READ: dict[str, Table] = {**BY_NAME, LOADS.name: LOADS}
#: Those that exist after any load.
_EXPECTED = frozenset({LOADS.name, *(table.name for table in CURRENT)})
_TYPES = {"double": "FLOAT64", "bigint": "INT64", "bool": "BOOL", "timestamp": "TIMESTAMP", "json": "STRING"}


class NothingLoadedError(DestinationError):
    """Nothing has been loaded yet."""

    remedy = "Load something with `coreviz-source sync`, or the demo with `coreviz-source demo`."


@dataclass(frozen=True)
class Location:
    """Where the tables are.

    Attributes:
        name: In a few words: the kind of the warehouse, its file or database, and the schema.
        address: The whole address, without a password.
    """

    name: str
    address: str


class Warehouse:
    """The tables of a pipeline, for reading only.

    DuckDB and Postgres connect for reading only, and whatever is not a single `SELECT` is refused before it reaches
    any warehouse, which is what protects BigQuery.

    Args:
        pipeline: Its destination and dataset are read; nothing of it is changed.
        address: Replaces the beginning of addresses that start with the first text by the second; the demo's
            pictures need it.
    """

    def __init__(self, pipeline: dlt.Pipeline, address: tuple[str, str] | None = None) -> None:
        self._destination = prepare(pipeline)
        self._pipeline = pipeline
        self._found: frozenset[str] = frozenset()
        self._checked = 0.0
        self.address = address

    @cached_property
    def location(self) -> Location:
        """Where the tables are."""
        try:
            config: Any = self._pipeline.destination_client().config
        except Exception as error:
            raise self._explained(error) from cause_of(error, self._pipeline)
        found, schema = config.credentials, self._pipeline.dataset_name
        file = self._destination.file(found)
        if file is not None:
            names: list[str | None] = [Path(file).name]
        else:
            names = [self._destination.name, *(getattr(found, key, None) for key in ("host", "project_id", "database"))]
        return Location(" · ".join([*filter(None, names), schema]), f"{config}, schema {schema}")

    @contextmanager
    def opened(self) -> Iterator[Reader]:
        """A connection.

        Raises:
            NothingLoadedError: There is no warehouse, or it has no media table.
            BusyError: A load has the DuckDB file, and kept it.
            DestinationError: The warehouse cannot be opened or asked.
        """
        try:
            with self._client() as client:
                overdue = time.monotonic() - self._checked >= RECHECK and len(self._found) < len(READ)
                if overdue or not self._found.issuperset(_EXPECTED):
                    self._checked = time.monotonic()
                    tables = client.get_storage_tables(list(READ))
                    self._found = frozenset(name for name, columns in tables if columns)
                if MEDIA.name not in self._found:
                    raise NothingLoadedError()
                yield Reader(client, self._found)
        except Exception as error:
            if find(error):
                raise
            raise self._explained(error) from cause_of(error, self._pipeline)

    @contextmanager
    def _client(self) -> Iterator[SqlJobClientBase]:
        until = time.monotonic() + PATIENCE
        while True:
            client: Any = self._pipeline.destination_client()
            client.sql_client.credentials = _for_pages(self._destination.for_reading(client.sql_client.credentials))
            try:
                client.sql_client.open_connection()
                break
            except Exception as error:
                explained = self._explained(error)
                if not isinstance(explained, BusyError) or time.monotonic() > until:
                    raise explained from cause_of(error, self._pipeline)
                time.sleep(0.1)
        try:
            yield client
        finally:
            client.sql_client.close_connection()

    def _explained(self, error: Exception) -> CorevizError:
        if isinstance(error, DestinationUndefinedEntity) or "database does not exist" in str(error):
            return NothingLoadedError()
        if is_locked(error):
            return BusyError(
                "A load is writing into the DuckDB file right now.",
                remedy="DuckDB shows a file to others only between loads.",
            )
        return connection_error(error, "read", self._pipeline)


class Reader:
    """Asks questions over one connection.

    Args:
        client: Connected.
        tables: Names of the tables that exist; the others count as empty.
    """

    def __init__(self, client: SqlJobClientBase, tables: frozenset[str]) -> None:
        self._client = client
        self._tables = tables

    def rows(self, sql: str, **values: Any) -> list[dict[str, Any]]:
        """The rows that a query finds.

        Args:
            sql: One `SELECT`, in BigQuery's dialect, with the tables' plain names and `@name` for values.
            **values: The values; those that the query does not name are left out.

        Raises:
            ValueError: It is not one `SELECT`.
        """
        client = self._client.sql_client
        places = tuple(
            (name, tuple(client.make_qualified_table_name_path(name, quote=False)) if name in self._tables else ())
            for name in READ
        )
        statement, names = rendered(sql, client.capabilities.sqlglot_dialect or WRITTEN, places)
        with client.execute_query(statement, *(values[name] for name in names)) as cursor:
            columns = [column[0] for column in cursor.description]
            return [dict(zip(columns, row, strict=True)) for row in cursor.fetchall()]


@lru_cache(maxsize=512)
def rendered(sql: str, dialect: str, places: tuple[tuple[str, tuple[str, ...]], ...]) -> tuple[str, tuple[str, ...]]:
    """A query as a database wants it, with `%s` for its values, and the values' names in their order.

    Args:
        sql: As `Reader.rows` takes it.
        dialect: sqlglot's name of the database's dialect.
        places: For each table, the path of names that leads to it; an empty path: there is none, it counts as empty.

    Raises:
        ValueError: It is not one `SELECT`.
    """
    statements = sqlglot.parse(sql, read=WRITTEN)
    tree = statements[0]
    if len(statements) != 1 or not isinstance(tree, exp.Query) or tree.find(exp.Into):
        raise ValueError("The dashboard only reads: this is not one SELECT.")
    found = dict(places)

    def placed(node: Any) -> Any:
        if isinstance(node, exp.Table) and node.name in found and not node.db:
            path = found[node.name]
            if not path:
                return exp.alias_(_empty(READ[node.name]).subquery(), node.alias_or_name, table=True)
            parts = dict(zip(("this", "db", "catalog"), map(exp.to_identifier, reversed(path)), strict=False))
            return exp.Table(**parts, alias=node.args.get("alias"))
        return node

    return with_parameters(with_stems(tree, dialect).transform(placed), dialect)


def _empty(table: Table) -> exp.Select:
    columns = ", ".join(
        f"CAST(NULL AS {_TYPES.get(column.kind, 'STRING')}) AS `{column.name}`" for column in (*table.columns, LOAD)
    )
    empty = sqlglot.parse_one(f"SELECT {columns} FROM (SELECT 1 AS x) AS nothing WHERE FALSE", read=WRITTEN)
    assert isinstance(empty, exp.Select)
    return empty


def _for_pages(credentials: Any) -> Any:
    """Credentials for reading, with settings of the session that the dashboard's queries need on Postgres."""
    if isinstance(credentials, PostgresCredentials):
        # weeks begin at midnight UTC, whatever the server's time zone is
        credentials.session_timezone = "UTC"
        # and room to count half a million captions without a file
        query = credentials.query or {}
        credentials.query = {**query, "options": f"{query.get('options', '')} -cwork_mem=64MB".strip()}
    return credentials
