"""What a DuckLake keeps of earlier states: old snapshots are removed after a while, and erased rows at once."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Any

from dlt.destinations.sql_client import SqlClientBase

from coreviz_source.errors import DestinationError
from coreviz_source.warehouse.connection import Connection
from coreviz_source.warehouse.failures import scrub

_log = logging.getLogger(__name__)

#: How much older than they have to be snapshots may become, so that not every run removes one.
SLACK = timedelta(days=1)
#: The most delete files per table. DuckLake merges no file that has one, so their number would grow every day.
MOST_DELETE_FILES = 10
#: How long a file without a snapshot is kept, because a query may still read it. A killed load leaves such files too.
_GRACE = timedelta(days=1)
#: Seconds that the catalog's rewriting waits for queries that began before.
PATIENCE = 30.0
#: The exit code if a query is still running then.
_BUSY = 3
#: Rewrites a catalog. Before that, the file has the pages of deleted rows, and while queries run its log has them.
_REWRITE = f"""
import contextlib, sqlite3, sys
with contextlib.closing(sqlite3.connect(sys.argv[1], timeout=float(sys.argv[2]))) as catalog:
    catalog.execute("VACUUM")
    (busy, *_), = catalog.execute("PRAGMA wal_checkpoint(TRUNCATE)")
sys.exit({_BUSY} if busy else 0)
"""


def maintain(connection: Connection, lock: Callable[[], AbstractContextManager[Any]], keep: timedelta) -> list[str]:
    """Removes old snapshots, and merges the small files that loads have left. It never raises.

    Args:
        connection: The warehouse; if it is not a DuckLake, this does nothing.
        lock: Keeps other runs from loading while a block runs.
        keep: How long a snapshot can be read.

    Returns:
        A sentence if it failed.
    """
    if not connection.destination.is_lake:
        return []
    try:
        with connection.sql_client() as client:
            if not _is_due(client, keep):
                return []
        with lock(), connection.sql_client() as client:
            _compact(client, keep, MOST_DELETE_FILES)
    except Exception as error:
        said = error.message if isinstance(error, DestinationError) else scrub(str(error), connection.pipeline)
        problem = f"Old snapshots were not removed: {' '.join(said.split())}"
        _log.warning("%s", problem)
        return [problem]
    return []


def _is_due(client: SqlClientBase[Any], keep: timedelta) -> bool:
    seconds = (keep + min(keep, SLACK)).total_seconds()
    found = client.execute_sql(
        f"SELECT min(snapshot_time) < now() - to_seconds({seconds}) FROM ducklake_snapshots({_lake(client)})"
    )
    return bool(found and found[0][0])


def purge(client: SqlClientBase[Any]) -> None:
    """Writes files with deleted rows again without them, and removes all old snapshots with their files.

    Raises:
        DestinationError: The catalog was not rewritten, and may still have deleted rows.
    """
    _compact(client, timedelta(0), 0)
    credentials: Any = client.credentials
    if credentials.file is None:
        return
    # in a process of its own: SQLite releases all locks of a process on a file, DuckDB's too, when one copy is closed
    command = [sys.executable, "-I", "-c", _REWRITE, credentials.file, str(PATIENCE)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        reason = done.stderr.strip().rpartition("\n")[2] or "A query that began before is still running."
        raise DestinationError(
            f"The rows were deleted, but the catalog may still have their bytes: {reason}",
            remedy="Run the command again when no query is running. It finds no rows, and rewrites the catalog.",
        )


def _compact(client: SqlClientBase[Any], keep: timedelta, most_delete_files: int) -> None:
    """DuckLake's own maintenance.

    Args:
        client: The connection.
        keep: How long a snapshot can be read.
        most_delete_files: The most delete files that a table may have. With more, its files are written again.
    """
    lake, literal = _lake(client), client.capabilities.escape_literal
    client.execute_sql(f"CALL ducklake_flush_inlined_data({lake})")
    _expire(client, keep)
    tables = client.execute_sql(
        f"SELECT DISTINCT i.table_name FROM ducklake_table_info({lake}) i JOIN duckdb_tables() t USING (table_name) "
        f"WHERE t.database_name = {lake} AND t.schema_name = {literal(client.dataset_name)} "
        f"AND i.delete_file_count > {most_delete_files}"
    )
    for (table,) in tables or ():
        where = f"{literal(table)}, schema => {literal(client.dataset_name)}"
        client.execute_sql(f"CALL ducklake_rewrite_data_files({lake}, {where}, delete_threshold => 0)")
    client.execute_sql(f"CALL ducklake_merge_adjacent_files({lake})")
    _expire(client, keep)
    # a query that is running may still read what was replaced; a day more, because days are compared as in `_expire`
    age = (min(keep, _GRACE) + timedelta(days=1)).total_seconds()
    aged = f"older_than => now() - to_seconds({age})" if keep else "cleanup_all => true"
    client.execute_sql(f"CALL ducklake_cleanup_old_files({lake}, {aged})")
    if client.credentials.default_files:
        # nobody else writes into a folder that this source has named
        client.execute_sql(f"CALL ducklake_delete_orphaned_files({lake}, {aged})")


def _expire(client: SqlClientBase[Any], keep: timedelta) -> None:
    # by number: with a catalog in SQLite, DuckLake's `older_than` takes all snapshots of the day for older
    found = client.execute_sql(
        f"SELECT snapshot_id FROM ducklake_snapshots({_lake(client)}) "
        f"WHERE snapshot_time < now() - to_seconds({keep.total_seconds()})"
    )
    if found:
        numbers = ", ".join(str(number) for (number,) in found)
        client.execute_sql(f"CALL ducklake_expire_snapshots({_lake(client)}, versions => [{numbers}])")


def _lake(client: SqlClientBase[Any]) -> str:
    literal: str = client.capabilities.escape_literal(client.credentials.ducklake_name)
    return literal
