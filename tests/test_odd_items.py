"""Items written by hand, with every odd value in every field, become the rows that the truth expects.

In memory, without chance, and in a second: `make mutants` runs these first.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from coreviz_source import tables
from coreviz_source.listing.raw_item import RawItem
from coreviz_source.rows import build, convert
from coreviz_source.rows.build import Rows, as_table, folder_rows, media_rows, replace_nul, to_dicts, tombstones
from coreviz_source.rows.decode import MOST_LEARNED, Decoder, Shape
from coreviz_source.tables import BY_NAME, CHILDREN, FOLDERS, GONE, MEDIA, OBJECTS, Column, Table
from coreviz_source.values import DEEPEST, shallow
from tests.test_rows import as_rows, same_numbers
from tests.truth import canonical, truth
from tests.warehouse import assert_equal

DATASET = "ecf33096-0d69-410b-a8cc-856caa3fba6c"
OTHER = "ABCDEF01-2345-6789-ABCD-EF0123456789"

TEXTS = ["", " ", "plain", "\u00e9\U0001f41f", "x" * 300, "null", "a.b.c", ".", "a."]
IDS = [OTHER, OTHER.replace("-", ""), OTHER.lower(), OTHER[:-1], OTHER + "0", OTHER.replace("-", "", 1), "own id"]
NUMBERS = [*(0, 1, -1, 1.0, -0.0, 1.5, -2.5, 12345678.25), *(2**53 + 1, 2**63 - 1, 2**63, -(2**63), -(2**63) - 1)]
NUMBERS += [2**64, 10**30, 10**400]
DIGITS = ["0", "1.5", "-3", " 7 ", "1e3", "inf", "nan", "1e400", "12:30"]
TIMES = [
    *("2026-01-02", "2026-01-02T03:04:05.678Z", "2026-01-02T03:04:05+02:00", "2026-01-02T03:04:05.5-00:30"),
    *("2026-01-02T03:04:05", "2026-01-02T03:04:05.123456", "2026-01-02T03:04", "2026-01-02T03:04:05,5Z"),
    *("2026-01-02T03:04:05+05", "2026-01-02 03:04:05Z", "2026-02-30T00:00:00Z", "2026-01-02T24:00:00Z"),
    *("0001-01-01T23:59:59.999999Z", "0001-01-02T00:00:00Z", "9999-12-31T00:00:00Z", "9999-12-31T00:00:00.000001Z"),
    *(
        "0001-01-01T00:00:00+05:00",
        "9999-12-31T23:00:00-05:00",
        "1969-12-31T23:59:59.5Z",
        "yesterday",
        "2026",
        "2026-01-02T03:04:05.1234561Z",
    ),
]
_LABEL, _FOLDER = DATASET.replace("-", ""), "0123456789ABCDEF0123456789abcdef"
#: Paths of the media items `m0`, `m1`, …: by both readings, and of forms that no document shows.
PATHS = [
    *(f"{_LABEL}.m0", f"{_LABEL}.{_FOLDER}.m1", f"{_LABEL}.other.{_FOLDER}.m2", f"{DATASET}.{OTHER}.m3", _LABEL),
    *(f"{_LABEL}.{_FOLDER}", f"{_LABEL}.other.{_FOLDER}", f"{_LABEL}.m0.m1", f"{_LABEL.upper()}.m8", "other.m9"),
    *("m10", ".m11", f"..{_FOLDER}", f"{_LABEL}.\u00e9", f"{_LABEL}..m14", "...", f"{_LABEL}.m1.m16"),
]
_CORNER = {"x": 0.81, "y": 0.54}
POLYGONS: list[Any] = [
    *([_CORNER], [_CORNER, {"x": 1619.19, "y": -1, "z": 3}], [{"x": 2**64, "y": 1}, _CORNER], [{"x": -0.0, "y": 0}]),
    *([], [[0.81, 0.54]], [_CORNER, None], [_CORNER, {"x": 1}], [{"x": "1", "y": 2}], [{"x": True, "y": 2}]),
    *([{"x": None, "y": 2}], [{"x": 10**400, "y": 2}], {"points": [_CORNER]}, "0.81,0.54", None, [_CORNER] * 500),
]
OTHERS = [None, True, False, [], {}, [None], ["a", 1, None], {"": None}, {"a": {"b": [1.5]}}]
VALUES: list[Any] = [*TEXTS, *IDS, *NUMBERS, *DIGITS, *TIMES, *OTHERS]
VALUES += [*PATHS, *POLYGONS]

_BOTH = ("status", "createdAt", "updatedAt")
MEDIA_FIELDS = (
    *("name", "type", "blob", "entityId", "path", "width", "height", "duration", "sizeBytes", *_BOTH, "createdById"),
    *("updatedById", "sourceMediaId", "versionNumber", "exif", "metadata", "datasetId", "brandNew"),
)
FRAME_FIELDS = (
    *("timestamp", "endTimestamp", "pageNumber", "blob", "thumbnailBlob", "width", "height", "text", *_BOTH),
    *("createdById", "metadata", "mediaId", "brandNew"),
)
CAPTION_FIELDS = ("text", "model", *_BOTH, "createdById", "metadata", "mediaId", "frameId", "brandNew")
OBJECT_FIELDS = (
    *("type", "label", "blob", "polygon", *_BOTH, "metadata", "datasetId", "mediaId", "frameId", "brandNew"),
)
FOLDER_FIELDS = ("name", "blob", "path", "folderItemCount", *_BOTH, "createdById", "metadata", "datasetId", "brandNew")


def everywhere(number: int, value: Any) -> dict[str, Any]:
    """A media with a frame, a caption and an object that have the value in every field, and one that has no field."""
    caption = {"id": f"c{number}", **dict.fromkeys(CAPTION_FIELDS, value)}
    found = {"id": f"o{number}", **dict.fromkeys(OBJECT_FIELDS, value)}
    frame = {"id": f"f{number}", **dict.fromkeys(FRAME_FIELDS, value), "captions": [caption], "objects": [found]}
    bare = {"id": f"g{number}", "captions": [{"id": f"d{number}"}], "objects": [{"id": f"p{number}"}]}
    return {"id": f"m{number}", **dict.fromkeys(MEDIA_FIELDS, value), "frames": [frame, bare]}


def moderated(number: int, value: Any) -> dict[str, Any]:
    """A media whose metadata, and that of its frame, has the value at every place that is looked at."""
    moderation = {"status": value, "categories": value, "moderatedAt": value}
    inside = {
        "description": value,
        "prompt": value,
        "tags": {"one": value, "two": [value, "x", value], "\u00e9": None},
        "moderation": moderation,
    }
    frames = [{"id": f"f{number}", "metadata": inside}, {"id": f"g{number}", "metadata": {"moderation": value}}]
    frames += [{"id": f"h{number}", "metadata": inside}, {"id": f"i{number}", "metadata": None}, {"id": f"j{number}"}]
    return {"id": f"m{number}", "metadata": inside, "frames": frames}


def sources(items: list[dict[str, Any]]) -> list[RawItem]:
    return [RawItem(canonical(i["id"]), json.dumps(i).encode(), f"{n:016x}") for n, i in enumerate(items)]


def unknown(tables: dict[str, list[dict[str, Any]]]) -> set[str]:
    return {f"{name}.{key}" for name, rows in tables.items() for row in rows for key in row.get("extra") or {}}


def compare(rows: Rows, items: list[dict[str, Any]]) -> None:
    for name, table in rows.tables.items():
        assert table.schema == BY_NAME[name].arrow_schema
        # null is no JSON value here
        assert not any("null" in table[c.name].to_pylist() for c in BY_NAME[name].columns if c.kind == "json")
    expected = {name: found for name, found in truth({DATASET: items}).items() if name in rows.tables}
    assert_equal(same_numbers(as_rows(rows.tables)), same_numbers(expected))
    assert rows.unknown_fields == unknown(expected)


def check(items: list[dict[str, Any]]) -> None:
    rows = media_rows(DATASET, sources(items), False)
    assert list(rows.tables) == [name for name in BY_NAME if name in rows.tables]
    assert len(rows.tables) == 6
    compare(rows, items)


def anew(call: Any, *arguments: Any) -> Any:
    """Calls in a thread of its own, whose decoders have learned nothing."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(call, *arguments).result()


