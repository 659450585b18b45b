"""Times every query of the dashboard on a generated warehouse: `python benchmarks/dashboard.py [--media 200000]`.

The rows are made by DuckDB itself from the declared tables; a third of the media are videos of five frames. Each
question is asked three times over a connection of its own, as the dashboard does; the median counts. The CPU time is
that of all threads together, and says more than the wall time on a busy machine.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import dlt
import duckdb

from coreviz_source.dashboard import queries
from coreviz_source.dashboard.queries import Cursor, Filters
from coreviz_source.dashboard.warehouse import READ, Reader, Warehouse
from coreviz_source.warehouse.search import parse

TYPES = {"id": "VARCHAR", "text": "VARCHAR", "bigint": "BIGINT", "double": "DOUBLE", "bool": "BOOLEAN", "json": "JSON"}


def _id(what: str, number: str) -> str:
    """A UUID that the number gives, of this kind of thing."""
    digest = f"md5('{what}' || ({number}))"
    return f"CAST(CAST({digest} AS UUID) AS VARCHAR)"


def _fill(database: duckdb.DuckDBPyConnection, table: str, source: str, **columns: str) -> None:
    names, values = ", ".join(f'"{name}"' for name in columns), ", ".join(columns.values())
    database.execute(f"INSERT INTO coreviz.{table} ({names}) SELECT {values} FROM {source}")


def make(path: Path, media: int) -> None:
    """Writes a warehouse of so many media into a DuckDB file."""
    word = "['red','blue','green','yellow','black','white','orange','brown'][1 + ({0}) % 8]"
    thing = "['shoe','jacket','dog','tent','forklift','pallet','boat','lamp','chair','bird','car'][1 + ({0}) % 11]"
    kind = "CASE WHEN n % 3 = 1 THEN 'video' ELSE 'image' END"
    dataset = _id("dataset", "n % 12")
    created = "TIMESTAMPTZ '2026-11-01 00:00:00Z' - INTERVAL 1 MINUTE * (n * 7)"
    frames = f"(SELECT n, k FROM range({media}) t(n), range(5) f(k) WHERE k = 0 OR n % 3 = 1)"
    with duckdb.connect(str(path)) as database:
        database.execute("CREATE SCHEMA coreviz")
        for table in READ.values():
            columns = ", ".join(f'"{c.name}" {TYPES.get(c.kind, "TIMESTAMPTZ")}' for c in table.columns)
            database.execute(f"CREATE TABLE coreviz.{table.name} ({columns}, _dlt_load_id VARCHAR)")
        _fill(database, "datasets", "range(12) t(n)", dataset_id=dataset, id=dataset, name="'Dataset ' || n")
        of_media = {"dataset_id": dataset, "media_id": _id("media", "n")}
        _fill(
            database,
            "media",
            f"range({media}) t(n)",
            dataset_id=dataset,
            id=_id("media", "n"),
            name=f"'media/' || {thing.format('n')} || '-' || n || '.jpg'",
            type=kind,
            blob="'https://example.com/' || n",
            width="2000",
            height="1250",
            duration="CASE WHEN n % 3 = 1 THEN 20.0 END",
            moderation_status="CASE WHEN n % 40 = 0 THEN 'flagged' ELSE 'approved' END",
            created_at=created,
            metadata="""'{"tags": {}}'""",
        )
        of_frame = {**of_media, "frame_id": _id("frame", "n * 5 + k")}
        _fill(
            database,
            "frames",
            frames,
            **of_media,
            id=of_frame["frame_id"],
            timestamp_seconds="k * 4.0",
            blob="'https://example.com/' || n || '/' || k",
            width="640",
            height="400",
        )
        _fill(
            database,
            "captions",
            f"{frames} t WHERE n % 20 <> 19",
            **of_frame,
            id=_id("caption", "n * 5 + k"),
            text=f"'A ' || {word.format('n // 3 + k')} || ' ' || {thing.format('n')} "
            "|| ' stands in the foreground, number ' || n || '. The light is soft.'",
            model="'caption-large-2'",
            created_at=f"{created} + INTERVAL 1 SECOND * (20 + n % 4000)",
        )
        _fill(
            database,
            "objects",
            frames,
            **of_frame,
            id=_id("object", "n * 5 + k"),
            label=f"{word.format('n // 3 + k')} || ' ' || {thing.format('n')}",
            extra="""'{"boundingBox": {"x": 0.1, "y": 0.2, "width": 0.3, "height": 0.4}}'""",
        )
        for k, group in enumerate(("Season", "Product")):
            _fill(
                database,
                "media_tags",
                f"range({media}) t(n)",
                **of_media,
                tag_group=f"'{group}'",
                tag=f"'value ' || (n // {k + 1}) % 25",
            )
        _fill(
            database,
            "_coreviz_runs",
            "range(40000) t(n)",
            run=_id("run", "n // 12"),
            dataset_id=dataset,
            started_at="TIMESTAMPTZ '2026-11-01 00:00:00Z' - INTERVAL 1 HOUR * (n // 12)",
            outcome="CASE WHEN n // 12 % 24 = 0 THEN 'complete' ELSE 'window' END",
            _dlt_load_id="CAST(n // 12 AS VARCHAR)",
            **{name: "n % 50" for name in ("listed", "new", "changed", "gone", "unchanged", "requests", "retries")},
        )
        _fill(
            database,
            "_dlt_loads",
            "range(3400) t(n)",
            load_id="CAST(n AS VARCHAR)",
            status="0",
            inserted_at="TIMESTAMPTZ '2026-11-01 00:01:00Z' - INTERVAL 1 HOUR * n",
        )


def questions(reader: Reader) -> dict[str, Callable[[Reader], Any]]:
    """What is timed, by name."""
    first = queries.gallery(reader, Filters())
    middle = reader.rows(
        "SELECT m.created_at AS sort_key, m.id FROM media m ORDER BY m.created_at LIMIT 1 OFFSET 100000"
    )
    some = middle[0] if middle else first[-1]
    video = next(row for row in first if row["type"] == "video")
    red = Filters(terms=parse("red dog"))
    everything = Filters(terms=parse("a"))
    narrow = Filters(
        dataset=first[0]["dataset_id"], kind="image", tag=("Season", "value 3"), since=date(2025, 1, 1), label="red dog"
    )
    return {
        "gallery: first page": lambda r: queries.gallery(r, Filters()),
        "gallery: a page in the middle": lambda r: queries.gallery(r, Filters(), Cursor.of(some)),
        "gallery: how many": lambda r: queries.count(r, Filters()),
        "search `red dog`": lambda r: queries.gallery(r, red),
        "search `red dog`: how many": lambda r: queries.count(r, red),
        "search `a` (matches all)": lambda r: queries.gallery(r, everything),
        "search `a`: how many": lambda r: queries.count(r, everything),
        "search that finds nothing": lambda r: queries.gallery(r, Filters(terms=parse("zebra"))),
        "filter by tag": lambda r: queries.gallery(r, Filters(tag=("Season", "value 3"))),
        "filter by label": lambda r: queries.gallery(r, Filters(label="red dog")),
        "filter by model": lambda r: queries.gallery(r, Filters(model="caption-large-2")),
        "filter by time until the caption": lambda r: queries.gallery(r, Filters(waited=3)),
        "sorted by name": lambda r: queries.gallery(r, Filters(sort="name")),
        "filter by moderation": lambda r: queries.gallery(r, Filters(moderation="flagged")),
        "five filters at once": lambda r: queries.gallery(r, narrow),
        "choices of the filters": queries.choices,
        "one media": lambda r: queries.media(r, video["dataset_id"], video["id"]),
        "media beside one": lambda r: queries.neighbours(r, Filters(), video["dataset_id"], video["id"]),
        "media beside one, searched": lambda r: queries.neighbours(r, red, video["dataset_id"], video["id"]),
        "CSV of `red dog`": lambda r: queries.exported(r, red),
        "totals": queries.totals,
        "chart: growth": queries.growth,
        "chart: labels": queries.top_labels,
        "chart: tags": queries.top_tags,
        "chart: caption latency": queries.latency,
        "chart: backlog": queries.backlog,
        "runs: freshness": queries.freshness,
        "runs: history": queries.runs,
    }


def timed(warehouse: Warehouse) -> None:
    """Prints how long each query takes."""
    with warehouse.opened() as reader:
        asked = questions(reader)
    print(f"{'question':<32}{'wall':>8} ms{'CPU':>8} ms")
    for name, ask in asked.items():
        wall, cpu = [], []
        for _ in range(3):
            began, used = time.perf_counter(), time.process_time()
            with warehouse.opened() as reader:
                ask(reader)
            wall.append(time.perf_counter() - began)
            cpu.append(time.process_time() - used)
        print(f"{name:<32}{statistics.median(wall) * 1000:8.0f}   {statistics.median(cpu) * 1000:9.0f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--media", type=int, default=200_000)
    parser.add_argument("--keep", type=Path, help="write the DuckDB file here, and keep it")
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        path = wanted.keep or Path(directory) / "coreviz_library.duckdb"
        if not path.exists():
            make(path, wanted.media)
        pipeline = dlt.pipeline(
            "dashboard_bench",
            destination=dlt.destinations.duckdb(str(path)),
            dataset_name="coreviz",
            pipelines_dir=directory,
        )
        print(f"{wanted.media} media, {path.stat().st_size / 1e6:.0f} MB")
        timed(Warehouse(pipeline))


if __name__ == "__main__":
    main()
