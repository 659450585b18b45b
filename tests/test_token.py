"""A session token is sent instead of a key, and is as secret."""

from __future__ import annotations

import io
import json
import logging
import pickle

import pytest
from dlt.pipeline.exceptions import PipelineStepFailed
from starlette.responses import Response

from coreviz_source import coreviz
from coreviz_source.api.http import Calls
from coreviz_source.api.studio import CorevizClient
from coreviz_source.commands.status import read_status
from coreviz_source.errors import AuthenticationError, CorevizError
from coreviz_source.loading.configuration import resolve
from coreviz_source.local_studio import Studio
from coreviz_source.local_studio.faults import Faults
from tests.scenario import arguments, assert_equal_to, frozen, run_sync
from tests.warehouse import runs

TOKEN = "session-canary-5d0c11"


@pytest.fixture
def studio():
    with Studio(frozen(20), token=TOKEN) as studio:
        yield studio


@pytest.mark.parametrize("key", [None, "another-key"])
def test_a_token_is_sent_as_bearer_and_no_key_beside_it(pipeline, studio, monkeypatch, key):
    if key:
        monkeypatch.setenv("COREVIZ_API_KEY", key)
    report = run_sync(pipeline, studio, dataset_ids=None, api_key=None, token=TOKEN)
    assert report.exit_code == 0, report.to_json()
    assert_equal_to(pipeline, studio)
    headers = [request.headers for request in studio.requests]
    assert headers
    assert all(sent["authorization"] == f"Bearer {TOKEN}" and "x-api-key" not in sent for sent in headers)
    status = read_status(pipeline, base_url=studio.url, token=TOKEN)
    assert [d.in_account for d in status.datasets] == [True]


@pytest.mark.parametrize(("status", "said"), [(401, "The session token is not valid."), (403, "The session token has")])
def test_a_refused_token_is_called_a_token(studio, status, said):
    studio.before = lambda request: Response(json.dumps({"message": f"Not {TOKEN}"}).encode(), status)
    with pytest.raises(AuthenticationError, match=said) as failure:
        CorevizClient(resolve({"base_url": studio.url, "token": TOKEN})).account()
    assert "COREVIZ_TOKEN" in failure.value.remedy
    assert failure.value.context["server_message"] == "Not …"


@pytest.mark.parametrize("fault", ["reset", "HTML", "401", "redirect to another host"])
def test_no_traceback_shows_the_token_even_with_the_values_of_all_variables(studio, fault):
    import traceback

    from rich.console import Console
    from rich.traceback import Traceback

    studio.faults = Faults([fault], share=1)
    settings = resolve({"base_url": studio.url, "token": TOKEN})
    client = CorevizClient(settings)
    with pytest.raises(CorevizError) as failure:
        client.page(next(iter(studio.library.datasets)), 0, 10, Calls())
    error, output = failure.value, io.StringIO()
    shown = Traceback.from_exception(type(error), error, error.__traceback__, show_locals=True, locals_max_length=None)
    Console(file=output, width=400).print(shown)
    summary = traceback.TracebackException.from_exception(error, capture_locals=True)
    said = output.getvalue() + "".join(summary.format()) + repr((settings, client, vars(client), vars(client._http)))
    assert "client" in said
    assert TOKEN not in said


def test_neither_logs_nor_what_dlt_keeps_of_a_run_nor_the_warehouse_holds_the_token(
    studio, pipeline, tmp_path, caplog, capfd, monkeypatch
):
    monkeypatch.setenv("RUNTIME__LOG_LEVEL", "DEBUG")
    for name in ("urllib3", "requests", "dlt", "coreviz_source"):
        logging.getLogger(name).setLevel(logging.DEBUG)
    monkeypatch.setenv("COREVIZ_TOKEN", TOKEN)
    with caplog.at_level(logging.DEBUG):
        assert run_sync(pipeline, studio, api_key=None).exit_code == 0
        studio.before = lambda request: Response(json.dumps({"message": f"{'x' * 490} {TOKEN}"}).encode(), 503)
        report = run_sync(pipeline, studio, api_key=None)
        with pytest.raises(PipelineStepFailed) as failure:
            pipeline.run(coreviz(**arguments(studio, {"api_key": None})))
    assert report.exit_code == 5
    trace = pipeline.last_trace
    kept = [report.to_json(), repr(trace), str(trace), repr(failure.value.__dict__), caplog.text, *capfd.readouterr()]
    assert not any(TOKEN[:12] in text for text in [*kept, repr(runs(pipeline))])
    assert TOKEN.encode() not in pickle.dumps(trace)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert [path for path in files if TOKEN.encode() in path.read_bytes()] == []
