"""Answers have a deadline: a timeout bounds only the wait for the next byte, and a server may send one a minute.

It is kept where bytes are received, so that it holds for headers and bodies, whoever reads them.
"""

from __future__ import annotations

import io
import time
from http.client import HTTPResponse
from typing import Any

from requests.adapters import HTTPAdapter

#: Seconds for a whole answer, from its first byte to its last.
LONGEST_ANSWER = 120.0
#: Seconds between two parts of an answer.
LONGEST_SILENCE = 60.0


class _HttpResponse(HTTPResponse):
    """An answer with a deadline, from its status line on; a timeout only bounds the wait for the next byte."""

    def __init__(self, sock: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp = io.BufferedReader(_UntilDeadline(self.fp.detach(), sock))


class _UntilDeadline(io.RawIOBase):
    """What a socket receives, until the answer takes too long."""

    def __init__(self, raw: Any, sock: Any) -> None:
        self._raw = raw
        self._socket = sock
        self._deadline = time.monotonic() + LONGEST_ANSWER

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        if left < LONGEST_SILENCE:
            self._socket.settimeout(left)
        received: int | None = self._raw.readinto(buffer)
        return received

    def close(self) -> None:
        self._raw.close()
        super().close()


class DeadlineAdapter(HTTPAdapter):
    """Connections whose answers have a deadline."""

    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> Any:
        """The usual pool, whose connections read answers with a deadline."""
        pool: Any = super().get_connection_with_tls_context(*args, **kwargs)
        usual = pool.ConnectionCls
        if getattr(usual, "response_class", None) is not _HttpResponse:
            pool.ConnectionCls = type(usual.__name__, (usual,), {"response_class": _HttpResponse})
        return pool
