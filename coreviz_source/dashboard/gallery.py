"""The gallery: pictures with their captions, searched, filtered and sorted."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import streamlit as st

from coreviz_source.dashboard import media, queries, served
from coreviz_source.dashboard.answers import answer, dataset_names, note, page, picture, titled
from coreviz_source.dashboard.filters import WAITED, choose, chosen, day, filters_of, folders, tags
from coreviz_source.dashboard.folders import Folder
from coreviz_source.dashboard.head import moment
from coreviz_source.dashboard.queries import EXPORTED, SORTS, Cursor, Filters, Row
from coreviz_source.report import counted

#: Most pictures on one page. Filters lead to older ones.
MOST = 960

_cards = st.components.v2.component(
    "coreviz_gallery",
    css=Path(__file__).with_name("gallery.css").read_text(encoding="utf-8"),
    js=Path(__file__).with_name("gallery.js").read_text(encoding="utf-8"),
    isolate_styles=False,
)


@page
def gallery() -> None:
    """Draws the page."""
    names = dataset_names()
    _fields(names)
    address = chosen()
    if st.query_params.to_dict() != address:
        st.query_params.from_dict(address)
    filters = filters_of(address)
    if "q" in address:
        titled(f"“{address['q']}” · Gallery")
    shown = _shown(filters)
    matches = answer("count", filters)
    if shown:
        _line(filters, len(shown), matches)
    words = [term.text for term in filters.terms if not term.excluded]
    clicked = _cards(
        data={"cards": [_card(row, names, address) for row in shown], "words": words},
        key="cards",
        on_opened_change=lambda: None,
    )
    if clicked.opened:
        st.switch_page(media.here(), query_params=clicked.opened)
    if not shown and replace(filters, sort="newest") == Filters():
        note("There are no media items yet.", "Load some with `coreviz-source sync`.")
    elif not shown:
        note("Nothing matches.", "Take away a word or a filter; every word must occur in the same caption.")
    elif len(shown) < min(matches, MOST) and st.button("More", width="stretch"):
        shown.extend(answer("gallery", filters, Cursor.of(shown[-1])))
        st.rerun()


def here() -> st.Page:
    """The page in Streamlit's navigation; made again for every run, because Streamlit keeps what it runs in it."""
    return st.Page(gallery, title="Gallery", default=True)


def _fields(names: dict[str, str]) -> None:
    """Draws the fields. What is chosen also stands in the page's address, to be kept or sent."""
    choices = answer("choices")
    _begin("q", str)
    _begin("sort", lambda text: text if text in SORTS else None)
    st.text_input(
        "Search",
        key="q",
        placeholder="Search captions, page texts and file names",
        label_visibility="collapsed",
        icon=":material/search:",
        persist_state="session",
    )
    with st.sidebar:
        dataset = _choice("Dataset", "dataset", list(names), names.__getitem__)
        inside = _folders(dataset, names)
        _choice("Folder", "folder", list(inside), lambda key: _folder_name(inside[key], dataset, names))
        _choice("Type", "type", [row["value"] for row in choices["kind"] if row["value"]])
        _choice("Tag", "tag", list(tags(choices["tag"])))
        _choice("Detected", "label", [row["label"] for row in choices["label"]], more=True)
        _choice("Caption by", "model", [row["value"] for row in choices["model"]])
        _choice("First caption", "caption", list(WAITED), WAITED.__getitem__)
        _choice("Moderation", "moderation", [row["value"] for row in choices["moderation"]])
        with st.container(horizontal=True, gap="small", key="days"):
            _day("From (UTC)", "from")
            _day("To (UTC)", "to")
        if chosen():
            st.button("Clear all", on_click=choose, args=({},), width="stretch")


def _line(filters: Filters, shown: int, matches: int) -> None:
    """How many there are, in which order, and the same as a file."""
    with st.container(horizontal=True, key="line", vertical_alignment="center", gap="small"):
        first = f", the first {shown:,} shown" if shown < matches else ""
        st.caption(f"{counted(matches, 'media item')}{first}", width="stretch")
        st.selectbox(
            "Sort",
            [sort for sort in SORTS if sort != "newest"],
            index=None,
            key="sort",
            format_func=lambda sort: f"{sort.capitalize()}{'' if sort == 'name' else ' first'}",
            placeholder="Newest first",
            label_visibility="collapsed",
            persist_state="session",
            width=150,
        )
        st.download_button(
            "CSV",
            lambda: _csv(filters),
            "coreviz-media.csv",
            "text/csv",
            on_click="ignore",
            icon=":material/download:",
            help=f"{counted(min(matches, EXPORTED), 'media item')} with the first caption of each, as a CSV file",
        )


