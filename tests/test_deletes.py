"""Deleted media are removed, only on proof, and never too many at once."""

from __future__ import annotations

import pytest
from dlt.pipeline.exceptions import PipelineStepFailed

from coreviz_source.errors import SafetyError, find
from coreviz_source.local_studio import Studio
from tests.scenario import assert_equal_to, first_run, frozen, media_of, run, run_sync
from tests.warehouse import load_ids, query, read, runs


def test_deleted_media_are_removed_with_all_their_children(pipeline):
    library = frozen(100)
    with Studio(library) as studio:
        first_run(pipeline, studio)
        for item in media_of(library)[::9]:
            library.delete(item["id"])
        run(pipeline, studio, reconcile_every="0")
        assert_equal_to(pipeline, studio)
    assert runs(pipeline)[-1]["gone"] == 12


def test_media_deleted_inside_the_window_are_removed_by_an_ordinary_run(pipeline):
    library = frozen(100)
    with Studio(library) as studio:
        first_run(pipeline, studio)
        library.advance(minutes=5)
        library.delete(media_of(library)[1]["id"])
        run(pipeline, studio)
        assert_equal_to(pipeline, studio)
    assert [r["outcome"] for r in runs(pipeline)] == ["complete", "window"]


def test_a_deleted_folder_is_removed(pipeline):
    library = frozen(40)
    with Studio(library) as studio:
        first_run(pipeline, studio)
        folder = next(i for i in library.listing(next(iter(library.datasets))) if i["type"] == "folder")
        library.delete(folder["id"])
        run(pipeline, studio, reconcile_every="0")
        assert_equal_to(pipeline, studio)


def test_the_brake_changes_nothing_and_lets_go_when_it_is_told(pipeline):
    library = frozen(100)
    with Studio(library) as studio:
        first_run(pipeline, studio)
        before = load_ids(pipeline)
        for item in media_of(library)[:50]:
            library.delete(item["id"])
        library.add_caption(media_of(library, frames=1)[0]["id"], "Written meanwhile.")
        with pytest.raises(PipelineStepFailed) as failure:
            run(pipeline, studio, reconcile_every="0")
        error = find(failure.value)
        assert isinstance(error, SafetyError)
        assert "max_deletes" in str(error)
        report = run_sync(pipeline, studio, reconcile_every="0")
        assert report.exit_code == 6
        assert load_ids(pipeline) == before
        assert run_sync(pipeline, studio, reconcile_every="0", max_deletes=0.6).exit_code == 0
        assert_equal_to(pipeline, studio)


def test_an_emptied_dataset_is_emptied_only_when_the_brake_is_off(pipeline):
    library = frozen(60)
    (_dataset,) = library.datasets
    with Studio(library) as studio:
        first_run(pipeline, studio)
        for item in media_of(library):
            library.delete(item["id"])
        assert run_sync(pipeline, studio, reconcile_every="0").exit_code == 6
        assert len(read(pipeline, "media")["media"]) == 60
        assert run_sync(pipeline, studio, reconcile_every="0", max_deletes=1).exit_code == 0
        assert_equal_to(pipeline, studio)


def test_ten_media_of_a_small_dataset_may_always_be_removed(pipeline):
    library = frozen(12)
    with Studio(library) as studio:
        first_run(pipeline, studio)
        for item in media_of(library)[:10]:
            library.delete(item["id"])
        run(pipeline, studio, reconcile_every="0")
        assert_equal_to(pipeline, studio)


def test_an_id_that_comes_back_is_there_again(pipeline):
    library = frozen(30)
    (dataset,) = library.datasets
    with Studio(library) as studio:
        first_run(pipeline, studio)
        item = media_of(library, frames=1)[0]
        library.delete(item["id"])
        run(pipeline, studio, reconcile_every="0")
        assert_equal_to(pipeline, studio)
        library.put(dataset, item)
        run(pipeline, studio, reconcile_every="0")
        assert_equal_to(pipeline, studio)


def test_soft_deletion_keeps_the_last_values_and_is_undone_when_the_media_returns(pipeline):
    library = frozen(30)
    (dataset,) = library.datasets
    with Studio(library) as studio:
        first_run(pipeline, studio, deletes="soft")
        before = read(pipeline, "media", "frames", "captions", "media_tags")
        item = media_of(library, frames=1)[0]
        library.delete(item["id"])
        run(pipeline, studio, deletes="soft", reconcile_every="0")
        after = read(pipeline, "media", "frames", "captions", "media_tags")
        marked = [r for r in after["media"] if r["deleted_at"]]
        assert [r["id"] for r in marked] == [item["id"]]
        assert marked[0]["deleted_at"] == library.clock()
        key = str
        assert sorted(({**r, "deleted_at": None} for r in after["media"]), key=key) == sorted(before["media"], key=key)
        for name in ("frames", "captions", "media_tags"):
            assert sorted(after[name], key=key) == sorted(before[name], key=key)
        rows = load_ids(pipeline)
        run(pipeline, studio, deletes="soft", reconcile_every="0")
        assert load_ids(pipeline) == rows
        item["frames"][0]["captions"].clear()
        library.put(dataset, item)
        run(pipeline, studio, deletes="soft", reconcile_every="0")
        assert_equal_to(pipeline, studio)


@pytest.mark.parametrize("first", [0, 1])
def test_a_media_moved_between_datasets_ends_in_exactly_one_place(pipeline, first):
    library = frozen(60, datasets=2)
    datasets = list(library.datasets)
    with Studio(library) as studio:
        first_run(pipeline, studio)
        item = media_of(library, datasets[first], frames=1)[0]
        library.move(item["id"], datasets[1 - first])
        run(pipeline, studio, reconcile_every="0")
        assert_equal_to(pipeline, studio)
    assert query(pipeline, "SELECT dataset_id FROM media WHERE id = %s", item["id"]) == [(datasets[1 - first],)]


