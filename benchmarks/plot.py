"""Draws time and memory of first loads into a folder: `plot.py results.json FOLDER`.

`benchmark.png` has time and peak memory against the size of the library, `latency.png` time against the latency of the
API.
"""

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


def main(results: str, folder: str) -> None:
    told = json.loads(Path(results).read_text())
    pyplot.rcParams |= {
        "font.size": 11,
        "font.family": "DejaVu Sans",
        "axes.spines.top": False,
        "axes.spines.right": False,
    }
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 4.6), facecolor="white")
    _draw_sizes(left, told, "seconds", "seconds (log scale)")
    _make_logarithmic(left)
    _draw_sizes(right, told, "memory", "MB")
    right.set_ylim(bottom=0)
    left.set_title("Time of a first load into DuckDB", loc="left", fontsize=12, fontweight="bold")
    right.set_title("Peak memory of its processes", loc="left", fontsize=12, fontweight="bold")
    _save(figure, left, Path(folder, "benchmark.png"))
    figure, axes = pyplot.subplots(figsize=(7.5, 4.6), facecolor="white")
    _draw_latency(axes, told["latency"])
    _make_logarithmic(axes)
    _save(figure, axes, Path(folder, "latency.png"))


def _make_logarithmic(axes: Any) -> None:
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))


def _save(figure: Any, axes: Any, file: Path) -> None:
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=len(labels), frameon=False, handlelength=1.6)
    figure.tight_layout(rect=(0, 0.07, 1, 1), w_pad=3)
    figure.savefig(file, dpi=144, facecolor="white")


def _draw_latency(axes: Any, latency: dict[str, Any]) -> None:
    for name, named, colour, marker in SHOWN:
        points = [(float(wait) * 1000, each[name]) for wait, each in latency["seconds"].items() if name in each]
        _line(axes, name, points, colour, marker, named)
    axes.set_xticks([float(wait) * 1000 for wait in latency["seconds"]])
    axes.set_xlabel("milliseconds that the API takes for each response")
    axes.set_ylabel("seconds (log scale)")
    axes.set_title(f"Time of a first load, {latency['size']:,} media", loc="left", fontsize=12, fontweight="bold")
    _grid(axes)


def _line(axes: Any, name: str, points: list[tuple[float, float]], colour: str, marker: str, label: str) -> None:
    if points:
        wide = 2.6 if name == "first load" else 1.6
        axes.plot(*zip(*points, strict=True), color=colour, marker=marker, label=label, linewidth=wide, markersize=6)


def _grid(axes: Any) -> None:
    axes.grid(True, which="major", color="#e2e8f0", linewidth=0.8)
    axes.set_axisbelow(True)


def _draw_sizes(axes: Any, told: dict[str, Any], what: str, label: str) -> None:
    for name, named, colour, marker in SHOWN:
        points = [
            (int(size), programs[name][what]["median"])
            for size, programs in told["programs"].items()
            if name in programs
        ]
        _line(axes, name, points, colour, marker, named)
    axes.set_xscale("log")
    axes.set_xticks([int(size) for size in told["programs"]])
    axes.xaxis.set_major_formatter(FuncFormatter(lambda size, _: f"{size / 1000:g}k"))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("media in the library")
    axes.set_ylabel(label)
    _grid(axes)


if __name__ == "__main__":
    main(*sys.argv[1:])
