"""The local Studio over HTTP, as a client that is not ours sees it: each endpoint, each switch, each generation."""

from __future__ import annotations

import ast
import re
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import requests
from click.testing import CliRunner

from coreviz_source import local_studio
from coreviz_source.cli import studio as cli_studio
from coreviz_source.local_studio import Library, Request, Studio
from coreviz_source.local_studio.faults import Faults
from coreviz_source.local_studio.vocabulary import PRODUCTS

Item = dict[str, Any]


def get(studio: Studio, address: str, /, **params: object) -> requests.Response:
    return requests.get(studio.url + address, params=params, headers={"x-api-key": studio.key}, timeout=10)


def listed(studio: Studio, dataset: str, **params: object) -> list[Item]:
    given = {"limit": 500, **({"recursive": "true"} if studio.generation == 2026 else {}), **params}
    response = get(studio, f"/api/dataset/{dataset}/media", **given)
    assert response.status_code == 200, response.text
    items: list[Item] = response.json()["media"]
    return items


def label(item_id: str) -> str:
    return item_id.replace("-", "")


@pytest.mark.parametrize("paths", ["own", "holder"])
def test_a_path_names_the_folders_and_ends_in_the_own_id_or_in_the_holder(paths):
    library = Library.empty()
    (dataset,) = library.datasets
    outer = library.add_folder(dataset, "outer")
    inner = library.add_folder(dataset, "inner", outer)
    deep, top = library.add_media(dataset, folder=inner), library.add_media(dataset)
    with Studio(library, paths=paths) as studio:
        found = {item["id"]: item["path"] for item in listed(studio, dataset)}
        below = [item["id"] for item in listed(studio, dataset, recursive="false", path=found[label(inner)])]
    last = [label(deep)] if paths == "own" else []
    assert found[label(outer)] == f"{label(dataset)}.{label(outer)}"
    assert found[label(inner)] == f"{label(dataset)}.{label(outer)}.{label(inner)}"
    assert found[label(deep)] == ".".join([found[label(inner)], *last])
    assert found[label(top)] == ".".join([label(dataset), *([label(top)] if paths == "own" else [])])
    assert below == [label(deep)]


@pytest.mark.parametrize(("generation", "polygons"), [(2026, True), (2026, False), (2025, True)])
def test_objects_have_polygons_in_pixels_of_their_frame_only_where_they_are_sent(generation, polygons):
    library = Library.generate(60, datasets=1)
    (dataset,) = library.datasets
    with Studio(library, generation, polygons=polygons) as studio:
        frames = [frame for item in listed(studio, dataset) for frame in item.get("frames", [])]
    objects = [(frame, thing) for frame in frames for thing in frame["objects"]]
    assert len(objects) > 20
    assert all(("polygon" in thing) is (polygons and generation == 2026) for _, thing in objects)
    if not polygons or generation == 2025:
        return
    corners = set()
    for frame, thing in objects:
        outline = thing["polygon"]
        corners.add(len(outline))
        assert all(point.keys() == {"x", "y"} for point in outline)
        xs, ys = [point["x"] for point in outline], [point["y"] for point in outline]
        assert 0 <= min(xs) < max(xs) <= frame["width"]
        assert 0 <= min(ys) < max(ys) <= frame["height"]
    assert corners == {4, 8, 15}


def ask(studio: Studio, method: str, address: str, body: Any = None, **params: object) -> requests.Response:
    headers = {"x-api-key": studio.key}
    return requests.request(method, studio.url + address, params=params, json=body, headers=headers, timeout=10)


def done(response: requests.Response) -> Any:
    assert response.status_code == 200, (response.status_code, response.text)
    return response.json()


def ids(items: list[Item]) -> set[str]:
    return {item["id"] for item in items}


def mirrored(studio: Studio, dataset: str) -> set[str]:
    return ids(studio.snapshot(dataset))


