"""What the dashboard asks the warehouse: answers equal to the truth on DuckDB and Postgres, and nothing but reading."""

from __future__ import annotations

import inspect
import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import dlt
import pytest
import sqlglot
from click.testing import CliRunner
from dlt.common.typing import DictStrAny
from sqlglot.optimizer.qualify import qualify

from coreviz_source import coreviz, sync
from coreviz_source.cli import main
from coreviz_source.dashboard import queries
from coreviz_source.dashboard.folders import folder_tree
from coreviz_source.dashboard.head import fresh
from coreviz_source.dashboard.history import changes, words
from coreviz_source.dashboard.outlines import outline
from coreviz_source.dashboard.queries import LATENCIES, SORTS, Cursor, Filters
from coreviz_source.dashboard.runs import duration
from coreviz_source.dashboard.warehouse import READ, NothingLoadedError, Reader, Warehouse, rendered
from coreviz_source.errors import BusyError
from coreviz_source.local_studio import Library, Studio
from coreviz_source.warehouse.search import parse
from tests.bigquery import BigQuery
from tests.postgres import Postgres

Item = dict[str, Any]


def media(library: Library) -> list[Item]:
    listed = [i for d in library.datasets for i in library.listing(d) if i["type"] != "folder"]
    return sorted(listed, key=lambda i: (i["createdAt"] or "", i["id"]), reverse=True)


def captions(item: Item) -> list[Item]:
    return [caption for frame in item["frames"] for caption in frame["captions"]]


@pytest.fixture(scope="module")
def library() -> Library:
    library = Library.generate(70, datasets=2, every=86400)
    items = [item for item in media(library) if captions(item)]
    # what a LIKE would take for a wildcard, a quote, and a backslash
    captions(items[3])[0]["text"] = "100%_sure it's \\ RED"
    for item in items[5:9]:
        later = datetime.fromisoformat(item["createdAt"].replace("Z", "+00:00")) + timedelta(minutes=4)
        for caption in captions(item):
            caption["createdAt"] = later.isoformat()
    next(item for item in items[10:] if item["type"] == "image")["createdAt"] = None
    for item in items:
        library.touched(item["id"])
    return library


def rewritten(library: Library) -> list[Item]:
    """The media items whose first caption was another one in the first load."""
    return [item for item in media(library)[10:] if item["type"] == "image" and captions(item)][:2]


@contextmanager
def said_before(library: Library, media_id: str, keep_id: bool) -> Iterator[None]:
    """Another caption in place of the first one while a block runs."""
    listed = library.media(media_id)["frames"][0]["captions"]
    kept, listed[0] = listed[0], dict(listed[0])
    library.recaption(media_id, "Said before.", frame=0, keep_id=keep_id)
    yield
    listed[0] = kept
    library.touched(media_id)


@pytest.fixture(scope="module", params=["duckdb", "postgres", "bigquery"])
def warehouse(
    request: pytest.FixtureRequest, library: Library, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Warehouse]:
    directory = tmp_path_factory.mktemp("reads")

    def loaded(destination: Any) -> Warehouse:
        pipeline = dlt.pipeline(
            "reads", destination=destination, dataset_name="coreviz", pipelines_dir=str(directory / "pipelines")
        )
        given = {"dataset_ids": list(library.datasets), "history": True, "reconcile_every": "0"}
        one, two = rewritten(library)
        with Studio(library) as studio:
            with said_before(library, one["id"], keep_id=True), said_before(library, two["id"], keep_id=False):
                assert sync(pipeline, **given, base_url=studio.url, api_key=studio.key).exit_code == 0
            report = sync(pipeline, **given, base_url=studio.url, api_key=studio.key)
        assert report.exit_code == 0, report.to_json()
        return Warehouse(pipeline)

    if request.param == "duckdb":
        yield loaded(dlt.destinations.duckdb(str(directory / "library.duckdb")))
    elif request.param == "postgres":
        with Postgres() as server:
            yield loaded(dlt.destinations.postgres(server.url))
    else:
        with BigQuery() as service, pytest.MonkeyPatch.context() as patch:
            patch.setenv("BIGQUERY_EMULATOR_HOST", service.url)
            patch.setenv("NO_GCE_CHECK", "true")
            patch.setenv("LOAD__TRUNCATE_STAGING_DATASET", "true")
            yield loaded(dlt.destinations.bigquery(credentials=service.credentials()))


