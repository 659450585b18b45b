"""What every test starts from: a pipeline of its own, and nothing of the caller's environment."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import dlt
import pytest

import coreviz_source.client

os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A working directory of its own, no key and no setting from outside, and short waits between attempts."""
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if "COREVIZ" in name or name in ("API_KEY", "BASE_URL"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("DLT_DATA_DIR", str(tmp_path / "dlt"))
    monkeypatch.setattr(coreviz_source.client, "_wait", lambda state: 0.0)
    yield


@pytest.fixture
def new_pipeline(tmp_path: Path) -> Callable[..., dlt.Pipeline]:
    """Makes a pipeline into the test's own DuckDB; `directory` stands for another machine's working directory."""

    def make(directory: str = "pipelines", database: str = "library.duckdb") -> dlt.Pipeline:
        return dlt.pipeline(
            "coreviz_test",
            destination=dlt.destinations.duckdb(str(tmp_path / database)),
            dataset_name="coreviz",
            pipelines_dir=str(tmp_path / directory),
        )

    return make


@pytest.fixture
def pipeline(new_pipeline: Callable[..., dlt.Pipeline]) -> dlt.Pipeline:
    return new_pipeline()
