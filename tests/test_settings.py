"""Settings are declared once, and found where dlt's users expect them; what belongs to others is left alone."""

from __future__ import annotations

import inspect
import json
import os
import re
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any, get_type_hints

import dlt
import duckdb
import pytest
from dlt.common.configuration.container import Container
from dlt.common.configuration.providers.toml import TomlProviderReadException
from dlt.common.configuration.specs.pluggable_run_context import PluggableRunContext
from dlt.common.pipeline import PipelineContext

from coreviz_source import coreviz, sync
from coreviz_source.api.pace import FIRST_PAGE, FIRST_PARALLEL, LARGEST_PAGE, MOST_PARALLEL
from coreviz_source.commands.demo import _Console
from coreviz_source.errors import AuthenticationError, ConfigurationError
from coreviz_source.loading.configuration import (
    SourceSettings,
    configuration_error,
    resolve,
    sectioned_variables,
)
from coreviz_source.loading.pipeline import resolve_pipeline
from coreviz_source.local_studio import Studio
from coreviz_source.settings import SETTINGS, SYNC, WAREHOUSE, Settings, SyncSettings, WarehouseSettings
from tests import forked
from tests import settings as documents
from tests.scenario import frozen, pipeline_in, truth_of
from tests.test_cli import environment
from tests.warehouse import assert_mirror

FIRST, SECOND = "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"


@pytest.fixture
def configured(monkeypatch):
    """Writes files into .dlt, and makes dlt read them again, now and when the test is over."""

    def write(config: str = "", secrets: str = "") -> None:
        Path(".dlt").mkdir(exist_ok=True)
        Path(".dlt/config.toml").write_text(config)
        Path(".dlt/secrets.toml").write_text(secrets)
        Container()[PluggableRunContext].reload_providers()

    yield write
    for path in Path(".dlt").glob("*.toml"):
        path.unlink()
    Container()[PluggableRunContext].reload_providers()


@pytest.fixture
def inactive(monkeypatch):
    """No pipeline is active, as in a fresh process."""
    monkeypatch.setattr(PipelineContext, "_pipeline", None, raising=False)
    if Container()[PipelineContext].is_active():
        Container()[PipelineContext].deactivate()


def in_a_process(*arguments: str, studio: Studio | None = None, **variables: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, **variables} if studio is None else environment(studio, **variables)
    return subprocess.run([forked.command(), *arguments], capture_output=True, text=True, env=env)


def test_the_page_the_configuration_file_and_the_docstring_say_what_is_declared():
    assert documents.settings_table() in documents.PAGE.read_text()
    assert documents.config() == documents.CONFIG.read_text()
    assert documents.docstring_arguments() in documents.SOURCE.read_text()


def test_the_arguments_of_the_source_are_the_declared_settings():
    parameters = inspect.signature(coreviz).parameters
    assert list(parameters) == [setting.name for setting in SETTINGS]
    for setting in SETTINGS:
        choices = ", ".join(map(repr, setting.choices))
        expected = f"Literal[{choices}]" if choices else setting.kind.argument
        assert parameters[setting.name].annotation.replace('"', "'") == f"{expected} | None", setting.name
        assert parameters[setting.name].default is None
    assert [p.name for p in parameters.values() if p.kind is not p.KEYWORD_ONLY] == ["dataset_ids"]


def test_every_argument_of_the_source_reaches_the_settings(monkeypatch):
    given: dict[str, Any] = {}
    monkeypatch.setattr(SourceSettings, "__init__", lambda self, arguments: given.update(arguments))
    marks = {setting.name: object() for setting in SETTINGS}
    coreviz(**marks)
    assert given == marks


def test_the_settings_of_the_pace_name_its_bounds():
    meanings = {setting.name: setting.meaning for setting in SETTINGS}
    assert f"{FIRST_PAGE} at first, and up to {LARGEST_PAGE:,} " in meanings["page_size"]
    assert f"{FIRST_PARALLEL} at first, up to {MOST_PARALLEL} " in meanings["parallel_requests"]


