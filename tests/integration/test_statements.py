"""What a step costs in the database, counted exactly: statements, and commits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from provisioner.ports import Wakeup
from tests.site import Site
from tests.statements import Count, counted


def kinds(count: Count) -> list[str]:
    """Say what each statement mainly does, as the store's README calls it: hot ones are run by their name."""
    return [text.split()[1] if text.startswith("EXECUTE ") else text for text in count.statements]


@pytest.fixture
def site(database_url: str) -> Iterator[Site]:
    made = Site(database_url)
    made.connect()
    made.package()
    yield made
    made.database.close()


def up_to(site: Site, step: str) -> Wakeup:
    """Run an order until the message for *step* waits; give it."""
    site.order("ord-1")
    site.run(lambda: any(message.step == step for message in site.waker.messages))
    return next(message for message in site.waker.messages if message.step == step)


def test_a_step_that_finds_nothing_to_do_costs_two_commits_and_the_next_steps_message(site: Site) -> None:
    server = site.world.add_server("101")
    message = up_to(site, "domain")
    server.addresses = [replace(row, domain="ord-1.example.net") for row in server.addresses]

    with counted() as count:
        report = site.touch(message)

    assert report.outcome == "proceed"
    assert kinds(count) == ["claim", "save"]
    assert count.transactions == 0


def test_a_step_that_acts_costs_one_commit_more_for_the_memo(site: Site) -> None:
    site.world.add_server("101")
    message = up_to(site, "domain")

    with counted() as count:
        report = site.touch(message)

    assert report.outcome == "proceed"
    assert kinds(count) == ["claim", "remember", "save"]
    assert count.transactions == 0


def test_a_step_that_waits_costs_two_commits_and_no_message(site: Site) -> None:
    site.world.add_server("101")
    message = up_to(site, "power_on")

    with counted() as count:
        report = site.touch(message)

    assert report.outcome == "park"
    assert kinds(count) == ["claim", "save"]
    assert count.transactions == 0


def test_a_message_that_came_twice_costs_two_statements_and_no_call(site: Site) -> None:
    site.world.add_server("101")
    message = up_to(site, "domain")
    site.touch(message)
    calls = len(site.world.journal)

    with counted() as count:
        report = site.touch(message)

    assert report.outcome == "fenced"
    assert kinds(count)[0] == "claim"
    assert len(count.statements) == 2
    assert count.transactions == 0
    assert len(site.world.journal) == calls
