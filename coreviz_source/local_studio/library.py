"""A library as the service would have it: generated, changeable while it is served, and its own truth."""

from __future__ import annotations

import copy
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from random import Random

from coreviz_source.local_studio.form import Item, holder_path
from coreviz_source.local_studio.generate import AT_ONCE, PROCESSING, Delays, made_up_delays
from coreviz_source.local_studio.ids import canonical_id, label, stamp
from coreviz_source.local_studio.store import Dataset, Store
from coreviz_source.local_studio.vocabulary import FOLDERS, PROMPTS, THEMES

#: When the newest generated media item was created, unless another time is given.
NEWEST = datetime(2026, 1, 31, 18, 0, tzinfo=timezone.utc)


class Library(Store):
    """Organizations, datasets, folders and media items, and everything that people and models do to them.

    All methods take ids in either form and are safe to call while the library is served. No change sets
    `updatedAt`, as in the real service.

    Args:
        seed: Makes all ids and texts; the same seed gives the same library.
        clock: Returns the present time; `advance()` replaces it by a fixed one.
    """

    @classmethod
    def empty(cls, datasets: int = 1, seed: int = 7, organizations: int = 1) -> Library:
        """A library of datasets without media items."""
        library = cls(seed)
        for number in range(1, organizations):
            library.add_organization(f"Local Studio {number + 1}")
        owners = list(library.organizations)
        for number in range(datasets):
            library.add_dataset(list(THEMES)[number % len(THEMES)], owners[number % organizations])
        return library

    @classmethod
    def generate(
        cls,
        media: int = 240,
        datasets: int = 3,
        seed: int = 7,
        newest: datetime = NEWEST,
        every: float = 1800.0,
        organizations: int = 1,
    ) -> Library:
        """A library that looks like a real one.

        Args:
            media: Number of media items in all datasets together.
            datasets: Number of datasets.
            seed: The same seed gives the same library.
            newest: When the newest media item was created.
            every: Seconds between two media items of a dataset, on average.
            organizations: Number of organizations; the datasets are dealt to them in turn.
        """
        library = cls.empty(datasets, seed, organizations)
        random = library.random
        for number, dataset in enumerate(library.datasets.values()):
            share = media // datasets + (number < media % datasets)
            folders = library._folders(dataset, newest - timedelta(seconds=every * (share + 2))) if share >= 8 else []
            for place in range(share):
                kind = "video" if place % 9 == 4 else "pdf" if place % 60 == 30 else "image"
                created = newest - timedelta(seconds=every * (share - 1 - place) + random.uniform(0, every / 2))
                folder = random.choice(folders) if folders and random.random() < 0.5 else None
                delays = made_up_delays(f"{dataset.id} {place}", (newest - created).total_seconds())
                library._add_media(dataset.id, kind, created, folder, delays)
        return library

    # -- what happens to it ------------------------------------------------------------------------------------

    def advance(self, **span: float) -> datetime:
        """Moves the clock on by a span (arguments of `timedelta`), and stops it there; returns the time."""
        now = self.clock() + timedelta(**span)
        self.clock = lambda: now
        return now

    def add_folder(self, dataset_id: str, name: str, parent: str | None = None, created: datetime | None = None) -> str:
        """Adds a folder, in another one or at the top; returns its id."""
        with self.lock:
            dataset = self.dataset(dataset_id)
            above = self._path_of(dataset, parent)
            return self.put(dataset.id, self._folder(dataset.id, name, above, created or self.clock()))

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
        """Uploads a media item; returns its id.

        Args:
            dataset_id: Into which dataset.
            kind: image, video or pdf.
            created: When. Default: now.
            folder: Into which folder. Default: the top.
            processing: Whether its frames appear 8 and its captions 20 seconds later; otherwise at once.
        """
        with self.lock:
            delays = PROCESSING if processing else AT_ONCE
            return self._add_media(dataset_id, kind, created or self.clock(), folder, delays)

    def _add_media(self, dataset_id: str, kind: str, created: datetime, folder: str | None, delays: Delays) -> str:
        dataset = self.dataset(dataset_id)
        above = self._path_of(dataset, folder)
        item = self._media(dataset.info, len(dataset.items) + 1, kind, created, above, delays)
        return self.put(dataset.id, item)

    def add_version(self, media_id: str, prompt: str = PROMPTS[0]) -> str:
        """Makes a version of a media item, as an AI edit does, and selects it; returns its id."""
        with self.lock:
            dataset, source = self._find(media_id)
            number = max(int(version.get("versionNumber") or 1) for version in self.versions(media_id)) + 1
            item = self._media(
                dataset.info, len(dataset.items) + 1, source["type"], self.clock(), str(holder_path(source)), AT_ONCE
            )
            item |= {"sourceMediaId": source["id"], "versionNumber": number}
            item["metadata"]["prompt"] = prompt
            self.put(dataset.id, item)
            self.select_version(item["id"])
            return str(item["id"])

    def select_version(self, media_id: str) -> None:
        """Makes a version the current one: listings show it instead of the others."""
        with self.lock:
            dataset, item = self._find(media_id)
            for version in self.versions(media_id):
                if version["id"] == item["id"]:
                    dataset.replaced.discard(str(version["id"]))
                elif version.get("status") != "deleted":
                    dataset.replaced.add(str(version["id"]))
                self.touched(str(version["id"]))

    def delete_version(self, media_id: str) -> None:
        """Deletes one version only; if it was the current one, the newest version left becomes current."""
        with self.lock:
            self._mark_deleted(media_id)
            self._promote(media_id)

    def delete(self, media_id: str) -> None:
        """Deletes a media item or folder without a trace; the service itself does `soft_delete`."""
        with self.lock:
            dataset, item = self._find(media_id)
            self.touched(media_id)
            del dataset.items[canonical_id(str(item["id"]))]

    def soft_delete(self, media_id: str) -> None:
        """Sets the status of an item to "deleted", as the service does.

        The same status is set on its frames, its objects and the versions made from it, and on everything in a folder.
        """
        with self.lock:
            dataset, item = self._find(media_id)
            if item.get("type") == "folder":
                doomed = [i for i in dataset.items.values() if str(i.get("path")).startswith(f"{item['path']}.")]
            else:
                doomed = [i for i in self.versions(media_id) if self._made_from(i, str(item["id"]))]
            for each in [item, *doomed]:
                self._mark_deleted(str(each["id"]))
            if item.get("type") != "folder":
                self._promote(media_id)

    def _made_from(self, item: Item, source_id: str) -> bool:
        while source := item.get("sourceMediaId"):
            if canonical_id(str(source)) == canonical_id(source_id):
                return True
            item = self.media(str(source))
        return False

    def _mark_deleted(self, media_id: str) -> None:
        with self.changing(media_id) as item:
            item["status"] = "deleted"
            for frame in item.get("frames") or []:
                frame["status"] = "deleted"
                for thing in frame.get("objects") or []:
                    thing["status"] = "deleted"

    def _promote(self, media_id: str) -> None:
        """Selects the newest living version, if none is listed any more."""
        dataset, _ = self._find(media_id)
        living = [version for version in self.versions(media_id) if version.get("status") != "deleted"]
        if living and all(str(version["id"]) in dataset.replaced for version in living):
            self.select_version(str(living[-1]["id"]))

    def move(self, media_id: str, dataset_id: str) -> None:
        """Moves a media item to another dataset."""
        with self.lock:
            item = copy.deepcopy(self.media(media_id))
            self.delete(media_id)
            dataset = self.dataset(dataset_id)
            item |= {"datasetId": dataset.id, "path": f"{label(dataset.id)}.{label(str(item['id']))}"}
            self.put(dataset.id, item)

    def move_into(self, media_id: str, folder_id: str | None) -> None:
        """Moves a media item or folder into a folder of its dataset, or to the top: the paths below change with it.

        Raises:
            KeyError: The dataset has no such folder.
            ValueError: A folder cannot be moved into itself or into a folder below it.
        """
        with self.lock:
            dataset, item = self._find(media_id)
            above = self._path_of(dataset, folder_id)
            before = str(item["path"])
            if item.get("type") == "folder" and f"{above}.".startswith(f"{before}."):
                raise ValueError("A folder cannot be moved into itself")
            after = f"{above}.{label(str(item['id']))}"
            below = [i for i in dataset.items.values() if str(i.get("path")).startswith(f"{before}.")]
            for each in below if item.get("type") == "folder" else []:
                with self.changing(str(each["id"])):
                    each["path"] = after + str(each["path"])[len(before) :]
            with self.changing(media_id):
                item["path"] = after

    def add_frame(self, media_id: str) -> str:
        """Adds a frame with a caption; returns its id."""
        with self.changing(media_id) as item:
            frame = self._frame(item, next(iter(THEMES)), len(item["frames"]), len(item["frames"]) + 1, self.clock())
            item["frames"].append(frame)
            return str(frame["id"])

    def add_caption(self, media_id: str, text: str, frame: int = -1, after: float = 0.0) -> str:
        """Writes a caption for a frame, which appears `after` seconds from now; returns its id."""
        with self.changing(media_id) as item:
            made = self._caption(item["frames"][frame], text, self.clock() + timedelta(seconds=after))
            item["frames"][frame]["captions"].append(made)
            return str(made["id"])

    def recaption(
        self, media_id: str, text: str, *, frame: int = -1, model: str | None = None, keep_id: bool = True
    ) -> str:
        """Has a model caption a frame again: its first caption gets another text; returns the caption's id.

        Args:
            media_id: Whose frame.
            text: The new text.
            frame: Which of its frames; it must have a caption.
            model: The model that writes it. Default: the one that wrote the caption before.
            keep_id: Whether the caption keeps its id. No document says what the service does.
        """
        with self.changing(media_id) as item:
            captions = item["frames"][frame]["captions"]
            if not keep_id:
                made = self._caption(item["frames"][frame], text, self.clock())
                captions[0] = {**made, "model": captions[0]["model"]}
            captions[0] |= {"text": text, "model": model or captions[0]["model"]}
            return str(captions[0]["id"])

    def moderate(self, media_id: str, status: str, *categories: str) -> None:
        """Moderates a media item: approved, pending, flagged or rejected, with the categories that were raised."""
        with self.changing(media_id) as item:
            moderated = None if status == "pending" else stamp(self.clock())
            found = {"status": status, "categories": list(categories), "moderatedAt": moderated}
            item["metadata"] = {**item["metadata"], "moderation": found}

    @contextmanager
    def live(self, changes_per_minute: float = 30, seed: int = 1) -> Iterator[None]:
        """While the block lasts, media items are uploaded, captioned, renamed and deleted at random."""
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
        """Makes one random change; returns its kind."""
        with self.lock:
            dataset = random.choice(list(self.datasets.values()))
            media = [i for i in dataset.items.values() if i.get("type") != "folder" and i.get("status") != "deleted"]
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
                        [] if item.get("frames") else [self._frame(item, next(iter(THEMES)), 0, 1, self.clock())]
                    )
                elif kind == "tags":
                    item["metadata"]["tags"] = {} if random.random() < 0.3 else self._tags()
                else:
                    item["name"] = f"renamed-{random.randrange(10**6)}.jpg"
            return kind
