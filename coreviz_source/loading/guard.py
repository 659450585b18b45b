"""A load goes where its comparison was read from, whole, or not at all.

dlt chooses the destination and the dataset of a load when it loads, after the source has read what is stored: by
arguments of `run` and `load`, by attributes of the pipeline, from its state. So a package carries a note of what it was
compared with, and dlt's collector, which is called before the first write of a package and for every job that fails,
compares it with where the package is about to go.
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
    """Where a pipeline loads to as things are: without secrets, fit to be compared and stored."""
    return {"warehouse": str(config or pipeline.destination_client().config), "dataset": str(pipeline.dataset_name)}


def _failure(jobs: Sequence[LoadJobInfo]) -> DestinationError:
    said = next((line for job in jobs for line in (job.failed_message or "").splitlines() if line.strip()), "")
    return DestinationError(
        f"The warehouse refused rows: {said.strip()[:500]}",
        remedy="Remove what refuses them (a constraint, a permission, too little space); the next run loads again.",
        table=", ".join(sorted({job.job_file_info.table_name for job in jobs})),
    )


class LoadGuard(Collector):
    """Watches the loads of a pipeline, in place of its collector, which it calls.

    Args:
        pipeline: The pipeline.
    """

    def __init__(self, pipeline: dlt.Pipeline) -> None:
        self._pipeline = pipeline
        inner = pipeline.collector
        # `pipeline.drop()` hands the collector on to a new pipeline
        self._inner: Collector = inner._inner if isinstance(inner, LoadGuard) else inner
        self._load_id = ""
        self._refused: CorevizError | None = None
        #: Why nothing may be loaded now.
        self.busy: CorevizError | None = None
        self._checks: dict[str, Callable[[], None]] = {}

    @classmethod
    def of(cls, pipeline: dlt.Pipeline) -> LoadGuard:
        """The guard of a pipeline, set if there is none yet."""
        guard = pipeline.collector
        if not isinstance(guard, LoadGuard) or guard._pipeline is not pipeline:
            guard = cls(pipeline)
            pipeline.collector = guard
        return guard

    def check_nothing_waits(self) -> None:
        """Checks, before a comparison, that no package of an earlier one waits to be loaded.

        Raises:
            ConfigurationError: One does: what it adds is not stored yet.
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
        """Notes in a package that is being extracted what it was compared with.

        Args:
            package: The load package, as dlt describes it.
            config: That of the open connection: to resolve it anew costs a tenth of a second.
            check: Checks the package when it is whole; raises an error of ours. Only this process can do that.
        """
        package["state"][NOTE] = target(self._pipeline, config)
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
            if self.busy is not None:
                raise self.busy
            self._check_rows(note)
            self._compare(note)
        except ConfigurationError as error:
            # dlt aborts the package by itself now, before it writes anything
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
                "An interrupted run left rows that went through steps (`add_map`, `add_filter`), and whether the "
                "steps kept what they have to is not known. The package was dropped; nothing was written.",
                remedy="Run it again.",
            )
        check()

    def _compare(self, note: Mapping[str, str]) -> None:
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
        """Passes progress on; a job that failed ends the load, because dlt may be set to go on without its rows."""
        if self._load_id and label == "Failed" and (failed := self._failed_jobs()):
            # the tracker drops the package before the next run looks for what is pending
            self._abort()
            raise _failure(failed)
        self._inner.update(name, inc, total, inc_total, message, label)  # type: ignore[arg-type]

    def _failed_jobs(self) -> Sequence[LoadJobInfo]:
        """The jobs that dlt will not try again; none while it raises by itself."""
        return self._pipeline.list_failed_jobs_in_package(self._load_id)

    def _stop(self) -> None:
        self._inner._stop()

    def __call__(self, step: str) -> LoadGuard:
        """Names the step that begins."""
        self._inner(step)
        self.step = step
        return self

    def __exit__(self, kind: type[BaseException], error: BaseException, at: TracebackType | None) -> None:
        """Ends a step; a package that was refused leaves dlt with the reason."""
        if self._refused is not None and isinstance(error, LoadPackageAborted):
            error.job_exception = self._refused  # type: ignore[assignment]
        super().__exit__(kind, error, at)

    def on_start_trace(self, *arguments: Any) -> None:
        """Passed on."""
        self._inner.on_start_trace(*arguments)

    def on_start_trace_step(self, *arguments: Any) -> None:
        """Passed on."""
        self._inner.on_start_trace_step(*arguments)

    def on_end_trace_step(self, *arguments: Any) -> None:
        """Passed on."""
        self._inner.on_end_trace_step(*arguments)

    def on_end_trace(self, *arguments: Any) -> None:
        """Passed on."""
        self._inner.on_end_trace(*arguments)

    def __deepcopy__(self, memo: Any) -> Any:
        return deepcopy(self._inner, memo)

    def __getattr__(self, name: str) -> Any:
        if name == "_inner":
            raise AttributeError(name)
        return getattr(self._inner, name)


def _waiting(pipeline: dlt.Pipeline) -> Iterator[Mapping[str, Any]]:
    """The states of the packages that are extracted now, or wait to be normalized or loaded."""
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
    """Drops packages that were refused while they were loaded, so that the next run extracts; returns whether it did.

    dlt would spend that run on finishing their abort, and report success.
    """
    packages = pipeline.list_normalized_load_packages()
    refused = any(pipeline.get_load_package_state(load_id).get("abort_requested") for load_id in packages)
    if refused:
        pipeline.abort_packages()
    return refused
