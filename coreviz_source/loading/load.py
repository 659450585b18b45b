"""One load from its batches to the warehouse, and packages that an earlier run left."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Any

import dlt
from dlt.load.exceptions import LoadClientJobException
from dlt.pipeline.exceptions import PipelineStepFailed

from coreviz_source.errors import CorevizError, DestinationError, OutOfMemoryError, find, find_kind, is_out_of_memory
from coreviz_source.loading.interruption import signals_held
from coreviz_source.loading.resources import Extraction, table_resources
from coreviz_source.loading.runs import has_only_runs, write_runs
from coreviz_source.run import Batch
from coreviz_source.selection import Selection
from coreviz_source.warehouse.connection import Connection
from coreviz_source.warehouse.duckdb import Tuning
from coreviz_source.warehouse.failures import cause_of, connection_error, scrub
from coreviz_source.warehouse.locks import Locks
from coreviz_source.warehouse.ownership import load_error
from coreviz_source.warehouse.state import StoredState

_log = logging.getLogger(__name__)


def load(
    pipeline: dlt.Pipeline,
    locks: Locks,
    stored: StoredState,
    selection: Selection,
    tuning: Tuning,
    batches: Iterable[Batch],
) -> None:
    """Loads batches together: as one package, or in one transaction if they have only rows of runs.

    Args:
        pipeline: The pipeline that loads.
        locks: The locks of the run.
        stored: What was stored when the run began.
        selection: The tables of the run.
        tuning: How DuckDB is set up meanwhile.
        batches: The batches, which may be made only now.

    Raises:
        Exception: What the batches raised while they were made. Nothing is loaded.
        DestinationError: They could not be loaded.
    """
    first: list[Batch] = []
    rest = iter(batches)
    for batch in rest:
        first.append(batch)
        if not has_only_runs(batch):
            break
    else:
        if write_runs(locks, stored, selection, first):
            return
    _load_package(pipeline, locks, stored, selection, tuning, chain(first, rest))


def _load_package(
    pipeline: dlt.Pipeline,
    locks: Locks,
    stored: StoredState,
    selection: Selection,
    tuning: Tuning,
    batches: Iterable[Batch],
) -> None:
    dataset_name = pipeline.dataset_name

    @dlt.source(name="coreviz", section="coreviz")
    def package() -> Any:
        return table_resources(begin)

    def begin(*_: object) -> Extraction:
        # dlt has read its own state meanwhile, which has the dataset of the run before
        pipeline.dataset_name = dataset_name
        return Extraction(locks, stored, extracted(), selection.tables)

    def extracted() -> Iterator[Batch]:
        yield from batches
        hold_signals()

    with signals_held() as hold_signals:
        try:
            try:
                _run(lambda: pipeline.run(package()), pipeline)
            except OutOfMemoryError:
                if not (pipeline.has_pending_data and tuning.lift_limit()):
                    raise
                _log.warning(
                    "DuckDB needed more memory than a first load gives it. The package is loaded again with more."
                )
                _run(lambda: pipeline.run(), pipeline)
            tuning.checkpoint()
        finally:
            locks.release_load()


def drain(pipeline: dlt.Pipeline, locks: Locks) -> None:
    """Loads the packages that an earlier run extracted and did not finish loading.

    If one cannot be loaded although the warehouse responds, it never can. All are then dropped, as if the working
    directory had been lost: otherwise they would block every later run. The comparison with the warehouse finds again
    what they contained.

    Raises:
        DestinationError: The warehouse cannot be reached, or the packages cannot be dropped.
    """
    if not pipeline.has_pending_data:
        return
    with locks.load(), signals_held() as hold_signals:
        hold_signals()
        try:
            _run(lambda: pipeline.run(), pipeline)
        except CorevizError as error:
            failure = error
        else:
            return
        StoredState(Connection(pipeline)).close()
        _log.warning("Packages of an earlier run cannot be loaded and are dropped; everything is compared: %s", failure)
        try:
            pipeline.abort_packages()
        except Exception as error:
            raise DestinationError(
                f"Packages of an earlier run can neither be loaded nor dropped: {scrub(str(error), pipeline)}",
                remedy=f"Delete the working directory {pipeline.working_dir}; nothing is lost by that.",
            ) from error


def _run(run: Callable[[], Any], pipeline: dlt.Pipeline) -> None:
    """Lets dlt run, and raises its errors as errors of this package.

    Raises:
        CorevizError: dlt could not do it.
        KeyboardInterrupt: A signal arrived.
    """
    try:
        run()
    except Exception as error:
        if isinstance(error, PipelineStepFailed) and isinstance(error.exception, KeyboardInterrupt):
            raise error.exception from None
        ours = find(error)
        if ours is not None:
            raise ours from error
        job = find_kind(error, LoadClientJobException)
        if is_out_of_memory(job.client_exception if job else error):
            where = {} if job is None else {"table": job.job_id.partition(".")[0]}
            raise OutOfMemoryError("There was too little memory for the rows.", **where) from error
        step = error.step if isinstance(error, PipelineStepFailed) else ""
        if step in ("extract", "normalize"):
            raise CorevizError(f"dlt could not {step} the rows: {scrub(str(error), pipeline)}") from error
        if job is None:
            raise connection_error(error, "loaded into", pipeline) from cause_of(error, pipeline)
        failure = load_error(job.client_exception, pipeline, job.job_id.partition(".")[0])
        raise failure from cause_of(error, pipeline)
