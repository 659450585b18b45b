"""The dlt source `coreviz()`: its arguments, and what happens when dlt extracts it."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from datetime import date, datetime, timedelta
from functools import partial
from typing import Any, Literal

import dlt
from dlt.common.configuration import configspec
from dlt.common.configuration.specs import BaseConfiguration

from coreviz_source.loading.configuration import SourceSettings
from coreviz_source.loading.resources import Extraction, table_resources
from coreviz_source.loading.switches import check_refresh
from coreviz_source.loading.tracker import active_pipeline, plain_runs
from coreviz_source.mirror import Mirror
from coreviz_source.run import Batch, Run
from coreviz_source.selection import Selection
from coreviz_source.settings import Settings
from coreviz_source.warehouse.connection import Connection
from coreviz_source.warehouse.destination import destination_of
from coreviz_source.warehouse.migrate import ensure_schema
from coreviz_source.warehouse.state import NothingStored, StoredState

_log = logging.getLogger(__name__)


@configspec
class _NoInjection(BaseConfiguration):
    """Keeps dlt from filling arguments from bare names such as API_KEY; `SourceSettings` resolves them instead."""


@dlt.source(name="coreviz", section="coreviz", spec=_NoInjection)
def coreviz(
    dataset_ids: Sequence[str] | str | None = None,
    *,
    organization_ids: Sequence[str] | str | None = None,
    api_key: str | None = None,
    token: str | None = None,
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
    history: bool | None = None,
    keep_snapshots: str | timedelta | None = None,
) -> Any:
    """Mirrors datasets of a CoreViz Studio library: media, frames, captions, objects, tags, moderation, folders.

    The source requests nothing when it is built, only when it is extracted. An argument that is left out is taken from
    dlt's configuration: `[sources.coreviz]`, or `[NAME.sources.coreviz]` for the pipeline NAME, or the environment
    (`SOURCES__COREVIZ__LOOKBACK`). If it is not there either, the default applies.

    Args:
        dataset_ids: Datasets to mirror, as UUIDs in either form. Default: all that the account sees.
        organization_ids: Organizations whose datasets are mirrored. Cannot be combined with `dataset_ids`. Default:
            all.
        api_key: API key, made in CoreViz Studio under Settings, API keys. Keep it in `.dlt/secrets.toml` or in the
            variable `COREVIZ_API_KEY`. Default: none.
        token: Session token to use instead of an API key, sent as `Authorization: Bearer`. Keep it in
            `.dlt/secrets.toml` or in the variable `COREVIZ_TOKEN`. Default: none.
        base_url: Address of the API: https only, except on loopback. Default: `"https://lab.coreviz.io"`.
        lookback: An ordinary run lists the newest media first, and stops at media created this long before the last
            listing began. A longer time finds late captions of older media sooner, and costs requests. Default: `"7d"`.
        reconcile_every: A run lists the whole dataset if the last complete listing is older than this. Only a complete
            listing finds changed and deleted media that are older than `lookback`. `0`: always. Default: `"1d"`.
        deletes: What happens to the rows of deleted media: `hard` removes them, `soft` keeps their last values and sets
            `media.deleted_at`. Rows that were kept stay when `hard` is set later; `forget` removes them. Default:
            `"hard"`.
        max_deletes: A run that would remove more than this share of a dataset's media, or of its folders, stops and
            removes nothing. Ten of each may always be removed, unless the share is 0. Default: `0.2`.
        date_from: Only media created at this moment (UTC) or later: for a backfill in slices, which deletes nothing
            outside the slice. Default: none.
        date_to: Only media created before this moment (UTC). Default: none.
        page_size: Media items per request. Without a number: 100 at first, and up to 1,000 as far as the API sends
            them. Default: chosen by itself.
        parallel_requests: Listing requests at the same time. Without a number: 4 at first, up to 16 while that is
            faster, and fewer where the API refuses requests or becomes slower. Default: chosen by itself.
        requests_per_second: Limit over all requests of a run. Default: none.
        max_media: Stop the run after this many media items: a sample, which deletes nothing. Datasets whose turn comes
            later are not listed. Default: none.
        resync: Load everything again, whatever the warehouse has stored. Default: `False`.
        ignored_fields: Fields to ignore when media are compared, by the API's names, such as `blob` or `frames.blob`:
            for values that are different in every response. They are loaded when another field of the media item
            changes. Default: none.
        history: Keep what media items and captions were before: one row per version in `media_history` and
            `caption_history`. Default: `False`.
        keep_snapshots: How long the earlier states of a DuckLake can be read. Then a run of `sync` removes them, and
            merges small files. `0`: not at all. Default: `"7d"`.

    Returns:
        A dlt source with one resource per table; choose some with `with_resources("media", "captions")`. Without
        `media` there is nothing to compare with: every run then loads everything that it lists.

    Raises:
        ConfigurationError: A value is wrong; raised before anything is requested.
        AuthenticationError: There is neither a key nor a token.

    If a dataset cannot be listed, or too much would be removed, extracting raises `PipelineStepFailed`. Its cause is an
    error of `coreviz_source.errors` that names the dataset and the remedy. Nothing of the run is then loaded.
    """
    given = SourceSettings(
        {
            "dataset_ids": dataset_ids,
            "organization_ids": organization_ids,
            "api_key": api_key,
            "token": token,
            "base_url": base_url,
            "lookback": lookback,
            "reconcile_every": reconcile_every,
            "deletes": deletes,
            "max_deletes": max_deletes,
            "date_from": date_from,
            "date_to": date_to,
            "page_size": page_size,
            "parallel_requests": parallel_requests,
            "requests_per_second": requests_per_second,
            "max_media": max_media,
            "resync": resync,
            "ignored_fields": ignored_fields,
            "history": history,
            "keep_snapshots": keep_snapshots,
        }
    )
    plain_runs.expect(active_pipeline())
    return table_resources(partial(_begin, given), partial(_browse, given))


def _begin(given: SourceSettings, selected: frozenset[str], stepped: frozenset[str]) -> Extraction:
    """Locks the warehouse and reads what is stored; returns these with the batches to write."""
    pipeline = dlt.current.pipeline()
    settings = given.of(pipeline.pipeline_name)
    selection = Selection(selected, stepped).with_history(settings.history)
    check_refresh(pipeline.refresh)
    destination_of(pipeline)
    locks = plain_runs.begin(pipeline)
    locks.take_datasets(settings.dataset_ids, shared=settings.sliced)
    with ExitStack() as stack:
        # an error keeps alive what is open: it is closed, so that others can open the file
        stored = StoredState(stack.enter_context(closing(Connection(pipeline))))
        ensure_schema(stored, selection.tables, locks.load)
        stack.pop_all()
    return Extraction(locks, stored, _batches(settings, stored, selection), selection.tables)


def _browse(given: SourceSettings, selected: frozenset[str]) -> Iterator[Batch]:
    """The batches of a library where there is no warehouse to compare with."""
    settings = given.of(getattr(active_pipeline(), "pipeline_name", None))
    return _batches(settings, NothingStored(), Selection(selected).with_history(settings.history))


def _batches(settings: Settings, stored: StoredState, selection: Selection) -> Iterator[Batch]:
    with closing(stored), Run(str(uuid.uuid4()), settings, stored, selection) as run:
        datasets = run.datasets()
        for warning in run.warnings:
            _log.warning("%s", warning)
        if organizations := run.organizations():
            yield organizations
        for dataset in run.within_sample(datasets):
            yield from Mirror(run, dataset).batches()
        for warning in run.warnings_at_end():
            _log.warning("%s", warning)
