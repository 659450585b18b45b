"""The views in the SQL of each warehouse, rendered from the files in `warehouse/views`.

`python -m tests.views` renders them again.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import coreviz_source.warehouse.views
from coreviz_source.warehouse.destination import DESTINATIONS
from coreviz_source.warehouse.views import render, views

RENDERED = Path(coreviz_source.warehouse.views.__file__).parent / "rendered"


def rendered() -> dict[str, str]:
    """The SQL of each view in each dialect, by the path of its file below `RENDERED`."""
    return {
        f"{dialect}/{view.name}.sql": render(view.sql, dialect, lambda table: [f"{{{table}}}"]) + "\n"
        for dialect in sorted({destination.dialect for destination in DESTINATIONS.values()})
        for view in views()
    }


if __name__ == "__main__":
    shutil.rmtree(RENDERED, ignore_errors=True)
    for name, sql in rendered().items():
        path = RENDERED / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(sql)
