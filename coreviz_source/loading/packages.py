"""The batches of all datasets of a run, distributed over load packages.

A dataset is `listing` while its batches arrive, `listed` while they wait to be loaded with those of other datasets,
`loading` while dlt loads them, and finally `done` or `failed`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import chain
from typing import cast

from coreviz_source.errors import DestinationError
from coreviz_source.report import DatasetReport, Phase, Progress
from coreviz_source.run import Batch

#: Media items per checkpoint of a first load: if it is killed, the next run continues after the last checkpoint. About
#: as many as DuckDB has in a row group: it writes a row group again with each load that adds to it.
CHECKPOINT = 125_000
#: Changed media items that wait in memory to be loaded together with those of other datasets.
WAITING = 4_000
#: The same in bytes of memory.
WAITING_BYTES = 64 * 2**20


class Packages:
    """Loads the batches of a run's datasets.

    Small changes of several datasets are loaded together, in one package at the end. A dataset with more changes than
    fit into memory is loaded in packages of its own. If its first load was never finished, these are checkpoints;
    otherwise it is one package, so that an error at the end of the listing leaves the warehouse unchanged.

    Args:
        load: Loads batches as one package.
        send: Receives the events of all datasets.
        checkpoint_bytes: The most bytes of memory that the rows of a checkpoint have, where media items are large.
    """

    def __init__(
        self, load: Callable[[Iterable[Batch]], None], send: Callable[[Progress], None], checkpoint_bytes: int
    ) -> None:
        self._load_package = load
        self._send = send
        self._checkpoint_bytes = checkpoint_bytes
        self._waiting: list[Batch] = []
        #: The latest event of each dataset, in the order in which they began.
        self._latest: dict[str, Progress] = {}

    @property
    def reports(self) -> list[DatasetReport]:
        """The reports of the datasets that are done or have failed, in the order in which they began."""
        return [event.report for event in self._latest.values() if event.has_ended and event.report is not None]

    def note(self, event: Progress) -> None:
        """Passes an event on, and keeps it as the state of its dataset."""
        self._latest[event.dataset_id] = event
        self._send(event)

    def phase_of(self, dataset_id: str) -> Phase:
        """What is being done with a dataset that has not failed."""
        return cast(Phase, self._latest[dataset_id].phase) if dataset_id in self._latest else "listing"

    def add(self, batch: Batch) -> None:
        """Takes a batch that belongs to no dataset. It is loaded with the others."""
        self._waiting.append(batch)

    def add_dataset(self, batches: Iterator[Batch], in_checkpoints: bool) -> None:
        """Takes all batches of a dataset, and loads those that are too much to wait.

        Args:
            batches: The batches. The event of the last one has the report.
            in_checkpoints: Whether a large dataset may be loaded in several packages.

        Raises:
            DestinationError: A package could not be loaded.
            Exception: What the batches raised. None of the package that would have had them is loaded.
        """
        if _is_large(self._waiting):
            self.load_waiting()
        first: list[Batch] = []
        for batch in batches:
            first.append(batch)
            if _is_large(first):
                break
        else:
            self._waiting += first
            self._note_all(first)
            return
        if self._waiting:
            self.load_waiting()
        rest = chain(first, batches)
        if not in_checkpoints:
            self._load(rest)
        else:
            while checkpoint := _next_checkpoint(rest, self._checkpoint_bytes):
                self._load(checkpoint)

    def fail(self, failure: Batch) -> None:
        """Takes the row of a dataset that failed, if it has one. It is loaded with the others."""
        assert failure.progress is not None
        self.note(failure.progress)
        if failure.tables:
            self._waiting.append(replace(failure, progress=None))

    def load_waiting(self) -> None:
        """Loads the batches that wait, even if there are none.

        Raises:
            DestinationError: They could not be loaded.
        """
        self._load(self._waiting)
        self._waiting = []

    def finish(self, even_if_empty: bool) -> None:
        """Loads the last package.

        Args:
            even_if_empty: Whether to load a package without rows, which creates the tables.

        Raises:
            DestinationError: It could not be loaded.
        """
        if self._waiting or even_if_empty:
            self.load_waiting()

    def abandon(self, error: DestinationError) -> None:
        """Ends a run whose warehouse failed: what waits, or was being loaded, has failed with it."""
        for event in list(self._latest.values()):
            if event.report is not None and not event.has_ended:
                report = replace(event.report, phase=self.phase_of(event.dataset_id)).failed(error)
                self.note(replace(event, phase="failed", rows=0, report=report))

    def _load(self, batches: Iterable[Batch]) -> None:
        package: dict[str, Progress] = {}

        def extracted() -> Iterator[Batch]:
            for batch in batches:
                if batch.progress is not None:
                    package[batch.progress.dataset_id] = batch.progress
                yield batch
            for event in package.values():
                self.note(replace(event, phase="loading"))

        self._load_package(extracted())
        for event in package.values():
            # a dataset that is loaded in checkpoints has its report in the last one
            if event.report is not None:
                self.note(replace(event, phase="done", report=replace(event.report, phase="done")))

    def _note_all(self, batches: Iterable[Batch]) -> None:
        for batch in batches:
            if batch.progress is not None and batch.progress.phase == "listed":
                self.note(batch.progress)


def _is_large(batches: Iterable[Batch]) -> bool:
    return sum(b.media for b in batches) >= WAITING or sum(b.size for b in batches) >= WAITING_BYTES


def _next_checkpoint(batches: Iterator[Batch], most_bytes: int) -> Iterator[Batch] | None:
    """The batches up to the next checkpoint; None if there are none left."""
    first = next(batches, None)
    if first is None:
        return None

    def checkpoint() -> Iterator[Batch]:
        media, size = first.media, first.size
        yield first
        for batch in batches:
            media, size = media + batch.media, size + batch.size
            yield batch
            if media >= CHECKPOINT or size >= most_bytes:
                return

    return checkpoint()
