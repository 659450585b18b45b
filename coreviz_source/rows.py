"""One item of the API becomes rows: flattened, typed column by column, with everything that fits nowhere in `extra`.

Rows are built for many items at once, a column at a time, because arrow converts a whole column as fast as Python
touches one value. A column whose values are not all of the documented type is converted again value by value; what
does not fit is kept in `extra` under the API's own key.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import wraps
from itertools import chain
from typing import Any, TypeVar, cast

import pyarrow as pa
import pyarrow.compute as pc
from msgspec import Struct

from coreviz_source.decode import FOLDER_DECODER, MEDIA_DECODER, Decoder, Shape, transposed
from coreviz_source.listing.raw_item import RawItem
from coreviz_source.tables import (
    ARROW_TYPES,
    CHILDREN,
    FRAMES,
    GONE,
    MEDIA_TAGS,
    MODERATION_CATEGORIES,
    Kind,
    Table,
)
from coreviz_source.values import (
    canonical_id,
    clean_text,
    decode_json,
    encode_json,
    in_range,
    parse_timestamp,
    shallow,
    text_hash,
)

#: Raised whenever the same item becomes other rows than before, so that everything is built again.
ROWS_VERSION = 1

_NONE = type(None)
_IDS = {str, int, _NONE}
_NOTHING: tuple[Any, ...] = (None, [])
_JSON_NULL = b"null"
_CANONICAL_ID = "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"
_INT64 = 2**63
_LONG_NUMBER = re.compile(r"\d{19}")
#: The escape of a NUL, behind an even number of backslashes.
_NUL = re.compile(rb"(?<!\\)((?:\\\\)*)\\u0000")


@dataclass
class Rows:
    """Rows of some items, a table each, and the fields met that no column declares."""

    tables: dict[str, pa.Table] = field(default_factory=dict)
    unknown_fields: set[str] = field(default_factory=set)


def without_nul(sources: Iterable[RawItem]) -> int:
    """Replaces NUL characters, which Postgres cannot hold, by U+FFFD; returns how many items had some."""
    found = 0
    for source in sources:
        if rb"\u0000" in source.raw:
            source.raw, count = _NUL.subn(rb"\1\\ufffd", source.raw)
            found += bool(count)
    return found


_Built = TypeVar("_Built", bound=Callable[..., Rows])


def _however_deep(build: _Built) -> _Built:
    """What is nested too deep to be read, or to be written again a little further down the stack, becomes a text."""

    @wraps(build)
    def built(dataset_id: str, sources: Sequence[RawItem], *rest: Any, **named: Any) -> Rows:
        try:
            return build(dataset_id, sources, *rest, **named)
        except RecursionError:
            for source in sources:
                source.raw = shallow(source.raw)
            return build(dataset_id, sources, *rest, **named)

    return cast(_Built, built)


@_however_deep
def media_rows(dataset_id: str, sources: Sequence[RawItem], tombstones: bool) -> Rows:
    """The rows of some media, of all tables that a media has rows in.

    Args:
        dataset_id: Canonical id of the dataset.
        sources: The media.
        tombstones: Whether a media without rows in a table gets a tombstone there, which removes those that the
            warehouse holds.
    """
    rows = Rows()
    media = _Level.of_sources(MEDIA_DECODER, dataset_id, sources, rows)
    frames = media.children("frames")
    captions = frames.children("captions")
    objects = frames.children("objects")
    frames.columns |= _moments(frames)
    tags = [
        (media_id, group, tag)
        for media_id, groups in zip(media.ids, media.reach("metadata", "tags"), strict=True)
        if groups
        for group, tag in _tags(groups)
    ]
    categories: list[tuple[str, str | None, str]] = [(media_id, None, c) for media_id, _, c in media.categories()]
    categories += frames.categories()
    for level in (media, frames, captions, objects):
        level.build()
    rows.tables[MEDIA_TAGS.name] = _plain(MEDIA_TAGS, dataset_id, tags, ("media_id", "tag_group", "tag"))
    rows.tables[MODERATION_CATEGORIES.name] = _plain(
        MODERATION_CATEGORIES, dataset_id, categories, ("media_id", "frame_id", "category")
    )
    if tombstones:
        for table in CHILDREN:
            filled = set(rows.tables[table.name]["media_id"].to_pylist())
            _append(rows, table, gone_rows(table, dataset_id, [i for i in media.ids if i not in filled]))
    return rows


@_however_deep
def folder_rows(dataset_id: str, sources: Sequence[RawItem]) -> Rows:
    """The rows of some folders."""
    rows = Rows()
    folders = _Level.of_sources(FOLDER_DECODER, dataset_id, sources, rows)
    folders.columns["parent_path"] = [
        path.rpartition(".")[0] if isinstance(path, str) and "." in path else None for path in folders.fields["path"]
    ]
    folders.build()
    return rows


def gone_rows(table: Table, dataset_id: str, ids: Sequence[str]) -> pa.Table:
    """Tombstones: rows that remove what the warehouse holds of these ids."""
    holder = "media_id" if "media_id" in table.by_name else "id"
    return full(table, {"dataset_id": [dataset_id] * len(ids), holder: list(ids), GONE: [True] * len(ids)}, len(ids))


def full(table: Table, columns: Mapping[str, Any], size: int) -> pa.Table:
    """An arrow table with all columns of a table, those not given null."""
    arrays = []
    for column in table.columns:
        values = columns.get(column.name)
        kind = ARROW_TYPES[column.kind]
        if values is None:
            arrays.append(pa.nulls(size, kind))
        else:
            arrays.append(values if isinstance(values, (pa.Array, pa.ChunkedArray)) else pa.array(values, kind))
    return pa.Table.from_arrays(arrays, schema=table.arrow_schema)


def records(rows: pa.Table, table: Table) -> list[dict[str, Any]]:
    """The same rows as plain dictionaries, JSON as objects, for destinations that do not take arrow.

    Whole numbers in JSON that need more than 64 bits become texts there: dlt cannot write them.
    """
    found: list[dict[str, Any]] = rows.to_pylist()
    json_columns = [c.name for c in table.columns if c.kind == "json"]
    for row in found:
        for name in json_columns:
            if row[name] is not None:
                value = decode_json(row[name].encode())
                row[name] = _storable(value) if _LONG_NUMBER.search(row[name]) else value
    return found


def _storable(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _storable(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_storable(one) for one in value]
    return str(value) if isinstance(value, int) and not -_INT64 <= value < 2 * _INT64 else value


class _Level:
    """Items of one table, found in the items of the level above, on their way to an arrow table.

    `fields` holds the values of every field, a column each, in the order of the items.
    """

    def __init__(self, shape: Shape, dataset_id: str, items: Sequence[Struct], rows: Rows) -> None:
        self.shape = shape
        self.table = shape.table
        self.dataset_id = dataset_id
        self.size = len(items)
        self.rows = rows
        self.ids: list[str] = []
        self.media_ids: list[str] = []
        self.columns: dict[str, Any] = {}
        self.extras: dict[int, dict[str, Any]] = {}
        self.json: dict[str, Sequence[bytes | None]] = {}
        self.objects: dict[str, Sequence[Any]] = {}
        self.fields = transposed(shape, items)
        for key in shape.learned:
            self.keep(key, {index: value for index, value in enumerate(self.fields[key]) if value is not None})
        for index, left in enumerate(self.fields[""]):
            if left:
                for key, value in left.items():
                    self.keep(key, {index: value})
        if not set(map(type, self.fields["id"])) <= _IDS:
            self.keep("id", {n: given for n, given in enumerate(self.fields["id"]) if type(given) not in _IDS})

    @classmethod
    def of_sources(cls, decoder: Decoder, dataset_id: str, sources: Sequence[RawItem], rows: Rows) -> _Level:
        """The topmost level."""
        level = cls(decoder.shape, dataset_id, decoder.read([source.raw for source in sources]), rows)
        level.ids = level.media_ids = [source.id for source in sources]
        level.check_reference("datasetId", [dataset_id] * len(sources), [dataset_id] * len(sources))
        level.columns["content_hash"] = [source.content_hash for source in sources]
        return level

    def children(self, key: str) -> _Level:
        """The level of what stands in a list of each item."""
        lists = self.fields[key]
        above = [index for index, found in enumerate(lists) if found for _ in found]
        items = list(chain.from_iterable(filter(None, lists)))
        ids = _child_ids([item.id for item in items], self.ids, above, key)
        if len(set(ids)) < len(ids):
            # sent twice within a media: the first one counts
            first: dict[tuple[str, str], int] = {}
            for n, up in enumerate(above):
                first.setdefault((self.media_ids[up], ids[n]), n)
            kept = sorted(first.values())
            items, above, ids = [items[n] for n in kept], [above[n] for n in kept], [ids[n] for n in kept]
        level = _Level(self.shape.children[key], self.dataset_id, items, self.rows)
        level.ids = ids
        level.media_ids = [self.media_ids[index] for index in above]
        level.check_reference("mediaId", level.media_ids, level.media_ids)
        if self.table is FRAMES:
            parents = level.columns["frame_id"] = [self.ids[index] for index in above]
            given = self.fields["id"]
            level.check_reference("frameId", parents, [given[index] for index in above])
        return level

    def check_reference(self, key: str, parents: list[str], as_sent: list[Any]) -> None:
        """Keeps a reference to a parent where it is not the parent that the item was found in."""
        found = self.fields[key]
        if list(found) == as_sent:
            return
        for index, given in enumerate(found):
            if given is None or given == as_sent[index]:
                continue
            if not (isinstance(given, str) and canonical_id(given) == parents[index]):
                self.keep(key, {index: given})

    def texts(self, key: str) -> Sequence[bytes | None]:
        """The JSON texts in a field of each item."""
        if key not in self.json:
            texts = [raw and bytes(raw) for raw in self.fields[key]]
            self.json[key] = texts if _JSON_NULL not in texts else [None if t == _JSON_NULL else t for t in texts]
        return self.json[key]

    def reach(self, key: str, *inside: str) -> Sequence[Any]:
        """What stands inside a JSON object of each item; None where there is no such object."""
        values = self._decoded(key)
        for step in inside:
            if not any(values):
                return (None,) * self.size
            values = [value.get(step) if type(value) is dict else None for value in values]
        return values

    def _decoded(self, key: str) -> Sequence[Any]:
        if key not in self.objects:
            texts = self.texts(key)
            # the frames of a media often have the same
            decoded = {text: text and decode_json(text) for text in set(texts)}
            self.objects[key] = [decoded[text] for text in texts]
        return self.objects[key]

    def categories(self) -> Iterator[tuple[str, str, str]]:
        """The moderation categories of each item, behind the ids of its media and of itself."""
        found = self.reach("metadata", "moderation", "categories")
        for media_id, item_id, categories in zip(self.media_ids, self.ids, found, strict=True):
            if categories not in _NOTHING:
                for category in _texts(categories):
                    yield media_id, item_id, category

    def keep(self, key: str, values: Mapping[int, Any]) -> None:
        """Puts what is left of a field into the `extra` of its items, by their index."""
        for index, value in values.items():
            self.extras.setdefault(index, {})[key] = value
        if values:
            self.rows.unknown_fields.add(clean_text(f"{self.table.name}.{key}"))

    def build(self) -> None:
        """Makes the arrow table."""
        columns = self.columns
        columns |= {"id": self.ids, "media_id": self.media_ids}
        columns["dataset_id"] = pa.repeat(pa.scalar(self.dataset_id, pa.string()), self.size)
        for column in self.table.columns:
            if column.api is None:
                continue
            key, *inside = column.api.split(".")
            if inside:
                # what does not fit is still whole in the JSON column that it was taken from
                columns[column.name], _ = _convert(self.reach(key, *inside), column.kind)
                continue
            values = self.texts(key) if column.kind == "json" else self.fields[key]
            columns[column.name], misfits = _convert(values, column.kind)
            self.keep(key, misfits)
        if "extra" in self.table.by_name and self.extras:
            columns["extra"] = [
                encode_json(extra) if (extra := self.extras.get(index)) else None for index in range(self.size)
            ]
        self.rows.tables[self.table.name] = full(self.table, columns, self.size)


def _child_ids(given: list[Any], parents: list[str], above: list[int], kind: str) -> list[str]:
    """The canonical ids of children; where one has none that can be used, one made from its place."""
    try:
        texts = pa.array(given, pa.string())
        if texts.null_count == 0 and pc.all(pc.match_substring_regex(texts, _CANONICAL_ID)).as_py():
            return given
    except (pa.ArrowException, UnicodeEncodeError):
        pass
    begins: dict[int, int] = {}
    for n, up in enumerate(above):
        begins.setdefault(up, n)
    return [
        _child_id(item_id, parents[up], kind, n - begins[up])
        for n, (item_id, up) in enumerate(zip(given, above, strict=True))
    ]


def _child_id(given: Any, parent_id: str, kind: str, place: int) -> str:
    if type(given) is str and given:
        return clean_text(canonical_id(given))
    if type(given) is int:
        return str(given)
    return f"without-id-{text_hash(f'{parent_id}/{kind}/{place}'):016x}"


def _texts(values: Any) -> list[str]:
    """Values of a tag group or a list of categories as text; what is no text as compact JSON."""
    listed = values if isinstance(values, list) else [values]
    return [v if type(v) is str and v.isascii() else _text(v) for v in listed if v is not None]


def _text(value: Any) -> str:
    return clean_text(value) if isinstance(value, str) else encode_json(value)


def _tags(tags: Any) -> list[tuple[str, str]]:
    if not isinstance(tags, dict):
        return []
    return [(clean_text(group), tag) for group, values in tags.items() for tag in _texts(values)]


def _moments(frames: _Level) -> dict[str, Any]:
    """The columns that tell where in a video a frame is."""
    texts: list[str | None] = []
    for index, given in enumerate(frames.fields["timestamp"]):
        if given is None or isinstance(given, str):
            texts.append(given and clean_text(given))
        elif type(given) in (int, float):
            texts.append(encode_json(given))
        else:
            texts.append(None)
            frames.keep("timestamp", {index: given})
    ends = [_seconds(end) for end in frames.fields["endTimestamp"]]
    given_ends = zip(frames.fields["endTimestamp"], ends, strict=True)
    frames.keep("endTimestamp", {n: given for n, (given, end) in enumerate(given_ends) if end is None is not given})
    return {
        "timestamp": texts,
        "timestamp_seconds": [_seconds(text) for text in texts],
        "end_timestamp_seconds": ends,
    }


def _seconds(value: Any) -> float | None:
    if value is None or isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return None
    try:
        seconds = float(value)
    except (ValueError, OverflowError):
        return None
    return seconds if math.isfinite(seconds) else None


def _plain(table: Table, dataset_id: str, found: Iterable[tuple[Any, ...]], names: tuple[str, ...]) -> pa.Table:
    rows = list(dict.fromkeys(found))
    columns: dict[str, Any] = {name: [row[i] for row in rows] for i, name in enumerate(names)}
    return full(table, {**columns, "dataset_id": [dataset_id] * len(rows)}, len(rows))


def _append(rows: Rows, table: Table, more: pa.Table) -> None:
    if more.num_rows:
        rows.tables[table.name] = pa.concat_tables([rows.tables[table.name], more])


def _convert(values: Sequence[Any], kind: Kind) -> tuple[pa.Array, dict[int, Any]]:
    """A column of a kind, and the values that do not fit it by their index."""
    fast, fit = _KINDS[kind]
    try:
        converted = fast(values)
        if converted is not None:
            return converted, {}
    except (pa.ArrowException, OverflowError, UnicodeEncodeError, TypeError, ValueError):
        pass
    fitted = [None if v is None else fit(v) for v in values]
    misfits = {i: v for i, (v, f) in enumerate(zip(values, fitted, strict=True)) if f is None and v is not None}
    return pa.array(fitted, ARROW_TYPES[kind]), misfits


def _only(values: Sequence[Any], *types: type) -> bool:
    return set(map(type, values)) <= {*types, _NONE}


def _fast_text(values: Sequence[Any]) -> pa.Array | None:
    return pa.array(values, pa.string())


def _fit_text(value: Any) -> str | None:
    return clean_text(value) if isinstance(value, str) else None


def _fast_id(values: Sequence[Any]) -> pa.Array | None:
    if not _only(values, str):
        return None
    forms: dict[Any, Any] = {value: value and canonical_id(value) for value in set(values)}
    return pa.array([forms[value] for value in values], pa.string())


def _fit_id(value: Any) -> str | None:
    return clean_text(canonical_id(value)) if isinstance(value, str) else None


def _fast_bigint(values: Sequence[Any]) -> pa.Array | None:
    # arrow would cut off fractions
    return pa.array(values, pa.int64()) if _only(values, int) else None


def _fit_bigint(value: Any) -> int | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    if isinstance(value, float) and not (math.isfinite(value) and value.is_integer()):
        return None
    return int(value) if -_INT64 <= value < _INT64 else None


def _fast_double(values: Sequence[Any]) -> pa.Array | None:
    if not _only(values, float, int):
        return None
    numbers = pa.array(values, pa.float64())
    return numbers if pc.all(pc.is_finite(numbers)).as_py() in (True, None) else None


def _fit_double(value: Any) -> float | None:
    return _seconds(value) if isinstance(value, (int, float)) else None


def _fast_bool(values: Sequence[Any]) -> pa.Array | None:
    return pa.array(values, pa.bool_())


def _fit_bool(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None


def _fast_timestamp(values: Sequence[Any]) -> pa.Array | None:
    moments = pa.array(values, pa.string()).cast(ARROW_TYPES["timestamp"])
    ends = pc.min_max(moments.cast(pa.int64()))
    return moments if in_range(ends["min"].as_py() or 0) and in_range(ends["max"].as_py() or 0) else None


def _fit_timestamp(value: Any) -> datetime | None:
    return parse_timestamp(value)


def _fast_json(values: Sequence[bytes | None]) -> pa.Array | None:
    return pa.array(values, pa.string())


def _fit_json(value: bytes) -> str | None:
    return value.decode("utf-8", "replace")


_KINDS: dict[Kind, tuple[Callable[[Sequence[Any]], pa.Array | None], Callable[[Any], Any]]] = {
    "text": (_fast_text, _fit_text),
    "id": (_fast_id, _fit_id),
    "bigint": (_fast_bigint, _fit_bigint),
    "double": (_fast_double, _fit_double),
    "bool": (_fast_bool, _fit_bool),
    "timestamp": (_fast_timestamp, _fit_timestamp),
    "json": (_fast_json, _fit_json),
}
