"""Two runs at once, in two processes: one waits for the other, and the warehouse has everything once."""

from __future__ import annotations

import os
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import dlt
import pytest
from dlt.pipeline.exceptions import PipelineStepFailed
from filelock import FileLock

from coreviz_source import coreviz
from coreviz_source.errors import BusyError
from coreviz_source.local_studio import Studio
from coreviz_source.warehouse.lock_file import LockFile
from coreviz_source.warehouse.locks import Locks
from tests.postgres import Postgres
from tests.processes import Worker
from tests.scenario import arguments, assert_equal_to, frozen, media_of, run, run_sync
from tests.warehouse import load_ids, query, read, runs


@pytest.fixture(scope="module")
def workers(tmp_path_factory) -> Iterator[list[Worker]]:
    both = [Worker(tmp_path_factory.mktemp("worker")) for _ in range(2)]
    yield both
    for worker in both:
        worker.stop()


@pytest.fixture
def database(server) -> str:
    """A database of its own: the tests share the server, and the name of the schema."""
    name = f"d{uuid.uuid4().hex[:8]}"
    with dlt.pipeline("admin", destination=dlt.destinations.postgres(server.url)).sql_client() as client:
        client.execute_sql(f"CREATE DATABASE {name}")
    return server.url.replace("/postgres", f"/{name}")


@pytest.fixture
def postgres(database, tmp_path) -> dlt.Pipeline:
    """The warehouse as the test itself sees it."""
    destination = dlt.destinations.postgres(database)
    return dlt.pipeline("seen", destination=destination, dataset_name="coreviz", pipelines_dir=str(tmp_path / "seen"))


class _Gate:
    """Holds a Studio's next answer back until it is opened."""

    def __init__(self, studio: Studio) -> None:
        self._reached, self._open = threading.Event(), threading.Event()

        def before(request: Any) -> None:
            self._reached.set()
            self._open.wait(60)

        studio.before = before

    def reached(self) -> None:
        assert self._reached.wait(60)

    def open(self) -> None:
        self._open.set()


@contextmanager
def gate(studio: Studio) -> Iterator[_Gate]:
    made = _Gate(studio)
    try:
        yield made
    finally:
        made.open()
        studio.before = None


def change(studio: Studio) -> None:
    library = studio.library
    for dataset in library.datasets:
        items = media_of(library, dataset, frames=1)
        library.add_caption(items[0]["id"], "Added meanwhile.")
        library.delete(items[1]["id"])
        library.add_media(dataset, processing=False)


@pytest.mark.parametrize(("first", "second"), [("sync", "run"), ("run", "sync")])
def test_a_second_machine_waits_for_the_first_and_finds_nothing_left_to_load(
    workers, postgres, database, tmp_path, first, second
):
    library = frozen(60)
    with Studio(library) as studio:
        given = arguments(studio, {"reconcile_every": "0"})
        for step in range(2):
            with gate(studio) as held:
                workers[0].start("postgres", database, tmp_path / "a", given, first)
                held.reached()
                workers[1].start("postgres", database, tmp_path / "b", given, second)
                assert f"process {workers[0].pid} on" in workers[1].until("log", "Waiting for dataset")
                assert len({r.dataset_id for r in studio.requests}) == 1
                held.open()
                for worker in workers:
                    assert worker.until("done")["exit_code"] == 0
            assert_equal_to(postgres, studio)
            last = runs(postgres)[-2:]
            assert [(r["outcome"], r["new"] + r["changed"] + r["gone"] > 0) for r in last] == [
                ("complete", True),
                ("complete", False),
            ]
            if step == 0:
                change(studio)
    assert len(read(postgres, "datasets")["datasets"]) == 1


def test_runs_over_different_datasets_list_side_by_side_and_load_one_after_the_other(
    workers, postgres, database, tmp_path
):
    library = frozen(80, datasets=2)
    with Studio(library) as studio:
        for step in range(2):
            with Locks(postgres) as somebody:
                somebody.take_load()
                for worker, dataset, directory in zip(workers, library.datasets, ("a", "b"), strict=True):
                    given = arguments(studio, {"dataset_ids": [dataset], "reconcile_every": "0"})
                    worker.start("postgres", database, tmp_path / directory, given, "sync")
                for worker in workers:
                    worker.until("log", "Waiting for load")
                if step:
                    assert query(postgres, "SELECT count(*) FROM captions WHERE text = 'Added meanwhile.'") == [(0,)]
            for worker in workers:
                assert worker.until("done")["exit_code"] == 0
            assert_equal_to(postgres, studio)
            change(studio)
    assert len(read(postgres, "datasets")["datasets"]) == 2


