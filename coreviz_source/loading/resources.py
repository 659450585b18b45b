"""Batches of rows become dlt resources, one per table. Only this module takes part in dlt's extraction."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import dlt
import pyarrow as pa
from dlt.common.configuration import inject_section, resolve_configuration
from dlt.common.configuration.specs.config_section_context import ConfigSectionContext
from dlt.common.schema.utils import dlt_id_column
from dlt.common.storages.exceptions import CurrentLoadPackageStateNotAvailable
from dlt.destinations.impl.bigquery.bigquery_adapter import (
    CLUSTER_COLUMNS_HINT,
    PARTITION_HINT,
    TABLE_DESCRIPTION_HINT,
)
from dlt.extract import DltResource, DltSource
from dlt.extract.items_transform import YieldMapItem
from dlt.normalize.configuration import ItemsNormalizerConfiguration

from coreviz_source.errors import ConfigurationError
from coreviz_source.loading.files import RowFiles
from coreviz_source.loading.guard import LoadGuard
from coreviz_source.loading.steps import AtOnce, Finish, Part, Stamp, as_arrow
from coreviz_source.loading.switches import check_single_dataset, check_source, check_versions
from coreviz_source.rows.build import as_table, to_dicts
from coreviz_source.run import Batch
from coreviz_source.tables import BY_NAME, GONE, HISTORY, MEDIA, RUNS, TABLES, Table
from coreviz_source.warehouse.destination import Destination, destination_of
from coreviz_source.warehouse.locks import Locks
from coreviz_source.warehouse.migrate import create_tables
from coreviz_source.warehouse.state import StoredState

#: Folder in the pipeline's working directory where rows are on their way to dlt.
ROWS_FOLDER = "coreviz_rows"


@dataclass
class Extraction:
    """What one extraction locks, what is stored, the batches to write, and the names of the tables they may have."""

    locks: Locks
    stored: StoredState
    batches: Iterable[Batch]
    tables: frozenset[str]

    @property
    def appends(self) -> bool:
        """Whether rows are appended: in the first load, where every item is listed once, and nothing is stored."""
        return self.stored.fresh and self.locks.alone


#: Begins an extraction. Its arguments are the selected tables, and those of them that have steps of a user.
Begin = Callable[[frozenset[str], frozenset[str]], Extraction]
#: Gives the batches of a library without a warehouse. Its argument is the selected tables.
Browse = Callable[[frozenset[str]], Iterable[Batch]]


class TableResource(DltResource):
    """A table of the source as a dlt resource."""

    #: The hints that this source has set for a run, as opposed to a user.
    chosen: Mapping[str, Any] = {}

    def add_limit(self, *_: Any, **__: Any) -> NoReturn:
        """Raises an error, because a limit on one table would separate media items from their children.

        Raises:
            ConfigurationError: Always.
        """
        raise ConfigurationError(
            f"add_limit cannot be used on {self.name}: media, frames and captions have to stay together.",
            remedy="Use max_media, which stops after so many media items: coreviz(max_media=10).",
        )

    def add_step(self, item_transform: Any, insert_at: int | None = None) -> TableResource:
        """Adds a step. What it yields is passed on as a list."""
        step = AtOnce(item_transform) if isinstance(item_transform, YieldMapItem) else item_transform
        added: TableResource = super().add_step(step, insert_at)  # type: ignore[arg-type]
        return added

    def add_yield_map(self, item_map: Any, insert_at: int | None = None) -> TableResource:
        """Adds a step that yields rows of each row."""
        return self.add_step(YieldMapItem(item_map), insert_at)

    def parallelize(self) -> TableResource:
        """Does nothing, because pages are requested in parallel already (`parallel_requests`)."""
        return self


class _AlwaysSelected(TableResource):
    """A table that is not selected by its name.

    The next run reads from `_coreviz_runs` what was listed when. The setting `history` decides on the history of the
    tables that are selected.
    """

    @property
    def selected(self) -> bool:
        return True

    @selected.setter
    def selected(self, value: bool) -> None:
        pass


def table_resources(begin: Begin, browse: Browse | None = None) -> list[DltResource]:
    """One resource per table. A single iteration over the batches feeds all of them.

    Args:
        begin: Called once, when dlt extracts.
        browse: Called instead if nothing is loaded, as in `list(coreviz().media)`.
    """
    ends = {table.name: Finish(table) for table in TABLES}

    def batches() -> Iterator[Any]:
        source = dlt.current.source()
        selected = frozenset(source.selected_resources) & BY_NAME.keys()
        try:
            package: Any = dlt.current.load_package_state()
        except CurrentLoadPackageStateNotAvailable:
            for batch in browse(selected) if browse is not None else ():
                yield {name: _dictionaries(rows, name) for name, rows in batch.tables.items()}
            return
        check_source(source, package["state"])
        pipeline = dlt.current.pipeline()
        stepped = frozenset(name for name in selected if ends[name].has_steps)
        check_single_dataset(pipeline, source.schema)
        LoadGuard.of(pipeline).check_nothing_waits()
        extraction = begin(selected, stepped)
        check_versions(extraction.tables, stepped)
        stepped &= extraction.tables
        with extraction.stored.connection.client() as client:
            check = ends[MEDIA.name].completeness() if MEDIA.name in stepped else None
            LoadGuard.of(pipeline).note(package, client.config, check)
        destination = destination_of(pipeline)
        form = _form(pipeline, destination)
        # dlt gives a `_dlt_id` to rows that are dictionaries, and to all rows if it is set to
        numbered = not form.files or _numbers_files()
        _prepare(source, extraction, destination, form, numbered)
        stamp = Stamp(str(package["load_id"]), frozenset() if numbered else _numbered_before(source))
        for name in stepped:
            ends[name].form = as_arrow(BY_NAME[name], stamp) if form.files else list
            versions = (table for table in HISTORY if table.name in extraction.tables)
            ends[name].merges = not extraction.appends
            ends[name].history = next((table for table in versions if table.versions_of is BY_NAME[name]), None)
        yield from _parts(extraction.batches, form, {name: ends[name] for name in stepped}, stamp)
        # it is released when the package is loaded
        extraction.locks.take_load()

    parent = dlt.resource(batches, name="library", selected=False)
    return [_table_resource(table, parent, ends[table.name]) for table in TABLES]


def _table_resource(table: Table, parent: DltResource, end: Finish) -> DltResource:
    def pick(batch: dict[str, Any]) -> Iterator[Any]:
        part = batch.get(table.name)
        if isinstance(part, Part):
            yield from end.split(part)
        elif part is not None:
            yield part

    kind = _AlwaysSelected if table is RUNS or table.versions_of else TableResource
    # dlt takes `_impl_cls`, but does not declare it
    make: Any = dlt.transformer
    resource: DltResource = make(pick, data_from=parent, max_table_nesting=0, _impl_cls=kind, **table.hints)
    return resource.add_step(end)


@dataclass(frozen=True)
class _Form:
    """How rows travel: as parquet files or as dictionaries, and in which format dlt loads them."""

    files: bool
    file_format: str | None


def _form(pipeline: dlt.Pipeline, destination: Destination) -> _Form:
    if not destination.loads_parquet():
        return _Form(False, destination.rows_format)
    if not destination.can_load_from(str(Path(pipeline.working_dir).resolve())):
        return _Form(True, destination.rows_format)
    return _Form(True, "parquet")


def _prepare(source: DltSource, extraction: Extraction, destination: Destination, form: _Form, numbered: bool) -> None:
    """Sets how the tables are loaded, and creates those that are missing in the warehouse."""
    stored, locks = extraction.stored, extraction.locks
    schema = dlt.Schema("coreviz")
    for name in sorted(extraction.tables):
        resource, table = source.resources[name], BY_NAME[name]
        chosen: dict[str, Any] = {"file_format": form.file_format}
        # the declared columns are all there are, because other fields are stored in `extra`
        hints: dict[str, Any] = {"file_format": form.file_format, "schema_contract": "evolve"}
        # a column that is added later must be nullable
        columns: dict[str, Any] = {"_dlt_id": {**dlt_id_column(), "nullable": form.files}} if numbered else {}
        if destination.has_layout:
            hints["additional_table_hints"] = _layout(table)
        if not table.replaces:
            hints["write_disposition"] = table.hints["write_disposition"]
        else:
            first = extraction.appends
            hints["write_disposition"] = "append" if first else table.hints["write_disposition"]
            columns[GONE] = {"hard_delete": not first}
            chosen |= {"write_disposition": "append", "hard_delete": not first}
        resource.apply_hints(**hints, columns=columns or None)
        if isinstance(resource, TableResource):
            resource.chosen = chosen
        if name not in stored.tables or (form.files and numbered):
            schema.update_table(resource.compute_table_schema())
    if schema.data_table_names(seen_data_only=False):
        with locks.load():
            create_tables(stored, schema)


def _numbered_before(source: DltSource) -> frozenset[str]:
    """The tables whose rows got a `_dlt_id` in an earlier run, and get none now, although staging tables require it."""
    tables = source.schema.tables
    return frozenset(name for name in BY_NAME if "_dlt_id" in tables.get(name, {}).get("columns", {}))


def _numbers_files() -> bool:
    """Whether dlt is set to add `_dlt_id` to rows in files, which another source may need."""
    # dlt also finds the setting under `parquet_normalizer` alone, and under the pipeline's name
    places = (("normalize", "parquet_normalizer"), ("parquet_normalizer",))
    with inject_section(ConfigSectionContext(pipeline_name=dlt.current.pipeline().pipeline_name)):
        return any(resolve_configuration(ItemsNormalizerConfiguration(), sections=p).add_dlt_id for p in places)


def _layout(table: Table) -> dict[str, Any]:
    """The layout of a table in BigQuery.

    A partition is a month. Days would be small, and after eleven years they would exceed the 4,000 partitions that one
    job may write. Queries need no filter on the partition, because a merge finds its rows by the clustered columns.
    """
    layout: dict[str, Any] = {TABLE_DESCRIPTION_HINT: table.description}
    if table.partitioned_by:
        layout[PARTITION_HINT] = {table.partitioned_by: "TIMESTAMP_TRUNC({column_name}, MONTH)"}
    if table.clustered_by:
        layout[CLUSTER_COLUMNS_HINT] = list(table.clustered_by)
    return layout


def _parts(
    batches: Iterable[Batch], form: _Form, stepped: Mapping[str, Finish], stamp: Stamp
) -> Iterator[dict[str, Any] | None]:
    """Yields the rows by table: for tables with steps as they are built, for the others as dictionaries or files.

    Yields None while dlt has something else to do first.
    """
    if not form.files:
        for batch in batches:
            whole = {name: _dictionaries(rows, name) for name, rows in batch.tables.items() if name not in stepped}
            yield {**whole, **_stepped(batch, stepped)}
            yield from ({name: _dictionaries(rows, name)} for name, rows in _versions(stepped))
        while any(end.waiting for end in stepped.values()):
            yield None
        yield from ({name: _dictionaries(rows, name)} for name, rows in _versions(stepped))
        return
    directory = Path(dlt.current.pipeline().working_dir) / ROWS_FOLDER
    # a run that was killed may have left files
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    with RowFiles(directory) as files:
        for batch in batches:
            files.add({name: stamp(name, rows) for name, rows in batch.tables.items() if name not in stepped})
            if parts := _stepped(batch, stepped):
                yield parts
            for name, rows in _versions(stepped):
                files.add({name: stamp(name, rows)})
        while any(end.waiting for end in stepped.values()):
            yield None
        for name, rows in _versions(stepped):
            files.add({name: stamp(name, rows)})
    yield files.files


def _stepped(batch: Batch, stepped: Mapping[str, Finish]) -> dict[str, Part]:
    """The rows of a batch that have to pass steps."""
    parts = {}
    for name in stepped.keys() & (batch.tables.keys() | batch.after_steps.keys()):
        rows = batch.tables[name] if name in batch.tables else as_table(BY_NAME[name], {}, 0)
        parts[name] = Part(rows, batch.after_steps.get(name))
        stepped[name].waiting += 1
    return parts


def _versions(stepped: Mapping[str, Finish]) -> Iterator[tuple[str, pa.Table]]:
    """The versions of rows that have passed their steps, each once."""
    for end in stepped.values():
        versions, end.versions = end.versions, []
        yield from ((name, rows) for name, rows in versions if rows.num_rows)


def _dictionaries(rows: pa.Table, name: str) -> list[dict[str, Any]]:
    """Rows as dictionaries. dlt adds the load id to them."""
    return to_dicts(rows, BY_NAME[name])
