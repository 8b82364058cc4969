"""Faults on order: what shall go wrong, for whom, how often; decides, and touches nothing itself."""

from collections import ChainMap
from collections.abc import Mapping, MutableMapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace

from provisioner.simulators.chance import draw

JsonObject = dict[str, object]


@dataclass(frozen=True, slots=True)
class KindOfFault:
    """What a kind of fault is: when it strikes, how often by default, what it can be told."""

    strikes: str  #: call: on the wire; act: inside the data centre; before: before a call; now
    count: int | None = 1  #: how often by default; None: always
    details: frozenset[str] = frozenset()


def _kind(strikes: str, *details: str, always: bool = False) -> KindOfFault:
    return KindOfFault(strikes, None if always else 1, frozenset(details))


FAMILIES = ("ipv4", "ipv6")
CUTS = ("rows", "field", "row")
GARBAGE = ("html", "truncated_xml", "short_body", "empty", "http500", "http502", "login_page", "expired_session")

KINDS: dict[str, KindOfFault] = {
    "refuse": _kind("call", "type", "object", "value", "report", "msg"),
    "busy": _kind("call", "type", "object"),
    "lost_before": _kind("call"),
    "lost_after": _kind("call"),
    "slow": _kind("call", "delay"),
    "drip": _kind("call", "interval"),
    "late": _kind("call", "delay"),
    "silent": _kind("call"),
    "garbage": _kind("call", "variant", "effect"),
    "hang": _kind("call", "effect"),
    "cut": _kind("call", "variant", "rows", "field", "row"),
    "panel_restart": _kind("call", "seconds", "mode", "effect"),
    "authinfo_forbidden": _kind("call", always=True),
    "install_fails_early": _kind("act", "template"),
    "install_fails_late": _kind("act", "template"),
    "install_hangs": _kind("act", "template"),
    "install_silent": _kind("act", "template"),
    "install_old_key": _kind("act", "template"),
    "install_reboot_loop": _kind("act", "template"),
    "install_ssh": _kind("act", "template"),
    "template_refused": _kind("act", "template", "server_type", always=True),
    "power_error": _kind("act", "act"),
    "power_ignored": _kind("act", "act"),
    "power_unknown": _kind("act", always=True),
    "link_stuck": _kind("act"),
    "link_dead": _kind("act"),
    "pool_empty": _kind("act", "family", always=True),
    "pool_outside": _kind("act", "family"),
    "address_conflict": _kind("act", "family"),
    "foreign": _kind("before", "set"),
    "foreign_user": _kind("before", "password"),
    "hwproblem": _kind("before"),
    "stale": _kind("now", "flags"),
}

INSTALL_KINDS = tuple(name for name in KINDS if name.startswith("install_"))

#: Details that are one of a few words; the first is the default.
_CHOICES: dict[str, dict[str, tuple[str, ...]]] = {
    "garbage": {"variant": GARBAGE},
    "cut": {"variant": CUTS},
    "panel_restart": {"mode": ("refused", "reset")},
    "pool_empty": {"family": FAMILIES},
    "pool_outside": {"family": FAMILIES},
    "address_conflict": {"family": FAMILIES},
}
_COMMON = frozenset(
    {"kind", "func", "server", "login", "target", "armed_by", "count", "after", "rate", "seed", "mutating"}
)
_ARMS = frozenset({"func", "server", "target", "after"})
_SELECTORS = ("template", "server_type", "family", "act")
_CALL_KINDS = tuple(name for name, kind in KINDS.items() if kind.strikes == "call")
_BEFORE_KINDS = tuple(name for name, kind in KINDS.items() if kind.strikes == "before")


@dataclass(frozen=True, slots=True)
class Occasion:
    """A moment at which a fault may strike."""

    func: str = ""
    server: str = ""
    login: str = ""
    target: str = ""  #: the object whose ordinal is counted; the server when there is one
    mutating: bool = True
    view: bool = False  #: a form that is only looked at
    traits: Mapping[str, str] = field(default_factory=dict)  #: template, server_type, family, act


@dataclass(slots=True)
class Trigger:
    """The changing call that a fault waits for; `after` of them are let go by."""

    funcs: tuple[str, ...]
    server: str = ""
    target: str = ""
    after: int = 0

    def fits(self, occasion: Occasion) -> bool:
        """Return whether *occasion* is such a call."""
        named = any(_func_fits(want, occasion.func) for want in self.funcs)
        return (
            named
            and occasion.mutating
            and self.server in ("", occasion.server)
            and self.target in ("", occasion.target)
        )