def small(organizations: int = 1, datasets: int = 1) -> Library:
    """Datasets with two folders, one in the other, a picture in each of them and one at the top."""
    library = Library.empty(datasets, organizations=organizations)
    for dataset in library.datasets:
        outer = library.add_folder(dataset, "Outer")
        inner = library.add_folder(dataset, "Inner", outer)
        for folder in (None, outer, inner):
            library.add_media(dataset, folder=folder, processing=False)
    return library


def parts_of(library: Library) -> tuple[str, str, str, list[str]]:
    """The dataset, the two folders, and the pictures from the top down."""
    dataset = next(iter(library.datasets))
    items = library.listing(dataset)
    named = {item["name"]: item["id"] for item in items}
    media = sorted((i for i in items if i["type"] != "folder"), key=lambda i: i["path"].count("."))
    return dataset, named["Outer"], named["Inner"], [item["id"] for item in media]


# -- who may ask ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("generation", [2025, 2026])
def test_a_key_is_accepted_by_both_generations_and_a_token_only_by_the_newer(generation):
    library = small()
    dataset = next(iter(library.datasets))
    with Studio(library, generation, api_key="k", token="t") as studio:

        def status(**headers: str) -> int:
            sent = {name.replace("_", "-"): value for name, value in headers.items()}
            address = f"{studio.url}/api/dataset/{dataset}/media"
            return requests.get(address, headers=sent, timeout=10).status_code

        assert status(x_api_key="k") == 200
        assert status(authorization="Bearer t") == (200 if generation == 2026 else 401)
        for refused in ({}, {"x_api_key": "t"}, {"authorization": "Bearer k"}, {"authorization": "t"}):
            assert status(**refused) == 401


def test_the_older_generation_has_the_listing_and_nothing_of_the_newer():
    library = small()
    dataset, outer, _, (top, *_) = parts_of(library)
    organization = library.user["organizationId"]
    with Studio(library, 2025) as studio:
        assert len(listed(studio, dataset)) == 3
        for method, address in (
            ("GET", "/api/me"),
            ("GET", "/api/auth/organization/list"),
            ("GET", f"/api/organization/{organization}/datasets"),
            ("GET", f"/api/dataset/{dataset}"),
            ("GET", f"/api/dataset/{dataset}/tags"),
            ("GET", f"/api/folder/{outer}"),
            ("POST", "/api/folder"),
            ("PATCH", f"/api/folder/{outer}"),
            ("DELETE", f"/api/folder/{outer}"),
            ("GET", f"/api/media/{top}"),
            ("PATCH", f"/api/media/{top}"),
            ("DELETE", f"/api/media/{top}"),
            ("PATCH", f"/api/media/{top}/move"),
            ("GET", f"/api/media/{top}/versions"),
            ("DELETE", f"/api/media/{top}/versions"),
            ("PATCH", f"/api/media/{top}/select-version"),
        ):
            response = ask(studio, method, address, {"name": "x"})
            assert (response.status_code, response.json()["error"]) == (404, "Not Found"), (method, address)
        assert len(studio.snapshot(dataset)) == 3


# -- the account ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", ["array", "object"])
def test_all_organizations_and_their_datasets_are_listed_in_either_shape(shape):
    library = Library.empty(3, organizations=2)
    first, second = library.organizations
    with Studio(library, organization_list=shape, dataset_list=shape) as studio:
        me = done(get(studio, "/api/me"))
        organizations = done(get(studio, "/api/auth/organization/list"))
        datasets = {o: done(get(studio, f"/api/organization/{o}/datasets")) for o in (first, label(second))}
        unknown = get(studio, "/api/organization/ecf33096/datasets").status_code
    if shape == "object":
        organizations, datasets = organizations["organizations"], {o: d["datasets"] for o, d in datasets.items()}
    assert (me["organizationId"], me["organizationName"]) == (label(first), "Local Studio")
    assert organizations == [
        {"id": label(first), "name": "Local Studio", "slug": "local-studio"},
        {"id": label(second), "name": "Local Studio 2", "slug": "local-studio-2"},
    ]
    one, two, three = map(label, library.datasets)
    assert [d["id"] for d in datasets[first]] == [one, three]
    assert [(d["id"], d["organizationId"]) for d in datasets[label(second)]] == [(two, label(second))]
    assert unknown == 404


