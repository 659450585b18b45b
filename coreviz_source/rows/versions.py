"""Versions: the rows of a table are compared with the current versions that are stored, which opens and closes some.

A version is closed by writing its row again, with `valid_to`. What a load writes is therefore proportional to what has
changed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from coreviz_source.rows.build import as_table
from coreviz_source.tables import GONE, LOAD_ID, Column, Table
from coreviz_source.values import decode_json, encode_json

Row = dict[str, Any]
Key = tuple[Any, ...]

_INT64 = 2**63


@dataclass(frozen=True)
class Moment:
    """When versions begin and end.

    Args:
        at: The time of the run, which is later than that of every run before.
        run: Id of the run.
    """

    at: datetime
    run: str


class _Tagged(msgspec.Struct, gc=False):
    tags: msgspec.Raw | None = None


_TAGGED = msgspec.json.Decoder(_Tagged)


def contents(history: Table, rows: pa.Table) -> pa.Table:
    """What rows have in the columns that are compared, and in the ids. Tombstones have nothing.

    Args:
        history: The table with the versions.
        rows: Rows of the table that it has the versions of.
    """
    if rows.column(GONE).null_count < rows.num_rows:
        rows = rows.filter(pc.is_null(rows.column(GONE)))
    names = [*history.identity, "dataset_id", *(column.name for column in history.version_columns)]
    columns = {name: rows.column(name) for name in names if name in rows.column_names}
    if "tags" in names:
        columns["tags"] = [_tags(metadata) for metadata in rows.column("metadata").to_pylist()]
    return as_table(history, columns, rows.num_rows)


def _tags(metadata: str | None) -> str | None:
    """The tag groups in a metadata object, as sent."""
    if metadata is None or '"tags"' not in metadata:
        return None
    try:
        found = _TAGGED.decode(metadata.encode()).tags
        text = None if found is None else bytes(found).decode()
    except (msgspec.MsgspecError, UnicodeError):
        item = decode_json(metadata.encode("utf-8", "replace"))
        tags = item.get("tags") if isinstance(item, dict) else None
        text = None if tags is None else encode_json(tags)
    return None if text == "null" else text


def first_versions(history: Table, found: pa.Table, moment: Moment) -> pa.Table:
    """The versions that are opened where nothing was ever stored.

    Args:
        history: The table with the versions.
        found: The contents.
        moment: When they begin.
    """
    columns = {name: found.column(name) for name in found.column_names}
    size = found.num_rows
    columns |= {
        "valid_from": pa.repeat(pa.scalar(moment.at, pa.timestamp("us", "UTC")), size),
        "change": pa.repeat(pa.scalar("added"), size),
        "run": pa.repeat(pa.scalar(moment.run), size),
    }
    return as_table(history, columns, size)


def identities(history: Table, found: pa.Table) -> Iterable[Key]:
    """What each row of a table is identified by, apart from the dataset."""
    return zip(*(found.column(name).to_pylist() for name in history.identity), strict=True)


def next_versions(
    history: Table, found: pa.Table, stored: Iterable[Row], ended: Collection[Key], moment: Moment
) -> pa.Table:
    """The versions to write where some are stored: those that begin, and those that end.

    Args:
        history: The table with the versions.
        found: The contents of everything that is in some media items.
        stored: The current versions that are stored of these media items. One whose load was never completed has no
            load id, and is written again.
        ended: The identities of which earlier versions are stored.
        moment: When versions begin and end.
    """
    left: dict[Key, list[Row]] = {}
    for version in sorted(stored, key=lambda row: row["valid_from"]):
        left.setdefault(_identity(history, version), []).append(version)
    written: list[Row] = []
    for row in found.to_pylist():
        key = _identity(history, row)
        *older, latest = left.pop(key, None) or (None,)
        if latest is None:
            written.append(_begun(row, moment, "returned" if key in ended else "added"))
            continue
        # two runs at the same time, or a load that was repeated after a crash
        before = [version for version in older if version["valid_from"] < latest["valid_from"]]
        written += [_ended(version, latest["valid_from"], "changed") for version in before]
        if not all(_equal(column, row[column.name], latest[column.name]) for column in history.version_columns):
            written += [_ended(latest, moment.at, "changed"), _begun(row, moment, "changed")]
        elif older or latest[LOAD_ID] is None:
            written.append(latest)
    written += ended_versions(history, [version for versions in left.values() for version in versions], moment)
    return as_rows(history, written)


def ended_versions(history: Table, stored: Iterable[Row], moment: Moment) -> list[Row]:
    """Current versions as they are stored after their items were removed, each once."""
    versions = {(*_identity(history, version), version["valid_from"]): version for version in stored}
    return [_ended(version, moment.at, "removed") for version in versions.values()]


def as_rows(history: Table, rows: list[Row]) -> pa.Table:
    """An arrow table of rows."""
    columns = {c.name: [row.get(c.name) for row in rows] for c in history.columns if c.name != GONE}
    return as_table(history, columns, len(rows))


def _identity(history: Table, row: Mapping[str, Any]) -> Key:
    return tuple(row[name] for name in history.identity)


def _begun(row: Row, moment: Moment, change: str) -> Row:
    return {**row, "valid_from": moment.at, "change": change, "run": moment.run}


def _ended(version: Row, at: datetime, by: str) -> Row:
    return {**version, "valid_to": at, "ended_by": by}


def _equal(column: Column, one: Any, other: Any) -> bool:
    """Whether two values are equal. A warehouse may write the same JSON in another way."""
    if one == other:
        return True
    if column.kind != "json" or one is None or other is None:
        return False
    return bool(_plain(decode_json(one.encode())) == _plain(decode_json(other.encode())))


def _plain(value: Any) -> Any:
    """A JSON value in the only form that equal values have."""
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if isinstance(value, bool):
        # else it would be equal to a number
        return ("bool", value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value) if isinstance(value, int) and not -_INT64 <= value < 2 * _INT64 else value
