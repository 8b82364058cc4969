"""Servers that were sold before us, in PostgreSQL: what our books know of them, and one that is written down."""

from collections import defaultdict
from collections.abc import Sequence

from sqlalchemy.exc import IntegrityError

from provisioner.domain.adoption import Adoption, Bound, KnownAccount, KnownService, Ledger
from provisioner.domain.server import UserRef
from provisioner.domain.states import ClaimState, ServiceState
from provisioner.store import rows
from provisioner.store.database import Database, as_json

PACKAGES = f"""
SELECT {rows.PACKAGE_COLUMNS} FROM package p"""

SERVICES = """
SELECT s.external_ref, s.state, s.package ->> 'name' AS package, s.customer_ref, coalesce(acc.login, s.login) AS login,
       coalesce(c.name, '') AS connection, coalesce(cl.server_ref, '') AS server,
       EXISTS (SELECT FROM job j WHERE j.service_id = s.id AND j.kind = 'sync' AND j.params ? 'note'
                  AND (j.state IN ('queued', 'running', 'interrupted', 'compensating')
                       OR EXISTS (SELECT FROM attempt a JOIN step st ON st.attempt_id = a.id AND st.name = 'note'
                                   WHERE a.job_id = j.id AND st.state = 'done'))) AS noted
  FROM service s
  LEFT JOIN claim cl ON cl.id = s.claim_id
  LEFT JOIN connection c ON c.id = cl.connection_id
  LEFT JOIN account acc ON acc.id = s.account_id
 WHERE s.panel = %(panel)s AND s.external_ref = ANY(%(refs)s)"""

BOUND = """
SELECT c.name AS connection, cl.server_ref AS server, cl.state, coalesce(s.panel, '') AS panel,
       coalesce(s.external_ref, '') AS external_ref
  FROM claim cl JOIN connection c ON c.id = cl.connection_id LEFT JOIN service s ON s.id = cl.service_id
 WHERE c.name = ANY(%(names)s) AND cl.state <> 'ended'"""

ACCOUNTS = """
SELECT c.name AS connection, acc.panel, acc.billing_ref, acc.login, acc.panel_user_ref
  FROM account acc JOIN connection c ON c.id = acc.connection_id WHERE c.name = ANY(%(names)s)"""

#: as a hand-over leaves it, but for addresses, which the first job reads, and passwords, which we never knew; a
#: claim's number is drawn first, so that service and claim may name each other in one statement. The fingerprint
#: is no order's: an order under this reference is refused, not taken for this one
ADOPT = """
WITH i AS MATERIALIZED (
  SELECT nextval(pg_get_serial_sequence('claim', 'id')) AS claim, left(name, 8) AS name
    FROM installation WHERE halted = ''),
acc AS (
  INSERT INTO account (panel, billing_ref, connection_id, login, panel_user_ref, created_by_us, state)
  SELECT %(panel)s, %(customer_ref)s, c.id, %(login)s, %(user)s, false, 'live'
    FROM i, connection c WHERE c.name = %(connection)s
      ON CONFLICT (panel, billing_ref, connection_id) DO UPDATE SET login = account.login
   WHERE account.state = 'live' AND account.login = excluded.login
     AND account.panel_user_ref = excluded.panel_user_ref
  RETURNING id, connection_id),
s AS (
  INSERT INTO service (panel, external_ref, account_id, package_id, package, kind, state, desired, suspended_by,
                       customer_ref, login, hostname, os, fingerprint, claim_id, handed_over_at, facts, next_seq)
  SELECT %(panel)s, %(external_ref)s, acc.id, p.id, %(snapshot)s::jsonb, p.kind, %(state)s, %(state)s,
         %(suspended_by)s::jsonb, %(customer_ref)s, %(login)s, %(hostname)s, %(os)s, '{"adopted": true}', i.claim,
         clock_timestamp(), %(facts)s::jsonb, 2
    FROM i, acc, package p WHERE p.name = %(package)s
  RETURNING id),
cl AS (
  INSERT INTO claim (id, connection_id, server_ref, service_id, state, note_token) OVERRIDING SYSTEM VALUE
  SELECT i.claim, acc.connection_id, %(server)s, s.id, 'handed', 'provisioner ' || i.name || ' claim ' || i.claim
    FROM i, acc, s)
INSERT INTO event (service_id, seq, kind, text, data)
SELECT s.id, 1, 'adopted', %(text)s, %(data)s::jsonb FROM s
RETURNING service_id"""


class AdoptionStore:
    """Satisfies `ports.Adoptions`."""

    def __init__(self, database: Database) -> None:
        """Work on *database*."""
        self._db = database

    def halted(self) -> str:
        """Say why nobody may act, "" when all may."""
        found: str = self._db.value("SELECT halted FROM installation")
        return found

    def ledger(self, panel: str, connections: Sequence[str], refs: Sequence[str]) -> Ledger:
        """Give our books of *connections*, and of *panel*'s services of those references."""
        names = list(connections)
        with self._db.once() as session:
            packages = {row["name"]: rows.package(row) for row in session.rows(PACKAGES)}
            services = {
                row["external_ref"]: KnownService(
                    state=ServiceState(row["state"]),
                    package=row["package"],
                    customer_ref=row["customer_ref"],
                    login=row["login"],
                    connection=row["connection"],
                    server=row["server"],
                    noted=row["noted"],
                )
                for row in session.rows(SERVICES, panel=panel, refs=list(refs))
            }
            bound = {
                (row["connection"], row["server"]): Bound(ClaimState(row["state"]), row["panel"], row["external_ref"])
                for row in session.rows(BOUND, names=names)
            }
            accounts: dict[str, list[KnownAccount]] = defaultdict(list)
            for row in session.rows(ACCOUNTS, names=names):
                user = UserRef(row["panel_user_ref"]) if row["panel_user_ref"] else None
                known = KnownAccount(row["panel"], row["billing_ref"], row["login"], user)
                accounts[row["connection"]].append(known)
        return Ledger(panel, packages, services, bound, accounts)

    def adopt(self, one: Adoption, *, panel: str, by: str) -> bool:
        """Write service, claim, account and event in one commit; False when it is taken, or we are halted."""
        line = one.line
        facts = {"ip": one.ip, "hostname": one.hostname, "os": line.os, "server": line.server}
        try:
            row = self._db.row(
                ADOPT,
                panel=panel,
                customer_ref=line.customer_ref,
                login=line.login,
                user=one.user,
                connection=line.connection,
                external_ref=line.external_ref,
                snapshot=as_json(rows.package_values(one.package)),
                package=one.package.name,
                state="suspended" if one.suspended else "active",
                suspended_by=as_json(["billing"] if one.suspended else []),
                hostname=one.hostname,
                os=line.os,
                facts=as_json(facts),
                server=line.server,
                text=f"adopted by {by}: server {line.server} of {line.connection}, sold before us",
                data=as_json({"connection": line.connection, "server": line.server}),
            )
        except IntegrityError:  # one of the unique indexes: the server, the reference or the login is taken
            return False
        return row is not None
