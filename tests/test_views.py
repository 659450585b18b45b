"""The views show what the truth says in both warehouses, follow the library, and never cost a load."""

from __future__ import annotations

import threading
from datetime import timezone
from decimal import Decimal
from typing import Any

import dlt
import pytest
import sqlglot
from dlt.destinations.sql_jobs import SqlMergeFollowupJob
from sqlglot import exp

from coreviz_source import coreviz, create_views
from coreviz_source.errors import DestinationError
from coreviz_source.local_studio import Library, Studio
from coreviz_source.tables import BY_NAME, GONE, TABLES
from coreviz_source.warehouse.catalog import SEARCH_INDEX, _Catalog
from coreviz_source.warehouse.destination import DESTINATIONS
from coreviz_source.warehouse.views import NAMES, render, views
from tests.scenario import arguments, assert_equal_to, first_sync, frozen, media_of, run_sync, truth_of
from tests.test_changes import CHANGES
from tests.truth import Row, canonical, truth
from tests.view_truth import WITHOUT_HISTORY, Expected, caption_changes, checked_ages, freshness
from tests.views import RENDERED, rendered
from tests.warehouse import assert_equal, query, read, runs


@pytest.fixture(params=["duckdb", "postgres"])
def warehouse(request) -> dlt.Pipeline:
    """The same test in each of the two."""
    return request.getfixturevalue("pipeline" if request.param == "duckdb" else "postgres")


def is_postgres(warehouse: dlt.Pipeline) -> bool:
    return warehouse.destination.destination_name == "postgres"


def name_of(warehouse: dlt.Pipeline, table: str) -> str:
    return warehouse.sql_client().make_qualified_table_name(table)


def plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return float(value)
    return value.astimezone(timezone.utc) if hasattr(value, "tzinfo") and value.tzinfo else value


def view_rows(warehouse: dlt.Pipeline, view: str) -> list[Row]:
    with warehouse.sql_client() as client, client.execute_query(f"SELECT * FROM {name_of(warehouse, view)}") as cursor:
        names = [column[0] for column in cursor.description]
        return [{name: plain(v) for name, v in zip(names, row, strict=True)} for row in cursor.fetchall()]


def assert_views(warehouse: dlt.Pipeline, studio: Studio, history: bool = False) -> None:
    """Every view equals what the server's library says of it, `caption_changes` what the versions say."""
    items = truth_of(studio)
    tables = truth(items)
    names = {canonical(d): studio.library.dataset(d).info["name"] for d in items}
    expected = Expected(tables, names)
    rows = {name: getattr(expected, name)() for name in WITHOUT_HISTORY if name != "freshness"}
    totals = {canonical(d): len(found) for d, found in items.items()}
    rows["freshness"] = freshness(runs(warehouse), tables, names, totals)
    assert all(rows.values()), "the library shows nothing of a view"
    if history:
        versions = read(warehouse, "caption_history", "media_history")
        rows["caption_changes"] = caption_changes(versions["caption_history"], versions["media_history"], expected)
        assert {row["same_id"] for row in rows["caption_changes"]} == {True, False}
    assert_equal({name: checked_ages(view_rows(warehouse, name)) for name in rows}, rows)


def standing(warehouse: dlt.Pipeline) -> set[str]:
    sql = f"SELECT table_name FROM information_schema.views WHERE table_schema = '{warehouse.dataset_name}'"
    return {name for (name,) in query(warehouse, sql)}


