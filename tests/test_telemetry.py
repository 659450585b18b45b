"""dlt's telemetry: nothing leaves the machine unless somebody chose that, and other pipelines are left as they are."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from coreviz_source.local_studio import Studio
from tests.scenario import frozen
from tests.test_cli import PROGRAM, environment


class Receiver(ThreadingHTTPServer):
    """Stands where dlt sends its events to, and keeps their names."""

    def __init__(self) -> None:
        self.events: list[str] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                sent = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                receiver.events.append(sent["event"])
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def run(arguments: list[str], studio: Studio, receiver: Receiver, **more: str) -> None:
    given = environment(studio, RUNTIME__DLTHUB_TELEMETRY_ENDPOINT=receiver.url, **more)
    if not more:
        del given["RUNTIME__DLTHUB_TELEMETRY"]
    root = str(Path(__file__).parents[1])
    done = subprocess.run(arguments, capture_output=True, text=True, env={**given, "PYTHONPATH": root})
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(("chosen", "sent"), [({}, set()), ({"RUNTIME__DLTHUB_TELEMETRY": "true"}, {"pipeline_run"})])
def test_the_command_sends_no_telemetry_unless_it_was_switched_on(receiver, chosen, sent):
    with Studio(frozen(12)) as studio:
        run([PROGRAM, "sync"], studio, receiver, **chosen)
    assert set(receiver.events) >= sent
    assert bool(receiver.events) is bool(sent)


def test_sync_sends_nothing_of_its_own_steps_and_other_pipelines_of_the_process_are_as_they_were(receiver):
    code = """
import threading, time
import dlt
from coreviz_source import sync

def other(name):
    dlt.pipeline(name, destination=dlt.destinations.duckdb(f"{name}.duckdb")).run([{"a": 1}], table_name="t")

def on_event(event):
    # in the middle of sync(), another thread runs a pipeline of its own
    if event.phase == "listed":
        thread = threading.Thread(target=other, args=("meanwhile",))
        thread.start()
        thread.join()

pipeline = dlt.pipeline("coreviz_library", destination=dlt.destinations.duckdb("library.duckdb"), dataset_name="c")
assert sync(pipeline, progress=on_event).exit_code == 0
other("afterwards")
"""
    with Studio(frozen(12)) as studio:
        run([sys.executable, "-c", code], studio, receiver)
    steps = ["pipeline_extract", "pipeline_load", "pipeline_normalize", "pipeline_run"]
    assert sorted(receiver.events) == sorted(2 * steps)
