"""Jobs and timelines as they are shown: one statement a question, never a secret."""

from provisioner.ports import Facts
from provisioner.store.database import Database

STEPS = """
(SELECT coalesce(jsonb_agg(to_jsonb(st) - 'memo' - 'token' ORDER BY st.pos), '[]') FROM step st
  WHERE st.attempt_id = a.id)"""

ATTEMPTS = f"""
(SELECT coalesce(jsonb_agg(to_jsonb(a) - 'command' || jsonb_build_object(
          'connection', c.name, 'server', cl.server_ref, 'claim_state', cl.state, 'steps', {STEPS},
          'connection_state', c.state, 'pause_reason', c.pause_reason, 'paused_by', c.paused_by,
          'paused_at', c.paused_at, 'observe_tried_at', c.observe_tried_at) ORDER BY a.n), '[]')
   FROM attempt a LEFT JOIN connection c ON c.id = a.connection_id LEFT JOIN claim cl ON cl.id = a.claim_id
  WHERE a.job_id = j.id)"""

#: of the connections that a service's package names
PLACES = """
(SELECT coalesce(jsonb_agg(jsonb_build_object(
          'name', c.name, 'state', c.state, 'paused_by', c.paused_by, 'pause_reason', c.pause_reason,
          'paused_at', c.paused_at, 'restricted_step', c.restricted_step, 'canary_at', c.canary_at,
          'observe_tried_at', c.observe_tried_at) ORDER BY c.name), '[]')
   FROM connection c WHERE s.package -> 'connections' ? c.name)"""

#: what a person is asked, and the newest answer
QUESTION = """
(SELECT jsonb_build_object('kind', q.kind, 'department', coalesce(d.name, ''), 'asked_at', q.asked_at,
                           'due_at', q.due_at, 'overdue', q.overdue, 'says', q.says, 'answered_at', q.answered_at,
                           'answered_by', q.answered_by)
   FROM question q JOIN attempt a ON a.id = q.attempt_id LEFT JOIN department d ON d.id = q.department_id
  WHERE a.job_id = j.id ORDER BY q.id DESC LIMIT 1)"""

#: the job of the same service whose end another one waits for
FIRST = """
(SELECT jsonb_build_object('id', fi.id, 'kind', fi.kind, 'held', fa.state = 'held',
                           'reason', coalesce(nullif(fa.reason, ''), fs.outcome, ''))
   FROM job fi JOIN attempt fa ON fa.job_id = fi.id AND fa.state <> 'ended'
   LEFT JOIN step fs ON fs.attempt_id = fa.id AND fs.pos = fa.pos
  WHERE fi.service_id = j.service_id AND fi.id <> j.id AND fi.state IN ('running', 'compensating') LIMIT 1)"""

JOB = f"""
SELECT j.*, s.panel, s.external_ref, s.state AS service_state, s.hostname, s.held_reason,
       s.package ->> 'name' AS package, s.package ->> 'server_type' AS server_type,
       s.package ->> 'on_failure' AS on_failure, (s.package ->> 'stock_wait_seconds')::float AS stock_wait_seconds,
       cl.server_ref AS claim_server,
       (SELECT max(n.id) FROM job n WHERE n.service_id = j.service_id) AS newest_job,
       coalesce((SELECT max(e.seq) FROM event e WHERE e.job_id = j.id), 0) AS last_seq,
       {ATTEMPTS} AS attempts, {PLACES} AS places, {QUESTION} AS question,
       {FIRST} AS first, i.halted, i.halted_at, clock_timestamp() AS now
  FROM job j LEFT JOIN service s ON s.id = j.service_id LEFT JOIN claim cl ON cl.id = j.claim_id
  LEFT JOIN installation i ON true
 WHERE j.id = %(job)s AND (%(panel)s::text IS NULL OR s.panel = %(panel)s)"""

