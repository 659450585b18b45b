"""A search has one meaning in each warehouse and in the dashboard, and finds nothing that was deleted."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import dlt
import dlt.destinations.impl.bigquery.bigquery
import pytest
from click.testing import CliRunner

from coreviz_source import open_library
from coreviz_source.cli import main
from coreviz_source.commands.search import search
from coreviz_source.dashboard import queries
from coreviz_source.dashboard.queries import Filters
from coreviz_source.dashboard.warehouse import Warehouse
from coreviz_source.errors import ConfigurationError, DestinationError
from coreviz_source.local_studio import Library, Studio
from coreviz_source.warehouse.catalog import SEARCH_INDEX
from coreviz_source.warehouse.search import MOST_TERMS, matches, parse, statement, values
from tests.bigquery import BigQuery
from tests.scenario import first_sync, frozen, media_of, run_sync
from tests.warehouse import query

CAPTIONS = {
    "red shoe": "A red shoe stands alone.",
    "shoe red": "The shoe is RED.",
    "shoes": "Two shoes, both of them red, on the floor.",
    "covered": "A covered snowshoe.",
    "t-shirt": "A blue T-Shirt, and it's new.",
    "t shirt": "A t shirt by Jósé’s tailor.",
    "percent": "100% of _all_ \\ 'quoted' (a+b) [x] {2} ^ $5",
    "hundred": "100 people in example.com/shoes/index.html",
    "lines": "red\nshoe",
    "stop": "the and of",
    "inches": 'A 5" pipe, "as is".',
    "german": "Straße mit ÄPFELN",
    "greek": "ΛΟΓΟΣ λόγος",
    "apart": "Café und Äpfel",
    "cyrillic": "КРАСНЫЙ мяч",
    "japanese": "棚の上の赤い靴とiPhoneの写真",
    "korean": "발 신발이 있다",
    "thai": "รองเท้าสีแดง",
    "emoji": "A shoe👟—on sand",
}
#: Queries, the captions that match, and those that Postgres finds besides by the stems of words.
CASES: tuple[tuple[str, str, str], ...] = (
    ("red shoe", "red shoe, shoe red, lines", "shoes"),
    ("SHOE Red", "red shoe, shoe red, lines", "shoes"),
    ("shoe, red!", "red shoe, shoe red, lines", "shoes"),
    ('"red shoe"', "red shoe, lines", ""),
    ('"shoe RED', "", ""),
    ("shoe -red", "emoji", ""),
    ('red -"red shoe"', "shoe red, shoes", ""),
    ("-red -shoe 100", "percent, hundred", ""),
    ("shoes", "shoes, hundred", "red shoe, shoe red, lines"),
    ("t-shirt", "t-shirt", ""),
    ("shirt", "t-shirt, t shirt", ""),
    ("it's", "t-shirt", ""),
    ("it’s new", "t-shirt", ""),
    ("JÓSÉ's", "t shirt", ""),
    ("jose", "", ""),
    ("100%", "percent", ""),
    ("%", "percent", ""),
    ("_all_", "percent", ""),
    ("all", "percent", ""),
    ("\\", "percent", ""),
    ("'quoted' (a+b) [x] {2} ^ $5", "percent", ""),
    ("a.b", "", ""),
    ("the", "shoe red, shoes, stop", ""),
    ("the of", "shoes, stop", ""),
    ('"the and of"', "stop", ""),
    ('5"', "inches", ""),
    ("“as is”", "inches", ""),
    ("-", "t-shirt", ""),
    ("STRASSE", "german", ""),
    ("straẞe", "german", ""),
    ("äpfeln", "german", ""),
    ("äpfel", "apart", ""),
    ("äpfel CAFÉ", "apart", ""),
    ("cafe", "", ""),
    ("λογος", "greek", ""),
    ("красный", "cyrillic", ""),
    ("красн", "", ""),
    ("赤い靴 iphone", "japanese", ""),
    ("写真 -棚", "", ""),
    ("신발", "korean", ""),
    ("발", "korean", ""),
    ("สีแดง", "thai", ""),
    ("👟", "emoji", ""),
    ("on sand", "emoji", ""),
    ("nowhere", "", ""),
)


def described() -> tuple[Library, dict[str, str]]:
    """A library with one media item per caption, and their ids by the caption's key."""
    library = frozen(60)
    images = [item for item in media_of(library, frames=1) if item["type"] == "image"]
    named = {}
    for key, text in CAPTIONS.items():
        with library.changing(images.pop()["id"]) as item:
            item["name"] = "photo.jpg"
            item["frames"][0]["captions"][0]["text"] = text
        named[key] = item["id"]
    for item in media_of(library):
        if item["id"] not in named.values():
            library.delete(item["id"])
    return library, named


@pytest.fixture
def bigquery(tmp_path, monkeypatch) -> Iterator[dlt.Pipeline]:
    with BigQuery() as service:
        monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", service.url)
        monkeypatch.setenv("NO_GCE_CHECK", "true")
        monkeypatch.setenv("LOAD__TRUNCATE_STAGING_DATASET", "true")
        monkeypatch.setattr(dlt.destinations.impl.bigquery.bigquery, "sleep", lambda seconds: time.sleep(0.01))
        yield dlt.pipeline(
            "coreviz_bigquery",
            destination=dlt.destinations.bigquery(service.credentials()),
            dataset_name="coreviz",
            pipelines_dir=str(tmp_path / "pipelines"),
        )
        assert service.unknown == []


