"""Charts of the library: growth, labels, time until the first caption, missing captions. Bars lead to the media."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import altair as alt
import streamlit as st

from coreviz_source.dashboard import gallery
from coreviz_source.dashboard.answers import answers, dataset_names, name_of, note, page
from coreviz_source.dashboard.filters import WAITED, choose, tags
from coreviz_source.dashboard.head import moment
from coreviz_source.dashboard.queries import LATENCIES, Row

#: Datasets that a chart tells apart by colour; the others are one.
SERIES = 6
_OTHERS = "others"

_rows = st.components.v2.component(
    "coreviz_bars",
    css=Path(__file__).with_name("bars.css").read_text(encoding="utf-8"),
    js=Path(__file__).with_name("bars.js").read_text(encoding="utf-8"),
    isolate_styles=False,
)


@page
def charts() -> None:
    """Draws the page."""
    dataset = _choose_dataset()
    found = answers("totals", "growth", "backlog", "latency", "top_labels", "top_tags", dataset=dataset)
    if not found["totals"]["media"]:
        note("There is no media yet.", "Load some with `coreviz-source sync`.")
        return
    _totals(found["totals"], found["backlog"])
    _growth_charts(found["growth"])
    left, right = st.columns(2, gap="large")
    of = {} if dataset is None else {"dataset": dataset}
    with left:
        _latency(found["latency"], of)
        _titled("Detected most often", "objects by label")
        _bars(
            "labels",
            [_bar(row["label"], row["objects"], label=row["label"], **of) for row in found["top_labels"][:15]],
            "Nothing was detected yet.",
        )
    with right:
        _backlog(found["backlog"])
        _titled("Tagged most often", "media by tag")
        tagged = found["top_tags"][:15]
        _bars(
            "tags",
            [_bar(name, row["media"], tag=name, **of) for name, row in zip(tags(tagged), tagged, strict=True)],
            "No media has a tag yet.",
        )


def here() -> st.Page:
    """The page in Streamlit's navigation."""
    return st.Page(charts, title="Charts", url_path="charts")


