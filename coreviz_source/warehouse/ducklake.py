"""DuckLake: Parquet files with a catalog in SQLite or Postgres. A package becomes visible as one snapshot.

dlt loads a package table by table, and each statement would be a snapshot of its own. Here a job only leaves its file
in the package, and the last step of the load, which records the load as complete, executes all of them in one
transaction. Rows that replace others are read from the package's files, so dlt's staging tables stay empty.

The connections of a process to one lake share one DuckDB in memory, because it takes a quarter of a second to load the
extensions into another one.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import duckdb
from dlt.common.configuration import configspec
from dlt.common.configuration.container import Container
from dlt.common.configuration.specs.connection_string_credentials import ConnectionStringCredentials
from dlt.common.destination.client import HasFollowupJobs, LoadJob, RunnableLoadJob
from dlt.common.destination.dataset import DBApiCursor
from dlt.common.destination.typing import PreparedTableSchema
from dlt.common.storages.load_package import LoadPackageStateInjectableContext, ParsedLoadJobFileName
from dlt.destinations import ducklake, postgres
from dlt.destinations.exceptions import DatabaseTransientException
from dlt.destinations.impl.duckdb.configuration import DuckDbConnectionPool
from dlt.destinations.impl.ducklake.configuration import DuckLakeClientConfiguration, DuckLakeCredentials
from dlt.destinations.impl.ducklake.ducklake import DuckLakeClient
from dlt.destinations.impl.ducklake.sql_client import DuckLakeSqlClient
from dlt.destinations.sql_client import SqlClientBase
from dlt.destinations.typing import DBTransaction
from dlt.load.exceptions import LoadClientJobFailed

from coreviz_source.errors import ConfigurationError
from coreviz_source.extras import missing_extra
from coreviz_source.tables import BY_NAME
from coreviz_source.values import text_hash
from coreviz_source.warehouse.destination import LockServer
from coreviz_source.warehouse.duckdb import LOADING
from coreviz_source.warehouse.extensions import are_packaged, loadable
from coreviz_source.warehouse.failures import raise_interruption, secrets_in, without
from coreviz_source.warehouse.postgres import Utf8Credentials

#: Milliseconds that a statement waits for another one that writes into a catalog in SQLite.
BUSY_TIMEOUT = 30_000
#: The author of our snapshots.
AUTHOR = "coreviz-source"
#: The extension that opens a catalog, by the scheme of its address.
_CATALOGS = {"sqlite": "sqlite_scanner", "postgres": "postgres_scanner", "postgresql": "postgres_scanner"}
#: The extension that reads and writes a bucket, by the scheme of its address; fsspec serves the others.
_BUCKETS = {"s3": "httpfs", "az": "azure", "abfss": "azure"}
_connecting = threading.Lock()


@configspec(init=False)
class Credentials(DuckLakeCredentials):
    """The catalog and the files of a lake. Both have defaults, named after the pipeline."""

    reads_only: ClassVar[bool] = False
    default_catalog: ClassVar[bool] = False
    default_files: ClassVar[bool] = False

    def call_method_in_mro(self, method_name: str) -> None:
        """Called with the name of a hook, which dlt runs for each class: the default names of dlt's are replaced."""
        without_catalog, without_files = self.catalog is None, self.storage is None
        super().call_method_in_mro(method_name)
        if method_name == "on_partial":
            # a hook may run more than once
            vars(self)["default_catalog"] = self.default_catalog or (without_catalog and self.catalog is not None)
            vars(self)["default_files"] = self.default_files or (without_files and self.storage is not None)

    def on_resolved(self) -> None:
        """Called when every field has its value.

        Raises:
            ConfigurationError: The catalog is in a database that is not supported.
        """
        if self.catalog.drivername not in _CATALOGS:
            raise ConfigurationError(
                f"A DuckLake catalog in {self.catalog.drivername} is not supported.",
                remedy="Use a catalog in SQLite (sqlite:///….sqlite) or Postgres (postgres://…).",
            )
        self.conn_pool = _ConnectionPool(self, always_open_connection=True)

    @property
    def file(self) -> str | None:
        """The file of the catalog; None if a server has it."""
        return self.catalog.database if self.catalog.drivername == "sqlite" else None

    def _conn_str(self) -> str:
        settings = (self.metadata_schema, self.reads_only, self.global_config, self.statements)
        lake = f"{self.catalog.to_native_representation()} {self.storage_url} {settings}"
        # a forked process has none of the threads of a DuckDB that it inherited
        return f":memory:coreviz_{os.getpid()}_{text_hash(lake):016x}"


