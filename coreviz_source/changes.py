"""What a listing brings, compared with what the warehouse holds: new, changed, unchanged, gone.

An item is compared by a fingerprint of its raw JSON, without decoding it. `updatedAt` is never asked: it does not
move when a caption appears.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from itertools import chain
from typing import Literal

from xxhash import xxh3_64_intdigest

from coreviz_source.errors import SafetyError
from coreviz_source.listing.listing import Listing
from coreviz_source.listing.raw_item import RawItem
from coreviz_source.listing.window import Window
from coreviz_source.memory import Known, LastRuns, Memory
from coreviz_source.rows import ROWS_VERSION
from coreviz_source.selection import Selection
from coreviz_source.settings import Settings
from coreviz_source.tables import CHILDREN, MEDIA
from coreviz_source.values import decode_json, encode_json, text_hash

Mode = Literal["complete", "window", "slice", "sample"]

#: Media that may always go, however small the dataset is.
ALWAYS_DELETABLE = 10

#: Known media of a listing below which it is nothing special that most of them changed.
MANY = 20

_FRAMES_KEY = re.compile(rb'"frames"\s*:')


class Fingerprint:
    """Hashes raw items; a new release of the row builder or another selection of tables changes every hash.

    Args:
        selected: Names of the tables that are loaded.
        ignored: Dotted names of fields that are left out of the hash. Only then are items decoded for it.
    """

    def __init__(self, selected: Iterable[str], ignored: Sequence[str] = ()) -> None:
        self._seed = text_hash(f"{ROWS_VERSION} {' '.join(sorted(selected))}")
        self._ignored = [name.split(".") for name in ignored]

    def __call__(self, raw: bytes) -> int:
        """The hash of a raw item; never 0, which stands for "not known"."""
        if self._ignored:
            raw = _without(raw, self._ignored)
        return xxh3_64_intdigest(raw, self._seed) or 1


def _without(raw: bytes, names: Iterable[Sequence[str]]) -> bytes:
    """An item's JSON without some fields."""
    item = decode_json(raw)
    for *path, last in names:
        holders = [item]
        for step in path:
            held = (holder.get(step) for holder in holders if isinstance(holder, dict))
            holders = [one for value in held for one in (value if isinstance(value, list) else [value])]
        for holder in holders:
            if isinstance(holder, dict):
                holder.pop(last, None)
    return encode_json(item).encode()


def plan(settings: Settings, last: LastRuns, now: datetime) -> tuple[Mode, Window]:
    """Which part of a dataset to list.

    Args:
        settings: `date_from`, `date_to`, `max_media`, `resync`, `lookback` and `reconcile_every` are used.
        last: When it was listed before, by the server's clock.
        now: The server's clock.
    """
    if settings.max_media is not None:
        return "sample", Window(settings.date_from, settings.date_to)
    if settings.sliced:
        return "slice", Window(settings.date_from, settings.date_to)
    due = last.complete is None or last.listed is None or now - last.complete >= settings.reconcile_every
    if settings.resync or due or settings.reconcile_every <= timedelta(0):
        return "complete", Window()
    assert last.listed is not None
    try:
        return "window", Window(oldest=min(last.listed, now) - settings.lookback)
    except OverflowError:
        return "complete", Window()


@dataclass
class Gone:
    """What to remove: media and folders by id, and children whose media is not there any more."""

    media: list[str] = field(default_factory=list)
    orphans: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)


