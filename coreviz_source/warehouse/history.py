"""What is stored of the versions of a dataset's media items and captions."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import cached_property
from typing import Any

from coreviz_source.selection import Selection
from coreviz_source.tables import CAPTION_HISTORY, CAPTIONS, HISTORY, LOAD_ID, MEDIA, MEDIA_HISTORY, RUNS, Table
from coreviz_source.warehouse.state import StoredState, chunks, placeholders, utc

_COMPLETE = "LEFT JOIN {_dlt_loads} l ON l.load_id = h._dlt_load_id AND l.status = 0"


class StoredHistory:
    """Reads the versions of one dataset.

    Args:
        stored: The warehouse.
        selection: The tables of the run.
        dataset_id: Canonical id of the dataset.
    """

    def __init__(self, stored: StoredState, selection: Selection, dataset_id: str) -> None:
        self._stored = stored
        self._dataset_id = dataset_id
        selected = tuple(table for table in HISTORY if table.name in selection)
        self._tables = tuple(table for table in selected if table.name in stored.tables)
        #: Whether a table for versions is new, so that versions of everything have to be made.
        self.begins = any(table.name not in stored.stored_columns for table in selected)

    @cached_property
    def is_empty(self) -> bool:
        """Whether no version was stored when the run began."""
        return not any(
            self._stored.query(f"SELECT 1 FROM {{{table.name}}} h WHERE h.dataset_id = %s LIMIT 1", self._dataset_id)
            for table in self._tables
        )

    @property
    def latest(self) -> datetime | None:
        """The latest time of a run that was stored when this one began.

        A run that failed wrote no version, and may have had no time but that of its own machine.
        """
        times = [(table.name, name, "") for table in self._tables for name in ("valid_from", "valid_to")]
        if RUNS.name in self._stored.tables:
            times.append((RUNS.name, "started_at", " AND h.outcome <> 'failed'"))
        if not times:
            return None
        sql = " UNION ALL ".join(
            f"SELECT MAX(h.{c}) AS t FROM {{{t}}} h WHERE h.dataset_id = %s{w}" for t, c, w in times
        )
        ((latest,),) = self._stored.query(f"SELECT MAX(t) FROM ({sql}) times", *[self._dataset_id] * len(times))
        return utc(latest)

    def current(self, table: Table, media_ids: Sequence[str]) -> list[dict[str, Any]]:
        """The current versions of some media items, or of their captions; without a load id if it never completed."""
        if table not in self._tables:
            return []
        columns = self._stored.columns(table, "h")
        selected = ", ".join(columns.values())
        found = [
            dict(zip((*columns, LOAD_ID), row, strict=True))
            for some in chunks(media_ids)
            for row in self._stored.query(
                f"SELECT {selected}, l.load_id FROM {{{table.name}}} h {_COMPLETE} WHERE h.dataset_id = %s "
                f"AND h.valid_to IS NULL AND h.{table.media_column} IN ({placeholders(some)})",
                self._dataset_id,
                *some,
            )
        ]
        for version in found:
            version["valid_from"] = utc(version["valid_from"])
        return found

    def ended(self, table: Table, media_ids: Sequence[str]) -> set[tuple[Any, ...]]:
        """The identities of which versions have ended."""
        if table not in self._tables:
            return set()
        columns = ", ".join(f"h.{name}" for name in table.identity)
        return {
            tuple(row)
            for some in chunks(media_ids)
            for row in self._stored.query(
                f"SELECT DISTINCT {columns} FROM {{{table.name}}} h WHERE h.dataset_id = %s "
                f"AND h.valid_to IS NOT NULL AND h.{table.media_column} IN ({placeholders(some)})",
                self._dataset_id,
                *some,
            )
        }

    def doubtful(self) -> set[str]:
        """Media items whose versions may not be what their rows are.

        Of these, or of one of their captions, there is no current version, there is more than one, or it is one that a
        crash has left. Or there is one of a caption without a row.
        """
        if MEDIA.name not in self._stored.tables:
            return set()
        queries = [
            f"{_current(table)} GROUP BY {', '.join(f'h.{name}' for name in table.identity)} HAVING COUNT(*) > 1"
            for table in self._tables
        ]
        if MEDIA_HISTORY in self._tables:
            queries.append(_without_version(MEDIA_HISTORY, MEDIA))
        if CAPTION_HISTORY in self._tables and CAPTIONS.name in self._stored.tables:
            queries.append(_without_version(CAPTION_HISTORY, CAPTIONS))
            queries.append(
                "SELECT h.media_id AS id FROM {caption_history} h LEFT JOIN {captions} d "
                "ON d.dataset_id = h.dataset_id AND d.media_id = h.media_id AND d.id = h.id "
                "WHERE h.dataset_id = %s AND h.valid_to IS NULL AND d.id IS NULL"
            )
        return self._media_ids(
            queries, "JOIN {media} m ON m.id = found.id WHERE m.dataset_id = %s AND m.deleted_at IS NULL"
        )

    def unclosed(self) -> set[str]:
        """Media items that have a current version, or captions with one, but no row, or only a softly deleted one."""
        if MEDIA.name not in self._stored.tables:
            return set()
        queries = [_current(table) for table in self._tables]
        return self._media_ids(
            queries,
            "LEFT JOIN {media} m ON m.id = found.id AND m.dataset_id = %s AND m.deleted_at IS NULL WHERE m.id IS NULL",
        )

    def _media_ids(self, queries: Sequence[str], condition: str) -> set[str]:
        """What several queries find, as far as it meets a condition."""
        if not queries:
            return set()
        sql = f"SELECT DISTINCT found.id FROM ({' UNION ALL '.join(queries)}) found {condition}"
        values = [self._dataset_id] * (len(queries) + 1)
        return {media_id for (media_id,) in self._stored.query(sql, *values)}


def _current(history: Table) -> str:
    """Finds media items with a current version."""
    return (
        f"SELECT h.{history.media_column} AS id FROM {{{history.name}}} h "
        "WHERE h.dataset_id = %s AND h.valid_to IS NULL"
    )


def _without_version(history: Table, table: Table) -> str:
    """Finds media items with a row that has no current version, or one whose load was never completed."""
    same = " AND ".join(f"h.{name} = d.{name}" for name in ("dataset_id", *history.identity))
    return (
        f"SELECT d.{table.media_column} AS id FROM {{{table.name}}} d LEFT JOIN {{{history.name}}} h "
        f"ON {same} AND h.valid_to IS NULL {_COMPLETE} WHERE d.dataset_id = %s AND l.load_id IS NULL"
    )
