"""A process that stays: cycle after cycle equal to the truth, at its pace whatever happens, and it ends as asked."""

from __future__ import annotations

import json
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from copy import deepcopy
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import duckdb
import pytest
from dlt.pipeline.exceptions import PipelineStepFailed

import coreviz_source.resident as resident
from coreviz_source import Report, sync_every
from coreviz_source.api.deadline import DeadlineAdapter
from coreviz_source.cli import every as every_command
from coreviz_source.errors import ApiUnavailableError, ConfigurationError, CorevizError
from coreviz_source.local_studio import Studio
from coreviz_source.report import DatasetReport, Progress
from coreviz_source.tables import BY_NAME
from tests import hostile
from tests.docs import ROOT, blocks
from tests.scenario import arguments, assert_equal_to, frozen, media_of, run, run_sync
from tests.test_cli import PROGRAM, command, environment  # noqa: F401
from tests.warehouse import query, runs

PAGE = ROOT / "docs" / "resident.md"
MISSING = "00000000-0000-4000-8000-000000000000"


class Clock:
    """The clock of a machine: it continues while the process waits or works, and jumps where a test makes it jump."""

    def __init__(self) -> None:
        self.now = 0.0
        #: Seconds that the machine sleeps during the next wait.
        self.sleeps = 0.0

    def wait(self, seconds: float) -> None:
        assert 0 < seconds <= resident.SLICE
        self.now += seconds + self.sleeps
        self.sleeps = 0.0


