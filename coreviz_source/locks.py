"""Two runs at once: one waits for the other where they would harm each other, and leaves after a while, saying so.

What a run holds, and against whom:

* The **working directory** of dlt, as a whole, by a file beside it: two processes would load each other's packages.
* A **DuckDB file**, by keeping it open: DuckDB lets one process have it.
* In Postgres its **datasets**, by advisory locks: alone, unless it is a slice; slices of one dataset go on side by
  side, because none deletes anything outside its range.
* In Postgres the **load**, for as long as it makes tables or loads: dlt's staging tables are shared, and emptied by
  every load. Runs over different datasets list side by side and load one after the other.

All of it vanishes with the process or its connection. BigQuery has no locks: there, only the working directory is held.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import dlt
from filelock import FileLock, Timeout

from coreviz_source.errors import HOLDER, BusyError, ConfigurationError, DestinationError, find, unreachable
from coreviz_source.values import canonical_id, text_hash

#: Seconds that a run waits to begin while another one holds what it needs.
PATIENCE = 30.0
#: Seconds that a run waits for its turn to load: what it listed would be listed again if it left.
LOAD_PATIENCE = 3600.0

_log = logging.getLogger(__name__)


class Locks:
    """What one run holds; a context manager that gives everything back at its end.

    Args:
        pipeline: The pipeline that runs.
    """

    def __init__(self, pipeline: dlt.Pipeline) -> None:
        self._pipeline = pipeline
        self._file = FileLock(f"{pipeline.working_dir}.lock", is_singleton=True)
        self._held = ExitStack()
        self._client: Any = None
        self._loading = 0
        #: Whether no other run writes these datasets meanwhile.
        self.alone = False

    def __enter__(self) -> Locks:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Gives everything back."""
        self._client = None
        self._held.close()

    @property
    def holds_working_directory(self) -> bool:
        """Whether this thread holds the working directory, through whatever object."""
        return self._file.is_locked

    def take_working_directory(self, patience: float | None = None) -> None:
        """Waits until no other run uses the working directory.

        Args:
            patience: Seconds to wait. Default: `PATIENCE`.

        Raises:
            BusyError: Another run still uses it.
            ConfigurationError: It cannot be written.
        """
        path = Path(self._file.lock_file)

        def attempt() -> str | None:
            try:
                self._held.enter_context(self._file.acquire(blocking=False))
            except Timeout:
                return path.read_text() or "another process"
            path.write_text(_myself())
            return None

        directory = self._pipeline.working_dir
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _wait(attempt, f"the working directory {directory}", PATIENCE if patience is None else patience)
        except OSError as error:
            raise ConfigurationError(
                f"The working directory {directory} cannot be written: {error}",
                remedy="Give the pipeline another one (`pipelines_dir`, or the variable DLT_DATA_DIR), or room in it.",
            ) from error

    def take_datasets(self, dataset_ids: Sequence[str], shared: bool = False) -> None:
        """Waits until no other run writes the datasets of this one.

        Args:
            dataset_ids: The datasets, in either form. None: every dataset of the account, without asking which.
            shared: Whether runs that also say so may write the same datasets meanwhile: slices.

        Raises:
            BusyError: Another run still writes one of them, or has the DuckDB file open.
            DestinationError: The warehouse cannot be reached.
        """
        self.connect()
        self._advisory("datasets", shared=bool(dataset_ids))
        for dataset_id in sorted(map(canonical_id, dataset_ids)):
            self._advisory(f"dataset {dataset_id}", shared)
        self.alone = not shared

    def take_load(self) -> None:
        """Waits until no other run loads; ends with `release_load` or with everything.

        That it is asked on the connection that holds the datasets proves that they are still held.

        Raises:
            BusyError: Another run still loads.
            DestinationError: The connection is lost, and with it the locks.
        """
        if self._loading == 0:
            self.connect()
            self._advisory("load", patience=LOAD_PATIENCE)
        self._loading += 1

    def release_load(self) -> None:
        """Lets the next run load."""
        if self._loading == 1 and self._is_postgres:
            # if the connection is lost, so is the lock
            with suppress(DestinationError):
                self._sql("SELECT pg_advisory_unlock(%s)", self._key("load"))
        self._loading = max(0, self._loading - 1)

    @contextmanager
    def load(self) -> Iterator[None]:
        """Holds the load for as long as the block lasts."""
        self.take_load()
        try:
            yield
        finally:
            self.release_load()

    @property
    def _is_postgres(self) -> bool:
        return str(self._pipeline.destination.destination_type).endswith("postgres")

    def connect(self) -> None:
        """Opens a connection of its own, and keeps it: in Postgres it holds the locks, in DuckDB the file.

        Raises:
            BusyError: Another process still has the DuckDB file open.
            DestinationError: The warehouse cannot be opened.
        """
        if self._client is not None:
            return

        def attempt() -> str | None:
            try:
                self._client = self._held.enter_context(self._pipeline.destination_client())  # type: ignore[arg-type]
            except Exception as error:
                holder = HOLDER.search(str(error))
                if holder is None:
                    raise
                return f"process {holder['pid']} ({Path(holder['program']).name}), which has {holder['file']} open"
            return None

        with self._reaching():
            _wait(attempt, "the warehouse")
        if self._is_postgres:
            # a machine that lost power lets go within a minute, not after the system's two hours
            for name, seconds in (("idle", 30), ("interval", 10), ("count", 3)):
                self._sql(f"SET tcp_keepalives_{name} = {seconds}")
            self._sql("SELECT set_config('application_name', %s, false)", f"coreviz-source, {_myself()}"[:63])

    def _advisory(self, name: str, shared: bool = False, patience: float | None = None) -> None:
        if not self._is_postgres:
            return
        key = self._key(name)

        def attempt() -> str | None:
            if self._sql(f"SELECT pg_try_advisory_lock{'_shared' if shared else ''}(%s)", key)[0][0]:
                return None
            holders = self._sql(
                "SELECT l.pid, a.application_name FROM pg_locks l LEFT JOIN pg_stat_activity a USING (pid) "
                "WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 "
                "AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()) "
                "AND (l.classid::bigint << 32 | l.objid::bigint) = %s",
                key,
            )
            return "; ".join(f"{who or 'another run'}, Postgres backend {pid}" for pid, who in holders) or "another run"

        what = f"{name} of {self._client.sql_client.dataset_name} in Postgres"
        with self._reaching():
            _wait(attempt, what, patience)

    def _key(self, name: str) -> int:
        """The number by which Postgres knows a lock: signed, 64 bits."""
        number = text_hash(f"coreviz {self._client.sql_client.dataset_name} {name}")
        return number - 2**64 if number >= 2**63 else number

    def _sql(self, sql: str, *values: Any) -> Any:
        with self._reaching():
            return self._client.sql_client.execute_sql(sql, *values)

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            if find(error):
                raise
            name = self._pipeline.destination.destination_name
            raise unreachable(error, "opened", name, self._pipeline.dataset_name) from error


class Unlocked(Locks):
    """Holds nothing, so it is never alone."""

    def take_datasets(self, dataset_ids: Sequence[str], shared: bool = False) -> None:
        """Nothing."""

    def take_load(self) -> None:
        """Nothing."""


def _myself() -> str:
    return f"process {os.getpid()} on {socket.gethostname()}"


def _wait(attempt: Callable[[], str | None], what: str, patience: float | None = None) -> None:
    """Attempts until nobody is in the way: until an attempt names no holder."""
    patience = PATIENCE if patience is None else patience
    deadline = time.monotonic() + patience
    told, pause = "", 0.05
    while (holder := attempt()) is not None:
        if time.monotonic() >= deadline:
            raise BusyError(f"{what[0].upper()}{what[1:]} is in use by {holder}; waited {patience:.0f} s.")
        if holder != told:
            _log.warning("Waiting for %s: in use by %s.", what, holder)
            told = holder
        time.sleep(pause)
        pause = min(1.0, pause * 1.5)
