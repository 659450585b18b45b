"""The expected rows of the views, computed slowly and plainly from the rows of the tables."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from datetime import datetime, timezone
from typing import Any

from coreviz_source.warehouse.views import NAMES
from tests.truth import Row

Tables = dict[str, list[Row]]

#: The views that exist where there is no history.
WITHOUT_HISTORY = tuple(name for name in NAMES if name != "caption_changes")


def ordered(*values: Any) -> tuple[Any, ...]:
    """A sort key in which None comes last."""
    return tuple((value is None, value) for value in values)


def listed(values: Iterable[str | None]) -> list[str]:
    return sorted({value for value in values if value is not None})


def seconds(start: datetime | None, end: datetime | None) -> float | None:
    return None if start is None or end is None else (end - start).total_seconds()


class Expected:
    """The views of tables that hold these rows; `names` are the names of the datasets."""

    def __init__(self, tables: Tables, names: dict[str, str | None]) -> None:
        frames = {(f["media_id"], f["id"]): f for f in tables["frames"]}

        def shown(row: Row) -> bool:
            of_frame = frames.get((row.get("media_id"), row.get("frame_id")), {})
            return "deleted" not in (row.get("status"), of_frame.get("status"))

        # what the service deleted inside a media item stays in the tables, and no view shows it
        tables = {name: [r for r in rows if name == "media" or shown(r)] for name, rows in tables.items()}
        self.tables = tables
        self.names = names
        self.media = {m["id"]: m for m in tables["media"]}
        self.folders = {(f["dataset_id"], f["id"]): f for f in tables["folders"]}
        self.by_media: dict[str, dict[str, list[Row]]] = {}
        for name in ("frames", "captions", "objects", "media_tags", "moderation_categories"):
            self.by_media[name] = defaultdict(list)
            for row in tables[name]:
                self.by_media[name][row["media_id"]].append(row)

    def of(self, name: str, media: Row) -> list[Row]:
        return self.by_media[name][media["id"]]

    def about(self, media: Row, folder: bool = False) -> Row:
        found = {
            "dataset_id": media["dataset_id"],
            "dataset_name": self.names[media["dataset_id"]],
            "media_id": media["id"],
            "media_name": media["name"],
            "file_name": media["file_name"],
            "media_type": media["type"],
        }
        if folder:
            key = media["dataset_id"], media["folder_id"]
            found["folder_name"] = self.folders[key]["name"] if key in self.folders else None
            found["folder_full_name"] = "/".join(self.names_down_to(key)) if key in self.folders else None
        return found

    def names_down_to(self, key: tuple[str, str]) -> list[str]:
        """The names of the folders from the top down to this one; of this one alone if it is below no top."""
        line = [key]
        while (above := (key[0], self.folders[line[-1]]["parent_id"])) in self.folders:
            if above in line:
                line = [key]
                break
            line.append(above)
        return [self.folders[one]["name"] or one[1] for one in reversed(line)]

    def folder_tree(self) -> list[Row]:
        return [
            {
                "dataset_id": folder["dataset_id"],
                "dataset_name": self.names[folder["dataset_id"]],
                "id": folder["id"],
                "name": folder["name"],
                "parent_id": folder["parent_id"],
                "full_name": "/".join(self.names_down_to(key)),
                "depth": len(self.names_down_to(key)),
            }
            for key, folder in self.folders.items()
        ]

    def object_boxes(self) -> list[Row]:
        rows = []
        for found in self.tables["objects"]:
            media = self.media[found["media_id"]]
            (frame,) = [f for f in self.of("frames", media) if f["id"] == found["frame_id"]]
            if found["x_min"] is None:
                continue
            share = None
            if frame["width"] and frame["height"]:
                wide, high = (
                    max(min(found[f"{axis}_max"], float(size)) - max(found[f"{axis}_min"], 0.0), 0.0)
                    for axis, size in (("x", frame["width"]), ("y", frame["height"]))
                )
                share = wide * high / (float(frame["width"]) * float(frame["height"]))
            rows.append(
                {
                    **self.about(media),
                    "frame_id": frame["id"],
                    "timestamp_seconds": frame["timestamp_seconds"],
                    "page_number": frame["page_number"],
                    "frame_blob": frame["blob"],
                    "frame_width": frame["width"],
                    "frame_height": frame["height"],
                    "object_id": found["id"],
                    "label": found["label"],
                    **{edge: found[edge] for edge in ("x_min", "y_min", "x_max", "y_max")},
                    "frame_share": share,
                }
            )
        return rows

    def caption_search(self) -> list[Row]:
        rows = []
        for caption in self.tables["captions"]:
            media = self.media[caption["media_id"]]
            (frame,) = [f for f in self.of("frames", media) if f["id"] == caption["frame_id"]]
            rows.append(
                {
                    **self.about(media, folder=True),
                    "media_created_at": media["created_at"],
                    "blob": media["blob"],
                    "tags": listed(t["tag"] for t in self.of("media_tags", media)),
                    "frame_id": frame["id"],
                    "timestamp_seconds": frame["timestamp_seconds"],
                    "page_number": frame["page_number"],
                    "frame_blob": frame["blob"],
                    "caption_id": caption["id"],
                    "caption": caption["text"],
                    "model": caption["model"],
                    "caption_created_at": caption["created_at"],
                }
            )
        return rows

    def media_overview(self) -> list[Row]:
        rows = []
        for media in self.tables["media"]:
            frames = {f["id"]: f for f in self.of("frames", media)}

            def moment(caption: Row, frames: dict[str, Row] = frames) -> tuple[Any, ...]:
                frame = frames[caption["frame_id"]]
                return ordered(frame["timestamp_seconds"], frame["page_number"], caption["created_at"], caption["id"])

            captions = sorted(self.of("captions", media), key=moment)
            first_at = min((c["created_at"] for c in captions if c["created_at"]), default=None)
            rows.append(
                {
                    **self.about(media, folder=True),
                    "blob": media["blob"],
                    "width": media["width"],
                    "height": media["height"],
                    "duration": media["duration"],
                    "size_bytes": media["size_bytes"],
                    "created_at": media["created_at"],
                    "frames": len(frames),
                    "captions": len(captions),
                    "objects": len(self.of("objects", media)),
                    "labels": listed(o["label"] for o in self.of("objects", media)),
                    "tags": listed(t["tag"] for t in self.of("media_tags", media)),
                    "first_caption": captions[0]["text"] if captions else None,
                    "first_caption_at": first_at,
                    "caption_latency_seconds": seconds(media["created_at"], first_at),
                    "moderation_status": media["moderation_status"],
                    "moderation_categories": listed(c["category"] for c in self.of("moderation_categories", media)),
                    "moderated_frames": sum(f["moderation_status"] is not None for f in frames.values()),
                    "frames_not_approved": sum(
                        f["moderation_status"] not in (None, "approved") for f in frames.values()
                    ),
                }
            )
        return rows

    def object_labels(self) -> list[Row]:
        groups: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
        for found in self.tables["objects"]:
            created = self.media[found["media_id"]]["created_at"]
            month = created and created.date().replace(day=1)
            groups[found["dataset_id"], found["label"], month].append(found)
        return [
            {
                "dataset_id": dataset_id,
                "dataset_name": self.names[dataset_id],
                "label": label,
                "month": month,
                "objects": len(rows),
                "frames": len({r["frame_id"] for r in rows}),
                "media": len({r["media_id"] for r in rows}),
            }
            for (dataset_id, label, month), rows in groups.items()
        ]

    def tag_usage(self) -> list[Row]:
        sizes = Counter(m["dataset_id"] for m in self.tables["media"])
        groups: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
        for tag in self.tables["media_tags"]:
            groups[tag["dataset_id"], tag["tag_group"], tag["tag"]].append(self.media[tag["media_id"]])
        return [
            {
                "dataset_id": dataset_id,
                "dataset_name": self.names[dataset_id],
                "tag_group": group,
                "tag": tag,
                "media": len(media),
                "media_share": len(media) / sizes[dataset_id],
                "first_media_at": min(m["created_at"] for m in media),
                "last_media_at": max(m["created_at"] for m in media),
            }
            for (dataset_id, group, tag), media in groups.items()
        ]

    def moderation_queue(self) -> list[Row]:
        rows = []
        for media in self.tables["media"]:
            subjects = [(None, media)] if media["moderation_status"] != "approved" else []
            for frame in self.of("frames", media):
                if frame["moderation_status"] not in (None, "approved"):
                    subjects.append((frame["id"], frame))
            for frame_id, subject in subjects:
                raised = [c for c in self.of("moderation_categories", media) if c["frame_id"] == frame_id]
                rows.append(
                    {
                        **self.about(media),
                        "frame_id": frame_id,
                        "timestamp_seconds": subject.get("timestamp_seconds"),
                        "blob": subject["blob"],
                        "moderation_status": subject["moderation_status"],
                        "categories": listed(c["category"] for c in raised),
                        "moderated_at": subject["moderated_at"],
                        "created_at": subject["created_at"],
                    }
                )
        return rows

    def caption_backlog(self) -> list[Row]:
        rows = []
        for media in self.tables["media"]:
            described = {c["frame_id"] for c in self.of("captions", media)}
            frames = self.of("frames", media)
            for subject in [f for f in frames if f["id"] not in described] if frames else [media]:
                rows.append(
                    {
                        **self.about(media),
                        "frame_id": subject["id"] if frames else None,
                        "timestamp_seconds": subject.get("timestamp_seconds"),
                        "page_number": subject.get("page_number"),
                        "blob": subject["blob"],
                        "created_at": subject["created_at"],
                    }
                )
        return rows


def freshness(runs: list[Row], tables: Tables, names: dict[str, str | None], totals: dict[str, int]) -> list[Row]:
    """The view `freshness` after these runs, in the order in which they were."""
    rows = []
    for dataset_id, name in names.items():
        of_it = [run for run in runs if run["dataset_id"] == dataset_id]

        def last(*outcomes: str, of_it: list[Row] = of_it) -> datetime | None:
            return max((run["started_at"] for run in of_it if run["outcome"] in outcomes), default=None)

        rows.append(
            {
                "dataset_id": dataset_id,
                "dataset_name": name,
                "last_run_at": max(run["started_at"] for run in of_it),
                "last_outcome": of_it[-1]["outcome"],
                "last_message": of_it[-1]["message"],
                "last_listed_at": last("complete", "window"),
                "last_complete_at": last("complete"),
                "runs": len(of_it),
                "failed_runs": sum(run["outcome"] == "failed" for run in of_it),
                "media": sum(m["dataset_id"] == dataset_id for m in tables["media"]),
                "media_total": totals[dataset_id],
            }
        )
    return rows


def caption_changes(captions: list[Row], media: list[Row], expected: Expected) -> list[Row]:
    """The view `caption_changes` of these rows of `caption_history` and `media_history`."""
    captions = [version for version in captions if version["status"] != "deleted"]

    def identity(version: Row) -> tuple[Any, ...]:
        return version["dataset_id"], version["media_id"], version["id"]

    def since(version: Row) -> datetime:
        """When its text was first seen: a change of the frame or the status alone does not begin a new one."""
        for other in captions:
            if identity(other) == identity(version) and other["valid_to"] == version["valid_from"]:
                same = (other["text"], other["model"]) == (version["text"], version["model"])
                return since(other) if same else version["valid_from"]
        found: datetime = version["valid_from"]
        return found

    rows = []
    times = {(version["dataset_id"], version["valid_from"]) for version in captions}
    for dataset_id, time in times:
        of_it = [version for version in captions if version["dataset_id"] == dataset_id]
        ended = {identity(version): version for version in of_it if version["valid_to"] == time}
        begun = {identity(version): version for version in of_it if version["valid_from"] == time}
        pairs = [(ended.pop(key), begun.pop(key)) for key in ended.keys() & begun.keys()]
        for frame in {(version["media_id"], version["frame_id"]) for version in ended.values()}:
            gone = [version for version in ended.values() if (version["media_id"], version["frame_id"]) == frame]
            made = [version for version in begun.values() if (version["media_id"], version["frame_id"]) == frame]
            gone.sort(key=lambda version: (since(version), version["id"]))
            pairs += zip(gone, sorted(made, key=lambda version: version["id"]), strict=False)
        for before, after in pairs:
            if (before["text"], before["model"]) == (after["text"], after["model"]):
                continue
            known = [m for m in media if (m["dataset_id"], m["id"]) == (dataset_id, after["media_id"])]
            item = max(known, key=lambda version: version["valid_from"])
            folder = expected.about({**item, "file_name": None}, folder=True)
            rows.append(
                {
                    "dataset_id": dataset_id,
                    "dataset_name": expected.names[dataset_id],
                    "folder_name": folder["folder_name"],
                    "folder_full_name": folder["folder_full_name"],
                    "media_id": item["id"],
                    "media_name": item["name"],
                    "media_type": item["type"],
                    "frame_id": after["frame_id"],
                    "caption_id": after["id"],
                    "changed_at": time,
                    "text_before": before["text"],
                    "text_after": after["text"],
                    "model_before": before["model"],
                    "model_after": after["model"],
                    "stood_since": since(before),
                    "stood_seconds": seconds(since(before), time),
                    "same_id": before["id"] == after["id"],
                    "caption_id_before": before["id"],
                    "run": after["run"],
                }
            )
    return rows


#: Columns that depend on the time of the query: what they count from, and seconds a unit.
AGES = {
    "age_days": ("created_at", 86400),
    "hours_since_listed": ("last_listed_at", 3600),
    "hours_since_complete": ("last_complete_at", 3600),
}


def checked_ages(rows: list[Row], now: Callable[[], datetime] = lambda: datetime.now(timezone.utc)) -> list[Row]:
    """The rows without their ages, after a look whether these are right to the minute."""
    for row in rows:
        for name, (since, unit) in AGES.items():
            if name in row:
                age, start = row.pop(name), row[since]
                assert (age is None) == (start is None)
                assert start is None or abs(age * unit - (now() - start).total_seconds()) < 60, (name, age, start)
    return rows
