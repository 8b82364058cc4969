"""
Every move of an attempt: `decide(attempt, steps, fact, policies) -> Decision`; pure, standard library only.

Read it top down: facts, the decision, what one row does with a fact, what the attempt does with its row.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, assert_never

from provisioner.domain.attempt import (
    Attempt,
    Awaits,
    Command,
    Policy,
    Repeat,
    Result,
    StepRow,
    Verb,
)
from provisioner.domain.events import Event, EventKind
from provisioner.domain.outcome import (
    Acted,
    Done,
    Failed,
    Look,
    More,
    NotBegun,
    Record,
    Unknown,
    Wait,
)
from provisioner.domain.states import ON_CLAIM, ON_SERVICE, STEP_OPEN, AttemptState, Direction, JobKind, StepState
from provisioner.domain.verbs import CLAIM, hand_over_begun, refusal
from provisioner.errors import FailureClass

ACCOUNT = "account"
RELEASE = "release"
QUARANTINE = "quarantine"
INSPECT = "inspect"
BLAMED_ON_SERVER = frozenset({FailureClass.SERVER, FailureClass.UNKNOWN})  #: end in quarantine
NOT_OURS = frozenset({FailureClass.LOST, FailureClass.DRIFT})  #: touch nothing more
PUT_OFF_MAX = timedelta(hours=6)  #: longest distance between two tries of a release
PUT_OFF_LIMIT = 10  #: tries of a release before a person is asked
KEPT_OUT = {Result.QUARANTINED: EventKind.QUARANTINED, Result.INCOMPLETE: EventKind.RELEASE_INCOMPLETE}


class IllegalFact(AssertionError):
    """A fact that can't happen in this state: a bug of ours, never a fault of the world."""


# --- facts --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Looked:
    """`check` answered, resting on a reading whose call began at `reading_at` (None: on no reading of the world)."""

    outcome: Look
    now: datetime
    reading_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Took:
    """`do` returned: the act was taken."""

    acted: Acted
    now: datetime


@dataclass(frozen=True, slots=True)
class NotTaken:
    """Surely nothing was done: not sent, busy, locked, throttled, access refused."""

    reason: str
    now: datetime
    locked: bool = False  #: somebody else is at the object: the only refusal that may cost a try


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """No answer, time limit, lease lost, anything unforeseen after the memo was committed."""

    reason: str
    now: datetime


@dataclass(frozen=True, slots=True)
class Rejected:
    """The act was refused for good."""

    failure_class: FailureClass
    reason: str
    now: datetime


@dataclass(frozen=True, slots=True)
class Blind:
    """The look itself failed: nothing is concluded."""

    reason: str
    now: datetime


@dataclass(frozen=True, slots=True)
class Commanded:
    """A person or billing gave an order."""

    command: Command
    now: datetime


@dataclass(frozen=True, slots=True)
class Poisoned:
    """Claimed too often without a recorded outcome: whoever touches it dies."""

    now: datetime


Fact = Looked | Took | NotTaken | NoAnswer | Rejected | Blind | Commanded | Poisoned


# --- the decision -------------------------------------------------------------------------------------------------


class Then(StrEnum):
    """What the shell does after saving."""

    ACT = "act"  #: commit the memo, then `do`
    LOOK = "look"  #: `check` again in this touch
    PROCEED = "proceed"  #: send the message of the step at the new position
    PARK = "park"  #: wait until `resume_at`, or until the list shows a change
    HOLD = "hold"  #: wait for a person
    END = "end"  #: the attempt is over; `result` says how


@dataclass(frozen=True, slots=True)
class Decision:
    """The attempt and rows as they become, and what to do then."""

    attempt: Attempt
    rows: tuple[StepRow, ...]  #: changed and appended rows
    then: Then
    resume_at: datetime | None = None  #: of PARK
    awaits: Awaits | None = None  #: of PARK: a list reading answers, read this often
    result: Result | None = None  #: of END
    records: tuple[Record, ...] = ()  #: what our books gain in the same commit
    events: tuple[Event, ...] = ()


