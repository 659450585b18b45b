"""What goes wrong between a server and its client, as small named faults that a Studio injects by a seed.

```python
with Studio(library, faults=Faults(["reset", "gzip"], seed=3)) as studio:
    ...
```

A fault takes the answer that the Studio was about to send and returns another one. Several can befall one answer: they
are applied in the order of `FAULTS`, so that what changes the content comes before what disturbs its delivery.
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

#: Seconds between two parts of a slow answer.
PAUSE = 0.02


class Faults:
    """Decides which faults befall an answer; the same request asked as often meets the same ones, whoever asks first.

    Args:
        names: Which of `FAULTS`.
        seed: What the dice start from.
        share: How likely each of them is, for each answer: 1 is always.
        most: How many answers suffer at most; None is no bound.
        only: Which requests can suffer, by their path; all of them by default.
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
        #: How often each fault befell an answer.
        self.injected: Counter[str] = Counter()

    def apply(self, path: str, answer: Response) -> Response:
        """The answer, with the faults that the dice chose for it."""
        if not self._only(path):
            return answer
        self._asked[path] += 1
        dice = {name: Random(f"{self._seed} {name} {path} {self._asked[path]}") for name in self._names}
        chosen = [name for name in self._names if dice[name].random() < self._share]
        if not chosen or self._left == 0:
            return answer
        if self._left is not None:
            self._left -= 1
        for name in chosen:
            answer = FAULTS[name](answer, dice[name])
            self.injected[name] += 1
        return answer


class WireProtocol(HttpToolsProtocol):
    """uvicorn's protocol, which lets an answer reach for the connection: only there can it be reset or lied to."""

    def on_message_begin(self) -> None:
        """Puts the connection beside the request."""
        super().on_message_begin()
        self.scope["state"]["wire"] = self.transport


def _changed(answer: Response, body: bytes, **headers: str) -> Response:
    """The same answer with another body."""
    kept = {k: v for k, v in answer.headers.items() if k not in ("content-length", *headers)}
    return Response(body, answer.status_code, {**kept, **headers})


