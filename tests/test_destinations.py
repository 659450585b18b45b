"""Which destinations are supported, what each is asked for, and that none of their secrets is ever quoted."""

from __future__ import annotations

import io
import json
import logging
import re
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import dlt
import pytest
from dlt.destinations.exceptions import DestinationConnectionError

from coreviz_source import coreviz, sync
from coreviz_source.errors import ConfigurationError, find
from coreviz_source.local_studio import Studio
from coreviz_source.settings import WAREHOUSE
from coreviz_source.warehouse.destination import DESTINATIONS
from coreviz_source.warehouse.ownership import load_error
from tests.docs import ROOT
from tests.postgres import Postgres
from tests.scenario import arguments, assert_equal_to, first_sync, frozen, media_of, run, run_sync
from tests.warehouse import query

#: Of a password: every character that a connection string, a shell or an error could take for something else.
CANARY = "canary 7f%@:/'\\ü+?#&=\""


def into(url: Any, directory: Path, dataset: str = "coreviz") -> dlt.Pipeline:
    return dlt.pipeline(
        "coreviz_test",
        destination=dlt.destinations.postgres(url),
        dataset_name=dataset,
        pipelines_dir=str(directory / "pipelines"),
    )


@pytest.fixture
def guarded(server: Postgres) -> Iterator[str]:
    """A role whose password the server asks for; gives its name."""
    name = "guarded"
    (found,) = server.execute("SHOW hba_file")
    hba = Path(found[0])
    before = hba.read_text()
    hba.write_text(f"host all {name} 127.0.0.1/32 scram-sha-256\n{before}")
    password = CANARY.replace("'", "''")
    server.execute(
        f"CREATE ROLE {name} LOGIN SUPERUSER PASSWORD '{password}'",
        "SELECT pg_reload_conf()",
    )
    yield name
    hba.write_text(before)
    server.execute(f"DROP OWNED BY {name} CASCADE", f"DROP ROLE {name}", "SELECT pg_reload_conf()")


@pytest.mark.parametrize("destination", ["filesystem", "motherduck", "snowflake", "sqlalchemy", "dummy"])
def test_a_destination_that_nobody_proved_is_refused_before_the_first_request(tmp_path, monkeypatch, destination):
    monkeypatch.chdir(tmp_path)
    settings: dict[str, Any] = {"sqlalchemy": {"credentials": "sqlite:///x.db"}, "filesystem": {"bucket_url": "files"}}
    factory = getattr(dlt.destinations, destination)(**settings.get(destination, {}))
    pipeline = dlt.pipeline("x", destination=factory, dataset_name="y", pipelines_dir=str(tmp_path / "p"))
    with Studio(frozen(5)) as studio:
        report = sync(pipeline, **arguments(studio, {}))
        assert report.exit_code == 2
        (error,) = report.errors
        assert destination in error.message
        assert all(name in error.remedy for name in DESTINATIONS)
        if destination in ("dummy", "filesystem", "sqlalchemy"):
            with pytest.raises(Exception) as failure:
                pipeline.run(coreviz(**arguments(studio, {})))
            assert isinstance(find(failure.value), ConfigurationError)
        assert studio.requests == []


def test_no_other_module_asks_for_the_name_of_a_destination():
    names = "|".join(DESTINATIONS)
    asks = re.compile(rf"""(==|!=|\bin\b|endswith\(|startswith\()\s*[(\[]?["'](dlt\.destinations\.)?({names})["']""")
    # a class of a destination has to tell dlt whose it is
    told = re.compile(r"def destination_type\(self\)")
    found = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "coreviz_source").rglob("*.py")
        if asks.search(path.read_text()) or "destination_type" in told.sub("", path.read_text())
    }
    assert found == {"coreviz_source/warehouse/destination.py"}


def test_every_destination_has_what_the_command_line_and_the_package_need():
    project = (ROOT / "pyproject.toml").read_text()
    (offered,) = [setting.choices for setting in WAREHOUSE if setting.name == "destination"]
    assert offered == tuple(DESTINATIONS)
    for destination in DESTINATIONS.values():
        assert destination.remains_after_forget
        assert not destination.module or re.search(rf"^{destination.name} = \[", project, re.MULTILINE)


