"""The lines that a command prints: as they are on a terminal, and elsewhere with time and level, or as JSON objects."""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from functools import wraps
from typing import TYPE_CHECKING, Any, TextIO

import click

if TYPE_CHECKING:
    from coreviz_source.report import Report

#: What a run prints when a signal ends it.
INTERRUPTED = "Interrupted. Everything that was loaded stays, and the next run continues from there."
#: Loggers whose messages are in the report as well, which is printed.
_REPORTED = {
    "coreviz_source",
    "coreviz_source.mirror",
    "coreviz_source.warehouse.catalog",
    "coreviz_source.warehouse.snapshots",
}
_COLORS = {logging.ERROR: "red", logging.WARNING: "yellow"}
#: Line breaks, and characters that a terminal would obey: names of media may have them.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_log = logging.getLogger("coreviz_source.cli")


class Lines(logging.Handler):
    """Prints one line per message of the command, of this package, of dlt and of Python's warnings.

    Args:
        as_json: Whether each line is a JSON object. None: if dlt is configured so.
        quiet: Whether only warnings and errors are printed.
        verbose: Whether phases, requests, tracebacks and what dlt reports are printed, too.
    """

    def __init__(self, as_json: bool | None, quiet: bool, verbose: bool) -> None:
        super().__init__(logging.WARNING if quiet else logging.DEBUG)
        self._as_dlt = as_json is None
        self.as_json = os.environ.get("RUNTIME__LOG_FORMAT") == "JSON" if as_json is None else as_json
        self.quiet = quiet
        self.verbose = verbose
        #: Prints a line above what is drawn on the terminal, in a color; None while nothing is drawn.
        self.above: Callable[[str, str | None], None] | None = None

    def filter(self, record: logging.LogRecord) -> bool:
        """Leaves out what the report repeats."""
        return record.name not in _REPORTED or (self.verbose and record.exc_info is not None)

    def emit(self, record: logging.LogRecord) -> None:
        """Prints a record."""
        stream = sys.stdout if getattr(record, "is_result", False) else sys.stderr
        # a run continues when nobody reads its output any more
        with unless_nobody_reads():
            if self.as_json:
                click.echo(self._object(record), file=stream)
            elif stream.isatty():
                self._on_terminal(record, stream)
            else:
                for text in self._texts(record, stream):
                    click.echo(f"{_time(record):%Y-%m-%d %H:%M:%SZ} {record.levelname} {text}", file=stream)

    def _on_terminal(self, record: logging.LogRecord, stream: TextIO) -> None:
        color = _COLORS.get(record.levelno)
        for text in self._texts(record, stream):
            if self.above is not None and stream is sys.stderr:
                self.above(text, color)
            else:
                width = shutil.get_terminal_size().columns
                text = textwrap.fill(text, width, subsequent_indent="  ")
                click.echo(click.style(text, fg=color) if color else text, file=stream)

    def _texts(self, record: logging.LogRecord, stream: TextIO) -> list[str]:
        """The message, and the lines of a traceback, as the stream can print them."""
        encoding = stream.encoding or "utf-8"
        lines = [self._message(record), *self._traceback(record).splitlines()]
        lines = [line.encode(encoding, "backslashreplace").decode(encoding) for line in lines]
        return [_CONTROL.sub(" ", line).rstrip() for line in lines]

    def _object(self, record: logging.LogRecord) -> str:
        traceback = self._traceback(record)
        return json.dumps(
            {
                "time": f"{_time(record):%Y-%m-%dT%H:%M:%S.%f}"[:-3] + "Z",
                "level": record.levelname,
                "logger": record.name,
                "message": self._message(record),
                **getattr(record, "fields", {}),
                **({"traceback": traceback} if traceback else {}),
            },
            default=str,
        )

    def _message(self, record: logging.LogRecord) -> str:
        """The message; of a traceback in it, only the error at its end, unless more is wanted."""
        message = record.getMessage()
        before, traceback, after = message.partition("Traceback (most recent call last):")
        return message if self.verbose or not traceback else before + after.rstrip().rpartition("\n")[2]

    def _traceback(self, record: logging.LogRecord) -> str:
        return logging.Formatter().formatException(record.exc_info) if self.verbose and record.exc_info else ""

    @contextmanager
    def printing(self) -> Iterator[None]:
        """Receives the messages of all loggers while it lasts."""
        levels = {"coreviz_source": logging.DEBUG if self.verbose else logging.INFO, "dlt": None, "py.warnings": None}
        if self.verbose:
            # one message per request, without its headers
            levels["urllib3.connectionpool"] = logging.DEBUG
        loggers = {name: logging.getLogger(name) for name in levels}
        before = {name: (one.handlers, one.level, one.propagate) for name, one in loggers.items()}
        for name, logger in loggers.items():
            # dlt takes the first handler that its logger has
            logger.handlers, logger.propagate = [self], False
            logger.setLevel(levels[name] or logger.level)
        logging.captureWarnings(True)
        try:
            yield
        finally:
            logging.captureWarnings(False)
            for name, logger in loggers.items():
                logger.handlers, level, logger.propagate = before[name]
                # dlt sets the level of its logger when it starts
                logger.setLevel(level or logger.level)

    def follow_dlt(self, log_format: str) -> None:
        """Takes over how dlt is configured, once that is known.

        Args:
            log_format: `runtime.log_format`.
        """
        self.as_json = self.as_json or (self._as_dlt and log_format == "JSON")
        if self.verbose:
            logger = logging.getLogger("dlt")
            logger.setLevel(min(logger.getEffectiveLevel(), logging.INFO))


