"""What a DuckLake keeps of earlier states: old snapshots are removed after a while, and erased rows at once."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from datetime import timedelta
from typing import Any

from dlt.destinations.sql_client import SqlClientBase

from coreviz_source.errors import DestinationError
from coreviz_source.warehouse.connection import Connection
from coreviz_source.warehouse.failures import scrub

_log = logging.getLogger(__name__)

#: How much older than they have to be snapshots may become, so that not every run removes one.
SLACK = timedelta(days=1)
#: Files that no snapshot has, older than this, are left by a load that was killed.
_ABANDONED = timedelta(days=1)


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
            _compact(client, keep, 0.95)
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
    """Writes files with deleted rows again without them, and removes all old snapshots with their files."""
    _compact(client, timedelta(0), 0.0)
    credentials: Any = client.credentials
    if credentials.catalog.drivername == "sqlite":
        # the pages of deleted rows would otherwise stay in the file until others are written over them
        with closing(sqlite3.connect(credentials.file, timeout=30)) as catalog:
            catalog.execute("VACUUM")
            catalog.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _compact(client: SqlClientBase[Any], keep: timedelta, threshold: float) -> None:
    """DuckLake's own maintenance, in the order of its `CHECKPOINT`.

    Args:
        client: The connection.
        keep: How long a snapshot can be read.
        threshold: The share of deleted rows above which a file is written again.
    """
    lake = _lake(client)
    before = f"now() - to_seconds({keep.total_seconds()})"
    client.execute_sql(f"CALL ducklake_flush_inlined_data({lake})")
    client.execute_sql(f"CALL ducklake_expire_snapshots({lake}, older_than => {before})")
    client.execute_sql(f"CALL ducklake_merge_adjacent_files({lake})")
    client.execute_sql(f"CALL ducklake_rewrite_data_files({lake}, delete_threshold => {threshold})")
    client.execute_sql(f"CALL ducklake_expire_snapshots({lake}, older_than => {before})")
    client.execute_sql(f"CALL ducklake_cleanup_old_files({lake}, cleanup_all => true)")
    if client.credentials.default_files:
        # nobody else writes into a folder that this source has named
        age = min(keep, _ABANDONED).total_seconds()
        client.execute_sql(f"CALL ducklake_delete_orphaned_files({lake}, older_than => now() - to_seconds({age}))")


def _lake(client: SqlClientBase[Any]) -> str:
    literal: str = client.capabilities.escape_literal(client.credentials.ducklake_name)
    return literal