Policies = Mapping[str, Policy]  #: step name → policy, of every step and undo of the recipe


def decide(attempt: Attempt, steps: Sequence[StepRow], fact: Fact, policies: Policies) -> Decision:
    """
    Give what becomes of *attempt*, whose current step is the row at `attempt.pos`, when *fact* is learnt.

    Raises:
        IllegalFact: the fact can't happen in this state.
    """
    row = next(row for row in steps if row.pos == attempt.pos)
    around = _Around(attempt, tuple(steps), row, policies, fact.now)
    decision = _learnt(around, fact)
    return _stand_still(around, decision) if decision.attempt.given_up is Verb.INTERRUPT else decision


def _learnt(around: "_Around", fact: Fact) -> Decision:
    row = around.row
    match fact:
        case Looked(outcome, _, reading_at):
            return _looked(around, outcome, reading_at)
        case Took(acted, _):
            return _took(around, acted)
        case NotTaken(reason, _, locked):
            return _not_taken(around, reason, locked=locked)
        case NoAnswer(reason, _):
            return _no_answer(around, reason)
        case Rejected(failure_class, reason, _):
            _require(around, StepState.BEGUN)
            return _fail(around, failure_class, reason)
        case Blind(reason, _):
            _require(around, StepState.PENDING, StepState.ACTING, StepState.UNSURE)
            return _park(around, replace(row, outcome=reason))
        case Commanded(command, _):
            return _commanded(around, command)
        case Poisoned():
            _require(around, StepState.PENDING, StepState.ACTING, StepState.UNSURE)
            return _hold(around, row, "every worker that touched it died; look before you retry")
        case _:
            assert_never(fact)


def _stand_still(around: "_Around", decision: Decision) -> Decision:
    """Hold an attempt that a suspension interrupts; an unsure act is settled first, and nothing new is begun."""
    row = next((row for row in decision.rows if row.pos == decision.attempt.pos), around.row)
    unsettled = decision.then is Then.PARK and row.state is StepState.UNSURE
    if unsettled or decision.then in (Then.LOOK, Then.HOLD, Then.END):
        return decision
    attempt = replace(decision.attempt, state=AttemptState.HELD, given_up=None, interrupted=True)
    if decision.then is Then.ACT:
        return Decision(attempt, (around.row,), Then.HOLD)
    return replace(decision, attempt=attempt, then=Then.HOLD, resume_at=None, awaits=None)


@dataclass(frozen=True, slots=True)
class _Around:
    """What every rule below looks at."""

    attempt: Attempt
    steps: tuple[StepRow, ...]
    row: StepRow
    policies: Policies
    now: datetime

    @property
    def policy(self) -> Policy:
        return self.policies[self.row.name]

    def undo(self, row: StepRow) -> str | None:
        return self.policies[row.name].undo

    def others(self, test: Callable[[StepRow], bool]) -> tuple[StepRow, ...]:
        return tuple(row for row in self.steps if row.pos != self.row.pos and test(row))


def _require(around: _Around, *states: StepState) -> None:
    if around.row.state not in states:
        raise IllegalFact(f"not in state {around.row.state} of step {around.row.name}")


# --- one row and one fact -----------------------------------------------------------------------------------------


