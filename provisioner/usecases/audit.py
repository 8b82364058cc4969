"""Compare a fleet with our books: whole, at a person's word; or turn by turn, nightly. The DCIM is only looked at."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

import structlog

from provisioner.domain.audit import Books, Finding, FindingKind, Shown, audit, our_serials
from provisioner.domain.connection import ConnectionState
from provisioner.domain.server import Listing, ServerReading, ServerRef
from provisioner.domain.states import ServiceState
from provisioner.errors import Denied, NotFound, RemoteError, Unreachable
from provisioner.ports import Audits, Driver, Drivers, Installation, Place, Round

log = structlog.get_logger()

Tell = Callable[[str, int, int], None]  #: connection, servers read so far, servers in all
NOT_NOW = (ConnectionState.PAUSED, ConnectionState.DISABLED)  #: not audited by itself
MORE = "more"  #: how a turn of a nightly audit ends that is not over


@dataclass(frozen=True, slots=True)
class Report:
    """What an audit of one connection came to."""

    connection: str
    servers: int = 0  #: in its list
    read: int = 0  #: read one by one
    unread: tuple[tuple[str, str], ...] = ()  #: server, and why it could not be read
    error: str = ""  #: why the fleet could not be read; then nothing is said of it
    unseen: tuple[str, ...] = ()  #: what this kind of DCIM does not show
    findings: tuple[Finding, ...] = ()

    @property
    def whole(self) -> bool:
        """Say whether all was read that was to be."""
        return not self.error and not self.unread


@dataclass(frozen=True, slots=True)
class Looked:
    """A fleet as it was seen, and our books as they stood afterwards."""

    shown: Shown
    books: Books
    report: Report  #: without findings


def chosen(connection: str | None, *, audits: Audits) -> Sequence[Place]:
    """
    Give the connections to audit: one by its name, or all.

    Raises:
        NotFound: no such connection.
    """
    found = [place for place in audits.places() if connection in (None, place.name)]
    if connection is not None and not found:
        raise NotFound(f"there is no connection {connection!r}")
    return found


def look(
    connection: str | None, *, quick: bool, audits: Audits, drivers: Drivers, installation: Installation, tell: Tell
) -> Sequence[Report]:
    """
    Audit one connection or all, one after the other; findings are not kept.

    A line of ours that our books can't have given halts the installation: all else is only read. A paused
    connection is not called unless it is asked for by name.

    Raises:
        NotFound: no such connection.
    """
    reports = []
    for place in chosen(connection, audits=audits):
        if place.state is ConnectionState.PAUSED and connection is None:
            reports.append(Report(place.name, error="it is paused; name it with --connection to read it all the same"))
            continue
        found = fleet(place, quick=quick, audits=audits, drivers=drivers, installation=installation, tell=tell)
        if isinstance(found, Looked):
            found = replace(found.report, findings=audit(found.shown, found.books))
        _stop_the_line(found.findings, installation)
        reports.append(found)
    return reports


def fleet(
    place: Place, *, quick: bool, audits: Audits, drivers: Drivers, installation: Installation, tell: Tell
) -> Looked | Report:
    """
    Read a fleet, then our books: one list of servers, one of users, and two looks at each server.

    Whatever our workers do meanwhile shows in the books, which are younger. Gives only a report where the place
    can't be read.
    """
    since = audits.now()
    try:
        driver = drivers.get(place.id)
        listing = driver.list_servers()
        users = None if quick else tuple(driver.users())
    except RemoteError as error:
        return Report(place.name, error=str(error))
    reader = _Reader(driver, _whose_ports_count(driver, place.id, since, audits))
    todo = {} if quick else readable(listing)
    for n, (ref, ip) in enumerate(todo.items()):
        tell(place.name, n, len(todo))
        if not reader.take(ref, ip):
            return Report(place.name, servers=len(listing.servers), read=len(reader.read), error=reader.away)
    shown = Shown(listing.servers, reader.read, users, shows_ports=driver.capabilities.shows_ports)
    books = audits.books(place.id, since=since, serials=our_serials(shown, installation.name()))
    report = Report(
        place.name,
        servers=len(listing.servers),
        read=len(reader.read),
        unread=tuple(reader.unread.items()),
        unseen=_unseen(shown, quick=quick),
    )
    return Looked(shown, books, report)


def readable(listing: Listing) -> dict[ServerRef, str]:
    """Give the servers that can be read one by one, each with its main address."""
    return {server.ref: server.ip for server in listing.servers if server.ref}


@dataclass(slots=True)
class _Reader:
    """Reads servers one by one; one that can't be read is left, a place that is away ends it."""

    driver: Driver
    with_ports: frozenset[ServerRef]
    read: dict[ServerRef, ServerReading] = field(default_factory=dict)
    unread: dict[str, str] = field(default_factory=dict)
    away: str = ""

    def take(self, ref: ServerRef, ip: str) -> bool:
        """Read one; False when the place is away."""
        try:
            self.read[ref] = self.driver.read(ref) if ref in self.with_ports else self.driver.survey(ref, ip)
        except (Unreachable, Denied) as error:
            self.away = str(error)
            return False
        except RemoteError as error:
            self.unread[ref] = str(error)
        return True


