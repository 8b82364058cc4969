"""What is wrong in a fleet: what its DCIM shows against what our books say; pure."""

import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from provisioner.domain.installation import Serials, contradiction, serials
from provisioner.domain.naming import same_name
from provisioner.domain.server import FREE_MARKER, ListedServer, ServerReading, ServerRef, User, UserRef
from provisioner.domain.states import ClaimState, ServiceState
from provisioner.domain.stock import bars


class FindingKind(StrEnum):
    """What is wrong."""

    ADDRESSES_LEFT = "addresses_left"  #: a server that can be sold has addresses beyond its main one
    ACTIVE_DISABLED = "active_disabled"  #: the customer's service is active, the server disabled
    SUSPENDED_OPEN = "suspended_open"  #: the service is suspended, the server is not
    ONE_MACHINE = "one_machine"  #: rows that share a MAC or a main address
    UNCLAIMED = "unclaimed"  #: our administrator's, without a live claim
    FORGOTTEN = "forgotten"  #: a customer's with our line in its notes, without a live claim
    WENT_BACK = "went_back"  #: our line with a claim that our books can't have given to it
    OWNER_DIFFERS = "owner_differs"  #: a live claim, and not the owner that it ought to have
    SERVER_GONE = "server_gone"  #: a live claim on a server that the whole list lacks
    ADDRESS_LOST = "address_lost"  #: our books give it to the service, the DCIM does not
    ADDRESS_UNKNOWN = "address_unknown"  #: the DCIM gives it to the server, our books do not
    ACCOUNT_UNUSED = "account_unused"  #: made by us, owns nothing, belongs to no service
    DISABLED_UNRECORDED = "disabled_unrecorded"  #: out of sale, and nobody knows why
    QUARANTINED_IN_USE = "quarantined_in_use"  #: recorded as out of sale, yet somebody has it


@dataclass(frozen=True, slots=True)
class Booked:
    """A live claim, and the service that it is for."""

    claim: int
    server: ServerRef
    state: ClaimState
    service: str = ""  #: in words; "" for nobody's
    service_state: ServiceState | None = None
    disables: bool = False  #: the package suspends by disabling the server, not by its ports alone
    customer: UserRef | None = None  #: None: not known
    addresses: tuple[str, ...] = ()  #: live ones


@dataclass(frozen=True, slots=True)
class BookedAccount:
    """A user that our books know."""

    user: UserRef
    login: str
    made_by_us: bool
    in_service: bool  #: some service of its customer is neither closed nor failed


@dataclass(frozen=True, slots=True)
class Books:
    """What we know of one connection, read after its DCIM was."""

    connection: str  #: its name
    installation: str  #: short name, as in our lines in notes
    admin: UserRef
    admin_login: str
    booked: Mapping[ServerRef, Booked]
    busy: frozenset[ServerRef]  #: work is or was under way since the reading began: not judged now
    accounts: tuple[BookedAccount, ...]
    recorded: frozenset[ServerRef]  #: with a quarantine record that has not ended
    serials: Serials


