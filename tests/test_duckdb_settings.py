"""While a run loads, DuckDB is set up for it; the user's settings stay, and too little memory ends no run."""

from __future__ import annotations

import dlt
import pytest

from coreviz_source.local_studio import Studio
from coreviz_source.warehouse import duckdb as tuning
from tests.scenario import assert_equal_to, frozen, media_of, run_sync

ASKED = ("threads", "wal_autocheckpoint_entries", "memory_limit")


def settings_of(connection):
    return [connection.execute(f"SELECT current_setting('{name}')").fetchone()[0] for name in ASKED]


def test_a_first_load_that_needs_more_memory_than_it_was_given_is_whole_all_the_same(pipeline, monkeypatch):
    usual, lifted = tuning.Tuning.lift_limit, []

    def lift(self):
        lifted.append(usual(self))
        return lifted[-1]

    monkeypatch.setattr(tuning.Tuning, "lift_limit", lift)
    monkeypatch.setattr(tuning, "APPENDING", 6)
    monkeypatch.setenv("LOAD__RAISE_ON_MAX_RETRIES", "1")
    library = frozen(200)
    for number, media in enumerate(media_of(library, frames=1)[:4]):
        frame = next(frame for frame in media["frames"] if frame["captions"])
        frame["captions"][0]["text"] = f"{number} " * 2_000_000
    with Studio(library) as studio:
        report = run_sync(pipeline, studio)
        assert report.exit_code == 0, report.errors
        assert lifted == [True]
        assert_equal_to(pipeline, studio)


def test_each_table_that_dlt_loads_at_once_has_memory_of_its_own(pipeline, monkeypatch):
    limits = []
    usual = tuning.Tuning.begin

    def begin(self):
        usual(self)
        limits.append(self._current("memory_limit"))

    monkeypatch.setattr(tuning.Tuning, "begin", begin)
    monkeypatch.setenv("COREVIZ_TEST__LOAD__WORKERS", "5")
    with Studio(frozen(20)) as studio:
        assert run_sync(pipeline, studio).exit_code == 0
        assert_equal_to(pipeline, studio)
    assert limits == ["228.8 MiB"]


@pytest.mark.parametrize("fails", [False, True])
def test_a_connection_of_the_users_own_has_its_settings_back_after_a_run(tmp_path, fails):
    import duckdb

    with Studio(frozen(20)) as studio, duckdb.connect(str(tmp_path / "library.duckdb")) as connection:
        connection.execute("SET threads = 2; SET memory_limit = '1GiB'")
        before = settings_of(connection)
        pipeline = dlt.pipeline(
            "coreviz_test",
            destination=dlt.destinations.duckdb(connection),
            dataset_name="coreviz",
            pipelines_dir=str(tmp_path / "pipelines"),
        )
        report = run_sync(pipeline, studio, api_key="wrong" if fails else studio.key)
        assert bool(report.exit_code) is fails
        assert settings_of(connection) == before


def test_what_the_user_set_for_the_destination_is_not_changed(tmp_path, monkeypatch):
    from dlt.destinations.impl.duckdb.configuration import DuckDbCredentials

    seen = []
    usual = tuning.Tuning._set

    def look(self, settings):
        usual(self, settings)
        seen.append([self._current(name) for name in ASKED])

    monkeypatch.setattr(tuning.Tuning, "_set", look)
    credentials = DuckDbCredentials(
        str(tmp_path / "library.duckdb"), global_config={"threads": 3, "memory_limit": "1GB"}
    )
    pipeline = dlt.pipeline(
        "coreviz_test",
        destination=dlt.destinations.duckdb(credentials),
        dataset_name="coreviz",
        pipelines_dir=str(tmp_path / "pipelines"),
    )
    with Studio(frozen(20)) as studio:
        assert run_sync(pipeline, studio).exit_code == 0
    assert seen[0] == [3, 10, "953.6 MiB"]
    assert seen[-1] == [3, 0, "953.6 MiB"]
