"""The tables, each declared once: dlt hints, arrow schemas, documentation and diagrams all come from here.

To add a column, add a line to its table. A column's value is the API field of the same name in camelCase, unless
`api` names another; a dotted name reaches into an object (`metadata.moderation.status`). Columns without an API
field (`api=None`) are filled by `rows.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import pyarrow as pa

Kind = Literal["id", "text", "bigint", "double", "bool", "timestamp", "json"]

ARROW_TYPES: dict[Kind, pa.DataType] = {
    "id": pa.string(),
    "text": pa.string(),
    "bigint": pa.int64(),
    "double": pa.float64(),
    "bool": pa.bool_(),
    "timestamp": pa.timestamp("us", tz="UTC"),
    "json": pa.string(),
}

GONE = "_coreviz_gone"
LOAD_ID = "_dlt_load_id"


@dataclass(frozen=True)
class Column:
    """One column: its name, kind, meaning, and the API field it holds.

    An `id` is text in the canonical form of a UUID. `references` names the table that the id is a key of.
    """

    name: str
    kind: Kind
    description: str
    api: str | None = None
    nullable: bool = True
    references: str | None = None

    @property
    def hints(self) -> dict[str, Any]:
        """The column as dlt declares it."""
        hints: dict[str, Any] = {
            "name": self.name,
            "data_type": "text" if self.kind == "id" else self.kind,
            "nullable": self.nullable,
            "description": self.description,
        }
        if self.kind == "timestamp":
            hints |= {"timezone": True, "precision": 6}
        if self.name == GONE:
            hints["hard_delete"] = True
        return hints


@dataclass(frozen=True)
class Table:
    """One table: its name, what a row is, its columns and how a load finds the rows it replaces.

    `key` identifies a row. `replaces` are the columns by which a load replaces rows: the key itself, or, for the
    children of a media, the media, so that a list that became shorter becomes shorter in the warehouse too.
    """

    name: str
    description: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]
    replaces: tuple[str, ...] = ()

    @cached_property
    def api_columns(self) -> tuple[Column, ...]:
        """The columns that hold a field of the API's item as it is."""
        return tuple(c for c in self.columns if c.api and "." not in c.api)

    @cached_property
    def by_name(self) -> dict[str, Column]:
        """The columns by name."""
        return {c.name: c for c in self.columns}

    @cached_property
    def arrow_schema(self) -> pa.Schema:
        """The table as arrow sees it, without the load id."""
        return pa.schema([pa.field(c.name, ARROW_TYPES[c.kind], nullable=c.nullable) for c in self.columns])

    @property
    def partitioned_by(self) -> str | None:
        """The time by whose months the table is partitioned, in a warehouse that has partitions."""
        return "created_at" if "created_at" in self.by_name else None

    @property
    def clustered_by(self) -> tuple[str, ...]:
        """The columns by which rows lie together, in a warehouse that has clusters: those a load looks for."""
        return self.replaces

    @property
    def hints(self) -> dict[str, Any]:
        """The table as dlt declares it; set explicitly on every run, because dlt keeps old hints."""
        columns = {c.name: c.hints for c in self.columns}
        columns[LOAD_ID] = {"name": LOAD_ID, "data_type": "text", "nullable": True}
        by_key = self.replaces == self.key
        return {
            "name": self.name,
            "columns": columns,
            "primary_key": list(self.replaces) if by_key else [],
            "merge_key": [] if by_key else list(self.replaces),
            "write_disposition": ({"disposition": "merge", "strategy": "delete-insert"} if self.replaces else "append"),
        }


def _field(name: str, kind: Kind, description: str, api: str | None = None, references: str | None = None) -> Column:
    head, *tail = name.split("_")
    return Column(name, kind, description, api or head + "".join(map(str.capitalize, tail)), True, references)


def _made(name: str, kind: Kind, description: str, nullable: bool = True, references: str | None = None) -> Column:
    return Column(name, kind, description, None, nullable, references)


