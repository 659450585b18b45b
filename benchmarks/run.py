"""Measures whole processes beside each other on one local Studio, and writes benchmarks/RESULTS.md.

`python benchmarks/run.py [--media N] [--rounds N] [--without rest_api]`. A figure means something only beside the
others of the same run: every round runs each program once, one after the other.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
#: Name, program, arguments, and whether it starts from an empty directory or from what `first load` left.
PROGRAMS = (
    ("floor (by hand, no dlt)", "floor.py", (), True),
    ("first load", "ours.py", (), True),
    ("complete listing, unchanged", "ours.py", ("reconcile_every=0",), False),
    ("ordinary run, unchanged", "ours.py", (), False),
    ("everything again (resync)", "ours.py", ("resync=true",), False),
    ("dlt's rest_api source", "rest_api.py", (), True),
)


def measured(command: list[str]) -> tuple[float, float]:
    """Wall seconds and peak memory in MB of a process."""
    began = time.perf_counter()
    process = subprocess.Popen(command, env={**os.environ, "RUNTIME__DLTHUB_TELEMETRY": "false"})
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{command} failed")
    return time.perf_counter() - began, usage.ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--media", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--without", default="", help="leave out programs whose name holds this")
    wanted = parser.parse_args()
    programs = [p for p in PROGRAMS if not wanted.without or wanted.without not in p[0]]
    studio = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "coreviz_source.cli",
            "studio",
            "--datasets",
            "1",
            "--generation",
            "2025",
            "--media",
            str(wanted.media),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert studio.stdout is not None
    address = studio.stdout.readline().split()
    results: dict[str, list[tuple[float, float]]] = {name: [] for name, *_ in programs}
    try:
        # the server encodes its library once
        with tempfile.TemporaryDirectory() as directory:
            measured([sys.executable, str(HERE / "floor.py"), *address, directory])
        for _ in range(wanted.rounds):
            kept = tempfile.mkdtemp()
            for name, program, more, empty in programs:
                directory = tempfile.mkdtemp() if empty and program != "ours.py" else kept
                results[name].append(measured([sys.executable, str(HERE / program), *address, directory, *more]))
                if directory != kept:
                    shutil.rmtree(directory)
            shutil.rmtree(kept)
    finally:
        studio.terminate()
    floor = statistics.median(seconds for seconds, _ in results[programs[0][0]])
    lines = [
        "# Results",
        "",
        f"{wanted.media} media, medians of {wanted.rounds} rounds, {os.cpu_count()} cores, Python "
        f"{sys.version.split()[0]}. Written by `make bench`; whole processes, start of Python included.",
        "",
        "| program | seconds | against the floor | peak memory, MB |",
        "|---|---|---|---|",
    ]
    for name, found in results.items():
        seconds = statistics.median(s for s, _ in found)
        memory = statistics.median(m for _, m in found)
        lines.append(f"| {name} | {seconds:.2f} | {seconds / floor:.2f} | {memory:.0f} |")
    text = "\n".join(lines) + "\n"
    (HERE / "RESULTS.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
