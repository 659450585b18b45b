"""What dlt's declarative `rest_api` source loses at this API and this source does not: measured, as README shows it."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable
from typing import Any

import dlt
import duckdb
from dlt.pipeline.exceptions import PipelineStepFailed

from coreviz_source.local_studio import Library, Request, Studio
from coreviz_source.report import counted
from tests import hostile
from tests.docs import ROOT
from tests.scenario import frozen, media_of, run_sync

spec = importlib.util.spec_from_file_location("rest_api", ROOT / "benchmarks" / "rest_api.py")
assert spec is not None and spec.loader is not None
rest_api = importlib.util.module_from_spec(spec)
spec.loader.exec_module(rest_api)

README = ROOT / "README.md"
MEDIA, PAGE = 200, 100
#: Hooks of a Studio that serves a library.
Hooks = dict[str, Callable[..., Any]]


def nothing(library: Library) -> Hooks:
    return {}


def cap(library: Library) -> Hooks:
    return {"after": hostile.silent_cap(PAGE // 2)}


def deletion(library: Library) -> Hooks:
    """Five media items of the first page are deleted before the second page is sent."""
    done: list[int] = []

    def before(request: Request) -> None:
        if request.offset and not done:
            done.append(request.offset)
            oldest_first = media_of(library)[::-1]
            listed = oldest_first[::-1] if request.params.get("sortDirection") == "desc" else oldest_first
            for item in listed[:5]:
                library.delete(item["id"])

    return {"before": before}


def error(library: Library) -> Hooks:
    """The second page is an error with the status 200, once."""
    done: list[int] = []

    def before(request: Request) -> Any:
        if not request.offset or done:
            return None
        done.append(request.offset)
        return hostile.status(200, b'{"error": "Unavailable", "message": "Later."}')()

    return {"before": before}


CASES = {
    "behaves as documented, and nothing changes meanwhile": nothing,
    f"sends {PAGE // 2} media items per page where {PAGE} were asked for": cap,
    "deletes five media items while the list is read": deletion,
    'sends `{"error": …}` with status 200 for one page': error,
}


def lost(studio: Studio, file: str, schema: str) -> str:
    """How many of the media items that the Studio has are not in a DuckDB file."""
    (dataset,) = studio.library.datasets
    with duckdb.connect(file, read_only=True) as database:
        loaded = {str(one).replace("-", "") for (one,) in database.execute(f"SELECT id FROM {schema}.media").fetchall()}
    missing = {item["id"].replace("-", "") for item in media_of(studio.library, dataset)} - loaded
    return f"{len(missing):,} of {counted(len(media_of(studio.library)), 'media item')}" if missing else "none"


def by_rest_api(name: str, hooks: Callable[[Library], Hooks]) -> str:
    library = frozen(MEDIA)
    (dataset,) = library.datasets
    error = ""
    with Studio(library, 2025, **hooks(library)) as studio:
        try:
            rest_api.main(studio.url, studio.key, dataset, f"{name}_pipelines", f"{name}.duckdb")
        except PipelineStepFailed:
            error = ", with an error"
        return lost(studio, f"{name}.duckdb", "library") + error


def by_this_source(name: str, hooks: Callable[[Library], Hooks]) -> str:
    library = frozen(MEDIA)
    pipeline = dlt.pipeline(
        f"ours_{name}",
        destination=dlt.destinations.duckdb(f"ours_{name}.duckdb"),
        dataset_name="coreviz",
        pipelines_dir=f"{name}_pipelines",
    )
    with Studio(library, 2025, **hooks(library)) as studio:
        report = run_sync(pipeline, studio, page_size=PAGE)
        return lost(studio, f"ours_{name}.duckdb", "coreviz") + ("" if report.exit_code == 0 else ", with an error")


def test_what_a_hand_written_config_loses_is_in_the_readme_and_this_source_loses_nothing():
    measured = [
        f"| {case} | {by_rest_api(hooks.__name__, hooks)} | {by_this_source(hooks.__name__, hooks)} |"
        for case, hooks in CASES.items()
    ]
    table = re.search(r"^\| the server .*\n\|[- |]*\n((?:\|.*\n)+)", README.read_text(), re.MULTILINE)
    assert table is not None and table[1].splitlines() == measured, "\n".join(measured)
