"""`coreviz-source check`."""

from __future__ import annotations

import sys
from typing import Any

import click

from coreviz_source.cli.options import settings

EXAMPLES = """\b
Examples:
  coreviz-source check                           all datasets of the account, per organization
  coreviz-source check --dataset-ids ID,ID
"""


@click.command("check", epilog=EXAMPLES)
@settings("dataset_ids", "organization_ids", "api_key", "token", "base_url", "pipeline_name")
def command(pipeline_name: str | None, **arguments: Any) -> None:
    """Check the key and the datasets, with one request each, and print what was found."""
    from coreviz_source.api.http import Calls
    from coreviz_source.api.studio import CorevizClient
    from coreviz_source.errors import CorevizError, worst_exit_code
    from coreviz_source.loading.configuration import pipeline_name_of, resolve
    from coreviz_source.values import canonical_id

    resolved = resolve(arguments, pipeline_name=pipeline_name_of(pipeline_name))
    client = CorevizClient(resolved)
    codes = []

    def show(dataset_id: str, name: str = "", indent: str = "") -> None:
        try:
            page = client.page(dataset_id, 0, 1, Calls())
        except CorevizError as error:
            codes.append(error.exit_code)
            click.echo(f"{dataset_id}: {error}", err=True)
            return
        count = "?" if page.total is None else page.total
        click.echo(f"{indent}{canonical_id(dataset_id)}{name}: {count} media and folders")

    if resolved.dataset_ids:
        for dataset_id in resolved.dataset_ids:
            show(dataset_id)
        sys.exit(worst_exit_code(codes))
    account = client.account()
    click.echo(
        f"{resolved.base_url} accepts the key; the account has {_count(account.organizations, 'organization')} "
        f"and {_count(account.datasets, 'dataset')}."
    )
    owned: dict[str, list[dict[str, Any]]] = {organization.id: [] for organization in account.organizations}
    named = {organization.id: str(organization) for organization in account.organizations}
    for info in account.datasets:
        owned.setdefault(canonical_id(str(info["organizationId"])), []).append(info)
    for owner, datasets in owned.items():
        if owner not in account.unreachable:
            click.echo(f"{named.get(owner, owner)}: {_count(datasets, 'dataset')}")
        for info in datasets:
            show(info["id"], f" ({info['name']})" if info.get("name") else "", "  ")
    for warning in account.warnings:
        click.echo(warning, err=True)
    sys.exit(worst_exit_code(codes))


def _count(things: Any, noun: str) -> str:
    return f"{len(things)} {noun}{'' if len(things) == 1 else 's'}"
