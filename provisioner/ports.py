"""What the core asks of the world, one small Protocol a need; knows the domain and nobody else."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Protocol

from provisioner.domain.adoption import Adoption, Ledger
from provisioner.domain.attempt import Attempt, Command, Policy, StepRow
from provisioner.domain.audit import Books, Finding
from provisioner.domain.catalogue import Caller, ConnectionSettings, Outlook, Role, Token
from provisioner.domain.connection import ConnectionState, Endpoint
from provisioner.domain.engine import Decision
from provisioner.domain.installation import Serials
from provisioner.domain.job import Conclusion
from provisioner.domain.life import Wish
from provisioner.domain.matters import Department
from provisioner.domain.question import Question, QuestionKind
from provisioner.domain.server import (
    AddressRow,
    Capabilities,
    Family,
    LinkRef,
    Listing,
    Network,
    Power,
    RowRef,
    ServerReading,
    ServerRef,
    ServerView,
    User,
    UserRef,
)
from provisioner.domain.service import AccountBook, Claim, Order, Package, ServiceKind
from provisioner.domain.states import JobKind


class Driver(Protocol):
    """
    One DCIM. Every method is one touch: synchronous, at most one mutating call, no retry of its own.

    Looks (`list_servers`, `read`, `users`, …) change nothing and raise `Retryable` when nothing can be
    concluded: `Unreachable`, `Denied`, `Busy`, or `Unusable` for an answer that can't be believed.
    Acts return when the request is taken, not when its effect is reached, and raise
    `NotDone` (`Unreachable`, `Busy`, `Denied`): surely nothing happened;
    `Unsure`: sent, no answer that can be understood;
    `Fatal` (`NoSuchObject`, `AlreadyExists`, `PoolEmpty`, `BadValue`): refused for good.
    No message of any of them holds a password or a customer's name.
    """

    @property
    def name(self) -> str:
        """The connection's name, for messages."""
        ...

    @property
    def capabilities(self) -> Capabilities:
        """What this kind of DCIM can show and do."""
        ...

    def whoami(self) -> User:
        """Give the user that we act as; proves address, certificate, credentials, and that lists may be read."""
        ...

    def list_servers(self) -> Listing:
        """Read the whole list, one call. A row of a shape that can't be believed is in it with `ill` set."""
        ...

    def read(self, server: ServerRef, main_ip: str = "", *, links: bool = True) -> ServerReading:
        """
        Read one server's form view, addresses and links. Raises `NoSuchObject` for an unknown id.

        Without *links* they cost no call, and are None.

        *main_ip* is its main address in a list read before, "" where none is known: it saves the list of all servers
        where nothing else tells which address is the main one.
        """
        ...

    def survey(self, server: ServerRef, main_ip: str) -> ServerReading:
        """
        Read as `read` does, for a look at a whole fleet: a form view and a list of addresses, no list of servers.

        Links and the domains of addresses may be left out. *main_ip* is the server's main address in the list.
        """
        ...

    def users(self) -> Sequence[User]:
        """Read all users, administrators too."""
        ...

    def server_types(self) -> Sequence[str]:
        """Give the internal names of the server types."""
        ...

    def os_templates(self, server: ServerRef | None = None) -> Sequence[str]:
        """Ids of the installable templates; those allowed for *server* where one is given."""
        ...

    def networks(self) -> Sequence[Network]:
        """Address pools; empty where the DCIM shows none (`capabilities`)."""
        ...

    def create_user(self, login: str, password: str) -> UserRef:
        """Create an ordinary user. Not repeatable. Raises `AlreadyExists`, `BadValue`."""
        ...

    def edit_server(self, server: ServerRef, *, owner: UserRef | None, notes: str) -> None:
        """Set owner (None: nobody) and notes in one edit, all other fields kept. Repeatable."""
        ...

    def set_domain(self, server: ServerRef, row: RowRef, domain: str) -> None:
        """Set one address row's domain; the server's own follows its main address. Repeatable."""
        ...

    def add_address(self, server: ServerRef, family: Family, domain: str) -> AddressRow:
        """Take one more address from the pool. Not repeatable. Raises `PoolEmpty`."""
        ...

    def delete_address(self, server: ServerRef, row: RowRef) -> None:
        """Delete one address row. Raises `NoSuchObject` when it is gone already."""
        ...

    def enable(self, server: ServerRef) -> None:
        """Enable the server; its links settle afterwards. Repeatable."""
        ...

    def disable(self, server: ServerRef) -> None:
        """Disable the server; its links settle afterwards. Repeatable."""
        ...

    def set_link(self, server: ServerRef, link: LinkRef, *, on: bool) -> None:
        """Switch one switch port on or off; it settles afterwards. Repeatable."""
        ...

    def set_power(self, server: ServerRef, power: Power) -> None:
        """Ask for power on or off; seen later in the list. Repeatable. `Power.UNKNOWN` is refused."""
        ...

    def reboot(self, server: ServerRef) -> None:
        """Ask for a reboot. Never to be repeated after an unknown outcome."""
        ...

    def set_password(self, user: UserRef, password: str) -> None:
        """Set a user's password. Repeatable. Raises `BadValue` for one that the DCIM refuses."""
        ...

    def logs_in(self, login: str, password: str) -> bool:
        """Say whether a user can log in; a look. Raises `Retryable` when the DCIM can't say."""
        ...

    def install(self, server: ServerRef, template: str, password: str) -> None:
        """Start an OS install: wipes the disks. Not repeatable. Raises `BadValue` for a refused template."""
        ...

    def cancel_operation(self, server: ServerRef) -> None:
        """Cancel the operation under way; nothing under way counts as done."""
        ...


