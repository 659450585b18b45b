"""History: one row per version of a media item and of a caption, opened and closed by the runs that see the changes."""

from __future__ import annotations

import copy
import shutil
from collections import defaultdict
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import dlt
import pytest
from dlt.destinations.impl.duckdb.sql_client import DuckDbSqlClient

from coreviz_source import coreviz
from coreviz_source.commands.forget import Subject, forget
from coreviz_source.commands.status import read_status
from coreviz_source.errors import ConfigurationError, find
from coreviz_source.local_studio import Library, Studio
from coreviz_source.tables import BY_NAME, HISTORY
from tests import hostile
from tests.docs import ROOT, blocks
from tests.scenario import arguments, assert_equal_to, first_sync, frozen, media_of, run_sync
from tests.warehouse import load_ids, query, read, runs

Row = dict[str, Any]
#: The columns that count as a version, beside the ids.
COUNTING = {
    "media_history": (
        *("name", "description", "prompt", "type", "folder_id", "status", "moderation_status", "size_bytes"),
        *("metadata", "tags"),
    ),
    "caption_history": ("frame_id", "text", "model", "status"),
}
IDS = {"media_history": ("dataset_id", "id"), "caption_history": ("dataset_id", "media_id", "id")}


def plain(pipeline: dlt.Pipeline, studio: Studio, **given: Any) -> None:
    pipeline.run(coreviz(**arguments(studio, {"history": True, "reconcile_every": "0", **given})))


def synced(pipeline: dlt.Pipeline, studio: Studio, **given: Any) -> int:
    report = run_sync(pipeline, studio, **{"history": True, "reconcile_every": "0", **given})
    assert report.exit_code in (0, 6), report
    return report.exit_code


def items(pipeline: dlt.Pipeline) -> dict[str, dict[tuple[str, ...], list[Row]]]:
    """The versions of each item, oldest first, after a check of what holds for every history.

    Every living media item, and each of its captions, has one current version, equal to its row. Nothing else has one.
    The versions of an item do not overlap, and between them is nothing but its absence.
    """
    stored = read(pipeline, "media", "captions", *COUNTING)
    alive = {(row["dataset_id"], row["id"]) for row in stored["media"] if row["deleted_at"] is None}
    rows = {
        "media_history": [
            {**row, "tags": (row["metadata"] or {}).get("tags")}
            for row in stored["media"]
            if (row["dataset_id"], row["id"]) in alive
        ],
        "caption_history": [row for row in stored["captions"] if (row["dataset_id"], row["media_id"]) in alive],
    }
    found = {}
    for table, counting in COUNTING.items():
        versions: dict[tuple[str, ...], list[Row]] = defaultdict(list)
        for row in sorted(stored[table], key=lambda row: row["valid_from"]):
            versions[tuple(row[name] for name in IDS[table])].append(row)
        current = {key: of[-1] for key, of in versions.items() if of[-1]["valid_to"] is None}
        names = (*IDS[table], *counting)
        assert [[row[name] for name in names] for row in sorted(current.values(), key=key_of(table))] == [
            [row[name] for name in names] for row in sorted(rows[table], key=key_of(table))
        ]
        for of in versions.values():
            assert of[0]["change"] == "added"
            for before, after in pairwise(of):
                assert before["valid_from"] < before["valid_to"] <= after["valid_from"]
                how = {"changed": "changed", "removed": "returned"}[before["ended_by"]]
                assert after["change"] == how
                assert how == "returned" or before["valid_to"] == after["valid_from"]
                assert how == "returned" or any(before[name] != after[name] for name in counting)
            assert (of[-1]["valid_to"] is None) == (of[-1]["ended_by"] is None)
        found[table] = dict(versions)
    return found


def key_of(table: str) -> Callable[[Row], list[str]]:
    return lambda row: [row[name] for name in IDS[table]]


def versions_of(pipeline: dlt.Pipeline, item_id: str) -> list[Row]:
    """The versions of a media item or of a caption, oldest first."""
    return [row for table in items(pipeline).values() for key, of in table.items() if key[-1] == item_id for row in of]


def told(versions: list[Row], *names: str) -> list[tuple[Any, ...]]:
    return [tuple(row[name] for name in (*names, "change", "ended_by")) for row in versions]


def written(pipeline: dlt.Pipeline) -> dict[str, Any]:
    """Which load wrote which rows, in the history as well."""
    loads = {name: query(pipeline, f"SELECT _dlt_load_id, count(*) FROM {name} GROUP BY 1") for name in COUNTING}
    return {**load_ids(pipeline), **{name: dict(rows) for name, rows in loads.items()}}


