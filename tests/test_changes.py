"""What changes in the library changes in the warehouse, and nothing else is written."""

from __future__ import annotations

from itertools import pairwise

import pytest

import coreviz_source.changes
from coreviz_source import coreviz
from coreviz_source.local_studio import Studio
from tests.scenario import arguments, assert_equal_to, first_run, frozen, media_of, run, run_sync, truth_of
from tests.warehouse import assert_mirror, load_ids, query, read, runs


@pytest.mark.parametrize("seconds", [15, 600])
def test_a_caption_after_its_media_is_loaded_by_the_next_run(pipeline, seconds):
    library = frozen()
    (dataset,) = library.datasets
    with Studio(library) as studio:
        media = library.add_media(dataset)
        with library.changing(media) as item:
            item["frames"] = [library._frame(item, "Spring Catalogue", 0, 1, library.clock())]
            item["frames"][0]["captions"] = []
        first_run(pipeline, studio)
        updated = item["updatedAt"]
        library.advance(seconds=seconds)
        caption = library.add_caption(media, "Late, but here.")
        run(pipeline, studio)
        assert item["updatedAt"] == updated
        assert_equal_to(pipeline, studio)
    assert caption in [r["id"] for r in read(pipeline, "captions")["captions"]]
    assert [r["outcome"] for r in runs(pipeline)] == ["complete", "window"]


def test_a_caption_three_days_after_its_media_is_in_the_lookback_window(pipeline):
    library = frozen()
    with Studio(library) as studio:
        media = media_of(library, frames=1)[0]
        first_run(pipeline, studio)
        for _ in range(3):
            library.advance(days=1)
            run(pipeline, studio, reconcile_every="30d")
        library.add_caption(media["id"], "Three days late.")
        run(pipeline, studio, reconcile_every="30d")
        assert_equal_to(pipeline, studio)
    assert [r["outcome"] for r in runs(pipeline)][1:] == ["window"] * 4


def test_a_caption_of_an_old_media_is_loaded_by_the_next_complete_listing(pipeline):
    library = frozen(600)
    with Studio(library) as studio:
        old = media_of(library, frames=1)[-1]
        first_run(pipeline, studio)
        library.add_caption(old["id"], "Months late.")
        library.advance(hours=1)
        run(pipeline, studio, lookback="1h")
        assert "Months late." not in {r["text"] for r in read(pipeline, "captions")["captions"]}
        library.advance(hours=24)
        run(pipeline, studio, lookback="1h")
        assert_equal_to(pipeline, studio)
    assert [r["outcome"] for r in runs(pipeline)] == ["complete", "window", "complete"]
    assert runs(pipeline)[-1]["changed"] == 1


def test_frames_and_captions_that_appear_while_the_service_works_arrive_step_by_step(pipeline):
    library = frozen()
    (dataset,) = library.datasets
    with Studio(library) as studio:
        first_run(pipeline, studio)
        library.add_media(dataset, "video")
        for _ in range(8):
            run(pipeline, studio)
            assert_equal_to(pipeline, studio)
            library.advance(seconds=5)


def rewrite_text(library, item):
    item["frames"][0]["captions"][0]["text"] = 'Ünï "quoted" \\ new\nline 👟'


def empty_text(library, item):
    item["frames"][0]["captions"][0]["text"] = ""


def change_tags(library, item):
    item["metadata"]["tags"] = {"Season": ["winter", "winter"], "New group": ["a", "b"], "drop table media": ["x'; --"]}


def remove_tags(library, item):
    item["metadata"]["tags"] = {}


def rename(library, item):
    item["name"] = "renamed.jpg"


def move_to_folder(library, item):
    item["path"] = library.media(library.add_folder(item["datasetId"], "later"))["path"]


def moderate(library, item):
    item["metadata"]["moderation"] = {"status": "flagged", "categories": ["violence", "violence", "nudity"]}
    item["frames"][0]["metadata"] = {"moderation": {"status": "flagged", "categories": ["violence"]}}


def remove_last_caption(library, item):
    for frame in item["frames"]:
        frame["captions"].clear()


def remove_last_object(library, item):
    for frame in item["frames"]:
        frame["objects"].clear()


def remove_last_frame(library, item):
    item["frames"].clear()


def remove_frames_key(library, item):
    del item["frames"]


def new_field(library, item):
    item["brandNew"] = {"deep": [1, None, "x"]}
    item["frames"][0]["captions"][0]["confidence"] = 0.5


CHANGES = [
    *(rewrite_text, empty_text, change_tags, remove_tags, rename, move_to_folder, moderate, new_field),
    *(remove_last_caption, remove_last_object, remove_last_frame, remove_frames_key),
]


