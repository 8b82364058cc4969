"""The auditor on real PostgreSQL: a clean fleet of 1,000 gives nothing, each thing that is planted is found, alone."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import Any

import pytest

from provisioner.demo.postgres import EmbeddedPostgres
from provisioner.domain.audit import FindingKind
from provisioner.domain.connection import Endpoint
from provisioner.domain.server import AddressRow, Capabilities, Family, RowRef, ServerRef, UserRef
from provisioner.drivers.dcimanager5.driver import Dcimanager5
from provisioner.drivers.fake import Call, FakeServer, Pace
from provisioner.errors import Busy, Fenced, NotFound, Unreachable
from provisioner.simulators import Simulator
from provisioner.store.audit import AuditStore
from provisioner.store.installation import InstallationStore
from provisioner.store.reads import ReadsStore
from provisioner.usecases import audit, installation
from provisioner.usecases.audit import MORE, Report
from provisioner.views import audit as view
from tests.site import SHORT, Site

FLEET = 1000
KINDS = FindingKind


class Fleet:
    """A site with an auditor, and hands to write its books."""

    def __init__(self, site: Site) -> None:
        self.site, self.db, self.world = site, site.database, site.world
        self.audits, self.installation = AuditStore(site.database, SHORT), InstallationStore(site.database)
        self._numbers = itertools.count(1)
        self.db.rows("UPDATE connection SET username = %(u)s", u=self.world.administrator.login)

    def look(self, connection: str | None = None, *, quick: bool = False) -> Sequence[Report]:
        return audit.look(
            connection,
            quick=quick,
            audits=self.audits,
            drivers=self.site.drivers,
            installation=self.installation,
            tell=lambda *_: None,
        )

    def found(self, *, quick: bool = False) -> list[tuple[FindingKind, str]]:
        """Give kind and server of all that is found; all could be read."""
        (report,) = self.look(quick=quick)
        assert report.whole, report
        return [(one.kind, one.server) for one in report.findings]

    def night(self, *, start: bool = True, seconds: float = 60.0, owner: str = "w1") -> str:
        return audit.take_turn(
            1,
            owner=owner,
            start=start,
            seconds=seconds,
            audits=self.audits,
            drivers=self.site.drivers,
            installation=self.installation,
        )

    def server(self, ref: str) -> FakeServer:
        return self.world.servers[ServerRef(ref)]

    def token(self, serial: int) -> str:
        return f"provisioner {self.installation.name()} claim {serial}"

    def claim(self, ref: str, *, state: str = "handed", service: int | None = None) -> int:
        found: int = self.db.value(
            "INSERT INTO claim (connection_id, server_ref, service_id, state, note_token) "
            "VALUES (1, %(ref)s, %(service)s, %(state)s, gen_random_uuid()::text) RETURNING id",
            ref=ref,
            service=service,
            state=state,
        )
        self.db.rows("UPDATE claim SET note_token = %(token)s WHERE id = %(id)s", id=found, token=self.token(found))
        return found

    def account(self, user: str, *, customer: str, made: bool = True, login: str = "") -> None:
        login = login or next((one.login for one in self.world.users if one.ref == user), "")
        self.db.rows(
            "INSERT INTO account (panel, billing_ref, connection_id, login, panel_user_ref, created_by_us, state) "
            "VALUES ('panel', %(c)s, 1, %(login)s, %(user)s, %(made)s, 'live')",
            c=customer, login=login, user=user, made=made,
        )  # fmt: skip

    def service(
        self, ref: str, user: str, ips: Sequence[str], *, state: str = "active", login: str = ""
    ) -> tuple[int, int]:
        """Write the books of a service that was handed over; returns service and claim."""
        n = next(self._numbers)
        self.account(user, customer=f"c{n}", login=login)
        service: int = self.db.value(
            "INSERT INTO service (panel, external_ref, package_id, package, state, customer_ref, login, hostname, os, "
            "fingerprint) VALUES ('panel', %(ref)s, 1, '{}', %(state)s, %(c)s, 'l', 'h.example.net', 'o', '{}') "
            "RETURNING id",
            ref=f"ord-{n}", state=state, c=f"c{n}",
        )  # fmt: skip
        claim = self.claim(ref, service=service)
        self.db.rows("UPDATE service SET claim_id = %(claim)s WHERE id = %(id)s", claim=claim, id=service)
        for ip in ips:
            self.db.rows(
                "INSERT INTO address (service_id, claim_id, connection_id, row_ref, ip, family, state) "
                "VALUES (%(s)s, %(c)s, 1, %(ip)s, %(ip)s, 'ipv4', 'live')",
                s=service, c=claim, ip=ip,
            )  # fmt: skip
        return service, claim

    def quarantine(self, ref: str) -> int:
        claim = self.claim(ref, state="quarantined")
        self.db.rows(
            "INSERT INTO quarantine (connection_id, server_ref, claim_id, reason) VALUES (1, %(ref)s, %(c)s, 'loud')",
            ref=ref,
            c=claim,
        )
        return claim


def sell(fleet: Fleet, ref: str, *, login: str) -> UserRef:
    """Have a server handed over, in the world and in the books."""
    server, user = fleet.server(ref), fleet.world.add_user(login)
    server.addresses.append(row(f"x{ref}", f"198.51.100.{int(ref) % 250}"))
    _, claim = fleet.service(ref, user.ref, [one.ip for one in server.addresses])
    server.owner, server.notes, server.domain = user.ref, fleet.token(claim), f"{login}.example.net"
    return user.ref


def row(ref: str, ip: str) -> AddressRow:
    return AddressRow(RowRef(ref), ip, "old.example.net", Family.IPV4)


@pytest.fixture(scope="module")
def fleet(postgres: EmbeddedPostgres, template_database: str) -> Iterator[Fleet]:
    """
    A clean fleet of 1,000: free servers of which half are disabled, as closes leave them; customers of ours, one in
    quarantine; customers and broken servers that are somebody else's business.
    """
    postgres.create_database("audit", template=template_database)
    site = Site(postgres.url("audit"), pool_size=2)
    site.connect()
    site.package()
    made = Fleet(site)
    for n in range(101, 101 + FLEET):
        site.world.add_server(str(n)).disabled = n % 2 == 0
    for n in range(111, 116):
        made.server(str(n)).disabled = False
        sell(made, str(n), login=f"user{n}")
    quarantined = made.server("121")
    claim = made.quarantine("121")
    quarantined.owner, quarantined.disabled = site.world.administrator.ref, True
    quarantined.notes = f"quarantined: loud\n{made.token(claim)}"
    foreign = site.world.add_user("foreign").ref
    for n in (131, 132):  # by another seller, one of them suspended
        made.server(str(n)).owner, made.server(str(n)).domain = foreign, "f.example.net"
    made.server("133").faulty = True
    made.server("134").notes = "provisioner 00000000 claim 99999"
    made.account(made.world.add_user("manual").ref, customer="c-manual", made=False)
    yield made
    site.database.close()
    postgres.drop_database("audit")


def test_a_clean_fleet_of_a_thousand_gives_nothing_and_costs_what_it_must(fleet: Fleet) -> None:
    fleet.world.journal.clear()

    assert fleet.found() == []

    calls = Counter(call.method for call in fleet.world.journal)
    assert calls == {"list_servers": 1, "users": 1, "survey": FLEET}
    assert max(Counter(call.server for call in fleet.world.calls("survey")).values()) == 1
    assert fleet.world.calls(mutating=True) == []


def test_a_quick_look_at_a_clean_fleet_gives_nothing_and_is_one_call(fleet: Fleet) -> None:
    fleet.world.journal.clear()

    assert fleet.found(quick=True) == []

    assert [call.method for call in fleet.world.journal] == ["list_servers"]


# --- each kind, alone ---------------------------------------------------------------------------------------------

Plant = Callable[[Fleet], AbstractContextManager[None]]
PLANTS: list[tuple[str, Plant, FindingKind, str, bool]] = []


def plant(kind: FindingKind, server: str, *, quick: bool) -> Callable[[Callable[[Fleet], Iterator[None]]], None]:
    """Register something wrong: what is found, on which server, and whether the list alone shows it."""

    def add(make: Callable[[Fleet], Iterator[None]]) -> None:
        PLANTS.append((make.__name__, contextmanager(make), kind, server, quick))

    return add


@contextmanager
def changed(server: FakeServer, **facts: Any) -> Iterator[None]:
    before = {name: getattr(server, name) for name in facts}
    for name, value in facts.items():
        setattr(server, name, value)
    yield
    for name, value in before.items():
        setattr(server, name, value)


@contextmanager
def booked(fleet: Fleet, do: str, undo: str) -> Iterator[None]:
    fleet.db.rows(do)
    yield
    fleet.db.rows(undo)


@plant(KINDS.ADDRESSES_LEFT, "202", quick=False)
def a_free_server_keeps_an_old_customers_address(fleet: Fleet) -> Iterator[None]:
    server = fleet.server("202")
    with changed(server, addresses=[*server.addresses, row("old", "198.51.100.251")]):
        yield


@plant(KINDS.ACTIVE_DISABLED, "111", quick=True)
def the_server_of_an_active_service_is_disabled(fleet: Fleet) -> Iterator[None]:
    with changed(fleet.server("111"), disabled=True):
        yield


@plant(KINDS.SUSPENDED_OPEN, "112", quick=True)
def a_suspended_service_is_not_disabled(fleet: Fleet) -> Iterator[None]:
    service = "UPDATE service SET state = '{}' WHERE id = (SELECT service_id FROM claim WHERE server_ref = '112')"
    by = "UPDATE package SET suspend_by = '{}'"
    with (
        booked(fleet, by.format("ports+disable"), by.format("ports")),
        booked(fleet, service.format("suspended"), service.format("active")),
    ):
        yield


@plant(KINDS.SUSPENDED_OPEN, "112", quick=False)
def a_port_of_a_suspended_service_is_on_where_ports_can_be_read(fleet: Fleet) -> Iterator[None]:
    service = "UPDATE service SET state = '{}' WHERE id = (SELECT service_id FROM claim WHERE server_ref = '112')"
    fleet.world.capabilities = Capabilities(shows_ports=True)
    link = fleet.server("112").links[0]
    link.on = True
    with booked(fleet, service.format("suspended"), service.format("active")):
        yield
    link.on = False
    fleet.world.capabilities = Capabilities(shows_ports=False)


@plant(KINDS.ONE_MACHINE, "301", quick=True)
def two_rows_have_one_mac(fleet: Fleet) -> Iterator[None]:
    with changed(fleet.server("301"), mac=fleet.server("305").mac.lower().replace(":", "-")):
        yield


@plant(KINDS.ONE_MACHINE, "302", quick=True)
def two_rows_have_one_main_address(fleet: Fleet) -> Iterator[None]:
    other = fleet.server("303").main
    assert other is not None
    with changed(fleet.server("302"), addresses=[replace(other, ref=RowRef("copy"))]):
        yield


@plant(KINDS.UNCLAIMED, "401", quick=True)
def our_administrator_owns_a_server_without_a_word(fleet: Fleet) -> Iterator[None]:
    with changed(fleet.server("401"), owner=fleet.world.administrator.ref):
        yield


@plant(KINDS.UNCLAIMED, "403", quick=True)
def our_administrator_owns_a_server_whose_claim_has_ended(fleet: Fleet) -> Iterator[None]:
    claim = fleet.claim("403", state="ended")
    with changed(fleet.server("403"), owner=fleet.world.administrator.ref, notes=fleet.token(claim)):
        yield


@plant(KINDS.FORGOTTEN, "405", quick=False)
def a_customer_owns_a_server_whose_claim_our_books_have_ended(fleet: Fleet) -> Iterator[None]:
    claim = fleet.claim("405", state="ended")
    user = fleet.world.users[-1].ref
    with changed(fleet.server("405"), owner=user, notes=f"x\n{fleet.token(claim)}", domain="a.example.net"):
        yield


@plant(KINDS.OWNER_DIFFERS, "113", quick=True)
def somebody_else_owns_a_customers_server(fleet: Fleet) -> Iterator[None]:
    with changed(fleet.server("113"), owner=fleet.server("131").owner):
        yield


@plant(KINDS.OWNER_DIFFERS, "113", quick=True)
def nobody_owns_a_customers_server(fleet: Fleet) -> Iterator[None]:
    with changed(fleet.server("113"), owner=None):
        yield


@plant(KINDS.OWNER_DIFFERS, "121", quick=True)
def nobody_owns_a_quarantined_server(fleet: Fleet) -> Iterator[None]:
    with changed(fleet.server("121"), owner=None):
        yield


@plant(KINDS.SERVER_GONE, "114", quick=True)
def the_server_of_a_service_is_gone(fleet: Fleet) -> Iterator[None]:
    server = fleet.world.servers.pop(ServerRef("114"))
    yield
    fleet.world.servers[server.ref] = server


@plant(KINDS.ADDRESS_LOST, "115", quick=False)
def a_customers_address_is_gone(fleet: Fleet) -> Iterator[None]:
    server = fleet.server("115")
    with changed(server, addresses=server.addresses[:1]):
        yield


@plant(KINDS.ADDRESS_UNKNOWN, "115", quick=False)
def a_customer_has_an_address_that_our_books_lack(fleet: Fleet) -> Iterator[None]:
    server = fleet.server("115")
    with changed(server, addresses=[*server.addresses, row("more", "2001:db8::77")]):
        yield


@plant(KINDS.ACCOUNT_UNUSED, "", quick=True)
def a_user_that_we_made_has_nothing(fleet: Fleet) -> Iterator[None]:
    user = fleet.world.add_user("leftover")
    fleet.account(user.ref, customer="c-left")
    yield
    fleet.db.rows("DELETE FROM account WHERE billing_ref = 'c-left'")
    fleet.world.users.remove(user)


@plant(KINDS.DISABLED_UNRECORDED, "411", quick=True)
def somebody_took_a_server_out_of_sale_without_a_word(fleet: Fleet) -> Iterator[None]:
    with changed(fleet.server("411"), disabled=True, domain="kept.example.net"):
        yield


@plant(KINDS.DISABLED_UNRECORDED, "413", quick=True)
def a_quarantine_that_our_books_do_not_know(fleet: Fleet) -> Iterator[None]:
    with changed(fleet.server("413"), disabled=True, owner=fleet.world.administrator.ref, notes="quarantined: fan"):
        yield


@plant(KINDS.QUARANTINED_IN_USE, "121", quick=True)
def somebody_uses_a_quarantined_server(fleet: Fleet) -> Iterator[None]:
    with changed(fleet.server("121"), owner=fleet.server("131").owner):
        yield


@plant(KINDS.QUARANTINED_IN_USE, "111", quick=True)
def a_quarantine_never_ended_and_the_server_was_sold(fleet: Fleet) -> Iterator[None]:
    claim = fleet.claim("111", state="ended")
    fleet.db.rows(
        "INSERT INTO quarantine (connection_id, server_ref, claim_id, reason) VALUES (1, '111', %(c)s, 'x')", c=claim
    )
    yield
    fleet.db.rows("DELETE FROM quarantine WHERE claim_id = %(c)s", c=claim)


@plant(KINDS.WENT_BACK, "421", quick=False)
def a_server_carries_a_claim_of_the_time_after_the_backup(fleet: Fleet) -> Iterator[None]:
    with changed(fleet.server("421"), notes=fleet.token(77_000), owner=fleet.server("131").owner, domain="x.example"):
        yield
    fleet.db.rows("UPDATE installation SET halted = '', halted_at = NULL")


@pytest.mark.parametrize(("plants", "kind", "server", "quick"), [one[1:] for one in PLANTS], ids=[p[0] for p in PLANTS])
def test_what_is_planted_in_a_clean_fleet_is_found_with_nothing_else(
    fleet: Fleet, plants: Plant, kind: FindingKind, server: str, *, quick: bool
) -> None:
    with plants(fleet):
        (report,) = fleet.look()
        quickly = fleet.found(quick=True)

    assert [(one.kind, one.server) for one in report.findings] == [(kind, server)]
    (finding,) = report.findings
    assert all((finding.evidence, finding.costs, finding.mend))
    assert "{" not in " ".join(finding.mend)
    assert quickly == ([(kind, server)] if quick else [])
    assert fleet.found() == []


def test_every_kind_of_finding_was_planted() -> None:
    assert {one[2] for one in PLANTS} == set(FindingKind)


def test_a_suspended_service_is_not_judged_by_ports_that_nobody_can_read(fleet: Fleet) -> None:
    service = "UPDATE service SET state = '{}' WHERE id = (SELECT service_id FROM claim WHERE server_ref = '112')"
    with booked(fleet, service.format("suspended"), service.format("active")):
        (report,) = fleet.look()

    assert report.findings == ()
    assert any("port" in said for said in report.unseen)


def test_a_token_of_the_time_after_the_backup_halts_the_installation_by_an_audit(fleet: Fleet) -> None:
    with changed(fleet.server("421"), notes=fleet.token(77_000)):
        fleet.look()

    why = fleet.db.value("SELECT halted FROM installation")
    fleet.db.rows("UPDATE installation SET halted = '', halted_at = NULL")
    assert "server 421 of dc1 carries our claim 77000" in why


# --- what can't be read -------------------------------------------------------------------------------------------


def test_a_server_that_cant_be_read_is_named_and_not_judged(fleet: Fleet) -> None:
    fleet.world.fault("survey", Busy, server="203")

    (report,) = fleet.look()

    assert [server for server, _ in report.unread] == ["203"]
    assert report.findings == ()
    assert not report.whole


@pytest.mark.parametrize("method", ["list_servers", "users", "survey"])
def test_of_a_place_that_is_away_nothing_is_said(fleet: Fleet, method: str) -> None:
    fleet.world.fault(method, Unreachable, skip=3 if method == "survey" else 0)
    before = len(fleet.world.journal)

    (report,) = fleet.look()

    assert (report.findings, bool(report.error)) == ((), True)
    assert len(fleet.world.journal) - before <= 6


def test_a_paused_place_is_read_only_when_it_is_named(fleet: Fleet) -> None:
    fleet.db.rows("UPDATE connection SET state = 'paused', paused_by = 'hand'")
    fleet.world.journal.clear()

    (skipped,) = fleet.look()
    called = len(fleet.world.journal)
    (named,) = fleet.look("dc1", quick=True)
    fleet.db.rows("UPDATE connection SET state = 'active', paused_by = ''")

    assert (called, bool(skipped.error), named.whole) == (0, True, True)
    with pytest.raises(NotFound):
        fleet.look("dc9")


# --- while orders run ---------------------------------------------------------------------------------------------


@pytest.fixture
def site(database_url: str) -> Iterator[Site]:
    made = Site(database_url, pool_size=4)
    made.connect()
    made.package()
    yield made
    made.database.close()


def test_what_our_own_work_leaves_is_clean_before_in_the_middle_and_afterwards(site: Site) -> None:
    for n in range(101, 106):
        site.world.add_server(str(n))
    site.world.pace = Pace(install_lasts=12)  # counted in lists, and ours are among them
    fleet = Fleet(site)
    job = site.order().job_id
    seen = []

    def done() -> bool:
        seen.append(fleet.found())
        return site.ended(job)()

    site.run(done)

    assert site.job(job)["state"] == "succeeded"
    assert len(seen) > 5
    assert [found for found in seen if found] == []


def test_an_order_that_is_opened_while_the_fleet_is_read_is_no_finding(site: Site) -> None:
    for n in range(101, 105):
        site.world.add_server(str(n))
    site.world.servers[ServerRef("104")].faulty = True
    fleet = Fleet(site)
    jobs: list[int] = []

    def open_one(_call: Call) -> None:
        jobs.append(site.order(f"ord-{len(jobs)}").job_id)
        site.run(site.ended(*jobs))

    site.world.fault("survey", server="104", hook=open_one)  # the last one: what is sold was read as free

    assert fleet.found() == []
    assert site.job(jobs[0])["state"] == "succeeded"
    assert fleet.found() == []


def test_a_service_that_is_worked_on_is_judged_when_the_work_has_ended(site: Site) -> None:
    fleet = Fleet(site)
    server = site.world.add_server("101")
    server.owner = user = site.world.add_user("c").ref
    service, claim = fleet.service("101", user, ["10.10.0.1"])
    server.disabled = True
    attempt = fleet.db.value(
        "WITH j AS (INSERT INTO job (service_id, seq, kind, state) VALUES (%(s)s, 1, 'suspend', 'running') "
        "RETURNING id) INSERT INTO attempt (job_id, n, connection_id, claim_id, state) "
        "SELECT j.id, 1, 1, %(c)s, 'held' FROM j RETURNING id",
        s=service,
        c=claim,
    )

    during = fleet.found()
    fleet.db.rows(
        "UPDATE attempt SET state = 'ended', ended_at = clock_timestamp() - interval '1 s' WHERE id = %(a)s", a=attempt
    )

    assert during == []
    assert fleet.found() == [(KINDS.ACTIVE_DISABLED, "101")]


# --- nightly ------------------------------------------------------------------------------------------------------


def told(fleet: Fleet) -> list[dict[str, Any]]:
    return [dict(row) for row in fleet.db.rows("SELECT text, data FROM event WHERE kind = 'audit_found' ORDER BY id")]


@pytest.fixture
def small(site: Site) -> Fleet:
    for n in range(101, 121):
        site.world.add_server(str(n))
    return Fleet(site)


def test_a_night_keeps_what_it_found_tells_it_once_and_ends_what_is_gone(small: Fleet) -> None:
    admin = small.world.administrator.ref
    small.server("103").owner = small.server("104").owner = admin

    first = small.night()
    small.night()
    small.server("105").owner = admin
    small.server("103").owner = None
    third = small.night()

    assert first == "2 findings, 2 of them new"
    assert third == "2 findings, 1 of them new"
    events = told(small)
    assert [event["data"]["count"] for event in events] == [2, 1]
    assert [[one["server"] for one in event["data"]["new"]] for event in events] == [["103", "104"], ["105"]]
    kept = view.kept(None, reads=ReadsStore(small.db))
    assert [(one.server, one.kind) for one in kept] == [("104", "unclaimed"), ("105", "unclaimed")]
    assert kept[0].last_at is not None
    assert kept[0].first_at is not None
    assert kept[0].last_at > kept[0].first_at
    assert small.db.value("SELECT count(*) FROM finding WHERE gone_at IS NOT NULL AND server_ref = '103'") == 1
    assert small.db.value("SELECT count(*) FROM heartbeat") == 0


def test_a_night_goes_turn_by_turn_and_reads_each_server_once_whoever_dies(small: Fleet) -> None:
    small.server("103").owner = small.world.administrator.ref
    small.world.fault("survey", Busy, server="110")
    turns = [small.night(seconds=0.0)]
    while turns[-1] == MORE:
        turns.append(small.night(start=False, seconds=0.0, owner=f"w{len(turns)}"))

    assert turns[-1] == "1 findings, 1 of them new"
    assert len(turns) == 22
    calls = Counter(call.method for call in small.world.journal)
    assert calls == {"list_servers": 1, "users": 1, "survey": 20}


def test_a_turn_is_one_workers_and_is_taken_over_when_its_lease_has_run_out(small: Fleet) -> None:
    dead = small.audits.turn(1, "dead", start=True)
    assert dead is not None

    busy = small.night(start=False)
    idle = small.audits.unfinished()
    small.db.rows('UPDATE heartbeat SET data = data || \'{"until": "2020-01-01T00:00:00Z"}\'')
    waits = small.audits.unfinished()
    taken = small.night(start=False, seconds=0.0, owner="w2")
    with pytest.raises(Fenced):
        small.audits.surveyed(dead, (), (ServerRef("101"),))
    done = small.night(start=False, owner="w3")

    assert (busy, list(idle), list(waits), taken) == ("not our turn", [], [1], MORE)
    assert done == "0 findings, 0 of them new"
    assert len(small.world.calls("survey")) == 20
    assert small.night(start=False) == "not our turn"


def test_a_place_that_goes_away_at_night_is_not_called_again_until_somebody_asks(small: Fleet) -> None:
    small.world.fault("survey", Unreachable, skip=5)

    said = small.night()
    waits = list(small.audits.unfinished())
    done = small.night(start=False)

    assert said != MORE
    assert waits == [1]
    assert done == "0 findings, 0 of them new"
    assert len(small.world.calls("survey")) == 21


def test_what_could_not_be_read_tonight_is_not_called_gone(small: Fleet) -> None:
    small.server("103").owner = small.world.administrator.ref
    small.night()
    small.server("103").owner = None
    small.world.fault("survey", Busy, server="103")

    small.night()

    assert small.db.value("SELECT count(*) FROM finding WHERE gone_at IS NULL") == 1


def test_paused_and_disabled_places_are_left_alone_at_night(small: Fleet) -> None:
    for state in ("paused", "disabled"):
        small.db.rows("UPDATE connection SET state = %(s)s", s=state)
        assert small.night() == "not now"
        assert list(audit.due(start=True, audits=small.audits)) == []
    small.db.rows("UPDATE connection SET state = 'active'")

    assert list(audit.due(start=True, audits=small.audits)) == [1]
    assert small.world.journal == []


# --- after a restore ----------------------------------------------------------------------------------------------


def seen(fleet: Fleet) -> installation.AfterRestore:
    return installation.look(
        audits=fleet.audits, drivers=fleet.site.drivers, installation=fleet.installation, tell=lambda *_: None
    )


def test_after_a_restore_the_forgotten_are_shown_nothing_is_freed_and_no_number_is_given_twice(small: Fleet) -> None:
    admin, user = small.world.administrator.ref, small.world.add_user("sold").ref
    small.server("103").owner, small.server("103").notes = admin, small.token(41)
    small.server("104").owner, small.server("104").notes = user, f"rack key\n{small.token(40)}"
    small.db.rows("UPDATE installation SET timeline = 1, database_oid = 7")
    small.db.rows("UPDATE connection SET state = 'paused', paused_by = 'hand'")

    found = seen(small)

    assert [(one.server, one.claims, one.owner) for one in found.remnants] == [
        ("103", (41,), "our administrator"),
        ("104", (40,), f"user {user}"),
    ]
    assert "another database" in found.halted
    assert (found.highest, found.in_the_way, found.unread) == (41, "", ())
    assert all("Without owner" not in step for one in found.remnants for step in one.steps)

    installation.accept(found, installation=small.installation, waker=small.site.waker)

    assert small.installation.compare() == ""
    assert small.db.value("SELECT nextval('claim_id_seq')") == 42
    assert small.world.calls(mutating=True) == []
    small.db.rows("UPDATE connection SET state = 'active', paused_by = ''")
    assert sorted(small.found()) == [(KINDS.FORGOTTEN, "104"), (KINDS.UNCLAIMED, "103")]
    assert small.installation.compare() == ""


def test_an_order_that_was_handed_over_after_the_backup_is_shown(small: Fleet) -> None:
    user = small.world.add_user("sold").ref
    service, claim = small.service("103", user, [], state="ordered")
    small.db.rows("UPDATE claim SET state = 'held' WHERE id = %(c)s", c=claim)
    del service
    small.server("103").owner, small.server("103").notes = user, small.token(claim)

    (one,) = seen(small).remnants

    assert "handed over since" in one.evidence
    assert any("cancel it first" in step for step in one.steps)


def test_it_cant_be_accepted_while_a_number_was_given_twice_or_a_fleet_was_not_read(small: Fleet) -> None:
    small.claim("110", state="held")
    small.server("103").notes = small.token(1)
    twice = seen(small)
    small.server("103").notes = ""
    small.world.fault("survey", Unreachable)
    away = seen(small)

    assert "server 103 of dc1" in twice.in_the_way
    assert any("take the line" in step for one in twice.remnants for step in one.steps)
    assert "not all could be read" in away.in_the_way
    for found in (twice, away):
        with pytest.raises(Exception, match="number"):
            installation.accept(found, installation=small.installation, waker=small.site.waker)
    assert seen(small).in_the_way == ""


# --- over HTTP ----------------------------------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.timeout(180)
def test_a_simulated_fleet_of_a_thousand_over_http(site: Site) -> None:
    with Simulator(servers=FLEET) as simulator:
        control = simulator.control
        endpoint = Endpoint("dc1", simulator.url, simulator.admin_user, simulator.admin_password)
        site.drivers.by_connection[1] = Dcimanager5(endpoint)
        fleet = Fleet(site)
        site.database.rows("UPDATE connection SET username = %(u)s", u=simulator.admin_user)
        user = control.add_user("customer", "simulated-secret")["id"]
        sold = control.change_server("150", owner="customer", domain="c.example.net", disabled=False)
        _, claim = fleet.service("150", user, [one["ip"] for one in sold["addresses"]], login="customer")
        control.change_server("150", notes=fleet.token(claim))
        control.clear_journal()

        assert fleet.found() == []

        journal = control.journal()
        assert Counter(call["func"] for call in journal) == {
            "server": 1, "user": 1, "server.edit": FLEET, "iplist": FLEET,
        }  # fmt: skip
        assert not [call for call in journal if call["mutating"]]

        control.change_server("151", add_alias="ipv4")
        control.change_server("152", owner=simulator.admin_user, notes="mine")
        control.change_server("153", mac=control.server("154")["mac"])
        control.change_server("150", disabled=True, add_alias="ipv4")
        control.change_server("155", owner="customer", notes=fleet.token(claim - 1) if claim > 1 else "", domain="x.ds")
        control.remove_server("156")
        fleet.claim("156", state="quarantined")
        found = sorted(fleet.found())

    assert found == sorted(
        [
            (KINDS.ACTIVE_DISABLED, "150"),
            (KINDS.ADDRESS_UNKNOWN, "150"),
            (KINDS.ADDRESSES_LEFT, "151"),
            (KINDS.UNCLAIMED, "152") if not control_disabled(152) else (KINDS.DISABLED_UNRECORDED, "152"),
            (KINDS.ONE_MACHINE, "153"),
            (KINDS.SERVER_GONE, "156"),
        ]
    )


def control_disabled(ref: int) -> bool:
    """Say whether the simulator opens with that server disabled: every other one is."""
    return (ref - 101) % 2 == 1
