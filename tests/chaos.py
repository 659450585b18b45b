"""A soak: a library that changes, a server that fails, runs that are killed, and the whole truth at each clean run.

    python -m tests.chaos --seconds 900 [--seed 1] [--postgres] [--ducklake] [--only every]

Everything is chosen by the seed, which is printed; only the moments of kills depend on the machine. Ends with a
table of what was tried and with exit code 1 if a row was lost, a row was too much, or an exit code was wrong.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dlt
from dlt.destinations.exceptions import DatabaseUndefinedRelation
from dlt.destinations.impl.ducklake.configuration import DuckLakeCredentials
from dlt.pipeline.exceptions import PipelineStepFailed

import coreviz_source.api.deadline
import coreviz_source.api.http
from coreviz_source import coreviz, sync, sync_every
from coreviz_source.errors import find
from coreviz_source.local_studio import Library, Studio
from coreviz_source.local_studio.faults import FAULTS, REFUSALS, Faults
from coreviz_source.local_studio.library import NEWEST
from coreviz_source.warehouse.ducklake import DuckLake
from tests.postgres import Postgres
from tests.truth import truth
from tests.warehouse import fixed, read

#: Left out: each takes half a second of a processor to say what a test says once.
TOO_LOUD = {"gzip bomb", "endless body", "huge page"}
NAMES = [name for name in FAULTS if name not in TOO_LOUD]
SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
#: How a run is started: `sync()`, a plain `pipeline.run`, or `sync_every()` in a process that stays until its signal.
HOWS = ("sync", "run", "every")
#: Runs with one library and one warehouse before new ones are made.
LIFE = 24


def hurry() -> None:
    """What takes minutes with a real server takes moments here."""
    os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
    os.environ["RUNTIME__LOG_LEVEL"] = "CRITICAL"
    logging.getLogger("coreviz_source").setLevel(logging.CRITICAL)
    coreviz_source.api.deadline.LONGEST_RESPONSE = 0.5
    coreviz_source.api.http.wait = lambda state: 0.01


def pipeline_of(warehouse: str, folder: str) -> dlt.Pipeline:
    if warehouse.startswith("postgresql"):
        destination: Any = dlt.destinations.postgres(warehouse)
    elif warehouse.startswith("sqlite"):
        destination = DuckLake(DuckLakeCredentials(catalog=warehouse, storage=folder + "/lake"))
    else:
        destination = dlt.destinations.duckdb(warehouse)
    return dlt.pipeline(
        "coreviz_chaos",
        destination=destination,
        dataset_name=f"coreviz_{Path(folder).name}",
        pipelines_dir=folder + "/pipelines",
    )


def run(warehouse: str, folder: str, how: str, arguments: dict[str, Any]) -> int:
    """One run, and its exit code. With `how = "every"`, cycles until a signal, each code printed."""
    pipeline = pipeline_of(warehouse, folder)
    if how == "every":
        for report in sync_every(pipeline, every="1s", **arguments):
            print(report.exit_code, flush=True)
        return report.exit_code
    if how == "sync":
        report = sync(pipeline, **arguments)
        if report.exit_code in (1, 7):
            print(report.to_json(), file=sys.stderr)
        return report.exit_code
    try:
        pipeline.run(coreviz(**arguments))
    except PipelineStepFailed as failure:
        error = find(failure)
        if error is None:
            raise
        return error.exit_code
    return 0


@dataclass
class Score:
    """What was tried."""

    runs: int = 0
    kills: int = 0
    cycles: int = 0
    compared: int = 0
    rows: int = 0
    lost: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    codes: Counter[int] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)


class World:
    """One library with its server and its warehouse."""

    def __init__(self, seed: int, warehouse: str | None, score: Score, only: str | None = None) -> None:
        self.seed = seed
        self.only = only
        self.dice = dice = random.Random(seed)
        self.folder = tempfile.mkdtemp(prefix="chaos-")
        self.warehouse = (warehouse or "{}/library.duckdb").format(self.folder)
        self.score = score
        self.soft = dice.random() < 0.3
        self.library = Library.generate(dice.choice([0, 30, 120]), dice.choice([1, 2, 3]), seed)
        self.library.clock = lambda: NEWEST
        self.studio = Studio(self.library, dice.choice([2025, 2026]), strict=dice.random() < 0.3)
        self.log: list[str] = []

    def arguments(self, clean: bool) -> dict[str, Any]:
        dice = self.dice
        return {
            "dataset_ids": list(self.library.datasets),
            "base_url": self.studio.url,
            "api_key": self.studio.key,
            "page_size": dice.choice([3, 10, 50, 100]),
            "parallel_requests": dice.choice([1, 4]),
            "deletes": "soft" if self.soft else "hard",
            "max_deletes": 1,
            "keep_snapshots": dice.choice(["0", "7d"]),
            "reconcile_every": "0" if clean else dice.choice(["0", "1d", "100d"]),
            "lookback": dice.choice(["0", "1h", "7d"]),
        }

    def change(self) -> None:
        dice = self.dice
        for _ in range(dice.choice([0, 1, 5, 40])):
            self.library.mutate(dice)
        self.library.advance(minutes=dice.choice([0, 1, 600, 3000]))
        self.studio.limit_cap = dice.choice([None, None, 7])
        if dice.random() < 0.1:
            self.studio.generation = 4051 - self.studio.generation
        if dice.random() < 0.1:
            shutil.rmtree(self.folder + "/pipelines", ignore_errors=True)
            self.log.append("working directory lost")

    def there(self) -> set[tuple[str, str]]:
        """The media of all datasets."""
        with self.library.lock:
            return {
                (dataset, item["id"])
                for dataset in self.library.datasets
                for item in self.library.listing(dataset)
                if item["type"] != "folder"
            }

    def held(self) -> set[tuple[str, str]]:
        """The media of the warehouse."""
        try:
            rows = read(pipeline_of(self.warehouse, self.folder), "media")["media"]
        except DatabaseUndefinedRelation:
            return set()
        return {(row["dataset_id"], row["id"]) for row in rows if row["deleted_at"] is None}

    def disturbed(self) -> None:
        """A run that meets faults, live changes, or its end."""
        dice, score = self.dice, self.score
        names = dice.sample(NAMES, dice.choice([0, 1, 2, 4]))
        arguments = self.arguments(clean=False)
        how = self.only or dice.choices(HOWS, [0.6, 0.25, 0.15])[0]
        killed = dice.choice(SIGNALS) if how == "every" or dice.random() < 0.3 else None
        self.studio.faults = faults = Faults(names, dice.randrange(10**6), dice.choice([0.05, 0.2, 0.5]))
        live = self.library.live(3000, dice.randrange(10**6)) if dice.random() < 0.4 else contextlib.nullcontext()
        self.log.append(f"{how} {arguments} with {names}, {killed}, {type(live).__name__}")
        held, before = self.held(), self.there()
        with live:
            codes = self.killed(how, arguments, killed) if killed else [self.run(how, arguments)]
        self.studio.faults = None
        score.faults += faults.injected
        score.cycles += len(codes) if how == "every" else 0
        refused = any(name in REFUSALS for name in faults.injected)
        for code in codes:
            score.codes[code] += 1
            if code not in ({0, 2, 3, 4, 5, 6} if refused else {0, 5, 6}):
                self.problem(f"exit code {code}")
        if lost := (held & before & self.there()) - self.held():
            score.lost += len(lost)
            self.problem(f"{len(lost)} media that stayed were removed")

    def run(self, how: str, arguments: dict[str, Any]) -> int:
        return run(self.warehouse, self.folder, how, arguments)

    def killed(self, how: str, arguments: dict[str, Any], kill: signal.Signals) -> list[int]:
        """A run in a process of its own, which gets a signal after a while; the exit codes of what was over before."""
        given = json.dumps([self.warehouse, self.folder, how, arguments])
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos", "--child", given],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=Path(__file__).parents[1],
        )
        assert process.stdout is not None
        process.stdout.readline()
        try:
            code = process.wait(timeout=self.dice.uniform(0, 12 if how == "every" else 2.5))
            return [code] if how != "every" else [int(line) for line in process.stdout]
        except subprocess.TimeoutExpired:
            process.send_signal(kill)
            self.score.kills += 1
        try:
            process.wait(timeout=90)
        except subprocess.TimeoutExpired:
            self.problem(f"{kill.name} did not end the process")
            process.kill()
            process.wait()
        return [int(line) for line in process.stdout]

    def clean(self) -> None:
        """A complete run without faults, after which the warehouse is compared with the truth whole."""
        arguments = self.arguments(clean=True)
        self.log.append(f"clean sync {arguments}")
        code = self.run("sync", arguments)
        if code:
            self.problem(f"exit code {code} of a clean run")
            return
        expected = truth({dataset: self.studio.snapshot(dataset) for dataset in self.library.datasets})
        found = read(pipeline_of(self.warehouse, self.folder), *expected)
        alive = {(r["dataset_id"], r["id"]) for r in found["media"] if r["deleted_at"] is None}
        for name, rows in expected.items():
            if self.soft and name != "folders":
                media = "id" if name == "media" else "media_id"
                found[name] = [r for r in found[name] if (r["dataset_id"], r[media]) in alive]
            have, want = Counter(map(fixed, found[name])), Counter(map(fixed, rows))
            self.score.rows += len(rows)
            self.score.lost += (want - have).total()
            if have != want:
                missing, surplus = list((want - have).elements()), list((have - want).elements())
                self.problem(f"{name}: {len(missing)} missing {missing[:1]}, {len(surplus)} too much {surplus[:1]}")
        self.score.compared += 1

    def problem(self, text: str) -> None:
        self.score.problems.append(f"world {self.seed}, run {len(self.log)}: {text}")
        print("\n".join([*self.log[-6:], self.score.problems[-1]]), file=sys.stderr, flush=True)


def soak(
    seconds: float, seed: int, warehouses: Sequence[str | None], runs: int | None = None, only: str | None = None
) -> Score:
    """Worlds one after another, until the time (or the number of runs) is over, in each warehouse in turn."""
    score, end = Score(), time.monotonic() + seconds
    number = 0
    while time.monotonic() < end and (runs is None or score.runs < runs):
        world = World(seed * 1000 + number, warehouses[number % len(warehouses)], score, only)
        with world.studio:
            for step in range(LIFE):
                if time.monotonic() > end or (runs is not None and score.runs >= runs):
                    break
                world.change()
                world.clean() if step % 3 == 2 else world.disturbed()
                score.runs += 1
            world.clean()
        shutil.rmtree(world.folder, ignore_errors=True)
        number += 1
    return score


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=float(os.environ.get("CHAOS_SECONDS", 60)))
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--postgres", action="store_true", help="every second library goes into Postgres")
    parser.add_argument("--ducklake", action="store_true", help="and every second or third one into a DuckLake")
    parser.add_argument("--only", choices=HOWS, help="how all runs are started; `every` is a process that stays")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    wanted = parser.parse_args()
    hurry()
    # a shell's background jobs ignore Ctrl-C, and so would the runs that are to be ended by it
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if wanted.child:
        print("ready", flush=True)
        return run(*json.loads(wanted.child))
    seed = wanted.seed if wanted.seed is not None else random.SystemRandom().randrange(10**6)
    print(f"seed {seed}, {wanted.seconds:.0f} seconds", flush=True)
    with Postgres() if wanted.postgres else contextlib.nullcontext() as server:
        lakes = ["sqlite:///{}/lake.sqlite"] if wanted.ducklake else []
        score = soak(wanted.seconds, seed, [None, *([server.url] if server else []), *lakes], only=wanted.only)
    print(f"runs             {score.runs}, by exit code {dict(sorted(score.codes.items()))}")
    print(f"cycles           {score.cycles} of processes that stay")
    print(f"kills            {score.kills}")
    print(f"faults injected  {score.faults.total()} of {len(score.faults)} kinds")
    print(f"compared whole   {score.compared} times, {score.rows} rows")
    print(f"rows lost        {score.lost}")
    for problem in score.problems:
        print(f"problem          {problem}")
    return 1 if score.problems or score.lost else 0


if __name__ == "__main__":
    sys.exit(main())
