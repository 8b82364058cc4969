"""The hot path in PostgreSQL: claim, memo, save, end. Each write stands under the attempt's fence."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

from sqlalchemy.exc import IntegrityError

from provisioner.domain.attempt import StepRow
from provisioner.domain.engine import Decision, Then
from provisioner.domain.events import Event, EventKind
from provisioner.domain.job import Conclusion
from provisioner.domain.life import SWITCHING
from provisioner.domain.outcome import (
    AccountLive,
    AccountReserved,
    AddressesRead,
    ConfigRead,
    HandedOver,
    PersonAsked,
    PersonOverdue,
)
from provisioner.domain.question import Question
from provisioner.domain.server import AddressRow, ServerRef, UserRef
from provisioner.domain.service import Account, AccountBook, Claim, ClaimId, Order, Package
from provisioner.domain.spans import Spans
from provisioner.domain.states import ON_SERVICE, AccountState, AttemptState, ClaimState, Direction, JobKind, JobState
from provisioner.errors import Fenced, NotFound
from provisioner.ports import Refusal, Touched, Wakeup
from provisioner.store import questions, rows
from provisioner.store.connections import COUNT_TROUBLE, heal, pause, restrict
from provisioner.store.database import Database, Row, Session, as_json, hot
from provisioner.store.installation import witness
from provisioner.store.messages import SEND, wakeup
from provisioner.store.quarantine import over, strike
from provisioner.store.standing import restate

STEPS_OF = """
  (SELECT jsonb_agg(to_jsonb(s) ORDER BY s.pos) FROM step s WHERE s.attempt_id = a.id)"""

#: how long the next message may lie before it counts as lost: twice as long as this one lay. Where workers are behind,
#: more messages put them further behind, and that has no end by itself
NEXT_DISTANCE = """
  greatest(%(grace)s, CASE WHEN a.state = 'ready'
                           THEN least(%(most)s, 2 * extract(epoch FROM clock_timestamp() - a.ready_since)::float8)
                           ELSE a.wake_distance END)"""

CLAIM = hot(
    "claim",
    f"""
WITH due AS MATERIALIZED (
  SELECT a.id, a.connection_id, a.last_task_id, {NEXT_DISTANCE} AS wake_distance
    FROM attempt a JOIN connection c ON c.id = a.connection_id
   WHERE a.id = %(attempt)s AND a.pos = %(pos)s AND c.state <> 'paused'
     AND NOT EXISTS (SELECT FROM installation WHERE halted <> '')
     AND (a.state = 'ready'
          OR (a.state = 'running' AND a.lease_until < clock_timestamp())
          OR (a.state = 'waiting' AND a.awaits IS NULL AND a.resume_at <= clock_timestamp()))
     FOR UPDATE OF a),
free AS MATERIALIZED (
  SELECT s.connection_id, s.n FROM slot s JOIN due ON due.connection_id = s.connection_id
   WHERE s.lease_until IS NULL OR s.lease_until < clock_timestamp()
   LIMIT 1 FOR UPDATE OF s SKIP LOCKED),
taken AS (
  UPDATE slot SET owner = %(owner)s, lease_until = clock_timestamp() + %(lease)s * interval '1 s'
    FROM free WHERE slot.connection_id = free.connection_id AND slot.n = free.n RETURNING slot.n),
a AS (
  UPDATE attempt SET state = 'running', epoch = epoch + 1, owner = %(owner)s,
         lease_until = clock_timestamp() + %(lease)s * interval '1 s', deliveries = deliveries + 1,
         last_task_id = %(task)s, worker = %(worker)s, awaits = NULL, starved = false,
         wake_distance = due.wake_distance
    FROM due, taken WHERE attempt.id = due.id RETURNING attempt.*)
SELECT a.*, clock_timestamp() AS now, {STEPS_OF} AS steps,
       j.kind, j.service_id, j.params, j.secret_id,
       coalesce(s.package ->> 'on_failure', 'next') = 'hold' AS hold_on_failure,
       to_jsonb(s) AS service, to_jsonb(cl) AS claim, to_jsonb(v) AS view,
       acc.panel_user_ref,
       c.name AS connection_name, c.revision, c.queue, c.admin_user, c.restricted_step, c.failures,
       c.observed_from, c.observations
  FROM a
  JOIN job j ON j.id = a.job_id
  JOIN claim cl ON cl.id = a.claim_id
  LEFT JOIN service s ON s.id = coalesce(j.service_id, cl.service_id)
  JOIN connection c ON c.id = a.connection_id
  LEFT JOIN account acc ON acc.panel = s.panel AND acc.billing_ref = s.customer_ref
                       AND acc.connection_id = c.id AND acc.state = 'live'
  LEFT JOIN server_view v ON v.connection_id = c.id AND v.server_ref = cl.server_ref""",
    attempt="bigint",
    pos="int",
    lease="float8",
    grace="float8",
    most="float8",
)

#: why a claim found nothing; a ready attempt that found no slot is remembered, so that the slot's end wakes it
WHY_NOT = """
WITH starved AS (
  UPDATE attempt a SET starved = true FROM connection c
   WHERE a.id = %(attempt)s AND a.pos = %(pos)s AND a.state = 'ready' AND c.id = a.connection_id
     AND c.state <> 'paused' AND NOT EXISTS (SELECT FROM installation WHERE halted <> '') RETURNING a.id)
