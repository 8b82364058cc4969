"""A connection to one DCIM: where it is, how it is trusted, and the state in which it is used."""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

PACE_PATIENCE_SECONDS = 5.0  #: longest that one call waits for its turn under `calls_per_second`


class ConnectionState(StrEnum):
    """Whether a connection is used."""

    ACTIVE = "active"
    RESTRICTED = "restricted"  #: one step fails for the place's fault; a canary probes it
    PAUSED = "paused"  #: away, credentials refused, or stopped by hand: attempts stay where they are
    DISABLED = "disabled"  #: no new orders


@dataclass(frozen=True, slots=True)
class TlsPolicy:
    """How the DCIM's certificate is trusted; the default asks the system's authorities."""

    verify: bool = True  #: False is possible and loud
    ca_pem: str = ""  #: authorities in PEM; "" for the system's
    fingerprint: str = ""  #: SHA-256 of the certificate in hex; when set it alone decides


@dataclass(frozen=True, slots=True)
class Endpoint:
    """All that a driver needs to reach its DCIM."""

    name: str  #: the connection's name, for messages
    url: str
    username: str
    password: str = field(repr=False)
    tls: TlsPolicy = field(default_factory=TlsPolicy)
    call_seconds: float = 15.0  #: total limit of one call, connect to last byte
    look_seconds: float = 15.0  #: the same for a call that changes nothing
    calls_per_second: float = 0.0  #: at most; 0 for no limit
    #: Gives the seconds until its caller's turn among all processes, None when too many wait; without it a process
    #: keeps the pace by itself alone.
    turn: Callable[[], float | None] | None = field(default=None, repr=False, compare=False)
    bmc_port_pattern: str = ""  #: regular expression on a link's description: such a port carries a BMC
