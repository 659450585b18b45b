"""The requests of a listing. They run in threads, and some are sent before the walk needs their pages."""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace

from coreviz_source.api.http import Calls
from coreviz_source.api.pace import Flight, Pace
from coreviz_source.api.studio import CorevizClient, Page
from coreviz_source.listing.walk import Ask


@dataclass(frozen=True)
class _Request:
    """A page that was asked for, or waits until there is room for its request.

    Args:
        offset: The position of its first item.
        limit: How many items to ask for.
        step: The distance to the page after it, as far as the walk could foresee it.
    """

    offset: int
    limit: int
    step: int
    page: Future[Page] = field(default_factory=Future)


class Pages:
    """Asks for the pages of one dataset.

    Args:
        client: Sends the requests.
        dataset_id: The dataset's id as the API knows it.
        pace: Decides how many requests are in flight, and learns how they end.
        threads: Runs the requests, at most one per thread at a time.
        calls: Counts the requests.
    """

    def __init__(
        self, client: CorevizClient, dataset_id: str, pace: Pace, threads: ThreadPoolExecutor, calls: Calls
    ) -> None:
        self._client = client
        self._dataset_id = dataset_id
        self._pace = pace
        self._threads = threads
        self._calls = calls
        self._lock = threading.Lock()
        self._waiting: deque[_Request] = deque()
        self._in_flight = 0
        self._prefetched: dict[int, _Request] = {}
        self._whole = False
        self._reach = 1
        #: The most items that a request asked for.
        self.page_size = 0
        #: The most requests that were in flight.
        self.parallel_requests = 0

    def start_walk(self, whole: bool) -> None:
        """Sets how many pages are asked for in advance.

        Args:
            whole: Whether the whole list will be read. If not, the number starts at one and doubles with each page,
                so that a short window costs few requests for pages outside it.
        """
        self._whole = whole
        self._reach = 1

    def get(self, ask: Ask) -> Page:
        """Waits for a page and returns it; asks for the following pages where they are known.

        Raises:
            CorevizError: The request failed.
        """
        if ask.drop_prefetched:
            self.drop_prefetched()
        if not ask.step:
            return self._send(ask.offset, ask.limit).page.result()
        request = self._prefetched.pop(ask.offset, None)
        if request is None:
            self.drop_prefetched()
            request = self._send(ask.offset, ask.limit, ask.step)
        self._prefetch(ask, request)
        return request.page.result()

    def _prefetch(self, ask: Ask, latest: _Request) -> None:
        """Asks for the pages that will follow this one."""
        offset = ask.offset
        for _ in range(1, self._most_ahead(ask)):
            # a page that was asked for with another limit keeps its own distance to the next one
            offset += ask.step if latest.limit == ask.limit else latest.step
            if ask.total is not None and offset >= ask.total:
                break
            request = self._prefetched.get(offset)
            if request is None:
                request = self._prefetched[offset] = self._send(offset, ask.limit, ask.step)
            latest = request
        self._reach *= 2

    def _most_ahead(self, ask: Ask) -> int:
        """How many pages may be in flight or wait to be read."""
        if self._whole and ask.total is not None:
            unread = sum(request.page.done() for request in self._prefetched.values())
            return self._pace.pages_ahead(ask.limit, unread)
        # these pages may lie past the end of what is wanted, so there are fewer of them
        most = self._pace.parallel_in_part
        return most if self._whole else min(self._reach, most)

    def drop_prefetched(self) -> None:
        """Discards the pages that were asked for in advance, and cancels the requests that have not started."""
        for request in self._prefetched.values():
            request.page.cancel()
        self._prefetched.clear()

    def _send(self, offset: int, limit: int, step: int = 0) -> _Request:
        request = _Request(offset, limit, step)
        self._pace.plan(limit)
        self._waiting.append(request)
        self._start()
        return request

    def _start(self) -> None:
        """Sends the requests for which there is room, in their order."""
        with self._lock:
            while self._waiting and self._in_flight < self._pace.parallel:
                request = self._waiting.popleft()
                if request.page.set_running_or_notify_cancel():
                    self._in_flight += 1
                    self.page_size = max(self.page_size, request.limit)
                    self.parallel_requests = max(self.parallel_requests, self._in_flight)
                    flight = Flight(request.limit, self._pace.parallel, self._in_flight)
                    self._threads.submit(self._run, request, flight)

    def _run(self, request: _Request, flight: Flight) -> None:
        """Sends a request and waits for its page, in a thread."""
        try:
            page = self._client.page(self._dataset_id, request.offset, request.limit, self._calls)
        except BaseException as error:
            self._land()
            request.page.set_exception(error)
        else:
            self._note(request, flight, page)
            self._land()
            request.page.set_result(page)
        self._start()

    def _land(self) -> None:
        """Makes room for another request, before anybody sees how this one ended."""
        with self._lock:
            self._in_flight -= 1

    def _note(self, request: _Request, flight: Flight, page: Page) -> None:
        limit = page.limit or request.limit
        end = request.offset + len(page.items)
        more = page.has_more if page.total is None else end < page.total
        short = len(page.items) < limit and bool(more)
        self._pace.received(replace(flight, limit=limit), len(page.items), page.size, page.seconds, short)
