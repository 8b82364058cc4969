"""Which database this is, in PostgreSQL: compared on each new connection, halted where it differs, accepted by hand."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import structlog

from provisioner.domain.installation import Identity, Placed, Serials, contradiction, difference
from provisioner.domain.server import ServerRef
from provisioner.errors import IllegalMove
from provisioner.store.database import Database, Row

log = structlog.get_logger()

MISSING = ("42P01", "42703")  #: no such table, no such column: not migrated yet

#: the timeline of the WAL that is written now: the control file's is that of the last checkpoint, and a promoted
#: standby makes its first one minutes later
COMPARE = """
SELECT i.system_identifier, i.timeline, i.database_oid, i.halted,
       (SELECT system_identifier::text FROM pg_control_system()) AS system_now, tableoid::bigint AS table_now,
       (SELECT oid::bigint FROM pg_database WHERE datname = current_database()) AS oid_now,
       CASE WHEN pg_is_in_recovery() THEN 0
            ELSE ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int END AS timeline_now
  FROM installation i"""

#: cluster and table share a column, as `7000/16401`
LEARN = """
UPDATE installation SET timeline = %(timeline)s, system_identifier = %(system)s, database_oid = %(oid)s"""

#: one commit: why, and an event on each connection that is used; a halted one stays halted for its first reason
HALT = """
WITH i AS (UPDATE installation SET halted = %(why)s, halted_at = clock_timestamp() WHERE halted = '' RETURNING id),
c AS (UPDATE connection SET next_seq = next_seq + 1 FROM i WHERE connection.state <> 'disabled'
      RETURNING connection.id, next_seq - 1 AS seq),
e AS (INSERT INTO event (connection_id, seq, kind, text, data)
      SELECT c.id, c.seq, 'installation_halted', %(why)s, '{}' FROM c)
SELECT id FROM i"""

SERIALS = """
SELECT (SELECT greatest(CASE WHEN q.is_called THEN q.last_value ELSE 0 END, (SELECT coalesce(max(id), 0) FROM claim))
          FROM claim_id_seq q) AS highest,
       coalesce((SELECT jsonb_object_agg(cl.id, jsonb_build_array(c.name, cl.server_ref))
                   FROM claim cl JOIN connection c ON c.id = cl.connection_id
                  WHERE cl.id = ANY(%(serials)s::bigint[])), '{}') AS claims"""

ACCEPT = """
UPDATE installation SET halted = '', halted_at = NULL, system_identifier = %(system)s, timeline = %(timeline)s,
       database_oid = %(oid)s RETURNING id"""

#: no serial that the panels have seen is given again
RAISE = """
SELECT setval('claim_id_seq', greatest(%(highest)s, (SELECT last_value FROM claim_id_seq), 1))"""

#: the step that an attempt stands at gets its patience anew: no deadline of the time before counts
FRESH = """
UPDATE step SET deadline_at = clock_timestamp() + (step.deadline_at - step.arrived_at)
  FROM attempt a WHERE a.state <> 'ended' AND step.attempt_id = a.id AND step.pos = a.pos
   AND step.deadline_at IS NOT NULL AND step.arrived_at IS NOT NULL"""

WOKEN = """
UPDATE attempt SET resume_at = clock_timestamp(), ready_since = clock_timestamp(), wake_distance = 0
 WHERE state = 'ready'"""

REPLAN = """
UPDATE job SET plan_at = clock_timestamp() WHERE state = 'queued' AND waits_for = 'site'"""


class _Runs(Protocol):
    def rows(self, sql: str, /, **values: object) -> list[Row]: ...


class _Raw:
    """Runs statements on a connection of the client library's own, each a commit."""

    def __init__(self, connection: Any) -> None:  # noqa: ANN401 - psycopg2 has no types
        self._connection = connection

    def rows(self, sql: str, /, **values: object) -> list[Row]:
        with self._connection.cursor() as cursor:
            cursor.execute(sql, values)
            if cursor.description is None:
                return []
            names = [column.name for column in cursor.description]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def greet(connection: Any) -> None:  # noqa: ANN401 - psycopg2 has no types
    """
    Compare a database that was connected to just now, before anything is asked of it.

    Whoever restores, promotes or moves a database breaks the connections to it: none that comes after is used
    without this. A database without our tables is left alone.
    """
    before, connection.autocommit = connection.autocommit, True
    try:
        compare(_Raw(connection))
    except Exception as error:
        if getattr(error, "pgcode", None) not in MISSING:
            raise
    finally:
        connection.autocommit = before


