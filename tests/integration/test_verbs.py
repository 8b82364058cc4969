"""On-call's verbs on real jobs: what the world looks like afterwards."""

from collections.abc import Iterator

import pytest

from provisioner.cli.job import span
from provisioner.domain.server import FREE_MARKER, ServerRef
from provisioner.drivers.fake import Call, InstallEnd
from provisioner.errors import IllegalMove, Invalid, NotFound
from provisioner.store.holds import HoldsStore
from provisioner.store.reads import ReadsStore
from provisioner.usecases import holds, operate
from provisioner.views import failures
from tests.site import Site


@pytest.fixture
def site(database_url: str) -> Iterator[Site]:
    made = Site(database_url)
    made.connect()
    yield made
    made.database.close()


def who(site: Site, *, dry_run: bool = False) -> operate.Operator:
    return operate.Operator("ops", site.services, site.waker, site.policies, dry_run)


def retry(site: Site, job: int) -> None:
    operate.retry(job, who(site))


def cancel(site: Site, job: int) -> None:
    operate.cancel(job, who(site), reason="test")


def held(site: Site) -> bool:
    return site.database.row("SELECT id FROM attempt WHERE state = 'held'") is not None


def standing_at(site: Site, step: str) -> bool:
    return (
        site.database.row(
            "SELECT s.name FROM attempt a JOIN step s ON s.attempt_id = a.id AND s.pos = a.pos "
            "WHERE s.name = %(step)s AND s.acted_at IS NOT NULL AND a.state = 'waiting'",
            step=step,
        )
        is not None
    )


def test_a_held_attempt_is_retried_where_it_stands_and_goes_through(site: Site) -> None:
    site.package(on_failure="hold")
    server = site.world.add_server("101")
    server.install_ends = [InstallEnd.FAILED, InstallEnd.DONE]
    placed = site.order()
    site.run(lambda: held(site))

    retry(site, placed.job_id)
    site.run(site.ended(placed.job_id))

    assert site.job(placed.job_id)["state"] == "succeeded", site.trail()
    assert len(site.world.calls("install", mutating=True)) == 2


def test_a_cancel_during_the_install_gives_the_server_back(site: Site) -> None:
    site.package()
    server = site.world.add_server("101")
    server.install_ends = [InstallEnd.HANGS]
    placed = site.order()
    site.run(lambda: standing_at(site, "install_os"))

    cancel(site, placed.job_id)
    cancel(site, placed.job_id)
    site.run(site.ended(placed.job_id))

    assert site.job(placed.job_id)["state"] == "cancelled", site.trail()
    assert server.owner is None
    assert [row.domain for row in server.addresses] == [FREE_MARKER]
    assert "provisioner" not in server.notes
    assert site.database.value("SELECT state FROM service") == "failed"


def test_an_order_without_stock_waits_and_is_cancelled_without_a_trace(site: Site) -> None:
    site.package()
    placed = site.order()
    site.run(lambda: site.job(placed.job_id)["waits_for"] == "stock")

    cancel(site, placed.job_id)

    assert site.job(placed.job_id)["state"] == "cancelled"
    assert site.world.calls(mutating=True) == []


def test_stock_that_appears_wakes_the_order_that_waits_for_it(site: Site) -> None:
    site.package()
    placed = site.order()
    site.run(lambda: site.job(placed.job_id)["waits_for"] == "stock")

    site.world.add_server("101")
    site.run(site.ended(placed.job_id))

    assert site.job(placed.job_id)["state"] == "succeeded"


def test_a_failed_job_is_retried_with_fresh_candidates(site: Site) -> None:
    site.package(attempts_max=1)
    site.world.add_server("101").install_ends = [InstallEnd.FAILED]
    placed = site.order()
    site.run(site.ended(placed.job_id))
    assert site.job(placed.job_id)["state"] == "failed", site.trail()

    site.world.add_server("102")
    retry(site, placed.job_id)
    site.run(site.ended(placed.job_id))

    assert site.job(placed.job_id)["state"] == "succeeded", site.trail()
    assert site.world.servers[ServerRef("101")].owner == site.world.administrator.ref


def test_a_succeeded_job_is_neither_retried_nor_cancelled(site: Site) -> None:
    site.package()
    site.world.add_server("101")
    placed = site.order()
    site.run(site.ended(placed.job_id))

    with pytest.raises(IllegalMove, match="is succeeded"):
        retry(site, placed.job_id)
    with pytest.raises(IllegalMove, match="is succeeded"):
        cancel(site, placed.job_id)
    with pytest.raises(NotFound, match="no job 4711"):
        cancel(site, 4711)


