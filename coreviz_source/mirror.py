"""One dataset, told in order: plan, list, compare, build, finish. What it yields is loaded by others."""

from __future__ import annotations

import gc
import json
import logging
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, replace
from datetime import datetime, timezone
from itertools import chain, islice
from typing import Any, Literal

import pyarrow as pa

from coreviz_source.api.http import Calls
from coreviz_source.changes import Changed, Changes, Deletions, plan
from coreviz_source.errors import CorevizError, DatasetNotFoundError, TooManyDeletesError
from coreviz_source.evidence import objection
from coreviz_source.history import History
from coreviz_source.listing.listing import Listing
from coreviz_source.listing.raw_item import RawItem
from coreviz_source.report import DatasetReport, Phase, Progress, counted
from coreviz_source.rows.build import Rows, as_table, folder_rows, media_rows, replace_nul, tombstones
from coreviz_source.run import Batch, Dataset, Run
from coreviz_source.tables import CHILDREN, DATASETS, FOLDERS, GONE, MEDIA, RUNS
from coreviz_source.unstable import unstable_fields
from coreviz_source.values import canonical_id, encode_json, text_hash
from coreviz_source.warehouse.history import StoredHistory

#: Changed media items whose rows are built at once: enough for arrow to be fast, few enough to need little memory.
BATCH = 1000
#: JSON whose rows are built at once, in bytes. It matters where media items are large: videos with thousands of frames.
BATCH_BYTES = 16 * 2**20

_log = logging.getLogger(__name__)