def test_an_organization_that_is_forbidden_is_named_and_everything_in_it_is_refused():
    library = small(organizations=2, datasets=2)
    _, second = library.organizations
    one, two = library.datasets
    media = library.listing(two)[-1]["id"]
    with Studio(library, forbidden=[label(second)]) as studio:
        assert len(done(get(studio, "/api/auth/organization/list"))) == 2
        for address in (
            f"/api/organization/{second}/datasets",
            f"/api/dataset/{two}",
            f"/api/dataset/{two}/tags",
            f"/api/dataset/{two}/media",
            f"/api/media/{media}",
        ):
            response = get(studio, address)
            assert (response.status_code, response.json()["error"]) == (403, "Forbidden"), address
        assert get(studio, f"/api/dataset/{one}/media").status_code == 200


def test_a_key_may_see_the_default_organization_only_where_a_token_sees_all():
    library = small(organizations=2, datasets=2)
    first, second = library.organizations
    with Studio(library, key_scope="default") as studio:
        token = {"authorization": f"Bearer {studio.token}"}
        assert [o["id"] for o in done(get(studio, "/api/auth/organization/list"))] == [label(first)]
        assert get(studio, f"/api/organization/{second}/datasets").status_code == 403
        seen = requests.get(f"{studio.url}/api/auth/organization/list", headers=token, timeout=10).json()
        assert len(seen) == 2
        address = f"{studio.url}/api/organization/{second}/datasets"
        assert requests.get(address, headers=token, timeout=10).status_code == 200


@pytest.mark.parametrize(
    ("name", "address"),
    [
        ("me", "/api/me"),
        ("organizations", "/api/auth/organization/list"),
        ("datasets", "/api/organization/{organization}/datasets"),
        ("dataset", "/api/dataset/{dataset}"),
        ("tags", "/api/dataset/{dataset}/tags"),
        ("folder", "/api/folder/{folder}"),
        ("media", "/api/media/{media}"),
        ("versions", "/api/media/{media}/versions"),
        ("search", "/api/search"),
    ],
)
def test_a_deployment_without_an_endpoint_returns_404_for_it_and_for_nothing_else(name, address):
    library = small()
    dataset, outer, _, (top, *_) = parts_of(library)
    address = address.format(
        organization=library.user["organizationId"], dataset=dataset, folder=label(outer), media=top
    )
    with Studio(library) as studio:
        assert get(studio, address).status_code == 200
        studio.missing = {name}
        assert get(studio, address).status_code == 404
        assert len(listed(studio, dataset)) == 5


def test_an_endpoint_that_does_not_exist_cannot_be_missing():
    with pytest.raises(ValueError, match="no such endpoint: listing"):
        Studio(Library.empty(), missing=["listing"])


# -- reading -------------------------------------------------------------------------------------------------------


def test_the_tags_of_a_dataset_are_those_of_its_media():
    library = Library.generate(30, datasets=1)
    (dataset,) = library.datasets
    with Studio(library) as studio:
        tags = done(get(studio, f"/api/dataset/{label(dataset)}/tags"))["tags"]
        items = listed(studio, dataset)
        assert get(studio, "/api/dataset/ecf33096/tags").status_code == 404
    expected: dict[str, set[str]] = {}
    for item in items:
        for group, values in item["metadata"].get("tags", {}).items():
            expected.setdefault(group, set()).update(values)
    assert {group: set(values) for group, values in tags.items()} == expected
    assert len(expected) > 2


def test_one_folder_is_sent_as_it_is_documented_and_a_media_is_no_folder():
    library = small()
    dataset, outer, inner, (top, *_) = parts_of(library)
    with Studio(library) as studio:
        folder = done(get(studio, f"/api/folder/{inner}"))["folder"]
        assert get(studio, f"/api/folder/{top}").status_code == 404
        assert get(studio, "/api/folder/unknown").status_code == 404
    assert (folder["name"], folder["type"], folder["datasetId"]) == ("Inner", "folder", label(dataset))
    assert folder["path"] == f"{label(dataset)}.{label(outer)}.{label(inner)}"
    assert not {"folderItemCount", "folderPreviews"} & folder.keys()


