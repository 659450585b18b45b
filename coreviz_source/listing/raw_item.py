"""One media item or folder as the API sent it, and the few fields that are read without decoding the rest."""

from __future__ import annotations

from datetime import datetime, timezone

import msgspec
from xxhash import xxh3_64_intdigest

from coreviz_source.values import canonical_id, decode_json, parse_timestamp, plain_text, text_hash


class RawItem(msgspec.Struct, gc=False):
    """One item of a listing, from the response that contains it to the rows that are built from it.

    A listing reads it from JSON: `RawItem.from_json(raw)`. To build rows, three values are enough:
    `RawItem("id", raw, "hash")`.

    Args:
        id: The canonical id.
        raw: The item's JSON, byte for byte as the API sent it.
        content_hash: The hash that is stored with the item's rows, in hexadecimal. It is empty until the item was
            compared and turned out to be new or changed.
        created_at: When the item was created; None if it has no usable time. A time without a zone is taken as UTC.
        is_folder: Whether the item is a folder, not a media item.
        is_deleted: Whether the item's status is the string "deleted".
    """

    id: str
    raw: bytes
    content_hash: str = ""
    created_at: datetime | None = None
    is_folder: bool = False
    is_deleted: bool = False

    @classmethod
    def from_json(cls, raw: bytes) -> RawItem:
        """Reads an item's JSON. The parser skips all fields but these few."""
        item_id: object
        created_at: datetime | None
        try:
            head = _HEAD.decode(raw)
            item_id, created_at, kind = head.id, head.createdAt, head.type
            is_deleted = bytes(head.status) == b'"deleted"'
            if created_at is not None and created_at.tzinfo is None:
                created_at = created_at.replace(tzinfo=timezone.utc)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            sent = decode_json(raw)
            sent = sent if isinstance(sent, dict) else {}
            item_id, created_at, kind = sent.get("id"), parse_timestamp(sent.get("createdAt")), sent.get("type")
            is_deleted = sent.get("status") == "deleted"
        return cls(_usable_id(item_id, raw), raw, "", created_at, kind == "folder", is_deleted)

    @property
    def key(self) -> int:
        """The hash of the id. A listing remembers it instead of the id because it needs less memory."""
        return text_hash(self.id)


class _Head(msgspec.Struct):
    """The fields to read. `status` is not decoded: whatever it contains must not make the item unreadable."""

    id: str
    createdAt: datetime | None = None
    type: str | None = None
    status: msgspec.Raw = msgspec.Raw()


_HEAD = msgspec.json.Decoder(_Head)


def _usable_id(item_id: object, raw: bytes) -> str:
    """The canonical id of an item. An item without a usable id gets one that is made from its content."""
    if isinstance(item_id, str) and item_id:
        return canonical_id(plain_text(item_id))
    if type(item_id) is int:
        return str(item_id)
    return f"without-id-{xxh3_64_intdigest(raw):016x}"
