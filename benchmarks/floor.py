"""The floor: a program written by hand for this one purpose. requests, msgspec, pyarrow, DuckDB; no dlt.

It loads once into an empty file, or with a fifth argument into an empty Postgres: no incremental run, no changes, no
proof, no retries.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import duckdb
import msgspec
import pyarrow as pa
import requests

NULL = msgspec.Raw(b"null")


class Caption(msgspec.Struct, rename="camel"):
    id: str
    text: str | None = None
    model: str | None = None
    status: str | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None
    created_by_id: str | None = None
    metadata: msgspec.Raw = NULL


class Object(msgspec.Struct, rename="camel"):
    id: str
    type: str | None = None
    label: str | None = None
    blob: str | None = None
    status: str | None = None
    bounding_box: msgspec.Raw = NULL


class Frame(msgspec.Struct, rename="camel"):
    id: str
    timestamp: str | None = None
    blob: str | None = None
    width: int | None = None
    height: int | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None
    status: str | None = None
    created_by_id: str | None = None
    metadata: msgspec.Raw = NULL
    captions: list[Caption] = []
    objects: list[Object] = []


class Media(msgspec.Struct, rename="camel"):
    id: str
    name: str | None = None
    type: str | None = None
    blob: str | None = None
    entity_id: str | None = None
    width: int | None = None
    height: int | None = None
    duration: float | None = None
    size_bytes: int | None = None
    exif: msgspec.Raw = NULL
    created_at: datetime | None = None
    updated_at: datetime | None = None
    metadata: dict[str, Any] = {}
    created_by_id: str | None = None
    updated_by_id: str | None = None
    status: str | None = None
    frames: list[Frame] = []


class Page(msgspec.Struct):
    media: list[Media]
    pagination: dict[str, Any]


def columns(kind: type[msgspec.Struct], rows: list[Any], leave_out: tuple[str, ...] = (), **more: Any) -> pa.Table:
    found: dict[str, Any] = {}
    for name in kind.__struct_fields__:
        if name not in leave_out:
            values = [getattr(row, name) for row in rows]
            raw = values and isinstance(values[0], msgspec.Raw)
            found[name] = [bytes(v).decode() for v in values] if raw else values
    return pa.table({**found, **more})


def tables(media: list[Media]) -> dict[str, pa.Table]:
    frames = [(m.id, f) for m in media for f in m.frames]
    captions = [(m, f.id, c) for m, f in frames for c in f.captions]
    objects = [(m, f.id, o) for m, f in frames for o in f.objects]
    tags = [(m.id, g, t) for m in media for g, values in (m.metadata.get("tags") or {}).items() for t in values]
    metadata = [msgspec.json.encode(m.metadata).decode() for m in media]
    return {
        "media": columns(Media, media, ("frames", "metadata"), metadata=metadata),
        "frames": columns(Frame, [f for _, f in frames], ("captions", "objects"), media_id=[m for m, _ in frames]),
        "captions": columns(
            Caption, [c for *_, c in captions], media_id=[c[0] for c in captions], frame_id=[c[1] for c in captions]
        ),
        "objects": columns(
            Object, [o for *_, o in objects], media_id=[o[0] for o in objects], frame_id=[o[1] for o in objects]
        ),
        "media_tags": pa.table(
            {"media_id": [t[0] for t in tags], "tag_group": [t[1] for t in tags], "tag": [t[2] for t in tags]}
        ),
    }


def into_duckdb(database: Any, media: list[Media], first: bool) -> None:
    for name, rows in tables(media).items():
        database.register("rows", rows)
        database.execute(
            f"CREATE TABLE {name} AS SELECT * FROM rows" if first else f"INSERT INTO {name} SELECT * FROM rows"
        )


def into_postgres(database: Any, media: list[Media], first: bool) -> None:
    with database.cursor() as cursor:
        for name, rows in tables(media).items():
            cursor.adbc_ingest(name, rows, mode="create" if first else "append")
    database.commit()


def batches(url: str, key: str, dataset_id: str) -> Iterator[list[Media]]:
    """All media items of a dataset, 5,000 at a time."""
    session = requests.Session()
    session.headers["x-api-key"] = key
    decoder = msgspec.json.Decoder(Page)
    waiting: list[Media] = []
    offset, more = 0, True
    while more:
        answer = session.get(
            f"{url}/api/dataset/{dataset_id}/media", params={"limit": 100, "offset": offset}, timeout=60
        )
        page = decoder.decode(answer.content)
        waiting += page.media
        offset, more = offset + len(page.media), page.pagination["hasMore"]
        if len(waiting) >= 5000 or not more:
            yield waiting
            waiting = []


def main(url: str, key: str, dataset_id: str, directory: str, postgres: str = "") -> None:
    gc.disable()
    if postgres:
        from adbc_driver_postgresql import dbapi

        database, write = dbapi.connect(postgres), into_postgres
    else:
        database, write = duckdb.connect(f"{directory}/floor.duckdb"), into_duckdb
    with database:
        for number, media in enumerate(batches(url, key, dataset_id)):
            write(database, media, first=not number)


if __name__ == "__main__":
    main(*sys.argv[1:])
