"""A privacy request: erases a dataset, or single media, from every table and from the disk of this machine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import dlt
from dlt.destinations.job_client_impl import SqlJobClientBase

from coreviz_source.errors import ConfigurationError, DestinationError, find
from coreviz_source.loading.clean_up import clean_up, pending_packages
from coreviz_source.locks import Locks
from coreviz_source.memory import Memory
from coreviz_source.tables import MEDIA, TABLES, Table
from coreviz_source.values import canonical_id

#: What remains after the rows are deleted, per destination.
REMAINS = {
    "duckdb": (
        "The DuckDB file does not shrink, and may contain the bytes until later loads overwrite them. To remove them, "
        "copy the tables into a new file (COPY FROM DATABASE) and delete the old one."
    ),
    "postgres": "Postgres frees the space with its next VACUUM. Backups and replicas keep what they have.",
    "bigquery": "BigQuery keeps deleted rows for its time travel and fail-safe windows, up to 14 days by default.",
}


@dataclass(frozen=True)
class Subject:
    """What to erase: whole datasets, or single media in any dataset. Ids are in either form."""

    dataset_ids: Sequence[str] = ()
    media_ids: Sequence[str] = ()

    def conditions(self, table: Table) -> Iterator[tuple[str, list[str]]]:
        """The conditions that select rows of a table, with their values; none if it cannot have any."""
        media = "id" if table is MEDIA else "media_id"
        for column, ids in (("dataset_id", self.dataset_ids), (media, self.media_ids)):
            if ids and column in table.by_name:
                values = list(dict.fromkeys(map(canonical_id, ids)))
                yield f"{column} IN ({', '.join(['%s'] * len(values))})", values


@dataclass
class Forgotten:
    """Numbers of rows per table, in the warehouse and in its staging dataset, and of dlt packages on this machine."""

    rows: dict[str, int] = field(default_factory=dict)
    staging: dict[str, int] = field(default_factory=dict)
    packages: int = 0

    @property
    def nothing(self) -> bool:
        """Whether there is no row to erase."""
        return not self.rows and not self.staging


def find_rows(pipeline: dlt.Pipeline, subject: Subject) -> Forgotten:
    """Counts what `forget()` would erase. Local packages are erased whatever is in them."""
    return _visit(pipeline, subject, erase=False)


def forget(pipeline: dlt.Pipeline, subject: Subject) -> Forgotten:
    """Erases rows from every table, the staging dataset, and dlt's working directory on this machine.

    The rows are erased in one transaction, if the destination has transactions. The next run loads again what the API
    still has: delete it there first.

    Args:
        pipeline: The pipeline whose tables are changed.
        subject: What to erase.

    Returns:
        What was erased.

    Raises:
        ConfigurationError: The subject names nothing.
        BusyError: A run is still in progress. It could load again what it listed before.
        DestinationError: The warehouse could not be read or written. If it has transactions, no row was erased.
    """
    with Locks(pipeline) as locks:
        locks.take_working_directory()
        if _tables_there(pipeline):
            # without names, all datasets are locked
            locks.take_datasets(())
        return _visit(pipeline, subject, erase=True)


def _tables_there(pipeline: dlt.Pipeline) -> bool:
    memory = Memory(pipeline, make=False)
    memory.close()
    return bool(memory.tables)


def _visit(pipeline: dlt.Pipeline, subject: Subject, erase: bool) -> Forgotten:
    if not subject.dataset_ids and not subject.media_ids:
        raise ConfigurationError("There is nothing to erase.", remedy="Name datasets or media by their ids.")
    done = Forgotten(packages=pending_packages(pipeline))
    if erase:
        # before the rows: a package that is loaded later would bring them back
        clean_up(pipeline, pending=True)
    try:
        if _tables_there(pipeline):
            with pipeline.destination_client() as client:
                _erase(client, subject, done, erase)
    except Exception as error:
        if find(error):
            raise
        raise DestinationError(
            f"The rows could not be erased: {error}", destination=pipeline.destination.destination_name
        ) from error
    return done


def _erase(client: Any, subject: Subject, done: Forgotten, erase: bool) -> None:
    sql = client.sql_client
    with ExitStack() as stack:
        # dlt leaves it unset where there are transactions
        if erase and client.capabilities.supports_transactions is not False:
            stack.enter_context(sql.begin_transaction())
        done.rows = _tables(client, subject, erase)
        with client.with_staging_dataset():
            if client.is_storage_initialized():
                done.staging = _tables(client, subject, erase)
    if erase and client.config.destination_type == "duckdb":
        # otherwise the rows would stay in the write-ahead log
        sql.execute_sql("CHECKPOINT")


def _tables(client: SqlJobClientBase, subject: Subject, erase: bool) -> dict[str, int]:
    found: dict[str, int] = {}
    there = {name for name, columns in client.get_storage_tables([table.name for table in TABLES]) if columns}
    for table in TABLES:
        for condition, values in subject.conditions(table) if table.name in there else ():
            target = f"{client.sql_client.make_qualified_table_name(table.name)} WHERE {condition}"
            counted = client.sql_client.execute_sql(f"SELECT COUNT(*) FROM {target}", *values)
            if counted and counted[0][0]:
                found[table.name] = found.get(table.name, 0) + counted[0][0]
                if erase:
                    client.sql_client.execute_sql(f"DELETE FROM {target}", *values)
    return found
