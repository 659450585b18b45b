"""A listing compared with what the warehouse stores: new, changed, unchanged, deleted.

A media item is compared by a fingerprint of its raw JSON, without decoding it. `updatedAt` alone is not enough: it does
not change when a caption is added.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from itertools import chain
from typing import Any, Literal, NamedTuple

from xxhash import xxh3_64_intdigest

from coreviz_source.errors import SafetyError, TooManyDeletesError
from coreviz_source.evidence import find_replaced
from coreviz_source.listing.listing import Listing
from coreviz_source.listing.raw_item import RawItem
from coreviz_source.listing.window import Window
from coreviz_source.report import counted
from coreviz_source.rows.build import ROWS_VERSION
from coreviz_source.selection import Selection
from coreviz_source.settings import Settings
from coreviz_source.tables import CHILDREN, FOLDERS, FRAMES, MEDIA
from coreviz_source.values import canonical_id, decode_json, encode_json, text_hash
from coreviz_source.warehouse.history import StoredHistory
from coreviz_source.warehouse.state import LastRuns, StoredHashes, StoredState

Mode = Literal["complete", "window", "slice", "sample"]

#: Media items, and folders, that may always be removed, however few are stored.
ALWAYS_DELETABLE = 10

#: If fewer known media items than this are listed, it is nothing special that most of them changed.
MANY = 20

_FRAMES_KEY = re.compile(rb'"frames"\s*:')
_SOURCE_KEY = re.compile(rb'"sourceMediaId"\s*:\s*["\d]')
#: Fields of a folder that the API changes when something is uploaded: addresses of pictures inside it.
_PREVIEWS = re.compile("preview|thumbnail", re.IGNORECASE)


class Fingerprint:
    """Hashes raw items; a new release of the row builder or another selection of tables changes every hash.

    Media items are hashed as they are, without decoding them, unless fields of them are ignored. Folders are few: they
    are always decoded, so that their previews can be left out.

    Args:
        selected: Names of the tables that are loaded.
        ignored: Dotted names of fields that are left out of the hash.
    """

    def __init__(self, selected: Iterable[str], ignored: Sequence[str] = ()) -> None:
        self._seed = text_hash(f"{ROWS_VERSION} {' '.join(sorted(selected))}")
        self._ignored = [(name, name.split(".")) for name in ignored]
        #: The ignored fields that an item has had so far.
        self.found: set[str] = set()

    def __call__(self, raw: bytes, is_folder: bool = False) -> int:
        """The hash of a raw item. It is never 0, which means that the item may be stored incompletely."""
        if self._ignored or is_folder:
            item = decode_json(raw)
            self.found.update(name for name, path in self._ignored if _remove(item, path))
            if is_folder:
                item = _without_previews(item)
            raw = encode_json(item).encode()
        return xxh3_64_intdigest(raw, self._seed) or 1


def _without_previews(value: Any) -> Any:
    """A folder, or a value in it, without fields that are named like previews."""
    if isinstance(value, list):
        return [_without_previews(one) for one in value]
    if not isinstance(value, dict):
        return value
    return {name: _without_previews(one) for name, one in value.items() if not _PREVIEWS.search(name)}


def _remove(item: Any, path: Sequence[str]) -> bool:
    """Removes a field from an item, and returns whether it was there.

    The path leads into every element of the lists on its way.
    """
    *steps, last = path
    parents = [item]
    for step in steps:
        values = (parent.get(step) for parent in parents if isinstance(parent, dict))
        parents = [one for value in values for one in (value if isinstance(value, list) else [value])]
    found = False
    for parent in parents:
        if isinstance(parent, dict) and last in parent:
            del parent[last]
            found = True
    return found


def plan(settings: Settings, last: LastRuns, now: datetime) -> tuple[Mode, Window]:
    """Which part of a dataset to list.

    Args:
        settings: `date_from`, `date_to`, `max_media`, `resync`, `lookback` and `reconcile_every` are used.
        last: When earlier runs listed it, by the server's clock.
        now: The server's clock.
    """
    if settings.max_media is not None:
        return "sample", Window(settings.date_from, settings.date_to)
    if settings.sliced:
        return "slice", Window(settings.date_from, settings.date_to)
    due = last.complete is None or last.listed is None or abs(now - last.complete) >= settings.reconcile_every
    if settings.resync or due or settings.reconcile_every <= timedelta(0):
        return "complete", Window()
    assert last.listed is not None
    try:
        return "window", Window(oldest=min(last.listed, now) - settings.lookback)
    except OverflowError:
        return "complete", Window()


def _allowed(stored: int, max_deletes: float) -> int:
    """How many of the stored media items, or folders, may be removed in one run."""
    return max(ALWAYS_DELETABLE, int(max_deletes * stored)) if max_deletes else 0


@dataclass(frozen=True)
class Deletions:
    """Ids of what is to be removed.

    Args:
        media: Media items.
        orphans: Media items of which only children are stored.
        folders: Folders.
        without_evidence: The media items and orphans that are only missing from the listing. The others were listed
            with the status deleted.
        unclosed: Media items whose rows an earlier run removed, but whose history it did not close.
    """

    media: list[str] = field(default_factory=list)
    orphans: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    without_evidence: list[str] = field(default_factory=list)
    unclosed: list[str] = field(default_factory=list)


class Changed(NamedTuple):
    """The new and changed items of one page."""

    media: list[RawItem]
    folders: list[RawItem]


class Changes:
    """Compares one dataset's listing with the warehouse, page by page, and finds at the end what was deleted.

    Call `read_stored()` before the first comparison.

    Args:
        stored: What the warehouse stores.
        dataset_id: Canonical id of the dataset.
        listing: The listing that is compared; its `window` may widen while it is read.
        mode: What kind of listing it is.
        selected: The tables that are loaded. Without `media` there is nothing to compare media items with.
        settings: `resync` and `ignored_fields` are used.
        history: The stored versions, if the run writes history.
    """

    def __init__(
        self,
        stored: StoredState,
        dataset_id: str,
        listing: Listing,
        mode: Mode,
        selected: Selection,
        settings: Settings,
        history: StoredHistory | None = None,
    ) -> None:
        self._stored = stored
        self._dataset_id = dataset_id
        self._listing = listing
        self._mode = mode
        self._window = listing.window
        self._selected = selected
        self._resync = settings.resync
        self._history = history
        self._begins_history = history is not None and history.begins
        self._fingerprint = Fingerprint(selected.marks, settings.ignored_fields)
        #: Folders have no history. Media items that were loaded with it need not be loaded again without it.
        self._folder_fingerprint = Fingerprint(selected.with_history(False).marks, settings.ignored_fields)
        self._fingerprint_with_history = Fingerprint(selected.with_history().marks, settings.ignored_fields)
        self._compares_media = MEDIA.name in selected
        self._in_window: list[str] = []
        self._doubtful: set[str] = set()
        self._unclosed: set[str] = set()
        self._frames_key_seen = False
        #: New media items: the hashes of their ids, and the media items that they were made from, by id.
        self._new_keys = array("Q")
        self._new_sources: dict[str, str] = {}
        #: The hashes of the ids of items that were listed with the status deleted.
        self._shown_deleted = array("Q")
        self._example = b""
        self.media = StoredHashes()
        self.folders = StoredHashes()
        self.listed = self.new = self.changed = self.unchanged = self.listed_media = 0
        self.known_media = self.changed_media = 0
        #: Some of the changed media items: the first, the second, the fourth, the eighth and so on.
        self.samples: list[RawItem] = []

    def read_stored(self) -> None:
        """Reads what the warehouse stores of the dataset. It comes before the first comparison."""
        if self._compares_media:
            self._load_known()
        if FOLDERS.name in self._selected:
            self.folders = self._stored.folders(self._dataset_id)

    def _load_known(self) -> None:
        hashes = self._stored.stored_media(self._dataset_id, self._window.oldest)
        without_history: set[str] = set()
        if self._mode == "complete":
            self._doubtful = self._stored.doubtful(self._dataset_id)
            if self._history is not None and not self._begins_history:
                without_history = self._history.doubtful()
                self._unclosed = self._history.unclosed()
        incomplete = self._doubtful | without_history
        self.media = StoredHashes(chain(((i, 0) for i in incomplete), hashes))

    def compare(self, items: list[RawItem]) -> Changed:
        """Finds the items of a page that have to be written.

        An item with the status deleted counts as not listed.
        """
        self._shown_deleted.extend(item.key for item in items if item.is_deleted)
        items = [item for item in items if not item.is_deleted]
        if self._mode == "window" and self._listing.window.is_everything:
            self._become_complete()
        if self._mode in ("slice", "sample"):
            items = [item for item in items if self._window.contains(item.created_at)]
        outside_ids = [i.id for i in items if not i.is_folder and self._is_outside_window(i.created_at)]
        outside = self._stored.hashes(self._dataset_id, outside_ids) if outside_ids and self._compares_media else {}
        media: list[RawItem] = []
        folders: list[RawItem] = []
        for item in items:
            fingerprint = self._folder_fingerprint if item.is_folder else self._fingerprint
            content_hash = fingerprint(item.raw, item.is_folder)
            if item.is_folder:
                stored_hash = self.folders.mark_listed(item.id)
            else:
                self.listed_media += 1
                self._unclosed.discard(item.id)
                self._example = item.raw
                self._frames_key_seen = self._frames_key_seen or bool(_FRAMES_KEY.search(item.raw))
                stored_hash = self.media.mark_listed(item.id)
                if stored_hash is None:
                    stored_hash = outside.get(item.id)
                self.known_media += stored_hash is not None
                if self._mode == "window":
                    self._in_window.append(item.id)
            self.listed += 1
            if not self._resync and self._is_same(item, stored_hash, content_hash):
                self.unchanged += 1
                continue
            item.content_hash = f"{content_hash:016x}"
            if stored_hash is None:
                self.new += 1
                if not item.is_folder and len(self.media):
                    self._note_new(item)
            else:
                self.changed += 1
                # the hash 0 means that a crash may have left the item incomplete
                if stored_hash and not item.is_folder:
                    self._note_changed(item)
            (folders if item.is_folder else media).append(item)
        return Changed(media, folders)

    def _is_same(self, item: RawItem, stored_hash: int | None, content_hash: int) -> bool:
        if item.is_folder or self._selected.history or stored_hash in (content_hash, None, 0):
            return stored_hash == content_hash and (item.is_folder or not self._begins_history)
        return stored_hash == self._fingerprint_with_history(item.raw)

    def _note_new(self, item: RawItem) -> None:
        self._new_keys.append(item.key)
        if _SOURCE_KEY.search(item.raw):
            sent = decode_json(item.raw)
            source = sent.get("sourceMediaId") if isinstance(sent, dict) else None
            if isinstance(source, (str, int)):
                self._new_sources[item.id] = canonical_id(str(source))

    def _note_changed(self, item: RawItem) -> None:
        self.changed_media += 1
        if self.changed_media & (self.changed_media - 1) == 0:
            self.samples.append(item)

    @property
    def ignored_found(self) -> set[str]:
        """Those of `ignored_fields` that a listed item has had."""
        return self._fingerprint.found | self._folder_fingerprint.found

    @property
    def most_changed(self) -> bool:
        """Whether most known media items changed, and they are too many for people to have changed them."""
        return not self._resync and self.known_media >= MANY and 2 * self.changed_media > self.known_media

    def _is_outside_window(self, created: datetime | None) -> bool:
        """Whether an item is outside the part of the stored state that was read."""
        return self._window.oldest is not None and (created is None or created < self._window.oldest)

    def _become_complete(self) -> None:
        """Reads all of the stored state, because the listing found that it has to list everything."""
        self._mode, self._window = "complete", Window()
        if self._compares_media:
            self._load_known()
            for item_id in self._in_window:
                self.media.mark_listed(item_id)
                self._unclosed.discard(item_id)
        self._in_window.clear()

    @property
    def mode(self) -> Mode:
        """What kind of listing it is: a window may have become a complete listing."""
        return self._mode

    @property
    def example(self) -> str | None:
        """The id, as the API sent it, of a listed media item; None if none has an id."""
        item = decode_json(self._example) if self._example else None
        sent = item.get("id") if isinstance(item, dict) else None
        return str(sent) if isinstance(sent, (str, int)) and sent else None

    def deletions(self, max_deletes: float) -> Deletions:
        """What is stored, belongs to the range that was listed, and is missing from the listing.

        Args:
            max_deletes: The share of the stored media items that may be removed, and of the stored folders.

        Raises:
            SafetyError: More is missing than `max_deletes` allows, or the API stopped sending frames.
        """
        if not self._compares_media:
            return Deletions()
        self.check_frames()
        if self._mode == "sample" or not self._listing.proof.complete:
            return Deletions()
        media = self._stored.missing_ids(self.media, MEDIA.name, self._dataset_id, self._window.contains)
        replaced = self._replaced(media)
        # a version that another one replaced is no deletion
        self._brake("media item", len(media) - len(replaced), self._stored.count(self._dataset_id), max_deletes)
        orphans, folders, unclosed = list[str](), list[str](), list[str]()
        if self._mode == "complete":
            missing = set(media)
            orphans = sorted(i for i in self._doubtful if i not in missing and self.media.is_missing(i))
            folders = self._stored.missing_ids(self.folders, FOLDERS.name, self._dataset_id, lambda _: True)
            self._brake("folder", len(folders), len(self.folders), max_deletes)
            unclosed = sorted(self._unclosed.difference(media, orphans))
        shown = set(self._shown_deleted)
        unexplained = [i for i in (*media, *orphans) if text_hash(i) not in shown and i not in replaced]
        return Deletions(media, orphans, folders, unexplained, unclosed)

    def _replaced(self, missing: list[str]) -> set[str]:
        if not missing:
            return set()
        new = set(self._new_keys)
        return find_replaced(
            self._stored,
            self._dataset_id,
            missing,
            self._new_sources,
            is_new=lambda media_id: text_hash(media_id) in new,
            was_listed=self.media.was_listed,
        )

    def _brake(self, noun: str, missing: int, stored: int, max_deletes: float) -> None:
        allowed = _allowed(stored, max_deletes)
        if missing > allowed:
            raise TooManyDeletesError(
                missing,
                f"{missing:,} of {counted(stored, noun)} {'is' if missing == 1 else 'are'} missing from the API. "
                f"One run removes at most {allowed:,}.",
                dataset=self._dataset_id,
            )

    def check_frames(self) -> None:
        """Checks that the API still sends frames, before rows without frames replace the stored ones.

        Raises:
            SafetyError: No listed media item has had the key so far, although frames of some are stored.
        """
        if self._frames_key_seen or self._resync or FRAMES.name not in self._selected:
            return
        if self.media.unlisted == len(self.media):
            return
        if self._stored.has_frames_of(self._dataset_id, self.media.was_listed):
            raise SafetyError(
                "No media item in the API's response has `frames`, but frames of them are stored in the warehouse.",
                remedy=(
                    "Nothing was removed. If the API really has no frames any more, run once with `resync`, "
                    "which loads what it sends."
                ),
                dataset=self._dataset_id,
            )

    @cached_property
    def needs_tombstones(self) -> bool:
        """Whether a media item whose child list is empty may have stored children."""
        return any(child.name in self._selected for child in CHILDREN) and self._stored.has_rows(self._dataset_id)
