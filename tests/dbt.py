"""dbt, as the tests run it: in an environment of its own, because it does not get along with what this one has.

The environment is made by the first test that needs it, and again when `dbt.txt` has changed. One process in it has
imported dbt and forks for each command, so that a command ends without anything left open.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

REQUIREMENTS = Path(__file__).with_suffix(".txt")
FOLDER = Path(sys.prefix) / "dbt"


def environment() -> Path:
    """Python of the environment."""
    import duckdb

    # the same DuckDB, because both open the same files
    needed = f"{REQUIREMENTS.read_text()}duckdb=={duckdb.__version__}\n"
    made_of = FOLDER / "made_of.txt"
    with FOLDER.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made_of.exists() or made_of.read_text() != needed:
            shutil.rmtree(FOLDER, ignore_errors=True)
            subprocess.run([sys.executable, "-m", "venv", str(FOLDER)], check=True)
            requirements = FOLDER / "requirements.txt"
            requirements.write_text(needed)
            # most of what is installed is never imported
            pip = [str(FOLDER / "bin" / "python"), "-m", "pip", "--quiet", "--disable-pip-version-check"]
            done = subprocess.run(
                [*pip, "install", "--no-compile", "--requirement", str(requirements)], capture_output=True, text=True
            )
            assert done.returncode == 0, done.stderr[-2000:]
            requirements.rename(made_of)
    return FOLDER / "bin" / "python"


@dataclass(frozen=True)
class Done:
    """How a command of dbt ended: its exit code, what it printed, and what was found of each node, by its name."""

    code: int
    output: str
    nodes: dict[str, tuple[str, int]]

    @property
    def bad(self) -> dict[str, tuple[str, int]]:
        """The nodes that neither passed nor succeeded."""
        return {name: found for name, found in self.nodes.items() if found[0] not in ("pass", "success")}


class Dbt:
    """A process that runs commands of dbt, for as long as a `with` block lasts."""

    def __enter__(self) -> Dbt:
        self._process = subprocess.Popen(
            [environment(), __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=FOLDER
        )
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def __call__(self, project: Path, *arguments: str, **variables: str) -> Done:
        """Runs a command in the folder of a project."""
        assert self._process.stdin is not None and self._process.stdout is not None
        given = {"folder": str(project), "arguments": arguments, "variables": {**os.environ, **variables}}
        print(json.dumps(given), file=self._process.stdin, flush=True)
        code, output = json.loads(self._process.stdout.readline())
        nodes: dict[str, tuple[str, int]] = {}
        results = project / "target" / ("sources.json" if arguments[0] == "source" else "run_results.json")
        if results.exists():
            for result in json.loads(results.read_text())["results"]:
                kind, _, name, *more = result["unique_id"].split(".")
                nodes[more[0] if kind == "source" else name] = (result["status"], result.get("failures") or 0)
            results.unlink()
        return Done(code, output, nodes)


def _serve() -> None:
    from dbt.cli.main import cli

    for line in sys.stdin:
        given: dict[str, Any] = json.loads(line)
        reading, writing = os.pipe()
        if not (child := os.fork()):
            os.dup2(writing, 1)
            os.dup2(writing, 2)
            os.environ.clear()
            os.environ.update(given["variables"], DBT_SEND_ANONYMOUS_USAGE_STATS="false")
            os.chdir(given["folder"])
            cli(["--no-use-colors", *given["arguments"]])
        os.close(writing)
        with os.fdopen(reading) as pipe:
            output = pipe.read()
        print(json.dumps([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), output]), flush=True)


if __name__ == "__main__":
    # `tests` has a module of the name dbt
    sys.path.pop(0)
    _serve()
