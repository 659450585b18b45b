"""The dbt project: warehouses build it, it finds what is wrong with the tables, and it leaves people's files alone."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import dlt
import duckdb
import pytest
import yaml
from click.testing import CliRunner
from jinja2 import Environment

from coreviz_source.cli import main
from coreviz_source.local_studio import Studio
from coreviz_source.tables import CURRENT, GONE, LOAD_ID, TABLES, Table
from coreviz_source.warehouse.views import NAMES, views
from tests import forked
from tests.dbt import Done
from tests.docs import ROOT, blocks
from tests.scenario import frozen, media_of, run_sync
from tests.view_truth import WITHOUT_HISTORY
from tests.warehouse import query


def staging(tables: tuple[Table, ...]) -> set[str]:
    return {"stg_coreviz__loads", *(f"stg_coreviz__{table.name.removeprefix('_coreviz_')}" for table in tables)}


def marts(names: tuple[str, ...]) -> set[str]:
    return {f"coreviz__{name}" for name in names}


def models(done: Done) -> set[str]:
    return {name for name in done.nodes if re.match("(stg_)?coreviz__", name)}


def written(*arguments: str) -> str:
    done = CliRunner().invoke(main, ["schema", "--format", "dbt", *arguments])
    assert done.exit_code == 0, done.output
    return done.output


def assert_marts_equal_views(pipeline: dlt.Pipeline, names: tuple[str, ...], schema: str = "coreviz_dbt") -> None:
    """Each mart has the rows and columns of the view of which it was made."""
    for name in names:
        ours, theirs = f"SELECT * FROM {pipeline.dataset_name}.{name}", f"SELECT * FROM {schema}.coreviz__{name}"
        assert query(pipeline, f"({ours} EXCEPT ALL {theirs}) UNION ALL ({theirs} EXCEPT ALL {ours})") == [], name
        shown = query(pipeline, f"SELECT COUNT(*) > 0 FROM {pipeline.dataset_name}.{name}")
        assert shown == [(True,)] or name not in WITHOUT_HISTORY, name


def test_the_page_works_on_the_demo_and_dbt_finds_rows_that_are_missing_doubled_or_old(dbt, tmp_path):
    commands, _ = (block.splitlines() for block in blocks(ROOT / "docs" / "dbt.md", "sh"))
    folder = tmp_path
    for line in commands:
        program, *arguments = shlex.split(line)
        if program == "cd":
            folder = tmp_path / arguments[0]
        elif program == "dbt":
            done = dbt(folder, *arguments)
            assert (done.code, done.bad) == (0, {}), done.output
            assert "deprecat" not in done.output.lower()
            if arguments == ["build"]:
                assert models(done) == staging(CURRENT) | marts(WITHOUT_HISTORY)
        else:
            done = subprocess.run([forked.command(), *arguments], cwd=folder, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
    file = tmp_path / "coreviz_demo.duckdb"
    pipeline = dlt.pipeline("demo", destination=dlt.destinations.duckdb(str(file)), dataset_name="coreviz")
    assert_marts_equal_views(pipeline, WITHOUT_HISTORY)

    with duckdb.connect(str(file)) as database:
        database.execute("USE coreviz")
        count = "(SELECT COUNT(*) FROM {0} WHERE media_id = m.id)".format
        ((video, frames, captions, objects, tags),) = database.execute(
            f"SELECT id, {', '.join(map(count, ('frames', 'captions', 'objects', 'media_tags')))} FROM media AS m "
            "WHERE type = 'video' ORDER BY 4 DESC, id LIMIT 1"
        ).fetchall()
        assert frames > 1 and captions and objects and tags
        database.execute("DELETE FROM media WHERE id = ?", [video])
        database.execute("DELETE FROM moderation_categories WHERE media_id = ?", [video])
        database.execute("INSERT INTO captions SELECT * FROM captions WHERE media_id <> ? LIMIT 1", [video])
        database.execute(
            "DELETE FROM frames WHERE id = (SELECT MIN(frame_id) FROM objects WHERE media_id <> ?)", [video]
        )
        database.execute("UPDATE media SET folder_id = 'nowhere' WHERE id = (SELECT MIN(id) FROM media)")
        # one dataset of three was listed long ago, and its last run failed
        ((stale,),) = database.execute("SELECT MAX(dataset_id) FROM _coreviz_runs").fetchall()
        first = "(SELECT MIN(_dlt_load_id) FROM _coreviz_runs)"
        database.execute(
            f"UPDATE _coreviz_runs SET outcome = 'failed' WHERE dataset_id = ? AND _dlt_load_id <> {first}", [stale]
        )
        earlier = "started_at - INTERVAL 50 HOUR"
        database.execute(f"UPDATE _coreviz_runs SET started_at = {earlier} WHERE dataset_id = ?", [stale])
    done = dbt(folder, "test")
    assert done.code == 1
    assert done.bad == {
        "coreviz_captions_is_unique": ("fail", 1),
        "coreviz_captions_frame_id_exists": ("fail", 1),
        "coreviz_captions_media_id_exists": ("fail", captions),
        "coreviz_frames_media_id_exists": ("fail", frames),
        "coreviz_media_folder_id_exists": ("warn", 1),
        "coreviz_media_tags_media_id_exists": ("fail", tags),
        "coreviz_objects_frame_id_exists": ("fail", 1),
        "coreviz_objects_media_id_exists": ("fail", objects),
    }
    done = dbt(folder, "source", "freshness")
    assert (done.code, done.bad) == (1, {"_coreviz_runs": ("error", 0)})


def test_postgres_builds_the_project_and_a_load_changes_what_is_below_its_views(dbt, postgres, server, tmp_path):
    library = frozen(40)
    schema = f"{postgres.dataset_name}_dbt"
    url = urlsplit(server.url)
    variables = {
        "PGHOST": str(url.hostname),
        "PGPORT": str(url.port),
        "PGUSER": str(url.username),
        "DBT_ENV_SECRET_PGPASSWORD": str(url.password),
        "COREVIZ_DBT_SCHEMA": schema,
    }
    written("--destination", "postgres", "--dataset-name", postgres.dataset_name, "--history")
    with Studio(library) as studio:
        run_sync(postgres, studio, history=True)
        done = dbt(tmp_path / "coreviz_dbt", "build", **variables)
        assert (done.code, done.bad) == (0, {}), done.output
        assert models(done) == staging(TABLES) | marts(NAMES)
        first, *others = media_of(library, frames=1)
        captioned = next(place for place, frame in enumerate(first["frames"]) if frame["captions"])
        library.recaption(first["id"], "Said otherwise.", frame=captioned)
        library.advance(minutes=5)
        for item in others[:3]:
            library.delete(item["id"])
        report = run_sync(postgres, studio, reconcile_every="0", history=True)
        assert (report.exit_code, report.warnings) == (0, [])
        assert_marts_equal_views(postgres, NAMES, schema)
    described = "SELECT obj_description(oid), col_description(oid, 1) FROM pg_class WHERE oid = '{}'::regclass"
    (view,) = (view for view in views() if view.name == "folder_tree")
    assert query(postgres, described.format(f"{schema}.coreviz__folder_tree")) == [
        (view.description, view.columns["dataset_id"])
    ]


def files_of(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_the_project_describes_every_column_and_needs_no_driver_and_no_file_of_it_has_credentials(
    tmp_path, monkeypatch
):
    monkeypatch.setattr("coreviz_source.warehouse.destination._is_importable", lambda module: False)
    monkeypatch.setenv("DESTINATION__POSTGRES__CREDENTIALS", "postgresql://canary:canary@canary.example/canary")
    monkeypatch.setenv("SOURCES__COREVIZ__DESTINATION", "postgres")
    monkeypatch.setenv("COREVIZ_API_KEY", "canary")
    monkeypatch.setenv("SOURCES__COREVIZ__HISTORY", "true")
    assert "of a dbt project for postgres into library." in written("--output", "library", "--dataset-name", "mine")
    files = files_of(tmp_path / "library")
    assert "canary" not in "".join(files.values())
    profile = yaml.safe_load(files["profiles.yml"])["coreviz"]["outputs"]["postgres"]
    assert profile.pop("type") == "postgres" and profile.pop("threads") == 4
    assert all('{{ env_var("' in value for value in profile.values())
    variables = yaml.safe_load(files["dbt_project.yml"])["vars"]
    assert (variables["coreviz_schema"], variables["coreviz_history"]) == ("mine", True)

    def described(name: str) -> dict[str, dict[str, str]]:
        content = yaml.safe_load(files[f"models/{name}.yml"])
        tables = content["sources"][0]["tables"] if "sources" in content else content["models"]
        return {
            t["name"]: {"": t["description"], **{c["name"]: c["description"] for c in t["columns"]}} for t in tables
        }

    tables = {
        t.name: {"": t.description, **{c.name: c.description for c in t.columns if c.name != GONE}} for t in TABLES
    }
    for found, prefix in (
        (described("staging/_coreviz__sources"), ""),
        (described("staging/_coreviz__staging"), "stg_"),
    ):
        for name, columns in tables.items():
            of = found[f"stg_coreviz__{name.removeprefix('_coreviz_')}" if prefix else name]
            assert of.pop(LOAD_ID)
            assert of == columns
    assert described("marts/_coreviz__marts") == {
        f"coreviz__{v.name}": {"": v.description, **v.columns} for v in views()
    }


def path_in(profiles: str) -> str:
    """The DuckDB file of a project."""
    path = yaml.safe_load(profiles)["coreviz"]["outputs"]["duckdb"]["path"]
    return Environment().from_string(path).render(env_var=lambda name, default: default)


def test_written_again_only_files_with_the_line_about_their_origin_are_replaced(tmp_path, monkeypatch):
    written()
    folder = tmp_path / "coreviz_dbt"
    first = files_of(folder)
    assert first.keys() >= {".gitignore", "README.md", "profiles.yml"}
    assert all("coreviz-source" in text.partition("\n")[0] for text in first.values())
    assert path_in(first["profiles.yml"]) == "../coreviz_library.duckdb"
    mart, staging = folder / "models/marts/coreviz__tag_usage.sql", folder / "models/staging/stg_coreviz__media.sql"
    mart.write_text(mart.read_text() + "-- a change that is lost\n")
    staging.write_text(staging.read_text().partition("\n")[2] + "-- a change that is kept\n")
    (folder / "README.md").unlink()
    (folder / "models" / "ours.sql").write_text("SELECT 1")
    kept = {"models/staging/stg_coreviz__media.sql": staging.read_text(), "models/ours.sql": "SELECT 1"}
    output = written()
    assert files_of(folder) == {**first, **kept}
    assert [line for line in output.splitlines() if line.startswith("Left")] == [
        "Left as it is, because it does not begin with the line about its origin: "
        "coreviz_dbt/models/staging/stg_coreviz__media.sql"
    ]
    elsewhere = tmp_path / "it's {elsewhere}"
    elsewhere.mkdir()
    monkeypatch.setenv("DESTINATION__DUCKDB__CREDENTIALS", str(elsewhere / "library.duckdb"))
    written("--output", "apart/project", "--dataset-name", "yes")
    apart = files_of(tmp_path / "apart" / "project")
    assert path_in(apart["profiles.yml"]) == f"{elsewhere}/library.duckdb"
    assert yaml.safe_load(apart["dbt_project.yml"])["vars"]["coreviz_schema"] == "yes"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--output", "there"], "--output can only be used with --format dbt"),
        (["--format", "json", "--destination", "postgres"], "--destination can only be used with --format dbt"),
        (["--format", "dbt", "--output", "file/project"], "The dbt project cannot be written"),
        (["--format", "dbt", "--output", "file"], "is a file"),
    ],
)
def test_what_cannot_be_written_ends_with_exit_code_2_and_writes_nothing(tmp_path, arguments, said):
    (tmp_path / "file").touch()
    done = CliRunner().invoke(main, ["schema", *arguments])
    assert (done.exit_code, said in done.output) == (2, True), done.output
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
