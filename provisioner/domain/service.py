"""What is sold and to whom: packages, orders, customers, claims and accounts as facts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, NewType

from provisioner.domain.server import ServerRef, UserRef
from provisioner.domain.states import AccountState, ClaimState

ServiceId = NewType("ServiceId", int)
ClaimId = NewType("ClaimId", int)
ConnectionId = NewType("ConnectionId", int)


class OnFailure(StrEnum):
    """What a package asks for when a server fails."""

    NEXT = "next"  #: undo, quarantine, next candidate
    HOLD = "hold"  #: stand still and let on-call decide


class SuspendBy(StrEnum):
    """What a suspension does to a server."""

    PORTS = "ports"  #: its switch ports are off
    PORTS_AND_DISABLE = "ports+disable"  #: and it is disabled: its customer can't act on it in the DCIM either


class ServiceKind(StrEnum):
    """What is rented."""

    DEDICATED = "dedicated"  #: a server of ours
    COLOCATION = "colocation"  #: a place for the customer's own machine; opened and closed by people


@dataclass(frozen=True, slots=True)
class Package:
    """What billing sells; a service keeps the snapshot of the moment it was ordered."""

    name: str
    server_type: str  #: internal name of the type in the DCIM
    os_allowed: Sequence[str] = ()  #: template ids
    ipv4: int = 1  #: IPv4 addresses in all, the main one included
    ipv6: int = 0
    address_before_install: bool = True  #: addresses are there when the install begins
    probe: str = "tcp:22"  #: how the installed system is seen to live: `icmp`, `tcp:PORT`, `ssh:PORT`
    attempts_max: int = 3  #: servers tried at most that were themselves to blame
    on_failure: OnFailure = OnFailure.NEXT
    suspend_by: SuspendBy = SuspendBy.PORTS
    stock_wait: timedelta = timedelta(hours=72)  #: an order waits for a server at most this long
    connections: Mapping[str, int] = field(default_factory=dict)  #: connection name → priority, 0 first
    kind: ServiceKind = ServiceKind.DEDICATED
    department: str = ""  #: in charge of what people do for it; "": whoever is in charge of the connection


@dataclass(frozen=True, slots=True)
class Order:
    """What billing asks for."""

    panel: str  #: the billing panel, from its token
    external_ref: str  #: the service's reference there
    package: str
    customer_ref: str
    login: str
    hostname: str
    os: str
    equipment: str = ""  #: colocation: what the customer brings
    panel_password: str | None = field(default=None, repr=False)  #: of the customer's DCIM user; None: we make one

    def fingerprint(self) -> Mapping[str, Any]:
        """Give what makes two orders the same; no secret."""
        brings = {"equipment": self.equipment} if self.equipment else {}
        return {
            "external_ref": self.external_ref,
            "package": self.package,
            "customer_ref": self.customer_ref,
            "login": self.login,
            "hostname": self.hostname,
            "os": self.os,
            **brings,
        }


@dataclass(frozen=True, slots=True)
class Claim:
    """A server bound to us."""

    id: ClaimId
    server: ServerRef
    serial: int  #: raised by each claim ever; a token above our highest means that the database went back
    note_token: str  #: the line that we write into the server's notes
    state: ClaimState = ClaimState.HELD


@dataclass(frozen=True, slots=True)
class Account:
    """A customer's user on a connection."""

    login: str
    state: AccountState
    user: UserRef | None
    created_by_us: bool
    ids_before: frozenset[UserRef]
    creator: int | None  #: the attempt that creates it
    creator_alive: bool  #: that attempt may still act on it
    creator_settles_from: datetime | None  #: when it last began to act


@dataclass(frozen=True, slots=True)
class AccountBook:
    """What our books know of the users of one connection."""

    mine: Account | None  #: the customer's
    logins: frozenset[str]  #: all reserved logins, the customer's too
    users: frozenset[UserRef]  #: all users that a row claims
