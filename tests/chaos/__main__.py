"""`./run chaos`: a whole system, everything that can go wrong, and at the end nine numbers that must be 0."""

from __future__ import annotations

import argparse
import json
import random
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from provisioner.demo.client import ApiError
from provisioner.errors import Overloaded
from provisioner.simulators.client import ControlError
from tests.chaos import judge
from tests.chaos.stream import Deed, arm, deeds
from tests.chaos.town import OS, RIVAL, WORKERS, Town

Json = Any
STUCK = """
SELECT j.id, j.kind, j.state, j.waits_for, j.reason, s.external_ref, a.state AS attempt, st.name AS step, st.outcome,
       a.reason AS why
  FROM job j LEFT JOIN service s ON s.id = j.service_id
  LEFT JOIN attempt a ON a.job_id = j.id AND a.state <> 'ended'
  LEFT JOIN step st ON st.attempt_id = a.id AND st.pos = a.pos
 WHERE j.state IN ('queued', 'running', 'compensating', 'interrupted') AND j.waits_for IS DISTINCT FROM 'stock'"""
UNSEEN = """
SELECT coalesce(max(extract(epoch FROM clock_timestamp() - resume_at)), 0) FROM attempt
 WHERE state IN ('ready', 'waiting') AND awaits IS NULL AND resume_at < clock_timestamp()"""
RUNNING = "SELECT id, epoch FROM attempt WHERE state = 'running' AND worker LIKE %(worker)s"
MOVED = "SELECT count(*) FROM attempt WHERE id = ANY(%(ids)s) AND state = 'running' AND epoch = ANY(%(epochs)s)"


