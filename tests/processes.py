"""Processes that run on command, to act as two machines, or two schedules, at the same time."""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import Any

#: Runs what it reads, a line a task, and says what happens, a line an event.
WORKER = textwrap.dedent(
    """
    import json, logging, sys
    import dlt
    import coreviz_source.warehouse.locks
    from coreviz_source import coreviz, sync
    from tests import faster

    class Said(logging.Handler):
        def emit(self, record):
            say("log", record.getMessage())

    def say(event, value):
        print(json.dumps([event, value]), flush=True)

    faster.remember()
    logging.getLogger("coreviz_source").addHandler(Said(level=logging.WARNING))
    say("ready", None)
    for line in sys.stdin:
        task = json.loads(line)
        coreviz_source.warehouse.locks.PATIENCE = task["patience"]
        destination = getattr(dlt.destinations, task["destination"])(task["warehouse"])
        pipeline = dlt.pipeline(
            "coreviz_test", destination=destination, dataset_name="coreviz", pipelines_dir=task["directory"]
        )
        say("begun", None)
        if task["how"] == "sync":
            say("done", sync(pipeline, **task["arguments"]).to_dict())
        else:
            try:
                pipeline.run(coreviz(**task["arguments"]))
                say("done", {"exit_code": 0})
            except Exception as error:
                say("done", {"exit_code": None, "errors": [str(error)]})
    """
)


class Worker:
    """A process that stays, because importing dlt takes longer than most runs of the tests."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self._process = subprocess.Popen(
            [sys.executable, "-c", WORKER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=directory,
            env={
                "PYTHONPATH": str(Path(__file__).parents[1]),
                "HOME": str(directory),
                "PATH": "/usr/bin:/bin",
                "RUNTIME__DLTHUB_TELEMETRY": "false",
            },
            text=True,
        )
        self.pid = self._process.pid
        self._events: queue.Queue[tuple[str, Any]] = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()
        self.until("ready")

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("["):
                self._events.put(tuple(json.loads(line)))

    def start(
        self,
        destination: str,
        warehouse: object,
        directory: Path,
        arguments: dict[str, Any],
        how: str,
        patience: float = 60,
    ) -> None:
        """Begins a run: `how` is sync, or run for a plain `pipeline.run`."""
        task = {
            "destination": destination,
            "warehouse": warehouse,
            "directory": str(directory),
            "arguments": arguments,
            "how": how,
            "patience": patience,
        }
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(task) + "\n")
        self._process.stdin.flush()
        self.until("begun")

    def until(self, event: str, holding: str = "") -> Any:
        """What the process says with its next event of this kind that contains a string."""
        while True:
            kind, value = self._events.get(timeout=60)
            if kind == event and holding in str(value):
                return value
            assert kind != "done", f"done instead of {event}: {value}"

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        if self._process.poll() is None:
            self.kill()
