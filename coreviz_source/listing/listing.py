"""A listing that can be proven complete, whatever the server does with its pages.

The API pages by offset over a list that changes while it is read, so a page boundary proves nothing by itself.
What does prove something is one answer: it is a view of one moment, and sorted by `createdAt`, newest first, it
holds *every* item created between its first and its last one. Two answers leave no gap between them if the second
begins strictly newer than the first one ended. A listing is a chain of such answers from the head to one that
reaches its own `total`. So pages overlap by the items that share the last `createdAt` plus one, a page that does
not join is asked for again further back, and the number of distinct items is compared with `total` at the end.

Where `createdAt` does not say enough (missing, out of order, more ties than a page holds), pages join by the items
they share, the whole dataset is listed, and the count has to agree before the listing is called proven.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from typing import Literal

from coreviz_source.client import Calls, CorevizClient, Page
from coreviz_source.errors import BadRequestError
from coreviz_source.listing.raw_item import RawItem

#: Passes over the list at most; more than two only while each still finds something.
MOST_PASSES = 12
#: Answers in a row without anything new before the listing stops waiting for more.
MOST_BARREN = 3
#: The largest page asked for, to see more items of one `createdAt` in one answer than `page_size` holds.
LARGEST_PAGE = 1000


#: Answers of a whole listing that may wait to be read, for each request in flight.
BUFFERED = 4


@dataclass(frozen=True)
class Span:
    """The range of creation times to list: from `oldest` (included) to `newest` (excluded); None is open."""

    oldest: datetime | None = None
    newest: datetime | None = None

    @property
    def everything(self) -> bool:
        """Whether the span is the whole dataset."""
        return self.oldest is None and self.newest is None

    def holds(self, created: datetime | None) -> bool:
        """Whether an item created then is in the span; one without a usable time is only in the whole."""
        if created is None:
            return self.everything
        return (self.oldest is None or created >= self.oldest) and (self.newest is None or created < self.newest)


class _View:
    """One answer: a view of a stretch of the list at one moment."""

    def __init__(self, offset: int, page: Page) -> None:
        self.offset = offset
        self.page = page
        self.items = [RawItem.from_json(raw) for raw in page.items]
        self.end = offset + len(self.items)
        times = [item.created_at for item in self.items]
        #: Whether every item has a time and none is newer than the one before it.
        self.sorted = None not in times and all(a >= b for a, b in pairwise(times))  # type: ignore[operator]

    @property
    def first(self) -> datetime | None:
        return self.items[0].created_at if self.items else None

    @property
    def last(self) -> datetime | None:
        return self.items[-1].created_at if self.items else None


class _OutOfOrder(Exception):
    """The server does not sort by creation time, or not finely enough to list only a part."""


@dataclass
class Listing:
    """One listing of one dataset.

    Call `open()`, then iterate over it once, to the end; then `proven` and `message` say what it is worth.

    Args:
        client: Asks the API.
        dataset_id: As the API is asked for it.
        page_size: Media a request.
        threads: Where requests run: no more at a time than it has threads.
        ahead: How many requests may be in flight.
        calls: Counts the requests.
    """

    client: CorevizClient
    dataset_id: str
    page_size: int
    threads: ThreadPoolExecutor
    ahead: int
    calls: Calls
    span: Span = field(default_factory=Span)
    proven: bool = field(default=False, init=False)
    message: str = field(default="", init=False)
    total: int | None = field(default=None, init=False)
    """What the API counted last; None if it does not say, or contradicts itself."""

    def __post_init__(self) -> None:
        self._seen: set[int] = set()
        self._widened = ""
        self._head: _View | None = None
        self._in_flight: dict[int, Future[Page]] = {}
        self._reach = 1
        self._capacity = 0
        self._limit = self.page_size
        self._expected: int | None = None
        self._largest = max(LARGEST_PAGE, self.page_size)
        self._overlap = 2
        self._totals: set[int] = set()
        self._total_lies = False
        self._must_count = False

    def open(self) -> datetime:
        """Asks for the head of the list; returns the moment, by the server's clock, at which the listing began."""
        self._head = self._ask(0)
        self._expected = self.total
        return self._head.page.time

    def __iter__(self) -> Iterator[list[RawItem]]:
        """The distinct items in batches as they arrive, those beyond the span on the same page included."""
        try:
            if not self.span.everything:
                try:
                    yield from self._part()
                    return
                except _OutOfOrder as reason:
                    self._widened = f"{reason}, so everything was listed"
                    self.span = Span()
            yield from self._whole()
        finally:
            self._forget_in_flight()

    def _part(self) -> Iterator[list[RawItem]]:
        start = self._position_of(self.span.newest) if self.span.newest else 0
        # one ahead, then two, then four: a short window should not cost requests beyond its edge
        self._reach = 1
        chain = _Chain(self, start)
        for view in chain:
            if not view.sorted or (view is chain.origin and start and not self._begins_before_span(view)):
                raise _OutOfOrder("createdAt is not in order")
            if self._must_count:
                raise _OutOfOrder("More media share one createdAt than a page can hold")
            yield self._fresh(view)
            if self.span.oldest and view.last and view.last < self.span.oldest:
                self.proven = True
                return
        self.proven = chain.ended
        self.message = chain.problem

    def _begins_before_span(self, view: _View) -> bool:
        return view.first is not None and self.span.newest is not None and view.first >= self.span.newest

    def _position_of(self, newest: datetime) -> int:
        """The offset of the last item that is not older than `newest`, found by halving; 0 where there is none."""
        low, high = 0, self._expected or 0
        while low < high:
            middle = (low + high) // 2
            found = self._ask(middle, 1).first
            if found is not None and found >= newest:
                low = middle + 1
            else:
                high = middle
        return max(0, low - 1)

    def _whole(self) -> Iterator[list[RawItem]]:
        chained = False
        for number in range(MOST_PASSES):
            before = len(self._seen)
            totals: list[int] = []
            self._reach = self.ahead * BUFFERED
            chain = _Chain(self, 0)
            for view in chain:
                if view.page.total is not None:
                    totals.append(view.page.total)
                yield self._fresh(view)
                # after one whole chain only what was added meanwhile can be missing, and that is at the head
                if chained and self._count_agrees(totals):
                    break
            chained = chained or chain.ended
            if chained and self._count_agrees(totals):
                self.proven, self.message = True, self._widened
                return
            self.message = chain.problem or self._unproven()
            # among ties in a new order every time, a pass may find nothing although something is left
            ties = self._must_count and self._seen
            if chain.exhausted or (number and len(self._seen) == before and not ties):
                return

    def _unproven(self) -> str:
        if self.total is not None:
            return f"{len(self._seen)} media were listed, but the API counts {self.total}"
        if not self._seen:
            return "the API sends no media and no count, so nothing proves that there are none"
        return "many media share one createdAt, and without a count nothing proves that all were listed"

    def _count_agrees(self, totals: list[int]) -> bool:
        if self._total_lies or not totals:
            return not self._must_count
        if self._must_count:
            # with an add or a removal in between, equal numbers could be of different media
            return {len(self._seen)} == self._totals
        return len(self._seen) >= totals[-1]

    def _fresh(self, view: _View) -> list[RawItem]:
        fresh = []
        for item in view.items:
            key = item.key
            if key not in self._seen:
                self._seen.add(key)
                fresh.append(item)
        return fresh

    def _brings_new(self, view: _View) -> bool:
        return any(item.key not in self._seen for item in view.items)

    def _ask(self, offset: int, limit: int | None = None) -> _View:
        return self._view(offset, self._send(offset, limit).result())

    def _ask_ahead(self, offset: int, stride: int, total: int | None) -> _View:
        """The view at an offset, from what is in flight if it is; and those that will follow are sent for."""
        waiting = self._in_flight.pop(offset, None)
        if waiting is None:
            self._forget_in_flight()
            waiting = self._send(offset)
        # where the end is not known, what is sent for may lie beyond it
        buffered = BUFFERED if self.span.everything and total is not None else 1
        for step in range(1, min(self._reach, self.ahead * buffered)):
            further = offset + step * stride
            if total is not None and further >= total:
                break
            if further not in self._in_flight:
                self._in_flight[further] = self._send(further)
        self._reach *= 2
        return self._view(offset, waiting.result())

    def _send(self, offset: int, limit: int | None = None) -> Future[Page]:
        return self.threads.submit(self.client.page, self.dataset_id, offset, limit or self._limit, self.calls)

    def _forget_in_flight(self) -> None:
        for waiting in self._in_flight.values():
            waiting.cancel()
        self._in_flight.clear()

    def _view(self, offset: int, page: Page) -> _View:
        view = _View(offset, page)
        self._capacity = max(self._capacity, len(view.items))
        self.total = None if self._total_lies else page.total
        if page.total is not None:
            self._totals.add(page.total)
            if page.total < view.end and self._brings_new(view):
                self._total_lies, self.total = True, None
        return view


