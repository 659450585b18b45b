"""The truth itself: what the documented example becomes, and every rule by which a value does not fit."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from tests.truth import canonical, moment, truth

EXAMPLE = json.loads((Path(__file__).parent / "data" / "example_response.json").read_text())
DATASET = "ecf33096-0d69-410b-a8cc-856caa3fba6c"
OTHER = "7938b58d-d60a-43d8-953f-4f56b3cd8410"


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=timezone.utc)  # type: ignore[arg-type,misc]


def tables(**fields: Any) -> dict[str, list[dict[str, Any]]]:
    return truth({DATASET: [{"id": "m", "type": "image", **fields}]})


def media(**fields: Any) -> dict[str, Any]:
    (row,) = tables(**fields)["media"]
    return row


def frame(**fields: Any) -> dict[str, Any]:
    (row,) = tables(frames=[{"id": "f", **fields}])["frames"]
    return row


def test_the_facts_of_the_documented_example():
    rows = truth({DATASET.replace("-", "").upper(): EXAMPLE["media"]})
    (picture,), (still,), (caption,) = rows["media"], rows["frames"], rows["captions"]
    assert (picture["width"], picture["height"], picture["size_bytes"]) == (2000, 1161, 100120)
    assert (picture["moderation_status"], picture["moderated_at"]) == (
        "approved",
        utc(2025, 11, 22, 1, 27, 59, 520000),
    )
    assert picture["created_at"] == picture["updated_at"] == utc(2025, 11, 22, 1, 27, 59, 555000)
    assert (still["timestamp"], still["timestamp_seconds"], still["width"], still["height"]) == ("0", 0.0, 1860, 1080)
    assert still["created_at"] == utc(2025, 11, 22, 1, 28, 7, 863000)
    assert caption["created_at"] == utc(2025, 11, 22, 1, 28, 19, 597000)
    assert (caption["dataset_id"], caption["media_id"], caption["frame_id"]) == (DATASET, picture["id"], still["id"])
    assert rows["media_tags"] == [{"dataset_id": DATASET, "media_id": picture["id"], "tag_group": "Tags", "tag": "24"}]
    assert rows["objects"] == rows["moderation_categories"] == rows["folders"] == []
    assert picture["extra"] is still["extra"] is caption["extra"] is None


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (OTHER.upper(), OTHER),
        (OTHER.replace("-", ""), OTHER),
        (OTHER.replace("-", "", 1), OTHER.replace("-", "", 1)),
        (f"{{{OTHER}}}", f"{{{OTHER}}}"),
        ("Clip-1", "Clip-1"),
        ("", ""),
    ],
)
def test_ids_that_are_uuids_have_one_form_and_others_are_as_given(given, expected):
    assert canonical(given) == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("2025-11-22", utc(2025, 11, 22)),
        ("2025-11-22T01:02:03", utc(2025, 11, 22, 1, 2, 3)),
        ("2025-11-22T01:02:03.5+02:00", utc(2025, 11, 21, 23, 2, 3, 500000)),
        ("2025-11-22T01:02:03-0530", utc(2025, 11, 22, 6, 32, 3)),
        ("2025-11-22T01:02Z", utc(2025, 11, 22, 1, 2)),
        ("2025-11-22T01:02:03.12Z", utc(2025, 11, 22, 1, 2, 3, 120000)),
        ("2025-02-30", None),
        ("2025-11-22x01:02:03", None),
        ("2025-11-22T01:02:03Z\n", None),
        ("2025-11-22T01:02:03+24:00", None),
        ("0001-01-01T00:00:00+05:00", None),
        ("9999-12-31T23:59:59-05:00", None),
        ("soon", None),
        ("", None),
        (1763773323, None),
        (None, None),
    ],
)
def test_moments_are_aware_and_utc(given, expected):
    assert moment(given) == expected
    assert expected is None or moment(given).utcoffset().total_seconds() == 0  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("key", "column", "value", "expected"),
    [
        ("name", "name", "", ""),
        ("sizeBytes", "size_bytes", 2**63 - 1, 2**63 - 1),
        ("sizeBytes", "size_bytes", 7.0, 7),
        ("duration", "duration", 3, 3.0),
        ("updatedById", "updated_by_id", OTHER.replace("-", ""), OTHER),
        ("exif", "exif", "text", "text"),
        ("exif", "exif", [], []),
        ("metadata", "metadata", False, False),
    ],
)
def test_what_fits_is_in_its_column_and_not_in_extra(key, column, value, expected):
    row = media(**{key: value})
    assert (row[column], type(row[column]), row["extra"]) == (expected, type(expected), None)


@pytest.mark.parametrize(
    ("key", "column", "value"),
    [
        ("name", "name", 5),
        ("entityId", "entity_id", 5),
        ("sizeBytes", "size_bytes", 2**63),
        ("sizeBytes", "size_bytes", 10**400),
        ("sizeBytes", "size_bytes", 7.5),
        ("sizeBytes", "size_bytes", True),
        ("sizeBytes", "size_bytes", "7"),
        ("duration", "duration", False),
        ("duration", "duration", 10**400),
        ("createdAt", "created_at", "soon"),
    ],
)
def test_what_does_not_fit_is_in_extra_under_its_own_key(key, column, value):
    row = media(**{key: value})
    assert (row[column], row["extra"]) == (None, {key: value})


def test_fields_that_no_column_declares_are_in_extra_with_their_nulls():
    assert media(brandNew={"a": 1}, size_bytes=5, empty=None)["extra"] == {
        "brandNew": {"a": 1},
        "size_bytes": 5,
        "empty": None,
    }


@pytest.mark.parametrize(
    ("given", "text", "seconds"),
    [("12.5", "12.5", 12.5), (12.5, "12.5", 12.5), (0, "0", 0.0), ("00:12", "00:12", None), ("nan", "nan", None)],
)
def test_the_timestamp_of_a_frame_is_text_and_seconds(given, text, seconds):
    row = frame(timestamp=given)
    assert (row["timestamp"], row["timestamp_seconds"], row["extra"]) == (text, seconds, None)


@pytest.mark.parametrize("key", ["timestamp", "endTimestamp"])
@pytest.mark.parametrize("value", [True, [1], {"s": 1}])
def test_a_timestamp_of_a_frame_that_is_neither_text_nor_number_is_in_extra(key, value):
    row = frame(**{key: value})
    assert (row["timestamp_seconds"], row["end_timestamp_seconds"], row["extra"]) == (None, None, {key: value})


def test_an_end_is_a_number_or_the_text_of_one():
    assert [frame(endTimestamp=v)["end_timestamp_seconds"] for v in (3, "3.5", "later")] == [3.0, 3.5, None]
    assert frame(endTimestamp="later")["extra"] == {"endTimestamp": "later"}


def test_references_to_the_parent_are_in_extra_only_where_they_name_another():
    child = {"id": "c", "mediaId": "m", "frameId": "f"}
    same = tables(datasetId=DATASET.upper(), frames=[{"id": "f", "mediaId": "m", "captions": [child]}])
    assert [row["extra"] for name in ("media", "frames", "captions") for row in same[name]] == [None, None, None]
    other = tables(datasetId=OTHER, frames=[{"id": "f", "mediaId": "x", "objects": [{**child, "frameId": "x"}]}])
    extras = [row["extra"] for name in ("media", "frames", "objects") for row in other[name]]
    assert extras == [{"datasetId": OTHER}, {"mediaId": "x"}, {"frameId": "x"}]


def test_children_that_are_no_objects_are_in_extra():
    rows = tables(frames=[None, {"id": "f", "captions": "none", "objects": None}, 3])
    assert rows["media"][0]["extra"] == {"frames": [None, 3]}
    assert rows["frames"][0]["extra"] == {"captions": "none"}
    assert media(frames={"id": "f"})["extra"] == {"frames": {"id": "f"}}
    assert media(frames=None)["extra"] is None


def test_tags_and_categories_are_distinct_texts():
    metadata = {
        "tags": {"A": ["x", "x", 1, "1", None, {"k": "é"}], "B": "single", "C": None, "": [""]},
        "moderation": {"status": 5, "categories": ["a", "a"], "moderatedAt": "soon"},
    }
    still = {"id": "f", "metadata": {"moderation": {"status": "flagged", "categories": "b"}}}
    rows = tables(metadata=metadata, frames=[still])
    found = [(row["tag_group"], row["tag"]) for row in rows["media_tags"]]
    assert found == [("A", "x"), ("A", "1"), ("A", '{"k":"é"}'), ("B", "single"), ("", "")]
    assert [(row["frame_id"], row["category"]) for row in rows["moderation_categories"]] == [(None, "a"), ("f", "b")]
    (picture,) = rows["media"]
    assert (picture["moderation_status"], picture["moderated_at"], picture["extra"]) == (None, None, None)
    assert picture["metadata"] == metadata
    assert rows["frames"][0]["moderation_status"] == "flagged"


@pytest.mark.parametrize("blob", ["folder", None, "https://x/y"])
def test_a_folder_is_in_its_own_table_only(blob):
    item = {"id": "d", "type": "folder", "path": "c.b.d", "folderItemCount": 3, "blob": blob, "metadata": {"a": 1}}
    rows = truth({DATASET: [item]})
    (row,) = rows["folders"]
    assert (row["path"], row["parent_id"], row["item_count"], row["metadata"]) == ("c.b.d", "b", 3, {"a": 1})
    assert row["extra"] == ({"blob": blob} if blob == "https://x/y" else None)
    assert not any(rows[name] for name in rows if name != "folders")


LABEL, OWN, FOLDER = DATASET.replace("-", ""), OTHER.replace("-", ""), "0123456789ABCDEF0123456789abcdef"
FOLDER_ID = "01234567-89ab-cdef-0123-456789abcdef"


@pytest.mark.parametrize(
    ("path", "holder"),
    [
        # as every document shows it: the item's own id stands at the end
        (f"{LABEL}.{FOLDER}.{OWN}", FOLDER_ID),
        (f"{LABEL}.archive.{FOLDER}.{OWN.upper()}", FOLDER_ID),
        (f"{LABEL}.folderId.{OWN}", "folderId"),
        (f"{LABEL}.{OWN}", None),
        # as an older row may have it: the folder stands at the end
        (f"{LABEL}.{FOLDER}", FOLDER_ID),
        (f"{LABEL}.archive.{FOLDER}", FOLDER_ID),
        (f"{LABEL}.folderId", "folderId"),
        (LABEL, None),
        # of no form that is documented
        (f"{LABEL}..{OWN}", None),
        (OWN, None),
        ("", None),
        (None, None),
        ([LABEL, FOLDER], None),
    ],
)
@pytest.mark.parametrize("table", ["media", "folders"])
def test_the_folder_of_an_item_is_known_by_both_readings_of_its_path(path, holder, table):
    item = {"id": OTHER, "type": "folder" if table == "folders" else "image", "path": path}
    (row,) = truth({LABEL: [item]})[table]
    assert (row["folder_id" if table == "media" else "parent_id"], row["dataset_id"]) == (holder, DATASET)
    (row,) = truth({LABEL: [{**item, "id": OWN}]})[table]
    assert row["folder_id" if table == "media" else "parent_id"] == holder


@pytest.mark.parametrize(
    ("polygon", "edges"),
    [
        ([{"x": 0.81, "y": 0.54}, {"x": 1619.19, "y": 0.54}, {"x": 3, "y": 1078.38}], (0.81, 0.54, 1619.19, 1078.38)),
        ([{"x": 1, "y": -2, "z": "more"}], (1.0, -2.0, 1.0, -2.0)),
        *((odd, (None,) * 4) for odd in (None, [], {}, "x", 1, [None], [[1, 2]], [{"x": 1}], [{"x": 1, "y": "2"}])),
        *(([{"x": 1, "y": 2}, {"x": odd, "y": 2}], (None,) * 4) for odd in (None, True, "1", [], 10**400)),
        *(([{"x": float(odd), "y": 2}], (None,) * 4) for odd in ("nan", "inf", "-inf")),
    ],
)
def test_a_polygon_that_can_be_read_has_edges_and_any_is_kept(polygon, edges):
    thing = {"id": "o", "polygon": polygon}
    (row,) = tables(frames=[{"id": "f", "objects": [thing]}])["objects"]
    assert (row["x_min"], row["y_min"], row["x_max"], row["y_max"]) == edges
    assert (row["polygon"], row["extra"]) == (polygon, None)


def test_description_and_prompt_come_from_metadata():
    (row,) = tables(metadata={"description": "A shoe.", "prompt": 3})["media"]
    assert (row["description"], row["prompt"], row["extra"]) == ("A shoe.", None, None)


def test_the_first_sighting_of_a_media_counts_and_each_dataset_is_on_its_own():
    twice = [{"id": OTHER, "name": "first"}, {"id": OTHER.replace("-", ""), "name": "second"}]
    rows = truth({DATASET: twice, "other": twice[1:]})["media"]
    assert [(row["dataset_id"], row["id"], row["name"]) for row in rows] == [
        (DATASET, OTHER, "first"),
        ("other", OTHER, "second"),
    ]
