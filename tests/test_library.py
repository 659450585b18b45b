"""`open_library()` reads the same rows as SQL does, in every warehouse, and writes nothing."""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from types import ModuleType

import dlt
import duckdb
import pytest

import coreviz_source as cv
from coreviz_source import coreviz
from coreviz_source.commands.search import search
from coreviz_source.errors import ConfigurationError, CorevizError, DestinationError
from coreviz_source.local_studio import Studio
from tests.scenario import arguments, frozen, media_of, run, run_sync
from tests.warehouse import assert_opened_library_is_whole


@pytest.fixture(params=["duckdb", "postgres"])
def warehouse(request):
    return request.getfixturevalue("pipeline" if request.param == "duckdb" else "postgres")


def in_order(rows):
    return sorted(rows, key=lambda row: (row.get("createdAt", ""), row["id"]))


def test_tables_views_search_and_items_have_the_rows_of_the_warehouse(warehouse):
    library = frozen(40)
    with Studio(library) as studio:
        video, other, *_ = media_of(library, frames=2)
        library.add_caption(video["id"], "Very special: a red shoe.")
        library.add_caption(other["id"], "Very special as well: a red shoe.")
        run_sync(warehouse, studio)
    assert_opened_library_is_whole(warehouse)
    opened = cv.open_library(warehouse)
    captions = opened.captions
    assert captions.where("text = 'Very special: a red shoe.'").select("media_id").fetchall() == [(video["id"],)]
    assert opened("SELECT count(*) AS n FROM media").fetchall() == [(40,)]
    assert opened.row_counts().order_by("table_name").fetchall()[-1] == ("tag_usage", len(list(opened.tag_usage)))
    assert "object_boxes" in dir(opened) and "captions" in repr(opened) and "model" in repr(captions)
    joined = captions.join("media").where("text = 'Very special: a red shoe.'")
    assert joined.select("media__name").fetchall() == [(video["name"],)]
    item = opened.item(video["id"].replace("-", "").upper())
    assert item.media["name"] == video["name"] and item.media["metadata"] == video.get("metadata")
    assert item.captions == [caption["text"] for frame in video["frames"] for caption in in_order(frame["captions"])]
    assert [[found["label"] for found in frame["objects"]] for frame in item.frames] == [
        [found["label"] for found in in_order(frame["objects"])] for frame in video["frames"]
    ]
    with pytest.raises(KeyError):
        opened.item("nope")
    with pytest.raises(Exception, match=r"(?i)read.?only"), opened.sql_client as client:
        client.execute_sql(f"DELETE FROM {client.make_qualified_table_name('captions')}")
    with pytest.raises(ConfigurationError, match="SELECT"):
        opened("DELETE FROM captions").fetchall()
    assert captions.arrow().num_rows > 0
    # threads that open one pipeline share its schema, which must never be replaced under them
    schema = warehouse.default_schema
    tables = schema.tables
    assert cv.open_library(warehouse).media.arrow().num_rows == 40
    assert schema.tables is tables

    # what has no date comes last, as with the command
    with warehouse.sql_client() as client:
        names = {name: client.make_qualified_table_name(name) for name in ("media", "captions")}
        newest = max((video, other), key=lambda each: each["createdAt"])
        client.execute_sql(f"UPDATE {names['media']} SET created_at = NULL WHERE id = %s", newest["id"])
    matches = [(row["media_id"], row["caption"]) for row in opened.search('"red shoe" SPECIAL -blue')]
    assert len(matches) == 2 and matches[-1][0] == newest["id"]
    assert matches == [(match.media_id, match.caption) for match in search(warehouse, '"red shoe" SPECIAL -blue')]

    # the service deletes inside of a media item, which moves to another dataset
    with warehouse.sql_client() as client:
        client.execute_sql(f"UPDATE {names['captions']} SET status = 'deleted' WHERE text LIKE 'Very special: %%'")
        client.execute_sql(f"CREATE TABLE moved AS SELECT * FROM {names['media']} WHERE id = %s", video["id"])
        client.execute_sql("UPDATE moved SET dataset_id = 'another', deleted_at = created_at, name = 'Where it was'")
        client.execute_sql(f"INSERT INTO {names['media']} SELECT * FROM moved")
    item = opened.item(video["id"])
    assert item.media["dataset_id"] != "another" and "Very special: a red shoe." not in item.captions
    assert len(item.frames) == len(video["frames"])


def test_a_path_or_nothing_opens_the_file_of_the_command_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DestinationError, match=r"no DuckDB file .*coreviz_library\.duckdb"):
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
    with pytest.raises(DestinationError, match=r"schema third\. It has them in coreviz, second"):
        cv.open_library("coreviz_library.duckdb", dataset_name="third")
    assert cv.open_library(destination="duckdb", dataset_name="second").dataset_name == "second"
    assert cv.open_library(tmp_path / "coreviz_library.duckdb", dataset_name="second").media.arrow().num_rows == 20
    assert {path.name for path in tmp_path.iterdir()} == {"coreviz_library.duckdb", "dlt"}


def test_what_is_missing_is_named(pipeline, monkeypatch, tmp_path):
    with Studio(frozen(20)) as studio:
        pipeline.run(coreviz(**arguments(studio, {})).with_resources("media", "captions"))
    opened = cv.open_library(pipeline)
    # a caption belongs to its media item also if its frame was not loaded
    described = next(iter(opened.captions))
    assert described["text"] in opened.item(described["media_id"]).captions
    with pytest.raises(DestinationError, match=r"no table or view frames .*exist: .*captions, media"):
        opened.search("shoe")
    with pytest.raises(ConfigurationError, match="empty"):
        opened.search(" ")
    for read, error in (
        (lambda: opened.caption, AttributeError),
        (lambda: opened["caption"], KeyError),
        (lambda: opened.table("caption"), DestinationError),
        (opened("SELECT * FROM caption").arrow, DestinationError),
    ):
        with pytest.raises(error, match=r"no table or view caption\. These exist: .*captions, media"):
            read()
    assert opened("WITH caption AS (SELECT * FROM captions) SELECT count(*) FROM caption").fetchscalar() > 0
    with pytest.raises(Exception, match="nowhere"):
        opened("SELECT nowhere FROM media").fetchall()
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ConfigurationError, match="pip install pandas"):
        opened.captions.df()
    polars = ModuleType("polars")
    polars.__dict__.update(__spec__=ModuleSpec("polars", None), from_arrow=lambda table: ("polars", table))
    monkeypatch.setitem(sys.modules, "polars", polars)
    assert opened.captions.pl() == ("polars", opened.captions.arrow())
    monkeypatch.setitem(sys.modules, "polars", None)
    with pytest.raises(ConfigurationError, match="pip install polars"):
        opened.captions.pl()
    text = tmp_path / "notes.txt"
    text.write_text("not a warehouse")
    for path, message in (
        (text, r"notes\.txt is not a DuckDB file"),
        (str(tmp_path), "is not a DuckDB file"),
        ("postgresql://me:hidden@host/db", 'destination="postgres"'),
    ):
        with pytest.raises(CorevizError, match=message) as refused:
            cv.open_library(path)
        assert "hidden" not in str(refused.value)


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
