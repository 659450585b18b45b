"""`check --audit` finds where the warehouse is not the service's state, and says nothing of what came later."""

from __future__ import annotations

import json
from typing import Any

import dlt
import pytest
from starlette.responses import Response

from coreviz_source.commands.audit import DatasetAudit, audit
from coreviz_source.loading.configuration import resolve
from coreviz_source.local_studio import Studio
from tests.scenario import arguments, first_sync, frozen, media_of, run_sync
from tests.test_cli import command  # noqa: F401


@pytest.fixture
def library():
    return frozen(24)


@pytest.fixture
def studio(library):
    with Studio(library) as studio:
        yield studio


def audited(pipeline: dlt.Pipeline, studio: Studio, sample: int = 100, **given: Any) -> DatasetAudit:
    (found,) = audit(pipeline, resolve(arguments(studio, given)), sample).datasets
    return found


def change(pipeline: dlt.Pipeline, sql: str, *values: Any) -> None:
    with pipeline.sql_client() as client:
        client.execute_sql(sql, *values)


def told(found: DatasetAudit) -> list[tuple[str, str, str]]:
    return sorted((one.table, one.id, one.column) for one in found.differences)


SWITCHES: list[dict[str, Any]] = [
    {},
    {"paths": "holder"},
    {"polygons": False},
    {"single_polygons": False},
    {"previews": True},
    {"deleted_listed": True},
    {"missing": ["media", "tags"]},
    {"generation": 2025},
]


@pytest.mark.parametrize("switches", SWITCHES, ids=str)
def test_after_a_run_the_warehouse_is_the_state_of_every_studio(pipeline, library, switches):
    library.add_version(media_of(library)[4]["id"])
    library.soft_delete(media_of(library)[2]["id"])
    with Studio(library, **switches) as studio:
        first_sync(pipeline, studio)
        found = audited(pipeline, studio)
        items = len(studio.snapshot(found.dataset_id))
    assert (found.differences, found.exit_code, found.newer, found.undecided) == ([], 0, 0, 0)
    assert found.sampled == found.stored == len(media_of(library))
    assert found.listed == found.total == items + bool(switches.get("deleted_listed"))
    alone = switches in ({"missing": ["media", "tags"]}, {"generation": 2025})
    assert found.sampled_from == ("pages" if alone else "single media")
    assert found.tags == ("cannot tell" if alone else "agree")
    assert found.folder_item_counts == ("cannot tell" if switches.get("generation") == 2025 else "agree")


BY_HAND = [
    ("media", "name", "'by hand'"),
    ("media", "folder_id", "'by hand'"),
    ("media", "metadata", "'{}'"),
    ("media", "size_bytes", "NULL"),
    ("frames", "timestamp_seconds", "77"),
    ("captions", "text", "'by hand'"),
    ("objects", "x_min", "-1"),
    ("objects", "polygon", "NULL"),
]


def test_every_value_changed_by_hand_is_found(pipeline, studio):
    first_sync(pipeline, studio)
    expected = []
    for table, column, value in BY_HAND:
        with pipeline.sql_client() as client:
            ((row_id,),) = client.execute_sql(f"SELECT min(id) FROM {table}")
        change(pipeline, f"UPDATE {table} SET {column} = {value} WHERE id = %s", row_id)
        expected.append((table, row_id, column))
    found = audited(pipeline, studio)
    assert told(found) == sorted(expected)
    assert found.exit_code == 6


def test_postgres_which_cannot_store_nul_and_writes_json_anew_is_no_difference(postgres, library, studio):
    first, second = (item["id"] for item in media_of(library, frames=1)[:2])
    library.add_caption(first, "A\0B")
    with library.changing(first) as item:
        item["metadata"]["numbers"] = [1e20, 1.50, 2**70, "é"]
    run_sync(postgres, studio)
    assert told(audited(postgres, studio)) == []
    change(postgres, "UPDATE captions SET text = 'by hand' WHERE media_id = %s", second)
    captions = [c["id"] for frame in library.media(second)["frames"] for c in frame["captions"]]
    assert told(audited(postgres, studio)) == sorted(("captions", c, "text") for c in captions)


