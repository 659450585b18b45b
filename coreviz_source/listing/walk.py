"""The decisions of a walk down the list: which page to ask for, whether it joins, whether the list ends.

Nothing here sends a request or waits. Pages go in, decisions come out.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import Literal, TypeAlias

from coreviz_source.listing.chain import Chain
from coreviz_source.listing.tally import Tally
from coreviz_source.listing.view import View

#: Pages in a row without anything new before the walk gives up.
MOST_BARREN = 3
#: The largest `limit` that is tried, to see more items of one `createdAt` in one response than usual pages hold.
LARGEST_PAGE = 1000


@dataclass(frozen=True)
class Ask:
    """Ask for the page at an offset, then call `receive`, or `refused` if the API answers that it is a bad request.

    Args:
        offset: The position of the page's first item.
        limit: How many items to ask for.
        step: How far apart the pages are that will probably be asked for next; 0 if that is not known.
        total: How many items the API counts, if it does: there is no page behind them.
        drop_prefetched: Whether pages that were asked for in advance may be outdated.
        may_be_refused: Whether the walk can do without the page.
    """

    offset: int
    limit: int
    step: int = 0
    total: int | None = None
    drop_prefetched: bool = False
    may_be_refused: bool = False


@dataclass(frozen=True)
class Take:
    """A page joins the ones before it: take its items, then call `proceed`.

    Args:
        view: The page.
    """

    view: View


@dataclass(frozen=True)
class End:
    """The walk reached the end of the list without a gap."""


@dataclass(frozen=True)
class GiveUp:
    """The walk did not reach the end of the list.

    Args:
        reason: Why, as a part of a sentence.
        out_of_requests: Whether so many requests were sent that another walk is not worth trying.
    """

    reason: str
    out_of_requests: bool = False


Decision: TypeAlias = Ask | Take | End | GiveUp


@dataclass
class PageSizes:
    """How large the pages are; what one walk found out about the server holds for the next one.

    Args:
        limit: How many items to ask for.
        largest: The largest `limit` that may be tried.
        capacity: The most items that one response has shown.
        overlap: By how many items pages overlap at least.
    """

    limit: int
    largest: int
    capacity: int = 0
    overlap: int = 2

    def observe(self, view: View) -> None:
        """Notes how many items a response shows."""
        self.capacity = max(self.capacity, len(view.items))


class _Awaited(Enum):
    """What the page is for that was asked for."""

    FIRST = auto()
    NEXT = auto()
    LARGER = auto()
    BEHIND_THE_END = auto()


class Walk:
    """One walk down the list, page by page, each joined to the ones before it.

    Start with `begin()`, and do what each decision says. `outcome` is the last decision, once there is none to follow.

    Args:
        start: The position of the first item.
        sizes: How large the pages are.
        tally: The items that were taken; every page has to be noted there before it is received.
        expected: How many items the list probably has, None if that is not known.
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
        # of the request whose page is awaited
        self._asked = Ask(start, sizes.limit)
        self._capacity = 0
        self._overlap = 0
        self._back = 0
        self.outcome: End | GiveUp | None = None

    def begin(self) -> Ask:
        """The first decision: to ask for the first page."""
        return self._asked

    def receive(self, view: View, requests: int) -> Decision:
        """Decides on the page that was asked for.

        Args:
            view: The page.
            requests: How many requests were sent so far.
        """
        if self._awaited is _Awaited.NEXT:
            return self._receive_next(view, requests)
        if self._awaited is _Awaited.LARGER:
            return self._receive_larger(view)
        if self._awaited is _Awaited.BEHIND_THE_END:
            return self._go_on() if self._tally.brings_new(view) else self._finish(End())
        return self._take(view)

    def refused(self) -> Decision:
        """Decides what to do without the page that was asked for."""
        self._sizes.largest = self._sizes.limit
        return self._rely_on_count()

    def proceed(self) -> Decision:
        """Decides what follows the page that was just taken."""
        if self._claim == "end" and self._barren >= (2 if self._tally.total is None else 1):
            if not self._latest.has_more:
                return self._finish(End())
            # a response that was cut short may have hidden what follows
            return self._ask(_Awaited.BEHIND_THE_END, Ask(self._latest.end, self._sizes.limit))
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
        """What a page claims to follow it. An end is believed once asking on has brought nothing new."""
        total = self._tally.believed(view)
        if total is not None and view.end < total:
            return "more"
        if self._chain.is_behind(view):
            return "unknown"
        if total is not None:
            return "end" if view.end == total or not view.items else "unknown"
        return "unknown" if view.has_more or 0 < self._sizes.capacity <= len(view.items) else "end"

    def _go_on(self) -> Decision:
        """Asks for the page that follows, or gives up after too many pages without anything new."""
        if self._barren > MOST_BARREN:
            return self._finish(
                GiveUp(
                    f"the API says that there is more after {self._chain.position} media, but does not send it"
                    if self._claim == "more"
                    else "the API never says where the list ends"
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
        """Goes on although more items share a creation time than a page holds: only the count can tell the end."""
        self._tally.must_agree = True
        return self._ask_next(1)

    def _ask_next(self, needed: int) -> Decision:
        """Asks for the page that overlaps the chain by at least as many items as needed."""
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
                step=max(1, capacity - self._overlap),
                total=self._tally.believed(self._latest),
                drop_prefetched=self._barren > 0,
            ),
        )

    def _receive_next(self, view: View, requests: int) -> Decision:
        joins = self._joins(view)
        if requests > self._most_requests():
            return self._finish(GiveUp(f"gave up after {requests} requests that led to no end", out_of_requests=True))
        if joins:
            return self._take(view)
        # the page at 0 joins in any case, so going back ends there at the latest
        offset = max(0, self._asked.offset - self._back)
        self._back *= 2
        return self._ask(_Awaited.NEXT, Ask(offset, self._sizes.limit, drop_prefetched=True))

    def _joins(self, view: View) -> bool:
        if view.offset and not self._overlap:
            # pages of one item cannot overlap
            self._tally.must_agree = True
            return True
        return self._chain.joins(view)

    def _most_requests(self) -> float:
        """Far more requests than the items of the list fill pages: a server that needs them never comes to an end."""
        pages = (self._expected or self._tally.seen) / max(1, self._sizes.capacity - 1)
        return 200 + 15 * pages
