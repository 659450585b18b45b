"""The gallery: pictures with their captions, searched and filtered, newest first."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import streamlit as st

from coreviz_source.dashboard import media
from coreviz_source.dashboard.answers import answer, dataset_names, note, page, picture
from coreviz_source.dashboard.folders import Folder, folder_tree
from coreviz_source.dashboard.queries import Filters, Place, Row
from coreviz_source.warehouse.search import MOST_TERMS, parse

#: The fields' names, also in the page's address.
FIELDS = ("q", "dataset", "folder", "type", "tag", "label", "moderation", "from", "to")
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
    filters = _chosen()
    names = dataset_names()
    shown = _shown(filters)
    matches = answer("count", filters)
    if not shown:
        if filters == Filters():
            note("There are no media items yet.", "Load some with `coreviz-source sync`.")
        else:
            note("Nothing matches.", "Take away a word or a filter; every word must occur in the same caption.")
        return
    st.caption(f"{matches:,} media items" + (f", the newest {len(shown):,} shown" if len(shown) < matches else ""))
    words = [term.text for term in filters.terms if not term.excluded]
    clicked = _cards(
        data={"cards": [_card(row, names) for row in shown], "words": words},
        key="cards",
        on_opened_change=lambda: None,
    )
    if clicked.opened:
        st.switch_page(media.here(), query_params=clicked.opened)
    if len(shown) < min(matches, MOST) and st.button("More", width="stretch"):
        shown.extend(answer("gallery", filters, Place(shown[-1]["created_at"], shown[-1]["id"])))
        st.rerun()


def here() -> st.Page:
    """The page in Streamlit's navigation; made again for every run, because Streamlit keeps what it runs in it."""
    return st.Page(gallery, title="Gallery", default=True)


def _chosen() -> Filters:
    """The filters as the fields have them; what is chosen also stands in the page's address, to be kept or sent."""
    choices, names = answer("choices"), dataset_names()
    tags = {f"{row['tag_group']}: {row['tag']}": (row["tag_group"], row["tag"]) for row in choices["tag"]}
    _begin("q", str)
    text = st.text_input(
        "Search",
        key="q",
        placeholder="Search captions, page texts and file names",
        label_visibility="collapsed",
        icon=":material/search:",
        persist_state="session",
    )
    with st.sidebar:
        dataset = _choice("Dataset", "dataset", list(names), names.__getitem__)
        folders = _folders(dataset, names)
        folder = _choice("Folder", "folder", list(folders), lambda key: _folder_name(folders[key], dataset, names))
        kind = _choice("Type", "type", [row["value"] for row in choices["kind"] if row["value"]])
        tag = _choice("Tag", "tag", list(tags))
        label = _choice("Detected", "label", [row["label"] for row in choices["label"]], more=True)
        moderation = _choice("Moderation", "moderation", [row["value"] for row in choices["moderation"]])
        since = _day("From", "from")
        until = _day("To", "to")
        chosen = {field: str(value) for field in FIELDS if (value := st.session_state[field])}
        if chosen:
            st.button("Clear all", on_click=_clear, width="stretch")
    if st.query_params.to_dict() != chosen:
        st.query_params.from_dict(chosen)
    return Filters(
        terms=parse(text or "")[:MOST_TERMS],
        dataset=dataset,
        folder_dataset=folders[folder].dataset_id if folder else None,
        folders=folders[folder].ids if folder else (),
        kind=kind,
        moderation=moderation,
        tag=tags.get(tag or ""),
        label=label,
        since=since,
        until=until + timedelta(days=1) if until and until < date.max else None,
    )


def _folders(dataset: str | None, names: dict[str, str]) -> dict[str, Folder]:
    """The folders that can be chosen, those of a dataset together; a choice that is none of them is taken back."""
    tree = folder_tree(answer("folders"))
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
        with suppress(ValueError):
            st.session_state[key] = read(text)


def _choice(
    title: str, key: str, options: list[str], named: Callable[[str], str] = str, more: bool = False
) -> str | None:
    _begin(key, lambda text: text if more or text in options else None)
    chosen: str | None = st.selectbox(
        title,
        options,
        index=None,
        key=key,
        format_func=named,
        placeholder="Any" if options else "None yet",
        accept_new_options=more,
        persist_state="session",
    )
    return chosen


def _day(title: str, key: str) -> date | None:
    _begin(key, date.fromisoformat)
    first, last = date(1970, 1, 1), date(2100, 1, 1)
    chosen: date | None = st.date_input(
        title, None, min_value=first, max_value=last, key=key, format="YYYY-MM-DD", persist_state="session"
    )
    return chosen


def _clear() -> None:
    st.session_state.update({field: "" if field == "q" else None for field in FIELDS})


def _shown(filters: Filters) -> list[Row]:
    """The pages that were asked for so far; a new choice, or a reload, begins again with the first."""
    state = st.session_state
    if state.get("shown_for") != filters or not state.get("shown"):
        state["shown"], state["shown_for"] = list(answer("gallery", filters)), filters
    shown: list[Row] = state["shown"]
    return shown


def _card(row: Row, names: dict[str, str]) -> dict[str, Any]:
    created = row["created_at"]
    return {
        "names": media.names(row["dataset_id"], row["id"], row["frame_id"]),
        "title": media.title(row),
        "collection": names.get(row["dataset_id"], ""),
        "picture": picture(row["picture"]),
        "caption": row["caption"],
        "badge": _badge(row),
        "flag": row["moderation_status"] if row["moderation_status"] not in (None, "approved") else None,
        "created": created.strftime("%Y-%m-%d") if created else "",
    }


def _badge(row: Row) -> str | None:
    if row["type"] == "video":
        return media.clock(row["duration"]) if row["duration"] is not None else "Video"
    if row["type"] == "pdf":
        return f"PDF, {row['frames']} pages" if (row["frames"] or 0) > 1 else "PDF"
    return None
