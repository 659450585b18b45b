"""The progress of `sync`: a table that is drawn again and again on a terminal, plain lines in a log."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from coreviz_source.cli.output import say
from coreviz_source.report import counted

if TYPE_CHECKING:
    from coreviz_source.report import DatasetReport, Progress

#: Seconds between two lines of a log while nothing else happens.
EVERY = 30.0

_PHASES = {"listed": "waiting"}


class Clock:
    """The latest event of each dataset, and how long each one has been listed."""

    def __init__(self) -> None:
        self.events: dict[str, Progress] = {}
        self._began: dict[str, float] = {}
        self._spent: dict[str, float] = {}

    def note(self, event: Progress) -> None:
        """Takes an event."""
        now = time.monotonic()
        began = self._began.setdefault(event.dataset_id, now)
        if event.phase == "listing":
            self._spent[event.dataset_id] = now - began
        self.events[event.dataset_id] = event

    def rate(self, event: Progress) -> float:
        """Media items and folders listed per second."""
        spent = self._spent.get(event.dataset_id, 0.0)
        return event.listed / spent if spent > 0.5 else 0.0

    def left(self, event: Progress) -> float | None:
        """Seconds that the listing still needs; None if it is not known."""
        total, rate = goal(event), self.rate(event)
        return (total - event.listed) / rate if total and rate and event.phase == "listing" else None


def goal(event: Progress) -> int | None:
    """How many items will be listed; None if it is not the whole dataset."""
    return event.total if event.mode == "complete" and (event.total or 0) >= event.listed else None


class Screen:
    """A table on a terminal with one row per dataset. It stays when the run is over.

    Args:
        console: The terminal.
        end: Receives the reports of the datasets when the run is over.
    """

    def __init__(self, console: Console, end: Callable[[DatasetReport], None] = lambda _: None) -> None:
        self._console = console
        self._end = end
        self._clock = Clock()
        self._spinner = Spinner("dots")
        self._over = False
        self._live = Live(get_renderable=self._table, console=console, refresh_per_second=8)

    @property
    def events(self) -> dict[str, Progress]:
        """The latest event of each dataset."""
        return self._clock.events

    def __enter__(self) -> Screen:
        self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._over = True
        self._live.stop()
        for event in self.events.values():
            if kind is None and event.report is not None:
                self._end(event.report)

    def __call__(self, event: Progress) -> None:
        """Takes an event, which is drawn soon."""
        self._clock.note(event)

    def print(self, text: str, color: str | None) -> None:
        """Prints a message above the table."""
        self._console.print(text, style=color, markup=False, emoji=False, highlight=False)

    def _table(self) -> Table | Text:
        events = list(self.events.values())
        if not events:
            return Text("" if self._over else "Asking which datasets there are …", style="dim")
        table = Table(box=None, padding=(0, 2 if self._console.width >= 100 else 1, 0, 0), header_style="dim")
        table.add_column("", width=1)
        # the only column that gets narrower with the terminal
        table.add_column("dataset", min_width=8)
        table.add_column("", no_wrap=True)
        for name in ("listed", "new", "changed", "deleted", "rows", "per second", "left"):
            table.add_column(name if self._console.width >= 100 else name.replace("per second", "/s"), justify="right")
        # at the end, all rows are drawn above the prompt
        hidden = 0 if self._over else max(0, len(events) - max(1, self._console.height - 4))
        if hidden:
            done = sum(event.has_ended for event in events[:hidden])
            table.add_row("", Text(f"{done} done, {hidden - done} waiting", style="dim", no_wrap=True))
        organization = None
        for event in events[hidden:]:
            if event.organization != organization:
                organization = event.organization
                table.add_row("", Text(organization or "", style="bold", no_wrap=True, overflow="ellipsis"))
            table.add_row(*self._row(event))
        return table

    def _row(self, event: Progress) -> tuple[Spinner | Text | str, ...]:
        mark: Spinner | Text = self._spinner
        if event.phase == "failed":
            mark = Text("✗", style="red")
        elif event.phase == "done":
            proven = event.report is not None and event.report.exit_code == 0
            mark = Text("✓", style="green") if proven else Text("!", style="yellow")
        elif event.phase == "listed" or self._over:
            mark = Text("·")
        total, left, rate = goal(event), self._clock.left(event), self._clock.rate(event)
        return (
            mark,
            Text(event.title, no_wrap=True, overflow="ellipsis"),
            _PHASES.get(event.phase, event.phase),
            f"{event.listed:,}" + (f"/{total:,}" if total else ""),
            f"{event.new:,}",
            f"{event.changed:,}",
            f"{event.gone:,}",
            f"{event.rows:,}",
            f"{rate:,.0f}" if rate else "",
            "" if left is None else f"{left // 60:.0f}:{left % 60:02.0f}",
        )


class Log:
    """One line when a dataset begins, one when it ends, and one every half minute in between.

    Args:
        end: Receives the report of each dataset that has ended.
    """

    def __init__(self, end: Callable[[DatasetReport], None]) -> None:
        self._clock = Clock()
        self._end = end
        self._organization = ""
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._tick, daemon=True, name="coreviz-progress")

    @property
    def events(self) -> dict[str, Progress]:
        """The latest event of each dataset."""
        return self._clock.events

    def __enter__(self) -> Log:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stopped.set()
        self._thread.join()

    def __call__(self, event: Progress) -> None:
        """Takes an event."""
        before = self.events.get(event.dataset_id)
        if before is None:
            if event.organization and event.organization != self._organization:
                self._organization = event.organization
                say(f"Organization {event.organization}", organization=event.organization)
            say(f"{_name_of(event)}: begins", dataset_id=event.dataset_id, name=event.name, phase=event.phase)
        elif before.phase != event.phase and not event.has_ended:
            self._say_progress(event, logging.DEBUG)
        self._clock.note(event)
        if event.has_ended and event.report is not None:
            self._end(event.report)

    def _tick(self) -> None:
        while not self._stopped.wait(EVERY):
            unfinished = [event for event in list(self.events.values()) if not event.has_ended]
            waiting = [event for event in unfinished if event.phase == "listed"]
            for event in unfinished:
                if event.phase != "listed":
                    self._say_progress(event, logging.INFO)
            if waiting:
                say(f"{counted(len(waiting), 'dataset')} listed, waiting to be loaded", waiting=len(waiting))

    def _say_progress(self, event: Progress, level: int) -> None:
        total, left, rate = goal(event), self._clock.left(event), self._clock.rate(event)
        parts = [
            f"{event.phase}, {event.listed:,}{f' of {total:,}' if total else ''} listed",
            f"{event.new:,} new, {event.changed:,} changed",
            counted(event.rows, "row"),
        ]
        parts += [f"{rate:,.0f} per second"] if rate else []
        parts += [f"{left:,.0f} s left"] if left is not None else []
        counts = {name: getattr(event, name) for name in ("phase", "listed", "total", "new", "changed", "rows")}
        say(f"{_name_of(event)}: {'; '.join(parts)}", level, dataset_id=event.dataset_id, name=event.name, **counts)


def _name_of(event: Progress) -> str:
    return f"{event.dataset_id} ({event.name})" if event.name else event.dataset_id
