"""`sync()`: a run for a schedule. One dataset that fails does not stop the others, and there is always a report."""

from __future__ import annotations

import logging
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from datetime import timedelta
from types import TracebackType
from typing import Any

import dlt

from coreviz_source.api.deadline import DeadlineAdapter
from coreviz_source.api.http import new_connections
from coreviz_source.errors import CorevizError, DestinationError, OutOfMemoryError, is_out_of_memory
from coreviz_source.loading.clean_up import clean_up, configure_dlt, load_workers
from coreviz_source.loading.configuration import resolve, resolve_notify_url
from coreviz_source.loading.guard import drop_refused
from coreviz_source.loading.interruption import no_signal_lost
from coreviz_source.loading.load import drain, load
from coreviz_source.loading.notices import Notices
from coreviz_source.loading.packages import Packages
from coreviz_source.loading.switches import check_refresh
from coreviz_source.loading.telemetry import silent_unless_set
from coreviz_source.mirror import Mirror
from coreviz_source.notebook import notebook_progress
from coreviz_source.notices import Notice
from coreviz_source.report import DatasetReports, Progress, Report
from coreviz_source.run import Batch, Dataset, Run
from coreviz_source.selection import Selection
from coreviz_source.settings import Settings
from coreviz_source.warehouse.catalog import ensure_catalog
from coreviz_source.warehouse.connection import Connection
from coreviz_source.warehouse.destination import destination_of
from coreviz_source.warehouse.duckdb import Tuning
from coreviz_source.warehouse.locks import Locks
from coreviz_source.warehouse.migrate import ensure_schema
from coreviz_source.warehouse.snapshots import maintain
from coreviz_source.warehouse.state import StoredState
from coreviz_source.webhook import Webhook

_log = logging.getLogger("coreviz_source")

#: Loads batches as one package, or only counts them.
Load = Callable[[Iterable[Batch]], None]


def sync(
    pipeline: dlt.Pipeline,
    *,
    dry_run: bool = False,
    views: bool = True,
    progress: Callable[[Progress], None] | None = None,
    notify_url: str | None = None,
    **arguments: Any,
) -> Report:
    """Mirrors datasets into the pipeline's destination. Made to be run on a schedule.

    It does the same as `pipeline.run(coreviz(...))`, in this order:

    1. Resolve the settings, and refuse those that cannot be honoured.
    2. Lock the working directory, the DuckDB file and the datasets. If another run uses them, wait half a minute, then
       give up with exit code 7.
    3. Load the packages that an interrupted run left.
    4. Read what is stored in the warehouse, and create missing tables and columns.
    5. For each dataset: list it, compare it with what is stored, and load the difference. A dataset that fails does not
       stop the others. The first load of a large dataset is committed in checkpoints: if the run is killed, the next
       one continues after the last checkpoint. If nothing changed, only the rows of `_coreviz_runs` are written,
       without a load package.
    6. Update comments, indexes and views.
    7. Write the notices that begin or end (see docs/notices.md), and send them to the webhook. In a DuckLake, remove
       snapshots older than `keep_snapshots`.
    8. Remove what dlt left on disk and in the staging dataset, and return a report.

    Args:
        pipeline: Where to load.
        dry_run: Whether to find out only what would be written. The run then writes nothing.
        views: Whether to create the views (see `create_views`).
        progress: Receives an event per page, and one whenever the phase of a dataset changes. Default: in a notebook, a
            line that shows the latest event; elsewhere nothing.
        notify_url: Webhook that gets a message when a notice begins or ends: https only, except on loopback. Default:
            `sources.coreviz.notify_url`, then the variable `COREVIZ_NOTIFY_URL`, else none.
        **arguments: The arguments of `coreviz()`.

    Returns:
        What was done with each dataset, and the exit code. Errors of this package are in the report; they are not
        raised. `print(report)` and a notebook show it as a table.

    Raises:
        KeyboardInterrupt: A signal arrived. What was loaded before stays, and the next run continues from there.

    Example:
        ```python
        report = sync(pipeline, dataset_ids=["ecf33096-0d69-410b-a8cc-856caa3fba6c"])
        sys.exit(report.exit_code)
        ```
    """
    with Synchronizer(
        pipeline, arguments, dry_run=dry_run, views=views, progress=progress, notify_url=notify_url
    ) as synchronizer:
        return synchronizer.run()


