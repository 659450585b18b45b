"""What stands between this machine and the API: certificate authorities, proxies, and the kinds of failure."""

from __future__ import annotations

import errno
import os
import socket
import ssl
from collections.abc import Iterator

import requests
import urllib3.exceptions

from coreviz_source.errors import ConfigurationError

#: The variables that name a file of certificate authorities; the first one that is set counts.
CA_VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")

_NO_ROUTE = (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENETDOWN)


def ca_bundle() -> str | None:
    """The certificate authorities that the environment names, as a path; None where it names none.

    Raises:
        ConfigurationError: The path does not exist, or contains no certificates.
    """
    variable = next((name for name in CA_VARIABLES if os.environ.get(name)), None)
    if variable is None:
        return None
    path = os.environ[variable]
    try:
        # requests would raise a bare OSError, and only when the first request is sent
        if os.path.isdir(path):
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(capath=path)
        else:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=path)
    except OSError as error:
        problem = "holds no certificates in PEM form" if isinstance(error, ssl.SSLError) else str(error.strerror)
        raise ConfigurationError(
            f"The variable {variable} names {path!r} as the file of certificate authorities: {problem}.",
            remedy=f"Set {variable} to an existing PEM file, or remove the variable. Nothing was requested yet.",
        ) from None
    return path


def certificate_problem(error: BaseException) -> str:
    """Why the server's certificate was not accepted; empty if the error is about something else."""
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return str(cause.verify_message or cause)
    return ""


def kind_of_failure(error: BaseException) -> str:
    """The kind of a network failure, as a sentence without its full stop."""
    causes = list(_causes(error))

    def found(*kinds: type[BaseException]) -> bool:
        return any(isinstance(cause, kinds) for cause in causes)

    if found(requests.exceptions.ProxyError, urllib3.exceptions.ProxyError):
        said = next((str(cause) for cause in causes if str(cause).startswith("Tunnel connection failed")), "")
        return f"The proxy did not connect to the API{f' ({said})' if said else ''}"
    if found(socket.gaierror, urllib3.exceptions.NameResolutionError):
        return "The name of the API's host could not be resolved"
    if found(ConnectionRefusedError):
        return "The connection was refused"
    if any(isinstance(cause, OSError) and cause.errno in _NO_ROUTE for cause in causes):
        return "There is no route to the API's host"
    if found(TimeoutError, requests.exceptions.Timeout, urllib3.exceptions.ReadTimeoutError):
        return "The API did not respond in time: the request timed out"
    tls = next((cause for cause in causes if isinstance(cause, ssl.SSLError)), None)
    if tls is not None:
        return f"The encrypted connection (TLS) failed: {tls.reason or tls}"
    if found(urllib3.exceptions.DecodeError):
        return "The response could not be decompressed"
    if found(ConnectionError, urllib3.exceptions.ProtocolError):
        return "The connection was closed before the response was complete"
    return f"The request failed: {type(error).__name__}"


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and its inner errors: requests and urllib3 keep them in `args` and `reason`."""
    seen: set[int] = set()
    waiting: list[object] = [error]
    while waiting:
        current = waiting.pop(0)
        if not isinstance(current, BaseException) or id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        reason = getattr(current, "reason", None)
        waiting += [
            *current.args,
            reason,
            getattr(current, "original_error", None),
            current.__cause__,
            current.__context__,
        ]
