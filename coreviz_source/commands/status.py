"""How fresh the warehouse is, and what the next run will do: read from the warehouse, with or without the API."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from typing import Any

import dlt

from coreviz_source.api.studio import Account, CorevizClient
from coreviz_source.changes import plan
from coreviz_source.errors import CorevizError
from coreviz_source.loading.clean_up import pending_packages
from coreviz_source.loading.configuration import resolve
from coreviz_source.settings import Settings
from coreviz_source.tables import CAPTIONS, DATASETS, MEDIA, RUNS, TABLES
from coreviz_source.values import canonical_id
from coreviz_source.warehouse.connection import Connection
from coreviz_source.warehouse.state import LastRuns, StoredState, utc

#: Attempts per request: people wait for it, and the status is useful without it.
ATTEMPTS = 2


@dataclass
class DatasetStatus:
    """One dataset: when it was listed, what is stored of it, what the next run does."""

    dataset_id: str
    name: str | None = None
    organization_id: str | None = None
    """The organization that it belonged to when it was last mirrored."""
    last_run: datetime | None = None
    """When the last run began, by the server's clock, whatever its outcome."""
    outcome: str | None = None
    """As in `_coreviz_runs`; `interrupted` if its rows were not all loaded."""
    message: str | None = None
    last_complete: datetime | None = None
    """When the last complete listing began."""
    rows: dict[str, int] = field(default_factory=dict)
    """Rows of each table."""
    media: int = 0
    """Number of media items, without the softly deleted ones."""
    without_caption: int = 0
    """Number of media items without any caption: CoreViz has not processed them yet, or cannot caption them."""
    in_account: bool | None = None
    """Whether the account lists it; None if the account or its organization could not be asked."""
    next_run: str = ""


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
    datasets: list[DatasetStatus] = field(default_factory=list)

    @property
    def warnings(self) -> list[str]:
        """What needs attention."""
        found = [
            f"{d.name or d.dataset_id} is no longer listed by the account. Its rows stay until you erase them: "
            f"coreviz-source forget --dataset-ids {d.dataset_id}"
            for d in self.datasets
            if d.in_account is False
        ]
        found += [
            f"{d.name or d.dataset_id}: the last run {'failed' if d.outcome == 'failed' else 'was not complete'}."
            for d in self.datasets
            if d.outcome in ("failed", "unproven")
        ]
        if self.pending_packages:
            found.append(f"An interrupted run left {self.pending_packages} packages; the next run loads them first.")
        return found

    def to_json(self) -> str:
        """The status as one JSON object."""
        return json.dumps({**asdict(self), "warnings": self.warnings}, default=lambda moment: moment.isoformat())


def location(pipeline: dlt.Pipeline) -> str:
    """The address of a pipeline's tables, without a password."""
    return str(pipeline.destination_client().config)


def read_status(pipeline: dlt.Pipeline, now: datetime | None = None, **arguments: Any) -> Status:
    """Reads the status of a warehouse.

    Args:
        pipeline: Where the tables are.
        now: The time to compare with. Default: this machine's clock.
        **arguments: Arguments of `coreviz()`. Without a key or a token, the API is not asked.

    Raises:
        ConfigurationError: A setting is wrong.
        DestinationError: The warehouse could not be read.
    """
    settings = resolve(arguments, pipeline_name=pipeline.pipeline_name, keyless=True)
    memory = StoredState(Connection(pipeline, read_only=True))
    try:
        found = _stored(memory)
        last = memory.last_runs()
    finally:
        memory.close()
    status = Status(location(pipeline), pipeline.dataset_name, pipeline.working_dir, pending_packages(pipeline))
    asked = {canonical_id(item) for item in settings.dataset_ids}
    account, status.account = _account(settings)
    listed = {canonical_id(info["id"]): info.get("name") for info in account.datasets} if account else {}
    for dataset_id in sorted(found.keys() | asked | (set() if asked else listed.keys())):
        dataset = found.get(dataset_id, DatasetStatus(dataset_id))
        dataset.in_account = None if account is None else account.lists(dataset_id, dataset.organization_id)
        dataset.name = dataset.name or listed.get(dataset_id)
        runs = last.get(dataset_id, LastRuns())
        dataset.last_complete = runs.complete
        if asked and dataset_id not in asked:
            dataset.next_run = "nothing: dataset_ids does not name it"
        elif not asked and dataset.in_account is False:
            dataset.next_run = "nothing: the account does not list it"
        elif not asked and account is not None and dataset.in_account is None:
            dataset.next_run = "nothing: its organization was not asked, or refused"
        else:
            dataset.next_run = _next(settings, runs, now or datetime.now(timezone.utc), status.pending_packages)
        status.datasets.append(dataset)
    return status