def test_every_view_equals_the_truth_after_a_first_load_changes_deletions_and_soft_deletions(postgres, pipeline):
    library = frozen(120, datasets=2)
    first, second = library.datasets
    with Studio(library) as studio:
        for step in range(3):
            library.advance(minutes=7)
            if step == 1:
                for change in CHANGES:
                    with library.changing(media_of(library, first, frames=2)[0]["id"]) as item:
                        change(library, item)
                captioned = media_of(library, second, frames=1)
                library.add_caption(captioned[0]["id"], "Late.")
                for item, keep_id in zip(captioned[1:5], (True, False, True, False), strict=True):
                    frame = next(place for place, each in enumerate(item["frames"]) if each["captions"])
                    library.recaption(item["id"], "Said otherwise.", frame=frame, model="vision-2", keep_id=keep_id)
                library.add_media(second, "video")
                library.advance(seconds=10)
            if step:
                for item in media_of(library, first)[step : 20 : step + 2]:
                    library.delete(item["id"])
            if step == 2:
                # its caption had changed before: the view has its last name
                library.delete(captioned[1]["id"])
            for warehouse in (postgres, pipeline):
                report = run_sync(
                    warehouse, studio, deletes="soft" if step == 2 else "hard", reconcile_every="0", history=True
                )
                assert (report.exit_code, report.warnings) == (0, [])
                assert_views(warehouse, studio, history=step > 0)
    for warehouse in (postgres, pipeline):
        assert query(warehouse, f"SELECT COUNT(*) > 3 FROM {name_of(warehouse, 'media')} WHERE deleted_at IS NOT NULL")


def put(library: Library, dataset: str, folder: str, above: str | None, name: str | None = None) -> None:
    """Moves a folder without touching what it holds, as an ordinary run may see it; and renames it."""
    with library.changing(folder) as item:
        holder = library.media(above)["path"] if above else dataset.replace("-", "")
        item["path"] = f"{holder}.{folder.replace('-', '')}"
        item["name"] = name


def test_a_renamed_or_moved_folder_shows_at_once_without_its_media_and_circles_end(postgres, pipeline):
    library = frozen(20)
    (dataset,) = library.datasets
    spring = library.add_folder(dataset, "Spring 2026")
    week = library.add_folder(dataset, "Week 1", spring)
    monday = library.add_folder(dataset, "Monday", week)
    library.add_media(dataset, folder=week, processing=False)
    library.add_media(dataset, folder=monday, processing=False)

    def full_names(warehouse: dlt.Pipeline) -> dict[str, tuple[str, int]]:
        rows = query(warehouse, f"SELECT id, full_name, depth FROM {name_of(warehouse, 'folder_tree')}")
        return {item_id: (full_name, depth) for item_id, full_name, depth in rows}

    with Studio(library) as studio:
        for step in range(4):
            if step == 1:
                put(library, dataset, week, None, "First week")
            if step == 2:
                put(library, dataset, spring, monday)
            if step == 3:
                # spring is in monday, monday in the week, the week in spring; and one folder is in itself
                put(library, dataset, week, spring, "Week 1")
                put(library, dataset, library.add_folder(dataset, "Alone"), None, "Alone")
                alone = next(i for i in library.listing(dataset) if i["name"] == "Alone")
                with library.changing(alone["id"]) as item:
                    item["path"] = ".".join((dataset.replace("-", ""), *[alone["id"].replace("-", "")] * 2))
            library.advance(minutes=5)
            for warehouse in (postgres, pipeline):
                report = run_sync(warehouse, studio, reconcile_every="0")
                assert (report.exit_code, report.warnings) == (0, [])
                assert_views(warehouse, studio)
                names = full_names(warehouse)
                assert step or report.datasets[dataset].rows["media"] == 22
                assert not step or "media" not in report.datasets[dataset].rows
                assert [names[folder] for folder in (spring, week, monday)] == [
                    [("Spring 2026", 1), ("Spring 2026/Week 1", 2), ("Spring 2026/Week 1/Monday", 3)],
                    [("Spring 2026", 1), ("First week", 1), ("First week/Monday", 2)],
                    [(f"First week/Monday/{spring}", 3), ("First week", 1), ("First week/Monday", 2)],
                    [(spring, 1), ("Week 1", 1), ("Monday", 1)],
                ][step]
        assert names[alone["id"]] == ("Alone", 1)


