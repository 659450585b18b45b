"""`schema --format dbt`: a dbt project on the tables, from their declarations, the views and the files in `project`.

A project is for one kind of warehouse, so that its models are plain SQL.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from string import Template

from coreviz_source.commands.dbt import models
from coreviz_source.errors import ConfigurationError
from coreviz_source.loading.pipeline import PipelineFactory
from coreviz_source.warehouse.destination import DESTINATIONS

#: The folder of the project, if none is named.
FOLDER = "coreviz_dbt"
#: The first line of every file that a later call may replace.
HEADER = "Written by `coreviz-source schema --format dbt`, which replaces this file. Without this line, it is kept."
_COMMENTS = {".sql": "{{# {} #}}", ".md": "<!-- {} -->"}


@dataclass(frozen=True)
class Project:
    """What was written.

    Attributes:
        written: The files, by their paths in the project.
        kept: Those that were left as they are, because they do not begin with `HEADER`.
    """

    written: tuple[str, ...]
    kept: tuple[str, ...]


def write(factory: PipelineFactory, folder: Path, history: bool) -> Project:
    """Writes the project, or writes it again.

    Args:
        factory: Where the tables of the command line are, or will be.
        folder: The folder of the project.
        history: Whether the tables with versions exist.

    Raises:
        ConfigurationError: There is no project for this destination, or the folder cannot be written.
    """
    written, kept = [], []
    try:
        for name, text in _texts(factory, folder, history).items():
            path = folder / name
            if path.exists() and HEADER not in path.read_text(encoding="utf-8", errors="replace").partition("\n")[0]:
                kept.append(name)
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            header = _COMMENTS.get(path.suffix, "# {}").format(HEADER)
            path.write_text(f"{header}\n\n{text}", encoding="utf-8")
            written.append(name)
    except OSError as error:
        raise ConfigurationError(
            f"The dbt project cannot be written: {error}", remedy="Name another folder by --output."
        ) from error
    return Project(tuple(written), tuple(kept))


def _texts(factory: PipelineFactory, folder: Path, history: bool) -> dict[str, str]:
    """The files of the project without their headers, by their paths in it."""
    destination = factory.values["destination"]
    templates = files(__name__) / "project"
    profiles = templates / "profiles" / f"{destination}.yml"
    if not profiles.is_file():
        known = sorted(Path(one.name).stem for one in (templates / "profiles").iterdir())
        raise ConfigurationError(
            f"There is no dbt project for the destination {destination}.", remedy=f"Use one of {', '.join(known)}."
        )
    values = {
        "destination": destination,
        "history": json.dumps(history),
        "schema": _quoted(factory.values["dataset_name"]),
        # inside of single quotes
        "file": _quoted(_path(factory.file, folder)).replace("'", "''") if factory.file else "",
    }
    constant = {
        "README.md": templates / "README.md",
        # git and the builds of this package would follow a file of this name
        ".gitignore": templates / "gitignore",
        "dbt_project.yml": templates / "dbt_project.yml",
        "profiles.yml": profiles,
        "macros/item_exists.sql": templates / "macros" / "item_exists.sql",
        "macros/unique_combination.sql": templates / "macros" / "unique_combination.sql",
    }
    filled = {n: Template(one.read_text(encoding="utf-8")).substitute(values) for n, one in constant.items()}
    return {**filled, **models.texts(DESTINATIONS[destination].dialect)}


def _quoted(text: str) -> str:
    """A string for YAML, and for an expression of Jinja."""
    return json.dumps(text, ensure_ascii=False)


def _path(file: Path, folder: Path) -> str:
    """A DuckDB file as seen from the project: where both are in one folder, they may move together."""
    project = folder.resolve()
    if project.parent not in file.parents:
        return file.as_posix()
    return f"../{file.relative_to(project.parent).as_posix()}"
