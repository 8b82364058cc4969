"""What can be read of a server and of the DCIM that owns it; facts only, no rule about jobs."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import NewType

ServerRef = NewType("ServerRef", str)  #: a server's id in its DCIM; opaque, compared byte for byte
UserRef = NewType("UserRef", str)  #: a user's id in its DCIM; opaque
RowRef = NewType("RowRef", str)  #: an address row's id in its DCIM; opaque
LinkRef = NewType("LinkRef", str)  #: a link's id (server to switch port, BMC, PDU) in its DCIM; opaque

FREE_MARKER = "free.ds"  #: domain of a server that may be sold


class Power(StrEnum):
    """Power state as the DCIM last read it."""

    ON = "on"
    OFF = "off"
    UNKNOWN = "unknown"  #: no flag, or both: nobody knows, which is not off


class LinkKind(StrEnum):
    """What a server's link leads to."""

    SWITCH = "switch"  #: a switch port that carries the customer's traffic
    BMC = "bmc"  #: management: never switched
    PDU = "pdu"
    OTHER = "other"


class Family(StrEnum):
    """Address family."""

    IPV4 = "ipv4"
    IPV6 = "ipv6"


RACK_MOST = 64  #: characters of a rack's name and unit that are kept


@dataclass(frozen=True, slots=True)
class ListedServer:
    """One row of a list reading: flags that change by themselves."""

    ref: ServerRef
    name: str  #: sticker on the machine
    server_type: str  #: internal name of the type in the DCIM
    domain: str  #: domain of the main address; `free.ds` marks a free server
    ip: str  #: main address, "" when the server has none
    owner: str  #: "" when nobody's; a name or an id, whatever the list shows
    mac: str = ""  #: "" where the list does not show it
    rack: str = ""  #: name and unit, one line of at most `RACK_MOST`
    description: str = ""  #: hardware in the DCIM's words
    power: Power = Power.UNKNOWN
    power_error: bool = False  #: the last power act or reading failed
    disabled: bool = False
    blocked: bool = False
    faulty: bool = False  #: marked as a hardware problem
    diagnosing: bool = False
    installing: bool = False
    operation_failed: bool = False  #: the last operation failed; stays up until the next one starts
    ill: str = ""  #: why this row can't be believed; "" for a good row


@dataclass(frozen=True, slots=True)
class Listing:
    """A whole list reading of one connection."""

    servers: tuple[ListedServer, ...]


@dataclass(frozen=True, slots=True)
class AddressRow:
    """One address of a server, as its form view shows it."""

    ref: RowRef
    ip: str
    domain: str
    family: Family
    main: bool = False
    netmask: str = ""  #: "" where the DCIM does not tell
    gateway: str = ""  #: "" where the DCIM does not tell


@dataclass(frozen=True, slots=True)
class Link:
    """One link of a server."""

    ref: LinkRef
    kind: LinkKind
    description: str = ""  #: the port's own words, for the pattern that finds a BMC behind a switch port
    busy: bool = False  #: an act on it has not settled
    on: bool | None = None  #: None where the DCIM can't tell


@dataclass(frozen=True, slots=True)
class ServerReading:
    """A full reading of one server: form view, addresses, links; fresh by program order."""

    ref: ServerRef
    owner: UserRef | None  #: None when nobody's
    notes: str
    disabled: bool
    faulty: bool
    addresses: tuple[AddressRow, ...]
    links: tuple[Link, ...] | None  #: None when they were not asked for
    mac: str = ""  #: "" where the DCIM does not show it

    @property
    def known_links(self) -> tuple[Link, ...]:
        """All links. Raises `ValueError` when they were not asked for: that is not to have none."""
        if self.links is None:
            raise ValueError(f"the links of server {self.ref} were not read")
        return self.links

    @property
    def switch_links(self) -> tuple[Link, ...]:
        """Links that may be switched. Raises as `known_links`."""
        return tuple(link for link in self.known_links if link.kind is LinkKind.SWITCH)


@dataclass(frozen=True, slots=True)
class User:
    """A user of the DCIM."""

    ref: UserRef
    login: str
    administrator: bool


@dataclass(frozen=True, slots=True)
class Network:
    """An address pool, for an operator's eyes."""

    ref: str
    name: str
    netmask: str = ""
    gateway: str = ""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a kind of DCIM can show and do; a step asks instead of guessing."""

    shows_ports: bool  #: a link says whether it is on
    shows_networks: bool = True


@dataclass(frozen=True, slots=True)
class ServerView:
    """A list row as the store keeps it, with when things were last seen to change."""

    listed: ListedServer
    changed_from: datetime  #: start of the list call in which the row last differed
    observed_from: datetime  #: start of the connection's last whole list call: the age of this view
    gone_from: datetime | None = None  #: absent from a whole list since then
    edges: Mapping[str, datetime] = field(default_factory=dict)
    #: last rise and fall of a flag, as `install_rose`, `install_fell`, `power_rose`, … → start of that list call
    seen_since: tuple[datetime, ...] = ()  #: starts of the latest whole list calls, newest last
