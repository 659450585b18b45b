"""Servers that page badly, each imitating a defect of a real one. They are `after` and `before` hooks of a Studio."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from starlette.responses import Response

from coreviz_source.local_studio import Library, Request

Answer = dict[str, Any]
Hook = Callable[[Request, Answer], Any]


def _page(answer: Answer, **changes: Any) -> Answer:
    return {**answer, "pagination": {**answer["pagination"], **changes}}


def both(*hooks: Hook) -> Hook:
    """Several defects at once, each of them applied to what the one before made of the answer."""

    def after(request: Request, answer: Answer) -> Answer:
        for hook in hooks:
            answer = hook(request, answer)
        return answer

    return after


def silent_cap(size: int) -> Hook:
    """Sends at most so many media and repeats the limit asked for, as servers do that cap behind their own back."""

    def after(request: Request, answer: Answer) -> Answer:
        return _page({**answer, "media": answer["media"][:size]}, limit=int(request.params.get("limit", 10)))

    return after


def short_pages(seed: int = 1) -> Hook:
    """Sends fewer media than asked for, as servers do that bound the size of an answer."""
    dice = random.Random(seed)
    return lambda request, answer: {**answer, "media": answer["media"][: dice.randint(1, 20)]}


def one_empty_page(at: int = 3) -> Hook:
    """Sends one empty page in the middle, as caches do."""
    return lambda request, answer: {**answer, "media": []} if request.number == at else answer


def one_repeated_page(at: int = 3) -> Hook:
    """Sends the first page once more in the middle, as proxies with a cache that ignores parameters do."""
    first: list[Any] = []

    def after(request: Request, answer: Answer) -> Answer:
        if request.offset == 0 or not first:
            first[:] = [answer["media"]]
        return {**answer, "media": first[0]} if request.number == at else answer

    return after


def always_the_first_page(request: Request, answer: Answer) -> Answer:
    """Ignores the offset."""
    if request.offset == 0:
        _FIRST[request.dataset_id or ""] = answer["media"]
    return {**answer, "media": _FIRST.get(request.dataset_id or "", answer["media"])}


_FIRST: dict[str, Any] = {}


def has_more(value: Any) -> Hook:
    """Says always the same of `hasMore`; `None` leaves it out."""

    def after(request: Request, answer: Answer) -> Answer:
        changed = _page(answer, hasMore=value)
        if value is None:
            del changed["pagination"]["hasMore"]
        return changed

    return after


def total(change: Callable[[int], Any]) -> Hook:
    """Counts wrongly; `None` leaves the count out."""

    def after(request: Request, answer: Answer) -> Answer:
        changed = _page(answer, total=change(answer["pagination"]["total"]))
        if changed["pagination"]["total"] is None:
            del changed["pagination"]["total"]
        return changed

    return after


def no_pagination(request: Request, answer: Answer) -> Answer:
    """Sends the media and nothing else."""
    return {"media": answer["media"]}


class ShuffledTies:
    """Sends media of one `createdAt` in another order at every request, as databases do without a tie break."""

    def __init__(self, library: Library, seed: int = 1) -> None:
        self.library = library
        self.dice = random.Random(seed)

    def __call__(self, request: Request) -> None:
        with self.library.lock:
            for dataset in self.library.datasets.values():
                dataset.order = sorted(dataset.items.values(), key=lambda i: (str(i["createdAt"]), self.dice.random()))


def failing(dataset_id: str, answer: Callable[[], Any]) -> Callable[[Request], Any]:
    """Answers for one dataset with something else, and for the others as usual."""
    return lambda request: answer() if request.dataset_id == dataset_id else None


def status(
    code: int, body: bytes = b'{"error": "Failed", "message": "It failed."}', **headers: str
) -> Callable[[], Response]:
    """An answer with a status."""
    return lambda: Response(body, code, headers=headers, media_type="application/json")


def cut(body: bytes = b'{"media": [], "pagination": {"total": 0}}', missing: int = 100) -> Callable[[], Response]:
    """An answer that promises more bytes than arrive, as when a proxy gives up; what arrives may be valid JSON."""
    return lambda: Response(body, headers={"Content-Length": str(len(body) + missing)}, media_type="application/json")
