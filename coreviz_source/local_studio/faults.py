"""What goes wrong between a server and its client: small named faults that a Studio injects by a seed.

```python
with Studio(library, faults=Faults(["reset", "gzip"], seed=3)) as studio:
    ...
```

A fault takes the response that the Studio is about to send and returns another one. Several faults can change the same
response, in the order of `FAULTS`: a change of the content comes before a disturbance of the delivery.
"""

from __future__ import annotations

import asyncio
import gzip as gzip_format
import socket
import struct
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from itertools import repeat
from random import Random

from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

Fault = Callable[[Response, Random], Response]

#: Seconds between two parts of a slow response.
PAUSE = 0.02


class Faults:
    """Chooses the faults of each response. The nth request for a path always meets the same faults, whoever sends it.

    Args:
        names: Keys of `FAULTS`.
        seed: The seed of the choice.
        share: Probability of each fault per response; 1 is always.
        most: The largest number of responses with a fault; None is no bound.
        only: Whether a request may meet faults, by its path and query; by default all may.
    """

    def __init__(
        self,
        names: Iterable[str],
        seed: int = 1,
        share: float = 0.3,
        most: int | None = None,
        only: Callable[[str], bool] = lambda path: True,
    ) -> None:
        wanted = set(names)
        self._names = [name for name in FAULTS if name in wanted]
        if unknown := wanted - FAULTS.keys():
            raise ValueError(f"no such fault: {', '.join(sorted(unknown))}")
        self._seed = seed
        self._share = share
        self._left = most
        self._only = only
        self._asked: Counter[str] = Counter()
        #: How often each fault was injected.
        self.injected: Counter[str] = Counter()

    def apply(self, path: str, response: Response) -> Response:
        """The response with the faults chosen for it."""
        if not self._only(path):
            return response
        self._asked[path] += 1
        dice = {name: Random(f"{self._seed} {name} {path} {self._asked[path]}") for name in self._names}
        chosen = [name for name in self._names if dice[name].random() < self._share]
        if not chosen or self._left == 0:
            return response
        if self._left is not None:
            self._left -= 1
        for name in chosen:
            response = FAULTS[name](response, dice[name])
            self.injected[name] += 1
        return response


class WireProtocol(HttpToolsProtocol):
    """uvicorn's protocol; it gives a response access to the connection, which a fault can then reset or cut."""

    def on_message_begin(self) -> None:
        """Stores the connection in the request's scope."""
        super().on_message_begin()
        self.scope["state"]["wire"] = self.transport


def _changed(response: Response, body: bytes, **headers: str) -> Response:
    """The same response with another body."""
    kept = {k: v for k, v in response.headers.items() if k not in ("content-length", *headers)}
    return Response(body, response.status_code, {**kept, **headers})


