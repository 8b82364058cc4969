"""Servers as they are shown: what the list says, what binds each, and its strikes."""

from provisioner.ports import Facts
from provisioner.store.database import Database

STRIKES = """
(SELECT coalesce(jsonb_agg(jsonb_build_object(
          'at', q.at, 'step', q.step, 'reason', q.reason, 'by', q.by, 'site', q.site, 'retested_at', q.retested_at,
          'ended_at', q.ended_at, 'ended_by', q.ended_by) ORDER BY q.at), '[]')
   FROM quarantine q WHERE q.connection_id = v.connection_id AND q.server_ref = v.server_ref)"""

SERVERS = f"""
SELECT c.name AS connection, c.state AS connection_state, v.server_ref AS server, v.listed ->> 'name' AS name,
       v.listed ->> 'ip' AS ip, v.listed ->> 'rack' AS rack, v.server_type, v.barred, v.gone_from,
       cl.state AS claim_state, cl.reason AS claim_reason, s.panel, s.external_ref,
       CASE WHEN v.passed_over_until > clock_timestamp() THEN v.passed_over_until END AS passed_over_until,
       v.passed_over_reason,
       (SELECT max(j.id) FROM job j WHERE j.claim_id = cl.id) AS job_id, {STRIKES} AS strikes
  FROM server_view v
  JOIN connection c ON c.id = v.connection_id
  LEFT JOIN claim cl ON cl.connection_id = v.connection_id AND cl.server_ref = v.server_ref AND cl.state <> 'ended'
  LEFT JOIN service s ON s.id = cl.service_id
 WHERE (%(connection)s::text IS NULL OR c.name = %(connection)s)
   AND (%(server)s::text IS NULL OR v.server_ref = %(server)s)
   AND (NOT %(quarantined)s OR cl.state = 'quarantined')
 ORDER BY c.name, v.server_ref LIMIT %(limit)s"""


def servers(database: Database, **filters: object) -> list[Facts]:
    """Give the servers that fit, each with its strikes, oldest first."""
    return list(database.rows(SERVERS, **filters))
