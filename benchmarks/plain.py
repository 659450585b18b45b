"""This source without `sync()`: a plain `pipeline.run(coreviz(…))` into DuckDB."""

from __future__ import annotations

import sys

import dlt

from coreviz_source import coreviz


def main(url: str, key: str, dataset_id: str, directory: str) -> None:
    pipeline = dlt.pipeline(
        "ours",
        destination=dlt.destinations.duckdb(f"{directory}/ours.duckdb"),
        dataset_name="coreviz",
        pipelines_dir=directory,
    )
    pipeline.run(coreviz(dataset_ids=[dataset_id], base_url=url, api_key=key))


if __name__ == "__main__":
    main(*sys.argv[1:])
