"""One dataset from its listing to the rows that have to be written: listing, changes and rows put together."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from types import TracebackType
from typing import Any

import pyarrow as pa

from coreviz_source.api.http import Calls
from coreviz_source.api.studio import CorevizClient, Organization
from coreviz_source.changes import Changes, Deletions, plan
from coreviz_source.evidence import objection
from coreviz_source.listing.listing import Listing
from coreviz_source.listing.raw_item import RawItem
from coreviz_source.report import DatasetReport
from coreviz_source.rows.build import Rows, as_table, folder_rows, media_rows, replace_nul, tombstones
from coreviz_source.selection import Selection
from coreviz_source.settings import Settings
from coreviz_source.tables import CHILDREN, DATASETS, FOLDERS, GONE, MEDIA, ORGANIZATIONS, RUNS
from coreviz_source.unstable import unstable_fields
from coreviz_source.values import canonical_id, clean_text, encode_json, plain_text, text_hash
from coreviz_source.warehouse.state import LastRuns, StoredState

#: Changed media whose rows are built at once: enough for arrow to be fast, few enough to stay small in memory.
BATCH = 1000
#: JSON whose rows are built at once, in bytes, where media are large: videos with thousands of frames.
BATCH_BYTES = 16 * 2**20


@contextmanager
def _collector_paused() -> Iterator[None]:
    paused = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if paused:
            gc.enable()


@dataclass(frozen=True)
class Dataset:
    """A dataset to mirror: its id as the API is asked for it, and what the API told of it, if it did."""

    asked: str
    info: dict[str, Any] | None = None
    organization: Organization | None = None

    @property
    def id(self) -> str:
        """The canonical id."""
        return canonical_id(self.asked)

    @property
    def name(self) -> str | None:
        """The name, if the API told it before the dataset was asked for."""
        name = (self.info or {}).get("name")
        return clean_text(name) if isinstance(name, str) else None


@dataclass
class Batch:
    """Rows to write, a table each, of so many media."""

    tables: dict[str, pa.Table]
    media: int = 0

    @property
    def size(self) -> int:
        """Bytes of memory."""
        return sum(table.nbytes for table in self.tables.values())


class Mirror:
    """What all datasets of a run share: the client, its threads, the memory, the settings.

    Args:
        settings: Checked settings.
        memory: The warehouse.
        selected: The tables that are loaded.
        run: Id of the run.
        progress: Called after every page with the report of the dataset.
    """

    def __init__(
        self,
        settings: Settings,
        memory: StoredState,
        selected: Selection,
        run: str,
        progress: Callable[[DatasetReport], None] | None = None,
    ) -> None:
        self._settings = settings
        self._memory = memory
        self._selected = selected
        self._run = run
        self._progress = progress
        self._client = CorevizClient(settings)
        self._organizations: tuple[Organization, ...] = ()
        #: A sentence for each organization whose datasets are not known.
        self.warnings: list[str] = []
        self._threads = ThreadPoolExecutor(settings.parallel_requests, thread_name_prefix="coreviz")
        self._last_runs = memory.last_runs(selected.label)
        self._dataset_hashes = memory.dataset_hashes()

    def __enter__(self) -> Mirror:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._client.close()
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._memory.close()

    def datasets(self) -> list[Dataset]:
        """The datasets to mirror: those named, or all of the account, one organization after the other."""
        if self._settings.dataset_ids:
            return [Dataset(dataset_id) for dataset_id in self._settings.dataset_ids]
        account = self._client.account()
        self._organizations, self.warnings = account.organizations, account.warnings
        owners = {organization.id: organization for organization in account.organizations}
        return [
            Dataset(info["id"], info, owners.get(canonical_id(str(info["organizationId"]))))
            for info in account.datasets
        ]

    def organizations(self) -> Batch | None:
        """The rows of the account's organizations that differ from the stored ones; None if there are none."""
        if ORGANIZATIONS.name not in self._selected or not self._organizations:
            return None
        stored: dict[Any, list[tuple[Any, ...]]] = {}
        if ORGANIZATIONS.name in self._memory.tables:
            for row in self._memory.query("SELECT id, name, slug FROM {organizations}"):
                stored.setdefault(row[0], []).append(row)
        storable = clean_text if self._memory.can_store_nul else plain_text
        found = [
            (one.id, *(None if text is None else storable(text) for text in (one.name, one.slug)))
            for one in self._organizations
        ]
        # a load that was repeated after a crash may have left a row twice
        rows = [row for row in found if stored.get(row[0]) != [row]]
        if not rows:
            return None
        columns = dict(zip(("id", "name", "slug"), map(list, zip(*rows, strict=True)), strict=True))
        return Batch({ORGANIZATIONS.name: as_table(ORGANIZATIONS, columns, len(rows))})

    def never_completed(self, dataset: Dataset) -> bool:
        """Whether the dataset was never listed to its end: its first load is not done."""
        return self._last_runs.get(dataset.id, LastRuns()).complete is None

    def batches(self, dataset: Dataset, report: DatasetReport) -> Iterator[Batch]:
        """The rows of a dataset that have to be written; the report is complete when the iteration is over.

        Raises:
            CorevizError: The dataset cannot be listed, or what would be removed is too much. What was yielded
                before is true, but not all.
        """
        began = time.perf_counter()
        calls = Calls()
        settings = self._settings
        try:
            listing = Listing(
                self._client, dataset.asked, settings.page_size, self._threads, settings.parallel_requests, calls
            )
            report.selected = self._selected.label
            report.started_at = listing.open()
            mode, listing.window = plan(settings, self._last_runs.get(dataset.id, LastRuns()), report.started_at)
            changes = Changes(self._memory, dataset.id, listing, mode, self._selected, settings)
            yield from self._changed(dataset, listing, changes, report)
            yield from self._rest(dataset, listing, changes, report, calls)
        finally:
            report.requests, report.retries = calls.requests, calls.retries
            report.seconds = time.perf_counter() - began

    def _changed(self, dataset: Dataset, listing: Listing, changes: Changes, report: DatasetReport) -> Iterator[Batch]:
        media: list[RawItem] = []
        size = 0
        folders: list[RawItem] = []
        for items in listing:
            more_media, more_folders = changes.compare(self._sampled(items, changes.listed_media))
            media += more_media
            folders += more_folders
            report.phase, report.mode, report.total = "listing", changes.mode, listing.total
            report.listed, report.unchanged = changes.listed, changes.unchanged
            report.new, report.changed = changes.new, changes.changed
            if self._progress is not None:
                self._progress(report)
            size += sum(len(source.raw) for source in more_media)
            while len(media) >= BATCH or size >= BATCH_BYTES:
                yield self._media(dataset, media[:BATCH], changes, report)
                del media[:BATCH]
                size = sum(len(source.raw) for source in media)
            if self._settings.max_media is not None and changes.listed_media >= self._settings.max_media:
                break
        if media:
            yield self._media(dataset, media, changes, report)
        if folders:
            if not self._memory.can_store_nul:
                report.replaced += replace_nul(folders)
            yield self._batch(folder_rows(dataset.id, folders), report)

    def _sampled(self, items: list[RawItem], already: int) -> list[RawItem]:
        """As many of the items as `max_media` leaves room for."""
        most = self._settings.max_media
        if most is None:
            return items
        room = islice((index for index, item in enumerate(items) if not item.is_folder), max(0, most - already), None)
        return items[: next(room, len(items))]

    def _media(self, dataset: Dataset, media: list[RawItem], changes: Changes, report: DatasetReport) -> Batch:
        if changes.needs_tombstones:
            # at the end it would be too late where checkpoints, or a sample, are loaded
            changes.check_frames()
        # decoding makes a hundred thousand objects that all die together: the collector would only look at them
        with _collector_paused():
            replaced = 0 if self._memory.can_store_nul else replace_nul(media)
            rows = media_rows(dataset.id, media, changes.needs_tombstones)
        report.replaced += replaced
        return self._batch(rows, report, len(media))

    def _batch(self, rows: Rows, report: DatasetReport, media: int = 0) -> Batch:
        report.unknown_fields = sorted({*report.unknown_fields, *rows.unknown_fields})
        tables = {name: table for name, table in rows.tables.items() if name in self._selected and table.num_rows}
        for name, table in tables.items():
            report.rows[name] = report.rows.get(name, 0) + table.num_rows
        return Batch(tables, media)

    def _rest(
        self, dataset: Dataset, listing: Listing, changes: Changes, report: DatasetReport, calls: Calls
    ) -> Iterator[Batch]:
        """What can be said only at the end: removals, the dataset's own row, the line of the run."""
        deletions = changes.deletions(self._settings.max_deletes)
        doubt = objection(self._client, dataset.id, deletions.without_evidence, changes.example, calls)
        if doubt:
            deletions = Deletions()
        report.gone = len(deletions.media) + len(deletions.folders)
        tables: dict[str, pa.Table] = {}
        childless = deletions.orphans
        if deletions.media and self._settings.deletes == "soft":
            tables[MEDIA.name] = self._softly_deleted(dataset, deletions.media, report)
        else:
            tables[MEDIA.name] = tombstones(MEDIA, dataset.id, deletions.media)
            childless = deletions.orphans + deletions.media
        tables |= {child.name: tombstones(child, dataset.id, childless) for child in CHILDREN}
        tables[FOLDERS.name] = tombstones(FOLDERS, dataset.id, deletions.folders)
        if DATASETS.name in self._selected:
            tables[DATASETS.name] = self._dataset_row(dataset, listing, report, calls)
        notes = self._unstable(dataset, changes)
        notes += f"{report.replaced} media had NUL characters, replaced by U+FFFD. " if report.replaced else ""
        mode = changes.mode
        if not doubt and not listing.proof.complete and mode != "sample":
            doubt = f"The listing could not be proven complete: {listing.proof.reason}."
        if doubt:
            report.outcome, report.exit_code = "unproven", 6
            report.message = (
                f"{doubt} What was seen was loaded, nothing was deleted; the next complete run tries again."
            )
        else:
            report.outcome, report.message = mode, notes + listing.proof.reason
        report.requests, report.retries = calls.requests, calls.retries
        batch = self._batch(Rows(tables), report)
        batch.tables[RUNS.name] = report.row(self._run)
        yield batch

    def _unstable(self, dataset: Dataset, changes: Changes) -> str:
        """A warning where most media changed by fields that may change at every request."""
        if not changes.most_changed:
            return ""
        ignored = self._settings.ignored_fields
        fields = [f for f in unstable_fields(self._memory, dataset.id, changes.samples) if f not in ignored]
        if not fields:
            return ""
        return (
            f"{changes.changed_media} of {changes.known_media} known media changed although no updatedAt moved; what "
            f"differs is {', '.join(fields)}. If that changes at every request, as signed addresses do, leave it out "
            f'of the comparison: ignored_fields = "{",".join([*ignored, *fields])}". '
        )

    def _softly_deleted(self, dataset: Dataset, ids: list[str], report: DatasetReport) -> pa.Table:
        rows = self._memory.rows(MEDIA, dataset.id, ids)
        columns: dict[str, Any] = {c.name: [row[c.name] for row in rows] for c in MEDIA.columns if c.name != GONE}
        columns["deleted_at"] = [report.started_at] * len(rows)
        return as_table(MEDIA, columns, len(rows))

    def _dataset_row(self, dataset: Dataset, listing: Listing, report: DatasetReport, calls: Calls) -> pa.Table:
        info = dataset.info if dataset.info is not None else self._client.dataset(dataset.asked, calls)
        values: dict[str, Any] = {"dataset_id": dataset.id, "id": dataset.id, "media_total": listing.total}
        storable = clean_text if self._memory.can_store_nul else plain_text
        for column in DATASETS.api_columns:
            value = info.get(column.api or "")
            values[column.name] = storable(value) if isinstance(value, str) else None
        report.name = values["name"]
        if values["organization_id"]:
            values["organization_id"] = canonical_id(values["organization_id"])
        content_hash = text_hash(encode_json(values))
        if self._dataset_hashes.get(dataset.id) == content_hash:
            return as_table(DATASETS, {}, 0)
        values["content_hash"] = f"{content_hash:016x}"
        return as_table(DATASETS, {name: [value] for name, value in values.items()}, 1)