JOBS = """
SELECT j.id, j.kind, j.state, j.waits_for, j.waits_since, j.reason, j.created_at, j.ended_at, s.panel, s.external_ref,
       s.hostname, coalesce(acl.server_ref, cl.server_ref) AS server, a.n AS attempt, a.state AS attempt_state,
       st.pos AS step_pos, st.name AS step, st.state AS step_state, st.outcome, st.undoes, un.name AS undone
  FROM job j
  LEFT JOIN service s ON s.id = j.service_id
  LEFT JOIN claim cl ON cl.id = j.claim_id
  LEFT JOIN LATERAL (SELECT * FROM attempt WHERE attempt.job_id = j.id ORDER BY attempt.n DESC LIMIT 1) a ON true
  LEFT JOIN claim acl ON acl.id = a.claim_id
  LEFT JOIN step st ON st.attempt_id = a.id AND st.pos = a.pos
  LEFT JOIN step un ON un.attempt_id = a.id AND un.pos = st.undoes
 WHERE j.id < %(before)s
   AND (%(panel)s::text IS NULL OR s.panel = %(panel)s)
   AND (%(state)s::text IS NULL OR j.state = %(state)s)
   AND (%(waits_for)s::text IS NULL OR j.waits_for = %(waits_for)s)
   AND (%(service)s::text IS NULL OR s.external_ref = %(service)s)
 ORDER BY j.id DESC LIMIT %(limit)s"""

#: the newest of their services that failed, and what is held; a failed forward step counts before a failed undo
FAILURES = """
SELECT j.id, j.kind, CASE WHEN j.state = 'failed' THEN 'failed' ELSE 'held' END AS state, s.external_ref,
       cl.server_ref AS server, c.name AS connection, coalesce(nullif(c.location, ''), c.name) AS location,
       f.name AS step, coalesce(f.reason_class, a.reason_class) AS reason_class,
       coalesce(f.outcome, nullif(a.reason, ''), j.reason) AS error, coalesce(a.held_since, j.ended_at) AS since
  FROM job j
  LEFT JOIN service s ON s.id = j.service_id
  LEFT JOIN LATERAL (SELECT * FROM attempt WHERE attempt.job_id = j.id ORDER BY attempt.n DESC LIMIT 1) a ON true
  LEFT JOIN claim cl ON cl.id = a.claim_id
  LEFT JOIN connection c ON c.id = a.connection_id
  LEFT JOIN LATERAL (SELECT * FROM step WHERE step.attempt_id = a.id AND step.state = 'failed'
                      ORDER BY step.direction = 'back', step.pos LIMIT 1) f ON true
 WHERE ((j.state = 'failed' AND j.ended_at > clock_timestamp() - %(seconds)s * interval '1 s'
         AND NOT EXISTS (SELECT FROM job n WHERE n.service_id = j.service_id AND n.id > j.id))
        OR (j.state IN ('running', 'compensating') AND a.state = 'held'
            AND a.held_since > clock_timestamp() - %(seconds)s * interval '1 s'))
   AND (%(step)s::text IS NULL OR f.name = %(step)s)
   AND (%(location)s::text IS NULL OR coalesce(nullif(c.location, ''), c.name) = %(location)s)
 ORDER BY since, j.id LIMIT 5000"""

EVENTS = """
SELECT seq, at, kind, text, data, job_id, attempt_n AS attempt FROM event
 WHERE (%(job)s::bigint IS NULL OR job_id = %(job)s) AND (%(service)s::bigint IS NULL OR service_id = %(service)s)
   AND (%(job)s::bigint IS NOT NULL OR %(service)s::bigint IS NOT NULL) AND seq > %(after)s
 ORDER BY seq LIMIT %(limit)s"""


def job(database: Database, job_id: int, panel: str | None) -> Facts | None:
    """Give a job with attempts and steps."""
    return database.row(JOB, job=job_id, panel=panel)


def jobs(database: Database, **filters: object) -> list[Facts]:
    """List jobs, newest first."""
    return list(database.rows(JOBS, **filters))


def failures(database: Database, **filters: object) -> list[Facts]:
    """Give what failed or is held, oldest first."""
    return list(database.rows(FAILURES, **filters))


def events(database: Database, **filters: object) -> list[Facts]:
    """Give a timeline, oldest first."""
    return list(database.rows(EVENTS, **filters))