class Drivers(Protocol):
    """Connection → driver."""

    def get(self, connection_id: int, revision: int | None = None) -> Driver:
        """Give the driver of a connection at its present revision; one that was just read saves a look at it."""
        ...


class Prober(Protocol):
    """Looks at a host from outside, as a customer would."""

    def answers(self, ip: str, probe: str) -> bool:
        """Say whether *ip* answers *probe* (`icmp`, `tcp:PORT`, `ssh:PORT`) within about 2 s."""
        ...

    def host_key(self, ip: str, probe: str) -> str | None:
        """Fingerprint of the SSH host key behind an `ssh:PORT` probe; None for other probes or no answer."""
        ...


class Vault(Protocol):
    """Encryption at rest."""

    def seal(self, clear: str) -> tuple[bytes, str]:
        """Encrypt; returns ciphertext and the key's id."""
        ...

    def open(self, sealed: bytes) -> str:
        """Decrypt with whichever key fits; raises `BadConfig` when none does."""
        ...


@dataclass(frozen=True, slots=True)
class DeskCapabilities:
    """What a kind of desk can do."""

    dedup: bool  #: the same key twice is one message; if not, a doubled one can be recognised by it
    comment: bool  #: a follow-up finds its ticket
    close: bool  #: a ticket can be closed by us
    status: bool  #: it can be read whether a ticket is open, and one that was closed can be opened again


@dataclass(frozen=True, slots=True)
class Message:
    """What a desk is to pass on; never a secret."""

    key: str  #: the same for every try of this message, and of no other
    to: str  #: mailbox or queue, as the desk understands it
    subject: str  #: of the whole ticket, one line
    text: str
    ticket: str = ""  #: our own name of the ticket, the same in all its messages
    language: str = "en"  #: of subject and text


class TicketStatus(StrEnum):
    """What a desk says of a ticket."""

    OPEN = "open"
    CLOSED = "closed"  #: as done
    REFUSED = "refused"  #: closed, and not as done: rejected, deleted
    UNKNOWN = "unknown"  #: it can't be read


@dataclass(frozen=True, slots=True)
class TicketReading:
    """A ticket as its desk shows it."""

    status: TicketStatus
    by: str = ""  #: who touched it last, as the desk calls them, one line; "" where that was us, or is not told


class Desk(Protocol):
    """
    A way to reach people. Each method is one conversation with a total time limit, no retry of its own.

    Raises `Retryable` (`Unreachable`, `Denied`, `Unsure`) or `Fatal` (`BadValue`); the message holds no secret.
    After `Unsure` it may have been taken: the same message comes again under the same key.
    """

    @property
    def capabilities(self) -> DeskCapabilities:
        """What this desk can do."""
        ...

    def check(self, to: str) -> None:
        """
        Try server, certificate and credentials, and whether *to* can be written to; passes nothing on.

        Raises `BadValue` when *to* is to blame, and no waiting will help.
        """
        ...

    def open(self, message: Message) -> str:
        """Open a ticket; returns what the desk calls it. The same key twice: the same ticket."""
        ...

    def comment(self, ref: str, message: Message, *, reopen: bool = False) -> None:
        """Add to ticket *ref*; *reopen*: one that is closed there is opened again, where the desk can. Repeatable."""
        ...

    def close(self, ref: str, message: Message) -> None:
        """Say that the matter of ticket *ref* is over, and close it where the desk can."""
        ...

    def status(self, ref: str) -> TicketReading:
        """Say whether ticket *ref* is open, and who touched it last, where the desk can (`capabilities`)."""
        ...


class Http(Protocol):
    """HTTP to one system: no redirect, no cookie, nothing sent twice, refused while a transaction is open."""

    def call(
        self,
        method: str,
        url: str,
        body: bytes,
        *,
        headers: Mapping[str, str],
        seconds: float,
        mutating: bool,
        operation: str,
    ) -> tuple[int, bytes]:
        """
        Send one request, within *seconds* in all; returns status and whole body, whatever the status.

        Raises `Unreachable` (nothing was sent), `Unsure` (of a *mutating* call), `Unusable` (of a look).
        """
        ...


class Webhooks(Protocol):
    """Signed POSTs to addresses that somebody typed in."""

    def check(self, url: str) -> str:
        """Say why *url* can't be called now, "" when it can; connects to nothing. Raises `Invalid`."""
        ...

    def post(self, url: str, *, secret: str, key: str, body: bytes) -> bytes:
        """
        Post *body*, signed by *secret*; returns the beginning of the answer. Safe to repeat under the same *key*.

        Raises `Unreachable` (nothing was sent), `Unsure`, `Retryable` (any answer but 2xx).
        """
        ...


