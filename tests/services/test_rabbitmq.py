"""RabbitMQ blocks who publishes while its memory alarm is on: nobody may wait for an answer that does not come."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import kombu.pools
import pytest

from provisioner.domain.spans import Spans
from provisioner.usecases import recipes
from provisioner.wakeup import CeleryWaker, celery_app
from tests.services.servers import Postgres, RabbitMQ, wait
from tests.services.works import Works, works

pytestmark = [pytest.mark.services, pytest.mark.timeout(600)]
Record = Callable[[str, object], None]
ALARM_SECONDS = 8.0
AT_ONCE = 2.0
NEVER, ALWAYS = "2GB", "1"


@pytest.fixture
def rabbitmq(real_rabbitmq: RabbitMQ) -> Iterator[RabbitMQ]:
    real_rabbitmq.heal()
    yield real_rabbitmq
    real_rabbitmq.heal()


@pytest.fixture
def waker(rabbitmq: RabbitMQ) -> Iterator[CeleryWaker]:
    apps = celery_app(rabbitmq.url, Spans()), celery_app(rabbitmq.url, Spans(), visible=False)
    yield CeleryWaker(*apps, name_of=recipes.task_name, label_of=recipes.label)
    kombu.pools.reset()


def ends_within(seconds: float, deed: Callable[[], None]) -> float:
    """Do it in a thread, that one which hangs may be left behind; give the seconds it took."""
    done, began = threading.Event(), time.monotonic()

    def do() -> None:
        deed()
        done.set()

    threading.Thread(target=do, daemon=True).start()
    assert done.wait(seconds), f"still waits after {seconds:.0f} s"
    return time.monotonic() - began


def test_whoever_sends_goes_on_while_the_broker_takes_nothing(rabbitmq: RabbitMQ, waker: CeleryWaker) -> None:
    waker.tick()
    rabbitmq.alarm(memory=ALWAYS)

    ends_within(10, waker.tick)
    ends_within(10, lambda: waker.observe(1))  # a queue that this connection has not declared yet: asks and waits
    ends_within(10, waker.deliver)


def test_telling_flower_of_a_dead_worker_ends_while_the_broker_takes_nothing(
    rabbitmq: RabbitMQ, waker: CeleryWaker
) -> None:
    rabbitmq.alarm(memory=ALWAYS)

    ends_within(10, lambda: waker.lost("7.101.a1.06_install_os", "steps@host", "the lease ran out"))


def test_a_broker_that_hangs_costs_a_sender_seconds(rabbitmq: RabbitMQ, waker: CeleryWaker) -> None:
    waker.tick()
    rabbitmq.freeze()

    ends_within(12, lambda: waker.observe(1))
    ends_within(12, lambda: waker.lost("7.101.a1.06_install_os", "steps@host", "the lease ran out"))
    kombu.pools.reset()
    ends_within(12, waker.tick)


@pytest.fixture(scope="module")
def site(real_postgres: Postgres, real_rabbitmq: RabbitMQ) -> Iterator[Works]:
    real_rabbitmq.heal()
    with works(real_postgres, real_rabbitmq, "alarm") as made:
        yield made


@pytest.mark.long
def test_orders_are_taken_during_a_memory_alarm_and_complete_after_it(
    site: Works, rabbitmq: RabbitMQ, record_property: Record
) -> None:
    site.take(4, "before")
    site.under_way(2)
    rabbitmq.alarm(memory=ALWAYS)
    wait("the alarm", rabbitmq.alarmed)
    since, began = len(site.answers), time.monotonic()
    site.take(5, "during", every=0.5)
    site.spend(began + ALARM_SECONDS - time.monotonic())
    worst = max(answer.seconds for answer in site.answers[since:])
    statuses = {answer.status for answer in site.answers[since:]}
    rabbitmq.alarm(memory=NEVER)

    figures = site.finish(time.monotonic())

    site.judged()
    assert statuses == {202}
    assert worst < AT_ONCE
    record_property("slowest answer, s", round(worst, 2))
    for name, value in figures.items():
        record_property(name, value)


@pytest.mark.long
def test_a_worker_that_dies_during_the_alarm_is_missed_after_it(
    site: Works, rabbitmq: RabbitMQ, record_property: Record
) -> None:
    site.take(6, "dies")
    site.under_way(3)
    rabbitmq.alarm(memory=ALWAYS)
    for name in ("steps-1", "control-1"):
        site.kill(name)
    site.spend(ALARM_SECONDS)
    rabbitmq.alarm(memory=NEVER)

    figures = site.finish(time.monotonic())

    site.judged()
    for name, value in figures.items():
        record_property(name, value)
