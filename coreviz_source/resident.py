"""`sync_every()`: one process that stays and syncs at a regular pace, so that starting up is paid once."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import dlt

from coreviz_source.errors import ConfigurationError, CorevizError
from coreviz_source.report import Progress, Report
from coreviz_source.settings import check_duration
from coreviz_source.synchronize import Synchronizer

#: Longest pause after failures, in seconds; `every` if that is longer.
LONGEST_PAUSE = 600.0
#: Seconds of one wait. A process that slept with its machine notices after so long that a cycle is due.
SLICE = 1.0
#: Exit codes that stand for wrong settings, a wrong key, or no access.
HOPELESS = (2, 3)

_log = logging.getLogger(__name__)


def sync_every(
    pipeline: dlt.Pipeline,
    every: str | timedelta = "60s",
    *,
    max_failures: int | None = None,
    views: bool = True,
    progress: Callable[[Progress], None] | None = None,
    wait: Callable[[float], None] = time.sleep,
    notify_url: str | None = None,
    **arguments: Any,
) -> Iterator[Report]:
    """Syncs at a regular pace in this process, and yields the report of each cycle.

    A cycle does what `sync()` does. The settings are read once, before the first cycle, and connections to the API stay
    open. The warehouse is let go between two cycles: other programs can open the DuckDB file then, and other runs can
    load. `resync` applies until a cycle has succeeded.

    A cycle that fails is reported like any other. If no dataset was mirrored, the pause after it is twice `every`, and
    doubles with each further failure, up to ten minutes; up to half of it is left out at random. Changes of the
    machine's clock have no influence. A cycle that takes longer than `every`, or a machine that slept, is followed by
    one cycle at once.

    Args:
        pipeline: Where to load.
        every: Time from the beginning of a cycle to the beginning of the next, such as `"60s"` or `"5m"`.
        max_failures: End after so many cycles in a row whose exit code is not 0. Default: never.
        views: Whether to create the views (see `create_views`).
        progress: Receives the events of all cycles.
        wait: Waits for some seconds, one at most, between two cycles; it may raise an exception to end them.
        notify_url: As for `sync()`.
        **arguments: The arguments of `coreviz()`.

    Yields:
        The report of each cycle. The last one is that of a first cycle that mirrored no dataset and has exit code 2 or
        3 (settings, key or access), or of the last of `max_failures` cycles.

    Raises:
        ConfigurationError: `every` or `max_failures` cannot be used.
        KeyboardInterrupt: A signal arrived. What was loaded before stays, and the next run continues from there.

    Example:
        ```python
        for report in sync_every(pipeline, every="60s"):
            print(report.exit_code)
        ```
    """
    seconds = _seconds_of(every)
    if max_failures is not None and max_failures < 1:
        raise ConfigurationError(f"max_failures is {max_failures}; it has to be at least 1.")
    synchronizer = Synchronizer(pipeline, arguments, views=views, progress=progress, notify_url=notify_url)
    return _cycles(synchronizer, seconds, max_failures, wait)


def _seconds_of(every: str | timedelta) -> float:
    seconds = check_duration(every, "every").total_seconds()
    if seconds < 1:
        raise ConfigurationError(f"every is {every}; it has to be at least a second.", remedy="Write 60s or 5m.")
    return seconds


def _cycles(
    synchronizer: Synchronizer, every: float, max_failures: int | None, wait: Callable[[float], None]
) -> Iterator[Report]:
    failures, fruitless, is_first = 0, 0, True
    with synchronizer:
        while True:
            began = now()
            report = _cycle(synchronizer)
            failures = failures + 1 if report.exit_code else 0
            fruitless = fruitless + 1 if _is_fruitless(report) else 0
            yield report
            if failures == max_failures or (is_first and is_hopeless(report)):
                return
            is_first = False
            due = now() + _pause_after(fruitless, every) if fruitless else began + every
            while (left := due - now()) > 0:
                wait(min(left, SLICE))


def _cycle(synchronizer: Synchronizer) -> Report:
    try:
        return synchronizer.run()
    except Exception as error:
        _log.error("A cycle failed unexpectedly.", exc_info=error)
        return Report("", errors=[CorevizError(f"{type(error).__name__}: {error}")])


def is_hopeless(report: Report) -> bool:
    """Whether settings, key or access are wrong and no dataset was mirrored: after a first cycle, nothing improves."""
    return report.exit_code in HOPELESS and _is_fruitless(report)


def _is_fruitless(report: Report) -> bool:
    """Whether a cycle failed and mirrored no dataset."""
    return report.exit_code != 0 and all(dataset.exit_code for dataset in report.datasets.values())


def _pause_after(failures: int, every: float) -> float:
    """Seconds from the end of a cycle to the next one, after so many failures in a row."""
    longest = min(every * 2.0 ** min(failures, 32), max(every, LONGEST_PAUSE))
    return longest * random.uniform(0.5, 1)


def now() -> float:
    """Seconds on a clock that nobody can set, and that continues while the machine sleeps."""
    # the monotonic clock of Linux stops while the machine sleeps, and so does Python's on macOS
    for name in ("CLOCK_BOOTTIME", "CLOCK_MONOTONIC"):
        if hasattr(time, name):
            return float(time.clock_gettime(getattr(time, name)))
    return time.monotonic()
