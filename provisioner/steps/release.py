"""The server is nobody's again: owner and token leave in one edit, last of all."""

from provisioner.domain.attempt import Policy
from provisioner.domain.naming import same_name
from provisioner.domain.outcome import Acted, Done, Failed, Look, NotBegun
from provisioner.domain.server import FREE_MARKER, ServerReading
from provisioner.domain.states import JobKind
from provisioner.errors import FailureClass
from provisioner.steps.base import StepContext, not_ours, unsettled, without_line


class Release:
    """Give the server back. Where the claim itself failed and the server is another's, touch nothing."""

    name = "release"
    policy = Policy(skippable=False)

    def check(self, ctx: StepContext) -> Look:
        """Read owner and notes."""
        reading = ctx.read()
        if not_ours(ctx, reading) is None:
            return NotBegun({"notes": reading.notes})
        noted = ctx.claim.note_token in reading.notes
        if reading.owner is None and not noted:
            return unsettled(ctx) or _free(ctx, reading)
        if reading.owner is None and ctx.kind is JobKind.CLOSE:  # somebody freed it by hand: only our note is left
            return NotBegun({"notes": reading.notes})
        if ctx.kind is JobKind.CLOSE:
            return Failed(FailureClass.DRIFT, f"its owner is user {reading.owner}: nothing more was touched")
        whose = "our administrator, yet our note is gone" if reading.owner == ctx.admin else f"user {reading.owner}"
        return unsettled(ctx) or Done(f"its owner is {whose}: nothing was touched")

    def do(self, ctx: StepContext) -> Acted:
        """Clear owner and token."""
        notes = without_line(ctx.row.before["notes"], ctx.claim.note_token)
        ctx.driver.edit_server(ctx.server, owner=None, notes=notes)
        return Acted()


def _free(ctx: StepContext, reading: ServerReading) -> Look:
    """Say that the server is free; one that a customer had must show nothing of theirs."""
    extra = [row.ip for row in reading.addresses if not row.main]
    named = [row.domain for row in reading.addresses if not same_name(row.domain, FREE_MARKER)]
    if ctx.kind is JobKind.CLOSE and (extra or named):
        left = ", ".join([*extra, *named])
        return Failed(FailureClass.DRIFT, f"the server is free and still carries {left}: somebody must look")
    return Done("no owner, our note is gone")
