"""What dlt leaves in its working directory is removed, so that a timer that runs for years does not fill the disk."""

from __future__ import annotations

import shutil
from pathlib import Path

import dlt

from coreviz_source.resources import ROWS_FOLDER


def tidy(pipeline: dlt.Pipeline) -> None:
    """Removes what nothing needs any more: packages that were loaded, extracts that never became one.

    dlt keeps both: 30 to 60 KB for every load, without its rows, and all rows of an extract that failed or was killed.
    What is pending stays. Must not be called while another process extracts in the same working directory.
    """
    working = Path(pipeline.working_dir)
    packages = [p for p in (working / "load" / "loaded").glob("*") if p.is_dir()]
    # an extract is made in a folder of its own beside `extracted`, and moved there when it is whole
    failed = [p for p in (working / "normalize").glob("*") if p.is_dir() and p.name != "extracted"]
    for path in (*packages, *failed, working / ROWS_FOLDER):
        shutil.rmtree(path, ignore_errors=True)


def clear_staging() -> None:
    """Has dlt remove the rows that a merge staged in the warehouse once it is done, unless the user set otherwise."""
    setting = "load.truncate_staging_dataset"
    if dlt.config.get(setting) is None:
        dlt.config[setting] = True


def pending_packages(pipeline: dlt.Pipeline) -> int:
    """How many packages an interrupted run left on this machine; the next run loads them first."""
    return len(pipeline.list_extracted_load_packages()) + len(pipeline.list_normalized_load_packages())
