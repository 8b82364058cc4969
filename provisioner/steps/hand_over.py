"""The server is the customer's: the point of no return."""

from datetime import timedelta

from provisioner.domain.attempt import Policy
from provisioner.domain.naming import same_name
from provisioner.domain.outcome import Acted, Done, Failed, HandedOver, Look, NotBegun
from provisioner.errors import FailureClass
from provisioner.steps.address import promised
from provisioner.steps.base import StepContext, not_ours


class HandOver:
    """
    Owner := customer, after addresses and domain were read back. The service becomes active in the same commit.

    Our token stays in the notes: it leaves with the owner, when the service is closed.
    """

    name = "hand_over"
    policy = Policy(deadline=timedelta(minutes=30), skippable=False)

    def check(self, ctx: StepContext) -> Look:
        """Read the owner; before the act also all that the customer is promised."""
        reading = ctx.read()
        if ctx.customer is not None and reading.owner == ctx.customer:
            return Done(f"owner is the customer's user {ctx.customer}", (HandedOver(reading, ctx.ip),))
        if lost := not_ours(ctx, reading):
            return Failed(FailureClass.DRIFT, lost.reason) if ctx.row.acted_at else lost
        if ctx.customer is None:
            return Failed(FailureClass.INPUT, "the customer's user is not known")
        if reading.disabled:
            return Failed(FailureClass.SERVER, "the server was disabled again before it was handed over")
        if any(not same_name(row.domain, ctx.order.hostname) for row in reading.addresses):
            return Failed(FailureClass.SERVER, "an address lost its domain before the server was handed over")
        for family, wanted in promised(ctx.package):
            if sum(row.family is family for row in reading.addresses) < wanted:
                return Failed(FailureClass.SERVER, f"an {family} address is gone before the server was handed over")
        return NotBegun({"notes": reading.notes})

    def do(self, ctx: StepContext) -> Acted:
        """Set the owner; notes stay."""
        ctx.driver.edit_server(ctx.server, owner=ctx.customer, notes=ctx.row.before["notes"])
        return Acted()
