"""Rows become parquet files, one per table, written in a thread of their own while the next rows are built."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import pyarrow as pa
import pyarrow.parquet as pq

#: Bytes of arrow tables per row group of a file.
ROW_GROUP = 8 * 2**20


@dataclass
class RowFile:
    """A parquet file, and its number of rows."""

    path: Path
    rows: int = 0


class RowFiles:
    """Writes the rows of each table into a file of its own. The files are complete when the `with` block ends.

    Args:
        directory: Where to write the files. It exists and is empty.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="coreviz-parquet")
        self._writing: Future[None] | None = None
        self._writers: dict[str, pq.ParquetWriter] = {}
        self._waiting: dict[str, list[pa.Table]] = {}
        self._size = 0
        #: The files by table. They are complete when the block ends.
        self.files: dict[str, RowFile] = {}

    def add(self, tables: Mapping[str, pa.Table]) -> None:
        """Adds rows. They are written when there are enough of them for a row group."""
        for name, rows in tables.items():
            self._waiting.setdefault(name, []).append(rows)
            self._size += rows.nbytes
        if self._size >= ROW_GROUP:
            self._flush()

    def _flush(self) -> None:
        if self._writing is not None:
            # so that no more than two row groups are in memory
            self._writing.result()
        self._writing = self._thread.submit(self._write, self._waiting)
        self._waiting, self._size = {}, 0

    def _write(self, tables: Mapping[str, list[pa.Table]]) -> None:
        for name, parts in tables.items():
            rows = pa.concat_tables(parts)
            if name not in self._writers:
                self.files[name] = RowFile(self._directory / f"{name}.parquet")
                # a file is read once and deleted: neither dictionaries nor strong compression are worth their time
                self._writers[name] = pq.ParquetWriter(
                    self.files[name].path, rows.schema, compression="lz4", use_dictionary=False, write_statistics=False
                )
            self._writers[name].write_table(rows, row_group_size=rows.num_rows)
            self.files[name].rows += rows.num_rows

    def __enter__(self) -> RowFiles:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            if error is None:
                self._flush()
                if self._writing is not None:
                    self._writing.result()
        finally:
            self._thread.shutdown()
            for writer in self._writers.values():
                writer.close()
            # the warehouse needs the memory next
            pa.default_memory_pool().release_unused()
