"""Servers out of sale in PostgreSQL: strikes, the way back, and a person's two verbs; each one transaction."""

from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy.exc import IntegrityError

from provisioner.domain.quarantine import STRIKES_MOST, Standing, quarantine_refusal, release_refusal
from provisioner.domain.states import JobKind
from provisioner.errors import IllegalMove, NotFound
from provisioner.store.database import Database, Session, as_json

Recipe = Sequence[tuple[str, timedelta]]

#: one strike a claim; a place that turned out to be to blame while it was being undone takes it on itself
STRIKE = """
INSERT INTO quarantine (connection_id, server_ref, claim_id, step, reason_class, reason, by, site)
SELECT cl.connection_id, cl.server_ref, cl.id, %(step)s, %(reason_class)s, %(reason)s,
       CASE WHEN j.kind = 'quarantine' THEN j.created_by ELSE 'engine' END,
       %(step)s <> '' AND (c.restricted_step = %(step)s
         OR EXISTS (SELECT FROM event e WHERE e.connection_id = c.id AND e.kind = 'connection_restricted'
                       AND e.data ->> 'step' = %(step)s AND e.at >= a.created_at))
  FROM attempt a JOIN job j ON j.id = a.job_id JOIN claim cl ON cl.id = a.claim_id
  JOIN connection c ON c.id = cl.connection_id
 WHERE a.id = %(attempt)s
    ON CONFLICT (claim_id) DO NOTHING"""

OVER = """
UPDATE quarantine q SET ended_at = clock_timestamp(), ended_by = j.created_by
  FROM attempt a JOIN job j ON j.id = a.job_id
 WHERE a.id = %(attempt)s AND q.claim_id = a.claim_id AND q.ended_at IS NULL"""

#: servers on which the step failed that the place is now blamed for
BLAMELESS = """
UPDATE quarantine q SET site = true FROM connection c
 WHERE c.id = %(id)s AND q.connection_id = c.id AND q.step = %(step)s AND q.ended_at IS NULL
   AND q.reason_class IN ('server', 'unknown')
   AND q.server_ref IN (SELECT failure ->> 0 FROM jsonb_array_elements(c.failures -> %(step)s) AS failure)"""

#: the place has healed, and nobody is at work on the claim
RETESTS = """
SELECT cl.id, q.id AS strike, q.step,
       (SELECT count(*) FROM quarantine o WHERE o.connection_id = q.connection_id AND o.server_ref = q.server_ref
           AND NOT o.site) AS strikes
  FROM quarantine q JOIN connection c ON c.id = q.connection_id JOIN claim cl ON cl.id = q.claim_id
 WHERE q.site AND q.ended_at IS NULL AND q.retested_at IS NULL AND c.state = 'active' AND cl.state = 'quarantined'
   AND NOT EXISTS (SELECT FROM job j WHERE j.claim_id = cl.id AND j.state IN ('queued', 'running', 'compensating'))
 LIMIT %(limit)s FOR UPDATE OF cl, q SKIP LOCKED"""

RETESTED = """
UPDATE quarantine SET retested_at = clock_timestamp() WHERE id = %(strike)s"""

#: the server, the claim on it, and who is at work on that; the claim is locked
STANDING = """
SELECT c.id AS connection_id, v.server_ref, v.gone_from, cl.id AS claim_id, cl.state, cl.reason,
       s.external_ref, s.panel, q.step,
       (SELECT j.id FROM job j WHERE j.claim_id = cl.id AND j.state IN ('queued', 'running', 'compensating')
         LIMIT 1) AS job_id,
       (SELECT count(*) FROM quarantine o WHERE o.connection_id = c.id AND o.server_ref = v.server_ref
           AND NOT o.site) AS strikes
  FROM connection c
  JOIN server_view v ON v.connection_id = c.id AND v.server_ref = %(server)s
  LEFT JOIN claim cl ON cl.connection_id = c.id AND cl.server_ref = v.server_ref AND cl.state <> 'ended'
  LEFT JOIN service s ON s.id = cl.service_id
  LEFT JOIN quarantine q ON q.claim_id = cl.id
 WHERE c.name = %(connection)s"""

CLAIM = """
INSERT INTO claim (connection_id, server_ref, state, note_token, reason)
VALUES (%(connection)s, %(server)s, 'held', gen_random_uuid()::text, %(reason)s) RETURNING id"""

NOTE = """
UPDATE claim SET note_token = 'provisioner ' || left(i.name, 8) || ' claim ' || claim.id
  FROM installation i WHERE claim.id = %(claim)s"""

#: reconcile sends its first message: it waits until now
START = """
WITH cl AS (UPDATE claim SET next_seq = next_seq + 1 WHERE id = %(claim)s
            RETURNING id, connection_id, created_at, next_seq - 1 AS seq),
j AS (
  INSERT INTO job (claim_id, seq, kind, state, params, reason, created_by)
  SELECT cl.id, (SELECT coalesce(max(o.seq), 0) + 1 FROM job o WHERE o.claim_id = cl.id), %(kind)s, 'running',
         jsonb_build_object('since', cl.created_at, 'failed_step', %(failed_step)s::text), %(reason)s, %(by)s
    FROM cl RETURNING id),
a AS (
  INSERT INTO attempt (job_id, n, connection_id, claim_id, state, pos, resume_at, reason)
  SELECT j.id, 1, cl.connection_id, cl.id, 'waiting', 0, clock_timestamp(), %(reason)s FROM j, cl RETURNING id),
st AS (
  INSERT INTO step (attempt_id, pos, name, direction, state, arrived_at, deadline_at)
  SELECT a.id, r.pos, r.name, 'forward', 'pending', CASE WHEN r.pos = 0 THEN clock_timestamp() END,
         CASE WHEN r.pos = 0 THEN clock_timestamp() + r.deadline * interval '1 s' END
    FROM a, jsonb_to_recordset(%(steps)s::jsonb) AS r (pos int, name text, deadline float)),
e AS (
  INSERT INTO event (claim_id, seq, job_id, kind, text, data)
  SELECT cl.id, cl.seq, j.id, 'commanded', %(text)s, jsonb_build_object('verb', %(kind)s::text) FROM cl, j)
SELECT id FROM j"""


