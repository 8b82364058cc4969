"""The same seed gives the same orders, blows and faults, whatever runs beside; another one gives others."""

from __future__ import annotations

import random
from collections import defaultdict
from typing import Any, cast

from provisioner.simulators.client import Control
from provisioner.simulators.faults import KINDS, FaultBook, Occasion
from tests.chaos.killer import blows
from tests.chaos.stream import AFTER, LIVES, PORTS, arm, deeds

#: calls of one order on one server: function, is it an act, is it a form that is only viewed
CALLS = (
    ("server.edit", False, True), ("server.edit", True, False), ("iplist", False, False), ("iplist.edit", True, False),
    ("server.poweron", True, False), ("server.operations", True, False), ("server", False, False),
)  # fmt: skip


class Recorder:
    """Stands in for the control side: what `arm` orders goes into a book of faults."""

    def __init__(self) -> None:
        self.book = FaultBook(seed=1)

    def add_fault(self, kind: str, **order: object) -> None:
        self.book.add({"kind": kind, **order})


def struck(seed: int, servers: list[str]) -> dict[str, list[str]]:
    """Give what befalls each server's calls, when each name in *servers* is one order's calls on it."""
    recorder = Recorder()
    arm(cast("Control", recorder), seed)
    found: dict[str, list[str]] = defaultdict(list)
    inside = [name for name, kind in KINDS.items() if kind.strikes == "act"]
    for server in servers:
        for func, act, view in CALLS:
            occasion = Occasion(func, server, "", server, mutating=act, view=view)
            fault = recorder.book.take_call(occasion)
            found[server].append(fault.kind if fault else "")
        deep = recorder.book.take(inside, Occasion(server=server))
        found[server].append(deep.kind if deep else "")
    return found


def test_the_same_seed_gives_the_same_orders_and_blows() -> None:
    told: dict[str, Any] = {"orders": 200, "seconds": 75.0, "places": 2}

    assert deeds(7, **told) == deeds(7, **told)
    assert deeds(7, **told) != deeds(8, **told)
    assert blows(7, 75.0) == blows(7, 75.0)
    assert blows(7, 75.0) != blows(8, 75.0)


def test_every_kind_of_job_and_waiting_people_are_in_a_short_stream() -> None:
    for seed in range(1, 6):
        told = deeds(seed, orders=200, seconds=75.0, places=2)

        asked = {deed.what for deed in told}
        assert asked >= {name for name, _ in LIVES if name} | set(AFTER.values()) | {"order", "resume"}
        racked = {deed.number for deed in told if deed.package.startswith("rack-")}
        assert {"cancel", "close"} <= {deed.what for deed in told if deed.number in racked}


def test_where_there_are_more_orders_than_servers_everybody_who_stayed_leaves_and_nothing_else_changes() -> None:
    told: dict[str, Any] = {"orders": 4000, "seconds": 3600.0, "places": 4}

    stay, leave = deeds(7, **told), deeds(7, **told, leave=True)

    more = set(leave) - set(stay)
    assert set(stay) < set(leave)
    assert {deed.what for deed in more} == {"close"}
    opened = {deed.number: deed.at for deed in stay if deed.what == "order"}
    ended = {deed.number: deed.at for deed in leave if deed.what in ("close", "cancel")}
    at_once = max(sum(opened[n] <= at < ended.get(n, 1e9) for n in opened) for at in range(0, 3600, 60))
    assert at_once < 1200


def test_somebody_looks_after_the_ports_each_five_minutes_until_the_end() -> None:
    looks = [deed.at for deed in deeds(7, orders=40, seconds=900.5, places=2) if deed.what == PORTS]

    assert looks == [300.0, 600.0, 900.0]
    assert all(deed.what != PORTS for deed in deeds(7, orders=40, seconds=300.0, places=2))


def test_the_same_seed_gives_the_same_faults_whatever_runs_beside() -> None:
    servers = [str(number) for number in range(100, 130)]
    in_turn = [server for server in servers for _ in range(10)]
    mixed = in_turn.copy()
    random.Random(3).shuffle(mixed)

    assert struck(7, in_turn) == struck(7, mixed)
    assert struck(7, in_turn) != struck(8, in_turn)


def test_about_one_call_in_twenty_goes_wrong() -> None:
    found = struck(7, [str(number) for number in range(100, 200) for _ in range(10)])

    calls = [kind for kinds in found.values() for n, kind in enumerate(kinds) if n % (len(CALLS) + 1) < len(CALLS)]
    share = sum(kind != "" for kind in calls) / len(calls)
    assert 0.04 < share < 0.07


def test_a_full_stream_kills_a_worker_every_half_minute_and_the_database_twice() -> None:
    told = blows(1, 900.0)

    names = [blow.what for blow in told]
    kills = [blow.at for blow in told if "steps" in blow.what or "control" in blow.what]
    assert kills == [30.0 * n for n in range(1, len(kills) + 1)]
    assert names.count("database") == 2
    assert names.count("broker") >= 4
    assert names.index("beat off") < names.index("beat on")
