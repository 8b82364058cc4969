"""What is due by the clock: leases that ran out, waits that are over, messages that seem lost, spent secrets."""

from collections.abc import Sequence

from provisioner.domain.spans import Spans
from provisioner.ports import Lost, Wakeup
from provisioner.store.database import Database
from provisioner.store.installation import compare
from provisioner.store.messages import SEND, wakeup

#: whose turn it is: the heartbeat is older than the interval, or an order waits to be planned
BEAT = """
INSERT INTO heartbeat (name, at) VALUES (%(name)s, clock_timestamp())
    ON CONFLICT (name) DO UPDATE SET at = clock_timestamp()
 WHERE heartbeat.at <= clock_timestamp() - %(interval)s * interval '1 s'
    OR EXISTS (SELECT FROM job WHERE state = 'queued' AND plan_at <= clock_timestamp())
RETURNING name"""

EXPIRED = """
WITH dead AS (
  SELECT id, last_task_id, worker FROM attempt WHERE state = 'running' AND lease_until < clock_timestamp()
   ORDER BY lease_until LIMIT %(limit)s FOR UPDATE SKIP LOCKED)
UPDATE attempt SET state = 'ready', owner = NULL, lease_until = NULL, wake_distance = %(grace)s,
       ready_since = clock_timestamp(), resume_at = clock_timestamp() + %(grace)s * interval '1 s'
  FROM dead WHERE attempt.id = dead.id RETURNING attempt.id, dead.last_task_id, dead.worker"""

#: waits that are over become ready; a ready one whose message seems lost is sent again, with doubling distance
DUE = """
WITH due AS (
  SELECT a.id, a.state = 'ready' AS again, greatest(a.wake_distance, %(grace)s) AS distance
    FROM attempt a JOIN connection c ON c.id = a.connection_id
   WHERE a.state IN ('ready', 'waiting') AND a.awaits IS NULL AND a.resume_at <= clock_timestamp()
     AND c.state <> 'paused'
   ORDER BY a.resume_at LIMIT %(limit)s FOR UPDATE OF a SKIP LOCKED),
next AS (SELECT id, again, CASE WHEN again THEN least(distance * 2, %(most)s) ELSE distance END AS distance FROM due)
UPDATE attempt a SET state = 'ready', starved = false, wake_distance = next.distance,
       ready_since = CASE WHEN next.again THEN a.ready_since ELSE clock_timestamp() END,
       resume_at = clock_timestamp() + next.distance * interval '1 s'
  FROM next WHERE a.id = next.id RETURNING a.id"""

#: leases of processes of this host, boot and namespace that are provably dead
ORPHANS = """
UPDATE attempt SET lease_until = clock_timestamp() - interval '1 ms'
 WHERE state = 'running' AND lease_until > clock_timestamp() AND owner = ANY(%(owners)s) RETURNING id"""

STOCK_WAIT_OVER = """
WITH over AS (
  SELECT j.id, j.service_id FROM job j JOIN service s ON s.id = j.service_id
   WHERE j.state = 'queued' AND j.waits_for = 'stock'
     AND j.stock_since < clock_timestamp() - (s.package ->> 'stock_wait_seconds')::float * interval '1 s'
   LIMIT 50 FOR UPDATE OF s, j SKIP LOCKED),
ended AS (
  UPDATE job SET state = 'failed', ended_at = clock_timestamp(), waits_for = NULL, plan_at = NULL,
         reason = 'no server came free in the time that the package allows to wait'
    FROM over WHERE job.id = over.id RETURNING job.id, job.service_id, job.reason),
failed AS (
  UPDATE service SET state = 'failed', next_seq = next_seq + 1 FROM ended WHERE service.id = ended.service_id
  RETURNING service.id, next_seq - 1 AS seq)
INSERT INTO event (service_id, seq, job_id, kind, text)
SELECT failed.id, failed.seq, ended.id, 'job_ended', 'job failed: ' || ended.reason
  FROM failed JOIN ended ON ended.service_id = failed.id"""

#: only a clock that stands still can use the index. A service that names two of them is one update: a second one of
#: the same row in one statement would be lost
SPENT_SECRETS = """
WITH spent AS MATERIALIZED (
  SELECT id FROM secret WHERE expires_at < now() LIMIT 100 FOR UPDATE SKIP LOCKED),
owners AS (
  SELECT s.id FROM spent JOIN service s ON s.root_secret = spent.id
   UNION SELECT s.id FROM spent JOIN service s ON s.panel_secret = spent.id),
services AS (
  UPDATE service SET root_secret = CASE WHEN root_secret NOT IN (SELECT id FROM spent) THEN root_secret END,
         panel_secret = CASE WHEN panel_secret NOT IN (SELECT id FROM spent) THEN panel_secret END
    FROM owners WHERE service.id = owners.id),
jobs AS (UPDATE job SET secret_id = NULL FROM spent WHERE secret_id = spent.id)
SELECT id FROM spent"""


class ReconcilerStore:
    """Satisfies `ports.Reconciler`."""

    def __init__(self, database: Database, spans: Spans) -> None:
        """Work on *database* with the distances of *spans*."""
        self._db, self._spans = database, spans

    def beat(self, name: str, interval_seconds: float) -> bool:
        """Say whether it is this process's turn."""
        return self._db.row(BEAT, name=name, interval=interval_seconds) is not None

    def expired(self, limit: int) -> Sequence[Lost]:
        """Make attempts whose lease ran out ready again."""
        dead = self._db.rows(EXPIRED, limit=limit, grace=self._spans.wake_grace)
        if not dead:
            return []
        tasks = {row["id"]: (row["last_task_id"], row["worker"]) for row in dead}
        return [Lost(*tasks[message.attempt_id], message) for message in self._messages(list(tasks))]

    def due(self, limit: int) -> Sequence[Wakeup]:
        """Make attempts ready whose wait is over, and give those whose message seems lost."""
        found = self._db.rows(DUE, limit=limit, grace=self._spans.wake_grace, most=self._spans.wake_most)
        return self._messages([row["id"] for row in found]) if found else []

    def running_owners(self, host: str) -> Sequence[str]:
        """Give the owners of running attempts whose name begins with *host*."""
        found = self._db.rows("SELECT owner FROM attempt WHERE state = 'running'")
        return [row["owner"] for row in found if row["owner"].startswith(host)]

    def bury(self, owners: Sequence[str]) -> int:
        """Let the leases of dead *owners* run out at once; returns how many there were."""
        return len(self._db.rows(ORPHANS, owners=list(owners))) if owners else 0

    def sweep(self) -> None:
        """Erase secrets that are due, end jobs that waited too long for stock."""
        with self._db.once() as session:
            compare(session)  # a standby that was promoted under a connection of ours, and what no reconnect shows
        self._db.rows(STOCK_WAIT_OVER)
        with self._db.transaction() as session:
            spent = [row["id"] for row in session.rows(SPENT_SECRETS)]
            if spent:
                session.rows("DELETE FROM secret WHERE id = ANY(%(ids)s)", ids=spent)

    def _messages(self, attempts: Sequence[int]) -> list[Wakeup]:
        return [wakeup(row) for row in self._db.rows(SEND, attempts=list(attempts))]
