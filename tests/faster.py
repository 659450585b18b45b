"""Makes runs cheaper in the tests: results of pure functions are cached, and garbage is collected less often.

A run of the tests loads few media items, so most of its cost is what dlt computes again in each run: the type of a
setting, the keys that a dictionary may have, the hash of a schema. These results depend on the arguments alone,
and each function still runs once per set of arguments.
"""

from __future__ import annotations

import functools
import gc
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import dlt.common.typing
import dlt.common.validation
import xxhash
import yaml
from dlt.common import json
from dlt.common.configuration import resolve
from dlt.common.configuration.exceptions import LookupTrace
from dlt.common.configuration.providers import environ, provider
from dlt.common.configuration.providers.provider import ConfigProvider
from dlt.common.configuration.providers.toml import ConfigTomlProvider, SecretsTomlProvider
from dlt.common.configuration.specs import base_configuration
from dlt.common.schema import utils as schemas

#: Questions about a type that dlt asks several thousand times per run, and how a setting is called.
PURE: tuple[tuple[ModuleType, tuple[str, ...]], ...] = (
    (
        dlt.common.typing,
        (
            *("is_subclass", "is_callable_type", "is_union_type", "is_optional_type", "is_literal_type"),
            *("is_typeddict", "is_annotated", "is_list_generic_type", "is_dict_generic_type", "is_generic_alias"),
        ),
    ),
    (base_configuration, ("extract_inner_hint", "is_secret_hint", "is_base_configuration_inner_hint")),
    (provider, ("get_key_name",)),
)
#: What dlt leaves out of the hash of a schema.
VERSION = ("version", "version_hash", "imported_version_hash", "previous_hashes")
#: Providers whose settings are a document of nested dictionaries.
DOCUMENTS = (ConfigTomlProvider, SecretsTomlProvider)


def remembered(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function with a memory; arguments that cannot be a key are given to the function itself."""
    cached = functools.lru_cache(maxsize=None, typed=True)(function)
    #: By identity: the hash of a type such as `Optional[str]` is computed at each call. What is kept keeps its id.
    same: dict[int, tuple[Any, Any]] = {}

    @functools.wraps(function)
    def either(*values: Any, **named: Any) -> Any:
        alone = values[0] if len(values) == 1 and not named else same
        if (known := same.get(id(alone))) is not None:
            return known[1]
        try:
            result = cached(*values, **named)
        except TypeError:
            return function(*values, **named)
        if alone is not same:
            same[id(alone)] = (alone, result)
        return result

    return either


@functools.lru_cache(maxsize=None, typed=True)
def lookups(
    kind: type[ConfigProvider], name: str, notes: bool, key: str, pipeline: str | None, *sections: Any
) -> tuple[list[tuple[str, ...]], list[bytes], list[LookupTrace]]:
    """Where a provider looks for a setting: in a document, in the environment, and what it notes if it finds none."""
    section, explicit, embedded = sections
    paths = resolve._build_section_lookup_paths(explicit, embedded, section, True)
    names = [kind.get_key_name(key, pipeline, *path) for path in paths]  # type: ignore[attr-defined]
    full = [(*((pipeline,) if pipeline else ()), *path, key) for path in paths]
    noted = [LookupTrace(name, list(path), each, None, "") for path, each in zip(paths, names, strict=True)]
    return full, [each.encode() for each in names], noted if notes else []


def is_in(document: Any, path: tuple[str, ...]) -> bool:
    for key in path:
        if not isinstance(document, dict) or key not in document:
            return False
        document = document[key]
    return True


def look_up_quickly() -> None:
    """Most settings are in no place where dlt looks for them: the places and their names are computed once."""
    usual = resolve.resolve_single_provider_value
    has_mounted_secrets = Path(environ.SECRET_STORAGE_PATH).parent.exists()

    def value_of(
        provider: Any,
        key: str,
        hint: Any,
        pipeline: Any = None,
        section: Any = None,
        explicit: Any = (),
        embedded: Any = (),
    ) -> tuple[Any, list[LookupTrace]]:
        is_secret = base_configuration.is_secret_hint(hint)
        in_environment = type(provider) is environ.EnvironProvider
        if type(provider) in DOCUMENTS or (in_environment and not (is_secret and has_mounted_secrets)):
            notes = provider.supports_secrets or not is_secret
            full, names, noted = lookups(
                type(provider), provider.name, notes, key, pipeline, section, tuple(explicit), tuple(embedded)
            )
            if in_environment:
                missing = os.environ._data.keys().isdisjoint(names)  # type: ignore[attr-defined]
            else:
                missing = not any(is_in(provider._config_doc, path) for path in full)
            if missing:
                return None, list(noted)
        return usual(provider, key, hint, pipeline, section, explicit, embedded)

    replace_everywhere("resolve_single_provider_value", usual, value_of)


def hash_schemas_once() -> None:
    """dlt asks a hundred times per run whether a schema was modified, by a hash that depends on its content alone."""
    usual = schemas.generate_version_hash
    known: dict[bytes, str] = {}

    def version_hash(schema: Any) -> str:
        content = json.dumpb({key: value for key, value in schema.items() if key not in VERSION})
        key = xxhash.xxh3_128_digest(content)
        if key not in known:
            known[key] = usual(schema)
        return known[key]

    replace_everywhere("generate_version_hash", usual, version_hash)


def replace_everywhere(name: str, old: Any, new: Any) -> None:
    """Modules import functions by name, so each of them has a reference of its own."""
    for module in [module for name, module in sys.modules.items() if name.partition(".")[0] == "dlt"]:
        if vars(module).get(name) is old:
            setattr(module, name, new)


def remember() -> None:
    """Once per process, before the first run."""
    for module, names in PURE:
        for name in names:
            replace_everywhere(name, getattr(module, name), remembered(getattr(module, name)))
    look_up_quickly()
    hash_schemas_once()

    hints = functools.cache(dlt.common.validation.get_type_hints)
    dlt.common.validation.get_type_hints = lambda spec, globalns=None: hints(spec)

    # dlt's methods return something new at each call, and a caller may change it
    spec = base_configuration.BaseConfiguration
    of_class, in_order = spec.get_resolvable_fields.__func__, spec._get_resolvable_dataclass_fields.__func__
    fields = functools.cache(lambda cls: of_class(cls))
    ordered = functools.cache(lambda cls: tuple(in_order(cls)))
    spec.get_resolvable_fields = classmethod(lambda cls: dict(fields(cls)))
    spec._get_resolvable_dataclass_fields = classmethod(lambda cls: iter(ordered(cls)))
    spec.__len__ = lambda self: len(ordered(type(self)))

    # dlt writes the hints of each resource into its trace as YAML
    yaml.dump.__defaults__ = (None, yaml.CDumper)

    # A tenth of what the tests cost is looking through dlt's modules for garbage. `gc.freeze` would save more, but then
    # Hypothesis warns, because it no longer finds what refers to a source of random numbers.
    gc.set_threshold(20_000, 20, 100)
