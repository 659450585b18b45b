"""A library as the service would hold it: generated, changeable while it is served, and its own truth.

Items are kept as the documented JSON of the 2026 generation, with hyphenated ids; what a server of either
generation sends is made from them. Frames, captions and objects whose `createdAt` lies in the future, by the
library's clock, are not shown yet: that is how they appear some seconds after their media.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from random import Random
from typing import Any, NamedTuple

import msgspec

from coreviz_source.local_studio.pictures import polygon
from coreviz_source.local_studio.vocabulary import (
    CAMERAS,
    COLOURS,
    FOLDERS,
    MODELS,
    TAGS,
    THEMES,
    caption,
)
from coreviz_source.values import canonical_id

Item = dict[str, Any]
#: When the newest generated media was created, unless told otherwise.
NEWEST = datetime(2026, 1, 31, 18, 0, tzinfo=timezone.utc)
#: Seconds after its media that a frame and a caption appear.
FRAME_DELAY, CAPTION_DELAY = 8, 20

_IDS = frozenset(
    (
        "id",
        "datasetId",
        "mediaId",
        "frameId",
        "createdById",
        "updatedById",
        "entityId",
        "sourceMediaId",
        "organizationId",
    )
)
_ONLY_2025 = frozenset(("entityId",))
_ONLY_2026 = frozenset(
    (
        *("path", "datasetId", "sourceMediaId", "versionNumber", "thumbnailBlob", "pageNumber", "endTimestamp", "text"),
        "polygon",
    )
)


class Form(NamedTuple):
    """How a server shows an item: the generation of the API, and readings of it that the documents leave open."""

    #: 2025 or 2026.
    generation: int = 2026
    #: `own`: the path of a media item ends in its own id. `holder`: in the id of its folder or dataset.
    paths: str = "own"
    #: Whether detected objects carry `polygon`.
    polygons: bool = True


def stamp(moment: datetime) -> str:
    """A moment as the API writes it: ISO 8601 with milliseconds and Z."""
    return moment.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


@dataclass
class Dataset:
    """A dataset: what the API tells of it, and its items by id, folders included."""

    info: Item
    items: dict[str, Item] = field(default_factory=dict)
    order: list[Item] | None = None

    @property
    def id(self) -> str:
        """Its id, hyphenated."""
        return str(self.info["id"])


class Library:
    """Datasets, folders and media, and everything that people and models do to them.

    All methods take ids in either form and are safe to call while the library is served. No change moves
    `updatedAt`, as in the real service, unless the method says so.

    Args:
        seed: Makes all ids and texts; the same seed, the same library.
        clock: What time it is; `advance()` sets it to a fixed one.
    """

    def __init__(self, seed: int = 7, clock: Callable[[], datetime] | None = None) -> None:
        self.lock = threading.RLock()
        self.random = Random(seed)
        self.clock = clock or (lambda: datetime.now(timezone.utc))
        self.user: Item = {
            "userId": self._id(),
            "email": "you@example.com",
            "name": "You",
            "organizationId": self._id(),
            "organizationName": "Local Studio",
        }
        self.datasets: dict[str, Dataset] = {}
        self.pictures: dict[str, tuple[Item, Item | None]] = {}
        self._encoded: dict[str, dict[Form, bytes]] = {}
        self._entity = self._id()

    @classmethod
    def empty(cls, datasets: int = 1, seed: int = 7) -> Library:
        """A library of datasets without media."""
        library = cls(seed)
        for name in (list(THEMES) * datasets)[:datasets]:
            library.add_dataset(name)
        return library

    @classmethod
    def generate(
        cls, media: int = 240, datasets: int = 3, seed: int = 7, newest: datetime = NEWEST, every: float = 1800.0
    ) -> Library:
        """A library that looks like a real one.

        Args:
            media: How many media in all datasets together.
            datasets: How many datasets.
            seed: The same seed, the same library.
            newest: When the newest media was created.
            every: Seconds between two media of a dataset, on average.
        """
        library = cls.empty(datasets, seed)
        random = library.random
        for number, dataset in enumerate(library.datasets.values()):
            share = media // datasets + (number < media % datasets)
            folders = library._folders(dataset, newest - timedelta(seconds=every * (share + 2))) if share >= 8 else []
            for place in range(share):
                kind = "video" if place % 9 == 4 else "pdf" if place % 60 == 30 else "image"
                created = newest - timedelta(seconds=every * (share - 1 - place) + random.uniform(0, every / 2))
                folder = random.choice(folders) if folders and random.random() < 0.5 else None
                library.add_media(dataset.id, kind, created=created, folder=folder, processing=False)
        return library

    # -- what a server shows -----------------------------------------------------------------------------------

    def listing(self, dataset_id: str) -> list[Item]:
        """A dataset's items, oldest first, ties by id; do not change them."""
        with self.lock:
            dataset = self.dataset(dataset_id)
            if dataset.order is None:
                dataset.order = sorted(
                    dataset.items.values(), key=lambda i: (str(i.get("createdAt")), str(i.get("id")))
                )
            return dataset.order

    def snapshot(self, dataset_id: str, form: Form | None = None) -> list[Item]:
        """What a complete listing of a dataset returns now, folders included: what a mirror has to equal."""
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
                now = stamp(self.clock())
                shown, whole = _shown(item, form, now)
                if form.paths == "holder" and "path" in shown:
                    shown["path"] = _holder(item)
                known = msgspec.json.encode(shown)
                if whole:
                    forms[form] = known
            return known

    def dataset(self, dataset_id: str) -> Dataset:
        """A dataset by its id in either form.

        Raises:
            KeyError: There is none.
        """
        return self.datasets[canonical_id(dataset_id)]

    def media(self, media_id: str) -> Item:
        """A media or folder by its id in either form; changes to it are shown once `touched()`."""
        return self._find(media_id)[1]

    def _find(self, media_id: str) -> tuple[Dataset, Item]:
        key = canonical_id(media_id)
        for dataset in self.datasets.values():
            if key in dataset.items:
                return dataset, dataset.items[key]
        raise KeyError(media_id)

    # -- what happens to it ------------------------------------------------------------------------------------

    def advance(self, **span: float) -> datetime:
        """Moves the clock on by so much (arguments of `timedelta`), and stops it there; returns the time."""
        now = self.clock() + timedelta(**span)
        self.clock = lambda: now
        return now

    def touched(self, media_id: str) -> None:
        """Says that an item was changed in place."""
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

    def add_dataset(self, name: str = "New dataset") -> str:
        """Adds an empty dataset; returns its id."""
        with self.lock:
            info = {
                "id": self._id(),
                "name": name,
                "icon": "folder",
                "type": "collection",
                "organizationId": self.user["organizationId"],
            }
            self.datasets[info["id"]] = Dataset(info)
            return str(info["id"])

    def remove_dataset(self, dataset_id: str) -> None:
        """Removes a dataset and all that it holds."""
        with self.lock:
            del self.datasets[self.dataset(dataset_id).id]

    def put(self, dataset_id: str, item: Item) -> str:
        """Adds or replaces an item exactly as given; returns its id."""
        with self.lock:
            dataset = self.dataset(dataset_id)
            dataset.items[canonical_id(str(item["id"]))] = item
            self.touched(str(item["id"]))
            return str(item["id"])

    def add_folder(self, dataset_id: str, name: str, parent: str | None = None, created: datetime | None = None) -> str:
        """Adds a folder, in another one or at the top; returns its id."""
        with self.lock:
            dataset = self.dataset(dataset_id)
            above = dataset.items[canonical_id(parent)]["path"] if parent else _label(dataset.id)
            folder_id = self._id()
            now = stamp(created or self.clock())
            item = {
                "id": folder_id,
                "name": name,
                "type": "folder",
                "blob": None,
                "path": f"{above}.{_label(folder_id)}",
                "datasetId": dataset.id,
                "createdAt": now,
                "updatedAt": now,
                "createdById": self.user["userId"],
                "status": "active",
                "metadata": {},
                "folderItemCount": 0,
            }
            return self.put(dataset.id, item)

    def _folders(self, dataset: Dataset, created: datetime) -> list[str]:
        made: list[str] = []
        for number, name in enumerate(FOLDERS):
            # every other folder stands in the one before it: three deep
            parent = made[-1] if number % 3 else None
            made.append(self.add_folder(dataset.id, name, parent, created + timedelta(seconds=number)))
        return made

    def add_media(
        self,
        dataset_id: str,
        kind: str = "image",
        *,
        created: datetime | None = None,
        folder: str | None = None,
        processing: bool = True,
    ) -> str:
        """Uploads a media; returns its id.

        Args:
            dataset_id: Where to.
            kind: image, video or pdf.
            created: When. Default: now.
            folder: Into which folder. Default: the top.
            processing: Whether its frames appear 8 and its captions 20 seconds later; else they are there at once.
        """
        with self.lock:
            dataset = self.dataset(dataset_id)
            random = self.random
            moment = created or self.clock()
            media_id, now = self._id(), stamp(moment)
            theme = dataset.info["name"] if dataset.info["name"] in THEMES else next(iter(THEMES))
            thing = random.choice(THEMES[theme]["things"])
            ending = {"image": random.choice(("jpg", "webp", "png")), "video": "mp4", "pdf": "pdf"}[kind]
            path = dataset.items[canonical_id(folder)]["path"] if folder else _label(dataset.id)
            photographed = kind == "image" and random.random() < 0.6
            item: Item = {
                "id": media_id,
                "name": f"entities/{self._entity}/media/{thing}-{len(dataset.items) + 1:04d}.{ending}",
                "type": kind,
                "blob": f"/blob/{media_id}",
                "entityId": self._entity,
                "path": f"{path}.{_label(media_id)}",
                "datasetId": dataset.id,
                "width": 1280 if kind == "video" else 2000,
                "height": 720 if kind == "video" else 1250,
                "duration": round(random.uniform(4, 60), 2) if kind == "video" else None,
                "sizeBytes": random.randrange(40_000, 9_000_000),
                "exif": {"tags": self._exif() if photographed else {}},
                "createdAt": now,
                "updatedAt": now,
                "metadata": {"tags": self._tags(), "moderation": self._moderation(now)},
                "createdById": self.user["userId"],
                "updatedById": None,
                "status": "active",
                "sourceMediaId": None,
                "versionNumber": 1,
                "frames": [],
            }
            count = {"image": 1, "video": random.randrange(3, 12), "pdf": random.randrange(2, 5)}[kind]
            if random.random() < 0.04:
                count = 0
            for number in range(count):
                item["frames"].append(self._frame(item, theme, number, count, moment, processing))
            return self.put(dataset.id, item)

    def delete(self, media_id: str) -> None:
        """Deletes a media or folder, leaving no trace."""
        with self.lock:
            dataset, item = self._find(media_id)
            self.touched(media_id)
            del dataset.items[canonical_id(str(item["id"]))]

    def move(self, media_id: str, dataset_id: str) -> None:
        """Moves a media to another dataset."""
        with self.lock:
            item = copy.deepcopy(self.media(media_id))
            self.delete(media_id)
            dataset = self.dataset(dataset_id)
            item |= {"datasetId": dataset.id, "path": f"{_label(dataset.id)}.{_label(str(item['id']))}"}
            self.put(dataset.id, item)

    def add_frame(self, media_id: str) -> str:
        """Adds a frame with a caption; returns its id."""
        with self.changing(media_id) as item:
            frame = self._frame(
                item, next(iter(THEMES)), len(item["frames"]), len(item["frames"]) + 1, self.clock(), False
            )
            item["frames"].append(frame)
            return str(frame["id"])

    def add_caption(self, media_id: str, text: str, frame: int = -1, after: float = 0.0) -> str:
        """Writes a caption for a frame, which appears so many seconds from now; returns its id."""
        with self.changing(media_id) as item:
            made = self._caption(item["frames"][frame], text, self.clock() + timedelta(seconds=after))
            item["frames"][frame]["captions"].append(made)
            return str(made["id"])

    @contextmanager
    def live(self, changes_per_minute: float = 30, seed: int = 1) -> Iterator[None]:
        """While it lasts, uploads arrive, captions are written, things are renamed and deleted, at random."""
        stop = threading.Event()

        def change() -> None:
            random = Random(seed)
            while not stop.wait(60 / changes_per_minute):
                self.mutate(random)

        thread = threading.Thread(target=change, daemon=True, name="local-studio-live")
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def mutate(self, random: Random) -> str:
        """Makes one random change; returns what it was."""
        with self.lock:
            dataset = random.choice(list(self.datasets.values()))
            media = [i for i in dataset.items.values() if i.get("type") != "folder"]
            kind = random.choice(
                ("upload", "upload", "caption", "rewrite", "tags", "rename", "delete", "frames", "uncaption")
            )
            if kind == "upload" or not media:
                self.add_media(dataset.id, random.choice(("image", "image", "video")))
                return "upload"
            item = random.choice(media)
            frames = [f for f in item.get("frames") or [] if f.get("captions")]
            if kind == "delete":
                self.delete(item["id"])
                return kind
            with self.changing(item["id"]):
                if kind == "caption" and item.get("frames"):
                    self.add_caption(item["id"], f"A late caption, number {random.randrange(10**6)}.")
                elif kind == "rewrite" and frames:
                    frames[0]["captions"][0]["text"] = f"Rewritten, number {random.randrange(10**6)}."
                elif kind == "uncaption" and frames:
                    frames[0]["captions"].clear()
                elif kind == "frames":
                    item["frames"] = (
                        [] if item.get("frames") else [self._frame(item, next(iter(THEMES)), 0, 1, self.clock(), False)]
                    )
                elif kind == "tags":
                    item["metadata"]["tags"] = {} if random.random() < 0.3 else self._tags()
                else:
                    item["name"] = f"renamed-{random.randrange(10**6)}.jpg"
            return kind

    # -- made up -----------------------------------------------------------------------------------------------

    def _id(self) -> str:
        digits = f"{self.random.getrandbits(128):032x}"
        return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"

    def _exif(self) -> Item:
        make, model = self.random.choice(CAMERAS)
        return {
            "Make": make,
            "Model": model,
            "FNumber": self.random.choice((1.8, 2.8, 4, 5.6, 8)),
            "ISO": self.random.choice((100, 200, 400, 800)),
            "GPSLatitude": round(self.random.uniform(36, 60), 5),
        }

    def _tags(self) -> dict[str, list[str]]:
        groups = self.random.sample(list(TAGS), self.random.randrange(0, 4))
        return {group: self.random.sample(TAGS[group], self.random.randrange(1, 3)) for group in groups}

    def _moderation(self, now: str) -> Item:
        chance = self.random.random()
        if chance < 0.03:
            return {
                "status": "flagged",
                "categories": [self.random.choice(("violence", "alcohol"))],
                "moderatedAt": now,
            }
        return {"status": "pending" if chance < 0.1 else "approved", "categories": [], "moderatedAt": now}

    def _frame(self, item: Item, theme: str, number: int, count: int, moment: datetime, processing: bool) -> Item:
        random = self.random
        shown = moment + timedelta(seconds=FRAME_DELAY + number if processing else 0)
        frame_id, now = self._id(), stamp(shown)
        second = (item.get("duration") or 0) * number / count
        frame: Item = {
            "id": frame_id,
            "timestamp": f"{second:.2f}" if second else "0",
            "blob": f"/blob/{frame_id}",
            "thumbnailBlob": f"/blob/{frame_id}",
            "width": 640,
            "height": 400,
            "createdAt": now,
            "updatedAt": now,
            "status": "active",
            "createdById": self.user["userId"],
            "metadata": {"moderation": item["metadata"].get("moderation", {}) if item.get("metadata") else {}},
            "mediaId": item["id"],
            "captions": [],
            "objects": [],
        }
        if item.get("type") == "pdf":
            frame |= {
                "pageNumber": number + 1,
                "text": f"Page {number + 1}. " + caption(random, theme, [("red", "shoe")]),
            }
        if item.get("type") == "video":
            frame["endTimestamp"] = f"{(item.get('duration') or 0) * (number + 1) / count:.2f}"
        things = random.sample(THEMES[theme]["things"], random.randrange(0, 3))
        seen = [(random.choice(list(COLOURS)), thing) for thing in things]
        if random.random() > 0.06:
            later = shown + timedelta(seconds=CAPTION_DELAY - FRAME_DELAY if processing else 0)
            frame["captions"].append(self._caption(frame, caption(random, theme, seen), later))
        for colour, noun in seen:
            object_id = self._id()
            thing: Item = {
                "id": object_id,
                "type": "object",
                "label": f"{colour} {noun}",
                "blob": f"/blob/{object_id}",
                "status": "active",
                "boundingBox": {
                    "x": round(random.uniform(0.05, 0.6), 3),
                    "y": round(random.uniform(0.2, 0.5), 3),
                    "width": round(random.uniform(0.15, 0.35), 3),
                    "height": round(random.uniform(0.2, 0.45), 3),
                },
            }
            thing["polygon"] = polygon(thing, frame["width"], frame["height"])
            frame["objects"].append(thing)
        return frame

    def _caption(self, frame: Item, text: str, created: datetime) -> Item:
        now = stamp(created)
        return {
            "id": self._id(),
            "text": text,
            "frameId": frame["id"],
            "createdAt": now,
            "updatedAt": now,
            "status": "active",
            "createdById": self.user["userId"],
            "metadata": {},
            "model": self.random.choice(MODELS),
        }


