"""Notices: changes of a dataset that people should know of, decided against the dataset's own history.

This module is pure: it reads no clock and no warehouse. `decide()` gets what is stored of the history, what a run
found, and the notices so far, and returns those that begin or end. `loading.notices` reads and writes them.

Shares are compared among media items of one type, because a video has other fields than an image. Only the tables
remember a share, so it is compared in two ways. Uploads of the newest days are compared with those of earlier days,
which finds what stops for new media items. Media items that were stored before a run are compared with themselves after
it, which finds what a run took away from all of them at once.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from statistics import fmean, pstdev
from typing import Any, NamedTuple

NEW_FIELD = "new_field"
CHANGED_TYPE = "changed_type"
MISSING_FIELD = "missing_field"
FALLEN_SHARE = "fallen_share"
MANY_REMOVALS = "many_removals"
MISSING_DATASET = "missing_dataset"

#: What each kind of notice means; `{}` is its subject.
KINDS = {
    NEW_FIELD: "the field {} is new",
    CHANGED_TYPE: "values of {} no longer fit the type of its column",
    MISSING_FIELD: "the field {} is missing",
    FALLEN_SHARE: "fewer media items than usual have {}",
    MANY_REMOVALS: "more media items and folders than usual were removed",
    MISSING_DATASET: "the API no longer has the dataset",
}
#: What media items may have, whose share is watched.
SHARES = ("captions", "frames", "tags")

#: A dataset is too new to tell what is usual until its first complete run is so long ago.
TOO_NEW = timedelta(days=14)
#: What lasts so long is usual.
USUAL_AFTER = timedelta(days=30)
#: A block of uploads has at least so many rows, of at least so many days: a single upload of many files is no trend.
BLOCK_ROWS, BLOCK_DAYS = 30, 5
#: How many of the newest blocks are compared at most, with how many earlier ones at least and at most.
NEWEST_BLOCKS, FEWEST_BLOCKS, MOST_BLOCKS = 4, 6, 12
#: The fewest rows that are compared with themselves.
FEWEST_ROWS = 50
#: Uploads younger than this are left out: people tag later than models write captions, some at the end of a month.
SETTLED = {"tags": timedelta(days=35)}
SETTLED_OTHERWISE = timedelta(days=2)
LONGEST_SETTLED = timedelta(days=60)
#: A share has fallen from at least USUAL_SHARE to less than FALLEN of it; a field that nearly every row had is missing
#: from all.
USUAL_SHARE, FALLEN, USUAL_FIELD = 0.3, 0.5, 0.9
#: By how many standard deviations of the earlier blocks a share has to be lower than their mean.
DEVIATIONS = 6
#: A share is back at so much of the best block, if that is high, or other blocks are much lower.
BACK, HIGH = 0.7, 0.8
#: The removals of a day are unusual from so many on, if they are more than this share of the dataset, and so many times
#: those of any earlier day.
MANY, MANY_SHARE, MANY_TIMES = 20, 0.1, 3
#: Open notices of one kind per dataset: an API that makes up names of fields must not fill the table.
MOST_OPEN = 20

_FIELD = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,79}")


@dataclass(frozen=True)
class Notice:
    """A change of a dataset that people should know of: one row of `_coreviz_notices`.

    Attributes:
        dataset_id: Id of the dataset.
        kind: What changed: `new_field`, `changed_type`, `missing_field`, `fallen_share`, `many_removals` or
            `missing_dataset`.
        subject: The field or table that it is about; empty if it is the dataset.
        began_at: When the run began that found it.
        ended_at: When the run began that found it over; None while it is open.
        notified_at: When the webhook last accepted it.
        run: Id of the run that found it, or that found it over.
        detail: Counts and dates; only known in the run that found it.
    """

    dataset_id: str
    kind: str
    subject: str
    began_at: datetime
    ended_at: datetime | None = None
    notified_at: datetime | None = None
    run: str = ""
    detail: str = ""

    @property
    def is_open(self) -> bool:
        """Whether it has not ended."""
        return self.ended_at is None

    @property
    def is_sent(self) -> bool:
        """Whether the webhook has accepted its present state."""
        return self.notified_at is not None and (self.ended_at is None or self.notified_at >= self.ended_at)

    @property
    def text(self) -> str:
        """A sentence about it. Of what the API sent, it contains only names of fields."""
        what = KINDS.get(self.kind, self.kind).format(self.subject)
        detail = f" ({self.detail})" if self.detail else ""
        if self.ended_at is None:
            return f"since {self.began_at:%Y-%m-%d %H:%M} UTC {what}{detail}"
        return (
            f"over since {self.ended_at:%Y-%m-%d %H:%M} UTC, begun {self.began_at:%Y-%m-%d %H:%M} UTC: {what}{detail}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Its columns and its text as JSON values, with times in ISO 8601."""
        moments = {name: getattr(self, name) for name in ("began_at", "ended_at", "notified_at")}
        return {
            "dataset_id": self.dataset_id,
            "kind": self.kind,
            "subject": self.subject,
            **{name: moment.isoformat() if moment else None for name, moment in moments.items()},
            "run": self.run,
            "text": self.text,
        }


