"""What happens to the output of a command when nobody reads it any more."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress


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
