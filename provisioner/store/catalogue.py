"""What an operator sets up, in PostgreSQL: connections, packages, tokens, and the secrets of services."""

from dataclasses import asdict
from datetime import datetime
from typing import Any

from sqlalchemy.exc import IntegrityError

from provisioner.domain.catalogue import Caller, Candidate, ConnectionSettings, Outlook, Role, Token
from provisioner.domain.connection import ConnectionState, Endpoint, TlsPolicy
from provisioner.domain.events import EventKind
from provisioner.domain.server import ServerRef, UserRef
from provisioner.domain.service import Package, ServiceKind
from provisioner.domain.spans import Spans
from provisioner.errors import IllegalMove, NotFound
from provisioner.ports import SealedSecrets, Vault
from provisioner.store import rows
from provisioner.store.connections import REPLAN, resume, tell
from provisioner.store.database import Database, Row, Session, as_json
from provisioner.store.endpoints import EndpointLoader
from provisioner.store.planning import FREE, PLACES

CONNECTION = """
SELECT connection.*, (SELECT d.name FROM department d WHERE d.id = in_charge) AS in_charge_name
  FROM connection WHERE name = %(name)s"""

NEW_SEALED = """
INSERT INTO secret (ciphertext, key_id) VALUES (%(ciphertext)s, %(key_id)s) RETURNING id"""

NEW_CONNECTION = """
INSERT INTO connection (name, kind, location, queue, url, username, secret_id, tls, admin_user, bmc_port_pattern,
                        max_in_flight, calls_per_second, in_charge)
VALUES (%(name)s, %(kind)s, %(location)s, %(queue)s, %(url)s, %(username)s, %(secret)s, %(tls)s::jsonb, %(admin)s,
        %(bmc_port_pattern)s, %(max_in_flight)s, %(calls_per_second)s,
        (SELECT id FROM department WHERE name = %(in_charge)s)) RETURNING id"""

CHANGED_CONNECTION = """
UPDATE connection SET kind = %(kind)s, location = %(location)s, queue = %(queue)s, url = %(url)s,
       username = %(username)s, secret_id = coalesce(%(secret)s, secret_id), tls = %(tls)s::jsonb,
       admin_user = %(admin)s, bmc_port_pattern = %(bmc_port_pattern)s, max_in_flight = %(max_in_flight)s,
       calls_per_second = %(calls_per_second)s, in_charge = (SELECT id FROM department WHERE name = %(in_charge)s),
       revision = revision + 1, away_count = 0, denied_count = 0
 WHERE id = %(id)s"""

#: as many rows as touches may run at once
SLOTS = """
WITH gone AS (DELETE FROM slot WHERE connection_id = %(id)s AND n > %(most)s)
INSERT INTO slot (connection_id, n) SELECT %(id)s, generate_series(1, %(most)s) ON CONFLICT DO NOTHING"""

ENABLE = """
UPDATE connection SET state = CASE WHEN restricted_step <> '' THEN 'restricted' ELSE 'active' END
 WHERE id = %(id)s AND state = 'disabled' RETURNING id"""

DISABLE = """
UPDATE connection SET state = 'disabled' WHERE id = %(id)s"""

PAUSE_BY_HAND = """
UPDATE connection SET state = 'paused', paused_by = 'hand', pause_reason = %(reason)s,
       paused_at = coalesce(paused_at, clock_timestamp())
 WHERE id = %(id)s"""

PACKAGE = f"""
SELECT {rows.PACKAGE_COLUMNS} FROM package p WHERE p.name = %(name)s"""

SAVE_PACKAGE = """
INSERT INTO package AS p (name, kind, department_id, server_type, os_allowed, ipv4, ipv6, address_before_install,
                          probe, attempts_max, on_failure, suspend_by, stock_wait_seconds, disabled_at)
VALUES (%(name)s, %(kind)s, (SELECT id FROM department WHERE name = %(department)s), %(server_type)s,
        %(os_allowed)s::jsonb, %(ipv4)s, %(ipv6)s, %(address_before_install)s, %(probe)s,
        %(attempts_max)s, %(on_failure)s, %(suspend_by)s, %(stock_wait_seconds)s,
        CASE WHEN NOT %(enabled)s THEN clock_timestamp() END)
    ON CONFLICT (name) DO UPDATE
   SET kind = excluded.kind, department_id = excluded.department_id, server_type = excluded.server_type,
       os_allowed = excluded.os_allowed, ipv4 = excluded.ipv4,
       ipv6 = excluded.ipv6, address_before_install = excluded.address_before_install, probe = excluded.probe,
       attempts_max = excluded.attempts_max, on_failure = excluded.on_failure, suspend_by = excluded.suspend_by,
       stock_wait_seconds = excluded.stock_wait_seconds,
       disabled_at = CASE WHEN NOT %(enabled)s THEN coalesce(p.disabled_at, excluded.disabled_at) END
RETURNING id"""

