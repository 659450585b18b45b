"""The runs: how fresh each dataset is, and what the last runs did."""

from __future__ import annotations

from datetime import datetime, timezone

import altair as alt
import streamlit as st

from coreviz_source.dashboard.answers import answer, name_of, note, page
from coreviz_source.dashboard.charts import bar_size, chart, legend
from coreviz_source.dashboard.queries import Row

_NUMBERS = ("listed", "new", "changed", "gone", "unchanged", "requests", "retries")


@page
def runs() -> None:
    """Draws the page."""
    fresh, history = answer("freshness"), answer("runs")
    if not history:
        note("No run has been recorded yet.", "Load with `coreviz-source sync`; each run leaves a line here.")
        return
    now = datetime.now(timezone.utc)
    st.markdown("**Freshness**")
    st.dataframe(
        [
            {
                "dataset": name_of(row),
                "last run": _ago(row["last_run"], now),
                "last complete listing": _ago(row["last_complete"], now),
                "outcome": row["outcome"],
                "runs": row["runs"],
                "message": row["message"] or "",
            }
            for row in fresh
        ],
        hide_index=True,
    )
    st.markdown("**What the last runs changed**")
    st.altair_chart(_changes(history))
    st.markdown("**The last runs**")
    st.dataframe(
        [
            {
                "started": row["started_at"],
                "dataset": name_of(row),
                "outcome": row["outcome"],
                **{name: row[name] for name in _NUMBERS},
                "message": row["message"] or "",
            }
            for row in history
        ],
        hide_index=True,
        column_config={"started": st.column_config.DatetimeColumn(format="YYYY-MM-DD HH:mm:ss", timezone="UTC")},
    )


def here() -> st.Page:
    """The page in Streamlit's navigation."""
    return st.Page(runs, title="Runs", url_path="runs")


def _ago(moment: datetime | None, now: datetime) -> str:
    """How long ago, in the largest unit that says it well."""
    if moment is None:
        return "never"
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    seconds = max((now - moment).total_seconds(), 0)
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit} ago"
    return f"{seconds:.0f} s ago"


def _changes(history: list[Row]) -> alt.Chart:
    kinds = ["new", "changed", "gone"]
    began: dict[str, datetime] = {}
    sums: dict[tuple[str, str], int] = {}
    for row in history:
        # newest first: what stays is when the run's first dataset was begun
        began[row["run"]] = row["started_at"]
        for kind in kinds:
            sums[row["run"], kind] = sums.get((row["run"], kind), 0) + (row[kind] or 0)
    values = [
        {"run": began[run].strftime("%Y-%m-%d %H:%M:%S"), "what": what, "media": media}
        for (run, what), media in sums.items()
    ]
    bars = chart(values, 210).mark_bar(size=bar_size(len(began)))
    charted: alt.Chart = bars.encode(
        x=alt.X("run:O", title=None, axis=alt.Axis(labelAngle=0, labelOverlap=True, labelSeparation=12, ticks=False)),
        y=alt.Y("media:Q", title=None),
        color=alt.Color("what:N", title=None, sort=kinds, legend=legend(len(kinds))),
        tooltip=[alt.Tooltip("run:O", title="Run"), "what:N", alt.Tooltip("media:Q", format=",")],
    )  # fmt: skip
    return charted
