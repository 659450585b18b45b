"""A dlt source that mirrors a CoreViz Studio library into a warehouse.

```python
import dlt
from coreviz_source import coreviz

pipeline = dlt.pipeline("coreviz_library", destination="duckdb", dataset_name="coreviz")
pipeline.run(coreviz(dataset_ids=["ecf33096-0d69-410b-a8cc-856caa3fba6c"]))
```

`sync()` is made for schedules: it loads in checkpoints and returns a report instead of raising.

How an item travels: `api` requests pages, `listing` joins them into a complete list, `changes` compares the list with
the state that `warehouse` reads, `rows` builds the rows of new and changed items, `mirror` does this for one dataset,
`loading` passes the rows to dlt, and `source` and `synchronize` run all of it. `tables` and `settings` declare what
the others use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from coreviz_source.report import DatasetReport, Report
    from coreviz_source.source import coreviz
    from coreviz_source.synchronize import sync
    from coreviz_source.warehouse.catalog import create_views

__all__ = ["DatasetReport", "Report", "coreviz", "create_views", "sync"]

_HOMES = {
    "DatasetReport": "report",
    "Report": "report",
    "coreviz": "source",
    "create_views": "warehouse.catalog",
    "sync": "synchronize",
}


def __getattr__(name: str) -> Any:
    """Imports a public name when it is first used: dlt takes half a second, and `--help` does not need it."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    return value