@pytest.fixture
def clock(monkeypatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(resident, "now", lambda: clock.now)
    return clock


def test_every_cycle_over_a_changing_library_ends_equal_to_the_truth(pipeline, clock, tmp_path, monkeypatch):
    pools: list[str] = []
    opened, closed = DeadlineAdapter.__init__, DeadlineAdapter.close
    monkeypatch.setattr(DeadlineAdapter, "__init__", lambda self, **k: pools.append("opened") or opened(self, **k))
    monkeypatch.setattr(DeadlineAdapter, "close", lambda self: pools.append("closed") or closed(self))
    random = Random(17)
    library = frozen(30)
    (dataset,) = library.datasets
    with Studio(library) as studio:
        given = arguments(studio, {"max_deletes": 1, "reconcile_every": "0"})
        loaded = None
        reports = sync_every(pipeline, "60s", wait=clock.wait, **given)
        for cycle, report in enumerate(reports):
            found = report.datasets[dataset]
            if studio.before is None:
                assert report.exit_code == 0, report.to_json()
                assert bool(found.rows) == (studio.snapshot(dataset) != loaded)
                if found.rows or cycle == 30:
                    assert_equal_to(pipeline, studio)
                loaded = deepcopy(studio.snapshot(dataset))
            else:
                assert report.exit_code == 4
                studio.before = None
            # nothing keeps the file open
            with duckdb.connect(str(tmp_path / "library.duckdb"), read_only=True) as database:
                database.execute("SELECT count(*) FROM coreviz.media").fetchall()
            if cycle == 30:
                break
            library.advance(minutes=1)
            for _ in range(3 if cycle % 5 == 4 else 0):
                library.mutate(random)
            if cycle in (7, 20):
                library.add_caption(media_of(library, frames=1)[0]["id"], "It comes with the cycle after a failure.")
                studio.before = hostile.failing(dataset, hostile.status(404))
    assert pools == ["opened"], "connections to the API were opened again"
    reports.close()
    assert pools == ["opened", "closed"]
    assert len(runs(pipeline)) == 31
    # the dataset was missing twice
    assert len(query(pipeline, "SELECT began_at FROM _coreviz_notices WHERE ended_at IS NOT NULL")) == 2
    assert len(query(pipeline, "SELECT load_id FROM _dlt_loads WHERE status = 0")) == 31


class Cycles:
    """Stands for a synchronizer: each cycle takes some time, and ends as planned."""

    def __init__(self, clock: Clock, *plan: tuple[float, Report | Exception]) -> None:
        self._clock = clock
        self._plan = iter(plan)
        self.began: list[float] = []
        self.is_closed = False

    def __enter__(self) -> Cycles:
        return self

    def __exit__(self, *_: object) -> None:
        self.is_closed = True

    def run(self) -> Report:
        self.began.append(self._clock.now)
        seconds, outcome = next(self._plan)
        self._clock.now += seconds
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


def cycles(monkeypatch, clock: Clock, *plan: Any, **given: Any) -> tuple[Cycles, Iterator[Report]]:
    stand_in = Cycles(clock, *plan)
    monkeypatch.setattr(resident, "Synchronizer", lambda *_, **__: stand_in)
    return stand_in, sync_every(None, "60s", wait=clock.wait, **given)


GOOD = Report("")
DOWN = Report("", errors=[ApiUnavailableError()])
REFUSED = Report("", errors=[ConfigurationError()])
NO_ACCESS_TO_ONE = Report("", {"a": DatasetReport("a", exit_code=3), "b": DatasetReport("b", outcome="complete")})


def test_cycles_keep_their_pace_without_overlap_or_burst(monkeypatch, clock):
    done, reports = cycles(monkeypatch, clock, (1, GOOD), (150, GOOD), (1, GOOD), (1, GOOD), (1, GOOD), (1, GOOD))
    for number, _ in enumerate(reports):
        if number == 3:
            # the machine sleeps for two hours
            clock.sleeps = 7200
        if number == 5:
            break
    # after the long cycle at once; after the sleep once at once; then as before
    assert done.began == [0, 60, 210, 270, 7472, 7532]
    reports.close()
    assert done.is_closed


def test_failures_are_reported_and_back_off_within_bounds_until_one_cycle_succeeds(monkeypatch, clock):
    partly = Report("", {"a": DatasetReport("a", exit_code=4), "b": DatasetReport("b", outcome="window")})
    plan = [(5, GOOD), *[(5, DOWN)] * 8, (5, OSError("unexpected")), (5, GOOD), (5, partly), (5, partly), (5, REFUSED)]
    done, reports = cycles(monkeypatch, clock, *plan)
    codes = [next(reports).exit_code for _ in plan]
    assert codes == [0, *[5] * 8, 1, 0, 4, 4, 2]
    pauses = [after - before for before, after in zip(done.began, done.began[1:], strict=False)]
    assert pauses[0] == 60
    for failures, pause in enumerate(pauses[1:10], start=1):
        longest = min(600, 60 * 2**failures)
        assert longest / 2 <= pause - 5 <= longest
    assert len({pause % 1 for pause in pauses[1:10]}) > 1, "no jitter"
    # the other datasets stay fresh when one fails
    assert pauses[10:] == [60, 60, 60]


@pytest.mark.parametrize(
    ("plan", "given", "codes"),
    [
        ([REFUSED, GOOD], {}, [2]),
        ([NO_ACCESS_TO_ONE, GOOD, DOWN, REFUSED], {"max_failures": 2}, [3, 0, 5, 2]),
        ([DOWN, GOOD, DOWN, DOWN, REFUSED, GOOD], {"max_failures": 3}, [5, 0, 5, 5, 2]),
    ],
)
def test_it_ends_by_itself_after_hopeless_or_too_many_failures(monkeypatch, clock, plan, given, codes):
    done, reports = cycles(monkeypatch, clock, *((1, report) for report in plan), **given)
    assert [report.exit_code for report in reports] == codes
    assert done.is_closed


@pytest.mark.parametrize("given", [{"every": "60"}, {"every": "0.5s"}, {"every": "soon"}, {"max_failures": 0}])
def test_a_pace_that_makes_no_sense_is_refused_at_once(given):
    with pytest.raises(ConfigurationError):
        sync_every(None, **given)


def test_resync_loads_everything_once(pipeline, clock):
    with Studio(frozen(12)) as studio:
        reports = sync_every(pipeline, wait=clock.wait, **arguments(studio, {"resync": True}))
        rows = [sum(d.rows.get("media", 0) for d in next(reports).datasets.values()) for _ in range(3)]
    assert rows == [12, 0, 0]


def test_the_command_ends_with_the_code_of_the_last_cycle(command, monkeypatch, manager, tmp_path):  # noqa: F811
    monkeypatch.setattr(resident, "_pause_after", lambda *_: 0.0)
    library = frozen(12)
    with Studio(library) as studio:
        with monkeypatch.context() as started:
            started.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
            done = command(studio, "sync", "--every", "1s", "--api-key", "wrong", "--dataset-ids", *library.datasets)
        assert (done.exit_code, done.output.count("is not valid")) == (3, 1)
        assert "READY=1" not in until(manager, "STOPPING=1")
        done = command(studio, "sync", "--every", "1s", "--max-failures", "2", "--dataset-ids", MISSING)
        assert (done.exit_code, done.output.count("does not exist")) == (4, 2), done.output
        for words in (("--every", "1s", "--dry-run"), ("--max-failures", "2"), ("--every", "1")):
            assert command(studio, "sync", *words).exit_code == 2


def test_its_log_has_a_line_per_hour_without_changes_and_one_when_a_problem_is_over(monkeypatch):
    clock, lines = [0.0], []
    monkeypatch.setattr(every_command, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    monkeypatch.setattr(every_command, "say", lambda text, *_, **__: lines.append((clock[0], text)))
    log = every_command._Log(as_json=False)

    def cycle(report: Report, seconds: float = 0.1) -> None:
        log.note(Progress("a", "Spring"))
        clock[0] += seconds
        log.note(Progress("a", "Spring", listed=7))
        log.end(report)
        clock[0] += 60 - seconds

    for _ in range(121):
        cycle(Report("run"))
    assert [text for _, text in lines] == [
        "Nothing changed in 1 cycle.",
        "Nothing changed in 61 cycles.",
        "Nothing changed in 121 cycles.",
    ]
    lines.clear()
    cycle(Report("run"), seconds=31)
    assert [text for _, text in lines] == ["Spring: listing, 7 listed"]
    lines.clear()
    away = Report("run", errors=[ApiUnavailableError("The API is away.")])
    for report in (away, away, Report("run"), Report("run")):
        cycle(report)
    assert [text.partition(" Nothing")[0] for _, text in lines] == [
        "The API is away.",
        "The API is away.",
        "Succeeded again, after 2 cycles with problems.",
    ]


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """The socket of a service manager."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.settimeout(30)
        yield listener


def until(manager: socket.socket, expected: str) -> list[str]:
    """The messages to the service manager until one begins as expected."""
    received = [manager.recv(4096).decode()]
    while not received[-1].startswith(expected):
        received.append(manager.recv(4096).decode())
    return received


def test_a_real_process_reports_to_systemd_and_ends_with_success_between_two_cycles(manager, tmp_path):
    with Studio(frozen(30)) as studio:
        process = subprocess.Popen(
            [PROGRAM, "sync", "--every", "1h"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**environment(studio), "NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "300000"},
        )
        messages = until(manager, "STATUS=Cycle 1 ")
        assert messages.count("READY=1") == 1
        assert "succeeded" in messages[-1]
        for _ in range(3):
            # it waits, and is alive
            until(manager, "WATCHDOG=1")
        process.send_signal(signal.SIGTERM)
        out, printed = process.communicate(timeout=20)
        assert until(manager, "STOPPING=1")
    assert process.returncode == 0, printed
    assert out == ""
    assert "36 new" in printed and "Stopped between two cycles." in printed and "Traceback" not in printed


def test_a_real_process_that_is_interrupted_in_a_cycle_ends_at_once_and_the_next_run_continues(command):  # noqa: F811
    library = frozen(60)
    with Studio(library, limit_cap=20) as studio:
        process = subprocess.Popen(
            [PROGRAM, "sync", "--every", "1s", "--json", "--reconcile-every", "0", "--dataset-ids", *library.datasets],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(studio),
        )
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["exit_code"] == 0
        library.add_caption(media_of(library, frames=1)[0]["id"], "Late.")
        while not any(d["changed"] for d in json.loads(process.stdout.readline())["datasets"].values()):
            pass
        studio.latency = 5.0
        listed = len(studio.requests)
        while len(studio.requests) == listed:
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        _, printed = process.communicate(timeout=4)
        assert process.returncode == 143, printed
        assert "the next run continues" in printed and "Traceback" not in printed
        studio.latency = 0.0
        done = command(studio, "sync", "--json")
        assert done.exit_code == 0, done.output


@pytest.mark.parametrize("raises", [True, False])
def test_a_signal_whose_exception_was_swallowed_ends_the_run_all_the_same(pipeline, raises):
    def swallow(event):
        with suppress(BaseException):
            signal.raise_signal(signal.SIGTERM)

    handled = []

    def handler(number, frame):
        handled.append(number)
        if raises:
            raise KeyboardInterrupt

    usual = signal.signal(signal.SIGTERM, handler)
    try:
        with Studio(frozen(5)) as studio:
            with pytest.raises(KeyboardInterrupt) if raises else nullcontext():
                assert run_sync(pipeline, studio, progress=swallow).exit_code == 0
            assert handled and signal.getsignal(signal.SIGTERM) is handler
            assert_equal_to(pipeline, studio)
    finally:
        signal.signal(signal.SIGTERM, usual)


def test_an_error_of_this_package_is_no_reason_to_end(monkeypatch, clock):
    _, reports = cycles(monkeypatch, clock, (1, CorevizError("odd")), (1, GOOD))
    assert [next(reports).exit_code for _ in range(2)] == [1, 0]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd here")
def test_systemd_accepts_the_unit_of_the_page(tmp_path):
    (unit,) = blocks(PAGE, "ini")
    scheduled, _ = blocks(ROOT / "docs" / "operations.md", "ini")
    kept = re.compile(r"^(?:User|EnvironmentFile|\w+Directory|Environment|Protect\w+|PrivateTmp)=.*$", re.MULTILINE)
    # one takes the place of the other, over the same file
    assert sorted(kept.findall(unit)) == sorted(kept.findall(scheduled))
    Path("coreviz.service").write_text(unit.replace("/srv/coreviz/.venv/bin", str(Path(PROGRAM).parent)))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "./coreviz.service"], capture_output=True, text=True
    )
    assert (done.returncode, "coreviz" in done.stderr) == (0, False), done.stderr


def test_the_housekeeping_of_the_page_leaves_what_the_next_run_needs(pipeline, clock):
    (statements,) = blocks(PAGE, "sql")
    named = set(re.findall(r"SELECT _dlt_load_id FROM coreviz\.(\w+)", statements))
    assert named == {*BY_NAME, "_dlt_pipeline_state"}
    library = frozen(20)
    with Studio(library) as studio:
        given = arguments(studio, {})
        for cycle, _ in enumerate(sync_every(pipeline, wait=clock.wait, **given)):
            library.advance(minutes=1)
            if cycle == 3:
                break
            if cycle == 1:
                library.add_caption(media_of(library, frames=1)[0]["id"], "Its load has to stay.")
        for statement in statements.replace("now() - INTERVAL 90 DAY", "TIMESTAMPTZ '2999-01-01'").split(";")[:-1]:
            query(pipeline, statement)
        assert [r["complete"] for r in runs(pipeline)] == [True]
        assert query(pipeline, "SELECT count(*) FROM _dlt_loads") == [(2,)]
        for given in ({}, {"reconcile_every": "0"}):
            (report,) = run_sync(pipeline, studio, **given).datasets.values()
            assert (report.outcome, report.rows) == ("complete" if given else "window", {})
        assert_equal_to(pipeline, studio)


def test_a_cycle_or_a_plain_run_that_fails_lets_the_warehouse_go(pipeline, clock):
    with Studio(frozen(12)) as studio:
        cycles = sync_every(pipeline, "60s", wait=clock.wait, **arguments(studio, {}))
        assert next(cycles).exit_code == 0
        query(pipeline, "ALTER TABLE folders ALTER COLUMN item_count TYPE VARCHAR")
        report = next(cycles)
        assert report.exit_code == 7
        with pipeline.destination_client() as client:
            path = client.config.credentials.database
        # while this process has it open for writing, DuckDB refuses that
        duckdb.connect(path, read_only=True).close()
        with pytest.raises(PipelineStepFailed, match="item_count") as failure:
            run(pipeline, studio)
        duckdb.connect(path, read_only=True).close()
        # whoever keeps an error or a report keeps the objects of its frames
        assert failure.tb and report.errors
