"""How the site stands: its connections, and what readiness rests on."""

from functools import cache

from provisioner.ports import Facts
from provisioner.store import migrate
from provisioner.store.database import Database

CONNECTIONS = """
SELECT c.name, c.kind, c.location, c.queue, c.url, c.username, c.tls, c.admin_user, c.bmc_port_pattern, c.state,
       c.pause_reason, c.paused_by, c.paused_at, c.restricted_step, c.canary_at, c.max_in_flight, c.calls_per_second,
       c.revision, c.observed_from, c.observe_error, (SELECT d.name FROM department d WHERE d.id = c.in_charge)
         AS in_charge,
       (SELECT count(*) FROM server_view v WHERE v.connection_id = c.id AND v.gone_from IS NULL) AS servers,
       (SELECT count(*) FROM attempt a WHERE a.connection_id = c.id AND a.state <> 'ended') AS attempts,
       clock_timestamp() AS now
  FROM connection c ORDER BY c.name"""

HEALTH = """
SELECT current_setting('transaction_read_only') = 'on' AS read_only, current_setting('server_version') AS server,
       to_regclass('alembic_version') IS NOT NULL AS migrated, to_regclass('heartbeat') IS NOT NULL AS ticks,
       clock_timestamp() AS now"""


def connections(database: Database) -> list[Facts]:
    """List the connections; never a password."""
    return list(database.rows(CONNECTIONS))


def health(database: Database) -> Facts:
    """Give what readiness rests on."""
    with database.once() as session:
        found = session.row(HEALTH) or {}
        revision = session.value("SELECT version_num FROM alembic_version") if found["migrated"] else ""
        newest = _newest()
        halted = session.value("SELECT halted FROM installation") if revision == newest else ""
        tick = session.value("SELECT at FROM heartbeat WHERE name = 'reconcile'") if found["ticks"] else None
    return {**found, "revision": revision or "", "newest": newest, "tick_at": tick, "halted": halted or ""}


@cache
def _newest() -> str:
    return migrate.newest()
