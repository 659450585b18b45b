"""The HTTP server of the local Studio: both generations of the API, on loopback."""

from __future__ import annotations

import asyncio
import re
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from email.utils import format_datetime
from types import TracebackType
from typing import Any

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request as HttpRequest
from starlette.responses import Response
from starlette.routing import Route

from coreviz_source.local_studio.faults import Faults, WireProtocol
from coreviz_source.local_studio.library import Dataset, Form, Item, Library
from coreviz_source.local_studio.pictures import picture
from coreviz_source.values import canonical_id

_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_PARAMETERS = {
    2025: {"limit", "offset", "sortDirection"},
    2026: {
        *("limit", "offset", "sortDirection", "sortBy", "recursive", "path", "type", "dateFrom", "dateTo", "tags"),
        *("tagFilters", "mediaId", "clusterId", "q", "similarToObjectId", "minScore"),
    },
}
_ERRORS = {400: "Bad Request", 401: "Unauthorized", 402: "Payment Required", 403: "Forbidden", 404: "Not Found"}


@dataclass(frozen=True)
class Request:
    """A request that the Studio received: `number` counts from 1; `dataset_id` is as it was sent."""

    number: int
    method: str
    path: str
    params: Mapping[str, str]
    dataset_id: str | None = None

    @property
    def offset(self) -> int:
        """The offset asked for."""
        return int(self.params.get("offset", 0))


