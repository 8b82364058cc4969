"""What a service is asked after its order: a wish taken, or a job's turn judged; one transaction each."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from provisioner.domain.attempt import Command, Verb
from provisioner.domain.blast import HELD, held
from provisioner.domain.blast import Asked as Counted
from provisioner.domain.life import USUALLY, Arrival, JobAt, Wish, arrive, undo_given_up
from provisioner.domain.spans import Spans
from provisioner.domain.states import JobKind, JobState
from provisioner.domain.verbs import refusal
from provisioner.errors import IllegalMove, KeyReused, NotFound
from provisioner.ports import Asked, Sealed, Wakeup
from provisioner.store import rows
from provisioner.store.database import Database, Row, Session, as_json
from provisioner.store.engine import NEXT_JOB, SPEND, SPEND_LATER
from provisioner.store.messages import SEND, wakeup
from provisioner.store.standing import STOP, WANT, restate, standing

SERVICE = """
SELECT s.id, s.state, s.desired, s.suspended_by, s.handed_over_at, s.claim_id, s.os, s.hostname, s.package
  FROM service s WHERE s.panel = %(panel)s AND s.external_ref = %(ref)s FOR UPDATE"""

ENDED = """
UPDATE job SET state = %(state)s, reason = %(reason)s, ended_at = clock_timestamp(), plan_at = NULL, waits_for = NULL
 WHERE id = %(job)s AND state IN ('queued', 'running', 'interrupted', 'compensating') RETURNING id"""

LIVE = """
SELECT a.*, j.kind, false AS hold_on_failure,
       (SELECT jsonb_agg(to_jsonb(st) ORDER BY st.pos) FROM step st WHERE st.attempt_id = a.id) AS steps
  FROM attempt a JOIN job j ON j.id = a.job_id WHERE a.job_id = %(job)s AND a.state <> 'ended' FOR UPDATE OF a"""

COMMAND = """
UPDATE attempt SET command = %(command)s::jsonb,
       state = CASE WHEN state IN ('waiting', 'held') THEN 'ready' ELSE state END,
       awaits = CASE WHEN state IN ('waiting', 'held') THEN NULL ELSE awaits END,
       resume_at = CASE WHEN state IN ('waiting', 'held') THEN clock_timestamp() ELSE resume_at END,
       ready_since = CASE WHEN state IN ('waiting', 'held') THEN clock_timestamp() ELSE ready_since END
 WHERE id = %(attempt)s"""

NEW_JOB = """
WITH s AS (UPDATE service SET next_job_seq = next_job_seq + 1, next_seq = next_seq + 1 WHERE id = %(service)s
           RETURNING id, next_job_seq - 1 AS job_seq, next_seq - 1 AS seq),
j AS (
  INSERT INTO job (service_id, seq, kind, state, params, plan_at, waits_for, waits_since, reason, created_by, secret_id,
                   ended_at)
  SELECT s.id, s.job_seq, %(kind)s, %(state)s, %(params)s::jsonb,
         CASE WHEN %(state)s = 'queued' AND %(waits_for)s::text IS NULL THEN clock_timestamp() END,
         %(waits_for)s, CASE WHEN %(waits_for)s::text IS NOT NULL THEN clock_timestamp() END, %(reason)s, %(by)s,
         %(secret)s, CASE WHEN %(state)s <> 'queued' THEN clock_timestamp() END
    FROM s RETURNING id),
e AS (INSERT INTO event (service_id, seq, job_id, kind, text, data)
      SELECT s.id, s.seq, j.id, 'asked', %(text)s, %(data)s::jsonb FROM s, j)
