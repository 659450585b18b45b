"""What is stored in the warehouse: read once at the start of a run, and compared with the listing.

A media item counts as loaded in a version only if dlt recorded the load that wrote it as complete. After a crash
between two tables, the next listing therefore writes again what may be incomplete.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from dlt.common.schema.typing import TTableSchemaColumns

from coreviz_source.selection import Selection, has_history
from coreviz_source.tables import CHILDREN, FRAMES, GONE, HISTORY, MEDIA, RUNS, TABLES, Table
from coreviz_source.values import text_hash
from coreviz_source.warehouse.connection import Connection

#: Ids per query.
_IDS = 500
_FALSE = pa.array([False])


class StoredHashes:
    """Ids with the hash of the content that is stored of them, sorted: 18 bytes each.

    The hash 0 means that the item may be stored incompletely: the listed item counts as changed, whatever it is.
    """

    def __init__(self, rows: Iterable[tuple[str, int]] = ()) -> None:
        keys, hashes = array("Q"), array("Q")
        for item_id, content_hash in rows:
            keys.append(text_hash(item_id))
            hashes.append(content_hash)
        order = pc.sort_indices(_as_arrow(keys))
        sorted_keys, sorted_hashes = _as_arrow(keys).take(order), _as_arrow(hashes).take(order)
        again = pc.equal(sorted_keys[1:], sorted_keys[:-1])
        if pc.any(again).as_py():
            # stored twice, or incomplete
            is_again = pa.concat_arrays([_FALSE, again])
            several = pc.or_(is_again, pa.concat_arrays([again, _FALSE]))
            sorted_hashes = pc.if_else(several, pa.scalar(0, pa.uint64()), sorted_hashes).filter(pc.invert(is_again))
            sorted_keys = sorted_keys.filter(pc.invert(is_again))
        self._keys, self._hashes = _as_array(sorted_keys), _as_array(sorted_hashes)
        self._listed = bytearray(len(self._keys))
        # the hashes of ids are spread evenly, so each part of their range has some sixteen of them
        bits = max(0, len(self._keys).bit_length() - 4)
        self._shift = 64 - bits
        self._starts = array("L", (bisect_left(self._keys, part << self._shift) for part in range(2**bits)))
        self._starts.append(len(self._keys))

    def __len__(self) -> int:
        return len(self._keys)

    def _index(self, item_id: str) -> int | None:
        key = text_hash(item_id)
        part = key >> self._shift
        index = bisect_left(self._keys, key, self._starts[part], self._starts[part + 1])
        return index if index < len(self._keys) and self._keys[index] == key else None

    def hash_of(self, item_id: str) -> int | None:
        """The stored hash of an item; None if the item is not stored."""
        index = self._index(item_id)
        return None if index is None else self._hashes[index]

    def mark_listed(self, item_id: str) -> int | None:
        """Records that the listing has an item, and returns its stored hash; None if the item is not stored."""
        index = self._index(item_id)
        if index is None:
            return None
        self._listed[index] = 1
        return self._hashes[index]

    def is_missing(self, item_id: str) -> bool:
        """Whether the item is stored and not marked as listed."""
        index = self._index(item_id)
        return index is not None and not self._listed[index]

    def was_listed(self, item_id: str) -> bool:
        """Whether the item is stored and marked as listed."""
        index = self._index(item_id)
        return index is not None and bool(self._listed[index])

    @property
    def unlisted(self) -> int:
        """The number of stored items that are not marked as listed."""
        return len(self._listed) - sum(self._listed)


def _as_arrow(numbers: array[int]) -> pa.Array:
    return pa.Array.from_buffers(pa.uint64(), len(numbers), [None, pa.py_buffer(numbers)])


def _as_array(numbers: pa.Array) -> array[int]:
    found = array("Q")
    found.frombytes(memoryview(numbers.buffers()[1])[8 * numbers.offset : 8 * (numbers.offset + len(numbers))])
    return found


@dataclass(frozen=True)
class LastRuns:
    """When the last listing of a dataset began, and the last complete one, by the server's clock."""

    listed: datetime | None = None
    complete: datetime | None = None