def test_slices_of_a_dataset_run_side_by_side_even_where_they_overlap_and_a_whole_run_waits_for_them(
    workers, postgres, database, tmp_path
):
    library = frozen(60)
    with Studio(library) as studio:
        days = sorted(item["createdAt"][:10] for item in media_of(library))
        with Locks(postgres) as somebody:
            somebody.take_load()
            for worker, directory, span in zip(
                workers, ("a", "b"), ({"date_to": days[40]}, {"date_from": days[20]}), strict=True
            ):
                worker.start("postgres", database, tmp_path / directory, arguments(studio, span), "sync")
            for worker in workers:
                worker.until("log", "Waiting for load")
            report = run_sync_impatiently(postgres, studio)
            assert (report.exit_code, "dataset" in report.to_json()) == (7, True)
        for worker in workers:
            assert worker.until("done")["exit_code"] == 0
        assert {r["outcome"] for r in runs(postgres)} == {"slice"}
        assert len(read(postgres, "datasets")["datasets"]) == 1
        held = [row["id"] for row in read(postgres, "media")["media"]]
        assert sorted(held) == sorted(item["id"] for item in media_of(library))
        assert run_sync(postgres, studio).exit_code == 0
        assert_equal_to(postgres, studio)


def run_sync_impatiently(pipeline: dlt.Pipeline, studio: Studio) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("coreviz_source.warehouse.locks.PATIENCE", 0.1)
        return run_sync(pipeline, studio)


def test_a_run_that_is_killed_leaves_nothing_locked(server, postgres, database, tmp_path):
    library = frozen(40)
    with Studio(library) as studio:
        given = arguments(studio, {})
        holder = Worker(tmp_path / "holder")
        with gate(studio) as held:
            holder.start("postgres", database, tmp_path / "a", given, "sync")
            held.reached()
            assert run_sync_impatiently(postgres, studio).exit_code == 7
            holder.kill()
        # in the directory of the killed run, and from another machine
        again = dlt.pipeline(
            "coreviz_test",
            destination=dlt.destinations.postgres(database),
            dataset_name="coreviz",
            pipelines_dir=str(tmp_path / "a"),
        )
        assert run_sync_impatiently(again, studio).exit_code == 0
        assert run_sync_impatiently(postgres, studio).exit_code == 0
        assert_equal_to(postgres, studio)


@pytest.mark.parametrize("how", ["run", "sync"])
def test_a_second_run_in_the_same_directory_does_not_load_what_the_first_has_extracted(
    workers, pipeline, tmp_path, how
):
    library = frozen(60)
    file, directory = str(tmp_path / "library.duckdb"), tmp_path / "pipelines"
    with Studio(library) as studio:
        given = arguments(studio, {"reconcile_every": "0"})
        for step in range(2):
            with gate(studio) as held:
                workers[0].start("duckdb", file, directory, given, how)
                held.reached()
                workers[1].start("duckdb", file, directory, given, how)
                workers[1].until("log", "Waiting for the working directory")
                held.open()
                for worker in workers:
                    assert worker.until("done")["exit_code"] == 0
            before = load_ids(pipeline)
            assert_equal_to(pipeline, studio)
            if step == 0:
                change(studio)
    assert before["media"].total() == len(media_of(library))
    assert [r["outcome"] for r in runs(pipeline)] == ["complete"] * 4


@pytest.mark.parametrize("how", ["run", "sync"])
def test_a_duckdb_file_that_another_process_has_open_is_waited_for_then_left_with_its_pid(
    workers, pipeline, tmp_path, how
):
    library = frozen(40)
    file = str(tmp_path / "library.duckdb")
    with Studio(library) as studio:
        given = arguments(studio, {})
        with gate(studio) as held:
            workers[0].start("duckdb", file, tmp_path / "a", given, "sync")
            held.reached()
            workers[1].start("duckdb", file, tmp_path / "b", given, how, patience=0.1)
            left = workers[1].until("done")
            assert left["exit_code"] == (7 if how == "sync" else None)
            (message,) = left["errors"]
            assert str(workers[0].pid) in message
            assert "library.duckdb" in message
            workers[1].start("duckdb", file, tmp_path / "b", given, how)
            workers[1].until("log", f"process {workers[0].pid} ")
            held.open()
            for worker in workers:
                assert worker.until("done")["exit_code"] == 0
        assert_equal_to(pipeline, studio)


def test_a_plain_run_of_which_dlt_tells_nothing_warns_and_loads_all_the_same(new_pipeline, monkeypatch, caplog):
    monkeypatch.setenv("ENABLE_RUNTIME_TRACE", "false")
    pipeline = new_pipeline()
    with Studio(frozen(30)) as studio:
        for _ in range(2):
            run(pipeline, studio, reconcile_every="0")
            assert_equal_to(pipeline, studio)
    assert "enable_runtime_trace" in caplog.text


def test_after_a_run_that_found_the_directory_in_use_sync_loads_what_is_pending(pipeline, monkeypatch, caplog):
    monkeypatch.setattr("coreviz_source.warehouse.locks.PATIENCE", 0.1)
    library = frozen(30)
    with Studio(library) as studio:
        run(pipeline, studio)
        library.add_caption(media_of(library, frames=1)[0]["id"], "In a package that waits.")
        pipeline.extract(coreviz(**arguments(studio, {"reconcile_every": "0"})))
        pipeline.normalize()
        with FileLock(f"{pipeline.working_dir}.lock"), pytest.raises(PipelineStepFailed):
            pipeline.load()
        caplog.clear()
        assert run_sync(pipeline, studio).exit_code == 0
        assert_equal_to(pipeline, studio)
    assert "dropped" not in caplog.text


