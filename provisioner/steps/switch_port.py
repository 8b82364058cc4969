"""The server is enabled and its switch ports are on, or off again; never the port that carries the BMC."""

from provisioner.domain.attempt import Policy
from provisioner.domain.outcome import Acted, Done, Look, NotBegun, Unknown, Wait
from provisioner.domain.server import LinkRef, ServerReading
from provisioner.domain.service import SuspendBy
from provisioner.domain.states import JobKind, StepState
from provisioner.steps.base import StepContext, next_act, not_ours, unsettled

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
        reading = ctx.read(links=True)
        if lost := not_ours(ctx, reading):
            return lost
        before = ctx.row.before
        busy = {link.ref for link in reading.known_links if link.busy}
        if busy:
            sure = ctx.row.state is not StepState.UNSURE or before.get("next") in (ENABLE, DISABLE, *busy)
            return Wait("a link has not settled") if sure else Unknown("another link has not settled")
        asked = list(before.get("asked", ()))
        proven = ctx.row.state is StepState.ACTING and "next" in before
        if proven and before["next"] not in (ENABLE, DISABLE):
            asked.append(before["next"])
        due = [act for act in self.acts(ctx, reading) if act not in asked]
        if not due:
            return unsettled(ctx) or Done(self._evidence(asked, reading))
        memo = {"next": due[0], "asked": asked, "disabled": reading.disabled}
        last = before.get("next")
        proven = due[0] != last and (proven or self._seen(last, reading))
        return next_act(ctx, memo, f"{last}: asked and settled", proven=proven)

    def _seen(self, act: str | None, reading: ServerReading) -> bool:
        """Say whether *act* shows in the reading, whatever became of its answer."""
        return (act == ENABLE and not reading.disabled) or (act == DISABLE and reading.disabled)

    def _evidence(self, asked: list[str], reading: ServerReading) -> str:
        if asked:
            return f"ports {', '.join(asked)} switched {'on' if self.on else 'off'}: asked and settled"
        return "disabled: the DCIM switches no port of it" if reading.disabled else "no switch port is connected"

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
    policy = Policy()

    def acts(self, ctx: StepContext, reading: ServerReading) -> list[str]:
        """
        Give the links first, while the DCIM still switches them: to disable a server may leave its ports on.

        One that is disabled already is left so: to enable it, only to close its ports, would open it.
        """
        if reading.disabled:
            return []
        was_disabled = ctx.row.undone.get("first", {}).get("disabled", False)
        last = [DISABLE] if was_disabled else []
        return [*(link.ref for link in reading.switch_links), *last]


class OpenPorts(_Ports):
    """The server is enabled, its links have settled, every switch port was asked to be on."""

    name = "switch_port"
    on = True
    policy = Policy(undo=ClosePorts.name)

    def acts(self, ctx: StepContext, reading: ServerReading) -> list[str]:
        """Enable first: the DCIM refuses to switch ports of a disabled server."""
        first = [ENABLE] if reading.disabled else []
        return [*first, *(link.ref for link in reading.switch_links)]


class ReopenPorts(_Ports):
    """Undo of a suspend: enabled again unless it was disabled before, every switch port on."""

    name = "reopen_ports"
    on = True
    policy = ClosePorts.policy

    def check(self, ctx: StepContext) -> Look:
        """Wait a late effect of the suspend out first: a port that it switches off after us would show nowhere."""
        outcome = super().check(ctx)
        late = unsettled(ctx) if isinstance(outcome, NotBegun) else None
        return late or outcome

    def acts(self, ctx: StepContext, reading: ServerReading) -> list[str]:
        """Give nothing where the server was disabled before: its ports were not ours to close."""
        if ctx.row.undone.get("first", {}).get("disabled", False):
            return []
        first = [ENABLE] if reading.disabled else []
        return [*first, *(link.ref for link in reading.switch_links)]


class PortsOff(_Ports):
    """
    Suspend and close: every switch port off, then the server disabled where the package or the close asks for it.

    Links first: to disable a server may leave its ports as they are. Only a suspend is ever undone.
    """

    name = "ports_off"
    on = False
    policy = Policy(skippable=False, undo=ReopenPorts.name)

    def acts(self, ctx: StepContext, reading: ServerReading) -> list[str]:
        """Give every link, then the server itself."""
        disables = ctx.kind is JobKind.CLOSE or ctx.package.suspend_by is SuspendBy.PORTS_AND_DISABLE
        last = [DISABLE] if disables and not reading.disabled else []
        return [*(link.ref for link in reading.switch_links), *last]


class PortsOn(OpenPorts):
    """Resume: enabled, every switch port on; the server is neither powered nor reinstalled."""

    name = "ports_on"
