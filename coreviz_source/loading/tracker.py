"""Plain `pipeline.run(coreviz(…))`: a tracker that dlt calls when a run begins and ends, which nothing else reports.

`dlt.pipeline.trace.TRACKING_MODULES` is the list of modules that dlt calls at the start and the end of every run; dlt's
telemetry is in it. Two things depend on it. Locks have to be taken before dlt looks for packages of an earlier run. And
the dataset of `run(dataset_name=…)` has to be noted, because dlt overwrites it while it extracts and restores it when
it loads. A pipeline that never ran this source, and was not active when a source was built, is left alone.
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
from coreviz_source.loading.guard import LoadGuard, drop_refused, given_destination
from coreviz_source.tables import RUNS
from coreviz_source.warehouse.destination import find_destination, prepare
from coreviz_source.warehouse.locks import Locks

_log = logging.getLogger("coreviz_source")


class Unlocked(Locks):
    """Locks nothing. The run is therefore never alone."""

    def take_datasets(self, dataset_ids: Sequence[str], shared: bool = False) -> None:
        """Does nothing."""

    def take_load(self) -> None:
        """Does nothing."""


@dataclass
class _Run:
    """A run of a pipeline in a thread."""

    trace: str
    locks: Locks
    #: Whether the caller of this run, such as `sync()`, has the locks.
    is_inside_locks: bool
    #: The destination when the run began.
    destination: Any
    has_working_directory: bool = False
    dataset_name: str | None = None
    #: Why the run must not write anything.
    refusal: CorevizError | None = None


class PlainRuns:
    """The plain runs of this process: what they lock, and where they load to."""

    def __init__(self) -> None:
        self._runs: dict[tuple[str, int], _Run] = {}
        self._expected: set[str] = set()

    def expect(self, pipeline: dlt.Pipeline | None) -> None:
        """Called when a source is built. From then on, dlt reports every run of this process.

        Args:
            pipeline: The active pipeline. It is usually the one that will run the source.
        """
        trackers: list[Any] = dlt_trace.TRACKING_MODULES
        if self not in trackers:
            trackers.append(self)
        if pipeline is not None:
            self._expected.add(pipeline.working_dir)

    def begin(self, pipeline: dlt.Pipeline) -> Locks:
        """Called when the source is extracted. Sets the pipeline's dataset to the one that the run will load into.

        Returns:
            The locks of the run. The working directory is locked.

        Raises:
            BusyError: Another run uses the working directory.
            CorevizError: Whatever else was found wrong when the run began.
        """
        self._expected.discard(pipeline.working_dir)
        run = self._runs.get(_key(pipeline))
        if run is None:
            _log.warning(
                "This run takes no locks, because dlt does not report when runs begin and end. Leave dlt's "
                "`enable_runtime_trace` on, or use `sync()`."
            )
            return Unlocked(pipeline)
        if run.refusal is not None:
            raise run.refusal
        if not run.is_inside_locks:
            if run.destination != given_destination(pipeline):
                # `run` was given another one: what was opened before is not what this run writes to
                before, run.locks = run.locks, Locks(pipeline)
                run.locks.take_working_directory()
                before.close()
            elif not run.has_working_directory:
                run.locks.take_working_directory()
            run.has_working_directory = True
        if run.dataset_name:
            # dlt has read its own state meanwhile, which has the dataset of the run before
            pipeline.dataset_name = run.dataset_name
        return run.locks

    def on_start_trace(self, trace: Any, step: Any, pipeline: Any) -> None:
        """A run begins: locks the working directory before dlt looks for packages of an earlier run."""
        if _key(pipeline) in self._runs:
            # a step of a run, such as the one that drops a package
            return
        LoadGuard.reset(pipeline)
        locks = Locks(pipeline)
        run = _Run(trace.transaction_id, locks, locks.has_working_directory, given_destination(pipeline))
        self._runs[_key(pipeline)] = run
        if run.is_inside_locks or not (pipeline.working_dir in self._expected or _ran_here(pipeline)):
            return
        try:
            self._prepare(run, pipeline)
        except CorevizError as error:
            # a tracker cannot stop a run; its extraction and its load can
            run.refusal = error
            LoadGuard.of(pipeline).refusal = error

    def _prepare(self, run: _Run, pipeline: dlt.Pipeline) -> None:
        run.locks.take_working_directory()
        run.has_working_directory = True
        # `run` may set it later; the source refuses one that is not supported
        destination = find_destination(pipeline)
        if destination is None:
            return
        prepare(pipeline)
        run.locks.take_file()
        if destination.is_exclusive:
            # dlt reads it before it extracts; if another program has it open, dlt's own error names the process
            with suppress(DestinationError):
                run.locks.connect()
        if pipeline.has_pending_data:
            run.locks.take_load()
        drop_refused(pipeline)
        # packages of this source in it are compared with where they are loaded to
        LoadGuard.of(pipeline)

    def on_start_trace_step(self, trace: Any, step: Any, pipeline: Any) -> None:
        """An extraction begins: only now does the pipeline have the dataset that `run` was given."""
        run = self._runs.get(_key(pipeline))
        if run is not None and step == "extract":
            run.dataset_name = pipeline.dataset_name

    def on_end_trace_step(self, *_: Any) -> None:
        """Does nothing."""

    def on_end_trace(self, trace: Any, pipeline: Any, send_state: bool) -> None:
        """A run ends: releases its locks."""
        run = self._runs.get(_key(pipeline))
        if run is None or run.trace != trace.transaction_id:
            return
        del self._runs[_key(pipeline)]
        if not run.is_inside_locks:
            run.locks.close()


def active_pipeline() -> dlt.Pipeline | None:
    """The pipeline that dlt created or attached last; None if there is none."""
    context = Container()[PipelineContext]
    return context.pipeline() if context.is_active() else None  # type: ignore[return-value]


def _key(pipeline: Any) -> tuple[str, int]:
    return pipeline.working_dir, threading.get_ident()


def _ran_here(pipeline: dlt.Pipeline) -> bool:
    """Whether a run in the pipeline's working directory had this source."""
    return any(RUNS.name in pipeline.schemas[name].tables for name in pipeline.schema_names or ())


#: The plain runs of this process.
plain_runs = PlainRuns()
