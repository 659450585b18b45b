"""Counts rows: `landed.py FILE|postgresql://…|ducklake:… SCHEMA TABLE…`. Prints JSON, in the order of the tables."""

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
    elif address.startswith("ducklake:"):
        import duckdb

        from coreviz_source.warehouse.extensions import loadable

        with duckdb.connect() as database:
            for extension in ("ducklake", "sqlite_scanner"):
                database.execute(f"LOAD {loadable(extension)}")
            database.execute(f"ATTACH '{address}' AS lake (READ_ONLY)")
            database.execute("USE lake")
            found = [database.execute(sql).fetchone()[0] for sql in counts]
    else:
        import duckdb

        with duckdb.connect(address, read_only=True) as database:
            found = [database.execute(sql).fetchone()[0] for sql in counts]
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
