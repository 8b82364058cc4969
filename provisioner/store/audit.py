"""The auditor's side of PostgreSQL: our books of a connection, what was found, and where a nightly audit stands."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

from provisioner.domain.audit import Booked, BookedAccount, Books, Finding
from provisioner.domain.connection import ConnectionState
from provisioner.domain.events import EventKind
from provisioner.domain.installation import tokens
from provisioner.domain.server import (
    AddressRow,
    Family,
    Link,
    LinkKind,
    LinkRef,
    Listing,
    RowRef,
    ServerReading,
    ServerRef,
    User,
    UserRef,
)
from provisioner.domain.spans import Spans
from provisioner.domain.states import ClaimState, ServiceState
from provisioner.errors import Fenced
from provisioner.ports import Place, Round
from provisioner.store import rows
from provisioner.store.connections import tell
from provisioner.store.database import Database, Row, Session, as_json
from provisioner.store.installation import known

TOLD = 50  #: findings that one event names; the rest is counted
STALE_AFTER = timedelta(hours=1)  #: an audit that nobody went on with for so long begins anew

CONNECTION = """
SELECT c.name, c.admin_user, c.username, left(i.name, 8) AS installation
  FROM connection c, installation i WHERE c.id = %(id)s"""

BOOKED = """
SELECT cl.id, cl.server_ref, cl.state, s.external_ref, s.panel, s.state AS service_state, acc.panel_user_ref,
       coalesce(s.package ->> 'suspend_by', p.suspend_by) = 'ports+disable' AS disables,
       (SELECT coalesce(jsonb_agg(ad.ip), '[]') FROM address ad WHERE ad.claim_id = cl.id AND ad.state = 'live') AS ips
  FROM claim cl
  LEFT JOIN service s ON s.id = cl.service_id
  LEFT JOIN package p ON p.id = s.package_id
  LEFT JOIN account acc ON acc.panel = s.panel AND acc.billing_ref = s.customer_ref
                       AND acc.connection_id = cl.connection_id AND acc.state = 'live'
 WHERE cl.connection_id = %(id)s AND cl.state <> 'ended' AND cl.server_ref <> ''"""

#: every work on a server is an attempt: one that lives, or that ended after the reading began
BUSY = """
SELECT DISTINCT cl.server_ref FROM attempt a JOIN claim cl ON cl.id = a.claim_id
 WHERE a.connection_id = %(id)s AND (a.state <> 'ended' OR a.ended_at >= %(since)s)"""

ACCOUNTS = """
SELECT acc.panel_user_ref, acc.login, acc.created_by_us,
       EXISTS (SELECT FROM service s WHERE s.panel = acc.panel AND s.customer_ref = acc.billing_ref
                  AND s.state NOT IN ('closed', 'failed')) AS in_service
  FROM account acc WHERE acc.connection_id = %(id)s AND acc.state = 'live'"""

RECORDED = """
SELECT DISTINCT server_ref FROM quarantine WHERE connection_id = %(id)s AND ended_at IS NULL"""

#: a finding is new once; one that was there before is only seen again
KEEP = """
WITH seen AS (SELECT DISTINCT ON (kind, key) * FROM jsonb_to_recordset(%(found)s::jsonb)
                AS r (kind text, server text, key text, evidence text)),
again AS (
  UPDATE finding f SET last_at = clock_timestamp(), evidence = seen.evidence
    FROM seen WHERE f.connection_id = %(id)s AND f.gone_at IS NULL AND f.kind = seen.kind AND f.key = seen.key)
INSERT INTO finding (connection_id, kind, server_ref, key, evidence)
SELECT %(id)s, seen.kind, seen.server, seen.key, seen.evidence FROM seen
    ON CONFLICT (connection_id, kind, key) WHERE gone_at IS NULL DO NOTHING
