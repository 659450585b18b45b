"""`coreviz-source status`."""

from __future__ import annotations

import shlex
import shutil
import sys
import textwrap
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from coreviz_source.cli.options import read_only_warehouse, settings

if TYPE_CHECKING:
    import dlt

    from coreviz_source.commands.status import DatasetStatus

EXAMPLES = """\b
Examples:
  coreviz-source status                          for people
  coreviz-source status --json | jq '.warnings'  for alerts
"""


@click.command("status", epilog=EXAMPLES)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object to stdout.")
@read_only_warehouse
@settings("dataset_ids", "api_key", "token", "base_url", "lookback", "reconcile_every")
def command(pipeline: dlt.Pipeline, as_json: bool, **arguments: Any) -> None:
    """Print how fresh the warehouse is, what is pending, and what the next run will do.

    Works without a key and without a network, but then cannot tell which datasets left the account.
    """
    from coreviz_source.commands.status import read_status

    status = read_status(pipeline, **arguments)
    if as_json:
        click.echo(status.to_json())
        return
    click.echo(f"{status.destination}, schema {status.schema}")
    directory = Path(status.working_directory)
    if directory.is_dir():
        folder = shlex.quote(str(directory.parent))
        click.echo(f"dlt's own commands: dlt pipeline --pipelines-dir {folder} {directory.name} info")
    for dataset in status.datasets:
        _print(dataset)
    if not status.datasets:
        click.echo("Nothing has been loaded yet.")
    if status.account:
        click.echo(f"Datasets of the account: {status.account}.", err=True)
    for warning in status.warnings:
        click.secho(f"Warning: {warning}", fg="yellow", err=True)


def _print(dataset: DatasetStatus) -> None:
    click.echo(f"{click.style(dataset.name or 'Dataset', bold=True)}  {dataset.dataset_id}")
    outcome = f", {dataset.outcome}" if dataset.outcome else ""
    _line("last run", f"{_ago(dataset.last_run)}{outcome}")
    if dataset.message:
        _line("", dataset.message.strip())
    _line("last complete", _ago(dataset.last_complete))
    others = {name.replace("_", " "): n for name, n in dataset.rows.items() if name not in ("datasets", "media")}
    _line("stored", ", ".join([f"{dataset.media:,} media", *(f"{n:,} {name}" for name, n in others.items())]))
    if dataset.without_caption:
        _line("waiting", f"{dataset.without_caption:,} media have no caption")
    _line("next run", dataset.next_run)


def _line(label: str, text: str) -> None:
    # a pipe gets one line per value
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 10**6
    click.echo(textwrap.fill(text, width, initial_indent=f"  {label:<15}", subsequent_indent=" " * 17))


def _ago(moment: datetime | None) -> str:
    if moment is None:
        return "never"
    seconds = (datetime.now(timezone.utc) - moment).total_seconds()
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= length:
            count = int(seconds // length)
            return f"{moment:%Y-%m-%d %H:%M UTC}, {count} {unit}{'s' if count > 1 else ''} ago"
    return f"{moment:%Y-%m-%d %H:%M UTC}, just now"
