"""The local Studio over HTTP, as a client that is not ours sees it: each endpoint, each switch, each generation."""

from __future__ import annotations

from typing import Any

import pytest
import requests

from coreviz_source.local_studio import Library, Studio

Item = dict[str, Any]


def get(studio: Studio, address: str, /, **params: object) -> requests.Response:
    return requests.get(studio.url + address, params=params, headers={"x-api-key": studio.key}, timeout=10)


def listed(studio: Studio, dataset: str, **params: object) -> list[Item]:
    given = {"limit": 500, **({"recursive": "true"} if studio.generation == 2026 else {}), **params}
    answer = get(studio, f"/api/dataset/{dataset}/media", **given)
    assert answer.status_code == 200, answer.text
    items: list[Item] = answer.json()["media"]
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
