"""All processes together keep a connection's pace: seen by two stores, and by the panel under hundreds of orders."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from provisioner.demo.children import Children
from provisioner.domain.connection import PACE_PATIENCE_SECONDS
from provisioner.domain.spans import Spans
from provisioner.store.database import Database
from provisioner.store.endpoints import EndpointLoader
from tests.chaos.town import ADMIN_PASSWORD, OS, Town
from tests.site import Site

ORDERS = 500
A_SECOND = 4.0
SPAN = 5.0  #: seconds over which calls are counted
LATE = 5  #: calls that were let go and arrive late, with the next: no more than slots and list readers
CALLS = 60
WORKERS = ("steps-1", "steps-2", "control-1")


def test_turns_of_all_processes_are_a_step_apart_and_none_waits_long(database_url: str) -> None:
    site = Site(database_url)
    connection = site.connect()
    site.database.rows("UPDATE connection SET calls_per_second = 0.5, max_in_flight = 4")
    other = Database(database_url)
    try:
        turns = [
            EndpointLoader(database, site.vault, Spans())(connection)[2].turn for database in (site.database, other)
        ]
        waits = [turn() for turn in (*turns, *turns) if turn]
    finally:
        other.close()
        site.database.close()

    assert len(waits) == 4
    assert waits[0] == 0
    assert waits[3] is None or waits[3] <= PACE_PATIENCE_SECONDS
    for n, wait in enumerate(waits[:3]):
        assert wait is not None
        assert wait <= 2 * n


def test_a_connection_without_a_limit_asks_nobody(database_url: str) -> None:
    site = Site(database_url)
    try:
        endpoint = EndpointLoader(site.database, site.vault, Spans())(site.connect())[2]
    finally:
        site.database.close()

    assert endpoint.turn is None


@pytest.fixture
def town() -> Iterator[Town]:
    folder = Path(tempfile.mkdtemp(prefix="pace-"))
    folder.chmod(0o711)
    made = Town(folder, Children(), workers=WORKERS)
    try:
        made.start(places=1, servers=60, seed=1)
        yield made
    finally:
        made.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.long
@pytest.mark.timeout(400)
def test_five_hundred_waiting_orders_do_not_hurry_a_panel(town: Town) -> None:
    place = town.places[0]
    settings = {"kind": "dcimanager5", "url": place.url, "username": place.admin, "password": ADMIN_PASSWORD}
    town.api.put(
        "/v1/connections/dc1", {**settings, "max_in_flight": 3, "calls_per_second": A_SECOND, "location": "dc1"}
    )
    last = max(call["n"] for call in place.control.journal())
    for n in range(ORDERS):
        town.api.post("/v1/services", {
            "external_ref": f"ord-{n}", "package": "any", "hostname": f"h{n}.example.net", "os": OS,
            "customer": {"reference": f"c{n}", "login": f"u{n}"},
        })  # fmt: skip
    town.wait("calls enough", lambda: len(place.control.journal(last)) >= CALLS, 200)
    busy = town.database.value("SELECT count(*) FROM slot WHERE connection_id = 1")

    at = [call["at"] for call in place.control.journal(last)]
    worst = max(sum(start <= one < start + SPAN for one in at) for start in at)

    assert busy == 3
    assert worst <= A_SECOND * SPAN + LATE
    assert town.database.value("SELECT count(*) FROM job WHERE ended_at IS NULL") > ORDERS / 2
