"""How this package was installed: the command that adds an extra, and the one that runs it again."""

from __future__ import annotations

import json
import os
import shutil
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from shlex import quote
from urllib.parse import unquote, urlsplit

import click

from coreviz_source.errors import ConfigurationError

PACKAGE = "coreviz-source"


def missing_extra(what: str, *extras: str) -> ConfigurationError:
    """The error of something that needs extras of this package."""
    noun = "an extra" if len(extras) == 1 else "extras"
    return ConfigurationError(f"{what} needs {noun} of this package.", remedy=f"Run {install_command(*extras)}")


def install_command(*extras: str) -> str:
    """The command that adds extras to the environment that runs this program, from where this package came.

    uvx makes an environment per command, so there it is the command to run instead.
    """
    origin, installer = _installed()
    requirement = _requirement(origin, extras)
    environment = Path(sys.prefix)
    if _by_uvx():
        context = click.get_current_context(silent=True)
        return f"uvx --from {requirement} {context.command_path if context else PACKAGE}"
    if (environment / "pipx_metadata.json").exists():
        return f"pipx inject {quote(environment.name)} {requirement}"
    python = quote(_relative(sys.executable))
    command = f"uv pip install --python {python}" if installer == "uv" else f"{python} -m pip install"
    return f"{command} {requirement}"


def program() -> str:
    """What to type to run this program again from the current directory."""
    if _by_uvx():
        origin, _ = _installed()
        return f"uvx {PACKAGE}" if origin is None else f"uvx --from {_requirement(origin)} {PACKAGE}"
    script = Path(sys.executable).parent / PACKAGE
    found = shutil.which(PACKAGE)
    return PACKAGE if found and Path(found).resolve() == script.resolve() else quote(_relative(str(script)))


def _installed() -> tuple[dict[str, dict[str, object]] | None, str]:
    """The record of a direct installation (PEP 610), None if the package came from an index; and what installed it."""
    try:
        here = distribution(PACKAGE)
    except PackageNotFoundError:
        return None, ""
    return json.loads(here.read_text("direct_url.json") or "null"), (here.read_text("INSTALLER") or "").strip()


def _by_uvx() -> bool:
    """Whether uvx made the environment, which is then in uv's cache."""
    return "UV" in os.environ and Path(sys.prefix).parent.name.startswith("archive-v")


def _requirement(origin: dict[str, dict[str, object]] | None, extras: tuple[str, ...] = ()) -> str:
    """What to give to pip, for a package with such a record."""
    named = f"[{','.join(extras)}]" if extras else ""
    if origin is None:
        return quote(f"{PACKAGE}{named}")
    url = str(origin["url"])
    if "dir_info" in origin:
        editable = "--editable " if origin["dir_info"].get("editable") else ""
        return editable + quote(f"{_relative(unquote(urlsplit(url).path))}{named}")
    if "vcs_info" in origin:
        vcs = origin["vcs_info"]
        url = f"{vcs['vcs']}+{url}@{vcs['commit_id']}"
    return quote(f"{PACKAGE}{named} @ {url}")


def _relative(path: str) -> str:
    """A path as it is typed in the current directory, if it is in there."""
    here = Path.cwd()
    return str(Path(path).relative_to(here)) if Path(path).is_relative_to(here) else path
