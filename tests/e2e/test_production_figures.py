"""One order with the spans that production has: nothing is scaled, and the place takes its time."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from provisioner.domain.spans import Spans
from provisioner.drivers.fake import Pace
from tests.house import House, house

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]
PACE = Pace(
    power_after=timedelta(seconds=8),
    enable_after=timedelta(seconds=3),
    links_last=timedelta(seconds=4),
    install_after=timedelta(seconds=12),
    install_lasts=timedelta(seconds=60),
)


@pytest.fixture
def place(database_url: str, state_dir: Path) -> Iterator[House]:
    with house(database_url, state_dir, "production", flower=False, production=True) as made:
        made.world.pace = PACE
        made.connect(url=made.address)
        made.package()
        yield made


def test_an_order_is_handed_over_with_production_figures_and_few_calls(place: House) -> None:
    server = place.world.add_server("101")
    job = place.order("ord-1").job_id
    place.wait(place.ended(job), 480)
    lists = place.world.calls("list_servers")
    took = place.database.value("SELECT extract(epoch FROM ended_at - created_at) FROM job")

    assert place.spans == Spans()
    assert place.job(job)["state"] == "succeeded", place.trail()
    assert server.installs == 1
    assert server.owner not in (None, place.world.administrator.ref)
    # every 5 s while something short is awaited, every 30 s while only the install runs
    assert len(lists) <= float(took) / place.spans.observe_short + 5