def test_any_value_in_every_field_is_kept_beside_all_others():
    anew(check, [everywhere(n, value) for n, value in enumerate(VALUES)])


def test_any_value_in_every_field_is_kept_beside_no_other():
    for value in VALUES:
        check([everywhere(0, value)])


@pytest.mark.parametrize(
    "values", [TEXTS, IDS, NUMBERS[:8], NUMBERS, DIGITS, TIMES[:7], TIMES, OTHERS[:3], PATHS, POLYGONS]
)
def test_any_value_in_every_field_is_kept_beside_its_like(values):
    check([everywhere(n, value) for n, value in enumerate([*values, None])])
    check([moderated(n, value) for n, value in enumerate([*values, None])])


def test_any_value_in_metadata_becomes_tags_categories_and_times_where_it_can():
    anew(check, [moderated(n, value) for n, value in enumerate(VALUES)])
    for value in VALUES:
        check([moderated(0, value)])
        check([{"id": "m", "metadata": {"tags": value}, "frames": [{"id": "f", "metadata": {"moderation": value}}]}])


@pytest.mark.parametrize("several", [False, True])
def test_any_value_in_every_field_of_a_folder_is_kept(several):
    items = [{"id": f"f{n}", "type": "folder", **dict.fromkeys(FOLDER_FIELDS, value)} for n, value in enumerate(VALUES)]
    items += [{"id": "path", "type": "folder", "path": "a.b.c"}, {"id": "top", "type": "folder", "path": "top"}]
    for listed in [items] if several else [[item] for item in items]:
        rows = folder_rows(DATASET, sources(listed))
        assert list(rows.tables) == ["folders"]
        compare(rows, listed)