class Desks(Protocol):
    """Kind of desk → desk."""

    def get(self, kind: str) -> Desk:
        """Give the desk of a kind. Raises `BadConfig` for one that is not set up."""
        ...


class Clock(Protocol):
    """The time, aware, UTC."""

    def now(self) -> datetime:
        """Give the present instant."""
        ...


@dataclass(frozen=True, slots=True)
class Wakeup:
    """One message: "look at this attempt"; ids, and names for readers in Flower. Never a secret."""

    job_id: int
    attempt_id: int
    attempt_n: int
    pos: int
    step: str  #: name of the step
    undoes: int | None  #: of an undo: the position that it undoes
    kind: str  #: job kind
    order: str  #: the order's reference at billing, "" for a job on a claim
    server: str
    queue: str
    sends: int  #: how many messages this step has had, this one included
    root_id: str  #: first task of the attempt
    parent_id: str | None  #: task that this one follows or replaces
    service: str = ServiceKind.DEDICATED  #: what is rented: its chain is called by it


class Waker(Protocol):
    """Says "look again"; lost, late or doubled, it changes nothing but delay. Never raises, never blocks long."""

    def wake(self, wakeups: Sequence[Wakeup]) -> None:
        """Send a message for each."""
        ...

    def tick(self) -> None:
        """Ask for a reconcile tick now."""
        ...

    def observe(self, connection_id: int) -> None:
        """Ask for a list reading of a connection."""
        ...

    def audit(self, connection_id: int, *, start: bool) -> None:
        """Ask for a turn of a connection's nightly audit; *start*: of a new one."""
        ...

    def deliver(self) -> None:
        """Ask for a message to be handed to its desk."""
        ...

    def callback(self, panel: str) -> None:
        """Ask for a billing panel to be told what is due for it."""
        ...

    def lost(self, task_id: str, worker: str, sentence: str) -> None:
        """Tell readers of Flower that a task died with its worker."""
        ...


@dataclass(frozen=True, slots=True)
class Touched:
    """What a claim gives: the attempt, its steps, and all that one touch needs to know, in one statement."""

    attempt_id: int
    job_id: int
    attempt_n: int
    epoch: int
    owner: str
    now: datetime  #: the database's clock at the claim
    attempt: Attempt
    steps: tuple[StepRow, ...]
    service_id: int | None
    order: Order
    package: Package
    admin: UserRef
    customer: UserRef | None
    claim: Claim
    view: ServerView | None
    connection_id: int
    connection_name: str
    queue: str
    restricted_step: str  #: step that the connection is restricted for, "" for none
    failing_steps: frozenset[str]  #: steps that the burn-through guard counts on this connection
    secrets: Mapping[str, int]  #: name → id of a secret
    root_task_id: str
    task_id: str
    params: Mapping[str, Any] = field(default_factory=dict)  #: of the job; JSON, no secrets
    revision: int = 0  #: of the connection: its driver is kept while this stays


class Refusal(StrEnum):
    """Why a message found nothing to do."""

    FENCED = "fenced"  #: somebody else has it, it moved on, or it waits
    NO_SLOT = "no_slot"  #: the connection is as busy as it may be
    AWAY = "away"  #: the connection is paused
    HALTED = "halted"  #: the database went back, or is a copy: a person must look first
    NEWER = "newer"  #: it holds what only a newer release knows: a worker of that one must take it


class Engine(Protocol):
    """The store as `run_step` sees it. Each method is one commit; writes raise `Fenced` behind a newer epoch."""

    def claim(self, attempt_id: int, pos: int, *, owner: str, task_id: str, worker: str) -> Touched | Refusal:
        """Take the attempt if it may run now at *pos*; the claim issues the epoch."""
        ...

    def give_back(self, touched: Touched) -> Sequence[Wakeup]:
        """Let the attempt go uncounted, to be looked at again after `wake_grace`; returns the messages that are due."""
        ...

    def put_off(self, attempt_id: int, pos: int) -> None:
        """Let a ready attempt's message, which nobody here can read, be sent again after `wake_grace`."""
        ...

    def remember(self, touched: Touched, decision: Decision) -> StepRow | None:
        """Commit the memo before the act, with the database's clock; None when a record found its place taken."""
        ...

    def save(self, touched: Touched, decision: Decision) -> Sequence[Wakeup]:
        """Save a decision that does not end the attempt, free the slot; returns the messages that are due."""
        ...

    def end(self, touched: Touched, decision: Decision, conclusion: Conclusion) -> None:
        """Save the end of an attempt with all that it means for job, service, claim and connection."""
        ...

    def blames(self, touched: Touched, step: str) -> int:
        """Count servers on which *step* failed lately without a success between, this one included."""
        ...

    def counted(self, touched: Touched) -> tuple[int, bool]:
        """Give how many ended attempts of the job blame a server, and whether a cancel was requested."""
        ...

    def accounts(self, touched: Touched) -> AccountBook:
        """Give what our books know of the users of the connection."""
        ...

    def question(self, touched: Touched) -> Question | None:
        """Give what a person was asked at the step at which the attempt stands."""
        ...

    def secret(self, secret_id: int) -> bytes:
        """Give a secret's ciphertext. Raises `NotFound` when it was erased."""
        ...

    def witness(self, touched: Touched, serials: Sequence[int]) -> str:
        """Halt if *serials* of ours in the server's notes show that our books went back; returns why, "" if not."""
        ...

    def trouble(self, connection_id: int, *, denied: bool, reason: str) -> None:
        """Count a look or act that found the connection away; pauses it when that lasts."""
        ...


