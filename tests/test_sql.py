"""The questions of docs/sql.md have equal answers in DuckDB and Postgres, and BigQuery can read them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import dlt
import sqlglot
from sqlglot import exp

from coreviz_source.local_studio import Library, Studio
from coreviz_source.tables import BY_NAME
from coreviz_source.warehouse.destination import SEARCH_VECTOR
from coreviz_source.warehouse.views import views
from tests.bigquery import BigQuery
from tests.docs import BIGQUERY, BY_WAREHOUSE, QUESTIONS, bigquery_page, blocks, for_bigquery, questions
from tests.postgres import Postgres
from tests.scenario import media_of, run_sync, truth_of
from tests.test_views import plain
from tests.truth import Row, truth


def test_every_question_has_the_same_answer_in_both_warehouses_and_it_is_the_truth(tmp_path):
    # some weeks, two files of one size, late captions
    library = Library.generate(240, every=20_000)
    library.advance()
    one, two, three, four = media_of(library, frames=1)[:4]
    with library.changing(two["id"]) as item:
        item |= {"type": one["type"], "sizeBytes": one["sizeBytes"]}
    with library.changing(three["id"]) as item:
        item["metadata"]["tags"] = {"Tags": ["print"], "Quality": ["sharp"]}
    library.add_caption(four["id"], "A red shoe, late.")
    library.advance(days=-9)
    first, second = (dict(item["frames"][0]["captions"][0]) for item in (one, two))
    answers = []
    with Postgres() as server, Studio(library) as studio:
        warehouses = [
            dlt.pipeline(f"coreviz_{destination.destination_name}", destination=destination, dataset_name="coreviz")
            for destination in (
                dlt.destinations.duckdb(str(tmp_path / "library.duckdb")),
                dlt.destinations.postgres(server.url),
            )
        ]
        load(warehouses, studio)
        before = truth(truth_of(studio))
        library.advance(days=9)
        library.recaption(one["id"], "Rewritten.", frame=0)
        library.recaption(two["id"], "By another.", frame=0, model="vision-2", keep_id=False)
        library.moderate(three["id"], "flagged", "violence")
        load(warehouses, studio)
        for warehouse in warehouses:
            with warehouse.sql_client() as client:
                answers.append(
                    {
                        question: [tuple(map(plain, row)) for row in client.execute_sql(sql) or ()]
                        for question, sql in questions().items()
                    }
                )
        tables = truth(truth_of(studio))
    assert answers[0] == answers[1]
    assert all(answers[0].values()), "a question without an answer proves nothing"
    assert_true(answers[0], tables)
    now = library.clock().replace(microsecond=0)
    changes = [
        (now, one["name"], first["text"], "Rewritten.", first["model"], first["model"]),
        (now, two["name"], second["text"], "By another.", second["model"], "vision-2"),
    ]
    assert answers[0]["Which captions were rewritten last week, and how?"] == sorted(changes, key=lambda row: row[1])
    assert answers[0]["Which model changed its mind most?"] == [(first["model"], 1, 1, 9.0)]
    assert answers[0]["How often is moderation reversed?"] == [("approved", "flagged", 1, 1)]
    names = {m["id"]: m["name"] for m in before["media"]}
    said = sorted(before["captions"], key=lambda c: (names[c["media_id"]], c["frame_id"], c["id"]))
    assert answers[0]["What did the library say on a day?"] == [
        (names[c["media_id"]], c["text"], c["model"]) for c in said[:20]
    ]


def load(warehouses: list[dlt.Pipeline], studio: Studio) -> None:
    for warehouse in warehouses:
        report = run_sync(warehouse, studio, history=True, reconcile_every="0")
        assert (report.exit_code, report.warnings) == (0, [])


def assert_true(found: dict[str, list[tuple[Any, ...]]], tables: dict[str, list[Row]]) -> None:
    """The answers that no test of the views vouches for equal what the truth says."""
    media = {m["id"]: m for m in tables["media"]}

    def file(item: dict[str, Any]) -> str:
        return item["name"].rpartition("/")[2]

    late = [c for c in tables["captions"] if c["created_at"] > media[c["media_id"]]["created_at"] + timedelta(hours=1)]
    assert found["Which captions came late?"] == [
        (file(media[c["media_id"]]), media[c["media_id"]]["created_at"], c["text"]) for c in late
    ]
    cameras: dict[str, int] = {}
    for item in tables["media"]:
        camera = item["exif"]["tags"].get("Model")
        if camera:
            cameras[camera] = cameras.get(camera, 0) + 1
    assert dict(found["Which cameras were used?"]) == cameras
    ((kind, size, files, _),) = found["Which files may be there twice?"]
    twins = [m for m in tables["media"] if (m["type"], m["size_bytes"]) == (kind, size)]
    assert files == len(twins) == 2
    weeks: dict[Any, int] = {}
    for item in tables["media"]:
        day = item["created_at"].date()
        monday = day - timedelta(days=day.weekday())
        weeks[monday] = weeks.get(monday, 0) + 1
    growth = found["How does the library grow, week over week?"]
    assert [(week, media) for week, media, _, _ in growth] == sorted(weeks.items())
    assert len(weeks) > 2 and growth[-1][3] == len(tables["media"])
    assert growth[1][2] == growth[1][1] - growth[0][1]
    both = {"print", "sharp"}
    tagged = {m: {t["tag"] for t in tables["media_tags"] if t["media_id"] == m} for m in media}
    carrying = sorted((m for m in media if both <= tagged[m]), key=lambda m: media[m]["created_at"], reverse=True)
    assert [row[0] for row in found["Which media carry two tags at once?"]] == [file(media[m]) for m in carrying[:3]]
    labels = {
        f: {o["label"] for o in tables["objects"] if o["frame_id"] == f}
        for f in {o["frame_id"] for o in tables["objects"]}
    }
    for label, other, frames in found["What is seen together?"]:
        assert frames == sum({label, other} <= seen for seen in labels.values())
    frames = {f["id"]: f for f in tables["frames"]}
    shares: dict[str, list[float]] = {}
    pairs: dict[tuple[str, str], int] = {}
    for thing in tables["objects"]:
        # the boxes of the Studio are inside the picture
        size = frames[thing["frame_id"]]["width"] * frames[thing["frame_id"]]["height"]
        share = (thing["x_max"] - thing["x_min"]) * (thing["y_max"] - thing["y_min"]) / size
        shares.setdefault(thing["label"], []).append(share)
        for other in tables["objects"]:
            if other["frame_id"] == thing["frame_id"] and thing["x_max"] < other["x_min"]:
                pair = thing["label"], other["label"]
                pairs[pair] = pairs.get(pair, 0) + 1
    for label, objects, percent in found["What share of the picture does a thing fill?"]:
        assert len(shares[label]) == objects > 2
        assert abs(100 * sum(shares[label]) / objects - percent) < 0.06
    assert {
        (label, other): times for label, other, times in found["What stands left of what?"]
    }.items() <= pairs.items()
    assert max(pairs.values()) == found["What stands left of what?"][0][2]
    folders = {f["id"]: f for f in tables["folders"]}
    below: dict[tuple[str, str], int] = {}
    for item in tables["media"]:
        folder = item["folder_id"]
        while folder:
            key = item["dataset_id"], folder
            below[key] = below.get(key, 0) + 1
            folder = folders[folder]["parent_id"]
    most = [media for _, _, _, media in found["How much is in a folder and all folders below it?"]]
    assert most == sorted(below.values(), reverse=True)[: len(most)]
    described = {c["media_id"] for c in tables["captions"]}
    assert sum(n for _, n in found["Which media have no caption yet, by age?"]) == len(media.keys() - described)


def test_there_are_more_than_twenty_questions_and_bigquery_reads_them():
    assert len(questions()) == 27
    assert BIGQUERY.read_text() == bigquery_page()
    known = BY_NAME.keys() | {view.name for view in views()}
    for sql in questions().values():
        tree = sqlglot.parse_one(for_bigquery(sql), read="bigquery")
        assert {table.name for table in tree.find_all(exp.Table) if table.db} <= known
        # what BigQuery does not have
        assert not list(tree.find_all(exp.Any, exp.WithinGroup, exp.Filter, exp.ILike))
        assert "WEEK)" not in for_bigquery(sql).replace("ISOWEEK)", "")


def test_the_recipes_name_what_is_there():
    recipes = [sql for sql in blocks(QUESTIONS, "sql") if sql not in questions().values()]
    postgres, duckdb, bigquery = recipes
    assert SEARCH_VECTOR.format(text="text") in postgres
    assert "coreviz.captions" in duckdb
    made, asked = bigquery.split(";\n")[:2]
    assert "ON coreviz.captions (text)" in made
    assert list(sqlglot.parse_one(asked, read="bigquery").find_all(exp.Where))


def test_the_pages_with_a_query_per_warehouse_get_one_answer_from_all(tmp_path, monkeypatch):
    library = Library.generate(60)
    answers: list[list[list[tuple[Any, ...]]]] = []
    with Postgres() as server, BigQuery() as service, Studio(library) as studio:
        monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", service.url)
        monkeypatch.setenv("NO_GCE_CHECK", "true")
        monkeypatch.setenv("LOAD__TRUNCATE_STAGING_DATASET", "true")
        for number, destination in enumerate(
            (
                dlt.destinations.duckdb(str(tmp_path / "library.duckdb")),
                dlt.destinations.postgres(server.url),
                dlt.destinations.bigquery(credentials=service.credentials()),
            )
        ):
            name = destination.destination_name
            warehouse = dlt.pipeline(f"coreviz_{name}", destination=destination, dataset_name="coreviz")
            assert run_sync(warehouse, studio).exit_code == 0
            queries = [sql for page in BY_WAREHOUSE for sql in blocks(page, "sql")[number::3]]
            with warehouse.sql_client() as client:
                if name == "bigquery":
                    queries = [sql.replace("coreviz.", f"{client.fully_qualified_dataset_name()}.") for sql in queries]
                else:
                    client.execute_sql("SET TimeZone = 'America/New_York'")
                answers.append([[tuple(map(plain, row)) for row in client.execute_sql(sql) or ()] for sql in queries])
                if name != "bigquery":
                    # the zone of the session, where a query names none
                    ((there,),) = client.execute_sql("SELECT MIN(CAST(created_at AS DATE)) FROM coreviz.media") or ()
                    assert str(there) < min(item["createdAt"] for d in library.datasets for item in studio.snapshot(d))
        assert service.unknown == []
    assert answers[0] == answers[1] == answers[2]
    assert all(answers[0]) and len(answers[0]) == 4
