"""`forget` erases the named datasets and media everywhere, and nothing else."""

from __future__ import annotations

import json
import logging
import uuid
from pathlib import Path

import dlt
import duckdb
import pytest
from click.testing import CliRunner
from dlt.pipeline.pipeline import Pipeline

from coreviz_source.cli import main
from coreviz_source.commands.forget import Subject, find_rows, forget
from coreviz_source.commands.status import read_status
from coreviz_source.errors import ConfigurationError
from coreviz_source.loading.clean_up import pending_packages
from coreviz_source.local_studio import Studio
from coreviz_source.tables import CURRENT
from tests.scenario import assert_equal_to, first_sync, frozen, media_of, run_sync, truth_of
from tests.test_cli import everything
from tests.warehouse import assert_mirror, query


@pytest.fixture(params=["duckdb", "postgres"])
def warehouse(request, pipeline, tmp_path) -> dlt.Pipeline:
    if request.param == "duckdb":
        return pipeline
    return dlt.pipeline(
        "coreviz_postgres",
        destination=dlt.destinations.postgres(request.getfixturevalue("server").url),
        dataset_name=f"coreviz_{uuid.uuid4().hex[:8]}",
        pipelines_dir=str(tmp_path / "pipelines"),
    )


def staged(pipeline: dlt.Pipeline) -> int:
    with pipeline.sql_client() as client, client.with_staging_dataset():
        return sum(
            client.execute_sql(f"SELECT COUNT(*) FROM {client.make_qualified_table_name(name)}")[0][0]
            for name in ("media", "frames", "captions")
        )


def test_a_forgotten_dataset_is_in_no_table_no_staging_no_package_and_comes_back_with_the_next_sync(
    warehouse, monkeypatch
):
    monkeypatch.setenv("LOAD__TRUNCATE_STAGING_DATASET", "false")
    library = frozen(40, datasets=2)
    kept, going = library.datasets
    with Studio(library) as studio:
        first_sync(warehouse, studio)
        library.add_caption(media_of(library, going, frames=1)[0]["id"], "A name that has to go.")
        run_sync(warehouse, studio)
        assert staged(warehouse) > 0
        library.add_caption(media_of(library, going, frames=1)[1]["id"], "Another one.")
        with monkeypatch.context() as patched:
            patched.setattr(Pipeline, "load", lambda *_, **__: None)
            run_sync(warehouse, studio)
        working = Path(warehouse.working_dir)
        assert pending_packages(warehouse) == 1
        found = find_rows(warehouse, Subject([going.replace("-", "").upper()]))
        assert pending_packages(warehouse) == 1
        erased = forget(warehouse, Subject([going]))
        assert erased == found and found.not_found == []
        assert (erased.rows["media"], erased.rows["datasets"], erased.rows["_coreviz_runs"]) == (20, 1, 2)
        assert erased.packages == 1 and sum(erased.staging.values()) > 0
        assert staged(warehouse) == 0
        for name in {table.name for table in CURRENT} - {"organizations"}:
            assert query(warehouse, f"SELECT count(*) FROM {name} WHERE dataset_id = %s", going) == [(0,)], name
        assert not [p for p in working.rglob("*") if p.is_file() and going.encode() in p.read_bytes()]
        assert_mirror(warehouse, {kept: studio.snapshot(kept)})
        report = run_sync(warehouse, studio)
        assert (report.datasets[going].outcome, report.datasets[kept].outcome) == ("complete", "window")
        assert_equal_to(warehouse, studio)


