"""
Callbacks to billing in PostgreSQL: which service changed since its panel was told, whose turn it is, what came of it.

That a service changed is written by a trigger, in the event's own transaction. Lock order: service → callback →
callback_due; an event locks its service and its own row here, nothing else.
"""

from datetime import timedelta

from provisioner.domain.events import EventKind
from provisioner.domain.spans import Spans
from provisioner.errors import Invalid, NotFound
from provisioner.ports import Callback
from provisioner.store.database import Database, Session, as_json

#: each tick: whom to send for. A wake-up that is lost is sent again after a while
ASK = """
UPDATE callback c SET asked_at = clock_timestamp()
 WHERE (%(panel)s::text IS NULL OR c.panel = %(panel)s)
   AND (c.lease_until IS NULL OR c.lease_until <= clock_timestamp())
   AND (c.rests_until IS NULL OR c.rests_until <= clock_timestamp())
   AND (c.asked_at IS NULL OR c.asked_at <= clock_timestamp() - %(grace)s * interval '1 s')
   AND EXISTS (SELECT FROM callback_due d WHERE d.panel = c.panel AND d.failed_at IS NULL AND d.due_at <= now())
RETURNING c.panel"""

#: the panel's row is the turn; of its services the one that is longest due
TAKE = """
WITH p AS (
  SELECT panel FROM callback
   WHERE panel = %(panel)s AND (lease_until IS NULL OR lease_until <= clock_timestamp())
     AND (rests_until IS NULL OR rests_until <= clock_timestamp()) FOR UPDATE SKIP LOCKED),
n AS (
  SELECT d.service_id FROM callback_due d JOIN p USING (panel) WHERE d.failed_at IS NULL AND d.due_at <= now()
   ORDER BY d.due_at LIMIT 1),
t AS (
  UPDATE callback_due d SET tries = d.tries + 1 FROM n WHERE d.service_id = n.service_id RETURNING d.*),
c AS (
  UPDATE callback SET owner = CASE WHEN EXISTS (SELECT FROM n) THEN %(owner)s ELSE '' END, asked_at = NULL,
         lease_until = CASE WHEN EXISTS (SELECT FROM n) THEN clock_timestamp() + %(lease)s * interval '1 s' END,
         taken_at = clock_timestamp()
    FROM p WHERE callback.panel = p.panel RETURNING callback.*)
SELECT t.service_id, t.panel, t.seq, t.replay, t.tries, s.external_ref, c.url, k.ciphertext,
       (SELECT left(name, 8) FROM installation) || '.' || t.service_id || '.' || t.seq
         || CASE WHEN t.replay > 0 THEN '.' || t.replay ELSE '' END AS key,
       coalesce(t.failing_since <= clock_timestamp() - %(most)s * interval '1 s', false) AS last_try,
       coalesce(c.failing_since <= clock_timestamp() - %(most)s * interval '1 s', false) AS given_up
  FROM t CROSS JOIN c JOIN service s ON s.id = t.service_id JOIN secret k ON k.id = c.secret_id"""

#: how often the receiver failed before this success; a receiver that is slow leaves as much time to others as it took
SENT_PANEL = """
WITH was AS (SELECT failures FROM callback WHERE panel = %(panel)s FOR UPDATE)
UPDATE callback SET failures = 0, failing_since = NULL, error = '', sent_at = clock_timestamp(),
       owner = CASE WHEN owner = %(owner)s THEN '' ELSE owner END,
       lease_until = CASE WHEN owner = %(owner)s THEN NULL ELSE lease_until END,
       rests_until = CASE WHEN owner = %(owner)s AND clock_timestamp() - taken_at > interval '1 s'
                          THEN clock_timestamp() + (clock_timestamp() - taken_at) END
  FROM was WHERE panel = %(panel)s RETURNING was.failures"""

SENT = """
DELETE FROM callback_due WHERE service_id = %(service)s AND seq = %(seq)s AND replay = %(replay)s"""

#: something newer happened meanwhile: it begins anew
NEWER = """
UPDATE callback_due SET tries = 0, failing_since = NULL, due_at = clock_timestamp()
 WHERE service_id = %(service)s AND failed_at IS NULL"""

#: the receiver is back: what waited for its own distance goes now; what an event holds just now is due by itself
BACK = """
UPDATE callback_due SET due_at = clock_timestamp()
 WHERE service_id IN (SELECT service_id FROM callback_due WHERE panel = %(panel)s AND failed_at IS NULL
                         AND due_at > clock_timestamp() FOR UPDATE SKIP LOCKED)"""

MINE = """
SELECT owner = %(owner)s AS mine FROM callback WHERE panel = %(panel)s FOR UPDATE"""

