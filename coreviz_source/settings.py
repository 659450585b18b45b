"""Every setting, declared once: its name, type, default, check and meaning.

dlt's configuration (`loading.configuration`), the options of the command line, the table in `docs/settings.md`,
`.dlt/config.toml` and the arguments of `coreviz()` come from the classes `Settings` and `WarehouseSettings`, or are
compared with them.
"""

# ruff: noqa: RUF009 - a call in a dataclass is how a setting is declared, as by `dataclasses.field`

from __future__ import annotations

import ipaddress
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from datetime import date, datetime, timedelta
from typing import Any, Literal
from urllib.parse import SplitResult, urlsplit

from coreviz_source.errors import AuthenticationError, ConfigurationError
from coreviz_source.values import canonical_id, parse_duration, parse_timestamp

_Check = Callable[[Any, str], Any]


@dataclass(frozen=True)
class Kind:
    """In which forms the values of a setting are given.

    Args:
        argument: The annotation of an argument of `coreviz()`.
        configured: The type in dlt's configuration, and of an option of the command line.
    """

    argument: str
    configured: type


TEXT = Kind("str", str)
LIST = Kind("Sequence[str] | str", list)
DURATION = Kind("str | timedelta", str)
MOMENT = Kind("str | date | datetime", str)
COUNT = Kind("int", int)
NUMBER = Kind("float", float)
SWITCH = Kind("bool", bool)


@dataclass(frozen=True)
class Setting:
    """The declaration of one setting.

    Args:
        name: The name of the argument, and of the key under `[sources.coreviz]`.
        meaning: What the setting does, for readers of Python, of the command line's help and of docs/settings.md.
        kind: In which forms its values are given.
        check: Turns a value into its final type, or raises an error that names the setting.
        default: The value if none is given, as a user would write it; None if there is none.
        absent: The final value if none is given and there is no default.
        otherwise: What applies if none is given and there is no default, in words.
        example: A value to show in `.dlt/config.toml` where there is no default.
        choices: The only values, if they are few.
        secret: Whether its value must not be shown.
    """

    name: str
    meaning: str
    kind: Kind
    check: _Check
    default: Any = None
    absent: Any = None
    otherwise: str = "none"
    example: Any = None
    choices: tuple[str, ...] = ()
    secret: bool = False

    @property
    def variable(self) -> str:
        """The environment variable that sets it."""
        return f"COREVIZ_{self.name.upper()}" if self.secret else f"SOURCES__COREVIZ__{self.name.upper()}"

    @property
    def option(self) -> str:
        """The option of the command line."""
        return f"--{self.name.replace('_', '-')}"

    def checked(self, value: Any) -> Any:
        """The final value.

        Args:
            value: As it was given; None if it was not.

        Raises:
            ConfigurationError: The value is of the wrong type or out of its range.
            AuthenticationError: The value cannot be a key or a token.
        """
        given = self.default if value is None else value
        return self.absent if given is None else self.check(given, self.name)


def _setting(meaning: str, kind: Kind, check: _Check, **declared: Any) -> Any:
    secret = declared.get("secret", False)
    return field(repr=not secret, metadata={"declared": {"meaning": meaning, "kind": kind, "check": check, **declared}})


def declared_settings(declaration: type) -> tuple[Setting, ...]:
    """The settings that a class declares, in their order."""
    return tuple(Setting(name=one.name, **one.metadata["declared"]) for one in fields(declaration))


def _ids(value: Any, name: str) -> tuple[str, ...]:
    ids = _strings(value, name)
    if not ids or not all(ids):
        raise ConfigurationError(
            f"{name} is empty or has an empty id.",
            remedy="Name at least one, or leave the setting out to mirror everything that the account sees.",
        )
    for item in ids:
        unsafe = any(c.isspace() or c in "/?#\\" or not c.isprintable() for c in item)
        if unsafe or not item.isascii() or item in (".", ".."):
            raise ConfigurationError(
                f"{name} has {item!r}, which is not an id.",
                remedy="Use the ids that `coreviz-source check` lists, or those in the addresses of Studio.",
            )
    return tuple({canonical_id(item): item for item in ids}.values())