#: Rows that have something, and all rows, by day of upload.
Days = Mapping[date, tuple[int, int]]
#: These by media type, by what the rows have: `captions`, or a field such as `media.sizeBytes`.
Profile = Mapping[str, Mapping[str, Days]]


@dataclass(frozen=True)
class Observation:
    """What is known about a dataset when a run of it has ended.

    Attributes:
        dataset_id: Its canonical id.
        moment: When the run began.
        known_since: When its first complete run began; None if this is the first.
        is_listed: Whether the API has it; None if that is not known.
        fields: Fields that this run kept in `extra`, and when the last earlier run that did so began.
        declared: Those of the fields that have a column, so that only their values did not fit.
        kept_fields: The fields of open notices that a stored row still has in `extra`; None if the run did not
            list everything.
        removals: When runs removed something, and how much; None if this run removed nothing and no notice is open.
        stored: Its media items.
        before: What rows had before the run; None if it did not list everything, or changed nothing.
        after: The same after the run; None if it did not list everything, or changed nothing and no notice is open.
        compared_until: Rows of earlier days than this were compared in an earlier complete run.
    """

    dataset_id: str
    moment: datetime
    known_since: datetime | None = None
    is_listed: bool | None = None
    fields: Mapping[str, datetime | None] = field(default_factory=dict)
    declared: frozenset[str] = frozenset()
    kept_fields: frozenset[str] | None = None
    removals: Sequence[tuple[datetime, int]] | None = None
    stored: int = 0
    before: Profile | None = None
    after: Profile | None = None
    compared_until: date = field(default=date.min)

    @property
    def is_usual_known(self) -> bool:
        """Whether the dataset is old enough to tell what is usual."""
        return self.known_since is not None and self.moment - self.known_since >= TOO_NEW


def decide(seen: Observation, notices: Iterable[Notice], run: str) -> list[Notice]:
    """The notices that begin or end with a run.

    Args:
        seen: What is known about the dataset.
        notices: The notices so far, open and ended; those of other datasets are ignored.
        run: Id of the run.
    """
    own = [notice for notice in notices if notice.dataset_id == seen.dataset_id]
    is_open = {(notice.kind, notice.subject) for notice in own if notice.is_open}
    fields = list(_new_fields(seen, own))
    # values that do not fit are missing from their column: that is one notice, not two
    explained = is_open | {(one.kind, one.subject) for one in fields}
    shares = [one for one in _shares(seen, own) if (CHANGED_TYPE, one.subject) not in explained]
    findings = [*_missing_dataset(seen), *fields, *_removals(seen), *shares]
    found = {(one.kind, one.subject) for one in findings}
    ended = [
        replace(notice, ended_at=max(seen.moment, notice.began_at), run=run, detail=detail)
        for notice in own
        if notice.is_open and (notice.kind, notice.subject) not in found and (detail := _end(seen, notice, own))
    ]
    begun: list[Notice] = []
    room = {kind: MOST_OPEN - sum(1 for one, _ in is_open if one == kind) for kind in KINDS}
    for one in findings:
        if (one.kind, one.subject) not in is_open and room[one.kind] > 0:
            room[one.kind] -= 1
            begun.append(Notice(seen.dataset_id, one.kind, one.subject, seen.moment, run=run, detail=one.detail))
    return begun + ended


