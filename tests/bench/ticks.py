"""What one tick of the reconciler costs while many installs are parked."""

from __future__ import annotations

import time
from collections.abc import Iterator

from provisioner.usecases.reconcile import reconcile
from tests.bench import seed
from tests.bench.figures import Figure
from tests.bench.house import PATIENT, House


def measure(house: House, *, parked: int, rounds: int) -> Iterator[Figure]:
    """Give the time of one tick with *parked* installs waiting, none of them due."""
    spent = []
    with house.ports(house.new_database(), spans={**PATIENT, "reconcile": 0.001}) as app:
        seed.connect(app, servers=1)
        seed.park(app, parked)
        for n in range(rounds + 2):
            time.sleep(0.01)
            began = time.perf_counter()
            found = reconcile(
                reconciler=app.reconciler,
                planner=app.planner,
                quarantine=app.quarantine,
                life=app.life,
                tickets=app.tickets,
                callbacks=app.callbacks,
                waker=seed.Silent(),
                policies=app.policies,
                spans=app.spans,
            )
            if not found:
                raise AssertionError("it was not our turn")
            if n > 1:  # the first ones connect, and sweep
                spent.append((time.perf_counter() - began) * 1000)
    yield Figure(f"one tick with {parked:,} parked", spent, "ms", at_most=50.0)
