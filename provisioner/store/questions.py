"""Questions to people in PostgreSQL: asked in the touch of their step, answered by whoever has the link or the role."""

from collections.abc import Mapping, Sequence
from datetime import timedelta

from sqlalchemy.exc import IntegrityError

from provisioner.domain.events import Event, EventKind
from provisioner.domain.outcome import PersonAsked
from provisioner.domain.question import NOBODY_WAITS, Question, QuestionKind, answered_before
from provisioner.domain.server import ServerRef, UserRef
from provisioner.errors import IllegalMove, Invalid, NotFound
from provisioner.ports import Asking, Touched, Wakeup
from provisioner.store.database import Database, Row, Session, as_json
from provisioner.store.messages import SEND, wakeup

QUESTION = """
SELECT q.*, coalesce(d.name, '') AS department FROM question q LEFT JOIN department d ON d.id = q.department_id
 WHERE q.attempt_id = %(attempt)s AND q.pos = %(pos)s"""

#: whoever is in charge of the package, else of the connection, else of what names nobody
ASK = """
INSERT INTO question (attempt_id, pos, kind, due_at, says, department_id)
SELECT %(attempt)s, %(pos)s, %(kind)s, clock_timestamp() + %(patience)s * interval '1 s', %(says)s,
       coalesce((SELECT p.department_id FROM service s JOIN package p ON p.id = s.package_id WHERE s.id = %(service)s),
                (SELECT in_charge FROM connection WHERE id = %(connection)s),
                (SELECT id FROM department WHERE name = 'default'))
    ON CONFLICT (attempt_id, pos) DO UPDATE
   SET due_at = excluded.due_at, says = excluded.says, overdue = false, answered_at = NULL, answered_by = '',
       department_id = excluded.department_id
RETURNING id, due_at, (SELECT acc.login FROM account acc WHERE acc.connection_id = %(connection)s
                          AND acc.panel_user_ref = %(user)s) AS login"""

OVERDUE = """
UPDATE question SET overdue = true WHERE attempt_id = %(attempt)s AND pos = %(pos)s RETURNING id, asked_at"""

#: a wrong answer binds no server
UNNAMED = """
UPDATE claim SET server_ref = '' WHERE id = %(claim)s AND state = 'held'"""

#: for whoever answers; the newest question of the job, or one by its number. It is open no more from the moment at
#: which a cancel is recorded, not only when a worker has obeyed it: nobody is told that a cancelled job goes on
ASKING = """
SELECT q.id, q.kind, q.asked_at, q.due_at, q.overdue, q.says, q.answered_at, q.answered_by,
       coalesce(d.name, '') AS department, coalesce(d.language, 'en') AS language,
       a.id AS attempt, a.job_id,
       a.state <> 'ended' AND a.pos = q.pos AND a.command ->> 'verb' IS DISTINCT FROM 'cancel' AS open,
       s.id AS service, s.external_ref, s.panel, s.hostname, s.customer_ref, s.equipment, acc.login, acc.panel_user_ref,
       c.id AS connection_id, c.name AS connection, cl.id AS claim, cl.server_ref
  FROM question q JOIN attempt a ON a.id = q.attempt_id JOIN job j ON j.id = a.job_id
  JOIN service s ON s.id = j.service_id JOIN connection c ON c.id = a.connection_id JOIN claim cl ON cl.id = a.claim_id
  LEFT JOIN department d ON d.id = q.department_id
  LEFT JOIN account acc ON acc.panel = s.panel AND acc.billing_ref = s.customer_ref AND acc.connection_id = c.id
                       AND acc.state = 'live'
 WHERE (q.id = %(question)s OR a.job_id = %(job)s) ORDER BY q.id DESC LIMIT 1"""

ANSWERED = """
UPDATE question SET answered_at = clock_timestamp(), answered_by = %(by)s
 WHERE id = %(question)s AND answered_at IS NULL RETURNING id"""

NAMED = """
UPDATE claim SET server_ref = %(server)s WHERE id = %(claim)s"""

