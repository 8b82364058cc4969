"""
What each fault of the outside world ends in, for each call that changes something; written before it was run.

Read a row as "when the panel does FAULT to ACT, then END; the act reached the panel so often, and took effect so
often". Rests on `engine.md` §3 and §7 (what must happen) and `dcimanager5.md` (what a panel may do). An order has a
first server and a spare one. Nothing here is taken from what the code does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

# --- what we do to the panel --------------------------------------------------------------------------------------

#: forward, in the order of an `open`
FORWARD: Mapping[str, str] = {
    "account": "user.edit: the customer's user is created",
    "claim": "server.edit: owner := our administrator, our token into the notes",
    "domain": "iplist.edit: the main address gets the order's host name",
    "address": "iplist.edit: one more address is taken",
    "enable": "server.enable: the server was disabled",
    "port_on": "server.connection.on: the switch port of a server that was not disabled",
    "power": "server.poweron",
    "install": "server.operations: wipes the disks",
    "hand_over": "server.edit: owner := the customer",
}
#: back; an install that the panel refuses (`value/ostemplate`, the order is wrong) leads there
UNDO: Mapping[str, str] = {
    "port_off": "server.connection.off",
    "address_delete": "iplist.delete: the address that was taken",
    "domain_free": "iplist.edit: the main address is free.ds again",
    "release": "server.edit: owner := none, our token leaves; the last act",
}
#: back; billing cancels while the install runs
CANCEL: Mapping[str, str] = {"cancel": "server.opercancel: the install under way"}
#: out of sale; an install that the panel refuses (`quota/disk`, blamed on the machine) leads there
KEEP: Mapping[str, str] = {
    "note": "server.edit: the reason into the notes, our administrator stays",
    "disable": "server.disable",
}
ACTS: Mapping[str, str] = {**FORWARD, **CANCEL, **UNDO, **KEEP}

# --- what the panel does to us ------------------------------------------------------------------------------------

FAULTS: Mapping[str, str] = {
    "value": "refused: value, in the field that this act is about",
    "exists": "refused: exists",
    "missed": "refused: missed, the object is not found",
    "other": "refused: a type that nobody knows (quota)",
    "internal": "refused: xml/xpath, report=yes",
    "badpassword": "refused: auth/badpassword, once",
    "access": "refused: access, also after a login",
    "extraconfirm": "refused: extraconfirm, once",
    "lost_before": "the connection breaks, nothing happened",
    "lost_after": "the connection breaks, it happened",
    "slow": "answers after our limit; it happened",
    "drip": "answers byte by byte, beyond our limit; it happened",
    "late": "answers at once, the effect appears 60 s (scaled) later",
    "silent": "answers ok, and nothing ever happens",
    "html": "a page instead of a document; nothing happened",
    "truncated_xml": "half a document; it happened",
    "empty": "an empty body; it happened",
    "http500": "HTTP 500; nothing happened",
    "http502": "HTTP 502; it happened",
    "login_page": "a login page; nothing happened",
    "expired_session": "auth/session; nothing happened",
    "stale": "a flag of an earlier operation is up: the worst that there is for this act (`STALE`)",
    "busy": "locked by another operation, once",
    "foreign": "somebody else takes the server between our look and our act",
    "restart": "it happened; the panel is away for longer than the step's deadline, its sessions are gone",
    "cut_rows": "the list in which the act must show lacks rows, more than once",
    "cut_field": "a field is missing from every row of that list, more than once",
}
#: the flag that is up, and since when
STALE: Mapping[str, str] = {
    "power": "powererror, before the order",
    "install": "operation_failed, before the order",
    "enable": "a link in progress, since the claim",
    "port_on": "a link in progress, since the claim",
    "port_off": "a link in progress, since the install was refused",
    "disable": "a link in progress, since the install was refused",
}  # all others: operation_failed and powererror, before the order

# --- how it may end -----------------------------------------------------------------------------------------------

#: of a server, as the panel's books show it: owner, domain, disabled, our token and a reason in the notes, addresses
SERVERS: Mapping[str, Mapping[str, Any]] = {
    "customer's": {"owner": "customer", "domain": "host", "disabled": False, "token": True, "addresses": 2},
    "free": {"owner": None, "domain": "free.ds", "token": False, "addresses": 1},
    "quarantined": {
        "owner": "admin", "domain": "free.ds", "disabled": True, "token": True, "reason": True, "addresses": 1,
    },
    "reserved": {"owner": "admin", "domain": "host", "disabled": False, "token": True, "addresses": 2},
    "rival's": {"owner": "rival"},
}  # fmt: skip


@dataclass(frozen=True)
class End:
    """How one cell ends."""

    order: str  #: active, failed, cancelled, held
    first: str  #: the first server: a word of `SERVERS`
    on: str = ""  #: where the customer's server is: first, next, or "" for nowhere
    but: Mapping[str, Any] = field(default_factory=dict)  #: what differs from that word
    users: int = 1  #: users of that name, ours and others'
    hears: frozenset[str] = frozenset()  #: events that a person must hear of
    sentence: str = ""  #: what that person, or billing, reads (a regular expression)

    def hearing(self, *kinds: str) -> End:
        return replace(self, hears=self.hears | set(kinds))

    def with_(self, **changes: Any) -> End:
        return replace(self, **changes)


HANDED_OVER = End("active", "customer's", on="first")
NEXT = End("active", "quarantined", on="next")  #: the first is out of sale, its reason in the notes
PASSED_OVER = End("active", "free", on="next")  #: the first was never ours
LOST = End("active", "rival's", on="next")  #: nothing more is touched
WRONG_ORDER = End("failed", "free", sentence="refused: value|ostemplate")  #: billing reads why; no further candidate
CANCELLED = End("cancelled", "free")
HELD = End("held", "reserved", hears=frozenset({"held"}))  #: hand-over had begun: nothing is undone
#: the place is to blame: one message, the order waits, goes as canary, and lifts the restriction
AFTER_THE_SITE = HANDED_OVER.hearing("connection_restricted")

#: when nothing goes wrong
ORDINARY: Mapping[str, End] = {
    **dict.fromkeys(FORWARD, HANDED_OVER),
    **dict.fromkeys(UNDO, WRONG_ORDER),
    **dict.fromkeys(CANCEL, CANCELLED),
    **dict.fromkeys(KEEP, NEXT),
}


def _incomplete(act: str, **but: Any) -> End:
    """The undo of *act* failed: the rest is undone, the claim kept out of sale, a job on it goes on."""
    end = replace(ORDINARY[act], first="quarantined", but=but)
    return end.hearing("release_incomplete")


@dataclass(frozen=True)
class Row:
    """Cells that are alike; without an end: that act's ordinary one."""

    faults: str  #: separated by blanks
    acts: str
    sent: int | tuple[int, int]  #: how often the act reached the panel (of the first server)
    took: int | tuple[int, int]  #: how often it took effect
    end: End | None = None
    why: str = ""


