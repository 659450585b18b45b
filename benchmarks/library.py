"""The library of the benchmarks, served in a process of its own: `python benchmarks/library.py SIZE…`.

Media are as large as the service's are: addresses, captions and EXIF data of the length that its documentation shows.
Each dataset holds the first SIZE media of the same library, encoded beforehand, so that the server only copies bytes.

Prints one line of JSON when it is ready: `url`, `key`, and by size the `dataset` and what it contains. On its standard
input, a number sets the seconds that each response takes longer, and `change 20` changes a caption of the 20 newest
media items of each dataset; the end of the input stops it.
"""

from __future__ import annotations

import gc
import json
import sys
from datetime import datetime
from typing import Any

from coreviz_source.local_studio import Library, Studio
from coreviz_source.local_studio.form import Form
from coreviz_source.local_studio.generate import AT_ONCE, Delays
from coreviz_source.local_studio.vocabulary import COLOURS, THEMES, caption

GENERATION = 2025
Item = dict[str, Any]


class FullLibrary(Library):
    """A library of media as heavy as real ones, of which only the encoded bytes are kept."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.held: dict[str, dict[str, int]] = {}

    def put(self, dataset_id: str, item: Item) -> str:
        item_id = super().put(dataset_id, item)
        if item["type"] != "folder":
            frames = item["frames"]
            self.held[item_id] = {
                "bytes": len(self.encoded(item, Form(GENERATION))),
                "media": 1,
                "frames": len(frames),
                "captions": sum(len(frame["captions"]) for frame in frames),
                "objects": sum(len(frame["objects"]) for frame in frames),
                "media_tags": sum(map(len, item["metadata"]["tags"].values())),
                "moderation_categories": len(item["metadata"]["moderation"]["categories"]) * (1 + len(frames)),
            }
        self.dataset(dataset_id).items[item_id] = {key: item[key] for key in ("id", "type", "path", "createdAt")}
        return item_id

    def add_first(self, size: int) -> str:
        """Adds a dataset of the first media of the first dataset; returns its id."""
        first = next(iter(self.datasets))
        dataset_id = self.add_dataset(f"{size} media")
        media = [item for item in self.listing(first) if item["type"] != "folder"]
        self.dataset(dataset_id).items = {item["id"]: item for item in media[:size]}
        return dataset_id

    def change(self, count: int, mark: int) -> None:
        """Changes the first caption of the newest media items of each dataset.

        Args:
            count: How many items of each.
            mark: A number that no change before had.
        """
        form = Form(GENERATION)
        with self.lock:
            for dataset_id in self.datasets:
                captioned = [i for i in self.listing(dataset_id) if b'"text":"' in self.encoded(i, form)]
                for item in captioned[-count:]:
                    text = self.encoded(item, form)
                    self._encoded[str(item["id"])][form] = text.replace(b'"text":"', b'"text":"%d. ' % mark, 1)

    def counts(self, dataset_id: str) -> dict[str, int]:
        """Bytes of JSON and rows by table of a dataset."""
        found: dict[str, int] = {}
        for item_id in self.dataset(dataset_id).items:
            for name, count in self.held.get(item_id, {}).items():
                found[name] = found.get(name, 0) + count
        return found

    def _address(self, item_id: str, ending: str) -> str:
        token = f"{self.random.getrandbits(160):040x}"
        return f"https://media.public.example.com/entities/{self._entity}/media/{item_id}/processed-{token}.{ending}"

    def _exif(self) -> Item:
        random = self.random
        exposure = f"1/{random.choice((30, 60, 125, 250, 500, 1000))}"
        return super()._exif() | {
            "Software": f"Firmware {random.randrange(1, 9)}.{random.randrange(10)}",
            "Orientation": random.choice((1, 6, 8)),
            "XResolution": 300,
            "YResolution": 300,
            "ResolutionUnit": "inches",
            "DateTimeOriginal": f"2025:{random.randrange(1, 13):02d}:{random.randrange(1, 29):02d} 10:20:30",
            "OffsetTimeOriginal": "+02:00",
            "ExposureTime": exposure,
            "ShutterSpeedValue": exposure,
            "ExposureProgram": "Aperture-priority AE",
            "ExposureMode": "Auto",
            "ExposureCompensation": random.choice((-0.67, 0, 0.33)),
            "MeteringMode": "Multi-segment",
            "Flash": "Off, Did not fire",
            "FocalLength": random.randrange(18, 200),
            "FocalLengthIn35mmFormat": random.randrange(18, 200),
            "WhiteBalance": random.choice(("Auto", "Manual")),
            "ColorSpace": "sRGB",
            "LensMake": "Example Optics",
            "LensModel": random.choice(("24-70mm F2.8", "50mm F1.4", "70-200mm F4")),
            "LensSerialNumber": f"{random.getrandbits(40):010d}",
            "SceneCaptureType": "Standard",
            "GPSLongitude": round(random.uniform(-9, 30), 5),
            "GPSAltitude": round(random.uniform(0, 900), 1),
        }

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
        if number == 0:
            item["blob"] = self._address(item["id"], item["name"].rpartition(".")[2])
        frame = super()._frame(item, theme, number, count, moment, delays, thing)
        frame["blob"] = self._address(item["id"], "jpg")
        for thing in random.sample(THEMES[theme]["things"], random.choice((0, 0, 1, 1, 2))):
            frame["objects"].append(
                {
                    "id": self._id(),
                    "type": "object",
                    "label": f"{random.choice(list(COLOURS))} {thing}",
                    "blob": None,
                    "status": "active",
                    "boundingBox": {name: round(random.uniform(0.1, 0.5), 3) for name in ("x", "y", "width", "height")},
                }
            )
        for found in frame["objects"]:
            found["blob"] = self._address(item["id"], "jpg")
        for written in frame["captions"]:
            seen = [tuple(found["label"].split(" ", 1)) for found in frame["objects"]]
            written["text"] += "".join(f" {caption(random, theme, seen[at:])}" for at in range(2))
        return frame


def main(sizes: list[int]) -> None:
    library = FullLibrary.generate(max(sizes), 1)
    datasets = {size: library.add_first(size) for size in sizes}
    gc.collect()
    gc.freeze()
    with Studio(library, GENERATION) as studio:
        described = {size: {"dataset": each, **library.counts(each)} for size, each in datasets.items()}
        print(json.dumps({"url": studio.url, "key": studio.key, "sizes": described}), flush=True)
        for number, line in enumerate(sys.stdin):
            if line.startswith("change"):
                library.change(int(line.split()[1]), number)
            else:
                studio.latency = float(line)
            print("done", flush=True)


if __name__ == "__main__":
    main([int(size) for size in sys.argv[1:]] or [20_000])
