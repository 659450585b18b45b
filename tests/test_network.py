"""Failures between this machine and the API are named, and those that cannot pass are not tried again."""

from __future__ import annotations

import errno
import os
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
import requests
import urllib3.exceptions
from click.testing import CliRunner

import coreviz_source.api.http
from coreviz_source import sync
from coreviz_source.api.http import ATTEMPTS, Calls
from coreviz_source.api.network import CA_VARIABLES, kind_of_failure
from coreviz_source.api.studio import CorevizClient
from coreviz_source.cli import main
from coreviz_source.errors import ApiUnavailableError, ConfigurationError, CorevizError
from coreviz_source.loading.configuration import resolve
from tests.scenario import pipeline_in

KEY = "canary-9b1f60aa57"


@pytest.fixture(autouse=True)
def no_network_settings(monkeypatch):
    for name in list(os.environ):
        if name in CA_VARIABLES or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


def asked(base_url: str) -> tuple[CorevizError, Calls]:
    """The error of one page, and how often it was asked for."""
    calls = Calls()
    with pytest.raises(CorevizError) as failure:
        CorevizClient(resolve({"base_url": base_url, "api_key": KEY})).page("d", 0, 1, calls)
    assert KEY not in str(failure.value)
    return failure.value, calls


def certificate(folder: Path, name: str = "localhost", days: int = 1) -> Path:
    """A certificate that nobody has signed, with its key in the same file."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.now(timezone.utc)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=9))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = folder / f"{name}-{days}.pem"
    path.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return path


@contextmanager
def serving(pem: Path | None, body: bytes = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n") -> Iterator[str]:
    """A server that sends the same to everybody; an address. Without a certificate it speaks no TLS."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        if pem is not None:
            context.load_cert_chain(pem)

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                try:
                    with connection if pem is None else context.wrap_socket(connection, server_side=True) as stream:
                        if body:
                            stream.recv(65536)
                        stream.sendall(body)
                except OSError:
                    continue

        threading.Thread(target=serve, daemon=True).start()
        yield f"localhost:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("variable", CA_VARIABLES)
@pytest.mark.parametrize("kind", ["missing", "no certificates"])
def test_a_file_of_cas_that_cannot_be_used_is_named_with_its_variable_before_the_first_request(
    tmp_path, monkeypatch, variable, kind
):
    path = tmp_path / "ca.pem"
    if kind != "missing":
        path.write_text("This is no certificate.\n")
    monkeypatch.setenv(variable, str(path))
    report = sync(pipeline_in(tmp_path), dataset_ids=["d"], base_url="https://lab.coreviz.invalid", api_key=KEY)
    (error,) = report.errors
    assert isinstance(error, ConfigurationError)
    assert report.exit_code == 2
    assert variable in error.message and repr(str(path)) in error.message
    assert ("No such file" in error.message) is (kind == "missing")
    arguments = ["check", "--dataset-ids", "d", "--base-url", "https://lab.coreviz.invalid", "--api-key", KEY]
    done = CliRunner().invoke(main, arguments)
    assert (done.exit_code, str(error)) == (2, done.stderr.strip())


def test_on_loopback_without_tls_no_file_of_cas_is_needed(monkeypatch):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere.pem")
    CorevizClient(resolve({"base_url": "http://127.0.0.1:1", "api_key": KEY}))


@pytest.mark.parametrize(
    ("name", "days", "said"),
    [("localhost", 1, "self-signed certificate"), ("localhost", -1, "expired"), ("other.example", 1, "localhost")],
)
def test_a_certificate_that_is_not_trusted_is_asked_for_once_and_the_remedy_names_the_variable(
    tmp_path, monkeypatch, name, days, said
):
    pem = certificate(tmp_path, name, days)
    if said != "self-signed certificate":
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(pem))
    with serving(pem) as address:
        error, calls = asked(f"https://{address}")
    assert isinstance(error, ConfigurationError)
    assert said in error.message
    assert "REQUESTS_CA_BUNDLE" in error.remedy
    assert (calls.requests, calls.retries) == (1, 0)


@pytest.mark.parametrize("variable", CA_VARIABLES)
def test_a_companys_own_ca_is_taken_from_each_variable(tmp_path, monkeypatch, variable):
    pem = certificate(tmp_path)
    monkeypatch.setenv(variable, str(pem))
    with serving(pem) as address:
        error, calls = asked(f"https://{address}")
    assert error.context["status"] == 404
    assert calls.requests == 1


def test_a_folder_of_cas_is_taken_too(tmp_path, monkeypatch):
    (tmp_path / "cas").mkdir()
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "cas"))
    with serving(certificate(tmp_path)) as address:
        error, _ = asked(f"https://{address}")
    assert "certificate" in error.message


