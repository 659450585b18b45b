"""No media is lost to paging: whatever the server does with its pages, every media that stays is in the listing."""

from __future__ import annotations

import random

import pytest

from coreviz_source.local_studio import Studio
from tests import hostile
from tests.scenario import assert_equal_to, frozen, media_of, run, run_sync
from tests.warehouse import read, runs

PROVABLE = {
    "short pages": hostile.short_pages(),
    "one empty page": hostile.one_empty_page(),
    "one repeated page": hostile.one_repeated_page(),
    "hasMore early false": hostile.has_more(False),
    "hasMore always true": hostile.has_more(True),
    "hasMore missing": hostile.has_more(None),
    "hasMore a string": hostile.has_more("true"),
    "total missing": hostile.total(lambda n: None),
    "total too small": hostile.total(lambda n: n - 5),
    "total 0": hostile.total(lambda n: 0),
    "total a string": hostile.total(str),
    "total negative": hostile.total(lambda n: -1),
    "total too large for any column": hostile.total(lambda n: 10**40),
    "no pagination": hostile.no_pagination,
}


@pytest.mark.parametrize(
    ("name", "parallel"), [*((name, 4) for name in PROVABLE), ("short pages", 1), ("one empty page", 1)]
)
def test_bad_pages_lose_nothing_and_are_seen_through(pipeline, name, parallel):
    library = frozen(100)
    with Studio(library, after=PROVABLE[name]) as studio:
        report = run_sync(pipeline, studio, page_size=10, parallel_requests=parallel)
        assert_equal_to(pipeline, studio)
        library.delete(media_of(library)[50]["id"])
        report = run_sync(pipeline, studio, reconcile_every="0", page_size=10, parallel_requests=parallel)
        assert report.exit_code == 0, report.to_json()
        assert_equal_to(pipeline, studio)
        assert len(studio.requests) < 400


UNPROVABLE = {
    "total too large": hostile.total(lambda n: n + 7),
    "hasMore always true and no total": lambda r, a: hostile.has_more(True)(r, hostile.total(lambda n: None)(r, a)),
}


@pytest.mark.parametrize("name", UNPROVABLE)
def test_what_cannot_be_proven_is_loaded_and_deletes_nothing(pipeline, name):
    library = frozen(100)
    with Studio(library) as studio:
        run(pipeline, studio)
        gone = media_of(library)[50]["id"]
        library.delete(gone)
        library.add_caption(media_of(library, frames=1)[30]["id"], "Found all the same.")
        studio.after = UNPROVABLE[name]
        before = len(studio.requests)
        report = run_sync(pipeline, studio, reconcile_every="0")
        assert report.exit_code == 6
        assert len(studio.requests) - before < 80
        assert gone in {r["id"] for r in read(pipeline, "media")["media"]}
        assert "Found all the same." in {r["text"] for r in read(pipeline, "captions")["captions"]}


def test_a_server_that_always_sends_the_first_page_ends_as_unproven(pipeline):
    library = frozen(100)
    with Studio(library, after=hostile.always_the_first_page) as studio:
        report = run_sync(pipeline, studio)
        assert report.exit_code == 6
        assert len(studio.requests) < 80
    assert runs(pipeline)[0]["outcome"] == "unproven"


def test_plain_run_warns_of_an_unproven_listing_and_does_not_raise(pipeline, caplog):
    with Studio(frozen(50), after=UNPROVABLE["total too large"]) as studio:
        run(pipeline, studio)
    assert any("could not be proven" in r.getMessage() for r in caplog.records)
    assert len(read(pipeline, "media")["media"]) == 50


@pytest.mark.parametrize("ties", [3, 15, 45, 300])
@pytest.mark.parametrize("cap", [None, 10])
def test_equal_times_in_another_order_at_every_request_lose_nothing(pipeline, ties, cap):
    library = frozen(160)
    (dataset,) = library.datasets
    for number, item in enumerate(library.listing(dataset)):
        item["createdAt"] = f"2026-01-{1 + number // ties:02d}T00:00:00.000Z" if ties < 300 else "2026-01-01T00:00:00Z"
    for item in list(library.dataset(dataset).items.values()):
        library.touched(item["id"])
    with Studio(library, limit_cap=cap, before=hostile.ShuffledTies(library)) as studio:
        report = run_sync(pipeline, studio)
        assert report.exit_code in (0, 6)
        if ties < 300 or cap is None:
            assert report.exit_code == 0
        assert_equal_to(pipeline, studio)


