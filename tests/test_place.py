"""Where the command line keeps the tables, and what dlt keeps on disk beside them."""

from __future__ import annotations

import logging
import os
import shlex
import shutil
from pathlib import Path

import dlt
import pytest
from click.testing import CliRunner, Result

from coreviz_source.cli import main
from coreviz_source.local_studio import Studio
from tests.scenario import assert_equal_to, frozen
from tests.test_cli import environment

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
