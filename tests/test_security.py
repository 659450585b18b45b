"""The key stays where it belongs, and nothing that the API or a caller sends is taken for a path or for SQL."""

from __future__ import annotations

import io
import json
import logging
import pickle
import traceback
from pathlib import Path

import dlt
import pytest
from dlt.pipeline.exceptions import PipelineStepFailed
from starlette.responses import Response

from coreviz_source import coreviz
from coreviz_source.api.http import Calls
from coreviz_source.api.studio import CorevizClient
from coreviz_source.errors import ConfigurationError, CorevizError
from coreviz_source.loading.configuration import resolve
from coreviz_source.local_studio import Studio
from coreviz_source.local_studio.faults import FAULTS, Faults, _inserted
from tests.scenario import arguments, assert_equal_to, first_sync, frozen, media_of, run, run_sync
from tests.warehouse import query, read, runs

KEY = "canary-9b1f60aa57"


@pytest.fixture
def studio():
    with Studio(frozen(20), api_key=KEY) as studio:
        yield studio


@pytest.mark.parametrize("fault", ["reset", "HTML", "401", "redirect to another host", "gzip bomb"])
def test_no_traceback_shows_the_key_even_with_the_values_of_all_variables(studio, monkeypatch, fault):
    """As rich, Sentry and IPython print them: every frame with its locals."""
    from rich.console import Console
    from rich.traceback import Traceback

    monkeypatch.setattr("coreviz_source.api.http.LARGEST_RESPONSE", 2**20)
    studio.faults = Faults([fault], share=1)
    settings = resolve({"base_url": studio.url, "api_key": KEY})
    client = CorevizClient(settings)
    with pytest.raises(CorevizError) as failure:
        client.page(next(iter(studio.library.datasets)), 0, 10, Calls())
    output = io.StringIO()
    error = failure.value
    shown = Traceback.from_exception(type(error), error, error.__traceback__, show_locals=True, locals_max_length=None)
    Console(file=output, width=400).print(shown)
    summary = traceback.TracebackException.from_exception(error, capture_locals=True)
    said = output.getvalue() + "".join(summary.format()) + repr((settings, client, client.__dict__, error.args))
    assert "client" in said
    assert KEY not in said


def test_neither_the_http_library_at_debug_nor_what_dlt_keeps_of_a_run_holds_the_key(
    studio, pipeline, tmp_path, caplog, capfd, monkeypatch
):
    monkeypatch.setenv("RUNTIME__LOG_LEVEL", "DEBUG")
    monkeypatch.setattr("http.client.HTTPConnection.debuglevel", 0)
    for name in ("urllib3", "requests", "dlt", "coreviz_source"):
        logging.getLogger(name).setLevel(logging.DEBUG)
    with caplog.at_level(logging.DEBUG):
        run_sync(pipeline, studio, api_key=KEY)
        studio.faults = Faults(["500"], share=1)
        with pytest.raises(PipelineStepFailed) as failure:
            pipeline.run(coreviz(**arguments(studio, {"api_key": KEY})))
    trace = pipeline.last_trace
    kept = [repr(trace), str(trace), trace.asstr(2), json.dumps(trace.asdict(), default=str)]
    kept += [repr(pipeline.state), repr(failure.value.__dict__), caplog.text, *capfd.readouterr()]
    assert not any(KEY in text for text in kept)
    assert KEY.encode() not in pickle.dumps(trace)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any("trace" in path.name for path in files)
    assert [path for path in files if KEY.encode() in path.read_bytes()] == []
    rows = [query(pipeline, f"SELECT * FROM {name}") for name in ("_coreviz_runs", "_dlt_pipeline_state", "_dlt_loads")]
    assert KEY not in repr(rows)


