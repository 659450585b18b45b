"""The warehouse equals the server's library, whatever generation it speaks and however it cuts its pages."""

from __future__ import annotations

import logging

import dlt
import pytest

from coreviz_source import coreviz
from coreviz_source.local_studio import Library, Studio
from coreviz_source.tables import CURRENT
from tests.warehouse import assert_mirror, load_ids, query, read, runs


def load(pipeline: dlt.Pipeline, studio: Studio, **arguments: object) -> None:
    arguments.setdefault("dataset_ids", list(studio.library.datasets))
    pipeline.run(coreviz(base_url=studio.url, api_key=studio.key, **arguments))  # type: ignore[arg-type]


def truth_of(studio: Studio) -> dict[str, list[dict[str, object]]]:
    return {dataset_id: studio.snapshot(dataset_id) for dataset_id in studio.library.datasets}


@pytest.mark.parametrize("generation", [2025, 2026])
@pytest.mark.parametrize(("media", "page_size", "cap"), [(2000, 100, None), (300, 7, None), (500, 100, 50)])
def test_every_row_arrives_however_pages_are_cut(pipeline, generation, media, page_size, cap, caplog):
    library = Library.generate(media, datasets=2)
    with Studio(library, generation, limit_cap=cap) as studio, caplog.at_level(logging.WARNING):
        load(pipeline, studio, page_size=page_size)
        assert_mirror(pipeline, truth_of(studio))
    assert [r.getMessage() for r in caplog.records] == []
    assert {(r["outcome"], r["complete"]) for r in runs(pipeline)} == {("complete", True)}


def test_a_strict_server_of_2025_is_served_and_asked_only_twice_too_much(pipeline):
    with Studio(Library.generate(300, datasets=2), 2025, strict=True) as studio:
        load(pipeline, studio)
        assert_mirror(pipeline, truth_of(studio))
        refused = [r for r in studio.requests if "sortBy" in r.params]
    assert len(refused) == 2


@pytest.mark.parametrize("form", [{"paths": "own"}, {"paths": "holder"}, {"polygons": False}])
def test_media_in_folders_three_deep_are_found_once_in_theirs_however_paths_end(pipeline, form):
    library = Library.empty()
    (dataset,) = library.datasets
    outer = library.add_folder(dataset, "outer")
    middle = library.add_folder(dataset, "middle", outer)
    inner = library.add_folder(dataset, "inner", middle)
    # the library knows where it put them; the truth, like the rows, only reads their paths
    media = {library.add_media(dataset, folder=f, processing=False): f for f in (inner, inner, outer, None)}
    with Studio(library, **form) as studio:
        load(pipeline, studio)
        assert_mirror(pipeline, truth_of(studio))
    rows = read(pipeline, "folders", "media", "objects")
    assert {r["id"]: r["folder_id"] for r in rows["media"]} == media
    assert {r["x_min"] is None for r in rows["objects"]} == {not form.get("polygons", True)}
    assert {r["name"]: r["parent_id"] for r in rows["folders"]} == {"outer": None, "middle": outer, "inner": middle}


def test_all_tables_and_columns_exist_after_a_run_over_an_empty_dataset(pipeline):
    with Studio(Library.empty(), 2025) as studio:
        load(pipeline, studio)
    found = query(
        pipeline, "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'coreviz'"
    )
    for table in CURRENT:
        for column in table.columns:
            assert (table.name, column.name) in found


def test_left_out_dataset_ids_mean_every_dataset_of_the_account(pipeline):
    with Studio(Library.generate(60, datasets=3)) as studio:
        load(pipeline, studio, dataset_ids=None)
        assert_mirror(pipeline, truth_of(studio))
    named = {r["name"] for r in read(pipeline, "datasets")["datasets"]}
    assert named == {"Spring Catalogue", "Warehouse Cameras", "Field Trip"}


def test_an_unchanged_library_is_read_again_without_writing_a_row(pipeline):
    with Studio(Library.generate(200)) as studio:
        load(pipeline, studio)
        before = load_ids(pipeline)
        load(pipeline, studio)
        load(pipeline, studio, reconcile_every="0")
        assert load_ids(pipeline) == before
        assert_mirror(pipeline, truth_of(studio))
    assert [r["outcome"] for r in runs(pipeline) if r["dataset_id"] == next(iter(studio.library.datasets))] == [
        "complete",
        "window",
        "complete",
    ]


def test_selected_resources_alone_are_loaded_and_the_rest_follows_when_it_is_selected(pipeline):
    with Studio(Library.generate(90)) as studio:
        ids = list(studio.library.datasets)
        source = coreviz(dataset_ids=ids, base_url=studio.url, api_key=studio.key)
        pipeline.run(source.with_resources("media"))
        assert_mirror(pipeline, truth_of(studio), "media")
        assert len(runs(pipeline)) == len(ids)
        load(pipeline, studio, reconcile_every="0")
        assert_mirror(pipeline, truth_of(studio))


def test_a_sample_stops_after_so_many_media_and_deletes_nothing(pipeline):
    with Studio(Library.generate(300, datasets=1)) as studio:
        load(pipeline, studio)
        load(pipeline, studio, max_media=20)
        assert_mirror(pipeline, truth_of(studio))
    assert runs(pipeline)[-1]["outcome"] == "sample"
    assert 20 <= runs(pipeline)[-1]["listed"] <= 26


def test_without_media_there_is_no_memory_and_what_is_listed_is_still_mirrored(pipeline):
    library = Library.generate(40, datasets=1)
    (dataset,) = library.datasets
    with Studio(library) as studio:
        for _ in range(2):
            source = coreviz(dataset_ids=[dataset], base_url=studio.url, api_key=studio.key)
            pipeline.run(source.with_resources("captions"))
            assert_mirror(pipeline, truth_of(studio), "captions")
            item = next(i for i in library.listing(dataset) if i.get("frames") and i["frames"][0]["captions"])
            with library.changing(item["id"]):
                item["frames"][0]["captions"].clear()
    with pipeline.sql_client() as client:
        found = client.execute_sql("SELECT table_name FROM information_schema.tables WHERE table_schema = 'coreviz'")
    assert {name for (name,) in found if not name.startswith("_dlt")} == {"captions", "_coreviz_runs"}
