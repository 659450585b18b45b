"""Fields that differ in every response are named, and can be left out of the comparison."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any

import pytest

from coreviz_source.changes import Fingerprint
from coreviz_source.local_studio import Studio
from coreviz_source.local_studio.ids import stamp
from tests.scenario import first_sync, frozen, media_of, run, run_sync
from tests.warehouse import load_ids, query, runs

#: What is signed below, by the API's names.
SIGNED = ["blob", "frames.blob", "frames.objects.blob", "frames.thumbnailBlob", "metadata.preview.url"]


def signing() -> Callable[..., Any]:
    """Signs every address again in every response."""
    number = count()

    def sign(item: dict[str, Any]) -> dict[str, Any]:
        signature = f"?signature={next(number):x}"
        signed = {k: v + signature if k in ("blob", "thumbnailBlob") and v else v for k, v in item.items()}
        for key in ("frames", "objects"):
            if key in item:
                signed[key] = [sign(child) for child in item[key]]
        return signed

    def after(request, answer):
        media = [sign(item) for item in answer["media"]]
        for item in media:
            item["metadata"] = {**item["metadata"], "preview": {"url": f"/p/{next(number)}", "size": 3}}
        return {**answer, "media": media}

    return after


def test_fields_that_change_at_every_request_are_named_and_nothing_is_written_once_they_are_ignored(pipeline):
    library = frozen(40)
    (dataset,) = library.datasets
    with Studio(library, after=signing()) as studio:
        assert run_sync(pipeline, studio).datasets[dataset].message == ""
        report = run_sync(pipeline, studio).datasets[dataset]
        assert report.changed >= 40
        assert f"what differs is {', '.join(SIGNED)}." in report.message
        assert f'ignored_fields = "{",".join(SIGNED)}"' in report.message
        assert "signed addresses" in runs(pipeline)[-1]["message"]
        run_sync(pipeline, studio, ignored_fields=SIGNED)
        before = load_ids(pipeline)
        quiet = run_sync(pipeline, studio, ignored_fields=",".join(SIGNED)).datasets[dataset]
        assert (quiet.changed, quiet.message) == (0, "")
        assert load_ids(pipeline) == before
        # what is not ignored still counts
        library.add_caption(media_of(library, frames=1)[0]["id"], "New.")
        assert run_sync(pipeline, studio, ignored_fields=SIGNED).datasets[dataset].changed == 1
    assert query(pipeline, "SELECT count(*) FROM captions WHERE text = 'New.'") == [(1,)]


@pytest.mark.parametrize(("changed", "moved", "warned"), [(40, False, True), (40, True, False), (15, False, False)])
def test_only_most_media_at_once_without_their_updated_at_are_suspicious(pipeline, changed, moved, warned):
    library = frozen(40)
    (dataset,) = library.datasets
    with Studio(library) as studio:
        first_sync(pipeline, studio)
        library.advance(minutes=1)
        for media in media_of(library)[:changed]:
            with library.changing(media["id"]) as item:
                item["name"] = f"renamed-{item['name']}"
                item["updatedAt"] = stamp(library.clock()) if moved else item["updatedAt"]
        report = run_sync(pipeline, studio).datasets[dataset]
    assert report.changed == changed
    assert ("what differs is name." in report.message) is warned


def test_the_hash_is_that_of_the_raw_bytes_unless_something_is_ignored():
    plain = Fingerprint(["media"])
    assert plain(b"not even JSON") != plain(b"not even JSON ")
    ignoring = Fingerprint(["media"], ["blob", "frames.blob"])
    first = b'{"id":"1","blob":"a","frames":[{"blob":"b","text":"x"},7],"name":"n"}'
    assert ignoring(first) == ignoring(first.replace(b'"a"', b'"c"').replace(b'"b"', b"null"))
    assert ignoring(first) != ignoring(first.replace(b'"x"', b'"y"'))
    assert ignoring(b'{"id":"1","frames":{"blob":1}}') == ignoring(b'{"id":"1","frames":{}}')
    assert ignoring(b"[]") != 0


def test_a_name_that_no_item_has_is_a_warning_once_everything_was_listed(pipeline, caplog):
    library = frozen(40, datasets=2)
    for item in media_of(library, list(library.datasets)[1]):
        with library.changing(item["id"]) as changed:
            changed["onlyThere"] = {"deep": 1}
    names = ["frames.blob", "onlyThere.deep", "folderItemCount", "frame.blob"]
    said = "ignored_fields names frame.blob, which no listed media item or folder has."
    with Studio(library) as studio:
        run(pipeline, studio, ignored_fields=names)
        assert sum(record.getMessage().startswith("ignored_fields names") for record in caplog.records) == 1
        assert said in caplog.text
        # a window does not show what the rest of the library has
        assert run_sync(pipeline, studio, ignored_fields=names).warnings == []
        (warning,) = run_sync(pipeline, studio, ignored_fields=names, reconcile_every="0").warnings
        assert warning.startswith(said)
