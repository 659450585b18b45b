"""Small pictures of what the captions describe, drawn as SVG: each object in its box, in its colour."""

from __future__ import annotations

from html import escape
from typing import Any

from coreviz_source.local_studio.form import DRAWN
from coreviz_source.local_studio.vocabulary import COLOURS

WIDTH, HEIGHT = 640, 400
_BACKGROUNDS = (
    ("#e9eef2", "#cfd8dc"),
    ("#dfe9f5", "#b9c7a5"),
    ("#f3e9dc", "#d8c3a5"),
    ("#d9e4ec", "#9fb4c0"),
    ("#eee6f0", "#c9bccb"),
)
#: What is drawn round; everything else is angular.
ROUND = {"cone", "hat", "watch", "bird", "tree", "lamp", "dog", "person"}


def picture(frame: dict[str, Any], crop: dict[str, Any] | None = None) -> bytes:
    """The picture of a frame, or the part of it that shows one of its objects.

    Args:
        frame: A frame; its `objects` have a `label` ("red shoe") and a `_box` in shares of the picture.
        crop: The object to show; None shows the whole frame.
    """
    sky, ground, horizon = backdrop(frame["id"])
    horizon *= HEIGHT
    view = (0.0, 0.0, float(WIDTH), float(HEIGHT))
    if crop is not None:
        view = _box(crop)
    if frame.get("text"):
        body = _page(str(frame["text"]))
    else:
        shapes = "".join(_shape(thing) for thing in frame.get("objects") or [])
        body = (
            f'<rect width="{WIDTH}" height="{HEIGHT}" fill="{sky}"/>'
            f'<rect y="{horizon:.0f}" width="{WIDTH}" height="{HEIGHT - horizon:.0f}" fill="{ground}"/>{shapes}'
        )
    where = " ".join(f"{number:.0f}" for number in view)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{where}" width="{view[2]:.0f}" height="{view[3]:.0f}">'
        f"{body}</svg>"
    ).encode()


def backdrop(frame_id: str) -> tuple[str, str, float]:
    """The colours behind everything in a frame, above and below, and where they meet, as a share of the height."""
    seed = sum(frame_id.encode())
    return *_BACKGROUNDS[seed % len(_BACKGROUNDS)], 0.55 + seed % 20 / 100


_Outline = tuple[tuple[float, float], ...]
#: The silhouettes of the two ways in which `_shape` draws a thing, in shares of its box.
_ROUND_OUTLINE: _Outline = (
    *((0, 1), (0.1, 0.856), (0.25, 0.7), (0.4, 0.616), (0.29, 0.48), (0.2, 0.28), (0.29, 0.08)),
    *((0.5, 0), (0.71, 0.08), (0.8, 0.28), (0.71, 0.48), (0.6, 0.616), (0.75, 0.7), (0.9, 0.856), (1, 1)),
)
_SQUARE_OUTLINE: _Outline = ((0, 1), (0, 0.25), (0.15, 0.25), (0.15, 0), (0.65, 0), (0.65, 0.25), (1, 0.25), (1, 1))
_CORNERS: _Outline = ((0, 0), (1, 0), (1, 1), (0, 1))


def polygon(thing: dict[str, Any], width: int, height: int) -> list[dict[str, float]]:
    """The outline of an object in pixels of its frame; every third object has only the corners of its box.

    Args:
        thing: An object with `id`, `label` and `_box`.
        width: Width of the frame in pixels.
        height: Height of the frame in pixels.
    """
    noun = str(thing["label"]).rpartition(" ")[2]
    outline = _ROUND_OUTLINE if noun in ROUND else _SQUARE_OUTLINE
    if sum(thing["id"].encode()) % 3 == 0:
        outline = _CORNERS
    box = thing[DRAWN]
    return [
        {
            "x": round((box["x"] + x * box["width"]) * width, 2),
            "y": round((box["y"] + y * box["height"]) * height, 2),
        }
        for x, y in outline
    ]


def _box(thing: dict[str, Any]) -> tuple[float, float, float, float]:
    box = thing.get(DRAWN) or {"x": 0, "y": 0, "width": 1, "height": 1}
    return box["x"] * WIDTH, box["y"] * HEIGHT, box["width"] * WIDTH, box["height"] * HEIGHT


def _shape(thing: dict[str, Any]) -> str:
    x, y, width, height = _box(thing)
    colour, _, noun = str(thing.get("label", "")).rpartition(" ")
    fill = COLOURS.get(colour, "#777")
    shadow = (
        f'<ellipse cx="{x + width / 2:.0f}" cy="{y + height:.0f}" rx="{width * 0.5:.0f}" ry="{height * 0.06:.0f}" '
        'fill="#0003"/>'
    )
    if noun in ROUND:
        return (
            f'{shadow}<ellipse cx="{x + width / 2:.0f}" cy="{y + height * 0.28:.0f}" rx="{width * 0.3:.0f}" '
            f'ry="{height * 0.28:.0f}" fill="{fill}"/><path d="M{x:.0f} {y + height:.0f} '
            f'Q{x + width / 2:.0f} {y + height * 0.2:.0f} {x + width:.0f} {y + height:.0f}Z" fill="{fill}" '
            'stroke="#0004"/>'
        )
    return (
        f'{shadow}<rect x="{x:.0f}" y="{y + height * 0.25:.0f}" width="{width:.0f}" height="{height * 0.75:.0f}" '
        f'rx="{min(width, height) * 0.14:.0f}" fill="{fill}" stroke="#0004"/>'
        f'<rect x="{x + width * 0.15:.0f}" y="{y:.0f}" width="{width * 0.5:.0f}" height="{height * 0.5:.0f}" '
        f'rx="{min(width, height) * 0.12:.0f}" fill="{fill}" stroke="#0003"/>'
        f'<rect x="{x + width * 0.22:.0f}" y="{y + height * 0.1:.0f}" width="{width * 0.34:.0f}" '
        f'height="{height * 0.2:.0f}" rx="4" fill="#fff5"/>'
    )


def _page(text: str) -> str:
    lines = [text[i : i + 56] for i in range(0, min(len(text), 560), 56)]
    spans = "".join(
        f'<text x="60" y="{70 + 30 * i}" font-family="serif" font-size="19" fill="#333">{escape(line)}</text>'
        for i, line in enumerate(lines)
    )
    return (
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#d7dadd"/>'
        f'<rect x="36" y="16" width="{WIDTH - 72}" height="{HEIGHT - 24}" fill="#fffdf8" stroke="#bbb"/>{spans}'
    )
