"""How many servers can be sold of a package now, and for each that can't be, why."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from provisioner.errors import NotFound
from provisioner.ports import Facts, Reads
from provisioner.views.outlook import at, clock


@dataclass(frozen=True, slots=True)
class UnsellableServer:
    """A server of the right type that can't be sold now."""

    connection: str
    server: str  #: its id in the DCIM
    name: str
    ip: str
    reason: str


@dataclass(frozen=True, slots=True)
class PlaceView:
    """A connection that the package is sold from."""

    name: str
    priority: int
    state: str
    why: str  #: why nothing is sold from it; "" when something may be
    observed_at: datetime | None  #: when its list was last read
    age_seconds: float | None  #: how old that is


@dataclass(frozen=True, slots=True)
class StockView:
    """A package's stock; `sellable` counts what an order could take now."""

    package: str
    server_type: str
    enabled: bool
    sellable: int
    unsellable: Sequence[UnsellableServer]
    connections: Sequence[PlaceView]


def show(package: str | None, *, reads: Reads, details: bool = True) -> Sequence[StockView]:
    """
    Give the stock of a package, or of all; without *details* the counts only.

    Raises:
        NotFound: no such package.
    """
    found = reads.stock(package)
    if package is not None and not found:
        raise NotFound(f"no package {package!r}")
    return [_stock(row, details=details) for row in found]


def _stock(row: Facts, *, details: bool) -> StockView:
    places = [_place(place, row["now"]) for place in row["places"]]
    closed = {place.name: place.why for place in places if place.why}
    reasons = [(server, why_not(server, closed)) for server in row["servers"]]
    enabled = row["disabled_at"] is None
    return StockView(
        package=row["name"],
        server_type=row["server_type"],
        enabled=enabled,
        sellable=sum(not why for _, why in reasons) if enabled else 0,
        unsellable=[
            UnsellableServer(server["connection"], server["server"], server["name"] or "", server["ip"] or "", why)
            for server, why in reasons
            if why and details
        ],
        connections=places if details else [],
    )


def _place(place: Facts, now: datetime) -> PlaceView:
    observed = at(place["observed_from"])
    match place["state"]:
        case "active":
            why = "" if observed else f"its list was never read{_error(place)}"
        case "restricted":
            why = f"it is restricted: {place['restricted_step']} fails there; one order at a time tries it again"
        case "paused":
            why = f"it is paused: {place['pause_reason']}"
        case state:
            why = f"it is {state}"
    return PlaceView(
        name=place["name"],
        priority=place["priority"],
        state=place["state"],
        why=f"connection {place['name']}: {why}" if why else "",
        observed_at=observed,
        age_seconds=round((now - observed).total_seconds(), 1) if observed else None,
    )


def _error(place: Facts) -> str:
    return f" ({place['observe_error']})" if place["observe_error"] else ""


def why_not(server: Facts, closed: dict[str, str]) -> str:
    """Say why a server can't be sold; ours first: it explains most of what the list shows."""
    order = f"service {server['external_ref']} of {server['panel']}" if server["external_ref"] else "nobody"
    match server["claim_state"]:
        case "held":
            return f"it is reserved for {order}" if server["external_ref"] else "it is being taken out of sale"
        case "handed":
            return f"it was handed over to {order}"
        case "releasing":
            return f"it is being released from {order}"
        case "quarantined":
            return f"it is in quarantine: {server['claim_reason'] or 'no reason was kept'}"
    if gone := at(server["gone_from"]):
        return f"it is gone from the list since {clock(gone)}"
    if server["barred"]:
        return str(server["barred"])
    if until := at(server["passed_over_until"]):
        return f"it is passed over until {clock(until)}: {server['passed_over_reason'] or 'it could not be claimed'}"
    return closed.get(server["connection"], "")
