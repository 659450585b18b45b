"""A short soak with a fixed seed; `make chaos` is the long one."""

from __future__ import annotations

from tests.chaos import soak


def test_a_short_soak_loses_nothing(monkeypatch):
    monkeypatch.setattr("coreviz_source.api.deadline.LONGEST_RESPONSE", 0.5)
    score = soak(seconds=60, seed=3, warehouses=[None], runs=12)
    assert score.problems == []
    assert score.lost == 0
    assert score.compared >= 3
    assert score.faults
