"""What must be 0 at the end, by the data centres' own books; each case with its trail."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from provisioner.domain.naming import panel_login
from tests.chaos.town import RIVAL, Place, Town

Json = Any
RULES = (
    "stuck", "sold twice", "installed over a customer", "installed twice", "leaked servers", "leaked addresses",
    "surplus accounts",
    "free with an old customer's things", "secrets seen",
)  # fmt: skip
LIVE = ("active", "suspended", "closing")


@dataclass
class Verdict:
    """Cases by rule; empty when all is well."""

    cases: dict[str, list[str]] = field(default_factory=lambda: {rule: [] for rule in RULES})

    def add(self, rule: str, text: str) -> None:
        self.cases[rule].append(text)

    @property
    def clean(self) -> bool:
        return not any(self.cases.values())


def judge(town: Town, services: Mapping[str, Json], secrets: list[str]) -> Verdict:
    """Compare what billing was told with what the data centres hold."""
    verdict = Verdict()
    for place in town.places:
        world = place.control.world()
        _servers(town, place, world, services, verdict)
        for broken in place.control.invariants(token_pattern="provisioner [0-9a-f]{8} claim [0-9]+"):
            rule = _rule(str(broken["rule"]))
            server = next(one for one in world["servers"] if one["id"] == broken["server"])
            if server["owner"] != RIVAL and RIVAL not in str(server["owners_before"]):
                verdict.add(rule, f"{place.name} server {broken['server']}: {broken['rule']}: {broken['detail']}")
        for case in _installed_over(place):
            verdict.add("installed over a customer", case)
        for case in _installed_twice(place):
            verdict.add("installed twice", case)
    for text in _seen(town, secrets):
        verdict.add("secrets seen", text)
    return verdict


def _rule(name: str) -> str:
    if name in ("free_server_keeps_addresses", "nobody_owns_a_named_server"):
        return "free with an old customer's things"
    return "leaked servers" if name == "unfinished_quarantine" else "sold twice"


def _servers(town: Town, place: Place, world: Json, services: Mapping[str, Json], verdict: Verdict) -> None:
    """Hold who owns what against what billing was told that it has."""
    mine = [one for one in services.values() if one["server"] and one["server"]["connection"] == place.name]
    told = {one["server"]["server"]: one for one in mine if one["state"] in LIVE}
    known = {row["server"]: row for row in town.api.get(f"/v1/servers?connection={place.name}")}
    logins = {panel_login(one["login"]) for one in services.values()}
    for server in world["servers"]:
        number, owner = server["id"], server["owner"]
        state = known.get(number, {}).get("state", "")
        where = f"{place.name} server {number} of {owner or 'nobody'}"
        if owner == place.admin and state not in ("held", "quarantined", "releasing"):
            verdict.add(
                "leaked servers", f"{where}: ours in the panel, {state or 'unknown'} to us; {server['notes']!r}"
            )
        if owner and owner not in (place.admin, RIVAL) and number not in told:
            verdict.add("leaked servers", f"{where}: no live service has it; {state}")
        service = told.get(number)
        if service and service["state"] != "closing" and owner not in (RIVAL, service["login"]):
            verdict.add("sold twice", f"{where}: service {service['external_ref']} was told that it has it")
        if service and service["state"] != "closing":
            rows = [row["ip"] for row in server["addresses"] if row["type"] != "group"]
            if sorted(rows) != sorted(row["ip"] for row in service["addresses"]):
                verdict.add("leaked addresses", f"{where}: panel {rows}, we {service['addresses']}")
    users = Counter(user["name"] for user in world["users"])
    for name in users - Counter([place.admin, RIVAL, "root", *logins]):
        if name not in logins and not any(user["name"] == name and user["level"] > 16 for user in world["users"]):
            verdict.add("surplus accounts", f"{place.name} user {name}")


def _installed_over(place: Place) -> Iterator[str]:
    """Find installs that reached a server between the edit that made it a customer's and the one that ended it."""
    sold: dict[str, str] = {}
    admins = {place.admin, "no_owner", ""}
    names = {user["id"]: user["name"] for user in place.control.world()["users"]}
    for call in place.control.journal():
        server = str(call["server"] or "")
        if not call["effect"] or not server:
            continue
        if call["func"] == "server.edit" and "owner" in call["params"]:
            owner = names.get(call["params"]["owner"], call["params"]["owner"])
            if owner in admins:
                sold.pop(server, None)
            else:
                sold[server] = owner
        elif call["func"] == "server.operations" and server in sold and sold[server] != RIVAL:
            yield f"{place.name} server {server}: installed at call {call['n']} while it was {sold[server]}'s"


def _installed_twice(place: Place) -> Iterator[str]:
    """Find a second install that took effect for one order: nothing was edited between the two."""
    first: dict[str, int] = {}
    for call in place.control.journal():
        server = str(call["server"] or "")
        if not call["effect"]:
            continue
        if call["func"] == "server.edit":
            first.pop(server, None)
        elif call["func"] == "server.operations" and call["params"].get("operation") == "ostemplate":
            if server in first:
                yield f"{place.name} server {server}: installed at call {call['n']} and before at {first[server]}"
            first[server] = call["n"]


def _seen(town: Town, secrets: list[str]) -> Iterator[str]:
    """Look for planted passwords in every log and in every table, in plain text."""
    for log in sorted(Path(town.folder, "logs").glob("*.log")):
        text = log.read_text(errors="replace")
        yield from (f"{log.name} holds {secret}" for secret in secrets if secret in text)
    tables = town.database.rows("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    for row in tables:
        found = town.database.value(
            f"SELECT count(*) FROM {row['tablename']} t WHERE t::text LIKE ANY (%(marks)s)",  # noqa: S608 - our own tables
            marks=[f"%{secret}%" for secret in secrets],
        )
        if found:
            yield f"table {row['tablename']} holds a planted password in {found} rows"


def trail(town: Town, text: str) -> list[str]:
    """Give what a person reads first about a case: the panel's calls on that server."""
    words = text.split()
    if "server" not in words:
        return []
    number, name = words[words.index("server") + 1].rstrip(":"), words[0]
    place = next((one for one in town.places if one.name == name), None)
    if place is None:
        return []
    calls = [call for call in place.control.journal() if call["server"] == number and call["mutating"]]
    lines = [f"    {call['n']} {call['func']} {_short(call['params'])} {call['outcome']}" for call in calls[-25:]]
    events = town.database.rows(
        "SELECT e.kind, e.text FROM event e JOIN claim cl ON cl.service_id = e.service_id OR cl.id = e.claim_id "
        "JOIN connection c ON c.id = cl.connection_id WHERE c.name = %(name)s AND cl.server_ref = %(server)s "
        "ORDER BY e.id DESC LIMIT 25",
        name=name,
        server=number,
    )
    return [*lines, *(f"    {row['kind']}: {row['text']}" for row in reversed(events))]


def _short(params: Mapping[str, str]) -> str:
    kept = {name: value for name, value in params.items() if name in ("owner", "domain", "operation", "elid", "notes")}
    return " ".join(f"{name}={value!r}" for name, value in kept.items())


def by_state(services: Mapping[str, Json]) -> dict[str, int]:
    """Count services by state."""
    counted: dict[str, int] = defaultdict(int)
    for one in services.values():
        counted[one["state"]] += 1
    return dict(counted)
