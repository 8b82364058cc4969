"""Planning in PostgreSQL: the next candidate for a queued job, never a search-then-hope."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy.exc import IntegrityError

from provisioner.domain.life import Turn, due
from provisioner.domain.naming import task_id
from provisioner.domain.service import ServiceKind
from provisioner.domain.spans import Spans
from provisioner.domain.states import JobKind
from provisioner.ports import Planned, RecipeOf
from provisioner.store.database import Database, Row, Session, as_json
from provisioner.store.engine import NEXT_JOB, SPEND
from provisioner.store.messages import SEND, wakeup
from provisioner.store.standing import restate, standing

Recipe = Sequence[tuple[str, timedelta]]

TO_PLAN = """
SELECT id FROM job WHERE state = 'queued' AND plan_at <= clock_timestamp() ORDER BY id LIMIT %(limit)s"""

JOB = """
SELECT j.id, j.kind, j.params, j.service_id, j.stock_since, j.waits_for, j.held_reason, s.external_ref, s.package,
       s.kind AS service_kind,
       (SELECT p.held_reason FROM package p WHERE p.id = s.package_id) AS package_held,
       (SELECT halted FROM installation) AS halted
  FROM job j JOIN service s ON s.id = j.service_id
 WHERE j.id = %(job)s AND j.state = 'queued' AND j.plan_at <= clock_timestamp()
   FOR UPDATE OF s, j SKIP LOCKED"""

#: of c (connection): it may be asked, being active, or restricted with its canary due and none under way
OPEN = """
c.held_reason = '' AND (c.state = 'active'
    OR (c.state = 'restricted' AND c.canary_at <= clock_timestamp()
        AND NOT EXISTS (SELECT FROM attempt a WHERE a.connection_id = c.id AND a.state <> 'ended' AND a.canary)))"""

#: of v (server_view): nobody has it, and nothing bars it
FREE = """
v.barred = '' AND v.gone_from IS NULL
   AND (v.passed_over_until IS NULL OR v.passed_over_until < clock_timestamp())
   AND NOT EXISTS (SELECT FROM claim cl WHERE cl.connection_id = v.connection_id
                      AND cl.server_ref = v.server_ref AND cl.state <> 'ended')"""

PLACES = f"""
SELECT c.id, c.name, c.state, c.restricted_step, c.canary_at, c.paused_by, p.priority::int AS priority,
       c.observed_from IS NULL OR c.observed_from < clock_timestamp() - %(age)s * interval '1 s' AS stale,
       c.held_reason, {OPEN} AS open
  FROM jsonb_each_text(%(connections)s::jsonb) AS p (name, priority) JOIN connection c ON c.name = p.name
 ORDER BY priority, c.id"""

#: by the place's priority, those with trouble behind them last, spread so that two orders do not fight for one
CANDIDATE = f"""
SELECT v.connection_id, v.server_ref
  FROM unnest(%(places)s::bigint[]) WITH ORDINALITY AS p (id, priority)
  JOIN server_view v ON v.connection_id = p.id
 WHERE v.server_type = %(type)s AND {FREE}
 ORDER BY p.priority, v.trouble + v.passed_over_count, hashtext(%(job)s::text || v.server_ref)
 LIMIT 1 FOR UPDATE OF v SKIP LOCKED"""

CLAIM = """
INSERT INTO claim (connection_id, server_ref, service_id, state, note_token)
VALUES (%(connection)s, %(server)s, %(service)s, 'held', gen_random_uuid()::text) RETURNING id"""

ATTEMPT = """
INSERT INTO attempt (job_id, n, connection_id, claim_id, state, pos, resume_at, wake_distance, canary, last_task_id)
SELECT %(job)s, coalesce(max(a.n), 0) + 1, %(connection)s, %(claim)s, 'ready', 0,
       clock_timestamp() + %(grace)s * interval '1 s', %(grace)s, %(canary)s,
       coalesce((array_agg(a.last_task_id ORDER BY a.n DESC))[1], '')
  FROM attempt a WHERE a.job_id = %(job)s RETURNING id, n"""

STEPS = """
INSERT INTO step (attempt_id, pos, name, direction, state, arrived_at, deadline_at)
SELECT %(attempt)s, r.pos, r.name, 'forward', 'pending', CASE WHEN r.pos = 0 THEN clock_timestamp() END,
       CASE WHEN r.pos = 0 THEN clock_timestamp() + r.deadline * interval '1 s' END
  FROM jsonb_to_recordset(%(steps)s::jsonb) AS r (pos int, name text, deadline float)"""

STARTED = """
WITH ns AS (UPDATE service SET next_seq = next_seq + 1, claim_id = %(claim)s WHERE id = %(service)s
            RETURNING next_seq - 1 AS seq),
