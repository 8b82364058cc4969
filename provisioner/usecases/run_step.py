"""One touch of one attempt: claim, look or act, decide, save; the caller sends the messages after the commit."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cache

import structlog

from provisioner.domain import touch
from provisioner.domain.attempt import Attempt, Policy, StepRow, Verb
from provisioner.domain.engine import (
    BLAMED_ON_SERVER,
    Blind,
    Commanded,
    Decision,
    Fact,
    Looked,
    NoAnswer,
    NotTaken,
    Poisoned,
    Rejected,
    Then,
    Took,
    decide,
)
from provisioner.domain.events import Event
from provisioner.domain.installation import serials, short_name
from provisioner.domain.job import conclude
from provisioner.domain.outcome import Failed, Record
from provisioner.domain.spans import Spans
from provisioner.domain.states import Direction, JobKind, StepState
from provisioner.domain.verbs import CLAIM
from provisioner.errors import (
    Busy,
    Denied,
    FailureClass,
    Fatal,
    Fenced,
    NoSuchObject,
    NotDone,
    RemoteError,
    Retryable,
    Unreachable,
)
from provisioner.ports import Drivers, Engine, Prober, Refusal, Touched, Vault, Waker, Wakeup
from provisioner.steps.base import StepContext
from provisioner.steps.recipes import STEPS

log = structlog.get_logger()


class Interrupted(Exception):
    """The touch's time is up; raised by whoever runs it, e.g. Celery's soft time limit as `interrupted`."""


@dataclass(frozen=True, slots=True)
class Report:
    """How a touch ended, for readers of Flower and logs."""

    step: str
    outcome: str  #: proceed, park, hold, end, fenced, no_slot, away, halted, newer
    says: str = ""
    failed: bool = False  #: the step failed: the task must end as a failure


@dataclass(frozen=True, slots=True)
class Tools:
    """The ports that a touch may use, and its patience."""

    engine: Engine
    drivers: Drivers
    prober: Prober
    vault: Vault
    waker: Waker
    policies: Mapping[str, Policy]
    spans: Spans
    interrupted: tuple[type[BaseException], ...] = (Interrupted,)


def run_step(attempt_id: int, pos: int, *, task_id: str, worker: str, owner: str, tools: Tools) -> Report:
    """
    Look at the attempt if it stands at *pos* and may run now; act once at most; save; wake who is next.

    Safe to repeat, to be late, and to be killed at any instant.
    """
    began = time.monotonic()
    found = tools.engine.claim(attempt_id, pos, owner=owner, task_id=task_id, worker=worker)
    if isinstance(found, Refusal):
        return Report(step="", outcome=found.value)
    row = next(row for row in found.steps if row.pos == found.attempt.pos)
    if any(one.name not in STEPS for one in found.steps):  # a newer release planned it: its workers know how it goes
        return _leave(found, row.name, tools)
    left = tools.spans.lease - (time.monotonic() - began)
    with touch.lease(left):
        try:
            return _Touch(found, tools).run()
        except Fenced:
            log.debug("step_fenced", attempt_id=attempt_id, step=row.name)
            return Report(row.name, Refusal.FENCED.value)


def _leave(found: Touched, step: str, tools: Tools) -> Report:
    """Give the attempt back for a worker of a newer release, whichever of its steps we do not know."""
    try:
        tools.waker.wake(tools.engine.give_back(found))
    except Fenced:
        return Report(step, Refusal.FENCED.value)
    log.info("step_left", job_id=found.job_id, attempt_id=found.attempt_id, step=step)
    return Report(step, Refusal.NEWER.value, "a worker of a newer release must do this step")


class _Clock:
    """The database's clock as the claim read it, carried on by the monotonic one; never ahead of it."""

    def __init__(self, now: datetime) -> None:
        self._now, self._began = now, time.monotonic()

    def now(self) -> datetime:
        return self._now + timedelta(seconds=time.monotonic() - self._began)


