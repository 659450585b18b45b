"""`coreviz-source forget`."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from coreviz_source.cli.options import warehouse
from coreviz_source.report import counted

if TYPE_CHECKING:
    import dlt

EXAMPLES = """\b
Examples:
  coreviz-source forget --dataset-ids ID         asks before it erases
  coreviz-source forget --media-ids ID,ID --yes  for scripts
"""


@click.command("forget", epilog=EXAMPLES)
@click.option("--dataset-ids", default="", help="Datasets to erase with all their media, separated by commas.")
@click.option(
    "--media-ids",
    default="",
    help="Media to erase with all that belongs to them, in any dataset.",
)
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object to stdout.")
@warehouse
def command(pipeline: dlt.Pipeline, dataset_ids: str, media_ids: str, yes: bool, as_json: bool) -> None:
    """Erase datasets or single media from every table: a privacy request.

    Erases rows from all tables and from the staging dataset, and dlt's packages on this machine. The rows of a
    dataset's runs are erased with it. The API is not asked and nothing is changed there: the next sync loads again
    what the API still has, so delete it in Studio first. Other machines that load into this warehouse keep their own
    packages.

    If an id is not found, the exit code is 4. What the other ids name is erased nevertheless.
    """
    from coreviz_source.commands.forget import Subject, find_rows, forget
    from coreviz_source.commands.status import location
    from coreviz_source.errors import DatasetNotFoundError
    from coreviz_source.warehouse.destination import destination_of

    subject = Subject(_ids(dataset_ids), _ids(media_ids))
    found = find_rows(pipeline, subject)
    where = f"{location(pipeline)}, schema {pipeline.dataset_name}"
    if not yes:
        _complain_of(found.not_found, where)
        if found.nothing and not found.packages:
            sys.exit(DatasetNotFoundError.exit_code)
        click.echo(f"To be erased from {where}: {_numbers(found.rows)}.", err=True)
        if found.packages:
            click.echo(f"Dropped with them: {counted(found.packages, 'package')} of an interrupted run.", err=True)
        if not sys.stdin.isatty():
            raise click.UsageError("Nothing was erased: there is no terminal to ask for confirmation on. Add --yes.")
        click.confirm("Erase?", abort=True, err=True)
    erased = forget(pipeline, subject)
    if as_json:
        click.echo(json.dumps(asdict(erased)))
    elif not erased.nothing:
        click.echo(f"Erased from {where}: {_numbers(erased.rows)}.")
        click.echo(f"Erased from staging: {_numbers(erased.staging)}. No package of dlt is left on this machine.")
    if not erased.nothing:
        click.echo(destination_of(pipeline).remains_after_forget, err=True)
        click.echo("The next sync loads again what the API still has.", err=True)
    if erased.not_found:
        _complain_of(erased.not_found, where)
        sys.exit(DatasetNotFoundError.exit_code)


def _complain_of(not_found: list[str], where: str) -> None:
    if not_found:
        text = f"Not found in {where}, so nothing was erased of it: {', '.join(not_found)}. Check the spelling."
        click.echo(text, err=True)


def _ids(text: str) -> list[str]:
    return [item.strip() for item in text.split(",") if item.strip()]


def _numbers(rows: dict[str, Any]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in rows.items()) or "nothing"
