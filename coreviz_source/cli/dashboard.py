"""`coreviz-source dashboard`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from coreviz_source.cli.options import read_only_warehouse

if TYPE_CHECKING:
    import dlt

EXAMPLES = """\b
Examples:
  coreviz-source dashboard                       shows coreviz_library.duckdb
  coreviz-source dashboard --demo                shows what `coreviz-source demo` loaded
  coreviz-source dashboard --destination postgres
"""


@click.command("dashboard", epilog=EXAMPLES)
@click.option("--demo", is_flag=True, help="Show what the command demo loaded, with its pictures.")
@click.option("--port", type=click.IntRange(1, 65535), help="Port on 127.0.0.1. Default: 8501, or the next free one.")
@click.option("--no-browser", is_flag=True, help="Do not open the page in a browser.")
@read_only_warehouse
def command(pipeline: dlt.Pipeline, demo: bool, port: int | None, no_browser: bool) -> None:
    """Open a page on the warehouse: pictures with captions, charts, runs. Read-only, and only on this machine."""
    from coreviz_source.extras import missing_extra

    try:
        from coreviz_source.commands.demo import use_demo
        from coreviz_source.dashboard import serve

        if demo:
            use_demo(pipeline)
        serve(pipeline, port=port, browser=not no_browser, demo=demo)
    except ImportError as error:
        raise missing_extra("The dashboard", "dashboard") from error
