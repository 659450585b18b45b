"""This source: `sync()` into DuckDB. Arguments of `sync()` may follow as JSON, and the address of a Postgres."""

from __future__ import annotations

import json
import sys

import dlt

from coreviz_source import sync


def main(url: str, key: str, dataset_id: str, directory: str, arguments: str = "{}", postgres: str = "") -> int:
    pipeline = dlt.pipeline(
        "ours_postgres" if postgres else "ours",
        destination=(
            dlt.destinations.postgres(postgres) if postgres else dlt.destinations.duckdb(f"{directory}/ours.duckdb")
        ),
        dataset_name="coreviz",
        pipelines_dir=directory,
    )
    report = sync(pipeline, dataset_ids=[dataset_id], base_url=url, api_key=key, **json.loads(arguments))
    print(report.to_json())
    return report.exit_code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