class _Chain:
    """One walk down the list from `start`, view by view, each joined to the ones before it.

    When the iteration is over, `ended` says whether the walk reached the end of the list without a gap; if it did
    not, `problem` says why.
    """

    def __init__(self, listing: Listing, start: int) -> None:
        self._listing = listing
        self._start = start
        self._by_time = True
        self._position = start
        self._reached: datetime | None = None
        self._recent: deque[str] = deque()
        self._known: set[str] = set()
        self._ties = 0
        self.origin: _View | None = None
        self.ended = False
        self.exhausted = False
        self.problem = ""

    def __iter__(self) -> Iterator[_View]:
        listing = self._listing
        head, listing._head = listing._head, None
        view = head if head is not None and self._start == 0 else listing._ask(self._start)
        self.origin = view
        barren = 0
        while True:
            new = listing._brings_new(view)
            moved = self._accept(view)
            yield view
            barren = 0 if new or moved else barren + 1
            verdict = self._verdict(view)
            if verdict == "end" and barren >= (2 if listing.total is None else 1) and not self._goes_on(view):
                self.ended = True
                return
            if barren > MOST_BARREN:
                self.problem = (
                    f"the API says that there is more after {self._position} media, but does not send it"
                    if verdict == "more"
                    else "the API never says where the list ends"
                )
                return
            if barren:
                listing._forget_in_flight()
            following = self._following(view)
            if following is None:
                return
            view = following

    def _goes_on(self, view: _View) -> bool:
        """Whether something follows an end by the count that `hasMore` denies; a short answer may have hidden it."""
        return bool(view.page.has_more) and self._listing._brings_new(self._listing._ask(view.end))

    def _accept(self, view: _View) -> bool:
        """Adds a view that joins to the chain; returns whether that reached further down the list."""
        fresh = [item for item in view.items if item.id not in self._known]
        self._remember(fresh)
        further = view.end > self._position
        self._position = view.end
        self._by_time = self._by_time and view.sorted
        before = self._reached
        if view.last is not None and (before is None or view.last < before):
            self._reached, self._ties = view.last, 0
        self._ties += sum(item.created_at == self._reached for item in fresh)
        if self._listing._must_count and view.page.total is not None:
            return further
        return self._reached != before if self._by_time else bool(fresh)

    def _remember(self, items: list[RawItem]) -> None:
        self._recent.extend(item.id for item in items)
        self._known.update(item.id for item in items)
        while len(self._recent) > 2 * self._listing._largest:
            self._known.discard(self._recent.popleft())

    def _verdict(self, view: _View) -> Literal["end", "more", "unknown"]:
        """What an answer says of what follows it; an end is believed once asking on has brought nothing new."""
        total = None if self._listing._total_lies else view.page.total
        if total is not None and view.end < total:
            return "more"
        if self._by_time and view.last is not None and self._reached is not None and view.last > self._reached:
            # it claims to be where it is not: another page's answer over again
            return "unknown"
        if total is not None:
            return "end" if view.end == total or not view.items else "unknown"
        return "unknown" if view.page.has_more or 0 < self._listing._capacity <= len(view.items) else "end"

    def _following(self, view: _View) -> _View | None:
        """The next view that leaves no gap after the chain; None where there is none to be had."""
        listing = self._listing
        needed = self._needed_overlap()
        capacity = listing._capacity
        if capacity - needed < max(1, capacity // 4):
            larger = self._larger(needed)
            if larger is not None:
                return larger
            # more ties than an answer can hold: only the count can tell whether all were seen
            listing._must_count = True
            needed = 1
        if needed <= capacity // 4:
            listing._overlap = max(listing._overlap, needed)
        planned = max(0, min(max(needed, listing._overlap), capacity - 1))
        offset = max(0, self._position - planned)
        total = None if listing._total_lies else view.page.total
        following = listing._ask_ahead(offset, max(1, capacity - planned), total)
        back = max(2, planned)
        while not self._joins(following, planned):
            if self._over_budget():
                return None
            # the head joins whatever came before, so this ends there at the latest
            offset = max(0, offset - back)
            back *= 2
            listing._forget_in_flight()
            following = listing._ask(offset)
        return None if self._over_budget() else following

    def _needed_overlap(self) -> int:
        """By how many items the next page has to overlap, so that it begins strictly newer than the chain ended."""
        if not self._by_time or self._reached is None or self._listing._must_count:
            return 1
        return 1 + self._ties

    def _larger(self, needed: int) -> _View | None:
        """An answer of more than a page that holds all that overlaps; None if the server does not give one."""
        listing = self._listing
        limit, before = 2 * max(needed, listing._limit), listing._capacity
        if needed < 2 or limit > listing._largest:
            return None
        listing._forget_in_flight()
        offset = max(0, self._position - needed)
        try:
            view = listing._ask(offset, limit)
        except BadRequestError:
            view = None
        if view is None or (len(view.items) <= before and view.end != view.page.total):
            listing._largest = listing._limit
            return None
        listing._limit = limit
        return view if self._joins(view, needed) else None

    def _joins(self, view: _View, planned: int) -> bool:
        """Whether no item that was there throughout can lie between the chain and the view."""
        listing = self._listing
        if view.offset == 0:
            return True
        if not planned:
            listing._must_count = True
            return True
        if not view.items:
            return False
        if self._by_time and view.sorted and not listing._must_count:
            return view.first is not None and self._reached is not None and view.first > self._reached
        return any(item.id in self._known for item in view.items)

    def _over_budget(self) -> bool:
        """Whether the listing asked for far more pages than its items fill: the server never comes to an end."""
        listing = self._listing
        pages = (listing._expected or len(listing._seen)) / max(1, listing._capacity - 1)
        if listing.calls.requests > 200 + 15 * pages:
            self.exhausted = True
            self.problem = f"gave up after {listing.calls.requests} requests that led to no end"
        return self.exhausted