class Changes:
    """Compares one dataset's listing with the warehouse, batch by batch, and says at the end what is gone.

    Args:
        memory: The warehouse.
        dataset_id: Canonical id of the dataset.
        listing: The listing that is compared; its `window` may widen while it is read.
        mode: What kind of listing it is.
        selected: The tables that are loaded; without `media` there is no memory.
        settings: `resync` and `ignored_fields` are used.
    """

    def __init__(
        self,
        memory: Memory,
        dataset_id: str,
        listing: Listing,
        mode: Mode,
        selected: Selection,
        settings: Settings,
    ) -> None:
        self._memory = memory
        self._dataset_id = dataset_id
        self._listing = listing
        self._mode = mode
        self._window = listing.window
        self._selected = selected
        self._resync = settings.resync
        self._fingerprint = Fingerprint(selected.marks, settings.ignored_fields)
        self._remembers = MEDIA.name in selected
        self._in_window: list[str] = []
        self._doubtful: set[str] = set()
        self._frames_key_seen = False
        self.media = Known()
        self.folders = Known()
        self.listed = self.new = self.changed = self.unchanged = self.listed_media = 0
        self.known_media = self.changed_media = 0
        #: Some of the changed media: the first, the second, the fourth, the eighth and so on.
        self.samples: list[RawItem] = []
        if self._remembers:
            self._load_known()
        if "folders" in selected:
            self.folders = memory.folders(dataset_id)

    def _load_known(self) -> None:
        held = self._memory.held_media(self._dataset_id, self._window.oldest)
        if self._mode == "complete":
            self._doubtful = self._memory.doubtful(self._dataset_id)
        self.media = Known(chain(((i, 0) for i in self._doubtful), held))

    def compare(self, items: list[RawItem]) -> tuple[list[RawItem], list[RawItem]]:
        """The media and the folders of a batch that have to be written."""
        if self._mode == "window" and self._listing.window.is_everything:
            self._become_complete()
        if self._mode in ("slice", "sample"):
            items = [item for item in items if self._window.contains(item.created_at)]
        older = [i.id for i in items if not i.is_folder and self._outside_window(i.created_at)]
        outside_window = self._memory.hashes(self._dataset_id, older) if older and self._remembers else {}
        media: list[RawItem] = []
        folders: list[RawItem] = []
        for item in items:
            content_hash = self._fingerprint(item.raw)
            if item.is_folder:
                held = self.folders.listed(item.id)
            else:
                self.listed_media += 1
                self._frames_key_seen = self._frames_key_seen or bool(_FRAMES_KEY.search(item.raw))
                held = self.media.listed(item.id)
                if held is None:
                    held = outside_window.get(item.id)
                self.known_media += held is not None
                if self._mode == "window":
                    self._in_window.append(item.id)
            self.listed += 1
            if held == content_hash and not self._resync:
                self.unchanged += 1
                continue
            item.content_hash = f"{content_hash:016x}"
            if held is None:
                self.new += 1
            else:
                self.changed += 1
                # 0 stands for what a crash may have left half written
                if held and not item.is_folder:
                    self._note_changed(item)
            (folders if item.is_folder else media).append(item)
        return media, folders

    def _note_changed(self, item: RawItem) -> None:
        self.changed_media += 1
        if self.changed_media & (self.changed_media - 1) == 0:
            self.samples.append(item)

    @property
    def most_changed(self) -> bool:
        """Whether most known media changed, of so many that this is hardly people's work."""
        return not self._resync and self.known_media >= MANY and 2 * self.changed_media > self.known_media

    def _outside_window(self, created: datetime | None) -> bool:
        """Whether an item is outside the part of the memory that was read."""
        return self._window.oldest is not None and (created is None or created < self._window.oldest)

    def _become_complete(self) -> None:
        """The listing found that it has to be complete: so does what it is compared with."""
        self._mode, self._window = "complete", Window()
        if self._remembers:
            self._load_known()
            for item_id in self._in_window:
                self.media.listed(item_id)
        self._in_window.clear()

    @property
    def mode(self) -> Mode:
        """What kind of listing it turned out to be."""
        return self._mode

    def gone(self, max_deletes: float) -> Gone:
        """What the warehouse holds of the range that was listed, and the listing did not show.

        Raises:
            SafetyError: That is more than `max_deletes` allows, or the API stopped sending frames.
        """
        if not self._remembers:
            return Gone()
        self.check_frames()
        if self._mode == "sample" or not self._listing.proof.complete:
            return Gone()
        gone = Gone(media=self._memory.gone(self.media, MEDIA.name, self._dataset_id, self._window.contains))
        self._check_brake(len(gone.media), max_deletes)
        if self._mode == "complete":
            going = set(gone.media)
            gone.orphans = sorted(i for i in self._doubtful if i not in going and self.media.is_gone(i))
            gone.folders = self._memory.gone(self.folders, "folders", self._dataset_id, lambda _: True)
        return gone

    def _check_brake(self, gone: int, max_deletes: float) -> None:
        if gone == 0:
            return
        held = self._memory.count(self._dataset_id)
        allowed = max(ALWAYS_DELETABLE, int(max_deletes * held)) if max_deletes else 0
        if gone > allowed:
            raise SafetyError(
                f"{gone} of {held} media are gone from the API; more than {allowed} are not removed in one run.",
                remedy=(
                    "Nothing was changed. If they were really deleted, run once with a larger `max_deletes` "
                    "(1 removes any number)."
                ),
                dataset=self._dataset_id,
            )

    def check_frames(self) -> None:
        """Checks that the API still sends frames, before rows without them are loaded in place of those held.

        Raises:
            SafetyError: No media has shown the key so far, though the warehouse holds frames of those listed.
        """
        if self._frames_key_seen or self._resync or "frames" not in self._selected:
            return
        if self.media.unlisted == len(self.media):
            return
        if self._memory.holds_frames_of(self._dataset_id, self.media.was_listed):
            raise SafetyError(
                "No media in the API's answer has `frames`, but the warehouse holds frames of them.",
                remedy=(
                    "Nothing was changed. If the API really has no frames any more, run once with `resync`, "
                    "which loads what it sends."
                ),
                dataset=self._dataset_id,
            )

    @cached_property
    def needs_tombstones(self) -> bool:
        """Whether a media whose child list is empty may have had children in the warehouse."""
        return any(child.name in self._selected for child in CHILDREN) and self._memory.holds_anything(self._dataset_id)
