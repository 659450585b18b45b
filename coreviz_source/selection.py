"""Which tables a run loads, and which of them have steps that a user added (`add_map`, `add_filter`, …)."""

from __future__ import annotations

from dataclasses import dataclass

from coreviz_source.tables import BY_NAME, NOTICES, RUNS, TABLES


@dataclass(frozen=True)
class Selection:
    """The tables of a run.

    A step changes rows. Adding or removing one therefore makes every stored hash outdated, as selecting another table
    does.

    Args:
        tables: Names of the tables that are loaded.
        stepped: Names of those with steps.
    """

    tables: frozenset[str] = frozenset(BY_NAME)
    stepped: frozenset[str] = frozenset()

    def __contains__(self, name: object) -> bool:
        return name in self.tables

    @property
    def marks(self) -> tuple[str, ...]:
        """The names of the tables that have rows of items, or of runs, sorted; those with steps end in an asterisk."""
        tables = self.tables - {NOTICES.name}
        return tuple(sorted(f"{name}*" if name in self.stepped else name for name in tables))

    @property
    def label(self) -> str | None:
        """The selection as `_coreviz_runs.selected` stores it; None for all tables without steps."""
        everything = self.tables >= {table.name for table in TABLES if table.replaces}
        if everything and not self.stepped:
            return None
        return " ".join(mark for mark in self.marks if mark.rstrip("*") != RUNS.name)
