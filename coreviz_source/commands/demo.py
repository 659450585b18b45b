"""The demo: from the API to SQL in a few seconds, without an account."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dlt
import duckdb
from rich.console import Console
from rich.progress import Progress as ProgressBars
from rich.progress import TextColumn
from rich.table import Table

from coreviz_source.extras import program
from coreviz_source.loading.configuration import sectioned_variables
from coreviz_source.report import Progress, Report, counted
from coreviz_source.synchronize import sync
from coreviz_source.tables import CURRENT

if TYPE_CHECKING:
    from coreviz_source.local_studio import Studio

DATABASE = Path("coreviz_demo.duckdb")
DATASET = "coreviz"

QUESTIONS = (
    (
        "Which captions mention a red shoe?",
        "SELECT m.file_name, c.text FROM coreviz.captions c\n"
        "JOIN coreviz.media m ON m.dataset_id = c.dataset_id AND m.id = c.media_id\n"
        "WHERE c.text ILIKE '%red shoe%' ORDER BY m.created_at DESC, c.id LIMIT 3",
    ),
    (
        "What is seen most?",
        "SELECT label, count(*) AS times, count(DISTINCT media_id) AS media FROM coreviz.objects\n"
        "GROUP BY label ORDER BY times DESC, label LIMIT 5",
    ),
    (
        "How is the library tagged?",
        "SELECT tag_group, tag, count(*) AS media FROM coreviz.media_tags\n"
        "GROUP BY tag_group, tag ORDER BY media DESC, tag_group, tag LIMIT 5",
    ),
)


class _Console(Console):
    """A terminal for what the library contains: brackets and colons in it are neither styles nor emoji."""

    def __init__(self) -> None:
        super().__init__(markup=False, emoji=False)

    def on_broken_pipe(self) -> None:
        """Leaves it to the command line what happens when nobody reads the output."""
        raise BrokenPipeError


def use_demo(pipeline: dlt.Pipeline) -> None:
    """Makes a pipeline read what the demo loaded in this directory."""
    file: Any = dlt.destinations.duckdb(str(DATABASE.absolute()))
    pipeline.destination = file
    pipeline.dataset_name = DATASET


def run(media: int, generation: int) -> int:
    """Serves a generated library, loads it twice with a late caption in between, and shows the tables.

    Args:
        media: Number of media items in the library.
        generation: Generation of the API that the local Studio serves.

    Returns:
        The exit code.
    """
    from coreviz_source.local_studio import Library, Studio

    console = _Console()
    library = Library.generate(media)
    for path in (DATABASE, DATABASE.with_suffix(".duckdb.wal")):
        path.unlink(missing_ok=True)
    console.print(
        f"The local Studio, a stand-in for the live service, serves {counted(media, 'generated media item')} in "
        f"{counted(len(library.datasets), 'dataset')}, generation {generation} of the API.\n"
    )
    with (
        sectioned_variables(),
        Studio(library, generation) as studio,
        tempfile.TemporaryDirectory() as directory,
    ):
        pipeline = dlt.pipeline(
            "coreviz_demo",
            destination=dlt.destinations.duckdb(str(DATABASE.absolute())),
            dataset_name=DATASET,
            pipelines_dir=directory,
        )
        first = _load(pipeline, studio, console)
        if first.exit_code:
            console.print(str(first))
            return first.exit_code
        console.print(f"First load: {counted(_written(first), 'row')} in {first.seconds:.1f} s.\n")
        oldest = next(item for d in library.datasets for item in library.listing(d) if item.get("frames"))
        library.add_caption(oldest["id"], "A caption that was written much later.")
        console.print("Now a caption is added to an old media item, whose timestamps stay as they are.\n")
        second = _load(pipeline, studio, console)
        changed = sum(d.changed for d in second.datasets.values())
        items, rows = counted(changed, "media item"), counted(_written(second), "row")
        console.print(f"Second load: {items} changed ({rows} rewritten).\n")
    _show(console)
    return second.exit_code


def _load(pipeline: dlt.Pipeline, studio: Studio, console: Console) -> Report:
    """Loads what the Studio serves, with a bar per dataset."""
    library = studio.library
    columns = TextColumn("{task.description}", markup=False), *ProgressBars.get_default_columns()[1:]
    with ProgressBars(*columns, console=console) as bars:
        tasks = {d: bars.add_task(library.dataset(d).info["name"]) for d in library.datasets}

        def show(event: Progress) -> None:
            bars.update(tasks[event.dataset_id], completed=event.listed, total=event.total)

        return sync(
            pipeline,
            progress=show,
            # the API of 2025 lists no datasets; where it does, organizations are loaded as well
            dataset_ids=list(library.datasets) if studio.generation == 2025 else None,
            base_url=studio.url,
            api_key=studio.key,
            reconcile_every="0",
        )


def _written(report: Report) -> int:
    return sum(dataset.written for dataset in report.datasets.values())


def _show(console: Console) -> None:
    with duckdb.connect(str(DATABASE), read_only=True) as database:
        landed = Table("table", "rows", title=f"Tables in {DATABASE}", title_justify="left")
        for table in CURRENT:
            (count,) = database.execute(f"SELECT count(*) FROM coreviz.{table.name}").fetchone() or (0,)
            landed.add_row(table.name, f"{count:,}")
        console.print(landed)
        for question, sql in QUESTIONS:
            found = database.execute(sql)
            answer = Table(*(column[0] for column in found.description or ()), title=question, title_justify="left")
            for row in found.fetchall():
                answer.add_row(*map(str, row))
            console.print()
            console.print(answer)
            console.print(sql, style="dim", highlight=False)
    command = program()
    steps = {
        "export COREVIZ_API_KEY=…": "Studio, Settings, API keys",
        f"{command} check": "which datasets the key sees",
        f"{command} sync": "into coreviz_library.duckdb; run it again at any time",
    }
    width = max(map(len, steps))
    lines = [f"  {step:{width}}  # {meaning}" for step, meaning in steps.items()]
    console.print("\nYour own library", *lines, "", sep="\n", soft_wrap=True)
