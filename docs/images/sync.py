"""Makes the picture of `coreviz-source sync` on a terminal again: `.venv/bin/python docs/images/sync.py`.

The real display of a real run against the local Studio, at one moment in the middle, written to sync.svg beside this
file.
"""

from __future__ import annotations

import io
import re
import tempfile
from pathlib import Path

import dlt
from rich.console import Console

from coreviz_source import Progress, sync
from coreviz_source.cli.progress import Screen
from coreviz_source.local_studio import Library, Studio

PICTURE = Path(__file__).with_suffix(".svg")


def main() -> None:
    """Writes the picture."""
    looks = {"force_terminal": True, "width": 100, "height": 12, "markup": False, "emoji": False}
    console = Console(file=io.StringIO(), record=True, _environ={}, **looks)
    shown: list[str] = []

    def progress(event: Progress) -> None:
        screen(event)
        if shown or [e.phase for e in screen.events.values()] != ["done", "done", "listing"] or event.listed < 1500:
            return
        # forget what was drawn until now; printed lines stand above the table, which is drawn again
        console.export_text()
        console.print("$ coreviz-source sync", highlight=False)
        shown.append(console.export_svg(title="coreviz-source sync", unique_id="sync"))

    library = Library.generate(12_900)
    screen = Screen(console)
    with Studio(library, latency=0.05) as studio, tempfile.TemporaryDirectory() as folder, screen:
        pipeline = dlt.pipeline(
            "coreviz_library",
            destination=dlt.destinations.duckdb(f"{folder}/coreviz_library.duckdb"),
            dataset_name="coreviz",
            pipelines_dir=folder,
        )
        report = sync(pipeline, progress=progress, base_url=studio.url, api_key=studio.key, requests_per_second=12)
    assert report.exit_code == 0, report.to_json()
    # no font from elsewhere
    PICTURE.write_text(re.sub(r"@font-face \{.*?\}\s*", "", shown[0], flags=re.DOTALL), encoding="utf-8")


if __name__ == "__main__":
    main()
