"""Measures whole processes beside each other on one local Studio: `make bench`.

Writes `RESULTS.md`, `results.json` and the plots `benchmark.png` and `latency.png` in `docs/images`. A figure means
something only beside the others of the same run: every round runs each program once, one after the other, and the
medians are compared.

This process stays small on purpose: Linux counts the parent's peak memory into that of the program it starts.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from benchmarks.environments import NotInstalled, environment  # noqa: E402
from benchmarks.peers import PEERS, Command, Peer, script  # noqa: E402
from benchmarks.report import GOAL_SIZE, report  # noqa: E402
from tests.postgres import Postgres  # noqa: E402

PYTHON = sys.executable
TABLES = ("media", "frames", "captions", "objects", "media_tags", "moderation_categories")
#: Seconds that the server waits before each response, in the second picture.
LATENCIES = (0.0, 0.05, 0.1, 0.4)
#: How many media items change before a run that is measured.
CHANGED = 20
#: The size that is measured only on request.
MILLION = 1_000_000


@dataclass
class Run:
    """One run of one program: seconds, seconds of CPU, and the peak memory of all its processes in MB."""

    seconds: float
    cpu: float
    memory: float
    output: str = field(default="", repr=False)


@dataclass
class Program:
    """All runs of a program over a library of one size, and the rows that it left, by table."""

    runs: list[Run] = field(default_factory=list)
    rows: dict[str, int] = field(default_factory=dict)

    def described(self) -> dict[str, Any]:
        return {
            "rounds": len(self.runs),
            "rows": self.rows,
            **{
                name: {
                    "median": statistics.median(getattr(run, name) for run in self.runs),
                    "all": [round(getattr(run, name), 3) for run in self.runs],
                }
                for name in ("seconds", "cpu", "memory")
            },
        }


class Failed(Exception):
    """A program did not end well."""


def measured(pipe: Sequence[Command], directory: Path) -> Run:
    """Runs commands, each reading what the one before prints, in a directory of their own settings."""
    surroundings = {
        **{name: value for name, value in os.environ.items() if "COREVIZ" not in name},
        "RUNTIME__DLTHUB_TELEMETRY": "false",
        "DLT_DATA_DIR": str(directory / "dlt"),
        "AIRBYTE_OFFLINE_MODE": "1",
        "AIRBYTE_TEMP_DIR": str(directory),
        "AIRBYTE_LOGGING_ROOT": str(directory / "logs"),
        "TMPDIR": str(directory),
    }
    output, errors = directory / "output", directory / "errors"
    processes: list[subprocess.Popen[bytes]] = []
    with output.open("wb") as out, errors.open("wb") as err:
        began = time.perf_counter()
        for command in pipe:
            last = len(processes) == len(pipe) - 1
            before = processes[-1].stdout if processes else subprocess.DEVNULL
            processes.append(
                subprocess.Popen(
                    command,
                    stdin=before,
                    stdout=out if last else subprocess.PIPE,
                    stderr=err,
                    cwd=directory,
                    env=surroundings,
                )
            )
            if len(processes) > 1 and processes[-2].stdout:
                processes[-2].stdout.close()
        ended = [os.wait4(process.pid, 0) for process in processes]
        seconds = time.perf_counter() - began
    for process, (_, status, _) in zip(processes, ended, strict=True):
        process.returncode = os.waitstatus_to_exitcode(status)
        if status:
            raise Failed(f"{process.args} failed:\n{errors.read_text()[-3000:]}\n{output.read_text()[-1000:]}")
    used = [usage for *_, usage in ended]
    return Run(
        seconds,
        sum(usage.ru_utime + usage.ru_stime for usage in used),
        sum(usage.ru_maxrss for usage in used) / 1024,
        output.read_text(),
    )


class Server:
    """The benchmarks' library, served in a process of its own."""

    def __init__(self, sizes: Iterable[int]) -> None:
        command = script("library.py", *sorted(sizes))
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        answer = self._process.stdout.readline()
        if not answer:
            sys.exit("The library is not served.")
        self._told = json.loads(answer)

    def address(self, size: int) -> tuple[str, str, str]:
        return self._told["url"], self._told["key"], self._told["sizes"][str(size)]["dataset"]

    def holds(self, size: int) -> dict[str, int]:
        return {name: count for name, count in self._told["sizes"][str(size)].items() if name != "dataset"}

    def answer_after(self, seconds: float) -> None:
        """Waits so long before each response from now on."""
        self._order(str(seconds))

    def change(self, count: int) -> None:
        """Changes the newest media items of each library."""
        self._order(f"change {count}")

    def _order(self, order: str) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(order, file=self._process.stdin, flush=True)
        if self._process.stdout.readline() != "done\n":
            sys.exit(f"The library did not do this: {order}")

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


