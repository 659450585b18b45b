"""Notices in simulated years: few are false, and what breaks is found. `python -m tests.years` has the long version."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime, timedelta, timezone

import pytest

from coreviz_source.notices import (
    CHANGED_TYPE,
    FALLEN_SHARE,
    MANY_REMOVALS,
    MISSING_DATASET,
    MOST_OPEN,
    NEW_FIELD,
    Notice,
    Observation,
    Profile,
    decide,
)
from tests.years import FAULT, LIBRARIES, found_after, year

NOW = datetime(2026, 6, 1, 12, tzinfo=timezone.utc)
KNOWN = Observation(
    "d", NOW, known_since=NOW - timedelta(days=100), is_listed=True, declared=frozenset({"media.width"})
)


@pytest.mark.parametrize("name", ["a catalogue", "tagged at the end of a month"])
def test_an_ordinary_year_has_no_false_notice(name):
    assert year(LIBRARIES[name], seed=3) == []


@pytest.mark.parametrize(
    ("name", "fault", "days"),
    [
        ("a catalogue", "captions stop", 12),
        ("a catalogue", "frames stop", 12),
        ("a catalogue", "sizeBytes stop", 14),
        ("campaigns", "all captions", 0),
        ("a catalogue", "more than half of all captions", 0),
        ("no habits", "all sizeBytes", 0),
        ("seasons", "30% removed", 0),
    ],
)
def test_what_breaks_is_found_soon_and_nothing_else_is(name, fault, days):
    begun = [n for n in year(LIBRARIES[name], 3, fault, FAULT + days + 1) if int(n.run) >= FAULT]
    after = found_after(begun, fault)
    assert after is not None and after <= days
    assert len(begun) == 1


def uploads(*shares: float, name: str = "captions") -> Profile:
    """A share per block of ten days, the oldest block first; the newest uploads are three days old."""
    days: dict[date, tuple[int, int]] = {}
    for block, share in enumerate(reversed(shares)):
        for day in range(10):
            days[(NOW - timedelta(days=3 + 10 * block + day)).date()] = (round(10 * share), 10)
    return {name: {"image": days}}


def seen(*shares: float, at: datetime = NOW) -> Observation:
    return replace(KNOWN, moment=at, after=uploads(*shares))


def test_a_share_ends_as_fallen_when_it_is_back_or_has_lasted_for_thirty_days():
    usual = [1.0] * 20
    assert decide(seen(*usual), [], "r1") == []
    (begun,) = decide(seen(*usual, 0.0), [], "r1")
    assert (begun.kind, begun.subject, begun.began_at, begun.run) == (FALLEN_SHARE, "captions", NOW, "r1")
    assert "0 of the 100 newest, earlier at least 100%" in begun.text and "image" in begun.text
    # it is not reported again, nor by a run that lists only the newest media items
    assert decide(seen(*usual, 0.0), [begun], "r2") == []
    assert decide(KNOWN, [begun], "r2") == []
    (ended,) = decide(seen(*usual, 0.0, 1.0), [begun], "r2")
    assert (ended.began_at, ended.ended_at, ended.run) == (NOW, NOW, "r2")
    assert "as usual again" in ended.text
    # an equal half everywhere may be the fallen share as well as the usual one
    old = replace(begun, began_at=NOW - timedelta(days=31))
    assert decide(seen(*[0.5] * 20), [begun], "r2") == []
    (ended,) = decide(seen(*[0.5] * 20), [old], "r2")
    assert "for 30 days now" in ended.text
    # what has not recovered does not end while it is still found
    assert decide(seen(*usual, 0.0), [old], "r2") == []


def test_a_share_that_was_late_once_gets_as_much_time_from_then_on():
    falling = seen(*[1.0] * 20, 0.0)
    late = Notice("d", FALLEN_SHARE, "captions", NOW - timedelta(days=80), NOW - timedelta(days=60))
    assert decide(falling, [], "r")
    assert decide(falling, [late], "r") == []
    assert decide(falling, [replace(late, dataset_id="another")], "r")


def test_a_dataset_that_is_new_or_small_has_no_usual_share():
    usual = uploads(*[1.0] * 20, 0.0)
    assert decide(replace(KNOWN, after=usual, known_since=NOW - timedelta(days=13)), [], "r") == []
    assert decide(replace(KNOWN, after=usual, known_since=None), [], "r") == []
    assert decide(seen(*[1.0] * 2, 0.0), [], "r") == []


def test_stored_rows_are_compared_with_themselves_and_not_with_a_bulk_import():
    before = uploads(*[1.0] * 3)
    imported = {"captions": {"image": {**before["captions"]["image"], NOW.date(): (0, 10_000)}}}
    until = (NOW - timedelta(days=1)).date()
    assert decide(replace(KNOWN, before=before, after=imported, compared_until=until), [], "r") == []
    (notice,) = decide(replace(KNOWN, before=before, after=uploads(*[0.4] * 3), compared_until=until), [], "r")
    assert "120 of 300, before 300 of 300," in notice.text


def test_removals_are_unusual_compared_with_every_earlier_day():
    def removals(*amounts: tuple[float, int], stored: int = 100) -> list[Notice]:
        found = [(NOW - timedelta(days=days), amount) for days, amount in amounts]
        return decide(replace(KNOWN, removals=found, stored=stored), [], "r")

    assert removals((0, 19)) == []
    (notice,) = removals((0, 12), (0.5, 12))
    assert notice.kind == MANY_REMOVALS and "24 within a day, of 124; earlier at most 0" in notice.text
    assert removals((0, 24), (30, 9)) == []
    assert removals((0, 24), stored=1000) == []
    later = replace(KNOWN, moment=NOW + timedelta(days=1, hours=1), removals=[(NOW, 24)], stored=100)
    (ended,) = decide(later, [notice], "r2")
    assert ended.ended_at == later.moment


def test_a_field_is_new_once_and_names_that_an_api_makes_up_do_not_fill_the_table():
    fields = dict.fromkeys(("media.rating", "media.width", "media.not a field", "media." + "x" * 90))
    begun = decide(replace(KNOWN, fields=fields), [], "r")
    assert {(n.kind, n.subject) for n in begun} == {(NEW_FIELD, "media.rating"), (CHANGED_TYPE, "media.width")}
    assert decide(replace(KNOWN, fields=fields, known_since=None), [], "r") == []
    assert decide(replace(KNOWN, fields=dict.fromkeys(fields, NOW - timedelta(days=50))), [], "r") == []
    many = dict.fromkeys(f"media.field{n}" for n in range(500))
    assert len(decide(replace(KNOWN, fields=many), begun, "r")) == MOST_OPEN - 1
    kept = replace(KNOWN, kept_fields=frozenset({"media.rating", "media.width"}))
    assert decide(kept, begun, "r") == []
    usual = decide(replace(kept, moment=NOW + timedelta(days=31)), begun, "r")
    assert [n.kind for n in usual] == [NEW_FIELD]
    ended = decide(replace(kept, kept_fields=frozenset()), begun, "r")
    assert len(ended) == 2
    # again after it was nowhere: a new notice; what counts as usual gets none, also if the runs of then are deleted
    again = replace(KNOWN, moment=NOW + timedelta(days=90), fields=dict.fromkeys(("media.rating", "media.width"), NOW))
    assert len(decide(again, ended, "r")) == 2
    assert decide(replace(again, fields={"media.rating": None}), usual, "r") == []
    later = NOW + timedelta(days=60)
    assert decide(replace(again, fields=dict.fromkeys(again.fields, later)), ended, "r") == []


def test_a_missing_dataset_ends_when_the_api_has_it_again_and_not_while_that_is_unknown():
    (begun,) = decide(replace(KNOWN, is_listed=False), [], "r")
    assert begun.kind == MISSING_DATASET
    assert decide(replace(KNOWN, is_listed=False), [begun], "r") == []
    assert decide(replace(KNOWN, is_listed=None), [begun], "r") == []
    (ended,) = decide(KNOWN, [begun], "r2")
    assert not ended.is_open and not replace(ended, notified_at=NOW - timedelta(days=1)).is_sent
