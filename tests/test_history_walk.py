"""A short walk with history in DuckDB and in Postgres; `make walk` takes the long ones."""

from __future__ import annotations

import pytest

from tests.history_walk import walk


@pytest.mark.parametrize(("warehouse", "seed", "runs"), [("duckdb", 1, 13), ("postgres", 2, 9)])
def test_history_has_the_versions_that_the_runs_saw_through_changes_faults_and_kills(
    request, tmp_path, warehouse, seed, runs
):
    server = request.getfixturevalue("server").url if warehouse == "postgres" else None
    score = walk(seed, tmp_path, runs, 6 * runs, warehouse, server)
    assert score.problems == []
    assert score.kills and score.versions > 100 and score.compared >= runs / 3
