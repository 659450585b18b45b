"""Single values in every form that the API could send: ids, times, spans of time and JSON, with the expected result."""

from __future__ import annotations

import json
import time
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from coreviz_source.values import (
    DEEPEST,
    canonical_id,
    clean_text,
    decode_json,
    encode_json,
    in_range,
    parse_duration,
    parse_timestamp,
    plain_text,
    shallow,
    text_hash,
)
from tests.truth import canonical, moment

UUID = "abcdef01-2345-6789-abcd-ef0123456789"
DIGITS = UUID.replace("-", "")
IDS = [
    *(UUID, UUID.upper(), DIGITS, DIGITS.upper(), UUID[:-1], UUID + "0", "x" + UUID, UUID + "\n", "", "-", DIGITS[:-1]),
    *(UUID[:14] + UUID[15:], UUID.replace("-", "", 1), UUID.upper().replace("-", "", 2), UUID.replace("a", "g")),
    *(UUID.replace("-", "_"), f"{DIGITS[:12]}-{DIGITS[12:]}", "\u00e9" * 32, DIGITS[:4] + "-" + DIGITS[4:]),
]
TIMES = [
    *("2026-01-02", "2026-01-02T03:04:05Z", "2026-01-02T03:04:05.678Z", "2026-01-02T03:04:05.123456+02:00"),
    *("2026-01-02T03:04:05-00:30", "2026-01-02T03:04:05", "2026-01-02 03:04:05", "2026-01-02T03:04:05.5"),
    *("2026-01-02T03:04Z", "2026-01-02T03:04", "2026-01-02T03", "2026-01-02T03Z", "2026-01-02T03:04:05,25Z"),
    *(
        "2026-01-02T03:04:05.123456100Z",
        "2026-01-02T03:04:05,25",
        "2026-01-02T03:04:05+05",
        "2026-01-02T03:04+05",
        "2026-01-02T03:04:05+0530",
    ),
    *("0001-01-01T23:59:59.999999Z", "0001-01-02T00:00:00Z", "0001-01-02", "0001-01-01", "0001-01-01T00:00:00+05:00"),
    *("9999-12-31T00:00:00Z", "9999-12-31T00:00:00.000001Z", "9999-12-31", "9999-12-31T23:00:00-05:00", "9999-12-30"),
    *("1970-01-01T00:00:00Z", "1969-12-31T23:59:59.999999Z", "2026-02-30", "2026-13-01", "2026-01-02T25:00:00Z"),
    *("", " ", "2026", "20260102", "26-01-02", "2026-01-02T", "yesterday", "2026-01-02x", "x2026-01-02", "12.5", "0"),
]


@pytest.fixture(params=["UTC", "Asia/Kolkata"])
def zone(request, monkeypatch):
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def test_a_time_is_read_as_the_truth_reads_it_wherever_it_is_read(zone):
    for text in TIMES:
        found = parse_timestamp(text)
        assert found == moment(text), text
        assert found is None or found.utcoffset() == timedelta(0)


@pytest.mark.parametrize("value", [None, 0, 1.5, True, [], {}, datetime(2026, 1, 2), b"2026-01-02", "\ud800"])
def test_what_is_no_text_of_a_time_is_none(value):
    assert parse_timestamp(value) is None


def test_the_first_and_the_last_moment_that_any_database_holds():
    epoch, micro = datetime(1970, 1, 1, tzinfo=timezone.utc), timedelta(microseconds=1)
    first = (datetime(1, 1, 2, tzinfo=timezone.utc) - epoch) // micro
    last = (datetime(9999, 12, 31, tzinfo=timezone.utc) - epoch) // micro
    assert [in_range(n) for n in (first - 1, first, 0, last, last + 1)] == [False, True, True, True, False]


def test_a_uuid_has_one_form_and_any_other_id_stays_as_it_is():
    for value in IDS:
        assert canonical_id(value) == canonical(value)


def test_a_hash_is_the_same_in_every_run_and_another_for_another_text():
    assert text_hash("a") == 0xE6C632B61E964E1F
    assert len({text_hash(text) for text in ("", "a", "b", "\u00e9", "aa")}) == 5


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        *(
            ("90s", 90),
            ("30m", 1800),
            ("12h", 43200),
            ("7d", 604800),
            ("2w", 1209600),
            ("0", 0),
            ("90", 90),
            ("1.5h", 5400),
        ),
        *((" 2 D ", 172800), ("0.5", 0.5), ("1\tm", 60), (5, 5), (2.5, 2.5), (timedelta(minutes=3), 180)),
    ],
)
def test_a_span_of_time_is_read_in_any_unit(text, seconds):
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "x", "1y", "-1s", "1.", ".5", "1h30m", "1 2", "s", None, True])
def test_what_is_no_span_of_time_is_refused_with_those_that_are(text):
    with pytest.raises(ValueError) as failure:
        parse_duration(text)
    assert str(failure.value) == f"{text!r} is not a span of time such as 90s, 30m, 12h, 7d, 2w or 0"


