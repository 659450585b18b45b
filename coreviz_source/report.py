"""What a run did: one report per dataset, one exit code for all of them, and the events that a run sends meanwhile."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from html import escape
from typing import Any, Literal

from coreviz_source.errors import EXIT_CODES, CorevizError, worst_exit_code
from coreviz_source.notices import Notice
from coreviz_source.values import canonical_id

#: `listing`: its pages are requested. `listed`: its rows wait to be loaded with those of others. `loading`, `done`.
Phase = Literal["listing", "listed", "loading", "done"]

#: The outcomes of a run for one dataset, and what was listed of it.
OUTCOMES = {
    "complete": "the whole dataset",
    "window": "the newest media items",
    "slice": "a range of dates",
    "sample": "the first media items",
    "unproven": "not proven complete, nothing deleted",
    "failed": "see the message",
}

#: The outcomes that need attention. Readers of the warehouse call a run interrupted whose load never completed.
BAD_OUTCOMES = ("failed", "unproven", "interrupted")


def counted(number: int, noun: str) -> str:
    """A number with its noun: "1 row", "12,345 rows"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


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
    refused_deletes: int = 0
    """How many media items, or folders, are missing, where `max_deletes` kept the run from removing them."""

    @property
    def title(self) -> str:
        """Its name, or its id if the API sent no name."""
        return self.name or self.dataset_id

    @property
    def result(self) -> str:
        """The outcome, with what was listed."""
        return f"{self.outcome} ({OUTCOMES[self.outcome]})"

    @property
    def written(self) -> int:
        """The number of rows in all tables that were written, or in a dry run would be."""
        return sum(self.rows.values())

    def counts(self, dry_run: bool = False) -> str:
        """What was listed, and what was written of it or in a dry run would be, in words."""
        rows = f"{counted(self.written, 'row')} {'would be ' if dry_run else ''}written"
        return (
            f"{counted(self.listed, 'item')} listed, {self.new:,} new, {self.changed:,} changed, {self.gone:,} deleted "
            f"({rows})"
        )

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
    def title(self) -> str:
        """The dataset's name, or its id if the API sent no name."""
        return self.name or self.dataset_id

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
        warnings: Organizations whose datasets could not be requested, and comments, indexes, views and notices that
            could not be written, or not be sent. The tables are right anyway.
        notices: The notices that begin or end with this run. They never change the exit code.
        dry_run: Whether nothing was written. The numbers are then those of what would be written.
        seconds: Wall time.
    """

    run: str
    datasets: dict[str, DatasetReport] = field(default_factory=DatasetReports)
    errors: list[CorevizError] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    notices: list[Notice] = field(default_factory=list)
    dry_run: bool = False
    seconds: float = 0.0

    @property
    def exit_code(self) -> int:
        """0 if everything succeeded, otherwise the code of the worst failure."""
        return worst_exit_code([d.exit_code for d in self.datasets.values()] + [e.exit_code for e in self.errors])

    @property
    def summary(self) -> str:
        """What the run did with all datasets, and how it ended, in one line."""
        failed = sum(dataset.exit_code != 0 for dataset in self.datasets.values())
        rows = counted(sum(dataset.written for dataset in self.datasets.values()), "row")
        parts = [
            f"{counted(len(self.datasets), 'dataset')}{f', {failed:,} with problems' if failed else ''}",
            f"{rows} {'would be ' if self.dry_run else ''}written in {self.seconds:.1f} s",
            f"exit code {self.exit_code} ({EXIT_CODES.get(self.exit_code, 'done')})",
        ]
        return "; ".join(parts)

    @property
    def unknown_fields(self) -> list[str]:
        """Fields without a column. Their values are in `extra`."""
        return sorted({name for dataset in self.datasets.values() for name in dataset.unknown_fields})

    def __str__(self) -> str:
        """A table with one line per dataset, the messages, and the summary."""
        rows = [_COLUMNS, *map(_cells, self.datasets.values())]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(_aligned(row, widths)).rstrip() for row in rows] if self.datasets else []
        return "\n".join([*lines, *self._messages(), self.summary])

    def _repr_html_(self) -> str:
        """The same for a notebook."""
        rows = "".join(_html_row("td", _cells(dataset)) for dataset in self.datasets.values())
        table = f"<table>{_html_row('th', _COLUMNS)}{rows}</table>" if rows else ""
        return table + "".join(f"<div>{escape(line)}</div>" for line in (*self._messages(), self.summary))

    def _messages(self) -> list[str]:
        messages = [f"{d.title}: {d.message.strip()}" for d in self.datasets.values() if d.message]
        fields = [f"Fields without a column, kept in `extra`: {', '.join(self.unknown_fields)}"]
        notices = map(self.notice_text, self.notices)
        return [*messages, *map(str, self.errors), *self.warnings, *notices, *(fields if self.unknown_fields else [])]

    def notice_text(self, notice: Notice) -> str:
        """A notice with the name of its dataset, in one line."""
        dataset = self.datasets.get(notice.dataset_id)
        return f"Notice: {dataset.title if dataset else notice.dataset_id}: {notice.text}"

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
            "notices": [notice.to_dict() for notice in self.notices],
            "datasets": datasets,
        }

    def to_json(self) -> str:
        """The report as one JSON object."""
        return json.dumps(self.to_dict())


_COLUMNS = ("dataset", "outcome", "listed", "new", "changed", "deleted", "rows", "seconds")
_FIRST_NUMBER = _COLUMNS.index("listed")


def _cells(dataset: DatasetReport) -> tuple[str, ...]:
    """The cells of a dataset's line."""
    numbers = (dataset.listed, dataset.new, dataset.changed, dataset.gone, dataset.written)
    return dataset.title, dataset.result, *(f"{number:,}" for number in numbers), f"{dataset.seconds:.1f}"


def _aligned(row: Sequence[str], widths: Sequence[int]) -> Iterator[str]:
    for place, (cell, width) in enumerate(zip(row, widths, strict=True)):
        yield cell.rjust(width) if place >= _FIRST_NUMBER else cell.ljust(width)


def _html_row(tag: str, cells: Sequence[str]) -> str:
    sides = ("left", "right")
    parts = (
        f'<{tag} style="text-align: {sides[place >= _FIRST_NUMBER]}">{escape(cell)}</{tag}>'
        for place, cell in enumerate(cells)
    )
    return f"<tr>{''.join(parts)}</tr>"