def _csv(filters: Filters) -> bytes:
    """The media that the filters select, as a file that spreadsheets open too."""
    with served().opened() as reader:
        rows = queries.exported(reader, filters)
    names = {key: folder.full_name for key, folder in folders().items()}
    text = io.StringIO(newline="")
    writer: csv.DictWriter[str] | None = None
    for row in rows:
        folder = names.get(f"{row['dataset_id']}.{row.pop('folder_id')}")
        line = {name: _cell(value) for name, value in {**row, "folder": folder}.items()}
        if writer is None:
            writer = csv.DictWriter(text, list(line))
            writer.writeheader()
        writer.writerow(line)
    # with the mark by which spreadsheets know UTF-8
    return text.getvalue().encode("utf-8-sig")


def _cell(value: Any) -> Any:
    """A value in a CSV file: moments with their zone, and no text that a spreadsheet would take for a formula."""
    if hasattr(value, "isoformat"):
        return value.isoformat()
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value


def _folders(dataset: str | None, names: dict[str, str]) -> dict[str, Folder]:
    """The folders that can be chosen, those of a dataset together; a choice that is none of them is taken back."""
    tree = folders()
    keys = [key for key, folder in tree.items() if dataset in (None, folder.dataset_id)]
    keys.sort(key=lambda key: names.get(tree[key].dataset_id, ""))
    if st.session_state.get("folder") not in (None, *keys):
        st.session_state["folder"] = None
    return {key: tree[key] for key in keys}


def _folder_name(folder: Folder, dataset: str | None, names: dict[str, str]) -> str:
    if dataset or len(names) < 2:
        return folder.full_name
    return f"{folder.full_name} · {names.get(folder.dataset_id, folder.dataset_id[:8])}"


def _begin(key: str, read: Callable[[str], Any]) -> None:
    """Lets a field of a new session begin with what the page's address says, if it says something that can be."""
    if key not in st.session_state and (text := st.query_params.get(key)):
        st.session_state[key] = read(text)


def _choice(
    title: str, key: str, options: list[str], named: Callable[[str], str] = str, more: bool = False
) -> str | None:
    _begin(key, lambda text: text if more or text in options else None)
    choice: str | None = st.selectbox(
        title,
        options,
        index=None,
        key=key,
        format_func=named,
        placeholder="Any" if options else "None yet",
        accept_new_options=more,
        persist_state="session",
    )
    return choice


def _day(title: str, key: str) -> None:
    _begin(key, day)
    first, last = date(1970, 1, 1), date(2100, 1, 1)
    st.date_input(title, None, min_value=first, max_value=last, key=key, format="YYYY-MM-DD", persist_state="session")


def _shown(filters: Filters) -> list[Row]:
    """The pages that were asked for so far; a new choice, or a reload, begins again with the first."""
    state = st.session_state
    if state.get("shown_for") != filters or not state.get("shown"):
        state["shown"], state["shown_for"] = list(answer("gallery", filters)), filters
    shown: list[Row] = state["shown"]
    return shown


def _card(row: Row, names: dict[str, str], address: dict[str, str]) -> dict[str, Any]:
    created = row["created_at"]
    return {
        "names": {**media.names(row["dataset_id"], row["id"], row["frame_id"]), **address},
        "title": media.title(row),
        "collection": names.get(row["dataset_id"], ""),
        "picture": picture(row["picture"]),
        "caption": row["caption"],
        "badge": _badge(row),
        "flag": row["moderation_status"] if row["moderation_status"] not in (None, "approved") else None,
        "created": created.strftime("%Y-%m-%d") if created else "",
        "moment": moment(created),
    }


def _badge(row: Row) -> str | None:
    if row["type"] == "video":
        return media.clock(row["duration"]) if row["duration"] is not None else "Video"
    if row["type"] == "pdf":
        return f"PDF, {row['frames']} pages" if (row["frames"] or 0) > 1 else "PDF"
    return None
