"""What the connector assumes about the API, each sentence declared once, and how responses confirm or refute it.

Judging sends nothing: responses go in, a verdict and its evidence come out. No evidence has ids, names, strings or
addresses of the library: items are "item 3 of page 2", values are shapes.

To add an assumption, add a line to `ACCOUNT` or `DATASET` and the function that judges it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any, Generic, NamedTuple, TypeVar

from coreviz_source.api.studio import Probe
from coreviz_source.commands.responses import (
    AccountResponses,
    Item,
    Page,
    Place,
    Responses,
    differences,
    objects_in,
    table_of,
    undeclared,
)
from coreviz_source.commands.shapes import field_name, shape
from coreviz_source.listing.raw_item import RawItem
from coreviz_source.report import counted
from coreviz_source.rows.build import folder_rows, media_rows
from coreviz_source.rows.derive import edges
from coreviz_source.tables import BY_NAME, FOLDERS
from coreviz_source.values import canonical_id, encode_json, parse_timestamp

HOLDS, DOES_NOT_HOLD, CANNOT_TELL = "holds", "does not hold", "cannot tell"

#: Fields that only the 2026 generation sends of media.
_NEWER_FIELDS = ("path", "datasetId", "sourceMediaId", "versionNumber")
#: The number of items per response where a request has no `limit`, as documented.
_DEFAULT_LIMIT = 10
#: Names in one line of evidence.
_MOST_NAMES = 12

_Given = TypeVar("_Given")


class Judgement(NamedTuple):
    """A verdict, its evidence in words, and the items that the words name."""

    verdict: str
    evidence: str
    places: tuple[Place, ...] = ()


@dataclass(frozen=True)
class Assumption(Generic[_Given]):
    """One assumption about the API.

    Args:
        id: Its name in the report.
        sentence: What is assumed.
        documents: Where it stands, by the abbreviations of `DOCUMENTS`; "unknown" where no document says it.
        judge: Makes the judgement from responses.
    """

    id: str
    sentence: str
    documents: str
    judge: Callable[[_Given], Judgement]


DOCUMENTS = {
    "L25": 'the 2025 page "Listing Your Media"',
    "OV": "the 2026 overview",
    "LI": 'the 2026 page "Listing Your Media"',
    "GM": 'the 2026 page "Get Media"',
    "FO": 'the 2026 page "Folders"',
    "UP": 'the 2026 page "Update Media"',
    "SE": 'the 2026 page "Searching Your Media"',
    "SDK": "the official TypeScript SDK",
    "MCP": "the official MCP server",
}


# -- words ----------------------------------------------------------------------------------------------------------


def _verdict(holds: bool) -> str:
    return HOLDS if holds else DOES_NOT_HOLD


def _some(names: Iterable[str]) -> str:
    found = sorted(set(names))
    more = len(found) - _MOST_NAMES
    return ", ".join(found[:_MOST_NAMES]) + (f" and {more} more" if more > 0 else "")


def _each(places: Sequence[Place], holds: Callable[[Item], bool], noun: str, phrase: str) -> Judgement:
    """Judges something that every item has to be: it does not hold if one is not."""
    if not places:
        return Judgement(CANNOT_TELL, f"no {noun} was seen")
    others = [place for place in places if not holds(place.item)]
    if not others:
        return Judgement(HOLDS, f"{phrase} in {len(places)} of {len(places)}")
    text = f"{phrase} in {len(places) - len(others)} of {len(places)}; the first other is {others[0]}"
    return Judgement(DOES_NOT_HOLD, text, (others[0],))


def _status(probe: Probe) -> str:
    if probe.error is not None and probe.status is None:
        return "the request failed without a response"
    if probe.status == 200 and probe.sent is None:
        return "the response has status 200 and cannot be read"
    return f"the response has status {probe.status}"


def _exists(probe: Probe, holds: bool, evidence: str) -> Judgement:
    """Judges an endpoint: it exists if its response is as documented, and does not if it refuses."""
    if probe.status is None and probe.error is None:
        return Judgement(CANNOT_TELL, "it was not asked, because nothing was seen to ask it for")
    if probe.sent is not None:
        return Judgement(_verdict(holds), evidence if holds else f"the response is another: {shape(probe.sent)}")
    refused = probe.status is not None and 400 <= probe.status < 500 and probe.status != 429
    return Judgement(DOES_NOT_HOLD if refused else CANNOT_TELL, _status(probe))


# -- the account ----------------------------------------------------------------------------------------------------


def _organizations_listed(given: AccountResponses) -> Judgement:
    found, sent = given.listed, given.organizations.sent
    form = "an array" if isinstance(sent, list) else "an object with the key organizations"
    return _exists(given.organizations, found is not None, f"{counted(len(found or ()), 'organization')}, as {form}")


def _me(given: AccountResponses) -> Judgement:
    sent = given.me.sent if isinstance(given.me.sent, dict) else {}
    default = sent.get("organizationId")
    return _exists(given.me, isinstance(default, str), f"organizationId is a {shape(default)}")


def _default_is_listed(given: AccountResponses) -> Judgement:
    me = given.me.sent if isinstance(given.me.sent, dict) else {}
    default, listed = me.get("organizationId"), given.listed
    if not isinstance(default, str) or listed is None:
        return Judgement(CANNOT_TELL, "one of the two endpoints did not respond with organizations")
    ids = {canonical_id(str(one.get("id"))) for one in listed}
    return Judgement(
        _verdict(canonical_id(default) in ids), f"compared with {counted(len(ids), 'listed organization')}"
    )


def _datasets_listed(given: AccountResponses) -> Judgement:
    if not given.datasets:
        return Judgement(CANNOT_TELL, "no organization is known to ask for its datasets")
    read = [probe for probe in given.datasets if probe.sent is not None]
    first = read[0] if read else given.datasets[0]
    lists = [probe.sent.get("datasets") if isinstance(probe.sent, dict) else probe.sent for probe in read]
    form = "an array" if isinstance(first.sent, list) else "an object with the key datasets"
    count = sum(len(one) for one in lists if isinstance(one, list))
    return _exists(first, all(isinstance(one, list) for one in lists), f"{counted(count, 'dataset')}, as {form}")


def _all_organizations(given: AccountResponses) -> Judgement:
    listed = given.listed
    if not listed:
        return Judgement(CANNOT_TELL, "there is no list of organizations to compare with")
    refused = sum(probe.status == 403 for probe in given.datasets)
    if refused:
        return Judgement(
            DOES_NOT_HOLD, f"{refused} of {counted(len(listed), 'listed organization')} refused their datasets (403)"
        )
    if len(listed) == 1:
        return Judgement(CANNOT_TELL, "one organization is listed, which may be all or the only one for this key")
    if any(probe.sent is None for probe in given.datasets):
        return Judgement(CANNOT_TELL, "not every organization responded with its datasets")
    return Judgement(HOLDS, f"{counted(len(listed), 'organization')} listed, and all that were asked responded")


ACCOUNT: tuple[Assumption[AccountResponses], ...] = (
    Assumption("organizations-endpoint", "The API lists the organizations of the user.", "SDK", _organizations_listed),
    Assumption("me-endpoint", "The API names the user's default organization.", "SDK", _me),
    Assumption(
        "default-organization-listed", "The default organization is one of those listed.", "SDK", _default_is_listed
    ),
    Assumption("datasets-endpoint", "The API lists the datasets of an organization.", "SDK", _datasets_listed),
    Assumption(
        "all-organizations", "The key, or the token, sees all organizations of the user.", "unknown", _all_organizations
    ),
)


# -- requests -------------------------------------------------------------------------------------------------------


def _generation(given: Responses) -> Judgement:
    fields = [name for name in _NEWER_FIELDS if any(name in place.item for place in given.media)]
    signs = [f"media have the field {name}" for name in fields]
    signs += [
        f"the {name} exists" for name in ("dataset-endpoint", "media-endpoint") if given.probe(name[:-9]).status == 200
    ]
    if signs:
        return Judgement(HOLDS, "; ".join(signs))
    older = any("entityId" in place.item for place in given.media)
    asked = given.probe("dataset").status is not None
    if not (older or asked):
        return Judgement(CANNOT_TELL, "nothing was seen that only one generation has")
    text = "media have the field entityId and none of the newer ones" if older else "no newer field or endpoint exists"
    return Judgement(DOES_NOT_HOLD, f"it is of the 2025 generation: {text}")


def _newer_parameters(given: Responses) -> Judgement:
    if given.newer_refused:
        return Judgement(
            DOES_NOT_HOLD, "sortBy and recursive are refused (400), and the same request without them is not"
        )
    return Judgement(HOLDS, "sortBy and recursive are accepted; an older server may ignore them")


def _limit(given: Responses) -> Judgement:
    pages = [page for page in given.pages if page.limit is not None and page.total is not None]
    for page in pages:
        assert page.limit is not None and page.total is not None
        came = f"{counted(len(page.items), 'item')} came where {page.limit} were asked for"
        if len(page.items) > page.limit:
            return Judgement(DOES_NOT_HOLD, came)
        if len(page.items) < min(page.limit, page.total - page.offset):
            most = max(len(one.items) for one in pages)
            return Judgement(DOES_NOT_HOLD, f"{came} and {page.total - page.offset} exist; the largest page had {most}")
    if not pages:
        return Judgement(CANNOT_TELL, "the responses have no total to compare with")
    largest, most = max(page.limit or 0 for page in pages), max(len(page.items) for page in pages)
    if most < largest:
        return Judgement(CANNOT_TELL, f"pages of up to {counted(most, 'item')} came; the dataset has no more")
    return Judgement(HOLDS, f"pages of up to {counted(most, 'item')} came as asked for")


def _limit_echoed(given: Responses) -> Judgement:
    pages = [(page, page.number("limit")) for page in given.pages]
    known = [(page, limit) for page, limit in pages if limit is not None]
    if not known:
        return Judgement(DOES_NOT_HOLD, "pagination has no limit") if pages else Judgement(CANNOT_TELL, "no page")
    # a page that the list fills shows the limit that was used
    filled = [(page, limit) for page, limit in known if page.total is not None and page.total > page.end]
    wrong = [(page, limit) for page, limit in filled if limit != len(page.items)]
    if wrong:
        page, limit = wrong[0]
        return Judgement(DOES_NOT_HOLD, f"pagination says {limit}, and {counted(len(page.items), 'item')} came")
    if not filled:
        return Judgement(CANNOT_TELL, "every page reached the end of the list")
    return Judgement(HOLDS, f"it equals the number of items of all {counted(len(filled), 'page')} before the last")


def _default_limit(given: Responses) -> Judgement:
    bare = given.bare
    if bare is None:
        return Judgement(CANNOT_TELL, "there was no response to a request without parameters")
    if bare.total is None or (bare.total <= _DEFAULT_LIMIT and len(bare.items) == bare.total):
        return Judgement(CANNOT_TELL, f"{counted(len(bare.items), 'item')} came, of {bare.total}")
    return Judgement(_verdict(len(bare.items) == _DEFAULT_LIMIT), f"{counted(len(bare.items), 'item')} came")


def _direction(page: Page) -> str | None:
    times = [parse_timestamp(item.get("createdAt")) for item in page.items]
    known = [moment for moment in times if moment is not None]
    if len(known) < len(times) or len(set(known)) < 2:
        return None
    if all(one >= two for one, two in pairwise(known)):
        return "newest first"
    return "oldest first" if all(one <= two for one, two in pairwise(known)) else "in no order of createdAt"


def _default_order(given: Responses) -> Judgement:
    direction = None if given.bare is None else _direction(given.bare)
    if direction is None:
        return Judgement(CANNOT_TELL, "the response to a request without parameters shows no order")
    return Judgement(_verdict(direction == "newest first"), f"a request without parameters lists {direction}")


def _one_level(given: Responses) -> Judgement:
    bare, total = given.bare, given.total
    if bare is None or bare.total is None or total is None:
        return Judgement(CANNOT_TELL, "the totals with and without recursive are not known")
    if not given.folders:
        return Judgement(CANNOT_TELL, "no folder was seen")
    if bare.total < total:
        return Judgement(HOLDS, f"{bare.total} items without recursive, {total} with it")
    return Judgement(CANNOT_TELL if bare.total == total else DOES_NOT_HOLD, f"{bare.total} items with and without it")


def _type_filter(given: Responses) -> Judgement:
    page = given.folders_only
    if page is None:
        return Judgement(CANNOT_TELL, "there was no response to type=folder")
    if not page.items:
        return Judgement(DOES_NOT_HOLD if given.folders else CANNOT_TELL, "no item came")
    folders = sum(item.get("type") == "folder" for item in page.items)
    return Judgement(
        _verdict(folders == len(page.items)), f"{folders} of {counted(len(page.items), 'item')} are folders"
    )


def _dataset_id_forms(given: Responses) -> Judgement:
    probe = given.probe("listing_other_form")
    if probe.status is None and probe.error is None:
        return Judgement(CANNOT_TELL, "the dataset's id is no UUID, so it has one form")
    page = Page.read(probe)
    same = page is not None and page.total == given.total
    return _exists(probe, same, "the listing is the same with and without hyphens in the dataset's id")


# -- the list -------------------------------------------------------------------------------------------------------


def _sorted(given: Responses) -> Judgement:
    found = {number: _direction(page) for number, page in enumerate(given.pages, 1)}
    shown = {number: direction for number, direction in found.items() if direction is not None}
    wrong = [number for number, direction in shown.items() if direction != "newest first"]
    if wrong:
        return Judgement(DOES_NOT_HOLD, f"page {wrong[0]} is {shown[wrong[0]]}")
    if not shown:
        return Judgement(CANNOT_TELL, "no page has items with different createdAt, or some have none")
    return Judgement(HOLDS, f"{counted(len(shown), 'page')} compared")


def _ties(given: Responses) -> Judgement:
    times = Counter(str(place.item.get("createdAt")) for place in given.places)
    if not times:
        return Judgement(CANNOT_TELL, "no item was seen")
    largest = max(times.values())
    tied = sum(number for number in times.values() if number > 1)
    if tied:
        return Judgement(DOES_NOT_HOLD, f"{tied} of {len(given.places)} items share one, at most {largest} the same")
    return Judgement(HOLDS, f"{counted(len(given.places), 'item')} compared")


def _positions(given: Responses) -> Judgement:
    at: dict[int, str] = {}
    compared = 0
    for number, page in enumerate(given.pages, 1):
        for position, item in enumerate(page.items, page.offset):
            other = at.setdefault(position, str(item.get("id")))
            compared += other == str(item.get("id"))
            if other != str(item.get("id")):
                place = Place(number, position - page.offset + 1, item)
                return Judgement(DOES_NOT_HOLD, f"{place} stands elsewhere in another page", (place,))
    if compared <= len(at):
        return Judgement(CANNOT_TELL, "no two pages overlap")
    return Judgement(HOLDS, f"{counted(len(at), 'position')} compared over {counted(len(given.pages), 'page')}")


def _has_total(given: Responses) -> Judgement:
    without = [number for number, page in enumerate(given.pages, 1) if page.total is None]
    if without:
        return Judgement(DOES_NOT_HOLD, f"page {without[0]} has no usable total")
    return Judgement(HOLDS, f"{counted(len(given.pages), 'page')} have one")


def _longest(given: Responses) -> int:
    """The position after the last item that was seen."""
    return max((page.end for page in given.pages if page.items), default=0)


def _list_end(given: Responses) -> Judgement:
    total = given.total
    if total is None:
        return Judgement(CANNOT_TELL, "there is no total, or it changed between two requests")
    longest = _longest(given)
    if longest > total:
        return Judgement(
            DOES_NOT_HOLD, f"the list continues after its total, by {counted(longest - total, 'item')} or more"
        )
    # a request past the total, of which the page is not full, shows the end
    reaching = [page for page in given.pages if page.limit is not None and page.offset + page.limit > total]
    if any(page.end == total for page in reaching):
        return Judgement(HOLDS, "a request that reaches over the total ended there")
    if any(page.offset < total and not page.items for page in reaching):
        return Judgement(DOES_NOT_HOLD, "the list ends before its total")
    if any(page.number("limit") in (None, page.limit) and page.end < total for page in reaching):
        return Judgement(DOES_NOT_HOLD, f"the list ends {counted(total - longest, 'item')} or more before its total")
    return Judgement(CANNOT_TELL, "no request reached the end")


def _total_counts_folders(given: Responses) -> Judgement:
    known = len(given.folders)
    if not known:
        return Judgement(CANNOT_TELL, "no folder was seen in the list")
    end = _list_end(given)
    if end.verdict == HOLDS:
        return Judgement(HOLDS, f"{counted(known, 'folder')} seen in the list, which ends at its total")
    longer = given.total is not None and _longest(given) > given.total
    return Judgement(DOES_NOT_HOLD if longer else CANNOT_TELL, f"{counted(known, 'folder')} seen; {end.evidence}")


def _has_more(given: Responses) -> Judgement:
    known = [
        (number, page)
        for number, page in enumerate(given.pages, 1)
        if isinstance(page.pagination.get("hasMore"), bool) and page.total is not None
    ]
    if not known:
        return Judgement(CANNOT_TELL, "the responses have no hasMore, or no total")
    for number, page in known:
        if page.pagination["hasMore"] != (page.end < (page.total or 0)):
            return Judgement(DOES_NOT_HOLD, f"page {number} ends at {page.end} of {page.total}, and says the opposite")
    return Judgement(HOLDS, f"{counted(len(known), 'page')} compared")


def _date_header(given: Responses) -> Judgement:
    probe = given.probe("listing")
    text = "the header Date is there" if probe.has_date else "the header Date is missing"
    return (
        Judgement(_verdict(probe.has_date), text) if probe.sent is not None else Judgement(CANNOT_TELL, "no response")
    )


# -- items ----------------------------------------------------------------------------------------------------------


def _ids(given: Responses) -> Judgement:
    forms = Counter(shape(place.item.get("id")) for place in given.places)
    judged = _each(given.places, lambda item: shape(item.get("id")).startswith("string (uuid"), "item", "a UUID")
    seen = "; ".join(f"{number} times {form}" for form, number in sorted(forms.items()))
    return judged._replace(evidence=f"{judged.evidence}: {seen}" if seen else judged.evidence)


def _ends_in_own_id(item: Item) -> bool:
    last = str(item.get("path")).rpartition(".")[2]
    return canonical_id(last) == canonical_id(str(item.get("id")))


def _with_path(places: list[Place]) -> list[Place]:
    return [place for place in places if isinstance(place.item.get("path"), str)]


def _media_paths(given: Responses) -> Judgement:
    return _each(_with_path(given.media), _ends_in_own_id, "path of media items", "the own id at the end")


def _folder_paths(given: Responses) -> Judgement:
    return _each(_with_path(given.folders), _ends_in_own_id, "path of folders", "the own id at the end")


def _times(given: Responses) -> Judgement:
    return _each(
        given.places,
        lambda item: shape(item.get("createdAt")) == "string (timestamp, UTC)",
        "item",
        "a timestamp that ends in Z",
    )


def _updated_at(given: Responses) -> Judgement:
    moved: list[Place] = []
    stayed: list[Place] = []
    for place in given.media:
        frames = objects_in(place.item, "frames")
        children = [*frames, *objects_in(place.item, "frames", "captions")]
        times = [moment for one in children if (moment := parse_timestamp(one.get("createdAt")))]
        created, updated = (parse_timestamp(place.item.get(name)) for name in ("createdAt", "updatedAt"))
        if created and updated and times and max(times) > created:
            (stayed if updated < max(times) else moved).append(place)
    if stayed:
        count = f"{len(stayed)} of {len(stayed) + len(moved)} media items with later frames or captions"
        return Judgement(
            HOLDS, f"updatedAt is earlier than the newest child in {count}, as in {stayed[0]}", (stayed[0],)
        )
    if moved:
        return Judgement(DOES_NOT_HOLD, f"it is not earlier than the newest child in all of {len(moved)} media items")
    return Judgement(CANNOT_TELL, "no media item has a frame or caption that is newer than itself")


def _frames(given: Responses) -> Judgement:
    return _each(given.media, lambda item: isinstance(item.get("frames"), list), "media item", "a list of frames")


def _frame_timestamps(given: Responses) -> Judgement:
    values = [f.get("timestamp") for place in given.media for f in objects_in(place.item, "frames")]
    if not values:
        return Judgement(CANNOT_TELL, "no frame was seen")
    kinds = Counter("string" if isinstance(value, str) else shape(value) for value in values)
    text = "; ".join(f"{number} times {kind}" for kind, number in sorted(kinds.items()))
    return Judgement(_verdict(set(kinds) == {"string"}), text)


def _caption_models(given: Responses) -> Judgement:
    captions = [c for place in given.media for c in objects_in(place.item, "frames", "captions")]
    if not captions:
        return Judgement(CANNOT_TELL, "no caption was seen")
    named = sum(isinstance(caption.get("model"), str) for caption in captions)
    return Judgement(_verdict(named > 0), f"{named} of {counted(len(captions), 'caption')} have it")


def _descriptions(given: Responses) -> Judgement:
    def holders(read: Callable[[Item], Any]) -> int:
        return sum(
            isinstance(sent := read(p.item), dict) and ("description" in sent or "prompt" in sent) for p in given.media
        )

    outside, inside = holders(lambda item: item), holders(lambda item: item.get("metadata"))
    if not outside and not inside:
        return Judgement(CANNOT_TELL, "no media item has a description or a prompt")
    return Judgement(
        _verdict(not outside), f"in metadata of {counted(inside, 'media item')}, outside of it in {outside}"
    )


def _has_polygon(thing: Item) -> bool:
    return isinstance(thing.get("polygon"), list)


def _polygons(items: Iterable[Item], where: str) -> Judgement:
    things = [thing for item in items for thing in objects_in(item, "frames", "objects")]
    if not things:
        return Judgement(CANNOT_TELL, f"no detected object was seen {where}")
    found = sum(map(_has_polygon, things))
    text = f"{found} of {counted(len(things), 'object')} have a polygon {where}"
    return Judgement(_verdict(found > 0), text)


def _listed_polygons(given: Responses) -> Judgement:
    return _polygons((place.item for place in given.media), "in the listing")


def _single_polygons(given: Responses) -> Judgement:
    single = given.single_sent()
    return _polygons([] if single is None else [single], "in the media item that was asked for by itself")


def _edges(thing: Item) -> tuple[float, ...] | None:
    """The least and the greatest x and y of a polygon; None if its points cannot be read."""
    found = edges([encode_json(thing["polygon"]).encode()])
    values = [found[name][0] for name in ("x_min", "y_min", "x_max", "y_max")]
    return None if None in values else tuple(values)


def _polygon_pixels(given: Responses) -> Judgement:
    items = [place.item for place in given.media]
    single = given.single_sent()
    frames = [f for item in (*items, *([] if single is None else [single])) for f in objects_in(item, "frames")]
    inside = outside = unreadable = 0
    for frame in frames:
        width, height = frame.get("width"), frame.get("height")
        for thing in filter(_has_polygon, objects_in(frame, "objects")):
            found = _edges(thing)
            if found is None or not isinstance(width, (int, float)) or not isinstance(height, (int, float)):
                unreadable += 1
            # fractions of the frame would be at most 1
            elif max(found) > 1 and all(
                -1 <= x <= width + 1 and -1 <= y <= height + 1 for x, y in (found[:2], found[2:])
            ):
                inside += 1
            else:
                outside += 1
    if not inside and not outside and not unreadable:
        return Judgement(CANNOT_TELL, "no polygon was seen")
    text = f"{inside} within their frame in pixels, {outside} otherwise, {unreadable} without readable points or sizes"
    return Judgement(_verdict(not outside and not unreadable), text)


def _deleted_hidden(given: Responses) -> Judgement:
    shown = [place for place in given.places if place.item.get("status") == "deleted"]
    if shown:
        text = f"{len(shown)} of {counted(len(given.places), 'item')} have it, the first is {shown[0]}"
        return Judgement(DOES_NOT_HOLD, text, (shown[0],))
    return Judgement(CANNOT_TELL, f"none of {counted(len(given.places), 'item')} has it; that none exists is possible")


def _deleted_single(given: Responses) -> Judgement:
    probe = given.probe("deleted")
    if probe.status is None and probe.error is None:
        return Judgement(CANNOT_TELL, "no deleted media item is known to ask for")
    media = probe.sent.get("media") if isinstance(probe.sent, dict) else None
    return _exists(probe, isinstance(media, dict) and media.get("status") == "deleted", "it is sent with that status")


def _previews(given: Responses) -> Judgement:
    if not given.folders:
        return Judgement(CANNOT_TELL, "no folder was seen")
    names = {key for place in given.folders for key in place.item if "preview" in key.lower()}
    if not names:
        return Judgement(DOES_NOT_HOLD, f"{counted(len(given.folders), 'folder')} have no field with that name")
    return Judgement(HOLDS, f"in the field {_some(map(field_name, names))}")


def _folder_item_count(given: Responses) -> Judgement:
    count = None if given.folder is None else given.folder.get(FOLDERS.by_name["item_count"].api or "")
    if type(count) is not int:
        return Judgement(CANNOT_TELL, "no folder with a folderItemCount was seen")
    directly = None if given.directly is None else given.directly.total
    below = None if given.below is None else given.below.total
    if directly is None:
        return Judgement(CANNOT_TELL, f"it is {count}, and the folder's content could not be asked for")
    text = f"it is {count}; the folder lists {directly} items directly in it, and {below} with the folders below it"
    return Judgement(_verdict(count == directly), text)


def _declared(given: Responses) -> Judgement:
    if not given.places:
        return Judgement(CANNOT_TELL, "no item was seen")
    found: dict[str, str] = {}
    for place in given.places:
        for table, key, value in undeclared(place.item, table_of(place.item)):
            name = f"{table}.{field_name(key)}"
            if found.get(name) in (None, "null"):
                found[name] = shape(value)
    if not found:
        return Judgement(HOLDS, f"{counted(len(given.places), 'item')} compared with the declared tables")
    return Judgement(DOES_NOT_HOLD, _some(f"{name} ({form})" for name, form in found.items()))


def _fitting(given: Responses) -> Judgement:
    if not given.places:
        return Judgement(CANNOT_TELL, "no item was seen")
    media, folders = (
        [RawItem.from_json(encode_json(place.item).encode()) for place in places]
        for places in (given.media, given.folders)
    )
    found = media_rows(given.dataset_id, media, False).unknown_fields
    found |= folder_rows(given.dataset_id, folders).unknown_fields
    declared = {
        name
        for name in found
        if (table := BY_NAME.get(name.partition(".")[0])) is not None
        and name.partition(".")[2] in (*table.api_fields, *(child.api for child in table.children))
    }
    if declared:
        return Judgement(DOES_NOT_HOLD, f"values that do not fit, or ids of other items, in {_some(declared)}")
    return Judgement(HOLDS, f"{counted(len(given.places), 'item')} became rows")


def _stable(given: Responses) -> Judgement:
    if given.repeated is None or not given.pages:
        return Judgement(CANNOT_TELL, "the request was not repeated")
    second = {str(item.get("id")): item for item in given.repeated.items}
    pairs = [(item, second[i]) for item in given.pages[0].items if (i := str(item.get("id"))) in second]
    if not pairs:
        return Judgement(CANNOT_TELL, "no item was in both responses")
    changed = Counter(name for one, two in pairs for name in {n for _, n in differences(one, two, table_of(one))})
    if not changed:
        return Judgement(HOLDS, f"{counted(len(pairs), 'item')} compared")
    return Judgement(DOES_NOT_HOLD, _some(f"{name} (in {n} of {len(pairs)} items)" for name, n in changed.items()))


# -- the other endpoints --------------------------------------------------------------------------------------------


def _single(given: Responses) -> Judgement:
    return _exists(given.probe("media"), given.single_sent() is not None, "it is sent under the key media")


def _single_equals(given: Responses) -> Judgement:
    single = given.single_sent()
    if single is None or given.single is None:
        return Judgement(CANNOT_TELL, "there is no single media item to compare")
    found = set(differences(given.single, single, table_of(single)))
    if not found:
        return Judgement(HOLDS, "every field of one media item is the same")
    words = {"changed": "different", "only first": "only in the listing", "only second": "only in the single item"}
    return Judgement(DOES_NOT_HOLD, _some(f"{name} ({words[kind]})" for kind, name in found))


def _media_id_forms(given: Responses) -> Judgement:
    if given.single_sent() is None:
        return Judgement(CANNOT_TELL, "the endpoint for one media item gave none")
    probe = given.probe("media_other_form")
    if probe.status is None and probe.error is None:
        return Judgement(CANNOT_TELL, "the id of the media item is no UUID, so it has one form")
    return _exists(probe, probe.sent is not None, "the response is one with and without hyphens in the id")


def _versions(given: Responses) -> Judgement:
    probe = given.probe("versions")
    found = probe.sent.get("versions") if isinstance(probe.sent, dict) else None
    count = len(found) if isinstance(found, list) else 0
    return _exists(probe, isinstance(found, list), f"{counted(count, 'version')} of one media item")


def _tags(given: Responses) -> Judgement:
    probe = given.probe("tags")
    found = probe.sent.get("tags") if isinstance(probe.sent, dict) else None
    fits = isinstance(found, dict) and all(isinstance(values, list) for values in found.values())
    count = len(found) if isinstance(found, dict) else 0
    return _exists(probe, fits, f"{counted(count, 'tag group')}")


def _sent_under(key: str, given: Responses) -> Judgement:
    probe = given.probe(key)
    found = probe.sent.get(key) if isinstance(probe.sent, dict) else None
    return _exists(probe, isinstance(found, dict), f"it is sent under the key {key}")


DATASET: tuple[Assumption[Responses], ...] = (
    Assumption("generation-2026", "The API is of the 2026 generation.", "OV", _generation),
    Assumption("newer-parameters", "The listing accepts sortBy and recursive.", "LI", _newer_parameters),
    Assumption("limit", "A page has as many items as limit asks for, up to 1000.", "unknown", _limit),
    Assumption("limit-echoed", "pagination.limit is the limit that was used.", "L25, LI", _limit_echoed),
    Assumption("default-limit", "Without limit, a page has 10 items.", "L25, LI", _default_limit),
    Assumption(
        "default-order", "Without sortDirection, the newest come first (2025: the oldest).", "LI", _default_order
    ),
    Assumption("one-level", "Without recursive, one level of folders is listed.", "LI", _one_level),
    Assumption("type-filter", "type=folder lists folders only.", "LI", _type_filter),
    Assumption("dataset-id-forms", "A dataset's id may be sent with or without hyphens.", "unknown", _dataset_id_forms),
    Assumption("sorted", "Pages are sorted by createdAt, newest first.", "LI", _sorted),
    Assumption("no-ties", "No two items share one createdAt.", "unknown", _ties),
    Assumption("positions", "An item keeps its position, whatever limit and offset are.", "unknown", _positions),
    Assumption("total", "Every page has the total.", "L25, LI", _has_total),
    Assumption("list-end", "The list ends where its total says.", "unknown", _list_end),
    Assumption("total-counts-folders", "The total counts folders.", "unknown", _total_counts_folders),
    Assumption("has-more", "hasMore agrees with offset and total.", "L25, LI", _has_more),
    Assumption("date-header", "Responses have the server's clock in the header Date.", "unknown", _date_header),
    Assumption("uuids", "Ids are UUIDs, with or without hyphens.", "L25, LI", _ids),
    Assumption("media-paths", "The path of a media item ends in its own id.", "GM", _media_paths),
    Assumption("folder-paths", "The path of a folder ends in its own id.", "FO", _folder_paths),
    Assumption("timestamps", "createdAt is an ISO 8601 timestamp in UTC.", "L25, LI", _times),
    Assumption("updated-at", "New frames and captions do not move updatedAt of their media item.", "L25", _updated_at),
    Assumption("frames", "The listing has the frames of every media item.", "L25, LI", _frames),
    Assumption("frame-timestamps", "The timestamp of a frame is a string (SDK: a number).", "L25", _frame_timestamps),
    Assumption("caption-models", "Captions have the name of their model.", "L25", _caption_models),
    Assumption("descriptions", "Descriptions and prompts stand in metadata.", "unknown", _descriptions),
    Assumption("polygons-listed", "The listing has the polygons of detected objects.", "unknown", _listed_polygons),
    Assumption("polygons-single", "A media item asked for by itself has them.", "unknown", _single_polygons),
    Assumption("polygon-pixels", "Polygons are points in pixels of their frame.", "SE", _polygon_pixels),
    Assumption("deleted-hidden", 'The listing leaves out items with the status "deleted".', "unknown", _deleted_hidden),
    Assumption("deleted-single", 'A deleted media item is sent with the status "deleted".', "UP", _deleted_single),
    Assumption("folder-previews", "Folders have previews.", "LI", _previews),
    Assumption(
        "folder-item-count", "folderItemCount counts what is directly in the folder.", "unknown", _folder_item_count
    ),
    Assumption("declared-fields", "Every field has a column.", "L25, LI, GM, FO", _declared),
    Assumption("fitting-values", "Every value fits its column.", "L25, LI, GM, FO", _fitting),
    Assumption("stable-values", "Two identical requests get the same values.", "unknown", _stable),
    Assumption("media-endpoint", "The API has an endpoint for one media item.", "GM", _single),
    Assumption("single-equals-listing", "A media item is the same there as in the listing.", "unknown", _single_equals),
    Assumption("media-id-forms", "A media item's id may be sent with or without hyphens.", "unknown", _media_id_forms),
    Assumption("versions-endpoint", "The API lists the versions of a media item.", "MCP", _versions),
    Assumption("tags-endpoint", "The API lists the tags of a dataset.", "SDK", _tags),
    Assumption("folder-endpoint", "The API has an endpoint for one folder.", "SDK", partial(_sent_under, "folder")),
    Assumption("dataset-endpoint", "The API has an endpoint for one dataset.", "SDK", partial(_sent_under, "dataset")),
)