@pytest.mark.parametrize("how", ["role", "database", "variable", "credentials", "options"])
def test_a_client_encoding_that_is_not_utf_8_garbles_no_text(server, tmp_path, monkeypatch, how):
    library = frozen(20)
    text = "Grüße – 赤い靴 🥾"
    for item in media_of(library, frames=1)[:5]:
        library.add_caption(item["id"], text if how != "latin" else "Grüße")
    database = f"encoding_{how}"
    server.execute(f"CREATE DATABASE {database}")
    url = f"postgresql://loader:secret@127.0.0.1:{server.port}/{database}"
    if how == "role":
        server.execute("CREATE ROLE latin LOGIN SUPERUSER", "ALTER ROLE latin SET client_encoding = 'LATIN1'")
        url = url.replace("loader", "latin")
    elif how == "database":
        server.execute(f"ALTER DATABASE {database} SET client_encoding = 'LATIN1'")
    elif how == "variable":
        monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    elif how == "credentials":
        url += "?client_encoding=latin1"
    else:
        url += "?options=-cclient_encoding%3Dlatin1"
    pipeline = into(url, tmp_path)
    with Studio(library) as studio:
        report = run_sync(pipeline, studio)
        assert report.exit_code == 0, report.errors
        stored = server.execute("SELECT convert_to(text, 'UTF8') FROM coreviz.captions", database=database)
        assert sum(bytes(value).decode() == text for (value,) in stored) == 5
        monkeypatch.delenv("PGCLIENTENCODING", raising=False)
        assert_equal_to(pipeline, studio)


@pytest.mark.parametrize("how", ["sync", "run"])
def test_a_database_that_cannot_store_every_character_is_refused_before_the_first_request(server, tmp_path, how):
    database = f"latin_{how}"
    server.execute(f"CREATE DATABASE {database} ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")
    pipeline = into(f"postgresql://loader:secret@127.0.0.1:{server.port}/{database}", tmp_path)
    with Studio(frozen(5)) as studio:
        if how == "sync":
            report = run_sync(pipeline, studio)
            assert report.exit_code == 2
            assert "LATIN1" in report.to_json()
        else:
            with pytest.raises(Exception) as failure:
                run(pipeline, studio)
            assert isinstance(find(failure.value), ConfigurationError)
        assert studio.requests == []


@pytest.mark.parametrize("how", ["string", "parts", "object", "configuration"])
def test_a_password_with_any_characters_opens_the_warehouse(server, guarded, tmp_path, monkeypatch, how):
    from dlt.destinations.impl.postgres.configuration import PostgresCredentials

    string = f"postgresql://{guarded}:{quote(CANARY, safe='')}@127.0.0.1:{server.port}/postgres"
    parts = {
        "username": guarded, "password": CANARY, "host": "127.0.0.1", "port": server.port, "database": "postgres"
    }  # fmt: skip
    given: Any = {"string": string, "parts": parts, "object": PostgresCredentials(string), "configuration": None}[how]
    if how == "configuration":
        for name, value in parts.items():
            monkeypatch.setenv(f"DESTINATION__POSTGRES__CREDENTIALS__{name.upper()}", str(value))
    pipeline = into(given, tmp_path, f"guarded_{how}")
    library = frozen(20)
    with Studio(library) as studio:
        for _ in range(2):
            assert run_sync(pipeline, studio, reconcile_every="0").exit_code == 0
            assert_equal_to(pipeline, studio)
            library.add_caption(media_of(library, frames=1)[0]["id"], "Added later.")
        if how == "string":
            run(pipeline, studio, reconcile_every="0")
            assert_equal_to(pipeline, studio)


def quoted(error: BaseException) -> str:
    """All that a traceback can show of an error: its causes, and every variable of every frame."""
    from rich.console import Console
    from rich.traceback import Traceback

    output = io.StringIO()
    shown = Traceback.from_exception(type(error), error, error.__traceback__, show_locals=True, locals_max_length=None)
    Console(file=output, width=400).print(shown)
    return output.getvalue() + "".join(traceback.TracebackException.from_exception(error).format())