class _ConnectionPool(DuckDbConnectionPool):
    """The connections of credentials, to the DuckDB in memory that a process has for a lake."""

    def borrow_conn(self, global_config: dict[str, Any] | None = None, *args: Any, **kwargs: Any) -> Any:
        """Opens a connection. The first one loads the extensions."""
        # DuckDB takes a sixth of a second to check the signature of a file. pip has checked the hash of a package, and
        # whoever can change its files can change this code as well.
        unchecked = are_packaged(self.credentials.extensions or ())
        with self._conn_lock:
            self._conn = duckdb.connect(self.credentials._conn_str(), config={"allow_unsigned_extensions": unchecked})
            # for the extensions only: dlt applies these settings after it has loaded them
            settings = {**(global_config or {}), "allow_unsigned_extensions": False}
            return super().borrow_conn(settings, *args, **kwargs)


@configspec(init=False)
class ReadingCredentials(Credentials):
    """Credentials that can only read."""

    reads_only: ClassVar[bool] = True


@configspec
class Configuration(DuckLakeClientConfiguration):
    """The configuration of dlt's DuckLake destination, with these credentials."""

    credentials: Credentials = None  # type: ignore[assignment]

    def on_resolved(self) -> None:
        """Called when every field has its value."""
        lake = self.credentials
        if lake.default_catalog:
            lake.catalog.database = self.make_location(self.make_default_location("%s.ducklake.sqlite"), "%s")
        if lake.default_files:
            lake.storage.bucket_url = self.make_location(self.make_default_location("%s.ducklake.files"), "%s")
            lake.storage.normalize_bucket_url()


class SqlClient(DuckLakeSqlClient):
    """A connection to a lake."""

    credentials: Credentials
    _is_in_transaction = False

    def open_connection(self) -> Any:
        """Connects."""
        if self.credentials.file is not None:
            # else DuckDB reads each table of the catalog over a connection of its own, and may miss what a commit moves
            self._global_config["sqlite_disable_multithreaded_scans"] = True
        # two threads that attach one catalog at the same time would disturb each other
        with _connecting, self._without_secrets():
            return super().open_connection()

    @contextmanager
    def execute_query(self, query: Any, *args: Any, **kwargs: Any) -> Iterator[DBApiCursor]:
        """Runs a statement."""
        with self._without_secrets(), super().execute_query(query, *args, **kwargs) as cursor:
            yield cursor

    @contextmanager
    def _without_secrets(self) -> Iterator[None]:
        """DuckDB quotes the address of a catalog that it cannot reach, with its password."""
        try:
            yield
        except Exception as error:
            raise_interruption(error)
            secrets = {secret for secret in secrets_in(self.credentials) if secret.strip()}
            said = without(str(error), secrets)
            if said == str(error):
                raise
            raise DatabaseTransientException(duckdb.IOException(said)) from None

    @staticmethod
    def _build_secret_statements(scope: str, credentials: Any, *rest: Any) -> list[str]:
        """The statements that give DuckDB the keys of a bucket. dlt puts them in quotes, and does not escape these."""
        escaped = credentials.copy()
        for name, value in dict(credentials).items():
            if isinstance(value, str):
                setattr(escaped, name, value.replace("'", "''"))
        return DuckLakeSqlClient._build_secret_statements(scope, escaped, *rest)

    def close_connection(self) -> None:
        """Disconnects. The lake stays attached for the other connections of this process."""
        super(DuckLakeSqlClient, self).close_connection()

    @property
    def attach_statement(self) -> str:
        """The statement that opens the lake. It quotes the password of a catalog in Postgres."""
        lake, literal = self.credentials, self.capabilities.escape_literal
        kind, place = lake.catalog.drivername, lake.catalog.database
        options = {"DATA_PATH": literal(lake.storage_url)}
        if kind == "sqlite":
            options |= {"META_TYPE": "'sqlite'", "META_JOURNAL_MODE": "'WAL'", "META_BUSY_TIMEOUT": str(BUSY_TIMEOUT)}
        else:
            place = f"postgres:{_postgres(lake.catalog).to_native_representation()}"
            options["METADATA_SCHEMA"] = literal(lake.metadata_schema or lake.ducklake_name)
        if self.override_data_path:
            options["OVERRIDE_DATA_PATH"] = "true"
        if self.automatic_migration:
            options["AUTOMATIC_MIGRATION"] = "true"
        if lake.reads_only:
            options["READ_ONLY"] = "true"
        given = ", ".join(f"{name} {value}" for name, value in options.items())
        return f"ATTACH IF NOT EXISTS {literal(f'ducklake:{place}')} AS {lake.ducklake_name} ({given})"

    def get_qualified_table_names(self, table_name: str, quote: bool = True, casefold: bool = True) -> tuple[str, str]:
        """The names of a table, and of what has the rows that are merged into it."""
        if table_name not in BY_NAME:
            return super().get_qualified_table_names(table_name, quote, casefold)
        return self.make_qualified_table_name(table_name, quote, casefold), f"temp.main.coreviz_staged_{table_name}"

    @contextmanager
    def begin_transaction(self) -> Iterator[DBTransaction]:
        """A transaction; one inside another is part of it."""
        if self._is_in_transaction:
            yield self
            return
        self._is_in_transaction = True
        try:
            with super().begin_transaction():
                yield self
        finally:
            self._is_in_transaction = False