def test_no_media_and_no_folder_are_no_rows():
    assert {name: t.num_rows for name, t in media_rows(DATASET, [], True).tables.items()} == {
        **dict.fromkeys(("media", "frames", "captions", "objects", "media_tags", "moderation_categories"), 0)
    }
    assert anew(folder_rows, DATASET, []).tables["folders"].num_rows == 0


def test_the_hash_of_an_item_stands_beside_it():
    items = [{"id": "a"}, {"id": "b"}]
    assert media_rows(DATASET, sources(items), False).tables["media"]["content_hash"].to_pylist() == [
        "0" * 16,
        "0" * 15 + "1",
    ]
    assert folder_rows(DATASET, sources(items)).tables["folders"]["content_hash"].to_pylist() == [
        "0" * 16,
        "0" * 15 + "1",
    ]


def test_a_field_named_like_a_place_inside_another_is_kept():
    anew(check, [{"id": "a", "metadata.moderation.status": 1, "frames": [{"id": "f", "metadata.tags": {}, "left": 2}]}])
    anew(check, [{"id": "a", "frames": None, "new": None}, {"id": "b", "metadata": None, "": 0}])


def test_a_float_is_a_whole_number_as_far_as_64_bits_reach():
    for sides in [2.0**63, -(2.0**63), 2.0**62, -(2.0**64)], [-(2.0**63)], [2.0**63], [1e300, 0.5]:
        items = [{"id": f"{n}", "width": value, "sizeBytes": value} for n, value in enumerate(sides)]
        check(items)
        check([*items, {"id": "whole", "width": 7}])


def test_lists_that_are_none_or_hold_other_things_are_kept_whole_in_extra():
    for odd in ["frames", 3, {"id": "f"}, [1, {"id": "f"}, None, "x"], [[]], [], None, False]:
        check([{"id": "m", "frames": odd}, {"id": "n", "frames": [{"id": "f"}]}])
        check([{"id": "m", "frames": [{"id": "f", "captions": odd, "objects": odd}, {"id": "g"}]}])


