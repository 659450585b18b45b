"""Where the command line keeps the tables, and what dlt keeps on disk beside them."""

from __future__ import annotations

import logging
import os
import re
import shlex
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dlt
import duckdb
import pytest
from click.testing import CliRunner, Result
from filelock import FileLock

from coreviz_source import Report, coreviz, sync
from coreviz_source.cli import main
from coreviz_source.commands.status import read_status
from coreviz_source.loading.pipeline import resolve_pipeline
from coreviz_source.local_studio import Studio
from coreviz_source.warehouse.failures import remedy_for
from coreviz_source.warehouse.lock_file import LockFile
from tests.scenario import arguments, assert_equal_to, frozen, media_of
from tests.test_cli import PROGRAM, environment

FILE = "coreviz_library.duckdb"
READERS = ("status", "search shoe", "sync --dry-run")


@pytest.fixture
def command(monkeypatch):
    """Runs a command in this process as if it were started in a folder."""
    logger = logging.getLogger("coreviz_source")
    monkeypatch.setattr(logger, "propagate", logger.propagate)

    def run(folder: Path, line: str, studio: Studio | None = None, **more: str) -> Result:
        with monkeypatch.context() as patched:
            patched.chdir(folder)
            given = {**os.environ, **more} if studio is None else environment(studio, **more)
            result = CliRunner().invoke(main, shlex.split(line), env=given)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result

    return run


def folders(tmp_path: Path, *names: str) -> list[Path]:
    made = [tmp_path / name for name in names]
    for folder in made:
        folder.mkdir(parents=True)
    return made


def files_below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def into(file: Path, directory: Path, name: str = "reader") -> dlt.Pipeline:
    return dlt.pipeline(
        name, destination=dlt.destinations.duckdb(str(file)), dataset_name="coreviz", pipelines_dir=str(directory)
    )


def test_two_folders_with_two_keys_never_mix_and_neither_depends_on_the_other(command, tmp_path):
    first, second = folders(tmp_path, "first", "second")
    libraries = frozen(12, seed=1), frozen(15, seed=2)
    with Studio(libraries[0]) as one, Studio(libraries[1]) as two:
        # each of these was once enough to decide for every later folder
        for line in READERS:
            command(first, line, one)
        assert command(first, "sync").exit_code == 3
        for folder, studio in ((second, two), (first, one), (second, two)):
            done = command(folder, "sync --reconcile-every 0", studio)
            assert done.exit_code == 0, done.output
            assert_equal_to(into(folder / FILE, tmp_path / "reader"), studio)
        shutil.rmtree(first)
        done = command(second, "sync --reconcile-every 0", two)
        assert done.exit_code == 0, done.output
        assert_equal_to(into(second / FILE, tmp_path / "reader"), two)
    assert files_below(second) == [FILE]


@pytest.mark.parametrize(
    ("line", "code"),
    [
        *((line, {"search shoe": 7}.get(line, 0)) for line in READERS),
        ("sync", 3),
        ("sync --lookback 7", 2),
        ("sync --pipeline-name coreviz", 2),
        ("forget --media-ids nope --yes", None),
        ("check --audit", None),
    ],
)
def test_a_command_that_loads_nothing_makes_and_remembers_nothing(command, tmp_path, line, code):
    (folder,) = folders(tmp_path, "folder")
    with Studio(frozen(12)) as studio:
        done = command(folder, line, None if code == 3 else studio)
        assert code in (None, done.exit_code), done.output
        assert files_below(folder) == []
        assert not (tmp_path / "dlt").exists()


def test_a_run_whose_key_the_api_refuses_makes_no_file(command, tmp_path):
    (folder,) = folders(tmp_path, "folder")
    with Studio(frozen(12)) as studio:
        assert command(folder, "sync --api-key wrong", studio).exit_code == 3
    assert files_below(folder) == []
    assert not (tmp_path / "dlt").exists()