def _looked(around: _Around, outcome: Look, reading_at: datetime | None) -> Decision:
    _require(around, StepState.PENDING, StepState.ACTING, StepState.UNSURE)
    row, pending = around.row, around.row.state is StepState.PENDING
    late = _late(around, reading_at)
    match outcome:
        case Done(evidence, records):
            done = replace(row, state=StepState.DONE, ended_at=around.now, outcome=evidence, reason_class=None)
            return _advance(around, done, records=records)
        case Failed(failure_class, reason):
            return _fail(around, failure_class, reason)
        case More(memo, evidence, records):
            if row.acted_at is None:
                raise IllegalFact(f"step {row.name} says More, yet never acted")
            return _begin(around, replace(row, tries=0, outcome=evidence), memo, records)
        case NotBegun(memo, records) if pending:
            if late and row.refusals:
                return _fail(around, FailureClass.UNKNOWN, f"refused until the deadline: {row.outcome}")
            return _begin(around, row, memo, records)
        case NotBegun():
            return _no_effect(around, reading_at, late=late)
        case Wait(reason, well=False) | Unknown(reason) if late:
            return _fail(around, FailureClass.UNKNOWN, f"deadline passed: {reason}")
        case Wait(reason, until, seen, listed, soon):
            state = StepState.PENDING if pending else StepState.ACTING
            waiting = _remember(replace(row, state=state, outcome=reason), seen)
            return _park(around, waiting, until, listed=listed, soon=soon, reading_at=reading_at)
        case Unknown(reason, seen, listed, until):
            waiting = _remember(replace(row, outcome=reason), seen)
            return _park(around, waiting, until, listed=listed, reading_at=reading_at)
        case _:
            assert_never(outcome)


def _late(around: _Around, reading_at: datetime | None) -> bool:
    """Say whether the deadline may be judged: it and the settle time passed before the reading began."""
    deadline, settles = around.row.deadline_at, around.row.settles_at(around.policy)
    if deadline is None or reading_at is None or around.now < deadline:
        return False
    return reading_at >= (max(deadline, settles) if settles else deadline)


def _no_effect(around: _Around, reading_at: datetime | None, *, late: bool) -> Decision:
    """No trace of an act that was, or may have been, taken."""
    row, policy = around.row, around.policy
    settles = row.settles_at(policy)
    settled = reading_at is not None and settles is not None and reading_at >= settles
    if not settled or policy.repeat is Repeat.NEVER:
        if late:
            return _fail(around, FailureClass.UNKNOWN, "deadline passed and no effect was seen")
        waiting = replace(row, outcome="no effect seen yet")
        until = None if settled else settles
        return _park(around, waiting, until, listed=not policy.proven_by_read, reading_at=reading_at)
    if row.tries >= policy.tries:
        return _fail(around, policy.exhausted, f"no effect after {row.tries} tries")
    return _park(around, replace(row, state=StepState.PENDING, outcome="no effect; the act is sent again"))


def _begin(around: _Around, row: StepRow, memo: Mapping[str, Any], records: tuple[Record, ...]) -> Decision:
    now, policy = around.now, around.policy
    if row.begun_at is not None:  # two acts are never at one instant: the refund of the second is not of the first
        now = max(now, row.begun_at + timedelta(microseconds=1))
    overdue = row.deadline_at is None or row.deadline_at <= now
    begun = replace(
        row,
        state=StepState.BEGUN,
        tries=row.tries + 1,
        begun_at=now,
        acted_at=row.acted_at or now,
        deadline_at=now + policy.deadline if overdue else row.deadline_at,
        memo={**row.memo, "before": dict(memo), "first": dict(row.first or memo), "seen": {}},
    )
    event = Event(EventKind.STEP_BEGUN, f"{row.name}: acting, try {begun.tries}", {"step": row.name})
    return Decision(around.attempt, (begun,), Then.ACT, records=records, events=(event,))


def _took(around: _Around, acted: Acted) -> Decision:
    _require(around, StepState.BEGUN)
    acting = replace(
        around.row, state=StepState.ACTING, refusals=0, token=dict(acted.token), outcome="the act was taken"
    )
    if around.policy.proven_by_read:
        return Decision(around.attempt, (acting,), Then.LOOK)
    return _park(around, acting, listed=True)


def _not_taken(around: _Around, reason: str, *, locked: bool) -> Decision:
    _require(around, StepState.BEGUN)
    row, policy = around.row, around.policy
    costs = locked and policy.refusal_costs
    first_ever = row.acted_at == row.begun_at
    memo = {key: value for key, value in row.memo.items() if key != "first"} if first_ever else row.memo
    returned = replace(
        row,
        state=StepState.PENDING,
        tries=row.tries if costs else row.tries - 1,
        refusals=row.refusals + 1,
        acted_at=None if first_ever else row.acted_at,
        begun_at=None if first_ever else row.begun_at,
        memo=memo,
        outcome=reason,
    )
    if costs and row.tries >= policy.tries:
        return _fail(replace(around, row=returned), FailureClass.LOST, f"refused {row.tries} times: {reason}")
    distance = min(policy.backoff * 2 ** min(row.refusals, 10), policy.backoff_max)
    return _park(around, returned, around.now + distance)


