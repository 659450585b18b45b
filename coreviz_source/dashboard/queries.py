"""Every query of the dashboard, in one dialect; `warehouse.py` renders it for the database.

No query returns a whole table: each result is a page, one media item, a count by something with few values, or at
most `EXPORTED` lines for a CSV file. What the service deleted inside a media item stays in the tables with that
status, and is not shown.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from typing import Any

from coreviz_source.dashboard.warehouse import Reader
from coreviz_source.warehouse import search
from coreviz_source.warehouse.search import Term

Row = dict[str, Any]

#: Pictures per page of the gallery.
PAGE = 48
#: Frames, captions and objects of one media item that are shown.
MOST = 2000
#: Days of growth that are charted.
SPAN = 3 * 365
#: Up to this number of days media items are counted per day, else per week.
DAILY = 60
#: Upper ends, in seconds, of the spans by which the time until the first caption is counted.
LATENCIES = (10, 60, 300, 1800, 7200, 86400, 604800)
#: Most media items in a CSV file.
EXPORTED = 50_000
#: How the gallery can be sorted: by what, and whether the largest comes first. Where there is no value comes last.
SORTS = {
    "newest": ("m.created_at", True),
    "oldest": ("m.created_at", False),
    "name": ("LOWER(m.file_name)", False),
    "largest": ("m.size_bytes", True),
}


@dataclass(frozen=True)
class Filters:
    """What the gallery shows, and in which order. None and empty mean that it does not matter.

    Attributes:
        terms: The query, as `warehouse.search` parses it. What must occur has to be in the same caption, page text or
            file name, what must not in none of them.
        dataset: Id of a dataset.
        kind: image, video or pdf.
        moderation: A moderation status.
        tag: A tag group and one of its values.
        label: Label of a detected object.
        since: Created on this day or later, UTC.
        until: Created before this day, UTC.
        folder_dataset: Id of the dataset of the folders.
        folders: Ids of folders. A media item has to be in one of them.
        model: Name of the model that wrote one of the captions.
        waited: The place in `LATENCIES` of the time from the creation to the first caption; -1: there is no caption.
        sort: A key of `SORTS`.
    """

    terms: tuple[Term, ...] = ()
    dataset: str | None = None
    kind: str | None = None
    moderation: str | None = None
    tag: tuple[str, str] | None = None
    label: str | None = None
    since: date | None = None
    until: date | None = None
    folder_dataset: str | None = None
    folders: tuple[str, ...] = ()
    model: str | None = None
    waited: int | None = None
    sort: str = "newest"

    @property
    def values(self) -> dict[str, Any]:
        """The values that the conditions name."""
        group, tag = self.tag or (None, None)
        return {
            **search.values(self.terms),
            "dataset": self.dataset,
            "folder_dataset": self.folder_dataset,
            **{f"folder{i}": folder for i, folder in enumerate(self.folders)},
            "kind": self.kind,
            "moderation": self.moderation,
            "tag_group": group,
            "tag": tag,
            "label": self.label,
            "model": self.model,
            "since": _midnight(self.since),
            "until": _midnight(self.until),
        }

    def _mentioned(self, has: Callable[..., str]) -> str:
        # by id alone: no query plan of the three databases is faster, and an id is a UUID
        return f"""({has("m.file_name", self.terms)}
            OR m.id IN (SELECT c.media_id FROM captions c WHERE {has("c.text", self.terms, "c.id")} AND {_kept("c")})
            OR m.id IN (SELECT f.media_id FROM frames f WHERE {has("f.text", self.terms)} AND {_kept("f")}))"""

    @property
    def sql(self) -> str:
        """`FROM` and `WHERE` of the media that are shown."""
        conditions = ["m.deleted_at IS NULL"]
        if not all(term.excluded for term in self.terms):
            conditions.append(self._mentioned(search.has_required))
        if any(term.excluded for term in self.terms):
            conditions.append(f"NOT {self._mentioned(search.has_excluded)}")
        if self.dataset:
            conditions.append("m.dataset_id = @dataset")
        if self.folders:
            listed = ", ".join(f"@folder{i}" for i in range(len(self.folders)))
            conditions.append(f"m.dataset_id = @folder_dataset AND m.folder_id IN ({listed})")
        if self.kind:
            conditions.append("m.type = @kind")
        if self.moderation:
            conditions.append("m.moderation_status = @moderation")
        if self.since:
            conditions.append("m.created_at >= @since")
        if self.until:
            conditions.append("m.created_at < @until")
        if self.tag:
            conditions.append(
                "EXISTS (SELECT 1 FROM media_tags t WHERE t.dataset_id = m.dataset_id AND t.media_id = m.id"
                " AND t.tag_group = @tag_group AND t.tag = @tag)"
            )
        if self.label:
            conditions.append(
                "EXISTS (SELECT 1 FROM objects o WHERE o.dataset_id = m.dataset_id AND o.media_id = m.id"
                f" AND o.label = @label AND {_kept('o')})"
            )
        if self.model:
            conditions.append(_captioned("c.model = @model"))
        if self.waited is not None:
            conditions += self._waited(self.waited)
        return f"FROM media m WHERE {' AND '.join(conditions)}"

    def _waited(self, place: int) -> list[str]:
        if place == -1:
            return [f"NOT {_captioned('TRUE')}"]
        ends = [f"c.created_at < m.created_at + INTERVAL {seconds} SECOND" for seconds in LATENCIES]
        conditions = [_captioned(ends[place] if place < len(ends) else "c.created_at >= m.created_at")]
        return conditions + [f"NOT {_captioned(end)}" for end in ends[:place][-1:]]

    @property
    def order(self) -> str:
        """`ORDER BY` of the media that are shown."""
        column, falling = SORTS[self.sort]
        direction = "DESC" if falling else "ASC"
        return f"ORDER BY {column} {direction} NULLS LAST, m.id {direction}"


@dataclass(frozen=True)
class Cursor:
    """Where a page of the gallery ends: the value that it is sorted by, and the id that decides among equal ones."""

    key: Any
    media_id: str

    @classmethod
    def of(cls, row: Row) -> Cursor:
        """The cursor at a row of the gallery."""
        return cls(row["sort_key"], row["id"])


def gallery(reader: Reader, filters: Filters, after: Cursor | None = None) -> list[Row]:
    """A page of media, each with its first caption, or the one that was searched, and that frame."""
    behind, values = _beside(filters, after, forward=True) if after else ("", {})
    values |= filters.values
    media = reader.rows(
        f"""SELECT m.dataset_id, m.id, m.name, m.type, m.blob, m.duration, m.moderation_status, m.created_at,
            {SORTS[filters.sort][0]} AS sort_key
        {filters.sql} {behind} {filters.order} LIMIT {PAGE}""",
        **values,
    )
    if not media:
        return []
    ids = [row["id"] for row in media]
    found: dict[tuple[str, str], Row] = {}
    for row in (*_first_captions(reader, filters, ids), *_first_frames(reader, ids)):
        found.setdefault((row["dataset_id"], row["media_id"]), {}).update(row)
    for row in media:
        of_it = found.get((row["dataset_id"], row["id"]), {})
        still = row["blob"] if row["type"] == "image" else None
        row["picture"] = of_it.get("said") or of_it.get("blob") or still
        row["caption"], row["frame_id"] = of_it.get("text"), of_it.get("frame_id")
        row["captions"], row["frames"] = of_it.get("captions"), of_it.get("frames")
    return media


def _first_captions(reader: Reader, filters: Filters, media_ids: Sequence[str]) -> list[Row]:
    """The first caption of each media item, with the picture of its frame."""
    listed, ids = _listed(media_ids)
    return reader.rows(
        f"""SELECT k.dataset_id, k.media_id, k.text, k.frame_id, k.said, k.captions FROM (
            SELECT c.dataset_id, c.media_id, c.text, c.frame_id, COALESCE(f.thumbnail_blob, f.blob) AS said,
                COUNT(*) OVER (PARTITION BY c.dataset_id, c.media_id) AS captions, {_caption_place(filters)}
            FROM captions c LEFT JOIN frames f ON f.dataset_id = c.dataset_id AND f.id = c.frame_id
            WHERE c.media_id IN ({listed}) AND {_kept("c")} AND {_kept("f")}
        ) k WHERE k.place = 1""",
        **ids,
        **filters.values,
    )


def _first_frames(reader: Reader, media_ids: Sequence[str]) -> list[Row]:
    """The first frame of each media item."""
    listed, ids = _listed(media_ids)
    return reader.rows(
        f"""SELECT k.dataset_id, k.media_id, k.blob, k.frames FROM (
            SELECT f.dataset_id, f.media_id, COALESCE(f.thumbnail_blob, f.blob) AS blob,
                COUNT(*) OVER (PARTITION BY f.dataset_id, f.media_id) AS frames,
                ROW_NUMBER() OVER (PARTITION BY f.dataset_id, f.media_id
                    ORDER BY f.timestamp_seconds, f.page_number, f.id) AS place
            FROM frames f WHERE f.media_id IN ({listed}) AND {_kept("f")}
        ) k WHERE k.place = 1""",
        **ids,
    )


def _caption_place(filters: Filters) -> str:
    """The column `place`: numbers the captions of a media item, first those that were searched, then by frame."""
    suits = search.has_required("c.text", filters.terms, "c.id")
    return f"""ROW_NUMBER() OVER (PARTITION BY c.dataset_id, c.media_id
        ORDER BY CASE WHEN {suits} THEN 0 ELSE 1 END, f.timestamp_seconds, f.page_number, c.created_at DESC, c.id
        ) AS place"""


def count(reader: Reader, filters: Filters) -> int:
    """How many media the gallery would show in all."""
    return int(reader.rows(f"SELECT COUNT(*) AS n {filters.sql}", **filters.values)[0]["n"])


def neighbours(reader: Reader, filters: Filters, dataset_id: str, media_id: str) -> dict[str, Row | None]:
    """The `previous` and the `next` media item in the gallery, as seen from one that need not be in it."""
    key = SORTS[filters.sort][0]
    here = reader.rows(
        f"SELECT m.id, {key} AS sort_key FROM media m WHERE m.dataset_id = @in_dataset AND m.id = @media LIMIT 1",
        in_dataset=dataset_id,
        media=media_id,
    )
    found: dict[str, Row | None] = {"previous": None, "next": None}
    for name in found if here else ():
        beside, values = _beside(filters, Cursor.of(here[0]), forward=name == "next")
        order = filters.order if name == "next" else _reversed(filters.order)
        rows = reader.rows(
            f"SELECT m.dataset_id, m.id, m.name {filters.sql} {beside} {order} LIMIT 1", **filters.values, **values
        )
        found[name] = rows[0] if rows else None
    return found


def exported(reader: Reader, filters: Filters) -> list[Row]:
    """The media that the gallery would show in all, at most `EXPORTED`, each with its first caption."""
    chosen = f"SELECT m.dataset_id, m.id {filters.sql} {filters.order} LIMIT {EXPORTED}"
    return reader.rows(
        f"""SELECT d.name AS dataset, m.dataset_id, m.id AS media_id, m.name, m.type, m.created_at, m.updated_at,
            m.width, m.height, m.duration, m.size_bytes, m.moderation_status, k.text AS caption, k.model, m.blob,
            m.folder_id
        FROM media m JOIN ({chosen}) x ON x.dataset_id = m.dataset_id AND x.id = m.id
        LEFT JOIN datasets d ON d.dataset_id = m.dataset_id
        LEFT JOIN (
            SELECT c.dataset_id, c.media_id, c.text, c.model, {_caption_place(filters)}
            FROM captions c LEFT JOIN frames f ON f.dataset_id = c.dataset_id AND f.id = c.frame_id
            WHERE {_kept("c")} AND {_kept("f")}
        ) k ON k.dataset_id = m.dataset_id AND k.media_id = m.id AND k.place = 1
        {filters.order}""",
        **filters.values,
    )


def datasets(reader: Reader) -> list[Row]:
    """The datasets with their names."""
    return reader.rows("SELECT d.dataset_id, d.name FROM datasets d ORDER BY d.name, d.dataset_id LIMIT 1000")


def folders(reader: Reader) -> list[Row]:
    """The folders with their parent folders."""
    return reader.rows(
        "SELECT f.dataset_id, f.id, f.name, f.parent_id FROM folders f ORDER BY f.dataset_id, f.id LIMIT 5000"
    )


def choices(reader: Reader) -> dict[str, list[Row]]:
    """What can be chosen in the filters; the most frequent first."""
    return {
        "kind": reader.rows("SELECT m.type AS value FROM media m GROUP BY m.type ORDER BY COUNT(*) DESC LIMIT 20"),
        "moderation": reader.rows(
            """SELECT m.moderation_status AS value FROM media m WHERE m.moderation_status IS NOT NULL
            GROUP BY m.moderation_status ORDER BY COUNT(*) DESC LIMIT 20"""
        ),
        "tag": top_tags(reader, most=300),
        "label": top_labels(reader, most=300),
        "model": reader.rows(
            f"""SELECT c.model AS value FROM captions c WHERE c.model IS NOT NULL AND {_kept("c")}
            GROUP BY c.model ORDER BY COUNT(*) DESC LIMIT 50"""
        ),
    }


def media(reader: Reader, dataset_id: str, media_id: str) -> Row | None:
    """One media item with all its rows, or None if it is not stored."""
    values = {"dataset": dataset_id, "media": media_id}
    found = reader.rows(
        """SELECT m.dataset_id, m.id, m.name, m.type, m.blob, m.folder_id, m.description, m.prompt, m.width, m.height,
            m.duration, m.size_bytes, m.status, m.moderation_status, m.moderated_at, m.created_at, m.updated_at,
            m.deleted_at, m.version_number, m.exif, m.metadata, m.extra, d.name AS dataset_name
        FROM media m LEFT JOIN datasets d ON d.dataset_id = m.dataset_id
        WHERE m.dataset_id = @dataset AND m.id = @media LIMIT 1""",
        **values,
    )
    if not found:
        return None
    own = "WHERE x.dataset_id = @dataset AND x.media_id = @media"
    kept = f"{own} AND {_kept('x')}"
    of_kept = f"""{kept} AND NOT EXISTS (SELECT 1 FROM frames f WHERE f.dataset_id = x.dataset_id
                AND f.media_id = x.media_id AND f.id = x.frame_id AND f.status = 'deleted')"""
    return {
        **found[0],
        "frames": reader.rows(
            f"""SELECT x.id, x.timestamp_seconds, x.end_timestamp_seconds, x.page_number, x.blob, x.thumbnail_blob,
                x.width, x.height, x.text, x.moderation_status FROM frames x {kept}
            ORDER BY x.timestamp_seconds, x.page_number, x.id LIMIT {MOST}""",
            **values,
        ),
        "captions": reader.rows(
            f"""SELECT x.frame_id, x.text, x.model, x.created_at FROM captions x {of_kept}
            ORDER BY x.created_at, x.id LIMIT {MOST}""",
            **values,
        ),
        "objects": reader.rows(
            f"""SELECT x.frame_id, x.label, x.type, x.polygon, x.x_min, x.y_min FROM objects x {of_kept}
            ORDER BY x.label, x.id LIMIT {MOST}""",
            **values,
        ),
        "tags": reader.rows(
            f"SELECT x.tag_group, x.tag FROM media_tags x {own} ORDER BY x.tag_group, x.tag LIMIT {MOST}", **values
        ),
        "categories": reader.rows(
            f"""SELECT DISTINCT x.category FROM moderation_categories x {own} ORDER BY x.category LIMIT {MOST}""",
            **values,
        ),
    }


def caption_versions(reader: Reader, dataset_id: str, media_id: str) -> list[Row]:
    """The versions of a media item's captions, the newest first; none where there is no history."""
    return reader.rows(
        f"""SELECT x.frame_id, x.id, x.text, x.model, x.valid_from, x.valid_to, x.`change` FROM caption_history x
        WHERE x.dataset_id = @dataset AND x.media_id = @media AND {_kept("x")}
        ORDER BY x.valid_from DESC, x.id LIMIT {MOST}""",
        dataset=dataset_id,
        media=media_id,
    )


