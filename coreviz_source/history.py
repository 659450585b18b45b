"""The history of one dataset: which versions a run opens and closes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial

import pyarrow as pa

from coreviz_source.rows.versions import (
    Moment,
    as_rows,
    contents,
    ended_versions,
    first_versions,
    identities,
    next_versions,
)
from coreviz_source.selection import Selection
from coreviz_source.tables import HISTORY, Table
from coreviz_source.warehouse.history import StoredHistory

#: The shortest time between two runs: a server's clock has seconds, and may be set back.
_TICK = timedelta(microseconds=1)


class History:
    """The versions that a run writes for one dataset.

    Args:
        stored: The stored versions of the dataset.
        selection: The tables of the run.
        run_id: Id of the run.
        started_at: When its listing began, by the server's clock.
    """

    def __init__(self, stored: StoredHistory, selection: Selection, run_id: str, started_at: datetime) -> None:
        self._stored = stored
        self._stepped = selection.stepped
        latest = stored.latest
        #: When versions begin and end: later than all that earlier runs have stored.
        self.moment = Moment(started_at if latest is None else max(started_at, latest + _TICK), run_id)
        self._tables = tuple(table for table in HISTORY if table.name in selection)

    def of(self, media_ids: Sequence[str], rows: Mapping[str, pa.Table]) -> dict[str, pa.Table]:
        """The versions to write with the rows of some media items, by table; those of tables with steps come later.

        Args:
            media_ids: The media items.
            rows: All of their rows, by table.
        """
        tables = [(table, source) for table, source in self._sources() if source not in self._stepped]
        return {table.name: self._versions(table, media_ids, rows[source]) for table, source in tables}

    def after_steps(self, media_ids: Sequence[str]) -> dict[str, Callable[[pa.Table], pa.Table]]:
        """What makes versions of the rows that have passed a user's steps, by the table that has the steps.

        Args:
            media_ids: The media items that the rows belong to.
        """
        return {
            source: partial(self._versions, table, media_ids)
            for table, source in self._sources()
            if source in self._stepped
        }

    def removed(self, media_ids: Sequence[str]) -> dict[str, pa.Table]:
        """The versions to write where media items were removed, by table."""
        return {
            table.name: as_rows(table, ended_versions(table, self._stored.current(table, media_ids), self.moment))
            for table, _ in self._sources()
            if media_ids
        }

    def _sources(self) -> list[tuple[Table, str]]:
        return [(table, table.versions_of.name) for table in self._tables if table.versions_of is not None]

    def _versions(self, table: Table, media_ids: Sequence[str], rows: pa.Table) -> pa.Table:
        found = contents(table, rows)
        if self._stored.is_empty:
            return first_versions(table, found, self.moment)
        stored = self._stored.current(table, media_ids)
        known = {tuple(version[name] for name in table.identity) for version in stored}
        is_known = known.issuperset(identities(table, found))
        ended = set() if is_known else self._stored.ended(table, media_ids)
        return next_versions(table, found, stored, ended, self.moment)