def test_rows_deleted_and_inserted_by_hand_are_found(pipeline, library, studio):
    first_sync(pipeline, studio)
    first, second, third, fourth = (item["id"] for item in media_of(library, frames=1)[:4])
    change(pipeline, "DELETE FROM media WHERE id = %s", first)
    change(pipeline, "DELETE FROM captions WHERE media_id = %s", second)
    change(
        pipeline, "INSERT INTO frames BY NAME SELECT * REPLACE ('more' AS id) FROM frames WHERE media_id = %s", third
    )
    change(
        pipeline,
        "INSERT INTO media_tags (dataset_id, media_id, tag_group, tag) VALUES (%s, %s, 'by', 'hand')",
        next(iter(library.datasets)),
        fourth,
    )
    found = audited(pipeline, studio)
    captions = {c["id"] for frame in library.media(second)["frames"] for c in frame["captions"]}
    frames = [("frames", "more", "")] * len(library.media(third)["frames"][:1])
    expected = [("media", first, ""), ("media_tags", fourth, ""), *frames, *(("captions", c, "") for c in captions)]
    rows = [one for one in told(found) if one[0] != "frames" or one[1] == "more"]
    assert sorted(set(rows)) == sorted(expected)
    assert found.tags == "differ"
    assert found.exit_code == 6


def test_folders_deleted_by_hand_and_rows_stored_twice_are_found(pipeline, library, studio):
    first_sync(pipeline, studio)
    change(pipeline, "INSERT INTO captions SELECT * FROM captions")
    change(pipeline, "DELETE FROM folders WHERE name = (SELECT min(name) FROM folders)")
    found = audited(pipeline, studio)
    assert [one.table for one in found.differences] == ["folders", "captions"]
    assert "stored twice" in str(found.differences[1])


def count_two_more(request: Any, sent: dict[str, Any]) -> dict[str, Any]:
    sent["pagination"]["total"] += 2
    return sent


@pytest.mark.parametrize("counted", [True, False])
def test_a_listing_that_hides_items_is_found(pipeline, library, studio, counted):
    first_sync(pipeline, studio)
    (dataset,) = library.datasets.values()
    for item in media_of(library)[-2:]:
        # the Studio does not list what another version replaced, and still has it
        dataset.replaced.add(item["id"])
        library.touched(item["id"])
    studio.after = count_two_more if counted else None
    found = audited(pipeline, studio)
    assert found.exit_code == 6
    said = " ".join(map(str, found.differences))
    assert "still has the media item" in said
    assert ("could not be proven complete" in said) == counted


def test_what_happened_after_the_run_is_no_difference(pipeline, library, studio):
    first_sync(pipeline, studio)
    library.advance(hours=1)
    captioned, framed, renamed, deleted = (item["id"] for item in media_of(library, frames=1)[:4])
    library.add_caption(captioned, "Late.")
    library.add_frame(framed)
    library.add_media(next(iter(library.datasets)))
    with library.changing(renamed) as item:
        item |= {"name": "renamed.jpg", "updatedAt": "2026-01-31T20:00:00.000Z"}
    library.delete(deleted)
    found = audited(pipeline, studio)
    assert (found.differences, found.exit_code) == ([], 0)
    assert (found.newer, found.undecided) == (4, 1)
    assert found.sampled == found.stored - 4


def test_a_media_item_of_which_two_responses_differ_is_newer(pipeline, library, studio):
    first_sync(pipeline, studio)
    changing = media_of(library)[0]["id"]

    def before(request: Any) -> None:
        if request.path == f"/api/media/{changing.replace('-', '')}":
            with library.changing(changing) as item:
                item["name"] = f"{request.number}.jpg"

    studio.before = before
    found = audited(pipeline, studio)
    assert (found.differences, found.newer) == ([], 1)


def test_what_an_ordinary_run_did_not_look_at_is_newer_than_the_last_complete_one(pipeline, library, studio):
    first_sync(pipeline, studio)
    library.advance(hours=1)
    oldest = media_of(library, frames=1)[-1]["id"]
    library.add_caption(oldest, "Late.")
    library.advance(hours=1)
    assert run_sync(pipeline, studio, lookback="1h").datasets[next(iter(library.datasets))].outcome == "window"
    found = audited(pipeline, studio, lookback="1h")
    assert (found.differences, found.newer) == ([], 1)


def test_a_change_without_a_newer_time_is_a_difference_in_the_listing_and_in_the_single_item(pipeline, library, studio):
    first_sync(pipeline, studio)
    changed = media_of(library)[0]["id"]
    with library.changing(changed) as item:
        item["name"] = "changed.jpg"
    assert told(audited(pipeline, studio)) == [("media", changed, "file_name"), ("media", changed, "name")]
    run_sync(pipeline, studio)
    assert told(audited(pipeline, studio)) == []


