"""Thousands of hostile listings in memory: a proven one has lost nothing. The seed is in the message."""

from __future__ import annotations

import functools
import json
import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from operator import itemgetter
from typing import Any

import pytest

import coreviz_source.api.pace
import coreviz_source.listing.listing
from coreviz_source.api.http import Calls
from coreviz_source.api.pace import BUFFERED, LARGEST_PAGE, MOST_PARALLEL, Pace
from coreviz_source.api.studio import Page
from coreviz_source.errors import BadRequestError
from coreviz_source.listing.listing import Listing
from coreviz_source.listing.raw_item import RawItem
from coreviz_source.listing.window import Window

START = datetime(2026, 1, 1, tzinfo=timezone.utc)


NEWEST_FIRST = itemgetter(1, 0)


@functools.cache
def sent(number: int, created: datetime) -> bytes:
    return json.dumps({"id": f"m{number}", "createdAt": created.isoformat()}).encode()


class Server:
    """Pages over media that come and go, in a defective way."""

    def __init__(self, dice: random.Random) -> None:
        self.dice = dice
        self.lock = threading.Lock()
        self.media: list[tuple[int, datetime]] = []
        self.number = 0
        ties = dice.choice([1, 1, 1, 2, 5, 40, 400])
        for place in range(dice.choice([0, 1, 2, 5, 20, 99, 100, 101, 300])):
            self.media.append((place, START - timedelta(seconds=place // ties * 10)))
        self.stay = {i for i, _ in self.media}
        self.shuffled = dice.random() < 0.5
        self.cap = dice.choice([None, None, 1, 2, 3, 10, 50])
        self.change = dice.choice(["", "", "head", "middle", "tail", "remove", "behind", "half", "all"])
        self.glitch = dice.choice([""] * 6 + ["short", "empty", "repeat", "stuck"])
        self.total = dice.choice([0] * 6 + [7, -5])
        self.more = dice.choice(["true"] * 4 + [True, False, None])

    @property
    def honest(self) -> bool:
        return not (self.change or self.glitch or self.total) and self.more == "true"

    def mutate(self, kind: str) -> None:
        newest = max(self.media, key=lambda m: m[1], default=None)
        if kind in ("head", "middle", "tail"):
            seconds = {"head": self.number, "middle": -self.dice.randrange(2000), "tail": -(10**5) - self.number}[kind]
            self.media.append((10**6 + self.number, START + timedelta(seconds=seconds)))
        elif kind == "all":
            self.mutate(self.dice.choice(["head", "middle", "tail", "remove", "behind"]))
        elif newest is not None:
            gone = [newest] if kind == "behind" else [self.dice.choice(self.media)]
            if kind == "half":
                ordered = sorted(self.media, key=lambda m: m[1], reverse=True)
                gone = ordered[: len(ordered) // 2] if self.number == 3 else []
            self.media = [m for m in self.media if m not in gone]
            self.stay -= {i for i, _ in gone}

    def page(self, dataset_id: str, offset: int, limit: int, calls: Calls) -> Page:
        with self.lock:
            calls.count(False)
            self.number += 1
            if self.change and 1 < self.number < 60:
                self.mutate(self.change)
            if self.shuffled:
                ordered = sorted(self.media, key=lambda m: (m[1], self.dice.random()), reverse=True)
            else:
                ordered = sorted(self.media, key=NEWEST_FIRST, reverse=True)
            size = min(limit, self.cap or limit)
            found = ordered[offset : offset + size]
            if self.glitch == "short":
                found = found[: max(1, self.dice.randint(1, size))]
            elif (self.glitch == "empty" and self.number == 3) or (self.glitch == "stuck" and offset > 3 * size):
                found = []
            elif self.glitch == "repeat" and self.number == 3:
                found = ordered[:size]
            more = offset + len(found) < len(ordered) if self.more == "true" else self.more
            return Page([sent(*each) for each in found], max(0, len(ordered) + self.total), more, START)


def listed(server: Server, page_size: int | None, ahead: int | None, window: Window) -> tuple[Listing, list[int]]:
    pace = Pace(page_size, ahead)
    with ThreadPoolExecutor(pace.most_parallel) as threads:
        listing = Listing(server, "dataset", pace, threads, Calls())  # type: ignore[arg-type]
        listing.open()
        listing.window = window
        return listing, [int(item.id[1:]) for batch in listing for item in batch]


class CountsItsPage(Server):
    """A server whose total is the number of items in the page."""

    def page(self, dataset_id: str, offset: int, limit: int, calls: Calls) -> Page:
        page = super().page(dataset_id, offset, limit, calls)
        return replace(page, total=len(page.items))


@pytest.mark.parametrize("media", [0, 1, 2, 30, 100, 101, 250])
def test_a_total_that_counts_the_items_of_a_page_is_seen_through(media):
    server = CountsItsPage(random.Random(1))
    server.media = [(place, START - timedelta(seconds=place)) for place in range(media)]
    server.cap, server.shuffled, server.change, server.glitch, server.more = None, False, "", "", "true"
    listing, found = listed(server, None, None, Window())
    assert sorted(found) == list(range(media))
    assert listing.proof.complete, listing.proof.reason
    assert listing.calls.requests < 16


@pytest.mark.parametrize("block", range(10))
def test_a_proven_listing_has_lost_nothing_and_every_listing_ends(block):
    for seed in range(block * 100, block * 100 + 100):
        dice = random.Random(seed)
        server = Server(dice)
        if server.glitch == "stuck" and server.total < 0:
            continue  # it says that its list ends where it stops sending: nothing contradicts it
        listing, found = listed(server, dice.choice([1, 2, 7, 10, 100]), dice.choice([1, 4]), Window())
        assert len(found) == len(set(found)), seed
        assert not (listing.proof.complete and server.stay - set(found)), seed
        assert listing.calls.requests <= 260 + 16 * 300, seed
        if server.honest and not server.shuffled:
            assert listing.proof.complete, (seed, listing.proof.reason)


def small(dice: random.Random) -> Server:
    """A server whose few media are read in a moment."""
    server = Server(dice)
    server.media = server.media[: dice.choice([0, 1, 2, 5, 9, 13, 25])]
    server.stay = {i for i, _ in server.media}
    server.cap = dice.choice([None, None, 2, 3, 5])
    return server


def test_a_small_hostile_list_is_whole_or_not_called_proven():
    for seed in range(150):
        dice = random.Random(seed)
        server = small(dice)
        if server.glitch == "stuck" and server.total < 0:
            continue
        plain = not server.glitch and not server.total
        oldest = START - timedelta(seconds=dice.randrange(150)) if plain and dice.random() < 0.5 else None
        before = dict(server.media)
        listing, found = listed(server, dice.choice([2, 4, 7]), dice.choice([1, 3]), Window(oldest))
        assert len(found) == len(set(found)), seed
        inside = {i for i in server.stay if oldest is None or before[i] >= oldest}
        assert not (listing.proof.complete and inside - set(found)), seed
        if server.honest and not server.shuffled:
            assert listing.proof.complete, (seed, listing.proof.reason)


@pytest.mark.parametrize("seed", range(60))
def test_a_proven_window_has_lost_nothing_that_is_newer_than_its_edge(seed):
    dice = random.Random(seed)
    server = Server(dice)
    server.glitch = server.total = 0  # type: ignore[assignment]
    oldest = START - timedelta(seconds=dice.randrange(0, 1500))
    newest = dice.choice([None, oldest + timedelta(seconds=dice.randrange(1, 900))])
    before = {i: c for i, c in server.media}
    listing, found = listed(server, dice.choice([2, 7, 10, 100]), dice.choice([1, 4]), Window(oldest, newest))
    inside = {i for i in server.stay if before[i] >= oldest and (newest is None or before[i] < newest)}
    assert not (listing.proof.complete and inside - set(found)), seed


@pytest.fixture
def tiny(monkeypatch):
    """Pages that begin small, so that they grow over a list of a few hundred media."""
    monkeypatch.setattr(coreviz_source.api.pace, "FIRST_PAGE", 5)
    monkeypatch.setattr(coreviz_source.listing.listing, "FIRST_PAGE", 5)


@pytest.mark.parametrize("block", range(4))
def test_pages_that_change_their_size_lose_nothing_and_every_listing_ends(tiny, block):
    for seed in range(block * 50, block * 50 + 50):
        dice = random.Random(seed)
        server = Server(dice)
        if server.glitch == "stuck" and server.total < 0:
            continue
        server.cap = dice.choice([None, None, 3, 20, 150])
        plain = not server.glitch and not server.total
        oldest = START - timedelta(seconds=dice.randrange(1500)) if plain and dice.random() < 0.5 else None
        before = dict(server.media)
        listing, found = listed(server, None, dice.choice([None, 3]), Window(oldest))
        assert len(found) == len(set(found)), seed
        inside = {i for i in server.stay if oldest is None or before[i] >= oldest}
        assert not (listing.proof.complete and inside - set(found)), seed
        assert listing.calls.requests <= 260 + 16 * 300, seed
        if server.honest and not server.shuffled:
            assert listing.proof.complete, (seed, listing.proof.reason)


def test_a_long_list_takes_few_requests_and_a_window_of_it_reads_little_more_than_the_window():
    server = Plain(apart(20_000))
    listing, found = read(server, None, None)
    assert (found, listing.proof.complete) == (list(range(20_000)), True)
    assert (len(server.asked) < 40, listing.page_size) == (True, LARGEST_PAGE)
    for window in (50, 300, 1000, 6000):
        server = Plain(apart(20_000))
        listing, found = read(server, None, None, Window(oldest=ago(10 * window)))
        assert listing.proof.complete
        assert sum(limit for _, limit in server.asked) <= 1.5 * window + 400
        assert len(server.asked) <= 4 + window / 98
    assert len(server.asked) < 40


@pytest.mark.parametrize("number", [0, 1, 100, 101, 300])
def test_a_short_list_takes_no_more_requests_than_with_pages_of_100(number):
    fixed, chosen = Plain(apart(number)), Plain(apart(number))
    read(fixed, 100, 4)
    read(chosen, None, None)
    assert len(chosen.asked) <= len(fixed.asked)


def test_a_server_that_sends_fewer_than_asked_for_is_asked_for_no_more_than_that():
    server = Plain(apart(5000), cap=250)
    listing, found = read(server, None, None)
    assert (found, listing.proof.complete) == (list(range(5000)), True)
    assert {limit for _, limit in server.asked[8:]} == {250}
    assert len(server.asked) <= 1 + 5000 / 248 + MOST_PARALLEL


class Plain:
    """Pages honestly over media that stay, except where a test configures it; remembers what it was asked for."""

    def __init__(
        self,
        times: list[datetime | None],
        cap: int = LARGEST_PAGE,
        count: Callable[[int], int | None] = lambda number: number,
        more: Callable[[bool], bool | None] = lambda more: more,
    ) -> None:
        self.items = [
            json.dumps({"id": f"m{i}", "createdAt": c and c.isoformat()}).encode() for i, c in enumerate(times)
        ]
        self.cap, self.count, self.more = cap, count, more
        self.asked: list[tuple[int, int]] = []

    def page(self, dataset_id: str, offset: int, limit: int, calls: Calls) -> Page:
        assert dataset_id == "dataset"
        assert offset >= 0
        assert limit > 0
        calls.count(False)
        self.asked.append((offset, limit))
        found = self.items[offset : offset + min(limit, self.cap)]
        more = self.more(offset + len(found) < len(self.items))
        return Page(found, self.count(len(self.items)), more, START)


def apart(number: int, ties: int = 1) -> list[datetime | None]:
    """Creation times, newest first, ten seconds apart, so many of each."""
    return [ago(10 * (place // ties)) for place in range(number)]


def ago(seconds: int) -> datetime:
    return START - timedelta(seconds=seconds)


def read(
    server: Any, size: int | None = 10, ahead: int | None = 1, window: Window | None = None
) -> tuple[Listing, list[int]]:
    return listed(server, size, ahead, window or Window())


def uncounted(number: int) -> None:
    """Tells no count."""


@pytest.mark.parametrize("number", [0, 1, 9, 10, 11, 30, 57, 64])
@pytest.mark.parametrize("ahead", [1, 4])
def test_an_honest_list_is_proven_in_its_order_with_no_more_requests_than_its_pages(number, ahead):
    server = Plain(apart(number))
    listing, found = read(server, 10, ahead)
    assert found == list(range(number))
    assert (listing.proof.complete, listing.proof.reason, listing.total) == (True, "", number)
    # pages share two media; the end is believed once asking on has brought nothing
    pages = 1 + max(0, -(-(number - 10) // 8)) + (number > 0)
    assert pages <= len(server.asked) == listing.calls.requests <= pages + 1
    assert all(offset < max(1, number) for offset, _ in server.asked)
    assert all(limit == 10 for _, limit in server.asked) or number == 1


def test_the_listing_began_when_the_server_says():
    with ThreadPoolExecutor(1) as threads:
        assert Listing(Plain(apart(3)), "dataset", Pace(10, 1), threads, Calls()).open() == START  # type: ignore[arg-type]


@pytest.mark.parametrize("more", [True, False, None])
def test_without_a_count_the_end_is_asked_for_twice_and_believed(more):
    server = Plain(apart(30), count=uncounted, more=lambda said: said if more else more)
    listing, found = read(server)
    assert (found, listing.proof.complete, listing.proof.reason, listing.total) == (list(range(30)), True, "", None)
    assert len(server.asked) == 6


def test_a_count_that_is_too_small_is_not_believed_and_the_list_is_read_to_its_end():
    listing, found = read(Plain(apart(30), count=lambda number: number - 5))
    assert (found, listing.proof.complete, listing.proof.reason, listing.total) == (list(range(30)), True, "", None)


def test_an_end_by_the_count_is_not_believed_where_has_more_denies_it_and_something_follows():
    class Short(Plain):
        def page(self, dataset_id: str, offset: int, limit: int, calls: Calls) -> Page:
            return super().page(dataset_id, offset, limit if offset >= 25 else min(limit, 25 - offset), calls)

    listing, found = read(Short(apart(30), count=lambda number: 25))
    assert (found, listing.proof.complete) == (list(range(25)), False)


def test_one_request_more_is_enough_where_the_end_is_denied_for_ever():
    server = Plain(apart(30), more=lambda more: True)
    listing, found = read(server)
    assert (found, listing.proof.complete, listing.proof.reason) == (list(range(30)), True, "")
    assert len(server.asked) == 6


@pytest.mark.parametrize(
    ("server", "message"),
    [
        (
            Plain(apart(30), count=lambda number: number + 5),
            "the API announces more than 30 items, but does not send the others",
        ),
        (Plain(apart(30), count=uncounted, more=lambda more: True), "the API never reports the end of the list"),
        (Plain(apart(30), count=lambda number: 7, more=lambda more: True), "the API never reports the end of the list"),
    ],
)
def test_an_end_that_never_comes_is_waited_for_four_times_and_named(server, message):
    listing, found = read(server)
    assert (found, listing.proof.complete, listing.proof.reason) == (list(range(30)), False, message)
    # twice: there is a second pass
    assert server.asked.count((28, 10)) == 2 * 4


def test_no_media_and_no_count_prove_nothing_and_are_soon_given_up():
    server = Plain([], count=uncounted)
    listing, found = read(server)
    assert (found, listing.proof.complete) == ([], False)
    assert (
        listing.proof.reason == "the API sends neither items nor a total, so nothing proves that the dataset is empty"
    )
    assert len(server.asked) <= 4


class Shuffling(Plain):
    """Media of one time, in an order of its own at every request, and never so many that all are in one answer."""

    def page(self, dataset_id: str, offset: int, limit: int, calls: Calls) -> Page:
        random.Random(len(self.asked)).shuffle(self.items)
        return super().page(dataset_id, offset, limit, calls)


def test_ties_in_any_order_are_proven_by_the_count_alone():
    listing, found = read(Shuffling(apart(30, 30), cap=10))
    assert (sorted(found), listing.proof.complete, listing.proof.reason) == (list(range(30)), True, "")
    listing, found = read(Shuffling(apart(30, 30), cap=10, count=uncounted))
    assert not listing.proof.complete
    assert sorted(found) == list(range(30))
    listing, found = read(Shuffling(apart(30, 30), cap=10, count=lambda number: number + 1))
    assert (listing.proof.complete, listing.total) == (False, 31)
    assert listing.proof.reason in (
        "30 items were listed, but the API counts 31",
        "the API announces more than 30 items, but does not send the others",
    )


def test_ties_are_listed_again_as_long_as_the_count_says_that_one_is_missing():
    class Hiding(Plain):
        def page(self, dataset_id: str, offset: int, limit: int, calls: Calls) -> Page:
            if len(self.asked) < 40:
                self.items.sort(key=lambda raw: b"m29" in raw)
                beyond = offset + min(limit, self.cap)
                self.items.insert(beyond if beyond < 30 else 0, self.items.pop())
            return super().page(dataset_id, offset, limit, calls)

    listing, found = read(Hiding(apart(30, 30), cap=10))
    assert (sorted(found), listing.proof.complete, listing.proof.reason) == (list(range(30)), True, "")


def test_ties_without_a_count_are_unproven():
    listing, found = read(Plain(apart(30, 30), cap=10, count=uncounted, more=lambda more: more and None))
    assert (sorted(found), listing.proof.complete) == (list(range(30)), False)
    assert (
        listing.proof.reason
        == "many items share one createdAt, and without a total nothing proves that all of them were listed"
    )


@pytest.mark.parametrize("removed", [0, 1])
def test_pages_of_one_media_are_proven_by_the_count_alone(removed):
    class Single(Plain):
        def page(self, dataset_id: str, offset: int, limit: int, calls: Calls) -> Page:
            if offset == 4 and len(self.items) == 12:
                del self.items[:removed]
            return super().page(dataset_id, offset, limit, calls)

    listing, found = read(Single(apart(12), cap=1))
    assert not listing.proof.complete or set(range(removed, 12)) <= set(found)
    assert listing.proof.complete or removed


def test_the_first_page_over_again_does_not_end_a_list_that_nobody_counted():
    class First(Plain):
        def page(self, dataset_id: str, offset: int, limit: int, calls: Calls) -> Page:
            whole = super().page(dataset_id, offset, limit, calls)
            return Page([*self.items[: len(whole.items)]], None, whole.has_more, START)

    listing, found = read(First(apart(20)))
    assert (found, listing.proof.complete) == (list(range(10)), False)
    assert listing.proof.reason == "the API never reports the end of the list"


def test_a_larger_page_that_leaves_a_gap_because_media_went_is_not_taken():
    class Shrinking(Plain):
        def page(self, dataset_id: str, offset: int, limit: int, calls: Calls) -> Page:
            if limit > 10 and len(self.items) == 60:
                del self.items[:12]
            return super().page(dataset_id, offset, limit, calls)

    listing, found = read(Shrinking([*apart(10), *[ago(95)] * 20, *(ago(100 + n) for n in range(30))]))
    assert set(range(12, 60)) <= set(found)
    assert listing.proof.reason == "60 items were listed, but the API counts 48"


@pytest.mark.parametrize(("ties", "size"), [(5, 10), (5, 4), (20, 10), (100, 10), (400, 100)])
def test_ties_that_a_larger_page_holds_are_proven_in_a_few_requests(ties, size):
    number = 3 * ties
    server = Plain(apart(number, ties))
    listing, found = read(server, size)
    assert (found, listing.proof.complete) == (list(range(number)), True)
    assert max(limit for _, limit in server.asked) <= LARGEST_PAGE
    assert len(server.asked) <= 20


def test_a_server_that_refuses_larger_pages_is_asked_for_them_once():
    class Refusing(Plain):
        def page(self, dataset_id: str, offset: int, limit: int, calls: Calls) -> Page:
            if limit > 10:
                self.asked.append((offset, limit))
                raise BadRequestError
            return super().page(dataset_id, offset, limit, calls)

    server = Refusing(apart(60, 30))
    listing, found = read(server)
    assert (found, listing.proof.complete) == (list(range(60)), True)
    assert [limit for _, limit in server.asked if limit > 10] == [22]


@pytest.mark.parametrize("ahead", [1, 4])
@pytest.mark.parametrize(
    ("edge", "requests"), [(0, 1), (50, 1), (80, 1), (90, 2), (91, 2), (160, 2), (170, 3), (260, 4)]
)
def test_a_window_ends_with_the_first_page_outside_it(edge, requests, ahead):
    server = Plain(apart(200))
    listing, found = read(server, 10, ahead, Window(oldest=ago(edge)))
    assert (listing.proof.complete, listing.proof.reason) == (True, "")
    assert found == list(range(10 + 8 * (requests - 1)))
    # what is in flight when the edge is met was asked for in vain: none at first, then one page, then three
    assert len(server.asked) == requests + ([0, 0, 1, 3][requests - 1] if ahead > 1 else 0)


def test_a_window_larger_than_the_list_is_proven_by_the_end_of_the_list():
    listing, found = read(Plain(apart(30)), window=Window(oldest=ago(10_000)))
    assert (found, listing.proof.complete, listing.proof.reason) == (list(range(30)), True, "")
    listing, found = read(Plain(apart(30), count=lambda number: number + 5), window=Window(oldest=ago(10_000)))
    assert (found, listing.proof.complete) == (list(range(30)), False)
    assert listing.proof.reason == "the API announces more than 30 items, but does not send the others"


@pytest.mark.parametrize("newest", [0, 1, 10, 995, 1000, 1990, 2500])
@pytest.mark.parametrize("oldest", [None, 1200])
def test_a_slice_is_found_by_halving_and_is_whole(newest, oldest):
    window = Window(None if oldest is None else ago(oldest), ago(newest))
    server = Plain(apart(200))
    listing, found = read(server, 10, 1, window)
    inside = [place for place in range(200) if window.contains(ago(10 * place))]
    assert (listing.proof.complete, listing.proof.reason) == (True, "")
    assert set(inside) <= set(found)
    assert len(found) <= len(inside) + 2 * 10
    assert sum(limit == 1 for _, limit in server.asked) <= 8
    assert sum(limit > 1 for _, limit in server.asked) <= 1 + len(inside) // 8 + 3


@pytest.mark.parametrize("left", [100, 0])
def test_a_slice_whose_beginning_moved_while_it_was_looked_for_loses_nothing(left):
    class Shrinking(Plain):
        def page(self, dataset_id: str, offset: int, limit: int, calls: Calls) -> Page:
            if limit == 10 and self.asked:
                del self.items[: len(self.items) - left]
            return super().page(dataset_id, offset, limit, calls)

    listing, found = read(Shrinking(apart(120)), window=Window(ago(1100), ago(300)))
    inside = [place for place in range(120) if 30 < place <= 110 and place >= 120 - left]
    assert set(inside) <= set(found)
    assert listing.proof.complete


@pytest.mark.parametrize("window", [Window(oldest=ago(150)), Window(newest=ago(50)), Window(ago(250), ago(50))])
@pytest.mark.parametrize("times", [apart(40)[::-1], [None] * 40, [*apart(9), None, *apart(40)[10:]]])
def test_a_part_of_a_list_without_order_becomes_the_whole_and_says_why(window, times):
    listing, found = read(Plain(times), window=window)
    assert sorted(found) == list(range(40))
    assert (listing.proof.complete, listing.window) == (True, Window())
    assert listing.proof.reason == "createdAt is not in order, so everything was listed"


def test_a_part_with_more_ties_than_a_page_has_items_becomes_the_whole_and_reports_why():
    listing, found = read(Plain(apart(40, 40), cap=10), window=Window(oldest=ago(50)))
    assert (found, listing.proof.complete, listing.window) == (list(range(40)), True, Window())
    assert listing.proof.reason == "more items share one createdAt than a page holds, so everything was listed"


def test_no_more_requests_are_in_flight_than_allowed_and_those_that_wait_have_a_bound():
    class Counting(Plain):
        def __init__(self) -> None:
            super().__init__(apart(2000))
            self.lock, self.now, self.most = threading.Lock(), 0, 0

        def page(self, dataset_id: str, offset: int, limit: int, calls: Calls) -> Page:
            with self.lock:
                self.now += 1
                self.most = max(self.most, self.now)
            try:
                return super().page(dataset_id, offset, limit, calls)
            finally:
                with self.lock:
                    self.now -= 1

    server = Counting()
    with ThreadPoolExecutor(3) as threads:
        listing = Listing(server, "dataset", Pace(10, 3), threads, Calls())  # type: ignore[arg-type]
        listing.open()
        for number, _ in enumerate(listing):
            assert len(server.asked) <= number + 2 + 3 * BUFFERED
    assert listing.proof.complete
    assert server.most <= 3
    assert len(server.asked) == len(set(server.asked))


def test_requests_run_beside_each_other():
    meeting = threading.Barrier(3, timeout=10)

    class Slow(Plain):
        def page(self, dataset_id: str, offset: int, limit: int, calls: Calls) -> Page:
            if 0 < offset <= 3 * 8:
                meeting.wait()
            return super().page(dataset_id, offset, limit, calls)

    listing, found = read(Slow(apart(100)), 10, 3)
    assert (found, listing.proof.complete) == (list(range(100)), True)


def test_a_listing_that_is_left_asks_for_nothing_more():
    held, go = threading.Event(), threading.Event()

    class Held(Plain):
        def page(self, dataset_id: str, offset: int, limit: int, calls: Calls) -> Page:
            if offset > 8:
                held.set()
                go.wait(10)
            return super().page(dataset_id, offset, limit, calls)

    server = Held(apart(2000))
    with ThreadPoolExecutor(1) as threads:
        listing = Listing(server, "dataset", Pace(10, 1), threads, Calls())  # type: ignore[arg-type]
        listing.open()
        batches = iter(listing)
        next(batches)
        next(batches)
        assert held.wait(10)
        batches.close()  # type: ignore[attr-defined]
        go.set()
    assert [offset for offset, _ in server.asked] == [0, 8, 16]


def test_a_server_that_never_ends_is_given_up_after_a_bounded_number_of_requests():
    class Endless(Plain):
        def page(self, dataset_id: str, offset: int, limit: int, calls: Calls) -> Page:
            calls.count(False)
            found = [
                json.dumps({"id": f"m{n}", "createdAt": ago(n).isoformat()}).encode()
                for n in range(offset, offset + limit)
            ]
            return Page(found, 100, True, START)

    listing, _ = read(Endless([]))
    assert not listing.proof.complete
    # the first that is more than 200 and 15 times its pages, which share a media at least
    assert listing.calls.requests == 200 + 15 * 100 // 9 + 1
    assert (
        listing.proof.reason == f"gave up after {listing.calls.requests} requests without reaching the end of the list"
    )


def test_the_edges_of_a_window_belong_to_it_at_the_old_end_only():
    window = Window(ago(20), ago(10))
    assert [window.contains(ago(seconds)) for seconds in (21, 20, 11, 10, 9)] == [False, True, True, False, False]
    assert [Window(oldest=ago(20)).contains(ago(seconds)) for seconds in (21, 20, 0)] == [False, True, True]
    assert [Window(newest=ago(20)).contains(ago(seconds)) for seconds in (21, 20, 0)] == [True, False, False]
    assert [w.contains(None) for w in (Window(), window, Window(oldest=ago(20)), Window(newest=ago(20)))] == [
        True,
        *[False] * 3,
    ]
    assert [w.is_everything for w in (Window(), Window(ago(1)), Window(newest=ago(1)))] == [True, False, False]


@pytest.mark.parametrize(
    ("sent", "item_id", "created", "folder"),
    [
        ('{"id": "a", "createdAt": "2026-01-01T00:00:00Z"}', "a", START, False),
        ('{"id": "a", "createdAt": "2026-01-01T00:00:00", "type": "folder"}', "a", START, True),
        ('{"id": "a", "createdAt": "2026-01-01T02:00:00+02:00", "type": "image"}', "a", START, False),
        ('{"id": "a", "createdAt": "2026-01-01", "type": "folder"}', "a", START, True),
        ('{"id": "a", "createdAt": "2026-01-01", "type": "image"}', "a", START, False),
        ('{"id": "a", "createdAt": null}', "a", None, False),
        ('{"id": "a", "createdAt": "yesterday"}', "a", None, False),
        ('{"id": "a"}', "a", None, False),
        ('{"id": 7, "type": "folder"}', "7", None, True),
        ('{"id": "' + "AB" * 16 + '"}', "abababab-abab-abab-abab-abababababab", None, False),
    ],
)
def test_an_item_is_known_by_its_id_its_time_and_whether_it_is_a_folder(sent, item_id, created, folder):
    item = RawItem.from_json(sent.encode())
    assert (item.id, item.created_at, item.is_folder, item.raw) == (item_id, created, folder, sent.encode())


@pytest.mark.parametrize("sent", ['{"id": null}', '{"id": ""}', '{"id": true}', '{"id": 1.5}', "{}", "[]", "7"])
def test_an_item_without_a_usable_id_gets_one_of_its_content(sent):
    one, same, other = (RawItem.from_json(sent.encode() + more) for more in (b"", b"", b" "))
    assert one.id == same.id != other.id
    assert one.key == same.key != other.key
    assert len(one.id) == len("without-id-") + 16


@pytest.mark.parametrize(
    ("status", "deleted"),
    [
        ('"deleted"', True),
        ('"active"', False),
        ('"Deleted"', False),
        ('["deleted"]', False),
        ('{"deleted": true}', False),
        ("true", False),
        ("null", False),
    ],
)
def test_an_item_is_deleted_by_that_one_status_alone_however_it_is_read(status, deleted):
    for item_id in ('"a"', "7"):  # the second is read leniently
        item = RawItem.from_json(f'{{"id": {item_id}, "status": {status}}}'.encode())
        assert item.is_deleted is deleted
        assert item.content_hash == ""
    assert not RawItem.from_json(b'{"id": "a"}').is_deleted
    assert not RawItem.from_json(b'{"id": "a", "status": "\xff"}').is_deleted
