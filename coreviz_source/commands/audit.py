"""Whether the warehouse is the service's state, asked after a run: the lists are compared, and a sample in full."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from datetime import datetime
from itertools import chain
from typing import Any

import dlt
import msgspec

from coreviz_source.api.http import Calls
from coreviz_source.api.studio import CorevizClient
from coreviz_source.commands.responses import objects_in
from coreviz_source.errors import CorevizError, worst_exit_code
from coreviz_source.evidence import objection
from coreviz_source.listing.listing import Listing
from coreviz_source.listing.raw_item import RawItem
from coreviz_source.report import counted
from coreviz_source.rows.build import media_rows, replace_nul
from coreviz_source.rows.derive import tags as tags_of
from coreviz_source.settings import Settings
from coreviz_source.tables import CHILDREN, FOLDERS, GONE, MEDIA, MEDIA_TAGS, MODERATION_CATEGORIES, Column, Table
from coreviz_source.unstable import comparable, differing_keys
from coreviz_source.values import canonical_id, decode_json, encode_json, holder_id, parse_timestamp
from coreviz_source.warehouse.connection import Connection
from coreviz_source.warehouse.state import StoredHashes, StoredState, utc

#: Media items that are compared in full, unless another number is given.
SAMPLE = 20

_SINGLE, _PAGES = "single media", "pages"
AGREE, DIFFER, CANNOT_TELL = "agree", "differ", "cannot tell"

#: Columns of the warehouse's own, which no item has.
_OWN_COLUMNS = frozenset((GONE, "content_hash", "deleted_at"))


@dataclass(frozen=True)
class Difference:
    """One way in which the warehouse is not the service's state."""

    what: str
    """What is different, in words."""
    table: str = ""
    id: str = ""
    """The id of the row, or of its media item where the row has none."""
    column: str = ""

    def __str__(self) -> str:
        where = " ".join(filter(None, (self.table, self.id, self.column)))
        return f"{where}: {self.what}" if where else self.what


@dataclass
class DatasetAudit:
    """One dataset, compared."""

    dataset_id: str
    last_run: datetime | None = None
    """When the last listing of a run began, by the server's clock."""
    total: int | None = None
    """How many items the API counts."""
    listed: int = 0
    """How many distinct items it lists."""
    stored: int = 0
    """How many media items are stored."""
    sampled: int = 0
    """How many media items were compared in full."""
    sampled_from: str = ""
    """`single media` if each was asked for by itself, else `pages`."""
    newer: int = 0
    """Media items that changed or were added since the last run. They are not compared."""
    undecided: int = 0
    """Media items that are stored and not listed, and of which nothing shows whether they were deleted before or after
    the last run."""
    folder_item_counts: str = CANNOT_TELL
    """Whether the `folderItemCount` of every folder is the number of items listed directly in it."""
    tags: str = CANNOT_TELL
    """Whether the dataset's endpoint for tags has the same groups and values as `media_tags`."""
    differences: list[Difference] = field(default_factory=list)
    error: str = ""
    exit_code: int = 0


@dataclass(frozen=True)
class Audit:
    """The verdict on a warehouse."""

    datasets: list[DatasetAudit]

    @property
    def exit_code(self) -> int:
        """6 if any dataset differs, 0 if none does, or the code of the error that kept one from being compared."""
        return worst_exit_code(dataset.exit_code for dataset in self.datasets)

    def to_json(self) -> str:
        """The same as one JSON object."""
        sent = {"exit_code": self.exit_code, **asdict(self)}
        return json.dumps(sent, default=lambda moment: moment.isoformat())


def audit(pipeline: dlt.Pipeline, settings: Settings, sample: int = SAMPLE) -> Audit:
    """Compares the warehouse of a pipeline with the API; nothing is changed in either.

    Args:
        pipeline: Where the tables are.
        settings: Checked settings of the runs that load them.
        sample: How many media items per dataset are compared in full, chosen at random.

    Raises:
        CorevizError: The account could not be asked, or the warehouse could not be read.
    """
    client = CorevizClient(settings)
    state = StoredState(Connection(pipeline, read_only=True))
    threads = ThreadPoolExecutor(client.pace.most_parallel, thread_name_prefix="coreviz")
    try:
        dataset_ids = settings.dataset_ids or tuple(info["id"] for info in client.account().datasets)
        return Audit([_Comparison(client, state, threads, settings, one, sample).run() for one in dataset_ids])
    finally:
        client.close()
        threads.shutdown(wait=False, cancel_futures=True)
        state.close()


