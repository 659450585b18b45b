"""Items become arrow tables: flattened, one typed column after the other, with everything else in `extra`.

Rows are made for many items at once. A value that does not fit its column is kept in `extra` under the API's own key.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import wraps
from itertools import chain
from typing import Any, NamedTuple, TypeVar, cast

import pyarrow as pa
import pyarrow.compute as pc
from msgspec import Struct

from coreviz_source.listing.raw_item import RawItem
from coreviz_source.rows import derive
from coreviz_source.rows.convert import convert
from coreviz_source.rows.decode import FOLDER_DECODER, MEDIA_DECODER, Decoder, Shape, transposed
from coreviz_source.tables import (
    ARROW_TYPES,
    BY_NAME,
    CHILDREN,
    FOLDERS,
    FRAMES,
    GONE,
    MEDIA,
    MEDIA_TAGS,
    MODERATION_CATEGORIES,
    OBJECTS,
    Table,
)
from coreviz_source.values import canonical_id, clean_text, decode_json, encode_json, shallow, text_hash

#: Raised whenever the same item becomes other rows than before, so that every item is built again.
ROWS_VERSION = 3

_NONE = type(None)
_IDS = {str, int, _NONE}
_NOTHING: tuple[Any, ...] = (None, [])
_JSON_NULL = b"null"
_CANONICAL_ID = "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"
_STRIPPED_ID = "^[0-9a-f]{32}$"
_GROUPS = ((0, 8), (8, 12), (12, 16), (16, 20), (20, 32))
_INT64 = 2**63
_LONG_NUMBER = re.compile(r"\d{19}")
#: The escape of a NUL, behind an even number of backslashes.
_NUL = re.compile(rb"(?<!\\)((?:\\\\)*)\\u0000")


@dataclass
class Rows:
    """Rows of some items, one arrow table per table, and the fields found that no column declares."""

    tables: dict[str, pa.Table] = field(default_factory=dict)
    unknown_fields: set[str] = field(default_factory=set)


def replace_nul(items: Iterable[RawItem]) -> int:
    """Replaces NUL characters, which Postgres cannot store, by U+FFFD.

    Returns:
        The number of items that had some.
    """
    found = 0
    for item in items:
        if rb"\u0000" in item.raw:
            item.raw, count = _NUL.subn(rb"\1\\ufffd", item.raw)
            found += bool(count)
    return found


_Build = TypeVar("_Build", bound=Callable[..., Rows])


def _at_any_depth(build: _Build) -> _Build:
    """Turns JSON into a string that is nested too deeply to be read, or to be written again further down the stack."""

    @wraps(build)
    def built(dataset_id: str, items: Sequence[RawItem], *rest: Any, **named: Any) -> Rows:
        try:
            return build(dataset_id, items, *rest, **named)
        except RecursionError:
            for item in items:
                item.raw = shallow(item.raw)
            return build(dataset_id, items, *rest, **named)

    return cast(_Build, built)


@_at_any_depth
def media_rows(dataset_id: str, items: Sequence[RawItem], with_tombstones: bool) -> Rows:
    """Builds the rows of some media items, in all tables that a media item has rows in.

    Args:
        dataset_id: Canonical id of the dataset.
        items: The media items.
        with_tombstones: Whether a media item without rows in a table gets a tombstone there. It removes the rows that
            the warehouse stores.
    """
    media = TableBuilder.of_items(MEDIA_DECODER, dataset_id, items)
    builders = [media, *media.descendants()]
    rows = _built(builders)
    tags = (
        (media_id, group, tag)
        for media_id, groups in zip(media.ids, media.reach("metadata", "tags"), strict=True)
        for group, tag in derive.tags(groups)
    )
    categories = chain.from_iterable(builder.categories() for builder in builders)
    rows.tables |= {
        MEDIA_TAGS.name: _distinct(MEDIA_TAGS, dataset_id, tags, ("media_id", "tag_group", "tag")),
        MODERATION_CATEGORIES.name: _distinct(
            MODERATION_CATEGORIES, dataset_id, categories, ("media_id", "frame_id", "category")
        ),
    }
    if with_tombstones:
        for child in CHILDREN:
            built = rows.tables[child.name]
            filled = set(built["media_id"].to_pylist())
            if empty := [media_id for media_id in media.ids if media_id not in filled]:
                rows.tables[child.name] = pa.concat_tables([built, tombstones(child, dataset_id, empty)])
    return rows


@_at_any_depth
def folder_rows(dataset_id: str, items: Sequence[RawItem]) -> Rows:
    """Builds the rows of some folders."""
    return _built([TableBuilder.of_items(FOLDER_DECODER, dataset_id, items)])


def _built(builders: Sequence[TableBuilder]) -> Rows:
    rows = Rows()
    found = {builder.table.name: builder for builder in builders}
    for name in [name for name in BY_NAME if name in found]:
        rows.tables[name] = found[name].build()
        rows.unknown_fields |= found[name].unknown_fields
    return rows


def tombstones(table: Table, dataset_id: str, ids: Sequence[str]) -> pa.Table:
    """Rows that remove what the warehouse stores of these media items or folders."""
    size = len(ids)
    columns = {"dataset_id": [dataset_id] * size, table.media_column: list(ids), GONE: [True] * size}
    return as_table(table, columns, size)


def as_table(table: Table, columns: Mapping[str, Any], size: int) -> pa.Table:
    """An arrow table with all columns of a table. Columns that are not given are null."""
    arrays = []
    for column in table.columns:
        values = columns.get(column.name)
        kind = ARROW_TYPES[column.kind]
        if values is None:
            arrays.append(pa.nulls(size, kind))
        else:
            arrays.append(values if isinstance(values, (pa.Array, pa.ChunkedArray)) else pa.array(values, kind))
    return pa.Table.from_arrays(arrays, schema=table.arrow_schema)


def to_dicts(rows: pa.Table, table: Table) -> list[dict[str, Any]]:
    """The same rows as plain dictionaries with JSON as objects, for destinations that do not take arrow.

    Whole numbers in JSON that need more than 64 bits become strings, because dlt cannot write them.
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