def without_frames(request, answer):
    return {**answer, "media": [{k: v for k, v in m.items() if k != "frames"} for m in answer["media"]]}


def test_frames_missing_everywhere_is_an_error_not_a_deletion(pipeline):
    library = frozen(30)
    with Studio(library) as studio:
        first_run(pipeline, studio)
        before = load_ids(pipeline)
        studio.after = without_frames
        report = run_sync(pipeline, studio, reconcile_every="0")
        assert report.exit_code == 6
        assert "frames" in report.datasets[next(iter(library.datasets))].message
        assert load_ids(pipeline) == before
        studio.after = None
        run(pipeline, studio, reconcile_every="0")
        assert_equal_to(pipeline, studio)


def test_a_listing_without_proof_deletes_nothing_and_reports_it(pipeline):
    library = frozen(60)

    def wrong_total(request, answer):
        return {**answer, "pagination": {**answer["pagination"], "total": 70}}

    with Studio(library) as studio:
        run(pipeline, studio)
        gone = media_of(library)[3]["id"]
        library.delete(gone)
        new = library.add_media(next(iter(library.datasets)), processing=False)
        studio.after = wrong_total
        report = run_sync(pipeline, studio, reconcile_every="0")
        assert report.exit_code == 6
        held = {r["id"] for r in read(pipeline, "media")["media"]}
        assert {gone, new} <= held
        run(pipeline, studio, reconcile_every="0")
        studio.after = None
        run(pipeline, studio, reconcile_every="0")
        assert_equal_to(pipeline, studio)
    assert [r["outcome"] for r in runs(pipeline)] == ["complete", "unproven", "unproven", "complete"]


@pytest.mark.parametrize("large", [False, True])
def test_frames_missing_everywhere_are_not_deleted_by_a_sample_or_a_checkpoint(pipeline, monkeypatch, large):
    monkeypatch.setattr("coreviz_source.mirror.BATCH", 10)
    monkeypatch.setattr("coreviz_source.loading.packages.WAITING", 20)
    monkeypatch.setattr("coreviz_source.loading.packages.CHECKPOINT", 20)
    library = frozen(90)
    with Studio(library) as studio:
        run(pipeline, studio)
        before = query(pipeline, "SELECT id FROM frames ORDER BY 1")
        studio.after = without_frames
        if large:
            # everything is loaded again, and that in checkpoints
            with pipeline.sql_client() as client:
                client.execute_sql("DROP TABLE objects")
        report = run_sync(pipeline, studio, max_media=None if large else 15)
        assert report.exit_code == 6
        assert query(pipeline, "SELECT id FROM frames ORDER BY 1") == before


def test_a_listing_that_suddenly_shows_no_folders_removes_none(pipeline):
    library = frozen(40)
    (dataset,) = library.datasets
    for number in range(20):
        library.add_folder(dataset, f"folder {number}")

    def without_folders(request, answer):
        return {**answer, "media": [m for m in answer["media"] if m["type"] != "folder"], "pagination": {}}

    with Studio(library) as studio:
        run(pipeline, studio)
        before = load_ids(pipeline)
        studio.after = without_folders
        report = run_sync(pipeline, studio, reconcile_every="0", page_size=100)
        assert report.exit_code == 6
        assert "folders are missing from the API" in report.datasets[dataset].message
        assert load_ids(pipeline) == before
        studio.after = None
        run(pipeline, studio, reconcile_every="0")
        assert_equal_to(pipeline, studio)


def test_the_brake_says_what_is_true_where_checkpoints_were_loaded_before_it(pipeline, monkeypatch):
    monkeypatch.setattr("coreviz_source.mirror.BATCH", 10)
    monkeypatch.setattr("coreviz_source.loading.packages.WAITING", 20)
    monkeypatch.setattr("coreviz_source.loading.packages.CHECKPOINT", 20)
    library = frozen(90)
    (dataset,) = library.datasets
    with Studio(library) as studio:
        run(pipeline, studio)
        with pipeline.sql_client() as client:
            # everything is loaded again, and that in checkpoints
            client.execute_sql("DROP TABLE objects")
        for item in media_of(library)[60:]:
            library.delete(item["id"])
        library.add_caption(media_of(library, frames=1)[0]["id"], "Loaded by a checkpoint.")
        report = run_sync(pipeline, studio)
        assert report.exit_code == 6
        assert query(pipeline, "SELECT count(*) FROM captions WHERE text = 'Loaded by a checkpoint.'") == [(1,)]
        assert query(pipeline, "SELECT count(*) FROM media") == [(90,)]
        assert "Nothing was removed." in report.datasets[dataset].message
        assert "changed" not in report.datasets[dataset].message
        assert run_sync(pipeline, studio, max_deletes=1).exit_code == 0
        assert_equal_to(pipeline, studio)


def test_softly_deleted_media_keep_children_that_stand_there_twice(pipeline):
    library = frozen(60)
    with Studio(library) as studio:
        first_run(pipeline, studio, deletes="soft")
        gone = media_of(library, frames=1)[3]["id"]
        with pipeline.sql_client() as client:
            # as a load leaves them that was repeated after a crash
            client.execute_sql("INSERT INTO frames SELECT * FROM frames WHERE media_id = %s", gone)
        held = query(pipeline, "SELECT id FROM frames WHERE media_id = %s ORDER BY 1", gone)
        assert held
        library.delete(gone)
        for _ in range(2):
            run(pipeline, studio, deletes="soft", reconcile_every="0")
            assert query(pipeline, "SELECT id FROM frames WHERE media_id = %s ORDER BY 1", gone) == held