def test_what_the_service_deleted_inside_a_media_item_stays_in_the_tables_and_is_in_no_view(postgres, pipeline):
    library = frozen(30)
    with Studio(library) as studio:
        frames = [f for m in media_of(library) for f in m["frames"] if f["captions"] and f["objects"]]
        frames[0]["status"] = frames[1]["captions"][0]["status"] = frames[2]["objects"][0]["status"] = "deleted"
        frames[0]["metadata"] = {"moderation": {"status": "flagged", "categories": ["violence"]}}
        for item in media_of(library):
            library.touched(item["id"])
        for warehouse in (postgres, pipeline):
            assert run_sync(warehouse, studio).exit_code == 0
            assert_equal_to(warehouse, studio)
            assert_views(warehouse, studio)
            for view, column, hidden in (
                ("caption_search", "caption_id", frames[1]["captions"][0]["id"]),
                ("caption_search", "frame_id", frames[0]["id"]),
                ("object_boxes", "object_id", frames[2]["objects"][0]["id"]),
                ("object_boxes", "frame_id", frames[0]["id"]),
                ("moderation_queue", "frame_id", frames[0]["id"]),
                ("caption_backlog", "frame_id", frames[0]["id"]),
            ):
                asked = f"SELECT COUNT(*) FROM {name_of(warehouse, view)} WHERE {column} = %s"
                assert query(warehouse, asked, hidden) == [(0,)], (view, column)
            backlog = f"SELECT COUNT(*) FROM {name_of(warehouse, 'caption_backlog')} WHERE frame_id = %s"
            only = len(frames[1]["captions"]) == 1
            assert query(warehouse, backlog, frames[1]["id"]) == [(int(only),)]


def test_an_unchanged_run_executes_nothing_and_what_was_lost_or_is_of_another_release_is_made_again(
    warehouse, monkeypatch
):
    library = frozen(20)
    with Studio(library) as studio:
        assert first_sync(warehouse, studio).warnings == []
        executed: list[str] = []
        execute = _Catalog._execute
        monkeypatch.setattr(_Catalog, "_execute", lambda self, sql: (executed.extend(sql), execute(self, sql)))
        assert run_sync(warehouse, studio).warnings == []
        assert create_views(warehouse) == []
        assert executed == []
        old = name_of(warehouse, "tag_usage")
        query_none(
            warehouse,
            f"DROP VIEW {name_of(warehouse, 'freshness')}",
            f"COMMENT ON COLUMN {name_of(warehouse, 'media')}.name IS 'mine'",
            f"DROP VIEW {old}",
            f"CREATE VIEW {old} AS SELECT 1 AS x, 2 AS tag",
            f"COMMENT ON VIEW {old} IS 'Old. [coreviz_source 0123456789abcdef]'",
            # as a later release of dlt or of ours may
            *(f"ALTER TABLE {name_of(warehouse, t)} ADD COLUMN later VARCHAR" for t in ("media", "media_tags")),
        )
        assert run_sync(warehouse, studio).warnings == []
        assert [s for s in executed if "CREATE" in s and "tag_usage" not in s and "freshness" not in s] == []
        # Postgres refuses the new columns of a view until it is dropped: then all are made again, one by one
        comments = [s for s in executed if s.startswith("COMMENT ON COLUMN") and '"media"."name"' in s]
        assert comments == executed[:1] * (2 if warehouse.destination.destination_name == "postgres" else 1)
        assert_views(warehouse, studio)


def query_none(warehouse: dlt.Pipeline, *statements: str) -> None:
    with warehouse.sql_client() as client:
        for sql in statements:
            client.execute_sql(sql)


