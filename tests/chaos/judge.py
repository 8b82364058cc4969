"""What must be 0 at the end, by the data centres' own books; each case with its trail."""

from __future__ import annotations

import os
import subprocess
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from provisioner.simulators.chance import digest
from tests.chaos.technician import Technician
from tests.chaos.town import RIVAL, Place, Town

Json = Any
STUCK, TWICE, OVER, AGAIN, SERVERS, ADDRESSES, ACCOUNTS, LEFT, SECRETS, UNTRUE = (
    "stuck", "sold twice", "installed over a customer", "installed twice", "leaked servers", "leaked addresses",
    "surplus accounts", "free with an old customer's things", "secrets seen",
    "told and not so",
)  # fmt: skip
RULES = (STUCK, TWICE, OVER, AGAIN, SERVERS, ADDRESSES, ACCOUNTS, LEFT, SECRETS, UNTRUE)
LIVE = ("active", "suspended", "closing")
FREE = "free.ds"
NOBODY = "no_owner"  #: the panel's word
TOKEN = "provisioner [0-9a-f]{8} claim [0-9]+"  #: our note in the panel
PACKAGE_ADDRESSES = 2
#: faults after which a port is not what the panel said that it is: no read can tell
UNSEEN = ("silent", "link_stuck")
PORTS = ("server.connection.on", "server.connection.off", "server.enable", "server.disable")
ADMIN_LEVEL = 16  #: users above it are the panel's own


@dataclass
class Verdict:
    """Cases by rule; empty when all is well. And what the panels wrote down of the run."""

    cases: dict[str, list[str]] = field(default_factory=lambda: {rule: [] for rule in RULES})
    calls: int = 0
    faults: Counter[str] = field(default_factory=Counter)  #: calls that went wrong, by fault

    def add(self, rule: str, text: str) -> None:
        self.cases[rule].append(text)

    @property
    def clean(self) -> bool:
        return not any(self.cases.values())


def judge(
    town: Town,
    services: Mapping[str, Json],
    secrets: Iterable[str],
    retries: Mapping[str, int] | None = None,
    technician: Technician | None = None,
) -> Verdict:
    """Compare what billing was told with what the data centres hold; *retries*: a person's, by host name."""
    verdict = Verdict()
    wished = _wished(services, retries or {})
    if technician is not None:
        _machines(services, technician, verdict)
    for place in town.places:
        world = place.control.world()
        robbed = _robbed(world)
        _servers(town, place, world, services, verdict)
        _accounts(town, place, world, services, verdict)
        for broken in place.control.invariants(token_pattern=TOKEN):
            if broken["server"] not in robbed:
                where = f"{place.name} server {broken['server']}"
                verdict.add(_rule(str(broken["rule"])), f"{where}: {broken['rule']}: {broken['detail']}")
        journal = place.control.journal()
        verdict.calls += len(journal)
        verdict.faults.update(call["fault"] for call in journal if call["fault"])
        calls = _effects(journal)
        _installs(place, world, calls, wished, verdict)
        spared = _robbed(world) | {str(call["server"]) for call in journal if call["fault"] in UNSEEN}
        servers = {server["id"]: server for server in world["servers"] if server["id"] not in spared}
        mine = [one for one in services.values() if one["server"] and one["server"]["connection"] == place.name]
        for text in (*_passwords(mine, calls.get("", ())), *_wishes(mine, servers, calls, retries or {})):
            verdict.add(UNTRUE, f"{place.name} {text}")
        if technician is not None:
            _spared(place, calls, technician, verdict)
    for text in _seen(town, list(secrets)):
        verdict.add(SECRETS, text)
    return verdict


def _rule(name: str) -> str:
    if name in ("free_server_keeps_addresses", "nobody_owns_a_named_server"):
        return LEFT
    return SERVERS if name == "unfinished_quarantine" else TWICE


def _robbed(world: Json) -> set[str]:
    """Give servers that somebody else took while they were another's: what is left there is not our doing."""
    rival = {user["id"] for user in world["users"] if user["name"] == RIVAL}
    found = set()
    for server in world["servers"]:
        line = [*server["owners_before"], server["owner_id"]]
        if any(after in rival and before not in (None, *rival) for before, after in pairwise(line)):
            found.add(server["id"])
    return found


