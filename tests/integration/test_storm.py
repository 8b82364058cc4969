"""200 orders on 20 servers, several workers and reconcilers at once: each server is sold once, the rest waits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from provisioner.domain.server import FREE_MARKER
from provisioner.drivers.fake import serve_fake
from tests.crowd import CrowdSite, crowd, wait_until

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]
ORDERS, SERVERS, MORE = 200, 20, 5
PROCESSES = 3  #: each works, reconciles and observes


@pytest.fixture
def site(database_url: str, state_dir: Path) -> Iterator[CrowdSite]:
    made = CrowdSite(database_url, str(state_dir / "storm"))
    for n in range(SERVERS):
        made.world.add_server(str(101 + n))
    made.connect(driver=made.driver, max_in_flight=6)
    made.package()
    with serve_fake(made.world, str(state_dir / "storm")):
        yield made
    made.database.close()


def states(site: CrowdSite) -> Counter[tuple[str, str | None]]:
    return Counter((row["state"], row["waits_for"]) for row in site.database.rows("SELECT state, waits_for FROM job"))


def sold(site: CrowdSite) -> Counter[str]:
    """Count how often each server was given to a customer, by the world's own journal."""
    admin = site.world.administrator.ref
    return Counter(
        call.server
        for call in site.world.calls("edit_server")
        if call.took_effect and call.args["owner"] not in (None, admin)
    )


def test_two_hundred_orders_on_twenty_servers_sell_each_once(site: CrowdSite) -> None:
    for n in range(ORDERS):
        site.order(f"ord-{n}")

    with crowd(site, PROCESSES):
        wanted = Counter({("succeeded", None): SERVERS, ("queued", "stock"): ORDERS - SERVERS})
        wait_until(lambda: states(site) == wanted, lambda: f"{states(site)}\n{site.trail()}", seconds=120)

        assert sold(site) == Counter({str(101 + n): 1 for n in range(SERVERS)})
        assert {server.installs for server in site.world.servers.values()} == {1}

        for n in range(MORE):
            site.world.add_server(str(501 + n))
        wanted = Counter({("succeeded", None): SERVERS + MORE, ("queued", "stock"): ORDERS - SERVERS - MORE})
        wait_until(lambda: states(site) == wanted, lambda: f"{states(site)}\n{site.trail()}", seconds=60)

    assert set(sold(site).values()) == {1}
    assert len(sold(site)) == SERVERS + MORE
    owners = [server.owner for server in site.world.servers.values()]
    assert len(set(owners)) == len(owners), "no customer has two"
    assert FREE_MARKER not in {row.domain for server in site.world.servers.values() for row in server.addresses}
    first = [
        row["n"]
        for row in site.database.rows(
            "SELECT substr(external_ref, 5)::int AS n FROM service WHERE state = 'active' ORDER BY 1"
        )
    ]
    assert max(first) < ORDERS // 2, "older orders come first"