class StoredState:
    """Reads what is stored in the warehouse that a pipeline loads into.

    Every method raises `DestinationError` (exit code 7) if the warehouse cannot be read; only a table that does
    not exist counts as empty.

    Args:
        connection: The warehouse. A DuckDB file that does not exist counts as empty, and is not created.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        #: Columns of the tables that existed when the run began, by table.
        self.stored_columns: dict[str, TTableSchemaColumns] = {}
        #: Whether something was missing in the warehouse when the run began, so that everything has to be listed.
        self.repaired = False
        if not connection.is_missing:
            with connection.client() as client:
                names = [table.name for table in TABLES] + ["_dlt_loads"]
                # BigQuery cannot be asked for the tables of a dataset that does not exist
                stored = client.get_storage_tables(names) if client.is_storage_initialized() else ()
                self.stored_columns = {name: columns for name, columns in stored if columns}
        #: Names of the tables that exist.
        self.tables = set(self.stored_columns)
        #: Whether nothing had been loaded when the run began.
        self.fresh = not any(table.replaces and table.name in self.tables for table in TABLES)

    @property
    def can_store_nul(self) -> bool:
        """Whether the warehouse's strings can have NUL characters."""
        return self.connection.destination.can_store_nul

    def last_runs(self, selection: Selection | None = None) -> dict[str, LastRuns]:
        """When each dataset was last listed; slices, samples and unproven runs do not count.

        Args:
            selection: The tables that a run loads. Runs that loaded others do not count. Default: all, without history.
        """
        if RUNS.name not in self.tables or self.repaired:
            return {}
        wanted = selection or Selection()
        lost = any(table.name in wanted and table.name not in self.stored_columns for table in HISTORY)
        listed: dict[str, LastRuns] = {}
        without_history: dict[str, datetime] = {}
        rows = self.connection.query(
            "SELECT r.dataset_id, COALESCE(r.selected, ''), MAX(r.started_at), "
            "MAX(CASE WHEN r.outcome IN ('complete', 'window') THEN r.started_at END), "
            "MAX(CASE WHEN r.outcome = 'complete' THEN r.started_at END) "
            "FROM {_coreviz_runs} r JOIN {_dlt_loads} l ON l.load_id = r._dlt_load_id AND l.status = 0 "
            "GROUP BY r.dataset_id, COALESCE(r.selected, '')"
        )
        for dataset_id, label, *moments in rows:
            began, last, complete = map(utc, moments)
            if label in wanted.covering:
                known = listed.get(dataset_id, LastRuns())
                complete = None if lost else _later(known.complete, complete)
                listed[dataset_id] = LastRuns(_later(known.listed, last), complete)
            if began and not has_history(label):
                without_history[dataset_id] = max(began, without_history.get(dataset_id, began))
        if wanted.history:
            # what such a run has changed is not in the history yet
            for dataset_id, began in without_history.items():
                known = listed.get(dataset_id, LastRuns())
                if known.complete and known.complete <= began:
                    listed[dataset_id] = LastRuns(known.listed)
        return listed

    def dataset_hashes(self) -> dict[str, int]:
        """The content hash of each dataset; 0 where its row may be incomplete."""
        found: dict[str, int] = {}
        if "datasets" in self.tables:
            for dataset_id, content_hash in self.connection.query(
                _WHOLE.format(key="d.id", table="datasets", where="")
            ):
                found[dataset_id] = 0 if dataset_id in found else _number(content_hash)
        return found

    def folders(self, dataset_id: str) -> StoredHashes:
        """The stored folders of a dataset."""
        return StoredHashes(self._stored("folders", dataset_id))

    def stored_media(self, dataset_id: str, since: datetime | None = None) -> Iterator[tuple[str, int]]:
        """The stored media of a dataset with their hashes: those created at or after `since`, or all of them.

        A softly deleted media item counts as not stored.
        """
        return self._stored(MEDIA.name, dataset_id, since)

    def _stored(self, table: str, dataset_id: str, since: datetime | None = None) -> Iterator[tuple[str, int]]:
        if table not in self.tables:
            return
        where, values = "WHERE d.dataset_id = %s", [dataset_id]
        if table == MEDIA.name:
            where += " AND d.deleted_at IS NULL"
        if since is not None:
            where += " AND d.created_at >= %s"
        rows = self.connection.query(
            _WHOLE.format(key="d.id", table=table, where=where), *values, *([] if since is None else [since])
        )
        for item_id, content_hash in rows:
            yield item_id, _number(content_hash)

    def hashes(self, dataset_id: str, ids: Sequence[str]) -> dict[str, int]:
        """The stored hashes of some media of a dataset."""
        if MEDIA.name not in self.tables:
            return {}
        return {
            item_id: _number(content_hash)
            for some in chunks(ids)
            for item_id, content_hash in self.connection.query(
                _WHOLE.format(
                    key="d.id",
                    table=MEDIA.name,
                    where=f"WHERE d.dataset_id = %s AND d.deleted_at IS NULL AND d.id IN ({placeholders(some)})",
                ),
                dataset_id,
                *some,
            )
        }

    def doubtful(self, dataset_id: str) -> set[str]:
        """Media that a crash may have left partly written or partly deleted.

        These are the media that only child tables name, those with children from a load that was never completed, and
        those with a child that is stored twice.

        Args:
            dataset_id: Canonical id of the dataset.
        """
        children = [child for child in CHILDREN if child.name in self.tables]
        if not children:
            return set()
        # one query for all tables, so that the ids of the media are hashed once
        rows = " UNION ALL ".join(
            f"SELECT d.media_id, d._dlt_load_id FROM {{{child.name}}} d WHERE d.dataset_id = %s" for child in children
        )
        has_media = MEDIA.name in self.tables
        joined = "LEFT JOIN {media} m ON m.dataset_id = %s AND m.id = d.media_id " if has_media else ""
        alone = "m.id IS NULL" if has_media else "1 = 1"
        incomplete = (
            f"SELECT DISTINCT d.media_id FROM ({rows}) d {joined}"
            "LEFT JOIN {_dlt_loads} l ON l.load_id = d._dlt_load_id AND l.status = 0 "
            f"WHERE {alone} OR l.load_id IS NULL"
        )
        found = {media_id for (media_id,) in self.query(incomplete, *[dataset_id] * (len(children) + has_media))}
        for child in children:
            key = ", ".join(f"d.{{{{{name}}}}}" for name in dict.fromkeys(("media_id", *child.key)))
            twice = (
                f"SELECT DISTINCT d.media_id FROM {{{child.name}}} d WHERE d.dataset_id = %s "
                f"GROUP BY {key} HAVING COUNT(*) > 1"
            )
            found.update(media_id for (media_id,) in self.connection.query(twice, dataset_id))
        if found and MEDIA.name in self.tables:
            # softly deleted media keep their children: there is nothing to build them from again
            deleted = "SELECT d.id FROM {media} d WHERE d.dataset_id = %s AND d.deleted_at IS NOT NULL"
            found.difference_update(media_id for (media_id,) in self.connection.query(deleted, dataset_id))
        return found

    def has_rows(self, dataset_id: str) -> bool:
        """Whether any table has a row of the dataset's media."""
        return any(
            self.query(f"SELECT 1 FROM {{{table.name}}} d WHERE d.dataset_id = %s LIMIT 1", dataset_id)
            for table in (MEDIA, *CHILDREN)
            if table.name in self.tables
        )

    def count(self, dataset_id: str) -> int:
        """The number of stored media of a dataset, without softly deleted ones."""
        sql = "SELECT COUNT(*) FROM {media} d WHERE d.dataset_id = %s AND d.deleted_at IS NULL"
        return 0 if MEDIA.name not in self.tables else next(self.connection.query(sql, dataset_id))[0]

    def has_frames_of(self, dataset_id: str, is_listed: Callable[[str], bool]) -> bool:
        """Whether a frame is stored of any media item for which `is_listed` is true."""
        if FRAMES.name not in self.tables:
            return False
        rows = self.connection.query("SELECT DISTINCT d.media_id FROM {frames} d WHERE d.dataset_id = %s", dataset_id)
        return any(is_listed(media_id) for (media_id,) in rows)

    def missing_ids(
        self, stored: StoredHashes, table: str, dataset_id: str, covered: Callable[[datetime | None], bool]
    ) -> list[str]:
        """The ids that are stored and were not listed, of those created in the range that the listing covered.

        Args:
            stored: What was stored before the listing, with the marks that it has left.
            table: Name of the table, `media` or `folders`.
            dataset_id: Canonical id of the dataset.
            covered: Whether a moment of creation is in that range.
        """
        if not stored.unlisted or table not in self.tables:
            return []
        alive = " AND d.deleted_at IS NULL" if table == MEDIA.name else ""
        rows = self.connection.query(
            f"SELECT d.id, d.created_at FROM {{{table}}} d WHERE d.dataset_id = %s{alive}", dataset_id
        )
        return list(dict.fromkeys(i for i, created in rows if stored.is_missing(i) and covered(utc(created))))

    def versions(self, dataset_id: str, ids: Sequence[str]) -> list[tuple[str, str | None, datetime | None]]:
        """Some media and all that were made from them: id, `source_media_id`, `created_at`; deleted ones as well."""
        return [
            (media_id, source, utc(created))
            for some in chunks(ids)
            for media_id, source, created in self.query(
                "SELECT d.id, d.source_media_id, d.created_at FROM {media} d WHERE d.dataset_id = %s "
                f"AND (d.id IN ({placeholders(some)}) OR d.source_media_id IN ({placeholders(some)}))",
                dataset_id,
                *some,
                *some,
            )
        ]

    def rows(self, table: Table, dataset_id: str, ids: Sequence[str], key: str = "id") -> list[dict[str, Any]]:
        """Whole rows, as they are stored, of a dataset, where the column `key` is one of some ids."""
        columns = self.columns(table, "d")
        selected = ", ".join(columns.values())
        return [
            dict(zip(columns, row, strict=True))
            for some in chunks(ids)
            for row in self.connection.query(
                f"SELECT {selected} FROM {{{table.name}}} d WHERE d.dataset_id = %s "
                f"AND d.{key} IN ({placeholders(some)})",
                dataset_id,
                *some,
            )
        ]

    def columns(self, table: Table, alias: str) -> dict[str, str]:
        """What reads each column of a table in a query, JSON as a string; without the tombstone flag.

        Args:
            table: The table.
            alias: Its alias in the query.
        """
        as_text = self.connection.destination.json_as_text
        return {
            c.name: (as_text if c.kind == "json" else "{}").format(f"{alias}.{{{{{c.name}}}}}")
            for c in table.columns
            if c.name != GONE
        }

    def query(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """The rows of a query in which `{table}` stands for a table and `{{column}}` for a column."""
        return list(self.connection.query(sql, *values))

    def close(self) -> None:
        """Closes the connection; the next query opens another one."""
        self.connection.close()


#: Ids with their content hash, null where the load that wrote the row was never completed.
_WHOLE = (
    "SELECT {key}, CASE WHEN l.load_id IS NULL THEN NULL ELSE d.content_hash END FROM {{{table}}} d "
    "LEFT JOIN {{_dlt_loads}} l ON l.load_id = d._dlt_load_id AND l.status = 0 {where}"
)


def chunks(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    """Ids in portions of which each fits into one query."""
    return (ids[start : start + _IDS] for start in range(0, len(ids), _IDS))


def placeholders(ids: Sequence[str]) -> str:
    """Placeholders for ids, as they stand in a list of SQL."""
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


def _later(one: datetime | None, other: datetime | None) -> datetime | None:
    return max(filter(None, (one, other)), default=None)


class NothingStored(StoredState):
    """The state where there is no warehouse: everything is new."""

    def __init__(self) -> None:
        self.stored_columns, self.tables, self.repaired, self.fresh = {}, set(), False, True

    @property
    def can_store_nul(self) -> bool:
        """Whether the rows' strings can have NUL characters."""
        return True

    def close(self) -> None:
        """Does nothing."""
