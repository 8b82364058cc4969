"""What came of one cell, by the panel's books and what people were told, against what the table says."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.faults.spoil import CALLS, RIVAL
from tests.faults.table import SERVERS, Cell

Json = Any
FREE = "free.ds"
TOKEN = re.compile("provisioner [0-9a-f]{8} claim [0-9]+")
UNTOUCHED: Mapping[str, object] = {"owner": None, "domain": FREE, "token": False, "addresses": 1}


@dataclass(frozen=True)
class Came:
    """One cell's end."""

    order: str  #: active, failed, cancelled, held, or a word for what is no end
    sentence: str
    heard: frozenset[str]  #: events of those that a person must hear of
    first: Json  #: the truth about the first server, and about the spare one
    spare: Json
    host: str
    admin: str  #: names of users
    login: str
    admin_id: str
    users: Sequence[str]
    calls: Sequence[Json]  #: the panel's journal

    def of(self, act: str) -> Sequence[Json]:
        """Give the calls by which *act* reached the panel."""
        func, _ = CALLS[act]
        return [call for call in self.calls if call["func"] == func and call["mutating"] and self._is(act, call)]

    def _is(self, act: str, call: Json) -> bool:
        params = call["params"]
        if act == "account":
            return str(params.get("name", "")).startswith(self.login)
        if call["server"] != self.first["id"]:
            return False
        owner, domain = params.get("owner"), params.get("domain")
        noted = "quarantined:" in params.get("notes", "")
        wanted = {
            "claim": owner == self.admin_id and not noted,
            "note": owner == self.admin_id and noted,
            "release": owner == "no_owner",
            "hand_over": owner not in (self.admin_id, "no_owner"),
            "domain": "elid" in params and domain != FREE,
            "domain_free": "elid" in params and domain == FREE,
            "address": "elid" not in params,
        }
        return bool(wanted.get(act, True))


def differences(cell: Cell, came: Came) -> list[str]:
    """Say what is not as the table has it; empty when all is."""
    return list(_differences(cell, came))


def _differences(cell: Cell, came: Came) -> Iterator[str]:
    end = cell.end
    yield from _same("order", end.order, came.order)
    yield from _server("first", {**SERVERS[end.first], **end.but}, came.first, came)
    spare = SERVERS["customer's"] if end.on == "next" else UNTOUCHED
    yield from _server("spare", spare, came.spare, came)
    named = [name for name in came.users if name.startswith(came.login)]
    yield from _same("users", end.users, len(named))
    yield from _same("hears", sorted(end.hears), sorted(came.heard))
    if end.sentence and not re.search(end.sentence, came.sentence):
        yield f"sentence: {end.sentence!r} expected, is {came.sentence!r}"
    sent = came.of(cell.act)
    yield from _within("sent", cell.sent, len(sent))
    yield from _within("took effect", cell.took, sum(call["effect"] for call in sent))


def _same(what: str, wanted: object, found: object) -> Iterator[str]:
    if wanted != found:
        yield f"{what}: {wanted!r} expected, is {found!r}"


def _within(what: str, wanted: tuple[int, int], found: int) -> Iterator[str]:
    if not wanted[0] <= found <= wanted[1]:
        yield f"{what}: {wanted[0]} to {wanted[1]} times expected, was {found} times"


def _server(which: str, wanted: Mapping[str, object], server: Json, came: Came) -> Iterator[str]:
    rows = [row for row in server["addresses"] if row["type"] != "group"]
    domains = {row["domain"] for row in rows}
    owner = server["owner"]
    words = {came.admin: "admin", RIVAL: RIVAL, None: None}
    customer = owner is not None and owner.startswith(came.login)
    found: Mapping[str, object] = {
        "owner": words.get(owner, "customer" if customer else owner),
        "domain": "host" if domains == {came.host} else " ".join(sorted(domains)),
        "disabled": server["disabled"],
        "token": bool(TOKEN.search(server["notes"])),
        "reason": "quarantined:" in server["notes"],
        "addresses": len(rows),
    }
    for fact, value in wanted.items():
        yield from _same(f"{which} {fact}", value, found[fact])
