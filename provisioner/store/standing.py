"""How a service stands, as its lock shows it, and what is wanted of it after a job that did not do what it wanted."""

from provisioner.domain.blast import HELD
from provisioner.domain.life import JobAt, Phase, Standing, left
from provisioner.domain.states import AttemptState, Desired, JobKind, JobState, ServiceState
from provisioner.errors import NotFound
from provisioner.store.database import Row, Session, as_json

STANDING = """
SELECT s.state, s.desired, s.suspended_by, s.handed_over_at IS NOT NULL AS handed_over,
       s.claim_id IS NOT NULL AS claimed,
       coalesce((SELECT j.state = 'superseded' FROM job j JOIN attempt a ON a.job_id = j.id
                  WHERE j.service_id = s.id AND j.kind IN ('suspend', 'resume') AND a.state = 'ended'
                    AND EXISTS (SELECT FROM step p WHERE p.attempt_id = a.id AND p.acted_at IS NOT NULL)
                  ORDER BY a.id DESC LIMIT 1), false) AS half_switched
  FROM service s WHERE s.id = %(service)s"""

OPEN_JOBS = """
SELECT j.id, j.kind, j.state, j.params, j.held_reason, a.state AS attempt, c.state AS place,
       a.command ->> 'verb' = 'cancel' AS cancelled,
       EXISTS (SELECT FROM step h WHERE h.attempt_id = a.id AND h.name = 'hand_over' AND h.acted_at IS NOT NULL) AS past
  FROM job j
  LEFT JOIN attempt a ON a.job_id = j.id AND a.state <> 'ended'
  LEFT JOIN connection c ON c.id = a.connection_id
 WHERE j.service_id = %(service)s AND j.state IN ('queued', 'running', 'interrupted', 'compensating')
 ORDER BY j.seq"""

WANT = """
UPDATE service SET desired = coalesce(%(desired)s, desired), suspended_by = coalesce(%(suspended_by)s::jsonb,
       suspended_by) WHERE id = %(service)s"""

#: an attempt that stands is ended as it stands; one that runs goes on, and the new wish waits behind it
STOP = """
UPDATE attempt SET state = 'ended', ended_at = clock_timestamp(), resume_at = NULL, awaits = NULL, command = NULL,
       result = 'undone', reason = %(reason)s
 WHERE job_id = %(job)s AND state IN ('held', 'waiting', 'ready') RETURNING id"""


def standing(session: Session, service_id: int, *, but: int | None = None) -> Standing:
    """Give how a service stands; the caller holds its lock. The job *but* is left out."""
    row = session.row(STANDING, service=service_id)
    if row is None:
        raise NotFound("no such service")
    jobs = [
        JobAt(
            found["id"], JobKind(found["kind"]), _phase(found), found["params"], found["held_reason"].startswith(HELD)
        )
        for found in session.rows(OPEN_JOBS, service=service_id)
        if found["id"] != but
    ]
    return Standing(
        state=ServiceState(row["state"]),
        desired=Desired(row["desired"]),
        suspended_by=frozenset(row["suspended_by"]),
        handed_over=row["handed_over"],
        claimed=row["claimed"],
        jobs=tuple(jobs),
        half_switched=row["half_switched"],
    )


def _phase(row: Row) -> Phase:
    match JobState(row["state"]):
        case JobState.INTERRUPTED:
            return Phase.INTERRUPTED
        case JobState.COMPENSATING:
            return Phase.UNDO_STUCK if row["attempt"] == AttemptState.HELD else Phase.UNDOING
        case JobState.QUEUED:
            return Phase.QUEUED
        case _:
            stuck = row["attempt"] == AttemptState.HELD or row["place"] == "paused"
            if row["past"]:
                return Phase.PAST_STUCK if stuck else Phase.PAST
            if row["cancelled"]:  # its next touch turns it back
                return Phase.UNDOING
            return Phase.STUCK if stuck else Phase.GOING


def restate(session: Session, service_id: int, kind: JobKind | None = None, reason: str = "") -> None:
    """Write down what is wanted once a job of *kind* ended in vain; the caller holds the service's lock."""
    stands = left(standing(session, service_id), kind, reason)
    session.rows(WANT, service=service_id, desired=stands.desired, suspended_by=as_json(sorted(stands.suspended_by)))