def _label(item_id: str) -> str:
    """An id as a label of an ltree path."""
    return item_id.replace("-", "")


def _holder(item: Item) -> Any:
    """The path of the folder or dataset that holds a media item; a folder's path stays as it is."""
    path = item["path"]
    if item.get("type") == "folder" or not isinstance(path, str):
        return path
    above, _, last = path.rpartition(".")
    return above if last == _label(str(item["id"])) else path


def _shown(value: Any, form: Form, now: str) -> tuple[Any, bool]:
    """A value as it is shown in this form now, and whether nothing of it was held back until later."""
    if isinstance(value, list):
        whole = True
        kept = []
        for element in value:
            if isinstance(element, dict) and isinstance(element.get("createdAt"), str) and element["createdAt"] > now:
                whole = False
                continue
            shown, all_of_it = _shown(element, form, now)
            kept.append(shown)
            whole = whole and all_of_it
        return kept, whole
    if not isinstance(value, dict):
        return value, True
    hidden = _ONLY_2026 if form.generation == 2025 else _ONLY_2025
    result: Item = {}
    whole = True
    for key, element in value.items():
        if key in ("exif", "metadata") or (key == "text" and "frameId" in value):
            result[key] = element
        elif key in hidden or (key == "polygon" and not form.polygons):
            continue
        elif key in _IDS and isinstance(element, str) and form.generation == 2026 and canonical_id(element) == element:
            result[key] = _label(element)
        elif key in ("frames", "captions", "objects"):
            result[key], all_of_it = _shown(element, form, now)
            whole = whole and all_of_it
        else:
            result[key] = element
    return result, whole
