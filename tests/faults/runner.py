"""
Runs cells of the table: real store, use-cases, steps, driver and wire; a simulated panel, an order and a spare each.

Threads stand in for worker processes. So many cells are under way at once as there are panels; each has a connection
of its own, so that a place that is paused or restricted delays nobody else. Spans are those of production, scaled;
a step's deadline alone is longer in proportion, so that a busy machine does not make a good server look bad.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from provisioner.domain.attempt import Policy
from provisioner.domain.events import FOR_A_PERSON
from provisioner.domain.spans import Spans
from provisioner.drivers.registry import Registry
from provisioner.errors import IllegalMove
from provisioner.ports import Driver, Wakeup
from provisioner.prober import NetworkProber
from provisioner.simulators.client import Control, ControlError
from provisioner.store.endpoints import EndpointLoader
from provisioner.usecases import operate, recipes
from provisioner.usecases.observe import observe
from provisioner.usecases.operate import Operator
from provisioner.usecases.reconcile import reconcile
from tests.faults.judge import Came, differences
from tests.faults.spoil import RIVAL, before, orders
from tests.faults.table import CANCEL, Cell
from tests.site import ListWaker, Site

ROOT = Path(__file__).parents[2]
TYPE = "HP-E3-16G"
PANELS = 48
THREADS = 16
SCALE = 0.03
CALL, LATE = 2.0, 60 * SCALE
DEADLINE, LONG_DEADLINE = 25.0, 30.0  #: of a step; of install and ping
SPANS = Spans(
    call=CALL, soft=2.5, hard=3, lease=4, reconcile=0.1, observe_short=0.5, observe_long=0.5, observe_stock=0.5,
    view_age=2, wake_grace=2, wake_most=5, pass_over=60, canary=4, canary_most=8, probe=0.3, burn_servers=10_000,
)  # fmt: skip
#: of the panel, real seconds
DURATIONS = {
    "power": 0.3, "boot": 0.2, "enable": 0.05, "link_settle": 0.1, "install_visible": 0.1, "install": 1.0,
    "cancel": 0.1, "install_flag_observations": 3, "free_autoshutdown": False, "diag_on_release": False,
}  # fmt: skip
LIMIT = 200.0  #: seconds until a cell that finds no end is red
ENDLESS = 99  #: how often the table says of what goes on
LOOK = 0.5  #: seconds between two looks at a cell

JOBS = """
WITH of AS (
  SELECT c.name AS ref, j.id, true AS ours FROM connection c JOIN service s ON s.external_ref = c.name
    JOIN job j ON j.service_id = s.id WHERE c.name = ANY(%(refs)s)
   UNION ALL
  SELECT c.name, j.id, false FROM connection c JOIN claim cl ON cl.connection_id = c.id JOIN job j ON j.claim_id = cl.id
   WHERE c.name = ANY(%(refs)s))
