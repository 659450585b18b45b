"""The API's edge: one HTTP session, both generations of the API, and failures turned into typed errors.

Nothing behind this module knows that there are two generations. The one difference that a request has to care
about is found out by the first answer: parameters that only the 2026 generation knows are left out if the server
refuses them twice and answers without them.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

import msgspec
import requests
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    sleep_using_event,
    stop_after_attempt,
    stop_when_event_set,
    wait_random_exponential,
)

from coreviz_source.deadline import LONGEST_SILENCE, DeadlineAdapter
from coreviz_source.errors import (
    ApiUnavailableError,
    AuthenticationError,
    BadRequestError,
    ConfigurationError,
    CorevizError,
    DatasetNotFoundError,
)
from coreviz_source.settings import Settings
from coreviz_source.values import decode_json, plain_text, shallow

ATTEMPTS = 6
#: Longest wait before a request is sent again, in seconds, whatever `Retry-After` asks for.
LONGEST_WAIT = 30.0
#: Seconds to connect, and between two parts of an answer. A whole answer has its deadline.
TIMEOUT = (10.0, LONGEST_SILENCE)
#: Bytes of an answer, unpacked: 2.5 MB for each media of a usual page. What has no end must not fill the memory.
LARGEST_ANSWER = 256 * 2**20

_RETRIED_STATUS = frozenset((408, 425, 429))
_NOT_OFFERED = frozenset((400, 401, 402, 403, 404, 405, 410))

_Answer = TypeVar("_Answer")


class Calls:
    """How many requests were sent, and how many of them again; shared by threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.requests = 0
        self.retries = 0

    def count(self, again: bool) -> None:
        """One more request."""
        with self._lock:
            self.requests += 1
            self.retries += again


@dataclass(frozen=True)
class Page:
    """One answer of the listing.

    `items` are the raw JSON texts of its media, in the server's order. `total` and `has_more` are None where the
    server does not send them, or not as what they are documented to be. `time` is the server's clock.
    """

    items: list[bytes]
    total: int | None
    has_more: bool | None
    time: datetime


class _Transient(Exception):
    """A failure worth another attempt; carries the error to raise when there is none left."""

    def __init__(self, error: CorevizError, retry_after: float | None = None) -> None:
        super().__init__(str(error))
        self.error = error
        self.retry_after = retry_after


class _KeyAuth(requests.auth.AuthBase):
    """Adds the key or the token to a request as it leaves, so that no header dictionary, log or repr contains it."""

    def __init__(self, api_key: str, token: str) -> None:
        self._key = api_key or token
        self._header = ("x-api-key", api_key) if api_key else ("Authorization", f"Bearer {token}")

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._key:
            request.headers[self._header[0]] = self._header[1]
        return request

    def hide(self, text: str) -> str:
        """The text without the key or the token: a server may repeat what it was sent."""
        return text.replace(self._key, "…") if self._key else text

    def __repr__(self) -> str:
        return "_KeyAuth(…)"


@dataclass(frozen=True)
class _Reply:
    status: int
    headers: Mapping[str, str]
    body: bytes


class _Pace:
    """Hands out moments to send at, so that all threads together keep to a budget of requests a second."""

    def __init__(self, per_second: float | None) -> None:
        self._gap = 1 / per_second if per_second else 0.0
        self._lock = threading.Lock()
        self._next = 0.0

    def wait(self) -> None:
        if not self._gap:
            return
        with self._lock:
            now = time.monotonic()
            at = max(now, self._next)
            self._next = at + self._gap
        time.sleep(at - now)


