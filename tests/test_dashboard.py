"""The dashboard in a real browser, on the warehouse that the demo leaves behind, with hostile texts in it."""

from __future__ import annotations

import csv
import os
import re
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import dlt
import duckdb
import pytest
from selenium.webdriver import ActionChains, Keys
from selenium.webdriver.remote.webelement import WebElement

from coreviz_source import sync
from coreviz_source.dashboard import OPTIONS
from coreviz_source.dashboard.runs import NUMBERS, OUTCOMES
from coreviz_source.local_studio import Library, Studio
from tests.browser import Browser, browser, missing

#: Runs if any text of the warehouse is ever taken for HTML, in an element or in an attribute.
SCRIPT = "<script>window.hacked=1</script><img src=x onerror='window.hacked=2'>\"onmouseover=window.hacked=3 x=\""
MEDIA = 60


@dataclass
class Shown:
    page: Browser
    url: str
    port: int
    library: Library
    #: Id of the media whose texts are hostile: a video, the newest media of all.
    hostile: str

    def open(self, path: str = "/") -> Browser:
        self.page.open(self.url + path)
        self.page.settled()
        return self.page

    def media(self, words: tuple[str, ...] = ()) -> list[dict[str, Any]]:
        """The library's media, newest first, those whose captions hold the words."""
        listed = [i for d in self.library.datasets for i in self.library.listing(d) if i["type"] != "folder"]
        found = [
            i for i in listed if any(all(re.search(rf"(?i)\b{w}\b", c["text"]) for w in words) for c in captions(i))
        ]
        return sorted(found if words else listed, key=lambda i: (i["createdAt"], i["id"]), reverse=True)


def captions(item: dict[str, Any]) -> list[dict[str, Any]]:
    return [caption for frame in item["frames"] for caption in frame["captions"]]


def load_demo(directory: Path) -> tuple[Library, str]:
    """What `coreviz-source demo` leaves: a warehouse, and no Studio any more. One media gets hostile texts."""
    # spread over weeks; when something was created does not change what it is, so the demo's pictures are the same
    library = Library.generate(MEDIA, every=2 * 86400)
    with Studio(library) as studio:
        pipeline = dlt.pipeline(
            "coreviz_demo",
            destination=dlt.destinations.duckdb(str(directory / "coreviz_demo.duckdb")),
            dataset_name="coreviz",
            pipelines_dir=str(directory / "pipelines"),
        )
        given = {"dataset_ids": list(library.datasets), "history": True}
        report = sync(pipeline, **given, base_url=studio.url, api_key=studio.key)
    assert report.exit_code == 0, report.to_json()
    videos = [i for d in library.datasets for i in library.listing(d) if i["type"] == "video"]
    hostile = next(i for i in videos if captions(i) and any(f["objects"] for f in i["frames"]))["id"]
    with duckdb.connect(str(directory / "coreviz_demo.duckdb")) as database:
        for table, key, columns in (
            ("media", "id", ("name", "moderation_status")),
            ("captions", "media_id", ("text", "model")),
            ("caption_history", "media_id", ("text", "model")),
            ("objects", "media_id", ("label",)),
            ("frames", "media_id", ("text",)),
        ):
            for column in columns:
                database.execute(f"UPDATE coreviz.{table} SET {column} = ? WHERE {key} = ?", [SCRIPT, hostile])
        tag = [next(iter(library.datasets)), hostile, SCRIPT, SCRIPT]
        database.execute("DELETE FROM coreviz.media_tags WHERE media_id = ?", [hostile])
        database.execute(
            "INSERT INTO coreviz.media_tags (dataset_id, media_id, tag_group, tag) VALUES (?, ?, ?, ?)", tag
        )
        database.execute(
            """UPDATE coreviz.media SET blob = 'javascript:window.hacked=4', created_at = '2026-02-01 00:00:00Z',
            exif = json_object('tags', json_object('Model', $script)) WHERE id = $id""",
            {"script": SCRIPT, "id": hostile},
        )
        database.execute(
            """UPDATE coreviz.frames SET blob = 'data:text/html,' || $script,
            thumbnail_blob = 'javascript:window.hacked=5' WHERE media_id = $id""",
            {"script": SCRIPT, "id": hostile},
        )
        # each of its captions was changed an hour after it had been added
        database.execute(
            """INSERT INTO coreviz.caption_history BY NAME SELECT * REPLACE (text || ' Before.' AS text,
            valid_from - INTERVAL 1 HOUR AS valid_from, valid_from AS valid_to) FROM coreviz.caption_history
            WHERE media_id = ?""",
            [hostile],
        )
        # the datasets' names are in fields, charts and tables
        database.execute("UPDATE coreviz.datasets SET name = ? || name", [SCRIPT])
    return library, hostile


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    if (reason := missing()) is not None:
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    directory = tmp_path_factory.mktemp("dashboard")
    library, hostile = load_demo(directory)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "coreviz_source", "dashboard", "--demo", "--no-browser", "--port", str(port)]
    environment = {**os.environ, "HOME": str(directory), "DLT_DATA_DIR": str(directory / "dlt")}
    with (directory / "log").open("wb") as log:
        server = subprocess.Popen(command, cwd=directory, env=environment, stdout=log, stderr=log)
        try:
            with browser() as page:
                until = time.monotonic() + 30
                while True:
                    with socket.socket() as probe:
                        if probe.connect_ex(("127.0.0.1", port)) == 0:
                            break
                    assert server.poll() is None and time.monotonic() < until, (directory / "log").read_text()
                    time.sleep(0.1)
                yield Shown(page, f"http://127.0.0.1:{port}", port, library, hostile)
                page.watched()
                # Streamlit looks for itself below the page's address first
                problems = [problem for problem in page.problems if "/_stcore/" not in problem]
                assert not problems, "the page had errors"
                assert page.requests and not page.strangers(), "the page asked somebody outside"
        finally:
            server.terminate()
            server.wait(20)
        assert "Traceback" not in (directory / "log").read_text()


