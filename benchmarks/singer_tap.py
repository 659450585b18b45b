"""The Singer peer, first half: a tap written with the Meltano SDK, as people write one; `target-duckdb` loads it.

Each stream lists the media and takes its own level of them. Child streams that get their records from their parent
would read once, but the SDK then repeats the schema for every parent, and the target flushes at every schema.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import requests
from singer_sdk import RESTStream, Tap
from singer_sdk import typing as th
from singer_sdk.authenticators import APIKeyAuthenticator
from singer_sdk.pagination import OffsetPaginator

Row = dict[str, Any]
TEXT, MOMENT, WHOLE, NUMBER = th.StringType, th.DateTimeType, th.IntegerType, th.NumberType


def properties(**properties: Any) -> Row:
    kinds = {
        name: th.ObjectType(additional_properties=True) if kind is dict else kind for name, kind in properties.items()
    }
    return th.PropertiesList(
        *(th.Property(name, kind, required=name == "id") for name, kind in kinds.items())
    ).to_dict()


class Paginator(OffsetPaginator):
    def has_more(self, response: requests.Response) -> bool:
        return bool(response.json()["pagination"]["hasMore"])


class MediaStream(RESTStream[int]):
    name = "media"
    primary_keys = ("id",)
    schema = properties(
        id=TEXT,
        name=TEXT,
        type=TEXT,
        blob=TEXT,
        entityId=TEXT,
        width=WHOLE,
        height=WHOLE,
        duration=NUMBER,
        sizeBytes=WHOLE,
        exif=dict,
        createdAt=MOMENT,
        updatedAt=MOMENT,
        metadata=dict,
        createdById=TEXT,
        updatedById=TEXT,
        status=TEXT,
    )

    @property
    def url_base(self) -> str:
        return str(self.config["url"])

    @property
    def path(self) -> str:
        return f"/api/dataset/{self.config['dataset_id']}/media"

    @property
    def authenticator(self) -> APIKeyAuthenticator:
        return APIKeyAuthenticator(key="x-api-key", value=self.config["key"])

    def get_new_paginator(self) -> Paginator:
        return Paginator(0, 100)

    def get_url_params(self, context: Any, next_page_token: int | None) -> Row:
        return {"limit": 100, "offset": next_page_token or 0}

    def parse_response(self, response: requests.Response) -> Iterable[Row]:
        return self.rows(response.json()["media"])

    def rows(self, media: list[Row]) -> Iterator[Row]:
        yield from media


class FramesStream(MediaStream):
    name = "frames"
    schema = properties(
        id=TEXT,
        mediaId=TEXT,
        timestamp=TEXT,
        blob=TEXT,
        width=WHOLE,
        height=WHOLE,
        createdAt=MOMENT,
        updatedAt=MOMENT,
        status=TEXT,
        createdById=TEXT,
        metadata=dict,
    )

    def rows(self, media: list[Row]) -> Iterator[Row]:
        for each in media:
            yield from each.get("frames", ())


class CaptionsStream(MediaStream):
    name = "captions"
    schema = properties(
        id=TEXT,
        mediaId=TEXT,
        frameId=TEXT,
        text=TEXT,
        model=TEXT,
        createdAt=MOMENT,
        updatedAt=MOMENT,
        status=TEXT,
        createdById=TEXT,
        metadata=dict,
    )

    def rows(self, media: list[Row]) -> Iterator[Row]:
        for each in media:
            for frame in each.get("frames", ()):
                for caption in frame.get("captions", ()):
                    yield {**caption, "mediaId": each["id"]}


class ObjectsStream(MediaStream):
    name = "objects"
    schema = properties(
        id=TEXT, mediaId=TEXT, frameId=TEXT, type=TEXT, label=TEXT, blob=TEXT, status=TEXT, boundingBox=dict
    )

    def rows(self, media: list[Row]) -> Iterator[Row]:
        for each in media:
            for frame in each.get("frames", ()):
                for found in frame.get("objects", ()):
                    yield {**found, "mediaId": each["id"], "frameId": frame["id"]}


class TapCoreviz(Tap):
    name = "tap-coreviz"
    config_jsonschema = th.PropertiesList(
        th.Property("url", TEXT, required=True),
        th.Property("key", TEXT, required=True, secret=True),
        th.Property("dataset_id", TEXT, required=True),
    ).to_dict()

    def discover_streams(self) -> list[MediaStream]:
        return [MediaStream(self), FramesStream(self), CaptionsStream(self), ObjectsStream(self)]


if __name__ == "__main__":
    TapCoreviz.cli()
