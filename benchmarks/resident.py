"""The cost of a cycle of `sync_every()` over an unchanged library, without starting up.

Prints one line of JSON: by kind of cycle, the seconds and CPU seconds of each cycle after the first two.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import dlt

from coreviz_source import sync_every

WARM_UP, MEASURED = 2, 5


def main(url: str, key: str, dataset_id: str, directory: str) -> None:
    pipeline = dlt.pipeline(
        "ours",
        destination=dlt.destinations.duckdb(f"{directory}/ours.duckdb"),
        dataset_name="coreviz",
        pipelines_dir=directory,
    )
    known = {"dataset_ids": [dataset_id], "base_url": url, "api_key": key}
    print(
        json.dumps(
            {
                "ordinary": cycles(pipeline, known),
                "complete": cycles(pipeline, {**known, "reconcile_every": "0"}),
            }
        )
    )


def cycles(pipeline: dlt.Pipeline, arguments: dict[str, Any]) -> list[tuple[float, float]]:
    """Seconds and CPU seconds of each cycle."""
    used: list[tuple[float, float]] = []
    running = sync_every(pipeline, every="1s", wait=lambda seconds: None, **arguments)
    for _ in range(WARM_UP + MEASURED):
        began, cpu = time.perf_counter(), time.process_time()
        report = next(running)
        used.append((time.perf_counter() - began, time.process_time() - cpu))
        if report.exit_code:
            sys.exit(str(report))
        time.sleep(1)
    running.close()
    return used[WARM_UP:]


if __name__ == "__main__":
    main(*sys.argv[1:])
