"""What an installation brings is under licences that let anybody use it: permissive ones, and weak copyleft."""

from __future__ import annotations

import re
from importlib.metadata import Distribution, distribution

from packaging.requirements import Requirement

EXTRAS = frozenset({"postgres", "bigquery", "dashboard", "dagster"})
#: As SPDX and people write them, in lower case.
PERMISSIVE = {
    *("0bsd", "afl-2.1", "apache 2.0", "apache license 2.0", "apache license version 2.0", "apache software license"),
    *("apache v2", "apache-2.0", "bsd", "bsd license", "3-clause bsd license", "bsd-2-clause", "bsd-3-clause"),
    *("cc0-1.0", "isc", "mit", "mit license", "mit-0", "mit-cmu", "psf-2.0", "python software foundation license"),
    *("unlicense", "zlib"),
}
WEAK_COPYLEFT = {
    *("mpl-2.0", "mozilla public license 2.0 (mpl 2.0)", "lgpl with exceptions"),
    "gnu library or lesser general public license (lgpl)",
}


def installed(name: str, extras: frozenset[str]) -> dict[str, Distribution]:
    """A distribution and all that it requires in this environment, by name."""
    found: dict[str, Distribution] = {}
    todo, seen = [(name, extras)], set()
    while todo:
        name, extras = todo.pop()
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        found[name] = distribution(name)
        for line in found[name].requires or []:
            needed = Requirement(line)
            if needed.marker is None or any(needed.marker.evaluate({"extra": e}) for e in extras | {""}):
                todo.append((re.sub(r"[-_.]+", "-", needed.name).lower(), frozenset(needed.extras)))
    return found


def licences(given: Distribution) -> set[str]:
    """The licences that a distribution names: all that are joined by AND or OR; in its classifiers if it names none."""
    told = given.metadata.get("License-Expression") or given.metadata.get("License") or ""
    classifiers = [c for c in given.metadata.get_all("Classifier") or [] if c.startswith("License :: ")]
    if classifiers and (not told or "\n" in told or told == "Dual License"):
        return {c.rpartition(" :: ")[2].lower() for c in classifiers}
    return {term.strip(" ()").lower() for term in re.split(r" (?:AND|OR) ", told)}


def test_all_that_an_installation_needs_may_be_used_by_anybody():
    found = installed("coreviz-source", EXTRAS)
    assert len(found) > 80
    others = {name: licences(given) - PERMISSIVE - WEAK_COPYLEFT for name, given in found.items()}
    unknown = {name: left or {"none named"} for name, left in others.items() if left}
    assert not unknown, (
        f"{unknown}: read each of them. One that is permissive or weak copyleft belongs into the lists above, "
        "and nothing else belongs into the dependencies."
    )


def test_the_document_names_what_is_not_permissive():
    from tests.docs import ROOT

    text = (ROOT / "docs" / "operations.md").read_text().partition("**Dependencies.**")[2].partition("\n\n")[0]
    weak = {n for n, given in installed("coreviz-source", EXTRAS).items() if licences(given) & WEAK_COPYLEFT}
    assert weak, "nothing is, so the document says too much"
    for name in weak:
        assert name.removesuffix("-binary") in text, name
