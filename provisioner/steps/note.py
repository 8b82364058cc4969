"""An adopted server carries our line in its notes; its owner stays the customer. One edit."""

from datetime import timedelta

from provisioner.domain.attempt import Policy
from provisioner.domain.outcome import Acted, Done, Look, NotBegun
from provisioner.errors import FailureClass
from provisioner.steps.base import StepContext, not_ours, with_line


class Note:
    """
    Write our token as the last line of the notes, the others kept; repeatable.

    Only where it was asked for. The line shows after a restore that the server is sold; all else works without it.
    """

    name = "note"
    policy = Policy(deadline=timedelta(minutes=30), exhausted=FailureClass.SITE)

    def check(self, ctx: StepContext) -> Look:
        """Read owner and notes."""
        reading = ctx.read()
        if drifted := not_ours(ctx, reading):
            return drifted
        if ctx.claim.note_token in reading.notes.splitlines():
            return Done("our line is in its notes")
        return NotBegun({"notes": reading.notes})

    def do(self, ctx: StepContext) -> Acted:
        """Set the notes, and the owner that it has."""
        if ctx.customer is None:
            raise AssertionError("check says Failed where the customer's user is not known")
        notes = with_line(ctx.row.before["notes"], ctx.claim.note_token)
        ctx.driver.edit_server(ctx.server, owner=ctx.customer, notes=notes)
        return Acted()
