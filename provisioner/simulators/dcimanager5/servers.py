"""Functions of DCImanager 5 about servers: list, form, power, operations, connections.

Source: dcimanager5.md 3.1 rows 2, 7, 10-16, 19, 21, 22, 26, 27; 3.2; 4.
"""

import re

from provisioner.simulators import addresses, fleet, operations
from provisioner.simulators.chance import digest
from provisioner.simulators.dcimanager5.call import CLIENT, Answer, Call, done, function, page
from provisioner.simulators.dcimanager5.tree import Element, choices, leaf, leaves, row
from provisioner.simulators.dcimanager5.words import PanelError
from provisioner.simulators.model import FREE_DOMAIN, Kind, Link, Server, Trouble
from provisioner.simulators.world import World

_MAC = re.compile(r"[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}")
_NO_OWNER = "no_owner"
_NAME_LENGTH = 64
_HINTS = {
    "install_in_progress": "The operating system is being installed",
    "diag_in_progress": "Diagnostics are running",
    "operation_failed": "The last operation failed",
    "powererror": "The power state cannot be read",
    "hwproblem": "The server has a hardware problem",
}


@function("server", level=CLIENT)
def list_servers(call: Call) -> Answer:
    if call.get("clickstat") == "title":
        return _hint(call)
    rows = []
    for server in call.world.servers.values():
        if call.is_admin or (call.user is not None and server.owner == call.user.id):
            rows.append(_row(call.world, server))
            if server.install is not None and server.install.visible:
                server.install.seen += 1
    return page(call, rows)


@function("server.edit", form=True)
def edit_server(call: Call) -> Answer:
    if not call.get("elid"):
        return _create(call) if call.submitted else _form(call.world, None)
    server = call.server()
    if not call.submitted:
        return _form(call.world, server)
    values = _checked(call, server)
    owner = _owner(call) if "owner" in call.params else None  # refused before anything is written
    server.mac, server.name, server.type = values["mac"], values["name"], values["type"]
    if "notes" in call.params or call.world.settings.notes_missing == "empty":
        server.notes = call.get("notes")
    for field, fact in (("hwproblem", "hwproblem"), ("forcelock", "blocked")):
        if field in call.params:
            setattr(server, fact, call.get(field) == "on")
    if "owner" in call.params:
        operations.set_owner(call.world, server, owner)
    call.world.touch()
    return done(leaf("id", server.id))


@function("server.poweron", "server.poweroff", "server.reboot", level=CLIENT, acts=True)
def switch_power(call: Call) -> Answer:
    act = {"server.poweron": "on", "server.poweroff": "off", "server.reboot": "reboot"}[call.func]
    for server in [call.server(server_id=item) for item in call.ids()]:
        operations.power(call.world, server, act)
    return done()


@function("server.enable", "server.disable", acts=True)
def switch_server(call: Call) -> Answer:
    for server in [call.server(server_id=item) for item in call.ids()]:
        operations.set_disabled(call.world, server, disabled=call.func == "server.disable")
    return done()


@function("server.operations", level=CLIENT, form=True)
def operate(call: Call) -> Answer:
    server = call.server()
    if not call.submitted:
        return _operations_form(call.world, server)
    operation = call.get("operation")
    if operation == "ostemplate":
        _install(call, server)
    elif operation == "diag":
        operations.diagnose(call.world, server)
    else:
        raise PanelError("value", "operation", operation)
    return done()


@function("server.opercancel", level=CLIENT, acts=True)
def cancel_operation(call: Call) -> Answer:
    for server in [call.server(server_id=item) for item in call.ids()]:
        operations.cancel(call.world, server)
    return done()


@function("server.connection")
def list_connections(call: Call) -> Answer:
    server = call.server()
    return page(call, [_link_row(link) for link in server.links])


@function("server.connection.on", "server.connection.off", acts=True)
def switch_connection(call: Call) -> Answer:
    server = call.server("plid")
    links = [call.world.link(server, item) for item in call.ids()]
    for link in links:
        operations.switch_link(call.world, server, link, on=call.func.endswith(".on"))
    return done()


@function("server.connection.edit", form=True)
def edit_connection(call: Call) -> Answer:
    server = call.server("plid")
    link = call.world.link(server, call.need("elid"))
    if call.submitted:
        link.descr = call.get("descr", link.descr)
        call.world.touch()
        return done(leaf("id", link.id))
    values: dict[str, object] = {"elid": link.id, "plid": server.id, "type": link.type, "descr": link.descr}
    if link.type == "IPMI":
        values["ip"] = f"127.{call.world.block}.254.{int(link.id) % 250 + 1}"
    else:
        values |= {"device": link.device, "port": link.port}
    return leaves(values)


@function("ipmiredirect", level=CLIENT)
def redirect_to_bmc(call: Call) -> Answer:
    server = call.server()
    if not any(link.type == "IPMI" for link in server.links):
        raise PanelError("missed", "ipmi", server.id)
    return [leaf("ok", f"{call.host}/ipmiproxy/{server.id}")]


def _hint(call: Call) -> Answer:
    server, field = call.server(), call.need("hint_field")
    return [leaf("value", server.reason if field == "operation_failed" and server.reason else _HINTS.get(field, ""))]


