"""The same library in a DuckLake: a package is one snapshot, nobody is in the way, and nothing erased is left."""

from __future__ import annotations

import _thread
import json
import logging
import subprocess
import sys
import threading
import time
import traceback
import uuid
from collections import Counter
from contextlib import closing, nullcontext
from datetime import timedelta
from pathlib import Path
from urllib.parse import quote

import dlt
import duckdb
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from dlt.destinations.impl.ducklake.configuration import DuckLakeCredentials

from coreviz_source import open_library
from coreviz_source.cli import main
from coreviz_source.cli.output import Lines
from coreviz_source.commands.search import search
from coreviz_source.commands.status import read_status
from coreviz_source.dashboard.warehouse import Warehouse
from coreviz_source.loading.pipeline import resolve_pipeline
from coreviz_source.local_studio import Studio
from coreviz_source.warehouse import extensions
from coreviz_source.warehouse.connection import Connection
from coreviz_source.warehouse.extensions import loadable
from coreviz_source.warehouse.snapshots import maintain, purge
from tests.docs import ROOT, questions
from tests.processes import Worker
from tests.scenario import arguments, assert_equal_to, frozen, media_of, run, run_sync, truth_of
from tests.test_changes import CHANGES
from tests.test_destinations import CANARY, guarded  # noqa: F401
from tests.test_two_runs import gate
from tests.test_views import assert_views, plain
from tests.truth import Row, truth
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
            for each in (lake, pipeline):
                deletes = "soft" if step == 3 else "hard"
                report = run_sync(each, studio, reconcile_every="0", deletes=deletes, history=True)
                assert (report.exit_code, report.warnings) == (0, [])
            assert_equal(read(lake, *NAMES), read(pipeline, *NAMES))
            assert_equal(versions(lake), versions(pipeline))
        assert_equal_to(lake, studio)
        assert_views(lake, studio)
        assert search(lake, "shoe") == search(pipeline, "shoe") != []
        for question, sql in questions().items():
            answers = [[[*map(plain, row)] for row in query(each, sql)] for each in (lake, pipeline)]
            assert answers[0] == answers[1], question

        # other snapshots are of dlt's own tables, such as that of its schema
        (loaded,) = query(lake, "SELECT count(*) FROM _dlt_loads")
        assert sum((message or "").startswith("load ") for _, message in snapshots(lake)) == loaded[0]

        stored = load_ids(lake)
        elsewhere = lake_in(tmp_path, "elsewhere")
        run(elsewhere, studio, history=True)
        assert load_ids(elsewhere) == stored
        assert {r["outcome"] for r in runs(elsewhere)[-2:]} == {"window"}


def versions(pipeline: dlt.Pipeline) -> dict[str, list[Row]]:
    """The history, without the ids of runs."""
    found = read(pipeline, "media_history", "caption_history")
    return {name: [{**row, "run": None} for row in rows] for name, rows in found.items()}


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


def test_two_machines_take_turns_and_whoever_reads_meanwhile_is_never_refused(tmp_path, catalog):
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
    assert seen <= set(whole) and len(seen) > 1


def test_a_query_that_began_before_a_load_sees_the_state_before_it_in_every_table(lake):
    library = frozen(40)
    with Studio(library) as studio:
        run_sync(lake, studio)
        before, items = counts(studio), media_of(library, frames=1)
        parts = [f"SELECT '{name}' FROM {name}" for name in NAMES[1:]]
        # so many rows that DuckDB does not look for the files of the tables before they are read
        many = "SELECT 'repeated' FROM media CROSS JOIN range(10000)"
        pages = open_library(lake).query(" UNION ALL ".join([many, *parts])).iter_fetch(10)
        found = Counter(name for (name,) in next(pages))
        for item in items[:20:2]:
            library.delete(item["id"])
        run_sync(lake, studio, reconcile_every="0", max_deletes=1)
        query(lake, "CALL ducklake_flush_inlined_data('ducklake')")
        query(lake, "CALL ducklake_expire_snapshots('ducklake', older_than => now())")
        found.update(name for page in pages for (name,) in page)
        assert tuple(found[name] for name in NAMES[1:]) == before
        assert_equal_to(lake, studio)


