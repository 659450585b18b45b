"""A warehouse that was changed by hand, or made by an older release, is repaired, or the error says how."""

from __future__ import annotations

import gzip
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import dlt
import pytest

from coreviz_source.local_studio import Studio
from tests.release import STORED, library_of_the_release, studio_of_the_release
from tests.scenario import assert_equal_to, frozen, media_of, run, run_sync
from tests.warehouse import assert_mirror, load_ids, query

MENDED = {
    "a child table is dropped": "DROP TABLE captions CASCADE",
    "the media table is dropped": "DROP TABLE media CASCADE",
    "the record of loads is dropped": "DROP TABLE _dlt_loads CASCADE",
    "the record of runs is dropped": "DROP TABLE _coreviz_runs CASCADE",
    "a table is renamed": "ALTER TABLE objects RENAME TO objects_2025",
    "a column is dropped": "ALTER TABLE frames DROP COLUMN thumbnail_blob",
    "a column is renamed": "ALTER TABLE captions RENAME COLUMN text TO caption",
    "the hash is dropped": "ALTER TABLE media DROP COLUMN content_hash",
    "a column is added": "ALTER TABLE captions ADD COLUMN reviewed INTEGER",
    "a view stands on a table": "CREATE VIEW reviewed AS SELECT media_id, text FROM captions",
    "rows are removed": "DELETE FROM media WHERE type = 'video'",
}
BROKEN = {
    "a column is of another type": ("ALTER TABLE media ALTER COLUMN width TYPE VARCHAR", "media"),
    "a key is renamed": ("ALTER TABLE folders RENAME COLUMN dataset_id TO collection", "folders"),
}


@pytest.fixture(scope="module", params=["duckdb", "postgres"])
def mirrored(request, tmp_path_factory) -> Iterator[tuple[dlt.Pipeline, Studio]]:
    """One library and its warehouse, which live through all changes of this file."""
    folder = tmp_path_factory.mktemp("hand")
    if request.param == "postgres":
        destination = dlt.destinations.postgres(request.getfixturevalue("server").url)
    else:
        destination = dlt.destinations.duckdb(str(folder / "library.duckdb"))
    pipeline = dlt.pipeline(
        f"coreviz_{request.param}", destination=destination, dataset_name="coreviz", pipelines_dir=str(folder / "p")
    )
    with Studio(frozen(40)) as studio:
        assert run_sync(pipeline, studio).exit_code == 0
        yield pipeline, studio


def sql(pipeline: dlt.Pipeline, statement: str) -> None:
    with pipeline.sql_client() as client:
        client.execute_sql(statement)


@pytest.mark.parametrize("name", MENDED)
def test_the_next_complete_run_mends_it(mirrored, name):
    pipeline, studio = mirrored
    sql(pipeline, MENDED[name])
    studio.library.delete(media_of(studio.library)[7]["id"])
    assert run_sync(pipeline, studio, reconcile_every="0").exit_code == 0
    assert_equal_to(pipeline, studio)


@pytest.mark.parametrize("name", ["a child table is dropped", "a column is dropped", "the media table is dropped"])
def test_an_ordinary_run_that_finds_something_missing_lists_everything(mirrored, name):
    pipeline, studio = mirrored
    sql(pipeline, MENDED[name])
    run(pipeline, studio, lookback="0")
    assert_equal_to(pipeline, studio)
    before = load_ids(pipeline)
    run(pipeline, studio, reconcile_every="0")
    assert load_ids(pipeline) == before


@pytest.mark.parametrize("name", BROKEN)
def test_what_cannot_be_mended_is_an_error_with_the_statement_that_helps(mirrored, name):
    pipeline, studio = mirrored
    statement, table = BROKEN[name]
    sql(pipeline, statement)
    for _ in range(2):
        report = run_sync(pipeline, studio, reconcile_every="0")
        assert report.exit_code == 7
        (error,) = report.errors
        assert error.context["table"] == table
    remedy = re.search(r'DROP TABLE ("\w+"\."\w+")', str(error))
    assert remedy is not None
    sql(pipeline, remedy[0] + " CASCADE")
    assert run_sync(pipeline, studio).exit_code == 0
    assert_equal_to(pipeline, studio)