@pytest.mark.parametrize("declaration", [Settings, SyncSettings, WarehouseSettings])
def test_defaults_and_examples_pass_their_own_checks_and_have_the_declared_type(declaration):
    hints = get_type_hints(declaration)
    for setting in (*SETTINGS, *SYNC, *WAREHOUSE):
        if setting.name in hints:
            for value in (setting.default, setting.example, *setting.choices):
                checked = setting.checked(value)
                allowed = hints[setting.name]
                assert "Literal" in str(allowed) or isinstance(
                    checked, getattr(allowed, "__origin__", None) or allowed
                ), setting.name
            assert setting.meaning.endswith(".")


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("sources.coreviz", "3d"),
        ("sources.coreviz.coreviz", "3d"),
        ("nightly.sources.coreviz", "3d"),
        ("nightly.sources.coreviz.coreviz", "3d"),
        ("other.sources.coreviz", None),
        ("sources.other", None),
        ("sources", None),
        ("nightly", None),
    ],
)
def test_a_setting_is_found_in_the_sections_of_the_source_and_of_its_pipeline(configured, monkeypatch, place, value):
    expected = timedelta(days=3 if value else 7)
    configured(f'[{place}]\nlookback = "3d"\n')
    assert resolve({"api_key": "k"}, pipeline_name="nightly").lookback == expected
    configured()
    monkeypatch.setenv(f"{place.replace('.', '__').upper()}__LOOKBACK", "3d")
    assert resolve({"api_key": "k"}, pipeline_name="nightly").lookback == expected


def test_the_section_of_the_pipeline_wins_over_that_of_the_source_and_an_argument_over_both(configured):
    configured('[sources.coreviz]\nlookback = "3d"\n[nightly.sources.coreviz]\nlookback = "2d"\n')
    assert resolve({"api_key": "k"}, pipeline_name="nightly").lookback == timedelta(days=2)
    assert resolve({"api_key": "k"}, pipeline_name="daily").lookback == timedelta(days=3)
    given = {"api_key": "k", "lookback": timedelta(hours=1)}
    assert resolve(given, pipeline_name="nightly").lookback == timedelta(hours=1)


@pytest.mark.parametrize("way", ["file", "variable"])
def test_a_misspelt_name_in_the_section_of_the_pipeline_is_refused(configured, monkeypatch, way):
    if way == "file":
        configured('[nightly.sources.coreviz]\nlookbak = "2d"\n')
    else:
        monkeypatch.setenv("NIGHTLY__SOURCES__COREVIZ__LOOKBAK", "2d")
    with pytest.raises(ConfigurationError, match="Did you mean lookback"):
        resolve({"api_key": "k"}, pipeline_name="nightly")
    assert resolve({"api_key": "k"}, pipeline_name="daily").lookback == timedelta(days=7)


def test_a_source_and_a_sync_mirror_what_the_section_of_their_pipeline_names(configured, tmp_path):
    library = frozen(24, datasets=2)
    first, second = library.datasets
    with Studio(library) as studio:
        shared = f'[sources.coreviz]\nbase_url = "{studio.url}"\n'
        mine, theirs = (f'[{name}.sources.coreviz]\ndataset_ids = ["{{}}"]\n' for name in ("coreviz_test", "theirs"))
        configured(
            shared + mine.format(first) + theirs.format(second), f'[sources.coreviz]\napi_key = "{studio.key}"\n'
        )
        truth = truth_of(studio)
        one, two = pipeline_in(tmp_path, "one", "one.duckdb"), pipeline_in(tmp_path, "two", "two.duckdb")
        other = dlt.pipeline("theirs", destination="duckdb", dataset_name="coreviz", pipelines_dir="third")
        # built while another pipeline is the active one
        one.run(coreviz())
        assert sync(two).exit_code == 0
        for pipeline in (one, two):
            assert_mirror(pipeline, {first: truth[first]})
        one.activate()
        source = coreviz()
        other.run(source)
        assert_mirror(other, {second: truth[second]})


