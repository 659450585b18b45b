"""The parameters of a listing request, and the items that they ask for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from coreviz_source.local_studio.form import Item, holder_path
from coreviz_source.local_studio.refused import Refused

_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_PARAMETERS = {
    2025: {"limit", "offset", "sortDirection"},
    2026: {
        *("limit", "offset", "sortDirection", "sortBy", "recursive", "path", "type", "dateFrom", "dateTo", "tags"),
        *("tagFilters", "mediaId", "clusterId", "q", "similarToObjectId", "minScore"),
    },
}


@dataclass(frozen=True)
class Wanted:
    """A listing's parameters, checked."""

    limit: int
    offset: int
    descending: bool
    sort_by: str
    recursive: bool
    path: str | None
    kind: str
    dates: tuple[str, str]
    query: str

    @classmethod
    def read(cls, params: Mapping[str, str], generation: int, strict: bool) -> Wanted:
        """The parameters of a request.

        Raises:
            Refused: One of them is invalid, or unknown to the generation and `strict` is set.
        """
        unknown = set(params) - _PARAMETERS[generation]
        if unknown and strict:
            raise Refused(400, f"Invalid query parameters: {', '.join(sorted(unknown))}")
        params = {name: value for name, value in params.items() if name not in unknown}
        try:
            limit, offset = int(params.get("limit", 10)), int(params.get("offset", 0))
        except ValueError:
            raise Refused(400, "Invalid query parameters") from None
        direction = params.get("sortDirection", "asc" if generation == 2025 else "desc")
        sort_by = params.get("sortBy", "createdAt")
        kind = params.get("type", "all")
        dates = (params.get("dateFrom", "0000-00-00"), params.get("dateTo", "9999-99-99"))
        known = (
            limit >= 1
            and offset >= 0
            and direction in ("asc", "desc")
            and sort_by in ("createdAt", "name", "type", "description", "prompt")
            and kind in ("image", "video", "folder", "all")
            and all(_DATE.fullmatch(d) for d in dates)
        )
        if not known:
            raise Refused(400, "Invalid query parameters")
        recursive = generation == 2025 or params.get("recursive") == "true"
        return cls(
            limit, offset, direction == "desc", sort_by, recursive, params.get("path"), kind, dates, params.get("q", "")
        )

    def pick(self, items: list[Item], top: str, generation: int) -> list[Item]:
        """The items that are wanted, in the order that is wanted.

        Args:
            items: All listed items of a dataset, oldest first.
            top: The path of the dataset.
            generation: 2025 or 2026.
        """
        if generation == 2025:
            items = [i for i in items if i.get("type") != "folder"]
        elif not self.recursive or self.path:
            items = [i for i in items if _in_folder(i, self.path or top, self.recursive)]
        if self.kind != "all":
            items = [i for i in items if i.get("type") == self.kind]
        if self.dates != ("0000-00-00", "9999-99-99"):
            items = [i for i in items if self.dates[0] <= str(i.get("createdAt"))[:10] <= self.dates[1]]
        if self.query:
            items = [i for i in items if self.query.lower() in text_of(i)]
        if self.sort_by != "createdAt":
            items = sorted(items, key=self._sort_key)
        return items[::-1] if self.descending else items

    def _sort_key(self, item: Item) -> str:
        if self.sort_by in ("description", "prompt"):
            return str((item.get("metadata") or {}).get(self.sort_by, ""))
        return str(item.get(self.sort_by))


def text_of(item: Item) -> str:
    """What a search in an item's name and captions looks at."""
    captions = [str(c.get("text")) for f in item.get("frames") or [] for c in f.get("captions") or []]
    return " ".join([str(item.get("name")), *captions]).lower()


def _in_folder(item: Item, path: str, below: bool) -> bool:
    holder = str(holder_path(item) or path)
    return holder == path or (below and holder.startswith(path + "."))
