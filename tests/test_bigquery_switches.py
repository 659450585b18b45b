"""What a dlt user may do to any source, with the double of BigQuery: rows travel as dictionaries there."""

from __future__ import annotations

import pytest

from coreviz_source.errors import ConfigurationError, find
from coreviz_source.local_studio import Studio
from tests.scenario import assert_equal_to, frozen, media_of, run, run_sync, truth_of
from tests.test_bigquery import into, server, service  # noqa: F401
from tests.test_dlt_switches import source
from tests.truth import truth
from tests.warehouse import assert_equal, read


@pytest.fixture
def bigquery(service, tmp_path):  # noqa: F811
    return into(service.credentials(), tmp_path)


def test_datasets_named_in_turn_by_run_are_each_a_mirror(bigquery):
    library = frozen(20)
    first = bigquery.dataset_name
    with Studio(library) as studio:
        for name in (first, f"{first}_x", first):
            bigquery.run(source(studio, reconcile_every="0"), dataset_name=name)
            assert_equal_to(bigquery, studio)
            library.delete(media_of(library)[0]["id"])


def test_a_refresh_a_renamed_table_and_another_disposition_are_refused(bigquery):
    with Studio(frozen(20)) as studio:
        run(bigquery, studio)
        renamed = source(studio)
        renamed.resources["media"].apply_hints(table_name="cv_media")
        for attempt in (
            lambda: bigquery.run(source(studio), refresh="drop_data"),
            lambda: bigquery.run(renamed),
            lambda: bigquery.run(source(studio), write_disposition="replace"),
        ):
            with pytest.raises(Exception) as raised:
                attempt()
            assert isinstance(find(raised.value), ConfigurationError), raised.value
        run(bigquery, studio, reconcile_every="0")
        assert_equal_to(bigquery, studio)


def test_steps_change_and_drop_just_their_rows(bigquery):
    library = frozen(30)
    with Studio(library) as studio:
        for _ in range(2):
            changed = source(studio, reconcile_every="0").parallelize()
            changed.resources["captions"].add_filter(lambda row: "red" in row["text"])
            changed.resources["frames"].add_map(lambda row: {**row, "text": "masked", "added": 1})
            bigquery.run(changed)
            expected = truth(truth_of(studio))
            expected["captions"] = [row for row in expected["captions"] if "red" in row["text"]]
            expected["frames"] = [{**row, "text": "masked"} for row in expected["frames"]]
            assert_equal(read(bigquery, *expected), expected)
            library.delete(media_of(library, frames=1)[0]["id"])
        run(bigquery, studio)
        run(bigquery, studio, reconcile_every="0")
        assert_equal_to(bigquery, studio)


def test_a_step_that_drops_media_is_refused_before_anything_is_written(bigquery):
    with Studio(frozen(20)) as studio:
        filtered = source(studio)
        filtered.resources["media"].add_filter(lambda row: row["type"] == "image")
        bigquery.extract(filtered)
        bigquery.normalize()
        with pytest.raises(Exception) as raised:
            bigquery.load()
        assert isinstance(find(raised.value), ConfigurationError), raised.value
        run(bigquery, studio)
        assert_equal_to(bigquery, studio)


@pytest.mark.parametrize("how", ["run", "sync"])
def test_a_refused_row_is_a_failure_although_dlt_is_set_to_go_on(bigquery, service, monkeypatch, how):  # noqa: F811
    monkeypatch.setenv("LOAD__RAISE_ON_FAILED_JOBS", "false")
    library = frozen(20)
    with Studio(library) as studio:
        run(bigquery, studio)
        library.add_caption(media_of(library, frames=1)[0]["id"], "a refused caption")
        service.broken = "captions"
        if how == "sync":
            assert run_sync(bigquery, studio, reconcile_every="0").exit_code == 7
        else:
            with pytest.raises(Exception) as raised:
                run(bigquery, studio, reconcile_every="0")
            assert find(raised.value).exit_code == 7, raised.value
        run(bigquery, studio, reconcile_every="0")
        assert_equal_to(bigquery, studio)
