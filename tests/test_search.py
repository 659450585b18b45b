"""`coreviz-source search` finds the captions that match, in either warehouse, and nothing that was deleted."""

from __future__ import annotations

import json

import dlt
import pytest
from click.testing import CliRunner

from coreviz_source.cli import main
from coreviz_source.commands.search import _BY_INDEX, search
from coreviz_source.errors import DestinationError
from coreviz_source.local_studio import Studio
from coreviz_source.warehouse.catalog import SEARCH_INDEX
from tests.scenario import first_sync, frozen, media_of, run_sync, truth_of
from tests.truth import truth
from tests.warehouse import query


def found(warehouse: dlt.Pipeline, text: str, limit: int = 1000) -> list[str]:
    return [match.caption for match in search(warehouse, text, limit)]


def test_both_warehouses_find_a_substring_whatever_its_case_and_characters(pipeline, postgres):
    library = frozen(90, datasets=2)
    odd = ["100% of _all_ \\ 'quoted'", "Ein ROTER Schuh", "the and of"]
    with Studio(library) as studio:
        for item, text in zip(media_of(library, frames=1), odd, strict=False):
            library.add_caption(item["id"], text)
        for warehouse in (pipeline, postgres):
            run_sync(warehouse, studio)
        query_none(postgres, f'DROP INDEX "{postgres.dataset_name}".{SEARCH_INDEX}')
        tables = truth(truth_of(studio))
        created = {m["id"]: m["created_at"] for m in tables["media"]}
        for text in ("a blue", "A BLUE", "%", "_all_", "\\", "'quoted'", "roter schuh", "the and of", "nowhere"):
            expected = [c for c in tables["captions"] if text.lower() in c["text"].lower()]
            for warehouse in (pipeline, postgres):
                matches = search(warehouse, text, 1000)
                assert sorted(m.caption_id for m in matches) == sorted(c["id"] for c in expected), text
                newest_first = [created[m.media_id] for m in matches]
                assert newest_first == sorted(newest_first, reverse=True)
                assert search(warehouse, text, 3) == matches[:3]


def query_none(warehouse: dlt.Pipeline, sql: str) -> None:
    with warehouse.sql_client() as client:
        client.execute_sql(sql)


def test_postgres_finds_other_forms_of_words_by_its_index(postgres):
    library = frozen(90)
    with Studio(library) as studio:
        item = media_of(library, frames=1)[0]
        library.add_caption(item["id"], "Two shoes, both of them red, on the floor.")
        library.add_caption(item["id"], "the and of")
        run_sync(postgres, studio)
        every = {c["text"] for c in truth(truth_of(studio))["captions"]}
    assert "Two shoes, both of them red, on the floor." in found(postgres, "red shoe")
    assert found(postgres, '"red shoe" -floor') == [t for t in found(postgres, "red shoe") if "red shoe" in t]
    assert "the and of" in found(postgres, "the")
    assert set(found(postgres, "floor or 100%")) == {t for t in every if "floor" in t}
    with postgres.sql_client() as client:
        client.execute_sql("SET enable_seqscan = off")
        plan = client.execute_sql(
            f"EXPLAIN SELECT 1 FROM {client.make_qualified_table_name('captions')} c WHERE {_BY_INDEX}",
            *["red shoe"] * 3,
        )
        assert SEARCH_INDEX in str(plan)


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
    library = frozen(40)
    warehouse = dlt.pipeline("coreviz_library", destination="duckdb", dataset_name="coreviz")
    with Studio(library) as studio:
        video = next(i for i in media_of(library, frames=2) if i["type"] == "video")
        library.add_caption(video["id"], "A red shoe, at last.")
        run_sync(warehouse, studio)
    said = command("RED SHOE, at last")
    assert said.exit_code == 0
    frame = video["frames"][-1]
    assert f"{video['name']}, at {float(frame['timestamp']):.1f} s  [Spring Catalogue]" in said.stdout
    assert "A red shoe, at last." in said.stdout and video["blob"] in said.stdout
    (match,) = json.loads(command("at last", "--json", "--limit", "1").stdout)
    assert (match["media_id"], match["caption"]) == (video["id"], "A red shoe, at last.")
    assert command("nowhere at all", "--json").stdout == "[]\n"
    assert command("nowhere at all").stdout == ""


def test_a_warehouse_that_does_not_answer_is_exit_code_7(server, tmp_path):
    away = dlt.pipeline(
        "coreviz_postgres",
        destination=dlt.destinations.postgres(server.url.replace(f":{server.port}", ":9")),
        dataset_name="coreviz",
        pipelines_dir=str(tmp_path / "pipelines"),
    )
    with pytest.raises(DestinationError):
        search(away, "shoe")
