"""The Step protocol and StepContext, all that a step may know; steps import ports, domain and errors only."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from provisioner.domain.attempt import Policy, StepRow
from provisioner.domain.outcome import Acted, Failed, Look, Memo, More, NotBegun, Record, Wait
from provisioner.domain.question import Question
from provisioner.domain.server import ServerReading, ServerRef, ServerView, UserRef
from provisioner.domain.service import AccountBook, Claim, Order, Package
from provisioner.domain.states import ON_SERVICE, JobKind
from provisioner.errors import FailureClass, Unusable
from provisioner.ports import Clock, Driver, Prober


@dataclass(slots=True)
class StepContext:
    """
    What one touch shows to a step. `reading_at` is the start of the oldest reading that was looked at.

    A context serves one `check`; the shell makes a fresh one for each look.
    """

    attempt_id: int
    kind: JobKind
    row: StepRow
    policy: Policy
    order: Order
    package: Package
    admin: UserRef  #: our administrator, owner of every server that is reserved
    customer: UserRef | None  #: the customer's user, once it is known
    claim: Claim
    view: ServerView | None  #: the server in the last whole list
    reason: str  #: why the attempt goes back; for the notes of a quarantined server
    earlier: Mapping[str, StepRow]  #: the other rows of the attempt, by name
    driver: Driver
    prober: Prober
    clock: Clock
    accounts: Callable[[], AccountBook]
    secret: Callable[[str], str]  #: `root_password`, `panel_password`
    question: Callable[[], Question | None] = lambda: None  #: what a person was asked at this step
    params: Mapping[str, Any] = field(default_factory=dict)  #: what the job was asked with; JSON, no secrets
    reading_at: datetime | None = None
    _reading: ServerReading | None = field(default=None, repr=False)

    @property
    def server(self) -> ServerRef:
        """The server's id in its DCIM."""
        return self.claim.server

    def read(self, *, links: bool = False) -> ServerReading:
        """
        Read the server afresh, once a look; raises what `Driver.read` raises. Few steps ask for its *links*.

        Which address is the main one may be as old as the last list: it names a row, and proves no act.
        """
        if self._reading is None:
            self._rests_on(self.clock.now())
            self._reading = self.driver.read(self.server, self.ip, links=links)
        return self._reading

    @property
    def reading(self) -> ServerReading | None:
        """What this look has read of the server; None when it has not."""
        return self._reading

    def listed(self) -> ServerView:
        """
        Give the server as the last whole list shows it.

        Raises:
            Unusable: no whole list was read yet.
        """
        if self.view is None:
            raise Unusable("no list reading yet", system=self.driver.name, server=self.server)
        self._rests_on(self.view.observed_from)
        return self.view

    def probed(self) -> None:
        """Say that the look rests on a probe made now."""
        self._rests_on(self.clock.now())

    def _rests_on(self, instant: datetime) -> None:
        self.reading_at = min(self.reading_at, instant) if self.reading_at else instant

    @property
    def ip(self) -> str:
        """The server's main address, "" where none is known."""
        return self.view.listed.ip if self.view else ""


class Step(Protocol):
    """
    One deed. `check` looks and changes nothing; `do` makes one mutating call and does not wait.

    Both are safe to repeat; `check` always runs before and after `do`.
    """

    name: str  #: as in the step row
    policy: Policy  #: patience; spans can be overridden by settings

    def check(self, ctx: StepContext) -> Look:
        """Say whether the wanted state is there."""
        ...

    def do(self, ctx: StepContext) -> Acted:
        """Ask for it, once, after the memo of this look was committed (`ctx.row.before`)."""
        ...


def owned_by_us(ctx: StepContext, reading: ServerReading) -> bool:
    """Say whether *reading* shows our administrator as owner and our token in the notes."""
    return reading.owner == ctx.admin and ctx.claim.note_token in reading.notes.splitlines()


def not_ours(ctx: StepContext, reading: ServerReading) -> Failed | None:
    """
    Give the failure that ends every touch of a server that is not ours any more; None while it is.

    A job on a service expects the customer as owner; a close that came after hand-over had begun also us.
    """
    seen = "nobody" if reading.owner is None else f"user {reading.owner}"
    if ctx.kind in ON_SERVICE:
        reserved = ctx.kind is JobKind.CLOSE and owned_by_us(ctx, reading)
        if reserved or (reading.owner is not None and reading.owner == ctx.customer):
            return None
        return Failed(FailureClass.DRIFT, f"the server is not the customer's any more: its owner is {seen}")
    if owned_by_us(ctx, reading):
        return None
    return Failed(FailureClass.LOST, f"the server is no longer ours: its owner is {seen}, or our note is gone")


def next_act(
    ctx: StepContext, memo: Memo, evidence: str, *, proven: bool, records: tuple[Record, ...] = ()
) -> More | NotBegun:
    """
    Give the next act of a step of several acts: `More` where the last one is *proven*, else `NotBegun`.

    A row whose only act was refused keeps that act's memo, yet never acted: what it sees is somebody else's deed.
    """
    if proven and ctx.row.acted_at is not None:
        return More(memo, evidence, records)
    return NotBegun(memo)


def unsettled(ctx: StepContext) -> Wait | None:
    """Of an undo: a wait while a late effect of the undone step may still appear; None afterwards."""
    text = ctx.row.undone.get("settled_at")
    if not text:
        return None
    settled_at = datetime.fromisoformat(text)
    if ctx.reading_at is not None and ctx.reading_at >= settled_at:
        return None
    return Wait("a late effect of the step that is undone may still appear", until=settled_at)


def with_line(notes: str, line: str) -> str:
    """Give *notes* with *line* as their last line, once."""
    kept = [old for old in notes.splitlines() if old != line]
    return "\n".join([*kept, line])


def without_line(notes: str, line: str) -> str:
    """Give *notes* without *line*."""
    return "\n".join(old for old in notes.splitlines() if old != line)
