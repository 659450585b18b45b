"""The range of creation times that a listing covers."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class Window:
    """A range of creation times.

    Args:
        oldest: Where the window begins; this time is in the window. None for no bound.
        newest: Where the window ends; this time is not in the window. None for no bound.
    """

    oldest: datetime | None = None
    newest: datetime | None = None

    @property
    def is_everything(self) -> bool:
        """Whether the window covers the whole dataset because it has no bounds."""
        return self.oldest is None and self.newest is None

    def contains(self, created_at: datetime | None) -> bool:
        """Whether a creation time is in the window. None, an unknown time, is only in the window without bounds."""
        if created_at is None:
            return self.is_everything
        return (self.oldest is None or created_at >= self.oldest) and (self.newest is None or created_at < self.newest)