def cards(page: Browser) -> list[str]:
    return list(page.js("return [...document.querySelectorAll('.cv-card .cv-name')].map((e) => e.textContent)"))


def field(page: Browser, number: int) -> WebElement:
    """The filters in the sidebar: dataset, folder, type, tag, label, moderation."""
    return page.driver.find_elements("css selector", "[data-testid=stSidebar] [data-testid=stSelectbox] input")[number]


def names(items: list[dict[str, Any]]) -> list[str]:
    return [str(item["name"]).rpartition("/")[2] for item in items]


def test_gallery_shows_every_media_newest_first_with_pictures(shown: Shown) -> None:
    page = shown.open()
    page.until("document.querySelectorAll('.cv-card').length === 48")
    page.js("[...document.querySelectorAll('button')].find((b) => b.innerText === 'More').click()")
    page.until(f"document.querySelectorAll('.cv-card').length === {MEDIA}")
    rest = [item for item in shown.media() if item["id"] != shown.hostile]
    assert cards(page)[1:] == names(rest)
    page.js("document.querySelectorAll('.cv-card img').forEach((i) => { i.loading = 'eager' })")
    page.until("[...document.querySelectorAll('.cv-card img')].every((i) => i.complete && i.naturalWidth > 0)")
    pictured = page.js("return document.querySelectorAll('.cv-card img').length")
    assert pictured == sum(bool(item["frames"]) or item["type"] == "image" for item in rest)


def test_search_finds_captions_and_survives_a_look_at_one_of_them(shown: Shown) -> None:
    expected = names([i for i in shown.media(("the", "red")) if i["id"] != shown.hostile])
    assert 0 < len(expected) < 48
    page = shown.open()
    page.driver.find_element("css selector", "[data-testid=stTextInput] input").send_keys("RED the\n")
    page.until(f"document.querySelectorAll('.cv-card').length === {len(expected)}")
    assert cards(page) == expected
    marks = page.js(
        "return [...document.querySelector('.cv-caption').querySelectorAll('mark')].map((m) => m.innerText)"
    )
    assert {mark.lower() for mark in marks} == {"red", "the"}
    page.driver.find_element("css selector", ".cv-card").click()
    page.until("document.querySelector('.cv-media h2')")
    assert page.js("return document.querySelector('.cv-media h2').innerText") == expected[0]
    said = page.js("return document.querySelector('.cv-media blockquote p').innerText").lower()
    assert "red" in said and "the" in said, "it does not open at the frame that was found"
    page.driver.back()
    page.until(f"document.querySelectorAll('.cv-card').length === {len(expected)}")
    assert cards(page) == expected


