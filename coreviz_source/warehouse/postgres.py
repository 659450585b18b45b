"""How Postgres is connected to: every connection sends and receives UTF-8, with any character in the password.

dlt hands one connection string to psycopg2 and to ADBC. ADBC takes what it receives for UTF-8, whatever the client
encoding is, and libpq accepts only a string in which every part is percent-encoded. `spec`, through which dlt resolves
a destination's configuration, is where both are set.
"""

from __future__ import annotations

import copy
from typing import Any
from urllib.parse import quote, unquote, urlencode

from dlt.common.configuration import configspec
from dlt.destinations.impl.postgres.configuration import PostgresClientConfiguration, PostgresCredentials
from dlt.destinations.sql_client import SqlClientBase

from coreviz_source.errors import ConfigurationError


@configspec(init=False)
class Utf8Credentials(PostgresCredentials):
    """Credentials whose connection string is valid for libpq and asks for UTF-8.

    A parameter of the connection has precedence over the settings of the role and of the database, and over the
    variable PGCLIENTENCODING.

    The host may be the folder of a Unix socket: as the field `host`, as the parameter `host` of a connection string, or
    percent-encoded in the place of a host's name. The server knows the user of a socket, so no password is needed.
    """

    def parse_native_representation(self, native_value: Any) -> None:
        """Reads a connection string as libpq does: parameters may stand in the place of the parts before them."""
        super().parse_native_representation(native_value)
        query = self.query or {}
        for field, parameter in (("host", "host"), ("port", "port"), ("username", "user"), ("password", "password")):
            if query.get(parameter):
                value = query.pop(parameter)
                setattr(self, field, int(value) if field == "port" else value)
        self.host = unquote(self.host) if self.host else self.host
        self._leave_out_password()

    def on_partial(self) -> None:
        """Called if fields are missing after all providers were asked."""
        self._leave_out_password()
        if not self.is_partial():
            self.resolve()

    def _leave_out_password(self) -> None:
        if self.password is None and (self.host or "").startswith("/"):
            self.password = ""

    def get_query(self) -> dict[str, Any]:
        """The parameters of the connection."""
        return {**super().get_query(), "client_encoding": "UTF8"}

    def to_native_representation(self) -> str:
        """The connection string."""
        user = quote(self.username or "", safe="")
        password = f":{quote(self.password, safe='')}" if self.password else ""
        host = self.host or ""
        place = f"[{host}]" if ":" in host else quote(host, safe=",")
        port = f":{self.port}" if self.port else ""
        query = urlencode({name: str(value) for name, value in self.get_query().items()}, quote_via=quote)
        return f"postgresql://{user}{password}@{place}{port}/{quote(self.database or '', safe='')}?{query}"


@configspec
class Utf8Configuration(PostgresClientConfiguration):
    """The configuration of dlt's Postgres destination, with these credentials."""

    credentials: Utf8Credentials = None  # type: ignore[assignment]


def with_utf8(given: Any) -> Any:
    """A destination that resolves its credentials as `Utf8Credentials`, from dlt's own."""
    if "spec" in vars(given):
        return given
    destination = copy.copy(given)
    destination.spec = Utf8Configuration
    destination.config_params = dict(destination.config_params)
    credentials = destination.config_params.get("credentials")
    if isinstance(credentials, PostgresCredentials):
        utf8 = Utf8Credentials()
        utf8.update(credentials)
        utf8.__is_resolved__ = credentials.is_resolved()
        destination.config_params["credentials"] = utf8
    return destination


def for_reading(credentials: Utf8Credentials) -> Utf8Credentials:
    """The same credentials for sessions in which every transaction is read-only."""
    reading = copy.copy(credentials)
    query = credentials.query or {}
    options = f"{query.get('options', '')} -cdefault_transaction_read_only=on"
    reading.query = {**query, "options": options.strip()}
    return reading


def check_encoding(client: SqlClientBase[Any]) -> None:
    """Checks that the database can store every character.

    Raises:
        ConfigurationError: Its encoding is not UTF-8.
    """
    found = client.execute_sql("SHOW server_encoding")
    encoding = found[0][0] if found else ""
    if encoding != "UTF8":
        raise ConfigurationError(
            f"The encoding of the Postgres database is {encoding}, which cannot store every character.",
            remedy="Load into a database made by CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0.",
        )