RETURNING kind, key"""

GONE = """
UPDATE finding SET gone_at = clock_timestamp()
 WHERE connection_id = %(id)s AND gone_at IS NULL AND server_ref <> ALL(%(unread)s)
   AND (kind, key) NOT IN (SELECT kind, key FROM jsonb_to_recordset(%(found)s::jsonb) AS r (kind text, key text))"""

#: an audit under way is a row of notes, and one for each turn; nothing of it is truth, all of it may be lost
BEGIN = """
INSERT INTO heartbeat (name, at, data) VALUES (%(name)s, clock_timestamp(), jsonb_build_object(
            'began_at', clock_timestamp(), 'owner', %(owner)s::text, 'until', clock_timestamp() + %(lease)s))
    ON CONFLICT (name) DO NOTHING RETURNING data"""

TURN = """
UPDATE heartbeat SET at = clock_timestamp(),
       data = data || jsonb_build_object('owner', %(owner)s::text, 'until', clock_timestamp() + %(lease)s)
 WHERE name = %(name)s AND coalesce((data ->> 'until')::timestamptz, '-infinity') < clock_timestamp() RETURNING data"""

STALE = """
DELETE FROM heartbeat
 WHERE (name = %(name)s OR name LIKE %(name)s || '.%%')
   AND EXISTS (SELECT FROM heartbeat h WHERE h.name = %(name)s AND h.at < clock_timestamp() - %(stale)s)"""

LISTED = """
UPDATE heartbeat SET data = data || %(data)s::jsonb WHERE name = %(name)s AND data ->> 'owner' = %(owner)s
RETURNING name"""

SURVEYED = """
WITH mine AS (UPDATE heartbeat SET at = clock_timestamp(), data = data - 'until'
               WHERE name = %(name)s AND data ->> 'owner' = %(owner)s RETURNING name)
INSERT INTO heartbeat (name, at, data) SELECT name || '.' || %(n)s, clock_timestamp(), %(data)s::jsonb FROM mine
    ON CONFLICT (name) DO UPDATE SET data = excluded.data
RETURNING name"""

READINGS = """
SELECT data FROM heartbeat WHERE name LIKE %(name)s || '.%%'"""

#: which servers were tried: a turn needs no more, and there are hundreds of turns
TRIED = """
SELECT one ->> 'ref' AS ref FROM heartbeat, jsonb_array_elements(data -> 'read') AS one
 WHERE name LIKE %(name)s || '.%%'
 UNION ALL
