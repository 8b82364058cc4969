"""What a measurement runs in: PostgreSQL with fsync, a broker, and a worker, all children; our ports beside them."""

from __future__ import annotations

import itertools
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from celery import Celery

from provisioner import bootstrap, config
from provisioner.bootstrap import App
from provisioner.cli import processes
from provisioner.demo.children import Children
from provisioner.demo.postgres import EmbeddedPostgres
from provisioner.vault import generate_key

ROOT = Path(__file__).parents[2]
SLOTS = 2  #: touches at once: the worker's, as in durability.md
NUMBERS = itertools.count(1)
#: nothing is late here: no tick comes between, no list is too old
PATIENT: Mapping[str, float] = {"view_age": 86400.0, "wake_grace": 3600.0, "wake_most": 7200.0}


class Slow(Exception):
    """What was awaited did not come; the message says what, and where the logs are."""


@dataclass
class House:
    """Everything that runs, and a database a measurement."""

    folder: Path
    postgres: EmbeddedPostgres
    children: Children
    broker_url: str
    key: str = field(default_factory=generate_key)

    def settings(self, database: str, **changes: Any) -> config.Settings:
        return config.load(
            database_url=self.postgres.url(database), broker_url=self.broker_url, secret_key=self.key, **changes
        )

    def new_database(self) -> str:
        name = f"bench_{next(NUMBERS)}"
        self.postgres.create_database(name)
        bootstrap.upgrade(self.settings(name))
        return name

    @contextmanager
    def ports(self, database: str, **changes: Any) -> Iterator[App]:
        """Plug our ports on *database*; messages are sent at once, as a worker does."""
        made = bootstrap.build(self.settings(database, **changes), worker=True)
        try:
            yield made
        finally:
            made.database.close()

    @contextmanager
    def worker(
        self, database: str, steps: str, *, queues: str = "steps", slots: int = SLOTS, **more: str
    ) -> Iterator[Worker]:
        """Run a worker whose steps are `idle`, `acting` or `real`."""
        name = f"worker-{next(NUMBERS)}"
        ended = self.folder / f"{name}.ended"
        ended.touch()
        argv = [
            "tests.bench.worker" if word == "workers.app" else word
            for word in processes.worker_argv(queues, slots, name, "warning")
        ]
        environment = {
            "PATH": os.defpath,
            "LC_ALL": "C.UTF-8",
            "HOME": str(self.folder),
            "PROVISIONER_DATABASE_URL": self.postgres.url(database),
            "PROVISIONER_BROKER_URL": self.broker_url,
            "PROVISIONER_SECRET_KEY": self.key,
            "PROVISIONER_SPANS": json.dumps(dict(PATIENT)),
            "PROVISIONER_LOG_LEVEL": "WARNING",
            "BENCH_STEPS": steps,
            "BENCH_ENDED": str(ended),
            **more,
        }
        pid = self.children.start(name, argv, env=environment, log=self.folder / f"{name}.log", cwd=ROOT, restart=False)
        try:
            yield Worker(pid, ended, self.children.log(name))
        finally:
            self.children.stop(name)


@dataclass
class Worker:
    """A running worker."""

    pid: int
    ended: Path
    log: Path

    def count(self) -> int:
        return self.ended.stat().st_size

    def wait(self, number: int, *, seconds: float = 30.0) -> None:
        """Wait until *number* tasks have ended in all."""
        try:
            wait_until(lambda: self.count() >= number, f"the worker to end {number} tasks", seconds)
        except Slow as slow:
            last = "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])
            raise Slow(f"{slow}; it ended {self.count()}, and its last words are:\n{last}") from None

    def warm(self, app: Celery) -> None:
        """Let every slot run something before the clock does."""
        begun = self.count()
        for _ in range(4 * SLOTS):
            app.send_task("bench.noop", queue="steps")
        self.wait(begun + 4 * SLOTS)


def wait_until(held: Callable[[], bool], what: str, seconds: float) -> None:
    """Look every 2 ms; raises `Slow`."""
    ends = time.monotonic() + seconds
    while not held():
        if time.monotonic() > ends:
            raise Slow(f"waited {seconds:.0f} s in vain for {what}")
        time.sleep(0.002)


@contextmanager
def house(folder: Path, redis_url: str | None) -> Iterator[House]:
    """Have PostgreSQL and a broker inside; nothing is left afterwards."""
    with Children() as children, EmbeddedPostgres(folder, fsync=True) as postgres:
        yield House(folder, postgres, children, redis_url or _embedded(children, folder))


def _embedded(children: Children, folder: Path) -> str:
    log = folder / "broker.log"
    environment = {"PATH": os.defpath, "PYTHONUNBUFFERED": "1"}
    children.start("broker", [sys.executable, "-m", "provisioner.demo.broker"], env=environment, log=log, cwd=ROOT)
    wait_until(lambda: log.exists() and log.read_text().endswith("\n"), "the broker", 30)
    return log.read_text().split()[0]


# --- what processes cost ----------------------------------------------------------------------------------------------


def tree(pid: int) -> Sequence[int]:
    """Give *pid* and all its descendants."""
    found, look = [pid], [pid]
    while look:
        one = look.pop()
        try:
            children = Path(f"/proc/{one}/task/{one}/children").read_text()
        except OSError:
            continue
        look += [int(child) for child in children.split()]
        found += [int(child) for child in children.split()]
    return found


def cpu_seconds(pid: int) -> float:
    """Give the time that *pid* and its descendants have computed, to the nanosecond."""
    total = 0
    for one in tree(pid):
        for task in Path(f"/proc/{one}/task").glob("*/schedstat"):
            try:
                total += int(task.read_text().split()[0])
            except OSError:
                continue
    return total / 1e9


def memory_mib(pid: int) -> tuple[float, float]:
    """Give resident and proportional size: shared pages are counted once among those who share them."""
    lines = dict(
        line.split(":", 1) for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines() if ":" in line[:40]
    )
    kib = {name: int(lines[name].split()[0]) for name in ("Rss", "Pss")}
    return kib["Rss"] / 1024, kib["Pss"] / 1024
