"""Notices of a run: what they are decided from is read, and those that begin or end are written and sent.

All of it happens when the run has loaded everything, from what the warehouse has stored by then. If a run is killed
before that, the next one finds the same notices, except those about shares of rows that the killed run replaced.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from datetime import date, datetime, timedelta, timezone

from dlt.common.schema.typing import C_DLT_ID
from dlt.common.storages.load_package import create_load_id

from coreviz_source.errors import CorevizError, DatasetNotFoundError
from coreviz_source.loading.direct import forget_settings, insert
from coreviz_source.notices import (
    CHANGED_TYPE,
    MANY_REMOVALS,
    MISSING_DATASET,
    NEW_FIELD,
    SHARES,
    Notice,
    Observation,
    Profile,
    decide,
)
from coreviz_source.report import DatasetReport, Progress
from coreviz_source.run import Run
from coreviz_source.tables import BY_NAME, CAPTIONS, DATASETS, FRAMES, MEDIA, MEDIA_TAGS, NOTICES, OBJECTS, RUNS, Table
from coreviz_source.warehouse.locks import Locks
from coreviz_source.warehouse.state import utc
from coreviz_source.webhook import Webhook

#: How long removals are remembered.
_REMEMBERED = timedelta(days=365)
_COLUMNS = tuple(column.name for column in NOTICES.columns)
#: The columns whose share is watched.
_WATCHED = {table: [c for c in table.columns if c.api] for table in (MEDIA, FRAMES, CAPTIONS, OBJECTS)}
#: The tables with what media items may have.
_SHARED = dict(zip(SHARES, (CAPTIONS, FRAMES, MEDIA_TAGS), strict=True))

_log = logging.getLogger("coreviz_source")


class Notices:
    """The notices of one run over some datasets.

    Args:
        run: What the datasets of the run share.
        locks: The locks of the run.
        webhook: Receives the notices; None if there is none.
    """

    def __init__(self, run: Run, locks: Locks, webhook: Webhook | None) -> None:
        self._run = run
        self._stored = run.stored
        self._locks = locks
        self._webhook = webhook
        self._before: dict[str, Profile] = {}
        self._first_runs: dict[str, datetime] | None = None
        #: A sentence for each thing that could not be done.
        self.warnings: list[str] = []

    def note(self, event: Progress) -> None:
        """Reads what the rows of a dataset have, if a run is about to change them."""
        report = event.report
        if report is None or event.phase not in ("listed", "loading") or event.dataset_id in self._before:
            return
        try:
            if _compares(report) and self._is_usual_known(report):
                self._before[event.dataset_id] = self._profile(event.dataset_id)
        except CorevizError as error:
            self._warn(f"Notices about shares are left out: {error}")

    def finish(self, reports: Iterable[DatasetReport]) -> list[Notice]:
        """Writes the notices that begin or end with the run, and sends them. It never raises an error of this package.

        Args:
            reports: What was done with each dataset.

        Returns:
            The notices that begin or end.
        """
        if NOTICES.name not in self._stored.tables or RUNS.name not in self._stored.tables:
            return []
        reports = list(reports)
        try:
            notices = self._read()
            changed = [
                notice
                for seen in self._observations(reports, notices)
                for notice in decide(seen, notices, self._run.id)
            ]
            if changed:
                self._write(changed)
            self._send(changed, self._late(changed, notices, reports))
        except CorevizError as error:
            self._warn(f"Notices could not be read or written: {error}")
            return []
        return changed

    def _warn(self, problem: str) -> None:
        _log.warning("%s", problem)
        self.warnings.append(problem)

    def _read(self) -> list[Notice]:
        columns = ", ".join(f"{{{{{name}}}}}" for name in _COLUMNS)
        notices = []
        for row in self._stored.query(f"SELECT {columns} FROM {{{NOTICES.name}}}"):
            values = dict(zip(_COLUMNS, row, strict=True))
            moments = {name: utc(values[name]) for name in ("began_at", "ended_at", "notified_at")}
            notices.append(Notice(**{**values, **moments}))
        return notices

    # -- what a run has found ----------------------------------------------------------------------------------

    def _observations(self, reports: Sequence[DatasetReport], notices: Sequence[Notice]) -> list[Observation]:
        moments = [report.started_at for report in reports if report.started_at]
        now = max(moments, default=datetime.now(timezone.utc))
        found = [self._observation(report, notices, now) for report in reports]
        account = self._run.account
        if account is not None and DATASETS.name in self._stored.tables:
            mirrored = {report.dataset_id for report in reports}
            found += [
                Observation(dataset_id, now, is_listed=False)
                for dataset_id, owner in self._stored.query("SELECT id, organization_id FROM {datasets}")
                if dataset_id not in mirrored and account.lists(dataset_id, owner) is False
            ]
        return found

    def _observation(self, report: DatasetReport, notices: Sequence[Notice], now: datetime) -> Observation:
        dataset_id, moment = report.dataset_id, report.started_at or now
        if report.outcome == "failed":
            is_missing = report.exit_code == DatasetNotFoundError.exit_code and self._run.stores(dataset_id)
            return Observation(dataset_id, moment, is_listed=False if is_missing else None)
        seen = Observation(dataset_id, moment, is_listed=True)
        own = [notice for notice in notices if notice.is_open and notice.dataset_id == dataset_id]
        is_open = {notice.kind for notice in own}
        if not (_compares(report) or report.unknown_fields or report.gone or own):
            # nothing to decide, and nothing to ask the warehouse
            return seen
        seen = replace(seen, known_since=self._known_since().get(dataset_id))
        if report.unknown_fields and seen.known_since:
            earlier = self._earlier_fields(dataset_id)
            seen = replace(
                seen,
                fields={name: earlier.get(name) for name in report.unknown_fields},
                declared=frozenset(filter(_is_declared, report.unknown_fields)),
            )
        if report.gone or MANY_REMOVALS in is_open:
            removals = self._removals(dataset_id, moment)
            seen = replace(seen, removals=removals, stored=self._stored.count(dataset_id))
        if _compares(report) or (report.complete and own):
            kept = [n.subject for n in own if n.kind in (NEW_FIELD, CHANGED_TYPE)]
            last = self._run.last_runs(dataset_id).complete
            seen = replace(
                seen,
                kept_fields=frozenset(name for name in kept if self._is_kept(dataset_id, name)),
                before=self._before.get(dataset_id),
                after=self._profile(dataset_id) if seen.is_usual_known else None,
                # a warehouse may cut days in another time zone
                compared_until=(last - timedelta(days=1)).date() if last else date.min,
            )
        return seen

    def _is_usual_known(self, report: DatasetReport) -> bool:
        since = self._known_since().get(report.dataset_id)
        moment = report.started_at
        return moment is not None and Observation(report.dataset_id, moment, since).is_usual_known

    def _known_since(self) -> dict[str, datetime]:
        """When the first complete run of each dataset began, without this run."""
        if RUNS.name not in self._stored.tables:
            return {}
        if self._first_runs is None:
            rows = self._stored.query(
                "SELECT dataset_id, MIN(started_at) FROM {_coreviz_runs} "
                "WHERE outcome = 'complete' AND run <> %s GROUP BY dataset_id",
                self._run.id,
            )
            self._first_runs = {dataset_id: began for dataset_id, value in rows if (began := utc(value))}
        return self._first_runs

    def _earlier_fields(self, dataset_id: str) -> dict[str, datetime]:
        """The fields that earlier runs kept in `extra`, and when the last of these began."""
        fields = self._stored.connection.destination.json_as_text.format("unknown_fields")
        found: dict[str, datetime] = {}
        for names, value in self._stored.query(
            f"SELECT {fields}, MAX(started_at) FROM {{_coreviz_runs}} WHERE dataset_id = %s AND run <> %s GROUP BY 1",
            dataset_id,
            self._run.id,
        ):
            if began := utc(value):
                found |= {name: max(began, found.get(name, began)) for name in json.loads(names or "[]")}
        return found

    def _removals(self, dataset_id: str, moment: datetime) -> list[tuple[datetime, int]]:
        rows = self._stored.query(
            "SELECT r.started_at, r.gone FROM {_coreviz_runs} r "
            "WHERE r.dataset_id = %s AND r.gone > 0 AND r.started_at > %s",
            dataset_id,
            moment - _REMEMBERED,
        )
        return [(began, removed) for value, removed in rows if (began := utc(value))]

    def _is_kept(self, dataset_id: str, name: str) -> bool:
        """Whether a stored row has a field in `extra`."""
        table, _, key = name.partition(".")
        if table not in BY_NAME or table not in self._stored.tables:
            return False
        extra = self._stored.connection.destination.json_as_text.format("extra")
        sql = f"SELECT 1 FROM {{{table}}} WHERE dataset_id = %s AND extra IS NOT NULL AND {extra} LIKE %s LIMIT 1"
        return bool(self._stored.query(sql, dataset_id, f'%"{key}"%'))

    def _profile(self, dataset_id: str) -> Profile:
        """What the rows of a dataset have, by media type and day of upload."""
        found: dict[str, dict[str, dict[date, tuple[int, int]]]] = {}
        for table, columns in _WATCHED.items():
            if table.name not in self._stored.tables or MEDIA.name not in self._stored.tables:
                continue
            names = [f"{table.name}.{column.api}" for column in columns]
            counted = [f"COUNT(r.{{{{{column.name}}}}})" for column in columns]
            joins = "" if table is MEDIA else " JOIN {media} m ON m.dataset_id = r.dataset_id AND m.id = r.media_id"
            media = "r" if table is MEDIA else "m"
            if table is MEDIA:
                names += _SHARED
                counted += [f"COUNT({children.name}.media_id)" for children in _SHARED.values()]
                joins = "".join(map(_presence, _SHARED.values()))
            rows = self._stored.query(
                f"SELECT {media}.{{{{type}}}}, CAST({media}.created_at AS DATE), COUNT(*), {', '.join(counted)} "
                f"FROM {{{table.name}}} r{joins} WHERE r.dataset_id = %s AND {media}.created_at IS NOT NULL "
                f"AND {media}.deleted_at IS NULL GROUP BY 1, 2",
                dataset_id,
            )
            for media_type, day, of, *having in rows:
                for name, number in zip(names, having, strict=True):
                    found.setdefault(name, {}).setdefault(media_type or "", {})[day] = (number, of)
        return found

    # -- what is written and sent ------------------------------------------------------------------------------

    def _write(self, changed: Sequence[Notice]) -> None:
        begun = [notice for notice in changed if notice.is_open]
        names = [name for name in _COLUMNS if name not in ("ended_at", "notified_at")]
        with self._locks.load(), self._stored.connection.client() as client:
            stored = dict(client.get_storage_tables([NOTICES.name]))[NOTICES.name]
            # the load of the run's own row, which is complete; a run without datasets has none
            loads = self._stored.query("SELECT _dlt_load_id FROM {_coreviz_runs} WHERE run = %s LIMIT 1", self._run.id)
            load_id = loads[0][0] if loads else create_load_id()
            has_transactions = self._stored.connection.destination.has_transactions
            with client.sql_client.begin_transaction() if has_transactions else nullcontext():
                if begun:
                    columns = {name: [getattr(notice, name) for notice in begun] for name in names}
                    insert(client, NOTICES.name, columns, load_id, numbered=C_DLT_ID in stored)
                    if not loads:
                        client.complete_load(load_id)
                for notice in changed:
                    if not notice.is_open:
                        self._update(notice, "ended_at", "run")
        forget_settings()

    def _update(self, notice: Notice, *names: str) -> None:
        with self._stored.connection.client() as client:
            sql = client.sql_client
            values = ", ".join(f"{sql.escape_column_name(name)} = %s" for name in names)
            key = " AND ".join(f"{sql.escape_column_name(name)} = %s" for name in NOTICES.key)
            sql.execute_sql(
                f"UPDATE {sql.make_qualified_table_name(NOTICES.name)} SET {values} WHERE {key}",
                *(getattr(notice, name) for name in (*names, *NOTICES.key)),
            )

    def _send(self, changed: Sequence[Notice], late: Sequence[Notice]) -> None:
        """Sends what begins or ends, and once more what the webhook did not accept from the run before."""
        sent = [*changed, *late]
        if self._webhook is None or not sent:
            return
        problem = self._webhook.send(self._run.id, sent)
        if problem:
            again = "The next run sends them once more." if changed else "They are not sent again."
            self._warn(f"The webhook did not accept the notices: {problem}. {again}")
            return
        now = datetime.now(timezone.utc)
        with self._locks.load():
            for notice in sent:
                self._update(replace(notice, notified_at=max(now, notice.ended_at or notice.began_at)), "notified_at")

    def _late(
        self, changed: Sequence[Notice], notices: Sequence[Notice], reports: Sequence[DatasetReport]
    ) -> list[Notice]:
        """The notices that the run before found, and that were not accepted."""
        keys = {_key(notice) for notice in changed}
        waiting = [notice for notice in notices if not notice.is_sent and _key(notice) not in keys]
        if not waiting or self._webhook is None:
            return []
        runs = self._stored.query(
            "SELECT dataset_id, run, started_at FROM (SELECT r.dataset_id, r.run, r.started_at, "
            "ROW_NUMBER() OVER (PARTITION BY r.dataset_id ORDER BY r.started_at DESC, r._dlt_load_id DESC) AS place "
            "FROM {_coreviz_runs} r WHERE r.run <> %s) latest WHERE place = 1 ORDER BY started_at DESC",
            self._run.id,
        )
        # other runs load other datasets; one that the account no longer lists has no run of its own
        before = {dataset_id: run for dataset_id, run, _ in runs}
        mirrored = {report.dataset_id for report in reports}
        return [
            notice
            for notice in waiting
            if (notice.dataset_id in mirrored and notice.run == before.get(notice.dataset_id))
            or (notice.kind == MISSING_DATASET and runs and notice.run == runs[0][1])
        ]


def _key(notice: Notice) -> tuple[str, str, str, datetime]:
    return notice.dataset_id, notice.kind, notice.subject, notice.began_at


def _is_declared(name: str) -> bool:
    """Whether a field, such as `media.width`, has a column."""
    table, _, key = name.partition(".")
    return table in BY_NAME and key in BY_NAME[table].api_fields


def _compares(report: DatasetReport) -> bool:
    """Whether a run listed the whole dataset, and changed something."""
    return report.complete and bool(report.new or report.changed or report.gone)


def _presence(children: Table) -> str:
    """A join with the media items that have rows in a table."""
    name = children.name
    return (
        f" LEFT JOIN (SELECT DISTINCT dataset_id, media_id FROM {{{name}}}) {name} "
        f"ON {name}.dataset_id = r.dataset_id AND {name}.media_id = r.id"
    )