@pytest.mark.parametrize("case", ["wrong password", "nobody there", "no such host", "no such database", "a bad port"])
def test_no_secret_of_the_destination_is_in_an_error_a_log_or_a_report(server, guarded, tmp_path, caplog, capfd, case):
    password = quote(CANARY + (" wrong" if case == "wrong password" else ""), safe="")
    host = "nowhere.invalid" if case == "no such host" else "127.0.0.1"
    port: Any = {"nobody there": 1, "a bad port": "99999"}.get(case, server.port)
    database = "missing" if case == "no such database" else "postgres"
    forms = {CANARY, password, quote(CANARY, safe=" +"), json.dumps(CANARY)[1:-1], repr(CANARY)[1:-1], "canary 7f"}
    with Studio(frozen(5)) as studio, caplog.at_level(logging.DEBUG):
        said = []
        for how in ("sync", "run"):
            pipeline = into(f"postgresql://{guarded}:{password}@{host}:{port}/{database}", tmp_path / how)
            if how == "sync":
                report = run_sync(pipeline, studio)
                assert report.exit_code == 7
                said += [report.to_json(), *(repr(error) + quoted(error) for error in report.errors)]
            else:
                with pytest.raises(Exception) as failure:
                    run(pipeline, studio)
                said.append("".join(traceback.format_exception(failure.value)))
        said += [caplog.text, *capfd.readouterr()]
    assert [text for text in said if any(form in text for form in forms)] == []


def test_what_the_database_says_of_a_refused_row_shows_no_secret(server, tmp_path, monkeypatch):
    """dlt quotes the database, and the database may quote anything: here the password itself."""
    server.execute("CREATE ROLE canary LOGIN SUPERUSER PASSWORD 'canary-5521'")
    pipeline = into(f"postgresql://canary:canary-5521@127.0.0.1:{server.port}/postgres", tmp_path, "quoted")
    library = frozen(10)
    with Studio(library) as studio:
        assert first_sync(pipeline, studio).exit_code == 0
        library.add_caption(media_of(library, frames=1)[0]["id"], "Refused.")
        server.execute(
            "CREATE FUNCTION quoted.refuse() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION 'refused: postgresql://canary:canary-5521@x'; END $$",
            "CREATE TRIGGER refuse BEFORE INSERT ON quoted.captions EXECUTE FUNCTION quoted.refuse()",
        )
        report = run_sync(pipeline, studio, reconcile_every="0")
        assert report.exit_code == 7
        assert "refused: postgresql://canary:***@x" in report.to_json()
        said = report.to_json() + "".join(line for error in report.errors for line in traceback.format_exception(error))
        assert "canary-5521" not in said
        server.execute("DROP TRIGGER refuse ON quoted.captions")
        assert run_sync(pipeline, studio, reconcile_every="0").exit_code == 0
        assert_equal_to(pipeline, studio)


def _somebody_elses(pipeline: dlt.Pipeline, sql: str) -> None:
    with pipeline.destination_client() as client:
        client.initialize_storage()
        client.sql_client.execute_sql(sql.format(client.sql_client.make_qualified_table_name("media")))


@pytest.mark.parametrize("warehouse", ["duckdb", "postgres"])
@pytest.mark.parametrize(
    "columns",
    ["name text", "dataset_id text, id text", "dataset_id text NOT NULL, id text NOT NULL, created_at bigint"],
)
@pytest.mark.parametrize("how", ["sync", "run"])
def test_a_table_of_somebody_else_is_left_alone_and_never_proposed_to_be_dropped(request, warehouse, columns, how):
    pipeline = request.getfixturevalue("pipeline" if warehouse == "duckdb" else "postgres")
    _somebody_elses(pipeline, f"CREATE TABLE {{}} ({columns})")
    before = query(pipeline, "SELECT * FROM media")
    with Studio(frozen(10)) as studio:
        if how == "sync":
            report = run_sync(pipeline, studio)
            assert report.exit_code == 7
            said = report.to_json()
        else:
            with pytest.raises(Exception) as failure:
                run(pipeline, studio)
            said = str(find(failure.value))
        assert "DROP" not in said
        assert "dataset_name" in said
        assert query(pipeline, "SELECT * FROM media") == before
        assert len(columns.split(",")) == len(_columns(pipeline))


