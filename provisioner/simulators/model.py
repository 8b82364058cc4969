"""Facts of the simulated data centre, as plain records; no behaviour, no wire, no sockets."""

from dataclasses import dataclass, field
from enum import StrEnum

FREE_DOMAIN = "free.ds"  #: domain of a server that is nobody's (dcimanager5.md 4.1)

USER_LEVEL = 16  #: a client
ADMIN_LEVEL = 29  #: an administrator
ROOT_LEVEL = 30  #: the superuser


class Kind(StrEnum):
    """Why the data centre does not do what it was asked; each wire has its own words for it."""

    MISSING = "missing"  #: there is no such object
    TAKEN = "taken"  #: it is there already, or somebody else's
    BAD_VALUE = "bad_value"  #: the value is not acceptable
    BUSY = "busy"  #: another operation runs on the object
    EXHAUSTED = "exhausted"  #: nothing left in the pool
    DENIED = "denied"  #: not for this caller


class Trouble(Exception):
    """The data centre refuses: *kind* of trouble, the *subject* it is about, and its *value*."""

    def __init__(self, kind: Kind, subject: str, value: str = "", why: str = "") -> None:
        super().__init__(why or f"{subject} {value!r}: {kind.value}")
        self.kind = kind
        self.subject = subject
        self.value = value


@dataclass(slots=True)
class Address:
    """One row of a server's addresses."""

    id: str
    ip: str
    family: str  #: ipv4 or ipv6
    domain: str
    kind: str = "public"  #: type of the pool it came from
    group: bool = False  #: a row that stands for a whole block, no address of its own
    main: bool = False


@dataclass(slots=True)
class Link:
    """One connection of a server: a switch port, its BMC, or a PDU outlet."""

    id: str
    type: str  #: Switch, IPMI or PDU
    descr: str
    device: str = ""  #: id of the switch or PDU
    port: str = ""
    on: bool = False
    in_progress: bool = False
    bmc: bool = False  #: a switch port that the BMC hangs on: off means no more power control
    dead: bool = False  #: on, but no carrier
    stuck: bool = False  #: what is in progress now will never settle
    operation: int = 0  #: ordinal of its newest operation: an older one has no say any more


@dataclass(slots=True)
class Install:
    """An OS install under way."""

    operation: int
    template: str
    password_sha256: str
    fate: str = ""  #: kind of the fault that decides how it ends; empty: it ends well
    visible: bool = False
    started_at: float = 0.0
    seen: int = 0  #: server lists that showed the flag


@dataclass(slots=True)
class Host:
    """The operating system on a machine, as the network sees it."""

    up: bool = False
    silent: bool = False  #: runs, but answers nobody
    flapping: bool = False  #: reboots for ever
    installer: bool = False  #: the installer's own sshd answers while installing
    key: int = 0  #: which host key it shows: a new one after each install


@dataclass(slots=True)
class Server:
    """One machine and all that the data centre knows of it."""

    id: str
    name: str
    mac: str
    type: str
    rack: str = ""  #: id of the rack
    unit: str = ""
    notes: str = ""
    owner: str | None = None  #: id of a user
    disabled: bool = False
    blocked: bool = False
    hwproblem: bool = False
    power: bool | None = False  #: None: no power source, nothing is known
    powererror: bool = False
    diag_in_progress: bool = False
    install_in_progress: bool = False
    operation_failed: bool = False
    install: Install | None = None
    template: str = ""  #: what is installed on the disks; empty: nothing that boots
    installs: int = 0  #: installs that were accepted, ever
    root_password_sha256: str = ""
    bare_domain: str = FREE_DOMAIN  #: domain of a server without addresses
    addresses: list[Address] = field(default_factory=list)
    links: list[Link] = field(default_factory=list)
    host: Host = field(default_factory=Host)
    ordinals: dict[str, int] = field(default_factory=dict)  #: operations so far, by kind
    owners: list[str | None] = field(default_factory=list)  #: every owner there was, oldest first
    reason: str = ""  #: why the last operation failed, for people

    @property
    def main(self) -> Address | None:
        """Return the main address, if there is one."""
        return next((row for row in self.addresses if row.main), None)

    @property
    def domain(self) -> str:
        """Return the host name: it follows the domain of the main address."""
        main = self.main
        return main.domain if main else self.bare_domain

    @property
    def free(self) -> bool:
        """Return whether it is nobody's (dcimanager5.md 4.3, without the hardware flags)."""
        return self.owner is None and self.domain == FREE_DOMAIN

    @property
    def busy(self) -> bool:
        """Return whether an operation holds it, or a stale flag says so."""
        return self.install is not None or self.install_in_progress or self.diag_in_progress


@dataclass(slots=True)
class User:
    """An account of the panel."""

    id: str
    name: str
    level: int
    password_sha256: str
    revoked: bool = False  #: its password is refused, whatever it is


@dataclass(slots=True)
class Pool:
    """A network from which addresses are given out."""

    id: str
    name: str
    family: str
    kind: str  #: public, private, main …: what a caller asks for
    network: str
    gateway: str


@dataclass(slots=True)
class Template:
    """An OS template that the panel knows."""

    id: str
    name: str
    windows: bool = False


@dataclass(slots=True)
class ServerType:
    """A kind of machine that is sold."""

    id: str
    name: str
    hardware: str
    templates: list[str] = field(default_factory=list)  #: ids of the templates allowed on it


@dataclass(slots=True)
class Device:
    """A rack, a switch or a PDU."""

    id: str
    name: str
    ip: str = ""
    rack: str = ""
