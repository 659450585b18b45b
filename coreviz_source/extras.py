"""Extras of this package that are not installed, and the command that installs them."""

from __future__ import annotations

import json
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from shlex import quote
from urllib.parse import unquote, urlsplit

from coreviz_source.errors import ConfigurationError

PACKAGE = "coreviz-source"


def missing_extra(what: str, *extras: str) -> ConfigurationError:
    """The error of something that needs extras of this package."""
    many = "an extra" if len(extras) == 1 else "extras"
    return ConfigurationError(f"{what} needs {many} of this package.", remedy=f"Run {install_command(*extras)}")


def install_command(*extras: str) -> str:
    """The command that installs extras into the environment that runs this program, from where this package came."""
    try:
        here = distribution(PACKAGE)
        origin = json.loads(here.read_text("direct_url.json") or "null")
        installer = (here.read_text("INSTALLER") or "").strip()
    except PackageNotFoundError:
        origin, installer = None, ""
    python = quote(_relative(sys.executable))
    command = f"uv pip install --python {python}" if installer == "uv" else f"{python} -m pip install"
    return f"{command} {_requirement(origin, ','.join(extras))}"


def _requirement(origin: dict[str, dict[str, object]] | None, extras: str) -> str:
    """What to give to pip.

    Args:
        origin: The record of a direct installation (PEP 610); None if the package came from an index.
        extras: Names, separated by commas.
    """
    if origin is None:
        return quote(f"{PACKAGE}[{extras}]")
    url = str(origin["url"])
    if "dir_info" in origin:
        editable = "--editable " if origin["dir_info"].get("editable") else ""
        return editable + quote(f"{_relative(unquote(urlsplit(url).path))}[{extras}]")
    if "vcs_info" in origin:
        vcs = origin["vcs_info"]
        url = f"{vcs['vcs']}+{url}@{vcs['commit_id']}"
    return quote(f"{PACKAGE}[{extras}] @ {url}")


def _relative(path: str) -> str:
    """A path as it is typed in the current directory, if it is in there."""
    here = Path.cwd()
    return str(Path(path).relative_to(here)) if Path(path).is_relative_to(here) else path