ALL = " ".join(ACTS)
BUT_PORTS = " ".join(act for act in ACTS if not act.startswith("port_"))
PORTS = "port_on port_off"

ROWS: tuple[Row, ...] = (
    # --- refused ---------------------------------------------------------------------------------------------------
    Row("value", "account", 1, 0, WRONG_ORDER.with_(users=0), "a password that is too weak: the order's"),
    Row("value exists missed other", "claim", 1, 0, PASSED_OVER, "a claim that fails: the candidate is passed over"),
    Row("value", "domain address", 1, 0, WRONG_ORDER, "the host name is refused: the order's"),
    Row("value", "enable port_on power", 1, 0, NEXT, "no field of it is the order's: this machine's"),
    Row("value", "install", 1, 0, WRONG_ORDER, "the template is not for it: the order's"),
    Row("exists", "account", 2, 1, HANDED_OVER, "somebody was faster: look again, take the next login that is free"),
    Row("exists", "domain", 1, 0, WRONG_ORDER.with_(sentence="refused: exists"), "the host name is taken"),
    Row("exists", "address", 2, 1, AFTER_THE_SITE, "the pool gave an address that is in use"),
    Row("exists", "enable port_on power install", 1, 0, NEXT, "nothing is named here: this machine's"),
    Row("missed other", "account", 2, 1, AFTER_THE_SITE, "no server is to blame yet: the place is"),
    Row("missed other", "domain enable port_on power install", 1, 0, NEXT),
    Row("missed other", "address", 1, 0, NEXT, "no word of the pool: this machine's"),
    Row("value exists missed other", "hand_over", 1, 0, HELD.with_(sentence="refused"), "it had begun"),
    Row("value exists missed other", "cancel", 2, 1, _incomplete("cancel"), "goes on as a job on the claim"),
    Row("value exists other", "address_delete", 2, 1, _incomplete("address_delete")),
    Row("missed", "address_delete", 2, 1, None, "an address that is gone counts; it is not, so again"),
    Row("value exists missed other", "domain_free", 2, 1, _incomplete("domain_free")),
    Row(
        "value exists missed other", "port_off", 1, 0, _incomplete("port_off"),
        "the rest of the undo disables the server, and a disabled one is not opened to close its ports",
    ),
    Row(
        "value exists missed other", "release", 2, 1, WRONG_ORDER.hearing("release_incomplete"),
        "the job on the claim releases it",
    ),
    Row("value exists missed other", "note disable", 2, 1, NEXT.hearing("release_incomplete")),
    Row("internal", BUT_PORTS, 2, 1, None, "passing: unsure, and again after the settle time"),
    Row("internal", PORTS, 2, 1, None, "a port is asked again: harmless"),
    Row("badpassword extraconfirm", ALL, 2, 1, None, "a place that is away: paused, probed, resumed"),
    Row("access", ALL, (2, 4), 1, None, "the same, after one login that did not help"),
    # --- lost, slow, late, silent ----------------------------------------------------------------------------------
    Row("lost_before", ALL, 2, 1, None, "unsure until the settle time has shown nothing; then again"),
    Row("lost_after slow drip", BUT_PORTS, 1, 1, None, "unsure; the look proves it"),
    Row("lost_after slow drip", PORTS, 2, 2, None, "the panel shows no on/off of a port: asked again"),
    Row("late", ALL, 1, 1, None, "the settle time outlasts the slowest visible effect: never a second act"),
    Row("silent", "account", 4, 1, AFTER_THE_SITE, "three tries; the place is to blame; the canary gets through"),
    Row("silent", "claim", 3, 0, PASSED_OVER),
    Row("silent", "domain enable power install", 3, 0, NEXT, "three tries, then this machine's"),
    Row("silent", "address", 4, 1, AFTER_THE_SITE),
    Row("silent", "port_on", 1, 0, NEXT, "asked and settled is all that can be seen; the install can't boot"),
    Row("silent", "hand_over", 3, 0, HELD.with_(sentence="no effect after 3 tries")),
    Row("silent", "cancel", (3, 99), 0, _incomplete("cancel"), "the install runs on; a job goes on cancelling it"),
    Row("silent", "port_off", 1, 0, None, "a port that stays on can't be seen on this panel"),
    Row("silent", "address_delete", (3, 99), 0, _incomplete("address_delete", addresses=2)),
    Row("silent", "domain_free", (3, 99), 0, _incomplete("domain_free", domain="host")),
    Row("silent", "release", (3, 99), 0, _incomplete("release", disabled=False, reason=False)),
    Row("silent", "note", (3, 99), 0, _incomplete("note", disabled=False, reason=False)),
    Row("silent", "disable", (3, 99), 0, _incomplete("disable", disabled=False)),
    # --- garbage ---------------------------------------------------------------------------------------------------
    Row("html http500 login_page", ALL, 2, 1, None, "as lost before"),
    Row("truncated_xml empty http502", BUT_PORTS, 1, 1, None, "as lost after"),
    Row("truncated_xml empty http502", PORTS, 2, 2, None, "as lost after"),
    Row("expired_session", ALL, 2, 1, None, "one login, and again in the same touch"),
    # --- flags, locks, other people ---------------------------------------------------------------------------------
    Row("stale", "account claim domain address power install hand_over", 1, 1, None, "an old flag is not ours"),
    Row("stale", "enable port_on", 0, 0, NEXT, "a link that never settles: the deadline, then this machine's"),
    Row("stale", "cancel address_delete domain_free release note", 1, 1, None),
    Row("stale", "port_off", 0, 0, _incomplete("port_off"), "the deadline; the rest is undone"),
    Row("stale", "disable", 1, 1, _incomplete("disable"), "closing its ports never ends; to disable it settles them"),
    Row("busy", ALL, 2, 1, None, "surely not done: the try is given back"),
    Row("foreign", "account", 2, 1, HANDED_OVER.with_(users=2), "the name is taken: ours gets the next"),
    Row("foreign", "claim hand_over", 1, 1, None, "the panel has no compare-and-set: the other's edit is written over"),
    Row("foreign", "domain address enable port_on power", 1, 1, LOST, "seen at the next look"),
    Row("foreign", "install", 1, 1, LOST, "it wipes the other's disks: only a lock in the panel could prevent it"),
    Row("foreign", "cancel", 1, 1, CANCELLED.with_(first="rival's")),
    Row("foreign", "port_off address_delete domain_free", 1, 1, WRONG_ORDER.with_(first="rival's")),
    Row("foreign", "release note", 1, 1, None, "no compare-and-set: written over"),
    Row("foreign", "disable", 1, 1, LOST),
    # --- the panel as a whole ---------------------------------------------------------------------------------------
    Row("restart", "install", 1, 1, NEXT, "over before the panel was back, no witness: the deadline, then out of sale"),
    Row("restart", " ".join(act for act in ACTS if act not in ("install", *PORTS.split())), 1, 1, None, "no undo"),
    Row("restart", PORTS, 2, 2, None, "asked again"),
    Row("cut_rows cut_field", ALL, 1, 1, None, "a list that is not whole says nothing; looked at again"),
)  # fmt: skip