@pytest.mark.parametrize("generation", [2025, 2026])
def test_every_kind_of_change_arrives_and_only_what_changed_is_written(pipeline, generation):
    library = frozen(120)
    with Studio(library, generation) as studio:
        first_run(pipeline, studio)
        # the 2025 generation has no folders
        changes = [c for c in CHANGES if generation == 2026 or c is not move_to_folder]
        for change in changes:
            before = load_ids(pipeline)["media"]
            item = media_of(library, frames=2)[0]
            with library.changing(item["id"]):
                change(library, item)
            run(pipeline, studio, reconcile_every="0")
            assert_equal_to(pipeline, studio)
            assert (load_ids(pipeline)["media"] - before).total() == 1, change.__name__
        changed = [r["changed"] for r in runs(pipeline)[1:]]
    assert changed == [1] * len(changes)


def test_an_ordinary_run_asks_as_many_pages_as_the_window_holds_however_large_the_library(pipeline, new_pipeline):
    asked = []
    for number, media in enumerate((300, 2000)):
        library = frozen(media)
        library.advance(days=30)
        warehouse = new_pipeline(f"pipelines{number}", f"library{number}.duckdb")
        with Studio(library) as studio:
            first_run(warehouse, studio)
            library.advance(hours=1)
            run(warehouse, studio)
            assert_equal_to(warehouse, studio)
            asked.append(runs(warehouse)[-1]["requests"])
    assert asked[0] == asked[1] <= 3


@pytest.mark.parametrize("wrong", ["2999-01-01T00:00:00.000Z", "1970-01-01T00:00:00.000Z"])
def test_a_media_with_a_date_far_off_does_not_move_the_window(pipeline, wrong):
    library = frozen(100)
    (dataset,) = library.datasets
    with Studio(library) as studio:
        odd = library.add_media(dataset, processing=False)
        with library.changing(odd) as item:
            item["createdAt"] = wrong
        first_run(pipeline, studio)
        library.advance(minutes=10)
        library.add_media(dataset, processing=False)
        library.add_caption(media_of(library, frames=1)[2]["id"], "Late.")
        run(pipeline, studio)
        assert_equal_to(pipeline, studio)
    assert [r["outcome"] for r in runs(pipeline)] == ["complete", "window"]


def test_the_window_is_measured_in_the_servers_time_not_in_ours(pipeline):
    library = frozen(100)
    (dataset,) = library.datasets
    with Studio(library) as studio:
        first_run(pipeline, studio)
        library.advance(hours=2)
        library.add_media(dataset, processing=False)
        library.advance(hours=1)
        run(pipeline, studio, lookback="4h")
        assert_equal_to(pipeline, studio)
    # the library's clock is months away from this machine's
    assert {r["started_at"].strftime("%Y-%m") for r in runs(pipeline)} <= {"2026-01", "2026-02"}


def test_the_same_media_twice_in_one_listing_is_written_once_and_settles(pipeline):
    library = frozen(30)
    (_dataset,) = library.datasets
    twin = media_of(library, frames=1)[3]

    def double(request, answer):
        extra = [{**m, "name": "the other version"} for m in answer["media"] if m["id"] == twin["id"].replace("-", "")]
        return {**answer, "media": [*answer["media"], *extra]}

    with Studio(library, after=double) as studio:
        run(pipeline, studio, page_size=10)
        assert query(pipeline, "SELECT count(*), count(DISTINCT id) FROM media") == [(30, 30)]
        assert query(pipeline, "SELECT count(*) - count(DISTINCT id) FROM captions") == [(0,)]
        studio.after = None
        run(pipeline, studio, reconcile_every="0")
        assert_equal_to(pipeline, studio)


def test_a_new_row_builder_loads_everything_again(pipeline, monkeypatch):
    library = frozen(30)
    with Studio(library) as studio:
        first_run(pipeline, studio)
        before = load_ids(pipeline)["media"]
        monkeypatch.setattr(coreviz_source.changes, "ROWS_VERSION", 99)
        run(pipeline, studio, reconcile_every="0")
        assert_equal_to(pipeline, studio)
        assert not before & load_ids(pipeline)["media"]


def test_resync_writes_everything_again_and_removes_deleted_rows(pipeline):
    library = frozen(30)
    with Studio(library) as studio:
        first_run(pipeline, studio)
        before = load_ids(pipeline)["media"]
        library.delete(media_of(library)[0]["id"])
        run(pipeline, studio, resync=True)
        assert_equal_to(pipeline, studio)
        assert not before & load_ids(pipeline)["media"]


def test_a_bare_api_key_or_base_url_in_the_environment_is_not_ours(pipeline, monkeypatch):
    monkeypatch.setenv("API_KEY", "somebody-elses")
    monkeypatch.setenv("BASE_URL", "https://example.com")
    monkeypatch.setenv("COREVIZ_API_KEY", "local-studio-key")
    library = frozen(30)
    with Studio(library) as studio:
        run(pipeline, studio, api_key=None)
        assert_equal_to(pipeline, studio)