def test_a_query_finds_the_same_captions_in_every_warehouse_and_in_the_dashboard(pipeline, postgres, bigquery):
    library, named = described()
    with Studio(library) as studio:
        for warehouse in (pipeline, postgres, bigquery):
            assert run_sync(warehouse, studio).exit_code == 0
    keys = {media_id: key for key, media_id in named.items()}
    wrong = []
    # the double of BigQuery is slow, and compares with the same engine as DuckDB
    for warehouse, cases in ((pipeline, CASES), (postgres, CASES), (bigquery, CASES[::4])):
        matching = {text: search(warehouse, text, 100) for text, _, _ in cases}
        opened = open_library(warehouse)
        for text in ("red shoe", "shoe -red"):
            rows = [row["caption_id"] for row in opened.search(text)]
            assert rows == [match.caption_id for match in matching.get(text) or search(warehouse, text, 100)]
        with Warehouse(warehouse).opened() as reader:
            for text, expected, stems in cases:
                wanted = names(expected) | (names(stems) if warehouse is postgres else set())
                filters = Filters(terms=parse(text))
                shown = queries.gallery(reader, filters)
                # newest first
                assert [match.media_id for match in matching[text]] == [row["id"] for row in shown], text
                if (found := {keys[row["id"]] for row in shown}) != wanted:
                    wrong.append((warehouse.pipeline_name, text, found, wanted))
    assert wrong == []
    assert search(pipeline, "shoe", 1) == search(pipeline, "shoe")[:1]
    # without its index, Postgres is slower, and finds the same
    query_none(postgres, f'DROP INDEX "{postgres.dataset_name}".{SEARCH_INDEX}')
    assert {keys[match.media_id] for match in search(postgres, "red shoe")} == names("red shoe, shoe red, lines, shoes")


def names(listed: str) -> set[str]:
    return set(filter(None, listed.split(", ")))


def found(warehouse: dlt.Pipeline, text: str, limit: int = 1000) -> list[str]:
    return [match.caption for match in search(warehouse, text, limit)]


def query_none(warehouse: dlt.Pipeline, sql: str) -> None:
    with warehouse.sql_client() as client:
        client.execute_sql(sql)


def test_postgres_finds_word_stems_by_its_index(postgres):
    library = frozen(90)
    with Studio(library) as studio:
        run_sync(postgres, studio)
    with postgres.sql_client() as client:
        client.execute_sql("SET enable_seqscan = off")
        terms = parse("red shoe")
        sql, names = statement(
            f"SELECT 1 FROM captions c WHERE {matches('c.text', terms, 'c.id')}",
            "postgres",
            lambda table: client.make_qualified_table_name_path(table, quote=False),
        )
        plan = client.execute_sql(f"EXPLAIN {sql}", *map(values(terms).__getitem__, names))
        assert str(plan).count(SEARCH_INDEX) == 2


def test_what_is_softly_deleted_is_not_found(pipeline):
    library = frozen(30)
    with Studio(library) as studio:
        item = media_of(library, frames=1)[0]
        library.add_caption(item["id"], "Very special.")
        first_sync(pipeline, studio)
        assert found(pipeline, "very special") == ["Very special."]
        library.delete(item["id"])
        run_sync(pipeline, studio, deletes="soft", reconcile_every="0")
    assert query(pipeline, "SELECT text FROM coreviz.captions WHERE text = 'Very special.'") == [("Very special.",)]
    assert found(pipeline, "very special") == []


def test_the_command_prints_matches_and_json_and_says_what_is_wrong(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    call = CliRunner().invoke

    def command(*arguments: str):
        return call(main, ["search", *arguments])

    nothing = command("shoe")
    assert (nothing.exit_code, "coreviz-source sync" in nothing.stderr) == (7, True)
    assert command("").exit_code == 2
    # an option for click, and an excluded word for the one who typed it
    assert 'search -- "shoe -red"' in command("shoe", "-red").stderr
    library = frozen(40)
    warehouse = dlt.pipeline("coreviz_library", destination="duckdb", dataset_name="coreviz")
    with Studio(library) as studio:
        video = next(i for i in media_of(library, frames=2) if i["type"] == "video")
        library.add_caption(video["id"], "A red shoe, at last.")
        run_sync(warehouse, studio)
    said = command("RED SHOE, at last")
    assert said.exit_code == 0
    frame = video["frames"][-1]
    name = video["name"].rpartition("/")[2]
    assert said.stdout.startswith(f"{name}, at {float(frame['timestamp']):.1f} s  [Spring Catalogue]\n")
    assert "A red shoe, at last." in said.stdout and video["blob"] in said.stdout
    (match,) = json.loads(command("at last", "--json", "--limit", "1").stdout)
    assert (match["media_id"], match["caption"]) == (video["id"], "A red shoe, at last.")
    assert (match["media_name"], match["file_name"]) == (video["name"], name)
    assert command("nowhere at all", "--json").stdout == "[]\n"
    without = command("nowhere at all")
    assert (without.exit_code, without.stdout, without.stderr) == (0, "", "No caption matches.\n")
    with pytest.raises(ConfigurationError):
        search(warehouse, " ".join(map(str, range(MOST_TERMS + 1))))


def test_a_warehouse_that_does_not_answer_is_exit_code_7(server, tmp_path):
    away = dlt.pipeline(
        "coreviz_postgres",
        destination=dlt.destinations.postgres(server.url.replace(f":{server.port}", ":9")),
        dataset_name="coreviz",
        pipelines_dir=str(tmp_path / "pipelines"),
    )
    with pytest.raises(DestinationError):
        search(away, "shoe")
