"""A first load that several tests begin with is run once per process; the others begin with a copy of what it left.

Equal libraries, served under equal addresses to pipelines of equal names, give equal warehouses. So that addresses are
equal, each Studio takes the port of one that has stopped.
"""

from __future__ import annotations

import atexit
import copy
import dataclasses
import functools
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dlt

from coreviz_source.local_studio import Studio

#: What a first load does not depend on: another in each test, or looked at by the test alone.
OF_THE_TEST = ("DLT_DATA_DIR", "HOME", "PYTEST_CURRENT_TEST")
SERVED = tuple(field.name for field in dataclasses.fields(Studio) if field.init and field.name != "library")
HOOKS = ("before", "after", "faults")


@dataclasses.dataclass
class Copy:
    """What a first load left: the files of the warehouse, the working directory, and the report."""

    folder: Path
    cwd: str
    report: Any


COPIES: dict[str, Copy] = {}


@functools.cache
def folder() -> Path:
    made = tempfile.mkdtemp(prefix="coreviz-copies-")
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return Path(made)


def first(load: Callable[..., Any], pipeline: dlt.Pipeline, studio: Studio, arguments: dict[str, Any]) -> Any:
    """What `load(pipeline, **arguments)` does and returns, if nothing was loaded yet: by a copy where it can be."""
    database = file_of(pipeline)
    if database is None or any(getattr(studio, name) is not None for name in HOOKS):
        return load(pipeline, **arguments)
    assert not database.exists() and not pipeline.schema_names, "this is not the first load"
    key = repr(
        (load.__name__, pipeline.pipeline_name, pipeline.dataset_name, database.name, *made_of(studio), arguments)
    )
    known = COPIES.get(key)
    if known is None:
        report = load(pipeline, **arguments)
        known = COPIES[key] = Copy(folder() / str(len(COPIES)), os.getcwd(), copy.deepcopy(report))
        known.folder.mkdir()
        for file in database.parent.glob(f"{database.name}*"):
            shutil.copy(file, known.folder)
        shutil.copytree(pipeline.working_dir, known.folder / "working")
        return report
    for file in known.folder.glob(f"{database.name}*"):
        shutil.copy(file, database.parent)
    shutil.copytree(known.folder / "working", pipeline.working_dir, dirs_exist_ok=True)
    state = Path(pipeline.working_dir, "state.json")
    # dlt resolves relative paths from where the first run was
    state.write_text(state.read_text().replace(json.dumps(known.cwd)[1:-1], json.dumps(os.getcwd())[1:-1]))
    pipeline.activate()
    with pipeline.managed_state() as restored:
        pipeline._state_to_props(restored)
    pipeline._state_restored = True
    return copy.deepcopy(known.report)


def file_of(pipeline: dlt.Pipeline) -> Path | None:
    """The DuckDB file of a pipeline; None if its warehouse is something else."""
    given = pipeline.destination.config_params.get("credentials") if pipeline.destination else None
    is_file = isinstance(given, str) and pipeline.destination.destination_name == "duckdb"
    return Path(given) if is_file else None


def made_of(studio: Studio) -> tuple[Any, ...]:
    """All that a run sees of a Studio and of the environment."""
    library = studio.library
    served = {name: getattr(studio, name) for name in SERVED if hasattr(studio, name)}
    datasets = [(each.info, list(each.items.values()), sorted(each.replaced)) for each in library.datasets.values()]
    environment = {name: value for name, value in os.environ.items() if name not in OF_THE_TEST}
    return studio.url, studio.key, served, library.user, library.organizations, library.clock(), datasets, environment


def reuse_ports() -> None:
    """Once per process: a Studio listens on the port of an earlier one, as far as one is free."""
    ports: list[int] = []
    listen, leave = Studio.__post_init__, Studio.__exit__

    @functools.wraps(listen)
    def on_a_known_port(self: Studio, api_key: str, port: int) -> None:
        if not port and ports:
            try:
                return listen(self, api_key, ports.pop())
            except OSError:
                # another process has it by now
                pass
        listen(self, api_key, port)

    @functools.wraps(leave)
    def leaving_the_port(self: Studio, *failure: Any) -> None:
        leave(self, *failure)
        ports.append(int(self.url.rpartition(":")[2]))

    Studio.__post_init__, Studio.__exit__ = on_a_known_port, leaving_the_port  # type: ignore[method-assign]
