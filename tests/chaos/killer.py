"""What is done to us, and when: workers killed, the broker emptied, the database ended, beat dead for a while."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from provisioner.errors import Overloaded
from tests.chaos.town import WORKERS, Town

SHORT = 120.0  #: a stream that is not longer than this is killed at twice as often
BROKER, DATABASE, BEAT_OFF, BEAT_ON = "broker", "database", "beat off", "beat on"
MAIL_OFF, MAIL_ON = "mail off", "mail on"
API, CHILD = "api", "one process of"
RUNNING = "SELECT id, epoch FROM attempt WHERE state = 'running' AND worker LIKE %(worker)s"


@dataclass(frozen=True)
class Blow:
    """One thing that is done to us, at an instant after the start."""

    at: float
    what: str  #: broker, database, beat or mail off or on; or a worker, whole or one process of its pool


def blows(seed: int, seconds: float) -> list[Blow]:
    """Give what is done to us, in order of time. The same seed gives the same."""
    draw = random.Random(seed + 1)
    every = 15.0 if seconds <= SHORT else 30.0
    third = seconds / 3
    found = [
        Blow(third * 0.5, BROKER),
        Blow(third, DATABASE),
        Blow(third * 1.2, BEAT_OFF),
        Blow(third * 1.7, BEAT_ON),
        Blow(third * 2, DATABASE),
        Blow(third * 2.4, BROKER),
        Blow(third * 1.4, API),
        Blow(third * 0.3, MAIL_OFF),
        Blow(third * 0.8, MAIL_ON),
    ]
    longest, emptied = seconds * 3, 180.0  # a storm goes on until the work is done
    found += [Blow(n * emptied, BROKER) for n in range(1, int(longest / emptied) + 1)]
    for n in range(1, int(longest / every) + 1):
        worker = draw.choice(WORKERS)
        whole = n % 3 != 0
        found.append(Blow(n * every, worker if whole else f"{CHILD} {worker}"))
    return sorted(found, key=lambda blow: (blow.at, blow.what))


@dataclass
class Hit:
    """Work that lay under a blow: where it stood."""

    at: float  #: monotonic
    ids: list[int]
    epochs: list[int]


@dataclass
class Killer:
    """Strikes when it is time, and remembers what was hit."""

    town: Town
    coming: list[Blow]
    tell: Callable[[str], None]
    clock: Callable[[], float]
    kills: int = 0
    hits: list[Hit] = field(default_factory=list)

    def strike(self, now: float) -> None:
        """Do what is due, *now* seconds after the start."""
        while self.coming and self.coming[0].at <= now:
            blow = self.coming.pop(0)
            self.tell(f"{now:6.1f} s  {blow.what}")
            self._do(blow.what)

    def _do(self, what: str) -> None:
        match what:
            case "broker":
                self.town.empty_broker()
            case "database":
                self.town.restart_database()
            case "beat off":
                self.town.children.stop("beat")
            case "beat on":
                self.town.beat()
            case "mail off":
                self.town.children.stop("mail")
            case "mail on":
                self.town.take_mail()
            case "api":
                self.kills += self.town.kill(API)
            case worker:
                self._kill(worker.removeprefix(CHILD).strip(), whole=not worker.startswith(CHILD))

    def _kill(self, worker: str, *, whole: bool) -> None:
        try:
            rows = self.town.database.rows(RUNNING, worker=f"{worker}@%")
        except Overloaded:
            rows = []
        killed = self.town.kill(worker) if whole else self.town.kill_one_of(worker, self.kills)
        self.kills += killed
        if killed and whole and rows:  # of one process alone nobody can say what it worked at
            self.hits.append(Hit(self.clock(), [row["id"] for row in rows], [row["epoch"] for row in rows]))
