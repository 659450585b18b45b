"""The documents' examples: how they are found, and how the answers to their questions are written into them.

`python -m tests.docs DATABASE` fills in the answers from a demo database, and renders the questions of docs/sql.md for
BigQuery.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import duckdb
import sqlglot
from sqlglot import exp

from coreviz_source.warehouse.views import render

ROOT = Path(__file__).parents[1]
README, QUESTIONS, BIGQUERY = ROOT / "README.md", ROOT / "docs" / "sql.md", ROOT / "docs" / "sql_bigquery.sql"
#: Each of their questions has a query for DuckDB, one for Postgres and one for BigQuery, in this order.
BY_WAREHOUSE = (ROOT / "docs" / "time-zones.md", ROOT / "docs" / "json.md")
TOOLS = ROOT / "docs" / "bi-tools.md"
SQL = re.compile(r"```sql\n((?:(?!```).)*)```\n\n((?:\|[^\n]*\n)+)", re.DOTALL)


def blocks(path: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", path.read_text(), re.DOTALL)


def answer(database: duckdb.DuckDBPyConnection, sql: str) -> str:
    """A query's result as a markdown table."""
    found = database.execute(sql)
    names = [column[0] for column in found.description or ()]
    rows = [names, ["---"] * len(names), *([str(v) for v in row] for row in found.fetchall())]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def filled(text: str, database: duckdb.DuckDBPyConnection) -> str:
    return SQL.sub(lambda m: f"```sql\n{m[1]}```\n\n{answer(database, m[1])}", text)


def questions() -> dict[str, str]:
    """The questions of docs/sql.md, each with its query."""
    return dict(re.findall(r"^## \d+\. (.*?)\n.*?```sql\n(.*?)```", QUESTIONS.read_text(), re.DOTALL | re.MULTILINE))


def for_bigquery(sql: str) -> str:
    """A query of docs/sql.md in BigQuery's SQL, with what sqlglot leaves as it is and BigQuery does not have."""
    rewritten = sqlglot.parse_one(render(sql, "bigquery"), read="bigquery")
    for one in list(rewritten.find_all(exp.Any)):
        # x = ANY(list) is x IN UNNEST(list)
        one.parent.replace(exp.In(this=one.parent.this, unnest=exp.Unnest(expressions=[one.this.unnest()])))
    for truncated in rewritten.find_all(exp.TimestampTrunc):
        if truncated.args["unit"].sql("bigquery") == "WEEK":
            # BigQuery's week begins on Sunday
            truncated.set("unit", exp.var("ISOWEEK"))
    return rewritten.sql("bigquery", pretty=True)


def bigquery_page() -> str:
    """The page docs/sql_bigquery.sql."""
    head = "-- The questions of sql.md for BigQuery: rendered by sqlglot, run by a test double, not by Google's.\n"
    return head + "".join(f"\n-- {question}\n{for_bigquery(sql)};\n" for question, sql in questions().items())


if __name__ == "__main__":
    with duckdb.connect(sys.argv[1], read_only=True) as connection:
        for page in (README, QUESTIONS, TOOLS, *BY_WAREHOUSE):
            page.write_text(filled(page.read_text(), connection))
    BIGQUERY.write_text(bigquery_page())
