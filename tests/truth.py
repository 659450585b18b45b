"""The expected contents of the warehouse, computed slowly and plainly from the server's responses.

It is written from the documents of the API and of the tables, not from `coreviz_source.rows`: one value at a time and
without arrow, so that the two can disagree.
"""

from __future__ import annotations

import json
import math
import re
from datetime import datetime, timedelta, timezone
from typing import Any

Row = dict[str, Any]

TEXT, NUMBER, REAL, MOMENT, ID, JSON = "text", "number", "real", "moment", "id", "json"

MEDIA = {
    "name": ("name", TEXT),
    "type": ("type", TEXT),
    "blob": ("blob", TEXT),
    "entityId": ("entity_id", ID),
    "path": ("path", TEXT),
    "width": ("width", NUMBER),
    "height": ("height", NUMBER),
    "duration": ("duration", REAL),
    "sizeBytes": ("size_bytes", NUMBER),
    "status": ("status", TEXT),
    "createdAt": ("created_at", MOMENT),
    "updatedAt": ("updated_at", MOMENT),
    "createdById": ("created_by_id", ID),
    "updatedById": ("updated_by_id", ID),
    "sourceMediaId": ("source_media_id", ID),
    "versionNumber": ("version_number", NUMBER),
    "exif": ("exif", JSON),
    "metadata": ("metadata", JSON),
}
FRAME = {
    "pageNumber": ("page_number", NUMBER),
    "blob": ("blob", TEXT),
    "thumbnailBlob": ("thumbnail_blob", TEXT),
    "width": ("width", NUMBER),
    "height": ("height", NUMBER),
    "text": ("text", TEXT),
    "status": ("status", TEXT),
    "createdAt": ("created_at", MOMENT),
    "updatedAt": ("updated_at", MOMENT),
    "createdById": ("created_by_id", ID),
    "metadata": ("metadata", JSON),
}
CAPTION = {
    "text": ("text", TEXT),
    "model": ("model", TEXT),
    "status": ("status", TEXT),
    "createdAt": ("created_at", MOMENT),
    "updatedAt": ("updated_at", MOMENT),
    "createdById": ("created_by_id", ID),
    "metadata": ("metadata", JSON),
}
OBJECT = {
    "type": ("type", TEXT),
    "label": ("label", TEXT),
    "blob": ("blob", TEXT),
    "polygon": ("polygon", JSON),
    "status": ("status", TEXT),
    "createdAt": ("created_at", MOMENT),
    "updatedAt": ("updated_at", MOMENT),
    "metadata": ("metadata", JSON),
}
FOLDER = {
    "name": ("name", TEXT),
    "path": ("path", TEXT),
    "folderItemCount": ("item_count", NUMBER),
    "status": ("status", TEXT),
    "createdAt": ("created_at", MOMENT),
    "updatedAt": ("updated_at", MOMENT),
    "createdById": ("created_by_id", ID),
    "metadata": ("metadata", JSON),
}


# written out, because what `datetime.fromisoformat` takes depends on the version of Python
ISO = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})"
    r"(?:[Tt ]([0-9]{2})(?::([0-9]{2})(?::([0-9]{2})(?:[.,]([0-9]+))?)?)?"
    r"(?:[Zz]|([+-])([0-9]{2})(?::?([0-5][0-9]))?)?)?"
)


def canonical(value: str) -> str:
    digits = value.replace("-", "").lower()
    hyphens = [m.start() for m in re.finditer("-", value)]
    if not re.fullmatch("[0-9a-f]{32}", digits) or hyphens not in ([], [8, 13, 18, 23]):
        return value
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


LAST_DAY = datetime(9999, 12, 31, tzinfo=timezone.utc)


def moment(value: Any) -> datetime | None:
    match = ISO.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return None
    year, month, day, hour, minute, second, fraction, sign, hours, minutes = match.groups()
    microsecond = int((fraction or "0").ljust(6, "0")[:6])
    ahead = timedelta(hours=int(hours or 0), minutes=int(minutes or 0)) * (-1 if sign == "-" else 1)
    try:
        zone = timezone(ahead)
        found = datetime(
            *(int(year), int(month), int(day), int(hour or 0), int(minute or 0), int(second or 0), microsecond), zone
        ).astimezone(timezone.utc)
        # the first and the last day of all are not in the same year in every time zone
        return found if datetime(1, 1, 2, tzinfo=timezone.utc) <= found <= LAST_DAY else None
    except (ValueError, OverflowError):
        return None