def _servers(town: Town, place: Place, world: Json, services: Mapping[str, Json], verdict: Verdict) -> None:
    """Hold who owns what against what billing was told that it has."""
    mine = [one for one in services.values() if one["server"] and one["server"]["connection"] == place.name]
    told: dict[str, list[Json]] = defaultdict(list)
    for one in mine:
        if one["state"] in LIVE:
            told[one["server"]["server"]].append(one)
    known = {row["server"]: row for row in town.api.get(f"/v1/servers?connection={place.name}")}
    robbed = _robbed(world)
    for number in told.keys() - {server["id"] for server in world["servers"]}:
        verdict.add(TWICE, f"{place.name} server {number}: billing was told of a server that is not there")
    for server in world["servers"]:
        number, owner = server["id"], server["owner"]
        state = known.get(number, {}).get("state", "")
        where = f"{place.name} server {number} of {owner or 'nobody'}"
        if owner == place.admin and state not in ("held", "quarantined", "releasing") and not told[number]:
            verdict.add(SERVERS, f"{where}: ours in the panel, {state or 'unknown'} to us; {server['notes']!r}")
        if owner and owner not in (place.admin, RIVAL) and not told[number]:
            verdict.add(SERVERS, f"{where}: no live service has it; {state}")
        if len(told[number]) > 1:
            verdict.add(TWICE, f"{where}: told to {', '.join(one['external_ref'] for one in told[number])}")
        if server["free"] and number not in robbed:
            _left_behind(where, server, verdict)
        for service in told[number]:
            if service["state"] != "closing" and owner != RIVAL:
                _one(where, server, service, verdict)


def _left_behind(where: str, server: Json, verdict: Verdict) -> None:
    """Look for what of an old customer is still on a free server, beyond what the panel's own rules say."""
    named = [row["ip"] for row in server["addresses"] if row["type"] != "group" and row["domain"] != FREE]
    if named:
        verdict.add(LEFT, f"{where}: {', '.join(named)} not marked {FREE}")
    if "provisioner" in server["notes"]:
        verdict.add(LEFT, f"{where}: our note is still there: {server['notes']!r}")


def _one(where: str, server: Json, service: Json, verdict: Verdict) -> None:
    """Hold one customer's server against what he was told."""
    ref = service["external_ref"]
    if server["owner"] != service["login"]:
        verdict.add(TWICE, f"{where}: service {ref} was told that it has it")
    rows = sorted(row["ip"] for row in server["addresses"] if row["type"] != "group")
    if rows != sorted(row["ip"] for row in service["addresses"]):
        verdict.add(ADDRESSES, f"{where}: panel {rows}, {ref} was told {service['addresses']}")
    paid = PACKAGE_ADDRESSES + len(_done(service, "add_address")) - len(_done(service, "delete_address"))
    if service["kind"] == "dedicated" and len(rows) != paid:
        verdict.add(ADDRESSES, f"{where}: {len(rows)} addresses, and {ref} pays for {paid}")


def _accounts(town: Town, place: Place, world: Json, services: Mapping[str, Json], verdict: Verdict) -> None:
    """Look for users that are nobody's, and for customers with two."""
    logins: dict[str, set[str]] = defaultdict(set)
    for one in services.values():
        logins[one["login"]].add(one["customer_ref"])
    owned: dict[str, list[str]] = defaultdict(list)
    for user in world["users"]:
        name = user["name"]
        strange = f"{place.name} {name}" in town.strangers
        if user["level"] > ADMIN_LEVEL or name in (RIVAL, place.admin) or strange:
            continue
        if name not in logins:
            verdict.add(ACCOUNTS, f"{place.name} user {name}: is no customer's")
        for customer in logins[name]:
            owned[customer].append(name)
    for customer, names in owned.items():
        if len(names) > 1:
            verdict.add(ACCOUNTS, f"{place.name} user {', '.join(names)}: all of customer {customer}")


# --- installs, in the order in which they came true -------------------------------------------------------------------


def _wished(services: Mapping[str, Json], retries: Mapping[str, int]) -> dict[str, tuple[int, int]]:
    """Give by host name how many installs somebody wished: before hand-over, and on the customer's server."""
    found = {}
    for one in services.values():
        again = retries.get(one["hostname"], 0)
        reinstalls = sum(job["kind"] == "reinstall" for job in one["jobs"])
        found[one["hostname"]] = (1 + again, reinstalls + again)
    return found


def _effects(journal: Iterable[Json]) -> Mapping[str, Sequence[Json]]:
    """Give the calls that came true, by server ("" for those about none), in the order in which they did."""
    calls: dict[str, list[Json]] = defaultdict(list)
    for call in sorted((one for one in journal if one["effect"]), key=lambda one: one["effect_at"]):
        calls[str(call["server"] or "")].append(call)
    return calls


