"""The server is ours: owner is our administrator and our token stands in the notes; one edit for both."""

from provisioner.domain.attempt import Policy
from provisioner.domain.outcome import Acted, Done, Failed, Look, NotBegun
from provisioner.errors import FailureClass
from provisioner.steps.base import StepContext, owned_by_us, with_line


class Claim:
    """
    Reserve the server by `server.edit`; proven by a read after the write, since the DCIM has no compare-and-set.

    Undone by the attempt's end itself: `release` or `quarantine`.
    """

    name = "claim"
    policy = Policy(
        refusal_costs=True,
        skippable=False,
        exhausted=FailureClass.LOST,
    )

    def check(self, ctx: StepContext) -> Look:
        """Read owner and notes."""
        reading = ctx.read()
        if owned_by_us(ctx, reading):
            return Done(f"owner is our administrator {ctx.admin}, our note is in place")
        if reading.owner is not None:
            return Failed(FailureClass.LOST, f"somebody else took it: its owner is user {reading.owner}")
        if reading.faulty:
            return Failed(FailureClass.LOST, "it is marked faulty")
        return NotBegun({"notes": reading.notes})

    def do(self, ctx: StepContext) -> Acted:
        """Set owner and notes."""
        notes = with_line(ctx.row.before["notes"], ctx.claim.note_token)
        ctx.driver.edit_server(ctx.server, owner=ctx.admin, notes=notes)
        return Acted()