def test_a_forgotten_media_leaves_with_all_that_belongs_to_it_and_nothing_else(warehouse):
    library = frozen(30, datasets=2)
    with Studio(library) as studio:
        first_sync(warehouse, studio)
        # as `status` counts them, in either warehouse
        (one, other) = read_status(warehouse, base_url=studio.url).datasets
        assert (one.media, other.media, one.outcome, one.in_account) == (15, 15, "complete", None)
        assert one.last_complete is not None and one.rows["captions"] + other.rows["captions"] > 20
        going = [item["id"] for item in media_of(library, frames=2)[:2]]
        mistyped = "00000000-0000-4000-8000-00000000000A"
        left = {d: [i for i in items if i["id"].replace("-", "") not in {g.replace("-", "") for g in going}]
                for d, items in truth_of(studio).items()}  # fmt: skip
        erased = forget(warehouse, Subject(["nope"], [mistyped, *going]))
        assert erased.rows["media"] == 2 and erased.rows["captions"] >= 4
        assert erased.not_found == ["nope", mistyped.lower()]
        assert_mirror(warehouse, left)
        assert query(warehouse, "SELECT count(*) FROM _coreviz_runs") == [(2,)]
        # the API still has them
        run_sync(warehouse, studio)
        assert_equal_to(warehouse, studio)


def test_an_erasure_that_fails_on_its_way_erases_nothing(pipeline, monkeypatch):
    library = frozen(20)
    (dataset,) = library.datasets
    with Studio(library) as studio:
        first_sync(pipeline, studio)
        with pipeline.sql_client() as client:
            client.execute_sql("ALTER TABLE captions RENAME COLUMN dataset_id TO somewhere_else")
        with pytest.raises(Exception, match="could not be erased"):
            forget(pipeline, Subject([dataset]))
        with pipeline.sql_client() as client:
            client.execute_sql("ALTER TABLE captions RENAME COLUMN somewhere_else TO dataset_id")
        assert_equal_to(pipeline, studio)
    with pytest.raises(ConfigurationError):
        forget(pipeline, Subject())


def test_the_command_asks_before_it_erases(monkeypatch):
    path = Path("coreviz_library.duckdb").absolute()
    monkeypatch.setenv("DESTINATION__DUCKDB__CREDENTIALS", str(path))
    monkeypatch.setattr(logging.getLogger("coreviz_source"), "propagate", True)
    library = frozen(20)
    (dataset,) = library.datasets
    with Studio(library) as studio:
        CliRunner().invoke(main, ["sync", "--base-url", studio.url, "--api-key", studio.key])
    before = everything(path)
    refused = CliRunner().invoke(main, ["forget", "--dataset-ids", dataset])
    assert refused.exit_code == 2
    assert "20 media" in refused.stderr and "--yes" in refused.stderr
    assert CliRunner().invoke(main, ["forget", "--yes"]).exit_code == 2
    assert everything(path) == before
    for more in ([], ["--yes"]):
        mistyped = CliRunner().invoke(main, ["forget", "--media-ids", "nope", *more])
        assert (mistyped.exit_code, mistyped.stdout) == (4, ""), mistyped.output
        assert "Not found" in mistyped.stderr and "nope" in mistyped.stderr
    assert everything(path) == before
    media = media_of(library)[0]["id"]
    partly = CliRunner().invoke(main, ["forget", "--media-ids", f"nope,{media}", "--yes", "--json"])
    assert partly.exit_code == 4
    told = json.loads(partly.stdout)
    assert (told["rows"]["media"], told["not_found"]) == (1, ["nope"])
    done = CliRunner().invoke(main, ["forget", "--dataset-ids", dataset, "--yes", "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["rows"]["media"] == 19
    assert "COPY FROM DATABASE" in done.stderr and "next sync loads again" in done.stderr
    assert not any(dataset in row for rows in everything(path).values() for row in rows)
    # what the help of DuckDB's file says: only a copy is free of the bytes
    with duckdb.connect() as database:
        database.execute(f"ATTACH '{path}' AS coreviz_library (READ_ONLY); ATTACH 'fresh.duckdb' AS fresh")
        database.execute("COPY FROM DATABASE coreviz_library TO fresh")
    assert dataset.encode() not in Path("fresh.duckdb").read_bytes()