def _field_names(value: Any, name: str) -> tuple[str, ...]:
    names = _strings(value, name) if value else []
    for item in names:
        if not all(item.split(".")):
            raise ConfigurationError(f"{name} has {item!r}; it takes names of fields, such as blob or frames.blob.")
    return tuple(dict.fromkeys(names))


def _strings(value: Any, name: str) -> list[str]:
    """A list, or a string that has one in it: in JSON, or separated by commas."""
    if isinstance(value, str):
        text = value.strip()
        if text.startswith("["):
            try:
                value = json.loads(text.replace("'", '"'))
            except ValueError:
                raise ConfigurationError(f"{name} is {text!r}, which is not a list.") from None
        else:
            value = text.split(",")
    try:
        return [item.strip() if isinstance(item, str) else str(item) for item in value]
    except TypeError:
        raise ConfigurationError(f"{name} is {value!r}, which is not a list.") from None


def _secret(value: Any, name: str) -> str:
    secret = str(value).strip()
    if not (secret.isascii() and secret.isprintable()) or " " in secret:
        # checked here because the HTTP library would quote it in its own error
        what = "API key" if name == "api_key" else name
        raise AuthenticationError(f"The {what} has characters that it cannot have (spaces, line breaks, …).")
    return secret


def _base_url(value: Any, name: str) -> str:
    url = str(value).strip().rstrip("/")
    parts = _address(url)
    if parts is None or parts.query:
        raise ConfigurationError(f"{name} is not a plain address such as https://lab.coreviz.io.")
    if not _is_private(parts):
        raise ConfigurationError(
            f"{name} is {url!r}: only https is accepted, except on loopback, so that the key is never sent unencrypted."
        )
    return url


def _notify_url(value: Any, name: str) -> str:
    url = str(value).strip()
    parts = _address(url)
    # the address is a secret, and no error shows it
    if parts is None or not url.isascii():
        raise ConfigurationError(f"{name} is not an address such as https://hooks.slack.com/services/….")
    if not _is_private(parts):
        raise ConfigurationError(f"{name} is not encrypted: only https is accepted, except on loopback.")
    return url


def _address(url: str) -> SplitResult | None:
    """The parts of an address; None if it is malformed, or has a user, a password or a fragment."""
    try:
        parts = urlsplit(url)
        well_formed = parts.port != 0 and url.isprintable() and " " not in url and "\\" not in url
    except ValueError:
        return None
    plain = parts.hostname and not (parts.username or parts.password or parts.fragment)
    return parts if well_formed and plain else None


def _is_private(parts: SplitResult) -> bool:
    """Whether nobody on the way can read what is sent to an address."""
    try:
        loopback = parts.hostname == "localhost" or ipaddress.ip_address(parts.hostname or "").is_loopback
    except ValueError:
        loopback = False
    return parts.scheme == "https" or (parts.scheme == "http" and loopback)


def check_duration(value: Any, name: str) -> timedelta:
    """A span of time with its unit, or 0.

    Args:
        value: As it was given.
        name: The name of the setting or option, for the error.

    Raises:
        ConfigurationError: It is something else.
    """
    try:
        duration = parse_duration(value)
    except ValueError as error:
        raise ConfigurationError(f"{name}: {error}.") from None
    number = str(value).strip()
    if duration and not isinstance(value, timedelta) and not number[-1].isalpha():
        raise ConfigurationError(
            f"{name} is {number}, a number without a unit.",
            remedy=f'Write the unit: "{number}d" is days, "{number}h" hours, "{number}m" minutes, "{number}s" seconds.',
        )
    return duration


def _moment(value: Any, name: str) -> datetime:
    parsed = parse_timestamp(value.isoformat() if isinstance(value, date) else value)
    if parsed is None:
        raise ConfigurationError(f"{name} is {value!r}, not a date such as 2026-01-31 or an ISO 8601 timestamp.")
    return parsed


def _deletes(value: Any, name: str) -> str:
    if value not in ("hard", "soft"):
        raise ConfigurationError(f"{name} is {value!r}; it is either 'hard' or 'soft'.")
    return str(value)


def _share(value: Any, name: str) -> float:
    if type(value) not in (int, float) or not 0 <= value <= 1:
        raise ConfigurationError(f"{name} is {value!r}; it is a share between 0 and 1.")
    return float(value)


