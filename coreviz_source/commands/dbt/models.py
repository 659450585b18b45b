"""The models of the dbt project: each table is a source and has a staging model, each view is a mart.

Names follow dbt's guide to structure: `stg_coreviz__media`, `coreviz__caption_search`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import yaml

from coreviz_source.tables import (
    CHILDREN,
    DATASETS,
    FOLDERS,
    GONE,
    HISTORY,
    LOAD,
    LOADS,
    MEDIA,
    RUNS,
    TABLES,
    Column,
    Table,
)
from coreviz_source.warehouse.views import View, render, views

_Yaml = dict[str, Any]

_SOURCES = (*TABLES, LOADS)

#: The columns with the id of the item that contains this one, and so is stored with it.
_CONTAINERS = ("media_id", "frame_id")

#: The configuration of what exists only where versions are kept.
_IF_HISTORY = {"enabled": '{{ var("coreviz_history") }}'}

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
        "marts/_coreviz__marts.yml": {"models": [_mart_model(view) for view in views()]},
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
    return [*(column for column in table.columns if column.name != GONE), *([LOAD] if table is not LOADS else [])]


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


def _staging_model(table: Table) -> _Yaml:
    columns = {column.name: column.description for column in _columns(table)}
    return _model(_staging(table), table.description, columns, table in HISTORY)


def _mart_model(view: View) -> _Yaml:
    return _model(_mart(view.name), view.description, view.columns, any(table.name in view.sql for table in HISTORY))


def _model(name: str, description: str, columns: dict[str, str], of_history: bool) -> _Yaml:
    described = [{"name": column, "description": meaning} for column, meaning in columns.items()]
    config = {"config": _IF_HISTORY} if of_history else {}
    return {"name": name, "description": description, **config, "columns": described}


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
    if table in HISTORY:
        found["config"] = _IF_HISTORY
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
    # what belongs to a media item has its dataset
    if table in (FOLDERS, MEDIA) and column.references == DATASETS.name:
        yield {"relationships": {"arguments": {"to": _source_of(DATASETS.name), "field": "id"}}}


def _table_tests(table: Table) -> Iterable[Any]:
    if len(table.key) > 1:
        # the API may send frames, captions and objects without an id
        has_null_ids = "id" in table.by_name and table.by_name["id"].nullable
        yield {
            "unique_combination": {
                "name": f"coreviz_{table.name.strip('_')}_is_unique",
                "arguments": {"columns": list(table.key)},
                **({"config": {"where": "id IS NOT NULL"}} if has_null_ids else {}),
            }
        }
    for column, config in _references(table):
        yield {
            "item_exists": {
                "name": f"coreviz_{table.name}_{column.name}_exists",
                "arguments": {"column": column.name, "to": _source_of(str(column.references))},
                **({"config": config} if config else {}),
            }
        }


def _references(table: Table) -> Iterable[tuple[Column, _Yaml]]:
    """The columns whose value is the id of another item of the dataset, with the configuration of their tests.

    Others name items that may be elsewhere, or deleted: versions, for example, outlive their media item.
    """
    for column in table.columns if table in (FOLDERS, MEDIA, *CHILDREN) else ():
        if column.name in _CONTAINERS:
            yield column, {}
        elif column.references == FOLDERS.name:
            # the id is from a path, and media items that are deleted softly outlive their folder
            yield column, {"severity": "warn", **({"where": "deleted_at IS NULL"} if table is MEDIA else {})}


def _source_of(table: str) -> str:
    return f"source('coreviz', '{table}')"