def strike(session: Session, attempt_id: int, *, step: str, reason_class: str | None, reason: str) -> None:
    """Write the strike of an attempt whose claim stays in quarantine; safe to repeat."""
    session.rows(STRIKE, attempt=attempt_id, step=step, reason_class=reason_class, reason=reason)


def over(session: Session, attempt_id: int) -> None:
    """End the strike of an attempt whose claim has ended; its row stays as history."""
    session.rows(OVER, attempt=attempt_id)


def blameless(session: Session, connection_id: int, step: str) -> None:
    """Take the blame from the servers that *step* failed on: the place is at fault."""
    session.rows(BLAMELESS, id=connection_id, step=step)


class QuarantineStore:
    """Satisfies `ports.Quarantine`."""

    def __init__(self, database: Database) -> None:
        """Work on *database*."""
        self._db = database

    def retests(self, recipe: Recipe, limit: int) -> int:
        """Start the way back of servers whose place has healed; returns how many."""
        started = 0
        with self._db.transaction() as session:
            for row in session.rows(RETESTS, limit=limit):
                session.rows(RETESTED, strike=row["strike"])
                if row["strikes"] >= STRIKES_MOST:
                    continue  # a person decides
                text = f"retest: {row['step']} succeeds again at this place"
                self._start(
                    session,
                    row["id"],
                    JobKind.RETEST,
                    recipe=recipe,
                    by="engine",
                    text=text,
                    failed_step=row["step"],
                )
                started += 1
        return started

    def release(self, connection: str, server: str, *, recipe: Recipe, by: str, anyway: bool) -> int:
        """
        Start the way back of one server; returns the job.

        Raises:
            NotFound: no such connection or server.
            IllegalMove: not in quarantine, somebody is at work on it, or too many strikes.
        """
        with self._db.transaction() as session:
            standing, claim, step = self._standing(session, connection, server)
            why_not = release_refusal(standing, anyway=anyway)
            if why_not or claim is None:
                raise IllegalMove(f"server {server} of {connection}: {why_not}")
            text = f"release by {by}" + (" despite its strikes" if anyway else "")
            return self._start(session, claim, JobKind.RETEST, recipe=recipe, by=by, text=text, failed_step=step)

    def quarantine(self, connection: str, server: str, *, recipe: Recipe, by: str, reason: str) -> int:
        """
        Begin to take a free server out of sale; returns the job.

        Raises:
            NotFound: no such connection or server.
            IllegalMove: it is somebody's, or in quarantine already.
        """
        try:
            with self._db.transaction() as session:
                standing, _, _ = self._standing(session, connection, server)
                why_not = session.value("SELECT halted FROM installation") or quarantine_refusal(standing)
                if why_not:  # a halted one gives no serial: the panel may have seen it
                    raise IllegalMove(f"server {server} of {connection}: {why_not}")
                claim = session.value(CLAIM, connection=standing.connection_id, server=server, reason=reason)
                session.rows(NOTE, claim=claim)
                text = f"quarantine by {by}: {reason}"
                return self._start(session, claim, JobKind.QUARANTINE, recipe=recipe, by=by, text=text, reason=reason)
        except IntegrityError:  # an order took it between our look and our row
            raise IllegalMove(f"server {server} of {connection} was taken by an order just now; look again") from None

    @staticmethod
    def _standing(session: Session, connection: str, server: str) -> tuple[Standing, int | None, str]:
        """Lock the live claim on a server and say how it stands."""
        session.rows(
            "SELECT FROM claim cl JOIN connection c ON c.id = cl.connection_id "
            "WHERE c.name = %(connection)s AND cl.server_ref = %(server)s AND cl.state <> 'ended' FOR UPDATE OF cl",
            connection=connection,
            server=server,
        )
        row = session.row(STANDING, connection=connection, server=server)
        if row is None:
            raise NotFound(f"connection {connection!r} has no server {server!r} in its list")
        standing = Standing(
            connection_id=row["connection_id"],
            claim=row["state"] or "",
            claim_reason=row["reason"] or "",
            order=f"service {row['external_ref']} of {row['panel']}" if row["external_ref"] else "",
            job_id=row["job_id"],
            strikes=row["strikes"],
            gone=row["gone_from"] is not None,
        )
        return standing, row["claim_id"], row["step"] or ""

    @staticmethod
    def _start(
        session: Session, claim: int, kind: JobKind, *, recipe: Recipe, by: str, text: str, reason: str = "",
        failed_step: str = "",
    ) -> int:  # fmt: skip
        steps = [
            {"pos": i, "name": name, "deadline": deadline.total_seconds()} for i, (name, deadline) in enumerate(recipe)
        ]
        job: int = session.value(
            START,
            claim=claim,
            kind=kind,
            failed_step=failed_step,
            reason=reason,
            by=by,
            steps=as_json(steps),
            text=text,
        )
        return job