def test_a_key_that_only_the_section_of_the_running_pipeline_has_is_enough(configured, inactive, tmp_path):
    library = frozen(10)
    with Studio(library) as studio:
        configured(secrets=f'[coreviz_test.sources.coreviz]\napi_key = "{studio.key}"\nbase_url = "{studio.url}"\n')
        source = coreviz()
        pipeline = pipeline_in(tmp_path)
        pipeline.run(source)
        assert_mirror(pipeline, truth_of(studio))


def test_the_section_of_the_pipeline_also_wins_among_settings_that_exclude_each_other(configured):
    shared = f'[sources.coreviz]\norganization_ids = ["{SECOND}"]\n'
    configured(
        f'{shared}[nightly.sources.coreviz]\ndataset_ids = ["{FIRST}"]\n',
        '[sources.coreviz]\napi_key = "k"\n[nightly.sources.coreviz]\ntoken = "t"\n',
    )
    found = resolve(pipeline_name="nightly")
    assert (found.dataset_ids, found.organization_ids, found.api_key, found.token) == ((FIRST,), (), "", "t")
    found = resolve(pipeline_name="daily")
    assert (found.dataset_ids, found.organization_ids, found.api_key, found.token) == ((), (SECOND,), "k", "")


def test_a_wrong_argument_is_refused_when_the_source_is_built_whatever_other_pipelines_have(configured):
    configured(secrets='[elsewhere.sources.coreviz]\napi_key = "k"\n')
    for wrong in ({"lookback": "soon"}, {"api_key": "k", "token": "t"}):
        with pytest.raises(ConfigurationError):
            coreviz(**wrong)


def test_without_a_key_anywhere_a_source_is_refused_when_it_is_built(configured):
    configured('[sources.coreviz]\nlookback = "3d"\n')
    with pytest.raises(AuthenticationError):
        coreviz()


@pytest.mark.parametrize(
    ("arguments", "secrets", "variables", "sent"),
    [
        ({"token": "t"}, "", {}, "token t"),
        ({"token": "t"}, 'api_key = "k"', {"COREVIZ_API_KEY": "v"}, "token t"),
        ({"api_key": "k"}, 'token = "t"', {"COREVIZ_TOKEN": "v"}, "key k"),
        ({}, 'token = "t"', {"COREVIZ_API_KEY": "v"}, "token t"),
        ({}, 'api_key = "k"', {"COREVIZ_TOKEN": "v"}, "key k"),
        ({}, 'api_key = ""\ntoken = "t"', {}, "token t"),
        ({"api_key": ""}, "", {"COREVIZ_TOKEN": "v"}, "token v"),
        ({}, "", {"COREVIZ_TOKEN": "v"}, "token v"),
        ({}, "", {"SOURCES__COREVIZ__TOKEN": "t", "COREVIZ_API_KEY": "v"}, "token t"),
        ({"api_key": "k", "token": "t"}, "", {}, None),
        ({}, 'api_key = "k"\ntoken = "t"', {}, None),
        ({}, 'api_key = "k"', {"SOURCES__COREVIZ__TOKEN": "t"}, None),
        ({}, "", {"COREVIZ_API_KEY": "k", "COREVIZ_TOKEN": "t"}, None),
    ],
)
def test_a_key_or_a_token_is_taken_from_the_highest_level_that_has_one(
    configured, monkeypatch, arguments, secrets, variables, sent
):
    configured(secrets=f"[sources.coreviz]\n{secrets}\n")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    if sent is None:
        with pytest.raises(ConfigurationError, match="api_key and token cannot be combined"):
            resolve(arguments)
    else:
        found = resolve(arguments)
        assert (f"key {found.api_key}" if found.api_key else f"token {found.token}") == sent
        assert not (found.api_key and found.token)