cl AS (UPDATE claim SET note_token = 'provisioner ' || left(i.name, 8) || ' claim ' || claim.id
         FROM installation i WHERE claim.id = %(claim)s),
at AS (UPDATE attempt SET root_task_id = %(root)s WHERE id = %(attempt)s),
jo AS (UPDATE job SET state = 'running', waits_for = NULL, waits_since = NULL, plan_at = NULL, stock_since = NULL,
              reason = '' WHERE id = %(job)s),
ov AS (UPDATE server_view SET passed_over_reason = '' WHERE connection_id = %(connection)s
          AND server_ref = %(server)s)
INSERT INTO event (service_id, seq, job_id, attempt_n, kind, text, data)
SELECT %(service)s, ns.seq, %(job)s, %(n)s, 'attempt_started', %(text)s, %(data)s::jsonb FROM ns"""

WAIT = """
WITH j AS (
  UPDATE job SET waits_for = %(waits_for)s, reason = %(reason)s,
         plan_at = greatest(%(plan_at)s::timestamptz, CASE WHEN %(plan_at)s::timestamptz IS NOT NULL
                                                THEN clock_timestamp() + %(least)s * interval '1 s' END),
         waits_since = CASE WHEN waits_for IS DISTINCT FROM %(waits_for)s THEN clock_timestamp() ELSE waits_since END,
         stock_since = CASE WHEN %(waits_for)s = 'stock' THEN coalesce(stock_since, clock_timestamp()) END
   WHERE id = %(job)s RETURNING id),
ns AS (UPDATE service SET next_seq = next_seq + 1 FROM j WHERE service.id = %(service)s AND %(changed)s
       RETURNING next_seq - 1 AS seq)
INSERT INTO event (service_id, seq, job_id, kind, text, data)
SELECT %(service)s, ns.seq, %(job)s, 'waiting', %(reason)s, jsonb_build_object('for', %(waits_for)s::text) FROM ns"""

#: waits without an instant of their own that are over: a word may have been lost, or nothing said it. No lock is
#: waited for: who holds one of these jobs decides about it
OVER = f"""
WITH open AS MATERIALIZED (SELECT c.id, c.name FROM connection c WHERE {OPEN}),
free AS MATERIALIZED (
  SELECT DISTINCT open.name, v.server_type FROM open JOIN server_view v ON v.connection_id = open.id WHERE {FREE}),
over AS (
  SELECT j.id FROM job j JOIN service s ON s.id = j.service_id LEFT JOIN package p ON p.id = s.package_id
   WHERE j.state = 'queued' AND j.plan_at IS NULL AND CASE j.waits_for
     WHEN 'stock' THEN EXISTS (SELECT FROM free WHERE free.server_type = s.package ->> 'server_type'
                                  AND s.package -> 'connections' ? free.name)
     WHEN 'site' THEN EXISTS (SELECT FROM open WHERE s.package -> 'connections' ? open.name)
     WHEN 'hold' THEN j.held_reason = '' AND coalesce(p.held_reason, '') = ''
                  AND EXISTS (SELECT FROM connection c WHERE c.held_reason = '' AND s.package -> 'connections' ? c.name)
     WHEN 'job' THEN NOT EXISTS (
       SELECT FROM job o WHERE o.service_id = j.service_id AND o.id <> j.id
          AND (o.state IN ('running', 'compensating') OR (o.state = 'queued' AND o.kind = 'open')))
     ELSE false END
   ORDER BY j.id FOR UPDATE OF j SKIP LOCKED)
