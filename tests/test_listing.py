"""Thousands of hostile listings in memory: what is called proven has lost nothing. The seed is in the message."""

from __future__ import annotations

import json
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone

import pytest

from coreviz_source.client import Calls, Page
from coreviz_source.listing import Listing, Span

START = datetime(2026, 1, 1, tzinfo=timezone.utc)


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
            tie = (lambda m: self.dice.random()) if self.shuffled else (lambda m: hash(m[0]))
            ordered = sorted(self.media, key=lambda m: (m[1], tie(m)), reverse=True)
            size = min(limit, self.cap or limit)
            found = ordered[offset : offset + size]
            if self.glitch == "short":
                found = found[: max(1, self.dice.randint(1, size))]
            elif (self.glitch == "empty" and self.number == 3) or (self.glitch == "stuck" and offset > 3 * size):
                found = []
            elif self.glitch == "repeat" and self.number == 3:
                found = ordered[:size]
            more = offset + len(found) < len(ordered) if self.more == "true" else self.more
            items = [json.dumps({"id": f"m{i}", "createdAt": c.isoformat()}).encode() for i, c in found]
            return Page(items, max(0, len(ordered) + self.total), more, START)


def listed(server: Server, page_size: int, ahead: int, span: Span) -> tuple[Listing, list[int]]:
    with ThreadPoolExecutor(ahead) as threads:
        listing = Listing(server, "dataset", page_size, threads, ahead, Calls())  # type: ignore[arg-type]
        listing.open()
        listing.span = span
        return listing, [int(item.id[1:]) for batch in listing for item in batch]


@pytest.mark.parametrize("block", range(10))
def test_a_proven_listing_has_lost_nothing_and_every_listing_ends(block):
    for seed in range(block * 100, block * 100 + 100):
        dice = random.Random(seed)
        server = Server(dice)
        if server.glitch == "stuck" and server.total < 0:
            continue  # it says that its list ends where it stops sending: nothing contradicts it
        listing, found = listed(server, dice.choice([1, 2, 7, 10, 100]), dice.choice([1, 4]), Span())
        assert len(found) == len(set(found)), seed
        assert not (listing.proven and server.stay - set(found)), seed
        assert listing.calls.requests <= 260 + 16 * 300, seed
        if server.honest and not server.shuffled:
            assert listing.proven, (seed, listing.message)


@pytest.mark.parametrize("seed", range(60))
def test_a_proven_window_has_lost_nothing_that_is_newer_than_its_edge(seed):
    dice = random.Random(seed)
    server = Server(dice)
    server.glitch = server.total = 0  # type: ignore[assignment]
    oldest = START - timedelta(seconds=dice.randrange(0, 1500))
    newest = dice.choice([None, oldest + timedelta(seconds=dice.randrange(1, 900))])
    before = {i: c for i, c in server.media}
    listing, found = listed(server, dice.choice([2, 7, 10, 100]), dice.choice([1, 4]), Span(oldest, newest))
    inside = {i for i in server.stay if before[i] >= oldest and (newest is None or before[i] < newest)}
    assert not (listing.proven and inside - set(found)), seed
