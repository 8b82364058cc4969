"""
A data centre in memory: for unit and kill tests, and the driver to copy; touches nothing else.

`FakeDatacentre` is the world, `FakeDriver` and `FakeProber` are the ways to reach it. `serve_fake`
opens the same world to other processes (`RemoteFake`): a client that is killed loses nothing.
"""

import os
import re
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from multiprocessing.connection import Client, Connection, Listener
from typing import Protocol, cast

from provisioner.domain import touch
from provisioner.domain.server import (
    FREE_MARKER,
    AddressRow,
    Capabilities,
    Family,
    Link,
    LinkKind,
    LinkRef,
    ListedServer,
    Listing,
    Network,
    Power,
    RowRef,
    ServerReading,
    ServerRef,
    User,
    UserRef,
)
from provisioner.errors import (
    AlreadyExists,
    BadValue,
    Busy,
    NoSuchObject,
    PoolEmpty,
    RemoteError,
    Unreachable,
    Unsure,
)

Span = int | timedelta  #: a number of observations, or a time by the world's clock

LOOKS = frozenset(
    {"logs_in", "whoami", "list_servers", "read", "survey", "users", "server_types", "os_templates", "networks"}
)
ACTS = frozenset(
    {
        "create_user",
        "edit_server",
        "set_domain",
        "add_address",
        "delete_address",
        "enable",
        "disable",
        "set_link",
        "set_power",
        "reboot",
        "set_password",
        "install",
        "cancel_operation",
    }
)
WITHOUT_SERVER = (LOOKS - {"read", "survey", "os_templates"}) | {"create_user", "set_password"}
PROBES = frozenset({"answers", "host_key"})

#: What XML can't hold, and with it no panel: control characters, halves of surrogate pairs.
UNSPEAKABLE = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
DOMAIN = re.compile(r"(?=.{1,253}\Z)[\w-]{1,63}(\.[\w-]{1,63})*\.?", re.ASCII)
LOGIN_LENGTH = 16  #: longest login that DCImanager 5 takes
PASSWORD_LENGTH = 6  #: shortest password that counts as good enough


class InstallEnd(StrEnum):
    """How an install ends."""

    DONE = "done"
    FAILED = "failed"  #: the flag falls and `operation_failed` rises
    HANGS = "hangs"  #: the flag stays up until somebody cancels
    SILENT = "silent"  #: ends well in the panel's eyes, but the host never answers


@dataclass(frozen=True, slots=True)
class Pace:
    """
    How long effects take. 0: at once, so a flag that lasts 0 is never seen.

    A number *n* after: *n* list calls do not show the effect yet, the next one does. A number *n*
    lasting: *n* list calls show it. For `enable_after` and `links_last` a `read` of the server
    counts like a list call.
    """

    power_after: Span = 0
    enable_after: Span = 0  #: until `disabled` is set or removed
    links_last: Span = 0  #: how long a link is busy
    install_after: Span = 0  #: until the flag rises
    install_lasts: Span = 1
    cancel_after: Span = 0  #: until a cancelled operation's flag falls
    failure_outlasts_request: bool = False  #: an old `operation_failed` falls at the rise only
    diagnosis_lasts: Span | None = None  #: a released server is diagnosed first; None: it is not


@dataclass(slots=True)
class FakeLink:
    """A link as it truly is."""

    ref: LinkRef
    kind: LinkKind = LinkKind.SWITCH
    description: str = ""
    on: bool = False
    busy: bool = False
    stuck: bool = False  #: once asked for anything, it stays busy for ever


@dataclass(slots=True)
class _Pending:
    """An effect that is still to come."""

    kind: str
    apply: Callable[[datetime], None]
    count: int | None  #: observations that still pass before it; None when `due` decides
    due: datetime | None


