"""`python -m coreviz_source.local_studio`: serves a generated library until it is stopped."""

from __future__ import annotations

import argparse
import contextlib
import time

from coreviz_source.local_studio import Library, Studio


def main() -> None:
    """Prints the address and the key as soon as the Studio answers, then serves."""
    parser = argparse.ArgumentParser(prog="python -m coreviz_source.local_studio", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one (default)")
    parser.add_argument("--media", type=int, default=240, help="media in all datasets together (default 240)")
    parser.add_argument("--datasets", type=int, default=3, help="datasets (default 3)")
    parser.add_argument("--seed", type=int, default=7, help="the same seed, the same library (default 7)")
    parser.add_argument("--generation", type=int, choices=(2025, 2026), default=2026, help="of the API")
    parser.add_argument("--live", type=float, metavar="N", help="make N random changes a minute")
    parser.add_argument("--latency", type=float, default=0.0, help="seconds that each answer takes longer")
    wanted = parser.parse_args()
    library = Library.generate(wanted.media, wanted.datasets, wanted.seed)
    live = library.live(wanted.live) if wanted.live else contextlib.nullcontext()
    with Studio(library, wanted.generation, port=wanted.port, latency=wanted.latency) as studio, live:
        print(f"{studio.url} {studio.key} {' '.join(library.datasets)}", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            while True:
                time.sleep(3600)


if __name__ == "__main__":
    main()