@contextmanager
def opened_elsewhere(file: Path, read_only: bool) -> Iterator[int]:
    """Another process that has a DuckDB file open; its number."""
    code = f"import duckdb; c = duckdb.connect({str(file)!r}, read_only={read_only}); print(1, flush=True); input()"
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None and process.stdout.readline()
    try:
        yield process.pid
    finally:
        process.communicate(b"\n")


def test_reading_commands_work_beside_other_readers_and_name_a_load_that_has_the_file(command, tmp_path):
    (folder,) = folders(tmp_path, "folder")
    readers = (*READERS, "check --audit")
    with Studio(frozen(12)) as studio:
        assert command(folder, "sync", studio).exit_code == 0
        before = files_below(tmp_path)
        with opened_elsewhere(folder / FILE, read_only=True):
            for line in readers:
                done = command(folder, line, studio)
                assert done.exit_code == 0, (line, done.output)
        # as from a disk that cannot be written: what opens the file for writing fails
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(duckdb, "connect", only_to_read(duckdb.connect))
            for line in readers:
                assert command(folder, line, studio).exit_code == 0, line
            assert command(folder, "sync", studio).exit_code == 7
        with opened_elsewhere(folder / FILE, read_only=False) as pid:
            for line in readers:
                done = command(folder, line, studio)
                assert (done.exit_code, f"open in process {pid}" in done.output) == (7, True), (line, done.output)
                assert "Wait until it is done" in done.output and "credentials" not in done.output
        assert files_below(tmp_path) == before


def only_to_read(connect: Any) -> Any:
    def opened(*arguments: Any, **named: Any) -> Any:
        if not named.get("read_only"):
            raise duckdb.IOException("Cannot open file: Read-only file system")
        return connect(*arguments, **named)

    return opened


def test_a_status_of_this_process_works_while_this_process_writes(tmp_path, pipeline):
    with Studio(frozen(12)) as studio:
        sync(pipeline, **arguments(studio, {}))
        with pipeline.sql_client() as client:
            client.execute_sql("SELECT 1")
            assert read_status(pipeline, api_key=None).datasets[0].media == 12


def test_a_link_to_the_file_or_to_its_folder_is_the_same_warehouse(command, tmp_path):
    (folder, other) = folders(tmp_path, "folder", "other")
    (tmp_path / "link").symlink_to(folder)
    (other / FILE).symlink_to(folder / FILE)
    with Studio(frozen(12)) as studio:
        for place in (folder, tmp_path / "link", other):
            done = command(place, "sync --reconcile-every 0", studio)
            assert done.exit_code == 0, done.output
            assert ("0 new" in done.stdout) is (place is not folder)
        assert len(list((tmp_path / "dlt" / "coreviz").iterdir())) == 1
        with FileLock(f"{folder / FILE}.lock"), pytest.MonkeyPatch.context() as patched:
            patched.setattr("coreviz_source.warehouse.locks.PATIENCE", 0)
            for place in (tmp_path / "link", other):
                assert command(place, "sync", studio).exit_code == 7
    assert files_below(other) == [FILE]


@pytest.mark.parametrize("name", ['l\'été "2026" [x]=1.duckdb', "größe und mehr.duckdb"])
def test_a_file_may_have_any_name(command, tmp_path, name):
    (folder,) = folders(tmp_path, "a 'folder' of \"mine\"")
    with Studio(frozen(12)) as studio:
        more = {"DESTINATION__DUCKDB__CREDENTIALS": name}
        for line in ("sync", "status", "search shoe", "sync"):
            done = command(folder, line, studio, **more)
            assert done.exit_code == 0, done.output
        assert_equal_to(into(folder / name, tmp_path / "reader"), studio)
    assert files_below(folder) == [name]


@pytest.mark.parametrize("line", ["sync", "status", "search shoe", "sync --dry-run"])
def test_a_missing_folder_is_named_and_not_made(command, tmp_path, line):
    (folder,) = folders(tmp_path, "folder")
    with Studio(frozen(12)) as studio:
        done = command(folder, line, studio, DESTINATION__DUCKDB__CREDENTIALS=str(tmp_path / "missing/library.duckdb"))
        assert done.exit_code == 7
        assert f"DuckDB file, {tmp_path / 'missing'}, does not exist." in done.stderr.replace("\n", " ")
        assert "destination.duckdb.credentials" in done.stderr
        assert studio.requests == []
    assert not (tmp_path / "missing").exists() and not (tmp_path / "dlt").exists()


