"""The server is enabled and its switch ports are on, or off again; never the port that carries the BMC."""

from datetime import timedelta

from provisioner.domain.attempt import Policy
from provisioner.domain.outcome import Acted, Done, Look, More, NotBegun, Unknown, Wait
from provisioner.domain.server import LinkRef, ServerReading
from provisioner.domain.states import StepState
from provisioner.steps.base import StepContext, not_ours, unsettled

ENABLE, DISABLE = "enable", "disable"


class _Ports:
    """
    One act a touch: the server itself, or one link; `asked` in the memo lists the links already settled.

    A DCIM that shows no on/off of a port gives "asked and settled" as the only evidence. A link whose act got
    no answer is asked again: the act is harmless to repeat.
    """

    name = ""
    on = True

    def acts(self, ctx: StepContext, reading: ServerReading) -> list[str]:
        """Give all acts that are due before the links, then the links, then those after them."""
        raise NotImplementedError

    def check(self, ctx: StepContext) -> Look:
        """Read the links; name the next act."""
        reading = ctx.read()
        if lost := not_ours(ctx, reading):
            return lost
        before = ctx.row.before
        busy = {link.ref for link in reading.links if link.busy}
        if busy:
            sure = ctx.row.state is not StepState.UNSURE or before.get("next") in (ENABLE, DISABLE, *busy)
            return Wait("a link has not settled") if sure else Unknown("another link has not settled")
        asked = list(before.get("asked", ()))
        proven = ctx.row.state is StepState.ACTING and "next" in before
        if proven and before["next"] not in (ENABLE, DISABLE):
            asked.append(before["next"])
        due = [act for act in self.acts(ctx, reading) if act not in asked]
        if not due:
            return unsettled(ctx) or Done(self._evidence(asked))
        memo = {"next": due[0], "asked": asked, "disabled": reading.disabled}
        if (proven or self._seen(before.get("next"), reading)) and due[0] != before["next"]:
            return More(memo, f"{before['next']}: asked and settled")
        return NotBegun(memo)

    def _seen(self, act: str | None, reading: ServerReading) -> bool:
        """Say whether *act* shows in the reading, whatever became of its answer."""
        return (act == ENABLE and not reading.disabled) or (act == DISABLE and reading.disabled)

    def _evidence(self, asked: list[str]) -> str:
        if not asked:
            return "no switch port is connected"
        return f"ports {', '.join(asked)} switched {'on' if self.on else 'off'}: asked and settled"

    def do(self, ctx: StepContext) -> Acted:
        """Carry out the one act that the memo names."""
        act = ctx.row.before["next"]
        if act == ENABLE:
            ctx.driver.enable(ctx.server)
        elif act == DISABLE:
            ctx.driver.disable(ctx.server)
        else:
            ctx.driver.set_link(ctx.server, LinkRef(act), on=self.on)
        return Acted()


class ClosePorts(_Ports):
    """Undo of `OpenPorts`: every switch port off, the server disabled again if it was."""

    name = "close_ports"
    on = False
    policy = Policy(settle=timedelta(seconds=30), deadline=timedelta(minutes=10))

    def acts(self, ctx: StepContext, reading: ServerReading) -> list[str]:
        """Links first, so that the old system never answers on an open port of a disabled server."""
        if reading.disabled:
            return []  # the DCIM refuses to switch them; they are off
        was_disabled = ctx.row.undone.get("first", {}).get("disabled", False)
        last = [DISABLE] if was_disabled else []
        return [*(link.ref for link in reading.switch_links), *last]


class OpenPorts(_Ports):
    """The server is enabled, its links have settled, every switch port was asked to be on."""

    name = "switch_port"
    on = True
    policy = Policy(settle=timedelta(seconds=30), deadline=timedelta(minutes=10), undo=ClosePorts.name)

    def acts(self, ctx: StepContext, reading: ServerReading) -> list[str]:
        """Enable first: the DCIM refuses to switch ports of a disabled server."""
        first = [ENABLE] if reading.disabled else []
        return [*first, *(link.ref for link in reading.switch_links)]
