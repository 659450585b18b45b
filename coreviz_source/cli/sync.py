"""`coreviz-source sync`."""

from __future__ import annotations

import json
import logging
import shlex
import signal
import sys
from importlib import metadata
from typing import TYPE_CHECKING, Any, NoReturn

import click
from click.core import ParameterSource

from coreviz_source.cli.every import run_every
from coreviz_source.cli.options import settings, warehouse
from coreviz_source.cli.output import INTERRUPTED, LeaveAtOnce, Lines, logged, say, say_notices, unless_nobody_reads
from coreviz_source.settings import SETTINGS, WAREHOUSE

if TYPE_CHECKING:
    import dlt

    from coreviz_source.cli.progress import Log, Screen
    from coreviz_source.report import DatasetReport, Progress, Report

EXAMPLES = """\b
Examples:
  coreviz-source sync                            all datasets of the account, into coreviz_library.duckdb
  coreviz-source sync --dry-run                  what a run would change
  coreviz-source sync --destination postgres     credentials in .dlt/secrets.toml
  coreviz-source sync --max-media 100            a sample
  coreviz-source sync --dataset-ids ID --resync  one dataset from scratch
  coreviz-source sync --json | jq .exit_code     for scripts
  coreviz-source sync --log-format json          one JSON object per line of the log
  coreviz-source sync --every 60s                keep running, and sync every minute
"""


@click.command("sync", epilog=EXAMPLES)
@click.option("--dry-run", is_flag=True, help="Print what a run would change, and write nothing.")
@click.option("--views/--no-views", default=True, help="Whether to create the views for analysts at the end.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object to stdout, and everything else to stderr.")
@click.option("--every", metavar="TIME", help="Keep running, and sync at this interval, such as 60s or 5m.")
@click.option("--max-failures", type=click.IntRange(1), help="With --every: end after so many failures in a row.")
@logged
@warehouse
@settings()
def command(
    pipeline: dlt.Pipeline,
    lines: Lines,
    dry_run: bool,
    views: bool,
    as_json: bool,
    every: str | None,
    max_failures: int | None,
    **arguments: Any,
) -> None:
    """Load what changed since the last run; the first run loads everything.

    Run it as often as you like: a run over an unchanged library writes only its own row in _coreviz_runs. A dataset
    that fails does not stop the others. If a run is interrupted or killed, the next run continues it.
    """
    from coreviz_source.cli.progress import Screen
    from coreviz_source.synchronize import sync

    if every is not None and dry_run:
        raise click.UsageError("--every and --dry-run cannot be combined.")
    if max_failures is not None and every is None:
        raise click.UsageError("--max-failures needs --every.")
    if every is not None:
        lines.follow_dlt(pipeline.run_context.runtime_config.log_format)
        _say_start(pipeline)
        run_every(pipeline, as_json=as_json, every=every, max_failures=max_failures, views=views, **arguments)
    display = _display(pipeline, lines, dry_run, as_json)
    usual = signal.signal(signal.SIGTERM, _terminate)
    try:
        with display:
            report = sync(pipeline, dry_run=dry_run, views=views, progress=display, **arguments)
    except KeyboardInterrupt as interruption:
        _leave(interruption, display.events, as_json)
    finally:
        signal.signal(signal.SIGTERM, usual)
    lines.above = None
    _say_end(report, is_result=not as_json)
    if isinstance(display, Screen) and report.datasets:
        say(f"The tables are in {_address(pipeline)}.", is_result=not as_json)
    if as_json:
        with unless_nobody_reads():
            click.echo(report.to_json())
    sys.exit(report.exit_code)


def _display(pipeline: dlt.Pipeline, lines: Lines, dry_run: bool, as_json: bool) -> Screen | Log:
    """What shows the progress of a run: a table on a terminal, otherwise lines."""
    from rich.console import Console

    from coreviz_source.cli.progress import Log, Screen

    def end(dataset: DatasetReport) -> None:
        _say_result(dataset, dry_run, is_result=not as_json)

    lines.follow_dlt(pipeline.run_context.runtime_config.log_format)
    # names of datasets may have brackets or colons, which are not for rich to interpret
    console = Console(stderr=True, markup=False, emoji=False)
    if console.is_terminal and not (console.is_dumb_terminal or lines.quiet or lines.as_json):
        # the table stays on the terminal, with everything but the messages
        screen = Screen(console, _say_message if as_json or sys.stdout.isatty() else end)
        lines.above = screen.print
        return screen
    _say_start(pipeline)
    return Log(end)