#: one service that the receiver can't take must not hold up the others for long, a receiver that is away must
REST = """
UPDATE callback SET owner = '', lease_until = NULL, error = %(why)s, failures = failures + 1,
       failing_since = coalesce(failing_since, taken_at),
       rests_until = clock_timestamp() + least(%(first)s / 16 * 2 ^ least(failures, 20), %(most)s) * interval '1 s'
 WHERE panel = %(panel)s"""

PUT_OFF = """
UPDATE callback_due d SET failing_since = coalesce(d.failing_since, c.taken_at),
       due_at = clock_timestamp() + least(%(first)s * 2 ^ least(d.tries - 1, 20), %(most)s) * interval '1 s'
  FROM callback c WHERE c.panel = d.panel AND d.service_id = %(service)s"""

GIVE_UP = """
UPDATE callback_due SET failed_at = clock_timestamp()
 WHERE service_id IN (SELECT service_id FROM callback_due WHERE panel = %(panel)s AND failed_at IS NULL
                         AND (%(all)s OR service_id = %(service)s) FOR UPDATE SKIP LOCKED)
RETURNING service_id"""

#: first in the lock order
SERVICE = """
SELECT id FROM service WHERE id = %(service)s FOR NO KEY UPDATE"""

TOLD = """
WITH s AS (UPDATE service SET next_seq = next_seq + 1 WHERE id = %(service)s RETURNING next_seq - 1 AS seq)
INSERT INTO event (service_id, seq, kind, text, data)
SELECT %(service)s, s.seq, %(kind)s, %(text)s, %(data)s::jsonb FROM s"""

PANELS = """
SELECT panel FROM token WHERE panel <> '' UNION SELECT panel FROM service WHERE panel = %(panel)s ORDER BY panel"""

STANDS = """
SELECT secret_id FROM callback WHERE panel = %(panel)s FOR UPDATE"""

#: another address, or another secret: what waits is tried at once
PUT = """
WITH k AS (INSERT INTO secret (ciphertext, key_id) SELECT %(ciphertext)s::bytea, %(key_id)s::text
            WHERE %(ciphertext)s::bytea IS NOT NULL RETURNING id)
INSERT INTO callback (panel, url, secret_id) VALUES (%(panel)s, %(url)s, coalesce((SELECT id FROM k), %(secret)s))
    ON CONFLICT (panel) DO UPDATE SET url = excluded.url, secret_id = excluded.secret_id, rests_until = NULL,
        failing_since = NULL"""

ERASE = """
DELETE FROM secret WHERE id = %(secret)s"""

DELETE = """
DELETE FROM callback WHERE panel = %(panel)s RETURNING secret_id"""

FORGET = """
DELETE FROM callback_due WHERE panel = %(panel)s"""

#: a receiver that knows an id would not listen again: a replay has one of its own, and the same number
REPLAY = """
INSERT INTO callback_due AS d (service_id, panel, seq, replay)
SELECT s.id, s.panel, s.next_seq - 1, floor(extract(epoch FROM clock_timestamp()) * 1000) FROM service s
 WHERE s.panel = %(panel)s AND (%(ref)s::text IS NULL OR s.external_ref = %(ref)s)
   AND (%(since)s::interval IS NULL OR EXISTS (
     SELECT FROM event e WHERE e.service_id = s.id AND e.at >= clock_timestamp() - %(since)s::interval))
   AND (NOT %(failed)s OR EXISTS (
     SELECT FROM callback_due f WHERE f.service_id = s.id AND f.failed_at IS NOT NULL))
 ORDER BY s.id
    ON CONFLICT (service_id) DO UPDATE
   SET seq = greatest(d.seq, excluded.seq), replay = excluded.replay, due_at = excluded.due_at, tries = 0,
       failing_since = NULL, failed_at = NULL
RETURNING service_id"""

AWAKE = """
UPDATE callback SET rests_until = NULL, failing_since = NULL WHERE panel = %(panel)s RETURNING panel"""

DISTANCE_MOST = 3600.0  #: seconds; longest distance between two tries
BACK_AFTER = 3  #: failures in a row after which a success means that the receiver is back


