"""Mirrors a CoreViz library into Postgres. Copy this file; put keys into .dlt/secrets.toml."""

import sys

import dlt

from coreviz_source import sync


def main() -> int:
    """Loads what changed since the last run."""
    # the destination's credentials: `destination.postgres.credentials`, or postgresql://… in
    # DESTINATION__POSTGRES__CREDENTIALS; the user may create the schema `coreviz` and `coreviz_staging`
    pipeline = dlt.pipeline("coreviz_library", destination="postgres", dataset_name="coreviz")
    report = sync(pipeline)  # all datasets of the account; or dataset_ids=["…"]
    for dataset_id, dataset in report.datasets.items():
        print(f"{dataset_id}: {dataset.outcome}, {dataset.new} new, {dataset.changed} changed, {dataset.gone} deleted")
    for error in report.errors:
        print(error)
    return report.exit_code


if __name__ == "__main__":
    sys.exit(main())
