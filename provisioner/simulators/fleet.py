"""The fleet with which a simulated data centre opens: racks, machines, networks, templates, users."""

from collections.abc import Mapping, Sequence

from provisioner.simulators import addresses
from provisioner.simulators.chance import digest
from provisioner.simulators.model import (
    ADMIN_LEVEL,
    FREE_DOMAIN,
    ROOT_LEVEL,
    Address,
    Device,
    Link,
    Pool,
    Server,
    ServerType,
    Template,
    User,
)
from provisioner.simulators.world import World

FIRST_SERVER = 101
GIVEN = ("id", "name", "mac", "type", "ip")  #: facts that a new server may come with
_RACK_SIZE = 20
_FIRST_UNIT = 10
_FIRST_SWITCH, _FIRST_PDU = 3001, 6001
_LINUX = (
    "Debian-12-x86_64",
    "Debian-11-x86_64",
    "Ubuntu-22.04-x86_64",
    "AlmaLinux-9-x86_64",
    "CentOS-7-amd64",
)
_WINDOWS = ("Windows-Server-2019-amd64", "Windows-Server-2022-amd64")
_TYPES = {
    "HP-E3-16G": ("E3-1230v2, 16 GiB, 2x1TB", False),
    "HP-E5-64G": ("2x E5-2630v4, 64 GiB, 2x480GB SSD", True),
    "DELL-R640-128G": ("2x Gold 6130, 128 GiB, 4x960GB SSD", True),
    "SM-X11-32G": ("E-2236, 32 GiB, 2x1TB NVMe", False),
}
#: Types of the default fleet, over and over.
MIX = (
    "HP-E3-16G",
    "HP-E3-16G",
    "HP-E5-64G",
    "HP-E3-16G",
    "DELL-R640-128G",
    "HP-E3-16G",
    "HP-E3-16G",
    "HP-E5-64G",
    "HP-E3-16G",
    "SM-X11-32G",
)


def furnish(
    world: World,
    *,
    servers: int,
    admin_user: str,
    admin_password: str,
    types: Sequence[str] = (),
) -> None:
    """Fill an empty *world*: *servers* free machines of *types* in turn (default: `MIX`)."""
    _add_templates(world)
    for name in dict.fromkeys((*_TYPES, *types)):
        add_type(world, name)
    _add_pools(world)
    _add_users(world, admin_user, admin_password)
    mix = tuple(types) or MIX
    for index in range(servers):
        add_server(world, {"type": mix[index % len(mix)]})


def add_type(world: World, name: str) -> ServerType:
    """Put a type of server on the books; unknown names get plain hardware and every template."""
    hardware, windows = _TYPES.get(name, (f"{name}, 16 GiB, 2x1TB", True))
    allowed = [key for key, item in world.templates.items() if windows or not item.windows]
    kind = ServerType(world.next_id("type", 1), name, hardware, allowed)
    world.types[kind.id] = kind
    return kind


def add_server(world: World, facts: Mapping[str, object]) -> Server:
    """
    Put one more free machine into its rack; *facts* may name `id`, `name`, `mac`, `type`, `ip`.

    As on a real site (dcimanager5.md 4.4) it is switched off and its ports are off; of two
    machines one was sold before and is still disabled, the other is new and is not.
    """
    index = int(world.next_id("machine", 0))
    server_id = str(facts.get("id") or world.next_id("server", FIRST_SERVER))
    if server_id in world.servers:
        message = f"server {server_id} is there already"
        raise ValueError(message)
    type_name = str(facts.get("type") or MIX[index % len(MIX)])
    if world.type_named(type_name) is None:
        add_type(world, type_name)
    rack, unit = _place(world, index)
    server = Server(
        id=server_id,
        name=str(facts.get("name") or f"{rack.name}R{unit}"),
        mac=str(facts.get("mac") or _mac(world, index)),
        type=type_name,
        rack=rack.id,
        unit=str(unit),
        disabled=index % 2 == 1,
    )
    ip = facts.get("ip", _main_address(world, index))
    if ip:
        row_id = world.next_id("address", 901)
        row = Address(row_id, str(ip), "ipv4", FREE_DOMAIN, "main", main=True)
        server.addresses.append(row)
    server.links = _links(world, server, rack, unit)
    world.servers[server.id] = server
    world.touch()
    return server


