"""How items are read: without a dictionary per item in known forms, and with learned fields that stay learned."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from coreviz_source.rows import decode
from coreviz_source.rows.decode import MOST_LEARNED, Decoder, Shape, transposed
from coreviz_source.tables import FOLDERS, MEDIA


@pytest.fixture
def slow(monkeypatch) -> list[Any]:
    """The items that were read the slow way."""
    met: list[Any] = []
    monkeypatch.setattr(decode, "decode_json", lambda raw: met.append(json.loads(raw)) or met[-1])
    return met


def of_media() -> Decoder:
    return Decoder(lambda: Shape(MEDIA))


def read(decoder: Decoder, *items: Any) -> dict[str, Any]:
    """Every field of some items, a list each."""
    columns = transposed(decoder.shape, decoder.read([json.dumps(item).encode() for item in items]))
    return {key: [plain(value) for value in column] for key, column in columns.items()}


def plain(value: Any) -> Any:
    return json.loads(bytes(value)) if isinstance(value, msgspec.Raw) else value


def test_an_item_of_the_documented_form_is_read_fast(slow):
    decoder = of_media()
    child = {"id": "c", "mediaId": "m", "frameId": "f", "metadata": {"a": 1}, "text": "t"}
    frame = {"id": "f", "timestamp": 1, "endTimestamp": 2, "captions": [child], "objects": [{"id": "o", "label": "l"}]}
    item = {"id": "m", "datasetId": "d", "name": 5, "exif": {"b": [1]}, "metadata": None, "frames": [frame]}
    columns = read(decoder, item, {"id": "n", "frames": None})
    assert slow == []
    (found,), none = columns.pop("frames")
    assert none is None
    held = {key: value for key, value in columns.items() if value != [None, None]}
    assert held == {"id": ["m", "n"], "datasetId": ["d", None], "name": [5, None], "exif": [{"b": [1]}, None]}
    assert list(columns)[-1] == ""
    frames = transposed(decoder.shape.children["frames"], [found])
    assert (frames["id"], frames["timestamp"], frames["endTimestamp"]) == (("f",), (1,), (2,))
    shape = decoder.shape.children["frames"].children["captions"]
    captions = transposed(shape, frames["captions"][0])
    assert plain(captions["metadata"][0]) == {"a": 1}
    assert [captions[key] for key in ("id", "mediaId", "frameId", "text", "")] == [
        ("c",),
        ("m",),
        ("f",),
        ("t",),
        (None,),
    ]


def test_a_field_met_once_is_read_fast_from_then_on_wherever_it_stands(slow):
    decoder = of_media()
    frame = {"id": "f", "also": 2, "objects": [{"id": "o", "deep": [3]}]}
    items = [{"id": "a", "new": 1, "frames": [frame]}, {"id": "b", "frames": [{"id": "g"}]}]
    assert read(decoder, *items)["new"] == [1, None]
    assert slow == items[:1]
    read(decoder, *items)
    read(decoder, {"id": "c", "new": {"other": "form"}})
    assert len(slow) == 1
    frames = decoder.shape.children["frames"]
    assert (decoder.shape.learned, frames.learned, frames.children["objects"].learned) == (
        ("new",),
        ("also",),
        ("deep",),
    )
    assert frames.children["captions"].learned == ()
    # what was learned before stays known when more is learned
    assert read(decoder, {"id": "d", "newer": 1})["newer"] == [1]
    assert read(decoder, {"id": "d", "newer": 1, "new": 2})["new"] == [2]
    assert (len(slow), decoder.shape.learned) == (2, ("new", "newer"))


def test_no_more_fields_are_learned_than_are_allowed_and_one_too_many_forgets_none(slow):
    most = {f"field {n:02d}": n for n in range(MOST_LEARNED)}
    for fields, learned in (most, tuple(most)), ({**most, "one more": 1}, ()):
        decoder = of_media()
        columns = read(decoder, {"id": "a", **fields})
        assert decoder.shape.learned == learned
        held = {key: value for key, (value,) in columns.items() if key in fields} | (columns[""][0] or {})
        assert held == fields
    decoder = of_media()
    read(decoder, {"id": "a", **most})
    slow.clear()
    assert read(decoder, {"id": "a", "one more": 1})[""] == [{"one more": 1}]
    assert decoder.shape.learned == tuple(most)
    assert read(decoder, {"id": "a", **most})["field 07"] == [7]
    assert len(slow) == 1


@pytest.mark.parametrize("name", ["", "(what fits nowhere)", 'a "quoted" one', "x\\y", "\n", "\u2028"])
def test_a_field_whose_name_no_decoder_can_hold_is_left_over_each_time(name, slow):
    decoder = of_media()
    for _ in range(2):
        assert read(decoder, {"id": "a", name: 1})[""] == [{name: 1}]
    assert (len(slow), decoder.shape.learned) == (2, ())
    # an item that has it is read the slow way, also in what is known
    assert read(decoder, {"id": "a", name: 1, "new": 2})[""] == [{name: 1, "new": 2}]
    assert decoder.shape.learned == ("new",)


@pytest.mark.parametrize("name", ["left", "field_0", "metadata.moderation.status", "Id", "class"])
def test_a_field_named_like_something_else_is_learned_as_what_it_is(name):
    decoder = of_media()
    for value in (1, None, {"a": 2}):
        assert read(decoder, {"id": "a", name: value})[name] == [value]
    assert decoder.shape.learned == (name,)


@pytest.mark.parametrize("slowly", [{}, {"": 1}])
def test_what_is_no_list_of_objects_is_left_over_and_the_objects_are_not(slowly):
    lists = [None, [], "x", {"id": "f"}, 0, [{"id": "f"}, 1, None, {"id": "g"}, [2]], [[]]]
    columns = read(of_media(), *({"id": f"{n}", "frames": value, **slowly} for n, value in enumerate(lists)))
    ids = [[frame.id for frame in frames or []] for frames in columns["frames"]]
    assert ids == [[], [], [], [], [], ["f", "g"], []]
    left = [
        {},
        {},
        {"frames": "x"},
        {"frames": {"id": "f"}},
        {"frames": 0},
        {"frames": [1, None, [2]]},
        {"frames": [[]]},
    ]
    assert [value or {} for value in columns[""]] == [{**slowly, **value} for value in left]


def test_an_item_read_slowly_has_the_columns_that_it_has_when_it_is_read_fast():
    item = {"id": "a", "name": "n", "exif": {"a": 1}, "metadata": None, "width": [1], "datasetId": 3}
    fast, odd = of_media(), of_media()
    assert read(fast, item) == {**read(odd, {**item, "frames": []}), "frames": [None]}
    slowly = read(odd, {**item, "frames": "x"})
    assert {**read(fast, item), "frames": [[]], "": [{"frames": "x"}]} == slowly
    assert read(odd, {**item, "(what fits nowhere)": {"x": 1}})[""] == [{"(what fits nowhere)": {"x": 1}}]


def test_no_items_are_columns_without_values():
    for shape in (Shape(FOLDERS), of_media().shape):
        columns = transposed(shape, [])
        assert list(columns) == [*shape.keys, ""]
        assert not any(map(len, columns.values()))


def test_what_is_no_object_and_bytes_of_no_text_are_read_all_the_same():
    decoder = Decoder(lambda: Shape(FOLDERS))
    found = transposed(decoder.shape, decoder.read([b"[1]", b'{"id": "\\ud800"}']))
    assert (found["id"], found[""]) == ((None, "\ud800"), ({"value": [1]}, None))
    assert decoder.shape.learned == ("value",)
