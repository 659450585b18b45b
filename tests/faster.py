"""Makes runs cheaper in the tests: results of pure functions are cached, and garbage is collected less often.

A run of the tests loads few media items, so most of its cost is what dlt and sqlglot compute again in each run: the
type of a setting, the keys that a dictionary may have, the SQL of a view. These results depend on the arguments alone,
and each function still runs once per set of arguments.
"""

from __future__ import annotations

import functools
import gc
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import dlt.common.typing
import dlt.common.validation
import yaml
from dlt.common.configuration.providers import provider
from dlt.common.configuration.specs import base_configuration

from coreviz_source.warehouse import catalog

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


def remembered(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function with a memory; arguments that cannot be a key are given to the function itself."""
    cached = functools.lru_cache(maxsize=None, typed=True)(function)

    @functools.wraps(function)
    def either(*values: Any, **named: Any) -> Any:
        try:
            return cached(*values, **named)
        except TypeError:
            return function(*values, **named)

    return either


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

    tables, render = functools.cache(catalog.tables_of), catalog.render

    @functools.cache
    def rendered(sql: str, dialect: str, paths: tuple[tuple[str, tuple[str, ...]], ...]) -> str:
        full = dict(paths)
        return render(sql, dialect, lambda table: list(full[table]))

    catalog.tables_of = lambda sql: set(tables(sql))
    catalog.render = lambda sql, dialect, path: rendered(
        sql, dialect, tuple((table, tuple(path(table))) for table in sorted(tables(sql)))
    )

    # A tenth of what the tests cost is looking through dlt's modules for garbage. `gc.freeze` would save more, but then
    # Hypothesis warns, because it no longer finds what refers to a source of random numbers.
    gc.set_threshold(20_000, 20, 100)
