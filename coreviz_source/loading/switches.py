"""Refuses switches of dlt that would make a load differ from what it was compared with, before anything is requested.

The stored state is read while dlt extracts; dlt decides later what it writes and how. The tables as dlt is about to
write them are therefore compared with their declarations, whichever switch has changed them.

The steps of a resource are in its pipe, which dlt does not make public. It makes only some hints of a resource public.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Any

import dlt
from dlt.common.schema import Schema
from dlt.extract import DltResource, DltSource
from dlt.extract.exceptions import DataItemRequiredForDynamicTableHints

from coreviz_source.errors import ConfigurationError
from coreviz_source.loading.steps import Finish
from coreviz_source.tables import BY_NAME, RUNS, Table

#: Hints of a declared column that change a merge or its result.
_COLUMN_HINTS = (
    "data_type",
    "nullable",
    "precision",
    "scale",
    "timezone",
    "primary_key",
    "merge_key",
    "hard_delete",
    "dedup_sort",
    "unique",
)
#: Hints of a table that a user may not set, each with the remedy.
_TABLE_HINTS = {
    "parent": "Leave `parent_table_name` out: the keys of the tables are their own.",
    "table_format": "Leave `table_format` out.",
}


def check_refresh(refresh: object) -> None:
    """Refuses dlt's `refresh`, which empties tables after they were compared with the API.

    Raises:
        ConfigurationError: It is set.
    """
    if refresh:
        raise ConfigurationError(
            f"dlt's refresh={refresh!r} empties tables after they were compared with the API: they would stay empty.",
            remedy="Leave `refresh` out. Use `resync` to load everything again; to start over, drop the schema.",
        )


def check_single_dataset(pipeline: dlt.Pipeline, schema: Schema) -> None:
    """Checks that the tables go to the pipeline's dataset, from which the stored state is read.

    Raises:
        ConfigurationError: `use_single_dataset` is off, and another source of the pipeline has that dataset.
    """
    if not pipeline.config.use_single_dataset and pipeline.default_schema_name not in (None, schema.name):
        raise ConfigurationError(
            f"dlt's use_single_dataset is off: the tables would go to another dataset than {pipeline.dataset_name}.",
            remedy="Leave it on, or give this source a pipeline of its own with its own `dataset_name`.",
        )


def check_source(source: DltSource, package: Mapping[str, Any]) -> None:
    """Checks that dlt is about to write the declared tables, with their names and hints.

    Args:
        source: The source that is being extracted.
        package: State of the load package, which contains how dlt is going to `refresh`.

    Raises:
        ConfigurationError: A switch of dlt has changed them. The remedy names what to use instead.
    """
    ours = {name: source.resources[name] for name in source.resources.keys() & BY_NAME.keys()}
    if RUNS.name not in ours:
        raise ConfigurationError(
            f"A single table was taken out of the source: {', '.join(sorted(source.selected_resources))}.",
            remedy='Run the source with tables selected: coreviz(…).with_resources("media", "captions").',
        )
    for resource in source.resources.values():
        _check_pipe(resource, ours)
    check_refresh(package.get("refresh"))
    _check_names(source.schema)
    for name, resource in ours.items():
        if resource.selected:
            _check_table(BY_NAME[name], resource)
            _check_stored_schema(BY_NAME[name], source.schema)


def _check_pipe(resource: DltResource, ours: Mapping[str, DltResource]) -> None:
    """Checks that steps stand where they get rows, and that nothing else is fed by our tables."""
    pipe: Any = resource._pipe
    if resource.name in ours:
        if pipe.steps[0] is not pipe.gen or not isinstance(pipe.steps[-1], Finish):
            raise ConfigurationError(
                f"A step on {resource.name} was inserted where there are no rows.",
                remedy="Leave `insert_at` out, or use 1 for the first step.",
                table=resource.name,
            )
        if resource.incremental is not None:
            raise ConfigurationError(
                f"An incremental on {resource.name} drops rows by a state of its own.",
                remedy="Leave it out: the source is incremental; see `lookback`, `date_from` and `date_to`.",
                table=resource.name,
            )
        return
    while pipe.has_parent:
        pipe = pipe.parent
        if pipe.name in ours:
            raise ConfigurationError(
                f"The resource {resource.name} is fed by the table {pipe.name}, whose rows travel as files.",
                remedy="Use `add_map` or `add_yield_map` on the table, or read the table after the run.",
                table=pipe.name,
            )


def check_versions(tables: Iterable[str], stepped: Iterable[str]) -> None:
    """Checks that tables with versions have no steps.

    Args:
        tables: Names of the tables that are loaded.
        stepped: Names of the tables with steps.

    Raises:
        ConfigurationError: One has.
    """
    for table in map(BY_NAME.__getitem__, sorted({*tables} & {*stepped})):
        if table.versions_of is not None:
            raise ConfigurationError(
                f"A step on {table.name} would change what is compared with the stored versions.",
                remedy=f"Add the step to {table.versions_of.name}: versions are made of the rows that have passed it.",
                table=table.name,
            )


def _check_names(schema: Schema) -> None:
    for table in BY_NAME.values():
        for name in (table.name, *table.by_name):
            if schema.naming.normalize_identifier(name) != name:
                raise ConfigurationError(
                    f"The naming convention {schema.naming.name()} changes names: {name} would be "
                    f"{schema.naming.normalize_identifier(name)}.",
                    remedy="Use dlt's default, snake_case, for this pipeline (`schema.naming`).",
                )


@cache
def _declared(table: Table) -> DltResource:
    """A resource that has the table's hints and no others."""
    resource: DltResource = dlt.resource([], max_table_nesting=0, **table.hints)
    return resource