def totals(reader: Reader, dataset: str | None = None) -> Row:
    """How much there is."""
    where, values = _of(dataset)
    return reader.rows(
        f"""SELECT COUNT(*) AS media, MAX(m.created_at) AS newest,
            (SELECT COUNT(*) FROM captions c WHERE {where("c")} AND {_kept("c")}) AS captions,
            (SELECT COUNT(*) FROM objects o WHERE {where("o")} AND {_kept("o")}) AS objects
        FROM media m WHERE m.deleted_at IS NULL AND {where("m")}""",
        **values,
    )[0]


def growth(reader: Reader, dataset: str | None = None) -> list[Row]:
    """Media by when they were created and by dataset, of the last `SPAN` days before the newest.

    Each row has the `days` that it covers from `start` on: seven, or one where everything lies within `DAILY` days. A
    row without `start` counts the media that are older.
    """
    where, values = _of(dataset)
    alive = f"m.deleted_at IS NULL AND {where('m')}"
    ends = reader.rows(
        f"SELECT MIN(m.created_at) AS oldest, MAX(m.created_at) AS newest FROM media m WHERE {alive}", **values
    )[0]
    if ends["newest"] is None:
        return []
    since = max(ends["oldest"], ends["newest"] - timedelta(days=SPAN))
    days, unit = (1, "DAY") if ends["newest"] - since < timedelta(days=DAILY) else (7, "WEEK(MONDAY)")
    return reader.rows(
        f"""SELECT w.start, {days} AS days, d.name AS dataset_name, w.dataset_id, w.media FROM (
            SELECT CASE WHEN m.created_at >= @since THEN TIMESTAMP_TRUNC(m.created_at, {unit}) END AS start,
                m.dataset_id, COUNT(*) AS media
            FROM media m WHERE m.created_at IS NOT NULL AND {alive} GROUP BY 1, 2
        ) w LEFT JOIN datasets d ON d.dataset_id = w.dataset_id ORDER BY w.start, d.name""",
        **values,
        since=since,
    )


