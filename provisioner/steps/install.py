"""The operating system is installed, as the DCIM's list shows it; wipes the disks, and can be cancelled."""

from datetime import timedelta
from itertools import pairwise

from provisioner.domain.attempt import Awaits, Policy
from provisioner.domain.outcome import Acted, Done, Failed, Look, NotBegun, Unknown, Wait
from provisioner.domain.states import StepState
from provisioner.errors import FailureClass
from provisioner.steps.base import StepContext, not_ours, unsettled
from provisioner.steps.listing import fell_since, rose_since, stale

LISTS_NEEDED = 3  #: usable lists between the act and its settle time, before "it never began" is believed


class CancelInstall:
    """Undo of `InstallOs`: no install is running, and none of ours may still begin."""

    name = "cancel_install"
    policy = Policy(proven_by_read=False)

    def check(self, ctx: StepContext) -> Look:
        """Read the install flag from a list that is new enough."""
        if wait := stale(ctx):
            return wait
        if ctx.listed().listed.installing:
            if ctx.row.state is StepState.PENDING and (lost := not_ours(ctx, ctx.read())):
                return lost
            return NotBegun()
        waiting = unsettled(ctx)
        if waiting is not None:
            return Wait(waiting.reason, until=waiting.until, listed=True)
        return Done("no install is running")

    def do(self, ctx: StepContext) -> Acted:
        """Cancel the operation under way."""
        ctx.driver.cancel_operation(ctx.server)
        return Acted()


class InstallOs:
    """
    Start the install once and see it through: its flag must be seen and gone.

    Never sent twice while the first may still begin: three whole lists after the act, none with a trace of a
    start and no gap between them in which an install could have come and gone, are needed before it is believed
    that it had no effect.
    """

    name = "install_os"
    policy = Policy(
        settle=timedelta(seconds=120),
        deadline=timedelta(hours=2, minutes=30),
        backoff_max=timedelta(minutes=5),
        awaits=Awaits.LONG,
        undo=CancelInstall.name,
        proven_by_read=False,
        wipes=True,
    )

    def check(self, ctx: StepContext) -> Look:
        """Read the flags; before the act, remember what is up already and the old system's key."""
        if wait := stale(ctx):
            return wait
        sent = ctx.row.acted_at is not None and ctx.row.before  # a late effect of an earlier act is ours
        if ctx.row.state is StepState.PENDING and not sent:
            return self._before(ctx)
        listed = ctx.listed().listed
        if listed.installing:
            return Wait("the install is running", seen={"up": True}, listed=True)
        old_failure = ctx.row.before.get("operation_failed", False)
        if listed.operation_failed and (not old_failure or fell_since(ctx, "failed") or rose_since(ctx, "failed")):
            return Failed(FailureClass.SERVER, "the DCIM says that the install failed")
        if ctx.row.seen.get("up") or rose_since(ctx, "install"):
            return Done("the install was seen to run and to end")
        never_seen = self._never_seen(ctx)
        if ctx.row.state is StepState.PENDING and isinstance(never_seen, NotBegun):
            return self._before(ctx)
        return never_seen

    def _before(self, ctx: StepContext) -> Look:
        listed = ctx.listed().listed
        if listed.installing or listed.diagnosing:
            return Wait("an operation that is not ours is running on the server", listed=True)
        if lost := not_ours(ctx, ctx.read()):
            return lost
        key = ctx.prober.host_key(ctx.ip, ctx.package.probe) if ctx.ip else None
        return NotBegun({"operation_failed": listed.operation_failed, "host_key": key})

    def _never_seen(self, ctx: StepContext) -> Look:
        """Judge an install whose flag was never seen up: too early, missed, or never begun."""
        old_key = ctx.row.before.get("host_key")
        key = ctx.prober.host_key(ctx.ip, ctx.package.probe) if ctx.ip and old_key else None
        if key is None and old_key and not ctx.row.seen.get("silent"):
            return Unknown("the host went silent; the install may be running", {"silent": True}, listed=True)
        if key is not None and key != old_key and ctx.row.seen.get("silent"):
            return Done("the host went silent and came back with another key")
        begun, settles = ctx.row.begun_at, ctx.row.settles_at(ctx.policy)
        if begun is None or settles is None or ctx.listed().observed_from < settles:
            return Wait("the install is not visible yet", until=settles, listed=True, soon=True)
        lists = [start for start in ctx.listed().seen_since if begun <= start <= settles]
        widest = max(later - earlier for earlier, later in pairwise((begun, *lists, settles)))
        watched = len(lists) >= LISTS_NEEDED and widest <= ctx.policy.visible
        moved = any(edge >= begun for edge in ctx.listed().edges.values())
        changed = key is not None and key != old_key
        if watched and not moved and not changed and not ctx.row.seen.get("silent"):
            return NotBegun()
        return Unknown("the install was not seen to start, and the readings have a gap or moved", listed=True)

    def do(self, ctx: StepContext) -> Acted:
        """Start the install with the root password that was made for this service."""
        ctx.driver.install(ctx.server, ctx.order.os, ctx.secret("root_password"))
        return Acted()
