"""What Celery and Flower ask of a broker, asked of the embedded one and of a real Redis."""

from __future__ import annotations

import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import redis
from celery import Celery, chain, signature
from fakeredis._clients import _tcp_server

from provisioner.demo.broker import POLL_SECONDS, EmbeddedBroker
from provisioner.demo.children import Children, free_port
from provisioner.demo.tether import tethered

REDIS = shutil.which("redis-server")
BROKERS = ["embedded", "redis"] if REDIS else ["embedded"]
ROOT = Path(__file__).parents[2]


def eventually(condition: Callable[[], object], patience: float = 20.0) -> None:
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, "did not come true in time"
        time.sleep(0.02)


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module", params=BROKERS)
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if request.param == "embedded":
        with EmbeddedBroker() as broker:
            yield broker.url
        return
    port = free_port()
    folder = tmp_path_factory.mktemp("redis")
    argv = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
    with Children() as children:
        children.start("redis", argv, env=dict(os.environ), log=folder / "log", cwd=folder)
        eventually(lambda: listens(port))
        yield f"redis://127.0.0.1:{port}/0"


def connect(url: str) -> redis.Redis:
    """Return a client of one connection, so that a lost one shows."""
    return redis.Redis.from_url(url, decode_responses=True, single_connection_client=True, socket_timeout=5)


@pytest.fixture
def client(url: str) -> Iterator[redis.Redis]:
    with connect(url) as connection:
        connection.flushall()
        yield connection


@pytest.fixture(scope="module")
def app(url: str) -> Iterator[Celery]:
    application = Celery("contract", broker=url)
    application.conf.update(task_ignore_result=True, task_send_sent_event=True)
    yield application
    application.close()


