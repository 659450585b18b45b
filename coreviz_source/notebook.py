"""The progress of `sync()` in a notebook: one line that changes while the run works."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from html import escape
from typing import Any

from coreviz_source.report import Progress, counted

#: Seconds between two changes of the line, so that a notebook is not busy with drawing it.
PAUSE = 0.2


def notebook_progress() -> Callable[[Progress], None] | None:
    """What shows the progress in the notebook in which this runs; None elsewhere."""
    # whoever runs in a notebook's kernel has imported both
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    if shell is None or "ipykernel" not in sys.modules:
        return None
    from IPython.display import display

    return _Line(display)


class _Line:
    """The line. It is drawn first with the first event.

    Args:
        display: What IPython has to draw with.
    """

    def __init__(self, display: Callable[..., Any]) -> None:
        self._display = display
        self._events: dict[str, Progress] = {}
        self._handle: Any = None
        self._drawn = 0.0

    def __call__(self, event: Progress) -> None:
        """Takes an event."""
        self._events[event.dataset_id] = event
        now = time.monotonic()
        if self._handle is None:
            self._handle = self._display(self._content(event), raw=True, display_id=True)
        elif event.has_ended or now - self._drawn >= PAUSE:
            self._handle.update(self._content(event), raw=True)
        else:
            return
        self._drawn = now

    def _content(self, event: Progress) -> dict[str, str]:
        """The line as text and as HTML."""
        ended = sum(one.has_ended for one in self._events.values())
        total = f" of {event.total:,}" if event.total else ""
        text = (
            f"{event.title}: {event.phase}, {event.listed:,}{total} listed, {event.new:,} new, "
            f"{event.changed:,} changed; {ended:,} of {counted(len(self._events), 'dataset')} ended"
        )
        return {"text/plain": text, "text/html": f"<div>{escape(text)}</div>"}
