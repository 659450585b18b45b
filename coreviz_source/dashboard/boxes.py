"""Where a detected object is in its picture, whatever shape the API gives the box."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

#: Fields of an object in which a box has been seen or is likely.
FIELDS = ("boundingBox", "bounding_box", "bbox", "box", "boundingBoxes", "bounds", "rect")
_CORNERS = (("x1", "y1", "x2", "y2"), ("xmin", "ymin", "xmax", "ymax"), ("left", "top", "right", "bottom"))
_SIDES = (("x", "y", "width", "height"), ("x", "y", "w", "h"), ("left", "top", "width", "height"))


@dataclass(frozen=True)
class Box:
    """A box in shares of the picture: 0 is left and top, 1 is right and bottom."""

    x: float
    y: float
    width: float
    height: float


def box(extra: Any, width: float | None, height: float | None) -> Box | None:
    """The box that the fields of an object hold.

    The documentation mentions bounding boxes and names no field. Understood are corners (`[x1, y1, x2, y2]`,
    `{xmin, ymin, …}`) and sides (`{x, y, width, height}`), in shares of the picture or, when any number is larger
    than 1, in pixels.

    Args:
        extra: The object's `extra`, as JSON text or decoded.
        width: Of the frame in pixels.
        height: Of the frame in pixels.

    Returns:
        The box, cut to the picture; None if there is none, or none that can be drawn.
    """
    if isinstance(extra, str):
        try:
            extra = json.loads(extra)
        except ValueError:
            return None
    if not isinstance(extra, Mapping):
        return None
    for field in FIELDS:
        corners = _corners(extra.get(field))
        if corners is not None:
            return _shares(corners, width, height)
    return None


def _corners(value: Any) -> tuple[float, float, float, float] | None:
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, list):
        numbers = _numbers(value)
        return numbers
    if not isinstance(value, Mapping):
        return None
    for names in _CORNERS:
        if (numbers := _numbers([value.get(name) for name in names])) is not None:
            return numbers
    for names in _SIDES:
        if (numbers := _numbers([value.get(name) for name in names])) is not None:
            x, y, wide, high = numbers
            return x, y, x + wide, y + high
    return None


def _numbers(values: list[Any]) -> tuple[float, float, float, float] | None:
    if len(values) != 4 or not all(
        isinstance(v, (int, float)) and not isinstance(v, bool) and math.isfinite(v) for v in values
    ):
        return None
    a, b, c, d = map(float, values)
    return a, b, c, d


def _shares(corners: tuple[float, float, float, float], width: float | None, height: float | None) -> Box | None:
    x1, y1, x2, y2 = corners
    # a share may be a little above 1 by rounding; pixels never end at 1
    if max(corners) > 1.05:
        if not width or not height:
            return None
        x1, y1, x2, y2 = x1 / width, y1 / height, x2 / width, y2 / height
    x1, y1, x2, y2 = (min(max(v, 0.0), 1.0) for v in (x1, y1, x2, y2))
    return Box(x1, y1, x2 - x1, y2 - y1) if x2 > x1 and y2 > y1 else None