#: beyond the product of acts and faults
MORE: tuple[Row, ...] = (
    Row("stale_install", "install", 0, 0, NEXT, "install_in_progress is up since the claim: not ours, never adopted"),
    Row("stale_install", "power", (1, 99), 0, NEXT, "the same, and the panel refuses power meanwhile, to the deadline"),
    Row("restart_long", "install", 1, 1, None, "it still runs when the panel is back: seen through"),
)

AWAY = ("badpassword", "access", "extraconfirm", "restart", "restart_long")  #: the place is paused, and a person hears


@dataclass(frozen=True)
class Cell:
    """One act and one fault."""

    act: str
    fault: str
    end: End
    sent: tuple[int, int]
    took: tuple[int, int]
    why: str

    @property
    def name(self) -> str:
        return f"{self.act}-{self.fault}"


def cells() -> Iterator[Cell]:
    """Give every cell, once for each row that has it."""
    for row in (*ROWS, *MORE):
        for fault in row.faults.split():
            for act in row.acts.split():
                end = row.end or ORDINARY[act]
                if fault in AWAY:
                    end = end.hearing("connection_paused")
                yield Cell(act, fault, end, _range(row.sent), _range(row.took), row.why)


def _range(count: int | tuple[int, int]) -> tuple[int, int]:
    return count if isinstance(count, tuple) else (count, count)


CELLS: Mapping[str, Cell] = {cell.name: cell for cell in cells()}
