"""Services and jobs as callers change them: an order placed, a verb given; each one transaction."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy.exc import IntegrityError

from provisioner.domain.attempt import Attempt, Command, StepRow, Verb
from provisioner.domain.blast import HELD
from provisioner.domain.life import SWITCHING, Arrival, Wish, arrive, left
from provisioner.domain.service import Order, Package
from provisioner.domain.states import AttemptState, JobKind, JobState, ServiceState
from provisioner.domain.verbs import NOT_HELD, forecast, refusal, refusal_interrupted, undone_by
from provisioner.errors import IllegalMove, KeyReused, NotFound
from provisioner.ports import OnSale, Placed, Sealed, Wakeup
from provisioner.store import rows
from provisioner.store.database import Database, Row, Session, as_json
from provisioner.store.engine import NEXT_JOB, SPEND_LATER
from provisioner.store.messages import SEND, wakeup
from provisioner.store.standing import STOP, WANT, restate, standing

ON_SALE = f"""
SELECT {rows.PACKAGE_COLUMNS},
       (SELECT count(*) FROM package_connection pc JOIN connection c ON c.id = pc.connection_id
         WHERE pc.package_id = p.id AND c.state <> 'disabled') AS usable
  FROM package p WHERE p.name = %(name)s"""

SERVICE = """
SELECT s.*, (SELECT coalesce(max(j.id) FILTER (WHERE j.kind = 'open'), max(j.id))
               FROM job j WHERE j.service_id = s.id) AS order_job
  FROM service s
 WHERE s.panel = %(panel)s AND s.external_ref = %(ref)s FOR UPDATE"""

SEALED = """
INSERT INTO secret (ciphertext, key_id) VALUES (%(ciphertext)s, %(key_id)s) RETURNING id"""

NEW_SERVICE = """
INSERT INTO service (panel, external_ref, package_id, package, state, customer_ref, login, hostname, os, fingerprint,
                     root_secret, panel_secret, panel_password_made, kind, equipment)
SELECT %(panel)s, %(ref)s, p.id, %(package)s::jsonb, 'ordered', %(customer_ref)s, %(login)s, %(hostname)s, %(os)s,
       %(fingerprint)s::jsonb, %(root)s, %(panel_secret)s, %(made)s, %(kind)s, %(equipment)s
  FROM package p WHERE p.name = %(name)s RETURNING id"""

AGAIN = """
UPDATE service SET state = 'ordered', desired = 'active', suspended_by = '[]', package = %(package)s::jsonb,
       hostname = %(hostname)s,
       os = %(os)s, login = %(login)s, customer_ref = %(customer_ref)s, fingerprint = %(fingerprint)s::jsonb,
       root_secret = %(root)s, panel_secret = %(panel_secret)s, panel_password_made = %(made)s, claim_id = NULL,
       kind = %(kind)s, equipment = %(equipment)s
 WHERE id = %(id)s RETURNING id"""

NEW_JOB = """
WITH s AS (UPDATE service SET next_job_seq = next_job_seq + 1, next_seq = next_seq + 1 WHERE id = %(service)s
           RETURNING id, next_job_seq - 1 AS job_seq, next_seq - 1 AS seq),
j AS (INSERT INTO job (service_id, seq, kind, state, plan_at, created_by)
      SELECT s.id, s.job_seq, 'open', 'queued', clock_timestamp(), %(by)s FROM s RETURNING id),
e AS (INSERT INTO event (service_id, seq, job_id, kind, text, data)
      SELECT s.id, s.seq, j.id, 'ordered', %(text)s, %(data)s::jsonb FROM s, j)