def test_every_command_works_without_configuration_and_what_is_forgotten_is_in_no_file(tmp_path, monkeypatch):
    monkeypatch.setenv("SOURCES__COREVIZ__DESTINATION", "ducklake")
    library = frozen(40)
    item = media_of(library, frames=1)[0]
    secret, other = "Zebra-4711", "aardvark-4712"
    with Studio(library) as studio:
        monkeypatch.setenv("COREVIZ_API_KEY", studio.key)
        monkeypatch.setenv("SOURCES__COREVIZ__BASE_URL", studio.url)

        def command(*arguments: str) -> str:
            result = CliRunner().invoke(main, arguments)
            assert result.exit_code == 0, result.output
            return result.stdout

        (planned,) = json.loads(command("sync", "--dry-run", "--json"))["datasets"].values()
        assert planned["outcome"] == "complete" and planned["new"] >= 40
        assert not list(Path().glob("*ducklake*"))
        library.add_caption(item["id"], f"{secret} in the first load.")
        done = subprocess.run([sys.executable, str(ROOT / "pipelines" / "ducklake_pipeline.py")], capture_output=True)
        assert b"complete" in done.stdout, done.stderr
        with library.changing(item["id"]) as changed:
            changed["name"] = other
        library.add_caption(item["id"], f"{secret} in a later load.")
        told = json.loads(command("sync", "--dry-run", "--json", "--reconcile-every", "0"))["datasets"]
        did = json.loads(command("sync", "--json", "--reconcile-every", "0"))["datasets"]
        assert [d["changed"] for d in told.values()] == [d["changed"] for d in did.values()] == [1]
        assert sorted(Path().glob("*ducklake*")) == [
            Path("coreviz_library.ducklake.files"),
            Path("coreviz_library.ducklake.sqlite"),
        ]
        status = json.loads(command("status", "--json"))
        assert (status["datasets"][0]["outcome"], status["datasets"][0]["rows"]["media"]) == ("complete", 40)
        assert len(json.loads(command("search", secret, "--json"))) == 2
        lake = resolve_pipeline(reading=True)
        with Warehouse(lake).opened() as reader:
            assert reader.rows("SELECT count(*) AS media FROM media") == [{"media": 40}]
        assert Warehouse(lake).location.name == "coreviz_library.ducklake.sqlite · coreviz"
        shown = open_library()
        assert secret in shown.item(item["id"]).captions[-1]
        with pytest.raises(Exception, match="read-only"), shown.destination_client as client:
            client.sql_client.execute_sql("DELETE FROM media")

        library.delete(item["id"])
        assert found_in(tmp_path, secret, other, item["id"])
        command("forget", "--media-ids", item["id"], "--yes")
        assert found_in(tmp_path, secret, other, item["id"]) == []

        # one that no folder counts
        item = next(each for each in media_of(library) if each["path"].count(".") == 1)
        library.delete(item["id"])
        monkeypatch.setattr(sys.modules[purge.__module__], "PATIENCE", 0.1)
        pages = shown.query("SELECT media.id FROM media CROSS JOIN range(10000)").iter_fetch(10)
        rows = len(next(pages))
        forget = ["forget", "--media-ids", item["id"], "--yes"]
        refused = CliRunner().invoke(main, forget)
        assert refused.exit_code == 7 and "A query that began before is still running" in refused.stderr
        assert rows + sum(map(len, pages)) == 39 * 10_000
        assert CliRunner().invoke(main, forget).exit_code == 4
        assert found_in(tmp_path, item["id"]) == []
        lake = resolve_pipeline(destination="ducklake")
        assert_equal_to(lake, studio)
        assert len(snapshots(lake)) < 5

        moved = tmp_path / "moved"
        moved.mkdir()
        for path in tmp_path.glob("*.ducklake.*"):
            path.rename(moved / path.name)
        monkeypatch.chdir(moved)
        refused = CliRunner().invoke(main, ["status"])
        assert refused.exit_code == 7 and "destination.ducklake.override_data_path = true" in refused.stderr
        monkeypatch.setenv("DESTINATION__DUCKLAKE__OVERRIDE_DATA_PATH", "true")
        command("sync")
        assert_equal_to(resolve_pipeline(destination="ducklake"), studio)