def _time(record: logging.LogRecord) -> datetime:
    return datetime.fromtimestamp(record.created, timezone.utc)


def say(text: str, level: int = logging.INFO, *, is_result: bool = False, **fields: Any) -> None:
    """Prints a line.

    Args:
        text: The line.
        level: Level of logging.
        is_result: Whether it goes to stdout, not to stderr.
        **fields: What a line in JSON has besides.
    """
    _log.log(level, "%s", text, extra={"is_result": is_result, "fields": fields})


def say_notices(report: Report) -> None:
    """Prints the notices that begin or end with a run. A line in JSON has the fields of the notice."""
    for notice in report.notices:
        level = logging.WARNING if notice.is_open else logging.INFO
        fields = {name: value for name, value in notice.to_dict().items() if name != "text"}
        say(report.notice_text(notice), level, **fields)


def print_error(text: str) -> None:
    """Prints the error that ends a command, in the form of its other lines."""
    context = click.get_current_context(silent=True)
    lines = context.meta.get(__name__) if context else None
    if lines is None:
        click.echo(text, err=True)
    else:
        with lines.printing():
            say(text, logging.ERROR)


def logged(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options for what a command prints. The command gets the lines in their place."""

    @click.option(
        "--log-format",
        type=click.Choice(["text", "json"]),
        help="Form of the lines that go to a file or a pipe. json: one object per line, those of dlt included; also "
        "set by dlt's RUNTIME__LOG_FORMAT=JSON. Default: text.",
    )
    @click.option("-q", "--quiet", is_flag=True, help="Print only warnings and errors.")
    @click.option("-v", "--verbose", is_flag=True, help="Print phases and requests, too, and what dlt reports.")
    @wraps(command)
    def with_lines(log_format: str | None, quiet: bool, verbose: bool, **arguments: Any) -> Any:
        if quiet and verbose:
            raise click.UsageError("--quiet and --verbose cannot be combined.")
        lines = Lines(None if log_format is None else log_format == "json", quiet, verbose)
        click.get_current_context().meta[__name__] = lines
        with lines.printing():
            return command(lines=lines, **arguments)

    return with_lines


class LeaveAtOnce(SystemExit):
    """Ends the process as soon as the command has cleaned up.

    To wait for the requests that are under way could take minutes, if the API does not respond.
    """


def close_stdout() -> None:
    """Sends everything that is still to be printed nowhere, so that Python does not complain when it exits."""
    # a test's stdout has no file descriptor
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


@contextmanager
def unless_nobody_reads() -> Iterator[None]:
    """For output of work that must continue: `sync | head` loads everything."""
    try:
        yield
    except BrokenPipeError:
        close_stdout()
