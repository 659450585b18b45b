"""Years of ordinary libraries, and of libraries in which something breaks: how many notices are false or missing.

`python -m tests.years` simulates many of them and prints the tables in docs/notices.md. A day has uploads, what models
and people add to earlier ones, deletions, and one complete run. Nothing is loaded: `decide()` gets what a run would
read.
"""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, timezone
from random import Random

from coreviz_source.notices import FALLEN_SHARE, MANY_REMOVALS, MISSING_FIELD, Notice, Observation, decide

FIRST = datetime(2026, 1, 1, 3, tzinfo=timezone.utc)
#: Days before the first run, whose uploads are there when it begins; days that are simulated; the day of a fault.
BEFORE, YEAR, FAULT = 300, 365, 180


@dataclass
class Habits:
    """How people use a library.

    Attributes:
        uploads: How many media items per day brings.
        types: Weights of image, video and pdf.
        captioned: The share that models caption; tagged: that people tag, on average.
        tags_after: After how many days people tag what was uploaded on a day.
        lumpy: How different batches are: 0 all alike, 1 all or nothing.
        outages: Days per year on which models stand still, and catch up afterwards.
        season: Whether a day has uploads at all.
        retention: Days after which media items are deleted; 0: never.
        cleanups: How often per year somebody deletes a part of the library, and how large the part is at most.
    """

    uploads: Callable[[Random, int], int]
    types: tuple[float, float, float] = (0.8, 0.15, 0.05)
    captioned: float = 0.94
    tagged: float = 0.7
    tags_after: Callable[[Random, int], int] = lambda random, day: random.choice((0, 0, 1, 3))
    lumpy: float = 0.2
    outages: float = 4
    season: Callable[[int], bool] = lambda day: True
    retention: int = 0
    cleanups: float = 1
    largest_cleanup: float = 0.1


def _workdays(number: float) -> Callable[[Random, int], int]:
    return lambda random, day: 0 if day % 7 in (5, 6) else max(0, round(random.gauss(number, number / 2)))


