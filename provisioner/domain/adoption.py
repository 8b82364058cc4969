"""The fleet that was there before us: a file of sold servers, judged against its DCIM and our books; pure."""

import codecs
import csv
import io
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from provisioner.domain.naming import REFERENCE, hostname, storable
from provisioner.domain.server import ListedServer, ServerRef, User, UserRef
from provisioner.domain.service import Package
from provisioner.domain.states import ClaimState, ServiceState
from provisioner.errors import Invalid

NEEDED = ("connection", "server", "package", "external_ref", "customer_ref", "login")
OPTIONAL = ("hostname", "os")
COLUMNS = (*NEEDED, *OPTIONAL)
BYTES_MOST = 4 * 1024 * 1024  #: of a file: about 40,000 lines
LONGEST = 200  #: of a value, in characters
ENDING = (ServiceState.CLOSING, ServiceState.CLOSED, ServiceState.FAILED)


@dataclass(frozen=True, slots=True)
class Line:
    """One sold server, as the file has it; values without the blanks around them."""

    number: int  #: in the file, the line of columns is 1
    connection: str
    server: ServerRef
    package: str
    external_ref: str
    customer_ref: str
    login: str
    hostname: str = ""  #: "": the domain of its main address
    os: str = ""  #: "": not known; a reinstall must name one


@dataclass(frozen=True, slots=True)
class Fleet:
    """What the DCIM of one connection shows."""

    servers: Mapping[ServerRef, ListedServer] = field(default_factory=dict)
    users: tuple[User, ...] = ()
    error: str = ""  #: why it could not be read; "" when it was


@dataclass(frozen=True, slots=True)
class Bound:
    """What a live claim binds a server to."""

    state: ClaimState
    panel: str = ""
    external_ref: str = ""  #: "" for nobody's


@dataclass(frozen=True, slots=True)
class KnownAccount:
    """A customer's user on a connection, in our books."""

    panel: str
    customer_ref: str
    login: str
    user: UserRef | None  #: None while an order creates it


@dataclass(frozen=True, slots=True)
class KnownService:
    """A service of the panel that is in our books."""

    state: ServiceState
    package: str
    customer_ref: str
    login: str  #: of its user in the DCIM
    connection: str = ""  #: "" without a server
    server: str = ""
    noted: bool = False  #: a job writes, or wrote, our line into the notes


@dataclass(frozen=True, slots=True)
class Ledger:
    """Our books, as far as a file of one panel needs them."""

    panel: str
    packages: Mapping[str, Package]  #: the disabled ones too: what was sold stays sold
    services: Mapping[str, KnownService]  #: by external_ref
    bound: Mapping[tuple[str, str], Bound]  #: connection and server → its live claim
    accounts: Mapping[str, Sequence[KnownAccount]]  #: by connection


class Verdict(StrEnum):
    """What becomes of a line."""

    ADOPT = "adopt"  #: it is adopted, or with a dry run would be
    ALREADY = "already"  #: our books have it just so
    CONTRADICTS = "contradicts"  #: it is left alone until a person has looked
    UNREAD = "unread"  #: its DCIM could not be read: nothing is said of it


@dataclass(frozen=True, slots=True)
class Adoption:
    """All that our books must hold of a server that is adopted."""

    line: Line
    package: Package
    user: UserRef
    hostname: str
    ip: str  #: main address, "" where it has none
    suspended: bool  #: it is disabled in its DCIM: whoever sold it had suspended it


@dataclass(frozen=True, slots=True)
class Judged:
    """A line, what becomes of it, and why."""

    line: Line
    verdict: Verdict
    says: str
    adoption: Adoption | None = None  #: of `Verdict.ADOPT` only


# --- the file -----------------------------------------------------------------------------------------------------


