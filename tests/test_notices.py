"""Notices: a change of a dataset is reported once when it begins and once when it ends, and no secret with it."""

from __future__ import annotations

import json
import logging
import re
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import duckdb
import pytest
from click.testing import CliRunner
from prometheus_client.parser import text_string_to_metric_families

from coreviz_source import sync
from coreviz_source.cli import main
from coreviz_source.commands.forget import Subject, forget
from coreviz_source.commands.metrics import prometheus
from coreviz_source.commands.status import DatasetStatus, Status, read_status
from coreviz_source.errors import ConfigurationError
from coreviz_source.loading.configuration import resolve_notify_url
from coreviz_source.local_studio import Library, Studio
from coreviz_source.notices import KINDS, Notice
from coreviz_source.webhook import Webhook
from tests.docs import ROOT, blocks
from tests.scenario import arguments, assert_equal_to, first_sync, frozen, media_of, run, run_sync
from tests.test_cli import environment
from tests.test_network import certificate
from tests.warehouse import read, runs

SECRET = "canary-hook-7c31"


class Hook:
    """A webhook: its address, what was posted there, and the statuses with which it responds, the last one again."""

    def __init__(self) -> None:
        self.posted: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.statuses = [200]
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                hook.paths.append(self.path)
                hook.posted.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                status = hook.statuses.pop(0) if len(hook.statuses) > 1 else hook.statuses[0]
                self.send_response(status)
                if status == 302:
                    self.send_header("Location", hook.url)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/services/{SECRET}?token={SECRET}"

    def take(self) -> list[dict[str, Any]]:
        posted, self.posted = self.posted, []
        return posted


@pytest.fixture
def hook(monkeypatch) -> Iterator[Hook]:
    monkeypatch.setattr("coreviz_source.webhook.PAUSE", 0)
    hook = Hook()
    with hook.server as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield hook
        server.shutdown()


def stored(pipeline) -> list[tuple[str, str, str, bool, bool]]:
    """The rows of the table: dataset, kind, subject, whether it has ended, and whether the webhook has accepted it."""
    rows = read(pipeline, "_coreviz_notices")["_coreviz_notices"]
    assert {row["run"] for row in rows} <= {row["run"] for row in runs(pipeline)}
    return sorted(
        (r["dataset_id"], r["kind"], r["subject"], r["ended_at"] is not None, r["notified_at"] is not None)
        for r in rows
    )


def found(report) -> list[tuple[str, str, bool]]:
    return sorted((n.kind, n.subject, not n.is_open) for n in report.notices)


@pytest.mark.parametrize("kind", ["duckdb", "postgres"])
def test_each_notice_is_reported_once_when_it_begins_and_once_when_it_ends(kind, request, hook, monkeypatch):
    pipeline = request.getfixturevalue("pipeline" if kind == "duckdb" else "postgres")
    library = frozen(80, datasets=2)
    kept, left = library.datasets
    images = [item["id"] for item in media_of(library, kept)]
    monkeypatch.setattr("coreviz_source.notices.FEWEST_ROWS", 20)
    with Studio(library) as studio:
        given = {"reconcile_every": "0", "notify_url": hook.url, "dataset_ids": None}
        # what the first run finds is not new
        with library.changing(images[0]) as item:
            item["mood"] = "calm"
        assert run_sync(pipeline, studio, **given).notices == []
        assert stored(pipeline) == []
        assert hook.take() == []

        library.advance(days=14)
        assert run_sync(pipeline, studio, **given).notices == []
        library.advance(days=1)
        for media_id in images:
            with library.changing(media_id) as item:
                item["rating"] = 5
                item["width"] = f"{item['width']} px"
                item.pop("sizeBytes", None)
                for frame in item["frames"]:
                    frame["captions"] = []
        library.remove_dataset(left)
        report = run_sync(pipeline, studio, **given)
        assert report.exit_code == 0
        began = [
            ("changed_type", "media.width", False),
            ("fallen_share", "captions", False),
            ("missing_dataset", "", False),
            ("missing_field", "media.sizeBytes", False),
            ("new_field", "media.rating", False),
        ]
        assert found(report) == began
        expected = sorted(
            (left if kind == "missing_dataset" else kept, kind, subject, False, True) for kind, subject, _ in began
        )
        assert stored(pipeline) == expected
        (message,) = hook.take()
        assert (message["run"], len(message["notices"])) == (report.run, len(began))
        assert all(notice.text in str(report) for notice in report.notices)
        told = {notice["subject"] for notice in json.loads(report.to_json())["notices"]}
        assert told == {subject for _, subject, _ in began}
        assert "fewer media items than usual have captions" in report._repr_html_()

        # nothing new: no message, no row, and the same notices are open
        before = read(pipeline, "_coreviz_notices")
        library.advance(hours=1)
        assert run_sync(pipeline, studio, **given).notices == []
        assert (hook.take(), read(pipeline, "_coreviz_notices")) == ([], before)
        status = read_status(pipeline, base_url=studio.url, api_key=studio.key)
        assert sorted((n.kind, n.subject, False) for d in status.datasets for n in d.notices) == began
        shown = json.loads(status.to_json())["datasets"]
        assert sum(len(dataset["notices"]) for dataset in shown) == len(began)

        library.advance(days=2)
        for place, media_id in enumerate(images):
            with library.changing(media_id) as item:
                del item["rating"]
                item["width"] = 640
                item["sizeBytes"] = 1000 + place
            if item["frames"]:
                library.add_caption(media_id, f"Again, number {place}.", 0)
        ended = run_sync(pipeline, studio, **given)
        assert found(ended) == [(kind, subject, True) for kind, subject, _ in began if kind != "missing_dataset"]
        assert all("over since 2026-" in notice.text for notice in ended.notices)
        (message,) = hook.take()
        assert len(message["notices"]) == len(ended.notices)
        assert [row[3:] for row in stored(pipeline) if row[0] == kept] == [(True, True)] * (len(began) - 1)

        # what belongs to a dataset is erased with it
        forget(pipeline, Subject([left]))
        assert {row[0] for row in stored(pipeline)} == {kept}
        assert_equal_to(pipeline, studio)