def top_labels(reader: Reader, dataset: str | None = None, most: int = 20) -> list[Row]:
    """The labels detected most often, with the number of objects."""
    where, values = _of(dataset)
    return reader.rows(
        f"""SELECT o.label, COUNT(*) AS objects FROM objects o
        WHERE o.label IS NOT NULL AND {where("o")} AND {_kept("o")}
        GROUP BY o.label ORDER BY COUNT(*) DESC, o.label LIMIT {most}""",
        **values,
    )


def top_tags(reader: Reader, dataset: str | None = None, most: int = 20) -> list[Row]:
    """The tags given most often, with the number of media."""
    where, values = _of(dataset)
    return reader.rows(
        f"""SELECT t.tag_group, t.tag, COUNT(*) AS media FROM media_tags t WHERE {where("t")}
        GROUP BY t.tag_group, t.tag ORDER BY COUNT(*) DESC, t.tag_group, t.tag LIMIT {most}""",
        **values,
    )


def latency(reader: Reader, dataset: str | None = None) -> list[Row]:
    """Media by the time from their creation to their first caption: `place` counts through `LATENCIES`."""
    where, values = _of(dataset)
    spans = " ".join(
        f"WHEN c.first_at < m.created_at + INTERVAL {seconds} SECOND THEN {place}"
        for place, seconds in enumerate(LATENCIES)
    )
    return reader.rows(
        f"""SELECT CASE {spans} ELSE {len(LATENCIES)} END AS place, COUNT(*) AS media
        FROM media m JOIN (
            SELECT x.dataset_id, x.media_id, MIN(x.created_at) AS first_at FROM captions x
            WHERE {where("x")} AND {_kept("x")} GROUP BY x.dataset_id, x.media_id
        ) c ON c.dataset_id = m.dataset_id AND c.media_id = m.id
        WHERE c.first_at IS NOT NULL AND m.created_at IS NOT NULL AND m.deleted_at IS NULL AND {where("m")}
        GROUP BY 1 ORDER BY 1""",
        **values,
    )


