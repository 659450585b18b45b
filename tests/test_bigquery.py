"""The same library in BigQuery, as far as a test double of it goes; in Google's own where credentials are given.

`BIGQUERY_TEST_CREDENTIALS=key.json python -m pytest tests/test_bigquery.py -k google`, with the key file of a service
account that may make datasets, runs the test of the whole way against the real service (docs/bigquery.md).
"""

from __future__ import annotations

import io
import json
import os
import re
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import dlt
import dlt.destinations.impl.bigquery.bigquery
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlglot
from click.testing import CliRunner
from dlt.common.runtime.signals import sleep
from google.api_core.exceptions import GoogleAPICallError
from google.cloud import bigquery
from google.oauth2.service_account import Credentials
from sqlglot import exp

from coreviz_source import sync
from coreviz_source.cli import main
from coreviz_source.commands.search import search
from coreviz_source.local_studio import Studio
from coreviz_source.tables import HISTORY, TABLES
from coreviz_source.warehouse.views import NAMES as NAMES_OF_VIEWS
from tests.bigquery import LOAD, PARQUET, BigQuery, key
from tests.bigquery_sql import GOLDEN, conversation
from tests.docs import ROOT, for_bigquery, questions
from tests.scenario import arguments, assert_equal_to, frozen, media_of, run, run_sync
from tests.test_changes import CHANGES
from tests.test_docs import shell
from tests.test_views import assert_views, name_of, plain, view_rows
from tests.truth import Row
from tests.view_truth import checked_ages
from tests.warehouse import assert_equal, assert_opened_library_is_whole, load_ids, query, read, runs

NAMES = ("datasets", "folders", "media", "frames", "captions", "objects", "media_tags", "moderation_categories")
TYPES = {"id": "STRING", "text": "STRING", "bigint": "INT64", "double": "FLOAT64", "bool": "BOOL"}
#: A service account's key file; read here, because no test sees the caller's environment.
REAL = os.environ.get("BIGQUERY_TEST_CREDENTIALS")


@pytest.fixture(scope="module")
def server() -> Iterator[BigQuery]:
    with BigQuery() as service:
        yield service


@pytest.fixture
def service(server, monkeypatch) -> Iterator[BigQuery]:
    """The double, which was asked nothing that it does not know; dlt does not wait a second for each of its jobs."""
    monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", server.url)
    # without this, Google's library looks for a machine of Google's where there are no credentials
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    monkeypatch.setenv("LOAD__TRUNCATE_STAGING_DATASET", "true")
    monkeypatch.setattr(dlt.destinations.impl.bigquery.bigquery, "sleep", lambda seconds: time.sleep(0.01))
    yield server
    server.denied.clear()
    unknown, server.unknown[:] = list(server.unknown), []
    assert unknown == []


def into(credentials: object, tmp_path: Path, dataset: str = "", directory: str = "pipelines") -> dlt.Pipeline:
    return dlt.pipeline(
        "coreviz_bigquery",
        destination=dlt.destinations.bigquery(credentials),
        dataset_name=dataset or f"coreviz_{uuid.uuid4().hex[:8]}",
        pipelines_dir=str(tmp_path / directory),
    )


@pytest.fixture(params=["double", "google"])
def warehouse(request, service, monkeypatch, tmp_path) -> Iterator[Callable[[str], dlt.Pipeline]]:
    """Makes pipelines into one dataset; its argument stands for another machine's working directory."""
    dataset = f"coreviz_test_{uuid.uuid4().hex[:8]}"
    if request.param == "double":
        yield lambda directory: into(service.credentials(), tmp_path, dataset, directory)
        return
    if REAL is None:
        pytest.skip("BIGQUERY_TEST_CREDENTIALS names no key file of a service account")
    monkeypatch.delenv("BIGQUERY_EMULATOR_HOST")
    monkeypatch.setattr(dlt.destinations.impl.bigquery.bigquery, "sleep", sleep)
    credentials = json.loads(Path(REAL).read_text())
    yield lambda directory: into(credentials, tmp_path, dataset, directory)
    with into(credentials, tmp_path, dataset).destination_client() as client:
        for name in (dataset, f"{dataset}_staging"):
            client.sql_client.native_connection.delete_dataset(name, delete_contents=True, not_found_ok=True)