@dataclass(slots=True)
class _Touch:
    """What is learnt and not yet saved: rows, events and records gather until the save."""

    found: Touched
    tools: Tools
    clock: _Clock = field(init=False)
    attempt: Attempt = field(init=False)
    rows: dict[int, StepRow] = field(init=False)
    changed: dict[int, StepRow] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)
    acted: bool = False

    def __post_init__(self) -> None:
        self.clock = _Clock(self.found.now)
        self.attempt = self.found.attempt
        self.rows = {row.pos: row for row in self.found.steps}

    @property
    def row(self) -> StepRow:
        return self.rows[self.attempt.pos]

    def run(self) -> Report:
        """Go from fact to fact until a decision says that the touch is over."""
        if self.row.state is StepState.BEGUN:
            self._absorb(self._decide(NoAnswer("the worker died after the memo was committed", self._now())))
        if self.attempt.deliveries > self.tools.spans.deliveries_most and self.attempt.command is None:
            return self._finish(self._decide(Poisoned(self._now())))
        while True:
            started_at = self.attempt.pos
            decision = self._decide(self._fact())
            if decision.then is Then.ACT:
                if self.acted:  # one mutating call a touch: the next act has a message of its own
                    return self._finish(Decision(self.attempt, (self._progress(decision),), Then.PROCEED))
                decision = self._act(decision)
            if decision.then is not Then.LOOK:
                return self._finish(decision)
            self._absorb(decision)
            if self.attempt.pos != started_at:
                raise AssertionError("a look never moves the attempt")

    def _progress(self, decision: Decision) -> StepRow:
        """Give the row as it stands before an act that is left to the next touch."""
        return replace(self.row, outcome=decision.rows[0].outcome)

    # --- facts ----------------------------------------------------------------------------------------------------

    def _now(self) -> datetime:
        return self.clock.now()

    def _fact(self) -> Fact:
        if self.attempt.command is not None:
            return Commanded(self.attempt.command, self._now())
        try:
            ctx = self._context()
            outcome = STEPS[self.row.name].check(ctx)
        except NoSuchObject as error:
            return Looked(Failed(FailureClass.LOST, str(error)), self._now(), self._now())
        except RemoteError as error:
            self._away(error)
            return Blind(str(error), self._now())
        except self.tools.interrupted:
            return NoAnswer(f"{touch.OUT_OF_TIME} while looking", self._now())
        if why := self._contradicted(ctx):
            return Blind(why, self._now())
        return Looked(outcome, self._now(), ctx.reading_at)

    def _contradicted(self, ctx: StepContext) -> str:
        """Say what in the notes shows that our database went back; nobody acts from then on."""
        if ctx.reading is None:
            return ""
        token = self.found.claim.note_token
        found = serials(ctx.reading.notes, short_name(token))
        strange = [serial for serial in found if serial != self.found.claim.serial]
        return self.tools.engine.witness(self.found, strange) if strange else ""

    def _act(self, decision: Decision) -> Decision:
        """Commit the memo, act once, and decide on what came back."""
        kept = self.tools.engine.remember(self.found, replace(decision, attempt=self.attempt))
        if kept is None:
            resume_at = self._now() + self.tools.policies[self.row.name].backoff
            return Decision(self.attempt, (self.row,), Then.PARK, resume_at=resume_at)
        self.rows[kept.pos] = self.changed[kept.pos] = kept
        self.acted = True
        return self._decide(self._send())

    def _send(self) -> Fact:
        """Make the one mutating call of this touch."""
        try:
            acted = STEPS[self.row.name].do(self._context())
        except NotDone as error:
            self._away(error)
            return NotTaken(str(error), self._now(), locked=isinstance(error, Busy))
        except Fatal as error:
            return Rejected(error.failure_class, str(error), self._now())
        except Retryable as error:
            return NoAnswer(str(error), self._now())
        except self.tools.interrupted:
            return NoAnswer(touch.OUT_OF_TIME, self._now())
        except Exception as error:
            log.exception("step_crashed", step=self.row.name, attempt_id=self.found.attempt_id)
            return NoAnswer(f"unforeseen: {type(error).__name__}", self._now())
        return Took(acted, self._now())

    def _away(self, error: RemoteError) -> None:
        """Tell the connection that a call found it away, or our credentials refused."""
        if isinstance(error, Denied | Unreachable):
            denied = isinstance(error, Denied)
            self.tools.engine.trouble(self.found.connection_id, denied=denied, reason=str(error))

    def _context(self) -> StepContext:
        found, row = self.found, self.row
        return StepContext(
            attempt_id=found.attempt_id,
            kind=self.attempt.kind,
            row=row,
            policy=self.tools.policies[row.name],
            order=found.order,
            package=found.package,
            admin=found.admin,
            customer=found.customer,
            claim=found.claim,
            view=found.view,
            reason=self.attempt.reason,
            earlier={other.name: other for other in self.rows.values() if other.pos != row.pos},
            driver=self.tools.drivers.get(found.connection_id, found.revision),
            prober=self.tools.prober,
            clock=self.clock,
            accounts=cache(lambda: self.tools.engine.accounts(found)),  # once a look
            secret=self._secret,
            question=cache(lambda: self.tools.engine.question(found)),
            params=found.params,
        )

    def _secret(self, name: str) -> str:
        return self.tools.vault.open(self.tools.engine.secret(self.found.secrets[name]))

    # --- decisions ------------------------------------------------------------------------------------------------

    def _decide(self, fact: Fact) -> Decision:
        steps = tuple(self.rows[pos] for pos in sorted(self.rows))
        decision = decide(self.attempt, steps, fact, self.tools.policies)
        if self._blames_the_server(decision):
            blamed = self.tools.engine.blames(self.found, self.row.name)
            if blamed >= self.tools.spans.burn_servers:
                decision = decide(replace(self.attempt, burnt_through=True), steps, fact, self.tools.policies)
        return decision

    def _blames_the_server(self, decision: Decision) -> bool:
        """Say whether the burn-through guard must count: an open's step failed, and a server is blamed."""
        return self.attempt.kind is JobKind.OPEN and any(
            row.pos == self.attempt.pos
            and row.state is StepState.FAILED
            and row.direction is Direction.FORWARD
            and row.reason_class in BLAMED_ON_SERVER
            and row.name != CLAIM
            and self.row.state is not StepState.FAILED
            for row in decision.rows
        )

    def _absorb(self, decision: Decision) -> None:
        self.attempt = decision.attempt
        for row in decision.rows:
            self.rows[row.pos] = self.changed[row.pos] = row
        self.events.extend(decision.events)
        self.records.extend(decision.records)

    def _finish(self, decision: Decision) -> Report:
        """Save all that was learnt, then wake who is next."""
        step, before = self.row.name, self.row.pos
        self._absorb(decision)
        whole = replace(
            decision,
            attempt=self.attempt,
            rows=tuple(self.changed[pos] for pos in sorted(self.changed)),
            events=tuple(self.events),
            records=tuple(self.records),
        )
        due: tuple[Wakeup, ...] = ()
        if whole.then is Then.END:
            self._end(whole)
        else:
            due = tuple(self.tools.engine.save(self.found, whole))
        self.tools.waker.wake(due)
        if whole.then is Then.END:
            self.tools.waker.tick()
        row = self.rows[before]
        log.info(
            "step_touched",
            job_id=self.found.job_id,
            attempt_id=self.found.attempt_id,
            step=step,
            state=row.state.value,
            then=whole.then.value,
            resume_at=whole.resume_at.isoformat() if whole.resume_at else None,
        )
        return Report(step, whole.then.value, row.outcome, failed=row.state is StepState.FAILED)

    def _end(self, decision: Decision) -> None:
        counted, cancel_requested = self.tools.engine.counted(self.found)
        if decision.result is None:
            raise AssertionError("an attempt ends with a result")
        conclusion = conclude(
            decision.result,
            decision.attempt,
            cancel_requested=cancel_requested or decision.attempt.given_up is Verb.CANCEL,
            counted=counted,
            attempts_max=self.found.package.attempts_max,
        )
        self.tools.engine.end(self.found, decision, conclusion)
