"""Addresses of the simulated data centre: give out, rename, take back. Touches the world alone."""

import ipaddress
import re

from provisioner.simulators.faults import FAMILIES, Occasion
from provisioner.simulators.model import Address, Kind, Pool, Server, Trouble
from provisioner.simulators.world import World

_DOMAIN = re.compile(
    r"(?=.{1,253}\Z)[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9])?"
    r"(\.[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9])?)*\.?"
)


def check_domain(domain: str) -> None:
    """Refuse what is no host name."""
    if not _DOMAIN.fullmatch(domain):
        raise Trouble(Kind.BAD_VALUE, "domain", domain, f"{domain!r} is no domain name")


def in_use(world: World) -> set[str]:
    """Return every address that stands on a server."""
    return {row.ip for server in world.servers.values() for row in server.addresses}


def add(world: World, server: Server, *, domain: str, kind: str, family: str, wanted: str = "") -> Address:
    """
    Give *server* one more address: *wanted*, or the next free one of *kind* and *family*.

    Not safe to repeat: each call takes one more. The first address of a server is its main one.

    Raises:
        Trouble: bad values, a taken address, or an empty pool (`EXHAUSTED`).
    """
    domain = domain or server.domain
    check_domain(domain)
    if wanted:
        ip, family, kind = _chosen(world, wanted)
    else:
        ip = _next_free(world, server, kind, family)
    row = Address(world.next_id("address", 901), ip, family, domain, kind)
    row.main = server.main is None and family == "ipv4"
    server.addresses.append(row)
    occasion = Occasion(server=server.id, traits={"family": family})
    if world.faults.take(("address_conflict",), occasion):
        world.squatters.add(ip)
    world.touch()
    return row


def find(server: Server, row_id: str) -> Address:
    """Return an address row of *server*."""
    for row in server.addresses:
        if row.id == row_id:
            return row
    raise Trouble(Kind.MISSING, "elid", row_id, f"{server.name} has no address row {row_id!r}")


def set_domain(world: World, server: Server, row: Address, domain: str) -> None:
    """Give one address another domain; the host name of *server* follows its main address."""
    check_domain(domain)
    row.domain = domain
    if row.main:
        server.bare_domain = domain
    world.touch()


def delete(world: World, server: Server, row: Address) -> None:
    """Take an address back into its pool. The main one is refused, see `main_address_delete`."""
    if row.main and world.settings.main_address_delete == "refuse":
        raise Trouble(Kind.BAD_VALUE, "elid", row.id, "the main address cannot be deleted")
    server.addresses.remove(row)
    if row.main:
        server.bare_domain = row.domain
    world.touch()


def _chosen(world: World, wanted: str) -> tuple[str, str, str]:
    try:
        address = ipaddress.ip_address(wanted)
    except ValueError:
        raise Trouble(Kind.BAD_VALUE, "ip", wanted, f"{wanted!r} is no address") from None
    if str(address) in in_use(world):
        raise Trouble(Kind.TAKEN, "ip", wanted, f"{wanted} is in use")
    for pool in world.pools.values():
        if address in ipaddress.ip_network(pool.network):
            return str(address), pool.family, pool.kind
    raise Trouble(Kind.BAD_VALUE, "ip", wanted, f"{wanted} is in none of our networks")


def _next_free(world: World, server: Server, kind: str, family: str) -> str:
    if family not in FAMILIES:
        raise Trouble(Kind.BAD_VALUE, "family", family, f"no address family {family!r}")
    pools = [pool for pool in world.pools.values() if pool.kind == kind]
    if not pools:
        raise Trouble(Kind.BAD_VALUE, "iptype", kind, f"no address type {kind!r}")
    occasion = Occasion(server=server.id, traits={"family": family})
    if world.faults.take(("pool_empty",), occasion):
        raise Trouble(Kind.EXHAUSTED, "ip", family, f"no free {family} address of type {kind}")
    used = in_use(world)
    if world.faults.take(("pool_outside",), occasion):
        return _outside(world, family, used)
    for pool in pools:
        ip = _first_free(pool, used) if pool.family == family else None
        if ip:
            return ip
    raise Trouble(Kind.EXHAUSTED, "ip", family, f"no free {family} address of type {kind}")


def _first_free(pool: Pool, used: set[str]) -> str | None:
    taken = used | {pool.gateway}
    hosts = ipaddress.ip_network(pool.network).hosts()
    return next((str(ip) for ip in hosts if str(ip) not in taken), None)


def _outside(world: World, family: str, used: set[str]) -> str:
    """Return a free address that lies in none of the networks."""
    stem = f"127.{world.block}.250." if family == "ipv4" else "2001:db8:ffff::"
    number = 1
    while True:
        ip = f"{stem}{number}" if family == "ipv4" else f"{stem}{number:x}"
        if ip not in used:
            return ip
        number += 1
