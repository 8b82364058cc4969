"""Messages to people in PostgreSQL: what happened becomes tickets, one a matter; their messages wait to be sent."""

from collections.abc import Sequence

import structlog

from provisioner.domain import matters
from provisioner.domain.events import EventKind
from provisioner.domain.matters import Department, Kind, Texts, Told
from provisioner.domain.spans import Spans
from provisioner.ports import Delivery, DeliveryKind, Message
from provisioner.store.database import Database, Row, Session, hot

log = structlog.get_logger()

#: one turn an installation: a mail server that hangs holds one slot of one worker
TURN = "deliver"

#: tickets that are looked at within one pace; more of them are looked at less often
READS_MOST = 60

#: when a ticket is looked at next
PACE = """(
  clock_timestamp() + %(read)s * interval '1 s'
  * greatest(1, (SELECT count(*) FROM ticket x WHERE x.read_at IS NOT NULL) / %(reads_most)s::float8))"""

#: asked each tick: one statement, all parts by an index, which only a clock that stands still can use
LOOK = """
SELECT EXISTS (SELECT FROM outbox) AS told,
       (EXISTS (SELECT FROM delivery WHERE sent_at IS NULL AND due_at <= now())
        OR EXISTS (SELECT FROM ticket WHERE read_at <= now()))
       AND NOT EXISTS (SELECT FROM heartbeat WHERE name = %(turn)s AND at > clock_timestamp()) AS due"""

#: one projection at a time: two would meet at a matter from two sides
ALONE = """
SELECT pg_try_advisory_xact_lock(hashtext('provisioner outbox'))"""

#: where a server stands, as its DCIM last listed it
RACK = """
(SELECT v.listed ->> 'rack' FROM server_view v
  WHERE v.connection_id = q.connection_id AND v.server_ref = q.server_ref)"""

EVENTS = f"""
WITH o AS (SELECT event_id FROM outbox ORDER BY event_id LIMIT %(limit)s FOR UPDATE SKIP LOCKED)
SELECT e.id, e.kind, e.text, e.data, e.at, e.job_id, j.kind AS job_kind, j.state AS job_state, j.created_by,
       s.external_ref, s.panel, a.reason_class, cl.id AS claim_id, cl.server_ref,
       v.listed ->> 'rack' AS rack,
       c.id AS connection_id, c.name AS connection, d.id AS department_id, d.name AS department, d.language,
       (SELECT st.name FROM step st WHERE st.attempt_id = a.id AND st.state = 'failed' AND st.direction = 'forward'
         ORDER BY st.pos DESC LIMIT 1) AS failed_step,
       (SELECT jsonb_agg(jsonb_build_array(q.server_ref, q.step, q.reason, {RACK}) ORDER BY q.id)
          FROM attempt o JOIN quarantine q ON q.claim_id = o.claim_id
         WHERE o.job_id = e.job_id AND e.kind = 'job_ended' AND j.service_id IS NOT NULL
           AND q.step <> '' AND NOT q.site AND q.ended_at IS NULL) AS quarantined
  FROM o JOIN event e ON e.id = o.event_id
  LEFT JOIN job j ON j.id = e.job_id
  LEFT JOIN attempt a ON a.job_id = e.job_id AND a.n = e.attempt_n
  LEFT JOIN service s ON s.id = coalesce(e.service_id, j.service_id)
  LEFT JOIN claim cl ON cl.id = coalesce(a.claim_id, e.claim_id, s.claim_id)
  LEFT JOIN connection c ON c.id = coalesce(e.connection_id, a.connection_id, cl.connection_id)
  LEFT JOIN server_view v ON v.connection_id = cl.connection_id AND v.server_ref = cl.server_ref
  LEFT JOIN question q ON e.kind = 'person_asked' AND q.id = (e.data ->> 'question')::bigint
  LEFT JOIN department d
    ON d.id = coalesce(q.department_id, c.in_charge, (SELECT id FROM department WHERE name = 'default'))
 ORDER BY e.id"""

FORGET = """
DELETE FROM outbox WHERE event_id = ANY(%(ids)s)"""

AGAIN = """
UPDATE ticket SET count = count + 1 WHERE matter = %(matter)s AND state = 'open' RETURNING id, count"""

#: a place that comes and goes has one thread, not a new one each time
REOPEN = """
UPDATE ticket SET state = 'open', closed_at = NULL, count = count + 1
 WHERE id = (SELECT id FROM ticket WHERE matter = %(matter)s AND department_id = %(department)s
                AND closed_at > clock_timestamp() - interval '1 h' ORDER BY id DESC LIMIT 1)
RETURNING id, count"""

