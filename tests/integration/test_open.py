"""An order on a real PostgreSQL and the fake data centre: what the customer and the world have at the end."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from provisioner.domain.life import Wish
from provisioner.domain.server import FREE_MARKER, ServerRef
from provisioner.domain.states import JobKind
from provisioner.drivers.fake import InstallEnd
from provisioner.store.reads.services import services
from tests.site import Site


@pytest.fixture
def site(database_url: str) -> Iterator[Site]:
    made = Site(database_url)
    made.connect()
    made.package()
    yield made
    made.database.close()


def test_an_order_ends_with_the_customer_owning_an_installed_server(site: Site) -> None:
    server = site.world.add_server("101")
    placed = site.order("ord-1")

    site.run(site.ended(placed.job_id))

    assert site.job(placed.job_id)["state"] == "succeeded", site.trail()
    assert server.owner != site.world.administrator.ref
    assert [row.domain for row in server.addresses] == ["ord-1.example.net"]
    assert len(site.world.calls("install", mutating=True)) == 1
    service = site.database.row("SELECT * FROM service")
    assert service is not None
    assert service["state"] == "active"
    assert service["facts"]["ip"] == server.addresses[0].ip


def test_a_server_that_fails_is_quarantined_and_the_next_is_sold(site: Site) -> None:
    for ref in ("101", "102"):
        site.world.add_server(ref)
    site.world.servers[ServerRef("101")].install_ends = [InstallEnd.FAILED]
    site.world.servers[ServerRef("102")].operation_failed = True  # trouble behind it: tried last
    placed = site.order("ord-1")

    site.run(site.ended(placed.job_id))

    assert site.job(placed.job_id)["state"] == "succeeded", site.trail()
    bad, good = (site.world.servers[ServerRef(ref)] for ref in ("101", "102"))
    assert bad.owner == site.world.administrator.ref
    assert bad.disabled
    assert "quarantined:" in bad.notes
    assert [row.domain for row in bad.addresses] == [FREE_MARKER]
    assert good.owner not in (None, site.world.administrator.ref)


def test_every_order_of_a_customer_tells_the_login_that_its_user_really_has(site: Site) -> None:
    site.world.add_user("userord1")  # somebody else's: ours gets the next name
    for ref in ("101", "102"):
        site.world.add_server(ref)
    same = {"customer_ref": "customer-1", "login": "userord1"}
    for ref in ("ord-1", "ord-2"):
        site.run(site.ended(site.order(ref, **same).job_id))

    logins = [services(site.database, ref, None)[0]["account_login"] for ref in ("ord-1", "ord-2")]

    assert logins == [site.database.value("SELECT login FROM account")] * 2
    assert logins[0] != "userord1"


def test_an_address_that_came_over_from_a_server_still_being_cleaned_is_told(site: Site) -> None:
    for ref in ("101", "102"):
        site.world.add_server(ref)
    for ref in ("ord-1", "ord-2"):
        site.run(site.ended(site.order(ref).job_id))
    one, two = sorted(site.world.servers.values(), key=lambda server: server.domain)
    two.addresses.append(replace(one.addresses.pop(), main=False))  # its row is still live in our books
    asked, _ = site.life.wish("panel", "ord-2", Wish(JobKind.SYNC), by="test", policies=site.policies)

    site.run(site.ended(asked.job_id))

    told = [services(site.database, ref, None)[0]["addresses"] for ref in ("ord-1", "ord-2")]
    assert [sorted(row["ip"] for row in rows) for rows in told] == [[], sorted(row.ip for row in two.addresses)]