def _with_status(status: int, body: bytes = b'{"error": "Failed", "message": "It failed."}', **headers: str) -> Fault:
    """A response with another status and body."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda response, dice: Response(body, status, {"content-type": "application/json", **named})


def _inserted(text: bytes) -> Fault:
    """One more field in the first media item of a listing."""
    return lambda response, dice: _changed(
        response, bytes(response.body).replace(b'{"media":[{', b'{"media":[{' + text + b",", 1)
    )


def _replaced(body: bytes, **headers: str) -> Fault:
    return lambda response, dice: _changed(response, body, **headers)


class _OnTheWire(Response):
    """A response with the content of another one, delivered differently."""

    def __init__(self, response: Response) -> None:
        super().__init__(response.body, response.status_code)
        self.raw_headers = list(response.raw_headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.deliver(scope["state"]["wire"], send)

    async def deliver(self, wire: asyncio.Transport, send: Send) -> None:
        """Sends the response."""
        raise NotImplementedError

    async def _start(self, send: Send, **headers: str | None) -> None:
        """Sends status and headers, some of them changed; None removes a header."""
        changed = {name.replace("_", "-"): value for name, value in headers.items()}
        kept = [(k, v) for k, v in self.raw_headers if k.decode() not in changed]
        kept += [(k.encode(), v.encode()) for k, v in changed.items() if v is not None]
        await send({"type": "http.response.start", "status": self.status_code, "headers": kept})

    async def _part(self, send: Send, body: bytes, more: bool = True) -> None:
        await send({"type": "http.response.body", "body": body, "more_body": more})


class _Late(_OnTheWire):
    """The response after a delay."""

    def __init__(self, response: Response, seconds: float) -> None:
        super().__init__(response)
        self.seconds = seconds

    async def deliver(self, wire: asyncio.Transport, send: Send) -> None:
        """Waits, then sends it unchanged."""
        await asyncio.sleep(self.seconds)
        await self._start(send)
        await self._part(send, bytes(self.body), more=False)


class _Chunked(_OnTheWire):
    """The response without a length, in several parts."""

    pause = 0.0

    async def deliver(self, wire: asyncio.Transport, send: Send) -> None:
        """Sends ten parts."""
        await self._start(send, content_length=None)
        size = max(1, len(self.body) // 10)
        for start in range(0, len(self.body), size):
            await self._part(send, bytes(self.body[start : start + size]))
            await asyncio.sleep(self.pause)
        await self._part(send, b"", more=False)


class _Slow(_Chunked):
    """The same with a pause after each part."""

    pause = PAUSE


class _Reset(_OnTheWire):
    """No response: the connection is reset."""

    async def deliver(self, wire: asyncio.Transport, send: Send) -> None:
        """Resets the connection; this also discards what was sent but not yet received."""
        wire.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        wire.abort()


class _ResetHalfway(_Reset):
    """Half of the response, then a reset."""

    async def deliver(self, wire: asyncio.Transport, send: Send) -> None:
        """Sends half of it."""
        await self._start(send)
        await self._part(send, bytes(self.body[: len(self.body) // 2]))
        await asyncio.sleep(PAUSE)
        await super().deliver(wire, send)


class _Half(_OnTheWire):
    """Half of the response, then the connection is closed in an orderly way."""

    async def deliver(self, wire: asyncio.Transport, send: Send) -> None:
        """Sends half of it."""
        await self._start(send)
        await self._part(send, bytes(self.body[: len(self.body) // 2]))
        wire.close()


class _LengthTooLong(_OnTheWire):
    """The whole response, under a Content-Length that is too large."""

    async def deliver(self, wire: asyncio.Transport, send: Send) -> None:
        """Announces a hundred bytes more."""
        await self._start(send, content_length=str(len(self.body) + 100))
        await self._part(send, bytes(self.body))
        wire.close()


class _LengthTooShort(_OnTheWire):
    """The whole response, under a Content-Length that is too small: the rest precedes the next response."""

    async def deliver(self, wire: asyncio.Transport, send: Send) -> None:
        """Announces ten bytes less, and sends all of them."""
        announced = max(0, len(self.body) - 10)
        await self._start(send, content_length=str(announced))
        await self._part(send, bytes(self.body[:announced]), more=False)
        wire.write(bytes(self.body[announced:]))


class _Trickle(_OnTheWire):
    """An endless body, one byte every few milliseconds: each arrives before a timeout for the next byte."""

    async def deliver(self, wire: asyncio.Transport, send: Send) -> None:
        """Sends spaces, which JSON allows before the first token."""
        await self._start(send, content_length=None)
        while not wire.is_closing():
            await self._part(send, b" ")
            await asyncio.sleep(PAUSE)


class _TrickledHeaders(_OnTheWire):
    """The same within the headers."""

    async def deliver(self, wire: asyncio.Transport, send: Send) -> None:
        """Sends one header, byte by byte."""
        wire.write(b"HTTP/1.1 200 OK\r\nx-endless: ")
        while not wire.is_closing():
            wire.write(b"x")
            await asyncio.sleep(PAUSE)


class _Endless(_OnTheWire):
    """An endless body, as fast as the client reads."""

    async def deliver(self, wire: asyncio.Transport, send: Send) -> None:
        """Sends megabytes of spaces."""
        await self._start(send, content_length=None)
        for part in repeat(b" " * 2**20):
            if wire.is_closing():
                return
            await self._part(send, part)
            await asyncio.sleep(0)


def _gzip(response: Response, dice: Random) -> Response:
    return _changed(response, gzip_format.compress(bytes(response.body), 1), **{"content-encoding": "gzip"})


def _not_gzip(response: Response, dice: Random) -> Response:
    return _changed(response, bytes(response.body), **{"content-encoding": "gzip"})


def _bomb(response: Response, dice: Random) -> Response:
    """Two megabytes on the wire, two gigabytes unpacked."""
    packed = gzip_format.compress(b" " * 2**24, 9)
    return _changed(response, packed * 128, **{"content-encoding": "gzip"})


def _redirected(to: str, code: int = 302) -> Fault:
    return lambda response, dice: Response(status_code=code, headers={"location": to})


#: Unusual but complete responses, which a client has to read.
HARMLESS: dict[str, Fault] = {
    "NaN": _inserted(b'"odd":NaN'),
    "lone surrogate": _inserted(b'"odd":"\\ud800"'),
    "NUL": _inserted(b'"odd":"\\u0000"'),
    "duplicate key": _inserted(b'"name":"the first of two","id":"the first of two"'),
    "deep JSON": _inserted(b'"odd":' + b"[" * 5_000 + b"]" * 5_000),
    "huge number": _inserted(b'"odd":' + b"9" * 400),
    "huge page": _inserted(b'"odd":"' + b"x" * 2**23 + b'"'),
    "byte order mark": lambda response, dice: _changed(response, b"\xef\xbb\xbf" + bytes(response.body)),
    "wrong content type": lambda response, dice: _changed(
        response, bytes(response.body), **{"content-type": "text/html; charset=iso-8859-1"}
    ),
    "gzip": _gzip,
    "latency": lambda response, dice: _Late(response, 2 * PAUSE),
    "jitter": lambda response, dice: _Late(response, dice.uniform(0, 4 * PAUSE)),
    "chunked": lambda response, dice: _Chunked(response),
    "slow body": lambda response, dice: _Slow(response),
}
#: Failures after which a client tries again; if they persist, the API is unavailable.
PASSING: dict[str, Fault] = {
    "429": _with_status(429),
    "429, Retry-After 0": _with_status(429, retry_after="0"),
    "429, Retry-After seconds": _with_status(429, retry_after="1"),
    "429, Retry-After date": _with_status(429, retry_after="Wed, 21 Oct 2015 07:28:00 GMT"),
    "429, Retry-After absurd": _with_status(429, retry_after="99999999999"),
    "429, Retry-After nonsense": _with_status(429, retry_after="soon \u00b2"),
    "204": _with_status(204, b""),
    "500": _with_status(500),
    "502": _with_status(502, b"<html>Bad Gateway</html>"),
    "503": _with_status(503, b"", retry_after="1"),
    "504": _with_status(504, b"\xff\xfe\x00"),
    "error with status 200": _with_status(200, b'{"error": "Unavailable", "message": "Later."}'),
    "HTML": _replaced(b"<html>Sign in</html>", **{"content-type": "text/html"}),
    "empty body": _replaced(b""),
    "broken JSON": lambda response, dice: _changed(response, bytes(response.body[: len(response.body) // 2])),
    "not gzip": _not_gzip,
    "half body": lambda response, dice: _Half(response),
    "length too long": lambda response, dice: _LengthTooLong(response),
    "length too short": lambda response, dice: _LengthTooShort(response),
    "reset halfway": lambda response, dice: _ResetHalfway(response),
    "reset": lambda response, dice: _Reset(response),
    "trickled body": lambda response, dice: _Trickle(response),
    "trickled headers": lambda response, dice: _TrickledHeaders(response),
}
#: Responses that a client does not ask for again: the next one would be the same.
REFUSALS: dict[str, Fault] = {
    "400": _with_status(400),
    "401": _with_status(401),
    "402": _with_status(402),
    "403": _with_status(403),
    "404": _with_status(404),
    "redirect to the same host": _redirected("/api/me"),
    "redirect to another host": _redirected("https://192.0.2.1/api/me", 307),
    "redirect to http": _redirected("http://192.0.2.1/api/me", 308),
    "redirect loop": _redirected("?", 301),
    "endless body": lambda response, dice: _Endless(response),
    "gzip bomb": _bomb,
}
FAULTS: Mapping[str, Fault] = {**REFUSALS, **HARMLESS, **PASSING}