OPEN = """
INSERT INTO ticket (department_id, connection_id, matter, subject)
VALUES (%(department)s, %(connection)s, %(matter)s, %(subject)s) RETURNING id, count"""

#: the last two messages; one that nobody has tried to send may still be written anew
LATEST = """
SELECT id, n, kind, sent_at IS NULL AND tries = 0 AS fresh, created_at FROM delivery
 WHERE ticket_id = %(ticket)s ORDER BY n DESC LIMIT 2 FOR UPDATE"""

ADD = """
INSERT INTO delivery (ticket_id, n, kind, text, reopens, due_at)
VALUES (%(ticket)s, %(n)s, %(kind)s, %(text)s, %(reopens)s,
        greatest(clock_timestamp(), %(after)s::timestamptz + %(distance)s * interval '1 s'))"""

REWRITE = """
UPDATE delivery SET kind = %(kind)s, text = %(text)s, created_at = clock_timestamp(),
       reopens = reopens OR %(reopens)s,
       due_at = CASE WHEN %(now)s THEN clock_timestamp() ELSE due_at END
 WHERE id = %(id)s"""

#: a question whose job still stands at it
WAITING = """
     SELECT FROM question q JOIN attempt a ON a.id = q.attempt_id
      WHERE q.id = nullif(split_part(t.matter, ':', 2), '')::bigint AND a.state <> 'ended' AND a.pos = q.pos"""

#: judged by what is, not by what was told: a lost word leaves no ticket open. The key's parts are told apart by
#: colons, which no name holds. What succeeded since is looked for newest first: only so is nothing older read.
OVER = hot(
    "over",
    f"""
SELECT t.id, t.matter, t.count, d.language
  FROM ticket t JOIN department d ON d.id = t.department_id LEFT JOIN connection c ON c.id = t.connection_id
 WHERE t.state = 'open' AND NOT CASE split_part(t.matter, ':', 1)
   WHEN 'restricted' THEN c.restricted_step = split_part(t.matter, ':', 3)
   WHEN 'paused' THEN c.state = 'paused'
   WHEN 'held' THEN EXISTS (
     SELECT FROM attempt a JOIN step s ON s.attempt_id = a.id AND s.pos = a.pos JOIN job j ON j.id = a.job_id
      WHERE a.connection_id = c.id AND a.state = 'held' AND j.state <> 'interrupted'
        AND s.name = split_part(t.matter, ':', 3) AND coalesce(a.reason_class, '') = split_part(t.matter, ':', 4))
   WHEN 'guard' THEN EXISTS (
     SELECT FROM job WHERE created_by = split_part(t.matter, ':', 2) AND state = 'queued' AND waits_for = 'hold')
   WHEN 'failed' THEN (
     SELECT true FROM job j
      WHERE j.state = 'succeeded' AND j.kind = split_part(t.matter, ':', 3)
        AND j.ended_at > (SELECT max(created_at) FROM delivery WHERE ticket_id = t.id)
        AND (c.id IS NULL OR c.id IN (SELECT a.connection_id FROM attempt a WHERE a.job_id = j.id))
      ORDER BY j.ended_at DESC LIMIT 1) IS NULL
   WHEN 'quarantined' THEN EXISTS (
     SELECT FROM quarantine q WHERE q.connection_id = c.id AND q.step = split_part(t.matter, ':', 3)
        AND q.ended_at IS NULL AND NOT q.site)
   WHEN 'release' THEN EXISTS (
     SELECT FROM attempt a WHERE a.claim_id = nullif(split_part(t.matter, ':', 3), '')::bigint AND a.state <> 'ended')
   WHEN 'callback' THEN EXISTS (
     SELECT FROM callback_due d WHERE d.failed_at IS NOT NULL
        AND replace(d.panel, ':', ';') = split_part(t.matter, ':', 2))
   WHEN 'audit' THEN EXISTS (SELECT FROM finding f WHERE f.connection_id = c.id AND f.gone_at IS NULL)
   WHEN 'place' THEN EXISTS ({WAITING})
   WHEN 'remove' THEN EXISTS ({WAITING})
   WHEN 'overdue' THEN EXISTS ({WAITING} AND q.overdue)
   WHEN 'halted' THEN EXISTS (SELECT FROM installation WHERE halted <> '')
   WHEN 'spreading' THEN %(spread_servers)s <= (
     SELECT count(DISTINCT q.server_ref) FROM quarantine q
      WHERE q.connection_id = c.id AND q.at > t.opened_at - %(spread_window)s * interval '1 s'
        AND q.step <> '' AND NOT q.site AND q.ended_at IS NULL)
   WHEN 'stuck' THEN EXISTS (
     SELECT FROM delivery x JOIN ticket y ON y.id = x.ticket_id JOIN department e ON e.id = y.department_id
      WHERE e.name = split_part(t.matter, ':', 2) AND x.sent_at IS NULL AND x.tries >= %(tell_stuck)s)
   ELSE true END""",
    spread_servers="int",
    spread_window="float8",
    tell_stuck="int",
)

