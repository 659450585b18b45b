"""Killed at any moment, with the working directory or without it, the next complete run ends equal to the truth."""

from __future__ import annotations

import shutil
import subprocess
import textwrap
from collections.abc import Iterator
from pathlib import Path

import dlt
import pytest

from coreviz_source.local_studio import Studio
from tests import forked
from tests.scenario import assert_equal_to, frozen, media_of, pipeline_in, run, run_sync
from tests.warehouse import load_ids

#: A process that dies by SIGKILL at a chosen moment of a run.
SCRIPT = textwrap.dedent(
    """
    import os, signal, sys
    import dlt
    from coreviz_source import coreviz, sync
    from dlt.pipeline.pipeline import Pipeline
    from dlt.load.load import Load
    from dlt.destinations.impl.duckdb.sql_client import DuckDbSqlClient

    url, database, directory, dataset, moment, count = sys.argv[1:]
    count = int(count)

    def die():
        os.kill(os.getpid(), signal.SIGKILL)

    if moment == "extract":
        import coreviz_source.mirror as m
        m.BATCH = 20
        original = m.Mirror._batch
        def batch(self, *args, **kwargs):
            global count
            count -= 1
            if count < 0:
                die()
            return original(self, *args, **kwargs)
        m.Mirror._batch = batch
    elif moment == "before normalize":
        Pipeline.normalize = lambda *a, **k: die()
    elif moment == "before load":
        Pipeline.load = lambda *a, **k: die()
    elif moment == "between merges":
        original = DuckDbSqlClient.execute_many
        def execute_many(self, statements, *args, **kwargs):
            global count
            if any("DELETE FROM" in x for x in statements):
                count -= 1
                if count < 0:
                    die()
            return original(self, statements, *args, **kwargs)
        DuckDbSqlClient.execute_many = execute_many
    elif moment == "completed":
        original = Load.complete_package
        def complete_package(self, *args, **kwargs):
            original(self, *args, **kwargs)
            die()
        Load.complete_package = complete_package
    elif moment in ("before an append", "after an append"):
        from dlt.destinations.impl.duckdb.duck import DuckDbCopyJob
        original = DuckDbCopyJob.run
        def run(self):
            global count
            count -= 1
            if count < 0 and moment == "before an append":
                die()
            original(self)
            if count < 0:
                die()
        DuckDbCopyJob.run = run
    elif moment == "before completion":
        Load.complete_package = lambda *a, **k: die()
    elif moment == "between a row and its completion":
        from dlt.destinations.job_client_impl import SqlJobClientBase
        SqlJobClientBase.complete_load = lambda *a, **k: die()
    elif moment == "checkpoint":
        import coreviz_source.loading.packages as p, coreviz_source.mirror as m
        m.BATCH, p.WAITING, p.CHECKPOINT = 10, 20, 40
        original = Pipeline.load
        def load(self, *args, **kwargs):
            global count
            count -= 1
            if count < 0:
                die()
            return original(self, *args, **kwargs)
        Pipeline.load = load

    pipeline = dlt.pipeline(
        "coreviz_test", destination=dlt.destinations.duckdb(database), dataset_name="coreviz", pipelines_dir=directory
    )
    os.environ["LOAD__WORKERS"] = "1"
    given = dict(dataset_ids=[dataset], base_url=url, api_key="local-studio-key", page_size=20, reconcile_every="0",
                 max_deletes=1)
    if moment in ("checkpoint", "completed", "between a row and its completion"):
        sync(pipeline, **given)
    else:
        pipeline.run(coreviz(**given))
    """
)

MOMENTS = [
    ("extract", 0),
    ("extract", 1),
    ("before normalize", 0),
    ("before load", 0),
    *(("between merges", n) for n in (0, 1, 3, 5)),
    ("before completion", 0),
]