def found_in(folder: Path, *texts: str) -> list[Path]:
    """The files of a lake in a folder in which one of some strings is; the rows of parquet files are compressed."""
    files = [path for path in folder.glob("*.ducklake.*") if path.is_file()]
    parquet = list(folder.glob("*.ducklake.files/**/*.parquet"))
    found = [path for path in files if any(text.encode() in path.read_bytes() for text in texts)]
    return found + [path for path in parquet if any(text in str(pq.read_table(path).to_pylist()) for text in texts)]


def test_old_snapshots_expire_small_files_are_merged_and_a_state_of_last_week_can_be_read(lake, monkeypatch, caplog):
    library = frozen(40)
    with Studio(library) as studio:
        run_sync(lake, studio)
        for _ in range(3):
            library.add_caption(media_of(library, frames=1)[0]["id"], "Another one.")
            run_sync(lake, studio, reconcile_every="0")
        counted = "SELECT count(*) FROM captions"
        (now,) = query(lake, counted)
        (newest, _), kept = snapshots(lake)[-1], len(snapshots(lake))
        assert query(lake, f"{counted} AT (VERSION => {newest - 1})") == [(now[0] - 1,)]
        # nothing is old enough by default
        assert kept > 10
        listed = "SELECT snapshot_id, epoch(now() - snapshot_time) FROM ducklake_snapshots('ducklake') ORDER BY 1"
        ages = query(lake, listed)
        monkeypatch.setattr(sys.modules[maintain.__module__], "SLACK", timedelta(0))
        with closing(Connection(lake)) as connection:
            assert maintain(connection, nullcontext, timedelta(seconds=ages[-3][1])) == []
        assert [number for number, _ in query(lake, listed)][:2] == [number for number, _ in ages[-2:]]
        monkeypatch.setattr(sys.modules[maintain.__module__], "MOST_DELETE_FILES", 0)
        report = run_sync(lake, studio, keep_snapshots="0")
        assert (report.exit_code, report.warnings) == (0, [])
        assert len(snapshots(lake)) == 1
        assert query(lake, counted) == [now]
        assert_equal_to(lake, studio)
        (most,) = query(lake, "SELECT max(file_count), max(delete_file_count) FROM ducklake_table_info('ducklake')")
        # DuckLake merges no files from before and after a change of the catalog, such as the comments of the first run
        assert most[0] <= 2 and most[1] == 0
        run_sync(lake, studio)
        assert len(snapshots(lake)) == 2
        monkeypatch.setattr(sys.modules[maintain.__module__], "_compact", None)
        report = run_sync(lake, studio, keep_snapshots="0")
        # the command prints what is in the report, and nothing of it twice
        assert report.exit_code == 0 and "Old snapshots were not removed" in report.warnings[0]
        (logged,) = (record for record in caplog.records if "Old snapshots" in record.getMessage())
        assert not Lines(None, False, False).filter(logged)


def test_an_extension_that_is_nowhere_is_an_error_with_both_remedies_before_the_first_request(lake, monkeypatch):
    monkeypatch.setattr(extensions, "_packaged", lambda name: None)
    loadable.cache_clear()
    with Studio(frozen(5)) as studio:
        report = run_sync(lake, studio)
        assert studio.requests == []
    loadable.cache_clear()
    (error,) = report.errors
    assert report.exit_code == 7
    assert "extension ducklake is missing" in error.message
    assert "[ducklake]" in error.remedy and "INSTALL ducklake" in error.remedy


