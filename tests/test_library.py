"""`open_library()` reads the same rows as SQL does, in every warehouse, and writes nothing."""

from __future__ import annotations

import sys

import dlt
import duckdb
import pyarrow as pa
import pytest

import coreviz_source as cv
from coreviz_source.errors import ConfigurationError, DestinationError
from coreviz_source.local_studio import Studio
from coreviz_source.tables import CURRENT, GONE
from tests.scenario import frozen, media_of, run, run_sync
from tests.view_truth import WITHOUT_HISTORY
from tests.warehouse import query


@pytest.fixture(params=["duckdb", "postgres"])
def warehouse(request):
    return request.getfixturevalue("pipeline" if request.param == "duckdb" else "postgres")


def in_order(rows):
    return sorted(rows, key=lambda row: (row.get("createdAt", ""), row["id"]))


def test_tables_views_search_and_items_have_the_rows_of_the_warehouse(warehouse):
    library = frozen(60)
    with Studio(library) as studio:
        video = media_of(library, frames=2)[0]
        library.add_caption(video["id"], "Very special: a red shoe.")
        run_sync(warehouse, studio)
    opened = cv.open_library(warehouse)
    for name in (*(table.name for table in CURRENT), *WITHOUT_HISTORY):
        rows = opened[name]
        assert GONE not in rows.columns
        ((count,),) = query(warehouse, f"SELECT COUNT(*) FROM {warehouse.dataset_name}.{name}")
        assert len(list(rows)) == rows.arrow().num_rows == count, name
    captions = opened.captions
    assert isinstance(captions.arrow(), pa.Table)
    assert {row["id"]: row["text"] for row in captions} == dict(
        query(warehouse, f"SELECT id, text FROM {warehouse.dataset_name}.captions")
    )
    assert captions.where("text = 'Very special: a red shoe.'").select("media_id").fetchall() == [(video["id"],)]
    assert opened("SELECT count(*) AS n FROM media").fetchall() == [(60,)]
    (match,) = opened.search('"red shoe" SPECIAL -blue')
    assert (match["media_id"], match["caption"]) == (video["id"], "Very special: a red shoe.")
    assert set(captions.df()["id"]) == {row["id"] for row in captions}
    item = opened.item(video["id"].replace("-", "").upper())
    assert item.media["name"] == video["name"] and item.media["metadata"] == (video.get("metadata") or None)
    assert item.captions == [caption["text"] for frame in video["frames"] for caption in in_order(frame["captions"])]
    assert [[found["label"] for found in frame["objects"]] for frame in item.frames] == [
        [found["label"] for found in in_order(frame["objects"])] for frame in video["frames"]
    ]
    with pytest.raises(KeyError):
        opened.item("nope")
    with pytest.raises(Exception, match=r"(?i)read.?only"), opened.sql_client as client:
        client.execute_sql(f"DELETE FROM {client.make_qualified_table_name('captions')}")
    assert captions.arrow().num_rows > 0


def test_a_path_or_nothing_opens_the_file_of_the_command_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DestinationError, match="no tables"):
        cv.open_library()
    with pytest.raises(DestinationError, match=r"no DuckDB file .*nowhere\.duckdb"):
        cv.open_library("nowhere.duckdb")
    with Studio(frozen(20)) as studio:
        for dataset_name in ("coreviz", "second"):
            for _ in range(2):
                # the second load has a staging schema
                studio.library.add_caption(media_of(studio.library, frames=1)[0]["id"], "One more.")
                run(dlt.pipeline("coreviz_library", destination="duckdb", dataset_name=dataset_name), studio)
            if dataset_name == "coreviz":
                expected = cv.open_library("coreviz_library.duckdb").media.arrow()
                assert expected.num_rows == 20
    assert cv.open_library().media.arrow() == expected
    with pytest.raises(ConfigurationError, match="coreviz, second"):
        cv.open_library(tmp_path / "coreviz_library.duckdb")
    assert cv.open_library(tmp_path / "coreviz_library.duckdb", dataset_name="second").media.arrow().num_rows == 20
    assert {path.name for path in tmp_path.iterdir()} == {"coreviz_library.duckdb", "dlt"}


def test_what_is_missing_is_named(pipeline, monkeypatch):
    with Studio(frozen(20)) as studio:
        run(pipeline, studio)
    opened = cv.open_library(pipeline)
    with pytest.raises(DestinationError, match="create_views"):
        opened.search("shoe")
    with pytest.raises(ConfigurationError, match="empty"):
        opened.search(" ")
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ConfigurationError, match="pip install pandas"):
        opened.captions.df()
    with pytest.raises(ConfigurationError, match="pip install polars"):
        opened.captions.pl()
    with pytest.raises(Exception, match="nowhere"):
        opened("SELECT nowhere FROM media").fetchall()


def test_a_connection_that_dlt_was_given_is_read_through(tmp_path):
    with duckdb.connect(str(tmp_path / "library.duckdb")) as connection, Studio(frozen(6)) as studio:
        pipeline = dlt.pipeline(
            "given",
            destination=dlt.destinations.duckdb(connection),
            dataset_name="coreviz",
            pipelines_dir=str(tmp_path / "pipelines"),
        )
        run_sync(pipeline, studio)
        assert len(list(cv.open_library(pipeline).media)) == 6