def test_a_token_opens_the_library_and_is_shown_nowhere(tmp_path):
    pipeline = pipeline_in(tmp_path)
    with Studio(frozen(10), token="canary-token-5a7") as studio:
        report = sync(pipeline, token="canary-token-5a7", base_url=studio.url, page_size=20)
        assert report.exit_code == 0, report.to_json()
        assert_mirror(pipeline, truth_of(studio))
        assert all("x-api-key" not in request.headers for request in studio.requests)
        refused = sync(pipeline, token="canary-wrong-5a7", base_url=studio.url, page_size=20)
    assert refused.exit_code == 3
    assert "canary" not in report.to_json() + refused.to_json() + repr(resolve({"token": "canary-token-5a7"}))


@pytest.mark.parametrize("token", ["two words", "line\nbreak", "ключ"])
def test_a_token_with_impossible_characters_is_refused_without_being_shown(token):
    with pytest.raises(AuthenticationError) as refusal:
        resolve({"token": token})
    assert token not in str(refusal.value)


def test_datasets_and_organizations_cannot_be_named_together_but_an_argument_replaces_the_configured_ones(configured):
    given = {"api_key": "k", "dataset_ids": [FIRST]}
    with pytest.raises(ConfigurationError, match="dataset_ids and organization_ids cannot be combined"):
        resolve({**given, "organization_ids": [SECOND]})
    configured(f'[sources.coreviz]\norganization_ids = ["{SECOND}"]\n')
    assert resolve({"api_key": "k"}).organization_ids == (SECOND,)
    found = resolve(given)
    assert (found.dataset_ids, found.organization_ids) == ((FIRST,), ())
    configured(f'[sources.coreviz]\norganization_ids = ["{SECOND}"]\ndataset_ids = "{FIRST}"\n')
    with pytest.raises(ConfigurationError, match="cannot be combined"):
        resolve({"api_key": "k"})


@pytest.mark.parametrize("given", [7, 7.5, "7", " 0.5 "])
def test_a_duration_without_a_unit_is_refused_with_the_way_to_write_it(given):
    with pytest.raises(ConfigurationError) as refusal:
        resolve({"api_key": "k", "lookback": given})
    assert refusal.value.exit_code == 2
    assert f'"{str(given).strip()}d" is days' in str(refusal.value)


@pytest.mark.parametrize("given", [0, "0", "0.0", timedelta(seconds=7), "7s"])
def test_zero_and_durations_with_a_unit_are_accepted(given):
    assert resolve({"api_key": "k", "lookback": given}).lookback.total_seconds() in (0, 7)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("resync", "false"),
        ("resync", 1),
        ("max_deletes", True),
        ("requests_per_second", True),
        ("page_size", True),
        ("page_size", 2.0),
        ("base_url", 7),
        ("date_from", 7),
        ("dataset_ids", 7),
        ("dataset_ids", ""),
        ("organization_ids", []),
        ("organization_ids", "a/b"),
    ],
)
def test_a_value_of_another_type_is_a_wrong_setting(name, value):
    with pytest.raises(ConfigurationError, match=name):
        resolve({"api_key": "k", name: value})


BARE = {
    "DEV_MODE": "true",
    "FULL_REFRESH": "true",
    "REFRESH": "drop_sources",
    "PROGRESS": "log",
    "CREDENTIALS": "/nowhere/else.duckdb",
    "CREDENTIALS__DATABASE": "/nowhere/else.duckdb",
    "PIPELINE_NAME": "bare",
    "DATASET_NAME": "bare",
    "DATASET_NAME_LAYOUT": "bare_%s",
    "DESTINATION_TYPE": "filesystem",
    "DESTINATION_NAME": "bare",
    "STAGING_TYPE": "filesystem",
    "PIPELINES_DIR": "/nowhere/pipelines",
    "EXPORT_SCHEMA_PATH": "bare",
    "USE_SINGLE_DATASET": "false",
    "WORKERS": "none",
    "LOOKBACK": "bare",
    "TOKEN": "bare",
    "API_KEY": "bare",
    "ORGANIZATION_IDS": "bare",
}


