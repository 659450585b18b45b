"""What the documents say is what happens: commands, Python, SQL and tables are run and compared."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import duckdb
import pytest

from coreviz_source.cli import main as command
from coreviz_source.commands.schema import markdown, mermaid, text
from coreviz_source.local_studio import Studio
from coreviz_source.tables import TABLES
from coreviz_source.warehouse.views import views
from tests import forked
from tests.docs import BY_WAREHOUSE, QUESTIONS, ROOT, TOOLS, blocks, filled
from tests.scenario import frozen

README = (ROOT / "README.md").read_text()
PROGRAM = str(Path(sys.executable).parent / "coreviz-source")


def shell(command_line: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command_line,
        shell=True,
        capture_output=True,
        text=True,
        env={
            **os.environ,
            "COLUMNS": "120",
            "PATH": forked.path(),
            **environment,
        },
    )


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    directory = tmp_path_factory.mktemp("demo")
    done = subprocess.run([PROGRAM, "demo"], cwd=directory, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return directory, done.stdout


def test_the_demo_loads_and_shows_the_rows_and_the_next_steps(demo):
    _, said = demo
    for expected in ("Second load: 1 media item changed (", "captions", "red shoe", "COREVIZ_API_KEY", "stand-in"):
        assert expected in said


def test_the_readme_is_short_and_its_question_has_the_answer_of_the_demo(demo):
    directory, _ = demo
    with duckdb.connect(str(directory / "coreviz_demo.duckdb"), read_only=True) as database:
        assert filled(README, database) == README
    assert len(blocks(ROOT / "README.md", "sql")) == 1
    assert len(README.splitlines()) <= 120


def test_the_readmes_own_question_is_answered_by_the_demo(demo, monkeypatch):
    directory, _ = demo
    monkeypatch.chdir(directory)
    (line,) = re.findall(r"^uvx (coreviz-source search .*)$", README, re.MULTILINE)
    done = shell(line)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("red shoe") > 2


def test_the_page_on_python_runs_on_the_demo(demo):
    directory, _ = demo
    examples = blocks(ROOT / "docs" / "python.md", "python")
    assert len(examples) == 2
    for example in examples:
        done = subprocess.run([sys.executable, "-c", example], cwd=directory, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.strip()


def test_the_questions_of_the_sql_page_have_the_answers_of_the_demo(demo):
    directory, _ = demo
    with duckdb.connect(str(directory / "coreviz_demo.duckdb"), read_only=True) as database:
        for page in (QUESTIONS, TOOLS, *BY_WAREHOUSE):
            assert filled(page.read_text(), database) == page.read_text()


def test_the_readmes_commands_work_against_a_studio():
    library = frozen(20)
    (dataset,) = library.datasets
    lines = [line for block in blocks(ROOT / "README.md", "sh") for line in block.splitlines()]
    with Studio(library) as studio:
        for line in lines:
            line = line.replace("ID,…", dataset)
            if line.startswith("coreviz-source"):
                done = shell(line, COREVIZ_API_KEY=studio.key, SOURCES__COREVIZ__BASE_URL=studio.url)
                assert done.returncode == 0, done.stderr
    assert sum(line.startswith("coreviz-source") for line in lines) == 3
    assert Path("coreviz_library.duckdb").exists()


def test_the_readmes_python_works_against_a_studio():
    Path("readme.py").write_text("\n".join(blocks(ROOT / "README.md", "python")))
    with Studio(frozen(20)) as studio:
        done = shell("python readme.py", COREVIZ_API_KEY=studio.key, SOURCES__COREVIZ__BASE_URL=studio.url)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("; exit code 0 (done)\n") and "Spring Catalogue  window" in done.stdout
    assert done.stderr == ""


def test_the_readme_names_the_goals_that_the_benchmark_missed():
    results = (ROOT / "benchmarks" / "RESULTS.md").read_text().partition("## Goals")[2].partition("\n## ")[0]
    goals = [line.split(" | ") for line in results.splitlines() if line.endswith(("| yes |", "| **no** |"))]
    missed = [goal for goal in goals if goal[-1] == "**no** |"]
    assert f"{len(missed)} of {len(goals)} goals are missed" in README
    first_loads = [goal[3] for goal in missed if goal[0] == "| First load into DuckDB"]
    assert all(ratio in README for ratio in first_loads[:2])


def test_the_pipeline_script_runs_nothing_on_import_and_loads_when_run():
    shutil.copy(ROOT / "pipelines" / "coreviz_pipeline.py", ".")
    done = shell("python -c 'import coreviz_pipeline'")
    assert (done.returncode, done.stdout) == (0, "")
    with Studio(frozen(20)) as studio:
        done = shell("python coreviz_pipeline.py", COREVIZ_API_KEY=studio.key, SOURCES__COREVIZ__BASE_URL=studio.url)
    assert done.returncode == 0, done.stderr
    assert "complete, 26 new" in done.stdout


def test_the_tables_page_and_the_diagram_are_those_of_the_code():
    assert (ROOT / "docs" / "tables.md").read_text() == markdown()
    # the picture keeps what it was drawn from
    drawn = ElementTree.parse(ROOT / "docs" / "images" / "tables.svg").findtext("{http://www.w3.org/2000/svg}desc")
    assert drawn == mermaid()
    assert "](docs/images/tables.svg)" in README
    for table in TABLES:
        assert f"{table.name}: {table.description}" in text()
        assert all(column.description.endswith(".") for column in table.columns)
    for view in views():
        assert f"{view.name} (view): {view.description}" in text()


@pytest.mark.parametrize("name", sorted(command.commands))
def test_every_command_explains_itself(name):
    done = shell(f"coreviz-source {name} --help")
    assert done.returncode == 0
    assert len(done.stdout) > 100


def test_the_example_of_the_secrets_works_when_it_is_filled_in():
    example = (ROOT / ".dlt" / "secrets.toml.example").read_text()
    Path(".dlt").mkdir()
    library = frozen(20)
    with Studio(library, api_key="from-the-file") as studio:
        Path(".dlt/secrets.toml").write_text(example.replace('api_key = ""', 'api_key = "from-the-file"'))
        Path(".dlt/config.toml").write_text(
            (ROOT / ".dlt" / "config.toml")
            .read_text()
            .replace('# base_url = "https://lab.coreviz.io"', f'base_url = "{studio.url}"')
            .replace(
                '# dataset_ids = ["ecf33096-0d69-410b-a8cc-856caa3fba6c"]', f"dataset_ids = {list(library.datasets)}"
            )
        )
        done = shell("coreviz-source sync")
    assert done.returncode == 0, done.stderr
    assert "26 new" in done.stdout
    assert "from-the-file" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ("check --dataset-ids {dataset}", 0, "26 media and folders"),
        ("check", 0, "has 1 organization and 1 dataset"),
        ("check --dataset-ids 00000000-0000-4000-8000-000000000000", 4, "Dataset not found"),
        ("sync --dataset-ids 00000000-0000-4000-8000-000000000000", 4, "00000000-0000-4000-8000-000000000000"),
        ("check --api-key wrong", 3, "sources.coreviz.api_key"),
        ("sync --lookback soon", 2, "lookback"),
        ("sync --json", 0, '"exit_code": 0'),
        ("sync --json --no-views", 0, '"warnings": []'),
        ("sync --no-such-option", 2, "No such option"),
        ("schema --format mermaid", 0, "erDiagram"),
    ],
)
def test_commands_end_with_the_code_and_the_message_of_what_happened(line, code, said):
    library = frozen(20)
    (dataset,) = library.datasets
    with Studio(library) as studio:
        done = shell(
            f"coreviz-source {line.format(dataset=dataset)}",
            COREVIZ_API_KEY=studio.key,
            SOURCES__COREVIZ__BASE_URL=studio.url,
        )
    assert done.returncode == code, done.stderr
    assert said in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