def _installs(
    place: Place,
    world: Json,
    calls: Mapping[str, Sequence[Json]],
    wished: Mapping[str, tuple[int, int]],
    verdict: Verdict,
) -> None:
    """Walk through all that came true on each server: who had it when its disks were wiped, and how often."""
    names = {user["id"]: user["name"] for user in world["users"]}
    for server, done in calls.items():
        where = f"{place.name} server {server}"
        for rule, text in _walk(done, place.admin, names, wished) if server else ():
            verdict.add(rule, f"{where}: {text}")


def _walk(
    done: Sequence[Json], admin: str, names: Mapping[str, str], wished: Mapping[str, tuple[int, int]]
) -> Iterator[tuple[str, str]]:
    owner, host = "", ""
    wiped: Counter[str] = Counter()  # by owner, since the server was taken
    for call in done:
        params, kind = call["params"], call["func"]
        if kind == "server.edit" and "owner" in params:
            before, owner = owner, names.get(params["owner"], "")
            if owner == admin and before not in (admin, ""):
                owner = before  # a close that stands in the middle: it is the customer's still
            elif owner in (admin, "") and before != owner:
                wiped.clear()
        elif kind == "iplist.edit" and params.get("domain") not in (None, "", FREE):
            host = params["domain"].lower().rstrip(".")
        elif kind == "server.operations" and params.get("operation") == "ostemplate":
            wiped[owner] += 1
            before_hand_over, after = wished.get(host, (1, 0))
            if owner == admin and wiped[owner] > before_hand_over:
                yield AGAIN, f"installed {wiped[owner]} times for {host}, the last time at call {call['n']}"
            if owner == "":
                yield OVER, f"installed at call {call['n']} while it was not ours"
            elif owner != admin and wiped[owner] > after:
                yield OVER, f"installed at call {call['n']} while it was {owner}'s"


# --- what was asked later, and said to be done ------------------------------------------------------------------------


def _done(service: Json, kind: str) -> list[Json]:
    return [job for job in service["jobs"] if job["kind"] == kind and job["state"] == "succeeded"]


def _wishes(
    services: Iterable[Json],
    servers: Mapping[str, Json],
    calls: Mapping[str, Sequence[Json]],
    retries: Mapping[str, int],
) -> Iterator[str]:
    """Hold each service's ports and disks against what billing was told is done."""
    for service in services:
        number = service["server"]["server"]
        if service["state"] in ("active", "suspended") and number in servers:
            done = _since_free(calls.get(number, ()))
            for text in _asked(service, servers[number], done, retries.get(service["hostname"], 0)):
                yield f"server {number}: {service['external_ref']} {text}"


def _since_free(calls: Sequence[Json]) -> Sequence[Json]:
    """Give what came true since the server was last nobody's: what is older was for earlier customers."""
    freed = [n for n, call in enumerate(calls, 1) if call["params"].get("owner") == NOBODY]
    return calls[max(freed, default=0) :]


def _passwords(services: Iterable[Json], calls: Iterable[Json]) -> Iterator[str]:
    """Hold each new password that was told to be set against the passwords that the panel was really given."""
    given = {value for call in calls for value in call["params"].values()}
    for service in services:
        ref = service["external_ref"]
        if _done(service, "change_password") and f"sha256:{digest(new_password(ref))[:16]}" not in given:
            yield f"{ref} was told of a new password, and the panel never took it"


def new_password(ref: str) -> str:
    """Give the password that the customer of an order changes to; planted, to be looked for."""
    return f"Planted-new-{ref.removeprefix('ord-')}"


def _asked(service: Json, server: Json, calls: Sequence[Json], again: int) -> Iterator[str]:
    """Say what of one server is not as it was told; *again*: how often a person had work begun again."""
    asked = [job["state"] for job in service["jobs"] if job["kind"] in ("suspend", "resume")]
    settled = all(state in ("succeeded", "superseded") for state in asked)
    on = {link["on"] for link in server["links"] if link["type"] == "Switch" and not link["bmc"]}
    if settled and on - {service["state"] == "active"}:
        yield f"is {service['state']}, its ports are {'on' if True in on else 'off'}"
    if settled and service["state"] == "active" and server["disabled"]:
        yield "is active, its server is disabled"
    wiped = sum(call["params"].get("operation") == "ostemplate" for call in calls)
    if wiped < len(_done(service, "reinstall")):
        yield f"was told of {len(_done(service, 'reinstall'))} reinstalls, {wiped} installs reached the disks"
    reboots = again + sum(job["kind"] == "power" for job in service["jobs"])
    if (sent := sum(call["func"] == "server.reboot" for call in calls)) > reboots:
        yield f"was rebooted {sent} times, and power was asked for {reboots} times at most"


