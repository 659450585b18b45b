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
from coreviz_source.tables import DATASETS, MEDIA, ORGANIZATIONS, TABLES, Table
from coreviz_source.values import canonical_id
from coreviz_source.warehouse.connection import Connection
from coreviz_source.warehouse.destination import destination_of
from coreviz_source.warehouse.failures import cause_of, remedy_for, scrub
from coreviz_source.warehouse.locks import Locks
from coreviz_source.warehouse.state import StoredState, placeholders


@dataclass(frozen=True)
class Subject:
    """What to erase: whole datasets, or single media in any dataset. Ids are in either form."""

    dataset_ids: Sequence[str] = ()
    media_ids: Sequence[str] = ()

    @property
    def ids(self) -> list[str]:
        """All ids in canonical form, each once."""
        return list(dict.fromkeys(map(canonical_id, (*self.dataset_ids, *self.media_ids))))

    def conditions(self, table: Table) -> Iterator[tuple[str, list[str]]]:
        """The columns by which rows of a table are selected, with their values; none if it cannot have any."""
        media = "id" if MEDIA in (table, table.versions_of) else "media_id"
        for column, ids in (("dataset_id", self.dataset_ids), (media, self.media_ids)):
            if ids and column in table.by_name:
                yield column, list(dict.fromkeys(map(canonical_id, ids)))


def _is_one_of(column: str, values: list[str]) -> str:
    return f"{column} IN ({placeholders(values)})"


@dataclass
class Forgotten:
    """Numbers of rows per table, in the warehouse and in its staging dataset, and of dlt packages on this machine."""

    rows: dict[str, int] = field(default_factory=dict)
    staging: dict[str, int] = field(default_factory=dict)
    packages: int = 0
    not_found: list[str] = field(default_factory=list)
    """The ids, in canonical form, that no row has."""

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
        What was erased, and which of the ids were not found.

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
    stored = StoredState(Connection(pipeline))
    stored.close()
    return bool(stored.tables)


def _visit(pipeline: dlt.Pipeline, subject: Subject, erase: bool) -> Forgotten:
    if not subject.dataset_ids and not subject.media_ids:
        raise ConfigurationError("There is nothing to erase.", remedy="Name datasets or media by their ids.")
    done = Forgotten(packages=pending_packages(pipeline), not_found=subject.ids)
    if erase:
        # before the rows: a package that is loaded later would bring them back
        clean_up(pipeline, pending=True)
    try:
        if _tables_there(pipeline):
            opened: Any = pipeline.destination_client()
            with opened as client:
                _erase(client, subject, done, erase)
                if erase:
                    destination_of(pipeline).purge(client.sql_client)
    except Exception as error:
        if find(error):
            raise
        raise DestinationError(
            f"The rows could not be erased: {scrub(str(error), pipeline)}",
            remedy=remedy_for(error, pipeline),
            destination=pipeline.destination.destination_name,
        ) from cause_of(error, pipeline)
    return done


def _erase(client: Any, subject: Subject, done: Forgotten, erase: bool) -> None:
    sql = client.sql_client
    with ExitStack() as stack:
        # dlt leaves it unset where there are transactions
        if erase and client.capabilities.supports_transactions is not False:
            stack.enter_context(sql.begin_transaction())
        organizations = _without_other_datasets(client, subject)
        done.rows, found = _tables(client, subject, organizations, erase)
        with client.with_staging_dataset():
            if client.is_storage_initialized():
                done.staging, staged = _tables(client, subject, organizations, erase)
                found |= staged
    done.not_found = [item for item in done.not_found if item not in found]


def _existing(client: SqlJobClientBase) -> set[str]:
    return {name for name, columns in client.get_storage_tables([table.name for table in TABLES]) if columns}


def _without_other_datasets(client: SqlJobClientBase, subject: Subject) -> list[str]:
    """The organizations of the datasets to be forgotten that have no other dataset."""
    if not subject.dataset_ids or not _existing(client) >= {DATASETS.name, ORGANIZATIONS.name}:
        return []
    values = [canonical_id(item) for item in subject.dataset_ids]
    condition = _is_one_of("id", values)
    datasets = client.sql_client.make_qualified_table_name(DATASETS.name)
    owners = f"SELECT DISTINCT organization_id FROM {datasets} WHERE organization_id IS NOT NULL AND"
    forgotten = client.sql_client.execute_sql(f"{owners} {condition}", *values) or ()
    kept = client.sql_client.execute_sql(f"{owners} NOT ({condition})", *values) or ()
    return sorted({row[0] for row in forgotten} - {row[0] for row in kept})


def _tables(
    client: SqlJobClientBase, subject: Subject, organizations: list[str], erase: bool
) -> tuple[dict[str, int], set[str]]:
    """Counts the rows of each table, and erases them if that is wanted; also returns the ids that were found."""
    counts: dict[str, int] = {}
    found: set[str] = set()
    there = _existing(client)
    for table in TABLES:
        conditions = list(subject.conditions(table))
        if table is ORGANIZATIONS and organizations:
            conditions.append(("id", organizations))
        for column, values in conditions if table.name in there else ():
            target = f"{client.sql_client.make_qualified_table_name(table.name)} WHERE {_is_one_of(column, values)}"
            by_id = client.sql_client.execute_sql(f"SELECT {column}, COUNT(*) FROM {target} GROUP BY 1", *values)
            for item_id, rows in by_id or ():
                found.add(item_id)
                counts[table.name] = counts.get(table.name, 0) + rows
            if erase and by_id:
                client.sql_client.execute_sql(f"DELETE FROM {target}", *values)
    return counts, found