@pytest.fixture(params=["duckdb", "postgres"])
def warehouse(request: pytest.FixtureRequest) -> dlt.Pipeline:
    pipeline: dlt.Pipeline = request.getfixturevalue("pipeline" if request.param == "duckdb" else "postgres")
    return pipeline


def captioned(library: Library, number: int) -> tuple[str, Row]:
    """A media item with captions, and its first one."""
    item = media_of(library, frames=1)[number]
    return item["id"], next(frame["captions"][0] for frame in item["frames"] if frame["captions"])


def test_what_changes_is_versioned_and_nothing_else_is_written(warehouse):
    library = frozen(30)
    with Studio(library) as studio:
        synced(warehouse, studio, deletes="soft")
        began = runs(warehouse)[-1]["started_at"]
        first = items(warehouse)
        assert {row["valid_from"] for table in first.values() for of in table.values() for row in of} == {began}
        (one, caption), (two, other), (gone, lost) = (captioned(library, number) for number in range(3))
        before = caption["text"]
        with library.changing(one):
            caption["text"] = "A tall lamp, once more."
        with library.changing(two) as item:
            # neither counts: an address, and a field of the caption that is not in its history
            item["blob"] = "https://example.com/elsewhere.jpg"
            other["updatedAt"] = "2026-03-01T00:00:00.000Z"
        named = media_of(library)[-1]["id"]
        with library.changing(named) as item:
            item["metadata"] = {**item["metadata"], "tags": {"Season": ["spring"], "Tags": ["a", "b"]}}
        kept = copy.deepcopy(library.media(gone))
        dataset = kept["datasetId"]
        library.delete(gone)
        library.advance(minutes=1)
        # the clock of the server stands still between these runs
        synced(warehouse, studio, deletes="soft")
        assert told(versions_of(warehouse, caption["id"]), "text") == [
            (before, "added", "changed"),
            ("A tall lamp, once more.", "changed", None),
        ]
        assert len(versions_of(warehouse, other["id"])) == len(versions_of(warehouse, two)) == 1
        assert [row["tags"] for row in versions_of(warehouse, named)][-1] == {"Season": ["spring"], "Tags": ["a", "b"]}
        assert told(versions_of(warehouse, gone)) == told(versions_of(warehouse, lost["id"])) == [("added", "removed")]
        ids = {row["run"]: row["started_at"] for row in runs(warehouse)}
        library.put(dataset, kept)
        with library.changing(one):
            caption["status"] = "deleted"
        synced(warehouse, studio, deletes="soft")
        assert told(versions_of(warehouse, gone)) == [("added", "removed"), ("returned", None)]
        assert told(versions_of(warehouse, lost["id"])) == [("added", "removed"), ("returned", None)]
        assert [row["status"] for row in versions_of(warehouse, caption["id"])] == ["active", "active", "deleted"]
        ids |= {row["run"]: row["started_at"] for row in runs(warehouse)}
        times = sorted(ids.values())
        assert len(set(times)) == 3 and (times[2] - times[1]).total_seconds() == 1e-6
        assert all(
            row["valid_from"] == ids[row["run"]] and row["valid_to"] in (None, *times)
            for table in items(warehouse).values()
            for of in table.values()
            for row in of
        )
        # nothing is written by a run that finds nothing changed, and no version by one that loads everything again
        before_it = written(warehouse)
        synced(warehouse, studio, deletes="soft")
        assert written(warehouse) == before_it
        synced(warehouse, studio, deletes="soft", resync=True)
        after_it = written(warehouse)
        assert all(after_it[name] == before_it[name] for name in COUNTING) and after_it["media"] != before_it["media"]
        assert_equal_to(warehouse, studio)
        erased = forget(warehouse, Subject(media_ids=[gone]))
        assert erased.rows["media_history"] == 2 and erased.rows["caption_history"] >= 2
        assert not versions_of(warehouse, gone) and not versions_of(warehouse, lost["id"])
        given = arguments(studio, {"dataset_ids": None, "history": True})
        (counted,) = read_status(warehouse, studio.library.clock(), **given).datasets
        total = {name: query(warehouse, f"SELECT count(*) FROM {name}")[0][0] for name in COUNTING}
        assert {name: counted.rows[name] for name in COUNTING} == total
        (mask,) = blocks(ROOT / "docs" / "history.md", "sql")
        with warehouse.sql_client() as client:
            client.execute_sql(mask.replace("coreviz.", f"{warehouse.dataset_name}."))
        texts = dict(query(warehouse, "SELECT valid_to IS NULL, max(text) FROM caption_history GROUP BY 1"))
        assert texts[False] == "masked" != texts[True]


