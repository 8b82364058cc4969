"""SSH of the simulated servers: one listener for each that answers, on an address of its own.

Touches loopback sockets (127.0.0.0/8) only; reads the world, never changes it.
"""

import asyncio
import logging
from dataclasses import dataclass, field

import asyncssh

from provisioner.simulators import operations
from provisioner.simulators.chance import digest
from provisioner.simulators.hostkeys import host_key
from provisioner.simulators.model import Server
from provisioner.simulators.world import World

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Wanted:
    """A listener that should be there."""

    ip: str
    key: str
    password_sha256: str
    greeting: str


def key_name(server: Server) -> str:
    """Return the name of the host key that *server* shows."""
    return f"{server.id}/{server.host.key}"


def wanted(world: World) -> dict[str, Wanted]:
    """Return the listeners that the world calls for, by address."""
    listeners = {ip: Wanted(ip, f"stranger/{ip}", "", "stranger") for ip in world.squatters}
    for server in world.servers.values():
        if not (server.host.up or server.host.installer):  # most, each time: asked first
            continue
        main = server.main
        if main is None or not main.ip.startswith("127."):
            continue
        if operations.answers(server):
            greeting = f"{server.domain} {server.template}"
            secret = server.root_password_sha256
            listeners[main.ip] = Wanted(main.ip, key_name(server), secret, greeting)
        elif server.install is not None and server.host.installer:
            name = f"{server.id}/installer/{server.install.operation}"
            listeners[main.ip] = Wanted(main.ip, name, "", "installer")
    return listeners


@dataclass(slots=True)
class _Open:
    wanted: Wanted
    acceptor: asyncssh.SSHAcceptor
    connections: set[asyncssh.SSHServerConnection] = field(default_factory=set)


class _Login(asyncssh.SSHServer):
    def __init__(self, wanted: Wanted, connections: set[asyncssh.SSHServerConnection]) -> None:
        self._wanted = wanted
        self._connections = connections
        self._connection: asyncssh.SSHServerConnection | None = None

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._connection = conn
        self._connections.add(conn)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._connection is not None:
            self._connections.discard(self._connection)

    def begin_auth(self, username: str) -> bool:
        return True

    def password_auth_supported(self) -> bool:
        return True

    def validate_password(self, username: str, password: str) -> bool:
        return username == "root" and digest(password) == self._wanted.password_sha256


class SshFarm:
    """Opens and closes listeners until they are what the world calls for."""

    def __init__(self, world: World, port: int) -> None:
        self._world = world
        self._port = port
        self._open: dict[str, _Open] = {}
        self._lock = asyncio.Lock()

    async def sync(self) -> None:
        """Make the listeners match the world; a listener whose key changed is opened anew."""
        async with self._lock:
            goal = wanted(self._world)
            for ip in [ip for ip, item in self._open.items() if goal.get(ip) != item.wanted]:
                await self._close(ip)
            for ip in goal.keys() - self._open.keys():
                await self._listen(goal[ip])

    async def stop(self) -> None:
        """Close every listener."""
        async with self._lock:
            for ip in list(self._open):
                await self._close(ip)

    async def _listen(self, goal: Wanted) -> None:
        connections: set[asyncssh.SSHServerConnection] = set()

        def greet(process: asyncssh.SSHServerProcess[str]) -> None:
            process.stdout.write(f"{goal.greeting}\n")
            process.exit(0)

        try:
            acceptor = await asyncssh.listen(
                goal.ip,
                self._port,
                server_factory=lambda: _Login(goal, connections),
                server_host_keys=[host_key(self._world.seed, goal.key)],
                process_factory=greet,
                reuse_address=True,
            )
        except OSError as error:
            _log.warning("no SSH on %s port %s: %s", goal.ip, self._port, error)
            return
        self._open[goal.ip] = _Open(goal, acceptor, connections)

    async def _close(self, ip: str) -> None:
        item = self._open.pop(ip)
        item.acceptor.close()
        for connection in list(item.connections):
            connection.abort()
        await asyncio.sleep(0)