@pytest.fixture
def reader(warehouse: Warehouse) -> Iterator[Reader]:
    with warehouse.opened() as reader:
        yield reader


def ids(rows: list[Item]) -> list[str]:
    return [row["id"] for row in rows]


def test_pages_of_the_gallery_hold_every_media_once_newest_first(
    reader: Reader, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queries, "PAGE", 9)
    found: list[Item] = []
    while page := queries.gallery(reader, Filters(), Cursor.of(found[-1]) if found else None):
        found += page
    expected = media(library)
    assert ids(found) == ids(expected)
    for row, item in zip(found, expected, strict=True):
        # the first caption with its frame; without any, the first frame, or the image itself
        said = next((frame for frame in item["frames"] if frame["captions"]), None)
        still = [frame["blob"] for frame in ([said] if said else item["frames"][:1])]
        still = still or [item["blob"] if item["type"] == "image" else ""]
        assert (row["picture"] or "").endswith(still[0]) and bool(row["picture"]) == bool(still[0])
        assert row["caption"] == (said and said["captions"][0]["text"])
        assert (row["captions"] or 0) == len(captions(item))


@pytest.mark.parametrize("sort", SORTS)
def test_in_every_order_pages_and_neighbours_are_those_of_the_sorted_library(
    reader: Reader, library: Library, monkeypatch: pytest.MonkeyPatch, sort: str
) -> None:
    keys: dict[str, Any] = {
        "newest": lambda i: i["createdAt"],
        "oldest": lambda i: i["createdAt"],
        "name": lambda i: i["name"].rpartition("/")[2].lower(),
        "largest": lambda i: i["sizeBytes"],
    }
    falling = SORTS[sort][1]
    valued = [i for i in media(library) if keys[sort](i) is not None]
    expected = sorted(valued, key=lambda i: (keys[sort](i), i["id"]), reverse=falling)
    expected += [i for i in media(library) if keys[sort](i) is None]
    monkeypatch.setattr(queries, "PAGE", 23)
    filters, found = Filters(sort=sort), list[Item]()
    while page := queries.gallery(reader, filters, Cursor.of(found[-1]) if found else None):
        found += page
    assert ids(found) == ids(expected)
    for place in (0, 1, 40, len(expected) - 2, len(expected) - 1):
        beside = queries.neighbours(reader, filters, expected[place]["datasetId"], expected[place]["id"])
        around = [None, *ids(expected), None][place : place + 3]
        assert [row and row["id"] for row in beside.values()] == [around[0], around[2]]
    assert queries.neighbours(reader, filters, "nowhere", "nothing") == {"previous": None, "next": None}


def test_a_file_holds_the_lines_of_the_gallery(reader: Reader, library: Library) -> None:
    filters = Filters(terms=parse("the red"), sort="oldest")
    rows = queries.exported(reader, filters)
    assert ids([{"id": row["media_id"]} for row in rows]) == ids(queries.gallery(reader, filters)) != []
    shown = {row["id"]: row for row in queries.gallery(reader, filters)}
    for row in rows:
        assert row["caption"] == shown[row["media_id"]]["caption"]
        item = next(item for item in media(library) if item["id"] == row["media_id"])
        assert (row["name"], row["size_bytes"], row["type"]) == (item["name"], item["sizeBytes"], item["type"])
        assert row["dataset"] == library.dataset(item["datasetId"]).info["name"]