@pytest.mark.parametrize("polygons", [True, False])
def test_one_media_is_sent_as_in_the_listing_with_its_dataset(polygons):
    library = Library.generate(20, datasets=1)
    (dataset,) = library.datasets
    with Studio(library, single_polygons=polygons) as studio:
        items = [item for item in listed(studio, dataset) if item["type"] != "folder"]
        for item in items:
            single = done(get(studio, f"/api/media/{item['id']}"))["media"]
            info = single.pop("dataset")
            if not polygons:
                for frame in item["frames"]:
                    for thing in frame["objects"]:
                        del thing["polygon"]
            assert single == item
            assert info.keys() == {"id", "name", "organizationId"}
            assert (info["id"], info["name"]) == (label(dataset), library.dataset(dataset).info["name"])
        assert get(studio, "/api/media/unknown").status_code == 404
    assert len(items) == 20


@pytest.mark.parametrize("generation", [2025, 2026])
def test_some_media_have_a_description_and_a_prompt_in_the_newer_generation(generation):
    library = Library.generate(60, datasets=1)
    (dataset,) = library.datasets
    with Studio(library, generation) as studio:
        metadata = [item["metadata"] for item in listed(studio, dataset) if item["type"] != "folder"]
        described = sum("description" in each for each in metadata)
        prompted = sum("prompt" in each for each in metadata)
        if generation == 2025:
            assert (described, prompted) == (0, 0)
            return
        assert 10 < described < 40
        assert 2 < prompted < 25
        sort = {"type": "image", "sortBy": "description", "sortDirection": "asc"}
        texts = [item["metadata"].get("description", "") for item in listed(studio, dataset, **sort)]
        assert texts == sorted(texts)
        assert texts[0] == "" != texts[-1]


@pytest.mark.parametrize(("counts", "outer", "inner"), [("items", 2, 1), ("below", 2, 1), ("zero", 0, 0)])
def test_a_folder_counts_what_it_holds(counts, outer, inner):
    library = small()
    dataset, _, inner_id, _ = parts_of(library)
    with Studio(library, folder_counts=counts) as studio:

        def found() -> dict[str, int]:
            return {i["name"]: i["folderItemCount"] for i in listed(studio, dataset, type="folder")}

        assert found() == {"Outer": outer, "Inner": inner}
        added = library.add_media(dataset, folder=inner_id)
        grown = counts != "zero"
        assert found() == {"Outer": outer + (counts == "below"), "Inner": inner + grown}
        library.soft_delete(added)
        assert found() == {"Outer": outer, "Inner": inner}
        assert {i["name"]: i["folderItemCount"] for i in studio.snapshot(dataset) if i["type"] == "folder"} == found()


def test_the_previews_of_a_folder_change_with_every_upload_into_it():
    library = small()
    dataset, _, inner, _ = parts_of(library)
    with Studio(library, previews=True) as studio:

        def found() -> dict[str, list[str]]:
            return {i["name"]: i["folderPreviews"] for i in listed(studio, dataset, type="folder")}

        for _ in range(6):
            before = found()
            media = library.add_media(dataset, folder=inner)
            assert found()["Inner"][0] == f"{studio.url}/blob/{media}"
            assert found()["Outer"] == before["Outer"]
            assert found()["Inner"] != before["Inner"]
        assert len(found()["Inner"]) == 4
        assert requests.get(found()["Inner"][0], timeout=10).headers["content-type"].startswith("image/svg+xml")
        studio.previews = False
        assert not any("folderPreviews" in item for item in listed(studio, dataset))


