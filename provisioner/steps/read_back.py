"""The service as its DCIM shows it now: read, recorded, told; the last step of every job on a service."""

from datetime import timedelta

from provisioner.domain.attempt import Policy
from provisioner.domain.outcome import Acted, ConfigRead, Done, Look
from provisioner.steps.base import StepContext, not_ours
from provisioner.steps.listing import stale


class ReadBack:
    """Form view, addresses and links afresh, power from a list of after the arrival; changes nothing."""

    name = "read_back"
    policy = Policy(deadline=timedelta(minutes=30), settle=timedelta(seconds=1), proven_by_read=False, skippable=True)

    def check(self, ctx: StepContext) -> Look:
        """Read all, and give it to our books."""
        if wait := stale(ctx):
            return wait
        reading = ctx.read()
        if drifted := not_ours(ctx, reading):
            return drifted
        listed = ctx.listed().listed
        record = ConfigRead(reading, ctx.ip, listed.power, ctx.order.os)
        return Done(f"{len(reading.addresses)} addresses, power {listed.power}", (record,))

    def do(self, ctx: StepContext) -> Acted:
        """Never called: a look changes nothing."""
        raise AssertionError(f"{self.name} of server {ctx.server} never acts")