def test_bare_variables_of_others_steer_neither_the_command_line_nor_what_it_prints():
    with Studio(frozen(12)) as studio:
        first = in_a_process("sync", "--json", studio=studio, **BARE)
        assert first.returncode == 0, first.stderr
        assert json.loads(first.stdout)["exit_code"] == 0
        second = in_a_process("sync", "--json", studio=studio, **BARE)
        assert [d["new"] for d in json.loads(second.stdout)["datasets"].values()] == [0], second.stderr
        status = in_a_process("status", "--json", studio=studio, **BARE)
        assert json.loads(status.stdout)["schema"] == "coreviz"
    with duckdb.connect("coreviz_library.duckdb", read_only=True) as database:
        assert database.sql("SELECT count(*) FROM coreviz.media").fetchall() == [(12,)]
    assert not Path("bare").exists() and not Path("/nowhere").exists()


def test_the_environment_is_as_it_was_after_a_command_of_this_process(monkeypatch):
    monkeypatch.setenv("DEV_MODE", "true")
    with sectioned_variables():
        assert dlt.config.get("dev_mode") is None
    assert dlt.config.get("dev_mode", bool) is True


@pytest.mark.parametrize(
    ("setting", "remedy"), [("dev_mode = true", "dataset_name"), ('refresh = "drop_data"', "resync")]
)
@pytest.mark.parametrize("section", ["pipelines.coreviz_library", "pipelines"])
def test_a_switch_that_would_empty_the_tables_is_refused_where_it_was_meant(configured, setting, remedy, section):
    configured(f"[{section}]\n{setting}\n")
    with pytest.raises(ConfigurationError, match=remedy):
        resolve_pipeline()
    assert list(Path().glob("*.duckdb")) == []


def test_the_section_of_a_pipeline_says_where_the_command_line_loads_it(configured):
    configured('[sources.coreviz]\npipeline_name = "nightly"\n[nightly.sources.coreviz]\ndataset_name = "night"\n')
    pipeline = resolve_pipeline()
    assert (pipeline.pipeline_name, pipeline.dataset_name) == ("nightly", "night")
    assert resolve_pipeline(pipeline_name="daily").dataset_name == "coreviz"


BROKEN = {
    "not TOML": (b'[sources.coreviz]\nlookback = "7d"\nx = = 3\n', "line 3"),
    "a mark at its beginning": (b'\xef\xbb\xbf[sources.coreviz]\nlookback = "7d"\n', "byte order mark"),
    "another encoding": (b'[sources.coreviz]\n# \xe4\nlookback = "7d"\n', "line 2"),
    "a key twice": (b"[sources.coreviz]\nresync = true\nresync = false\n", 'toml: Key "resync" already exists. Corr'),
}


@pytest.mark.parametrize("kind", BROKEN)
@pytest.mark.parametrize("file", ["config.toml", "secrets.toml"])
def test_a_file_that_cannot_be_read_is_named_with_its_line(kind, file):
    content, said = BROKEN[kind]
    Path(".dlt").mkdir()
    Path(".dlt", file).write_bytes(content)
    done = in_a_process("sync")
    assert done.returncode == 2, done.stderr
    assert str(Path(".dlt", file).absolute()) in done.stderr and said in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_every_command_names_the_broken_file():
    Path(".dlt").mkdir()
    Path(".dlt/config.toml").write_text("x = = 3\n")
    for line in ("check", "status", "search x", "forget --media-ids x --yes", "demo --media 3"):
        done = in_a_process(*line.split())
        assert (done.returncode, "config.toml, line 1" in done.stderr) == (2, True), (line, done.stderr)