@dataclass
class Run:
    """One run: what is still to come, what was told, what was measured."""

    town: Town
    seed: int
    coming: list[Deed]
    seconds: float
    tell: Callable[[str], None]
    refs: dict[int, str] = field(default_factory=dict)
    late: list[Deed] = field(default_factory=list)
    kills: int = 0
    asked: int = 0  #: jobs that a person had to decide about
    unseen: float = 0.0
    recoveries: list[float] = field(default_factory=list)
    watching: list[tuple[float, list[int], list[int]]] = field(default_factory=list)

    def storm(self) -> None:
        """Let the stream run while everything is killed and emptied."""
        draw = random.Random(self.seed + 1)
        began = time.monotonic()
        deadly = self._deadly(draw)
        while self.coming or self.late or deadly:
            now = time.monotonic() - began
            self.town.tend()
            while deadly and deadly[0][0] <= now:
                self._kill(deadly.pop(0)[1], now)
            for deed in [*self._take(now)]:
                self._do(deed)
            self._measure()
            if now > self.seconds * 2 + 60:
                break
            time.sleep(0.05)

    def _deadly(self, draw: random.Random) -> list[tuple[float, str]]:
        """Give what is done to us, and when."""
        every = 15.0 if self.seconds <= 120 else 30.0
        times = [(n * every, draw.choice(WORKERS)) for n in range(1, int(self.seconds / every) + 1)]
        third = self.seconds / 3
        return sorted(
            [
                *times,
                (third * 0.5, "broker"),
                (third, "database"),
                (third * 1.2, "beat off"),
                (third * 1.7, "beat on"),
                (third * 2, "database"),
                (third * 2.4, "broker"),
            ]
        )

    def _kill(self, what: str, now: float) -> None:
        self.tell(f"{now:6.1f} s  {what}")
        match what:
            case "broker":
                self.town.empty_broker()
            case "database":
                self.town.restart_database()
            case "beat off":
                self.town.children.stop("beat")
            case "beat on":
                self.town.beat()
            case worker:
                self.kills += 1
                try:
                    rows = self.town.database.rows(RUNNING, worker=f"{worker}@%")
                except Overloaded:
                    rows = []
                if self.town.kill(worker) and rows:
                    ids, epochs = [row["id"] for row in rows], [row["epoch"] for row in rows]
                    self.watching.append((time.monotonic(), ids, epochs))

    def _measure(self) -> None:
        try:
            self.unseen = max(self.unseen, float(self.town.database.value(UNSEEN)))
            for began, ids, epochs in list(self.watching):
                if not self.town.database.value(MOVED, ids=ids, epochs=epochs):
                    self.recoveries.append(time.monotonic() - began)
                    self.watching.remove((began, ids, epochs))
        except Overloaded:
            self.town.database.close()

    def _take(self, now: float) -> list[Deed]:
        due, self.late = self.late, []
        while self.coming and self.coming[0].at <= now:
            due.append(self.coming.pop(0))
        return due

    def _do(self, deed: Deed) -> None:
        """Ask it; what could not be asked now is asked again, as billing does."""
        try:
            done = self._foreign(deed) if deed.what == "foreign" else self._ask(deed)
        except ApiError as error:
            if error.status != 409 and error.status != 404:  # noqa: PLR1714 - refused with a sentence
                self.tell(f"         {deed.what} {deed.number}: {error}")
            done = True
        except ControlError:
            done = True
        if not done:
            self.late.append(deed)

    def _ask(self, deed: Deed) -> bool:
        ref = f"ord-{self.seed}-{deed.number}"
        call = self.town.call
        match deed.what:
            case "order":
                answer = call("POST", "/v1/services", self.order(deed, ref))
                if answer is not None:
                    self.refs[deed.number] = ref
                return answer is not None
            case _ if deed.number not in self.refs:
                return False
            case "cancel":
                service = call("GET", f"/v1/services/{ref}")
                path = f"/v1/jobs/{service['jobs'][-1]['id']}/cancel" if service else ""
                return service is not None and call("POST", path, {}) is not None
            case "address":
                headers = {"Idempotency-Key": f"a{deed.number}"}
                return call("POST", f"/v1/services/{ref}/addresses", {"count": 1}, headers) is not None
            case verb:
                return call("POST", f"/v1/services/{ref}/{verb}", {}) is not None

    def order(self, deed: Deed, ref: str) -> Json:
        """Give an order's body; its password is planted to be looked for."""
        return {
            "external_ref": ref, "package": deed.package, "hostname": f"h{deed.number}.example.net", "os": OS,
            "customer": {"reference": deed.customer, "login": f"u{deed.customer}"},
            "panel_password": self.secret(deed.customer),
        }  # fmt: skip

    def secret(self, customer: str) -> str:
        """Give the password that a customer's orders carry."""
        return f"Planted-{self.seed}-{customer}"

    def _foreign(self, deed: Deed) -> bool:
        """Let somebody else take a free server, or give back what he took."""
        draw = random.Random(self.seed * 7919 + deed.number)
        place = self.town.places[draw.randrange(len(self.town.places))]
        servers = sorted(place.control.servers(), key=lambda one: int(one["id"]))
        server = servers[draw.randrange(len(servers))]
        if server["owner"] == RIVAL:
            place.control.change_server(server["id"], owner=None, domain="free.ds")
        elif not server["owner"]:
            place.control.change_server(server["id"], owner=RIVAL, domain="rival.example.net")
        return True

    # --- afterwards -----------------------------------------------------------------------------------------------

    def settle(self, seconds: float) -> list[Json]:
        """End all faults, play the person who is asked, and wait until nothing will move; returns what is stuck."""
        for place in self.town.places:
            place.control.clear_faults()
            place.control.restore()
        if "beat" not in self.town.children:
            self.town.beat()
        ends = time.monotonic() + seconds
        pressed: dict[int, int] = {}
        left: list[Json] = []
        while time.monotonic() < ends:
            self.town.tend()
            self._measure()
            try:
                left = self.town.database.rows(STUCK)
            except Overloaded:
                continue
            if not left:
                return []
            for job in left:
                if job["attempt"] == "held" and pressed.get(job["id"], 0) < 3:
                    self.asked += job["id"] not in pressed
                    pressed[job["id"]] = pressed.get(job["id"], 0) + 1
                    self._press(job["id"], "retry" if pressed[job["id"]] < 3 else "cancel")
            for connection in self.town.call("GET", "/v1/connections") or []:
                if connection["state"] == "paused":
                    self._post(f"/v1/connections/{connection['name']}/resume", {"reason": "the storm is over"})
            time.sleep(0.3)
        return [job for job in left if not (job["attempt"] == "held" and job["why"])]

    def _press(self, job: int, verb: str) -> None:
        self._post(f"/v1/jobs/{job}/{verb}", {})

    def _post(self, path: str, body: Json) -> None:
        try:
            self.town.call("POST", path, body)
        except ApiError as error:
            self.tell(f"         {path}: {error}")


