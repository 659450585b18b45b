"""What the datasets of one run share: the settings, the stored state, the API's client, and the account's datasets."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import pyarrow as pa

from coreviz_source.api.deadline import DeadlineAdapter
from coreviz_source.api.studio import Account, CorevizClient, Organization
from coreviz_source.report import Progress
from coreviz_source.rows.build import as_table
from coreviz_source.selection import Selection
from coreviz_source.settings import Settings
from coreviz_source.tables import ORGANIZATIONS
from coreviz_source.values import canonical_id, clean_text, plain_text
from coreviz_source.warehouse.state import LastRuns, StoredState


@dataclass(frozen=True)
class Dataset:
    """A dataset to mirror.

    Args:
        requested_id: Its id as the API is asked for it.
        info: What the API sent of it in the list of datasets; None if the list was not requested.
        organization: Its organization; None if the list was not requested.
    """

    requested_id: str
    info: dict[str, Any] | None = None
    organization: Organization | None = None

    @property
    def id(self) -> str:
        """The canonical id."""
        return canonical_id(self.requested_id)

    @property
    def name(self) -> str | None:
        """The name, if it is known before the dataset is requested."""
        name = (self.info or {}).get("name")
        return clean_text(name) if isinstance(name, str) else None

    @property
    def organization_name(self) -> str | None:
        """The name of its organization, or the id of one without a name."""
        return None if self.organization is None else self.organization.name or self.organization.id


@dataclass(frozen=True)
class Batch:
    """Rows to write.

    Args:
        tables: The rows, one arrow table per table.
        media: How many media items they belong to.
        progress: The event of their dataset that was the latest when the rows were built. In a dataset's last batch it
            has the dataset's report. None where the rows belong to no dataset, or where nothing follows from loading
            them.
        after_steps: What makes versions of the rows that have passed a user's steps, by the table that has the steps.
    """

    tables: dict[str, pa.Table]
    media: int = 0
    progress: Progress | None = None
    after_steps: Mapping[str, Callable[[pa.Table], pa.Table]] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Bytes in memory."""
        return sum(table.nbytes for table in self.tables.values())


class Run:
    """One run over some datasets; a context manager that closes its connections.

    Args:
        run_id: Id of the run.
        settings: Checked settings.
        stored: What the warehouse stores.
        selection: The tables that are loaded.
        connections: Connections to the API that stay open at the end of the run. Default: its own.
    """

    def __init__(
        self,
        run_id: str,
        settings: Settings,
        stored: StoredState,
        selection: Selection,
        connections: DeadlineAdapter | None = None,
    ) -> None:
        self.id = run_id
        self.settings = settings
        self.stored = stored
        self.selection = selection
        self.client = CorevizClient(settings, connections=connections)
        self.threads = ThreadPoolExecutor(self.client.pace.most_parallel, thread_name_prefix="coreviz")
        #: One sentence per organization whose datasets are not known.
        self.warnings: list[str] = []
        #: What the account sees; None if its datasets were not requested.
        self.account: Account | None = None
        #: How many media items may still be listed; None without `max_media`.
        self.media_left = settings.max_media
        self._found_fields: set[str] | None = set()
        self._last_runs = stored.last_runs(selection)
        self._dataset_hashes = stored.dataset_hashes()

    def __enter__(self) -> Run:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.client.close()
        self.threads.shutdown(wait=False, cancel_futures=True)
        self.stored.close()

    def datasets(self) -> list[Dataset]:
        """The datasets to mirror: those named in the settings, or all of the account, grouped by organization."""
        if self.settings.dataset_ids:
            return [Dataset(dataset_id) for dataset_id in self.settings.dataset_ids]
        self.account = account = self.client.account()
        self.warnings = account.warnings
        owners = {organization.id: organization for organization in account.organizations}
        return [
            Dataset(info["id"], info, owners.get(canonical_id(str(info["organizationId"]))))
            for info in account.datasets
        ]

    def within_sample(self, datasets: Iterable[Dataset]) -> Iterator[Dataset]:
        """The datasets one after the other, until `max_media` is reached."""
        for dataset in datasets:
            if self.media_left is not None and self.media_left <= 0:
                return
            yield dataset

    def note_fields(self, found: set[str] | None) -> None:
        """Notes which of `ignored_fields` a dataset has; None if it was not listed completely, or is empty."""
        known = self._found_fields
        self._found_fields = None if known is None or found is None else known | found

    def warnings_at_end(self) -> list[str]:
        """What is known when all datasets were listed: the names in `ignored_fields` that no item has."""
        if self._found_fields is None:
            return []
        return [
            f"ignored_fields names {name}, which no listed media item or folder has. Fields have the API's names and "
            "their place, such as blob or frames.blob."
            for name in self.settings.ignored_fields
            if name not in self._found_fields
        ]

    def organizations(self) -> Batch | None:
        """The rows of the account's organizations that differ from the stored ones; None if there are none."""
        if ORGANIZATIONS.name not in self.selection or self.account is None:
            return None
        stored: dict[Any, list[tuple[Any, ...]]] = {}
        if ORGANIZATIONS.name in self.stored.tables:
            for row in self.stored.query("SELECT id, name, slug FROM {organizations}"):
                stored.setdefault(row[0], []).append(row)
        found = [
            (one.id, *(None if text is None else self.storable(text) for text in (one.name, one.slug)))
            for one in self.account.organizations
        ]
        # a load that was repeated after a crash may have left a row twice
        rows = [row for row in found if stored.get(row[0]) != [row]]
        if not rows:
            return None
        columns = dict(zip(("id", "name", "slug"), map(list, zip(*rows, strict=True)), strict=True))
        return Batch({ORGANIZATIONS.name: as_table(ORGANIZATIONS, columns, len(rows))})

    def storable(self, text: str) -> str:
        """A string as the warehouse can store it."""
        return clean_text(text) if self.stored.can_store_nul else plain_text(text)

    def last_runs(self, dataset_id: str) -> LastRuns:
        """When earlier runs listed a dataset."""
        return self._last_runs.get(dataset_id, LastRuns())

    def dataset_hash(self, dataset_id: str) -> int | None:
        """The hash of a dataset's stored row in `datasets`; None if it has none."""
        return self._dataset_hashes.get(dataset_id)

    def stores(self, dataset_id: str) -> bool:
        """Whether anything of a dataset is stored, apart from rows of its runs."""
        return dataset_id in self._dataset_hashes or self.stored.has_rows(dataset_id)