class _Finding(NamedTuple):
    """What is not as usual."""

    kind: str
    subject: str
    detail: str


def _end(seen: Observation, notice: Notice, own: Sequence[Notice]) -> str:
    """Why a notice ends, if it does: what it is about was not found again in this run."""
    lasted = seen.moment - notice.began_at
    if notice.kind == MISSING_DATASET:
        return "the API has it again" if seen.is_listed else ""
    if notice.kind == MANY_REMOVALS:
        return "as few as usual" if seen.removals is not None and lasted > timedelta(days=1) else ""
    if notice.kind in (NEW_FIELD, CHANGED_TYPE):
        if seen.kept_fields is not None and notice.subject not in seen.kept_fields:
            return "no stored row has such a value"
    elif seen.after is not None and _is_back(seen, notice, own):
        return "as usual again"
    if notice.kind == CHANGED_TYPE or (notice.kind != NEW_FIELD and seen.after is None):
        return ""
    return f"for {USUAL_AFTER.days} days now, which counts as usual" if lasted >= USUAL_AFTER else ""


def _missing_dataset(seen: Observation) -> Iterator[_Finding]:
    if seen.is_listed is False:
        yield _Finding(MISSING_DATASET, "", "its rows stay as they are")


def is_field(name: str) -> bool:
    """Whether something looks like the name of a field, and may be part of a message."""
    return _FIELD.fullmatch(name) is not None


def _new_fields(seen: Observation, own: Sequence[Notice]) -> Iterator[_Finding]:
    # what the first complete run finds is not new
    for name, last in sorted(seen.fields.items()) if seen.known_since else ():
        kind = CHANGED_TYPE if name in seen.declared else NEW_FIELD
        if is_field(name) and _is_new(last, [n for n in own if (n.kind, n.subject) == (kind, name)]):
            yield _Finding(kind, name, "its values are kept in `extra`")


def _is_new(last: datetime | None, earlier: Sequence[Notice]) -> bool:
    """Whether a field is found for the first time, or again after its notice had ended because it was nowhere."""
    latest = max(earlier, key=lambda notice: notice.began_at, default=None)
    if latest is None or latest.ended_at is None:
        return last is None
    was_usual = latest.kind == NEW_FIELD and latest.ended_at - latest.began_at >= USUAL_AFTER
    return not was_usual and (last is None or last <= latest.ended_at)


def _removals(seen: Observation) -> Iterator[_Finding]:
    if seen.removals is None or not seen.is_usual_known:
        return
    day_before = seen.moment - timedelta(days=1)
    last = sum(removed for moment, removed in seen.removals if moment > day_before)
    earlier: dict[date, int] = {}
    for moment, removed in seen.removals:
        if moment <= day_before:
            earlier[moment.date()] = earlier.get(moment.date(), 0) + removed
    most = max(earlier.values(), default=0)
    if last >= max(MANY, MANY_SHARE * (seen.stored + last), MANY_TIMES * most):
        yield _Finding(MANY_REMOVALS, "", f"{last:,} within a day, of {seen.stored + last:,}; earlier at most {most:,}")


def _shares(seen: Observation, own: Sequence[Notice]) -> Iterator[_Finding]:
    if seen.after is None or not seen.is_usual_known:
        return
    for subject, types in seen.after.items():
        is_share = subject in SHARES
        kind = FALLEN_SHARE if is_share else MISSING_FIELD
        until = _settled_until(seen, kind, subject, own)
        for media_type, days in types.items():
            before = (seen.before or {}).get(subject, {}).get(media_type, {})
            detail = _fell_in_uploads(days, until, is_share) or _fell_in_stored(
                before, days, seen.compared_until, is_share
            )
            if detail:
                what = "media items" if is_share else f"rows in `{subject.partition('.')[0]}`"
                yield _Finding(kind, subject, f"{detail} of {what} of type {_shown(media_type)}")
                break


