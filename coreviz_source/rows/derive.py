"""Columns that are computed from API fields, for all items of a table at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from math import isfinite
from typing import Any

import msgspec

from coreviz_source.rows.convert import finite
from coreviz_source.values import clean_text, encode_json, holder_id

Columns = dict[str, Sequence[Any]]


def folder_ids(paths: Sequence[Any], ids: Sequence[str], dataset_id: str) -> list[str | None]:
    """The folder that holds each item, from the items' paths."""
    return [
        holder_id(path, own, dataset_id) if type(path) is str else None for path, own in zip(paths, ids, strict=True)
    ]


def file_names(names: Sequence[Any]) -> list[str | None]:
    """The last part of each name, which may be a path; None where it is no string."""
    return [clean_text(name.rstrip("/").rpartition("/")[2]) if type(name) is str else None for name in names]


def positions(given: Sequence[Any]) -> tuple[Columns, dict[int, Any]]:
    """Where in a video each frame begins, as sent and in seconds.

    Returns:
        The columns, and by their index the values that are no position.
    """
    texts: list[str | None] = []
    misfits: dict[int, Any] = {}
    for index, value in enumerate(given):
        if value is None or isinstance(value, str):
            texts.append(value and clean_text(value))
        elif type(value) is int or (type(value) is float and isfinite(value)):
            texts.append(encode_json(value))
        else:
            texts.append(None)
            misfits[index] = value
    return {"timestamp": texts, "timestamp_seconds": list(map(finite, texts))}, misfits


def end_positions(given: Sequence[Any]) -> tuple[Columns, dict[int, Any]]:
    """Where in a video each frame's span ends, in seconds.

    Returns:
        The column, and by their index the values that are no position.
    """
    ends = list(map(finite, given))
    misfits = {n: v for n, (v, end) in enumerate(zip(given, ends, strict=True)) if end is None is not v}
    return {"end_timestamp_seconds": ends}, misfits


class _Point(msgspec.Struct, gc=False):
    x: float
    y: float


_POLYGON = msgspec.json.Decoder(list[_Point])
_EDGES = ("x_min", "y_min", "x_max", "y_max")


def edges(polygons: Sequence[bytes | None]) -> Columns:
    """The edges of each polygon, given as JSON; null where it is not a list of points."""
    rows = [_edges(polygon) if polygon is not None else (None,) * 4 for polygon in polygons]
    return dict(zip(_EDGES, zip(*rows, strict=True), strict=True)) if rows else {}


def _edges(polygon: bytes) -> tuple[float | None, ...]:
    with suppress(msgspec.MsgspecError, UnicodeDecodeError):
        if points := _POLYGON.decode(polygon):
            xs, ys = [point.x for point in points], [point.y for point in points]
            return min(xs), min(ys), max(xs), max(ys)
    return (None,) * 4


def tags(groups: Any) -> Iterator[tuple[str, str]]:
    """The tag groups of a media item and their values; nothing if it is no object."""
    if isinstance(groups, dict):
        for group, values in groups.items():
            name = clean_text(group)
            for value in texts(values):
                yield name, value


def texts(values: Any) -> list[str]:
    """The values of a tag group, or moderation categories, as strings; what is no string as compact JSON."""
    listed = values if isinstance(values, list) else [values]
    return [v if type(v) is str and v.isascii() else _text(v) for v in listed if v is not None]


def _text(value: Any) -> str:
    return clean_text(value) if isinstance(value, str) else encode_json(value)