def _columns(pipeline: dlt.Pipeline) -> set[str]:
    with pipeline.destination_client() as client:
        ((_, columns),) = client.get_storage_tables(["media"])
        return set(columns)


@pytest.mark.parametrize("warehouse", ["duckdb", "postgres"])
def test_a_table_of_ours_that_was_changed_by_hand_may_be_dropped_and_is_filled_again(request, warehouse):
    pipeline = request.getfixturevalue("pipeline" if warehouse == "duckdb" else "postgres")
    with Studio(frozen(10)) as studio:
        assert first_sync(pipeline, studio, views=False).exit_code == 0
        with pipeline.sql_client() as client:
            name = client.make_qualified_table_name("media_tags")
            client.execute_sql(f"ALTER TABLE {name} ALTER COLUMN _coreviz_gone TYPE text")
        report = run_sync(pipeline, studio, reconcile_every="0")
        assert report.exit_code == 7
        statement = re.search(r"DROP TABLE \S+?(?=,)", str(report.errors[0]))
        assert statement, report.errors
        with pipeline.sql_client() as client:
            client.execute_sql(statement[0])
        assert run_sync(pipeline, studio, reconcile_every="0").exit_code == 0
        assert_equal_to(pipeline, studio)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("postgresql://nobody:wrong@127.0.0.1:{port}/postgres", "user and password"),
        ("postgresql://loader:x@127.0.0.1:{port}/missing", "Create the database"),
        ("postgresql://loader:x@127.0.0.1:1/postgres", "whether the server runs"),
    ],
)
def test_the_remedy_follows_from_the_class_of_the_error(server, tmp_path, url, words):
    with Studio(frozen(5)) as studio:
        report = run_sync(into(url.format(port=server.port), tmp_path), studio)
    assert report.exit_code == 7
    assert words in report.to_json()
    assert "destination.postgres.credentials" in report.to_json()
    assert "DROP" not in report.to_json() and "drop" not in report.to_json()


def test_a_full_disk_is_named_although_duckdb_refuses_everything_after_it(pipeline):
    invalid = (
        "FATAL Error: Failed: database has been invalidated because of a previous fatal error. The database must be "
        'restarted prior to being used again.\nOriginal error: "Could not write file "a": No space left on device"'
    )
    raised = DestinationConnectionError("DuckDbSqlClient", "coreviz", invalid, Exception(invalid))
    said = str(load_error(raised, pipeline, "media"))
    assert said.startswith('The rows could not be loaded: Could not write file "a": No space left on device [')
    assert said.endswith("Free some space where the warehouse is; nothing is lost, the next run continues.")


def test_a_duckdb_file_that_is_open_here_with_other_settings_is_called_so(tmp_path, pipeline):
    import duckdb

    with Studio(frozen(5)) as studio:
        assert first_sync(pipeline, studio).exit_code == 0
        with duckdb.connect(str(tmp_path / "library.duckdb"), read_only=True):
            report = run_sync(pipeline, studio)
        assert report.exit_code == 7
        assert "open in this process already" in report.to_json()
        assert "credentials" not in report.to_json()
        assert run_sync(pipeline, studio).exit_code == 0
        assert_equal_to(pipeline, studio)


def test_a_destination_that_is_given_to_run_alone_is_locked_like_any_other(tmp_path, caplog):
    pipeline = dlt.pipeline("coreviz_test", dataset_name="coreviz", pipelines_dir=str(tmp_path / "pipelines"))
    with Studio(frozen(10)) as studio:
        to = dlt.destinations.duckdb(str(tmp_path / "library.duckdb"))
        pipeline.run(coreviz(**arguments(studio, {})), destination=to)
        assert_equal_to(pipeline, studio)
    assert "no locks" not in caplog.text
