"""Which ticket is to be looked at next, and what the look came to: a person closes one, and that is an answer."""

from provisioner.domain.spans import Spans
from provisioner.ports import Watched
from provisioner.store.database import Database
from provisioner.store.tickets import GIVE_TURN, LOOK, PACE, READS_MOST, TAKE_TURN, TURN

SLOWEST = 10.0  #: times the pace: the longest distance between two looks at a desk that does not answer

#: its question waits for an answer
ASKED = """(
       t.state = 'open' AND t.desk_ref <> ''
   AND EXISTS (SELECT FROM question q JOIN attempt a ON a.id = q.attempt_id
                WHERE q.id = split_part(t.matter, ':', 2)::bigint AND q.answered_at IS NULL
                  AND a.state <> 'ended' AND a.pos = q.pos))"""

#: its desk has heard all that we have to say of it: until then it may be closed there for what is over, or was
#: contradicted. And what the answer is checked by may be called now
HEARD = """(
       NOT EXISTS (SELECT FROM delivery m WHERE m.ticket_id = t.id AND m.sent_at IS NULL)
   AND NOT EXISTS (SELECT FROM outbox o JOIN event e ON e.id = o.event_id
                    WHERE e.kind = 'person_asked' AND e.data ->> 'question' = split_part(t.matter, ':', 2))
   AND NOT EXISTS (SELECT FROM connection c WHERE c.id = t.connection_id AND c.state = 'paused')
   AND NOT EXISTS (SELECT FROM installation WHERE halted <> ''))"""

#: never waits for who writes to a ticket: so it holds up nobody, and nobody is held up by it
SKIP = f"""
UPDATE ticket SET read_at = skipped.again
  FROM (SELECT t.id, CASE WHEN {ASKED} THEN {PACE} END AS again FROM ticket t
         WHERE t.read_at <= now() AND NOT ({ASKED} AND {HEARD}) FOR UPDATE OF t SKIP LOCKED) skipped
 WHERE ticket.id = skipped.id"""

TAKE = f"""
UPDATE ticket SET read_at = {PACE}
  FROM (SELECT t.id FROM ticket t WHERE t.read_at <= now() AND {ASKED} AND {HEARD}
         ORDER BY t.read_at LIMIT 1 FOR UPDATE OF t SKIP LOCKED) due, department d
 WHERE ticket.id = due.id AND d.id = ticket.department_id
RETURNING ticket.id, ticket.desk_ref, d.desk, d.name, split_part(ticket.matter, ':', 2)::bigint AS question"""

ANSWERED = """
UPDATE ticket SET read_failures = 0 WHERE id = %(ticket)s AND read_failures > 0"""

PUT_OFF = """
UPDATE ticket SET read_failures = failed.count,
       read_at = clock_timestamp() + %(read)s * least(2.0 ^ failed.count, %(slowest)s) * interval '1 s'
  FROM (SELECT least(read_failures + 1, 20) AS count FROM ticket WHERE id = %(ticket)s) failed
 WHERE ticket.id IN (
   SELECT t.id FROM ticket t JOIN department d ON d.id = t.department_id
    WHERE t.read_at IS NOT NULL AND (t.id = %(ticket)s OR (%(all)s AND d.desk = %(desk)s))
      FOR UPDATE OF t SKIP LOCKED)"""


class ClosingsStore:
    """Satisfies `ports.Closings`."""

    def __init__(self, database: Database, spans: Spans) -> None:
        """Work on *database* at the pace of *spans*."""
        self._db, self._spans = database, spans
        self._pace = {"read": spans.tell_read, "reads_most": READS_MOST}

    def take(self, owner: str) -> Watched | None:
        """Lease the turn and the ticket that was not looked at for longest; None when none is due."""
        with self._db.transaction() as session:
            if session.row(TAKE_TURN, turn=TURN, lease=self._spans.lease, owner=owner) is None:
                return None
            session.rows(SKIP, **self._pace)
            row = session.row(TAKE, **self._pace)
            if row is None:
                session.rows(GIVE_TURN, turn=TURN, owner=owner)
                return None
        return Watched(
            ticket=row["id"],
            question=row["question"],
            desk=row["desk"],
            ref=row["desk_ref"],
            department=row["name"],
            owner=owner,
        )

    def looked(self, watched: Watched) -> bool:
        """Record that the desk answered, give the turn back; says whether more is due at a desk."""
        self._db.rows(ANSWERED, ticket=watched.ticket)
        self._db.rows(GIVE_TURN, turn=TURN, owner=watched.owner)
        return bool((self._db.row(LOOK, turn=TURN) or {})["due"])

    def put_off(self, watched: Watched, *, desk: bool) -> None:
        """Give the turn back; looked at with growing distance: this ticket, with *desk* all that its desk has."""
        values = {"ticket": watched.ticket, "desk": watched.desk, "all": desk, "slowest": SLOWEST}
        self._db.rows(PUT_OFF, read=self._spans.tell_read, **values)
        self._db.rows(GIVE_TURN, turn=TURN, owner=watched.owner)
