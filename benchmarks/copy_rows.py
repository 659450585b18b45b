"""The floor of Postgres: plain COPY of the same rows, prepared in memory, into tables without keys or indexes.

Takes the rows from the DuckDB file of a first load, makes a CSV of each table, and only then starts the clock.
Prints the seconds.
"""

from __future__ import annotations

import io
import sys
import tempfile
import time
from pathlib import Path

import duckdb
import psycopg2

TABLES = ("datasets", "media", "frames", "captions", "objects", "media_tags", "moderation_categories")
TYPES = {"VARCHAR": "text", "DOUBLE": "double precision", "TIMESTAMP WITH TIME ZONE": "timestamptz"}


def main(file: str, address: str) -> None:
    with tempfile.TemporaryDirectory() as directory, duckdb.connect(file, read_only=True) as database:
        made: list[tuple[str, str, io.BytesIO]] = []
        for name in TABLES:
            columns = [
                f"{column} {TYPES.get(kind, kind)}"
                for column, kind, *_ in database.execute(f"DESCRIBE coreviz.{name}").fetchall()
            ]
            rows = Path(directory, name)
            database.execute(f"COPY coreviz.{name} TO '{rows}' (FORMAT csv, HEADER false, NULL '\\N')")
            made.append((name, f"CREATE TABLE plain.{name} ({', '.join(columns)})", io.BytesIO(rows.read_bytes())))
    connection = psycopg2.connect(address)
    with connection.cursor() as cursor:
        cursor.execute("CREATE SCHEMA plain")
        connection.commit()
        began = time.perf_counter()
        for name, create, rows_in_memory in made:
            cursor.execute(create)
            cursor.copy_expert(f"COPY plain.{name} FROM STDIN (FORMAT csv, NULL '\\N')", rows_in_memory)
        connection.commit()
        print(time.perf_counter() - began)
    connection.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
