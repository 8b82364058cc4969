"""When a message counts as lost: where workers are behind, more of them would put workers further behind."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.site import SHORT, Site

STANDS = """
SELECT state, wake_distance, ready_since, extract(epoch FROM resume_at - ready_since)::float8 AS lies FROM attempt"""


@pytest.fixture
def site(database_url: str) -> Iterator[Site]:
    """Give a site with one order."""
    made = Site(database_url)
    made.world.add_server("101")
    made.connect()
    made.package()
    made.order()
    yield made
    made.database.close()


def stands(site: Site, where: str = "") -> Any:  # noqa: ANN401 - a row
    if where:
        site.database.rows(f"UPDATE attempt SET {where}")  # noqa: S608 - constants of this module
    return site.database.row(STANDS)


@pytest.mark.parametrize(
    ("lay", "lies"), [(0.0, SHORT.wake_grace), (0.7, 1.4), (60.0, SHORT.wake_most)], ids=["fresh", "late", "very late"]
)
def test_the_next_message_may_lie_twice_as_long_as_this_one_lay(site: Site, lay: float, lies: float) -> None:
    sent = site.message()
    stands(site, f"ready_since = clock_timestamp() - {lay} * interval '1 s'")

    site.touch(sent)

    assert stands(site)["wake_distance"] == pytest.approx(lies, abs=0.25)


def test_a_wait_that_is_over_begins_with_the_distance_of_the_last_message(site: Site) -> None:
    site.message()
    before = stands(site, "state = 'waiting', resume_at = clock_timestamp(), wake_distance = 1.5")

    site.tick()

    after = stands(site)
    assert (after["state"], after["wake_distance"]) == ("ready", 1.5)
    assert after["lies"] == pytest.approx(1.5, abs=0.1)
    assert after["ready_since"] > before["ready_since"]


def test_what_is_sent_again_lies_twice_as_long_and_is_as_old_as_before(site: Site) -> None:
    first = site.message()
    before = stands(site, "resume_at = clock_timestamp(), wake_distance = 0.8")

    site.tick()

    after = stands(site)
    assert after["wake_distance"] == pytest.approx(1.6)
    assert after["ready_since"] == before["ready_since"]
    assert [sent.attempt_id for sent in site.waker.messages] == [first.attempt_id]