def _choose_dataset() -> str | None:
    """The id of the dataset whose charts are drawn; None for all of them."""
    names = dataset_names()
    if len(names) < 2:
        return None
    return st.selectbox(
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


def _totals(totals: Row, backlog: list[Row]) -> None:
    with st.container(horizontal=True, gap="medium"):
        for title, number in (
            ("Media", totals["media"]),
            ("Captions", totals["captions"]),
            ("Objects", totals["objects"]),
            ("Without a caption", sum(row["waiting"] for row in backlog)),
        ):
            st.metric(title, f"{number:,}", width=150)


def _latency(rows: list[Row], of: dict[str, str]) -> None:
    _titled("Time until the first caption", "media by how long after their creation it appeared")
    numbers = {row["place"]: row["media"] for row in rows}
    _bars(
        "latency",
        [
            _bar(WAITED[str(place)], media, caption=str(place), **of)
            for place in range(len(LATENCIES) + 1)
            if (media := numbers.get(place, 0))
        ],
        "No media item has a caption with a date yet.",
    )


def _backlog(rows: list[Row]) -> None:
    _titled("Without a caption", "media that wait for one, by dataset")
    _bars(
        "backlog",
        [
            _bar(
                name_of(row),
                row["waiting"],
                f"of {row['media']:,}" + (f", the oldest from {moment(row['oldest'])}" if row["oldest"] else ""),
                dataset=row["dataset_id"],
                caption="none",
            )
            for row in rows[:12]
            if row["waiting"]
        ],
        "None: every media item has a caption.",
    )


def _titled(title: str, about: str) -> None:
    st.html(
        f'<div style="margin-top: .6rem"><span style="font-weight: 600">{title}</span>'
        f'<span style="opacity: .62; font-size: .85rem"> · {about}</span></div>'
    )


def _bar(name: str, number: int, note: str = "", **opens: str) -> dict[str, Any]:
    """A bar that opens the gallery with these fields."""
    return {"name": name, "number": number, "note": note, "opens": opens}


def _bars(key: str, bars: list[dict[str, Any]], otherwise: str) -> None:
    if not bars:
        st.caption(otherwise)
        return
    clicked = _rows(data={"bars": bars}, key=key, on_opened_change=lambda: None)
    if clicked.opened:
        _open(clicked.opened)


def _open(fields: dict[str, str]) -> None:
    """Leads to the gallery with these fields."""
    choose(fields)
    st.switch_page(gallery.here(), query_params=fields)


def _growth_charts(rows: list[Row]) -> None:
    """How many media each day or week brought, and how many there were with it, by dataset."""
    dated = [row for row in rows if row["start"]]
    if not dated:
        _titled("Growth", "no media item has a date of creation")
        return
    span = "day" if dated[0]["days"] == 1 else "week"
    sizes: dict[str, int] = {}
    for row in rows:
        sizes[name_of(row)] = sizes.get(name_of(row), 0) + row["media"]
    shown = sorted(sizes, key=lambda name: (-sizes[name], name))
    if len(shown) > SERIES + 1:
        shown = [*shown[:SERIES], _OTHERS]
    left, right = st.columns(2, gap="large")
    with left:
        _titled(f"New media per {span}", "by the date of creation, UTC")
        picked = st.altair_chart(_rate(dated, shown), key="rate", on_select="rerun")
        for point in picked["selection"]["bar"]:
            _open({name: point[name] for name in ("dataset", "from", "to") if point.get(name)})
    with right:
        _titled("All media", f"{sum(sizes.values()):,} with a date of creation, added up")
        st.altair_chart(_sum(rows, shown))


def _stacks(rows: list[Row], shown: list[str]) -> list[Row]:
    """The bars of each day or week, one per dataset, on top of each other."""
    sums: dict[tuple[datetime, str], int] = {}
    found: dict[str, set[str]] = {}
    for row in rows:
        found.setdefault(name_of(row), set()).add(row["dataset_id"])
    # two datasets of one name are one colour, which leads to no dataset alone
    ids = {name: next(iter(of)) for name, of in found.items() if len(of) == 1}
    for row in rows:
        key = (row["start"], _series(row, shown))
        sums[key] = sums.get(key, 0) + row["media"]
    days = rows[0]["days"]
    stacks: dict[datetime, int] = {}
    for (start, _), media in sums.items():
        stacks[start] = stacks.get(start, 0) + media
    # one media item beside thousands can still be seen, and clicked
    least = max(stacks.values()) / 60
    tops: dict[datetime, float] = {}
    values = []
    for (start, name), media in sorted(sums.items(), key=lambda one: shown.index(one[0][1])):
        low = tops.get(start, 0)
        tops[start] = low + max(media, least)
        values.append(
            {
                "start": _day(start),
                "end": _day(start + timedelta(days=days)),
                "from": f"{start:%Y-%m-%d}",
                "to": f"{start + timedelta(days=days - 1):%Y-%m-%d}",
                "name": name,
                "dataset": ids.get(name),
                "low": low,
                "high": tops[start],
                "media": media,
            }
        )
    return values


def _rate(rows: list[Row], shown: list[str]) -> alt.Chart:
    days = rows[0]["days"]
    picked = alt.selection_point("bar", fields=["dataset", "from", "to"])
    charted: alt.Chart = (
        _by_dataset(_stacks(rows, shown), shown)
        .mark_rect(cursor="pointer", stroke="transparent", strokeWidth=1)
        .encode(
            x=_time_axis("start:T", days),
            x2="end:T",
            y=alt.Y("low:Q", title=None),
            y2="high:Q",
            tooltip=["from:N", *(["to:N"] if days > 1 else []), alt.Tooltip("name:N", title="dataset"),
                     alt.Tooltip("media:Q", format=",")],
        )
        .add_params(picked)
    )  # fmt: skip
    return charted


def _sum(rows: list[Row], shown: list[str]) -> alt.Chart:
    """The media up to each day or week, those before the first one too."""
    dated = [row for row in rows if row["start"]]
    days = dated[0]["days"]
    added: dict[tuple[datetime | None, str], int] = {}
    for row in rows:
        key = (row["start"], _series(row, shown))
        added[key] = added.get(key, 0) + row["media"]
    values = []
    for name in shown:
        sum_so_far = added.get((None, name), 0)
        first = min(row["start"] for row in dated)
        values.append({"at": _day(first), "name": name, "media": sum_so_far, "rank": shown.index(name)})
        for start in sorted({row["start"] for row in dated}):
            sum_so_far += added.get((start, name), 0)
            at = _day(start + timedelta(days=days))
            values.append({"at": at, "name": name, "media": sum_so_far, "rank": shown.index(name)})
    charted: alt.Chart = (
        _by_dataset(values, shown)
        .mark_area(opacity=1)
        .encode(
            x=_time_axis("at:T", days),
            y=alt.Y("media:Q", title=None, stack="zero"),
            order="rank:O",
            tooltip=[alt.Tooltip("at:T", title="until", format="%Y-%m-%d"), alt.Tooltip("name:N", title="dataset"),
                     alt.Tooltip("media:Q", format=",")],
        )
    )  # fmt: skip
    return charted


def _series(row: Row, shown: list[str]) -> str:
    return name_of(row) if name_of(row) in shown else _OTHERS


def _by_dataset(values: list[Row], shown: list[str]) -> alt.Chart:
    """A chart with a colour per dataset, and a legend in which names are not cut."""
    charted: alt.Chart = chart(values, 200 + 20 * -(-len(shown) // columns(shown))).encode(
        color=alt.Color("name:N", title=None, sort=shown, legend=legend(shown), scale=alt.Scale(domain=shown))
    )
    return charted


def _time_axis(field: str, days: int) -> alt.X:
    daily = days == 1
    axis = alt.Axis(
        grid=False,
        labelOverlap=True,
        format="%d %b" if daily else alt.Undefined,
        tickCount="day" if daily else alt.Undefined,
    )
    return alt.X(field, title=None, scale=alt.Scale(type="utc"), axis=axis)


def _day(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT00:00:00Z")


def chart(values: list[Row], height: int) -> alt.Chart:
    """A chart of these values, so many pixels high."""
    data = alt.Data(values=values)  # type: ignore[no-untyped-call]
    return alt.Chart(data, height=height)


def columns(names: list[str]) -> int:
    """How many names stand side by side in a legend that fits a narrow screen."""
    return 3 if max(map(len, names)) <= 10 else 2 if max(map(len, names)) <= 20 else 1


def legend(names: list[str]) -> alt.Legend:
    """A legend under the chart."""
    width = 300 // columns(names)
    return alt.Legend(
        orient="bottom", columns=columns(names), labelLimit=width, labelFontSize=12, symbolType="square",
        symbolSize=110, symbolStrokeWidth=0, rowPadding=4, offset=6, padding=0,
    )  # fmt: skip


def bar_size(bars: int) -> Any:
    """Few bars stay slim; many fill the width."""
    return 28 if bars < 24 else alt.Undefined