def backlog(reader: Reader, dataset: str | None = None) -> list[Row]:
    """Media that have no caption, by dataset, beside all of them; the longest backlog first."""
    where, values = _of(dataset)
    return reader.rows(
        f"""SELECT b.dataset_id, d.name AS dataset_name, b.media, b.waiting, b.oldest FROM (
            SELECT m.dataset_id, COUNT(*) AS media, COUNT(*) - COUNT(c.media_id) AS waiting,
                MIN(CASE WHEN c.media_id IS NULL THEN m.created_at END) AS oldest
            FROM media m LEFT JOIN (
                SELECT DISTINCT x.dataset_id, x.media_id FROM captions x WHERE {where("x")} AND {_kept("x")}
            ) c ON c.dataset_id = m.dataset_id AND c.media_id = m.id
            WHERE m.deleted_at IS NULL AND {where("m")} GROUP BY m.dataset_id
        ) b LEFT JOIN datasets d ON d.dataset_id = b.dataset_id
        ORDER BY b.waiting DESC, d.name LIMIT 100""",
        **values,
    )


def freshness(reader: Reader) -> list[Row]:
    """For each dataset, when it was last listed, last listed completely, and the outcome of the last run."""
    return reader.rows(
        f"""SELECT k.dataset_id, d.name AS dataset_name, k.started_at AS last_run, k.outcome, k.message,
            k.last_complete, k.runs FROM (
            SELECT r.dataset_id, r.started_at, {_OUTCOME} AS outcome, r.message,
                MAX(CASE WHEN {_OUTCOME} = 'complete' THEN r.started_at END)
                    OVER (PARTITION BY r.dataset_id) AS last_complete,
                COUNT(*) OVER (PARTITION BY r.dataset_id) AS runs,
                ROW_NUMBER() OVER (PARTITION BY r.dataset_id ORDER BY r.started_at DESC) AS place
            {_RUNS}
        ) k LEFT JOIN datasets d ON d.dataset_id = k.dataset_id
        WHERE k.place = 1 ORDER BY k.started_at DESC LIMIT 1000"""
    )