SELECT c.state = 'paused' AS away, EXISTS (SELECT FROM installation WHERE halted <> '') AS halted,
       EXISTS (SELECT FROM starved) AS starved
  FROM attempt a JOIN connection c ON c.id = a.connection_id WHERE a.id = %(attempt)s"""

STEP_COLUMNS = (
    "pos int, name text, direction text, undoes int, state text, tries int, refusals int, acted_at timestamptz, "
    "begun_at timestamptz, arrived_at timestamptz, deadline_at timestamptz, ended_at timestamptz, memo jsonb, "
    "token jsonb, reason_class text, outcome text"
)
STEP_NAMES = ", ".join(column.split()[0] for column in STEP_COLUMNS.split(", "))
STEP_SET = ", ".join(f"{name} = excluded.{name}" for name in STEP_NAMES.split(", ") if name != "pos")

FENCE = """id = %(attempt)s AND epoch = %(epoch)s AND owner = %(owner)s AND state = 'running'"""

#: lock order: service (or claim), then attempt; events get their numbers from the locked row
NUMBERED = f"""
who AS MATERIALIZED (SELECT FROM attempt WHERE {FENCE}),
ns AS (UPDATE service SET next_seq = next_seq + %(count)s
        WHERE id = %(service)s AND EXISTS (SELECT FROM who) RETURNING next_seq - %(count)s AS seq),
nc AS (UPDATE claim SET next_seq = next_seq + %(count)s
        WHERE id = %(claim)s AND %(service)s::bigint IS NULL AND EXISTS (SELECT FROM who)
       RETURNING next_seq - %(count)s AS seq),
n AS MATERIALIZED (SELECT seq FROM ns UNION ALL SELECT seq FROM nc)"""

EVENTS = """
told AS (
  INSERT INTO event (service_id, claim_id, seq, job_id, attempt_n, kind, text, data)
  SELECT %(service)s, CASE WHEN %(service)s::bigint IS NULL THEN %(claim)s::bigint END, n.seq + e.i - 1, %(job)s,
         %(n)s, e.kind, e.text, e.data
    FROM a, n, ROWS FROM (jsonb_to_recordset(%(events)s::jsonb) AS (kind text, text text, data jsonb))
         WITH ORDINALITY AS e (kind, text, data, i))"""

#: types of what stands in the statements below, where it is no text
TYPES = {
    "service": "bigint", "claim": "bigint", "job": "bigint", "attempt": "bigint", "epoch": "bigint", "n": "int",
    "count": "int", "pos": "int", "put_off": "int", "resume_at": "timestamptz",
    "seen_from": "timestamptz", "events": "jsonb", "rows": "jsonb", "row": "jsonb", "consumed": "jsonb",
}  # fmt: skip

REMEMBER = hot(
    "remember",
    f"""
WITH {NUMBERED},
a AS (UPDATE attempt SET updated_at = clock_timestamp() FROM n WHERE {FENCE} RETURNING id, updated_at AS at),
{EVENTS}
UPDATE step SET state = 'begun', tries = r.tries, begun_at = a.at, acted_at = coalesce(r.acted_at, a.at),
       deadline_at = r.deadline_at, memo = r.memo, outcome = r.outcome
  FROM a, jsonb_to_record(%(row)s::jsonb) AS r ({STEP_COLUMNS})
 WHERE step.attempt_id = a.id AND step.pos = r.pos RETURNING step.begun_at, step.acted_at""",
    **TYPES,
)

ATTEMPT_SET = """
  direction = %(direction)s, pos = %(pos)s, owner = NULL, lease_until = NULL,
  deliveries = 0, put_off = %(put_off)s, given_up = %(given_up)s, result = %(result)s,
  reason_class = %(reason_class)s, reason = %(reason)s,
  command = CASE WHEN command = %(consumed)s::jsonb THEN NULL ELSE command END"""

#: the slot that is free now is offered to whom it was refused first
FED = """UPDATE attempt SET starved = false, ready_since = clock_timestamp()
   WHERE id = (SELECT h.id FROM attempt h, a WHERE h.connection_id = a.connection_id AND h.starved
                ORDER BY h.resume_at LIMIT 1 FOR UPDATE OF h SKIP LOCKED) RETURNING id"""

#: a ready attempt's message is counted with it, so that no task id is used twice
SAVE = hot(
    "save",
    f"""
WITH {NUMBERED},
a AS (
  UPDATE attempt SET {ATTEMPT_SET},
         state = CASE WHEN command IS DISTINCT FROM %(consumed)s::jsonb AND command IS NOT NULL
                           AND %(state)s <> 'ended' THEN 'ready' ELSE %(state)s END,
         held_since = CASE WHEN %(state)s = 'held' THEN coalesce(held_since, clock_timestamp()) END,
         awaits = CASE WHEN %(state)s = 'waiting' THEN %(awaits)s END,
         seen_from = %(seen_from)s::timestamptz,
         resume_at = CASE WHEN %(state)s = 'waiting' THEN %(resume_at)s::timestamptz
                          ELSE clock_timestamp() + wake_distance * interval '1 s' END,
         ready_since = clock_timestamp()
    FROM n WHERE {FENCE} RETURNING attempt.*),
changed AS (
  INSERT INTO step (attempt_id, {STEP_NAMES}, sends)
  SELECT a.id, r.*, (a.state = 'ready' AND r.pos = a.pos)::int
    FROM a, jsonb_to_recordset(%(rows)s::jsonb) AS r ({STEP_COLUMNS})
      ON CONFLICT (attempt_id, pos) DO UPDATE SET {STEP_SET}, sends = step.sends + excluded.sends
  RETURNING pos, name, undoes, sends),
freed AS (UPDATE slot SET owner = NULL, lease_until = NULL FROM a
           WHERE slot.connection_id = a.connection_id AND slot.owner = %(owner)s),
hungry AS (
  {FED}),
{EVENTS}
SELECT a.state, a.pos, a.command, sent.name AS step, sent.undoes, sent.sends, (SELECT id FROM hungry) AS hungry
  FROM a LEFT JOIN changed sent ON sent.pos = a.pos""",
    **TYPES,
)

NEWER = "waits for a worker of a newer release: the one that looked does not know all of its steps"
KINDS = frozenset(kind.value for kind in JobKind)

#: neither a look nor a delivery: a rolling upgrade may hand it to old workers any number of times
GIVE_BACK = f"""
WITH a AS (
  UPDATE attempt SET state = 'waiting', owner = NULL, lease_until = NULL, deliveries = greatest(deliveries - 1, 0),
         resume_at = clock_timestamp() + %(grace)s * interval '1 s', wake_distance = %(grace)s
   WHERE {FENCE} RETURNING id, pos, connection_id),
