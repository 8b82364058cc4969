"""After a restore: what the world shows that our books have forgotten, and the word that lets everybody go on."""

from dataclasses import dataclass

from provisioner.domain.audit import Remnant, our_serials, remnants
from provisioner.domain.connection import ConnectionState
from provisioner.errors import IllegalMove
from provisioner.ports import Audits, Drivers, Installation, Waker
from provisioner.usecases.audit import Report, Tell, fleet


@dataclass(frozen=True, slots=True)
class AfterRestore:
    """What a person reads before anybody goes on."""

    halted: str  #: why nothing is done now; "" when it is not halted
    remnants: tuple[Remnant, ...]
    unread: tuple[str, ...]  #: connections and servers that could not be read, each with its reason
    highest: int  #: serial in any notes; none up to it is given again

    @property
    def in_the_way(self) -> str:
        """Say what must be settled before it can be accepted; "" when it can be."""
        if self.unread:
            return "not all could be read, and a number given twice would be the end of somebody's disks"
        if twice := [one for one in self.remnants if one.in_the_way]:
            where = ", ".join(f"server {one.server} of {one.connection}" for one in twice)
            return f"a number of ours was given twice: take the line out of the notes of {where}"
        return ""


def look(*, audits: Audits, drivers: Drivers, installation: Installation, tell: Tell) -> AfterRestore:
    """Read every fleet, also of paused connections; changes nothing. Only disabled connections are left out."""
    halted = installation.compare()
    found: list[Remnant] = []
    unread: list[str] = []
    highest = 0
    for place in audits.places():
        if place.state is ConnectionState.DISABLED:
            continue
        looked = fleet(place, quick=False, audits=audits, drivers=drivers, installation=installation, tell=tell)
        if isinstance(looked, Report):
            unread.append(f"{place.name}: {looked.error}")
            continue
        unread += [f"server {server} of {place.name}: {why}" for server, why in looked.report.unread]
        found += remnants(looked.shown, looked.books)
        highest = max(highest, *our_serials(looked.shown, looked.books.installation), 0)
    return AfterRestore(halted, tuple(found), tuple(unread), highest)


def accept(seen: AfterRestore, *, installation: Installation, waker: Waker) -> None:
    """
    Go on with this database, as a person who has read *seen* says; safe to repeat.

    Raises:
        IllegalMove: something must be settled before.
    """
    if seen.in_the_way:
        raise IllegalMove(seen.in_the_way)
    installation.accept(seen.highest)
    waker.tick()