def _shown(media_type: str) -> str:
    return media_type if media_type in ("image", "video", "pdf") else "other"


def _settled_until(seen: Observation, kind: str, subject: str, own: Sequence[Notice]) -> date:
    """The day from which on uploads are too young: what was late before, and came, may be as late again."""
    late = [n.ended_at - n.began_at for n in own if (n.kind, n.subject) == (kind, subject) and n.ended_at is not None]
    longest = max((one for one in late if one < USUAL_AFTER), default=timedelta(0))
    settled = SETTLED.get(subject, SETTLED_OTHERWISE) + longest
    return (seen.moment - min(settled, LONGEST_SETTLED)).date()


class _Block(NamedTuple):
    """Rows of neighbouring days of upload."""

    having: int
    of: int

    @property
    def share(self) -> float:
        return self.having / self.of


def _blocks(days: Days, until: date) -> list[_Block]:
    """Blocks of rows uploaded before a day, the newest first."""
    blocks: list[_Block] = []
    having = of = count = 0
    for day in sorted((day for day in days if day < until), reverse=True):
        having, of, count = having + days[day][0], of + days[day][1], count + 1
        if of >= BLOCK_ROWS and count >= BLOCK_DAYS:
            blocks.append(_Block(having, of))
            having = of = count = 0
            if len(blocks) == NEWEST_BLOCKS + MOST_BLOCKS:
                break
    return blocks


def _has_fallen(now: float, usual: float, is_share: bool) -> bool:
    return now <= FALLEN * usual and usual >= USUAL_SHARE if is_share else now == 0 and usual >= USUAL_FIELD


def _fell_in_uploads(days: Days, until: date, is_share: bool) -> str:
    """What to say of the newest uploads if they have less than any earlier ones; empty otherwise."""
    blocks = _blocks(days, until)
    # more than one block has fallen if nobody looked meanwhile
    for count in range(1, NEWEST_BLOCKS + 1):
        newest, earlier = blocks[:count], [block.share for block in blocks[count : count + MOST_BLOCKS]]
        if len(earlier) < FEWEST_BLOCKS:
            break
        now, usual = max(block.share for block in newest), min(earlier)
        if _has_fallen(now, usual, is_share) and now <= fmean(earlier) - DEVIATIONS * pstdev(earlier):
            having, of = sum(block.having for block in newest), sum(block.of for block in newest)
            return f"{having:,} of the {of:,} newest, earlier at least {usual:.0%},"
    return ""


def _fell_in_stored(before: Days, after: Days, until: date, is_share: bool) -> str:
    """What to say of the stored rows if a run took something away from them; empty otherwise."""
    earlier, now = _sum(before, until), _sum(after, until)
    if min(earlier.of, now.of) < FEWEST_ROWS or not _has_fallen(now.share, earlier.share, is_share):
        return ""
    return f"{now.having:,} of {now.of:,}, before {earlier.having:,} of {earlier.of:,},"


def _sum(days: Days, until: date) -> _Block:
    counted = [counts for day, counts in days.items() if day < until]
    return _Block(sum(having for having, _ in counted), sum(of for _, of in counted))


def _is_back(seen: Observation, notice: Notice, own: Sequence[Notice]) -> bool:
    """Whether a share is as usual again, for every media type that usually has it."""
    assert seen.after is not None
    is_share = notice.kind == FALLEN_SHARE
    back: list[bool] = []
    # the same uploads as when it began
    until = _settled_until(seen, notice.kind, notice.subject, own)
    for days in seen.after.get(notice.subject, {}).values():
        blocks, everything = _blocks(days, until), _sum(days, date.max)
        if not blocks:
            if everything.of >= FEWEST_ROWS:
                back.append(everything.share >= (HIGH if is_share else USUAL_FIELD))
            continue
        best, worst = max(block.share for block in blocks), min(block.share for block in blocks)
        if best >= USUAL_SHARE:
            # where all blocks are equal, nothing shows whether they have fallen
            is_known = best >= (HIGH if is_share else USUAL_FIELD) or worst <= FALLEN * best
            back.append(is_known and min(blocks[0].share, everything.share) >= BACK * best)
    return bool(back) and all(back)
