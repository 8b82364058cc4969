"""The server is out of sale: still our administrator's, reason in its notes, disabled."""

from provisioner.domain.attempt import Policy
from provisioner.domain.outcome import Acted, Done, Look, NotBegun, Wait
from provisioner.steps.base import StepContext, next_act, not_ours, unsettled, with_line

REASON_LENGTH = 300  #: of the reason in the notes, in characters


class Quarantine:
    """
    The source page's end of a failure. The domain is `free.ds` again by `FreeDomain`; power and disks stay.

    Source: ISPsystem wiki, "Integrating with DCImanager", failure while opening.
    """

    name = "quarantine"
    policy = Policy(skippable=False)

    def check(self, ctx: StepContext) -> Look:
        """Read notes and the disabled mark; name the next act."""
        reading = ctx.read(links=True)
        if lost := not_ours(ctx, reading):
            return unsettled(ctx) or lost  # the claim itself may still take effect
        line = f"quarantined: {' '.join(ctx.reason.split())[:REASON_LENGTH]}"
        noted = line in reading.notes.splitlines()
        if not noted:
            return NotBegun({"act": "note", "notes": reading.notes, "line": line})
        if not reading.disabled:
            proven = ctx.row.before.get("act") == "note"
            return next_act(ctx, {"act": "disable"}, "the reason is in the notes", proven=proven)
        if ctx.row.before.get("act") == "disable" and any(link.busy for link in reading.known_links):
            return Wait("disabled; a link has not settled")  # one of before may be what is wrong with the server
        return unsettled(ctx) or Done("ours, reason in the notes, disabled")

    def do(self, ctx: StepContext) -> Acted:
        """Write the reason, or disable."""
        before = ctx.row.before
        if before["act"] == "disable":
            ctx.driver.disable(ctx.server)
            return Acted()
        # the token must stay the last line: the claim is recognised by it
        notes = with_line(with_line(before["notes"], before["line"]), ctx.claim.note_token)
        ctx.driver.edit_server(ctx.server, owner=ctx.admin, notes=notes)
        return Acted()