says AS (UPDATE step SET outcome = %(says)s FROM a WHERE step.attempt_id = a.id AND step.pos = a.pos),
freed AS (UPDATE slot SET owner = NULL, lease_until = NULL FROM a
           WHERE slot.connection_id = a.connection_id AND slot.owner = %(owner)s),
hungry AS (
  {FED})
SELECT (SELECT id FROM hungry) AS hungry FROM a"""

PUT_OFF = """
UPDATE attempt SET wake_distance = 0, resume_at = clock_timestamp() + %(grace)s * interval '1 s',
       ready_since = clock_timestamp()
 WHERE id = %(attempt)s AND pos = %(pos)s AND state = 'ready'"""


class EngineStore:
    """Satisfies `ports.Engine`."""

    def __init__(self, database: Database, spans: Spans) -> None:
        """Work on *database* with the leases of *spans*."""
        self._db, self._spans = database, spans

    # --- claim ----------------------------------------------------------------------------------------------------

    def claim(self, attempt_id: int, pos: int, *, owner: str, task_id: str, worker: str) -> Touched | Refusal:
        """Take the attempt if it may run now at *pos*."""
        with self._db.once() as session:
            row = session.row(
                CLAIM,
                attempt=attempt_id,
                pos=pos,
                owner=owner,
                lease=self._spans.lease,
                grace=self._spans.wake_grace,
                most=self._spans.wake_most,
                task=task_id,
                worker=worker,
            )
            if row is not None and row["kind"] not in KINDS:
                self._give_back(session, attempt=row["id"], epoch=row["epoch"], owner=owner)
                return Refusal.NEWER
            if row is not None:
                return _touched(row)
            why = session.row(WHY_NOT, attempt=attempt_id, pos=pos)
        if why and why["halted"]:
            return Refusal.HALTED
        if why and why["away"]:
            return Refusal.AWAY
        return Refusal.NO_SLOT if why and why["starved"] else Refusal.FENCED

    def give_back(self, touched: Touched) -> Sequence[Wakeup]:
        """Let the attempt go uncounted: only a newer release knows its steps."""
        with self._db.once() as session:
            hungry = self._give_back(session, **_fence(touched))
        return self.messages([hungry]) if hungry else []

    def _give_back(self, session: Session, **fence: object) -> int | None:
        given = session.row(GIVE_BACK, **fence, grace=self._spans.wake_grace, says=NEWER)
        if given is None:
            raise Fenced
        hungry: int | None = given["hungry"]
        return hungry

    def put_off(self, attempt_id: int, pos: int) -> None:
        """Let a message that nobody here can read be sent again, without growing distance."""
        self._db.rows(PUT_OFF, attempt=attempt_id, pos=pos, grace=self._spans.wake_grace)

    # --- memo -----------------------------------------------------------------------------------------------------

    def remember(self, touched: Touched, decision: Decision) -> StepRow | None:
        """Commit the memo before the act; None when a record found its place taken."""
        (row,) = decision.rows
        first = row.acted_at == row.begun_at
        values = {
            **_fence(touched),
            **_numbered(touched, decision.events),
            "row": as_json({**rows.step_values(row), "acted_at": None if first else row.acted_at}),
        }
        if not decision.records:
            written = self._db.row(REMEMBER, **values)
        else:
            try:
                with self._db.transaction() as session:
                    written = session.row(REMEMBER, **values)
                    if written is None:
                        raise Fenced
                    self._record(session, touched, decision)
            except (IntegrityError, _PlaceTaken):
                return None
        if written is None:
            raise Fenced
        return replace(row, begun_at=written["begun_at"], acted_at=written["acted_at"])

    # --- save -----------------------------------------------------------------------------------------------------

    def save(self, touched: Touched, decision: Decision) -> Sequence[Wakeup]:
        """Save a decision that does not end the attempt, free the slot."""
        values = self._save_values(touched, decision)
        slow = (
            bool(decision.records)
            or decision.attempt.interrupted
            or _turns_back(touched, decision)
            or _heals(touched, decision)
        )
        if slow:
            with self._db.transaction() as session:
                saved = session.row(SAVE, **values)
                if saved is None:
                    raise Fenced
                self._record(session, touched, decision)
                if _turns_back(touched, decision):
                    session.rows("UPDATE job SET state = 'compensating' WHERE id = %(job)s", job=touched.job_id)
                if decision.attempt.interrupted:
                    session.rows("UPDATE job SET state = 'interrupted' WHERE id = %(job)s", job=touched.job_id)
                    session.rows(NEXT_JOB, service=touched.service_id)
                if _heals(touched, decision):  # the place's row comes last
                    heal(session, touched.connection_id, _done_names(decision))
        else:
            saved = self._db.row(SAVE, **values)
        if saved is None:
            raise Fenced
        due, others = [], [saved["hungry"]] if saved["hungry"] else []
        if saved["state"] == AttemptState.READY:
            if saved["step"] is None:  # its row did not change: its message is counted like that of any other
                others.append(touched.attempt_id)
            else:
                due.append(_next_message(touched, saved))
        return [*due, *self.messages(others)] if others else due

    def messages(self, attempts: Sequence[int]) -> list[Wakeup]:
        """Count and give the messages of ready attempts."""
        return [wakeup(row) for row in self._db.rows(SEND, attempts=list(attempts))]

    def _save_values(self, touched: Touched, decision: Decision) -> dict[str, Any]:
        attempt = decision.attempt
        state = {
            Then.PROCEED: AttemptState.READY,
            Then.PARK: AttemptState.WAITING,
            Then.HOLD: AttemptState.HELD,
            Then.END: AttemptState.ENDED,
        }[decision.then]
        consumed = touched.attempt.command if attempt.command is None else None
        return {
            **_fence(touched),
            **_numbered(touched, decision.events),
            "state": state,
            "direction": attempt.direction,
            "pos": attempt.pos,
            "put_off": attempt.put_off,
            "given_up": attempt.given_up,
            "result": decision.result,
            "reason_class": attempt.reason_class,
            "reason": attempt.reason,
            "consumed": as_json(rows.command_values(consumed)) if consumed else None,
            "awaits": decision.awaits,
            "seen_from": touched.view.observed_from if touched.view else touched.now,
            "resume_at": decision.resume_at,
            "rows": as_json([rows.step_values(row) for row in decision.rows]),
        }

    # --- end ------------------------------------------------------------------------------------------------------

    def end(self, touched: Touched, decision: Decision, conclusion: Conclusion) -> None:
        """Save the end of an attempt with all that it means for job, service, claim and connection."""
        values = self._save_values(touched, decision)
        with self._db.transaction() as session:
            if touched.service_id is not None:
                session.rows("SELECT FROM service WHERE id = %(id)s FOR UPDATE", id=touched.service_id)
            saved = session.row(SAVE, **values)
            if saved is None:
                raise Fenced
            session.rows(END_ATTEMPT, attempt=touched.attempt_id)
            if saved["command"] is not None:  # given during the last touch: there is nothing left to carry it out on
                verb = saved["command"]["verb"]
                _tell(session, touched, Event(EventKind.COMMAND_REFUSED, f"{verb} refused: {TOO_LATE}", {"verb": verb}))
            self._record(session, touched, decision)
            self._conclude_job(session, touched, conclusion)
            self._conclude_claim(session, touched, decision, conclusion)
            if conclusion.pass_over:
                session.rows(
                    PASSED_OVER,
                    id=touched.connection_id,
                    server=touched.claim.server,
                    reason=decision.attempt.reason,
                    first=self._spans.pass_over,
                )
            if conclusion.release_job:
                self._go_on_releasing(session, touched, decision)
            if _heals(touched, decision):  # the place's row comes last
                heal(session, touched.connection_id, _done_names(decision))
            if conclusion.restrict:
                failed = _failed_name(touched, decision)
                restrict(session, touched.connection_id, failed, decision.attempt.reason, self._spans)

    def _conclude_job(self, session: Session, touched: Touched, conclusion: Conclusion) -> None:
        session.rows(
            END_JOB,
            job=touched.job_id,
            state=conclusion.job,
            reason=conclusion.reason,
            waits_for=conclusion.waits_for,
        )
        if conclusion.service is not None:
            session.rows(
                "UPDATE service SET state = %(state)s, claim_id = CASE WHEN %(state)s NOT IN ('failed', 'closed') "
                "THEN claim_id END WHERE id = %(id)s",
                id=touched.service_id,
                state=conclusion.service,
            )
        if touched.attempt.kind in ON_SERVICE:
            self._after_service_job(session, touched, conclusion)
        if conclusion.job is not JobState.QUEUED:
            _tell(
                session, touched, Event(EventKind.JOB_ENDED, f"job {conclusion.job}: {conclusion.reason}".rstrip(": "))
            )
            session.rows(NEXT_JOB, service=touched.service_id)

    def _after_service_job(self, session: Session, touched: Touched, conclusion: Conclusion) -> None:
        """Keep or erase the job's secret; let go on what a suspension had interrupted."""
        values = {"job": touched.job_id, "service": touched.service_id}
        succeeded = conclusion.job is JobState.SUCCEEDED
        if touched.attempt.kind is JobKind.REINSTALL and succeeded:
            session.rows(KEEP_ROOT, **values, os=touched.order.os, kept=self._spans.secrets_kept)
        elif succeeded:
            session.rows(SPEND, **values)
        else:
            session.rows(SPEND_LATER, job=touched.job_id)
        taken_back = touched.attempt.kind in SWITCHING and conclusion.job is JobState.CANCELLED
        if taken_back and touched.service_id is not None:
            restate(session, touched.service_id, touched.attempt.kind, touched.params.get("reason", ""))
        if touched.attempt.kind is JobKind.RESUME and succeeded:
            session.rows(GO_ON, **values)

    def _conclude_claim(self, session: Session, touched: Touched, decision: Decision, conclusion: Conclusion) -> None:
        if conclusion.claim is None:
            return
        session.rows(END_CLAIM, claim=touched.claim.id, state=conclusion.claim, reason=conclusion.reason)
        if conclusion.claim is ClaimState.QUARANTINED:
            strike(
                session,
                touched.attempt_id,
                step=_failed_name(touched, decision) if touched.service_id else "",
                reason_class=decision.attempt.reason_class,
                reason=decision.attempt.reason,
            )
        elif conclusion.claim is ClaimState.ENDED:
            over(session, touched.attempt_id)
        if conclusion.claim is not ClaimState.HANDED and touched.service_id is not None:
            session.rows(
                "UPDATE service SET claim_id = NULL WHERE id = %(id)s AND claim_id = %(claim)s",
                id=touched.service_id,
                claim=touched.claim.id,
            )
            session.rows(DROP_ADDRESSES, claim=touched.claim.id)

    def _go_on_releasing(self, session: Session, touched: Touched, decision: Decision) -> None:
        """Put the undo that did not end, and all after it, on a job of the claim's own."""
        by_pos = {row.pos: row for row in touched.steps} | {row.pos: row for row in decision.rows}
        back = [by_pos[pos] for pos in sorted(by_pos) if by_pos[pos].direction is Direction.BACK]
        left = [row for row in back if row.state.value != "done"] or back[-1:]
        begins = touched.now + timedelta(seconds=self._spans.pass_over)
        fresh = [
            StepRow(
                pos=i,
                name=row.name,
                undoes=row.undoes,
                memo={"undone": dict(row.undone)},
                arrived_at=begins if i == 0 else None,
                deadline_at=begins + RELEASE_PATIENCE if i == 0 else None,
            )
            for i, row in enumerate(left)
        ]
        session.rows(
            RELEASE_JOB,
            claim=touched.claim.id,
            connection=touched.connection_id,
            reason=decision.attempt.reason,
            wait=self._spans.pass_over,
            rows=as_json([rows.step_values(row) for row in fresh]),
        )

    # --- records --------------------------------------------------------------------------------------------------

    def _record(self, session: Session, touched: Touched, decision: Decision) -> None:
        for record in decision.records:
            match record:
                case AccountReserved(login, ids_before):
                    self._reserve(session, touched, login, ids_before)
                case AccountLive(login, user, created):
                    session.rows(ACCOUNT_LIVE, **_customer(touched), login=login, user=user, created=created)
                case AddressesRead(found):
                    _addresses(session, touched, found)
                case ConfigRead():
                    self._configured(session, touched, record)
                case PersonAsked():
                    _tell(session, touched, questions.ask(session, touched, record))
                case PersonOverdue():
                    _tell(session, touched, questions.overdue(session, touched))
                case HandedOver(reading, ip):
                    _addresses(session, touched, reading.addresses)
                    facts = {
                        "ip": ip,
                        "hostname": touched.order.hostname,
                        "os": touched.order.os,
                        "server": touched.claim.server,
                        "addresses": [_address_facts(row) for row in reading.addresses],
                    }
                    session.rows(
                        HAND_OVER,
                        service=touched.service_id,
                        claim=touched.claim.id,
                        facts=as_json(facts),
                        kept=self._spans.secrets_kept,
                    )
                    _tell(session, touched, Event(EventKind.HANDED_OVER, f"handed over: {ip}", facts))

    def _configured(self, session: Session, touched: Touched, read: ConfigRead) -> None:
        """Record the service as it was read; what differs from before goes into the event."""
        held = session.value("SELECT facts FROM service WHERE id = %(id)s", id=touched.service_id) or {}
        facts = {
            "ip": read.ip,
            "hostname": touched.order.hostname,
            "os": read.os,
            "server": touched.claim.server,
            "owner": read.reading.owner,
            "power": read.power,
            "disabled": read.reading.disabled,
            "addresses": [_address_facts(row) for row in read.reading.addresses],
        }
        changed = sorted(key for key in facts if key in held and held[key] != facts[key])
        _addresses(session, touched, read.reading.addresses)
        session.rows(
            "UPDATE service SET facts = %(facts)s::jsonb WHERE id = %(id)s",
            facts=as_json(facts),
            id=touched.service_id,
        )
        text = f"as read: differs in {', '.join(changed)}" if changed else "as read: as it was"
        data = {**facts, "changed": {key: held[key] for key in changed}}
        _tell(session, touched, Event(EventKind.CONFIGURED, text, data))

    def _reserve(self, session: Session, touched: Touched, login: str, ids_before: Sequence[UserRef]) -> None:
        reserved = session.row(
            ACCOUNT_RESERVE,
            **_customer(touched),
            login=login,
            ids=as_json(list(ids_before)),
            attempt=touched.attempt_id,
        )
        if reserved is None:
            raise _PlaceTaken

    # --- reading beside the hot path ------------------------------------------------------------------------------

    def blames(self, touched: Touched, step: str) -> int:
        """Count servers on which *step* failed lately without a success between, this one included."""
        with self._db.transaction() as session:
            found = session.value(
                "SELECT failures -> %(step)s FROM connection WHERE id = %(id)s FOR NO KEY UPDATE",
                id=touched.connection_id,
                step=step,
            )
            since = touched.now.timestamp() - self._spans.burn_window
            recent = [[s, at] for s, at in found or [] if at >= since and s != touched.claim.server]
            recent.append([touched.claim.server, touched.now.timestamp()])
            session.rows(
                "UPDATE connection SET failures = jsonb_set(failures, ARRAY[%(step)s], %(found)s::jsonb) "
                "WHERE id = %(id)s",
                id=touched.connection_id,
                step=step,
                found=as_json(recent),
            )
            return len(recent)

    def counted(self, touched: Touched) -> tuple[int, bool]:
        """Give how many ended attempts of the job blame a server, and whether a cancel was requested."""
        row = self._db.row(COUNTED, job=touched.job_id)
        return (row["counted"], row["cancelled"]) if row else (0, False)

    def accounts(self, touched: Touched) -> AccountBook:
        """Give what our books know of the users of the connection."""
        book = self._db.row(ACCOUNTS, **_customer(touched)) or {}
        return AccountBook(
            mine=_account(book) if book["id"] is not None else None,
            logins=frozenset(book["logins"]),
            users=frozenset(UserRef(ref) for ref in book["users"]),
        )

    def question(self, touched: Touched) -> Question | None:
        """Give what a person was asked at the step at which the attempt stands."""
        with self._db.once() as session:
            return questions.question(session, touched)

    def secret(self, secret_id: int) -> bytes:
        """Give a secret's ciphertext."""
        sealed = self._db.value("SELECT ciphertext FROM secret WHERE id = %(id)s", id=secret_id)
        if sealed is None:
            raise NotFound("a secret of this service was erased; a new one must be set before this step can go on")
        return bytes(sealed)

    def witness(self, touched: Touched, serials: Sequence[int]) -> str:
        """Halt if *serials* of ours in the server's notes show that our books went back; returns why."""
        with self._db.once() as session:
            return witness(session, touched.connection_name, touched.claim.server, serials)

    def trouble(self, connection_id: int, *, denied: bool, reason: str) -> None:
        """Count a look or act that found the connection away; pauses it when that lasts."""
        with self._db.transaction() as session:
            row = session.row(COUNT_TROUBLE, id=connection_id, away=0 if denied else 1, denied=1 if denied else 0)
            if row is None or row["state"] not in ("active", "restricted"):
                return
            if denied:
                pause(session, connection_id, "denied", f"our credentials are refused: {reason}")
            elif row["away_count"] >= self._spans.away_after:
                pause(session, connection_id, "away", f"the place is away: {reason}")

    def fine(self, connection_id: int) -> None:
        """Forget calls that found the connection away: one came through."""
        self._db.rows(
            "UPDATE connection SET away_count = 0, denied_count = 0 "
            "WHERE id = %(id)s AND (away_count > 0 OR denied_count > 0) AND state <> 'paused'",
            id=connection_id,
        )


