"""The gallery's filters: their names in the page's address, and the media that they select."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from datetime import date, timedelta
from typing import Any

import streamlit as st

from coreviz_source.dashboard.answers import answer
from coreviz_source.dashboard.folders import Folder, folder_tree
from coreviz_source.dashboard.queries import SORTS, Filters, Row
from coreviz_source.warehouse.search import MOST_TERMS, parse

#: The fields' names, also in the page's address.
FIELDS = (
    *("q", "dataset", "folder", "type", "tag", "label", "model", "caption", "moderation", "from", "to", "sort"),
)  # fmt: skip
#: What can be chosen of the time from the creation of a media item to its first caption.
WAITED = {
    "none": "No caption yet",
    "0": "Within 10 s",
    "1": "After 10 s to 1 min",
    "2": "After 1 to 5 min",
    "3": "After 5 to 30 min",
    "4": "After 30 min to 2 h",
    "5": "After 2 h to 1 d",
    "6": "After 1 to 7 d",
    "7": "After 7 d or more",
}


def filters_of(texts: Mapping[str, str]) -> Filters:
    """The filters that the fields name, as they stand in an address; what cannot be is left out."""
    folder = folders().get(texts.get("folder", ""))
    tag = texts.get("tag")
    waited = texts.get("caption")
    until = day(texts.get("to"))
    return Filters(
        terms=parse(texts.get("q", ""))[:MOST_TERMS],
        dataset=texts.get("dataset"),
        folder_dataset=folder.dataset_id if folder else None,
        folders=folder.ids if folder else (),
        kind=texts.get("type"),
        moderation=texts.get("moderation"),
        tag=tags(answer("choices")["tag"]).get(tag) if tag else None,
        label=texts.get("label"),
        model=texts.get("model"),
        waited=None if waited not in WAITED else -1 if waited == "none" else int(waited),
        since=day(texts.get("from")),
        until=until + timedelta(days=1) if until and until < date.max else None,
        sort=texts["sort"] if texts.get("sort") in SORTS else "newest",
    )


def chosen() -> dict[str, str]:
    """The fields that have a value in this session, as they stand in an address."""
    return {field: str(value) for field in FIELDS if (value := st.session_state.get(field))}


def choose(texts: Mapping[str, str]) -> None:
    """Gives the fields of this session these values, and empties the others."""
    values: dict[str, Any] = {field: "" if field == "q" else None for field in FIELDS}
    for field, text in texts.items():
        values[field] = day(text) if field in ("from", "to") else text
    st.session_state.update(values)


def tags(rows: list[Row]) -> dict[str, tuple[str, str]]:
    """Groups and values of tags by their name in a field."""
    return {f"{row['tag_group']}: {row['tag']}": (row["tag_group"], row["tag"]) for row in rows}


def folders() -> dict[str, Folder]:
    """All folders, by their name in an address."""
    return folder_tree(answer("folders"))


def day(text: str | None) -> date | None:
    """A date in an address, or None."""
    with suppress(ValueError):
        return date.fromisoformat(text or "")
    return None
