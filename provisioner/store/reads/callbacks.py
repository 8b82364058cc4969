"""Where billing panels hear of their services, and what they have not heard yet. Never a secret."""

from provisioner.ports import Facts
from provisioner.store.database import Database

CALLBACKS = """
SELECT c.panel, c.url, c.created_at, c.sent_at, c.failures, c.failing_since, c.error,
       count(d.service_id) FILTER (WHERE d.failed_at IS NULL) AS waiting,
       count(d.service_id) FILTER (WHERE d.failed_at IS NOT NULL) AS given_up,
       greatest(min(d.due_at) FILTER (WHERE d.failed_at IS NULL), c.rests_until) AS due_at
  FROM callback c LEFT JOIN callback_due d ON d.panel = c.panel
 GROUP BY c.panel ORDER BY c.panel"""


def callbacks(database: Database) -> list[Facts]:
    """List the callbacks with what waits."""
    return list(database.rows(CALLBACKS))