@dataclass(slots=True)
class FakeServer:
    """A server as it truly is; tests may write any field."""

    ref: ServerRef
    name: str = ""
    server_type: str = "HP-E3-16G"
    domain: str = FREE_MARKER  #: follows the main row; kept as it was when the last row goes
    owner: UserRef | None = None
    notes: str = ""
    mac: str = ""
    rack: str = ""
    description: str = ""
    power: Power = Power.OFF
    power_error: bool = False
    disabled: bool = False
    blocked: bool = False
    faulty: bool = False
    diagnosing: bool = False
    installing: bool = False
    operation_failed: bool = False
    ill: str = ""  #: why its list row can't be believed
    addresses: list[AddressRow] = field(default_factory=list)
    links: list[FakeLink] = field(default_factory=list)
    templates: tuple[str, ...] | None = None  #: allowed here; None: all of the data centre's
    pace: Pace | None = None  #: None: the data centre's
    install_ends: list[InstallEnd] = field(default_factory=list)  #: of the next ones; then DONE
    power_wired: bool = True  #: False: no power flag, ever, and power can't be set
    power_fails: bool = False  #: asking for power raises `power_error` instead

    reboots: int = 0  #: reboot requests that were taken
    installs: int = 0  #: install requests that were taken
    os: str = ""  #: template on the disks; "" when empty or half written
    os_password: str = field(default="", repr=False)
    host_key: str = ""  #: a new one with each install
    silent: bool = False  #: the host does not answer, whatever the panel shows
    installer_answers: bool = False  #: the installer's own sshd answers while installing
    answers: list[bool] = field(default_factory=list)  #: to the next probes; then the truth
    pending: list[_Pending] = field(default_factory=list, repr=False)

    @property
    def main(self) -> AddressRow | None:
        """The main address row."""
        return next((row for row in self.addresses if row.main), None)

    @property
    def answering(self) -> bool:
        """Whether the host answers: powered, installed, and reachable through an open port."""
        if self.silent or self.power is not Power.ON:
            return False
        if self.installing:
            return self.installer_answers
        ports = [link for link in self.links if link.kind is LinkKind.SWITCH]
        return self.os != "" and (not ports or any(link.on for link in ports))


@dataclass(frozen=True, slots=True)
class Request:
    """One call, as it travels from a driver to the world."""

    driver: str
    method: str
    server: str  #: server, or address of a probe; "" where there is none
    args: Mapping[str, object] = field(repr=False)  #: may hold a password
    pid: int  #: process that calls


@dataclass(slots=True)
class Call:
    """One line of the journal."""

    driver: str
    method: str
    server: str
    args: Mapping[str, object]  #: without passwords
    mutating: bool
    pid: int
    at: datetime
    took_effect: bool = False  #: for a look: it was answered
    error: str = ""  #: name of the error that the caller got


@dataclass(slots=True)
class _Fault:
    method: str
    server: str | None
    mutating: bool | None
    after: bool
    times: int | None
    skip: int
    error: RemoteError | type[RemoteError] | None
    hook: Callable[[Call], None] | None


class World(Protocol):
    """What a driver needs of a data centre: here in this process, or behind a socket."""

    def perform(self, request: Request) -> object:
        """Carry out one call."""
        ...


