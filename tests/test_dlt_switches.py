"""What a dlt user may do to any source either works here, or is refused before the first request with the remedy."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import dlt
import pytest

from coreviz_source import coreviz
from coreviz_source.errors import ConfigurationError, find
from coreviz_source.local_studio import Studio
from tests.docs import ROOT, blocks
from tests.scenario import (
    arguments,
    assert_equal_to,
    first_run,
    first_sync,
    frozen,
    media_of,
    pipeline_in,
    run,
    run_sync,
    truth_of,
)
from tests.truth import truth
from tests.warehouse import assert_equal, assert_mirror, query, read, runs


@pytest.fixture(params=["duckdb", "postgres"])
def warehouse(request: pytest.FixtureRequest, tmp_path: Path) -> dlt.Pipeline:
    return request.getfixturevalue("postgres") if request.param == "postgres" else pipeline_in(tmp_path)


def source(studio: Studio, **given: Any) -> Any:
    return coreviz(**arguments(studio, given))


def refused(pipeline: dlt.Pipeline, studio: Studio, word: str, attempt: Any, requests: int = 0) -> None:
    """The attempt is refused with a word for what was wanted, before a request, and the next run is not blocked."""
    before = len(studio.requests)
    with pytest.raises(Exception) as raised:
        attempt()
    error = find(raised.value)
    assert isinstance(error, ConfigurationError) and word in str(error), raised.value
    assert len(studio.requests) - before == requests
    run(pipeline, studio, reconcile_every="0")
    assert_equal_to(pipeline, studio)


@pytest.mark.switch("dataset_name")
def test_datasets_named_in_turn_by_run_are_each_a_mirror(warehouse):
    library = frozen(30)
    with Studio(library) as studio:
        first, second = warehouse.dataset_name, f"{warehouse.dataset_name}_prod"
        for round in range(3):
            for name in (first, second):
                warehouse.run(source(studio, reconcile_every="0"), dataset_name=name)
                assert warehouse.dataset_name == name
                assert_equal_to(warehouse, studio)
            if round == 0:
                library.delete(media_of(library)[3]["id"])
                library.add_media(next(iter(library.datasets)))


@pytest.mark.switch("dataset_name")
def test_a_dataset_set_on_the_pipeline_is_what_sync_loads_into(warehouse):
    library = frozen(30)
    with Studio(library) as studio:
        first = warehouse.dataset_name
        for name in (first, f"{first}_x", first, f"{first}_x"):
            warehouse.dataset_name = name
            assert run_sync(warehouse, studio, reconcile_every="0").exit_code == 0
            assert warehouse.dataset_name == name
            assert_equal_to(warehouse, studio)
            library.delete(media_of(library)[0]["id"])


@pytest.mark.switch("dataset_name")
def test_a_dataset_named_only_when_loading_is_refused_before_anything_is_written(warehouse):
    library = frozen(20)
    with Studio(library) as studio:
        first_run(warehouse, studio)
        name = warehouse.dataset_name
        library.add_media(next(iter(library.datasets)))
        warehouse.extract(source(studio))
        warehouse.normalize()
        with pytest.raises(Exception) as raised:
            warehouse.load(dataset_name=f"{name}_other")
        assert isinstance(find(raised.value), ConfigurationError), raised.value
        assert not warehouse.has_pending_data
        run(warehouse, studio)
        warehouse.dataset_name = name
        run(warehouse, studio)
        assert warehouse.dataset_name == name
        assert_equal_to(warehouse, studio)


def test_a_package_of_an_interrupted_run_is_not_loaded_into_another_dataset(warehouse):
    with Studio(frozen(20)) as studio:
        first_run(warehouse, studio)
        name = warehouse.dataset_name
        studio.library.add_media(next(iter(studio.library.datasets)))
        warehouse.extract(source(studio))
        with pytest.raises(Exception) as raised:
            warehouse.run(source(studio), dataset_name=f"{name}_other")
        assert isinstance(find(raised.value), ConfigurationError), raised.value
        for dataset_name in (f"{name}_other", name):
            warehouse.run(source(studio, reconcile_every="0"), dataset_name=dataset_name)
            assert_equal_to(warehouse, studio)


def test_another_process_loads_nothing_of_an_interrupted_run_into_another_dataset(warehouse):
    with Studio(frozen(20)) as studio:
        first_run(warehouse, studio)
        name = warehouse.dataset_name
        studio.library.add_media(next(iter(studio.library.datasets)))
        warehouse.extract(source(studio))
        other = dlt.attach(warehouse.pipeline_name, warehouse.pipelines_dir, destination=warehouse.destination)
        for dataset_name in (f"{name}_other", name):
            other.run(source(studio, reconcile_every="0"), dataset_name=dataset_name)
            assert_equal_to(other, studio)


@pytest.mark.switch("refresh")
@pytest.mark.parametrize("refresh", ["drop_data", "drop_resources", "drop_sources"])
def test_refresh_is_refused_where_it_would_empty_what_was_compared(warehouse, refresh):
    with Studio(frozen(20)) as studio:
        first_run(warehouse, studio)
        refused(
            warehouse, studio, "resync", lambda: warehouse.run(source(studio, reconcile_every="0"), refresh=refresh)
        )


def test_refresh_on_the_pipeline_is_refused_by_run_and_by_sync(tmp_path):
    with Studio(frozen(20)) as studio:
        run(pipeline_in(tmp_path), studio)
        pipeline = pipeline_in(tmp_path)
        pipeline.refresh = "drop_sources"
        before = len(studio.requests)
        report = run_sync(pipeline, studio)
        assert report.exit_code == 2 and "resync" in str(report.errors[0])
        assert len(studio.requests) == before
        pipeline.refresh = None
        refused_pipeline = pipeline_in(tmp_path)
        refused_pipeline.refresh = "drop_data"
        with pytest.raises(Exception) as raised:
            run(refused_pipeline, studio)
        assert isinstance(find(raised.value), ConfigurationError)
        run(pipeline, studio, reconcile_every="0")
        assert_equal_to(pipeline, studio)


def test_soft_deletions_survive_a_refused_refresh(pipeline):
    library = frozen(20)
    with Studio(library) as studio:
        first_run(pipeline, studio, deletes="soft")
        gone = media_of(library)[2]["id"]
        library.delete(gone)
        run(pipeline, studio, deletes="soft", reconcile_every="0")
        with pytest.raises(Exception):  # noqa: B017
            pipeline.run(source(studio, deletes="soft"), refresh="drop_data")
        marked = [row for row in read(pipeline, "media")["media"] if row["deleted_at"] is not None]
        assert len(marked) == 1


@pytest.mark.switch("apply_hints", "table_name")
@pytest.mark.parametrize("table", ["media", "captions"])
def test_a_renamed_table_is_refused(warehouse, table):
    with Studio(frozen(20)) as studio:
        renamed = source(studio)
        renamed.resources[table].apply_hints(table_name=f"cv_{table}")
        refused(warehouse, studio, "dataset_name", lambda: warehouse.run(renamed))
        refused(warehouse, studio, "dataset_name", lambda: warehouse.run(source(studio), table_name="everything"))


@pytest.mark.switch("write_disposition", "primary_key", "columns", "loader_file_format", "table_format")
@pytest.mark.parametrize(
    ("switch", "word"),
    [
        ({"write_disposition": "replace"}, "resync"),
        ({"write_disposition": "append"}, "resync"),
        ({"write_disposition": "skip"}, "resync"),
        ({"write_disposition": {"disposition": "merge", "strategy": "scd2"}}, "write_disposition"),
        ({"write_disposition": {"disposition": "merge", "strategy": "upsert"}}, "write_disposition"),
        ({"primary_key": "id"}, "primary_key"),
        ({"columns": {"extra": {"data_type": "text"}}}, "columns"),
        ({"loader_file_format": "jsonl"}, "loader_file_format"),
        ({"table_format": "iceberg"}, "table_format"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_switch_of_run_that_changes_how_rows_are_written_is_refused(tmp_path, switch, word):
    pipeline = pipeline_in(tmp_path)
    with Studio(frozen(20)) as studio:
        first_run(pipeline, studio)
        refused(pipeline, studio, word, lambda: pipeline.run(source(studio), **switch))
        assert len(runs(pipeline)) == 2


def test_the_same_source_may_be_run_with_the_disposition_that_it_has(pipeline):
    with Studio(frozen(20)) as studio:
        pipeline.run(source(studio))
        pipeline.run(
            source(studio, resync=True), write_disposition={"disposition": "merge", "strategy": "delete-insert"}
        )
        assert_equal_to(pipeline, studio)


@pytest.mark.switch("resources")
def test_a_single_table_taken_out_of_the_source_is_refused(pipeline):
    with Studio(frozen(20)) as studio:
        refused(pipeline, studio, "with_resources", lambda: pipeline.run(source(studio).resources["media"]))


@pytest.mark.switch("add_limit")
def test_add_limit_is_refused_with_the_word_for_it(pipeline):
    with Studio(frozen(20)) as studio:
        refused(pipeline, studio, "max_media", lambda: source(studio).add_limit(3))
        refused(pipeline, studio, "max_media", lambda: source(studio).resources["media"].add_limit(3))


@pytest.mark.switch("schema_contract")
@pytest.mark.parametrize("contract", ["freeze", {"columns": "freeze", "tables": "freeze", "data_type": "freeze"}])
def test_a_frozen_schema_takes_the_declared_tables_and_nothing_else(warehouse, contract):
    library = frozen(20)
    with Studio(library) as studio:
        for round in range(2):
            warehouse.run(source(studio, reconcile_every="0"), schema_contract=contract)
            assert_equal_to(warehouse, studio)
            with library.changing(media_of(library)[round]["id"]) as item:
                item["brandNew"] = {"field": 1}


@pytest.mark.switch("dev_mode", "full_refresh")
@pytest.mark.parametrize("word", ["dev_mode", "full_refresh"])
def test_dev_mode_by_either_name_mirrors_into_a_dataset_of_its_own(tmp_path, word):
    with Studio(frozen(20)) as studio:
        for _ in range(2):
            pipeline = dlt.pipeline(
                "coreviz_dev",
                destination=dlt.destinations.duckdb(str(tmp_path / "dev.duckdb")),
                dataset_name="dev",
                pipelines_dir=str(tmp_path / "pipelines"),
                **{word: True},
            )
            assert pipeline.dataset_name.startswith("dev_")
            run(pipeline, studio)
            run(pipeline, studio, reconcile_every="0")
            assert_equal_to(pipeline, studio)


def upper(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "text": row["text"].upper() if row["text"] else row["text"]}


def same(row: dict[str, Any]) -> dict[str, Any]:
    return row


def shouted(studio: Studio) -> dict[str, list[dict[str, Any]]]:
    expected = truth(truth_of(studio))
    expected["captions"] = [upper(row) for row in expected["captions"]]
    return expected


@pytest.mark.switch("add_map")
def test_a_step_changes_the_rows_of_its_table_whatever_happens_in_the_library(warehouse):
    library = frozen(40)
    with Studio(library) as studio:

        def load(**given: Any) -> None:
            mapped = source(studio, reconcile_every="0", **given)
            mapped.resources["captions"].add_map(upper)
            warehouse.run(mapped)

        load()
        assert_equal(read(warehouse, *shouted(studio)), shouted(studio))
        with_captions = media_of(library, frames=1)
        library.delete(with_captions[0]["id"])
        with library.changing(with_captions[1]["id"]) as item:
            item["frames"] = []
        library.add_caption(with_captions[2]["id"], "a late caption")
        load()
        assert_equal(read(warehouse, *shouted(studio)), shouted(studio))
        # without the step, and then with it again, by ordinary runs: what it concerns is loaded again
        run(warehouse, studio)
        assert_equal_to(warehouse, studio)
        mapped = source(studio)
        mapped.resources["captions"].add_map(upper)
        warehouse.run(mapped)
        assert_equal(read(warehouse, *shouted(studio)), shouted(studio))


def test_a_step_that_changes_nothing_loads_every_table_as_without_it(warehouse):
    library = frozen(40)
    with Studio(library) as studio:
        for round in range(3):
            mapped = source(studio, reconcile_every="0")
            for resource in mapped.resources.values():
                resource.add_map(same)
            warehouse.run(mapped)
            assert_equal_to(warehouse, studio)
            library.delete(media_of(library)[round]["id"])


def test_every_row_passes_a_step_once(pipeline, tmp_path):
    with Studio(frozen(60)) as studio:
        passed: list[str] = []
        mapped = source(studio)
        mapped.resources["captions"].add_map(lambda row: passed.append(row["id"]) or row)
        pipeline.run(mapped)
        assert sorted(passed) == sorted(row["id"] for row in read(pipeline, "captions")["captions"])


@pytest.mark.switch("add_filter")
def test_a_filter_on_a_child_table_drops_just_those_rows(warehouse):
    library = frozen(40)
    with Studio(library) as studio:

        def load() -> dict[str, list[dict[str, Any]]]:
            filtered = source(studio, reconcile_every="0")
            filtered.resources["captions"].add_filter(lambda row: "red" in row["text"])
            warehouse.run(filtered)
            expected = truth(truth_of(studio))
            expected["captions"] = [row for row in expected["captions"] if "red" in row["text"]]
            return expected

        expected = load()
        assert_equal(read(warehouse, *expected), expected)
        assert expected["captions"]
        library.delete(media_of(library, frames=1)[0]["id"])
        expected = load()
        assert_equal(read(warehouse, *expected), expected)
        expected = load()
        assert_equal(read(warehouse, *expected), expected)


@pytest.mark.switch("add_yield_map")
def test_a_step_may_add_a_column_and_yield_rows(warehouse):
    with Studio(frozen(20)) as studio:
        changed = source(studio)
        changed.resources["captions"].add_yield_map(
            lambda row: iter([{**row, "words": len((row["text"] or "").split())}])
        )
        warehouse.run(changed)
        assert_equal_to(warehouse, studio)
        with warehouse.sql_client() as client:
            table = client.make_qualified_table_name("captions")
            counted = client.execute_sql(f"SELECT text, words FROM {table}")
        assert counted and all(words == len(text.split()) for text, words in counted)


@pytest.mark.parametrize(
    ("table", "step"),
    [
        ("media", lambda resource: resource.add_filter(lambda row: row["type"] == "image")),
        ("media", lambda resource: resource.add_map(lambda row: {**row, "id": "x" + row["id"]})),
        ("media", lambda resource: resource.add_map(lambda row: {**row, "content_hash": None})),
        ("media", lambda resource: resource.add_yield_map(lambda row: iter([row, row]))),
        ("captions", lambda resource: resource.add_map(lambda row: {**row, "media_id": "someone"})),
        ("captions", lambda resource: resource.add_map(lambda row: {**row, "created_at": "yesterday"})),
    ],
    ids=["drops media", "changes ids", "changes the hash", "doubles media", "moves captions", "another type"],
)
def test_a_step_that_breaks_the_stored_state_is_refused_when_it_is_seen(warehouse, table, step):
    with Studio(frozen(20)) as studio:
        changed = source(studio)
        step(changed.resources[table])
        with pytest.raises(Exception) as raised:
            warehouse.run(changed)
        assert isinstance(find(raised.value), ConfigurationError), raised.value
        run(warehouse, studio, reconcile_every="0")
        assert_equal_to(warehouse, studio)


@pytest.mark.switch("parallelize")
def test_parallelize_loads_the_same(warehouse):
    with Studio(frozen(120)) as studio:
        warehouse.run(source(studio).parallelize())
        assert_equal_to(warehouse, studio)
        warehouse.run(source(studio, resync=True).parallelize())
        assert_equal_to(warehouse, studio)


@pytest.mark.switch("pipelines_dir")
@pytest.mark.parametrize("folder", ["run_id=scheduled__2026-11-27", "it's", "dataset_id=9", "a[b]c*", "ünï code"])
def test_rows_arrive_as_they_are_from_any_directory(tmp_path, folder):
    library = frozen(20)
    with Studio(library) as studio:
        pipeline = pipeline_in(tmp_path, directory=f"{folder}/pipelines")
        assert folder in pipeline.pipelines_dir
        for round in range(3):
            run(pipeline, studio, reconcile_every="0")
            assert_equal_to(pipeline, studio)
            library.delete(media_of(library)[round]["id"])
            library.add_media(next(iter(library.datasets)))
        # and from another one again
        run(pipeline_in(tmp_path), studio, reconcile_every="0")
        assert_equal_to(pipeline_in(tmp_path), studio)


@pytest.mark.switch("add_dlt_id")
def test_numbered_rows_for_somebody_elses_source_do_no_harm(warehouse, monkeypatch):
    library = frozen(20)
    with Studio(library) as studio:
        monkeypatch.setenv("NORMALIZE__PARQUET_NORMALIZER__ADD_DLT_ID", "true")
        monkeypatch.setenv("NORMALIZE__PARQUET_NORMALIZER__ADD_DLT_LOAD_ID", "true")
        run(warehouse, studio)
        assert_equal_to(warehouse, studio)
        library.delete(media_of(library)[0]["id"])
        run(warehouse, studio, reconcile_every="0")
        assert_equal_to(warehouse, studio)
        monkeypatch.delenv("NORMALIZE__PARQUET_NORMALIZER__ADD_DLT_ID")
        run(warehouse, studio, resync=True)
        assert_equal_to(warehouse, studio)


def test_numbered_rows_may_begin_after_a_first_load(warehouse, monkeypatch):
    library = frozen(20)
    with Studio(library) as studio:
        assert first_sync(warehouse, studio).exit_code == 0
        monkeypatch.setenv("NORMALIZE__PARQUET_NORMALIZER__ADD_DLT_ID", "true")
        library.add_media(next(iter(library.datasets)))
        assert run_sync(warehouse, studio, reconcile_every="0").exit_code == 0
        assert_equal_to(warehouse, studio)


@pytest.mark.switch("raise_on_failed_jobs")
@pytest.mark.parametrize("how", ["sync", "run"])
def test_a_refused_row_is_a_failure_although_dlt_is_set_to_go_on(warehouse, monkeypatch, how):
    monkeypatch.setenv("LOAD__RAISE_ON_FAILED_JOBS", "false")
    library = frozen(20)
    with Studio(library) as studio:
        first_run(warehouse, studio)
        victim = media_of(library, frames=1)[0]["id"]
        with warehouse.sql_client() as client:
            table = client.make_qualified_table_name("captions")
            if warehouse.destination.destination_type.endswith("postgres"):
                client.execute_sql(f"ALTER TABLE {table} ADD CONSTRAINT short CHECK (text <> 'a refused caption')")
            else:
                # DuckDB adds no constraint to a table that stands: a unique index refuses as well
                client.execute_sql(
                    f"CREATE UNIQUE INDEX refusing ON {table} ((CASE WHEN text = 'a refused caption' THEN text END))"
                )
        library.add_caption(victim, "a refused caption")
        library.add_caption(victim, "a refused caption")
        if how == "sync":
            report = run_sync(warehouse, studio, reconcile_every="0")
            assert report.exit_code == 7, report.to_json()
        else:
            with pytest.raises(Exception) as raised:
                run(warehouse, studio, reconcile_every="0")
            assert find(raised.value).exit_code == 7, raised.value
        with warehouse.sql_client() as client:
            if warehouse.destination.destination_type.endswith("postgres"):
                client.execute_sql(f"ALTER TABLE {table} DROP CONSTRAINT short")
            else:
                client.execute_sql(f"DROP INDEX {client.fully_qualified_dataset_name()}.refusing")
        run(warehouse, studio, reconcile_every="0")
        assert_equal_to(warehouse, studio)


@pytest.mark.switch("list")
def test_a_source_can_be_looked_at_without_a_pipeline(studio_of_three):
    studio = studio_of_three
    expected = truth(truth_of(studio))
    found = list(source(studio).resources["media"])
    assert {row["id"] for row in found} == {row["id"] for row in expected["media"]}
    assert isinstance(found[0]["metadata"], dict)
    assert len(list(source(studio, max_media=3).resources["media"])) == 3
    captions = list(source(studio).resources["captions"])
    assert sorted(row["text"] for row in captions) == sorted(row["text"] for row in expected["captions"])
    assert len(list(source(studio))) > len(found) + len(captions)


def test_looking_at_a_source_reads_and_locks_no_warehouse_of_an_active_pipeline(pipeline, studio_of_three):
    studio = studio_of_three
    first_run(pipeline, studio)
    assert len(list(source(studio).resources["media"])) == len(read(pipeline, "media")["media"])
    library = studio.library
    library.add_media(next(iter(library.datasets)))
    run(pipeline, studio)
    assert_equal_to(pipeline, studio)


@pytest.fixture
def studio_of_three():
    with Studio(frozen(20)) as studio:
        yield studio


@pytest.mark.switch("run")
def test_two_sources_in_one_pipeline_share_a_warehouse(warehouse):
    @dlt.source(name="other")
    def other() -> Any:
        return dlt.resource([{"id": 1, "text": "of somebody else"}], name="notes", write_disposition="replace")

    with Studio(frozen(20)) as studio:
        for _ in range(2):
            warehouse.run([source(studio, reconcile_every="0"), other()])
            assert_equal_to(warehouse, studio)
        warehouse.run(other())
        run(warehouse, studio)
        assert_equal_to(warehouse, studio)
        with warehouse.sql_client() as client:
            assert client.execute_sql(f"SELECT text FROM {client.make_qualified_table_name('notes')}") == [
                ("of somebody else",)
            ]


@pytest.mark.switch("naming")
def test_a_naming_convention_that_changes_names_is_refused(tmp_path, monkeypatch):
    with Studio(frozen(20)) as studio:
        (tmp_path / "shout.py").write_text(
            "from dlt.common.normalizers.naming.sql_cs_v1 import NamingConvention as Base\n"
            "class NamingConvention(Base):\n"
            "    def normalize_identifier(self, identifier):\n"
            "        return super().normalize_identifier(identifier).upper()\n"
        )
        monkeypatch.syspath_prepend(str(tmp_path))
        monkeypatch.setenv("SCHEMA__NAMING", "shout")
        with pytest.raises(Exception) as raised:
            run(pipeline_in(tmp_path), studio)
        assert isinstance(find(raised.value), ConfigurationError), raised.value
        assert not studio.requests
        for naming in ("sql_ci_v1", "sql_cs_v1", "direct"):
            monkeypatch.setenv("SCHEMA__NAMING", naming)
            pipeline = pipeline_in(tmp_path, naming, f"{naming}.duckdb")
            run(pipeline, studio)
            run(pipeline, studio, reconcile_every="0")
            assert_equal_to(pipeline, studio)


@pytest.mark.switch("import_schema_path", "export_schema_path")
def test_an_imported_schema_that_changes_a_column_is_refused(tmp_path):
    def pipeline() -> dlt.Pipeline:
        return dlt.pipeline(
            "coreviz_import",
            destination=dlt.destinations.duckdb(str(tmp_path / "import.duckdb")),
            dataset_name="coreviz",
            pipelines_dir=str(tmp_path / "pipelines"),
            import_schema_path=str(tmp_path / "schemas"),
            export_schema_path=str(tmp_path / "exported"),
        )

    with Studio(frozen(20)) as studio:
        run(pipeline(), studio)
        assert_equal_to(pipeline(), studio)
        file = tmp_path / "schemas" / "coreviz.schema.yaml"
        text = file.read_text()
        at = text.index("extra:", text.index("\n  media:"))
        file.write_text(text[:at] + text[at:].replace("data_type: json", "data_type: text", 1))
        with pytest.raises(Exception) as raised:
            run(pipeline(), studio)
        assert isinstance(find(raised.value), ConfigurationError), raised.value
        file.write_text(text)
        run(pipeline(), studio, reconcile_every="0")
        assert_equal_to(pipeline(), studio)


def test_a_pipeline_that_never_ran_this_source_is_left_alone(tmp_path):
    with Studio(frozen(20)) as studio:
        run(pipeline_in(tmp_path), studio)
    other = dlt.pipeline(
        "notes",
        destination=dlt.destinations.duckdb(str(tmp_path / "others.duckdb")),
        dataset_name="notes",
        pipelines_dir=str(tmp_path / "others"),
    )
    collector = other.collector
    other.run([{"id": 1}], table_name="notes")
    assert other.collector is collector
    assert [path.name for path in (tmp_path / "others").iterdir()] == ["notes"]
    assert json.loads(json.dumps(query(other, "SELECT id FROM notes"))) == [[1]]


PAGE = ROOT / "docs" / "dlt.md"


def test_the_page_on_switches_names_those_that_a_test_proves_and_no_others():
    lines = re.findall(r"^\| (`.*?) \| (.*?) \|", PAGE.read_text(), re.MULTILINE)
    listed = {word for line, _ in lines for word in re.findall(r"`([^`]*)`", line)}
    proven: set[str] = set()
    for node in ast.parse(Path(__file__).read_text()).body:
        for mark in getattr(node, "decorator_list", ()):
            if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.switch":
                words = {ast.literal_eval(word) for word in mark.args}
                text = ast.unparse(node).replace(ast.unparse(mark), "").casefold()
                assert all(part.casefold() in text for word in words for part in re.findall(r"\w+", word)), words
                proven |= words
    assert listed == proven
    assert all(re.match("works|refused|no effect", verdict) for _, verdict in lines)


def test_the_pages_examples_run(tmp_path):
    library = frozen(20)
    environment = {
        **os.environ,
        "PYTHONWARNINGS": "ignore",
        "SOURCES__COREVIZ__DATASET_IDS": json.dumps(list(library.datasets)),
    }
    with Studio(library) as studio:
        environment |= {"COREVIZ_API_KEY": studio.key, "SOURCES__COREVIZ__BASE_URL": studio.url}
        code = "\n".join(blocks(PAGE, "python"))
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        names = {item["name"] for item in media_of(library)}
        assert len(done.stdout.splitlines()) == 3 and set(done.stdout.splitlines()) <= names


@pytest.mark.switch("with_resources")
def test_selected_tables_are_loaded_and_the_others_when_they_are_selected_too(warehouse):
    with Studio(frozen(20)) as studio:
        warehouse.run(source(studio).with_resources("media", "captions"))
        assert_mirror(warehouse, truth_of(studio), "media", "captions")
        run(warehouse, studio)
        assert_equal_to(warehouse, studio)


@pytest.mark.switch("destination")
def test_a_destination_named_by_run_is_loaded_and_an_unknown_one_is_refused(tmp_path):
    def pipeline() -> dlt.Pipeline:
        return dlt.pipeline("coreviz_test", dataset_name="coreviz", pipelines_dir=str(tmp_path / "pipelines"))

    with Studio(frozen(20)) as studio:
        with pytest.raises(Exception) as raised:
            pipeline().run(source(studio), destination=dlt.destinations.filesystem(str(tmp_path / "files")))
        assert isinstance(find(raised.value), ConfigurationError), raised.value
        assert not studio.requests
        named = pipeline().drop()
        for _ in range(2):
            named.run(
                source(studio, reconcile_every="0"), destination=dlt.destinations.duckdb(str(tmp_path / "named.duckdb"))
            )
            assert_equal_to(named, studio)


@pytest.mark.switch("[NAME.sources.coreviz]")
def test_the_section_of_the_pipeline_applies_to_it_and_to_no_other(tmp_path, monkeypatch):
    # [name.sources.coreviz] as variables
    monkeypatch.setenv("OTHER__SOURCES__COREVIZ__MAX_MEDIA", "3")
    with Studio(frozen(20)) as studio:
        run(pipeline_in(tmp_path), studio)
        assert_equal_to(pipeline_in(tmp_path), studio)
        other = dlt.pipeline(
            "other", destination=dlt.destinations.duckdb(str(tmp_path / "other.duckdb")), dataset_name="coreviz"
        )
        run(other, studio)
        assert len(read(other, "media")["media"]) == 3


def dlt_command(pipeline: dlt.Pipeline, *words: str) -> str:
    """What dlt's own command line prints for a pipeline."""
    credentials = str(pipeline.destination_client().config.credentials._conn_str())  # type: ignore[attr-defined]
    command = ["dlt", "-y", "pipeline", "--pipelines-dir", pipeline.pipelines_dir, pipeline.pipeline_name, *words]
    done = subprocess.run(
        [str(Path(sys.executable).parent / command[0]), *command[1:]],
        env={**os.environ, "DESTINATION__DUCKDB__CREDENTIALS": credentials},
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.switch("drop()", "sync_destination()", "drop_pending_packages()", "abort_packages()")
@pytest.mark.parametrize("method", ["drop", "sync_destination", "drop_pending_packages", "abort_packages"])
@pytest.mark.parametrize("pending", [False, True], ids=["loaded", "pending"])
def test_after_a_method_that_resets_the_pipeline_the_next_runs_are_a_mirror(tmp_path, method, pending):
    library = frozen(20)
    with Studio(library) as studio:
        pipeline = pipeline_in(tmp_path)
        first_run(pipeline, studio)
        library.delete(media_of(library)[1]["id"])
        library.add_media(next(iter(library.datasets)))
        if pending:
            pipeline.extract(source(studio, reconcile_every="0"))
            pipeline.normalize()
        getattr(pipeline, method)()
        if pipeline.has_pending_data:
            # dlt loads only what is pending in such a run
            run(pipeline, studio)
        for _ in range(2):
            run(pipeline, studio, reconcile_every="0")
            assert_equal_to(pipeline, studio)


@pytest.mark.switch("dlt pipeline NAME info", "dlt pipeline NAME sync", "dlt pipeline NAME drop")
def test_dlts_own_commands_leave_a_pipeline_that_the_next_run_makes_a_mirror(tmp_path):
    library = frozen(20)
    with Studio(library) as studio:
        run(pipeline_in(tmp_path), studio)
        name = pipeline_in(tmp_path).pipeline_name
        assert name in dlt_command(pipeline_in(tmp_path), "info")
        for words in (["sync"], ["drop", "captions"], ["drop", "--drop-all"]):
            library.delete(media_of(library)[1]["id"])
            assert "coreviz_test" in dlt_command(pipeline_in(tmp_path), *words)
            for _ in range(2):
                run(pipeline_in(tmp_path), studio, reconcile_every="0")
                assert_equal_to(pipeline_in(tmp_path), studio)
