"""What docs/operations.md tells people to do is done here, in its order, against a local Studio."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import duckdb
import pytest
import yaml

from coreviz_source.cli import EPILOG
from coreviz_source.errors import EXIT_CODES
from coreviz_source.local_studio import Studio
from coreviz_source.report import OUTCOMES
from coreviz_source.settings import SETTINGS, WAREHOUSE
from tests import forked
from tests.docs import ROOT, blocks
from tests.scenario import frozen, media_of
from tests.test_cli import command  # noqa: F401

PAGE = ROOT / "docs" / "operations.md"
TEXT = PAGE.read_text()
BIN = Path(sys.executable).parent
MISSING = "00000000-0000-4000-8000-000000000000"


@pytest.fixture
def hook():
    """A webhook: its address, and what was posted there."""
    posted = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            posted.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/", posted
        server.shutdown()


def shell(script: str, studio: Studio, **more: str) -> subprocess.CompletedProcess[str]:
    given = {"COREVIZ_API_KEY": studio.key, "SOURCES__COREVIZ__BASE_URL": studio.url}
    path = forked.path()
    return subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, env={**os.environ, **given, "PATH": path, **more}
    )


def test_every_command_of_the_page_does_what_it_says(command, hook):  # noqa: F811
    address, posted = hook
    library = frozen(30)
    (dataset,) = library.datasets
    names = {"$DATASET": dataset, "$MEDIA": media_of(library)[0]["id"]}
    with Studio(library) as studio:
        for block in blocks(PAGE, "sh"):
            lines = [shlex.split(line) for line in block.splitlines()]
            if all(line[0] == "coreviz-source" for line in lines):
                for _, *words in lines:
                    done = command(studio, *(names.get(word, word) for word in words))
                    assert done.exit_code == 0, (words, done.output)
            elif "ALERT_URL" in block:
                done = shell(block, studio, ALERT_URL=address, SOURCES__COREVIZ__DATASET_IDS=MISSING)
                assert done.returncode == 4, done.stderr
                assert posted.pop()["exit_code"] == 4
            else:
                done = shell(block, studio)
                assert done.returncode == 0, done.stderr
                assert "0 new, 0 changed, 0 deleted" in done.stdout
                shutil.move("moved.duckdb", "coreviz_library.duckdb")
    with duckdb.connect("coreviz_library.duckdb") as database:
        for statement in blocks(PAGE, "sql"):
            database.execute(statement).fetchall()


def test_the_slack_script_tells_what_went_wrong(hook):
    address, posted = hook
    Path("alert.py").write_text("\n".join(blocks(PAGE, "python")))
    with Studio(frozen(12)) as studio:
        given = {"RUNTIME__SLACK_INCOMING_HOOK": address, "SOURCES__COREVIZ__DATASET_IDS": MISSING}
        done = shell("python alert.py", studio, **given)
    assert done.returncode == 4, done.stderr
    assert posted[0]["text"].startswith("CoreViz sync, exit code 4:\n")
    assert MISSING in posted[0]["text"]


def test_the_line_for_cron_runs_and_leaves_plain_lines_with_little_memory_too():
    (bounds,) = (block for block in blocks(PAGE, "toml") if "memory_limit" in block)
    Path(".dlt").mkdir()
    Path(".dlt/secrets.toml").write_text(bounds)
    line, example = blocks(PAGE, "text")
    *times, todo = line.strip().split(" ", 5)
    assert all(re.fullmatch(r"\*(/\d+)?|\d+", field) for field in times)
    Path(".venv").mkdir()
    Path(".venv/bin").symlink_to(BIN)
    with Studio(frozen(12)) as studio:
        assert shell(todo.replace("/srv/coreviz", str(Path.cwd())), studio).returncode == 0
    log = Path("sync.log").read_text()
    assert ": begins\n" in log and " complete (the whole dataset): 18 items listed" in log and "\x1b" not in log
    # the lines of the page are of the form that they have
    start, begins, *ends = example.splitlines()
    shown = log.splitlines()
    assert _form(start, "/srv/coreviz") == _form(shown[0], str(Path.cwd()))
    assert {_form(line) for line in (begins, *ends)} == {_form(line) for line in shown[2:]}


def _form(line: str, place: str = "…") -> str:
    """A line of a log without what differs from run to run."""
    line = re.sub(r"(working directory) .*", r"\1 …", line.replace(place, "…"))
    return re.sub(r"[0-9a-f]{8}-[-0-9a-f…]+|\d+", "…", line)


def test_the_page_explains_each_outcome_in_the_words_of_the_log():
    explained = dict(re.findall(r"^\| (\w+) \| ([^|]+) \| [^|]+ \|$", TEXT, re.MULTILINE))
    assert set(OUTCOMES) <= set(explained)
    for outcome in ("complete", "window", "slice", "sample"):
        assert explained[outcome].startswith(OUTCOMES[outcome])


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd here")
def test_systemd_accepts_the_units():
    for name, unit in zip(("coreviz.service", "coreviz.timer"), blocks(PAGE, "ini"), strict=True):
        Path(name).write_text(unit.replace("/srv/coreviz/.venv/bin", str(BIN)))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "./coreviz.timer", "./coreviz.service"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "coreviz" not in done.stderr, done.stderr


def test_the_workflow_is_one_and_its_variables_are_ours():
    (text,) = blocks(PAGE, "yaml")
    workflow = yaml.safe_load(text)
    # YAML 1.1 reads `on` as true
    assert len(workflow[True]["schedule"][0]["cron"].split()) == 5
    assert workflow["concurrency"] == {"group": "coreviz", "cancel-in-progress": False}
    install, run = workflow["jobs"]["sync"]["steps"][-2:]
    assert install["run"] == "pip install 'coreviz-source[postgres]'"
    assert run["run"] == "coreviz-source sync"
    ours = {setting.variable for setting in (*SETTINGS, *WAREHOUSE)}
    assert set(run["env"]) - ours == {"DESTINATION__POSTGRES__CREDENTIALS"}


def test_the_page_says_who_has_to_act_on_every_exit_code():
    codes = {int(code) for cell in re.findall(r"^\| ([\d, ]+) \|", TEXT, re.MULTILINE) for code in cell.split(",")}
    assert codes == {0, 130, 143, *EXIT_CODES}
    assert f"the first of {', '.join(map(str, EXIT_CODES))}" in TEXT


def test_an_exit_code_means_the_same_in_the_readme_in_help_and_in_the_code():
    readme = (ROOT / "README.md").read_text()
    for code, meaning in {0: "done", **EXIT_CODES}.items():
        assert re.search(rf"\b{code} {meaning}\b", readme), meaning
        assert re.search(rf"\b{code}  {meaning}\b", EPILOG), meaning
