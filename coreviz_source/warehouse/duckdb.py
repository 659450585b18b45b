"""How DuckDB is set up while a run loads; other warehouses need nothing of it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from dlt.destinations.sql_client import SqlClientBase

from coreviz_source.errors import DestinationError
from coreviz_source.warehouse.connection import Connection
from coreviz_source.warehouse.file import check_names

#: The settings of DuckDB for loads. One thread per load, because a table is too small to share, and a thread that
#: waits for another keeps a core busy. Rows go into the file at once; dlt has them written into the log first, up to a
#: gigabyte.
LOADING = {"threads": 1, "wal_autocheckpoint_entries": 10}
#: Megabytes of memory per load where loads only append: little is kept of what was written. A merge may need more.
APPENDING = 48


def check_catalog(client: SqlClientBase[Any]) -> None:
    """Checks that the open file and the schema have different names; dlt would fail after the extraction.

    Raises:
        ConfigurationError: Their names are equal.
    """
    catalog = client.execute_sql("SELECT current_database()")
    if catalog:
        check_names(str(catalog[0][0]), client.dataset_name)


class Tuning:
    """Sets DuckDB up for loads, for all connections of this process. It changes nothing that the user has set.

    Args:
        connection: The warehouse; if it is not a DuckDB file, every method does nothing.
        appending: How many loads that only append run at once; 0 if they also replace rows.
    """

    def __init__(self, connection: Connection, appending: int) -> None:
        self._connection = connection
        self._settings: dict[str, Any] = dict(LOADING) if connection.destination.is_exclusive else {}
        if self._settings and appending:
            self._settings["memory_limit"] = f"{appending * APPENDING}MB"
        #: The user's settings, where they differ while DuckDB loads.
        self._usual: dict[str, Any] = {}
        self._began = False

    def begin(self) -> None:
        """Applies the settings before the first load, and not earlier, because that opens the file."""
        if self._began or not self._settings:
            return
        with self._connection.client() as client:
            credentials: Any = client.config.credentials
            ours = [name for name in self._settings if name not in (credentials.global_config or {})]
            self._usual = {name: self._current(name) for name in ours}
        self._began = True
        self._set({name: self._settings[name] for name in ours})

    def end(self) -> None:
        """Gives the user's settings back."""
        # a database that a failure has closed has no settings either, and that failure is the one to report
        with suppress(DestinationError):
            self._set(self._usual)

    def lift_limit(self) -> bool:
        """Gives DuckDB as much memory as it takes by itself; returns whether it had less."""
        limit = self._usual.pop("memory_limit", None)
        if limit is not None:
            self._set({"memory_limit": limit})
        return limit is not None

    def checkpoint(self) -> None:
        """Makes DuckDB write into its file what a load left in memory, which it does otherwise when the run ends."""
        if self._settings:
            self._connection.execute("CHECKPOINT")

    def _current(self, name: str) -> Any:
        return next(self._connection.query(f"SELECT current_setting('{name}')"))[0]

    def _set(self, settings: Mapping[str, Any]) -> None:
        for name, value in settings.items():
            self._connection.execute(f"SET {name} = '{value}'")
