"""A durable chain against a plain one, in alternating pairs: rates, and what each costs in CPU."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from celery import chain

from provisioner.bootstrap import App
from tests.bench import seed
from tests.bench.figures import Figure
from tests.bench.house import PATIENT, House, Worker, cpu_seconds, memory_mib, tree

CHAINS = 15  #: chains under way at once in each half of a pair
STEPS = len(seed.EIGHT)


@dataclass(frozen=True)
class Half:
    """One half of a pair."""

    rate: float  #: steps a second
    worker_ms: float  #: CPU a step, of the worker
    postgres_ms: float  #: CPU a step, of PostgreSQL


def measure(house: House, steps: str, *, rounds: int, at_least: float) -> Iterator[Figure]:
    """Give the figures of eight steps that are *steps*: `idle` or `acting`."""
    database = house.new_database()
    with house.ports(database, spans=dict(PATIENT)) as app, house.worker(database, steps) as worker:
        seed.connect(app, servers=CHAINS * (rounds + 2) + 10)
        worker.warm(app.celery)
        pairs = []
        for n in range(-1, rounds):
            if n % 2:
                plain = _plain(house, app, worker)
                pair = (_durable(house, app, worker, n), plain)
            else:
                pair = (_durable(house, app, worker, n), _plain(house, app, worker))
            if n >= 0:  # the first pair only warms up
                pairs.append(pair)
        title = "finds nothing to do" if steps == "idle" else "acts"
        yield Figure(f"durable / plain chain, eight steps, each {title}",
                     [ours.rate / plain.rate for ours, plain in pairs], at_least=at_least)  # fmt: skip
        yield Figure("  durable", [ours.rate for ours, _ in pairs], "1/s", notes="steps a second")
        yield Figure("  plain", [plain.rate for _, plain in pairs], "1/s", notes="steps a second")
        yield Figure("  own CPU a step beyond Celery's, worker",
                     [ours.worker_ms - plain.worker_ms for ours, plain in pairs], "ms", at_most=3.0)  # fmt: skip
        yield Figure("  CPU a step, worker, plain", [plain.worker_ms for _, plain in pairs], "ms")
        yield Figure("  CPU a step, PostgreSQL", [ours.postgres_ms for ours, _ in pairs], "ms")
        if steps == "idle":
            yield from memory(worker)


def memory(worker: Worker) -> Iterator[Figure]:
    """Give what a worker's processes take."""
    first, *pool = tree(worker.pid)
    for name, pids in (("main process", [first]), ("pool child", pool)):
        sizes = [memory_mib(pid) for pid in pids]
        yield Figure(f"memory of a worker: {name}, resident", [rss for rss, _ in sizes], "MiB")
        yield Figure(f"memory of a worker: {name}, shared pages divided", [pss for _, pss in sizes], "MiB")


def _durable(house: House, app: App, worker: Worker, n: int) -> Half:
    messages = seed.plan(app, [f"r{n + 1}-{one}" for one in range(CHAINS)])
    half = _timed(house, worker, lambda: app.waker.wake(messages))
    jobs = [message.job_id for message in messages]
    ended = app.database.value("SELECT count(*) FROM job WHERE id = ANY(%(jobs)s) AND state = 'succeeded'", jobs=jobs)
    if ended != CHAINS:
        raise AssertionError(f"{ended} of {CHAINS} chains succeeded; see {worker.log}")
    return half


def _plain(house: House, app: App, worker: Worker) -> Half:
    noop = app.celery.signature("bench.noop", immutable=True, queue="steps")

    def send() -> None:
        for _ in range(CHAINS):
            chain(*(noop.clone() for _ in range(STEPS))).apply_async()

    return _timed(house, worker, send)


def _timed(house: House, worker: Worker, send: Callable[[], None]) -> Half:
    number, begun = CHAINS * STEPS, worker.count()
    postgres = house.postgres.pid or 0
    cpu, theirs, began = cpu_seconds(worker.pid), cpu_seconds(postgres), time.perf_counter()
    send()
    worker.wait(begun + number)
    spent = time.perf_counter() - began
    time.sleep(0.05)  # the last acknowledgement
    return Half(
        rate=number / spent,
        worker_ms=(cpu_seconds(worker.pid) - cpu) * 1000 / number,
        postgres_ms=(cpu_seconds(postgres) - theirs) * 1000 / number,
    )
