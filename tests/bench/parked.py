"""Scale: many installs wait at several places, many more orders have ended; what does a tick, a list, an order cost?"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any, cast

from provisioner.bootstrap import App
from provisioner.domain.server import Listing, ServerRef
from provisioner.steps.recipes import OPEN
from provisioner.store import rows
from provisioner.usecases.observe import observe
from provisioner.usecases.reconcile import reconcile
from tests.bench import chains, seed
from tests.bench.figures import Figure
from tests.bench.house import PATIENT, SLOTS, House, Worker, wait_until
from tests.plans import BIG, planned

RECIPE = tuple(step.name for step in OPEN)
ORDERS = 10  #: placed at once where the rate of steps is measured
FREE = 1_000  #: servers for them
NUMBERS = itertools.count(1)
SIZES = """
SELECT relname AS name, pg_total_relation_size(oid)::float8 / 1048576 AS mib FROM pg_class
 WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace ORDER BY 2 DESC LIMIT 4"""


@dataclass
class Place:
    """A data centre that shows a list and does nothing else."""

    listing: Listing
    calls: int = 0

    def list_servers(self) -> Listing:
        self.calls += 1
        return self.listing


@dataclass
class Fleet:
    """Several places with one package each, a worker, and our ports."""

    app: App
    worker: Worker | None = None
    places: dict[int, Place] = field(default_factory=dict)

    def tick(self) -> float:
        """Do one tick; give its milliseconds."""
        time.sleep(0.01)
        app = self.app
        began = time.perf_counter()
        found = reconcile(
            reconciler=app.reconciler, planner=app.planner, quarantine=app.quarantine, life=app.life,
            tickets=app.tickets, callbacks=app.callbacks, waker=seed.Silent(), policies=app.policies, spans=app.spans,
        )  # fmt: skip
        if not found:
            raise AssertionError("it was not our turn")
        return (time.perf_counter() - began) * 1000

    def read(self, connection: int) -> float:
        """Read one list; give the milliseconds."""
        began = time.perf_counter()
        said = observe(
            connection, owner=f"bench:{next(NUMBERS)}", observer=self.app.observer, drivers=cast("Any", self),
            waker=self.app.waker,
        )  # fmt: skip
        if "servers" not in said:
            raise AssertionError(said)
        return (time.perf_counter() - began) * 1000

    def get(self, connection_id: int) -> Place:
        """Give the place of a connection, as the registry of drivers does."""
        return self.places[connection_id]

    def round(self) -> int:
        """Read every list that is due; give how many calls that took."""
        self.app.database.rows("UPDATE connection SET observe_tried_at = '-infinity'")
        before = sum(place.calls for place in self.places.values())
        for connection in self.app.planner.to_observe():
            self.read(connection)
        return sum(place.calls for place in self.places.values()) - before

    def order(self, number: int) -> float:
        """Let so many orders run to their end; give the steps a second."""
        names = [f"run-{next(NUMBERS)}" for _ in range(number)]
        began = time.perf_counter()
        messages = seed.plan(self.app, names, recipe=RECIPE, package="p1")
        self.app.waker.wake(messages)
        self.wait([message.job_id for message in messages])
        return number * len(RECIPE) / (time.perf_counter() - began)

    def wait(self, jobs: list[int]) -> None:
        """Wait until all of *jobs* have succeeded."""
        count = "SELECT count(*) FROM job WHERE id = ANY(%(jobs)s) AND state = 'succeeded'"
        wait_until(
            lambda: bool(self.app.database.value(count, jobs=jobs) == len(jobs)),
            f"{len(jobs)} orders; see {self.worker.log if self.worker else 'nothing'}",
            300,
        )

    def hand_over(self, number: int) -> float:
        """Let the installs of *number* servers end at one instant; give the seconds until the last is handed over."""
        each, jobs = -(-number // len(self.places)), []
        for connection, place in self.places.items():
            found = self.app.database.rows(
                "SELECT a.job_id, cl.server_ref FROM attempt a JOIN claim cl ON cl.id = a.claim_id "
                "WHERE a.connection_id = %(id)s AND a.awaits = 'long' AND cl.server_ref::int > %(far)s "
                "ORDER BY a.id LIMIT %(each)s",
                id=connection, far=seed.FAR, each=each,
            )  # fmt: skip
            jobs += [row["job_id"] for row in found]
            ready = {ServerRef(row["server_ref"]) for row in found}
            servers = (replace(one, installing=False) if one.ref in ready else one for one in place.listing.servers)
            place.listing = Listing(tuple(servers))
        began = time.perf_counter()
        self.round()
        self.wait(jobs)
        return time.perf_counter() - began


def measure(
    house: House, *, rounds: int, places: int = 10, parked: int = 10_000, ended: int = 100_000, ready: int = 200
) -> Iterator[Figure]:
    """Give the figures: each thing before and after *ended* orders have ended."""
    with ExitStack() as stack:
        young = _fleet(house, stack, places, parked)
        fleet = _fleet(house, stack, places, parked, worker=True)
        seed.finish(fleet.app.database, ended)
        about = f"{parked:,} wait at {places} places, {ended:,} ended"
        pairs = _pairs(lambda one: one.tick(), fleet, young, rounds)
        yield Figure(f"one tick: {about}", [old for old, _ in pairs], "ms", at_most=50.0)
        yield Figure("  to one before any had ended", [old / new for old, new in pairs], at_most=1.5)
        pairs = _pairs(lambda one: one.read(next(iter(one.places))), fleet, young, rounds)
        yield Figure(f"one list of {parked // places:,} servers read and compared", [old for old, _ in pairs], "ms")
        yield Figure("  to one before any had ended", [old / new for old, new in pairs], at_most=1.5)
        fleet.order(ORDERS)  # the first ones after an ANALYZE plan their statements anew
        yield Figure("steps a second, ten orders at once", [fleet.order(ORDERS) for _ in range(rounds)], "1/s")
        yield Figure("list calls while all wait, a round", [fleet.round() for _ in range(rounds)], at_most=places)
        whole = _read_whole(fleet)
        yield Figure(
            "statements of a tick and a list that read a table whole", [len(whole)], at_most=0, notes="; ".join(whole)
        )
        yield from _sizes(fleet)
        if fleet.worker:
            yield from chains.memory(fleet.worker)
        late = [fleet.hand_over(ready) for _ in range(3)]
        yield Figure(f"{ready} servers ready at one instant → all handed over", late, "s", notes=f"{SLOTS} slots")
        yield Figure("  steps a second", [3 * ready / one for one in late], "1/s")


def _fleet(house: House, stack: ExitStack, places: int, parked: int, *, worker: bool = False) -> Fleet:
    database = house.new_database()
    app = stack.enter_context(house.ports(database, spans={**PATIENT, "reconcile": 0.001}))
    fleet = Fleet(app)
    for n in range(1, places + 1):
        connection = seed.connect(app, servers=1 + (n == 1) * FREE, name=f"dc{n}", package=f"p{n}")
        fleet.places[connection] = Place(Listing(()))
    if worker:
        fleet.worker = stack.enter_context(house.worker(database, "idle"))
        fleet.worker.warm(app.celery)
        fleet.order(1)
    for n in range(places):
        seed.park(app, parked // places, package=f"p{n + 1}", place=n, recipe=RECIPE)
    for connection, place in fleet.places.items():
        found = app.database.rows("SELECT listed FROM server_view WHERE connection_id = %(id)s", id=connection)
        place.listing = Listing(tuple(rows.listed(row["listed"]) for row in found))
    return fleet


def _pairs(deed: Callable[[Fleet], float], old: Fleet, new: Fleet, rounds: int) -> list[tuple[float, float]]:
    """Do it in both, in turn: what else the machine does strikes both alike."""
    found = []
    for n in range(rounds + 2):
        if n % 2:
            second, first = deed(new), deed(old)
        else:
            first, second = deed(old), deed(new)
        found.append((first, second))
    return found[2:]  # the first ones connect, and sweep


def _read_whole(fleet: Fleet) -> list[str]:
    with planned(BIG - {"server_view"}) as seen:  # a list is compared with all of its place
        fleet.tick()
        fleet.round()
    return sorted(seen.whole)


def _sizes(fleet: Fleet) -> Iterator[Figure]:
    database = fleet.app.database
    whole = database.value("SELECT pg_database_size(current_database())::float8 / 1048576")
    count = database.value("SELECT count(*) FROM job")
    yield Figure("database", [whole], "MiB")
    yield Figure("  an order", [whole * 1024 / count], "KiB")
    for row in database.rows(SIZES):
        yield Figure(f"  table {row['name']} with its indexes", [row["mib"]], "MiB")