def _whose_ports_count(driver: Driver, connection_id: int, since: datetime, audits: Audits) -> frozenset[ServerRef]:
    """Give the servers of suspended services, where the DCIM shows whether a port is on."""
    if not driver.capabilities.shows_ports:
        return frozenset()
    booked = audits.books(connection_id, since=since, serials=()).booked
    return frozenset(ref for ref, one in booked.items() if one.service_state is ServiceState.SUSPENDED)


def _unseen(shown: Shown, *, quick: bool) -> tuple[str, ...]:
    said = []
    if not shown.shows_ports:
        said.append("this kind of DCIM does not show whether a port is on: a suspended service is judged by `disabled`")
    if quick:
        said.append("quick: notes and addresses were not read")
    return tuple(said)


def _stop_the_line(findings: Sequence[Finding], installation: Installation) -> None:
    for finding in findings:
        if finding.kind is FindingKind.WENT_BACK:
            installation.halt(finding.evidence)


# --- nightly ------------------------------------------------------------------------------------------------------


def due(*, start: bool, audits: Audits) -> Sequence[int]:
    """Give the connections to audit: all that are used, at the *start* of a night; later those not gone on with."""
    if not start:
        return audits.unfinished()
    return [place.id for place in audits.places() if place.state not in NOT_NOW]


def take_turn(
    connection_id: int,
    *,
    owner: str,
    start: bool,
    seconds: float,
    audits: Audits,
    drivers: Drivers,
    installation: Installation,
) -> str:
    """
    Go on with a connection's nightly audit for about *seconds*; returns what came of it, `MORE` while it is not over.

    One call is made whatever the time, none begins after it. A turn that dies is taken again when its lease has run
    out; a place that is away is left alone until somebody asks for the unfinished.
    """
    patience = _Patience(seconds)
    place = next((place for place in audits.places() if place.id == connection_id), None)
    if place is None or place.state in NOT_NOW:
        return "not now"
    turn = audits.turn(connection_id, owner, start=start)
    if turn is None:
        return "not our turn"
    try:
        driver = drivers.get(connection_id)
        turn = _lists(turn, driver, patience, audits)
    except RemoteError as error:
        log.warning("audit_unusable", connection=place.name, reason=str(error))
        audits.over(turn)
        return f"unusable: {error}"
    left = _read_on(turn, driver, patience, audits)
    if left:
        return left
    findings, new = _concluded(turn, driver, audits, installation)
    _stop_the_line(findings, installation)
    log.info("audited", connection=place.name, findings=len(findings), new=len(new))
    return f"{len(findings)} findings, {len(new)} of them new"


class _Patience:
    """How long a turn may go on making calls."""

    def __init__(self, seconds: float) -> None:
        self._ends, self._called = time.monotonic() + seconds, False

    def call(self) -> bool:
        """Say whether one more may be made now; the first always may, or nothing would ever be over."""
        first, self._called = not self._called, True
        return first or time.monotonic() < self._ends


def _lists(turn: Round, driver: Driver, patience: _Patience, audits: Audits) -> Round:
    """Read what is read once: the list of servers, then that of users; each is kept."""
    if turn.listing is None and patience.call():
        turn = replace(turn, listing=driver.list_servers())
        audits.listed(turn)
    if turn.users is None and patience.call():
        turn = replace(turn, users=tuple(driver.users()))
        audits.listed(turn)
    return turn


def _read_on(turn: Round, driver: Driver, patience: _Patience, audits: Audits) -> str:
    """Read servers until the time is up, and keep them; "" when all is read, else why not."""
    reader = _Reader(driver, _whose_ports_count(driver, turn.connection_id, turn.began_at, audits))
    listed = readable(turn.listing) if turn.listing else {}
    left = {ref: ip for ref, ip in listed.items() if ref not in turn.read}
    while left and turn.users is not None and patience.call():
        ref = next(iter(left))
        if not reader.take(ref, left[ref]):
            break
        del left[ref]
    audits.surveyed(turn, tuple(reader.read.values()), [ServerRef(ref) for ref in reader.unread])
    return reader.away or (MORE if left or turn.users is None else "")


def _concluded(
    turn: Round, driver: Driver, audits: Audits, installation: Installation
) -> tuple[Sequence[Finding], Sequence[Finding]]:
    """Judge what was read, keep it; returns the findings, and those that are new."""
    read, unread = audits.readings(turn)
    servers = turn.listing.servers if turn.listing else ()
    shown = Shown(servers, read, tuple(turn.users or ()), shows_ports=driver.capabilities.shows_ports)
    serials = our_serials(shown, installation.name())
    books = audits.books(turn.connection_id, since=turn.began_at, serials=serials)
    findings = audit(shown, books)
    new = audits.keep(turn.connection_id, findings, unread=[*unread, *books.busy])
    audits.over(turn)
    return findings, new