def test_search_and_filters_find_what_the_library_holds(reader: Reader, library: Library) -> None:
    def found(**filters: Any) -> list[str]:
        chosen = Filters(**filters)
        rows = queries.gallery(reader, chosen)
        assert queries.count(reader, chosen) == len(rows) or len(rows) == queries.PAGE
        return ids(rows)

    def expected(keep: Any) -> list[str]:
        return ids([item for item in media(library) if keep(item)])[: queries.PAGE]

    def waited(item: Item) -> timedelta:
        first = min(caption["createdAt"] for caption in captions(item))
        return datetime.fromisoformat(first.replace("Z", "+00:00")) - datetime.fromisoformat(
            item["createdAt"].replace("Z", "+00:00")
        )

    def mentions(item: Item, *words: str) -> bool:
        texts = [c["text"] for c in captions(item)] + [f.get("text") or "" for f in item["frames"]]
        texts.append(item["name"].rpartition("/")[2])
        return any(all(re.search(rf"(?i)(?<!\w){re.escape(w)}(?!\w)", text) for w in words) for text in texts)

    assert found(terms=parse("The RED")) == expected(lambda i: mentions(i, "the", "red")) != []
    assert found(terms=parse("100%_sure it's \\")) == expected(lambda i: mentions(i, "100%_sure")) != []
    assert found(terms=parse('"page 2"')) == expected(lambda i: mentions(i, "page 2")) != []
    assert found(terms=parse("entities")) == []
    red = expected(lambda i: mentions(i, "the") and not mentions(i, "red"))
    assert found(terms=parse("the -red")) == red != []
    dataset = list(library.datasets)[1]
    assert found(dataset=dataset, kind="video") == expected(
        lambda i: i["datasetId"] == dataset and i["type"] == "video"
    )
    tag = next((g, v[0]) for i in media(library) for g, v in i["metadata"]["tags"].items())
    assert found(tag=tag) == expected(lambda i: tag[1] in i["metadata"]["tags"].get(tag[0], [])) != []
    label = next(o["label"] for i in media(library) for f in i["frames"] for o in f["objects"])
    assert found(label=label) == expected(lambda i: any(o["label"] == label for f in i["frames"] for o in f["objects"]))
    model = captions(next(i for i in media(library) if captions(i)))[0]["model"]
    written = expected(lambda i: any(c["model"] == model for c in captions(i)))
    assert found(model=model) == written != found() and written
    assert found(waited=-1) == expected(lambda i: not captions(i)) != []
    within = timedelta(minutes=1), timedelta(minutes=5)
    late = expected(lambda i: i["createdAt"] and captions(i) and within[0] <= waited(i) < within[1])
    assert found(waited=2) == late != []
    charted = {row["place"]: row["media"] for row in queries.latency(reader)}
    for place in range(len(LATENCIES) + 1):
        assert queries.count(reader, Filters(waited=place)) == charted.get(place, 0)
    pending = expected(lambda i: i["metadata"]["moderation"]["status"] == "pending")
    assert found(moderation="pending") == pending != []
    since, until = date(2026, 1, 20), date(2026, 1, 25)
    inside = expected(lambda i: str(since) <= (i["createdAt"] or "")[:10] < str(until))
    assert found(since=since, until=until) == inside != []


def test_one_media_comes_with_all_that_belongs_to_it(reader: Reader, library: Library) -> None:
    for item in (
        next(i for i in media(library) if i["type"] == kind and i["frames"]) for kind in ("video", "pdf", "image")
    ):
        found = queries.media(reader, item["datasetId"], item["id"])
        assert found is not None
        assert ids(found["frames"]) == ids(item["frames"])
        assert Counter(row["text"] for row in found["captions"]) == Counter(c["text"] for c in captions(item))
        places = {row["label"]: outline(row["polygon"], 640, 400) for row in found["objects"]}
        objects = [o for frame in item["frames"] for o in frame["objects"]]
        assert set(places) == {o["label"] for o in objects} and all(places.values())
        assert len(found["objects"]) == len(objects)
        tags = [(row["tag_group"], row["tag"]) for row in found["tags"]]
        assert sorted(tags) == sorted((g, v) for g, values in item["metadata"]["tags"].items() for v in values)
    assert queries.media(reader, "nowhere", "nothing") is None


def test_the_captions_of_a_media_item_over_time_are_what_the_runs_saw(reader: Reader, library: Library) -> None:
    for item in rewritten(library):
        (frame,) = item["frames"]
        found = changes(queries.caption_versions(reader, item["datasetId"], item["id"]))
        change, *added = found[frame["id"]]
        assert (change["what"], change["words"][-1]) == ("Changed", ("ins", captions(item)[0]["text"]))
        assert [entry["what"] for entry in added] == ["Added"] * len(captions(item))
        assert [("", "Said before.")] in [entry["words"] for entry in added]
    other = media(library)[0]
    assert changes(queries.caption_versions(reader, other["datasetId"], other["id"])) == {}