def add_link(world: World, server: Server, kind: str, descr: str, *, bmc: bool = False) -> Link:
    """Connect *server* to one more port."""
    link = Link(world.next_id("link", 2001), kind, descr, bmc=bmc, on=bmc)
    server.links.append(link)
    world.touch()
    return link


def add_alias(world: World, server: Server, family: str = "ipv4") -> Address:
    """Give *server* one more public address under its own domain."""
    return addresses.add(world, server, domain=server.domain, kind="public", family=family)


def _add_templates(world: World) -> None:
    for name in (*_LINUX, *_WINDOWS):
        key = f"ISPsystem__{name}"
        world.templates[key] = Template(key, name, windows=name in _WINDOWS)
    world.recipes |= {"null": "No recipe", "#local__base": "base", "ISPsystem__LAMP": "LAMP"}


def _add_pools(world: World) -> None:
    block = world.block
    for name, family, kind, network, gateway in (
        ("main", "ipv4", "main", f"127.{block}.0.0/18", f"127.{block}.0.1"),
        ("extra", "ipv4", "public", f"127.{block}.128.0/20", f"127.{block}.128.1"),
        ("inside", "ipv4", "private", f"127.{block}.192.0/22", f"127.{block}.192.1"),
        ("extra6", "ipv6", "public", f"2001:db8:{block:x}::/64", f"2001:db8:{block:x}::1"),
    ):
        pool = Pool(world.next_id("pool", 1), name, family, kind, network, gateway)
        world.pools[pool.id] = pool


def _add_users(world: World, admin_user: str, admin_password: str) -> None:
    root = User("1", "root", ROOT_LEVEL, digest(f"root|{world.seed}|{admin_password}"))
    admin = User("5", admin_user, ADMIN_LEVEL, digest(admin_password))
    world.users |= {root.id: root, admin.id: admin}


def _place(world: World, index: int) -> tuple[Device, int]:
    number, slot = divmod(index, _RACK_SIZE)
    key = str(number + 1)
    if key not in world.racks:
        name = f"A{14 + number}"
        world.racks[key] = Device(key, name)
        stem = f"127.{world.block}.255"
        switch, pdu = str(_FIRST_SWITCH + number), str(_FIRST_PDU + number)
        world.switches[switch] = Device(switch, f"sw-{name.lower()}", f"{stem}.{1 + number % 100}", key)
        world.pdus[pdu] = Device(pdu, f"pdu-{name.lower()}", f"{stem}.{101 + number % 100}", key)
    return world.racks[key], _FIRST_UNIT + slot


def _links(world: World, server: Server, rack: Device, unit: int) -> list[Link]:
    number = int(rack.id) - 1
    switch = world.switches[str(_FIRST_SWITCH + number)]
    pdu = world.pdus[str(_FIRST_PDU + number)]

    def link(kind: str, descr: str, device: str, port: str, *, on: bool) -> Link:
        return Link(world.next_id("link", 2001), kind, descr, device, port, on)

    return [
        link("Switch", f"{switch.name} port {unit}", switch.id, str(unit), on=False),
        link("IPMI", f"IPMI S{server.id}", "", "", on=True),
        link("PDU", f"{pdu.name} outlet {unit}", pdu.id, str(unit), on=True),
    ]


def _mac(world: World, index: int) -> str:
    return f"02:00:5E:{world.block:02X}:{index // 256:02X}:{index % 256:02X}"


def _main_address(world: World, index: int) -> str:
    third, fourth = divmod(index, 200)
    return f"127.{world.block}.{1 + third}.{10 + fourth}"
