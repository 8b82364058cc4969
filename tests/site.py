"""A whole site in one process: real PostgreSQL, the fake data centre, messages in a list instead of a broker."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from provisioner.domain.service import Order
from provisioner.domain.spans import Spans
from provisioner.domain.wording.texts import SHIPPED
from provisioner.drivers.fake import FakeDatacentre, FakeDriver, FakeProber
from provisioner.ports import Driver, Placed, Wakeup
from provisioner.store.callbacks import CallbacksStore
from provisioner.store.closings import ClosingsStore
from provisioner.store.database import Database, as_json
from provisioner.store.engine import EngineStore
from provisioner.store.life import LifeStore
from provisioner.store.observer import ObserverStore
from provisioner.store.planning import PlanningStore
from provisioner.store.quarantine import QuarantineStore
from provisioner.store.questions import QuestionsStore
from provisioner.store.reconciler import ReconcilerStore
from provisioner.store.services import ServicesStore
from provisioner.store.tickets import TicketsStore
from provisioner.usecases import recipes
from provisioner.usecases.observe import observe
from provisioner.usecases.reconcile import reconcile
from provisioner.usecases.run_step import Report, Tools, run_step
from provisioner.usecases.submit import submit
from provisioner.vault import KeyVault, generate_key

OS = "ISPsystem__Debian-12-x86_64"
SWEEP_IS_DUE = "UPDATE heartbeat SET at = at - interval '1 h' WHERE name = 'sweep'"
SHORT = Spans(
    call=1.5, soft=2, hard=2.5, lease=3, reconcile=0.01, observe_short=0.02, observe_long=0.02, observe_stock=0.05,
    view_age=0.5, wake_grace=0.5, wake_most=2, pass_over=0.2, canary=0.2, probe=0.05,
)  # fmt: skip
#: settle times are outlasted by the fake's effects, which come after a number of list calls
SCALE = 0.002
PATIENCE = timedelta(seconds=60)
INSTALL_SETTLES = timedelta(seconds=1.5)


@dataclass
class ListWaker:
    """Keeps messages for the test to deliver, drop, or double."""

    messages: deque[Wakeup] = field(default_factory=deque)
    lists: set[int] = field(default_factory=set)
    sent: list[Wakeup] = field(default_factory=list)
    losses: list[str] = field(default_factory=list)
    deliveries: int = 0
    callbacks: list[str] = field(default_factory=list)

    def wake(self, wakeups: Sequence[Wakeup]) -> None:
        self.messages.extend(wakeups)
        self.sent.extend(wakeups)

    def tick(self) -> None:
        pass

    def observe(self, connection_id: int) -> None:
        self.lists.add(connection_id)

    def audit(self, connection_id: int, *, start: bool) -> None:
        pass

    def deliver(self) -> None:
        self.deliveries += 1

    def callback(self, panel: str) -> None:
        self.callbacks.append(panel)

    def lost(self, task_id: str, worker: str, sentence: str) -> None:
        self.losses.append(task_id)


class OneWorld:
    """`ports.Drivers` over a driver a connection."""

    def __init__(self) -> None:
        self.by_connection: dict[int, Driver] = {}

    def get(self, connection_id: int, revision: int | None = None) -> Driver:
        return self.by_connection[connection_id]


class Site:
    """Place orders, let time pass, look at the world."""

    def __init__(self, url: str, *, spans: Spans = SHORT, scale: float = SCALE, pool_size: int = 2) -> None:
        self.database = Database(url, pool_size=pool_size)
        self.spans = spans
        # deadlines stay long: on a busy machine a good server would else be given up
        scaled = recipes.policies({}, scale=scale)
        self.policies = {name: replace(one, deadline=max(one.deadline, PATIENCE)) for name, one in scaled.items()}
        # three lists must fit into it, and no gap between two may outlast it, on a busy machine too
        install = self.policies["install_os"]
        self.policies["install_os"] = replace(
            install, settle=max(install.settle, INSTALL_SETTLES), visible=max(install.visible, INSTALL_SETTLES)
        )
        self.engine = EngineStore(self.database, spans)
        self.reconciler = ReconcilerStore(self.database, spans)
        self.planner = PlanningStore(self.database, spans)
        self.quarantine = QuarantineStore(self.database)
        self.tickets = TicketsStore(self.database, spans, SHIPPED)
        self.closings = ClosingsStore(self.database, spans)
        self.questions = QuestionsStore(self.database)
        self.callbacks = CallbacksStore(self.database, spans)
        self.observer = ObserverStore(self.database, spans)
        self.services = ServicesStore(self.database)
        self.life = LifeStore(self.database, spans)
        self.key = generate_key()
        self.vault = KeyVault.from_text(self.key)
        self.waker = ListWaker()
        self.drivers = OneWorld()
        self.world = FakeDatacentre()
        self.prober: Any = FakeProber(self.world)
        self.tools = Tools(self.engine, self.drivers, self.prober, self.vault, self.waker, self.policies, spans)
        self._owners = 0

    # --- set-up ---------------------------------------------------------------------------------------------------

    def connect(
        self,
        name: str = "dc1",
        *,
        max_in_flight: int = 4,
        driver: Driver | None = None,
        url: str = "https://dci.example.net",
    ) -> int:
        """Make a connection to the world."""
        sealed, key = self.vault.seal("secret")
        secret = self.database.value(
            "INSERT INTO secret (ciphertext, key_id) VALUES (%(c)s, %(k)s) RETURNING id", c=sealed, k=key
        )
        found: int = self.database.value(
            "INSERT INTO connection (name, kind, url, username, secret_id, admin_user, max_in_flight) "
            "VALUES (%(name)s, 'fake', %(url)s, 'u', %(secret)s, %(admin)s, %(max)s) RETURNING id",
            name=name,
            url=url,
            secret=secret,
            admin=self.world.administrator.ref,
            max=max_in_flight,
        )
        self.database.rows(
            "INSERT INTO slot (connection_id, n) SELECT %(id)s, generate_series(1, %(max)s)",
            id=found,
            max=max_in_flight,
        )
        self.drivers.by_connection[found] = driver or FakeDriver(self.world, name, call_seconds=1.0)
        return found

    def package(self, name: str = "small", *, connections: Sequence[int] = (1,), **values: Any) -> None:
        """Make a package on connections."""
        columns = {
            "name": name, "server_type": "HP-E3-16G", "os_allowed": as_json([OS]), "ipv4": 1,
            "probe": "ssh:22", "stock_wait_seconds": 3600.0, **values,
        }  # fmt: skip
        names = ", ".join(columns)
        marks = ", ".join(f"%({key})s" for key in columns)
        found = self.database.value(f"INSERT INTO package ({names}) VALUES ({marks}) RETURNING id", **columns)  # noqa: S608
        for connection in connections:
            self.database.rows(
                "INSERT INTO package_connection (package_id, connection_id) VALUES (%(p)s, %(c)s)",
                p=found,
                c=connection,
            )

    def order(self, ref: str = "ord-1", **changes: Any) -> Placed:
        """Place an order."""
        order = Order("panel", ref, "small", f"customer-{ref}", f"user{ref}", f"{ref}.example.net", OS)
        return submit(replace(order, **changes), key=None, services=self.services, vault=self.vault, waker=self.waker)

    # --- time -----------------------------------------------------------------------------------------------------

    def owner(self) -> str:
        self._owners += 1
        return f"test:{self._owners}"

    def touch(self, message: Wakeup) -> Report:
        """Deliver one message."""
        task = f"{message.job_id}.a{message.attempt_n}.{message.pos}.{message.sends}"
        return run_step(
            message.attempt_id, message.pos, task_id=task, worker="w@test", owner=self.owner(), tools=self.tools
        )

    def tick(self) -> None:
        """Do one reconcile tick, and read the lists that it asks for."""
        reconcile(
            reconciler=self.reconciler,
            planner=self.planner,
            quarantine=self.quarantine,
            life=self.life,
            tickets=self.tickets,
            callbacks=self.callbacks,
            waker=self.waker,
            policies=self.policies,
            spans=self.spans,
        )
        lists, self.waker.lists = self.waker.lists, set()
        for connection in lists:
            observe(connection, owner=self.owner(), observer=self.observer, drivers=self.drivers, waker=self.waker)

    def message(self) -> Wakeup:
        """Tick until a message is sent; give it undelivered."""
        for _ in range(1000):
            if self.waker.messages:
                return self.waker.messages.popleft()
            self.tick()
        raise AssertionError(self.trail())

    def run(self, until: Callable[[], bool], *, seconds: float = 30.0) -> None:
        """Tick and deliver until *until* holds; fails with the jobs' state when it does not in time."""
        ends = time.monotonic() + seconds
        while not until():
            assert time.monotonic() < ends, self.trail()
            self.tick()
            for _ in range(len(self.waker.messages)):
                self.touch(self.waker.messages.popleft())

    # --- views ----------------------------------------------------------------------------------------------------

    def job(self, job_id: int) -> Mapping[str, Any]:
        return self.database.rows("SELECT * FROM job WHERE id = %(id)s", id=job_id)[0]

    def ended(self, *jobs: int) -> Callable[[], bool]:
        """Give a condition: all *jobs* have ended."""
        return lambda: all(self.job(job)["state"] in ("succeeded", "failed", "cancelled", "superseded") for job in jobs)

    def trail(self) -> str:
        """Give what a person would want to read when a test waits in vain."""
        lines = [str(dict(row)) for row in self.database.rows("SELECT id, state, waits_for, plan_at, reason FROM job")]
        lines += [
            str(dict(row))
            for row in self.database.rows(
                "SELECT a.id, a.state, a.pos, a.awaits, a.resume_at, s.name, s.state AS step, s.outcome, s.tries "
                "FROM attempt a JOIN step s ON s.attempt_id = a.id AND s.pos = a.pos WHERE a.state <> 'ended'"
            )
        ]
        lines += [
            str(tuple(row.values()))
            for row in self.database.rows("SELECT kind, text FROM event ORDER BY id DESC LIMIT 25")
        ]
        return "\n".join(lines)