class FakeDatacentre:
    """
    One DCIM and its machines, in memory; every call is journaled, any call can be made to fail.

    Tests read and write `servers`, `users`, `pool` and the other fields directly.
    """

    def __init__(
        self,
        clock: Callable[[], datetime] = lambda: datetime(2026, 1, 1, tzinfo=UTC),
        *,
        pace: Pace | None = None,
    ) -> None:
        """Build an empty data centre; *clock* matters only where a span is a `timedelta`."""
        self.clock = clock
        self.pace = pace if pace is not None else Pace()
        self.lock = threading.RLock()
        self.administrator = User(UserRef("5"), "bill_admin", administrator=True)
        self.users: list[User] = [self.administrator]
        self.passwords: dict[UserRef, str] = {}  #: of users that were made, or whose password was set
        self.servers: dict[ServerRef, FakeServer] = {}
        self.pool: dict[Family, list[str]] = {
            Family.IPV4: [f"198.51.100.{n}" for n in range(10, 250)],
            Family.IPV6: [f"2001:db8::{n:x}" for n in range(0x10, 0x100)],
        }
        self.templates: tuple[str, ...] = (
            "ISPsystem__Debian-12-x86_64",
            "ISPsystem__CentOS-7-amd64",
        )
        self.known_networks: list[Network] = [Network("1", "198.51.100.0/24", "255.255.255.0", "198.51.100.1")]
        self.capabilities = Capabilities(shows_ports=False)
        self.keeps_main_address = True  #: deleting a server's main address row is refused
        self.list_shows_owner_id = False  #: the list shows the owner's id instead of the login
        self.foreign_hosts: set[str] = set()  #: answer, and are no server's
        self.journal: list[Call] = []
        self._faults: list[_Fault] = []
        self._counter = 900

    # For tests.

    def add_server(self, ref: str, *, address: str | None = "", links: Sequence[FakeLink] | None = None) -> FakeServer:
        """
        Put up one free server with two switch ports and a BMC; change it as you like.

        *address* is that of its main row: "" for one of its own, None for a server without rows.
        """
        with self.lock:
            number = len(self.servers) + 1
            server = FakeServer(
                ref=ServerRef(ref),
                name=f"A14R{number}",
                mac=f"02:00:5E:10:{number // 256:02X}:{number % 256:02X}",
                rack=f"A14 {number}",
                description="E3-1230v2, 16 GiB, 2x1TB",
                links=list(links)
                if links is not None
                else [
                    FakeLink(LinkRef(self._next_id()), LinkKind.SWITCH, "Gi0/1"),
                    FakeLink(LinkRef(self._next_id()), LinkKind.SWITCH, "Gi0/2"),
                    FakeLink(LinkRef(self._next_id()), LinkKind.BMC, f"IPMI S{ref}"),
                ],
            )
            if address is not None:
                ip = address or f"10.10.{number // 256}.{number % 256}"
                server.addresses.append(
                    AddressRow(
                        RowRef(self._next_id()),
                        ip,
                        FREE_MARKER,
                        Family.IPV4,
                        main=True,
                        netmask="255.255.0.0",
                    )
                )
            self.servers[server.ref] = server
            return server

    def add_user(self, login: str, *, administrator: bool = False) -> User:
        """Put up a user, as a foreign hand would."""
        with self.lock:
            user = User(UserRef(self._next_id()), login, administrator=administrator)
            self.users.append(user)
            return user

    def fault(
        self,
        method: str,
        error: RemoteError | type[RemoteError] | None = None,
        *,
        server: str | None = None,
        mutating: bool | None = None,
        after: bool = False,
        times: int | None = 1,
        skip: int = 0,
        hook: Callable[[Call], None] | None = None,
    ) -> None:
        """
        Make the next *times* calls of *method* raise *error*, before or *after* the effect.

        *method* `*` is any of a driver's; *skip* calls pass first; *times* None is until `heal`. *hook*
        runs at that point, without the lock: it may change the world as a foreign client would,
        wait, or kill. Without an *error* the call then goes on.
        """
        with self.lock:
            self._faults.append(_Fault(method, server, mutating, after, times, skip, error, hook))

    def kill_caller(self, method: str, *, server: str | None = None, after: bool = False, skip: int = 0) -> None:
        """Kill the process that next calls *method*, before or *after* the effect, with SIGKILL."""
        self.fault(method, Unsure, server=server, after=after, skip=skip, hook=_kill)

    def heal(self) -> None:
        """Forget all faults."""
        with self.lock:
            self._faults.clear()

    def calls(
        self, method: str | None = None, *, server: str | None = None, mutating: bool | None = None
    ) -> list[Call]:
        """Give the journal's lines that match."""
        with self.lock:
            return [
                call
                for call in self.journal
                if (method is None or call.method == method)
                and (server is None or call.server == server)
                and (mutating is None or call.mutating == mutating)
            ]

    def settle(self) -> None:
        """Let all that counts observations become visible now; hung and stuck things stay so."""
        with self.lock:
            for server in self.servers.values():
                while any(effect.count is not None for effect in server.pending):
                    self._tick(server)
                    self._come_true(server)

    # For drivers.

    def perform(self, request: Request) -> object:
        """Carry out one call: journal it, obey the faults, do it."""
        method = request.method
        if method not in LOOKS | ACTS | PROBES:
            raise NotImplementedError(method)
        shown = {key: value for key, value in request.args.items() if key != "password"}
        with self.lock:
            call = Call(
                request.driver,
                method,
                request.server,
                shown,
                method in ACTS,
                request.pid,
                self.clock(),
            )
            self.journal.append(call)
        try:
            self._obey_fault(call, after=False)
            result = self._do(request)
            call.took_effect = True
            self._obey_fault(call, after=True)
        except RemoteError as error:
            call.error = type(error).__name__
            raise
        return result

    def _do(self, request: Request) -> object:
        try:
            with self.lock:
                answer: object = getattr(self, f"_{request.method}")(*self._subject(request), **request.args)
        except RemoteError as error:
            raise type(error)(
                error.detail,
                system=request.driver,
                operation=request.method,
                server=request.server,
            ) from None
        return answer

    def _subject(self, request: Request) -> tuple[object, ...]:
        """Give what the call is about: a server, settled; an address, for a probe; or nothing."""
        if request.method in PROBES:
            return (request.server,)
        if request.method in WITHOUT_SERVER or (request.method == "os_templates" and not request.server):
            return ()
        server = self.servers.get(ServerRef(request.server))
        if server is None:
            raise NoSuchObject("no such server")
        self._come_true(server)
        return (server,)

    def _obey_fault(self, call: Call, *, after: bool) -> None:
        with self.lock:
            fault = self._take_fault(call, after=after)
        if fault is None:
            return
        if fault.hook is not None:
            fault.hook(call)
        if isinstance(fault.error, RemoteError):
            raise fault.error
        if fault.error is not None:
            raise fault.error("as the test ordered", system=call.driver, operation=call.method, server=call.server)

    def _take_fault(self, call: Call, *, after: bool) -> _Fault | None:
        for fault in self._faults:
            if fault.after is not after or fault.method not in {"*", call.method}:
                continue
            if fault.method == "*" and call.method in PROBES:
                continue
            if fault.server is not None and fault.server != call.server:
                continue
            if fault.mutating is not None and fault.mutating is not call.mutating:
                continue
            if fault.skip > 0:
                fault.skip -= 1
                continue
            if fault.times is not None:
                fault.times -= 1
                if fault.times == 0:
                    self._faults.remove(fault)
            return fault
        return None

    # Effects that come later.

    def _later(
        self,
        server: FakeServer,
        kind: str,
        span: Span,
        apply: Callable[[datetime], None],
        *,
        since: datetime | None = None,
    ) -> None:
        """Schedule *apply*, in place of an effect of the same kind that is still to come."""
        server.pending = [effect for effect in server.pending if effect.kind != kind]
        if isinstance(span, timedelta):
            server.pending.append(_Pending(kind, apply, None, (since or self.clock()) + span))
        else:
            server.pending.append(_Pending(kind, apply, span, None))

    def _come_true(self, server: FakeServer) -> None:
        now = self.clock()
        while True:
            due = next(
                (
                    effect
                    for effect in server.pending
                    if effect.count == 0 or (effect.due is not None and effect.due <= now)
                ),
                None,
            )
            if due is None:
                return
            server.pending.remove(due)
            due.apply(due.due or now)

    @staticmethod
    def _tick(server: FakeServer, *kinds: str) -> None:
        """Count one observation of *kinds* (none given: of all)."""
        for effect in server.pending:
            if effect.count and (not kinds or effect.kind in kinds):
                effect.count -= 1

    def _pace(self, server: FakeServer) -> Pace:
        return server.pace or self.pace

    # Looks.

    def _whoami(self) -> User:
        return self.administrator

    def _list_servers(self) -> Listing:
        rows = []
        for server in self.servers.values():
            self._come_true(server)
            rows.append(self._row(server))
            self._tick(server)
        return Listing(tuple(rows))

    def _row(self, server: FakeServer) -> ListedServer:
        return ListedServer(
            ref=server.ref,
            name=server.name,
            server_type=server.server_type,
            domain=server.domain,
            ip=server.main.ip if server.main else "",
            owner=self._owner_shown(server),
            mac=server.mac,
            rack=server.rack,
            description=server.description,
            power=server.power if server.power_wired else Power.UNKNOWN,
            power_error=server.power_error,
            disabled=server.disabled,
            blocked=server.blocked,
            faulty=server.faulty,
            diagnosing=server.diagnosing,
            installing=server.installing,
            operation_failed=server.operation_failed,
            ill=server.ill,
        )

    def _owner_shown(self, server: FakeServer) -> str:
        if server.owner is None or self.list_shows_owner_id:
            return server.owner or ""
        return next((user.login for user in self.users if user.ref == server.owner), server.owner)

    def _read(self, server: FakeServer, *, links: bool) -> ServerReading:
        reading = ServerReading(
            ref=server.ref,
            owner=server.owner,
            notes=server.notes,
            disabled=server.disabled,
            faulty=server.faulty,
            addresses=tuple(server.addresses),
            links=tuple(
                Link(
                    link.ref,
                    link.kind,
                    link.description,
                    busy=link.busy,
                    on=link.on if self.capabilities.shows_ports else None,
                )
                for link in server.links
            )
            if links
            else None,
            mac=server.mac,
        )
        self._tick(server, "enable", *(f"link {link.ref}" for link in server.links if links))
        return reading

    def _survey(self, server: FakeServer, main_ip: str) -> ServerReading:
        del main_ip  # the world knows which row is the main one
        return ServerReading(
            ref=server.ref,
            owner=server.owner,
            notes=server.notes,
            disabled=server.disabled,
            faulty=server.faulty,
            addresses=tuple(server.addresses),
            links=None,
            mac=server.mac,
        )

    def _users(self) -> tuple[User, ...]:
        return tuple(self.users)

    def _server_types(self) -> tuple[str, ...]:
        return tuple(sorted({server.server_type for server in self.servers.values()}))

    def _os_templates(self, server: FakeServer | None = None) -> tuple[str, ...]:
        return self.templates if server is None or server.templates is None else server.templates

    def _networks(self) -> tuple[Network, ...]:
        return tuple(self.known_networks) if self.capabilities.shows_networks else ()

    # Acts.

    def _create_user(self, login: str, password: str) -> UserRef:
        if any(user.login == login for user in self.users):
            raise AlreadyExists("the login is taken")
        if not login or len(login) > LOGIN_LENGTH:
            raise BadValue("the login is not acceptable")
        self._check_password(password)
        made = self.add_user(login).ref
        self.passwords[made] = password
        return made

    def _set_password(self, user: UserRef, password: str) -> None:
        if all(known.ref != user for known in self.users):
            raise NoSuchObject("no such user")
        self._check_password(password)
        self.passwords[user] = password

    def _logs_in(self, login: str, password: str) -> bool:
        user = next((known for known in self.users if known.login == login), None)
        return user is not None and self.passwords.get(user.ref) == password

    @staticmethod
    def _check_password(password: str) -> None:
        if len(password) < PASSWORD_LENGTH:
            raise BadValue("the password is too weak")

    def _edit_server(self, server: FakeServer, owner: UserRef | None, notes: str) -> None:
        if owner is not None and all(user.ref != owner for user in self.users):
            raise BadValue("no such owner")
        released = server.owner is not None and owner is None
        server.owner, server.notes = owner, notes
        lasts = self._pace(server).diagnosis_lasts
        if released and lasts is not None:
            server.diagnosing = True
            self._later(server, "diagnosis", lasts, lambda _at: setattr(server, "diagnosing", False))

    def _find_row(self, server: FakeServer, row: RowRef) -> int:
        for index, known in enumerate(server.addresses):
            if known.ref == row:
                return index
        raise NoSuchObject("no such address row")

    def _set_domain(self, server: FakeServer, row: RowRef, domain: str) -> None:
        index = self._find_row(server, row)
        if not DOMAIN.fullmatch(domain):
            raise BadValue("the domain is not acceptable")
        server.addresses[index] = replace(server.addresses[index], domain=domain)
        self._follow_main(server)

    @staticmethod
    def _follow_main(server: FakeServer) -> None:
        if server.main is not None:
            server.domain = server.main.domain

    def _add_address(self, server: FakeServer, family: Family, domain: str) -> AddressRow:
        if not DOMAIN.fullmatch(domain):
            raise BadValue("the domain is not acceptable")
        if not self.pool[family]:
            raise PoolEmpty(f"no {family} address left")
        row = AddressRow(
            RowRef(self._next_id()),
            self.pool[family].pop(0),
            domain,
            family,
            main=server.main is None and family is Family.IPV4,
            netmask="255.255.255.0" if family is Family.IPV4 else "64",
            gateway="198.51.100.1" if family is Family.IPV4 else "2001:db8::1",
        )
        server.addresses.append(row)
        self._follow_main(server)
        return row

    def _delete_address(self, server: FakeServer, row: RowRef) -> None:
        index = self._find_row(server, row)
        if server.addresses[index].main and self.keeps_main_address:
            raise BadValue("the main address stays")
        gone = server.addresses.pop(index)
        self.pool[gone.family].append(gone.ip)
        if gone.main and server.addresses:
            server.addresses[0] = replace(server.addresses[0], main=True)
        self._follow_main(server)

    def _enable(self, server: FakeServer) -> None:
        self._set_disabled(server, disabled=False)

    def _disable(self, server: FakeServer) -> None:
        self._set_disabled(server, disabled=True)

    def _set_disabled(self, server: FakeServer, *, disabled: bool) -> None:
        """Set the flag later; the switch links are busy for a while, and off when it is set."""

        def apply(_at: datetime) -> None:
            server.disabled = disabled

        self._later(server, "enable", self._pace(server).enable_after, apply)
        for link in server.links:
            if link.kind is LinkKind.SWITCH:
                self._ask_link(server, link, on=link.on and not disabled)
        self._come_true(server)

    def _set_link(self, server: FakeServer, link: LinkRef, on: bool) -> None:  # noqa: FBT001  # from `args`, by name
        known = next((known for known in server.links if known.ref == link), None)
        if known is None:
            raise NoSuchObject("no such link")
        if known.kind is not LinkKind.SWITCH:
            raise BadValue("not a switch port")
        self._ask_link(server, known, on=on)
        self._come_true(server)

    def _ask_link(self, server: FakeServer, link: FakeLink, *, on: bool) -> None:
        def apply(_at: datetime) -> None:
            link.on, link.busy = on, False

        link.busy = True
        if not link.stuck:
            self._later(server, f"link {link.ref}", self._pace(server).links_last, apply)

    def _set_power(self, server: FakeServer, power: Power) -> None:
        self._check_idle(server, "install")

        def apply(_at: datetime) -> None:
            server.power_error = server.power_fails
            if not server.power_fails:
                server.power = power

        if server.power_wired:
            self._later(server, "power", self._pace(server).power_after, apply)
        self._come_true(server)

    def _reboot(self, server: FakeServer) -> None:
        self._check_idle(server, "install")
        server.reboots += 1

    def _install(self, server: FakeServer, template: str, password: str) -> None:
        if template not in self._os_templates(server):
            raise BadValue("the template is not allowed here")
        self._check_password(password)
        if server.main is None:
            raise BadValue("a server without an address can't be installed")
        self._check_idle(server, "install", "diagnosis")
        pace = self._pace(server)
        end = server.install_ends.pop(0) if server.install_ends else InstallEnd.DONE
        server.installs += 1
        if not pace.failure_outlasts_request:
            server.operation_failed = False

        def rise(at: datetime) -> None:
            server.installing, server.operation_failed = True, False
            server.os, server.host_key = "", f"SHA256:installer-{server.ref}-{server.installs}"
            if server.power_wired:
                server.power = Power.ON
            if end is not InstallEnd.HANGS:
                self._later(server, "install", pace.install_lasts, fall, since=at)

        def fall(_at: datetime) -> None:
            server.installing = False
            if end is InstallEnd.FAILED:
                server.operation_failed = True
                return
            server.os, server.os_password = template, password
            server.host_key = f"SHA256:{server.ref}-{server.installs}"
            server.silent = end is InstallEnd.SILENT

        self._later(server, "install", pace.install_after, rise)
        self._come_true(server)

    @staticmethod
    def _check_idle(server: FakeServer, *kinds: str) -> None:
        """Refuse while an operation of *kinds* is under way or about to begin."""
        under_way = {effect.kind for effect in server.pending}
        if server.installing:
            under_way.add("install")
        if server.diagnosing:
            under_way.add("diagnosis")
        if under_way & set(kinds):
            raise Busy("another operation is under way")

    def _cancel_operation(self, server: FakeServer) -> None:
        def apply(_at: datetime) -> None:
            server.installing = server.diagnosing = False

        server.pending = [effect for effect in server.pending if effect.kind not in {"install", "diagnosis"}]
        self._later(server, "cancel", self._pace(server).cancel_after, apply)
        self._come_true(server)

    # Probes.

    def _host(self, ip: str) -> FakeServer | None:
        for server in self.servers.values():
            if any(row.ip == ip for row in server.addresses):
                self._come_true(server)
                return server
        return None

    def _answers(self, ip: str, probe: str) -> bool:
        del probe
        host = self._host(ip)
        if ip in self.foreign_hosts:
            return True
        if host is None:
            return False
        return host.answers.pop(0) if host.answers else host.answering

    def _host_key(self, ip: str, probe: str) -> str | None:
        host = self._host(ip)
        if host is None or not probe.startswith("ssh:") or not host.answering:
            return None
        return host.host_key or f"SHA256:{host.ref}-0"

    def _next_id(self) -> str:
        self._counter += 1
        return str(self._counter)


