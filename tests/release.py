"""The warehouse of the current release as a file, for the upgrade tests of later ones: `python -m tests.release`.

Run it before a release, never after the tables have changed.
"""

from __future__ import annotations

import gzip
import tempfile
from pathlib import Path

import dlt

from coreviz_source.local_studio import Library, Studio
from tests.scenario import frozen, run_sync

STORED = Path(__file__).parent / "data" / "release-0.1.0.duckdb.gz"


def library_of_the_release() -> Library:
    return frozen(24)


def studio_of_the_release(library: Library) -> Studio:
    """A server whose pictures have the same addresses on whatever port it is."""
    studio = Studio(library)
    studio._with_addresses = lambda encoded: encoded  # type: ignore[method-assign]
    return studio


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, studio_of_the_release(library_of_the_release()) as studio:
        path = Path(folder) / "library.duckdb"
        pipeline = dlt.pipeline(
            "coreviz_test",
            destination=dlt.destinations.duckdb(str(path)),
            dataset_name="coreviz",
            pipelines_dir=folder + "/pipelines",
        )
        assert run_sync(pipeline, studio).exit_code == 0
        STORED.write_bytes(gzip.compress(path.read_bytes(), 9, mtime=0))
        print(f"{STORED.name}: {STORED.stat().st_size} bytes")