@dataclass(slots=True)
class Fault:
    """One fault on order, and how often it was seen and used."""

    id: str
    kind: str
    funcs: tuple[str, ...] = ()
    server: str = ""
    login: str = ""
    target: str = ""  #: what the call is about: a server's id, the name of a user that is created
    armed_by: Trigger | None = None  #: it sleeps until such a call has come; None: it is awake
    count: int | None = 1
    after: int = 0
    rate: float | None = None
    seed: int = 0
    mutating: bool | str | None = None  #: true, false, "any"; None: any but the view of a form
    details: JsonObject = field(default_factory=dict)
    seen: int = 0
    used: int = 0
    ordinals: MutableMapping[str, int] = field(default_factory=dict)

    def __deepcopy__(self, _memo: object) -> "Fault":
        """Return one that counts by itself from here on; what was counted so far is shared, and may be long."""
        return replace(self, armed_by=copy(self.armed_by), ordinals=ChainMap({}, self.ordinals))

    def fits(self, occasion: Occasion) -> bool:
        """Return whether *occasion* is one of those that the fault is about."""
        named = (
            (not self.funcs or any(_func_fits(want, occasion.func) for want in self.funcs))
            and self.server in ("", occasion.server)
            and self.login in ("", occasion.login)
            and self.target in ("", occasion.target)
            and self.armed_by is None
        )
        traits = all(
            str(self.details[name]) == occasion.traits.get(name)
            for name in _SELECTORS
            if name in self.details and KINDS[self.kind].strikes == "act"
        )
        forbidden = self.kind != "authinfo_forbidden" or bool(occasion.traits.get("authinfo"))
        return named and traits and forbidden and self._mutating_fits(occasion)

    def strikes(self, occasion: Occasion) -> bool:
        """Count *occasion*, which fits, and return whether the fault strikes this time."""
        self.seen += 1
        target = occasion.target or occasion.server
        key = f"{occasion.func}|{target}"
        ordinal = self.ordinals[key] = self.ordinals.get(key, 0) + 1
        if self.seen <= self.after or (self.count is not None and self.used >= self.count):
            return False
        if self.rate is not None:
            drawn = draw(self.seed, "fault", occasion.func, target, ordinal)
            if drawn >= self.rate:
                return False
        self.used += 1
        return True

    def number(self, name: str, default: float) -> float:
        """Return the number *name* that the fault was told."""
        value = self.details.get(name, default)
        return float(value) if isinstance(value, int | float) else default

    def text(self, name: str, default: str) -> str:
        """Return the text *name* that the fault was told."""
        value = self.details.get(name)
        return default if value is None else str(value)

    def as_json(self) -> JsonObject:
        """Return the order as it was given, with its id and its counts."""
        plain: JsonObject = {
            "id": self.id,
            "kind": self.kind,
            "func": list(self.funcs),
            "server": self.server or None,
            "login": self.login or None,
            "target": self.target or None,
            "asleep": self.armed_by is not None,
            "count": self.count,
            "after": self.after,
            "rate": self.rate,
            "seed": self.seed,
            "mutating": self.mutating,
            "seen": self.seen,
            "used": self.used,
        }
        return plain | self.details

    def _mutating_fits(self, occasion: Occasion) -> bool:
        if self.mutating is None:
            return not occasion.view
        return self.mutating == "any" or self.mutating is occasion.mutating


