"""The status as metrics in Prometheus' text format, for the textfile collector of node_exporter."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from importlib import metadata
from typing import NamedTuple

from coreviz_source.commands.status import DatasetStatus, Status
from coreviz_source.notices import KINDS
from coreviz_source.report import BAD_OUTCOMES

_ESCAPED = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})


class Sample(NamedTuple):
    """One value of a metric."""

    labels: dict[str, str]
    value: float


class Metric(NamedTuple):
    """A metric with its values. All of them are gauges."""

    name: str
    meaning: str
    samples: list[Sample]


def prometheus(status: Status) -> str:
    """The status in Prometheus' text format."""
    return "".join(f"{line}\n" for metric in metrics(status) for line in _lines(metric))


def _lines(metric: Metric) -> Iterator[str]:
    yield f"# HELP {metric.name} {metric.meaning}"
    yield f"# TYPE {metric.name} gauge"
    for labels, value in metric.samples:
        shown = ",".join(f'{name}="{text.translate(_ESCAPED)}"' for name, text in labels.items())
        yield f"{metric.name}{f'{{{shown}}}' if shown else ''} {value:.17g}"


def metrics(status: Status) -> list[Metric]:
    """The metrics of a warehouse. Times are seconds since 1970; a time that is not known has no value."""
    version = metadata.version("coreviz-source")
    found = [
        Metric("coreviz_build_info", "Version of coreviz-source.", [Sample({"version": version}, 1)]),
        Metric("coreviz_pending_packages", "Packages of an interrupted run.", [Sample({}, status.pending_packages)]),
        *_of_runs(status.datasets),
        *_of_rows(status.datasets),
    ]
    if status.max_age is not None:
        found.append(
            Metric(
                "coreviz_stale",
                "Whether the last run that ended well is older than --max-age, or there is none.",
                [Sample(_of(d), d.stale) for d in status.datasets],
            )
        )
    return [metric for metric in found if metric.samples]


def _of_runs(datasets: Iterable[DatasetStatus]) -> list[Metric]:
    """What the last runs did, and when."""
    return [
        _times("coreviz_last_run_timestamp_seconds", "When the last run began.", datasets, "last_run"),
        _times(
            "coreviz_last_good_run_timestamp_seconds",
            "When the last run began that ended well.",
            datasets,
            "last_good",
        ),
        _times(
            "coreviz_last_complete_run_timestamp_seconds",
            "When the last run began that listed everything.",
            datasets,
            "last_complete",
        ),
        Metric(
            "coreviz_last_run_success",
            "Whether the last run ended well.",
            [Sample(_of(d), d.outcome not in BAD_OUTCOMES) for d in datasets if d.outcome],
        ),
        Metric(
            "coreviz_last_run_items",
            "Media items and folders of the last run, by what happened to them.",
            [
                Sample({**_of(d), "change": "deleted" if name == "gone" else name}, d.counts[name])
                for d in datasets
                for name in ("new", "changed", "gone", "unchanged")
                if name in d.counts
            ],
        ),
        Metric(
            "coreviz_last_run_requests",
            "Requests of the last run, retries included.",
            [Sample(_of(d), d.counts["requests"]) for d in datasets if "requests" in d.counts],
        ),
        Metric(
            "coreviz_last_run_retries",
            "Requests that the last run sent again.",
            [Sample(_of(d), d.counts["retries"]) for d in datasets if "retries" in d.counts],
        ),
    ]


def _of_rows(datasets: Iterable[DatasetStatus]) -> list[Metric]:
    """What is stored, and which notices are open."""
    return [
        Metric("coreviz_media", "Media items stored.", [Sample(_of(d), d.media) for d in datasets]),
        Metric(
            "coreviz_media_without_caption",
            "Media items stored that have no caption.",
            [Sample(_of(d), d.without_caption) for d in datasets],
        ),
        Metric(
            "coreviz_rows",
            "Rows stored, by table.",
            [Sample({**_of(d), "table": name}, rows) for d in datasets for name, rows in sorted(d.rows.items())],
        ),
        Metric(
            "coreviz_open_notices",
            "Open notices, by kind.",
            [
                Sample({**_of(d), "kind": kind}, sum(notice.kind == kind for notice in d.notices))
                for d in datasets
                for kind in KINDS
            ],
        ),
    ]


def _of(dataset: DatasetStatus) -> dict[str, str]:
    return {"dataset_id": dataset.dataset_id}


def _times(name: str, meaning: str, datasets: Iterable[DatasetStatus], attribute: str) -> Metric:
    moments: list[tuple[DatasetStatus, datetime | None]] = [(d, getattr(d, attribute)) for d in datasets]
    return Metric(name, meaning, [Sample(_of(d), moment.timestamp()) for d, moment in moments if moment])