#: deadline of a release's first step; the later ones get theirs on arrival
RELEASE_PATIENCE = timedelta(minutes=30)


TOO_LATE = "the attempt ended in the same moment"


class _PlaceTaken(Exception):
    """Somebody else reserved it first."""


END_ATTEMPT = """
UPDATE attempt SET ended_at = clock_timestamp(), resume_at = NULL, command = NULL WHERE id = %(attempt)s"""

END_JOB = """
UPDATE job SET state = %(state)s, reason = %(reason)s, waits_for = %(waits_for)s,
       waits_since = CASE WHEN %(waits_for)s::text IS NOT NULL THEN clock_timestamp() END,
       plan_at = CASE WHEN %(state)s = 'queued' THEN clock_timestamp() END,
       ended_at = CASE WHEN %(state)s <> 'queued' THEN clock_timestamp() END
 WHERE id = %(job)s"""

#: the transaction that ends a job starts the next of the same service
NEXT_JOB = """
UPDATE job SET plan_at = clock_timestamp(), waits_for = NULL
 WHERE id = (SELECT id FROM job WHERE service_id = %(service)s AND state = 'queued' AND waits_for = 'job'
              ORDER BY seq LIMIT 1)"""

#: a reinstalled system's password may be read by billing as that of the first one was
KEEP_ROOT = """
WITH j AS (UPDATE job SET secret_id = NULL FROM (SELECT secret_id FROM job WHERE id = %(job)s) was
            WHERE job.id = %(job)s RETURNING was.secret_id),
kept AS (UPDATE secret SET expires_at = clock_timestamp() + %(kept)s * interval '1 s'
           FROM j WHERE secret.id = j.secret_id),
old AS (UPDATE secret SET expires_at = clock_timestamp() FROM service s WHERE s.id = %(service)s
           AND secret.id = s.root_secret)
UPDATE service SET os = %(os)s, root_secret = j.secret_id FROM j WHERE service.id = %(service)s"""

