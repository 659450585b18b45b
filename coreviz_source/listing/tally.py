"""The distinct items of a listing, and how their number compares with the total that the API reports."""

from __future__ import annotations

from coreviz_source.listing.raw_item import RawItem
from coreviz_source.listing.view import View


class Tally:
    """Counts the distinct items of a listing over all its passes, and remembers the totals that the API reported."""

    def __init__(self) -> None:
        self._seen: set[int] = set()
        self._totals: set[int] = set()
        self._contradicted = False
        #: The total of the latest page; None if the API does not report it, or contradicts itself.
        self.total: int | None = None
        #: Whether pages could not be joined without a gap, so that only an equal count proves anything.
        self.must_agree = False

    @property
    def seen(self) -> int:
        """How many distinct items were taken."""
        return len(self._seen)

    def observe(self, view: View) -> None:
        """Notes the total that a page reports. A total that items were found beyond is wrong, and none is believed."""
        self.total = self.believed(view)
        if view.total is not None:
            self._totals.add(view.total)
            if view.total < view.end and self.brings_new(view):
                self._contradicted, self.total = True, None

    def believed(self, view: View) -> int | None:
        """The total that a page reports; None if it reports none, or if the API contradicted itself."""
        return None if self._contradicted else view.total

    def brings_new(self, view: View) -> bool:
        """Whether a page shows an item that was not taken yet."""
        return any(item.key not in self._seen for item in view.items)

    def take_new(self, view: View) -> list[RawItem]:
        """Takes the items of a page; returns those that were not taken before."""
        fresh = []
        for item in view.items:
            key = item.key
            if key not in self._seen:
                self._seen.add(key)
                fresh.append(item)
        return fresh

    def agrees_with(self, total: int | None) -> bool:
        """Whether the items that were taken are as many as the API counts.

        Args:
            total: What the API counted last in a pass; None if it reported nothing.
        """
        if self._contradicted or total is None:
            return not self.must_agree
        if self.must_agree:
            # if an item was added and another one removed, two equal numbers may count different items
            return {len(self._seen)} == self._totals
        return len(self._seen) >= total