def test_a_file_that_cannot_be_opened_is_explained_in_the_databases_words(command, tmp_path):
    (folder,) = folders(tmp_path, "folder")
    file = folder / "coreviz_library.duckdb"
    with Studio(frozen(12)) as studio:
        file.write_text("no database")
        broken = command(folder, "status", studio)
        file.unlink()
        file.mkdir()
        directory = command(folder, "sync --quiet", studio)
        assert studio.requests == []
    assert (broken.exit_code, directory.exit_code) == (7, 7)
    assert f'The file "{file}" exists, but it is not a valid DuckDB database file!' in broken.stderr
    assert "Is a directory" in directory.stderr
    for done in (broken, directory):
        assert "Check the path of the DuckDB file" in done.stderr
        # dlt's advice is about passwords and networks
        assert "internet connection" not in done.stderr
    pipeline = into(tmp_path / "library.duckdb", tmp_path / "reader")
    for refused in (
        PermissionError(13, "Permission denied", str(file)),
        OSError(30, "Read-only file system", str(file)),
        OSError(f'IO Error: Cannot open file "{file}": Permission denied'),
    ):
        assert "permission to read and to write the DuckDB file" in remedy_for(refused, pipeline)
    assert "Grant what is missing" in remedy_for(RuntimeError("permission denied for schema coreviz"), pipeline)


@pytest.mark.parametrize("line", ["status", "check"])
def test_a_folder_that_was_deleted_under_the_command_is_named(tmp_path, line):
    (folder,) = folders(tmp_path, "folder")
    done = subprocess.run(
        ["bash", "-c", f"cd {folder} && rmdir {folder} && {PROGRAM} {line}"], capture_output=True, text=True
    )
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
    assert "does not exist any more" in done.stderr


def test_a_pipeline_of_python_whose_remembered_folder_is_missing_names_it(tmp_path, monkeypatch):
    first, second = folders(tmp_path, "first", "second")

    def synced(folder: Path, studio: Studio) -> Any:
        monkeypatch.chdir(folder)
        pipeline = dlt.pipeline("mine", destination="duckdb", dataset_name="coreviz")
        return sync(pipeline, **arguments(studio, {}))

    with Studio(frozen(12)) as studio:
        assert synced(first, studio).exit_code == 0
        shutil.rmtree(first)
        report = synced(second, studio)
    assert report.exit_code == 7
    assert str(first) in report.to_json() and "dlt.destinations.duckdb" in report.to_json()


def test_pipelines_of_any_name_wait_for_the_run_that_has_the_file_also_before_it_exists(command, tmp_path):
    (folder,) = folders(tmp_path, "folder")
    library = frozen(12)
    with Studio(library) as studio, Studio(library) as slow:
        reached, go = threading.Event(), threading.Event()

        def wait(request: Any) -> None:
            reached.set()
            go.wait(60)

        slow.before = wait
        report: list[Report] = []
        run_of_python = into(folder / FILE, tmp_path / "p", "python")
        thread = threading.Thread(target=lambda: report.append(sync(run_of_python, **arguments(slow, {}))))
        thread.start()
        assert reached.wait(60)
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr("coreviz_source.warehouse.locks.PATIENCE", 0.1)
            done = command(folder, "sync", studio)
            assert done.exit_code == 7, done.output
            assert f"The DuckDB file {folder / FILE} is in use by process {os.getpid()} on" in done.stderr
            with pytest.raises(Exception, match="in use by process"):
                into(folder / FILE, tmp_path / "q").run(coreviz(**arguments(studio, {})))
            # a file of the same name elsewhere is another warehouse
            (other,) = folders(tmp_path, "other")
            assert command(other, "sync", studio).exit_code == 0
        go.set()
        thread.join()
        assert report[0].exit_code == 0
        assert_equal_to(into(folder / FILE, tmp_path / "reader"), slow)
    assert [path for path in files_below(tmp_path) if path.endswith((".lock", ".owner"))] == []