@dataclass(frozen=True, slots=True)
class Sealed:
    """A secret as it is stored."""

    ciphertext: bytes
    key_id: str


@dataclass(frozen=True, slots=True)
class Placed:
    """Where an order came to."""

    service_id: int
    job_id: int
    created: bool  #: False: the same order was here before


@dataclass(frozen=True, slots=True)
class Asked:
    """Where a wish about a service came to."""

    service_id: int
    job_id: int
    created: bool  #: False: this job carries it out already


@dataclass(frozen=True, slots=True)
class OnSale:
    """A package as an order finds it."""

    package: Package
    disabled: bool
    usable_connections: int  #: of its connections, those that are not disabled


class Services(Protocol):
    """The store as callers see it: orders and verbs, each one transaction."""

    def on_sale(self, name: str) -> OnSale | None:
        """Give a package with its connections; None when there is none of that name."""
        ...

    def place(
        self, order: Order, package: Package, *, root: Sealed | None, panel: Sealed, panel_made: bool, key: str | None
    ) -> Placed:
        """Accept an order once. Raises `KeyReused`."""
        ...

    def forecast(self, job_id: int, given: Command, policies: Mapping[str, Policy]) -> str:
        """Say what a verb would do; changes nothing. Raises as `command`."""
        ...

    def command(self, job_id: int, given: Command, policies: Mapping[str, Policy]) -> Sequence[Wakeup]:
        """Give a verb to a job; returns the messages that are due. Raises `NotFound`, `IllegalMove`."""
        ...


class Life(Protocol):
    """The store as a service's later wishes see it; each one transaction."""

    def wish(
        self,
        panel: str,
        external_ref: str,
        given: Wish,
        *,
        by: str,
        key: str | None = None,
        secret: Sealed | None = None,
        policies: Mapping[str, Policy],
    ) -> tuple[Asked, Sequence[Wakeup]]:
        """Take a wish, once a key; returns its job and messages. Raises `NotFound`, `IllegalMove`, `KeyReused`."""
        ...

    def let_go(self, by: str, *, policies: Mapping[str, Policy]) -> tuple[int, Sequence[Wakeup]]:
        """Let all go that the blast guard holds of a caller; returns how many, and messages."""
        ...

    def make_way(self, limit: int, *, policies: Mapping[str, Policy]) -> Sequence[Wakeup]:
        """Let jobs that were held make way for the suspend, resume or close behind them; returns messages."""
        ...

    def drop(self, by: str) -> int:
        """Cancel all that the blast guard holds of a caller; returns how many."""
        ...


@dataclass(frozen=True, slots=True)
class Lost:
    """A lease that ran out: its task is dead, and with it what Flower shows."""

    task_id: str
    worker: str
    wakeup: Wakeup


class Reconciler(Protocol):
    """The store as `reconcile` sees it; each method is one commit of at most *limit* rows."""

    def beat(self, name: str, interval_seconds: float) -> bool:
        """Say whether it is this process's turn: the heartbeat is older than the interval, or work is due."""
        ...

    def expired(self, limit: int) -> Sequence[Lost]:
        """Make attempts whose lease ran out ready again."""
        ...

    def due(self, limit: int) -> Sequence[Wakeup]:
        """Make attempts ready whose wait is over, and give those whose message seems lost."""
        ...

    def running_owners(self, host: str) -> Sequence[str]:
        """Give the owners of running attempts whose name begins with *host*."""
        ...

    def bury(self, owners: Sequence[str]) -> int:
        """Let the leases of dead *owners* run out at once; returns how many there were."""
        ...

    def sweep(self) -> None:
        """Erase secrets that are due, end jobs that waited too long for stock."""
        ...


#: kind of job and what it was asked with → its steps, each with its deadline
RecipeOf = Callable[[JobKind, Mapping[str, Any], ServiceKind], Sequence[tuple[str, timedelta]]]


class Planner(Protocol):
    """The store as planning sees it."""

    def to_plan(self, limit: int) -> Sequence[int]:
        """Give queued jobs whose turn it is, oldest first."""
        ...

    def plan(self, job_id: int, recipe_of: RecipeOf) -> "Planned":
        """Take the next candidate for a job, or its own server; or say what it waits for; one commit."""
        ...

    def look_again(self) -> int:
        """Plan jobs anew whose wait is over though nobody said so; returns how many."""
        ...

    def to_observe(self) -> Sequence[int]:
        """Give connections whose list must be read now."""
        ...


