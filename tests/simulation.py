"""A listing in virtual time: how long it takes on a server of a certain kind with a certain pace, without waiting."""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import count, product

from coreviz_source.api.pace import BYTES_AHEAD, LARGEST_PAGE, MOST_PARALLEL, Flight, Pace

#: Bytes per item.
ITEM = 4000
#: Seconds in which the client reads an item.
READING = 25e-6


@dataclass
class Server:
    """Responds after a while.

    Args:
        latency: Seconds per response.
        per_item: Seconds per item of a response, in addition.
        workers: How many responses it sends at full speed; with more, each is slower.
        collapses: Whether more responses than workers also cost throughput.
        cap: The most items per response.
        too_large: From which `limit` on it refuses a request with 413.
        rate: The requests per second above which it responds with 429. It saves up those of one second.
        slow: A period in which it takes five times as long.
        jitter: How much response times vary: the standard deviation of their logarithm.
        errors: The share of responses with 500.
    """

    latency: float = 0.1
    per_item: float = 0.0001
    workers: float = float("inf")
    collapses: bool = False
    cap: int = 10**9
    too_large: int = 10**9
    rate: float | None = None
    slow: tuple[float, float] = (0.0, 0.0)
    jitter: float = 0.0
    errors: float = 0.0
    _saved: float = field(init=False, default=0.0)
    _at: float = field(init=False, default=-1.0)

    def respond(self, now: float, limit: int, in_flight: int, dice: random.Random) -> tuple[int, int, float]:
        """The status, the number of items as far as there are so many, and the seconds until the last byte."""
        if self.rate is not None:
            self._saved, self._at = min(self.rate, self._saved + (now - self._at) * self.rate), now
            if self._saved < 1:
                return 429, 0, self.latency / 2
            self._saved -= 1
        if limit >= self.too_large:
            return 413, 0, self.latency
        items = min(limit, self.cap)
        load = max(1.0, in_flight / self.workers)
        if self.collapses:
            seconds = (self.latency + self.per_item * items) * load**2
        else:
            seconds = self.latency + self.per_item * items * load
        if self.slow[0] <= now < self.slow[1]:
            seconds *= 5
        if self.jitter:
            seconds *= dice.lognormvariate(0, self.jitter)
        return (500, 0, seconds) if dice.random() < self.errors else (200, items, seconds)


class Listing:
    """A client that reads a list as `coreviz_source.listing` does: some pages in advance, all of them in order.

    Args:
        server: Responds.
        pace: Chooses.
        total: The number of items of the list.
        seed: The seed of everything random.
    """

    def __init__(self, server: Server, pace: Pace, total: int, seed: int = 1) -> None:
        self._server = server
        self.pace = pace
        self._total = total
        self._dice = random.Random(seed)
        self._number = count()
        self._events: list[tuple[float, int, Callable[[float], None]]] = []
        self._waiting: deque[tuple[int, int]] = deque()
        self._arrived: dict[int, int] = {}
        self._planned: set[int] = set()
        self._pages = self._in_flight = self._frontier = self._read = 0
        self._expected: int | None = None
        self._reading = False
        self.seconds = 0.0
        self.requests = self.refused = 0
        self._plan(0.0, pace.first_page)
        while self._read < total:
            at, _, happen = heapq.heappop(self._events)
            happen(at)

    def _later(self, at: float, happen: Callable[[float], None]) -> None:
        heapq.heappush(self._events, (at, next(self._number), happen))

    def _plan(self, now: float, limit: int) -> None:
        # also a fixed page size has to keep within the memory that pages may take
        most = min(self.pace.pages_ahead(limit, len(self._arrived)), BYTES_AHEAD // (ITEM * limit)) if self._read else 1
        while self._frontier < self._total and len(self._planned) < most:
            self._waiting.append((self._frontier, limit))
            self._planned.add(self._frontier)
            self.pace.plan(limit)
            self._frontier += min(limit, self._expected or limit)
            limit = min(limit, self.pace.page_size(self._total))
        self._start(now)

    def _start(self, now: float) -> None:
        while self._waiting and self._pages < self.pace.parallel:
            offset, limit = self._waiting.popleft()
            self._pages += 1
            self._schedule(now, offset, limit, Flight(limit, self.pace.parallel, self._pages), 1)

    def _schedule(self, now: float, offset: int, limit: int, flight: Flight, attempt: int) -> None:
        self._later(self.pace.start_at(now), partial(self._send, offset, limit, flight, attempt))

    def _send(self, offset: int, limit: int, flight: Flight, attempt: int, now: float) -> None:
        if self.pace.is_on_hold(now):
            self._schedule(now, offset, limit, flight, attempt)
            return
        self.requests += 1
        self._in_flight += 1
        status, items, seconds = self._server.respond(now, limit, self._in_flight, self._dice)
        if status == 200:
            happen = partial(self._receive, offset, limit, flight, items, seconds)
        else:
            happen = partial(self._fail, offset, limit, flight, attempt, status, now)
        self._later(now + seconds, happen)

    def _fail(
        self, offset: int, limit: int, flight: Flight, attempt: int, status: int, started: float, now: float
    ) -> None:
        self._in_flight -= 1
        self.refused += status != 500
        self.pace.refused(started, now, status, 1.0 if status == 429 else None, limit)
        backoff = self._dice.uniform(0, 0.5 * 2**attempt)
        wait = {429: 1.0 + backoff / 10, 413: 0.0}.get(status, backoff)
        self._schedule(now + wait, offset, self.pace.retry_size(limit), flight, attempt + 1)

    def _receive(self, offset: int, limit: int, flight: Flight, items: int, seconds: float, now: float) -> None:
        self._in_flight -= 1
        self._pages -= 1
        items = max(0, min(items, self._total - offset))
        short = items < limit and offset + items < self._total
        if short:
            self._expected = items
        self.pace.received(Flight(limit, flight.parallel, flight.in_flight), items, items * ITEM, seconds, short)
        self._arrived[offset] = items
        self._start(now)
        self._continue(now)

    def _continue(self, now: float) -> None:
        if self._reading or self._read not in self._arrived:
            return
        self._planned.discard(self._read)
        items = self._arrived.pop(self._read)
        self._read += items
        self._reading = True
        self.seconds = now + items * READING
        if self._read not in self._planned:
            # the page was shorter than foreseen: those that were asked for in advance leave a gap
            self._waiting.clear()
            self._planned.clear()
            self._arrived.clear()
            self._frontier = self._read
        self._plan(now, self.pace.page_size(self._total))
        self._later(self.seconds, self._finish_reading)

    def _finish_reading(self, now: float) -> None:
        self._reading = False
        self._continue(now)


def best_fixed(server: Callable[[], Server], total: int) -> float:
    """The seconds of the fastest listing with fixed settings of which at most 1 % of the requests are refused."""
    seconds = []
    for page_size, parallel in product((100, 250, 500, LARGEST_PAGE), (1, 2, 4, 6, 8, 12, MOST_PARALLEL)):
        one = server()
        if page_size < one.too_large:
            listing = Listing(one, Pace(page_size, parallel, one.rate), total)
            if listing.refused <= listing.requests / 100:
                seconds.append(listing.seconds)
    return min(seconds)