# -- changing ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("listed_too", [True, False])
@pytest.mark.parametrize("single", [True, False])
def test_deleting_is_soft_and_the_truth_does_not_depend_on_whether_it_shows(listed_too, single):
    library = Library.generate(30, datasets=1)
    (dataset,) = library.datasets
    items = [i for i in library.listing(dataset) if any(frame["objects"] for frame in i.get("frames", []))]
    top, other = items[0]["id"], items[1]["id"]
    version = library.add_version(top)
    library.select_version(top)
    with Studio(library, deleted_listed=listed_too, deleted_single=single) as studio:
        before = mirrored(studio, dataset)
        done(ask(studio, "DELETE", f"/api/media/{top}"))
        found = {item["id"]: item["status"] for item in listed(studio, dataset)}
        assert found.get(label(top)) == ("deleted" if listed_too else None)
        assert label(version) not in found
        assert found[label(other)] == "active"
        assert mirrored(studio, dataset) == before - {label(top)}
        for gone in (top, version):
            response = get(studio, f"/api/media/{gone}")
            assert response.status_code == (200 if single else 404)
            if single:
                media = response.json()["media"]
                things = [thing for frame in media["frames"] for thing in frame["objects"]]
                assert {each["status"] for each in [media, *media["frames"], *things]} == {"deleted"}


def test_deleting_a_folder_deletes_everything_in_it():
    library = small()
    dataset, outer, _, (top, *_) = parts_of(library)
    with Studio(library, deleted_listed=True) as studio:
        done(ask(studio, "DELETE", f"/api/folder/{outer}"))
        found = {item["id"]: item["status"] for item in listed(studio, dataset)}
        assert {i for i, status in found.items() if status == "active"} == {label(top)}
        assert len(found) == 5
        assert mirrored(studio, dataset) == {label(top)}


def test_listings_show_the_selected_version_and_no_other():
    library = small()
    dataset, outer, _, (_, original, _) = parts_of(library)
    with Studio(library) as studio:
        others = mirrored(studio, dataset) - {label(original)}
        second = library.add_version(original, "Brighter.")
        third = library.add_version(second)
        versions = done(get(studio, f"/api/media/{third}/versions"))["versions"]
        assert [v["id"] for v in versions] == [label(original), label(second), label(third)]
        assert [v["versionNumber"] for v in versions] == [1, 2, 3]
        assert [v["sourceMediaId"] for v in versions] == [None, label(original), label(second)]
        assert versions[1]["metadata"]["prompt"] == "Brighter."
        assert {v["path"].rpartition(".")[0] for v in versions} == {f"{label(dataset)}.{label(outer)}"}
        for wanted in (original, second, third, label(second)):
            done(ask(studio, "PATCH", f"/api/media/{wanted}/select-version"))
            assert ids(listed(studio, dataset)) == mirrored(studio, dataset) == others | {label(wanted)}
            for each in (original, second, third):
                assert done(get(studio, f"/api/media/{each}"))["media"]["status"] == "active"


def test_a_deleted_version_is_followed_by_the_newest_that_is_left():
    library = small()
    dataset, _, _, (original, *_) = parts_of(library)
    with Studio(library) as studio:
        others = mirrored(studio, dataset) - {label(original)}
        second, third = library.add_version(original), library.add_version(original)
        address = f"/api/media/{original}/versions"
        done(ask(studio, "DELETE", address, versionId=label(third)))
        assert mirrored(studio, dataset) == others | {label(second)}
        done(ask(studio, "DELETE", address, versionId=original))
        assert ids(listed(studio, dataset)) == others | {label(second)}
        assert [v["id"] for v in done(get(studio, address))["versions"]] == [label(second)]
        assert ask(studio, "PATCH", f"/api/media/{third}/select-version").status_code == 404
        assert ask(studio, "DELETE", address, versionId="unknown").status_code == 404
        studio.deleted_listed = True
        assert len(done(get(studio, address))["versions"]) == 3
        done(ask(studio, "DELETE", address, versionId=second))
        assert mirrored(studio, dataset) == others


