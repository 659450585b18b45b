"""Draws time and peak memory of a first load against the size of the library: `plot.py results.json PICTURE`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

#: Name, label, colour, marker.
SHOWN = (
    ("first load", "this source", "#c2410c", "o"),
    ("floor", "by hand, no dlt", "#334155", "s"),
    ("rest_api", "dlt rest_api", "#2563eb", "^"),
    ("Singer", "Singer, target-duckdb", "#15803d", "v"),
    ("Airbyte", "PyAirbyte manifest", "#7c3aed", "D"),
)


def main(results: str, picture: str) -> None:
    told = json.loads(Path(results).read_text())
    pyplot.rcParams |= {
        "font.size": 11,
        "font.family": "DejaVu Sans",
        "axes.spines.top": False,
        "axes.spines.right": False,
    }
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 4.6), facecolor="white")
    _draw(left, told, "seconds", "seconds (log scale)")
    left.set_yscale("log")
    left.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    left.yaxis.set_minor_formatter(NullFormatter())
    _draw(right, told, "memory", "MB")
    right.set_ylim(bottom=0)
    for axes in (left, right):
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    left.set_title("Time of a first load into DuckDB", loc="left", fontsize=12, fontweight="bold")
    right.set_title("Peak memory of its processes", loc="left", fontsize=12, fontweight="bold")
    handles, labels = left.get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=len(labels), frameon=False, handlelength=1.6)
    figure.tight_layout(rect=(0, 0.07, 1, 1), w_pad=3)
    figure.savefig(picture, dpi=144, facecolor="white")


def _draw(axes: Any, told: dict[str, Any], what: str, label: str) -> None:
    for name, named, colour, marker in SHOWN:
        points = [
            (int(size), programs[name][what]["median"])
            for size, programs in told["programs"].items()
            if name in programs
        ]
        if points:
            wide = 2.6 if name == "first load" else 1.6
            axes.plot(
                *zip(*points, strict=True), color=colour, marker=marker, label=named, linewidth=wide, markersize=6
            )
    axes.set_xscale("log")
    axes.set_xticks([int(size) for size in told["programs"]])
    axes.xaxis.set_major_formatter(FuncFormatter(lambda size, _: f"{size / 1000:g}k"))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("media in the library")
    axes.set_ylabel(label)
    axes.grid(True, which="major", color="#e2e8f0", linewidth=0.8)
    axes.set_axisbelow(True)


if __name__ == "__main__":
    main(*sys.argv[1:])
