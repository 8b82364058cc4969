"""How the site as a whole stands, for the doctor and for metrics: one statement a figure, none reads what has ended."""

from provisioner.ports import Facts
from provisioner.store.database import Database

WORKERS = """
SELECT substr(name, 8) AS name, data ->> 'version' AS version, data -> 'queues' AS queues,
       extract(epoch FROM clock_timestamp() - at)::float8 AS age_seconds
  FROM heartbeat WHERE left(name, 7) = 'worker:' ORDER BY name"""

#: is its list wanted at all: nobody reads it where nothing waits for it
CONNECTIONS = """
SELECT c.name, c.queue, c.state, c.pause_reason, c.paused_by, c.restricted_step, c.observe_error, c.calls_failed,
       extract(epoch FROM clock_timestamp() - c.observed_from)::float8 AS list_age_seconds,
       EXISTS (SELECT FROM attempt a WHERE a.connection_id = c.id AND a.awaits IS NOT NULL) AS awaited,
       (SELECT d.name FROM department d WHERE d.id = c.in_charge) AS in_charge,
       EXISTS (SELECT FROM department d WHERE d.name = 'default') AS has_default
  FROM connection c ORDER BY c.name"""

#: queued jobs by what they wait for; of the others those that a person, the place, or the lack of a worker holds up
WAITING = """
WITH waits AS (
  SELECT j.id, coalesce(j.waits_for, 'slot') AS reason, coalesce(j.waits_since, j.created_at) AS since
    FROM job j WHERE j.state = 'queued'
   UNION ALL
  SELECT a.job_id, CASE WHEN a.state = 'held' THEN 'person' WHEN c.state = 'paused' THEN 'site'
                        WHEN a.starved THEN 'slot' ELSE 'worker' END,
         CASE WHEN a.state = 'held' THEN coalesce(a.held_since, a.created_at) WHEN c.state = 'paused' THEN c.paused_at
              ELSE a.ready_since END
    FROM attempt a JOIN connection c ON c.id = a.connection_id JOIN job j ON j.id = a.job_id
   WHERE a.state <> 'ended' AND j.state <> 'interrupted' AND (a.state IN ('held', 'ready') OR c.state = 'paused'))
SELECT reason, count(*) AS jobs, extract(epoch FROM clock_timestamp() - min(since))::float8 AS oldest_seconds,
       (array_agg(id ORDER BY since))[1] AS oldest_job
  FROM waits GROUP BY reason ORDER BY reason"""

#: what people were to hear and have not: events that nobody made messages of, and messages that no desk took
MESSAGES = """
SELECT extract(epoch FROM clock_timestamp()
                            - (SELECT e.at FROM event e WHERE e.id = (SELECT min(event_id) FROM outbox)))::float8
         AS untold_seconds, count(d.id) AS refused, (array_agg(d.ticket_id ORDER BY d.due_at))[1] AS ticket,
       (array_agg(d.error ORDER BY d.due_at))[1] AS error
  FROM delivery d WHERE d.sent_at IS NULL AND d.error <> ''"""

JOBS = """
SELECT state, count(*) AS jobs FROM job
 WHERE state IN ('queued', 'running', 'interrupted', 'compensating') GROUP BY state ORDER BY state"""

QUARANTINED = """
SELECT c.name AS connection, count(cl.id) AS servers
  FROM connection c LEFT JOIN claim cl ON cl.connection_id = c.id AND cl.state <> 'ended' AND cl.state = 'quarantined'
 GROUP BY c.name ORDER BY c.name"""


def workers(database: Database) -> list[Facts]:
    """Give the workers that gave a sign of life, also those that have been silent since."""
    return list(database.rows(WORKERS))


def connections(database: Database) -> list[Facts]:
    """Give each connection as the doctor sees it."""
    return list(database.rows(CONNECTIONS))


def waiting(database: Database) -> list[Facts]:
    """Give what waits, by reason, with the oldest."""
    return list(database.rows(WAITING))


def messages(database: Database) -> Facts:
    """Give since when the oldest event waits to be told, and the messages that were refused."""
    return database.row(MESSAGES) or {}


def jobs(database: Database) -> list[Facts]:
    """Count the jobs that have not ended, by state."""
    return list(database.rows(JOBS))


def quarantined(database: Database) -> list[Facts]:
    """Count the servers in quarantine, by connection."""
    return list(database.rows(QUARANTINED))
