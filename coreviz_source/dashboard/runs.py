"""The runs: how fresh each dataset is, and what the last runs did."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import altair as alt
import streamlit as st

from coreviz_source.dashboard.answers import answer, name_of, note, page
from coreviz_source.dashboard.charts import bar_size, chart
from coreviz_source.dashboard.head import ago, moment, utc
from coreviz_source.dashboard.queries import Row

#: What the outcome of a run means, and whether it is as it should be.
OUTCOMES = {
    "complete": (
        "good",
        "The whole dataset was listed, and that was proven. Deleted media were removed.",
    ),
    "window": ("good", "Only the newest media were listed. The next complete run finds changes in older ones."),
    "slice": ("plain", "Only media created between date_from and date_to were listed."),
    "sample": ("plain", "The listing stopped after max_media. Nothing was deleted."),
    "unproven": ("bad", "The listing could not be proven complete. What it listed was loaded; nothing was deleted."),
    "failed": ("bad", "An error ended the run of this dataset."),
    "interrupted": ("bad", "The run did not finish loading. The next run continues."),
}
#: The numbers of a run: column, heading, meaning.
NUMBERS = (
    ("listed", "Listed", "Media items and folders that the API listed."),
    ("new", "New", "Not stored before."),
    ("changed", "Changed", "Stored with other content; their rows were replaced, unless the run failed."),
    ("gone", "Deleted", "Deleted in CoreViz; their rows were removed or marked."),
    ("unchanged", "Unchanged", "Stored with the same content; nothing was written."),
    ("requests", "Requests", "Requests sent to the API, with those sent again."),
    ("retries", "Retries", "Requests sent again after an error."),
)
#: What the charts show, each with a colour and a scale of its own.
_KINDS = (("new", "New", "#2b7a9b"), ("changed", "Changed", "#c9803a"), ("gone", "Deleted", "#b5524d"))

_tables = st.components.v2.component(
    "coreviz_runs",
    css=Path(__file__).with_name("runs.css").read_text(encoding="utf-8"),
    js=Path(__file__).with_name("runs.js").read_text(encoding="utf-8"),
    isolate_styles=False,
)


@page
def runs() -> None:
    """Draws the page."""
    fresh, history = answer("freshness"), answer("runs")
    if not history:
        note("No run has been recorded yet.", "Load with `coreviz-source sync`; each run leaves a line here.")
        return
    now = datetime.now(timezone.utc)
    st.markdown("**Freshness**")
    _table(
        "fresh",
        ["Dataset", "Outcome", "Last run", "Last complete run", "Runs", "Message"],
        [
            [
                name_of(row),
                _outcome(row),
                _time(row["last_run"], now),
                _time(row["last_complete"], now),
                f"{row['runs']:,}",
                row["message"] or "",
            ]
            for row in fresh
        ],
    )
    st.markdown("**What the last runs found**: media items and folders")
    drawn = [one for one in _KINDS if any(row[one[0]] for row in history)]
    for kind, title, colour in drawn:
        st.altair_chart(_changes(history, kind, title, colour, last=kind == drawn[-1][0]))
    if len(drawn) < len(_KINDS):
        st.caption(", ".join(f"{title}: none" for kind, title, _ in _KINDS if kind not in {one[0] for one in drawn}))
    st.markdown(f"**The last runs**: {len(history):,} rows of `_coreviz_runs`")
    _table(
        "history",
        ["Started", "Dataset", "Outcome", "Duration", *(title for _, title, _ in NUMBERS), "Message"],
        [
            [
                moment(row["started_at"]),
                name_of(row),
                _outcome(row),
                duration(row["started_at"], row["loaded_at"]),
                *(f"{row[name]:,}" if row[name] is not None else "" for name, _, _ in NUMBERS),
                row["message"] or "",
            ]
            for row in history
        ],
    )
    st.markdown("**What the words mean**")
    words = [[{"text": word, "kind": kind}, meaning] for word, (kind, meaning) in OUTCOMES.items()]
    words += [[title, meaning] for _, title, meaning in NUMBERS]
    words.append(["Duration", "From the beginning of the listing until the rows were loaded."])
    _table("words", [], words)


def here() -> st.Page:
    """The page in Streamlit's navigation."""
    return st.Page(runs, title="Runs", url_path="runs")


def duration(started: datetime, loaded: datetime | None) -> str:
    """How long a run took; empty where it is not known, or the clocks of server and machine differ by more."""
    if loaded is None or utc(loaded) < utc(started):
        return ""
    seconds = (utc(loaded) - utc(started)).total_seconds()
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{seconds:.0f} s"


def _table(key: str, heads: list[str], rows: list[list[Any]]) -> None:
    _tables(data={"heads": heads, "rows": rows}, key=key)


def _outcome(row: Row) -> dict[str, str]:
    kind, meaning = OUTCOMES.get(row["outcome"], ("plain", ""))
    return {"text": row["outcome"] or "", "kind": kind, "title": meaning}


def _time(at: datetime | None, now: datetime) -> dict[str, str]:
    return {"text": ago(at, now), "title": moment(at)}


def _changes(history: list[Row], kind: str, title: str, colour: str, last: bool) -> alt.Chart:
    began: dict[str, datetime] = {}
    sums: dict[str, int] = {}
    for row in history:
        # newest first: what stays is when the run's first dataset was begun
        began[row["run"]] = row["started_at"]
        sums[row["run"]] = sums.get(row["run"], 0) + (row[kind] or 0)
    # one media item beside thousands can still be seen
    least = max(sums.values()) / 25
    values = [
        {"run": f"{began[run]:%Y-%m-%d %H:%M:%S}", "media": media, "high": max(media, least) if media else 0}
        for run, media in sums.items()
    ]
    labels = alt.Axis(labelAngle=0, labelOverlap=True, labelSeparation=12, ticks=False, labels=last)
    charted: alt.Chart = (
        chart(values, 138 if last else 76)
        .properties(title=alt.Title(title, fontSize=12, fontWeight=400, anchor="start", offset=4))
        .mark_bar(size=bar_size(len(began)), color=colour)
        .encode(
            x=alt.X("run:O", title="Beginning of the run, UTC" if last else None, axis=labels),
            y=alt.Y("high:Q", title=None, axis=alt.Axis(tickCount=2, tickMinStep=1, format=",d", minExtent=52)),
            tooltip=[alt.Tooltip("run:O", title="Run (UTC)"), alt.Tooltip("media:Q", title=title, format=",")],
        )
    )
    return charted