def test_a_section_that_is_a_number_is_a_wrong_setting_in_one_line():
    Path(".dlt").mkdir()
    Path(".dlt/config.toml").write_text("runtime = 3\n")
    done = in_a_process("status")
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
    assert "Correct .dlt/config.toml" in done.stderr


def test_dlts_own_error_of_a_broken_file_is_what_a_source_raises_when_it_is_built():
    """dlt reads its files before it calls the function of a source: there its error is as good as ours."""
    Path(".dlt").mkdir()
    Path(".dlt/config.toml").write_text("x = = 3\n")
    code = "import coreviz_source as c; c.coreviz(api_key='k')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert re.search(r"config\.toml from paths .*\n.*at line 1 col 4", done.stderr)


def test_a_file_without_permission_is_named(configured, monkeypatch, tmp_path):
    configured('[sources.coreviz]\nlookback = "3d"\n')

    # root may read everything
    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("dlt.common.configuration.providers.toml.open", refuse, raising=False)
    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(TomlProviderReadException) as failure:
        Container()[PluggableRunContext].reload_providers()
    error = configuration_error(failure.value)
    assert error is not None and error.exit_code == 2
    assert "secrets.toml cannot be read: Permission denied." in str(error)
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)


def test_a_folder_of_settings_without_permission_is_named_and_not_taken_for_missing(configured, monkeypatch):
    configured('[sources.coreviz]\nlookback = "3d"\n')
    # root may read everything
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(ConfigurationError, match=r"\.dlt cannot be read: Permission denied"), sectioned_variables():
        pass


@pytest.mark.parametrize("line", ["sync", "check", "status"])
def test_a_level_that_does_not_exist_is_a_wrong_setting(line):
    done = in_a_process(line, RUNTIME__LOG_LEVEL="verbose")
    assert done.returncode == 2
    assert "'verbose'" in done.stderr and "WARNING" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("line", ["--help", "sync --help", "schema"])
def test_output_that_nobody_reads_to_its_end_is_no_error(line):
    # the reader has left before anything is written
    done = subprocess.run(
        ["bash", "-c", f"(sleep 0.1; exec {forked.command()} {line}) | true; echo ${{PIPESTATUS[0]}}"],
        capture_output=True,
        text=True,
    )
    assert (done.stdout, done.stderr) == ("141\n", "")


def test_a_sync_whose_output_nobody_reads_loads_everything():
    with Studio(frozen(12)) as studio:
        done = subprocess.run(
            ["bash", "-c", f"{forked.command()} sync --json | true; echo ${{PIPESTATUS[0]}}"],
            capture_output=True,
            text=True,
            env=environment(studio),
        )
    assert done.stdout == "0\n", done.stderr
    assert "Traceback" not in done.stderr
    with duckdb.connect("coreviz_library.duckdb", read_only=True) as database:
        assert database.sql("SELECT count(*) FROM coreviz.media").fetchall() == [(12,)]


def test_the_package_is_a_command():
    done = subprocess.run([sys.executable, "-m", "coreviz_source", "--help"], capture_output=True, text=True)
    assert done.returncode == 0
    assert done.stdout.startswith("Usage: coreviz-source ")


def test_brackets_and_colons_in_a_library_are_printed_as_they_are(capsys):
    from rich.progress import Progress, TextColumn
    from rich.table import Table

    text = "[bold]Spring[/] [demo] :dog:"
    console = _Console()
    table = Table("name")
    table.add_row(text)
    console.print(text)
    console.print(table)
    with Progress(TextColumn("{task.description}", markup=False), console=console) as progress:
        progress.add_task(text)
    assert capsys.readouterr().out.count(text) >= 3


def test_settings_are_declared_without_dlt():
    code = "import sys, coreviz_source.settings; print('dlt' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"


def test_the_recipe_names_what_is_there():
    text = (documents.ROOT / "CONTRIBUTING.md").read_text()
    assert "## Add a setting" in text
    assert re.search(r"python -m tests\.settings", text)