def _kill(call: Call) -> None:
    if call.pid == os.getpid():
        raise AssertionError(f"kill_caller({call.method!r}) was reached in the world's own process")
    with suppress(ProcessLookupError):
        os.kill(call.pid, signal.SIGKILL)


class FakeDriver:
    """`ports.Driver` on a fake data centre."""

    def __init__(self, world: World, name: str = "fake", *, call_seconds: float = 15.0) -> None:
        """Reach *world* as connection *name*; *call_seconds* is what the lease must leave."""
        self._world = world
        self._name = name
        self._call_seconds = call_seconds

    def _call(self, method: str, server: str = "", **args: object) -> object:
        touch.may_call(self._call_seconds, mutating=method in ACTS)
        for value in (server, *args.values()):
            if isinstance(value, str) and UNSPEAKABLE.search(value):
                raise BadValue("a value holds a character that no panel can store", system=self._name, operation=method)
        return self._world.perform(Request(self._name, method, server, args, os.getpid()))

    @property
    def name(self) -> str:
        """The connection's name."""
        return self._name

    @property
    def capabilities(self) -> Capabilities:
        """What DCImanager 5 can show, unless the world says otherwise."""
        return getattr(self._world, "capabilities", Capabilities(shows_ports=False))

    def whoami(self) -> User:
        """Give the administrator."""
        return cast("User", self._call("whoami"))

    def list_servers(self) -> Listing:
        """Read the list; this is what effects are counted in."""
        return cast("Listing", self._call("list_servers"))

    def read(self, server: ServerRef, main_ip: str = "", *, links: bool = True) -> ServerReading:
        """Read one server."""
        return cast("ServerReading", self._call("read", server, links=links))

    def survey(self, server: ServerRef, main_ip: str) -> ServerReading:
        """Read one server, without its links."""
        return cast("ServerReading", self._call("survey", server, main_ip=main_ip))

    def users(self) -> Sequence[User]:
        """Read all users."""
        return cast("tuple[User, ...]", self._call("users"))

    def server_types(self) -> Sequence[str]:
        """Types of the servers that there are."""
        return cast("tuple[str, ...]", self._call("server_types"))

    def os_templates(self, server: ServerRef | None = None) -> Sequence[str]:
        """Templates of the data centre, or those allowed for *server*."""
        return cast("tuple[str, ...]", self._call("os_templates", server or ""))

    def networks(self) -> Sequence[Network]:
        """Address pools."""
        return cast("tuple[Network, ...]", self._call("networks"))

    def create_user(self, login: str, password: str) -> UserRef:
        """Create a user; `AlreadyExists` for a second one of that login."""
        return cast("UserRef", self._call("create_user", login=login, password=password))

    def edit_server(self, server: ServerRef, *, owner: UserRef | None, notes: str) -> None:
        """Set owner and notes."""
        self._call("edit_server", server, owner=owner, notes=notes)

    def set_domain(self, server: ServerRef, row: RowRef, domain: str) -> None:
        """Set a row's domain; the server's follows its main row."""
        self._call("set_domain", server, row=row, domain=domain)

    def add_address(self, server: ServerRef, family: Family, domain: str) -> AddressRow:
        """Take the pool's next address."""
        return cast("AddressRow", self._call("add_address", server, family=family, domain=domain))

    def delete_address(self, server: ServerRef, row: RowRef) -> None:
        """Give a row's address back to the pool."""
        self._call("delete_address", server, row=row)

    def enable(self, server: ServerRef) -> None:
        """Enable; the switch links are busy for a while."""
        self._call("enable", server)

    def disable(self, server: ServerRef) -> None:
        """Disable; the switch links are busy for a while, and off afterwards."""
        self._call("disable", server)

    def set_link(self, server: ServerRef, link: LinkRef, *, on: bool) -> None:
        """Switch a port; `BadValue` for a link that is none."""
        self._call("set_link", server, link=link, on=on)

    def set_power(self, server: ServerRef, power: Power) -> None:
        """Ask for power."""
        if power is Power.UNKNOWN:
            raise BadValue("power can be on or off", system=self._name, operation="set_power", server=server)
        self._call("set_power", server, power=power)

    def reboot(self, server: ServerRef) -> None:
        """Ask for a reboot; it has no flag of its own."""
        self._call("reboot", server)

    def set_password(self, user: UserRef, password: str) -> None:
        """Set a user's password."""
        self._call("set_password", user=user, password=password)

    def logs_in(self, login: str, password: str) -> bool:
        """Say whether a user can log in."""
        return cast("bool", self._call("logs_in", login=login, password=password))

    def install(self, server: ServerRef, template: str, password: str) -> None:
        """Start an install; `Busy` while another operation is under way."""
        self._call("install", server, template=template, password=password)

    def cancel_operation(self, server: ServerRef) -> None:
        """Cancel what is under way; what the installer has wiped stays wiped."""
        self._call("cancel_operation", server)


