"""`coreviz-source notebook` writes a notebook once, which shows what is in the warehouse, and asks nobody outside."""

from __future__ import annotations

import json
import os
import re
import runpy
import socket
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import dlt
import duckdb
import pytest
from click.testing import CliRunner, Result

from coreviz_source.cli import main
from coreviz_source.commands import notebook
from coreviz_source.commands.notebook import write_notebook
from coreviz_source.errors import DestinationError
from tests.browser import browser, missing
from tests.test_dashboard import MEDIA, SCRIPT, captions, load_demo


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any, str]:
    directory = tmp_path_factory.mktemp("notebook")
    return directory, *load_demo(directory)


@pytest.fixture
def marimo(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What marimo was started with, instead of starting it; pictures are served meanwhile."""
    started: list[Any] = []

    class Process:
        def __init__(self, command: list[str], env: dict[str, str]) -> None:
            started.append((command, env))

        def wait(self) -> int:
            with duckdb.connect("coreviz_demo.duckdb", read_only=True) as database:
                sql = "SELECT blob FROM coreviz.frames WHERE blob LIKE 'http%' LIMIT 1"
                ((address,),) = database.execute(sql).fetchall()
            with urllib.request.urlopen(address) as response:
                assert response.headers["Content-Type"] == "image/svg+xml"
            return 0

    monkeypatch.setattr(notebook.subprocess, "Popen", Process)
    return started


def command(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["notebook", *arguments])


def test_it_runs_as_a_script_and_shows_pictures_beside_captions(demo, marimo, monkeypatch):
    directory, library, hostile = demo
    monkeypatch.chdir(directory)
    assert command("--demo", "--no-browser", "--port", "2999").exit_code == 0
    ((started, environment),) = marimo
    assert started[1:3] == ["-m", "marimo"] and {"--headless", "--skip-update-check", "2999"} <= set(started)
    assert started[started.index("--host") + 1] == "127.0.0.1" and environment["MARIMO_RESTRICT_SHARING"] == "true"
    outputs, defined = runpy.run_path("coreviz_notebook.py")["app"].run()
    _, _, counts, _, _, gallery, chart, table = outputs
    listed = [item for dataset in library.datasets for item in library.listing(dataset) if item["type"] != "folder"]
    frames = [frame for item in listed for frame in item["frames"]]
    expected = (len(library.datasets), MEDIA, len(frames), sum(len(f["captions"]) for f in frames))
    said = re.findall("data-value='&quot;(.*?)&quot;'", counts.text)
    assert said == [*map(str, expected), str(sum(len(frame["objects"]) for frame in frames))]
    shown = defined["shown"]
    assert len(shown) == 9 and shown[0]["media_id"] == hostile
    # whatever the texts in the warehouse are, they are no HTML
    assert "<script" not in gallery.text and "data:text" not in gallery.text and "javascript:" not in gallery.text
    addresses = re.findall('<img src="(.*?)"', gallery.text)
    assert addresses == [row["frame_blob"] for row in shown if row["media_id"] != hostile]
    texts = re.findall("<div>(.*?)</div>", gallery.text)
    assert texts[-1] == shown[-1]["caption"] and len(texts) == 9
    (bars,) = chart.to_dict()["datasets"].values()
    with duckdb.connect("coreviz_demo.duckdb", read_only=True) as database:
        sql = "SELECT tag_group, tag, SUM(media) FROM coreviz.tag_usage GROUP BY ALL"
        tags = {(group, tag): media for group, tag, media in database.execute(sql).fetchall()}
    assert {(bar["tag_group"], bar["tag"]): bar["media"] for bar in bars} == tags
    models = Counter(c["model"] for item in listed if item["id"] != hostile for c in captions(item))
    assert dict(zip(*table.select(["model", "captions"]).to_pydict().values(), strict=True)) == {
        **models,
        SCRIPT: sum(len(captions(item)) for item in listed if item["id"] == hostile),
    }

    # nobody's work is overwritten, and nothing runs by itself in a file that is no longer ours
    Path("coreviz_notebook.py").write_text(Path("coreviz_notebook.py").read_text() + "# mine\n")
    assert command("--demo").exit_code == 0
    assert Path("coreviz_notebook.py").read_text().endswith("# mine\n")
    first, second = ({k for k in given if "AUTO" in k} - {k for k in os.environ if "AUTO" in k} for _, given in marimo)
    assert first and not second

    # a notebook without pictures is better than none
    monkeypatch.setattr(notebook.subprocess, "Popen", lambda command, env: SimpleNamespace(wait=lambda: 0))
    with socket.create_server(("127.0.0.1", urlsplit(addresses[0]).port)):
        without = command("--demo")
    assert without.exit_code == 0 and "coreviz-source demo" in without.stderr


def test_it_opens_the_warehouse_that_the_command_names_or_says_what_is_wrong(demo, marimo, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    empty = command()
    assert (empty.exit_code, "coreviz-source sync" in empty.stderr) == (7, True)
    for name, text in (("mine.py", "print('mine')"), ("notes.txt", "")):
        Path(name).write_text(text)
        assert command("--output", name).exit_code == 2
        assert Path(name).read_text() == text
    monkeypatch.setitem(sys.modules, "marimo", None)
    said = command("--demo")
    assert said.exit_code == 2 and said.stderr.strip().endswith("[notebook]'")
    assert sorted(os.listdir()) == ["mine.py", "notes.txt"] and not marimo

    monkeypatch.setattr(notebook, "open_library", lambda pipeline: SimpleNamespace(tables=["caption_search"]))
    pipeline = dlt.pipeline("coreviz_library", destination="duckdb", dataset_name="coreviz")
    with pytest.raises(DestinationError, match="views that do not exist: tag_usage"):
        write_notebook(pipeline, Path("new.py"))
    monkeypatch.setattr(notebook, "_VIEWS", set())
    file = demo[0] / "coreviz_demo.duckdb"
    for pipeline, call in (
        (dlt.pipeline("coreviz_library", destination="duckdb", dataset_name="coreviz"), "cv.open_library()"),
        (
            dlt.pipeline("x", destination=dlt.destinations.duckdb(str(file)), dataset_name="coreviz"),
            f'cv.open_library("{file}", dataset_name="coreviz")',
        ),
        (
            dlt.pipeline("coreviz_library", destination="postgres", dataset_name="other"),
            'cv.open_library(destination="postgres", dataset_name="other")',
        ),
    ):
        written = Path(f"{pipeline.pipeline_name}_{pipeline.dataset_name}.py")
        assert write_notebook(pipeline, written)
        assert f"    library = {call}\n" in written.read_text()


def test_it_is_seen_in_a_browser_and_asks_nobody_outside(demo, tmp_path):
    if (reason := missing()) is not None:
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    directory, _, _ = demo
    line = ["notebook", "--demo", "--no-browser", "--output", "seen.py"]
    environment = {**os.environ, "HOME": str(tmp_path), "COREVIZ_API_KEY": "a-key-that-is-secret", "NO_COLOR": "1"}
    log = tmp_path / "log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            [sys.executable, "-m", "coreviz_source", *line],
            cwd=directory,
            env=environment,
            stdout=output,
            stderr=output,
        )
    try:
        with browser() as page:
            until = time.monotonic() + 60
            while not (found := re.search(r"http://\S+access_token=\S+", log.read_text())):
                assert server.poll() is None and time.monotonic() < until, log.read_text()
                time.sleep(0.1)
            page.open(found[0])
            page.until("document.body.innerText.includes('last_caption')", 60)
            page.size(1400, 3000)
            page.until("document.images.length && [...document.images].every((i) => i.naturalWidth > 0)")
            assert "a-key-that-is-secret" not in json.dumps(page.js("return document.documentElement.outerHTML"))
            assert page.js("return window.hacked") is None
            page.watched()
            assert page.requests and not page.strangers() and not page.problems
    finally:
        server.terminate()
        server.wait(20)
    assert "Traceback" not in log.read_text()