def without_runs(tables: dict[str, list[Row]]) -> dict[str, list[Row]]:
    """The same rows without the ids of the runs, which differ from warehouse to warehouse."""
    return {name: [{**row, "run": None} for row in rows] for name, rows in tables.items()}


def test_bigquery_and_duckdb_hold_the_same_whatever_changes_and_wherever_it_runs(warehouse, pipeline):
    library = frozen(100, datasets=2)
    first, _ = library.datasets
    texts = [
        "",
        "null",
        "{}",
        "emoji 👟🏳️‍🌈",
        "'quotes' \"double\" \\back\\slash \\N `tick`",
        "a\nb\r\tc \u2028",
        "a\0b",
    ]
    for item, text in zip(media_of(library, first, frames=1), texts, strict=False):
        item["frames"][0]["captions"][0]["text"] = item["name"] = text
        item["metadata"]["tags"] = {text: [text]}
    here, elsewhere = warehouse("here"), warehouse("elsewhere")
    with Studio(library) as studio:
        for step in range(3):
            if step == 1:
                for change in CHANGES:
                    with library.changing(media_of(library, first, frames=2)[0]["id"]) as item:
                        change(library, item)
            if step == 2:
                for item in media_of(library, first)[3:20:4]:
                    library.delete(item["id"])
            for each in (here, pipeline):
                report = run_sync(each, studio, reconcile_every="0", history=True)
                assert (report.exit_code, report.warnings) == (0, [])
            assert_equal_to(here, studio)
            assert_equal(read(here, *NAMES), read(pipeline, *NAMES))
            assert_equal(*(without_runs(read(each, *(table.name for table in HISTORY))) for each in (here, pipeline)))

        assert_views(here, studio)
        held = load_ids(here)
        library.advance(minutes=1)
        run(elsewhere, studio)
        assert load_ids(elsewhere) == held
        assert {r["outcome"] for r in runs(elsewhere)[-2:]} == {"window"}

        # at the top, because the item count of a folder would change as well
        before = read(elsewhere, *NAMES[1:])
        gone = next(row["id"] for row in before["media"] if row["folder_id"] is None and row["dataset_id"] == first)
        library.delete(gone)
        run(elsewhere, studio, deletes="soft", reconcile_every="0")
        after = read(elsewhere, *NAMES[1:])
        (row,) = [row for row in after["media"] if row["id"] == gone]
        assert row["deleted_at"] == library.clock()
        row["deleted_at"] = None
        assert_equal(after, before)


def test_views_equal_the_truth_are_made_once_and_answer_the_questions(service, tmp_path, pipeline):
    library = frozen(60, datasets=2)
    first, _ = library.datasets
    warehouse = into(service.credentials(), tmp_path)
    here = f"`{service.project}`.`{warehouse.dataset_name}`."
    with Studio(library) as studio:
        for step in range(3):
            library.advance(minutes=7)
            if step:
                library.add_caption(media_of(library, frames=1)[0]["id"], "A red shoe, late.")
                library.delete(media_of(library, first)[step]["id"])
                image = [item for item in media_of(library, frames=1) if item["type"] == "image"][-step]
                library.recaption(image["id"], "Said otherwise.", model="vision-2", keep_id=step == 1)
            for each in (warehouse, pipeline):
                report = run_sync(
                    each, studio, deletes="soft" if step == 2 else "hard", reconcile_every="0", history=True
                )
                assert (report.exit_code, report.warnings) == (0, [])
            assert_views(warehouse, studio, history=step == 2)
    made = [sql for sql in service.statements if sql.startswith(f"CREATE OR REPLACE VIEW {here}")]
    assert len(made) == len(NAMES_OF_VIEWS)
    matches = search(warehouse, "RED shoe, late")
    assert matches == search(pipeline, "RED shoe, late") and matches
    assert_opened_library_is_whole(warehouse)
    for question, sql in questions().items():
        said = for_bigquery(sql).replace("coreviz.", here)
        answers = [query(each, asked) for each, asked in ((warehouse, said), (pipeline, sql))]
        assert [[*map(plain, row)] for row in answers[0]] == [[*map(plain, row)] for row in answers[1]], question