def test_a_package_that_can_never_be_loaded_does_not_block_the_runs_after_it(mirrored):
    pipeline, studio = mirrored
    sql(pipeline, "ALTER TABLE media ADD COLUMN mine INTEGER")
    sql(pipeline, "UPDATE media SET mine = 1")
    sql(pipeline, "ALTER TABLE media ALTER COLUMN mine SET NOT NULL")
    studio.library.add_media(next(iter(studio.library.datasets)), processing=False)
    for _ in range(2):
        report = run_sync(pipeline, studio, reconcile_every="0")
        assert report.exit_code == 7
        assert "mine" in report.to_json()
        assert len(report.to_json()) < 3000, "the message is the warehouse's sentence, not a traceback"
        assert pipeline.has_pending_data
    sql(pipeline, "ALTER TABLE media DROP COLUMN mine")
    assert run_sync(pipeline, studio).exit_code == 0
    assert_equal_to(pipeline, studio)


def test_a_warehouse_that_is_away_keeps_what_is_pending(server, tmp_path, monkeypatch):
    warehouse = dlt.pipeline(
        "coreviz_away",
        destination=dlt.destinations.postgres(server.url),
        dataset_name="coreviz_away",
        pipelines_dir=str(tmp_path / "p"),
    )
    with Studio(frozen(10)) as studio:
        monkeypatch.setattr(dlt.Pipeline, "load", lambda *a, **k: (_ for _ in ()).throw(ConnectionError("cut")))
        assert run_sync(warehouse, studio).exit_code == 7
        monkeypatch.undo()
        server.stop()
        try:
            assert run_sync(warehouse, studio).exit_code == 7
            assert warehouse.has_pending_data
        finally:
            server.start()
        assert run_sync(warehouse, studio).exit_code == 0
        assert_equal_to(warehouse, studio)


def test_connections_cut_in_the_middle_of_a_load_lose_nothing(server, tmp_path):
    warehouse = dlt.pipeline(
        "coreviz_cut",
        destination=dlt.destinations.postgres(server.url),
        dataset_name="coreviz_cut",
        pipelines_dir=str(tmp_path / "p"),
    )
    library = frozen(300)
    stop = threading.Event()

    def cut() -> int:
        import psycopg2

        connection = psycopg2.connect(server.url)
        connection.autocommit = True
        done = 0
        with connection.cursor() as cursor:
            while not stop.is_set():
                cursor.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE state = 'active' "
                    "AND pid <> pg_backend_pid() AND query ~* '^\\s*(copy|insert|delete)'"
                )
                done += cursor.rowcount
                time.sleep(0.005)
        cuts.append(done)
        return done

    cuts: list[int] = []
    with Studio(library) as studio:
        run(warehouse, studio)
        for item in media_of(library, frames=1)[::2]:
            library.add_caption(item["id"], "Written before the cut.")
        for item in media_of(library)[::10]:
            library.delete(item["id"])
        thread = threading.Thread(target=cut)
        thread.start()
        try:
            codes = [run_sync(warehouse, studio, reconcile_every="0").exit_code for _ in range(2)]
        finally:
            stop.set()
            thread.join()
        assert cuts[0] > 0
        assert set(codes) <= {0, 7}
        assert run_sync(warehouse, studio, reconcile_every="0").exit_code == 0
        assert_equal_to(warehouse, studio)


