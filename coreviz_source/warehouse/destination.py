"""What each kind of warehouse can do: one `Destination` per kind, and no other module asks for its name.

To support another one, add an entry to `DESTINATIONS` and an extra to `pyproject.toml`. This module imports no dlt,
because the command line's `--help` reads it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal

from coreviz_source.errors import ConfigurationError

if TYPE_CHECKING:
    import dlt
    from dlt.destinations.sql_client import SqlClientBase

#: How text is found in captions with Postgres: word stems of English. Postgres refuses texts whose words fill more
#: than a megabyte, and would refuse the row, so only the beginning is indexed.
SEARCH_VECTOR = "to_tsvector('english', left({text}, 100000))"


@dataclass(frozen=True)
class LockServer:
    """The server whose locks keep runs apart.

    Args:
        client: Connects to it.
        loads: The table in which every load leaves something, as statements name it.
        measure: What of that table is another value after a load.
    """

    client: SqlClientBase[Any]
    loads: str
    measure: str


@dataclass(frozen=True)
class Destination:
    """One kind of warehouse.

    Args:
        name: The name that dlt has for it.
        dialect: The name that sqlglot has for its SQL.
        objects_sql: Finds name, kind (table, view, index, key) and comment of everything in a schema. A row of the kind
            `feature` names what the server has: `NOT ENFORCED` foreign keys.
        remains_after_forget: Where erased rows may still be found.
        module: The module that has to be importable; the extra of the same name as the destination installs it.
        file: Returns the file on this machine that opening the warehouse creates, from its credentials; None: there is
            none.
        file_kind: What messages call that file.
        how_to_name: How a setting names it.
        is_exclusive: Whether one process at a time can open the file.
        is_lake: Whether it keeps rows in files, with a snapshot per change.
        loads_parquet: Whether rows travel as parquet files with JSON in them, which dlt loads as they are.
        can_load_from: Whether files in a directory are loaded as they are; the path may become part of a statement.
        rows_format: The file format for rows that do not travel as parquet.
        can_store_nul: Whether its strings can have NUL characters.
        has_advisory_locks: Whether runs can keep each other out by locks of the server that has the tables.
        lock_server: Returns the server whose locks keep runs apart, of a client; None if there is none.
        ends_idle_sessions: Whether a server, or a proxy before it, may end a session that waits.
        has_transactions: Whether several statements take effect together, and no slower than one by one.
        has_transactional_ddl: The same for statements that change the catalog.
        has_indexes: Whether it has the indexes by which rows are replaced and joined.
        search_vector: What the full-text index on captions has; empty: there is no such index.
        has_layout: Whether tables have partitions, clusters and descriptions, which dlt declares.
        json_as_text: Turns a JSON column into a string.
        columns_sql: Finds table, name and comment of every column; empty: dlt writes the descriptions of columns.
        comments_view_columns: Whether the columns of views can have comments.
        microseconds: Microseconds between `start` and `end`, where sqlglot's rendering loses something.
        replaces_changed_views: Whether a view can be replaced by one with other columns.
        reads_json_as_text: Whether JSON is read as strings, and not as objects.
        reads_arrow_in_parts: Whether dlt returns only the first part of a result as an arrow table.
        checkpoint_bytes: The most bytes of rows that are loaded as one package, if the rest may follow in another one.
        load_workers: How many load jobs dlt runs at once; None: dlt's default.
        appending_workers: The same where loads only append; None: as many.
        adapt: Returns the destination with which a pipeline connects, from dlt's own.
        for_reading: Returns credentials that can only read, from those that can write.
        purge: Removes what deleted rows leave behind, as far as that is possible.
        check: Raises `ConfigurationError` if a warehouse that was just opened cannot be used.
        tune: Sets up a connection that was just opened for a run.
    """

    name: str
    dialect: str
    objects_sql: str
    remains_after_forget: str
    module: str = ""
    file: Callable[[Any], str | None] = field(default=lambda credentials: None)
    file_kind: str = ""
    how_to_name: str = ""
    is_exclusive: bool = False
    is_lake: bool = False
    loads_parquet: Callable[[], bool] = field(default=lambda: True)
    can_load_from: Callable[[str], bool] = field(default=lambda path: True)
    rows_format: Literal["insert_values", "jsonl"] = "insert_values"
    can_store_nul: bool = True
    has_advisory_locks: bool = False
    lock_server: Callable[[Any], LockServer | None] = field(default=lambda client: None)
    ends_idle_sessions: bool = False
    has_transactions: bool = True
    has_transactional_ddl: bool = True
    has_indexes: bool = False
    search_vector: str = ""
    has_layout: bool = False
    json_as_text: str = "CAST({} AS VARCHAR)"
    columns_sql: str = ""
    comments_view_columns: bool = True
    microseconds: str = ""
    replaces_changed_views: bool = True
    reads_json_as_text: bool = False
    reads_arrow_in_parts: bool = False
    checkpoint_bytes: int = 256 * 2**20
    load_workers: int | None = None
    appending_workers: int | None = None
    for_reading: Callable[[Any], Any] = field(default=lambda credentials: credentials)
    adapt: Callable[[Any], Any] = field(default=lambda destination: destination)
    purge: Callable[[SqlClientBase[Any]], None] = field(default=lambda client: None)
    check: Callable[[SqlClientBase[Any]], None] = field(default=lambda client: None)
    tune: Callable[[SqlClientBase[Any]], None] = field(default=lambda client: None)

    @property
    def file_format(self) -> Literal["parquet", "insert_values", "jsonl"]:
        """The file format that dlt is asked for."""
        return "parquet" if self.loads_parquet() else self.rows_format

    @property
    def is_file(self) -> bool:
        """Whether it can be a file on this machine."""
        return bool(self.file_kind)

    @property
    def is_installed(self) -> bool:
        """Whether its driver is installed."""
        return not self.module or _is_importable(self.module)


def _is_importable(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def _check_names(client: SqlClientBase[Any]) -> None:
    from coreviz_source.warehouse.duckdb import check_catalog

    check_catalog(client)


def _read_only_file(credentials: Any) -> Any:
    from coreviz_source.warehouse.file import for_reading

    return for_reading(credentials)


def _read_only_session(credentials: Any) -> Any:
    from coreviz_source.warehouse.postgres import for_reading

    return for_reading(credentials)


def _database_file(credentials: Any) -> str | None:
    from coreviz_source.warehouse.file import database_of

    return database_of(credentials)


def _catalog_file(credentials: Any) -> str | None:
    found: str | None = credentials.file
    return found


def _server_itself(client: Any) -> LockServer:
    sql_client = client.sql_client
    return LockServer(sql_client, sql_client.make_qualified_table_name("_dlt_loads"), "count(*)")


def _server_of_catalog(client: Any) -> LockServer | None:
    from coreviz_source.warehouse.ducklake import lock_server

    return lock_server(client)


def _read_only_lake(credentials: Any) -> Any:
    from coreviz_source.warehouse.ducklake import for_reading

    return for_reading(credentials)


def _tune_lake(client: SqlClientBase[Any]) -> None:
    from coreviz_source.warehouse.ducklake import tune

    tune(client)


def _one_snapshot_per_package(destination: Any) -> Any:
    from coreviz_source.warehouse.ducklake import DuckLake

    return DuckLake.adapted(destination)


def _checkpoint(client: SqlClientBase[Any]) -> None:
    # else the rows would stay in the write-ahead log
    client.execute_sql("CHECKPOINT")


def _purge_lake(client: SqlClientBase[Any]) -> None:
    from coreviz_source.warehouse.snapshots import purge

    purge(client)


def _with_utf8(destination: Any) -> Any:
    from coreviz_source.warehouse.postgres import with_utf8

    return with_utf8(destination)


def _check_encoding(client: SqlClientBase[Any]) -> None:
    from coreviz_source.warehouse.postgres import check_encoding

    check_encoding(client)


_DUCKDB_OBJECTS = (
    "SELECT table_name, 'table', comment FROM duckdb_tables() "
    "WHERE database_name = current_database() AND schema_name = {schema} "
    "UNION ALL SELECT view_name, 'view', comment FROM duckdb_views() "
    "WHERE database_name = current_database() AND schema_name = {schema}"
)
_DUCKDB_COLUMNS = (
    "SELECT table_name, column_name, comment FROM duckdb_columns() "
    "WHERE database_name = current_database() AND schema_name = {schema}"
)

_DUCKDB = Destination(
    name="duckdb",
    dialect="duckdb",
    # dlt puts the path into a statement, where DuckDB reads `key=value` as a column, and patterns and quotes as such
    can_load_from=lambda path: not set(path) & set("'=*?[]{}\\"),
    file=_database_file,
    file_kind="DuckDB file",
    how_to_name="Name a DuckDB file by its path",
    is_exclusive=True,
    for_reading=_read_only_file,
    purge=_checkpoint,
    check=_check_names,
    reads_json_as_text=True,
    # a load needs little memory, however large the package is
    checkpoint_bytes=2**30,
    # merges take as long one after the other, with less memory
    load_workers=1,
    appending_workers=2,
    objects_sql=_DUCKDB_OBJECTS,
    columns_sql=_DUCKDB_COLUMNS,
    remains_after_forget=(
        "The DuckDB file does not shrink, and may contain the bytes until later loads overwrite them. To remove them, "
        "copy the tables into a new file (COPY FROM DATABASE) and delete the old one."
    ),
)

_DUCKLAKE = Destination(
    name="ducklake",
    dialect="duckdb",
    adapt=_one_snapshot_per_package,
    file=_catalog_file,
    file_kind="DuckLake catalog",
    how_to_name="Name a catalog by its address: sqlite:///….sqlite or postgres://…",
    is_lake=True,
    for_reading=_read_only_lake,
    purge=_purge_lake,
    lock_server=_server_of_catalog,
    check=_check_names,
    tune=_tune_lake,
    reads_json_as_text=True,
    load_workers=1,
    objects_sql=_DUCKDB_OBJECTS,
    columns_sql=_DUCKDB_COLUMNS,
    comments_view_columns=False,
    remains_after_forget=(
        "Old snapshots and their files were removed. Backups and versions of a bucket's objects keep the rows, and so "
        "does a catalog in Postgres until its next VACUUM."
    ),
)

_POSTGRES = Destination(
    name="postgres",
    dialect="postgres",
    module="psycopg2",
    adapt=_with_utf8,
    for_reading=_read_only_session,
    check=_check_encoding,
    # only ADBC loads parquet; dlt's own choice without it, csv, would turn empty strings into nulls
    loads_parquet=lambda: _is_importable("adbc_driver_postgresql"),
    can_store_nul=False,
    has_advisory_locks=True,
    lock_server=_server_itself,
    ends_idle_sessions=True,
    has_indexes=True,
    search_vector=SEARCH_VECTOR,
    # only by one with the same columns, and perhaps more
    replaces_changed_views=False,
    # sqlglot's own casts them to local time
    microseconds="CAST(EXTRACT(EPOCH FROM {end} - {start}) * 1000000 AS BIGINT)",
    objects_sql=(
        "SELECT c.relname, CASE c.relkind WHEN 'v' THEN 'view' WHEN 'i' THEN 'index' ELSE 'table' END, "
        "obj_description(c.oid, 'pg_class') "
        "FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = {schema} "
        "UNION ALL SELECT k.conname, 'key', NULL "
        "FROM pg_constraint k JOIN pg_namespace n ON n.oid = k.connamespace WHERE n.nspname = {schema} "
        "AND k.contype = 'f' "
        "UNION ALL SELECT 'NOT ENFORCED', 'feature', NULL WHERE current_setting('server_version_num')::int >= 180000"
    ),
    columns_sql=(
        "SELECT c.relname, a.attname, col_description(c.oid, a.attnum) "
        "FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace "
        "WHERE n.nspname = {schema} AND c.relkind IN ('r', 'p') AND a.attnum > 0 AND NOT a.attisdropped"
    ),
    remains_after_forget="Postgres frees the space with its next VACUUM; backups and replicas keep their copies.",
)

_BIGQUERY = Destination(
    name="bigquery",
    dialect="bigquery",
    module="google.cloud.bigquery",
    # its parquet has no JSON columns
    loads_parquet=lambda: False,
    rows_format="jsonl",
    has_transactions=False,
    has_transactional_ddl=False,
    has_layout=True,
    json_as_text="TO_JSON_STRING({})",
    reads_arrow_in_parts=True,
    # sqlglot's own truncates them to dates
    microseconds="TIMESTAMP_DIFF({end}, {start}, MICROSECOND)",
    objects_sql=(
        "SELECT t.table_name, CASE WHEN t.table_type = 'VIEW' THEN 'view' ELSE 'table' END, o.option_value "
        "FROM {dataset}.INFORMATION_SCHEMA.TABLES AS t LEFT JOIN {dataset}.INFORMATION_SCHEMA.TABLE_OPTIONS AS o "
        "ON o.table_name = t.table_name AND o.option_name = 'description'"
    ),
    remains_after_forget=(
        "BigQuery keeps deleted rows for its time travel and fail-safe windows, up to 14 days by default."
    ),
)

#: Every kind of warehouse that is supported, by dlt's name.
DESTINATIONS = {destination.name: destination for destination in (_DUCKDB, _DUCKLAKE, _POSTGRES, _BIGQUERY)}


def destination_of(pipeline: dlt.Pipeline) -> Destination:
    """The kind of warehouse that a pipeline loads into.

    Raises:
        ConfigurationError: It is not one of those that are supported.
    """
    found = find_destination(pipeline)
    if found is None:
        kind = _kind(pipeline)
        raise ConfigurationError(
            f"The destination {kind} is not supported." if kind else "The pipeline has no destination.",
            remedy=f"Use one of {', '.join(DESTINATIONS)}. Nothing was requested yet.",
        )
    return found


def prepare(pipeline: dlt.Pipeline) -> Destination:
    """Prepares a pipeline to connect to its warehouse, and returns the kind of warehouse.

    Raises:
        ConfigurationError: It is not one of those that are supported.
    """
    destination = destination_of(pipeline)
    adapted = destination.adapt(pipeline.destination)
    if adapted is not pipeline.destination:
        pipeline.destination = adapted
    return destination


def find_destination(pipeline: dlt.Pipeline) -> Destination | None:
    """The kind of warehouse that a pipeline loads into; None if it is not one of those that are supported."""
    return DESTINATIONS.get(_kind(pipeline))


def _kind(pipeline: dlt.Pipeline) -> str:
    factory: Any = pipeline.destination
    return "" if factory is None else str(factory.destination_type).rpartition(".")[2]


def by_dialect(dialect: str) -> Destination:
    """The kind of warehouse whose SQL is a dialect."""
    return next(d for d in DESTINATIONS.values() if d.dialect == dialect)
