"""One media item or folder as the API sent it, with the few fields that are read before anything is decoded."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

import msgspec
from xxhash import xxh3_64_intdigest

from coreviz_source.values import canonical_id, decode_json, parse_timestamp, plain_text, text_hash


@dataclass(slots=True)
class RawItem:
    """One item of a listing: its raw JSON, and what has to be known of it before it becomes rows.

    Listings make it with `RawItem.from_json(raw)`; a test that only needs rows writes `RawItem("id", raw, "hash")`.

    Args:
        id: The canonical id. An item without a usable id gets one that is made from its content.
        raw: The JSON of the item, byte for byte as the API sent it.
        content_hash: The hash that is stored with the item's rows, in hexadecimal; empty until the item is compared.
        created_at: When the item was created, None if it does not say so in a usable way.
        is_folder: Whether the item is a folder and not a media item.
        is_deleted: Whether the item's status is "deleted".
    """

    id: str
    raw: bytes
    content_hash: str = ""
    created_at: datetime | None = None
    is_folder: bool = False
    is_deleted: bool = False

    @classmethod
    def from_json(cls, raw: bytes) -> RawItem:
        """Reads the few fields from an item's JSON; most of the JSON is skipped, not decoded."""
        item_id: object
        created_at: datetime | None
        try:
            head = _HEAD.decode(raw)
            item_id, created_at, kind, status = head.id, head.createdAt, head.type, head.status
            if created_at is not None and created_at.tzinfo is None:
                created_at = created_at.replace(tzinfo=timezone.utc)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            sent = decode_json(raw)
            sent = sent if isinstance(sent, dict) else {}
            item_id, kind, status = sent.get("id"), sent.get("type"), sent.get("status")
            created_at = parse_timestamp(sent.get("createdAt"))
        return cls(_usable_id(item_id, raw), raw, "", created_at, kind == "folder", status == "deleted")

    @property
    def key(self) -> int:
        """The hash of the id. A listing remembers it for each item: it is a fraction of the id's size."""
        return text_hash(self.id)


class _Head(msgspec.Struct):
    """The fields that are read. A `status` of another type than a string must not send the item the slow way."""

    id: str
    createdAt: datetime | None = None
    type: str | None = None
    status: Any = None


_HEAD = msgspec.json.Decoder(_Head)


def _usable_id(item_id: object, raw: bytes) -> str:
    """The canonical id of an item; if it has none that can be used, an id made from the item's content."""
    if isinstance(item_id, str) and item_id:
        return canonical_id(plain_text(item_id))
    if type(item_id) is int:
        return str(item_id)
    return f"without-id-{xxh3_64_intdigest(raw):016x}"
