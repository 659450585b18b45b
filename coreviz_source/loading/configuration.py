"""Settings from dlt's configuration: resolved as dlt resolves those of any source, under `coreviz` only.

A setting is looked up in the section named after the pipeline first (`[nightly.sources.coreviz]`), and then in
`[sources.coreviz]`, by each of dlt's providers: environment variables, `secrets.toml`, `config.toml`, vaults. A bare
`API_KEY` or `BASE_URL` in the environment belongs to another program and is not read.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Optional

import tomlkit
from dlt.common.configuration import configspec, resolve_configuration
from dlt.common.configuration.container import Container
from dlt.common.configuration.exceptions import ConfigurationException
from dlt.common.configuration.providers.doc import CustomLoaderDocProvider
from dlt.common.configuration.providers.environ import EnvironProvider
from dlt.common.configuration.providers.provider import ConfigProvider
from dlt.common.configuration.providers.toml import SettingsTomlProvider, TomlProviderReadException
from dlt.common.configuration.resolve import inject_section
from dlt.common.configuration.specs import BaseConfiguration
from dlt.common.configuration.specs.config_section_context import ConfigSectionContext
from dlt.common.configuration.specs.pluggable_run_context import PluggableRunContext
from dlt.common.typing import TSecretStrValue
from tomlkit.exceptions import ParseError, TOMLKitError

from coreviz_source.errors import ConfigurationError, CorevizError, find_kind
from coreviz_source.extras import missing_extra
from coreviz_source.loading.telemetry import switch_off_unless_set
from coreviz_source.settings import EXCLUSIVE, SETTINGS, SYNC, WAREHOUSE, Setting, Settings, check_settings
from coreviz_source.warehouse.destination import DESTINATIONS

#: The section of the settings, below `sources`.
SECTION = "coreviz"
_KNOWN = tuple(setting.name for setting in (*SETTINGS, *SYNC, *WAREHOUSE))
_SECRETS = {setting.name: setting.variable for setting in (*SETTINGS, *SYNC) if setting.secret}


def _hint(setting: Setting) -> Any:
    if setting.secret:
        return Optional[TSecretStrValue]
    return Optional[Any if setting.kind.configured is list else setting.kind.configured]


def _spec(name: str, settings: tuple[Setting, ...]) -> type[BaseConfiguration]:
    """Dlt's specification of settings. Their defaults are not part of it, so that it is known what was configured."""
    namespace = {
        "__annotations__": {setting.name: _hint(setting) for setting in settings},
        **dict.fromkeys((setting.name for setting in settings), None),
        "__module__": __name__,
        "__doc__": "What may be set in .dlt/*.toml or in the environment.",
        "__section__": SECTION,
    }
    return configspec(type(name, (BaseConfiguration,), namespace))


CorevizConfiguration = _spec("CorevizConfiguration", SETTINGS)
SyncConfiguration = _spec("SyncConfiguration", SYNC)
WarehouseConfiguration = _spec("WarehouseConfiguration", WAREHOUSE)
_HISTORY = next(setting for setting in SETTINGS if setting.name == "history")
HistoryConfiguration = _spec("HistoryConfiguration", (_HISTORY,))


def resolve(
    arguments: Mapping[str, Any] | None = None, *, pipeline_name: str | None = None, keyless: bool = False
) -> Settings:
    """Settings from arguments, then from dlt's configuration, then from the variables `COREVIZ_*`, then the defaults.

    Args:
        arguments: Arguments of `coreviz()`; None means not given.
        pipeline_name: The pipeline that runs: its own section is read first. Default: the one for which dlt resolves
            at this moment, if there is one.
        keyless: Whether both the key and the token may be missing.

    Raises:
        ConfigurationError: A value is of the wrong type or out of its range, or a name is unknown (exit code 2).
        AuthenticationError: There is neither a key nor a token (exit code 3).
    """
    arguments = arguments or {}
    known = [setting.name for setting in SETTINGS]
    unknown = sorted(set(arguments) - set(known))
    if unknown:
        raise ConfigurationError(
            f"Unknown argument {', '.join(unknown)}.", remedy=f"The known ones are: {', '.join(known)}."
        )
    given = _present(arguments)
    configured = _configured(CorevizConfiguration, given, pipeline_name)
    own = configured
    if any(configured.keys() >= set(pair) for pair in EXCLUSIVE):
        shared = _configured(CorevizConfiguration, given, "")
        own = {name: value for name, value in configured.items() if shared.get(name) != value}
    variables = _present({one.name: os.environ.get(one.variable) for one in SETTINGS if one.secret})
    return check_settings({**given, **configured, **_chosen(given, own, configured, variables)}, keyless=keyless)