def _machines(services: Mapping[str, Json], technician: Technician, verdict: Verdict) -> None:
    """Hold what was told of customers' own machines against what was mounted, and what was answered."""
    for text in technician.misheard:
        verdict.add(UNTRUE, text)
    for service in services.values():
        if service["kind"] != "colocation" or service["state"] not in ("active", "suspended"):
            continue
        ref, told = service["external_ref"], service["server"]
        place, machine = technician.machines.get(ref, (None, ""))
        if place is None or not told or (told["connection"], told["server"]) != (place.name, machine):
            verdict.add(TWICE, f"{ref} was told of {told}, and {machine or 'nothing'} was mounted")


def _spared(place: Place, calls: Mapping[str, Sequence[Json]], technician: Technician, verdict: Verdict) -> None:
    """Hold us to the one thing that we may do to a customer's own machine: switch its ports and enable it."""
    for ref, (where, machine) in technician.machines.items():
        for call in calls.get(machine, ()) if where is place else ():
            if call["mutating"] and call["func"] not in PORTS:
                verdict.add(OVER, f"{place.name} server {machine}: {call['func']} on {ref}'s own machine")


# --- secrets ----------------------------------------------------------------------------------------------------------


def _seen(town: Town, secrets: list[str]) -> Iterator[str]:
    """Look for secrets in every log, mail and event of the workers, and in every table, in plain text."""
    told = town.folder / "secrets"
    told.write_text("\n".join(secrets))
    for file in sorted((*Path(town.folder, "logs").glob("*.log"), *Path(town.folder, "mail").glob("*.eml"))):
        yield from (f"{file.name} holds {secret[:12]}…" for secret in held(told, file))
    dump = town.folder / "table"
    for row in town.database.rows("SELECT tablename FROM pg_tables WHERE schemaname = 'public'"):
        table = row["tablename"]
        rows = town.database.rows(f"SELECT t::text AS line FROM {table} t")  # noqa: S608 - our own tables
        dump.write_text("\n".join(one["line"] for one in rows))
        yield from (f"table {table} holds {secret[:12]}…" for secret in held(told, dump))


def held(secrets: Path, file: Path) -> list[str]:
    """Give which of the *secrets*, one a line, stand in *file*; a full run has 13,000 and 300 MB of events."""
    argv = ["grep", "--text", "--only-matching", "--fixed-strings", "--file", str(secrets), str(file)]
    said = subprocess.run(argv, capture_output=True, check=False, env={"PATH": os.defpath, "LC_ALL": "C"})
    if said.returncode > 1:
        raise RuntimeError(f"grep could not read {file.name}: {said.stderr.decode(errors='replace')}")
    return sorted(set(said.stdout.decode().splitlines()))


# --- trails -----------------------------------------------------------------------------------------------------------


def trail(town: Town, text: str) -> list[str]:
    """Give what a person reads first about a case: the panel's calls on that server, and our timeline."""
    words = text.replace(":", " ").split()
    if "server" not in words:
        return []
    number, name = words[words.index("server") + 1], words[0]
    place = next((one for one in town.places if one.name == name), None)
    if place is None:
        return []
    calls = [call for call in place.control.journal() if call["server"] == number and call["mutating"]]
    lines = [
        f"    {call['n']} {call['func']} {_short(call['params'])} {call['outcome']}"
        + (f", effect at {call['effect_at']:.1f}" if call["effect"] else ", no effect")
        + (f", fault {call['fault']}" if call["fault"] else "")
        for call in calls[-30:]
    ]
    events = town.database.rows(
        "SELECT e.at, e.kind, e.text FROM event e JOIN claim cl ON cl.service_id = e.service_id OR cl.id = e.claim_id "
        "JOIN connection c ON c.id = cl.connection_id WHERE c.name = %(name)s AND cl.server_ref = %(server)s "
        "ORDER BY e.id DESC LIMIT 60",
        name=name,
        server=number,
    )
    return [*lines, *(f"    {row['at']:%H:%M:%S} {row['kind']}: {row['text']}" for row in reversed(events))]


def timeline(town: Town, ref: str) -> list[str]:
    """Give our timeline of a service."""
    events = town.database.rows(
        "SELECT e.at, e.kind, e.text FROM event e JOIN service s ON s.id = e.service_id "
        "WHERE s.external_ref = %(ref)s ORDER BY e.id DESC LIMIT 60",
        ref=ref,
    )
    return [f"    {row['at']:%H:%M:%S} {row['kind']}: {row['text']}" for row in reversed(events)]


def _short(params: Mapping[str, str]) -> str:
    told = ("owner", "domain", "operation", "elid", "notes")
    return " ".join(f"{name}={value!r}" for name, value in params.items() if name in told)