def test_a_permission_that_is_withdrawn_and_given_back_leaves_no_run_stuck(server, tmp_path):
    def admin(statement: str) -> None:
        import psycopg2

        connection = psycopg2.connect(server.url)
        connection.autocommit = True
        connection.cursor().execute(statement)
        connection.close()

    admin("CREATE ROLE writer LOGIN PASSWORD 'w'; GRANT CREATE ON DATABASE postgres TO writer")
    warehouse = dlt.pipeline(
        "coreviz_writer",
        destination=dlt.destinations.postgres(server.url.replace("loader:secret", "writer:w")),
        dataset_name="coreviz_writer",
        pipelines_dir=str(tmp_path / "p"),
    )
    library = frozen(20)
    with Studio(library) as studio:
        run(warehouse, studio)
        library.add_caption(media_of(library, frames=1)[0]["id"], "Not allowed yet.")
        admin("REVOKE INSERT ON coreviz_writer.captions FROM writer")
        for _ in range(2):
            report = run_sync(warehouse, studio, reconcile_every="0")
            assert report.exit_code == 7
            assert "permission denied" in report.to_json()
        admin("GRANT INSERT ON coreviz_writer.captions TO writer")
        assert run_sync(warehouse, studio, reconcile_every="0").exit_code == 0
        assert_equal_to(warehouse, studio)


@pytest.fixture
def stored(tmp_path) -> Path:
    """The warehouse that the release before made, from tests/data."""
    path = tmp_path / "library.duckdb"
    path.write_bytes(gzip.decompress(STORED.read_bytes()))
    return path


def test_the_warehouse_of_the_release_before_is_taken_over(pipeline, stored):
    library = library_of_the_release()
    (dataset,) = library.datasets
    with studio_of_the_release(library) as studio:
        before = query(pipeline, "SELECT count(*) FROM media")
        assert before == [(24,)]
        library.delete(media_of(library)[3]["id"])
        library.add_caption(media_of(library, frames=1)[0]["id"], "Written after the upgrade.")
        assert run_sync(pipeline, studio, reconcile_every="0").exit_code == 0
        assert_mirror(pipeline, {dataset: studio.snapshot(dataset)})


def test_a_later_release_with_another_column_fills_it_for_all_that_is_loaded(pipeline, stored, tmp_path):
    later = tmp_path / "later"
    shutil.copytree(Path(__file__).parents[1] / "coreviz_source", later / "coreviz_source")
    for name, pattern, replacement in (
        ("tables.py", r'(_made\("deleted_at")', r'_field("brand_new", "text", "New."),\n        \1'),
        ("rows/build.py", r"ROWS_VERSION = (\d+)", r"ROWS_VERSION = \g<1>000"),
    ):
        path = later / "coreviz_source" / name
        text, count = re.subn(pattern, replacement, path.read_text())
        assert count == 1
        path.write_text(text)
    library = library_of_the_release()
    (dataset,) = library.datasets
    for item in media_of(library):
        with library.changing(item["id"]):
            item["brandNew"] = f"of {item['id']}"
    with studio_of_the_release(library) as studio:
        # the release before knows no such field
        assert run_sync(pipeline, studio).exit_code == 0
        assert_mirror(pipeline, {dataset: studio.snapshot(dataset)})
        script = (
            "import dlt, sys; from coreviz_source import sync; url, database, folder, dataset = sys.argv[1:]\n"
            "report = sync(dlt.pipeline('coreviz_test', destination=dlt.destinations.duckdb(database), "
            "dataset_name='coreviz', pipelines_dir=folder), dataset_ids=[dataset], base_url=url, "
            "api_key='local-studio-key')\n"
            "print(report.to_json()); sys.exit(report.exit_code)"
        )
        done = subprocess.run(
            [sys.executable, "-c", script, studio.url, str(stored), str(tmp_path / "pipelines"), dataset],
            env={"PYTHONPATH": str(later), "HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
            cwd=later,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
    rows = query(pipeline, "SELECT id, brand_new, extra FROM media")
    assert len(rows) == 24
    assert all((brand_new, extra) == (f"of {item_id}", None) for item_id, brand_new, extra in rows)
