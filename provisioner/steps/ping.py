"""The system that we installed answers from outside, and goes on answering; looks only, never acts."""

from datetime import datetime, timedelta

from provisioner.domain.attempt import Policy
from provisioner.domain.outcome import Acted, Done, Look, Wait
from provisioner.domain.server import Power
from provisioner.steps.base import StepContext
from provisioner.steps.listing import stale


class Ping:
    """
    Two looks a settle time apart agree.

    Not fooled by the old system (same key), the installer's own listener
    (the flag has fallen before we come here), or a machine in a reboot loop (second look).
    """

    name = "ping"
    policy = Policy(
        settle=timedelta(seconds=20),
        deadline=timedelta(minutes=30),
        backoff_max=timedelta(seconds=30),
    )

    def check(self, ctx: StepContext) -> Look:
        """Probe the main address as the package says."""
        if wait := stale(ctx):
            return wait
        listed = ctx.listed().listed
        if listed.installing:
            return Wait("an install is running", seen={"since": None}, listed=True)
        ctx.reading_at = None  # the look rests on the probe, not on the list
        ctx.probed()
        if not ctx.ip or not ctx.prober.answers(ctx.ip, ctx.package.probe):
            powered = listed.power is Power.ON
            reason = "the DCIM shows power on, yet the host is silent" if powered else "the host is silent"
            return Wait(f"{reason} ({ctx.package.probe})", seen={"since": None})
        key = ctx.prober.host_key(ctx.ip, ctx.package.probe)
        install = ctx.earlier.get("install_os")
        old_key = install.before.get("host_key") if install else None
        if key is not None and key == old_key:
            return Wait("the old system still answers", seen={"since": None})
        now, since = ctx.clock.now(), ctx.row.seen.get("since")
        if since is None or ctx.row.seen.get("key") != key:
            seen = {"since": now.isoformat(), "key": key}
            return Wait(
                "it answers; a second look follows", until=now + ctx.policy.settle, seen=seen, well=since is None
            )
        if now < datetime.fromisoformat(since) + ctx.policy.settle:
            return Wait(
                "it answers; a second look follows",
                until=datetime.fromisoformat(since) + ctx.policy.settle,
                well=True,
            )
        return Done(f"answers {ctx.package.probe}, twice")

    def do(self, ctx: StepContext) -> Acted:
        """Never called: `check` never says that an act is due."""
        raise NotImplementedError
