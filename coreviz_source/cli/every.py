"""`coreviz-source sync --every`: a process that stays, its signals, the lines of its log, and messages to systemd."""

from __future__ import annotations

import logging
import signal
import sys
import time
from datetime import datetime, timezone
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

import click

from coreviz_source.cli.output import INTERRUPTED, LeaveAtOnce, say, say_notices, unless_nobody_reads
from coreviz_source.cli.systemd import Systemd
from coreviz_source.report import counted

if TYPE_CHECKING:
    import dlt

    from coreviz_source.report import Progress, Report

#: Seconds between two lines about a cycle that takes long.
PROGRESS_EVERY = 30.0
#: Seconds between two lines about cycles that changed nothing.
QUIET_EVERY = 3600.0


class _Stopped(KeyboardInterrupt):
    """A signal that asks the process to end."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.signal_code = number


def run_every(pipeline: dlt.Pipeline, *, as_json: bool, **arguments: Any) -> NoReturn:
    """Syncs until a signal arrives, or the cycles end by themselves, and exits.

    A SIGTERM between two cycles is a success, because it is how a service manager asks for the end. Any other signal
    has its usual exit code.

    Args:
        pipeline: Where to load.
        as_json: Whether to print the report of each cycle to stdout, one JSON object per line.
        **arguments: The arguments of `sync_every()`.
    """
    from coreviz_source.resident import sync_every

    log, code = _Log(as_json), 0
    cycles = sync_every(pipeline, progress=log.note, wait=log.wait, **arguments)
    say(f"Syncs every {arguments['every']}.", every=arguments["every"])
    usual = {number: signal.signal(number, log.stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        with log.systemd:
            for report in cycles:
                log.end(report)
                code = report.exit_code
    except KeyboardInterrupt as interruption:
        # dlt's own exception has the signal that it caught
        _leave(getattr(interruption, "signal_code", signal.SIGINT), log.waits)
    finally:
        for number, handler in usual.items():
            signal.signal(number, handler)
    sys.exit(code)


def _leave(number: int, waits: bool) -> NoReturn:
    if waits:
        say("Stopped between two cycles.")
        code = 0 if number == signal.SIGTERM else 128 + number
    else:
        say(INTERRUPTED, logging.WARNING)
        code = 128 + number
    raise LeaveAtOnce(code)


class _Log:
    """The lines of a process that stays: what changed, what failed, and once per hour that nothing did.

    Args:
        as_json: Whether to print reports to stdout.
    """

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json
        self._cycles = 0
        self._failures = 0
        self._quiet = 0
        self._printed = time.monotonic()
        self._began = self._printed
        self._warned: dict[str, str] = {}
        self.systemd = Systemd()
        #: Whether no dataset is under way.
        self.waits = True

    def note(self, event: Progress) -> None:
        """Takes an event of a cycle. A cycle that takes long has a line every half minute."""
        if self.waits:
            self._began = time.monotonic()
        self.waits = False
        self.systemd.alive()
        if event.total is not None:
            # the API has accepted the key
            self.systemd.ready()
        if time.monotonic() - max(self._began, self._printed) >= PROGRESS_EVERY and not event.has_ended:
            total = f" of {event.total:,}" if event.total else ""
            self._line(f"{event.title}: {event.phase}, {event.listed:,}{total} listed")

    def wait(self, seconds: float) -> None:
        """Waits between two cycles."""
        self.systemd.alive()
        time.sleep(seconds)

    def stop(self, number: int, frame: FrameType | None) -> None:
        """Handles a signal."""
        raise _Stopped(number)

    def end(self, report: Report) -> None:
        """Takes the report of a cycle."""
        from coreviz_source.resident import is_hopeless

        self.waits = True
        self._cycles += 1
        if self._failures and not report.exit_code:
            self._line(f"Succeeded again, after {counted(self._failures, 'cycle')} with problems.")
        self._failures = self._failures + 1 if report.exit_code else 0
        changed = [dataset for dataset in report.datasets.values() if dataset.rows]
        for dataset in changed:
            self._line(
                f"{dataset.title}: {dataset.result}: {dataset.counts()}; {dataset.seconds:.1f} s",
                dataset_id=dataset.dataset_id,
                outcome=dataset.outcome,
                rows=dataset.written,
            )
        for dataset in report.datasets.values():
            level = logging.ERROR if dataset.exit_code else logging.WARNING
            self._complain(dataset.title, dataset.message.strip(), level)
        for number, warning in enumerate(report.warnings):
            self._complain(f"Warning {number + 1}", warning, logging.WARNING)
        say_notices(report)
        for error in report.errors:
            self._line(str(error), logging.ERROR, exit_code=error.exit_code)
        if changed or report.exit_code:
            self._quiet = 0
        else:
            self._quiet += 1
            if self._cycles == 1 or time.monotonic() - self._printed >= QUIET_EVERY:
                self._line(f"Nothing changed in {counted(self._quiet, 'cycle')}.")
        if self._as_json:
            with unless_nobody_reads():
                click.echo(report.to_json())
        if not is_hopeless(report):
            self.systemd.ready()
        failed = f"exit code {report.exit_code}, {self._failures} in a row" if report.exit_code else "succeeded"
        self.systemd.status(f"Cycle {self._cycles} at {_now()}: {failed}, {report.seconds:.1f} s")

    def _complain(self, who: str, message: str, level: int) -> None:
        """Prints an error each time, and a warning when it is new."""
        if message and (level == logging.ERROR or self._warned.get(who) != message):
            self._line(f"{who}: {message}", level)
        self._warned[who] = message

    def _line(self, text: str, level: int = logging.INFO, **fields: Any) -> None:
        self._printed = time.monotonic()
        say(" ".join(text.split()), level, **fields)


def _now() -> str:
    return f"{datetime.now(timezone.utc):%Y-%m-%d %H:%M:%SZ}"