SELECT one FROM heartbeat, jsonb_array_elements_text(data -> 'unread') AS one WHERE name LIKE %(name)s || '.%%'"""

OVER = """
DELETE FROM heartbeat WHERE name = %(name)s OR name LIKE %(name)s || '.%%'"""

UNFINISHED = """
SELECT split_part(name, ' ', 2)::bigint AS id FROM heartbeat
 WHERE name LIKE 'audit %%' AND name NOT LIKE '%%.%%'
   AND coalesce((data ->> 'until')::timestamptz, '-infinity') < clock_timestamp()"""


class AuditStore:
    """Satisfies `ports.Audits`."""

    def __init__(self, database: Database, spans: Spans) -> None:
        """Work on *database* with the leases of *spans*."""
        self._db, self._spans = database, spans

    def places(self) -> Sequence[Place]:
        """Give all connections, by name."""
        found = self._db.rows("SELECT id, name, state, paused_by FROM connection ORDER BY name")
        return [Place(row["id"], row["name"], ConnectionState(row["state"]), row["paused_by"]) for row in found]

    def now(self) -> datetime:
        """Give the database's clock."""
        found: datetime = self._db.value("SELECT clock_timestamp()")
        return found

    def books(self, connection_id: int, *, since: datetime, serials: Sequence[int]) -> Books:
        """Give our books of a connection, and which of its servers were worked on *since*."""
        with self._db.transaction() as session:
            session.rows("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            place = session.rows(CONNECTION, id=connection_id)[0]
            return Books(
                connection=place["name"],
                installation=place["installation"],
                admin=UserRef(place["admin_user"]),
                admin_login=place["username"],
                booked={ServerRef(r["server_ref"]): _booked(r) for r in session.rows(BOOKED, id=connection_id)},
                busy=frozenset(ServerRef(r["server_ref"]) for r in session.rows(BUSY, id=connection_id, since=since)),
                accounts=tuple(
                    BookedAccount(UserRef(r["panel_user_ref"]), r["login"], r["created_by_us"], r["in_service"])
                    for r in session.rows(ACCOUNTS, id=connection_id)
                ),
                recorded=frozenset(ServerRef(r["server_ref"]) for r in session.rows(RECORDED, id=connection_id)),
                serials=known(session, serials),
            )

    def keep(self, connection_id: int, findings: Sequence[Finding], *, unread: Sequence[str]) -> Sequence[Finding]:
        """Keep what was found, end what is gone, tell of what is new in one event; returns the new."""
        found = as_json(
            [{"kind": one.kind, "server": one.server, "key": one.key, "evidence": one.evidence} for one in findings]
        )
        with self._db.transaction() as session:
            session.rows(GONE, id=connection_id, found=found, unread=list(unread))
            fresh = {(row["kind"], row["key"]) for row in session.rows(KEEP, id=connection_id, found=found)}
            new = [one for one in findings if (one.kind, one.key) in fresh]
            if new:
                _tell(session, connection_id, new)
            return new

    # --- a nightly audit, turn by turn ----------------------------------------------------------------------------

    def turn(self, connection_id: int, owner: str, *, start: bool) -> Round | None:
        """Lease the next turn of an audit; begin one if *start*; None where there is none, or it is somebody's."""
        values = {"name": _name(connection_id), "owner": owner, "lease": self._spans.seconds("lease")}
        with self._db.transaction() as session:
            if start:
                session.rows(STALE, name=values["name"], stale=STALE_AFTER)
            row = session.row(BEGIN, **values) if start else None
            row = row or session.row(TURN, **values)
            if row is None:
                return None
            data = row["data"]
            read = frozenset(ServerRef(one["ref"]) for one in session.rows(TRIED, name=values["name"]))
        listed = data.get("listed")
        return Round(
            connection_id=connection_id,
            owner=owner,
            began_at=datetime.fromisoformat(data["began_at"]),
            listing=None if listed is None else Listing(tuple(rows.listed(one) for one in listed)),
            users=None if data.get("users") is None else tuple(_user(one) for one in data["users"]),
            read=read,
        )

    def listed(self, turn: Round) -> None:
        """Keep the lists of a turn."""
        data = {
            "listed": None if turn.listing is None else [asdict(one) for one in turn.listing.servers],
            "users": None if turn.users is None else [asdict(one) for one in turn.users],
        }
        if not self._db.rows(LISTED, name=_name(turn.connection_id), owner=turn.owner, data=as_json(data)):
            raise Fenced

    def surveyed(self, turn: Round, read: Sequence[ServerReading], unread: Sequence[ServerRef]) -> None:
        """Keep what a turn has read, and give the turn back."""
        data = as_json({"read": [_values(one) for one in read], "unread": list(unread)})
        n = str(len(turn.read))
        if not self._db.rows(SURVEYED, name=_name(turn.connection_id), owner=turn.owner, n=n, data=data):
            raise Fenced

    def readings(self, turn: Round) -> tuple[Mapping[ServerRef, ServerReading], Sequence[ServerRef]]:
        """Give all that was read, and the servers that could not be."""
        parts = [row["data"] for row in self._db.rows(READINGS, name=_name(turn.connection_id))]
        found = [_reading(one) for part in parts for one in part["read"]]
        return {one.ref: one for one in found}, [ServerRef(ref) for part in parts for ref in part["unread"]]

    def over(self, turn: Round) -> None:
        """Forget an audit's notes."""
        self._db.rows(OVER, name=_name(turn.connection_id))

    def unfinished(self) -> Sequence[int]:
        """Give the connections whose audit was begun and nobody goes on with."""
        return [row["id"] for row in self._db.rows(UNFINISHED)]


def _name(connection_id: int) -> str:
    return f"audit {connection_id}"


def _tell(session: Session, connection_id: int, new: Sequence[Finding]) -> None:
    count = len(new)
    told = [{"kind": one.kind, "server": one.server, "evidence": one.evidence} for one in new[:TOLD]]
    first = f"{new[0].kind}, {'server ' + new[0].server if new[0].server else new[0].key}: {new[0].evidence}"
    more = f"; and {count - 1} more" if count > 1 else ""
    text = f"the audit found what was not there before: {first}{more}; type `provisioner audit`"
    tell(session, connection_id, EventKind.AUDIT_FOUND, text, count=count, new=told)


def _booked(row: Row) -> Booked:
    return Booked(
        claim=row["id"],
        server=ServerRef(row["server_ref"]),
        state=ClaimState(row["state"]),
        service=f"service {row['external_ref']} of {row['panel']}" if row["external_ref"] else "",
        service_state=ServiceState(row["service_state"]) if row["service_state"] else None,
        disables=bool(row["disables"]),
        customer=UserRef(row["panel_user_ref"]) if row["panel_user_ref"] else None,
        addresses=tuple(row["ips"]),
    )


def _values(reading: ServerReading) -> dict[str, Any]:
    """Give a reading as it is kept over the night: of the notes only our kind of lines."""
    values = asdict(reading)
    values["notes"] = "\n".join(f"provisioner {name} claim {serial}" for name, serial in tokens(reading.notes))
    return values


def _reading(value: Mapping[str, Any]) -> ServerReading:
    addresses = tuple(
        AddressRow(**{**one, "ref": RowRef(one["ref"]), "family": Family(one["family"])}) for one in value["addresses"]
    )
    shown = value["links"]
    links = shown and tuple(Link(**{**one, "ref": LinkRef(one["ref"]), "kind": LinkKind(one["kind"])}) for one in shown)
    return ServerReading(**{**value, "ref": ServerRef(value["ref"]), "addresses": addresses, "links": links})


def _user(value: Mapping[str, Any]) -> User:
    return User(UserRef(value["ref"]), value["login"], administrator=value["administrator"])