#: troubles that no event tells of, where no ticket is open for them. That messages to one department are stuck is told
#: to another whose mail goes, first of all to `default`: where nobody's goes there is nobody to tell.
SEEN = f"""
WITH stuck AS (
  SELECT DISTINCT ON (t.department_id) t.department_id, x.error
    FROM delivery x JOIN ticket t ON t.id = x.ticket_id
   WHERE x.sent_at IS NULL AND x.tries >= %(tell_stuck)s ORDER BY t.department_id, x.id),
spreading AS (
  SELECT q.connection_id,
         jsonb_agg(jsonb_build_array(q.server_ref, q.step, q.reason, {RACK}) ORDER BY q.id) AS quarantined
    FROM quarantine q
   WHERE q.at > clock_timestamp() - %(spread_window)s * interval '1 s' AND q.step <> '' AND NOT q.site
     AND q.ended_at IS NULL
   GROUP BY q.connection_id HAVING count(DISTINCT q.server_ref) >= %(spread_servers)s)
SELECT 'spreading' AS kind, '' AS text, clock_timestamp() AS at, jsonb_build_object() AS data, s.quarantined,
       c.id AS connection_id, c.name AS connection, d.id AS department_id, d.name AS department, d.language
  FROM spreading s JOIN connection c ON c.id = s.connection_id
  JOIN department d ON d.id = coalesce(c.in_charge, (SELECT id FROM department WHERE name = 'default'))
 WHERE NOT EXISTS (SELECT FROM ticket WHERE matter = 'spreading:' || c.name AND state = 'open')
 UNION ALL
SELECT 'stuck', s.error, clock_timestamp(), jsonb_build_object('department', e.name), NULL,
       NULL, '', d.id, d.name, d.language
  FROM stuck s JOIN department e ON e.id = s.department_id
  JOIN LATERAL (
    SELECT * FROM department f
     WHERE f.address <> e.address AND f.id NOT IN (SELECT department_id FROM stuck)
     ORDER BY f.name <> 'default', f.id LIMIT 1) d ON true
 WHERE NOT EXISTS (SELECT FROM ticket WHERE matter = 'stuck:' || e.name AND state = 'open')"""

#: open, all was sent, and nothing was said for long
SILENT = """
SELECT t.id, t.opened_at, d.language, m.n, m.text
  FROM ticket t JOIN department d ON d.id = t.department_id
  JOIN LATERAL (SELECT n, text, sent_at FROM delivery WHERE ticket_id = t.id ORDER BY n DESC LIMIT 1) m ON true
 WHERE t.state = 'open' AND m.sent_at < clock_timestamp() - %(remind)s * interval '1 s'"""

#: a wake-up that is lost is sent again after a while; one that nobody takes does not fill the broker
ASK = """
INSERT INTO heartbeat AS h (name, at) VALUES ('deliver asked', clock_timestamp())
    ON CONFLICT (name) DO UPDATE SET at = excluded.at WHERE h.at <= clock_timestamp() - %(grace)s * interval '1 s'
RETURNING name"""

CLOSE = """
UPDATE ticket SET state = 'closed', closed_at = clock_timestamp() WHERE id = %(ticket)s AND state = 'open'
RETURNING id"""

#: decided on the row itself, so that of two who come at once one waits and finds it taken
TAKE_TURN = """
INSERT INTO heartbeat AS h (name, at, data)
VALUES (%(turn)s, clock_timestamp() + %(lease)s * interval '1 s', jsonb_build_object('owner', %(owner)s::text))
    ON CONFLICT (name) DO UPDATE SET at = excluded.at, data = excluded.data WHERE h.at <= clock_timestamp()
RETURNING name"""

