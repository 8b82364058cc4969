"""List readings in PostgreSQL: who reads, what differs, whom it wakes."""

from collections.abc import Sequence
from dataclasses import fields
from datetime import datetime

from provisioner.domain.server import ListedServer, Listing, Power, ServerRef
from provisioner.domain.spans import Spans
from provisioner.domain.stock import bars, sentence, trouble, twins
from provisioner.ports import Observation, Wakeup
from provisioner.store import rows
from provisioner.store.connections import COUNT_TROUBLE, pause, resume
from provisioner.store.database import Database, Row, Session, as_json
from provisioner.store.messages import SEND, wakeup

#: of a row; read one by one, since `asdict` takes 16 times as long, for each server of each list
LISTED = tuple(one.name for one in fields(ListedServer))
KEPT = 60  #: starts of list calls that are remembered: enough to see three between an act and its settle time

TURN = """
UPDATE connection SET observe_owner = %(owner)s, observe_tried_at = clock_timestamp(),
       observe_lease_until = clock_timestamp() + %(lease)s * interval '1 s'
 WHERE id = %(id)s AND (observe_lease_until IS NULL OR observe_lease_until < clock_timestamp())
   AND (state <> 'paused' OR paused_by = 'away' OR (paused_by = 'denied' AND denied_count < %(denied)s))
RETURNING clock_timestamp() AS began_at, state = 'paused' AS probing"""

MINE = """
SELECT state, observations FROM connection WHERE id = %(id)s AND observe_owner = %(owner)s"""

VIEWS = """
SELECT server_ref, listed, barred, edges, gone_from FROM server_view
 WHERE connection_id = %(id)s"""

UPSERT = """
INSERT INTO server_view (connection_id, server_ref, listed, server_type, barred, trouble, changed_from, gone_from,
                         edges)
SELECT %(id)s, r.ref, r.listed, r.server_type, r.barred, r.trouble, %(began)s, NULL, r.edges
  FROM jsonb_to_recordset(%(rows)s::jsonb)
    AS r (ref text, listed jsonb, server_type text, barred text, trouble int, edges jsonb)
    ON CONFLICT (connection_id, server_ref) DO UPDATE
   SET listed = excluded.listed, server_type = excluded.server_type, barred = excluded.barred,
       trouble = excluded.trouble, changed_from = excluded.changed_from, gone_from = NULL, edges = excluded.edges"""

GONE = """
UPDATE server_view SET gone_from = %(began)s, changed_from = %(began)s
 WHERE connection_id = %(id)s AND gone_from IS NULL AND server_ref = ANY(%(refs)s)"""

READ = """
UPDATE connection SET observed_from = %(began)s, observe_owner = NULL, observe_lease_until = NULL, observe_error = '',
       away_count = 0, denied_count = 0,
       observations = (array_append(observations, %(began)s::timestamptz))
                      [greatest(1, cardinality(observations) + 2 - %(kept)s):]
 WHERE id = %(id)s"""

#: whose server changed since the list that they judged by, also while they were judging; or who waits for a list
#: that begins after an instant which has come. An attempt that waits has a claim that lives: by that the index is found
#: which holds no ended ones
WOKEN = """
WITH due AS (
  SELECT a.id FROM attempt a JOIN claim cl ON cl.id = a.claim_id AND cl.connection_id = a.connection_id
    JOIN server_view v ON v.connection_id = cl.connection_id AND v.server_ref = cl.server_ref
   WHERE a.connection_id = %(id)s AND a.awaits IS NOT NULL AND a.state = 'waiting' AND cl.state <> 'ended'
     AND (v.changed_from > a.seen_from OR a.resume_at <= %(began)s)
   ORDER BY a.id FOR NO KEY UPDATE OF a)
UPDATE attempt SET state = 'ready', awaits = NULL, ready_since = clock_timestamp(),
       resume_at = clock_timestamp() + wake_distance * interval '1 s'
  FROM due WHERE attempt.id = due.id RETURNING attempt.id"""

#: stock may have appeared, or the list that planning waited for is there; in one order, since two places may say so
PLANNED = """
WITH due AS (
  SELECT j.id FROM job j JOIN service s ON s.id = j.service_id
   WHERE j.state = 'queued' AND s.package -> 'connections' ? (SELECT name FROM connection WHERE id = %(id)s)
     AND (j.plan_at IS NOT NULL
          OR (j.waits_for = 'stock' AND s.package ->> 'server_type' = ANY(%(types)s)))
   ORDER BY j.id FOR UPDATE OF j)
UPDATE job SET plan_at = clock_timestamp() FROM due WHERE job.id = due.id"""