UPDATE job SET plan_at = clock_timestamp() FROM over WHERE job.id = over.id RETURNING job.id"""

#: a job on the server that the service has
ON_SERVICE = """
WITH cl AS (
  UPDATE claim SET state = CASE WHEN %(closes)s THEN 'releasing' ELSE claim.state END
    FROM service s WHERE s.id = %(service)s AND claim.id = s.claim_id
  RETURNING claim.id, claim.connection_id, claim.server_ref),
ns AS (UPDATE service SET next_seq = next_seq + 1, state = CASE WHEN %(closes)s THEN 'closing' ELSE state END
         FROM cl WHERE service.id = %(service)s RETURNING next_seq - 1 AS seq),
jo AS (UPDATE job SET state = 'running', waits_for = NULL, waits_since = NULL, plan_at = NULL, reason = ''
         FROM cl WHERE job.id = %(job)s),
a AS (
  INSERT INTO attempt (job_id, n, connection_id, claim_id, state, pos, resume_at, wake_distance, last_task_id)
  SELECT %(job)s, coalesce((SELECT max(o.n) FROM attempt o WHERE o.job_id = %(job)s), 0) + 1, cl.connection_id, cl.id,
         'ready', 0, clock_timestamp() + %(grace)s * interval '1 s', %(grace)s, ''
    FROM cl RETURNING id, n),
e AS (
  INSERT INTO event (service_id, seq, job_id, attempt_n, kind, text, data)
  SELECT %(service)s, ns.seq, %(job)s, a.n, 'attempt_started', %(kind)s::text || ' on server ' || cl.server_ref,
         jsonb_build_object('server', cl.server_ref, 'claim', cl.id) FROM ns, a, cl)
SELECT a.id, a.n, cl.server_ref FROM a, cl"""

KINDS = frozenset(kind.value for kind in JobKind)

ROOT = """
UPDATE attempt SET root_task_id = %(root)s WHERE id = %(attempt)s"""

NOT_RUN = """
WITH j AS (UPDATE job SET state = %(state)s, reason = %(reason)s, plan_at = NULL, waits_for = NULL,
                  ended_at = clock_timestamp() WHERE id = %(job)s RETURNING id),
ns AS (UPDATE service SET next_seq = next_seq + 1, state = CASE WHEN %(closed)s THEN 'closed' ELSE state END
         FROM j WHERE service.id = %(service)s RETURNING next_seq - 1 AS seq)