def test_a_span_of_time_that_is_too_long_is_refused():
    with pytest.raises(ValueError) as failure:
        parse_duration("999999999w")
    assert str(failure.value) == "'999999999w' is too long a span of time"


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        *((b'{"a": [1, 2.5, "x", null, true]}', {"a": [1, 2.5, "x", None, True]}), (b'"\\ud800"', "\ud800")),
        *((b"-Infinity", float("-inf")), (b"1e400", float("inf")), (b"[1e5]", [1e5])),
        *((b"1" + b"0" * 30, 10**30), (b'{"a": NaN, "b": -5}', {"a": float("nan"), "b": -5})),
        *((b"[Infinity, %s]" % (b"9" * 3999), [float("inf"), int("9" * 3999)]),),
        *((b"[Infinity, %s]" % (b"9" * 4000), [float("inf"), "9" * 4000]),),
    ],
)
def test_json_is_read_strictly_where_it_can_be_and_leniently_where_not(raw, value):
    assert repr(decode_json(raw)) == repr(value)


@pytest.mark.parametrize("raw", [b"", b"{", b"[1,]", b"'a'", b"{a: 1}"])
def test_what_is_no_json_at_all_is_refused(raw):
    with pytest.raises(ValueError):
        decode_json(raw)


def nested(depth: int, inside: Any = 1) -> Any:
    for _ in range(depth):
        inside = [inside]
    return inside


def test_what_is_nested_as_deep_as_is_allowed_stays_as_it_is():
    for raw in (
        json.dumps(nested(DEEPEST)),
        json.dumps(nested(DEEPEST - 1, {"a": 1})),
        '["[", "]]", "\\\\\\"["]',
        "",
        "1",
    ):
        assert shallow(raw.encode()) == raw.encode()


def test_what_is_nested_deeper_becomes_a_text_each_and_what_stands_beside_stays():
    deep = [nested(2, '["]\\'), {"b": [nested(5)], "\u00e9": "}"}, [], {}]

    def beside(inside: list[Any]) -> Any:
        # two lists around those that are nested: what stands inside is one level deeper than is allowed
        return ["x", nested(DEEPEST - 2, [*inside, "kept", inside[0]]), {"[": 3}]

    told = [json.dumps(one, ensure_ascii=False) for one in deep]
    assert json.loads(shallow(json.dumps(beside(deep), ensure_ascii=False).encode())) == beside(told)


def test_bytes_of_no_text_are_replaced_in_what_is_nested_too_deep():
    raw = b"[" * (DEEPEST + 1) + b'"\xff"' + b"]" * (DEEPEST + 1)
    assert json.loads(shallow(raw)) == nested(DEEPEST, '["\ufffd"]')


def test_what_no_reader_can_follow_is_decoded_as_a_text():
    depth = 100_000
    assert decode_json(b"[" * depth + b"]" * depth) == nested(
        DEEPEST, "[" * (depth - DEEPEST) + "]" * (depth - DEEPEST)
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [
        *(({"a": [1, 2.5, "\u00e9", None, True]}, '{"a":[1,2.5,"\u00e9",null,true]}'), (float("nan"), "null")),
        *(({"a": "\ud800\u00e9", "b": [1, 2]}, '{"a":"\ufffd\u00e9","b":[1,2]}'), ("\udfff", '"\ufffd"')),
        *((["\ud800", float("nan"), float("inf"), float("-inf"), 1.5], '["\ufffd",null,null,null,1.5]'),),
        *(({"\ud800": 1}, '{"\ufffd":1}'), (10**30, "1" + "0" * 30), ("a\0", '"a\\u0000"')),
        *((["\ud800", 10**30, "\0"], '["\ufffd",' + "1" + "0" * 30 + ',"\\u0000"]'),),
    ],
)
def test_json_is_written_compactly_and_so_that_every_warehouse_takes_it(value, text):
    assert encode_json(value) == text


@pytest.mark.parametrize(
    ("value", "clean", "plain"),
    [
        *(("", "", ""), ("abc", "abc", "abc"), ("\u00e9\U0001f41f", "\u00e9\U0001f41f", "\u00e9\U0001f41f")),
        *(("a\0b\0", "a\0b\0", "a\ufffdb\ufffd"), ("\ud800x\udfff", "\ufffdx\ufffd", "\ufffdx\ufffd")),
        *(("\ud7ff\ue000\udbff\0", "\ud7ff\ue000\ufffd\0", "\ud7ff\ue000\ufffd\ufffd"), ("\ufffd", "\ufffd", "\ufffd")),
    ],
)
def test_a_text_holds_no_lone_surrogate_and_a_plain_one_no_nul(value, clean, plain):
    assert (clean_text(value), plain_text(value)) == (clean, plain)
