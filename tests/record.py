"""Records the cassettes: a paged listing and the documented errors.

`python -m tests.record` records against the local Studio, which speaks the documented contract; with `--live ID` and
COREVIZ_API_KEY set, against the live service. Keys are never written.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import tempfile
from pathlib import Path
from typing import Any

import dlt
import vcr

from coreviz_source import Report, sync
from coreviz_source.client import Calls, CorevizClient
from coreviz_source.errors import CorevizError
from coreviz_source.loading.configuration import resolve
from coreviz_source.local_studio import Library, Studio

CASSETTES = Path(__file__).parent / "cassettes"
LIVE = "https://lab.coreviz.io"
UNKNOWN = "00000000-0000-4000-8000-000000000000"


def recorder(**options: Any) -> vcr.VCR:
    """A recorder that knows requests by path and query, and never keeps a key."""
    return vcr.VCR(
        cassette_library_dir=str(CASSETTES),
        match_on=["method", "path", "query"],
        filter_headers=["x-api-key", "authorization", "user-agent"],
        decode_compressed_response=True,
        **options,
    )


def anonymous(base_url: str) -> Any:
    """Takes the local address out of what is recorded."""

    def request(recorded: Any) -> Any:
        recorded.uri = recorded.uri.replace(base_url, LIVE)
        return recorded

    def response(recorded: Any) -> Any:
        recorded["body"]["string"] = recorded["body"]["string"].replace(base_url.encode(), LIVE.encode())
        recorded["headers"].pop("content-length", None)
        return recorded

    return {"before_record_request": request, "before_record_response": response}


def load(base_url: str, key: str, dataset_id: str, directory: Path) -> Report:
    """One run as the cassettes hold it: small pages, one request after the other."""
    pipeline = dlt.pipeline(
        "recorded",
        destination=dlt.destinations.duckdb(str(directory / "recorded.duckdb")),
        dataset_name="coreviz",
        pipelines_dir=str(directory),
    )
    return sync(pipeline, dataset_ids=[dataset_id], base_url=base_url, api_key=key, page_size=5, parallel_requests=1)


def refused(base_url: str, key: str, dataset_id: str, limit: int = 5) -> None:
    """One request of the listing that the API refuses."""
    client = CorevizClient(resolve({"dataset_ids": [dataset_id], "base_url": base_url, "api_key": key}))
    client.page(dataset_id, 0, limit, Calls())


def record(base_url: str, key: str, dataset_id: str) -> None:
    tape = recorder(record_mode="all", **anonymous(base_url))
    with tempfile.TemporaryDirectory() as directory, tape.use_cassette("listing.yaml"):
        load(base_url, key, dataset_id, Path(directory))
    for name, arguments in (
        ("error-400", (key, dataset_id, 0)),
        ("error-401", ("not-a-key", dataset_id)),
        ("error-404", (key, UNKNOWN)),
    ):
        with tape.use_cassette(f"{name}.yaml"), contextlib.suppress(CorevizError):
            refused(base_url, *arguments)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--live", metavar="DATASET_ID", help="record against the live service")
    wanted = parser.parse_args()
    for path in CASSETTES.glob("*.yaml"):
        path.unlink()
    if wanted.live:
        record(LIVE, os.environ["COREVIZ_API_KEY"], wanted.live)
        return
    library = Library.generate(12, datasets=1)
    with Studio(library, 2025) as studio:
        record(studio.url, studio.key, next(iter(library.datasets)))
    text = "".join(path.read_text() for path in CASSETTES.glob("*.yaml"))
    assert not re.search(r"127\.0\.0\.1|local-studio-key|not-a-key", text)


if __name__ == "__main__":
    main()