def test_moving_a_folder_rewrites_every_path_below_it_in_one_step():
    library = small()
    dataset, outer, inner, (top, in_outer, in_inner) = parts_of(library)
    target = library.add_folder(dataset, "Archive")
    with Studio(library) as studio:
        before = {item["id"]: item for item in listed(studio, dataset)}
        done(ask(studio, "PATCH", f"/api/media/{outer}/move", {"destinationPath": f"{label(dataset)}.{label(target)}"}))
        after = {item["id"]: item for item in listed(studio, dataset)}
        start = f"{label(dataset)}.{label(target)}.{label(outer)}"
        assert after[label(outer)]["path"] == start
        assert after[label(in_outer)]["path"] == f"{start}.{label(in_outer)}"
        assert after[label(inner)]["path"] == f"{start}.{label(inner)}"
        assert after[label(in_inner)]["path"] == f"{start}.{label(inner)}.{label(in_inner)}"
        assert after[label(top)] == before[label(top)]
        assert after[label(target)] == {**before[label(target)], "folderItemCount": 1}
        assert [i["updatedAt"] for i in after.values()] == [before[i]["updatedAt"] for i in after]
        assert studio.snapshot(dataset) == sorted(after.values(), key=lambda i: (i["createdAt"], i["id"]))


def test_moving_a_media_keeps_it_in_its_dataset_and_refuses_what_cannot_be():
    library = small(datasets=2)
    dataset, outer, inner, (top, *_) = parts_of(library)
    other = list(library.datasets)[1]
    with Studio(library) as studio:

        def move(media: str, *labels: str) -> requests.Response:
            return ask(studio, "PATCH", f"/api/media/{media}/move", {"destinationPath": ".".join(map(label, labels))})

        moved = done(move(top, dataset, outer, inner))["media"]
        assert moved["path"] == ".".join(map(label, (dataset, outer, inner, top)))
        assert done(move(top, dataset))["media"]["path"] == f"{label(dataset)}.{label(top)}"
        assert move(top, other).status_code == 400
        assert move(outer, dataset, outer, inner).status_code == 400
        assert move(outer, dataset, outer).status_code == 400
        assert move(top, dataset, "unknown").status_code == 404
        assert move("unknown", dataset).status_code == 404
        assert (
            requests.patch(
                f"{studio.url}/api/media/{top}/move", data=b"{", headers={"x-api-key": studio.key}, timeout=10
            ).status_code
            == 400
        )


@pytest.mark.parametrize("stamped", [True, False])
def test_names_and_tags_change_over_http_with_or_without_the_time(stamped):
    library = small()
    dataset, outer, _, (top, *_) = parts_of(library)
    library.advance(hours=1)
    with Studio(library, stamped=stamped) as studio:
        before = {item["id"]: item for item in listed(studio, dataset)}
        sent = done(ask(studio, "PATCH", f"/api/media/{top}", {"name": "new.jpg", "metadata": {"tags": {"A": ["b"]}}}))
        done(ask(studio, "PATCH", f"/api/folder/{outer}", {"name": "Renamed", "metadata": {"icon": "star"}}))
        after = {item["id"]: item for item in listed(studio, dataset)}
        media, folder = after[label(top)], after[label(outer)]
        assert (media["name"], media["metadata"]["tags"]) == ("new.jpg", {"A": ["b"]})
        assert media["metadata"]["moderation"] == before[label(top)]["metadata"]["moderation"]
        assert {k: v for k, v in sent["media"].items() if k != "dataset"} == media
        assert (folder["name"], folder["metadata"]) == ("Renamed", {"icon": "star"})
        assert (media["updatedAt"] != before[label(top)]["updatedAt"]) is stamped
        assert (media["updatedById"] is not None) is stamped
        assert (folder["updatedAt"] != before[label(outer)]["updatedAt"]) is stamped
        assert [i for i in after if after[i] != before[i]] == [i for i in after if i in (label(top), label(outer))]
        assert done(get(studio, f"/api/dataset/{dataset}/tags"))["tags"]["A"] == ["b"]
        for body in ({}, [], {"name": 5}):
            assert ask(studio, "PATCH", f"/api/media/{top}", body).status_code == 400


