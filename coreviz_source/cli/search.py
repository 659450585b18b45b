"""`coreviz-source search`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from coreviz_source.cli.options import read_only_warehouse

if TYPE_CHECKING:
    import dlt

EXAMPLES = """\b
Examples:
  coreviz-source search red shoe
  coreviz-source search '"red shoe" -box'
  coreviz-source search "red shoe" --limit 5 --json | jq -r '.[].blob'
"""


class _Search(click.Command):
    """A command that explains why `search shoe -red` has no option `-r`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            if error.option_name.startswith("--"):
                raise
            hint = 'A query with a hyphen goes into quotes, behind --: coreviz-source search -- "shoe -red"'
            raise click.NoSuchOption(error.option_name, f"{error.message} {hint}", ctx=ctx) from None


@click.command("search", cls=_Search, epilog=EXAMPLES)
@click.argument("text", nargs=-1, required=True)
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="At most this many captions.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array to stdout.")
@read_only_warehouse
def command(pipeline: dlt.Pipeline, text: tuple[str, ...], limit: int, as_json: bool) -> None:
    """Print the captions that match TEXT, newest media first. Reads only the warehouse.

    Every word must occur, as a whole word, in any order, in upper or lower case. In quotes, "red shoe" is a phrase. A
    word or phrase with a hyphen before it, -red, must not occur; if TEXT begins with it, write -- before TEXT. Postgres
    also finds words with the same English stem: "shoe" finds "shoes". Chinese, Japanese, Korean and Thai words are
    found inside of longer text.
    """
    from dataclasses import asdict

    from coreviz_source.commands.search import search

    found = search(pipeline, " ".join(text), limit)
    if as_json:
        click.echo(json.dumps([asdict(match) for match in found], ensure_ascii=False))
        return
    for match in found:
        moment = f", page {match.page_number}" if match.page_number is not None else ""
        if match.timestamp_seconds:
            moment = f", at {match.timestamp_seconds:.1f} s"
        click.echo(f"{match.file_name or match.media_id}{moment}  [{match.dataset_name or match.dataset_id}]")
        click.echo(f"  {match.caption}")
        if match.blob:
            click.echo(f"  {match.blob}")
    if not found:
        click.echo("No caption matches.", err=True)
