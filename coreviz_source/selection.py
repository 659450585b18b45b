"""Which tables a run loads, and which of them have steps that a user added (`add_map`, `add_filter`, …)."""

from __future__ import annotations

from dataclasses import dataclass, replace

from coreviz_source.tables import CURRENT, HISTORY, NOTICES, RUNS

_HISTORY = frozenset(table.name for table in HISTORY)


def has_history(label: str) -> bool:
    """Whether a run with this label wrote history."""
    return not _HISTORY.isdisjoint(label.split())


@dataclass(frozen=True)
class Selection:
    """The tables of a run.

    A step changes rows. Adding or removing one therefore makes every stored hash outdated, as selecting another table
    does.

    Args:
        tables: Names of the tables that are loaded.
        stepped: Names of those with steps.
    """

    tables: frozenset[str] = frozenset(table.name for table in CURRENT)
    stepped: frozenset[str] = frozenset()

    def with_history(self, wanted: bool = True) -> Selection:
        """The same tables with the history of those that can have one, or without history."""
        history = {table.name for table in HISTORY if table.versions_of and table.versions_of.name in self.tables}
        tables = (self.tables - _HISTORY) | (history if wanted else set())
        return replace(self, tables=tables, stepped=self.stepped & tables)

    @property
    def history(self) -> bool:
        """Whether history is written."""
        return not _HISTORY.isdisjoint(self.tables)

    def __contains__(self, name: object) -> bool:
        return name in self.tables

    @property
    def marks(self) -> tuple[str, ...]:
        """The names of the tables that have rows of items, or of runs, sorted; those with steps end in an asterisk."""
        tables = self.tables - {NOTICES.name}
        return tuple(sorted(f"{name}*" if name in self.stepped else name for name in tables))

    @property
    def label(self) -> str | None:
        """The selection as `_coreviz_runs.selected` stores it; None for all tables, without history and steps."""
        everything = self.tables >= {table.name for table in CURRENT if table.replaces}
        if everything and not self.stepped and not self.history:
            return None
        return " ".join(mark for mark in self.marks if mark.rstrip("*") != RUNS.name)

    @property
    def covering(self) -> tuple[str, ...]:
        """The labels, empty instead of None, of runs that loaded these tables and perhaps more."""
        as_much = (self, Selection().with_history(self.history))
        more = () if self.history else (one.with_history() for one in as_much)
        return tuple(dict.fromkeys(one.label or "" for one in (*as_much, *more)))
