"""What a warehouse's catalog holds beside the tables: comments, indexes and views, brought up to date after a load.

The catalog is asked what stands there, which costs a query or two; only what differs from the declarations is written.
A view carries the fingerprint of its declaration in its comment.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass
from typing import Any

import dlt
from dlt.destinations.sql_client import SqlClientBase
from xxhash import xxh3_64_hexdigest

from coreviz_source.errors import DestinationError
from coreviz_source.memory import Memory
from coreviz_source.tables import BY_NAME, CAPTIONS, TABLES
from coreviz_source.views import Dialect, View, render, tables_of, views

_log = logging.getLogger(__name__)

#: What Postgres indexes of a caption for full-text search: word stems of English. Postgres refuses texts whose words
#: fill more than a megabyte, and would refuse the row: so only the beginning is indexed.
SEARCH_VECTOR = "to_tsvector('english', left({text}, 100000))"
SEARCH_INDEX = "coreviz_captions_text"

#: Name, kind and comment of everything in a schema.
_OBJECTS: dict[Dialect, str] = {
    "duckdb": (
        "SELECT table_name, 'table', comment FROM duckdb_tables() "
        "WHERE database_name = current_database() AND schema_name = {schema} "
        "UNION ALL SELECT view_name, 'view', comment FROM duckdb_views() "
        "WHERE database_name = current_database() AND schema_name = {schema}"
    ),
    "postgres": (
        "SELECT c.relname, CASE c.relkind WHEN 'v' THEN 'view' WHEN 'i' THEN 'index' ELSE 'table' END, "
        "obj_description(c.oid, 'pg_class') "
        "FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = {schema}"
    ),
    "bigquery": (
        "SELECT t.table_name, CASE WHEN t.table_type = 'VIEW' THEN 'view' ELSE 'table' END, o.option_value "
        "FROM {dataset}.INFORMATION_SCHEMA.TABLES AS t LEFT JOIN {dataset}.INFORMATION_SCHEMA.TABLE_OPTIONS AS o "
        "ON o.table_name = t.table_name AND o.option_name = 'description'"
    ),
}
#: Table, name and comment of every column in a schema. BigQuery has its descriptions from dlt.
_COLUMNS: dict[Dialect, str] = {
    "duckdb": (
        "SELECT table_name, column_name, comment FROM duckdb_columns() "
        "WHERE database_name = current_database() AND schema_name = {schema}"
    ),
    "postgres": (
        "SELECT c.relname, a.attname, col_description(c.oid, a.attnum) "
        "FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace "
        "WHERE n.nspname = {schema} AND c.relkind IN ('r', 'p') AND a.attnum > 0 AND NOT a.attisdropped"
    ),
}


def create_views(pipeline: dlt.Pipeline) -> list[str]:
    """Creates the views in the schema that a pipeline loads into, or replaces those of another release.

    Views that stand as they should are left alone. A view or table of somebody else's with the same name is, too.
    On Postgres, a view whose columns changed with the release is dropped first, and loses what was granted on it.

    Args:
        pipeline: Its destination (duckdb, postgres or bigquery) and dataset are where the tables are.

    Returns:
        A sentence for each view that could not be made; empty if all stand.

    Raises:
        DestinationError: The warehouse cannot be reached, or holds no tables yet.
    """
    with closing(Memory(pipeline)) as memory, memory.sql_client() as client:
        catalog = _Catalog(client)
        if not catalog.tables:
            raise nothing_loaded(pipeline)
        return catalog.write(catalog.missing_views())


def publish(memory: Memory, hold: Callable[[], AbstractContextManager[Any]], with_views: bool = True) -> list[str]:
    """Brings comments, indexes and views up to date; never raises, because the tables are good without them.

    Args:
        memory: The warehouse.
        hold: Holds other runs' loads for as long as a block lasts.
        with_views: Whether views are among it.

    Returns:
        A sentence for each thing that could not be made.
    """
    try:
        with hold(), memory.sql_client() as client:
            catalog = _Catalog(client)
            missing = [*catalog.missing_comments(), *catalog.missing_indexes()]
            return catalog.write(missing + catalog.missing_views() if with_views and catalog.tables else missing)
    except DestinationError as error:
        problem = f"Comments, indexes and views were left as they are: {error}"
        _log.warning("%s", problem)
        return [problem]


def nothing_loaded(pipeline: dlt.Pipeline) -> DestinationError:
    """The error of a warehouse that holds no tables of ours."""
    return DestinationError(
        f"There are no tables in {pipeline.dataset_name!r} yet.",
        remedy="Load first (coreviz-source sync), or name the destination and dataset that were loaded into.",
        destination=pipeline.destination.destination_name,
    )


def dialect_of(client: SqlClientBase[Any]) -> Dialect:
    """The SQL that a warehouse speaks.

    Raises:
        DestinationError: It is none that views are written for.
    """
    for dialect in _OBJECTS:
        if client.capabilities.sqlglot_dialect == dialect:
            return dialect
    raise DestinationError("There are no views for this destination.", remedy="Use duckdb, postgres or bigquery.")


@dataclass(frozen=True)
class _Change:
    """Something to be made: statements that belong together, and others to try where they are refused."""

    what: str
    statements: list[str]
    otherwise: list[str] | None = None


class _Catalog:
    """What stands in a schema, and what is missing there."""

    def __init__(self, client: SqlClientBase[Any]) -> None:
        self._client = client
        self._dialect = dialect_of(client)
        self._literal: Callable[[str], str] = client.capabilities.escape_literal
        self._objects = {name: (kind, comment or "") for name, kind, comment in self._ask(_OBJECTS[self._dialect])}
        #: Tables of ours that exist.
        self.tables = {name for name, (kind, _) in self._objects.items() if kind == "table"} & BY_NAME.keys()

    def _ask(self, sql: str) -> list[tuple[Any, ...]]:
        dataset = self._client.fully_qualified_dataset_name()
        schema = self._literal(self._client.fully_qualified_dataset_name(quote=False))
        return [tuple(row) for row in self._client.execute_sql(sql.format(dataset=dataset, schema=schema)) or ()]

    def missing_comments(self) -> list[_Change]:
        """Comments on tables and columns that differ from `tables.py`."""
        if self._dialect not in _COLUMNS:
            return []
        held = {(table, column): comment for table, column, comment in self._ask(_COLUMNS[self._dialect])}
        statements = []
        for table in TABLES:
            if table.name in self.tables:
                if self._objects[table.name][1] != table.description:
                    statements.append(self._comment("TABLE", table.name, table.description))
                statements += [
                    self._column_comment(table.name, column.name, column.description)
                    for column in table.columns
                    if held.get((table.name, column.name), column.description) != column.description
                ]
        return [_Change("Comments on the tables", statements)] if statements else []

    def missing_indexes(self) -> list[_Change]:
        """Indexes that do not stand: of the keys by which a load replaces rows and people join, and of the captions.

        Postgres alone has them: with 20,000 media, replacing one takes 0.2 ms a table instead of 7, and making them
        0.4 s after a first load of 7. DuckDB takes 2 ms a table with an index and without; BigQuery has none.
        """
        if self._dialect != "postgres":
            return []
        wanted = {}
        for table in TABLES:
            if table.name in self.tables and table.replaces:
                # the id first: it is what tells rows apart, and some join by it alone
                columns = ", ".join(map(self._client.escape_column_name, reversed(table.replaces)))
                wanted[f"coreviz_{table.name}_{table.replaces[-1]}"] = (table.name, f"({columns})")
        if CAPTIONS.name in self.tables:
            wanted[SEARCH_INDEX] = (CAPTIONS.name, f"USING gin ({SEARCH_VECTOR.format(text='text')})")
        return [
            _Change(f"Index {name}", [f"CREATE INDEX IF NOT EXISTS {name} ON {self._name(table)} {how}"])
            for name, (table, how) in wanted.items()
            if name not in self._objects
        ]

    def missing_views(self) -> list[_Change | str]:
        """Views that do not stand as declared; a sentence for each that cannot be made."""
        return [change for view in views() if (change := self._missing(view))]

    def _missing(self, view: View) -> _Change | str | None:
        full_name = self._name(view.name)
        mark = f"[coreviz_source {xxh3_64_hexdigest(f'{self._dialect} {full_name} {view.fingerprint}'.encode())}]"
        kind, comment = self._objects.get(view.name, ("", ""))
        if mark in comment:
            return None
        if kind and "[coreviz_source " not in comment:
            return f"View {view.name} was not made: a {kind} of this name stands there that is not ours."
        if absent := tables_of(view.sql) & BY_NAME.keys() - self.tables:
            return f"View {view.name} was not made: there is no table {', '.join(sorted(absent))} yet."
        query = render(view.sql, self._dialect, lambda table: self._client.make_qualified_table_name_path(table, False))
        description = f"{view.description} {mark}"
        if self._dialect == "bigquery":
            columns = ", ".join(
                f"{self._client.escape_column_name(name)} OPTIONS (description = {self._literal(meaning)})"
                for name, meaning in view.columns.items()
            )
            options = f"OPTIONS (description = {self._literal(description)})"
            made = [f"CREATE OR REPLACE VIEW {full_name} ({columns}) {options} AS\n{query}"]
        else:
            made = [
                f"CREATE OR REPLACE VIEW {full_name} AS\n{query}",
                self._comment("VIEW", view.name, description),
                *(self._column_comment(view.name, name, meaning) for name, meaning in view.columns.items()),
            ]
        # Postgres replaces a view only by one with the same columns, and perhaps more
        drop = [f"DROP VIEW {full_name}", *made] if kind and self._dialect == "postgres" else None
        return _Change(f"View {view.name}", made, drop)

    def write(self, changes: Iterable[_Change | str]) -> list[str]:
        """Makes what is missing, each change as a whole or not at all; returns a sentence for each that failed."""
        problems = [change for change in changes if isinstance(change, str)]
        for change in changes:
            if isinstance(change, _Change):
                try:
                    self._make(change)
                except Exception as error:
                    problems.append(f"{change.what} could not be made: {_line(error)}")
        for problem in problems:
            _log.warning("%s", problem)
        return problems

    def _make(self, change: _Change) -> None:
        try:
            self._execute(change.statements)
        except Exception:
            if change.otherwise is None:
                raise
            self._execute(change.otherwise)

    def _execute(self, statements: list[str]) -> None:
        if self._dialect == "postgres":
            schema = self._literal(f"coreviz_source {self._client.fully_qualified_dataset_name()}")
            # one process at a time; and readers of a view are waited for, but hold up nobody for long
            statements = [
                f"SELECT pg_advisory_xact_lock(hashtextextended({schema}, 0))",
                "SET LOCAL lock_timeout = '10s'",
                *statements,
            ]
        with nullcontext() if self._dialect == "bigquery" else self._client.begin_transaction():
            self._client.execute_many(statements)

    def _name(self, name: str) -> str:
        return self._client.make_qualified_table_name(name)

    def _comment(self, kind: str, name: str, text: str) -> str:
        return f"COMMENT ON {kind} {self._name(name)} IS {self._literal(text)}"

    def _column_comment(self, table: str, column: str, text: str) -> str:
        name = f"{self._name(table)}.{self._client.escape_column_name(column)}"
        return f"COMMENT ON COLUMN {name} IS {self._literal(text)}"


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