def head(library, dice, dataset):
    library.add_media(dataset, processing=False)


def middle(library, dice, dataset):
    between = dice.choice(media_of(library, dataset))["createdAt"]
    with library.changing(library.add_media(dataset, processing=False)) as item:
        item["createdAt"] = between[:-2] + "1Z"


def tail(library, dice, dataset):
    with library.changing(library.add_media(dataset, processing=False)) as item:
        item["createdAt"] = "2019-01-01T00:00:00.000Z"


def remove_newest(library, dice, dataset):
    library.delete(media_of(library, dataset)[0]["id"])


def remove_oldest(library, dice, dataset):
    library.delete(media_of(library, dataset)[-1]["id"])


def remove_any(library, dice, dataset):
    library.delete(dice.choice(media_of(library, dataset))["id"])


def everything(library, dice, dataset):
    dice.choice([head, middle, tail, remove_newest, remove_oldest, remove_any])(library, dice, dataset)


CHANGES = [head, middle, tail, remove_newest, remove_oldest, remove_any, everything]


@pytest.mark.parametrize(("change", "parallel"), [*((change, 4) for change in CHANGES), (head, 1), (everything, 1)])
def test_changes_between_two_requests_lose_no_media_that_stays(pipeline, change, parallel):
    library = frozen(100)
    (dataset,) = library.datasets
    dice = random.Random(5)
    stay = {i["id"] for i in media_of(library)}

    def before(request):
        if 1 < request.number < 40:
            change(library, dice, dataset)

    with Studio(library, before=before) as studio:
        run_sync(pipeline, studio, page_size=10, parallel_requests=parallel)
        stay &= {i["id"] for i in media_of(library)}
        assert stay <= {r["id"] for r in read(pipeline, "media")["media"]}
        studio.before = None
        assert run_sync(pipeline, studio, reconcile_every="0", page_size=10, max_deletes=1).exit_code == 0
        assert_equal_to(pipeline, studio)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_tiny_pages_are_enough(pipeline, size):
    library = frozen(40)
    with Studio(library, limit_cap=size) as studio:
        assert run_sync(pipeline, studio, page_size=size).exit_code == 0
        assert_equal_to(pipeline, studio)


@pytest.mark.parametrize(("media", "least"), [(5000, 10_000), (300, 100)], ids=["30 MB at once", "five pages in one"])
def test_answers_of_many_more_media_than_were_asked_for_are_loaded_whole(pipeline, media, least):
    library = frozen(media)
    with Studio(library, limit_floor=least) as studio:
        report = run_sync(pipeline, studio)
        assert (report.exit_code, len(studio.requests) < 20) == (0, True)
        assert_equal_to(pipeline, studio)
        gone = media_of(library)[media // 2]["id"]
        library.delete(gone)
        report = run_sync(pipeline, studio, reconcile_every="0")
        assert [(d.exit_code, d.gone, d.changed) for d in report.datasets.values()] == [(0, 1, 0)]
        assert gone not in {row["id"] for row in read(pipeline, "media")["media"]}


def test_media_out_of_order_are_all_listed_and_the_report_says_why(pipeline):
    library = frozen(200)
    (dataset,) = library.datasets

    def by_id(request):
        with library.lock:
            library.dataset(dataset).order = sorted(library.dataset(dataset).items.values(), key=lambda i: i["id"])

    with Studio(library, before=by_id) as studio:
        run(pipeline, studio)
        library.add_caption(media_of(library, frames=1)[-1]["id"], "Old and late.")
        run(pipeline, studio, lookback="1h")
        assert_equal_to(pipeline, studio)
    assert "not in order" in runs(pipeline)[-1]["message"]
