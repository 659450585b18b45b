"""Comments, indexes, foreign keys and views, brought up to date after a load.

One or two queries read what the catalog has; only what differs from the declarations is written. The comment of a view
has the hash of its declaration.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import dlt
from dlt.destinations.sql_client import SqlClientBase
from xxhash import xxh3_64_hexdigest

from coreviz_source.errors import DestinationError
from coreviz_source.tables import BY_NAME, CAPTIONS, HISTORY, MEDIA, TABLES
from coreviz_source.warehouse.connection import Connection
from coreviz_source.warehouse.destination import Destination
from coreviz_source.warehouse.failures import Warehouse, scrub
from coreviz_source.warehouse.views import View, tables_of, views, with_names

_log = logging.getLogger(__name__)

SEARCH_INDEX = "coreviz_captions_text"


def create_views(pipeline: dlt.Pipeline) -> list[str]:
    """Creates the views in the schema that a pipeline loads into, or replaces those of another release.

    Views that are up to date stay as they are, and so does a view or table of somebody else's with the same name. In
    Postgres, a view whose columns changed with the release is dropped first, and loses what was granted on it.

    Args:
        pipeline: Its destination and dataset are where the tables are.

    Returns:
        A sentence for each view that could not be created; empty if all of them exist.

    Raises:
        DestinationError: The warehouse cannot be reached, or has no tables yet.
    """
    connection = Connection(pipeline)
    if connection.is_missing:
        raise no_tables_error(pipeline)
    with closing(connection), connection.sql_client() as client:
        catalog = _Catalog(client, connection.destination, partial(scrub, pipeline=connection.pipeline))
        if not catalog.tables:
            raise no_tables_error(pipeline)
        return catalog.write(catalog.missing_views())


def ensure_catalog(
    connection: Connection, lock: Callable[[], AbstractContextManager[Any]], with_views: bool = True
) -> list[str]:
    """Brings comments, indexes and views up to date. It never raises, because the tables are complete without them.

    Args:
        connection: The warehouse.
        lock: Keeps other runs from loading while a block runs.
        with_views: Whether views are included.

    Returns:
        A sentence for each comment, index or view that could not be created.
    """
    try:
        with lock(), connection.sql_client() as client:
            catalog = _Catalog(client, connection.destination, partial(scrub, pipeline=connection.pipeline))
            missing = [*catalog.missing_comments(), *catalog.missing_indexes(), *catalog.missing_keys()]
            return catalog.write(missing + catalog.missing_views() if with_views and catalog.tables else missing)
    except DestinationError as error:
        problem = f"Comments, indexes and views were left as they are: {error}"
        _log.warning("%s", problem)
        return [problem]


def no_tables_error(pipeline: Warehouse) -> DestinationError:
    """The error of a warehouse that has no tables of ours."""
    return DestinationError(
        f"There are no tables in {pipeline.dataset_name!r} yet.",
        remedy="Load first (coreviz-source sync), or name the destination and dataset that were loaded into.",
        destination=pipeline.destination.destination_name,
    )


@dataclass(frozen=True)
class _Change:
    """A comment, index or view to create: statements that belong together, and others to try if they are refused."""

    what: str
    statements: list[str]
    otherwise: list[str] | None = None


class _Catalog:
    """What exists in a schema, and what is missing there."""

    def __init__(
        self, client: SqlClientBase[Any], destination: Destination, scrubbed: Callable[[str], str] = str
    ) -> None:
        self._scrubbed = scrubbed
        self._client = client
        self._destination = destination
        self._literal: Callable[[str], str] = client.capabilities.escape_literal
        self._objects = {name: (kind, comment or "") for name, kind, comment in self._ask(destination.objects_sql)}
        #: Tables of ours that exist.
        self.tables = {name for name, (kind, _) in self._objects.items() if kind == "table"} & BY_NAME.keys()

    def _ask(self, sql: str) -> list[tuple[Any, ...]]:
        dataset = self._client.fully_qualified_dataset_name()
        schema = self._literal(self._client.fully_qualified_dataset_name(quote=False))
        return [tuple(row) for row in self._client.execute_sql(sql.format(dataset=dataset, schema=schema)) or ()]

    def missing_comments(self) -> list[_Change]:
        """Comments on tables and columns that differ from `tables.py`."""
        if not self._destination.columns_sql:
            return []
        stored = {(table, column): comment for table, column, comment in self._ask(self._destination.columns_sql)}
        statements = []
        for table in TABLES:
            if table.name in self.tables:
                if self._objects[table.name][1] != table.description:
                    statements.append(self._comment("TABLE", table.name, table.description))
                statements += [
                    self._column_comment(table.name, column.name, column.description)
                    for column in table.columns
                    if stored.get((table.name, column.name), column.description) != column.description
                ]
        return [_Change("Comments on the tables", statements)] if statements else []

    def missing_indexes(self) -> list[_Change]:
        """Missing indexes: on the keys by which a load replaces rows and people join, and on the text of captions.

        One on `media.created_at` finds the media items of a window, and counts all. Only Postgres has indexes. With
        20,000 media, replacing one takes 0.2 ms per table instead of 7 ms, and creating the indexes 0.4 s after a first
        load of 7 s. DuckDB takes 2 ms per table in either case; BigQuery has none.
        """
        if not self._destination.has_indexes:
            return []
        wanted = {}
        for table in TABLES:
            if table.name in self.tables and table.replaces:
                # the id first: it is selective, and some queries join by it alone
                columns = ", ".join(map(self._client.escape_column_name, reversed(table.replaces)))
                wanted[f"coreviz_{table.name}_{table.replaces[-1]}"] = (table.name, f"({columns})")
        if MEDIA.name in self.tables:
            wanted["coreviz_media_created_at"] = (MEDIA.name, "(dataset_id, created_at) WHERE deleted_at IS NULL")
        vector = self._destination.search_vector
        if vector and CAPTIONS.name in self.tables:
            wanted[SEARCH_INDEX] = (CAPTIONS.name, f"USING gin ({vector.format(text='text')})")
        return [
            _Change(f"Index {name}", [f"CREATE INDEX IF NOT EXISTS {name} ON {self._name(table)} {how}"])
            for name, (table, how) in wanted.items()
            if name not in self._objects
        ]

    def missing_keys(self) -> list[_Change]:
        """Missing foreign keys, from which tools such as Metabase learn how tables are joined.

        Only Postgres 18 and later has keys that are not enforced, and so can refuse no row. A referenced column needs a
        unique index, which is enforced. It is created only for tables whose id alone is their key: every load after
        the first replaces their rows by it. Media items and frames can be in two datasets while they are moved.
        """
        if "NOT ENFORCED" not in self._objects:
            return []
        changes = []
        for target in TABLES:
            statements = [
                f"ALTER TABLE {self._name(table.name)} ADD CONSTRAINT {name} FOREIGN KEY ({column.name}) "
                f"REFERENCES {self._name(target.name)} (id) NOT ENFORCED"
                for table in TABLES
                for column in table.columns
                if column.references == target.name
                and target.key == ("id",)
                and {table.name, target.name} <= self.tables
                and (name := f"coreviz_{table.name}_{column.name}_fk") not in self._objects
            ]
            if statements:
                unique = (
                    f"CREATE UNIQUE INDEX IF NOT EXISTS coreviz_{target.name}_unique ON {self._name(target.name)} (id)"
                )
                changes.append(_Change(f"Foreign keys to {target.name}", [unique, *statements]))
        return changes

    def missing_views(self) -> list[_Change | str]:
        """Views that are not as declared; a sentence for each that cannot be created."""
        return [change for view in views() if (change := self._missing(view))]

    def _missing(self, view: View) -> _Change | str | None:
        if any(table.name in view.sql and table.name not in self.tables for table in HISTORY):
            # without history nobody misses it
            return None
        full_name = self._name(view.name)
        rendered = view.rendered(self._destination.dialect)
        declared = f"{full_name} {view.description} {view.columns} {rendered}"
        mark = f"[coreviz_source {xxh3_64_hexdigest(declared.encode())}]"
        kind, comment = self._objects.get(view.name, ("", ""))
        if mark in comment:
            return None
        if kind and "[coreviz_source " not in comment:
            return f"View {view.name} was not created: a {kind} of this name exists that is not ours."
        if absent := tables_of(rendered) & BY_NAME.keys() - self.tables:
            return f"View {view.name} was not created: there is no table {', '.join(sorted(absent))} yet."
        query = with_names(rendered, self._name)
        description = f"{view.description} {mark}"
        if not self._destination.columns_sql:
            columns = ", ".join(
                f"{self._client.escape_column_name(name)} OPTIONS (description = {self._literal(meaning)})"
                for name, meaning in view.columns.items()
            )
            options = f"OPTIONS (description = {self._literal(description)})"
            statements = [f"CREATE OR REPLACE VIEW {full_name} ({columns}) {options} AS\n{query}"]
        else:
            statements = [
                f"CREATE OR REPLACE VIEW {full_name} AS\n{query}",
                self._comment("VIEW", view.name, description),
            ]
            if self._destination.comments_view_columns:
                statements += [self._column_comment(view.name, name, text) for name, text in view.columns.items()]
        drop = (
            [f"DROP VIEW {full_name}", *statements] if kind and not self._destination.replaces_changed_views else None
        )
        return _Change(f"View {view.name}", statements, drop)

    def write(self, missing: Sequence[_Change | str]) -> list[str]:
        """Applies changes, each as a whole or not at all; returns a sentence for each that failed."""
        problems = [problem for problem in missing if isinstance(problem, str)]
        changes = [change for change in missing if isinstance(change, _Change)]
        if changes and not self._apply_at_once(changes):
            for change in changes:
                try:
                    self._apply(change)
                except Exception as error:
                    problems.append(f"{change.what} could not be created: {self._scrubbed(_line(error))}")
        for problem in problems:
            _log.warning("%s", problem)
        return problems

    def _apply_at_once(self, changes: Sequence[_Change]) -> bool:
        """Applies all changes in one transaction, which takes less time than one each. False if it failed."""
        if not self._destination.has_transactional_ddl:
            return False
        try:
            self._execute([statement for change in changes for statement in change.statements])
        except Exception:
            return False
        return True

    def _apply(self, change: _Change) -> None:
        try:
            self._execute(change.statements)
        except Exception:
            if change.otherwise is None:
                raise
            self._execute(change.otherwise)

    def _execute(self, statements: list[str]) -> None:
        if self._destination.has_advisory_locks:
            schema = self._literal(f"coreviz_source {self._client.fully_qualified_dataset_name()}")
            # one process at a time; a reader of a view delays the others by ten seconds at most
            statements = [
                f"SELECT pg_advisory_xact_lock(hashtextextended({schema}, 0))",
                "SET LOCAL lock_timeout = '10s'",
                *statements,
            ]
        with self._client.begin_transaction() if self._destination.has_transactional_ddl else nullcontext():
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