class Ancestor(NamedTuple):
    """The items of an ancestor table that contain some items, one per item."""

    table: Table
    #: Their canonical ids.
    ids: Sequence[str]
    #: Their ids as sent.
    sent: Sequence[Any]


class TableBuilder:
    """Builds the arrow table of some items of one table.

    Args:
        shape: The shape of the items.
        dataset_id: Canonical id of the dataset.
        items: The items, decoded.
        ids: Their canonical ids.
        ancestors: The items that they were found in, the topmost table first.
    """

    def __init__(
        self,
        shape: Shape,
        dataset_id: str,
        items: Sequence[Struct],
        ids: Sequence[str],
        ancestors: Sequence[Ancestor] = (),
    ) -> None:
        self.table = shape.table
        self.ids = ids
        #: The values of each API field, in the order of the items.
        self.fields = transposed(shape, items)
        #: The fields found that no column declares, and those with values that do not fit.
        self.unknown_fields: set[str] = set()
        self._shape = shape
        self._dataset_id = dataset_id
        self._size = len(items)
        self._ancestors = ancestors
        self._columns: dict[str, Any] = {}
        self._extras: dict[int, dict[str, Any]] = {}
        self._json: dict[str, Sequence[bytes | None]] = {}
        self._decoded: dict[str, Sequence[Any]] = {}
        self._reached: dict[tuple[str, ...], Sequence[Any]] = {}

    @classmethod
    def of_items(cls, decoder: Decoder, dataset_id: str, items: Sequence[RawItem]) -> TableBuilder:
        """The builder of items as the API lists them."""
        decoded = decoder.read([item.raw for item in items])
        builder = cls(decoder.shape, dataset_id, decoded, [item.id for item in items])
        builder._columns["content_hash"] = [item.content_hash for item in items]
        return builder

    @property
    def media_ids(self) -> Sequence[str]:
        """The media item that each item belongs to."""
        return self._ancestors[0].ids if self._ancestors else self.ids

    def descendants(self) -> Iterator[TableBuilder]:
        """Builders of the items in lists of the items, at any depth."""
        for key in self._shape.children:
            child = self._child(key)
            yield child
            yield from child.descendants()

    def _child(self, key: str) -> TableBuilder:
        lists = self.fields[key]
        above = [index for index, found in enumerate(lists) if found for _ in found]
        items = list(chain.from_iterable(filter(None, lists)))
        ids = _child_ids([item.id for item in items], self.ids, above, key)
        if len(set(ids)) < len(ids):
            # sent twice within a media item: the first one counts
            media_ids = self.media_ids
            first: dict[tuple[str, str], int] = {}
            for n, up in enumerate(above):
                first.setdefault((media_ids[up], ids[n]), n)
            kept = sorted(first.values())
            items, above, ids = [items[n] for n in kept], [above[n] for n in kept], [ids[n] for n in kept]
        ancestors = [
            Ancestor(table, [canonical[n] for n in above], [sent[n] for n in above])
            for table, canonical, sent in (*self._ancestors, Ancestor(self.table, self.ids, self.fields["id"]))
        ]
        return TableBuilder(self._shape.children[key], self._dataset_id, items, ids, ancestors)

    def reach(self, key: str, *inside: str) -> Sequence[Any]:
        """What stands inside a JSON object of each item; None where there is no such object."""
        if not inside:
            return self._objects(key)
        path = (key, *inside)
        if path not in self._reached:
            *before, last = inside
            values = self.reach(key, *before)
            self._reached[path] = (
                [value.get(last) if type(value) is dict else None for value in values]
                if any(values)
                else (None,) * self._size
            )
        return self._reached[path]

    def _objects(self, key: str) -> Sequence[Any]:
        if key not in self._decoded:
            texts = self._texts(key)
            # the frames of a media item often have the same
            decoded = {text: text and decode_json(text) for text in set(texts)}
            self._decoded[key] = [decoded[text] for text in texts]
        return self._decoded[key]

    def _texts(self, key: str) -> Sequence[bytes | None]:
        """The JSON in a field of each item; None instead of JSON's null."""
        if key not in self._json:
            texts = [None if raw is None else bytes(raw) for raw in self.fields[key]]
            self._json[key] = texts if _JSON_NULL not in texts else [None if t == _JSON_NULL else t for t in texts]
        return self._json[key]

    def categories(self) -> Iterator[tuple[str, str | None, str]]:
        """The moderation categories of each item, after the id of its media item and of its frame."""
        if "moderation_status" not in self.table.by_name:
            return
        found = self.reach("metadata", "moderation", "categories")
        frame_ids = self.ids if self.table is FRAMES else (None,) * self._size
        for media_id, frame_id, categories in zip(self.media_ids, frame_ids, found, strict=True):
            if categories not in _NOTHING:
                for category in derive.texts(categories):
                    yield media_id, frame_id, category

    def build(self) -> pa.Table:
        """The arrow table."""
        self._keep_undeclared()
        self._add_ids()
        self._derive()
        for column in self.table.columns:
            if column.api is None:
                continue
            key, *inside = column.api.split(".")
            if inside:
                # a value that does not fit is still in the JSON column that it was taken from
                self._columns[column.name], _ = convert(self.reach(key, *inside), column.kind)
                continue
            values = self._texts(key) if column.kind == "json" else self.fields[key]
            self._columns[column.name], misfits = convert(values, column.kind)
            self._keep(key, misfits)
        if "extra" in self.table.by_name and self._extras:
            self._columns["extra"] = [
                encode_json(extra) if (extra := self._extras.get(index)) else None for index in range(self._size)
            ]
        return as_table(self.table, self._columns, self._size)

    def _keep_undeclared(self) -> None:
        for key in self._shape.learned:
            self._keep(key, {n: value for n, value in enumerate(self.fields[key]) if value is not None})
        for index, left in enumerate(self.fields[""]):
            if left:
                for key, value in left.items():
                    self._keep(key, {index: value})
        for key, implied in self.table.implied:
            self._keep(key, {n: v for n, v in enumerate(self.fields[key]) if v is not None and v != implied})
        if not set(map(type, self.fields["id"])) <= _IDS:
            self._keep("id", {n: given for n, given in enumerate(self.fields["id"]) if type(given) not in _IDS})

    def _add_ids(self) -> None:
        self._columns["id"] = self.ids
        self._columns["dataset_id"] = pa.repeat(pa.scalar(self._dataset_id, pa.string()), self._size)
        dataset_ids = [self._dataset_id] * self._size
        self._check_reference("datasetId", dataset_ids, dataset_ids)
        for table, ids, sent in self._ancestors:
            column = self.table.reference_to(table)
            if column is not None and column.made_from is not None:
                self._columns[column.name] = ids
                self._check_reference(column.made_from, ids, sent)

    def _check_reference(self, key: str, ids: Sequence[str], sent: Sequence[Any]) -> None:
        """Keeps a reference that does not name the item that its item was found in."""
        found = self.fields[key]
        if list(found) == list(sent) or found.count(None) == len(found):
            return
        for index, given in enumerate(found):
            if given is None or given == sent[index]:
                continue
            if not (isinstance(given, str) and canonical_id(given) == ids[index]):
                self._keep(key, {index: given})

    def _derive(self) -> None:
        if self.table.name in (MEDIA.name, FOLDERS.name):
            column = "folder_id" if "folder_id" in self.table.by_name else "parent_id"
            self._columns[column] = derive.folder_ids(self.fields["path"], self.ids, self._dataset_id)
            if "file_name" in self.table.by_name:
                self._columns["file_name"] = derive.file_names(self.fields["name"])
        elif self.table.name == FRAMES.name:
            for key, worked_out in (("timestamp", derive.positions), ("endTimestamp", derive.end_positions)):
                columns, misfits = worked_out(self.fields[key])
                self._columns |= columns
                self._keep(key, misfits)
        elif self.table.name == OBJECTS.name:
            self._columns |= derive.edges(self._texts("polygon"))

    def _keep(self, key: str, values: Mapping[int, Any]) -> None:
        """Puts values of a field into the `extra` of their items, by the items' index."""
        for index, value in values.items():
            self._extras.setdefault(index, {})[key] = value
        if values:
            self.unknown_fields.add(clean_text(f"{self.table.name}.{key}"))


def _child_ids(given: list[Any], parents: Sequence[str], above: list[int], kind: str) -> list[str]:
    """The canonical ids of child items. One without a usable id gets an id made from its place."""
    try:
        texts = pa.array(given, pa.string())
        if texts.null_count == 0:
            if pc.all(pc.match_substring_regex(texts, _CANONICAL_ID)).as_py():
                return given
            if pc.all(pc.match_substring_regex(texts, _STRIPPED_ID)).as_py():
                groups = [pc.utf8_slice_codeunits(texts, begin, end) for begin, end in _GROUPS]
                hyphenated: list[str] = pc.binary_join_element_wise(*groups, "-").to_pylist()
                return hyphenated
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


def _distinct(table: Table, dataset_id: str, found: Iterable[tuple[Any, ...]], names: tuple[str, ...]) -> pa.Table:
    """The rows of a table whose columns are all in its key, each once."""
    rows = dict.fromkeys(found)
    columns: dict[str, Any] = dict(zip(names, zip(*rows, strict=True), strict=True)) if rows else {}
    columns["dataset_id"] = pa.repeat(pa.scalar(dataset_id, pa.string()), len(rows))
    return as_table(table, columns, len(rows))