def _no_answer(around: _Around, reason: str) -> Decision:
    row = around.row
    if row.state is not StepState.BEGUN:  # a look ran into the time limit: nothing is concluded
        _require(around, StepState.PENDING, StepState.ACTING, StepState.UNSURE)
        return _park(around, replace(row, outcome=reason))
    unsure = replace(row, state=StepState.UNSURE, refusals=0, outcome=reason)
    event = Event(
        EventKind.STEP_UNSURE,
        f"{row.name}: {reason}; looking before acting again",
        {"step": row.name},
    )
    until = around.now + around.policy.backoff
    parked = _park(around, unsure, until, listed=not around.policy.proven_by_read, soon=True)
    return replace(parked, events=(event,))


def _remember(row: StepRow, seen: Mapping[str, Any]) -> StepRow:
    return replace(row, memo={**row.memo, "seen": {**row.seen, **seen}}) if seen else row


# --- the attempt and its row --------------------------------------------------------------------------------------


def _park(
    around: _Around,
    row: StepRow,
    until: datetime | None = None,
    *,
    listed: bool = False,
    soon: bool = False,
    reading_at: datetime | None = None,
) -> Decision:
    """
    Wait until *until*, else by a distance that grows with the age of the step.

    A *listed* wait ends when the list shows a change; `resume_at` is then the next instant that by itself
    changes what the list means: the settle time, or the deadline; and soon where it has passed and no list
    of after it was read yet.
    """
    policy, now = around.policy, around.now
    if listed:
        turns = [instant for instant in (until, row.settles_at(policy), row.deadline_at) if instant]
        unread = any(turn <= now and (reading_at is None or reading_at < turn) for turn in turns)
        coming = [turn for turn in turns if turn > now]
        resume_at = min([*coming, now + policy.backoff] if unread or not coming else coming)
    elif until is not None and until > now:
        resume_at = until
    else:
        since = row.begun_at or (row.deadline_at - policy.deadline if row.deadline_at else now)
        resume_at = now + min(max((now - since) / 4, policy.backoff), policy.backoff_max)
    awaits = (Awaits.SHORT if soon else policy.awaits) if listed else None
    return Decision(around.attempt, (row,), Then.PARK, resume_at=resume_at, awaits=awaits)


def _hold(around: _Around, row: StepRow, reason: str, failure_class: FailureClass | None = None) -> Decision:
    attempt = replace(around.attempt, state=AttemptState.HELD, reason=reason, reason_class=failure_class)
    event = Event(EventKind.HELD, f"{row.name}: {reason}", {"step": row.name, "class": failure_class})
    return Decision(attempt, (row,), Then.HOLD, events=(event,))


def _advance(around: _Around, row: StepRow, records: tuple[Record, ...] = ()) -> Decision:
    """Go on to the next open row, or end."""
    kind = EventKind.STEP_SKIPPED if row.state is StepState.SKIPPED else EventKind.STEP_DONE
    event = Event(kind, f"{row.name}: {row.outcome}", {"step": row.name})
    following = [other for other in around.steps if other.pos > row.pos and other.state in STEP_OPEN]
    if not following:
        return _end(around, (row,), _result(around, row), records=records, events=(event,))
    arriving = _arrive(following[0], around)
    attempt = replace(around.attempt, pos=arriving.pos)
    return Decision(attempt, (row, arriving), Then.PROCEED, records=records, events=(event,))


def _arrive(row: StepRow, around: _Around) -> StepRow:
    deadline_at = around.now + around.policies[row.name].deadline
    return replace(row, arrived_at=around.now, deadline_at=deadline_at)


