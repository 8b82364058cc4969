"""What the auditor found, as it is shown."""

from provisioner.ports import Facts
from provisioner.store.database import Database

FINDINGS = """
SELECT c.name AS connection, f.kind, f.server_ref AS server, f.key, f.evidence, f.first_at, f.last_at
  FROM finding f JOIN connection c ON c.id = f.connection_id
 WHERE f.gone_at IS NULL AND (%(connection)s::text IS NULL OR c.name = %(connection)s)
 ORDER BY c.name, f.first_at, f.id"""


def findings(database: Database, connection: str | None) -> list[Facts]:
    """Give the findings that are still there, by connection, oldest first."""
    return list(database.rows(FINDINGS, connection=connection))
