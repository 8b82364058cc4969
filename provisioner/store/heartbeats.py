"""Signs of life of our own processes, one row each: who is at work, of which release, on which queues."""

from collections.abc import Sequence

from provisioner.store.database import Database, as_json

#: whoever was silent for a day was renamed or taken away: a name is not kept for ever
NOTE = """
WITH old AS (DELETE FROM heartbeat WHERE left(name, 7) = 'worker:' AND name <> %(name)s
                AND at < clock_timestamp() - interval '1 day')
INSERT INTO heartbeat (name, at, data) VALUES (%(name)s, clock_timestamp(), %(data)s::jsonb)
    ON CONFLICT (name) DO UPDATE SET at = excluded.at, data = excluded.data"""

FORGET = """
DELETE FROM heartbeat WHERE name = %(name)s"""


class HeartbeatStore:
    """Satisfies `ports.Heartbeats`."""

    def __init__(self, database: Database) -> None:
        """Write to *database*."""
        self._db = database

    def note(self, worker: str, *, version: str, queues: Sequence[str]) -> None:
        """Say that *worker* lives, and what it serves."""
        data = {"version": version, "queues": sorted(queues)}
        self._db.rows(NOTE, name=f"worker:{worker}", data=as_json(data))

    def forget(self, worker: str) -> None:
        """Take a worker that ends by itself off the list."""
        self._db.rows(FORGET, name=f"worker:{worker}")

    def try_writing(self) -> None:
        """Write a row of the doctor's own, and commit."""
        self._db.rows(NOTE, name="doctor", data="{}")