def test_only_extensions_of_this_environment_are_loaded_unchecked_and_only_runs_have_one_thread(lake, monkeypatch):
    opened = []

    def connect(*given, config, **named):
        opened.append(config["allow_unsigned_extensions"])
        return duckdb_connect(*given, config=config, **named)

    with Studio(frozen(5)) as studio:
        run_sync(lake, studio)
    with Connection(lake).client() as client, Connection(lake, read_only=True).client() as reader:
        settings = "SELECT current_setting('allow_unsigned_extensions'), current_setting('threads')"
        ((_, default),) = duckdb.execute(settings).fetchall()
        assert client.sql_client.execute_sql(settings) == [(False, 1)]
        assert reader.sql_client.execute_sql(settings) == [(False, default)]
        duckdb_connect = duckdb.connect
        monkeypatch.setattr(duckdb, "connect", connect)
        credentials = client.config.credentials.copy()
        packaged = credentials.extensions
        for extensions in (packaged, [*packaged, "parquet"]):
            # the name of the database in memory has to be another one, because its settings differ
            credentials.global_config = {"threads": 2 + len(extensions)}
            credentials.extensions = extensions
            credentials.on_resolved()
            pool = credentials.conn_pool
            pool.return_conn(pool.borrow_conn())
    assert opened == [True, False]
    monkeypatch.setenv("DESTINATION__DUCKLAKE__CREDENTIALS__GLOBAL_CONFIG", '{"threads": 3}')
    with Connection(lake).client() as client:
        assert client.sql_client.execute_sql(settings) == [(False, 3)]


@pytest.mark.parametrize("case", ["right password", "wrong password", "nobody there"])
def test_the_password_of_a_catalog_is_in_no_error_no_log_and_no_report(
    server,
    guarded,  # noqa: F811
    tmp_path,
    caplog,
    capfd,
    monkeypatch,
    case,
):
    monkeypatch.setenv("RUNTIME__LOG_LEVEL", "DEBUG")
    password = quote(CANARY + (" wrong" if case == "wrong password" else ""), safe="")
    port = 1 if case == "nobody there" else server.port
    lake = lake_in(tmp_path, catalog=f"postgresql://{guarded}:{password}@127.0.0.1:{port}/postgres")
    with Studio(frozen(5)) as studio, caplog.at_level(logging.DEBUG):
        report = run_sync(lake, studio)
        said = [report.to_json(), *map(repr, report.errors)]
        if case == "right password":
            assert report.exit_code == 0
            assert_equal_to(lake, studio)
            said += [str(open_library(lake)), read_status(lake).to_json()]
        else:
            assert report.exit_code == 7
            assert studio.requests == []
            with pytest.raises(Exception) as failure:
                run(lake, studio)
            said.append("".join(traceback.format_exception(failure.value)))
    said += [caplog.text, *capfd.readouterr()]
    forms = {CANARY, password, quote(CANARY, safe=" +"), json.dumps(CANARY)[1:-1], repr(CANARY)[1:-1], "canary 7f"}
    assert [text for text in said if any(form in text for form in forms)] == []


def test_a_signal_during_a_statement_ends_the_run_and_is_no_failure_of_the_warehouse(lake, pipeline):
    with Studio(frozen(5)) as studio:
        for each in (lake, pipeline):
            run_sync(each, studio)
            with closing(Connection(each)) as connection:
                list(connection.query("SELECT 1"))
                signal = threading.Timer(0.2, _thread.interrupt_main)
                signal.start()
                with pytest.raises(KeyboardInterrupt):
                    list(connection.query("SELECT count(*) FROM range(4000000000)"))
                signal.join()
