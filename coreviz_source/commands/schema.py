"""Descriptions of the tables and views, made from their declarations: as text, Markdown, JSON, and as a diagram."""

from __future__ import annotations

import json

from coreviz_source.tables import GONE, TABLES, Column, Table
from coreviz_source.warehouse.views import View, views


def _type(column: Column) -> str:
    return "text" if column.kind == "id" else column.kind


def text() -> str:
    """Tables and views for a terminal."""
    lines = []
    for table in TABLES:
        lines.append(f"{table.name}: {table.description}")
        lines.extend(f"  {c.name:<24}{_type(c):<11}{c.description}" for c in table.columns if c.name != GONE)
        lines.append("")
    for view in views():
        lines.append(f"{view.name} (view): {view.description}")
        lines.extend(f"  {name:<35}{meaning}" for name, meaning in view.columns.items())
        lines.append("")
    return "\n".join(lines)


def _table(table: Table) -> str:
    rows = "\n".join(
        f"| `{c.name}` | {_type(c)} | {c.description} | {f'`{c.api}`' if c.api else ''} |" for c in table.columns
    )
    key = f"Key: {', '.join(f'`{name}`' for name in table.key)}.\n\n" if table.key else ""
    return (
        f"## {table.name}\n\n{table.description}\n\n{key}"
        f"| column | type | meaning | API field |\n|---|---|---|---|\n{rows}\n"
    )


def _view(view: View) -> str:
    rows = "\n".join(f"| `{name}` | {meaning} |" for name, meaning in view.columns.items())
    return f"### {view.name}\n\n{view.description}\n\n| column | meaning |\n|---|---|\n{rows}\n"


def markdown() -> str:
    """The page docs/tables.md."""
    return (
        "# Tables\n\n"
        "`make docs` writes this page from `coreviz_source/tables.py` and `coreviz_source/warehouse/views`.\n\n"
        f"```mermaid\n{mermaid()}```\n\n" + "\n".join(_table(table) for table in TABLES) + "\n## Views\n\n"
        "`sync()` creates the views at the end of a run (`--no-views` leaves them out), and so does\n"
        "`create_views(pipeline)`. Softly deleted media items are in none of them except `caption_changes`.\n\n"
        + "\n".join(map(_view, views()))
    )


def as_json() -> str:
    """The tables for programs."""
    tables = [
        {
            "name": table.name,
            "description": table.description,
            "key": list(table.key),
            "columns": [
                {
                    "name": c.name,
                    "type": _type(c),
                    "nullable": c.nullable,
                    "description": c.description,
                    "api_field": c.api,
                    "references": c.references,
                }
                for c in table.columns
            ],
        }
        for table in TABLES
    ]
    return json.dumps({"tables": tables}, indent=2) + "\n"


def mermaid() -> str:
    """The tables and their references as an entity relationship diagram."""
    lines = ["erDiagram"]
    for table in TABLES:
        for column in table.columns:
            if column.references and column.references != table.name:
                lines.append(f"    {column.references} ||--o{{ {table.name} : {column.name}")
    for table in TABLES:
        lines.append(f"    {table.name} {{")
        lines.extend(
            f"        {_type(c)} {c.name}{' PK' if c.name in table.key else ''}"
            for c in table.columns
            if c.name in table.key or c.references or c.name in ("name", "text", "label", "created_at", "outcome")
        )
        lines.append("    }")
    return "\n".join(lines) + "\n"
