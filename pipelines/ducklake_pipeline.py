"""Mirrors a CoreViz library into a DuckLake. Copy this file; put keys into .dlt/secrets.toml."""

import sys

import dlt

from coreviz_source import sync


def main() -> int:
    """Loads what changed since the last run."""
    # without configuration: the catalog coreviz_library.ducklake.sqlite and the folder coreviz_library.ducklake.files,
    # here; a catalog in Postgres and a bucket are named in [destination.ducklake.credentials], see docs/ducklake.md
    pipeline = dlt.pipeline("coreviz_library", destination="ducklake", dataset_name="coreviz")
    report = sync(pipeline)  # all datasets of the account; or dataset_ids=["…"]
    for dataset_id, dataset in report.datasets.items():
        print(f"{dataset_id}: {dataset.outcome}, {dataset.new} new, {dataset.changed} changed, {dataset.gone} deleted")
    for error in report.errors:
        print(error)
    return report.exit_code


if __name__ == "__main__":
    sys.exit(main())
