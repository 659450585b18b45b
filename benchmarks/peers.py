"""The tools that a user would choose instead, each in its own environments."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.environments import HERE, environment

Address = tuple[str, str, str]
Command = Sequence[str]


def script(name: str, *arguments: object, python: object = sys.executable) -> Command:
    """The command that runs a program of this folder."""
    return [str(python), str(HERE / name), *map(str, arguments)]


@dataclass(frozen=True)
class Peer:
    """A peer: its name in the results, its environments, the commands that it is, and the tables that they make.

    `commands` are piped into each other; they load the dataset at an address (url, key, id) into the schema `library`
    of a DuckDB file in a directory.
    """

    name: str
    needs: tuple[str, ...]
    commands: Callable[[Address, Path, Path], list[Command]]
    tables: tuple[str, ...] = ("media", "frames", "captions", "objects")

    def install(self) -> None:
        for name in self.needs:
            environment(name)


def _rest_api(address: Address, directory: Path, file: Path) -> list[Command]:
    return [script("rest_api.py", *address, directory, file)]


def _singer(address: Address, directory: Path, file: Path) -> list[Command]:
    tap, target = directory / "tap.json", directory / "target.json"
    tap.write_text(json.dumps(dict(zip(("url", "key", "dataset_id"), address, strict=True))))
    target.write_text(json.dumps({"path": str(file), "default_target_schema": "library"}))
    return [
        script("singer_tap.py", "--config", tap, python=environment("tap") / "python"),
        [str(environment("target-duckdb") / "target-duckdb"), "--config", str(target)],
    ]


def _airbyte(address: Address, directory: Path, file: Path) -> list[Command]:
    return [script("airbyte_peer.py", *address, directory, file, python=environment("airbyte") / "python")]


PEERS = (
    Peer("rest_api", (), _rest_api, ("media", "media__frames", "media__frames__captions", "media__frames__objects")),
    Peer("Singer", ("tap", "target-duckdb"), _singer),
    Peer("Airbyte", ("airbyte",), _airbyte),
)
