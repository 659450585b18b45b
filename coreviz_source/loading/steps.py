"""The steps that a user adds to a table (`add_map`, `add_filter`, …).

Rows are usually handed to dlt as parquet files, which steps cannot read. A table with steps therefore gets its rows as
dictionaries. Tombstones bypass the steps, because they are not rows of the library.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import dlt
import pyarrow as pa
from dlt.common.normalizers.utils import generate_dlt_ids
from dlt.common.schema.typing import C_DLT_ID
from dlt.extract.items import DataItemWithMeta, SupportsPipe
from dlt.extract.items_transform import BaseItemTransform, ItemTransform, YieldMapItem

from coreviz_source.errors import ConfigurationError
from coreviz_source.loading.files import RowFile
from coreviz_source.rows.build import to_dicts, tombstones
from coreviz_source.tables import ARROW_TYPES, CHILDREN, GONE, LOAD_ID, MEDIA, RUNS, Table
from coreviz_source.values import encode_json

Row = dict[str, Any]
#: Makes versions of rows that have passed the steps.
Versions = Callable[[pa.Table], pa.Table]

#: Columns beside the keys that later runs compare with.
_COMPARED = {
    MEDIA.name: ("content_hash", "created_at", "deleted_at", "source_media_id"),
    RUNS.name: ("dataset_id", "run", "started_at", "outcome", "selected"),
}
#: Columns that the load adds to a row.
_BY_US = {LOAD_ID, C_DLT_ID}
#: How many steps of a pipe belong to this source: the one that picks the rows of a table, and `Finish`.
_OURS = 2


class AtOnce(ItemTransform[Any, Any]):
    """A step that yields rows, made to return a list of them.

    dlt would take the rows of several batches in turns. When a list has passed all steps, they have seen its rows.

    Args:
        step: The step.
    """

    def __init__(self, step: YieldMapItem) -> None:
        BaseItemTransform.__init__(self)
        self._step = step

    def __call__(self, item: Any, meta: Any = None) -> list[Row]:
        """Takes rows, and returns all that the step yields of them."""
        found: Any = self._step(item, meta)
        return [row for part in found for row in (part if isinstance(part, list) else [part])]


@dataclass
class Part:
    """Rows of a table with steps, and what makes versions of them."""

    rows: pa.Table
    versions: Versions | None = None


class Finish(ItemTransform[Any, Any]):
    """The last step of a table's pipe. It checks the rows that the user's steps return, and hands them to dlt.

    Args:
        table: The table.
    """

    # after the steps of a user, and after dlt's own steps at the end of a pipe
    placement_affinity = 1.5

    def __init__(self, table: Table) -> None:
        BaseItemTransform.__init__(self)
        self.table = table
        #: Whether a user has added steps. It is known once dlt evaluates the pipe.
        self.has_steps = False
        self._key = (*table.replaces, *_COMPARED.get(table.name, ()), GONE)
        self._given: set[int] = set()
        #: The table with the versions of the rows, if there is one. It is set when a run begins.
        self.history: Table | None = None
        #: Whether rows replace those that are stored, so that a media item that has none left needs a tombstone.
        self.merges = False
        #: Rows that have passed the steps, as long as others of their part have not.
        self._passed: list[Row] = []
        #: How many parts have not passed the steps yet.
        self.waiting = 0
        #: The versions of rows that have passed the steps, by table.
        self.versions: list[tuple[str, pa.Table]] = []
        self._tombstones: list[Row] = []
        #: Converts rows into what dlt is given. It is set when a run begins.
        self.form: Callable[[list[Row]], Any] = list

    def bind(self, pipe: SupportsPipe) -> Finish:
        """Begins a run of the pipe."""
        self.has_steps = len(pipe.steps) > _OURS  # type: ignore[attr-defined]
        # the package of the run before may still wait to be checked
        self._given, self._tombstones, self._passed = set(), [], []
        self.versions, self.waiting = [], 0
        return self

    def split(self, part: Part) -> Iterator[list[Row]]:
        """The rows for the user's steps, if there are any, and an empty list.

        The empty list passes every step, so that tombstones arrive even if there are no rows.
        """
        found = to_dicts(part.rows, self.table)
        alive = []
        for row in found:
            # a softly deleted row is read back from the warehouse: it went through the steps when it was written
            if row.get(GONE) or row.get("deleted_at"):
                self._tombstones.append(row)
            else:
                row.pop(GONE, None)
                alive.append(row)
        self._given.update(hash(self._identity(row)) for row in alive)
        if alive:
            yield alive
        # dlt asks for the next item when the one before has passed all steps
        passed = self._take_passed(alive)
        if part.versions is not None and self.history is not None:
            # a step may have returned a row twice
            once = {tuple(row[name] for name in self.history.identity): row for row in reversed(passed)}
            versions = part.versions(_table(self.table, list(reversed(once.values()))))
            self.versions.append((self.history.name, versions))
        if alive and self.merges and self.table in CHILDREN:
            empty = {row["media_id"] for row in alive} - {row["media_id"] for row in passed}
            self._tombstones += to_dicts(tombstones(self.table, alive[0]["dataset_id"], sorted(empty)), self.table)
        self.waiting -= 1
        yield []

    def _take_passed(self, given: list[Row]) -> list[Row]:
        """The rows that have passed the steps, of the media items of the rows that were given."""
        column = self.table.media_column
        media_ids = {row.get(column) for row in given}
        passed = [row for row in self._passed if row.get(column) in media_ids]
        self._passed = [row for row in self._passed if row.get(column) not in media_ids]
        return passed

    def _identity(self, row: Row) -> tuple[Any, ...]:
        return tuple(row.get(name) for name in self.key)

    @property
    def key(self) -> tuple[str, ...]:
        """The columns that a step must not change."""
        return self._key if self.history is None else tuple(dict.fromkeys((*self._key, *self.history.identity)))

    def __call__(self, item: Any, meta: Any = None) -> Any:
        """Takes what the steps return: rows, a file of rows, or an empty list."""
        if isinstance(item, RowFile):
            imported = dlt.mark.with_file_import(str(item.path), "parquet", item.rows)
            # dlt drops an item that is None
            return DataItemWithMeta(imported.meta, [])
        if not self.has_steps:
            return item
        rows = list(item) if isinstance(item, list) else [item]
        for row in rows:
            self._check(row)
        if self.history is not None or self.table in CHILDREN:
            self._passed += rows
        rows += self._tombstones
        self._tombstones = []
        return self.form(rows) if rows else None

    def _check(self, row: Row) -> None:
        if not isinstance(row, dict):
            raise ConfigurationError(
                f"A step on {self.table.name} returned {type(row).__name__} instead of a row.",
                remedy="A step takes a dictionary and returns one.",
            )
        identity = hash(self._identity(row))
        if identity not in self._given or _BY_US & row.keys():
            raise ConfigurationError(
                f"A step on {self.table.name} changed {', '.join(self.key)}, or returned a row twice.",
                remedy="Leave these columns as they are, because they identify a row. Change other columns.",
                table=self.table.name,
            )
        if self.table is MEDIA:
            self._given.discard(identity)

    def completeness(self) -> Callable[[], None]:
        """A check of what this run of the pipe extracts, for when it has: that the steps dropped no row."""
        given, table = self._given, self.table.name

        def check() -> None:
            if given:
                raise ConfigurationError(
                    f"A step on {table} dropped {len(given)} rows, and without them there is no stored state.",
                    remedy="Filter the child tables instead, or choose datasets by `dataset_ids`.",
                    table=table,
                )

        return check


@dataclass(frozen=True)
class Stamp:
    """Adds the columns that dlt adds by itself only to rows that are dictionaries.

    Args:
        load_id: Id of the load.
        numbered: Names of the tables whose rows need a `_dlt_id`.
    """

    load_id: str
    numbered: frozenset[str]

    def __call__(self, name: str, rows: pa.Table) -> pa.Table:
        """The rows of a table with these columns."""
        rows = rows.append_column(LOAD_ID, pa.repeat(pa.scalar(self.load_id, pa.string()), rows.num_rows))
        if name in self.numbered:
            rows = rows.append_column(C_DLT_ID, pa.array(generate_dlt_ids(rows.num_rows), pa.string()))
        return rows


def as_arrow(table: Table, stamp: Stamp) -> Callable[[list[Row]], pa.Table]:
    """Converts rows that passed steps into an arrow table. Columns that the steps added follow the declared ones."""
    return lambda rows: stamp(table.name, _table(table, rows))


def _table(table: Table, rows: list[Row]) -> pa.Table:
    names = [c.name for c in table.columns]
    added = [name for name in dict.fromkeys(name for row in rows for name in row) if name not in names]
    arrays = [_array(table, name, [row.get(name) for row in rows]) for name in (*names, *added)]
    return pa.Table.from_arrays(arrays, names=[*names, *added])


def _array(table: Table, name: str, values: Sequence[Any]) -> pa.Array:
    column = table.by_name.get(name)
    try:
        if column is None:
            return pa.array(values)
        if column.kind == "json":
            values = [None if value is None else encode_json(value) for value in values]
        return pa.array(values, ARROW_TYPES[column.kind])
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        raise ConfigurationError(
            f"A step made values of {table.name}.{name} that do not fit the column: {error}",
            remedy="Keep the column's type, or write to a column of your own.",
            table=table.name,
        ) from None
