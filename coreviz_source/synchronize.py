"""`sync()`: a run for a timer. Drains what an earlier run left, keeps datasets apart, loads in checkpoints, reports."""

from __future__ import annotations

import logging
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, nullcontext
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from functools import partial
from itertools import chain
from typing import Any, Literal

import dlt
from dlt.load.exceptions import LoadClientJobException
from dlt.pipeline.exceptions import PipelineStepFailed

from coreviz_source.errors import (
    CorevizError,
    DestinationError,
    OutOfMemoryError,
    find,
    find_kind,
    is_out_of_memory,
)
from coreviz_source.loading.clean_up import clean_up, configure_dlt
from coreviz_source.loading.configuration import resolve
from coreviz_source.loading.guard import drop_refused
from coreviz_source.loading.resources import Extraction, table_resources
from coreviz_source.loading.switches import check_refresh
from coreviz_source.mirror import Batch, Dataset, Mirror
from coreviz_source.report import DatasetReport, Report
from coreviz_source.selection import Selection
from coreviz_source.tables import BY_NAME, RUNS
from coreviz_source.warehouse.catalog import ensure_catalog
from coreviz_source.warehouse.connection import Connection
from coreviz_source.warehouse.destination import destination_of
from coreviz_source.warehouse.duckdb import Tuning
from coreviz_source.warehouse.failures import cause_of, connection_error, scrub
from coreviz_source.warehouse.locks import Locks
from coreviz_source.warehouse.migrate import ensure_schema
from coreviz_source.warehouse.ownership import load_error
from coreviz_source.warehouse.state import StoredState

#: Media of a first load that are committed at once; a killed first load continues after the last of these. A package
#: costs a quarter of a second by itself, and loading so many media some ten.
CHECKPOINT = 50_000
#: The same in bytes of memory, where media are large: a warehouse holds a package whole while it takes it.
CHECKPOINT_BYTES = 256 * 2**20
#: Changed media that are held in memory to be loaded together with other datasets', and their bytes.
HELD = 4_000
HELD_BYTES = 64 * 2**20

_log = logging.getLogger("coreviz_source")


def sync(
    pipeline: dlt.Pipeline,
    *,
    dry_run: bool = False,
    views: bool = True,
    progress: Callable[[DatasetReport], None] | None = None,
    **arguments: Any,
) -> Report:
    """Mirrors datasets into the pipeline's destination, for a timer.

    The same as `pipeline.run(coreviz(...))`, and: packages that an earlier run left are loaded first; a dataset that
    fails does not stop the others; the first load of a large dataset is committed in checkpoints, from which the
    next run continues if this one is killed; where another run is in its way it waits half a minute, then
    leaves with exit code 7; what dlt leaves on disk and in the staging dataset is removed; and comments, indexes and
    views are brought up to date at the end.

    Args:
        pipeline: Where to load.
        dry_run: Only find out what would be written: the API and the warehouse are read, nothing is written.
        views: Whether to make the views (see `create_views`).
        progress: Called with the report of a dataset after every page, and when its `phase` changes.
        **arguments: Those of `coreviz()`.

    Returns:
        What was done with each dataset, and the exit code. Errors of ours are in the report, never raised.

    Raises:
        KeyboardInterrupt: A signal came. What was loaded before stays, and the next run continues from there.
    """
    report = Report(run=str(uuid.uuid4()), dry_run=dry_run)
    began = time.perf_counter()
    say = progress or (lambda _: None)
    try:
        settings = resolve(arguments, pipeline_name=pipeline.pipeline_name)
        destination_of(pipeline)
        check_refresh(pipeline.refresh)
        dataset_name = pipeline.dataset_name
        with Locks(pipeline) as locks, ExitStack() as cleanup:
            if not dry_run:
                locks.take_working_directory()
                cleanup.callback(clean_up, pipeline)
                locks.take_datasets(settings.dataset_ids, shared=settings.sliced)
            if pipeline.has_pending_data or (not dry_run and drop_refused(pipeline)):
                # what was interrupted may have been loaded in part, or twice: everything is compared
                settings = replace(settings, reconcile_every=timedelta(0))
            if not dry_run:
                configure_dlt(pipeline)
                _drain(pipeline, locks)
                pipeline.dataset_name = dataset_name
            memory = StoredState(Connection(pipeline), create=not dry_run)
            tuning = Tuning(memory.connection)
            if not dry_run:
                ensure_schema(memory, frozenset(BY_NAME), locks.load)
            write: Callable[[Iterable[Batch]], None] = (
                _count if dry_run else partial(load, pipeline, locks, memory, tuning)
            )
            prepared = nullcontext() if dry_run else tuning.loading(appending=memory.fresh)
            with Mirror(settings, memory, Selection(), report.run, say) as mirror, prepared:
                datasets = mirror.datasets()
                report.warnings += mirror.warnings
                _Loads(write, memory, mirror, report, say).run(datasets, mirror.organizations())
                if not dry_run:
                    report.warnings += ensure_catalog(memory.connection, locks.load, views)
    except CorevizError as error:
        _log.error("%s", error)
        report.errors.append(error)
    report.seconds = time.perf_counter() - began
    return report


