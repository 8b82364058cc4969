"""What comes in, drawn from the seed alone: orders, the rest of services' lives, other people's hands, and faults."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass

from provisioner.simulators.client import Control

#: kind of fault, what it is told, and its share of the calls: together they are 5 %
FAULTS: tuple[tuple[str, dict[str, object], float], ...] = (
    ("busy", {}, 0.0080),
    ("lost_before", {}, 0.0070),
    ("lost_after", {}, 0.0090),
    ("refuse", {"type": "xml", "object": "xpath", "report": True}, 0.0030),
    ("refuse", {"type": "limit", "object": "quota"}, 0.0010),
    ("slow", {"delay": 2.0}, 0.0030),
    ("drip", {"interval": 0.3}, 0.0010),
    ("hang", {"effect": True}, 0.0020),
    ("garbage", {"variant": "html"}, 0.0015),
    ("garbage", {"variant": "truncated_xml", "effect": True}, 0.0030),
    ("garbage", {"variant": "http502", "effect": True}, 0.0020),
    ("garbage", {"variant": "empty", "effect": True}, 0.0010),
    ("garbage", {"variant": "expired_session"}, 0.0010),
    ("garbage", {"variant": "login_page"}, 0.0005),
    ("panel_restart", {"seconds": 2.0, "effect": True}, 0.0003),
)
#: of lists alone: rows are missing, a field is missing everywhere, one row is ill
LIST_FAULTS: tuple[tuple[str, dict[str, object], float], ...] = (
    ("cut", {"variant": "rows"}, 0.010),
    ("cut", {"variant": "field", "field": "id"}, 0.005),
    ("cut", {"variant": "row", "row": 3}, 0.005),
)
LISTS = ["server", "iplist", "user"]
LATE = 1.2  #: seconds: a minute, scaled as the steps are
#: of acts alone
ACT_FAULTS: tuple[tuple[str, dict[str, object], float], ...] = (
    ("late", {"delay": LATE}, 0.010),
    ("silent", {}, 0.008),
)
#: inside the data centre, a draw an operation
DEEP_FAULTS: tuple[tuple[str, dict[str, object], float], ...] = (
    ("install_fails_late", {}, 0.020),
    ("install_fails_early", {}, 0.010),
    ("install_silent", {}, 0.010),
    ("install_old_key", {}, 0.005),
    ("install_reboot_loop", {}, 0.005),
    ("install_ssh", {}, 0.020),
    ("install_hangs", {}, 0.005),
    ("power_ignored", {}, 0.020),
    ("power_error", {}, 0.005),
    ("link_stuck", {}, 0.002),
)
RACKS = 0.06  #: share of orders that are for a place of the customer's own machine
#: what an order's customer wants later, and the share of orders; most want nothing
LIVES: tuple[tuple[str, float], ...] = (
    ("cancel", 0.08), ("close", 0.17), ("suspend", 0.10), ("address", 0.07), ("reinstall", 0.05), ("password", 0.03),
    ("reboot", 0.03), ("off", 0.03), ("sync", 0.03), ("", 0.41),
)  # fmt: skip
#: and what half of them want after that
AFTER = {"address": "delete address", "reinstall": "close", "off": "on"}
#: seconds that a customer of a run with more orders than servers stays: each server is sold again and again
STAYS = (150.0, 600.0)
STALE = (["operation_failed"], ["powererror"], ["install_in_progress"])

#: deeds that are no customer's
FOREIGN, STRANGER, OLD_FLAG, AWAY, REVOKE, RESTORE = "foreign", "stranger", "old flag", "away", "revoke", "restore"
PORTS = "look after the ports"
PORTS_EVERY = 300.0  #: seconds, five hours of a data centre: nothing but a person ends a link that hangs


@dataclass(frozen=True)
class Deed:
    """One thing that is asked or done, at an instant after the start."""

    at: float
    what: str  #: a customer's: order, cancel, close, suspend …; or one of those above
    number: int  #: of the order, or of the deed among its like
    package: str = ""
    customer: str = ""
    eager: bool = True  #: asked at once; else as a customer does, who has no button before his server is there


def deeds(seed: int, *, orders: int, seconds: float, places: int, leave: bool = False) -> list[Deed]:
    """
    Give the whole stream, in order of time. The same seed gives the same.

    Where customers *leave*, each closes what was not closed before, and servers come back.
    """
    draw = random.Random(seed)
    found: list[Deed] = []
    for n in range(orders):
        at = seconds * n / orders
        place = draw.randrange(places) + 1
        package = f"any{place}" if draw.random() < 0.5 else f"dc{place}"
        customer = f"c{draw.randrange(max(1, int(orders * 0.8)))}"
        racked = draw.random() < RACKS
        found.append(Deed(at, "order", n, f"rack-dc{place}" if racked else package, customer))
        lives = list(_racked(draw, at, n) if racked else _later(draw, at, n))
        found.extend(lives)
        if leave:
            found.extend(_left(seed, at, n, lives, ends=seconds))
    found += [Deed(seconds * draw.random(), FOREIGN, n) for n in range(max(4, orders // 20))]
    found += [Deed(seconds * draw.random(), STRANGER, n) for n in range(max(2, orders // 50))]
    found += [Deed(seconds * draw.random(), OLD_FLAG, n) for n in range(max(4, orders // 40))]
    for n in range(places):
        found.append(Deed(seconds * draw.uniform(0.1, 0.9), AWAY, n))
        at = seconds * draw.uniform(0.1, 0.8)
        found += [Deed(at, REVOKE, n), Deed(at + 3, RESTORE, n)]
    found += [Deed(PORTS_EVERY * n, PORTS, n) for n in range(1, math.ceil(seconds / PORTS_EVERY))]
    return sorted(found, key=lambda deed: (deed.at, deed.what, deed.number))


def _later(draw: random.Random, at: float, number: int) -> Iterator[Deed]:
    """Give what becomes of one order; most are left alone."""
    (life,) = draw.choices([name for name, _ in LIVES], [share for _, share in LIVES])
    early, late, then = at + draw.uniform(5, 30), at + draw.uniform(15, 35), draw.uniform(0.1, 10)
    eager, goes_on = draw.random() < 0.5, draw.random() < 0.5
    match life:
        case "cancel":
            yield Deed(at + draw.uniform(0.1, 15), "cancel", number)
        case "close":
            yield Deed(at + draw.uniform(10, 40), "close", number)
        case "suspend":
            yield Deed(early, "suspend", number, eager=eager)
            yield Deed(early + then, "resume", number, eager=eager)
        case "":
            return
        case _:
            yield Deed(late, life, number, eager=False)
            if life in AFTER and goes_on:
                yield Deed(late + then, AFTER[life], number, eager=False)


def _racked(draw: random.Random, at: float, number: int) -> Iterator[Deed]:
    """Give what becomes of an order that a technician opens: some are withdrawn while he is at it."""
    chance = draw.random()
    if chance < 0.35:
        yield Deed(at + draw.uniform(1, 15), "cancel", number)
    elif chance < 0.70:
        yield Deed(at + draw.uniform(20, 40), "close", number, eager=chance < 0.45)
    elif chance < 0.85:
        then = at + draw.uniform(15, 30)
        yield Deed(then, "suspend", number, eager=False)
        yield Deed(then + draw.uniform(5, 15), "resume", number, eager=False)


def _left(seed: int, at: float, number: int, lives: list[Deed], *, ends: float) -> Iterator[Deed]:
    """Give the close of one who stayed; drawn apart, so that whether customers leave changes nothing before it."""
    then = at + random.Random(f"{seed}|stays|{number}").uniform(*STAYS)
    if then < ends and not {"cancel", "close"} & {deed.what for deed in lives}:
        yield Deed(then, "close", number, eager=False)


def arm(control: Control, seed: int) -> None:
    """Order the faults: each draws from a hash of seed, call, object and its how-manieth, whatever runs beside."""
    for n, (kind, told, rate) in enumerate(LIST_FAULTS):
        control.add_fault(kind, **told, func=LISTS, rate=rate, seed=seed * 1000 + 300 + n, mutating=False)
    for n, (kind, told, rate) in enumerate(FAULTS):
        control.add_fault(kind, **told, rate=rate, seed=seed * 1000 + n, mutating="any")
    for n, (kind, told, rate) in enumerate(ACT_FAULTS):
        control.add_fault(kind, **told, rate=rate, seed=seed * 1000 + 500 + n, mutating=True)
    for n, (kind, told, rate) in enumerate(DEEP_FAULTS):
        control.add_fault(kind, **told, rate=rate, seed=seed * 1000 + 700 + n)
