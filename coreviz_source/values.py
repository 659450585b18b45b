"""Single values of the API in the form that the warehouse stores: ids, timestamps, durations, JSON."""

from __future__ import annotations

import json
import re
from datetime import datetime, timedelta, timezone
from typing import Any

import msgspec
from xxhash import xxh3_64_intdigest

_UUID = re.compile(r"[0-9a-fA-F]{8}(-?)[0-9a-fA-F]{4}\1[0-9a-fA-F]{4}\1[0-9a-fA-F]{4}\1[0-9a-fA-F]{12}")
_CANONICAL = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_FIRST = (datetime(1, 1, 2, tzinfo=timezone.utc) - _EPOCH) // timedelta(microseconds=1)
_LAST = (datetime(9999, 12, 31, tzinfo=timezone.utc) - _EPOCH) // timedelta(microseconds=1)
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw]?)")
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_SURROGATES = re.compile("[\ud800-\udfff]")
_BRACKETS = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[\]{}]', re.DOTALL)
#: Levels of nested JSON that are kept as they are; some warehouses store no more than 500.
DEEPEST = 200


def canonical_id(value: str) -> str:
    """The lower-case hyphenated form of a UUID, with or without its hyphens; any other id as given."""
    if _CANONICAL.fullmatch(value) or not _UUID.fullmatch(value):
        return value
    digits = value.replace("-", "").lower()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def bare_id(value: str) -> str:
    """A UUID in lower case without hyphens, whichever form it is given in; any other id as given."""
    canonical = canonical_id(value)
    bare = canonical.replace("-", "")
    return bare if canonical_id(bare) == canonical else canonical


def holder_id(path: str, own_id: str, dataset_id: str) -> str | None:
    """The id of the folder that holds an item, from the item's path; None at the top of the dataset.

    A path is labels joined by dots. Each label is an id without hyphens, the first one is the dataset's and the last
    one the item's own. A path without the item's own id ends in its folder.

    Args:
        path: The path as sent.
        own_id: Canonical id of the item.
        dataset_id: Canonical id of the dataset.
    """
    rest, _, last = path.rpartition(".")
    holder = rest.rpartition(".")[2] if _is_label_of(last, own_id) else last
    return None if not holder or _is_label_of(holder, dataset_id) else clean_text(canonical_id(holder))


def _is_label_of(label: str, own_id: str) -> bool:
    return label == own_id.replace("-", "") or canonical_id(label) == own_id


def text_hash(text: str) -> int:
    """A 64-bit hash of a string; of a million strings, two collide once in forty million runs."""
    return xxh3_64_intdigest(text.encode())


def parse_timestamp(value: object) -> datetime | None:
    """An ISO 8601 date or timestamp in UTC, without a zone taken as UTC.

    None for anything else, and for years that not every database can hold.
    """
    if not isinstance(value, str):
        return None
    parsed: datetime | None
    try:
        parsed = msgspec.convert(f"{value}T00:00:00Z" if _DATE.fullmatch(value) else value, datetime)
        parsed = parsed.astimezone(timezone.utc) if parsed.tzinfo else parsed.replace(tzinfo=timezone.utc)
    except (msgspec.ValidationError, UnicodeEncodeError, OverflowError):
        parsed = _parse_unusual(value.replace(",", "."))
        if parsed is None:
            return None
    return parsed if in_range((parsed - _EPOCH) // timedelta(microseconds=1)) else None


def _parse_unusual(value: str) -> datetime | None:
    """Forms of ISO 8601 that RFC 3339 leaves out: without seconds, without minutes, `+05`."""
    import pyarrow as pa  # takes a tenth of a second, and `check` can do without

    for text in (value, f"{value}Z"):
        try:
            found: datetime = pa.scalar(text).cast(pa.timestamp("us", tz="UTC")).as_py()
        except (pa.ArrowException, ValueError, OverflowError):
            continue
        return found
    return None


def in_range(microseconds: int) -> bool:
    """Whether a moment, in microseconds since 1970, is in the years 1 to 9999 in any time zone."""
    return _FIRST <= microseconds <= _LAST


def parse_duration(value: str | timedelta) -> timedelta:
    """A span of time: `"90s"`, `"30m"`, `"12h"`, `"7d"`, `"2w"`, or a bare number of seconds.

    Raises:
        ValueError: The text is none of these.
    """
    if isinstance(value, timedelta):
        return value
    match = _DURATION.fullmatch(str(value).strip().lower())
    if not match:
        raise ValueError(f"{value!r} is not a span of time such as 90s, 30m, 12h, 7d, 2w or 0")
    try:
        return timedelta(seconds=float(match[1]) * _SECONDS[match[2]])
    except OverflowError:
        raise ValueError(f"{value!r} is too long a span of time") from None


def decode_json(raw: bytes) -> Any:
    """JSON as strictly as the standard asks, then as leniently as Python can: NaN, lone surrogates, huge numbers.

    JSON that is nested too deeply for a reader becomes a string in the result.

    Raises:
        ValueError: Even the lenient reader cannot make sense of it.
    """
    try:
        try:
            return msgspec.json.decode(raw)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return json.loads(raw, parse_int=_whole)
    except RecursionError:
        return decode_json(shallow(raw))


def _whole(digits: str) -> int | str:
    """A whole number; one of thousands of digits, which Python refuses to read, as a string."""
    return int(digits) if len(digits) < 4000 else digits


def shallow(raw: bytes) -> bytes:
    """The same JSON; parts that are nested too deeply to be read become strings that contain them."""
    kept: list[bytes] = []
    depth = done = start = 0
    for match in _BRACKETS.finditer(raw):
        token = match[0]
        if token in (b"[", b"{"):
            depth += 1
            if depth == DEEPEST + 1:
                start = match.start()
        elif token in (b"]", b"}"):
            depth -= 1
            if depth == DEEPEST:
                text = raw[start : match.end()].decode("utf-8", "replace")
                kept += (raw[done:start], json.dumps(text).encode())
                done = match.end()
    return b"".join((*kept, raw[done:]))


def encode_json(value: Any) -> str:
    """Compact JSON text that every warehouse's JSON type accepts: no NaN, no lone surrogates."""
    try:
        return msgspec.json.encode(value).decode()
    except (UnicodeEncodeError, OverflowError, msgspec.MsgspecError):
        text = clean_text(json.dumps(value, ensure_ascii=False))
        storable = json.loads(text, parse_constant=lambda name: None)
        return json.dumps(storable, ensure_ascii=False, separators=(",", ":"))


def plain_text(value: str) -> str:
    """The text in a form that every warehouse can store and search: without lone surrogates and NUL."""
    return clean_text(value).replace("\0", "\ufffd")


def clean_text(value: str) -> str:
    """The text with lone surrogates, which no UTF-8 database can store, replaced by U+FFFD."""
    return value if value.isascii() else _SURROGATES.sub("\ufffd", value)