def runs(reader: Reader, most: int = 200) -> list[Row]:
    """What the last runs did with each dataset, newest first, and when that was loaded."""
    return reader.rows(
        f"""SELECT r.run, r.started_at, l.inserted_at AS loaded_at, r.dataset_id, d.name AS dataset_name,
            {_OUTCOME} AS outcome, r.listed, r.`new`, r.changed, r.gone, r.unchanged, r.requests, r.retries, r.message
        {_RUNS} LEFT JOIN datasets d ON d.dataset_id = r.dataset_id
        ORDER BY r.started_at DESC, r.dataset_id LIMIT {most}"""
    )


def picture_address(reader: Reader) -> tuple[str | None, int]:
    """The address of any media, and how many media there are."""
    row = reader.rows("SELECT MIN(m.blob) AS blob, COUNT(*) AS media FROM media m")[0]
    return row["blob"], row["media"]


def _of(dataset: str | None) -> tuple[Any, dict[str, Any]]:
    return (lambda table: f"{table}.dataset_id = @dataset" if dataset else "TRUE"), {"dataset": dataset}


#: The runs, and their loads where these were completed.
_RUNS = "FROM _coreviz_runs r LEFT JOIN _dlt_loads l ON l.load_id = r._dlt_load_id AND l.status = 0"
_OUTCOME = "CASE WHEN l.load_id IS NULL THEN 'interrupted' ELSE r.outcome END"