def _result(around: _Around, last: StepRow) -> Result:
    if around.attempt.kind in ON_CLAIM:
        return Result.RELEASED if last.name == RELEASE else Result.QUARANTINED
    if around.attempt.direction is Direction.FORWARD:
        return Result.SUCCEEDED
    if around.attempt.kind in ON_SERVICE:
        return Result.UNDONE
    undone = around.others(lambda row: row.direction is Direction.BACK)
    if any(row.state is StepState.FAILED for row in (*undone, last)):
        return Result.INCOMPLETE
    if last.name == QUARANTINE:
        return Result.QUARANTINED
    claim = next((row for row in around.steps if row.name == CLAIM), None)
    return Result.RELEASED if claim is None or claim.state is StepState.DONE else Result.PASSED_OVER


def _end(
    around: _Around,
    rows: tuple[StepRow, ...],
    result: Result,
    *,
    records: tuple[Record, ...] = (),
    events: tuple[Event, ...] = (),
    attempt: Attempt | None = None,
) -> Decision:
    ended = replace(attempt or around.attempt, state=AttemptState.ENDED)
    data: dict[str, Any] = {"result": result, "class": ended.reason_class}
    if result is Result.LOST:
        data["left"] = _left(around)
    said = [Event(EventKind.ATTEMPT_ENDED, f"attempt ended: {result}", data)]
    if kind := KEPT_OUT.get(result):
        said.append(Event(kind, f"the server is kept out of sale: {ended.reason}", {"reason": ended.reason}))
    return Decision(ended, rows, Then.END, result=result, records=records, events=(*events, *said))


def _left(around: _Around) -> list[str]:
    """Name the steps that acted and whose undo did not end: what they did may stay on the server."""
    undone = {row.undoes for row in around.steps if row.direction is Direction.BACK and row.state is StepState.DONE}
    return [row.name for row in around.steps if row.acted_at and around.undo(row) and row.pos not in undone]


# --- failure ------------------------------------------------------------------------------------------------------


def _fail(around: _Around, failure_class: FailureClass, reason: str) -> Decision:
    row, attempt = around.row, around.attempt
    guarded = row.name == ACCOUNT or attempt.burnt_through
    if guarded and attempt.direction is Direction.FORWARD and failure_class in BLAMED_ON_SERVER:
        failure_class = FailureClass.SITE  # no server is to blame: the place is
    failed = replace(row, state=StepState.FAILED, ended_at=around.now, reason_class=failure_class, outcome=reason)
    event = Event(EventKind.STEP_FAILED, f"{row.name}: {reason}", {"step": row.name, "class": failure_class})
    decision = _after_failure(around, failed, failure_class, reason)
    return replace(decision, events=(event, *decision.events))


def _after_failure(around: _Around, failed: StepRow, failure_class: FailureClass, reason: str) -> Decision:
    attempt = around.attempt
    if attempt.kind in ON_SERVICE:
        return _on_service_failed(around, failed, failure_class, reason)
    if attempt.direction is Direction.BACK:
        return _undo_failed(around, failed, failure_class)
    nobody_s_yet = attempt.kind is JobKind.OPEN and not hand_over_begun(_with(around.steps, failed))
    if attempt.kind in ON_CLAIM:
        return _on_claim_failed(around, failed, failure_class, reason)
    if not nobody_s_yet:
        return _hold(around, failed, reason, failure_class)
    if attempt.hold_on_failure and failure_class in BLAMED_ON_SERVER and failed.name != CLAIM:
        return _hold(around, failed, reason, failure_class)
    return _compensate(around, failed, failure_class, reason)


def _undo_failed(around: _Around, failed: StepRow, failure_class: FailureClass) -> Decision:
    """Go on with the rest of the undo; yet what was not undone may not be sold."""
    if failure_class in NOT_OURS:
        return _end(around, (failed,), Result.LOST)
    following = [row for row in around.steps if row.pos > failed.pos and row.state in STEP_OPEN]
    if not following:
        return _end(around, (failed,), Result.INCOMPLETE)
    rest = tuple(replace(row, name=QUARANTINE) if row.name == RELEASE else row for row in following)
    arriving = _arrive(rest[0], around)
    attempt = replace(around.attempt, pos=arriving.pos)
    return Decision(attempt, (failed, arriving, *rest[1:]), Then.PROCEED)


