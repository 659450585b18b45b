"""`sync()`: a run for a timer. Drains what an earlier run left, keeps datasets apart, loads in checkpoints, reports."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from itertools import chain
from typing import Any

import dlt
from dlt.load.exceptions import LoadClientJobException
from dlt.pipeline.exceptions import PipelineStepFailed

from coreviz_source.errors import CorevizError, DestinationError, find, find_kind
from coreviz_source.memory import Memory
from coreviz_source.mirror import Batch, Dataset, Mirror
from coreviz_source.report import DatasetReport, Report
from coreviz_source.resources import table_resources
from coreviz_source.settings import resolve
from coreviz_source.tables import BY_NAME, RUNS

#: Media of a first load that are committed at once; a killed first load continues after the last of these. A package
#: costs a quarter of a second by itself, and loading so many media some ten.
CHECKPOINT = 50_000
#: Changed media of one dataset that are held in memory to be loaded together with other datasets'.
HELD = 4_000

_log = logging.getLogger("coreviz_source")


def sync(
    pipeline: dlt.Pipeline, *, progress: Callable[[DatasetReport], None] | None = None, **arguments: Any
) -> Report:
    """Mirrors datasets into the pipeline's destination, for a timer.

    The same as `pipeline.run(coreviz(...))`, and: packages that an earlier run left are loaded first; a dataset that
    fails does not stop the others; the first load of a large dataset is committed in checkpoints, from which the
    next run continues if this one is killed.

    Args:
        pipeline: Where to load.
        progress: Called after every page with the report of the dataset that is being listed.
        **arguments: Those of `coreviz()`.

    Returns:
        What was done with each dataset, and the exit code. Errors of ours are in the report, never raised.
    """
    report = Report(run=str(uuid.uuid4()))
    began = time.perf_counter()
    try:
        settings = resolve(**arguments)
        if _drain(pipeline):
            # what was interrupted may have been loaded in part, or twice: everything is compared
            settings = replace(settings, reconcile_every=timedelta(0))
        memory = Memory(pipeline)
        memory.mend(frozenset(BY_NAME))
        with Mirror(settings, memory, frozenset(BY_NAME), report.run, progress) as mirror:
            _Loads(pipeline, memory, mirror, report).run(mirror.datasets())
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

    def __init__(self, pipeline: dlt.Pipeline, memory: Memory, mirror: Mirror, report: Report) -> None:
        self._pipeline = pipeline
        self._memory = memory
        self._mirror = mirror
        self._report = report
        self._waiting: list[Batch] = []
        self._unloaded: list[DatasetReport] = []

    def run(self, datasets: Iterable[Dataset]) -> None:
        try:
            for dataset in datasets:
                self._run(dataset)
            if self._waiting or not self._memory.tables:
                self._load(self._waiting)
        except DestinationError as error:
            for report in self._unloaded:
                if report.outcome != "failed":
                    report.fail(error)
            raise

    def _run(self, dataset: Dataset) -> None:
        report = self._report.datasets[dataset.id] = DatasetReport(dataset.id)
        self._unloaded.append(report)
        try:
            self._dataset(dataset, report)
        except DestinationError:
            raise
        except Exception as error:
            if not isinstance(error, CorevizError):
                _log.exception("Dataset %s", dataset.id)
                error = CorevizError(f"{type(error).__name__}: {error}", dataset=dataset.id)
            report.fail(error)
            report.started_at = report.started_at or datetime.now(timezone.utc)
            self._waiting.append(Batch({RUNS.name: report.row(self._report.run)}))
        if report.message:
            _log.warning("Dataset %s: %s", dataset.id, report.message)

    def _dataset(self, dataset: Dataset, report: DatasetReport) -> None:
        batches = self._mirror.batches(dataset, report)
        held: list[Batch] = []
        for batch in batches:
            held.append(batch)
            if sum(b.media for b in held) >= HELD:
                break
        else:
            self._waiting += held
            return
        if self._waiting:
            self._load(self._waiting)
        rest = chain(held, batches)
        if self._mirror.never_completed(dataset):
            while package := _take(rest, CHECKPOINT):
                self._load(package)
        else:
            self._load(rest)
        self._unloaded.remove(report)

    def _load(self, batches: Iterable[Batch]) -> None:
        load(self._pipeline, self._memory, batches)
        self._waiting = []
        # the dataset being listed, if there is one, has more to come
        self._unloaded = self._unloaded[-1:]


def _take(batches: Iterator[Batch], media: int) -> Iterator[Batch] | None:
    """The next batches, of about so many media; None where there are none left."""
    first = next(batches, None)
    if first is None:
        return None

    def some() -> Iterator[Batch]:
        taken = first.media
        yield first
        for batch in batches:
            taken += batch.media
            yield batch
            if taken >= media:
                return

    return some()


def load(pipeline: dlt.Pipeline, memory: Memory, batches: Iterable[Batch]) -> None:
    """Loads batches as one package.

    Raises:
        CorevizError: What the batches raised while they were made.
        DestinationError: The package could not be loaded.
    """

    @dlt.source(name="coreviz", section="coreviz")
    def package() -> Any:
        return table_resources(lambda: (memory, batches))

    _step(lambda: pipeline.run(package()), pipeline)


def _drain(pipeline: dlt.Pipeline) -> bool:
    """Loads the packages that an earlier run extracted and did not finish to load; returns whether there were any.

    What cannot be loaded although the warehouse answers never will: it is given up, as if the working directory had
    been lost, because the comparison with the warehouse brings it again. Else it would block every later run.
    """
    pending = pipeline.has_pending_data
    failure: CorevizError | None = None
    if pending:
        try:
            _step(lambda: pipeline.run(), pipeline)
        except CorevizError as error:
            failure = error
    if failure is not None:
        Memory(pipeline).close()
        _log.warning("What an earlier run left cannot be loaded and is given up; everything is compared: %s", failure)
        try:
            pipeline.abort_packages()
        except Exception as error:
            raise DestinationError(
                f"What an earlier run left can neither be loaded nor given up: {error}",
                remedy=f"Delete the working directory {pipeline.working_dir}; nothing is lost by that.",
            ) from error
    return pending


def _step(run: Callable[[], Any], pipeline: dlt.Pipeline) -> None:
    try:
        run()
    except Exception as error:
        ours = find(error)
        if ours is not None:
            raise ours from error
        step = error.step if isinstance(error, PipelineStepFailed) else ""
        if step in ("extract", "normalize"):
            raise CorevizError(f"dlt could not {step} the rows: {error}") from error
        job = find_kind(error, LoadClientJobException)
        if job is None:
            raise DestinationError(
                f"The rows could not be loaded: {error}", destination=pipeline.destination.destination_name
            ) from error
        said = next((line for line in str(job.client_exception).splitlines() if line.strip()), "")
        raise DestinationError(
            f"The rows could not be loaded: {said[:500]}",
            remedy=(
                "If the table was changed by hand, drop it: the next run makes it again. Else check the destination's "
                "permissions, space and credentials."
            ),
            destination=pipeline.destination.destination_name,
            schema=pipeline.dataset_name,
            table=job.job_id.partition(".")[0],
        ) from error
