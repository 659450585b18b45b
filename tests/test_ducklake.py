"""The same library in a DuckLake: a package is one snapshot, nobody is in the way, and nothing erased is left."""

from __future__ import annotations

import threading
import time
import uuid
from pathlib import Path

import dlt
import pytest
from dlt.destinations.impl.ducklake.configuration import DuckLakeCredentials

from coreviz_source import open_library
from coreviz_source.commands.search import search
from coreviz_source.local_studio import Studio
from tests.docs import questions
from tests.processes import Worker
from tests.scenario import arguments, assert_equal_to, frozen, media_of, run, run_sync, truth_of
from tests.test_changes import CHANGES
from tests.test_two_runs import gate
from tests.test_views import assert_views, plain
from tests.truth import truth
from tests.warehouse import assert_equal, load_ids, query, read, runs

NAMES = ("datasets", "folders", "media", "frames", "captions", "objects", "media_tags", "moderation_categories")


def lake_in(folder: Path, directory: str = "here", catalog: str = "") -> dlt.Pipeline:
    """A pipeline into a lake of a folder; `directory` stands for another machine's working directory."""
    catalog = catalog or f"sqlite:///{folder}/lake.sqlite"
    credentials = DuckLakeCredentials(catalog=catalog, storage=str(folder / "lake"))
    return dlt.pipeline(
        "coreviz_test",
        destination=dlt.destinations.ducklake(credentials),
        dataset_name="coreviz",
        pipelines_dir=str(folder / directory),
    )


@pytest.fixture
def lake(tmp_path: Path) -> dlt.Pipeline:
    return lake_in(tmp_path)


def snapshots(lake: dlt.Pipeline) -> list[tuple[int, str | None]]:
    """Id and message of each snapshot."""
    return query(lake, "SELECT snapshot_id, commit_message FROM ducklake_snapshots('ducklake') ORDER BY 1")


def test_a_lake_and_duckdb_hold_the_same_whatever_changes_and_a_package_is_one_snapshot(lake, tmp_path, pipeline):
    library = frozen(60, datasets=2)
    first, _ = library.datasets
    texts = [
        "",
        "null",
        "{}",
        "emoji 👟🏳️‍🌈",
        "'quotes' \"double\" \\back\\slash `tick`; --",
        "a\nb\r\tc \u2028",
        "a\0b",
    ]
    for item, text in zip(media_of(library, first, frames=1), texts, strict=False):
        item["frames"][0]["captions"][0]["text"] = item["name"] = text
        item["metadata"]["tags"] = {text: [text]}
    with Studio(library) as studio:
        for step in range(4):
            library.advance(minutes=7)
            if step == 1:
                for change in CHANGES:
                    with library.changing(media_of(library, first, frames=2)[0]["id"]) as item:
                        change(library, item)
            if step == 2:
                for item in media_of(library, first)[3:20:4]:
                    library.delete(item["id"])
            before = len(snapshots(lake)) if step else 0
            for each in (lake, pipeline):
                deletes = "soft" if step == 3 else "hard"
                report = run_sync(each, studio, reconcile_every="0", deletes=deletes)
                assert (report.exit_code, report.warnings) == (0, [])
            assert_equal(read(lake, *NAMES), read(pipeline, *NAMES))
            # the first two runs also write dlt's schema: that of first loads, and that of later ones
            assert step < 2 or len(snapshots(lake)) == before + 1
        (loaded,) = query(lake, "SELECT count(*) FROM _dlt_loads")
        assert sum((message or "").startswith("load ") for _, message in snapshots(lake)) == loaded[0]

        assert_equal_to(lake, studio)
        assert_views(lake, studio)
        assert search(lake, "shoe") == search(pipeline, "shoe") != []
        for question, sql in questions().items():
            answers = [[[*map(plain, row)] for row in query(each, sql)] for each in (lake, pipeline)]
            assert answers[0] == answers[1], question

        stored = load_ids(lake)
        elsewhere = lake_in(tmp_path, "elsewhere")
        run(elsewhere, studio)
        assert load_ids(elsewhere) == stored
        assert {r["outcome"] for r in runs(elsewhere)[-2:]} == {"window"}


@pytest.fixture(params=["sqlite", "postgres"])
def catalog(request, tmp_path) -> str:
    """The address of a catalog."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/lake.sqlite"
    server = request.getfixturevalue("server")
    name = f"lake_{uuid.uuid4().hex[:8]}"
    server.execute(f"CREATE DATABASE {name}")
    return str(server.url.replace("/postgres", f"/{name}"))


def counts(studio: Studio) -> tuple[int, ...]:
    expected = truth(truth_of(studio))
    return tuple(len(expected[name]) for name in NAMES[1:])


def test_two_machines_take_turns_and_whoever_reads_meanwhile_sees_whole_packages(tmp_path, catalog):
    library = frozen(40)
    place = {"catalog": catalog, "storage": {"bucket_url": str(tmp_path / "lake")}}
    lake = lake_in(tmp_path, catalog=catalog)
    workers = [Worker(tmp_path / name) for name in ("a", "b")]
    failures: list[BaseException] = []
    seen: set[tuple[int, ...]] = set()
    ended = threading.Event()

    def read_all_the_time() -> None:
        try:
            while not ended.is_set():
                sql = "SELECT " + ", ".join(f"(SELECT count(*) FROM {name})" for name in NAMES[1:])
                seen.update(open_library(lake).query(sql).fetchall())
                time.sleep(0.1)
        except BaseException as error:
            failures.append(error)

    readers = [threading.Thread(target=read_all_the_time) for _ in range(2)]
    with Studio(library) as studio:
        given = arguments(studio, {"reconcile_every": "0"})
        run_sync(lake, studio)
        whole = [counts(studio)]
        for reader in readers:
            reader.start()
        for step in range(2):
            items = media_of(library, frames=1)
            library.add_caption(items[0]["id"], "Added meanwhile.")
            library.delete(items[1]["id"])
            whole.append(counts(studio))
            with gate(studio) as held:
                workers[0].start("ducklake", place, workers[0].directory / "pipelines", given, ("sync", "run")[step])
                held.reached()
                workers[1].start("ducklake", place, workers[1].directory / "pipelines", given, ("run", "sync")[step])
                assert f"process {workers[0].pid} on" in workers[1].until("log", "Waiting for ")
                held.open()
                for worker in workers:
                    assert worker.until("done")["exit_code"] == 0
            assert_equal_to(lake, studio)
        ended.set()
        for reader in readers:
            reader.join()
    for worker in workers:
        worker.stop()
    assert failures == []
    assert len(seen) > 1 and seen <= set(whole)
