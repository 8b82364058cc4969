"""The server is nobody's again: owner and token leave in one edit, last of all."""

from datetime import timedelta

from provisioner.domain.attempt import Policy
from provisioner.domain.outcome import Acted, Done, Look, NotBegun
from provisioner.steps.base import StepContext, not_ours, unsettled, without_line


class Release:
    """Give the server back. Where the claim itself failed and the server is another's, touch nothing."""

    name = "release"
    policy = Policy(settle=timedelta(seconds=15), skippable=False)

    def check(self, ctx: StepContext) -> Look:
        """Read owner and notes."""
        reading = ctx.read()
        ours = not_ours(ctx, reading) is None
        if ours:
            return NotBegun({"notes": reading.notes})
        if reading.owner is None and ctx.claim.note_token not in reading.notes:
            return unsettled(ctx) or Done("no owner, our note is gone")
        whose = "our administrator, yet our note is gone" if reading.owner == ctx.admin else f"user {reading.owner}"
        return unsettled(ctx) or Done(f"its owner is {whose}: nothing was touched")

    def do(self, ctx: StepContext) -> Acted:
        """Clear owner and token."""
        notes = without_line(ctx.row.before["notes"], ctx.claim.note_token)
        ctx.driver.edit_server(ctx.server, owner=None, notes=notes)
        return Acted()
