"""The progress of `sync`: a table that is drawn again and again on a terminal, plain lines in a log."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import datetime, timezone
from types import TracebackType
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from coreviz_source.report import DatasetReport

#: Seconds between two lines of a log while nothing else happens.
EVERY = 30.0

_SAID = {"listed": "waiting"}


class Clocked:
    """The datasets of a run, with the time for which each has been listed."""

    def __init__(self) -> None:
        self.reports: dict[str, DatasetReport] = {}
        self._began: dict[str, float] = {}
        self._spent: dict[str, float] = {}

    def note(self, report: DatasetReport) -> None:
        """Takes the new state of a dataset."""
        now = time.monotonic()
        began = self._began.setdefault(report.dataset_id, now)
        if report.phase == "listing":
            self._spent[report.dataset_id] = now - began
        self.reports[report.dataset_id] = report

    def rate(self, report: DatasetReport) -> float:
        """Media and folders listed per second."""
        spent = self._spent.get(report.dataset_id, 0.0)
        return report.listed / spent if spent > 0.5 else 0.0

    def left(self, report: DatasetReport) -> float | None:
        """Seconds that the listing still needs; None if it is not known."""
        total, rate = goal(report), self.rate(report)
        return (total - report.listed) / rate if total and rate and report.phase == "listing" else None


def goal(report: DatasetReport) -> int | None:
    """How many items will be listed; None if it is not the whole dataset."""
    return report.total if report.mode == "complete" and (report.total or 0) >= report.listed else None


def failed(report: DatasetReport) -> bool:
    """Whether the dataset has failed, as opposed to being unfinished."""
    return report.outcome == "failed" and report.exit_code != 0


def ended(report: DatasetReport) -> bool:
    """Whether nothing more will happen with the dataset."""
    return failed(report) or report.phase == "done"


class Screen:
    """A table on a terminal with one row per dataset. It stays when the run is over.

    Args:
        console: The terminal.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._clocked = Clocked()
        self._spinner = Spinner("dots")
        self._over = False
        self._live = Live(get_renderable=self._table, console=console, refresh_per_second=8)

    @property
    def reports(self) -> dict[str, DatasetReport]:
        """The last state of each dataset."""
        return self._clocked.reports

    def __enter__(self) -> Screen:
        self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._over = True
        self._live.stop()

    def __call__(self, report: DatasetReport) -> None:
        """Takes the new state of a dataset, which is drawn soon."""
        self._clocked.note(report)

    def tell(self, text: str) -> None:
        """Prints a message above the table."""
        self._console.print(text, style="yellow", markup=False, emoji=False, highlight=False)

    def _table(self) -> Table | Text:
        reports = list(self.reports.values())
        if not reports:
            return Text("" if self._over else "Asking which datasets there are …", style="dim")
        table = Table(box=None, padding=(0, 2 if self._console.width >= 100 else 1, 0, 0), header_style="dim")
        table.add_column("", width=1)
        # the only column that gets narrower with the terminal
        table.add_column("dataset", min_width=8)
        table.add_column("", no_wrap=True)
        for name in ("listed", "new", "changed", "deleted", "rows", "per second", "left"):
            table.add_column(name if self._console.width >= 100 else name.replace("per second", "/s"), justify="right")
        # at the end, all rows are drawn above the prompt
        hidden = 0 if self._over else max(0, len(reports) - max(1, self._console.height - 4))
        if hidden:
            done = sum(ended(report) for report in reports[:hidden])
            table.add_row("", Text(f"{done} done, {hidden - done} waiting", style="dim", no_wrap=True))
        for report in reports[hidden:]:
            table.add_row(*self._row(report))
        return table

    def _row(self, report: DatasetReport) -> tuple[Spinner | Text | str, ...]:
        mark: Spinner | Text = self._spinner
        if failed(report):
            mark = Text("✗", style="red")
        elif report.phase == "done":
            mark = Text("✓", style="green") if report.exit_code == 0 else Text("!", style="yellow")
        elif report.phase == "listed" or self._over:
            mark = Text("·")
        total, left, rate = goal(report), self._clocked.left(report), self._clocked.rate(report)
        return (
            mark,
            Text(report.name or report.dataset_id, no_wrap=True, overflow="ellipsis"),
            "failed" if failed(report) else _SAID.get(report.phase, report.phase),
            f"{report.listed:,}" + (f"/{total:,}" if total else ""),
            f"{report.new:,}",
            f"{report.changed:,}",
            f"{report.gone:,}",
            f"{sum(report.rows.values()):,}",
            f"{rate:,.0f}" if rate else "",
            "" if left is None else f"{left // 60:.0f}:{left % 60:02.0f}",
        )


class Log:
    """One line when a dataset begins, one when it ends, and one every half minute in between.

    Args:
        end: Called with a dataset that has ended.
    """

    def __init__(self, end: Callable[[DatasetReport], None]) -> None:
        self._clocked = Clocked()
        self._end = end
        self._ended: set[str] = set()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._tick, daemon=True, name="coreviz-progress")

    @property
    def reports(self) -> dict[str, DatasetReport]:
        """The last state of each dataset."""
        return self._clocked.reports

    def __enter__(self) -> Log:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stopped.set()
        self._thread.join()

    def __call__(self, report: DatasetReport) -> None:
        """Takes the new state of a dataset."""
        if report.dataset_id not in self.reports:
            _say(f"{_named(report)}: begins")
        self._clocked.note(report)
        if ended(report) and report.dataset_id not in self._ended:
            self._ended.add(report.dataset_id)
            self._end(report)

    def tell(self, text: str) -> None:
        """Prints a message on a line of its own."""
        _say(text)

    def _tick(self) -> None:
        while not self._stopped.wait(EVERY):
            running = [r for r in list(self.reports.values()) if not ended(r)]
            waiting = [r for r in running if r.phase == "listed"]
            for report in running:
                if report.phase != "listed":
                    _say(f"{_named(report)}: {self._progress(report)}")
            if waiting:
                _say(f"{len(waiting)} more datasets are listed and wait to be loaded")

    def _progress(self, report: DatasetReport) -> str:
        total, left, rate = goal(report), self._clocked.left(report), self._clocked.rate(report)
        parts = [
            f"{report.phase}, {report.listed:,}{f' of {total:,}' if total else ''} listed",
            f"{report.new:,} new, {report.changed:,} changed",
            f"{sum(report.rows.values()):,} rows",
        ]
        parts += [f"{rate:,.0f} per second"] if rate else []
        parts += [f"{left:,.0f} s left"] if left is not None else []
        return "; ".join(parts)


def _named(report: DatasetReport) -> str:
    return f"{report.dataset_id} ({report.name})" if report.name else report.dataset_id


def _say(text: str) -> None:
    click.echo(f"{datetime.now(timezone.utc):%Y-%m-%d %H:%M:%SZ} {text}", err=True)