def test_charts_count_what_the_library_holds(reader: Reader, library: Library) -> None:
    items = media(library)
    totals = queries.totals(reader)
    assert totals["media"] == len(items)
    assert totals["captions"] == sum(len(captions(item)) for item in items)
    labels = Counter(o["label"] for i in items for f in i["frames"] for o in f["objects"])
    assert totals["objects"] == sum(labels.values())
    assert {row["label"]: row["objects"] for row in queries.top_labels(reader, most=999)} == labels
    tags = Counter((g, v) for i in items for g, values in i["metadata"]["tags"].items() for v in values)
    assert {(row["tag_group"], row["tag"]): row["media"] for row in queries.top_tags(reader, most=999)} == tags
    days = Counter((i["createdAt"][:10], i["datasetId"]) for i in items if i["createdAt"])
    grown = {(row["start"].strftime("%Y-%m-%d"), row["dataset_id"]): row["media"] for row in queries.growth(reader)}
    assert grown == days
    waiting = Counter(i["datasetId"] for i in items if not captions(i))
    assert {r["dataset_id"]: r["waiting"] for r in queries.backlog(reader) if r["waiting"]} == waiting
    latency: Counter[int] = Counter()
    for item in items:
        dated = [datetime.fromisoformat(c["createdAt"].replace("Z", "+00:00")) for c in captions(item)]
        if item["createdAt"] and dated:
            seconds = (min(dated) - datetime.fromisoformat(item["createdAt"].replace("Z", "+00:00"))).total_seconds()
            latency[sum(seconds >= most for most in queries.LATENCIES)] += 1
    assert {row["place"]: row["media"] for row in queries.latency(reader)} == latency and {0, 1, 2} <= latency.keys()
    one = next(iter(library.datasets))
    assert queries.totals(reader, one)["media"] == sum(item["datasetId"] == one for item in items)
    assert {row["dataset_id"] for row in queries.growth(reader, one)} == {one}


def test_growth_of_a_long_time_is_counted_by_weeks_that_begin_on_monday(
    reader: Reader, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queries, "DAILY", 0)
    weeks: Counter[str] = Counter()
    for item in media(library):
        if item["createdAt"]:
            day = datetime.fromisoformat(item["createdAt"].replace("Z", "+00:00"))
            weeks[(day - timedelta(days=day.weekday())).strftime("%Y-%m-%d")] += 1
    found: Counter[str] = Counter()
    for row in queries.growth(reader):
        found[row["start"].astimezone(timezone.utc).strftime("%Y-%m-%d")] += row["media"]
    assert found == weeks and len(weeks) > 2


def test_runs_say_how_fresh_each_dataset_is(reader: Reader, library: Library) -> None:
    fresh = queries.freshness(reader)
    assert {row["dataset_id"] for row in fresh} == set(library.datasets)
    assert all(row["outcome"] == "complete" and row["last_complete"] == row["last_run"] for row in fresh)
    listed = {row["dataset_id"]: row["listed"] for row in queries.runs(reader)}
    assert listed == {d: len(library.listing(d)) for d in library.datasets}
    for row in queries.runs(reader):
        assert row["outcome"] == "complete" and row["loaded_at"] >= row["started_at"] - timedelta(seconds=1)


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM media WHERE TRUE",
        "INSERT INTO media (id) VALUES ('x')",
        "DROP TABLE media",
        "SELECT 1; DELETE FROM media WHERE TRUE",
        "CREATE TABLE x AS SELECT 1 AS y",
        "MERGE INTO media USING media m ON FALSE WHEN NOT MATCHED THEN INSERT ROW",
        "EXECUTE IMMEDIATE 'DROP TABLE media'",
    ],
)
def test_only_a_select_reaches_the_warehouse(reader: Reader, sql: str) -> None:
    with pytest.raises((ValueError, sqlglot.errors.ParseError)):
        reader.rows(sql)


def test_database_itself_refuses_to_write(warehouse: Warehouse, reader: Reader) -> None:
    if reader._client.config.destination_type == "bigquery":
        pytest.skip("BigQuery has no session that only reads: there the SELECT alone has to do")
    table = reader._client.sql_client.make_qualified_table_name("media")
    for statement in (
        f"DELETE FROM {table}",
        f'CREATE TABLE {table[:-1]}_2" (x INT)',
        f"UPDATE {table} SET name = 'x'",
    ):
        with pytest.raises(Exception, match=r"read-only"):
            reader._client.sql_client.execute_sql(statement)
    assert queries.totals(reader)["media"] == 70