_DATASET = _made("dataset_id", "id", "The dataset that holds it.", nullable=False, references="datasets")
_MEDIA = _made("media_id", "id", "The media it belongs to.", nullable=False, references="media")
_FRAME = _made("frame_id", "id", "The frame it belongs to.", references="frames")
_EXTRA = _made("extra", "json", "Every field that no column declares, and every value that does not fit its column.")
_HASH = _made("content_hash", "text", "Fingerprint of the whole item as the API sent it; how changes are found.")
_GONE = _made(GONE, "bool", "Tombstone flag of a load; always null in the warehouse.")
_STATUS = _field("status", "text", "Status, e.g. active.")
_CREATED = _field("created_at", "timestamp", "When it was created, UTC.")
_UPDATED = _field("updated_at", "timestamp", "When it was last updated, UTC; does not move when children appear.")
_CREATOR = _field("created_by_id", "id", "The user who created it.")
_METADATA = _field("metadata", "json", "The API's metadata object, whole.")
_MODERATION = (
    _field("moderation_status", "text", "Outcome of moderation, e.g. approved.", "metadata.moderation.status"),
    _field("moderated_at", "timestamp", "When it was moderated, UTC.", "metadata.moderation.moderatedAt"),
)
_WIDTH = _field("width", "bigint", "Width in pixels.")
_HEIGHT = _field("height", "bigint", "Height in pixels.")


def _id(what: str, nullable: bool = False) -> Column:
    return _made("id", "id", f"Id of the {what}.", nullable=nullable)


ORGANIZATIONS = Table(
    "organizations",
    "One row per organization of the account.",
    ("id",),
    (
        _id("organization"),
        _field("name", "text", "Name."),
        _field("slug", "text", "Short name in addresses; null where the API does not send it."),
        _GONE,
    ),
    replaces=("id",),
)

DATASETS = Table(
    "datasets",
    "One row a dataset (called a collection since 2026).",
    ("id",),
    (
        _made("dataset_id", "id", "The same as id, so that every table joins on dataset_id.", nullable=False),
        _id("dataset"),
        _field("name", "text", "Name; null where the API does not tell, as in its 2025 generation."),
        _field("icon", "text", "Icon."),
        _field("type", "text", "Type."),
        _field("organization_id", "id", "The organization that owns it.", references="organizations"),
        _made("media_total", "bigint", "How many items the API counts in it."),
        _HASH,
        _GONE,
    ),
    replaces=("id",),
)

FOLDERS = Table(
    "folders",
    "One row a folder (2026 generation).",
    ("dataset_id", "id"),
    (
        _DATASET,
        _id("folder"),
        _field("name", "text", "Name."),
        _field("path", "text", "Path of the folder itself: ids from the dataset down, joined by dots (ltree)."),
        _made("parent_path", "text", "Path of the folder that holds it; null where there is none."),
        _field("item_count", "bigint", "How many items the API counts in it.", "folderItemCount"),
        _STATUS,
        _CREATED,
        _UPDATED,
        _CREATOR,
        _EXTRA,
        _HASH,
        _GONE,
    ),
    replaces=("dataset_id", "id"),
)

MEDIA = Table(
    "media",
    "One row a media: an image, a video or a pdf.",
    ("dataset_id", "id"),
    (
        _DATASET,
        _id("media"),
        _field("name", "text", "File name, path-like."),
        _field("type", "text", "Kind of media: image, video or pdf."),
        _field("blob", "text", "Public address of the file."),
        _field("entity_id", "id", "The entity it belongs to (2025 generation)."),
        _field("path", "text", "Path of the folder that holds it (ltree of ids, 2026 generation)."),
        _WIDTH,
        _HEIGHT,
        _field("duration", "double", "Duration in seconds; null for images."),
        _field("size_bytes", "bigint", "Size of the file in bytes."),
        _STATUS,
        *_MODERATION,
        _CREATED,
        _UPDATED,
        _CREATOR,
        _field("updated_by_id", "id", "The user who last updated it."),
        _field("source_media_id", "id", "The media it was made from.", references="media"),
        _field("version_number", "bigint", "Number of the version."),
        _field("exif", "json", "EXIF data of the file, whole."),
        _METADATA,
        _EXTRA,
        _HASH,
        _made("deleted_at", "timestamp", "When a run found it gone, UTC, where deletes are soft; else null."),
        _GONE,
    ),
    replaces=("dataset_id", "id"),
)

