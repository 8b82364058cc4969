"""Several worker processes on one database, one world and one queue of messages; each reconciles and observes too."""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from provisioner.drivers.fake import FakeProber, RemoteDatacentre, RemoteFake
from provisioner.ports import Wakeup
from tests.site import ListWaker, Site

FORK = multiprocessing.get_context("fork")
SENT, DELIVERED, OBEYED = range(3)


class QueueWaker(ListWaker):
    """Sends through a queue that all processes read; *lag* is how late a message is delivered."""

    def __init__(self, lag: float) -> None:
        super().__init__()
        self.queue: multiprocessing.Queue[tuple[float, Wakeup]] = FORK.Queue()
        self.lag = lag
        self.counts = FORK.Array("l", 3)
        self.latest = FORK.Value("d", 0.0)

    def count(self, what: int, by: int = 1) -> None:
        with self.counts.get_lock():
            self.counts[what] += by

    def wake(self, wakeups: Sequence[Wakeup]) -> None:
        self.count(SENT, len(wakeups))
        now = time.time()
        for message in wakeups:
            self.queue.put((now + self.lag, message))

    def receive(self) -> Wakeup | None:
        """Take the next message and wait until it is due; None when there is none."""
        try:
            due, message = self.queue.get(timeout=0.01)
        except queue.Empty:
            return None
        while (wait := due - time.time()) > 0:
            time.sleep(wait)
        with self.latest.get_lock():
            self.latest.value = max(self.latest.value, time.time() - due + self.lag)
        self.count(DELIVERED)
        return message


class CrowdSite(Site):
    """A site that is worked by `crowd`; its world is served at *address* by this process."""

    def __init__(self, url: str, address: str, *, lag: float = 0.0, **options: Any) -> None:
        super().__init__(url, **options)
        self.remote = RemoteDatacentre(address)
        self.driver = RemoteFake(address, "dc1", call_seconds=1.0)
        self.shared = QueueWaker(lag)
        self.waker = self.shared
        self.prober = FakeProber(self.remote)
        self.tools = replace(self.tools, waker=self.waker, prober=self.prober)

    def owner(self) -> str:
        return f"{super().owner()}:{os.getpid()}"

    def work(self, stop: Callable[[], bool]) -> None:
        """Tick now and then, and deliver what is there between."""
        while not stop():
            self.tick()
            next_tick = time.monotonic() + self.spans.reconcile
            while time.monotonic() < next_tick and not stop():
                message = self.shared.receive()
                if message is not None and self.touch(message).outcome not in ("fenced", "away", "no_slot"):
                    self.shared.count(OBEYED)


@contextmanager
def crowd(site: CrowdSite, processes: int) -> Iterator[None]:
    """Let *processes* children work on *site* meanwhile; fails when one of them did."""
    stop = FORK.Event()
    site.database.close()
    children = [FORK.Process(target=_run, args=(site, stop), daemon=True) for _ in range(processes)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the thread that serves the world takes no part
        for child in children:
            child.start()
    try:
        yield
    finally:
        stop.set()
        for child in children:
            child.join(timeout=15)
            if child.is_alive():
                child.kill()
                child.join()
        site.shared.queue.close()
    assert [child.exitcode for child in children] == [0] * processes


def _run(site: CrowdSite, stop: Any) -> None:  # noqa: ANN401 - multiprocessing's event
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    code = 3
    try:
        site.database.forget()
        site.work(stop.is_set)
        code = 0
    except BaseException:  # noqa: BLE001 - the child must not return into pytest
        traceback.print_exc(file=sys.stderr)
    sys.stderr.flush()
    os._exit(code)


def wait_until(held: Callable[[], bool], says: Callable[[], str], *, seconds: float) -> None:
    """Look again and again until *held*; fails with what *says* when it takes longer."""
    ends = time.monotonic() + seconds
    while not held():
        assert time.monotonic() < ends, says()
        time.sleep(0.1)