@dataclass(frozen=True, slots=True)
class Shown:
    """What the DCIM shows."""

    listed: tuple[ListedServer, ...]  #: a whole list
    read: Mapping[ServerRef, ServerReading] = field(default_factory=dict)  #: empty after a quick look
    users: tuple[User, ...] | None = None  #: None: not asked
    shows_ports: bool = False


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong."""

    kind: FindingKind
    connection: str
    server: str  #: "" where it is about a user
    evidence: str
    key: str  #: what tells two findings of one kind apart: server, address or user

    @property
    def costs(self) -> str:
        """Say what it costs or risks."""
        return _WORDS[self.kind][0]

    @property
    def mend(self) -> tuple[str, ...]:
        """Give the commands that mend it, or the steps by hand."""
        return tuple(
            line.format(connection=self.connection, server=self.server, key=self.key) for line in _WORDS[self.kind][1]
        )


_OUT = "provisioner server quarantine {connection} {server} --reason 'addresses of an old customer'"
_BACK = "provisioner server release {connection} {server}"
_NEVER_FREE = (
    "by hand: ask billing whose server {server} of {connection} is; never free it before its disks were looked at",
    "by hand, somebody's: leave it as it is, and keep the order from being sent again until it is adopted",
    "by hand, nobody's: disable it in the panel, leave the owner, write why into its notes",
)
_WORDS: Mapping[FindingKind, tuple[str, tuple[str, ...]]] = {
    FindingKind.ADDRESSES_LEFT: (
        "the next customer gets an old customer's addresses, and they are paid for meanwhile",
        (_OUT, "by hand: delete its addresses beyond the main one in the panel", _BACK),
    ),
    FindingKind.ACTIVE_DISABLED: (
        "a customer pays for a server that he can't reach",
        ("by hand: enable server {server} in the panel and switch its ports on, or suspend the service at billing",),
    ),
    FindingKind.SUSPENDED_OPEN: (
        "a service that is not paid for is used",
        ("by hand: switch the ports of server {server} off in the panel, or disable it",),
    ),
    FindingKind.ONE_MACHINE: (
        "one machine can be sold twice, and the second install wipes the first customer's disks",
        ("by hand: take the row that is wrong out of the panel ({key} are one machine)",),
    ),
    FindingKind.UNCLAIMED: ("it is never sold, and nobody looks at it", _NEVER_FREE),
    FindingKind.FORGOTTEN: ("a customer has a server that nobody can suspend, close or bill", _NEVER_FREE),
    FindingKind.WENT_BACK: (
        "servers sold since would be sold or wiped again: nothing is done until a person has looked",
        ("provisioner audit --after-restore",),
    ),
    FindingKind.OWNER_DIFFERS: (
        "a customer has lost his server, or two have one",
        ("by hand: find out who changed the owner of server {server}; give it back, or close the service",),
    ),
    FindingKind.SERVER_GONE: (
        "a customer pays for a server that is not there",
        ("by hand: put server {server} back into the panel under its old id, or close the service",),
    ),
    FindingKind.ADDRESS_LOST: (
        "the customer misses an address, and somebody else may get it",
        ("by hand: give the address back to server {server} in the panel, or tell the customer",),
    ),
    FindingKind.ADDRESS_UNKNOWN: (
        "an address is used that nobody is billed for, and no close takes it back",
        ("by hand: delete the address of server {server} in the panel, or have it ordered",),
    ),
    FindingKind.ACCOUNT_UNUSED: (
        "somebody can log in who has nothing there",
        ("by hand: delete user {key} in the panel, or leave it for the customer's next order",),
    ),
    FindingKind.DISABLED_UNRECORDED: (
        "it is never sold, and nobody knows why",
        (
            "by hand: look into the notes of server {server} why it was disabled",
            "by hand, it is sound: enable it, set its domain to free.ds; our administrator's: also 'Without owner'",
        ),
    ),
    FindingKind.QUARANTINED_IN_USE: (
        "somebody works on a server that is known to be bad",
        ("by hand: find out who took server {server}; give it back to our administrator, or end the quarantine", _BACK),
    ),
}


def audit(shown: Shown, books: Books) -> tuple[Finding, ...]:
    """Compare; findings in the order of the list, then those about no server that is there."""
    owners = _Owners(shown, books)
    found = [finding for server in shown.listed for finding in _server(server, shown, books, owners)]
    return (*found, *_one_machine(shown, books), *_gone(shown, books), *_unused(books, owners, shown))


def our_serials(shown: Shown, installation: str) -> list[int]:
    """Give every serial of ours that was read in notes."""
    return [serial for reading in shown.read.values() for serial in serials(reading.notes, installation)]


class _Owners:
    """Whose each server is. A list shows a name or an id; a full reading the id."""

    def __init__(self, shown: Shown, books: Books) -> None:
        self._read = shown.read
        self._by_login = {account.login: account.user for account in books.accounts}
        self._by_login |= {user.login: user.ref for user in shown.users or ()}
        self._by_login[books.admin_login] = books.admin
        self.all = {self.of(server) for server in shown.listed}

    def of(self, server: ListedServer) -> UserRef | None:
        reading = self._read.get(server.ref)
        if reading is not None:
            return reading.owner
        return self._by_login.get(server.owner, UserRef(server.owner)) if server.owner else None


def _server(server: ListedServer, shown: Shown, books: Books, owners: _Owners) -> Iterator[Finding]:
    reading = shown.read.get(server.ref)
    ours = serials(reading.notes, books.installation) if reading else []

    def say(kind: FindingKind, evidence: str, key: str = "") -> Finding:
        return Finding(kind, books.connection, server.ref, evidence, key or server.ref)

    if why := contradiction(books.connection, server.ref, ours, books.serials):
        yield say(FindingKind.WENT_BACK, why)
    elif server.ill or server.ref in books.busy:
        return
    elif booked := books.booked.get(server.ref):
        for kind, evidence, key in _claimed(server, booked, shown, books, owners.of(server)):
            yield say(kind, evidence, key)
    else:
        for kind, evidence in _unclaimed(server, reading, ours, books.admin, owners.of(server)):
            yield say(kind, evidence)


# --- nothing of ours on it ----------------------------------------------------------------------------------------


def _unclaimed(
    server: ListedServer, reading: ServerReading | None, ours: Sequence[int], admin: UserRef, owner: UserRef | None
) -> Iterator[tuple[FindingKind, str]]:
    disabled = reading.disabled if reading else server.disabled
    line = "its notes were not read" if reading is None else "no line of ours is in its notes"
    if ours:
        line = f"our line of claim {', '.join(map(str, ours))} is in its notes"
    if owner == admin:
        kind = FindingKind.DISABLED_UNRECORDED if disabled else FindingKind.UNCLAIMED
        state = ", it is disabled" if disabled else ""
        yield kind, f"owner is our administrator {admin}{state}, no claim of ours stands on it; {line}"
    elif owner is not None:
        if ours:
            yield FindingKind.FORGOTTEN, f"owner is user {owner}, no claim of ours stands on it; {line}"
    elif not bars(server):
        extra = [row.ip for row in reading.addresses if not row.main] if reading else []
        if extra:
            yield FindingKind.ADDRESSES_LEFT, f"it can be sold and has {', '.join(extra)} beside its main address"
    elif disabled and not (server.faulty or server.blocked or same_name(server.domain, FREE_MARKER)):
        evidence = f"disabled, nobody's, its domain is {server.domain or 'empty'}; no quarantine of it is recorded"
        yield FindingKind.DISABLED_UNRECORDED, evidence


# --- claimed ------------------------------------------------------------------------------------------------------


def _claimed(
    server: ListedServer, booked: Booked, shown: Shown, books: Books, owner: UserRef | None
) -> Iterator[tuple[FindingKind, str, str]]:
    whose = "nobody" if owner is None else f"user {owner}"
    what = f"claim {booked.claim}" + (f" for {booked.service}" if booked.service else "")
    if booked.state is ClaimState.QUARANTINED and owner not in (None, books.admin):
        yield FindingKind.QUARANTINED_IN_USE, f"quarantined by {what}, its owner is {whose}", ""
        return
    expected = _expected(booked, books.admin)
    if expected and owner not in expected:
        ought = " or ".join("nobody" if user is None else f"user {user}" for user in expected)
        yield FindingKind.OWNER_DIFFERS, f"{what}: its owner is {whose}, and ought to be {ought}", ""
        return
    if booked.state is not ClaimState.QUARANTINED and server.ref in books.recorded:
        yield FindingKind.QUARANTINED_IN_USE, f"a quarantine of it has not ended, and {what} is {booked.state}", ""
    if booked.state is ClaimState.HANDED:
        yield from _handed(server, shown.read.get(server.ref), booked, shows_ports=shown.shows_ports)


def _expected(booked: Booked, admin: UserRef) -> tuple[UserRef | None, ...]:
    """Give who may own it; nobody is said of a server whose customer's user is not known."""
    match booked.state:
        case ClaimState.HANDED:
            return () if booked.customer is None else (booked.customer,)
        case ClaimState.QUARANTINED:
            return (admin,)
        case _:
            return (None, admin) if booked.customer is None else (None, admin, booked.customer)