class Bench:
    """Runs the programs and keeps what was measured, by size of the library and name of the program."""

    def __init__(self, server: Server, peers: list[Peer]) -> None:
        self.server = server
        self.peers = peers
        self.missing: list[str] = []
        self.found: dict[int, dict[str, Program]] = {}

    def note(self, size: int, name: str, run: Run) -> Program:
        program = self.found.setdefault(size, {}).setdefault(name, Program())
        program.runs.append(run)
        print(
            f"{size:>7} media  {name:<40} {run.seconds:7.2f} s  {run.cpu:7.2f} s CPU  {run.memory:6.0f} MB", flush=True
        )
        return program

    def landed(self, program: Program, where: object, schema: str, tables: Sequence[str]) -> None:
        """Counts what is in the warehouse."""
        counted = subprocess.run(
            script("landed.py", where, schema, *tables), capture_output=True, text=True, check=True
        )
        program.rows = dict(zip(TABLES, json.loads(counted.stdout), strict=False))

    def complete(self, size: int, program: Program, where: object, schema: str) -> None:
        """Makes sure that one of ours left every row: what is fast and wrong is not measured."""
        self.landed(program, where, schema, TABLES)
        holds = {name: count for name, count in self.server.holds(size).items() if name in TABLES}
        if program.rows != holds:
            sys.exit(f"{where} holds {program.rows}, the library {holds}")

    def floor(self, size: int) -> None:
        with temporary() as directory:
            run = measured([script("floor.py", *self.server.address(size), directory)], directory)
            self.landed(self.note(size, "floor", run), directory / "floor.duckdb", "main", TABLES[:5])

    def sync(self, size: int, directory: Path, name: str = "first load", **arguments: object) -> None:
        ours = script("ours.py", *self.server.address(size), directory, json.dumps(arguments))
        program = self.note(size, name, measured([ours], directory))
        self.complete(size, program, directory / "ours.duckdb", "coreviz")

    def sync_postgres(self, size: int, directory: Path, url: str, name: str, **arguments: object) -> None:
        ours = script("ours.py", *self.server.address(size), directory, json.dumps(arguments), url)
        program = self.note(size, f"Postgres: {name}", measured([ours], directory))
        self.complete(size, program, url, "coreviz")

    def sync_ducklake(self, size: int, directory: Path, name: str, **arguments: object) -> None:
        ours = script("ours.py", *self.server.address(size), directory, json.dumps(arguments), "ducklake")
        program = self.note(size, f"DuckLake: {name}", measured([ours], directory))
        self.complete(size, program, f"ducklake:sqlite:{directory}/ours.sqlite", "coreviz")

    def round(self, size: int) -> None:
        """All but the peers, each once."""
        address = self.server.address(size)
        self.floor(size)
        with temporary() as directory:
            run = measured([script("floor_dlt.py", *address, directory)], directory)
            self.landed(self.note(size, "floor, dlt", run), directory / "floor.duckdb", "library", TABLES[:5])
        with temporary() as directory:
            self.sync(size, directory)
            self.note(size, "imports", measured([script("imports.py")], directory))
            self.sync(size, directory, "ordinary run, unchanged")
            self.sync(size, directory, "complete listing, unchanged", reconcile_every="0")
            self.changes(size, directory)
            self._resident(size, directory)
            self.sync(size, directory, "resync", resync=True)
            self._postgres(size, directory)
            self.note(size, "help", measured([[str(Path(PYTHON).with_name("coreviz-source")), "--help"]], directory))
            self.note(size, "check", measured([script("check.py", *address, directory)], directory))
        with temporary() as directory:
            program = self.note(size, "plain run", measured([script("plain.py", *address, directory)], directory))
            self.complete(size, program, directory / "ours.duckdb", "coreviz")
        if find_spec("duckdb_extension_ducklake"):
            with temporary() as directory:
                self.sync_ducklake(size, directory, "first load")
                self.sync_ducklake(size, directory, "ordinary run, unchanged")
                self.sync_ducklake(size, directory, "complete listing, unchanged", reconcile_every="0")
        self.server.answer_after(0.1)
        with temporary() as directory:
            self.sync(size, directory, "first load, 100 ms")
        self.server.answer_after(0)

    def changes(self, size: int, directory: Path, postgres: str = "", times: int = 1) -> None:
        """Runs that find changed media items."""
        for _ in range(times):
            self.server.change(CHANGED)
            if postgres:
                self.sync_postgres(size, directory, postgres, "changes")
            else:
                self.sync(size, directory, "changes")

    def _resident(self, size: int, directory: Path) -> None:
        run = measured([script("resident.py", *self.server.address(size), directory)], directory)
        for kind, cycles in json.loads(run.output.splitlines()[-1]).items():
            for seconds, cpu in cycles:
                self.note(size, f"resident, {kind}", Run(seconds, cpu, run.memory))

    def _postgres(self, size: int, loaded: Path) -> None:
        address = self.server.address(size)
        with Postgres() as postgres, temporary() as directory:
            self.sync_postgres(size, directory, postgres.url, "first load")
            self.changes(size, directory, postgres.url)
            self.sync_postgres(size, directory, postgres.url, "resync", resync=True)
            run = measured([script("floor.py", *address, directory, postgres.url)], directory)
            self.note(size, "Postgres: floor", run)
            run = measured([script("copy_rows.py", loaded / "ours.duckdb", postgres.url)], directory)
            run.seconds = float(run.output)
            self.note(size, "Postgres: COPY", run)

    def latency(self, size: int, peers: bool) -> dict[str, dict[str, float]]:
        """The seconds of a first load by each program, by the seconds that the server waits."""
        found: dict[str, dict[str, float]] = {}
        for seconds in LATENCIES:
            self.server.answer_after(seconds)
            apart = Bench(self.server, self.peers)
            with temporary() as directory:
                apart.sync(size, directory)
            if peers:
                apart.run_peers(size)
            found[f"{seconds:g}"] = {name: one.runs[0].seconds for name, one in apart.found[size].items()}
        self.server.answer_after(0)
        return found

    def give_up(self, peer: Peer, error: Exception) -> None:
        """A peer that cannot be installed or run gets no figure, and the results name it."""
        print(f"{peer.name} cannot be measured:\n{error}", file=sys.stderr)
        self.peers.remove(peer)
        self.missing.append(peer.name)

    def run_peers(self, size: int) -> None:
        for peer in list(self.peers):
            with temporary() as directory:
                file = directory / "peer.duckdb"
                try:
                    peer.install()
                    run = measured(peer.commands(self.server.address(size), directory, file), directory)
                except (NotInstalled, Failed) as error:
                    self.give_up(peer, error)
                else:
                    self.landed(self.note(size, peer.name, run), file, "library", peer.tables)

    def scale(self, size: int, peers: bool, rounds: int) -> None:
        """First loads with each program that can take a library of this size."""
        for _ in range(rounds):
            self.floor(size)
            with temporary() as directory:
                self.sync(size, directory)
        if peers:
            self.run_peers(size)

    def largest(self, size: int) -> None:
        """What takes longest: one first load into both warehouses, and a few changes in each."""
        self.floor(size)
        with temporary() as directory:
            self.sync(size, directory)
            self.sync(size, directory, "complete listing, unchanged", reconcile_every="0")
            self.changes(size, directory, times=3)
        with Postgres() as postgres, temporary() as directory:
            self.sync_postgres(size, directory, postgres.url, "first load")
            self.changes(size, directory, postgres.url, times=3)