def test_a_step_that_fails_on_three_servers_restricts_the_place_and_a_canary_heals_it(site: Site) -> None:
    site.package(attempts_max=9)
    for n in range(8):
        site.world.add_server(f"10{n}").install_ends = [InstallEnd.FAILED] * 3
    placed = site.order()
    site.run(lambda: site.database.value("SELECT state FROM connection") == "restricted")
    site.run(lambda: site.job(placed.job_id)["waits_for"] == "site")

    for server in site.world.servers.values():
        server.install_ends = []
    site.run(site.ended(placed.job_id))

    assert site.job(placed.job_id)["state"] == "succeeded", site.trail()
    assert site.database.value("SELECT state FROM connection") == "active"
    assert site.database.value("SELECT count(*) FROM quarantine WHERE site AND reason_class = 'server'") == 2
    assert site.database.value("SELECT count(*) FROM event WHERE kind = 'connection_restricted'") == 1
    site.run(lambda: site.database.value("SELECT count(*) FROM claim WHERE state = 'quarantined'") == 0)


# --- said beforehand, and the rest of the verbs -------------------------------------------------------------------


def a_held_install(site: Site) -> int:
    """Hold an order at its failed install; a second server is free."""
    site.package(on_failure="hold")
    site.world.add_server("101").install_ends = [InstallEnd.FAILED]
    job = site.order().job_id
    site.run(lambda: held(site))
    return job


def test_what_a_verb_does_to_the_disks_is_said_beforehand_and_nothing_is_done(site: Site) -> None:
    job = a_held_install(site)
    asked = who(site, dry_run=True)
    before = site.trail()

    assert operate.retry(job, asked) == "runs again from install_os, 3 steps; the disks are WIPED again"
    assert "the disks are WIPED again" in operate.retry(job, asked, step="address", wipe=True)
    assert operate.skip(job, asked, step="install_os", reason="done by hand").startswith("goes on after install_os")
    assert "puts this server into quarantine" in operate.swap(job, asked, reason="slow")
    assert "the disks stay as they are" in operate.cancel(job, asked)
    assert site.trail() == before


def test_crossing_the_install_again_needs_wipe(site: Site) -> None:
    job = a_held_install(site)

    with pytest.raises(IllegalMove, match="wipe"):
        operate.retry(job, who(site), step="address")
    operate.retry(job, who(site), step="address", wipe=True)
    site.run(site.ended(job))

    assert site.job(job)["state"] == "succeeded", site.trail()
    assert site.world.servers[ServerRef("101")].installs == 2


def test_a_swap_takes_the_next_server_and_quarantines_this_one(site: Site) -> None:
    job = a_held_install(site)
    site.world.add_server("102")
    operate.swap(job, who(site), reason="slow disks")
    site.run(site.ended(job))

    assert site.job(job)["state"] == "succeeded", site.trail()
    assert site.world.servers[ServerRef("102")].installs == 1
    assert "slow disks" in site.world.servers[ServerRef("101")].notes


def test_a_running_job_is_held_and_goes_on_after_a_retry(site: Site) -> None:
    site.package()
    server = site.world.add_server("101")
    server.install_ends = [InstallEnd.HANGS]
    job = site.order().job_id
    site.run(lambda: standing_at(site, "install_os"))

    operate.hold(job, who(site), reason="the customer is on the phone")
    site.run(lambda: held(site))
    with pytest.raises(IllegalMove, match="held already"):
        operate.hold(job, who(site), reason="again")
    operate.cancel(job, who(site))
    site.run(site.ended(job))

    assert site.job(job)["state"] == "cancelled"
    assert server.owner is None


@pytest.mark.parametrize(("reason", "told"), [("new disk", "retry by ops: new disk"), ("", "retry by ops")])
def test_a_retry_is_told_with_its_reason_where_it_has_one(site: Site, reason: str, told: str) -> None:
    site.package()
    site.world.add_server("101").install_ends = [InstallEnd.HANGS]
    job = site.order().job_id
    site.run(lambda: standing_at(site, "install_os"))
    operate.hold(job, who(site), reason="the disk is changed")
    site.run(lambda: held(site))

    def commanded() -> list[str]:
        rows = site.database.rows("SELECT text FROM event WHERE kind = 'commanded' ORDER BY id")
        return [row["text"] for row in rows]

    operate.retry(job, who(site), reason=reason)
    site.run(lambda: len(commanded()) > 1)

    assert commanded() == ["hold by ops: the disk is changed", told]