def test_filter_narrows_and_stands_in_the_address(shown: Shown) -> None:
    page = shown.open()
    field(page, 2).click()
    page.until("[...document.querySelectorAll('[role=option]')].find((o) => o.innerText === 'video')")
    page.js("[...document.querySelectorAll('[role=option]')].find((o) => o.innerText === 'video').click()")
    expected = names([i for i in shown.media() if i["type"] == "video" and i["id"] != shown.hostile])
    page.until(f"document.querySelectorAll('.cv-card').length === {len(expected) + 1}")
    page.until("location.search === '?type=video'")
    assert cards(page)[1:] == expected
    first, last = (shown.media()[place]["createdAt"][:10] for place in (-15, 15))
    shown.open(f"/?from={first}&to={last}")
    expected = names([i for i in shown.media() if first <= i["createdAt"][:10] <= last and i["id"] != shown.hostile])
    assert 25 < len(expected) < 48
    page.until(f"document.querySelectorAll('.cv-card').length === {len(expected)}")
    assert cards(page) == expected
    shown.open("/?q=nothingofthiskind")
    page.until("document.body.innerText.includes('Nothing matches.')")


def test_the_folder_filter_shows_what_is_in_a_folder_and_below_it(shown: Shown) -> None:
    folders = [i for d in shown.library.datasets for i in shown.library.listing(d) if i["type"] == "folder"]
    (outer,) = [f for f in folders if f["name"] == folders[0]["name"] and f["datasetId"] == folders[0]["datasetId"]]

    def inside(item: dict[str, Any]) -> bool:
        return outer["id"].replace("-", "") in item["path"].split(".")[:-1] and item["id"] != shown.hostile

    expected = names([i for i in shown.media() if inside(i)])
    assert 0 < len(expected) < 48
    page = shown.open(f"/?dataset={outer['datasetId']}")
    page.until("document.querySelector('.cv-card')")

    def choose(number: int, label: str) -> None:
        field(page, number).click()
        wanted = f"[...document.querySelectorAll('[role=option]')].find((o) => o.innerText.endsWith('{label}'))"
        page.until(wanted)
        page.js(f"({wanted}).click()")

    choose(1, outer["name"])
    page.until(f"document.querySelectorAll('.cv-card').length === {len(expected)}")
    assert cards(page) == expected
    address = f"?dataset={outer['datasetId']}&folder={outer['datasetId']}.{outer['id']}"
    page.until(f"location.search === '{address}'")
    page.driver.refresh()
    page.until(f"document.querySelectorAll('.cv-card').length === {len(expected)}")
    # a choice of another dataset takes the folder back
    other = next(d for d in shown.library.datasets if d != outer["datasetId"])
    choose(0, str(shown.library.dataset(other).info["name"]))
    page.until(f"location.search === '?dataset={other}'")
    shown.open(f"/?folder={outer['datasetId']}.nowhere")
    page.until("document.querySelectorAll('.cv-card').length === 48")