def test_a_message_has_ids_counts_dates_and_fields_and_nothing_from_the_library(pipeline, hook):
    library = frozen(30)
    (dataset,) = library.datasets
    library.datasets[dataset].info["name"] = "canary-dataset"
    first = media_of(library, frames=1)[0]
    with Studio(library) as studio:
        run_sync(pipeline, studio)
        library.advance(hours=1)
        with library.changing(first["id"]) as item:
            item |= {"rating": "canary-value", "canary value, not a field": 1, "name": "canary-file.jpg"}
            item["width"] = "canary-width"
            item["frames"][0]["captions"][0]["text"] = "canary-caption"
        report = run_sync(pipeline, studio, notify_url=hook.url)
    assert found(report) == [("changed_type", "media.width", False), ("new_field", "media.rating", False)]
    (message,) = hook.take()
    said = json.dumps(message)
    assert dataset in said and "media.rating" in said
    assert "canary" not in said


def test_a_message_that_was_not_accepted_is_sent_once_more_by_the_next_run_and_never_again(pipeline, hook):
    library = frozen(20)
    first, second = (item["id"] for item in media_of(library)[:2])
    with Studio(library) as studio:
        first_sync(pipeline, studio)

        def sync_after(field: str | None = None, media_id: str = first, **given: Any):
            library.advance(hours=1)
            if field is not None:
                with library.changing(media_id) as item:
                    item[field] = 1
            return run_sync(pipeline, studio, notify_url=hook.url, **given)

        hook.statuses = [500]
        report = sync_after("rating")
        assert (report.exit_code, len(hook.take())) == (0, 2)
        (warning,) = report.warnings
        assert warning == (
            "The webhook did not accept the notices: HTTP status 500. The next run sends them once more."
        )
        assert [row[2:] for row in stored(pipeline)] == [("media.rating", False, False)]

        # an unchanged run sends it again, with an attempt that fails; redirects are not followed
        hook.statuses = [302, 204]
        report = sync_after()
        assert [message["notices"][0]["subject"] for message in hook.take()] == ["media.rating"] * 2
        assert (report.notices, report.warnings) == ([], [])
        assert [row[2:] for row in stored(pipeline)] == [("media.rating", False, True)]
        assert sync_after().warnings == [] and hook.take() == []

        # a redirect without an address is not accepted either
        hook.statuses = [500, 304]
        assert sync_after("mood", second).notices
        assert sync_after().warnings[0].endswith("They are not sent again.")
        hook.take()
        assert (sync_after().warnings, hook.take()) == ([], [])
        # no webhook, or one that is not there: the run is as good
        hook.url = f"http://127.0.0.1:1/{SECRET}"
        report = sync_after("weather", second)
        assert (report.exit_code, found(report)) == (0, [("new_field", "media.weather", False)])
        assert "it could not be reached (ConnectionError)" in report.warnings[0]
        assert_equal_to(pipeline, studio)


