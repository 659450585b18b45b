"""The command as people and schedulers use it: real processes, their output, their exit codes."""

from __future__ import annotations

import io
import json
import logging
import os
import pty
import re
import select
import shlex
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path

import duckdb
import pytest
from click.testing import CliRunner, Result
from filelock import FileLock

import coreviz_source
from coreviz_source.cli import main
from coreviz_source.cli.output import Lines, say
from coreviz_source.commands.schema import as_json
from coreviz_source.local_studio import Studio
from coreviz_source.settings import SETTINGS, WAREHOUSE
from coreviz_source.tables import TABLES
from tests import forked, hostile
from tests.scenario import assert_equal_to, frozen, media_of, run_sync

PROGRAM = str(Path(sys.executable).parent / "coreviz-source")
ESCAPE = "\x1b"


def environment(studio: Studio, **more: str) -> dict[str, str]:
    given = {"COREVIZ_API_KEY": studio.key, "SOURCES__COREVIZ__BASE_URL": studio.url, "COLUMNS": "100"}
    return {**os.environ, **given, **more}


@pytest.fixture
def command():
    """Runs a command in this process, which is quicker than one of its own: exit code, stdout, stderr."""

    def run(studio: Studio, *arguments: str, **more: str) -> Result:
        result = CliRunner().invoke(main, arguments, env=environment(studio, **more))
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result

    return run


def on_terminal(studio: Studio, *arguments: str, **more: str) -> tuple[int, str]:
    """The exit code and everything that a command wrote to a terminal of 100 columns."""
    terminal, theirs = pty.openpty()
    process = subprocess.Popen(
        [forked.command(), *arguments],
        stdout=theirs,
        stderr=theirs,
        stdin=theirs,
        env=environment(studio, TERM="xterm", **more),
    )
    os.close(theirs)
    said = b""
    while process.poll() is None or select.select([terminal], [], [], 0)[0]:
        try:
            said += os.read(terminal, 65536)
        except OSError:
            break
    os.close(terminal)
    return process.wait(), said.decode()


def everything(path: Path) -> dict[str, list[str]]:
    """Every row of every table of a DuckDB file, dlt's own and staging included."""
    with duckdb.connect(str(path), read_only=True) as database:
        tables = database.execute(
            "SELECT table_schema, table_name FROM information_schema.tables WHERE table_type = 'BASE TABLE'"
        ).fetchall()
        return {
            f"{schema}.{name}": sorted(map(str, database.execute(f'SELECT * FROM "{schema}"."{name}"').fetchall()))
            for schema, name in tables
        }


