"""Rows that a measurement starts from: a connection, what it sells, orders, and installs that are parked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import timedelta

from provisioner.bootstrap import App
from provisioner.domain.server import ListedServer, ServerRef
from provisioner.domain.service import Order
from provisioner.domain.stock import bars, sentence
from provisioner.ports import Wakeup
from provisioner.store.database import Database, as_json
from provisioner.usecases.submit import submit

OS = "ISPsystem__Debian-12-x86_64"
TYPE = "HP-E3-16G"
DEADLINE = timedelta(hours=1)
#: the first eight steps of `open`: the bench's worker has its own in their place
EIGHT = ("account", "claim", "domain", "address", "switch_port", "power_on", "install_os", "ping")

SERVERS = """
INSERT INTO server_view (connection_id, server_ref, listed, server_type, barred, changed_from)
SELECT %(connection)s, n::text, %(listed)s::jsonb || jsonb_build_object('ref', n::text), %(type)s, %(barred)s,
       clock_timestamp()
  FROM generate_series(%(first)s::int, %(last)s::int) AS n"""

CLONES = (
    """
INSERT INTO service OVERRIDING SYSTEM VALUE
SELECT (jsonb_populate_record(s, jsonb_build_object('id', s.id + i, 'external_ref', 'parked-' || i,
       'claim_id', NULL))).*
  FROM service s, generate_series(%(base)s + 1, %(base)s + %(copies)s) AS i WHERE s.id = %(service)s""",
    """
INSERT INTO claim OVERRIDING SYSTEM VALUE SELECT (jsonb_populate_record(c, jsonb_build_object('id', c.id + i,
       'service_id', c.service_id + i, 'server_ref', (%(first)s + i)::text, 'note_token', 'token ' || i))).*
  FROM claim c, generate_series(%(base)s + 1, %(base)s + %(copies)s) AS i WHERE c.id = %(claim)s""",
    """
INSERT INTO job OVERRIDING SYSTEM VALUE SELECT (jsonb_populate_record(j, jsonb_build_object('id', j.id + i,
       'service_id', j.service_id + i))).*
  FROM job j, generate_series(%(base)s + 1, %(base)s + %(copies)s) AS i WHERE j.id = %(job)s""",
    """
INSERT INTO attempt OVERRIDING SYSTEM VALUE SELECT (jsonb_populate_record(a, jsonb_build_object('id', a.id + i,
       'job_id', a.job_id + i, 'claim_id', a.claim_id + i))).*
  FROM attempt a, generate_series(%(base)s + 1, %(base)s + %(copies)s) AS i WHERE a.id = %(attempt)s""",
    """
INSERT INTO step SELECT (jsonb_populate_record(s, jsonb_build_object('attempt_id', s.attempt_id + i))).*
  FROM step s, generate_series(%(base)s + 1, %(base)s + %(copies)s) AS i WHERE s.attempt_id = %(attempt)s""",
)

#: ids of copies of what has ended begin here
LONG_AGO = 100_000_000
#: copies of all that the first order left which has ended; their services are closed by now, their servers sold again
ENDED = (
    """
INSERT INTO service OVERRIDING SYSTEM VALUE
SELECT (jsonb_populate_record(x, jsonb_build_object('id', i, 'external_ref', 'ended-' || i, 'claim_id', NULL,
       'state', 'closed', 'root_secret', NULL, 'panel_secret', NULL))).*
  FROM service x, generate_series(%(first)s, %(last)s) AS i WHERE x.id = %(service)s""",
    """
INSERT INTO claim OVERRIDING SYSTEM VALUE
SELECT (jsonb_populate_record(x, jsonb_build_object('id', i, 'service_id', i, 'server_ref', (i %% 10000)::text,
       'note_token', 'ended ' || i, 'state', 'ended', 'ended_at', clock_timestamp()))).*
  FROM claim x, generate_series(%(first)s, %(last)s) AS i WHERE x.id = %(claim)s""",
    """
INSERT INTO job OVERRIDING SYSTEM VALUE
SELECT (jsonb_populate_record(x, jsonb_build_object('id', i, 'service_id', i,
       'ended_at', clock_timestamp() - (i %% 10000) * interval '1 min'))).*
  FROM job x, generate_series(%(first)s, %(last)s) AS i WHERE x.id = %(job)s""",
    """
INSERT INTO attempt OVERRIDING SYSTEM VALUE
SELECT (jsonb_populate_record(x, jsonb_build_object('id', i, 'job_id', i, 'claim_id', i))).*
  FROM attempt x, generate_series(%(first)s, %(last)s) AS i WHERE x.id = %(attempt)s""",
    """
