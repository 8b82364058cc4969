"""The broker restarts, is killed, hangs, or takes nothing more: orders are taken at once, and all of them complete."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from tests.services.servers import Broker, Postgres, RabbitMQ, Redis
from tests.services.works import Works, works

pytestmark = [pytest.mark.services, pytest.mark.long, pytest.mark.timeout(600)]
Record = Callable[[str, object], None]
AWAY_SECONDS = 5.0
AT_ONCE = 2.0  #: seconds that an order may take while the broker is ill


@pytest.fixture(scope="module", params=["redis", "rabbitmq"])
def site(request: pytest.FixtureRequest, real_postgres: Postgres) -> Iterator[Works]:
    broker: Redis | RabbitMQ = request.getfixturevalue(f"real_{request.param}")
    broker.heal()
    with works(real_postgres, broker, request.param) as made:
        yield made


@pytest.fixture
def broker(site: Works) -> Iterator[Broker]:
    assert site.broker is not None
    yield site.broker
    site.broker.heal()


def slowest(site: Works, since: int) -> float:
    return round(max(answer.seconds for answer in site.answers[since:]), 2)


def test_orders_are_handed_over(site: Works, broker: Broker, record_property: Record) -> None:
    began = time.monotonic()
    site.take(8, "open")

    figures = site.finish(began)

    site.judged()
    record_property("8 orders, s", figures["all done after, s"])


def test_a_broker_that_restarts_in_mid_work_delays_and_no_more(
    site: Works, broker: Broker, record_property: Record
) -> None:
    site.take(4, "restart")
    site.under_way(2)
    broker.stop()
    since = len(site.answers)
    site.take(3, "restarted", every=0.3)
    worst = slowest(site, since)
    broker.begin()

    figures = site.finish(time.monotonic())

    site.judged()
    assert worst < AT_ONCE
    for name, value in figures.items():
        record_property(name, value)


def test_a_broker_that_is_killed_comes_back_on_what_it_kept(
    site: Works, broker: Broker, record_property: Record
) -> None:
    site.take(4, "kill")
    site.under_way(2)
    broker.kill()
    site.take(3, "killed", every=0.3)
    broker.begin()

    figures = site.finish(time.monotonic())

    site.judged()
    for name, value in figures.items():
        record_property(name, value)


def test_a_broker_that_hangs_holds_up_nobody_who_orders(site: Works, broker: Broker, record_property: Record) -> None:
    site.take(4, "hang")
    site.under_way(2)
    broker.freeze()
    since = len(site.answers)
    ends = time.monotonic() + AWAY_SECONDS
    site.take(5, "hung", every=0.5)
    site.spend(ends - time.monotonic())
    worst = slowest(site, since)
    broker.thaw()

    figures = site.finish(time.monotonic())

    site.judged()
    assert worst < AT_ONCE
    record_property("slowest answer, s", worst)
    for name, value in figures.items():
        record_property(name, value)


def test_an_emptied_broker_loses_nothing(site: Works, broker: Broker, record_property: Record) -> None:
    site.take(6, "empty")
    ends = time.monotonic() + 4
    while time.monotonic() < ends:
        broker.empty()
        site.spend(0.2)

    figures = site.finish(time.monotonic())

    site.judged()
    record_property("all done after, s", figures["all done after, s"])
