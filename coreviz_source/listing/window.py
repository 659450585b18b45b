"""The range of creation times that a listing covers."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class Window:
    """A half-open range of creation times.

    Args:
        oldest: The oldest creation time in the window; None for no bound.
        newest: The first creation time after the window, itself excluded; None for no bound.
    """

    oldest: datetime | None = None
    newest: datetime | None = None

    @property
    def is_everything(self) -> bool:
        """Whether the window has no bound, so that it covers the whole dataset."""
        return self.oldest is None and self.newest is None

    def contains(self, created_at: datetime | None) -> bool:
        """Whether an item with this creation time is in the window; without one, it is in the unbounded window only."""
        if created_at is None:
            return self.is_everything
        return (self.oldest is None or created_at >= self.oldest) and (self.newest is None or created_at < self.newest)