class _Refused(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Studio:
    """Serves a library while a `with` block lasts.

    Args:
        library: What to serve.
        generation: 2025 or 2026.
        api_key: The key that it accepts.
        port: 0 takes a free one.
        strict: Whether parameters that the generation does not know are answered with 400.
        limit_cap: The most media it sends in one answer, whatever `limit` asks for, without saying so.
        limit_floor: The fewest media it sends in one answer, as far as there are so many, whatever `limit` asks for.
        latency: Seconds that every answer takes longer.
        paths: `own`: the path of a media item ends in its own id, as in every document. `holder`: it ends in the id of
            the folder or dataset that holds the item, as an older row might have it.
        polygons: Whether detected objects carry `polygon`; the answer for one media item is documented without.
        before: Called with each API request before it is answered; may change the library, or return the answer.
        after: Called with each listing request and its answer; may return another one. Either may return a JSON
            value, raw bytes, or a Starlette response.
        faults: What goes wrong with answers on their way; None is nothing.
    """

    def __init__(
        self,
        library: Library,
        generation: int = 2026,
        *,
        api_key: str = "local-studio-key",
        port: int = 0,
        strict: bool = False,
        limit_cap: int | None = None,
        limit_floor: int = 0,
        latency: float = 0.0,
        paths: str = "own",
        polygons: bool = True,
        before: Callable[[Request], Any] | None = None,
        after: Callable[[Request, Item], Any] | None = None,
        faults: Faults | None = None,
    ) -> None:
        self.library = library
        self.generation = generation
        self.key = api_key
        self.strict = strict
        self.limit_cap = limit_cap
        self.limit_floor = limit_floor
        self.latency = latency
        self.paths = paths
        self.polygons = polygons
        self.before = before
        self.after = after
        self.faults = faults
        #: Every API request so far.
        self.requests: list[Request] = []
        self._last_pick: tuple[list[Item], _Wanted, int, list[Item]] | None = None
        self._socket = socket.create_server(("127.0.0.1", port))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        app = Starlette(
            routes=[
                Route("/blob/{id}", self._blob, methods=["GET"]),
                Route("/{path:path}", self._api, methods=["GET", "PATCH"]),
            ]
        )
        config = uvicorn.Config(
            app,
            http=WireProtocol,
            log_level="critical",
            access_log=False,
            date_header=False,
            server_header=False,
            lifespan="off",
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._socket]}, daemon=True, name="local-studio"
        )

    @property
    def form(self) -> Form:
        """How it shows items now."""
        return Form(self.generation, self.paths, self.polygons)

    def __enter__(self) -> Studio:
        self._thread.start()
        while not self._server.started:
            if not self._thread.is_alive():
                raise RuntimeError("the local Studio did not start")
            time.sleep(0.005)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._server.should_exit = self._server.force_exit = True
        self._thread.join(timeout=10)
        self._socket.close()

    async def _blob(self, request: HttpRequest) -> Response:
        frame, crop = self._pictured(request.path_params["id"])
        if frame is None:
            return self._error(404, "No such picture")
        headers = {"Cache-Control": "public, max-age=86400"}
        return Response(picture(frame, crop), media_type="image/svg+xml", headers=headers)

    def _pictured(self, blob_id: str) -> tuple[Item | None, Item | None]:
        wanted = canonical_id(blob_id)
        known = self.library.pictures
        if wanted not in known:
            with self.library.lock:
                for dataset in self.library.datasets.values():
                    for item in dataset.items.values():
                        frames = item.get("frames") or []
                        known[item["id"]] = (frames[0] if frames else {"id": item["id"]}, None)
                        for frame in frames:
                            known[frame["id"]] = (frame, None)
                            known |= {thing["id"]: (frame, thing) for thing in frame.get("objects") or []}
        return known.get(wanted, (None, None))

    async def _api(self, http: HttpRequest) -> Response:
        answer = await self._answered(http)
        return self.faults.apply(f"{http.url.path}?{http.url.query}", answer) if self.faults else answer

    async def _answered(self, http: HttpRequest) -> Response:
        path = http.url.path
        parts = path.strip("/").split("/")
        dataset_id = parts[2] if parts[:2] == ["api", "dataset"] and len(parts) > 2 else None
        request = Request(len(self.requests) + 1, http.method, path, dict(http.query_params), dataset_id)
        self.requests.append(request)
        if self.latency:
            await asyncio.sleep(self.latency)
        if self.before is not None:
            answer = self.before(request)
            if answer is not None:
                return self._response(answer)
        if not self._authorized(http):
            return self._error(401, "Invalid or missing API key")
        try:
            body = await http.body() if http.method == "PATCH" else b""
            return self._response(self._answer(request, parts, body))
        except _Refused as refusal:
            return self._error(refusal.status, str(refusal))

    def _authorized(self, http: HttpRequest) -> bool:
        if self.generation == 2026 and http.headers.get("authorization") == f"Bearer {self.key}":
            return True
        return http.headers.get("x-api-key") == self.key

    def _response(self, answer: Any) -> Response:
        if isinstance(answer, Response):
            response = answer
        else:
            body = answer if isinstance(answer, bytes) else msgspec.json.encode(answer)
            response = Response(body, media_type="application/json")
        response.headers.setdefault("Date", format_datetime(self.library.clock(), usegmt=True))
        return response

    def _error(self, status: int, message: str) -> Response:
        body = msgspec.json.encode({"error": _ERRORS.get(status, "Error"), "message": message})
        return self._response(Response(body, status, media_type="application/json"))

    def _answer(self, request: Request, parts: list[str], body: bytes) -> Any:
        match parts:
            case ["api", "dataset", dataset_id, "media"]:
                return self._listing(request, dataset_id)
            case _ if self.generation == 2025:
                raise _Refused(404, "Not found")
            case ["api", "dataset", dataset_id]:
                return {"dataset": self._info(dataset_id)}
            case ["api", "me"]:
                return self._plain(self.library.user)
            case ["api", "organization", organization_id, "datasets"]:
                if canonical_id(organization_id) != self.library.user["organizationId"]:
                    raise _Refused(404, "Organization not found")
                return {"datasets": [self._info(d) for d in self.library.datasets]}
            case ["api", "media", media_id]:
                return self._single(request, media_id, body)
            case ["api", "media", media_id, "versions"]:
                return {"versions": [self._single(request, media_id, b"")["media"]]}
            case ["api", "search"]:
                query = request.params.get("q", "").lower()
                found = [i for d in self.library.datasets for i in self.library.listing(d) if query in _text(i)]
                return {"media": [self._shown(i) for i in found[: int(request.params.get("limit", 10))]]}
            case _:
                raise _Refused(404, "Not found")

    def _plain(self, value: Item) -> Item:
        ids = ("id", "organizationId", "userId")
        return {k: v.replace("-", "") if k in ids else v for k, v in value.items()}

    def _info(self, dataset_id: str) -> Item:
        try:
            return self._plain(self.library.dataset(dataset_id).info)
        except KeyError:
            raise _Refused(404, "Dataset not found") from None

    def _shown(self, item: Item) -> Item:
        shown: Item = msgspec.json.decode(self.library.encoded(item, self.form))
        return shown

    def _single(self, request: Request, media_id: str, body: bytes) -> Item:
        try:
            if request.method == "PATCH":
                # how tags are edited is not documented; this is a guess
                with self.library.changing(media_id) as item:
                    item["metadata"]["tags"] = msgspec.json.decode(body)["metadata"]["tags"]
            item = self.library.media(media_id)
        except KeyError:
            raise _Refused(404, "Media not found") from None
        return {"media": {**self._shown(item), "dataset": self._info(item["datasetId"])}}

    def _listing(self, request: Request, dataset_id: str) -> Any:
        wanted = _Wanted.read(request.params, self.generation, self.strict)
        with self.library.lock:
            try:
                dataset = self.library.dataset(dataset_id)
            except KeyError:
                raise _Refused(404, "Dataset not found") from None
            items = self._picked(dataset, wanted)
            limit = max(self.limit_floor, min(wanted.limit, self.limit_cap or wanted.limit))
            page = items[wanted.offset : wanted.offset + limit]
            pagination = {
                "total": len(items),
                "limit": limit,
                "offset": wanted.offset,
                "hasMore": wanted.offset + len(page) < len(items),
            }
            encoded = [self._with_addresses(self.library.encoded(item, self.form)) for item in page]
        if wanted.query:
            encoded = [msgspec.json.encode({**msgspec.json.decode(e), "_score": 1.0}) for e in encoded]
        body = b'{"media":[' + b",".join(encoded) + b'],"pagination":' + msgspec.json.encode(pagination) + b"}"
        if self.after is not None:
            answer = self.after(request, msgspec.json.decode(body))
            if answer is not None:
                return answer
        return body

    def _picked(self, dataset: Dataset, wanted: _Wanted) -> list[Item]:
        """The items that are wanted, of all pages; picked anew when the library has changed."""
        order = self.library.listing(dataset.id)
        asked = replace(wanted, limit=0, offset=0)
        last = self._last_pick
        if last is None or last[0] is not order or last[1:3] != (asked, self.generation):
            picked = wanted.pick(order, dataset.id.replace("-", ""), self.generation)
            last = self._last_pick = (order, asked, self.generation, picked)
        return last[3]

    def _with_addresses(self, encoded: bytes) -> bytes:
        return encoded.replace(b'"/blob/', b'"' + self.url.encode() + b"/blob/")

    def snapshot(self, dataset_id: str) -> list[Item]:
        """What a complete listing of a dataset returns now, with the addresses of this server."""
        with self.library.lock:
            shown = [
                i for i in self.library.listing(dataset_id) if self.generation == 2026 or i.get("type") != "folder"
            ]
            return [msgspec.json.decode(self._with_addresses(self.library.encoded(i, self.form))) for i in shown]


