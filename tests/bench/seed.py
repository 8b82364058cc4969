"""Rows that a measurement starts from: a connection, what it sells, orders, and installs that are parked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import timedelta

from provisioner.bootstrap import App
from provisioner.domain.server import ListedServer, ServerRef
from provisioner.domain.service import Order
from provisioner.ports import Wakeup
from provisioner.store.database import as_json
from provisioner.usecases.submit import submit

OS = "ISPsystem__Debian-12-x86_64"
TYPE = "HP-E3-16G"
DEADLINE = timedelta(hours=1)
#: the first eight steps of `open`: the bench's worker has its own in their place
EIGHT = ("account", "claim", "domain", "address", "switch_port", "power_on", "install_os", "ping")

SERVERS = """
INSERT INTO server_view (connection_id, server_ref, listed, server_type, changed_from)
SELECT %(connection)s, n::text, %(listed)s::jsonb || jsonb_build_object('ref', n::text), %(type)s, clock_timestamp()
  FROM generate_series(%(first)s::int, %(last)s::int) AS n"""

CLONES = (
    """
INSERT INTO service OVERRIDING SYSTEM VALUE
SELECT (jsonb_populate_record(s, jsonb_build_object('id', s.id + i, 'external_ref', 'parked-' || i,
       'claim_id', NULL))).* FROM service s, generate_series(1, %(copies)s) AS i WHERE s.id = %(service)s""",
    """
INSERT INTO claim OVERRIDING SYSTEM VALUE SELECT (jsonb_populate_record(c, jsonb_build_object('id', c.id + i,
       'service_id', c.service_id + i, 'server_ref', (%(first)s + i)::text, 'note_token', 'token ' || i))).*
  FROM claim c, generate_series(1, %(copies)s) AS i WHERE c.id = %(claim)s""",
    """
INSERT INTO job OVERRIDING SYSTEM VALUE SELECT (jsonb_populate_record(j, jsonb_build_object('id', j.id + i,
       'service_id', j.service_id + i))).* FROM job j, generate_series(1, %(copies)s) AS i WHERE j.id = %(job)s""",
    """
INSERT INTO attempt OVERRIDING SYSTEM VALUE SELECT (jsonb_populate_record(a, jsonb_build_object('id', a.id + i,
       'job_id', a.job_id + i, 'claim_id', a.claim_id + i))).*
  FROM attempt a, generate_series(1, %(copies)s) AS i WHERE a.id = %(attempt)s""",
    """
INSERT INTO step SELECT (jsonb_populate_record(s, jsonb_build_object('attempt_id', s.attempt_id + i))).*
  FROM step s, generate_series(1, %(copies)s) AS i WHERE s.attempt_id = %(attempt)s""",
)


def connect(app: App, *, servers: int, slots: int = 8) -> int:
    """Make a connection of kind `bench` with *servers* that may be sold, and a package on it."""
    sealed, key = app.vault.seal("secret")
    connection: int = app.database.value(
        "WITH s AS (INSERT INTO secret (ciphertext, key_id) VALUES (%(sealed)s, %(key)s) RETURNING id) "
        "INSERT INTO connection (name, kind, url, username, secret_id, admin_user, max_in_flight, observed_from) "
        "SELECT 'dc1', 'bench', 'https://dcim.example.net', 'u', s.id, '1', %(slots)s, clock_timestamp() FROM s "
        "RETURNING id",
        sealed=sealed,
        key=key,
        slots=slots,
    )
    app.database.rows(
        "INSERT INTO slot (connection_id, n) SELECT %(id)s, generate_series(1, %(slots)s)", id=connection, slots=slots
    )
    listed = as_json(asdict(ListedServer(ServerRef(""), "rack-1", TYPE, "free.ds", "192.0.2.1", "")))
    app.database.rows(SERVERS, connection=connection, listed=listed, type=TYPE, first=1, last=servers)
    app.database.rows(
        "WITH p AS (INSERT INTO package (name, server_type, os_allowed, ipv4, probe, stock_wait_seconds) "
        "VALUES ('small', %(type)s, %(os)s, 1, 'ssh:22', 3600) RETURNING id) "
        "INSERT INTO package_connection (package_id, connection_id) SELECT p.id, %(id)s FROM p",
        type=TYPE,
        os=as_json([OS]),
        id=connection,
    )
    return connection


def plan(app: App, names: Sequence[str], *, recipe: Sequence[str] = EIGHT) -> list[Wakeup]:
    """Place an order of each name and plan it; gives the first messages, which nobody has sent."""
    messages = []
    for name in names:
        order = Order("bench", name, "small", f"c-{name}", f"u{name}".replace("-", ""), f"{name}.example.net", OS)
        placed = submit(order, key=None, services=app.services, vault=app.vault, waker=Silent())
        planned = app.planner.plan(
            placed.job_id, lambda _kind, _params, _service: [(step, DEADLINE) for step in recipe]
        )
        if planned.wakeup is None:
            raise AssertionError("no server was free")
        messages.append(planned.wakeup)
    return messages


def park(app: App, number: int) -> None:
    """Let *number* installs wait for the list: one that was planned, and its copies."""
    (message,) = plan(app, ["first"])
    app.database.rows(
        "UPDATE attempt SET state = 'waiting', pos = 6, awaits = 'long', resume_at = clock_timestamp() + '1 h' "
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
            session.rows(statement, **(found or {}), copies=number - 1, first=1_000_000)
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