def fit(value: Any, kind: str) -> Any:
    """The value as its column holds it, None if it does not fit."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if kind == TEXT:
        return value if isinstance(value, str) else None
    if kind == ID:
        return canonical(value) if isinstance(value, str) else None
    if kind == NUMBER:
        whole = number and -(2**63) <= value < 2**63 and value == int(value)
        return int(value) if whole else None
    if kind == REAL:
        return seconds(value) if number else None
    if kind == MOMENT:
        return moment(value)
    return value


def columns(item: Row, fields: dict[str, tuple[str, str]], expressed: set[str]) -> Row:
    row: Row = {}
    extra: Row = {key: value for key, value in item.items() if key not in fields and key not in expressed}
    for key, (name, kind) in fields.items():
        value = item.get(key)
        row[name] = None if value is None else fit(value, kind)
        if value is not None and row[name] is None:
            extra[key] = value
    row["extra"] = extra or None
    return row


def keep(row: Row, key: str, value: Any) -> None:
    row["extra"] = {**(row["extra"] or {}), key: value}


def check_parent(row: Row, item: Row, key: str, parent: str) -> None:
    given = item.get(key)
    if given is not None and not (isinstance(given, str) and canonical(given) == parent):
        keep(row, key, given)


def holder(item: Row, item_id: str, dataset_id: str) -> str | None:
    """The folder that holds an item.

    A path leads from the dataset to the item itself, by labels that are ids without hyphens: what stands before the
    item's own label holds it. No document shows a path without the item's own id, but one of an older row may end in
    the folder.
    """
    path = item.get("path")
    labels = path.split(".") if isinstance(path, str) else []
    if labels and named(labels[-1], item_id):
        del labels[-1]
    return canonical(labels[-1]) if labels and labels[-1] and not named(labels[-1], dataset_id) else None


def named(label: str, item_id: str) -> bool:
    return canonical(label) == item_id or label == item_id.replace("-", "")


def edges(polygon: Any) -> Row:
    """The edges of a polygon: a list of points with `x` and `y`, all of them finite numbers."""
    row: Row = dict.fromkeys(("x_min", "y_min", "x_max", "y_max"))
    if not isinstance(polygon, list) or not polygon:
        return row
    found: dict[str, list[float]] = {"x": [], "y": []}
    for point in polygon:
        for axis, values in found.items():
            value = point.get(axis) if isinstance(point, dict) else None
            if isinstance(value, bool) or not isinstance(value, (int, float)) or fit(value, REAL) is None:
                return row
            values.append(float(value))
    for axis, values in found.items():
        row |= {f"{axis}_min": min(values), f"{axis}_max": max(values)}
    return row


def within(item: Row, *keys: str) -> Any:
    found: Any = item
    for key in keys:
        found = found.get(key) if isinstance(found, dict) else None
    return found


def moderated(row: Row, item: Row) -> list[str]:
    metadata = item.get("metadata")
    moderation = metadata.get("moderation") if isinstance(metadata, dict) else None
    moderation = moderation if isinstance(moderation, dict) else {}
    row["moderation_status"] = fit(moderation.get("status"), TEXT)
    row["moderated_at"] = moment(moderation.get("moderatedAt"))
    return texts(moderation.get("categories"))


def texts(values: Any) -> list[str]:
    listed = values if isinstance(values, list) else [values]
    as_text = [
        v if isinstance(v, str) else json.dumps(v, separators=(",", ":"), ensure_ascii=False)
        for v in listed
        if v is not None
    ]
    return list(dict.fromkeys(as_text))


def children(row: Row, item: Row, key: str) -> list[Row]:
    value = item.get(key)
    if value is None:
        return []
    if not isinstance(value, list):
        keep(row, key, value)
        return []
    misfits = [child for child in value if not isinstance(child, dict)]
    if misfits:
        keep(row, key, misfits)
    return [child for child in value if isinstance(child, dict)]


def seconds(value: Any) -> float | None:
    if value is None or isinstance(value, (bool, list, dict)):
        return None
    try:
        parsed = float(value)
    except (ValueError, OverflowError):
        return None
    return parsed if math.isfinite(parsed) else None


def truth(items_by_dataset: dict[str, list[Row]]) -> dict[str, list[Row]]:
    """Every row of every table that is made of items, for the items of some datasets."""
    names = "folders media frames captions objects media_tags moderation_categories"
    tables: dict[str, list[Row]] = {name: [] for name in names.split()}
    for given, items in items_by_dataset.items():
        dataset_id = canonical(given)
        seen: set[str] = set()
        for item in items:
            item_id = canonical(item["id"])
            if item_id not in seen:
                seen.add(item_id)
                (folder if item.get("type") == "folder" else media)(tables, dataset_id, item_id, item)
    return tables


def folder(tables: dict[str, list[Row]], dataset_id: str, item_id: str, item: Row) -> None:
    row = columns(item, FOLDER, {"id", "type", "blob", "datasetId"})
    check_parent(row, item, "datasetId", dataset_id)
    for key in ("type", "blob"):
        if item.get(key) not in (None, "folder"):
            keep(row, key, item[key])
    parent = holder(item, item_id, dataset_id)
    tables["folders"].append({**row, "dataset_id": dataset_id, "id": item_id, "parent_id": parent})


def media(tables: dict[str, list[Row]], dataset_id: str, item_id: str, item: Row) -> None:
    row = columns(item, MEDIA, {"id", "datasetId", "frames"})
    row |= {"dataset_id": dataset_id, "id": item_id, "deleted_at": None}
    row |= {key: fit(within(item, "metadata", key), TEXT) for key in ("description", "prompt")}
    row["folder_id"] = holder(item, item_id, dataset_id)
    parts = [part for part in (row["name"] or "").split("/") if part]
    row["file_name"] = None if row["name"] is None else (parts or [""])[-1]
    check_parent(row, item, "datasetId", dataset_id)
    ids = {"dataset_id": dataset_id, "media_id": item_id}
    for category in moderated(row, item):
        tables["moderation_categories"].append({**ids, "frame_id": None, "category": category})
    metadata = item.get("metadata")
    tags = metadata.get("tags") if isinstance(metadata, dict) else None
    if isinstance(tags, dict):
        for group, values in tags.items():
            tables["media_tags"] += [{**ids, "tag_group": group, "tag": tag} for tag in texts(values)]
    seen: set[tuple[str, str]] = set()
    for frame in children(row, item, "frames"):
        frame_id = canonical(frame["id"])
        if ("frames", frame_id) in seen:
            continue
        seen.add(("frames", frame_id))
        expressed = {"id", "datasetId", "mediaId", "captions", "objects", "timestamp", "endTimestamp"}
        frame_row = columns(frame, FRAME, expressed)
        frame_row |= {**ids, "id": frame_id}
        check_parent(frame_row, frame, "datasetId", dataset_id)
        check_parent(frame_row, frame, "mediaId", item_id)
        stated = frame.get("timestamp")
        text = stated if isinstance(stated, str) else None
        if isinstance(stated, (int, float)) and not isinstance(stated, bool):
            text = json.dumps(stated)
        elif stated is not None and text is None:
            keep(frame_row, "timestamp", stated)
        end = frame.get("endTimestamp")
        if end is not None and seconds(end) is None:
            keep(frame_row, "endTimestamp", end)
        frame_row |= {"timestamp": text, "timestamp_seconds": seconds(text), "end_timestamp_seconds": seconds(end)}
        for category in moderated(frame_row, frame):
            tables["moderation_categories"].append({**ids, "frame_id": frame_id, "category": category})
        for name, fields in (("captions", CAPTION), ("objects", OBJECT)):
            for child in children(frame_row, frame, name):
                child_row = columns(child, fields, {"id", "datasetId", "mediaId", "frameId"})
                check_parent(child_row, child, "datasetId", dataset_id)
                check_parent(child_row, child, "mediaId", item_id)
                check_parent(child_row, child, "frameId", frame_id)
                if (name, canonical(child["id"])) in seen:
                    continue
                seen.add((name, canonical(child["id"])))
                if name == "objects":
                    child_row |= edges(child.get("polygon"))
                tables[name].append({**child_row, **ids, "frame_id": frame_id, "id": canonical(child["id"])})
        tables["frames"].append(frame_row)
    tables["media"].append(row)