class CorevizClient:
    """Asks the API; safe to share between threads.

    Args:
        settings: Checked settings; `base_url`, `api_key`, `token` and `requests_per_second` are used.
        attempts: How often a request is sent before it counts as failed.

    Every method raises `AuthenticationError` for 401, 402 and 403 at once, `BadRequestError` for other refusals,
    and `ApiUnavailableError` after `attempts` that ended in 429, 5xx, a timeout, a cut connection, a body that
    is not the JSON it should be, or a 200 that carries an `error`.
    """

    def __init__(self, settings: Settings, attempts: int = ATTEMPTS) -> None:
        self._base_url = settings.base_url
        self._auth = _KeyAuth(settings.api_key, settings.token)
        self._http = requests.Session()
        # the listing's threads, and the one that asks for the rest
        adapter = DeadlineAdapter(pool_maxsize=settings.parallel_requests + 1)
        self._http.mount("http://", adapter)
        self._http.mount("https://", adapter)
        # over https a proxy of the environment sees only the host's name; on loopback it would see the key
        self._http.trust_env = urlsplit(settings.base_url).scheme == "https"
        self._closed = threading.Event()
        self._attempts = attempts
        self._pace = _Pace(settings.requests_per_second)
        self._newer_parameters = {"sortBy": "createdAt", "recursive": "true"}
        #: Whether a listing's first answer has told which parameters this server takes.
        self._settled = False
        self.calls = Calls()

    def close(self) -> None:
        """Ends all waiting for another attempt: what is in flight fails as if it had been the last one."""
        self._closed.set()
        self._http.close()

    def page(self, dataset_id: str, offset: int, limit: int, calls: Calls) -> Page:
        """One page of a dataset's media and folders, newest first, folders in folders included.

        Raises:
            DatasetNotFoundError: The listing answers 404.
        """
        endpoint = f"/api/dataset/{quote(dataset_id, safe='')}/media"
        documented = {"limit": limit, "offset": offset, "sortDirection": "desc"}
        where = {"dataset": dataset_id, "offset": offset}
        newer = self._newer_parameters
        if self._settled:
            return self._get(endpoint, {**documented, **newer}, _read_page, where, calls)
        try:
            page = self._get(endpoint, {**documented, **newer}, _read_page, where, calls)
        except BadRequestError as refusal:
            try:
                page = self._get(endpoint, documented, _read_page, where, calls)
            except BadRequestError:
                raise refusal from None
            try:
                # a refusal of the moment must not make a newer server an older one, which lists no folders' media
                page = self._get(endpoint, {**documented, **newer}, _read_page, where, calls)
            except BadRequestError:
                self._newer_parameters = {}
        self._settled = True
        return page

    def dataset(self, dataset_id: str, calls: Calls) -> dict[str, Any]:
        """What the API tells of a dataset: name, icon, type, organizationId. Empty where it does not tell."""
        try:
            answer = self._get(
                f"/api/dataset/{quote(dataset_id, safe='')}", {}, _read_object, {"dataset": dataset_id}, calls
            )
        except CorevizError as error:
            if error.context.get("status") in _NOT_OFFERED:
                return {}
            raise
        found = answer.get("dataset", answer)
        return found if isinstance(found, dict) else {}

    def datasets(self) -> list[dict[str, Any]]:
        """Every dataset of the account's organization.

        Raises:
            ConfigurationError: The API does not offer that; `dataset_ids` has to say which.
        """
        remedy = "Name the datasets in `dataset_ids`; a dataset's id is part of its address in Studio."
        try:
            organization = self._get("/api/me", {}, _read_object, {}, self.calls).get("organizationId")
            answer = self._get(
                f"/api/organization/{quote(str(organization), safe='')}/datasets", {}, _read_json, {}, self.calls
            )
        except CorevizError as error:
            if error.context.get("status") in (400, 404, 405, 410):
                raise ConfigurationError("This API does not list an account's datasets.", remedy=remedy) from error
            raise
        found = answer.get("datasets") if isinstance(answer, dict) else answer
        if not isinstance(found, list):
            raise ConfigurationError("The API's list of datasets cannot be read.", remedy=remedy)
        return [item for item in found if isinstance(item, dict) and isinstance(item.get("id"), str)]

    def _get(
        self,
        endpoint: str,
        params: Mapping[str, Any],
        read: Callable[[_Reply], _Answer],
        where: Mapping[str, Any],
        calls: Calls,
    ) -> _Answer:
        attempts = Retrying(
            retry=retry_if_exception_type(_Transient),
            stop=stop_after_attempt(self._attempts) | stop_when_event_set(self._closed),
            wait=_wait,
            sleep=sleep_using_event(self._closed),
            reraise=True,
        )
        try:
            for attempt in attempts:
                with attempt:
                    self._pace.wait()
                    again = attempt.retry_state.attempt_number > 1
                    calls.count(again)
                    return self._once(endpoint, params, read, {**where, "endpoint": endpoint})
        except _Transient as last:
            raise last.error from None
        raise AssertionError("unreachable")

    def _once(
        self,
        endpoint: str,
        params: Mapping[str, Any],
        read: Callable[[_Reply], _Answer],
        where: Mapping[str, Any],
    ) -> _Answer:
        try:
            # redirects are not followed: requests would send the key along to wherever they lead
            with self._http.get(
                self._base_url + endpoint,
                params=dict(params),
                auth=self._auth,
                allow_redirects=False,
                timeout=TIMEOUT,
                stream=True,
            ) as response:
                answer = _Reply(response.status_code, response.headers, _body(response, where))
        except requests.RequestException as error:
            kind = type(error).__name__
            unanswered = ApiUnavailableError(
                f"No answer: {kind}.",
                remedy="Check the network and `base_url`. Nothing was deleted; the next run goes on from here.",
                base_url=self._base_url,
                **where,
            )
            raise _Transient(unanswered) from None
        if answer.status != 200:
            raise _failure(answer, {**where, "server_message": self._words(_server_message(answer))})
        try:
            return read(answer)
        except ValueError as error:
            message = f"The answer cannot be read: {self._words(str(error))}."
            raise _Transient(ApiUnavailableError(message, status=200, **where)) from None

    def _words(self, said: str) -> str:
        """A server's words as they may stand in a report and in any warehouse, and not too many of them."""
        return plain_text(self._auth.hide(said))[:500]


