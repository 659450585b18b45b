"""A server and a client in virtual time: how long a listing takes with a pace, without waiting for it."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from coreviz_source.api.pace import BYTES_AHEAD, Flight, Pace


@dataclass
class Server:
    """Responds after a time. The defaults are a server with a fixed latency.

    Args:
        latency: Seconds per response.
        per_item: Seconds per item of a response.
        workers: How many responses it works on at full speed; with more, each takes longer.
        collapse: Whether more requests than workers also cost throughput.
        cap: The most items per response.
        refused_above: The `limit` above which a request fails with 413.
        rate: The requests per second above which it responds with 429, with a burst of one second.
        slow: From when to when responses take five times as long.
        jitter: The spread of the response times.
        errors: The share of responses with 500.
    """

    latency: float = 0.1
    per_item: float = 0.0001
    workers: float = float("inf")
    collapse: bool = False
    cap: int = 10**9
    refused_above: int = 10**9
    rate: float | None = None
    slow: tuple[float, float] = (0.0, 0.0)
    jitter: float = 0.0
    errors: float = 0.0
    item_bytes: int = 4000
    tokens: float = field(init=False, default=0.0)
    at: float = field(init=False, default=0.0)

    def respond(self, now: float, limit: int, in_flight: int, dice: random.Random) -> tuple[int, int, float]:
        """Status, items, and seconds until the last byte."""
        if self.rate is not None:
            self.tokens = min(self.rate, self.tokens + (now - self.at) * self.rate) if self.at else self.rate
            self.at = now or 1e-9
            if self.tokens < 1:
                return 429, 0, self.latency / 2
            self.tokens -= 1
        if limit > self.refused_above:
            return 413, 0, self.latency
        items = min(limit, self.cap)
        load = max(1.0, in_flight / self.workers)
        seconds = self.latency + self.per_item * items * load
        if self.collapse:
            seconds = (self.latency + self.per_item * items) * load**2
        if self.slow[0] <= now < self.slow[1]:
            seconds *= 5
        seconds *= dice.lognormvariate(0, self.jitter) if self.jitter else 1
        return (500, 0, seconds) if dice.random() < self.errors else (200, items, seconds)


@dataclass
class Outcome:
    seconds: float
    requests: int
    refused: int
    pace: Pace


def listing(server: Server, pace: Pace, total: int, seed: int = 1, reading: float = 5e-6) -> Outcome:
    """Reads a list as `listing.pages` does: some pages are asked for in advance, all are read in order."""
    dice = random.Random(seed)
    number = count()
    events: list[tuple[float, int, Callable[[float], None]]] = []
    waiting: list[list[int]] = []
    arrived: dict[int, tuple[int, int]] = {}
    planned: dict[int, int] = {}
    state: dict[str, Any] = dict.fromkeys(("pages", "requests", "refused", "in_flight", "frontier", "read", "cap"), 0)
    state |= {"busy": False, "end": 0.0}

    def later(at: float, what: Callable[[float], None]) -> None:
        heapq.heappush(events, (at, next(number), what))

    def start(now: float) -> None:
        while waiting and state["pages"] < pace.parallel:
            offset, limit = waiting.pop(0)
            state["pages"] += 1
            send(now, offset, limit, Flight(limit, pace.parallel, state["pages"]), 1)

    def send(now: float, offset: int, limit: int, flight, attempt: int) -> None:
        later(pace.start_at(now), lambda at: leave(at, offset, limit, flight, attempt))

    def leave(now: float, offset: int, limit: int, flight, attempt: int) -> None:
        if pace.is_on_hold(now):
            send(now, offset, limit, flight, attempt)
            return
        state["requests"] += 1
        state["in_flight"] += 1
        status, items, seconds = server.respond(now, limit, state["in_flight"], dice)
        later(now + seconds, lambda at: arrive(at, offset, limit, flight, attempt, status, items, seconds))

    def arrive(now, offset, limit, flight, attempt, status, items, seconds) -> None:
        state["in_flight"] -= 1
        if status != 200:
            state["refused"] += status in (429, 413)
            retry_after = 1.0 if status == 429 else None
            pace.refused(now - seconds, now, status, retry_after, limit)
            wait = dice.uniform(0, 0.5 * 2**attempt)
            wait = 0.0 if status == 413 else wait if retry_after is None else retry_after + wait / 10
            later(now + wait, lambda at: send(at, offset, pace.retry_size(limit), flight, attempt + 1))
            return
        state["pages"] -= 1
        items = max(0, min(items, total - offset))
        pace.received(flight, items, items * server.item_bytes, seconds, items < limit and offset + items < total)
        arrived[offset] = (items, limit)
        start(now)
        read(now)

    def plan(now: float) -> None:
        while state["frontier"] < total and len(planned) < ahead():
            offset = state["frontier"]
            limit = pace.page_size(total if state["read"] else None)
            waiting.append([offset, limit])
            planned[offset] = limit
            state["frontier"] = offset + (min(limit, state["cap"]) if state["cap"] else limit)
        start(now)

    def ahead() -> int:
        if not state["read"]:
            return 1
        limit = pace.retry_size(10**9) if pace.chooses_page else pace.page_size()
        return max(1, min(pace.pages_ahead(limit), int(BYTES_AHEAD / (server.item_bytes * limit))))

    def read(now: float) -> None:
        offset = state["read"]
        if state["busy"] or offset not in arrived:
            return
        items, limit = arrived.pop(offset)
        planned.pop(offset, None)
        state["busy"] = True
        state["read"] = offset + items
        state["end"] = now + items * reading
        if items < limit and state["read"] < total:
            state["cap"] = items
        if state["read"] not in planned:
            # the page was shorter than foreseen: what was asked for in advance leaves a gap
            waiting.clear(), planned.clear(), arrived.clear()
            state["frontier"] = state["read"]

        def done(at: float) -> None:
            state["busy"] = False
            read(at)

        plan(now)
        later(state["end"], done)

    plan(0.0)
    while events and state["read"] < total:
        at, _, what = heapq.heappop(events)
        what(at)
    return Outcome(state["end"], state["requests"], state["refused"], pace)
