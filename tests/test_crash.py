"""Killed at any moment, with the working directory or without it, the next complete run ends equal to the truth."""

from __future__ import annotations

import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import dlt
import pytest

from coreviz_source.local_studio import Studio
from tests.scenario import assert_equal_to, frozen, media_of, run, run_sync
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
    elif moment == "checkpoint":
        import coreviz_source.mirror, coreviz_source.runner
        coreviz_source.mirror.BATCH, coreviz_source.runner.HELD, coreviz_source.runner.CHECKPOINT = 10, 20, 40
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
    if moment == "checkpoint":
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


def killed(studio: Studio, tmp_path: Path, moment: str, count: int) -> None:
    script = tmp_path / "killed.py"
    script.write_text(SCRIPT)
    (dataset,) = studio.library.datasets
    done = subprocess.run(
        [
            *(sys.executable, str(script), studio.url, str(tmp_path / "library.duckdb"), str(tmp_path / "pipelines")),
            *(dataset, moment, str(count)),
        ],
        env={"PYTHONPATH": str(Path(__file__).parents[1]), "HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == -9, done.stderr[-2000:]


@pytest.mark.parametrize("lost", [False, True], ids=["directory kept", "directory lost"])
@pytest.mark.parametrize(("moment", "count"), MOMENTS)
def test_a_killed_run_is_repaired_by_the_next(new_pipeline, tmp_path, moment, count, lost):
    library = frozen(100)
    (dataset,) = library.datasets
    with Studio(library) as studio:
        run(new_pipeline(), studio)
        for item in media_of(library)[10:40:3]:
            library.delete(item["id"])
        for item in media_of(library, frames=1)[::4]:
            item["frames"][0]["captions"].clear()
            item["frames"][0]["objects"].append({"id": item["frames"][0]["id"][:-2] + "ff", "label": "late"})
            library.touched(item["id"])
        for _ in range(5):
            library.add_media(dataset, "video", processing=False)
        killed(studio, tmp_path, moment, count)
        if lost:
            shutil.rmtree(tmp_path / "pipelines")
        report = run_sync(new_pipeline(), studio, reconcile_every="0")
        assert report.exit_code == 0, report.to_json()
        assert_equal_to(new_pipeline(), studio)


@pytest.mark.parametrize("count", [0, 2, 5])
def test_a_killed_run_whose_change_was_taken_back_meanwhile_is_repaired(new_pipeline, tmp_path, count):
    library = frozen(60)
    with Studio(library) as studio:
        run(new_pipeline(), studio)
        added = {i["id"]: library.add_caption(i["id"], "Only for a while.") for i in media_of(library, frames=1)}
        killed(studio, tmp_path, "between merges", count)
        for media, caption in added.items():
            with library.changing(media) as item:
                frame = item["frames"][-1]
                frame["captions"] = [c for c in frame["captions"] if c["id"] != caption]
        shutil.rmtree(tmp_path / "pipelines")
        assert run_sync(new_pipeline(), studio, reconcile_every="0").exit_code == 0
        assert_equal_to(new_pipeline(), studio)


@pytest.mark.parametrize("lost", [False, True], ids=["directory kept", "directory lost"])
def test_a_killed_first_load_continues_after_its_last_checkpoint(new_pipeline, tmp_path, lost):
    library = frozen(200)
    (dataset,) = library.datasets
    with Studio(library) as studio:
        killed(studio, tmp_path, "checkpoint", 2)
        before = load_ids(new_pipeline())["media"]
        assert before.total() == 80
        if lost:
            shutil.rmtree(tmp_path / "pipelines")
        report = run_sync(new_pipeline(), studio)
        assert report.exit_code == 0
        assert_equal_to(new_pipeline(), studio)
        assert before <= load_ids(new_pipeline())["media"]
        # what the killed process had extracted is loaded first, if its directory is still there
        assert report.datasets[dataset].rows["media"] == (120 if lost else 80)


@pytest.mark.parametrize("moment", ["before an append", "after an append"])
@pytest.mark.parametrize("lost", [False, True], ids=["directory kept", "directory lost"])
def test_a_first_load_killed_between_two_tables_has_no_duplicates_afterwards(new_pipeline, tmp_path, moment, lost):
    library = frozen(60)
    with Studio(library) as studio:
        killed(studio, tmp_path, moment, 3)
        if lost:
            shutil.rmtree(tmp_path / "pipelines")
        pipeline: dlt.Pipeline = new_pipeline()
        assert run_sync(pipeline, studio).exit_code == 0
        assert_equal_to(pipeline, studio)