def test_folders_are_made_over_http_and_used_again_on_request():
    library = small()
    dataset, outer, _, _ = parts_of(library)
    with Studio(library) as studio:

        def make(**body: object) -> requests.Response:
            return ask(studio, "POST", "/api/folder", {"datasetId": label(dataset), **body})

        top = done(make(name="Spring 2026"))["folder"]
        assert top["path"] == f"{label(dataset)}.{top['id']}"
        path = f"{label(dataset)}.{label(outer)}"
        below = done(make(name="Spring 2026", path=path))["folder"]
        assert below["path"] == f"{path}.{below['id']}"
        assert done(make(name="Spring 2026", path=path, reuse=True))["folder"]["id"] == below["id"]
        assert done(make(name="Spring 2026", path=path))["folder"]["id"] != below["id"]
        assert ids(listed(studio, dataset)) == mirrored(studio, dataset) >= {top["id"], below["id"]}
        assert make().status_code == 400
        assert make(name="x", path=f"{label(dataset)}.unknown").status_code == 404
        assert make(name="x", datasetId="unknown").status_code == 404


# -- together ------------------------------------------------------------------------------------------------------


def test_switches_hooks_and_faults_work_at_the_same_time():
    library = small()
    dataset, _, _, (top, *_) = parts_of(library)
    seen: list[tuple[str, str]] = []

    def after(request: Request, response: Item) -> Item:
        return {**response, "media": [{**item, "odd": True} for item in response["media"]]}

    with Studio(
        library,
        paths="holder",
        deleted_listed=True,
        limit_cap=2,
        before=lambda request: seen.append((request.method, request.path)),
        after=after,
        faults=Faults(["gzip"], share=1),
    ) as studio:
        done(ask(studio, "DELETE", f"/api/media/{top}"))
        found = [item for offset in (0, 2, 4) for item in listed(studio, dataset, offset=offset)]
        assert studio.faults is not None
        assert studio.faults.injected["gzip"] == len(seen) == len(studio.requests) == 4
    assert seen[0] == ("DELETE", f"/api/media/{top}")
    assert len(found) == 5
    assert all(item["odd"] for item in found)
    assert {item["path"] for item in found if item["id"] == label(top)} == {label(dataset)}
    assert sum(item["status"] == "deleted" for item in found) == 1


def test_the_local_studio_imports_nothing_of_the_rest_of_the_package():
    folder = Path(local_studio.__file__).parent
    for path in folder.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for name in names:
                assert not name.startswith("coreviz_source") or name.startswith("coreviz_source.local_studio."), path


def test_more_organizations_leave_the_library_as_it_is():
    one, two = Library.generate(30), Library.generate(30, organizations=2)
    assert list(one.datasets) == list(two.datasets)
    assert [one.snapshot(d) for d in one.datasets] == [two.snapshot(d) for d in two.datasets]
    assert len({d.info["organizationId"] for d in two.datasets.values()}) == len(two.organizations) == 2


def test_the_command_serves_the_organizations_and_the_deleted_items_that_it_was_asked_for(monkeypatch):
    found: list[Any] = []

    def instead_of_waiting(seconds: float) -> None:
        (studio,) = served
        (first, second), dataset = studio.library.organizations, next(iter(studio.library.datasets))
        media = next(item["id"] for item in listed(studio, dataset) if item["type"] == "image")
        done(ask(studio, "DELETE", f"/api/media/{media}"))
        found.extend(len(done(get(studio, f"/api/organization/{o}/datasets"))["datasets"]) for o in (first, second))
        found.append({item["status"] for item in listed(studio, dataset)})
        raise KeyboardInterrupt

    served: list[Studio] = []
    entered = Studio.__enter__
    monkeypatch.setattr(Studio, "__enter__", lambda self: (served.append(self), entered(self))[1])
    monkeypatch.setattr(cli_studio, "time", SimpleNamespace(sleep=instead_of_waiting))
    arguments = ["--media", "30", "--organizations", "2", "--show-deleted"]
    result = CliRunner().invoke(cli_studio.command, arguments)
    assert (result.exit_code, found) == (0, [2, 1, {"active", "deleted"}])