def test_every_question_is_one_select_of_declared_columns_for_bigquery() -> None:
    """No BigQuery is asked: every query is written in its dialect, and qualified against the declared tables."""
    asked: list[str] = []

    class Recorder(Reader):
        def __init__(self) -> None:
            pass

        def rows(self, sql: str, **values: Any) -> list[DictStrAny]:
            asked.append(sql)
            values = dict.fromkeys(("n", "media", "sort_key"), 1) | dict.fromkeys(
                ("newest", "oldest"), datetime.now(timezone.utc)
            )
            return [values | dict.fromkeys(("id", "dataset_id", "media_id", "type", "blob"), "a")]

    everything = Filters(
        parse("a -b"), "b", "c", "d", ("e", "f"), "g", date.today(), date.today(), "h", ("i", "j"), "k", 2
    )
    arguments = {"filters": everything, "dataset": "x", "dataset_id": "x", "media_id": "y"}
    for name, question in inspect.getmembers(queries, inspect.isfunction):
        if question.__module__ == queries.__name__ and not name.startswith("_"):
            taken = {k: v for k, v in arguments.items() if k in inspect.signature(question).parameters}
            question(Recorder(), **taken)
    queries.gallery(Recorder(), everything, Cursor(datetime.now(timezone.utc), "z"))
    queries.gallery(Recorder(), everything, Cursor(None, "z"))
    queries.gallery(Recorder(), Filters(waited=-1, sort="name"))
    assert len(asked) > 20
    schema = {
        table.name: {column.name: "STRING" for column in table.columns} | {"_dlt_load_id": "STRING"}
        for table in READ.values()
    }
    places = tuple((name, ("project", "coreviz", name)) for name in READ)
    for sql in asked:
        qualify(sqlglot.parse_one(sql, read="bigquery"), schema=schema, dialect="bigquery")
        statement, names = rendered(sql, "bigquery", places)
        assert statement.count("%s") == len(names) and "@" not in statement
        assert "`project`.`coreviz`." in statement


def test_tables_that_are_not_there_count_as_empty(tmp_path: Path) -> None:
    path = tmp_path / "library.duckdb"
    destination = dlt.destinations.duckdb(str(path))
    pipeline = dlt.pipeline("some", destination=destination, dataset_name="coreviz", pipelines_dir=str(tmp_path))
    library = Library.generate(9)
    with Studio(library) as studio:
        source = coreviz(base_url=studio.url, api_key=studio.key, dataset_ids=list(library.datasets))
        pipeline.run(source.with_resources("media"))
    with Warehouse(pipeline).opened() as reader:
        assert len(queries.gallery(reader, Filters())) == 9
        assert queries.gallery(reader, Filters(label="x", tag=("a", "b"), terms=parse("shoe"))) == []
        assert queries.choices(reader)["tag"] == queries.latency(reader) == []
        assert sum(row["waiting"] for row in queries.backlog(reader)) == 9


def test_history_that_is_switched_on_appears_in_a_dashboard_that_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    destination = dlt.destinations.duckdb(str(tmp_path / "library.duckdb"))
    pipeline = dlt.pipeline("some", destination=destination, dataset_name="coreviz", pipelines_dir=str(tmp_path))
    library = Library.generate(9)
    item = next(item for item in media(library) if captions(item))
    warehouse = Warehouse(pipeline)
    with Studio(library) as studio:
        for history in (False, True):
            given = {"dataset_ids": list(library.datasets), "history": history, "reconcile_every": "0"}
            assert sync(pipeline, **given, base_url=studio.url, api_key=studio.key).exit_code == 0
            with warehouse.opened() as reader:
                assert queries.caption_versions(reader, item["datasetId"], item["id"]) == []
    monkeypatch.setattr("coreviz_source.dashboard.warehouse.RECHECK", 0.0)
    with warehouse.opened() as reader:
        assert len(queries.caption_versions(reader, item["datasetId"], item["id"])) == len(captions(item))


