"""Those in charge, played by the program: they answer what the system asks, and touch nothing else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from provisioner.demo.client import ApiError, Json
from provisioner.errors import Overloaded
from tests.chaos.town import Town

EVERY = 2.0  #: seconds between two answers about one thing
RETRIES = 2
HELD = """
SELECT j.id, s.external_ref, s.hostname FROM job j JOIN attempt a ON a.job_id = j.id AND a.state = 'held'
  LEFT JOIN service s ON s.id = j.service_id WHERE j.state IN ('running', 'compensating')"""


@dataclass
class Person:
    """
    Answers each held job with retry, retry, cancel, and lets a place go on that refused our password.

    A place that was away, or is restricted, is left alone: that has to end by itself.
    """

    town: Town
    tell: Callable[[str], None]
    clock: Callable[[], float]
    pressed: Counter[int] = field(default_factory=Counter)
    retries: Counter[str] = field(default_factory=Counter)  #: host name → how often its work was begun again
    resumed: int = 0
    _next: dict[object, float] = field(default_factory=dict)

    @property
    def asked(self) -> int:
        """How many jobs a person had to decide about."""
        return len(self.pressed)

    def answer(self) -> None:
        """Answer what is asked and was not answered a moment ago."""
        try:
            held = self.town.database.rows(HELD) if self._turn("held") else []
        except Overloaded:
            self.town.database.close()
            return
        for job in held:
            if self._turn(job["id"]) and self.pressed[job["id"]] <= RETRIES:
                self._press(job["id"], job["hostname"] or "")
        if self._turn("connections"):
            for connection in self._ask("GET", "/v1/connections") or []:
                if connection["state"] == "paused" and connection["paused_by"] == "denied":
                    self.resumed += 1
                    self._ask(
                        "POST", f"/v1/connections/{connection['name']}/resume", {"reason": "the password is right"}
                    )

    def _press(self, job: int, host: str) -> None:
        verb = "retry" if self.pressed[job] < RETRIES else "cancel"
        if self._ask("POST", f"/v1/jobs/{job}/{verb}", {}) is not None:
            self.retries[host] += verb == "retry"
        self.pressed[job] += 1

    def _ask(self, method: str, path: str, body: Json = None) -> Json | None:
        try:
            return self.town.call(method, path, body)
        except ApiError as error:
            self.tell(f"         {path}: {error}")
            return None

    def _turn(self, what: object) -> bool:
        now = self.clock()
        if self._next.get(what, 0.0) > now:
            return False
        self._next[what] = now + EVERY
        return True
