"""The decisions of a walk down the list: which page to ask for, whether it joins, whether the list ends.

This module sends no request and starts no thread. Pages go in, decisions come out.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import Literal, TypeAlias

from coreviz_source.api.pace import LARGEST_PAGE
from coreviz_source.listing.chain import Chain
from coreviz_source.listing.tally import Tally
from coreviz_source.listing.view import View

#: How many pages in a row may show nothing new; after one more, the walk gives up.
MOST_BARREN = 3


@dataclass(frozen=True)
class Ask:
    """Ask for a page, then call `receive` with it; call `refused` if the API rejects the request.

    Args:
        offset: The position of the page's first item.
        limit: How many items to ask for.
        step: The distance between this page, the next one, and so on, where the walk can foresee it; otherwise 0.
        total: How many items the API counts, so that no page starts after them; None if it is not known.
        drop_prefetched: Whether pages that were asked for in advance may be outdated.
        may_be_refused: Whether the walk can continue without this page.
    """

    offset: int
    limit: int
    step: int = 0
    total: int | None = None
    drop_prefetched: bool = False
    may_be_refused: bool = False


@dataclass(frozen=True)
class Take:
    """List the items of a page that joins the ones before it, then call `proceed`.

    Args:
        view: The page.
    """

    view: View


@dataclass(frozen=True)
class End:
    """Stop: the walk reached the end of the list without a gap."""


@dataclass(frozen=True)
class GiveUp:
    """Stop: the walk cannot reach the end of the list.

    Args:
        reason: Why not, in words that fit into a sentence.
        out_of_requests: Whether the listing has sent so many requests that no other walk should follow.
    """

    reason: str
    out_of_requests: bool = False


Decision: TypeAlias = Ask | Take | End | GiveUp


@dataclass
class PageSizes:
    """How large the pages of a listing are. Each walk starts with what the walks before it learned.

    Args:
        limit: How many items to ask for. It may be changed between two pages.
        largest: The largest `limit` to try where more items share one `createdAt` than a page holds.
        capacity: The largest number of items in one response so far.
        overlap: The smallest number of items that neighbouring pages share.
        tried: The largest number of items that a page was asked for so far.
    """

    limit: int
    largest: int = LARGEST_PAGE
    capacity: int = 0
    overlap: int = 2
    tried: int = 0

    def observe(self, view: View, limit: int | None = None) -> None:
        """Learns from a page that was received.

        Args:
            view: The page.
            limit: How many items it was asked for; None for `self.limit`.
        """
        self.capacity = max(self.capacity, len(view.items))
        self.tried = max(self.tried, limit or self.limit)

    @property
    def expected(self) -> int:
        """How many items the next page probably has."""
        if self.limit > self.tried:
            return self.limit
        return self.capacity if self.limit == self.tried else min(self.limit, self.capacity)


class _Awaited(Enum):
    """The purpose of the page that was asked for."""

    FIRST = auto()
    NEXT = auto()
    LARGER = auto()
    PAST_THE_END = auto()


class Walk:
    """One walk down the list, from page to page without a gap.

    The caller starts with `begin()` and carries out each decision until it is an `End` or a `GiveUp`.

    Args:
        start: The position of the first item.
        sizes: The sizes of the pages. `sizes` and `tally` have to observe a page before the walk receives it.
        tally: The items that were listed so far.
        expected: How many items the list probably has; None if it is not known.
    """

    def __init__(self, start: int, sizes: PageSizes, tally: Tally, expected: int | None = None) -> None:
        self._sizes = sizes
        self._tally = tally
        self._expected = expected
        self._chain = Chain(start, tally)
        self._awaited = _Awaited.FIRST
        self._latest = View(start, [])
        self._barren = 0
        self._claim: Literal["end", "more", "unknown"] = "unknown"
        # the latest request, and the state in which it was made
        self._asked = Ask(start, sizes.limit)
        self._capacity = 0
        self._overlap = 0
        self._back = 0
        #: The last decision; None while the walk continues.
        self.outcome: End | GiveUp | None = None

    @property
    def smallest_page(self) -> int:
        """How many items the next page has to be asked for at least, so that it joins and reaches further."""
        needed = max(self._chain.needed_overlap(), self._sizes.overlap)
        return min(self._sizes.largest, needed + max(1, needed // 3))

    def begin(self) -> Ask:
        """Returns the first decision: to ask for the page at the start."""
        return self._asked

    def receive(self, view: View, requests: int) -> Decision:
        """Decides what to do with the page that was asked for.

        Args:
            view: The page.
            requests: How many requests the listing has sent so far.
        """
        if self._awaited is _Awaited.NEXT:
            return self._receive_next(view, requests)
        if self._awaited is _Awaited.LARGER:
            return self._receive_larger(view)
        if self._awaited is _Awaited.PAST_THE_END:
            return self._go_on() if self._tally.brings_new(view) else self._finish(End())
        return self._take(view)

    def refused(self) -> Decision:
        """Decides what to do after the API rejected a request that may be refused."""
        self._sizes.largest = self._sizes.limit
        return self._rely_on_count()

    def proceed(self) -> Decision:
        """Decides what to do after the items of a page were listed."""
        if self._claim == "end" and self._barren >= (2 if self._tally.total is None else 1):
            if not self._latest.has_more:
                return self._finish(End())
            # `hasMore` contradicts the total: a response that was cut short may have hidden some items
            return self._ask(_Awaited.PAST_THE_END, Ask(self._latest.end, self._sizes.limit))
        return self._go_on()

    def _ask(self, awaited: _Awaited, ask: Ask) -> Ask:
        self._awaited, self._asked = awaited, ask
        return ask

    def _take(self, view: View) -> Take:
        self._latest = view
        reaches_further = self._chain.append(view, remembered=2 * self._sizes.largest)
        self._barren = 0 if reaches_further or self._tally.brings_new(view) else self._barren + 1
        self._claim = self._claim_of(view)
        return Take(view)

    def _finish(self, outcome: End | GiveUp) -> End | GiveUp:
        self.outcome = outcome
        return outcome

    def _claim_of(self, view: View) -> Literal["end", "more", "unknown"]:
        """What a page claims to follow it. The walk believes an end after another page has shown nothing new."""
        total = self._tally.believed(view)
        if total is not None and view.end < total:
            return "more"
        if self._chain.is_repeated(view):
            return "unknown"
        if total is not None:
            return "end" if view.end == total or not view.items else "unknown"
        return "unknown" if view.has_more or 0 < self._sizes.capacity <= len(view.items) else "end"

    def _go_on(self) -> Decision:
        """Asks for the following page, or gives up after too many pages without anything new."""
        if self._barren > MOST_BARREN:
            return self._finish(
                GiveUp(
                    f"the API announces more than {self._chain.position:,} items, but does not send the others"
                    if self._claim == "more"
                    else "the API never reports the end of the list"
                )
            )
        self._capacity = self._sizes.capacity
        needed = self._chain.needed_overlap()
        if self._capacity - needed >= max(1, self._capacity // 4):
            return self._ask_next(needed)
        limit = 2 * max(needed, self._sizes.limit)
        if needed < 2 or limit > self._sizes.largest:
            return self._rely_on_count()
        offset = max(0, self._chain.position - needed)
        return self._ask(_Awaited.LARGER, Ask(offset, limit, drop_prefetched=True, may_be_refused=True))

    def _receive_larger(self, view: View) -> Decision:
        if len(view.items) <= self._capacity and view.end != view.total:
            return self.refused()
        self._sizes.limit = self._asked.limit
        return self._take(view) if self._chain.joins(view) else self._rely_on_count()

    def _rely_on_count(self) -> Decision:
        """Continues although the items of one creation time fill a page: only an equal count is a proof now."""
        self._tally.must_agree = True
        return self._ask_next(1)

    def _ask_next(self, needed: int) -> Decision:
        """Asks for the page that shares at least `needed` items with the chain, as far as pages are large enough."""
        capacity = self._capacity
        if needed <= capacity // 4:
            self._sizes.overlap = max(self._sizes.overlap, needed)
        self._overlap = max(0, min(max(needed, self._sizes.overlap), capacity - 1))
        self._back = max(2, self._overlap)
        return self._ask(
            _Awaited.NEXT,
            Ask(
                max(0, self._chain.position - self._overlap),
                self._sizes.limit,
                step=max(1, self._sizes.expected - self._overlap),
                total=self._tally.believed(self._latest),
                drop_prefetched=self._barren > 0,
            ),
        )

    def _receive_next(self, view: View, requests: int) -> Decision:
        joins = self._joins(view)
        if requests > self._most_requests():
            return self._finish(GiveUp(f"gave up after {requests} requests without reaching the end of the list", True))
        if joins:
            return self._take(view)
        # the page at offset 0 always joins, so the walk goes back to it at most
        offset = max(0, self._asked.offset - self._back)
        self._back *= 2
        return self._ask(_Awaited.NEXT, Ask(offset, self._sizes.limit, drop_prefetched=True))

    def _joins(self, view: View) -> bool:
        if view.offset and not self._overlap:
            # pages of a single item share none, so nothing shows whether this one joins
            self._tally.must_agree = True
            return True
        return self._chain.joins(view)

    def _most_requests(self) -> float:
        """The number of requests after which the walk gives up: far more than the list has pages."""
        pages = (self._expected or self._tally.seen) / max(1, self._sizes.capacity - 1)
        return 200 + 15 * pages
