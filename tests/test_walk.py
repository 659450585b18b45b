"""A long life in short: hundreds of random changes, faults all along, and equality at each complete run."""

from __future__ import annotations

import random

import pytest
from starlette.responses import Response

from coreviz_source.local_studio import Studio
from tests.scenario import assert_equal_to, frozen, run_sync


@pytest.mark.parametrize(("seed", "generation", "syncs"), [(1, 2026, 40), (2, 2025, 20)])
def test_a_random_walk_with_faults_is_equal_at_every_complete_run(pipeline, seed, generation, syncs):
    print(f"seed {seed}")
    dice = random.Random(seed)
    library = frozen(60, datasets=2, seed=seed)
    faulty = True

    def fault(request):
        if not faulty or dice.random() > 0.15:
            return None
        return dice.choice(
            [
                lambda: Response(b"{}", 500),
                lambda: Response(b"{}", 503, headers={"Retry-After": "1"}),
                lambda: Response(b"{}", 429),
                lambda: b'{"media": [{',
                lambda: {"error": "Busy", "message": "Later."},
            ]
        )()

    def short(request, answer):
        return {**answer, "media": answer["media"][: dice.randint(1, 20)]} if faulty and dice.random() < 0.2 else None

    with Studio(library, generation, before=fault, after=short) as studio:
        for number in range(syncs):
            for _ in range(200 // syncs):
                library.mutate(dice)
            library.advance(minutes=dice.choice([0, 1, 60, 600]))
            complete = number % 4 == 0
            report = run_sync(
                pipeline,
                studio,
                reconcile_every="0" if complete else "100d",
                lookback=dice.choice(["0", "1h", "7d"]),
                parallel_requests=dice.choice([1, 4]),
                max_deletes=1,
            )
            assert report.exit_code == 0, report.to_json()
            if complete:
                assert_equal_to(pipeline, studio)
