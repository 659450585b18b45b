"""Wrong types, sizes and ids, all the way into a warehouse: everything loads or ends in `extra`."""

from __future__ import annotations

import copy
import json
import time
from typing import Any

import pytest

from coreviz_source.listing.raw_item import RawItem
from coreviz_source.local_studio import Library, Studio
from coreviz_source.local_studio.library import NEWEST
from coreviz_source.rows import media_rows
from tests.scenario import run_sync, truth_of
from tests.test_rows import DATASET, FIELDS, MEDIA, as_rows, changed, same_numbers
from tests.truth import truth
from tests.warehouse import assert_equal, load_ids, query, read

VALUES: list[Any] = [
    *(None, True, False, 0, -1, 1.5, -0.0, 12345678.5, 2**31, 2**63 - 1, 2**63, -(2**63), 2**64, 10**30),
    *("", " ", "0", "1.5", "null", "2025-11-22", "2025-11-22T01:02:03.5+02:00", "0000-00-00", "9999-12-31T23:59:59Z"),
    *("🐟\u200d", "a'b\"c\\d", "[", "x" * 5000),
    *([], {}, [None], [[]], [1, "a", None], {"": None}, {"a": {"b": [1.5, "c"]}}, [[[["deep"]]]]),
]


def served(*items: dict[str, Any]) -> Library:
    library = Library.empty()
    library.clock = lambda: NEWEST
    (dataset,) = library.datasets
    for item in items:
        library.put(dataset, item)
    return library


def mirrored(pipeline, library: Library) -> None:
    with Studio(library) as studio:
        report = run_sync(pipeline, studio, page_size=200)
        assert report.exit_code == 0, report.to_json()
        expected = truth(truth_of(studio))
        assert_equal(same_numbers(read(pipeline, *expected)), same_numbers(expected))
        before = load_ids(pipeline)
        assert run_sync(pipeline, studio, page_size=200, reconcile_every="0").exit_code == 0
        assert load_ids(pipeline) == before


def test_anything_in_any_field_arrives_in_the_warehouse_or_in_extra(pipeline):
    items = []
    for place, key in FIELDS:
        if key in ("id", "createdAt") or (place, key) == ("media", "type"):
            continue
        for value in VALUES:
            if key in ("frames", "captions", "objects") and isinstance(value, list) and {} in value:
                continue
            number = len(items)
            item = copy.deepcopy(changed([((place, key), value)]))
            created = f"2026-01-01T00:{number // 60:02d}:{number % 60:02d}Z"
            items.append({**item, "id": f"{number:032x}", "createdAt": created})
    assert len(items) > 1500
    mirrored(pipeline, served(*items))


def test_values_of_one_type_become_columns_or_end_in_extra_as_they_do_beside_others():
    holders = ("id", "frames", "captions", "objects", "metadata", "moderation")
    fields = [field for field in FIELDS if field[1] not in holders and field != ("media", "type")]
    alike: dict[type, list[dict[str, Any]]] = {}
    for number, value in enumerate(VALUES):
        item = {**changed([(field, value) for field in fields]), "id": str(number)}
        alike.setdefault(type(value), []).append(item)
    for items in alike.values():
        sources = [RawItem(item["id"], json.dumps(item).encode(), "0" * 16) for item in items]
        expected = truth({DATASET: items})
        del expected["folders"]
        found = as_rows(media_rows(DATASET, sources, False).tables)
        assert_equal(same_numbers(found), same_numbers(expected))


@pytest.mark.parametrize(
    "item",
    [
        {"frames": [{"id": f"f{n}", "timestamp": n, "captions": [{"id": f"c{n}"}]} for n in range(10_000)]},
        {"metadata": {"tags": {f"group {n}": [f"tag {n}", n, None] for n in range(50_000)}}},
        {"name": "n" * 10 * 2**20, "frames": [{"id": "f", "captions": [{"id": "c", "text": "\u00e9" * 5 * 2**20}]}]},
        {f"field {n}": n for n in range(20_000)},
    ],
    ids=["10,000 frames", "50,000 tag groups", "10 MB texts", "20,000 unknown fields"],
)
def test_one_huge_media_is_loaded_whole_and_in_time(pipeline, item):
    library = served({**MEDIA, "frames": [], **item})
    with Studio(library) as studio:
        began = time.monotonic()
        assert run_sync(pipeline, studio).exit_code == 0
        assert time.monotonic() - began < 60
        expected = truth(truth_of(studio))
        assert_equal(read(pipeline, *expected), expected)


def test_ids_that_cannot_be_used_get_one_of_their_content_and_are_loaded_once(pipeline):
    ids = [None, "", 0, 7, -1, 1.5, True, [], ["a"], {}, {"id": "x"}, "\ud800", "x" * 5000, " ", "NULL"]
    items = [{**MEDIA, "id": given, "name": f"number {n}", "frames": []} for n, given in enumerate(ids)]
    items.append({key: value for key, value in MEDIA.items() if key != "id"})
    sent = json.dumps({"media": items, "pagination": {"total": len(items), "limit": 100, "offset": 0}}).encode()

    def after(request, answer):
        return sent if request.offset == 0 else {"media": [], "pagination": {"total": len(items)}}

    with Studio(served(MEDIA), after=after) as studio:
        assert run_sync(pipeline, studio).exit_code == 0
        rows = query(pipeline, "SELECT id, name FROM media")
        assert len({item_id for item_id, _ in rows}) == len(rows) == len(items)
        assert all(item_id for item_id, _ in rows)
        before = load_ids(pipeline)
        assert run_sync(pipeline, studio, reconcile_every="0").exit_code == 0
        assert load_ids(pipeline) == before


def test_a_lone_surrogate_in_a_time_or_beside_nan_arrives_in_extra_and_in_the_json(pipeline):
    def after(request, answer):
        media = [
            {**item, "createdAt": "\ud800x", "metadata": {"n": float("nan"), "t": "\ud800"}} for item in answer["media"]
        ]
        return json.dumps({**answer, "media": media}).encode()

    with Studio(served({**MEDIA, "frames": []}), after=after) as studio:
        report = run_sync(pipeline, studio)
        assert report.exit_code == 0, report.to_json()
    (row,) = read(pipeline, "media")["media"]
    assert row["created_at"] is None
    assert (row["extra"], row["metadata"]) == ({"createdAt": "\ufffdx"}, {"n": None, "t": "\ufffd"})
