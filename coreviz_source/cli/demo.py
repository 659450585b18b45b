"""`coreviz-source demo`."""

from __future__ import annotations

import sys

import click


@click.command("demo")
@click.option("--media", default=240, show_default=True, help="Media in the demo library.")
@click.option(
    "--generation", type=click.Choice(["2025", "2026"]), default="2026", show_default=True, help="Of the API."
)
def command(media: int, generation: str) -> None:
    """Load the local Studio's demo library into coreviz_demo.duckdb, and ask it three questions.

    Needs no account and no network: a stand-in server on this machine speaks the API.
    """
    from coreviz_source.commands.demo import run

    sys.exit(run(media, int(generation)))
