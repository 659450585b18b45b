"""The rows of `_coreviz_runs` of a run that changed nothing, written in one transaction instead of a load package.

A package costs a quarter of a second by itself, which is most of a run over an unchanged library. The transaction has
the rows and the line in `_dlt_loads` that completes their load, so that a crash leaves both or neither.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
from dlt.common.schema.typing import C_DLT_ID
from dlt.common.storages.load_package import create_load_id

from coreviz_source.loading.direct import forget_settings, insert
from coreviz_source.run import Batch
from coreviz_source.selection import Selection
from coreviz_source.tables import RUNS
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
        found = pa.concat_tables(rows)
        columns = {name: found.column(name).to_pylist() for name in found.column_names}
        numbered = C_DLT_ID in stored.stored_columns.get(RUNS.name, {})
        load_id = create_load_id()
        with client.sql_client.begin_transaction():
            insert(client, RUNS.name, columns, load_id, numbered)
            client.complete_load(load_id)
    forget_settings()
    return True