@pytest.fixture
def impatient_server(server, database, tmp_path) -> Iterator[dlt.Pipeline]:
    """A pipeline of a role whose sessions the server ends when they wait for a second."""
    name = database.rpartition("/")[2]
    server.execute(
        f"CREATE ROLE idle_{name} LOGIN SUPERUSER", f"ALTER ROLE idle_{name} SET idle_session_timeout = '1s'"
    )
    yield dlt.pipeline(
        "coreviz_test",
        destination=dlt.destinations.postgres(database.replace("loader:", f"idle_{name}:")),
        dataset_name="coreviz",
        pipelines_dir=str(tmp_path / "idle"),
    )


@pytest.mark.parametrize("how", ["sync", "run"])
def test_a_server_that_ends_idle_sessions_ends_no_run_whose_listing_takes_longer(impatient_server, how):
    library = frozen(60)
    with Studio(library) as studio:
        for _ in range(2):
            slow = iter([1.5])
            studio.before = lambda request, slow=slow: time.sleep(next(slow, 0))
            if how == "sync":
                report = run_sync(impatient_server, studio, reconcile_every="0")
                assert report.exit_code == 0, report.errors
            else:
                run(impatient_server, studio, reconcile_every="0")
            studio.before = None
            assert_equal_to(impatient_server, studio)
            change(studio)


def cut(server: Postgres, database: str) -> None:
    """Ends all sessions in a database, as a proxy does with those that wait."""
    name = database.rpartition("/")[2]
    server.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")


def test_a_run_whose_sessions_are_cut_while_it_lists_takes_its_locks_again(
    workers, server, database, postgres, tmp_path
):
    library = frozen(60)
    with Studio(library) as studio:
        for _ in range(2):
            with gate(studio) as held:
                workers[0].start(
                    "postgres", database, tmp_path / "a", arguments(studio, {"reconcile_every": "0"}), "sync"
                )
                held.reached()
                cut(server, database)
                held.open()
                done = workers[0].until("done")
                assert done["exit_code"] == 0, done["errors"]
            assert_equal_to(postgres, studio)
            change(studio)


@pytest.mark.parametrize("still_there", [True, False])
def test_a_run_that_lost_its_locks_to_another_one_writes_nothing(
    workers, server, database, postgres, tmp_path, still_there
):
    library = frozen(60)
    (dataset,) = library.datasets
    with Studio(library) as studio:
        with gate(studio) as held:
            workers[0].start("postgres", database, tmp_path / "a", arguments(studio, {}), "sync")
            held.reached()
            cut(server, database)
            if still_there:
                with Locks(postgres) as somebody:
                    somebody.take_datasets([dataset])
                    held.open()
                    done = workers[0].until("done")
            else:
                with Studio(library) as another:
                    assert run_sync(postgres, another).exit_code == 0
                    held.open()
                    done = workers[0].until("done")
                    assert_equal_to(postgres, another)
        assert done["exit_code"] == 7
        assert ("in use by" in done["errors"][0]) is still_there
        if still_there:
            assert run_sync(postgres, studio).exit_code == 0
            assert_equal_to(postgres, studio)
        assert len(runs(postgres)) == 1


def test_a_lock_file_that_nobody_may_read_or_write_while_it_is_locked_still_names_its_owner(new_pipeline, monkeypatch):
    """As on Windows."""

    def refused(usual: Any) -> Any:
        def guarded(self: Path, *arguments: Any, **named: Any) -> Any:
            if self.suffix == ".lock":
                raise PermissionError(13, "Permission denied", str(self))
            return usual(self, *arguments, **named)

        return guarded

    for name in ("read_text", "write_text"):
        monkeypatch.setattr(Path, name, refused(getattr(Path, name)))
    pipeline, left = new_pipeline(), []

    def second() -> None:
        with Locks(pipeline) as locks, pytest.raises(BusyError) as failure:
            locks.take_working_directory(patience=0)
        left.append(str(failure.value))

    for _ in range(2):
        with Locks(pipeline) as locks:
            locks.take_working_directory()
            thread = threading.Thread(target=second)
            thread.start()
            thread.join()
    assert len(left) == 2
    assert all(f"in use by process {os.getpid()} on" in message for message in left)


def test_a_release_that_is_interrupted_leaves_the_lock_that_another_run_has_taken_meanwhile(tmp_path, monkeypatch):
    path = tmp_path / "library.duckdb"
    theirs = tmp_path / "library.duckdb.lock"
    usual = FileLock._release

    def interrupted(lock):
        monkeypatch.setattr(FileLock, "_release", usual)
        theirs.touch(exist_ok=False)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), ExitStack() as resources:
        assert LockFile(path).attempt(resources) is None
        monkeypatch.setattr(FileLock, "_release", interrupted)
    assert theirs.exists() and not LockFile(path).is_locked