def resolve_notify_url(given: str | None, pipeline_name: str) -> str:
    """The address of the webhook: as given, or as configured, or from its variable; empty if there is none.

    Raises:
        ConfigurationError: It cannot be used. The error does not show it.
    """
    (setting,) = SYNC
    explicit = _present({setting.name: given})
    found = {**_configured(SyncConfiguration, explicit, pipeline_name), **explicit}
    return str(setting.checked(found.get(setting.name) or os.environ.get(setting.variable) or None))


def _present(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values that were given. An empty key or token was not: the example of `secrets.toml` has one."""
    return {n: v for n, v in values.items() if v is not None and not (n in _SECRETS and v == "")}


def _configured(spec: type[BaseConfiguration], given: Mapping[str, Any], pipeline_name: str | None) -> dict[str, Any]:
    """What dlt's configuration has of the settings that were not given.

    The section of a pipeline is left out if its name is empty.
    """
    # a setting that another one excludes is not looked up: in a vault, that would be a request
    settled = {name: None for pair in EXCLUSIVE if not given.keys().isdisjoint(pair) for name in pair}
    try:
        with inject_section(ConfigSectionContext(pipeline_name=pipeline_name), merge_existing=pipeline_name != ""):
            _check_names(Container()[ConfigSectionContext].pipeline_name)
            found = resolve_configuration(
                spec(), sections=("sources", SECTION), explicit_value={**settled, **dict(given)}
            )
    except CorevizError:
        raise
    except Exception as error:
        raise configuration_error(error) or ConfigurationError(
            f"The settings under `sources.{SECTION}` cannot be read: {error}"
        ) from None
    return _present({name: value for name, value in dict(found).items() if name not in given})


def _chosen(*levels: Mapping[str, Any]) -> dict[str, Any]:
    """Of settings that exclude each other the one from the highest level, the other one as None.

    Raises:
        ConfigurationError: Both are given at that level.
    """
    chosen: dict[str, Any] = {}
    for pair in EXCLUSIVE:
        chosen |= dict.fromkeys(pair)
        for level in levels:
            present = [name for name in pair if name in level]
            if len(present) > 1:
                raise ConfigurationError(
                    f"{' and '.join(present)} cannot be combined.",
                    remedy=f"Remove one of them: {pair[0]} or {pair[1]}. Nothing was requested yet.",
                )
            if present:
                chosen[present[0]] = level[present[0]]
                break
    return chosen


class SourceSettings:
    """The settings of one source: checked when it is built, and those of the pipeline that runs it.

    Args:
        arguments: The arguments of `coreviz()`.

    Raises:
        ConfigurationError: A value is wrong.
        AuthenticationError: There is neither a key nor a token.
    """

    def __init__(self, arguments: Mapping[str, Any]) -> None:
        self._arguments = dict(arguments)
        # dlt injects the name of the active pipeline, which is not always the one that runs the source later
        self._built_for = Container()[ConfigSectionContext].pipeline_name
        self._built: Settings | None = None
        given = _present(arguments)
        # wrong arguments are wrong for every pipeline
        check_settings({**given, **_chosen(given)}, keyless=True)
        try:
            self._built = resolve(self._arguments)
        except CorevizError:
            if not _configured_pipelines() - {(self._built_for or "").upper()}:
                raise
            # another pipeline's section may have what is missing: whether it does is known when it runs

    def of(self, pipeline_name: str | None) -> Settings:
        """The settings for a run of a pipeline, or without one.

        Raises:
            ConfigurationError: A value is wrong.
            AuthenticationError: There is neither a key nor a token.
        """
        if self._built is not None and pipeline_name == self._built_for:
            return self._built
        return resolve(self._arguments, pipeline_name=pipeline_name)


def _providers() -> list[ConfigProvider]:
    return Container()[PluggableRunContext].providers.providers


def _configured_pipelines() -> set[str]:
    """The names, in upper case, of pipelines with a section of their own for this source."""
    infix = f"__SOURCES__{SECTION.upper()}__"
    found = {name.partition(infix)[0] for name in os.environ if infix in name}
    try:
        providers = _providers()
    except Exception:
        # a file that dlt cannot read: the error that is about to be raised names it
        return found
    for provider in providers:
        if isinstance(provider, SettingsTomlProvider):
            for name, section in tomlkit.parse(provider.to_toml()).unwrap().items():
                if isinstance(section, dict) and SECTION in (section.get("sources") or ()):
                    found.add(name.upper())
    return found


def _check_names(pipeline_name: str | None) -> None:
    """Refuses a key that is one of ours misspelt, which dlt would ignore without a word.

    Only what resembles a name of ours is refused: dlt has keys of its own in these sections (`max_table_nesting`), and
    sections for single resources. Vaults are not asked, because each question is a request.
    """
    found: dict[str, str] = {}
    for pipeline in dict.fromkeys((pipeline_name, None)):
        for sections in (("sources", SECTION), ("sources",), ()):
            path = [part for part in (pipeline, *sections, SECTION) if part]
            prefix = "__".join(path).upper() + "__"
            found |= {name: name[len(prefix) :].lower() for name in os.environ if name.startswith(prefix)}
            for provider in _providers():
                if isinstance(provider, CustomLoaderDocProvider):
                    section = provider.get_value(SECTION, dict, pipeline or "", *sections)[0]
                    if isinstance(section, dict):
                        keys = [key for key, value in section.items() if not isinstance(value, dict)]
                        found |= {f"{key} in {provider.name}, section [{'.'.join(path)}]": key for key in keys}
    for place, name in found.items():
        meant = [] if name in _KNOWN or "__" in name else get_close_matches(name, _KNOWN, 1, 0.75)
        if meant:
            raise ConfigurationError(
                f"Unknown setting {place}.", remedy=f"Did you mean {meant[0]}? Nothing was requested yet."
            )


class _SectionedVariables(EnvironProvider):
    """The environment without bare names such as `DEV_MODE` or `CREDENTIALS`, which belong to other programs."""

    def get_value(self, key: str, hint: type[Any], pipeline_name: str | None, *sections: str) -> tuple[Any, str]:
        if not pipeline_name and sections[:1] in ((), ("credentials",)):
            return None, self.get_key_name(key, *sections)
        return super().get_value(key, hint, pipeline_name, *sections)  # type: ignore[arg-type]


@contextmanager
def sectioned_variables() -> Iterator[None]:
    """Makes dlt ignore bare environment variables, for a process whose only pipeline is the command line's.

    It also switches dlt's telemetry off, unless somebody has set it.

    dlt looks up `pipelines.coreviz_library.dev_mode`, then `pipelines.dev_mode`, then `dev_mode`, and the last one is
    the variable `DEV_MODE` of whoever set it. Variables with a section, such as
    `DESTINATION__POSTGRES__CREDENTIALS`, are read as always.

    Raises:
        ConfigurationError: dlt's configuration cannot be read.
    """
    try:
        context = Container()[PluggableRunContext]
        providers = context.providers
    except Exception as error:
        raise configuration_error(error) or ConfigurationError(
            f"dlt's configuration cannot be read: {type(error).__name__}: {error}.",
            remedy="Correct .dlt/config.toml or .dlt/secrets.toml, here or in the home directory.",
        ) from None
    folder = Path(context.context.settings_dir)
    # dlt takes files that it cannot reach for missing ones, and the run would begin with the default settings
    if folder.is_dir() and not os.access(folder, os.X_OK):
        raise ConfigurationError(
            f"{folder.absolute()} cannot be read: Permission denied.",
            remedy="Give this user permission to read it. Nothing was requested yet.",
        )
    switch_off_unless_set()
    ours = _SectionedVariables()
    usual = providers[ours.name]
    providers[ours.name] = ours
    try:
        yield
    finally:
        providers[ours.name] = usual


def pipeline_name_of(given: str | None = None) -> str:
    """The name of the command line's pipeline: as given, or as configured, or the default."""
    found = _configured(WarehouseConfiguration, {} if given is None else {"pipeline_name": given}, None)
    (setting,) = [setting for setting in WAREHOUSE if setting.name == "pipeline_name"]
    return str(setting.checked(found.get("pipeline_name") if given is None else given))


def keeps_history(given: bool | None, pipeline_name: str) -> bool:
    """The setting `history` alone, without a look at keys: from what was given, then dlt's configuration.

    Args:
        given: What was given; None means nothing was.
        pipeline_name: The pipeline, whose own section is read first.

    Raises:
        ConfigurationError: It is neither true nor false.
    """
    explicit = {} if given is None else {_HISTORY.name: given}
    found = {**_configured(HistoryConfiguration, explicit, pipeline_name), **explicit}
    return bool(_HISTORY.checked(found.get(_HISTORY.name)))


def warehouse_settings(*, driver: bool, **given: str | None) -> dict[str, str]:
    """Where the command line's tables are: from what was given, then dlt's configuration, then the defaults.

    Args:
        driver: Whether the driver of the destination is needed.
        **given: `destination`, `dataset_name` and `pipeline_name`; None means not given.

    Raises:
        ConfigurationError: There is no such destination, or its driver is needed and not installed.
    """
    explicit: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    explicit["pipeline_name"] = name = pipeline_name_of(explicit.get("pipeline_name"))
    found = {**_configured(WarehouseConfiguration, explicit, name), **explicit}
    values = {setting.name: setting.checked(found.get(setting.name)) for setting in WAREHOUSE}
    destination = DESTINATIONS.get(values["destination"])
    if destination is None:
        raise ConfigurationError(
            f"The destination {values['destination']} under `sources.{SECTION}` is not supported.",
            remedy=f"Use one of {', '.join(DESTINATIONS)}. Nothing was requested yet.",
        )
    if driver and not destination.is_installed:
        raise missing_extra(f"The destination {values['destination']}", values["destination"])
    return values


def configuration_error(error: BaseException) -> ConfigurationError | None:
    """The error of a configuration that dlt cannot read, with its file and line if it has one; None for others."""
    broken = find_kind(error, TomlProviderReadException)
    if broken is not None:
        problems = [problem for path in broken.full_paths if (problem := _problem_of(Path(path)))]
        return ConfigurationError(
            problems[0] if problems else f"{broken.file_name} cannot be read: {broken}",
            remedy="Correct the file. Nothing was requested yet.",
        )
    if isinstance(error, FileNotFoundError) and _is_folder_deleted():
        return ConfigurationError(
            "The folder in which this process runs does not exist any more.",
            remedy="Change to another one. Nothing was requested yet.",
        )
    level = find_kind(error, ValueError)
    if level is not None and str(level).startswith("Unknown level"):
        return ConfigurationError(
            f"`runtime.log_level` is {str(level).partition(': ')[2]}, which is not a level.",
            remedy="Use CRITICAL, ERROR, WARNING, INFO or DEBUG, in .dlt/config.toml or in RUNTIME__LOG_LEVEL.",
        )
    wrong = find_kind(error, ConfigurationException)
    return None if wrong is None else ConfigurationError(f"dlt's configuration cannot be used: {wrong}")


def _is_folder_deleted() -> bool:
    try:
        os.getcwd()
    except FileNotFoundError:
        return True
    return False


def _problem_of(path: Path) -> str | None:
    """Why a file of dlt's configuration cannot be read; None if it can, or is not there."""
    if not path.is_file():
        return None
    name = path.absolute()
    try:
        raw = path.read_bytes()
        text = raw.decode()
        if text.startswith("\ufeff"):
            return f"{name}, line 1: the file begins with a byte order mark (BOM). Save it as UTF-8 without a BOM."
        tomlkit.parse(text)
    except OSError as error:
        return f"{name} cannot be read: {error.strerror}."
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        return f"{name}, line {line}: the file is not UTF-8."
    except ParseError as error:
        return f"{name}, line {error.line}: {str(error).partition(' at line ')[0].rstrip('.')}."
    except TOMLKitError as error:
        return f"{name}: {str(error).rstrip('.')}."
    return None