def test_media_opens_with_outlines_on_every_frame(shown: Shown) -> None:
    videos = [i for i in shown.media() if i["type"] == "video" and i["id"] != shown.hostile]
    item = max(videos, key=lambda i: sum(len(frame["objects"]) for frame in i["frames"]))
    page = shown.open(f"/media?in={item['datasetId']}&media={item['id']}")
    page.until("document.querySelector('.cv-stage img')?.naturalWidth > 0")
    for number, frame in enumerate(item["frames"]):
        page.js("document.querySelectorAll('.cv-strip button')[arguments[0]].click()", number)
        page.until("document.querySelector('.cv-stage img')?.naturalWidth > 0")
        drawn = page.js(
            """const stage = document.querySelector('.cv-stage img').getBoundingClientRect();
            return [...document.querySelectorAll('.cv-found')].map((found) => {
              const line = found.querySelector('polygon');
              const at = line.getBoundingClientRect();
              return [found.innerText, line.points.numberOfItems, (at.x - stage.x) / stage.width,
                (at.y - stage.y) / stage.height, at.width / stage.width, at.height / stage.height];
            });"""
        )
        boxes = {}
        for thing in frame["objects"]:
            xs, ys = ([p[a] / frame[size] for p in thing["polygon"]] for a, size in (("x", "width"), ("y", "height")))
            edges = [min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)]
            boxes[thing["label"]] = [len(thing["polygon"]), *edges]
        assert {label: pytest.approx(place, abs=0.003) for label, *place in drawn} == boxes
        said = page.js("return [...document.querySelectorAll('blockquote p')].map((p) => p.textContent)")
        assert said == [caption["text"] for caption in frame["captions"]]
    ticks = page.js("return [...document.querySelectorAll('.cv-tick')].map((t) => parseFloat(t.style.left))")
    moments = [float(frame["timestamp"]) / item["duration"] * 100 for frame in item["frames"]]
    assert ticks == pytest.approx(moments, abs=0.001)


def test_charts_draw_and_runs_are_listed(shown: Shown) -> None:
    page = shown.open("/charts")
    page.until("document.querySelectorAll('[data-testid=stVegaLiteChart] svg').length === 2")
    page.until("document.querySelectorAll('.cv-bars').length === 4")
    page.until(
        "[...document.querySelectorAll('[data-testid=stVegaLiteChart] svg')]"
        ".every((svg) => svg.querySelectorAll('.mark-rect path, .mark-area path').length > 0)"
    )
    # the numbers of the bars, in the order of the page: time until the first caption, labels, without a caption, tags
    bars = page.js(
        """return [...document.querySelectorAll('.cv-bars')].map((group) => [...group.querySelectorAll('.cv-bar')].map(
        (bar) => [parseInt(bar.querySelector('.cv-number').innerText), bar.querySelector('.cv-length').offsetWidth]))"""
    )
    captioned = sum(bool(captions(item)) for item in shown.media())
    labels = Counter(
        o["label"] for i in shown.media() if i["id"] != shown.hostile for f in i["frames"] for o in f["objects"]
    )
    uncaptioned = Counter(i["datasetId"] for i in shown.media() if not captions(i))
    assert sum(number for number, _ in bars[0]) == captioned
    assert bars[1][0][0] >= labels.most_common(1)[0][1]
    assert [number for number, _ in bars[2]] == sorted(uncaptioned.values(), reverse=True)
    assert all(width >= 3 for group in bars for _, width in group), "a bar that cannot be seen"
    waiting = sum(not captions(item) for item in shown.media())
    metrics = page.js("return [...document.querySelectorAll('[data-testid=stMetricValue]')].map((m) => m.innerText)")
    objects = sum(len(frame["objects"]) for item in shown.media() for frame in item["frames"])
    assert metrics == [str(MEDIA), str(sum(len(captions(i)) for i in shown.media())), str(objects), str(waiting)]
    page = shown.open("/runs")
    page.until("document.querySelectorAll('.cv-table').length === 3")
    page.until("document.querySelector('[data-testid=stVegaLiteChart] svg .mark-rect path')")
    rows = page.js(
        "return [...document.querySelectorAll('.cv-table')[1].querySelectorAll('tbody tr')]"
        ".map((row) => [...row.children].map((cell) => cell.textContent))"
    )
    listed = sorted(str(len(shown.library.listing(d))) for d in shown.library.datasets)
    assert sorted(row[4] for row in rows) == listed
    assert all(row[0].endswith(" UTC") and row[2] == "complete" and row[3].endswith(" s") for row in rows)
    # every word and every number is explained below
    text = page.text()
    assert all(f"{word}\t" in text for word in (*OUTCOMES, *(title for _, title, _ in NUMBERS)))


