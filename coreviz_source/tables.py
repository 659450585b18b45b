"""The tables, each declared once. dlt hints, arrow schemas, documentation and diagrams all come from here.

To add a column, add a line to its table. A column has the API field of the same name in camelCase, unless `api`
names another one; a dotted name reaches into an object (`metadata.moderation.status`). A column that `rows` computes
has no `api`, and `made_from` names the API field that it is computed from.

To add a table whose items stand in a list of another table's items, declare it with `parent` and `api`. Its parent's
id, and the ids above it, go to the columns that reference those tables.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
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

#: dlt's `hard_delete` needs this column in the table as well as in staging. dlt 1.31 could delete by conditions
#: instead (`destination_scope`, `source_filter`). They replace the keys, and are SQL of one warehouse each.
GONE = "_coreviz_gone"
LOAD_ID = "_dlt_load_id"


@dataclass(frozen=True)
class Column:
    """One column of a table.

    An `id` is a string, and a UUID is in its canonical form.

    Attributes:
        name: Its name.
        kind: The kind of its values.
        description: What it means.
        api: The API field that it contains.
        nullable: Whether it can be null.
        references: The table that its value is an id of.
        made_from: The API field that its value is computed from, if it is not that field as it is.
    """

    name: str
    kind: Kind
    description: str
    api: str | None = None
    nullable: bool = True
    references: str | None = None
    made_from: str | None = None

    @property
    def copied(self) -> Column:
        """The same column in a table that copies rows."""
        return replace(self, api=None, made_from=None)

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
    """One table.

    Attributes:
        name: Its name.
        description: What a row is.
        key: The columns that identify a row.
        columns: Its columns.
        replaces: The columns by which a load replaces rows. That is the key itself or, for what belongs to a media
            item, the media item, so that a list that became shorter becomes shorter in the warehouse too.
        parent: The table whose items have the items of this one in a list.
        api: The API's name of that list.
        implied: Values that API fields have in every item of this table. Any other value is kept in `extra`.
        versions_of: The table whose rows this one has every version of. It exists only where `history` was ever on.
    """

    name: str
    description: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]
    replaces: tuple[str, ...] = ()
    parent: Table | None = None
    api: str | None = None
    implied: tuple[tuple[str, str], ...] = ()
    versions_of: Table | None = None

    @property
    def children(self) -> tuple[Table, ...]:
        """The tables whose items stand in lists of this table's items."""
        return tuple(table for table in TABLES if table.parent is self)

    @property
    def descendants(self) -> tuple[Table, ...]:
        """The tables nested in this one at any depth, each before those nested in it."""
        return tuple(table for child in self.children for table in (child, *child.descendants))

    @property
    def api_path(self) -> tuple[str, ...]:
        """The API's names of the lists that lead from a listed item to an item of this table."""
        return (*self.parent.api_path, str(self.api)) if self.parent else ()

    @cached_property
    def api_fields(self) -> tuple[str, ...]:
        """The API fields of an item that this table declares, each once; lists of child items are not among them."""
        fields = [column.made_from or (column.api or "").partition(".")[0] for column in self.columns]
        return tuple(dict.fromkeys([*filter(None, fields), *(field for field, _ in self.implied)]))

    def reference_to(self, other: Table) -> Column | None:
        """The column with the id of the item of another table that contains an item."""
        return next((c for c in self.columns if c.references == other.name and c.api is None), None)

    @cached_property
    def api_columns(self) -> tuple[Column, ...]:
        """The columns that contain an API field as it is."""
        return tuple(c for c in self.columns if c.api and "." not in c.api)

    @cached_property
    def by_name(self) -> dict[str, Column]:
        """The columns by name."""
        return {c.name: c for c in self.columns}

    @cached_property
    def arrow_schema(self) -> pa.Schema:
        """The arrow schema of its rows, without the load id."""
        return pa.schema([pa.field(c.name, ARROW_TYPES[c.kind], nullable=c.nullable) for c in self.columns])

    @property
    def partitioned_by(self) -> str | None:
        """The column by whose months a warehouse with partitions divides the table."""
        return next((name for name in ("created_at", "valid_from") if name in self.by_name), None)

    @property
    def clustered_by(self) -> tuple[str, ...]:
        """The columns by which a warehouse with clusters orders the table: those by which a load finds rows."""
        return tuple(name for name in (self.key if self.versions_of else self.replaces) if name != self.partitioned_by)

    @property
    def media_column(self) -> str:
        """The column with the id of the media item that a row belongs to."""
        return "media_id" if "media_id" in self.by_name else "id"

    @cached_property
    def identity(self) -> tuple[str, ...]:
        """The columns that identify what a version is one of, within a dataset."""
        return tuple(name for name in self.key if name not in ("dataset_id", "valid_from"))

    @cached_property
    def version_columns(self) -> tuple[Column, ...]:
        """The columns whose values make a version."""
        names = [c.name for c in self.columns]
        return tuple(c for c in self.columns[: names.index("valid_from")] if c.name not in self.replaces)

    @property
    def hints(self) -> dict[str, Any]:
        """The table as dlt declares it. Every run sets all of it, because dlt keeps old hints."""
        columns = {c.name: c.hints for c in self.columns}
        columns[LOAD_ID] = {"name": LOAD_ID, "data_type": "text", "nullable": True}
        by_key = set(self.replaces) == set(self.key)
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