class FakeProber:
    """`ports.Prober` on the same world: a host answers when powered, installed, with a port on."""

    def __init__(self, world: World) -> None:
        """Probe the hosts of *world*."""
        self._world = world

    def _call(self, method: str, ip: str, probe: str) -> object:
        touch.may_call(2.0, mutating=False)
        return self._world.perform(Request("prober", method, ip, {"probe": probe}, os.getpid()))

    def answers(self, ip: str, probe: str) -> bool:
        """Say whether the host answers; the kind of probe makes no difference here."""
        return cast("bool", self._call("answers", ip, probe))

    def host_key(self, ip: str, probe: str) -> str | None:
        """Give the host key of the system that answers."""
        return cast("str | None", self._call("host_key", ip, probe))


class RemoteDatacentre:
    """A world in another process, behind a Unix socket; one connection a call survives a fork."""

    def __init__(self, address: str) -> None:
        """Reach the world that `serve_fake` serves at *address*."""
        self._address = address

    def perform(self, request: Request) -> object:
        """Send one call and give its result; without an answer an act is `Unsure`."""
        where = {"system": request.driver, "operation": request.method, "server": request.server}
        try:
            connection = Client(self._address, family="AF_UNIX")
        except OSError as cause:
            raise Unreachable("the fake data centre is not served", **where) from cause
        with connection:
            try:
                connection.send(request)
                answer = connection.recv()
            except (OSError, EOFError) as cause:
                trouble = Unsure if request.method in ACTS else Unreachable
                raise trouble("the fake data centre went away", **where) from cause
        if isinstance(answer, BaseException):
            raise answer
        return cast("tuple[object]", answer)[0]


