"""Where a detected object is in its picture: the polygon that the API sends, in shares of the picture."""

from __future__ import annotations

import json
from typing import Any

Outline = list[tuple[float, float]]


def outline(polygon: Any, width: float | None, height: float | None) -> Outline | None:
    """The corners of a polygon in shares of the picture: 0 is left and top, 1 is right and bottom.

    Args:
        polygon: Points with `x` and `y` in pixels of the frame, as JSON or decoded. Its edges are stored, so it can
            be read.
        width: Width of the frame in pixels.
        height: Height of the frame in pixels.

    Returns:
        The corners, moved to the picture's edge where they are outside; None if the polygon cannot be drawn: the size
        of the frame is not known, or nothing of it is inside the picture.
    """
    if not width or not height or width < 0 or height < 0:
        return None
    points = json.loads(polygon) if isinstance(polygon, str) else polygon
    corners = [(_share(point["x"], width), _share(point["y"], height)) for point in points]
    for axis in (0, 1):
        values = [corner[axis] for corner in corners]
        if max(values) <= min(values):
            return None
    return corners


def _share(pixels: float, size: float) -> float:
    return min(max(float(pixels) / size, 0.0), 1.0)