GIVE_TURN = """
UPDATE heartbeat SET at = clock_timestamp() WHERE name = %(turn)s AND data ->> 'owner' = %(owner)s"""

#: of a ticket the first that was not sent; of all tickets the one that is longest due
TAKE = """
WITH due AS (
  SELECT d.id FROM delivery d
   WHERE d.sent_at IS NULL AND d.due_at <= now()
     AND (d.lease_until IS NULL OR d.lease_until <= clock_timestamp())
     AND NOT EXISTS (SELECT FROM delivery e WHERE e.ticket_id = d.ticket_id AND e.n < d.n AND e.sent_at IS NULL)
   ORDER BY d.due_at LIMIT 1 FOR UPDATE OF d SKIP LOCKED),
taken AS (
  UPDATE delivery SET tries = tries + 1, lease_until = clock_timestamp() + %(lease)s * interval '1 s'
    FROM due WHERE delivery.id = due.id RETURNING delivery.*)
SELECT taken.*, t.subject, t.desk_ref, d.desk, d.address, d.language,
       CASE WHEN split_part(t.matter, ':', 1) IN ('place', 'remove') THEN split_part(t.matter, ':', 2)::bigint END
         AS question,
       (SELECT left(name, 8) FROM installation) || '.' || t.id || '.'
         || to_char(extract(epoch FROM t.opened_at) * 1000, 'FM9999999999999') AS name
  FROM taken JOIN ticket t ON t.id = taken.ticket_id JOIN department d ON d.id = t.department_id"""

#: a ticket that asks for a removal is looked at from then on, where its desk can be read. The ticket is locked before
#: its message, as by what follows it up
SENT = f"""
WITH t AS (
  SELECT k.id FROM ticket k JOIN delivery m ON m.ticket_id = k.id WHERE m.id = %(id)s FOR UPDATE OF k),
d AS (
  UPDATE delivery SET sent_at = clock_timestamp(), lease_until = NULL, error = '' FROM t
   WHERE delivery.id = %(id)s AND delivery.ticket_id = t.id AND tries = %(tries)s AND sent_at IS NULL
  RETURNING ticket_id)
UPDATE ticket SET desk_ref = coalesce(nullif(%(ref)s, ''), desk_ref), read_failures = 0,
       read_at = CASE WHEN %(readable)s AND state = 'open' AND split_part(matter, ':', 1) = 'remove' THEN {PACE} END
  FROM d WHERE ticket.id = d.ticket_id"""

PUT_OFF = """
UPDATE delivery SET lease_until = NULL, error = %(why)s,
       due_at = clock_timestamp() + least(%(first)s * 2 ^ least(tries - 1, 20), %(most)s) * interval '1 s'
 WHERE id = %(id)s AND tries = %(tries)s AND sent_at IS NULL"""

#: another desk knows nothing of the tickets of the one before: the next word about them opens them there
#: tickets are locked before their messages, as by whoever writes to one
SAVE_DEPARTMENT = """
WITH before AS (SELECT id FROM department WHERE name = %(name)s AND desk <> %(desk)s),
moved AS (
  UPDATE ticket SET desk_ref = '', read_at = NULL FROM before
   WHERE department_id = before.id
     AND (state = 'open' OR EXISTS (SELECT FROM delivery WHERE ticket_id = ticket.id AND sent_at IS NULL))
  RETURNING ticket.id),
d AS (
  INSERT INTO department (name, desk, address, language)
  VALUES (%(name)s, %(desk)s, %(address)s, %(language)s)
      ON CONFLICT (name) DO UPDATE
     SET desk = excluded.desk, address = excluded.address, language = excluded.language
  RETURNING id)
UPDATE delivery SET due_at = clock_timestamp()
  FROM (SELECT count(*) FROM moved) AS tickets_first, d, ticket t
 WHERE t.department_id = d.id AND delivery.ticket_id = t.id AND delivery.sent_at IS NULL AND delivery.tries > 0"""

KINDS = frozenset(EventKind)  #: events of a newer release wait for its reconciler
DISTANCE_MOST = 3600.0  #: seconds; longest distance between two tries, and longest gathering


