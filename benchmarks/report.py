"""The measurements as the tables of `RESULTS.md`: each goal, its value, and whether it is met."""

from __future__ import annotations

from typing import Any

PEERS = {
    "rest_api": "dlt's `rest_api` source",
    "Singer": "Singer tap, `target-duckdb`",
    "Airbyte": "Airbyte manifest, PyAirbyte",
}
NAMES = {
    "floor": "the floor: by hand, no dlt",
    "floor, dlt": "the floor's rows, loaded by dlt",
    "Postgres: floor": "Postgres: by hand, no dlt",
    "Postgres: COPY": "Postgres: `COPY` of rows in memory",
    "plain run": "plain `pipeline.run(coreviz())`, first load",
    "imports": "Python and the imports alone",
    "changes": "20 media items changed",
    "Postgres: changes": "Postgres: 20 media items changed",
    "resident, ordinary": "a cycle of `sync_every()`, ordinary",
    "resident, complete": "a cycle of `sync_every()`, complete",
    "help": "`coreviz-source --help`",
    "check": "`coreviz-source check`",
    **PEERS,
}

#: A size for which there is a goal of its own.
GOAL_SIZE = 100_000

#: What the last column of a goal says: met, not met, no goal.
_VERDICTS = {True: "yes", False: "**no**", None: ""}


class _Measured:
    def __init__(self, told: dict[str, Any]) -> None:
        self.told = told
        self.lines: list[str] = []
        self.programs = told["programs"][str(told["size"])]

    def median(self, name: str, what: str = "seconds", size: int | None = None) -> float | None:
        programs = self.programs if size is None else self.told["programs"][str(size)]
        return float(programs[name][what]["median"]) if name in programs else None

    def ratio(
        self, measure: str, name: str, other: str, bound: float | None, at_least: bool = False, size: int | None = None
    ) -> None:
        """A line that compares two programs; `at_least` where the other one is to take longer."""
        value, base = self.median(name, size=size), self.median(other, size=size)
        if value is None or base is None:
            self.add(measure, "not measured", "", "", None)
            return
        ratio = base / value if at_least else value / base
        met = None if bound is None else ratio >= bound if at_least else ratio <= bound
        self.add(
            measure,
            f"{value:.2f} s",
            f"{NAMES.get(other, other)}: {base:.2f} s",
            f"{ratio:.2f} ×" + (" faster" if at_least else ""),
            met,
            "" if bound is None else f"{'≥' if at_least else '≤'} {bound:g} ×",
        )

    def sizes(self, measure: str, name: str, small: int, large: int, bound: float) -> None:
        """A line that compares the same program with two libraries."""
        few, many = self.median(name, size=small), self.median(name, size=large)
        assert few is not None and many is not None
        measure, met = f"{measure}, {large:,} media", many / few <= bound
        self.add(
            measure, f"{many:.2f} s", f"{small:,} media: {few:.2f} s", f"{many / few:.2f} ×", met, f"≤ {bound:g} ×"
        )

    def cpu(self, measure: str, name: str, bound: float) -> None:
        """A line with CPU seconds and their bound."""
        used = self.median(name, "cpu")
        assert used is not None
        self.add(measure, f"{used:.2f} s CPU", "", "", used <= bound, f"≤ {bound:g} s")

    def add(self, measure: str, value: str, other: str, ratio: str, met: bool | None, goal: str = "") -> None:
        self.lines.append(f"| {measure} | {value} | {other} | {ratio} | {goal} | {_VERDICTS[met]} |")


