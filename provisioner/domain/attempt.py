"""One try on one server: its row, its step rows, the policy of a step, and what a person may command."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, NewType

from provisioner.domain.states import AttemptState, Direction, JobKind, StepState
from provisioner.errors import FailureClass

JobId = NewType("JobId", int)
AttemptId = NewType("AttemptId", int)


class Repeat(StrEnum):
    """When an act whose effect is not seen may be sent again."""

    NEVER = "never"
    AFTER_SETTLE = "after_settle"  #: once a reading younger than begun_at + settle shows no effect


class Awaits(StrEnum):
    """How often the list must be read for a parked attempt."""

    SHORT = "short"
    LONG = "long"


@dataclass(frozen=True, slots=True)
class Policy:
    """How patient we are with a step; spans come from settings, the rest from the step itself."""

    tries: int = 3  #: acts begun at most
    backoff: timedelta = timedelta(seconds=5)  #: first distance between looks or tries; doubles
    backoff_max: timedelta = timedelta(minutes=1)
    deadline: timedelta = timedelta(minutes=10)  #: from the arrival at the step
    settle: timedelta = timedelta(seconds=90)  #: outlasts the slowest visible effect of the act (60 s, with room)
    repeat: Repeat = Repeat.AFTER_SETTLE
    awaits: Awaits = Awaits.SHORT
    undo: str | None = None  #: name of the step that undoes it
    skippable: bool = True
    proven_by_read: bool = True  #: a fresh read can prove it, so it is checked again in the same touch
    refusal_costs: bool = False  #: "busy" uses up a try (the claim: somebody else is at it)
    exhausted: FailureClass = FailureClass.SERVER  #: class when the tries are used up
    visible: timedelta = timedelta(
        seconds=45
    )  #: the flag of its effect is up at least this long: no reading gap longer
    wipes: bool = False  #: crossing it again needs the operator's `wipe`


@dataclass(frozen=True, slots=True)
class StepRow:
    """One operation of an attempt, as stored."""

    pos: int
    name: str
    direction: Direction = Direction.FORWARD
    undoes: int | None = None  #: position of the step that this one undoes
    state: StepState = StepState.PENDING
    tries: int = 0  #: acts begun
    refusals: int = 0  #: times the world said "not now" since it arrived
    acted_at: datetime | None = None  #: first act, never cleared: decides whether an undo runs
    begun_at: datetime | None = None  #: latest act: settle counts from it
    arrived_at: datetime | None = None  #: when the attempt came to it
    deadline_at: datetime | None = None  #: set on arrival, so a step that never began has one
    ended_at: datetime | None = None
    memo: Mapping[str, Any] = field(default_factory=dict)  #: {"before": …, "first": …, "seen": …, "archive": […]}
    token: Mapping[str, Any] = field(default_factory=dict)
    reason_class: FailureClass | None = None
    outcome: str = ""  #: for people: what was last seen or why it ended

    @property
    def before(self) -> Mapping[str, Any]:
        """What was seen before the latest act."""
        found: Mapping[str, Any] = self.memo.get("before", {})
        return found

    @property
    def first(self) -> Mapping[str, Any]:
        """What was seen before the first act ever."""
        found: Mapping[str, Any] = self.memo.get("first", {})
        return found

    @property
    def seen(self) -> Mapping[str, Any]:
        """What looks since the latest act must remember."""
        found: Mapping[str, Any] = self.memo.get("seen", {})
        return found

    @property
    def undone(self) -> Mapping[str, Any]:
        """Of an undo: what the undone step remembered, `{"before", "first", "token", "settled_at"}`."""
        found: Mapping[str, Any] = self.memo.get("undone", {})
        return found

    def settles_at(self, policy: Policy) -> datetime | None:
        """When the effect of the latest act must be visible; None when nothing was begun."""
        return self.begun_at + policy.settle if self.begun_at else None


class Verb(StrEnum):
    """What a person or billing may command."""

    RETRY = "retry"  #: the failed step again
    RETRY_FROM = "retry_from"  #: again from an earlier step
    SKIP = "skip"  #: pass the step at which it is held
    SWAP = "swap"  #: give up this server, take the next candidate
    CANCEL = "cancel"  #: undo and end
    HOLD = "hold"  #: stand still until `retry` or `cancel`
    INTERRUPT = "interrupt"  #: stand still until a suspension for abuse is over; given by the engine alone


@dataclass(frozen=True, slots=True)
class Command:
    """One order to an attempt."""

    verb: Verb
    by: str  #: who, for the timeline
    reason: str = ""
    step: str = ""  #: for retry_from and skip
    wipe: bool = False  #: the operator accepts that disks are wiped again
    release: bool = False  #: swap: give the server back instead of quarantining it

    def told(self, done: str = "") -> str:
        """Give what the timeline says: *done*, else the verb; by whom, and why if they said so."""
        return f"{done or self.verb} by {self.by}" + (f": {self.reason}" if self.reason else "")


class Result(StrEnum):
    """How an attempt ended."""

    SUCCEEDED = "succeeded"
    UNDONE = "undone"  #: on a customer's server: what the job did there was undone
    RELEASED = "released"  #: undone, the server is free again
    QUARANTINED = "quarantined"  #: undone as far as possible, the server is out of sale
    INCOMPLETE = "incomplete"  #: the undo did not end; the claim is quarantined, a job goes on unless it was cancelled
    LOST = "lost"  #: the server is somebody else's; nothing was touched
    PASSED_OVER = "passed_over"  #: never ours; the candidate is tried again later


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try on one server; `pos` is the position of the step at which it stands."""

    kind: JobKind = JobKind.OPEN
    direction: Direction = Direction.FORWARD
    state: AttemptState = AttemptState.RUNNING
    pos: int = 0
    hold_on_failure: bool = False  #: package.on_failure = hold
    reason_class: FailureClass | None = None
    reason: str = ""  #: for people: why it goes back, is held, or ended
    given_up: Verb | None = None  #: goes back because of a cancel or a swap
    command: Command | None = None
    deliveries: int = 0  #: claims since the last save that recorded an outcome
    put_off: int = 0  #: times that a release was put off
    interrupted: bool = False  #: stands still for a suspension; not a person's matter
    burnt_through: bool = False  #: the present step fails on server after server: the place is to blame
