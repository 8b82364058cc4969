"""Services as they are shown: what the customer has. Never a secret."""

from provisioner.ports import Facts
from provisioner.store.database import Database

ADDRESSES = """
(SELECT coalesce(jsonb_agg(jsonb_build_object(
          'ip', ad.ip, 'family', ad.family, 'netmask', ad.netmask, 'gateway', ad.gateway, 'main', ad.main)
          ORDER BY ad.main DESC, ad.family, ad.id), '[]')
   FROM address ad WHERE ad.service_id = s.id AND ad.claim_id = s.claim_id AND ad.state = 'live')"""

#: what it had before: to delete one of these again is success
GONE = """
(SELECT coalesce(jsonb_agg(DISTINCT ad.ip), '[]') FROM address ad WHERE ad.service_id = s.id AND ad.state = 'gone')"""

JOBS = """
(SELECT coalesce(jsonb_agg(jsonb_build_object(
          'id', j.id, 'kind', j.kind, 'state', j.state, 'waits_for', j.waits_for, 'reason', j.reason,
          'created_at', j.created_at, 'ended_at', j.ended_at) ORDER BY j.id), '[]')
   FROM job j WHERE j.service_id = s.id)"""

SERVICES = f"""
SELECT s.id, s.panel, s.external_ref, s.kind, s.state, s.desired, s.suspended_by,
       s.customer_ref, s.login, s.hostname, s.os,
       s.package ->> 'name' AS package, s.package -> 'os_allowed' AS os_allowed, s.created_at, s.handed_over_at,
       s.root_secret IS NOT NULL AND s.handed_over_at IS NOT NULL AS has_secrets,
       acc.login AS account_login, c.name AS connection, cl.server_ref AS server, cl.state AS claim_state,
       v.listed ->> 'name' AS server_name, v.listed ->> 'ip' AS ip,
       {ADDRESSES} AS addresses, {GONE} AS gone_addresses, {JOBS} AS jobs
  FROM service s
  LEFT JOIN claim cl ON cl.id = s.claim_id
  LEFT JOIN connection c ON c.id = cl.connection_id
  LEFT JOIN server_view v ON v.connection_id = cl.connection_id AND v.server_ref = cl.server_ref
  LEFT JOIN account acc ON acc.id = s.account_id
 WHERE s.external_ref = %(ref)s AND (%(panel)s::text IS NULL OR s.panel = %(panel)s)
 ORDER BY s.panel"""


def services(database: Database, external_ref: str, panel: str | None) -> list[Facts]:
    """Give the services of that reference, one a panel."""
    return list(database.rows(SERVICES, ref=external_ref, panel=panel))
