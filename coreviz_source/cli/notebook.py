"""`coreviz-source notebook`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from coreviz_source.cli.options import read_only_warehouse

if TYPE_CHECKING:
    import dlt

EXAMPLES = """\b
Examples:
  coreviz-source notebook                        on coreviz_library.duckdb
  coreviz-source notebook --demo                 on what `coreviz-source demo` loaded
  coreviz-source notebook --destination postgres --output shoes.py
"""


@click.command("notebook", epilog=EXAMPLES)
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("coreviz_notebook.py"),
    show_default=True,
    help="The notebook. It is written if it does not exist, and never overwritten.",
)
@click.option("--demo", is_flag=True, help="On what the command demo loaded, with its pictures.")
@click.option("--port", type=click.IntRange(1, 65535), help="Port on 127.0.0.1. Default: 2718, or the next free one.")
@click.option("--no-browser", is_flag=True, help="Do not open the page in a browser.")
@read_only_warehouse
def command(pipeline: dlt.Pipeline, output: Path, demo: bool, port: int | None, no_browser: bool) -> None:
    """Open a notebook in marimo that reads the warehouse: search, pictures beside captions, a chart, SQL.

    It is a Python file of your own to extend: the command only opens one that exists.
    """
    from coreviz_source.commands.demo import use_demo
    from coreviz_source.commands.notebook import open_notebook

    if demo:
        use_demo(pipeline)
    sys.exit(open_notebook(pipeline, output, port=port, browser=not no_browser, demo=demo))
