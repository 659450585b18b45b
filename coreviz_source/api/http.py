"""The transport: one HTTP session with authentication, a rate limit, retries, a deadline and a maximum size."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar
from urllib.parse import urlsplit

import requests
import urllib3.exceptions
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    sleep_using_event,
    stop_after_attempt,
    stop_when_event_set,
    wait_random_exponential,
)

from coreviz_source.api.deadline import LONGEST_SILENCE, DeadlineAdapter
from coreviz_source.api.network import ca_bundle, certificate_problem, kind_of_failure
from coreviz_source.api.pace import MOST_PARALLEL, Pace
from coreviz_source.errors import (
    ApiUnavailableError,
    AuthenticationError,
    BadRequestError,
    ConfigurationError,
    CorevizError,
)
from coreviz_source.settings import Settings
from coreviz_source.values import decode_json, plain_text

ATTEMPTS = 6
#: Longest wait before a request is sent again, in seconds, whatever `Retry-After` asks for.
LONGEST_WAIT = 30.0
#: Seconds to connect, and between two parts of a response. A whole response has its deadline.
TIMEOUT = (10.0, LONGEST_SILENCE)
#: Bytes of a response, decompressed: 2.5 MB for each media item of a usual page. An endless response must not fill
#: the memory.
LARGEST_RESPONSE = 256 * 2**20

_RETRIED_STATUS = frozenset((408, 425, 429))

_Read = TypeVar("_Read")


class Calls:
    """How many requests were sent, and how many of them were retries; threads may share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.requests = 0
        self.retries = 0

    def count(self, again: bool) -> None:
        """Counts one more request."""
        with self._lock:
            self.requests += 1
            self.retries += again


@dataclass(frozen=True)
class Response:
    """A whole response. `time` is the server's clock.

    Args:
        status: Its status.
        headers: Its headers.
        body: Its content, decompressed.
        asked: The parameters of the request.
        seconds: The time from the request to the last byte.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    asked: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def time(self) -> datetime:
        """The server's clock as the `Date` header gives it; this machine's clock where there is none."""
        try:
            sent = parsedate_to_datetime(self.headers["Date"])
            return sent.astimezone(timezone.utc) if sent.tzinfo else sent.replace(tzinfo=timezone.utc)
        except (KeyError, TypeError, ValueError, OverflowError):
            return datetime.now(timezone.utc)

    @property
    def retry_after(self) -> float | None:
        """Seconds that `Retry-After` asks to wait, given as seconds or as a date; None where it is not usable."""
        header = self.headers.get("Retry-After", "").strip()
        if not header:
            return None
        try:
            if header.replace(".", "", 1).isdecimal():
                return float(header)
            return max(0.0, (parsedate_to_datetime(header) - self.time).total_seconds())
        except (TypeError, ValueError, OverflowError):
            return None

    @property
    def message(self) -> str:
        """What the server says in an error: its `message`, or else its `error`."""
        try:
            sent = decode_json(self.body)
        except ValueError:
            return ""
        return str(sent.get("message") or sent.get("error") or "") if isinstance(sent, dict) else ""


class Transient(Exception):
    """A failure that is worth another attempt; carries the error to raise when there is none left."""

    def __init__(self, error: CorevizError, retry_after: float | None = None) -> None:
        super().__init__(str(error))
        self.error = error
        self.retry_after = retry_after


class Credential(requests.auth.AuthBase):
    """Adds the key or the token to a request as it leaves, so that no header dictionary, log or repr ever contains it.

    Args:
        key: An API key, sent as `x-api-key`.
        token: A session token, sent as `Authorization: Bearer`. If there is one, the key is not sent.
    """

    def __init__(self, key: str, token: str) -> None:
        self._secret = token or key
        self.is_token = bool(token)

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """The request with the secret in its headers."""
        if self.is_token:
            request.headers["Authorization"] = f"Bearer {self._secret}"
        else:
            request.headers["x-api-key"] = self._secret
        return request

    def hide(self, text: str) -> str:
        """The text without the secret: a server may repeat what it received."""
        return text.replace(self._secret, "…") if self._secret else text

    def __repr__(self) -> str:
        return "Credential(…)"


def new_connections(settings: Settings) -> DeadlineAdapter:
    """Connections for the listing's threads, and for the one that asks for everything else."""
    return DeadlineAdapter(pool_maxsize=(settings.parallel_requests or MOST_PARALLEL) + 1)