def _say_start(pipeline: dlt.Pipeline) -> None:
    version = metadata.version("coreviz-source")
    about: dict[str, Any] = {
        "warehouse": _address(pipeline),
        "schema": pipeline.dataset_name,
        "pipeline": pipeline.pipeline_name,
    }
    directory = pipeline.working_dir
    say(
        f"coreviz-source {version}: into {about['warehouse']}, schema {about['schema']}; pipeline {about['pipeline']}, "
        f"dlt's working directory {directory}",
        version=version,
        working_directory=directory,
        **about,
    )


def _address(pipeline: dlt.Pipeline) -> str:
    """Where the tables are, without a password; the destination alone while its credentials are wrong."""
    from coreviz_source.commands.status import location

    try:
        return location(pipeline)
    except Exception:
        # the run itself reports what is wrong with them
        return str(pipeline.destination.destination_name if pipeline.destination else "")


def _say_result(dataset: DatasetReport, dry_run: bool, is_result: bool) -> None:
    """The result of a dataset, and its message on a line of its own."""
    from coreviz_source.report import counted

    level = logging.ERROR if dataset.exit_code else logging.INFO
    numbers = ("listed", "new", "changed", "gone", "unchanged", "requests", "retries", "seconds")
    say(
        f"{dataset.dataset_id}{f' ({dataset.name})' if dataset.name else ''} {dataset.result}: "
        f"{dataset.counts(dry_run)}; {counted(dataset.requests, 'request')}, {dataset.seconds:.1f} s",
        level,
        is_result=is_result,
        dataset_id=dataset.dataset_id,
        name=dataset.name,
        outcome=dataset.outcome,
        exit_code=dataset.exit_code,
        rows=dataset.written,
        **{name: getattr(dataset, name) for name in numbers},
    )
    _say_message(dataset)


def _say_message(dataset: DatasetReport) -> None:
    if not dataset.message:
        return
    level = logging.ERROR if dataset.exit_code else logging.WARNING
    say(f"{dataset.title}: {dataset.message.strip()}", level, dataset_id=dataset.dataset_id)
    if dataset.refused_deletes:
        command = _command_without_brake(dataset.dataset_id)
        say(f"To remove them, run once: {command}", level, dataset_id=dataset.dataset_id, command=command)


def _command_without_brake(dataset_id: str) -> str:
    """The command that removes what is missing from a dataset: with the options of this one that stay in use."""
    context = click.get_current_context()
    replaced = {"dataset_ids", "organization_ids", "max_deletes"}
    options = [one for one in (*WAREHOUSE, *SETTINGS) if not (one.secret or one.name in replaced)]
    words = ["coreviz-source", "sync", "--dataset-ids", dataset_id, "--max-deletes", "1"]
    for one in options:
        value = context.params.get(one.name)
        if context.get_parameter_source(one.name) is ParameterSource.COMMANDLINE:
            words += [one.option] if value is True else [one.option, str(value)]
    return shlex.join(words)


def _say_end(report: Report, is_result: bool) -> None:
    for error in report.errors:
        say(str(error), logging.ERROR, exit_code=error.exit_code)
    for warning in report.warnings:
        say(warning, logging.WARNING)
    say_notices(report)
    names = report.unknown_fields
    if names:
        say(f"Fields without a column, kept in `extra`: {', '.join(names)}", unknown_fields=names)
    level = logging.ERROR if report.exit_code else logging.INFO
    say(report.summary, level, is_result=is_result, run=report.run, exit_code=report.exit_code, seconds=report.seconds)


class _Terminated(KeyboardInterrupt):
    signal_code = signal.SIGTERM


def _terminate(number: int, frame: object) -> NoReturn:
    raise _Terminated


def _leave(interruption: KeyboardInterrupt, events: dict[str, Progress], as_json: bool) -> NoReturn:
    # dlt's own exception has the signal that it caught
    code = 128 + int(getattr(interruption, "signal_code", signal.SIGINT))
    say(INTERRUPTED, logging.WARNING)
    if as_json:
        from coreviz_source.report import DatasetReports, Report

        report = Report("", DatasetReports.of(event.report_so_far() for event in events.values()))
        with unless_nobody_reads():
            click.echo(json.dumps({**report.to_dict(), "exit_code": code, "interrupted": True}))
    raise LeaveAtOnce(code)
