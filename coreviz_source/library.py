"""`open_library()`: the tables and views of a warehouse in Python, without a connection string. It only reads.

The relations are dlt's own, with rows to iterate over and polars beside them.
"""

from __future__ import annotations

import copy
import json
import logging
import re
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from importlib import import_module
from importlib.util import find_spec
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dlt
import duckdb
import sqlglot.expressions as sge
from dlt.common.schema.utils import new_table
from dlt.destinations.impl.duckdb.configuration import DuckDbCredentials
from dlt.destinations.job_client_impl import SqlJobClientBase
from dlt.destinations.sql_client import DBApiCursorImpl

from coreviz_source.errors import ConfigurationError, CorevizError, DestinationError
from coreviz_source.loading.pipeline import resolve_pipeline
from coreviz_source.tables import BY_NAME, CAPTIONS, FRAMES, GONE, MEDIA, MEDIA_TAGS, OBJECTS, RUNS, Table
from coreviz_source.values import canonical_id
from coreviz_source.warehouse.catalog import no_tables_error
from coreviz_source.warehouse.destination import DESTINATIONS, Destination, prepare
from coreviz_source.warehouse.failures import cause_of, connection_error, failure_of, is_locked
from coreviz_source.warehouse.file import DatabaseFile
from coreviz_source.warehouse.search import SEARCHED, checked_terms, search_tree
from coreviz_source.warehouse.views import NAMES as VIEWS

if TYPE_CHECKING:
    import pyarrow

_NEVER = datetime.min.replace(tzinfo=timezone.utc)
_LOADED = (
    "Load first (`coreviz-source sync`, or the demo with `coreviz-source demo`), or give the path of a file that was "
    "loaded into."
)
#: Rows that are fetched at once while somebody iterates.
_ROWS = 1000
#: Finds the schemas of a DuckDB file that have our tables. Those for staging have no runs.
_SCHEMAS = (
    "SELECT schema_name FROM duckdb_tables() "
    f"WHERE database_name = current_database() AND table_name = '{RUNS.name}' ORDER BY 1"
)


class Rows(dlt.Relation):
    """Rows of a table, of a view or of a query. Nothing is read before it is used.

    Everything of `dlt.Relation` is there: `where`, `select`, `limit`, `order_by`, `join`, `fetchall`, `to_ibis`.

    Raises:
        DestinationError: The warehouse cannot be read.

    Example:
        ```python
        library.objects.where("label", "eq", "red shoe").select("media_id", "x_min").df()
        ```
    """

    def __repr__(self) -> str:
        return f"<Rows of {self._table_name or 'a query'}: {', '.join(self.columns)}>"

    __str__ = __repr__

    @contextmanager
    def _cursor(self) -> Iterator[Any]:
        try:
            with self._dataset.translated(), super()._cursor() as cursor:
                yield cursor
        except Exception as error:
            tree: Any = self.sqlglot_expression
            if not isinstance(tree, sge.Query):
                raise ConfigurationError(
                    "Only a SELECT can be run here.", remedy="A library is opened for reading."
                ) from error
            known = {cte.alias for cte in tree.find_all(sge.CTE)} | set(self._dataset.tables)
            if unknown := {table.name for table in tree.find_all(sge.Table) if not table.db} - known:
                raise self._dataset.unknown_error(*sorted(unknown)) from error
            raise

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Each row as a dictionary, with JSON as objects."""
        columns = self.columns_schema
        as_text = self._dataset.kind.reads_json_as_text
        texts = [name for name, column in columns.items() if as_text and column.get("data_type") == "json"]
        for rows in self.iter_fetch(_ROWS):
            for values in rows:
                row = dict(zip(columns, values, strict=True))
                yield {**row, **{name: json.loads(row[name]) for name in texts if row[name] is not None}}

    def arrow(self, *args: Any, **kwargs: Any) -> pyarrow.Table:
        """All rows as one `pyarrow.Table`, with JSON as strings."""
        with _quiet():
            if self._dataset.kind.reads_arrow_in_parts:
                with self._cursor() as cursor:
                    return next(DBApiCursorImpl.iter_arrow(cursor, chunk_size=0))
            return super().arrow(*args, **kwargs)

    def df(self, *args: Any, **kwargs: Any) -> Any:
        """All rows as a pandas data frame.

        Raises:
            ConfigurationError: pandas is not installed.
        """
        _require("pandas", "df")
        if self._dataset.kind.reads_arrow_in_parts:
            return self.arrow().to_pandas()
        with _quiet():
            return super().df(*args, **kwargs)

    def pl(self) -> Any:
        """All rows as a polars data frame.

        Raises:
            ConfigurationError: polars is not installed.
        """
        _require("polars", "pl")
        return import_module("polars").from_arrow(self.arrow())


@contextmanager
def _quiet() -> Iterator[None]:
    """Leaves out what dlt says about each column with JSON or a list: that it becomes a string."""
    logger = logging.getLogger("dlt")

    def is_news(record: logging.LogRecord) -> bool:
        return not re.search("Arrow nested values require|Default conversion to `string`", record.getMessage())

    logger.addFilter(is_news)
    try:
        yield
    finally:
        logger.removeFilter(is_news)


def _require(package: str, method: str) -> None:
    if find_spec(package) is None:
        raise ConfigurationError(
            f"`.{method}()` needs {package}, which is not installed.",
            remedy=f"Run pip install {package}, or use `.arrow()`, which needs nothing more.",
        )


@dataclass(frozen=True)
class _Warehouse:
    """Where tables are; what the errors of a warehouse are about."""

    kind: Destination
    destination: Any
    dataset_name: str

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Turns failures of the warehouse into errors with a remedy. Errors in a query of the user stay as they are."""
        try:
            yield
        except CorevizError:
            raise
        except Exception as error:
            if failure_of(error) is None and not is_locked(error):
                raise
            failure = connection_error(error, "read", self)
            raise failure from cause_of(error, self)


