"""Counts rows: `landed.py FILE|postgresql://… SCHEMA TABLE…`. Prints them as JSON, in the order of the tables."""

from __future__ import annotations

import json
import sys


def main(address: str, schema: str, *tables: str) -> None:
    counts = [f"SELECT count(*) FROM {schema}.{table}" for table in tables]
    if address.startswith("postgresql://"):
        import psycopg2

        with psycopg2.connect(address) as connection, connection.cursor() as cursor:
            found = []
            for sql in counts:
                cursor.execute(sql)
                found.append(cursor.fetchone()[0])
    else:
        import duckdb

        with duckdb.connect(address, read_only=True) as database:
            found = [database.execute(sql).fetchone()[0] for sql in counts]
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
