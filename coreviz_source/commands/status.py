"""How fresh the warehouse is, and what the next run will do: read from the warehouse, with or without the API."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any

import dlt

from coreviz_source.api.studio import Account, CorevizClient
from coreviz_source.changes import plan
from coreviz_source.errors import STALE, AuthenticationError, CorevizError, worst_exit_code
from coreviz_source.loading.clean_up import pending_packages
from coreviz_source.loading.configuration import resolve
from coreviz_source.notices import Notice
from coreviz_source.report import counted
from coreviz_source.selection import Selection
from coreviz_source.settings import Settings
from coreviz_source.tables import CAPTIONS, DATASETS, MEDIA, NOTICES, ORGANIZATIONS, RUNS, TABLES
from coreviz_source.values import canonical_id
from coreviz_source.warehouse.connection import Connection
from coreviz_source.warehouse.destination import prepare
from coreviz_source.warehouse.state import LastRuns, StoredState, utc

#: What is shown of the last run.
_COUNTS = ("listed", "new", "changed", "gone", "unchanged", "requests", "retries")
#: Attempts per request: people wait for it, and the status is useful without it.
ATTEMPTS = 2


@dataclass
class DatasetStatus:
    """One dataset: when it was listed, what is stored of it, what the next run does."""

    dataset_id: str
    name: str | None = None
    organization_id: str | None = None
    """The organization that it belonged to when it was last mirrored."""
    organization: str | None = None
    """The name of that organization, if it is stored."""
    last_run: datetime | None = None
    """When the last run began, by the server's clock, whatever its outcome."""
    outcome: str | None = None
    """As in `_coreviz_runs`; `interrupted` if its rows were not all loaded."""
    message: str | None = None
    counts: dict[str, int] = field(default_factory=dict)
    """What the last run counted, by the columns of `_coreviz_runs`: `listed`, `new`, `gone` and so on."""
    last_complete: datetime | None = None
    """When the last complete listing began."""
    last_good: datetime | None = None
    """When the last run began that ended well: with outcome complete or window, and all of its rows loaded."""
    rows: dict[str, int] = field(default_factory=dict)
    """Rows of each table."""
    media: int = 0
    """Number of media items, without the softly deleted ones."""
    without_caption: int = 0
    """Number of media items without any caption: CoreViz has not processed them yet, or cannot caption them."""
    in_account: bool | None = None
    """Whether the account lists it; None if the account or its organization could not be asked."""
    other_account: bool = False
    """Whether it belongs to an organization that the account does not see: another account loads it."""
    notices: list[Notice] = field(default_factory=list)
    """The open notices, the oldest first."""
    next_run: str = ""
    stale: bool = False
    """Whether `last_good` is missing, older than `Status.max_age`, or as far in the future."""

    @property
    def title(self) -> str:
        """How messages name it."""
        return f"{self.name} ({self.dataset_id})" if self.name else self.dataset_id

    @property
    def owner(self) -> str:
        """How messages name its organization."""
        return f"organization {self.organization or self.organization_id}"


@dataclass
class Status:
    """The warehouse as a whole."""

    destination: str
    """Address of the tables, without a password."""
    schema: str
    working_directory: str = ""
    """Where dlt keeps what belongs to the pipeline on this machine; it may not exist yet."""
    pending_packages: int = 0
    """Packages that an interrupted run left on this machine; the next run loads them first."""
    account: str = ""
    """Why it is not known, or not of every organization, which datasets the account lists; empty if it is."""
    is_key_refused: bool = False
    """Whether the API does not accept the key."""
    max_age: float | None = None
    """How old the last good run of a dataset may be, in seconds, if that was asked for."""
    datasets: list[DatasetStatus] = field(default_factory=list)

    @property
    def is_stale(self) -> bool:
        """Whether a dataset is stale, or nothing is stored and it is not known whether there is something to store."""
        # an account that has no dataset is mirrored without any
        nothing_known = not self.datasets and bool(self.account)
        return self.max_age is not None and (nothing_known or any(d.stale for d in self.datasets))

    @property
    def exit_code(self) -> int:
        """3 if the API does not accept the key, 8 if something is stale, otherwise 0."""
        refused = AuthenticationError.exit_code if self.is_key_refused else 0
        return worst_exit_code((refused, STALE if self.is_stale else 0))

    @property
    def warnings(self) -> list[str]:
        """What needs attention."""
        own = [d for d in self.datasets if not d.other_account]
        found = [
            f"{d.name or d.dataset_id} is no longer listed by the account. Its rows stay until you erase them: "
            f"coreviz-source forget --dataset-ids {d.dataset_id}"
            for d in own
            if d.in_account is False
        ]
        found += [
            f"{d.name or d.dataset_id}: the last run {'failed' if d.outcome == 'failed' else 'was not complete'}."
            for d in own
            if d.outcome in ("failed", "unproven")
        ]
        found += [f"{d.title} is stale: {_age(d)}." for d in self.datasets if d.stale]
        if self.is_stale and not self.datasets:
            found.append("Nothing has been loaded yet.")
        if self.pending_packages:
            packages = counted(self.pending_packages, "package")
            found.append(f"An interrupted run left {packages}, which the next run loads first.")
        return found

    def to_json(self) -> str:
        """The status as one JSON object."""
        shown = {**asdict(self), "warnings": self.warnings, "exit_code": self.exit_code}
        for dataset, plain in zip(self.datasets, shown["datasets"], strict=True):
            plain["notices"] = [notice.to_dict() for notice in dataset.notices]
        return json.dumps(shown, default=lambda moment: moment.isoformat())


