"""Raw items become objects: the declared fields of each, its child items, and whatever else it has.

A decoder made from `tables.py` reads items of the documented form in one step, without a dictionary per object. An
item with fields that no column declares is read the slow way once. Then the decoder has learned those fields too.
What it has learned changes how fast an item is read, never what is read.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import MsgspecError, Raw, Struct

from coreviz_source.tables import FOLDERS, MEDIA, Table
from coreviz_source.values import decode_json, encode_json

#: Number of fields without a column that the decoder of a table learns. An item with more is always read the slow way.
MOST_LEARNED = 50

#: The key of what fits nowhere. An item with a field of this name is always read the slow way.
_LEFT = "(what fits nowhere)"


class _Leftovers(dict[str, Any]):
    """The fields of an object that fit nowhere. No JSON value is of this type, so only the slow way fills them in."""


class Shape:
    """What an object of one table looks like, as `tables.py` declares it: its fields, and the shapes of its lists.

    Args:
        table: The table that such objects are rows of.
    """

    def __init__(self, table: Table) -> None:
        self.table = table
        #: The shape of the objects in a list, by the list's API key.
        self.children = {str(child.api): Shape(child) for child in table.children}
        self.json = {c.api for c in table.columns if c.kind == "json" and c.api}
        #: API keys of the declared fields, the first of `keys`.
        self.declared = table.api_fields
        self.learned: tuple[str, ...] = ()
        self._found: set[str] = set()
        self._make()

    def _make(self) -> None:
        def kind(key: str) -> Any:
            return Raw if key in self.json else Any

        kinds = [kind(key) for key in self.declared]
        kinds += [list[child.type] | None for child in self.children.values()]  # type: ignore[name-defined]
        kinds += [Raw] * len(self.learned)
        names = [key if key == "id" else f"field_{number}" for number, key in enumerate(self.keys)]
        #: Objects of this shape: declared fields, lists, learned fields, what fits nowhere.
        self.type: type[Struct] = msgspec.defstruct(
            self.table.name,
            [*((name, kind, None) for name, kind in zip(names, kinds, strict=True)), ("left", _Leftovers, None)],
            rename={**dict(zip(names, self.keys, strict=True)), "left": _LEFT},
            forbid_unknown_fields=True,
            gc=False,
        )

    @property
    def keys(self) -> tuple[str, ...]:
        """API keys of all fields of an object, in order."""
        return (*self.declared, *self.children, *self.learned)

    def fill(self, item: Mapping[str, Any]) -> Struct:
        """An object of this shape from a dictionary that may be of any form."""
        values: dict[str, Any] = {}
        left = _Leftovers()
        for key, value in item.items():
            if key in self.children:
                objects = [child for child in value if isinstance(child, dict)] if isinstance(value, list) else []
                values[key] = [self.children[key].fill(child) for child in objects]
                if not isinstance(value, list):
                    left |= {} if value is None else {key: value}
                elif len(objects) < len(value):
                    left[key] = [child for child in value if not isinstance(child, dict)]
            elif key in self.json:
                values[key] = None if value is None else Raw(encode_json(value).encode())
            elif key in self.declared:
                values[key] = value
            else:
                left[key] = value
                self._found.add(key)
        return self.type(*map(values.get, self.keys), left or None)

    def learn(self) -> bool:
        """Takes the fields found since the last call into the shape, and returns whether it has changed."""
        changed = any([child.learn() for child in self.children.values()])
        learned = tuple(sorted({*self.learned, *filter(_can_be_learned, self._found)}))
        self._found.clear()
        if self.learned != learned and len(learned) <= MOST_LEARNED:
            self.learned, changed = learned, True
        if changed:
            self._make()
        return changed


def _can_be_learned(key: str) -> bool:
    # the empty key is the one under which `transposed` returns what fits nowhere
    return key not in ("", _LEFT) and key.isprintable() and not set(key) & {'"', "\\"}


class Decoder(threading.local):
    """Reads items of one shape.

    Each thread has a shape of its own, because a shape that learns while another thread reads would mix up fields.

    Args:
        make: Makes a shape that has learned nothing yet.
    """

    def __init__(self, make: Callable[[], Shape]) -> None:
        self.shape = make()
        self._decoder = msgspec.json.Decoder(self.shape.type)

    def read(self, items: Sequence[bytes]) -> list[Struct]:
        """Decodes items, given as JSON, into objects of the same shape."""
        found = [self._one(raw) for raw in items]
        if self.shape.learn():
            self._decoder = msgspec.json.Decoder(self.shape.type)
            return self.read(items)
        return found

    def _one(self, raw: bytes) -> Struct:
        try:
            return self._decoder.decode(raw)
        except (MsgspecError, UnicodeDecodeError):
            item = decode_json(raw)
            return self.shape.fill(item if isinstance(item, dict) else {"value": item})


#: One for all datasets: what it learned from one holds for the next.
MEDIA_DECODER = Decoder(lambda: Shape(MEDIA))
FOLDER_DECODER = Decoder(lambda: Shape(FOLDERS))


def transposed(shape: Shape, items: Iterable[Struct]) -> dict[str, Sequence[Any]]:
    """The values of each field of some objects, by API key. The empty key has what fits nowhere."""
    columns: list[Sequence[Any]] = list(zip(*map(msgspec.structs.astuple, items), strict=True))
    return dict(zip((*shape.keys, ""), columns or [()] * (len(shape.keys) + 1), strict=True))
