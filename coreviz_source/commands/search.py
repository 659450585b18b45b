"""Captions that match a query, from any warehouse: by the index of Postgres if it is there, else by substring."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass

import dlt

from coreviz_source.errors import ConfigurationError
from coreviz_source.warehouse.catalog import SEARCH_INDEX, no_tables_error
from coreviz_source.warehouse.connection import Connection
from coreviz_source.warehouse.destination import SEARCH_VECTOR
from coreviz_source.warehouse.state import StoredState

_SQL = """
SELECT c.dataset_id, d.name, c.media_id, m.name, f.timestamp_seconds, f.page_number, c.id, c.text, m.blob
FROM {captions} c
JOIN {media} m ON m.dataset_id = c.dataset_id AND m.id = c.media_id AND m.deleted_at IS NULL
LEFT JOIN {frames} f ON f.dataset_id = c.dataset_id AND f.media_id = c.media_id AND f.id = c.frame_id
LEFT JOIN {datasets} d ON d.id = c.dataset_id
WHERE {matches}
ORDER BY m.created_at IS NULL, m.created_at DESC, c.media_id, f.timestamp_seconds, f.page_number, c.id
LIMIT {limit}
"""
_TABLES = ("captions", "media", "frames", "datasets")
_SUBSTRING = "STRPOS(LOWER(c.text), LOWER(%s)) > 0"
# a query of stop words only, such as "the", finds nothing in an index
_BY_INDEX = (
    f"({SEARCH_VECTOR.format(text='c.text')} @@ websearch_to_tsquery('english', %s) "
    f"OR numnode(websearch_to_tsquery('english', %s)) = 0 AND {_SUBSTRING})"
)


@dataclass(frozen=True)
class Match:
    """A caption that matches, and the media item that it describes; `blob` is the address of the file."""

    dataset_id: str
    dataset_name: str | None
    media_id: str
    media_name: str | None
    timestamp_seconds: float | None
    page_number: int | None
    caption_id: str
    caption: str
    blob: str | None


def search(pipeline: dlt.Pipeline, text: str, limit: int = 20) -> list[Match]:
    """Finds captions, newest media first.

    Postgres matches words and their other forms by its index: "red shoe" finds "the shoes are red", and `"red shoe"`
    in quotes, `or` and `-word` work as in a web search. DuckDB, BigQuery, and a Postgres without the index match the
    query as a substring, without regard to case.

    Args:
        pipeline: The pipeline whose tables are read.
        text: The query.
        limit: The greatest number of captions.

    Returns:
        The matches.

    Raises:
        ConfigurationError: The query is empty, or the limit is below 1.
        DestinationError: The warehouse cannot be read, or has no captions yet.
    """
    if not text.strip() or limit < 1:
        raise ConfigurationError("The query is empty, or the limit is below 1.", remedy="Give at least one word.")
    with closing(StoredState(Connection(pipeline, read_only=True))) as memory:
        if not memory.tables.issuperset(_TABLES):
            raise no_tables_error(pipeline)
        with memory.connection.sql_client() as client:
            matches = _SUBSTRING
            if memory.connection.destination.search_vector and client.execute_sql(
                "SELECT 1 FROM pg_indexes WHERE schemaname = %s AND indexname = %s",
                client.fully_qualified_dataset_name(quote=False),
                SEARCH_INDEX,
            ):
                matches = _BY_INDEX
            names = {table: client.make_qualified_table_name(table) for table in _TABLES}
            sql = _SQL.format(**names, matches=matches, limit=limit)
            return [Match(*row) for row in client.execute_sql(sql, *[text] * matches.count("%s")) or ()]