def _stored(memory: StoredState) -> dict[str, DatasetStatus]:
    found: dict[str, DatasetStatus] = {}

    def dataset(dataset_id: str) -> DatasetStatus:
        return found.setdefault(dataset_id, DatasetStatus(dataset_id))

    for table in TABLES:
        if table.name in memory.tables and table is not RUNS and "dataset_id" in table.by_name:
            sql = f"SELECT dataset_id, COUNT(*) FROM {{{table.name}}} GROUP BY dataset_id"
            for dataset_id, count in memory.query(sql):
                dataset(dataset_id).rows[table.name] = count
    if DATASETS.name in memory.tables:
        for dataset_id, name, organization_id in memory.query("SELECT id, name, organization_id FROM {datasets}"):
            one = dataset(dataset_id)
            one.name, one.organization_id = name, organization_id
    if MEDIA.name in memory.tables:
        for dataset_id, count in memory.query(
            "SELECT dataset_id, COUNT(*) FROM {media} WHERE deleted_at IS NULL GROUP BY dataset_id"
        ):
            dataset(dataset_id).media = count
    if {MEDIA.name, CAPTIONS.name} <= memory.tables:
        for dataset_id, count in memory.query(
            "SELECT m.dataset_id, COUNT(*) FROM {media} m "
            "LEFT JOIN (SELECT DISTINCT dataset_id, media_id FROM {captions}) c "
            "ON c.dataset_id = m.dataset_id AND c.media_id = m.id "
            "WHERE m.deleted_at IS NULL AND c.media_id IS NULL GROUP BY m.dataset_id"
        ):
            dataset(dataset_id).without_caption = count
    if RUNS.name in memory.tables:
        for dataset_id, began, outcome, message in memory.query(
            "SELECT dataset_id, started_at, outcome, message FROM (SELECT r.dataset_id, r.started_at, "
            "CASE WHEN l.load_id IS NULL THEN 'interrupted' ELSE r.outcome END AS outcome, r.message, "
            "ROW_NUMBER() OVER (PARTITION BY r.dataset_id ORDER BY r.started_at DESC, r._dlt_load_id DESC) AS place "
            "FROM {_coreviz_runs} r LEFT JOIN {_dlt_loads} l ON l.load_id = r._dlt_load_id AND l.status = 0"
            ") latest WHERE place = 1"
        ):
            one = dataset(dataset_id)
            one.last_run, one.outcome, one.message = utc(began), outcome, message
    return found


def _account(settings: Settings) -> tuple[Account | None, str]:
    """What the account lists, if that is known, and why it is not known, or not whole."""
    if not settings.authenticated:
        return None, "not known, because there is no key"
    try:
        account = CorevizClient(settings, attempts=ATTEMPTS).account()
    except CorevizError as error:
        return None, error.message
    return account, "; ".join(account.warnings)


def _next(settings: Settings, last: LastRuns, now: datetime, pending: int) -> str:
    mode, window = plan(settings, last, now)
    if mode == "sample":
        return f"lists at most {settings.max_media} media"
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
