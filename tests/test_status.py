"""`status` alone is enough for an alert: what is stale is named, and the exit code tells it from everything else."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from click.testing import CliRunner

from coreviz_source.cli import main
from coreviz_source.commands.status import read_status
from coreviz_source.errors import ConfigurationError
from coreviz_source.local_studio import Studio
from tests import hostile
from tests.scenario import frozen, run_sync
from tests.test_cli import command  # noqa: F401
from tests.warehouse import query

HOUR = timedelta(hours=1)
UNKNOWN = "00000000-0000-4000-8000-00000000000a"


def test_a_dataset_is_stale_if_its_last_good_run_is_too_old_or_there_was_none(pipeline):
    library = frozen(20, datasets=3)
    fresh, failing, never = library.datasets

    def stale(max_age: timedelta | None, **given) -> set[str]:
        arguments = {"base_url": studio.url, "api_key": studio.key, **given}
        status = read_status(pipeline, library.clock(), max_age, **arguments)
        found = {d.dataset_id for d in status.datasets if d.stale}
        assert status.exit_code == (8 if found else 0)
        assert {d for d in library.datasets if any(f"({d}) is stale: " in text for text in status.warnings)} == found
        told = json.loads(status.to_json())
        assert {d["dataset_id"] for d in told["datasets"] if d["stale"]} == found
        assert (told["exit_code"], told["max_age"]) == (status.exit_code, max_age and max_age.total_seconds())
        return found

    with Studio(library) as studio:
        assert stale(HOUR) == {fresh, failing, never}
        run_sync(pipeline, studio, dataset_ids=[fresh, failing])
        assert stale(HOUR) == {never}
        assert stale(None) == set()
        library.advance(hours=2)
        studio.before = hostile.failing(failing, hostile.status(500))
        assert run_sync(pipeline, studio, dataset_ids=[fresh, failing]).exit_code == 5
        # the window that was listed now counts as much as the complete listing before
        assert stale(HOUR) == {failing, never}
        assert stale(3 * HOUR) == {never}
        assert stale(HOUR, dataset_ids=[fresh]) == set()
        # without a key, what the warehouse has never heard of is not known
        assert stale(HOUR, api_key=None) == {failing}
        # a run in the future, by a clock that was wrong, does not look fresh until then
        early = read_status(pipeline, library.clock() - 3 * HOUR, HOUR, api_key=None)
        assert {d.dataset_id for d in early.datasets if d.stale} == {fresh}
        # a run whose rows were not all loaded is not a good one
        with pipeline.sql_client() as client:
            client.execute_sql("DELETE FROM _dlt_loads")
        assert stale(3 * HOUR, api_key=None) == {fresh, failing}


def test_an_empty_warehouse_is_stale_unless_the_account_is_empty_too(pipeline):
    with Studio(frozen(12)) as studio:
        assert read_status(pipeline, max_age=HOUR).exit_code == 8
        studio.library.remove_dataset(*studio.library.datasets)
        given = {"base_url": studio.url, "api_key": studio.key}
        assert read_status(pipeline, max_age=HOUR, **given).exit_code == 0


def test_the_command_tells_staleness_from_a_bad_key_and_from_an_unreadable_warehouse(command, tmp_path):  # noqa: F811
    library = frozen(12)
    (dataset,) = library.datasets
    with Studio(library) as studio:
        empty = command(studio, "status", "--max-age", "2h")
        assert (empty.exit_code, dataset in empty.stderr) == (8, True)
        assert command(studio, "sync").exit_code == 0
        # the frozen library's clock stands still in the past
        old = command(studio, "status", "--max-age", "2h")
        assert old.exit_code == 8
        assert f"Warning: Spring Catalogue ({dataset}) is stale: its last run that ended well began 20" in old.stderr
        assert command(studio, "status", "--max-age", "99999d").exit_code == 0
        refused = command(studio, "status", "--max-age", "2h", "--api-key", "wrong")
        assert refused.exit_code == 3
        assert dataset in refused.stdout and "The API key is not valid" in refused.stderr
        for wrong in ("2", "soon"):
            assert command(studio, "status", "--max-age", wrong).exit_code == 2
    keyless = CliRunner().invoke(main, ["status", "--max-age", "2h", "--json"], env=database(tmp_path))
    assert (keyless.exit_code, json.loads(keyless.stdout)["datasets"][0]["stale"]) == (8, True)
    (tmp_path / "coreviz_library.duckdb").write_bytes(b"no database" * 1000)
    assert CliRunner().invoke(main, ["status", "--max-age", "2h"], env=database(tmp_path)).exit_code == 7


def database(folder) -> dict[str, str]:
    return {"DESTINATION__DUCKDB__CREDENTIALS": str(folder / "coreviz_library.duckdb")}


def test_an_id_that_nothing_belongs_to_leaves_no_line_and_one_that_left_leaves_its_own(pipeline):
    library = frozen(20, datasets=2)
    kept, left = library.datasets
    with Studio(library) as studio:
        report = run_sync(pipeline, studio, dataset_ids=[UNKNOWN, kept, left])
        assert (report.exit_code, report.datasets[UNKNOWN].exit_code) == (4, 4)
        given = {"base_url": studio.url, "api_key": studio.key}
        assert {d.dataset_id for d in read_status(pipeline, **given).datasets} == {kept, left}
        assert query(pipeline, "SELECT count(*) FROM _coreviz_runs WHERE dataset_id = %s", UNKNOWN) == [(0,)]
        library.remove_dataset(left)
        assert run_sync(pipeline, studio, dataset_ids=[left]).exit_code == 4
        outcomes = query(pipeline, "SELECT outcome FROM _coreviz_runs WHERE dataset_id = %s ORDER BY started_at", left)
        assert outcomes == [("complete",), ("failed",)]
        # what an earlier version has left
        with pipeline.sql_client() as client:
            client.execute_sql("UPDATE _coreviz_runs SET dataset_id = %s WHERE outcome = 'failed'", UNKNOWN)
        assert {d.dataset_id for d in read_status(pipeline, **given).datasets} == {kept, left}


def test_a_mistyped_id_alone_is_not_found_and_loads_nothing(pipeline):
    with Studio(frozen(12)) as studio:
        run_sync(pipeline, studio)
        before = query(pipeline, "SELECT count(*) FROM _dlt_loads")
        assert run_sync(pipeline, studio, dataset_ids=[UNKNOWN]).exit_code == 4
        assert query(pipeline, "SELECT count(*) FROM _dlt_loads") == before


def test_an_age_is_a_span_of_time_with_its_unit():
    from coreviz_source.settings import check_duration

    assert check_duration("2h", "--max-age") == 2 * HOUR
    with pytest.raises(ConfigurationError, match=r'--max-age is 2, a number without a unit. .*"2h" hours'):
        check_duration("2", "--max-age")