def parse(data: bytes) -> tuple[Line, ...]:
    """
    Give the lines of a CSV file in UTF-8, with or without a byte order mark; blank lines are passed over.

    Raises:
        Invalid: it can't be read whole; one sentence with line and column. No line of it is to be used.
    """
    text = _text(data)
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        names = [name.strip() for name in next(rows)]
        _check_columns(names)
        found: dict[tuple[str, ...], Line] = {}
        for row in rows:
            if not any(value.strip() for value in row):
                continue
            line = _line(names, row, rows.line_num)
            values = tuple(getattr(line, name) for name in COLUMNS)
            if values in found:
                raise _invalid(rows.line_num, NEEDED[0], f"it says the same as line {found[values].number}; remove one")
            found[values] = line
    except csv.Error as error:
        raise Invalid(f"line {rows.line_num}: it is no line of a CSV file: {error}", field="file") from None
    if not found:
        raise Invalid("line 2, column connection: the file has no line but that of the columns", field="file")
    return tuple(found.values())


def _text(data: bytes) -> str:
    if len(data) > BYTES_MOST:
        most = BYTES_MOST // 1024 // 1024
        raise Invalid(f"the file is larger than {most} MiB; cut it, each part with the line of columns", field="file")
    if not data.strip():
        raise Invalid(f"line 1: the file is empty; its first line is {','.join(NEEDED)}", field="file")
    plain = data.removeprefix(codecs.BOM_UTF8)
    try:
        text = plain.decode()
    except UnicodeDecodeError as error:
        where = _where(plain[: error.start].decode())
        raise Invalid(f"{where}: it is not UTF-8; save the file as UTF-8", field="file") from None
    if "\x00" in text:
        raise Invalid(f"{_where(text[: text.index(chr(0))])}: a NUL character; save the file as text", field="file")
    return text


def _where(before: str) -> str:
    """Give line and column, both from 1, of what stands behind *before*."""
    return f"line {before.count(chr(10)) + 1}, column {len(before) - before.rfind(chr(10))}"


def _check_columns(names: Sequence[str]) -> None:
    for n, name in enumerate(names, start=1):
        if name not in COLUMNS:
            hint = "; separate them by commas" if len(names) == 1 else ""
            known = f"{', '.join(NEEDED)}, and {', '.join(OPTIONAL)} if you like"
            raise Invalid(
                f"line 1, column {n}: no column is called {name[:40]!r}; there are {known}{hint}", field="file"
            )
        if name in names[: n - 1]:
            raise Invalid(f"line 1, column {n}: {name} is there twice", field="file")
    if missing := [name for name in NEEDED if name not in names]:
        raise Invalid(f"line 1, column {len(names) + 1}: {', '.join(missing)} is missing", field="file")


def _line(names: Sequence[str], row: Sequence[str], number: int) -> Line:
    if len(row) != len(names):
        column = min(len(row), len(names)) + 1
        raise Invalid(
            f"line {number}, column {column}: it has {len(row)} values for {len(names)} columns", field="file"
        )
    values = {}
    for name, value in zip(names, row, strict=True):
        plain = value.strip()
        try:
            storable(plain, field=name, longest=LONGEST)
        except Invalid as error:
            raise _invalid(number, name, str(error)) from None
        if not plain.isprintable():
            raise _invalid(number, name, "it holds a line break or another character that can't be seen")
        values[name] = plain
    return Line(number=number, server=ServerRef(values.pop("server")), **values)


def _invalid(number: int, column: str, sentence: str) -> Invalid:
    return Invalid(f"line {number}, column {column}: {sentence}", field=column)


# --- each line ----------------------------------------------------------------------------------------------------


