"""Mirrors a CoreViz library into BigQuery. Copy this file; put keys into .dlt/secrets.toml (see docs/bigquery.md)."""

import sys

import dlt

from coreviz_source import sync


def main() -> int:
    """Loads what changed since the last run."""
    # the destination's credentials: `destination.bigquery.credentials`, or a service account's JSON in
    # DESTINATION__BIGQUERY__CREDENTIALS; where the datasets are made: `destination.bigquery.location`
    pipeline = dlt.pipeline("coreviz_library", destination="bigquery", dataset_name="coreviz")
    report = sync(pipeline)  # all datasets of the account; or dataset_ids=["…"]
    for dataset_id, dataset in report.datasets.items():
        print(f"{dataset_id}: {dataset.outcome}, {dataset.new} new, {dataset.changed} changed, {dataset.gone} deleted")
    for error in report.errors:
        print(error)
    return report.exit_code


if __name__ == "__main__":
    sys.exit(main())
