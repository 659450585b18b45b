"""A signal ends a run, also where dlt or DuckDB would lose it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType
from typing import Any

from dlt.common.runtime import signals

_NUMBERS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def signals_held() -> Iterator[Callable[[], None]]:
    """Raises at its end the signal that arrived since its value was called. Until then, dlt finishes what it is doing.

    dlt holds signals while it loads, but forgets one that arrives when no other job is to be started.

    Raises:
        KeyboardInterrupt: A signal arrived.
    """
    with ExitStack() as stack:

        def hold() -> None:
            stack.enter_context(signals.intercepted_signals())

        try:
            yield hold
        finally:
            signals.raise_if_signalled()


@contextmanager
def no_signal_lost() -> Iterator[None]:
    """Raises at its end a signal whose exception did not get so far.

    DuckDB makes an ordinary error of an exception that is raised during a statement. `raise_interruption` of
    `warehouse.failures` finds it in an error that this package translates; here it is also raised if dlt has caught
    the error. Signals come to the main thread; elsewhere this does nothing.

    Raises:
        BaseException: What the handler of a signal raised, usually `KeyboardInterrupt`.
    """
    raised: list[BaseException] = []

    def noting(usual: Callable[[int, FrameType | None], Any]) -> Callable[[int, FrameType | None], Any]:
        def handler(number: int, frame: FrameType | None) -> Any:
            try:
                return usual(number, frame)
            except BaseException as interruption:
                raised.append(interruption)
                raise

        return handler

    handlers = {}
    if threading.current_thread() is threading.main_thread():
        # a default of the system's ends the process
        handlers = {number: usual for number in _NUMBERS if callable(usual := signal.getsignal(number))}
    for number, usual in handlers.items():
        signal.signal(number, noting(usual))
    try:
        yield
    except Exception:
        if not raised:
            raise
    finally:
        for number, usual in handlers.items():
            signal.signal(number, usual)
    if raised:
        raise raised[0]
