"""Which database this is, and what shows that it went back or is a copy; pure."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from provisioner.domain.server import ServerRef

#: the line that each claim writes into its server's notes
_TOKEN = re.compile(r"provisioner ([0-9a-f]{8}) claim ([0-9]{1,18})")

AFTER_RESTORE = "type `provisioner audit --after-restore`"


@dataclass(frozen=True, slots=True)
class Identity:
    """What a database can't take along when it is copied or restored."""

    system_identifier: str  #: of the PostgreSQL cluster, made by initdb
    timeline: int  #: raised by each promotion and each recovery to a point in time; 0: not known yet
    database_oid: int  #: 0: not known yet
    table_oid: int = 0  #: of the table that holds this: a dump read back over it makes another; 0: not known yet


@dataclass(frozen=True, slots=True)
class Placed:
    """Where a claim of our books stands."""

    connection: str  #: its name
    server: ServerRef


@dataclass(frozen=True, slots=True)
class Serials:
    """What our books know of the serials that were read in notes."""

    highest: int  #: ever given
    claims: Mapping[int, Placed]  #: those of the read ones that have a row


def difference(stored: Identity, present: Identity) -> str:
    """Say what shows that this is not the database that our books were kept in; "" when it is."""
    if stored.system_identifier != present.system_identifier:
        what = "they were kept by another PostgreSQL cluster"
    elif stored.database_oid not in (0, present.database_oid):
        what = "they were kept in another database of this cluster"
    elif stored.table_oid not in (0, present.table_oid):
        what = "a dump was read back into this database"
    elif stored.timeline not in (0, present.timeline):
        what = f"they were kept on timeline {stored.timeline}, this is timeline {present.timeline}"
    else:
        return ""
    return f"our books were restored, copied or moved: {what}; {AFTER_RESTORE}"


def tokens(notes: str) -> list[tuple[str, int]]:
    """Give installation and serial of every claim's line in *notes*, whoever wrote it."""
    found = (_TOKEN.fullmatch(line.strip()) for line in notes.splitlines())
    return [(match[1], int(match[2])) for match in found if match]


def serials(notes: str, installation: str) -> list[int]:
    """Give the serials of the lines in *notes* that the installation of that short name wrote."""
    return [serial for name, serial in tokens(notes) if name == installation]


def short_name(note_token: str) -> str:
    """Give the installation that wrote a claim's line; "" for one that is no such line."""
    return next((name for name, _ in tokens(note_token)), "")


def contradiction(connection: str, server: ServerRef, found: Sequence[int], books: Serials) -> str:
    """
    Say what in the notes of *server* shows that our books went back; "" for nothing.

    A serial without a row that is not above the highest says nothing: its row was pruned.
    """
    for serial in found:
        place = books.claims.get(serial)
        if serial > books.highest:
            why = f"our books know none above {books.highest}"
        elif place is not None and place != Placed(connection, server):
            why = f"in our books that is server {place.server} of {place.connection}"
        else:
            continue
        return (
            f"server {server} of {connection} carries our claim {serial}, and {why}: "
            f"the database went back, or a copy of it is at work; {AFTER_RESTORE}"
        )
    return ""
