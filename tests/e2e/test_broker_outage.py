"""The broker is emptied at each step, and stands still for a while: orders are taken and completed all the same."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from provisioner.demo.client import Api
from tests.house import House, house
from tests.site import OS

pytestmark = [pytest.mark.long, pytest.mark.timeout(240)]
STOPPED_SECONDS = 5.0
ORDERS = 5


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

    def empty(_: object = None) -> None:
        for row in flat.database.rows("SELECT pos, state FROM attempt WHERE state <> 'ended'"):
            if (row["pos"], row["state"]) not in emptied:
                client.flushall()
                emptied.add((row["pos"], row["state"]))

    flat.world.fault("*", times=None, hook=empty)  # at each call to the panel: no step is too quick for it
    job = flat.order("ord-1").job_id

    def empty_then_ended() -> bool:
        empty()
        return flat.ended(job)()

    flat.wait(empty_then_ended, 120)
    client.close()

    assert flat.job(job)["state"] == "succeeded", flat.trail()
    assert server.installs == 1
    assert {pos for pos, _ in emptied} == set(range(9))


def ordered(api: Api, ref: str) -> int:
    """Order over HTTP, as billing does; an answer that is not 2xx raises."""
    answer = api.post(
        "/v1/services",
        {
            "external_ref": ref,
            "package": "small",
            "customer": {"reference": f"customer-{ref}", "login": f"user{ref}"},
            "hostname": f"{ref}.example.net",
            "os": OS,
        },
    )
    return int(answer["job"]["id"])


def test_orders_are_taken_at_once_while_the_broker_stands_still_and_complete_afterwards(flat: House) -> None:
    for n in range(ORDERS):
        flat.world.add_server(str(101 + n))
    api = flat.serve_api()
    jobs = [ordered(api, "ord-0")]
    flat.wait(lambda: flat.database.row("SELECT FROM attempt WHERE pos >= 2") is not None, 60)

    flat.children.signal("broker", signal.SIGSTOP)
    try:
        ends, spent = time.monotonic() + STOPPED_SECONDS, []
        while len(jobs) < ORDERS or time.monotonic() < ends:
            began = time.monotonic()
            if len(jobs) < ORDERS:
                jobs.append(ordered(api, f"ord-{len(jobs)}"))
            api.get(f"/v1/jobs/{jobs[0]}")
            spent.append(time.monotonic() - began)
            time.sleep(0.5)
    finally:
        flat.children.signal("broker", signal.SIGCONT)

    flat.wait(flat.ended(*jobs), 120)
    assert max(spent) < 2.0, "a broker that hangs holds nobody up"
    assert {flat.job(job)["state"] for job in jobs} == {"succeeded"}
    assert {server.installs for server in flat.world.servers.values()} == {1}