@dataclass(frozen=True, slots=True)
class Planned:
    """What planning came to."""

    wakeup: Wakeup | None = None  #: an attempt was made: send it
    observe: int | None = None  #: this connection's list is too old: read it first, then plan again
    job_id: int = 0


class Holds(Protocol):
    """The store as holds on a package or a location see it."""

    def package(self, name: str, reason: str) -> None:
        """Hold a package, or with "" let it go. Raises `NotFound`."""
        ...

    def location(self, name: str, reason: str) -> int:
        """Hold all connections of a location, or with "" let them go; returns how many. Raises `NotFound`."""
        ...


class Quarantine(Protocol):
    """The store as the stop of the line sees it: servers out of sale, and their way back."""

    def retests(self, recipe: Sequence[tuple[str, timedelta]], limit: int) -> int:
        """Start the way back of servers whose place has healed; returns how many."""
        ...

    def release(
        self, connection: str, server: str, *, recipe: Sequence[tuple[str, timedelta]], by: str, anyway: bool
    ) -> int:
        """Start the way back of one server; returns the job. Raises `NotFound`, `IllegalMove`."""
        ...

    def quarantine(
        self, connection: str, server: str, *, recipe: Sequence[tuple[str, timedelta]], by: str, reason: str
    ) -> int:
        """Begin to take a free server out of sale; returns the job. Raises `NotFound`, `IllegalMove`."""
        ...


@dataclass(frozen=True, slots=True)
class Observation:
    """A leased turn to read a connection's list."""

    connection_id: int
    owner: str
    began_at: datetime  #: the database's clock, before the call
    probing: bool  #: the connection is paused: this call only tries whether it is back


class Observer(Protocol):
    """The store as `observe` sees it."""

    def turn(self, connection_id: int, owner: str) -> Observation | None:
        """Lease the connection's list; None while somebody else reads it."""
        ...

    def apply(self, observation: Observation, listing: Listing) -> Sequence[Wakeup]:
        """Write what differs, wake whom it concerns; returns the messages."""
        ...

    def failed(self, observation: Observation, reason: str, *, away: bool, denied: bool) -> None:
        """Give the turn back after a reading that can't be used."""
        ...


@dataclass(frozen=True, slots=True)
class Asking:
    """A question to a person, with all that whoever answers must see. No secret."""

    question: int
    kind: QuestionKind
    open: bool  #: an answer is waited for
    answered_at: datetime | None
    answered_by: str
    asked_at: datetime
    due_at: datetime
    says: str  #: why the last answer did not do
    department: str
    language: str
    job_id: int
    external_ref: str
    panel: str
    hostname: str
    customer_ref: str
    equipment: str
    connection_id: int
    connection: str
    server: ServerRef | None  #: None while nobody has named it
    login: str  #: of the customer's user in the DCIM
    customer: UserRef | None


class Questions(Protocol):
    """The store as whoever answers sees it."""

    def of_job(self, job_id: int) -> Asking:
        """Give the job's newest question. Raises `NotFound`."""
        ...

    def by_id(self, question_id: int) -> Asking:
        """Give a question. Raises `NotFound`."""
        ...

    def answer(self, question_id: int, *, server: ServerRef | None, by: str) -> Sequence[Wakeup]:
        """Record an answer once, wake its attempt; raises `IllegalMove`, or `Invalid` for a server that is bound."""
        ...

    def ask_again(self, question_id: int, *, says: str) -> None:
        """Ask once more with the reason, as an event that those in charge are told. Raises `IllegalMove`."""
        ...


class DeliveryKind(StrEnum):
    """What a message does to its ticket."""

    OPEN = "open"
    COMMENT = "comment"
    CLOSE = "close"


@dataclass(frozen=True, slots=True)
class Delivery:
    """A leased turn to hand one message to a desk."""

    id: int
    ticket: int
    kind: DeliveryKind
    desk: str
    message: Message
    ref: str  #: what the desk calls the ticket; "" before it was opened
    tries: int  #: this one included; the fence of its end
    owner: str
    question: int | None = None  #: that a person is asked in it: its text has the mark of the link
    reopens: bool = False  #: the ticket may be closed at its desk, and is open again


class Tickets(Protocol):
    """The store as messages to people see it."""

    def look(self) -> tuple[bool, bool]:
        """Say whether events are to be told, and whether a message is due that nobody is at work on."""
        ...

    def ask(self) -> bool:
        """Say whether a wake-up is to be sent again: the last one seems lost."""
        ...

    def project(self, limit: int) -> int:
        """Make tickets and messages of at most *limit* events, one commit; returns how many events."""
        ...

    def settle(self) -> int:
        """
        Close the tickets whose trouble is over, remind of those that stay open, open what no event tells of.

        Returns how many it said.
        """
        ...

    def take(self, owner: str) -> Delivery | None:
        """Lease the turn and the message that is longest due; None while somebody else sends, or none is due."""
        ...

    def sent(self, delivery: Delivery, ref: str, *, readable: bool = False) -> bool:
        """
        Record that the desk took it, give the turn back; says whether another is due.

        *readable*: the desk shows whether a ticket is open, so that one which asks for a removal is looked at.
        """
        ...

    def put_off(self, delivery: Delivery, why: str) -> None:
        """Record why the desk did not take it, give the turn back; it is tried again with growing distance."""
        ...

    def save_department(self, given: Department) -> None:
        """Make or change a department; what waits for it is tried again at once."""
        ...


