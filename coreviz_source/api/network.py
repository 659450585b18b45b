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
        problem = "has no certificates in PEM form" if isinstance(error, ssl.SSLError) else str(error.strerror)
        raise ConfigurationError(
            f"The variable {variable} names {path!r} as the file of certificate authorities: {problem}.",
            remedy=f"Set {variable} to an existing PEM file, or remove the variable. Nothing was requested yet.",
        ) from None
    return path


def certificate_problem(error: BaseException) -> str:
    """Why the server's certificate was not accepted; empty if the error is about something else."""
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return str(cause.verify_message or cause).rstrip(".")
    return ""


def kind_of_failure(error: BaseException) -> str:
    """The kind of a network failure, as a sentence without its full stop."""
    causes = list(_causes(error))
    if any(_is_about_a_proxy(cause) for cause in causes):
        said = next((str(cause) for cause in causes if str(cause).startswith("Tunnel connection failed")), "")
        why = said or _problem_of_connecting(causes, "the proxy's host")
        return f"The proxy did not connect to the API{f': {why}' if why else ''}"
    why = _problem_of_connecting(causes, "the API's host")
    if why:
        return why[0].upper() + why[1:]
    tls = next((cause for cause in causes if isinstance(cause, ssl.SSLError)), None)
    if tls is not None:
        return f"The encrypted connection (TLS) failed: {tls.reason or tls}"
    if _has(causes, urllib3.exceptions.DecodeError):
        return "The response could not be decompressed"
    if _has(causes, ConnectionError, urllib3.exceptions.ProtocolError):
        return "The connection was closed before the response was complete"
    return f"The request failed: {type(error).__name__}"


def _is_about_a_proxy(cause: BaseException) -> bool:
    # PySocks is an optional dependency of requests
    is_socks = type(cause).__module__ == "socks"
    return is_socks or isinstance(cause, (requests.exceptions.ProxyError, urllib3.exceptions.ProxyError))


def _problem_of_connecting(causes: list[BaseException], host: str) -> str:
    """Why a host was not reached, or did not respond; empty if it did."""
    if _has(causes, socket.gaierror, urllib3.exceptions.NameResolutionError):
        return f"the name of {host} could not be resolved"
    if _has(causes, ConnectionRefusedError):
        return "the connection was refused"
    if any(isinstance(cause, OSError) and cause.errno in _NO_ROUTE for cause in causes):
        return f"there is no route to {host}"
    # urllib3 derives NewConnectionError from ConnectTimeoutError, although it stands for other failures as well
    connecting = [cause for cause in causes if not isinstance(cause, urllib3.exceptions.NewConnectionError)]
    if _has(connecting, urllib3.exceptions.ConnectTimeoutError):
        return f"{host} did not accept the connection in time: the request timed out"
    if _has(causes, TimeoutError, requests.exceptions.Timeout, urllib3.exceptions.ReadTimeoutError):
        return f"{host} did not respond in time: the request timed out"
    return ""


def _has(causes: list[BaseException], *kinds: type[BaseException]) -> bool:
    return any(isinstance(cause, kinds) for cause in causes)


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
