"""The way of destinations that take no parquet with JSON in it (BigQuery): plain dictionaries, the same tables."""

from __future__ import annotations

import coreviz_source.resources
from coreviz_source.local_studio import Studio
from tests.scenario import assert_equal_to, frozen, media_of, run
from tests.test_changes import CHANGES
from tests.warehouse import load_ids


def test_plain_dictionaries_make_the_same_tables(pipeline, monkeypatch):
    monkeypatch.setattr(coreviz_source.resources, "_destination", lambda: "dlt.destinations.bigquery")
    library = frozen(60)
    with Studio(library) as studio:
        run(pipeline, studio)
        assert_equal_to(pipeline, studio)
        before = load_ids(pipeline)
        run(pipeline, studio, reconcile_every="0")
        assert load_ids(pipeline) == before
        for change in CHANGES:
            with library.changing(media_of(library, frames=1)[0]["id"]) as item:
                change(library, item)
        for item in media_of(library)[20:25]:
            library.delete(item["id"])
        run(pipeline, studio, reconcile_every="0")
        assert_equal_to(pipeline, studio)
    tables = pipeline.default_schema.data_table_names()
    assert not [name for name in tables if "__" in name], "no tag or exif key becomes a table"
