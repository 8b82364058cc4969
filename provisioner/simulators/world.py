"""The simulated data centre: its servers, users, networks and calendar. Pure: no wire, no socket."""

import heapq
import re
from collections.abc import Callable
from dataclasses import dataclass, field

from provisioner.simulators.chance import digest
from provisioner.simulators.clock import Clock
from provisioner.simulators.faults import FaultBook
from provisioner.simulators.model import (
    USER_LEVEL,
    Device,
    Kind,
    Link,
    Pool,
    Server,
    ServerType,
    Template,
    Trouble,
    User,
)
from provisioner.simulators.settings import Settings

_USER_NAME = re.compile(r"[A-Za-z0-9_.-]+")


@dataclass(order=True, slots=True)
class Effect:
    """Something that will happen at *due*. Effects of one instant happen in the order asked for."""

    due: float
    ordinal: int
    name: str = field(compare=False)
    server: str = field(compare=False)
    operation: int = field(compare=False)
    detail: str = field(compare=False, default="")
    scaled: bool = field(compare=False, default=False)


class World:
    """All facts of one data centre. `operations` and `addresses` change it; a wire shows it."""

    def __init__(self, *, seed: int, block: int, clock: Clock | None = None) -> None:
        self.seed = seed
        self.block = block  #: second octet of its 127.x network
        self.clock = clock or Clock()
        self.settings = Settings()
        self.faults = FaultBook(seed)
        self.servers: dict[str, Server] = {}
        self.users: dict[str, User] = {}
        self.pools: dict[str, Pool] = {}
        self.types: dict[str, ServerType] = {}
        self.templates: dict[str, Template] = {}
        self.recipes: dict[str, str] = {}
        self.racks: dict[str, Device] = {}
        self.switches: dict[str, Device] = {}
        self.pdus: dict[str, Device] = {}
        self.squatters: set[str] = set()  #: addresses that a stranger on the network answers
        self.deferred: dict[str, Callable[[], None]] = {}  #: calls whose effect comes later
        self.revision = 0  #: goes up with every change
        self._calendar: list[Effect] = []
        self._counts: dict[str, int] = {}
        self._at: float | None = None

    def now(self) -> float:
        """Return world seconds; while an effect happens, the instant it was due."""
        return self.clock.now() if self._at is None else self._at

    def touch(self) -> None:
        """Note that something was changed."""
        self.revision += 1

    def next_id(self, what: str, first: int) -> str:
        """Return the next id of *what*; the first one is *first*."""
        number = self._counts.get(what, first - 1) + 1
        self._counts[what] = number
        return str(number)

    # The calendar

    def schedule(self, span: str, name: str, server: Server, detail: str = "") -> None:
        """Let *name* happen on *server* after a *span* drawn for its newest operation of that."""
        ordinal = server.ordinals.get(span, 0) + 1
        server.ordinals[span] = ordinal
        seconds, scaled = self.settings.duration(span, self.seed, server.id, ordinal)
        self.schedule_in(seconds, name, server.id, detail=detail, scaled=scaled)

    def schedule_in(
        self,
        seconds: float,
        name: str,
        server: str,
        *,
        operation: int = 0,
        detail: str = "",
        scaled: bool = False,
    ) -> None:
        """Let *name* happen *seconds* from now."""
        ordinal = int(self.next_id("effect", 1))
        due = self.now() + seconds
        effect = Effect(due, ordinal, name, server, operation, detail, scaled)
        heapq.heappush(self._calendar, effect)

    def next_due(self) -> float | None:
        """Return when the next effect is due, in world seconds."""
        return self._calendar[0].due if self._calendar else None

    def pop_due(self) -> Effect | None:
        """Take the next effect that is due off the calendar; until the next call, now is then."""
        self._at = None
        if not self._calendar or self._calendar[0].due > self.clock.now():
            return None
        effect = heapq.heappop(self._calendar)
        self._at = effect.due
        return effect

    def pending(self) -> list[Effect]:
        """Return what is still to happen, soonest first."""
        return sorted(self._calendar)

    def set_speed(self, speed: float) -> None:
        """Change the speed; what is pending and was drawn is hurried or slowed in proportion."""
        factor = self.settings.speed / speed
        now = self.now()
        for effect in self._calendar:
            if effect.scaled:
                effect.due = now + (effect.due - now) * factor
        heapq.heapify(self._calendar)
        self.settings.speed = speed

    # Finding things

    def server(self, server_id: str, subject: str = "elid") -> Server:
        """
        Return the server with that id.

        Raises:
            Trouble: there is none; *subject* says which parameter named it.
        """
        try:
            return self.servers[server_id]
        except KeyError:
            raise Trouble(Kind.MISSING, subject, server_id, f"no server {server_id!r}") from None

    def link(self, server: Server, link_id: str) -> Link:
        """Return a connection of *server*."""
        for link in server.links:
            if link.id == link_id:
                return link
        raise Trouble(Kind.MISSING, "elid", link_id, f"{server.name} has no connection {link_id!r}")

    def user_named(self, name: str) -> User | None:
        """Return the user with exactly that name."""
        return next((user for user in self.users.values() if user.name == name), None)

    def user(self, user_id: str) -> User:
        """Return the user with that id."""
        if user_id not in self.users:
            raise Trouble(Kind.MISSING, "elid", user_id, f"no user {user_id!r}")
        return self.users[user_id]

    def owner_name(self, server: Server) -> str:
        """Return the name of the owner, empty when there is none."""
        if server.owner is None:
            return ""
        user = self.users.get(server.owner)
        return user.name if user else server.owner

    def type_named(self, name: str) -> ServerType | None:
        """Return the type of server with that name."""
        return next((kind for kind in self.types.values() if kind.name == name), None)

    # Users

    def check_user_name(self, name: str) -> None:
        """Refuse a name that is empty, too long or holds special characters."""
        if not name or len(name) > self.settings.name_max or not _USER_NAME.fullmatch(name):
            raise Trouble(Kind.BAD_VALUE, "name", name, f"{name!r} is no name for a user")

    def check_password(self, password: str, subject: str = "passwd") -> None:
        """Refuse a password that is too weak."""
        if len(password) < self.settings.password_min:
            raise Trouble(Kind.BAD_VALUE, subject, "", "the password is too weak")

    def add_user(self, name: str, password: str, level: int = USER_LEVEL) -> User:
        """Create a user."""
        self.check_user_name(name)
        if self.user_named(name):
            raise Trouble(Kind.TAKEN, "user", name, f"the user {name!r} already exists")
        self.check_password(password)
        user = User(self.next_id("user", 31), name, level, digest(password))
        self.users[user.id] = user
        self.touch()
        return user

    def set_password(self, user: User, password: str) -> None:
        """Give *user* another password of the panel; sessions stay valid."""
        self.check_password(password)
        user.password_sha256 = digest(password)
        self.touch()

    def admits(self, name: str, password: str) -> User | None:
        """Return the user whom *name* and *password* prove, if any."""
        user = self.user_named(name)
        if user is None or user.revoked or user.password_sha256 != digest(password):
            return None
        return user