def test_a_reference_to_a_parent_is_dropped_where_it_is_the_parent_in_any_form_and_else_kept():
    media, frame = OTHER.replace("-", ""), OTHER.replace("ABC", "123")
    forms = [media, canonical(media), OTHER, frame, canonical(frame), frame.replace("-", ""), None, "", 7, DATASET]
    items = []
    for n, given in enumerate([*forms, DATASET.upper(), DATASET.replace("-", "")]):
        child = {"mediaId": given, "frameId": given}
        frames = [
            {"id": frame, "mediaId": given, "captions": [{**child, "id": "c"}], "objects": [{**child, "id": "o"}]},
            {"id": "plain", "mediaId": given, "captions": [{**child, "id": "d"}, {"id": "e", "frameId": "plain"}]},
        ]
        items.append([{"id": media, "datasetId": given, "frames": frames}, {"id": f"m{n}", "datasetId": given}])
    for both in items:
        check(both)
        check(both[:1])


def test_children_sent_twice_within_a_media_are_written_once_and_those_of_two_media_are_not_mixed():
    def media(name: str) -> dict[str, Any]:
        again = {"id": OTHER.lower(), "width": 2, "captions": [{"id": "c3"}]}
        captions = [{"id": "c1", "text": "first"}, {"id": "c2"}, {"id": "c1", "text": "again"}]
        other = {"id": "g", "captions": [{"id": "c2", "text": "of another frame"}, {"id": "c4"}]}
        return {"id": name, "frames": [{"id": OTHER, "width": 1, "captions": captions}, again, other]}

    check([media("a")])
    check([media("a"), {"id": "between"}, media("b"), media("c")])
    check([{"id": "a", "frames": [{"id": "f"}, {"id": "f", "width": 2}]}, {"id": "b", "frames": [{"id": "f"}]}])


def test_an_id_of_a_child_is_canonical_or_as_given_or_made_of_its_place():
    given = [OTHER, OTHER.lower(), OTHER.replace("-", "")[::-1], "x", 7, -(2**70), None, "", True, 1.5, [], {"a": 1}]
    frames = [{"id": item_id, "captions": [{"id": item_id, "frameId": item_id}]} for item_id in given]
    frames.append({"captions": [{}, {}], "objects": [{}]})
    named = [{"id": "w", "frames": [{"id": "x", "captions": [{"id": "y"}, {}]}, {"captions": [{}]}]}]
    item = {"id": "m", "frames": [frame for frame in frames if frame.get("id") != OTHER.lower()]}
    alone = as_rows(media_rows(DATASET, sources([item]), False).tables)
    usable = [canonical(OTHER), canonical(OTHER.replace("-", "")[::-1]), "x", "7", str(-(2**70))]
    ids = [row["id"] for row in alone["frames"]]
    assert ids[:5] == usable
    made = ids[5:] + [row["id"] for row in (*alone["captions"][5:], *alone["objects"])]
    assert all(len(one) == 27 and one.startswith("without-id-") and int(one[11:], 16) for one in made)
    assert [len(alone[name]) for name in ("frames", "captions", "objects")] == [12, 13, 1]
    assert len(set(made)) == len(made) == 16
    assert [row["extra"] for row in alone["frames"][5:]] == [
        *(None, None, {"id": True}, {"id": 1.5}, {"id": []}, {"id": {"a": 1}}, None)
    ]
    # a reference as it was sent is no news, however odd
    assert [row["extra"] for row in alone["captions"][:5]] == [None] * 5
    beside = as_rows(media_rows(DATASET, sources([*named, item]), False).tables)
    for name in ("frames", "captions", "objects"):
        assert [row for row in beside[name] if row["media_id"] == "m"] == alone[name], "depends on what stands beside"


def test_ids_that_are_all_canonical_but_one_are_all_canonical():
    ids = [f"{n:08x}-0000-4000-8000-000000000000" for n in range(4)]
    for odd in [ids[3].upper().replace("0000-4", "ABCD-4"), ids[3].replace("-", ""), "x", "y" + ids[3], ids[3] + "y"]:
        check([{"id": "m", "frames": [{"id": one} for one in [*ids[:3], odd]]}])
        check([{"id": "m", "frames": [{"id": one} for one in [odd, *ids[:3]]]}])


