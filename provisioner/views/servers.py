"""Servers by themselves: who has each, whether it can be sold, and its strikes."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from provisioner.domain.quarantine import STRIKES_MOST
from provisioner.errors import NotFound
from provisioner.ports import Facts, Reads
from provisioner.views.outlook import at
from provisioner.views.stock import why_not


@dataclass(frozen=True, slots=True)
class StrikeView:
    """One time that a server was taken out of sale."""

    at: datetime
    step: str  #: that failed; "" where a person did it
    reason: str
    by: str
    site: bool  #: the place turned out to be to blame: it does not count against the server
    retested_at: datetime | None  #: when the engine tried to give it back
    ended_at: datetime | None
    ended_by: str


@dataclass(frozen=True, slots=True)
class ServerView:
    """A server as its DCIM lists it and as we hold it."""

    connection: str
    server: str  #: its id in the DCIM
    name: str
    ip: str
    rack: str
    server_type: str
    state: str  #: of our claim: held, handed, releasing, quarantined; "" when nothing of ours is on it
    why_not_sold: str  #: "" when an order may take it
    job_id: int | None  #: the latest job on the claim itself
    strikes: Sequence[StrikeView]  #: oldest first
    needs_anyway: bool  #: a release must be asked for with `anyway`


def listing(
    *, reads: Reads, connection: str | None = None, quarantined: bool = False, limit: int = 1000
) -> Sequence[ServerView]:
    """List servers, all or those in quarantine."""
    found = reads.servers(connection=connection, server=None, quarantined=quarantined, limit=limit)
    return [_server(row) for row in found]


def show(connection: str, server: str, *, reads: Reads) -> ServerView:
    """
    Give one server.

    Raises:
        NotFound: no such connection, or its list has never held that server.
    """
    found = reads.servers(connection=connection, server=server, quarantined=False, limit=1)
    if not found:
        raise NotFound(f"connection {connection!r} has no server {server!r} in its list")
    return _server(found[0])


def _server(row: Facts) -> ServerView:
    place = row["connection_state"]
    closed = (
        {} if place in ("active", "restricted") else {row["connection"]: f"connection {row['connection']} is {place}"}
    )
    strikes = [
        StrikeView(
            at=_instant(strike["at"]),
            step=strike["step"],
            reason=strike["reason"],
            by=strike["by"],
            site=strike["site"],
            retested_at=at(strike["retested_at"]),
            ended_at=at(strike["ended_at"]),
            ended_by=strike["ended_by"],
        )
        for strike in row["strikes"]
    ]
    return ServerView(
        connection=row["connection"],
        server=row["server"],
        name=row["name"] or "",
        ip=row["ip"] or "",
        rack=row["rack"] or "",
        server_type=row["server_type"],
        state=row["claim_state"] or "",
        why_not_sold=why_not(row, closed),
        job_id=row["job_id"],
        strikes=strikes,
        needs_anyway=sum(not strike.site for strike in strikes) >= STRIKES_MOST,
    )


def _instant(value: str) -> datetime:
    return datetime.fromisoformat(value)
