"""What an operator sets up, as facts: connections as they are given, tokens and what their roles may do."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from provisioner.domain.connection import TlsPolicy
from provisioner.domain.naming import storable
from provisioner.domain.server import ServerRef
from provisioner.errors import Invalid

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}\Z")


class Role(StrEnum):
    """What a token may do; operator and admin include what stands before them, billing stands apart."""

    BILLING = "billing"  #: orders, and reads its own panel's services and their secrets
    VIEWER = "viewer"  #: reads everything but secrets
    OPERATOR = "operator"  #: retries, cancels, pauses
    ADMIN = "admin"  #: connections and packages


RANK = {Role.BILLING: 0, Role.VIEWER: 1, Role.OPERATOR: 2, Role.ADMIN: 3}


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls, as its token says."""

    name: str  #: the token's name, for timelines
    role: Role
    panel: str = ""  #: the billing panel that it orders for; of a billing token also all that it sees

    @property
    def sees(self) -> str | None:
        """The only panel whose services it sees; None for all."""
        return self.panel if self.role is Role.BILLING else None


@dataclass(frozen=True, slots=True)
class Token:
    """A token as it is listed; the token itself is shown once, when it is made."""

    name: str
    role: Role
    panel: str
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None


@dataclass(frozen=True, slots=True)
class ConnectionSettings:
    """A connection to one DCIM as an administrator gives it; the password travels beside it."""

    name: str
    kind: str
    url: str
    username: str
    tls: TlsPolicy = field(default_factory=TlsPolicy)
    location: str = ""
    queue: str = "steps"
    bmc_port_pattern: str = ""
    max_in_flight: int = 4
    calls_per_second: float = 0.0
    in_charge: str = ""  #: department that its errors go to; "" for `default`
    enabled: bool = True

    @property
    def warnings(self) -> tuple[str, ...]:
        """What every listing says loudly."""
        found = []
        if not self.url.startswith("https:"):
            found.append("NOT ENCRYPTED: the password and everything else travel in clear; use https://")
        elif not self.tls.verify and not self.tls.fingerprint:
            found.append(
                "CERTIFICATE NOT CHECKED: anybody on the way can read the password; give a CA or a fingerprint"
            )
        return tuple(found)


@dataclass(frozen=True, slots=True)
class Candidate:
    """The server that planning would take now."""

    connection: str
    server: ServerRef
    name: str
    ip: str


@dataclass(frozen=True, slots=True)
class Outlook:
    """What an order of a package would meet now."""

    candidate: Candidate | None
    missing: Sequence[str] = ()  #: why it would wait, one sentence a reason


def name_of(text: str, *, field: str) -> str:
    """
    Give *text* if it may name a connection, package or token.

    Raises:
        Invalid: it may not.
    """
    storable(text, field=field)
    if not NAME.match(text):
        raise Invalid(
            f"{field} {text!r}: 1 to 63 lower-case letters, digits, dots, hyphens and underscores are taken",
            field=field,
        )
    return text
