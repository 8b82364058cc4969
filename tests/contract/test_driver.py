"""The suite of the port `Driver`, on every driver that there is."""

import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from provisioner.domain.connection import Endpoint, TlsPolicy
from provisioner.domain.server import Family, LinkKind, LinkRef, Power, RowRef, ServerRef, UserRef
from provisioner.drivers.dcimanager5.driver import Dcimanager5
from provisioner.drivers.fake import FakeDatacentre, FakeDriver, InstallEnd, Pace, RemoteFake, serve_fake
from provisioner.errors import AlreadyExists, BadValue, Busy, Denied, RemoteError, Unreachable, Unsure, Unusable
from provisioner.ports import Driver
from provisioner.simulators import Simulator
from tests.contract.driver_suite import (
    LOGIN,
    PASSWORD,
    S1,
    Dcim,
    DriverSuite,
    Trouble,
    Truth,
    assert_tells_no_secret,
    fingerprint,
)

ERRORS: dict[Trouble, type[RemoteError]] = {
    Trouble.UNREACHABLE: Unreachable,
    Trouble.DENIED: Denied,
    Trouble.BUSY: Busy,
    Trouble.LOST_BEFORE: Unsure,
    Trouble.LOST_AFTER: Unsure,
}


FAULTS: dict[Trouble, dict[str, str]] = {
    Trouble.DENIED: {"kind": "refuse", "type": "auth", "object": "badpassword"},
    Trouble.BUSY: {"kind": "busy"},
    Trouble.LOST_BEFORE: {"kind": "lost_before"},
    Trouble.LOST_AFTER: {"kind": "lost_after"},
    Trouble.GARBAGE: {"kind": "garbage"},
    Trouble.CUT: {"kind": "cut", "variant": "rows"},
    Trouble.BARE: {"kind": "cut", "variant": "field", "field": "id"},
}


GARBAGE = ("html", "truncated_xml", "short_body", "empty", "http500", "http502", "login_page")


class FakeDcim(Dcim):
    """The data centre in memory."""

    def __init__(self, world: FakeDatacentre, driver: Driver) -> None:
        self.world = world
        world.pace = Pace(install_lasts=20)
        self.driver = driver
        self.admin = world.administrator.ref
        self.admin_login = world.administrator.login
        world.templates = (*world.templates, "ISPsystem__Windows-Server-2022-amd64")
        for ref in ("127", "128"):
            self.add_server(ref)

    def add_server(self, ref: str) -> ServerRef:
        server = self.world.add_server(ref)
        server.templates = self.world.templates[:-1]
        return server.ref

    def add_bare_server(self, ref: str) -> ServerRef:
        return self.world.add_server(ref, address=None).ref

    def remove_servers(self) -> None:
        self.world.servers.clear()

    def truth(self, server: ServerRef) -> Truth:
        known = self.world.servers[server]
        return Truth(
            owner=known.owner,
            notes=known.notes,
            domain=known.domain,
            addresses=tuple((row.ref, row.ip, row.domain) for row in known.addresses),
            links=tuple((link.ref, link.on) for link in known.links),
            power=known.power,
            disabled=known.disabled,
            installing=known.installing,
            installs=known.installs,
            reboots=known.reboots,
            template=known.os,
            logins=tuple(user.login for user in self.world.users),
            passwords=tuple(
                (user.login, fingerprint(self.world.passwords[user.ref]))
                for user in self.world.users
                if user.ref in self.world.passwords
            ),
            kept=(known.name, known.server_type, known.mac, known.rack, str(known.faulty), str(known.blocked)),
        )

    def acts(self) -> list[str]:
        return [call.method for call in self.world.calls(mutating=True)]

    def calls(self) -> int:
        return len(self.world.journal)

    def plan(self, trouble: Trouble, *, act: bool, skip: int = 0) -> None:
        error = ERRORS.get(trouble, Unsure if act else Unusable)
        if trouble is Trouble.LOST_BEFORE and not act:
            error = Unusable
        self.world.fault("*", error, mutating=act, skip=skip, after=trouble is Trouble.LOST_AFTER)

    def mend(self) -> None:
        self.world.heal()

    def empty_pool(self, family: Family) -> None:
        self.world.pool[family].clear()

    def make_ill(self, server: ServerRef) -> None:
        self.world.servers[server].ill = "no field hostname"

    def refuse_template(self, server: ServerRef) -> str:
        del server
        return self.world.templates[-1]

    def fail_next_install(self) -> None:
        for server in self.world.servers.values():
            server.install_ends.append(InstallEnd.FAILED)

    def take_longer(self) -> None:
        self.world.pace = Pace(power_after=2, enable_after=2, links_last=2, install_after=2, install_lasts=4)

    def pass_time(self) -> None:
        """Nothing: time passes with each look."""
        for server in self.world.servers:
            self.driver.read(server)
        self.driver.list_servers()


