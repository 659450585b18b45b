"""What a run did: an object a dataset, a line each in `_coreviz_runs`, and one exit code for all."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Literal

import pyarrow as pa

from coreviz_source.errors import CorevizError, worst_exit_code
from coreviz_source.rows.build import as_table
from coreviz_source.tables import RUNS
from coreviz_source.values import canonical_id


@dataclass
class DatasetReport:
    """What a run did with one dataset.

    `listed`, `new`, `changed`, `gone` and `unchanged` count media and folders; `rows` are the rows written, a table
    each, tombstones included; `seconds` is wall time, waiting for the API included.
    """

    dataset_id: str
    name: str | None = None
    """Its name, once the API told it."""
    organization: str | None = None
    """The name of its organization, or its id, where the account was asked."""
    phase: Literal["listing", "listed", "loading", "done"] = "listing"
    """What is being done with it, or where a failure stopped it; `listed` waits to be loaded with others."""
    mode: str = ""
    """What is listed: complete, window, slice or sample."""
    outcome: str = "failed"
    """complete, window, slice, sample, unproven or failed."""
    message: str = ""
    exit_code: int = 0
    started_at: datetime | None = None
    listed: int = 0
    new: int = 0
    changed: int = 0
    gone: int = 0
    unchanged: int = 0
    requests: int = 0
    retries: int = 0
    seconds: float = 0.0
    replaced: int = 0
    """Media and folders with NUL characters that the warehouse cannot hold."""
    total: int | None = None
    """What the API counts."""
    selected: str | None = None
    """The tables that were loaded, separated by spaces; None: all of them."""
    rows: dict[str, int] = field(default_factory=dict)
    unknown_fields: list[str] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Whether the whole dataset was listed, and proven to be."""
        return self.outcome == "complete"

    def fail(self, error: CorevizError) -> None:
        """Records a failure of the whole dataset; what checkpoints had loaded before stays, but is not counted."""
        self.rows = {}
        self.outcome, self.message, self.exit_code = "failed", str(error), error.exit_code

    def row(self, run: str) -> pa.Table:
        """The line of this run in `_coreviz_runs`."""
        values = {
            **asdict(self),
            "run": run,
            "complete": self.complete,
            "unknown_fields": json.dumps(self.unknown_fields),
            "message": self.message or None,
        }
        return as_table(RUNS, {c.name: [values[c.name]] for c in RUNS.columns}, 1)


class _Datasets(dict[str, DatasetReport]):
    """Reports by dataset id, in either form of a UUID."""

    def __missing__(self, key: str) -> DatasetReport:
        canonical = canonical_id(key)
        if canonical == key or canonical not in self:
            raise KeyError(key)
        return self[canonical]


@dataclass
class Report:
    """What a `sync` did.

    `datasets` answers to either form of a dataset's id. `errors` are failures of the run as a whole: settings, the
    account, the destination. `warnings` are organizations that could not be asked for their datasets, and comments,
    indexes and views that could not be made: the tables are right.
    """

    run: str
    datasets: dict[str, DatasetReport] = field(default_factory=_Datasets)
    errors: list[CorevizError] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    dry_run: bool = False
    """Whether nothing was written: then the numbers are what would be."""
    seconds: float = 0.0

    @property
    def exit_code(self) -> int:
        """0 if all went well, else the code of the worst failure."""
        return worst_exit_code([d.exit_code for d in self.datasets.values()] + [e.exit_code for e in self.errors])

    def to_dict(self) -> dict[str, Any]:
        """The report as plain values."""
        datasets = {}
        for dataset_id, dataset in self.datasets.items():
            datasets[dataset_id] = {**asdict(dataset), "complete": dataset.complete}
            if dataset.started_at is not None:
                datasets[dataset_id]["started_at"] = dataset.started_at.isoformat()
        return {
            "run": self.run,
            "exit_code": self.exit_code,
            "dry_run": self.dry_run,
            "seconds": self.seconds,
            "errors": [str(error) for error in self.errors],
            "warnings": self.warnings,
            "datasets": datasets,
        }

    def to_json(self) -> str:
        """The report as one JSON object."""
        return json.dumps(self.to_dict())