SELECT id FROM j"""

TOLD = """
WITH s AS (UPDATE service SET next_seq = next_seq + 1 WHERE id = %(service)s RETURNING next_seq - 1 AS seq)
INSERT INTO event (service_id, seq, job_id, kind, text) SELECT %(service)s, s.seq, %(job)s, %(kind)s, %(text)s FROM s"""

KEY = """
SELECT fingerprint, service_id, job_id FROM idempotency WHERE panel = %(panel)s AND key = %(key)s"""

KEEP_KEY = """
INSERT INTO idempotency (panel, key, fingerprint, service_id, job_id)
VALUES (%(panel)s, %(key)s, %(fingerprint)s::jsonb, %(service)s, %(job)s)"""

SEALED = """
INSERT INTO secret (ciphertext, key_id) VALUES (%(ciphertext)s, %(key_id)s) RETURNING id"""

ASKED = """
SELECT count(*) FILTER (WHERE kind IN ('close', 'reinstall')) AS wipes,
       count(*) FILTER (WHERE kind = 'suspend') AS suspends,
       (SELECT count(*) FROM service WHERE state = 'active') AS active
  FROM job WHERE created_by = %(by)s AND created_at > clock_timestamp() - %(window)s * interval '1 s'
   AND kind IN ('close', 'reinstall', 'suspend')"""

GUARDED = """
SELECT id, service_id, kind, params FROM job
 WHERE created_by = %(by)s AND state = 'queued' AND waits_for = 'hold' AND starts_with(held_reason, %(held)s)
 ORDER BY id LIMIT 1000"""

GUARD = """
UPDATE job SET waits_for = 'hold', waits_since = clock_timestamp(), plan_at = NULL, held_reason = %(reason)s,
       reason = %(reason)s WHERE id = %(job)s"""

#: wishes for which a job makes way that stands still, and that came while it was still at work
BEHIND_HELD = """
SELECT q.service_id, q.kind, q.params, q.created_by
  FROM job q JOIN job l ON l.service_id = q.service_id AND l.state IN ('running', 'compensating')
  JOIN attempt a ON a.job_id = l.id AND a.state = 'held'
 WHERE q.state = 'queued' AND q.waits_for = 'job' AND q.kind IN ('close', 'suspend', 'resume')
   AND l.kind NOT IN ('open', 'close') ORDER BY q.id LIMIT %(limit)s"""

LET_GO = """
UPDATE job SET held_reason = '', reason = '', waits_for = %(waits_for)s,
       plan_at = CASE WHEN %(waits_for)s::text IS NULL THEN clock_timestamp() END
 WHERE id = %(job)s"""

CLOSED = """
UPDATE service SET state = 'closed', claim_id = NULL WHERE id = %(service)s"""


GUARDED_KINDS = frozenset({JobKind.CLOSE, JobKind.REINSTALL, JobKind.SUSPEND})


class LifeStore:
    """Satisfies `ports.Life`."""

    def __init__(self, database: Database, spans: Spans) -> None:
        """Work on *database*, guarded by *spans*."""
        self._db, self._spans = database, spans

    def wish(
        self,
        panel: str,
        external_ref: str,
        given: Wish,
        *,
        by: str,
        key: str | None = None,
        secret: Sealed | None = None,
        policies: Mapping[str, Any],
    ) -> tuple[Asked, Sequence[Wakeup]]:
        """
        Take a wish about a service, once a key; returns where it came to, and messages that are due.

        Raises:
            NotFound: no such service.
            IllegalMove: not now; the sentence says why.
            KeyReused: the key came before with another wish.
        """
        with self._db.transaction() as session:
            service = session.row(SERVICE, panel=panel, ref=external_ref)
            if service is None:
                raise NotFound(f"no service {external_ref!r}")
            fingerprint = {"wish": given.kind.value, "ref": external_ref, **given.params}
            if key and (old := session.row(KEY, panel=panel, key=key)):
                if old["fingerprint"] != fingerprint:
                    raise KeyReused(f"Idempotency-Key {key!r} came before with another body; use a new key")
                return Asked(old["service_id"], old["job_id"], created=False), ()
            stands = standing(session, service["id"])
            arrival = arrive(stands, given)
            if arrival.refused:
                raise IllegalMove(f"service {external_ref}: {arrival.refused}")
            too_much = "" if arrival.done or arrival.same is not None else self._too_much(session, given.kind, by)
            if too_much:
                kept = self._add(session, service["id"], given, Arrival(), by=by, secret=secret, before=None)
                self._guard(session, service["id"], kept, too_much, by)
                return Asked(service["id"], kept, created=True), ()
            due = self._stop_others(session, service["id"], arrival, given=given, by=by, policies=policies)
            job = arrival.same
            if job is None:
                before = None if arrival.done else standing(session, service["id"]).live
                job = self._add(session, service["id"], given, arrival, by=by, secret=secret, before=before)
            if key:
                session.rows(
                    KEEP_KEY, panel=panel, key=key, fingerprint=as_json(fingerprint), service=service["id"], job=job
                )
            return Asked(service["id"], job, created=arrival.same is None), due

    def _too_much(self, session: Session, kind: JobKind, by: str) -> str:
        """Say why this wish is held for a person; "" when it is not."""
        if kind not in GUARDED_KINDS:
            return ""
        row = session.row(ASKED, by=by, window=self._spans.blast_window)
        return held(kind, by, Counted(**row) if row else Counted(0, 0, 0), self._spans)

    @staticmethod
    def _guard(session: Session, service: int, job: int, reason: str, by: str) -> None:
        """Let a new job wait for a person; the first of them is told."""
        first = not session.row(GUARDED, by=by, held=HELD)
        session.rows(GUARD, job=job, reason=reason)
        session.rows(TOLD, service=service, job=job, kind="held" if first else "waiting", text=reason)

    def let_go(self, by: str, *, policies: Mapping[str, Any]) -> tuple[int, Sequence[Wakeup]]:
        """Let all go that the guard holds of a caller, oldest first; returns how many, and messages."""
        messages: list[Wakeup] = []
        found = self._db.rows(GUARDED, by=by, held=HELD)
        for row in found:
            with self._db.transaction() as session:
                messages += self._let_one_go(session, row, by, policies)
        return len(found), messages

    def _let_one_go(self, session: Session, row: Row, by: str, policies: Mapping[str, Any]) -> list[Wakeup]:
        service, job = row["service_id"], row["id"]
        session.rows("SELECT FROM service WHERE id = %(id)s FOR UPDATE", id=service)
        given = Wish(JobKind(row["kind"]), row["params"])
        arrival = arrive(standing(session, service, but=job), given)
        pointless = arrival.refused or arrival.done
        if arrival.same is not None:
            pointless = f"job {arrival.same} carries it out"
        if arrival.refused:
            self._supersede(session, service, job, arrival.refused)
            return []
        due = self._stop_others(session, service, arrival, given=given, by=by, policies=policies)
        if pointless:
            self._supersede(session, service, job, pointless)
            return due
        live = standing(session, service, but=job).live
        session.rows(LET_GO, job=job, waits_for="job" if live else None)
        return due

    def make_way(self, limit: int, *, policies: Mapping[str, Any]) -> Sequence[Wakeup]:
        """Let jobs that were held make way for the suspend, resume or close behind them; returns messages."""
        messages: list[Wakeup] = []
        for row in self._db.rows(BEHIND_HELD, limit=limit):
            given, by = Wish(JobKind(row["kind"]), row["params"]), row["created_by"]
            with self._db.transaction() as session:
                session.rows("SELECT FROM service WHERE id = %(id)s FOR UPDATE", id=row["service_id"])
                stands = standing(session, row["service_id"])
                arrival = arrive(stands, given)
                if arrival.same is not None:
                    as_it_was = replace(arrival, desired=None, suspended_by=None)  # said when it came, or lifted since
                    messages += self._stop_others(
                        session, row["service_id"], as_it_was, given=given, by=by, policies=policies
                    )
                    if given_up := undo_given_up(stands, given.kind):
                        restate(session, row["service_id"], given_up.kind, given_up.reason)
        return messages

    def drop(self, by: str) -> int:
        """Cancel all that the guard holds of a caller; returns how many."""
        found = self._db.rows(GUARDED, by=by, held=HELD)
        for row in found:
            with self._db.transaction() as session:
                session.rows("SELECT FROM service WHERE id = %(id)s FOR UPDATE", id=row["service_id"])
                reason = "dropped by a person: it was asked for with too much else"
                if session.row(ENDED, job=row["id"], state=JobState.CANCELLED, reason=reason):
                    text = f"job cancelled: {reason}"
                    session.rows(TOLD, service=row["service_id"], job=row["id"], kind="job_ended", text=text)
                    session.rows(SPEND_LATER, job=row["id"])
                    restate(session, row["service_id"], JobKind(row["kind"]), row["params"].get("reason", ""))
        return len(found)

    def _stop_others(
        self, session: Session, service: int, arrival: Arrival, *, given: Wish, by: str, policies: Mapping[str, Any]
    ) -> list[Wakeup]:
        """Carry out what the wish means for the jobs that are there."""
        suspended_by = None if arrival.suspended_by is None else as_json(sorted(arrival.suspended_by))
        session.rows(WANT, service=service, desired=arrival.desired, suspended_by=suspended_by)
        for job in arrival.supersede:
            self._supersede(session, service, job, f"a later {given.kind} by {by} made it pointless")
        due: list[Wakeup] = []
        for job in arrival.cancel:
            due += self._command(session, service, job, Command(Verb.CANCEL, by=by, reason=f"{given.kind}"), policies)
        for job in arrival.interrupt:
            due += self._interrupt(session, job, by, policies)
        if arrival.closed:
            session.rows(CLOSED, service=service)
        if (arrival.supersede or arrival.interrupt) and standing(session, service).live is None:
            session.rows(NEXT_JOB, service=service)
        return due

    @staticmethod
    def _supersede(session: Session, service: int, job: int, reason: str) -> None:
        session.rows(STOP, job=job, reason=reason)
        running = session.row("SELECT FROM attempt WHERE job_id = %(job)s AND state <> 'ended'", job=job)
        if running is None and session.row(ENDED, job=job, state=JobState.SUPERSEDED, reason=reason):
            session.rows(TOLD, service=service, job=job, kind="job_ended", text=f"job superseded: {reason}")
            session.rows(SPEND, job=job)

    def _command(
        self, session: Session, service: int, job: int, command: Command, policies: Mapping[str, Any]
    ) -> list[Wakeup]:
        """Give a command to a live attempt, or end a queued job; one that is refused changes nothing."""
        live = session.row(LIVE, job=job)
        if live is None:
            reason = f"cancelled by {command.by}"
            if session.row(ENDED, job=job, state=JobState.CANCELLED, reason=reason):
                session.rows(TOLD, service=service, job=job, kind="job_ended", text=f"job cancelled: {reason}")
            return []
        steps = tuple(rows.step_row(step) for step in live["steps"])
        if refusal(command, rows.attempt(live), steps, policies):
            return []
        if command.verb is Verb.CANCEL:
            session.rows(
                "UPDATE job SET cancel_requested_at = coalesce(cancel_requested_at, clock_timestamp()), "
                "cancel_by = %(by)s WHERE id = %(job)s",
                job=job,
                by=command.by,
            )
        session.rows(COMMAND, attempt=live["id"], command=as_json(asdict(command)))
        return [wakeup(row) for row in session.rows(SEND, attempts=[live["id"]])]

    def _interrupt(self, session: Session, job: int, by: str, policies: Mapping[str, Any]) -> list[Wakeup]:
        held = session.row(
            "UPDATE job SET state = 'interrupted' WHERE id = %(job)s AND state = 'running' AND EXISTS "
            "(SELECT FROM attempt a WHERE a.job_id = job.id AND a.state = 'held') RETURNING id",
            job=job,
        )
        if held is not None:
            return []
        command = Command(Verb.INTERRUPT, by=by, reason="interrupted by a suspension")
        return self._command(session, 0, job, command, policies)

    @staticmethod
    def _add(
        session: Session, service: int, given: Wish, arrival: Arrival, *, by: str, secret: Sealed | None,
        before: JobAt | None,
    ) -> int:  # fmt: skip
        sealed = None
        if secret is not None and not arrival.done:
            sealed = session.value(SEALED, ciphertext=secret.ciphertext, key_id=secret.key_id)
        job: int = session.value(
            NEW_JOB,
            service=service,
            kind=given.kind,
            state=JobState.SUCCEEDED if arrival.done else JobState.QUEUED,
            params=as_json(dict(given.params)),
            waits_for="job" if before else None,
            reason=arrival.done or (_after(before) if before else ""),
            by=by,
            secret=sealed,
            text=f"{given.kind} asked by {by}" + (f" ({given.reason})" if given.reason else ""),
            data=as_json({"kind": given.kind, **given.params}),
        )
        if arrival.done:
            session.rows(TOLD, service=service, job=job, kind="job_ended", text=f"job succeeded: {arrival.done}")
            session.rows(NEXT_JOB, service=service)
        return job


def _after(job: JobAt) -> str:
    usually = USUALLY.get(job.kind, "a few minutes")
    return f"job {job.id} ({job.kind}) goes first; such a job usually takes {usually}"