class TicketsStore:
    """Satisfies `ports.Tickets`."""

    def __init__(self, database: Database, spans: Spans, texts: Texts) -> None:
        """Work on *database* with the distances of *spans*, and speak in the words of *texts*."""
        self._db, self._spans, self._texts = database, spans, texts

    def look(self) -> tuple[bool, bool]:
        """Say whether events are to be told, and whether a message is due that nobody is at work on."""
        row = self._db.row(LOOK, turn=TURN) or {}
        return bool(row["told"]), bool(row["due"])

    def ask(self) -> bool:
        """Say whether a wake-up is to be sent again: the last one seems lost."""
        return self._db.row(ASK, grace=self._spans.wake_grace) is not None

    # --- from events to messages ----------------------------------------------------------------------------------

    def project(self, limit: int) -> int:
        """Make tickets and messages of at most *limit* events, one commit; returns how many events."""
        with self._db.transaction() as session:
            if not session.value(ALONE):
                return 0
            found = [row for row in session.rows(EVENTS, limit=limit) if row["kind"] in KINDS]
            for row in found:
                self._raise(session, row)
            if found:
                session.rows(FORGET, ids=[row["id"] for row in found])
        return len(found)

    def settle(self) -> int:
        """
        Close the tickets whose trouble is over, remind of those that stay open, open what no event tells of.

        Returns how many it said.
        """
        limits = {name: getattr(self._spans, name) for name in ("tell_stuck", "spread_servers", "spread_window")}
        with self._db.transaction() as session:
            if not session.value(ALONE):
                return 0
            over = session.rows(OVER, **limits)
            for row in over:
                if session.row(CLOSE, ticket=row["id"]):
                    self._clear(session, row)
            silent = session.rows(SILENT, remind=self._spans.tell_remind)
            for row in silent:
                text = matters.reminder(row["text"], row["opened_at"], row["language"], self._texts)
                self._add(session, row["id"], row["n"] + 1, DeliveryKind.COMMENT, text)
            seen = session.rows(SEEN, **limits)
            for row in seen:
                self._raise(session, row)
        return len(over) + len(silent) + len(seen)

    def _raise(self, session: Session, row: Row) -> None:
        """Open the event's matter, or follow it up; without anybody in charge the timeline alone has it."""
        if row["department_id"] is None:
            return
        try:
            told = _told(row)
            wording = matters.wording(self._texts, row["language"])
            matter = matters.matter(told)
            subject = matters.subject(matter, told, wording) if matter else ""
        except Exception:  # a bug in the words of one event must not silence all that come after it
            log.exception("event_untold", event_id=row.get("id"), kind=row["kind"])
            return
        if not matter:
            return
        values = {"matter": matter, "department": row["department_id"], "connection": row["connection_id"]}
        ticket = (
            session.row(AGAIN, matter=matter)
            or session.row(REOPEN, **values)
            or session.row(OPEN, **values, subject=subject)
        )
        if ticket is not None:
            text = matters.text(matter, told, ticket["count"], wording)
            self._follow(session, ticket["id"], text, asked=told.kind is EventKind.PERSON_ASKED)

    def _follow(self, session: Session, ticket: int, text: str, *, asked: bool) -> None:
        """
        Write the first message at once; later ones gather what comes meanwhile, ever longer.

        *asked*: somebody is asked again who thinks that it is done: at once, and the ticket is opened again where it
        was closed. So is one that we closed.
        """
        last, _ = _latest(session, ticket)
        if last is None:
            self._add(session, ticket, 1, DeliveryKind.OPEN, text)
        elif last["fresh"]:  # an all-clear that nobody has read is none any more
            kind = DeliveryKind.OPEN if last["kind"] == DeliveryKind.OPEN else DeliveryKind.COMMENT
            session.rows(REWRITE, id=last["id"], kind=kind, text=text, reopens=asked, now=asked)
        else:
            gather = min(self._spans.tell_gather * 2.0 ** min(last["n"] - 1, 10), DISTANCE_MOST)
            distance = 0.0 if asked else gather
            self._add(
                session, ticket, last["n"] + 1, DeliveryKind.COMMENT, text, after=last["created_at"], distance=distance,
                reopens=asked or last["kind"] == DeliveryKind.CLOSE,
            )  # fmt: skip

    def _clear(self, session: Session, row: Row) -> None:
        """Say that a ticket's matter is over, unless its reader has never heard that it came back."""
        last, before = _latest(session, row["id"])
        text = matters.all_clear(row["matter"], row["count"], matters.wording(self._texts, row["language"]))
        if last is None:
            return
        if last["fresh"] and last["kind"] != DeliveryKind.OPEN:
            if before is not None and before["kind"] == DeliveryKind.CLOSE:
                session.rows("DELETE FROM delivery WHERE id = %(id)s", id=last["id"])
            else:
                session.rows(REWRITE, id=last["id"], kind=DeliveryKind.CLOSE, text=text, reopens=False, now=True)
        else:
            self._add(session, row["id"], last["n"] + 1, DeliveryKind.CLOSE, text)

    @staticmethod
    def _add(
        session: Session, ticket: int, n: int, kind: DeliveryKind, text: str, *, after: object = None,
        distance: float = 0.0, reopens: bool = False,
    ) -> None:  # fmt: skip
        values = {"after": after, "distance": distance, "reopens": reopens}
        session.rows(ADD, ticket=ticket, n=n, kind=kind, text=text, **values)

    # --- from messages to desks -----------------------------------------------------------------------------------

    def take(self, owner: str) -> Delivery | None:
        """Lease the turn and the message that is longest due; None while somebody else sends, or none is due."""
        with self._db.transaction() as session:
            if session.row(TAKE_TURN, turn=TURN, lease=self._spans.lease, owner=owner) is None:
                return None
            row = session.row(TAKE, lease=self._spans.lease)
            if row is None:
                session.rows(GIVE_TURN, turn=TURN, owner=owner)
                return None
        return Delivery(
            id=row["id"],
            ticket=row["ticket_id"],
            kind=DeliveryKind(row["kind"]),
            desk=row["desk"],
            message=Message(
                key=f"{row['name']}.{row['n']}",
                to=row["address"],
                subject=f"[{row['ticket_id']}] {row['subject']}",
                text=row["text"],
                ticket=row["name"],
                language=row["language"],
            ),
            ref=row["desk_ref"],
            tries=row["tries"],
            owner=owner,
            question=row["question"],
            reopens=row["reopens"],
        )

    def sent(self, delivery: Delivery, ref: str, *, readable: bool = False) -> bool:
        """
        Record that the desk took it, give the turn back; says whether another is due.

        *readable*: the desk shows whether a ticket is open, so that one which asks for a removal is looked at.
        """
        pace = {"read": self._spans.tell_read, "reads_most": READS_MOST}
        self._db.rows(SENT, id=delivery.id, tries=delivery.tries, ref=ref, readable=readable, **pace)
        self._db.rows(GIVE_TURN, turn=TURN, owner=delivery.owner)
        return self.look()[1]

    def put_off(self, delivery: Delivery, why: str) -> None:
        """Record why the desk did not take it, give the turn back; it is tried again with growing distance."""
        values = {"first": self._spans.tell_again, "most": max(DISTANCE_MOST, self._spans.tell_again)}
        self._db.rows(PUT_OFF, id=delivery.id, tries=delivery.tries, why=why, **values)
        self._db.rows(GIVE_TURN, turn=TURN, owner=delivery.owner)

    def save_department(self, given: Department) -> None:
        """Make or change a department; what waits for it is tried again at once."""
        self._db.rows(SAVE_DEPARTMENT, name=given.name, desk=given.desk, address=given.address, language=given.language)


