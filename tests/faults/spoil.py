"""What each word of the table means to the simulated panel: the faults to order for a cell, and what stands before."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tests.faults.table import CANCEL, KEEP, UNDO, Cell

Json = dict[str, Any]

#: the call that an act is, and how many of that name the same server sees before it
CALLS: Mapping[str, tuple[str, int]] = {
    "account": ("user.edit", 0),
    "claim": ("server.edit", 0),
    "domain": ("iplist.edit", 0),
    "address": ("iplist.edit", 1),
    "enable": ("server.enable", 0),
    "port_on": ("server.connection.on", 0),
    "power": ("server.poweron", 0),
    "install": ("server.operations", 0),
    "hand_over": ("server.edit", 1),
    "cancel": ("server.opercancel", 0),
    "port_off": ("server.connection.off", 0),
    "address_delete": ("iplist.delete", 0),
    "domain_free": ("iplist.edit", 2),
    "release": ("server.edit", 1),
    "note": ("server.edit", 1),
    "disable": ("server.disable", 0),
}
#: the field that an act is about, as the panel's errors name it
FIELDS: Mapping[str, str] = {
    "account": "passwd", "claim": "owner", "domain": "domain", "address": "domain", "install": "ostemplate",
    "hand_over": "owner", "domain_free": "domain", "release": "owner", "note": "notes",
}  # fmt: skip
#: what is there already
TAKEN: Mapping[str, str] = {"account": "user", "domain": "domain", "address": "ip", "domain_free": "domain"}
#: the list in which an act must show, and a field without which a row of it says nothing
LISTS: Mapping[str, tuple[str, str]] = {
    "account": ("user", "name"),
    **dict.fromkeys(("power", "install", "cancel"), ("server", "hostname")),
    **dict.fromkeys(("enable", "port_on", "port_off", "disable"), ("server.connection", "type")),
}
ADDRESSES = ("iplist", "ip")  #: of all others
STALE_BEFORE: Mapping[str, Json] = {"power": {"powererror": True}, "install": {"operation_failed": True}}
BOTH: Json = {"operation_failed": True, "powererror": True}
#: acts before which a link hangs, and since which call
LINK_HANGS: Mapping[str, str] = {
    "enable": "server.edit", "port_on": "server.edit", "port_off": "server.operations", "disable": "server.operations",
}  # fmt: skip
LOST: Mapping[str, bool] = {
    "html": False, "truncated_xml": True, "empty": True, "http500": False, "http502": True, "login_page": False,
    "expired_session": False,
}  # fmt: skip
RIVAL = "rival"


def before(cell: Cell) -> Json:
    """Give the facts of the first server before the order."""
    stale = cell.fault == "stale" and cell.act not in LINK_HANGS
    return {"disabled": cell.act == "enable", **(STALE_BEFORE.get(cell.act, BOTH) if stale else {})}


def orders(cell: Cell, server: str, link: str, *, call: float, late: float, away: float) -> Iterator[Json]:
    """
    Give the faults of a cell, for the *link* of *server*.

    Seconds: *call* is our limit of a call, *late* what 60 s become, *away* longer than the step's deadline.
    """
    if cell.act in UNDO:
        yield {"kind": "refuse", "func": "server.operations", "server": server, "type": "value", "object": "ostemplate"}
    if cell.act in KEEP:
        yield {"kind": "refuse", "func": "server.operations", "server": server, "type": "quota", "object": "disk"}
    if cell.act in CANCEL:
        yield {"kind": "install_hangs", "server": server}
    func, after = CALLS[cell.act]
    where: Json = {"func": func, "after": after, **({"server": server} if cell.act != "account" else {})}
    yield from _of_flags(cell, server, link)
    if cell.fault.startswith("cut_"):
        listed, field = LISTS.get(cell.act, ADDRESSES)
        about = {"server": server} if listed not in ("user", "server") else {}
        cut = {"variant": "rows"} if cell.fault == "cut_rows" else {"variant": "field", "field": field}
        yield {"kind": "cut", "func": listed, "armed_by": where, "count": 2, **about, **cut}
    elif cell.fault == "foreign" and cell.act != "account":
        yield {"kind": "foreign", "set": {"owner": RIVAL}, **where}
    elif fault := _of_answers(cell, call=call, late=late, away=away):
        yield {**fault, **where}


def _of_flags(cell: Cell, server: str, link: str) -> Iterator[Json]:
    if cell.fault == "stale" and cell.act in LINK_HANGS:
        hangs = {"links": [{"id": link, "in_progress": True}]}
        yield {"kind": "foreign", "func": LINK_HANGS[cell.act], "server": server, "set": hangs}
    if cell.fault == "stale_install":
        yield {"kind": "foreign", "func": "server.edit", "server": server, "set": {"install_in_progress": True}}


def _of_answers(cell: Cell, *, call: float, late: float, away: float) -> Json | None:
    act, fault = cell.act, cell.fault
    if fault in LOST:
        return {"kind": "garbage", "variant": fault, "effect": LOST[fault]}
    refused = {
        "value": ("value", FIELDS.get(act, "elid")),
        "exists": ("exists", TAKEN.get(act, "elid")),
        "missed": ("missed", "plid" if act == "address" else "elid"),
        "other": ("quota", "disk"),
        "badpassword": ("auth", "badpassword"),
        "access": ("access", "elid"),
        "extraconfirm": ("extraconfirm", "user"),
    }
    if fault in refused:
        kind, about = refused[fault]
        return {"kind": "refuse", "type": kind, "object": about, "count": 2 if fault == "access" else 1}
    always = act not in ("account", "address")  # the place's fault is over after the tries of one order
    orders: Mapping[str, Json] = {
        "internal": {"kind": "refuse", "type": "xml", "object": "xpath", "report": True},
        "lost_before": {"kind": "lost_before"},
        "lost_after": {"kind": "lost_after"},
        "slow": {"kind": "slow", "delay": call * 1.5},
        "drip": {"kind": "drip", "interval": call / 20},
        "late": {"kind": "late", "delay": late},
        "silent": {"kind": "silent", "count": None if always else 3},
        "busy": {"kind": "busy"},
        "foreign": {"kind": "foreign_user"},
        "restart": {"kind": "panel_restart", "seconds": away},
        "restart_long": {"kind": "panel_restart", "seconds": away},
    }
    return dict(orders[fault]) if fault in orders else None
