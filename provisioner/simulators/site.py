"""One running simulated data centre: world, wire, SSH and control side on one event loop.

Touches loopback sockets and a temporary folder for its certificate.
"""

import asyncio
import logging
import socket
import tempfile
from dataclasses import dataclass
from pathlib import Path

from provisioner.simulators import fleet, operations
from provisioner.simulators.certificate import Certificate, create
from provisioner.simulators.clock import Clock
from provisioner.simulators.dcimanager5.panel import Panel, Restart
from provisioner.simulators.http import HttpServer, Reply, Request, check_loopback
from provisioner.simulators.journal import Journal
from provisioner.simulators.ssh import SshFarm
from provisioner.simulators.world import World

_log = logging.getLogger(__name__)

_BLOCKS = range(32, 250)  # second octets to choose from: 127.32.0.0/16 …
_GUARD_PORT = 61022  # above the ephemeral ports; who listens here owns the block
_GUARD_TAIL = "255.254"
_IDLE = 3600.0
_BREATH = 0.05  #: seconds between two looks at which machines answer: many calls fall between them, each moves one


@dataclass(frozen=True, slots=True)
class Options:
    """How a simulator is set up."""

    servers: int = 20  #: size of the fleet
    speed: float = 1.0  #: durations that are not set by hand are divided by it
    port: int = 0  #: of the panel; 0: a free one
    control_port: int = 0  #: of the control side; 0: a free one
    ssh_port: int = 0  #: of all simulated machines; 0: a free one
    tls: bool = False  #: HTTPS with a self-signed certificate
    host: str = "127.0.0.1"  #: loopback only
    seed: int = 1  #: of every draw
    block: int | None = None  #: second octet of its 127.x network; None: the first free one
    admin_user: str = "bill_admin"
    admin_password: str = "simulated-secret"  # noqa: S105 - guards nothing but a simulation
    latency: str = "none"  #: none or real
    types: tuple[str, ...] = ()  #: types of the fleet in turn; empty: a mix

    def check(self) -> None:
        """
        Refuse what cannot be.

        Raises:
            ValueError: with a sentence for the operator.
        """
        check_loopback(self.host)
        if self.servers < 0 or self.servers > _MOST_SERVERS:
            raise ValueError(f"a fleet has 0 to {_MOST_SERVERS} servers, not {self.servers}")
        if self.speed <= 0:
            raise ValueError(f"the speed is a positive number, not {self.speed}")
        if self.latency not in ("none", "real"):
            raise ValueError(f"latency is none or real, not {self.latency}")


_MOST_SERVERS = 5000


