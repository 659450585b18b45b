"""The command `coreviz-source`, a file a command: a thin face of what Python can call.

Nothing heavy is imported before a command runs, so that `--help` answers at once.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from coreviz_source.cli import check, dashboard, demo, forget, schema, search, status, studio, sync

EPILOG = """\b
Exit codes:
  0  done                    4  dataset not found
  1  unexpected              5  API unavailable
  2  settings                6  safety: unproven listing, delete brake
  3  key or access           7  destination
  130, 143  interrupted; the next run continues

\b
Examples:
  coreviz-source demo                            no account needed
  coreviz-source check                           is the key good, what does it see
  coreviz-source sync                            run it again whenever you like
  coreviz-source status                          how fresh is what is there
"""


class _Commands(click.Group):
    """Commands in the order in which they are needed, and one way in which all of them fail."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        if os.environ.get("NO_COLOR"):
            ctx.color = False
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            click.echo("Interrupted.", err=True)
            sys.exit(130)
        except Exception as error:
            if isinstance(error, (click.ClickException, click.exceptions.Exit, click.Abort, OSError)):
                raise
            from coreviz_source.errors import CorevizError

            if not isinstance(error, CorevizError):
                raise
            click.echo(str(error), err=True)
            sys.exit(error.exit_code)


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog=EPILOG,
)
@click.version_option(package_name="coreviz-source")
def main() -> None:
    """Mirrors a CoreViz Studio library into DuckDB, Postgres or BigQuery.

    A setting is taken from its option, else from the variable named behind it, else from the key of the same name under
    [sources.coreviz] in .dlt/config.toml, else the default holds.
    """


for _module in (demo, check, sync, status, search, dashboard, schema, forget, studio):
    main.add_command(_module.command)
