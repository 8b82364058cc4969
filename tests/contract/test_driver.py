"""The suite of the port `Driver`, on every driver that there is."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from provisioner.domain.server import Family, ServerRef
from provisioner.drivers.fake import FakeDatacentre, FakeDriver, InstallEnd, Pace, RemoteFake, serve_fake
from provisioner.errors import Busy, Denied, RemoteError, Unreachable, Unsure, Unusable
from provisioner.ports import Driver
from tests.contract.driver_suite import Dcim, DriverSuite, Trouble, Truth

ERRORS: dict[Trouble, type[RemoteError]] = {
    Trouble.UNREACHABLE: Unreachable,
    Trouble.DENIED: Denied,
    Trouble.BUSY: Busy,
    Trouble.LOST_BEFORE: Unsure,
    Trouble.LOST_AFTER: Unsure,
}


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
            template=known.os,
            logins=tuple(user.login for user in self.world.users),
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