class SimulatedDcim(Dcim):
    """The simulated data centre behind its DCImanager 5 wire, with time standing still between looks."""

    def __init__(self, simulator: Simulator) -> None:
        self.control = simulator.control
        self.endpoint = Endpoint(
            name="dci-1",
            url=simulator.url,
            username=simulator.admin_user,
            password=simulator.admin_password,
            call_seconds=5,
            look_seconds=5,
            bmc_port_pattern="^bmc ",
        )
        self.driver = Dcimanager5(self.endpoint)
        self.admin_login = simulator.admin_user
        self.admin = next(UserRef(user["id"]) for user in self._users() if user["name"] == self.admin_login)
        self.secrets = (simulator.admin_password,)
        self.control.freeze()
        spans = dict.fromkeys(("power", "enable", "link_settle", "install_visible", "cancel", "boot"), 15)
        self.control.set(free_autoshutdown=False, install=300, **spans)
        for ref in ("127", "128"):
            self.add_server(ref)

    def _users(self) -> list[dict[str, str]]:
        users: list[dict[str, str]] = self.control.world()["users"]
        return users

    def add_server(self, ref: str) -> ServerRef:
        return ServerRef(self.control.add_server(id=ref, type="HP-E3-16G")["id"])

    def add_bare_server(self, ref: str) -> ServerRef:
        return ServerRef(self.control.add_server(id=ref, type="HP-E3-16G", ip="")["id"])

    def remove_servers(self) -> None:
        for server in self.control.servers():
            self.control.remove_server(server["id"])

    def truth(self, server: ServerRef) -> Truth:
        world, journal = self.control.world(), self.control.journal()
        known = next(known for known in world["servers"] if known["id"] == server)
        return Truth(
            owner=UserRef(known["owner_id"]) if known["owner_id"] else None,
            notes=known["notes"],
            domain=known["domain"],
            addresses=tuple(
                (RowRef(row["row_id"]), row["ip"], row["domain"])
                for row in known["addresses"]
                if row["type"] != "group"
            ),
            links=tuple((LinkRef(link["id"]), link["on"]) for link in known["links"]),
            power=Power(known["power"] or "unknown"),
            disabled=known["disabled"],
            installing=known["install"] is not None,
            installs=known["installs"],
            reboots=len(
                [
                    call
                    for call in journal
                    if call["effect"] and (call["func"], call["server"]) == ("server.reboot", server)
                ]
            ),
            template=known["template"] or "",
            logins=tuple(user["name"] for user in world["users"]),
            passwords=tuple(_passwords(journal, {user["id"]: user["name"] for user in world["users"]}).items()),
            kept=tuple(str(known[fact]) for fact in ("name", "type", "mac", "rack", "unit", "hwproblem", "blocked")),
        )

    def acts(self) -> list[str]:
        return [call["func"] for call in self.control.journal() if call["mutating"]]

    def calls(self) -> int:
        return len(self.control.journal())

    def plan(self, trouble: Trouble, *, act: bool, skip: int = 0) -> None:
        if trouble is Trouble.UNREACHABLE:
            self.control.stop_panel()
        else:
            self.control.add_fault(**FAULTS[trouble], mutating=act, after=skip, count=1)

    def mend(self) -> None:
        self.control.clear_faults()
        self.control.start_panel()

    def empty_pool(self, family: Family) -> None:
        self.control.add_fault("pool_empty", family=family.value)

    def make_ill(self, server: ServerRef) -> None:
        position = [known["id"] for known in self.control.servers()].index(server)
        self.control.add_fault("cut", variant="row", row=position, func="server")

    def refuse_template(self, server: ServerRef) -> str:
        del server
        return "ISPsystem__Windows-Server-2022-amd64"

    def fail_next_install(self) -> None:
        self.control.add_fault("install_fails_late")

    def take_longer(self) -> None:
        """Nothing: no time passes by itself."""

    def pass_time(self) -> None:
        self.control.advance(20)


