"""What the data centre does over time: power, links, install, diagnostics. Touches the world alone.

Each deed is taken at once and comes true later, when `tick` finds its effect due.
"""

from collections.abc import Callable

from provisioner.simulators.chance import draw
from provisioner.simulators.faults import INSTALL_KINDS, Occasion
from provisioner.simulators.model import Install, Kind, Link, Server, Trouble
from provisioner.simulators.world import Effect, World

_EARLY, _LATE = 0.05, 0.95  # when a failing install fails, as a share of a good one
_RECHECK = 0.05  # world seconds until a flag that was not looked at often enough is tried again
_PATIENCE = 200  # how often that is tried


# What can be asked


def power(world: World, server: Server, act: str) -> None:
    """Ask for *act*: on, off or reboot. The newest request wins."""
    if server.install is not None or server.install_in_progress:
        raise Trouble(Kind.BUSY, "server", server.id, f"{server.name} is being installed")
    if server.disabled and world.settings.disabled_refuses_power:
        raise Trouble(Kind.DENIED, "disabled", server.id, f"{server.name} is disabled")
    _later(world, server, "power", "power_done", act)
    world.touch()


def set_disabled(world: World, server: Server, *, disabled: bool) -> None:
    """Ask to bar *server* from its owner, or to let him in again; its switch ports follow."""
    _later(world, server, "enable", "disabled_done", "on" if disabled else "off")
    if world.settings.disable_switches_ports:
        for link in server.links:
            if link.type == "Switch" and not link.bmc:
                switch_link(world, server, link, on=not disabled)
    world.touch()


def switch_link(world: World, server: Server, link: Link, *, on: bool) -> None:
    """Ask a switch port on or off."""
    if link.type != "Switch":
        raise Trouble(Kind.BAD_VALUE, "elid", link.id, f"{link.descr} is no switch port")
    link.in_progress = True
    link.operation += 1
    occasion = Occasion(server=server.id)
    link.stuck = world.faults.take(("link_stuck",), occasion) is not None
    if on:
        link.dead = world.faults.take(("link_dead",), occasion) is not None
    if not link.stuck:
        detail = f"{link.id} {'on' if on else 'off'} {link.operation}"
        world.schedule("link_settle", "link_done", server, detail)
    world.touch()


def install(world: World, server: Server, template: str, password_sha256: str) -> None:
    """
    Start an OS install; it wipes the disks.

    Raises:
        Trouble: another operation runs, the template is not for this server, or it has no address.
    """
    if server.busy:
        raise Trouble(Kind.BUSY, "server", server.id, f"{server.name}: another operation runs")
    check_template(world, server, template)
    if server.main is None:
        raise Trouble(Kind.BAD_VALUE, "ipaddr", "", f"{server.name} has no address to install with")
    fault = world.faults.take(INSTALL_KINDS, Occasion(server=server.id, traits={"template": template}))
    server.operation_failed = False
    server.reason = ""
    server.installs += 1
    server.install = Install(
        operation=_ordinal(server, "install_operation"),
        template=template,
        password_sha256=password_sha256,
        fate=fault.kind if fault else "",
        started_at=world.now(),
    )
    _ordinal(server, "power_operation")  # a power call that has not come true yet is void
    world.schedule("install_visible", "install_visible", server, str(server.install.operation))
    world.touch()


def check_template(world: World, server: Server, template: str) -> None:
    """Refuse a template that the panel does not have, or not for this type of server."""
    kind = world.type_named(server.type)
    allowed = template in world.templates and (kind is None or template in kind.templates)
    traits = {"template": template, "server_type": server.type}
    refused = world.faults.take(("template_refused",), Occasion(server=server.id, traits=traits))
    if not allowed or refused:
        why = f"template {template!r} is not for {server.name}"
        raise Trouble(Kind.BAD_VALUE, "ostemplate", template, why)


def cancel(world: World, server: Server) -> None:
    """Ask to stop the running operation; nothing running is trouble."""
    if not server.busy:
        raise Trouble(Kind.MISSING, "operation", server.id, f"nothing runs on {server.name}")
    _later(world, server, "cancel", "cancel_done", "")
    world.touch()


