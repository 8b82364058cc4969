"""The fake data centre: what the contract suite can't ask, because only a fake has it."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from provisioner.domain import touch
from provisioner.domain.server import Family, LinkKind, ListedServer, Power, ServerRef, UserRef
from provisioner.drivers.fake import (
    Call,
    FakeDatacentre,
    FakeDriver,
    FakeProber,
    InstallEnd,
    Pace,
    RemoteFake,
    serve_fake,
)
from provisioner.errors import (
    BadValue,
    Busy,
    NoSuchObject,
    NotDone,
    TransactionOpen,
    Unreachable,
    Unsure,
)

DEBIAN = "ISPsystem__Debian-12-x86_64"
S1 = ServerRef("127")


@pytest.fixture
def world() -> FakeDatacentre:
    world = FakeDatacentre()
    world.add_server("127")
    return world


@pytest.fixture
def driver(world: FakeDatacentre) -> FakeDriver:
    return FakeDriver(world, "fake-1")


@pytest.fixture
def socket_path(tmp_path: Path) -> str:
    return os.path.relpath(tmp_path / "dc")  # a Unix socket's path has to be short


def row(driver: FakeDriver, ref: ServerRef = S1) -> ListedServer:
    return next(row for row in driver.list_servers().servers if row.ref == ref)


def test_an_install_is_seen_for_as_many_lists_as_it_lasts(world: FakeDatacentre, driver: FakeDriver) -> None:
    world.pace = Pace(install_after=1, install_lasts=3)

    driver.install(S1, DEBIAN, "secret-1")

    assert [row(driver).installing for _ in range(6)] == [False, True, True, True, False, False]


def test_a_look_at_one_server_does_not_count_for_the_list(world: FakeDatacentre, driver: FakeDriver) -> None:
    world.pace = Pace(install_lasts=1)
    driver.install(S1, DEBIAN, "secret-1")

    driver.read(S1)
    driver.read(S1)

    assert row(driver).installing
    assert not row(driver).installing


def test_links_are_busy_for_as_many_readings_as_they_last(world: FakeDatacentre, driver: FakeDriver) -> None:
    world.pace = Pace(links_last=2)

    driver.enable(S1)

    def busy() -> bool:
        return any(link.busy for link in driver.read(S1).known_links)

    assert [busy() for _ in range(4)] == [True, True, False, False]


def test_a_stuck_link_stays_busy(world: FakeDatacentre, driver: FakeDriver) -> None:
    world.servers[S1].links[0].stuck = True

    driver.enable(S1)
    world.settle()

    assert [link.busy for link in driver.read(S1).known_links] == [True, False, False]


def test_spans_of_time_follow_the_clock_that_was_passed_in() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    world = FakeDatacentre(
        lambda: now,
        pace=Pace(install_after=timedelta(seconds=10), install_lasts=timedelta(minutes=8)),
    )
    world.add_server("127")
    driver = FakeDriver(world)
    driver.install(S1, DEBIAN, "secret-1")

    assert not row(driver).installing
    now += timedelta(seconds=10)
    assert row(driver).installing
    now += timedelta(minutes=8) - timedelta(seconds=1)
    assert row(driver).installing
    now += timedelta(seconds=1)
    assert not row(driver).installing


def test_an_install_seen_late_ended_when_it_should_have() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    world = FakeDatacentre(
        lambda: now,
        pace=Pace(install_after=timedelta(seconds=10), install_lasts=timedelta(minutes=8)),
    )
    world.add_server("127")
    driver = FakeDriver(world)
    driver.install(S1, DEBIAN, "secret-1")

    now += timedelta(hours=1)

    assert not row(driver).installing
    assert world.servers[S1].os == DEBIAN


def test_installs_end_as_they_were_told_to(world: FakeDatacentre, driver: FakeDriver) -> None:
    server = world.servers[S1]
    server.install_ends = [InstallEnd.FAILED, InstallEnd.HANGS]

    driver.install(S1, DEBIAN, "secret-1")
    world.settle()
    assert (server.installing, server.operation_failed, server.os) == (False, True, "")

    driver.install(S1, DEBIAN, "secret-1")
    world.settle()
    assert (server.installing, server.operation_failed) == (True, False)
    with pytest.raises(Busy):
        driver.install(S1, DEBIAN, "secret-1")

    driver.cancel_operation(S1)
    driver.install(S1, DEBIAN, "secret-1")
    world.settle()
    assert (server.installing, server.operation_failed, server.os) == (False, False, DEBIAN)
    assert server.installs == 3


def test_a_stale_failure_can_outlast_the_request(world: FakeDatacentre, driver: FakeDriver) -> None:
    world.servers[S1].operation_failed = True
    world.pace = Pace(install_after=1, install_lasts=1, failure_outlasts_request=True)

    driver.install(S1, DEBIAN, "secret-1")

    seen = [(r.installing, r.operation_failed) for r in (row(driver) for _ in range(3))]
    assert seen == [(False, True), (True, False), (False, False)]


def test_a_released_server_is_diagnosed_where_the_place_does_so(world: FakeDatacentre, driver: FakeDriver) -> None:
    world.pace = Pace(diagnosis_lasts=1)
    driver.edit_server(S1, owner=world.administrator.ref, notes="")

    driver.edit_server(S1, owner=None, notes="")

    assert [row(driver).diagnosing for _ in range(2)] == [True, False]


def test_a_host_answers_when_powered_and_installed_with_a_port_on(world: FakeDatacentre, driver: FakeDriver) -> None:
    prober = FakeProber(world)
    ip = row(driver).ip
    switch = [link.ref for link in driver.read(S1).known_links if link.kind is LinkKind.SWITCH]

    assert not prober.answers(ip, "icmp")
    driver.install(S1, DEBIAN, "secret-1")
    world.settle()
    assert not prober.answers(ip, "icmp")
    driver.set_link(S1, switch[0], on=True)
    assert prober.answers(ip, "icmp")
    assert prober.host_key(ip, "icmp") is None
    first = prober.host_key(ip, "ssh:22")
    assert first is not None

    driver.install(S1, DEBIAN, "secret-1")
    assert not prober.answers(ip, "icmp")
    assert prober.host_key(ip, "ssh:22") is None
    world.settle()
    assert prober.host_key(ip, "ssh:22") not in {None, first}

    driver.set_power(S1, Power.OFF)
    assert not prober.answers(ip, "icmp")


def test_an_address_can_belong_to_a_foreign_host(world: FakeDatacentre) -> None:
    world.foreign_hosts.add("198.51.100.10")

    assert FakeProber(world).answers("198.51.100.10", "icmp")
    assert not FakeProber(world).answers("198.51.100.11", "icmp")


def test_the_installers_own_sshd_has_another_key(world: FakeDatacentre, driver: FakeDriver) -> None:
    server = world.servers[S1]
    server.installer_answers = True
    server.links[0].on = True
    prober = FakeProber(world)
    ip = row(driver).ip

    driver.install(S1, DEBIAN, "secret-1")
    during = prober.host_key(ip, "ssh:22")
    world.settle()

    assert during is not None
    assert prober.host_key(ip, "ssh:22") not in {None, during}


def test_a_fault_before_the_effect_leaves_none(world: FakeDatacentre, driver: FakeDriver) -> None:
    world.fault("install", Unsure, server="127")

    with pytest.raises(Unsure, match="install 127 via fake-1"):
        driver.install(S1, DEBIAN, "secret-1")

    assert world.servers[S1].installs == 0
    driver.install(S1, DEBIAN, "secret-1")
    assert world.servers[S1].installs == 1


def test_a_fault_after_the_effect_leaves_it(world: FakeDatacentre, driver: FakeDriver) -> None:
    world.fault("add_address", Unsure, after=True)

    with pytest.raises(Unsure):
        driver.add_address(S1, Family.IPV4, "s1.example.org")

    assert len(world.servers[S1].addresses) == 2
    (call,) = world.calls("add_address")
    assert (call.took_effect, call.error) == (True, "Unsure")


def test_a_fault_lets_calls_pass_and_lasts_as_long_as_asked(world: FakeDatacentre, driver: FakeDriver) -> None:
    world.fault("*", Unreachable, skip=1, times=None)

    driver.list_servers()
    for _ in range(3):
        with pytest.raises(Unreachable):
            driver.list_servers()
    world.heal()

    assert driver.list_servers().servers


def test_a_foreign_hand_can_come_between(world: FakeDatacentre, driver: FakeDriver) -> None:
    def take(call: Call) -> None:
        world.servers[ServerRef(call.server)].owner = world.add_user("stranger").ref

    world.fault("read", hook=take)

    assert driver.read(S1).owner == world.users[-1].ref


def test_the_journal_tells_what_was_done_and_no_password(world: FakeDatacentre, driver: FakeDriver) -> None:
    driver.install(S1, DEBIAN, "secret-1")
    with pytest.raises(NoSuchObject):
        driver.enable(ServerRef("0127"))
    driver.read(S1)

    assert [(call.method, call.server, call.took_effect) for call in world.calls(mutating=True)] == [
        ("install", "127", True),
        ("enable", "0127", False),
    ]
    assert "secret-1" not in repr(world.journal)
    assert "secret-1" not in repr(world.servers)


def test_passwords_are_kept_with_the_users_and_shown_nowhere(world: FakeDatacentre, driver: FakeDriver) -> None:
    user = driver.create_user("ivanov", "secret-1")
    stranger = world.add_user("petrov")

    driver.set_password(user, "secret-2")
    tries = [driver.logs_in("ivanov", tried) for tried in ("secret-1", "secret-2", "")]

    assert tries == [False, True, False]
    assert not any(driver.logs_in(known.login, "") for known in (stranger, world.administrator))
    assert world.passwords == {user: "secret-2"}
    shown = repr((world.journal, world.users, world.servers, vars(driver)))
    assert not [secret for secret in ("secret-1", "secret-2") if secret in shown]
    assert [call.args for call in world.calls("set_password")] == [{"user": user}]


def test_a_password_is_another_one_only_when_it_was_taken(world: FakeDatacentre, driver: FakeDriver) -> None:
    user = driver.create_user("ivanov", "secret-1")

    with pytest.raises(BadValue):
        driver.set_password(user, "short")
    with pytest.raises(NoSuchObject):
        driver.set_password(UserRef("0"), "secret-2")
    world.fault("set_password", Unsure)
    with pytest.raises(Unsure):
        driver.set_password(user, "secret-2")
    assert driver.logs_in("ivanov", "secret-1")

    world.fault("set_password", Unsure, after=True)
    with pytest.raises(Unsure):
        driver.set_password(user, "secret-2")
    assert driver.logs_in("ivanov", "secret-2")


def test_no_call_leaves_while_a_transaction_is_open(world: FakeDatacentre, driver: FakeDriver) -> None:
    with touch.transaction():
        for call in (driver.list_servers, lambda: FakeProber(world).answers("10.10.0.1", "icmp")):
            with pytest.raises(TransactionOpen):
                call()

    assert world.journal == []


def test_no_act_leaves_when_the_lease_is_too_short(world: FakeDatacentre, driver: FakeDriver) -> None:
    with touch.lease(5):
        driver.read(S1)
        with pytest.raises(NotDone):
            driver.enable(S1)

    assert world.calls(mutating=True) == []


@pytest.fixture
def served(world: FakeDatacentre, socket_path: str) -> Iterator[str]:
    with serve_fake(world, socket_path) as address:
        yield address


def test_another_process_sees_the_same_world(world: FakeDatacentre, served: str) -> None:
    remote = RemoteFake(served, "fake-1")

    new = remote.add_address(S1, Family.IPV4, "s1.example.org")

    assert new in world.servers[S1].addresses
    assert remote.read(S1) == FakeDriver(world).read(S1)


def test_errors_cross_the_socket_whole(served: str) -> None:
    remote = RemoteFake(served, "fake-1")

    with pytest.raises(NoSuchObject) as caught:
        remote.read(ServerRef("x"))

    assert str(caught.value) == "read x via fake-1: no such server"
    assert (caught.value.system, caught.value.operation, caught.value.server) == (
        "fake-1",
        "read",
        "x",
    )


def test_a_world_that_is_not_served_is_unreachable(socket_path: str) -> None:
    with pytest.raises(Unreachable):
        RemoteFake(socket_path).list_servers()


ADD_ONE_ADDRESS = """
import sys
from provisioner.domain.server import Family
from provisioner.drivers.fake import RemoteFake
RemoteFake(sys.argv[1]).add_address("127", Family.IPV4, "s1.example.org")
"""


@pytest.mark.parametrize(("after", "rows"), [(False, 1), (True, 2)])
def test_a_client_can_be_killed_before_and_after_its_act(
    world: FakeDatacentre, served: str, *, after: bool, rows: int
) -> None:
    world.kill_caller("add_address", after=after)
    client = subprocess.run([sys.executable, "-c", ADD_ONE_ADDRESS, served], check=False)

    assert client.returncode == -signal.SIGKILL
    assert len(world.servers[S1].addresses) == rows
    assert RemoteFake(served).read(S1).addresses == tuple(world.servers[S1].addresses)


def test_killing_the_caller_refuses_to_kill_the_test(world: FakeDatacentre, driver: FakeDriver) -> None:
    world.kill_caller("read")

    with pytest.raises(AssertionError, match="own process"):
        driver.read(S1)


def test_the_main_address_stays_where_the_panel_says_so(world: FakeDatacentre, driver: FakeDriver) -> None:
    main = world.servers[S1].main
    assert main is not None

    with pytest.raises(BadValue, match="main address"):
        driver.delete_address(S1, main.ref)
    world.keeps_main_address = False
    driver.delete_address(S1, main.ref)

    assert driver.read(S1).addresses == ()


def test_a_server_without_an_address_is_not_installed(world: FakeDatacentre, driver: FakeDriver) -> None:
    bare = world.add_server("128", address=None)

    with pytest.raises(BadValue, match="without an address"):
        driver.install(bare.ref, DEBIAN, "secret-1")
    driver.add_address(bare.ref, Family.IPV4, "s2.example.org")
    driver.install(bare.ref, DEBIAN, "secret-1")

    assert (bare.installs, bare.domain) == (1, "s2.example.org")


def test_a_cancelled_install_falls_when_the_panel_gets_to_it(world: FakeDatacentre, driver: FakeDriver) -> None:
    world.pace = Pace(install_lasts=9, cancel_after=1)
    driver.install(S1, DEBIAN, "secret-1")

    driver.cancel_operation(S1)

    assert [row(driver).installing for _ in range(2)] == [True, False]
    assert world.servers[S1].os == ""


def test_reboots_are_counted_but_not_while_an_install_is_under_way(world: FakeDatacentre, driver: FakeDriver) -> None:
    world.pace = Pace(install_after=1, install_lasts=1)
    driver.reboot(S1)
    driver.install(S1, DEBIAN, "secret-1")

    for _ in range(2):
        with pytest.raises(Busy):
            driver.reboot(S1)
        row(driver)
    driver.reboot(S1)

    assert world.servers[S1].reboots == 2


def test_power_waits_for_an_install(world: FakeDatacentre, driver: FakeDriver) -> None:
    world.pace = Pace(install_lasts=1)
    driver.install(S1, DEBIAN, "secret-1")

    with pytest.raises(Busy):
        driver.set_power(S1, Power.OFF)