@pytest.fixture(scope="module")
def worker(url: str, app: Celery, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    argv = [sys.executable, "-m", "celery", "-A", "tests.contract.broker_app", "worker"]
    argv += ["--pool=solo", "--loglevel=info", "--without-mingle", "--hostname=contract@%h"]
    log = tmp_path_factory.mktemp("worker") / "log"
    with Children() as children:
        environment = {**os.environ, "CONTRACT_BROKER": url}
        children.start("worker", argv, env=environment, log=log, cwd=ROOT)
        eventually(lambda: log.exists() and " ready." in log.read_text())
        yield


def test_idle_connections_of_the_embedded_broker_look_up_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    """The interval has no public name: a fakeredis that renames it would let each connection poll at 10 ms again."""
    waits: list[float] = []

    def noting(read: Any, write: Any, error: Any, seconds: float) -> Any:  # noqa: ANN401 - as select has it
        waits.append(seconds)
        return select.select(read, write, error, seconds)

    monkeypatch.setattr(_tcp_server, "select", SimpleNamespace(select=noting))
    with EmbeddedBroker() as broker:
        connect(broker.url).ping()
        eventually(lambda: waits)

    assert set(waits) == {POLL_SECONDS}


def test_a_chain_runs_in_order_on_a_real_worker(worker: None, app: Celery, client: redis.Redis) -> None:
    steps = [signature("contract.note", ("words", word), immutable=True) for word in "abc"]

    chain(*steps, app=app).apply_async()

    eventually(lambda: client.llen("words") == 3)
    assert client.lrange("words", 0, -1) == ["a", "b", "c"]


def test_events_tell_the_life_of_a_task_with_its_root(worker: None, app: Celery, client: redis.Redis) -> None:
    seen: list[dict[str, Any]] = []
    ready = threading.Event()

    def listen() -> None:
        with app.connection_for_read() as connection:
            receiver = app.events.Receiver(connection, handlers={"*": seen.append})
            with receiver.consumer_context() as (link, _channel, _consumers):
                while len(seen) < 1000 and not any(e["type"] == "task-succeeded" for e in seen):
                    with suppress(TimeoutError):
                        link.drain_events(timeout=0.2)
                    ready.set()  # only the first drain subscribes

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    assert ready.wait(5)

    app.send_task("contract.note", ("heard", "x"), task_id="child", root_id="root")

    listener.join(20)
    life = [event for event in seen if event["type"].startswith("task-")]
    assert [event["type"] for event in life if event["type"] != "task-sent"] == [
        "task-received",
        "task-started",
        "task-succeeded",
    ]
    assert {event.get("root_id", "root") for event in life} == {"root"}


def test_a_worker_answers_inspection(worker: None, app: Celery) -> None:
    answers = app.control.ping(timeout=1) or []

    assert [list(answer.values()) for answer in answers] == [[{"ok": "pong"}]]


def test_an_unknown_script_is_an_error_and_the_connection_stays(client: redis.Redis) -> None:
    number = client.client_id()

    with pytest.raises(redis.exceptions.NoScriptError):
        client.evalsha("f" * 40, 0)

    assert client.client_id() == number


def test_a_script_runs_once_it_is_known(client: redis.Redis) -> None:
    script = client.register_script("redis.call('SET', KEYS[1], ARGV[1]); return ARGV[1]")

    assert script(keys=["k"], args=["v"]) == "v"
    assert client.get("k") == "v"


def test_pipelines_do_not_wait_for_each_other(client: redis.Redis) -> None:
    took = []
    for number in range(40):
        began = time.perf_counter()
        pipeline = client.pipeline()
        pipeline.lpush("queue", number)
        pipeline.rpop("queue")
        pipeline.execute()
        took.append(time.perf_counter() - began)

    # Nagle's algorithm against delayed acknowledgement would make it 40 ms, each time.
    assert sorted(took)[len(took) // 2] < 0.03


def test_a_blocked_pop_wakes_when_something_is_pushed(url: str, client: redis.Redis) -> None:
    popped: list[object] = []

    def pop() -> None:
        with connect(url) as other:
            popped.extend(other.brpop(["queue", "other"], timeout=3) or [])

    waiting = threading.Thread(target=pop)
    waiting.start()
    time.sleep(0.1)
    client.lpush("queue", "word")

    waiting.join(5)
    assert popped == ["queue", "word"]


def test_a_published_word_reaches_every_subscriber(url: str, client: redis.Redis) -> None:
    heard: list[object] = []

    def listen() -> None:
        with connect(url) as other, other.pubsub() as listener:
            listener.subscribe("news")
            heard.append(next(word["data"] for word in listener.listen() if word["data"] != 1))

    listeners = [threading.Thread(target=listen) for _ in range(2)]
    for listener in listeners:
        listener.start()
    eventually(lambda: dict(client.pubsub_numsub("news")) == {"news": 2})
    client.publish("news", "word")

    for listener in listeners:
        listener.join(5)
    assert heard == ["word", "word"]


def test_flushall_forgets_everything(client: redis.Redis) -> None:
    client.lpush("queue", "word")

    client.flushall()

    assert client.keys("*") == []


def test_a_flushed_broker_keeps_its_connections(broker: EmbeddedBroker) -> None:
    with connect(broker.url) as client:
        client.set("k", "v")
        number = client.client_id()

        broker.flush()

        assert client.get("k") is None
        assert client.client_id() == number


def test_a_stopped_broker_frees_its_port_at_once() -> None:
    first = EmbeddedBroker()
    first.start()
    with connect(first.url) as client:
        client.ping()

        first.stop()

        with EmbeddedBroker(first.port) as second:
            assert second.url == first.url


def until_stopped(pid: int) -> None:
    """Return once every thread stands: on a busy machine the last one may answer after the signal was sent."""
    ends = time.monotonic() + 10
    threads = Path(f"/proc/{pid}/task")
    while any(task.joinpath("stat").read_text().rpartition(")")[2].split()[0] != "T" for task in threads.iterdir()):
        assert time.monotonic() < ends, "the broker did not stop"


def test_a_broker_of_its_own_process_hangs_when_stopped_and_goes_on_when_continued() -> None:
    argv = tethered([sys.executable, "-m", "provisioner.demo.broker", "--port", "0"])
    with subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        client = redis.Redis.from_url(process.stdout.readline().strip(), socket_timeout=0.3, retry=None)
        client.set("k", "v")
        process.send_signal(signal.SIGSTOP)
        until_stopped(process.pid)

        with pytest.raises(redis.exceptions.TimeoutError):
            client.get("k")

        process.send_signal(signal.SIGCONT)
        assert client.get("k") == b"v"
        client.close()
        process.terminate()
    assert process.returncode == 0


@pytest.mark.services
def test_the_contract_ran_on_a_real_redis_too() -> None:
    assert REDIS is not None, "no redis-server on the path: apt-get install redis-server"
