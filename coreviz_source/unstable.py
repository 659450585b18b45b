"""Finds fields whose values are different in every response although nothing changed, such as signed addresses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from coreviz_source.listing.raw_item import RawItem
from coreviz_source.rows.build import media_rows
from coreviz_source.tables import GONE, MEDIA, Column, Table
from coreviz_source.values import decode_json
from coreviz_source.warehouse.state import StoredState, utc


def unstable_fields(stored: StoredState, dataset_id: str, samples: Sequence[RawItem]) -> list[str]:
    """The fields that differ from the warehouse in more than half of some changed media items.

    Args:
        stored: What the warehouse stores, before the change is loaded.
        dataset_id: Canonical id of the dataset.
        samples: Changed media items.

    Returns:
        The API's names, dotted. None if `updatedAt` changed in one of the media items: then people changed them.
    """
    now = media_rows(dataset_id, samples, with_tombstones=False)
    differing: set[tuple[str, str]] = set()
    for table in (MEDIA, *MEDIA.descendants):
        if table.name in stored.tables:
            media = table.media_column
            before = {row["id"]: row for row in stored.rows(table, dataset_id, [s.id for s in samples], media)}
            for row in now.tables[table.name].to_pylist():
                for name in _differences(table, before.get(row["id"], row), row):
                    differing.add((row[media], ".".join((*table.api_path, name))))
    media_of = Counter(name for _, name in differing)
    return [] if media_of["updatedAt"] else sorted(name for name, count in media_of.items() if 2 * count > len(samples))


def _differences(table: Table, old: dict[str, Any], new: dict[str, Any]) -> Iterator[str]:
    for column in table.columns:
        if column.name == GONE:
            continue
        before, after = comparable(column, old[column.name]), comparable(column, new[column.name])
        if before == after:
            continue
        if column.name == "extra":
            yield from differing_keys(before, after)
        elif column.kind == "json":
            yield from (f"{column.api}.{key}" for key in differing_keys(before, after))
        elif column in table.api_columns:
            yield str(column.api)


def differing_keys(before: Any, after: Any) -> Iterator[str]:
    """The dotted keys in which two JSON values differ, as deep as both are objects."""
    before, after = (value if isinstance(value, dict) else {} for value in (before, after))
    for key in before.keys() | after.keys():
        old, new = before.get(key), after.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            yield from (f"{key}.{inner}" for inner in differing_keys(old, new))
        elif old != new:
            yield key


def comparable(column: Column, value: Any) -> Any:
    """A stored value or one of a new row in a form in which equal values are equal."""
    if column.kind == "json" and isinstance(value, str):
        return decode_json(value.encode())
    return utc(value) if column.kind == "timestamp" else value
