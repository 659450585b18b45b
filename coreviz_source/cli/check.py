"""`coreviz-source check`."""

from __future__ import annotations

import sys
from typing import Any

import click

from coreviz_source.cli.options import settings

EXAMPLES = """\b
Examples:
  coreviz-source check                           all datasets that the account sees
  coreviz-source check --dataset-ids ID,ID
"""


@click.command("check", epilog=EXAMPLES)
@settings("dataset_ids", "api_key", "token", "base_url", "pipeline_name")
def command(pipeline_name: str | None, **arguments: Any) -> None:
    """Check the key and the datasets, with one request each, and print what was found."""
    from coreviz_source.client import Calls, CorevizClient
    from coreviz_source.errors import CorevizError, worst
    from coreviz_source.loading.configuration import pipeline_name_of, resolve
    from coreviz_source.values import canonical_id

    resolved = resolve(arguments, pipeline_name=pipeline_name_of(pipeline_name))
    client = CorevizClient(resolved)
    ids, names = resolved.dataset_ids, dict[str, str]()
    if not ids:
        found = client.datasets()
        click.echo(f"{resolved.base_url} accepts the key; the account sees {len(found)} datasets.")
        ids = tuple(info["id"] for info in found)
        names = {info["id"]: f" ({info['name']})" for info in found if info.get("name")}
    codes = []
    for dataset_id in ids:
        try:
            page = client.page(dataset_id, 0, 1, Calls())
            count = "?" if page.total is None else page.total
            click.echo(f"{canonical_id(dataset_id)}{names.get(dataset_id, '')}: {count} media and folders")
        except CorevizError as error:
            codes.append(error.exit_code)
            click.echo(f"{dataset_id}: {error}", err=True)
    sys.exit(worst(codes))
