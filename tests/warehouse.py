"""Reads a warehouse whole, and compares it with the truth value by value."""

from __future__ import annotations

import json
from collections import Counter
from datetime import datetime, timezone
from typing import Any

import dlt
import pyarrow as pa

from coreviz_source import open_library
from coreviz_source.tables import BY_NAME, CURRENT, GONE, LOAD_ID, Table
from coreviz_source.warehouse.views import NAMES as VIEWS
from tests.truth import Row, truth
from tests.view_truth import WITHOUT_HISTORY

ENCODER = json.JSONEncoder(sort_keys=True, default=lambda v: v.isoformat())
HIDDEN = {"content_hash", GONE, LOAD_ID, "_dlt_id"}


def query(pipeline: dlt.Pipeline, sql: str, *values: Any) -> list[tuple[Any, ...]]:
    with pipeline.sql_client() as client, client.execute_query(sql, *values) as cursor:
        return [tuple(row) for row in cursor.fetchall()]


def table_rows(client: Any, table: Table) -> list[Row]:
    """All rows of a table with the columns that the truth knows."""
    names = [c.name for c in table.columns if c.name not in HIDDEN]
    kinds = {c.name: c.kind for c in table.columns}
    # JSON as text: some drivers decode it, and a decoded text looks like one that is not
    bigquery = client.capabilities.sqlglot_dialect == "bigquery"
    form = {"json": "TO_JSON_STRING({})" if bigquery else "CAST({} AS VARCHAR)"}
    listed = ", ".join(form.get(kinds[name], "{}").format(client.escape_column_name(name)) for name in names)
    with client.execute_query(f"SELECT {listed} FROM {client.make_qualified_table_name(table.name)}") as cursor:
        rows = cursor.fetchall()
    return [{name: _plain(value, kinds[name]) for name, value in zip(names, row, strict=True)} for row in rows]


def _plain(value: Any, kind: str) -> Any:
    if kind == "json" and isinstance(value, str):
        return json.loads(value)
    if isinstance(value, datetime):
        return value.astimezone(timezone.utc) if value.tzinfo else value.replace(tzinfo=timezone.utc)
    return value


def read(pipeline: dlt.Pipeline, *names: str) -> dict[str, list[Row]]:
    with pipeline.sql_client() as client:
        return {name: table_rows(client, BY_NAME[name]) for name in names}


def assert_opened_library_is_whole(pipeline: dlt.Pipeline) -> None:
    """`open_library()` reads every row of every table as SQL does, and as many rows of each view."""
    library = open_library(pipeline)
    names = [table.name for table in CURRENT]
    expected = read(pipeline, *names)
    found = {}
    for table in CURRENT:
        kinds = {c.name: c.kind for c in table.columns if c.name not in HIDDEN}
        found[table.name] = [
            {name: row[name] if kind == "json" else _plain(row[name], kind) for name, kind in kinds.items()}
            for row in library[table.name]
        ]
    assert_equal(found, expected)
    counts = dict(tuple(row) for row in library.row_counts().fetchall())
    has_history = "caption_history" in counts
    assert counts.keys() == ({*BY_NAME, *VIEWS} if has_history else {*names, *WITHOUT_HISTORY})
    for name, count in counts.items():
        arrow = library[name].arrow()
        assert isinstance(arrow, pa.Table) and GONE not in arrow.column_names
        assert arrow.num_rows == count >= len(found.get(name, ())), name
    assert len(library.captions.df()) == counts["captions"]


def fixed(row: Row) -> str:
    """A row as text that is equal for equal rows."""
    return ENCODER.encode(row)


def assert_equal(found: dict[str, list[Row]], expected: dict[str, list[Row]]) -> None:
    problems = []
    for name, rows in expected.items():
        have, want = Counter(map(fixed, found[name])), Counter(map(fixed, rows))
        if have != want:
            missing, surplus = list((want - have).elements()), list((have - want).elements())
            problems.append(
                f"{name}: {len(missing)} rows missing, {len(surplus)} not expected\n"
                + "".join(f"  - {row[:400]}\n" for row in missing[:3])
                + "".join(f"  + {row[:400]}\n" for row in surplus[:3])
            )
    assert not problems, "the warehouse is not the mirror:\n" + "\n".join(problems)


def assert_mirror(pipeline: dlt.Pipeline, items_by_dataset: dict[str, list[Row]], *names: str) -> None:
    """Every table (or only those named) equals what the items say, row by row."""
    expected = truth(items_by_dataset)
    expected = {name: expected[name] for name in names or expected}
    with pipeline.sql_client() as client:
        assert_equal({name: table_rows(client, BY_NAME[name]) for name in expected}, expected)
        for name in expected:
            sql = f"SELECT COUNT(*) FROM {client.make_qualified_table_name(name)} WHERE {GONE} IS NOT NULL"
            assert client.execute_sql(sql)[0][0] == 0, f"{name} holds tombstones"  # type: ignore[index]


def load_ids(pipeline: dlt.Pipeline) -> dict[str, Counter[str]]:
    """How many rows of each table each load wrote; a run that writes nothing leaves it as it is."""
    found = {}
    with pipeline.sql_client() as client:
        for name in (table.name for table in CURRENT):
            if name != "_coreviz_runs":
                sql = f"SELECT {LOAD_ID}, COUNT(*) FROM {client.make_qualified_table_name(name)} GROUP BY 1"
                found[name] = Counter(dict(client.execute_sql(sql)))  # type: ignore[arg-type]
    return found


def runs(pipeline: dlt.Pipeline) -> list[Row]:
    return sorted(read(pipeline, "_coreviz_runs")["_coreviz_runs"], key=lambda r: r["started_at"])