@dataclass(frozen=True)
class _Past:
    """When a dataset was listed before, and the tables that the last listing loaded; None for all of them."""

    listed: datetime
    complete: datetime | None
    selected: str | None


@dataclass
class _Listed:
    """What the API lists of a dataset, without deleted items."""

    folders: list[RawItem] = field(default_factory=list)
    missing: list[RawItem] = field(default_factory=list)
    """Media items that are not stored."""
    sample: list[RawItem] = field(default_factory=list)
    """Some of those that are stored."""
    holders: Counter[str] = field(default_factory=Counter)
    """How many items each folder holds, by its id; an empty id is the top."""


class _Comparison:
    """Compares one dataset."""

    def __init__(
        self,
        client: CorevizClient,
        state: StoredState,
        threads: ThreadPoolExecutor,
        settings: Settings,
        asked: str,
        sample: int,
    ) -> None:
        self._client = client
        self._state = state
        self._threads = threads
        self._settings = settings
        self._asked = asked
        self._sample = sample
        self._id = canonical_id(asked)
        self._found = DatasetAudit(self._id)
        self._calls = Calls()
        self._ignored = [f"{name}." for name in settings.ignored_fields]

    def run(self) -> DatasetAudit:
        """Compares; a failure of the API is part of what is returned."""
        try:
            self._compare()
        except CorevizError as error:
            self._found.error, self._found.exit_code = str(error), error.exit_code
        else:
            self._found.exit_code = 6 if self._found.differences else 0
        return self._found

    def _differs(self, what: str, table: str = "", row_id: str = "", column: str = "") -> None:
        self._found.differences.append(Difference(what, table, row_id, column))

    def _compare(self) -> None:
        past = self._past()
        if past is None:
            self._differs("no run has listed the dataset")
            return
        self._found.last_run = past.listed
        stored = StoredHashes(self._state.stored_media(self._id))
        self._found.stored = len(stored)
        listing = Listing(self._client, self._asked, self._client.pace, self._threads, self._calls)
        listing.open()
        listed = self._list(listing, stored)
        self._found.total = listing.total
        if not listing.proof.complete:
            self._differs(f"the listing could not be proven complete: {listing.proof.reason}")
        self._compare_lists(stored, listed, past)
        self._compare_sample(listed.sample, past)
        self._found.folder_item_counts = self._folder_item_counts(listed)
        self._found.tags = self._tags()

    def _list(self, listing: Listing, stored: StoredHashes) -> _Listed:
        """Reads the list to its end, and marks what is stored of it."""
        listed, media = _Listed(), 0
        for item in chain.from_iterable(listing):
            self._found.listed += 1
            if item.is_deleted:
                continue
            listed.holders[self._holder(item)] += 1
            if item.is_folder:
                listed.folders.append(item)
                continue
            if stored.mark_listed(item.id) is None:
                listed.missing.append(item)
                continue
            media += 1
            # each media item of the list has the same chance, however long the list is
            if len(listed.sample) < self._sample:
                listed.sample.append(item)
            elif (place := random.randrange(media)) < self._sample:
                listed.sample[place] = item
        return listed

    def _past(self) -> _Past | None:
        """What the runs before have listed; slices, samples and unproven runs do not count."""
        if not {"_coreviz_runs", "_dlt_loads", MEDIA.name} <= self._state.tables:
            return None
        rows = self._state.query(
            "SELECT r.started_at, r.outcome, r.selected FROM {_coreviz_runs} r "
            "JOIN {_dlt_loads} l ON l.load_id = r._dlt_load_id AND l.status = 0 "
            "WHERE r.dataset_id = %s AND r.outcome IN ('complete', 'window') ORDER BY r.started_at DESC",
            self._id,
        )
        times = [(moment, outcome, selected) for at, outcome, selected in rows if (moment := utc(at))]
        if not times:
            return None
        complete = next((moment for moment, outcome, _ in times if outcome == "complete"), None)
        return _Past(times[0][0], complete, times[0][2])

    def _holder(self, item: RawItem) -> str:
        """The id of the folder that holds an item; empty at the top, and where the API sends no path."""
        try:
            path = _PATH.decode(item.raw).path
        except (msgspec.MsgspecError, UnicodeDecodeError):
            path = None
        return (path and holder_id(path, item.id, self._id)) or ""

    def _is_newer(self, item: dict[str, Any], past: _Past) -> bool:
        """Whether something of an item is newer than the last run that looked at it."""
        created = parse_timestamp(item.get("createdAt"))
        since: datetime | None = past.listed
        # an ordinary run does not look at what is older than its window
        if created is None or created < past.listed - self._settings.lookback:
            since = past.complete
        if since is None:
            return True
        paths = (), ("frames",), ("frames", "captions"), ("frames", "objects")
        objects = [one for path in paths for one in objects_in(item, *path)]
        values = [one.get(name) for one in objects for name in ("createdAt", "updatedAt")]
        return any(moment > since for value in values if (moment := parse_timestamp(value)))

    # -- the lists -------------------------------------------------------------------------------------------------

    def _compare_lists(self, stored: StoredHashes, listed: _Listed, past: _Past) -> None:
        for item in listed.missing:
            if self._is_newer(_decoded(item), past):
                self._found.newer += 1
            else:
                self._differs("it is listed, and not stored", MEDIA.name, item.id)
        if FOLDERS.name in self._state.tables and self._is_compared(FOLDERS, past):
            stored_folders = self._state.folders(self._id)
            for item in listed.folders:
                if stored_folders.hash_of(item.id) is None and not self._is_newer(_decoded(item), past):
                    self._differs("it is listed, and not stored", FOLDERS.name, item.id)
        unlisted = self._state.missing_ids(stored, MEDIA.name, self._id, lambda _: True)
        example = next((_decoded(item).get("id") for item in (*listed.sample, *listed.missing)), None)
        reason = objection(self._client, self._id, unlisted, example if isinstance(example, str) else None, self._calls)
        if reason:
            self._differs(reason)
        else:
            self._found.undecided = len(unlisted)

    # -- the sample ------------------------------------------------------------------------------------------------

    def _compare_sample(self, sample: Sequence[RawItem], past: _Past) -> None:
        settled = [raw for item in sample if (raw := self._settled(item, past)) is not None]
        self._found.sampled = len(settled)
        if not settled:
            return
        if not self._state.can_store_nul:
            replace_nul(settled)
        built = media_rows(self._id, settled, with_tombstones=False).tables
        ids = [item.id for item in settled]
        for table in (MEDIA, *CHILDREN):
            if table.name in self._state.tables and self._is_compared(table, past):
                stored = self._state.rows(table, self._id, ids, table.media_column)
                self._compare_rows(table, stored, built[table.name].to_pylist())

    def _is_compared(self, table: Table, past: _Past) -> bool:
        """Whether the last run loaded a table as the API sends it: steps of dlt's make other rows of it."""
        return past.selected is None or table.name in past.selected.split()

    def _settled(self, listed: RawItem, past: _Past) -> RawItem | None:
        """A media item as the API has it, None if it is newer than the last run."""
        item = _decoded(listed)
        first = second = None
        if self._found.sampled_from != _PAGES:
            first, second = (self._client.media(str(item.get("id")), self._id, self._calls) for _ in range(2))
        if not self._found.sampled_from:
            # an API that does not have the first one has no such endpoint
            self._found.sampled_from = _PAGES if first is None else _SINGLE
        if self._found.sampled_from == _SINGLE and (first is None or first != second):
            self._found.newer += 1
            return None
        newest = item if first is None else _completed(first, item)
        if self._is_newer(item, past) or self._is_newer(newest, past):
            self._found.newer += 1
            return None
        return RawItem(listed.id, encode_json(newest).encode())

    def _compare_rows(self, table: Table, stored: list[dict[str, Any]], sent: list[dict[str, Any]]) -> None:
        names = [name for name in dict.fromkeys((table.media_column, *table.key)) if name != "dataset_id"]

        def by_key(rows: list[dict[str, Any]]) -> dict[tuple[Any, ...], dict[str, Any]]:
            return {tuple(row[name] for name in names): row for row in rows}

        have, want = by_key(stored), by_key(sent)
        path = ".".join(table.api_path) or _PATHS.get(table.name, "")
        if len(have) < len(stored):
            self._differs(f"{counted(len(stored) - len(have), 'row')} stored twice", table.name)
        for found, other, what in (
            (have, want, "it is stored, and the API does not send it"),
            (want, have, "the API sends it, and it is not stored"),
        ):
            for place in found.keys() - other.keys():
                if not self._is_ignored(path):
                    self._differs(what, table.name, str(found[place].get("id") or place[0]))
        for place in have.keys() & want.keys():
            for column, names in _differing(table, have[place], want[place]):
                if not all(self._is_ignored(f"{path}.{name}".strip(".")) for name in names):
                    self._differs("it is stored with another value", table.name, str(place[-1]), column.name)

    def _is_ignored(self, name: str) -> bool:
        return bool(name) and f"{name}.".startswith(tuple(self._ignored))

    # -- what never decides ----------------------------------------------------------------------------------------

    def _folder_item_counts(self, listed: _Listed) -> str:
        counts = {item.id: _decoded(item).get("folderItemCount") for item in listed.folders}
        known = {folder_id: count for folder_id, count in counts.items() if type(count) is int}
        if not known:
            return CANNOT_TELL
        return AGREE if all(listed.holders[folder_id] == count for folder_id, count in known.items()) else DIFFER

    def _tags(self) -> str:
        groups = self._client.tags(self._asked, self._calls)
        if groups is None or MEDIA_TAGS.name not in self._state.tables:
            return CANNOT_TELL
        stored = set(
            self._state.query("SELECT DISTINCT tag_group, tag FROM {media_tags} WHERE dataset_id = %s", self._id)
        )
        return AGREE if set(tags_of(groups)) == {tuple(row) for row in stored} else DIFFER