def location(pipeline: dlt.Pipeline) -> str:
    """The address of a pipeline's tables, without a password."""
    prepare(pipeline)
    return str(pipeline.destination_client().config)


def read_status(
    pipeline: dlt.Pipeline, now: datetime | None = None, max_age: timedelta | None = None, **arguments: Any
) -> Status:
    """Reads the status of a warehouse.

    Args:
        pipeline: Where the tables are.
        now: The time to compare with. Default: this machine's clock.
        max_age: How old the last good run of a dataset may be before the dataset counts as stale. If there are
            `dataset_ids`, only these can be stale; otherwise all can, except for those of other accounts.
        **arguments: Arguments of `coreviz()`. Without a key or a token, the API is not asked.

    Raises:
        ConfigurationError: A setting is wrong.
        DestinationError: The warehouse could not be read.
    """
    now = now or datetime.now(timezone.utc)
    settings = resolve(arguments, pipeline_name=pipeline.pipeline_name, keyless=True)
    stored = StoredState(Connection(pipeline, read_only=True))
    try:
        found = _read(stored)
        last = stored.last_runs(Selection().with_history(settings.history))
    finally:
        stored.close()
    status = Status(location(pipeline), pipeline.dataset_name, pipeline.working_dir, pending_packages(pipeline))
    asked = {canonical_id(item) for item in settings.dataset_ids}
    account = _ask(status, settings)
    listed = {canonical_id(info["id"]): info.get("name") for info in account.datasets} if account else {}
    for dataset_id in sorted(found.keys() | asked | (set() if asked else listed.keys())):
        dataset = found.get(dataset_id, DatasetStatus(dataset_id))
        if account is not None:
            owner = dataset.organization_id
            dataset.in_account = account.lists(dataset_id, owner)
            dataset.other_account = not (dataset.in_account or owner is None or account.sees(owner))
            if not dataset.rows and dataset_id not in asked | listed.keys():
                # a run failed with an id that nothing belongs to
                continue
        dataset.name = dataset.name or listed.get(dataset_id)
        runs = last.get(dataset_id, LastRuns())
        dataset.last_complete = runs.complete
        dataset.next_run = _not_next(dataset, account, asked) or _next(settings, runs, now, status.pending_packages)
        status.datasets.append(dataset)
    if max_age is not None:
        status.max_age = max_age.total_seconds()
        for dataset in status.datasets:
            if dataset.dataset_id in asked if asked else not dataset.other_account:
                # a time in the future comes from a clock that was wrong, and would look fresh until it has come
                dataset.stale = dataset.last_good is None or abs(now - dataset.last_good) > max_age
    return status


def _not_next(dataset: DatasetStatus, account: Account | None, asked: set[str]) -> str:
    """Why the next run does not load a dataset; empty if it does."""
    if asked:
        return "" if dataset.dataset_id in asked else "nothing: dataset_ids does not name it"
    if account is None or dataset.in_account:
        return ""
    if dataset.other_account:
        return f"nothing: {dataset.owner}, loaded by another account"
    if dataset.in_account is False:
        return "nothing: the account does not list it"
    if dataset.organization_id is None:
        return "nothing: the account does not list it, and its organization is not known"
    return "nothing: its organization was not asked, or refused"


def _age(dataset: DatasetStatus) -> str:
    if dataset.last_good is None:
        return "it was never loaded" if not dataset.rows else "no run of it has ended well"
    return f"its last run that ended well began {_moment(dataset.last_good)}"


