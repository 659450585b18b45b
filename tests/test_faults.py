"""Every fault of a real server, alone and in pairs: the exit code is right, nothing is lost, and it ends in time."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations
from threading import Timer

import pytest

import coreviz_source.api.http
from coreviz_source.api.http import ATTEMPTS, LONGEST_WAIT, Calls, Response, Transient, wait
from coreviz_source.api.pace import Pace
from coreviz_source.api.studio import CorevizClient
from coreviz_source.errors import ApiUnavailableError, CorevizError
from coreviz_source.listing.listing import Listing
from coreviz_source.listing.raw_item import RawItem
from coreviz_source.loading.configuration import resolve
from coreviz_source.local_studio import Library, Studio
from coreviz_source.local_studio.faults import HARMLESS, PASSING, REFUSALS, Faults
from coreviz_source.rows.build import media_rows
from coreviz_source.values import DEEPEST, canonical_id, decode_json
from tests.scenario import assert_equal_to, first_sync, frozen, media_of, pipeline_in, run_sync, truth_of
from tests.warehouse import read

CODES = {"400": 2, "401": 3, "402": 3, "403": 3, "404": 4, "endless body": 5, "gzip bomb": 5}
#: What a fault put into a media is in the warehouse until the API sends the media without it.
LEAVES_A_MARK = ("NaN", "lone surrogate", "NUL", "deep JSON", "huge number", "huge page")


@pytest.fixture(autouse=True)
def little_patience(monkeypatch):
    monkeypatch.setattr("coreviz_source.api.deadline.LONGEST_RESPONSE", 0.3)
    monkeypatch.setattr(coreviz_source.api.http, "LARGEST_RESPONSE", 32 * 2**20)


@pytest.fixture(scope="module")
def studio() -> Iterator[Studio]:
    with Studio(frozen(60)) as studio:
        yield studio


def client_of(studio: Studio) -> CorevizClient:
    return CorevizClient(resolve({"base_url": studio.url, "api_key": studio.key}))


def changed(library: Library, dice: random.Random) -> None:
    (dataset,) = library.datasets
    library.add_media(dataset, processing=False)
    library.delete(dice.choice(media_of(library))["id"])
    library.add_caption(dice.choice(media_of(library, frames=1))["id"], f"Late, number {dice.random()}.")


@pytest.fixture(scope="module")
def mirrored(tmp_path_factory) -> Iterator[tuple[object, Studio]]:
    """One library and its warehouse, which live through all faults of this file one after another."""
    pipeline = pipeline_in(tmp_path_factory.mktemp("faults"))
    with Studio(frozen(60)) as studio:
        yield pipeline, studio


def survived(pipeline, studio, names, code, share, only=lambda path: True, most=None) -> Faults:
    """A run with faults over a library that changed: its exit code, and nothing lost by it."""
    held = {row["id"] for row in read(pipeline, "media")["media"]}
    changed(studio.library, random.Random(f"{names}"))
    there = {item["id"] for items in truth_of(studio).values() for item in items if item["type"] != "folder"}
    faults = studio.faults = Faults(names, seed=5, share=share, only=only, most=most)
    asked, began = len(studio.requests), time.monotonic()
    try:
        report = run_sync(pipeline, studio, page_size=10, reconcile_every="0")
    finally:
        studio.faults = None
    assert report.exit_code == (code(faults) if callable(code) else code), report.to_json()
    assert faults.injected, "the fault did not happen"
    assert held & there <= {row["id"] for row in read(pipeline, "media")["media"]}, "a media that is there was removed"
    if report.exit_code:
        assert held <= {row["id"] for row in read(pipeline, "media")["media"]}, "removed without proof"
    assert len(studio.requests) - asked < 150
    assert time.monotonic() - began < 30
    return faults


def equal_after_a_clean_run(pipeline, studio) -> None:
    assert run_sync(pipeline, studio, page_size=10, reconcile_every="0").exit_code == 0
    assert_equal_to(pipeline, studio)


@pytest.fixture(scope="module", autouse=True)
def loaded(mirrored) -> None:
    pipeline, studio = mirrored
    assert run_sync(pipeline, studio, page_size=10).exit_code == 0


@pytest.mark.parametrize("name", [*HARMLESS, *PASSING])
def test_a_fault_now_and_then_is_survived_by_the_listing_that_meets_it(studio, name):
    (dataset,) = studio.library.datasets
    faults = studio.faults = Faults([name], seed=5, share=1 if name in HARMLESS else 0.5, most=ATTEMPTS - 1)
    with ThreadPoolExecutor(4) as threads:
        listing = Listing(client_of(studio), dataset, Pace(10, 4), threads, Calls())
        listing.open()
        found = [item.id for items in listing for item in items]
    assert faults.injected
    assert listing.proof.complete, listing.proof.reason
    assert sorted(found) == sorted(canonical_id(item["id"]) for item in studio.snapshot(dataset))


@pytest.mark.parametrize("name", LEAVES_A_MARK)
def test_a_field_that_a_fault_adds_is_loaded_and_disappears_with_the_fault(mirrored, name):
    pipeline, studio = mirrored
    survived(pipeline, studio, [name], 0, 1)
    assert any("odd" in (row["extra"] or {}) for row in read(pipeline, "media")["media"])
    equal_after_a_clean_run(pipeline, studio)


@pytest.mark.parametrize("name", PASSING)
def test_a_fault_that_does_not_pass_is_an_api_that_is_unavailable_after_six_attempts(studio, name):
    (dataset,) = studio.library.datasets
    studio.faults = Faults([name], share=1)
    calls, began = Calls(), time.monotonic()
    with pytest.raises(ApiUnavailableError) as failure:
        client_of(studio).page(dataset, 0, 10, calls)
    assert (calls.requests, calls.retries) == (ATTEMPTS, ATTEMPTS - 1)
    assert failure.value.context["dataset"] == dataset
    assert name != "HTML" or "content type is text/html" in str(failure.value)
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("name", ["400", "401", "404", "redirect loop", "gzip bomb", "endless body"])
def test_a_refusal_in_the_middle_fails_the_dataset_and_removes_nothing(mirrored, name):
    pipeline, studio = mirrored
    code = CODES.get(name, 2)
    survived(pipeline, studio, [name], code, 1, only=lambda path: "offset=0" not in path and "offset" in path)
    equal_after_a_clean_run(pipeline, studio)


PAIRS = sorted(combinations([*HARMLESS, *PASSING, *REFUSALS], 2))


@pytest.mark.parametrize("pair", random.Random(20).sample(PAIRS, 8), ids=" and ".join)
def test_two_faults_together_lose_nothing(mirrored, pair):
    pipeline, studio = mirrored

    def code(faults: Faults) -> int:
        met = [name for name in faults.injected if name in REFUSALS]
        # of two refusals, the one that was met first
        return CODES.get(met[0], 2) if met else 0

    survived(pipeline, studio, pair, code, 0.15, only=lambda path: "offset" in path)
    equal_after_a_clean_run(pipeline, studio)


def test_one_refusal_does_not_make_a_newer_server_an_older_one(pipeline):
    """Without the parameters of 2026 its listing holds the topmost folder only: all others would count as deleted."""
    library = frozen(80)
    with Studio(library) as studio:
        assert first_sync(pipeline, studio).exit_code == 0
        for place, code in (("offset=0", 0), ("offset=8", 2)):
            studio.faults = Faults(["400"], share=1, most=1, only=lambda path, place=place: place in path)
            report = run_sync(pipeline, studio, reconcile_every="0", max_deletes=1, page_size=10)
            assert (report.exit_code, studio.faults.injected["400"]) == (code, 1)
            assert len(read(pipeline, "media")["media"]) == 80
        studio.faults = None
        equal_after_a_clean_run(pipeline, studio)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("0", 0),
        ("0.5", 0.5),
        ("99999999999", 99999999999),
        ("9" * 400, float("inf")),
        *((text, None) for text in ("", "-5", "soon", "\u00b2", "1e9", "nan", "Tue, 99 Nov 2026 12:00:30 GMT")),
        ("Tue, 24 Nov 2026 12:00:30 GMT", 30),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0),
    ],
)
def test_any_retry_after_is_a_wait_with_a_bound(header, seconds):
    response = Response(429, {"Retry-After": header, "Date": "Tue, 24 Nov 2026 12:00:00 GMT"}, b"")
    assert response.retry_after == seconds
    state = type("State", (), {"attempt_number": 6, "outcome": None})()
    failure = Transient(ApiUnavailableError(), response.retry_after)
    state.outcome = type("Outcome", (), {"exception": lambda self: failure})()
    assert 0 <= wait(state) <= LONGEST_WAIT


def test_an_answer_that_is_too_large_says_which_setting_to_change(studio):
    (dataset,) = studio.library.datasets
    studio.faults = Faults(["endless body"], share=1)
    with pytest.raises(ApiUnavailableError, match="page_size"):
        client_of(studio).page(dataset, 0, 10, Calls())


def test_a_client_that_is_closed_does_not_wait_for_another_attempt(studio, monkeypatch):
    monkeypatch.setattr(coreviz_source.api.http, "wait", lambda state: 30.0)
    (dataset,) = studio.library.datasets
    studio.faults = Faults(["503"], share=1)
    client = client_of(studio)
    timer = Timer(0.2, client.close)
    timer.start()
    began = time.monotonic()
    with pytest.raises(CorevizError):
        client.page(dataset, 0, 10, Calls())
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("levels", [DEEPEST, 700, 950, 1_000, 100_000])
def test_deep_json_is_kept_whole_as_a_value_or_as_a_text(levels):
    raw = b'{"id":"m","odd":[1,"[{",' + b'{"a":[' * levels + b'"\\u00e9"' + b"]}" * levels + b'],"name":"n"}'
    (row,) = media_rows("d", [RawItem("m", raw, "0" * 16)], False).tables["media"].to_pylist()
    assert row["name"] == "n"
    odd = decode_json(row["extra"].encode())["odd"]
    assert odd[:2] == [1, "[{"]
    found, depth = odd[2], 0
    while not isinstance(found, str):
        found, depth = (found["a"] if isinstance(found, dict) else found[0]), depth + 1
    if found != "é":
        assert depth <= DEEPEST
        found = found.count("[") + found.count("{") + depth
        assert found == 2 * levels
    else:
        assert depth == 2 * levels