def _answered(status: int, body: bytes = b'{"error": "Failed", "message": "It failed."}', **headers: str) -> Fault:
    """An answer with another status, whatever was asked."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda answer, dice: Response(body, status, {"content-type": "application/json", **named})


def _inserted(text: bytes) -> Fault:
    """A field more in the first media of a listing."""
    return lambda answer, dice: _changed(
        answer, bytes(answer.body).replace(b'{"media":[{', b'{"media":[{' + text + b",", 1)
    )


def _replaced(body: bytes, **headers: str) -> Fault:
    return lambda answer, dice: _changed(answer, body, **headers)


class _OnTheWire(Response):
    """An answer that is delivered in a way of its own; what it holds is that of another answer."""

    def __init__(self, answer: Response) -> None:
        super().__init__(answer.body, answer.status_code)
        self.raw_headers = list(answer.raw_headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.deliver(scope["state"]["wire"], send)

    async def deliver(self, wire: asyncio.Transport, send: Send) -> None:
        """Sends the answer."""
        raise NotImplementedError

    async def _start(self, send: Send, **headers: str | None) -> None:
        """Sends status and headers, some of them changed; None leaves one out."""
        changed = {name.replace("_", "-"): value for name, value in headers.items()}
        kept = [(k, v) for k, v in self.raw_headers if k.decode() not in changed]
        kept += [(k.encode(), v.encode()) for k, v in changed.items() if v is not None]
        await send({"type": "http.response.start", "status": self.status_code, "headers": kept})

    async def _part(self, send: Send, body: bytes, more: bool = True) -> None:
        await send({"type": "http.response.body", "body": body, "more_body": more})


class _Late(_OnTheWire):
    """The answer after a while."""

    def __init__(self, answer: Response, seconds: float) -> None:
        super().__init__(answer)
        self.seconds = seconds

    async def deliver(self, wire: asyncio.Transport, send: Send) -> None:
        """Waits, then sends it as it is."""
        await asyncio.sleep(self.seconds)
        await self._start(send)
        await self._part(send, bytes(self.body), more=False)


class _Chunked(_OnTheWire):
    """The answer without a length, in some parts."""

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
    """No answer: the connection is reset."""

    async def deliver(self, wire: asyncio.Transport, send: Send) -> None:
        """Resets the connection, which also discards what was sent but not yet received."""
        wire.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        wire.abort()


class _ResetHalfway(_Reset):
    """Half of the answer, then a reset."""

    async def deliver(self, wire: asyncio.Transport, send: Send) -> None:
        """Sends half of it."""
        await self._start(send)
        await self._part(send, bytes(self.body[: len(self.body) // 2]))
        await asyncio.sleep(PAUSE)
        await super().deliver(wire, send)


class _Half(_OnTheWire):
    """Half of the answer, then the connection is closed in an orderly way."""

    async def deliver(self, wire: asyncio.Transport, send: Send) -> None:
        """Sends half of it."""
        await self._start(send)
        await self._part(send, bytes(self.body[: len(self.body) // 2]))
        wire.close()


class _LengthTooLong(_OnTheWire):
    """All of the answer, but more was promised."""

    async def deliver(self, wire: asyncio.Transport, send: Send) -> None:
        """Promises a hundred bytes more."""
        await self._start(send, content_length=str(len(self.body) + 100))
        await self._part(send, bytes(self.body))
        wire.close()


class _LengthTooShort(_OnTheWire):
    """All of the answer, but less was promised: what is left over lies before the next answer of the connection."""

    async def deliver(self, wire: asyncio.Transport, send: Send) -> None:
        """Promises ten bytes less, and sends all the same."""
        promised = max(0, len(self.body) - 10)
        await self._start(send, content_length=str(promised))
        await self._part(send, bytes(self.body[:promised]), more=False)
        wire.write(bytes(self.body[promised:]))


class _Trickle(_OnTheWire):
    """A byte now and then, without an end: each comes before any timeout for the next byte."""

    async def deliver(self, wire: asyncio.Transport, send: Send) -> None:
        """Sends spaces, which JSON allows before its first token."""
        await self._start(send, content_length=None)
        while not wire.is_closing():
            await self._part(send, b" ")
            await asyncio.sleep(PAUSE)


class _TrickledHeaders(_OnTheWire):
    """The same, but already the headers have no end."""

    async def deliver(self, wire: asyncio.Transport, send: Send) -> None:
        """Sends a header of which a byte comes now and then."""
        wire.write(b"HTTP/1.1 200 OK\r\nx-endless: ")
        while not wire.is_closing():
            wire.write(b"x")
            await asyncio.sleep(PAUSE)


class _Endless(_OnTheWire):
    """A body without an end, as fast as it is taken."""

    async def deliver(self, wire: asyncio.Transport, send: Send) -> None:
        """Sends megabytes of spaces."""
        await self._start(send, content_length=None)
        for part in repeat(b" " * 2**20):
            if wire.is_closing():
                return
            await self._part(send, part)
            await asyncio.sleep(0)


def _gzip(answer: Response, dice: Random) -> Response:
    return _changed(answer, gzip_format.compress(bytes(answer.body), 1), **{"content-encoding": "gzip"})


def _not_gzip(answer: Response, dice: Random) -> Response:
    return _changed(answer, bytes(answer.body), **{"content-encoding": "gzip"})


def _bomb(answer: Response, dice: Random) -> Response:
    """Two megabytes on the wire, two gigabytes when they are unpacked."""
    packed = gzip_format.compress(b" " * 2**24, 9)
    return _changed(answer, packed * 128, **{"content-encoding": "gzip"})


def _redirected(to: str, code: int = 302) -> Fault:
    return lambda answer, dice: Response(status_code=code, headers={"location": to})


#: What a client has to take as it is: the answer is whole, only unusual.
HARMLESS: dict[str, Fault] = {
    "NaN": _inserted(b'"odd":NaN'),
    "lone surrogate": _inserted(b'"odd":"\\ud800"'),
    "NUL": _inserted(b'"odd":"\\u0000"'),
    "duplicate key": _inserted(b'"name":"the first of two","id":"the first of two"'),
    "deep JSON": _inserted(b'"odd":' + b"[" * 5_000 + b"]" * 5_000),
    "huge number": _inserted(b'"odd":' + b"9" * 400),
    "huge page": _inserted(b'"odd":"' + b"x" * 2**23 + b'"'),
    "byte order mark": lambda answer, dice: _changed(answer, b"\xef\xbb\xbf" + bytes(answer.body)),
    "wrong content type": lambda answer, dice: _changed(
        answer, bytes(answer.body), **{"content-type": "text/html; charset=iso-8859-1"}
    ),
    "gzip": _gzip,
    "latency": lambda answer, dice: _Late(answer, 2 * PAUSE),
    "jitter": lambda answer, dice: _Late(answer, dice.uniform(0, 4 * PAUSE)),
    "chunked": lambda answer, dice: _Chunked(answer),
    "slow body": lambda answer, dice: _Slow(answer),
}
#: What passes if it is asked for again, and is an API that stays unavailable if it does not.
PASSING: dict[str, Fault] = {
    "429": _answered(429),
    "429, Retry-After 0": _answered(429, retry_after="0"),
    "429, Retry-After seconds": _answered(429, retry_after="1"),
    "429, Retry-After date": _answered(429, retry_after="Wed, 21 Oct 2015 07:28:00 GMT"),
    "429, Retry-After absurd": _answered(429, retry_after="99999999999"),
    "429, Retry-After nonsense": _answered(429, retry_after="soon \u00b2"),
    "500": _answered(500),
    "502": _answered(502, b"<html>Bad Gateway</html>"),
    "503": _answered(503, b"", retry_after="1"),
    "504": _answered(504, b"\xff\xfe\x00"),
    "error with status 200": _answered(200, b'{"error": "Unavailable", "message": "Later."}'),
    "HTML": _replaced(b"<html>Sign in</html>", **{"content-type": "text/html"}),
    "empty body": _replaced(b""),
    "broken JSON": lambda answer, dice: _changed(answer, bytes(answer.body[: len(answer.body) // 2])),
    "not gzip": _not_gzip,
    "half body": lambda answer, dice: _Half(answer),
    "length too long": lambda answer, dice: _LengthTooLong(answer),
    "length too short": lambda answer, dice: _LengthTooShort(answer),
    "reset halfway": lambda answer, dice: _ResetHalfway(answer),
    "reset": lambda answer, dice: _Reset(answer),
    "trickled body": lambda answer, dice: _Trickle(answer),
    "trickled headers": lambda answer, dice: _TrickledHeaders(answer),
}
#: What is not asked for again, because it would be answered alike.
REFUSALS: dict[str, Fault] = {
    "400": _answered(400),
    "401": _answered(401),
    "402": _answered(402),
    "403": _answered(403),
    "404": _answered(404),
    "redirect to the same host": _redirected("/api/me"),
    "redirect to another host": _redirected("https://192.0.2.1/api/me", 307),
    "redirect to http": _redirected("http://192.0.2.1/api/me", 308),
    "redirect loop": _redirected("?", 301),
    "endless body": lambda answer, dice: _Endless(answer),
    "gzip bomb": _bomb,
}
FAULTS: Mapping[str, Fault] = {**REFUSALS, **HARMLESS, **PASSING}