def main() -> int:
    """Run, judge, print; 0 when all nine numbers are 0."""
    options = _options()
    orders, seconds, places, servers = (200, 75.0, 2, 150) if options.short else (1000, 900.0, 4, 300)
    folder = Path(tempfile.mkdtemp(prefix="provisioner-chaos-"))
    folder.chmod(0o711)
    began = time.monotonic()
    say = _quiet if options.json else _say
    say(f"seed {options.seed}: {orders} orders, {places} places of {servers} servers; logs in {folder}/logs")
    town = Town(folder, plant=options.plant)
    try:
        town.start(places=places, servers=servers, seed=options.seed)
        run = Run(town, options.seed, deeds(options.seed, orders=orders, seconds=seconds, places=places), seconds, say)
        for place in town.places:
            arm(place.control, options.seed)
        run.storm()
        say(f"{time.monotonic() - began:6.1f} s  the storm is over; waiting until nothing moves")
        stuck = run.settle(150.0 if options.short else 600.0)
        services = {ref: town.api.get(f"/v1/services/{ref}") for ref in run.refs.values()}
        secrets = sorted({run.secret(f"c{n}") for n in range(orders)})
        verdict = judge.judge(town, services, secrets)
        for job in stuck:
            verdict.add("stuck", json.dumps(dict(job), default=str))
        return _report(run, verdict, services, time.monotonic() - began, options)
    finally:
        town.stop()
        if not options.keep:
            shutil.rmtree(folder, ignore_errors=True)


def _report(run: Run, verdict: judge.Verdict, services: Json, took: float, options: argparse.Namespace) -> int:
    recoveries = sorted(run.recoveries)
    figures = {
        "seed": run.seed,
        "seconds": round(took, 1),
        "orders": len(services),
        "services": judge.by_state(services),
        "panel calls, of them faulty": _faulty(run.town),
        "held for a person": run.asked,
        "kills": run.kills,
        "restarts": run.town.restarts,
        "longest not looked at, s": round(run.unseen, 1),
        "recovery after a kill, s": [round(statistics.median(recoveries), 1), round(recoveries[-1], 1)]
        if recoveries
        else None,
        "broken": {rule: len(found) for rule, found in verdict.cases.items()},
    }
    if options.json:
        print(json.dumps(figures))  # noqa: T201
        return 0 if verdict.clean else 1
    for name, value in figures.items():
        print(f"  {name:<28} {value}")  # noqa: T201
    for rule, found in verdict.cases.items():
        for text in found[:5]:
            print(f"\n{rule}: {text}", *judge.trail(run.town, text), sep="\n")  # noqa: T201
    print(f"seed {run.seed}: {'all zeros' if verdict.clean else 'BROKEN'}")  # noqa: T201
    return 0 if verdict.clean else 1


def _faulty(town: Town) -> str:
    calls = [call for place in town.places for call in place.control.journal()]
    faulty = sum(call["fault"] is not None for call in calls)
    return f"{len(calls)}, {faulty} ({100 * faulty / max(1, len(calls)):.1f} %)"


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - a program's own words


def _quiet(_text: str) -> None:
    """Say nothing."""


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./run chaos", description=__doc__)
    parser.add_argument("--short", action="store_true", help="200 orders in under five minutes")
    parser.add_argument("--seed", type=int, default=1, help="the same seed gives the same orders and faults")
    parser.add_argument("--json", action="store_true", help="one line of JSON")
    parser.add_argument("--plant", default="", help="plant a bug of tests/chaos/planted.py: the run must find it")
    parser.add_argument("--keep", action="store_true", help="keep database and logs")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