def test_the_address_of_the_webhook_is_shown_nowhere(pipeline, hook, caplog, capfd, tmp_path, monkeypatch):
    monkeypatch.setenv("RUNTIME__LOG_LEVEL", "DEBUG")
    for name in ("urllib3", "requests", "dlt", "coreviz_source"):
        logging.getLogger(name).setLevel(logging.DEBUG)
    library = frozen(20)
    said = []
    with caplog.at_level(logging.DEBUG), Studio(library) as studio:
        first_sync(pipeline, studio)
        monkeypatch.setenv("SOURCES__COREVIZ__NOTIFY_URL", hook.url)
        for status, url in ((200, None), (500, hook.url), (200, f"http://127.0.0.1:1/{SECRET}")):
            hook.statuses = [status]
            library.advance(hours=1)
            with library.changing(media_of(library)[0]["id"]) as item:
                item[f"field{len(said)}"] = 1
            report = run_sync(pipeline, studio, notify_url=url)
            said += [report.to_json(), str(report), repr(report), report._repr_html_()]
        wrong = sync(pipeline, **arguments(studio, {"notify_url": f"http://example.com/{SECRET}"}))
        assert wrong.exit_code == 2
        said += [wrong.to_json(), repr(Webhook(hook.url)), repr(vars(Webhook(hook.url))), repr(pipeline.state)]
        said += [repr(pipeline.last_trace), json.dumps(pipeline.last_trace.asdict(), default=str)]
    assert set(hook.paths) == {f"/services/{SECRET}?token={SECRET}"}
    said += [caplog.text, *capfd.readouterr()]
    assert 'POST / HTTP/1.1" 200' in caplog.text
    assert not [text for text in said if SECRET in text]
    assert [path for path in tmp_path.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()] == []


@pytest.mark.parametrize(
    "url",
    [
        f"http://hooks.slack.com/{SECRET}",
        f"https://user:{SECRET}@example.com/",
        f"https://example.com/{SECRET} two",
        f"ftp://localhost/{SECRET}",
        f"{SECRET}",
    ],
)
def test_an_address_that_others_could_read_is_refused_without_being_shown(url):
    with pytest.raises(ConfigurationError) as refusal:
        resolve_notify_url(url, "coreviz_test")
    assert SECRET not in str(refusal.value) and refusal.value.exit_code == 2


def test_the_address_is_taken_from_the_argument_then_dlts_secrets_then_its_variable(monkeypatch):
    assert resolve_notify_url(None, "coreviz_test") == ""
    for name, host in (("COREVIZ_NOTIFY_URL", "c"), ("SOURCES__COREVIZ__NOTIFY_URL", "b")):
        monkeypatch.setenv(name, f"https://{host}.example.com/x")
        assert resolve_notify_url(None, "coreviz_test") == f"https://{host}.example.com/x"
    assert resolve_notify_url("https://a.example.com/x", "coreviz_test") == "https://a.example.com/x"


