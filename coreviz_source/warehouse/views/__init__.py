"""The views: a file of SQL each, with its description at the top, written once and rendered for each warehouse.

The files are DuckDB's SQL and name tables as `tables.py` does. To add a view, add a file and its name to `NAMES`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from xxhash import xxh3_64_hexdigest

from coreviz_source.warehouse.destination import by_dialect

NAMES = (
    "caption_search",
    "media_overview",
    "object_labels",
    "tag_usage",
    "moderation_queue",
    "caption_backlog",
    "freshness",
)


@dataclass(frozen=True)
class View:
    """One view: its name, what a row is, its columns with their meaning, and the query in DuckDB's SQL.

    The fingerprint is another one when the declaration, or the way in which it is rendered, has changed.
    """

    name: str
    description: str
    columns: dict[str, str]
    sql: str
    fingerprint: str


@cache
def views() -> tuple[View, ...]:
    """The views, in the order in which they are documented."""
    return tuple(_read(name) for name in NAMES)


def _read(name: str) -> View:
    declared, rendering = (
        files(__name__).joinpath(file).read_text(encoding="utf-8") for file in (f"{name}.sql", "__init__.py")
    )
    header, sql = declared.split("\n\n", 1)
    description, columns = re.sub("^-- ?", "", header, flags=re.MULTILINE).split("\n\n", 1)
    described = dict(line.split(": ", 1) for line in columns.splitlines())
    fingerprint = xxh3_64_hexdigest((declared + rendering).encode())
    return View(name, description.replace("\n", " "), described, sql.strip(), fingerprint)


def tables_of(sql: str) -> set[str]:
    """The names of the tables that a query in DuckDB's SQL reads."""
    import sqlglot
    from sqlglot import exp

    return {table.name for table in sqlglot.parse_one(sql, read="duckdb").find_all(exp.Table)}


def render(sql: str, dialect: str, path: Callable[[str], list[str]] | None = None) -> str:
    """A query in DuckDB's SQL, as another warehouse understands it.

    Args:
        sql: The query.
        dialect: The warehouse.
        path: Gives the full name of a table as its parts: catalog, schema, table. Default: as the query names it.
    """
    import sqlglot
    from sqlglot import exp

    tree = sqlglot.parse_one(sql, read="duckdb")
    for table in list(tree.find_all(exp.Table)) if path is not None else ():
        parts = [exp.to_identifier(part, quoted=True) for part in path(table.name)]  # type: ignore[misc]
        for key, part in zip(("this", "db", "catalog"), reversed(parts), strict=False):
            table.set(key, part)
    # `DATE_DIFF('microsecond', start, end)` of two timestamps
    for span in list(tree.find_all(exp.DateDiff)):
        template = by_dialect(dialect).microseconds
        if template and span.text("unit").upper() == "MICROSECOND":
            start, end = span.expression.sql(dialect), span.this.sql(dialect)
            span.replace(sqlglot.parse_one(template.format(start=start, end=end), read=dialect))
    return tree.sql(
        dialect, identify=path is not None, comments=False, pretty=True, unsupported_level=sqlglot.ErrorLevel.IGNORE
    )