def _handed(
    server: ListedServer, reading: ServerReading | None, booked: Booked, *, shows_ports: bool
) -> Iterator[tuple[FindingKind, str, str]]:
    disabled = reading.disabled if reading else server.disabled
    if booked.service_state is ServiceState.ACTIVE and disabled:
        yield FindingKind.ACTIVE_DISABLED, f"{booked.service} is active, the server is disabled", ""
    if booked.service_state is ServiceState.SUSPENDED and not disabled:
        links = reading.switch_links if reading and reading.links is not None and shows_ports else ()
        on = [link.ref for link in links if link.on]
        if booked.disables:
            yield FindingKind.SUSPENDED_OPEN, f"{booked.service} is suspended, the server is not disabled", ""
        elif on:
            yield FindingKind.SUSPENDED_OPEN, f"{booked.service} is suspended, port {', '.join(on)} is on", ""
    if reading is None:
        return
    shown, kept = {_plain(row.ip) for row in reading.addresses}, {_plain(ip) for ip in booked.addresses}
    for ip in sorted(kept - shown):
        evidence = f"{ip} belongs to {booked.service}, the panel does not show it"
        yield FindingKind.ADDRESS_LOST, evidence, f"{server.ref} {ip}"
    for ip in sorted(shown - kept) if kept else ():  # a server that came with its customer has none in our books
        evidence = f"{ip} is on the server of {booked.service}, our books do not know it"
        yield FindingKind.ADDRESS_UNKNOWN, evidence, f"{server.ref} {ip}"


