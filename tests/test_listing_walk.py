"""What a walk decides on the pages that it is given: no server, no threads, plain data."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from coreviz_source.listing.raw_item import RawItem
from coreviz_source.listing.tally import Tally
from coreviz_source.listing.view import View
from coreviz_source.listing.walk import MOST_BARREN, Ask, Decision, End, GiveUp, PageSizes, Take, Walk

START = datetime(2026, 1, 1, tzinfo=timezone.utc)


def item(place: int, seconds: int | None = None) -> RawItem:
    """The item at a place of the list, each one second older than the one before it."""
    return RawItem(f"m{place}", b"", created_at=START - timedelta(seconds=place if seconds is None else seconds))


def page(offset: int, end: int, total: int | None = None, has_more: bool | None = None) -> View:
    """The page that shows the list from one place to another."""
    return View(offset, [item(place) for place in range(offset, end)], total, has_more)


class Walker:
    """A walk over pages of ten, that is handed its pages by the test."""

    def __init__(self, start: int = 0, largest: int = 10, expected: int | None = None) -> None:
        self.tally = Tally()
        self.sizes = PageSizes(10, largest)
        self.walk = Walk(start, self.sizes, self.tally, expected)

    def see(self, view: View, requests: int = 1) -> Decision:
        """The decision on a page, before its items are taken."""
        self.sizes.observe(view)
        self.tally.observe(view)
        return self.walk.receive(view, requests)

    def take(self, view: View) -> Decision:
        """The decision that follows a page which joins."""
        assert self.see(view) == Take(view)
        self.tally.take_new(view)
        return self.walk.proceed()


def test_a_walk_begins_at_its_start():
    assert Walker(7).walk.begin() == Ask(7, 10)


def test_the_next_page_overlaps_by_the_last_creation_time_and_the_page_after_it_is_foreseen():
    assert Walker().take(page(0, 10, total=30)) == Ask(8, 10, step=8, total=30)
    ties = View(0, [*(item(place) for place in range(7)), *(item(place, 7) for place in range(7, 10))], 30)
    assert Walker().take(ties) == Ask(6, 10, step=6, total=30)


def test_an_end_is_believed_once_asking_on_has_brought_nothing():
    walker = Walker()
    assert walker.take(page(0, 5, total=5)) == Ask(3, 10, step=3, total=5)
    assert walker.walk.outcome is None
    assert walker.take(page(3, 5, total=5)) == walker.walk.outcome == End()


def test_without_a_total_the_end_is_asked_for_once_more():
    walker = Walker()
    assert walker.take(page(0, 5)) == Ask(3, 10, step=3)
    assert walker.take(page(3, 5)) == Ask(3, 10, step=3, drop_prefetched=True)
    assert walker.take(page(3, 5)) == End()


@pytest.mark.parametrize(("behind", "decision"), [(page(5, 5), End), (page(5, 7), Ask)])
def test_an_end_that_has_more_denies_is_looked_behind(behind, decision):
    walker = Walker()
    walker.take(page(0, 5, total=5))
    assert walker.take(page(3, 5, total=5, has_more=True)) == Ask(5, 10)
    assert isinstance(walker.see(behind), decision)


def test_a_page_that_leaves_a_gap_is_asked_for_again_further_and_further_back():
    walker = Walker()
    walker.take(page(0, 10))
    walker.take(page(8, 18))
    # eight items went from the head meanwhile, so each place shows what was eight places further down
    moved = [View(offset, page(offset + 8, offset + 18).items) for offset in (16, 14, 10)]
    assert walker.see(moved[0]) == Ask(14, 10, drop_prefetched=True)
    assert walker.see(moved[1]) == Ask(10, 10, drop_prefetched=True)
    assert walker.see(moved[2]) == Ask(2, 10, drop_prefetched=True)
    joins = View(2, page(10, 20).items)
    assert walker.see(joins) == Take(joins)


def test_the_head_of_the_list_joins_whatever_came_before():
    walker = Walker()
    walker.take(page(0, 10))
    assert walker.see(page(100, 100)) == Ask(6, 10, drop_prefetched=True)
    assert walker.see(page(100, 100)) == Ask(2, 10, drop_prefetched=True)
    assert walker.see(page(100, 100)) == Ask(0, 10, drop_prefetched=True)
    head = View(0, [item(50)])
    assert walker.see(head) == Take(head)


def test_pages_without_order_join_by_an_item_that_both_show():
    undated = [RawItem(f"m{place}", b"") for place in range(30)]
    walker = Walker()
    assert walker.take(View(0, undated[:10])) == Ask(8, 10, step=8)
    assert walker.see(View(8, undated[11:21])) == Ask(6, 10, drop_prefetched=True)
    shared = View(6, undated[9:19])
    assert walker.see(shared) == Take(shared)


def test_more_ties_than_a_page_holds_make_the_walk_ask_for_a_larger_page():
    walker = Walker(largest=100)
    ties = [item(place, 0) for place in range(40)]
    assert walker.take(View(0, ties[:10], 40)) == Ask(0, 22, drop_prefetched=True, may_be_refused=True)
    larger = View(0, ties[:22], 40)
    assert walker.take(larger) == Ask(0, 46, drop_prefetched=True, may_be_refused=True)
    assert (walker.sizes.limit, walker.tally.must_agree) == (22, False)


def test_where_no_larger_page_is_to_be_had_only_the_count_proves_the_end():
    ties = [item(place, 0) for place in range(40)]
    refused = Walker(largest=100)
    refused.take(View(0, ties[:10], 40))
    assert refused.walk.refused() == Ask(8, 10, step=8, total=40)
    no_larger = Walker(largest=100)
    no_larger.take(View(0, ties[:10], 40))
    assert no_larger.see(View(0, ties[:10], 40)) == Ask(8, 10, step=8, total=40)
    for walker in (refused, no_larger):
        assert walker.tally.must_agree
        assert walker.sizes.largest == 10


def test_pages_of_one_item_prove_nothing_but_by_the_count():
    walker = Walker()
    assert walker.take(page(0, 1, total=3)) == Ask(1, 10, step=1, total=3)
    assert walker.take(page(1, 2, total=3)) == Ask(2, 10, step=1, total=3)
    assert walker.tally.must_agree


@pytest.mark.parametrize(
    ("total", "has_more", "reason"),
    [
        (40, None, "the API announces more than 10 items, but does not send the others"),
        (None, True, "the API never reports the end of the list"),
    ],
)
def test_a_walk_gives_up_when_pages_bring_nothing_for_too_long(total, has_more, reason):
    walker = Walker()
    walker.take(page(0, 10, total, has_more))
    for _ in range(MOST_BARREN):
        assert isinstance(walker.take(page(8, 10, total, has_more)), Ask)
    assert walker.take(page(8, 10, total, has_more)) == walker.walk.outcome == GiveUp(reason)


def test_a_walk_gives_up_after_far_more_requests_than_the_list_has_pages():
    walker = Walker(expected=90)
    walker.take(page(0, 10))
    most = 200 + 15 * 90 // 9
    assert isinstance(walker.see(page(8, 18), requests=most), Take)
    walker.walk.proceed()
    gave_up = walker.see(page(16, 26), requests=most + 1)
    assert gave_up == GiveUp(
        f"gave up after {most + 1} requests without reaching the end of the list", out_of_requests=True
    )


def test_a_total_smaller_than_the_list_is_not_believed():
    walker = Walker()
    assert walker.take(page(0, 10, total=7)) == Ask(8, 10, step=8)
    assert walker.tally.total is None
