"""Why a warehouse could not be used, and what to do about it, by class of the error; secrets are removed from it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import quote, quote_plus, unquote

import dlt
from dlt.common.configuration.exceptions import ConfigFieldMissingException
from dlt.common.configuration.specs.base_configuration import BaseConfiguration, is_secret_hint
from dlt.common.destination.exceptions import DestinationUndefinedEntity

from coreviz_source.errors import BusyError, DestinationError, OutOfMemoryError, chain, find_kind, is_out_of_memory

#: DuckDB's error when another process has the file open.
HOLDER = re.compile(r'lock on file "(?P<file>.*?)": .*? held in (?P<program>.*?) ?\(PID (?P<pid>\d+)\)')

#: What dlt puts before the reason of every connection that failed, and DuckDB before that of its invalid state.
_ADVICE = re.compile(
    r"(?:DestinationConnectionError: )?Connection with `client_type=.*?The actual reason given is: ", re.DOTALL
)
_ORIGINAL = "Original error: "
_SECRET_NAME = re.compile("pass|secret|token$|(?<!ssl)key$", re.IGNORECASE)
_PASSWORD = re.compile(r"://[^/@]*?:(.*)@", re.DOTALL)


class Warehouse(Protocol):
    """What an error is about: a pipeline, or whatever else has a destination and a dataset."""

    @property
    def destination(self) -> Any:
        """Dlt's destination."""

    @property
    def dataset_name(self) -> str:
        """Schema of the tables."""


@dataclass(frozen=True)
class Failure:
    """A class of errors: how its errors are recognized, and what to do about them.

    Args:
        name: What the class is called.
        remedy: What to do; `{setting}` stands for the name of the setting with the credentials.
        words: The words of the database or its driver.
        states: SQLSTATE codes; a code of two characters stands for all that begin with it.
    """

    name: str
    remedy: str
    words: str
    states: tuple[str, ...] = ()

    def matches(self, error: BaseException) -> bool:
        """Whether an error, or one that it was caused by, is of this class."""
        for each in chain(error):
            state = getattr(each, "pgcode", None) or getattr(each, "sqlstate", None) or ""
            if isinstance(state, str) and state[:5] and any(state.startswith(known) for known in self.states):
                return True
            if re.search(self.words, str(each), re.IGNORECASE):
                return True
        return False


CONNECTION_LOST = Failure(
    "connection lost",
    "Nothing is lost: run again. If it happens often, look for a proxy or a setting of the server that ends idle "
    "sessions.",
    r"server closed the connection|terminating connection|connection already closed"
    r"|SSL connection has been closed|connection reset|cursor already closed|no connection to the server",
    ("08", "57P"),
)

#: From the most specific to the most general: the first class that matches counts.
FAILURES = (
    Failure(
        "disk full",
        "Free some space where the warehouse is; nothing is lost, the next run continues.",
        r"No space left on device|could not extend file|disk full|quota exceeded",
        ("53100",),
    ),
    Failure(
        "database missing",
        "Create the database, or correct its name in `{setting}`.",
        r'database ".*" does not exist|Not found: Project',
        ("3D000",),
    ),
    Failure(
        "bucket missing",
        "Create the bucket, or correct its address in `{setting}.storage`.",
        r"NoSuchBucket|specified bucket does not exist",
    ),
    Failure(
        "lock timeout",
        "Another session locks the table. Wait until it is done, or end it; then run again.",
        r"lock timeout|deadlock detected",
        ("55P03", "40P01"),
    ),
    Failure(
        "authentication",
        "Check user and password, or the key, in `{setting}`.",
        r"password authentication failed|authentication failed|no password supplied|no pg_hba\.conf entry"
        r'|role ".*" does not exist|Invalid JWT|invalid_grant|RefreshError|DefaultCredentialsError',
        ("28",),
    ),
    Failure(
        "file permission",
        "Give this user permission to read and to write the DuckDB file and its folder.",
        r"(?:cannot open file|could not (?:read|write)|\[Errno (?:1|13|30)\]).*"
        r"(?:permission denied|not permitted|read-only file system)",
    ),
    Failure(
        "permission",
        "Grant what is missing to the account in `{setting}`.",
        r"permission denied|access denied|must be owner|read-only|not have .*permission|Forbidden|\b403\b",
        ("42501", "25006"),
    ),
    Failure(
        "unreachable",
        "Check the address in `{setting}`, the network, and whether the server runs; then run again.",
        r"connection refused|could not translate host name|timeout expired|timed out|could not connect"
        r"|no route to host|network is unreachable|connection to server .* failed|name or service not known",
        ("08001", "08004"),
    ),
    CONNECTION_LOST,
    Failure(
        "moved lake",
        "If the files were moved there, set `destination.ducklake.override_data_path = true`; if not, correct "
        "`{setting}`.",
        r"does not match existing data path in the catalog",
    ),
    Failure(
        "path",
        "Check the path of the DuckDB file in `{setting}` and the permissions of its folder.",
        r"Cannot open file|not a valid DuckDB database|No such file or directory|Cannot open database|Is a directory",
    ),
)