def _rate(value: Any, name: str) -> float:
    if type(value) not in (int, float) or not 0 < value < math.inf:
        raise ConfigurationError(f"{name} is {value!r}; it is a number above 0, or left out.")
    return float(value)


def _count(most: int = 2**31) -> _Check:
    def check(value: Any, name: str) -> int:
        if type(value) is not int or not 1 <= value <= most:
            raise ConfigurationError(f"{name} is {value!r}; it is a whole number from 1 to {most}.")
        return value

    return check


def _switch(value: Any, name: str) -> bool:
    if type(value) is not bool:
        raise ConfigurationError(f"{name} is {value!r}; it is either true or false.")
    return value


def _name(value: Any, name: str) -> str:
    if not str(value).strip():
        raise ConfigurationError(f"{name} is empty.", remedy="Give a name, or leave the setting out.")
    return str(value)


@dataclass(frozen=True)
class Settings:
    """The settings of a run, checked: every value is of its final type and in its range.

    This class is the declaration of the arguments of `coreviz()`; see "Add a setting" in CONTRIBUTING.md.
    """

    dataset_ids: tuple[str, ...] = _setting(
        "Datasets to mirror, as UUIDs in either form.",
        LIST,
        _ids,
        absent=(),
        otherwise="all that the account sees",
        example=["ecf33096-0d69-410b-a8cc-856caa3fba6c"],
    )
    organization_ids: tuple[str, ...] = _setting(
        "Organizations whose datasets are mirrored. Cannot be combined with `dataset_ids`.",
        LIST,
        _ids,
        absent=(),
        otherwise="all",
        example=["0b6dd2a5-5b5e-4a5e-9a51-4f7c8b1c2d3e"],
    )
    api_key: str = _setting(
        "API key, made in CoreViz Studio under Settings, API keys. Keep it in `.dlt/secrets.toml` or in the variable "
        "`COREVIZ_API_KEY`.",
        TEXT,
        _secret,
        absent="",
        secret=True,
    )
    token: str = _setting(
        "Session token to use instead of an API key, sent as `Authorization: Bearer`. Keep it in `.dlt/secrets.toml` "
        "or in the variable `COREVIZ_TOKEN`.",
        TEXT,
        _secret,
        absent="",
        secret=True,
    )
    base_url: str = _setting(
        "Address of the API: https only, except on loopback.", TEXT, _base_url, default="https://lab.coreviz.io"
    )
    lookback: timedelta = _setting(
        "An ordinary run lists the newest media first, and stops at media created this long before the last listing "
        "began. A longer time finds late captions of older media sooner, and costs requests.",
        DURATION,
        check_duration,
        default="7d",
    )
    reconcile_every: timedelta = _setting(
        "A run lists the whole dataset if the last complete listing is older than this. Only a complete listing finds "
        "changed and deleted media that are older than `lookback`. `0`: always.",
        DURATION,
        check_duration,
        default="1d",
    )
    deletes: Literal["hard", "soft"] = _setting(
        "What happens to the rows of deleted media: `hard` removes them, `soft` keeps their last values and sets "
        "`media.deleted_at`. Rows that were kept stay when `hard` is set later; `forget` removes them.",
        TEXT,
        _deletes,
        default="hard",
        choices=("hard", "soft"),
    )
    max_deletes: float = _setting(
        "A run that would remove more than this share of a dataset's media, or of its folders, stops and removes "
        "nothing. Ten of each may always be removed, unless the share is 0.",
        NUMBER,
        _share,
        default=0.2,
    )
    date_from: datetime | None = _setting(
        "Only media created at this moment (UTC) or later: for a backfill in slices, which deletes nothing outside "
        "the slice.",
        MOMENT,
        _moment,
        example="2026-01-01",
    )
    date_to: datetime | None = _setting(
        "Only media created before this moment (UTC).", MOMENT, _moment, example="2026-02-01"
    )
    page_size: int | None = _setting(
        "Media items per request. Without a number: 100 at first, and up to 1,000 as far as the API sends them.",
        COUNT,
        _count(10_000),
        otherwise="chosen by itself",
        example=100,
    )
    parallel_requests: int | None = _setting(
        "Listing requests at the same time. Without a number: 4 at first, up to 16 while that is faster, and fewer "
        "where the API refuses requests or becomes slower.",
        COUNT,
        _count(64),
        otherwise="chosen by itself",
        example=4,
    )
    requests_per_second: float | None = _setting("Limit over all requests of a run.", NUMBER, _rate, example=10.0)
    max_media: int | None = _setting(
        "Stop the run after this many media items: a sample, which deletes nothing. Datasets whose turn comes later "
        "are not listed.",
        COUNT,
        _count(),
        example=100,
    )
    resync: bool = _setting("Load everything again, whatever the warehouse has stored.", SWITCH, _switch, default=False)
    ignored_fields: tuple[str, ...] = _setting(
        "Fields to ignore when media are compared, by the API's names, such as `blob` or `frames.blob`: for values "
        "that are different in every response. They are loaded when another field of the media item changes.",
        LIST,
        _field_names,
        absent=(),
        example=["blob", "frames.blob"],
    )
    history: bool = _setting(
        "Keep what media items and captions were before: one row per version in `media_history` and `caption_history`.",
        SWITCH,
        _switch,
        default=False,
    )
    keep_snapshots: timedelta = _setting(
        "How long the earlier states of a DuckLake can be read. Then a run of `sync` removes them, and merges small "
        "files. `0`: not at all.",
        DURATION,
        check_duration,
        default="7d",
    )

    @property
    def sliced(self) -> bool:
        """Whether only a range of creation dates is listed."""
        return self.date_from is not None or self.date_to is not None

    @property
    def authenticated(self) -> bool:
        """Whether there is a key or a token."""
        return bool(self.api_key or self.token)


