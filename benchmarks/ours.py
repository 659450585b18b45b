"""This source: `sync()` into DuckDB. Arguments of `sync()` may follow as JSON, and another warehouse.

That is the address of a Postgres, or `ducklake` for a lake with a catalog in SQLite.
"""

from __future__ import annotations

import json
import sys

import dlt

from coreviz_source import sync


def main(url: str, key: str, dataset_id: str, directory: str, arguments: str = "{}", warehouse: str = "duckdb") -> int:
    kind = warehouse.partition(":")[0]
    destinations = {
        "duckdb": lambda: dlt.destinations.duckdb(f"{directory}/ours.duckdb"),
        "ducklake": lambda: dlt.destinations.ducklake(
            credentials={"catalog": f"sqlite:///{directory}/ours.sqlite", "storage": f"{directory}/ours"}
        ),
        "postgresql": lambda: dlt.destinations.postgres(warehouse),
    }
    pipeline = dlt.pipeline(
        "ours" if kind == "duckdb" else f"ours_{kind}",
        destination=destinations[kind](),
        dataset_name="coreviz",
        pipelines_dir=directory,
    )
    report = sync(pipeline, dataset_ids=[dataset_id], base_url=url, api_key=key, **json.loads(arguments))
    print(report.to_json())
    return report.exit_code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
