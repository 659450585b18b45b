"""A library that changes, a Studio that serves it, a pipeline that follows: what most tests play with."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import dlt

from coreviz_source import Report, coreviz, sync
from coreviz_source.local_studio import Library, Studio
from coreviz_source.local_studio.library import NEWEST
from tests import copies
from tests.warehouse import assert_mirror


def frozen(media: int = 60, datasets: int = 1, seed: int = 7) -> Library:
    """A generated library whose clock stands still an hour after its newest media."""
    library = Library.generate(media, datasets, seed)
    library.clock = lambda: NEWEST
    library.advance(hours=1)
    return library


def pipeline_in(folder: Path, directory: str = "pipelines", database: str = "library.duckdb") -> dlt.Pipeline:
    """A pipeline into a DuckDB file of a folder, and its working directory beside it."""
    return dlt.pipeline(
        "coreviz_test",
        destination=dlt.destinations.duckdb(str(folder / database)),
        dataset_name="coreviz",
        pipelines_dir=str(folder / directory),
    )


def arguments(studio: Studio, given: dict[str, Any]) -> dict[str, Any]:
    return {
        "dataset_ids": list(studio.library.datasets),
        "base_url": studio.url,
        "api_key": studio.key,
        "page_size": 20,
        **given,
    }


def run(pipeline: dlt.Pipeline, studio: Studio, **given: Any) -> None:
    _run(pipeline, **arguments(studio, given))


def _run(pipeline: dlt.Pipeline, **given: Any) -> None:
    pipeline.run(coreviz(**given))


def run_sync(pipeline: dlt.Pipeline, studio: Studio, **given: Any) -> Report:
    return sync(pipeline, **arguments(studio, given))


def first_run(pipeline: dlt.Pipeline, studio: Studio, **given: Any) -> None:
    """What `run` loads into an empty warehouse; its requests may not be made, because an earlier test made the same."""
    copies.first(_run, pipeline, studio, arguments(studio, given))


def first_sync(pipeline: dlt.Pipeline, studio: Studio, **given: Any) -> Report:
    """What `run_sync` loads into an empty warehouse; see `first_run`."""
    report: Report = copies.first(sync, pipeline, studio, arguments(studio, given))
    return report


def truth_of(studio: Studio) -> dict[str, list[dict[str, Any]]]:
    return {dataset_id: studio.snapshot(dataset_id) for dataset_id in studio.library.datasets}


def assert_equal_to(pipeline: dlt.Pipeline, studio: Studio) -> None:
    assert_mirror(pipeline, truth_of(studio))


def media_of(library: Library, dataset: str | None = None, frames: int = 0) -> list[dict[str, Any]]:
    """Media of a dataset, newest first, with at least so many frames that have captions."""
    dataset = dataset or next(iter(library.datasets))
    return [
        item
        for item in reversed(library.listing(dataset))
        if item["type"] != "folder" and sum(bool(f["captions"]) for f in item.get("frames") or []) >= frames
    ]


def days(number: float) -> timedelta:
    return timedelta(days=number)
