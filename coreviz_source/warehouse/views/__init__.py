"""The views: one file of SQL per view with its description at the top, written once and rendered for each warehouse.

The files are DuckDB's SQL and name tables as `tables.py` does. To add a view, add a file and its name to `NAMES`. A
view may read another one. That one's query then becomes part of it, so that each can be replaced or dropped alone.

`python -m tests.views` renders them into the folder `rendered`, so that no run has to.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from coreviz_source.warehouse.destination import by_dialect

NAMES = (
    "folder_tree",
    "caption_search",
    "media_overview",
    "object_labels",
    "object_boxes",
    "tag_usage",
    "moderation_queue",
    "caption_backlog",
    "caption_changes",
    "freshness",
)

_TABLE = re.compile(r'["`]\{(\w+)\}["`]')


@dataclass(frozen=True)
class View:
    """One view.

    Attributes:
        name: Its name.
        description: What a row is.
        columns: The meaning of each column.
        sql: The query in DuckDB's SQL.
    """

    name: str
    description: str
    columns: dict[str, str]
    sql: str

    def rendered(self, dialect: str) -> str:
        """The query in a warehouse's SQL; the name of each table is a quoted `{name}`.

        Args:
            dialect: sqlglot's name of the warehouse's SQL.
        """
        return _text(f"rendered/{dialect}/{self.name}.sql")


@cache
def views() -> tuple[View, ...]:
    """The views, in the order of the documentation."""
    return tuple(_read(name) for name in NAMES)


def _read(name: str) -> View:
    header, sql = _text(f"{name}.sql").split("\n\n", 1)
    description, columns = re.sub("^-- ?", "", header, flags=re.MULTILINE).split("\n\n", 1)
    described = dict(line.split(": ", 1) for line in columns.splitlines())
    return View(name, description.replace("\n", " "), described, sql.strip())


def _text(file: str) -> str:
    return files(__name__).joinpath(file).read_text(encoding="utf-8")


def tables_of(rendered: str) -> set[str]:
    """The names of the tables that a rendered view reads, itself or through views."""
    return set(_TABLE.findall(rendered))


def with_names(rendered: str, name: Callable[[str], str]) -> str:
    """A rendered view with the tables' full names.

    Args:
        rendered: The query.
        name: Returns the full name of a table, quoted.
    """
    return _TABLE.sub(lambda match: name(match[1]), rendered)


def _parsed(sql: str) -> Any:
    """A query in which the queries of the views that it reads stand as common table expressions."""
    import sqlglot
    from sqlglot import exp

    tree: Any = sqlglot.parse_one(sql, read="duckdb")
    for name in dict.fromkeys(table.name for table in _tables(tree) if table.name in NAMES and not table.db):
        inner = _parsed(next(view.sql for view in views() if view.name == name))
        # one list of them, at the top: BigQuery has no recursion further inside
        for expression in inner.ctes:
            tree = tree.with_(expression.alias, expression.this, recursive=True)
        if inner.ctes:
            inner.find(exp.With).pop()
        tree = tree.with_(name, inner, recursive=True)
    return tree


def _tables(tree: Any) -> list[Any]:
    """The tables that a query reads; what it names itself is none."""
    from sqlglot import exp

    named = {expression.alias for expression in tree.find_all(exp.CTE)}
    return [table for table in tree.find_all(exp.Table) if table.db or table.name not in named]


def render(sql: str, dialect: str, path: Callable[[str], list[str]] | None = None, *, inline_views: bool = True) -> str:
    """Renders a query in DuckDB's SQL for another warehouse.

    Args:
        sql: The query.
        dialect: sqlglot's name of the warehouse's SQL.
        path: Returns the parts of a table's full name: catalog, schema, table. Default: as the query names it.
        inline_views: Whether the queries of the views that it reads become part of it.
    """
    import sqlglot
    from sqlglot import exp

    tree: Any = _parsed(sql) if inline_views else sqlglot.parse_one(sql, read="duckdb")
    for table in _tables(tree) if path is not None else ():
        parts = [exp.to_identifier(part, quoted=True) for part in path(table.name)]  # type: ignore[misc]
        for key, part in zip(("this", "db", "catalog"), reversed(parts), strict=False):
            table.set(key, part)
    # `DATE_DIFF('microsecond', start, end)` of two timestamps
    for span in list(tree.find_all(exp.DateDiff)):
        template = by_dialect(dialect).microseconds
        if template and span.text("unit").upper() == "MICROSECOND":
            start, end = span.expression.sql(dialect), span.this.sql(dialect)
            span.replace(sqlglot.parse_one(template.format(start=start, end=end), read=dialect))
    rendered: str = tree.sql(
        dialect, identify=path is not None, comments=False, pretty=True, unsupported_level=sqlglot.ErrorLevel.IGNORE
    )
    return rendered