def test_tables_have_their_types_descriptions_partitions_and_clusters_from_the_start(service, tmp_path):
    warehouse = into(service.credentials(), tmp_path)
    with Studio(frozen(10)) as studio:
        run(warehouse, studio, max_media=3, history=True)
    for table in TABLES:
        made = service.tables[warehouse.dataset_name, table.name]
        columns = {c.name: c for c in made.this.expressions}
        for column in table.columns:
            found = columns[column.name]
            assert found.kind.sql("bigquery") == TYPES.get(column.kind, column.kind.upper())
            assert bool(found.find(exp.NotNullColumnConstraint)) is not column.nullable
            assert found.find(exp.Property).args["value"].name == column.description
        assert {"_dlt_id", "_dlt_load_id"} == columns.keys() - table.by_name.keys()
        sql = made.sql("bigquery")
        description = next(p for p in made.args["properties"].expressions if p.name == "description")
        assert description.args["value"].name == table.description
        partition = "valid_from" if table in HISTORY else "created_at"
        assert (f"PARTITION BY TIMESTAMP_TRUNC(`{partition}`, MONTH)" in sql) is (partition in table.by_name)
        clusters = made.find(exp.ClusterProperty)
        wanted = [name for name in (table.key if table in HISTORY else table.replaces) if name != partition]
        assert [c.name for c in (clusters.expressions if clusters else ())] == wanted
        assert "require_partition_filter" not in sql
    assert not any(s.startswith("ALTER") for s in service.statements)


def test_a_load_job_that_fails_is_exit_code_7_and_repaired_by_the_next_run(service, tmp_path):
    warehouse = into(service.credentials(), tmp_path)
    library = frozen(20)
    with Studio(library) as studio:
        service.broken = "captions"
        report = run_sync(warehouse, studio)
        assert report.exit_code == 7
        assert "captions" in report.to_json()
        assert run_sync(warehouse, studio).exit_code == 0
        assert_equal_to(warehouse, studio)


def test_staged_files_are_not_parquet_which_bigquery_reads_no_json_from(service, tmp_path):
    warehouse = dlt.pipeline(
        "coreviz_bigquery",
        destination=dlt.destinations.bigquery(service.credentials()),
        # a folder stands for a bucket of Cloud Storage
        staging=dlt.destinations.filesystem((tmp_path / "bucket").as_uri()),
        dataset_name="staged",
        pipelines_dir=str(tmp_path / "pipelines"),
    )
    with Studio(frozen(10)) as studio:
        run(warehouse, studio)
        assert_equal_to(warehouse, studio)
    assert list((tmp_path / "bucket").rglob("media/*.jsonl*"))


@pytest.mark.parametrize(
    ("case", "said"),
    [
        ("another key", ["Invalid JWT Signature", "destination.bigquery.credentials"]),
        ("another project", ["Not found: Project elsewhere", "destination.bigquery.credentials"]),
        ("no credentials", ["private_key", "client_email", "project_id", "DESTINATION__BIGQUERY__CREDENTIALS"]),
        ("bigquery.datasets.get", ["bigquery.datasets.get", "destination.bigquery.credentials"]),
        ("bigquery.datasets.create", ["bigquery.datasets.create", "destination.bigquery.credentials"]),
        ("bigquery.jobs.create", ["bigquery.jobs.create", "destination.bigquery.credentials"]),
        ("bigquery.tables.create", ["bigquery.tables.create", "destination.bigquery.credentials"]),
        ("bigquery.tables.updateData", ["bigquery.tables.updateData", "destination.bigquery.credentials"]),
    ],
)
def test_a_bigquery_that_lets_nobody_in_is_exit_code_7_and_says_which_setting(service, tmp_path, case, said):
    given: object = service.credentials()
    if case == "another key":
        given = service.credentials(signed_by=key())
    elif case == "another project":
        given = service.credentials(project_id="elsewhere")
    elif case == "no credentials":
        given = None
    else:
        service.denied.add(case)
    with Studio(frozen(10)) as studio:
        report = sync(into(given, tmp_path), **arguments(studio, {}))
    assert report.exit_code == 7
    for text in said:
        assert text in report.to_json()
    assert "BEGIN PRIVATE KEY" not in report.to_json()
    assert not any(dataset.exit_code == 0 for dataset in report.datasets.values())