def _postgres(catalog: ConnectionStringCredentials) -> Utf8Credentials:
    credentials = Utf8Credentials()
    for name in ("database", "username", "password", "host", "port", "query"):
        setattr(credentials, name, getattr(catalog, name))
    credentials.resolve()
    return credentials


class _Deferred(RunnableLoadJob):
    """A job that leaves its file to the end of the load."""

    def run(self) -> None:
        """Does nothing."""


class _DeferredRows(_Deferred, HasFollowupJobs):
    """The same for rows, which a job of their own merges."""


@dataclass(frozen=True)
class _JobFile:
    """The file of a job in a package."""

    path: Path

    @property
    def table(self) -> str:
        """The table that it is loaded into."""
        return ParsedLoadJobFileName.parse(self.path.name).table_name

    @property
    def is_sql(self) -> bool:
        """Whether it has statements instead of rows."""
        return self.path.suffix == ".sql"


class Client(DuckLakeClient):
    """A client that loads the tables of this source as one snapshot per package."""

    config: Configuration

    def __init__(self, schema: Any, config: Configuration, capabilities: Any) -> None:
        super().__init__(schema, config, capabilities)
        # here, and not when it connects, because a run makes a client before it asks the API
        lake = config.credentials
        needed = ("ducklake", _CATALOGS[lake.catalog.drivername], _BUCKETS.get(lake.storage.protocol))
        lake.extensions = [loadable(name) for name in needed if name]
        self.sql_client = SqlClient(
            dataset_name=self.sql_client.dataset_name,
            staging_dataset_name=self.sql_client.staging_dataset_name,
            credentials=lake,
            capabilities=capabilities,
            override_data_path=config.override_data_path,
            automatic_migration=config.automatic_migration,
        )

    def should_load_data_to_staging_dataset(self, table_name: str) -> bool:
        """Whether dlt copies rows into a staging table first; ours are read from their files."""
        return table_name not in BY_NAME and super().should_load_data_to_staging_dataset(table_name)

    def create_load_job(
        self, table: PreparedTableSchema, file_path: str, load_id: str, restore: bool = False
    ) -> LoadJob:
        """The job of a file."""
        if table["name"] not in BY_NAME:
            return super().create_load_job(table, file_path, load_id, restore)
        return _Deferred(file_path) if _JobFile(Path(file_path)).is_sql else _DeferredRows(file_path)

    def complete_load(self, load_id: str) -> None:
        """Executes the jobs of a package, and records its load as complete, in one transaction."""
        files = sorted(_deferred_files(load_id), key=lambda file: file.is_sql)
        if files and self._is_complete(load_id):
            # an earlier process was ended before dlt could note it
            return
        merged = {file.table for file in files if file.is_sql}
        for name in merged:
            self._stage(name, [file.path for file in files if file.table == name and not file.is_sql])
        with self.sql_client.begin_transaction():
            for file in files:
                if file.is_sql or file.table not in merged:
                    self._execute(file, load_id)
            super().complete_load(load_id)
            lake = self.capabilities.escape_literal(self.sql_client.credentials.ducklake_name)
            self.sql_client.execute_sql(f"CALL ducklake_set_commit_message({lake}, '{AUTHOR}', 'load {load_id}')")

    def _is_complete(self, load_id: str) -> bool:
        loads = self.sql_client.make_qualified_table_name(self.schema.loads_table_name)
        return bool(self.sql_client.execute_sql(f"SELECT 1 FROM {loads} WHERE load_id = %s", load_id))

    def _stage(self, table: str, files: Sequence[Path]) -> None:
        """Shows the rows of files as what dlt's statements read in place of a staging table."""
        final, staged = self.sql_client.get_qualified_table_names(table)
        self.sql_client.execute_sql(
            f"CREATE OR REPLACE TEMP VIEW {staged} AS "
            f"SELECT * FROM {final} WHERE false UNION ALL BY NAME {self._rows(files)}"
        )

    def _execute(self, file: _JobFile, load_id: str) -> None:
        try:
            if file.is_sql:
                # as dlt splits it: one statement per line
                lines = file.path.read_text(encoding="utf-8").split("\n")
                parts = [part.strip() for line in lines for part in line.split(";")]
                self.sql_client.execute_many([part for part in parts if part])
            else:
                name = self.sql_client.make_qualified_table_name(file.table)
                self.sql_client.execute_sql(f"INSERT INTO {name} BY NAME {self._rows([file.path])}")
        except Exception as error:
            job = ParsedLoadJobFileName.parse(file.path.name).job_id()
            raise LoadClientJobFailed(load_id, job, str(error), error) from error

    def _rows(self, files: Sequence[Path]) -> str:
        # a path is a pattern, in which brackets quote
        paths = [re.sub(r"([*?\[])", r"[\1]", str(file)) for file in files]
        listed = ", ".join(map(self.capabilities.escape_literal, paths))
        return f"SELECT * FROM read_parquet([{listed}], union_by_name = true, hive_partitioning = false)"


