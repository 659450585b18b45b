"""The models of the dbt project: each table is a source and has a staging model, each view is a mart.

Names follow dbt's guide to structure: `stg_coreviz__media`, `coreviz__caption_search`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import yaml

from coreviz_source.tables import DATASETS, GONE, LOAD_ID, RUNS, TABLES, Column, Table
from coreviz_source.warehouse.views import render, views

_Yaml = dict[str, Any]

#: dlt's own table of loads: a row of a load that is not in it may be incomplete.
_LOADS = Table(
    "_dlt_loads",
    "One row per load package. Written by dlt.",
    ("load_id",),
    (
        Column("load_id", "text", "Id of the load.", nullable=False),
        Column("schema_name", "text", "Name of dlt's schema."),
        Column("status", "bigint", "0: the load is complete.", nullable=False),
        Column("inserted_at", "timestamp", "When the load was completed, UTC."),
    ),
)
_LOAD_ID = Column(LOAD_ID, "text", "Id of the load that wrote the row, as in `_dlt_loads`.")
_SOURCES = (*TABLES, _LOADS)

#: The columns with the id of an item that contains this one, and so is stored with it.
_CONTAINERS = ("dataset_id", "media_id", "frame_id")

#: When each dataset was last listed up to its newest media items, or first tried; of these, the oldest.
_LISTED_AT = """\
SELECT MIN(listed_at)
FROM (
    SELECT
        r.dataset_id,
        COALESCE(
            MAX(CASE WHEN r.outcome IN ('complete', 'window') THEN r.started_at END), MIN(r.started_at)
        ) AS listed_at
    FROM {{ this }} AS r
    JOIN {{ this.incorporate(path={'identifier': '_dlt_loads'}) }} AS l ON l.load_id = r._dlt_load_id AND l.status = 0
    GROUP BY r.dataset_id
) AS listings
"""


def texts(dialect: str) -> dict[str, str]:
    """The files below `models/`, by their paths in the project.

    Args:
        dialect: sqlglot's name of the warehouse's SQL.
    """
    described = {
        "staging/_coreviz__sources.yml": _sources(),
        "staging/_coreviz__staging.yml": {"models": [_staging_model(table) for table in _SOURCES]},
        "marts/_coreviz__marts.yml": {"models": [_model(_mart(v.name), v.description, v.columns) for v in views()]},
    }
    models = {f"staging/{_staging(table)}.sql": _staging_sql(table, dialect) for table in _SOURCES}
    models |= {f"marts/{_mart(view.name)}.sql": _mart_sql(view.sql, dialect) for view in views()}
    models |= {
        name: yaml.safe_dump({"version": 2, **content}, sort_keys=False, allow_unicode=True, width=120)
        for name, content in described.items()
    }
    return {f"models/{name}": text for name, text in models.items()}


def _staging(table: Table) -> str:
    return f"stg_coreviz__{re.sub('^_(coreviz|dlt)_', '', table.name)}"


def _mart(view: str) -> str:
    return f"coreviz__{view}"


def _columns(table: Table) -> list[Column]:
    """The columns that people read."""
    return [*(column for column in table.columns if column.name != GONE), *([_LOAD_ID] if table is not _LOADS else [])]


def _staging_sql(table: Table, dialect: str) -> str:
    query = render(f"SELECT {', '.join(c.name for c in _columns(table))} FROM {table.name}", dialect)
    return _with_names(query, {table.name: f"source('coreviz', '{table.name}')"})


def _mart_sql(sql: str, dialect: str) -> str:
    models = {table.name: _staging(table) for table in _SOURCES} | {view.name: _mart(view.name) for view in views()}
    query = render(sql, dialect, inline_views=False)
    return _with_names(query, {name: f"ref('{model}')" for name, model in models.items()})


def _with_names(query: str, names: dict[str, str]) -> str:
    """A rendered query that names tables and views as dbt does."""
    tables = rf"\b(FROM|JOIN) ({'|'.join(names)})\b"
    return re.sub(tables, lambda match: f"{match[1]} {{{{ {names[match[2]]} }}}}", query) + "\n"


def _model(name: str, description: str, columns: dict[str, str]) -> _Yaml:
    described = [{"name": column, "description": meaning} for column, meaning in columns.items()]
    return {"name": name, "description": description, "columns": described}


def _staging_model(table: Table) -> _Yaml:
    return _model(_staging(table), table.description, {c.name: c.description for c in _columns(table)})


def _sources() -> _Yaml:
    source = {
        "name": "coreviz",
        "description": "What coreviz-source mirrors from CoreViz Studio.",
        "database": '{{ var("coreviz_database", target.database) }}',
        "schema": '{{ var("coreviz_schema") }}',
        "tables": [_source(table) for table in _SOURCES],
    }
    return {"sources": [source]}


def _source(table: Table) -> _Yaml:
    found: _Yaml = {"name": table.name, "description": table.description}
    if table is RUNS:
        found["config"] = {
            "loaded_at_query": _LISTED_AT,
            "freshness": {
                f"{level}_after": {"count": f'{{{{ var("coreviz_{level}_after_hours") }}}}', "period": "hour"}
                for level in ("warn", "error")
            },
        }
    found["columns"] = [
        {"name": column.name, "description": column.description, **_tested(_column_tests(table, column))}
        for column in _columns(table)
    ]
    return {**found, **_tested(_table_tests(table))}


def _tested(tests: Iterable[Any]) -> _Yaml:
    found = list(tests)
    return {"data_tests": found} if found else {}


def _column_tests(table: Table, column: Column) -> Iterable[Any]:
    if not column.nullable:
        yield "not_null"
    if table.key == (column.name,):
        yield "unique"
    # rows of a media item have its dataset; a run that failed may be of a dataset that was never loaded
    if column.references == DATASETS.name and table is not RUNS and "media_id" not in table.by_name:
        yield {"relationships": {"arguments": {"to": _source_of(DATASETS.name), "field": "id"}}}


def _table_tests(table: Table) -> Iterable[Any]:
    if len(table.key) > 1:
        nullable_id = [c.name for c in table.columns if c.name == "id" and c.nullable]
        yield {
            "unique_combination": {
                "name": f"coreviz_{table.name.strip('_')}_is_unique",
                "arguments": {"columns": list(table.key)},
                # the API sent these items without an id
                **({"config": {"where": "id IS NOT NULL"}} if nullable_id else {}),
            }
        }
    for column in table.columns:
        if column.references is None or "dataset_id" not in table.by_name or column.references == DATASETS.name:
            continue
        if column.name in _CONTAINERS:
            config = {}
        elif column.references == "folders":
            # a folder is named by a path, and goes before the media items in it that are deleted softly
            config = {"severity": "warn"} | ({"where": "deleted_at IS NULL"} if "deleted_at" in table.by_name else {})
        else:
            # what the API names may be elsewhere, or no longer be
            continue
        yield {
            "item_exists": {
                "name": f"coreviz_{table.name.strip('_')}_{column.name}_exists",
                "arguments": {"column": column.name, "to": _source_of(column.references)},
                **({"config": config} if config else {}),
            }
        }


def _source_of(table: str) -> str:
    return f"source('coreviz', '{table}')"