@dataclass(frozen=True)
class Item:
    """One media item with everything below it, except for what the service marked as deleted.

    Attributes:
        media: Its row in `media`.
        tags: The values of each tag group, sorted.
        frames: The rows in `frames`, in the order of the item, each with the rows of its `captions` and `objects`.
    """

    media: dict[str, Any]
    tags: dict[str, list[str]]
    frames: list[dict[str, Any]]

    @property
    def captions(self) -> list[str]:
        """The texts of all captions, in the order of the frames."""
        return [caption["text"] for frame in self.frames for caption in frame["captions"]]


class Library(dlt.Dataset):
    """The tables and views of a library, as attributes: `library.captions`, `library.caption_search`.

    It is a `dlt.Dataset`, so `library("SELECT …")` runs a query, and `library.ibis()` gives a backend of ibis. Nothing
    can be written through it. A DuckDB file is open only while rows are read.
    """

    def __init__(self, warehouse: _Warehouse) -> None:
        super().__init__(warehouse.destination, warehouse.dataset_name, dlt.Schema("coreviz"))
        self.kind, self.translated = warehouse.kind, warehouse.translated
        with warehouse.translated(), self.destination_client as client:
            assert isinstance(client, SqlJobClientBase)
            found = dict(client.get_storage_tables([*BY_NAME, *VIEWS, "_dlt_loads"]))
        for name, columns in found.items():
            if columns:
                # a tombstone flag says nothing to a reader
                shown = [column for column in columns.values() if column["name"] != GONE]
                table = new_table(name, columns=shown, references=_references(name))
                # `row_counts()` leaves out tables without it
                table["x-normalizer"] = {"seen-data": True}
                self.schema.update_table(table)
        if MEDIA.name not in self.tables:
            raise no_tables_error(warehouse)

    def __repr__(self) -> str:
        return f"<Library in {self.destination_client.config}, schema {self.dataset_name}: {', '.join(self._names)}>"

    __str__ = __repr__

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self._names]

    def __getattr__(self, name: str) -> Any:
        # what Python and notebooks look for
        if name.startswith("__") or (name.startswith("_") and name not in self.tables):
            raise AttributeError(name)
        try:
            return self.table(name)
        except DestinationError as error:
            raise AttributeError(str(error)) from None

    def __getitem__(self, table_name: str) -> Rows:
        """The rows of a table or view.

        Raises:
            KeyError: It does not exist.
        """
        try:
            return self.table(table_name)
        except DestinationError as error:
            raise KeyError(str(error)) from None

    @property
    def _names(self) -> list[str]:
        """The tables and views without those of dlt."""
        return [name for name in self.tables if name in BY_NAME or name in VIEWS]

    def unknown_error(self, *names: str) -> DestinationError:
        """The error of tables that do not exist."""
        return DestinationError(
            f"There is no table or view {' and no '.join(names)}.", remedy=f"These exist: {', '.join(self._names)}."
        )

    def table(self, table_name: str, **kwargs: Any) -> Rows:
        """The rows of a table or view.

        Raises:
            DestinationError: It does not exist.
        """
        if table_name not in self.tables:
            raise self.unknown_error(table_name)
        return Rows(dataset=self, table_name=table_name)

    def query(self, query: Any, query_dialect: Any = None, **kwargs: Any) -> Rows:
        """The rows of a query, in the warehouse's SQL, with the plain names of tables and views."""
        return Rows(dataset=self, query=query, query_dialect=query_dialect, **kwargs)

    def ibis(self, read_only: bool = True) -> Any:
        """A backend of ibis with the tables and views, opened for reading whatever `read_only` is."""
        return super().ibis(read_only=True)

    def search(self, text: str) -> Rows:
        """The captions that match, newest media items first, as `coreviz-source search` finds them.

        The columns are those of the view `caption_search` without folder and tags. The view itself is not needed.

        Args:
            text: The query: every word must occur, as a whole word, in any order and in any case. A phrase in quotes
                must occur as it is, and `-word` must not occur. Postgres also finds other forms of English words.

        Raises:
            ConfigurationError: The query is empty or too long.
            DestinationError: A table is missing, because it was never loaded.
        """
        tree = search_tree(checked_terms(text), str(self.destination_dialect))
        if missing := [name for name in SEARCHED if name not in self.tables]:
            raise self.unknown_error(*missing)
        return self.query(tree)

    def item(self, media_id: str) -> Item:
        """One media item with its tags, frames, captions and objects.

        While a media item is moved, both datasets may have it. Then it is the one that is not marked as deleted.

        Args:
            media_id: Its id; a UUID in either form.

        Raises:
            KeyError: No such media item is stored.
        """
        found = self._rows_of(MEDIA, "id", media_id)
        if not found:
            raise KeyError(f"No media item {media_id} is stored.")
        media = min(found, key=lambda row: row["deleted_at"] is not None)
        tags = defaultdict(list)
        for row in self._below(media, MEDIA_TAGS):
            tags[row["tag_group"]].append(row["tag"])
        return Item(media, {group: sorted(tags[group]) for group in sorted(tags)}, self._frames_of(media))

    def _frames_of(self, media: dict[str, Any]) -> list[dict[str, Any]]:
        """The frames of a media item in their order, each with its captions and objects."""
        frames = [{**row, CAPTIONS.name: [], OBJECTS.name: []} for row in self._below(media, FRAMES)]
        known = {frame["id"]: frame for frame in frames}
        for table in (CAPTIONS, OBJECTS):
            for row in self._below(media, table):
                if (frame := known.get(row["frame_id"])) is None:
                    # a run can load captions without frames
                    ids = {"dataset_id": row["dataset_id"], "media_id": row["media_id"], "id": row["frame_id"]}
                    empty = dict.fromkeys(c for c in FRAMES.by_name if c != GONE)
                    frame = known[row["frame_id"]] = {**empty, **ids, CAPTIONS.name: [], OBJECTS.name: []}
                    frames.append(frame)
                if row["status"] != "deleted":
                    frame[table.name].append(row)
        frames.sort(key=lambda one: (one["timestamp_seconds"] or 0, one["page_number"] or 0, one["id"] or ""))
        return [frame for frame in frames if frame["status"] != "deleted"]

    def _below(self, media: dict[str, Any], table: Table) -> list[dict[str, Any]]:
        """The rows of a table that belong to a media item."""
        rows = self._rows_of(table, "media_id", media["id"])
        return [row for row in rows if row["dataset_id"] == media["dataset_id"]]

    def _rows_of(self, table: Table, column: str, media_id: str) -> list[dict[str, Any]]:
        """The rows of a media item, in the order in which they were created."""
        if table.name not in self.tables:
            return []
        rows = list(self.table(table.name).where(column, "eq", canonical_id(media_id)))
        rows.sort(key=lambda row: (row.get("created_at") or _NEVER, row.get("id") or ""))
        return rows


