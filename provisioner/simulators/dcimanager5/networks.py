"""Functions of DCImanager 5 about addresses and networks.

Source: dcimanager5.md 3.1 rows 3, 8, 9, 19, 20, 23, 24.
"""

import ipaddress

from provisioner.simulators import addresses
from provisioner.simulators.dcimanager5.call import CLIENT, Answer, Call, done, function, page
from provisioner.simulators.dcimanager5.tree import choices, leaf, leaves, row
from provisioner.simulators.dcimanager5.words import PanelError
from provisioner.simulators.model import Pool


@function("iplist", level=CLIENT)
def list_addresses(call: Call) -> Answer:
    server = call.server()
    rows = [
        row(
            {
                "id": item.id,
                "ip": item.ip,
                "type": "group" if item.group else item.kind,
                "domain": item.domain,
                "family": item.family,
            }
        )
        for item in server.addresses
    ]
    return page(call, rows)


@function("iplist.edit", level=CLIENT, form=True)
def edit_address(call: Call) -> Answer:
    server = call.server("plid")
    if not call.get("elid"):
        return _add(call) if call.submitted else _blank_form(call)
    item = addresses.find(server, call.need("elid"))
    if not call.submitted:
        values = {"elid": item.id, "plid": server.id, "ip": item.ip, "domain": item.domain, "iptype": item.kind}
        return leaves(values)
    addresses.set_domain(call.world, server, item, call.need("domain"))
    return done(leaf("id", item.id))


@function("iplist.delete", acts=True)
def delete_address(call: Call) -> Answer:
    server = call.server("plid")
    items = [addresses.find(server, row_id) for row_id in call.ids()]
    for item in items:
        addresses.delete(call.world, server, item)
    return done()


@function("ipdb")
def list_networks(call: Call) -> Answer:
    return page(call, [row(_network(pool)) for pool in call.world.pools.values()])


@function("ipdb.edit", form=True)
def edit_network(call: Call) -> Answer:
    world = call.world
    pool = world.pools.get(call.get("elid"))
    if call.get("elid") and pool is None:
        raise PanelError("missed", "elid", call.get("elid"))
    if not call.submitted:
        blank = dict.fromkeys(("range", "netmask", "gateway", "name", "iptype"), "")
        return leaves({"elid": pool.id, **_network(pool)} if pool else blank)
    try:
        network = ipaddress.ip_network(f"{call.need('range')}/{call.need('netmask')}", strict=False)
    except ValueError:
        raise PanelError("value", "range", call.get("range")) from None
    gateway, kind = call.get("gateway"), call.get("iptype", "public")
    pool_id = pool.id if pool else world.next_id("pool", 1)
    name = call.get("name") or str(network)
    world.pools[pool_id] = Pool(pool_id, name, f"ipv{network.version}", kind, str(network), gateway)
    world.touch()
    return done(leaf("id", pool_id))


def _add(call: Call) -> Answer:
    if not call.is_admin:
        raise PanelError("access", call.func)
    family, wanted = call.get("family", "ipv4"), call.get("ip")
    if family == "special" and not wanted:
        raise PanelError("value", "ip")
    item = addresses.add(
        call.world,
        call.server("plid"),
        domain=call.get("domain"),
        kind=call.get("iptype") or "public",
        family=family,
        wanted=wanted,
    )
    return done(leaf("id", item.id), leaf("ip", item.ip))


def _blank_form(call: Call) -> Answer:
    kinds = dict.fromkeys(pool.kind for pool in call.world.pools.values())
    return [
        *leaves({"plid": call.get("plid"), "ip": "", "domain": "", "iptype": "public", "family": "ipv4"}),
        choices("iptype", {kind: kind for kind in kinds}),
        choices("family", {"ipv4": "IPv4", "ipv6": "IPv6", "special": "Special"}),
    ]


def _network(pool: Pool) -> dict[str, object]:
    network = ipaddress.ip_network(pool.network)
    return {
        "id": pool.id,
        "name": pool.name,
        "range": str(network.network_address),
        "netmask": str(network.prefixlen if network.version > 4 else network.netmask),  # noqa: PLR2004
        "gateway": pool.gateway,
        "iptype": pool.kind,
        "family": pool.family,
    }