@pytest.mark.parametrize("generation", [2025, 2026])
def test_the_search_looks_at_names_and_captions(generation):
    library = small()
    dataset, _, _, (top, *_) = parts_of(library)
    library.add_frame(top)
    library.add_caption(top, "A ZEBRA in the snow.")
    with Studio(library, generation) as studio:
        assert ids(done(get(studio, "/api/search", q="zebra"))["media"]) == {label(top) if generation == 2026 else top}
        assert done(get(studio, "/api/search", q="no such animal"))["media"] == []
        if generation == 2026:
            (scored,) = listed(studio, dataset, q="zebra")
            assert (scored["id"], scored["_score"]) == (label(top), 1.0)


def test_a_video_is_a_file_that_players_can_jump_in():
    library = Library.generate(30, datasets=1)
    (dataset,) = library.datasets
    item = next(i for i in library.listing(dataset) if i["type"] == "video" and i["frames"])
    with Studio(library) as studio:
        address = f"{studio.url}/blob/{item['id']}"
        whole = requests.get(address, timeout=10)
        part = requests.get(address, headers={"Range": "bytes=4-99"}, timeout=10)
        rest = requests.get(address, headers={"Range": "bytes=100-"}, timeout=10)
    assert (whole.status_code, whole.headers["content-type"]) == (200, "video/mp4")
    assert whole.content[4:8] == b"ftyp"
    assert (part.status_code, part.content) == (206, whole.content[4:100])
    assert part.headers["content-range"] == f"bytes 4-99/{len(whole.content)}"
    assert (rest.status_code, rest.content) == (206, whole.content[100:])


def test_a_generated_library_does_not_contradict_itself():
    library = Library.generate(240)
    assert not [d.info["name"] for d in library.datasets.values() if re.search(r"\d{4}", d.info["name"])]
    for dataset in library.datasets:
        listed = library.listing(dataset)
        inside = Counter(item["path"].rpartition(".")[0] for item in listed)
        for folder in (item for item in library.snapshot(dataset) if item["type"] == "folder"):
            assert folder["folderItemCount"] == inside[library.media(folder["id"])["path"]]
        for item in (item for item in listed if item["type"] != "folder"):
            thing = item["name"].rpartition("/")[2].partition("-")[0]
            labels = [found["label"] for frame in item["frames"] for found in frame["objects"]]
            captions = [caption for frame in item["frames"] for caption in frame["captions"]]
            assert all(thing in caption["text"] or "empty view" in caption["text"] for caption in captions)
            assert not labels or any(label.endswith(f" {thing}") for label in labels)
            assert not any(re.search(r"\ba [aeiou]", caption["text"]) for caption in captions)
            assert all(caption["createdAt"] > item["createdAt"] for caption in captions)
            assert thing in PRODUCTS or "Product" not in item["metadata"]["tags"]


def test_a_caption_is_made_again_in_its_place_with_its_id_or_a_new_one_and_moderation_changes():
    library = Library.generate(12, 1)
    (dataset,) = library.datasets
    video = next(item for item in library.listing(dataset) if item["type"] == "video" and item["frames"][0]["captions"])
    frame = video["frames"][0]
    first = frame["captions"][0]["id"]
    library.add_caption(video["id"], "The second of the frame.", frame=0)
    assert library.recaption(video["id"], "Made again.", frame=0) == first
    other = library.recaption(video["id"], "By another.", frame=0, model="vision-9", keep_id=False)
    library.moderate(video["id"], "flagged", "violence")
    with Studio(library) as studio:
        (shown,) = (item for item in listed(studio, dataset) if item["id"] == label(video["id"]))
    one, two = shown["frames"][0]["captions"]
    assert other != first and (one["id"], one["text"], one["model"]) == (label(other), "By another.", "vision-9")
    assert one["frameId"] == shown["frames"][0]["id"] and two["text"] == "The second of the frame."
    moderation = shown["metadata"]["moderation"]
    assert (moderation["status"], moderation["categories"]) == ("flagged", ["violence"]) and moderation["moderatedAt"]
