"""Two releases at work at once: who meets what only the newer one knows leaves it to the newer one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from provisioner.errors import Fenced
from provisioner.ports import Refusal, Wakeup
from tests.site import Site


@pytest.fixture
def site(database_url: str) -> Iterator[Site]:
    made = Site(database_url)
    made.world.add_server("101")
    made.connect()
    made.package()
    yield made
    made.database.close()


def planned(site: Site) -> Wakeup:
    """Place an order; give the message of its first step."""
    site.order()
    return site.message()


def ours(site: Site, step: str, name: str) -> None:
    """Let a step be called *name*, as a release that we are not calls it."""
    site.database.rows("UPDATE step SET name = %(name)s WHERE name = %(step)s", step=step, name=name)


def again(site: Site) -> Wakeup:
    """Let the distance pass, and give the next message."""
    site.database.rows("UPDATE attempt SET resume_at = clock_timestamp() WHERE state IN ('waiting', 'ready')")
    return site.message()


@pytest.mark.parametrize("unknown", ["account", "ping"], ids=["the step itself", "one that comes later"])
def test_an_attempt_with_a_step_of_a_newer_release_is_given_back_uncounted(site: Site, unknown: str) -> None:
    sent = planned(site)
    ours(site, unknown, "polish_disks")

    for _ in range(3 * site.spans.deliveries_most):
        assert site.touch(sent).outcome == Refusal.NEWER
        sent = again(site)

    attempt = site.database.row("SELECT * FROM attempt")
    assert attempt
    assert (attempt["state"], attempt["deliveries"], attempt["owner"]) == ("ready", 0, None)
    assert site.database.value("SELECT count(*) FROM slot WHERE owner IS NOT NULL") == 0
    assert site.database.value("SELECT outcome FROM step WHERE pos = 0").startswith("waits for a worker of a newer")
    assert site.world.calls(mutating=True) == []


def test_the_newer_release_takes_it_from_there(site: Site) -> None:
    sent = planned(site)
    ours(site, "ping", "polish_disks")
    site.touch(sent)
    ours(site, "polish_disks", "ping")

    site.waker.messages.append(again(site))
    site.run(site.ended(sent.job_id))

    assert site.job(sent.job_id)["state"] == "succeeded"


def test_it_is_given_back_for_a_distance_and_frees_its_slot_for_who_waits(site: Site) -> None:
    site.database.rows("DELETE FROM slot WHERE n > 1")
    site.world.add_server("102")
    site.order("ord-2")
    sent = planned(site)
    other = site.waker.messages.popleft() if site.waker.messages else again(site)
    ours(site, "ping", "polish_disks")
    found = site.engine.claim(sent.attempt_id, sent.pos, owner="test:old", task_id="t", worker="w")
    assert not isinstance(found, Refusal)
    assert site.touch(other).outcome == Refusal.NO_SLOT

    due = site.engine.give_back(found)

    assert [one.attempt_id for one in due] == [other.attempt_id]
    left = site.database.value(
        "SELECT extract(epoch FROM resume_at - clock_timestamp())::float FROM attempt WHERE id = %(id)s",
        id=sent.attempt_id,
    )
    assert 0 < left <= site.spans.wake_grace


def test_who_gave_it_back_can_write_no_more(site: Site) -> None:
    sent = planned(site)
    ours(site, "ping", "polish_disks")
    found = site.engine.claim(sent.attempt_id, sent.pos, owner="test:old", task_id="t", worker="w")
    assert not isinstance(found, Refusal)
    site.engine.give_back(found)

    with pytest.raises(Fenced):
        site.engine.give_back(found)


def test_a_job_of_a_kind_that_only_a_newer_release_knows_waits_for_its_planner(site: Site) -> None:
    placed = site.order()
    site.database.rows("ALTER TABLE job DROP CONSTRAINT job_kind_check")
    site.database.rows("UPDATE job SET kind = 'polish'")

    for _ in range(3):
        site.tick()

    job = site.job(placed.job_id)
    assert (job["state"], job["kind"]) == ("queued", "polish")
    site.database.rows("UPDATE job SET kind = 'open', plan_at = clock_timestamp()")
    site.run(site.ended(placed.job_id))
    assert site.job(placed.job_id)["state"] == "succeeded"


def test_an_attempt_of_an_unknown_kind_is_given_back_too(site: Site) -> None:
    sent = planned(site)
    site.database.rows("ALTER TABLE job DROP CONSTRAINT job_kind_check")
    site.database.rows("UPDATE job SET kind = 'polish'")

    assert site.touch(sent).outcome == Refusal.NEWER
    assert again(site).kind == "polish"
    assert site.database.value("SELECT deliveries FROM attempt") == 0


def test_a_message_that_nobody_here_can_read_is_sent_again_without_growing_distance(site: Site) -> None:
    sent = planned(site)
    site.database.rows("UPDATE attempt SET wake_distance = 300, resume_at = clock_timestamp() + interval '300 s'")

    site.engine.put_off(sent.attempt_id, sent.pos)

    attempt = site.database.row(
        "SELECT wake_distance, state, extract(epoch FROM resume_at - clock_timestamp())::float AS left FROM attempt"
    )
    assert attempt
    assert (attempt["wake_distance"], attempt["state"]) == (0, "ready")
    assert 0 < attempt["left"] <= site.spans.wake_grace
