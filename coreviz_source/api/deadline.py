"""A deadline for whole responses, kept where their bytes are received.

The timeout of requests bounds only the wait for the next byte: a server that sends one byte per minute keeps a client
busy forever, in the headers as well as in the body, and neither requests nor urllib3 has a setting against it. So the
connections of the session read their responses through `_DeadlineReader`. That takes the one hook that urllib3's
connections inherit from `http.client`, the class attribute `response_class`; botocore replaces the same attribute
(`botocore.awsrequest`) to read a response before the request is sent whole.
"""

from __future__ import annotations

import io
import time
from http.client import HTTPResponse
from typing import Any

from requests.adapters import HTTPAdapter

#: Seconds for a whole response, from its first byte to its last.
LONGEST_RESPONSE = 120.0
#: Seconds between two parts of a response.
LONGEST_SILENCE = 60.0


class DeadlineAdapter(HTTPAdapter):
    """Connections whose responses have a deadline."""

    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> Any:
        """The usual pool, whose connections read responses with a deadline."""
        pool: Any = super().get_connection_with_tls_context(*args, **kwargs)
        usual = pool.ConnectionCls
        if getattr(usual, "response_class", None) is not _HttpResponse:
            pool.ConnectionCls = type(usual.__name__, (usual,), {"response_class": _HttpResponse})
        return pool


class _HttpResponse(HTTPResponse):
    """A response with a deadline, from its status line on."""

    def __init__(self, sock: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp = io.BufferedReader(_DeadlineReader(self.fp.detach(), sock))


class _DeadlineReader(io.RawIOBase):
    """Reads from a socket until the response has taken too long."""

    def __init__(self, raw: Any, sock: Any) -> None:
        self._raw = raw
        self._socket = sock
        self._deadline = time.monotonic() + LONGEST_RESPONSE

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