def test_status_prints_a_command_of_dlt_that_works(command, tmp_path):
    (folder,) = folders(tmp_path, "folder")
    with Studio(frozen(12)) as studio:
        assert "dlt pipeline" not in command(folder, "status", studio).stdout
        command(folder, "sync", studio)
        said = command(folder, "status", studio).stdout
    (line,) = re.findall(r"(?m): (dlt pipeline .*)$", said)
    done = subprocess.run(
        [str(Path(PROGRAM).with_name("dlt")), *shlex.split(line)[1:]], capture_output=True, text=True, cwd=folder
    )
    assert done.returncode == 0, done.stderr
    assert "coreviz_library" in done.stdout


def test_packages_of_an_earlier_release_are_loaded_once(command, tmp_path, monkeypatch):
    """That release kept its working directory where dlt does, by the name of the pipeline alone."""
    folder, other = folders(tmp_path, "folder", "other")
    library = frozen(12)
    monkeypatch.chdir(folder)
    earlier = dlt.pipeline("coreviz_library", destination="duckdb", dataset_name="coreviz")
    with Studio(library) as studio:
        assert sync(earlier, **arguments(studio, {})).exit_code == 0
        library.add_caption(media_of(library, frames=1)[-1]["id"], "In a package that waits.")
        earlier.extract(coreviz(**arguments(studio, {"reconcile_every": "0"})))
        assert earlier.has_pending_data
        assert "An interrupted run left 1 package" in command(folder, "status", studio).stderr
        elsewhere = command(other, "status", studio).stderr
        assert "An interrupted run" not in elsewhere and str(folder / FILE) in elsewhere
        assert command(other, "sync", studio).exit_code == 0
        assert str(folder / FILE) not in command(other, "status", studio).stderr
        assert earlier.has_pending_data
        done = command(folder, "sync", studio)
        assert done.exit_code == 0 and "0 changed" in done.stdout, done.output
        assert_equal_to(into(folder / FILE, tmp_path / "reader"), studio)
        assert not earlier.has_pending_data
        assert "An interrupted run" not in command(folder, "status", studio).stderr


def test_two_commands_that_take_over_the_same_packages_at_the_same_moment_both_continue(monkeypatch):
    earlier = dlt.pipeline("coreviz_library", destination="duckdb", dataset_name="coreviz")
    with Studio(frozen(12)) as studio:
        earlier.extract(coreviz(**arguments(studio, {})))
        usual = LockFile.attempt

        def after_the_other(*given):
            monkeypatch.setattr(LockFile, "attempt", usual)
            assert resolve_pipeline().has_pending_data
            return usual(*given)

        monkeypatch.setattr(LockFile, "attempt", after_the_other)
        pipeline = resolve_pipeline()
        assert pipeline.has_pending_data and not earlier.has_pending_data
        assert sync(pipeline, **arguments(studio, {})).exit_code == 0
        assert_equal_to(pipeline, studio)


@pytest.mark.parametrize("line", ["sync", "sync --dry-run", "status"])
def test_a_data_directory_that_cannot_be_written_is_named_with_the_variable_and_needed_only_to_load(
    command, tmp_path, line
):
    (folder,) = folders(tmp_path, "folder")
    (tmp_path / "a file").write_text("")
    with Studio(frozen(12)) as studio:
        done = command(folder, line, studio, DLT_DATA_DIR=str(tmp_path / "a file" / "dlt"))
    assert done.exit_code == (2 if line == "sync" else 0), done.output
    if line == "sync":
        assert "DLT_DATA_DIR" in done.stderr and str(tmp_path / "a file") in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_a_working_directory_that_another_command_removes_before_the_run_has_it_is_made_again(tmp_path, pipeline):
    with Studio(frozen(12)) as studio:
        shutil.rmtree(pipeline.working_dir)
        assert sync(pipeline, **arguments(studio, {})).exit_code == 0
        assert_equal_to(pipeline, studio)
