"""One page of the list as it was at one moment."""

from __future__ import annotations

from datetime import datetime
from operator import ge

from coreviz_source.listing.raw_item import RawItem


class View:
    """A stretch of the list at one moment: the content of one response.

    Args:
        offset: The position that was asked for.
        items: The items of the page, in the order of the response.
        total: How many items the API counts; None if the response does not contain it.
        has_more: Whether more items follow, according to the API; None if the response does not contain it.
    """

    __slots__ = ("end", "has_more", "is_sorted", "items", "offset", "total")

    def __init__(
        self, offset: int, items: list[RawItem], total: int | None = None, has_more: bool | None = None
    ) -> None:
        self.offset = offset
        self.items = items
        self.total = total
        self.has_more = has_more
        #: The position after the last item.
        self.end = offset + len(items)
        times = [item.created_at for item in items]
        #: Whether every item has a creation time and none is newer than the one before it.
        self.is_sorted = None not in times and all(map(ge, times, times[1:]))  # type: ignore[arg-type]

    @property
    def first(self) -> datetime | None:
        """The creation time of the first item."""
        return self.items[0].created_at if self.items else None

    @property
    def last(self) -> datetime | None:
        """The creation time of the last item."""
        return self.items[-1].created_at if self.items else None