def report(told: dict[str, Any]) -> str:
    """The text of `RESULTS.md`."""
    size, largest = told["size"], told["largest"]
    library = told["libraries"][str(size)]
    rows = sum(count for name, count in library.items() if name != "bytes")
    goals = _goals(told, size, largest)
    reached, missed = (sum(line.endswith(f"| {_VERDICTS[met]} |") for line in goals) for met in (True, False))
    text = [
        "# Results",
        "",
        "Written by `make bench`; [README.md](README.md) describes each program. Whole processes, start of Python "
        "included, unless a line says otherwise.",
        "",
        f"{size:,} media: {rows:,} rows, {library['bytes'] / 1e6:.0f} MB of JSON. Medians of {told['rounds']} rounds; "
        f"{told['cores']} cores, Python {told['python']}. The run took {told['minutes']} minutes.",
        "",
        "![time and memory against the size of the library](../docs/images/benchmark.png)",
        "",
        "## Goals",
        "",
        "| measure | value | against | ratio | goal | met |",
        "|---|---|---|---|---|---|",
        *goals,
        "",
        f"{missed} of {missed + reached} goals are missed. [What was tried](README.md#what-was-tried) says where the "
        "time goes.",
        "",
        f"## Programs, {size:,} media",
        "",
        "The server behaves as documented, and nothing changes while it is read, so hardly any program loses rows "
        "here. `tests/test_losses.py` measures what is lost otherwise; [README](../README.md#why-trust-it) has its "
        "table.",
        "",
        "| program | rounds | seconds | fastest to slowest | CPU seconds | peak memory, MB | rows lost |",
        "|---|---|---|---|---|---|---|",
        *(_program(name, program, library) for name, program in told["programs"][str(size)].items()),
        *(f"| {PEERS[name]} | could not be installed or run |  |  |  |  |  |" for name in told["missing"]),
        "",
        "## Size of the library",
        "",
        "Seconds, milliseconds per media item and peak memory of one first load each.",
        "",
        "| media | program | seconds | ms per media item | peak memory, MB | rows lost |",
        "|---|---|---|---|---|---|",
        *_sizes(told),
        *_latency(told["latency"]),
        *_million(told["million"]),
    ]
    return "\n".join(text) + "\n"


def _goals(told: dict[str, Any], size: int, largest: int) -> list[str]:
    m = _Measured(told)
    load = "First load into DuckDB"
    m.ratio(load, "first load", "floor", 1.2)
    if str(GOAL_SIZE) in told["programs"]:
        m.ratio(f"{load}, {GOAL_SIZE:,} media", "first load", "floor", 0.75, size=GOAL_SIZE)
    m.ratio("The same with a plain `pipeline.run(coreviz())`", "plain run", "floor", None)
    m.ratio(load, "first load", "floor, dlt", None)
    m.ratio("The least that a source for dlt takes", "floor, dlt", "floor", None)
    m.ratio("Complete listing, nothing changed", "complete listing, unchanged", "floor", 0.55)
    ordinary = f"Ordinary run, nothing new ({told['requests']} requests)"
    m.ratio(ordinary, "ordinary run, unchanged", "imports", 1.35)
    m.cpu("A cycle of `sync_every()`, ordinary, nothing new", "resident, ordinary", 0.25)
    m.cpu("A cycle of `sync_every()`, complete, nothing changed", "resident, complete", 1)
    m.sizes("20 media items changed, DuckDB", "changes", size, largest, 1.3)
    m.sizes("20 media items changed, Postgres", "Postgres: changes", size, largest, 1.3)
    m.ratio("First load into a DuckLake", "DuckLake: first load", "first load", 1.5)
    for what in ("ordinary run, unchanged", "complete listing, unchanged"):
        m.ratio(f"DuckLake: {what}", f"DuckLake: {what}", what, 1.3)
    m.ratio(load, "first load", "rest_api", None, at_least=True)
    m.ratio(load, "first load", "Singer", None, at_least=True)
    m.ratio(load, "first load", "Airbyte", None, at_least=True)
    m.ratio("First load into Postgres", "Postgres: first load", "Postgres: floor", None)
    m.ratio("First load into Postgres", "Postgres: first load", "Postgres: COPY", None)
    m.ratio("First load, 100 ms per response", "first load, 100 ms", "first load", 1.5)
    m.ratio("Everything written again (`resync`), DuckDB", "resync", "first load", 2)
    m.ratio("Everything written again (`resync`), Postgres", "Postgres: resync", "Postgres: first load", 2)
    for what, unit, bound in (("memory", "MB", 1.3), ("seconds", "ms per media item", 1.2)):
        small, large = m.median("first load", what, size), m.median("first load", what, largest)
        assert small is not None and large is not None
        if what == "seconds":
            small, large = small / size * 1000, large / largest * 1000
        m.add(
            f"{'Peak memory' if what == 'memory' else 'Time'}, {largest:,} media",
            f"{large:.3g} {unit}" if what == "seconds" else f"{large:.0f} {unit}",
            f"{size:,} media: " + (f"{small:.3g} {unit}" if what == "seconds" else f"{small:.0f} {unit}"),
            f"{large / small:.2f} ×",
            large / small <= bound,
            f"≤ {bound:g} ×",
        )
    if million := told["million"]:
        listed = million["programs"]["complete listing, unchanged"]["seconds"]["median"]
        m.add("Complete listing, nothing changed, a million media", f"{listed:.0f} s", "", "", listed < 40, "< 40 s")
    helped = m.median("help") or 0.0
    m.add("`coreviz-source --help`", f"{helped:.2f} s", "", "", helped < 0.3, "< 0.3 s")
    m.add(
        "`coreviz-source check`", f"{m.median('check'):.2f} s", f"heavy imports: {', '.join(told['heavy'])}", "", None
    )
    return m.lines


