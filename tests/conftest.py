"""What every test starts from: a pipeline of its own, and nothing of the caller's environment."""

from __future__ import annotations

import functools
import os
import signal
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import dlt
import pytest

import coreviz_source.api.http
from tests import copies, faster
from tests.dbt import Dbt
from tests.postgres import Postgres
from tests.scenario import pipeline_in

os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"


def keep_files_in_memory(folder: str = "/dev/shm", needed: int = 6 * 2**30) -> None:
    """Warehouses and working directories are written to memory, so that runs do not wait for the disk.

    Only where the memory is plenty and programs may be started from it; a caller's own TMPDIR counts more.
    """
    if "TMPDIR" not in os.environ and os.path.isdir(folder) and os.access(folder, os.W_OK):
        place = os.statvfs(folder)
        if place.f_bavail * place.f_frsize >= needed and not place.f_flag & os.ST_NOEXEC:
            os.environ["TMPDIR"] = folder
            # pytest has asked for the usual place before
            tempfile.tempdir = None


keep_files_in_memory()
# a shell's background jobs ignore Ctrl-C, and so would every process that a test starts and interrupts
signal.signal(signal.SIGINT, signal.default_int_handler)

faster.remember()
copies.reuse_ports()

#: Files with the longest tests: they run first, so that in the end not all wait for one of them.
LONGEST = ("test_walk", "test_history_walk", "test_timer", "test_chaos", "test_dagster", "test_bigquery", "test_dbt")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.stem not in LONGEST)


def pytest_xdist_auto_num_workers() -> int:
    """Two a core: half of the time a test waits for a server, a process or dlt's polling."""
    return 2 * (os.cpu_count() or 1)


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A working directory of its own, no key and no setting from outside, and short waits between attempts."""
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if "COREVIZ" in name or name in ("API_KEY", "BASE_URL"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("DLT_DATA_DIR", str(tmp_path / "dlt"))
    monkeypatch.setattr(coreviz_source.api.http, "wait", lambda state: 0.0)
    for pause in ("PAUSE", "LONGEST_PAUSE"):
        monkeypatch.setattr(coreviz_source.api.pace, pause, 0.0)
    yield


@pytest.fixture
def new_pipeline(tmp_path: Path) -> Callable[..., dlt.Pipeline]:
    """Makes a pipeline into the test's own DuckDB; `directory` stands for another machine's working directory."""
    return functools.partial(pipeline_in, tmp_path)


@pytest.fixture
def pipeline(new_pipeline: Callable[..., dlt.Pipeline]) -> dlt.Pipeline:
    return new_pipeline()


@pytest.fixture(scope="session")
def server() -> Iterator[Postgres]:
    """A Postgres server; each test takes a schema or a database of its own."""
    with Postgres() as postgres:
        yield postgres


@pytest.fixture(scope="session")
def dbt() -> Iterator[Dbt]:
    """Runs commands of dbt."""
    with Dbt() as process:
        yield process


@pytest.fixture
def postgres(server: Postgres, tmp_path: Path) -> dlt.Pipeline:
    return dlt.pipeline(
        "coreviz_postgres",
        destination=dlt.destinations.postgres(server.url),
        dataset_name=f"coreviz_{uuid.uuid4().hex[:8]}",
        pipelines_dir=str(tmp_path / "pipelines"),
    )
