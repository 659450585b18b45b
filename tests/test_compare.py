"""A listing compared with the stored state, in memory, without a server or a warehouse."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from coreviz_source.changes import Changes, Fingerprint, Mode, plan
from coreviz_source.errors import SafetyError, TooManyDeletesError
from coreviz_source.listing.listing import Proof
from coreviz_source.listing.raw_item import RawItem
from coreviz_source.listing.window import Window
from coreviz_source.loading.configuration import resolve
from coreviz_source.selection import Selection
from coreviz_source.settings import Settings
from coreviz_source.warehouse.state import LastRuns, StoredHashes

NOW = datetime(2026, 1, 31, tzinfo=timezone.utc)
DATASET = "dataset"
ALL = frozenset(Selection().marks)


def ago(**span: float) -> datetime:
    return NOW - timedelta(**span)


def settings(**given: Any) -> Settings:
    return replace(resolve(keyless=True), **given)


def item(item_id: str, created: datetime | None = NOW, **fields: Any) -> RawItem:
    sent = {"id": item_id, "frames": [], **fields}
    return RawItem.from_json(json.dumps({**sent, "createdAt": created.isoformat()} if created else sent).encode())


def folder(item_id: str, **fields: Any) -> RawItem:
    return RawItem.from_json(
        json.dumps({"id": item_id, "type": "folder", "createdAt": NOW.isoformat(), **fields}).encode()
    )


@dataclass
class Listed:
    """As much of a listing as a comparison asks for."""

    window: Window = field(default_factory=Window)
    proof: Proof = field(default_factory=lambda: Proof(complete=True))


@dataclass
class Held:
    """A warehouse in memory: what it holds of one dataset, and how often it was asked."""

    media: dict[str, tuple[int, datetime | None]] = field(default_factory=dict)
    held_folders: dict[str, int] = field(default_factory=dict)
    half: set[str] = field(default_factory=set)
    framed: set[str] = field(default_factory=set)
    sources: dict[str, str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    read_since: list[datetime | None] = field(default_factory=list)

    def stored_media(self, dataset_id: str, since: datetime | None = None) -> list[tuple[str, int]]:
        assert dataset_id == DATASET
        self.read_since.append(since)
        return [(i, h) for i, (h, at) in self.media.items() if since is None or (at is not None and at >= since)]

    def folders(self, dataset_id: str) -> StoredHashes:
        assert dataset_id == DATASET
        return StoredHashes(self.held_folders.items())

    def hashes(self, dataset_id: str, ids: list[str]) -> dict[str, int]:
        assert dataset_id == DATASET
        self.asked += ids
        return {i: self.media[i][0] for i in ids if i in self.media}

    def doubtful(self, dataset_id: str) -> set[str]:
        assert dataset_id == DATASET
        return self.half

    def missing_ids(
        self, known: StoredHashes, table: str, dataset_id: str, covered: Callable[[datetime | None], bool]
    ) -> list[str]:
        assert dataset_id == DATASET
        rows = {"media": self.media, "folders": {i: (h, None) for i, h in self.held_folders.items()}}[table]
        return [i for i, (_, created) in rows.items() if known.is_missing(i) and covered(created)]

    def versions(self, dataset_id: str, ids: list[str]) -> list[tuple[str, str | None, datetime | None]]:
        assert dataset_id == DATASET
        return [
            (i, self.sources.get(i), self.media[i][1] if i in self.media else None)
            for i in self.media.keys() | self.sources.keys()
            if i in ids or self.sources.get(i) in ids
        ]

    def count(self, dataset_id: str) -> int:
        assert dataset_id == DATASET
        return len(self.media)

    def has_frames_of(self, dataset_id: str, is_listed: Callable[[str], bool]) -> bool:
        assert dataset_id == DATASET
        return any(map(is_listed, self.framed))

    def has_rows(self, dataset_id: str) -> bool:
        assert dataset_id == DATASET
        return bool(self.media)


def holding(*items: RawItem, selected: frozenset[str] = ALL) -> Held:
    """A warehouse that was loaded with some items."""
    fingerprint = Fingerprint(selected)
    held = Held()
    for one in items:
        if one.is_folder:
            held.held_folders[one.id] = fingerprint(one.raw, True)
        else:
            held.media[one.id] = (fingerprint(one.raw), one.created_at)
    return held


def comparison(
    held: Held,
    mode: Mode = "complete",
    listing: Listed | None = None,
    selected: frozenset[str] = ALL,
    **given: Any,
) -> Changes:
    changes = Changes(held, DATASET, listing or Listed(), mode, Selection(selected), settings(**given))  # type: ignore[arg-type]
    changes.read_stored()
    return changes


def counted(changes: Changes) -> tuple[int, ...]:
    """What the report says: listed, new, changed, unchanged."""
    return (changes.listed, changes.new, changes.changed, changes.unchanged)


def test_new_changed_and_unchanged_media_and_folders_are_told_apart():
    held = holding(item("same"), item("other", name="before"), folder("f same"), folder("f other", name="before"))
    changes = comparison(held)
    first = changes.compare([item("same"), item("other", name="after"), folder("f same")])
    second = changes.compare([folder("f other", name="after"), item("new"), folder("f new")])
    assert [[s.id for s in sources] for sources in (*first, *second)] == [["other"], [], ["new"], ["f other", "f new"]]
    assert counted(changes) == (6, 2, 2, 2)
    assert (changes.listed_media, changes.known_media, changes.changed_media) == (3, 2, 1)
    (other,) = first[0]
    assert other.raw == item("other", name="after").raw
    assert other.content_hash == f"{Fingerprint(ALL)(other.raw):016x}"
    assert [s.id for s in changes.samples] == ["other"]
    gone = changes.deletions(0.2)
    assert (gone.media, gone.folders, gone.orphans) == ([], [], [])


def test_a_resync_writes_what_is_unchanged_too_and_is_no_sign_of_unstable_answers():
    media = [item(f"m{n}") for n in range(30)]
    changes = comparison(holding(*media, folder("f")), resync=True)
    written = changes.compare([*media, folder("f")])
    assert [len(sources) for sources in written] == [30, 1]
    assert counted(changes) == (31, 0, 31, 0)
    assert not changes.most_changed


def test_what_a_crash_left_half_written_is_written_again_and_is_no_sign_of_a_change():
    held = holding(item("half"), item("whole"))
    held.half = {"half", "only its children"}
    changes = comparison(held)
    written, _ = changes.compare([item("half"), item("whole"), item("only its children")])
    assert [s.id for s in written] == ["half", "only its children"]
    assert counted(changes) == (3, 0, 2, 1)
    assert (changes.known_media, changes.changed_media, changes.samples) == (3, 0, [])


def test_without_the_table_media_everything_is_written_and_nothing_is_missing():
    selected = ALL - {"media", "folders"}
    held = holding(item("same"), item("gone"), folder("f"), selected=selected)
    changes = comparison(held, selected=selected)
    media, folders = changes.compare([item("same"), folder("f")])
    assert [s.id for s in media + folders] == ["same", "f"]
    assert changes.new == 2
    assert changes.deletions(1) == comparison(Held()).deletions(1)
    assert held.asked == []


def test_an_item_older_than_the_window_is_compared_with_its_stored_hash():
    old = [item("old same", ago(days=9)), item("old other", ago(days=9)), item("undated", None)]
    held = holding(*old, item("inside"), item("never asked", ago(days=20)))
    listing = Listed(Window(oldest=ago(days=7)))
    changes = comparison(held, "window", listing)
    sent = [*old[:1], item("old other", ago(days=9), name="x"), old[2], item("inside"), item("old new", ago(days=8))]
    written, _ = changes.compare([*sent, folder("f")])
    assert [s.id for s in written] == ["old other", "old new"]
    assert held.asked == ["old same", "old other", "undated", "old new"]
    assert counted(changes) == (6, 2, 1, 3)
    assert (changes.listed_media, changes.known_media, changes.changed_media) == (5, 4, 1)
    # of a large warehouse no more than the window is read
    assert held.read_since == [ago(days=7)]
    # what is older was not listed whole
    assert changes.deletions(1).media == []


def test_exactly_at_the_edge_of_the_window_an_item_is_inside():
    held = holding(item("edge", ago(days=7)), item("gone at the edge", ago(days=7)), item("beyond", ago(days=7.1)))
    changes = comparison(held, "window", Listed(Window(oldest=ago(days=7))))
    changes.compare([item("edge", ago(days=7))])
    assert held.asked == []
    assert changes.unchanged == 1
    assert changes.deletions(1).media == ["gone at the edge"]


def test_a_window_that_became_the_whole_is_compared_with_everything_and_forgets_nothing_it_saw():
    media = [item(f"m{n}", ago(days=n)) for n in range(20)]
    held = holding(*media, item("half", ago(days=30)), folder("f gone"))
    held.half = {"half"}
    listing = Listed(Window(oldest=ago(days=7)))
    changes = comparison(held, "window", listing)
    assert changes.mode == "window"
    assert changes.compare(media[:3]) == ([], [])
    listing.window = Window()
    assert changes.compare(media[3:19]) == ([], [])
    assert changes.mode == "complete"
    written, _ = changes.compare([item("half", ago(days=30))])
    assert [s.id for s in written] == ["half"]
    gone = changes.deletions(1)
    assert (gone.media, gone.folders) == (["m19"], ["f gone"])
    assert held.asked == []


def test_a_window_without_the_table_media_can_become_the_whole():
    listing = Listed(Window(oldest=ago(days=7)))
    old = item("old", ago(days=9))
    changes = comparison(holding(old, selected=ALL - {"media"}), "window", listing, ALL - {"media"})
    assert [s.id for s in changes.compare([item("a"), old])[0]] == ["a", "old"]
    listing.window = Window()
    assert [s.id for s in changes.compare([item("b", ago(days=9))])[0]] == ["b"]
    assert (changes.mode, changes.deletions(1).media) == ("complete", [])


@pytest.mark.parametrize("mode", ["slice", "sample"])
def test_a_slice_takes_what_is_inside_and_removes_inside_only(mode):
    window = Window(ago(days=9), ago(days=3))
    media = [item(f"m{n}", ago(days=n)) for n in range(12)]
    held = holding(*media, item("undated", None))
    changes = comparison(held, mode, Listed(window))
    seen = [*media[:5], *media[6:], item("new outside"), item("undated", None)]
    assert changes.compare(seen) == ([], [])
    assert changes.listed == 5
    assert changes.deletions(1).media == (["m5"] if mode == "slice" else [])
    assert changes.deletions(1).folders == []


def test_a_slice_of_a_listing_that_had_to_read_everything_stays_a_slice():
    media = [item(f"m{n}", ago(days=n)) for n in range(6)]
    listing = Listed(Window(newest=ago(days=3)))
    changes = comparison(holding(*media), "slice", listing)
    listing.window = Window()
    changes.compare(media[:5])
    assert (changes.mode, changes.listed, changes.deletions(1).media) == ("slice", 1, ["m5"])


@pytest.mark.parametrize(
    ("mode", "proven"), [("complete", False), ("window", False), ("slice", False), ("sample", True)]
)
def test_without_a_proof_nothing_is_missing(mode, proven):
    held = holding(*(item(f"m{n}") for n in range(3)), folder("f"))
    held.half = {"orphan"}
    window = Window(oldest=ago(days=7)) if mode == "window" else Window()
    changes = comparison(held, mode, Listed(window, Proof(proven)))
    changes.compare([])
    assert changes.deletions(1) == comparison(Held()).deletions(1)


def test_what_only_children_name_is_removed_once_and_in_order():
    held = holding(item("here"), item("gone and half"))
    held.half = {"z orphan", "a orphan", "here", "gone and half"}
    changes = comparison(held)
    changes.compare([item("here")])
    gone = changes.deletions(1)
    assert gone.media == ["gone and half"]
    assert gone.orphans == ["a orphan", "z orphan"]


@pytest.mark.parametrize(
    ("held", "gone", "max_deletes", "allowed"),
    [
        (12, 10, 0.2, 10),
        (12, 11, 0.2, 10),
        (12, 12, 1, 12),
        (100, 20, 0.2, 20),
        (100, 21, 0.2, 20),
        (109, 21, 0.2, 21),
        (109, 22, 0.2, 21),
        (100, 1, 0, 0),
        (100, 0, 0, 0),
        (100, 100, 1, 100),
    ],
)
def test_the_brake_holds_from_the_first_media_too_many(held, gone, max_deletes, allowed):
    media = [item(f"m{n:03d}") for n in range(held)]
    changes = comparison(holding(*media))
    changes.compare(media[gone:])
    if gone <= allowed:
        assert changes.deletions(max_deletes).media == [f"m{n:03d}" for n in range(gone)]
        return
    with pytest.raises(TooManyDeletesError) as failure:
        changes.deletions(max_deletes)
    assert failure.value.missing == gone
    assert str(failure.value) == (
        f"{gone} of {held} media items {'is' if gone == 1 else 'are'} missing from the API. "
        f"One run removes at most {allowed}. "
        "[dataset: dataset] Nothing was removed. If they were really deleted, run once with a larger `max_deletes` "
        "(1 removes any number)."
    )


@pytest.mark.parametrize(
    ("stored", "missing", "max_deletes", "allowed"),
    [(12, 10, 0.2, 10), (12, 11, 0.2, 10), (100, 20, 0.2, 20), (100, 21, 0.2, 20), (100, 100, 1, 100), (3, 1, 0, 0)],
)
def test_folders_have_a_brake_of_their_own(stored, missing, max_deletes, allowed):
    folders = [folder(f"f{n:03d}") for n in range(stored)]
    media = [item(f"m{n:03d}") for n in range(200)]
    changes = comparison(holding(*folders, *media))
    # media that may be removed leave no room for more folders
    changes.compare([*folders[missing:], *media[5 if max_deletes else 0 :]])
    if missing <= allowed:
        assert changes.deletions(max_deletes).folders == [f"f{n:03d}" for n in range(missing)]
        return
    with pytest.raises(TooManyDeletesError) as failure:
        changes.deletions(max_deletes)
    assert str(failure.value) == (
        f"{missing} of {stored} folders {'is' if missing == 1 else 'are'} missing from the API. "
        f"One run removes at most {allowed}. "
        "[dataset: dataset] Nothing was removed. If they were really deleted, run once with a larger `max_deletes` "
        "(1 removes any number)."
    )


def bare(item_id: str) -> RawItem:
    """A media as an API sends it that has stopped to send frames."""
    return RawItem.from_json(json.dumps({"id": item_id, "createdAt": NOW.isoformat()}).encode())


def test_frames_that_are_sent_no_more_are_an_error_and_not_a_removal():
    held = holding(item("a"), item("b"))
    held.framed = {"a"}
    changes = comparison(held)
    changes.compare([bare("a"), bare("b")])
    for check in (changes.check_frames, lambda: changes.deletions(1)):
        with pytest.raises(SafetyError) as failure:
            check()
        assert str(failure.value) == (
            "No media item in the API's response has `frames`, but frames of them are stored in the warehouse. "
            "[dataset: dataset] "
            "Nothing was removed. If the API really has no frames any more, run once with `resync`, which loads what "
            "it sends."
        )


@pytest.mark.parametrize(
    ("sent", "framed", "selected", "resync"),
    [
        ([item("a"), bare("b")], {"a", "b"}, ALL, False),
        ([bare("a")], {"a"}, ALL, True),
        ([bare("a")], {"a"}, ALL - {"frames"}, False),
        ([bare("a")], {"b"}, ALL, False),
        ([bare("new")], {"a"}, ALL, False),
        ([], {"a"}, ALL, False),
        ([RawItem.from_json(b'{"id": "a", "frames" : null}')], {"a"}, ALL, False),
        ([RawItem.from_json(b'{"id": "a", "frames"\\n:[]}'.replace(b"\\n", b"\n"))], {"a"}, ALL, False),
    ],
)
def test_it_is_no_error_that_some_have_no_frames(sent, framed, selected, resync):
    held = holding(item("a"), item("b"), selected=selected)
    held.framed = framed
    changes = comparison(held, selected=selected, resync=resync)
    changes.compare(sent)
    changes.check_frames()


def test_frames_in_an_earlier_batch_are_remembered():
    held = holding(item("a"), item("b"))
    held.framed = {"b"}
    changes = comparison(held)
    changes.compare([item("a")])
    changes.compare([bare("b")])
    changes.check_frames()


@pytest.mark.parametrize(
    ("known", "changed", "most"),
    [(19, 19, False), (20, 20, True), (20, 11, True), (20, 10, False), (40, 20, False), (40, 21, True)],
)
def test_answers_look_unstable_when_most_of_many_known_media_changed(known, changed, most):
    media = [item(f"m{n}") for n in range(known)]
    changes = comparison(holding(*media))
    sent = [item(f"m{n}", name="after") for n in range(changed)] + media[changed:]
    changes.compare([*sent, *(item(f"new {n}") for n in range(50)), *(folder(f"f{n}") for n in range(50))])
    assert changes.most_changed is most


def test_a_few_changed_media_are_kept_as_samples_fewer_and_fewer():
    media = [item(f"m{n}") for n in range(1, 21)]
    changes = comparison(holding(*media))
    changes.compare([item(f"m{n}", name="after") for n in range(1, 21)])
    assert [s.id for s in changes.samples] == ["m1", "m2", "m4", "m8", "m16"]


def test_tombstones_are_needed_where_the_warehouse_holds_something_that_may_have_children():
    assert comparison(holding(item("a"))).needs_tombstones
    assert not comparison(Held()).needs_tombstones
    assert comparison(holding(item("a")), selected=frozenset({"media", "media_tags"})).needs_tombstones
    assert not comparison(holding(item("a")), selected=frozenset({"media", "folders"})).needs_tombstones


DAY = timedelta(days=1)


@pytest.mark.parametrize(
    ("given", "last", "planned"),
    [
        ({}, LastRuns(), ("complete", Window())),
        ({}, LastRuns(listed=ago(hours=1)), ("complete", Window())),
        ({}, LastRuns(complete=ago(hours=1)), ("complete", Window())),
        ({}, LastRuns(ago(hours=1), ago(hours=2)), ("window", Window(oldest=ago(hours=1, days=7)))),
        ({}, LastRuns(ago(hours=1), ago(hours=23.99)), ("window", Window(oldest=ago(hours=1, days=7)))),
        ({}, LastRuns(ago(hours=1), ago(hours=24)), ("complete", Window())),
        ({}, LastRuns(ago(hours=-5), ago(hours=2)), ("window", Window(oldest=ago(days=7)))),
        ({}, LastRuns(ago(hours=-5), ago(hours=-5)), ("window", Window(oldest=ago(days=7)))),
        # a clock that was days ahead does not put off the next complete listing for so long
        ({}, LastRuns(ago(days=-3), ago(days=-3)), ("complete", Window())),
        ({"lookback": timedelta(0)}, LastRuns(ago(hours=1), ago(hours=2)), ("window", Window(oldest=ago(hours=1)))),
        ({"lookback": DAY * 900_000}, LastRuns(ago(hours=1), ago(hours=2)), ("complete", Window())),
        ({"resync": True}, LastRuns(ago(hours=1), ago(hours=2)), ("complete", Window())),
        ({"reconcile_every": timedelta(0)}, LastRuns(ago(hours=1), ago(hours=-2)), ("complete", Window())),
        ({"reconcile_every": DAY * 30}, LastRuns(ago(days=1), ago(days=29)), ("window", Window(oldest=ago(days=8)))),
        ({"date_from": ago(days=9)}, LastRuns(ago(hours=1), ago(hours=2)), ("slice", Window(ago(days=9), None))),
        ({"date_to": ago(days=9), "resync": True}, LastRuns(), ("slice", Window(None, ago(days=9)))),
        ({"max_media": 0}, LastRuns(ago(hours=1), ago(hours=2)), ("sample", Window())),
        (
            {"max_media": 5, "date_from": ago(days=9), "date_to": ago(days=8)},
            LastRuns(),
            ("sample", Window(ago(days=9), ago(days=8))),
        ),
    ],
)
def test_which_part_is_listed_follows_from_the_settings_and_the_runs_before(given, last, planned):
    assert plan(settings(**given), last, NOW) == planned


SENT = {
    "id": "a",
    "blob": "x?1",
    "metadata": {"preview": {"url": "1", "size": 3}, "other": 1},
    "frames": [{"blob": "x?1", "objects": [{"blob": "1", "label": "ball"}, "none"]}, 7],
}


def mark(value: Any, *path: str) -> Any:
    """The same with another value at a path, in every element of the lists on the way."""
    if isinstance(value, list):
        return [mark(one, *path) for one in value]
    if not isinstance(value, dict):
        return value
    return {**value, path[0]: mark(value.get(path[0]), *path[1:]) if path[1:] else "another"}


@pytest.mark.parametrize(
    "name", ["blob", "metadata", "metadata.preview.url", "frames", "frames.blob", "frames.objects.blob"]
)
def test_an_ignored_field_is_left_out_of_the_comparison_and_no_other(name):
    def sent(value: Any) -> bytes:
        return json.dumps(value).encode()

    ignoring = Fingerprint(ALL, ("id.x", name, "nowhere"))
    other = mark(SENT, *name.split("."))
    assert ignoring(sent(SENT)) == ignoring(sent(other))
    assert Fingerprint(ALL)(sent(SENT)) != Fingerprint(ALL)(sent(other))
    for path in ("id", "metadata.other", "metadata.preview.size", "frames.objects.label", "new"):
        assert (ignoring(sent(SENT)) == ignoring(sent(mark(SENT, *path.split("."))))) is path.startswith(f"{name}.")
    assert Fingerprint(ALL, [name])(b"7") == Fingerprint(ALL, [name])(b" 7")


def test_a_media_of_which_only_an_ignored_field_changed_is_unchanged():
    held = Held({"a": (Fingerprint(ALL, ["blob"])(item("a", blob="x?1").raw), NOW)})
    changes = comparison(held, ignored_fields=("blob",))
    assert changes.compare([item("a", blob="x?2")]) == ([], [])
    assert changes.unchanged == 1


def test_a_fingerprint_depends_on_the_selection_and_not_on_its_order():
    raw = b'{"id": "a"}'
    assert Fingerprint(["media", "frames"])(raw) == Fingerprint(["frames", "media"])(raw)
    assert len({Fingerprint(names)(raw) for names in (["media"], ["media", "frames"], [], ["media frames", "x"])}) == 4
    assert Fingerprint(ALL)(raw) != Fingerprint(ALL)(raw + b" ")


PREVIEWS = ("preview", "previews", "folderPreviews", "previewBlobs", "PREVIEW_URLS", "thumbnails", "thumbnailBlob")


@pytest.mark.parametrize("name", PREVIEWS)
def test_previews_of_a_folder_never_count_as_a_change_wherever_they_are_and_on_media_they_do(name):
    sent = [folder("f", **{name: value}) for value in ([{"blob": "a"}], ["b"], {"x": 1}, None)]
    sent += [folder("f"), folder("f", metadata={})]
    hashes = [Fingerprint(ALL)(one.raw, True) for one in sent]
    assert len(set(hashes[:5])) == 1
    assert hashes[5] != hashes[0] == Fingerprint(ALL, ["blob"])(folder("f", blob="x").raw, True)
    inside = [folder("f", metadata={name: value, "kept": [{name: value, "x": 1}]}) for value in (1, 2)]
    assert len({Fingerprint(ALL)(one.raw, True) for one in inside}) == 1
    held = holding(sent[0])
    changes = comparison(held)
    assert changes.compare([sent[1]]) == ([], [])
    assert changes.compare([folder("f", **{name: 1}, folderItemCount=4)])[1][0].id == "f"
    media = [item("m", **{name: value}).raw for value in (1, 2)]
    assert Fingerprint(ALL)(media[0]) != Fingerprint(ALL)(media[1])


def test_the_fingerprint_of_a_media_item_is_a_hash_of_its_bytes_which_are_not_decoded(monkeypatch):
    monkeypatch.setattr("coreviz_source.changes.decode_json", None)
    raw = b'{"id": "a", "previews": 1}'
    assert Fingerprint(ALL)(raw) != Fingerprint(ALL)(raw + b" ")


def test_an_item_that_is_shown_as_deleted_counts_as_not_listed_and_is_its_own_evidence():
    held = holding(item("a"), item("b"), item("c"), folder("f"), folder("g"))
    held.half = {"orphan", "shown orphan"}
    changes = comparison(held)
    sent = [
        item("a"),
        item("b", status="deleted"),
        folder("f", status="deleted"),
        folder("g"),
        item("never loaded", status="deleted"),
    ]
    assert changes.compare([*sent, item("shown orphan", status="deleted")]) == ([], [])
    assert counted(changes) == (2, 0, 0, 2)
    deletions = changes.deletions(1)
    assert (deletions.media, deletions.orphans, deletions.folders) == (["b", "c"], ["orphan", "shown orphan"], ["f"])
    assert deletions.without_evidence == ["c", "orphan"]
    assert changes.example == "a"


def test_the_example_is_the_id_as_the_api_sent_it():
    changes = comparison(Held())
    assert changes.example is None
    changes.compare([folder("f"), item("deleted", status="deleted")])
    assert changes.example is None
    changes.compare([item("7938B58DD60A43D8953F4F56B3CD8410")])
    assert changes.example == "7938B58DD60A43D8953F4F56B3CD8410"
    changes.compare([RawItem.from_json(b'{"createdAt": 1}')])
    assert changes.example is None


@pytest.mark.parametrize("made_from", [True, False])
def test_versions_that_replace_each_other_do_not_pull_the_brake(made_from):
    media = [item(f"m{n:03d}") for n in range(60)]
    changes = comparison(holding(*media))
    source = "m{:03d}" if made_from else "unknown {}"
    changes.compare(media[40:] + [item(f"v{n:03d}", sourceMediaId=source.format(n)) for n in range(40)])
    if made_from:
        assert len(changes.deletions(0.2).media) == 40
    else:
        with pytest.raises(SafetyError, match="40 of 60 media items are missing"):
            changes.deletions(0.2)


def test_an_item_that_is_no_object_but_holds_a_source_is_compared_like_any_other():
    changes = comparison(holding(item("a")))
    raw = b'[{"sourceMediaId": "b"}]'
    assert changes.compare([RawItem.from_json(raw), item("a")])[0][0].raw == raw


@pytest.mark.parametrize("size", [0, 1, 2, 15, 16, 1000])
def test_stored_hashes_are_found_for_every_id_and_only_for_those_that_are_stored_once(size):
    ids = [f"id {number} \U0001f4f7 é" if number % 3 else f"{number:032x}" for number in range(size)]
    twice = ids[::7]
    stored = StoredHashes([*((i, n + 1) for n, i in enumerate(ids)), *((i, 9) for i in twice)])
    assert len(stored) == stored.unlisted == size
    assert [stored.hash_of(i) for i in ids] == [0 if i in twice else n + 1 for n, i in enumerate(ids)]
    others = ["", "0", "\0", *(f"{number:032x}" for number in range(10_000, 10_050))]
    assert [stored.mark_listed(i) for i in others] == [None] * len(others)
    listed = ids[::2]
    assert [stored.mark_listed(i) for i in listed] == [stored.hash_of(i) for i in listed]
    assert [i for i in ids if stored.was_listed(i)] == listed
    assert [i for i in ids if stored.is_missing(i)] == ids[1::2]
    assert stored.unlisted == size - len(listed)