def judge(lines: Sequence[Line], fleets: Mapping[str, Fleet], ledger: Ledger) -> tuple[Judged, ...]:
    """
    Say what becomes of each line, all that contradicts in one sentence; a line that is adopted already says so.

    Whose login it is, is asked of lines that nothing else contradicts: one wrong line bars no good one.
    """
    beside = _beside([line for line in lines if not _is_known(line, ledger)], ON_ONE)
    found = [
        Judged(line, Verdict.ALREADY, "it was adopted before, or opened by us")
        if _is_known(line, ledger)
        else _judged(line, fleets.get(line.connection), ledger, beside[line.number])
        for line in lines
    ]
    beside = _beside([one.line for one in found if one.verdict is Verdict.ADOPT], OF_ONE)
    return tuple(
        Judged(one.line, Verdict.CONTRADICTS, "; ".join(against)) if (against := beside[one.line.number]) else one
        for one in found
    )


def _is_known(line: Line, ledger: Ledger) -> bool:
    known = ledger.services.get(line.external_ref)
    return known is not None and not list(_differs(line, known))


def _judged(line: Line, fleet: Fleet | None, ledger: Ledger, beside: Sequence[str]) -> Judged:
    against = [*_empty(line), *beside, *_books(line, ledger)]
    package = ledger.packages.get(line.package)
    if fleet is None:
        against.append(f"there is no connection {line.connection!r}")
    elif fleet.error:
        if not against:
            return Judged(line, Verdict.UNREAD, fleet.error)
    else:
        listed = fleet.servers.get(line.server)
        users = [user for user in fleet.users if user.login == line.login]
        against += [*_server(line, listed, package), *_owner(line, listed, fleet)]
        name, why = _hostname(line, listed)
        against += why
        if not against and package is not None and listed is not None and users:
            adoption = Adoption(line, package, users[0].ref, name, listed.ip, suspended=listed.disabled)
            return Judged(line, Verdict.ADOPT, _says(adoption), adoption)
    return Judged(line, Verdict.CONTRADICTS, "; ".join(against))


def _says(one: Adoption) -> str:
    state = "suspended (it is disabled there; billing's resume opens it)" if one.suspended else "active"
    return f"server {one.line.server} of {one.line.connection}, {one.hostname}, for user {one.user}: {state}"


def _empty(line: Line) -> Iterator[str]:
    for name in NEEDED:
        if not getattr(line, name):
            yield f"{name} is empty"
    if line.external_ref and not re.match(REFERENCE, line.external_ref):
        yield f"external_ref {line.external_ref!r} is no reference: letters, digits and ._:@+=,- are taken"


#: what must be one where other values agree, and what is said of two
Rules = tuple[tuple[tuple[str, ...], tuple[str, ...], str], ...]
ON_ONE: Rules = (
    (("connection", "server"), COLUMNS, "two services on one server: also on line {}"),
    (("external_ref",), ("connection", "server"), "external_ref stands on two servers: also on line {}"),
)
OF_ONE: Rules = (
    (("connection", "login"), ("customer_ref",), "the login is another customer's on line {}"),
    (("connection", "customer_ref"), ("login",), "the customer has another login on line {}"),
)


def _beside(lines: Sequence[Line], rules: Rules) -> Mapping[int, list[str]]:
    """Give, by number, what each line contradicts among the others: neither of two is believed."""
    found: dict[int, list[str]] = defaultdict(list)
    for same, other, text in rules:
        groups: dict[tuple[str, ...], dict[tuple[str, ...], int]] = defaultdict(dict)
        for line in lines:
            if all(key := _values(line, same)):
                groups[key].setdefault(_values(line, other), line.number)
        for line in lines:
            mine, told = _values(line, other), groups.get(_values(line, same), {})
            if len(told) > 1:
                found[line.number].append(text.format(next(n for values, n in told.items() if values != mine)))
    return found


def _values(line: Line, names: Sequence[str]) -> tuple[str, ...]:
    return tuple(str(getattr(line, name)) for name in names)