class Http:
    """Sends GET requests to one server; threads may share it.

    Args:
        settings: Checked settings; `base_url`, `api_key`, `token`, `page_size`, `parallel_requests` and
            `requests_per_second` are used.
        attempts: How often a request is sent before it counts as failed.
        connections: Connections that stay open when this object is closed. Default: its own.

    Raises:
        ConfigurationError: The environment names a file of certificate authorities that cannot be used.
    """

    def __init__(
        self, settings: Settings, attempts: int = ATTEMPTS, connections: DeadlineAdapter | None = None
    ) -> None:
        self._base_url = settings.base_url
        self._credential = Credential(settings.api_key, settings.token)
        #: Learns how requests end, and decides when the next one starts.
        self.pace = Pace(settings.page_size, settings.parallel_requests, settings.requests_per_second)
        self._session = requests.Session()
        adapter = connections or new_connections(settings)
        self._own_connections = None if connections else adapter
        self._session.mount("http://", adapter)
        self._session.mount("https://", adapter)
        # over https a proxy of the environment sees only the host's name; on loopback it would see the key
        self._session.trust_env = urlsplit(settings.base_url).scheme == "https"
        if self._session.trust_env:
            self._session.verify = ca_bundle() or True
        self._closed = threading.Event()
        self._attempts = attempts

    def close(self) -> None:
        """Ends all waiting: no request is sent any more, and one in flight fails as if it were the last attempt."""
        self._closed.set()
        if self._own_connections is not None:
            self._own_connections.close()

    def get(
        self,
        endpoint: str,
        params: Mapping[str, Any],
        read: Callable[[Response], _Read],
        calls: Calls,
        *,
        limit: int | None = None,
        not_found: type[CorevizError] = BadRequestError,
        **context: Any,
    ) -> _Read:
        """Sends a request, again if it fails in a way that may pass.

        Args:
            endpoint: The path.
            params: The query's parameters.
            read: Makes the result from a response with status 200; raises ValueError if it cannot be read.
            calls: Counts the requests.
            limit: How many items are asked for, if it is a page: a parameter that may be smaller when it is sent again.
            not_found: The error that a 404 stands for.
            **context: Where it happened, for the error.

        Raises:
            AuthenticationError: 401, 402 or 403.
            BadRequestError: Another refusal.
            ConfigurationError: A redirect, or a certificate that is not accepted.
            ApiUnavailableError: Every attempt ended in 429, 5xx, a timeout, a cut connection, or a response that
                cannot be read.
        """
        context["endpoint"] = endpoint
        attempts = Retrying(
            retry=retry_if_exception_type(Transient),
            stop=stop_after_attempt(self._attempts) | stop_when_event_set(self._closed),
            wait=wait,
            sleep=sleep_using_event(self._closed),
            reraise=True,
        )
        try:
            for attempt in attempts:
                with attempt:
                    again = attempt.retry_state.attempt_number > 1
                    asked = None if limit is None else self.pace.retry_size(limit) if again else limit
                    self._wait_for_start(context)
                    calls.count(again)
                    sent = params if asked is None else {"limit": asked, **params}
                    started = time.monotonic()
                    try:
                        response = self._send(endpoint, sent, context)
                        if response.status != 200:
                            raise self._failure(response, not_found, context)
                        return self._read(read, response, context)
                    except Transient as failure:
                        status = failure.error.context.get("status")
                        self.pace.refused(started, time.monotonic(), status, failure.retry_after, asked)
                        raise
        except Transient as last:
            raise last.error from None
        raise AssertionError("tenacity ended without a result")

    def _wait_for_start(self, context: Mapping[str, Any]) -> None:
        """Waits until the pace lets another request start.

        Raises:
            Transient: This object was closed meanwhile.
        """
        while True:
            now = time.monotonic()
            at = self.pace.start_at(now)
            if self._closed.wait(max(0.0, at - now)):
                # nobody waits for the response, and all threads would ask for it at once
                raise Transient(ApiUnavailableError("The run ended before the request was sent.", **context))
            if not self.pace.is_on_hold(time.monotonic()):
                return

    def _send(self, endpoint: str, params: Mapping[str, Any], context: Mapping[str, Any]) -> Response:
        started = time.monotonic()
        try:
            # redirects are not followed: requests would send the secret along to wherever they lead
            with self._session.get(
                self._base_url + endpoint,
                params=dict(params),
                auth=self._credential,
                allow_redirects=False,
                timeout=TIMEOUT,
                stream=True,
            ) as response:
                body = _body(response, context)
                return Response(response.status_code, response.headers, body, params, time.monotonic() - started)
        except (OSError, ValueError, urllib3.exceptions.HTTPError) as error:
            raise self._network_failure(error, context) from None

    def _network_failure(self, error: Exception, context: Mapping[str, Any]) -> Exception:
        problem = certificate_problem(error)
        if problem:
            return ConfigurationError(
                f"The certificate of the API's server is not trusted: {problem}.",
                remedy=(
                    "If your company's proxy or server has a CA of its own, name its PEM file in REQUESTS_CA_BUNDLE. "
                    "Otherwise check `base_url` and the clock of this machine. Nothing was deleted."
                ),
                base_url=self._base_url,
                **context,
            )
        if isinstance(error, ValueError):
            # requests, urllib3 and their SOCKS support all refuse an address by a kind of ValueError
            return ConfigurationError(
                f"The address of the API or of the proxy cannot be used ({type(error).__name__}).",
                remedy="Check `base_url`, and HTTPS_PROXY: http://proxy.example.com:3128. Nothing was requested yet.",
                base_url=self._base_url,
                **context,
            )
        unavailable = ApiUnavailableError(
            f"{self._storable(kind_of_failure(error))}.",
            remedy="Check the network, HTTPS_PROXY and `base_url`. Nothing was deleted; the next run continues.",
            base_url=self._base_url,
            **context,
        )
        return Transient(unavailable)

    def _failure(self, response: Response, not_found: type[CorevizError], context: Mapping[str, Any]) -> Exception:
        status = response.status
        context = {**context, "server_message": self._storable(response.message), "status": status}
        if status in (401, 402, 403):
            return self._refusal(status, context)
        if status == 404:
            return not_found(**context)
        if status >= 500 or status in _RETRIED_STATUS:
            problem = "too many requests" if status == 429 else "an error of the server"
            return Transient(ApiUnavailableError(f"The API responded with {problem}.", **context), response.retry_after)
        if status < 300 or status == 304:
            # such as 204, or the 103 of a server in front of the API: no page, and no refusal of the request
            problem = f"The API responded with status {status}, which is no response to this request."
            return Transient(ApiUnavailableError(problem, **context))
        if 300 <= status < 400:
            return ConfigurationError(
                "The API redirects, and redirects are not followed, so that the key is sent to no other server.",
                remedy="Set `base_url` to the address that the API really has.",
                **context,
            )
        return BadRequestError(**context)

    def _refusal(self, status: int, context: Mapping[str, Any]) -> AuthenticationError:
        secret = "session token" if self._credential.is_token else "API key"
        messages = {
            401: f"The {secret} is not valid.",
            402: "The account is out of credits.",
            403: f"The {secret} has no access to this.",
        }
        remedy = None
        if self._credential.is_token:
            remedy = (
                "Set a valid token as `sources.coreviz.token` in .dlt/secrets.toml or as COREVIZ_TOKEN; session tokens "
                "expire, and an API key does not."
            )
        return AuthenticationError(messages[status], remedy=remedy, **context)

    def _read(self, read: Callable[[Response], _Read], response: Response, context: Mapping[str, Any]) -> _Read:
        try:
            return read(response)
        except ValueError as error:
            kind = response.headers.get("Content-Type", "")
            found = "" if not kind or "json" in kind.lower() else f" (its content type is {kind})"
            message = f"The response cannot be read: {self._storable(f'{error}{found}')}."
            raise Transient(ApiUnavailableError(message, status=200, **context)) from None

    def _storable(self, text: str) -> str:
        """A server's message without the secret, shortened, and in a form that every warehouse can store."""
        return plain_text(self._credential.hide(text))[:500]


def _body(response: requests.Response, context: Mapping[str, Any]) -> bytes:
    parts: list[bytes] = []
    size = 0
    for part in response.iter_content(2**20):
        parts.append(part)
        size += len(part)
        if size > LARGEST_RESPONSE:
            raise ApiUnavailableError(
                f"The response is larger than {LARGEST_RESPONSE // 2**20} MB.",
                remedy="Set a smaller `page_size`. Nothing was deleted.",
                **context,
            )
    return b"".join(parts)


_backoff = wait_random_exponential(multiplier=0.5, max=LONGEST_WAIT)


def wait(state: RetryCallState) -> float:
    """Seconds until the next attempt: more after every failure, at random, and at least what the server asked for."""
    error = state.outcome.exception() if state.outcome else None
    jittered = _backoff(state)
    if isinstance(error, Transient) and error.retry_after is not None:
        return min(LONGEST_WAIT, error.retry_after + jittered / 10)
    return jittered
