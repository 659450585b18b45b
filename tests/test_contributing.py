"""CONTRIBUTING.md leads where it says: its commands run, its example passes, and it names every module there is."""

from __future__ import annotations

import importlib.util
import re
import shlex
import shutil
import subprocess
import sys

from tests.docs import ROOT, blocks

PAGE = ROOT / "CONTRIBUTING.md"
TEXT = PAGE.read_text()


def test_every_module_is_named_and_everything_named_is_there():
    table = TEXT.split("## How an item travels")[1].split("\n## ")[0]
    named = set(re.findall(r"`(\w+(?:\.py|/))`", table.split("|---|---|")[1]))
    modules = {path.name for path in (ROOT / "coreviz_source").glob("[!_]*.py")}
    packages = {f"{path.parent.name}/" for path in (ROOT / "coreviz_source").glob("*/__init__.py")}
    assert named == modules | packages
    for path in re.findall(r"`((?:tests|docs|pipelines)/[\w./-]+)`", TEXT):
        assert (ROOT / path).exists(), path
    for path in re.findall(r"`((?:local_studio|views|cli)/\w+\.py)`", TEXT):
        assert (ROOT / "coreviz_source" / path).exists(), path


def test_every_command_that_it_gives_is_there():
    makefile = (ROOT / "Makefile").read_text()
    targets = re.findall(r"^make (\w+)|`make (\w+)", TEXT, re.MULTILINE)
    assert len(targets) > 8
    for target in targets:
        assert re.search(rf"^{''.join(target)}:", makefile, re.MULTILINE), target
    for module in re.findall(r"python -m (tests\.\w+)", TEXT):
        assert importlib.util.find_spec(module), module
    for name in ("DESTINATIONS", "CHILDREN", "ROWS_VERSION", "NAMES", "_ONLY_2026", "_media"):
        assert f"`{name}`" in TEXT
        assert any(name in path.read_text() for path in (ROOT / "coreviz_source").rglob("*.py")), name


def test_one_test_runs_alone_as_it_says():
    (line,) = [line for block in blocks(PAGE, "sh") for line in block.splitlines() if "::" in line]
    command = [sys.executable, *shlex.split(line)[1:], "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout


def test_its_example_of_a_test_passes(pipeline):
    (code,) = blocks(PAGE, "python")
    names: dict[str, object] = {}
    exec(code, names)
    names["test_a_deleted_media_item_is_removed"](pipeline)  # type: ignore[operator]


def test_following_its_steps_a_new_column_equals_the_truth(tmp_path):
    for name in ("coreviz_source", "tests", "docs", "pipelines"):
        shutil.copytree(
            ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "cassettes", "images")
        )
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, tmp_path)
    (declared,) = re.findall(r'`(_field\("rating".*\))`', TEXT)
    for path, before, after in (
        ("coreviz_source/tables.py", '        _field("version_number"', f"        {declared},\n"),
        (
            "coreviz_source/local_studio/generate.py",
            '            "versionNumber": 1',
            '            "rating": 4,\n',
        ),
        ("coreviz_source/local_studio/form.py", '"versionNumber", "thumb', '"rating", '),
        ("tests/truth.py", '    "versionNumber": ', '    "rating": ("rating", NUMBER),\n'),
    ):
        text = (tmp_path / path).read_text()
        assert text.count(before) == 1, (path, before)
        (tmp_path / path).write_text(text.replace(before, after + before))
    script = (
        "import dlt, sys; from tests.scenario import *; library = frozen(20)\n"
        "pipeline = dlt.pipeline('coreviz_test', destination=dlt.destinations.duckdb('library.duckdb'),"
        " dataset_name='coreviz', pipelines_dir='pipelines_dir')\n"
        "with Studio(library) as studio:\n"
        "    run_sync(pipeline, studio); assert_equal_to(pipeline, studio)\n"
        "with pipeline.sql_client() as c: print(c.execute_sql('SELECT DISTINCT rating FROM media'))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[(4,)]"