def test_history_that_is_switched_on_later_or_again_knows_what_changed_and_costs_nothing_while_it_is_off(pipeline):
    library = frozen(30)
    with Studio(library) as studio:
        first_sync(pipeline, studio)
        assert not query(pipeline, "SELECT 1 FROM duckdb_tables() WHERE table_name LIKE '%history'")
        library.advance(minutes=1)
        # an ordinary run would list the newest media items only
        synced(pipeline, studio, reconcile_every="1d", lookback="0")
        assert sum(map(len, items(pipeline)["media_history"].values())) == 30
        before = written(pipeline)
        (one, caption), (gone, lost) = captioned(library, 0), captioned(library, 1)
        with library.changing(one):
            caption["text"] = "Written while there was no history."
        library.delete(gone)
        library.advance(minutes=1)
        synced(pipeline, studio, history=False)
        after = written(pipeline)
        assert {name: after[name] for name in COUNTING} == {name: before[name] for name in COUNTING}
        # what did not change was not written again, only because history was switched off
        assert len(after["media"]) == 2 and sorted(after["media"].values()) == [1, 28]
        library.advance(minutes=1)
        synced(pipeline, studio, reconcile_every="1d", lookback="0")
        assert told(versions_of(pipeline, caption["id"])) == [("added", "changed"), ("changed", None)]
        assert told(versions_of(pipeline, gone)) == told(versions_of(pipeline, lost["id"])) == [("added", "removed")]
        assert sorted(written(pipeline)["media"].values()) == [1, 28]
        assert_equal_to(pipeline, studio)
        # a table that somebody dropped, and one that somebody emptied
        query(pipeline, "DROP TABLE caption_history")
        synced(pipeline, studio, reconcile_every="1d", lookback="0")
        assert {len(of) for of in items(pipeline)["caption_history"].values()} == {1}
        query(pipeline, "DELETE FROM media_history")
        synced(pipeline, studio)
        assert {len(of) for of in items(pipeline)["media_history"].values()} == {1}


def test_only_a_proven_listing_of_a_media_item_closes_its_versions(pipeline):
    library = frozen(40, datasets=2)
    first, second = library.datasets
    with Studio(library) as studio:
        plain(pipeline, studio)
        moved = media_of(library, first, frames=1)[0]["id"]
        gone = media_of(library, second)[0]
        library.move(moved, second)
        library.delete(gone["id"])
        library.advance(minutes=1)
        # a sample, a slice that ends before both were created, and a listing without an end
        synced(pipeline, studio, max_media=2)
        synced(pipeline, studio, date_to=min(i["createdAt"] for d in library.datasets for i in media_of(library, d)))
        studio.after = hostile.always_the_first_page
        assert synced(pipeline, studio) == 6
        studio.after = None
        assert told(versions_of(pipeline, gone["id"])) == [("added", None)]
        plain(pipeline, studio)
        assert told(versions_of(pipeline, gone["id"])) == [("added", "removed")]
        versions = {row["dataset_id"]: (row["change"], row["ended_by"]) for row in versions_of(pipeline, moved)}
        assert versions == {first: ("added", "removed"), second: ("added", None)}
        assert_equal_to(pipeline, studio)


@pytest.mark.parametrize("merges", (1, 5, 9))
def test_a_crash_between_two_tables_leaves_nothing_that_the_next_complete_run_does_not_put_right(
    new_pipeline, tmp_path, monkeypatch, merges
):
    library = frozen(30)
    pipeline = new_pipeline()
    with Studio(library) as studio:
        first_sync(pipeline, studio, history=True)
        (one, caption), (two, other), (gone, _) = (captioned(library, number) for number in range(3))
        before = {item_id: copy.deepcopy(library.media(item_id)) for item_id in (one, two, gone)}
        with library.changing(one) as item:
            caption["text"], item["name"] = "Only seen by the run that crashed.", "another.jpg"
        with library.changing(two):
            other["text"] = "Seen by both."
        library.delete(gone)
        library.advance(minutes=1)
        left = merges

        def execute_many(self: Any, statements: Any, *args: Any, **kwargs: Any) -> Any:
            nonlocal left
            if any("DELETE FROM" in sql for sql in statements):
                left -= 1
                if left < 0:
                    raise RuntimeError("The machine stops here.")
            return original(self, statements, *args, **kwargs)

        original = DuckDbSqlClient.execute_many
        monkeypatch.setattr(DuckDbSqlClient, "execute_many", execute_many)
        monkeypatch.setenv("LOAD__WORKERS", "1")
        assert run_sync(pipeline, studio, history=True, reconcile_every="0").exit_code == 7
        monkeypatch.undo()
        pipeline.deactivate()
        shutil.rmtree(Path(pipeline.working_dir))
        # the library is as it was before, so that only the warehouse tells that something was begun
        dataset = before[one]["datasetId"]
        for item_id in (one, gone):
            library.put(dataset, before[item_id])
        library.advance(minutes=1)
        again = new_pipeline(directory="elsewhere")
        synced(again, studio)
        items(again)
        assert_equal_to(again, studio)
        before_it = written(again)
        synced(again, studio)
        assert written(again) == before_it