def test_texts_of_the_warehouse_are_shown_and_never_run(shown: Shown) -> None:
    dataset = next(iter(shown.library.datasets))
    page = shown.open()
    page.until("document.querySelector('.cv-card')")
    assert SCRIPT in page.js("return document.querySelector('.cv-card .cv-caption').textContent")
    # every choice of the fields, and every chart with what appears when one points at it
    for number in range(8):
        field(page, number).click()
        page.until("document.querySelector('[role=option]')")
        page.driver.find_element("css selector", "body").send_keys(Keys.ESCAPE)
    page = shown.open(f"/media?in={dataset}&media={shown.hostile}")
    page.until("document.querySelector('.cv-media')")
    text = page.js("return document.querySelector('.cv-media').textContent")
    # name, dataset, caption, model, label, tag group, tag, exif
    assert text.count(SCRIPT) >= 8
    addresses = page.js(
        "return [...document.querySelectorAll('.cv-media [src], .cv-media [href]')].map((e) => e.src || e.href)"
    )
    # the ways to the gallery and to the media items beside this one, and nothing of the warehouse
    assert all(address.startswith(f"{shown.url}/") for address in addresses), "addresses that are not http"
    assert len(addresses) == page.js("return document.querySelectorAll('.cv-ways a[href]').length")
    hostile = shown.library.media(shown.hostile)
    frame = next(frame["id"] for frame in hostile["frames"] if frame["captions"])
    page = shown.open(f"/media?in={dataset}&media={shown.hostile}&frame={frame}")
    page.until("document.querySelector('.cv-history')")
    told = page.js("return [...document.querySelectorAll('.cv-history li')].map((entry) => entry.textContent)")
    assert [re.match("[A-Z][a-z]+", entry)[0] for entry in told] == ["Changed", "Added"]  # type: ignore[index]
    assert all(SCRIPT in entry for entry in told)
    assert page.js("return [...document.querySelectorAll('.cv-words del')].map((e) => e.textContent)") == ["Before."]
    page = shown.open("/charts")
    page.until("document.querySelectorAll('[data-testid=stVegaLiteChart] svg').length === 2")
    page.until("document.querySelectorAll('.cv-bars').length === 4")
    assert page.js("return document.querySelector('[data-testid=stApp]').innerHTML").count("&lt;script&gt;") > 4
    for chart in page.driver.find_elements("css selector", "[data-testid=stVegaLiteChart]"):
        bar = chart.find_element("css selector", ".mark-rect path, .mark-area path")
        ActionChains(page.driver, duration=0).scroll_to_element(bar).move_to_element(bar).perform()
    page.until("document.querySelector('#vg-tooltip-element')?.textContent")
    shown.open("/runs").until("document.querySelector('.cv-table')")
    assert page.js("return window.hacked") is None


def test_a_media_item_to_whose_captions_nothing_happened_has_no_captions_over_time(shown: Shown) -> None:
    item = next(item for item in shown.media()[1:] if captions(item))
    page = shown.open(f"/media?in={item['datasetId']}&media={item['id']}")
    page.until("document.querySelector('.cv-media blockquote')")
    assert "Captions over time" not in page.text()


def test_every_page_has_a_title_and_names_the_warehouse_and_how_fresh_it_is(shown: Shown) -> None:
    item = shown.media()[1]
    for path, title in (
        ("/", "Gallery"),
        ("/?q=red", "“red” · Gallery"),
        ("/charts", "Charts"),
        ("/runs", "Runs"),
        (f"/media?in={item['datasetId']}&media={item['id']}", names([item])[0]),
    ):
        page = shown.open(path)
        page.until(f"document.title === '{title} · CoreViz'")
        line = str(page.until("document.querySelector('.cv-state')?.textContent"))
        assert re.fullmatch(r"coreviz_demo\.duckdb · coreviz · last run \d{4}-\d\d-\d\d \d\d:\d\d UTC \(.+ ago\)", line)
    page = shown.open("/?type=video")
    page.driver.find_element("css selector", "body").send_keys(Keys.TAB)
    focused = page.js("return document.activeElement.getAttribute('aria-label')")
    assert focused == "Search", "the first stop of the tab key is something else"


