"""What a step costs in the database, counted exactly: statements, and commits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import pytest
from sqlalchemy import event

from provisioner.ports import Wakeup
from tests.site import Site


@dataclass
class Count:
    statements: list[str] = field(default_factory=list)
    transactions: int = 0

    @property
    def kinds(self) -> list[str]:
        """What each statement mainly does, as the store's README calls it."""
        return [kind(text) for text in self.statements]


def kind(text: str) -> str:
    """Give the short name of a statement: hot ones are run by it."""
    if text.startswith("EXECUTE "):
        return text.split()[1]
    return "message" if "sends = sends + 1" in text else text


@contextmanager
def counted(site: Site) -> Iterator[Count]:
    """Count what goes to the database inside; a statement outside a transaction is a commit of its own."""
    count = Count()

    def executed(_c: object, _cursor: object, text: str, _p: object, _ctx: object, _many: object) -> None:
        count.statements.append(text)

    def committed(_connection: object) -> None:
        count.transactions += 1

    event.listen(site.database.engine, "before_cursor_execute", executed)
    event.listen(site.database.engine, "commit", committed)
    try:
        yield count
    finally:
        event.remove(site.database.engine, "before_cursor_execute", executed)
        event.remove(site.database.engine, "commit", committed)


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

    with counted(site) as count:
        report = site.touch(message)

    assert report.outcome == "proceed"
    assert count.kinds == ["claim", "save"]
    assert count.transactions == 0


def test_a_step_that_acts_costs_one_commit_more_for_the_memo(site: Site) -> None:
    site.world.add_server("101")
    message = up_to(site, "domain")

    with counted(site) as count:
        report = site.touch(message)

    assert report.outcome == "proceed"
    assert count.kinds == ["claim", "remember", "save"]
    assert count.transactions == 0


def test_a_step_that_waits_costs_two_commits_and_no_message(site: Site) -> None:
    site.world.add_server("101")
    message = up_to(site, "power_on")

    with counted(site) as count:
        report = site.touch(message)

    assert report.outcome == "park"
    assert count.kinds == ["claim", "save"]
    assert count.transactions == 0


def test_a_message_that_came_twice_costs_two_statements_and_no_call(site: Site) -> None:
    site.world.add_server("101")
    message = up_to(site, "domain")
    site.touch(message)
    calls = len(site.world.journal)

    with counted(site) as count:
        report = site.touch(message)

    assert report.outcome == "fenced"
    assert count.kinds[0] == "claim"
    assert len(count.statements) == 2
    assert count.transactions == 0
    assert len(site.world.journal) == calls
