"""A package is loaded where its comparison was read from, completely, or not at all.

dlt chooses the destination and the dataset of a load when it loads, after the source has read what is stored: from
arguments of `run` and `load`, from attributes of the pipeline, from its state. A package therefore carries a note of
what it was compared with. dlt's collector is called before the first write of a package, and for every job that fails.
It compares the note with where the package is about to be loaded.

The collector is a public extension point of dlt. The flag that makes dlt abort a package before its first write is not
public: it is set in the load storage, which dlt's own `Pipeline.abort_packages` gets in the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from types import TracebackType
from typing import Any

import dlt
from dlt.common.configuration.container import Container
from dlt.common.runtime.collector_base import Collector
from dlt.common.storages.exceptions import LoadPackageNotFound
from dlt.common.storages.load_package import (
    LoadJobInfo,
    LoadPackageStateInjectableContext,
    commit_load_package_state,
)
from dlt.load.exceptions import LoadPackageAborted

from coreviz_source.errors import ConfigurationError, CorevizError, DestinationError

#: Key of our note in the state of a load package.
NOTE = "coreviz"


def target(pipeline: dlt.Pipeline, config: object = None) -> dict[str, str]:
    """Where a pipeline loads to at this moment, without secrets, to be compared and stored."""
    return {"warehouse": str(config or pipeline.destination_client().config), "dataset": str(pipeline.dataset_name)}


def given_destination(pipeline: Any) -> Any:
    """The destination as the pipeline was given it: what is equal here resolves to the same place."""
    factory = pipeline.destination
    return factory and (factory, factory.config_params.get("credentials"))


def _failure(jobs: Sequence[LoadJobInfo]) -> DestinationError:
    lines = (line for job in jobs for line in (job.failed_message or "").splitlines())
    message = next((line.strip() for line in lines if line.strip()), "")
    return DestinationError(
        f"The warehouse refused rows: {message[:500]}",
        remedy="Remove the cause (a constraint, a permission, too little space); the next run loads them again.",
        table=", ".join(sorted({job.job_file_info.table_name for job in jobs})),
    )


class LoadGuard(Collector):
    """Checks the loads of a pipeline. It is the pipeline's collector, and passes every call on to the one before.

    Args:
        pipeline: The pipeline.
    """

    def __init__(self, pipeline: dlt.Pipeline) -> None:
        self._pipeline = pipeline
        inner = pipeline.collector
        # `pipeline.drop()` passes the collector on to a new pipeline
        self._inner: Collector = inner._inner if isinstance(inner, LoadGuard) else inner
        self._load_id = ""
        self._refused: CorevizError | None = None
        #: Why nothing of this source may be loaded in this run.
        self.refusal: CorevizError | None = None
        self._checks: dict[str, Callable[[], None]] = {}
        self._noted: dict[str, Any] = {}

    @classmethod
    def of(cls, pipeline: dlt.Pipeline) -> LoadGuard:
        """The guard of a pipeline, which gets one if it has none."""
        guard = pipeline.collector
        if not isinstance(guard, LoadGuard) or guard._pipeline is not pipeline:
            guard = cls(pipeline)
            pipeline.collector = guard
        return guard

    @staticmethod
    def reset(pipeline: dlt.Pipeline) -> None:
        """Forgets why an earlier run must not load anything."""
        if isinstance(pipeline.collector, LoadGuard):
            pipeline.collector.refusal = None

    def check_nothing_waits(self) -> None:
        """Checks, before a comparison, that no package of an earlier one waits to be loaded.

        Raises:
            ConfigurationError: There is one, and what it adds is not stored yet.
        """
        if any(NOTE in state for state in _waiting(self._pipeline)):
            raise ConfigurationError(
                "Rows of this source wait to be loaded already. What is stored cannot be compared before they are.",
                remedy=(
                    "For several datasets use one source: coreviz(dataset_ids=[…]). "
                    "After `extract`, call `normalize` and `load` before the next `extract`."
                ),
            )

    def note(self, package: Mapping[str, Any], config: object, check: Callable[[], None] | None) -> None:
        """Writes into a package that is being extracted what it was compared with.

        Args:
            package: The load package, as dlt describes it.
            config: The configuration of the open connection, because resolving it again costs a tenth of a second.
            check: Checks the extracted package; raises a `CorevizError`. Only this process can do that.
        """
        package["state"][NOTE] = target(self._pipeline, config)
        self._noted[package["load_id"]] = (given_destination(self._pipeline), self._pipeline.dataset_name)
        if check is not None:
            package["state"][NOTE]["checked"] = "when it is loaded"
            self._checks[package["load_id"]] = check
        commit_load_package_state()

    def _start(self, step: str) -> None:
        self._load_id, self._refused = "", None
        verb, _, rest = step.partition(" ")
        if verb == "Load":
            self._check(rest.rpartition(" ")[2])
        self._inner._start(step)

    def _check(self, load_id: str) -> None:
        try:
            state: Any = self._pipeline.get_load_package_state(load_id)
        except LoadPackageNotFound:
            return
        note = state.get(NOTE)
        if note is None or state.get("abort_requested"):
            return
        self._load_id = load_id
        try:
            if self.refusal is not None:
                raise self.refusal
            self._check_rows(note)
            self._compare(note)
        except ConfigurationError as error:
            # dlt now aborts the package by itself, before it writes anything
            self._refused = error
            self._abort()

    def _abort(self) -> None:
        self._pipeline._get_load_storage().normalized_packages.set_abort_flag(self._load_id)

    def _check_rows(self, note: Mapping[str, str]) -> None:
        if "checked" not in note:
            return
        check = self._checks.get(self._load_id)
        if check is None:
            raise ConfigurationError(
                "An interrupted run left rows that went through steps (`add_map`, `add_filter`). Whether the steps "
                "kept the columns that later runs need is unknown. The package was dropped; nothing was written.",
                remedy="Run it again.",
            )
        check()

    def _compare(self, note: Mapping[str, str]) -> None:
        if self._noted.pop(self._load_id, None) == (given_destination(self._pipeline), self._pipeline.dataset_name):
            # what it resolves to is the same then, and to resolve it takes a tenth of an unchanged run
            return
        now = target(self._pipeline)
        if any(now[name] != note[name] for name in now):
            raise ConfigurationError(
                f"Rows that were compared with {note['dataset']} in {note['warehouse']} would be loaded into "
                f"{now['dataset']} in {now['warehouse']}. The package was dropped; nothing was written.",
                remedy="Give `destination` and `dataset_name` to dlt.pipeline() or to run(), not to load().",
            )

    def update(
        self,
        name: str,
        inc: int = 1,
        total: int | None = None,
        inc_total: int | None = None,
        message: str | None = None,
        label: str | None = None,
    ) -> None:
        """Ends the load if a job failed, because dlt may be set to continue without its rows.

        Raises:
            DestinationError: One failed, and dlt does not repeat it.
        """
        if self._load_id and label == "Failed" and (failed := self._failed_jobs()):
            # the tracker drops the package before the next run looks for what is pending
            self._abort()
            raise _failure(failed)
        self._inner.update(name, inc, total, inc_total, message, label)  # type: ignore[arg-type]

    def _failed_jobs(self) -> Sequence[LoadJobInfo]:
        """The jobs that dlt does not repeat. There are none if dlt is set to raise by itself."""
        return self._pipeline.list_failed_jobs_in_package(self._load_id)

    def _stop(self) -> None:
        self._inner._stop()

    def __call__(self, step: str) -> LoadGuard:
        """Sets the step that begins."""
        self._inner(step)
        self.step = step
        return self

    def __exit__(self, kind: type[BaseException], error: BaseException, at: TracebackType | None) -> None:
        """Ends a step. If a package was refused, dlt's error gets the reason as its cause."""
        if self._refused is not None and isinstance(error, LoadPackageAborted):
            error.job_exception = self._refused  # type: ignore[assignment]
        super().__exit__(kind, error, at)

    def on_start_trace(self, *arguments: Any) -> None:
        """Passes the call on."""
        self._inner.on_start_trace(*arguments)

    def on_start_trace_step(self, *arguments: Any) -> None:
        """Passes the call on."""
        self._inner.on_start_trace_step(*arguments)

    def on_end_trace_step(self, *arguments: Any) -> None:
        """Passes the call on."""
        self._inner.on_end_trace_step(*arguments)

    def on_end_trace(self, *arguments: Any) -> None:
        """Passes the call on."""
        self._inner.on_end_trace(*arguments)

    def __deepcopy__(self, memo: Any) -> Any:
        return deepcopy(self._inner, memo)

    def __getattr__(self, name: str) -> Any:
        if name == "_inner":
            raise AttributeError(name)
        return getattr(self._inner, name)


def _waiting(pipeline: dlt.Pipeline) -> Iterator[Mapping[str, Any]]:
    """The states of the packages that are being extracted, or wait to be normalized or loaded."""
    being_extracted = Container()[LoadPackageStateInjectableContext].storage
    extracted = pipeline._get_normalize_storage().extracted_packages
    for storage, load_ids in (
        (being_extracted, being_extracted.list_packages()),
        (extracted, pipeline.list_extracted_load_packages()),
        (pipeline._get_load_storage().normalized_packages, pipeline.list_normalized_load_packages()),
    ):
        for load_id in load_ids:
            yield storage.get_load_package_state(load_id)


def drop_refused(pipeline: dlt.Pipeline) -> bool:
    """Drops packages that were refused before they were loaded; returns whether there were any.

    Otherwise the next run would only finish aborting them, extract nothing, and report success.
    """
    packages = pipeline.list_normalized_load_packages()
    refused = any(pipeline.get_load_package_state(load_id).get("abort_requested") for load_id in packages)
    if refused:
        pipeline.abort_packages()
    return refused
