"""The documented contract: the documents' own examples, and the recorded responses."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from coreviz_source.api.http import Calls
from coreviz_source.api.studio import CorevizClient
from coreviz_source.errors import AuthenticationError, BadRequestError, DatasetNotFoundError
from coreviz_source.loading.configuration import resolve
from coreviz_source.local_studio import Library, Studio
from coreviz_source.local_studio.form import Form
from tests.record import CASSETTES, LIVE, UNKNOWN, load, recorder, refused
from tests.scenario import run
from tests.truth import truth
from tests.warehouse import assert_mirror, query, read


def example(name: str) -> dict[str, Any]:
    """An example of the documents, as they show it."""
    found: dict[str, Any] = json.loads((Path(__file__).parent / "data" / f"{name}.json").read_text())
    return found


EXAMPLE = example("example_response")
DATASET = "ecf33096-0d69-410b-a8cc-856caa3fba6c"


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=timezone.utc)


def test_the_documented_example_arrives_field_by_field(pipeline):
    listing = {**EXAMPLE, "pagination": {**EXAMPLE["pagination"], "total": 1}}
    with Studio(Library.empty(), 2025, before=lambda r: listing if r.path.endswith("/media") else None) as studio:
        run(pipeline, studio, dataset_ids=[DATASET])
    rows = read(pipeline, "media", "frames", "captions", "objects", "media_tags", "moderation_categories")
    (media,) = rows["media"]
    blobs = (
        "https://3vxmbaxifmu58irw.public.blob.vercel-storage.com/entities/d5979219-6891-4514-8096-0aa7d8898d33/media/"
    )
    assert media == {
        "dataset_id": DATASET,
        "id": "7938b58d-d60a-43d8-953f-4f56b3cd8410",
        "name": "entities/d5979219-6891-4514-8096-0aa7d8898d33/media/convert.webp",
        "description": None,
        "prompt": None,
        "type": "image",
        "blob": blobs + "convert-WjWBdnEdxK4ZtfEnZa8gV9cdy7N7aU.webp",
        "entity_id": "d5979219-6891-4514-8096-0aa7d8898d33",
        "path": None,
        "file_name": "convert.webp",
        "folder_id": None,
        "width": 2000,
        "height": 1161,
        "duration": None,
        "size_bytes": 100120,
        "status": "active",
        "moderation_status": "approved",
        "moderated_at": utc("2025-11-22T01:27:59.520"),
        "created_at": utc("2025-11-22T01:27:59.555"),
        "updated_at": utc("2025-11-22T01:27:59.555"),
        "created_by_id": "3752284a-3d51-400b-957c-cb8e03d937f2",
        "updated_by_id": None,
        "source_media_id": None,
        "version_number": None,
        "exif": {"tags": {}},
        "metadata": EXAMPLE["media"][0]["metadata"],
        "extra": None,
        "deleted_at": None,
    }
    (frame,) = rows["frames"]
    assert (frame["timestamp"], frame["timestamp_seconds"]) == ("0", 0.0)
    assert (frame["width"], frame["height"], frame["moderation_status"]) == (1860, 1080, "approved")
    assert frame["created_at"] == utc("2025-11-22T01:28:07.863")
    (caption,) = rows["captions"]
    assert caption["text"].endswith('banner with a stylized "Tampa" logo.')
    assert (caption["model"], caption["frame_id"], caption["media_id"]) == (None, frame["id"], media["id"])
    assert rows["objects"] == rows["moderation_categories"] == []
    assert [(t["tag_group"], t["tag"]) for t in rows["media_tags"]] == [("Tags", "24")]
    assert_mirror(pipeline, {DATASET: EXAMPLE["media"]})


def documented(*items: dict[str, Any]) -> dict[str, Any]:
    """A listing of these items."""
    return {
        "media": list(items),
        "pagination": {"total": len(items), "limit": 10, "offset": 0, "hasMore": False},
    }


def loaded(pipeline, dataset: str, *items: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """The tables after a run over a listing of these items."""
    listing = documented(*items)
    with Studio(Library.empty(), before=lambda r: listing if r.path.endswith("/media") else None) as studio:
        run(pipeline, studio, dataset_ids=[dataset])
    assert_mirror(pipeline, {dataset: list(items)})
    return read(pipeline, "folders", "media", "frames", "captions", "objects", "media_tags", "moderation_categories")


def test_the_documented_media_item_arrives_field_by_field_in_its_folder(pipeline):
    item = example("get-media")["media"]
    folder = {**example("folder")["folder"], "id": "folderId", "path": "collectionId.folderId"}
    rows = loaded(pipeline, "collectionId", item, {**folder, "datasetId": "collectionId"})
    assert rows["media"] == [
        {
            "dataset_id": "collectionId",
            "id": "abc123def456",
            "name": "hero-shot.jpg",
            "description": None,
            "prompt": None,
            "type": "image",
            "blob": "https://blob.vercel-storage.com/.../hero-shot.jpg",
            "entity_id": None,
            "path": "collectionId.folderId.abc123def456",
            "file_name": "hero-shot.jpg",
            "folder_id": "folderId",
            "width": 2400,
            "height": 1600,
            "duration": None,
            "size_bytes": 184320,
            "status": "active",
            "moderation_status": "approved",
            "moderated_at": utc("2026-03-10T14:22:01"),
            "created_at": utc("2026-03-10T14:22:00"),
            "updated_at": utc("2026-03-10T14:22:00"),
            "created_by_id": "userId123",
            "updated_by_id": None,
            "source_media_id": None,
            "version_number": 1,
            "exif": None,
            "metadata": item["metadata"],
            "extra": {"dataset": {"id": "collectionId", "name": "Product Photos", "organizationId": "orgId333"}},
            "deleted_at": None,
        }
    ]
    ids = {"dataset_id": "collectionId", "media_id": "abc123def456"}
    nothing = {"updated_at": None, "metadata": None, "extra": None}
    assert rows["frames"] == [
        {
            **ids,
            **nothing,
            "id": "frameId789",
            "timestamp": "0",
            "timestamp_seconds": 0.0,
            "end_timestamp_seconds": None,
            "page_number": None,
            "blob": "https://blob.vercel-storage.com/.../processed.jpg",
            "thumbnail_blob": None,
            "width": 2400,
            "height": 1600,
            "text": None,
            "status": "active",
            "moderation_status": None,
            "moderated_at": None,
            "created_at": utc("2026-03-10T14:22:05"),
            "created_by_id": None,
        }
    ]
    ids["frame_id"] = "frameId789"
    assert rows["captions"] == [
        {
            **ids,
            **nothing,
            "id": "captionId111",
            "text": "A red shoe on a white background.",
            "model": None,
            "status": "active",
            "created_at": utc("2026-03-10T14:22:15"),
            "created_by_id": None,
        }
    ]
    assert rows["objects"] == [
        {
            **ids,
            **nothing,
            "id": "objectId222",
            "type": "object",
            "label": "shoe",
            "blob": "https://blob.vercel-storage.com/.../crop-shoe.jpg",
            **dict.fromkeys(("polygon", "x_min", "y_min", "x_max", "y_max")),
            "status": "active",
            "created_at": None,
        }
    ]
    assert {(tag["tag_group"], tag["tag"]) for tag in rows["media_tags"]} == {("color", "red"), ("category", "product")}
    assert rows["moderation_categories"] == []


def test_the_documented_folder_arrives_field_by_field(pipeline):
    rows = loaded(pipeline, "collectionId", example("folder")["folder"])
    assert rows["folders"] == [
        {
            "dataset_id": "collectionId",
            "id": "newFolderId123",
            "name": "Spring 2026",
            "path": "collectionId.newFolderId123",
            "parent_id": None,
            "item_count": None,
            "status": "active",
            "created_at": utc("2026-03-23T10:00:00"),
            "updated_at": None,
            "created_by_id": "userId456",
            "metadata": None,
            # the document names two datasets
            "extra": {"datasetId": "COLLECTION_ID"},
        }
    ]
    assert not any(found for name, found in rows.items() if name != "folders")


def test_the_documented_polygon_arrives_with_its_edges(pipeline):
    frame = example("search-frame")
    item = {**frame.pop("media"), "path": "collectionId.mediaId456", "frames": [frame]}
    rows = loaded(pipeline, "collectionId", item)
    (found,) = rows["objects"]
    assert (found["id"], found["label"], found["blob"]) == ("objectId101", "flower", "")
    assert found["polygon"] == frame["objects"][0]["polygon"]
    assert [found[edge] for edge in ("x_min", "y_min", "x_max", "y_max")] == [0.81, 0.54, 1619.19, 1078.38]
    (still,), (caption,), (media,) = rows["frames"], rows["captions"], rows["media"]
    assert (still["id"], still["width"], still["height"]) == ("frameId123", 1620, 1080)
    assert (caption["id"], caption["frame_id"]) == ("captionId789", "frameId123")
    assert caption["text"] == "A close-up of purple flowers with green leaves."
    assert (media["id"], media["width"], media["folder_id"]) == ("mediaId456", 2048, None)


def test_the_truth_knows_the_documented_example():
    tables = truth({DATASET: EXAMPLE["media"]})
    assert {name: len(rows) for name, rows in tables.items()} == {
        "folders": 0,
        "media": 1,
        "frames": 1,
        "captions": 1,
        "objects": 0,
        "media_tags": 1,
        "moderation_categories": 0,
    }


def test_the_recorded_listing_is_loaded_whole(tmp_path):
    library = Library.generate(12, datasets=1)
    (dataset,) = library.datasets
    with recorder(record_mode="none").use_cassette("listing.yaml") as tape:
        report = load(LIVE, "any-key", dataset, tmp_path)
        assert tape.all_played
    assert report.exit_code == 0
    import dlt

    pipeline = dlt.pipeline(
        "recorded",
        destination=dlt.destinations.duckdb(str(tmp_path / "recorded.duckdb")),
        dataset_name="coreviz",
        pipelines_dir=str(tmp_path),
    )
    text = json.dumps(library.snapshot(dataset, Form(2025))).replace('"/blob/', f'"{LIVE}/blob/')
    assert_mirror(pipeline, {dataset: json.loads(text)})
    assert query(pipeline, "SELECT name FROM datasets") == [(None,)]


@pytest.mark.parametrize(
    ("name", "arguments", "error", "message"),
    [
        ("error-400", ("any-key", None, 0), BadRequestError, "Invalid query parameters"),
        ("error-401", ("not-a-key", None), AuthenticationError, "Invalid or missing API key"),
        ("error-404", ("any-key", UNKNOWN), DatasetNotFoundError, "Dataset not found"),
    ],
)
def test_the_recorded_errors_are_told_apart(name, arguments, error, message):
    key, dataset, *limit = arguments
    dataset = dataset or next(iter(Library.generate(12, datasets=1).datasets))
    with (
        recorder(record_mode="none").use_cassette(f"{name}.yaml"),
        pytest.raises(error) as failure,
    ):
        refused(LIVE, key, dataset, *limit)
    assert failure.value.context["server_message"] == message
    assert dataset in str(failure.value)


def test_no_cassette_holds_a_key():
    for path in CASSETTES.glob("*.yaml"):
        assert "x-api-key" not in path.read_text().lower()


@pytest.mark.parametrize("generation", [2025, 2026])
def test_the_local_studio_speaks_the_documented_protocol(generation):
    import requests

    library = Library.generate(30, datasets=1)
    (dataset,) = library.datasets
    with Studio(library, generation, limit_cap=20) as studio:

        def get(path: str, key: str | None = studio.key, **params: object) -> requests.Response:
            return requests.get(studio.url + path, params=params, headers={"x-api-key": key} if key else {}, timeout=10)

        listing = f"/api/dataset/{dataset}/media"
        assert get(listing, key=None).json() == {"error": "Unauthorized", "message": "Invalid or missing API key"}
        assert get(listing.replace(dataset, UNKNOWN)).json() == {"error": "Not Found", "message": "Dataset not found"}
        assert get(listing, limit="x").status_code == get(listing, offset=-1).status_code == 400
        first = get(listing).json()
        assert (len(first["media"]), first["pagination"]["limit"]) == (10, 10)
        capped = get(listing, limit=100, recursive="true").json()
        assert (len(capped["media"]), capped["pagination"]["limit"]) == (20, 20)
        times = [m["createdAt"] for m in get(listing, recursive="true", limit=20).json()["media"]]
        assert times == sorted(times, reverse=generation == 2026)
        picture = requests.get(first["media"][0]["blob"], timeout=10)
        assert picture.headers["content-type"].startswith("image/svg+xml")
        if generation == 2025:
            assert first["pagination"]["total"] == 30
            assert get("/api/me").status_code == get(f"/api/dataset/{dataset}").status_code == 404
            assert not any("path" in m or m["type"] == "folder" for m in first["media"])
        else:
            assert first["pagination"]["total"] < 36 == get(listing, recursive="true").json()["pagination"]["total"]
            me = get("/api/me").json()
            (info,) = get(f"/api/organization/{me['organizationId']}/datasets").json()["datasets"]
            assert info["id"] == dataset.replace("-", "")
            media = next(m for m in first["media"] if m["type"] != "folder")
            assert get(f"/api/media/{media['id']}").json()["media"]["dataset"]["name"] == info["name"]


def test_the_same_seed_makes_the_same_library():
    one, two, other = Library.generate(40), Library.generate(40), Library.generate(40, seed=8)
    assert [one.snapshot(d) for d in one.datasets] == [two.snapshot(d) for d in two.datasets]
    assert set(one.datasets) != set(other.datasets)


def test_one_client_waits_so_that_all_its_threads_keep_to_the_budget(monkeypatch):
    import time
    from concurrent.futures import ThreadPoolExecutor

    library = Library.generate(5, datasets=1)
    (dataset,) = library.datasets
    with Studio(library) as studio:
        client = CorevizClient(resolve({"base_url": studio.url, "api_key": studio.key, "requests_per_second": 50}))
        began = time.monotonic()
        with ThreadPoolExecutor(4) as threads:
            list(threads.map(lambda _: client.page(dataset, 0, 1, Calls()), range(16)))
        assert time.monotonic() - began >= 15 / 50