#: all rows of the package are written anew: what is no longer named is gone
PLACES_OF_PACKAGE = """
WITH wanted AS (SELECT c.id, w.priority::int FROM jsonb_each_text(%(connections)s::jsonb) AS w (name, priority)
                  JOIN connection c ON c.name = w.name),
gone AS (DELETE FROM package_connection WHERE package_id = %(id)s AND connection_id NOT IN (SELECT id FROM wanted))
INSERT INTO package_connection (package_id, connection_id, priority)
SELECT %(id)s, wanted.id, wanted.priority FROM wanted
    ON CONFLICT (package_id, connection_id) DO UPDATE SET priority = excluded.priority
RETURNING connection_id"""

#: as planning chooses, without a lock
WOULD_TAKE = f"""
SELECT v.connection_id, v.server_ref, v.listed ->> 'name' AS name, v.listed ->> 'ip' AS ip
  FROM unnest(%(places)s::bigint[]) WITH ORDINALITY AS p (id, priority)
  JOIN server_view v ON v.connection_id = p.id
 WHERE v.server_type = %(type)s AND {FREE}
 ORDER BY p.priority, v.trouble + v.passed_over_count, v.server_ref LIMIT 1"""

NEW_CALLER = """
INSERT INTO token (name, hash, role, panel, expires_at)
VALUES (%(name)s, %(digest)s, %(role)s, %(panel)s, %(expires_at)s)"""

CALLER = """
SELECT name, role, panel FROM token
 WHERE hash = %(digest)s AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > clock_timestamp())"""

REVOKE = """
UPDATE token SET revoked_at = coalesce(revoked_at, clock_timestamp()) WHERE name = %(name)s RETURNING id"""

SERVICE = """
SELECT s.id, s.login, s.handed_over_at, s.root_secret, s.panel_secret, s.panel_password_made,
       acc.login AS account_login
  FROM service s LEFT JOIN account acc ON acc.id = s.account_id
 WHERE s.panel = %(panel)s AND s.external_ref = %(ref)s FOR UPDATE OF s"""

SEALED = """
SELECT id, ciphertext, expires_at FROM secret
 WHERE id = ANY(%(ids)s) AND (expires_at IS NULL OR expires_at > clock_timestamp())"""

FORGET_SECRETS = """
UPDATE service SET root_secret = NULL, panel_secret = NULL WHERE id = %(id)s"""

TELL_SERVICE = """
WITH n AS (UPDATE service SET next_seq = next_seq + 1 WHERE id = %(id)s RETURNING next_seq - 1 AS seq)
INSERT INTO event (service_id, seq, kind, text) SELECT %(id)s, n.seq, %(kind)s, %(text)s FROM n"""


