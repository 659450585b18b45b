"""The folders as a tree: their full names, and what is below each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from coreviz_source.dashboard.queries import Row


@dataclass(frozen=True)
class Folder:
    """A folder that can be chosen.

    Attributes:
        dataset_id: Id of its dataset.
        full_name: Names of the folders from the top down to this one, joined by slashes.
        ids: Its id, and those of all folders below it.
    """

    dataset_id: str
    full_name: str
    ids: tuple[str, ...]


def folder_tree(rows: Sequence[Row]) -> dict[str, Folder]:
    """The folders by the name that they have in the page's address, sorted by full name."""
    names = {(row["dataset_id"], row["id"]): str(row["name"] or row["id"]) for row in rows}
    parents = {(row["dataset_id"], row["id"]): (row["dataset_id"], row["parent_id"]) for row in rows}
    lines = {key: _line(key, parents) for key in names}
    below: dict[tuple[str, str], list[str]] = defaultdict(list)
    for key, line in lines.items():
        for above in line:
            below[above].append(key[1])
    found = {
        f"{dataset_id}.{folder_id}": Folder(
            dataset_id,
            "/".join(names[one] for one in reversed(lines[dataset_id, folder_id])),
            tuple(below[dataset_id, folder_id]),
        )
        for dataset_id, folder_id in names
    }
    return dict(sorted(found.items(), key=lambda entry: (entry[1].full_name, entry[0])))


def _line(key: tuple[str, str], parents: dict[tuple[str, str], tuple[str, str]]) -> list[tuple[str, str]]:
    """A folder and those above it; the folder alone if they contain each other in a circle."""
    line = [key]
    while (above := parents[line[-1]]) in parents:
        if above in line:
            return [key]
        line.append(above)
    return line