WAKE = """
UPDATE attempt SET state = 'ready', awaits = NULL, resume_at = clock_timestamp(), ready_since = clock_timestamp()
 WHERE id = %(attempt)s AND state = 'waiting' RETURNING id"""

AGAIN = """
UPDATE question SET says = %(says)s WHERE id = %(question)s AND answered_at IS NULL RETURNING id"""

TELL = """
WITH s AS (UPDATE service SET next_seq = next_seq + 1 WHERE id = %(service)s RETURNING next_seq - 1 AS seq)
INSERT INTO event (service_id, seq, job_id, attempt_n, kind, text, data)
SELECT %(service)s, s.seq, %(job)s, a.n, %(kind)s, %(text)s, %(data)s::jsonb
  FROM s, attempt a WHERE a.id = %(attempt)s"""


SAYS = {
    QuestionKind.PLACED: "a technician is asked to mount the customer's machine and to say which server it is",
    QuestionKind.REMOVED: "a technician is asked to take the customer's machine out",
}


def question(session: Session, touched: Touched) -> Question | None:
    """Give what was asked at the step at which an attempt stands."""
    row = session.row(QUESTION, attempt=touched.attempt_id, pos=touched.attempt.pos)
    if row is None:
        return None
    return Question(
        id=row["id"],
        kind=QuestionKind(row["kind"]),
        department=row["department"],
        asked_at=row["asked_at"],
        due_at=row["due_at"],
        overdue=row["overdue"],
        answered_at=row["answered_at"],
        answered_by=row["answered_by"],
    )


def ask(session: Session, touched: Touched, asked: PersonAsked) -> Event:
    """Write the question; gives the event that tells it to those in charge."""
    row = session.row(
        ASK,
        attempt=touched.attempt_id,
        pos=touched.attempt.pos,
        kind=asked.kind,
        patience=asked.patience / timedelta(seconds=1),
        says=asked.says,
        service=touched.service_id,
        connection=touched.connection_id,
        user=touched.customer,
    )
    if row is None:
        raise AssertionError("INSERT … RETURNING gave no row")
    if asked.kind is QuestionKind.PLACED:
        session.rows(UNNAMED, claim=touched.claim.id)
    order = touched.order
    facts = {"hostname": order.hostname, "customer": order.customer_ref, "equipment": order.equipment}
    data = _asked(row, asked.kind, asked.says, facts, user=touched.customer)
    return Event(EventKind.PERSON_ASKED, asked.says or SAYS[asked.kind], data)


def _asked(row: Row, kind: str, says: str, facts: Mapping[str, object], *, user: str | None) -> Mapping[str, object]:
    """Give what the event of a question tells those in charge; *row*: the question, with the user's login."""
    return {
        "question": row["id"],
        "asks": kind,
        "due": f"{row['due_at']:%Y-%m-%d %H:%M} UTC",
        "says": says,
        **facts,
        "user": f"{row['login']} (id {user})" if row["login"] else "",
    }


def overdue(session: Session, touched: Touched) -> Event:
    """Note that the administrator in charge is told; gives the event that does it."""
    row = session.row(OVERDUE, attempt=touched.attempt_id, pos=touched.attempt.pos)
    if row is None:
        raise AssertionError("a question that is overdue was asked")
    since = f"{row['asked_at']:%Y-%m-%d %H:%M} UTC"
    text = f"nobody has answered since {since}"
    return Event(EventKind.PERSON_OVERDUE, text, {"question": row["id"], "asked": since})


