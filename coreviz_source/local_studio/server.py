"""The HTTP server of the local Studio: both generations of the API, on loopback."""

from __future__ import annotations

import asyncio
import re
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import KW_ONLY, InitVar, dataclass, field
from email.utils import format_datetime
from types import TracebackType
from typing import Any

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request as HttpRequest
from starlette.responses import Response
from starlette.routing import Route

from coreviz_source.local_studio.endpoints import Endpoints, Request
from coreviz_source.local_studio.faults import Faults, WireProtocol
from coreviz_source.local_studio.form import Item
from coreviz_source.local_studio.ids import canonical_id
from coreviz_source.local_studio.pictures import picture
from coreviz_source.local_studio.refused import Refused
from coreviz_source.local_studio.video import video

_ERRORS = {400: "Bad Request", 401: "Unauthorized", 402: "Payment Required", 403: "Forbidden", 404: "Not Found"}


@dataclass(eq=False, repr=False)
class Studio(Endpoints):
    """Serves a library while a `with` block lasts.

    Every switch is also an attribute, and can be changed while the Studio serves. The switches from `paths` on are for
    what the documents leave open, or show in two ways; the 2025 generation has only the listing and the search.

    Args:
        library: The library to serve.
        generation: 2025 or 2026.
        api_key: The key that it accepts in the header `x-api-key`.
        token: The token that it accepts as `Authorization: Bearer` (2026 only).
        port: Port on 127.0.0.1; 0 takes a free one.
        strict: Whether parameters that the generation does not know are answered with 400.
        limit_cap: The most media items per response, whatever `limit` asks for; the cap is not announced.
        limit_floor: The fewest media items per response, as far as there are so many, whatever `limit` asks for.
        latency: Seconds by which every response is delayed.
        before: Called with each API request before it is answered; may change the library, or return the response.
        after: Called with each listing request and its response; may return another one. Either may return a JSON
            value, raw bytes, or a Starlette response.
        faults: What goes wrong with responses on their way; None is nothing.
        paths: `own`: the path of a media item ends in its own id, as in every document. `holder`: it ends in the id of
            the folder or dataset that holds the item, as an older row might have it.
        polygons: Whether detected objects carry `polygon`. The search is documented with it, the listing is not.
        single_polygons: The same for `GET /api/media/{id}`, which is documented without.
        folder_counts: What `folderItemCount` counts. `items`: the folders and media items directly in the folder.
            `below`: all media items in it and in the folders below. `zero`: nothing.
        previews: Whether folders carry `folderPreviews`, the addresses of the newest pictures directly in them.
            The documents mention previews without a field name.
        deleted_listed: Whether listings show items with status "deleted".
        deleted_single: Whether `GET /api/media/{id}` returns a deleted item; otherwise the response is a 404.
        organization_list: `array`, or `object` for `{"organizations": […]}`.
        dataset_list: `array`, or `object` for `{"datasets": […]}`.
        key_scope: Which organizations a key sees, `all` or only the `default` one; a token sees all. Everything in the
            others is answered with 403.
        forbidden: Ids of organizations of which everything but their name is answered with 403.
        missing: Endpoints that this deployment does not have, answered with 404: any of `me`, `organizations`,
            `datasets`, `dataset`, `tags`, `folder`, `media`, `move`, `versions`, `search`.
        stamped: Whether a change over HTTP sets `updatedAt` and `updatedById`; no document mentions it.
    """

    _: KW_ONLY
    api_key: InitVar[str] = "local-studio-key"
    token: str = "local-studio-token"
    port: InitVar[int] = 0
    latency: float = 0.0
    before: Callable[[Request], Any] | None = None
    after: Callable[[Request, Item], Any] | None = None
    faults: Faults | None = None
    key: str = field(init=False)
    #: Every API request so far.
    requests: list[Request] = field(init=False, default_factory=list)

    def __post_init__(self, api_key: str, port: int) -> None:
        super().__post_init__()
        self.key = api_key
        self._socket = socket.create_server(("127.0.0.1", port))
        # without it each response waits for the acknowledgement of its headers; asyncio sets it for other sockets only
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        app = Starlette(
            routes=[
                Route("/blob/{id}", self._blob, methods=["GET"]),
                Route("/{path:path}", self._api, methods=["GET", "POST", "PATCH", "DELETE"]),
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
        if frame.get("type") == "video":
            content = await asyncio.to_thread(video, frame["frames"], frame["duration"])
            return _part(content, request.headers.get("range"), headers)
        return Response(picture(frame, crop), media_type="image/svg+xml", headers=headers)

    def _pictured(self, blob_id: str) -> tuple[Item | None, Item | None]:
        wanted = canonical_id(blob_id)
        known = self.library.pictures
        if wanted not in known:
            with self.library.lock:
                for dataset in self.library.datasets.values():
                    for item in dataset.items.values():
                        frames = item.get("frames") or []
                        still = frames[0] if frames else {"id": item["id"]}
                        known[item["id"]] = (item if item.get("type") == "video" else still, None)
                        for frame in frames:
                            known[frame["id"]] = (frame, None)
                            known |= {thing["id"]: (frame, thing) for thing in frame.get("objects") or []}
        return known.get(wanted, (None, None))

    async def _api(self, http: HttpRequest) -> Response:
        response = await self._responded(http)
        return self.faults.apply(f"{http.url.path}?{http.url.query}", response) if self.faults else response

    async def _responded(self, http: HttpRequest) -> Response:
        path = http.url.path
        parts = path.strip("/").split("/")
        dataset_id = parts[2] if parts[:2] == ["api", "dataset"] and len(parts) > 2 else None
        body = await http.body() if http.method in ("POST", "PATCH") else b""
        by_key = http.headers.get("x-api-key") == self.key
        number, parameters = len(self.requests) + 1, dict(http.query_params)
        request = Request(number, http.method, path, parameters, dataset_id, body, by_key, dict(http.headers))
        self.requests.append(request)
        if self.latency:
            await asyncio.sleep(self.latency)
        if self.before is not None:
            replaced = self.before(request)
            if replaced is not None:
                return self._response(replaced)
        if not (by_key or self._has_token(http)):
            return self._error(401, "Invalid or missing API key")
        try:
            sent = self.respond(request)
            if self.after is not None and request.method == "GET" and parts[3:] == ["media"]:
                replaced = self.after(request, msgspec.json.decode(sent))
                sent = sent if replaced is None else replaced
            return self._response(sent)
        except Refused as refusal:
            return self._error(refusal.status, str(refusal))

    def _has_token(self, http: HttpRequest) -> bool:
        return self.generation == 2026 and http.headers.get("authorization") == f"Bearer {self.token}"

    def _response(self, sent: Any) -> Response:
        if isinstance(sent, Response):
            response = sent
        else:
            body = sent if isinstance(sent, bytes) else msgspec.json.encode(sent)
            response = Response(body, media_type="application/json")
        response.headers.setdefault("Date", format_datetime(self.library.clock(), usegmt=True))
        return response

    def _error(self, status: int, message: str) -> Response:
        body = msgspec.json.encode({"error": _ERRORS.get(status, "Error"), "message": message})
        return self._response(Response(body, status, media_type="application/json"))


def _part(content: bytes, wanted: str | None, headers: dict[str, str]) -> Response:
    """A video, or the part that a player asked for: without parts it cannot jump to a moment."""
    headers = {**headers, "Accept-Ranges": "bytes"}
    asked = re.fullmatch(r"bytes=(\d+)-(\d*)", wanted or "")
    if asked is None or int(asked[1]) >= len(content):
        return Response(content, media_type="video/mp4", headers=headers)
    first, last = int(asked[1]), min(int(asked[2] or len(content)), len(content) - 1)
    headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
    return Response(content[first : last + 1], 206, media_type="video/mp4", headers=headers)
