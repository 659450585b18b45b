"""The endpoints of the Studio API and how their responses are read.

No other module knows that the API has two generations. A request has to care about one difference only, and
the first response shows which generation it is: parameters that only the 2026 generation knows are left out if the
server refuses them twice and responds without them.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum
from typing import Any
from urllib.parse import quote

import msgspec

from coreviz_source.api.deadline import DeadlineAdapter
from coreviz_source.api.http import ATTEMPTS, Calls, Http, Response
from coreviz_source.errors import (
    AuthenticationError,
    BadRequestError,
    ConfigurationError,
    CorevizError,
    DatasetNotFoundError,
)
from coreviz_source.settings import Settings
from coreviz_source.values import canonical_id, decode_json, shallow

#: Statuses with which a server says that it has no such endpoint.
_NO_ENDPOINT = frozenset((400, 404, 405, 410))
#: The same, or that the endpoint is not for this key.
_NOT_OFFERED = _NO_ENDPOINT | {401, 402, 403}

#: The largest number that a warehouse stores, and so the largest `total` that can be meant.
MOST_COUNTED = 2**63 - 1

_NAME_DATASETS = "Name the datasets in `dataset_ids`; a dataset's id is part of its address in Studio."


@dataclass(frozen=True)
class Page:
    """One response of the listing.

    `items` are the raw JSON texts of its media and folders, in the server's order. `total` and `has_more` are None
    where the server does not send them, or not as what they are documented to be. `time` is the server's clock.
    `limit` is how many items were asked for, `size` the bytes of the response, and `seconds` the time that it took.
    """

    items: list[msgspec.Raw]
    total: int | None
    has_more: bool | None
    time: datetime
    limit: int = 0
    size: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Organization:
    """An organization of the account; `sent_id` is its id as the API sends it."""

    sent_id: str
    name: str | None = None
    slug: str | None = None

    @property
    def id(self) -> str:
        """The canonical id."""
        return canonical_id(self.sent_id)

    def __str__(self) -> str:
        return f"{self.name} ({self.id})" if self.name else self.id


@dataclass(frozen=True)
class Account:
    """What an account sees: its organizations and their datasets.

    Args:
        organizations: The organizations that were asked for their datasets, or would have been.
        datasets: What the API sends of each dataset: id, name, icon, type, organizationId.
        unreachable: The organizations among them that refused, with what they said.
        seen: The canonical ids of all organizations that the API named, also of those that were not asked.
    """

    organizations: tuple[Organization, ...]
    datasets: tuple[dict[str, Any], ...]
    unreachable: dict[str, str]
    seen: frozenset[str]

    @property
    def warnings(self) -> list[str]:
        """A sentence for each organization that could not be asked."""
        return [
            f"The organization {organization} could not be asked for its datasets, which stay as they are: "
            f"{self.unreachable[organization.id]}"
            for organization in self.organizations
            if organization.id in self.unreachable
        ]

    def lists(self, dataset_id: str, organization_id: str | None) -> bool | None:
        """Whether a dataset is in the account.

        None if that is not known: its organization was not asked, refused, or is not one that the account sees, or
        nothing says which organization it belonged to.

        Args:
            dataset_id: The dataset's canonical id.
            organization_id: The canonical id of the organization that it belonged to, if that is known.
        """
        if any(canonical_id(info["id"]) == dataset_id for info in self.datasets):
            return True
        asked = {organization.id for organization in self.organizations} - self.unreachable.keys()
        return False if organization_id in asked else None

    def sees(self, organization_id: str) -> bool:
        """Whether the API named an organization, by its canonical id. The others belong to other accounts."""
        return organization_id in self.seen


class Endpoint(Enum):
    """The reading endpoints of the API, with the document that each stands in: `{}` is an id."""

    #: The 2025 page "Listing Your Media", and the 2026 page of the same name.
    LISTING = "/api/dataset/{}/media"
    #: The 2026 page "Get Media".
    MEDIA = "/api/media/{}"
    #: The official MCP server.
    VERSIONS = "/api/media/{}/versions"
    #: The official TypeScript SDK, as are all below.
    DATASET = "/api/dataset/{}"
    TAGS = "/api/dataset/{}/tags"
    FOLDER = "/api/folder/{}"
    ME = "/api/me"
    ORGANIZATIONS = "/api/auth/organization/list"
    DATASETS = "/api/organization/{}/datasets"

    def path(self, item_id: str = "") -> str:
        """The path for an id, in the form in which it is to be sent."""
        return self.value.format(quote(item_id, safe=""))


@dataclass(frozen=True)
class Probe:
    """What an endpoint responded to one question, a refusal included.

    Args:
        status: The status of the response; None if there was no response, or none was asked for.
        sent: The JSON of a response with status 200; None if it cannot be read.
        seconds: How long the question took.
        has_date: Whether the response has the server's clock in its `Date` header.
        error: The error, if the status is not 200 or the response cannot be read.
    """

    status: int | None = None
    sent: Any = None
    seconds: float = 0.0
    has_date: bool = False
    error: CorevizError | None = None


class CorevizClient:
    """Asks the API; threads may share it.

    Args:
        settings: Checked settings; `organization_ids` and what `Http` takes are used.
        attempts: How often a request is sent before it counts as failed.
        connections: Connections that stay open when the client is closed. Default: its own.

    Every method raises the errors of `Http.get`.
    """

    def __init__(
        self, settings: Settings, attempts: int = ATTEMPTS, connections: DeadlineAdapter | None = None
    ) -> None:
        self._http = Http(settings, attempts, connections)
        #: How many requests to send at the same time, and how many items to ask for.
        self.pace = self._http.pace
        self._organization_ids = settings.organization_ids
        self._newer_parameters = {"sortBy": "createdAt", "recursive": "true"}
        #: Whether a listing's first response has shown which parameters this server takes.
        self._settled = False
        #: Counts the requests that belong to no dataset.
        self.calls = Calls()

    def close(self) -> None:
        """Ends all waiting: no request is sent any more, and one in flight fails as if it were the last attempt."""
        self._http.close()

    def page(self, dataset_id: str, offset: int, limit: int, calls: Calls) -> Page:
        """One page of a dataset's media and folders, newest first, folders in folders included.

        Where `page_size` is not fixed, a page that fails because it is larger than those before is a smaller page.

        Args:
            dataset_id: The dataset's id as the API knows it.
            offset: The position of the first item.
            limit: How many items to ask for.
            calls: Counts the requests.

        Raises:
            DatasetNotFoundError: The listing responds with 404.
        """
        if limit > (smaller := self.pace.retry_size(limit)):
            started = time.monotonic()
            try:
                return self._page(dataset_id, offset, limit, calls)
            except BadRequestError as refusal:
                status = refusal.context.get("status")
                self.pace.refused(started, time.monotonic(), status, None, limit)
                limit = smaller
        return self._page(dataset_id, offset, limit, calls)

    def _page(self, dataset_id: str, offset: int, limit: int, calls: Calls) -> Page:
        documented = {"offset": offset, "sortDirection": "desc"}

        def ask(newer: dict[str, str]) -> Page:
            return self._http.get(
                Endpoint.LISTING.path(dataset_id),
                {**documented, **newer},
                _read_page,
                calls,
                limit=limit,
                not_found=DatasetNotFoundError,
                dataset=dataset_id,
                offset=offset,
            )

        newer = self._newer_parameters
        if self._settled:
            return ask(newer)
        try:
            page = ask(newer)
        except BadRequestError as refusal:
            try:
                page = ask({})
            except BadRequestError:
                raise refusal from None
            try:
                # a refusal of the moment must not make a newer server an older one, which lists no folders' media
                page = ask(newer)
            except BadRequestError:
                self._newer_parameters = {}
        self._settled = True
        return page

    def dataset(self, dataset_id: str, calls: Calls) -> dict[str, Any]:
        """What the API sends of a dataset: name, icon, type, organizationId. Empty where it has no such endpoint."""
        sent = self._object(Endpoint.DATASET, dataset_id, calls)
        found = sent.get("dataset", sent)
        return found if isinstance(found, dict) else {}

    def media(self, media_id: str, dataset_id: str, calls: Calls) -> dict[str, Any] | None:
        """One media item, None where the response is 404 (or 405, as from a server that only takes changes there).

        Args:
            media_id: In the form that this server knows.
            dataset_id: For which dataset it is asked, for errors.
            calls: Counts the requests.
        """
        try:
            return self._http.get(Endpoint.MEDIA.path(media_id), {}, _read_media, calls, dataset=dataset_id)
        except CorevizError as error:
            if error.context.get("status") in (404, 405):
                return None
            raise

    def tags(self, dataset_id: str, calls: Calls) -> dict[str, Any] | None:
        """The tag groups of a dataset and their values, as the official SDK reads them; None where there are none.

        Args:
            dataset_id: In a form that this server knows.
            calls: Counts the requests.
        """
        tags = self._object(Endpoint.TAGS, dataset_id, calls).get("tags")
        return tags if isinstance(tags, dict) else None

    def _object(self, endpoint: Endpoint, dataset_id: str, calls: Calls) -> dict[str, Any]:
        """What an endpoint sends of a dataset. Empty if the API lacks the endpoint, or refuses this key there."""
        try:
            return self._http.get(endpoint.path(dataset_id), {}, _read_object, calls, dataset=dataset_id)
        except CorevizError as error:
            if error.context.get("status") in _NOT_OFFERED:
                return {}
            raise

    def probe(self, endpoint: Endpoint, item_id: str, params: Mapping[str, Any], calls: Calls) -> Probe:
        """Asks one endpoint with exactly these parameters; a failure is part of what is returned.

        Args:
            endpoint: Which one.
            item_id: The id in its path, as it is to be sent.
            params: The query's parameters.
            calls: Counts the requests.
        """
        began = time.perf_counter()
        not_found = DatasetNotFoundError if endpoint is Endpoint.LISTING else BadRequestError
        try:
            sent, dated = self._http.get(endpoint.path(item_id), params, _read_dated, calls, not_found=not_found)
        except CorevizError as error:
            return Probe(error.context.get("status"), seconds=time.perf_counter() - began, error=error)
        return Probe(200, sent, time.perf_counter() - began, dated)

    def account(self) -> Account:
        """The organizations of the account, those of `organization_ids` only if there are any, and their datasets.

        An organization that refuses (403) is left out, unless `organization_ids` names it or there is no other.

        Raises:
            ConfigurationError: The API has no list of datasets, so `dataset_ids` has to name them; or
                `organization_ids` names an organization that the account does not see.
            AuthenticationError: A named organization refuses, or all of them do.
        """
        found = self._organizations()
        named = {canonical_id(item) for item in self._organization_ids}
        unknown = named - {organization.id for organization in found}
        if unknown:
            raise ConfigurationError(
                f"The account does not see the organization {', '.join(sorted(unknown))}.",
                remedy=f"`organization_ids` may name: {', '.join(map(str, found))}.",
            )
        asked = tuple(organization for organization in found if not named or organization.id in named)
        datasets: dict[str, dict[str, Any]] = {}
        unreachable: dict[str, str] = {}
        for organization in asked:
            try:
                for info in self._datasets(organization):
                    datasets.setdefault(canonical_id(info["id"]), info)
            except AuthenticationError as refusal:
                only = len(unreachable) + 1 == len(asked)
                if refusal.context.get("status") != 403 or named or only:
                    raise
                unreachable[organization.id] = str(refusal.context.get("server_message") or refusal.message)
        return Account(asked, tuple(datasets.values()), unreachable, frozenset(one.id for one in found))

    def _organizations(self) -> list[Organization]:
        """The organizations of the account: all, or the default one if the API does not list them."""
        found: list[Organization] = []
        try:
            sent = self._http.get(Endpoint.ORGANIZATIONS.path(), {}, _read_json, self.calls)
            for one in _listed(sent, "organizations"):
                found.append(Organization(one["id"], _text(one.get("name")), _text(one.get("slug"))))
        except CorevizError as error:
            # this endpoint may want a session where the others take a key; `/api/me` then shows an invalid key
            if error.context.get("status") not in _NOT_OFFERED:
                raise
        if found:
            return list({organization.id: organization for organization in found}.values())
        try:
            me = self._http.get(Endpoint.ME.path(), {}, _read_object, self.calls)
        except CorevizError as error:
            raise self._not_listed(error) from error
        default = me.get("organizationId")
        if not isinstance(default, str) or not default:
            raise ConfigurationError("The API names no organization of this account.", remedy=_NAME_DATASETS)
        return [Organization(default, _text(me.get("organizationName")))]

    def _datasets(self, organization: Organization) -> Iterator[dict[str, Any]]:
        endpoint = Endpoint.DATASETS.path(organization.sent_id)
        try:
            sent = self._http.get(endpoint, {}, _read_json, self.calls, organization=organization.id)
        except CorevizError as error:
            raise self._not_listed(error) from error
        if not isinstance(sent.get("datasets") if isinstance(sent, dict) else sent, list):
            raise ConfigurationError("The API's list of datasets cannot be read.", remedy=_NAME_DATASETS)
        for info in _listed(sent, "datasets"):
            yield info if info.get("organizationId") else {**info, "organizationId": organization.sent_id}

    @staticmethod
    def _not_listed(error: CorevizError) -> CorevizError:
        if error.context.get("status") in _NO_ENDPOINT:
            return ConfigurationError("This API does not list an account's datasets.", remedy=_NAME_DATASETS)
        return error


def _listed(sent: Any, key: str) -> list[dict[str, Any]]:
    """The objects with an id of an array, which may stand inside an object."""
    found = sent.get(key) if isinstance(sent, dict) else sent
    found = found if isinstance(found, list) else []
    return [one for one in found if isinstance(one, dict) and isinstance(one.get("id"), str) and one["id"]]


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


class _Envelope(msgspec.Struct):
    media: list[msgspec.Raw]
    pagination: Any = None
    error: Any = None


def _read_page(response: Response) -> Page:
    try:
        envelope = msgspec.json.decode(response.body, type=_Envelope)
    except RecursionError:
        return _read_page(replace(response, body=shallow(response.body)))
    except (msgspec.MsgspecError, UnicodeDecodeError):
        envelope = _read_leniently(response.body)
    if envelope.error:
        raise ValueError(f"it carries an error: {envelope.error}")
    pagination = envelope.pagination if isinstance(envelope.pagination, dict) else {}
    total, has_more = pagination.get("total"), pagination.get("hasMore")
    return Page(
        items=envelope.media,
        total=total if type(total) is int and 0 <= total <= MOST_COUNTED else None,
        has_more=has_more if type(has_more) is bool else None,
        time=response.time,
        limit=response.asked["limit"],
        size=len(response.body),
        seconds=response.seconds,
    )


def _read_leniently(content: bytes) -> _Envelope:
    """The envelope of a response that is not strictly JSON (NaN, lone surrogates), or of one that is an error."""
    sent = decode_json(content)
    if isinstance(sent, dict) and sent.get("error"):
        return _Envelope(media=[], error=sent.get("message") or sent["error"])
    if not isinstance(sent, dict) or not isinstance(sent.get("media"), list):
        raise ValueError("it has no list of media")
    media = [msgspec.Raw(json.dumps(item, separators=(",", ":")).encode()) for item in sent["media"]]
    return _Envelope(media=media, pagination=sent.get("pagination"))


def _read_json(response: Response) -> Any:
    sent = decode_json(response.body)
    if isinstance(sent, dict) and sent.get("error"):
        raise ValueError(f"it carries an error: {sent.get('message') or sent['error']}")
    return sent


def _read_dated(response: Response) -> tuple[Any, bool]:
    return _read_json(response), "Date" in response.headers


def _read_object(response: Response) -> dict[str, Any]:
    sent = _read_json(response)
    if not isinstance(sent, dict):
        raise ValueError("it is not an object")
    return sent


def _read_media(response: Response) -> dict[str, Any]:
    media = _read_object(response).get("media")
    if not isinstance(media, dict) or not isinstance(media.get("id"), str):
        raise ValueError("it has no media item")
    return media