class RemoteFake(FakeDriver):
    """`ports.Driver` on a fake data centre of another process."""

    def __init__(self, address: str, name: str = "fake", *, call_seconds: float = 15.0) -> None:
        """Reach the world that `serve_fake` serves at *address*."""
        super().__init__(RemoteDatacentre(address), name, call_seconds=call_seconds)


@contextmanager
def serve_fake(world: FakeDatacentre, address: str) -> Iterator[str]:
    """
    Open *world* to other processes at *address*, a Unix socket's path of at most 100 characters.

    Keep it in a folder of your own: who may open the socket may do anything with this process.
    """
    listener = Listener(address, family="AF_UNIX", backlog=128)
    closing = threading.Event()

    def accept() -> None:
        while not closing.is_set():
            with suppress(OSError, EOFError):
                connection = listener.accept()
                threading.Thread(target=_serve_one, args=(world, connection), daemon=True).start()

    thread = threading.Thread(target=accept, name="fake-datacentre", daemon=True)
    thread.start()
    try:
        yield address
    finally:
        closing.set()
        with suppress(OSError):
            Client(address, family="AF_UNIX").close()  # wakes the thread out of accept
        thread.join(timeout=5)
        listener.close()


def _serve_one(world: FakeDatacentre, connection: "Connection[object, object]") -> None:
    """Answer one call; a client that has died meanwhile gets no answer, and the effect stays."""
    with connection, suppress(OSError, EOFError):
        request = cast("Request", connection.recv())
        answer: object
        try:
            answer = (world.perform(request),)
        except Exception as error:  # noqa: BLE001  # whatever it is, it belongs to the caller
            answer = error
        connection.send(answer)
