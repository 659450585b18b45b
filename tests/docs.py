"""The documents' examples: how they are found, and how the README's answers are written into it.

`python -m tests.docs DATABASE` fills in the ERD and the answers of the README's questions from a demo database.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import duckdb

from coreviz_source.describe import mermaid

ROOT = Path(__file__).parents[1]
SQL = re.compile(r"```sql\n(.*?)```\n\n((?:\|[^\n]*\n)+)", re.DOTALL)
ERD = re.compile(r"```mermaid\n.*?```", re.DOTALL)


def blocks(path: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", path.read_text(), re.DOTALL)


def answer(database: duckdb.DuckDBPyConnection, sql: str) -> str:
    """A query's result as a markdown table."""
    found = database.execute(sql)
    names = [column[0] for column in found.description or ()]
    rows = [names, ["---"] * len(names), *([str(v) for v in row] for row in found.fetchall())]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def filled(text: str, database: duckdb.DuckDBPyConnection) -> str:
    text = ERD.sub(lambda _: f"```mermaid\n{mermaid()}```", text)
    return SQL.sub(lambda m: f"```sql\n{m[1]}```\n\n{answer(database, m[1])}", text)


if __name__ == "__main__":
    readme = ROOT / "README.md"
    with duckdb.connect(sys.argv[1], read_only=True) as connection:
        readme.write_text(filled(readme.read_text(), connection))
