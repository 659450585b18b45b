"""The same library in a real Postgres: equal tables, faithful values, and errors that say which setting."""

from __future__ import annotations

import sys
import threading
from urllib.parse import quote

import dlt
import pytest

from coreviz_source import sync
from coreviz_source.commands.forget import Subject, forget
from coreviz_source.commands.status import read_status
from coreviz_source.local_studio import Studio
from coreviz_source.tables import CURRENT
from coreviz_source.warehouse.locks import Locks
from tests.docs import ROOT
from tests.postgres import NEWER, Postgres
from tests.scenario import arguments, assert_equal_to, frozen, media_of, run, run_sync
from tests.test_changes import CHANGES
from tests.test_docs import shell
from tests.warehouse import assert_equal, load_ids, query, read, runs

NAMES = ("datasets", "folders", "media", "frames", "captions", "objects", "media_tags", "moderation_categories")


def test_postgres_and_duckdb_hold_the_same_after_a_first_load_changes_and_deletions(postgres, pipeline):
    library = frozen(150, datasets=2)
    first, _ = library.datasets
    with Studio(library) as studio:
        for step in range(3):
            if step == 1:
                for change in CHANGES:
                    with library.changing(media_of(library, first, frames=2)[0]["id"]) as item:
                        change(library, item)
            if step == 2:
                for item in media_of(library, first)[3:30:4]:
                    library.delete(item["id"])
            for warehouse in (postgres, pipeline):
                assert run_sync(warehouse, studio, reconcile_every="0").exit_code == 0
                assert_equal_to(warehouse, studio)
            assert_equal(read(postgres, *NAMES), read(pipeline, *NAMES))
    jobs = postgres.last_trace.last_normalize_info.load_packages[0].jobs["new_jobs"]
    assert {job.job_file_info.file_format for job in jobs} == {"parquet"}


def test_postgres_without_its_fast_driver_holds_the_same(postgres, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *_: None)
    library = frozen(60)
    with Studio(library) as studio:
        for step in range(2):
            if step:
                for change in CHANGES:
                    with library.changing(media_of(library, frames=1)[0]["id"]) as item:
                        change(library, item)
                for item in media_of(library)[20:25]:
                    library.delete(item["id"])
            assert run_sync(postgres, studio, reconcile_every="0").exit_code == 0
            assert_equal_to(postgres, studio)
            before = load_ids(postgres)
            assert run_sync(postgres, studio, reconcile_every="0").exit_code == 0
            assert load_ids(postgres) == before
    assert not [name for name in postgres.default_schema.data_table_names() if "__" in name]


def test_an_unchanged_library_writes_no_row_into_postgres(postgres):
    library = frozen(50)
    with Studio(library) as studio:
        run(postgres, studio)
        before = load_ids(postgres)
        run(postgres, studio)
        run(postgres, studio, reconcile_every="0")
        assert load_ids(postgres) == before
    assert [r["outcome"] for r in runs(postgres)] == ["complete", "window", "complete"]


def test_texts_arrive_byte_for_byte_and_nul_is_replaced_and_reported(postgres):
    library = frozen(12)
    texts = [
        "",
        "emoji 👟🏳️‍🌈",
        "'quotes' \"double\" \\back\\slash \\N",
        "line\nbreak\r\ttab",
        "x" * 2**20,
        "null",
        "{}",
    ]
    items = media_of(library, frames=1)
    for item, text in zip(items, texts, strict=False):
        with library.changing(item["id"]):
            item["frames"][0]["captions"][0]["text"] = text
            item["name"] = text
            item["metadata"]["tags"] = {text[:50]: [text[:50]]}
    with Studio(library) as studio:
        run(postgres, studio)
        assert_equal_to(postgres, studio)
        with library.changing(items[0]["id"]) as item:
            item["name"] = "a\0b"
            item["metadata"]["description"] = "back\\u0000slash and \0"
        report = run_sync(postgres, studio, reconcile_every="0")
        assert "NUL" in next(iter(report.datasets.values())).message
        assert report.exit_code == 0
        (row,) = [r for r in read(postgres, "media")["media"] if r["id"] == items[0]["id"]]
        assert row["name"] == "a\ufffdb"
        assert row["metadata"]["description"] == "back\\u0000slash and \ufffd"
        before = load_ids(postgres)
        run(postgres, studio, reconcile_every="0")
        assert load_ids(postgres) == before


def test_soft_deletion_keeps_the_last_values_in_postgres(postgres):
    library = frozen(30)
    with Studio(library) as studio:
        run(postgres, studio)
        before = {r["id"]: r for r in read(postgres, "media")["media"]}
        gone = media_of(library)[0]["id"]
        library.delete(gone)
        run(postgres, studio, deletes="soft", reconcile_every="0")
        after = {r["id"]: r for r in read(postgres, "media")["media"]}
        assert after[gone].pop("deleted_at") == library.clock()
        before[gone].pop("deleted_at")
        assert after == before


