"""The settings of a run: where they come from, what they may be, and a clear error before the first request."""

from __future__ import annotations

import ipaddress
import json
import math
import os
from dataclasses import dataclass, field, fields
from datetime import date, datetime, timedelta
from difflib import get_close_matches
from typing import Any, Literal, Optional
from urllib.parse import urlsplit

import dlt
from dlt.common.configuration import configspec, resolve_configuration
from dlt.common.configuration.providers.toml import SettingsTomlProvider
from dlt.common.configuration.specs import BaseConfiguration
from dlt.common.typing import TSecretStrValue

from coreviz_source.errors import AuthenticationError, ConfigurationError
from coreviz_source.values import canonical_id, parse_duration, parse_timestamp

DEFAULT_BASE_URL = "https://lab.coreviz.io"
KEY_VARIABLE = "COREVIZ_API_KEY"


@configspec
class CorevizConfiguration(BaseConfiguration):
    """What may be set in .dlt/*.toml or the environment, all under `sources.coreviz`.

    The section of its own keeps a bare `API_KEY` or `BASE_URL` in the environment, which is somebody else's,
    from being taken.
    """

    dataset_ids: Optional[Any] = None
    api_key: Optional[TSecretStrValue] = None
    base_url: str = DEFAULT_BASE_URL
    lookback: str = "7d"
    reconcile_every: str = "1d"
    deletes: str = "hard"
    max_deletes: float = 0.2
    date_from: Optional[str] = None
    date_to: Optional[str] = None
    page_size: int = 100
    parallel_requests: int = 4
    requests_per_second: Optional[float] = None
    max_media: Optional[int] = None
    resync: bool = False
    ignored_fields: Optional[Any] = None

    __section__ = "coreviz"


@dataclass(frozen=True)
class Settings:
    """Checked settings: every value is of its final type and in its range."""

    dataset_ids: tuple[str, ...]
    """As given; empty: every dataset that the account sees."""
    api_key: str = field(repr=False)
    base_url: str
    lookback: timedelta
    reconcile_every: timedelta
    deletes: Literal["hard", "soft"]
    max_deletes: float
    date_from: datetime | None
    date_to: datetime | None
    page_size: int
    parallel_requests: int
    requests_per_second: float | None
    max_media: int | None
    resync: bool
    ignored_fields: tuple[str, ...]
    """API names, dotted where they are inside frames, captions or objects."""

    @property
    def sliced(self) -> bool:
        """Whether only a range of creation dates is listed."""
        return self.date_from is not None or self.date_to is not None


@configspec
class WarehouseConfiguration(BaseConfiguration):
    """Where the command line loads to and reads from; also under `sources.coreviz`."""

    destination: str = "duckdb"
    dataset_name: str = "coreviz"
    pipeline_name: str = "coreviz_library"

    __section__ = "coreviz"


def resolve_pipeline(**given: str | None) -> dlt.Pipeline:
    """The pipeline that the command line uses, from what was given, then dlt's configuration, then the defaults.

    Args:
        **given: `destination`, `dataset_name` and `pipeline_name`; None means not given.

    Raises:
        ConfigurationError: There is no such destination.
    """
    from coreviz_source.warehouse.destination import DESTINATIONS

    explicit = {name: value for name, value in given.items() if value is not None}
    _check_names()
    try:
        found = resolve_configuration(WarehouseConfiguration(), sections=("sources",), explicit_value=explicit)
        if found.destination in DESTINATIONS and not DESTINATIONS[found.destination].is_installed:
            extra = f"coreviz-source[{found.destination}]"
            raise ConfigurationError(
                f"The destination {found.destination} needs an extra.",
                remedy=f"Run pip install '{extra}', or in a clone pip install '.[{found.destination}]'.",
            )
        return dlt.pipeline(found.pipeline_name, destination=found.destination, dataset_name=found.dataset_name)
    except ConfigurationError:
        raise
    except Exception as error:
        raise ConfigurationError(f"The warehouse under `sources.coreviz` cannot be used: {error}") from None


