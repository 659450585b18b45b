"""The views: one file of SQL per view with its description at the top, written once and rendered for each warehouse.

The files are DuckDB's SQL and name tables as `tables.py` does. To add a view, add a file and its name to `NAMES`. A
view may read another one. That one's query then becomes part of it, so that each can be replaced or dropped alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from xxhash import xxh3_64_hexdigest

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


@dataclass(frozen=True)
class View:
    """One view.

    Attributes:
        name: Its name.
        description: What a row is.
        columns: The meaning of each column.
        sql: The query in DuckDB's SQL.
        fingerprint: Changes with the declaration, with those of the views that it reads, and with the rendering.
    """

    name: str
    description: str
    columns: dict[str, str]
    sql: str
    fingerprint: str


@cache
def views() -> tuple[View, ...]:
    """The views, in the order of the documentation."""
    return tuple(_read(name) for name in NAMES)


def _read(name: str) -> View:
    declared, rendering = _text(f"{name}.sql"), _text("__init__.py")
    rendering += "".join(_text(f"{other}.sql") for other in NAMES if re.search(rf"\b{other}\b", declared))
    header, sql = declared.split("\n\n", 1)
    description, columns = re.sub("^-- ?", "", header, flags=re.MULTILINE).split("\n\n", 1)
    described = dict(line.split(": ", 1) for line in columns.splitlines())
    fingerprint = xxh3_64_hexdigest((declared + rendering).encode())
    return View(name, description.replace("\n", " "), described, sql.strip(), fingerprint)


def _text(file: str) -> str:
    return files(__name__).joinpath(file).read_text(encoding="utf-8")


def tables_of(sql: str) -> set[str]:
    """The names of the tables that a query in DuckDB's SQL reads, itself or through views."""
    return {table.name for table in _tables(_parsed(sql))}


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


def render(sql: str, dialect: str, path: Callable[[str], list[str]] | None = None) -> str:
    """Renders a query in DuckDB's SQL for another warehouse.

    Args:
        sql: The query.
        dialect: sqlglot's name of the warehouse's SQL.
        path: Returns the parts of a table's full name: catalog, schema, table. Default: as the query names it.
    """
    import sqlglot
    from sqlglot import exp

    tree = _parsed(sql)
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
