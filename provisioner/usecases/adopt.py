"""Adopt servers that were sold before us, from a file; the DCIM is only looked at: two lists a connection."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from provisioner.domain.adoption import Fleet, Judged, Ledger, Line, Verdict, draft, judge, parse
from provisioner.domain.attempt import Policy
from provisioner.domain.connection import ConnectionState
from provisioner.domain.life import Wish
from provisioner.domain.naming import storable
from provisioner.domain.states import JobKind
from provisioner.errors import IllegalMove, Invalid, NotFound, RemoteError
from provisioner.ports import Adoptions, Audits, Drivers, Life, Place, Waker

Tell = Callable[[int, int], None]  #: lines done so far, lines in all
MEANWHILE = "our books changed at the same moment; import the line again"


@dataclass(frozen=True, slots=True)
class AdoptedLine:
    """What became of one line."""

    line: int  #: in the file, the line of columns is 1
    connection: str
    server: str
    external_ref: str
    verdict: Verdict
    says: str


@dataclass(frozen=True, slots=True)
class Adopted:
    """What became of a file."""

    dry_run: bool  #: nothing was changed, neither here nor there
    adopted: int  #: with a dry run: that would be
    already: int
    contradicts: int
    unread: int
    notes: int  #: jobs that were asked for to write our line into the notes of a server
    lines: Sequence[AdoptedLine]


@dataclass(frozen=True, slots=True)
class Asking:
    """How a file is to be taken, and what is needed to carry out what it asks for beside adopting."""

    panel: str
    by: str
    dry_run: bool
    notes: bool  #: ask for our line in the notes of each server that is in our books afterwards
    life: Life
    waker: Waker
    policies: Mapping[str, Policy]


def adopt(
    data: bytes, asking: Asking, *, adoptions: Adoptions, audits: Audits, drivers: Drivers, tell: Tell
) -> Adopted:
    """
    Adopt each line that nothing contradicts, one commit a line; returns what became of each.

    Safe to repeat, also after it was killed: what is adopted says so. Nothing is changed in a DCIM; for notes jobs
    are asked for, which the workers carry out one by one.

    Raises:
        Invalid: the file can't be read whole; nothing was adopted.
        IllegalMove: the installation is halted.
    """
    if not storable(asking.panel, field="panel", longest=100).strip():
        raise Invalid("name the billing panel whose services these are", field="panel")
    lines = parse(data)
    if not asking.dry_run and (why := adoptions.halted()):
        raise IllegalMove(f"nothing is adopted until a person has looked: {why}")
    fleets = _fleets({line.connection for line in lines}, audits=audits, drivers=drivers)
    judged = judge(lines, fleets, _ledger(asking.panel, lines, adoptions))
    if asking.dry_run:
        return _report(judged, notes=0, dry_run=True)
    done = []
    for n, one in enumerate(judged):
        tell(n, len(judged))
        done.append(_take(one, lines, fleets, asking, adoptions))
    tell(len(judged), len(judged))
    notes = _ask_for_notes(done, lines, asking, adoptions) if asking.notes else 0
    return _report(done, notes=notes, dry_run=False)


def begin(connection: str, *, adoptions: Adoptions, audits: Audits, drivers: Drivers) -> str:
    """
    Give the file to begin with, as CSV: the connection's servers that customers own and our books do not know.

    Raises:
        NotFound: no such connection.
        Invalid: it is paused.
        RemoteError: its lists can't be read.
    """
    place = next((place for place in audits.places() if place.name == connection), None)
    if place is None:
        raise NotFound(f"there is no connection {connection!r}")
    if place.state is ConnectionState.PAUSED:
        raise Invalid(_paused(place), field="connection")
    fleet = _look(place, drivers)
    return draft(connection, fleet, adoptions.ledger("", [connection], []))


def _fleets(names: set[str], *, audits: Audits, drivers: Drivers) -> Mapping[str, Fleet]:
    """Read each connection that is named, once; one that can't be read says why."""
    found = {}
    for place in audits.places():
        if place.name not in names:
            continue
        try:
            paused = place.state is ConnectionState.PAUSED
            found[place.name] = Fleet(error=_paused(place)) if paused else _look(place, drivers)
        except RemoteError as error:
            found[place.name] = Fleet(error=f"{place.name} can't be read: {error}")
    return found


def _look(place: Place, drivers: Drivers) -> Fleet:
    driver = drivers.get(place.id)
    servers = driver.list_servers().servers
    return Fleet({server.ref: server for server in servers if server.ref}, tuple(driver.users()))


def _paused(place: Place) -> str:
    return f"{place.name} is paused: nothing is called there; resume it first"


def _ledger(panel: str, lines: Sequence[Line], adoptions: Adoptions) -> Ledger:
    names = sorted({line.connection for line in lines})
    return adoptions.ledger(panel, names, [line.external_ref for line in lines])


def _take(
    one: Judged, lines: Sequence[Line], fleets: Mapping[str, Fleet], asking: Asking, adoptions: Adoptions
) -> Judged:
    """Adopt one line; where somebody was faster, say what our books hold now."""
    if one.adoption is None or adoptions.adopt(one.adoption, panel=asking.panel, by=asking.by):
        return one
    again = judge(lines, fleets, _ledger(asking.panel, lines, adoptions))
    now = next(other for other in again if other.line == one.line)
    return now if now.verdict is not Verdict.ADOPT else Judged(one.line, Verdict.CONTRADICTS, MEANWHILE)


def _ask_for_notes(done: Sequence[Judged], lines: Sequence[Line], asking: Asking, adoptions: Adoptions) -> int:
    """Ask for one job a service that is in our books and has none yet; returns how many were asked for."""
    ledger = _ledger(asking.panel, lines, adoptions)
    count = 0
    for one in done:
        known = ledger.services.get(one.line.external_ref)
        if one.verdict in (Verdict.ADOPT, Verdict.ALREADY) and known and not known.noted:
            count += _ask_for_note(one.line, asking)
    asking.waker.tick()
    return count


def _ask_for_note(line: Line, asking: Asking) -> bool:
    wish = Wish(JobKind.SYNC, {"note": True})
    try:
        asked, due = asking.life.wish(asking.panel, line.external_ref, wish, by=asking.by, policies=asking.policies)
    except IllegalMove:  # it is being closed since we looked: a server that goes back needs no line
        return False
    asking.waker.wake(due)
    return asked.created


def _report(judged: Sequence[Judged], *, notes: int, dry_run: bool) -> Adopted:
    def count(verdict: Verdict) -> int:
        return sum(one.verdict is verdict for one in judged)

    return Adopted(
        dry_run=dry_run,
        adopted=count(Verdict.ADOPT),
        already=count(Verdict.ALREADY),
        contradicts=count(Verdict.CONTRADICTS),
        unread=count(Verdict.UNREAD),
        notes=notes,
        lines=tuple(
            AdoptedLine(
                one.line.number, one.line.connection, one.line.server, one.line.external_ref, one.verdict, one.says
            )
            for one in judged
        ),
    )