def _on_service_failed(around: _Around, failed: StepRow, failure_class: FailureClass, reason: str) -> Decision:
    """Ask a person where nothing else is left to do: a customer's server is never released, never quarantined."""
    attempt = around.attempt
    if attempt.kind is JobKind.CLOSE and failure_class not in NOT_OURS:
        return _put_off(around, failed, failure_class, reason)
    undoes = attempt.kind is JobKind.ADD_ADDRESS and failure_class not in NOT_OURS
    if undoes and attempt.direction is Direction.FORWARD:
        return _undo(around, failed, failure_class, reason)
    return _hold(around, failed, reason, failure_class)


def _undo(
    around: _Around, stopped: StepRow, failure_class: FailureClass | None, reason: str, given_up: Verb | None = None
) -> Decision:
    """Append the undo of every step that acted, newest first; the server itself stays as it is."""
    steps = _with(around.steps, stopped)
    attempt = replace(around.attempt, reason_class=failure_class, reason=reason, given_up=given_up)
    undos = _undos(around, steps)
    if not undos:
        return _end(around, (stopped,), Result.UNDONE, attempt=attempt)
    start = max(row.pos for row in steps) + 1
    rows = [replace(row, pos=start + i) for i, row in enumerate(undos)]
    rows[0] = _arrive(rows[0], around)
    attempt = replace(attempt, direction=Direction.BACK, state=AttemptState.RUNNING, pos=start)
    event = Event(EventKind.COMPENSATING, f"undoing: {reason}", {"class": failure_class, "end": "undone"})
    return Decision(attempt, (stopped, *rows), Then.PROCEED, events=(event,))


def _undos(around: _Around, steps: Sequence[StepRow]) -> list[StepRow]:
    """Give the undo of every step that acted, newest first."""
    return [
        StepRow(
            pos=0,
            name=undo,
            direction=Direction.BACK,
            undoes=row.pos,
            memo={"undone": _undone(row, around.policies[row.name])},
        )
        for row in sorted(steps, key=lambda row: row.pos, reverse=True)
        if row.acted_at is not None and (undo := around.undo(row))
    ]


def _on_claim_failed(around: _Around, failed: StepRow, failure_class: FailureClass, reason: str) -> Decision:
    """Nobody's server: what was only looked at ends as it stands, what must be done is tried again later."""
    attempt = replace(around.attempt, reason=reason, reason_class=failure_class)
    if failure_class in NOT_OURS:
        return _end(around, (failed,), Result.LOST, attempt=attempt)
    if failed.name == INSPECT:
        return _end(around, (failed,), Result.QUARANTINED, attempt=attempt)
    return _put_off(around, failed, failure_class, reason)


def _put_off(around: _Around, failed: StepRow, failure_class: FailureClass, reason: str) -> Decision:
    """Try a release again with growing distance; then ask a person."""
    if around.attempt.put_off >= PUT_OFF_LIMIT:
        return _hold(around, failed, f"release incomplete: {reason}", failure_class)
    distance = min(around.policy.backoff_max * 2**around.attempt.put_off, PUT_OFF_MAX)
    resume_at = around.now + distance
    again = replace(
        failed,
        state=StepState.PENDING,
        tries=0,
        refusals=0,
        ended_at=None,
        arrived_at=resume_at,
        deadline_at=resume_at + around.policy.deadline,
    )
    attempt = replace(
        around.attempt,
        put_off=around.attempt.put_off + 1,
        reason=reason,
        reason_class=failure_class,
    )
    said = Event(EventKind.RELEASE_INCOMPLETE, f"release incomplete: {reason}", {"step": failed.name})
    first = around.attempt.kind is JobKind.CLOSE and around.attempt.put_off == 0
    return Decision(attempt, (again,), Then.PARK, resume_at=resume_at, events=(said,) if first else ())