class _Loads:
    """Distributes the datasets' batches over load packages.

    What is little is loaded together, in one package at the end. A dataset with more than fits into memory is loaded
    in packages of its own: in checkpoints if its first load was never finished, else in one, so that a brake pulled
    at its end still changes nothing.
    """

    def __init__(
        self,
        write: Callable[[Iterable[Batch]], None],
        memory: StoredState,
        mirror: Mirror,
        report: Report,
        progress: Callable[[DatasetReport], None],
    ) -> None:
        self._write = write
        self._memory = memory
        self._mirror = mirror
        self._report = report
        self._progress = progress
        self._waiting: list[Batch] = []
        self._unloaded: list[DatasetReport] = []

    def run(self, datasets: Iterable[Dataset], organizations: Batch | None) -> None:
        if organizations is not None:
            self._waiting.append(organizations)
        try:
            for dataset in datasets:
                self._run(dataset)
            if self._waiting or not self._memory.tables:
                self._load(self._waiting)
        except DestinationError as error:
            for report in self._unloaded:
                if report.outcome != "failed":
                    report.fail(error)
                    self._progress(report)
            raise
        self._enter("done", self._unloaded)

    def _enter(self, phase: Literal["listed", "loading", "done"], reports: Iterable[DatasetReport]) -> None:
        for report in reports:
            # a failure stays where it happened
            if report.exit_code == 0 or report.outcome != "failed":
                report.phase = phase
                self._progress(report)

    def _run(self, dataset: Dataset) -> None:
        organization = None if dataset.organization is None else dataset.organization.name or dataset.organization.id
        report = DatasetReport(dataset.id, dataset.name, organization)
        self._report.datasets[dataset.id] = report
        self._unloaded.append(report)
        self._progress(report)
        try:
            self._dataset(dataset, report)
        except DestinationError:
            raise
        except Exception as error:
            if not isinstance(error, CorevizError):
                if is_out_of_memory(error):
                    raise OutOfMemoryError("There was too little memory for the rows.", dataset=dataset.id) from error
                _log.exception("Dataset %s", dataset.id)
                error = CorevizError(f"{type(error).__name__}: {error}", dataset=dataset.id)
            report.fail(error)
            self._progress(report)
            report.started_at = report.started_at or datetime.now(timezone.utc)
            self._waiting.append(Batch({RUNS.name: report.row(self._report.run)}))
        if report.message:
            _log.warning("Dataset %s: %s", dataset.id, report.message)

    def _dataset(self, dataset: Dataset, report: DatasetReport) -> None:
        if _is_much(self._waiting):
            self._load(self._waiting)
        batches = self._mirror.batches(dataset, report)
        held: list[Batch] = []
        for batch in batches:
            held.append(batch)
            if _is_much(held):
                break
        else:
            self._waiting += held
            self._enter("listed", [report])
            return
        if self._waiting:
            self._load(self._waiting)
        rest = chain(held, batches)
        if self._mirror.never_completed(dataset):
            while package := _take(rest):
                self._load(package)
        else:
            self._load(rest)
        self._enter("done", [report])
        self._unloaded.remove(report)

    def _load(self, batches: Iterable[Batch]) -> None:
        self._write(self._extracted(batches))
        self._waiting = []
        # the dataset being listed, if there is one, has more to come
        self._enter("done", self._unloaded[:-1])
        self._unloaded = self._unloaded[-1:]

    def _extracted(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        yield from batches
        self._enter("loading", self._unloaded)


def _is_much(batches: Iterable[Batch]) -> bool:
    return sum(b.media for b in batches) >= HELD or sum(b.size for b in batches) >= HELD_BYTES


def _take(batches: Iterator[Batch]) -> Iterator[Batch] | None:
    """The next batches up to a checkpoint; None where there are none left."""
    first = next(batches, None)
    if first is None:
        return None

    def some() -> Iterator[Batch]:
        media, size = first.media, first.size
        yield first
        for batch in batches:
            media, size = media + batch.media, size + batch.size
            yield batch
            if media >= CHECKPOINT or size >= CHECKPOINT_BYTES:
                return

    return some()


def load(pipeline: dlt.Pipeline, locks: Locks, memory: StoredState, tuning: Tuning, batches: Iterable[Batch]) -> None:
    """Loads batches as one package.

    Raises:
        CorevizError: What the batches raised while they were made.
        DestinationError: The package could not be loaded.
    """
    dataset_name = pipeline.dataset_name

    @dlt.source(name="coreviz", section="coreviz")
    def package() -> Any:
        return table_resources(begin)

    def begin(*_: object) -> Extraction:
        # dlt has read its own state meanwhile, which holds the dataset of the run before
        pipeline.dataset_name = dataset_name
        return Extraction(locks, memory, batches)

    try:
        try:
            _step(lambda: pipeline.run(package()), pipeline)
        except OutOfMemoryError:
            if not (pipeline.has_pending_data and tuning.lift_limit()):
                raise
            _log.warning("DuckDB needed more memory than a first load is given; it is loaded again with what it takes.")
            _step(lambda: pipeline.run(), pipeline)
        tuning.checkpoint()
    finally:
        locks.release_load()


def _count(batches: Iterable[Batch]) -> None:
    """What a dry run does instead of loading: the batches are made, which counts them in the report."""
    deque(batches, maxlen=0)


def _drain(pipeline: dlt.Pipeline, locks: Locks) -> None:
    """Loads the packages that an earlier run extracted and did not finish to load.

    What cannot be loaded although the warehouse answers never will: it is given up, as if the working directory had
    been lost, because the comparison with the warehouse brings it again. Else it would block every later run.
    """
    if not pipeline.has_pending_data:
        return
    with locks.load():
        failure: CorevizError | None = None
        try:
            _step(lambda: pipeline.run(), pipeline)
        except CorevizError as error:
            failure = error
        if failure is None:
            return
        StoredState(Connection(pipeline)).close()
        _log.warning("What an earlier run left cannot be loaded and is given up; everything is compared: %s", failure)
        try:
            pipeline.abort_packages()
        except Exception as error:
            raise DestinationError(
                f"What an earlier run left can neither be loaded nor given up: {scrub(str(error), pipeline)}",
                remedy=f"Delete the working directory {pipeline.working_dir}; nothing is lost by that.",
            ) from error


def _step(run: Callable[[], Any], pipeline: dlt.Pipeline) -> None:
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