class QuestionsStore:
    """Satisfies `ports.Questions`."""

    def __init__(self, database: Database) -> None:
        """Work on *database*."""
        self._db = database

    def of_job(self, job_id: int) -> Asking:
        """Give the job's newest question. Raises `NotFound`."""
        with self._db.once() as session:
            row = session.row(ASKING, job=job_id, question=None)
        if row is None:
            raise NotFound(f"job {job_id} asks nobody anything")
        return _asking(row)

    def by_id(self, question_id: int) -> Asking:
        """Give a question. Raises `NotFound`."""
        with self._db.once() as session:
            row = session.row(ASKING, question=question_id, job=None)
        if row is None:
            raise NotFound("this question is not there any more")
        return _asking(row)

    def answer(self, question_id: int, *, server: ServerRef | None, by: str) -> Sequence[Wakeup]:
        """
        Record an answer and wake its attempt, in one commit; returns the messages that are due.

        Raises:
            IllegalMove: it was answered before, or its job waits for it no more.
            Invalid: the server is bound to another service.
        """
        try:
            with self._db.transaction() as session:
                return self._answer(session, question_id, server, by)
        except IntegrityError:
            raise Invalid(
                f"server {server} is bound to another service already; look at its number", field="server"
            ) from None

    @staticmethod
    def _answer(session: Session, question_id: int, server: ServerRef | None, by: str) -> Sequence[Wakeup]:
        row = _locked(session, question_id)
        if session.row(ANSWERED, question=question_id, by=by) is None:
            raise IllegalMove(answered_before(row["answered_by"]))
        if server is not None:
            session.rows(NAMED, claim=row["claim"], server=server)
        said = f"server {server}" if server is not None else "it is done"
        data = {"question": question_id, "server": server, "by": by}
        _tell(session, row, EventKind.PERSON_ANSWERED, f"answered by {by}: {said}", data)
        if session.row(WAKE, attempt=row["attempt"]) is None:
            return ()
        return [wakeup(found) for found in session.rows(SEND, attempts=[row["attempt"]])]

    def ask_again(self, question_id: int, *, says: str) -> None:
        """
        Ask once more with the reason, as an event that those in charge are told; the deadline stays.

        Raises:
            IllegalMove: it was answered meanwhile, or its job waits for it no more.
        """
        with self._db.transaction() as session:
            row = _locked(session, question_id)
            if session.row(AGAIN, question=question_id, says=says) is None:
                raise IllegalMove(answered_before(row["answered_by"]))
            facts = {name: row[name] for name in ("hostname", "equipment")} | {"customer": row["customer_ref"]}
            data = _asked(row, row["kind"], says, facts, user=row["panel_user_ref"])
            _tell(session, row, EventKind.PERSON_ASKED, says, data)


def _locked(session: Session, question_id: int) -> Row:
    """Give a question as it stands under the locks of its service and attempt. Raises `IllegalMove`, `NotFound`."""
    row = session.row(ASKING, question=question_id, job=None)
    if row is None:
        raise NotFound("this question is not there any more")
    session.rows("SELECT FROM service WHERE id = %(id)s FOR UPDATE", id=row["service"])
    session.rows("SELECT FROM attempt WHERE id = %(id)s FOR UPDATE", id=row["attempt"])
    row = session.row(ASKING, question=question_id, job=None)
    if row is None or not row["open"]:
        raise IllegalMove(NOBODY_WAITS)
    return row


def _tell(session: Session, row: Row, kind: EventKind, text: str, data: Mapping[str, object]) -> None:
    session.rows(
        TELL,
        service=row["service"],
        job=row["job_id"],
        attempt=row["attempt"],
        kind=kind,
        text=text,
        data=as_json(data),
    )


def _asking(row: Row) -> Asking:
    return Asking(
        question=row["id"],
        kind=QuestionKind(row["kind"]),
        open=row["open"] and row["answered_at"] is None,
        answered_at=row["answered_at"],
        answered_by=row["answered_by"],
        asked_at=row["asked_at"],
        due_at=row["due_at"],
        says=row["says"],
        department=row["department"],
        language=row["language"],
        job_id=row["job_id"],
        external_ref=row["external_ref"],
        panel=row["panel"],
        hostname=row["hostname"],
        customer_ref=row["customer_ref"],
        equipment=row["equipment"],
        connection_id=row["connection_id"],
        connection=row["connection"],
        server=ServerRef(row["server_ref"]) if row["server_ref"] else None,
        login=row["login"] or "",
        customer=UserRef(row["panel_user_ref"]) if row["panel_user_ref"] else None,
    )
