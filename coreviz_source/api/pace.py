"""How fast to ask: how many requests at the same time, how many media items per request, and when the next may start.

`Pace` learns what happened and when; it sends nothing and has no clock. A number that the user fixed stays as it is.
The rest is chosen by throughput:

* Pages start small. The first one shows how large and how slow an item is at worst, and with that how large a page may
  be. A page that comes back short, or fails because of its size, ends the growth.
* More requests are sent at the same time while that brings more items per second, and fewer where fewer bring nearly
  as many. Throughput is the number of requests in flight divided by their response time (Little's law). A limiter that
  compares with the shortest response time, as TCP Vegas does, would mistake random delays for load.
* After 429, and after several 5xx or lost connections, fewer requests are sent at the same time. After 429 all of them
  wait as long as the server asks for, and are sent less often.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from dataclasses import dataclass

#: Media items per request at the beginning, which is also the fewest that are chosen, and the most.
FIRST_PAGE, LARGEST_PAGE = 100, 1000
#: Requests at the same time, at the beginning and at most.
FIRST_PARALLEL, MOST_PARALLEL = 4, 16
#: Bytes of a response that a larger page may lead to: at least, where the API is quick, and at most. Some gateways do
#: not deliver more.
LEAST_PAGE_BYTES, PAGE_BYTES = 2**20, 4 * 2**20
#: Seconds that a larger page may take, if its time grows with its size.
PAGE_SECONDS = 10.0
#: How many pages may be in flight or wait to be read, per parallel request.
BUFFERED = 4
#: How many bytes may be in flight or wait to be read: at least, where the API is quick, and at most.
LEAST_BYTES_AHEAD, BYTES_AHEAD = 8 * 2**20, 96 * 2**20
#: The share of them that may wait.
UNREAD = 0.4
#: How many bytes one page and all pages may have per second that the API takes for a response. Behind a quick API more
#: bytes would cost memory and save no time.
_PAGE_RATE, _AHEAD_RATE = 200 * 2**20, 1000 * 2**20
#: Seconds without a request after a 429 without `Retry-After`, and the longest ones with it.
PAUSE, LONGEST_PAUSE = 1.0, 30.0

#: n times the requests have to bring at least n ** _WORTH times the throughput; n ** _LINEAR is nearly n times.
_WORTH, _LINEAR = 0.4, 0.75
#: Fewer requests are kept with this share of the throughput before, and with the second one at once.
_AS_GOOD, _BETTER = 0.95, 1.15
#: A trial that brings less than this share of the throughput before it ends at once.
_HARMFUL = 0.75
#: How many times the usual response time makes the pace try fewer requests.
_SLOW = 2.0
#: How many judgements pass before more requests are tried again; doubled whenever they were not worth it.
_PATIENCE, _MOST_PATIENCE = 1, 16
#: The rate after a 429 as a share of the rate that was refused: after the first one, and after later ones.
_FIRST_CUT, _LATER_CUT = 0.7, 0.9
#: The lowest rate, in requests per second.
_SLOWEST = 1 / 30
#: How much the rate grows with each page after a 429.
_RECOVERY = 1.001


@dataclass(frozen=True)
class Flight:
    """A page that was asked for.

    Args:
        limit: How many items were asked for.
        parallel: How many requests could be in flight at that time.
        in_flight: How many were, this one included.
    """

    limit: int
    parallel: int
    in_flight: int


@dataclass
class _Sample:
    """Response times with one number of parallel requests. Their mean is geometric: one late response counts little."""

    parallel: int
    count: float = 0.0
    in_flight: float = 0.0
    logarithms: float = 0.0

    def add(self, in_flight: int, seconds: float) -> None:
        self.count += 1
        self.in_flight += in_flight
        self.logarithms += math.log(seconds)

    def merged(self, later: _Sample) -> _Sample:
        """Both samples; the earlier one counts half."""
        return _Sample(
            self.parallel,
            self.count / 2 + later.count,
            self.in_flight / 2 + later.in_flight,
            self.logarithms / 2 + later.logarithms,
        )

    @property
    def mean_in_flight(self) -> float:
        return self.in_flight / self.count

    @property
    def seconds(self) -> float:
        return math.exp(self.logarithms / self.count)

    @property
    def throughput(self) -> float:
        return self.mean_in_flight / self.seconds


class _Parallel:
    """How many requests to send at the same time: more or fewer are tried, and kept if throughput is better for it."""

    def __init__(self) -> None:
        self.number = FIRST_PARALLEL
        self._sample = _Sample(self.number)
        #: What is usual with this number; None until it is known.
        self._usual: _Sample | None = None
        #: While another number is tried: what was usual before.
        self._before: _Sample | None = None
        #: The sample that this number was better than, until that is confirmed.
        self._unconfirmed: _Sample | None = None
        self._factor = 2.0
        self._fewer_next = False
        self._rested = self._patience = _PATIENCE

    def restart(self) -> None:
        """Forgets the response times, because pages have another size."""
        self._sample = _Sample(self.number)
        self._usual = self._before = self._unconfirmed = None

    def reduce(self) -> None:
        """Fewer, because requests were refused."""
        tried_more = self._before is not None and self._before.parallel < self.number
        self.number = self._before.parallel if self._before and tried_more else max(1, self.number // 2)
        self.restart()
        self._factor = 1.5
        self._rested, self._patience = 0, min(_MOST_PATIENCE, 2 * self._patience)

    def observe(self, flight: Flight, seconds: float) -> None:
        """Notes a response time."""
        full = self.number / 2 if self._before else self.number * 0.8
        # with fewer in flight, the reader is slower than the API
        if flight.parallel != self.number or flight.in_flight <= full:
            return
        self._sample.add(flight.in_flight, seconds)
        if self._sample.count < max(4, self.number // 2):
            return
        if self._before is None:
            self._judge(self._sample)
        else:
            self._judge_trial(self._sample, self._before)

    def _judge(self, sample: _Sample) -> None:
        self._sample = _Sample(self.number)
        if self._usual is not None and sample.seconds > _SLOW * self._usual.seconds and self.number > 1:
            self._usual = sample
            self._try(self.number // 2)
            return
        self._usual = sample if self._usual is None else self._usual.merged(sample)
        doubtful, self._unconfirmed = self._unconfirmed, None
        if doubtful is not None and sample.throughput < _HARMFUL * doubtful.throughput:
            self._return_to(doubtful)
            return
        self._rested += 1
        if self._rested <= self._patience or self.number == MOST_PARALLEL:
            return
        if self._fewer_next:
            self._fewer_next = False
            self._try(max(1, int(self.number / 1.5)))
        else:
            self._try(min(MOST_PARALLEL, max(self.number + 1, int(self.number * self._factor))))

    def _judge_trial(self, sample: _Sample, before: _Sample) -> None:
        gain, factor = self._compare(sample, before)
        certain = sample.count >= max(12, 2 * self.number)
        if self.number < before.parallel:
            if certain or gain >= _BETTER or gain < factor**_LINEAR:
                self._before = None
                if gain >= _AS_GOOD:
                    self._settle(sample)
                else:
                    self._return_to(before)
        elif gain >= factor**_LINEAR or (certain and gain >= factor**_WORTH):
            self._before, self._unconfirmed = None, before
            self._patience = _PATIENCE
            self._settle(sample)
            self._factor = 2.0 if gain >= factor**_LINEAR else 1.5
            if self._factor == 2.0 and self.number < MOST_PARALLEL:
                self._try(min(MOST_PARALLEL, 2 * self.number))
        elif certain or gain < _HARMFUL:
            self._before = None
            self._return_to(before)

    @staticmethod
    def _compare(sample: _Sample, other: _Sample) -> tuple[float, float]:
        """How many times the throughput, and how many times the requests in flight."""
        return sample.throughput / other.throughput, sample.mean_in_flight / other.mean_in_flight

    def _settle(self, usual: _Sample) -> None:
        self._usual = usual
        self._sample = _Sample(self.number)
        self._rested = 0

    def _return_to(self, usual: _Sample) -> None:
        more = self.number > usual.parallel
        self.number = usual.parallel
        self._settle(usual)
        if more and self._factor > 1.5:
            # between both numbers there may be a better one
            self._factor, self._rested = 1.5, self._patience
        elif more:
            self._fewer_next = self.number > 1
            self._patience = min(_MOST_PATIENCE, 2 * self._patience)

    def _try(self, number: int) -> None:
        self._before, self._rested = self._usual, 0
        self.number = number
        self._sample = _Sample(number)


class _PageSize:
    """How many items to ask for."""

    def __init__(self) -> None:
        self.limit = FIRST_PAGE
        #: The largest page that arrived, and the smallest one that failed because of its size.
        self.proven = FIRST_PAGE
        self._too_large: int | None = None
        #: The largest page that the server sends.
        self._cap = LARGEST_PAGE
        self._item_bytes = 0.0
        self._slow = float(LARGEST_PAGE)
        self._probing = False
        #: How many bytes a response may have.
        self.most_bytes = float(LEAST_PAGE_BYTES)

    @property
    def next(self) -> int:
        """The number of items of the next page. Once a page failed, a larger one is tried alone."""
        return self.proven if self._probing else self.limit

    def plan(self, limit: int) -> None:
        """Notes that a page will be asked for."""
        self._probing = self._probing or (self._too_large is not None and limit > self.proven)

    def bytes_of(self, limit: int) -> float:
        """How large a response is, judged by those before."""
        return self._item_bytes * limit

    def observe(self, flight: Flight, items: int, size: int, seconds: float, short: bool) -> None:
        """Chooses after a page that has items."""
        self._item_bytes = max(0.9 * self._item_bytes, size / items)
        if short:
            self._cap = min(self._cap, max(FIRST_PAGE, items))
        elif items >= flight.limit:
            self.proven = max(self.proven, flight.limit)
            if flight.limit >= self.limit:
                self._slow = items * PAGE_SECONDS / seconds
        self._probing = self._probing and flight.limit < self.limit
        self._choose()

    def fail(self, limit: int) -> None:
        """Chooses after a page failed that was larger than those that arrived."""
        self._too_large = min(limit, self._too_large or limit)
        self._probing = False
        self._choose()

    def _choose(self) -> None:
        most = min(self._cap, self._slow, LARGEST_PAGE)
        if self._item_bytes:
            most = min(most, self.most_bytes / self._item_bytes)
        if self._too_large is not None:
            middle = math.sqrt(self.proven * self._too_large)
            most = min(most, middle if middle > 1.15 * self.proven else self.proven)
        self.limit = max(FIRST_PAGE, int(most))


class Pace:
    """Chooses from what was observed; threads may share it.

    Args:
        page_size: Media items per request; None to choose.
        parallel_requests: Requests at the same time; None to choose.
        per_second: The largest number of requests per second; None for no bound.
    """

    def __init__(
        self, page_size: int | None = None, parallel_requests: int | None = None, per_second: float | None = None
    ) -> None:
        self._lock = threading.Lock()
        self._fixed_page, self._page = page_size, _PageSize()
        self._fixed_parallel, self._parallel = parallel_requests, _Parallel()
        self._least_gap = 1 / per_second if per_second else 0.0
        self._gap = 0.0
        self._next = 0.0
        self._hold = 0.0
        self._starts: deque[float] = deque(maxlen=MOST_PARALLEL)
        self._started = self._failed = 0
        self._reduced_at = -math.inf
        self._arrived = 0
        #: The logarithm of the seconds that a response takes while no other is in flight; None until one arrived.
        self._alone: float | None = None

    @property
    def chooses_page(self) -> bool:
        """Whether the number of items per request may change."""
        return self._fixed_page is None

    @property
    def parallel(self) -> int:
        """How many requests may be in flight now."""
        return self._fixed_parallel or self._parallel.number

    @property
    def most_parallel(self) -> int:
        """How many requests may ever be in flight."""
        return self._fixed_parallel or MOST_PARALLEL

    def page_size(self, total: int | None = None) -> int:
        """How many items to ask for.

        Args:
            total: How many items will be read, so that parallel requests share a short list; None if not known.
        """
        if self._fixed_page is not None:
            return self._fixed_page
        with self._lock:
            limit = self._page.next
        return limit if total is None else max(FIRST_PAGE, min(limit, math.ceil(total / self.parallel)))

    def plan(self, limit: int) -> None:
        """Notes that a page of a size will be asked for."""
        with self._lock:
            self._page.plan(limit)

    @property
    def first_page(self) -> int:
        """How many items to ask for before anything is known of a dataset."""
        return self._fixed_page or FIRST_PAGE

    def retry_size(self, limit: int) -> int:
        """How many items to ask for after a page failed: a larger one than ever arrived may have been too large."""
        return limit if self._fixed_page is not None else min(limit, self._page.proven)

    def pages_ahead(self, limit: int, unread: int) -> int:
        """How many pages of a size may be in flight or wait to be read.

        Args:
            limit: The size.
            unread: How many pages have arrived and wait. If they are many, the reader is slower than the API.
        """
        most = BUFFERED * self.parallel
        if self._fixed_page is None and (size := self._page.bytes_of(limit)):
            ahead = min(BYTES_AHEAD, max(LEAST_BYTES_AHEAD, _AHEAD_RATE * self._delay))
            most = min(most, int((ahead if unread * size < UNREAD * ahead else UNREAD * ahead) / size))
        return max(1, most)

    @property
    def _delay(self) -> float:
        """Seconds that a response takes, or the seconds between two requests if these are more."""
        return max(0.0 if self._alone is None else math.exp(self._alone), self._gap, self._least_gap)

    @property
    def parallel_in_part(self) -> int:
        """As `parallel`, where the end of what is read is not known: pages past it are requested in vain."""
        return self._fixed_parallel or min(self.parallel, FIRST_PARALLEL)

    def start_at(self, now: float) -> float:
        """When the next request may start. Each call takes one such moment."""
        with self._lock:
            at = max(now, self._next, self._hold)
            self._next = at + max(self._gap, self._least_gap)
            self._starts.append(at)
            self._started += 1
            return at

    def is_on_hold(self, now: float) -> bool:
        """Whether a request that could start now has to call `start_at` again, because one was refused meanwhile."""
        with self._lock:
            return now < self._hold

    def received(self, flight: Flight, items: int, size: int, seconds: float, short: bool) -> None:
        """Notes that a page arrived.

        Args:
            flight: How it was asked for.
            items: The number of its items.
            size: The bytes of the response.
            seconds: The time from the request to the last byte.
            short: Whether there are fewer items than were asked for, although more follow.
        """
        seconds = max(seconds, 1e-6)
        with self._lock:
            self._arrived += 1
            self._gap /= _RECOVERY
            limit = self._page.limit
            if flight.in_flight == 1:
                now = math.log(seconds)
                self._alone = now if self._alone is None else 0.8 * self._alone + 0.2 * now
            self._page.most_bytes = min(PAGE_BYTES, max(LEAST_PAGE_BYTES, _PAGE_RATE * self._delay))
            if items and self._fixed_page is None:
                self._page.observe(flight, items, size, seconds, short)
            if self._fixed_parallel is not None:
                return
            if self._page.limit != limit:
                self._parallel.restart()
            elif items:
                self._parallel.observe(flight, seconds)

    def refused(
        self, started: float, now: float, status: int | None, retry_after: float | None, limit: int | None = None
    ) -> None:
        """Notes a request that failed with 429, 5xx, or without a response.

        Args:
            started: When it was sent.
            now: When it failed.
            status: The status of the response; None if there was none.
            retry_after: Seconds that the server asks to wait.
            limit: How many items it asked for, if it asked for a page.
        """
        with self._lock:
            if status != 429 and limit is not None and self._fixed_page is None and limit > self._page.proven:
                self._page.fail(limit)
                return
            # what was in flight when the number was reduced says nothing about the reduced number
            if self._fixed_parallel is not None or started < self._reduced_at:
                return
            if status == 429:
                self._slow_down(now)
                self._hold = now + min(LONGEST_PAUSE, PAUSE if retry_after is None else retry_after)
            else:
                since, self._failed = self._started - self._failed, self._started
                if since > self.parallel:
                    return
            self._parallel.reduce()
            self._reduced_at = now

    def _slow_down(self, now: float) -> None:
        """Sets the gap between two requests by the rate that was refused."""
        if self._arrived < 3:
            # hardly anything was accepted, so the rate is not the reason
            return
        rate = (len(self._starts) - 1) / max(now - self._starts[0], 1e-3)
        if self._gap:
            # a server may save up what was not used: what it accepted since the last refusal is its rate
            rate = _LATER_CUT * min(rate, self._arrived / max(now - self._reduced_at, 1e-3))
        else:
            rate *= _FIRST_CUT
        self._gap = 1 / max(rate, _SLOWEST)
        self._arrived = 0
