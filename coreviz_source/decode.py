"""Raw items become objects: the declared fields of each, its children, and whatever else it has.

Items of the documented form are read by a decoder made from `tables.py`, in one step and without a dictionary each.
An item with fields that no column declares is read the slow way once; then the decoder has learned those fields too.
What is learned changes how fast an item is read, never what is read.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import MsgspecError, Raw, Struct

from coreviz_source.tables import FOLDERS, MEDIA, Table
from coreviz_source.values import decode_json, encode_json

#: Fields without a column that the decoder of a table learns; an item with more of them is always read the slow way.
MOST_LEARNED = 50

#: The key of what fits nowhere. An item that has it as a field of its own is always read the slow way.
_LEFT = "(what fits nowhere)"


class _Leftovers(dict[str, Any]):
    """What of an object fits nowhere. No JSON value is of this type, so only the slow way fills such a field."""


class Shape:
    """What an object of one table looks like: its fields, and the shapes of the lists in it, as `tables.py` declares.

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
        self._met: set[str] = set()
        self._make()

    def _make(self) -> None:
        def kind(key: str) -> Any:
            return Raw if key in self.json else Any

        kinds = [kind(key) for key in self.declared]
        kinds += [list[child.type] | None for child in self.children.values()]  # type: ignore[name-defined]
        kinds += [Raw] * len(self.learned)
        names = [key if key == "id" else f"field_{number}" for number, key in enumerate(self.keys)]
        #: Objects of this shape: the declared fields, the lists, what was learned, what is left over.
        self.type: type[Struct] = msgspec.defstruct(
            self.table.name,
            [*((name, kind, None) for name, kind in zip(names, kinds, strict=True)), ("left", _Leftovers, None)],
            rename={**dict(zip(names, self.keys, strict=True)), "left": _LEFT},
            forbid_unknown_fields=True,
            gc=False,
        )

    @property
    def keys(self) -> tuple[str, ...]:
        """API keys of all fields of an object, in their order."""
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
                self._met.add(key)
        return self.type(*map(values.get, self.keys), left or None)

    def learn(self) -> bool:
        """Takes the fields met since the last time into the shape; returns whether it has changed."""
        changed = any([child.learn() for child in self.children.values()])
        learned = tuple(sorted({*self.learned, *filter(_can_be_learned, self._met)}))
        self._met.clear()
        if self.learned != learned and len(learned) <= MOST_LEARNED:
            self.learned, changed = learned, True
        if changed:
            self._make()
        return changed


def _can_be_learned(key: str) -> bool:
    # the empty key is the one under which `transposed` gives what is left over
    return key not in ("", _LEFT) and key.isprintable() and not set(key) & {'"', "\\"}


class Decoder(threading.local):
    """Reads items of one shape. Each thread has a shape of its own: one that learns while another reads would mix both.

    Args:
        make: Makes the shape, before it has learned anything.
    """

    def __init__(self, make: Callable[[], Shape]) -> None:
        self.shape = make()
        self._decoder = msgspec.json.Decoder(self.shape.type)

    def read(self, items: Sequence[bytes]) -> list[Struct]:
        """The items as objects, all of the same shape."""
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


#: One for all datasets: what was learned of one holds for the next.
MEDIA_DECODER = Decoder(lambda: Shape(MEDIA))
FOLDER_DECODER = Decoder(lambda: Shape(FOLDERS))


def transposed(shape: Shape, items: Iterable[Struct]) -> dict[str, Sequence[Any]]:
    """The values of each field of some objects, by API key; what is left over stands under the empty key."""
    columns: list[Sequence[Any]] = list(zip(*map(msgspec.structs.astuple, items), strict=True))
    return dict(zip((*shape.keys, ""), columns or [()] * (len(shape.keys) + 1), strict=True))