class Site:
    """Everything that one simulator runs."""

    def __init__(self, options: Options) -> None:
        options.check()
        self.options = options
        self.block, self._guard = _reserve_block(options.block)
        self.ssh_port, self._ssh_guard = _reserve_ssh_port(self.block, options.ssh_port)
        self.world = _new_world(options, self.block)
        self.journal = Journal()
        self.panel = Panel(self.world, self.journal)
        self.wire = HttpServer(self._answer, options.host, options.port)
        self.certificate: Certificate | None = None
        self.away_mode = ""  #: empty: there; reset: connections are accepted and reset
        self._farm = SshFarm(self.world, self.ssh_port)
        self._folder = tempfile.TemporaryDirectory(prefix="simulator-") if options.tls else None
        self._woken = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._comeback: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        """Return the address of the panel."""
        scheme = "https" if self.options.tls else "http"
        host = f"[{self.options.host}]" if ":" in self.options.host else self.options.host
        return f"{scheme}://{host}:{self.wire.port}/dcimgr"

    async def start(self) -> None:
        """Open the panel and let time pass."""
        if self._folder is not None:
            self.certificate = create(Path(self._folder.name))
        await self._open_wire()
        self._tasks = [asyncio.create_task(self._live()), asyncio.create_task(self._obey_restarts())]
        for task in self._tasks:
            task.add_done_callback(_tell)

    async def stop(self) -> None:
        """Close everything that was opened."""
        tasks = [*self._tasks, *([self._comeback] if self._comeback else [])]
        for task in tasks:
            task.cancel()
        try:
            await asyncio.gather(*tasks, return_exceptions=True)
            await self.wire.close()
            await self._farm.stop()
        finally:
            self._give_back()

    def _give_back(self) -> None:
        for guard in (self._guard, self._ssh_guard):
            if guard is not None:
                guard.close()
        if self._folder is not None:
            self._folder.cleanup()

    async def settle(self) -> None:
        """Let everything that is due happen, and make the SSH listeners match."""
        operations.tick(self.world)
        await self._farm.sync()
        self._woken.set()

    async def stop_panel(self, mode: str = "refused") -> None:
        """Take the panel away; its sessions are gone, what runs in the data centre goes on."""
        if mode not in ("refused", "reset"):
            raise ValueError(f"mode is refused or reset, not {mode!r}")
        self._forget_comeback()
        self.panel.sessions.clear()
        self.away_mode = mode
        await self.wire.stop()
        if mode == "reset":
            await self._open_wire()

    async def start_panel(self) -> None:
        """Bring the panel back on its old port."""
        self._forget_comeback()
        await self._come_back()

    async def restart_panel(self, seconds: float, mode: str = "refused") -> None:
        """Take the panel away for so many real seconds; return when it is gone."""
        await self.stop_panel(mode)
        self._comeback = asyncio.create_task(self._come_back(seconds))

    async def new_certificate(self) -> None:
        """Show another certificate from the next connection on."""
        if self._folder is None:
            raise ValueError("this simulator speaks plain HTTP; it has no certificate")
        self.certificate = create(Path(self._folder.name))
        await self.wire.stop()
        await self._open_wire()

    async def _open_wire(self) -> None:
        await self.wire.start(self.certificate.context() if self.certificate else None)

    async def _come_back(self, seconds: float = 0.0) -> None:
        await asyncio.sleep(seconds)
        self.away_mode = ""
        await self._open_wire()

    def _forget_comeback(self) -> None:
        task, self._comeback = self._comeback, None
        if task is not None:
            task.cancel()

    async def _obey_restarts(self) -> None:
        while True:
            restart: Restart = await self.panel.restarts.get()
            await self.restart_panel(restart.seconds, restart.mode)

    async def _answer(self, request: Request) -> Reply:
        if self.away_mode == "reset":
            return Reply(reset=True)
        before = self.world.revision
        reply = await self.panel.handle(request)
        if self.world.revision != before:
            self._woken.set()
        return reply

    async def _live(self) -> None:
        """Let effects happen when they are due, also when nobody calls."""
        while True:
            self._woken.clear()
            operations.tick(self.world)
            await self._farm.sync()
            due = self.world.next_due()
            rest = _IDLE if due is None or self.world.clock.frozen else max(due - self.world.now(), 0.0)
            # Not wait_for: in Python 3.11 it swallows a cancel that comes together with the wake-up.
            alarm = asyncio.get_running_loop().call_later(rest, self._woken.set)
            try:
                await self._woken.wait()
            finally:
                alarm.cancel()
            await asyncio.sleep(_BREATH)


def _tell(task: asyncio.Task[None]) -> None:
    """Log what ended a task that should never end."""
    if not task.cancelled() and task.exception() is not None:
        _log.error("the simulated data centre stands still", exc_info=task.exception())


def _new_world(options: Options, block: int) -> World:
    world = World(seed=options.seed, block=block, clock=Clock())
    world.settings.update({"speed": options.speed, "latency": options.latency})
    fleet.furnish(
        world,
        servers=options.servers,
        admin_user=options.admin_user,
        admin_password=options.admin_password,
        types=options.types,
    )
    return world


def _reserve_block(wanted: int | None) -> tuple[int, socket.socket]:
    """Return a 127.x block that no other simulator on this machine uses, and the socket that holds it."""
    for block in _BLOCKS if wanted is None else (wanted,):
        guard = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            guard.bind((f"127.{block}.{_GUARD_TAIL}", _GUARD_PORT))
            guard.listen(1)
        except OSError:
            guard.close()
            continue
        return block, guard
    what = "every 127.x block is" if wanted is None else f"block 127.{wanted}.0.0/16 is"
    raise ValueError(f"{what} in use by another simulator")


def _reserve_ssh_port(block: int, wanted: int) -> tuple[int, socket.socket | None]:
    if wanted:
        return wanted, None
    guard = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    guard.bind((f"127.{block}.{_GUARD_TAIL}", 0))
    return int(guard.getsockname()[1]), guard
