"""What `media_history` and `caption_history` must hold, worked out from a Studio's states and not from our code.

After each run the recorder takes the state of the library and what the run's outcome says was seen of it. Where that
does not follow (a run was killed, or a media item is older than what a window covers), the recorder keeps both
readings of that item, until the warehouse shows which one holds. It then has to be that one to the end.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, NamedTuple

from tests.truth import Row

#: Whether a run saw an item: its present state, possibly that or nothing, nothing.
Seen = Literal["yes", "maybe", "no"]
#: The columns that make a version, as the documents name them.
MEDIA = ("name", "description", "prompt", "type", "folder_id", "status", "moderation_status", "size_bytes", "metadata")
CAPTION = ("text", "model", "status", "frame_id", "media_id")


class Version(NamedTuple):
    """One row of history. `began` and `ended` are numbers of runs, `values` is the item as JSON."""

    values: str
    began: int
    change: str
    ended: int | None = None
    ended_by: str | None = None

    def __str__(self) -> str:
        return f"{self.change} in {self.began}, {self.ended_by} in {self.ended}: {self.values[:300]}"


#: The versions of one item, oldest first.
Past = tuple[Version, ...]
#: A table, a dataset, and an item in it.
Key = tuple[str, str, str]


def step(past: Past, now: str | None, run: int) -> Past:
    """The versions of an item after a run that saw it as `now`, None if it was not there."""
    before = past[-1] if past and past[-1].ended is None else None
    if before is None:
        return past if now is None else (*past, Version(now, run, "returned" if past else "added"))
    if now is None:
        return (*past[:-1], before._replace(ended=run, ended_by="removed"))
    if now == before.values:
        return past
    return (*past[:-1], before._replace(ended=run, ended_by="changed"), Version(now, run, "changed"))


def as_json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)


def states(tables: dict[str, list[Row]]) -> dict[Key, str]:
    """The items of a library in the columns that make a version; `tables` is the truth about the library."""
    tags: dict[tuple[str, str], dict[str, list[str]]] = defaultdict(dict)
    for row in tables["media_tags"]:
        tags[row["dataset_id"], row["media_id"]].setdefault(row["tag_group"], []).append(row["tag"])
    found = {}
    for row in tables["media"]:
        # the service deletes a media item by its status
        if row["status"] != "deleted":
            of_it = tags[row["dataset_id"], row["id"]]
            found["media_history", row["dataset_id"], row["id"]] = media_state(row, of_it)
    for row in tables["captions"]:
        found["caption_history", row["dataset_id"], row["id"]] = caption_state(row)
    return found


def media_state(row: Row, tags: dict[str, list[str]] | None) -> str:
    return as_json({**{name: row[name] for name in MEDIA}, "tags": {g: sorted(v) for g, v in (tags or {}).items()}})


def caption_state(row: Row) -> str:
    return as_json({name: row[name] for name in CAPTION})


@dataclass
class Run:
    """A run over one dataset: when it began, its time and its id. Those of a killed run are not known at first."""

    clock: datetime
    killed: bool = False
    time: datetime | None = None
    id: str | None = None

    def may_have(self, time: datetime) -> bool:
        """Whether it was killed, and can have had this time."""
        return self.killed and self.time is None and 0 <= (time - self.clock).total_seconds() < 1


class Recorder:
    """The history of a library as its runs saw it."""

    def __init__(self) -> None:
        self.runs: list[dict[str, Run]] = []
        self._pasts: dict[Key, set[Past]] = defaultdict(lambda: {()})
        self._created: dict[tuple[str, str], datetime] = {}
        self._media_of: dict[tuple[str, str], set[str]] = defaultdict(set)

    def begin(self, datasets: Iterable[str], clock: datetime) -> int:
        """Notes a run that begins now; returns its number."""
        self.runs.append({dataset: Run(clock) for dataset in datasets})
        return len(self.runs) - 1

    def observe(self, dataset: str, tables: dict[str, list[Row]], seen: Callable[[datetime, bool], Seen]) -> None:
        """Takes the state of a dataset after the last run.

        Args:
            dataset: Its canonical id.
            tables: The truth about the library.
            seen: Whether the run saw a media item, by the time of its creation and by whether it is there.
        """
        number = len(self.runs) - 1
        for row in tables["media"]:
            self._created[row["dataset_id"], row["id"]] = row["created_at"]
        for row in tables["captions"]:
            self._media_of[row["dataset_id"], row["id"]].add(row["media_id"])
        now = states(tables)
        for key in {*now, *self._pasts}:
            table, of, item = key
            if of != dataset:
                continue
            media = [item] if table == "media_history" else sorted(self._media_of[of, item])
            # a caption that is not there may have left a media item that is
            answers = {seen(self._created[of, one], ("media_history", of, one) in now) for one in media}
            (answer,) = answers if len(answers) == 1 else ("maybe",)
            if answer != "no":
                after = {step(past, now.get(key), number) for past in self._pasts[key]}
                self._pasts[key] = after if answer == "yes" else self._pasts[key] | after

    def compare(self, found: dict[str, list[Row]]) -> list[str]:
        """A sentence for each item whose rows are not what they must be; what they show is then known.

        Args:
            found: The rows of both tables; those of `media_history` have the id of the media item in `id`.
        """
        problems: list[str] = []
        rows: dict[Key, list[Row]] = defaultdict(list)
        for table in ("media_history", "caption_history"):
            for row in found[table]:
                rows[table, row["dataset_id"], row["id"]].append(row)
        for key in {*rows, *self._pasts}:
            try:
                past = tuple(self._version(key, row) for row in sorted(rows[key], key=lambda r: r["valid_from"]))
            except LookupError as error:
                problems.append(f"{key}: {error.args[0]}")
                continue
            if past in self._pasts[key]:
                self._pasts[key] = {past}
            else:
                readings = [("found", past), *(("expected", one) for one in sorted(self._pasts[key]))]
                problems.append(
                    "\n".join(
                        [f"{key}:", *(f"  {what} {version}" for what, one in readings for version in one or (None,))]
                    )
                )
        return problems

    def _version(self, key: Key, row: Row) -> Version:
        table, dataset, _ = key
        began = self._at(dataset, row["valid_from"], row["run"])
        ended = None if row["valid_to"] is None else self._at(dataset, row["valid_to"], None)
        values = media_state(row, row["tags"]) if table == "media_history" else caption_state(row)
        return Version(values, began, row["change"], ended, row["ended_by"])

    def _at(self, dataset: str, time: datetime, run_id: str | None) -> int:
        """The number of the run with a time; that of a killed run is within the second in which it began."""
        known = [number for number, run in enumerate(self.runs) if run[dataset].time == time]
        killed = [number for number, run in enumerate(self.runs) if run[dataset].may_have(time)]
        if not (known or killed):
            raise LookupError(f"no run was at {time}")
        number = (known or killed)[0]
        run_of = self.runs[number][dataset]
        if run_id is not None and run_id != (run_of.id or run_id):
            raise LookupError(f"the run at {time} was {run_of.id}, not {run_id}")
        return number

    @property
    def open(self) -> int:
        """How many items the warehouse has not yet shown which reading of them holds."""
        return sum(len(pasts) > 1 for pasts in self._pasts.values())

    @property
    def versions(self) -> int:
        """How many versions there must be, where that is known."""
        return sum(len(past) for pasts in self._pasts.values() if len(pasts) == 1 for past in pasts)
