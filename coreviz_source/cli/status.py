"""`coreviz-source status`."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import textwrap
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from coreviz_source.cli.options import read_only_warehouse, settings
from coreviz_source.errors import ConfigurationError
from coreviz_source.report import counted

if TYPE_CHECKING:
    import dlt

    from coreviz_source.commands.status import DatasetStatus, Status

EXAMPLES = """\b
Examples:
  coreviz-source status                          for people
  coreviz-source status --json | jq '.warnings'  for scripts
  coreviz-source status --max-age 2h             for alerts: exit code 8 if a dataset is older than that
  coreviz-source status --format prometheus --output /var/lib/node_exporter/coreviz.prom
"""


@click.command("status", epilog=EXAMPLES)
@click.option(
    "--max-age",
    help="Exit with code 8 if the last run of a dataset that ended well began longer ago than this, such as 2h or 1d, "
    "or if it was never loaded. Datasets of other accounts do not count; with --dataset-ids, only those count.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json", "prometheus"]),
    help="text, one JSON object, or metrics for the textfile collector of node_exporter. Default: text.",
)
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write JSON or metrics into this file instead of stdout. Who reads it never finds half of it.",
)
@read_only_warehouse
@settings("dataset_ids", "api_key", "token", "base_url", "lookback", "reconcile_every")
def command(
    pipeline: dlt.Pipeline,
    max_age: str | None,
    form: str | None,
    as_json: bool,
    output: Path | None,
    **arguments: Any,
) -> None:
    """Print how fresh the warehouse is, what is pending, and what the next run will do.

    Works without a key and without a network, but then does not know which datasets the account lists. If the API does
    not accept the key, the exit code is 3.
    """
    from coreviz_source.commands.metrics import prometheus
    from coreviz_source.commands.status import read_status
    from coreviz_source.settings import check_duration

    if as_json and form not in (None, "json"):
        raise click.UsageError(f"--json and --format {form} cannot be combined.")
    form = "json" if as_json else form or "text"
    if output is not None and form == "text":
        raise click.UsageError("--output needs --format json or --format prometheus.")
    oldest = None if max_age is None else check_duration(max_age, "--max-age")
    status = read_status(pipeline, max_age=oldest, **arguments)
    if form == "text":
        _print_status(status)
    else:
        text = prometheus(status) if form == "prometheus" else f"{status.to_json()}\n"
        if output is None:
            click.echo(text, nl=False)
        else:
            _replace(output, text)
    sys.exit(status.exit_code)


def _replace(file: Path, text: str) -> None:
    """Writes a file at once: beside it, and then in its place. The collector ignores the other name."""
    beside = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    try:
        beside.write_text(text, encoding="utf-8")
        beside.replace(file)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise ConfigurationError(
            f"{file} cannot be written: {error.strerror}.", remedy="Name a file in a folder that this user may write."
        ) from None


def _print_status(status: Status) -> None:
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
    if dataset.other_account:
        _line("account", f"{dataset.owner}, loaded by another account")
    outcome = f", {dataset.outcome}" if dataset.outcome else ""
    _line("last run", f"{_ago(dataset.last_run)}{outcome}")
    if dataset.message:
        _line("", dataset.message.strip())
    if dataset.stale:
        _line("last good run", f"{_ago(dataset.last_good)}: stale")
    _line("last complete", _ago(dataset.last_complete))
    others = {name.replace("_", " "): n for name, n in dataset.rows.items() if name not in ("datasets", "media")}
    media = counted(dataset.media, "media item")
    _line("stored", ", ".join([media, *(f"{number:,} {name}" for name, number in others.items())]))
    if dataset.without_caption:
        _line("waiting", f"{counted(dataset.without_caption, 'media item')} without a caption")
    for notice in dataset.notices:
        _line("notice", notice.text)
    _line("next run", dataset.next_run)


def _line(label: str, text: str) -> None:
    # a pipe gets one line per value
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 10**6
    click.echo(textwrap.fill(text, width, initial_indent=f"  {label:<15}", subsequent_indent=" " * 17))


def _ago(moment: datetime | None) -> str:
    if moment is None:
        return "never"
    seconds = (datetime.now(timezone.utc) - moment).total_seconds()
    if seconds < -60:
        return f"{moment:%Y-%m-%d %H:%M UTC}, in the future: the clock of the server or of this machine was wrong"
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= length:
            return f"{moment:%Y-%m-%d %H:%M UTC}, {counted(int(seconds // length), unit)} ago"
    return f"{moment:%Y-%m-%d %H:%M UTC}, just now"
