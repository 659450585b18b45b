"""`coreviz-source forget`."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from coreviz_source.cli.options import warehouse

if TYPE_CHECKING:
    import dlt

EXAMPLES = """\b
Examples:
  coreviz-source forget --dataset-ids ID         asks before it erases
  coreviz-source forget --media-ids ID,ID --yes  for scripts
"""


@click.command("forget", epilog=EXAMPLES)
@click.option("--dataset-ids", default="", help="Datasets to erase with all that they hold, separated by commas.")
@click.option("--media-ids", default="", help="Media to erase with all that belongs to them, in whichever dataset.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout that says what was erased.")
@warehouse
def command(pipeline: dlt.Pipeline, dataset_ids: str, media_ids: str, yes: bool, as_json: bool) -> None:
    """Erase datasets or single media from every table: a privacy request.

    Erases rows from all tables and from the staging dataset, and dlt's packages on this machine; of a dataset
    also the lines of its runs. Asks the API nothing and changes nothing there: the next sync brings back what the API
    still has, so delete it in Studio first. Other machines that load into this warehouse keep their own packages.
    """
    from coreviz_source.forget import Subject, find_rows, forget
    from coreviz_source.status import location
    from coreviz_source.warehouse.destination import destination_of

    subject = Subject(_ids(dataset_ids), _ids(media_ids))
    found = find_rows(pipeline, subject)
    where = f"{location(pipeline)}, schema {pipeline.dataset_name}"
    if not yes:
        if found.nothing:
            click.echo(f"No row of these is in {where}.", err=True)
        else:
            click.echo(f"To be erased from {where}: {_counted(found.rows)}.", err=True)
        if found.packages:
            click.echo(f"{found.packages} packages that an interrupted run left are dropped, too.", err=True)
        if not sys.stdin.isatty():
            raise click.UsageError("Nothing was erased: this cannot be asked here; add --yes.")
        click.confirm("Erase?", abort=True, err=True)
    erased = forget(pipeline, subject)
    if as_json:
        click.echo(json.dumps(asdict(erased)))
    else:
        click.echo(f"Erased from {where}: {_counted(erased.rows)}.")
        click.echo(f"Erased from staging: {_counted(erased.staging)}. No package of dlt is left on this machine.")
    click.echo(destination_of(pipeline).remains_after_forget, err=True)
    click.echo("The next sync brings back what the API still has.", err=True)


def _ids(text: str) -> list[str]:
    return [item.strip() for item in text.split(",") if item.strip()]


def _counted(rows: dict[str, Any]) -> str:
    return ", ".join(f"{count} {name}" for name, count in rows.items()) or "nothing"
