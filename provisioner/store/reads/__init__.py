"""The store as views see it: read only, one statement a question, one file a subject."""

from provisioner.ports import Facts
from provisioner.store.database import Database
from provisioner.store.reads import callbacks, findings, fleet, jobs, servers, services, site, stock, tickets


class ReadsStore:
    """Satisfies `ports.Reads`."""

    def __init__(self, database: Database) -> None:
        """Read from *database*."""
        self._db = database

    def job(self, job_id: int, *, panel: str | None) -> Facts | None:
        """Give a job with attempts and steps; None when there is none, or none of *panel*'s."""
        return jobs.job(self._db, job_id, panel)

    def jobs(
        self,
        *,
        panel: str | None,
        state: str | None,
        waits_for: str | None,
        service: str | None,
        before: int,
        limit: int,
    ) -> list[Facts]:
        """List jobs with an id below *before*, newest first."""
        return jobs.jobs(
            self._db, panel=panel, state=state, waits_for=waits_for, service=service, before=before, limit=limit
        )

    def failures(self, *, step: str | None, location: str | None, seconds: float) -> list[Facts]:
        """Give what failed or is held, oldest first."""
        return jobs.failures(self._db, step=step, location=location, seconds=seconds)

    def services(self, external_ref: str, *, panel: str | None) -> list[Facts]:
        """Give the services of that reference, one a panel, with addresses and jobs."""
        return services.services(self._db, external_ref, panel)

    def packages(self) -> list[Facts]:
        """List the packages with their connections."""
        return stock.packages(self._db)

    def stock(self, package: str | None) -> list[Facts]:
        """Give packages with the servers of their type and what binds each."""
        return stock.stock(self._db, package)

    def events(self, *, job_id: int | None, service_id: int | None, after: int, limit: int) -> list[Facts]:
        """Give the timeline of a job or a service after a sequence number, oldest first."""
        return jobs.events(self._db, job=job_id, service=service_id, after=after, limit=limit)

    def servers(self, *, connection: str | None, server: str | None, quarantined: bool, limit: int) -> list[Facts]:
        """Give the servers that fit, each with what binds it and its strikes."""
        return servers.servers(self._db, connection=connection, server=server, quarantined=quarantined, limit=limit)

    def connections(self) -> list[Facts]:
        """List the connections; never a password."""
        return site.connections(self._db)

    def findings(self, connection: str | None) -> list[Facts]:
        """Give what the last audits found and that is still there."""
        return findings.findings(self._db, connection)

    def callbacks(self) -> list[Facts]:
        """List the callbacks with what waits; never a secret."""
        return callbacks.callbacks(self._db)

    def departments(self) -> list[Facts]:
        """List the departments with the connections that they are in charge of."""
        return tickets.departments(self._db)

    def tickets(self, *, ticket: int | None, closed: bool, limit: int) -> list[Facts]:
        """List tickets, newest first, each with its messages; one of them, or the open ones, or all."""
        return tickets.tickets(self._db, ticket=ticket, closed=closed, limit=limit)

    def workers(self) -> list[Facts]:
        """Give the workers that gave a sign of life."""
        return fleet.workers(self._db)

    def fleet(self) -> list[Facts]:
        """Give each connection as the doctor sees it."""
        return fleet.connections(self._db)

    def waiting(self) -> list[Facts]:
        """Give what waits, by reason, with the oldest."""
        return fleet.waiting(self._db)

    def messages(self) -> Facts:
        """Give what people have not heard."""
        return fleet.messages(self._db)

    def jobs_by_state(self) -> list[Facts]:
        """Count the jobs that have not ended."""
        return fleet.jobs(self._db)

    def quarantined(self) -> list[Facts]:
        """Count the servers in quarantine, by connection."""
        return fleet.quarantined(self._db)

    def health(self) -> Facts:
        """Give what readiness rests on."""
        return site.health(self._db)