def _references(name: str) -> list[Any]:
    """What the ids in a table refer to, as dlt declares it: `captions.join("media")` needs no condition then."""
    found = []
    for column in BY_NAME[name].columns if name in BY_NAME else ():
        if column.references and column.references != name:
            other = BY_NAME[column.references]
            shared = ["dataset_id"] if "dataset_id" in other.key else []
            found.append(
                {
                    "referenced_table": other.name,
                    "columns": [*shared, column.name],
                    "referenced_columns": [*shared, "id"],
                }
            )
    return found


def open_library(
    source: dlt.Pipeline | str | PathLike[str] | None = None,
    dataset_name: str | None = None,
    *,
    destination: str | None = None,
    pipeline_name: str | None = None,
) -> Library:
    """Opens the tables and views of a library for reading.

    Args:
        source: A pipeline, the path of a DuckDB file, or None: what the command line loads into, which is
            `coreviz_library.duckdb` in the working directory unless a setting names another warehouse.
        dataset_name: Schema of the tables. Default: that of the pipeline, the only one in the file, or as configured.
        destination: Without `source`: the warehouse that the command line uses with `--destination`, such as postgres.
        pipeline_name: Without `source`: the pipeline that the command line uses with `--pipeline-name`.

    Raises:
        ConfigurationError: The file has several schemas with tables of this source, or the destination is not
            supported.
        DestinationError: There are no tables, or the warehouse cannot be read.

    Example:
        ```python
        import coreviz_source as cv

        library = cv.open_library()
        library.captions.df()
        ```
    """
    if source is None:
        given = {"destination": destination, "dataset_name": dataset_name, "pipeline_name": pipeline_name}
        source = resolve_pipeline(reading=True, **given)
    elif destination or pipeline_name:
        raise ConfigurationError(
            "A pipeline or a file was given, and a destination or the name of a pipeline as well.",
            remedy="Leave out one of them.",
        )
    if isinstance(source, dlt.Pipeline):
        return Library(_warehouse_of(source, dataset_name))
    if "://" in str(source):
        # the address may have a password in it, so it is not quoted
        raise ConfigurationError(
            "An address was given in place of the path of a DuckDB file.",
            remedy=(
                "Give a pipeline, or put the address into `destination.postgres.credentials` of dlt's configuration, "
                'and call open_library(destination="postgres").'
            ),
        )
    return Library(_warehouse_in(Path(source), dataset_name))


