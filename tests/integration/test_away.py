"""A place that is away: attempts stay where they are, nothing is undone, orders are taken."""

from collections.abc import Iterator, Sequence

import pytest

from provisioner.domain.engine import Decision
from provisioner.domain.states import StepState
from provisioner.drivers.fake import Pace
from provisioner.errors import Denied, Unreachable
from provisioner.ports import Touched, Wakeup
from provisioner.usecases.observe import observe
from tests.site import Site


@pytest.fixture
def site(database_url: str) -> Iterator[Site]:
    made = Site(database_url)
    made.connect()
    made.package()
    yield made
    made.database.close()


def paused(site: Site) -> bool:
    return bool(site.database.value("SELECT state = 'paused' FROM connection"))


def acting(site: Site, step: str) -> bool:
    found = site.database.row(
        "SELECT FROM attempt a JOIN step s ON s.attempt_id = a.id AND s.pos = a.pos "
        "WHERE s.name = %(step)s AND s.acted_at IS NOT NULL",
        step=step,
    )
    return found is not None


def test_an_outage_during_the_install_undoes_nothing_and_installs_once(site: Site) -> None:
    site.world.pace = Pace(install_lasts=8)
    site.world.add_server("101")
    placed = site.order()
    site.run(lambda: acting(site, "install_os"))

    site.world.fault("*", Unreachable, times=None)
    site.run(lambda: paused(site))
    second = site.order("ord-2")
    for _ in range(20):
        site.tick()
    waiting = site.job(second.job_id)["waits_for"]
    site.world.heal()
    site.run(site.ended(placed.job_id))

    assert waiting == "site"
    assert site.job(placed.job_id)["state"] == "succeeded", site.trail()
    assert len(site.world.calls("install", mutating=True)) == 1
    assert site.database.value("SELECT count(*) FROM event WHERE kind = 'connection_paused'") == 1
    assert site.database.value("SELECT state FROM connection") == "active"


def test_refused_credentials_are_tried_three_times_at_most(site: Site) -> None:
    site.world.add_server("101")
    placed = site.order()
    site.world.fault("*", Denied, times=None)
    site.run(lambda: paused(site))
    before = len(site.world.calls())

    for _ in range(200):
        site.tick()

    assert len(site.world.calls()) <= 3, before
    assert site.job(placed.job_id)["state"] == "queued"
    assert "refused" in site.database.value("SELECT pause_reason FROM connection")


def test_a_change_that_a_list_shows_while_a_touch_runs_is_not_slept_over(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.world.pace = Pace(install_lasts=60)
    server = site.world.add_server("101")
    placed = site.order()
    real, reads = site.engine.save, 0

    def save_late(touched: Touched, decision: Decision) -> Sequence[Wakeup]:
        """Let the install end, and the list show it, between the look and the save of the last waiting touch."""
        nonlocal reads
        row = decision.rows[-1]
        settles_at = row.settles_at(site.policies["install_os"])
        if row.name == "install_os" and settles_at and touched.now > settles_at and row.state is StepState.ACTING:
            while server.installing:
                reads += 1
                owner = f"late:{reads}"
                observe(1, owner=owner, observer=site.observer, drivers=site.drivers, waker=site.waker)
        return real(touched, decision)

    monkeypatch.setattr(site.engine, "save", save_late)
    site.run(site.ended(placed.job_id), seconds=10)

    assert reads > 0
    assert site.job(placed.job_id)["state"] == "succeeded", site.trail()
