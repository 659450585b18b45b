"""A listing that can be proven complete, however the server cuts its pages.

The API pages by offset over a list that changes while it is read, so a page boundary by itself proves nothing. One
response does prove something: it shows a stretch of the list at one moment. Sorted by `createdAt`, newest first, it
shows *every* item created between its first one and its last one. Two responses leave no gap between them if the
second one begins strictly newer than the first one ended. A listing is a chain of such responses, from the head of
the list to a response that reaches its own `total`. For that, neighbouring pages overlap by the items of the last
`createdAt` and one more, a page that does not join the chain is asked for again further back, and at the end the
number of distinct items is compared with `total`.

Where `createdAt` is not enough (it is missing or out of order, or more items share one than a page holds), pages join
by the items that both of them show, the whole dataset is listed, and the numbers have to be equal.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime

from coreviz_source.client import Calls, CorevizClient, Page
from coreviz_source.errors import BadRequestError
from coreviz_source.listing.pages import Pages
from coreviz_source.listing.raw_item import RawItem
from coreviz_source.listing.tally import Tally
from coreviz_source.listing.view import View
from coreviz_source.listing.walk import LARGEST_PAGE, Ask, Decision, End, GiveUp, PageSizes, Take, Walk
from coreviz_source.listing.window import Window

#: Passes over the whole list at most. After the second one, each has to find something for another to be tried.
MOST_PASSES = 12


@dataclass(frozen=True)
class Proof:
    """What a listing is worth.

    Args:
        complete: Whether every item that was in the window throughout the listing was listed.
        reason: Why it is not complete, or why more was listed than the window; empty where there is nothing to say.
    """

    complete: bool = False
    reason: str = ""


class _OutOfOrder(Exception):
    """The API does not sort by creation time, or not finely enough to list only a part."""


class Listing:
    """One listing of one dataset.

    Call `open()`, set `window` if only a part is wanted, and iterate once. When the iteration is over, `proof` says
    whether the listing is complete.

    Args:
        client: Sends the requests.
        dataset_id: The dataset's id, in the form that the API is asked for.
        page_size: Media items per request.
        threads: Where requests run; no more of them run at once than there are threads.
        ahead: How many requests may be in flight.
        calls: Counts the requests.

    Example:
        ```python
        listing = Listing(client, dataset_id, 100, threads, 4, calls)
        listing.open()
        for items in listing:
            ...
        if not listing.proof.complete:
            print(listing.proof.reason)
        ```
    """

    def __init__(
        self,
        client: CorevizClient,
        dataset_id: str,
        page_size: int,
        threads: ThreadPoolExecutor,
        ahead: int,
        calls: Calls,
    ) -> None:
        self._pages = Pages(client, dataset_id, threads, ahead, calls)
        self._sizes = PageSizes(page_size, max(LARGEST_PAGE, page_size))
        self._tally = Tally()
        self.calls = calls
        self._head: View | None = None
        self._expected: int | None = None
        #: What to list. It becomes unbounded if only the whole list can be proven complete.
        self.window = Window()
        #: What the listing is worth; not complete before the iteration is over.
        self.proof = Proof()

    @property
    def total(self) -> int | None:
        """How many items the API counted last; None if it does not report it, or contradicts itself."""
        return self._tally.total

    def open(self) -> datetime:
        """Asks for the head of the list.

        Returns:
            When the listing began, by the server's clock.
        """
        page = self._pages.get(Ask(0, self._sizes.limit))
        self._head = self._observe(0, page)
        self._expected = self._tally.total
        return page.time

    def __iter__(self) -> Iterator[list[RawItem]]:
        """Yields the distinct items in batches as they arrive, with those outside the window on the same pages."""
        try:
            if not self.window.is_everything:
                try:
                    yield from self._list_window()
                    return
                except _OutOfOrder as reason:
                    self.window = Window()
                    yield from self._list_everything(f"{reason}, so everything was listed")
                    return
            yield from self._list_everything()
        finally:
            self._pages.drop_prefetched()

    def _list_window(self) -> Iterator[list[RawItem]]:
        """One walk, from the newest item of the window to the first page that ends older than the window."""
        start = self._position_of(self.window.newest) if self.window.newest else 0
        self._pages.start_pass(whole=False)
        walk = Walk(start, self._sizes, self._tally, self._expected)
        for number, view in enumerate(self._views(walk)):
            if not view.is_sorted or (number == 0 and start and not self._begins_before_window(view)):
                raise _OutOfOrder("createdAt is not in order")
            if self._tally.must_agree:
                raise _OutOfOrder("More media share one createdAt than a page can hold")
            yield self._tally.take_new(view)
            if self.window.oldest and view.last and view.last < self.window.oldest:
                self.proof = Proof(complete=True)
                return
        self.proof = Proof(isinstance(walk.outcome, End), _reason_of(walk))

    def _begins_before_window(self, view: View) -> bool:
        return view.first is not None and self.window.newest is not None and view.first >= self.window.newest

    def _position_of(self, newest: datetime) -> int:
        """The position of the last item that is not older than `newest`, by binary search; 0 if there is none."""
        low, high = 0, self._expected or 0
        while low < high:
            middle = (low + high) // 2
            found = self._observe(middle, self._pages.get(Ask(middle, 1))).first
            if found is not None and found >= newest:
                low = middle + 1
            else:
                high = middle
        return max(0, low - 1)

    def _list_everything(self, remark: str = "") -> Iterator[list[RawItem]]:
        """Walks over the whole list, until one walk reached the end and the count agrees."""
        chained = False
        for number in range(MOST_PASSES):
            seen_before = self._tally.seen
            total: int | None = None
            self._pages.start_pass(whole=True)
            walk = Walk(0, self._sizes, self._tally, self._expected)
            for view in self._views(walk):
                total = total if view.total is None else view.total
                yield self._tally.take_new(view)
                # after one walk to the end, only what was added meanwhile can be missing, and that is at the head
                if chained and self._tally.agrees_with(total):
                    break
            chained = chained or isinstance(walk.outcome, End)
            if chained and self._tally.agrees_with(total):
                self.proof = Proof(complete=True, reason=remark)
                return
            self.proof = Proof(reason=_reason_of(walk) or self._disagreement())
            if isinstance(walk.outcome, GiveUp) and walk.outcome.out_of_requests:
                return
            # items of one creation time in another order at each request: a pass may find nothing, and the next one may
            in_any_order = self._tally.must_agree and self._tally.seen
            if number and self._tally.seen == seen_before and not in_any_order:
                return

    def _disagreement(self) -> str:
        """Why a walk that reached the end of the list proves nothing."""
        if self._tally.total is not None:
            return f"{self._tally.seen} media were listed, but the API counts {self._tally.total}"
        if not self._tally.seen:
            return "the API sends no media and no count, so nothing proves that there are none"
        return "many media share one createdAt, and without a count nothing proves that all were listed"

    def _views(self, walk: Walk) -> Iterator[View]:
        """Does what a walk decides; yields the pages to take."""
        first = walk.begin()
        head, self._head = self._head, None
        if head is not None and head.offset == first.offset:
            decision = walk.receive(head, self.calls.requests)
        else:
            decision = self._answer(walk, first)
        while not isinstance(decision, (End, GiveUp)):
            if isinstance(decision, Take):
                yield decision.view
                decision = walk.proceed()
            else:
                decision = self._answer(walk, decision)

    def _answer(self, walk: Walk, ask: Ask) -> Decision:
        """Asks for a page; returns what the walk decides on it."""
        try:
            page = self._pages.get(ask)
        except BadRequestError:
            if not ask.may_be_refused:
                raise
            return walk.refused()
        return walk.receive(self._observe(ask.offset, page), self.calls.requests)

    def _observe(self, offset: int, page: Page) -> View:
        view = View(offset, [RawItem.from_json(raw) for raw in page.items], page.total, page.has_more)
        self._sizes.observe(view)
        self._tally.observe(view)
        return view


def _reason_of(walk: Walk) -> str:
    return walk.outcome.reason if isinstance(walk.outcome, GiveUp) else ""
