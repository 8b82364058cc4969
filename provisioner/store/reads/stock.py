"""What is sold and where it stands: packages, servers of their type, and what binds each."""

from provisioner.ports import Facts
from provisioner.store.database import Database
from provisioner.store.rows import PACKAGE_COLUMNS

PACKAGES = f"""
SELECT {PACKAGE_COLUMNS} FROM package p ORDER BY p.name"""

PLACES = """
(SELECT coalesce(jsonb_agg(jsonb_build_object(
          'name', c.name, 'priority', pc.priority, 'state', c.state, 'pause_reason', c.pause_reason,
          'restricted_step', c.restricted_step, 'observed_from', c.observed_from,
          'observe_error', c.observe_error) ORDER BY pc.priority, c.name), '[]')
   FROM package_connection pc JOIN connection c ON c.id = pc.connection_id WHERE pc.package_id = p.id)"""

SERVERS = """
(SELECT coalesce(jsonb_agg(jsonb_build_object(
          'connection', c.name, 'connection_state', c.state, 'server', v.server_ref, 'name', v.listed ->> 'name',
          'ip', v.listed ->> 'ip', 'barred', v.barred, 'gone_from', v.gone_from, 'claim_state', cl.state,
          'claim_reason', cl.reason, 'panel', s.panel, 'external_ref', s.external_ref,
          'passed_over_until', CASE WHEN v.passed_over_until > clock_timestamp() THEN v.passed_over_until END,
          'passed_over_reason', v.passed_over_reason) ORDER BY pc.priority, c.name, v.server_ref), '[]')
   FROM package_connection pc
   JOIN connection c ON c.id = pc.connection_id
   JOIN server_view v ON v.connection_id = c.id AND v.server_type = p.server_type
   LEFT JOIN claim cl ON cl.connection_id = c.id AND cl.server_ref = v.server_ref AND cl.state <> 'ended'
   LEFT JOIN service s ON s.id = cl.service_id
  WHERE pc.package_id = p.id)"""

STOCK = f"""
SELECT p.name, p.server_type, p.disabled_at, {PLACES} AS places, {SERVERS} AS servers, clock_timestamp() AS now
  FROM package p WHERE p.kind = 'dedicated' AND (%(package)s::text IS NULL OR p.name = %(package)s) ORDER BY p.name"""


def packages(database: Database) -> list[Facts]:
    """List the packages with their connections."""
    return list(database.rows(PACKAGES))


def stock(database: Database, package: str | None) -> list[Facts]:
    """Give packages with the servers of their type."""
    return list(database.rows(STOCK, package=package))