def test_ids_without_hyphens_but_one_are_all_canonical():
    ids = [f"{n:08x}00004000800000000000000a" for n in range(4)]
    check([{"id": "m", "frames": [{"id": one} for one in ids]}])
    for odd in [
        ids[3].upper(),
        canonical(ids[3]),
        "x",
        "y" + ids[3],
        ids[3] + "y",
        f"{ids[3]}\n",
        "\u00e9" * 32,
        ids[0],
    ]:
        check([{"id": "m", "frames": [{"id": one} for one in [*ids[:3], odd]]}])
        check([{"id": "m", "frames": [{"id": one} for one in [odd, *ids[:3]]]}])


def test_an_id_that_is_missing_beside_canonical_ones_is_made_of_its_place():
    ids = [f"{n:08x}-0000-4000-8000-000000000000" for n in range(3)]
    for place, odd in (0, None), (1, None), (3, None), (2, ""), (2, 7):
        given = [*ids[:place], odd, *ids[place:]]
        item = {"id": "m", "frames": [{"id": "f", "captions": [{"id": one} for one in given]}]}
        (made,) = {row["id"] for row in media_rows(DATASET, sources([item]), False).tables["captions"].to_pylist()} - {
            *ids
        }
        assert made == "7" if odd == 7 else made.startswith("without-id-")


def test_values_of_the_documented_types_become_columns_without_a_look_at_each(monkeypatch):
    for converter in convert.CONVERTERS.values():
        monkeypatch.setattr(type(converter), "one", None)
    monkeypatch.setattr(build, "_child_id", None)
    item = json.loads((Path(__file__).parent / "data" / "example_response.json").read_text())["media"][0]
    check([{**item, "duration": 1.5, "versionNumber": 3, "sourceMediaId": OTHER}, {"id": "bare", "duration": 2}])
    assert convert.convert([True, None, False], "bool")[0].to_pylist() == [True, None, False]


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-1e400"])
@pytest.mark.parametrize("beside", [[], ["1.5"], ["1.5", '"x"'], ["null", "2"]])
def test_a_number_that_is_not_finite_is_none_whatever_stands_beside_it(number, beside):
    raws = [f'{{"id": "{n}", "duration": {one}, "width": {one}}}' for n, one in enumerate([number, *beside])]
    rows = media_rows(DATASET, [RawItem(str(n), raw.encode(), "") for n, raw in enumerate(raws)], False)
    assert rows.tables["media"]["duration"].to_pylist() == [
        None,
        *(float(one) if one[0].isdigit() else None for one in beside),
    ]
    extra = rows.tables["media"]["extra"].to_pylist()[0]
    assert json.loads(extra, parse_constant=pytest.fail) == {"duration": None, "width": None}
    assert rows.unknown_fields == {"media.duration", "media.width"}


def test_tombstones_stand_for_the_media_that_have_no_rows_in_a_table():
    moderation = {"moderation": {"categories": ["violence"]}}
    items = [
        {"id": "all", "metadata": {"tags": {"g": "t"}, **moderation}, "frames": [
            {"id": "f", "captions": [{"id": "c"}], "objects": [{"id": "o"}]}
        ]},
        {"id": "frame only", "frames": [{"id": "g"}]},
        {"id": "nothing"},
    ]  # fmt: skip
    without = media_rows(DATASET, sources(items), False).tables
    tables = media_rows(DATASET, sources(items), True).tables
    for table in CHILDREN:
        rows = tables[table.name].to_pylist()
        gone = [row for row in rows if row[GONE]]
        assert [row for row in rows if row[GONE] is None] == without[table.name].to_pylist() != []
        ids = ["nothing"] if table.name == "frames" else ["frame only", "nothing"]
        empty = dict.fromkeys(table.by_name)
        assert gone == [{**empty, "dataset_id": DATASET, "media_id": one, GONE: True} for one in ids]
        assert tables[table.name].schema == table.arrow_schema
    assert tables["media"] == without["media"]
    assert not media_rows(DATASET, sources(items[:1]), True).tables["frames"][GONE].to_pylist()[0]
    assert folder_rows(DATASET, sources(items)).tables["folders"][GONE].null_count == 3


def test_a_tombstone_of_a_media_or_folder_names_it():
    for table in (MEDIA, FOLDERS):
        found = tombstones(table, DATASET, ("a", "b"))
        empty = dict.fromkeys(table.by_name)
        assert found.to_pylist() == [{**empty, "dataset_id": DATASET, "id": one, GONE: True} for one in "ab"]
        assert found.schema == table.arrow_schema


