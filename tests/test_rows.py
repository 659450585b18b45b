"""Any JSON in any field becomes a typed value or ends in `extra`; nothing is lost and nothing breaks."""

from __future__ import annotations

import copy
import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from dlt.common.json import json as dlt_json
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from coreviz_source.listing.raw_item import RawItem
from coreviz_source.rows.build import folder_rows, media_rows, replace_nul, to_dicts
from coreviz_source.tables import BY_NAME
from coreviz_source.values import canonical_id
from tests.test_contract import DATASET, EXAMPLE
from tests.truth import FOLDER, truth
from tests.warehouse import HIDDEN, assert_equal

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(-1000, 1000).map(lambda number: round(number, 3))
    | TEXT
    | st.sampled_from(["2025-11-22", "2025-11-22T01:02:03", "2025-11-22T01:02:03.5+02:00", "12.5", "", "nan"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
MEDIA = EXAMPLE["media"][0]
OBJECT = {"id": "0f" * 16, "type": "object", "label": "ball", "blob": "https://x/y", "status": "active"}
FIELDS = [
    *(("media", key) for key in [*MEDIA, "datasetId", "path", "versionNumber", "sourceMediaId", "brandNew"]),
    *(("frame", k) for k in [*MEDIA["frames"][0], "endTimestamp", "pageNumber", "text", "brandNew"]),
    *(("caption", key) for key in [*MEDIA["frames"][0]["captions"][0], "model", "mediaId", "brandNew"]),
    *(("object", key) for key in [*OBJECT, "metadata", "createdAt", "frameId", "polygon", "polygon", "boundingBox"]),
    *(("metadata", key) for key in ("tags", "moderation", "description")),
    *(("moderation", key) for key in ("status", "categories", "moderatedAt")),
]
POLYGON = st.lists(
    st.fixed_dictionaries({"x": st.integers(-5, 5) | st.floats(-9, 9), "y": st.integers(-5, 5) | st.none() | TEXT})
    | JSON,
    max_size=3,
)
CHANGES = st.lists(
    st.tuples(st.sampled_from([f for f in FIELDS if f[1] != "id" and f != ("media", "type")]), JSON | POLYGON),
    max_size=5,
)


def changed(changes: list[tuple[tuple[str, str], Any]]) -> dict[str, Any]:
    media = copy.deepcopy(MEDIA)
    frame = media["frames"][0]
    frame["objects"] = [copy.deepcopy(OBJECT)]
    places = {
        "media": media,
        "frame": frame,
        "caption": frame["captions"][0],
        "object": frame["objects"][0],
        "metadata": media["metadata"],
        "moderation": media["metadata"]["moderation"],
    }
    for (place, key), value in changes:
        places[place][key] = value
    return dict(media)


def as_rows(tables: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    found = {}
    for name, table in tables.items():
        kinds = {c.name: c.kind for c in BY_NAME[name].columns}
        found[name] = [
            {
                key: json.loads(value) if kinds[key] == "json" and value is not None else value
                for key, value in row.items()
                if key not in HIDDEN
            }
            for row in table.to_pylist()
        ]
    return found


def same_numbers(value: Any) -> Any:
    """Numbers as JSON readers see them: 1.0 is 1."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    if isinstance(value, dict):
        return {key: same_numbers(v) for key, v in value.items()}
    return [same_numbers(v) for v in value] if isinstance(value, list) else value


@settings(max_examples=600, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(CHANGES)
def test_any_json_in_any_field_of_a_media_is_kept(changes):
    lists = [value for (_, key), value in changes if key in ("frames", "captions", "objects")]
    assume(not any(isinstance(v, dict) for value in lists if isinstance(value, list) for v in value))
    item = changed(changes)
    rows = media_rows(DATASET, [RawItem(canonical_id(item["id"]), json.dumps(item).encode(), "0" * 16)], False)
    expected = truth({DATASET: [item]})
    del expected["folders"]
    assert_equal(same_numbers(as_rows(rows.tables)), same_numbers(expected))


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.dictionaries(st.sampled_from([*FOLDER, "datasetId", "preview", "blob"]), JSON, max_size=6))
def test_any_json_in_any_field_of_a_folder_is_kept(fields):
    item = {**fields, "id": "a" * 32, "type": "folder"}
    rows = folder_rows(DATASET, [RawItem(canonical_id(item["id"]), json.dumps(item).encode(), "0" * 16)])
    expected = {"folders": truth({DATASET: [item]})["folders"]}
    assert_equal(same_numbers(as_rows(rows.tables)), same_numbers(expected))


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.sampled_from(["id"]), JSON, st.sampled_from(["frame", "caption", "object"]))
def test_a_child_without_a_usable_id_keeps_its_row_and_what_it_had(key, value, place):
    item = changed([((place, key), value)])
    rows = media_rows(DATASET, [RawItem(MEDIA["id"], json.dumps(item).encode(), "0" * 16)], False)
    found = as_rows(rows.tables)
    assert [len(found[name]) for name in ("frames", "captions", "objects")] == [1, 1, 1]
    assert all(row["id"] for name in ("frames", "captions", "objects") for row in found[name])
    assert found["captions"][0]["frame_id"] == found["objects"][0]["frame_id"] == found["frames"][0]["id"]


def test_a_child_sent_twice_is_written_once_and_the_first_one_counts():
    item = changed([])
    frame = item["frames"][0]
    frame["captions"].append({**frame["captions"][0], "text": "again"})
    item["frames"].append({**frame, "width": 1, "captions": [{"id": "c", "text": "lost with its frame"}]})
    rows = media_rows(DATASET, [RawItem(MEDIA["id"], json.dumps(item).encode(), "0" * 16)], False)
    expected = truth({DATASET: [item]})
    assert (len(expected["frames"]), len(expected["captions"])) == (1, 1)
    del expected["folders"]
    assert_equal(as_rows(rows.tables), expected)


def test_frames_of_two_media_with_one_id_keep_their_own_categories():
    moderation = {"metadata": {"moderation": {"categories": ["violence"]}}}
    items = [{"id": name, "frames": [{"id": "same", **moderation}]} for name in ("one", "two")]
    rows = media_rows(DATASET, [RawItem(i["id"], json.dumps(i).encode(), "0" * 16) for i in items], False)
    found = as_rows(rows.tables)["moderation_categories"]
    assert [(r["media_id"], r["frame_id"]) for r in found] == [("one", "same"), ("two", "same")]


@pytest.mark.parametrize("beside", ["2026-01-01T00:00:00Z", "no date at all"])
@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("2026-01-02T03:04:05.678Z", "2026-01-02T03:04:05.678000+00:00"),
        ("2026-01-02T03:04:05+02:00", "2026-01-02T01:04:05+00:00"),
        ("2026-01-02T03:04Z", "2026-01-02T03:04:00+00:00"),
        ("2026-01-02T03:04", "2026-01-02T03:04:00+00:00"),
        ("2026-01-02T03:04:05,5Z", "2026-01-02T03:04:05.500000+00:00"),
        ("2026-01-02T03:04:05+05", "2026-01-01T22:04:05+00:00"),
        ("2026-01-02", "2026-01-02T00:00:00+00:00"),
        ("0001-01-01T00:00:00+05:00", None),
        ("9999-12-31T23:00:00-05:00", None),
        ("2026-02-30T00:00:00Z", None),
        ("", None),
    ],
)
def test_a_time_is_read_the_same_whatever_stands_beside_it(text, utc, beside):
    items = [{"id": "one", "createdAt": text}, {"id": "two", "createdAt": beside}]
    rows = media_rows(DATASET, [RawItem(i["id"], json.dumps(i).encode(), "0" * 16) for i in items], False)
    row = as_rows(rows.tables)["media"][0]
    assert (row["created_at"] and row["created_at"].isoformat()) == utc
    assert row["extra"] == (None if utc else {"createdAt": text})


def test_what_is_not_strictly_json_is_read_all_the_same():
    raw = b'{"id": "a", "name": "x\\ud800y", "width": NaN, "sizeBytes": 1e400, "metadata": {"n": NaN, "s": "\\udfff"}}'
    rows = media_rows(DATASET, [RawItem("a", raw, "0" * 16)], False)
    (row,) = as_rows(rows.tables)["media"]
    assert (row["name"], row["width"], row["size_bytes"]) == ("x\ufffdy", None, None)
    assert set(row["extra"]) == {"width", "sizeBytes"}


@pytest.mark.parametrize(
    "name", ["", "(what fits nowhere)", "left", "field_3", "class", 'a "quoted" one', "x\\y", "\u2028"]
)
def test_a_field_of_any_name_is_kept_also_once_it_is_known(name):
    items = [{"id": str(n), "frames": [{"id": "f", name: value}], name: value} for n, value in enumerate([1, None, {}])]
    for _ in range(2):
        for item in items:
            rows = media_rows(DATASET, [RawItem(item["id"], json.dumps(item).encode(), "0" * 16)], False)
            expected = truth({DATASET: [item]})
            del expected["folders"]
            assert_equal(as_rows(rows.tables), expected)


def test_threads_that_meet_new_fields_at_the_same_time_do_not_mix_them():
    def meet(thread: int) -> None:
        for turn in range(20):
            name = f"field of thread {thread}, turn {turn}"
            sources = [RawItem(str(n), json.dumps({"id": str(n), name: n}).encode(), "0" * 16) for n in range(200)]
            extras = media_rows(DATASET, sources, False).tables["media"]["extra"].to_pylist()
            assert [json.loads(extra) for extra in extras] == [{name: n} for n in range(200)]

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(meet, range(2)))


def test_a_whole_number_of_any_length_can_be_written_where_rows_are_dictionaries():
    item = {"id": "1", "exif": {"long": 10**40, "list": [2**64, 2**64 - 1, -(2**63), -(2**63) - 1]}}
    rows = media_rows(DATASET, [RawItem("1", json.dumps(item).encode(), "0" * 16)], False)
    (row,) = to_dicts(rows.tables["media"], BY_NAME["media"])
    told = {"long": str(10**40), "list": [str(2**64), 2**64 - 1, -(2**63), str(-(2**63) - 1)]}
    assert dlt_json.loads(dlt_json.dumps(row["exif"])) == told


def test_no_nul_of_an_item_is_left_where_a_warehouse_cannot_hold_it():
    raw = json.dumps(
        {"id": "a\0", "name": "b\0", "c\0": "\0", "frames": [{"id": "d\0", "text": "\\u0000 \0"}]}
    ).encode()
    source = RawItem(RawItem.from_json(raw).id, raw, "0" * 16)
    assert replace_nul([source]) == 1
    rows = media_rows(DATASET, [source], False)
    assert "\0" not in repr([table.to_pylist() for table in rows.tables.values()]).replace("\\x00", "\0")
    (frame,) = rows.tables["frames"].to_pylist()
    assert (frame["media_id"], frame["id"], frame["text"]) == ("a\ufffd", "d\ufffd", "\\u0000 \ufffd")


def test_a_timestamp_of_a_frame_that_is_no_number_is_not_the_text_null():
    raw = b'{"id": "m", "frames": [{"id": "f", "timestamp": NaN}]}'
    (row,) = media_rows(DATASET, [RawItem("m", raw)], False).tables["frames"].to_pylist()
    assert (row["timestamp"], row["timestamp_seconds"], row["extra"]) == (None, None, '{"timestamp":null}')
