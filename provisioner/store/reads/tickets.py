"""Who is in charge, and what they were told."""

from provisioner.ports import Facts
from provisioner.store.database import Database

DEPARTMENTS = """
SELECT d.name, d.desk, d.address, d.language,
       (SELECT coalesce(jsonb_agg(c.name ORDER BY c.name), '[]') FROM connection c WHERE c.in_charge = d.id)
         AS connections
  FROM department d ORDER BY d.name"""

TICKETS = """
SELECT t.id, d.name AS department, d.address, c.name AS connection, t.matter, t.subject, t.state, t.count,
       t.desk_ref, t.read_at, t.opened_at, t.closed_at,
       (SELECT coalesce(jsonb_agg(jsonb_build_object(
                 'n', m.n, 'kind', m.kind, 'text', m.text, 'created_at', m.created_at, 'due_at', m.due_at,
                 'tries', m.tries, 'sent_at', m.sent_at, 'error', m.error) ORDER BY m.n), '[]')
          FROM delivery m WHERE m.ticket_id = t.id) AS messages
  FROM ticket t JOIN department d ON d.id = t.department_id LEFT JOIN connection c ON c.id = t.connection_id
 WHERE (%(ticket)s::bigint IS NULL OR t.id = %(ticket)s) AND (%(closed)s OR t.state = 'open')
 ORDER BY t.id DESC LIMIT %(limit)s"""


def departments(database: Database) -> list[Facts]:
    """List the departments with the connections that they are in charge of."""
    return list(database.rows(DEPARTMENTS))


def tickets(database: Database, *, ticket: int | None, closed: bool, limit: int) -> list[Facts]:
    """List tickets, newest first, each with its messages."""
    return list(database.rows(TICKETS, ticket=ticket, closed=closed, limit=limit))