def test_columns_of_arrow_and_of_python_stand_beside_those_that_are_null():
    chunks = pa.chunked_array([pa.array([1]), pa.array([2])])
    given = {"id": ["a", "b"], "dataset_id": pa.array(["d", "d"]), "width": chunks, "height": None}
    found = as_table(MEDIA, given, 2)
    assert found.schema == MEDIA.arrow_schema
    empty = dict.fromkeys(MEDIA.by_name)
    assert found.to_pylist() == [{**empty, "dataset_id": "d", "id": i, "width": w} for i, w in (("a", 1), ("b", 2))]


def test_rows_as_dictionaries_hold_json_as_objects():
    numbers = [10**18 - 1, 10**18, 2**63, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1, 0.1234567890123456789, "9" * 30]
    item = {"id": "1", "name": "[1]", "exif": {"n": numbers, "o": [{"p": 10**30}], "t": True}, "odd": 5}
    rows = media_rows(DATASET, sources([item, {"id": "2", "exif": [1]}]), False)
    first, second = to_dicts(rows.tables["media"], MEDIA)
    told = [*numbers[:4], str(2**64), -(2**63), str(-(2**63) - 1), *numbers[7:]]
    assert first["exif"] == {"n": told, "o": [{"p": str(10**30)}], "t": True}
    assert (first["name"], first["extra"], first["metadata"]) == ("[1]", {"odd": 5}, None)
    assert first["exif"]["t"] is True
    assert (second["exif"], second["extra"]) == ([1], None)


def test_every_nul_is_replaced_and_the_items_that_had_some_are_counted():
    raws = [
        rb'"a\u0000\u0000b"',
        b'"plain"',
        rb'"\\u0000"',
        rb'"\\\u0000"',
        rb'["\u0000", "\\\\\u0000c"]',
        b'"\\u00000"',
    ]
    given = [RawItem(str(n), raw, "") for n, raw in enumerate(raws)]
    assert replace_nul(given) == 4
    assert replace_nul(iter([given[1]])) == 0
    assert [json.loads(source.raw) for source in given] == [
        *("a\ufffd\ufffdb", "plain", "\\u0000", "\\\ufffd", ["\ufffd", "\\\\\ufffdc"], "\ufffd0")
    ]


def test_lone_surrogates_become_the_replacement_character_wherever_a_text_stands():
    child = {"id": "\ud800c", "text": "\ud800", "label": "\ud800", "createdById": "\ud800"}
    frame = {"id": "\ud800f", "text": "\u00e9\udfff", "timestamp": "\ud800", "captions": [child], "objects": [child]}
    metadata = {"tags": {"\ud800g": ["\ud800t", {"k": "v\ud800"}]}, "moderation": {"categories": ["\ud800k"]}}
    item = {"id": "m", "name": "\ud800", "entityId": "\ud800e", "metadata": metadata, "frames": [frame]}
    item |= {"new\ud800": 1, "createdAt": "\ud800", "exif": {"a": "\ud800"}}
    rows = media_rows(DATASET, sources([item, {"id": "n", "name": "plain", "entityId": OTHER}]), False)
    found = as_rows(rows.tables)
    first, second = found["media"]
    assert (first["name"], first["entity_id"], first["created_at"]) == ("\ufffd", "\ufffde", None)
    assert set(first["extra"].values()) == {1, "\ufffd"}
    assert first["exif"] == {"a": "\ufffd"}
    assert (second["name"], second["entity_id"]) == ("plain", canonical(OTHER))
    (frame,), (caption,), (seen,) = found["frames"], found["captions"], found["objects"]
    assert (frame["id"], frame["text"], frame["timestamp"]) == ("\ufffdf", "\u00e9\ufffd", "\ufffd")
    assert (caption["id"], caption["frame_id"], caption["text"]) == ("\ufffdc", "\ufffdf", "\ufffd")
    assert (seen["id"], seen["label"], caption["created_by_id"]) == ("\ufffdc", "\ufffd", "\ufffd")
    assert [(t["tag_group"], t["tag"]) for t in found["media_tags"]] == [
        ("\ufffdg", "\ufffdt"),
        ("\ufffdg", '{"k":"v\ufffd"}'),
    ]
    assert [c["category"] for c in found["moderation_categories"]] == ["\ufffdk"]
    assert "media.new\ufffd" in rows.unknown_fields