FRAMES = Table(
    "frames",
    "One row a frame of a video, a page of a pdf, or the one frame of an image.",
    ("dataset_id", "id"),
    (
        _DATASET,
        _MEDIA,
        _id("frame", nullable=True),
        _made("timestamp", "text", 'Moment in the video, as the API gives it; "0" for images.'),
        _made("timestamp_seconds", "double", "Moment in the video in seconds."),
        _made("end_timestamp_seconds", "double", "End of the moment in the video in seconds."),
        _field("page_number", "bigint", "Page of a pdf."),
        _field("blob", "text", "Public address of the frame's picture."),
        _field("thumbnail_blob", "text", "Public address of a small picture."),
        _WIDTH,
        _HEIGHT,
        _field("text", "text", "Text of the page or frame."),
        _STATUS,
        *_MODERATION,
        _CREATED,
        _UPDATED,
        _CREATOR,
        _METADATA,
        _EXTRA,
        _GONE,
    ),
    replaces=("dataset_id", "media_id"),
)

CAPTIONS = Table(
    "captions",
    "One row a caption of a frame.",
    ("dataset_id", "id"),
    (
        _DATASET,
        _MEDIA,
        _FRAME,
        _id("caption", nullable=True),
        _field("text", "text", "The caption."),
        _field("model", "text", "The model that wrote it."),
        _STATUS,
        _CREATED,
        _UPDATED,
        _CREATOR,
        _METADATA,
        _EXTRA,
        _GONE,
    ),
    replaces=("dataset_id", "media_id"),
)

OBJECTS = Table(
    "objects",
    "One row an object detected in a frame.",
    ("dataset_id", "id"),
    (
        _DATASET,
        _MEDIA,
        _FRAME,
        _id("object", nullable=True),
        _field("type", "text", "Kind of detection."),
        _field("label", "text", "What it is."),
        _field("blob", "text", "Public address of the crop."),
        _STATUS,
        _CREATED,
        _UPDATED,
        _METADATA,
        _EXTRA,
        _GONE,
    ),
    replaces=("dataset_id", "media_id"),
)

MEDIA_TAGS = Table(
    "media_tags",
    "One row a value of a tag group of a media.",
    ("dataset_id", "media_id", "tag_group", "tag"),
    (
        _DATASET,
        _MEDIA,
        _made("tag_group", "text", "Name of the group."),
        _made("tag", "text", "The value."),
        _GONE,
    ),
    replaces=("dataset_id", "media_id"),
)

MODERATION_CATEGORIES = Table(
    "moderation_categories",
    "One row a category that moderation raised on a media or on one of its frames.",
    ("dataset_id", "media_id", "frame_id", "category"),
    (
        _DATASET,
        _MEDIA,
        _made("frame_id", "id", "The frame; null: the media itself.", references="frames"),
        _made("category", "text", "The category, e.g. violence."),
        _GONE,
    ),
    replaces=("dataset_id", "media_id"),
)

RUNS = Table(
    "_coreviz_runs",
    "One row a run and dataset: what the run did; where the next run reads when the last listings began.",
    ("run", "dataset_id"),
    (
        _made("run", "text", "Id shared by all that one run loaded.", nullable=False),
        _DATASET,
        _made("started_at", "timestamp", "When its listing began, by the server's clock, UTC."),
        _made("listed", "bigint", "Media and folders listed."),
        _made("new", "bigint", "Media and folders that the warehouse did not hold."),
        _made("changed", "bigint", "Media and folders whose content had changed."),
        _made("gone", "bigint", "Media and folders that were gone."),
        _made("unchanged", "bigint", "Media and folders that were not written."),
        _made("requests", "bigint", "Requests sent, retries included."),
        _made("retries", "bigint", "Requests sent again."),
        _made("complete", "bool", "Whether the whole dataset was listed, and proven to be."),
        _made("unknown_fields", "json", "Fields found that no column declares, as a list."),
        _made("selected", "text", "The tables that were loaded, separated by spaces; null: all of them."),
        _made("outcome", "text", "complete, window, slice, sample, unproven or failed."),
        _made("message", "text", "Why, where the outcome is not as wished."),
    ),
)

#: Every table of the source, in the order in which they are documented.
TABLES: tuple[Table, ...] = (
    ORGANIZATIONS,
    DATASETS,
    FOLDERS,
    MEDIA,
    FRAMES,
    CAPTIONS,
    OBJECTS,
    MEDIA_TAGS,
    MODERATION_CATEGORIES,
    RUNS,
)

#: The tables that hold what belongs to a media, and are replaced with it.
CHILDREN: tuple[Table, ...] = (FRAMES, CAPTIONS, OBJECTS, MEDIA_TAGS, MODERATION_CATEGORIES)

BY_NAME: dict[str, Table] = {table.name: table for table in TABLES}