def _made(
    name: str,
    kind: Kind,
    description: str,
    nullable: bool = True,
    references: str | None = None,
    made_from: str | None = None,
) -> Column:
    return Column(name, kind, description, None, nullable, references, made_from)


_DATASET = _made("dataset_id", "id", "Id of the dataset.", False, "datasets", "datasetId")
_MEDIA = _made("media_id", "id", "Id of the media item.", False, "media", "mediaId")
_FRAME = _made("frame_id", "id", "Id of the frame.", True, "frames", "frameId")
_FOLDER = "Id of the folder that holds it, from its path; null at the top of the dataset."
_EXTRA = _made("extra", "json", "Fields that no column declares, and values that do not fit their column, as sent.")
_HASH = _made("content_hash", "text", "Fingerprint of the whole item as the API sent it. Changes are found by it.")
_GONE = _made(GONE, "bool", "Tombstone flag of a load. Always null in the warehouse.")
_STATUS = _field("status", "text", "Status, e.g. active.")
_CHILD_STATUS = _field("status", "text", "Status, e.g. active. The views leave out rows whose status is deleted.")
_CREATED = _field("created_at", "timestamp", "When it was created, UTC.")
_UPDATED = _field("updated_at", "timestamp", "When it was last updated, UTC.")
_CREATOR = _field("created_by_id", "id", "Id of the user who created it.")
_METADATA = _field("metadata", "json", "The API's metadata object as sent.")
_MODERATION = (
    _field("moderation_status", "text", "Result of moderation, e.g. approved.", "metadata.moderation.status"),
    _field("moderated_at", "timestamp", "When it was moderated, UTC.", "metadata.moderation.moderatedAt"),
)
_WIDTH = _field("width", "bigint", "Width in pixels.")
_HEIGHT = _field("height", "bigint", "Height in pixels.")


def _id(what: str, nullable: bool = False) -> Column:
    return _made("id", "id", f"Id of the {what}.", nullable, made_from="id")


def _bound(name: str, what: str) -> Column:
    text = f"{what} of the polygon, in pixels of the frame; null if the polygon cannot be read."
    return _made(name, "double", text, made_from="polygon")


ORGANIZATIONS = Table(
    "organizations",
    "One row per organization of the account.",
    ("id",),
    (
        _id("organization"),
        _field("name", "text", "Name; null if the API does not send it."),
        _field("slug", "text", "Short name in addresses; null if the API does not send it."),
        _GONE,
    ),
    replaces=("id",),
)

