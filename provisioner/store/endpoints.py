"""A connection as a driver needs it, with its turn among all processes; its password is opened here alone."""

from functools import partial

from provisioner.domain.connection import PACE_PATIENCE_SECONDS, Endpoint, TlsPolicy
from provisioner.domain.spans import Spans
from provisioner.errors import NotFound, Overloaded
from provisioner.ports import Vault
from provisioner.store.database import Database

ENDPOINT = """
SELECT c.*, s.ciphertext FROM connection c JOIN secret s ON s.id = c.secret_id WHERE c.id = %(id)s"""

#: each call moves the instant at which the next may start; no row: too many wait already
TURN = """
INSERT INTO pace AS p (connection_id, free_at) VALUES (%(id)s, clock_timestamp() + %(step)s * interval '1 s')
    ON CONFLICT (connection_id) DO UPDATE
   SET free_at = greatest(p.free_at, clock_timestamp()) + %(step)s * interval '1 s'
 WHERE p.free_at <= clock_timestamp() + %(patience)s * interval '1 s'
RETURNING extract(epoch FROM free_at - clock_timestamp())::float8 - %(step)s AS seconds"""


class EndpointLoader:
    """Connection id → kind, revision, endpoint."""

    def __init__(self, database: Database, vault: Vault, spans: Spans) -> None:
        """Read from *database*, decrypt with *vault*, limit calls by *spans*."""
        self._db, self._vault, self._spans = database, vault, spans

    def __call__(self, connection_id: int) -> tuple[str, int, Endpoint]:
        """Give the connection at its present revision. Raises `NotFound`."""
        row = self._db.row(ENDPOINT, id=connection_id)
        if row is None:
            raise NotFound(f"no connection {connection_id}")
        per_second: float = row["calls_per_second"]
        endpoint = Endpoint(
            name=row["name"],
            url=row["url"],
            username=row["username"],
            password=self._vault.open(bytes(row["ciphertext"])),
            tls=TlsPolicy(**row["tls"]),
            call_seconds=self._spans.call,
            look_seconds=self._spans.call,
            calls_per_second=per_second,
            turn=partial(self._turn, connection_id, 1 / per_second) if per_second else None,
            bmc_port_pattern=row["bmc_port_pattern"],
        )
        return row["kind"], row["revision"], endpoint

    def _turn(self, connection_id: int, step_seconds: float) -> float | None:
        """Take the next turn of a connection; None too when the database can't say: then nothing is sent."""
        try:
            row = self._db.row(TURN, id=connection_id, step=step_seconds, patience=PACE_PATIENCE_SECONDS)
        except Overloaded:
            return None
        return max(row["seconds"], 0.0) if row else None
