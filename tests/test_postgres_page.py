"""What docs/postgres.md says about roles, JSON and indexes, done in its order in a real Postgres."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import dlt
import psycopg2
import sqlglot

from coreviz_source.local_studio import Studio
from tests.docs import ROOT, TOOLS, blocks
from tests.postgres import Postgres
from tests.scenario import assert_equal_to, frozen, run_sync
from tests.view_truth import WITHOUT_HISTORY
from tests.warehouse import query


def said(url: str, block: str) -> list[Any]:
    """What a block's statements answer, each."""
    answers = []
    with closing(psycopg2.connect(url)) as connection:
        connection.autocommit = True
        cursor = connection.cursor()
        # so that a small table is not read whole
        cursor.execute("SET enable_seqscan = off")
        for statement in filter(str.strip, block.split(";\n")):
            cursor.execute(statement)
            answers.append(cursor.fetchall() if cursor.description else None)
    return answers


def test_roles_json_and_indexes_are_as_the_page_says(tmp_path):
    roles, grants, indexes, questions = (
        # the server's own superuser is called loader already
        block.replace("loader", "writer")
        for block in blocks(ROOT / "docs" / "postgres.md", "sql")
    )
    library = frozen(60)
    with Postgres() as server, Studio(library) as studio:
        writer = server.url.replace("loader:secret", "writer:change-me")
        analyst = server.url.replace("loader:secret", "analyst:change-me-too")
        said(server.url, roles)
        pipeline = dlt.pipeline(
            "coreviz_library",
            destination=dlt.destinations.postgres(writer),
            dataset_name="coreviz",
            pipelines_dir=str(tmp_path / "pipelines"),
        )
        assert run_sync(pipeline, studio).exit_code == 0
        kinds = query(
            pipeline,
            "SELECT DISTINCT data_type FROM information_schema.columns"
            " WHERE table_schema = 'coreviz' AND column_name IN ('exif', 'metadata', 'extra')",
        )
        assert kinds == [("json",)]
        said(writer, grants + indexes)
        (((by_value,),), ((by_content,),)) = said(analyst, questions)
        assert by_value == by_content > 0
        for number, index in enumerate(("media_camera", "media_exif")):
            asked = questions.split(";\n")[number]
            assert index in str(said(analyst, f"EXPLAIN {asked};\n"))
        grants_on_views, joined, twice, keys = blocks(TOOLS, "sql")
        said(server.url, grants_on_views)
        viewer = server.url.replace("loader:secret", "viewer:change-me-as-well")
        shown = "SELECT DISTINCT table_name FROM information_schema.columns WHERE table_schema LIKE 'coreviz%'"
        assert {name for (name,) in said(viewer, shown)[0]} == set(WITHOUT_HISTORY)
        assert said(viewer, "SELECT COUNT(*) FROM coreviz.caption_search")[0] > [(0,)]
        assert said(analyst, joined)[0] and said(analyst, twice)[0] == []
        assert [type(each).__name__ for each in sqlglot.parse(keys, read="bigquery") if each] == ["Alter", "Alter"]
        assert run_sync(pipeline, studio, resync=True).exit_code == 0
        assert_equal_to(pipeline, studio)
        assert len(query(pipeline, "SELECT 1 FROM pg_indexes WHERE indexname IN ('media_camera', 'media_exif')")) == 2
