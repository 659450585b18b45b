"""What the warehouse already holds: the one question asked before a listing is compared with anything.

The warehouse is the only memory. A media counts as loaded in a version only if dlt recorded the load that wrote
it as complete; so after a crash anywhere between two tables, the next listing writes again what may be half there.
"""

from __future__ import annotations

import importlib.util
import re
import warnings
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import dlt
from dlt.common.destination.exceptions import DestinationUndefinedEntity
from dlt.destinations.job_client_impl import SqlJobClientBase
from dlt.destinations.sql_client import SqlClientBase

from coreviz_source.errors import ConfigurationError, CorevizError, DestinationError, unreachable
from coreviz_source.tables import CHILDREN, FRAMES, GONE, MEDIA, RUNS, TABLES, Table
from coreviz_source.values import text_hash

# BigQuery's answers are read by REST; the storage API, which Google's client recommends, needs one permission more
warnings.filterwarnings("ignore", message="Cannot create BigQuery Storage client")

#: How DuckDB is set up for loads.
_LOADING = {"threads": 1, "wal_autocheckpoint_entries": 10}
#: And for those that only append; to merge may need more.
_APPENDING = {"memory_limit": "48MB"}

_ROWS = 10_000
_IDS = 500


class Known:
    """Ids with the hash of the content that the warehouse holds of them, sorted: 17 bytes each.

    A hash of 0 stands for "not known to be whole": whatever the listing brings counts as changed.
    """

    def __init__(self, rows: Iterable[tuple[str, int]] = ()) -> None:
        keys, hashes = array("Q"), array("Q")
        for item_id, content_hash in rows:
            keys.append(text_hash(item_id))
            hashes.append(content_hash)
        self._keys, self._hashes = array("Q"), array("Q")
        for i in sorted(range(len(keys)), key=keys.__getitem__):
            if self._keys and self._keys[-1] == keys[i]:
                # held twice, or doubtful: not whole
                self._hashes[-1] = 0
            else:
                self._keys.append(keys[i])
                self._hashes.append(hashes[i])
        self._listed = bytearray(len(self._keys))

    def __len__(self) -> int:
        return len(self._keys)

    def _index(self, item_id: str) -> int | None:
        key = text_hash(item_id)
        index = bisect_left(self._keys, key)
        return index if index < len(self._keys) and self._keys[index] == key else None

    def listed(self, item_id: str) -> int | None:
        """The hash held of an item that the listing shows, None if it is not known; remembers that it was seen."""
        index = self._index(item_id)
        if index is None:
            return None
        self._listed[index] = 1
        return self._hashes[index]

    def is_gone(self, item_id: str) -> bool:
        """Whether the item is known but the listing did not show it."""
        index = self._index(item_id)
        return index is not None and not self._listed[index]

    def was_listed(self, item_id: str) -> bool:
        """Whether the item is known and the listing showed it."""
        index = self._index(item_id)
        return index is not None and bool(self._listed[index])

    @property
    def unlisted(self) -> int:
        """How many known items the listing did not show."""
        return len(self._listed) - sum(self._listed)


@dataclass(frozen=True)
class LastRuns:
    """When the last listing of a dataset began, and the last complete one, by the server's clock."""

    listed: datetime | None = None
    complete: datetime | None = None