def _million(million: dict[str, Any]) -> list[str]:
    if not million:
        return []
    rows = sum(count for name, count in million["library"].items() if name != "bytes")
    lines = [
        f"| {name} | {program['seconds']['median']:.0f} | {program['cpu']['median']:.0f} "
        f"| {program['memory']['median']:.0f} |"
        for name, program in million["programs"].items()
    ]
    return [
        "",
        "## A million media items",
        "",
        f"Measured once, by `make bench BENCH=--million`: {rows:,} rows, {million['library']['bytes'] / 1e9:.1f} GB of "
        f"JSON. The DuckDB file has {million['file'] / 1e9:.1f} GB.",
        "",
        "| run | seconds | CPU seconds | peak memory, MB |",
        "|---|---|---|---|",
        *lines,
    ]


def _latency(latency: dict[str, Any]) -> list[str]:
    seconds = latency["seconds"]
    names = [name for name in ("first load", *PEERS) if name in seconds["0"]]
    return [
        "",
        "## Latency of the API",
        "",
        f"Seconds of one first load of {latency['size']:,} media items. The server waits before each response.",
        "",
        "![time of a first load against the latency of the API](../docs/images/latency.png)",
        "",
        "| program | " + " | ".join(f"{float(each) * 1000:.0f} ms" for each in seconds) + " |",
        "|---|" + "---|" * len(seconds),
        *(
            f"| {NAMES.get(name, name)} | "
            + " | ".join(f"{each[name]:.1f}" if name in each else "" for each in seconds.values())
            + " |"
            for name in names
        ),
    ]


def _lost(rows: dict[str, int], library: dict[str, int]) -> str:
    """What is missing of the tables that a program makes."""
    if not rows:
        return ""
    lost = [f"{library[name] - count:,} {name}" for name, count in rows.items() if count != library[name]]
    return ", ".join(lost) or "none"


def _program(name: str, program: dict[str, Any], library: dict[str, int]) -> str:
    seconds = program["seconds"]
    # of COPY only the statements are timed: what prepares the rows is in none of the figures
    used = f"{program['cpu']['median']:.2f} | {program['memory']['median']:.0f}"
    return (
        f"| {NAMES.get(name, name)} | {program['rounds']} | {seconds['median']:.2f} "
        f"| {min(seconds['all']):.2f} to {max(seconds['all']):.2f} "
        f"| {' | ' if name == 'Postgres: COPY' else used} | {_lost(program['rows'], library)} |"
    )


def _sizes(told: dict[str, Any]) -> list[str]:
    shown = ("first load", "floor", *PEERS)
    return [
        f"| {int(size):,} | {NAMES.get(name, name)} | {programs[name]['seconds']['median']:.2f} "
        f"| {programs[name]['seconds']['median'] / int(size) * 1000:.3f} | {programs[name]['memory']['median']:.0f} "
        f"| {_lost(programs[name]['rows'], told['libraries'][size])} |"
        for size, programs in told["programs"].items()
        for name in shown
        if name in programs
    ]