def test_a_webhook_over_https_needs_a_trusted_certificate_and_one_that_is_silent_delays_a_run_by_its_limit(
    hook, tmp_path, monkeypatch
):
    notices = [Notice("d-1", "new_field", "media.rating", datetime(2026, 1, 5, 10))]
    pem = certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    hook.server.socket = context.wrap_socket(hook.server.socket, server_side=True)
    webhook = Webhook(hook.url.replace("http://127.0.0.1", "https://localhost"))
    assert webhook.send("run-1", notices) == "it could not be reached (SSLError)"
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(pem))
    assert webhook.send("run-1", notices) == ""
    assert (len(hook.take()), hook.paths) == (1, [f"/services/{SECRET}?token={SECRET}"])
    monkeypatch.setattr("coreviz_source.webhook.SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/{SECRET}"
        began = time.monotonic()
        assert Webhook(address).send("run-1", notices).startswith("it did not respond within")
        assert 0.4 <= time.monotonic() - began < 5


def test_slack_gets_its_own_form():
    notice = Notice("d-1", "new_field", "media.<b>&", datetime(2026, 1, 5, 10))
    assert Webhook("https://hooks.slack.com/services/x")._body("run-1", [notice]) == {
        "text": "CoreViz sync, run run-1\ndataset d-1: since 2026-01-05 10:00 UTC the field media.&lt;b&gt;&amp; is new"
    }


def test_a_plain_run_writes_no_notice(pipeline):
    library = frozen(20)
    with Studio(library) as studio:
        first_sync(pipeline, studio)
        library.advance(hours=1)
        with library.changing(media_of(library)[0]["id"]) as item:
            item["rating"] = 1
        run(pipeline, studio)
        assert stored(pipeline) == []
        # the next sync does not report what is older than it
        library.advance(hours=1)
        assert run_sync(pipeline, studio).notices == []


def metrics_of(status: Status) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    families = list(text_string_to_metric_families(prometheus(status)))
    assert all(family.documentation and family.type == "gauge" for family in families)
    assert len({family.name for family in families}) == len(families)
    return {f.name: {tuple(sorted(s.labels.items())): s.value for s in f.samples} for f in families}


def test_the_metrics_are_those_of_the_status_in_a_form_that_prometheus_reads(pipeline):
    library = frozen(40, datasets=2)
    first, second = library.datasets
    with Studio(library) as studio:
        first_sync(pipeline, studio)
        library.advance(hours=1)
        with library.changing(media_of(library, first)[0]["id"]) as item:
            item["rating"] = 1
        library.delete(media_of(library, first)[1]["id"])
        run_sync(pipeline, studio)
        status = read_status(pipeline, library.clock(), timedelta(minutes=30), api_key=None)
    found = metrics_of(status)
    one = (("dataset_id", first),)
    moment = library.clock().timestamp()
    assert found["coreviz_last_run_timestamp_seconds"] == {one: moment, (("dataset_id", second),): moment}
    assert found["coreviz_last_good_run_timestamp_seconds"][one] == moment
    assert found["coreviz_last_complete_run_timestamp_seconds"][one] == moment - 3600
    assert found["coreviz_last_run_success"][one] == 1
    assert found["coreviz_stale"] == {one: 0, (("dataset_id", second),): 0}
    assert found["coreviz_media"][one] == status.datasets[[d.dataset_id for d in status.datasets].index(first)].media
    changes = {dict(k)["change"]: v for k, v in found["coreviz_last_run_items"].items() if ("dataset_id", first) in k}
    assert (changes["new"], changes["changed"], changes["deleted"]) == (0, 1, 1)
    kinds = {dict(k)["kind"]: v for k, v in found["coreviz_open_notices"].items() if ("dataset_id", first) in k}
    assert kinds == {**dict.fromkeys(KINDS, 0), "new_field": 1}
    rows = {dict(k)["table"]: v for k, v in found["coreviz_rows"].items() if ("dataset_id", first) in k}
    assert rows == next(d.rows for d in status.datasets if d.dataset_id == first)
    odd = Status("", "", "", 0, datasets=[DatasetStatus('a "quoted" \\ id\n', media=3)])
    assert metrics_of(odd)["coreviz_media"] == {(("dataset_id", 'a "quoted" \\ id\n'),): 3}


def test_a_file_of_metrics_is_replaced_as_a_whole_and_the_exit_code_stays(tmp_path):
    database = {"DESTINATION__DUCKDB__CREDENTIALS": str(tmp_path / "coreviz_library.duckdb")}
    file = tmp_path / "coreviz.prom"
    file.write_text("old")
    line = ["status", "--format", "prometheus", "--max-age", "1d"]
    done = CliRunner().invoke(main, [*line, "--output", str(file)], env=database)
    assert (done.exit_code, done.stdout) == (8, "")
    assert "coreviz_pending_packages 0\n" in file.read_text()
    assert CliRunner().invoke(main, line, env=database).stdout == file.read_text()
    assert [path.name for path in tmp_path.glob(".coreviz*")] == []
    gone = CliRunner().invoke(main, [*line, "--output", str(tmp_path / "missing" / "x.prom")], env=database)
    assert (gone.exit_code, "cannot be written: No such file" in gone.stderr) == (2, True)
    for wrong in (["--json", "--format", "prometheus"], ["--output", "x"]):
        assert CliRunner().invoke(main, ["status", *wrong], env=database).exit_code == 2


def test_every_metric_that_the_dashboard_queries_exists():
    dashboard = json.loads((ROOT / "docs" / "grafana.json").read_text())
    status = Status("", "", "", 0, max_age=1.0)
    now = Library.generate(1, 1).clock()
    dataset = DatasetStatus("d", outcome="complete", last_run=now, last_good=now, last_complete=now, rows={"media": 1})
    dataset.counts = dict.fromkeys(("new", "changed", "gone", "unchanged", "requests", "retries"), 1)
    status.datasets.append(dataset)
    known = metrics_of(status).keys()
    queried = {
        name
        for panel in dashboard["panels"]
        for target in panel.get("targets", ())
        for name in re.findall(r"\bcoreviz_\w+", target["expr"])
    }
    variables = {name for v in dashboard["templating"]["list"] for name in re.findall(r"coreviz_\w+", str(v["query"]))}
    assert variables | queried <= known
    assert known - queried == {"coreviz_build_info"}


def test_the_commands_and_the_sql_of_the_page_work(pipeline, tmp_path):
    page = ROOT / "docs" / "notices.md"
    lines = [line for block in blocks(page, "sh") for line in block.splitlines()]
    with Studio(frozen(12)) as studio:
        for line in lines:
            setting, _, rest = line.rpartition("coreviz-source ")
            variables = dict(one.split("=", 1) for one in setting.split())
            done = CliRunner().invoke(main, rest.split(), env={**environment(studio), **variables})
            assert done.exit_code == 0, done.output
    assert "coreviz_media{" in Path("coreviz.prom").read_text()
    (sql,) = blocks(page, "sql")
    with duckdb.connect("coreviz_library.duckdb") as database:
        assert database.execute(sql).fetchall() == []
    explained = set(re.findall(r"^\| `(\w+)` \|", page.read_text(), re.MULTILINE))
    assert explained == set(KINDS)
