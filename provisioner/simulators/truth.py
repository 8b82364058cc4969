"""The whole truth of the simulated data centre as JSON, for the control side. Reads only."""

from collections.abc import Callable

from provisioner.simulators import operations
from provisioner.simulators.model import Server
from provisioner.simulators.world import World

JsonObject = dict[str, object]
Fingerprint = Callable[[Server], str]


def of_server(world: World, server: Server, fingerprint: Fingerprint) -> JsonObject:
    """Return every fact of *server*; `host.fingerprint` is the key its SSH shows."""
    run = server.install
    return {
        "id": server.id,
        "name": server.name,
        "mac": server.mac,
        "type": server.type,
        "rack": world.racks[server.rack].name if server.rack in world.racks else "",
        "unit": server.unit,
        "owner": world.owner_name(server) or None,
        "owner_id": server.owner,
        "hostname": server.domain,
        "domain": server.domain,
        "ip": server.main.ip if server.main else None,
        "notes": server.notes,
        "disabled": server.disabled,
        "blocked": server.blocked,
        "hwproblem": server.hwproblem,
        "power": {True: "on", False: "off", None: None}[server.power],
        "powererror": server.powererror,
        "install": None
        if run is None
        else {"template": run.template, "visible": run.visible, "started_at": run.started_at},
        "install_in_progress": server.install_in_progress,
        "diag_in_progress": server.diag_in_progress,
        "operation_failed": server.operation_failed,
        "reason": server.reason,
        "template": server.template or None,
        "installs": server.installs,
        "root_password_sha256": server.root_password_sha256 or None,
        "free": server.free,
        "host": {
            "answers": operations.answers(server),
            "up": server.host.up,
            "silent": server.host.silent,
            "flapping": server.host.flapping,
            "key": server.host.key,
            "fingerprint": fingerprint(server) if server.host.key else None,
        },
        "host_key": fingerprint(server) if server.host.key else None,
        "owners_before": list(server.owners),
        "addresses": [
            {
                "row_id": row.id,
                "ip": row.ip,
                "family": row.family,
                "domain": row.domain,
                "main": row.main,
                "type": "group" if row.group else row.kind,
            }
            for row in server.addresses
        ],
        "links": [
            {
                "id": link.id,
                "type": link.type,
                "descr": link.descr,
                "on": link.on,
                "in_progress": link.in_progress,
                "dead": link.dead,
                "bmc": link.bmc,
            }
            for link in server.links
        ],
    }


def of_world(world: World, fingerprint: Fingerprint) -> JsonObject:
    """Return everything."""
    return {
        "now": world.now(),
        "frozen": world.clock.frozen,
        "seed": world.seed,
        "block": world.block,
        "revision": world.revision,
        "settings": world.settings.as_json(),
        "servers": [of_server(world, item, fingerprint) for item in world.servers.values()],
        "users": [
            {"id": user.id, "name": user.name, "level": user.level, "revoked": user.revoked}
            for user in world.users.values()
        ],
        "pools": [
            {
                "id": pool.id,
                "name": pool.name,
                "family": pool.family,
                "type": pool.kind,
                "network": pool.network,
                "gateway": pool.gateway,
            }
            for pool in world.pools.values()
        ],
        "types": [{"id": kind.id, "name": kind.name, "templates": kind.templates} for kind in world.types.values()],
        "templates": sorted(world.templates),
        "pending": [
            {"due": item.due, "name": item.name, "server": item.server, "detail": item.detail}
            for item in world.pending()
        ],
    }
