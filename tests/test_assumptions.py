"""`check --contract` says of each Studio what it does, with few requests, and shows nothing of what is in it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner, Result
from starlette.responses import Response

from coreviz_source.cli import main
from coreviz_source.commands.assumptions import ACCOUNT, CANNOT_TELL, DATASET, DOCUMENTS, DOES_NOT_HOLD, HOLDS
from coreviz_source.commands.contract import (
    MOST_REQUESTS,
    TOGETHER,
    other_form,
    suggested_page_size,
    suggested_parallel_requests,
)
from coreviz_source.commands.responses import Page, Responses, differences
from coreviz_source.commands.shapes import field_name, shape
from coreviz_source.local_studio import Library, Studio
from coreviz_source.local_studio.library import NEWEST
from coreviz_source.tables import MEDIA
from tests.scenario import media_of

BY_ID = {one.id: one for one in (*ACCOUNT, *DATASET)}


@pytest.fixture(scope="module")
def library() -> Library:
    """Two organizations, folders in folders, a late caption, and a deleted media item."""
    library = Library.generate(60, 2, organizations=2)
    library.clock = lambda: NEWEST
    library.advance(hours=1)
    captioned = media_of(library, frames=1)
    library.add_caption(captioned[0]["id"], "Late.")
    library.soft_delete(captioned[1]["id"])
    return library


def check(studio: Studio, *more: str) -> Result:
    dataset = next(iter(studio.library.datasets))
    given = ["--dataset-ids", dataset, "--base-url", studio.url, "--api-key", studio.key]
    return CliRunner().invoke(main, ["check", "--contract", *given, *more])


def verdicts(studio: Studio) -> dict[str, str]:
    """The verdict on each assumption, of an API that could be asked."""
    done = check(studio, "--json")
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    (dataset,) = report["datasets"]
    assert dataset["requests"] <= MOST_REQUESTS
    asked = [
        request for request in studio.requests if "/organization" not in request.path and "/me" not in request.path
    ]
    assert len(asked) <= MOST_REQUESTS
    assert {request.method for request in studio.requests} == {"GET"}
    return {one["id"]: one["verdict"] for one in (*report["account"], *dataset["findings"])}


def evidence(studio: Studio, name: str) -> str:
    report = json.loads(check(studio, "--json").stdout)
    (found,) = [f for f in (*report["account"], *report["datasets"][0]["findings"]) if f["id"] == name]
    return str(found["evidence"])


@pytest.fixture(scope="module")
def usual(library) -> dict[str, str]:
    """The verdicts on the Studio as it is without switches."""
    with Studio(library) as studio:
        return verdicts(studio)


def test_the_usual_studio_does_what_the_documents_say(usual):
    others = {name: verdict for name, verdict in usual.items() if verdict != HOLDS}
    assert others == {
        "limit": CANNOT_TELL,
        "deleted-hidden": CANNOT_TELL,
        "deleted-single": CANNOT_TELL,
        "folder-previews": DOES_NOT_HOLD,
    }
    assert usual.keys() == BY_ID.keys()


WITHOUT_ORGANIZATIONS = {
    "organizations-endpoint": DOES_NOT_HOLD,
    "default-organization-listed": CANNOT_TELL,
    "all-organizations": CANNOT_TELL,
}
WITHOUT_SINGLE_MEDIA = {
    "media-endpoint": DOES_NOT_HOLD,
    "polygons-single": CANNOT_TELL,
    "single-equals-listing": CANNOT_TELL,
    "media-id-forms": CANNOT_TELL,
}


@pytest.mark.parametrize(
    ("switches", "changed"),
    [
        ({"paths": "holder"}, {"media-paths": DOES_NOT_HOLD}),
        (
            {"polygons": False},
            {"polygons-listed": DOES_NOT_HOLD, "polygons-single": DOES_NOT_HOLD, "polygon-pixels": CANNOT_TELL},
        ),
        ({"single_polygons": False}, {"polygons-single": DOES_NOT_HOLD, "single-equals-listing": DOES_NOT_HOLD}),
        ({"folder_counts": "below"}, {"folder-item-count": DOES_NOT_HOLD}),
        ({"folder_counts": "zero"}, {"folder-item-count": DOES_NOT_HOLD}),
        ({"previews": True}, {"folder-previews": HOLDS, "declared-fields": DOES_NOT_HOLD}),
        ({"deleted_listed": True}, {"deleted-hidden": DOES_NOT_HOLD, "deleted-single": HOLDS}),
        (
            {"deleted_listed": True, "deleted_single": False},
            {"deleted-hidden": DOES_NOT_HOLD, "deleted-single": DOES_NOT_HOLD},
        ),
        ({"organization_list": "object"}, {}),
        ({"dataset_list": "array"}, {}),
        ({"key_scope": "default"}, {"all-organizations": CANNOT_TELL}),
        ({"missing": ["organizations"]}, WITHOUT_ORGANIZATIONS),
        ({"missing": ["me"]}, {"me-endpoint": DOES_NOT_HOLD, "default-organization-listed": CANNOT_TELL}),
        ({"missing": ["datasets"]}, {"datasets-endpoint": DOES_NOT_HOLD, "all-organizations": CANNOT_TELL}),
        ({"missing": ["dataset"]}, {"dataset-endpoint": DOES_NOT_HOLD}),
        ({"missing": ["tags"]}, {"tags-endpoint": DOES_NOT_HOLD}),
        ({"missing": ["folder"]}, {"folder-endpoint": DOES_NOT_HOLD}),
        ({"missing": ["media"]}, WITHOUT_SINGLE_MEDIA),
        ({"missing": ["versions"]}, {"versions-endpoint": DOES_NOT_HOLD}),
        ({"limit_cap": 20}, {"limit": DOES_NOT_HOLD}),
        ({"limit_floor": 20}, {"limit": DOES_NOT_HOLD, "default-limit": DOES_NOT_HOLD}),
        ({"strict": True}, {}),
    ],
    ids=str,
)
def test_each_switch_of_the_studio_changes_the_verdicts_on_it_and_no_other(library, usual, switches, changed):
    with Studio(library, **switches) as studio:
        found = verdicts(studio)
    assert {name: verdict for name, verdict in found.items() if verdict != usual[name]} == changed


def test_an_organization_that_refuses_is_a_finding(library, usual):
    _, second = library.organizations
    with Studio(library, forbidden=[second]) as studio:
        found = verdicts(studio)
    assert {n: v for n, v in found.items() if v != usual[n]} == {"all-organizations": DOES_NOT_HOLD}


@pytest.mark.parametrize("strict", [False, True])
def test_an_api_of_2025_is_a_finding_and_no_error(library, usual, strict):
    with Studio(library, 2025, strict=strict) as studio:
        found = verdicts(studio)
    assert found["generation-2026"] == DOES_NOT_HOLD
    assert found["newer-parameters"] == (DOES_NOT_HOLD if strict else HOLDS)
    assert found["default-order"] == DOES_NOT_HOLD
    assert found["type-filter"] == (CANNOT_TELL if strict else DOES_NOT_HOLD)
    assert {n for n, v in found.items() if n.endswith("endpoint") and v == HOLDS} == set()
    shared = ("limit-echoed", "default-limit", "sorted", "positions", "list-end", "has-more", "timestamps", "frames")
    assert {found[name] for name in shared} == {HOLDS}


def altered(change: Any) -> Any:
    """An `after` hook: every page of the listing, changed."""

    def after(request: Any, sent: dict[str, Any]) -> dict[str, Any]:
        change(request, sent)
        return sent

    return after


def media_in(sent: dict[str, Any]) -> list[dict[str, Any]]:
    return [item for item in sent["media"] if item["type"] != "folder"]


def no_folders_in_total(request: Any, sent: dict[str, Any]) -> None:
    sent["pagination"]["total"] -= 6


def hidden_at_the_end(request: Any, sent: dict[str, Any]) -> None:
    sent["pagination"]["total"] += 3


def never_more(request: Any, sent: dict[str, Any]) -> None:
    sent["pagination"]["hasMore"] = False


def no_limit(request: Any, sent: dict[str, Any]) -> None:
    sent["pagination"]["limit"] = 1000


def upside_down(request: Any, sent: dict[str, Any]) -> None:
    sent["media"].reverse()


def tied(request: Any, sent: dict[str, Any]) -> None:
    for item in sent["media"]:
        item["createdAt"] = item["createdAt"][:11] + "00:00:00.000Z"


def shuffled_by_offset(request: Any, sent: dict[str, Any]) -> None:
    if request.offset == 5:
        sent["media"][0], sent["media"][1] = sent["media"][1], sent["media"][0]


def signed(request: Any, sent: dict[str, Any]) -> None:
    for item in media_in(sent):
        item["blob"] += f"?signature={request.number}"


def numbered_frames(request: Any, sent: dict[str, Any]) -> None:
    for item in media_in(sent):
        for frame in item["frames"]:
            frame["timestamp"] = float(frame["timestamp"])


def no_models(request: Any, sent: dict[str, Any]) -> None:
    for item in media_in(sent):
        for frame in item["frames"]:
            for caption in frame["captions"]:
                del caption["model"]


def fractions(request: Any, sent: dict[str, Any]) -> None:
    for item in media_in(sent):
        for frame in item["frames"]:
            for thing in frame["objects"]:
                thing["polygon"] = [{"x": 0.1, "y": 0.1}, {"x": 0.9, "y": 0.1}, {"x": 0.5, "y": 0.8}]


def odd_width(request: Any, sent: dict[str, Any]) -> None:
    for item in media_in(sent):
        item["width"] = "wide"


def moved_updated_at(request: Any, sent: dict[str, Any]) -> None:
    for item in media_in(sent):
        item["updatedAt"] = "2027-01-01T00:00:00.000Z"


def described_outside(request: Any, sent: dict[str, Any]) -> None:
    for item in media_in(sent):
        item["description"] = "A shoe."


@pytest.mark.parametrize(
    ("change", "name", "verdict"),
    [
        (no_folders_in_total, "total-counts-folders", DOES_NOT_HOLD),
        (no_folders_in_total, "list-end", DOES_NOT_HOLD),
        (hidden_at_the_end, "list-end", DOES_NOT_HOLD),
        (hidden_at_the_end, "total-counts-folders", CANNOT_TELL),
        (never_more, "has-more", DOES_NOT_HOLD),
        (no_limit, "limit-echoed", DOES_NOT_HOLD),
        (upside_down, "sorted", DOES_NOT_HOLD),
        (tied, "no-ties", DOES_NOT_HOLD),
        (shuffled_by_offset, "positions", DOES_NOT_HOLD),
        (signed, "stable-values", DOES_NOT_HOLD),
        (numbered_frames, "frame-timestamps", DOES_NOT_HOLD),
        (no_models, "caption-models", DOES_NOT_HOLD),
        (fractions, "polygon-pixels", DOES_NOT_HOLD),
        (odd_width, "fitting-values", DOES_NOT_HOLD),
        (moved_updated_at, "updated-at", DOES_NOT_HOLD),
        (described_outside, "descriptions", DOES_NOT_HOLD),
    ],
)
def test_what_no_switch_of_the_studio_shows_is_found_as_well(library, change, name, verdict):
    with Studio(library, after=altered(change)) as studio:
        assert verdicts(studio)[name] == verdict


def test_the_evidence_names_fields_and_places(library):
    with Studio(library, after=altered(signed), paths="holder", limit_cap=20) as studio:
        assert evidence(studio, "stable-values").startswith("blob (in ")
        assert "item 1 of page 1" in evidence(studio, "media-paths")
        assert "20 items came where 100 were asked for" in evidence(studio, "limit")
    with Studio(library, previews=True) as studio:
        assert evidence(studio, "declared-fields").startswith("folders.folderPreviews (list of ")


def test_an_empty_dataset_can_be_asked():
    with Studio(Library.empty()) as studio:
        found = verdicts(studio)
    assert found["list-end"] == HOLDS and found["sorted"] == CANNOT_TELL


CANARIES = "canary"


def canary(value: Any, kept: bool, key: str = "") -> Any:
    """A value in which every string is a secret, and every key that a user may have made."""
    if isinstance(value, dict):
        made = key in ("tags", "metadata", "exif", "moderation")
        return {
            f"{CANARIES}Key{n}" if made and k not in ("tags", "moderation") else k: canary(v, kept, k)
            for n, (k, v) in enumerate(value.items())
        }
    if isinstance(value, list):
        return [canary(one, kept, "") for one in value]
    if isinstance(value, str) and not (
        kept and key in ("type", "status", "createdAt", "updatedAt", "path", "timestamp")
    ):
        return f"{CANARIES}-{value}" if key == "id" else f"https://{CANARIES}.example.com/sk_live_{CANARIES}?{value}"
    return value


@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize("form", [[], ["--json"]])
def test_no_output_contains_anything_of_the_library(library, kept, form):
    """Also where every value is another than documented, and where the server repeats them in its errors."""

    def after(request: Any, sent: dict[str, Any]) -> Any:
        items = canary(sent["media"], kept)
        # a field of the API's own, without a column, is named
        return {**sent, "media": [{**item, "rating": f"{CANARIES}", f"{CANARIES} 1234": 1} for item in items]}

    def before(request: Any) -> Any:
        path = request.path
        if path.endswith("/list"):
            return [{"id": f"{CANARIES}-1", "name": CANARIES}, {"id": f"{CANARIES}-2", "slug": CANARIES}]
        if path.endswith("/tags"):
            return {"tags": {CANARIES: [CANARIES]}}
        if "/dataset/" in path and path.endswith("/media"):
            return None
        if path.startswith("/api/media/") and path.count("/") == 3:
            item = {"id": path[11:], "name": "x", "type": "image", "note": "x", "metadata": {"x": "y"}, "frames": []}
            return {"media": canary(item, kept)}
        return Response(json.dumps({"error": CANARIES, "message": f"{CANARIES} {path}"}), 404)

    with Studio(library, after=after, before=before, api_key=f"{CANARIES}-key") as studio:
        done = check(studio, *form)
        shown = check(studio, *form, "--show-ids")
    assert done.exit_code == shown.exit_code == 0, done.output
    for text in (done.stdout, done.stderr, shown.stdout):
        assert CANARIES not in text.lower()
        assert studio.url not in text and "127.0.0.1" not in text
        assert not any(dataset_id in text for dataset_id in library.datasets)
    assert "media.rating" in done.stdout
    assert next(iter(library.datasets)) in shown.stderr
    if not kept:
        assert CANARIES in shown.stderr


def test_a_dataset_that_cannot_be_asked_is_reported_without_its_id(library):
    known, missing = next(iter(library.datasets)), "00000000-0000-4000-8000-000000000000"
    with Studio(library) as studio:
        done = check(studio, "--dataset-ids", f"{known},{missing}", "--json")
        report = json.loads(done.stdout)
        assert [one["exit_code"] for one in report["datasets"]] == [0, 4]
        assert done.exit_code == report["exit_code"] == 4
        assert "404" in report["datasets"][1]["error"]
        assert missing not in done.output
        done = check(studio, "--api-key", "another")
    assert done.exit_code == 3
    assert known not in done.output and studio.url not in done.output


def test_all_datasets_of_the_account_are_asked_without_naming_them(library):
    with Studio(library) as studio:
        given = ["check", "--contract", "--base-url", studio.url, "--api-key", studio.key]
        done = CliRunner().invoke(main, given)
    assert done.exit_code == 0
    assert [line[:14] for line in done.stdout.splitlines() if line.startswith("Dataset ")] == [
        "Dataset 1 of 2",
        "Dataset 2 of 2",
    ]
    with Studio(library, 2025) as studio:
        done = CliRunner().invoke(main, ["check", "--contract", "--base-url", studio.url, "--api-key", studio.key])
    assert done.exit_code == 2


def test_no_request_more_is_sent_than_promised_where_most_fail(library):
    def before(request: Any) -> Any:
        listed = request.path.endswith("/media") and len(request.params) > 1 and "limit" in request.params
        return None if listed and request.params["limit"] == "100" else Response(b"{}", 503)

    with Studio(library, before=before) as studio:
        verdicts(studio)


def test_page_size_and_parallel_requests_follow_the_times():
    def page(items: int, seconds: float, total: int = 5000) -> Page:
        return Page(0, items, tuple({"id": str(n)} for n in range(items)), {"total": total}, seconds)

    assert suggested_page_size([page(10, 0.1), page(100, 0.2), page(1000, 1.9)], 100) == 100
    assert suggested_page_size([page(10, 0.1), page(100, 0.9), page(1000, 1.9)], 100) == 1000
    assert suggested_page_size([page(10, 0.1, total=10)], 100) == 100
    assert suggested_page_size([], 70) == 70
    assert [suggested_parallel_requests(0.1, together) for together in (0.1, 0.2, 0.4, 4, 0)] == [TOGETHER, 2, 1, 1, 4]


def test_a_list_without_totals_is_judged_by_what_it_has():
    pages = (Page(0, 2, ({"id": "a"}, {"id": "b"})), Page(5, 2, ({"id": "c"},)))
    found = {one.id: one.judge(Responses("d", pages)).verdict for one in DATASET}
    assert found["total"] == DOES_NOT_HOLD
    unknown = ("limit", "list-end", "has-more", "positions", "sorted", "total-counts-folders", "tags-endpoint")
    assert {found[name] for name in unknown} == {CANNOT_TELL}


def test_documents_are_named_by_abbreviations_that_the_report_explains():
    named = {short for one in BY_ID.values() for short in one.documents.split(", ")}
    assert named - {"unknown"} <= DOCUMENTS.keys()
    assert len(BY_ID) == len(ACCOUNT) + len(DATASET)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "null"),
        (True, "true or false"),
        (3, "whole number"),
        (0.5, "number"),
        ([], "empty list"),
        (["a", 1], "list of 2 (string or whole number)"),
        ({"secret": 1}, "object with 1 keys"),
        ("", "empty string"),
        ("secret", "string of 6 characters"),
        ("12.5", "string (number)"),
        ("2026-01-31T18:00:00.000Z", "string (timestamp, UTC)"),
        ("2026-01-31 18:00:00+01", "string (timestamp)"),
        ("https://example.com/a", "string (address)"),
        ("0B6DD2A5-5b5e-4a5e-9a51-4f7c8b1c2d3e", "string (uuid, hyphenated)"),
        ("0b6dd2a55b5e4a5e9a514f7c8b1c2d3e", "string (uuid, without hyphens)"),
    ],
)
def test_a_shape_shows_no_value(value, expected):
    assert shape(value) == expected


def test_only_names_that_look_like_identifiers_are_shown():
    assert [field_name(name) for name in ("boundingBox", "_score", "sort_key2")] == [
        "boundingBox",
        "_score",
        "sort_key2",
    ]
    for name in ("", "Anna Smith", "sk_live_4242", "a" * 41, "key-1", "naïve", "0b6dd2a55b5e4a5e9a514f7c8b1c2d3e"):
        assert field_name(name) == "(a name that is not shown)"


def test_two_versions_of_an_item_are_compared_without_naming_what_users_name():
    one = {
        "id": "a",
        "name": "x",
        "metadata": {"tags": {}, "secret": 1},
        "frames": [{"id": "f", "blob": "x"}],
        "old": 1,
    }
    two = {"id": "a", "name": "y", "metadata": {"tags": {"b": 1}, "secret": 2}, "frames": [{"id": "f", "blob": "y"}]}
    assert sorted(differences(one, two, MEDIA)) == [
        ("changed", "frames.blob"),
        ("changed", "metadata.(a name that is not shown)"),
        ("changed", "metadata.tags"),
        ("changed", "name"),
        ("only first", "old"),
    ]


def test_an_id_has_another_form_only_if_it_is_a_uuid():
    hyphenated = "0b6dd2a5-5b5e-4a5e-9a51-4f7c8b1c2d3e"
    bare = hyphenated.replace("-", "")
    assert (other_form(hyphenated), other_form(bare)) == (bare, hyphenated)
    assert [other_form(one) for one in ("collectionId", "collection-id", None)] == [None] * 3