SPEND = """
WITH j AS (UPDATE job SET secret_id = NULL FROM (SELECT secret_id FROM job WHERE id = %(job)s) was
            WHERE job.id = %(job)s RETURNING was.secret_id)
UPDATE secret SET expires_at = clock_timestamp() FROM j WHERE secret.id = j.secret_id"""

#: after that a retry must ask for a new one
SPEND_LATER = """
UPDATE secret SET expires_at = clock_timestamp() + interval '24 hours'
  FROM job WHERE job.id = %(job)s AND secret.id = job.secret_id"""

#: the last reason of a suspension is lifted: what it interrupted stands where it stood, with its time given back
GO_ON = """
WITH j AS (
  UPDATE job SET state = 'running' WHERE id = (SELECT id FROM job WHERE service_id = %(service)s
     AND state = 'interrupted' ORDER BY seq LIMIT 1) RETURNING id),
a AS (
  UPDATE attempt SET state = 'waiting', resume_at = clock_timestamp(), held_since = NULL, reason = ''
    FROM j, (SELECT id, held_since FROM attempt WHERE state = 'held') was
   WHERE attempt.job_id = j.id AND was.id = attempt.id RETURNING attempt.id, attempt.pos, was.held_since)
UPDATE step SET deadline_at = deadline_at + (clock_timestamp() - a.held_since) FROM a
 WHERE step.attempt_id = a.id AND step.pos = a.pos AND step.deadline_at IS NOT NULL"""