def test_a_queued_job_is_held_and_let_go(site: Site) -> None:
    site.package()
    job = site.order().job_id
    site.run(lambda: site.job(job)["waits_for"] == "stock")
    operate.hold(job, who(site), reason="fraud check")
    site.world.add_server("101")
    for _ in range(20):
        site.tick()
    waits = site.job(job)["waits_for"]
    operate.retry(job, who(site))
    site.run(site.ended(job))

    assert waits == "hold"
    assert site.job(job)["state"] == "succeeded", site.trail()


def test_a_verb_that_falls_into_the_last_touch_is_refused_and_the_attempt_ends(site: Site) -> None:
    site.package()
    server = site.world.add_server("101")
    job = site.order().job_id

    def press(_: Call) -> None:
        operate.hold(job, who(site), reason="a moment too late")

    site.world.fault("edit_server", after=True, skip=1, hook=press)
    site.run(site.ended(job))

    attempt = site.database.rows("SELECT state, command, result FROM attempt")
    told = [row["text"] for row in site.database.rows("SELECT text FROM event WHERE kind = 'command_refused'")]
    assert site.job(job)["state"] == "succeeded"
    assert [tuple(row.values()) for row in attempt] == [("ended", None, "succeeded")]
    assert told == ["hold refused: the attempt ended in the same moment"]
    assert [user.login for user in site.world.users if user.ref == server.owner] == ["userord1"]


# --- mass failure -------------------------------------------------------------------------------------------------


def test_what_failed_for_one_cause_is_one_group_and_is_retried_together(site: Site) -> None:
    site.package(on_failure="hold")
    for n in range(2):
        site.world.add_server(f"10{n}").install_ends = [InstallEnd.FAILED]
    jobs = [site.order(f"ord-{n}").job_id for n in range(2)]
    site.run(lambda: site.database.value("SELECT count(*) FROM attempt WHERE state = 'held'") == len(jobs))
    reads = ReadsStore(site.database)
    (group,) = failures.grouped(failures.listing(reads=reads))
    elsewhere = failures.listing(reads=reads, location="fra1")
    other = failures.listing(reads=reads, step="ping")
    for job in group.jobs:
        operate.retry(job, who(site))
    site.run(site.ended(*jobs))

    assert (group.count, group.step, group.reason_class, group.location) == (2, "install_os", "server", "dc1")
    assert group.first_error == "the DCIM says that the install failed"
    assert sorted(group.jobs) == sorted(jobs)
    assert (list(elsewhere), list(other)) == ([], [])
    assert {site.job(job)["state"] for job in jobs} == {"succeeded"}
    assert failures.listing(reads=reads) == []


@pytest.mark.parametrize(("text", "hours"), [("90m", 1.5), ("2h", 2), ("3d", 72)])
def test_a_span_is_read_as_people_type_it(text: str, hours: float) -> None:
    assert span(text).total_seconds() == hours * 3600


@pytest.mark.parametrize("text", ["", "h", "2", "2w", "-2h", "0h"])
def test_a_span_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(Invalid, match="90m, 2h, 3d"):
        span(text)


# --- holds --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["package", "location"])
def test_what_is_held_takes_no_new_order_and_what_is_under_way_goes_on(site: Site, what: str) -> None:
    site.package()
    for n in range(2):
        site.world.add_server(f"10{n}")
    first = site.order("ord-1").job_id
    site.run(lambda: standing_at(site, "install_os") or site.job(first)["state"] == "succeeded")
    store = HoldsStore(site.database)
    if what == "package":
        holds.hold_package("small", by="ops", reason="price change", holds=store)
    else:
        assert holds.hold_location("dc1", by="ops", reason="cooling is down", holds=store) == 1
    second = site.order("ord-2").job_id
    site.run(site.ended(first))
    waiting = site.job(second)
    if what == "package":
        holds.release_package("small", holds=store, waker=site.waker)
    else:
        holds.release_location("dc1", holds=store, waker=site.waker)
    site.run(site.ended(second))

    assert site.job(first)["state"] == "succeeded"
    assert (waiting["state"], waiting["waits_for"]) == ("queued", "hold")
    assert "held by ops: " in waiting["reason"]
    assert site.job(second)["state"] == "succeeded", site.trail()


def test_a_hold_of_nothing_is_named_and_one_without_a_reason_refused(site: Site) -> None:
    store = HoldsStore(site.database)
    with pytest.raises(NotFound, match="location 'fra9'"):
        holds.hold_location("fra9", by="ops", reason="x", holds=store)
    with pytest.raises(Invalid, match="needs a reason"):
        holds.hold_package("small", by="ops", reason=" ", holds=store)
