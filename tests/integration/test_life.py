"""The whole life of a service on the fake data centre: what is asked, what the world looks like afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from provisioner.domain.attempt import Command, Verb
from provisioner.domain.life import Wish
from provisioner.domain.server import FREE_MARKER, Power
from provisioner.domain.states import JobKind
from provisioner.drivers.fake import Call, FakeServer, InstallEnd
from provisioner.errors import IllegalMove, PoolEmpty
from provisioner.ports import Sealed
from tests.site import Site


@pytest.fixture
def site(database_url: str) -> Iterator[Site]:
    made = Site(database_url)
    made.connect()
    made.package()
    yield made
    made.database.close()


@pytest.fixture
def server(site: Site) -> FakeServer:
    """Hand one server over to the order ord-1."""
    made = site.world.add_server("101")
    job = site.order().job_id
    site.run(site.ended(job))
    assert site.job(job)["state"] == "succeeded", site.trail()
    return made


def ask(site: Site, kind: JobKind, *, key: str | None = None, secret: str | None = None, **params: Any) -> int:
    sealed = Sealed(*site.vault.seal(secret)) if secret else None
    asked, due = site.life.wish(
        "panel", "ord-1", Wish(kind, params), by="cli anna", key=key, secret=sealed, policies=site.policies
    )
    site.waker.wake(due)
    return asked.job_id


def done(site: Site, job: int) -> str:
    site.run(site.ended(job))
    found = site.job(job)
    assert found["state"] == "succeeded", f"{found['reason']}\n{site.trail()}"
    return str(found["reason"])


def service(site: Site) -> Any:  # noqa: ANN401 - a row
    return site.database.rows("SELECT * FROM service WHERE external_ref = 'ord-1'")[0]


def held(site: Site) -> bool:
    return bool(site.database.value("SELECT count(*) FROM attempt WHERE state = 'held'"))


def open_ports(server: FakeServer) -> list[bool]:
    return [link.on for link in server.links if link.kind.value == "switch"]


# --- suspend and resume -------------------------------------------------------------------------------------------


def test_suspend_switches_ports_off_and_resume_switches_them_on_and_nothing_else(
    site: Site, server: FakeServer
) -> None:
    before = len(site.world.calls(mutating=True))
    done(site, ask(site, JobKind.SUSPEND, reason="billing"))
    off, state = open_ports(server), service(site)["state"]
    done(site, ask(site, JobKind.RESUME, reason="billing"))
    acts = [call.method for call in site.world.calls(mutating=True)[before:]]

    assert (off, state) == ([False, False], "suspended")
    assert (open_ports(server), service(site)["state"]) == ([True, True], "active")
    assert acts == ["set_link"] * 4
    assert server.power is Power.ON
    assert server.installs == 1
    bmc = [link for link in server.links if link.kind.value == "bmc"]
    assert not any(call.args.get("link") == bmc[0].ref for call in site.world.calls("set_link"))


def test_a_package_may_disable_too(site: Site) -> None:
    site.database.rows("UPDATE package SET suspend_by = 'ports+disable'")
    server = site.world.add_server("101")
    site.run(site.ended(site.order().job_id))
    done(site, ask(site, JobKind.SUSPEND, reason="abuse"))
    suspended = (server.disabled, open_ports(server))
    done(site, ask(site, JobKind.RESUME, reason="abuse"))

    assert suspended == (True, [False, False])
    assert (server.disabled, open_ports(server)) == (False, [True, True])


def test_ports_stay_off_while_a_reason_is_left(site: Site, server: FakeServer) -> None:
    done(site, ask(site, JobKind.SUSPEND, reason="billing"))
    done(site, ask(site, JobKind.SUSPEND, reason="abuse"))
    says = done(site, ask(site, JobKind.RESUME, reason="billing"))

    assert says == "it stays suspended (abuse)"
    assert open_ports(server) == [False, False]
    assert service(site)["suspended_by"] == ["abuse"]


def test_a_storm_of_changes_of_mind_costs_one_change_of_a_port(site: Site, server: FakeServer) -> None:
    before = len(site.world.calls("set_link"))
    jobs = []
    for _ in range(20):
        jobs.append(ask(site, JobKind.SUSPEND, reason="billing"))
        jobs.append(ask(site, JobKind.RESUME, reason="billing"))
    jobs.append(ask(site, JobKind.SUSPEND, reason="billing"))
    site.run(site.ended(*set(jobs)))

    assert open_ports(server) == [False, False]
    assert len(site.world.calls("set_link")) - before == 2
    assert {site.job(job)["state"] for job in set(jobs)} <= {"succeeded", "superseded"}


# --- close --------------------------------------------------------------------------------------------------------


def test_close_leaves_a_server_that_may_be_sold_and_nothing_of_the_customer(site: Site, server: FakeServer) -> None:
    done(site, ask(site, JobKind.ADD_ADDRESS, key="k1", count=2, family="ipv4"))
    before = len(site.world.calls(mutating=True))
    done(site, ask(site, JobKind.CLOSE))
    acts = [call.method for call in site.world.calls(mutating=True)[before:]]

    assert server.owner is None
    assert "claim" not in server.notes
    assert [(row.main, row.domain) for row in server.addresses] == [(True, FREE_MARKER)]
    assert server.disabled
    assert open_ports(server) == [False, False]
    assert (service(site)["state"], service(site)["claim_id"]) == ("closed", None)
    assert acts.index("disable") < acts.index("delete_address") < acts.index("set_domain") < acts.index("edit_server")
    assert acts[-1] == "edit_server"
    assert site.database.value("SELECT state FROM claim") == "ended"
    assert site.database.value("SELECT count(*) FROM address WHERE state = 'live'") == 0


def test_a_closed_server_is_sold_again(site: Site, server: FakeServer) -> None:
    done(site, ask(site, JobKind.CLOSE))
    job = site.order("ord-2").job_id
    site.run(site.ended(job))

    assert site.job(job)["state"] == "succeeded", site.trail()
    assert server.installs == 2


def test_close_of_an_order_that_waits_for_stock_touches_nothing(site: Site) -> None:
    job = site.order().job_id
    site.run(lambda: site.job(job)["waits_for"] == "stock")
    done(site, ask(site, JobKind.CLOSE))

    assert site.job(job)["state"] == "cancelled"
    assert service(site)["state"] == "closed"
    assert site.world.calls(mutating=True) == []


def test_close_of_a_running_open_undoes_it_and_the_server_is_free(site: Site) -> None:
    server = site.world.add_server("101")
    server.install_ends = [InstallEnd.HANGS]
    opened = site.order().job_id
    site.run(lambda: server.installing)
    closed = ask(site, JobKind.CLOSE)
    site.run(site.ended(opened, closed))

    assert site.job(opened)["state"] == "cancelled", site.trail()
    assert site.job(closed)["state"] == "succeeded"
    assert (server.owner, service(site)["state"]) == (None, "closed")


def test_a_close_that_fails_half_way_keeps_the_server_and_is_tried_again(site: Site, server: FakeServer) -> None:
    site.world.fault("set_domain", PoolEmpty, times=None)
    job = ask(site, JobKind.CLOSE)
    site.run(lambda: bool(site.database.value("SELECT count(*) FROM event WHERE kind = 'release_incomplete'")))
    owned = server.owner
    site.world.heal()
    site.database.rows("UPDATE attempt SET resume_at = clock_timestamp() WHERE state = 'waiting'")
    done(site, job)

    assert owned is not None, "the owner leaves last"
    assert server.owner is None


@pytest.mark.parametrize(("step", "act"), [("drop_addresses", "delete_address"), ("free_domain", "set_domain")])
def test_no_step_of_a_close_can_be_skipped_and_leave_a_free_server_with_a_customers_things(
    site: Site, server: FakeServer, step: str, act: str
) -> None:
    done(site, ask(site, JobKind.ADD_ADDRESS, key="k1", count=1, family="ipv4"))
    job = ask(site, JobKind.CLOSE)

    def press(_: Call) -> None:
        site.services.command(job, Command(Verb.HOLD, by="cli anna"), site.policies)

    site.world.fault(act, hook=press)
    site.run(lambda: held(site))

    with pytest.raises(IllegalMove, match="can't be skipped"):
        site.services.command(job, Command(Verb.SKIP, by="cli anna", reason="in haste"), site.policies)
    site.services.command(job, Command(Verb.RETRY, by="cli anna"), site.policies)
    done(site, job)
    assert [(row.main, row.domain) for row in server.addresses] == [(True, FREE_MARKER)]


def test_a_server_that_became_somebody_elses_is_not_touched(site: Site, server: FakeServer) -> None:
    server.owner = site.world.add_user("stranger").ref
    before = len(site.world.calls(mutating=True))
    ask(site, JobKind.CLOSE)
    site.run(lambda: held(site))

    assert site.world.calls(mutating=True)[before:] == []
    assert site.database.value("SELECT reason_class FROM attempt WHERE state = 'held'") == "drift"


# --- addresses ----------------------------------------------------------------------------------------------------


def test_addresses_are_added_with_the_hostname_and_deleted_again(site: Site, server: FakeServer) -> None:
    done(site, ask(site, JobKind.ADD_ADDRESS, key="k1", count=2, family="ipv6"))
    added = [row for row in server.addresses if not row.main]
    held = [row["ip"] for row in site.database.rows("SELECT ip FROM address WHERE state = 'live' AND NOT main")]
    done(site, ask(site, JobKind.DELETE_ADDRESS, ip=added[0].ip))
    done(site, ask(site, JobKind.DELETE_ADDRESS, ip=added[0].ip))

    assert [(row.family.value, row.domain) for row in added] == [("ipv6", "ord-1.example.net")] * 2
    assert held == [row.ip for row in added]
    assert [row.ip for row in server.addresses if not row.main] == [added[1].ip]


def test_a_pool_that_runs_dry_half_way_gives_back_what_was_taken(site: Site, server: FakeServer) -> None:
    site.world.fault("add_address", PoolEmpty, skip=1, times=None)
    job = ask(site, JobKind.ADD_ADDRESS, key="k1", count=2, family="ipv4")
    site.run(site.ended(job))

    assert site.job(job)["state"] == "failed"
    assert [row.main for row in server.addresses] == [True]
    assert service(site)["state"] == "active"


def test_the_main_address_stays(site: Site, server: FakeServer) -> None:
    main = server.addresses[0].ip
    ask(site, JobKind.DELETE_ADDRESS, ip=main)
    site.run(lambda: held(site))

    assert [row.ip for row in server.addresses] == [main]


# --- password, reinstall, power, sync -----------------------------------------------------------------------------


def test_a_new_password_is_seen_by_a_log_in_and_then_forgotten(site: Site, server: FakeServer) -> None:
    done(site, ask(site, JobKind.CHANGE_PASSWORD, key="k1", secret="correct horse"))
    site.reconciler.sweep()

    login = site.database.value("SELECT login FROM account")
    assert site.world.passwords[server.owner] == "correct horse"  # type: ignore[index]
    assert [call.args["login"] for call in site.world.calls("logs_in")] == [login]
    assert site.database.value("SELECT secret_id FROM job WHERE kind = 'change_password'") is None
    assert site.database.value("SELECT count(*) FROM secret") == 3  # the connection's, root, panel


def test_a_reinstall_wipes_once_and_gives_billing_a_new_password(site: Site, server: FakeServer) -> None:
    old = server.os_password
    done(site, ask(site, JobKind.REINSTALL, key="k1", secret="battery-staple", os="ISPsystem__CentOS-7-amd64"))

    assert (server.installs, server.os, server.os_password) == (2, "ISPsystem__CentOS-7-amd64", "battery-staple")
    assert old != server.os_password
    assert service(site)["os"] == "ISPsystem__CentOS-7-amd64"
    root = site.engine.secret(service(site)["root_secret"])
    assert site.vault.open(root) == "battery-staple"
    assert service(site)["state"] == "active"


def test_a_reinstall_that_fails_is_held_and_never_quarantined(site: Site, server: FakeServer) -> None:
    server.install_ends = [InstallEnd.FAILED]
    ask(site, JobKind.REINSTALL, key="k1", secret="battery-staple", os="ISPsystem__CentOS-7-amd64")
    site.run(lambda: held(site))

    assert (server.disabled, service(site)["state"]) == (False, "active")
    assert site.database.value("SELECT count(*) FROM quarantine") == 0


def test_power_goes_off_and_on_and_a_reboot_is_sent_once(site: Site, server: FakeServer) -> None:
    done(site, ask(site, JobKind.POWER, state="off"))
    off = server.power
    done(site, ask(site, JobKind.POWER, state="on"))
    done(site, ask(site, JobKind.POWER, state="reboot", key="k1"))

    assert (off, server.power, server.reboots) == (Power.OFF, Power.ON, 1)


def test_a_sync_tells_what_differs_and_changes_nothing(site: Site, server: FakeServer) -> None:
    done(site, ask(site, JobKind.SYNC))
    before = len(site.world.calls(mutating=True))
    server.disabled = True
    done(site, ask(site, JobKind.SYNC))

    text = site.database.value("SELECT text FROM event WHERE kind = 'configured' ORDER BY id DESC LIMIT 1")
    assert text == "as read: differs in disabled"
    assert site.world.calls(mutating=True)[before:] == []
    assert service(site)["facts"]["disabled"] is True


# --- one at a time ------------------------------------------------------------------------------------------------


def test_a_suspend_asked_during_the_open_runs_after_hand_over(site: Site) -> None:
    server = site.world.add_server("101")
    opened = site.order().job_id
    site.run(lambda: server.installing or server.installs > 0)
    suspended = ask(site, JobKind.SUSPEND, reason="billing")
    site.run(site.ended(opened, suspended))

    assert [site.job(job)["state"] for job in (opened, suspended)] == ["succeeded", "succeeded"]
    assert open_ports(server) == [False, False]


def test_a_suspend_asked_of_an_order_that_waits_for_stock_is_kept_until_it_is_handed_over(site: Site) -> None:
    opened = site.order().job_id
    site.run(lambda: site.job(opened)["waits_for"] == "stock")
    suspended = ask(site, JobKind.SUSPEND, reason="billing")
    site.run(lambda: site.job(suspended)["waits_for"] == "job")
    waiting = site.job(suspended)["reason"]
    server = site.world.add_server("101")
    site.run(site.ended(opened, suspended))

    assert waiting == f"job {opened} (open) goes first"
    assert [site.job(job)["state"] for job in (opened, suspended)] == ["succeeded", "succeeded"]
    assert (open_ports(server), service(site)["state"]) == ([False, False], "suspended")


def test_a_suspend_behind_an_order_that_is_cancelled_without_a_server_ends_with_it(site: Site) -> None:
    opened = site.order().job_id
    site.run(lambda: site.job(opened)["waits_for"] == "stock")
    suspended = ask(site, JobKind.SUSPEND, reason="billing")
    site.run(lambda: site.job(suspended)["waits_for"] == "job")
    site.services.command(opened, Command(Verb.CANCEL, by="cli anna"), site.policies)
    site.run(site.ended(suspended))

    assert [site.job(job)["state"] for job in (opened, suspended)] == ["cancelled", "superseded"]


def test_a_suspend_of_an_order_that_fails_is_superseded_with_the_reason(site: Site) -> None:
    site.database.rows("UPDATE package SET attempts_max = 1")
    server = site.world.add_server("101")
    server.install_ends = [InstallEnd.FAILED]
    opened = site.order().job_id
    site.run(lambda: server.installs > 0)
    suspended = ask(site, JobKind.SUSPEND, reason="billing")
    site.run(site.ended(opened, suspended))

    assert (site.job(opened)["state"], site.job(suspended)["state"]) == ("failed", "superseded")
    assert "failed" in site.job(suspended)["reason"]


def test_abuse_interrupts_a_reinstall_which_goes_on_after_the_resume(site: Site, server: FakeServer) -> None:
    server.install_ends = [InstallEnd.HANGS]
    reinstall = ask(site, JobKind.REINSTALL, key="k1", secret="battery-staple", os=server.os)
    site.run(lambda: server.installing)
    done(site, ask(site, JobKind.SUSPEND, reason="abuse"))
    interrupted = site.job(reinstall)["state"]
    suspended = open_ports(server)
    server.installing = False
    server.pending.clear()
    server.os, server.host_key = "ISPsystem__Debian-12-x86_64", "SHA256:new"
    done(site, ask(site, JobKind.RESUME, reason="abuse"))
    done(site, reinstall)

    assert (interrupted, suspended) == ("interrupted", [False, False])
    assert server.installs == 2, "one for the order, one for the reinstall"


def test_a_suspended_service_refuses_a_reinstall_with_a_sentence(site: Site, server: FakeServer) -> None:
    done(site, ask(site, JobKind.SUSPEND, reason="abuse"))

    with pytest.raises(IllegalMove, match=r"service ord-1: the service is suspended \(abuse\); resume it first"):
        ask(site, JobKind.REINSTALL, key="k1", secret="battery-staple", os=server.os)


def test_the_same_key_is_the_same_job(site: Site, server: FakeServer) -> None:
    first = ask(site, JobKind.ADD_ADDRESS, key="k1", count=1, family="ipv4")
    second = ask(site, JobKind.ADD_ADDRESS, key="k1", count=1, family="ipv4")
    done(site, first)

    assert first == second
    assert len(server.addresses) == 2


# --- the blast guard ----------------------------------------------------------------------------------------------


def many(site: Site, number: int) -> None:
    """Put up active services that no test touches, without a server behind them."""
    site.database.rows(
        "INSERT INTO service (panel, external_ref, package_id, package, state, customer_ref, login, hostname, os, "
        "fingerprint, handed_over_at) SELECT 'panel', 'svc-' || n, p.id, s.package, 'active', 'c', 'l', 'h', 'o', "
        "'{}', clock_timestamp() FROM generate_series(1, %(number)s) n, package p, service s LIMIT %(number)s",
        number=number,
    )


def by_token(site: Site, ref: str, kind: JobKind, **params: Any) -> int:
    asked, _ = site.life.wish("panel", ref, Wish(kind, params), by="token shop", policies=site.policies)
    return asked.job_id


def waiting(site: Site) -> int:
    found: int = site.database.value("SELECT count(*) FROM job WHERE waits_for = 'hold'")
    return found


def test_more_than_twenty_wipes_of_one_token_are_held_told_once_and_let_go(site: Site, server: FakeServer) -> None:
    many(site, 22)
    for n in range(1, 21):
        by_token(site, f"svc-{n}", JobKind.REINSTALL, os=server.os)
    last = by_token(site, "ord-1", JobKind.CLOSE)
    for n in (21, 22):
        by_token(site, f"svc-{n}", JobKind.REINSTALL, os=server.os)
    held_now = waiting(site)
    told = site.database.value("SELECT count(*) FROM event WHERE kind = 'held'")
    untouched = (site.job(last)["state"], service(site)["desired"], server.owner is not None)
    with pytest.raises(IllegalMove, match="provisioner token release shop"):
        site.services.command(last, Command(Verb.RETRY, by="cli anna"), site.policies)
    site.database.rows("UPDATE job SET state = 'cancelled' WHERE kind = 'reinstall'")  # they have no server here
    count, _ = site.life.let_go("token shop", policies=site.policies)
    done(site, last)

    assert (held_now, told, count) == (3, 1, 1)
    assert untouched == ("queued", "active", True)
    assert server.owner is None


def test_a_storm_of_suspends_is_held_from_a_tenth_of_the_fleet_and_dropped(site: Site, server: FakeServer) -> None:
    many(site, 199)
    jobs = [by_token(site, f"svc-{n}", JobKind.SUSPEND, reason="billing") for n in range(1, 41)]
    held_now = waiting(site)
    dropped = site.life.drop("token shop")

    assert (held_now, dropped) == (20, 20)
    assert [site.job(job)["state"] for job in jobs[20:]] == ["cancelled"] * 20
    assert ask(site, JobKind.SUSPEND, reason="billing"), "what is typed by hand is not counted"
    assert waiting(site) == 0
