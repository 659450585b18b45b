"""Imports go in one direction, and the picture of them in CONTRIBUTING.md is the one of the code."""

from __future__ import annotations

import importlib.util

from tests.docs import ROOT

spec = importlib.util.spec_from_file_location("map", ROOT / "docs" / "images" / "map.py")
assert spec is not None and spec.loader is not None
drawn = importlib.util.module_from_spec(spec)
spec.loader.exec_module(drawn)


def test_no_module_imports_from_a_stage_above_or_beside_it():
    named = [name for names in drawn.ROWS for name in names]
    assert sorted(named) == sorted(drawn.parts())
    arrows = drawn.imports()
    assert {("source", "mirror"), ("mirror", "listing"), ("cli", "local_studio")} <= arrows
    assert not drawn.upward(arrows)
    assert drawn.upward({("tables", "rows"), ("errors", "tables"), ("cli", "api")}) == {
        ("tables", "rows"),
        ("errors", "tables"),
    }
    assert not [arrow for arrow in arrows if arrow[0] == "local_studio"]


def test_the_picture_is_that_of_the_code():
    assert drawn.PICTURE.read_text(encoding="utf-8") == drawn.picture()
    assert "](docs/images/map.svg)" in (ROOT / "CONTRIBUTING.md").read_text()