@dataclass(frozen=True)
class SyncSettings:
    """What `sync()` takes besides the arguments of `coreviz()`."""

    notify_url: str = _setting(
        "Webhook that gets a message when a notice begins or ends. Its address is a secret: keep it in "
        "`.dlt/secrets.toml` or in the variable `COREVIZ_NOTIFY_URL`.",
        TEXT,
        _notify_url,
        absent="",
        secret=True,
    )


@dataclass(frozen=True)
class WarehouseSettings:
    """Where the command line loads to and reads from."""

    destination: str = _setting(
        "Where the tables are: `duckdb`, `ducklake`, `postgres` or `bigquery`.",
        TEXT,
        _name,
        default="duckdb",
        choices=("duckdb", "ducklake", "postgres", "bigquery"),
    )
    dataset_name: str = _setting("Schema of the tables.", TEXT, _name, default="coreviz")
    pipeline_name: str = _setting(
        "Name of dlt's pipeline; with DuckDB and DuckLake also the name of the file.",
        TEXT,
        _name,
        default="coreviz_library",
    )


#: The arguments of `coreviz()` and `sync()`.
SETTINGS = declared_settings(Settings)
#: What `sync()` and the command line take as well.
SYNC = declared_settings(SyncSettings)
#: What the command line takes as well.
WAREHOUSE = declared_settings(WarehouseSettings)
#: Settings of which only one may be given at the same level: argument, configuration, `COREVIZ_*` variable.
EXCLUSIVE = (("api_key", "token"), ("dataset_ids", "organization_ids"))


def check_settings(values: Mapping[str, Any], *, keyless: bool = False) -> Settings:
    """Settings from values as they were given.

    Args:
        values: Values by the settings' names. A name that is missing, or None, gets its default.
        keyless: Whether both the key and the token may be missing.

    Raises:
        ConfigurationError: A value is of the wrong type or out of its range (exit code 2).
        AuthenticationError: There is neither a key nor a token, or it has impossible characters (exit code 3).
    """
    settings = Settings(**{setting.name: setting.checked(values.get(setting.name)) for setting in SETTINGS})
    if settings.date_from and settings.date_to and settings.date_from >= settings.date_to:
        raise ConfigurationError(
            f"date_from {settings.date_from} is not before date_to {settings.date_to}: the range is half-open."
        )
    if not settings.authenticated and not keyless:
        raise AuthenticationError("There is no API key.")
    return settings