@dataclass(frozen=True, slots=True)
class Watched:
    """A leased turn to look at its desk whether a person closed a ticket."""

    ticket: int
    question: int  #: that is answered by closing it
    desk: str
    ref: str  #: what the desk calls it
    department: str
    owner: str


class Closings(Protocol):
    """The store as whoever looks for closed tickets sees it; one turn with `Tickets`: one desk is called at a time."""

    def take(self, owner: str) -> Watched | None:
        """Lease the turn and the ticket that was not looked at for longest; None when none is due."""
        ...

    def looked(self, watched: Watched) -> bool:
        """Record that the desk answered, give the turn back; says whether more is due at a desk."""
        ...

    def put_off(self, watched: Watched, *, desk: bool) -> None:
        """Give the turn back; looked at with growing distance: this ticket, with *desk* all that its desk has."""
        ...


# --- callbacks to billing -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Callback:
    """A service that its billing panel is to be told of; the state itself is read when it is sent."""

    key: str  #: the same for every try, and another one when something newer happened
    panel: str
    service_id: int
    external_ref: str
    sequence: int  #: of the event that it tells of, or a later one
    replay: int  #: ms since 1970 of the replay that it is of; 0: of none
    url: str = field(repr=False)
    secret: bytes = field(repr=False)  #: sealed
    tries: int  #: this one included
    owner: str
    last_try: bool  #: the service is given up when this fails, too
    given_up: bool  #: all of the panel's are


class Callbacks(Protocol):
    """The store as callbacks see it."""

    def ask(self, panel: str | None = None) -> Sequence[str]:
        """Give the panels, or of them *panel*, that a callback is due for and nobody was asked to send to."""
        ...

    def take(self, panel: str, owner: str) -> Callback | None:
        """Lease the panel's turn and what is longest due; None while somebody else sends, it rests, or none is due."""
        ...

    def sent(self, callback: Callback) -> None:
        """Record that billing took it, give the turn back; what is newer stays due."""
        ...

    def put_off(self, callback: Callback, why: str) -> None:
        """Record why billing did not take it, give the turn back; tried again with growing distance, then given up."""
        ...

    def check_panel(self, panel: str) -> None:
        """Return for a panel that a token or a service names. Raises `Invalid`."""
        ...

    def has_secret(self, panel: str) -> bool:
        """Say whether the panel has a callback, and with it a secret."""
        ...

    def put(self, panel: str, url: str, sealed: tuple[bytes, str] | None) -> None:
        """Make or change a panel's callback; None keeps its secret. Raises `NotFound` when there is none to keep."""
        ...

    def delete(self, panel: str) -> None:
        """Forget a panel's callback, its secret, and what waits for it. Raises `NotFound`."""
        ...

    def replay(self, panel: str, *, ref: str | None, since: timedelta | None, failed: bool) -> int:
        """Tell a panel anew of some of its services, or all; returns of how many. Raises `NotFound`."""
        ...


# --- the store as catalogue and views see it ----------------------------------------------------------------------

Facts = Mapping[str, Any]  #: what a view is made of: one row, its JSON parts decoded, no secret in it


class Kinds(Protocol):
    """Ways to reach a DCIM that is not saved yet."""

    def kinds(self) -> Sequence[str]:
        """Give the kinds of DCIM that can be reached."""
        ...

    def probe(self, kind: str, endpoint: Endpoint) -> Driver:
        """Give a driver that is not kept. Raises `Invalid` for an unknown kind."""
        ...


@dataclass(frozen=True, slots=True)
class SealedSecrets:
    """A service's one-time passwords, sealed; None where there is none, or it was erased."""

    handed_over: bool
    login: str
    root: bytes | None
    panel: bytes | None  #: only where we made it
    expires_at: datetime | None


