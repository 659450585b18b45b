"""The command `coreviz-source`, one module per command: a thin layer over what Python can call.

Nothing heavy is imported before a command runs, so that `--help` answers at once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from coreviz_source.cli import check, dashboard, demo, forget, notebook, schema, search, status, studio, sync
from coreviz_source.cli.output import LeaveAtOnce, close_stdout, print_error

#: Exit code of a program whose reader went away, as a shell reports the signal SIGPIPE.
BROKEN_PIPE = 141

EPILOG = """\b
Exit codes:
  0  done                    5  API unavailable
  1  unexpected              6  safety: unproven listing, delete brake
  2  settings                7  destination
  3  key or access           8  stale (status --max-age)
  4  dataset not found       130, 143  interrupted; the next run continues

\b
Examples:
  coreviz-source demo                            no account needed
  coreviz-source check                           is the key valid, which datasets does it see
  coreviz-source sync                            run it again at any time
  coreviz-source status                          how fresh the tables are
"""


@contextmanager
def _errors_as_exit_codes() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        print_error("Interrupted.")
        sys.exit(130)
    except LeaveAtOnce as end:
        sys.stderr.flush()
        os._exit(end.code if isinstance(end.code, int) else 1)
    except BrokenPipeError:
        close_stdout()
        sys.exit(BROKEN_PIPE)
    except (click.ClickException, click.exceptions.Exit, click.Abort, OSError):
        raise
    except Exception as error:
        from coreviz_source.errors import CorevizError

        if not isinstance(error, CorevizError):
            from coreviz_source.loading.configuration import configuration_error

            translated = configuration_error(error)
            if translated is None:
                raise
            error = translated
        print_error(str(error))
        sys.exit(error.exit_code)


class _Commands(click.Group):
    """Commands in the order in which they are needed, all of which fail in the same way."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        # prints --help and --version
        with _errors_as_exit_codes():
            return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        if os.environ.get("NO_COLOR"):
            ctx.color = False
        with _errors_as_exit_codes():
            return super().invoke(ctx)


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog=EPILOG,
)
@click.version_option(package_name="coreviz-source")
def main() -> None:
    """Mirrors a CoreViz Studio library into DuckDB, DuckLake, Postgres or BigQuery.

    A setting is taken from its option. Without the option, it is taken from the variable in brackets behind it, then
    from its key under [sources.coreviz] in .dlt/config.toml, and then the default applies.
    """


for _module in (demo, check, sync, status, search, dashboard, notebook, schema, forget, studio):
    main.add_command(_module.command)
