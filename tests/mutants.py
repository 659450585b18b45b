"""For `make mutants`: a plugin by which the cheapest tests run first, and the score per module.

Most mutants die of the first test that reaches them, and mutmut has no order of its own.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from mutmut.stats import status_by_exit_code

from tests.docs import ROOT

#: What mutmut measured in the run before the first mutant; it runs the tests in the folder of the mutants.
MEASURED = Path.cwd() / "mutmut-stats.json"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if MEASURED.exists():
        seconds = json.loads(MEASURED.read_text())["duration_by_test"]
        items.sort(key=lambda item: seconds.get(item.nodeid, 0.0))


def score() -> str:
    """The table of CONTRIBUTING.md; a mutant that no longer ends counts as killed."""
    lines = ["| module | mutants | killed | survived | score |", "|---|---|---|---|---|"]
    for path in sorted((ROOT / "mutants" / "coreviz_source").rglob("*.meta")):
        told = Counter(status_by_exit_code[code] for code in json.loads(path.read_text())["exit_code_by_key"].values())
        killed, alive = told["killed"] + told["timeout"], told["survived"] + told["no tests"]
        lines.append(f"| `{path.stem}` | {told.total()} | {killed} | {alive} | {killed / told.total():.1%} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(score())
