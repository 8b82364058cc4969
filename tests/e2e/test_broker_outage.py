"""The broker is emptied at each step, and stands still for a while: orders are taken and completed all the same."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests.house import House, house

pytestmark = [pytest.mark.long, pytest.mark.timeout(240)]
STOPPED_SECONDS = 5.0


@pytest.fixture
def flat(database_url: str, state_dir: Path, request: pytest.FixtureRequest) -> Iterator[House]:
    with house(database_url, state_dir, f"broker-{abs(hash(request.node.name)) % 10_000}", flower=False) as made:
        made.connect(url=made.address)
        made.package()
        yield made


def test_an_order_completes_with_the_broker_emptied_at_each_step(flat: House) -> None:
    server = flat.world.add_server("101")
    client = redis.Redis.from_url(flat.broker_url)
    emptied: set[tuple[int, str]] = set()
    job = flat.order("ord-1").job_id

    def empty_then_ended() -> bool:
        for row in flat.database.rows("SELECT pos, state FROM attempt WHERE state <> 'ended'"):
            if (row["pos"], row["state"]) not in emptied:
                client.flushall()
                emptied.add((row["pos"], row["state"]))
        return flat.ended(job)()

    flat.wait(empty_then_ended, 120)
    client.close()

    assert flat.job(job)["state"] == "succeeded", flat.trail()
    assert server.installs == 1
    assert {pos for pos, _ in emptied} == set(range(9))


def test_orders_are_taken_at_once_while_the_broker_stands_still_and_complete_afterwards(flat: House) -> None:
    for ref in ("101", "102", "103"):
        flat.world.add_server(ref)
    jobs = [flat.order("ord-1").job_id]
    flat.wait(lambda: flat.database.row("SELECT FROM attempt WHERE pos >= 2") is not None, 60)

    flat.children.signal("broker", signal.SIGSTOP)
    try:
        ends, spent = time.monotonic() + STOPPED_SECONDS, []
        while time.monotonic() < ends:
            began = time.monotonic()
            if len(jobs) < 3:
                jobs.append(flat.order(f"ord-{len(jobs) + 1}").job_id)
            spent.append(time.monotonic() - began)
            time.sleep(0.5)
    finally:
        flat.children.signal("broker", signal.SIGCONT)

    flat.wait(flat.ended(*jobs), 120)
    assert max(spent) < 1.0, "a broker that hangs holds nobody up"
    assert {flat.job(job)["state"] for job in jobs} == {"succeeded"}
    assert {server.installs for server in flat.world.servers.values()} == {1}