def _check_table(table: Table, resource: DltResource) -> None:
    if resource._hints == _declared(table)._hints:
        # computing the table from them takes longer than all other checks together
        return
    try:
        computed = dict(resource.compute_table_schema())
    except DataItemRequiredForDynamicTableHints:
        raise ConfigurationError(
            f"A hint of the table {table.name} is a function of its rows.",
            remedy="Leave it out, and use a view instead.",
            table=table.name,
        ) from None
    problems = list(_differences(table, computed, getattr(resource, "chosen", {})))
    if problems:
        what, remedy = problems[0]
        raise ConfigurationError(f"The table {table.name} was changed: {what}.", remedy=remedy, table=table.name)


def _differences(table: Table, computed: dict[str, Any], chosen: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The differences from the declaration, each with the remedy. `chosen` are hints that an earlier run has set."""
    declared: dict[str, Any] = dict(_declared(table).compute_table_schema())
    if computed["name"] != table.name:
        yield f"it is renamed to {computed['name']}", "Keep its name. Use another `dataset_name`, or create a view."
    for hint, remedy in _TABLE_HINTS.items():
        if computed.get(hint):
            yield f"{hint} is set", remedy
    disposition = computed.get("write_disposition")
    if disposition not in ("merge", declared.get("write_disposition"), chosen.get("write_disposition")):
        yield (
            f"write_disposition is {disposition!r}",
            "Leave `write_disposition` out: rows are merged. Use `resync` to load everything again.",
        )
    elif disposition == "merge" and computed.get("x-merge-strategy") not in (None, "delete-insert"):
        yield "its merge strategy is changed", "Leave `write_disposition` out: rows replace those of their key."
    if computed.get("file_format") not in (None, "preferred", chosen.get("file_format")):
        yield (
            f"loader_file_format is {computed['file_format']!r}",
            "Leave `loader_file_format` out: the source chooses a format that keeps all values as they are.",
        )
    for name, column in declared["columns"].items():
        found = computed["columns"].get(name, {})
        for hint in _COLUMN_HINTS:
            if found.get(hint) != column.get(hint) and not (hint == "hard_delete" and "hard_delete" in chosen):
                yield (
                    f"{hint} of its column {name} is {found.get(hint)!r} instead of {column.get(hint)!r}",
                    "Leave hints on declared columns out (`columns`, `primary_key`, `merge_key`); use a view instead.",
                )
                return


def _check_stored_schema(table: Table, schema: Schema) -> None:
    """Checks what dlt has stored of the table: from earlier runs, or from `import_schema_path`."""
    columns = table.hints["columns"]
    for name, column in schema.tables.get(table.name, {}).get("columns", {}).items():
        declared = columns.get(name)
        found = column.get("data_type")
        if declared is not None and found not in (None, declared["data_type"]):
            raise ConfigurationError(
                f"dlt's schema says that {table.name}.{name} is {found}; it has to be {declared['data_type']}.",
                remedy="Remove the change from the file under `import_schema_path`.",
                table=table.name,
            )
