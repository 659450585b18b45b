"""The Airbyte peer: `airbyte_manifest.yaml`, run by PyAirbyte into its DuckDB cache."""

from __future__ import annotations

import sys
from pathlib import Path

import airbyte


def main(url: str, key: str, dataset_id: str, directory: str, file: str) -> None:
    source = airbyte.get_source(
        "source-coreviz",
        config={"url": url, "key": key, "dataset_id": dataset_id},
        source_manifest=Path(__file__).with_name("airbyte_manifest.yaml"),
    )
    source.select_all_streams()
    cache = airbyte.DuckDBCache(db_path=file, schema_name="library", cache_dir=Path(directory) / "files")
    source.read(cache=cache)


if __name__ == "__main__":
    main(*sys.argv[1:])