def test_nothing_loaded_and_a_load_that_writes_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "library.duckdb"
    destination = dlt.destinations.duckdb(str(path))
    warehouse = Warehouse(
        dlt.pipeline("none", destination=destination, dataset_name="coreviz", pipelines_dir=str(tmp_path))
    )
    with (
        pytest.raises(NothingLoadedError, match=r"Nothing has been loaded yet.*coreviz-source sync"),
        warehouse.opened(),
    ):
        pass
    assert not path.exists(), "looking made a file"
    held = f"import duckdb, sys; c = duckdb.connect({str(path)!r}); print(1, flush=True); sys.stdin.read()"
    writer = subprocess.Popen([sys.executable, "-c", held], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert writer.stdout is not None and writer.stdout.readline()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("coreviz_source.dashboard.warehouse.PATIENCE", 0.2)
            with pytest.raises(BusyError), warehouse.opened():
                pass
    finally:
        writer.communicate()
    with pytest.raises(NothingLoadedError), warehouse.opened():
        pass


def test_the_head_of_a_page_names_failures_and_datasets_that_are_behind() -> None:
    now = datetime(2026, 3, 10, 12, tzinfo=timezone.utc)

    def row(name: str, age: timedelta, outcome: str) -> queries.Row:
        return {"dataset_id": name, "dataset_name": name, "last_run": now - age, "outcome": outcome}

    good = [row("<b>", timedelta(minutes=5), "complete"), row("two", timedelta(minutes=6), "window")]
    assert fresh(good, now) == "last run 2026-03-10 11:55 UTC (5 min ago)"
    assert fresh([], now) == "no run yet"
    old = row("<old>", timedelta(days=3), "complete")
    assert fresh([*good, old], now) == "last run 2026-03-10 11:55 UTC (5 min ago), of &lt;old&gt; 3 d ago"
    bad = row("bad", timedelta(minutes=5), "interrupted")
    assert fresh([*good, bad], now).endswith('<span class="cv-bad">bad: last run interrupted</span>')
    failed = row("worse", timedelta(minutes=5), "failed")
    assert fresh([*good, bad, failed], now).endswith(">2 of 4 datasets: last runs not complete</span>")
    # a database without zones stores UTC
    assert (
        fresh([{**good[0], "last_run": datetime(2026, 3, 10, 11)}], now) == "last run 2026-03-10 11:00 UTC (60 min ago)"
    )
    assert duration(now, now + timedelta(seconds=3700)) == "1 h 1 min"
    assert duration(now, now + timedelta(seconds=61)) == "1 min 1 s"
    assert duration(now, None) == duration(now, now - timedelta(seconds=1)) == ""


def test_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "streamlit", None)
    result = CliRunner().invoke(main, ["dashboard"])
    assert result.exit_code == 2 and "[dashboard]'" in result.output


CORNERS = [{"x": 64, "y": 40}, {"x": 320.0, "y": 40}, {"x": 320, "y": 200, "z": 1}]


@pytest.mark.parametrize(
    ("polygon", "expected"),
    [
        (CORNERS, [(0.1, 0.1), (0.5, 0.1), (0.5, 0.5)]),
        (json.dumps(CORNERS), [(0.1, 0.1), (0.5, 0.1), (0.5, 0.5)]),
        ([{"x": -64, "y": 0}, {"x": 700, "y": 0}, {"x": 0, "y": 500}], [(0, 0), (1, 0), (0, 1)]),
        # a line, a point, and what is beside the picture
        ([{"x": 64, "y": 40}, {"x": 64, "y": 200}], None),
        ([{"x": 64, "y": 40}], None),
        ([{"x": 650, "y": 40}, {"x": 700, "y": 40}, {"x": 700, "y": 90}], None),
    ],
)
def test_an_outline_is_the_polygon_in_shares_of_the_picture(polygon: Any, expected: Any) -> None:
    found = outline(polygon, 640, 400)
    assert found == (expected and [pytest.approx(corner) for corner in expected])
    for size in ((None, 400), (640, None), (0, 400), (640, -1)):
        assert outline(polygon, *size) is None


