"""`open_library()`: the tables and views of a warehouse in Python, without a connection string. It only reads.

The relations are dlt's own, with rows to iterate over and polars beside them.
"""

from __future__ import annotations

import copy
import json
import logging
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
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
from dlt.common.schema.utils import new_table
from dlt.destinations.impl.duckdb.configuration import DuckDbCredentials
from dlt.destinations.job_client_impl import SqlJobClientBase

from coreviz_source.errors import ConfigurationError, CorevizError, DestinationError
from coreviz_source.loading.pipeline import resolve_pipeline
from coreviz_source.tables import BY_NAME, CAPTIONS, FRAMES, GONE, MEDIA, MEDIA_TAGS, OBJECTS, RUNS, Table
from coreviz_source.values import canonical_id
from coreviz_source.warehouse.catalog import no_tables_error
from coreviz_source.warehouse.connection import Connection
from coreviz_source.warehouse.destination import prepare
from coreviz_source.warehouse.failures import cause_of, connection_error, failure_of, is_locked
from coreviz_source.warehouse.search import checked_terms, condition
from coreviz_source.warehouse.views import NAMES as VIEWS

if TYPE_CHECKING:
    import pyarrow

_NEVER = datetime.min.replace(tzinfo=timezone.utc)
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

    @contextmanager
    def _cursor(self) -> Iterator[Any]:
        with self._dataset.translated(), super()._cursor() as cursor:
            yield cursor

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Each row as a dictionary."""
        names = self.columns
        for rows in self.iter_fetch(_ROWS):
            yield from (dict(zip(names, row, strict=True)) for row in rows)

    def arrow(self, *args: Any, **kwargs: Any) -> pyarrow.Table:
        """All rows as one `pyarrow.Table`."""
        with _quiet():
            table: Any = super().arrow(*args, **kwargs)
        return table.read_all() if hasattr(table, "read_all") else table

    def df(self, *args: Any, **kwargs: Any) -> Any:
        """All rows as a pandas data frame.

        Raises:
            ConfigurationError: pandas is not installed.
        """
        _require("pandas", "df")
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
    said = logging.getLogger("dlt")

    def is_news(record: logging.LogRecord) -> bool:
        return not re.search("Arrow nested values require|Default conversion to `string`", record.getMessage())

    said.addFilter(is_news)
    try:
        yield
    finally:
        said.removeFilter(is_news)


def _require(package: str, method: str) -> None:
    if find_spec(package) is None:
        raise ConfigurationError(
            f"`.{method}()` needs {package}, which is not installed.",
            remedy=f"Run pip install {package}, or use `.arrow()`, which needs nothing more.",
        )


@dataclass(frozen=True)
class _Warehouse:
    """Where tables are; what the errors of a warehouse are about."""

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
    """One media item with everything below it.

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
        self.translated = warehouse.translated
        with warehouse.translated(), self.destination_client as client:
            assert isinstance(client, SqlJobClientBase)
            found = dict(client.get_storage_tables([*BY_NAME, *VIEWS, "_dlt_loads"]))
        for name, columns in found.items():
            if columns:
                # a tombstone flag says nothing to a reader
                self.schema.update_table(new_table(name, columns=[c for c in columns.values() if c["name"] != GONE]))
        if MEDIA.name not in self.tables:
            raise no_tables_error(warehouse)

    def __str__(self) -> str:
        return f"Library in {self.destination_client.config}, schema {self.dataset_name}: {', '.join(self.tables)}"

    def table(self, table_name: str, **kwargs: Any) -> Rows:
        """The rows of a table or view."""
        super().table(table_name)
        return Rows(dataset=self, table_name=table_name)

    def query(self, query: Any, query_dialect: Any = None, **kwargs: Any) -> Rows:
        """The rows of a query, in the warehouse's SQL, with the plain names of tables and views."""
        return Rows(dataset=self, query=query, query_dialect=query_dialect, **kwargs)

    def search(self, text: str) -> Rows:
        """The rows of `caption_search` whose captions match, newest media first.

        Args:
            text: The query: every word must occur, as a whole word, in any order and in any case. A phrase in quotes
                must occur as it is, and `-word` must not occur. Postgres also finds other forms of English words.

        Raises:
            ConfigurationError: The query is empty or too long.
            DestinationError: There is no view `caption_search`.
        """
        terms = checked_terms(text)
        if "caption_search" not in self.tables:
            raise DestinationError(
                "The view caption_search does not exist.", remedy="Create it: create_views(pipeline), or run sync()."
            )
        of_captions = self.table("caption_search").where(
            condition("caption", terms, "caption_id", str(self.destination_dialect))
        )
        return of_captions.order_by("media_created_at", "desc").order_by("media_id").order_by("caption_id")

    def item(self, media_id: str) -> Item:
        """One media item with its tags, frames, captions and objects.

        Args:
            media_id: Its id; a UUID in either form.

        Raises:
            KeyError: No such media item is stored.
        """
        media = self._rows_of(MEDIA, "id", media_id)
        if not media:
            raise KeyError(media_id)
        frames = self._rows_of(FRAMES, "media_id", media_id)
        below = {table.name: _by_frame(self._rows_of(table, "media_id", media_id)) for table in (CAPTIONS, OBJECTS)}
        frames.sort(key=lambda frame: (frame["timestamp_seconds"] or 0, frame["page_number"] or 0, frame["id"]))
        tags = defaultdict(list)
        for row in self._rows_of(MEDIA_TAGS, "media_id", media_id):
            tags[row["tag_group"]].append(row["tag"])
        return Item(
            media[0],
            {group: sorted(tags[group]) for group in sorted(tags)},
            [{**frame, **{name: found.get(frame["id"], []) for name, found in below.items()}} for frame in frames],
        )

    def _rows_of(self, table: Table, column: str, media_id: str) -> list[dict[str, Any]]:
        """The rows of a media item, by id, with JSON as objects."""
        if table.name not in self.tables:
            return []
        rows = list(self.table(table.name).where(column, "eq", canonical_id(media_id)))
        rows.sort(key=lambda row: (row.get("created_at") or _NEVER, row.get("id") or ""))
        texts = [c.name for c in table.columns if c.kind == "json"]
        return [{n: json.loads(v) if n in texts and isinstance(v, str) else v for n, v in row.items()} for row in rows]