class Synchronizer:
    """Runs of one pipeline over the same datasets; a context manager.

    The settings are resolved once, and the connections to the API stay open from one run to the next.

    Args:
        pipeline: Where to load.
        arguments: The arguments of `coreviz()`.
        dry_run: Whether to find out only what would be written.
        views: Whether to create the views.
        progress: Receives the events of all runs.
        notify_url: Webhook for notices.
    """

    def __init__(
        self,
        pipeline: dlt.Pipeline,
        arguments: Mapping[str, Any],
        *,
        dry_run: bool = False,
        views: bool = True,
        progress: Callable[[Progress], None] | None = None,
        notify_url: str | None = None,
    ) -> None:
        self._pipeline = pipeline
        self._arguments = arguments
        self._dry_run = dry_run
        self._views = views
        self._progress = progress or notebook_progress() or (lambda _: None)
        self._notify_url = notify_url
        self._webhook: Webhook | None = None
        self._settings: Settings | None = None
        self._resources = ExitStack()

    def __enter__(self) -> Synchronizer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._resources.close()

    def run(self) -> Report:
        """Mirrors the datasets. Errors of this package are in the report.

        Raises:
            KeyboardInterrupt: A signal arrived.
        """
        began = time.perf_counter()
        run_id = str(uuid.uuid4())
        errors: list[CorevizError] = []
        warnings: list[str] = []
        found: list[Notice] = []
        reports = DatasetReports()
        pipeline, dry_run = self._pipeline, self._dry_run
        try:
            settings, connections = self._prepared()
            with (
                silent_unless_set(),
                no_signal_lost(),
                _locked(pipeline, settings, dry_run) as locks,
                # an error in the report keeps alive what is open: it is closed, so that others can open the file
                closing(Connection(pipeline, read_only=dry_run)) as connection,
            ):
                settings = _drained(pipeline, locks, settings, dry_run)
                selection = Selection().with_history(settings.history)
                stored = _read_stored(connection, locks, selection, dry_run)
                with (
                    Run(run_id, settings, stored, selection, connections) as run,
                    _loader(pipeline, locks, stored, selection, dry_run) as loader,
                ):
                    notices = Notices(run, locks, self._webhook)
                    packages = Packages(
                        loader,
                        self._progress if dry_run else self._noted_by(notices),
                        connection.destination.checkpoint_bytes,
                    )
                    datasets = run.datasets()
                    warnings += run.warnings
                    try:
                        _mirror(run, datasets, packages)
                    finally:
                        reports |= DatasetReports.of(packages.reports)
                    warnings += run.warnings_at_end()
                    if not dry_run:
                        warnings += ensure_catalog(stored.connection, locks.load, self._views)
                        found = notices.finish(packages.reports)
                        warnings += notices.warnings
                        warnings += maintain(stored.connection, locks.load, settings.keep_snapshots)
        except CorevizError as error:
            _log.error("%s", error)
            errors.append(error)
        report = Report(run_id, reports, errors, warnings, found, dry_run, time.perf_counter() - began)
        if self._settings is not None and report.exit_code == 0:
            # everything was loaded again, which is done once
            self._settings = replace(self._settings, resync=False)
        return report

    def _prepared(self) -> tuple[Settings, DeadlineAdapter]:
        """The settings, and the connections to the API."""
        if self._settings is None:
            settings = _resolve(self._pipeline, self._arguments)
            url = resolve_notify_url(self._notify_url, self._pipeline.pipeline_name)
            self._webhook = Webhook(url) if url else None
            self._settings = settings
            self._connections = new_connections(self._settings)
            self._resources.callback(self._connections.close)
        return self._settings, self._connections

    def _noted_by(self, notices: Notices) -> Callable[[Progress], None]:
        """Passes events on, after the notices have seen them."""

        def send(event: Progress) -> None:
            notices.note(event)
            self._progress(event)

        return send


