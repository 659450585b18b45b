"""Results of queries for the pages: cached for some seconds; an error becomes a note with the remedy."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from functools import wraps
from html import escape
from typing import Any

import streamlit as st

from coreviz_source.dashboard import queries, served
from coreviz_source.dashboard.warehouse import NothingLoadedError
from coreviz_source.errors import BusyError, CorevizError

#: Seconds that a result is cached, for all visitors of the page.
KEPT = 5


@st.cache_data(ttl=KEPT, max_entries=200, show_spinner=False)
def answer(question: str, *arguments: Any) -> Any:
    """The result of a function of `queries`, over a connection of its own."""
    with served().opened() as reader:
        return getattr(queries, question)(reader, *arguments)


@st.cache_data(ttl=KEPT, max_entries=50, show_spinner=False)
def answers(*questions: str, dataset: str | None = None) -> dict[str, Any]:
    """The results of several functions of `queries` for one dataset, or for all, over one connection."""
    with served().opened() as reader:
        return {question: getattr(queries, question)(reader, dataset) for question in questions}


def picture(address: str | None) -> str | None:
    """An address that may stand in a page, None for any other: only http and https, never script or data."""
    if not address or not re.match(r"https?://[^\s/]", address, re.IGNORECASE):
        return None
    begins = served().address
    if begins and address.startswith(begins[0]):
        return begins[1] + address[len(begins[0]) :]
    return address


def titled(title: str) -> None:
    """Names the page in the browser's tab."""
    st.set_page_config(page_title=f"{title} · CoreViz")


def page(draw: Callable[[], None]) -> Callable[[], None]:
    """A page with the function's name as its title, or the remedy if the query failed."""

    @wraps(draw)
    def drawn() -> None:
        titled(draw.__name__.capitalize())
        try:
            draw()
        except NothingLoadedError as error:
            note(error.message, error.remedy)
        except BusyError as error:
            note(error.message, f"{error.remedy} This page tries again by itself.")
            time.sleep(2)
            st.rerun()
        except CorevizError as error:
            note("The warehouse cannot be read.", str(error))

    return drawn


def note(what: str, remedy: str) -> None:
    """Shows a note in place of content, and what to do."""
    advice = re.sub("`(.+?)`", r"<code>\1</code>", escape(remedy))
    st.html(
        f'<div style="padding: 3.5rem 1rem; text-align: center; max-width: 44rem; margin: auto;">'
        f'<div style="font-size: 1.15rem; font-weight: 600; margin-bottom: .4rem;">{escape(what)}</div>'
        f'<div style="opacity: .72;">{advice}</div></div>'
    )


def dataset_names() -> dict[str, str]:
    """The datasets' names by id; where there is none, the beginning of the id."""
    return {row["dataset_id"]: name_of(row) for row in answer("datasets")}


def name_of(row: dict[str, Any]) -> str:
    """The name of the dataset that a row belongs to."""
    return str(row.get("dataset_name") or row.get("name") or row["dataset_id"][:8])
