"""Captions that match a query, from any warehouse."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, fields

import dlt

from coreviz_source.errors import ConfigurationError
from coreviz_source.warehouse.catalog import no_tables_error
from coreviz_source.warehouse.connection import Connection
from coreviz_source.warehouse.search import SEARCHED, checked_terms, search_sql, statement, values
from coreviz_source.warehouse.state import StoredState


@dataclass(frozen=True)
class Match:
    """A caption that matches, and the media item that it describes; `blob` is the address of the file."""

    dataset_id: str
    dataset_name: str | None
    media_id: str
    media_name: str | None
    file_name: str | None
    timestamp_seconds: float | None
    page_number: int | None
    caption_id: str
    caption: str
    blob: str | None


def search(pipeline: dlt.Pipeline, text: str, limit: int = 20) -> list[Match]:
    """Finds captions, newest media first.

    Every word must occur, as a whole word, in any order and in any case. A phrase in quotes must occur as it is, and
    `-word` must not occur. Postgres also finds other forms of English words: "shoe" finds "shoes".

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
    if limit < 1:
        raise ConfigurationError("The limit is below 1.", remedy="Ask for at least one caption.")
    terms = checked_terms(text)
    with closing(StoredState(Connection(pipeline, read_only=True))) as stored:
        if not stored.tables.issuperset(SEARCHED):
            raise no_tables_error(pipeline)
        with stored.connection.sql_client() as client:
            sql, parameters = statement(
                f"{search_sql(terms, [field.name for field in fields(Match)])} LIMIT {limit}",
                stored.connection.destination.dialect,
                lambda table: client.make_qualified_table_name_path(table, quote=False),
            )
            given = values(terms)
            return [Match(*row) for row in client.execute_sql(sql, *map(given.__getitem__, parameters)) or ()]
