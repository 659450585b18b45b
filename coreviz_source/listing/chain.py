"""The pages that a walk has joined so far, and whether another page leaves a gap after them."""

from __future__ import annotations

from collections import deque
from datetime import datetime

from coreviz_source.listing.tally import Tally
from coreviz_source.listing.view import View


class Chain:
    """Pages without a gap between them, from the start of a walk to its position.

    Pages that are sorted by creation time join by their times: a page has to begin strictly newer than the chain ends.
    Where times are missing or out of order, a page joins if it shares an item with the chain.

    Args:
        start: The position at which the walk starts.
        tally: Its `must_agree` is set where times cannot show whether a page joins.
    """

    def __init__(self, start: int, tally: Tally) -> None:
        self._tally = tally
        self._by_time = True
        self._reached: datetime | None = None
        self._ties = 0
        self._recent: deque[str] = deque()
        self._recent_ids: set[str] = set()
        #: The position after the last item of the latest page.
        self.position = start

    def append(self, view: View, remembered: int) -> bool:
        """Adds a page that joins.

        Args:
            view: The page.
            remembered: How many of the latest ids to keep, to find out which items are shared.

        Returns:
            Whether the chain now reaches further down the list.
        """
        unknown = [item for item in view.items if item.id not in self._recent_ids]
        self._remember([item.id for item in unknown], remembered)
        further = view.end > self.position
        self.position = view.end
        self._by_time = self._by_time and view.is_sorted
        before = self._reached
        if view.last is not None and (before is None or view.last < before):
            self._reached, self._ties = view.last, 0
        self._ties += sum(item.created_at == self._reached for item in unknown)
        if self._tally.must_agree and view.total is not None:
            return further
        return self._reached != before if self._by_time else bool(unknown)

    def _remember(self, ids: list[str], most: int) -> None:
        self._recent.extend(ids)
        self._recent_ids.update(ids)
        while len(self._recent) > most:
            self._recent_ids.discard(self._recent.popleft())

    def joins(self, view: View) -> bool:
        """Whether there is no gap before a page: no item that exists throughout the walk can be missing."""
        if view.offset == 0:
            return True
        if not view.items:
            return False
        if self._by_time and view.is_sorted and not self._tally.must_agree:
            return view.first is not None and self._reached is not None and view.first > self._reached
        return any(item.id in self._recent_ids for item in view.items)

    def needed_overlap(self) -> int:
        """How many items the next page has to share with the chain: all of the last creation time, and one more."""
        if not self._by_time or self._reached is None or self._tally.must_agree:
            return 1
        return 1 + self._ties

    def is_repeated(self, view: View) -> bool:
        """Whether a page ends newer than the chain: the API sent an earlier page again."""
        return self._by_time and view.last is not None and self._reached is not None and view.last > self._reached
