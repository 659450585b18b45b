"""The rows of `_coreviz_runs` of a run that changed nothing, written in one transaction instead of a load package.

A package costs a quarter of a second by itself, which is most of a run over an unchanged library. The transaction has
the rows and the line in `_dlt_loads` that completes their load, so that a crash leaves both or neither.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
from dlt.common.configuration.utils import get_resolved_traces
from dlt.common.normalizers.utils import generate_dlt_ids
from dlt.common.schema.typing import C_DLT_ID
from dlt.common.storages.load_package import create_load_id
from dlt.destinations.job_client_impl import SqlJobClientBase

from coreviz_source.run import Batch
from coreviz_source.selection import Selection
from coreviz_source.tables import LOAD_ID, RUNS
from coreviz_source.warehouse.locks import Locks
from coreviz_source.warehouse.state import StoredState


def has_only_runs(batch: Batch) -> bool:
    """Whether a batch has rows of no other table."""
    return batch.tables.keys() <= {RUNS.name}


def write_runs(locks: Locks, stored: StoredState, selection: Selection, batches: Sequence[Batch]) -> bool:
    """Writes rows of runs as a completed load, unless a package has something else to do.

    A package creates missing tables, and restores dlt's schema where the working directory was lost. BigQuery gets a
    package in any case: there, a transaction takes as long as the package's jobs.

    Args:
        locks: The locks of the run.
        stored: What is stored.
        selection: The tables of the run.
        batches: Batches that have only rows of runs.

    Returns:
        Whether the rows were written.

    Raises:
        DestinationError: They could not be written. Nothing is.
    """
    rows = [batch.tables[RUNS.name] for batch in batches if RUNS.name in batch.tables]
    complete = not stored.repaired and stored.stored_columns.keys() >= {*selection.tables, "_dlt_loads"}
    if not (rows and complete and stored.connection.destination.has_transactions):
        return False
    with stored.connection.client() as client:
        # the name is another one where the pipeline has run other sources, or nothing on this machine
        if client.schema.name != "coreviz" or RUNS.name not in client.schema.tables:
            return False
    with locks.load(), stored.connection.client() as client:
        _insert(client, pa.concat_tables(rows), numbered=C_DLT_ID in stored.stored_columns.get(RUNS.name, {}))
    # dlt notes each setting that it looks up, and forgets them at the end of a package
    get_resolved_traces().clear()
    return True


def _insert(client: SqlJobClientBase, rows: pa.Table, numbered: bool) -> None:
    load_id = create_load_id()
    columns = {name: rows.column(name).to_pylist() for name in rows.column_names}
    columns[LOAD_ID] = [load_id] * rows.num_rows
    if numbered:
        columns[C_DLT_ID] = generate_dlt_ids(rows.num_rows)
    sql = client.sql_client
    row = f"({', '.join(['%s'] * len(columns))})"
    statement = (
        f"INSERT INTO {sql.make_qualified_table_name(RUNS.name)} ({', '.join(map(sql.escape_column_name, columns))}) "
        f"VALUES {', '.join([row] * rows.num_rows)}"
    )
    values: list[Any] = [value for values in zip(*columns.values(), strict=True) for value in values]
    with sql.begin_transaction():
        sql.execute_sql(statement, *values)
        client.complete_load(load_id)