def test_json_that_no_warehouse_takes_becomes_json_that_all_take():
    inside = (
        r'{"nan": NaN, "inf": [-Infinity, 1e400], "text": "\ud800", "float": 1.5, "\u00e9": "\ud83d\udc1f", "whole": 1'
    )
    inside += "0" * 30 + "}"
    raw = f'{{"id": "a", "exif": {inside}, "new": {inside}}}'
    (row,) = media_rows(DATASET, [RawItem("a", raw.encode(), "")], False).tables["media"].to_pylist()
    told = {"nan": None, "inf": [None, None], "text": "\ufffd", "float": 1.5, "\u00e9": "\U0001f41f", "whole": 10**30}
    assert row["exif"] == json.dumps(told, ensure_ascii=False, separators=(",", ":"))
    assert row["extra"] == json.dumps({"new": told}, ensure_ascii=False, separators=(",", ":"))


def test_a_lone_surrogate_in_a_time_fails_no_listing():
    item = RawItem.from_json(json.dumps({"id": "a", "createdAt": "2026-01-01T00:00:00\ud800"}).encode())
    assert (item.id, item.created_at) == ("a", None)


def test_bytes_that_are_no_utf_8_are_read_all_the_same():
    rows = media_rows(
        DATASET, [RawItem("a", b'{"id": "a", "exif": {"x": "y\xff"}}', ""), *sources([{"id": "b"}])], False
    )
    assert [row["exif"] for row in as_rows(rows.tables)["media"]] == [{"x": "y\ufffd"}, None]


def test_what_is_nested_too_deep_is_kept_as_a_text_and_all_beside_it_as_it_is():
    depth = 100_000
    raw = b'{"id": "a", "name": "n", "exif": %s1%s, "type": "image"}' % (b"[" * depth, b"]" * depth)
    for build_rows in (media_rows, folder_rows):
        beside = sources([{"id": "b", "name": "m"}])
        args = (False,) if build_rows is media_rows else ()
        rows = build_rows(DATASET, [RawItem("a", raw, "0"), *beside], *args)
        first, second = as_rows(rows.tables)["media" if build_rows is media_rows else "folders"]
        assert (first["name"], second["name"], second["extra"]) == ("n", "m", None)
        held = first["exif"] if build_rows is media_rows else first["extra"]["exif"]
        for _ in range(DEEPEST - 1):
            (held,) = held
        assert held == "[" * (depth - DEEPEST + 1) + "1" + "]" * (depth - DEEPEST + 1)


def test_rows_that_no_reader_can_build_are_built_once_more_of_what_is_not_so_deep():
    met: list[bytes] = []

    @build._at_any_depth
    def built(dataset_id: str, given: Sequence[RawItem], tombstones: bool) -> Rows:
        met.extend(source.raw for source in given)
        if len(met) == 1:
            raise RecursionError
        return Rows(unknown_fields={dataset_id, str(tombstones)})

    deep = b"[" * (DEEPEST + 2) + b"]" * (DEEPEST + 2)
    assert built("d", [RawItem("a", deep, "")], tombstones=True).unknown_fields == {"d", "True"}
    assert met == [deep, shallow(deep)] != [deep, deep]


def test_an_item_that_is_no_object_is_kept_as_a_value():
    rows = media_rows(DATASET, [RawItem("a", b"[1]", ""), RawItem("b", b"3", "")], False)
    assert [row["extra"] for row in as_rows(rows.tables)["media"]] == [{"value": [1]}, {"value": 3}]


def test_as_many_fields_are_learned_as_are_allowed_and_no_more_are_lost():
    def meet(count: int) -> None:
        items = [{"id": f"{n}", **{f"field {k:03d}": k for k in range(count)}} for n in range(2)]
        for _ in range(3):
            check(items)
            check([{"id": "one", "field 001": 1}, {"id": "none"}])

    for count in (1, MOST_LEARNED, MOST_LEARNED + 1):
        anew(meet, count)