class Catalogue(Protocol):
    """The store as set-up sees it: connections, packages, tokens, secrets; each call one commit."""

    @property
    def call_seconds(self) -> float:
        """Total limit of one call to a DCIM."""
        ...

    def connection(self, name: str) -> ConnectionSettings:
        """Give a connection as it was saved. Raises `NotFound`."""
        ...

    def connection_id(self, name: str) -> int:
        """Give a connection's id. Raises `NotFound`."""
        ...

    def connection_state(self, name: str) -> ConnectionState:
        """Say whether a connection is used. Raises `NotFound`."""
        ...

    def load_endpoint(self, connection_id: int) -> tuple[str, int, Endpoint]:
        """Give kind, revision and endpoint, the password opened. Raises `NotFound`."""
        ...

    def save_connection(self, given: ConnectionSettings, password: str | None, admin: UserRef) -> int:
        """Make or change a connection, revision raised; None keeps the password. Returns its id."""
        ...

    def has_department(self, name: str) -> bool:
        """Say whether there is a department of that name."""
        ...

    def pause(self, name: str, *, by: str, reason: str) -> None:
        """Stop all calls by hand. Raises `NotFound`, `IllegalMove`."""
        ...

    def resume(self, name: str, *, by: str, reason: str) -> None:
        """Go on after a pause, its time added to the deadlines. Raises `NotFound`, `IllegalMove`."""
        ...

    def package(self, name: str) -> Package:
        """Give a package that is sold. Raises `NotFound` for one that is unknown or disabled."""
        ...

    def save_package(self, given: Package, *, enabled: bool) -> None:
        """Make or change a package; services keep the snapshot of their order. Raises `NotFound`."""
        ...

    def outlook(self, package: Package) -> Outlook:
        """Say which server an order would take now, or why it would wait; takes nothing."""
        ...

    def add_token(self, name: str, role: Role, panel: str, digest: str, expires_at: datetime | None) -> None:
        """Keep a token's hash. Raises `IllegalMove` for a name that is taken."""
        ...

    def caller(self, digest: str) -> Caller | None:
        """Give whose token hashes to *digest*; None for an unknown, revoked or expired one."""
        ...

    def tokens(self) -> Sequence[Token]:
        """List the tokens, by name."""
        ...

    def revoke_token(self, name: str) -> None:
        """End a token; safe to repeat. Raises `NotFound`."""
        ...

    def read_secrets(self, panel: str, external_ref: str, *, by: str) -> SealedSecrets:
        """Give the sealed secrets; a reading that finds one is an event. Raises `NotFound`."""
        ...

    def erase_secrets(self, panel: str, external_ref: str, *, by: str) -> bool:
        """Erase them after hand-over; says whether there were any. Raises `NotFound`, `IllegalMove`."""
        ...


class Reads(Protocol):
    """The store as views see it: read only, one statement a question."""

    def job(self, job_id: int, *, panel: str | None) -> Facts | None:
        """Give a job with attempts and steps; None when there is none, or none of *panel*'s."""
        ...

    def jobs(
        self,
        *,
        panel: str | None,
        state: str | None,
        waits_for: str | None,
        service: str | None,
        before: int,
        limit: int,
    ) -> Sequence[Facts]:
        """List jobs with an id below *before*, newest first."""
        ...

    def failures(self, *, step: str | None, location: str | None, seconds: float) -> Sequence[Facts]:
        """Give jobs that failed, or are held, within so many seconds, oldest first."""
        ...

    def services(self, external_ref: str, *, panel: str | None) -> Sequence[Facts]:
        """Give the services of that reference, one a panel, with addresses and jobs."""
        ...

    def packages(self) -> Sequence[Facts]:
        """List the packages with their connections."""
        ...

    def stock(self, package: str | None) -> Sequence[Facts]:
        """Give packages with the servers of their type and what binds each."""
        ...

    def events(self, *, job_id: int | None, service_id: int | None, after: int, limit: int) -> Sequence[Facts]:
        """Give the timeline of a job or a service after a sequence number, oldest first."""
        ...

    def servers(self, *, connection: str | None, server: str | None, quarantined: bool, limit: int) -> Sequence[Facts]:
        """Give the servers that fit, each with what binds it and its strikes."""
        ...

    def connections(self) -> Sequence[Facts]:
        """List the connections; never a password."""
        ...

    def findings(self, connection: str | None) -> Sequence[Facts]:
        """Give what the last audits found and that is still there."""
        ...

    def callbacks(self) -> Sequence[Facts]:
        """List the callbacks with what waits; never a secret."""
        ...

    def departments(self) -> Sequence[Facts]:
        """List the departments with the connections that they are in charge of."""
        ...

    def tickets(self, *, ticket: int | None, closed: bool, limit: int) -> Sequence[Facts]:
        """List tickets, newest first, each with its messages; one of them, or the open ones, or all."""
        ...

    def workers(self) -> Sequence[Facts]:
        """Give the workers that gave a sign of life: name, version, queues, age in seconds."""
        ...

    def fleet(self) -> Sequence[Facts]:
        """Give each connection as the doctor sees it: state, reason, age of the list, who is in charge."""
        ...

    def waiting(self) -> Sequence[Facts]:
        """Give what waits, by reason: how many, and the oldest job with its age."""
        ...

    def messages(self) -> Facts:
        """Give how many seconds the oldest event waits to be told, and how many messages no desk took, with one."""
        ...

    def jobs_by_state(self) -> Sequence[Facts]:
        """Count the jobs that have not ended, by state."""
        ...

    def quarantined(self) -> Sequence[Facts]:
        """Count the servers in quarantine, by connection."""
        ...

    def health(self) -> Facts:
        """Give what readiness rests on. Raises `Overloaded` when the database can't be asked."""
        ...


class Keys(Protocol):
    """The store as the rotation of keys sees it."""

    def by_key(self) -> Mapping[str, int]:
        """Count the stored secrets by the id of the key that sealed each."""
        ...

    def reseal(self, key: str, again: Callable[[bytes], tuple[bytes, str]], after: int) -> tuple[int, int | None]:
        """Seal the next few that *key* did not seal anew, in one commit; gives how many, and where to go on."""
        ...


Cursor = tuple[Any, ...]  #: where the next of many small commits goes on