def _warehouse_of(pipeline: dlt.Pipeline, dataset_name: str | None) -> _Warehouse:
    kind = prepare(pipeline)
    factory: Any = copy.copy(pipeline.destination)
    # with a schema of its own: a pipeline's client has the pipeline's, which dlt replaces in place while threads use it
    client: Any = dlt.Dataset(factory, pipeline.dataset_name, dlt.Schema("coreviz")).destination_client
    file = DatabaseFile.of(kind, client)
    if file is not None and file.is_missing:
        raise DestinationError(f"There is no {file}.", remedy=_LOADED)
    factory.config_params = {**factory.config_params, "credentials": kind.for_reading(client.config.credentials)}
    return _Warehouse(kind, factory, dataset_name or pipeline.dataset_name)


def _warehouse_in(file: Path, dataset_name: str | None) -> _Warehouse:
    credentials = DuckDbCredentials(str(file), read_only=True)
    found = _Warehouse(DESTINATIONS["duckdb"], dlt.destinations.duckdb(credentials), dataset_name or "")
    if not file.exists():
        raise DestinationError(f"There is no DuckDB file {file}.", remedy=_LOADED)
    schemas = _schemas_in(file, found)
    if dataset_name:
        if dataset_name not in schemas:
            raise DestinationError(
                f"{file} has no tables of this source in the schema {dataset_name}.",
                remedy=f"It has them in {', '.join(schemas) or 'no other schema'}.",
            )
        return found
    if len(schemas) > 1:
        raise ConfigurationError(
            f"{file} has several schemas with tables of this source: {', '.join(schemas)}.",
            remedy=f'Name one of them: open_library("{file}", dataset_name="{schemas[0]}").',
        )
    if not schemas:
        raise DestinationError(f"{file} has no tables of this source.", remedy=_LOADED)
    return replace(found, dataset_name=schemas[0])


def _schemas_in(file: Path, warehouse: _Warehouse) -> list[str]:
    # DuckDB takes other files for those of SQLite or for a lake, and downloads an extension that opens them
    try:
        with file.open("rb") as opened:
            is_duckdb = opened.read(12)[8:] == b"DUCK"
    except IsADirectoryError:
        is_duckdb = False
    except OSError as error:
        raise DestinationError(f"{file} cannot be read: {error.strerror}.", remedy="Check its permissions.") from error
    if not is_duckdb:
        raise DestinationError(f"{file} is not a DuckDB file.", remedy=_LOADED)
    with warehouse.translated(), closing(duckdb.connect(str(file), read_only=True)) as database:
        return [name for (name,) in database.execute(_SCHEMAS).fetchall()]