def test_a_column_of_any_kind_can_be_added_by_a_line(monkeypatch):
    kinds = ("id", "text", "bigint", "double", "bool", "timestamp", "json")
    added = [Column(f"a_{kind}", kind, "", f"{kind}Field") for kind in kinds]  # type: ignore[arg-type]
    table = Table("folders", "", ("id",), (*FOLDERS.columns, *added))
    monkeypatch.setattr(build, "FOLDER_DECODER", Decoder(lambda: Shape(table)))
    moment = "2026-01-02T00:00:00+00:00"
    given = {
        "id": OTHER,
        "text": "x",
        "bigint": 5,
        "double": 2.5,
        "bool": True,
        "timestamp": moment,
        "json": {"a": [1]},
    }
    items = [{"id": "a", **{f"{kind}Field": value for kind, value in given.items()}}, {"id": "b", "boolField": False}]
    (one, two), odd = (
        folder_rows(DATASET, sources(copy.deepcopy(listed))).tables["folders"].to_pylist()
        for listed in (items, [*items, {"id": "c", "boolField": 1}])
    )
    assert [one, two] == odd[:2]
    assert {kind: one[f"a_{kind}"] for kind in kinds} | {"timestamp": one["a_timestamp"].isoformat()} == {
        **given,
        "id": canonical(OTHER),
        "json": '{"a": [1]}',
    }
    assert (one["a_bool"], two["a_bool"], two["a_text"], one["extra"]) == (True, False, None, None)
    assert (odd[2]["a_bool"], odd[2]["extra"]) == (None, '{"boolField":1}')
    for value in (1, "true", 1.5):
        (row,) = folder_rows(DATASET, sources([{"id": "c", "boolField": value}])).tables["folders"].to_pylist()
        assert (row["a_bool"], json.loads(row["extra"])) == (None, {"boolField": value})


def test_a_table_under_the_objects_is_a_declaration_only(monkeypatch):
    traits = Table(
        "traits",
        "One row per trait of an object.",
        ("dataset_id", "id"),
        (
            *(OBJECTS.by_name[name] for name in ("dataset_id", "media_id", "frame_id")),
            Column("object_id", "id", "Id of the object.", references="objects", made_from="objectId"),
            Column("id", "id", "Id of the trait.", made_from="id"),
            Column("value", "double", "Its value.", "value"),
            Column("extra", "json", "The rest."),
            Column(GONE, "bool", "Tombstone flag."),
        ),
        ("dataset_id", "media_id"),
        OBJECTS,
        "traits",
    )
    monkeypatch.setattr(tables, "TABLES", (*tables.TABLES, traits))
    monkeypatch.setattr(build, "BY_NAME", {**BY_NAME, "traits": traits})
    monkeypatch.setattr(build, "CHILDREN", (*CHILDREN, traits))
    monkeypatch.setattr(build, "MEDIA_DECODER", Decoder(lambda: Shape(MEDIA)))
    given = [{"id": OTHER, "value": 1, "objectId": "o"}, {"id": "t", "value": "x", "mediaId": "another", "new": 1}]
    frames = [{"id": "f", "objects": [{"id": "n"}, {"id": "o", "traits": given}]}, {"id": "g", "objects": []}]
    rows = media_rows(DATASET, sources([{"id": "bare"}, {"id": "m", "frames": frames}]), True)
    found = rows.tables["traits"].to_pylist()
    ids = {"dataset_id": DATASET, "media_id": "m", "frame_id": "f", "object_id": "o"}
    assert [{**row, "extra": row["extra"] and json.loads(row["extra"])} for row in found] == [
        {**ids, "id": canonical(OTHER), "value": 1.0, "extra": None, GONE: None},
        {**ids, "id": "t", "value": None, "extra": {"value": "x", "mediaId": "another", "new": 1}, GONE: None},
        {**dict.fromkeys(traits.by_name), "dataset_id": DATASET, "media_id": "bare", GONE: True},
    ]
    assert rows.unknown_fields == {"traits.value", "traits.mediaId", "traits.new"}
    assert rows.tables["objects"].column("id").to_pylist() == ["n", "o", None]
