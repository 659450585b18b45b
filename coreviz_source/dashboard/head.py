"""The head of every page: the way to the other pages, which warehouse this is, and how fresh it is."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from html import escape

import streamlit as st

from coreviz_source.dashboard import served
from coreviz_source.dashboard.answers import answer, name_of
from coreviz_source.dashboard.queries import Row
from coreviz_source.errors import CorevizError
from coreviz_source.report import BAD_OUTCOMES


def links(pages: Sequence[st.Page]) -> None:
    """Draws links to the pages; they fit a narrow screen, where Streamlit hides its own."""
    with st.container(horizontal=True, key="pages", gap="small"):
        for page in pages:
            st.page_link(page)


def state() -> None:
    """Draws the line that names the warehouse and shows how fresh it is."""
    parts = []
    # the page itself shows an error with its remedy
    with suppress(CorevizError):
        location = served().location
        parts.append(f'<span title="{escape(location.address)}">{escape(location.name)}</span>')
        parts.append(fresh(answer("freshness"), datetime.now(timezone.utc)))
    st.html(f'<p class="cv-state">{" · ".join(parts)}</p>')


def fresh(rows: Sequence[Row], now: datetime) -> str:
    """How fresh the datasets are, as HTML: the last run, the dataset that is a day behind it, and failures."""
    if not rows:
        return "no run yet"
    runs = sorted(rows, key=lambda row: utc(row["last_run"]))
    oldest, newest = utc(runs[0]["last_run"]), utc(runs[-1]["last_run"])
    found = f"last run {moment(newest)[:-7]} UTC ({ago(newest, now)})"
    if newest - oldest > timedelta(days=1):
        found += f", of {escape(name_of(runs[0]))} {ago(oldest, now)}"
    bad = [row for row in rows if row["outcome"] in BAD_OUTCOMES]
    if bad:
        named = escape(name_of(bad[0])) if len(bad) == 1 else f"{len(bad)} of {len(rows)} datasets"
        found += f' · <span class="cv-bad">{named}: {"last run" if len(bad) == 1 else "last runs"} '
        found += f"{bad[0]['outcome'] if len({row['outcome'] for row in bad}) == 1 else 'not complete'}</span>"
    return found


def utc(moment: datetime) -> datetime:
    """A moment with its zone; a database without zones stores UTC."""
    return moment.replace(tzinfo=timezone.utc) if moment.tzinfo is None else moment.astimezone(timezone.utc)


def moment(at: datetime | None) -> str:
    """A moment as it is written on all pages, with its zone."""
    return utc(at).strftime("%Y-%m-%d %H:%M:%S UTC") if at else ""


def ago(at: datetime | None, now: datetime) -> str:
    """How long ago, in the largest unit that says it well."""
    if at is None:
        return "never"
    seconds = max((now - utc(at)).total_seconds(), 0)
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit} ago"
    return f"{seconds:.0f} s ago"