def _plain(ip: str) -> str:
    """Give the one spelling of an address."""
    try:
        return str(ipaddress.ip_interface(ip.strip()).ip)
    except ValueError:
        return ip


# --- about more than one server, or none --------------------------------------------------------------------------


def _one_machine(shown: Shown, books: Books) -> Iterator[Finding]:
    """Give the groups of rows that share a MAC or a main address, each group once."""
    group: dict[ServerRef, set[ServerRef]] = {}
    shared: dict[ServerRef, set[str]] = {}
    first: dict[str, ServerRef] = {}
    for server in shown.listed:
        if not server.ref:
            continue
        mine = group.setdefault(server.ref, {server.ref})
        reading = shown.read.get(server.ref)
        for mark in _marks(server, reading):
            other = first.setdefault(mark, server.ref)
            if other != server.ref:
                mine |= group[other]
                for ref in mine:
                    group[ref] = mine
                shared.setdefault(server.ref, set()).add(mark)
    for refs in {min(refs): refs for refs in group.values() if len(refs) > 1}.values():
        both = ", ".join(sorted({mark for ref in refs for mark in shared.get(ref, ())}))
        key = "+".join(sorted(refs))
        yield Finding(FindingKind.ONE_MACHINE, books.connection, min(refs), f"rows {key} share {both}", key)


def _marks(server: ListedServer, reading: ServerReading | None) -> list[str]:
    """Give what no second machine can have."""
    mac = (server.mac or (reading.mac if reading else "")).lower().replace("-", ":")
    marks = [f"MAC {mac}"] if mac.strip("0:") else []
    return [*marks, f"main address {_plain(server.ip)}"] if server.ip else marks