def _check_names() -> None:
    """Refuses a key under `sources.coreviz` that is one of ours misspelt, which dlt would pass over in silence.

    Only what resembles a name of ours is refused: dlt takes keys of its own there (`max_table_nesting`), and sections
    for single resources. A vault is not asked, where each question is a request.
    """
    known = [f.name for spec in (CorevizConfiguration, WarehouseConfiguration) for f in fields(spec)]
    prefix = "SOURCES__COREVIZ__"
    found = {name: name[len(prefix) :].lower() for name in os.environ if name.startswith(prefix)}
    for provider in dlt.config.config_providers:
        if isinstance(provider, SettingsTomlProvider):
            section = provider.get_value("coreviz", dict, "", "sources")[0]
            if isinstance(section, dict):
                found |= {f"{k} in {provider.name}": k for k, value in section.items() if not isinstance(value, dict)}
    for place, name in found.items():
        meant = [] if name in known or "__" in name else get_close_matches(name, known, 1, 0.75)
        if meant:
            raise ConfigurationError(
                f"Unknown setting {place}.", remedy=f"Did you mean {meant[0]}? Nothing was requested yet."
            )


ARGUMENTS = tuple(f.name for f in fields(Settings))


def resolve(*, keyless: bool = False, **arguments: Any) -> Settings:
    """Settings from the arguments given, then dlt's configuration, then the defaults.

    Args:
        keyless: Whether there may be no key, which is then empty.
        **arguments: Arguments of `coreviz()`; None means not given.

    Raises:
        ConfigurationError: A value is of the wrong type or out of its range (exit code 2).
        AuthenticationError: There is no key (exit code 3).
    """
    unknown = set(arguments) - set(ARGUMENTS)
    if unknown:
        raise ConfigurationError(
            f"Unknown argument {', '.join(sorted(unknown))}.", remedy=f"Known are: {', '.join(ARGUMENTS)}."
        )
    _check_names()
    given = {name: _plain(value) for name, value in arguments.items() if value is not None}
    try:
        found = resolve_configuration(CorevizConfiguration(), sections=("sources",), explicit_value=given)
    except Exception as error:
        raise ConfigurationError(f"The settings under `sources.coreviz` cannot be read: {error}") from None
    return _checked(found, keyless)


def _plain(value: Any) -> Any:
    """A span of time or a date as the text that configuration would hold."""
    if isinstance(value, timedelta):
        return f"{value.total_seconds()}s"
    return value.isoformat() if isinstance(value, date) else value


def _checked(found: CorevizConfiguration, keyless: bool) -> Settings:
    date_from, date_to = _date(found.date_from, "date_from"), _date(found.date_to, "date_to")
    if date_from and date_to and date_from >= date_to:
        raise ConfigurationError(f"date_from {date_from} is not before date_to {date_to}: the range is half-open.")
    if found.deletes not in ("hard", "soft"):
        raise ConfigurationError(f"deletes is {found.deletes!r}; it is either 'hard' or 'soft'.")
    if not isinstance(found.max_deletes, (int, float)) or not 0 <= found.max_deletes <= 1:
        raise ConfigurationError(f"max_deletes is {found.max_deletes!r}; it is a share between 0 and 1.")
    return Settings(
        dataset_ids=_dataset_ids(found.dataset_ids),
        api_key=_api_key(found.api_key, keyless),
        base_url=_base_url(found.base_url),
        lookback=_duration(found.lookback, "lookback"),
        reconcile_every=_duration(found.reconcile_every, "reconcile_every"),
        deletes="soft" if found.deletes == "soft" else "hard",
        max_deletes=float(found.max_deletes),
        date_from=date_from,
        date_to=date_to,
        page_size=_positive(found.page_size, "page_size", most=10_000),
        parallel_requests=_positive(found.parallel_requests, "parallel_requests", most=64),
        requests_per_second=_rate(found.requests_per_second),
        max_media=None if found.max_media is None else _positive(found.max_media, "max_media"),
        resync=bool(found.resync),
        ignored_fields=_ignored_fields(found.ignored_fields),
    )


