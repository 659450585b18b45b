"""Charts of the library: how it grows, what it shows, how long captions take and how many are missing."""

from __future__ import annotations

from typing import Any

import altair as alt
import streamlit as st

from coreviz_source.dashboard.answers import answer, answers, dataset_names, name_of, note, page
from coreviz_source.dashboard.queries import LATENCIES, Row

#: Datasets that a chart tells apart by colour; the others are one.
SERIES = 6
_OTHERS = "others"


@page
def charts() -> None:
    """Draws the page."""
    names = dataset_names()
    dataset = None
    if len(names) > 1:
        dataset = st.selectbox(
            "Dataset",
            list(names),
            index=None,
            key="of",
            format_func=names.get,
            placeholder="All datasets",
            label_visibility="collapsed",
            bind="query-params",
            width=320,
        )
    found = answers("totals", "growth", "backlog", "latency", "top_labels", "top_tags", dataset=dataset)
    totals, backlog = found["totals"], found["backlog"]
    if not totals["media"]:
        note("There is no media yet.", "Load some with `coreviz-source sync`.")
        return
    waiting = sum(row["waiting"] for row in backlog)
    with st.container(horizontal=True, gap="medium"):
        for title, number in (
            ("Media", totals["media"]),
            ("Captions", totals["captions"]),
            ("Objects", totals["objects"]),
            ("Without a caption", waiting),
        ):
            st.metric(title, f"{number:,}", width=150)
    _titled("Media a week", "by the date of their creation")
    _show(_growth(found["growth"]))
    left, right = st.columns(2, gap="large")
    with left:
        _titled("Time until the first caption", "media by how long after their creation it appeared")
        _show(_latency(found["latency"]), "No media has a caption with a date yet.")
        _titled("Detected most often", "objects by label")
        _show(_bars(found["top_labels"], "label", "objects"), "Nothing was detected yet.")
    with right:
        _titled("Without a caption", "media that wait for one, of all in the dataset")
        _show(_backlog(backlog))
        _titled("Tagged most often", "media by tag")
        tags = [{"tag": f"{row['tag_group']}: {row['tag']}", "media": row["media"]} for row in found["top_tags"]]
        _show(_bars(tags, "tag", "media"), "No media has a tag yet.")


def here() -> st.Page:
    """The page in Streamlit's navigation."""
    return st.Page(charts, title="Charts", url_path="charts")


def _titled(title: str, about: str) -> None:
    st.html(
        f'<div style="margin-top: .6rem"><span style="font-weight: 600">{title}</span>'
        f'<span style="opacity: .62; font-size: .85rem"> · {about}</span></div>'
    )


def _show(chart: alt.Chart | None, otherwise: str = "") -> None:
    if chart is None:
        st.caption(otherwise)
    else:
        st.altair_chart(chart)


def _growth(rows: list[Row]) -> alt.Chart | None:
    if not rows:
        return None
    sizes: dict[str, int] = {}
    for row in rows:
        sizes[name_of(row)] = sizes.get(name_of(row), 0) + row["media"]
    shown = sorted(sizes, key=lambda name: -sizes[name])
    if len(shown) > SERIES + 1:
        shown = [*shown[:SERIES], _OTHERS]
    sums: dict[tuple[str, str], int] = {}
    for row in rows:
        key = (row["week"].strftime("%Y-%m-%d"), name_of(row) if name_of(row) in shown else _OTHERS)
        sums[key] = sums.get(key, 0) + row["media"]
    values = [{"week": week, "dataset": name, "media": media} for (week, name), media in sums.items()]
    few = len({week for week, _ in sums}) < 30
    week = alt.X("week:O", title=None, axis=alt.Axis(labelAngle=0, labelOverlap=True, labelSeparation=12, ticks=False))
    return _chart(values, 230).mark_bar(size=None if few else alt.Undefined).encode(
        x=week,
        y=alt.Y("media:Q", title=None),
        color=alt.Color("dataset:N", title=None, sort=shown, legend=alt.Legend(orient="top", labelLimit=180)),
        order=alt.Order("dataset:N"),
        tooltip=[alt.Tooltip("week:O", title="Week of"), "dataset:N", alt.Tooltip("media:Q", format=",")],
    )  # fmt: skip


def _latency(rows: list[Row]) -> alt.Chart | None:
    if not rows:
        return None
    media = {row["place"]: row["media"] for row in rows}
    ends = ["10 s", "1 min", "5 min", "30 min", "2 h", "1 d", "7 d"]
    spans = [f"< {end}" for end in ends] + [f"≥ {ends[-1]}"]
    values = [{"within": spans[place], "media": media.get(place, 0)} for place in range(len(LATENCIES) + 1)]
    return _chart(values, 210).mark_bar().encode(
        x=alt.X("within:N", sort=spans, title=None, axis=alt.Axis(labelAngle=0, ticks=False)),
        y=alt.Y("media:Q", title=None),
        tooltip=["within:N", alt.Tooltip("media:Q", format=",")],
    )  # fmt: skip


def _backlog(rows: list[Row]) -> alt.Chart | None:
    values = [
        {"dataset": name_of(row), "media": row["waiting"], "of": row["media"], "oldest": str(row["oldest"] or "")[:10]}
        for row in rows[:12]
    ]
    return _horizontal(
        values, "dataset", "media", [alt.Tooltip("of:Q", title="of all", format=","), "oldest:N"], height=210
    )


def _bars(rows: list[Row], name: str, number: str) -> alt.Chart | None:
    values = [{name: row[name], number: row[number]} for row in rows[:15]]
    return _horizontal(values, name, number, []) if values else None


def _horizontal(values: list[Row], name: str, number: str, more: list[Any], height: int = 0) -> alt.Chart:
    base = _chart(values, height or max(80, 24 * len(values))).encode(
        y=alt.Y(f"{name}:N", sort=None, title=None, axis=alt.Axis(labelLimit=170, ticks=False, domain=False)),
        x=alt.X(f"{number}:Q", title=None, axis=None),
        tooltip=[f"{name}:N", alt.Tooltip(f"{number}:Q", format=","), *more],
    )
    numbers = base.mark_text(align="left", dx=5).encode(text=alt.Text(f"{number}:Q", format=","))
    layered: alt.Chart = base.mark_bar() + numbers
    return layered


def _chart(values: list[Row], height: int) -> alt.Chart:
    return alt.Chart(alt.Data(values=values), height=height)
