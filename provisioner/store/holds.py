"""Holds on a package or a location in PostgreSQL: no new order is planned meanwhile; what is under way goes on."""

from provisioner.errors import NotFound
from provisioner.store.database import Database, Session

PACKAGE = """
UPDATE package SET held_reason = %(reason)s WHERE name = %(name)s RETURNING id"""

LOCATION = """
UPDATE connection SET held_reason = %(reason)s WHERE coalesce(nullif(location, ''), name) = %(name)s RETURNING id"""

#: whoever waited for a hold, and for none of its own, is judged anew; `look_again` finds those that somebody holds
REPLAN = """
WITH over AS (
  SELECT id FROM job WHERE state = 'queued' AND waits_for = 'hold' AND held_reason = '' FOR UPDATE SKIP LOCKED)
UPDATE job SET plan_at = clock_timestamp() FROM over WHERE job.id = over.id"""


class HoldsStore:
    """Satisfies `ports.Holds`."""

    def __init__(self, database: Database) -> None:
        """Work on *database*."""
        self._db = database

    def package(self, name: str, reason: str) -> None:
        """Hold a package, or with "" let it go. Raises `NotFound`."""
        with self._db.transaction() as session:
            self._set(session, PACKAGE, name, reason, f"no package {name!r}")

    def location(self, name: str, reason: str) -> int:
        """Hold all connections of a location, or with "" let them go; returns how many. Raises `NotFound`."""
        with self._db.transaction() as session:
            return self._set(session, LOCATION, name, reason, f"no connection is at location {name!r}")

    @staticmethod
    def _set(session: Session, sql: str, name: str, reason: str, missing: str) -> int:
        found = session.rows(sql, name=name, reason=reason)
        if not found:
            raise NotFound(missing)
        if not reason:
            session.rows(REPLAN)
        return len(found)