@pytest.mark.parametrize(
    "url",
    [
        "http://lab.coreviz.io",
        "http://localhost.evil.com",
        "http://127.0.0.1.evil.com",
        "http://localhost@evil.com",
        "http://127.0.0.1@evil.com",
        "http://evil.com#localhost",
        "http://evil.com?localhost",
        "http://evil.com\\@localhost",
        "http://localhost\\.evil.com",
        "http://[::ffff:1.2.3.4]",
        "http://0.0.0.0",
        "http://[::]",
        "http://2130706433",
        "http://0x7f.1",
        "http://localhost%2eevil.com",
        "http://lo\u0441alhost",
        "http:///localhost",
        "http://localhost:80:80",
        "http://localhost:99999",
        "https://user@lab.coreviz.io",
        "https://:secret@lab.coreviz.io",
        "https://lab.coreviz.io\r\nx-evil: 1",
        "https://lab .coreviz.io",
        "ftp://localhost",
        "file:///etc/passwd",
        "//localhost",
        "localhost",
        "",
    ],
)
def test_an_address_that_would_send_the_key_in_clear_or_elsewhere_is_refused(url):
    with pytest.raises(ConfigurationError) as refusal:
        resolve({"base_url": url, "api_key": KEY})
    assert KEY not in str(refusal.value)
    assert "secret" not in str(refusal.value)


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost:8080",
        "http://127.0.0.1",
        "http://127.8.9.1:1/studio",
        "http://[::1]:8080",
        "HTTPS://lab.coreviz.io/",
    ],
)
def test_loopback_and_https_are_accepted(url):
    assert resolve({"base_url": url, "api_key": KEY}).base_url == url.rstrip("/")


def test_a_proxy_of_the_environment_never_sees_a_key_in_clear(studio, pipeline, monkeypatch):
    """Over https a proxy sees the host's name only; http is for loopback, where a proxy would see everything."""
    with Studio(frozen(5)) as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        assert run_sync(pipeline, studio, api_key=KEY).exit_code == 0
        assert proxy.requests == []
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        client = CorevizClient(resolve({"base_url": "https://lab.coreviz.invalid", "api_key": KEY}))
        seen = []
        monkeypatch.setattr(
            "urllib3.connection.HTTPConnection.request", lambda self, *a, headers=None, **k: seen.append(headers)
        )
        with pytest.raises(CorevizError):
            client.page("d", 0, 1, Calls())
    assert all(KEY not in repr(headers) for headers in seen)


def test_a_netrc_and_cookies_change_no_request(studio, pipeline, tmp_path, monkeypatch):
    (tmp_path / ".netrc").write_text("default login someone password else\n")
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    assert run_sync(pipeline, studio, api_key=KEY).exit_code == 0
    seen = [request.headers for request in studio.requests]
    assert seen
    assert all("authorization" not in headers and headers["x-api-key"] == KEY for headers in seen)


INJECTIONS = [
    "'; DROP TABLE media; --",
    '"; DROP TABLE media; --',
    "' OR '1'='1",
    "%s %(x)s {media} {{id}} $1 ?",
    "\\'; DELETE FROM captions; --",
    "../../../etc/passwd",
    "/etc/passwd",
    "..%2f..%2fx",
    "C:\\Windows\\system32",
    "<script>alert(1)</script>",
    "\u202egnp.exe",
    "name\nwith\rbreaks\t",
    "=cmd|' /C calc'!A0",
]


@pytest.mark.parametrize("deletes", ["hard", "soft"])
def test_sql_and_paths_in_ids_names_and_tags_are_only_text(pipeline, tmp_path, deletes):
    library = frozen(30)
    (dataset,) = library.datasets
    media = media_of(library, frames=1)
    for item, text in zip(media, INJECTIONS, strict=False):
        with library.changing(item["id"]):
            item["name"] = item["frames"][0]["captions"][0]["text"] = text
            item["metadata"]["tags"] = {text: [text]}
            item["frames"][0]["id"] = item["frames"][0]["captions"][0]["id"] = text
    for text in INJECTIONS:
        # the API leaves hyphens out of its ids
        library.put(
            dataset, {**media_of(library)[-1], "id": text.replace("-", "/"), "name": "of a strange id", "frames": []}
        )
    outside = {path for path in tmp_path.parent.iterdir()}
    with Studio(library) as studio:
        run(pipeline, studio)
        assert_equal_to(pipeline, studio)
        for item in media[: len(INJECTIONS)]:
            library.add_caption(item["id"], "Changed.")
        gone = [i["id"] for i in media_of(library) if i["name"] == "of a strange id"][:6]
        for item_id in gone:
            del library.dataset(dataset).items[item_id]
        library.touched(media[0]["id"])
        run(pipeline, studio, reconcile_every="0", lookback="0", deletes=deletes)
        held = read(pipeline, "media")["media"]
        assert {r["id"] for r in held if r["deleted_at"]} == (set(gone) if deletes == "soft" else set())
        if deletes == "hard":
            assert_equal_to(pipeline, studio)
    assert {path for path in tmp_path.parent.iterdir()} == outside


