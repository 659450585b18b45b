"""`coreviz-source demo`."""

from __future__ import annotations

import sys

import click


@click.command("demo")
@click.option("--media", default=240, show_default=True, help="Media items in the demo library.")
@click.option(
    "--generation",
    type=click.Choice(["2025", "2026"]),
    default="2026",
    show_default=True,
    help="Version of the API.",
)
def command(media: int, generation: str) -> None:
    """Load a demo library into coreviz_demo.duckdb, and show the answers to three questions.

    Needs no account and no network: the local Studio, a stand-in server on this machine, serves the API.
    """
    from coreviz_source.commands.demo import run

    sys.exit(run(media, int(generation)))