def _body(response: requests.Response, where: Mapping[str, Any]) -> bytes:
    parts: list[bytes] = []
    size = 0
    for part in response.iter_content(2**20):
        parts.append(part)
        size += len(part)
        if size > LARGEST_ANSWER:
            raise ApiUnavailableError(
                f"The answer is larger than {LARGEST_ANSWER // 2**20} MB.",
                remedy="Set a smaller `page_size`. Nothing was deleted.",
                **where,
            )
    return b"".join(parts)


def _failure(answer: _Reply, where: Mapping[str, Any]) -> Exception:
    status = answer.status
    context = {**where, "status": status}
    if status in (401, 402, 403):
        messages = {
            401: "The API key is not valid.",
            402: "The account is out of credits.",
            403: "The key has no access to this.",
        }
        return AuthenticationError(messages[status], **context)
    if status == 404 and "offset" in where:
        return DatasetNotFoundError(**context)
    if status >= 500 or status in _RETRIED_STATUS:
        asked = "too many requests" if status == 429 else "an error of the server"
        return _Transient(ApiUnavailableError(f"The API answered with {asked}.", **context), _retry_after(answer))
    if 300 <= status < 400:
        return ConfigurationError(
            "The API redirects, and redirects are not followed so that the key stays with the server it is for.",
            remedy="Set `base_url` to the address that the API really has.",
            **context,
        )
    return BadRequestError(**context)


def _server_message(answer: _Reply) -> str:
    try:
        told = decode_json(answer.body)
    except ValueError:
        return ""
    if not isinstance(told, dict):
        return ""
    return str(told.get("message") or told.get("error") or "")


def _retry_after(answer: _Reply) -> float | None:
    """Seconds that `Retry-After` asks to wait, given as seconds or as a date; None where it says nothing usable."""
    header = answer.headers.get("Retry-After", "").strip()
    if not header:
        return None
    try:
        return float(header) if header.replace(".", "", 1).isdecimal() else _seconds_until(header, answer)
    except (TypeError, ValueError, OverflowError):
        return None


def _seconds_until(date: str, answer: _Reply) -> float:
    return max(0.0, (parsedate_to_datetime(date) - _server_time(answer)).total_seconds())


def _server_time(answer: _Reply) -> datetime:
    """The server's clock as its `Date` header gives it; our own where there is none."""
    try:
        told = parsedate_to_datetime(answer.headers["Date"])
        return told.astimezone(timezone.utc) if told.tzinfo else told.replace(tzinfo=timezone.utc)
    except (KeyError, TypeError, ValueError, OverflowError):
        return datetime.now(timezone.utc)


_backoff = wait_random_exponential(multiplier=0.5, max=LONGEST_WAIT)


def _wait(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    jittered = _backoff(state)
    if isinstance(error, _Transient) and error.retry_after is not None:
        return min(LONGEST_WAIT, error.retry_after + jittered / 10)
    return jittered


class _Envelope(msgspec.Struct):
    media: list[msgspec.Raw]
    pagination: Any = None
    error: Any = None


def _read_page(answer: _Reply) -> Page:
    try:
        envelope = msgspec.json.decode(answer.body, type=_Envelope)
    except RecursionError:
        return _read_page(replace(answer, body=shallow(answer.body)))
    except (msgspec.MsgspecError, UnicodeDecodeError):
        envelope = _read_leniently(answer.body)
    if envelope.error:
        raise ValueError(f"it carries an error: {envelope.error}")
    pagination = envelope.pagination if isinstance(envelope.pagination, dict) else {}
    total, has_more = pagination.get("total"), pagination.get("hasMore")
    return Page(
        items=[bytes(item) for item in envelope.media],
        total=total if type(total) is int and total >= 0 else None,
        has_more=has_more if type(has_more) is bool else None,
        time=_server_time(answer),
    )


def _read_leniently(content: bytes) -> _Envelope:
    """The envelope of an answer that is not strictly JSON (NaN, lone surrogates), or of one that is an error."""
    answer = decode_json(content)
    if isinstance(answer, dict) and answer.get("error"):
        return _Envelope(media=[], error=answer.get("message") or answer["error"])
    if not isinstance(answer, dict) or not isinstance(answer.get("media"), list):
        raise ValueError("it has no list of media")
    media = [msgspec.Raw(json.dumps(item, separators=(",", ":")).encode()) for item in answer["media"]]
    return _Envelope(media=media, pagination=answer.get("pagination"))


def _read_json(answer: _Reply) -> Any:
    told = decode_json(answer.body)
    if isinstance(told, dict) and told.get("error"):
        raise ValueError(f"it carries an error: {told.get('message') or told['error']}")
    return told


def _read_object(answer: _Reply) -> dict[str, Any]:
    told = _read_json(answer)
    if not isinstance(told, dict):
        raise ValueError("it is not an object")
    return told
