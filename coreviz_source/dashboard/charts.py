"""Charts of the library: growth, labels, time until the first caption, and missing captions."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import altair as alt
import streamlit as st

from coreviz_source.dashboard.answers import answers, dataset_names, name_of, note, page
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
            format_func=names.__getitem__,
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
    growth = found["growth"]
    _titled("Growth", f"media a {'day' if growth and growth[0]['days'] == 1 else 'week'}, by the date of creation")
    _show(_growth(growth), "No media has a date.")
    left, right = st.columns(2, gap="large")
    with left:
        _titled("Time until the first caption", "media by how long after their creation it appeared")
        _show(_latency(found["latency"]), "No media item has a caption with a date yet.")
        _titled("Detected most often", "objects by label")
        _show(_bars(found["top_labels"], "label", "objects"), "Nothing was detected yet.")
    with right:
        _titled("Without a caption", "media that wait for one, of all in the dataset")
        _show(_backlog(backlog), "None: every media item has a caption.")
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


def _show(charted: alt.Chart | alt.LayerChart | None, otherwise: str = "") -> None:
    if charted is None:
        st.caption(otherwise)
    else:
        st.altair_chart(charted)


def _growth(rows: list[Row]) -> alt.Chart | alt.LayerChart | None:
    if not rows:
        return None
    sizes: dict[str, int] = {}
    for row in rows:
        sizes[name_of(row)] = sizes.get(name_of(row), 0) + row["media"]
    shown = sorted(sizes, key=lambda name: -sizes[name])
    if len(shown) > SERIES + 1:
        shown = [*shown[:SERIES], _OTHERS]
    sums: dict[tuple[datetime, str], int] = {}
    for row in rows:
        key = (row["start"], name_of(row) if name_of(row) in shown else _OTHERS)
        sums[key] = sums.get(key, 0) + row["media"]
    days = rows[0]["days"]
    tops: dict[datetime, int] = {}
    values = []
    for (start, name), media in sorted(sums.items(), key=lambda one: shown.index(one[0][1])):
        low = tops.get(start, 0)
        tops[start] = low + media
        span = {"start": _day(start), "end": _day(start + timedelta(days=days)), "from": start.strftime("%Y-%m-%d")}
        values.append({**span, "dataset": name, "low": low, "high": low + media, "media": media})
    daily = days == 1
    axis = alt.Axis(
        grid=False,
        labelOverlap=True,
        format="%d %b" if daily else alt.Undefined,
        tickCount="day" if daily else alt.Undefined,
    )
    charted: alt.Chart = chart(values, 200 + 18 * -(-len(shown) // 3)).mark_rect().encode(
        x=alt.X("start:T", title=None, scale=alt.Scale(type="utc"), axis=axis),
        x2="end:T",
        y=alt.Y("low:Q", title=None),
        y2="high:Q",
        color=alt.Color("dataset:N", title=None, sort=shown, legend=legend(len(shown))),
        tooltip=[alt.Tooltip("from:N"), "dataset:N", alt.Tooltip("media:Q", format=",")],
    )  # fmt: skip
    return charted


def _day(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT00:00:00Z")


def chart(values: list[Row], height: int) -> alt.Chart:
    """A chart of these values, so many pixels high."""
    data = alt.Data(values=values)  # type: ignore[no-untyped-call]
    return alt.Chart(data, height=height)


def legend(entries: int) -> alt.Legend:
    """A legend under the chart, as wide as a narrow screen."""
    return alt.Legend(orient="bottom", columns=min(entries, 3), labelLimit=92, offset=6, padding=0)


def bar_size(bars: int) -> Any:
    """Few bars stay slim; many fill the width."""
    return 28 if bars < 24 else alt.Undefined


def _latency(rows: list[Row]) -> alt.Chart | alt.LayerChart | None:
    if not rows:
        return None
    media = {row["place"]: row["media"] for row in rows}
    ends = ["10 s", "1 min", "5 min", "30 min", "2 h", "1 d", "7 d"]
    spans = [f"< {end}" for end in ends] + [f"≥ {ends[-1]}"]
    values = [{"within": spans[place], "media": media.get(place, 0)} for place in range(len(LATENCIES) + 1)]
    charted: alt.Chart = chart(values, 210).mark_bar().encode(
        x=alt.X("within:N", sort=spans, title=None, axis=alt.Axis(labelAngle=0, ticks=False)),
        y=alt.Y("media:Q", title=None),
        tooltip=["within:N", alt.Tooltip("media:Q", format=",")],
    )  # fmt: skip
    return charted


def _backlog(rows: list[Row]) -> alt.Chart | alt.LayerChart | None:
    values = [
        {"dataset": name_of(row), "media": row["waiting"], "of": row["media"], "oldest": str(row["oldest"] or "")[:10]}
        for row in rows[:12]
        if row["waiting"]
    ]
    if not values:
        return None
    return _horizontal(values, "dataset", "media", [alt.Tooltip("of:Q", title="of all", format=","), "oldest:N"])


def _bars(rows: list[Row], name: str, number: str) -> alt.Chart | alt.LayerChart | None:
    values = [{name: row[name], number: row[number]} for row in rows[:15]]
    return _horizontal(values, name, number, []) if values else None


def _horizontal(values: list[Row], name: str, number: str, more: list[Any]) -> alt.LayerChart:
    # room for the number behind the longest bar
    most = max(row[number] for row in values) * 1.12 or 1
    base = chart(values, 24 * len(values) + 30).encode(
        y=alt.Y(f"{name}:N", sort=None, title=None, axis=alt.Axis(labelLimit=170, ticks=False, domain=False)),
        x=alt.X(f"{number}:Q", title=None, axis=None, scale=alt.Scale(domain=[0, most])),
        tooltip=[f"{name}:N", alt.Tooltip(f"{number}:Q", format=","), *more],
    )
    numbers = base.mark_text(align="left", dx=5, color="#808a90").encode(text=alt.Text(f"{number}:Q", format=","))
    layered: alt.LayerChart = base.mark_bar(size=15) + numbers
    return layered