def _compensate(
    around: _Around,
    stopped: StepRow,
    failure_class: FailureClass | None,
    reason: str,
    *,
    given_up: Verb | None = None,
    final: str = "",
) -> Decision:
    """Append the undo of every step that acted, newest first, then the end that the class asks for."""
    steps = _with(around.steps, stopped)
    foreign = failure_class in NOT_OURS and stopped.name != CLAIM  # a claim may still take effect late
    if stopped.name == CLAIM and failure_class is not None:
        failure_class = FailureClass.LOST  # whatever the reason: the candidate is passed over
    attempt = replace(around.attempt, reason_class=failure_class, reason=reason, given_up=given_up)
    claim = next((row for row in steps if row.name == CLAIM), None)
    if claim is None or (claim.acted_at is None and claim.state is not StepState.DONE):
        return _end(around, (stopped,), Result.PASSED_OVER, attempt=attempt)
    if foreign:
        return _end(around, (stopped,), Result.LOST, attempt=attempt)
    final = final or (QUARANTINE if failure_class in BLAMED_ON_SERVER else RELEASE)
    undos = _undos(around, steps)
    closing = StepRow(
        pos=0,
        name=final,
        direction=Direction.BACK,
        undoes=claim.pos,
        memo={"undone": _undone(claim, around.policies[CLAIM])},
    )
    start = max(row.pos for row in steps) + 1
    rows = [replace(row, pos=start + i) for i, row in enumerate((*undos, closing))]
    rows[0] = _arrive(rows[0], around)
    attempt = replace(attempt, direction=Direction.BACK, state=AttemptState.RUNNING, pos=start)
    event = Event(EventKind.COMPENSATING, f"undoing: {reason}", {"class": failure_class, "end": final})
    later = [
        replace(row, state=StepState.CANCELLED, ended_at=around.now)
        for row in steps
        if row.pos != stopped.pos and row.state in (StepState.ACTING, StepState.UNSURE)
    ]
    return Decision(attempt, (stopped, *later, *rows), Then.PROCEED, events=(event,))


def _undone(row: StepRow, policy: Policy) -> dict[str, Any]:
    """Give what an undo must know of its step; `settled_at` only where the step did not end Done."""
    settles = None if row.state is StepState.DONE else row.settles_at(policy)
    return {
        "before": dict(row.before),
        "first": dict(row.first),
        "token": dict(row.token),
        "settled_at": settles.isoformat() if settles else None,
    }


def _with(steps: Sequence[StepRow], changed: StepRow) -> tuple[StepRow, ...]:
    return tuple(changed if row.pos == changed.pos else row for row in steps)


# --- commands -----------------------------------------------------------------------------------------------------


def _commanded(around: _Around, command: Command) -> Decision:
    _require(around, StepState.PENDING, StepState.ACTING, StepState.UNSURE, StepState.FAILED)
    why_not = refusal(command, around.attempt, around.steps, around.policies)
    if why_not:
        return _refused(around, command, why_not)
    given = Event(EventKind.COMMANDED, command.told(), {"verb": command.verb})
    around = replace(around, attempt=replace(around.attempt, command=None, deliveries=0))
    decision = _obey(around, command)
    return replace(decision, events=(given, *decision.events))