@pytest.mark.parametrize("generation", [2025, 2026])
def test_slices_by_date_add_up_to_the_whole_and_delete_only_inside(pipeline, generation):
    library = frozen(400)
    with Studio(library, generation) as studio:
        edges = [None, "2026-01-24", "2026-01-27T12:00:00Z", "2026-01-30", None]
        for start, end in pairwise(edges):
            report = run_sync(pipeline, studio, date_from=start, date_to=end)
            assert report.exit_code == 0
        assert_equal_to(pipeline, studio)
        assert {r["outcome"] for r in runs(pipeline)} == {"slice"}
        inside = next(i for i in media_of(library) if "2026-01-28" < i["createdAt"] < "2026-01-29")
        outside = next(i for i in media_of(library) if i["createdAt"] < "2026-01-26")
        library.delete(inside["id"])
        library.delete(outside["id"])
        run(pipeline, studio, date_from="2026-01-27T12:00:00Z", date_to="2026-01-30")
        left = {r["id"] for r in read(pipeline, "media")["media"]}
        assert inside["id"] not in left
        assert outside["id"] in left
        run(pipeline, studio)
        assert_equal_to(pipeline, studio)


@pytest.mark.parametrize("table", ["media", "frames", "captions", "media_tags", "moderation_categories"])
def test_rows_that_stand_there_twice_stand_there_once_after_the_next_complete_run(pipeline, table):
    library = frozen(60)
    with Studio(library) as studio:
        first_run(pipeline, studio)
        with pipeline.sql_client() as client:
            client.execute_sql(f"INSERT INTO {table} SELECT * FROM {table} LIMIT 5")
        run(pipeline, studio, reconcile_every="0")
        assert_equal_to(pipeline, studio)
        before = load_ids(pipeline)
        run(pipeline, studio, reconcile_every="0")
        assert load_ids(pipeline) == before


def test_what_a_package_that_was_loaded_late_left_twice_or_alone_is_repaired_by_the_next_complete_run(pipeline):
    library = frozen(60)
    with Studio(library) as studio:
        first_run(pipeline, studio)
        run(pipeline, studio, reconcile_every="0")
        with pipeline.sql_client() as client:
            for table, changed in (
                ("frames", "'late' AS _dlt_load_id"),
                ("captions", "'nobody' AS media_id"),
                ("_dlt_loads", "'late' AS load_id, now() AS inserted_at"),
            ):
                client.execute_sql(f"INSERT INTO {table} SELECT * REPLACE ({changed}) FROM {table} LIMIT 5")
        run(pipeline, studio, reconcile_every="0")
        assert_equal_to(pipeline, studio)
        before = load_ids(pipeline)
        run(pipeline, studio, reconcile_every="0")
        assert load_ids(pipeline) == before


def test_rows_removed_by_hand_come_back(pipeline):
    library = frozen(60)
    with Studio(library) as studio:
        first_run(pipeline, studio)
        with pipeline.sql_client() as client:
            client.execute_sql("DELETE FROM media WHERE id IN (SELECT id FROM media ORDER BY id LIMIT 20)")
        run(pipeline, studio, reconcile_every="0")
        assert_equal_to(pipeline, studio)


def test_a_lost_working_directory_loses_nothing_and_writes_nothing(new_pipeline):
    library = frozen(60)
    with Studio(library) as studio:
        run(new_pipeline("here"), studio)
        before = load_ids(new_pipeline("here"))
        run(new_pipeline("there"), studio, reconcile_every="0")
        assert load_ids(new_pipeline("there")) == before
        assert truth_of(studio)


def test_a_source_object_that_is_run_twice_is_two_ordinary_runs(pipeline):
    library = frozen(30)
    with Studio(library) as studio:
        source = coreviz(**arguments(studio, {"reconcile_every": "0"}))
        pipeline.run(source)
        assert_equal_to(pipeline, studio)
        library.add_caption(media_of(library, frames=1)[0]["id"], "Written between the two.")
        library.delete(media_of(library)[5]["id"])
        pipeline.run(source)
        assert_equal_to(pipeline, studio)


def test_a_listing_for_some_tables_does_not_count_for_the_others(pipeline):
    library = frozen(60)
    with Studio(library) as studio:
        first_run(pipeline, studio)
        library.advance(days=20)
        for item in media_of(library, frames=1)[:3]:
            library.add_caption(item["id"], "Written meanwhile.")
        for _ in range(2):
            source = coreviz(**arguments(studio, {})).with_resources("captions", "media")
            pipeline.run(source)
        assert_mirror(pipeline, truth_of(studio), "media", "captions")
        for item in media_of(library, frames=1)[-3:]:
            item["frames"][0]["objects"].clear()
            library.touched(item["id"])
        run(pipeline, studio)
        assert_equal_to(pipeline, studio)
    assert [r["outcome"] for r in runs(pipeline)] == ["complete", "complete", "window", "complete"]
    assert [r["selected"] for r in runs(pipeline)] == [None, "captions media", "captions media", None]
