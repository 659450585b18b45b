"""Whether the key is valid, and which datasets it sees."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from coreviz_source.api.http import Calls
from coreviz_source.api.studio import CorevizClient
from coreviz_source.errors import CorevizError, worst_exit_code
from coreviz_source.settings import Settings
from coreviz_source.values import canonical_id


@dataclass(frozen=True)
class CheckedDataset:
    """A dataset, and how many items the API counts in it."""

    dataset_id: str
    name: str | None = None
    organization_id: str | None = None
    items: int | None = None
    """Media and folders; None if the API sends no total, or the dataset could not be listed."""
    error: str = ""
    exit_code: int = 0


@dataclass(frozen=True)
class CheckedOrganization:
    """An organization of the account; `name` is how messages name it."""

    id: str
    name: str
    is_reachable: bool


@dataclass(frozen=True)
class Checked:
    """What a key sees."""

    base_url: str
    organizations: list[CheckedOrganization] = field(default_factory=list)
    """Empty if the datasets were named."""
    datasets: list[CheckedDataset] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """That of the worst dataset."""
        return worst_exit_code(dataset.exit_code for dataset in self.datasets)

    def to_json(self) -> str:
        """The same as one JSON object."""
        return json.dumps({**asdict(self), "exit_code": self.exit_code})


def check(settings: Settings) -> Checked:
    """Asks each dataset for one item: those of `dataset_ids`, or all that the account sees.

    Raises:
        CorevizError: The account could not be asked.
    """
    client = CorevizClient(settings)
    if settings.dataset_ids:
        return Checked(settings.base_url, datasets=[_dataset(client, {"id": one}) for one in settings.dataset_ids])
    account = client.account()
    organizations = [
        CheckedOrganization(one.id, str(one), one.id not in account.unreachable) for one in account.organizations
    ]
    return Checked(
        settings.base_url, organizations, [_dataset(client, info) for info in account.datasets], account.warnings
    )


def _dataset(client: CorevizClient, info: dict[str, Any]) -> CheckedDataset:
    dataset_id, owner = info["id"], info.get("organizationId")
    about = (canonical_id(dataset_id), info.get("name"), owner and canonical_id(str(owner)))
    try:
        page = client.page(dataset_id, 0, 1, Calls())
    except CorevizError as error:
        return CheckedDataset(*about, error=f"{dataset_id}: {error}", exit_code=error.exit_code)
    return CheckedDataset(*about, items=page.total)
