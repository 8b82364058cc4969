"""A queue that lags ten wake-up graces behind, with 500 orders: all complete, and messages do not pile up."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from provisioner.drivers.fake import serve_fake
from tests.crowd import DELIVERED, OBEYED, SENT, CrowdSite, crowd, wait_until
from tests.site import SHORT

pytestmark = [pytest.mark.long, pytest.mark.timeout(700)]
ORDERS = 500
GRACE = 0.3
LAG = 10 * GRACE
SPANS = replace(
    SHORT, wake_grace=GRACE, wake_most=30 * GRACE, observe_short=0.5, observe_long=0.5, view_age=30, reconcile=0.4
)


@pytest.fixture
def site(database_url: str, state_dir: Path) -> Iterator[CrowdSite]:
    made = CrowdSite(database_url, str(state_dir / "lag"), lag=LAG, spans=SPANS)
    # in production a deadline is at least six such lags; here it must also outlast the machine that runs 500 at once
    long = {name: replace(policy, deadline=timedelta(minutes=10)) for name, policy in made.policies.items()}
    made.policies = long
    made.tools = replace(made.tools, policies=long)
    for n in range(ORDERS):
        made.world.add_server(str(1001 + n))
    made.connect(driver=made.driver, max_in_flight=50)
    made.package()
    with serve_fake(made.world, str(state_dir / "lag")):
        yield made
    made.database.close()


def test_five_hundred_orders_complete_behind_a_lagging_queue(site: CrowdSite) -> None:
    for n in range(ORDERS):
        site.order(f"ord-{n}")

    def states() -> Counter[str]:
        return Counter(row["state"] for row in site.database.rows("SELECT state FROM job"))

    with crowd(site, 2):
        wait_until(lambda: states() == {"succeeded": ORDERS}, lambda: f"{states()}\n{site.trail()}", seconds=600)

    assert {server.installs for server in site.world.servers.values()} == {1}
    counts, lag = site.shared.counts[:], site.shared.latest.value
    # an attempt's first message is sent again when it is 1, then 3, 7 … graces late; each that follows is given twice
    # as long as the one before it lay
    first = math.ceil(math.log2(1 + lag / GRACE))
    bound = counts[OBEYED] + ORDERS * first
    assert counts[SENT] <= bound, (counts, lag, bound)
    assert counts[DELIVERED] >= counts[OBEYED]
    print(f"{counts[SENT]} messages, {counts[OBEYED]} obeyed, longest lag {lag:.1f} s, bound {bound}")  # noqa: T201