INSERT INTO step SELECT (jsonb_populate_record(x, jsonb_build_object('attempt_id', i))).*
  FROM step x, generate_series(%(first)s, %(last)s) AS i WHERE x.attempt_id = %(attempt)s""",
    """
INSERT INTO event (service_id, seq, job_id, attempt_n, at, kind, text, data)
SELECT i, x.seq, i, x.attempt_n, x.at, x.kind, x.text, x.data
  FROM event x, generate_series(%(first)s, %(last)s) AS i WHERE x.service_id = %(service)s""",
    """
INSERT INTO address (service_id, claim_id, connection_id, row_ref, ip, family, state)
SELECT i, i, a.connection_id, i::text, '192.0.2.1', 'ipv4', 'gone'
  FROM attempt a, generate_series(%(first)s, %(last)s) AS i WHERE a.id = %(attempt)s""",
    """
INSERT INTO secret (ciphertext, key_id, expires_at)
SELECT x.ciphertext, x.key_id, clock_timestamp() + interval '1 day'
  FROM (SELECT * FROM secret LIMIT 1) x, generate_series(%(first)s, %(last)s)""",
    """
INSERT INTO account (panel, billing_ref, connection_id, login, panel_user_ref, state)
SELECT 'ended', i, c.ids[1 + i %% cardinality(c.ids)], 'ended' || i, i, 'live'
  FROM (SELECT array_agg(id) AS ids FROM connection) c, generate_series(%(first)s, %(last)s) AS i""",
    """
INSERT INTO quarantine (connection_id, server_ref, claim_id, step, reason, ended_at)
SELECT a.connection_id, (i %% 10000)::text, i, 'install_os', 'it failed', clock_timestamp()
  FROM attempt a, generate_series(%(first)s, %(last)s) AS i WHERE a.id = %(attempt)s""",
    """
WITH d AS (INSERT INTO department (name, address) VALUES ('bench', 'oncall@example.net')
               ON CONFLICT (name) DO UPDATE SET address = excluded.address RETURNING id),
t AS (INSERT INTO ticket (department_id, connection_id, matter, subject, state, closed_at)
      SELECT d.id, c.id, 'paused:' || c.id || ':' || i, 'it was away', 'closed', clock_timestamp() - interval '2 h'
        FROM d, (SELECT id FROM connection ORDER BY id LIMIT 1) c, generate_series(%(first)s, %(last)s, 10) AS i
      RETURNING id)
INSERT INTO delivery (ticket_id, n, kind, text, tries, sent_at)
SELECT t.id, n, CASE n WHEN 1 THEN 'open' ELSE 'close' END, 'it was away', 1, clock_timestamp()
  FROM t, generate_series(1, 2) AS n""",
)
FAR = 1_000_000  #: copies of one place lie so far from those of the next
AT_A_TIME = 5_000  #: orders in one commit
NEXT_IDS = """
SELECT setval(pg_get_serial_sequence(t, 'id'), greatest(%(after)s, nextval(pg_get_serial_sequence(t, 'id'))))
  FROM unnest(ARRAY['service', 'claim', 'job', 'attempt']) AS t"""


def listed(**facts: object) -> dict[str, object]:
    """Give a server's row as the list shows it, and why it may not be sold."""
    row = asdict(ListedServer(ServerRef(""), "rack-1", TYPE, "free.ds", "192.0.2.1", ""))
    row.update(facts)
    return {"listed": as_json(row), "type": TYPE, "barred": sentence(bars(ListedServer(**row)))}


def finish(database: Database, number: int) -> None:
    """Let *number* orders have ended like the first one that did, each with its steps, events and the rest."""
    found = database.row(
        "SELECT j.id AS job, j.service_id AS service, a.id AS attempt, a.claim_id AS claim FROM job j "
        "JOIN attempt a ON a.job_id = j.id WHERE j.state = 'succeeded' ORDER BY j.id LIMIT 1"
    )
    if found is None:
        raise AssertionError("no order has ended yet")
    for first in range(LONG_AGO, LONG_AGO + number, AT_A_TIME):
        last = min(first + AT_A_TIME, LONG_AGO + number) - 1
        with database.transaction() as session:
            session.rows("SET LOCAL statement_timeout = '5min'")
            session.rows("SET LOCAL session_replication_role = replica")  # nobody is told, nobody is asked
            for statement in ENDED:
                session.rows(statement, **found, first=first, last=last)
    database.rows(NEXT_IDS, after=2 * LONG_AGO)
    with database.transaction() as session:
        session.rows("SET LOCAL statement_timeout = '5min'")
        session.rows("ANALYZE")