def _books(line: Line, ledger: Ledger) -> Iterator[str]:
    if line.package and line.package not in ledger.packages:
        yield f"there is no package {line.package!r}"
    if known := ledger.services.get(line.external_ref):
        yield from (f"external_ref {line.external_ref} is in our books {why}" for why in _differs(line, known))
    elif bound := ledger.bound.get((line.connection, line.server)):
        whose = f"service {bound.external_ref} of {bound.panel}" if bound.external_ref else "nobody's service"
        yield f"the server is bound already: to {whose} ({bound.state})"
    for account in ledger.accounts.get(line.connection, ()):
        mine = (account.panel, account.customer_ref) == (ledger.panel, line.customer_ref)
        if mine and account.user is None:
            yield "an order of this customer is creating its user just now; import the line later"
        elif mine and account.login != line.login:
            yield f"in our books the customer's login there is {account.login}"
        elif not mine and account.login == line.login:
            yield f"in our books the login is customer {account.customer_ref}'s of {account.panel}"


def _differs(line: Line, known: KnownService) -> Iterator[str]:
    if known.state in ENDING:
        yield f"as {known.state}"
    elif (known.connection, known.server) != (line.connection, line.server):
        where = f"server {known.server} of {known.connection}" if known.server else "no server yet"
        yield f"with {where}"
    for name in ("package", "customer_ref", "login"):
        if getattr(known, name) != getattr(line, name):
            yield f"with {name} {getattr(known, name)}"


def _server(line: Line, listed: ListedServer | None, package: Package | None) -> Iterator[str]:
    if not line.server:
        return
    if listed is None:
        yield f"server {line.server!r} is not in the list of {line.connection}"
        return
    if listed.ill:
        yield f"server {line.server} can't be believed: {listed.ill}"
    if package is not None and package.server_type not in ("", listed.server_type):
        yield f"the server is a {listed.server_type or 'nothing'}, the package sells {package.server_type}"


def _owner(line: Line, listed: ListedServer | None, fleet: Fleet) -> Iterator[str]:
    user = next((user for user in fleet.users if user.login == line.login), None)
    if line.login and user is None:
        yield f"the DCIM has no user {line.login!r}"
    if user is not None and user.administrator:
        yield f"user {line.login} is an administrator of the DCIM, no customer"
    if listed is None:
        return
    owners = owners_of(listed, fleet.users)
    if not listed.owner:
        yield "the server has no owner"
    elif len(owners) > 1:
        yield f"owner {listed.owner!r} is the login of one user and the id of another"
    elif user is not None and [user] != owners:
        yield f"the server's owner is {owners[0].login if owners else listed.owner}, not {line.login}"


def owners_of(listed: ListedServer, users: Sequence[User]) -> list[User]:
    """Give the users that a list row may mean by its owner: a list shows a login or an id."""
    return [user for user in users if listed.owner and listed.owner in (user.login, user.ref)]


def _hostname(line: Line, listed: ListedServer | None) -> tuple[str, list[str]]:
    if listed is None and not line.hostname:
        return "", []
    try:
        return hostname(line.hostname or (listed.domain if listed else "")), []
    except Invalid as error:
        return "", [str(error) if line.hostname else f"{error}; it is the server's domain, so give a hostname"]


# --- a file to begin with -----------------------------------------------------------------------------------------


def draft(connection: str, fleet: Fleet, ledger: Ledger) -> str:
    """
    Give a CSV of the servers that customers own and our books do not know, for a person to complete.

    The package is filled in where one alone sells that type there; the references at billing are not known.
    """
    out = io.StringIO()
    rows = csv.writer(out, lineterminator="\n")
    rows.writerow(COLUMNS)
    for listed in fleet.servers.values():
        owners = owners_of(listed, fleet.users)
        if len(owners) != 1 or owners[0].administrator or (connection, listed.ref) in ledger.bound:
            continue
        sold = [
            package.name
            for package in ledger.packages.values()
            if package.server_type == listed.server_type and connection in package.connections
        ]
        package = sold[0] if len(sold) == 1 else ""
        rows.writerow((connection, listed.ref, package, "", "", owners[0].login, listed.domain, ""))
    return out.getvalue()