def _resolve(pipeline: dlt.Pipeline, arguments: Mapping[str, Any]) -> Settings:
    settings = resolve(arguments, pipeline_name=pipeline.pipeline_name)
    destination_of(pipeline)
    check_refresh(pipeline.refresh)
    return settings


@contextmanager
def _locked(pipeline: dlt.Pipeline, settings: Settings, dry_run: bool) -> Iterator[Locks]:
    """Locks the working directory and the datasets, and cleans the directory up before it is unlocked."""
    with Locks(pipeline) as locks:
        if dry_run:
            yield locks
            return
        locks.take_working_directory()
        try:
            locks.take_datasets(settings.dataset_ids, shared=settings.sliced)
            yield locks
        finally:
            clean_up(pipeline)


def _drained(pipeline: dlt.Pipeline, locks: Locks, settings: Settings, dry_run: bool) -> Settings:
    """Loads what an interrupted run left; returns the settings with which this run lists."""
    dataset_name = pipeline.dataset_name
    if pipeline.has_pending_data or (not dry_run and drop_refused(pipeline)):
        # some of it may have been loaded, or loaded twice: everything is compared
        settings = replace(settings, reconcile_every=timedelta(0))
    if not dry_run:
        configure_dlt(pipeline)
        drain(pipeline, locks)
        # dlt has read its own state, which has the dataset of the run before
        pipeline.dataset_name = dataset_name
    return settings


def _read_stored(connection: Connection, locks: Locks, selection: Selection, dry_run: bool) -> StoredState:
    stored = StoredState(connection)
    if not dry_run:
        ensure_schema(stored, selection.tables, locks.load)
    return stored


@contextmanager
def _loader(
    pipeline: dlt.Pipeline, locks: Locks, stored: StoredState, selection: Selection, dry_run: bool
) -> Iterator[Load]:
    """What loads a package: dlt, with DuckDB tuned for it. In a dry run, batches are only made, which counts them."""
    if dry_run:
        yield _count
        return
    appending = 0
    if stored.fresh:
        configure_dlt(pipeline, appending=True)
        appending = load_workers(pipeline)
    tuning = Tuning(stored.connection, appending)

    def load_package(batches: Iterable[Batch]) -> None:
        # only now: it creates a DuckDB file that does not exist
        locks.connect()
        tuning.begin()
        load(pipeline, locks, stored, selection, tuning, batches)

    try:
        yield load_package
    finally:
        tuning.end()


def _mirror(run: Run, datasets: Iterable[Dataset], packages: Packages) -> None:
    """Mirrors one dataset after the other.

    Raises:
        DestinationError: The warehouse failed, and with it the datasets that were not loaded yet.
    """
    try:
        organizations = run.organizations()
        if organizations is not None:
            packages.add(organizations)
        for dataset in run.within_sample(datasets):
            _mirror_dataset(run, dataset, packages)
        packages.finish(even_if_empty=not run.stored.tables)
    except DestinationError as error:
        packages.abandon(error)
        raise


def _mirror_dataset(run: Run, dataset: Dataset, packages: Packages) -> None:
    """Mirrors one dataset. Whatever fails is in its report.

    Raises:
        DestinationError: The warehouse failed, which ends the run.
    """
    mirror = Mirror(run, dataset, packages.note)
    try:
        packages.add_dataset(mirror.batches(), in_checkpoints=mirror.is_first_load)
    except Exception as error:
        failure = error if isinstance(error, CorevizError) else _error_of(error, dataset)
        packages.fail(mirror.failure(failure, packages.phase_of(dataset.id)))
        if failure is error and isinstance(error, DestinationError):
            raise
        if isinstance(failure, DestinationError):
            raise failure from error


def _error_of(error: Exception, dataset: Dataset) -> CorevizError:
    """The error of this package for an unexpected one."""
    if is_out_of_memory(error):
        return OutOfMemoryError("There was too little memory for the rows.", dataset=dataset.id)
    _log.error("Dataset %s", dataset.id, exc_info=error)
    return CorevizError(f"{type(error).__name__}: {error}", dataset=dataset.id)


def _count(batches: Iterable[Batch]) -> None:
    """What a dry run does instead of loading: it lets the batches be made, which counts them."""
    deque(batches, maxlen=0)
