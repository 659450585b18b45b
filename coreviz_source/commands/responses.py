"""What the API responded to the questions of `check --contract`, and how two items are compared: pure values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

from coreviz_source.api.studio import Probe
from coreviz_source.commands.shapes import field_name
from coreviz_source.tables import FOLDERS, MEDIA, Table

Item = dict[str, Any]

#: The keys of `metadata` that the documents name. All others may be made by users, and their names are not shown.
_METADATA = frozenset(("tags", "moderation", "description", "prompt"))


@dataclass(frozen=True)
class Page:
    """One response of the listing.

    Args:
        offset: The position that was asked for.
        limit: How many items were asked for; None if the request had no `limit`.
        items: Its media and folders.
        pagination: What it says about the list.
        seconds: How long the request took.
    """

    offset: int
    limit: int | None
    items: tuple[Item, ...]
    pagination: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0

    @classmethod
    def read(cls, probe: Probe, offset: int = 0, limit: int | None = None) -> Page | None:
        """The page in a response; None if it has none."""
        sent = probe.sent if isinstance(probe.sent, dict) else {}
        media, pagination = sent.get("media"), sent.get("pagination")
        if not isinstance(media, list):
            return None
        items = tuple(item for item in media if isinstance(item, dict))
        return cls(offset, limit, items, pagination if isinstance(pagination, dict) else {}, probe.seconds)

    def number(self, name: str) -> int | None:
        """A number of the pagination."""
        value = self.pagination.get(name)
        return value if type(value) is int and value >= 0 else None

    @property
    def total(self) -> int | None:
        """How many items the API counts."""
        return self.number("total")

    @property
    def end(self) -> int:
        """The position after the last item."""
        return self.offset + len(self.items)


class Place(NamedTuple):
    """Where an item was seen: it is named by this, and not by its id."""

    page: int
    number: int
    item: Item

    def __str__(self) -> str:
        return f"item {self.number} of page {self.page}"


@dataclass(frozen=True)
class Responses:
    """What the API responded about one dataset.

    Args:
        dataset_id: Canonical id of the dataset.
        pages: Pages of the whole list, newest first; the report counts them from 1.
        newer_refused: Whether the server refuses the parameters that only the 2026 generation knows.
        repeated: The response to a second request that equals the one for the first page.
        bare: The response to a request without any parameter.
        folders_only: The response to `type=folder`.
        folder: A folder of which the content was asked for.
        directly: The content of that folder.
        below: The content of that folder and of the folders below it.
        single: The media item that was asked for by itself, as the listing shows it.
        probes: The responses of the other endpoints, by name: `media`, `media_other_form`, `deleted`, `versions`,
            `tags`, `folder`, `dataset`, `listing_other_form`, `listing`.
    """

    dataset_id: str
    pages: tuple[Page, ...]
    newer_refused: bool = False
    repeated: Page | None = None
    bare: Page | None = None
    folders_only: Page | None = None
    folder: Item | None = None
    directly: Page | None = None
    below: Page | None = None
    single: Item | None = None
    probes: Mapping[str, Probe] = field(default_factory=dict)

    def probe(self, name: str) -> Probe:
        """The response of an endpoint; one without a status if it was not asked."""
        return self.probes.get(name, Probe())

    @cached_property
    def places(self) -> list[Place]:
        """Every item that was seen, where it was seen first."""
        found: dict[str, Place] = {}
        for number, page in enumerate(self.pages, 1):
            for position, item in enumerate(page.items, 1):
                found.setdefault(str(item.get("id")), Place(number, position, item))
        return list(found.values())

    @property
    def media(self) -> list[Place]:
        """The media items among them."""
        return [place for place in self.places if place.item.get("type") != "folder"]

    @property
    def folders(self) -> list[Place]:
        """The folders among them."""
        return [place for place in self.places if place.item.get("type") == "folder"]

    @property
    def total(self) -> int | None:
        """The number of items that the API counts; None if it sends none, or not always the same."""
        totals = {page.total for page in self.pages}
        return totals.pop() if len(totals) == 1 else None

    def single_sent(self) -> Item | None:
        """The media item as its own endpoint sends it, without what only this endpoint adds."""
        sent = self.probe("media").sent
        media = sent.get("media") if isinstance(sent, dict) else None
        return {k: v for k, v in media.items() if k != "dataset"} if isinstance(media, dict) else None


@dataclass(frozen=True)
class AccountResponses:
    """What the API responded about the account.

    Args:
        organizations: The list of organizations.
        me: The user, with the default organization.
        datasets: The datasets of each organization.
    """

    organizations: Probe
    me: Probe
    datasets: tuple[Probe, ...] = ()

    @property
    def listed(self) -> list[Item] | None:
        """The organizations, None if there is no list."""
        sent = self.organizations.sent
        found = sent.get("organizations") if isinstance(sent, dict) else sent
        return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else None


def table_of(item: Item) -> Table:
    """The table that an item of a listing becomes a row of."""
    return FOLDERS if item.get("type") == "folder" else MEDIA


def objects_in(value: Any, *path: str) -> list[Item]:
    """The objects in a list of an item, or in lists of the objects in it."""
    found = [value] if isinstance(value, dict) else []
    for key in path:
        lists = [one.get(key) for one in found]
        found = [child for one in lists if isinstance(one, list) for child in one if isinstance(child, dict)]
    return found


def undeclared(item: Item, table: Table) -> Iterator[tuple[str, str, Any]]:
    """The fields of an item, and of what is nested in it, that no column declares: table, key, value."""
    children = {str(child.api): child for child in table.children}
    for key, value in item.items():
        if key in children:
            for child in objects_in(item, key):
                yield from undeclared(child, children[key])
        elif key not in table.api_fields:
            yield table.name, key, value


def differences(one: Item, two: Item, table: Table, path: tuple[str, ...] = ()) -> Iterator[tuple[str, str]]:
    """The fields in which two versions of an item differ.

    Yields:
        `changed`, `only first` or `only second`, and the dotted name of the field. A name that a user may have made
        is not shown. A child item that only one version has is not compared.
    """
    children = {str(child.api): child for child in table.children}
    for key in one.keys() | two.keys():
        name = ".".join((*path, field_name(key)))
        if key not in one or key not in two:
            yield ("only second" if key not in one else "only first"), name
        elif key in children and isinstance(one[key], list) and isinstance(two[key], list):
            known = {str(child.get("id")): child for child in objects_in(two, key)}
            for child in objects_in(one, key):
                if str(child.get("id")) in known:
                    yield from differences(child, known[str(child.get("id"))], children[key], (*path, key))
        elif key == "metadata" and isinstance(one[key], dict) and isinstance(two[key], dict):
            for inner in one[key].keys() | two[key].keys():
                if one[key].get(inner) != two[key].get(inner):
                    yield "changed", f"{name}.{inner if inner in _METADATA else field_name('')}"
        elif one[key] != two[key]:
            yield "changed", name
