"""
A play: one attempt of an open on the fake data centre, with `decide` and the steps, and no store, broker or thread.

What run_step, observe and reconcile do is done here in a few lines, in one process and by a clock that moves by hand.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from provisioner.domain.attempt import Attempt, Awaits, Command, Result, StepRow
from provisioner.domain.engine import (
    Blind,
    Commanded,
    Decision,
    Fact,
    Looked,
    NoAnswer,
    NotTaken,
    Rejected,
    Then,
    Took,
    decide,
)
from provisioner.domain.outcome import AccountLive, AccountReserved, HandedOver, Record
from provisioner.domain.server import ListedServer, Power, ServerView, UserRef
from provisioner.domain.service import Account, AccountBook, Claim, ClaimId, Order, Package
from provisioner.domain.states import AccountState, AttemptState, StepState
from provisioner.drivers.fake import Call, FakeDatacentre, FakeDriver, FakeProber, FakeServer, Pace
from provisioner.errors import Fatal, NotDone, Retryable, Unsure
from provisioner.steps.base import StepContext
from provisioner.steps.recipes import OPEN, STEPS, policies
from tests.builders import PASSWORD, TOKEN, HandClock, an_account, an_order

POLICIES = policies()
LEASE = timedelta(seconds=30)
EVERY = {Awaits.SHORT: timedelta(seconds=5), Awaits.LONG: timedelta(seconds=30)}
MOMENT = timedelta(milliseconds=20)  #: what a call takes
PACE = Pace(
    power_after=timedelta(seconds=10),
    enable_after=timedelta(seconds=3),
    links_last=timedelta(seconds=8),
    install_after=timedelta(seconds=15),
    install_lasts=timedelta(minutes=10),
)


class Killed(BaseException):
    """The process that made a call is no more."""


@dataclass
class Play:
    """One attempt, its world, and our books."""

    package: Package = field(default_factory=lambda: Package(name="small", server_type="HP-E3-16G", ipv4=2, ipv6=1))
    order: Order = field(default_factory=an_order)
    disabled: bool = True
    address: str | None = ""  #: None: the server has no row at first

    def __post_init__(self) -> None:
        self.clock = HandClock()
        self.world = FakeDatacentre(self.clock.now, pace=PACE)
        self.server: FakeServer = self.world.add_server("127", address=self.address)
        self.server.notes, self.server.disabled = "rack 4", self.disabled
        self.own_rows = [row.ref for row in self.server.addresses]
        self.driver, self.prober = FakeDriver(self.world), FakeProber(self.world)
        self.attempt = Attempt()
        self.rows = [StepRow(pos=pos, name=step.name) for pos, step in enumerate(OPEN)]
        self.rows[0] = self._arriving(self.rows[0])
        self.account: Account | None = None
        self.handed: HandedOver | None = None
        self.view: ServerView | None = None
        self.result: Result | None = None
        self.touches = 0
        self.observe()  # planning has looked

    # The world, as tests ask about it.

    @property
    def acts(self) -> list[str]:
        """All mutating calls, in order."""
        return [call.method for call in self.world.calls(mutating=True)]

    @property
    def customer(self) -> UserRef | None:
        return self.account.user if self.account else None

    def row(self, name: str) -> StepRow:
        return next(row for row in self.rows if row.name == name)

    # What happens.

    def run(self, *, most: int = 400, after_touch: Callable[["Play"], None] | None = None) -> "Play":
        """Go on until the attempt has ended or is held; *after_touch* may give a command."""
        while self.attempt.state not in {AttemptState.ENDED, AttemptState.HELD}:
            assert self.touches < most, f"still at {self.attempt.pos}: {self._present}"
            self._wait(self.touch())
            if after_touch:
                after_touch(self)
        return self

    def touch(self) -> Decision:
        """Claim, look or act, decide, save."""
        self.touches += 1
        try:
            if self._present.state is StepState.BEGUN:
                return self._learn(NoAnswer("lease lost", self._now()))
            return self._look()
        except Killed:
            self.clock.advance(LEASE)
            return self.touch()

    def command(self, command: Command) -> Decision:
        """Give a verb to an attempt that is not running."""
        self.attempt = replace(self.attempt, command=command)
        return self._learn(Commanded(command, self._now()))

    def observe(self) -> bool:
        """Read the list; say whether our server's row differs."""
        began = self._now()
        try:
            listing = self.driver.list_servers()
        except (Retryable, Killed):
            return False
        listed = next(server for server in listing.servers if server.ref == self.server.ref)
        old = self.view
        differs = old is None or old.listed != listed
        self.view = ServerView(
            listed,
            changed_from=began if differs or old is None else old.changed_from,
            observed_from=began,
            edges={**(old.edges if old else {}), **_edges(old.listed if old else None, listed, began)},
            seen_since=(*(old.seen_since if old else ()), began),
        )
        return differs

    # Behind the scenes.

    @property
    def _present(self) -> StepRow:
        return self.rows[self.attempt.pos]

    def _now(self) -> datetime:
        return self.clock.advance(MOMENT)

    def _arriving(self, row: StepRow) -> StepRow:
        now = self.clock.now()
        return replace(row, arrived_at=now, deadline_at=now + POLICIES[row.name].deadline)

    def _context(self) -> StepContext:
        row = self._present
        return StepContext(
            kind=self.attempt.kind,
            attempt_id=1,
            row=row,
            policy=POLICIES[row.name],
            order=self.order,
            package=self.package,
            admin=self.world.administrator.ref,
            customer=self.customer,
            claim=Claim(ClaimId(1), self.server.ref, 1, TOKEN),
            view=self.view,
            reason=self.attempt.reason,
            earlier={other.name: other for other in self.rows if other.pos != row.pos},
            driver=self.driver,
            prober=self.prober,
            clock=self.clock,
            accounts=self._book,
            secret=lambda _name: PASSWORD,
        )

    def _book(self) -> AccountBook:
        mine = self.account
        logins = frozenset({mine.login} if mine else ())
        return AccountBook(mine, logins, frozenset({mine.user} if mine and mine.user else ()))

    def _look(self) -> Decision:
        context = self._context()
        self._now()
        try:
            outcome = STEPS[self._present.name].check(context)
        except Retryable as trouble:
            return self._learn(Blind(str(trouble), self._now()))
        return self._learn(Looked(outcome, self._now(), context.reading_at))

    def _act(self) -> Decision:
        try:
            acted = STEPS[self._present.name].do(self._context())
        except Unsure as trouble:
            return self._learn(NoAnswer(str(trouble), self._now()))
        except NotDone as trouble:
            return self._learn(NotTaken(str(trouble), self._now()))
        except Fatal as trouble:
            return self._learn(Rejected(trouble.failure_class, str(trouble), self._now()))
        return self._learn(Took(acted, self._now()))

    def _learn(self, fact: Fact) -> Decision:
        decision = decide(self.attempt, self.rows, fact, POLICIES)
        self._save(decision)
        if decision.then is Then.ACT:
            return self._act()
        return self._look() if decision.then is Then.LOOK else decision

    def _save(self, decision: Decision) -> None:
        self.attempt = decision.attempt
        rows = {row.pos: row for row in (*self.rows, *decision.rows)}
        self.rows = [rows[pos] for pos in sorted(rows)]
        self.result = decision.result or self.result
        for record in decision.records:
            self._record(record)

    def _record(self, record: Record) -> None:
        match record:
            case AccountReserved(login, ids_before):
                self.account = an_account(
                    login=login,
                    state=AccountState.CREATING,
                    user=None,
                    created_by_us=False,
                    ids_before=frozenset(ids_before),
                    creator=1,
                    creator_alive=True,
                )
            case AccountLive(login, user, created_by_us):
                self.account = an_account(login=login, user=user, created_by_us=created_by_us)
            case HandedOver():
                self.handed = record
            case _:
                pass

    def _wait(self, decision: Decision) -> None:
        if decision.then is not Then.PARK:
            return
        assert decision.resume_at is not None
        assert decision.resume_at > self.clock.now()
        if decision.awaits is None:
            self.clock.instant = decision.resume_at
            return
        while True:  # woken by a change, or by the first whole list that begins when it is due
            began = self.clock.advance(EVERY[decision.awaits])
            if self.observe() or (self.view and self.view.observed_from >= began >= decision.resume_at):
                return


def _edges(old: ListedServer | None, new: ListedServer, began: datetime) -> dict[str, datetime]:
    """Give the flags that rose and fell between two lists."""
    if old is None:
        return {}
    flags = {
        "install": (old.installing, new.installing),
        "failed": (old.operation_failed, new.operation_failed),
        "power": (old.power is Power.ON, new.power is Power.ON),
        "power_error": (old.power_error, new.power_error),
    }
    return {f"{flag}_{'rose' if now else 'fell'}": began for flag, (was, now) in flags.items() if was != now}


def kill(_call: Call) -> None:
    """Be the hook of a fault: the caller dies here."""
    raise Killed
