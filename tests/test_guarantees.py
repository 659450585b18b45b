"""Each promise in docs/guarantees.md names tests, and they exist."""

from __future__ import annotations

import ast
import re

from tests.docs import ROOT

GUARANTEES = (ROOT / "docs" / "guarantees.md").read_text()
NAMED = re.findall(r"`(tests/\w+\.py)::(\w+)`", GUARANTEES)


def test_every_test_that_a_promise_names_exists():
    assert len(NAMED) > 20
    for path, name in NAMED:
        tree = ast.parse((ROOT / path).read_text())
        defined = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        assert name in defined, f"{path} has no {name}"


def test_every_promise_names_a_test():
    promises = GUARANTEES.split("## Promises")[1].split("## Bounds")[0].strip().split("\n\n")
    assert len(promises) == 11
    assert all("::test_" in promise for promise in promises)


def test_the_bounds_in_the_document_are_those_of_the_code():
    from coreviz_source import values
    from coreviz_source.api import deadline, http

    table = GUARANTEES.split("## Bounds")[1].split("##")[0]
    for bound in (
        f"{deadline.LONGEST_RESPONSE:.0f} s",
        f"{http.LARGEST_RESPONSE // 2**20} MB",
        f"| {http.ATTEMPTS} |",
        f"{http.LONGEST_WAIT:.0f} s",
        f"{values.DEEPEST} levels",
    ):
        assert bound in table, bound