def _deferred_files(load_id: str) -> list[_JobFile]:
    """The files of our tables in the package that is being loaded; none if rows are written without a package."""
    container = Container()
    if LoadPackageStateInjectableContext not in container:
        return []
    package = container[LoadPackageStateInjectableContext]
    jobs = package.storage.get_load_package_jobs(load_id)["completed_jobs"]
    folder = package.storage.get_job_state_folder_path(load_id, "completed_jobs")
    files = [Path(package.storage.storage.make_full_path(folder), job.file_name()) for job in jobs]
    return [_JobFile(file) for file in files if _JobFile(file).table in BY_NAME]


class DuckLake(ducklake):
    """dlt's DuckLake destination with this client."""

    @property
    def spec(self) -> type[Configuration]:
        """The class of its configuration."""
        return Configuration

    @property
    def client_class(self) -> type[Client]:
        """The class of its client."""
        return Client

    @property
    def destination_type(self) -> str:
        """The name that dlt has of the destination, which pipelines remember."""
        return "dlt.destinations.ducklake"

    @classmethod
    def adapted(cls, destination: Any) -> Any:
        """A destination of dlt's as one of these, with the same arguments."""
        if isinstance(destination, cls):
            return destination
        ours = cls()
        ours.config_params = dict(destination.config_params)
        ours.caps_params = dict(destination.caps_params)
        given = ours.config_params.get("credentials")
        if isinstance(given, DuckLakeCredentials):
            ours.config_params["credentials"] = _as(Credentials, given)
        return ours


def lock_server(client: Client) -> LockServer | None:
    """The server that has the catalog of a lake; None if a file has it.

    Raises:
        ConfigurationError: The driver of Postgres is not installed.
    """
    lake = client.config.credentials
    if lake.file is not None:
        return None
    try:
        from dlt.destinations.impl.postgres.sql_client import Psycopg2SqlClient
    except ImportError:
        raise missing_extra("A DuckLake catalog in Postgres", "ducklake", "postgres") from None
    names, capabilities = client.sql_client, postgres().capabilities()
    credentials = _postgres(lake.catalog)
    server = Psycopg2SqlClient(names.dataset_name, names.staging_dataset_name, credentials, capabilities)
    schema = server.escape_column_name(lake.metadata_schema or lake.ducklake_name)
    return LockServer(server, f"{schema}.ducklake_snapshot", "max(snapshot_id)")


def tune(client: SqlClientBase[Any]) -> None:
    """Gives DuckDB one thread for a run, unless the user has set how many; see `LOADING` of DuckDB."""
    lake: Any = client.credentials
    if not lake.reads_only and "threads" not in (lake.global_config or {}):
        client.execute_sql(f"SET GLOBAL threads = {LOADING['threads']}")


def for_reading(credentials: Credentials) -> ReadingCredentials:
    """Credentials for the same lake that can only read."""
    reading: ReadingCredentials = _as(ReadingCredentials, credentials)
    return reading


def _as(kind: type[Any], given: DuckLakeCredentials) -> Any:
    credentials = kind()
    credentials.update(given)
    credentials.__is_resolved__ = given.is_resolved()
    if given.is_resolved():
        credentials.call_method_in_mro("on_resolved")
    return credentials