def refused_address() -> str:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"localhost:{server.getsockname()[1]}"


def test_a_refused_connection_is_called_so():
    error, calls = asked(f"http://{refused_address()}")
    assert isinstance(error, ApiUnavailableError)
    assert error.message == "The connection was refused."
    assert (calls.requests, calls.retries) == (ATTEMPTS, ATTEMPTS - 1)


@pytest.mark.parametrize(
    ("problem", "said"),
    [
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "could not be resolved"),
        (OSError(errno.EHOSTUNREACH, "No route to host"), "There is no route"),
        (OSError(errno.ENETUNREACH, "Network is unreachable"), "There is no route"),
        (TimeoutError("timed out"), "timed out"),
        (ConnectionResetError(errno.ECONNRESET, "reset"), "was closed before the response was complete"),
    ],
)
def test_what_the_operating_system_says_of_a_connection_is_named(monkeypatch, problem, said):
    def connect(*arguments, **options):
        raise problem

    monkeypatch.setattr("urllib3.util.connection.create_connection", connect)
    error, calls = asked("https://lab.coreviz.invalid")
    assert isinstance(error, ApiUnavailableError)
    assert said in error.message
    assert calls.requests == ATTEMPTS


def test_a_server_that_says_nothing_is_a_time_out_and_one_that_hangs_up_is_a_cut_connection(monkeypatch):
    monkeypatch.setattr(coreviz_source.api.http, "TIMEOUT", (1.0, 0.05))
    with socket.create_server(("127.0.0.1", 0)) as server:
        error, _ = asked(f"http://127.0.0.1:{server.getsockname()[1]}")
    assert "timed out" in error.message
    with serving(None, b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{") as address:
        error, _ = asked(f"http://{address}")
    assert "was closed before the response was complete" in error.message


@pytest.mark.parametrize("proxied", [False, True])
def test_a_host_that_does_not_accept_connections_is_told_from_one_that_does_not_respond(monkeypatch, proxied):
    monkeypatch.setattr(coreviz_source.api.http, "TIMEOUT", (0.05, 5.0))
    with ExitStack() as stack:
        server = stack.enter_context(socket.socket())
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        for _ in range(3):
            # a full queue: the system drops what arrives, as a firewall does
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(server.getsockname())
        address = f"127.0.0.1:{server.getsockname()[1]}"
        if proxied:
            monkeypatch.setenv("HTTPS_PROXY", f"http://{address}")
        error, _ = asked("https://lab.coreviz.invalid" if proxied else f"http://{address}")
    host = "The proxy did not connect to the API: the proxy's host" if proxied else "The API's host"
    assert error.message == f"{host} did not accept the connection in time: the request timed out."


def test_a_socks_proxy_that_does_not_connect_is_named(monkeypatch):
    pytest.importorskip("socks")
    monkeypatch.setenv("HTTPS_PROXY", f"socks5://{refused_address()}")
    error, _ = asked("https://lab.coreviz.invalid")
    assert error.message == "The proxy did not connect to the API: the connection was refused."


def test_a_server_that_speaks_no_tls_is_called_so():
    with serving(None) as address:
        error, _ = asked(f"https://{address}")
    assert error.message.startswith("The encrypted connection (TLS) failed: ")


@pytest.mark.parametrize("answer", [None, b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n"])
def test_a_proxy_that_does_not_connect_is_named_and_its_password_is_not(monkeypatch, answer):
    with serving(None, answer or b"") as address:
        address = refused_address() if answer is None else address
        monkeypatch.setenv("HTTPS_PROXY", f"http://user:proxy-password@{address}")
        error, _ = asked("https://lab.coreviz.invalid")
    assert error.message.startswith("The proxy did not connect to the API")
    assert ("407" if answer else "the connection was refused") in error.message
    assert "HTTPS_PROXY" in error.remedy
    assert "proxy-password" not in str(error)


@pytest.mark.parametrize("proxy", ["http://user:proxy-password@proxy:port", "socks9://proxy:1", "http:///"])
def test_an_address_of_a_proxy_that_is_none_is_a_wrong_setting(monkeypatch, proxy):
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    error, calls = asked("https://lab.coreviz.invalid")
    assert isinstance(error, ConfigurationError), error
    assert calls.requests == 1
    assert "proxy-password" not in str(error)


def test_a_host_that_can_be_no_name_is_a_wrong_setting():
    error, _ = asked(f"https://{'a' * 64}.example")
    assert isinstance(error, ConfigurationError)


def test_what_has_no_name_is_called_by_its_class():
    assert kind_of_failure(requests.RequestException("odd")) == "The request failed: RequestException"
    decoding = requests.exceptions.ContentDecodingError(urllib3.exceptions.DecodeError("x"))
    assert kind_of_failure(decoding) == "The response could not be decompressed"
