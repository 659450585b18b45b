"""Options that several commands share, made from the declarations of the settings."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, wraps
from typing import Any, TypeVar

import click

from coreviz_source.settings import LIST, SETTINGS, SWITCH, SYNC, WAREHOUSE, Setting

_Command = TypeVar("_Command", bound=Callable[..., Any])


def _option(setting: Setting) -> Callable[[_Command], _Command]:
    kind: Any = str if setting.kind is LIST else setting.kind.configured
    flag: dict[str, Any] = {"is_flag": True, "default": None} if setting.kind is SWITCH else {"type": kind}
    if setting.choices:
        flag["type"] = click.Choice(setting.choices)
    text = setting.meaning.replace("`", "")
    text += " Separated by commas." if setting.kind is LIST else ""
    default = setting.otherwise if setting.default is None else setting.default
    if setting.kind is not SWITCH and default != "none":
        text += f" Default: {default}."
    return click.option(setting.option, setting.name, help=f"{text}  [{setting.variable}]", **flag)


def settings(*names: str) -> Callable[[_Command], _Command]:
    """Adds the options of the settings that are named; without names, those of all arguments of `sync()`."""
    everything = (*SETTINGS, *SYNC)
    chosen = [one for one in (*everything, *WAREHOUSE) if one.name in names] if names else everything

    def add(command: _Command) -> _Command:
        for setting in reversed(chosen):
            command = _option(setting)(command)
        return command

    return add


def warehouse(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options that say where the tables are. The command gets a pipeline in their place, and loads with it."""
    return _with_pipeline(command, reading=False)


def read_only_warehouse(command: Callable[..., Any]) -> Callable[..., Any]:
    """As `warehouse`, for a command that only reads: it leaves nothing on disk."""
    return _with_pipeline(command, reading=True)


def _with_pipeline(command: Callable[..., Any], *, reading: bool) -> Callable[..., Any]:
    @wraps(command)
    def with_pipeline(**arguments: Any) -> Any:
        from coreviz_source.loading.pipeline import command_line_pipeline

        given = {setting.name: arguments.pop(setting.name) for setting in WAREHOUSE}
        reads = reading or arguments.get("dry_run", False)
        with command_line_pipeline(partial(click.echo, err=True), reading=reads, **given) as pipeline:
            return command(pipeline, **arguments)

    for setting in reversed(WAREHOUSE):
        with_pipeline = _option(setting)(with_pipeline)
    return with_pipeline