def test_a_server_restarted_in_the_middle_of_a_load_is_repaired_by_the_next_run(server, postgres):
    library = frozen(1500)
    with Studio(library) as studio:
        run(postgres, studio)
        for item in media_of(library, frames=1)[::2]:
            library.add_caption(item["id"], "Written before the cut.")
        for item in media_of(library)[::10]:
            library.delete(item["id"])
        codes = []
        loading = threading.Thread(
            target=lambda: codes.append(run_sync(postgres, studio, reconcile_every="0").exit_code)
        )
        loading.start()
        loading.join(timeout=0.8)
        server.restart()
        loading.join()
        assert run_sync(postgres, studio, reconcile_every="0").exit_code == 0
        assert_equal_to(postgres, studio)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql://nobody:wrong@127.0.0.1:{port}/postgres", "nobody"),
        ("postgresql://loader:x@127.0.0.1:{port}/missing", "missing"),
        ("postgresql://loader:x@127.0.0.1:1/postgres", "127.0.0.1"),
        ("postgresql://loader@127.0.0.1:{port}/postgres", "password"),
    ],
)
def test_a_postgres_that_lets_nobody_in_is_exit_code_7_and_says_where_to_look(server, tmp_path, url, said):
    warehouse = dlt.pipeline(
        "coreviz_test",
        destination=dlt.destinations.postgres(url.format(port=server.port)),
        dataset_name="coreviz",
        pipelines_dir=str(tmp_path / "pipelines"),
    )
    with Studio(frozen(10)) as studio:
        report = sync(warehouse, **arguments(studio, {}))
    assert report.exit_code == 7
    assert said in report.to_json()
    assert not any(dataset.exit_code == 0 for dataset in report.datasets.values())
    assert "credentials" in report.to_json()


@pytest.mark.parametrize("form", ["a parameter", "in the place of the host", "the field host"])
def test_the_folder_of_a_unix_socket_is_a_host_and_its_runs_wait_for_those_over_tcp(
    server, postgres, tmp_path, monkeypatch, form
):
    monkeypatch.setattr("coreviz_source.warehouse.locks.PATIENCE", 0.1)
    folder = str(server.data.parent)
    credentials = {
        "a parameter": f"postgresql://loader@/postgres?host={folder}&port={server.port}",
        "in the place of the host": f"postgresql://loader@{quote(folder, safe='')}:{server.port}/postgres",
        "the field host": {"host": folder, "port": server.port, "database": "postgres", "username": "loader"},
    }[form]
    by_socket = dlt.pipeline(
        "coreviz_socket",
        destination=dlt.destinations.postgres(credentials),
        dataset_name=postgres.dataset_name,
        pipelines_dir=str(tmp_path / "socket"),
    )
    library = frozen(20)
    (dataset,) = library.datasets
    with Studio(library) as studio:
        assert run_sync(by_socket, studio).exit_code == 0
        assert_equal_to(by_socket, studio)
        with Locks(postgres) as locks:
            locks.take_datasets([dataset])
            assert run_sync(by_socket, studio).exit_code == 7
        library.add_caption(media_of(library, frames=1)[0]["id"], "Over a socket.")
        run(by_socket, studio)
        assert_equal_to(postgres, studio)
    assert [d.media for d in read_status(by_socket).datasets] == [20]
    assert forget(by_socket, Subject([dataset])).rows["media"] == 20


def test_a_user_without_permission_is_exit_code_7(server, postgres, tmp_path):
    with Studio(frozen(10)) as studio:
        run(postgres, studio)
        with postgres.sql_client() as client:
            client.execute_sql("DROP ROLE IF EXISTS reader")
            client.execute_sql("CREATE ROLE reader LOGIN PASSWORD 'x'")
        warehouse = dlt.pipeline(
            "coreviz_test",
            destination=dlt.destinations.postgres(server.url.replace("loader:secret", "reader:x")),
            dataset_name=postgres.dataset_name,
            pipelines_dir=str(tmp_path / "other"),
        )
        report = run_sync(warehouse, studio)
    assert report.exit_code == 7
    assert "permission" in report.to_json()
    assert all(dataset.exit_code == 7 for dataset in report.datasets.values())
    assert query(postgres, "SELECT count(*) FROM media") == [(10,)]


def test_the_postgres_script_loads_when_it_is_run(server):
    with Studio(frozen(10)) as studio:
        done = shell(
            f"{sys.executable} {ROOT / 'pipelines' / 'postgres_pipeline.py'}",
            COREVIZ_API_KEY=studio.key,
            SOURCES__COREVIZ__BASE_URL=studio.url,
            DESTINATION__POSTGRES__CREDENTIALS=server.url,
        )
    assert done.returncode == 0, done.stderr
    assert "complete, 16 new" in done.stdout


def test_postgres_18_has_foreign_keys_that_refuse_no_row_and_older_ones_have_none(postgres, tmp_path):
    keys = "SELECT conname, conrelid::regclass::text, confrelid::regclass::text FROM pg_constraint WHERE contype = 'f'"
    library = frozen(40, datasets=2)
    with Postgres(NEWER) as newer, Studio(library) as studio:
        warehouse = dlt.pipeline(
            "coreviz_newer",
            destination=dlt.destinations.postgres(newer.url),
            dataset_name="coreviz",
            pipelines_dir=str(tmp_path / "newer"),
        )
        report = run_sync(warehouse, studio)
        assert (report.exit_code, report.warnings) == (0, [])
        found = query(warehouse, keys)
        expected = {
            (t.name, c.references) for t in CURRENT for c in t.columns if c.references in ("datasets", "organizations")
        }
        assert {(table.rpartition(".")[2], other.rpartition(".")[2]) for _, table, other in found} == expected
        # what is not there can be referenced, and loads replace rows as before
        newer.execute("INSERT INTO coreviz.media_tags (dataset_id, media_id) VALUES ('nowhere', 'nothing')")
        newer.execute("DELETE FROM coreviz.media_tags WHERE dataset_id = 'nowhere'")
        for item in media_of(library)[:3]:
            library.delete(item["id"])
        library.add_media(next(iter(library.datasets)))
        for resync in (False, True):
            report = run_sync(warehouse, studio, reconcile_every="0", resync=resync)
            assert (report.exit_code, report.warnings) == (0, [])
        assert_equal_to(warehouse, studio)
        assert query(warehouse, keys) == found
        run_sync(postgres, studio)
    schema = f"AND connamespace = '{postgres.dataset_name}'::regnamespace"
    assert query(postgres, f"{keys} {schema}") == []