END_CLAIM = """
UPDATE claim SET state = %(state)s,
       reason = CASE WHEN state = 'quarantined' AND %(state)s = 'quarantined' THEN reason ELSE %(reason)s END,
       ended_at = CASE WHEN %(state)s = 'ended' THEN clock_timestamp() END
 WHERE id = %(claim)s"""

DROP_ADDRESSES = """
UPDATE address SET state = 'gone' WHERE claim_id = %(claim)s AND state <> 'gone'"""

#: growing distance: the first, then twice as long, up to an hour
PASSED_OVER = """
UPDATE server_view SET passed_over_count = passed_over_count + 1, passed_over_reason = %(reason)s,
       passed_over_until = clock_timestamp()
         + least(%(first)s * 2 ^ least(passed_over_count, 10), 3600) * interval '1 s'
 WHERE connection_id = %(id)s AND server_ref = %(server)s"""

RELEASE_JOB = f"""
WITH j AS (
  INSERT INTO job (claim_id, seq, kind, state, reason, created_by)
  VALUES (%(claim)s, 1, 'release', 'running', %(reason)s, 'engine') RETURNING id),
a AS (
  INSERT INTO attempt (job_id, n, connection_id, claim_id, state, pos, resume_at, reason, root_task_id)
  SELECT j.id, 1, %(connection)s, %(claim)s, 'waiting', 0, clock_timestamp() + %(wait)s * interval '1 s',
         %(reason)s, '' FROM j RETURNING id)
INSERT INTO step (attempt_id, {STEP_NAMES})
SELECT a.id, r.* FROM a, jsonb_to_recordset(%(rows)s::jsonb) AS r ({STEP_COLUMNS})"""

