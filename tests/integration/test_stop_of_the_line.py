"""A fault of the place does not eat the stock, and quarantine has a way back; judged by the fake data centre."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

import pytest

from provisioner.domain.server import AddressRow, Family, RowRef
from provisioner.domain.spans import Spans
from provisioner.domain.states import JobKind
from provisioner.drivers.fake import FakeServer, InstallEnd
from provisioner.errors import Denied, IllegalMove, NotFound, PoolEmpty, Unreachable
from provisioner.store import connections
from provisioner.store.database import Session
from provisioner.usecases import servers
from provisioner.usecases.recipes import recipe
from tests.site import Site

FLEET = 50


@pytest.fixture
def site(database_url: str) -> Iterator[Site]:
    made = Site(database_url, pool_size=4)
    made.connect(max_in_flight=60)
    made.package(attempts_max=10)
    yield made
    made.database.close()


def fleet(site: Site, size: int = FLEET) -> list[FakeServer]:
    return [site.world.add_server(str(n)) for n in range(101, 101 + size)]


def orders(site: Site, size: int = FLEET) -> list[int]:
    return [site.order(f"ord-{n}").job_id for n in range(size)]


def quarantined(site: Site) -> list[str]:
    return [row["server_ref"] for row in site.database.rows("SELECT server_ref FROM claim WHERE state = 'quarantined'")]


def restricted(site: Site) -> bool:
    return bool(site.database.value("SELECT state = 'restricted' FROM connection"))


def waiting(site: Site) -> int:
    found: int = site.database.value("SELECT count(*) FROM job WHERE state = 'queued' AND waits_for = 'site'")
    return found


def told(site: Site, kind: str) -> int:
    found: int = site.database.value("SELECT count(*) FROM event WHERE kind = %(kind)s", kind=kind)
    return found


@pytest.mark.long
def test_a_dead_install_server_costs_three_servers_at_most_and_all_is_sold_when_it_lives_again(site: Site) -> None:
    servers_of_the_place = fleet(site)
    for server in servers_of_the_place:
        server.install_ends = [InstallEnd.FAILED] * 100
    jobs = orders(site)

    site.run(lambda: waiting(site) == FLEET, seconds=120)
    taken = quarantined(site)
    messages = told(site, "connection_restricted")
    for server in servers_of_the_place:
        server.install_ends.clear()
    site.run(site.ended(*jobs), seconds=120)

    assert 1 <= len(taken) <= 3, taken
    assert messages == 1
    assert {site.job(job)["state"] for job in jobs} == {"succeeded"}
    assert quarantined(site) == []
    assert len({server.owner for server in servers_of_the_place}) == FLEET
    assert told(site, "connection_healed") == 1


@pytest.mark.long
def test_an_empty_pool_quarantines_nothing(site: Site) -> None:
    fleet(site)
    site.database.rows("UPDATE package SET ipv4 = 2")
    site.world.fault("add_address", PoolEmpty, times=None)
    jobs = orders(site)

    site.run(lambda: waiting(site) == FLEET, seconds=120)
    taken = site.database.value("SELECT count(*) FROM quarantine")
    site.world.heal()
    site.run(site.ended(*jobs), seconds=120)

    assert taken == 0
    assert told(site, "connection_restricted") == 1
    assert {site.job(job)["state"] for job in jobs} == {"succeeded"}


@pytest.mark.parametrize("fault", [Unreachable, Denied])
def test_a_panel_that_is_away_or_refuses_us_quarantines_nothing(site: Site, fault: type[Unreachable | Denied]) -> None:
    fleet(site, 10)
    jobs = orders(site, 10)
    site.run(lambda: told(site, "step_begun") >= 10)
    site.world.fault("*", fault, times=None)

    site.run(lambda: bool(site.database.value("SELECT state = 'paused' FROM connection")))
    for _ in range(50):
        site.tick()

    assert site.database.value("SELECT count(*) FROM quarantine") == 0
    assert told(site, "connection_paused") == 1
    assert not any(site.job(job)["state"] == "failed" for job in jobs)


# --- the way back -------------------------------------------------------------------------------------------------


def one_in_quarantine(site: Site) -> FakeServer:
    """Let an order fail on its only server."""
    site.database.rows("UPDATE package SET attempts_max = 1")
    server = site.world.add_server("101")
    server.install_ends = [InstallEnd.FAILED]
    job = site.order().job_id
    site.run(site.ended(job))
    assert quarantined(site) == ["101"], site.trail()
    return server


def release(site: Site, *, anyway: bool = False) -> int:
    return servers.release(
        "dc1", "101", anyway=anyway, by="cli anna", store=site.quarantine, waker=site.waker, policies=site.policies
    )


def test_a_released_server_is_free_again_and_was_not_powered_or_installed(site: Site) -> None:
    server = one_in_quarantine(site)
    before = len(site.world.calls(mutating=True))

    job = release(site)
    site.run(site.ended(job))

    assert site.job(job)["state"] == "succeeded", site.trail()
    assert [call.method for call in site.world.calls(mutating=True)[before:]] == ["edit_server"]
    assert server.owner is None
    assert "claim" not in server.notes
    assert site.database.value("SELECT ended_by FROM quarantine") == "cli anna"


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        ("address", "it has addresses beyond its main one"),
        ("domain", "carries old.example.net"),
        ("power", "its power can't be read or switched"),
        ("faulty", "it is marked faulty"),
    ],
)
def test_a_release_is_refused_by_what_the_full_read_finds(site: Site, fault: str, sentence: str) -> None:
    server = one_in_quarantine(site)
    match fault:
        case "address":
            server.addresses.append(AddressRow(RowRef("9"), "192.0.2.200", "free.ds", Family.IPV4))
        case "domain":
            server.addresses[0] = replace(server.addresses[0], domain="old.example.net")
        case "power":
            server.power_error = True
        case "faulty":
            server.faulty = True
    before = len(site.world.calls(mutating=True))

    job = release(site)
    site.run(site.ended(job))

    assert site.job(job)["state"] == "failed"
    assert sentence in site.job(job)["reason"]
    assert quarantined(site) == ["101"]
    assert site.world.calls(mutating=True)[before:] == []


def test_a_server_that_somebody_else_took_meanwhile_is_not_touched(site: Site) -> None:
    server = one_in_quarantine(site)
    server.owner = site.world.add_user("stranger").ref
    before = len(site.world.calls(mutating=True))

    job = release(site)
    site.run(site.ended(job))

    assert site.job(job)["state"] == "failed"
    assert quarantined(site) == []
    assert site.world.calls(mutating=True)[before:] == []


def test_after_three_strikes_of_its_own_a_release_needs_anyway(site: Site) -> None:
    one_in_quarantine(site)
    for _ in range(2):
        site.run(site.ended(release(site)))
        servers.quarantine(
            "dc1", "101", reason="smells", by="cli anna", store=site.quarantine, waker=site.waker,
            policies=site.policies,
        )  # fmt: skip
        site.run(lambda: quarantined(site) == ["101"])

    with pytest.raises(IllegalMove, match=r"quarantined 3 times by its own fault; .* --anyway"):
        release(site)
    job = release(site, anyway=True)
    site.run(site.ended(job))

    assert site.job(job)["state"] == "succeeded"
    assert site.database.value("SELECT count(*) FROM quarantine") == 3


def test_a_free_server_is_taken_out_of_sale_with_the_reason_in_its_notes(site: Site) -> None:
    server = site.world.add_server("101")
    site.order("ord-1", package="small")
    site.database.rows("UPDATE job SET plan_at = NULL")  # nobody takes it meanwhile
    site.waker.observe(1)
    site.tick()

    job = servers.quarantine(
        "dc1", "101", reason="fan is loud", by="cli anna", store=site.quarantine, waker=site.waker,
        policies=site.policies,
    )  # fmt: skip
    site.run(site.ended(job))

    assert site.job(job)["state"] == "succeeded", site.trail()
    assert server.owner == site.world.administrator.ref
    assert "quarantined: fan is loud" in server.notes
    assert server.disabled


def test_a_sold_server_can_be_neither_released_nor_quarantined(site: Site) -> None:
    site.world.add_server("101")
    job = site.order().job_id
    site.run(site.ended(job))

    with pytest.raises(IllegalMove, match="handed over to service ord-1 of panel"):
        release(site)
    with pytest.raises(IllegalMove, match="close or cancel that instead"):
        site.quarantine.quarantine(
            "dc1", "101", recipe=recipe(JobKind.QUARANTINE, site.policies), by="cli anna", reason="smells"
        )


def test_a_server_that_is_somebody_elses_is_not_taken_out_of_sale(site: Site) -> None:
    server = one_in_quarantine(site)
    site.run(site.ended(release(site)))
    server.owner = site.world.add_user("stranger").ref
    before = len(site.world.calls(mutating=True))

    job = servers.quarantine(
        "dc1", "101", reason="smells", by="cli anna", store=site.quarantine, waker=site.waker, policies=site.policies
    )
    site.run(site.ended(job))

    assert site.job(job)["state"] == "failed"
    assert "somebody else took it" in site.job(job)["reason"]
    assert site.world.calls(mutating=True)[before:] == []


def test_an_unknown_server_is_named(site: Site) -> None:
    with pytest.raises(NotFound, match="connection 'dc1' has no server '101'"):
        release(site)


def test_a_server_that_is_being_released_is_not_released_twice(site: Site) -> None:
    one_in_quarantine(site)
    job = release(site)

    with pytest.raises(IllegalMove, match=f"job {job} is at work on it"):
        release(site)


def test_a_released_server_that_is_sold_again_belongs_to_the_new_order(site: Site) -> None:
    server = one_in_quarantine(site)
    site.run(site.ended(release(site)))
    job = site.order("ord-2").job_id
    site.run(site.ended(job))

    assert site.job(job)["state"] == "succeeded", site.trail()
    assert server.owner not in (None, site.world.administrator.ref)


STRIKE = """
WITH c AS (INSERT INTO claim (connection_id, server_ref, state, note_token)
           VALUES (1, '101', 'quarantined', 'x') RETURNING id)
INSERT INTO quarantine (connection_id, server_ref, claim_id, step, reason)
SELECT 1, '101', id, 'ping', 'silent' FROM c"""


JUDGED: Mapping[str, Callable[[Session, Spans], object]] = {
    "restrict": lambda session, spans: connections.restrict(session, 1, "ping", "all fail", spans),
    "heal": lambda session, _: connections.heal(session, 1, ["ping"]),
    "resume": lambda session, _: connections.resume(session, 1),
}


@pytest.mark.parametrize("then", JUDGED)
def test_who_takes_a_server_out_of_sale_keeps_nobody_from_judging_the_place(site: Site, then: str) -> None:
    # two who have both done the one and want the other would wait for each other: one touch would be lost
    other = site.database.engine.raw_connection()
    other.cursor().execute(f"BEGIN; {STRIKE}")
    with site.database.transaction() as session:
        session.rows("SET LOCAL lock_timeout = '5s'")
        JUDGED[then](session, site.spans)
    other.cursor().execute("ROLLBACK")
    other.close()