def test_ignored_fields_are_not_compared(pipeline, library, studio):
    first_sync(pipeline, studio)
    change(pipeline, "UPDATE media SET blob = 'expired', description = 'x'")
    change(pipeline, "UPDATE frames SET blob = 'expired'")
    change(pipeline, "UPDATE objects SET polygon = NULL, x_min = NULL")
    change(pipeline, "DELETE FROM media_tags")
    ignored = ["blob", "frames.blob", "frames.objects.polygon", "metadata"]
    assert told(audited(pipeline, studio, ignored_fields=ignored)) == []
    found = audited(pipeline, studio, ignored_fields=ignored[1:])
    assert {(one.table, one.column) for one in found.differences} == {("media", "blob")}


def test_only_the_tables_that_the_last_run_loaded_are_compared(pipeline, library, studio):
    from coreviz_source import coreviz

    pipeline.run(coreviz(**arguments(studio, {})).with_resources("media", "captions"))
    assert told(audited(pipeline, studio)) == []
    change(pipeline, "UPDATE captions SET text = 'by hand'")
    assert {one.table for one in audited(pipeline, studio).differences} == {"captions"}


def test_the_sample_is_bounded_and_each_item_is_asked_for_twice(pipeline, library, studio):
    first_sync(pipeline, studio)
    del studio.requests[:]
    found = audited(pipeline, studio, sample=3)
    assert found.sampled == 3
    asked = [request.path for request in studio.requests if request.path.startswith("/api/media/")]
    assert len(asked) == 6 and len(set(asked)) == 3
    assert audited(pipeline, studio, sample=0).sampled == 0


def test_a_dataset_without_a_run_differs_and_one_that_cannot_be_asked_is_an_error(pipeline, library, studio):
    found = audited(pipeline, studio)
    assert [str(one) for one in found.differences] == ["no run has listed the dataset"]
    assert found.exit_code == 6
    first_sync(pipeline, studio)
    studio.before = lambda request: Response(b'{"error": "Failed"}', 500)
    found = audited(pipeline, studio)
    assert (found.exit_code, found.differences) == (5, [])


def test_the_command_prints_the_verdict_and_ends_with_it(command, studio, library):  # noqa: F811
    dataset = next(iter(library.datasets))
    assert command(studio, "sync").exit_code == 0
    done = command(studio, "check", "--audit", "--sample", "100")
    assert done.exit_code == 0, done.output
    assert done.stdout == (
        f"{dataset}: the warehouse is the API's state\n"
        "  30 items listed, 30 counted by the API\n"
        "  24 media items stored, 24 compared in full, from single media\n"
        "  0 media items are newer than the last run\n"
        "  folderItemCount: agree; tags of the dataset: agree (neither decides)\n"
    )
    changed = media_of(library)[0]["id"]
    with library.changing(changed) as item:
        item["name"] = "changed.jpg"
    done = command(studio, "check", "--audit", "--sample", "100")
    assert done.exit_code == 6
    assert f"{dataset}: the warehouse differs\n" in done.stdout
    assert f"  media {changed} name: it is stored with another value\n" in done.stdout
    done = command(studio, "check", "--audit", "--sample", "100", "--json")
    report = json.loads(done.stdout)
    assert (done.exit_code, report["exit_code"]) == (6, 6)
    (found,) = report["datasets"]
    assert found["differences"][0] | {"what": ""} == {"what": "", "table": "media", "id": changed, "column": "name"}


def test_the_plain_command_prints_json_as_well(studio, library, command):  # noqa: F811
    dataset = next(iter(library.datasets))
    done = command(studio, "check", "--json")
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert (report["base_url"], report["exit_code"], report["warnings"]) == (studio.url, 0, [])
    assert [(one["id"], one["is_reachable"]) for one in report["organizations"]] == [
        (next(iter(library.organizations)), True)
    ]
    assert report["datasets"][0]["dataset_id"] == dataset and report["datasets"][0]["items"] == 30
    missing = "00000000-0000-4000-8000-000000000000"
    done = command(studio, "check", "--json", "--dataset-ids", missing)
    assert done.exit_code == json.loads(done.stdout)["exit_code"] == 4


@pytest.mark.parametrize(
    "words", [["--show-ids"], ["--audit", "--show-ids"], ["--sample", "3"], ["--contract", "--sample", "3"]]
)
def test_options_that_do_not_belong_to_the_mode_are_refused(studio, command, words):  # noqa: F811
    done = command(studio, "check", *words)
    assert done.exit_code == 2 and "needs" in done.stderr