def test_folders_have_full_names_and_all_that_is_below_them() -> None:
    def row(item_id: str, parent: str | None, name: str | None = None, dataset: str = "d") -> queries.Row:
        return {"dataset_id": dataset, "id": item_id, "parent_id": parent, "name": name}

    rows = [row("b", "a", "Week 1"), row("a", None, "Spring"), row("c", "b"), row("lost", "nowhere", "Lost")]
    rows += [row("x", "z", "X"), row("y", "x", "Y"), row("z", "y", "Z"), row("self", "self", "Self")]
    rows += [row("a", None, "Other", "e"), row("under", "x", "Under")]
    found = {key: (folder.full_name, set(folder.ids)) for key, folder in folder_tree(rows).items()}
    assert list(found) == [*("d.lost", "e.a", "d.self", "d.a", "d.b", "d.c", "d.under", "d.x", "d.y", "d.z")]
    assert found == {
        "d.a": ("Spring", {"a", "b", "c"}),
        "d.b": ("Spring/Week 1", {"b", "c"}),
        "d.c": ("Spring/Week 1/c", {"c"}),
        "d.lost": ("Lost", {"lost"}),
        "e.a": ("Other", {"a"}),
        # in a circle, and below one
        **{f"d.{name.lower()}": (name, {name.lower()}) for name in ("X", "Y", "Z", "Self", "Under")},
    }


def test_the_folder_filter_finds_what_is_in_the_folder_and_below_it(reader: Reader, library: Library) -> None:
    tree = folder_tree(queries.folders(reader))
    items = media(library)
    assert len(tree) == sum(i["type"] == "folder" for d in library.datasets for i in library.listing(d))
    sizes = []
    for key, folder in tree.items():
        dataset, label = (part.replace("-", "") for part in key.split("."))
        inside = [i for i in items if i["path"].startswith(f"{dataset}.") and label in i["path"].split(".")[:-1]]
        filters = queries.Filters(folder_dataset=folder.dataset_id, folders=folder.ids)
        assert queries.count(reader, filters) == len(inside)
        shown = queries.gallery(reader, filters)
        assert sorted(row["id"] for row in shown) == sorted(i["id"] for i in inside)[: queries.PAGE]
        sizes.append(len(folder.ids))
    assert max(sizes) > 1


def version(item_id: str, text: str | None, begins: int, ends: int | None, **other: Any) -> Item:
    start = datetime(2026, 1, 1, tzinfo=timezone.utc)
    times = [None if hours is None else start + timedelta(hours=hours) for hours in (begins, ends)]
    row = {"frame_id": "f", "id": item_id, "text": text, "model": "one", "change": "added"}
    return {**row, "valid_from": times[0], "valid_to": times[1], **other}


def test_captions_over_time_mark_the_words_that_differ_and_pair_what_replaced_each_other() -> None:
    found = changes(
        [
            version("c", "A red shoe on a table.", 2, 5, change="changed", model="two"),
            version("c", "A red shoe.", 0, 2),
            version("b", "Another caption of the frame.", 0, 3),
            version("d", "Nothing like it, in any word!", 5, None),
            version("e", "Said again.", 6, None, change="returned"),
            # these changed nothing that is shown: a status, and captions that only appeared
            version("g", "Stays.", 0, 4, frame_id="g"),
            version("g", "Stays.", 4, None, frame_id="g", change="changed"),
            version("h", "Late.", 3, None, frame_id="g"),
        ]
    )
    assert found.keys() == {"f"}
    said = [(entry["at"][11:16], entry["what"], entry["by"], entry["words"]) for entry in found["f"]]
    assert said == [
        ("06:00", "Returned", "one", [("", "Said again.")]),
        (
            *("05:00", "Changed", "one, before two"),
            [("del", "A red shoe on a table."), ("", "\n"), ("ins", "Nothing like it, in any word!")],
        ),
        ("03:00", "Removed", "one", [("del", "Another caption of the frame.")]),
        (
            *("02:00", "Changed", "two, before one"),
            [("", "A red"), ("", " "), ("del", "shoe."), ("", " "), ("ins", "shoe on a table.")],
        ),
        ("00:00", "Added", "one", [("", "Another caption of the frame.")]),
        ("00:00", "Added", "one", [("", "A red shoe.")]),
    ]


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("赤い靴です", "青い靴です", [("del", "赤"), ("ins", "青"), ("", "い靴です")]),
        ("", "New.", [("ins", "New.")]),
        ("Old.", "", [("del", "Old.")]),
        ("a b  c", "a c", [("", "a"), ("", " "), ("del", "b"), ("", " c")]),
        # too long to be compared
        ("x " * 3000, "x " * 3000 + "y", [("del", "x " * 3000), ("", "\n"), ("ins", "x " * 3000 + "y")]),
    ],
)
def test_words_of_two_texts_are_those_of_both(before: str, after: str, expected: Any) -> None:
    assert words(before, after) == expected
