"""Media are removed on evidence: missing ones are asked for, and versions that replace each other do not count."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from starlette.responses import Response

from coreviz_source.api.http import Calls
from coreviz_source.errors import ApiUnavailableError, AuthenticationError, CorevizError
from coreviz_source.evidence import MOST_ASKED, find_replaced, objection
from coreviz_source.local_studio import Library, Studio
from coreviz_source.values import canonical_id
from tests.scenario import assert_equal_to, first_sync, frozen, media_of, run_sync, truth_of
from tests.warehouse import assert_mirror, load_ids, read, runs

DATASET = "ecf33096-0d69-410b-a8cc-856caa3fba6c"
OTHER = "11111111-0d69-410b-a8cc-856caa3fba6c"


def uuid(number: int) -> str:
    return canonical_id(f"{number:032x}")


class Api:
    """The endpoint for one media item, in memory: what it knows, in which form, and what it was asked."""

    def __init__(self, known: dict[str, Any], form: str = "bare") -> None:
        self.known = {self.formed(media_id, form): media for media_id, media in known.items()}
        self.asked: list[str] = []

    @staticmethod
    def formed(media_id: str, form: str) -> str:
        return media_id.replace("-", "") if form == "bare" else media_id

    def media(self, media_id: str, dataset_id: str, calls: Calls) -> Any:
        self.asked.append(media_id)
        found = self.known.get(media_id)
        if isinstance(found, Exception):
            raise found
        return found


def here(**fields: Any) -> dict[str, Any]:
    return {"id": "x", "status": "active", "dataset": {"id": DATASET.replace("-", "")}, **fields}


def objected(api: Api, missing: list[str], example: str | None) -> str:
    return objection(api, DATASET, missing, example, Calls())  # type: ignore[arg-type]


@pytest.mark.parametrize("form", ["bare", "hyphenated"])
@pytest.mark.parametrize("sent", ["bare", "hyphenated"])
def test_what_is_missing_is_asked_for_in_the_form_that_the_endpoint_knows(form, sent):
    living = {uuid(1): here(), uuid(2): here()}
    api = Api(living, form)
    example = Api.formed(uuid(1), sent)
    assert objected(api, [uuid(2)], example) == (
        f"The listing was not complete: the API still has the media item {uuid(2)} in this dataset."
    )
    first = [Api.formed(uuid(1), sent)] if form == sent else [Api.formed(uuid(1), f) for f in (sent, form)]
    assert api.asked == [*first, Api.formed(uuid(2), form)]


@pytest.mark.parametrize(
    "found",
    [
        None,
        here(status="deleted"),
        here(dataset={"id": OTHER}),
        {"id": "x", "status": "active", "datasetId": OTHER.replace("-", "")},
    ],
)
def test_deleted_not_found_or_in_another_dataset_is_evidence_of_removal(found):
    api = Api({uuid(1): here(), uuid(2): found})
    assert objected(api, [uuid(2), uuid(3)], uuid(1).replace("-", "")) == ""


@pytest.mark.parametrize(
    "found", [here(), here(status=None), {"id": "x"}, {"id": "x", "datasetId": DATASET}, here(dataset="odd")]
)
def test_a_media_item_that_is_not_known_to_be_deleted_or_elsewhere_is_still_there(found):
    assert "still has" in objected(Api({uuid(1): here(), uuid(2): found}), [uuid(2)], uuid(1).replace("-", ""))


@pytest.mark.parametrize("failing", [1, 2])
@pytest.mark.parametrize("error", [ApiUnavailableError("It failed."), AuthenticationError("It refused.")])
def test_any_other_response_is_no_evidence(failing, error):
    api = Api({uuid(1): here(), uuid(failing): error})
    said = objected(api, [uuid(2)], uuid(1).replace("-", ""))
    assert said == (
        "There is no evidence that the 1 media item missing from the listing was deleted, because the API could not "
        f"be asked: {error.message}"
    )


def test_a_server_without_the_endpoint_is_asked_for_what_exists_and_for_nothing_else():
    api = Api({})
    assert objected(api, [uuid(n) for n in range(2, 90)], uuid(1)) == ""
    assert api.asked == [uuid(1), uuid(1).replace("-", "")]


def test_at_most_fifty_are_asked_chosen_at_random_and_each_once():
    missing = [uuid(n) for n in range(2, 300)]
    chosen = []
    for _ in range(2):
        api = Api({uuid(1): here()})
        assert objected(api, missing, uuid(1).replace("-", "")) == ""
        assert len(api.asked) == len(set(api.asked)) == MOST_ASKED + 1 == 51
        chosen.append(set(api.asked))
    assert chosen[0] != chosen[1]


def test_where_nothing_is_listed_both_forms_of_what_is_missing_are_asked():
    assert objected(Api({}), [uuid(2)], None) == ""
    for form in ("bare", "hyphenated"):
        assert "still has" in objected(Api({uuid(2): here()}, form), [uuid(2)], None)


def test_ids_that_are_no_uuids_are_asked_as_they_are():
    api = Api({"abc123def456": here(), "other": here()}, "as it is")
    assert "other" in objected(api, ["other"], "abc123def456")
    assert api.asked == ["abc123def456", "other"]
    assert "still has" in objected(Api({"abc": here(), uuid(2): here()}), [uuid(2)], "abc")


def test_nothing_missing_asks_nothing():
    api = Api({})
    assert objected(api, [], uuid(1)) == ""
    assert api.asked == []


class Trees:
    """Stored versions: id, what it was made from, day of creation."""

    def __init__(self, *rows: tuple[str, str | None, int]) -> None:
        self.rows = rows

    def versions(self, dataset_id: str, ids: list[str]) -> list[tuple[str, str | None, datetime | None]]:
        start = datetime(2026, 1, 1, tzinfo=timezone.utc)
        return [(i, s, start + timedelta(days=day)) for i, s, day in self.rows if i in ids or s in ids]


def replaced(stored: Trees, missing: list[str], new: dict[str, str | None], listed: set[str] = frozenset()) -> int:  # type: ignore[assignment]
    sources = {media_id: source for media_id, source in new.items() if source}
    found = find_replaced(stored, DATASET, missing, sources, new.__contains__, listed.__contains__)  # type: ignore[arg-type]
    assert found <= set(missing)
    return len(found)


@pytest.mark.parametrize(
    ("stored", "missing", "new", "listed", "count"),
    [
        # the original is replaced by a version, and comes back
        ([("o", None, 1)], ["o"], {"v": "o"}, set(), 1),
        ([("v", "o", 2)], ["v"], {"o": None}, set(), 1),
        # one version by another one, made from the original or from the version
        ([("v", "o", 2)], ["v"], {"w": "o"}, set(), 1),
        ([("v", "o", 2)], ["v"], {"w": "v"}, set(), 1),
        ([("o", None, 1), ("v", "o", 2), ("w", "v", 3)], ["o"], {"x": "w"}, {"v"}, 1),
        # an ordinary run has loaded the version before
        ([("o", None, 1), ("v", "o", 2)], ["o"], {}, {"v"}, 1),
        # a derivative is deleted while its original stays
        ([("o", None, 1), ("v", "o", 2)], ["v"], {}, {"o"}, 0),
        # a version stands in for one other version, not for many
        ([("o", None, 1), ("a", "o", 2), ("b", "o", 3)], ["o", "a", "b"], {"w": "o"}, set(), 1),
        # what is made from something else replaces nothing
        ([("o", None, 1), ("p", None, 1)], ["o"], {"w": "p", "n": None}, {"p"}, 0),
        # a circle has an end
        ([("a", "b", 1), ("b", "a", 2)], ["a"], {}, set(), 0),
        ([], ["a"], {}, set(), 0),
    ],
)
def test_which_missing_media_were_replaced_by_another_version(stored, missing, new, listed, count):
    assert replaced(Trees(*stored), missing, new, listed) == count


def hidden(studio: Studio, ids: set[str]):
    """Hides media items from the listing and from its count, as a server does with a broken index."""

    def after(request, answer):
        items = [i for i in reversed(studio.snapshot(request.dataset_id)) if canonical_id(i["id"]) not in ids]
        end = request.offset + answer["pagination"]["limit"]
        pagination = {**answer["pagination"], "total": len(items), "hasMore": end < len(items)}
        return {"media": items[request.offset : end], "pagination": pagination}

    return after


def asked_of(studio: Studio) -> list[str]:
    return [request.path for request in studio.requests if request.path.startswith("/api/media/")]


@pytest.mark.parametrize("deletes", ["hard", "soft"])
def test_a_listing_that_hides_five_living_media_removes_nothing_and_exits_6(pipeline, deletes):
    library = frozen(60)
    (dataset,) = library.datasets
    with Studio(library) as studio:
        assert first_sync(pipeline, studio, deletes=deletes).exit_code == 0
        before = load_ids(pipeline)
        del before["datasets"]  # it holds what the API counts
        studio.after = hidden(studio, {item["id"] for item in media_of(library)[:5]})
        report = run_sync(pipeline, studio, reconcile_every="0", deletes=deletes)
        assert report.exit_code == 6
        assert report.datasets[dataset].message.startswith("The listing was not complete: the API still has the media")
        assert {name: load_ids(pipeline)[name] for name in before} == before
        assert_equal_to(pipeline, studio)
        assert 2 <= len(asked_of(studio)) <= 3
        assert report.datasets[dataset].requests == len(studio.requests) - sum(
            r["requests"] for r in runs(pipeline)[:-1]
        )
        studio.after = None
        assert run_sync(pipeline, studio, reconcile_every="0", deletes=deletes).exit_code == 0
        assert_equal_to(pipeline, studio)
    assert [r["outcome"] for r in runs(pipeline)] == ["complete", "unproven", "complete"]


@pytest.mark.parametrize(
    "answer",
    [
        Response(b'{"error": "Unauthorized"}', 401),
        Response(b'{"error": "Too Many Requests"}', 429),
        Response(b"<html>", 200),
        Response(b'{"something": "else"}', 200),
    ],
    ids=["401", "429", "HTML", "another shape"],
)
def test_deleted_media_that_cannot_be_asked_for_stay_until_they_can(pipeline, answer):
    library = frozen(30)
    (dataset,) = library.datasets
    with Studio(library) as studio:
        assert first_sync(pipeline, studio).exit_code == 0
        before = truth_of(studio)
        library.delete(media_of(library)[0]["id"])
        studio.before = lambda request: answer if request.path.startswith("/api/media/") else None
        report = run_sync(pipeline, studio, reconcile_every="0")
        assert report.exit_code == 6
        assert "no evidence" in report.datasets[dataset].message
        assert_mirror(pipeline, before)
        studio.before = None
        assert run_sync(pipeline, studio, reconcile_every="0").exit_code == 0
        assert_equal_to(pipeline, studio)


def test_a_server_without_the_endpoint_removes_as_before_and_without_a_warning(pipeline):
    library = frozen(60)
    (dataset,) = library.datasets
    with Studio(library, 2025) as studio:
        assert first_sync(pipeline, studio).exit_code == 0
        for item in media_of(library)[:6]:
            library.delete(item["id"])
        report = run_sync(pipeline, studio, reconcile_every="0")
        assert (report.exit_code, report.datasets[dataset].message, report.datasets[dataset].gone) == (0, "", 6)
        assert_equal_to(pipeline, studio)
        assert len(asked_of(studio)) == 2


def test_an_endpoint_that_knows_only_hyphenated_ids_gives_evidence_too(pipeline):
    library = frozen(30)

    def hyphenated_only(request):
        bare = request.path.startswith("/api/media/") and "-" not in request.path
        return Response(b'{"error": "Not Found"}', 404) if bare else None

    with Studio(library, before=hyphenated_only) as studio:
        assert run_sync(pipeline, studio).exit_code == 0
        gone = media_of(library)[0]["id"]
        library.delete(gone)
        studio.after = hidden(studio, {media_of(library)[0]["id"]})
        # one was deleted and one is hidden: nothing is removed
        assert run_sync(pipeline, studio, reconcile_every="0").exit_code == 6
        assert gone in {row["id"] for row in read(pipeline, "media")["media"]}
        studio.after = None
        assert run_sync(pipeline, studio, reconcile_every="0").exit_code == 0
        assert_equal_to(pipeline, studio)


def without_deleted(studio: Studio) -> dict[str, list[dict[str, Any]]]:
    return {
        dataset: [item for item in items if item.get("status") != "deleted"]
        for dataset, items in truth_of(studio).items()
    }


def test_media_and_folders_that_the_listing_shows_as_deleted_are_removed_without_being_asked_for(pipeline):
    library = frozen(60)
    (dataset,) = library.datasets
    folder = next(i for i in library.listing(dataset) if i["type"] == "folder")
    already = media_of(library)[7]["id"]
    with library.changing(already) as item:
        item["status"] = "deleted"
    with Studio(library, deleted_listed=True) as studio:
        assert first_sync(pipeline, studio).exit_code == 0
        assert_mirror(pipeline, without_deleted(studio))
        for item_id in (*(item["id"] for item in media_of(library)[:5]), folder["id"]):
            with library.changing(item_id) as item:
                item["status"] = "deleted"
        report = run_sync(pipeline, studio, reconcile_every="0").datasets[dataset]
        assert (report.exit_code, report.outcome, report.gone) == (0, "complete", 6)
        assert_mirror(pipeline, without_deleted(studio))
        assert asked_of(studio) == []
        before = load_ids(pipeline)
        assert run_sync(pipeline, studio, reconcile_every="0").datasets[dataset].gone == 0
        assert load_ids(pipeline) == before
        # restored
        with library.changing(already) as item:
            item["status"] = "active"
        assert run_sync(pipeline, studio, reconcile_every="0").exit_code == 0
        assert_mirror(pipeline, without_deleted(studio))


def test_a_media_shown_as_deleted_in_the_window_is_removed_by_an_ordinary_run_and_only_marked_where_deletes_are_soft(
    pipeline,
):
    library = frozen(60)
    with Studio(library, deleted_listed=True) as studio:
        assert first_sync(pipeline, studio, deletes="soft").exit_code == 0
        deleted = media_of(library)[1]["id"]
        with library.changing(deleted) as item:
            item["status"] = "deleted"
        for _ in range(2):
            library.advance(minutes=5)
            assert run_sync(pipeline, studio, deletes="soft").exit_code == 0
        marked = [row for row in read(pipeline, "media")["media"] if row["deleted_at"]]
        assert [(row["id"], row["status"]) for row in marked] == [(deleted, "active")]
    assert [(r["outcome"], r["gone"]) for r in runs(pipeline)] == [("complete", 0), ("window", 1), ("window", 0)]


def swap(library: Library, number: int) -> list[str]:
    """Replaces media by a version of each, as select-version does; returns the versions."""
    (dataset,) = library.datasets
    made = []
    for item in media_of(library)[-number:]:
        version = library.add_media(dataset, processing=False)
        with library.changing(version) as changed:
            changed["sourceMediaId"], changed["versionNumber"] = item["id"], 2
        library.delete(item["id"])
        made.append(version)
    return made


def test_versions_that_were_replaced_and_still_exist_are_removed(pipeline):
    library = frozen(60)
    with Studio(library) as studio:
        assert first_sync(pipeline, studio).exit_code == 0
        library.advance(hours=1)
        for item in media_of(library)[:40]:
            library.add_version(item["id"])
        report = run_sync(pipeline, studio, reconcile_every="0")
        assert report.exit_code == 0, report.to_json()
        assert_equal_to(pipeline, studio)
        # and back to the originals, whose versions exist as well
        for version in media_of(library)[:40]:
            library.select_version(version["sourceMediaId"])
        report = run_sync(pipeline, studio, reconcile_every="0")
        assert report.exit_code == 0, report.to_json()
        assert_equal_to(pipeline, studio)


@pytest.mark.parametrize("ordinary_run_between", [False, True])
def test_a_version_swap_of_two_thirds_of_a_dataset_passes(pipeline, ordinary_run_between):
    library = frozen(60)
    with Studio(library) as studio:
        assert first_sync(pipeline, studio).exit_code == 0
        library.advance(days=30)
        swap(library, 40)
        if ordinary_run_between:
            assert run_sync(pipeline, studio, reconcile_every="90d", lookback="0").exit_code == 0
            assert [r["outcome"] for r in runs(pipeline)] == ["complete", "window"]
            assert len(read(pipeline, "media")["media"]) == 100
        assert run_sync(pipeline, studio, reconcile_every="0").exit_code == 0
        assert_equal_to(pipeline, studio)


def test_as_many_deletions_as_a_swap_has_still_pull_the_brake_and_so_do_deletions_beside_a_swap(pipeline):
    library = frozen(60)
    with Studio(library) as studio:
        assert first_sync(pipeline, studio).exit_code == 0
        before = load_ids(pipeline)
        swap(library, 20)
        for item in media_of(library)[-20:]:
            library.delete(item["id"])
        report = run_sync(pipeline, studio, reconcile_every="0")
        assert report.exit_code == 6
        assert "20 of 60 media items are missing" in report.to_json()
        assert load_ids(pipeline) == before
        assert asked_of(studio) == []
        assert run_sync(pipeline, studio, reconcile_every="0", max_deletes=0.5).exit_code == 0
        assert_equal_to(pipeline, studio)


def test_an_error_of_another_kind_is_no_evidence_and_no_crash():
    class Broken(CorevizError):
        """Odd."""

    assert "Odd." in objected(Api({uuid(1): Broken()}), [uuid(2)], uuid(1).replace("-", ""))
