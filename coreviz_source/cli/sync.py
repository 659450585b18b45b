"""`coreviz-source sync`."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import textwrap
from typing import TYPE_CHECKING, Any, NoReturn

import click

from coreviz_source.cli.every import run_every
from coreviz_source.cli.options import settings, warehouse
from coreviz_source.cli.output import unless_nobody_reads

if TYPE_CHECKING:
    import dlt

    from coreviz_source.report import DatasetReport, Progress, Report

EXAMPLES = """\b
Examples:
  coreviz-source sync                            all datasets of the account, into coreviz_library.duckdb
  coreviz-source sync --dry-run                  what a run would change
  coreviz-source sync --destination postgres     credentials in .dlt/secrets.toml
  coreviz-source sync --max-media 100            a sample
  coreviz-source sync --dataset-ids ID --resync  one dataset from scratch
  coreviz-source sync --json | jq .exit_code     for scripts
  coreviz-source sync --every 60s                stay, and sync again every minute
"""


@click.command("sync", epilog=EXAMPLES)
@click.option("--dry-run", is_flag=True, help="Print what a run would change, and write nothing.")
@click.option("--views/--no-views", default=True, help="Whether to create the views for analysts at the end.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object to stdout, and everything else to stderr.")
@click.option("--every", metavar="TIME", help="Stay, and sync again so long after the last time, such as 60s or 5m.")
@click.option("--max-failures", type=click.IntRange(1), help="With --every: end after so many failures in a row.")
@warehouse
@settings()
def command(
    pipeline: dlt.Pipeline,
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
    import logging

    if every is not None and dry_run:
        raise click.UsageError("--every and --dry-run cannot be combined.")
    if max_failures is not None and every is None:
        raise click.UsageError("--max-failures needs --every.")

    from rich.console import Console

    from coreviz_source.cli.progress import Log, Screen
    from coreviz_source.commands.status import location
    from coreviz_source.synchronize import sync

    # errors are in the report, which is printed
    logging.getLogger("coreviz_source").addHandler(logging.NullHandler())
    logging.getLogger("coreviz_source").propagate = False
    if every is not None:
        run_every(pipeline, as_json=as_json, every=every, max_failures=max_failures, views=views, **arguments)
    # names of datasets may have brackets or colons, which are not for rich to interpret
    console = Console(stderr=True, markup=False, emoji=False)
    live = console.is_terminal and not console.is_dumb_terminal
    display = Screen(console) if live else Log(lambda report: _print(report, dry_run, to_stderr=as_json))
    waits = logging.Handler()
    waits.emit = lambda record: display.print(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("coreviz_source.warehouse.locks").addHandler(waits)
    usual = signal.signal(signal.SIGTERM, _terminate)
    try:
        with display:
            report = sync(pipeline, dry_run=dry_run, views=views, progress=display, **arguments)
    except KeyboardInterrupt as interruption:
        _leave(interruption, display.events, as_json)
    finally:
        signal.signal(signal.SIGTERM, usual)
        logging.getLogger("coreviz_source.warehouse.locks").removeHandler(waits)
    if live:
        for dataset in report.datasets.values():
            # on a terminal the table stays, with everything else
            if sys.stdout.isatty() or as_json:
                _print_message(dataset)
            else:
                _print(dataset, dry_run, to_stderr=False)
    for error in report.errors:
        _complain(str(error), "red")
    for warning in report.warnings:
        _complain(warning, "yellow")
    if report.datasets:
        _echo(f"{_summary(report)}\nThe tables are in {location(pipeline)}.", err=as_json)
    if as_json:
        _echo(report.to_json())
    sys.exit(report.exit_code)


def _echo(text: str, err: bool = False) -> None:
    # a run continues when nobody reads its output any more
    with unless_nobody_reads():
        click.echo(text, err=err)


def _print(dataset: DatasetReport, dry_run: bool, to_stderr: bool) -> None:
    rows = sum(dataset.rows.values())
    _echo(
        f"{dataset.dataset_id}{f' ({dataset.name})' if dataset.name else ''}  {dataset.outcome}: "
        f"{dataset.listed} listed, {dataset.new} new, {dataset.changed} changed, {dataset.gone} deleted; "
        f"{rows} rows {'would be ' if dry_run else ''}written, {dataset.requests} requests, {dataset.seconds:.1f} s",
        err=to_stderr,
    )
    _print_message(dataset)


def _print_message(dataset: DatasetReport) -> None:
    if dataset.message:
        text = f"  {dataset.name or dataset.dataset_id}: {dataset.message.strip()}"
        _complain(text, "red" if dataset.exit_code else "yellow")


def _complain(text: str, color: str) -> None:
    # a log has one line per message
    width = shutil.get_terminal_size().columns if sys.stderr.isatty() else 10**6
    click.secho(textwrap.fill(text, width, subsequent_indent="  "), fg=color, err=True)


def _summary(report: Report) -> str:
    done = report.datasets.values()
    failed = sum(dataset.exit_code != 0 for dataset in done)
    rows = sum(n for dataset in done for n in dataset.rows.values())
    fields = sorted({name for dataset in done for name in dataset.unknown_fields})
    many = f"{len(done)} dataset{'' if len(done) == 1 else 's'}"
    problems = f", {failed} with problems" if failed else ""
    unknown = f"\nFields without a column, kept in `extra`: {', '.join(fields)}" if fields else ""
    written = f"{rows:,} rows {'would be ' if report.dry_run else ''}written in {report.seconds:.1f} s"
    return f"{many}{problems}; {written}{unknown}"


class _Terminated(KeyboardInterrupt):
    signal_code = signal.SIGTERM


def _terminate(number: int, frame: object) -> NoReturn:
    raise _Terminated


def _leave(interruption: KeyboardInterrupt, events: dict[str, Progress], as_json: bool) -> NoReturn:
    # dlt's own exception has the signal that it caught
    code = 128 + int(getattr(interruption, "signal_code", signal.SIGINT))
    click.echo("Interrupted. Everything that was loaded stays, and the next run continues from there.", err=True)
    if as_json:
        from coreviz_source.report import DatasetReports, Report

        report = Report("", DatasetReports.of(event.report_so_far() for event in events.values()))
        _echo(json.dumps({**report.to_dict(), "exit_code": code, "interrupted": True}))
    sys.stderr.flush()
    # to wait for the requests that are under way could take minutes, if the API does not respond
    os._exit(code)