def test_the_command_imports_nothing_heavy_before_it_has_something_to_do():
    code = (
        "import sys, types; package = types.ModuleType('coreviz_source'); "
        f"package.__path__ = {list(coreviz_source.__path__)}; sys.modules['coreviz_source'] = package; "
        "import coreviz_source.cli; "
        "print({'dlt', 'duckdb', 'pyarrow', 'requests', 'rich', 'starlette'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "set()\n", done.stdout + done.stderr


def test_the_help_names_the_variable_of_every_setting_and_shows_examples():
    def said(*arguments):
        return re.sub(r"\s+", " ", CliRunner().invoke(main, [*arguments, "--help"]).output)

    for setting in (*SETTINGS, *WAREHOUSE):
        assert f"[{setting.variable}]" in said("sync"), setting.name
    for name in set(main.commands) - {"demo"}:
        assert f"coreviz-source {name}" in said(name), name
    assert "[sources.coreviz] in .dlt/config.toml" in said()


def test_variables_and_configuration_say_where_the_tables_are():
    Path(".dlt").mkdir()
    Path(".dlt/config.toml").write_text('[sources.coreviz]\npipeline_name = "elsewhere"\ndataset_name = "other"\n')
    with Studio(frozen(12)) as studio:
        # in a process of its own: dlt reads its files once
        more = environment(studio, SOURCES__COREVIZ__DATASET_NAME="of_the_variable")
        done = subprocess.run([forked.command(), "sync"], capture_output=True, text=True, env=more)
    assert done.returncode == 0, done.stderr
    assert "of_the_variable.media" in everything(Path("elsewhere.duckdb"))


def test_a_destination_that_does_not_exist_is_a_wrong_setting(command):
    with Studio(frozen(12)) as studio:
        wrong = command(studio, "sync", SOURCES__COREVIZ__DESTINATION="oracle")
    assert wrong.exit_code == 2
    assert "sources.coreviz" in wrong.stderr


def test_sync_says_one_json_object_on_stdout_and_everything_else_on_stderr(command):
    library = frozen(30, datasets=2)
    good, bad = library.datasets
    with library.changing(media_of(library, good)[0]["id"]) as item:
        item["brandNew"] = 1
    with Studio(library, before=hostile.failing(bad.replace("-", ""), hostile.status(404))) as studio:
        done = command(studio, "sync", "--json")
        plain = command(studio, "sync")
    told = json.loads(done.stdout)
    assert (done.exit_code, told["exit_code"]) == (4, 4)
    assert told["datasets"][bad]["outcome"] == "failed"
    lines = done.stderr.splitlines()
    assert sum(line.endswith(": begins") for line in lines) == 2
    assert (
        sum(" complete (the whole dataset): " in line or " failed (see the message): " in line for line in lines) == 2
    )
    # without --json the results are the output, and the log is not
    assert {line.split(" ")[3] for line in plain.stdout.splitlines()[:2]} == set(library.datasets)
    assert "2 datasets, 1 with problems; " in plain.stdout and plain.stdout.endswith(
        "exit code 4 (dataset not found)\n"
    )
    assert sum(line[25:].startswith(" Fields without a column, kept in `extra`: ") for line in lines) == 1
    assert ESCAPE not in done.stdout + done.stderr + plain.stdout + plain.stderr


def test_each_line_of_a_log_is_json_if_wanted_those_of_dlt_and_errors_before_the_run_included(command):
    library = frozen(12)
    (dataset,) = library.datasets
    with Studio(library, before=hostile.failing("none", hostile.status(404))) as studio:
        done = command(studio, "sync", "-v", "--log-format", "json")
        as_dlt = command(studio, "sync", "--lookback", "soon", RUNTIME__LOG_FORMAT="JSON")
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    start, *_ = (one for one in lines if one["logger"] == "coreviz_source.cli")
    address = str(Path("coreviz_library.duckdb").absolute())
    assert start["warehouse"] == f"duckdb:///{address}" and start["version"] in start["message"]
    assert (start["schema"], start["pipeline"]) == ("coreviz", "coreviz_library")
    # phases, requests, and what dlt reports
    assert {"listing", "loading"} <= {one.get("phase") for one in lines}
    assert any("/media?" in one["message"] for one in lines if one["logger"] == "urllib3.connectionpool")
    assert {one["level"] for one in lines if one["logger"] == "dlt"} >= {"INFO"}
    result, end = (json.loads(line) for line in done.stdout.splitlines())
    assert (result["dataset_id"], result["outcome"], result["listed"], result["new"]) == (dataset, "complete", 18, 18)
    assert (end["level"], end["exit_code"]) == ("INFO", 0)
    assert [json.loads(line).get("exit_code") for line in as_dlt.stderr.splitlines()] == [None, 2]
    assert as_dlt.exit_code == 2
    assert studio.key not in done.output


def test_a_quiet_run_prints_what_is_wrong_and_nothing_else(command):
    library = frozen(12)
    (dataset,) = library.datasets
    with Studio(library) as studio:
        assert command(studio, "sync", "--quiet").output == ""
        studio.before = hostile.failing(dataset.replace("-", ""), hostile.status(404))
        failed = command(studio, "sync", "-q")
    assert (failed.exit_code, command(studio, "sync", "-q", "-v").exit_code) == (4, 2)
    lines = failed.output.splitlines()
    notices = [line for line in lines if "Z WARNING Notice: Spring Catalogue: " in line]
    assert len(notices) == 1 and "the API no longer has the dataset" in notices[0]
    assert len(lines) == 4 and all("Z ERROR " in line for line in lines if line not in notices)
    assert lines[0].partition("ERROR ")[2].startswith(f"{dataset} (Spring Catalogue) failed (see the message): 0 items")


def test_a_traceback_of_an_unexpected_error_is_printed_only_if_wanted_each_line_with_its_time(command, monkeypatch):
    def broken(*_):
        raise RuntimeError("a bug of ours")

    monkeypatch.setattr("coreviz_source.mirror.media_rows", broken)
    with Studio(frozen(12)) as studio:
        plain, verbose = command(studio, "sync"), command(studio, "sync", "-v")
    assert (plain.exit_code, verbose.exit_code) == (1, 1)
    assert "RuntimeError: a bug of ours" in plain.stderr and "Traceback" not in plain.output
    lines = verbose.stderr.splitlines()
    assert sum("Z ERROR Traceback (most recent call last):" in line for line in lines) == 1
    assert all(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ (DEBUG|INFO|WARNING|ERROR)( |$)", line) for line in lines)


def test_a_traceback_that_dlt_reports_is_its_last_line_unless_wanted(capsys):
    try:
        raise ValueError("No space left")
    except ValueError:
        quoted = traceback.format_exc()
    for verbose in (False, True):
        with Lines(False, False, verbose).printing():
            logging.getLogger("dlt").warning("Job media retried with message %s", quoted)
        said = capsys.readouterr().err
        assert said.endswith("ValueError: No space left\n") and said.count("\n") == 1
        assert ("Traceback" in said) == verbose


def test_a_name_with_line_breaks_and_control_characters_is_one_line_of_a_log(command):
    library = frozen(12)
    (dataset,) = library.datasets
    library.datasets[dataset].info["name"] = "[red]a[/]\n2026-01-01 00:00:00Z ERROR forged\x1b[2J :dog:"
    with Studio(library) as studio:
        done = command(studio, "sync")
    assert "([red]a[/] 2026-01-01 00:00:00Z ERROR forged [2J :dog:)" in done.stdout
    assert not [line for line in done.output.splitlines() if line.startswith("2026-01-01")]
    assert ESCAPE not in done.output


def test_a_line_that_the_output_cannot_encode_is_printed_with_escapes(monkeypatch):
    output = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", output)
    for objects in (False, True):
        with Lines(objects, quiet=False, verbose=False).printing():
            say("Fr\u00fchling \ud800", is_result=True)
    output.seek(0)
    plain, as_object = output.read().splitlines()
    assert plain.endswith("Z INFO Fr\\xfchling \\ud800")
    assert json.loads(as_object)["message"] == "Fr\u00fchling \ud800"


def test_the_delete_brake_prints_the_command_that_removes_what_is_missing(command):
    library = frozen(30)
    (dataset,) = library.datasets
    given = ("--dataset-name", "its own", "--page-size", "20", "--reconcile-every", "0", "--resync")
    with Studio(library) as studio:
        command(studio, "sync", *given)
        for item in media_of(library)[:12]:
            library.delete(item["id"])
        braked = command(studio, "sync", *given, "--max-deletes", "0.1", "--json", "--api-key", studio.key)
        assert (braked.exit_code, json.loads(braked.stdout)["datasets"][dataset]["refused_deletes"]) == (6, 12)
        assert "12 of 30 media items are missing from the API. One run removes at most 10." in braked.stderr
        (line,) = (line for line in braked.stderr.splitlines() if "To remove them, run once: " in line)
        program, *words = shlex.split(line.partition("run once: ")[2])
        assert (program, "--api-key" in words, words.count("--max-deletes")) == ("coreviz-source", False, 1)
        done = command(studio, *words)
    assert done.exit_code == 0 and " 12 deleted " in done.stdout
    with duckdb.connect("coreviz_library.duckdb", read_only=True) as database:
        assert database.execute('SELECT count(*) FROM "its_own".media').fetchall() == [(18,)]


def test_a_log_gets_a_line_now_and_then_while_a_dataset_is_listed(command, monkeypatch):
    monkeypatch.setattr("coreviz_source.cli.progress.EVERY", 0.1)
    with Studio(frozen(60), latency=0.25) as studio:
        done = command(studio, "sync", "--dry-run", "--page-size", "20", "--parallel-requests", "1")
    between = [line for line in done.stderr.splitlines() if "listing, " in line]
    assert any(
        re.search(r"Z INFO [-0-9a-f]{36} \(Spring Catalogue\): listing, \d+ of 66 listed; ", line) for line in between
    )
    lines = done.stdout.splitlines() + done.stderr.splitlines()
    assert all(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ INFO ", line) for line in lines)


@pytest.mark.parametrize("line", ["sync", "forget --media-ids ID --yes"])
def test_a_command_that_waits_for_another_run_reports_it_and_exits_with_code_7(command, monkeypatch, line):
    monkeypatch.setattr("coreviz_source.warehouse.locks.PATIENCE", 0.2)
    with Studio(frozen(12)) as studio:
        assert command(studio, "sync").exit_code == 0
        with FileLock("coreviz_library.duckdb.lock"):
            Path("coreviz_library.duckdb.owner").write_text("process 7 on another.example")
            done = command(studio, *line.split())
    assert done.exit_code == 7
    assert "in use by process 7 on another.example; waited 0 s." in done.stderr
    if line == "sync":
        assert "WARNING Waiting for the DuckDB file" in done.stderr.splitlines()[1]


@pytest.mark.parametrize("colors", [True, False])
def test_a_terminal_shows_a_table_in_colors_unless_they_are_not_wanted(colors):
    library = frozen(60, datasets=2)
    with Studio(library, latency=0.05) as studio:
        code, said = on_terminal(studio, "sync", **({} if colors else {"NO_COLOR": "1"}))
    assert code == 0, said
    for word in ("listing", "waiting", "loading", "done", "listed", "36/36"):
        assert word in said, said
    assert bool(re.search(ESCAPE + r"\[(\d+;)*3[0-9]m", said)) is colors
    # the last table stays: both datasets are done
    assert said[said.rindex("per second") :].count("✓") == 2


def test_a_dry_run_says_what_the_next_run_then_does_and_writes_nothing(command):
    library = frozen(60, datasets=2)
    first, _ = library.datasets
    with Studio(library) as studio:
        dry = command(studio, "sync", "--dry-run")
        assert (dry.exit_code, list(Path().glob("*.duckdb"))) == (0, [])
        assert "30 new" not in dry.stdout and "36 new" in dry.stdout
        assert command(studio, "sync").exit_code == 0
        library.delete(media_of(library, first)[2]["id"])
        library.add_caption(media_of(library, first, frames=1)[3]["id"], "New.")
        library.add_media(first, processing=False)
        path = Path("coreviz_library.duckdb")
        before, files = everything(path), sorted(map(str, Path("dlt").rglob("*")))
        dry = command(studio, "sync", "--dry-run", "--json")
        assert (everything(path), sorted(map(str, Path("dlt").rglob("*")))) == (before, files)
        real = command(studio, "sync", "--json")
        braked = command(studio, "sync", "--dry-run", "--reconcile-every", "0", "--max-deletes", "0")
        assert braked.exit_code == 0
        library.delete(media_of(library, first)[2]["id"])
        braked = command(studio, "sync", "--dry-run", "--reconcile-every", "0", "--max-deletes", "0")
        assert braked.exit_code == 6
    told, did = json.loads(dry.stdout), json.loads(real.stdout)
    assert (told["dry_run"], did["dry_run"]) == (True, False)
    counted = ("outcome", "listed", "new", "changed", "gone", "unchanged", "rows")
    for dataset, report in did["datasets"].items():
        assert {name: told["datasets"][dataset][name] for name in counted} == {name: report[name] for name in counted}
    assert (report["new"], did["datasets"][first]["new"], did["datasets"][first]["gone"]) == (0, 1, 1)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_sync_ends_cleanly_and_the_next_one_finishes(command, number, code):
    library = frozen(200)
    with Studio(library, latency=0.3, limit_cap=20) as studio:
        process = subprocess.Popen(
            [PROGRAM, "sync", "--json", "--parallel-requests", "1"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(studio),
        )
        while len(studio.requests) < 6:
            time.sleep(0.02)
        process.send_signal(number)
        began = time.monotonic()
        out, said = process.communicate(timeout=20)
        assert time.monotonic() - began < 5
        assert process.returncode == code, said
        assert "the next run continues" in said
        assert "Traceback" not in said
        told = json.loads(out)
        assert (told["exit_code"], told["interrupted"]) == (code, True)
        studio.latency = 0
        assert command(studio, "sync").exit_code == 0
        with duckdb.connect("coreviz_library.duckdb", read_only=True) as database:
            (count,) = database.execute("SELECT count(*) FROM coreviz.media").fetchone() or (0,)
    assert count == 200


@pytest.mark.parametrize("option", ["--dry-run", "--every=60s"])
def test_an_interrupted_command_that_loaded_nothing_leaves_nothing_on_disk(tmp_path, option):
    places = {"TMPDIR": str(tmp_path / "tmp"), "DLT_DATA_DIR": str(tmp_path / "dlt")}
    (tmp_path / "tmp").mkdir()
    with Studio(frozen(12), latency=30) as studio:
        process = subprocess.Popen([PROGRAM, "sync", option], env={**environment(studio), **places})
        while not studio.requests:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=20) == 130
    left = [path for path in tmp_path.rglob("*") if path.name not in ("tmp", "dlt")]
    assert left == []


@pytest.mark.parametrize("step", ["listing", "loading", "load"])
def test_an_interruption_at_any_step_is_raised_and_the_next_run_ends_equal_to_the_truth(pipeline, monkeypatch, step):
    from dlt.common.exceptions import SignalReceivedException
    from dlt.load.load import Load

    library = frozen(40)

    def interrupt(event):
        if event.phase == step:
            raise KeyboardInterrupt

    def signalled(*_):
        raise SignalReceivedException(signal.SIGINT)

    with Studio(library) as studio:
        with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
            if step == "load":
                patched.setattr(Load, "run", signalled)
            run_sync(pipeline, studio, progress=interrupt)
        assert pipeline.has_pending_data is (step == "load")
        assert run_sync(pipeline, studio).exit_code == 0
        assert_equal_to(pipeline, studio)


def test_the_schema_as_json_holds_every_table_and_column():
    told = json.loads(CliRunner().invoke(main, ["schema", "--format", "json"]).output)
    assert told == json.loads(as_json())
    assert {t["name"]: [c["name"] for c in t["columns"]] for t in told["tables"]} == {
        table.name: [c.name for c in table.columns] for table in TABLES
    }


def test_the_studio_alone_says_its_address_and_ends_with_ctrl_c():
    process = subprocess.Popen(
        [PROGRAM, "studio", "--media", "12", "--datasets", "1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    url, key, dataset = process.stdout.readline().split()
    done = CliRunner().invoke(main, ["check", "--dataset-ids", dataset, "--base-url", url, "--api-key", key])
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=20) == 0
    assert done.stdout == f"{dataset}: 18 media and folders\n"
