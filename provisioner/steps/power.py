"""The server is powered on, as the DCIM's list shows it."""

from datetime import timedelta

from provisioner.domain.attempt import Policy
from provisioner.domain.outcome import Acted, Done, Failed, Look, NotBegun, Unknown
from provisioner.domain.server import Power
from provisioner.domain.states import StepState
from provisioner.errors import FailureClass
from provisioner.steps.base import StepContext, not_ours
from provisioner.steps.listing import rose_since, stale


class PowerOn:
    """Ask for power; proven by a list newer than the act. Not undone: a free server may be on."""

    name = "power_on"
    policy = Policy(
        settle=timedelta(seconds=120), deadline=timedelta(minutes=20), backoff_max=timedelta(minutes=2),
        proven_by_read=False,
    )  # fmt: skip

    def check(self, ctx: StepContext) -> Look:
        """Read the power flags."""
        if wait := stale(ctx):
            return wait
        view = ctx.listed()
        if view.listed.power is Power.ON:
            return Done("the DCIM shows power on")
        if ctx.row.state is StepState.PENDING:
            if lost := not_ours(ctx, ctx.read()):
                return lost
            return NotBegun({"power": view.listed.power, "power_error": view.listed.power_error})
        old = ctx.row.before.get("power_error", False)
        if view.listed.power_error and (not old or rose_since(ctx, "power_error")):
            return Failed(FailureClass.SERVER, "the DCIM reports a power error")
        if view.listed.power is Power.UNKNOWN:
            return Unknown("the DCIM shows neither power on nor off", listed=True)
        return NotBegun()

    def do(self, ctx: StepContext) -> Acted:
        """Ask for power on."""
        ctx.driver.set_power(ctx.server, Power.ON)
        return Acted()
