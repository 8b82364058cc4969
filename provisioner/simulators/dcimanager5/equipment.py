"""Functions of DCImanager 5 about equipment: racks, types, templates, switches, PDUs.

Source: dcimanager5.md 3.1 rows 4 and 13, and "other functions seen".
"""

from provisioner.simulators import operations
from provisioner.simulators.dcimanager5.call import CLIENT, Answer, Call, done, function, page
from provisioner.simulators.dcimanager5.tree import Element, row
from provisioner.simulators.dcimanager5.words import PanelError
from provisioner.simulators.model import Device, Link, Server
from provisioner.simulators.world import World


@function("rack")
def list_racks(call: Call) -> Answer:
    return page(call, [row({"id": item.id, "name": item.name}) for item in call.world.racks.values()])


@function("chassistempl")
def list_types(call: Call) -> Answer:
    return page(call, [row({"id": item.id, "name": item.name}) for item in call.world.types.values()])


@function("osmgr", level=CLIENT)
def list_templates(call: Call) -> Answer:
    return page(call, [row({"id": item.id, "name": item.name}) for item in call.world.templates.values()])


@function("switch")
def list_switches(call: Call) -> Answer:
    return page(call, [_device_row(call.world, item) for item in call.world.switches.values()])


@function("switch.port")
def list_switch_ports(call: Call) -> Answer:
    device = _device(call, call.world.switches)
    rows = [
        row({"id": link.id, "descr": link.descr, "identity": f"port{link.port}", "serverhname": server.domain})
        for server, link in _ports(call.world, device)
    ]
    return page(call, rows)


@function("switch.port.on", "switch.port.off", acts=True)
def switch_switch_port(call: Call) -> Answer:
    for server, link in _chosen(call, "Switch"):
        operations.switch_link(call.world, server, link, on=call.func.endswith(".on"))
    return done()


@function("pdu")
def list_pdus(call: Call) -> Answer:
    return page(call, [_device_row(call.world, item) for item in call.world.pdus.values()])


@function("pdu.port")
def list_pdu_ports(call: Call) -> Answer:
    device = _device(call, call.world.pdus)
    rows = [
        row({"id": link.id, "descr": link.descr, "serverhname": server.domain, "power": "1" if link.on else "0"})
        for server, link in _ports(call.world, device)
    ]
    return page(call, rows)


@function("pdu.on", "pdu.off", acts=True)
def switch_outlet(call: Call) -> Answer:
    for server, link in _chosen(call, "PDU"):
        link.on = call.func == "pdu.on"
        operations.power(call.world, server, "on" if link.on else "off")
    return done()


def _device_row(world: World, device: Device) -> Element:
    rack = world.racks[device.rack]
    return row({"id": device.id, "name": device.name, "ip": device.ip, "rack": rack.name, "rack_id": rack.id})


def _device(call: Call, devices: dict[str, Device]) -> Device:
    wanted = call.need("elid")
    if wanted not in devices:
        raise PanelError("missed", "elid", wanted)
    return devices[wanted]


def _ports(world: World, device: Device) -> list[tuple[Server, Link]]:
    return [(server, link) for server in world.servers.values() for link in server.links if link.device == device.id]


def _chosen(call: Call, kind: str) -> list[tuple[Server, Link]]:
    found = {
        link.id: (server, link) for server in call.world.servers.values() for link in server.links if link.type == kind
    }
    for wanted in call.ids():
        if wanted not in found:
            raise PanelError("missed", "elid", wanted)
    return [found[wanted] for wanted in call.ids()]
