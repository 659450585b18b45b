"""The pace that chooses: nearly as fast as the best fixed settings in virtual time, and kept to by all threads."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

import coreviz_source.api.pace
from coreviz_source.api.http import Calls
from coreviz_source.api.pace import (
    BYTES_AHEAD,
    FIRST_PAGE,
    LARGEST_PAGE,
    LEAST_BYTES_AHEAD,
    LEAST_PAGE_BYTES,
    LONGEST_PAUSE,
    MOST_PARALLEL,
    PAGE_BYTES,
    PAUSE,
    UNREAD,
    Flight,
    Pace,
)
from coreviz_source.api.studio import CorevizClient
from coreviz_source.errors import ApiUnavailableError
from coreviz_source.listing.listing import Listing as ApiListing
from coreviz_source.loading.configuration import resolve
from coreviz_source.local_studio import Studio
from coreviz_source.values import canonical_id
from tests.hostile import status
from tests.scenario import frozen
from tests.simulation import Listing, Server, best_fixed

KINDS = {
    "50 ms": Server(latency=0.05),
    "400 ms": Server(latency=0.4),
    "slow items": Server(per_item=0.003),
    "slower with load": Server(per_item=0.0005, workers=4),
    "one worker": Server(latency=0.02, per_item=0.0005, workers=1),
    "collapses with load": Server(per_item=0.0005, workers=4, collapses=True),
    "a cap of 100": Server(cap=100),
    "a cap of 250": Server(latency=0.2, cap=250),
    "429 above 5 per second": Server(latency=0.05, rate=5),
    "429 above 20 per second, a cap of 100": Server(cap=100, rate=20),
    "a slow minute": Server(latency=0.2, per_item=0.001, slow=(15, 75)),
    "jitter": Server(latency=0.2, jitter=0.5),
    "jitter and load": Server(per_item=0.0005, workers=4, jitter=0.5),
    "errors": Server(latency=0.2, cap=100, errors=0.01),
    "413 above 300 items": Server(latency=0.2, too_large=301),
}


@pytest.fixture(autouse=True)
def pauses(monkeypatch):
    """The real pauses, because virtual time costs nothing."""
    monkeypatch.setattr(coreviz_source.api.pace, "PAUSE", PAUSE)
    monkeypatch.setattr(coreviz_source.api.pace, "LONGEST_PAUSE", LONGEST_PAUSE)


def again(kind: str) -> Server:
    """A server of a kind that nobody has asked yet."""
    server = KINDS[kind]
    names = ("latency", "per_item", "workers", "collapses", "cap", "too_large", "rate", "slow", "jitter", "errors")
    return Server(**{name: getattr(server, name) for name in names})


@pytest.mark.parametrize("kind", KINDS)
def test_a_long_list_takes_hardly_longer_than_with_the_best_fixed_settings(kind):
    best = best_fixed(partial(again, kind), 400_000)
    is_random = KINDS[kind].jitter or KINDS[kind].errors
    listings = [Listing(again(kind), Pace(), 400_000, seed) for seed in range(1, 8 if is_random else 2)]
    ratios = sorted(listing.seconds / best for listing in listings)
    # chance may mislead a single listing
    assert ratios[len(ratios) // 2] <= 1.2, ratios
    assert ratios[-1] <= 1.5, ratios
    assert all(listing.refused <= listing.requests / 100 for listing in listings)


def test_a_slow_api_is_listed_many_times_faster_than_with_100_items_and_4_requests():
    usual = Listing(Server(latency=0.4), Pace(100, 4), 100_000).seconds
    assert usual > 100
    assert Listing(Server(latency=0.4), Pace(), 100_000).seconds < usual / 15


def test_numbers_that_are_given_stay():
    pace = Pace(70, 3)
    for number in range(200):
        pace.received(Flight(70, 3, 3), 70, 70, 1e-3, short=bool(number % 2))
        pace.refused(number, number + 1, (429, 503, None)[number % 3], 5.0, 70)
    assert (pace.page_size(10**6), pace.retry_size(1000), pace.parallel, pace.pages_ahead(70, 9)) == (70, 1000, 3, 12)
    assert (pace.start_at(300.0), pace.is_on_hold(0.0)) == (300.0, False)
    pace = Pace(None, 3)
    pace.received(Flight(100, 3, 1), 100, 100, 1e-3, short=False)
    assert (pace.page_size(), pace.parallel) == (LARGEST_PAGE, 3)


@pytest.mark.parametrize(
    ("items", "size", "seconds", "short", "limit"),
    [
        (100, 10**5, 0.1, False, LARGEST_PAGE),
        (100, PAGE_BYTES // 3, 0.1, False, 300),
        (100, 50 * PAGE_BYTES, 0.1, False, FIRST_PAGE),
        (100, 10**5, 4.0, False, 250),
        (100, 10**5, 60.0, False, FIRST_PAGE),
        (50, 10**5, 0.1, True, FIRST_PAGE),
    ],
)
def test_the_next_page_is_as_large_as_the_first_one_allows(items, size, seconds, short, limit):
    pace = Pace()
    pace.received(Flight(FIRST_PAGE, 4, 1), items, size, seconds, short)
    assert pace.page_size() == limit
    for unread, most in ((0, BYTES_AHEAD), (100, UNREAD * BYTES_AHEAD)):
        ahead = pace.pages_ahead(limit, unread)
        assert ahead == 1 or ahead * limit * size / items <= most


def test_a_quick_api_gets_no_more_memory_than_it_needs_unless_it_limits_the_rate():
    pace = Pace()
    pace.received(Flight(FIRST_PAGE, 4, 1), 100, 400_000, 0.002, short=False)
    assert pace.page_size() == LEAST_PAGE_BYTES // 4000
    assert pace.pages_ahead(250, 0) == LEAST_BYTES_AHEAD // 10**6
    for _ in range(20):
        pace.received(Flight(FIRST_PAGE, 4, 1), 100, 400_000, 0.4, short=False)
    assert (pace.page_size(), pace.pages_ahead(1000, 0)) == (LARGEST_PAGE, 4 * 4)
    limited = Pace(per_second=5)
    limited.received(Flight(FIRST_PAGE, 4, 1), 100, 400_000, 0.002, short=False)
    assert limited.page_size() == LARGEST_PAGE


def test_a_short_list_is_shared_by_the_parallel_requests():
    pace = Pace()
    pace.received(Flight(FIRST_PAGE, 4, 1), 100, 10**5, 0.1, short=False)
    assert [pace.page_size(total) for total in (5, 150, 1000, 3999, 10**6)] == [100, 100, 250, 1000, 1000]


def test_after_429_nothing_starts_until_the_server_permits_it_and_then_less_often():
    pace = Pace()
    for number in range(8):
        assert pace.start_at(10 + number / 10) == 10 + number / 10
        pace.received(Flight(FIRST_PAGE, 4, 4), 100, 0, 0.1, short=True)
    assert pace.parallel == 8
    pace.refused(10.75, 10.8, 429, 2.0, FIRST_PAGE)
    assert pace.parallel == 4
    assert [pace.is_on_hold(now) for now in (10.9, 12.7, 12.8)] == [True, True, False]
    starts = [pace.start_at(11.0) for _ in range(3)]
    assert starts == pytest.approx([12.8, 12.8 + 0.8 / 7 / 0.7, 12.8 + 1.6 / 7 / 0.7])
    # what was sent before says nothing about the new pace
    pace.refused(10.79, 10.9, 429, 20.0, FIRST_PAGE)
    assert (pace.parallel, pace.is_on_hold(12.8)) == (4, False)


def test_a_wait_that_the_server_asks_for_has_a_bound():
    pace = Pace()
    pace.refused(0.0, 1.0, 429, 10.0**9, FIRST_PAGE)
    assert (pace.is_on_hold(30.9), pace.is_on_hold(31.1)) == (True, False)


def test_a_single_error_changes_nothing_and_several_do():
    pace = Pace()
    for _ in range(20):
        pace.start_at(1.0)
    pace.refused(1.0, 2.0, 500, None, FIRST_PAGE)
    assert pace.parallel == 4
    pace.refused(1.0, 2.0, None, None, FIRST_PAGE)
    assert (pace.parallel, pace.is_on_hold(2.0)) == (2, False)


def test_a_page_that_was_too_large_is_asked_for_in_a_size_that_arrived():
    pace = Pace()
    pace.received(Flight(FIRST_PAGE, 4, 1), 100, 10**5, 0.1, short=False)
    assert pace.page_size() == LARGEST_PAGE
    pace.refused(1.0, 2.0, 504, None, LARGEST_PAGE)
    assert (pace.retry_size(LARGEST_PAGE), pace.parallel) == (FIRST_PAGE, 4)
    # a size in between is tried by one request, while the others keep to what is known to work
    assert pace.page_size() == 316
    pace.plan(316)
    assert pace.page_size() == FIRST_PAGE
    pace.received(Flight(316, 4, 1), 316, 10**5, 0.1, short=False)
    assert (pace.page_size(), pace.retry_size(LARGEST_PAGE), pace.most_parallel) == (562, 316, MOST_PARALLEL)


def listed(studio: Studio) -> tuple[ApiListing, list[str]]:
    """A listing with settings that choose themselves, and the ids that it found."""
    (dataset,) = studio.library.datasets
    client = CorevizClient(resolve({"base_url": studio.url, "api_key": studio.key}))
    with ThreadPoolExecutor(client.pace.most_parallel) as threads:
        listing = ApiListing(client, dataset, client.pace, threads, Calls())
        listing.open()
        return listing, sorted(item.id for items in listing for item in items)


@pytest.mark.parametrize("code", [400, 413, 504])
def test_pages_that_are_too_large_for_the_server_are_asked_for_in_smaller_ones(code):
    with Studio(frozen(2000)) as studio:
        (dataset,) = studio.library.datasets
        studio.before = lambda request: status(code)() if int(request.params["limit"]) > 300 else None
        listing, found = listed(studio)
        assert listing.proof.complete, listing.proof.reason
        assert found == sorted(canonical_id(item["id"]) for item in studio.snapshot(dataset))
        refused = [request for request in studio.requests if int(request.params["limit"]) > 300]
        assert 0 < len(refused) <= 10
        assert len(studio.requests) < 40


def test_after_429_no_thread_sends_anything_until_the_server_permits_it():
    arrived = []

    def refuse(request):
        arrived.append(time.monotonic())
        return status(429, **{"Retry-After": "1"})() if request.number == 9 else None

    with Studio(frozen(2000), limit_cap=50, before=refuse) as studio:
        (dataset,) = studio.library.datasets
        listing, found = listed(studio)
        assert listing.proof.complete, listing.proof.reason
        assert found == sorted(canonical_id(item["id"]) for item in studio.snapshot(dataset))
    # only those that were on their way when the refusal arrived
    assert len([at for at in arrived if 0 < at - arrived[8] < 1]) < MOST_PARALLEL
    assert listing.calls.retries == 1


def test_at_the_end_of_a_run_the_requests_that_wait_for_their_turn_are_not_sent_all_at_once():
    with Studio(frozen(20)) as studio, ThreadPoolExecutor(3) as threads:
        (dataset,) = studio.library.datasets
        client = CorevizClient(resolve({"base_url": studio.url, "api_key": studio.key, "requests_per_second": 0.05}))
        client.page(dataset, 0, FIRST_PAGE, Calls())
        waiting = [threads.submit(client.page, dataset, 0, FIRST_PAGE, Calls()) for _ in range(3)]
        client.close()
        for each in waiting:
            with pytest.raises(ApiUnavailableError):
                each.result(10)
        assert len(studio.requests) == 1
