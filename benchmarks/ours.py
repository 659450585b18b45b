"""This source: `sync()` into DuckDB. What else is given are its arguments, as name=value."""

from __future__ import annotations

import sys

import dlt

from coreviz_source import sync


def main(url: str, key: str, dataset_id: str, directory: str, *more: str) -> int:
    pipeline = dlt.pipeline(
        "ours",
        destination=dlt.destinations.duckdb(f"{directory}/ours.duckdb"),
        dataset_name="coreviz",
        pipelines_dir=directory,
    )
    given: dict[str, object] = dict(argument.split("=") for argument in more)
    if "resync" in given:
        given["resync"] = True
    return sync(pipeline, dataset_ids=[dataset_id], base_url=url, api_key=key, **given).exit_code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
