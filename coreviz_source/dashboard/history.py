"""The captions of a media item over time: what was added, changed and removed, and which words differ."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from difflib import SequenceMatcher
from typing import Any, Literal

from coreviz_source.dashboard.head import moment
from coreviz_source.dashboard.queries import Row

#: Words that were removed, words that were added, and words that stayed.
Part = tuple[Literal["del", "ins", ""], str]

#: Letters of scripts without spaces: each counts as a word.
_LETTERS = "\\u3040-\\u30ff\\u3400-\\u9fff\\uf900-\\ufaff"
#: A word with the spaces before it.
_WORD = re.compile(rf"\s*(?:[{_LETTERS}]|[^\s{_LETTERS}]+)")
#: Texts with more words are shown whole, because a comparison takes time with the square of their number.
MOST_WORDS = 2000
#: Texts that have a smaller share of their words in common are shown whole, because single words would explain nothing.
ALIKE = 0.4


def changes(versions: Sequence[Row]) -> dict[str | None, list[dict[str, Any]]]:
    """What happened to the captions of each frame, newest first; without frames to whose captions nothing happened.

    A caption that was removed and one that was added in its place by the same run are shown as one change.

    Args:
        versions: Rows of `caption_history` of one media item.
    """
    frames: dict[str | None, list[Row]] = defaultdict(list)
    for version in versions:
        frames[version["frame_id"]].append(version)
    found = {}
    for frame, rows in frames.items():
        times = {row["valid_from"] for row in rows} | {row["valid_to"] for row in rows if row["valid_to"]}
        entries = [entry for time in sorted(times, reverse=True) for entry in _at(time, rows)]
        if any(entry["what"] != "Added" for entry in entries):
            found[frame] = entries
    return found


def _at(time: datetime, versions: Sequence[Row]) -> list[dict[str, Any]]:
    ended = {row["id"]: row for row in versions if row["valid_to"] == time}
    begun = {row["id"]: row for row in versions if row["valid_from"] == time}
    pairs = [(ended.pop(key), begun.pop(key)) for key in list(begun) if key in ended]
    before = sorted(ended.values(), key=lambda row: (row["valid_from"], row["id"]))
    after = sorted(begun.values(), key=lambda row: str(row["id"]))
    pairs += zip(before, after, strict=False)
    entries = [
        _entry("Changed", time, new["model"], words(old["text"] or "", new["text"] or ""), old["model"])
        for old, new in pairs
        if (old["text"], old["model"]) != (new["text"], new["model"])
    ]
    entries += [_entry("Removed", time, row["model"], [("del", row["text"] or "")]) for row in before[len(after) :]]
    for row in after[len(before) :]:
        what = "Returned" if row["change"] == "returned" else "Added"
        entries.append(_entry(what, time, row["model"], [("", row["text"] or "")]))
    return entries


def _entry(what: str, time: datetime, model: str | None, parts: list[Part], was: str | None = None) -> dict[str, Any]:
    by = model or ""
    if was and was != model:
        by = f"{by or 'no model'}, before {was}"
    return {"what": what, "at": moment(time), "by": by, "words": parts}


def words(before: str, after: str) -> list[Part]:
    """The words of two texts in one sequence: what stayed, what was removed, what was added."""
    old, new = _WORD.findall(before), _WORD.findall(after)
    parts: list[Part] = [("del", before), ("", "\n" if before and after else ""), ("ins", after)]
    if max(len(old), len(new)) <= MOST_WORDS:
        matcher = SequenceMatcher(None, [word.strip() for word in old], [word.strip() for word in new], autojunk=False)
        if matcher.ratio() >= ALIKE:
            parts = []
            for kind, start, end, first, last in matcher.get_opcodes():
                if kind == "equal":
                    parts.append(("", "".join(new[first:last])))
                else:
                    parts += [("del", "".join(old[start:end])), ("ins", "".join(new[first:last]))]
    return [part for kind, text in parts if text for part in _spaced(kind, text)]


def _spaced(kind: Literal["del", "ins", ""], text: str) -> list[Part]:
    """A part with the space before it outside, so that the space is not marked."""
    rest = text.lstrip()
    return [("", " "), (kind, rest)] if kind and rest != text else [(kind, text)]
