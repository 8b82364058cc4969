"""What must never be seen in a data centre that is run well (dcimanager5.md 6.5). Reads only."""

import itertools
import re
from collections import defaultdict
from collections.abc import Iterator

from provisioner.simulators.model import ADMIN_LEVEL, FREE_DOMAIN, Server
from provisioner.simulators.world import World

JsonObject = dict[str, object]


def violations(world: World, token_pattern: str | None = None) -> list[JsonObject]:
    """
    Return what is wrong now, each as `{"rule", "server", "detail"}`; empty when all is well.

    *token_pattern* finds a claim's token in notes; default: the setting of that name.

    Raises:
        re.error: the pattern is no regular expression.
    """
    pattern = re.compile(token_pattern or world.settings.token_pattern)
    found = [
        *_tokens(world, pattern),
        *_shared_addresses(world),
        *_each_server(world),
    ]
    return [{"rule": rule, "server": server, "detail": detail} for rule, server, detail in found]


_Finding = tuple[str, str, str]


def _tokens(world: World, pattern: re.Pattern[str]) -> Iterator[_Finding]:
    holders: dict[str, list[str]] = defaultdict(list)
    for server in world.servers.values():
        tokens = sorted({match.group(0) for match in pattern.finditer(server.notes)})
        if len(tokens) > 1:
            yield "two_orders_on_one_server", server.id, ", ".join(tokens)
        for token in tokens:
            holders[token].append(server.id)
    for token, servers in holders.items():
        owned = [item for item in servers if world.servers[item].owner is not None]
        if len(owned) > 1:
            yield "one_order_on_two_servers", owned[0], f"{token} on {', '.join(owned)}"


def _shared_addresses(world: World) -> Iterator[_Finding]:
    holders: dict[str, list[str]] = defaultdict(list)
    for server in world.servers.values():
        for row in server.addresses:
            if row.ip and not row.group:
                holders[row.ip].append(server.id)
    for ip, servers in holders.items():
        if len(servers) > 1:
            yield "one_address_on_two_servers", servers[0], f"{ip} on {', '.join(servers)}"


def _each_server(world: World) -> Iterator[_Finding]:
    for server in world.servers.values():
        extra = [row.ip for row in server.addresses if not row.main and not row.group]
        if server.free and extra:
            yield "free_server_keeps_addresses", server.id, ", ".join(extra)
        if server.owner is None and server.domain != FREE_DOMAIN:
            yield "nobody_owns_a_named_server", server.id, server.domain
        if _client(world, server.owner) and server.domain == FREE_DOMAIN:
            yield "client_owns_an_unnamed_server", server.id, world.owner_name(server)
        if _is_quarantined(world, server) and not (server.notes.strip() and server.disabled):
            detail = "owner is an administrator, domain is free.ds, but notes or disabled miss"
            yield "unfinished_quarantine", server.id, detail
        yield from _sold_over(world, server)


def _is_quarantined(world: World, server: Server) -> bool:
    """Return whether it looks left behind: an administrator's, unnamed, and nothing moves."""
    owner = world.users.get(server.owner or "")
    still = not server.busy and not any(item.server == server.id for item in world.pending())
    return owner is not None and owner.level >= ADMIN_LEVEL and server.domain == FREE_DOMAIN and still


def _sold_over(world: World, server: Server) -> Iterator[_Finding]:
    line = [*server.owners, server.owner]
    for before, after in itertools.pairwise(line):
        if before != after and _client(world, before) and _client(world, after):
            detail = f"from user {before} straight to user {after}"
            yield "sold_over_the_head_of_its_client", server.id, detail


def _client(world: World, owner: str | None) -> bool:
    user = world.users.get(owner or "")
    return user is not None and user.level < ADMIN_LEVEL