def _beside(filters: Filters, cursor: Cursor, forward: bool) -> tuple[str, dict[str, Any]]:
    """The condition that a media item is behind a cursor in the gallery, or before it, and its values."""
    column, falling = SORTS[filters.sort]
    sign = "<" if falling is forward else ">"
    if cursor.key is None:
        before = "" if forward else f"{column} IS NOT NULL OR "
        return f"AND ({before}({column} IS NULL AND m.id {sign} @cursor_id))", {"cursor_id": cursor.media_id}
    last = f" OR {column} IS NULL" if forward else ""
    return (
        f"AND ({column} {sign} @cursor_key OR ({column} = @cursor_key AND m.id {sign} @cursor_id){last})",
        {"cursor_key": cursor.key, "cursor_id": cursor.media_id},
    )


def _reversed(order: str) -> str:
    turned = {"ASC": "DESC", "DESC": "ASC", "LAST,": "FIRST,"}
    return " ".join(turned.get(word, word) for word in order.split(" "))


def _captioned(condition: str) -> str:
    """The condition that a media item has such a caption."""
    return (
        "EXISTS (SELECT 1 FROM captions c WHERE c.dataset_id = m.dataset_id AND c.media_id = m.id"
        f" AND {condition} AND {_kept('c')})"
    )


def _kept(table: str) -> str:
    """The condition that the service did not delete a frame, caption or object."""
    return f"COALESCE({table}.status, '') <> 'deleted'"


def _listed(ids: Sequence[str]) -> tuple[str, dict[str, str]]:
    values = {f"id{i}": media_id for i, media_id in enumerate(ids)}
    return ", ".join(f"@{name}" for name in values), values


def _midnight(day: date | None) -> datetime | None:
    return None if day is None else datetime(day.year, day.month, day.day, tzinfo=timezone.utc)