def _gone(shown: Shown, books: Books) -> Iterator[Finding]:
    present = {server.ref for server in shown.listed}
    if "" in present:  # a row without its id may be anybody's
        return
    for ref, booked in books.booked.items():
        if ref not in present and ref not in books.busy:
            what = f"{booked.service} has it" if booked.service else f"claim {booked.claim} stands on it"
            evidence = f"{what} ({booked.state}), the panel's list does not hold it"
            yield Finding(FindingKind.SERVER_GONE, books.connection, ref, evidence, ref)


def _unused(books: Books, owners: _Owners, shown: Shown) -> Iterator[Finding]:
    there = None if shown.users is None else {user.ref for user in shown.users}
    for account in books.accounts:
        if not account.made_by_us or account.in_service or account.user in owners.all:
            continue
        if there is None or account.user in there:
            evidence = f"user {account.user} was made by us, owns no server, and no service of its customer is left"
            yield Finding(FindingKind.ACCOUNT_UNUSED, books.connection, "", evidence, account.user)


# --- after a restore ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Remnant:
    """A server that shows work of ours which our books have forgotten."""

    connection: str
    server: str
    claims: tuple[int, ...]  #: serials in its notes
    owner: str  #: in words
    evidence: str
    steps: tuple[str, ...]  #: by hand
    in_the_way: bool  #: our books gave that serial to another server: the line must go before anybody may go on


def remnants(shown: Shown, books: Books) -> tuple[Remnant, ...]:
    """Give the servers that carry our line and that our books have forgotten, or know as less than they are."""
    found = []
    for server in shown.listed:
        reading = shown.read.get(server.ref)
        ours = serials(reading.notes, books.installation) if reading else []
        if reading is None or not ours:
            continue
        elsewhere = [
            serial
            for serial in ours
            if (place := books.serials.claims.get(serial)) and (place.connection, place.server)
            != (books.connection, server.ref)
        ]  # fmt: skip
        evidence = _forgotten(books.booked.get(server.ref), ours, reading.owner, books.admin)
        if evidence or elsewhere:
            found.append(_remnant(server, reading.owner, books, ours=ours, elsewhere=elsewhere, evidence=evidence))
    return tuple(found)


def _forgotten(booked: Booked | None, ours: Sequence[int], owner: UserRef | None, admin: UserRef) -> str:
    if booked is None or booked.claim not in ours:
        return f"our books have no live claim {', '.join(map(str, ours))} on it"
    if booked.state is ClaimState.HELD and owner not in (None, admin):
        return f"in our books {booked.service or 'a job'} is still being opened on it; it was handed over since"
    return ""


def _remnant(
    server: ListedServer,
    owner: UserRef | None,
    books: Books,
    *,
    ours: Sequence[int],
    elsewhere: Sequence[int],
    evidence: str,
) -> Remnant:
    whose = "our administrator" if owner == books.admin else "nobody" if owner is None else f"user {owner}"
    if owner == books.admin:
        steps = [
            "it was being sold, or taken out of sale: ask billing for the order",
            "adopt: finish the order by hand, and keep billing from sending it again",
            "or quarantine: disable it in the panel, leave the owner, write why into its notes; never free it",
        ]
    elif owner is None:
        steps = ["it was given back since: nothing to do; the line in its notes is an old one"]
    else:
        steps = [
            "it was sold since the backup: leave it as it is",
            "adopt: note server, user and order, and keep billing from sending that order again",
        ]
        if evidence and books.booked.get(server.ref):
            steps.append("its job goes on when you accept, finds the server sold and takes another: cancel it first")
    steps += [
        f"take the line `provisioner {books.installation} claim {serial}` out of its notes: our books gave that number "
        f"to server {books.serials.claims[serial].server} of {books.serials.claims[serial].connection}"
        for serial in elsewhere
    ]
    why = evidence or "its number was given twice"
    return Remnant(books.connection, server.ref, tuple(ours), whose, why, tuple(steps), in_the_way=bool(elsewhere))
