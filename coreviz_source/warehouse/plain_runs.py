"""Locks for plain `pipeline.run(coreviz(...))`, through dlt's trackers."""

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
    """Holds nothing, so it is never alone."""

    def take_datasets(self, dataset_ids: Sequence[str], shared: bool = False) -> None:
        """Nothing."""

    def take_load(self) -> None:
        """Nothing."""


class _PlainRuns:
    """Locks for plain `pipeline.run(coreviz(...))`: dlt tells this, one of its trackers, when a run begins and ends.

    The working directory is taken before dlt looks whether there is something to load in it, and waited for without
    end, because a tracker cannot stop a run. All else is taken by the source, when it is extracted.
    """

    def __init__(self) -> None:
        self._running: dict[tuple[str, int], Locks] = {}

    def install(self) -> None:
        """Makes dlt tell of every run of this process from now on."""
        trackers: list[Any] = dlt_trace.TRACKING_MODULES
        if self not in trackers:
            trackers.append(self)

    def locks(self, pipeline: dlt.Pipeline) -> Locks:
        """What the run that is going on holds; nothing where dlt did not tell that it began."""
        held = self._running.get(self._key(pipeline))
        if held is None:
            _log.warning(
                "This run is not kept apart from others, because dlt does not tell when runs begin and end: leave its "
                "`enable_runtime_trace` on, or use `sync()`."
            )
            return _Unlocked(pipeline)
        return held

    def on_start_trace(self, trace: Any, step: Any, pipeline: Any) -> None:
        """Takes the working directory, and the load if an earlier run left something to load."""
        locks = Locks(pipeline)
        if locks.holds_working_directory:
            # sync() does, or a run around this one
            return
        self._running[self._key(pipeline)] = locks
        locks.take_working_directory(patience=float("inf"))
        destination = find_destination(pipeline)
        if destination is not None and destination.is_file:
            # dlt reads there before it extracts; if the file stays in use, its own error says by whom
            with suppress(DestinationError):
                locks.connect()
        if pipeline.has_pending_data:
            locks.take_load()

    def on_end_trace(self, trace: Any, pipeline: Any, send_state: bool) -> None:
        """Gives everything back."""
        locks = self._running.pop(self._key(pipeline), None)
        if locks is not None:
            locks.close()

    def on_start_trace_step(self, *_: Any) -> None:
        """Nothing."""

    def on_end_trace_step(self, *_: Any) -> None:
        """Nothing."""

    @staticmethod
    def _key(pipeline: Any) -> tuple[str, int]:
        return pipeline.working_dir, threading.get_ident()


#: The locks of the plain runs of this process.
plain_runs = _PlainRuns()
