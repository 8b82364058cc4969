"""What comes in, drawn from the seed alone: orders, the rest of services' lives, a foreign hand, and faults."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from provisioner.simulators.client import Control

#: kind of fault, what it is told, and its share of the 5 % of calls that go wrong
FAULTS: tuple[tuple[str, dict[str, object], float], ...] = (
    ("busy", {}, 0.008),
    ("lost_before", {}, 0.008),
    ("lost_after", {}, 0.009),
    ("refuse", {"type": "xml", "object": "xpath", "report": True}, 0.003),
    ("refuse", {"type": "limit", "object": "quota"}, 0.001),
    ("slow", {"delay": 2.0}, 0.003),
    ("drip", {"interval": 0.3}, 0.001),
    ("hang", {"effect": True}, 0.002),
    ("garbage", {"variant": "html"}, 0.002),
    ("garbage", {"variant": "truncated_xml", "effect": True}, 0.003),
    ("garbage", {"variant": "http502", "effect": True}, 0.002),
    ("garbage", {"variant": "expired_session"}, 0.001),
)
#: of acts alone
ACT_FAULTS: tuple[tuple[str, dict[str, object], float], ...] = (
    ("late", {"delay": 3.0}, 0.010),
    ("silent", {}, 0.008),
)
#: inside the data centre, a draw an operation
DEEP_FAULTS: tuple[tuple[str, dict[str, object], float], ...] = (
    ("install_fails_late", {}, 0.03),
    ("install_fails_early", {}, 0.01),
    ("power_ignored", {}, 0.02),
    ("link_stuck", {}, 0.002),
)


@dataclass(frozen=True)
class Deed:
    """One thing that is asked or done, at an instant after the start."""

    at: float
    what: str  #: order, cancel, close, suspend, resume, address, foreign
    number: int  #: of the order, or of the foreign hand's turn
    package: str = ""
    customer: str = ""


def deeds(seed: int, *, orders: int, seconds: float, places: int) -> list[Deed]:
    """Give the whole stream, in order of time. The same seed gives the same."""
    draw = random.Random(seed)
    found: list[Deed] = []
    for n in range(orders):
        at = seconds * n / orders
        package = "any" if draw.random() < 0.5 else f"dc{draw.randrange(places) + 1}"
        customer = f"c{draw.randrange(max(1, int(orders * 0.8)))}"
        found.append(Deed(at, "order", n, package, customer))
        found.extend(_later(draw, at, n))
    found += [Deed(seconds * draw.random(), "foreign", n) for n in range(max(4, orders // 20))]
    return sorted(found, key=lambda deed: (deed.at, deed.what, deed.number))


def _later(draw: random.Random, at: float, number: int) -> Iterator[Deed]:
    """Give what becomes of one order: some are cancelled, some closed, some suspended and resumed."""
    chance = draw.random()
    if chance < 0.08:
        yield Deed(at + draw.uniform(0.1, 15), "cancel", number)
    elif chance < 0.25:
        yield Deed(at + draw.uniform(10, 40), "close", number)
    elif chance < 0.35:
        then = at + draw.uniform(5, 30)
        yield Deed(then, "suspend", number)
        yield Deed(then + draw.uniform(0.1, 10), "resume", number)
    elif chance < 0.42:
        yield Deed(at + draw.uniform(10, 30), "address", number)


def arm(control: Control, seed: int) -> None:
    """Order the faults: each draws from a hash of seed, call, object and its how-manieth, whatever runs beside."""
    for n, (kind, told, rate) in enumerate(FAULTS):
        control.add_fault(kind, **told, rate=rate, seed=seed * 1000 + n, mutating="any")
    for n, (kind, told, rate) in enumerate(ACT_FAULTS):
        control.add_fault(kind, **told, rate=rate, seed=seed * 1000 + 500 + n)
    for n, (kind, told, rate) in enumerate(DEEP_FAULTS):
        control.add_fault(kind, **told, rate=rate, seed=seed * 1000 + 700 + n)