def _by_frame(rows: Iterable[dict[str, Any]]) -> Mapping[str, list[dict[str, Any]]]:
    found = defaultdict(list)
    for row in rows:
        found[row["frame_id"]].append(row)
    return found


def open_library(source: dlt.Pipeline | str | PathLike[str] | None = None, dataset_name: str | None = None) -> Library:
    """Opens the tables and views of a library for reading.

    Args:
        source: A pipeline, the path of a DuckDB file, or None: what the command line loads into, which is
            `coreviz_library.duckdb` in the working directory unless a setting names another warehouse.
        dataset_name: Schema of the tables. Default: that of the pipeline, the only one in the file, or as configured.

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
        source = resolve_pipeline(reading=True, dataset_name=dataset_name)
    if isinstance(source, dlt.Pipeline):
        return Library(_warehouse_of(source, dataset_name))
    return Library(_warehouse_in(Path(source), dataset_name))


def _warehouse_of(pipeline: dlt.Pipeline, dataset_name: str | None) -> _Warehouse:
    kind = prepare(pipeline)
    factory: Any = copy.copy(pipeline.destination)
    if Connection(pipeline, read_only=True).is_missing:
        raise no_tables_error(pipeline)
    client: Any = pipeline.destination_client()
    factory.config_params = {**factory.config_params, "credentials": kind.for_reading(client.config.credentials)}
    return _Warehouse(factory, dataset_name or pipeline.dataset_name)


def _warehouse_in(file: Path, dataset_name: str | None) -> _Warehouse:
    found = _Warehouse(dlt.destinations.duckdb(DuckDbCredentials(str(file), read_only=True)), dataset_name or "")
    if dataset_name:
        return found
    if not file.exists():
        raise DestinationError(f"There is no DuckDB file {file}.", remedy="Name a file that was loaded into.")
    with found.translated(), closing(duckdb.connect(str(file), read_only=True)) as database:
        schemas = [name for (name,) in database.execute(_SCHEMAS).fetchall()]
    if len(schemas) > 1:
        raise ConfigurationError(
            f"{file} has several schemas with tables of this source: {', '.join(schemas)}.",
            remedy=f'Name one of them: open_library("{file}", dataset_name="{schemas[0]}").',
        )
    return replace(found, dataset_name=schemas[0] if schemas else "coreviz")
