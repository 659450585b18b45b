"""dlt's telemetry: the command line switches it off, and `sync()` sends none about its own steps.

dlt reports each step of a pipeline to its maintainers, unless `runtime.dlthub_telemetry` is off. If that setting is
given, in whichever way and with whichever value, it applies and this module changes nothing.

`before_send` of `dlt.common.runtime.anon_tracker` is the function that dlt documents to be replaced. dlt calls it with
each event, in the thread of the step that the event is about, and sends nothing if it returns nothing. So a pipeline
that runs in another thread meanwhile is reported as before.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import dlt
from dlt.common.runtime import anon_tracker


class _Filter:
    """What dlt calls with each event: passes it on, except in the threads in which `sync()` runs."""

    def __init__(self, usual: Callable[[Any], Any]) -> None:
        self._usual = usual

    def __call__(self, event: Any) -> Any:
        return None if getattr(_thread, "is_silent", False) else self._usual(event)


_thread = threading.local()


def switch_off_unless_set() -> None:
    """Ends dlt's telemetry in this process, for the command line, whose process runs no other pipeline."""
    if not _is_set():
        anon_tracker.disable_anon_tracker()


@contextmanager
def silent_unless_set() -> Iterator[None]:
    """Sends no telemetry about the steps that run in this thread meanwhile."""
    if _is_set():
        yield
        return
    if not isinstance(anon_tracker.before_send, _Filter):
        anon_tracker.before_send = _Filter(anon_tracker.before_send)
    before = getattr(_thread, "is_silent", False)
    _thread.is_silent = True
    try:
        yield
    finally:
        _thread.is_silent = before


def _is_set() -> bool:
    return dlt.config.get("runtime.dlthub_telemetry") is not None
