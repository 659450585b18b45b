"""`sync()`: one bad dataset does not stop the others, and the report says what happened."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import dlt
import pytest
from dlt.pipeline.exceptions import PipelineStepFailed

import coreviz_source.loading.packages
import coreviz_source.mirror
from coreviz_source.errors import ConfigurationError, find
from coreviz_source.loading.configuration import resolve
from coreviz_source.loading.pipeline import resolve_pipeline
from coreviz_source.local_studio import Library, Studio
from tests import hostile
from tests.scenario import assert_equal_to, frozen, media_of, pipeline_in, run, run_sync
from tests.warehouse import assert_mirror, load_ids, query, read, runs

BAD = {
    "404": (hostile.status(404), 4),
    "401": (hostile.status(401), 3),
    "402": (hostile.status(402), 3),
    "403": (hostile.status(403), 3),
    "400": (hostile.status(400), 2),
    "429": (hostile.status(429, **{"Retry-After": "0"}), 5),
    "500": (hostile.status(500), 5),
    "redirect": (hostile.status(302, location="https://example.com/"), 2),
    "broken JSON": (lambda: b'{"media": [', 5),
    "HTML": (hostile.status(200, b"<html>Sign in</html>"), 5),
    "an error with status 200": (lambda: {"error": "Unavailable", "message": "Later."}, 5),
    "an error beside media": (lambda: {"error": "Unavailable", "media": []}, 5),
    "no list of media": (lambda: {"media": None}, 5),
}


@pytest.fixture(scope="module")
def mirrored(tmp_path_factory) -> Iterator[tuple[dlt.Pipeline, Studio]]:
    """Three datasets and their warehouse, which live through every way in which one of them can be bad."""
    pipeline = pipeline_in(tmp_path_factory.mktemp("bad"))
    with Studio(frozen(60, datasets=3)) as studio:
        run(pipeline, studio)
        yield pipeline, studio


@pytest.mark.parametrize("name", BAD)
def test_one_bad_dataset_does_not_stop_the_others_and_loses_nothing(mirrored, name):
    pipeline, studio = mirrored
    library = studio.library
    first, bad, last = library.datasets
    answer, code = BAD[name]
    before = {r["run"] for r in runs(pipeline)}
    try:
        held = {d: studio.snapshot(d) for d in library.datasets}
        for dataset in library.datasets:
            library.add_media(dataset, processing=False)
            library.delete(media_of(library, dataset)[5]["id"])
        studio.before = hostile.failing(bad, answer)
        report = run_sync(pipeline, studio, reconcile_every="0")
        assert report.exit_code == code
        assert [report.datasets[d].exit_code for d in (first, bad, last)] == [0, code, 0]
        assert bad in report.datasets[bad].message
        assert_mirror(pipeline, {first: studio.snapshot(first), bad: held[bad], last: studio.snapshot(last)})
        with pytest.raises(PipelineStepFailed) as failure:
            run(pipeline, studio, reconcile_every="0")
        error = find(failure.value)
        assert error is not None
        assert (error.exit_code, bad in str(error)) == (code, True)
        studio.before = None
        assert run_sync(pipeline, studio, reconcile_every="0").exit_code == 0
        assert_equal_to(pipeline, studio)
    finally:
        studio.before = None
    failed = [r for r in runs(pipeline) if r["outcome"] == "failed" and r["run"] not in before]
    assert [r["dataset_id"] for r in failed] == [bad]


def test_the_report_counts_what_was_done_and_becomes_json(pipeline):
    library = frozen(50)
    (dataset,) = library.datasets
    with Studio(library) as studio:
        first = run_sync(pipeline, studio)
        library.add_caption(media_of(library, frames=1)[0]["id"], "New.")
        # at the top, because the item count of a folder would change as well
        library.delete(next(item["id"] for item in media_of(library)[1:] if item["path"].count(".") == 1))
        with library.changing(library.add_media(dataset, processing=False)) as item:
            item["brandNew"] = 1
        report = run_sync(pipeline, studio, reconcile_every="0")
    done = report.datasets[dataset]
    assert (first.datasets[dataset].new, first.datasets[dataset].rows["media"]) == (56, 50)
    assert (done.listed, done.new, done.changed, done.gone, done.unchanged) == (56, 1, 1, 1, 54)
    assert report.datasets[dataset.replace("-", "").upper()] is done
    told = json.loads(report.to_json())
    assert told["exit_code"] == 0
    assert told["datasets"][dataset]["complete"] is True
    last = runs(pipeline)[-1]
    assert (last["new"], last["changed"], last["gone"], last["unchanged"]) == (1, 1, 1, 54)
    assert last["run"] == report.run
    assert last["unknown_fields"] == done.unknown_fields == ["media.brandNew"]


@pytest.mark.parametrize("plain", [False, True])
def test_a_sample_is_as_large_as_it_was_asked_for_over_all_datasets(pipeline, plain):
    with Studio(frozen(60, datasets=3)) as studio:
        if plain:
            run(pipeline, studio, max_media=25, page_size=15)
        else:
            report = run_sync(pipeline, studio, max_media=25, page_size=15)
            assert (report.exit_code, {d.outcome for d in report.datasets.values()}) == (0, {"sample"})
        first, second, third = studio.library.datasets
        sampled = dict(query(pipeline, "SELECT dataset_id, count(*) FROM media GROUP BY 1"))
        assert sampled == {first: 20, second: 5}
        assert not any(third.replace("-", "") in request.path.replace("-", "") for request in studio.requests)
        run_sync(pipeline, studio)
        assert_equal_to(pipeline, studio)


def test_datasets_can_be_named_in_either_form_and_are_one(pipeline):
    library = frozen(20)
    (dataset,) = library.datasets
    with Studio(library) as studio:
        run_sync(pipeline, studio, dataset_ids=[dataset.replace("-", "").upper()])
        run_sync(pipeline, studio, dataset_ids=[dataset, dataset.replace("-", "")])
        assert_equal_to(pipeline, studio)
    assert len(read(pipeline, "datasets")["datasets"]) == 1
    assert len(runs(pipeline)) == 2


def test_the_first_load_of_a_large_dataset_is_committed_in_checkpoints(pipeline, monkeypatch):
    monkeypatch.setattr(coreviz_source.loading.packages, "CHECKPOINT", 40)
    monkeypatch.setattr(coreviz_source.loading.packages, "WAITING", 20)
    monkeypatch.setattr("coreviz_source.mirror.BATCH", 10)
    library = frozen(200)
    with Studio(library) as studio:
        report = run_sync(pipeline, studio)
        assert report.exit_code == 0
        assert_equal_to(pipeline, studio)
    assert len(load_ids(pipeline)["media"]) == 5
    assert len(runs(pipeline)) == 1


def test_a_large_change_of_a_loaded_dataset_is_one_package_so_that_the_brake_changes_nothing(pipeline, monkeypatch):
    monkeypatch.setattr(coreviz_source.loading.packages, "WAITING", 20)
    monkeypatch.setattr("coreviz_source.mirror.BATCH", 10)
    library = frozen(200, datasets=2)
    with Studio(library) as studio:
        run_sync(pipeline, studio)
        before = load_ids(pipeline)
        first, second = library.datasets
        for item in media_of(library, first)[:40]:
            library.delete(item["id"])
        for item in media_of(library, first, frames=1):
            library.add_caption(item["id"], "Everything changed.")
        library.add_media(second, processing=False)
        report = run_sync(pipeline, studio, reconcile_every="0")
        assert report.exit_code == 6
        gained = {name: (rows - before[name]).total() for name, rows in load_ids(pipeline).items()}
        assert gained["media"] == 1
        assert query(pipeline, "SELECT count(*) FROM captions WHERE text = 'Everything changed.'") == [(0,)]
        assert run_sync(pipeline, studio, reconcile_every="0", max_deletes=1).exit_code == 0
        assert_equal_to(pipeline, studio)


@pytest.mark.parametrize(
    ("given", "code", "said"),
    [
        ({"api_key": None}, 3, "sources.coreviz.api_key"),
        ({"api_key": "wrong"}, 3, "sources.coreviz.api_key"),
        ({"api_key": "bad key\n"}, 3, "characters"),
        ({"lookback": "soon"}, 2, "lookback"),
        ({"deletes": "maybe"}, 2, "deletes"),
        ({"max_deletes": 2}, 2, "max_deletes"),
        ({"page_size": 0}, 2, "page_size"),
        ({"page_size": "many"}, 2, "page_size"),
        ({"parallel_requests": -1}, 2, "parallel_requests"),
        ({"requests_per_second": 0}, 2, "requests_per_second"),
        ({"date_from": "yesterday"}, 2, "date_from"),
        ({"date_from": "2026-02-01", "date_to": "2026-01-01"}, 2, "half-open"),
        ({"base_url": "http://lab.coreviz.io"}, 2, "https"),
        ({"base_url": "https://user:secret@lab.coreviz.io"}, 2, "base_url"),
        ({"dataset_ids": []}, 2, "dataset_ids"),
        ({"dataset_ids": ["../../etc"]}, 2, "dataset_ids"),
        ({"dataset_ids": ["00000000-0000-0000-0000-000000000000"]}, 4, "00000000-0000-0000-0000-000000000000"),
        ({"no_such_argument": 1}, 2, "no_such_argument"),
    ],
)
def test_a_wrong_setting_is_reported_clearly_and_early(pipeline, given, code, said):
    library = frozen(10)
    with Studio(library) as studio:
        report = run_sync(pipeline, studio, **given)
        assert report.exit_code == code
        assert said in report.to_json()
        asked = len(studio.requests)
    assert asked <= (2 if code in (3, 4) else 0)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("lookbak", "lookback"),
        ("datasets_ids", "dataset_ids"),
        ("pagesize", "page_size"),
        ("destinaton", "destination"),
    ],
)
def test_a_misspelt_setting_is_refused_wherever_it_stands(monkeypatch, name, meant):
    with dlt.config.values({f"sources.coreviz.{name}": "x"}), pytest.raises(ConfigurationError) as refusal:
        resolve({"api_key": "key"})
    assert f"{name} in config.toml" in str(refusal.value) and f"Did you mean {meant}?" in str(refusal.value)
    with (
        dlt.secrets.values({f"sources.coreviz.{name}": "x"}),
        pytest.raises(ConfigurationError, match=r"secrets\.toml"),
    ):
        resolve_pipeline()
    monkeypatch.setenv(f"SOURCES__COREVIZ__{name.upper()}", "x")
    with pytest.raises(ConfigurationError, match=f"SOURCES__COREVIZ__{name.upper()}"):
        resolve({"api_key": "key"})


def test_what_dlt_itself_takes_among_the_settings_is_not_refused(monkeypatch):
    for name in ("max_table_nesting", "schema_contract", "name", "media.max_table_nesting", "media.page_sizes"):
        monkeypatch.setenv(f"SOURCES__COREVIZ__{name.upper().replace('.', '__')}", "1")
        with dlt.config.values({f"sources.coreviz.{name}": 1}):
            assert resolve({"api_key": "key"}).page_size is None


def test_dataset_ids_left_out_need_an_api_that_lists_datasets(pipeline):
    with Studio(frozen(10), 2025) as studio:
        report = run_sync(pipeline, studio, dataset_ids=None)
    assert report.exit_code == 2
    assert "dataset_ids" in str(report.errors[0])


def test_a_warehouse_that_cannot_be_opened_is_exit_code_7(tmp_path):
    (tmp_path / "not-a-database.duckdb").write_text("this is no database" * 1000)
    pipeline = dlt.pipeline(
        "coreviz_test",
        destination=dlt.destinations.duckdb(str(tmp_path / "not-a-database.duckdb")),
        dataset_name="coreviz",
        pipelines_dir=str(tmp_path / "p"),
    )
    with Studio(frozen(10)) as studio:
        report = run_sync(pipeline, studio)
    assert report.exit_code == 7


def test_a_duckdb_file_named_like_the_dataset_is_refused_before_the_first_request(tmp_path):
    pipeline = dlt.pipeline("coreviz", destination="duckdb", dataset_name="coreviz", pipelines_dir=str(tmp_path / "p"))
    with Studio(frozen(10)) as studio:
        report = run_sync(pipeline, studio)
        assert report.exit_code == 2
        assert "--pipeline-name" in report.to_json() and "--dataset-name" in report.to_json()
        assert studio.requests == []


def test_an_unexpected_error_in_one_dataset_does_not_stop_the_others(pipeline, monkeypatch):
    library = frozen(30, datasets=2)
    first, second = library.datasets
    original = coreviz_source.mirror.media_rows

    def broken(dataset_id, *rest):
        if dataset_id == first:
            raise RuntimeError("a bug of ours")
        return original(dataset_id, *rest)

    monkeypatch.setattr(coreviz_source.mirror, "media_rows", broken)
    with Studio(library) as studio:
        report = run_sync(pipeline, studio)
        assert (report.exit_code, report.datasets[second].exit_code) == (1, 0)
        assert_mirror(pipeline, {second: studio.snapshot(second)})


def test_a_million_known_media_fit_into_far_less_than_200_megabytes():
    import tracemalloc

    from coreviz_source.warehouse.state import StoredHashes

    media = 100_000
    ids = [f"00000000-0000-4000-8000-{number:012d}" for number in range(media)]
    tracemalloc.start()
    known = StoredHashes((item_id, number + 1) for number, item_id in enumerate(ids))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak / media < 120
    for item_id in ids[:3]:
        known.mark_listed(item_id)
    assert [known.hash_of(i) for i in ids[:3]] == [1, 2, 3]
    assert known.unlisted == media - 3


@pytest.mark.parametrize("given", ["argument", "dlt variable", "own variable"])
def test_the_key_is_in_no_log_report_state_or_file(pipeline, tmp_path, caplog, capfd, monkeypatch, given):
    key = "canary-5e1f7a"
    if given == "dlt variable":
        monkeypatch.setenv("SOURCES__COREVIZ__API_KEY", key)
    elif given == "own variable":
        monkeypatch.setenv("COREVIZ_API_KEY", key)
    api_key = key if given == "argument" else None
    monkeypatch.setenv("RUNTIME__LOG_LEVEL", "DEBUG")
    library = frozen(30, datasets=2)
    bad = list(library.datasets)[1]
    with caplog.at_level(logging.DEBUG), Studio(library, api_key=key) as studio:
        report = run_sync(pipeline, studio, api_key=api_key)
        assert report.exit_code == 0
        studio.before = hostile.failing(bad, hostile.status(500))
        failed = run_sync(pipeline, studio, api_key=api_key)
        with pytest.raises(PipelineStepFailed) as failure:
            run(pipeline, studio, api_key=api_key)
        wrong = run_sync(pipeline, studio, api_key=key + "-wrong")
    import traceback

    said = [report.to_json(), failed.to_json(), wrong.to_json(), caplog.text, *capfd.readouterr()]
    said += traceback.format_exception(failure.value)
    said += [json.dumps(read(pipeline, "_coreviz_runs"), default=str)]
    assert not any(key in text for text in said)
    for path in tmp_path.rglob("*"):
        if path.is_file():
            assert key.encode() not in path.read_bytes(), path


def test_the_key_is_never_sent_to_where_a_redirect_leads(pipeline):
    library = frozen(10)
    with Studio(Library.empty()) as other, Studio(library) as studio:
        for target in (other.url, studio.url):
            studio.before = lambda request, to=target: hostile.status(307, location=to + "/api/me")()
            report = run_sync(pipeline, studio)
            assert report.exit_code == 2
        assert other.requests == []


@pytest.mark.parametrize("after", ["0", "1", "9999999", "soon", "Wed, 21 Oct 2015 07:28:00 GMT", "-5", "0.5"])
def test_any_retry_after_is_survived(pipeline, after):
    library = frozen(10)
    with Studio(library) as studio:
        studio.before = lambda r: hostile.status(429, **{"Retry-After": after})() if r.number in (1, 2, 5) else None
        report = run_sync(pipeline, studio)
        assert report.exit_code == 0
        assert_equal_to(pipeline, studio)
    (dataset,) = report.datasets.values()
    assert dataset.retries == 3


@pytest.mark.parametrize(("most", "value"), [("WAITING", 20), ("WAITING_BYTES", 50_000)])
def test_many_small_datasets_are_loaded_on_the_way_and_not_kept_in_memory(pipeline, monkeypatch, most, value):
    monkeypatch.setattr(coreviz_source.loading.packages, most, value)
    library = frozen(120, datasets=8)
    with Studio(library) as studio:
        report = run_sync(pipeline, studio)
        assert report.exit_code == 0
        assert {dataset.phase for dataset in report.datasets.values()} == {"done"}
        assert_equal_to(pipeline, studio)
    assert max(load_ids(pipeline)["media"].values()) < 60


def test_a_dataset_whose_name_cannot_be_read_is_loaded_and_its_row_stays_as_it_was(pipeline):
    library = frozen(20)
    (dataset,) = library.datasets

    def redirect(request):
        return None if request.path.endswith("/media") else hostile.status(307, location="/login")()

    with Studio(library, before=redirect) as studio:
        report = run_sync(pipeline, studio)
        assert (report.exit_code, read(pipeline, "datasets")["datasets"][0]["name"]) == (0, None)
        assert "name could not be read" in report.datasets[dataset].message
        studio.before = None
        assert run_sync(pipeline, studio, reconcile_every="0").exit_code == 0
        assert_equal_to(pipeline, studio)
        studio.before = redirect
        library.add_media(dataset, processing=False)
        assert run_sync(pipeline, studio, reconcile_every="0").exit_code == 0
        assert_equal_to(pipeline, studio)