ACCOUNT_RESERVE = """
INSERT INTO account (panel, billing_ref, connection_id, login, state, creating_attempt, ids_before)
VALUES (%(panel)s, %(billing_ref)s, %(connection)s, %(login)s, 'creating', %(attempt)s, %(ids)s::jsonb)
    ON CONFLICT (panel, billing_ref, connection_id) DO UPDATE
   SET login = excluded.login, creating_attempt = excluded.creating_attempt, ids_before = excluded.ids_before
 WHERE account.state = 'creating'
   AND (account.creating_attempt = excluded.creating_attempt
        OR NOT EXISTS (SELECT FROM attempt a JOIN step s ON s.attempt_id = a.id AND s.name = 'account'
                        WHERE a.id = account.creating_attempt AND a.state <> 'ended'
                          AND s.state IN ('pending', 'begun', 'acting', 'unsure')))
RETURNING id"""

ACCOUNT_LIVE = """
WITH kept AS (
  INSERT INTO account (panel, billing_ref, connection_id, login, panel_user_ref, created_by_us, state)
  VALUES (%(panel)s, %(billing_ref)s, %(connection)s, %(login)s, %(user)s, %(created)s, 'live')
      ON CONFLICT (panel, billing_ref, connection_id) DO UPDATE
     SET state = 'live', panel_user_ref = excluded.panel_user_ref, created_by_us = excluded.created_by_us
  RETURNING id)
UPDATE service SET account_id = kept.id FROM kept WHERE service.id = %(service)s"""

#: the customer's user may be an earlier order's, or this one's of an attempt at another place
HAND_OVER = """
WITH handed AS (
  UPDATE service SET state = 'active', claim_id = %(claim)s, facts = %(facts)s::jsonb,
         handed_over_at = clock_timestamp(),
         account_id = coalesce(
           (SELECT acc.id FROM account acc JOIN claim cl ON cl.connection_id = acc.connection_id
             WHERE cl.id = %(claim)s AND acc.panel = service.panel AND acc.billing_ref = service.customer_ref
               AND acc.state = 'live'), account_id)
   WHERE id = %(service)s RETURNING root_secret, panel_secret),
erase AS (
  UPDATE secret SET expires_at = clock_timestamp() + %(kept)s * interval '1 s'
    FROM handed WHERE secret.id IN (handed.root_secret, handed.panel_secret))
UPDATE claim SET state = 'handed' WHERE id = %(claim)s"""

#: an address is where the DCIM shows it: another claim's row of it is older, of a server that is still being cleaned
ADDRESS_MOVED = """
UPDATE address SET state = 'gone'
 WHERE connection_id = %(connection)s AND ip = ANY(%(ips)s) AND state = 'live' AND claim_id <> %(claim)s"""

ADDRESS = """
WITH read AS (SELECT * FROM jsonb_to_recordset(%(rows)s::jsonb)
              AS r (row_ref text, ip text, family text, netmask text, gateway text, main boolean)),
gone AS (
  UPDATE address SET state = 'gone' WHERE claim_id = %(claim)s AND state = 'live'
     AND row_ref NOT IN (SELECT row_ref FROM read))
INSERT INTO address (service_id, claim_id, connection_id, row_ref, ip, family, netmask, gateway, main, state)
SELECT %(service)s, %(claim)s, %(connection)s, r.*, 'live' FROM read r
 WHERE NOT EXISTS (SELECT FROM address a WHERE a.claim_id = %(claim)s AND a.row_ref = r.row_ref AND a.state = 'live')
    ON CONFLICT DO NOTHING"""

COUNTED = """
SELECT count(*) FILTER (WHERE a.n > j.attempts_from AND a.reason_class IN ('server', 'unknown')) + 1 AS counted,
       j.cancel_requested_at IS NOT NULL AS cancelled
  FROM job j LEFT JOIN attempt a ON a.job_id = j.id AND a.state = 'ended'
 WHERE j.id = %(job)s GROUP BY j.id"""

#: of the connection's other customers, names alone
ACCOUNTS = """
SELECT c.logins, c.users, acc.*, s.begun_at,
       coalesce(a.state <> 'ended' AND s.state IN ('pending', 'begun', 'acting', 'unsure'), false) AS creator_alive
  FROM (SELECT coalesce(array_agg(login), '{}') AS logins,
               coalesce(array_agg(panel_user_ref) FILTER (WHERE panel_user_ref IS NOT NULL), '{}') AS users
          FROM account WHERE connection_id = %(connection)s) c
  LEFT JOIN account acc ON acc.panel = %(panel)s AND acc.billing_ref = %(billing_ref)s
                       AND acc.connection_id = %(connection)s
  LEFT JOIN attempt a ON a.id = acc.creating_attempt
  LEFT JOIN step s ON s.attempt_id = a.id AND s.name = 'account'"""


def _next_message(touched: Touched, saved: Row) -> Wakeup:
    """Build the message of the step at which a saved attempt stands."""
    return Wakeup(
        job_id=touched.job_id,
        attempt_id=touched.attempt_id,
        attempt_n=touched.attempt_n,
        pos=saved["pos"],
        step=saved["step"],
        undoes=saved["undoes"],
        kind=touched.attempt.kind,
        order=touched.order.external_ref,
        server=touched.claim.server,
        queue=touched.queue,
        sends=saved["sends"],
        root_id=touched.root_task_id,
        parent_id=touched.task_id or None,
        service=touched.package.kind,
    )


def _fence(touched: Touched) -> dict[str, Any]:
    return {"attempt": touched.attempt_id, "epoch": touched.epoch, "owner": touched.owner}


def _numbered(touched: Touched, events: Sequence[Event]) -> dict[str, Any]:
    told = [{"kind": event.kind, "text": event.text, "data": event.data} for event in events]
    return {
        "service": touched.service_id,
        "claim": touched.claim.id,
        "job": touched.job_id,
        "n": touched.attempt_n,
        "count": len(told),
        "events": as_json(told),
    }