class FaultBook:
    """All faults on order. The first one that strikes wins; later ones do not see that call."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._next = 1
        self._faults: dict[str, Fault] = {}

    def add(self, order: Mapping[str, object]) -> Fault:
        """
        Take *order* and return the fault, with the id that `remove` wants.

        Raises:
            ValueError: an unknown kind or key, or a value of the wrong shape.
        """
        kind = order.get("kind")
        if not isinstance(kind, str) or kind not in KINDS:
            message = f"there is no fault of kind {kind!r}; known: {', '.join(sorted(KINDS))}"
            raise ValueError(message)
        unknown = set(order) - _COMMON - KINDS[kind].details
        if unknown:
            known = ", ".join(sorted(_COMMON | KINDS[kind].details))
            message = f"a {kind} fault has no {', '.join(sorted(unknown))}; it knows {known}"
            raise ValueError(message)
        for name, values in _CHOICES.get(kind, {}).items():
            if order.get(name, values[0]) not in values:
                raise ValueError(f"{name} of a {kind} fault is one of {', '.join(values)}, not {order[name]!r}")
        fault = self._make(kind, order)
        self._next += 1
        self._faults[fault.id] = fault
        return fault

    def remove(self, fault_id: str | None = None) -> int:
        """Drop one fault, or all; return how many went."""
        if fault_id is None:
            gone = len(self._faults)
            self._faults.clear()
            return gone
        return 0 if self._faults.pop(fault_id, None) is None else 1

    def all(self) -> list[Fault]:
        """Return every fault, oldest first."""
        return list(self._faults.values())

    def take(self, kinds: Sequence[str], occasion: Occasion) -> Fault | None:
        """Return the fault of one of *kinds* that strikes on *occasion*, and count it."""
        for fault in self._faults.values():
            if fault.kind in kinds and fault.fits(occasion) and fault.strikes(occasion):
                return fault
        return None

    def take_call(self, occasion: Occasion) -> Fault | None:
        """Return the fault that spoils this call on the wire."""
        return self.take(_CALL_KINDS, occasion)

    def wake(self, occasion: Occasion) -> None:
        """Wake the faults that slept until a call like this one; from the next call on they strike."""
        for fault in self._faults.values():
            if fault.armed_by is not None and fault.armed_by.fits(occasion):
                fault.armed_by.after -= 1
                if fault.armed_by.after < 0:
                    fault.armed_by = None

    def take_before(self, occasion: Occasion) -> list[Fault]:
        """Return what a foreign hand does just before this call."""
        return [
            fault
            for fault in self._faults.values()
            if fault.kind in _BEFORE_KINDS and fault.fits(occasion) and fault.strikes(occasion)
        ]

    def holds(self, kind: str, server: str) -> bool:
        """Return whether a lasting condition of *kind* lies on *server*; counts nothing."""
        return any(fault.kind == kind and fault.fits(Occasion(server=server)) for fault in self._faults.values())

    def _make(self, kind: str, order: Mapping[str, object]) -> Fault:
        rate = order.get("rate")
        count = order.get("count", None if rate is not None else KINDS[kind].count)
        func = order.get("func", [])
        mutating = order.get("mutating", True if KINDS[kind].strikes == "before" else None)
        server = order.get("server")
        login, target = order.get("login"), order.get("target")
        after, seed = order.get("after", 0), order.get("seed", self._seed)
        checks = {
            "count: a whole number or null": count is None or _whole(count),
            "after: a whole number": _whole(after),
            "seed: a whole number": isinstance(seed, int),
            "rate: a number from 0 to 1": rate is None or (isinstance(rate, int | float) and 0 <= rate <= 1),
            'mutating: true, false or "any"': mutating in (None, True, False, "any"),
            "func: a name or a list of names": isinstance(func, str | list | None),
        }
        for sentence, holds in checks.items():
            if not holds:
                message = f"{kind} fault: {sentence} is expected"
                raise ValueError(message)
        return Fault(
            id=str(self._next),
            kind=kind,
            funcs=(func,) if isinstance(func, str) else tuple(map(str, func if isinstance(func, list) else ())),
            server="" if server is None else str(server),
            login="" if login is None else str(login),
            target="" if target is None else str(target),
            armed_by=_trigger(order.get("armed_by")),
            count=count if isinstance(count, int) else None,
            after=after if isinstance(after, int) else 0,
            rate=float(rate) if isinstance(rate, int | float) else None,
            seed=seed if isinstance(seed, int) else self._seed,
            mutating=mutating if isinstance(mutating, bool | str) else None,
            details={name: order[name] for name in KINDS[kind].details if name in order},
        )


def _trigger(order: object) -> Trigger | None:
    if order is None:
        return None
    if not isinstance(order, Mapping) or not order.get("func") or set(order) - _ARMS:
        raise ValueError(f"armed_by: an object with func, and any of server, target, after is expected, not {order!r}")
    func, after = order["func"], order.get("after", 0)
    if not _whole(after):
        raise ValueError("armed_by: after is a whole number")
    return Trigger(
        funcs=(func,) if isinstance(func, str) else tuple(map(str, func)),
        server=str(order.get("server") or ""),
        target=str(order.get("target") or ""),
        after=int(after),
    )


def _func_fits(want: str, func: str) -> bool:
    return func.startswith(want[:-1]) if want.endswith("*") else want == func


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
