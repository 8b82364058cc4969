"""What the demo promised, checked against the simulator's own truth, never against our database. Reads only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from provisioner.demo.scenario import Order

Server = Mapping[str, Any]

FREE = "free.ds"

#: What the engine writes before the reason of a quarantine.
QUARANTINED = "quarantined: "


@dataclass(frozen=True)
class Promise:
    """One thing that had to come true."""

    text: str
    held: bool
    seen: str = ""  #: what the data centre shows instead


@dataclass(frozen=True)
class Truth:
    """What the control side says of the data centre."""

    world: Mapping[str, Any]
    violations: Sequence[Mapping[str, Any]]  #: rules of a well-run data centre that are broken
    journal: Sequence[Mapping[str, Any]]  #: every call that reached the panel
    admin: str  #: the user that the engine acts as


def check(truth: Truth, wanted: Sequence[Order], untouched: Sequence[Server]) -> list[Promise]:
    """Return every promise and whether it held; *untouched* are servers as they were before the orders."""
    servers: list[Server] = list(truth.world["servers"])
    through, failing, waiting = wanted
    return [
        *_handed(servers, through),
        *_handed(servers, failing),
        *_quarantined(servers, failing, truth.admin),
        *_waits(truth, waiting, untouched),
        _nothing_sold_twice(servers, (through, failing)),
        _counts(servers, (through, failing)),
        Promise("no rule of a well-run data centre is broken", not truth.violations, _list(truth.violations)),
    ]


def _handed(servers: Sequence[Server], order: Order) -> Iterator[Promise]:
    """Look for the customer's server and at all that was sold with it."""
    owned = [server for server in servers if server["owner"] == order.login]
    who = f"{order.ref}:"
    yield Promise(f"{who} {order.login} owns one server", len(owned) == 1, _list(server["id"] for server in owned))
    if len(owned) != 1:
        return
    server = owned[0]
    public = [row for row in server["addresses"] if row["family"] == "ipv4" and row["type"] != "group"]
    strange = [row["ip"] for row in public if row["domain"] != order.hostname]
    ports = [link["on"] for link in server["links"] if link["type"] == "Switch" and not link["bmc"]]
    notes = server["notes"]
    for text, held, seen in (
        (f"it is a {order.server_type}", server["type"] == order.server_type, server["type"]),
        (f"its domain is {order.hostname}", server["domain"] == order.hostname, server["domain"]),
        ("our note is in it, and no quarantine", bool(notes.strip()) and QUARANTINED not in notes, notes),
        ("it is enabled, its ports are on", not server["disabled"] and all(ports), _state(server)),
        (f"it has {order.ipv4} IPv4", len(public) == order.ipv4, _list(row["ip"] for row in public)),
        ("each address has the domain", not strange, _list(strange)),
        (f"{order.os} was installed once", (server["template"], server["installs"]) == (order.os, 1), _state(server)),
        ("it is on, and its SSH answers", server["power"] == "on" and bool(server["host"]["answers"]), _state(server)),
    ):  # fmt: skip
        yield Promise(f"{who} {text}", held, seen)


def _quarantined(servers: Sequence[Server], order: Order, admin: str) -> Iterator[Promise]:
    who = f"{order.ref}:"
    ill = [server for server in servers if QUARANTINED in server["notes"]]
    yield Promise(f"{who} one server is in quarantine", len(ill) == 1, _list(server["id"] for server in ill))
    if len(ill) != 1:
        return
    server = ill[0]
    extra = [row["ip"] for row in server["addresses"] if not row["main"]]
    reason = next(line for line in server["notes"].splitlines() if QUARANTINED in line).partition(QUARANTINED)[2]
    for text, held, seen in (
        (f"it is a {order.server_type}", server["type"] == order.server_type, server["type"]),
        (f"it stays {admin}'s, so that nobody can sell it", server["owner"] == admin, str(server["owner"])),
        (f"its domain is {FREE}", server["domain"] == FREE, server["domain"]),
        (f"its notes say why: {reason}", bool(reason.strip()), server["notes"]),
        ("it is disabled", bool(server["disabled"]), _state(server)),
        ("it kept no address", not extra, _list(extra)),
        ("one install was tried on it", server["installs"] == 1, str(server["installs"])),
    ):
        yield Promise(f"{who} {text}", held, seen)


def _waits(truth: Truth, order: Order, untouched: Sequence[Server]) -> Iterator[Promise]:
    now = {server["id"]: server for server in truth.world["servers"]}
    changed = [server["id"] for server in untouched if now.get(server["id"]) != server]
    ids = {server["id"] for server in untouched}
    acts = [call["func"] for call in truth.journal if call.get("mutating") and str(call.get("server") or "") in ids]
    users = [user["name"] for user in truth.world["users"]]
    who = f"{order.ref}:"
    yield Promise(f"{who} waits, and its {len(untouched)} servers are as they were", not changed, _list(changed))
    yield Promise(f"{who} no act was sent to any of them", not acts, _list(acts))
    yield Promise(f"{who} no user {order.login} was made", order.login not in users, _list(users))


def _nothing_sold_twice(servers: Sequence[Server], sold: Sequence[Order]) -> Promise:
    owners = [server["owner"] for server in servers]
    twice = [order.login for order in sold if owners.count(order.login) > 1]
    tokens = [line for server in servers for line in _tokens(server)]
    twice += sorted({token for token in tokens if tokens.count(token) > 1})
    return Promise("nothing was sold twice: one server an order, one order a server", not twice, _list(twice))


def _counts(servers: Sequence[Server], sold: Sequence[Order]) -> Promise:
    installs = sum(server["installs"] for server in servers)
    wanted = len(sold) + 1
    return Promise(f"{wanted} installs in all: two handed over, one failed", installs == wanted, str(installs))


def _tokens(server: Server) -> list[str]:
    """Return the engine's lines in a server's notes: those that bind it to a claim."""
    return [line for line in server["notes"].splitlines() if line.startswith("provisioner ")]


def _state(server: Server) -> str:
    links = [f"{link['type']} {'on' if link['on'] else 'off'}" for link in server["links"]]
    answers = "answers" if server["host"]["answers"] else "silent"
    mark = "disabled" if server["disabled"] else "enabled"
    template = server["template"] or "nothing installed"
    return f"{mark}, {server['power']}, {answers}, {template} ({server['installs']} installs), {', '.join(links)}"


def _list(things: object) -> str:
    found = [str(thing) for thing in things] if hasattr(things, "__iter__") else []
    return ", ".join(found) or "none"
