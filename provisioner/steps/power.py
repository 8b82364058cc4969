"""The server's power is on, or off, or was switched off and on, as the DCIM's list shows it."""

from datetime import timedelta

from provisioner.domain.attempt import Policy, Repeat
from provisioner.domain.outcome import Acted, Done, Failed, Look, NotBegun, Unknown, Wait
from provisioner.domain.server import Power
from provisioner.domain.states import StepState
from provisioner.errors import FailureClass
from provisioner.steps.base import StepContext, not_ours
from provisioner.steps.listing import rose_since, stale


class _Power:
    """Ask for a state of the power; proven by a list newer than the act. Not undone: a free server may be on."""

    name = ""
    wanted = Power.UNKNOWN
    policy = Policy(
        settle=timedelta(seconds=120), deadline=timedelta(minutes=20), backoff_max=timedelta(minutes=2),
        proven_by_read=False,
    )  # fmt: skip

    def check(self, ctx: StepContext) -> Look:
        """Read the power flags."""
        if wait := stale(ctx):
            return wait
        listed = ctx.listed().listed
        if listed.power is self.wanted:
            return Done(f"the DCIM shows power {self.wanted}")
        if ctx.row.state is StepState.PENDING:
            if lost := not_ours(ctx, ctx.read()):
                return lost
            return NotBegun({"power": listed.power, "power_error": listed.power_error})
        old = ctx.row.before.get("power_error", False)
        if listed.power_error and (not old or rose_since(ctx, "power_error")):
            return Failed(FailureClass.SERVER, "the DCIM reports a power error")
        if listed.power is Power.UNKNOWN:
            return Unknown("the DCIM shows neither power on nor off", listed=True)
        return NotBegun()

    def do(self, ctx: StepContext) -> Acted:
        """Ask for it."""
        ctx.driver.set_power(ctx.server, self.wanted)
        return Acted()


class PowerOn(_Power):
    """The server is on."""

    name = "power_on"
    wanted = Power.ON


class PowerOff(_Power):
    """The server is off."""

    name = "power_off"
    wanted = Power.OFF


class Reboot:
    """
    One reboot, never a second: it has no flag of its own, so an unknown outcome is a person's to judge.

    Done when it was taken and a list of after it shows power on.
    """

    name = "reboot"
    policy = Policy(settle=timedelta(seconds=120), repeat=Repeat.NEVER, proven_by_read=False)

    def check(self, ctx: StepContext) -> Look:
        """Read the power flags; before the act the server must be on."""
        if wait := stale(ctx):
            return wait
        listed = ctx.listed().listed
        if ctx.row.state is StepState.PENDING:
            if lost := not_ours(ctx, ctx.read()):
                return lost
            if listed.power is Power.OFF:
                return Failed(FailureClass.INPUT, "the server is off; ask for power on instead")
            return NotBegun({"power_error": listed.power_error})
        if ctx.row.state is StepState.UNSURE:
            return Unknown("the reboot may or may not have been taken; it is not sent again", listed=True)
        if listed.power_error and not ctx.row.before.get("power_error", False):
            return Failed(FailureClass.SERVER, "the DCIM reports a power error")
        if listed.power is Power.ON:
            return Done("the reboot was taken, the DCIM shows power on")
        return Wait("the DCIM does not show power on", listed=True)

    def do(self, ctx: StepContext) -> Acted:
        """Ask for the reboot."""
        ctx.driver.reboot(ctx.server)
        return Acted()