def _latest(session: Session, ticket: int) -> tuple[Row | None, Row | None]:
    """Give the last message of a ticket and the one before."""
    found = session.rows(LATEST, ticket=ticket)
    return (found[0] if found else None), (found[1] if len(found) > 1 else None)


def _told(row: Row) -> Told:
    """Give an event's row, or one of `SEEN`, which has fewer columns."""
    quarantined: Sequence[tuple[str, str, str, str | None]] = row["quarantined"] or ()
    server, racks = row.get("server_ref") or "", {ref: rack or "" for ref, _, _, rack in quarantined}
    return Told(
        kind=EventKind(row["kind"]) if row["kind"] in KINDS else Kind(row["kind"]),
        text=row["text"],
        at=row["at"],
        data=row["data"],
        department=row["department"] or "",
        connection=row["connection"] or "",
        server=server,
        claim=row.get("claim_id"),
        order=row.get("external_ref") or "",
        panel=row.get("panel") or "",
        job=row.get("job_id"),
        job_kind=row.get("job_kind") or "",
        job_state=row.get("job_state") or "",
        by=row.get("created_by") or "",
        step=quarantined[-1][1] if quarantined else row.get("failed_step") or "",
        reason_class=row.get("reason_class") or "",
        quarantined={ref: reason for ref, _, reason, _ in quarantined},
        racks={server: row.get("rack") or "", **racks},
    )