def test_tables_views_and_columns_carry_their_descriptions(warehouse):
    with Studio(frozen(20)) as studio:
        first_sync(warehouse, studio, views=False, history=True)
    assert standing(warehouse) == set()
    if is_postgres(warehouse):
        sql = (
            "SELECT c.relname, a.attname, COALESCE(col_description(c.oid, a.attnum), obj_description(c.oid)) "
            f"FROM pg_class c LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 "
            f"WHERE c.relnamespace = '{warehouse.dataset_name}'::regnamespace"
        )
        tables = (
            "SELECT relname, NULL, obj_description(oid, 'pg_class') FROM pg_class "
            f"WHERE relnamespace = '{warehouse.dataset_name}'::regnamespace"
        )
    else:
        sql = "SELECT table_name, column_name, comment FROM duckdb_columns() WHERE schema_name = 'coreviz'"
        tables = "SELECT table_name, NULL, comment FROM duckdb_tables() WHERE schema_name = 'coreviz'"
    found = {(table, column): comment for table, column, comment in query(warehouse, sql) + query(warehouse, tables)}
    for table in TABLES:
        assert found[table.name, None] == table.description
        for column in table.columns:
            assert found[table.name, column.name] == column.description
    assert create_views(warehouse) == []
    assert standing(warehouse) == set(NAMES)
    for view in views():
        assert view.description.endswith(".") and all(meaning.endswith(".") for meaning in view.columns.values())
        assert GONE not in view.columns
        assert sqlglot.parse_one(view.sql, read="duckdb").named_selects == list(view.columns)
        with (
            warehouse.sql_client() as client,
            client.execute_query(f"SELECT * FROM {name_of(warehouse, view.name)} LIMIT 0") as cursor,
        ):
            assert [column[0] for column in cursor.description] == list(view.columns)
        if is_postgres(warehouse):
            ((comment, first),) = query(
                warehouse,
                f"SELECT obj_description('{name_of(warehouse, view.name)}'::regclass, 'pg_class'), "
                f"col_description('{name_of(warehouse, view.name)}'::regclass, 1)",
            )
        else:
            ((comment,),) = query(warehouse, f"SELECT comment FROM duckdb_views() WHERE view_name = '{view.name}'")
            ((first,),) = query(
                warehouse,
                f"SELECT comment FROM duckdb_columns() WHERE table_name = '{view.name}' AND column_index = 1",
            )
        assert comment.startswith(view.description)
        assert first == view.columns["dataset_id"]


def test_objects_of_others_are_left_alone_and_reported(warehouse):
    tables = {name: name_of(warehouse, name) for name in ("freshness", "tag_usage")}
    with Studio(frozen(20)) as studio:
        first_sync(warehouse, studio, views=False)
        query_none(
            warehouse,
            f"CREATE TABLE {tables['freshness']} AS SELECT 1 AS mine",
            f"CREATE VIEW {tables['tag_usage']} AS SELECT 2 AS mine",
        )
        report = run_sync(warehouse, studio)
    assert report.exit_code == 0
    assert len(report.warnings) == 2
    assert all("not ours" in warning for warning in report.to_dict()["warnings"])
    assert [query(warehouse, f"SELECT mine FROM {table}") for table in tables.values()] == [[(1,)], [(2,)]]
    assert standing(warehouse) == set(WITHOUT_HISTORY) - {"freshness"}


def test_a_users_view_on_one_of_ours_does_not_stop_a_load(postgres):
    ours, mine = name_of(postgres, "tag_usage"), name_of(postgres, "mine")
    library = frozen(20)
    with Studio(library) as studio:
        run_sync(postgres, studio)
        query_none(
            postgres,
            f"DROP VIEW {ours}",
            f"CREATE VIEW {ours} AS SELECT 1 AS x",
            f"COMMENT ON VIEW {ours} IS 'Old. [coreviz_source 0123456789abcdef]'",
            f"CREATE VIEW {mine} AS SELECT x + 1 AS y FROM {ours}",
        )
        library.add_caption(media_of(library, frames=1)[0]["id"], "New.")
        report = run_sync(postgres, studio)
        assert_equal_to(postgres, studio)
        assert report.exit_code == 0
        (warning,) = report.warnings
        assert "View tag_usage could not be created" in warning and "mine depends on view" in warning
        assert query(postgres, f"SELECT y FROM {mine}") == [(2,)]
        query_none(postgres, f"DROP VIEW {mine}")
        assert run_sync(postgres, studio).warnings == []
        assert_views(postgres, studio)