#: Where the API has what becomes rows of these tables.
_PATHS = {MEDIA_TAGS.name: "metadata.tags", MODERATION_CATEGORIES.name: "metadata.moderation"}


class _WithPath(msgspec.Struct):
    """The one field that is read of every listed item."""

    path: str | None = None


_PATH = msgspec.json.Decoder(_WithPath)


def _decoded(item: RawItem) -> dict[str, Any]:
    sent = decode_json(item.raw)
    return sent if isinstance(sent, dict) else {}


def _completed(single: dict[str, Any], listed: dict[str, Any]) -> dict[str, Any]:
    """A media item as its own endpoint sends it, in the form of the listing.

    The endpoint is documented with fewer fields of detected objects, and with the dataset as an object. Fields that it
    leaves out are taken from the listing; which children there are is taken from the endpoint.
    """
    completed = {**listed, **single}
    if "dataset" not in listed:
        completed.pop("dataset", None)
    for key in ("frames", "captions", "objects"):
        children = completed.get(key)
        if isinstance(children, list):
            known = {str(child.get("id")): child for child in objects_in(listed, key)}
            completed[key] = [
                _completed(child, known.get(str(child.get("id")), {})) if isinstance(child, dict) else child
                for child in children
            ]
    return completed


def _differing(table: Table, stored: dict[str, Any], sent: dict[str, Any]) -> Iterator[tuple[Column, list[str]]]:
    """The columns in which two rows differ, each with the API's names of what differs in it."""
    for column in table.columns:
        if column.name in _OWN_COLUMNS:
            continue
        one, two = comparable(column, stored[column.name]), comparable(column, sent[column.name])
        if one == two:
            continue
        name = column.api or column.made_from or column.name
        keys = list(differing_keys(one, two)) if column.kind == "json" else []
        if column.name == "extra":
            yield column, keys or [name]
        else:
            yield column, [f"{name}.{key}" for key in keys] or [name]