class Mirror:
    """Mirrors one dataset. Iterate over `batches()` once; the last batch has the report.

    Args:
        run: What the datasets of the run share.
        dataset: The dataset.
        send: Receives the events of the dataset.
    """

    def __init__(self, run: Run, dataset: Dataset, send: Callable[[Progress], None] = lambda _: None) -> None:
        self._run = run
        self._dataset = dataset
        self._send = send
        self._began = time.perf_counter()
        self._calls = Calls()
        self._listing = Listing(run.client, dataset.requested_id, run.client.pace, run.threads, self._calls)
        self._changes: Changes | None = None
        self._history: History | None = None
        self._started_at: datetime | None = None
        self._rows: dict[str, int] = {}
        self._unknown_fields: set[str] = set()
        self._replaced = 0
        #: Why the dataset's own row lacks what the API sends, as a sentence.
        self._undescribed = ""

    @property
    def is_first_load(self) -> bool:
        """Whether the dataset was never listed to its end: its first load is not finished."""
        return self._run.last_runs(self._dataset.id).complete is None

    def batches(self) -> Iterator[Batch]:
        """The rows of the dataset that have to be written.

        Raises:
            CorevizError: The dataset cannot be listed, or too much would be removed. The batches before are correct,
                but not all there is to write.
        """
        self._send(self._progress())
        changes = self._plan()
        # closed in any case, so that no page is requested after an error
        with closing(self._list(changes)) as pages:
            # once the second page is there, the next ones are on their way while the stored state is read
            begun = [] if self._listing.is_sample else list(islice(pages, 2))
            changes.read_stored()
            changed = self._compare(changes, chain(begun, pages))
            yield from self._build(changes, changed)
        yield self._finish(changes)

    def failure(self, error: CorevizError, phase: Phase) -> Batch:
        """The row of a run that failed. Its event has the report.

        There is no row if the API does not have the dataset and nothing of it is stored: then the id was mistyped.

        Args:
            error: Why it failed.
            phase: What was being done.
        """
        self._started_at = self._started_at or datetime.now(timezone.utc)
        # what checkpoints loaded stays, but is not counted
        self._rows = {}
        report = self._report(self._dataset.name, phase, "failed", str(error), error.exit_code)
        if isinstance(error, TooManyDeletesError):
            report = replace(report, refused_deletes=error.missing)
        _log.warning("Dataset %s: %s", self._dataset.id, report.message)
        self._run.note_fields(None)
        mistyped = isinstance(error, DatasetNotFoundError) and not self._run.stores(self._dataset.id)
        tables = {} if mistyped else {RUNS.name: self._row_of(report)}
        return Batch(tables, progress=self._progress("failed", report))

    def _plan(self) -> Changes:
        """Decides which part of the dataset is listed, and reads what is stored of it."""
        settings = self._run.settings
        self._started_at = self._listing.open()
        mode, self._listing.window = plan(settings, self._run.last_runs(self._dataset.id), self._started_at)
        self._listing.is_sample = settings.max_media is not None
        stored, selection, dataset_id = self._run.stored, self._run.selection, self._dataset.id
        versions = StoredHistory(stored, selection, dataset_id) if selection.history else None
        if versions is not None:
            self._history = History(versions, selection, self._run.id, self._started_at)
            self._started_at = self._history.moment.at
        self._changes = Changes(stored, dataset_id, self._listing, mode, selection, settings, versions)
        return self._changes

    def _list(self, changes: Changes) -> Generator[list[RawItem], None, None]:
        """Yields every item once, page by page, until the listing ends or the sample is large enough."""
        run = self._run
        for items in self._listing:
            if run.media_left is None:
                yield items
                continue
            listed = changes.listed_media
            yield _sample(items, run.media_left)
            # they have been compared by now, which counts the media items among them
            run.media_left -= changes.listed_media - listed
            if run.media_left <= 0:
                return

    def _compare(self, changes: Changes, pages: Iterator[list[RawItem]]) -> Iterator[Changed]:
        """Yields the new and changed items of each page."""
        for items in pages:
            changed = changes.compare(items)
            self._send(self._progress())
            yield changed

    def _build(self, changes: Changes, changed: Iterator[Changed]) -> Iterator[Batch]:
        """Yields the rows of new and changed items: media as soon as there are enough of them, folders at the end."""
        media: list[RawItem] = []
        folders: list[RawItem] = []
        size = 0
        for page in changed:
            media += page.media
            folders += page.folders
            size += sum(len(item.raw) for item in page.media)
            while len(media) >= BATCH or size >= BATCH_BYTES:
                yield self._build_media(changes, media[:BATCH])
                del media[:BATCH]
                size = sum(len(item.raw) for item in media)
        if media:
            yield self._build_media(changes, media)
        if folders:
            self._replace_nul(folders)
            yield self._batch(folder_rows(self._dataset.id, folders))

    def _build_media(self, changes: Changes, media: list[RawItem]) -> Batch:
        if changes.needs_tombstones:
            # at the end it would be too late where checkpoints, or a sample, are loaded
            changes.check_frames()
        # decoding creates a hundred thousand objects that are all freed together: the collector would search in vain
        with _collector_paused():
            self._replace_nul(media)
            rows = media_rows(self._dataset.id, media, changes.needs_tombstones)
            if self._history is None:
                return self._batch(rows, len(media))
            media_ids = [item.id for item in media]
            rows.tables |= self._history.of(media_ids, rows.tables)
        return replace(self._batch(rows, len(media)), after_steps=self._history.after_steps(media_ids))

    def _finish(self, changes: Changes) -> Batch:
        """What is known only at the end: the deletions, the dataset's own row, the report and its row."""
        settings = self._run.settings
        deletions = changes.deletions(settings.max_deletes)
        doubt = objection(self._run.client, self._dataset.id, deletions.without_evidence, changes.example, self._calls)
        if doubt:
            deletions = Deletions()
        tables = self._removals(deletions)
        name = self._dataset.name
        if DATASETS.name in self._run.selection:
            name, tables[DATASETS.name] = self._dataset_row()
        proof = self._listing.proof
        if not doubt and not proof.complete and changes.mode != "sample":
            doubt = f"The listing could not be proven complete: {proof.reason}."
        if doubt:
            outcome, exit_code = "unproven", 6
            message = f"{doubt} What was listed was loaded, nothing was deleted; the next complete run tries again."
        else:
            outcome, exit_code = changes.mode, 0
            message = self._unstable(changes) + self._nul_note() + self._undescribed + proof.reason
        self._run.note_fields(changes.ignored_found if outcome == "complete" and changes.listed else None)
        last = self._batch(Rows(tables))
        gone = len(deletions.media) + len(deletions.folders)
        report = self._report(name, "listed", outcome, message, exit_code, gone)
        if message:
            _log.warning("Dataset %s: %s", self._dataset.id, message)
        return Batch({**last.tables, RUNS.name: self._row_of(report)}, progress=self._progress("listed", report))

    def _removals(self, deletions: Deletions) -> dict[str, pa.Table]:
        """The rows by which a merge removes what was deleted."""
        dataset_id = self._dataset.id
        tables: dict[str, pa.Table] = {}
        childless = deletions.orphans
        if deletions.media and self._run.settings.deletes == "soft":
            tables[MEDIA.name] = self._softly_deleted(deletions.media)
        else:
            tables[MEDIA.name] = tombstones(MEDIA, dataset_id, deletions.media)
            childless = deletions.orphans + deletions.media
        tables |= {child.name: tombstones(child, dataset_id, childless) for child in CHILDREN}
        tables[FOLDERS.name] = tombstones(FOLDERS, dataset_id, deletions.folders)
        if self._history is not None:
            tables |= self._history.removed([*deletions.media, *deletions.orphans, *deletions.unclosed])
        return tables

    def _softly_deleted(self, ids: list[str]) -> pa.Table:
        rows = self._run.stored.rows(MEDIA, self._dataset.id, ids)
        columns: dict[str, Any] = {c.name: [row[c.name] for row in rows] for c in MEDIA.columns if c.name != GONE}
        columns["deleted_at"] = [self._started_at] * len(rows)
        return as_table(MEDIA, columns, len(rows))

    def _dataset_row(self) -> tuple[str | None, pa.Table]:
        """The name of the dataset, and its row in `datasets` if that differs from the stored one."""
        dataset = self._dataset
        values: dict[str, Any] = {"dataset_id": dataset.id, "id": dataset.id, "media_total": self._listing.total}
        values |= self._described()
        content_hash = text_hash(encode_json(values))
        if self._run.dataset_hash(dataset.id) == content_hash:
            return values["name"], as_table(DATASETS, {}, 0)
        values["content_hash"] = f"{content_hash:016x}"
        return values["name"], as_table(DATASETS, {name: [value] for name, value in values.items()}, 1)

    def _described(self) -> dict[str, str | None]:
        """What the API sends of the dataset, by column.

        The listing needs none of it, and the 2025 generation documents no endpoint for it. So the stored values stay if
        that fails, and the dataset is loaded.
        """
        dataset, run = self._dataset, self._run
        info = dataset.info
        if info is None:
            try:
                info = run.client.dataset(dataset.requested_id, self._calls)
            except CorevizError as error:
                self._undescribed = f"The dataset's name could not be read, and stays as it is stored: {error.message} "
                is_stored = run.dataset_hash(dataset.id) is not None
                (row,) = run.stored.rows(DATASETS, dataset.id, [dataset.id])[:1] if is_stored else [{}]
                return {column.name: row.get(column.name) for column in DATASETS.api_columns}
        found: dict[str, str | None] = {}
        for column in DATASETS.api_columns:
            value = info.get(column.api or "")
            found[column.name] = run.storable(value) if isinstance(value, str) else None
        if organization := found["organization_id"]:
            found["organization_id"] = canonical_id(organization)
        return found

    def _unstable(self, changes: Changes) -> str:
        """A warning where most media items changed by fields that may be different in every response."""
        if not changes.most_changed:
            return ""
        ignored = self._run.settings.ignored_fields
        found = unstable_fields(self._run.stored, self._dataset.id, changes.samples)
        fields = [name for name in found if name not in ignored]
        if not fields:
            return ""
        return (
            f"{changes.changed_media:,} of {changes.known_media:,} known media items changed although no updatedAt "
            f"moved; what differs is {', '.join(fields)}. If that changes at every request, as signed addresses do, "
            f'leave it out of the comparison: ignored_fields = "{",".join([*ignored, *fields])}". '
        )

    def _replace_nul(self, items: list[RawItem]) -> None:
        if not self._run.stored.can_store_nul:
            self._replaced += replace_nul(items)

    def _nul_note(self) -> str:
        if not self._replaced:
            return ""
        return f"{counted(self._replaced, 'media item')} had NUL characters, replaced by U+FFFD. "

    def _batch(self, rows: Rows, media: int = 0) -> Batch:
        """A batch of the selected tables that have rows, which are counted for the report."""
        self._unknown_fields |= rows.unknown_fields
        tables = {n: table for n, table in rows.tables.items() if n in self._run.selection and table.num_rows}
        for name, table in tables.items():
            self._rows[name] = self._rows.get(name, 0) + table.num_rows
        return Batch(tables, media, self._progress())

    def _progress(
        self, phase: Literal["listing", "listed", "failed"] = "listing", report: DatasetReport | None = None
    ) -> Progress:
        return Progress(
            self._dataset.id,
            self._dataset.name if report is None else report.name,
            self._dataset.organization_name,
            phase,
            gone=0 if report is None else report.gone,
            rows=sum(self._rows.values() if report is None else report.rows.values()),
            report=report,
            **self._counts(),
        )

    def _report(
        self, name: str | None, phase: Phase, outcome: str, message: str, exit_code: int, gone: int = 0
    ) -> DatasetReport:
        return DatasetReport(
            self._dataset.id,
            name,
            self._dataset.organization_name,
            phase,
            outcome=outcome,
            message=message,
            exit_code=exit_code,
            started_at=self._started_at,
            gone=gone,
            requests=self._calls.requests,
            retries=self._calls.retries,
            seconds=time.perf_counter() - self._began,
            page_size=self._listing.page_size,
            parallel_requests=self._listing.parallel_requests,
            replaced=self._replaced,
            selected=self._run.selection.label,
            rows=dict(self._rows),
            unknown_fields=sorted(self._unknown_fields),
            **self._counts(),
        )

    def _counts(self) -> dict[str, Any]:
        """What events and the report have in common."""
        if self._changes is None:
            return {"total": self._listing.total}
        return {
            "mode": self._changes.mode,
            "total": self._listing.total,
            "listed": self._changes.listed,
            "new": self._changes.new,
            "changed": self._changes.changed,
            "unchanged": self._changes.unchanged,
        }

    def _row_of(self, report: DatasetReport) -> pa.Table:
        """The row of this run in `_coreviz_runs`."""
        values = {
            **asdict(report),
            "run": self._run.id,
            "complete": report.complete,
            "unknown_fields": json.dumps(report.unknown_fields),
            "message": report.message or None,
        }
        return as_table(RUNS, {column.name: [values[column.name]] for column in RUNS.columns}, 1)


def _sample(items: list[RawItem], room: int) -> list[RawItem]:
    """The items up to the last media item for which a sample has room."""
    beyond = islice((index for index, item in enumerate(items) if not item.is_folder), max(0, room), None)
    return items[: next(beyond, len(items))]


@contextmanager
def _collector_paused() -> Iterator[None]:
    paused = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if paused:
            gc.enable()