def test_versions_that_stand_twice_are_put_right_by_the_next_complete_run(pipeline):
    library = frozen(20)
    with Studio(library) as studio:
        synced(pipeline, studio)
        for name in COUNTING:
            later = "* REPLACE (valid_from + INTERVAL 1 SECOND AS valid_from)"
            query(pipeline, f"INSERT INTO {name} SELECT * FROM {name}")
            # and versions of a run that did not know of another one
            query(pipeline, f"INSERT INTO {name} BY NAME SELECT {later} FROM {name} LIMIT 3")
        library.advance(minutes=1)
        synced(pipeline, studio)
        for name in COUNTING:
            current = f"SELECT id FROM {name} WHERE valid_to IS NULL"
            assert query(pipeline, f"SELECT count(*) - count(DISTINCT id) FROM ({current})") == [(0,)]
            assert query(pipeline, f"SELECT count(*) FROM {name} WHERE valid_to <= valid_from") == [(0,)]
        before = written(pipeline)
        synced(pipeline, studio)
        assert written(pipeline) == before


@pytest.mark.parametrize("step", ["yield", "filter"])
def test_history_is_made_of_the_rows_that_have_passed_the_steps_of_their_tables(pipeline, step):
    library = frozen(30)

    def masked(row: Row) -> Row:
        return {**row, "text": row["text"].upper()}

    def load(studio: Studio) -> None:
        source = coreviz(**arguments(studio, {"history": True, "reconcile_every": "0"}))
        source.media.add_map(lambda row: {**row, "name": "hidden", "metadata": None})
        if step == "yield":
            source.captions.add_yield_map(lambda row: iter([masked(row), masked(row)][:1]))
        else:
            source.captions.add_filter(lambda row: "o" in row["text"]).add_map(masked)
        pipeline.run(source)

    with Studio(library) as studio:
        load(studio)
        (one, caption), (two, other), (gone, _) = (captioned(library, number) for number in range(3))
        with library.changing(one):
            caption["text"] = "lll"
        with library.changing(two):
            other["text"] = "oh"
        library.delete(gone)
        library.advance(minutes=1)
        load(studio)
        assert all(text == text.upper() for (text,) in query(pipeline, "SELECT text FROM caption_history"))
        assert query(pipeline, "SELECT DISTINCT name, metadata, tags FROM media_history") == [("hidden", None, None)]
        assert told(versions_of(pipeline, other["id"]), "text")[-1][0] == "OH"
        ends = [row["ended_by"] for row in versions_of(pipeline, caption["id"])]
        assert ends == (["removed"] if step == "filter" else ["changed", None])
        stepped = coreviz(**arguments(studio, {"history": True}))
        stepped.caption_history.add_map(lambda row: row)
        with pytest.raises(Exception) as raised:
            pipeline.run(stepped)
        assert isinstance(find(raised.value), ConfigurationError) and "captions" in str(raised.value)


def test_only_tables_that_are_loaded_have_a_history(pipeline):
    library = frozen(20)
    with Studio(library) as studio:
        source = coreviz(**arguments(studio, {"history": True}))
        pipeline.run(source.with_resources("media", "frames"))
        assert query(pipeline, "SELECT table_name FROM duckdb_tables() WHERE table_name LIKE '%history'") == [
            ("media_history",)
        ]
        library.advance(minutes=1)
        plain(pipeline, studio, reconcile_every="1d")
        items(pipeline)


def test_bigquery_partitions_the_versions_by_the_month_in_which_they_began():
    assert [(t.partitioned_by, t.clustered_by) for t in HISTORY] == [
        ("valid_from", ("dataset_id", "id")),
        ("valid_from", ("dataset_id", "media_id", "id")),
    ]
    assert [tuple(c.name for c in BY_NAME[name].version_columns) for name in COUNTING] == [*COUNTING.values()]
