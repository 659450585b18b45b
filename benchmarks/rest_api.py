"""The peer: dlt's declarative `rest_api` source, as people write it for this API."""

from __future__ import annotations

import sys

import dlt
from dlt.sources.rest_api import rest_api_source


def main(url: str, key: str, dataset_id: str, directory: str, file: str) -> None:
    source = rest_api_source(
        {
            "client": {
                "base_url": f"{url}/api/",
                "auth": {"type": "api_key", "name": "x-api-key", "api_key": key, "location": "header"},
                "paginator": {"type": "offset", "limit": 100, "total_path": "pagination.total"},
            },
            "resource_defaults": {"primary_key": "id", "write_disposition": "merge"},
            "resources": [
                {"name": "media", "endpoint": {"path": f"dataset/{dataset_id}/media", "data_selector": "media"}}
            ],
        }
    )
    pipeline = dlt.pipeline(
        "rest_api",
        destination=dlt.destinations.duckdb(file),
        dataset_name="library",
        pipelines_dir=directory,
    )
    pipeline.run(source)


if __name__ == "__main__":
    main(*sys.argv[1:])