#: What Postgres, DuckDB and BigQuery report if a table is not as it was declared.
CHANGED = Failure(
    "changed table",
    "",
    r"Conversion Error|Binder Error|Constraint Error|datatype mismatch|is of type .* but expression is of type"
    r"|invalid input syntax|does not exist|violates .* constraint|Catalog Error|no such field"
    r"|provided schema does not match|unsupported|cannot cast|cannot be cast|type mismatch|could not convert",
    ("42804", "42703", "42P01", "22", "23", "42846"),
)


def failure_of(error: BaseException) -> Failure | None:
    """The class of an error; None if it is of none."""
    return next((failure for failure in FAILURES if failure.matches(error)), None)


def reason_of(error: BaseException) -> str:
    """The first line of an error, without dlt's advice on connections.

    DuckDB refuses everything after a fatal error, and names that error in a line of its own: this line is preferred.
    """
    lines = [line for line in _ADVICE.sub("", str(error)).splitlines() if line.strip()]
    original = next((line for line in lines if line.startswith(_ORIGINAL)), None)
    return original.removeprefix(_ORIGINAL).strip('"') if original else lines[0] if lines else ""


def remedy_for(error: BaseException, pipeline: Warehouse) -> str | None:
    """What to do about an error of the warehouse; None if it is of no class, for which `DestinationError` has one."""
    failure = failure_of(error)
    setting = f"destination.{pipeline.destination.destination_name}.credentials"
    return None if failure is None else failure.remedy.format(setting=setting)


def raise_interruption(error: BaseException) -> None:
    """Raises the `KeyboardInterrupt` of which DuckDB has made an error, because a signal arrived during a statement.

    It looks only into this error. `no_signal_lost` of `loading.interruption` finds those that dlt has caught.
    """
    interruption = find_kind(error, KeyboardInterrupt)
    if interruption is not None:
        raise interruption from None


def connection_error(error: BaseException, doing: str, pipeline: Warehouse) -> DestinationError:
    """The error of a warehouse that could not be opened, read or prepared.

    It quotes dlt, except for credentials that are missing and a file that is open elsewhere: dlt's messages for
    these are long and have no remedy.

    Args:
        error: What dlt or the database raised.
        doing: What could not be done, as in "read".
        pipeline: What the error is about.

    Raises:
        KeyboardInterrupt: A signal is the cause of the error.
    """
    raise_interruption(error)
    destination = pipeline.destination.destination_name
    where = {"destination": destination, "schema": pipeline.dataset_name}
    if is_out_of_memory(error):
        return OutOfMemoryError(f"There was too little memory when the warehouse was {doing}.", **where)
    holder = HOLDER.search(str(error))
    if holder is not None:
        return BusyError(f"The DuckDB file {holder['file']} is open in process {holder['pid']}.", **where)
    if is_open_here(error):
        return DestinationError(
            "The DuckDB file is open in this process already, with other settings.",
            remedy=(
                "Close that connection first, or open it with the same settings as dlt does (not read-only, and with "
                "the same `config`)."
            ),
            **where,
        )
    missing = find_kind(error, ConfigFieldMissingException)
    if missing is not None:
        return DestinationError(
            f"Credentials for {destination} are missing: {', '.join(dict.fromkeys(_fields(missing.traces)))}.",
            remedy=(
                f"Put them under [destination.{destination}.credentials] in .dlt/secrets.toml, a line per name, "
                f"or into variables such as DESTINATION__{destination.upper()}__CREDENTIALS."
            ),
            **where,
        )
    undefined = find_kind(error, DestinationUndefinedEntity)
    if undefined is not None and failure_of(error) is None:
        return DestinationError(
            f"A table or column is not what this release expects: {scrub(str(undefined), pipeline)}",
            remedy="The next run of `sync` creates what is missing, and fills it.",
            **where,
        )
    # dlt wraps the database's own words in advice that fits a missing password
    said = scrub(_ADVICE.sub("", f"{type(error).__name__}: {error}"), pipeline)
    return DestinationError(f"The warehouse could not be {doing}: {said}", remedy=remedy_for(error, pipeline), **where)


