"""`coreviz-source studio`."""

from __future__ import annotations

import contextlib
import time

import click

from coreviz_source.extras import program
from coreviz_source.report import counted

EXAMPLES = """\b
Examples:
  coreviz-source studio                          240 media in 3 datasets
  coreviz-source studio --live 60 --latency 0.2  60 random changes per minute, responses as slow as from far away
  coreviz-source studio --organizations 2        the datasets belong to two organizations
"""


@click.command("studio", epilog=EXAMPLES)
@click.option("--port", default=0, help="Port on 127.0.0.1. Default: a free one.")
@click.option("--media", default=240, show_default=True, help="Media items in all datasets together.")
@click.option("--datasets", default=3, show_default=True, help="Datasets.")
@click.option("--organizations", type=click.IntRange(1), default=1, show_default=True, help="Owners of the datasets.")
@click.option("--seed", default=7, show_default=True, help="The same seed gives the same library.")
@click.option(
    "--generation", type=click.Choice(["2025", "2026"]), default="2026", show_default=True, help="Version of the API."
)
@click.option("--show-deleted", is_flag=True, help='List deleted media items too, with status "deleted".')
@click.option("--live", type=float, metavar="N", help="Make N random changes per minute.")
@click.option("--latency", default=0.0, metavar="SECONDS", help="Delay of each response.")
def command(
    port: int,
    media: int,
    datasets: int,
    organizations: int,
    seed: int,
    generation: str,
    show_deleted: bool,
    live: float | None,
    latency: float,
) -> None:
    """Serve a generated library on this machine until stopped: a stand-in for the CoreViz service.

    Clients can change the library over HTTP. Prints one line to stdout: the address, the key and the ids of the
    datasets, separated by spaces.
    """
    from coreviz_source.local_studio import Library, Studio

    library = Library.generate(media, datasets, seed, organizations=organizations)
    changing = library.live(live) if live else contextlib.nullcontext()
    try:
        server = Studio(
            library,
            int(generation),
            port=port,
            latency=latency,
            deleted_listed=show_deleted,
            previews=True,
        )
    except OSError as error:
        raise click.UsageError(f"Port {port} cannot be used: {error}") from None
    with server as running, changing:
        click.echo(f"{running.url} {running.key} {' '.join(library.datasets)}")
        click.echo(
            f"Serving {counted(media, 'media item')} in {counted(datasets, 'dataset')} until Ctrl-C. "
            f"In another shell:\n  export COREVIZ_API_KEY={running.key} SOURCES__COREVIZ__BASE_URL={running.url}\n"
            f"  {program()} sync",
            err=True,
        )
        with contextlib.suppress(KeyboardInterrupt):
            while True:
                time.sleep(3600)
