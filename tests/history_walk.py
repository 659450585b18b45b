"""A random walk with history: changes, faults and kills, and what an independent recorder expects after each run.

    python -m tests.history_walk --runs 60 --changes 300 --seed 1 [--destination postgres]

Everything is chosen by the seed. Ends with what was tried, and with exit code 1 if a version was missing, too much or
another than the recorder's.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import dlt
from dlt.destinations.exceptions import DatabaseUndefinedRelation
from dlt.pipeline.exceptions import PipelineStepFailed
from starlette.responses import Response

from coreviz_source import coreviz, sync
from coreviz_source.local_studio import Studio
from coreviz_source.warehouse.destination import prepare
from tests import forked, hostile
from tests.chaos import hurry
from tests.postgres import Postgres
from tests.recorder import Recorder, Run, Seen
from tests.scenario import frozen, media_of, truth_of
from tests.truth import Row, canonical, moment, truth
from tests.warehouse import read

#: A run in a process of its own, which dies by SIGKILL when something happens for the nth time.
SCRIPT = textwrap.dedent(
    """
    import json, os, signal, sys
    import dlt
    from coreviz_source import coreviz, sync
    from dlt.common.destination.client import RunnableLoadJob
    from dlt.load.load import Load
    from dlt.pipeline.pipeline import Pipeline
    import coreviz_source.mirror as mirror

    given = json.loads(sys.argv[1])
    left = given["count"]

    def dying(moment, before, owner, name):
        original = getattr(owner, name)
        def replaced(*args, **kwargs):
            global left
            if given["moment"] != moment:
                return original(*args, **kwargs)
            left -= 1
            if left < 0 and before:
                os.kill(os.getpid(), signal.SIGKILL)
            result = original(*args, **kwargs)
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return result
        if given["moment"] == moment:
            setattr(owner, name, replaced)

    dying("rows", True, mirror.Mirror, "_batch")
    dying("normalize", True, Pipeline, "normalize")
    dying("load", True, Pipeline, "load")
    dying("before a job", True, RunnableLoadJob, "run_managed")
    dying("after a job", False, RunnableLoadJob, "run_managed")
    dying("completion", True, Load, "complete_package")
    os.environ["LOAD__WORKERS"] = "1"
    factory = getattr(dlt.destinations, given["kind"])
    pipeline = dlt.pipeline(
        given["name"], destination=factory(given["warehouse"]), dataset_name=given["dataset"],
        pipelines_dir=given["pipelines"],
    )
    if given["plain"]:
        pipeline.run(coreviz(**given["arguments"]))
    else:
        sync(pipeline, **given["arguments"])
    """
)
#: Where a run is killed, and the largest number of times that this happens before.
MOMENTS = {"rows": 4, "normalize": 0, "load": 0, "before a job": 24, "after a job": 24, "completion": 0}
#: Kinds of changes; `any` is a change of `Library.mutate`.
KINDS = (
    *("any", "any", "rewrite", "recaption", "recaption", "caption status", "other frame", "moderate", "tags"),
    *("described", "unversioned", "there and back", "move", "folder", "soft delete", "delete", "put back"),
)
#: Deleted media items that can be put back.
SHELF = 8


@dataclass
class Score:
    """What was tried."""

    runs: int = 0
    changes: int = 0
    kills: int = 0
    compared: int = 0
    versions: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)


class Walk:
    """A library with its Studio, its warehouse and the recorder.

    Args:
        seed: Chooses everything.
        folder: Where the working directory is, and the DuckDB file or the lake.
        destination: dlt's name of the warehouse.
        server: Address of a Postgres server, if it is that.
    """

    def __init__(self, seed: int, folder: Path, destination: str = "duckdb", server: str | None = None) -> None:
        self.dice = random.Random(seed)
        # of the server's thread: how many requests there are depends on the machine
        self._faults = random.Random(seed)
        self.folder = folder
        self.destination = destination
        lake = {"catalog": f"sqlite:///{folder}/library.sqlite", "storage": {"bucket_url": str(folder / "lake")}}
        self.warehouse = server or (lake if destination == "ducklake" else str(folder / "library.duckdb"))
        self.score = Score()
        self.log: list[str] = []
        self.library = frozen(30, datasets=2, seed=seed)
        self.deletes = self.dice.choice(["hard", "soft"])
        self.faulty = False
        self.studio = Studio(self.library, before=self._fault, after=self._page)
        self.recorder = Recorder()
        self._after: Callable[..., Any] | None = None
        self._failing: str | None = None
        self._shelf: list[tuple[str, Row]] = []
        self._known: set[tuple[str, str]] = set()
        #: Whether what the tables hold, or the history, may be behind until the next complete run.
        self._behind = False
        self._killed = False
        self._times: dict[str, list[datetime]] = defaultdict(list)
        self._latest = self.library.clock()
        (folder / "killed.py").write_text(SCRIPT)

    @property
    def pipeline(self) -> dlt.Pipeline:
        where = self._where()
        factory = getattr(dlt.destinations, where["kind"])
        pipeline = dlt.pipeline(
            where["name"],
            destination=factory(where["warehouse"]),
            dataset_name=where["dataset"],
            pipelines_dir=where["pipelines"],
        )
        prepare(pipeline)
        return pipeline

    def _where(self) -> dict[str, Any]:
        return {
            "kind": self.destination,
            "name": "coreviz_history",
            "warehouse": self.warehouse,
            "dataset": f"coreviz_{self.folder.name}".replace("-", "_").lower(),
            "pipelines": str(self.folder / "pipelines"),
        }

    # the service

    def _fault(self, request: Any) -> Any:
        if self._failing is not None and request.dataset_id == self._failing:
            return hostile.status(404)()
        if not self.faulty or self._faults.random() > 0.1:
            return None
        return self._faults.choice(
            [
                lambda: Response(b"{}", 500),
                lambda: Response(b"{}", 429),
                lambda: b'{"media": [{',
                lambda: {"error": "Busy", "message": "Later."},
            ]
        )()

    def _page(self, request: Any, answer: Any) -> Any:
        return self._after(request, answer) if self._after else None

    # changes

    def change(self) -> str:
        """Makes one change; returns its kind."""
        dice, library = self.dice, self.library
        dataset = dice.choice(list(library.datasets))
        media = [item for item in media_of(library, dataset) if item.get("status") != "deleted"]
        captioned = [item for item in media if any(frame["captions"] for frame in item["frames"])]
        kind = dice.choice(KINDS)
        if kind in ("any", "put back") or not captioned:
            if kind == "put back" and self._shelf:
                self._put_back()
                return kind
            return library.mutate(dice)
        item = dice.choice(captioned)
        number, model = dice.randrange(10**6), dice.choice(["vision-1", "vision-2", None])
        frame = dice.choice([place for place, each in enumerate(item["frames"]) if each["captions"]])
        captions = item["frames"][frame]["captions"]
        if kind == "rewrite":
            library.recaption(item["id"], f"Rewritten, number {number}.", frame=frame, model=model)
        elif kind == "recaption":
            library.recaption(item["id"], f"Again, number {number}.", frame=frame, model=model, keep_id=False)
        elif kind == "moderate":
            library.moderate(item["id"], dice.choice(["approved", "pending", "flagged"]))
        elif kind == "move":
            library.move(item["id"], dice.choice([other for other in library.datasets if other != dataset]))
        elif kind == "folder":
            folders = [i["id"] for i in library.listing(dataset) if i["type"] == "folder"]
            library.move_into(item["id"], dice.choice([None, *folders]))
        elif kind in ("soft delete", "delete"):
            self._shelf = [*self._shelf[1 - SHELF :], (dataset, copy.deepcopy(library.media(item["id"])))]
            (library.delete if kind == "delete" else library.soft_delete)(item["id"])
        else:
            with library.changing(item["id"]):
                self._change_in(kind, item, item["frames"][frame], captions, number)
        return kind

    def _change_in(self, kind: str, item: Row, frame: Row, captions: list[Row], number: int) -> None:
        if kind == "caption status":
            captions[0]["status"] = "deleted" if captions[0]["status"] == "active" else "active"
        elif kind == "other frame":
            moved = captions.pop()
            item["frames"][0]["captions"].append({**moved, "frameId": item["frames"][0]["id"]})
        elif kind == "tags":
            item["metadata"]["tags"] = self.dice.choice(
                [{}, {"Tags": ["print"]}, {"Tags": ["web"], "Season": ["summer"]}]
            )
        elif kind == "described":
            item["metadata"][self.dice.choice(["description", "prompt"])] = f"Description {number}"
        elif kind == "unversioned":
            item["width"] = number
            frame["blob"] = f"/blob/{number}"
            captions[0]["updatedAt"] = item["updatedAt"] = f"2026-01-01T00:00:00.{number % 1000:03}Z"
        elif kind == "there and back":
            before = captions[0]["text"]
            captions[0]["text"] = "Only for a moment."
            captions[0]["text"] = before

    def _put_back(self) -> None:
        dataset, item = self._shelf.pop(self.dice.randrange(len(self._shelf)))
        with contextlib.suppress(KeyError):
            self.library.media(item["id"])
            self.library.delete(item["id"])
        self.library.put(dataset, item)

    # runs

    def step(self, changes: int) -> None:
        """Makes changes, runs, and compares the history where it has to be right."""
        dice, score = self.dice, self.score
        for _ in range(changes):
            score.kinds[self.change()] += 1
        score.changes += changes
        killed = dice.random() < 0.25
        self._move_clock(killed)
        if dice.random() < 0.1:
            shutil.rmtree(self.folder / "pipelines", ignore_errors=True)
            self.log.append("working directory lost")
        # at least every fourth run is complete, so that what is open is decided
        complete = score.runs % 4 == 3 or dice.random() < 0.3
        kind = (
            "complete" if complete else dice.choice(["window", "window", "slice", "sample", "unproven", "404", "off"])
        )
        self.run(kind, killed)

    def _move_clock(self, killed: bool) -> None:
        """Sets the time of the next run. A killed run is recognized by its second; else the clock may step back."""
        if killed or self._killed:
            self.library.clock = lambda now=self._latest + timedelta(seconds=3): now  # type: ignore[misc]
        elif self.dice.random() < 0.1:
            self.library.advance(minutes=-5)
        self.library.advance(seconds=self.dice.choice([0, 0, 1, 60, 3600, 36000]))
        self._latest = max(self._latest, self.library.clock())

    def arguments(self, kind: str) -> dict[str, Any]:
        dice = self.dice
        given: dict[str, Any] = {
            "dataset_ids": list(self.library.datasets),
            "base_url": self.studio.url,
            "api_key": self.studio.key,
            "history": kind != "off",
            "deletes": self.deletes,
            "max_deletes": 1,
            "page_size": dice.choice([3, 10, 50]),
            "parallel_requests": dice.choice([1, 4]),
            "lookback": dice.choice(["0", "1h", "3d"]),
            "reconcile_every": "100d" if kind in ("window", "off") else "0",
        }
        if kind == "complete" and dice.random() < 0.1:
            given["resync"] = True
        if kind == "sample":
            given["max_media"] = dice.choice([3, 12])
        if kind == "slice":
            oldest = min(item["createdAt"] for item in self._items())
            since = _time(oldest) + timedelta(hours=dice.randrange(0, 12))
            given |= {"date_from": since.isoformat(), "date_to": (since + timedelta(hours=6)).isoformat()}
        return given

    def _items(self) -> list[Row]:
        return [item for dataset in self.library.datasets for item in media_of(self.library, dataset)]

    def run(self, kind: str, killed: bool = False) -> None:
        dice, score = self.dice, self.score
        given = self.arguments(kind)
        plain = dice.random() < 0.3
        datasets = {canonical(dataset): dataset for dataset in self.library.datasets}
        lookback = {"0": timedelta(0), "1h": timedelta(hours=1), "3d": timedelta(days=3)}[given["lookback"]]
        edge = max((run[d].clock for run in self.recorder.runs for d in run), default=self._latest) - lookback
        number = self.recorder.begin(datasets, self.library.clock())
        shown = {name: value for name, value in given.items() if name not in ("dataset_ids", "base_url", "api_key")}
        self.log.append(f"run {number}: {kind}{' plain' if plain else ''}{' to be killed' if killed else ''}, {shown}")
        self._after = hostile.always_the_first_page if kind == "unproven" else None
        self._failing = dice.choice(list(self.library.datasets)) if kind == "404" else None
        self.faulty = not killed and dice.random() < 0.5
        self._killed = killed and self.kill(plain, given)
        for of_dataset in self.recorder.runs[number].values():
            of_dataset.killed = self._killed
        if not killed:
            self._run(plain, given)
        self.faulty, self._after, self._failing = False, None, None
        score.runs += 1
        outcomes = self._outcomes(number, kind != "off")
        tables = truth(truth_of(self.studio))
        for dataset in datasets:
            outcome = "killed" if self._killed else outcomes.get(dataset, "none")
            score.outcomes[outcome] += 1
            if kind != "off":
                self.recorder.observe(dataset, tables, self._seen(outcome, given, edge))
        everything = all(outcomes.get(dataset) == "complete" for dataset in datasets)
        if everything and kind != "off" and not self._killed:
            self._behind = False
        elif kind == "off" or self._killed:
            self._behind = True
        if not self._behind:
            self._compare(number)

    def _seen(self, outcome: str, given: dict[str, Any], edge: datetime) -> Callable[[datetime, bool], Seen]:
        yes: Seen = "maybe" if self._behind else "yes"
        if outcome == "complete":
            return lambda created, there: "yes"
        if outcome == "window":
            return lambda created, there: yes if created >= edge else "maybe"
        if outcome == "slice":
            first, last = (_time(given[name]) for name in ("date_from", "date_to"))
            return lambda created, there: yes if first <= created < last else "no"
        if outcome in ("sample", "unproven"):
            return lambda created, there: "maybe" if there else "no"
        return lambda created, there: "maybe" if outcome == "killed" else "no"

    def _run(self, plain: bool, given: dict[str, Any]) -> None:
        if not plain:
            report = sync(self.pipeline, **given)
            if report.exit_code not in (0, 4, 5, 6):
                self._problem(report.to_json())
            return
        with contextlib.suppress(PipelineStepFailed):
            self.pipeline.run(coreviz(**given))

    def kill(self, plain: bool, arguments: dict[str, Any]) -> bool:
        """Runs in a process of its own until it dies; whether it did before the run was over."""
        moment = self.dice.choice(list(MOMENTS))
        count = self.dice.randint(0, MOMENTS[moment])
        given = {**self._where(), "plain": plain, "arguments": arguments, "moment": moment, "count": count}
        done = subprocess.run(
            [forked.python(), str(self.folder / "killed.py"), json.dumps(given)],
            env={"HOME": str(self.folder), "PATH": "/usr/bin:/bin", "RUNTIME__DLTHUB_TELEMETRY": "false"},
            cwd=self.folder,
            capture_output=True,
            text=True,
        )
        dead = done.returncode == -signal.SIGKILL
        self.log.append(f"  {'killed' if dead else f'ended with {done.returncode}'}: {moment} {count}")
        if not dead and done.returncode:
            self.log.append(f"  {done.stderr.strip().splitlines()[-1]}")
        self.score.kills += dead
        return dead

    def _outcomes(self, number: int, history: bool) -> dict[str, str]:
        """The outcomes of the last run by dataset; notes its time, and those of killed runs whose load was finished."""
        try:
            rows = read(self.pipeline, "_coreviz_runs")["_coreviz_runs"]
        except DatabaseUndefinedRelation:
            return {}
        outcomes = {}
        for row in sorted(rows, key=lambda row: row["started_at"]):
            if (row["run"], row["dataset_id"]) in self._known:
                continue
            self._known.add((row["run"], row["dataset_id"]))
            runs = [run[row["dataset_id"]] for run in self.recorder.runs]
            run = next((run for run in runs if run.may_have(row["started_at"])), runs[number])
            run.time, run.id = row["started_at"], row["run"]
            if run is runs[number]:
                if history and row["outcome"] != "failed":
                    self._check_time(row["dataset_id"], run)
                outcomes[row["dataset_id"]] = row["outcome"]
            if row["outcome"] != "failed":
                # one that failed has the time of this machine
                self._times[row["dataset_id"]].append(row["started_at"])
        return outcomes

    def _check_time(self, dataset: str, run: Run) -> None:
        """The time of a run with history is the server's clock, or comes right after the latest stored time."""
        assert run.time is not None
        latest = max(self._times[dataset], default=run.clock - timedelta(1))
        expected = max(run.clock, latest + timedelta(microseconds=1))
        if run.time != expected:
            self._problem(f"the run at {run.clock} has the time {run.time}, not {expected}")

    def _compare(self, number: int) -> None:
        found = read(self.pipeline, "media_history", "caption_history")
        for problem in self.recorder.compare(found):
            self._problem(f"after run {number}: {problem}")
        self.score.compared += 1
        self.score.versions = self.recorder.versions

    def _problem(self, text: str) -> None:
        if not self.score.problems:
            print("\n".join(self.log), file=sys.stderr)
        self.score.problems.append(text)
        print(text, file=sys.stderr, flush=True)


