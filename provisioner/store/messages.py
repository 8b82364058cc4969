"""Rows as messages: what `SEND` statements select, and the wake-up that is made of it."""

from provisioner.ports import Wakeup
from provisioner.store.database import Row, hot

#: of `sent` (a step), a (attempt), j (job), s (service), cl (claim), c (connection)
WAKEUP_COLUMNS = """
  a.job_id, a.id AS attempt_id, a.n AS attempt_n, sent.pos, sent.name AS step, sent.undoes, j.kind,
  coalesce(s.external_ref, '') AS order_ref, coalesce(s.kind, 'dedicated') AS service_kind,
  cl.server_ref, c.queue, sent.sends, a.root_task_id, a.last_task_id"""


#: a message for an attempt's present step: counted before it is sent, so that no task id is used twice
SEND = hot(
    "send",
    f"""
WITH sent AS (
  UPDATE step SET sends = sends + 1 FROM attempt a
   WHERE a.id = ANY(%(attempts)s) AND a.state = 'ready' AND step.attempt_id = a.id AND step.pos = a.pos
  RETURNING step.*)
SELECT {WAKEUP_COLUMNS} FROM sent JOIN attempt a ON a.id = sent.attempt_id
  JOIN job j ON j.id = a.job_id JOIN connection c ON c.id = a.connection_id
  JOIN claim cl ON cl.id = a.claim_id LEFT JOIN service s ON s.id = j.service_id""",
    attempts="bigint[]",
)


def wakeup(row: Row) -> Wakeup:
    """Build a message."""
    return Wakeup(
        job_id=row["job_id"],
        attempt_id=row["attempt_id"],
        attempt_n=row["attempt_n"],
        pos=row["pos"],
        step=row["step"],
        undoes=row["undoes"],
        kind=row["kind"],
        order=row["order_ref"],
        server=row["server_ref"],
        queue=row["queue"],
        sends=row["sends"],
        root_id=row["root_task_id"],
        parent_id=row["last_task_id"] or None,
        service=row["service_kind"],
    )
