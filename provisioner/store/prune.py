"""
What ended long ago is erased in small commits: jobs, ended claims, timelines; never what a living claim stands on.

A job on which a service's answer still depends stays as a row, without what is under it. Quarantine history stays,
and with it the claims that it names; services stay, so that a reference that was closed is never sold again.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta

from provisioner.ports import Cursor, Pruned
from provisioner.store.database import Database, Row, Session

BATCH = 200  #: rows looked at in one commit

#: oldest first; each commit looks at so many rows, whichever of them may go. A job stays
#: whole while a claim of its lives; as a row while it is what the same order again is answered with
JOBS = """
SELECT j.id, j.ended_at, j.secret_id,
       NOT EXISTS (SELECT FROM claim cl WHERE cl.id = j.claim_id AND cl.state <> 'ended')
       AND NOT EXISTS (SELECT FROM attempt a JOIN claim cl ON cl.id = a.claim_id
                        WHERE a.job_id = j.id AND (cl.state <> 'ended' OR a.state <> 'ended')) AS goes,
       s.handed_over_at IS NOT NULL AND j.seq = s.next_job_seq - 1 AS row_stays
  FROM job j LEFT JOIN service s ON s.id = j.service_id
 WHERE j.ended_at < %(before)s AND j.ended_at >= %(at)s AND (j.ended_at, j.id) > (%(at)s, %(id)s)
   AND j.state IN ('succeeded', 'failed', 'cancelled', 'superseded')
 ORDER BY j.ended_at, j.id LIMIT %(limit)s"""

UNDER_JOBS = {
    "events": "FROM event WHERE job_id = ANY(%(ids)s)",
    "idempotency keys": "FROM idempotency WHERE job_id = ANY(%(ids)s)",
    "steps": "FROM step WHERE attempt_id IN (SELECT id FROM attempt WHERE job_id = ANY(%(ids)s))",
    "attempts": "FROM attempt WHERE job_id = ANY(%(ids)s)",
}
JOB_ROWS = {"jobs": "FROM job WHERE id = ANY(%(ids)s)"}
SECRETS = {"secrets": "FROM secret WHERE id = ANY(%(ids)s)"}

CLAIMS = """
SELECT cl.id, cl.state = 'ended' AND cl.ended_at < %(before)s
       AND (s.id IS NULL OR s.state IN ('closed', 'failed') AND s.claim_id IS DISTINCT FROM cl.id)
       AND NOT EXISTS (SELECT FROM attempt a WHERE a.claim_id = cl.id)
       AND NOT EXISTS (SELECT FROM job j WHERE j.claim_id = cl.id)
       AND NOT EXISTS (SELECT FROM quarantine q WHERE q.claim_id = cl.id)
       AND NOT EXISTS (SELECT FROM address ad WHERE ad.claim_id = cl.id AND ad.state <> 'gone') AS goes
  FROM claim cl LEFT JOIN service s ON s.id = cl.service_id
 WHERE cl.id > %(id)s ORDER BY cl.id LIMIT %(limit)s"""

CLAIM_ROWS = {
    "events": "FROM event WHERE claim_id = ANY(%(ids)s)",
    "addresses": "FROM address WHERE claim_id = ANY(%(ids)s)",
    "claims": "FROM claim WHERE id = ANY(%(ids)s)",
}

SERVICES = """
SELECT id, state IN ('closed', 'failed') AS goes FROM service WHERE id > %(id)s ORDER BY id LIMIT %(limit)s"""

#: those of jobs go with their jobs
TIMELINES = {"events": "FROM event WHERE service_id = ANY(%(ids)s) AND job_id IS NULL AND at < %(before)s"}

#: a connection's events are numbered in the order of time
PLACES = """
SELECT e.id, e.connection_id, e.seq, e.at < %(before)s AS goes
  FROM (SELECT id FROM connection WHERE id >= %(connection)s ORDER BY id) c
  JOIN event e ON e.connection_id = c.id
 WHERE (e.connection_id, e.seq) > (%(connection)s, %(seq)s)
 ORDER BY e.connection_id, e.seq LIMIT %(limit)s"""

PLACE_ROWS = {"events": "FROM event WHERE id = ANY(%(ids)s)"}


class PruneStore:
    """Satisfies `ports.Pruner`."""

    def __init__(self, database: Database, *, batch: int = BATCH) -> None:
        """Erase from *database*, looking at *batch* rows a commit."""
        self._db, self._batch = database, batch

    def older_than(self, keep: timedelta) -> datetime:
        """Give the instant so long ago, by the database's clock."""
        found: datetime = self._db.value("SELECT clock_timestamp() - %(keep)s", keep=keep)
        return found

    def jobs(self, before: datetime, after: Cursor | None, *, dry: bool) -> Pruned:
        """Erase jobs that ended before, with all that is under them."""
        at, last = after or ("-infinity", 0)
        with self._db.transaction() as session:
            found = self._look(session, JOBS, lock="j", dry=dry, before=before, at=at, id=last)
            ids = [row["id"] for row in found if row["goes"]]
            rows = [row for row in found if row["goes"] and not row["row_stays"]]
            counts = {
                **_erase(session, UNDER_JOBS, ids, dry=dry),
                **_erase(session, JOB_ROWS, [row["id"] for row in rows], dry=dry),
                **_erase(session, SECRETS, [row["secret_id"] for row in rows if row["secret_id"]], dry=dry),
            }
        return Pruned(counts, self._next(found, lambda row: (row["ended_at"], row["id"])))

    def claims(self, before: datetime, after: Cursor | None, *, dry: bool) -> Pruned:
        """Erase claims that ended before and that nothing points at."""
        with self._db.transaction() as session:
            found = self._look(session, CLAIMS, lock="cl", dry=dry, before=before, id=after[0] if after else 0)
            counts = _erase(session, CLAIM_ROWS, [row["id"] for row in found if row["goes"]], dry=dry)
        return Pruned(counts, self._next(found, lambda row: (row["id"],)))

    def timelines(self, before: datetime, after: Cursor | None, *, dry: bool) -> Pruned:
        """Erase the older events of closed and failed services."""
        with self._db.transaction() as session:
            found = self._look(session, SERVICES, lock="", dry=dry, id=after[0] if after else 0)
            ids = [row["id"] for row in found if row["goes"]]
            counts = _erase(session, TIMELINES, ids, dry=dry, before=before)
        return Pruned(counts, self._next(found, lambda row: (row["id"],)))

    def places(self, before: datetime, after: Cursor | None, *, dry: bool) -> Pruned:
        """Erase the older events of connections."""
        connection, seq = after or (0, 0)
        with self._db.transaction() as session:
            found = self._look(session, PLACES, lock="", dry=dry, before=before, connection=connection, seq=seq)
            counts = _erase(session, PLACE_ROWS, [row["id"] for row in found if row["goes"]], dry=dry)
        return Pruned(counts, self._next(found, lambda row: (row["connection_id"], row["seq"])))

    def _look(self, session: Session, sql: str, *, lock: str, dry: bool, **values: object) -> list[Row]:
        """Give the next rows; whoever is at work on one of them goes first."""
        locked = f" FOR UPDATE OF {lock} SKIP LOCKED" if lock and not dry else ""
        return session.rows(sql + locked, **values, limit=self._batch)

    def _next(self, found: Sequence[Row], place: Callable[[Row], Cursor]) -> Cursor | None:
        """Give where the next commit goes on; None after the last."""
        return place(found[-1]) if found else None


def _erase(
    session: Session, what: Mapping[str, str], ids: Sequence[int], *, dry: bool, **values: object
) -> dict[str, int]:
    """Erase in the order in which nothing points at what goes, or only count."""
    counts = {}
    for name, rows in what.items():
        sql = (
            f"SELECT count(*) AS n {rows}"
            if dry
            else f"WITH gone AS (DELETE {rows} RETURNING 1) SELECT count(*) AS n FROM gone"
        )
        counts[name] = int(session.value(sql, ids=list(ids), **values)) if ids else 0
    return counts
