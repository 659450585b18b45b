"""The endpoints of the API without HTTP: a request in, a JSON value out.

What a request has to look like that changes something (the bodies of PATCH and POST) stands in no document that we
know; here it is what the parameters of the official tools suggest.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import KW_ONLY, dataclass, field, replace
from typing import Any

import msgspec

from coreviz_source.local_studio.form import Form, Item
from coreviz_source.local_studio.ids import canonical_id, label, stamp
from coreviz_source.local_studio.library import Library
from coreviz_source.local_studio.listing import Wanted, text_of
from coreviz_source.local_studio.refused import Refused
from coreviz_source.local_studio.store import Dataset

#: The names by which `missing` takes away an endpoint.
NAMES = ("me", "organizations", "datasets", "dataset", "tags", "folder", "media", "move", "versions", "search")


@dataclass(frozen=True)
class Request:
    """A request that the Studio received: `number` counts from 1; `dataset_id` is as it was sent."""

    number: int
    method: str
    path: str
    params: Mapping[str, str]
    dataset_id: str | None = None
    body: bytes = b""
    #: Whether it was sent with a key, and not with a token.
    by_key: bool = True

    @property
    def offset(self) -> int:
        """The requested offset."""
        return int(self.params.get("offset", 0))


@dataclass(eq=False, repr=False)
class Endpoints:
    """Answers requests over a library; see `Studio` for the switches."""

    library: Library
    generation: int = 2026
    _: KW_ONLY
    strict: bool = False
    limit_cap: int | None = None
    limit_floor: int = 0
    paths: str = "own"
    polygons: bool = True
    single_polygons: bool = True
    folder_counts: str = "items"
    previews: bool = False
    deleted_listed: bool = False
    deleted_single: bool = True
    organization_list: str = "array"
    dataset_list: str = "object"
    key_scope: str = "all"
    forbidden: Collection[str] = ()
    missing: Collection[str] = ()
    stamped: bool = False
    url: str = field(init=False, default="")
    _last_pick: tuple[list[Item], Wanted, int, list[Item]] | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        if unknown := set(self.missing) - set(NAMES):
            raise ValueError(f"no such endpoint: {', '.join(sorted(unknown))}")

    @property
    def form(self) -> Form:
        """How it shows items now."""
        return Form(self.generation, self.paths, self.polygons, self.folder_counts, self.previews)

    def snapshot(self, dataset_id: str) -> list[Item]:
        """What a complete mirror of a dataset contains now, with the addresses of this server.

        Deleted items are not in it, whether or not the listing shows them.
        """
        with self.library.lock:
            items = self.library.listing(dataset_id)
            shown = [i for i in items if self.generation == 2026 or i.get("type") != "folder"]
            return [self._shown(item) for item in shown]

    def respond(self, request: Request) -> Any:
        """The response to a request: a JSON value, or its bytes.

        Raises:
            Refused: The response is an error.
        """
        parts = request.path.strip("/").split("/")
        for method, template, name, handler in _ROUTES:
            wanted = template.split("/")
            if method != request.method or len(wanted) != len(parts):
                continue
            if any(one not in ("{}", two) for one, two in zip(wanted, parts, strict=True)):
                continue
            if name in self.missing or (self.generation == 2025 and name not in ("listing", "search")):
                break
            ids = [two for one, two in zip(wanted, parts, strict=True) if one == "{}"]
            return handler(self, request, *ids)
        raise Refused(404, "Not found")

    # -- what a user may see -----------------------------------------------------------------------------------

    def _allowed(self, request: Request, organization_id: str) -> bool:
        own = organization_id == self.library.user["organizationId"]
        if self.key_scope == "default" and request.by_key and not own:
            return False
        return organization_id not in {canonical_id(each) for each in self.forbidden}

    def _dataset_of(self, request: Request, dataset_id: str) -> Dataset:
        try:
            dataset = self.library.dataset(dataset_id)
        except KeyError:
            raise Refused(404, "Dataset not found") from None
        if not self._allowed(request, dataset.info["organizationId"]):
            raise Refused(403, "You have no access to this dataset")
        return dataset

    def _item_of(self, request: Request, media_id: str, folder: bool | None = None) -> Item:
        noun = "Folder" if folder else "Media"
        try:
            item = self.library.media(media_id)
        except KeyError:
            raise Refused(404, f"{noun} not found") from None
        if folder and item.get("type") != "folder":
            raise Refused(404, f"{noun} not found")
        if item.get("status") == "deleted" and not self.deleted_single:
            raise Refused(404, f"{noun} not found")
        self._dataset_of(request, item["datasetId"])
        return item

    # -- what is sent ------------------------------------------------------------------------------------------

    def _shown(self, item: Item, form: Form | None = None) -> Item:
        shown: Item = msgspec.json.decode(self._encoded(item, form or self.form))
        return shown

    def _encoded(self, item: Item, form: Form) -> bytes:
        return self.library.encoded(item, form).replace(b'"/blob/', b'"' + self.url.encode() + b"/blob/")

    def _plain(self, value: Item) -> Item:
        return {k: label(v) if k in ("id", "organizationId", "userId") else v for k, v in value.items()}

    def _whole(self, item: Item) -> Item:
        """A media item as its own endpoint sends it."""
        info = self._plain(self.library.dataset(item["datasetId"]).info)
        form = self.form._replace(polygons=self.polygons and self.single_polygons)
        return {**self._shown(item, form), "dataset": {key: info[key] for key in ("id", "name", "organizationId")}}

    # -- reading -----------------------------------------------------------------------------------------------

    def _me(self, request: Request) -> Any:
        return self._plain(self.library.user)

    def _organizations(self, request: Request) -> Any:
        default = self.library.user["organizationId"]
        known = self.library.organizations.values()
        seen = [o for o in known if self.key_scope == "all" or not request.by_key or o["id"] == default]
        shown = [self._plain(one) for one in seen]
        return {"organizations": shown} if self.organization_list == "object" else shown

    def _datasets(self, request: Request, organization_id: str) -> Any:
        wanted = canonical_id(organization_id)
        if wanted not in self.library.organizations:
            raise Refused(404, "Organization not found")
        if not self._allowed(request, wanted):
            raise Refused(403, "You have no access to this organization")
        infos = [dataset.info for dataset in self.library.datasets.values()]
        shown = [self._plain(info) for info in infos if info["organizationId"] == wanted]
        return {"datasets": shown} if self.dataset_list == "object" else shown

    def _dataset(self, request: Request, dataset_id: str) -> Any:
        return {"dataset": self._plain(self._dataset_of(request, dataset_id).info)}

    def _tags(self, request: Request, dataset_id: str) -> Any:
        return {"tags": self.library.tags(self._dataset_of(request, dataset_id).id)}

    def _folder(self, request: Request, folder_id: str) -> Any:
        shown = self._shown(self._item_of(request, folder_id, folder=True))
        return {"folder": {k: v for k, v in shown.items() if k not in ("folderItemCount", "folderPreviews")}}

    def _single(self, request: Request, media_id: str) -> Any:
        return {"media": self._whole(self._item_of(request, media_id))}

    def _versions(self, request: Request, media_id: str) -> Any:
        self._item_of(request, media_id)
        found = self.library.versions(media_id)
        return {"versions": [self._shown(i) for i in found if self.deleted_listed or i.get("status") != "deleted"]}

    def _search(self, request: Request) -> Any:
        query = request.params.get("q", "").lower()
        found = [i for d in self.library.datasets for i in self.library.listing(d) if query in text_of(i)]
        return {"media": [self._shown(i) for i in found[: int(request.params.get("limit", 10))]]}

    def _listing(self, request: Request, dataset_id: str) -> Any:
        wanted = Wanted.read(request.params, self.generation, self.strict)
        with self.library.lock:
            items = self._picked(self._dataset_of(request, dataset_id), wanted)
            limit = max(self.limit_floor, min(wanted.limit, self.limit_cap or wanted.limit))
            page = items[wanted.offset : wanted.offset + limit]
            pagination = {
                "total": len(items),
                "limit": limit,
                "offset": wanted.offset,
                "hasMore": wanted.offset + len(page) < len(items),
            }
            encoded = [self._encoded(item, self.form) for item in page]
        if wanted.query:
            encoded = [msgspec.json.encode({**msgspec.json.decode(e), "_score": 1.0}) for e in encoded]
        return b'{"media":[' + b",".join(encoded) + b'],"pagination":' + msgspec.json.encode(pagination) + b"}"

    def _picked(self, dataset: Dataset, wanted: Wanted) -> list[Item]:
        """The items of all pages; picked again when the library has changed."""
        order = self.library.listing(dataset.id, self.deleted_listed)
        asked = replace(wanted, limit=0, offset=0)
        last = self._last_pick
        if last is None or last[0] is not order or last[1:3] != (asked, self.generation):
            picked = wanted.pick(order, label(dataset.id), self.generation)
            last = self._last_pick = (order, asked, self.generation, picked)
        return last[3]

    # -- changing ----------------------------------------------------------------------------------------------

    @contextmanager
    def _changing(self, item: Item) -> Iterator[None]:
        with self.library.changing(str(item["id"])):
            yield
            if self.stamped:
                item |= {"updatedAt": stamp(self.library.clock()), "updatedById": self.library.user["userId"]}

    def _update(self, item: Item, body: Item) -> None:
        """Sets a new name, and merges the keys of `metadata`: `tags` replaces all tags."""
        name, metadata = body.get("name"), body.get("metadata")
        if not (isinstance(name, str) or isinstance(metadata, dict)):
            raise Refused(400, "A name or metadata is needed")
        with self._changing(item):
            if isinstance(name, str):
                item["name"] = name
            if isinstance(metadata, dict):
                item["metadata"] = {**(item.get("metadata") or {}), **metadata}

    def _update_media(self, request: Request, media_id: str) -> Any:
        with self.library.lock:
            item = self._item_of(request, media_id)
            self._update(item, _body(request))
            return {"media": self._whole(item)}

    def _delete_media(self, request: Request, media_id: str) -> Any:
        with self.library.lock:
            self.library.soft_delete(str(self._item_of(request, media_id)["id"]))
            return {"success": True}

    def _move(self, request: Request, media_id: str) -> Any:
        destination = _body(request).get("destinationPath")
        with self.library.lock:
            item = self._item_of(request, media_id)
            labels = str(destination).split(".")
            if canonical_id(labels[0]) != item["datasetId"]:
                raise Refused(400, "The destination is not in the same collection")
            folder = self._item_of(request, labels[-1], folder=True) if len(labels) > 1 else None
            try:
                self.library.move_into(media_id, str(folder["id"]) if folder else None)
            except ValueError as error:
                raise Refused(400, str(error)) from None
            with self._changing(item):
                return {"media": self._whole(item)}

    def _select_version(self, request: Request, media_id: str) -> Any:
        with self.library.lock:
            item = self._item_of(request, media_id)
            if item.get("status") == "deleted":
                raise Refused(404, "Media not found")
            self.library.select_version(media_id)
            return {"media": self._whole(item)}

    def _delete_version(self, request: Request, media_id: str) -> Any:
        with self.library.lock:
            self._item_of(request, media_id)
            wanted = canonical_id(request.params.get("versionId", ""))
            if wanted not in {str(version["id"]) for version in self.library.versions(media_id)}:
                raise Refused(404, "Version not found")
            self.library.delete_version(wanted)
            return {"success": True}

    def _create_folder(self, request: Request) -> Any:
        body = _body(request)
        name = body.get("name")
        if not isinstance(name, str):
            raise Refused(400, "A name is needed")
        with self.library.lock:
            dataset = self._dataset_of(request, str(body.get("datasetId")))
            above = str(body.get("path") or label(dataset.id))
            holder = None
            if above != label(dataset.id):
                holder = str(self._item_of(request, above.rpartition(".")[2], folder=True)["id"])
            same = [i for i in dataset.inside(above) if i.get("type") == "folder" and i["name"] == name]
            folder_id = (
                same[0]["id"] if same and body.get("reuse") else self.library.add_folder(dataset.id, name, holder)
            )
            return self._folder(request, str(folder_id))

    def _update_folder(self, request: Request, folder_id: str) -> Any:
        with self.library.lock:
            self._update(self._item_of(request, folder_id, folder=True), _body(request))
            return self._folder(request, folder_id)

    def _delete_folder(self, request: Request, folder_id: str) -> Any:
        with self.library.lock:
            self.library.soft_delete(str(self._item_of(request, folder_id, folder=True)["id"]))
            return {"success": True}


def _body(request: Request) -> Item:
    try:
        body = msgspec.json.decode(request.body)
    except msgspec.DecodeError:
        body = None
    if not isinstance(body, dict):
        raise Refused(400, "The body is not a JSON object")
    return body


_ROUTES: tuple[tuple[str, str, str, Callable[..., Any]], ...] = (
    ("GET", "api/dataset/{}/media", "listing", Endpoints._listing),
    ("GET", "api/search", "search", Endpoints._search),
    ("GET", "api/me", "me", Endpoints._me),
    ("GET", "api/auth/organization/list", "organizations", Endpoints._organizations),
    ("GET", "api/organization/{}/datasets", "datasets", Endpoints._datasets),
    ("GET", "api/dataset/{}", "dataset", Endpoints._dataset),
    ("GET", "api/dataset/{}/tags", "tags", Endpoints._tags),
    ("POST", "api/folder", "folder", Endpoints._create_folder),
    ("GET", "api/folder/{}", "folder", Endpoints._folder),
    ("PATCH", "api/folder/{}", "folder", Endpoints._update_folder),
    ("DELETE", "api/folder/{}", "folder", Endpoints._delete_folder),
    ("GET", "api/media/{}", "media", Endpoints._single),
    ("PATCH", "api/media/{}", "media", Endpoints._update_media),
    ("DELETE", "api/media/{}", "media", Endpoints._delete_media),
    ("PATCH", "api/media/{}/move", "move", Endpoints._move),
    ("GET", "api/media/{}/versions", "versions", Endpoints._versions),
    ("DELETE", "api/media/{}/versions", "versions", Endpoints._delete_version),
    ("PATCH", "api/media/{}/select-version", "versions", Endpoints._select_version),
)
