"""Locks for plain `pipeline.run(coreviz(...))`: one of dlt's trackers, which dlt calls when a run begins and ends.

dlt has no other hook around a run; its own telemetry and tracing are trackers as well (`dlt.pipeline.track`).
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import dlt
from dlt.pipeline import trace as dlt_trace

from coreviz_source.errors import DestinationError
from coreviz_source.warehouse.destination import find_destination
from coreviz_source.warehouse.locks import Locks

_log = logging.getLogger(__name__)


class _Unlocked(Locks):
    """Locks nothing, so the run is never alone."""

    def take_datasets(self, dataset_ids: Sequence[str], shared: bool = False) -> None:
        """Does nothing."""

    def take_load(self) -> None:
        """Does nothing."""


class _PlainRuns:
    """The locks of plain runs.

    The working directory is locked before dlt looks for packages in it. The wait for it has no end, because a tracker
    cannot stop a run. The source takes all other locks when it is extracted.
    """

    def __init__(self) -> None:
        self._running: dict[tuple[str, int], Locks] = {}

    def install(self) -> None:
        """Makes dlt report every run of this process from now on."""
        trackers: list[Any] = dlt_trace.TRACKING_MODULES
        if self not in trackers:
            trackers.append(self)

    def locks(self, pipeline: dlt.Pipeline) -> Locks:
        """The locks of the current run; none where dlt did not report that it began."""
        found = self._running.get(self._key(pipeline))
        if found is None:
            _log.warning(
                "This run has no locks against others, because dlt does not report when runs begin and end: leave its "
                "`enable_runtime_trace` on, or use `sync()`."
            )
            return _Unlocked(pipeline)
        return found

    def on_start_trace(self, trace: Any, step: Any, pipeline: Any) -> None:
        """Locks the working directory, and the load if an earlier run left packages."""
        locks = Locks(pipeline)
        if locks.has_working_directory:
            # sync() has locked it, or a run around this one
            return
        self._running[self._key(pipeline)] = locks
        locks.take_working_directory(patience=float("inf"))
        # `run` may set it later; the source refuses what is not supported
        destination = find_destination(pipeline)
        if destination is None:
            return
        destination.prepare(pipeline)
        if destination.is_file:
            # dlt reads it before it extracts; if the file stays in use, dlt's own error names the process
            with suppress(DestinationError):
                locks.connect()
        if pipeline.has_pending_data:
            locks.take_load()

    def on_end_trace(self, trace: Any, pipeline: Any, send_state: bool) -> None:
        """Releases everything."""
        locks = self._running.pop(self._key(pipeline), None)
        if locks is not None:
            locks.close()

    def on_start_trace_step(self, *_: Any) -> None:
        """Does nothing."""

    def on_end_trace_step(self, *_: Any) -> None:
        """Does nothing."""

    @staticmethod
    def _key(pipeline: Any) -> tuple[str, int]:
        return pipeline.working_dir, threading.get_ident()


#: The locks of the plain runs of this process.
plain_runs = _PlainRuns()
