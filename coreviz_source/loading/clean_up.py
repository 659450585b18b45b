"""Removes what dlt leaves in its working directory, so that a schedule that runs for years does not fill the disk."""

from __future__ import annotations

import shutil
from pathlib import Path

import dlt
from dlt.common.configuration import inject_section, resolve_configuration
from dlt.common.configuration.specs.config_section_context import ConfigSectionContext
from dlt.load.configuration import LoaderConfiguration

from coreviz_source.loading.resources import ROWS_FOLDER
from coreviz_source.warehouse.destination import destination_of


def clean_up(pipeline: dlt.Pipeline, *, pending: bool = False) -> None:
    """Removes packages that were loaded, and extracts that never became a package.

    dlt keeps both: 30 to 60 KB per load, without its rows, and all rows of an extract that failed or was killed. The
    working directory must be locked.

    Args:
        pipeline: The pipeline whose working directory is cleaned up.
        pending: Whether to remove packages that wait to be loaded as well, and dlt's trace of the last run, which
            quotes errors. Then no row is left on this machine, and the next run lists again what they contained.
    """
    # dlt writes an extract into a folder of its own beside `extracted`, and moves it there when it is complete
    patterns = ["load/loaded/*", "normalize/*", ROWS_FOLDER]
    if pending:
        patterns += ["load/new/*", "load/normalized/*", "normalize/extracted/*", "trace.pickle"]
    for path in [path for pattern in patterns for path in Path(pipeline.working_dir).glob(pattern)]:
        if path.is_dir() and path.name != "extracted":
            shutil.rmtree(path, ignore_errors=True)
        elif path.name == "trace.pickle":
            path.unlink()


def configure_dlt(pipeline: dlt.Pipeline, appending: bool = False) -> None:
    """Sets how dlt uses disk and memory while it loads, except for what the user has set.

    The staging tables in the warehouse are emptied after each merge; in a lake they are never filled. For some
    destinations, dlt loads with fewer workers, which is as fast and needs less memory.

    Args:
        pipeline: The pipeline that loads.
        appending: Whether the loads only append.
    """
    destination = destination_of(pipeline)
    if not destination.is_lake:
        _unless_set("load.truncate_staging_dataset", True)
    workers = (destination.appending_workers if appending else None) or destination.load_workers
    if workers is not None:
        _unless_set("load.workers", workers, of=f"{pipeline.pipeline_name}.")


def load_workers(pipeline: dlt.Pipeline) -> int:
    """How many tables dlt loads at once."""
    with inject_section(ConfigSectionContext(pipeline_name=pipeline.pipeline_name)):
        # partial, because only dlt itself knows where its packages are
        return resolve_configuration(LoaderConfiguration(), sections=("load",), accept_partial=True).workers


def _unless_set(setting: str, value: object, of: str = "") -> None:
    if dlt.config.get(setting) is None:
        dlt.config[of + setting] = value


def pending_packages(pipeline: dlt.Pipeline) -> int:
    """How many packages an interrupted run left on this machine; the next run loads them first."""
    return len(pipeline.list_extracted_load_packages()) + len(pipeline.list_normalized_load_packages())