def test_a_dataset_in_another_location_is_not_taken_for_an_empty_warehouse(service, tmp_path, monkeypatch):
    monkeypatch.setenv("DESTINATION__BIGQUERY__LOCATION", "EU")
    with Studio(frozen(10)) as studio:
        service.denied.add("bigquery.tables.create")
        dataset = into(service.credentials(), tmp_path).dataset_name
        assert run_sync(into(service.credentials(), tmp_path, dataset), studio).exit_code == 7
        assert service.locations[dataset] == "EU"
        monkeypatch.setenv("DESTINATION__BIGQUERY__LOCATION", "US")
        report = run_sync(into(service.credentials(), tmp_path, dataset), studio)
    assert report.exit_code == 7
    assert "was not found in location US" in report.to_json()


def test_what_dlt_says_to_bigquery_is_what_was_read_and_found_good(service):
    said = conversation()
    assert said == GOLDEN.read_text(), "python -m tests.bigquery_sql records it again; read what changed"
    statements = sqlglot.parse(said, dialect="bigquery")
    assert {type(s) for s in statements if s} == {exp.Create, exp.Delete, exp.Insert, exp.TruncateTable}


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT missing FROM `coreviz-test.strict.t`",
        "SELECT id FROM `coreviz-test.strict.t` WHERE number = '1'",
        "SELECT id FROM `coreviz-test.strict.missing`",
        "SELECT id FROM `coreviz-test.missing.t`",
        "SELECT FROM WHERE",
        "CREATE VIEW `coreviz-test.strict.v` AS SELECT missing FROM `coreviz-test.strict.t`",
        "INSERT INTO `coreviz-test.strict.t` (number) VALUES (1)",
        "INSERT INTO `coreviz-test.strict.t` (id, number) VALUES ('a', 'b')",
        "INSERT INTO `coreviz-test.strict.t` (id, other) VALUES ('a', 'b')",
        "DELETE FROM `coreviz-test.strict.t` d WHERE EXISTS (SELECT 1 FROM `coreviz-test.strict.t` s WHERE s.x = d.id)",
        "ALTER TABLE `coreviz-test.strict.t` ADD COLUMN late STRING NOT NULL",
        "CREATE TABLE `coreviz-test.strict.u` (j JSON) CLUSTER BY j",
    ],
)
def test_the_double_refuses_what_bigquery_refuses(service, sql):
    client = strict(service)
    with pytest.raises(GoogleAPICallError):
        client.query_and_wait(sql)
    assert list(client.query_and_wait("SELECT id FROM `coreviz-test.strict.t`")) == []


@pytest.mark.parametrize(
    "row",
    [
        {"number": 1},
        {"id": None},
        {"id": 1},
        {"id": "a", "number": "1"},
        {"id": "a", "more": 1},
        {"id": "a", "moment": "now"},
    ],
)
def test_the_double_refuses_rows_that_do_not_fit(service, row):
    client = strict(service)
    with pytest.raises(GoogleAPICallError):
        load(client, json.dumps(row).encode() + b"\n", LOAD)
    assert list(client.query_and_wait("SELECT id FROM `coreviz-test.strict.t`")) == []


def test_the_double_refuses_parquet_into_a_table_with_json(service):
    content = io.BytesIO()
    pq.write_table(pa.table({"id": ["a"]}), content)
    with pytest.raises(GoogleAPICallError, match="JSON"):
        load(strict(service), content.getvalue(), PARQUET)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1 FROM t",
        "DROP TABLE `coreviz-test.strict.t`",
        "SELECT 1 FROM `coreviz-test`.strict.INFORMATION_SCHEMA.PARTITIONS",
    ],
)
def test_the_double_is_loud_about_statements_that_it_does_not_know(service, sql):
    client = strict(service)
    with pytest.raises(GoogleAPICallError, match="double does not know"):
        client.query_and_wait(sql)
    service.unknown.pop()


@pytest.mark.parametrize("changed", [{"writeDisposition": "WRITE_TRUNCATE"}, {"sourceFormat": "CSV"}, {"quote": "'"}])
def test_the_double_is_loud_about_load_jobs_that_it_does_not_know(service, changed):
    with pytest.raises(GoogleAPICallError, match="double does not know"):
        load(strict(service), b"{}\n", {**LOAD, **changed})
    service.unknown.pop()


def load(client: bigquery.Client, content: bytes, settings: dict[str, object]) -> None:
    config = bigquery.LoadJobConfig.from_api_repr({"load": settings})
    client.load_table_from_file(io.BytesIO(content), "coreviz-test.strict.t", job_config=config).result()