def _dataset_ids(value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    ids = _texts(value, "dataset_ids")
    if not ids or not all(ids):
        raise ConfigurationError(
            "dataset_ids is empty or holds an empty id.",
            remedy="Name at least one dataset, or leave it out to mirror all that the account sees.",
        )
    for item in ids:
        if (
            not item.isascii()
            or any(c.isspace() or c in "/?#\\" or not c.isprintable() for c in item)
            or item in (".", "..")
        ):
            raise ConfigurationError(
                f"dataset_ids holds {item!r}, which is not the id of a dataset.",
                remedy="Take the ids that `coreviz-source check` lists, or those in the addresses of Studio.",
            )
    return tuple({canonical_id(item): item for item in ids}.values())


def _ignored_fields(value: Any) -> tuple[str, ...]:
    names = _texts(value or (), "ignored_fields")
    for name in names:
        if not all(name.split(".")):
            raise ConfigurationError(f"ignored_fields holds {name!r}; it names fields such as blob or frames.blob.")
    return tuple(dict.fromkeys(names))


def _texts(value: Any, name: str) -> list[str]:
    """A list, or a text that holds one: in JSON, or separated by commas."""
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


def _api_key(value: str | None, keyless: bool) -> str:
    key = (value or os.environ.get(KEY_VARIABLE) or "").strip()
    if not key and keyless:
        return ""
    if not key:
        raise AuthenticationError("There is no API key.")
    if not (key.isascii() and key.isprintable()) or " " in key:
        # checked here because the HTTP library would quote the key in its own complaint
        raise AuthenticationError("The API key holds characters that a key cannot have (spaces, line breaks, …).")
    return key


def _base_url(value: str) -> str:
    url = value.strip().rstrip("/")
    try:
        parts = urlsplit(url)
        well_formed = parts.port != 0 and url.isprintable() and " " not in url and "\\" not in url
    except ValueError:
        well_formed = False
    if not well_formed:
        raise ConfigurationError("base_url is not a plain address such as https://lab.coreviz.io.")
    try:
        loopback = parts.hostname == "localhost" or ipaddress.ip_address(parts.hostname or "").is_loopback
    except ValueError:
        loopback = False
    if parts.username or parts.password or parts.query or parts.fragment or not parts.hostname:
        raise ConfigurationError("base_url is not a plain address such as https://lab.coreviz.io.")
    if parts.scheme != "https" and not (parts.scheme == "http" and loopback):
        raise ConfigurationError(
            f"base_url is {url!r}: only https is accepted, except on loopback, so that the key is never sent in clear."
        )
    return url


def _duration(value: str, name: str) -> timedelta:
    try:
        return parse_duration(value)
    except ValueError as error:
        raise ConfigurationError(f"{name}: {error}.") from None


def _date(value: str | None, name: str) -> datetime | None:
    if value is None:
        return None
    parsed = parse_timestamp(value)
    if parsed is None:
        raise ConfigurationError(f"{name} is {value!r}, not a date such as 2026-01-31 or an ISO 8601 timestamp.")
    return parsed


def _positive(value: Any, name: str, most: int = 2**31) -> int:
    if type(value) is not int or not 1 <= value <= most:
        raise ConfigurationError(f"{name} is {value!r}; it is a whole number from 1 to {most}.")
    return int(value)


def _rate(value: Any) -> float | None:
    if value is not None and not (isinstance(value, (int, float)) and 0 < value < math.inf):
        raise ConfigurationError(f"requests_per_second is {value!r}; it is a number above 0, or left out.")
    return value
