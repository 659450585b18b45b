"""Plain `pipeline.run(coreviz(…))`: dlt tells a tracker when a run begins and ends, and nobody else can know.

This is one of two places that reach into a library: `dlt.pipeline.trace.TRACKING_MODULES` is the list of modules that
dlt calls at the start and the end of each run (its own telemetry is in it). Two things depend on it: locks that have
to be taken before dlt looks for packages of an earlier run, and the dataset that `run(dataset_name=…)` names, which dlt
forgets while it extracts and remembers when it loads. A pipeline that never ran this source, and was not the active
one when a source was built, is left alone.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import dlt
from dlt.common.configuration.container import Container
from dlt.common.pipeline import PipelineContext
from dlt.pipeline import trace as dlt_trace

from coreviz_source.errors import CorevizError, DestinationError
from coreviz_source.loading.guard import LoadGuard, drop_refused
from coreviz_source.tables import RUNS
from coreviz_source.warehouse.destination import find_destination
from coreviz_source.warehouse.locks import Locks

_log = logging.getLogger("coreviz_source")


class Unlocked(Locks):
    """Locks nothing, so the run is never alone."""

    def take_datasets(self, dataset_ids: Sequence[str], shared: bool = False) -> None:
        """Does nothing."""

    def take_load(self) -> None:
        """Does nothing."""


@dataclass
class _Run:
    """A run of some pipeline that is going on in a thread."""

    trace: str
    locks: Locks
    #: Whether somebody around this run, such as `sync()`, holds the locks.
    foreign: bool
    #: The destination when it began.
    destination: Any
    locked: bool = False
    dataset_name: str | None = None
    busy: CorevizError | None = None


class PlainRuns:
    """What plain runs lock, and where they load to."""

    def __init__(self) -> None:
        self._runs: dict[tuple[str, int], _Run] = {}
        self._expected: set[str] = set()

    def expect(self, pipeline: dlt.Pipeline | None) -> None:
        """A source was built: dlt calls this at the start and the end of every run of this process from now on.

        Args:
            pipeline: The pipeline that is active, which as a rule is the one that will run the source.
        """
        trackers: list[Any] = dlt_trace.TRACKING_MODULES
        if self not in trackers:
            trackers.append(self)
        if pipeline is not None:
            self._expected.add(pipeline.working_dir)

    def begin(self, pipeline: dlt.Pipeline) -> Locks:
        """Called when the source is extracted: the locks of the run, the working directory among them.

        Also sets the pipeline's dataset to the one that the run is going to load into.

        Raises:
            BusyError: Another run uses the working directory.
        """
        self._expected.discard(pipeline.working_dir)
        run = self._runs.get(_key(pipeline))
        if run is None:
            _log.warning(
                "This run takes no locks, because dlt does not report when runs begin and end: leave its "
                "`enable_runtime_trace` on, or use `sync()`."
            )
            return Unlocked(pipeline)
        if run.busy is not None:
            raise run.busy
        if not run.foreign:
            if run.destination != _destination(pipeline):
                # `run` was given another one: what was opened before is not what this run writes to
                before, run.locks = run.locks, Locks(pipeline)
                run.locks.take_working_directory()
                before.close()
            elif not run.locked:
                run.locks.take_working_directory()
            run.locked = True
        if run.dataset_name:
            # dlt has read its own state meanwhile, which holds the dataset of the run before
            pipeline.dataset_name = run.dataset_name
        return run.locks

    def on_start_trace(self, trace: Any, step: Any, pipeline: Any) -> None:
        """A run begins: takes the working directory before dlt looks for what an earlier run left there."""
        if _key(pipeline) in self._runs:
            # a step inside of a run, such as the one that drops a package
            return
        locks = Locks(pipeline)
        run = _Run(trace.transaction_id, locks, locks.has_working_directory, _destination(pipeline))
        self._runs[_key(pipeline)] = run
        if run.foreign or not (pipeline.working_dir in self._expected or _ran_here(pipeline)):
            return
        try:
            locks.take_working_directory()
            run.locked = True
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
            drop_refused(pipeline)
        except CorevizError as error:
            # a tracker cannot stop a run: its load can, and its extraction
            run.busy = error
            LoadGuard.of(pipeline).busy = error
            return
        LoadGuard.of(pipeline).busy = None

    def on_start_trace_step(self, trace: Any, step: Any, pipeline: Any) -> None:
        """An extraction begins: here, and not later, the pipeline has the dataset that `run` was given."""
        run = self._runs.get(_key(pipeline))
        if run is not None and step == "extract":
            run.dataset_name = pipeline.dataset_name

    def on_end_trace_step(self, *_: Any) -> None:
        """Nothing."""

    def on_end_trace(self, trace: Any, pipeline: Any, send_state: bool) -> None:
        """A run ends: releases its locks."""
        run = self._runs.get(_key(pipeline))
        if run is None or run.trace != trace.transaction_id:
            return
        del self._runs[_key(pipeline)]
        if not run.foreign:
            run.locks.close()


def active_pipeline() -> dlt.Pipeline | None:
    """The pipeline that dlt made or attached last, if any."""
    context = Container()[PipelineContext]
    return context.pipeline() if context.is_active() else None  # type: ignore[return-value]


def _key(pipeline: Any) -> tuple[str, int]:
    return pipeline.working_dir, threading.get_ident()


def _destination(pipeline: Any) -> Any:
    factory = pipeline.destination
    return factory and (factory, factory.config_params.get("credentials"))


def _ran_here(pipeline: dlt.Pipeline) -> bool:
    """Whether this source was run in the pipeline's working directory before."""
    return any(RUNS.name in pipeline.schemas[name].tables for name in pipeline.schema_names or ())


#: The plain runs of this process.
plain_runs = PlainRuns()
