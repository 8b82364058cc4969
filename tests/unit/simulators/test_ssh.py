"""SSH of simulated machines: who answers, with which key, and when it is closed."""

import asyncio
import socket

import asyncssh
import pytest

from provisioner.simulators import Control, Simulator
from tests.unit.simulators.wire import DEBIAN, PASSWORD, Wire


def answers(sim: Simulator, server: str = "101") -> bool:
    address = str(sim.control.server(server)["ip"])
    return greets(address, sim.ssh_port)


def greets(address: str, port: int) -> bool:
    try:
        with socket.create_connection((address, port), timeout=2) as connection:
            return connection.recv(7) == b"SSH-2.0"
    except ConnectionRefusedError:
        return False


def seen_key(sim: Simulator, server: str = "101") -> str:
    """Return the fingerprint of the key that the machine shows."""
    address = str(sim.control.server(server)["ip"])
    key = asyncio.run(asyncssh.get_server_host_key(address, sim.ssh_port))
    assert key is not None
    return key.get_fingerprint()


def log_in(sim: Simulator, password: str, server: str = "101") -> str:
    async def run() -> str:
        address = str(sim.control.server(server)["ip"])
        async with asyncssh.connect(
            address, sim.ssh_port, username="root", password=password, known_hosts=None, client_keys=None, config=None
        ) as connection:
            result = await connection.run("cat /etc/os-release")
            return str(result.stdout)

    return asyncio.run(run())


def installed(wire: Wire, control: Control) -> None:
    wire.edit(owner="5")
    wire.ok("server.enable", elid="101")
    wire.install()
    wire.row()
    control.advance(10)


def test_a_machine_that_was_never_installed_does_not_answer(sim: Simulator, wire: Wire) -> None:
    wire.ok("server.enable", elid="101")
    wire.ok("server.poweron", elid="101")
    wire.row()

    assert not answers(sim)


def test_an_installed_machine_answers_with_its_key_and_its_password(
    sim: Simulator, wire: Wire, control: Control
) -> None:
    installed(wire, control)

    assert seen_key(sim) == control.server("101")["host_key"]
    assert DEBIAN in log_in(sim, PASSWORD)
    with pytest.raises(asyncssh.PermissionDenied):
        log_in(sim, "something-else")


def test_a_machine_is_silent_while_installing_and_has_a_new_key_after(
    sim: Simulator, wire: Wire, control: Control
) -> None:
    installed(wire, control)
    old = seen_key(sim)

    wire.install()
    wire.row()
    control.advance(0)
    assert not answers(sim)
    control.advance(10)

    assert seen_key(sim) != old


@pytest.mark.parametrize("func", ["server.poweroff", "server.disable"])
def test_a_machine_is_closed_when_off_or_cut_off(sim: Simulator, wire: Wire, control: Control, func: str) -> None:
    installed(wire, control)
    assert answers(sim)

    wire.ok(func, elid="101")
    control.advance(0)

    assert not answers(sim)


def test_an_open_session_ends_with_the_power(sim: Simulator, wire: Wire, control: Control) -> None:
    installed(wire, control)
    address = str(control.server("101")["ip"])
    with socket.create_connection((address, sim.ssh_port), timeout=5) as connection:
        assert connection.recv(7) == b"SSH-2.0"

        wire.ok("server.poweroff", elid="101")
        control.advance(0)

        try:
            while connection.recv(4096):
                pass
        except ConnectionResetError:
            return


def test_the_installer_may_answer_with_a_key_of_its_own(sim: Simulator, wire: Wire, control: Control) -> None:
    control.add_fault("install_ssh", server="101")
    wire.edit(owner="5")
    wire.ok("server.enable", elid="101")
    wire.install()
    wire.row()
    control.advance(0)
    during = seen_key(sim)

    control.advance(10)

    assert seen_key(sim) != during


def test_a_stranger_answers_on_a_conflicting_address(sim: Simulator, wire: Wire, control: Control) -> None:
    control.add_fault("address_conflict", server="101")

    address = wire.ok("iplist.edit", plid="101", sok="ok", family="ipv4")["ip"]["$"]
    control.advance(0)

    assert greets(address, sim.ssh_port)


def test_two_simulators_share_no_address(sim: Simulator) -> None:
    with Simulator(servers=4) as other:
        mine = {server["ip"] for server in sim.control.servers()}
        theirs = {server["ip"] for server in other.control.servers()}

        assert not mine & theirs
        assert sim.block != other.block


def test_a_block_that_is_in_use_is_refused(sim: Simulator) -> None:
    with pytest.raises(ValueError, match="in use by another simulator"):
        Simulator(block=sim.block).start()


def test_a_large_fleet_opens_its_listeners_quickly() -> None:
    with Simulator(servers=100) as simulator:
        control = simulator.control
        control.freeze()
        for server in control.servers():
            links = [{"id": server["links"][0]["id"], "on": True}]
            control.change_server(server["id"], power="on", template=DEBIAN, links=links)

        assert answers(simulator, "200")