def _time(text: str) -> datetime:
    found = moment(text)
    assert found is not None
    return found


def walk(
    seed: int, folder: Path, runs: int, changes: int, destination: str = "duckdb", server: str | None = None
) -> Score:
    """So many runs with so many changes in between, and a complete one without faults at the end."""
    one = Walk(seed, folder, destination, server)
    with one.studio:
        for number in range(runs - 1):
            if one.score.problems:
                break
            one.step(changes * (number + 1) // (runs - 1) - changes * number // (runs - 1))
        one._move_clock(False)
        one.run("complete")
    return one.score


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.history_walk", description=__doc__)
    parser.add_argument("--runs", type=int, default=60)
    parser.add_argument("--changes", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--destination", choices=["duckdb", "ducklake", "postgres"], default="duckdb")
    wanted = parser.parse_args()
    hurry()
    os.environ["DLT_DATA_DIR"] = tempfile.mkdtemp(prefix="history-")
    with Postgres() if wanted.destination == "postgres" else contextlib.nullcontext() as server:
        folder = Path(tempfile.mkdtemp(prefix="history-"))
        address = server.url if server else None
        score = walk(wanted.seed, folder, wanted.runs, wanted.changes, wanted.destination, address)
    print(f"runs      {score.runs}, {score.kills} of them killed; outcomes of datasets {dict(score.outcomes)}")
    print(f"changes   {score.changes}: {dict(score.kinds)}")
    print(f"compared  {score.compared} times, {score.versions} versions in the end")
    print(f"problems  {len(score.problems)}")
    shutil.rmtree(folder, ignore_errors=True)
    return 1 if score.problems else 0


if __name__ == "__main__":
    sys.exit(main())