class Memory:
    """Reads the warehouse that a pipeline loads into.

    Every method raises `DestinationError` (exit code 7) if the warehouse cannot be read; only a table that does
    not exist counts as empty.

    Args:
        pipeline: The pipeline whose destination and dataset are read.
        make: Whether a DuckDB file that does not exist may be made, which opening it does; else it counts as empty.
    """

    def __init__(self, pipeline: dlt.Pipeline, make: bool = True) -> None:
        self._pipeline = pipeline
        self._can_hold_nul = not pipeline.destination.destination_type.endswith("postgres")
        self._connection = ExitStack()
        self._opened: SqlJobClientBase | None = None
        self.tables: set[str] = set()
        self.fresh = True
        #: Whether something was missing in the warehouse when the run began, so that everything has to be listed.
        self.mended = False
        #: What DuckDB's settings were, where they are others while it loads.
        self._usual: dict[str, Any] = {}
        if not make and self._is_missing():
            return
        with self._client() as client:
            self._check_names(client)
            names = [table.name for table in TABLES] + ["_dlt_loads"]
            # BigQuery cannot be asked for the tables of a dataset that does not exist
            stored = client.get_storage_tables(names) if client.is_storage_initialized() else ()
            self._stored = {name: columns for name, columns in stored if columns}
        #: Tables that exist, by name.
        self.tables = set(self._stored)
        #: Whether nothing had been loaded when the run began.
        self.fresh = not any(table.replaces and table.name in self.tables for table in TABLES)

    @classmethod
    def nothing(cls) -> Memory:
        """Nothing stored, and no warehouse: what is compared with it is new."""
        memory = cls.__new__(cls)
        memory._connection, memory._opened, memory._stored = ExitStack(), None, {}
        memory.tables, memory.fresh, memory.mended, memory._can_hold_nul = set(), True, False, True
        return memory

    @property
    def _is_duckdb(self) -> bool:
        return self._pipeline.destination.destination_type.endswith("duckdb")

    def _is_missing(self) -> bool:
        if not self._is_duckdb:
            return False
        credentials: Any = self._pipeline.destination_client().config.credentials
        return not Path(credentials.database).exists()

    def _check_names(self, client: SqlJobClientBase) -> None:
        """DuckDB cannot tell a file `coreviz.duckdb` from a schema `coreviz`: dlt would fail after the extraction."""
        if not self._is_duckdb:
            return
        catalog = client.sql_client.execute_sql("SELECT current_database()")
        if catalog and catalog[0][0] == client.sql_client.dataset_name:
            raise ConfigurationError(
                f"The DuckDB file and the dataset in it are both named {catalog[0][0]}, which DuckDB finds ambiguous.",
                remedy='Name one of them differently, e.g. dlt.pipeline("coreviz_library", dataset_name="coreviz").',
            )

    @property
    def holds_nul(self) -> bool:
        """Whether the warehouse's texts can hold NUL characters."""
        return self._can_hold_nul

    def mend(self, selected: frozenset[str], hold: Callable[[], AbstractContextManager[Any]]) -> None:
        """Sees to tables and columns that somebody removed, or that an older release did not have.

        What they held is not there any more, so every hash is forgotten first: the rows are built again. Columns are
        made here, because they are read; tables are made with the load.

        Args:
            selected: Names of the tables that are loaded.
            hold: Holds other runs' loads for as long as a block lasts.

        Raises:
            DestinationError: A column is not what it is declared to be, which only dropping its table can mend.
        """
        if self.fresh:
            return
        schema = dlt.Schema("coreviz")
        missing = "_dlt_loads" not in self.tables
        for table in TABLES:
            stored = self._stored.get(table.name, {})
            if table.name not in selected and table is not RUNS:
                continue
            for name, hints in table.hints["columns"].items() if stored else ():
                found = stored.get(name, {}).get("data_type")
                if found != hints["data_type"] and (found or not hints["nullable"]):
                    raise self._changed_by_hand(table, name, found, hints["data_type"])
            if not table.hints["columns"].keys() <= stored.keys():
                missing = True
                if stored:
                    resource = dlt.resource([], **table.hints)
                    if self._pipeline.destination.destination_type.endswith("postgres"):
                        # which JSON type Postgres gets depends on it
                        resource.apply_hints(file_format="parquet" if takes_files("postgres") else "insert_values")
                    schema.update_table(resource.compute_table_schema())
        if missing:
            self.mended = True
            with hold():
                for table in TABLES:
                    if "content_hash" in self._stored.get(table.name, {}):
                        self._execute(f"UPDATE {{{table.name}}} SET content_hash = NULL WHERE 1 = 1")
                self.make(schema)

    def _changed_by_hand(self, table: Table, column: str, found: str | None, declared: str) -> DestinationError:
        with self._client() as client:
            qualified = client.sql_client.make_qualified_table_name(table.name)
        return DestinationError(
            f"The column {table.name}.{column} is {found or 'missing'} in the warehouse; it has to be {declared}.",
            remedy=f"Run DROP TABLE {qualified}, with your views on it; the next run makes it again and fills it.",
            destination=self._pipeline.destination.destination_name,
            schema=self._pipeline.dataset_name,
            table=table.name,
        )

    def make(self, schema: dlt.Schema) -> None:
        """Makes the tables of a schema, or the columns that they lack, and dlt's own."""
        names = schema.data_table_names(seen_data_only=False)
        with self._client() as client:
            # as if it came from storage: dlt does not apply a schema that was never saved
            usual, client.schema = client.schema, dlt.Schema.from_dict(schema.to_dict())  # type: ignore[arg-type]
            try:
                if not client.is_storage_initialized():
                    client.initialize_storage()
                client.update_stored_schema([*schema.dlt_table_names(), *names], force=True)
            finally:
                client.schema = usual
        self.tables.update(names, ["_dlt_loads"])

    def last_runs(self, selected: str | None = None) -> dict[str, LastRuns]:
        """When each dataset was last listed; slices, samples and unproven runs do not count.

        Args:
            selected: The tables that a run loads, as `_coreviz_runs` says it. What listed others does not count.
        """
        if RUNS.name not in self.tables or self.mended:
            return {}
        listed: dict[str, LastRuns] = {}
        rows = self._query(
            "SELECT r.dataset_id, MAX(r.started_at), "
            "MAX(CASE WHEN r.outcome = 'complete' THEN r.started_at END) "
            "FROM {_coreviz_runs} r JOIN {_dlt_loads} l ON l.load_id = r._dlt_load_id AND l.status = 0 "
            "WHERE r.outcome IN ('complete', 'window') AND (r.selected IS NULL OR r.selected = %s) "
            "GROUP BY r.dataset_id",
            selected or "",
        )
        for dataset_id, last, complete in rows:
            listed[dataset_id] = LastRuns(utc(last), utc(complete))
        return listed

    def dataset_hashes(self) -> dict[str, int]:
        """The content hash of each dataset; 0 where its row is doubtful."""
        found: dict[str, int] = {}
        if "datasets" in self.tables:
            for dataset_id, content_hash in self._query(_WHOLE.format(key="d.id", table="datasets", where="")):
                found[dataset_id] = 0 if dataset_id in found else _number(content_hash)
        return found

    def folders(self, dataset_id: str) -> Known:
        """The folders held of a dataset."""
        return Known(self._held("folders", dataset_id))

    def held_media(self, dataset_id: str, since: datetime | None = None) -> Iterator[tuple[str, int]]:
        """The media held of a dataset with their hashes: those created at or after `since`, or all of them.

        A media that was softly deleted counts as not known.
        """
        return self._held(MEDIA.name, dataset_id, since)

    def _held(self, table: str, dataset_id: str, since: datetime | None = None) -> Iterator[tuple[str, int]]:
        if table not in self.tables:
            return
        where, values = "WHERE d.dataset_id = %s", [dataset_id]
        if table == MEDIA.name:
            where += " AND d.deleted_at IS NULL"
        if since is not None:
            where += " AND d.created_at >= %s"
        rows = self._query(
            _WHOLE.format(key="d.id", table=table, where=where), *values, *([] if since is None else [since])
        )
        for item_id, content_hash in rows:
            yield item_id, _number(content_hash)

    def hashes(self, dataset_id: str, ids: Sequence[str]) -> dict[str, int]:
        """The hashes held of some media of a dataset."""
        if MEDIA.name not in self.tables:
            return {}
        return {
            item_id: _number(content_hash)
            for some in _chunks(ids)
            for item_id, content_hash in self._query(
                _WHOLE.format(
                    key="d.id",
                    table=MEDIA.name,
                    where=f"WHERE d.dataset_id = %s AND d.deleted_at IS NULL AND d.id IN ({_marks(some)})",
                ),
                dataset_id,
                *some,
            )
        }

    def doubtful(self, dataset_id: str) -> set[str]:
        """Media that a crash may have left half written or half deleted.

        Those that only child tables still name, those with children from a load that was never completed, and those
        with a child that stands there twice.
        """
        found: set[str] = set()
        for child in CHILDREN:
            if child.name in self.tables:
                media = "JOIN {media} m ON m.dataset_id = d.dataset_id AND m.id = d.media_id"
                held = f"LEFT {media}" if MEDIA.name in self.tables else ""
                alone = "m.id IS NULL" if held else "1 = 1"
                incomplete = (
                    f"SELECT DISTINCT d.media_id FROM {{{child.name}}} d {held} "
                    "LEFT JOIN {_dlt_loads} l ON l.load_id = d._dlt_load_id AND l.status = 0 "
                    f"WHERE d.dataset_id = %s AND ({alone} OR l.load_id IS NULL)"
                )
                key = ", ".join(f"d.{{{{{name}}}}}" for name in dict.fromkeys(("media_id", *child.key)))
                twice = (
                    f"SELECT DISTINCT d.media_id FROM {{{child.name}}} d WHERE d.dataset_id = %s "
                    f"GROUP BY {key} HAVING COUNT(*) > 1"
                )
                for sql in (incomplete, twice):
                    found.update(media_id for (media_id,) in self._query(sql, dataset_id))
        if found and MEDIA.name in self.tables:
            # what is softly deleted keeps its children: there is nothing to build them again from
            deleted = "SELECT d.id FROM {media} d WHERE d.dataset_id = %s AND d.deleted_at IS NOT NULL"
            found.difference_update(media_id for (media_id,) in self._query(deleted, dataset_id))
        return found

    def holds_anything(self, dataset_id: str) -> bool:
        """Whether any table holds a row of the dataset's media."""
        return any(
            next(
                iter(self._query(f"SELECT 1 FROM {{{table.name}}} d WHERE d.dataset_id = %s LIMIT 1", dataset_id)), None
            )
            for table in (MEDIA, *CHILDREN)
            if table.name in self.tables
        )

    def count(self, dataset_id: str) -> int:
        """How many media the warehouse holds of a dataset, softly deleted ones not counted."""
        sql = "SELECT COUNT(*) FROM {media} d WHERE d.dataset_id = %s AND d.deleted_at IS NULL"
        return 0 if MEDIA.name not in self.tables else next(self._query(sql, dataset_id))[0]

    def holds_frames_of(self, dataset_id: str, is_listed: Callable[[str], bool]) -> bool:
        """Whether the warehouse holds a frame of any media for which `is_listed` is true."""
        if FRAMES.name not in self.tables:
            return False
        rows = self._query("SELECT DISTINCT d.media_id FROM {frames} d WHERE d.dataset_id = %s", dataset_id)
        return any(is_listed(media_id) for (media_id,) in rows)

    def gone(self, known: Known, table: str, dataset_id: str, covered: Callable[[datetime | None], bool]) -> list[str]:
        """The ids that are known but were not listed, of those created in the range that the listing covered."""
        if not known.unlisted or table not in self.tables:
            return []
        alive = " AND d.deleted_at IS NULL" if table == MEDIA.name else ""
        rows = self._query(f"SELECT d.id, d.created_at FROM {{{table}}} d WHERE d.dataset_id = %s{alive}", dataset_id)
        return list(dict.fromkeys(i for i, created in rows if known.is_gone(i) and covered(utc(created))))

    def rows(self, table: Table, dataset_id: str, ids: Sequence[str], key: str = "id") -> list[dict[str, Any]]:
        """Whole rows, as they are stored, of a dataset, where the column `key` holds one of some ids."""
        names = [c.name for c in table.columns if c.name != GONE]
        as_text = (
            "TO_JSON_STRING({})"
            if self._pipeline.destination.destination_type.endswith("bigquery")
            else "CAST({} AS VARCHAR)"
        )
        selected = ", ".join(
            (as_text if table.by_name[name].kind == "json" else "{}").format(f"d.{{{{{name}}}}}") for name in names
        )
        return [
            dict(zip(names, row, strict=True))
            for some in _chunks(ids)
            for row in self._query(
                f"SELECT {selected} FROM {{{table.name}}} d WHERE d.dataset_id = %s AND d.{key} IN ({_marks(some)})",
                dataset_id,
                *some,
            )
        ]

    def ask(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """The rows of a query in which `{table}` stands for a table and `{{column}}` for a column."""
        return list(self._query(sql, *values))

    @contextmanager
    def loading(self) -> Iterator[None]:
        """Sets DuckDB up for loads, for all connections of this process, as long as a block lasts.

        One thread: what a package holds is too little to share, and one that waits for another keeps a core busy. What
        was loaded goes into the file at once: else dlt has it written into the log first, up to a gigabyte. And
        while a first load only appends, little is kept of what was written. What the user set stays.
        """
        if not self._is_duckdb:
            yield
            return
        with self._client() as client:
            credentials: Any = client.config.credentials
            settings = dict(_LOADING, **_APPENDING if self.fresh else {})
            ours = [name for name in settings if name not in (credentials.global_config or {})]
            self._usual = {name: self.ask(f"SELECT current_setting('{name}')")[0][0] for name in ours}
        try:
            self._set({name: settings[name] for name in ours})
            yield
        finally:
            # a database that a failure has closed has no settings either, and its error is the one to tell
            with suppress(DestinationError):
                self._set(self._usual)

    def lift_limit(self) -> bool:
        """Gives DuckDB as much memory as it usually takes; returns whether it had less."""
        limit = self._usual.pop("memory_limit", None)
        if limit is not None:
            self._set({"memory_limit": limit})
        return limit is not None

    def _set(self, settings: Mapping[str, Any]) -> None:
        for name, value in settings.items():
            self._execute(f"SET {name} = '{value}'")

    def settle(self) -> None:
        """Has DuckDB write what a load left in memory into its file, which else waits for the end of the run."""
        if self._is_duckdb:
            self._execute("CHECKPOINT")

    def close(self) -> None:
        """Closes the connection; the next question opens another one."""
        self._connection.close()
        self._opened = None

    @contextmanager
    def sql_client(self) -> Iterator[SqlClientBase[Any]]:
        """The open connection, for what other modules ask or tell the warehouse."""
        with self._client() as client:
            yield client.sql_client

    @contextmanager
    def _client(self) -> Iterator[SqlJobClientBase]:
        """The warehouse's client, connected; opened once, because opening costs more than most questions."""
        try:
            if self._opened is None:
                client: Any = self._connection.enter_context(self._pipeline.destination_client())  # type: ignore[arg-type]
                if not isinstance(client, SqlJobClientBase):
                    raise DestinationError(
                        f"{self._pipeline.destination.destination_name} cannot be asked what it holds.",
                        remedy="Use duckdb, postgres or bigquery.",
                    )
                self._opened = client
            yield self._opened
        except CorevizError:
            raise
        except Exception as error:
            name = self._pipeline.destination.destination_name
            raise unreachable(error, "read or prepared", name, self._pipeline.dataset_name) from error

    def _execute(self, sql: str) -> None:
        """Runs a statement without rows in which `{table}` stands for a table."""
        with self._client() as client:
            client.sql_client.execute_sql(_statement(client, sql))

    def _query(self, sql: str, *values: Any) -> Iterator[tuple[Any, ...]]:
        """Rows of a query in which `{table}` stands for a table and `{{column}}` for a column."""
        with self._client() as client:
            try:
                with client.sql_client.execute_query(_statement(client, sql), *values) as cursor:
                    while rows := cursor.fetchmany(_ROWS):
                        yield from rows
            except DestinationUndefinedEntity as error:
                raise DestinationError(
                    f"A table or column is not what this release expects: {error}",
                    remedy="Load with `resync`, or drop the table so that it is made again.",
                ) from error


def takes_files(destination: str) -> bool:
    """Whether a destination loads parquet with JSON in it, and as it is: Postgres does through ADBC only."""
    if destination.endswith("postgres"):
        return importlib.util.find_spec("adbc_driver_postgresql") is not None
    return not destination.endswith("bigquery")


def _statement(client: SqlJobClientBase, sql: str) -> str:
    def qualified(match: Any) -> str:
        names = client.sql_client
        return names.escape_column_name(match[1]) if match[1] else names.make_qualified_table_name(match[2])

    return re.sub(r"\{\{(\w+)\}\}|\{(\w+)\}", qualified, sql)


#: Ids with their content hash, null where the load that wrote the row was never completed.
_WHOLE = (
    "SELECT {key}, CASE WHEN l.load_id IS NULL THEN NULL ELSE d.content_hash END FROM {{{table}}} d "
    "LEFT JOIN {{_dlt_loads}} l ON l.load_id = d._dlt_load_id AND l.status = 0 {where}"
)


def _chunks(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    return (ids[start : start + _IDS] for start in range(0, len(ids), _IDS))


def _marks(ids: Sequence[str]) -> str:
    return ", ".join(["%s"] * len(ids))


def _number(content_hash: str | None) -> int:
    try:
        return int(content_hash or "", 16)
    except ValueError:
        return 0


def utc(value: Any) -> datetime | None:
    """A moment as a driver gives it, in UTC; None for anything else."""
    if not isinstance(value, datetime):
        return None
    return value.astimezone(timezone.utc) if value.tzinfo else value.replace(tzinfo=timezone.utc)