SELECT id FROM j"""

KEY = """
SELECT fingerprint, service_id, job_id FROM idempotency WHERE panel = %(panel)s AND key = %(key)s"""

KEEP_KEY = """
INSERT INTO idempotency (panel, key, fingerprint, service_id, job_id)
VALUES (%(panel)s, %(key)s, %(fingerprint)s::jsonb, %(service)s, %(job)s)"""

LOCKED_JOB = """
SELECT j.*, s.state AS service_state, s.id AS service, s.external_ref,
       (SELECT max(n.id) FROM job n WHERE n.service_id = j.service_id) AS newest
  FROM job j LEFT JOIN service s ON s.id = j.service_id WHERE j.id = %(job)s"""

LIVE = """
SELECT a.*, j.kind, coalesce(s.package ->> 'on_failure', 'next') = 'hold' AS hold_on_failure,
       (SELECT jsonb_agg(to_jsonb(st) ORDER BY st.pos) FROM step st WHERE st.attempt_id = a.id) AS steps
  FROM attempt a JOIN job j ON j.id = a.job_id LEFT JOIN service s ON s.id = j.service_id
 WHERE a.job_id = %(job)s AND a.state <> 'ended' FOR UPDATE OF a"""

#: an attempt that stands is made ready; a running one consumes the command at its save
COMMAND = """
UPDATE attempt SET command = %(command)s::jsonb,
       state = CASE WHEN state IN ('waiting', 'held') THEN 'ready' ELSE state END,
       awaits = CASE WHEN state IN ('waiting', 'held') THEN NULL ELSE awaits END,
       resume_at = CASE WHEN state IN ('waiting', 'held') THEN clock_timestamp() ELSE resume_at END,
       ready_since = CASE WHEN state IN ('waiting', 'held') THEN clock_timestamp() ELSE ready_since END
 WHERE id = %(attempt)s RETURNING state"""

TOLD = """
WITH s AS (UPDATE service SET next_seq = next_seq + 1 WHERE id = %(service)s RETURNING next_seq - 1 AS seq)
INSERT INTO event (service_id, seq, job_id, kind, text, data)
SELECT %(service)s, s.seq, %(job)s, %(kind)s, %(text)s, %(data)s::jsonb FROM s"""

ANEW = """
UPDATE job SET state = 'queued', plan_at = clock_timestamp(), waits_for = NULL, stock_since = NULL, reason = '',
       cancel_requested_at = NULL, ended_at = NULL,
       attempts_from = coalesce((SELECT max(n) FROM attempt WHERE job_id = %(job)s), 0)
 WHERE id = %(job)s"""

#: what a verb does to a job that no attempt is under way of
WITHOUT_ATTEMPT = {
    Verb.CANCEL: "ends it; nothing of it stands on a server",
    Verb.HOLD: "lets it wait until it is retried or cancelled",
    Verb.RETRY: "begins it anew: a fresh server for an order, whose disks are wiped; else the same steps again",
}

HOLD_QUEUED = """
UPDATE job SET held_reason = %(reason)s, waits_for = 'hold', waits_since = clock_timestamp(), plan_at = NULL,
       reason = %(reason)s WHERE id = %(job)s"""

LET_GO = """
UPDATE job SET held_reason = '', waits_for = NULL, plan_at = clock_timestamp(), reason = '' WHERE id = %(job)s"""

ORDERED_AGAIN = """
UPDATE service SET state = 'ordered', desired = 'active', suspended_by = '[]' WHERE id = %(id)s"""

#: jobs that `service.desired` speaks of
WANTING = SWITCHING | {JobKind.CLOSE}

CANCELLED = """
UPDATE job SET state = 'cancelled', ended_at = clock_timestamp(), plan_at = NULL, waits_for = NULL,
       cancel_requested_at = clock_timestamp(), cancel_by = %(by)s, reason = %(reason)s WHERE id = %(job)s"""


class ServicesStore:
    """Satisfies `ports.Services`."""

    def __init__(self, database: Database) -> None:
        """Work on *database*."""
        self._db = database

    def on_sale(self, name: str) -> OnSale | None:
        """Give a package with its connections; None when there is none of that name."""
        row = self._db.row(ON_SALE, name=name)
        if row is None:
            return None
        return OnSale(rows.package(row), row["disabled_at"] is not None, row["usable"])

    # --- orders ---------------------------------------------------------------------------------------------------

    def place(
        self, order: Order, package: Package, *, root: Sealed | None, panel: Sealed, panel_made: bool, key: str | None
    ) -> Placed:
        """Accept an order once: one paid thing, one service, whatever the key."""
        try:
            with self._db.transaction() as session:
                return self._place(session, order, package, root, panel, made=panel_made, key=key)
        except IntegrityError:  # two first orders at once: the loser of the unique index looks again
            with self._db.transaction() as session:
                return self._place(session, order, package, root, panel, made=panel_made, key=key)

    def _place(
        self,
        session: Session,
        order: Order,
        package: Package,
        root: Sealed | None,
        panel: Sealed,
        *,
        made: bool,
        key: str | None,
    ) -> Placed:
        fingerprint = dict(order.fingerprint())
        if key and (old := session.row(KEY, panel=order.panel, key=key)):
            if old["fingerprint"] != fingerprint:
                raise KeyReused(f"Idempotency-Key {key!r} came before with another body; use a new key")
            return Placed(old["service_id"], old["job_id"], created=False)
        service = session.row(SERVICE, panel=order.panel, ref=order.external_ref)
        if service is not None and not _may_open_again(service):
            if service["fingerprint"] != fingerprint:
                raise KeyReused(
                    f"external_ref {order.external_ref!r} was ordered before with other content; "
                    "use another reference, or send the same order"
                )
            placed = Placed(service["id"], service["order_job"], created=False)
        else:
            values = self._values(session, order, package, root, panel, made=made, fingerprint=fingerprint)
            service_id = (
                session.value(AGAIN, id=service["id"], **values) if service else session.value(NEW_SERVICE, **values)
            )
            job_id = session.value(
                NEW_JOB,
                service=service_id,
                by=f"panel {order.panel}",
                text=f"ordered: {', '.join(word for word in (order.package, order.hostname, order.os) if word)}",
                data=as_json(fingerprint),
            )
            placed = Placed(service_id, job_id, created=True)
        if key:
            session.rows(
                KEEP_KEY,
                panel=order.panel,
                key=key,
                fingerprint=as_json(fingerprint),
                service=placed.service_id,
                job=placed.job_id,
            )
        return placed

    @staticmethod
    def _values(
        session: Session,
        order: Order,
        package: Package,
        root: Sealed | None,
        panel: Sealed,
        *,
        made: bool,
        fingerprint: Mapping[str, Any],
    ) -> dict[str, Any]:
        secrets = [s and session.value(SEALED, ciphertext=s.ciphertext, key_id=s.key_id) for s in (root, panel)]
        return {
            "panel": order.panel,
            "ref": order.external_ref,
            "name": package.name,
            "package": as_json(rows.package_values(package)),
            "customer_ref": order.customer_ref,
            "login": order.login,
            "hostname": order.hostname,
            "os": order.os,
            "fingerprint": as_json(fingerprint),
            "root": secrets[0],
            "panel_secret": secrets[1],
            "made": made,
            "kind": package.kind,
            "equipment": order.equipment,
        }

    # --- verbs ----------------------------------------------------------------------------------------------------

    def forecast(self, job_id: int, given: Command, policies: Mapping[str, Any]) -> str:
        """Say what a verb would do, in one sentence; changes nothing. Raises as `command`."""
        with self._db.transaction() as session:
            job = self._locked(session, job_id)
            live = session.row(LIVE, job=job_id)
            if live is None:
                self._without_attempt(session, job, given, dry=True)
                return WITHOUT_ATTEMPT.get(given.verb, "") + _stays(session, job, given)
            attempt, steps = self._legal(session, job, live, given, policies)
            return forecast(given, attempt, steps, policies)

    def command(self, job_id: int, given: Command, policies: Mapping[str, Any]) -> list[Wakeup]:
        """
        Give a verb to a job; returns the messages that are due.

        Raises:
            NotFound: no such job.
            IllegalMove: not legal now, with the sentence why.
        """
        with self._db.transaction() as session:
            job = self._locked(session, job_id)
            live = session.row(LIVE, job=job_id)
            if live is not None:
                return self._to_attempt(session, job, live, given, policies)
            self._without_attempt(session, job, given)
        return []

    def _without_attempt(self, session: Session, job: Row, given: Command, *, dry: bool = False) -> None:
        match given.verb:
            case Verb.CANCEL:
                self._cancel_queued(session, job, given, dry=dry)
            case Verb.RETRY:
                self._anew(session, job, given, dry=dry)
            case Verb.HOLD:
                self._hold_queued(session, job, given, dry=dry)
            case _:
                raise IllegalMove(f"job {job['id']} has no attempt under way; nothing to {given.verb}")

    @staticmethod
    def _locked(session: Session, job_id: int) -> Row:
        where = session.row("SELECT service_id FROM job WHERE id = %(job)s", job=job_id)
        if where is None:
            raise NotFound(f"no job {job_id}")
        session.rows("SELECT FROM service WHERE id = %(id)s FOR UPDATE", id=where["service_id"])
        session.rows("SELECT FROM job WHERE id = %(id)s FOR UPDATE", id=job_id)
        job = session.row(LOCKED_JOB, job=job_id)
        if job is None:
            raise NotFound(f"no job {job_id}")
        return job

    @staticmethod
    def _legal(
        session: Session, job: Row, live: Row, given: Command, policies: Mapping[str, Any]
    ) -> tuple[Attempt, tuple[StepRow, ...]]:
        steps = tuple(rows.step_row(step) for step in live["steps"])
        attempt = rows.attempt(live)
        if given.verb not in (Verb.CANCEL, Verb.HOLD) and attempt.state is not AttemptState.HELD:
            raise IllegalMove(f"job {job['id']}: {NOT_HELD}")
        why_not = refusal(given, attempt, steps, policies)
        if job["state"] == JobState.INTERRUPTED:
            busy = standing(session, job["service_id"]).live
            at_work = f"job {busy.id} ({busy.kind})" if busy else ""
            why_not = refusal_interrupted(given, steps, policies, at_work=at_work)
        if why_not:
            raise IllegalMove(f"job {job['id']}: {why_not}")
        old = rows.command(live["command"])
        if old is not None and old.verb is not given.verb and given.verb is not Verb.CANCEL:
            raise IllegalMove(f"job {job['id']}: {old.verb} by {old.by} was given before and has not been carried out")
        return attempt, steps

    def _to_attempt(
        self, session: Session, job: Row, live: Row, given: Command, policies: Mapping[str, Any]
    ) -> list[Wakeup]:
        _, steps = self._legal(session, job, live, given, policies)
        if job["state"] == JobState.INTERRUPTED:
            if not undone_by(given, steps, policies):  # whatever else is at work on the server: nothing is done there
                session.rows(STOP, job=job["id"], reason=f"cancelled by {given.by}")
                self._end_cancelled(session, job, given)
                return []
            session.rows("UPDATE job SET state = 'running' WHERE id = %(job)s", job=job["id"])
        if given.verb is Verb.CANCEL:
            session.rows(
                "UPDATE job SET cancel_requested_at = coalesce(cancel_requested_at, clock_timestamp()), "
                "cancel_by = %(by)s WHERE id = %(job)s",
                job=job["id"],
                by=given.by,
            )
        session.rows(COMMAND, attempt=live["id"], command=as_json(rows.command_values(given)))
        return [wakeup(row) for row in session.rows(SEND, attempts=[live["id"]])]

    @staticmethod
    def _cancel_queued(session: Session, job: Row, given: Command, *, dry: bool) -> None:
        if job["state"] == JobState.CANCELLED:
            return
        if job["state"] != JobState.QUEUED:
            raise IllegalMove(f"job {job['id']} is {job['state']}; there is nothing to cancel")
        if dry:
            return
        ServicesStore._end_cancelled(session, job, given)

    @staticmethod
    def _end_cancelled(session: Session, job: Row, given: Command) -> None:
        """End a job of which nothing is, or need be, done on a server."""
        reason = f"cancelled by {given.by}"
        session.rows(CANCELLED, job=job["id"], by=given.by, reason=reason)
        if job["kind"] == JobKind.OPEN:
            session.rows(
                "UPDATE service SET state = 'failed' WHERE id = %(id)s AND state = 'ordered'", id=job["service_id"]
            )
        session.rows(SPEND_LATER, job=job["id"])
        if job["kind"] in WANTING:
            restate(session, job["service_id"], JobKind(job["kind"]), job["params"].get("reason", ""))
        _tell(session, job, "commanded", given.told(), {"verb": "cancel"})
        _tell(session, job, "job_ended", f"job cancelled: {reason}", {})
        session.rows(NEXT_JOB, service=job["service_id"])

    @staticmethod
    def _hold_queued(session: Session, job: Row, given: Command, *, dry: bool) -> None:
        if job["state"] != JobState.QUEUED:
            raise IllegalMove(f"job {job['id']} is {job['state']}; there is nothing to hold")
        if not dry:
            session.rows(HOLD_QUEUED, job=job["id"], reason=given.told("held"))
            _tell(session, job, "commanded", given.told(), {"verb": "hold"})

    @staticmethod
    def _anew(session: Session, job: Row, given: Command, *, dry: bool) -> None:
        if job["state"] == JobState.QUEUED and job["held_reason"].startswith(HELD):
            raise IllegalMove(f"job {job['id']}: {job['held_reason']}")
        if job["state"] == JobState.QUEUED and job["held_reason"]:
            if not dry:
                session.rows(LET_GO, job=job["id"])
                _tell(session, job, "commanded", f"let go by {given.by}", {"verb": "retry"})
            return
        if job["state"] not in (JobState.FAILED, JobState.CANCELLED):
            raise IllegalMove(f"job {job['id']} is {job['state']}; only a held, failed or cancelled one can be retried")
        if job["service_id"] is None:
            raise IllegalMove(
                f"job {job['id']} ({job['kind']}) was about a server, not a service; "
                "give the verb again: `provisioner server release` or `server quarantine`"
            )
        if job["newest"] != job["id"]:
            raise IllegalMove(f"job {job['id']} is not the newest of its service; retry job {job['newest']}")
        opens = job["kind"] == JobKind.OPEN
        if opens and job["service_state"] != ServiceState.FAILED:
            raise IllegalMove(f"job {job['id']}: its service is {job['service_state']}")
        if not opens and job["service_state"] in (ServiceState.CLOSED, ServiceState.FAILED):
            raise IllegalMove(f"job {job['id']}: its service is {job['service_state']}")
        if job["kind"] in (JobKind.CHANGE_PASSWORD, JobKind.REINSTALL) and job["secret_id"] is None:
            raise IllegalMove(f"job {job['id']}: its password was erased; ask for it anew")
        wanted = None if opens else _wanted_again(session, job)
        if dry:
            return
        session.rows(ANEW, job=job["id"])
        if wanted is None:
            session.rows(ORDERED_AGAIN, id=job["service_id"])
        else:
            reasons = None if wanted.suspended_by is None else as_json(sorted(wanted.suspended_by))
            session.rows(WANT, service=job["service_id"], desired=wanted.desired, suspended_by=reasons)
        _tell(session, job, "commanded", given.told(), {"verb": "retry"})


def _stays(session: Session, job: Row, given: Command) -> str:
    """Say what is wanted of the service once a job that was not begun is cancelled."""
    if given.verb is not Verb.CANCEL or job["kind"] not in WANTING or job["state"] != JobState.QUEUED:
        return ""
    stands = standing(session, job["service_id"], but=job["id"])
    return f"; the service stays {left(stands, JobKind(job['kind']), job['params'].get('reason', '')).desired}"


def _wanted_again(session: Session, job: Row) -> Arrival:
    """Take the wish of a job that has ended once more, as if it came now. Raises `IllegalMove`."""
    arrival = arrive(standing(session, job["service_id"], but=job["id"]), Wish(JobKind(job["kind"]), job["params"]))
    why_not = arrival.refused or arrival.done
    if arrival.same is not None:
        why_not = f"job {arrival.same} carries it out already"
    if why_not:
        raise IllegalMove(f"job {job['id']}: {why_not}")
    return arrival


def _may_open_again(service: Row) -> bool:
    """Say whether the same order is a new job: its open failed or was cancelled, never handed over."""
    never = service["handed_over_at"] is None
    return bool(never and service["state"] in (ServiceState.FAILED, ServiceState.CLOSED))


def _tell(session: Session, job: Row, kind: str, text: str, data: Mapping[str, Any]) -> None:
    session.rows(TOLD, service=job["service_id"], job=job["id"], kind=kind, text=text.rstrip(": "), data=as_json(data))