def test_a_user_who_may_not_make_views_loads_all_the_same(server, postgres, tmp_path):
    schema = postgres.dataset_name
    library = frozen(20)
    with Studio(library) as studio:
        run_sync(postgres, studio)
        # both schemas of dlt: that of the tables, and the one in which it prepares them
        library.add_caption(media_of(library, frames=1)[0]["id"], "One.")
        run_sync(postgres, studio)
        query_none(
            postgres,
            f"DROP VIEW {name_of(postgres, 'tag_usage')}",
            f"DROP INDEX {name_of(postgres, SEARCH_INDEX)}",
            "DROP ROLE IF EXISTS writer",
            "CREATE ROLE writer LOGIN PASSWORD 'x'",
            *(f"GRANT USAGE ON SCHEMA {s} TO writer" for s in (schema, f"{schema}_staging")),
            *(f"GRANT ALL ON ALL TABLES IN SCHEMA {s} TO writer" for s in (schema, f"{schema}_staging")),
        )
        writer = dlt.pipeline(
            "coreviz_postgres",
            destination=dlt.destinations.postgres(server.url.replace("loader:secret", "writer:x")),
            dataset_name=schema,
            pipelines_dir=str(tmp_path / "pipelines"),
        )
        library.add_caption(media_of(library, frames=1)[0]["id"], "Two.")
        report = run_sync(writer, studio)
        assert_equal_to(postgres, studio)
    assert report.exit_code == 0
    assert len(report.warnings) == 2
    assert "permission denied for schema" in report.warnings[1]
    assert "must be owner of table captions" in report.warnings[0]
    query_none(postgres, "DROP OWNED BY writer", "DROP ROLE writer")


def test_views_whose_tables_do_not_exist_yet_wait_for_them(pipeline):
    with pytest.raises(DestinationError, match="no tables"):
        create_views(pipeline)
    library = frozen(20)
    with Studio(library) as studio:
        source = coreviz(**arguments(studio, {}))
        pipeline.run(source.with_resources("media", "datasets", "frames", "objects"))
        problems = create_views(pipeline)
        assert len(problems) == len(WITHOUT_HISTORY) - 3
        assert all("there is no table" in problem for problem in problems)
        assert standing(pipeline) == {"object_labels", "object_boxes", "freshness"}
        pipeline.run(coreviz(**arguments(studio, {"reconcile_every": "0"})))
        assert create_views(pipeline) == []
        assert_views(pipeline, studio)


