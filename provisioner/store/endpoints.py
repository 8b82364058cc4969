"""A connection as a driver needs it; its password is opened here and goes nowhere else."""

from provisioner.domain.connection import Endpoint, TlsPolicy
from provisioner.domain.spans import Spans
from provisioner.errors import NotFound
from provisioner.ports import Vault
from provisioner.store.database import Database

ENDPOINT = """
SELECT c.*, s.ciphertext FROM connection c JOIN secret s ON s.id = c.secret_id WHERE c.id = %(id)s"""


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
        endpoint = Endpoint(
            name=row["name"],
            url=row["url"],
            username=row["username"],
            password=self._vault.open(bytes(row["ciphertext"])),
            tls=TlsPolicy(**row["tls"]),
            call_seconds=self._spans.call,
            look_seconds=self._spans.call,
            calls_per_second=row["calls_per_second"] / row["max_in_flight"],
            bmc_port_pattern=row["bmc_port_pattern"],
        )
        return row["kind"], row["revision"], endpoint
