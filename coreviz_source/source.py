"""The dlt source `coreviz()`: its arguments, and a run of it from the settings to batches for dlt."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterator, Sequence
from datetime import date, datetime, timedelta
from functools import partial
from typing import Any, Literal

import dlt
from dlt.common.configuration import configspec
from dlt.common.configuration.specs import BaseConfiguration

from coreviz_source.loading.resources import Extraction, table_resources
from coreviz_source.loading.switches import check_refresh
from coreviz_source.loading.tracker import plain_runs
from coreviz_source.memory import Memory
from coreviz_source.mirror import Batch, Mirror
from coreviz_source.report import DatasetReport
from coreviz_source.selection import Selection
from coreviz_source.settings import Settings, resolve

_log = logging.getLogger(__name__)


@configspec
class _NoInjection(BaseConfiguration):
    """Keeps dlt from filling arguments from bare names such as API_KEY; `settings` resolves them instead."""


@dlt.source(name="coreviz", section="coreviz", spec=_NoInjection)
def coreviz(
    dataset_ids: Sequence[str] | str | None = None,
    *,
    api_key: str | None = None,
    base_url: str | None = None,
    lookback: str | timedelta | None = None,
    reconcile_every: str | timedelta | None = None,
    deletes: Literal["hard", "soft"] | None = None,
    max_deletes: float | None = None,
    date_from: str | date | datetime | None = None,
    date_to: str | date | datetime | None = None,
    page_size: int | None = None,
    parallel_requests: int | None = None,
    requests_per_second: float | None = None,
    max_media: int | None = None,
    resync: bool | None = None,
    ignored_fields: Sequence[str] | str | None = None,
) -> Any:
    """Mirrors datasets of a CoreViz Studio library: media, frames, captions, objects, tags, moderation, folders.

    Building the source asks nothing; requests are sent when it is extracted. Every argument that is left out is
    taken from dlt's configuration under `sources.coreviz` (the environment included: `SOURCES__COREVIZ__LOOKBACK`),
    else the default holds.

    Args:
        dataset_ids: Which datasets to mirror; UUIDs in either form, sent to the API as given. Default: every
            dataset that the account sees, where the API tells (its 2026 generation does).
        api_key: The key. Default: the dlt secret `sources.coreviz.api_key`, then the variable `COREVIZ_API_KEY`.
        base_url: Where the API is, https only except on loopback. Default: `https://lab.coreviz.io`.
        lookback: An ordinary run lists newest first and stops at media created before the last listing began minus
            this. Longer finds late captions of older media sooner, and costs requests. Default: `"7d"`.
        reconcile_every: A run whose last complete listing is older than this lists the whole dataset: that is what
            finds changes and removals of old media. `"0"`: always. Default: `"1d"`.
        deletes: What becomes of rows whose media is gone: `"hard"` removes them, `"soft"` keeps the last values and
            sets `media.deleted_at`. Default: `"hard"`.
        max_deletes: A run that would remove more than this share of a dataset's media stops instead and changes
            nothing; ten media may always go, unless it is 0. Default: 0.2.
        date_from: Only media created at or after this, UTC; for a backfill in slices. Default: no bound.
        date_to: Only media created before this, UTC. Default: no bound.
        page_size: Media a request. Default: 100.
        parallel_requests: Listing requests in flight. Default: 4.
        requests_per_second: Budget over all requests. Default: no bound.
        max_media: Stop after so many media: a sample, which never deletes. Default: no bound.
        resync: Load everything again, whatever the warehouse holds. Default: False.
        ignored_fields: Fields by the API's names, such as `"blob"` or `"frames.blob"`, whose value does not count when
            a media is compared: for those that change at every request, as signed addresses do. They are loaded
            all the same, whenever something else of the media changes. Default: none.

    Returns:
        A dlt source with a resource a table; choose some with `with_resources("media", "captions")`. Without
        `media` there is no memory: every run then loads all that it lists.

    Raises:
        ConfigurationError: A value is wrong; raised before anything is requested.
        AuthenticationError: There is no key.

    Extracting raises `PipelineStepFailed`, caused by an error of `coreviz_source.errors` that names the dataset and
    the remedy, if a dataset cannot be listed or too much would be removed; then nothing of the run is loaded.
    """
    settings = resolve(**locals())
    plain_runs.install()
    return table_resources(partial(_begin, settings), partial(_browse, settings))


def _begin(settings: Settings, selected: frozenset[str], stepped: frozenset[str]) -> Extraction:
    """The warehouse, locked against other runs, and all that this run has to write to it."""
    pipeline = dlt.current.pipeline()
    check_refresh(pipeline.refresh)
    locks = plain_runs.begin(pipeline)
    locks.take_datasets(settings.dataset_ids, shared=settings.sliced)
    memory = Memory(pipeline)
    memory.mend(selected, locks.load)
    return Extraction(locks, memory, _batches(settings, memory, Selection(selected, stepped)))


def _browse(settings: Settings, selected: frozenset[str]) -> Iterator[Batch]:
    """The rows of a library as they are, where there is no warehouse."""
    return _batches(settings, Memory.nothing(), Selection(selected))


def _batches(settings: Settings, memory: Memory, selection: Selection) -> Iterator[Batch]:
    with Mirror(settings, memory, selection, run=str(uuid.uuid4())) as mirror:
        for dataset in mirror.datasets():
            report = DatasetReport(dataset.id)
            yield from mirror.batches(dataset, report)
            if report.message:
                _log.warning("Dataset %s: %s", dataset.id, report.message)
