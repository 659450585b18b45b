"""What a run did: one report per dataset, one exit code for all of them, and the events that a run sends meanwhile."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any, Literal

from coreviz_source.errors import CorevizError, worst_exit_code
from coreviz_source.values import canonical_id

#: `listing`: its pages are requested. `listed`: its rows wait to be loaded with those of others. `loading`, `done`.
Phase = Literal["listing", "listed", "loading", "done"]


@dataclass(frozen=True)
class DatasetReport:
    """What a run did with one dataset.

    `listed`, `new`, `changed`, `gone` and `unchanged` count media items and folders. `rows` counts the rows written per
    table, tombstones included. `seconds` is wall time and includes waiting for the API.
    """

    dataset_id: str
    name: str | None = None
    """Its name, if the API sent it."""
    organization: str | None = None
    """The name of its organization, or its id, if the account was requested."""
    phase: Phase = "listing"
    """`done`, or the phase in which a failure stopped it."""
    mode: str = ""
    """What was listed: complete, window, slice or sample."""
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
    page_size: int = 0
    """The most media items that one request asked for."""
    parallel_requests: int = 0
    """The most listing requests that were sent at the same time."""
    replaced: int = 0
    """Media items and folders with NUL characters that the warehouse cannot store."""
    total: int | None = None
    """How many media items and folders the API counts."""
    selected: str | None = None
    """The tables that were loaded, separated by spaces; None: all of them."""
    rows: dict[str, int] = field(default_factory=dict)
    unknown_fields: list[str] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Whether the whole dataset was listed and the listing was proven complete."""
        return self.outcome == "complete"

    def failed(self, error: CorevizError) -> DatasetReport:
        """The report of the same dataset after a failure. What checkpoints loaded stays, but is not counted."""
        return replace(self, rows={}, outcome="failed", message=str(error), exit_code=error.exit_code)


@dataclass(frozen=True)
class Progress:
    """An event of a run: how far it has come with one dataset.

    A run sends one after every page, and when the phase changes. `listed`, `new`, `changed`,
    `unchanged` and `gone` count media items and folders, `rows` the rows in all tables. `gone` is known at the end.
    """

    dataset_id: str
    name: str | None = None
    organization: str | None = None
    phase: Phase | Literal["failed"] = "listing"
    mode: str = ""
    total: int | None = None
    listed: int = 0
    new: int = 0
    changed: int = 0
    unchanged: int = 0
    gone: int = 0
    rows: int = 0
    report: DatasetReport | None = None
    """The result; None until everything was listed, or the dataset failed."""

    @property
    def has_ended(self) -> bool:
        """Whether this is the last event of the dataset."""
        return self.phase in ("done", "failed")

    def report_so_far(self) -> DatasetReport:
        """The result, or what is known of it if the run is interrupted now."""
        if self.report is not None:
            return self.report
        return DatasetReport(
            self.dataset_id,
            self.name,
            self.organization,
            "listing" if self.phase == "failed" else self.phase,
            self.mode,
            listed=self.listed,
            new=self.new,
            changed=self.changed,
            unchanged=self.unchanged,
            total=self.total,
        )


class DatasetReports(dict[str, DatasetReport]):
    """Reports by dataset id. Either form of a UUID finds its report."""

    @classmethod
    def of(cls, reports: Iterable[DatasetReport]) -> DatasetReports:
        """The reports by the ids of their datasets."""
        return cls((report.dataset_id, report) for report in reports)

    def __missing__(self, key: str) -> DatasetReport:
        canonical = canonical_id(key)
        if canonical == key or canonical not in self:
            raise KeyError(key)
        return self[canonical]


@dataclass(frozen=True)
class Report:
    """What a `sync` did.

    Attributes:
        run: Id of the run, as in `_coreviz_runs`.
        datasets: One report per dataset. Its key is the id in either form.
        errors: Failures of the run as a whole: settings, the account, the destination.
        warnings: Organizations whose datasets could not be requested, and comments, indexes and views that could not be
            created. The tables are right anyway.
        dry_run: Whether nothing was written. The numbers are then those of what would be written.
        seconds: Wall time.
    """

    run: str
    datasets: dict[str, DatasetReport] = field(default_factory=DatasetReports)
    errors: list[CorevizError] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    dry_run: bool = False
    seconds: float = 0.0

    @property
    def exit_code(self) -> int:
        """0 if everything succeeded, otherwise the code of the worst failure."""
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
