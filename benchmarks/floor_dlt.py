"""The floor's rows, loaded by dlt: files of them in one package. It is the least that a source for dlt can take.

No increments, no proof, no retries, and columns of four types only.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dlt
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.floor import batches, tables


def written(url: str, key: str, dataset_id: str, directory: Path) -> dict[str, pa.Schema]:
    """Writes a parquet file per table; returns their schemas by table."""
    writers: dict[str, pq.ParquetWriter] = {}
    for media in batches(url, key, dataset_id):
        for name, rows in tables(media).items():
            if name not in writers:
                writers[name] = pq.ParquetWriter(
                    directory / f"{name}.parquet",
                    rows.schema,
                    compression="lz4",
                    use_dictionary=False,
                    write_statistics=False,
                )
            writers[name].write_table(rows.cast(writers[name].schema))
    for writer in writers.values():
        writer.close()
    return {name: writer.schema for name, writer in writers.items()}


def _type(kind: pa.DataType) -> str:
    if pa.types.is_timestamp(kind):
        return "timestamp"
    if pa.types.is_integer(kind):
        return "bigint"
    return "double" if pa.types.is_floating(kind) else "text"


def resource(directory: Path, name: str, schema: pa.Schema) -> Any:
    def file() -> Iterator[Any]:
        path = directory / f"{name}.parquet"
        yield dlt.mark.with_file_import(str(path), "parquet", pq.read_metadata(path).num_rows)

    columns: Any = [{"name": field.name, "data_type": _type(field.type), "nullable": True} for field in schema]
    return dlt.resource(file, name=name, columns=columns)


def main(url: str, key: str, dataset_id: str, directory: str) -> None:
    gc.disable()
    schemas = written(url, key, dataset_id, Path(directory))
    pipeline = dlt.pipeline(
        "floor",
        destination=dlt.destinations.duckdb(f"{directory}/floor.duckdb"),
        dataset_name="library",
        pipelines_dir=directory,
    )
    pipeline.run([resource(Path(directory), name, schema) for name, schema in schemas.items()])


if __name__ == "__main__":
    main(*sys.argv[1:])
