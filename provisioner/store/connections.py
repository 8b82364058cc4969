"""
The state of a connection as the engine changes it: restricted, paused, healed, woken; SQL and its callers.

Its row comes last in the order of locks (service, job, attempt, step, claim, server, connection): whoever holds it
waits for nobody. It is locked `FOR NO KEY UPDATE`: who wrote a row that refers to it holds its key, and two who had
written one and then both wanted it whole would wait for each other.
"""

from collections.abc import Iterable

from provisioner.domain.events import EventKind
from provisioner.domain.spans import Spans
from provisioner.store.database import Session, as_json
from provisioner.store.quarantine import blameless

RESTRICTED = """
SELECT restricted_step FROM connection WHERE id = %(id)s FOR NO KEY UPDATE"""

TELL = """
WITH n AS (UPDATE connection SET next_seq = next_seq + 1 WHERE id = %(id)s RETURNING next_seq - 1 AS seq)
INSERT INTO event (connection_id, seq, kind, text, data)
SELECT %(id)s, n.seq, %(kind)s, %(text)s, %(data)s::jsonb FROM n"""

#: only a canary's failure doubles the distance to the next: those that were under way say nothing new
RESTRICT = """
UPDATE connection SET state = 'restricted', restricted_step = %(step)s, pause_reason = %(reason)s,
       canary_seconds = CASE WHEN restricted_step = %(step)s
                             THEN least(canary_seconds * 2, %(most)s) ELSE %(first)s END,
       canary_at = clock_timestamp() + CASE WHEN restricted_step = %(step)s
                             THEN least(canary_seconds * 2, %(most)s) ELSE %(first)s END * interval '1 s'
 WHERE id = %(id)s AND state IN ('active', 'restricted')
   AND (restricted_step <> %(step)s OR canary_at <= clock_timestamp()) RETURNING id"""

HEAL = """
UPDATE connection SET failures = failures - %(steps)s::text[],
       state = CASE WHEN state = 'restricted' AND restricted_step = ANY(%(steps)s) THEN 'active' ELSE state END,
       pause_reason = CASE WHEN state = 'restricted' AND restricted_step = ANY(%(steps)s) THEN ''
                           ELSE pause_reason END,
       canary_at = CASE WHEN restricted_step = ANY(%(steps)s) THEN NULL ELSE canary_at END,
       canary_seconds = CASE WHEN restricted_step = ANY(%(steps)s) THEN 0 ELSE canary_seconds END,
       restricted_step = CASE WHEN restricted_step = ANY(%(steps)s) THEN '' ELSE restricted_step END
 WHERE id = %(id)s RETURNING state"""

#: a place that is away: attempts stay where they are
PAUSE = """
UPDATE connection SET paused_at = clock_timestamp(), paused_by = %(by)s, pause_reason = %(reason)s, state = 'paused'
 WHERE id = %(id)s AND state IN ('active', 'restricted') RETURNING id"""

COUNT_TROUBLE = """
UPDATE connection SET away_count = away_count + %(away)s, denied_count = denied_count + %(denied)s,
       calls_failed = calls_failed + 1
 WHERE id = %(id)s RETURNING away_count, denied_count, state, name"""

#: whose deadlines a pause moves; in one order, since two may do it
ATTEMPTS = """
SELECT FROM attempt WHERE connection_id = %(id)s AND state <> 'ended' ORDER BY id FOR NO KEY UPDATE"""

STATE = """
SELECT state FROM connection WHERE id = %(id)s FOR NO KEY UPDATE"""

#: back: no deadline ran meanwhile, everybody takes a fresh look, spread over a few seconds
RESUME = """
WITH was AS MATERIALIZED (
  SELECT id, paused_at, clock_timestamp() AS now FROM connection WHERE id = %(id)s AND state = 'paused'),
back AS (
  UPDATE connection SET paused_at = NULL, paused_by = '', pause_reason = '', away_count = 0, denied_count = 0,
         state = CASE WHEN restricted_step <> '' THEN 'restricted' ELSE 'active' END
    FROM was WHERE connection.id = was.id RETURNING connection.id),
woken AS (
  UPDATE attempt SET resume_at = was.now + random() * %(spread)s * interval '1 s',
         ready_since = was.now, wake_distance = 0
    FROM was WHERE attempt.connection_id = was.id AND attempt.state IN ('ready', 'waiting')
     AND attempt.awaits IS NULL RETURNING attempt.id)
UPDATE step SET deadline_at = step.deadline_at + (was.now - was.paused_at)
  FROM attempt, was
 WHERE attempt.connection_id = was.id AND attempt.state <> 'ended' AND step.attempt_id = attempt.id
   AND step.pos = attempt.pos AND step.deadline_at IS NOT NULL"""

#: jobs that somebody holds are passed by: `look_again` finds those whose wait is over
REPLAN = """
WITH over AS (
  SELECT j.id FROM job j JOIN service s ON s.id = j.service_id
   WHERE j.state = 'queued' AND j.waits_for IN ('site', 'stock')
     AND s.package -> 'connections' ? (SELECT name FROM connection WHERE id = %(id)s)
     FOR UPDATE OF j SKIP LOCKED)
UPDATE job SET plan_at = clock_timestamp() FROM over WHERE job.id = over.id"""


def tell(session: Session, connection_id: int, kind: EventKind, text: str, **data: object) -> None:
    """Write an event of the connection."""
    session.rows(TELL, id=connection_id, kind=kind, text=text, data=as_json(data))


def restrict(session: Session, connection_id: int, step: str, reason: str, spans: Spans) -> None:
    """Take no new claims for recipes with *step* until a canary has passed it; one message a restriction."""
    blameless(session, connection_id, step)
    before = session.value(RESTRICTED, id=connection_id)
    values = {"id": connection_id, "step": step, "reason": reason, "first": spans.canary, "most": spans.canary_most}
    if session.row(RESTRICT, **values) and before != step:
        text = f"{step} fails for the place's fault: {reason}"
        tell(session, connection_id, EventKind.CONNECTION_RESTRICTED, text, step=step)


def heal(session: Session, connection_id: int, steps: Iterable[str]) -> None:
    """Forget failures of *steps*; lift a restriction that named one of them."""
    before = session.value(RESTRICTED, id=connection_id)
    names = list(steps)
    session.rows(HEAL, id=connection_id, steps=names)
    if before in names:
        tell(session, connection_id, EventKind.CONNECTION_HEALED, f"{before} succeeds again", step=before)
        session.rows(REPLAN, id=connection_id)


def pause(session: Session, connection_id: int, by: str, reason: str) -> None:
    """Stop all calls but one probe at a time."""
    if session.row(PAUSE, id=connection_id, by=by, reason=reason):
        tell(session, connection_id, EventKind.CONNECTION_PAUSED, reason, by=by)


def resume(
    session: Session,
    connection_id: int,
    *,
    says: str = "the place is back",
    spread_seconds: float = 2.0,
    **data: object,
) -> bool:
    """
    Go on after a pause: paused time is added to every deadline that stood; False if there was none.

    Locks all attempts of the place, then the place: whoever locks one of them besides does so afterwards.
    """
    session.rows(ATTEMPTS, id=connection_id)
    if session.value(STATE, id=connection_id) != "paused":
        return False
    session.rows(RESUME, id=connection_id, spread=spread_seconds)
    session.rows(REPLAN, id=connection_id)
    tell(session, connection_id, EventKind.CONNECTION_HEALED, says, **data)
    return True
