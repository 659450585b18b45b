"""Two runs at once: one waits for the other where they would harm each other, and gives up after a while.

What a run locks, and against whom:

* dlt's **working directory**, by a file beside it: two processes would load each other's packages.
* A **DuckDB file**, by a file beside it, so that all runs over it exclude each other, whatever their pipelines are
  called and wherever their working directories are. A file that exists is also kept open, because DuckDB lets one
  process open it, and other programs know only that lock.
* The catalog of a **DuckLake** in SQLite, by a file beside it, likewise. Readers need no lock.
* In Postgres, which may have only the catalog of a lake, its **datasets**, by advisory locks: exclusively, unless the
  run is a slice. Slices of one dataset run side by side, because none deletes anything outside its range.
* In Postgres the **load**, while it creates tables or loads: dlt's staging tables are shared, and every load empties
  them. Runs over different datasets list side by side and load one after the other.

All locks end with the process or its connection. BigQuery has no locks: there, a run locks only the working directory.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import dlt

from coreviz_source.errors import BusyError, ConfigurationError, DestinationError, find
from coreviz_source.values import canonical_id, text_hash
from coreviz_source.warehouse.destination import Destination, LockServer, prepare
from coreviz_source.warehouse.failures import HOLDER, cause_of, connection_error
from coreviz_source.warehouse.file import DatabaseFile
from coreviz_source.warehouse.lock_file import LockFile, myself

#: Seconds that a run waits to begin while another one has a lock that it needs.
PATIENCE = 30.0
#: Seconds that a run waits for its turn to load. It is long because the run has listed, and would have to list again.
LOAD_PATIENCE = 3600.0
#: Seconds that a run waits for locks that it lost: a session that just ended takes a moment to release its own.
RETAKE_PATIENCE = 3.0
#: Seconds between two queries that keep the connection with the locks from being idle.
KEEP_ALIVE = 20.0

#: Keeps the server from ending a session that waits for the API; Postgres has the setting since version 14.
_NO_IDLE_TIMEOUT = (
    "SELECT set_config(name, '0', false) FROM pg_settings WHERE name IN ('idle_session_timeout') AND setting <> '0'"
)

_log = logging.getLogger(__name__)


class Locks:
    """The locks of one run; a context manager that releases all of them at its end.

    Args:
        pipeline: The pipeline that runs. Its destination may be set later.
    """

    def __init__(self, pipeline: dlt.Pipeline) -> None:
        self._pipeline = pipeline
        self._directory = Path(pipeline.working_dir)
        self._directory_lock = LockFile(self._directory)
        self._resources = ExitStack()
        self._has_file = False
        self._client: Any = None
        self._server: LockServer | None = None
        self._using = threading.Lock()
        self._ended = threading.Event()
        self._advisory_locks: list[tuple[str, bool]] = []
        self._loads: int | None = None
        self._loading = 0
        #: Whether no other run writes these datasets meanwhile.
        self.alone = False

    def __enter__(self) -> Locks:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Releases everything."""
        self._ended.set()
        with self._using:
            self._client = None
        self._resources.close()

    @property
    def has_working_directory(self) -> bool:
        """Whether this thread has locked the working directory, through whatever object."""
        return self._directory_lock.is_locked

    def take_working_directory(self, patience: float | None = None) -> None:
        """Waits until no other run uses the working directory.

        Args:
            patience: Seconds to wait. Default: `PATIENCE`.

        Raises:
            BusyError: Another run still uses it.
            ConfigurationError: It cannot be written.
        """

        def attempt() -> str | None:
            self._directory.parent.mkdir(parents=True, exist_ok=True)
            owner = self._directory_lock.attempt(self._resources)
            if owner is None:
                # a command that loaded nothing has removed it meanwhile
                (self._directory / "schemas").mkdir(parents=True, exist_ok=True)
            return owner

        try:
            _wait(attempt, f"the working directory {self._directory}", patience)
        except OSError as error:
            raise unwritable(self._directory, error) from error

    def take_datasets(self, dataset_ids: Sequence[str], shared: bool = False) -> None:
        """Waits until no other run writes the datasets of this one. A missing file is locked, and not created.

        Args:
            dataset_ids: The datasets, in either form. None: every dataset of the account, whatever they are.
            shared: Whether other runs with shared locks may write the same datasets meanwhile: slices.

        Raises:
            BusyError: Another run still writes one of them, or has the DuckDB file open.
            DestinationError: The warehouse cannot be reached.
        """
        self.connect(create=False)
        self._take_advisory("datasets", shared=bool(dataset_ids))
        for dataset_id in sorted(map(canonical_id, dataset_ids)):
            self._take_advisory(f"dataset {dataset_id}", shared)
        self.alone = not shared
        self._count_loads()

    def take_load(self) -> None:
        """Waits until no other run loads; lasts until `release_load` or `close`.

        If the connection was lost meanwhile, and with it the locks, they are taken again.

        Raises:
            BusyError: Another run still loads, or took a lock of this one that was lost.
            DestinationError: The warehouse cannot be reached.
        """
        if self._loading == 0:
            self.connect()
            self._restore()
            self._advisory("load", patience=LOAD_PATIENCE)
        self._loading += 1

    def release_load(self) -> None:
        """Lets the next run load."""
        if self._loading == 1 and self._server is not None:
            # if the connection is lost, so is the lock
            with suppress(DestinationError):
                self._count_loads()
                self._sql("SELECT pg_advisory_unlock(%s)", self._key("load"))
        self._loading = max(0, self._loading - 1)

    @contextmanager
    def load(self) -> Iterator[None]:
        """Keeps other runs from loading while a block runs."""
        self.take_load()
        try:
            yield
        finally:
            self.release_load()

    def take_file(self) -> None:
        """Waits until no other run uses the file of the warehouse, if it has one.

        Raises:
            BusyError: Another run still uses it.
            ConfigurationError: The file and the dataset in it have the same name.
            DestinationError: The folder of the file does not exist, or cannot be written.
        """
        with self._translated():
            self._take_file(self._pipeline.destination_client())

    def _take_file(self, client: Any) -> DatabaseFile | None:
        file = DatabaseFile.of(self._destination, client)
        if file is not None and not self._has_file:
            file.check()
            lock = LockFile(file.path)
            _wait(lambda: lock.attempt(self._resources), f"the {file}")
            self._has_file = True
        return file

    def connect(self, create: bool = True) -> None:
        """Opens a connection of its own and keeps it: it has the locks of a server, or keeps a file open.

        Args:
            create: Whether to open a file that does not exist, which creates it.

        Raises:
            BusyError: Another process still uses the DuckDB file.
            DestinationError: The warehouse cannot be opened.
        """
        if self._client is not None:
            return
        # it prepares the pipeline, which must be done before its credentials are resolved
        destination = self._destination

        def attempt() -> str | None:
            try:
                self._client = self._resources.enter_context(opened)
            except Exception as error:
                holder = HOLDER.search(str(error))
                if holder is None:
                    raise
                return f"process {holder['pid']} ({Path(holder['program']).name}), which has {holder['file']} open"
            return None

        with self._translated():
            client: Any = self._pipeline.destination_client()
            file = self._take_file(client)
            if file is not None and not create and file.is_missing:
                return
            server = destination.lock_server(client)
            opened: Any = client.sql_client if server is None else server.client
            _wait(attempt, "the warehouse")
            if opened is client.sql_client:
                destination.check(opened)
            self._server = server
        if server is not None:
            # the server notices within a minute that this machine lost power, not after the system's two hours
            for name, seconds in (("idle", 30), ("interval", 10), ("count", 3)):
                self._sql(f"SET tcp_keepalives_{name} = {seconds}")
            self._sql("SELECT set_config('application_name', %s, false)", f"coreviz-source, {myself()}"[:63])
            self._sql(_NO_IDLE_TIMEOUT)
            threading.Thread(target=self._keep_alive, name="coreviz-locks", daemon=True).start()

    @property
    def _destination(self) -> Destination:
        return prepare(self._pipeline)

    def _keep_alive(self) -> None:
        while not self._ended.wait(KEEP_ALIVE):
            with self._using:
                if self._client is None:
                    return
                # a lost connection is opened again by whoever needs the locks
                with suppress(Exception):
                    self._client.execute_sql(_NO_IDLE_TIMEOUT)

    def _restore(self) -> None:
        """Opens a lost connection again, with the locks that were lost with it.

        Raises:
            BusyError: Another run has one of them, or loaded since they were lost.
            DestinationError: The warehouse cannot be reached.
        """
        if not self._advisory_locks or self._is_connected():
            return
        _log.warning("The connection to Postgres was lost, and its locks with it; they are taken again.")
        with self._translated(), self._using:
            with suppress(Exception):
                self._client.close_connection()
            self._client.open_connection()
        self._sql(_NO_IDLE_TIMEOUT)
        for name, shared in self._advisory_locks:
            self._advisory(name, shared, patience=RETAKE_PATIENCE)
        if self._server is not None and self._loads != self._stored_loads(self._server):
            raise BusyError(
                "The connection to Postgres was lost, and another run may have loaded until the locks were taken again."
            )

    def _is_connected(self) -> bool:
        keys = list({self._key(name) for name, _ in self._advisory_locks})
        try:
            found = self._sql(
                "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid() AND granted "
                "AND objsubid = 1 AND (classid::bigint << 32 | objid::bigint) = ANY(%s)",
                keys,
            )
        except DestinationError:
            return False
        # dlt opens a lost connection again by itself, without the locks
        return bool(found and found[0][0] == len(keys))

    def _count_loads(self) -> None:
        """Remembers how many loads are stored, while no other run can write what this one writes."""
        if self._server is not None:
            self._loads = self._stored_loads(self._server)

    def _stored_loads(self, server: LockServer) -> int:
        if self._sql("SELECT to_regclass(%s)", server.loads)[0][0] is None:
            return 0
        return int(self._sql(f"SELECT {server.measure} FROM {server.loads}")[0][0])

    def _take_advisory(self, name: str, shared: bool = False) -> None:
        self._advisory(name, shared)
        if self._server is not None:
            self._advisory_locks.append((name, shared))

    def _advisory(self, name: str, shared: bool = False, patience: float | None = None) -> None:
        if self._server is None:
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

        what = f"{name} of {self._client.dataset_name} in Postgres"
        with self._translated():
            _wait(attempt, what, patience)

    def _key(self, name: str) -> int:
        """The number of a lock in Postgres: signed, 64 bits."""
        number = text_hash(f"coreviz {self._client.dataset_name} {name}")
        return number - 2**64 if number >= 2**63 else number

    def _sql(self, sql: str, *values: Any) -> Any:
        with self._translated(), self._using:
            return self._client.execute_sql(sql, *values)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            if find(error):
                raise
            failure = connection_error(error, "opened", self._pipeline)
            raise failure from cause_of(error, self._pipeline)


def unwritable(directory: Path, error: OSError) -> ConfigurationError:
    """The error of a working directory that cannot be written."""
    return ConfigurationError(
        f"dlt's working directory {directory} cannot be written: {error.strerror or error}.",
        remedy=(
            "Name a folder that this user may write in the variable DLT_DATA_DIR (systemd: StateDirectory=), or free "
            "some space. Nothing was requested yet."
        ),
    )


def _wait(attempt: Callable[[], str | None], what: str, patience: float | None = None) -> None:
    """Repeats an attempt until it names nobody who is in the way."""
    patience = PATIENCE if patience is None else patience
    deadline = time.monotonic() + patience
    reported, pause = "", 0.05
    while (holder := attempt()) is not None:
        if time.monotonic() >= deadline:
            raise BusyError(f"{what[0].upper()}{what[1:]} is in use by {holder}; waited {patience:.0f} s.")
        if holder != reported:
            _log.warning("Waiting for %s: in use by %s.", what, holder)
            reported = holder
        time.sleep(pause)
        pause = min(1.0, pause * 1.5)