def diagnose(world: World, server: Server) -> None:
    """Start diagnostics."""
    if server.busy:
        raise Trouble(Kind.BUSY, "server", server.id, f"{server.name}: another operation runs")
    server.diag_in_progress = True
    server.host.up = False
    _later(world, server, "diag", "diag_end", "")
    world.touch()


def set_owner(world: World, server: Server, owner: str | None) -> None:
    """Give *server* to a user, or to nobody; leaving it to nobody may start diagnostics."""
    released = owner is None and server.owner is not None
    if owner != server.owner:
        server.owners.append(server.owner)
    server.owner = owner
    world.touch()
    if released and world.settings.diag_on_release and not server.busy:
        diagnose(world, server)
    consider_shutdown(world, server)


def consider_shutdown(world: World, server: Server) -> None:
    """Plan to switch *server* off if it is free and on (AllowFreeServersAutoshutdown)."""
    if world.settings.free_autoshutdown and server.free and server.power and not server.busy:
        _later(world, server, "autoshutdown", "autoshutdown", "")


def answers(server: Server) -> bool:
    """Return whether the machine's own operating system answers on its main address."""
    host = server.host
    if not host.up or host.silent or not server.template or server.power is False or server.diag_in_progress:
        return False
    if server.install is not None and server.install.visible:
        return False
    switch_ports = [link for link in server.links if link.type == "Switch" and not link.bmc]
    return not switch_ports or any(link.on and not link.dead for link in switch_ports)


# How it comes true


def tick(world: World) -> bool:
    """Let everything happen that is due; return whether anything did."""
    happened = False
    while effect := world.pop_due():
        happened = True
        world.touch()
        if effect.name == "deferred":
            world.deferred.pop(effect.detail)()
            continue
        server = world.servers.get(effect.server)
        if server is not None:
            _EFFECTS[effect.name](world, server, effect)
    return happened


def _power_done(world: World, server: Server, effect: Effect) -> None:
    if _superseded(server, effect):
        return
    occasion = Occasion(server=server.id, traits={"act": effect.detail})
    if world.faults.take(("power_ignored",), occasion):
        return
    bmc_ports = [link for link in server.links if link.bmc]
    unreachable = bool(bmc_ports) and not any(link.on for link in bmc_ports)
    if unreachable or world.faults.take(("power_error",), occasion):
        server.powererror = True
        server.reason = "the BMC does not answer"
        return
    server.powererror = False
    was_on, server.power = server.power, effect.detail != "off"
    if effect.detail == "off":
        server.host.up = False
    elif effect.detail == "reboot" or not was_on:
        _boot(world, server)
    consider_shutdown(world, server)


def _boot(world: World, server: Server) -> None:
    server.host.up = False
    _later(world, server, "boot", "boot_done", "")


def _boot_done(world: World, server: Server, effect: Effect) -> None:
    if _superseded(server, effect) or server.power is False:
        return
    server.host.up = True
    if server.host.flapping:
        _later(world, server, "flap", "flap", "")


def _flap(world: World, server: Server, effect: Effect) -> None:
    if _superseded(server, effect) or not server.host.flapping or server.power is False:
        return
    server.host.up = not server.host.up
    _later(world, server, "flap", "flap", "")


def _disabled_done(_world: World, server: Server, effect: Effect) -> None:
    if not _superseded(server, effect):
        server.disabled = effect.detail == "on"


def _link_done(_world: World, server: Server, effect: Effect) -> None:
    link_id, state, operation = effect.detail.split()
    for link in server.links:
        if link.id == link_id and link.operation == int(operation):
            link.on = state == "on"
            link.in_progress = False


