"""Values as shapes, which can be shown to anybody: the type, the length and the pattern of a value, never the value."""

from __future__ import annotations

import re
from typing import Any

_PATTERNS = {
    "uuid, hyphenated": re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"),
    "uuid, without hyphens": re.compile(r"[0-9a-fA-F]{32}"),
    "timestamp, UTC": re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z"),
    "timestamp": re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d.*"),
    "number": re.compile(r"-?\d+(\.\d+)?"),
    "address": re.compile(r"https?://\S+"),
}
#: How an API names a field: letters, with digits at most at the end. A name made by a user, or a secret, rarely
#: looks like this.
_IDENTIFIER = re.compile(r"_?[A-Za-z][A-Za-z_]*\d{0,2}")
_LONGEST_NAME = 40


def shape(value: Any) -> str:
    """The shape of a JSON value."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int):
        return "whole number"
    if isinstance(value, float):
        return "number"
    if isinstance(value, list):
        found = sorted({shape(one).partition(" of ")[0] for one in value})
        return f"list of {len(value)} ({' or '.join(found)})" if found else "empty list"
    if isinstance(value, dict):
        return f"object with {len(value)} keys"
    text = str(value)
    for name, pattern in _PATTERNS.items():
        if pattern.fullmatch(text):
            return f"string ({name})"
    return f"string of {len(text)} characters" if text else "empty string"


def field_name(name: str) -> str:
    """The name of a field, if it looks like an identifier that an API chose; otherwise a phrase in its place."""
    return name if len(name) <= _LONGEST_NAME and _IDENTIFIER.fullmatch(name) else "(a name that is not shown)"