def _obey(around: _Around, command: Command) -> Decision:
    row = around.row
    match command.verb:
        case Verb.CANCEL if around.attempt.direction is Direction.BACK:
            attempt = replace(around.attempt, given_up=Verb.CANCEL, state=AttemptState.RUNNING)
            return Decision(attempt, (row,), Then.LOOK)
        case Verb.CANCEL if around.attempt.kind in ON_CLAIM:  # nobody's server: there is no undo of an undo
            reason = f"cancelled by {command.by}"
            attempt = replace(around.attempt, given_up=Verb.CANCEL, reason=reason)
            return _end(around, (_give_up(around, reason),), Result.INCOMPLETE, attempt=attempt)
        case Verb.CANCEL if around.attempt.kind in ON_SERVICE:
            reason = f"cancelled by {command.by}"
            return _undo(around, _give_up(around, reason), None, reason, given_up=Verb.CANCEL)
        case Verb.HOLD:
            return _hold(around, row, command.told("held"))
        case Verb.INTERRUPT:
            attempt = replace(around.attempt, given_up=Verb.INTERRUPT, reason=command.reason)
            then = Then.LOOK if row.state is StepState.UNSURE else Then.PROCEED
            return Decision(attempt, (row,), then)
        case Verb.CANCEL:
            reason = f"cancelled by {command.by}"
            return _compensate(around, _give_up(around, reason), None, reason, given_up=Verb.CANCEL, final=RELEASE)
        case Verb.SWAP:
            reason = command.told("swapped")
            final = RELEASE if command.release else QUARANTINE
            return _compensate(around, _give_up(around, reason), None, reason, given_up=Verb.SWAP, final=final)
        case Verb.SKIP:
            attempt = replace(around.attempt, state=AttemptState.RUNNING, reason="", reason_class=None)
            skipped = replace(
                row,
                state=StepState.SKIPPED,
                ended_at=around.now,
                outcome=command.told("skipped"),
            )
            return _advance(replace(around, attempt=attempt), skipped)
        case Verb.RETRY:
            return _again(around, row.pos, anew=command.wipe)
        case Verb.RETRY_FROM:
            start = next(other.pos for other in around.steps if other.name == command.step)
            return _again(around, start, anew=command.wipe)
        case _:
            assert_never(command.verb)


def _refused(around: _Around, command: Command, why_not: str) -> Decision:
    """Consume a verb that came too late, and say so; the attempt goes on as it was."""
    said = Event(EventKind.COMMAND_REFUSED, f"{command.verb} refused: {why_not}", {"verb": command.verb})
    attempt = replace(around.attempt, command=None)
    if AttemptState.HELD is attempt.state or around.row.state is StepState.FAILED:
        return Decision(replace(attempt, state=AttemptState.HELD), (around.row,), Then.HOLD, events=(said,))
    return Decision(attempt, (around.row,), Then.LOOK, events=(said,))


def _give_up(around: _Around, reason: str) -> StepRow:
    if around.row.state is StepState.FAILED:
        return around.row
    return replace(around.row, state=StepState.CANCELLED, ended_at=around.now, outcome=reason)


def _again(around: _Around, start: int, *, anew: bool) -> Decision:
    """Run again from *start*; a memo is kept only where the step ended unsure, else taken anew."""
    rows = []
    for row in around.steps:
        if row.pos < start or row.direction is not around.row.direction:
            continue
        if row.pos > around.row.pos:
            rows.append(replace(row, tries=0, refusals=0, deadline_at=None))
        elif row.state is StepState.FAILED or row.pos < around.row.pos:
            rows.append(_fresh(row, anew=anew))
        else:
            rows.append(replace(row, tries=0, refusals=0))  # poisoned: it stands where it stood
    rows[0] = _arrive(rows[0], around)
    attempt = replace(
        around.attempt,
        state=AttemptState.RUNNING,
        pos=start,
        reason="",
        reason_class=None,
        deliveries=0,
    )
    then = Then.LOOK if start == around.row.pos else Then.PROCEED
    return Decision(attempt, tuple(rows), then)


def _fresh(row: StepRow, *, anew: bool) -> StepRow:
    memo = row.memo
    if anew or row.reason_class is not FailureClass.UNKNOWN:
        kept = {key: value for key, value in memo.items() if key not in ("before", "seen")}
        memo = {
            **kept,
            "archive": [
                *memo.get("archive", []),
                {"before": dict(row.before), "seen": dict(row.seen)},
            ],
        }
    return replace(
        row,
        state=StepState.PENDING,
        tries=0,
        refusals=0,
        ended_at=None,
        reason_class=None,
        memo=memo,
        outcome="",
    )
