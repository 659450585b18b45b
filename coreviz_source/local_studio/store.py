"""What a library stores: organizations, datasets and items, and how they are listed and shown.

Items are kept as the documented JSON of the 2026 generation, with hyphenated ids; what a server of either
generation sends is made from them. Frames, captions and objects whose `createdAt` lies in the future, by the
library's clock, are not shown yet: they appear some seconds after their media item.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from random import Random

import msgspec

from coreviz_source.local_studio.form import Form, Item, holder_path, show
from coreviz_source.local_studio.generate import Generator
from coreviz_source.local_studio.ids import canonical_id, label, stamp

#: How many pictures of its content a folder shows.
PREVIEWS = 4


@dataclass
class Dataset:
    """A dataset: what the API returns about it, and its items by id, folders included."""

    info: Item
    items: dict[str, Item] = field(default_factory=dict)
    #: All items in the order of the listing; None once something changed.
    order: list[Item] | None = None
    #: Versions that another version has replaced; no listing shows them.
    replaced: set[str] = field(default_factory=set)
    _listed: dict[bool, tuple[list[Item], list[Item]]] = field(default_factory=dict)
    _folders: tuple[list[Item], dict[str, list[Item]]] | None = None

    @property
    def id(self) -> str:
        """Its id, hyphenated."""
        return str(self.info["id"])

    def ordered(self) -> list[Item]:
        """All items, oldest first, ties by id."""
        if self.order is None:
            self.order = sorted(self.items.values(), key=lambda i: (str(i.get("createdAt")), str(i.get("id"))))
        return self.order

    def listed(self, deleted: bool) -> list[Item]:
        """The items of a listing, with or without deleted ones; the same list until something changes."""
        order = self.ordered()
        known = self._listed.get(deleted)
        if known is None or known[0] is not order:
            kept = [
                item
                for item in order
                if str(item["id"]) not in self.replaced and (deleted or item.get("status") != "deleted")
            ]
            known = self._listed[deleted] = (order, kept)
        return known[1]

    def inside(self, path: str) -> list[Item]:
        """The listed items in a folder, without those of the folders below it."""
        listed = self.listed(deleted=False)
        if self._folders is None or self._folders[0] is not listed:
            holders: dict[str, list[Item]] = {}
            for item in listed:
                holders.setdefault(str(holder_path(item)), []).append(item)
            self._folders = (listed, holders)
        return self._folders[1].get(path, [])


class Store(Generator):
    """Organizations, datasets and items; safe to use from several threads.

    Args:
        seed: Makes all ids and texts.
        clock: Returns the present time.
    """

    def __init__(self, seed: int = 7, clock: Callable[[], datetime] | None = None) -> None:
        super().__init__(seed)
        self.lock = threading.RLock()
        self.clock = clock or (lambda: datetime.now(timezone.utc))
        #: By id; the first is the user's default.
        self.organizations: dict[str, Item] = {}
        self._organization(self.user["organizationId"], self.user["organizationName"])
        self.datasets: dict[str, Dataset] = {}
        self.pictures: dict[str, tuple[Item, Item | None]] = {}
        self._encoded: dict[str, dict[Form, bytes]] = {}

    # -- what a server shows -----------------------------------------------------------------------------------

    def listing(self, dataset_id: str, deleted: bool = False) -> list[Item]:
        """The items that a dataset lists, oldest first, ties by id; do not change them.

        Args:
            dataset_id: Which dataset.
            deleted: Whether items with status "deleted" are among them.
        """
        with self.lock:
            return self.dataset(dataset_id).listed(deleted)

    def snapshot(self, dataset_id: str, form: Form | None = None) -> list[Item]:
        """What a complete mirror of a dataset contains now, folders included; deleted items are not in it."""
        form = form or Form()
        with self.lock:
            shown = [i for i in self.listing(dataset_id) if form.generation == 2026 or i.get("type") != "folder"]
            return [msgspec.json.decode(self.encoded(item, form)) for item in shown]

    def encoded(self, item: Item, form: Form) -> bytes:
        """An item as a server sends it in this form, as JSON."""
        with self.lock:
            forms = self._encoded.setdefault(str(item["id"]), {})
            known = forms.get(form)
            if known is None:
                shown, whole = show(item, form, stamp(self.clock()))
                if item.get("type") == "folder":
                    whole = self._summarize(item, shown, form) and whole
                known = msgspec.json.encode(shown)
                if whole:
                    forms[form] = known
            return known

    def _summarize(self, folder: Item, shown: Item, form: Form) -> bool:
        """Computes what a folder shows of its content; whether that was given instead, and so does not change."""
        given = True
        for key, wanted in (("folderItemCount", True), ("folderPreviews", form.previews)):
            if key not in folder or folder[key] is not None:
                continue
            given = False
            if not wanted:
                del shown[key]
                continue
            dataset = self.dataset(str(folder["datasetId"]))
            path = str(folder["path"])
            if key == "folderItemCount":
                shown[key] = self._item_count(dataset, path, form.folder_counts)
            else:
                pictures = [i for i in dataset.inside(path) if i.get("type") != "folder"]
                shown[key] = [item["blob"] for item in pictures[: -PREVIEWS - 1 : -1]]
        return given

    @staticmethod
    def _item_count(dataset: Dataset, path: str, counted: str) -> int:
        if counted == "items":
            return len(dataset.inside(path))
        if counted == "below":
            below = f"{path}."
            return sum(
                i.get("type") != "folder" and str(i.get("path")).startswith(below)
                for i in dataset.listed(deleted=False)
            )
        return 0

    def dataset(self, dataset_id: str) -> Dataset:
        """A dataset by its id in either form.

        Raises:
            KeyError: There is none.
        """
        return self.datasets[canonical_id(dataset_id)]

    def media(self, media_id: str) -> Item:
        """A media item or folder by its id in either form; changes to it are shown once `touched()` was called."""
        return self._find(media_id)[1]

    def tags(self, dataset_id: str) -> dict[str, list[str]]:
        """The tag groups of a dataset's media items, and the values of each."""
        with self.lock:
            groups: dict[str, set[str]] = {}
            for item in self.listing(dataset_id):
                for group, values in ((item.get("metadata") or {}).get("tags") or {}).items():
                    groups.setdefault(group, set()).update(values)
            return {group: sorted(values) for group, values in sorted(groups.items())}

    def versions(self, media_id: str) -> list[Item]:
        """The original of a media item and everything made from it, by version number; deleted ones included."""
        with self.lock:
            dataset, item = self._find(media_id)
            root = self._root(item)
            found = [i for i in dataset.items.values() if i.get("type") != "folder" and self._root(i) == root]
            return sorted(found, key=lambda i: (int(i.get("versionNumber") or 1), str(i["id"])))

    def _root(self, item: Item) -> str:
        """The id of the original that a media item was made from, over all versions between."""
        seen = {canonical_id(str(item["id"]))}
        while source := item.get("sourceMediaId"):
            try:
                item = self.media(str(source))
            except KeyError:
                return canonical_id(str(source))
            if canonical_id(str(item["id"])) in seen:
                break
            seen.add(canonical_id(str(item["id"])))
        return canonical_id(str(item["id"]))

    def _find(self, media_id: str) -> tuple[Dataset, Item]:
        key = canonical_id(media_id)
        for dataset in self.datasets.values():
            if key in dataset.items:
                return dataset, dataset.items[key]
        raise KeyError(media_id)

    # -- what is stored ----------------------------------------------------------------------------------------

    def touched(self, media_id: str) -> None:
        """Announces that an item was changed in place."""
        with self.lock:
            dataset, item = self._find(media_id)
            dataset.order = None
            self._encoded.pop(str(item["id"]), None)

    @contextmanager
    def changing(self, media_id: str) -> Iterator[Item]:
        """The item, to be changed in place."""
        with self.lock:
            yield self.media(media_id)
            self.touched(media_id)

    def add_organization(self, name: str) -> str:
        """Adds an organization; returns its id."""
        with self.lock:
            return self._organization(self._id(Random(f"{self.seed} {len(self.organizations)} {name}")), name)

    def _organization(self, organization_id: str, name: str) -> str:
        slug = name.lower().replace(" ", "-")
        self.organizations[organization_id] = {"id": organization_id, "name": name, "slug": slug}
        return organization_id

    def add_dataset(self, name: str = "New dataset", organization_id: str | None = None) -> str:
        """Adds an empty dataset to an organization, by default the user's own; returns its id."""
        with self.lock:
            owner = canonical_id(organization_id or self.user["organizationId"])
            info = {
                "id": self._id(),
                "name": name,
                "icon": "folder",
                "type": "collection",
                "organizationId": self.organizations[owner]["id"],
            }
            self.datasets[info["id"]] = Dataset(info)
            return str(info["id"])

    def remove_dataset(self, dataset_id: str) -> None:
        """Removes a dataset and all items in it."""
        with self.lock:
            del self.datasets[self.dataset(dataset_id).id]

    def put(self, dataset_id: str, item: Item) -> str:
        """Adds or replaces an item exactly as given; returns its id."""
        with self.lock:
            dataset = self.dataset(dataset_id)
            dataset.items[canonical_id(str(item["id"]))] = item
            self.touched(str(item["id"]))
            return str(item["id"])

    def _path_of(self, dataset: Dataset, folder_id: str | None) -> str:
        """The path of a folder, or of the top of a dataset."""
        return str(dataset.items[canonical_id(folder_id)]["path"]) if folder_id else label(dataset.id)