class CatalogueStore:
    """Satisfies `ports.Catalogue`."""

    def __init__(self, database: Database, vault: Vault, spans: Spans) -> None:
        """Work on *database*; credentials are sealed and opened by *vault*, calls may take what *spans* say."""
        self._db, self._vault, self._spans = database, vault, spans
        self._load = EndpointLoader(database, vault, spans)

    @property
    def call_seconds(self) -> float:
        """Total limit of one call to a DCIM."""
        return self._spans.call

    # --- connections ----------------------------------------------------------------------------------------------

    def connection(self, name: str) -> ConnectionSettings:
        """Give a connection as it was saved."""
        row = self._connection(name)
        return ConnectionSettings(
            name=row["name"],
            kind=row["kind"],
            url=row["url"],
            username=row["username"],
            tls=TlsPolicy(**row["tls"]),
            location=row["location"],
            queue=row["queue"],
            bmc_port_pattern=row["bmc_port_pattern"],
            max_in_flight=row["max_in_flight"],
            calls_per_second=row["calls_per_second"],
            in_charge=row["in_charge_name"] or "",
            enabled=row["state"] != ConnectionState.DISABLED,
        )

    def connection_id(self, name: str) -> int:
        """Give a connection's id."""
        return int(self._connection(name)["id"])

    def connection_state(self, name: str) -> ConnectionState:
        """Say whether a connection is used."""
        return ConnectionState(self._connection(name)["state"])

    def _connection(self, name: str) -> Row:
        row = self._db.row(CONNECTION, name=name)
        if row is None:
            raise NotFound(f"no connection {name!r}")
        return row

    def load_endpoint(self, connection_id: int) -> tuple[str, int, Endpoint]:
        """Give kind, revision and endpoint, the password opened."""
        return self._load(connection_id)

    def save_connection(self, given: ConnectionSettings, password: str | None, admin: UserRef) -> int:
        """Make or change a connection, revision raised; None keeps the password."""
        sealed = self._vault.seal(password) if password is not None else None
        try:
            with self._db.transaction() as session:
                return self._save_connection(session, given, sealed, admin)
        except IntegrityError:  # two who make it at once: the loser of the unique name changes it
            with self._db.transaction() as session:
                return self._save_connection(session, given, sealed, admin)

    @staticmethod
    def _save_connection(
        session: Session, given: ConnectionSettings, sealed: tuple[bytes, str] | None, admin: UserRef
    ) -> int:
        values: dict[str, Any] = {
            **{key: value for key, value in asdict(given).items() if key not in ("tls", "enabled")},
            "tls": as_json(asdict(given.tls)),
            "admin": admin,
            "secret": session.value(NEW_SEALED, ciphertext=sealed[0], key_id=sealed[1]) if sealed else None,
        }
        if not given.enabled and (known := session.row(CONNECTION, name=given.name)) is not None:
            resume(session, known["id"])
        old = session.row(f"{CONNECTION} FOR NO KEY UPDATE", name=given.name)
        if old is None:
            found = int(session.value(NEW_CONNECTION, **values))
        else:
            found = int(old["id"])
            session.rows(CHANGED_CONNECTION, id=found, **values)
            if sealed:
                session.rows("DELETE FROM secret WHERE id = %(id)s", id=old["secret_id"])
        session.rows(SLOTS, id=found, most=given.max_in_flight)
        if given.enabled:
            if session.row(ENABLE, id=found) is not None:
                session.rows(REPLAN, id=found)
        else:
            session.rows(DISABLE, id=found)
        return found

    def has_department(self, name: str) -> bool:
        """Say whether there is a department of that name."""
        return self._db.row("SELECT FROM department WHERE name = %(name)s", name=name) is not None

    def pause(self, name: str, *, by: str, reason: str) -> None:
        """Stop all calls by hand."""
        with self._db.transaction() as session:
            row = session.row(f"{CONNECTION} FOR NO KEY UPDATE", name=name)
            if row is None:
                raise NotFound(f"no connection {name!r}")
            if row["state"] == ConnectionState.DISABLED:
                raise IllegalMove(f"connection {name} is disabled; there is nothing to pause")
            session.rows(PAUSE_BY_HAND, id=row["id"], reason=reason)
            tell(session, row["id"], EventKind.CONNECTION_PAUSED, f"paused by {by}: {reason}", by="hand")

    def resume(self, name: str, *, by: str, reason: str) -> None:
        """Go on after a pause, its time added to the deadlines; also after one that the engine made."""
        with self._db.transaction() as session:
            row = session.row(CONNECTION, name=name)
            if row is None:
                raise NotFound(f"no connection {name!r}")
            if not resume(session, row["id"], says=f"resumed by {by}: {reason}", by="hand"):
                raise IllegalMove(f"connection {name} is {row['state']}, not paused")

    # --- packages -------------------------------------------------------------------------------------------------

    def package(self, name: str) -> Package:
        """Give a package that is sold."""
        row = self._db.row(PACKAGE, name=name)
        if row is None:
            raise NotFound(f"no package {name!r}")
        if row["disabled_at"] is not None:
            raise NotFound(f"package {name!r} is not sold any more")
        return rows.package(row)

    def save_package(self, given: Package, *, enabled: bool) -> None:
        """Make or change a package; services keep the snapshot of their order."""
        values = {**rows.package_values(given), "os_allowed": as_json(list(given.os_allowed)), "enabled": enabled}
        del values["connections"]
        with self._db.transaction() as session:
            package = session.value(SAVE_PACKAGE, **values)
            kept = session.rows(PLACES_OF_PACKAGE, id=package, connections=as_json(dict(given.connections)))
            if len(kept) != len(given.connections):
                raise NotFound(f"a connection of package {given.name!r} is not there any more")

    def outlook(self, package: Package) -> Outlook:
        """Say which server an order would take now, or why it would wait; takes nothing."""
        with self._db.once() as session:
            places = session.rows(PLACES, connections=as_json(dict(package.connections)), age=self._spans.view_age)
            usable = {place["id"]: place for place in places if place["open"]}
            asks = package.kind is ServiceKind.COLOCATION  # which server it is, a person will say
            found = (
                session.row(WOULD_TAKE, places=list(usable), type=package.server_type) if usable and not asks else None
            )
        missing = [f"connection {place['name']} is {place['state']}" for place in places if not place["open"]]
        if found is None:
            if usable and not asks:
                missing.append(f"no server of type {package.server_type} is free")
            return Outlook(None, tuple(missing))
        place = usable[found["connection_id"]]
        server = Candidate(place["name"], ServerRef(found["server_ref"]), found["name"] or "", found["ip"] or "")
        return Outlook(server, tuple(missing))

    # --- tokens ---------------------------------------------------------------------------------------------------

    def add_token(self, name: str, role: Role, panel: str, digest: str, expires_at: datetime | None) -> None:
        """Keep a token's hash."""
        try:
            self._db.rows(NEW_CALLER, name=name, digest=digest, role=role, panel=panel, expires_at=expires_at)
        except IntegrityError:
            raise IllegalMove(f"there is a token {name!r} already; choose another name") from None

    def caller(self, digest: str) -> Caller | None:
        """Give whose token hashes to *digest*."""
        row = self._db.row(CALLER, digest=digest)
        return Caller(row["name"], Role(row["role"]), row["panel"]) if row else None

    def tokens(self) -> list[Token]:
        """List the tokens, by name."""
        found = self._db.rows("SELECT name, role, panel, created_at, expires_at, revoked_at FROM token ORDER BY name")
        return [Token(**{**row, "role": Role(row["role"])}) for row in found]

    def revoke_token(self, name: str) -> None:
        """End a token; safe to repeat."""
        if self._db.row(REVOKE, name=name) is None:
            raise NotFound(f"no token {name!r}")

    # --- secrets of a service -------------------------------------------------------------------------------------

    def read_secrets(self, panel: str, external_ref: str, *, by: str) -> SealedSecrets:
        """Give the sealed secrets; a reading that finds one is an event."""
        with self._db.transaction() as session:
            service = self._service(session, panel, external_ref)
            handed = service["handed_over_at"] is not None
            login = service["account_login"] or service["login"]
            if not handed:
                return SealedSecrets(handed_over=False, login=login, root=None, panel=None, expires_at=None)
            ids = [service["root_secret"], service["panel_secret"] if service["panel_password_made"] else None]
            found = {row["id"]: row for row in session.rows(SEALED, ids=[id_ for id_ in ids if id_ is not None])}
            if found:
                session.rows(
                    TELL_SERVICE, id=service["id"], kind=EventKind.SECRET_READ, text=f"one-time passwords read by {by}"
                )
        root, made = (found.get(id_) for id_ in ids)
        return SealedSecrets(
            handed_over=True,
            login=login,
            root=bytes(root["ciphertext"]) if root else None,
            panel=bytes(made["ciphertext"]) if made else None,
            expires_at=min((row["expires_at"] for row in found.values() if row["expires_at"]), default=None),
        )

    def erase_secrets(self, panel: str, external_ref: str, *, by: str) -> bool:
        """Erase them after hand-over; says whether there were any."""
        with self._db.transaction() as session:
            service = self._service(session, panel, external_ref)
            if service["handed_over_at"] is None:
                raise IllegalMove(f"service {external_ref!r} is not handed over yet; its passwords are still needed")
            ids = [id_ for id_ in (service["root_secret"], service["panel_secret"]) if id_ is not None]
            if not ids:
                return False
            session.rows(FORGET_SECRETS, id=service["id"])
            session.rows("DELETE FROM secret WHERE id = ANY(%(ids)s)", ids=ids)
            session.rows(
                TELL_SERVICE, id=service["id"], kind=EventKind.SECRET_ERASED, text=f"one-time passwords erased by {by}"
            )
        return True

    @staticmethod
    def _service(session: Session, panel: str, external_ref: str) -> Row:
        service = session.row(SERVICE, panel=panel, ref=external_ref)
        if service is None:
            raise NotFound(f"no service {external_ref!r}")
        return service