def connect(app: App, *, servers: int, slots: int = 8, name: str = "dc1", package: str = "small") -> int:
    """Make a connection of kind `bench` with *servers* that may be sold, and a package on it."""
    sealed, key = app.vault.seal("secret")
    connection: int = app.database.value(
        "WITH s AS (INSERT INTO secret (ciphertext, key_id) VALUES (%(sealed)s, %(key)s) RETURNING id) "
        "INSERT INTO connection (name, kind, url, username, secret_id, admin_user, max_in_flight, observed_from) "
        "SELECT %(name)s, 'bench', 'https://dcim.example.net', 'u', s.id, '1', %(slots)s, clock_timestamp() FROM s "
        "RETURNING id",
        sealed=sealed,
        key=key,
        slots=slots,
        name=name,
    )
    app.database.rows(
        "INSERT INTO slot (connection_id, n) SELECT %(id)s, generate_series(1, %(slots)s)", id=connection, slots=slots
    )
    app.database.rows(SERVERS, connection=connection, **listed(), first=1, last=servers)
    app.database.rows(
        "WITH p AS (INSERT INTO package (name, server_type, os_allowed, ipv4, probe, stock_wait_seconds) "
        "VALUES (%(package)s, %(type)s, %(os)s, 1, 'ssh:22', 3600) RETURNING id) "
        "INSERT INTO package_connection (package_id, connection_id) SELECT p.id, %(id)s FROM p",
        type=TYPE,
        os=as_json([OS]),
        id=connection,
        package=package,
    )
    return connection


def plan(app: App, names: Sequence[str], *, recipe: Sequence[str] = EIGHT, package: str = "small") -> list[Wakeup]:
    """Place an order of each name and plan it; gives the first messages, which nobody has sent."""
    messages = []
    for name in names:
        order = Order("bench", name, package, f"c-{name}", f"u{name}".replace("-", ""), f"{name}.example.net", OS)
        placed = submit(order, key=None, services=app.services, vault=app.vault, waker=Silent())
        planned = app.planner.plan(
            placed.job_id, lambda _kind, _params, _service: [(step, DEADLINE) for step in recipe]
        )
        if planned.wakeup is None:
            raise AssertionError("no server was free")
        messages.append(planned.wakeup)
    return messages


def park(app: App, number: int, *, package: str = "small", place: int = 0, recipe: Sequence[str] = EIGHT) -> None:
    """Let *number* installs wait for the list: one that was planned, and its copies; *place* tells calls apart."""
    (message,) = plan(app, [f"first-{package}"], package=package, recipe=recipe)
    connection = app.database.value("SELECT connection_id FROM attempt WHERE id = %(id)s", id=message.attempt_id)
    base = place * FAR
    app.database.rows(
        SERVERS, connection=connection, **listed(installing=True), first=FAR + base + 1, last=FAR + base + number - 1
    )
    app.database.rows(
        "UPDATE attempt SET state = 'waiting', pos = 6, awaits = 'long', seen_from = clock_timestamp(), "
        "resume_at = clock_timestamp() + '1 h' "
        "WHERE id = %(id)s",
        id=message.attempt_id,
    )
    app.database.rows(
        "UPDATE step SET state = CASE WHEN pos < 6 THEN 'done' ELSE 'acting' END, begun_at = clock_timestamp(), "
        "acted_at = clock_timestamp(), deadline_at = clock_timestamp() + interval '1 h' "
        "WHERE attempt_id = %(id)s AND pos <= 6",
        id=message.attempt_id,
    )
    found = app.database.row(
        "SELECT a.id AS attempt, a.job_id AS job, a.claim_id AS claim, j.service_id AS service FROM attempt a "
        "JOIN job j ON j.id = a.job_id WHERE a.id = %(id)s",
        id=message.attempt_id,
    )
    with app.database.transaction() as session:
        session.rows("SET LOCAL statement_timeout = '5min'")
        for statement in CLONES:
            session.rows(statement, **(found or {}), copies=number - 1, base=base, first=FAR)
        session.rows(NEXT_IDS, after=FAR)
    app.database.rows("ANALYZE")


class Silent:
    """A waker that sends nothing."""

    def wake(self, wakeups: Sequence[Wakeup]) -> None:
        """Send nothing."""

    def tick(self) -> None:
        """Ask for nothing."""

    def observe(self, connection_id: int) -> None:
        """Ask for nothing."""

    def audit(self, connection_id: int, *, start: bool) -> None:
        pass

    def deliver(self) -> None:
        """Ask for nothing."""

    def callback(self, panel: str) -> None:
        """Ask for nothing."""

    def lost(self, task_id: str, worker: str, sentence: str) -> None:
        """Tell nobody."""
