"""How a server shows a stored item: what each generation of the API sends, and what is not there yet."""

from __future__ import annotations

from typing import Any, NamedTuple

from coreviz_source.local_studio.ids import canonical_id, label

Item = dict[str, Any]

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
#: Where an object is drawn in its picture, in shares of it. The API sends the polygon instead.
DRAWN = "_box"
_METADATA_ONLY_2026 = frozenset(("description", "prompt"))


class Form(NamedTuple):
    """How a server shows items: the generation of the API, and the readings of it that the documents leave open."""

    #: 2025 or 2026.
    generation: int = 2026
    #: `own`: the path of a media item ends in its own id. `holder`: in the id of its folder or dataset.
    paths: str = "own"
    #: Whether detected objects carry `polygon`.
    polygons: bool = True
    #: What `folderItemCount` counts: `items`, `below`, or `zero` (see `Studio`).
    folder_counts: str = "items"
    #: Whether folders carry `folderPreviews`.
    previews: bool = False


def show(item: Item, form: Form, now: str) -> tuple[Item, bool]:
    """An item as it is shown now.

    Args:
        item: The stored item.
        form: How it is shown.
        now: The time, as the API writes it; children created later are left out.

    Returns:
        The item as it is sent, and whether all of it was shown.
    """
    shown, whole = _object(item, form, now)
    if form.paths == "holder" and "path" in shown and item.get("type") != "folder":
        shown["path"] = holder_path(item)
    metadata = shown.get("metadata")
    if form.generation == 2025 and isinstance(metadata, dict):
        shown["metadata"] = {key: value for key, value in metadata.items() if key not in _METADATA_ONLY_2026}
    return shown, whole


def holder_path(item: Item) -> Any:
    """The path of the folder or dataset that contains an item."""
    path = item.get("path")
    if not isinstance(path, str):
        return path
    above, _, last = path.rpartition(".")
    return above if last == label(str(item["id"])) else path


def _object(value: Item, form: Form, now: str) -> tuple[Item, bool]:
    hidden = _ONLY_2026 if form.generation == 2025 else _ONLY_2025
    result: Item = {}
    whole = True
    for key, element in value.items():
        if key in ("exif", "metadata") or (key == "text" and "frameId" in value):
            result[key] = element
        elif key in hidden or key == DRAWN or (key == "polygon" and not form.polygons):
            continue
        elif key in _IDS and isinstance(element, str) and form.generation == 2026 and canonical_id(element) == element:
            result[key] = label(element)
        elif key in ("frames", "captions", "objects") and isinstance(element, list):
            result[key], all_of_it = _children(element, form, now)
            whole = whole and all_of_it
        else:
            result[key] = element
    return result, whole


def _children(values: list[Any], form: Form, now: str) -> tuple[list[Any], bool]:
    kept: list[Any] = []
    whole = True
    for value in values:
        if not isinstance(value, dict):
            kept.append(value)
            continue
        created = value.get("createdAt")
        if isinstance(created, str) and created > now:
            whole = False
            continue
        shown, all_of_it = _object(value, form, now)
        kept.append(shown)
        whole = whole and all_of_it
    return kept, whole