SELECT of.ref, of.ours, j.id, j.kind, j.state, j.reason, a.state AS attempt, a.reason AS why, st.name AS step,
       st.memo -> 'seen' ? 'up' AS up
  FROM of JOIN job j ON j.id = of.id
  LEFT JOIN attempt a ON a.job_id = j.id AND a.state <> 'ended'
  LEFT JOIN step st ON st.attempt_id = a.id AND st.pos = a.pos"""
EVENTS = """
SELECT e.kind, e.text FROM event e LEFT JOIN service s ON s.id = e.service_id LEFT JOIN claim cl ON cl.id = e.claim_id
 WHERE s.external_ref = %(ref)s OR e.connection_id = %(connection)s OR cl.connection_id = %(connection)s
 ORDER BY e.id"""
OVER = ("succeeded", "failed", "cancelled", "superseded")
ENDS = {"succeeded": "active", "failed": "failed", "cancelled": "cancelled"}


class QueuedWaker(ListWaker):
    """Puts messages, and connections whose list shall be read, into one queue that all threads work off."""

    def __init__(self) -> None:
        super().__init__()
        self.queue: SimpleQueue[Wakeup | int | None] = SimpleQueue()

    def wake(self, wakeups: Sequence[Wakeup]) -> None:
        for message in wakeups:
            self.queue.put(message)

    def observe(self, connection_id: int) -> None:
        self.queue.put(connection_id)


class OwnDrivers:
    """`ports.Drivers`: each thread has drivers of its own, as each worker process has."""

    def __init__(self, load: EndpointLoader) -> None:
        self._load, self._mine = load, threading.local()

    def get(self, connection_id: int, revision: int | None = None) -> Driver:
        if not hasattr(self._mine, "registry"):
            self._mine.registry = Registry(self._load)
        found: Driver = self._mine.registry.get(connection_id, revision)
        return found


@dataclass
class Panel:
    """One simulated data centre, used by one cell after the other."""

    url: str
    control: Control
    ssh_port: int
    login: str
    password: str
    admin: str = ""  #: id of our administrator


@dataclass
class Run:
    """One cell under way."""

    cell: Cell
    panel: Panel
    ref: str
    connection: int
    first: str
    spare: str
    began: float = field(default_factory=time.monotonic)
    cancelled: bool = False


@dataclass(frozen=True)
class Ran:
    """What came of one cell."""

    differences: Sequence[str]
    trail: str
    seconds: float


class Runner(Site):
    """A site whose places are simulated panels; `run` gives what came of cells."""

    def __init__(self, url: str, *, panels: int = PANELS) -> None:
        super().__init__(url, spans=SPANS, scale=SCALE, pool_size=THREADS + 2)
        self.policies = _policies()
        self.queued = QueuedWaker()
        self.waker = self.queued
        drivers = OwnDrivers(EndpointLoader(self.database, self.vault, SPANS))
        self.prober = NetworkProber()
        self.tools = replace(self.tools, drivers=drivers, prober=self.prober, waker=self.queued, policies=self.policies)
        self.crashes: list[str] = []
        self._stop = threading.Event()
        self._names = iter(range(1, 10_000))
        argv = [sys.executable, "-m", "tests.faults.panels", str(panels)]
        self._child = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        self._panels = [self._panel() for _ in range(panels)]
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(THREADS)]
        for thread in self._threads:
            thread.start()

    def _panel(self) -> Panel:
        assert self._child.stdout is not None
        told = json.loads(self._child.stdout.readline())
        panel = Panel(told["url"], Control(told["control"]), told["ssh_port"], told["login"], told["password"])
        panel.control.add_user(RIVAL, "rival-password")
        panel.admin = next(user["id"] for user in panel.control.world()["users"] if user["name"] == panel.login)
        return panel

    def close(self) -> None:
        """End threads, panels and sessions."""
        self._stop.set()
        for _ in self._threads:
            self.queued.queue.put(None)
        for thread in self._threads:
            thread.join()
        if self._child.stdin is not None:
            self._child.stdin.close()
        self._child.wait()
        if self._child.stdout is not None:
            self._child.stdout.close()
        self.database.close()

    # --- the workers ----------------------------------------------------------------------------------------------

    def _work(self) -> None:
        """
        Obey messages until there is a None among them.

        Without a time limit: CPython 3.11 waits for ever in `SimpleQueue.get(timeout=...)` when another thread takes
        the item just as the time is up.
        """
        while (message := self.queued.queue.get()) is not None:
            try:
                self._obey(message)
            except Exception:  # noqa: BLE001 - told at the end
                self.crashes.append(traceback.format_exc())

    def _obey(self, message: Wakeup | int) -> None:
        if isinstance(message, int):
            tools = self.tools
            observe(message, owner=self.owner(), observer=self.observer, drivers=tools.drivers, waker=self.queued)
        else:
            self.touch(message)

    def tick(self) -> None:
        """Do one reconcile tick."""
        reconcile(
            reconciler=self.reconciler, planner=self.planner, quarantine=self.quarantine, life=self.life,
            tickets=self.tickets, callbacks=self.callbacks, waker=self.queued, policies=self.policies, spans=SPANS,
        )  # fmt: skip

    # --- cells ----------------------------------------------------------------------------------------------------

    def run_cells(self, cells: Iterable[Cell]) -> Mapping[str, Ran]:
        """Run *cells*, each to its end or to `LIMIT`."""
        waiting, free = deque(cells), list(self._panels)
        running: list[Run] = []
        found: dict[str, Ran] = {}
        look_at = 0.0
        while waiting or running:
            while waiting and free:
                running.append(self._begin(waiting.popleft(), free.pop()))
            self.tick()
            self._stop.wait(0.05)
            if time.monotonic() < look_at:
                continue
            look_at = time.monotonic() + LOOK
            for run, ran in self._looked_at(running):
                found[run.cell.name] = ran
                self._end(run)
                running.remove(run)
                free.append(run.panel)
        return found

    def _begin(self, cell: Cell, panel: Panel) -> Run:
        number = next(self._names)
        name, control = f"cell{number:04d}x", panel.control
        self._sweep(panel)
        if cell.fault == "restart_long":
            control.set(install=_away(cell) + 10)
        first = control.add_server(type=TYPE, **before(cell))
        spare = control.add_server(type=TYPE, disabled=False, powererror=True, operation_failed=True, power=None)
        link = next(row["id"] for row in first["links"] if row["type"] == "Switch")
        for order in orders(cell, first["id"], link, call=CALL, late=LATE, away=_away(cell)):
            control.add_fault(**order)
        connection = self._connect(name, panel)
        self.package(
            name, connections=[connection], server_type=TYPE, ipv4=2, probe=f"ssh:{panel.ssh_port}", attempts_max=3
        )
        run = Run(cell, panel, name, connection, first["id"], spare["id"])
        self.order(name, package=name, login=name)
        return run

    def _sweep(self, panel: Panel) -> None:
        control = panel.control
        control.clear_faults()
        control.clear_journal()
        control.set(**DURATIONS)
        for server in control.servers():
            control.remove_server(server["id"])

    def _connect(self, name: str, panel: Panel) -> int:
        connection = self.connect(name, max_in_flight=4, url=panel.url)
        sealed, key = self.vault.seal(panel.password)
        self.database.rows(
            "UPDATE secret SET ciphertext = %(c)s, key_id = %(k)s "
            "WHERE id = (SELECT secret_id FROM connection WHERE id = %(id)s)",
            c=sealed, k=key, id=connection,
        )  # fmt: skip
        self.database.rows(
            "UPDATE connection SET kind = 'dcimanager5', username = %(user)s, admin_user = %(admin)s WHERE id = %(id)s",
            user=panel.login, admin=panel.admin, id=connection,
        )  # fmt: skip
        return connection

    def _end(self, run: Run) -> None:
        """Let nobody call for this cell any more."""
        self.database.rows(
            "UPDATE connection SET state = 'paused', paused_by = 'hand', paused_at = clock_timestamp() "
            "WHERE id = %(id)s",
            id=run.connection,
        )
        self.database.rows(
            "UPDATE job SET state = 'failed', plan_at = NULL, waits_for = NULL FROM service s WHERE "
            "s.id = job.service_id AND s.external_ref = %(ref)s AND job.state = 'queued'",
            ref=run.ref,
        )
        with suppress(ControlError):
            run.panel.control.start_panel()

    def _looked_at(self, running: Sequence[Run]) -> list[tuple[Run, Ran]]:
        """Give the cells that are over, with what came of them."""
        jobs: dict[str, list[Mapping[str, Any]]] = {run.ref: [] for run in running}
        for row in self.database.rows(JOBS, refs=list(jobs)):
            jobs[row["ref"]].append(row)
        found = []
        for run in running:
            ran = self._look(run, jobs[run.ref])
            if ran is not None:
                found.append((run, ran))
        return found

    def _look(self, run: Run, jobs: Sequence[Mapping[str, Any]]) -> Ran | None:
        cell, seconds = run.cell, time.monotonic() - run.began
        ours = next(job for job in jobs if job["ours"])
        if cell.act in CANCEL and not run.cancelled and ours["up"]:
            self._cancel(run, ours["id"])
        late = seconds > LIMIT
        resting = all(job["state"] in OVER or job["attempt"] == "held" for job in jobs)
        endless = cell.sent[1] == ENDLESS and ours["state"] in OVER  # it goes on trying
        if not (resting or endless or late):
            return None
        world = run.panel.control.world()
        if world["pending"] and not late:
            return None
        came = self._came(run, ours, world)
        wrong = differences(cell, came)
        if wrong and not resting and not late:
            return None
        if late:
            wrong = [f"no end within {LIMIT:g} s", *wrong]
        return Ran(wrong, self._trail(run, came, jobs) if wrong else "", seconds)

    def _cancel(self, run: Run, job: int) -> None:
        who = Operator(by="billing", services=self.services, waker=self.queued, policies=self.policies)
        with suppress(IllegalMove):
            operate.cancel(job, who, reason="the customer changed their mind")
            run.cancelled = True

    def _came(self, run: Run, ours: Mapping[str, Any], world: Mapping[str, Any]) -> Came:
        events = self.database.rows(EVENTS, ref=run.ref, connection=run.connection)
        servers = {server["id"]: server for server in world["servers"]}
        held = ours["attempt"] == "held"
        return Came(
            order="held" if held else ENDS.get(ours["state"], ours["state"]),
            sentence=ours["why"] if held else ours["reason"],
            heard=frozenset(row["kind"] for row in events) & {kind.value for kind in FOR_A_PERSON},
            first=servers[run.first],
            spare=servers[run.spare],
            host=f"{run.ref}.example.net",
            admin=run.panel.login,
            login=run.ref,
            admin_id=run.panel.admin,
            users=[user["name"] for user in world["users"]],
            calls=run.panel.control.journal(),
        )

    def _trail(self, run: Run, came: Came, jobs: Sequence[Mapping[str, Any]]) -> str:
        events = self.database.rows(EVENTS, ref=run.ref, connection=run.connection)
        return "\n".join(
            [
                *(f"{job['kind']} {job['state']} {job['attempt']} {job['step']}: {job['reason']}" for job in jobs),
                *(_told(call) for call in came.calls if call["mutating"]),
                *(f"    {row['kind']}: {row['text']}" for row in events),
            ]
        )


def _told(call: Mapping[str, Any]) -> str:
    """Give one call of the journal as a line."""
    shown = ("owner", "domain", "operation", "elid", "notes", "name")
    params = {name: value for name, value in call["params"].items() if name in shown}
    effect = "took effect" if call["effect"] else "no effect"
    return f"  {call['n']} {call['func']} {call['server']} {call['outcome']}, {effect} {call['fault'] or ''} {params}"


def _away(cell: Cell) -> float:
    """Give how long the panel is away, longer than the step's deadline."""
    return (LONG_DEADLINE if cell.act == "install" else DEADLINE) + 3


def _policies() -> dict[str, Policy]:
    """Give every step's patience: scaled, deadlines as `DEADLINE` says; three lists fit into the install's settle."""
    found = {}
    for name, policy in recipes.policies({}, scale=SCALE).items():
        long = name in ("install_os", "ping")
        found[name] = replace(policy, deadline=timedelta(seconds=LONG_DEADLINE if long else DEADLINE))
    settles = timedelta(seconds=6)
    found["install_os"] = replace(found["install_os"], settle=settles, visible=settles)
    return found
