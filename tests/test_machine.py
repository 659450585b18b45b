"""The machine fails: no space, no permission, a locked file, too little memory, a signal, a wrong clock."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from datetime import datetime, timedelta
from pathlib import Path
from random import Random

import dlt
import pytest

import coreviz_source.api.http
from coreviz_source.local_studio import Studio
from tests import forked
from tests.scenario import assert_equal_to, frozen, media_of, run_sync
from tests.test_crash import SCRIPT
from tests.warehouse import runs

#: A sync in a process of its own, whose files cannot grow past a limit.
PROCESS = textwrap.dedent(
    """
    import resource, sys
    import dlt
    from coreviz_source import sync

    url, database, directory, dataset, limit = sys.argv[1:]
    pipeline = dlt.pipeline(
        "coreviz_test", destination=dlt.destinations.duckdb(database), dataset_name="coreviz", pipelines_dir=directory
    )
    if limit != "0":
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
    report = sync(pipeline, dataset_ids=[dataset], base_url=url, api_key="local-studio-key", reconcile_every="0")
    print(report.to_json())
    sys.exit(report.exit_code)
    """
)


def synced(
    studio: Studio, folder: Path, limit: int = 0, script: str = PROCESS, **environment: str
) -> subprocess.CompletedProcess[str]:
    (dataset,) = studio.library.datasets
    places = (str(folder / "library.duckdb"), str(folder / "pipelines"))
    # what its imports take of the memory counts
    python = sys.executable if script == LITTLE_MEMORY else forked.python()
    return subprocess.run(
        [python, "-c", script, studio.url, *places, dataset, str(limit)],
        env={
            "HOME": str(folder),
            "PATH": "/usr/bin:/bin",
            "RUNTIME__DLTHUB_TELEMETRY": "false",
            **environment,
        },
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_a_full_disk_is_reported_and_the_next_run_is_complete(new_pipeline, tmp_path):
    library = frozen(400)
    with Studio(library) as studio:
        full = synced(studio, tmp_path, limit=300_000)
        assert full.returncode == 7, full.stdout + full.stderr
        assert "space" in full.stdout
        assert run_sync(new_pipeline(), studio).exit_code == 0
        assert_equal_to(new_pipeline(), studio)


#: A sync of a few media, which loads every library there is; then one of all of them with so much memory more.
LITTLE_MEMORY = textwrap.dedent(
    """
    import resource, sys
    import dlt
    from coreviz_source import sync

    url, database, directory, dataset, more = sys.argv[1:]
    pipeline = dlt.pipeline(
        "coreviz_test", destination=dlt.destinations.duckdb(database), dataset_name="coreviz", pipelines_dir=directory
    )
    given = dict(dataset_ids=[dataset], base_url=url, api_key="local-studio-key", page_size=10)
    assert sync(pipeline, max_media=10, **given).exit_code == 0
    (line,) = [line for line in open("/proc/self/status") if line.startswith("VmData")]
    limit = int(line.split()[1]) * 1024 + int(more)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    report = sync(pipeline, **given)
    print(report.to_json())
    sys.exit(report.exit_code)
    """
)


@pytest.mark.skipif(sys.platform != "linux", reason="the limit counts what is mapped on Linux only")
def test_too_little_memory_is_said_and_the_next_run_is_whole(new_pipeline, tmp_path):
    """A first load whose 90 MB of rows take 800 MB more than a small one, mostly in DuckDB, gets 384 MB more.

    With much less, msgspec sometimes gets no memory, and crashes: it does not check what it gets.

    The limit is RLIMIT_DATA, on what a process may map to write into; RLIMIT_AS counts the libraries' files too.
    Arrow's usual pool reserves a gigabyte at once, so it is configured to use malloc, and malloc to keep one arena.
    """
    library = frozen(150)
    for number, item in enumerate(media_of(library)):
        with library.changing(item["id"]):
            item["name"] = Random(number).randbytes(300_000).hex()
    with Studio(library) as studio:
        environment = {"ARROW_DEFAULT_MEMORY_POOL": "system", "MALLOC_ARENA_MAX": "1"}
        little = synced(studio, tmp_path, limit=384 * 2**20, script=LITTLE_MEMORY, **environment)
        assert little.returncode == 7, little.stdout + little.stderr
        assert "too little memory" in little.stdout and "page_size" in little.stdout
        assert "Traceback" not in little.stdout
        report = run_sync(new_pipeline(), studio, reconcile_every="0")
        assert report.exit_code == 0
        assert_equal_to(new_pipeline(), studio)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of three megabytes; only root can mount one."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system takes root; the limit on file sizes stands in for it")
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip("this machine allows no mounts")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_small_disk_that_fills_up_loses_nothing_once_it_has_room(small_disk):
    library = frozen(1500)
    with Studio(library) as studio:
        assert synced(studio, small_disk).returncode == 7
        subprocess.run(["mount", "-o", "remount,size=200m", str(small_disk)], check=True)
        done = synced(studio, small_disk)
        assert done.returncode == 0, done.stdout + done.stderr
        pipeline = dlt.pipeline(
            "reader",
            destination=dlt.destinations.duckdb(str(small_disk / "library.duckdb")),
            dataset_name="coreviz",
            pipelines_dir=str(small_disk / "reader"),
        )
        assert_equal_to(pipeline, studio)


def test_a_directory_that_cannot_be_written_to_is_exit_code_7(tmp_path, monkeypatch):
    monkeypatch.setattr("coreviz_source.warehouse.locks.PATIENCE", 0.2)
    folder = Path("/proc")
    if os.geteuid() != 0:
        folder = tmp_path / "closed"
        folder.mkdir(mode=0o500)
    pipeline = dlt.pipeline(
        "coreviz_test",
        destination=dlt.destinations.duckdb(str(folder / "library.duckdb")),
        dataset_name="coreviz",
        pipelines_dir=str(tmp_path / "p"),
    )
    with Studio(frozen(10)) as studio:
        report = run_sync(pipeline, studio)
    assert report.exit_code == 7
    assert str(folder) in report.to_json()


def test_a_database_that_another_process_has_locked_is_exit_code_7_and_is_named(new_pipeline, tmp_path, monkeypatch):
    monkeypatch.setattr("coreviz_source.warehouse.locks.PATIENCE", 0.2)
    path = tmp_path / "library.duckdb"
    holding = subprocess.Popen(
        [
            sys.executable,
            "-c",
            f"import duckdb; held = duckdb.connect({str(path)!r}); print('held', flush=True); input()",
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert holding.stdout is not None
    holding.stdout.readline()
    with Studio(frozen(10)) as studio:
        try:
            report = run_sync(new_pipeline(), studio)
            assert report.exit_code == 7
            assert f"process {holding.pid}" in report.to_json()
        finally:
            holding.communicate(b"\n")
        assert run_sync(new_pipeline(), studio).exit_code == 0
        assert_equal_to(new_pipeline(), studio)


@pytest.mark.parametrize("wrong", [timedelta(days=-1), timedelta(days=1)], ids=["a day late", "a day early"])
def test_our_own_clock_does_not_matter_where_the_server_tells_the_time(pipeline, monkeypatch, wrong):
    class WrongClock(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.now(tz) + wrong

    monkeypatch.setattr(coreviz_source.api.http, "datetime", WrongClock)
    monkeypatch.setattr("coreviz_source.mirror.datetime", WrongClock)
    library = frozen(40)
    with Studio(library) as studio:
        run_sync(pipeline, studio)
        library.add_media(next(iter(library.datasets)), processing=False)
        library.advance(hours=1)
        assert run_sync(pipeline, studio, lookback="2h").exit_code == 0
        assert_equal_to(pipeline, studio)
    first, second = runs(pipeline)
    assert second["started_at"] - first["started_at"] == timedelta(hours=1)
    assert (first["outcome"], second["outcome"]) == ("complete", "window")


@pytest.mark.parametrize("jump", [-1, 1])
def test_a_server_whose_clock_jumps_by_a_day_loses_no_media(pipeline, jump):
    library = frozen(40)
    with Studio(library) as studio:
        assert run_sync(pipeline, studio).exit_code == 0
        library.advance(days=jump)
        for number in range(2):
            library.add_media(next(iter(library.datasets)), processing=False)
            assert run_sync(pipeline, studio, lookback="0" if number else "1h").exit_code == 0
            assert {i["id"] for i in media_of(library)} == set(ids(pipeline))
            library.advance(hours=-jump * 12)
        library.delete(media_of(library)[5]["id"])
        assert run_sync(pipeline, studio, reconcile_every="0").exit_code == 0
        assert_equal_to(pipeline, studio)


def ids(pipeline: dlt.Pipeline) -> list[str]:
    from tests.warehouse import query

    return [row[0] for row in query(pipeline, "SELECT id FROM media")]


@pytest.mark.parametrize(
    ("sent", "moment", "count"),
    [
        ("SIGTERM", "extract", 1),
        ("SIGTERM", "between merges", 2),
        ("SIGTERM", "completed", 0),
        ("SIGINT", "extract", 1),
        ("SIGINT", "between merges", 2),
        ("SIGINT", "completed", 0),
    ],
)
def test_a_signal_ends_the_run_soon_and_the_next_one_is_whole(new_pipeline, tmp_path, sent, moment, count):
    library = frozen(80)
    (dataset,) = library.datasets
    script = SCRIPT.replace("signal.SIGKILL", f"signal.{sent}")
    with Studio(library) as studio:
        assert run_sync(new_pipeline(), studio).exit_code == 0
        for item in media_of(library, frames=1)[::2]:
            library.add_caption(item["id"], "Not written yet.")
        for item in media_of(library)[::9]:
            library.delete(item["id"])
        began = time.monotonic()
        places = (str(tmp_path / "library.duckdb"), str(tmp_path / "pipelines"))
        done = subprocess.run(
            [forked.python(), "-c", script, studio.url, *places, dataset, moment, str(count)],
            env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode != 0, done.stdout + done.stderr
        assert time.monotonic() - began < 60
        assert run_sync(new_pipeline(), studio, reconcile_every="0").exit_code == 0
        assert_equal_to(new_pipeline(), studio)