def compare(runs: _Runs) -> str:
    """Learn what is not known yet, halt where the database differs; returns why it is halted, "" when it is not."""
    found = runs.rows(COMPARE)
    if not found or not found[0]["timeline_now"]:  # a standby can't be written, so nobody acts on its word
        return ""
    stored, present, halted = _identities(found[0])
    if why := difference(stored, present):
        return halted or halt(runs, why)
    if stored != present:
        runs.rows(LEARN, timeline=present.timeline, system=_cluster_and_table(present), oid=present.database_oid)
    return halted


def halt(runs: _Runs, why: str) -> str:
    """Let nobody act until a person has looked; returns *why*. Safe to repeat: the first reason stays."""
    if runs.rows(HALT, why=why):
        log.error("installation_halted", why=why)
    return why


def known(runs: _Runs, serials: Sequence[int]) -> Serials:
    """Give what our books know of *serials*; asked after the notes were read, so that a new claim is in it."""
    row = runs.rows(SERIALS, serials=list(serials))[0]
    claims = {int(serial): Placed(place[0], ServerRef(place[1])) for serial, place in row["claims"].items()}
    return Serials(row["highest"], claims)


def witness(runs: _Runs, connection: str, server: ServerRef, serials: Sequence[int]) -> str:
    """Halt if serials of ours that were read in a server's notes show that our books went back; returns why."""
    why = contradiction(connection, server, serials, known(runs, serials))
    return halt(runs, why) if why else ""


def _identities(row: Mapping[str, Any]) -> tuple[Identity, Identity, str]:
    cluster, _, table = row["system_identifier"].partition("/")
    stored = Identity(cluster, row["timeline"], row["database_oid"], int(table or 0))
    return stored, Identity(row["system_now"], row["timeline_now"], row["oid_now"], row["table_now"]), row["halted"]


def _cluster_and_table(identity: Identity) -> str:
    return f"{identity.system_identifier}/{identity.table_oid}"


class InstallationStore:
    """Satisfies `ports.Installation`."""

    def __init__(self, database: Database) -> None:
        """Work on *database*."""
        self._db = database

    def compare(self) -> str:
        """Compare the present identity with the stored one; returns why we are halted, "" when we are not."""
        with self._db.once() as session:
            return compare(session)

    def halt(self, why: str) -> None:
        """Let nobody act until a person has looked; safe to repeat."""
        with self._db.once() as session:
            halt(session, why)

    def name(self) -> str:
        """Give the short name that our lines in notes bear."""
        found: str = self._db.value("SELECT left(name, 8) FROM installation")
        return found

    def serials(self, found: Sequence[int]) -> Serials:
        """Give what our books know of serials that were read in notes."""
        with self._db.once() as session:
            return known(session, found)

    def accept(self, highest: int) -> None:
        """
        Take the present database for ours, give no serial up to *highest* again, and go on.

        Raises:
            IllegalMove: the database is a standby.
        """
        with self._db.transaction() as session:
            found = session.rows(COMPARE)[0]
            _, present, _ = _identities(found)
            if not present.timeline:
                raise IllegalMove("this database is a standby; promote it first")
            session.rows(REPLAN)
            session.rows(WOKEN)
            session.rows(FRESH)
            session.rows(RAISE, highest=highest)
            session.rows(
                ACCEPT,
                system=_cluster_and_table(present),
                timeline=present.timeline,
                oid=present.database_oid,
            )
