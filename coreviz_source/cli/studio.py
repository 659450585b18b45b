"""`coreviz-source studio`."""

from __future__ import annotations

import contextlib
import time

import click

EXAMPLES = """\b
Examples:
  coreviz-source studio                          240 media in 3 datasets
  coreviz-source studio --live 60 --latency 0.2  a library that changes, on a slow server
"""


@click.command("studio", epilog=EXAMPLES)
@click.option("--port", default=0, help="Port on 127.0.0.1. Default: a free one.")
@click.option("--media", default=240, show_default=True, help="Media items in all datasets together.")
@click.option("--datasets", default=3, show_default=True, help="Number of datasets.")
@click.option("--seed", default=7, show_default=True, help="The same seed makes the same library.")
@click.option(
    "--generation",
    type=click.Choice(["2025", "2026"]),
    default="2026",
    show_default=True,
    help="Version of the API.",
)
@click.option("--live", type=float, metavar="N", help="Make N random changes per minute.")
@click.option("--latency", default=0.0, metavar="SECONDS", help="Delay of every response.")
def command(
    port: int, media: int, datasets: int, seed: int, generation: str, live: float | None, latency: float
) -> None:
    """Serve a generated library on this machine until stopped: a stand-in for the CoreViz service.

    Prints one line to stdout: its address, its key and the ids of its datasets, separated by spaces.
    """
    try:
        from coreviz_source.local_studio import Library, Studio
    except ImportError:
        from coreviz_source.loading.configuration import missing_extra

        raise missing_extra("The local Studio", "demo") from None
    library = Library.generate(media, datasets, seed)
    changing = library.live(live) if live else contextlib.nullcontext()
    try:
        server = Studio(library, int(generation), port=port, latency=latency)
    except OSError as error:
        raise click.UsageError(f"Port {port} cannot be used: {error}") from None
    with server as running, changing:
        click.echo(f"{running.url} {running.key} {' '.join(library.datasets)}")
        click.echo(
            f"Serving {media} media items in {datasets} datasets until Ctrl-C. In another shell:\n"
            f"  export COREVIZ_API_KEY={running.key} SOURCES__COREVIZ__BASE_URL={running.url}\n"
            f"  coreviz-source sync",
            err=True,
        )
        with contextlib.suppress(KeyboardInterrupt):
            while True:
                time.sleep(3600)
