"""Mirrors a CoreViz library into DuckDB. Copy this file; put your key into .dlt/secrets.toml or COREVIZ_API_KEY."""

import sys

import dlt

from coreviz_source import sync


def main() -> int:
    """Loads what changed since the last run."""
    # the file is named after the pipeline; DuckDB wants it to differ from the dataset's name
    pipeline = dlt.pipeline("coreviz_library", destination="duckdb", dataset_name="coreviz")
    report = sync(pipeline)  # all datasets of the account; or dataset_ids=["…"]
    for dataset_id, dataset in report.datasets.items():
        print(f"{dataset_id}: {dataset.outcome}, {dataset.new} new, {dataset.changed} changed, {dataset.gone} deleted")
    for error in report.errors:
        print(error)
    return report.exit_code


if __name__ == "__main__":
    sys.exit(main())