class CallbacksStore:
    """Satisfies `ports.Callbacks`."""

    def __init__(self, database: Database, spans: Spans) -> None:
        """Work on *database* with the distances of *spans*."""
        self._db, self._spans = database, spans

    # --- sending --------------------------------------------------------------------------------------------------

    def ask(self, panel: str | None = None) -> list[str]:
        """Give the panels, or of them *panel*, that a callback is due for and nobody was asked to send to."""
        return [row["panel"] for row in self._db.rows(ASK, panel=panel, grace=self._spans.wake_grace)]

    def take(self, panel: str, owner: str) -> Callback | None:
        """Lease the panel's turn and what is longest due; None while somebody else sends, it rests, or none is due."""
        row = self._db.row(TAKE, panel=panel, owner=owner, lease=self._spans.lease, most=self._spans.callback_most)
        if row is None:
            return None
        return Callback(
            key=row["key"],
            panel=row["panel"],
            service_id=row["service_id"],
            external_ref=row["external_ref"],
            sequence=row["seq"],
            replay=row["replay"],
            url=row["url"],
            secret=bytes(row["ciphertext"]),
            tries=row["tries"],
            owner=owner,
            last_try=row["last_try"],
            given_up=row["given_up"],
        )

    def sent(self, callback: Callback) -> None:
        """Record that billing took it, give the turn back; what is newer stays due."""
        values = {"service": callback.service_id, "seq": callback.sequence, "replay": callback.replay}
        with self._db.transaction() as session:
            failures = session.value(SENT_PANEL, panel=callback.panel, owner=callback.owner)
            session.rows(SENT, **values)
            session.rows(NEWER, service=callback.service_id)
            if failures is not None and failures >= BACK_AFTER:
                session.rows(BACK, panel=callback.panel)

    def put_off(self, callback: Callback, why: str) -> None:
        """Record why billing did not take it, give the turn back; tried again with growing distance, then given up."""
        values = {"panel": callback.panel, "service": callback.service_id}
        distance = {"first": self._spans.tell_again, "most": max(DISTANCE_MOST, self._spans.tell_again)}
        with self._db.transaction() as session:
            if callback.last_try or callback.given_up:
                session.rows(SERVICE, service=callback.service_id)
            if not session.value(MINE, panel=callback.panel, owner=callback.owner):
                return  # the lease ran out: whoever has the turn now records what it sees
            session.rows(PUT_OFF, service=callback.service_id, **distance)
            session.rows(REST, panel=callback.panel, why=why, **distance)
            if callback.last_try or callback.given_up:
                gone = session.rows(GIVE_UP, **values, all=callback.given_up)
                self._tell(session, callback, why, len(gone))

    @staticmethod
    def _tell(session: Session, callback: Callback, why: str, count: int) -> None:
        text = f"billing {callback.panel} was not told for too long, {count} services are given up: {why}"
        data = as_json({"panel": callback.panel, "count": count})
        session.rows(TOLD, service=callback.service_id, kind=EventKind.CALLBACK_FAILED, text=text, data=data)

    # --- set-up ---------------------------------------------------------------------------------------------------

    def check_panel(self, panel: str) -> None:
        """Return for a panel that a token or a service names. Raises `Invalid`."""
        known = [row["panel"] for row in self._db.rows(PANELS, panel=panel)]
        if panel not in known:
            there = f"there are {', '.join(known)}" if known else "make one with `provisioner token create --panel`"
            raise Invalid(f"no token orders for panel {panel!r}; {there}", field="panel")

    def has_secret(self, panel: str) -> bool:
        """Say whether the panel has a callback, and with it a secret."""
        return self._db.row("SELECT FROM callback WHERE panel = %(panel)s", panel=panel) is not None

    def put(self, panel: str, url: str, sealed: tuple[bytes, str] | None) -> None:
        """
        Make or change a panel's callback; None keeps its secret. What waits is tried at once.

        Raises:
            NotFound: there is no secret to keep: it was deleted meanwhile.
        """
        ciphertext, key_id = sealed or (None, None)
        with self._db.transaction() as session:
            old = session.row(STANDS, panel=panel)
            if old is None and sealed is None:
                raise NotFound(f"panel {panel!r} has no callback any more")
            secret = old["secret_id"] if old else None
            session.rows(PUT, panel=panel, url=url, ciphertext=ciphertext, key_id=key_id, secret=secret)
            if old and sealed:
                session.rows(ERASE, secret=secret)
            session.rows(BACK, panel=panel)

    def delete(self, panel: str) -> None:
        """Forget a panel's callback, its secret, and what waits for it. Raises `NotFound`."""
        with self._db.transaction() as session:
            found = session.row(DELETE, panel=panel)
            if found is None:
                raise NotFound(f"panel {panel!r} has no callback; see `provisioner callback list`")
            session.rows(FORGET, panel=panel)
            session.rows(ERASE, secret=found["secret_id"])

    def replay(self, panel: str, *, ref: str | None, since: timedelta | None, failed: bool) -> int:
        """
        Tell a panel anew of one of its services, of some, or of all; returns of how many.

        *since*: those to which something happened so long ago or later; *failed*: those that were given up.

        Raises:
            NotFound: no such panel, or none of its services has that reference.
        """
        with self._db.transaction() as session:
            if session.row(AWAKE, panel=panel) is None:
                raise NotFound(f"panel {panel!r} has no callback; see `provisioner callback list`")
            found = session.rows(REPLAY, panel=panel, ref=ref, since=since, failed=failed)
            known = "SELECT FROM service WHERE panel = %(panel)s AND external_ref = %(ref)s"
            if ref is not None and not found and session.row(known, panel=panel, ref=ref) is None:
                raise NotFound(f"panel {panel!r} has no service {ref!r}")
        return len(found)
