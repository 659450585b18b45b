"""A listing of a dataset, and the proof that it is complete.

The API pages by offset over a list that changes while it is read. Two neighbouring pages may therefore leave out an
item, whatever their offsets say. A single response, however, shows a stretch of the list at one moment. If it is sorted
by `createdAt`, newest first, it contains *every* item created between its first item and its last one. Two responses
leave no gap if the second one begins strictly newer than the first one ends.

A walk is a chain of such responses, from the head of the list to a response that reaches the reported `total`.
Neighbouring pages share the items of the last `createdAt` and one item more. A page that leaves a gap is asked for
again, further up the list. At the end, the number of distinct items is compared with `total`.

`createdAt` may be missing or out of order, or more items may share one than a page holds. Then the whole dataset is
listed, pages join if they share an item, and the listing is only complete if the numbers are equal.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime

from coreviz_source.api.http import Calls
from coreviz_source.api.pace import FIRST_PAGE, LARGEST_PAGE, Pace
from coreviz_source.api.studio import CorevizClient, Page
from coreviz_source.errors import BadRequestError
from coreviz_source.listing.pages import Pages
from coreviz_source.listing.raw_item import RawItem
from coreviz_source.listing.tally import Tally
from coreviz_source.listing.view import View
from coreviz_source.listing.walk import Ask, Decision, End, GiveUp, PageSizes, Take, Walk
from coreviz_source.listing.window import Window

#: The items that were read, per item of a page, where only a part of the list is wanted: few are read in vain.
SHARE_OF_WINDOW = 8
#: How many times a listing walks over the whole list at most. It stops earlier if a walk shows nothing new.
MOST_WALKS = 12


@dataclass(frozen=True)
class Proof:
    """The result of a listing.

    Args:
        complete: Whether the listing contains every item of the window that existed throughout the listing.
        reason: Why it is not complete, or why it covers more than the window that was asked for; otherwise empty.
    """

    complete: bool = False
    reason: str = ""


class _OutOfOrder(Exception):
    """The order of the list does not show where a window begins and ends."""


class Listing:
    """One listing of one dataset.

    Call `open()`, set `window` to list only a part of the dataset, and iterate once. After the iteration, `proof` shows
    whether the listing is complete.

    Args:
        client: Sends the requests.
        dataset_id: The dataset's id as the API knows it.
        pace: Decides how many items to ask for and how many requests to send at the same time.
        threads: Runs the requests, at most one per thread at a time.
        calls: Counts the requests.

    Example:
        ```python
        listing = Listing(client, dataset_id, client.pace, threads, calls)
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
        pace: Pace,
        threads: ThreadPoolExecutor,
        calls: Calls,
    ) -> None:
        self._pages = Pages(client, dataset_id, pace, threads, calls)
        self._pace = pace
        self._sizes = PageSizes(pace.first_page, max(LARGEST_PAGE, pace.first_page))
        self._tally = Tally()
        self.calls = calls
        self._head: View | None = None
        self._expected: int | None = None
        #: The part to list. If a part cannot be proven complete, the bounds are dropped during the iteration.
        self.window = Window()
        #: Whether the iteration will probably end early.
        self.is_sample = False
        #: The result. It is incomplete and without a reason until the iteration ends.
        self.proof = Proof()

    @property
    def total(self) -> int | None:
        """How many items the API counts, by its latest response; None if it reports no total or contradicts itself."""
        return self._tally.total

    @property
    def page_size(self) -> int:
        """The most items that one request asked for so far."""
        return self._pages.page_size

    @property
    def parallel_requests(self) -> int:
        """The most requests that were in flight so far."""
        return self._pages.parallel_requests

    def open(self) -> datetime:
        """Asks for the first page.

        Returns:
            The time at which the listing began, by the server's clock.
        """
        page = self._pages.get(Ask(0, self._sizes.limit))
        self._head = self._observe(0, page)
        self._expected = self._tally.total
        return page.time

    def __iter__(self) -> Iterator[list[RawItem]]:
        """Yields each item once, in one batch per page. Pages may also contain items from outside the window."""
        remark = ""
        try:
            if not self.window.is_everything:
                try:
                    yield from self._list_window()
                    return
                except _OutOfOrder as reason:
                    self.window, remark = Window(), f"{reason}, so everything was listed"
            yield from self._list_everything(remark)
        finally:
            self._pages.drop_prefetched()

    def _list_window(self) -> Iterator[list[RawItem]]:
        """Walks from the newest item of the window to the first page that ends with an older item than the window."""
        start = self._position_of(self.window.newest) if self.window.newest else 0
        self._pages.start_walk(whole=False)
        walk = Walk(start, self._sizes, self._tally, self._expected)
        for number, view in enumerate(self._views(walk)):
            if not view.is_sorted or (number == 0 and start and not self._begins_before_window(view)):
                raise _OutOfOrder("createdAt is not in order")
            if self._tally.must_agree:
                raise _OutOfOrder("more items share one createdAt than a page holds")
            yield self._tally.take_new(view)
            if self.window.oldest and view.last and view.last < self.window.oldest:
                self.proof = Proof(complete=True)
                return
        self.proof = Proof(isinstance(walk.outcome, End), _reason_of(walk))

    def _begins_before_window(self, view: View) -> bool:
        """Whether the first item of a page is too new for the window, so that no item of the window precedes it."""
        return view.first is not None and self.window.newest is not None and view.first >= self.window.newest

    def _position_of(self, newest: datetime) -> int:
        """The position of the last item that is not older than `newest`, found by binary search; 0 if there is none."""
        low, high = 0, self._expected or 0
        while low < high:
            middle = (low + high) // 2
            found = self._observe(middle, self._pages.get(Ask(middle, 1))).first
            if found is not None and found >= newest:
                low = middle + 1
            else:
                high = middle
        return max(0, low - 1)

    def _list_everything(self, remark: str) -> Iterator[list[RawItem]]:
        """Walks over the whole list until a walk has reached its end and the count agrees."""
        reached_end = False
        for number in range(MOST_WALKS):
            seen_before = self._tally.seen
            total: int | None = None
            self._pages.start_walk(whole=True)
            walk = Walk(0, self._sizes, self._tally, self._expected)
            for view in self._views(walk):
                total = total if view.total is None else view.total
                yield self._tally.take_new(view)
                # one walk has reached the end: only items added since can be missing, and they are at the head
                if reached_end and self._tally.agrees_with(total):
                    break
            reached_end = reached_end or isinstance(walk.outcome, End)
            if reached_end and self._tally.agrees_with(total):
                self.proof = Proof(complete=True, reason=remark)
                return
            self.proof = Proof(reason=_reason_of(walk) or self._disagreement())
            if isinstance(walk.outcome, GiveUp) and walk.outcome.out_of_requests:
                return
            # items of one creation time may change their order: the next walk may find what this one did not
            may_be_hidden = self._tally.must_agree and self._tally.seen
            if number and self._tally.seen == seen_before and not may_be_hidden:
                return

    def _disagreement(self) -> str:
        """Why the listing is not complete although a walk has reached the end of the list."""
        if self._tally.total is not None:
            return f"{self._tally.seen:,} items were listed, but the API counts {self._tally.total:,}"
        if not self._tally.seen:
            return "the API sends neither items nor a total, so nothing proves that the dataset is empty"
        return "many items share one createdAt, and without a total nothing proves that all of them were listed"

    def _views(self, walk: Walk) -> Iterator[View]:
        """Carries out the decisions of a walk; yields the pages whose items are to be listed."""
        first = walk.begin()
        head, self._head = self._head, None
        if head is not None and head.offset == first.offset:
            decision = walk.receive(head, self.calls.requests)
        else:
            decision = self._answer(walk, first)
        while not isinstance(decision, (End, GiveUp)):
            if isinstance(decision, Take):
                yield decision.view
                self._choose_page_size(walk)
                decision = walk.proceed()
            else:
                decision = self._answer(walk, decision)

    def _choose_page_size(self, walk: Walk) -> None:
        if not self._pace.chooses_page:
            return
        if self.window.is_everything and not self.is_sample:
            limit = self._pace.page_size(self._tally.total)
        else:
            limit = min(self._pace.page_size(), max(FIRST_PAGE, self._tally.seen // SHARE_OF_WINDOW))
        self._sizes.limit = max(limit, walk.smallest_page)

    def _answer(self, walk: Walk, ask: Ask) -> Decision:
        """Asks for a page; returns the decision that follows."""
        try:
            page = self._pages.get(ask)
        except BadRequestError:
            if not ask.may_be_refused:
                raise
            return walk.refused()
        return walk.receive(self._observe(ask.offset, page), self.calls.requests)

    def _observe(self, offset: int, page: Page) -> View:
        """Every page that arrives, wanted or not, shows how large pages are and what the API counts."""
        view = View(offset, list(map(RawItem.from_json, map(bytes, page.items))), page.total, page.has_more)
        self._sizes.observe(view, page.limit)
        self._tally.observe(view)
        return view


def _reason_of(walk: Walk) -> str:
    return walk.outcome.reason if isinstance(walk.outcome, GiveUp) else ""