DATASETS = Table(
    "datasets",
    "One row per dataset (called a collection since 2026).",
    ("id",),
    (
        _made("dataset_id", "id", "The same as id, so that every table joins on dataset_id.", nullable=False),
        _id("dataset"),
        _field("name", "text", "Name; null if the API does not send it, as in its 2025 generation."),
        _field("icon", "text", "Icon."),
        _field("type", "text", "Type."),
        _field("organization_id", "id", "Id of the organization that owns it.", references="organizations"),
        _made("media_total", "bigint", "Number of items in it by the API's count: media items and folders."),
        _HASH,
        _GONE,
    ),
    replaces=("id",),
)

FOLDERS = Table(
    "folders",
    "One row per folder (2026 generation).",
    ("dataset_id", "id"),
    (
        _DATASET,
        _id("folder"),
        _field("name", "text", "Name."),
        _field("path", "text", "Ids from the dataset down to the folder itself, joined by dots, as sent (ltree)."),
        _made("parent_id", "id", _FOLDER, True, "folders", "path"),
        _field("item_count", "bigint", "Number of items in it by the API's count.", "folderItemCount"),
        _STATUS,
        _CREATED,
        _UPDATED,
        _CREATOR,
        _METADATA,
        _EXTRA,
        _HASH,
        _GONE,
    ),
    replaces=("dataset_id", "id"),
    implied=(("type", "folder"), ("blob", "folder")),
)

MEDIA = Table(
    "media",
    "One row per media item: an image, a video or a pdf.",
    ("dataset_id", "id"),
    (
        _DATASET,
        _id("media item"),
        _field("name", "text", "Name as sent; may be a path with slashes."),
        _made("file_name", "text", "File name: the last part of name.", made_from="name"),
        _field("description", "text", "Description, from metadata.", "metadata.description"),
        _field("prompt", "text", "Prompt that it was generated from, from metadata.", "metadata.prompt"),
        _field("type", "text", "Kind of media item: image, video or pdf."),
        _field("blob", "text", "Public address of the file."),
        _field("entity_id", "id", "Id of the entity that it belongs to (2025 generation)."),
        _field("path", "text", "Ids from the dataset down to the media item, joined by dots, as sent (ltree, 2026)."),
        _made("folder_id", "id", _FOLDER, True, "folders", "path"),
        _WIDTH,
        _HEIGHT,
        _field("duration", "double", "Duration in seconds; null for images."),
        _field("size_bytes", "bigint", "Size of the file in bytes."),
        _STATUS,
        *_MODERATION,
        _CREATED,
        _field("updated_at", "timestamp", "When it was last updated, UTC. New frames and captions do not change it."),
        _CREATOR,
        _field("updated_by_id", "id", "Id of the user who last updated it."),
        _field("source_media_id", "id", "Id of the media item that it was made from.", references="media"),
        _field("version_number", "bigint", "Number of the version."),
        _field("exif", "json", "EXIF data of the file as sent."),
        _METADATA,
        _EXTRA,
        _HASH,
        _made("deleted_at", "timestamp", "When a run found it deleted, UTC, if deletes are soft; null otherwise."),
        _GONE,
    ),
    replaces=("dataset_id", "id"),
)

FRAMES = Table(
    "frames",
    "One row per frame of a video, per page of a pdf, and one for the picture of an image.",
    ("dataset_id", "id"),
    (
        _DATASET,
        _MEDIA,
        _id("frame", nullable=True),
        _made("timestamp", "text", 'Position in the video as sent; "0" for images.', made_from="timestamp"),
        _made("timestamp_seconds", "double", "Position in the video in seconds.", made_from="timestamp"),
        _made("end_timestamp_seconds", "double", "End of its span in the video in seconds.", made_from="endTimestamp"),
        _field("page_number", "bigint", "Page number in a pdf."),
        _field("blob", "text", "Public address of the frame's picture."),
        _field("thumbnail_blob", "text", "Public address of a small picture of it."),
        _WIDTH,
        _HEIGHT,
        _field("text", "text", "Text on the page or in the frame."),
        _CHILD_STATUS,
        *_MODERATION,
        _CREATED,
        _UPDATED,
        _CREATOR,
        _METADATA,
        _EXTRA,
        _GONE,
    ),
    replaces=("dataset_id", "media_id"),
    parent=MEDIA,
    api="frames",
)