def test_a_media_item_leads_back_and_to_those_beside_it(shown: Shown) -> None:
    videos = [i for i in shown.media() if i["type"] == "video" and i["id"] != shown.hostile]
    expected = names(sorted(videos, key=lambda i: (i["createdAt"], i["id"])))
    page = shown.open("/?type=video&sort=oldest")
    page.until(f"document.querySelectorAll('.cv-card').length === {len(videos) + 1}")
    assert cards(page)[:-1] == expected
    page.js("document.querySelectorAll('.cv-card')[1].click()")

    def shows(place: int) -> None:
        page.until(f"document.querySelector('.cv-media h2')?.innerText === '{expected[place]}'")
        page.until(f"document.title === '{expected[place]} · CoreViz'")

    shows(1)
    page.driver.find_element("partial link text", "Next").click()
    shows(2)
    # the address alone is enough, as in a tab of its own
    page.driver.refresh()
    shows(2)
    page.settled()
    for place in (1, 0):
        page.driver.find_element("partial link text", "Previous").click()
        shows(place)
    page.settled()
    assert page.js("return document.querySelectorAll('.cv-ways a[aria-disabled]').length") == 1
    page.driver.find_element("css selector", ".cv-ways a").click()
    page.until(f"document.querySelectorAll('.cv-card').length === {len(videos) + 1}")
    assert cards(page)[:-1] == expected
    page.until("new URLSearchParams(location.search).get('sort') === 'oldest'")


def test_a_video_plays_from_the_frame_that_is_shown(shown: Shown) -> None:
    videos = [i for i in shown.media() if i["type"] == "video" and i["id"] != shown.hostile and len(i["frames"]) > 2]
    item = next(i for i in videos if i["frames"][1]["captions"])
    frame = item["frames"][1]
    page = shown.open(f"/media?in={item['datasetId']}&media={item['id']}&frame={frame['id']}")
    page.until("document.querySelector('.cv-stage img')?.naturalWidth > 0")
    assert page.js("return document.querySelector('.cv-stage img').alt") == frame["captions"][0]["text"]
    page.driver.find_element("css selector", ".cv-play").click()
    page.until(f"document.querySelector('.cv-stage video')?.currentTime > {float(frame['timestamp']) + 0.2}")
    playing = "const v = document.querySelector('.cv-stage video'); "
    assert page.js(playing + "return [v.error, v.paused, v.videoWidth]") == [None, False, 320]
    assert page.js(playing + "return v.duration") == pytest.approx(item["duration"], abs=0.01)
    # the captions beside it follow the moment
    page.js(playing + "v.currentTime = arguments[0]", float(item["frames"][2]["timestamp"]) + 0.1)
    said = [caption["text"] for caption in item["frames"][2]["captions"]]
    page.until(
        lambda: page.js("return [...document.querySelectorAll('blockquote p')].map((p) => p.textContent)") == said
    )


def test_a_bar_leads_to_the_media_behind_it(shown: Shown) -> None:
    rest = [i for i in shown.media() if i["id"] != shown.hostile]
    page = shown.open("/charts")
    page.until("document.querySelectorAll('.cv-bars').length === 4")
    # without a caption, by dataset
    page.driver.find_elements("css selector", ".cv-bars")[2].find_element("css selector", ".cv-bar").click()
    most, waiting = Counter(i["datasetId"] for i in rest if not captions(i)).most_common(1)[0]
    expected = names([i for i in rest if i["datasetId"] == most and not captions(i)])
    page.until(f"document.querySelectorAll('.cv-card').length === {waiting}")
    assert cards(page) == expected
    page.until("new URLSearchParams(location.search).get('caption') === 'none'")
    # the first rectangle of the growth: a dataset and a week
    page = shown.open("/charts")
    page.until("document.querySelector('[data-testid=stVegaLiteChart] .mark-rect path')")
    bar = page.driver.find_elements("css selector", "[data-testid=stVegaLiteChart] .mark-rect path")[0]
    ActionChains(page.driver, duration=0).scroll_to_element(bar).move_to_element(bar).click().perform()
    page.until("new URLSearchParams(location.search).get('from')")
    chosen = page.js("return Object.fromEntries(new URLSearchParams(location.search))")
    expected = names(
        [
            i
            for i in rest
            if i["datasetId"] == chosen["dataset"] and chosen["from"] <= i["createdAt"][:10] <= chosen["to"]
        ]
    )
    page.until(f"document.querySelectorAll('.cv-card').length === {len(expected)}")
    assert cards(page) == expected != []


