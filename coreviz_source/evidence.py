"""Evidence before removal: whether media items missing from a listing were deleted, and which of them were replaced.

A listing is proven complete by its own pages and counts. A server that leaves media items out of both passes that
proof. Some of the missing media items are therefore requested one by one.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

from coreviz_source.api.http import Calls
from coreviz_source.api.studio import CorevizClient
from coreviz_source.errors import CorevizError
from coreviz_source.report import counted
from coreviz_source.values import bare_id, canonical_id
from coreviz_source.warehouse.state import StoredState

#: Missing media items that are requested at most, per run and dataset.
MOST_ASKED = 50

_Form = Callable[[str], str]
_EARLIEST = datetime.min.replace(tzinfo=timezone.utc)


def objection(client: CorevizClient, dataset_id: str, missing: Sequence[str], example: str | None, calls: Calls) -> str:
    """Why missing media items must not be removed, as a sentence; empty if they may be.

    Args:
        client: Asks the API.
        dataset_id: Canonical id of the dataset.
        missing: Canonical ids of media items that are missing from a listing that was proven complete.
        example: The id, as the API sent it, of a listed media item; None if there is none. If the response to it is
            404, the server does not have the endpoint, and nothing can be requested.
        calls: Counts the requests.
    """
    if not missing:
        return ""
    try:
        forms = _forms_of_ids(client, dataset_id, example, calls)
        for media_id in random.sample(missing, min(len(missing), MOST_ASKED)) if forms else ():
            media = _find(client, dataset_id, media_id, forms, calls)
            if media is not None and _is_in(dataset_id, media):
                return f"The listing was not complete: the API still has the media item {media_id} in this dataset."
    except CorevizError as error:
        return (
            f"There is no evidence that the {counted(len(missing), 'media item')} missing from the listing "
            f"{'was' if len(missing) == 1 else 'were'} deleted, because the API could not be asked: {error.message}"
        )
    return ""


def _forms_of_ids(client: CorevizClient, dataset_id: str, example: str | None, calls: Calls) -> Sequence[_Form]:
    """The forms of ids that the endpoint for one media item takes; none if the server does not have the endpoint."""
    if example is None:
        return (canonical_id, bare_id)
    forms = (canonical_id, bare_id) if example == canonical_id(example) else (bare_id, canonical_id)
    if bare_id(example) == canonical_id(example):
        # the example's id is not a UUID, so it does not show which form of UUIDs the server takes
        return forms if client.media(example, dataset_id, calls) is not None else ()
    return next(((form,) for form in forms if client.media(form(example), dataset_id, calls) is not None), ())


def _find(
    client: CorevizClient, dataset_id: str, media_id: str, forms: Iterable[_Form], calls: Calls
) -> dict[str, Any] | None:
    for sent in dict.fromkeys(form(media_id) for form in forms):
        media = client.media(sent, dataset_id, calls)
        if media is not None:
            return media
    return None


def _is_in(dataset_id: str, media: Mapping[str, Any]) -> bool:
    """Whether a media item exists and is in this dataset. It is, if the response does not name another dataset."""
    if media.get("status") == "deleted":
        return False
    dataset = media.get("dataset")
    sent = dataset.get("id") if isinstance(dataset, dict) else None
    sent = sent or media.get("datasetId")
    return not isinstance(sent, str) or canonical_id(sent) == dataset_id


def find_replaced(
    stored: StoredState,
    dataset_id: str,
    missing: Sequence[str],
    new_sources: Mapping[str, str],
    is_new: Callable[[str], bool],
    was_listed: Callable[[str], bool],
) -> set[str]:
    """Those of the missing media items that another version of the same original replaced.

    Such a version is missing from the listing and still there: the API responds to it as to any other. So it proves
    nothing about the listing, and its removal is no deletion.

    The versions of one original form a tree by `source_media_id`. A listed version replaces one missing version of its
    tree if it is new or was created later. So a derivative that is missing while its original is still listed was not
    replaced.

    Args:
        stored: What the warehouse stores. Only the trees of the missing media items are read.
        dataset_id: Canonical id of the dataset.
        missing: Canonical ids.
        new_sources: The media items that new ones were made from, by the ids of the new ones.
        is_new: Whether a media item is listed and not stored yet.
        was_listed: Whether a stored media item is listed.
    """
    trees = _Trees(stored, dataset_id, missing, new_sources)
    created = trees.created
    arrived: dict[str, int] = defaultdict(int)
    new = {media_id for media_id in trees.ids if is_new(media_id)} | new_sources.keys()
    for media_id in new:
        arrived[trees.original(media_id)] += 1
    stayed: dict[str, list[datetime]] = defaultdict(list)
    for media_id, moment in created.items():
        if media_id not in new and was_listed(media_id):
            stayed[trees.original(media_id)].append(moment)
    replaced: set[str] = set()
    for media_id in sorted(missing, key=lambda one: created.get(one, _EARLIEST), reverse=True):
        tree = trees.original(media_id)
        later = [moment for moment in stayed[tree] if moment > created.get(media_id, _EARLIEST)]
        if later:
            stayed[tree].remove(later[0])
        elif arrived[tree]:
            arrived[tree] -= 1
        else:
            continue
        replaced.add(media_id)
    return replaced


class _Trees:
    """The stored versions of the originals of some media items, read from each of them up and down."""

    def __init__(
        self, stored: StoredState, dataset_id: str, media_ids: Sequence[str], new_sources: Mapping[str, str]
    ) -> None:
        self._sources: dict[str, str | None] = dict(new_sources)
        #: When each stored version was created.
        self.created: dict[str, datetime] = {}
        #: The versions, and what they were made from, whether it is stored or not.
        self.ids: set[str] = set()
        waiting = set(media_ids)
        while waiting:
            self.ids |= waiting
            found: set[str] = set()
            for media_id, source, moment in stored.versions(dataset_id, sorted(waiting)):
                self._sources.setdefault(media_id, source)
                self.created[media_id] = moment or _EARLIEST
                found.update((media_id, source) if source else (media_id,))
            waiting = found - self.ids

    def original(self, media_id: str) -> str:
        """The media item that a version goes back to."""
        seen = {media_id}
        while (source := self._sources.get(media_id)) and source not in seen:
            seen.add(source)
            media_id = source
        return media_id
