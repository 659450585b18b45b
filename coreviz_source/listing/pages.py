"""Requests of a listing: pages are asked for in threads, some of them before the walk needs them."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor

from coreviz_source.client import Calls, CorevizClient, Page
from coreviz_source.listing.walk import Ask

#: Pages of a whole listing that may wait to be read, for each request that may be in flight.
BUFFERED = 4


class Pages:
    """Asks for the pages of one dataset.

    Args:
        client: Sends the requests.
        dataset_id: The dataset's id, in the form that the API is asked for.
        threads: Where requests run; no more of them run at once than there are threads.
        ahead: How many requests may be in flight.
        calls: Counts the requests.
    """

    def __init__(
        self, client: CorevizClient, dataset_id: str, threads: ThreadPoolExecutor, ahead: int, calls: Calls
    ) -> None:
        self._client = client
        self._dataset_id = dataset_id
        self._threads = threads
        self._ahead = ahead
        self._calls = calls
        self._prefetched: dict[int, Future[Page]] = {}
        self._buffered = 1
        self._reach = 1

    def start_pass(self, whole: bool) -> None:
        """Sets how far pages are asked for in advance.

        Args:
            whole: Whether all pages will be needed. If they will not, one page is asked for at first, then two,
                then four, so that a short window costs few requests beyond its edge.
        """
        self._buffered = BUFFERED if whole else 1
        self._reach = self._ahead * BUFFERED if whole else 1

    def get(self, ask: Ask) -> Page:
        """Waits for the page at an offset.

        Raises:
            CorevizError: The API does not send it.
        """
        if ask.drop_prefetched:
            self.drop_prefetched()
        if not ask.step:
            return self._send(ask.offset, ask.limit).result()
        page = self._prefetched.pop(ask.offset, None)
        if page is None:
            self.drop_prefetched()
            page = self._send(ask.offset, ask.limit)
        self._prefetch(ask)
        return page.result()

    def _prefetch(self, ask: Ask) -> None:
        """Asks for the pages that will follow this one."""
        # without a total, what is asked for in advance may lie behind the end of the list
        most = self._ahead * (1 if ask.total is None else self._buffered)
        for number in range(1, min(self._reach, most)):
            offset = ask.offset + number * ask.step
            if ask.total is not None and offset >= ask.total:
                break
            if offset not in self._prefetched:
                self._prefetched[offset] = self._send(offset, ask.limit)
        self._reach *= 2

    def drop_prefetched(self) -> None:
        """Gives up the pages that were asked for in advance; requests that did not start are not sent."""
        for page in self._prefetched.values():
            page.cancel()
        self._prefetched.clear()

    def _send(self, offset: int, limit: int) -> Future[Page]:
        return self._threads.submit(self._client.page, self._dataset_id, offset, limit, self._calls)
