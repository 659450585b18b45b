"""The distinct items of a listing, counted and compared with the total that the API reports."""

from __future__ import annotations

from coreviz_source.listing.raw_item import RawItem
from coreviz_source.listing.view import View


class Tally:
    """Counts the distinct items of a listing, over all of its walks, and remembers the totals that the API reported."""

    def __init__(self) -> None:
        self._seen: set[int] = set()
        self._totals: set[int] = set()
        self._contradicted = False
        #: How many pages without a new item reached further than their own total.
        self._longer_than_total = 0
        #: The total of the latest page; None if the API does not report it or contradicts itself.
        self.total: int | None = None
        #: Whether there may be a gap between two pages, so that only an equal count proves the listing complete.
        self.must_agree = False

    @property
    def seen(self) -> int:
        """How many distinct items were listed."""
        return len(self._seen)

    def observe(self, view: View) -> None:
        """Notes the total of a page. If the list is longer than its total, no total is believed from then on.

        A page without a new item may be longer because an item was deleted while it was read. A second one shows that
        the total counts something else, such as the items of the page.
        """
        self.total = self.believed(view)
        if view.total is None:
            return
        self._totals.add(view.total)
        if view.items and view.total < view.end:
            brings_new = self.brings_new(view)
            self._longer_than_total += not brings_new
            if brings_new or self._longer_than_total > 1:
                self._contradicted, self.total = True, None

    def believed(self, view: View) -> int | None:
        """The total of a page; None if the page does not report it or the API contradicted itself."""
        return None if self._contradicted else view.total

    def brings_new(self, view: View) -> bool:
        """Whether a page shows an item that was not listed yet."""
        return any(item.key not in self._seen for item in view.items)

    def take_new(self, view: View) -> list[RawItem]:
        """Counts the items of a page; returns those that were not listed before."""
        fresh = []
        for item in view.items:
            key = item.key
            if key not in self._seen:
                self._seen.add(key)
                fresh.append(item)
        return fresh

    def agrees_with(self, total: int | None) -> bool:
        """Whether the number of items listed agrees with what the API counts.

        Args:
            total: The last total that the API reported during a walk; None if it reported none.
        """
        if self._contradicted or total is None:
            return not self.must_agree
        if self.must_agree:
            # equal numbers prove nothing if the total changed: an item may have been added and another one removed
            return {len(self._seen)} == self._totals
        return len(self._seen) >= total