def _tell(session: Session, touched: Touched, event: Event) -> None:
    """Write one more event inside the transaction that made it true."""
    session.rows(TELL, **_numbered(touched, (event,)))


TELL = """
WITH ns AS (UPDATE service SET next_seq = next_seq + %(count)s WHERE id = %(service)s
            RETURNING next_seq - %(count)s AS seq),
nc AS (UPDATE claim SET next_seq = next_seq + %(count)s WHERE id = %(claim)s AND %(service)s::bigint IS NULL
       RETURNING next_seq - %(count)s AS seq),
n AS (SELECT seq FROM ns UNION ALL SELECT seq FROM nc)
INSERT INTO event (service_id, claim_id, seq, job_id, attempt_n, kind, text, data)
SELECT %(service)s, CASE WHEN %(service)s::bigint IS NULL THEN %(claim)s::bigint END, n.seq, %(job)s, %(n)s,
       e.kind, e.text, e.data
  FROM n, jsonb_to_recordset(%(events)s::jsonb) AS e (kind text, text text, data jsonb)"""


def _customer(touched: Touched) -> dict[str, Any]:
    return {
        "panel": touched.order.panel,
        "billing_ref": touched.order.customer_ref,
        "connection": touched.connection_id,
        "service": touched.service_id,
    }


def _addresses(session: Session, touched: Touched, found: Sequence[AddressRow]) -> None:
    read = [
        {
            "row_ref": row.ref,
            "ip": row.ip,
            "family": row.family,
            "netmask": row.netmask,
            "gateway": row.gateway,
            "main": row.main,
        }
        for row in found
    ]
    session.rows(ADDRESS_MOVED, ips=[row.ip for row in found], claim=touched.claim.id, connection=touched.connection_id)
    session.rows(
        ADDRESS,
        rows=as_json(read),
        service=touched.service_id,
        claim=touched.claim.id,
        connection=touched.connection_id,
    )


def _address_facts(row: AddressRow) -> dict[str, Any]:
    return {"ip": row.ip, "family": row.family, "netmask": row.netmask, "gateway": row.gateway}


def _account(row: Row) -> Account:
    return Account(
        login=row["login"],
        state=AccountState(row["state"]),
        user=UserRef(row["panel_user_ref"]) if row["panel_user_ref"] else None,
        created_by_us=row["created_by_us"],
        ids_before=frozenset(UserRef(ref) for ref in row["ids_before"]),
        creator=row["creating_attempt"],
        creator_alive=row["creator_alive"],
        creator_settles_from=row["begun_at"],
    )


def _turns_back(touched: Touched, decision: Decision) -> bool:
    return (
        touched.attempt.direction is Direction.FORWARD
        and decision.attempt.direction is Direction.BACK
        and decision.then is not Then.END
    )


def _done_names(decision: Decision) -> list[str]:
    return [row.name for row in decision.rows if row.state.value == "done" and row.direction is Direction.FORWARD]


def _heals(touched: Touched, decision: Decision) -> bool:
    """Say whether a success was saved that the burn-through guard or a restriction waits for."""
    watched = touched.failing_steps | {touched.restricted_step}
    return any(name in watched for name in _done_names(decision))


def _failed_name(touched: Touched, decision: Decision) -> str:
    """Give the forward step that failed."""
    by_pos = {row.pos: row for row in touched.steps} | {row.pos: row for row in decision.rows}
    failed = [r for r in by_pos.values() if r.direction is Direction.FORWARD and r.state.value == "failed"]
    return failed[-1].name if failed else ""


def _touched(row: Row) -> Touched:
    service, claim = row["service"], row["claim"]
    return Touched(
        attempt_id=row["id"],
        job_id=row["job_id"],
        attempt_n=row["n"],
        epoch=row["epoch"],
        owner=row["owner"],
        now=row["now"],
        attempt=rows.attempt(row),
        steps=tuple(rows.step_row(step) for step in row["steps"]),
        service_id=row["service_id"],
        order=_order(service, row["params"]),
        package=rows.package(service["package"]) if service else NO_PACKAGE,
        admin=UserRef(row["admin_user"]),
        customer=UserRef(row["panel_user_ref"]) if row["panel_user_ref"] else None,
        claim=Claim(
            id=ClaimId(claim["id"]),
            server=ServerRef(claim["server_ref"]),
            serial=claim["id"],
            note_token=claim["note_token"],
            state=ClaimState(claim["state"]),
        ),
        view=rows.view(row["view"], row["observed_from"], row["observations"])
        if row["view"] and row["observed_from"]
        else None,
        connection_id=row["connection_id"],
        connection_name=row["connection_name"],
        queue=row["queue"],
        restricted_step=row["restricted_step"],
        failing_steps=frozenset(row["failures"]),
        secrets={
            name: service[column]
            for name, column in (("root_password", "root_secret"), ("panel_password", "panel_secret"))
            if service and service[column]
        }
        | _job_secret(row),
        root_task_id=row["root_task_id"],
        task_id=row["last_task_id"],
        params=row["params"],
        revision=row["revision"],
    )


def _job_secret(row: Row) -> dict[str, int]:
    """Give the job's own secret: a new password of the panel's user, or of the system that is installed again."""
    if row["secret_id"] is None:
        return {}
    name = "root_password" if row["kind"] == JobKind.REINSTALL else "job_secret"
    return {name: row["secret_id"]}


NO_PACKAGE = Package(name="", server_type="")  #: of a job on a server that is nobody's


def _order(service: dict[str, Any] | None, params: dict[str, Any]) -> Order:
    if service is None:
        return Order("", "", "", "", "", "", "")
    return Order(
        panel=service["panel"],
        external_ref=service["external_ref"],
        package=service["package"]["name"],
        customer_ref=service["customer_ref"],
        login=service["login"],
        hostname=service["hostname"],
        os=params.get("os") or service["os"],
        equipment=service["equipment"],
    )
