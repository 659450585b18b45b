"""A dlt source that mirrors a CoreViz Studio library into a warehouse.

```python
import dlt
from coreviz_source import coreviz

pipeline = dlt.pipeline("coreviz_library", destination="duckdb", dataset_name="coreviz")
pipeline.run(coreviz(dataset_ids=["ecf33096-0d69-410b-a8cc-856caa3fba6c"]))
```

`sync()` does the same on a schedule, and returns a report. `sync_every()` does it at a regular pace, in a process that
stays. An item passes these stages: `api` requests pages, `listing` makes a complete list of them, `changes` compares
the list with what is stored (`warehouse`), and `rows` builds the rows of what is new or changed. `mirror` has these
stages in order, for one dataset. `loading` hands its rows to dlt, and `source` and `synchronize` do that for all
datasets of a run.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from coreviz_source.library import open_library
    from coreviz_source.report import DatasetReport, Progress, Report
    from coreviz_source.resident import sync_every
    from coreviz_source.source import coreviz
    from coreviz_source.synchronize import sync
    from coreviz_source.warehouse.catalog import create_views

__all__ = ["DatasetReport", "Progress", "Report", "coreviz", "create_views", "open_library", "sync", "sync_every"]

_HOMES = {
    "DatasetReport": "report",
    "Progress": "report",
    "Report": "report",
    "coreviz": "source",
    "create_views": "warehouse.catalog",
    "open_library": "library",
    "sync": "synchronize",
    "sync_every": "resident",
}


def __getattr__(name: str) -> Any:
    """Imports a public name when it is first used: dlt takes half a second, and `--help` does not need it."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    return value
