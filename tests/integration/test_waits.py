"""A queued job's wait ends when what it waits for is there, whoever forgot to say so; and no word waits for a job."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from provisioner.domain.life import Wish
from provisioner.domain.states import JobKind
from provisioner.store import connections
from provisioner.store.catalogue import CatalogueStore
from provisioner.store.database import Session
from provisioner.store.holds import HoldsStore
from tests.plans import planned
from tests.site import SWEEP_IS_DUE, Site

BLOCKED = """
SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"""
ENDED_SILENTLY = """
WITH a AS (UPDATE attempt SET state = 'ended', ended_at = clock_timestamp() WHERE job_id = %(job)s)
UPDATE job SET state = 'superseded', ended_at = clock_timestamp() WHERE id = %(job)s"""
IN_A_TOUCH = "SELECT FROM attempt FOR UPDATE"
NOT_NOW = "SET LOCAL lock_timeout = '500ms'"

#: how it is made to wait, and how that ends with nobody's word
WAITS = {
    "site": (
        "UPDATE connection SET state = 'paused', paused_by = 'hand', paused_at = clock_timestamp()",
        "UPDATE connection SET state = 'active', paused_by = '', paused_at = NULL",
    ),
    "stock": (
        "UPDATE server_view SET passed_over_until = clock_timestamp() + interval '1 h'",
        "UPDATE server_view SET passed_over_until = clock_timestamp()",
    ),
    "hold": ("UPDATE package SET held_reason = 'a recall'", "UPDATE package SET held_reason = ''"),
}


@pytest.fixture
def site(database_url: str) -> Iterator[Site]:
    made = Site(database_url, pool_size=4)
    made.connect()
    made.package()
    made.world.add_server("101")
    yield made
    made.database.close()


def waiting_for(site: Site, what: str) -> int:
    """Order, and let the job wait without an instant of its own."""
    site.waker.lists.add(1)
    site.tick()
    site.database.rows(WAITS[what][0])
    job = site.order().job_id
    site.run(lambda: waits(site, job) == what)
    assert site.database.value("SELECT plan_at FROM job") is None
    return job


def waits(site: Site, job: int) -> str | None:
    found: str | None = site.job(job)["waits_for"]
    return found


@pytest.mark.parametrize("what", WAITS)
def test_a_wait_is_over_though_nobody_said_so(site: Site, what: str) -> None:
    job = waiting_for(site, what)
    site.database.rows(WAITS[what][1])

    site.database.rows(SWEEP_IS_DUE)
    site.run(site.ended(job))

    assert site.job(job)["state"] == "succeeded", site.trail()


def test_a_job_goes_when_the_one_before_it_has_ended_though_nobody_said_so(site: Site) -> None:
    site.run(site.ended(site.order().job_id))
    before, behind = (
        site.life.wish("panel", "ord-1", Wish(kind, {"reason": "billing"}), by="billing", policies=site.policies)[0]
        for kind in (JobKind.SUSPEND, JobKind.SYNC)
    )
    site.run(lambda: waits(site, behind.job_id) == "job")
    early = site.planner.look_again()
    site.database.rows(ENDED_SILENTLY, job=before.job_id)

    site.database.rows(SWEEP_IS_DUE)
    site.run(site.ended(behind.job_id))

    assert early == 0
    assert site.job(behind.job_id)["state"] == "succeeded", site.trail()


@pytest.mark.parametrize("what", WAITS)
def test_a_wait_that_is_not_over_costs_one_statement_and_no_plan(site: Site, what: str) -> None:
    waiting_for(site, what)

    with planned() as seen:
        again = site.planner.look_again()

    assert again == 0
    assert site.database.value("SELECT plan_at FROM job") is None
    assert seen.statements == 1


def test_a_place_heals_while_somebody_holds_a_job_that_waits_for_it(site: Site) -> None:
    job = waiting_for(site, "site")
    site.database.rows("UPDATE connection SET state = 'restricted', restricted_step = 'install_os'")

    with site.database.transaction() as other:
        other.rows("SELECT FROM job WHERE id = %(job)s FOR UPDATE", job=job)
        with site.database.transaction() as session:
            session.rows(NOT_NOW)
            connections.heal(session, 1, ["install_os"])
        other.rows(NOT_NOW)
        other.rows(connections.RESTRICTED, id=1)  # as who reads a list: jobs first, the place last

    assert site.database.value("SELECT state FROM connection") == "active"
    site.database.rows(SWEEP_IS_DUE)
    site.run(site.ended(job))
    assert site.job(job)["state"] == "succeeded", site.trail()


def test_a_hold_is_lifted_while_somebody_holds_a_job_that_waits_for_it(site: Site) -> None:
    job = waiting_for(site, "hold")

    with site.database.transaction() as other:
        other.rows("SELECT FROM job WHERE id = %(job)s FOR UPDATE", job=job)
        HoldsStore(site.database).package("small", "")

    site.database.rows(SWEEP_IS_DUE)
    site.run(site.ended(job))
    assert site.job(job)["state"] == "succeeded", site.trail()


@pytest.mark.parametrize("by", ["hand", "probe", "disabled"])
def test_who_takes_a_pause_off_waits_for_attempts_before_it_takes_the_place(site: Site, by: str) -> None:
    site.order()
    site.run(lambda: bool(site.waker.messages))
    site.database.rows("UPDATE connection SET state = 'paused', paused_by = 'away', paused_at = clock_timestamp()")
    catalogue = CatalogueStore(site.database, site.vault, site.spans)

    def resume() -> None:
        if by == "hand":
            catalogue.resume("dc1", by="hand", reason="it is back")
        elif by == "probe":
            site.waker.lists.add(1)
            site.tick()
        else:
            given = replace(catalogue.connection("dc1"), enabled=False)
            catalogue.save_connection(given, None, site.world.administrator.ref)

    with site.database.transaction() as touch:
        touch.rows(IN_A_TOUCH)
        thread = threading.Thread(target=resume, daemon=True)
        thread.start()
        blocked(site)
        place_is_free(touch)
    thread.join(timeout=20)

    assert not thread.is_alive()
    assert site.database.value("SELECT state FROM connection") == ("disabled" if by == "disabled" else "active")


def blocked(site: Site) -> None:
    """Wait until somebody waits for a lock."""
    ends = time.monotonic() + 10
    while site.database.value(BLOCKED) == 0:
        assert time.monotonic() < ends, "nobody waits"


def place_is_free(session: Session) -> None:
    """Take the place as the end of a touch does: after its attempt."""
    session.rows(NOT_NOW)
    session.rows(connections.RESTRICTED, id=1)