def _read(stored: StoredState) -> dict[str, DatasetStatus]:
    found: dict[str, DatasetStatus] = {}

    def dataset(dataset_id: str) -> DatasetStatus:
        return found.setdefault(dataset_id, DatasetStatus(dataset_id))

    for table in TABLES:
        if table.name in stored.tables and table not in (RUNS, NOTICES) and "dataset_id" in table.by_name:
            sql = f"SELECT dataset_id, COUNT(*) FROM {{{table.name}}} GROUP BY dataset_id"
            for dataset_id, count in stored.query(sql):
                dataset(dataset_id).rows[table.name] = count
    if DATASETS.name in stored.tables:
        for dataset_id, name, organization_id in stored.query("SELECT id, name, organization_id FROM {datasets}"):
            one = dataset(dataset_id)
            one.name, one.organization_id = name, organization_id
    if ORGANIZATIONS.name in stored.tables:
        names = dict(stored.query("SELECT id, name FROM {organizations}"))
        for one in found.values():
            one.organization = names.get(one.organization_id)
    if MEDIA.name in stored.tables:
        for dataset_id, count in stored.query(
            "SELECT dataset_id, COUNT(*) FROM {media} WHERE deleted_at IS NULL GROUP BY dataset_id"
        ):
            dataset(dataset_id).media = count
    if {MEDIA.name, CAPTIONS.name} <= stored.tables:
        for dataset_id, count in stored.query(
            "SELECT m.dataset_id, COUNT(*) FROM {media} m "
            "LEFT JOIN (SELECT DISTINCT dataset_id, media_id FROM {captions}) c "
            "ON c.dataset_id = m.dataset_id AND c.media_id = m.id "
            "WHERE m.deleted_at IS NULL AND c.media_id IS NULL GROUP BY m.dataset_id"
        ):
            dataset(dataset_id).without_caption = count
    _read_runs(stored, dataset)
    _read_notices(stored, dataset)
    return found


def _read_runs(stored: StoredState, dataset: Callable[[str], DatasetStatus]) -> None:
    if RUNS.name in stored.tables:
        counts = ", ".join(f"r.{{{{{name}}}}}" for name in _COUNTS)
        for dataset_id, began, outcome, message, *numbers in stored.query(
            f"SELECT dataset_id, started_at, outcome, message, {counts.replace('r.', '')} FROM "
            f"(SELECT r.dataset_id, r.started_at, r.message, {counts}, "
            "CASE WHEN l.load_id IS NULL THEN 'interrupted' ELSE r.outcome END AS outcome, "
            "ROW_NUMBER() OVER (PARTITION BY r.dataset_id ORDER BY r.started_at DESC, r._dlt_load_id DESC) AS place "
            "FROM {_coreviz_runs} r LEFT JOIN {_dlt_loads} l ON l.load_id = r._dlt_load_id AND l.status = 0"
            ") latest WHERE place = 1"
        ):
            one = dataset(dataset_id)
            one.last_run, one.outcome, one.message = utc(began), outcome, message
            one.counts = {name: number for name, number in zip(_COUNTS, numbers, strict=True) if number is not None}
        # of whichever tables: a run that selects some of them keeps those fresh
        for dataset_id, began in stored.query(
            "SELECT r.dataset_id, MAX(r.started_at) FROM {_coreviz_runs} r "
            "JOIN {_dlt_loads} l ON l.load_id = r._dlt_load_id AND l.status = 0 "
            "WHERE r.outcome IN ('complete', 'window') GROUP BY r.dataset_id"
        ):
            dataset(dataset_id).last_good = utc(began)


def _read_notices(stored: StoredState, dataset: Callable[[str], DatasetStatus]) -> None:
    if NOTICES.name in stored.tables:
        for dataset_id, kind, subject, began, notified, run in stored.query(
            "SELECT dataset_id, kind, subject, began_at, notified_at, run FROM {_coreviz_notices} "
            "WHERE ended_at IS NULL ORDER BY began_at, kind, subject"
        ):
            moment = utc(began)
            assert moment is not None
            notice = Notice(dataset_id, kind, subject, moment, notified_at=utc(notified), run=run)
            dataset(dataset_id).notices.append(notice)


def _ask(status: Status, settings: Settings) -> Account | None:
    """What the account lists, if that is known. The status gets why it is not known, or not whole."""
    if not settings.authenticated:
        status.account = "not known, because there is no key"
        return None
    try:
        account = CorevizClient(settings, attempts=ATTEMPTS).account()
    except CorevizError as error:
        status.account = error.message.rstrip(".")
        status.is_key_refused = isinstance(error, AuthenticationError)
        return None
    status.account = "; ".join(account.warnings).rstrip(".")
    return account


def _next(settings: Settings, last: LastRuns, now: datetime, pending: int) -> str:
    mode, window = plan(settings, last, now)
    if mode == "sample":
        assert settings.max_media is not None
        return f"lists at most {counted(settings.max_media, 'media item')}"
    if mode == "slice":
        return "lists the media created in the range of date_from and date_to"
    if pending:
        return "lists everything, because a run was interrupted"
    if mode == "window":
        assert window.oldest is not None and last.complete is not None
        due = _moment(last.complete + settings.reconcile_every)
        return f"lists media created since {_moment(window.oldest)}; from {due} on, everything"
    if settings.resync:
        return "loads everything again, because of resync"
    if last.complete is None:
        return "lists everything, because no complete listing was ever finished"
    return f"lists everything, because the last complete listing was {_moment(last.complete)}"


def _moment(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M UTC")
