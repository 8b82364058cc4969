"""The connections to DCIMs as they stand; what is not safe about one is said in every listing, loudly."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from provisioner.domain.catalogue import ConnectionSettings
from provisioner.domain.connection import TlsPolicy
from provisioner.errors import NotFound
from provisioner.ports import Facts, Reads


@dataclass(frozen=True, slots=True)
class ConnectionView:
    """A connection; its password is never shown."""

    name: str
    kind: str
    location: str
    queue: str
    url: str
    username: str
    tls: TlsPolicy
    warnings: Sequence[str]  #: what is not safe about it
    administrator: str  #: the id of our user in the DCIM
    bmc_port_pattern: str
    state: str
    why: str  #: why it is paused or restricted
    paused_by: str  #: away, denied or hand
    paused_at: datetime | None
    restricted_step: str
    canary_at: datetime | None
    max_in_flight: int
    calls_per_second: float
    in_charge: str  #: department that its errors go to; "" for `default`
    revision: int
    observed_at: datetime | None  #: when its list was last read whole
    age_seconds: float | None
    observe_error: str  #: of the last reading that could not be used
    servers: int
    attempts: int  #: under way there


def listing(*, reads: Reads) -> Sequence[ConnectionView]:
    """Give all connections, by name."""
    return [_connection(row) for row in reads.connections()]


def show(name: str, *, reads: Reads) -> ConnectionView:
    """Give one. Raises `NotFound`."""
    found = next((one for one in listing(reads=reads) if one.name == name), None)
    if found is None:
        raise NotFound(f"no connection {name!r}")
    return found


def _connection(row: Facts) -> ConnectionView:
    tls = TlsPolicy(**row["tls"])
    settings = ConnectionSettings(row["name"], row["kind"], row["url"], row["username"], tls)
    observed: datetime | None = row["observed_from"]
    return ConnectionView(
        name=row["name"],
        kind=row["kind"],
        location=row["location"],
        queue=row["queue"],
        url=row["url"],
        username=row["username"],
        tls=tls,
        warnings=settings.warnings,
        administrator=row["admin_user"],
        bmc_port_pattern=row["bmc_port_pattern"],
        state=row["state"],
        why=row["pause_reason"],
        paused_by=row["paused_by"],
        paused_at=row["paused_at"],
        restricted_step=row["restricted_step"],
        canary_at=row["canary_at"],
        max_in_flight=row["max_in_flight"],
        calls_per_second=row["calls_per_second"],
        in_charge=row["in_charge"] or "",
        revision=row["revision"],
        observed_at=observed,
        age_seconds=round((row["now"] - observed).total_seconds(), 1) if observed else None,
        observe_error=row["observe_error"],
        servers=row["servers"],
        attempts=row["attempts"],
    )
