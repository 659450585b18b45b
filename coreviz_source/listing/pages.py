"""The requests of a listing. They run in threads, and some are sent before the walk needs their pages."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor

from coreviz_source.client import Calls, CorevizClient, Page
from coreviz_source.listing.walk import Ask

#: How many pages may be in flight or wait to be read, per parallel request, where the whole list is read.
BUFFERED = 4


class Pages:
    """Asks for the pages of one dataset.

    Args:
        client: Sends the requests.
        dataset_id: The dataset's id as the API knows it.
        threads: Runs the requests, at most one per thread at a time.
        ahead: How many pages may be asked for in advance; a multiple of it where the whole list is read.
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

    def start_walk(self, whole: bool) -> None:
        """Sets how many pages are asked for in advance.

        Args:
            whole: Whether the whole list will be read. If not, the number starts at one and doubles with each page,
                so that a short window costs few requests for pages outside it.
        """
        self._buffered = BUFFERED if whole else 1
        self._reach = self._ahead * BUFFERED if whole else 1

    def get(self, ask: Ask) -> Page:
        """Waits for a page and returns it; asks for the following pages where they are known.

        Raises:
            CorevizError: The request failed.
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
        # without a total these pages may lie past the end of the list, so there are fewer of them
        most = self._ahead * (1 if ask.total is None else self._buffered)
        for number in range(1, min(self._reach, most)):
            offset = ask.offset + number * ask.step
            if ask.total is not None and offset >= ask.total:
                break
            if offset not in self._prefetched:
                self._prefetched[offset] = self._send(offset, ask.limit)
        self._reach *= 2

    def drop_prefetched(self) -> None:
        """Discards the pages that were asked for in advance, and cancels the requests that have not started."""
        for page in self._prefetched.values():
            page.cancel()
        self._prefetched.clear()

    def _send(self, offset: int, limit: int) -> Future[Page]:
        return self._threads.submit(self._client.page, self._dataset_id, offset, limit, self._calls)