def _bursts(every: int, size: int) -> Callable[[Random, int], int]:
    return lambda random, day: random.randrange(size // 4, size) if random.random() < 1 / every else 0


#: Libraries as they are used.
LIBRARIES = {
    "a catalogue": Habits(_workdays(20)),
    "a camera, 60 days kept": Habits(_workdays(120), (1, 0, 0), 0.99, 0.0, retention=60, cleanups=0),
    "campaigns": Habits(_bursts(9, 300), lumpy=0.6, cleanups=3, largest_cleanup=0.25),
    "a few a week": Habits(_workdays(0.6), lumpy=0.5),
    "seasons": Habits(_workdays(25), season=lambda day: day % 120 < 45, lumpy=0.4),
    "tagged at the end of a month": Habits(_workdays(15), tagged=0.9, tags_after=lambda random, day: 30 - day % 30),
    "videos and documents": Habits(_workdays(8), (0.2, 0.4, 0.4), 0.75, 0.4, lumpy=0.7, cleanups=4),
    "no habits": Habits(
        _bursts(3, 60), (0.5, 0.3, 0.2), 0.8, 0.5, lumpy=1.0, outages=12, cleanups=6, largest_cleanup=0.2
    ),
}
TYPES = ("image", "video", "pdf")


@dataclass
class World:
    """A library on its way through the days, as the counts that a run reads."""

    habits: Habits
    random: Random
    counts: dict[str, dict[str, dict[date, tuple[int, int]]]] = field(default_factory=dict)
    later: dict[int, list[tuple[str, str, int]]] = field(default_factory=lambda: defaultdict(list))
    items: dict[int, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    standstill: int = -1
    fault: str = ""

    def __post_init__(self) -> None:
        self._owned: set[tuple[str, str]] = set()
        for day in range(-BEFORE, 0):
            self.live(day)

    def before(self) -> dict[str, dict[str, dict[date, tuple[int, int]]]]:
        """The counts as they are now: a day that changes some makes copies of them."""
        self._owned.clear()
        return {name: dict(types) for name, types in self.counts.items()}

    def add(self, name: str, kind: str, day: int, having: int, of: int = 0) -> None:
        types = self.counts.setdefault(name, {})
        if (name, kind) not in self._owned:
            types[kind] = dict(types.get(kind, {}))
            self._owned.add((name, kind))
        when = (FIRST + timedelta(days=day)).date()
        had, were = types[kind].get(when, (0, 0))
        types[kind][when] = (min(max(0, had + having), were + of), were + of)
        if were + of <= 0:
            del types[kind][when]

    def live(self, day: int) -> int:
        """One day; returns how many media items were deleted."""
        random, habits = self.random, self.habits
        if random.random() < habits.outages / 365:
            self.standstill = day + random.randrange(1, 4)
        for name, kind, uploaded in self.later.pop(day, ()):
            if self.items[uploaded][kind] and not (self.fault == f"{name} stop" and day >= FAULT):
                self.add(name, kind, uploaded, 1)
        for batch in self.batches(day):
            self.upload(day, *batch)
        return self.delete(day)

    def batches(self, day: int) -> Iterator[tuple[int, float, float, bool]]:
        """Uploads of a day: how many, with which shares of captions and tags, and whether they come from a camera."""
        if not self.habits.season(day % 365):
            return
        left = self.habits.uploads(self.random, day)
        while left > 0:
            size = min(left, self.random.randrange(1, 40))
            left -= size
            shares = [self._share(share) for share in (self.habits.captioned, self.habits.tagged)]
            yield size, shares[0], shares[1], self.random.random() > 0.1

    def _share(self, usual: float) -> float:
        """The share of one batch."""
        if self.random.random() < self.habits.lumpy:
            return 1.0 if self.random.random() < usual else 0.0
        return usual

    def upload(self, day: int, size: int, captioned: float, tagged: float, has_exif: bool) -> None:
        random = self.random
        kind = random.choices(TYPES, self.habits.types)[0]
        if kind == "pdf":
            captioned *= 0.6
        is_broken = day >= FAULT
        for _ in range(size):
            self.items[day][kind] += 1
            ready = day if day > self.standstill else self.standstill + 1
            size_known = not (is_broken and self.fault == "sizeBytes stop")
            self.add("media.sizeBytes", kind, day, int(size_known), 1)
            self.add("media.exif", kind, day, int(has_exif and kind == "image"), 1)
            self.add("media.duration", kind, day, int(kind == "video"), 1)
            self.add("media.metadata.description", kind, day, int(random.random() < 0.35), 1)
            is_half = is_broken and self.fault == "half of the captions stop" and random.random() < 0.5
            for name, share in (("frames", 1.0), ("captions", captioned), ("tags", tagged)):
                self.add(name, kind, day, 0, 1)
                if random.random() < share and not (name == "captions" and is_half):
                    due = day + self.habits.tags_after(random, day) if name == "tags" else ready
                    if is_broken and self.fault == f"{name} stop":
                        continue
                    if due <= day:
                        self.add(name, kind, day, 1)
                    else:
                        self.later[due].append((name, kind, day))

    def delete(self, day: int) -> int:
        habits, random = self.habits, self.random
        removed = 0
        if habits.retention:
            removed += self.remove(day - habits.retention, 1.0)
        if random.random() < habits.cleanups / 365:
            share = random.uniform(0.01, habits.largest_cleanup)
            # one part of the history, or here and there
            if random.random() < 0.5:
                days = [d for d in self.items if d < day]
                first = random.randrange(len(days)) if days else 0
                chosen = sorted(days)[first : first + max(1, int(share * len(days)))]
                removed += sum(self.remove(d, 1.0) for d in chosen)
            else:
                removed += sum(self.remove(d, share) for d in list(self.items))
        elif random.random() < 0.3:
            removed += sum(self.remove(d, 1 / 50) for d in random.sample(sorted(self.items), min(5, len(self.items))))
        return removed

    def remove(self, uploaded: int, share: float) -> int:
        removed = 0
        when = (FIRST + timedelta(days=uploaded)).date()
        for kind, number in list(self.items.get(uploaded, {}).items()):
            out = sum(self.random.random() < share for _ in range(number)) if share < 1 else number
            if not out:
                continue
            removed += out
            self.items[uploaded][kind] -= out
            for name, types in list(self.counts.items()):
                having, of = types.get(kind, {}).get(when, (0, 0))
                if of:
                    self.add(name, kind, uploaded, -round(having * out / of), -min(out, of))
        return removed

    def strike(self) -> int:
        """A fault that happens once, in everything that is stored; returns how many media items it removes."""
        kept = {
            "all captions": ("captions", 0.0),
            "more than half of all captions": ("captions", 0.45),
            "all tags": ("tags", 0.0),
            "all sizeBytes": ("media.sizeBytes", 0.0),
        }
        if self.fault in kept:
            name, share = kept[self.fault]
            for kind, days in self.counts[name].items():
                for when, (having, _) in list(days.items()):
                    self.add(name, kind, (when - FIRST.date()).days, -round(having * (1 - share)))
        shares = {"30% removed": 0.3, "15% removed": 0.15}
        if self.fault in shares:
            return sum(self.remove(day, shares[self.fault]) for day in list(self.items))
        return 0


def year(habits: Habits, seed: int, fault: str = "", days: int = YEAR) -> list[Notice]:
    """The notices of a year with one complete run per day, each once as it was when it began."""
    world = World(habits, Random(seed), fault=fault)
    notices: dict[tuple[str, str, datetime], Notice] = {}
    begun: list[Notice] = []
    removals: list[tuple[datetime, int]] = []
    for day in range(days):
        moment = FIRST + timedelta(days=day)
        before = world.before()
        removed = world.live(day) + (world.strike() if day == FAULT else 0)
        if removed:
            removals.append((moment, removed))
        is_changed = before != world.counts
        seen = Observation(
            "d",
            moment,
            known_since=FIRST if day else None,
            is_listed=True,
            removals=removals,
            stored=sum(map(Counter.total, world.items.values())),
            before=before if is_changed else None,
            after=world.counts if is_changed else None,
            compared_until=(moment - timedelta(days=2)).date(),
        )
        for notice in decide(seen, notices.values(), str(day)):
            notices[notice.kind, notice.subject, notice.began_at] = notice
            if notice.is_open:
                begun.append(notice)
    return begun


#: Faults from the day FAULT on: the kind and the subject of the notice that has to begin.
FAULTS = {
    "captions stop": (FALLEN_SHARE, "captions"),
    "half of the captions stop": (FALLEN_SHARE, "captions"),
    "frames stop": (FALLEN_SHARE, "frames"),
    "tags stop": (FALLEN_SHARE, "tags"),
    "sizeBytes stop": (MISSING_FIELD, "media.sizeBytes"),
    "all captions": (FALLEN_SHARE, "captions"),
    "more than half of all captions": (FALLEN_SHARE, "captions"),
    "all tags": (FALLEN_SHARE, "tags"),
    "all sizeBytes": (MISSING_FIELD, "media.sizeBytes"),
    "30% removed": (MANY_REMOVALS, ""),
    "15% removed": (MANY_REMOVALS, ""),
}


def found_after(begun: list[Notice], fault: str) -> int | None:
    """Days from a fault to its notice; None if there is none."""
    struck = FIRST + timedelta(days=FAULT)
    days = [(n.began_at - struck).days for n in begun if (n.kind, n.subject) == FAULTS[fault] and n.began_at >= struck]
    return min(days, default=None)


def main(years: int) -> None:
    """Prints the tables of docs/notices.md."""
    print("| library | false notices per year | most in a year |\n|---|---|---|")
    for name, habits in LIBRARIES.items():
        counted = [len(year(habits, seed)) for seed in range(years)]
        print(f"| {name} | {sum(counted) / years:.2f} | {max(counted)} |", flush=True)
    print("\n| fault | found | after days, median and longest |\n|---|---|---|")
    for fault in FAULTS:
        days = [
            found_after(year(habits, seed, fault, FAULT + 90), fault)
            for habits in LIBRARIES.values()
            if habits.tagged or FAULTS[fault][1] != "tags"
            for seed in range(max(1, years // 10))
        ]
        known = sorted(day for day in days if day is not None)
        after = f"{known[len(known) // 2]}, {known[-1]}" if known else ""
        print(f"| {fault} | {len(known)} of {len(days)} | {after} |", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100)