@dataclass(frozen=True)
class _Wanted:
    """A listing's parameters, checked."""

    limit: int
    offset: int
    descending: bool
    sort_by: str
    recursive: bool
    path: str | None
    kind: str
    dates: tuple[str, str]
    query: str

    @classmethod
    def read(cls, params: Mapping[str, str], generation: int, strict: bool) -> _Wanted:
        unknown = set(params) - _PARAMETERS[generation]
        if unknown and strict:
            raise _Refused(400, f"Invalid query parameters: {', '.join(sorted(unknown))}")
        params = {name: value for name, value in params.items() if name not in unknown}
        try:
            limit, offset = int(params.get("limit", 10)), int(params.get("offset", 0))
        except ValueError:
            raise _Refused(400, "Invalid query parameters") from None
        direction = params.get("sortDirection", "asc" if generation == 2025 else "desc")
        sort_by = params.get("sortBy", "createdAt")
        kind = params.get("type", "all")
        dates = (params.get("dateFrom", "0000-00-00"), params.get("dateTo", "9999-99-99"))
        known = (
            limit >= 1
            and offset >= 0
            and direction in ("asc", "desc")
            and sort_by in ("createdAt", "name", "type", "description", "prompt")
            and kind in ("image", "video", "folder", "all")
            and all(_DATE.fullmatch(d) for d in dates)
        )
        if not known:
            raise _Refused(400, "Invalid query parameters")
        recursive = generation == 2025 or params.get("recursive") == "true"
        return cls(
            limit, offset, direction == "desc", sort_by, recursive, params.get("path"), kind, dates, params.get("q", "")
        )

    def pick(self, items: list[Item], top: str, generation: int) -> list[Item]:
        """The items that are wanted, in the order that is wanted."""
        if generation == 2025:
            items = [i for i in items if i.get("type") != "folder"]
        elif not self.recursive or self.path:
            items = [i for i in items if _in_folder(i, self.path or top, self.recursive)]
        if self.kind != "all":
            items = [i for i in items if i.get("type") == self.kind]
        if self.dates != ("0000-00-00", "9999-99-99"):
            items = [i for i in items if self.dates[0] <= str(i.get("createdAt"))[:10] <= self.dates[1]]
        if self.query:
            items = [i for i in items if self.query.lower() in _text(i)]
        if self.sort_by != "createdAt":
            items = sorted(items, key=lambda i: str(i.get(self.sort_by)))
        return items[::-1] if self.descending else items


def _in_folder(item: Item, path: str, below: bool) -> bool:
    own = str(item.get("path") or path)
    above, _, last = own.rpartition(".")
    holder = above if item.get("type") == "folder" or last == str(item["id"]).replace("-", "") else own
    return holder == path or (below and holder.startswith(path + "."))


def _text(item: Item) -> str:
    captions = [str(c.get("text")) for f in item.get("frames") or [] for c in f.get("captions") or []]
    return " ".join([str(item.get("name")), *captions]).lower()