def _install_visible(world: World, server: Server, effect: Effect) -> None:
    run = server.install
    if run is None or str(run.operation) != effect.detail:
        return
    run.visible = True
    server.install_in_progress = True
    server.template = ""
    server.power = True
    server.host.up = server.host.flapping = server.host.silent = False
    server.host.installer = run.fate == "install_ssh"
    ports = [link for link in server.links if link.type == "Switch" and not link.bmc]
    if world.settings.install_needs_ports and ports and not any(link.on for link in ports):
        run.fate = "install_fails_early"
        server.reason = "no boot from the network: every switch port is off"
    unpowered = world.faults.holds("power_unknown", server.id)
    if run.fate == "install_hangs" or unpowered:
        return
    span = "install_windows" if world.templates[run.template].windows else "install"
    ordinal = _ordinal(server, span)
    seconds, scaled = world.settings.duration(span, world.seed, server.id, ordinal)
    share = {"install_fails_early": _EARLY, "install_fails_late": _LATE}.get(run.fate, 1.0)
    world.schedule_in(seconds * share, "install_end", server.id, detail=effect.detail, scaled=scaled)


def _install_end(world: World, server: Server, effect: Effect) -> None:
    run = server.install
    if run is None or str(run.operation) != effect.detail:
        return
    if run.seen < world.settings.install_flag_observations and effect.operation < _PATIENCE:
        world.schedule_in(
            _RECHECK,
            "install_end",
            server.id,
            operation=effect.operation + 1,
            detail=effect.detail,
        )
        return
    server.install = None
    server.install_in_progress = False
    server.host.installer = False
    if run.fate in ("install_fails_early", "install_fails_late"):
        server.operation_failed = True
        server.reason = server.reason or "the installer reported an error"
        return
    server.template = run.template
    server.root_password_sha256 = run.password_sha256
    if run.fate != "install_old_key" or server.host.key == 0:
        server.host.key += 1
    server.host.silent = run.fate == "install_silent"
    server.host.flapping = run.fate == "install_reboot_loop"
    _boot(world, server)
    consider_shutdown(world, server)


def _cancel_done(world: World, server: Server, effect: Effect) -> None:
    if _superseded(server, effect):
        return
    server.install = None
    server.install_in_progress = False
    server.diag_in_progress = False
    server.host.installer = False
    _ordinal(server, "diag_operation")
    consider_shutdown(world, server)


def _diag_end(world: World, server: Server, effect: Effect) -> None:
    if _superseded(server, effect):
        return
    server.diag_in_progress = False
    ordinal = server.ordinals.get("diag", 0)
    rate = world.settings.diag_hwproblem_rate
    if rate and draw(world.seed, "diag_result", server.id, ordinal) < rate:
        server.hwproblem = True
    if server.power:
        _boot(world, server)
    consider_shutdown(world, server)


def _autoshutdown(world: World, server: Server, effect: Effect) -> None:
    settings = world.settings
    if _superseded(server, effect) or not settings.free_autoshutdown or server.busy:
        return
    if server.free and server.power:
        server.power = False
        server.host.up = False


_EFFECTS: dict[str, Callable[[World, Server, Effect], None]] = {
    "power_done": _power_done,
    "boot_done": _boot_done,
    "flap": _flap,
    "disabled_done": _disabled_done,
    "link_done": _link_done,
    "install_visible": _install_visible,
    "install_end": _install_end,
    "cancel_done": _cancel_done,
    "diag_end": _diag_end,
    "autoshutdown": _autoshutdown,
}


def _ordinal(server: Server, name: str) -> int:
    server.ordinals[name] = server.ordinals.get(name, 0) + 1
    return server.ordinals[name]


def _later(world: World, server: Server, span: str, name: str, detail: str) -> None:
    """Schedule *name*, and make every earlier one of its kind on *server* void."""
    operation = _ordinal(server, f"{span}_operation")
    ordinal = _ordinal(server, span)
    seconds, scaled = world.settings.duration(span, world.seed, server.id, ordinal)
    world.schedule_in(seconds, name, server.id, operation=operation, detail=detail, scaled=scaled)


def _superseded(server: Server, effect: Effect) -> bool:
    span = {
        "power_done": "power",
        "boot_done": "boot",
        "disabled_done": "enable",
        "cancel_done": "cancel",
        "diag_end": "diag",
    }.get(effect.name, effect.name)
    return server.ordinals.get(f"{span}_operation", 0) != effect.operation