CAPTIONS = Table(
    "captions",
    "One row per caption of a frame.",
    ("dataset_id", "id"),
    (
        _DATASET,
        _MEDIA,
        _FRAME,
        _id("caption", nullable=True),
        _field("text", "text", "The caption."),
        _field("model", "text", "Name of the model that wrote it."),
        _CHILD_STATUS,
        _CREATED,
        _UPDATED,
        _CREATOR,
        _METADATA,
        _EXTRA,
        _GONE,
    ),
    replaces=("dataset_id", "media_id"),
    parent=FRAMES,
    api="captions",
)

OBJECTS = Table(
    "objects",
    "One row per object detected in a frame.",
    ("dataset_id", "id"),
    (
        _DATASET,
        _MEDIA,
        _FRAME,
        _id("object", nullable=True),
        _field("type", "text", "Kind of detection."),
        _field("label", "text", "What was detected, e.g. shoe."),
        _field("blob", "text", "Public address of the picture cut to it; may be empty."),
        _field("polygon", "json", "Its outline as sent: points with x and y in pixels of the frame."),
        _bound("x_min", "Left edge"),
        _bound("y_min", "Top edge"),
        _bound("x_max", "Right edge"),
        _bound("y_max", "Bottom edge"),
        _CHILD_STATUS,
        _CREATED,
        _UPDATED,
        _METADATA,
        _EXTRA,
        _GONE,
    ),
    replaces=("dataset_id", "media_id"),
    parent=FRAMES,
    api="objects",
)

MEDIA_TAGS = Table(
    "media_tags",
    "One row per value of a tag group of a media item.",
    ("dataset_id", "media_id", "tag_group", "tag"),
    (
        _DATASET,
        _MEDIA,
        _made("tag_group", "text", "Name of the tag group."),
        _made("tag", "text", "The value."),
        _GONE,
    ),
    replaces=("dataset_id", "media_id"),
)

MODERATION_CATEGORIES = Table(
    "moderation_categories",
    "One row per category that moderation raised on a media item or on one of its frames.",
    ("dataset_id", "media_id", "frame_id", "category"),
    (
        _DATASET,
        _MEDIA,
        _made("frame_id", "id", "Id of the frame; null if it was raised on the media item.", references="frames"),
        _made("category", "text", "The category, e.g. violence."),
        _GONE,
    ),
    replaces=("dataset_id", "media_id"),
)

RUNS = Table(
    "_coreviz_runs",
    "One row per run and dataset: what the run did, and when its listing began.",
    ("run", "dataset_id"),
    (
        _made("run", "text", "Id of the run, shared by all that it loaded.", nullable=False),
        _DATASET,
        _made("started_at", "timestamp", "When its listing began by the server's clock, UTC."),
        _made("listed", "bigint", "Media items and folders listed."),
        _made("new", "bigint", "Media items and folders that were not stored before."),
        _made("changed", "bigint", "Media items and folders whose content had changed."),
        _made("gone", "bigint", "Media items and folders that were deleted."),
        _made("unchanged", "bigint", "Media items and folders that were not written."),
        _made("requests", "bigint", "Requests sent, retries included."),
        _made("retries", "bigint", "Requests sent again."),
        _made("complete", "bool", "Whether the whole dataset was listed and the listing was proven complete."),
        _made("unknown_fields", "json", "List of the fields found that no column declares."),
        _made("selected", "text", "Names of the tables that were loaded, separated by spaces; null: all of them."),
        _made("outcome", "text", "complete, window, slice, sample, unproven or failed."),
        _made("message", "text", "Reason of an outcome that needs attention."),
    ),
)

