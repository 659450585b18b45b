"""What dlt leaves in its working directory is removed, so that a timer that runs for years does not fill the disk."""

from __future__ import annotations

import shutil
from pathlib import Path

import dlt

from coreviz_source.loading.resources import ROWS_FOLDER
from coreviz_source.warehouse.destination import destination_of


def clean_up(pipeline: dlt.Pipeline, *, pending: bool = False) -> None:
    """Removes what nothing needs any more: packages that were loaded, extracts that never became one.

    dlt keeps both: 30 to 60 KB for every load, without its rows, and all rows of an extract that failed or was killed.
    Must not be called while another process works in the same working directory.

    Args:
        pipeline: Whose working directory is tidied.
        pending: Whether packages that wait to be loaded go as well, and dlt's trace of the last run, which quotes
            errors: then no row is left on this machine, and the next run lists again what they held.
    """
    # an extract is made in a folder of its own beside `extracted`, and moved there when it is whole
    going = ["load/loaded/*", "normalize/*", ROWS_FOLDER]
    if pending:
        going += ["load/new/*", "load/normalized/*", "normalize/extracted/*", "trace.pickle"]
    for path in [path for pattern in going for path in Path(pipeline.working_dir).glob(pattern)]:
        if path.is_dir() and path.name != "extracted":
            shutil.rmtree(path, ignore_errors=True)
        elif path.name == "trace.pickle":
            path.unlink()


def configure_dlt(pipeline: dlt.Pipeline) -> None:
    """Sets what dlt does with disk and memory while it loads, unless the user set it otherwise.

    The rows that a merge staged in the warehouse are removed once it is done. Some
    destinations load as fast with fewer workers, and in less memory.
    """
    _unless_set("load.truncate_staging_dataset", True)
    workers = destination_of(pipeline).load_workers
    if workers is not None:
        _unless_set("load.workers", workers, of=f"{pipeline.pipeline_name}.")


def _unless_set(setting: str, value: object, of: str = "") -> None:
    if dlt.config.get(setting) is None:
        dlt.config[of + setting] = value


def pending_packages(pipeline: dlt.Pipeline) -> int:
    """How many packages an interrupted run left on this machine; the next run loads them first."""
    return len(pipeline.list_extracted_load_packages()) + len(pipeline.list_normalized_load_packages())