def _row(world: World, server: Server) -> Element:
    kind = world.type_named(server.type)
    rack = world.racks.get(server.rack)
    values: dict[str, object] = {
        "id": server.id,
        "name": server.name,
        "hostname": server.domain,
        "ip": server.main.ip if server.main else "",
    }
    owner = world.owner_name(server)
    if owner:
        values["owner"] = owner
    values |= {
        "chassis_templ": server.type,
        "type": server.type,
        "gen_chassis_name": kind.hardware if kind else server.type,
        "rack": f"{rack.name} {server.unit}" if rack else "",
    }
    if any(link.type == "IPMI" for link in server.links):
        values["ipmi"] = f"IPMI S{server.id}"
    return row(values, _flags(world, server))


def _flags(world: World, server: Server) -> list[str]:
    flags = {
        "powererror": server.powererror,
        "disabled": server.disabled,
        "blocked": server.blocked,
        "hwproblem": server.hwproblem,
        "diag_in_progress": server.diag_in_progress,
        "install_in_progress": server.install_in_progress,
        "operation_failed": server.operation_failed,
    }
    raised = [name for name, up in flags.items() if up]
    if server.power is None or world.faults.holds("power_unknown", server.id):
        return raised
    return ["poweron" if server.power else "poweroff", *raised]


def _form(world: World, server: Server | None) -> Answer:
    owners = {_NO_OWNER: "Without owner"} | {user.id: user.name for user in world.users.values()}
    kinds = {kind.id: kind.name for kind in world.types.values()}
    lists = [choices("owner", owners), choices("chassistempl", kinds)]
    if server is None:
        blank = dict.fromkeys(("name", "mac", "type", "chassistempl", "rack", "unit", "notes", "hostname"), "")
        return [*leaves({**blank, "owner": _NO_OWNER, "family": "ipv4", "ip_block": "main"}), *lists]
    kind = world.type_named(server.type)
    values: dict[str, object] = {
        "elid": server.id,
        "id": server.id,
        "name": server.name,
        "mac": server.mac,
        "type": server.type,
        "chassistempl": kind.id if kind else "",
        "owner": server.owner or _NO_OWNER,
        "notes": server.notes,
        "rack": server.rack,
        "unit": server.unit,
        "disabled": _on_off(server.disabled),
        "hwproblem": _on_off(server.hwproblem),
        "forcelock": _on_off(server.blocked),
    }
    return [*leaves(values), *lists]


def _on_off(value: object) -> str:
    return "on" if value else "off"


def _checked(call: Call, server: Server | None) -> dict[str, str]:
    """Return mac, name and type of a form that is sent; left out, they are an error (**I**)."""
    values: dict[str, str] = {}
    for field in ("mac", "name", "type"):
        value = call.get(field)
        if field == "type" and not value:
            kind = call.world.types.get(call.get("chassistempl"))
            value = kind.name if kind else ""
        if not value and server is not None and call.world.settings.edit_missing == "keep":
            value = str(getattr(server, field))
        if not value:
            raise PanelError("value", field)
        values[field] = value
    if not _MAC.fullmatch(values["mac"]):
        raise PanelError("value", "mac", values["mac"])
    if len(values["name"]) > _NAME_LENGTH:
        raise PanelError("value", "name", values["name"])
    if call.world.type_named(values["type"]) is None:
        raise PanelError("value", "type", values["type"])
    return values


def _owner(call: Call) -> str | None:
    owner = call.get("owner")
    if owner == _NO_OWNER:
        return None
    if owner not in call.world.users:
        raise Trouble(Kind.BAD_VALUE, "owner", owner)
    return owner


def _create(call: Call) -> Answer:
    values = _checked(call, None)
    owner = _owner(call) if "owner" in call.params else None
    domain = call.get("hostname") or FREE_DOMAIN
    addresses.check_domain(domain)
    server = fleet.add_server(call.world, {**values, "ip": ""})
    server.owner, server.notes, server.bare_domain = owner, call.get("notes"), domain
    if call.get("family") or call.get("specialip"):
        kind, family = call.get("ip_block", "main"), call.get("family", "ipv4")
        try:
            addresses.add(call.world, server, domain=domain, kind=kind, family=family, wanted=call.get("specialip"))
        except Trouble:
            del call.world.servers[server.id]
            raise
    return done(leaf("id", server.id), leaf("elid", server.id))


def _operations_form(world: World, server: Server) -> Answer:
    kind = world.type_named(server.type)
    allowed = [key for key in (kind.templates if kind else world.templates) if key in world.templates]
    values: dict[str, object] = {
        "elid": server.id,
        "operation": "ostemplate",
        "ostemplate": allowed[0] if allowed else "",
        "recipe": "null",
        "hostname": server.domain,
        "ipaddr": server.main.ip if server.main else "",
        "isotemplate": "no_iso_template",
        "clearhdd": "off",
        "fullhddclear": "off",
        "diag": "ISPsystem__Diag-x86_64",
        "rescue": "ISPsystem__Sysrescd-x86_64",
    }
    return [
        *leaves(values),
        choices("operation", {"ostemplate": "OS template", "diag": "Diagnostics"}),
        choices("ostemplate", {key: world.templates[key].name for key in allowed}),
        choices("recipe", world.recipes),
    ]


def _install(call: Call, server: Server) -> None:
    password = call.get("passwd")
    call.world.check_password(password)
    if call.get("confirm") != password:
        raise PanelError("value", "confirm")
    if call.get("checkpasswd", password) != password:
        raise PanelError("value", "checkpasswd")
    recipe = call.get("recipe") or "null"
    if recipe not in call.world.recipes:
        raise PanelError("value", "recipe", recipe)
    operations.install(call.world, server, call.need("ostemplate"), digest(password))


def _link_row(link: Link) -> Element:
    flags = ["func_in_progress"] if link.in_progress else []
    return row({"id": link.id, "type": link.type, "descr": link.descr}, flags)