FAILED = """
UPDATE connection SET observe_owner = NULL, observe_lease_until = NULL, observe_error = %(reason)s
 WHERE id = %(id)s AND observe_owner = %(owner)s RETURNING id"""


class ObserverStore:
    """Satisfies `ports.Observer`."""

    def __init__(self, database: Database, spans: Spans) -> None:
        """Work on *database*."""
        self._db, self._spans = database, spans

    def turn(self, connection_id: int, owner: str) -> Observation | None:
        """Lease the connection's list; None while somebody else reads it."""
        row = self._db.row(TURN, id=connection_id, owner=owner, lease=self._spans.lease, denied=self._spans.denied_most)
        return Observation(connection_id, owner, row["began_at"], row["probing"]) if row else None

    def apply(self, observation: Observation, listing: Listing) -> Sequence[Wakeup]:
        """Write what differs, wake whom it concerns; returns the messages."""
        connection, began = observation.connection_id, observation.began_at
        with self._db.transaction() as session:
            if session.row(MINE, id=connection, owner=observation.owner) is None:
                return []
            known = {row["server_ref"]: row for row in session.rows(VIEWS, id=connection)}
            types = self._write(session, connection, began, listing, known)
            session.rows(PLANNED, id=connection, types=types)
            # the connection's row comes last in the lock order; until then the lease alone keeps others out
            if observation.probing:
                resume(session, connection, spread_seconds=self._spans.reconcile)
            found = session.rows(WOKEN, id=connection, began=began)
            session.rows(READ, id=connection, began=began, kept=KEPT)
            woken = [row["id"] for row in found]
            return [wakeup(row) for row in session.rows(SEND, attempts=woken)] if woken else []

    @staticmethod
    def _write(
        session: Session, connection: int, began: datetime, listing: Listing, known: dict[str, Row]
    ) -> list[str]:
        """Write the rows that differ; returns the types of which stock may have appeared."""
        doubles = twins(listing.servers)
        written, types = [], set()
        for server in listing.servers:
            if not server.ref:
                continue
            reasons = bars(server)
            if server.ref in doubles:
                reasons.append("another row with an owner has the same MAC or main address: they are one machine")
            barred = sentence(reasons)
            old = known.get(server.ref)
            listed = {name: getattr(server, name) for name in LISTED}
            if old and old["gone_from"] is None and old["listed"] == listed and old["barred"] == barred:
                continue
            if not barred:
                types.add(server.server_type)
            written.append(
                {
                    "ref": server.ref,
                    "listed": listed,
                    "server_type": server.server_type,
                    "barred": barred,
                    "trouble": trouble(server),
                    "edges": _edges(old, server, began),
                }
            )
        if written:
            session.rows(UPSERT, id=connection, began=began, rows=as_json(written))
        present = {server.ref for server in listing.servers}
        if "" in present:  # a row without its id may be anybody's: nobody is called gone by this list
            present |= {ServerRef(ref) for ref in known}
        gone = [ref for ref, row in known.items() if ref not in present and row["gone_from"] is None]
        if gone:
            session.rows(GONE, id=connection, began=began, refs=gone)
        return sorted(types)

    def failed(self, observation: Observation, reason: str, *, away: bool, denied: bool) -> None:
        """Give the turn back after a reading that can't be used; one that stays so pauses the connection."""
        connection = observation.connection_id
        with self._db.transaction() as session:
            if session.row(FAILED, id=connection, owner=observation.owner, reason=reason) is None:
                return
            count = session.row(COUNT_TROUBLE, id=connection, away=0 if denied else 1, denied=1 if denied else 0)
            if count is None or count["state"] not in ("active", "restricted"):
                return
            if denied:
                pause(session, connection, "denied", f"our credentials are refused: {reason}")
            elif count["away_count"] >= self._spans.away_after:
                what = "the place is away" if away else "its answers can't be used"
                pause(session, connection, "away", f"{what}: {reason}")


def _flags(server: ListedServer) -> dict[str, bool]:
    return {
        "power": server.power is Power.ON,
        "power_error": server.power_error,
        "install": server.installing,
        "failed": server.operation_failed,
    }


def _edges(old: Row | None, server: ListedServer, began: datetime) -> dict[str, object]:
    """Give the instants of the last rise and fall of each flag, with this reading's."""
    if old is None:
        return {}
    edges = dict(old["edges"])
    before = _flags(rows.listed(old["listed"]))
    for flag, up in _flags(server).items():
        if up != before[flag]:
            edges[f"{flag}_rose" if up else f"{flag}_fell"] = began.isoformat()
    return edges
