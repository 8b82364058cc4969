"""Things for tests, with good defaults: name only what matters."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from provisioner.domain.attempt import Attempt, Command, Policy, StepRow, Verb
from provisioner.domain.server import (
    AddressRow,
    Family,
    Link,
    LinkKind,
    LinkRef,
    ListedServer,
    Power,
    RowRef,
    ServerReading,
    ServerRef,
    ServerView,
    User,
    UserRef,
)
from provisioner.domain.service import Account, AccountBook, Claim, ClaimId, Order, Package
from provisioner.domain.states import AccountState, Direction, JobKind, StepState
from provisioner.steps.base import Step, StepContext
from provisioner.steps.recipes import OPEN

T0 = datetime(2026, 1, 1, 12, tzinfo=UTC)  #: when everything begins
ADMIN = UserRef("5")
CUSTOMER = UserRef("77")
STRANGER = UserRef("66")
SERVER = ServerRef("127")
TOKEN = "provisioner-claim-1-abcd"
HOSTNAME = "srv1.example.net"
TEMPLATE = "ISPsystem__Debian-12-x86_64"
PASSWORD = "not-a-secret-1"


def at(seconds: float) -> datetime:
    """Give the instant *seconds* after everything began."""
    return T0 + timedelta(seconds=seconds)


@dataclass
class HandClock:
    """A clock that moves by hand."""

    instant: datetime = T0

    def now(self) -> datetime:
        return self.instant

    def advance(self, span: timedelta | float) -> datetime:
        self.instant += span if isinstance(span, timedelta) else timedelta(seconds=span)
        return self.instant


# --- orders and what is sold --------------------------------------------------------------------------------------


def an_order(**changes: Any) -> Order:
    order = Order(
        panel="billing",
        external_ref="4711",
        package="small",
        customer_ref="c-12",
        login="ivanov",
        hostname=HOSTNAME,
        os=TEMPLATE,
    )
    return replace(order, **changes)


def a_package(**changes: Any) -> Package:
    return replace(Package(name="small", server_type="HP-E3-16G", os_allowed=(TEMPLATE,)), **changes)


def a_claim(**changes: Any) -> Claim:
    return replace(Claim(id=ClaimId(1), server=SERVER, serial=1, note_token=TOKEN), **changes)


def an_account(**changes: Any) -> Account:
    account = Account(
        login="ivanov",
        state=AccountState.LIVE,
        user=CUSTOMER,
        created_by_us=True,
        ids_before=frozenset(),
        creator=None,
        creator_alive=False,
        creator_settles_from=None,
    )
    return replace(account, **changes)


def a_book(mine: Account | None = None, *, logins: Sequence[str] = (), users: Sequence[UserRef] = ()) -> AccountBook:
    """Give a book that holds *mine* and what others have reserved."""
    own_logins = {mine.login} if mine else set()
    own_users = {mine.user} if mine and mine.user else set()
    return AccountBook(mine, frozenset({*logins, *own_logins}), frozenset({*users, *own_users}))


# --- servers ------------------------------------------------------------------------------------------------------


def a_listed_server(**changes: Any) -> ListedServer:
    """Give a free server that may be sold."""
    server = ListedServer(
        ref=SERVER,
        name="A14R10",
        server_type="HP-E3-16G",
        domain="free.ds",
        ip="10.10.0.15",
        owner="",
        mac="02:00:5E:10:00:01",
        power=Power.OFF,
    )
    return replace(server, **changes)


def an_address(ref: str = "901", **changes: Any) -> AddressRow:
    row = AddressRow(ref=RowRef(ref), ip=f"198.51.100.{len(ref)}", domain=HOSTNAME, family=Family.IPV4)
    return replace(row, **changes)


def a_link(ref: str, **changes: Any) -> Link:
    return replace(Link(ref=LinkRef(ref), kind=LinkKind.SWITCH), **changes)


def a_reading(**changes: Any) -> ServerReading:
    """Give a server that is ours: owner, token, one main address with our domain, one port and a BMC."""
    reading = ServerReading(
        ref=SERVER,
        owner=ADMIN,
        notes=TOKEN,
        disabled=False,
        faulty=False,
        addresses=(an_address(main=True, ip="10.10.0.15"),),
        links=(a_link("11"), a_link("19", kind=LinkKind.BMC)),
    )
    return replace(reading, **changes)


def a_view(
    listed: ListedServer | None = None,
    *,
    observed_from: datetime = T0,
    edges: Mapping[str, datetime] | None = None,
    seen_since: Sequence[datetime] = (),
    gone_from: datetime | None = None,
) -> ServerView:
    """Give the server as a list that began at *observed_from* shows it."""
    return ServerView(
        listed=listed or a_listed_server(),
        changed_from=observed_from,
        observed_from=observed_from,
        gone_from=gone_from,
        edges=edges or {},
        seen_since=tuple(seen_since),
    )


# --- attempts -----------------------------------------------------------------------------------------------------


def a_policy(**changes: Any) -> Policy:
    return replace(Policy(), **changes)


def an_attempt(**changes: Any) -> Attempt:
    return replace(Attempt(), **changes)


def a_command(verb: Verb, **changes: Any) -> Command:
    return replace(Command(verb, by="anna", reason="because"), **changes)


def a_step_row(name: str = "domain", **changes: Any) -> StepRow:
    """Give a pending row at its place in the recipe of an open, to which the attempt came when everything began."""
    names = [step.name for step in OPEN]
    row = StepRow(
        pos=names.index(name) if name in names else len(names),
        name=name,
        arrived_at=T0,
        deadline_at=at(600),
    )
    return replace(row, **changes)


def acted(row: StepRow, state: StepState = StepState.ACTING, *, when: datetime = T0, **changes: Any) -> StepRow:
    """Give *row* after its first act at *when*."""
    begun = replace(row, state=state, tries=1, acted_at=when, begun_at=when)
    return replace(begun, **changes)


def remembering(row: StepRow, before: Mapping[str, Any], *, seen: Mapping[str, Any] | None = None) -> StepRow:
    """Give *row* with the memo of its first act."""
    return replace(row, memo={"before": dict(before), "first": dict(before), "seen": dict(seen or {})})


def a_recipe(current: StepRow, *, unacted: Sequence[str] = (), names: Sequence[str] = ()) -> tuple[StepRow, ...]:
    """
    Give the rows of an open whose present step is *current*: those before are done, those after were never begun.

    Steps in *unacted* were found done without an act of ours.
    """
    rows = []
    for pos, name in enumerate(names or [step.name for step in OPEN]):
        if pos == current.pos:
            rows.append(current)
        elif pos > current.pos:
            rows.append(StepRow(pos=pos, name=name))
        else:
            row = StepRow(pos=pos, name=name, state=StepState.DONE, ended_at=T0)
            if name not in (*unacted, "ping"):
                row = replace(row, acted_at=at(pos - 1000), begun_at=at(pos - 1000), tries=1)
            rows.append(row)
    return tuple(rows)


def an_undo_row(name: str = "free_domain", *, undoes: int | None = 2, **changes: Any) -> StepRow:
    """Give a pending row in direction back, right behind the recipe of an open."""
    undone: dict[str, Any] = {"before": {}, "first": {}, "token": {}, "settled_at": None}
    row = a_step_row(name, direction=Direction.BACK, undoes=undoes, memo={"undone": undone})
    return replace(row, **changes)


# --- the world, and what a step sees of it ------------------------------------------------------------------------


class HandDriver:
    """A DCIM that shows what it is told to and notes what it is asked for; acts change nothing by themselves."""

    name = "hand"

    def __init__(self, reading: ServerReading | None = None, users: Sequence[User] = ()) -> None:
        self.reading = reading or a_reading()
        self.known_users = [User(ADMIN, "bill_admin", administrator=True), *users]
        self.asked: list[tuple[Any, ...]] = []  #: mutating calls: name, then arguments
        self.refuse: Exception | None = None  #: raised by the next act
        self.looks = 0
        self.main_ip = ""  #: what the last reading was told of it

    def read(self, server: ServerRef, main_ip: str = "", *, links: bool = True) -> ServerReading:
        self.looks += 1
        self.main_ip = main_ip
        return self.reading if links else replace(self.reading, links=None)

    def users(self) -> Sequence[User]:
        self.looks += 1
        return tuple(self.known_users)

    def __getattr__(self, verb: str) -> Callable[..., Any]:
        """Note any act."""

        def act(*arguments: object, **named: object) -> object:
            self.asked.append((verb, *arguments, *named.values()))
            if self.refuse:
                raise self.refuse
            if verb == "create_user":
                return CUSTOMER
            return an_address("999", ip="198.51.100.99") if verb == "add_address" else None

        return act


@dataclass
class HandProber:
    """Hosts that answer as they are told to."""

    answering: set[str] = field(default_factory=set)
    keys: dict[str, str] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)

    def answers(self, ip: str, probe: str) -> bool:
        self.asked.append((ip, probe))
        return ip in self.answering

    def host_key(self, ip: str, probe: str) -> str | None:
        return self.keys.get(ip) if probe.startswith("ssh:") else None


def a_context(
    step: Step,
    row: StepRow | None = None,
    *,
    driver: Any = None,  # noqa: ANN401 - shapes of a driver, a prober
    prober: Any = None,  # noqa: ANN401
    now: datetime = T0,
    **changes: Any,
) -> StepContext:
    """Give what *step* sees in one look; `driver`, `prober` and `now` are the world."""
    book: AccountBook = changes.pop("book", a_book())
    seen: dict[str, Any] = {
        "attempt_id": 1,
        "kind": JobKind.OPEN,
        "row": row or a_step_row(step.name),
        "policy": step.policy,
        "order": an_order(),
        "package": a_package(),
        "admin": ADMIN,
        "customer": CUSTOMER,
        "claim": a_claim(),
        "view": a_view(),
        "reason": "the install failed",
        "earlier": {},
        "driver": driver or HandDriver(),
        "prober": prober or HandProber(),
        "clock": HandClock(now),
        "accounts": lambda: book,
        "secret": lambda _name: PASSWORD,
    }
    return StepContext(**{**seen, **changes})
