"""What has ended costs nothing: no statement of the hot path, a tick, a list or a message reads a big table whole."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from provisioner.drivers.fake import InstallEnd
from provisioner.store import connections
from provisioner.store.database import Database
from provisioner.usecases import tell
from tests.bench import seed
from tests.plans import planned
from tests.site import Site

pytestmark = pytest.mark.timeout(300)
PLACES = 5
ENDED = 3_000
#: both secrets of each order come due at one instant, as after a hand-over
DUE = """
UPDATE secret SET expires_at = clock_timestamp() - interval '1 s'
 WHERE id IN (SELECT unnest(ARRAY[root_secret, panel_secret]) FROM service)"""
KEPT = """
SELECT count(*) FROM service WHERE root_secret IS NOT NULL OR panel_secret IS NOT NULL"""
TICKETS = """
SELECT count FROM ticket WHERE opened_at > clock_timestamp() - interval '1 h' AND state = 'closed'
 ORDER BY id DESC LIMIT 1"""


@pytest.fixture
def site(database_url: str) -> Iterator[Site]:
    """Give a site of several places on which thousands of orders have ended, and some wait."""
    made = Site(database_url)
    made.database.rows("INSERT INTO department (name, address) VALUES ('default', 'oncall@example.net')")
    for n in range(1, PLACES + 1):
        connection = made.connect(f"dc{n}")
        made.package("small" if n == 1 else f"small-{n}", connections=(connection,))
        if n > 1:
            servers = seed.listed(installing=True)
            made.database.rows(seed.SERVERS, connection=connection, **servers, first=1, last=ENDED // PLACES)
    for n in range(30):
        made.world.add_server(f"10{n:02}")
    placed = made.order("first")
    made.run(made.ended(placed.job_id))
    seed.finish(made.database, ENDED)
    yield made
    made.database.close()


def test_an_order_from_its_first_tick_to_its_hand_over(site: Site) -> None:
    with planned() as seen:
        placed = [site.order(f"ord-{n}") for n in range(3)]
        site.run(site.ended(*(one.job_id for one in placed)))
        site.reconciler.sweep()
        site.planner.look_again()
        site.life.make_way(10, policies=site.policies)

    assert {site.job(one.job_id)["state"] for one in placed} == {"succeeded"}
    assert seen.statements > 50
    assert not seen.whole, "\n".join(seen.whole)


def test_an_attempt_that_fails_is_undone_and_tried_elsewhere(site: Site) -> None:
    for server in site.world.servers.values():
        server.install_ends = [InstallEnd.FAILED]
    with planned() as seen:
        placed = site.order("ord-1")
        site.run(lambda: site.database.value("SELECT count(*) FROM attempt WHERE n > 1") > 0)

    assert site.job(placed.job_id)["state"] != "succeeded"
    assert not seen.whole, "\n".join(seen.whole)


def test_a_place_that_goes_and_comes_back_is_told(site: Site) -> None:
    with planned() as seen:
        for n in range(3):
            with site.database.transaction() as session:
                connections.pause(session, 1, "away", f"it is away, time {n}")
            tell.project(tickets=site.tickets, waker=site.waker, sweep=True)
            site.run(lambda: site.database.value("SELECT state FROM connection WHERE id = 1") == "active")
            tell.project(tickets=site.tickets, waker=site.waker, sweep=True)
            while site.tickets.take("test") is not None:
                site.database.rows("UPDATE heartbeat SET at = clock_timestamp() WHERE name = 'deliver'")

    assert site.database.value(TICKETS) == 3
    assert not seen.whole, "\n".join(seen.whole)


def test_secrets_that_are_due_are_erased_without_reading_all_services(site: Site) -> None:
    site.database.rows(DUE)
    before = whole_reads(site.database)
    with planned() as seen:
        site.reconciler.sweep()

    assert site.database.value(KEPT) == 0
    assert not seen.whole, "\n".join(seen.whole)
    assert whole_reads(site.database) == before  # the foreign keys' own look-ups are in no plan


def whole_reads(database: Database) -> int:
    """Count the reads from end to end of the tables that can name a secret, by PostgreSQL's own books."""
    database.close()  # a session's counts are written at its end at the latest
    ends = time.monotonic() + 20
    while database.value("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
                         "AND backend_type = 'client backend'") > 1:  # fmt: skip
        assert time.monotonic() < ends
    count: int = database.value("SELECT sum(seq_scan) FROM pg_stat_user_tables WHERE relname IN ('service', 'job')")
    return count
