"""Which assumptions about the API hold on an account: asked with few requests that change nothing, and reported.

The report is fit for a public issue: no id, name, text, address or key of the library is part of it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from typing import Any, TypeVar

from coreviz_source.api.http import Calls
from coreviz_source.api.pace import FIRST_PAGE
from coreviz_source.api.studio import CorevizClient, Endpoint, Probe
from coreviz_source.commands.assumptions import ACCOUNT, DATASET, DOCUMENTS, Assumption
from coreviz_source.commands.responses import AccountResponses, Item, Page, Place, Responses, objects_in
from coreviz_source.errors import ApiUnavailableError, CorevizError, worst_exit_code
from coreviz_source.report import counted
from coreviz_source.settings import Settings
from coreviz_source.values import bare_id, canonical_id

#: Requests per dataset at most, repetitions included.
MOST_REQUESTS = 30
#: How often a request is sent before it counts as failed.
ATTEMPTS = 2
#: The sizes of pages that are compared, after the first.
FIRST_SIZE, SIZES = 100, (10, 50, 250, 1000)
#: Listing requests that are sent at once to see whether that is quicker.
TOGETHER = 4
#: Organizations that are asked for their datasets.
_MOST_ORGANIZATIONS = 10
#: A smaller page is chosen if it brings this share of the items per second of the best one.
_NEARLY_AS_FAST = 0.9

_Given = TypeVar("_Given")


@dataclass(frozen=True)
class Finding:
    """One assumption, the verdict on it, and its evidence."""

    id: str
    sentence: str
    documents: str
    verdict: str
    evidence: str


@dataclass(frozen=True)
class PageTime:
    """How long one page took."""

    limit: int
    items: int
    seconds: float


@dataclass(frozen=True)
class DatasetContract:
    """What was found out with one dataset."""

    dataset: int
    """Its number in the report."""
    requests: int
    findings: list[Finding] = field(default_factory=list)
    page_times: list[PageTime] = field(default_factory=list)
    page_size: int | None = None
    """The `page_size` that the times suggest."""
    parallel_requests: int | None = None
    """The `parallel_requests` that the times suggest; None if it was not measured."""
    error: str = ""
    """Why the dataset could not be asked."""
    exit_code: int = 0


@dataclass(frozen=True)
class ContractReport:
    """What was found out about the API."""

    version: str
    account: list[Finding]
    datasets: list[DatasetContract]
    ids: list[str] = field(default_factory=list)
    """Lines that say which ids the numbers of the report stand for. They are not part of it."""

    @property
    def exit_code(self) -> int:
        """0 if every dataset could be asked."""
        return worst_exit_code(dataset.exit_code for dataset in self.datasets)

    def to_json(self) -> str:
        """The report as one JSON object, without ids."""
        sent = {name: value for name, value in asdict(self).items() if name != "ids"}
        return json.dumps({**sent, "exit_code": self.exit_code}, indent=1)

    def to_text(self) -> str:
        """The report for people, without ids."""
        lines = [
            f"coreviz-source {self.version}: what this API does, compared with what is assumed.",
            "No id, name, string, address or key of the library is in this report.",
            "",
            "Account",
            *_lines(self.account),
        ]
        for one in self.datasets:
            lines += ["", f"Dataset {one.dataset} of {len(self.datasets)}: {counted(one.requests, 'request')}"]
            lines += [f"  {one.error}"] if one.error else []
            lines += _lines(one.findings)
            if one.page_times:
                lines += ["", "  limit  items  seconds"]
                lines += [f"  {page.limit:>5}  {page.items:>5}  {page.seconds:>7.3f}" for page in one.page_times]
                parallel = "not measured" if one.parallel_requests is None else one.parallel_requests
                lines.append(f"  These times suggest page_size = {one.page_size}, parallel_requests = {parallel}.")
        lines += ["", "Documents: " + "; ".join(f"{short}: {name}" for short, name in DOCUMENTS.items()) + "."]
        return "\n".join(lines)


def _lines(findings: Sequence[Finding]) -> list[str]:
    return [
        line
        for one in findings
        for line in (f"  {one.verdict:<14} {one.id}: {one.sentence} [{one.documents}]", f"{'':17}{one.evidence}.")
    ]


def check_contract(settings: Settings) -> ContractReport:
    """Finds out which assumptions about the API hold.

    Asks the account, and each of its datasets with at most `MOST_REQUESTS` requests. Nothing is changed.

    Args:
        settings: Checked settings. Without `dataset_ids`, all datasets of the account are asked, or those of
            `organization_ids`.

    Raises:
        CorevizError: The datasets of the account are not known.
    """
    # a connection for each of the requests that are sent at once
    client = CorevizClient(replace(settings, parallel_requests=TOGETHER), ATTEMPTS)
    ids: list[str] = []
    try:
        dataset_ids = settings.dataset_ids or tuple(info["id"] for info in client.account().datasets)
        account = _judge(ACCOUNT, _ask_account(client), "", ids)
        datasets = []
        for number, dataset_id in enumerate(dataset_ids, 1):
            ids.append(f"dataset {number}: {dataset_id}")
            datasets.append(_dataset(client, dataset_id, number, settings, ids))
    finally:
        client.close()
    return ContractReport(version("coreviz-source"), account, datasets, ids)


def public_message(error: CorevizError) -> str:
    """What an error says without anything of the library or of the server in it."""
    status = error.context.get("status")
    return f"{type(error)().message} {f'The status was {status}. ' if status else ''}{type(error).remedy}"


def _judge(assumptions: Sequence[Assumption[_Given]], given: _Given, where: str, ids: list[str]) -> list[Finding]:
    findings = []
    for one in assumptions:
        verdict, evidence, places = one.judge(given)
        findings.append(Finding(one.id, one.sentence, one.documents, verdict, evidence))
        ids += [line for place in places if (line := f"{place}{where}: {place.item.get('id')}") not in ids]
    return findings


def _dataset(
    client: CorevizClient, dataset_id: str, number: int, settings: Settings, ids: list[str]
) -> DatasetContract:
    questions = _Questions(client, dataset_id)
    try:
        responses = questions.ask()
    except CorevizError as error:
        ids.append(f"dataset {number}: {error}")
        return DatasetContract(number, questions.calls.requests, error=public_message(error), exit_code=error.exit_code)
    times = [PageTime(p.limit, len(p.items), round(p.seconds, 3)) for p in responses.pages if p.limit and not p.offset]
    times.sort(key=lambda one: one.limit)
    page_size = suggested_page_size(responses.pages, settings.page_size or FIRST_PAGE)
    parallel = questions.measure_together(page_size)
    findings = _judge(DATASET, responses, f" of dataset {number}", ids)
    return DatasetContract(number, questions.calls.requests, findings, times, page_size, parallel)


def suggested_page_size(pages: Sequence[Page], otherwise: int) -> int:
    """The number of items per request that brings the most items per second; a smaller one that is nearly as fast.

    Args:
        pages: Timed pages. Those that reach the end of the list count only if nothing else does.
        otherwise: What to suggest where no page is full.
    """
    full = [page for page in pages if page.items and page.offset == 0 and page.end < (page.total or 0)]
    rates = {len(page.items): len(page.items) / max(page.seconds, 1e-6) for page in full}
    best = max(rates.values(), default=0.0)
    return min((size for size, rate in rates.items() if rate >= _NEARLY_AS_FAST * best), default=otherwise)


def suggested_parallel_requests(alone: float, together: float) -> int:
    """How many requests at once are worth it.

    Args:
        alone: Seconds that one request took.
        together: Seconds that `TOGETHER` of them took at once.
    """
    return max(1, min(TOGETHER, round(TOGETHER * alone / max(together, 1e-6))))


def _ask_account(client: CorevizClient) -> AccountResponses:
    organizations = client.probe(Endpoint.ORGANIZATIONS, "", {}, client.calls)
    me = client.probe(Endpoint.ME, "", {}, client.calls)
    found = AccountResponses(organizations, me).listed or ()
    default = me.sent.get("organizationId") if isinstance(me.sent, dict) else None
    ids = [str(one.get("id")) for one in found] or ([default] if isinstance(default, str) else [])
    datasets = [client.probe(Endpoint.DATASETS, one, {}, client.calls) for one in ids[:_MOST_ORGANIZATIONS]]
    return AccountResponses(organizations, me, tuple(datasets))


class _Questions:
    """Asks what has to be known about one dataset.

    Args:
        client: Sends the requests.
        dataset_id: The dataset's id as the API knows it.
    """

    def __init__(self, client: CorevizClient, dataset_id: str) -> None:
        self._client = client
        self._dataset_id = dataset_id
        self._newer: dict[str, Any] = {"sortBy": "createdAt", "recursive": "true"}
        self.calls = Calls()

    def _probe(self, endpoint: Endpoint, item_id: str | None, params: dict[str, Any] | None = None) -> Probe:
        """Asks; without an id, or where the requests may run out, nothing is asked."""
        if item_id is None or self.calls.requests + ATTEMPTS > MOST_REQUESTS:
            return Probe()
        return self._client.probe(endpoint, item_id, params or {}, self.calls)

    def _list(self, limit: int, offset: int = 0, dataset_id: str | None = None, **more: str) -> Probe:
        params = {"limit": limit, "offset": offset, "sortDirection": "desc", **self._newer, **more}
        return self._probe(Endpoint.LISTING, dataset_id or self._dataset_id, params)

    def ask(self) -> Responses:
        """Asks for pages, then for what was seen on them.

        Raises:
            CorevizError: The listing does not respond with a page.
        """
        listing = self._first_listing()
        first = Page.read(listing, 0, FIRST_SIZE)
        if first is None:
            raise listing.error or ApiUnavailableError("The response has no list of media.")
        repeated = Page.read(self._list(FIRST_SIZE), 0, FIRST_SIZE)
        if repeated is not None:
            # the first request also opened the connection
            first = replace(first, seconds=min(first.seconds, repeated.seconds))
        pages = (first, *self._more_pages(first))
        seen = Responses(canonical_id(self._dataset_id), pages, not self._newer, repeated)
        media = [place.item for place in seen.media if place.item.get("status") != "deleted"]
        single, folder = max(media, key=_worth, default=None), _folder_to_ask(seen.folders)
        path = None if folder is None else str(folder.get("path"))
        return replace(
            seen,
            probes={"listing": listing, **self._ask_others(seen, single, folder)},
            bare=Page.read(self._probe(Endpoint.LISTING, self._dataset_id)),
            folders_only=Page.read(self._list(FIRST_SIZE, type="folder")) if self._newer else None,
            folder=folder,
            directly=Page.read(self._list(1, path=path, recursive="false")) if path else None,
            below=Page.read(self._list(1, path=path)) if path else None,
            single=single,
        )

    def _first_listing(self) -> Probe:
        """Asks for the first page, without the newer parameters if the server refuses them and not the others."""
        listing = self._list(FIRST_SIZE)
        if listing.status != 400:
            return listing
        newer, self._newer = self._newer, {}
        older = self._list(FIRST_SIZE)
        if older.sent is not None:
            return older
        self._newer = newer
        return listing

    def _ask_others(self, seen: Responses, single: Item | None, folder: Item | None) -> dict[str, Probe]:
        """Asks the other endpoints for what was seen on the pages; returns their responses by name."""
        deleted = next((place.item for place in seen.media if place.item.get("status") == "deleted"), None)
        media_id = _id_of(single)
        probes = {
            "dataset": self._probe(Endpoint.DATASET, self._dataset_id),
            "media": self._probe(Endpoint.MEDIA, media_id),
            "media_other_form": self._probe(Endpoint.MEDIA, other_form(media_id)),
            "deleted": self._probe(Endpoint.MEDIA, _id_of(deleted)),
            "versions": self._probe(Endpoint.VERSIONS, media_id),
            "tags": self._probe(Endpoint.TAGS, self._dataset_id),
            "folder": self._probe(Endpoint.FOLDER, _id_of(folder)),
        }
        other = other_form(self._dataset_id)
        if other is not None:
            probes["listing_other_form"] = self._list(1, dataset_id=other)
        return probes

    def _more_pages(self, first: Page) -> list[Page]:
        """Pages of other sizes, one at another position, and one that reaches over the end of the list."""
        found = []
        previous = first
        for limit in SIZES:
            # after a page that was not full, a larger one shows nothing new
            if limit > FIRST_SIZE and len(previous.items) < (previous.limit or 0):
                break
            page = Page.read(self._list(limit), 0, limit)
            if page is not None:
                found.append(page)
                previous = page if limit > FIRST_SIZE else previous
        places = [(5, 10)]
        if first.total is not None:
            places.append((max(0, first.total - 3), 10))
        for offset, limit in places:
            page = Page.read(self._list(limit, offset), offset, limit)
            found += [page] if page is not None else []
        return found

    def measure_together(self, page_size: int) -> int | None:
        """How many requests at once the API is worth being sent, from the times of a page alone and with others."""
        if self.calls.requests + ATTEMPTS * (TOGETHER + 1) > MOST_REQUESTS:
            return None
        alone = self._list(page_size)
        began = time.perf_counter()
        with ThreadPoolExecutor(TOGETHER) as threads:
            pages = list(threads.map(lambda _: self._list(page_size), range(TOGETHER)))
        seconds = time.perf_counter() - began
        if alone.sent is None or any(page.sent is None for page in pages):
            return 1
        return suggested_parallel_requests(alone.seconds, seconds)


def _id_of(item: Item | None) -> str | None:
    return None if item is None else str(item.get("id"))


def _worth(item: Item) -> tuple[int, ...]:
    """How much can be learned from a media item: polygons first, then objects, then captions."""
    objects = objects_in(item, "frames", "objects")
    polygons = sum("polygon" in one for one in objects)
    return min(polygons, 1), min(len(objects), 1), len(objects_in(item, "frames", "captions"))


def _folder_to_ask(folders: Sequence[Place]) -> Item | None:
    """A folder that holds another one, so that its content differs from what is below; else the first."""
    found = [place.item for place in folders if isinstance(place.item.get("path"), str)]
    holders = {str(item["path"]).rpartition(".")[0] for item in found}
    return next((item for item in found if item["path"] in holders), next(iter(found), None))


def other_form(item_id: str | None) -> str | None:
    """A UUID with hyphens if it is given without, and the other way around; None for any other id."""
    if item_id is None:
        return None
    hyphenated, bare = canonical_id(item_id), bare_id(item_id)
    if bare == hyphenated:
        return None
    return bare if item_id == hyphenated else hyphenated
