"""Sends notices to a webhook. Its address is a secret: whoever knows it can post there.

The path and the query leave in the connection's own request line. requests and urllib3 see an address without them, so
that no log, error or repr contains them.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter

from coreviz_source.api.network import ca_bundle
from coreviz_source.errors import CorevizError
from coreviz_source.notices import Notice

#: Seconds for an attempt, from the name of the host to the status of the response.
SECONDS = 10.0
ATTEMPTS = 2
#: Seconds between two attempts.
PAUSE = 1.0
#: Notices in one message; those after them are counted.
MOST_NOTICES = 50
#: Services that take exactly `{"text": …}`, and format it.
_SLACK = ("hooks.slack.com", "hooks.slack-gov.com")
_ESCAPED = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})


class Webhook:
    """A webhook that notices are posted to.

    Args:
        url: Its address.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._is_slack = parts.hostname in _SLACK
        self._origin = f"{parts.scheme}://{parts.netloc}/"
        self._target = _Target(f"{parts.path or '/'}{f'?{parts.query}' if parts.query else ''}")
        self._is_encrypted = parts.scheme == "https"

    def __repr__(self) -> str:
        return "Webhook(…)"

    def send(self, run: str, notices: Sequence[Notice]) -> str:
        """Posts notices as one message, in at most `ATTEMPTS` attempts of `SECONDS` each. It raises nothing.

        Args:
            run: Id of the run.
            notices: The notices that begin or end with it.

        Returns:
            Why the message was not accepted, without the address; empty if it was.
        """
        body = self._body(run, notices)
        problem = ""
        for attempt in range(ATTEMPTS):
            if attempt:
                time.sleep(PAUSE)
            problem = self._attempt(body)
            if not problem:
                break
        return problem

    def _body(self, run: str, notices: Sequence[Notice]) -> dict[str, Any]:
        lines = [f"dataset {notice.dataset_id}: {notice.text}" for notice in notices[:MOST_NOTICES]]
        if len(notices) > MOST_NOTICES:
            lines.append(f"and {len(notices) - MOST_NOTICES:,} more, in the table _coreviz_notices")
        text = "\n".join([f"CoreViz sync, run {run}", *lines])
        if self._is_slack:
            return {"text": text.translate(_ESCAPED)}
        return {"text": text, "run": run, "notices": [notice.to_dict() for notice in notices[:MOST_NOTICES]]}

    def _attempt(self, body: dict[str, Any]) -> str:
        result: list[str] = []
        # a name that is looked up, or headers that arrive one by one, have no timeout of their own
        thread = threading.Thread(target=lambda: result.append(self._post(body)), daemon=True, name="coreviz-webhook")
        thread.start()
        thread.join(SECONDS)
        return result[0] if result else _too_late()

    def _post(self, body: dict[str, Any]) -> str:
        try:
            with requests.Session() as session:
                adapter = _Adapter(self._target)
                session.mount("http://", adapter)
                session.mount("https://", adapter)
                # as for the API: over https a proxy sees only the host's name
                session.trust_env = self._is_encrypted
                if self._is_encrypted:
                    session.verify = ca_bundle() or True
                    # `.netrc` is not read
                    session.auth = _no_auth
                with session.post(
                    self._origin, json=body, allow_redirects=False, timeout=SECONDS, stream=True
                ) as response:
                    status = response.status_code
                    return "" if 200 <= status < 300 else f"HTTP status {status}"
        except requests.Timeout:
            return _too_late()
        except (OSError, ValueError, requests.RequestException, CorevizError) as error:
            return f"it could not be reached ({type(error).__name__})"


def _too_late() -> str:
    return f"it did not respond within {SECONDS:.0f} s"


def _no_auth(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


class _Target:
    """The path and the query of the webhook, which nothing shows."""

    def __init__(self, value: str) -> None:
        self.value = value

    def __repr__(self) -> str:
        return "…"


class _Adapter(HTTPAdapter):
    """Connections whose request line has the secret target."""

    def __init__(self, target: _Target) -> None:
        self._target = target
        super().__init__(max_retries=0)

    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> Any:
        """The usual pool, whose connections ask for the secret target."""
        pool: Any = super().get_connection_with_tls_context(*args, **kwargs)
        usual, target = pool.ConnectionCls, self._target

        def putrequest(connection: Any, method: str, url: str, *rest: Any, **named: Any) -> Any:
            return usual.putrequest(connection, method, target.value, *rest, **named)

        pool.ConnectionCls = type(usual.__name__, (usual,), {"putrequest": putrequest})
        return pool
