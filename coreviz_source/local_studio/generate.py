"""What a library is filled with: ids, media items and their children, made up from one stream of random numbers.

A new field must draw nothing from `Generator.random`: every later name, caption and id would change, and with them all
results in the documentation. `Random(item_id)` gives each item a stream of its own.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from random import Random
from typing import Any

from coreviz_source.local_studio.form import DRAWN, Item
from coreviz_source.local_studio.ids import label, stamp
from coreviz_source.local_studio.pictures import polygon
from coreviz_source.local_studio.vocabulary import (
    CAMERAS,
    COLOURS,
    DESCRIPTIONS,
    MODELS,
    PRODUCTS,
    PROMPTS,
    TAGS,
    THEMES,
    caption,
)

#: Seconds after the upload of a media item until its first frame and that frame's caption appear.
Delays = tuple[float, float]
PROCESSING: Delays = (8, 20)
AT_ONCE: Delays = (0, 0)
#: Of a video. A second lies between two of them, so that this is also the time until the last one.
MOST_FRAMES = 12


class Generator:
    """Makes up items in the documented JSON of the 2026 generation, with hyphenated ids.

    Args:
        seed: The same seed gives the same items.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.random = Random(seed)
        #: What `GET /api/me` returns: the user, and the user's default organization.
        self.user: Item = {
            "userId": self._id(),
            "email": "you@example.com",
            "name": "You",
            "organizationId": self._id(),
            "organizationName": "Local Studio",
        }
        self._entity = self._id()

    def _id(self, random: Random | None = None) -> str:
        digits = f"{(random or self.random).getrandbits(128):032x}"
        return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"

    def _folder(self, dataset_id: str, name: str, above: str, created: datetime) -> Item:
        folder_id, now = self._id(), stamp(created)
        return {
            "id": folder_id,
            "name": name,
            "type": "folder",
            "blob": None,
            "path": f"{above}.{label(folder_id)}",
            "datasetId": dataset_id,
            "createdAt": now,
            "updatedAt": now,
            "createdById": self.user["userId"],
            "status": "active",
            "metadata": {},
            # None: computed whenever the folder is shown
            "folderItemCount": None,
            "folderPreviews": None,
        }

    def _media(self, info: Item, number: int, kind: str, created: datetime, above: str, delays: Delays) -> Item:
        random = self.random
        media_id, now = self._id(), stamp(created)
        theme = info["name"] if info["name"] in THEMES else next(iter(THEMES))
        thing = random.choice(THEMES[theme]["things"])
        ending = {"image": random.choice(("jpg", "webp", "png")), "video": "mp4", "pdf": "pdf"}[kind]
        photographed = kind == "image" and random.random() < 0.6
        item: Item = {
            "id": media_id,
            "name": f"entities/{self._entity}/media/{thing}-{number:04d}.{ending}",
            "type": kind,
            "blob": f"/blob/{media_id}",
            "entityId": self._entity,
            "path": f"{above}.{label(media_id)}",
            "datasetId": info["id"],
            "width": 1280 if kind == "video" else 2000,
            "height": 800 if kind == "video" else 1250,
            "duration": round(random.uniform(4, 60), 2) if kind == "video" else None,
            "sizeBytes": random.randrange(40_000, 9_000_000),
            "exif": {"tags": self._exif() if photographed else {}},
            "createdAt": now,
            "updatedAt": now,
            "metadata": {
                "tags": self._tags(thing),
                "moderation": self._moderation(created, delays),
                **_written(media_id, thing),
            },
            "createdById": self.user["userId"],
            "updatedById": None,
            "status": "active",
            "sourceMediaId": None,
            "versionNumber": 1,
            "frames": [],
        }
        count = {"image": 1, "video": random.randrange(3, MOST_FRAMES), "pdf": random.randrange(2, 5)}[kind]
        if random.random() < 0.04:
            count = 0
        for position in range(count):
            item["frames"].append(self._frame(item, theme, position, count, created, delays, thing))
        if kind != "pdf" and not any(frame["objects"] for frame in item["frames"]):
            item["name"] = item["name"].replace(f"/{thing}-", "/view-")
            item["metadata"] |= _written(media_id, "view")
            item["metadata"]["tags"].pop("Product", None)
        return item

    def _exif(self) -> Item:
        make, model = self.random.choice(CAMERAS)
        return {
            "Make": make,
            "Model": model,
            "FNumber": self.random.choice((1.8, 2.8, 4, 5.6, 8)),
            "ISO": self.random.choice((100, 200, 400, 800)),
            "GPSLatitude": round(self.random.uniform(36, 60), 5),
        }

    def _tags(self, thing: str = "") -> dict[str, list[str]]:
        groups = self.random.sample(list(TAGS), self.random.randrange(0, 4))
        tags = {group: self.random.sample(TAGS[group], self.random.randrange(1, 3)) for group in groups}
        if thing and "Product" in tags:
            tags["Product"] = [PRODUCTS[thing]] if thing in PRODUCTS else []
        return {group: values for group, values in tags.items() if values}

    def _moderation(self, created: datetime, delays: Delays) -> Item:
        chance = self.random.random()
        categories = [self.random.choice(("violence", "alcohol"))] if chance < 0.03 else []
        status = "flagged" if categories else "pending" if chance < 0.1 else "approved"
        # after its last frame; what is still being processed was moderated when it was uploaded
        delay = 0 if delays in (AT_ONCE, PROCESSING) else delays[0] + MOST_FRAMES
        moderated = None if status == "pending" else stamp(created + timedelta(seconds=delay))
        return {"status": status, "categories": categories, "moderatedAt": moderated}

    def _frame(
        self,
        item: Item,
        theme: str,
        number: int,
        count: int,
        moment: datetime,
        delays: Delays = AT_ONCE,
        thing: str = "shoe",
    ) -> Item:
        random = self.random
        first, captioned = delays
        shown = moment + timedelta(seconds=first + number if first else 0)
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
                "text": f"Page {number + 1}. " + caption(random, theme, [("red", thing)]),
            }
        if item.get("type") == "video":
            frame["endTimestamp"] = f"{(item.get('duration') or 0) * (number + 1) / count:.2f}"
        seen = self._seen(theme, thing)
        if random.random() > 0.06:
            later = shown + timedelta(seconds=captioned - first)
            frame["captions"].append(self._caption(frame, caption(random, theme, seen), later))
        frame["objects"] = [self._object(frame, f"{colour} {noun}") for colour, noun in seen]
        return frame

    def _seen(self, theme: str, thing: str) -> list[tuple[str, str]]:
        """The colours and nouns of what a frame shows."""
        things = self.random.sample(THEMES[theme]["things"], self.random.randrange(0, 3))
        if things and thing in THEMES[theme]["things"]:
            # the media item is named after what is seen in it
            things = [thing, *(other for other in things[::-1] if other != thing)][: len(things)]
        return [(self.random.choice(list(COLOURS)), one) for one in things]

    def _object(self, frame: Item, name: str) -> Item:
        object_id, uniform = self._id(), self.random.uniform
        found: Item = {
            "id": object_id,
            "type": "object",
            "label": name,
            "blob": f"/blob/{object_id}",
            "status": "active",
            DRAWN: {
                "x": round(uniform(0.05, 0.6), 3),
                "y": round(uniform(0.2, 0.5), 3),
                "width": round(uniform(0.15, 0.35), 3),
                "height": round(uniform(0.2, 0.45), 3),
            },
        }
        found["polygon"] = polygon(found, frame["width"], frame["height"])
        return found

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


def made_up_delays(of: str, room: float) -> Delays:
    """How long the processing of a generated media item took; at most the seconds that there were."""
    random = Random(of)
    first = round(random.uniform(3, 10), 3)
    captioned = first + round(min(random.lognormvariate(2.5, 1.2), 1800), 3)
    return (first, captioned) if captioned + 15 < room else AT_ONCE


def _written(media_id: str, thing: str) -> dict[str, Any]:
    """The description and the prompt of a media item, where it has them."""
    random = Random(media_id)
    written = {}
    if random.random() < 0.35:
        written["description"] = random.choice(DESCRIPTIONS).format(thing=thing)
    if random.random() < 0.15:
        written["prompt"] = random.choice(PROMPTS).format(thing=thing)
    return written
