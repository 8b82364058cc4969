"""How a fake data centre may look when nothing is under way: one word a server, one a service; all else is half-way."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from provisioner.domain.naming import same_name
from provisioner.domain.server import FREE_MARKER, Power
from provisioner.drivers.fake import FakeDatacentre, FakeServer
from tests.site import Site

TOKEN = "provisioner"  #: every note of ours holds it


def ports(server: FakeServer) -> list[bool]:
    """Whether each switch port is on."""
    return [link.on for link in server.links if link.kind.value == "switch"]


def _amiss(**held: bool) -> list[str]:
    """Name what does not hold."""
    return [name.replace("_", " ") for name, good in held.items() if not good]


def unsold(world: FakeDatacentre, server: FakeServer) -> list[str]:
    """Say what a server that is no customer's has of one, or of a job that left it half-way."""
    mine = server.owner == world.administrator.ref
    return _amiss(
        marked_free=all(same_name(row.domain, FREE_MARKER) for row in server.addresses),
        no_address_of_a_customer=all(row.main for row in server.addresses),
        ports_off=not any(ports(server)),
        links_settled=not any(link.busy for link in server.links),
        nothing_under_way=not server.installing and not server.pending,
        no_note_of_ours=mine or TOKEN not in server.notes,
        reason_in_the_notes=not mine or "quarantined: " in server.notes,
        disabled=not mine or server.disabled,
    )


def sold(server: FakeServer, service: Mapping[str, Any], *, but: Collection[str] = ()) -> list[str]:
    """Say what a customer's server lacks; *but* names steps that a person passed, which promise nothing."""
    suspended = service["state"] == "suspended"
    want = service["package"]["ipv4"] + service["package"]["ipv6"]
    switching = {"switch_port", "ports_off", "ports_on"} & set(but)
    return _amiss(
        named="domain" in but or all(same_name(row.domain, service["hostname"]) for row in server.addresses),
        addressed="address" in but or len(server.addresses) >= want,
        ports_as_they_should_be=bool(switching) or ports(server) == [not suspended] * 2,
        enabled=bool(switching) or not server.disabled,
        installed="install_os" in but or server.os == service["os"],
        on=bool({"power_on", "install_os"} & set(but)) or server.power is Power.ON,
        nothing_under_way=bool(but) or (not server.installing and not server.pending),
        noted=TOKEN in server.notes,
    )


SERVICES = """
SELECT s.id, s.external_ref, s.state, s.desired, s.hostname, s.os, s.package, c.server_ref, c.state AS claim,
       coalesce((SELECT jsonb_agg(DISTINCT st.name) FROM job j JOIN attempt a ON a.job_id = j.id
                   JOIN step st ON st.attempt_id = a.id
                  WHERE j.service_id = s.id AND (st.state = 'skipped' OR j.state = 'cancelled')
                    AND (j.kind <> 'open' OR st.state = 'skipped')), '[]') AS passed
  FROM service s LEFT JOIN claim c ON c.id = s.claim_id ORDER BY s.id"""

CLAIMS = """
SELECT server_ref, state FROM claim WHERE state <> 'ended'"""


def half_way(site: Site) -> list[str]:
    """
    Judge a world at rest against the books; returns what is amiss, a line each.

    A service has one server, whole, or none. A server is free, in quarantine, or one customer's. An address is in the
    pool or on a customer's server.
    """
    world = site.world
    services = site.database.rows(SERVICES)
    claims = {row["server_ref"]: row["state"] for row in site.database.rows(CLAIMS)}
    theirs = {row["server_ref"]: row for row in services if row["state"] in ("active", "suspended")}
    lines = [
        f"service {row['external_ref']} is {row['state']} and has server {row['server_ref']}"
        for row in services
        if (row["server_ref"] is not None) is not (row["state"] in ("active", "suspended"))
    ]
    lines += [f"service {row['external_ref']} is {row['state']}" for row in services if row["state"] not in AT_REST]
    for ref, server in world.servers.items():
        lines += [f"server {ref}: {what}" for what in _server(world, server, theirs.get(ref), claims.get(ref))]
    return lines


AT_REST = ("active", "suspended", "closed", "failed")


def _server(world: FakeDatacentre, server: FakeServer, service: Any, claim: str | None) -> list[str]:  # noqa: ANN401 - a row
    owner = next((user.login for user in world.users if user.ref == server.owner), None)
    if service is not None:
        lacks = [f"{service['external_ref']} ({service['state']}) has it, not: {what}" for what in
                 sold(server, service, but=service["passed"])]  # fmt: skip
        if server.owner in (None, world.administrator.ref):
            lacks.append(f"{service['external_ref']} has it by the books, and its owner is {owner}")
        return lacks + ([] if claim == "handed" else [f"its claim is {claim}"])
    lacks = [f"owner {owner}, not: {what}" for what in unsold(world, server)]
    if server.owner not in (None, world.administrator.ref):
        lacks.append(f"it is nobody's by the books, and its owner is {owner}")
    wanted = "quarantined" if server.owner else None
    return lacks + ([] if claim == wanted else [f"owner {owner}, and its claim is {claim}"])


def history(site: Site, *, reinstalls: bool = False) -> list[str]:
    """Judge every act that took effect, in order: nobody's server is handed over twice, nor a customer's installed."""
    lines: list[str] = []
    owners: dict[str, Any] = {}
    admin = site.world.administrator.ref
    for call in site.world.calls(mutating=True):
        if not call.took_effect:
            continue
        before = owners.get(call.server)
        if call.method == "edit_server":
            after = call.args["owner"]
            if after not in (None, admin, before) and before != admin:
                lines.append(f"server {call.server} went from user {before} to user {after}")
            owners[call.server] = after
        elif call.method == "install" and before != admin and not (reinstalls and before):
            lines.append(f"server {call.server} was installed while its owner was user {before}")
        elif call.server and before is None:
            lines.append(f"server {call.server}: {call.method} while it was nobody's")
    return lines


def customers_with_two(site: Site) -> Sequence[str]:
    """Customers who own more servers than they have services."""
    owners = [server.owner for server in site.world.servers.values() if server.owner]
    admin = site.world.administrator.ref
    return sorted({owner for owner in owners if owner != admin and owners.count(owner) > 1})