def strict(service: BigQuery) -> bigquery.Client:
    """Google's client, and a table to be refused by."""
    account = Credentials.from_service_account_info(service.credentials())
    client = bigquery.Client(service.project, credentials=account, location="US")
    client.create_dataset("strict", exists_ok=True)
    client.query_and_wait(
        "CREATE TABLE IF NOT EXISTS `coreviz-test.strict.t` "
        "(id STRING NOT NULL, number INT64, moment TIMESTAMP, j JSON)"
    )
    return client


def test_the_bigquery_script_loads_when_it_is_run(service, tmp_path):
    with Studio(frozen(10)) as studio:
        done = shell(
            f"{sys.executable} {ROOT / 'pipelines' / 'bigquery_pipeline.py'}",
            COREVIZ_API_KEY=studio.key,
            SOURCES__COREVIZ__BASE_URL=studio.url,
            DESTINATION__BIGQUERY__CREDENTIALS=json.dumps(service.credentials()),
        )
    assert done.returncode == 0, done.stderr
    assert "complete, 16 new" in done.stdout
    assert "Storage client" not in done.stderr


def test_the_models_of_the_dbt_project_show_what_the_views_show(dbt, service, tmp_path):
    """Compiled as a package of another project, for DuckDB: their SQL is BigQuery's, whoever compiles them."""
    library = frozen(60)
    warehouse = into(service.credentials(), tmp_path)
    with Studio(library) as studio:
        run_sync(warehouse, studio, history=True)
    done = CliRunner().invoke(main, ["schema", "--format", "dbt", "--destination", "bigquery", "--history"])
    assert done.exit_code == 0, done.output
    project = tmp_path / "analytics"
    (project / "models").mkdir(parents=True)
    for name, text in {
        "dbt_project.yml": "{name: analytics, profile: analytics}",
        "profiles.yml": "analytics: {target: here, outputs: {here: {type: duckdb, path: library.duckdb}}}",
        "packages.yml": "packages: [{local: ../coreviz_dbt}]",
        "models/captions_of_today.sql": "SELECT * FROM {{ ref('coreviz__caption_search') }}",
    }.items():
        (project / name).write_text(text)
    for command in ("deps", "compile"):
        done = dbt(project, command)
        assert done.code == 0, done.output
    nodes = json.loads((project / "target" / "manifest.json").read_text())["nodes"]
    models = {name: node for name, node in nodes.items() if node["resource_type"] == "model"}
    todo, made = dict(models), set()
    with warehouse.sql_client() as client:
        while todo:
            name = next(name for name in todo if not todo.keys() & {*models[name]["depends_on"]["nodes"]})
            model = todo.pop(name)
            table = rf"`{service.project}`.`{warehouse.dataset_name}`.`\1`"
            sql = re.sub(r'"library"."\w+"."(\w+)"', table, model["compiled_code"])
            client.execute_sql(f"CREATE VIEW {name_of(warehouse, model['name'])} AS {sql}")
            made.add(model["name"])
    assert made >= {f"coreviz__{name}" for name in NAMES_OF_VIEWS}
    for name in NAMES_OF_VIEWS:
        rows = {each: checked_ages(view_rows(warehouse, each)) for each in (name, f"coreviz__{name}")}
        assert rows[name] or name == "caption_changes"
        assert_equal({name: rows[f"coreviz__{name}"]}, {name: rows[name]})


def test_notices_begin_and_end_in_bigquery(service, tmp_path):
    library = frozen(20)
    media_id = media_of(library)[0]["id"]
    pipeline = into(service.credentials(), tmp_path)
    with Studio(library) as studio:
        assert run_sync(pipeline, studio).notices == []
        ended = []
        for present in (True, False):
            library.advance(days=15)
            with library.changing(media_id) as item:
                item |= {"rating": 1} if present else {"name": "without"}
                if not present:
                    del item["rating"]
            report = run_sync(pipeline, studio, reconcile_every="0")
            assert (report.exit_code, report.warnings) == (0, [])
            ended += [(n.kind, n.subject, n.is_open) for n in report.notices]
        assert ended == [("new_field", "media.rating", True), ("new_field", "media.rating", False)]
        (row,) = read(pipeline, "_coreviz_notices")["_coreviz_notices"]
        assert (row["subject"], row["ended_at"], row["notified_at"]) == ("media.rating", library.clock(), None)