INSERT INTO event (service_id, seq, job_id, kind, text)
SELECT %(service)s, ns.seq, %(job)s, 'job_ended', 'job ' || %(state)s::text || ': ' || %(reason)s::text FROM ns"""

SOON = """
UPDATE job SET plan_at = clock_timestamp() + %(seconds)s * interval '1 s' WHERE id = %(job)s"""

TO_OBSERVE = """
SELECT c.id FROM connection c
 WHERE (c.observe_lease_until IS NULL OR c.observe_lease_until < clock_timestamp())
   AND coalesce(c.observe_tried_at, '-infinity') <= clock_timestamp() - interval '1 s' * CASE
     WHEN c.state = 'paused' THEN CASE WHEN c.paused_by = 'away' OR (c.paused_by = 'denied'
                                            AND c.denied_count < %(denied)s) THEN %(probe)s ELSE 1e9 END
     WHEN EXISTS (SELECT FROM attempt a WHERE a.connection_id = c.id AND a.awaits = 'short')
       OR EXISTS (SELECT FROM attempt a WHERE a.connection_id = c.id AND a.state = 'running') THEN %(short)s
     WHEN EXISTS (SELECT FROM attempt a WHERE a.connection_id = c.id AND a.awaits = 'long') THEN %(long)s
     WHEN EXISTS (SELECT FROM job j JOIN service s ON s.id = j.service_id
                   WHERE j.state = 'queued' AND j.waits_for = 'stock' AND s.package -> 'connections' ? c.name)
       THEN %(stock)s
     ELSE 1e9 END"""


class PlanningStore:
    """Satisfies the planning half of `ports.Reconciler`."""

    def __init__(self, database: Database, spans: Spans) -> None:
        """Work on *database*."""
        self._db, self._spans = database, spans

    def to_plan(self, limit: int) -> Sequence[int]:
        """Give queued jobs whose turn it is, oldest first."""
        return [row["id"] for row in self._db.rows(TO_PLAN, limit=limit)]

    def to_observe(self) -> Sequence[int]:
        """Give connections whose list must be read now."""
        spans = self._spans
        found = self._db.rows(
            TO_OBSERVE,
            denied=spans.denied_most,
            probe=spans.probe,
            short=spans.observe_short,
            long=spans.observe_long,
            stock=spans.observe_stock,
        )
        return [row["id"] for row in found]

    def look_again(self) -> int:
        """Plan jobs anew whose wait is over though nobody said so; returns how many."""
        return len(self._db.rows(OVER))

    def plan(self, job_id: int, recipe_of: RecipeOf) -> Planned:
        """Take the next candidate for a job, or its own server; or say what it waits for; one commit."""
        try:
            return self._plan(job_id, recipe_of)
        except IntegrityError:  # somebody took this candidate between our look and our lock: the next tick looks again
            return Planned(job_id=job_id)

    def _plan(self, job_id: int, recipe_of: RecipeOf) -> Planned:
        with self._db.transaction() as session:
            job = session.row(JOB, job=job_id)
            if job is None:
                return Planned()
            if job["halted"]:
                why = f"nothing is done until a person has looked: {job['halted']}"
                self._wait_for(session, job, "site", why, "-infinity")  # it is looked at again, whatever becomes of it
                return Planned(job_id=job_id)
            if job["kind"] not in KINDS:  # a control worker of a newer release plans it
                session.rows(SOON, job=job_id, seconds=self._spans.wake_grace)
                return Planned(job_id=job_id)
            kind = JobKind(job["kind"])
            service = ServiceKind(job["service_kind"])
            recipe = recipe_of(kind, job["params"], service)
            if held := job["held_reason"] or (job["package_held"] if kind is JobKind.OPEN else ""):
                self._wait_for(session, job, "hold", held)
                return Planned(job_id=job_id)
            if kind is not JobKind.OPEN:
                return self._plan_on_service(session, job, kind, recipe)
            connections = as_json(job["package"]["connections"])
            places = session.rows(PLACES, connections=connections, age=self._spans.view_age)
            usable = [place for place in places if place["open"]]
            taken = self._choose(session, job, service, usable)
            stale = None if service is ServiceKind.COLOCATION else self._stale(usable, taken)
            if stale is not None:
                session.rows(SOON, job=job_id, seconds=self._spans.reconcile)
                return Planned(observe=stale, job_id=job_id)
            if taken is None:
                self._wait(session, job, places, usable)
                return Planned(job_id=job_id)
            place = next(place for place in usable if place["id"] == taken["connection_id"])
            attempt = self._start(session, job, taken, recipe, canary=place["state"] == "restricted")
            sent = session.row(SEND, attempts=[attempt])
        return Planned(wakeup=wakeup(sent) if sent else None, job_id=job_id)

    def _plan_on_service(self, session: Session, job: Row, kind: JobKind, recipe: Recipe) -> Planned:
        """Start a job on the server that its service has, unless it has become pointless meanwhile."""
        stands = standing(session, job["service_id"], but=job["id"])
        # an open without an attempt waits for stock, a place or a person: what is asked of its server waits behind it
        opening = next((other for other in stands.queued if other.kind is JobKind.OPEN), None)
        first = stands.live or opening
        if first is not None:
            self._wait_for(session, job, "job", f"job {first.id} ({first.kind}) goes first")
            return Planned(job_id=job["id"])
        turn = due(stands, kind)
        if turn.turn is not Turn.RUN:
            done = turn.turn is Turn.DONE
            session.rows(
                NOT_RUN,
                job=job["id"],
                service=job["service_id"],
                state="succeeded" if done else "superseded",
                reason=turn.says,
                closed=done and kind is JobKind.CLOSE,
            )
            session.rows(SPEND, job=job["id"])
            if not done:
                restate(session, job["service_id"])
            session.rows(NEXT_JOB, service=job["service_id"])
            return Planned(job_id=job["id"])
        attempt = session.row(
            ON_SERVICE,
            job=job["id"],
            service=job["service_id"],
            kind=kind,
            closes=kind is JobKind.CLOSE,
            grace=self._spans.wake_grace,
        )
        if attempt is None:
            raise AssertionError("a service that has a claim has a server")
        session.rows(STEPS, attempt=attempt["id"], steps=_steps(recipe))
        label = f"00_{recipe[0][0]}"
        root = task_id(job["id"], job["external_ref"], attempt["server_ref"], attempt["n"], label=label, sends=1)
        session.rows(ROOT, attempt=attempt["id"], root=root)
        sent = session.row(SEND, attempts=[attempt["id"]])
        return Planned(wakeup=wakeup(sent) if sent else None, job_id=job["id"])

    @staticmethod
    def _choose(session: Session, job: Row, service: ServiceKind, usable: Sequence[Row]) -> Row | None:
        """Give the next candidate; of a place for the customer's own machine a person will say which server it is."""
        if service is ServiceKind.COLOCATION:
            return {"connection_id": usable[0]["id"], "server_ref": ""} if usable else None
        places = [place["id"] for place in usable]
        return session.row(CANDIDATE, places=places, type=job["package"]["server_type"], job=job["id"])

    @staticmethod
    def _stale(usable: Sequence[Row], taken: Row | None) -> int | None:
        """Give a place whose list must be read before anything is decided by it."""
        if taken is not None:
            place = next(place for place in usable if place["id"] == taken["connection_id"])
            return place["id"] if place["stale"] else None
        return next((place["id"] for place in usable if place["stale"]), None)

    def _wait(self, session: Session, job: Row, places: Sequence[Row], usable: Sequence[Row]) -> None:
        """No server: because none is free, or because no place may be asked."""
        held = [f"{place['name']} is {place['held_reason']}" for place in places if place["held_reason"]]
        if held and len(held) == len(places):
            waits_for, reason, plan_at = "hold", "; ".join(held), None
        elif usable or not places:
            waits_for, reason, plan_at = "stock", "no server of this type is free", None
        else:
            waits_for = "site"
            reason = "; ".join(f"{place['name']} is {place['state']}" for place in places)
            canaries = [place["canary_at"] for place in places if place["state"] == "restricted" and place["canary_at"]]
            plan_at = min(canaries, default=None)
        self._wait_for(session, job, waits_for, reason, plan_at)

    def _wait_for(
        self, session: Session, job: Row, waits_for: str, reason: str, plan_at: datetime | str | None = None
    ) -> None:
        """Let the job wait, and tell it once."""
        session.rows(
            WAIT,
            job=job["id"],
            service=job["service_id"],
            waits_for=waits_for,
            reason=reason,
            plan_at=plan_at,
            least=self._spans.canary / 2,
            changed=job["waits_for"] != waits_for,
        )

    def _start(
        self,
        session: Session,
        job: Row,
        taken: Row,
        recipe: Recipe,
        *,
        canary: bool,
    ) -> int:
        connection, server = taken["connection_id"], taken["server_ref"]
        service = job["service_id"]
        claim: int = session.value(CLAIM, connection=connection, server=server, service=service)
        attempt = session.row(
            ATTEMPT,
            job=job["id"],
            connection=connection,
            claim=claim,
            grace=self._spans.wake_grace,
            canary=canary,
        )
        if attempt is None:
            raise AssertionError("INSERT … RETURNING gave no row")
        session.rows(STEPS, attempt=attempt["id"], steps=_steps(recipe))
        root = task_id(job["id"], job["external_ref"], server, attempt["n"], label=f"00_{recipe[0][0]}", sends=1)
        session.rows(
            STARTED,
            claim=claim,
            service=service,
            attempt=attempt["id"],
            root=root,
            job=job["id"],
            n=attempt["n"],
            connection=connection,
            server=server,
            text=f"attempt {attempt['n']}" + (f" on server {server}" if server else ""),
            data=as_json({"server": server, "claim": claim, "canary": canary}),
        )
        return int(attempt["id"])


def _steps(recipe: Recipe) -> str:
    return as_json(
        [{"pos": i, "name": name, "deadline": deadline.total_seconds()} for i, (name, deadline) in enumerate(recipe)]
    )