@pytest.mark.parametrize(
    "dataset",
    [
        "a/../../x",
        "..",
        ".",
        "a/b",
        "a\\b",
        "a?limit=1",
        "a#b",
        "a b",
        "a\nb",
        "a\0b",
        "%2e%2e%2fx",
        "a%2fb",
        "a;b=c%00",
    ],
)
def test_a_dataset_id_never_leads_to_another_path(studio, pipeline, dataset):
    report = run_sync(pipeline, studio, api_key=KEY, dataset_ids=[dataset])
    assert report.exit_code in (2, 4)
    for request in studio.requests:
        assert request.path == f"/api/dataset/{dataset}/media"


@pytest.mark.parametrize(
    "dataset", ["' OR 1=1; DROP TABLE media; --".replace(" ", "\u00a0"), "\"';--", "{media}", "%s"]
)
def test_a_dataset_id_is_only_text_for_the_warehouse(studio, pipeline, dataset):
    given = list(studio.library.datasets)
    assert first_sync(pipeline, studio, api_key=KEY).exit_code == 0
    report = run_sync(pipeline, studio, api_key=KEY, dataset_ids=[*given, dataset])
    assert report.exit_code in (2, 4)
    assert report.exit_code == 2 or report.datasets[given[0]].exit_code == 0
    assert query(pipeline, "SELECT count(*) FROM media") == [(20,)]


def test_the_name_of_a_pipeline_leads_to_no_other_place(tmp_path):
    with pytest.raises(Exception, match="name"):
        dlt.pipeline("../outside", destination="duckdb", pipelines_dir=str(tmp_path / "p"))
    assert not Path(tmp_path / "outside").exists()


@pytest.mark.parametrize("code", [200, 400])
def test_a_servers_words_of_any_characters_stop_neither_the_run_nor_the_other_datasets(pipeline, studio, code):
    said = b'{"error": "Failed", "message": "half \\ud800 and \\u0000."}'
    studio.before = lambda request: Response(said, code) if request.dataset_id == "bad" else None
    report = run_sync(pipeline, studio, api_key=KEY, dataset_ids=["bad", *studio.library.datasets])
    assert [dataset.exit_code for dataset in report.datasets.values()] == [5 if code == 200 else 2, 0]
    assert "half \ufffd and \ufffd." in next(r["message"] for r in runs(pipeline) if r["dataset_id"] == "bad")
    assert_equal_to(pipeline, studio)


def test_names_of_datasets_and_of_fields_may_hold_any_characters(pipeline, studio, monkeypatch):
    (dataset,) = studio.library.datasets
    odd = b'{"dataset": {"id": "%s", "name": "half \\ud800"}}' % dataset.encode()
    studio.before = lambda request: Response(odd) if request.path == f"/api/dataset/{dataset}" else None
    monkeypatch.setitem(FAULTS, "odd name", _inserted(b'"half \\ud800":1'))  # type: ignore[index]
    studio.faults = Faults(["odd name"], share=1, only=lambda path: "/media" in path)
    assert run_sync(pipeline, studio, api_key=KEY).exit_code == 0
    assert query(pipeline, "SELECT name FROM datasets") == [("half \ufffd",)]
    ((fields,),) = query(pipeline, "SELECT CAST(unknown_fields AS VARCHAR) FROM _coreviz_runs")
    assert "media.half " in fields
    assert "\\ud800" not in fields, "Postgres refuses it in JSON"


@pytest.mark.parametrize("code", [200, 400, 401, 503])
def test_a_server_that_repeats_the_key_in_its_message_does_not_bring_it_into_reports_or_tables(pipeline, studio, code):
    said = json.dumps({"error": "Failed", "message": f"{'x' * 490} {KEY} is wrong."}).encode()
    studio.before = lambda request: Response(said, code)
    report = run_sync(pipeline, studio, api_key=KEY)
    assert report.exit_code
    (run,) = runs(pipeline)
    assert "xxx" in run["message"], "the server's message is told"
    assert KEY[:8] not in report.to_json() + str(run)
