"""Ids in the two forms in which the API writes them, and moments as it writes them."""

from __future__ import annotations

import re
from datetime import datetime, timezone

_UUID = re.compile(r"[0-9a-fA-F]{8}(-?)[0-9a-fA-F]{4}\1[0-9a-fA-F]{4}\1[0-9a-fA-F]{4}\1[0-9a-fA-F]{12}")


def canonical_id(value: str) -> str:
    """The lower-case hyphenated form of a UUID, with or without hyphens; any other id as given."""
    if not _UUID.fullmatch(value):
        return value
    digits = value.replace("-", "").lower()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def label(item_id: str) -> str:
    """An id without hyphens: a label of a path."""
    return item_id.replace("-", "")


def stamp(moment: datetime) -> str:
    """A moment as the API writes it: ISO 8601 with milliseconds and Z."""
    return moment.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"
