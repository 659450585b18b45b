"""dlt's statements to BigQuery in a first load, a merge and a deletion, recorded in `tests/data/bigquery.sql`.

`python -m tests.bigquery_sql` records it again.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import dlt

from coreviz_source import coreviz
from coreviz_source.local_studio import Studio
from tests.bigquery import BigQuery
from tests.scenario import arguments, frozen, media_of

GOLDEN = Path(__file__).parent / "data" / "bigquery.sql"


def conversation() -> str:
    """The statements that write, and the load jobs, of two tables and the line of the run.

    dlt's own tables are left out, and so is how those of the staging dataset are made: in the same way.
    """
    library = frozen(12)
    parts = []
    with BigQuery() as service, Studio(library) as studio, tempfile.TemporaryDirectory() as directory:
        os.environ |= {"BIGQUERY_EMULATOR_HOST": service.url, "LOAD__TRUNCATE_STAGING_DATASET": "true"}
        pipeline = dlt.pipeline(
            "coreviz_sql",
            destination=dlt.destinations.bigquery(service.credentials()),
            dataset_name="coreviz",
            pipelines_dir=directory,
        )
        for step in ("a first load", "a merge", "a deletion"):
            if step == "a merge":
                library.add_caption(media_of(library, frames=1)[0]["id"], "Late.")
            if step == "a deletion":
                library.delete(media_of(library)[1]["id"])
            source = coreviz(**arguments(studio, {"reconcile_every": "0"}))
            pipeline.run(source.with_resources("media", "captions"))
            parts.append(f"-- {step}\n\n" + "\n\n".join(_said(service)))
            service.statements.clear()
            service.loads.clear()
    return "\n\n".join(parts) + "\n"


def _said(service: BigQuery) -> Iterator[str]:
    """What was said since the last step; sorted, as tables are made, loaded and emptied in any order."""
    batches = {re.sub(" {2,}", " ", sql.strip()) for sql in service.statements}
    apart = {f"{s.rstrip(';')};" for sql in batches if re.match("CREATE|TRUNCATE", sql) for s in sql.split(";\n")}
    yield from sorted(s for s in apart if not re.match("CREATE .*(_dlt_|_staging)", s))
    for load in sorted(service.loads, key=lambda load: load["table"]):
        if "_dlt_" not in load["table"]:
            yield f"-- load job: {json.dumps(load)}"
    yield from sorted(s for s in batches if not re.match("SELECT|DECLARE|CREATE|TRUNCATE|INSERT INTO .*_dlt_", s))


if __name__ == "__main__":
    GOLDEN.parent.mkdir(exist_ok=True)
    GOLDEN.write_text(conversation())
