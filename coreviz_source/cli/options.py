"""Options that several commands share. Each is also a key under `[sources.coreviz]` and a variable."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import click

from coreviz_source.warehouse.destination import DESTINATIONS

_Command = TypeVar("_Command", bound=Callable[..., Any])

#: Options that are arguments of `coreviz()`: name, type, help.
SETTINGS: tuple[tuple[str, Any, str], ...] = (
    ("dataset_ids", str, "Which datasets, separated by commas. Default: all that the account sees."),
    ("api_key", str, "The key. Better kept in .dlt/secrets.toml or the variable than on a command line."),
    ("base_url", str, "Where the API is. Default: https://lab.coreviz.io."),
    ("lookback", str, "How far before the last listing an ordinary run looks again. Default: 7d."),
    ("reconcile_every", str, "List the whole dataset if the last time is longer ago; 0: always. Default: 1d."),
    ("deletes", click.Choice(["hard", "soft"]), "Remove rows whose media is gone, or only mark them. Default: hard."),
    ("max_deletes", float, "Stop instead of removing more than this share of a dataset. Default: 0.2."),
    ("date_from", str, "Only media created at or after this, UTC: a backfill in slices."),
    ("date_to", str, "Only media created before this, UTC."),
    ("page_size", int, "Media a request. Default: 100."),
    ("parallel_requests", int, "Listing requests in flight. Default: 4."),
    ("requests_per_second", float, "Budget over all requests. Default: none."),
    ("max_media", int, "Stop after so many media: a sample, which never deletes."),
    ("resync", bool, "Load everything again, whatever the warehouse holds."),
    ("ignored_fields", str, "Fields that do not count when media are compared, e.g. blob,frames.blob. Default: none."),
)

#: Options that say where the tables are: name, type, help.
WAREHOUSE: tuple[tuple[str, Any, str], ...] = (
    ("destination", click.Choice(list(DESTINATIONS)), "Where the tables are. Default: duckdb."),
    ("dataset_name", str, "Schema of the tables there. Default: coreviz."),
    ("pipeline_name", str, "With duckdb also the file's name. Default: coreviz_library."),
)


def variable(name: str) -> str:
    """The environment variable of a setting."""
    return "COREVIZ_API_KEY" if name == "api_key" else f"SOURCES__COREVIZ__{name.upper()}"


def _option(name: str, kind: Any, text: str) -> Callable[[_Command], _Command]:
    flag: dict[str, Any] = {"is_flag": True, "default": None} if kind is bool else {"type": kind}
    return click.option(f"--{name.replace('_', '-')}", name, help=f"{text}  [{variable(name)}]", **flag)


def settings(*names: str) -> Callable[[_Command], _Command]:
    """Adds the options of some settings, or of all."""

    def add(command: _Command) -> _Command:
        for name, kind, text in reversed(SETTINGS):
            if not names or name in names:
                command = _option(name, kind, text)(command)
        return command

    return add


def warehouse(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options that say where the tables are; the command gets a pipeline."""

    @wraps(command)
    def with_pipeline(destination: Any, dataset_name: Any, pipeline_name: Any, **arguments: Any) -> Any:
        from coreviz_source.settings import resolve_pipeline

        given = {"destination": destination, "dataset_name": dataset_name, "pipeline_name": pipeline_name}
        return command(resolve_pipeline(**given), **arguments)

    for option in reversed(WAREHOUSE):
        with_pipeline = _option(*option)(with_pipeline)
    return with_pipeline