@dataclass(frozen=True, slots=True)
class Pruned:
    """One small commit of pruning."""

    counts: Mapping[str, int]  #: rows erased, or that would be, by what they are
    after: Cursor | None  #: where the next one goes on; None: there is nothing more


class Pruner(Protocol):
    """The store as pruning sees it: each call looks at a few rows, oldest first, and commits."""

    def older_than(self, keep: timedelta) -> datetime:
        """Give the instant so long ago, by the database's clock."""
        ...

    def jobs(self, before: datetime, after: Cursor | None, *, dry: bool) -> Pruned:
        """Erase jobs that ended before, with all that is under them; none that stands on a claim that lives."""
        ...

    def claims(self, before: datetime, after: Cursor | None, *, dry: bool) -> Pruned:
        """Erase claims that ended before, of services that are closed or failed, and that nothing points at."""
        ...

    def timelines(self, before: datetime, after: Cursor | None, *, dry: bool) -> Pruned:
        """Erase the older events of closed and failed services."""
        ...

    def places(self, before: datetime, after: Cursor | None, *, dry: bool) -> Pruned:
        """Erase the older events of connections."""
        ...


class Heartbeats(Protocol):
    """Signs of life of our own processes."""

    def note(self, worker: str, *, version: str, queues: Sequence[str]) -> None:
        """Say that *worker* lives, and what it serves; what was silent for a day is forgotten."""
        ...

    def forget(self, worker: str) -> None:
        """Take a worker that ends by itself off the list."""
        ...

    def try_writing(self) -> None:
        """Write a row of the doctor's own, and commit. Raises `Overloaded` when the database takes nothing."""
        ...


class Broker(Protocol):
    """The broker as the doctor sees it."""

    def trouble(self) -> str:
        """Connect within a few seconds; "" when it answers, else why not, without a password."""
        ...


class Installation(Protocol):
    """Which database this is; while it is halted nobody acts."""

    def compare(self) -> str:
        """Compare the present identity with the stored one; returns why we are halted, "" when we are not."""
        ...

    def halt(self, why: str) -> None:
        """Let nobody act until a person has looked; safe to repeat."""
        ...

    def name(self) -> str:
        """Give the short name that our lines in notes bear."""
        ...

    def serials(self, found: Sequence[int]) -> Serials:
        """Give what our books know of serials that were read in notes."""
        ...

    def accept(self, highest: int) -> None:
        """Take the present database for ours, give no serial up to *highest* again, and go on."""
        ...


@dataclass(frozen=True, slots=True)
class Place:
    """A connection as the auditor finds it."""

    id: int
    name: str
    state: ConnectionState
    paused_by: str  #: away, denied, hand; "" for one that is not paused


@dataclass(frozen=True, slots=True)
class Round:
    """A leased turn to go on with a connection's nightly audit."""

    connection_id: int
    owner: str
    began_at: datetime  #: the database's clock, before anything was read
    listing: Listing | None  #: None: not read yet
    users: Sequence[User] | None  #: None: not read yet
    read: frozenset[ServerRef]  #: what earlier turns have read, or could not


class Adoptions(Protocol):
    """The store as the import of a fleet sees it."""

    def halted(self) -> str:
        """Say why nobody may act, "" when all may."""
        ...

    def ledger(self, panel: str, connections: Sequence[str], refs: Sequence[str]) -> Ledger:
        """Give our books of *connections*, and of *panel*'s services of those references."""
        ...

    def adopt(self, one: Adoption, *, panel: str, by: str) -> bool:
        """Write one down in one commit; False when somebody else was faster, or we are halted."""
        ...


class Audits(Protocol):
    """The store as the auditor sees it."""

    def places(self) -> Sequence[Place]:
        """Give all connections, by name."""
        ...

    def now(self) -> datetime:
        """Give the database's clock."""
        ...

    def books(self, connection_id: int, *, since: datetime, serials: Sequence[int]) -> Books:
        """Give our books of a connection, and which of its servers were worked on *since*."""
        ...

    def keep(self, connection_id: int, findings: Sequence[Finding], *, unread: Sequence[str]) -> Sequence[Finding]:
        """Keep what was found, end what is gone, tell of what is new in one event; returns the new."""
        ...

    def turn(self, connection_id: int, owner: str, *, start: bool) -> Round | None:
        """Lease the next turn of an audit; begin one if *start*; None where there is none, or it is somebody's."""
        ...

    def listed(self, turn: Round) -> None:
        """Keep the lists of a turn. Raises `Fenced`."""
        ...

    def surveyed(self, turn: Round, read: Sequence[ServerReading], unread: Sequence[ServerRef]) -> None:
        """Keep what a turn has read, and give the turn back. Raises `Fenced`."""
        ...

    def readings(self, turn: Round) -> tuple[Mapping[ServerRef, ServerReading], Sequence[ServerRef]]:
        """Give all that was read, and the servers that could not be."""
        ...

    def over(self, turn: Round) -> None:
        """Forget an audit's notes."""
        ...

    def unfinished(self) -> Sequence[int]:
        """Give the connections whose audit was begun and nobody goes on with."""
        ...