_VERSION = (
    _made("valid_from", "timestamp", "Time of the run that first saw this version, UTC.", nullable=False),
    _made(
        "valid_to",
        "timestamp",
        "Time of the run that first saw it changed or missing, UTC; null: it is current.",
    ),
    _made("change", "text", "How it began: added, changed, or returned after it had been removed."),
    _made("ended_by", "text", "How it ended: changed or removed; null: it is current."),
    _made("run", "text", "Id of the run that first saw this version, as in `_coreviz_runs`."),
    _GONE,
)

MEDIA_HISTORY = Table(
    "media_history",
    "One row per version of a media item, with the columns that count as a version (only with `history`).",
    ("dataset_id", "id", "valid_from"),
    (
        _DATASET,
        _made("id", "id", "Id of the media item.", False, "media"),
        *(MEDIA.by_name[name].copied for name in ("name", "description", "prompt", "type", "folder_id")),
        *(MEDIA.by_name[name].copied for name in ("status", "moderation_status", "size_bytes", "metadata")),
        _made("tags", "json", "Tag groups with their values, from metadata."),
        *_VERSION,
    ),
    # the last one is the first in an index
    replaces=("dataset_id", "valid_from", "id"),
    versions_of=MEDIA,
)

CAPTION_HISTORY = Table(
    "caption_history",
    "One row per version of a caption, with the columns that count as a version (only with `history`).",
    ("dataset_id", "media_id", "id", "valid_from"),
    (
        _DATASET,
        _MEDIA,
        _FRAME,
        _made("id", "id", "Id of the caption.", False, "captions"),
        *(CAPTIONS.by_name[name].copied for name in ("text", "model")),
        _STATUS.copied,
        *_VERSION,
    ),
    replaces=("dataset_id", "valid_from", "id", "media_id"),
    versions_of=CAPTIONS,
)

NOTICES = Table(
    "_coreviz_notices",
    "One row per notice: a change of a dataset that people should know of. `sync` writes it when it begins and ends.",
    ("dataset_id", "kind", "subject", "began_at"),
    (
        _DATASET,
        _made("kind", "text", "What changed, e.g. new_field, fallen_share or missing_dataset.", nullable=False),
        _made("subject", "text", "The field or table that it is about; empty if it is the dataset.", nullable=False),
        _made("began_at", "timestamp", "When the run began that found it, by the server's clock, UTC.", nullable=False),
        _made("ended_at", "timestamp", "When the run began that found it over, UTC; null while it is open."),
        _made("notified_at", "timestamp", "When the webhook last accepted it, UTC; null if it never did."),
        _made("run", "text", "Id of the run that found it, or that found it over.", nullable=False),
    ),
)

#: Every table of the source, in the order of the documentation.
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
    MEDIA_HISTORY,
    CAPTION_HISTORY,
    RUNS,
    NOTICES,
)

#: The tables with versions, which exist only where `history` was ever on.
HISTORY: tuple[Table, ...] = tuple(table for table in TABLES if table.versions_of)

#: The tables that every run creates.
CURRENT: tuple[Table, ...] = tuple(table for table in TABLES if not table.versions_of)

#: The tables whose rows belong to a media item and are replaced with it.
CHILDREN: tuple[Table, ...] = tuple(table for table in TABLES if table.replaces == ("dataset_id", "media_id"))

BY_NAME: dict[str, Table] = {table.name: table for table in TABLES}

#: dlt's own table of loads. A row whose load is not in it may be incomplete.
LOADS = Table(
    "_dlt_loads",
    "One row per load package. Written by dlt.",
    ("load_id",),
    (
        _made("load_id", "text", "Id of the load.", nullable=False),
        _made("schema_name", "text", "Name of dlt's schema."),
        _made("status", "bigint", "0: the load is complete.", nullable=False),
        _made("inserted_at", "timestamp", "When the load was completed, UTC."),
    ),
)
#: The column that leads there from every other table.
LOAD = _made(LOAD_ID, "text", "Id of the load that wrote the row, as in `_dlt_loads`.")