class temporary(tempfile.TemporaryDirectory):  # type: ignore[type-arg]
    """A temporary directory as a path."""

    def __enter__(self) -> Path:  # type: ignore[override]
        return Path(super().__enter__())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    rounds = int(os.environ.get("BENCH_ROUNDS", 5))
    parser.add_argument("--rounds", type=int, default=rounds, help="default: BENCH_ROUNDS, else 5")
    parser.add_argument("--peer-rounds", type=int, default=1, help="rounds in which the slow peers run too; default 1")
    parser.add_argument("--without", nargs="*", default=[], metavar="PEER", help="rest_api, Singer, Airbyte")
    parser.add_argument("--quick", action="store_true", help="one round, small libraries, results in benchmarks/.quick")
    parser.add_argument("--million", action="store_true", help="only a million media items, once: million.json")
    wanted = parser.parse_args()
    if wanted.million:
        million()
        return
    if wanted.quick:
        size, peers_too, larger, largest, slow = 1_000, 2_000, (), 10_000, 2_000
    else:
        size, peers_too, larger, largest, slow = 20_000, 5_000, (50_000, GOAL_SIZE), 200_000, 2_000
    rounds = 1 if wanted.quick else wanted.rounds
    results = HERE / ".quick" if wanted.quick else HERE
    pictures = results if wanted.quick else HERE.parent / "docs" / "images"
    began = time.perf_counter()
    plot = environment("plot") / "python"
    sizes = {size, peers_too, *larger, largest, slow}
    server = Server(sizes)
    bench = Bench(server, [peer for peer in PEERS if peer.name not in wanted.without])
    try:
        for number in range(rounds):
            bench.round(size)
            if number < wanted.peer_rounds:
                bench.run_peers(size)
        bench.scale(peers_too, wanted.peer_rounds > 0, 1)
        for other in larger:
            bench.scale(other, False, 3 if other == GOAL_SIZE else 1)
        bench.largest(largest)
        latency = bench.latency(slow, wanted.peer_rounds > 0)
    finally:
        server.close()
    told = {
        "size": size,
        "largest": largest,
        "rounds": rounds,
        "cores": os.cpu_count(),
        "python": sys.version.split()[0],
        "minutes": round((time.perf_counter() - began) / 60, 1),
        "missing": bench.missing,
        "million": json.loads(once.read_text()) if (once := HERE / "million.json").exists() else None,
        "heavy": json.loads(bench.found[size]["check"].runs[-1].output.splitlines()[-1]),
        "requests": requests(bench.found[size]["ordinary run, unchanged"].runs[-1].output),
        "libraries": {other: server.holds(other) for other in sorted(sizes)},
        "latency": {"size": slow, "seconds": latency},
        "programs": {
            other: {name: program.described() for name, program in programs.items()}
            for other, programs in sorted(bench.found.items())
        },
    }
    results.mkdir(exist_ok=True)
    pictures.mkdir(parents=True, exist_ok=True)
    (results / "results.json").write_text(json.dumps(told, indent=1) + "\n")
    told = json.loads((results / "results.json").read_text())
    (results / "RESULTS.md").write_text(report(told))
    print(report(told))
    subprocess.run([str(plot), str(HERE / "plot.py"), str(results / "results.json"), str(pictures)], check=True)


def million() -> None:
    """Loads a million media items, and lists them again: seconds, CPU seconds, peak memory, size of the file."""
    server = Server([MILLION])
    bench = Bench(server, [])
    try:
        with temporary() as directory:
            bench.sync(MILLION, directory)
            size = (directory / "ours.duckdb").stat().st_size
            bench.sync(MILLION, directory, "complete listing, unchanged", reconcile_every="0")
    finally:
        server.close()
    programs = {name: program.described() for name, program in bench.found[MILLION].items()}
    told = {"file": size, "library": server.holds(MILLION), "programs": programs}
    (HERE / "million.json").write_text(json.dumps(told, indent=1) + "\n")


def requests(output: str) -> int:
    """Requests that a run of ours sent."""
    (dataset,) = json.loads(output.splitlines()[-1])["datasets"].values()
    return int(dataset["requests"])


if __name__ == "__main__":
    main()