def test_the_file_holds_what_is_shown(shown: Shown, tmp_path: Path) -> None:
    page = shown.open("/?type=video&sort=name")
    page.until("document.querySelector('.cv-card')")
    page.driver.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)})
    page.driver.find_element("css selector", "[data-testid=stDownloadButton] button").click()
    file = tmp_path / "coreviz-media.csv"
    page.until(file.exists)
    with file.open(encoding="utf-8-sig", newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert [row["name"].rpartition("/")[2] for row in rows] == cards(page)
    by_id = {item["id"]: item for item in shown.media()}
    for row in rows:
        item = by_id[row["media_id"]]
        if row["media_id"] != shown.hostile:
            assert row["caption"] == next((c["text"] for c in captions(item)), "")
            assert datetime.fromisoformat(row["created_at"]) == datetime.fromisoformat(
                item["createdAt"].replace("Z", "+00:00")
            )


def test_streamlit_advertises_nothing_on_a_machine_with_a_coding_agent(monkeypatch: pytest.MonkeyPatch) -> None:
    from streamlit import config
    from streamlit.web import skills

    monkeypatch.setattr(skills, "agent_harness_present", lambda: True)
    monkeypatch.setattr(skills, "detect_installed_skills", lambda *_: [])
    before = {name: config.get_option(name) for name in ("server.headless", "logger.hideWelcomeMessage")}
    try:
        config.set_option("server.headless", False)
        assert skills.nudge_suppression_reason(str(Path(__file__).parent)) == ""
        config.set_option("logger.hideWelcomeMessage", OPTIONS["logger.hideWelcomeMessage"])
        assert skills.nudge_suppression_reason(str(Path(__file__).parent)) == "welcome_hidden"
    finally:
        for name, value in before.items():
            config.set_option(name, value)


def test_page_is_on_loopback_and_refuses_other_sites(shown: Shown) -> None:
    with socket.socket() as other:
        assert other.connect_ex(("127.0.0.2", shown.port)) != 0, "it listens on more than 127.0.0.1"
    own = f"127.0.0.1:{shown.port}"
    for host, origin, status in (
        (own, f"http://{own}", 101),
        (own, "http://elsewhere.example", 403),
        ("elsewhere.example", "http://elsewhere.example", 403),
    ):
        with socket.create_connection(("127.0.0.1", shown.port)) as client:
            client.sendall(
                f"GET /_stcore/stream HTTP/1.1\r\nHost: {host}\r\nOrigin: {origin}\r\nUpgrade: websocket\r\n"
                "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
            )
            assert int(client.recv(100).split()[1]) == status, (host, origin)


def test_page_follows_the_system_and_fits_a_narrow_screen(shown: Shown) -> None:
    page = shown.page
    page.size(400, 800)
    try:
        for path, scheme in (("/", "light"), ("/charts", "dark"), ("/runs", "light")):
            page.scheme(scheme)
            shown.open(path)
            assert page.js("return document.documentElement.scrollWidth <= innerWidth"), path
            # a finger reaches the other pages, and the filters
            for title in ("Gallery", "Runs", "Charts"):
                page.driver.find_element("link text", title).click()
                page.until(f"document.title.startsWith('{title} ·')")
            colour = page.js("return getComputedStyle(document.querySelector('[data-testid=stApp]')).backgroundColor")
            assert (int(colour.partition("(")[2].partition(",")[0]) > 128) == (scheme == "light")
        page.driver.find_element("link text", "Gallery").click()
        page.until("document.querySelector('[data-testid=stExpandSidebarButton]')")
        page.driver.find_element("css selector", "[data-testid=stExpandSidebarButton]").click()
        page.until("document.querySelector('[data-testid=stSidebar]').getBoundingClientRect().x >= 0")
    finally:
        # Streamlit remembers that the filters were opened
        page.js("localStorage.clear()")
        page.size(1400, 1000)
        page.scheme("light")
