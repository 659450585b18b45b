"""One media item: its frames on a timeline, captions, objects with their outlines, and everything else known of it."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import streamlit as st

from coreviz_source.dashboard.answers import answer, name_of, note, page, picture, titled
from coreviz_source.dashboard.filters import FIELDS, choose, filters_of
from coreviz_source.dashboard.folders import folder_tree
from coreviz_source.dashboard.head import moment
from coreviz_source.dashboard.history import changes
from coreviz_source.dashboard.outlines import outline
from coreviz_source.dashboard.queries import Row

_viewer = st.components.v2.component(
    "coreviz_media",
    css=Path(__file__).with_name("media.css").read_text(encoding="utf-8"),
    js=Path(__file__).with_name("media.js").read_text(encoding="utf-8"),
    isolate_styles=False,
)


@page
def media() -> None:
    """Draws the page of the media item that the address names."""
    dataset_id, media_id = st.query_params.get("in", ""), st.query_params.get("media", "")
    address = {field: text for field in FIELDS if (text := st.query_params.get(field))}
    found = answer("media", dataset_id, media_id)
    if found is None:
        note("This media item is not in the warehouse.", "It may have been deleted. The gallery shows the stored ones.")
        return
    from coreviz_source.dashboard import gallery

    titled(title(found))
    wanted = st.query_params.get("frame")
    first = next((place for place, frame in enumerate(found["frames"]) if frame["id"] == wanted), 0)
    ways = _ways(answer("neighbours", filters_of(address), dataset_id, media_id), address)
    clicked = _viewer(
        data={**_shown(found, changes(answer("caption_versions", dataset_id, media_id))), "first": first, "ways": ways},
        key=f"media-{media_id}",
        on_opened_change=lambda: None,
        on_left_change=lambda: None,
    )
    if clicked.opened:
        st.query_params.from_dict(clicked.opened)
        st.rerun()
    if clicked.left:
        choose(address)
        st.switch_page(gallery.here(), query_params=address)


def here() -> st.Page:
    """The page in Streamlit's navigation, which shows it only to those who are on it."""
    return st.Page(media, title="Media", url_path="media", visibility="hidden")


def _ways(neighbours: dict[str, Row | None], address: dict[str, str]) -> dict[str, Any]:
    """Where links lead: to the gallery as it was, and to the media items beside this one in it."""
    beside = {
        name: {"title": title(row), "names": {**names(row["dataset_id"], row["id"], None), **address}} if row else None
        for name, row in neighbours.items()
    }
    return {"gallery": address, **beside}


def names(dataset_id: str, media_id: str, frame_id: str | None) -> dict[str, str]:
    """The media item, and the frame to begin with, as written in the page's address."""
    return {"in": dataset_id, "media": media_id, **({"frame": frame_id} if frame_id else {})}


def title(row: Row) -> str:
    """The file's name without the folders in it."""
    name = str(row["name"] or row["id"])
    return name.rstrip("/").rpartition("/")[2] or name


def clock(seconds: float) -> str:
    """A moment in a video: 0:07, 12:30, 1:02:03."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _shown(found: Row, history: dict[str | None, list[dict[str, Any]]]) -> dict[str, Any]:
    is_video, own = found["type"] == "video", picture(found["blob"])
    return {
        "title": title(found),
        "collection": name_of(found),
        "file": own,
        "video": own if is_video else None,
        "duration": found["duration"] if is_video else None,
        "frames": _frames(found, history),
        "tags": [[row["tag_group"], row["tag"]] for row in found["tags"]],
        "facts": _facts(found),
        "exif": _exif(found["exif"]),
        "json": [[name, _pretty(found[name])] for name in ("metadata", "extra") if found[name]],
    }


def _frames(found: Row, history: dict[str | None, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """The frames, each with its captions and objects. A media item without frames gets one."""
    captions, objects = defaultdict(list), defaultdict(list)
    history = dict(history)
    for row in found["captions"]:
        captions[row["frame_id"]].append({"text": row["text"], "by": _by(row)})
    sizes = {frame["id"]: (frame["width"], frame["height"]) for frame in found["frames"]}
    for row in found["objects"]:
        size = sizes.get(row["frame_id"], (None, None))
        corners = outline(row["polygon"], *size) if row["x_min"] is not None else None
        objects[row["frame_id"]].append({"label": row["label"] or row["type"], "outline": corners})
    frames = [
        {
            "picture": picture(frame["blob"]) or picture(frame["thumbnail_blob"]),
            "thumb": picture(frame["thumbnail_blob"]) or picture(frame["blob"]),
            "at": _moment(frame, found),
            "second": frame["timestamp_seconds"] if found["type"] == "video" else None,
            "text": frame["text"],
            "ratio": _ratio(frame),
            "captions": captions.pop(frame["id"], []),
            "history": history.pop(frame["id"], []),
            "objects": objects.pop(frame["id"], []),
        }
        for frame in found["frames"]
    ]
    if not frames:
        still = picture(found["blob"]) if found["type"] == "image" else None
        frames = [{"picture": still, "thumb": still, "at": None, "second": None, "text": None, "ratio": _ratio(found),
                   "captions": [], "history": [], "objects": []}]  # fmt: skip
    # captions whose frame is not there (any more) still belong to the media
    for name, left in (("captions", captions), ("history", history)):
        frames[0][name] = [*frames[0][name], *(each for rest in left.values() for each in rest)]
    return frames


def _ratio(row: Row) -> float | None:
    """Width by height of a frame or media item."""
    return row["width"] / row["height"] if row["width"] and row["height"] else None


def _moment(frame: Row, found: Row) -> str | None:
    if frame["page_number"] is not None:
        return f"Page {frame['page_number']}"
    if found["type"] == "video" and frame["timestamp_seconds"] is not None:
        return f"{frame['timestamp_seconds']:.1f} s"
    return None


def _by(caption: Row) -> str:
    return ", ".join(filter(None, (caption["model"], moment(caption["created_at"]))))


def _facts(found: Row) -> list[list[str]]:
    size = found["size_bytes"]
    facts = {
        "Type": found["type"],
        "Size": f"{found['width']} × {found['height']}" if found["width"] and found["height"] else None,
        "Folder": _folder(found),
        "Description": found["description"],
        "Prompt": found["prompt"],
        "Duration": f"{found['duration']:.1f} s" if found["duration"] is not None else None,
        "File": None if size is None else f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.0f} kB",
        "Created": moment(found["created_at"]),
        "Updated": moment(found["updated_at"]),
        "Moderation": ", ".join(
            filter(None, (found["moderation_status"], *(row["category"] for row in found["categories"])))
        ),
        "Deleted": moment(found["deleted_at"]),
        "Status": found["status"],
        "Version": found["version_number"],
        "Name": found["name"],
        "Id": found["id"],
    }
    return [[name, str(value)] for name, value in facts.items() if value not in (None, "")]


def _folder(found: Row) -> str | None:
    """The full name of the media item's folder; None at the top."""
    folder = folder_tree(answer("folders")).get(f"{found['dataset_id']}.{found['folder_id']}")
    return folder.full_name if folder else None


def _decoded(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value


def _exif(value: Any) -> list[list[str]]:
    exif = _decoded(value)
    tags = exif.get("tags", exif) if isinstance(exif, dict) else None
    if not isinstance(tags, dict):
        return []
    return [[str(name), v if isinstance(v, str) else json.dumps(v, ensure_ascii=False)] for name, v in tags.items()]


def _pretty(value: Any) -> str:
    return json.dumps(_decoded(value), indent=2, ensure_ascii=False, default=str)
