"""A quarantined server read whole: may it go back to stock?"""

from datetime import datetime, timedelta

from provisioner.domain.attempt import Policy
from provisioner.domain.naming import same_name
from provisioner.domain.outcome import Acted, Done, Failed, Look, Wait
from provisioner.domain.server import FREE_MARKER, ListedServer, ServerReading
from provisioner.errors import FailureClass
from provisioner.steps.base import StepContext, not_ours
from provisioner.steps.install import InstallOs
from provisioner.steps.listing import rose_since, stale


class Inspect:
    """
    Look only: nothing of an old order may be left, and no flag may speak against the server.

    The failure flag of an operation stays up until the next one starts: it counts where it rose while the server
    was ours, unless the quarantine is for that very failure, which has been judged already. Disks, power and the
    disabled mark are not touched: an open enables what it takes.
    """

    name = "inspect"
    policy = Policy(settle=timedelta(seconds=1), proven_by_read=False, skippable=False)

    def check(self, ctx: StepContext) -> Look:
        """Read list row, form, addresses and links; name all that speaks against it."""
        if wait := stale(ctx):
            return wait
        reading = ctx.read(links=True)
        if lost := not_ours(ctx, reading):
            return lost
        if any(link.busy for link in reading.known_links):
            return Wait("a link has not settled")
        against = [*_left(reading), *_flags(ctx.listed().listed, failed=_failed(ctx))]
        if against:
            return Failed(FailureClass.SERVER, "; ".join(against))
        return Done("ours, free.ds, its main address only, no failure flag")

    def do(self, ctx: StepContext) -> Acted:
        """Never called: a look changes nothing."""
        raise AssertionError(f"{self.name} of server {ctx.server} never acts")


def _left(reading: ServerReading) -> list[str]:
    """Say what an old order left behind."""
    found = [
        f"address {row.ip} carries {row.domain or 'no domain'}"
        for row in reading.addresses
        if not same_name(row.domain, FREE_MARKER)
    ]
    extra = [row.ip for row in reading.addresses if not row.main]
    if extra:
        found.append(f"it has addresses beyond its main one: {', '.join(extra)}")
    if reading.faulty:
        found.append("it is marked faulty")
    return found


def _failed(ctx: StepContext) -> bool:
    """Say whether an operation failed while the server was ours, other than the one it is in quarantine for."""
    if ctx.params.get("failed_step") == InstallOs.name:
        return False
    since = datetime.fromisoformat(ctx.params["since"])
    return ctx.listed().listed.operation_failed and rose_since(ctx, "failed", since)


def _flags(listed: ListedServer, *, failed: bool) -> list[str]:
    """Say which flags of the list speak against the server."""
    found = [listed.ill] if listed.ill else []
    if listed.blocked:
        found.append("it is blocked")
    if listed.diagnosing:
        found.append("diagnostics are running")
    if listed.installing:
        found.append("an install is running")
    if listed.power_error:
        found.append("its power can't be read or switched")
    if failed:
        found.append("its last operation failed")
    return found
