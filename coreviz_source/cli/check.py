"""`coreviz-source check`."""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from coreviz_source.cli.options import settings
from coreviz_source.report import counted

if TYPE_CHECKING:
    from coreviz_source.commands.audit import Audit
    from coreviz_source.commands.check import Checked, CheckedDataset
    from coreviz_source.settings import Settings

EXAMPLES = """\b
Examples:
  coreviz-source check                           all datasets of the account, per organization
  coreviz-source check --dataset-ids ID,ID
  coreviz-source check --contract                what the API does, to paste into an issue
  coreviz-source check --audit                   is the warehouse what the API has
"""

#: Differences that are printed per dataset; `--json` has all of them.
_MOST_PRINTED = 50


@click.command("check", epilog=EXAMPLES)
@click.option(
    "--contract",
    "mode",
    flag_value="contract",
    help="Find out which assumptions about the API hold: at most 30 reading requests per dataset. The report has no "
    "id, name, text, address or key.",
)
@click.option(
    "--audit",
    "mode",
    flag_value="audit",
    help="Compare the warehouse with the API after a run. Exit code 6 if they differ. The report names ids.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object to stdout.")
@click.option("--show-ids", is_flag=True, help="With --contract: print the ids behind the numbers to stderr.")
@click.option(
    "--sample",
    type=click.IntRange(min=0),
    help="With --audit: media items per dataset that are compared in full, chosen at random. Default: 20.",
)
@settings(
    *("dataset_ids", "organization_ids", "api_key", "token", "base_url", "lookback", "ignored_fields"),
    *("destination", "dataset_name", "pipeline_name"),
)
def command(
    mode: str | None,
    as_json: bool,
    show_ids: bool,
    sample: int | None,
    destination: str | None,
    dataset_name: str | None,
    pipeline_name: str | None,
    **arguments: Any,
) -> None:
    """Check the key and the datasets, with one request each, and print what was found."""
    from coreviz_source.loading.configuration import pipeline_name_of, resolve

    if show_ids and mode != "contract":
        raise click.UsageError("--show-ids needs --contract.")
    if sample is not None and mode != "audit":
        raise click.UsageError("--sample needs --audit.")
    resolved = resolve(arguments, pipeline_name=pipeline_name_of(pipeline_name))
    if mode == "contract":
        _contract(resolved, as_json, show_ids)
    elif mode == "audit":
        given = {"destination": destination, "dataset_name": dataset_name, "pipeline_name": pipeline_name}
        _audit(resolved, as_json, sample, given)
    else:
        _check(resolved, as_json)


def _check(resolved: Settings, as_json: bool) -> None:
    from coreviz_source.commands.check import check

    checked = check(resolved)
    if as_json:
        click.echo(checked.to_json())
    else:
        _print_checked(checked)
    for warning in checked.warnings:
        click.echo(warning, err=True)
    sys.exit(checked.exit_code)


def _print_checked(checked: Checked) -> None:
    if not checked.organizations:
        for dataset in checked.datasets:
            _print_dataset(dataset)
        return
    click.echo(
        f"{checked.base_url} accepts the key; the account has {counted(len(checked.organizations), 'organization')} "
        f"and {counted(len(checked.datasets), 'dataset')}."
    )
    owned: dict[str | None, list[CheckedDataset]] = {one.id: [] for one in checked.organizations}
    for dataset in checked.datasets:
        owned.setdefault(dataset.organization_id, []).append(dataset)
    known = {one.id: one for one in checked.organizations}
    for owner, datasets in owned.items():
        organization = known.get(owner or "")
        if organization is None or organization.is_reachable:
            name = owner if organization is None else organization.name
            click.echo(f"{name}: {counted(len(datasets), 'dataset')}")
        for dataset in datasets:
            _print_dataset(dataset, "  ")


def _print_dataset(dataset: CheckedDataset, indent: str = "") -> None:
    if dataset.error:
        click.echo(dataset.error, err=True)
        return
    name = f" ({dataset.name})" if dataset.name else ""
    count = "?" if dataset.items is None else f"{dataset.items:,}"
    click.echo(f"{indent}{dataset.dataset_id}{name}: {count} media and folders")


def _contract(resolved: Settings, as_json: bool, show_ids: bool) -> None:
    from coreviz_source.commands.contract import check_contract, public_message
    from coreviz_source.errors import CorevizError

    try:
        report = check_contract(resolved)
    except CorevizError as error:
        # the message of an error may name ids, and what people paste into an issue is often all of the output
        click.echo(str(error) if show_ids else public_message(error), err=True)
        sys.exit(error.exit_code)
    click.echo(report.to_json() if as_json else report.to_text())
    if show_ids:
        click.echo("\n".join(report.ids), err=True)
    sys.exit(report.exit_code)


def _audit(resolved: Settings, as_json: bool, sample: int | None, given: dict[str, str | None]) -> None:
    from coreviz_source.commands.audit import SAMPLE, audit
    from coreviz_source.loading.pipeline import command_line_pipeline

    with command_line_pipeline(partial(click.echo, err=True), reading=True, **given) as pipeline:
        found = audit(pipeline, resolved, SAMPLE if sample is None else sample)
    if as_json:
        click.echo(found.to_json())
    else:
        _print_audit(found)
    sys.exit(found.exit_code)


def _print_audit(found: Audit) -> None:
    for one in found.datasets:
        verdict = "could not be compared" if one.error else "differs" if one.differences else "is the API's state"
        click.echo(f"{one.dataset_id}: the warehouse {verdict}")
        if one.error:
            click.echo(one.error, err=True)
            continue
        total = "?" if one.total is None else f"{one.total:,}"
        stored, sampled = counted(one.stored, "media item"), f"{one.sampled:,} compared in full"
        click.echo(f"  {counted(one.listed, 'item')} listed, {total} counted by the API")
        click.echo(f"  {stored} stored, {sampled}, from {one.sampled_from or 'none'}")
        click.echo(f"  {counted(one.newer, 'media item')} newer than the last run")
        if one.undecided:
            undecided = counted(one.undecided, "media item")
            click.echo(f"  {undecided} stored and not listed, for the next complete run to remove")
        click.echo(f"  folderItemCount: {one.folder_item_counts}; tags of the dataset: {one.tags} (neither decides)")
        for difference in one.differences[:_MOST_PRINTED]:
            click.echo(f"  {difference}")
        if len(one.differences) > _MOST_PRINTED:
            click.echo(f"  and {len(one.differences) - _MOST_PRINTED:,} more, see --json")
    if any(one.differences for one in found.datasets):
        click.echo(
            "A media item can change without a newer time in it. Run coreviz-source sync --reconcile-every 0, then "
            "audit again: what still differs is an error.",
            err=True,
        )