def is_locked(error: BaseException) -> bool:
    """Whether a DuckDB file could not be opened because somebody has it open."""
    return "Could not set lock on file" in str(error) or is_open_here(error)


def is_open_here(error: BaseException) -> bool:
    """Whether a DuckDB file could not be opened because this process has it open with other settings."""
    return "different configuration" in str(error)


def _fields(traces: Any) -> Iterator[str]:
    """The names of the fields that dlt did not find; the fields of a configuration in place of its own name."""
    for name, found in traces.items():
        inner = [trace.traces for trace in found if hasattr(trace, "traces")]
        yield from (field for each in inner for field in _fields(each)) if inner else (name,)


def cause_of(error: BaseException, pipeline: Warehouse) -> BaseException | None:
    """The error itself, to be chained as a cause; None if it or one of its causes quotes a secret.

    Its frames are removed: a traceback with the values of all variables would show the connection string.
    """
    causes = list(chain(error))
    said = [f"{each} {each.args!r}" for each in causes]
    if any(scrub(text, pipeline) != text for text in said):
        return None
    for each in causes:
        each.__traceback__ = None
    return error


def scrub(text: str, pipeline: Warehouse) -> str:
    """A string without the secrets of the pipeline's destination, in whatever form they stand in it."""
    return without(text, secrets_of(pipeline))


def without(text: str, secrets: Iterable[str]) -> str:
    """A string without some secrets, in whatever form they stand in it."""
    for form in sorted({form for secret in secrets for form in _forms(secret)}, key=len, reverse=True):
        text = text.replace(form, "***")
    return text


def _forms(secret: str) -> Iterator[str]:
    escaped = secret.replace("\\", "\\\\").replace("'", "\\'")
    for form in (
        secret,
        secret.strip(),
        escaped,
        secret.replace("'", "''"),
        repr(secret)[1:-1],
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        quote(secret, safe=""),
        quote(secret, safe=" +"),
        quote(secret),
        quote_plus(secret),
        unquote(secret),
    ):
        # a shorter one would be found in any text
        yield form if len(form) > 2 else f":{form}@"
    yield from (line for line in secret.splitlines() if len(line) > 15)


def secrets_of(pipeline: Warehouse) -> set[str]:
    """Every secret value in the credentials of a pipeline's destination, resolved or as they were given."""
    destination: Any = pipeline.destination
    found = set(secrets_in(destination.config_params.get("credentials")))
    # what cannot be resolved has no value that somebody could quote
    with suppress(Exception):
        found.update(secrets_in(destination.configuration(destination.spec(), accept_partial=True)))
    with suppress(Exception):
        found.update(secrets_in(dlt.secrets.get(f"destination.{destination.destination_name}.credentials")))
    return {secret for secret in found if secret.strip()}


def secrets_in(value: Any, is_secret: bool = False) -> Iterator[str]:
    """Every secret in credentials, or in whatever they were given as."""
    if isinstance(value, BaseConfiguration):
        for name, hint in value.get_resolvable_fields().items():
            field = getattr(value, name, None)
            yield from secrets_in(field, _SECRET_NAME.search(name) is not None or is_secret_hint(hint))
    elif isinstance(value, Mapping):
        for name, field in value.items():
            yield from secrets_in(field, _SECRET_NAME.search(str(name)) is not None)
    elif isinstance(value, str):
        password = _PASSWORD.search(value)
        if password:
            yield password[1]
            yield unquote(password[1])
        elif value.lstrip().startswith("{"):
            with suppress(ValueError):
                yield from secrets_in(json.loads(value))
        elif is_secret:
            yield value