def killed(studio: Studio, folder: Path, moment: str, count: int) -> None:
    script = folder / "killed.py"
    script.write_text(SCRIPT)
    (dataset,) = studio.library.datasets
    done = subprocess.run(
        [
            *(forked.python(), str(script), studio.url, str(folder / "library.duckdb"), str(folder / "pipelines")),
            *(dataset, moment, str(count)),
        ],
        env={"HOME": str(folder), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == -9, done.stderr[-2000:]


def both(folder: Path) -> Iterator[tuple[bool, dlt.Pipeline]]:
    """What a killed process left, twice: once with its working directory, once without."""
    for lost in (False, True):
        copy = folder.with_name("directory lost" if lost else "directory kept")
        shutil.copytree(folder, copy)
        if lost:
            shutil.rmtree(copy / "pipelines")
        yield lost, pipeline_in(copy)


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Studio]]:
    """The warehouse and the working directory after a run over `frozen(100)`, and the Studio of the run."""
    folder = tmp_path_factory.mktemp("loaded")
    with Studio(frozen(100)) as studio:
        run(pipeline_in(folder), studio)
        yield folder, studio


@pytest.fixture
def again(loaded: tuple[Path, Studio], folder: Path) -> Studio:
    """The same once more, with a library that nobody has changed yet."""
    before, studio = loaded
    shutil.copytree(before, folder, dirs_exist_ok=True)
    studio.library = frozen(100)
    return studio


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the process that is killed works."""
    (tmp_path / "killed").mkdir()
    return tmp_path / "killed"


@pytest.mark.parametrize(("moment", "count"), MOMENTS)
def test_a_killed_run_is_repaired_by_the_next(again, folder, moment, count):
    library = again.library
    (dataset,) = library.datasets
    for item in media_of(library)[10:40:3]:
        library.delete(item["id"])
    for item in media_of(library, frames=1)[::4]:
        item["frames"][0]["captions"].clear()
        item["frames"][0]["objects"].append({"id": item["frames"][0]["id"][:-2] + "ff", "label": "late"})
        library.touched(item["id"])
    for _ in range(5):
        library.add_media(dataset, "video", processing=False)
    killed(again, folder, moment, count)
    for _, pipeline in both(folder):
        report = run_sync(pipeline, again, reconcile_every="0")
        assert report.exit_code == 0, report.to_json()
        assert_equal_to(pipeline, again)


@pytest.mark.parametrize("count", [0, 2, 5])
def test_a_killed_run_whose_change_was_taken_back_meanwhile_is_repaired(again, folder, count):
    library = again.library
    added = {i["id"]: library.add_caption(i["id"], "Only for a while.") for i in media_of(library, frames=1)}
    killed(again, folder, "between merges", count)
    for media, caption in added.items():
        with library.changing(media) as item:
            frame = item["frames"][-1]
            frame["captions"] = [c for c in frame["captions"] if c["id"] != caption]
    shutil.rmtree(folder / "pipelines")
    pipeline = pipeline_in(folder)
    assert run_sync(pipeline, again, reconcile_every="0").exit_code == 0
    assert_equal_to(pipeline, again)


def test_a_killed_first_load_continues_after_its_last_checkpoint(folder):
    library = frozen(200)
    (dataset,) = library.datasets
    with Studio(library) as studio:
        killed(studio, folder, "checkpoint", 2)
        for lost, pipeline in both(folder):
            before = load_ids(pipeline)["media"]
            assert before.total() == 80
            report = run_sync(pipeline, studio)
            assert report.exit_code == 0
            assert_equal_to(pipeline, studio)
            assert before <= load_ids(pipeline)["media"]
            # what the killed process had extracted is loaded first, if its directory is still there
            assert report.datasets[dataset].rows["media"] == (120 if lost else 80)


@pytest.mark.parametrize("moment", ["before an append", "after an append"])
def test_a_first_load_killed_between_two_tables_has_no_duplicates_afterwards(folder, moment):
    with Studio(frozen(60)) as studio:
        killed(studio, folder, moment, 3)
        for _, pipeline in both(folder):
            assert run_sync(pipeline, studio).exit_code == 0
            assert_equal_to(pipeline, studio)