def _passwords(journal: list[dict[str, Any]], names: dict[str, str]) -> dict[str, str]:
    """Give login and fingerprint of all passwords that were set; the journal shows no other trace of them."""
    edits = [call["params"] for call in journal if call["effect"] and call["func"] == "user.edit"]
    return {names[edit["elid"]] if "elid" in edit else edit["name"]: edit["passwd"] for edit in edits}


@pytest.fixture
def world() -> FakeDatacentre:
    return FakeDatacentre()


class TestFake(DriverSuite):
    @pytest.fixture
    def dcim(self, world: FakeDatacentre) -> Dcim:
        return FakeDcim(world, FakeDriver(world))


class TestRemoteFake(DriverSuite):
    @pytest.fixture
    def dcim(self, world: FakeDatacentre, tmp_path: Path) -> Iterator[Dcim]:
        with serve_fake(world, os.path.relpath(tmp_path / "dc")) as address:
            yield FakeDcim(world, RemoteFake(address))


class TestDcimanager5(DriverSuite):
    @pytest.fixture
    def simulator(self) -> Iterator[Simulator]:
        with Simulator(servers=0) as simulator:
            yield simulator

    @pytest.fixture
    def dcim(self, simulator: Simulator) -> Dcim:
        return SimulatedDcim(simulator)

    def impatient(self, dcim: Dcim) -> Driver:
        assert isinstance(dcim, SimulatedDcim)
        return Dcimanager5(replace(dcim.endpoint, call_seconds=0.3, look_seconds=0.3))

    @pytest.mark.parametrize("variant", GARBAGE)
    def test_whatever_is_no_document_concludes_nothing(self, dcim: Dcim, simulator: Simulator, variant: str) -> None:
        simulator.control.add_fault("garbage", variant=variant, mutating=False, count=1)

        with pytest.raises(Unusable) as caught:
            dcim.driver.list_servers()

        assert_tells_no_secret(caught.value, *dcim.secrets)

    @pytest.mark.parametrize("effect", [False, True])
    @pytest.mark.parametrize("variant", GARBAGE)
    def test_whatever_is_no_document_leaves_an_act_unsure(
        self, dcim: Dcim, simulator: Simulator, variant: str, *, effect: bool
    ) -> None:
        simulator.control.add_fault("garbage", variant=variant, mutating=True, effect=effect, count=1)

        with pytest.raises(Unsure) as caught:
            dcim.driver.create_user(LOGIN, PASSWORD)

        assert (LOGIN in dcim.logins()) is effect
        assert_tells_no_secret(caught.value, PASSWORD, LOGIN, *dcim.secrets)

    def test_the_panels_own_trouble_is_passing(self, dcim: Dcim, simulator: Simulator) -> None:
        trouble = {"type": "xml", "object": "xpath", "report": True, "count": 1}

        simulator.control.add_fault("refuse", mutating=False, **trouble)
        with pytest.raises(Unusable):
            dcim.driver.list_servers()
        simulator.control.add_fault("refuse", mutating=True, **trouble)
        with pytest.raises(Unsure):
            dcim.driver.enable(S1)

    @pytest.mark.parametrize("kind", ["hang", "drip"])
    def test_no_call_outlasts_its_total_limit(self, dcim: Dcim, simulator: Simulator, kind: str) -> None:
        driver = self.impatient(dcim)
        simulator.control.add_fault(kind, mutating="any", count=2)
        began = time.monotonic()

        with pytest.raises(Unusable):
            driver.list_servers()
        with pytest.raises(Unsure):
            driver.enable(S1)

        assert time.monotonic() - began < 2

    def test_where_credentials_may_not_go_along_it_logs_in(self, dcim: Dcim, simulator: Simulator) -> None:
        simulator.control.add_fault("authinfo_forbidden")

        assert dcim.driver.whoami().ref == dcim.admin
        dcim.driver.edit_server(S1, owner=dcim.admin, notes="ours")

        assert dcim.truth(S1).notes == "ours"

    @pytest.mark.parametrize("session", [False, True])
    def test_a_log_in_goes_without_our_credentials_and_its_session_is_not_ours(
        self, dcim: Dcim, simulator: Simulator, *, session: bool
    ) -> None:
        if session:
            simulator.control.add_fault("authinfo_forbidden")
        dcim.driver.create_user(LOGIN, PASSWORD)

        assert dcim.driver.logs_in(LOGIN, PASSWORD)
        dcim.driver.list_servers()

        tried, listed = simulator.control.journal()[-2:]
        assert {"auth", "authinfo"} & set(tried["params"]) == set()
        assert (tried["user"], listed["user"]) == (LOGIN, dcim.admin_login)

    def test_a_log_in_can_be_tried_while_we_are_denied(self, dcim: Dcim, simulator: Simulator) -> None:
        dcim.driver.create_user(LOGIN, PASSWORD)
        simulator.control.revoke()

        with pytest.raises(Denied):
            dcim.driver.list_servers()

        assert dcim.driver.logs_in(LOGIN, PASSWORD)

    @pytest.mark.parametrize(
        "refusal",
        [
            {"type": "auth", "object": "session"},
            {"type": "access", "object": "authinfo"},
            {"type": "extraconfirm"},
            {"type": "missed", "object": "func"},
            {"type": "unheard-of"},
        ],
        ids=lambda refusal: refusal["type"],
    )
    def test_a_log_in_that_is_refused_for_another_reason_is_no_answer(
        self, dcim: Dcim, simulator: Simulator, refusal: dict[str, str]
    ) -> None:
        dcim.driver.create_user(LOGIN, PASSWORD)
        simulator.control.add_fault("refuse", func="auth", mutating=False, count=1, **refusal)

        with pytest.raises(Unusable) as caught:
            dcim.driver.logs_in(LOGIN, PASSWORD)

        assert_tells_no_secret(caught.value, PASSWORD, LOGIN, *dcim.secrets)
        assert dcim.driver.logs_in(LOGIN, PASSWORD)

    def test_a_block_of_addresses_is_no_address(self, dcim: Dcim, simulator: Simulator) -> None:
        simulator.control.change_server("127", add_group_row="192.0.2.0/29")

        assert [row.ip for row in dcim.driver.read(S1).addresses] == [dcim.truth(S1).addresses[0][1]]

    def test_a_port_that_carries_a_bmc_is_no_switch_port(self, dcim: Dcim, simulator: Simulator) -> None:
        link = {"type": "Switch", "descr": "bmc of 127", "bmc": True}
        added = simulator.control.change_server("127", add_link=link)["links"][-1]["id"]

        reading = dcim.driver.read(S1)

        assert {link.ref: link.kind for link in reading.known_links}[added] is LinkKind.BMC
        assert added not in {link.ref for link in reading.switch_links}
        with pytest.raises(BadValue):
            dcim.driver.set_link(S1, LinkRef(added), on=False)

    def test_an_answer_in_another_language_is_understood(self, dcim: Dcim, simulator: Simulator) -> None:
        dcim.driver.create_user(LOGIN, PASSWORD)

        with pytest.raises(AlreadyExists):
            dcim.driver.create_user(LOGIN, PASSWORD)

        assert {call["params"]["lang"] for call in simulator.control.journal()} == {"en"}


def test_a_pinned_certificate_is_trusted_and_no_other() -> None:
    with Simulator(servers=1, tls=True) as simulator:
        endpoint = Endpoint("dci-1", simulator.url, simulator.admin_user, simulator.admin_password)
        pinned = replace(endpoint, tls=TlsPolicy(fingerprint=simulator.certificate_sha256 or ""))

        assert Dcimanager5(pinned).list_servers().servers
        with pytest.raises(Unreachable):
            Dcimanager5(endpoint).list_servers()
        simulator.control.new_certificate()
        with pytest.raises(Unreachable):
            Dcimanager5(pinned).list_servers()