def test_two_processes_make_the_views_at_once(server, postgres, tmp_path):
    library = frozen(20)
    problems: list[str] = []
    with Studio(library) as studio:
        run_sync(postgres, studio, views=False)
        query_none(postgres, f"DROP INDEX {name_of(postgres, SEARCH_INDEX)}")
        start = threading.Barrier(3)

        def make(number: int) -> None:
            other = dlt.pipeline(
                "coreviz_postgres",
                destination=dlt.destinations.postgres(server.url),
                dataset_name=postgres.dataset_name,
                pipelines_dir=str(tmp_path / f"pipelines{number}"),
            )
            with other.sql_client() as client:
                catalog = _Catalog(client, DESTINATIONS["postgres"])
                changes = [*catalog.missing_indexes(), *catalog.missing_views()]
                assert len(changes) == len(WITHOUT_HISTORY) + 1
                start.wait()
                problems.extend(catalog.write(changes))

        threads = [threading.Thread(target=make, args=(number,)) for number in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert problems == []
        assert_views(postgres, studio)


def test_the_merge_deletes_by_our_indexes(postgres, monkeypatch):
    merges: list[str] = []
    generate = SqlMergeFollowupJob.generate_sql.__func__  # type: ignore[attr-defined]

    def remembered(cls, *given):
        sql = generate(cls, *given)
        merges.extend(sql)
        return sql

    monkeypatch.setattr(SqlMergeFollowupJob, "generate_sql", classmethod(remembered))
    library = frozen(60)
    with Studio(library) as studio:
        run_sync(postgres, studio)
        library.delete(media_of(library, frames=2)[0]["id"])
        run_sync(postgres, studio, reconcile_every="0")
    deletes = [sql for sql in merges if sql.startswith("DELETE")]
    assert len(deletes) >= 5
    with postgres.sql_client() as client:
        client.execute_sql("SET enable_seqscan = off")
        for sql in deletes:
            plan = "\n".join(line for (line,) in client.execute_sql(f"EXPLAIN {sql}"))
            table = sql.split('"')[3]
            key = BY_NAME[table].replaces[-1]
            assert f"coreviz_{table}_{key}" in plan, plan


def test_a_caption_of_a_megabyte_of_different_words_loads_beside_the_search_index(postgres):
    library = frozen(12)
    first, second = media_of(library, frames=1)[:2]
    with Studio(library) as studio:
        run_sync(postgres, studio)
        assert query(
            postgres,
            f"SELECT 1 FROM pg_indexes WHERE indexname = '{SEARCH_INDEX}' AND schemaname = '{postgres.dataset_name}'",
        ) == [(1,)]
        library.add_caption(first["id"], " ".join(f"w{number}ü" for number in range(150_000)))
        library.add_caption(second["id"], "𝔘" * 2**20)
        assert run_sync(postgres, studio).exit_code == 0
        assert_equal_to(postgres, studio)


class _BigQuery:
    """A client of BigQuery that knows the names and quotes of dlt's own, and remembers its statements."""

    def __init__(self, objects: list[tuple[str, str, str | None]]) -> None:
        self.capabilities = dlt.destinations.bigquery().capabilities()
        self.objects = objects
        self.asked: list[str] = []
        self.told: list[str] = []

    def make_qualified_table_name_path(self, table: str, quote: bool = True) -> list[str]:
        parts = ["my-project", "coreviz", table]
        return [self.capabilities.escape_identifier(part) for part in parts] if quote else parts

    def make_qualified_table_name(self, table: str) -> str:
        return ".".join(self.make_qualified_table_name_path(table))

    def fully_qualified_dataset_name(self, quote: bool = True) -> str:
        return "`my-project`.`coreviz`" if quote else "my-project.coreviz"

    def escape_column_name(self, name: str) -> str:
        return self.capabilities.escape_identifier(name)

    def execute_sql(self, sql: str) -> list[tuple[str, str, str | None]]:
        self.asked.append(sql)
        return self.objects

    def execute_many(self, statements: list[str]) -> None:
        self.told += statements


def test_bigquery_gets_views_that_it_can_parse_once():
    tables = [(name, "table", None) for name in BY_NAME]
    client = _BigQuery(tables)
    catalog = _Catalog(client, DESTINATIONS["bigquery"])
    assert catalog.missing_comments() == catalog.missing_indexes() == []
    assert catalog.write(catalog.missing_views()) == []
    assert len(client.told) == len(NAMES)
    made = []
    for view, statement in zip(views(), client.told, strict=True):
        tree = sqlglot.parse_one(statement, read="bigquery")
        assert isinstance(tree, exp.Create) and tree.kind == "VIEW" and tree.args["replace"]
        created, query = tree.this, tree.expression
        assert created.this.sql("bigquery") == f"`my-project`.`coreviz`.`{view.name}`"
        assert [column.name for column in created.expressions] == list(view.columns) == query.named_selects
        # only at the top of a query may BigQuery recurse
        assert all(found.parent is query for found in query.find_all(exp.With))
        named = {expression.alias for expression in query.ctes}
        for table in (found for found in query.find_all(exp.Table) if found.name not in named):
            assert (table.catalog, table.db) == ("my-project", "coreviz")
        # what BigQuery does not have
        assert not list(query.find_all(exp.Filter, exp.ILike, exp.DateDiff))
        made.append((view.name, "view", statement))
    again = _BigQuery([*tables, *made])
    assert _Catalog(again, DESTINATIONS["bigquery"]).missing_views() == []
    sqlglot.parse_one(again.asked[0], read="bigquery")


def test_sql_says_the_same_in_every_dialect_where_sqlglot_alone_would_not():
    span = "SELECT DATE_DIFF('microsecond', a, b) / 1e6 FROM media"
    assert "TIMESTAMP_DIFF(b, a, MICROSECOND)" in render(span, "bigquery")
    assert "EXTRACT(EPOCH FROM b - a)" in render(span, "postgres")


def test_the_rendered_views_are_those_of_the_files_that_are_written_by_hand():
    stored = {path.relative_to(RENDERED).as_posix(): path.read_text() for path in RENDERED.rglob("*.sql")}
    assert stored == rendered(), "python -m tests.views"
