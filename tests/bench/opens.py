"""The real `open` on a simulated DCImanager 5 against a plain chain of the same calls; and how late a hand-over is."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from celery import chain

from provisioner import bootstrap
from provisioner.bootstrap import App
from provisioner.cli import processes
from provisioner.demo.supervisor import DURATIONS, POLICIES, SPANS, STEP_SCALE
from provisioner.domain.catalogue import ConnectionSettings
from provisioner.domain.connection import Endpoint
from provisioner.domain.service import Order
from provisioner.drivers.dcimanager5.driver import Dcimanager5
from provisioner.simulators.client import Control
from provisioner.steps.recipes import OPEN
from provisioner.usecases import connections
from provisioner.usecases.submit import submit
from tests.bench.figures import Figure
from tests.bench.house import ROOT, SLOTS, House, Worker, wait_until

ORDERS = 4  #: under way at once in each half of a pair
OURS, THEIRS = "HP-E3-16G", "HP-E5-64G"  #: types of server: the durable orders' and the plain ones'
OS = "ISPsystem__Debian-12-x86_64"
PASSWORD = "bench-secret"
OBSERVE = SPANS["observe_short"]
TIMES = {**DURATIONS, "install_flag_observations": 3, "free_autoshutdown": False}


@dataclass
class Site:
    """A simulated data centre with a real worker, a reconciler and beat in front of it."""

    app: App
    control: Control
    worker: Worker
    admin: str
    probe: str
    orders: int = 0

    def order(self) -> tuple[int, str]:
        """Place an order; gives its job, and the customer's login."""
        self.orders += 1
        name = f"ours{self.orders}"
        order = Order("bench", name, "small", f"c-{name}", name, f"{name}.example.net", OS)
        placed = submit(order, key=None, services=self.app.services, vault=self.app.vault, waker=self.app.waker)
        return placed.job_id, name

    def wait(self, jobs: Sequence[int]) -> None:
        """Wait until all of *jobs* have succeeded."""

        def ended() -> bool:
            found = self.app.database.value(
                "SELECT count(*) FROM job WHERE id = ANY(%(jobs)s) AND state = 'succeeded'", jobs=list(jobs)
            )
            return bool(found == len(jobs))

        wait_until(ended, f"{len(jobs)} orders to be handed over; see {self.worker.log}", 60)


def measure(house: House, *, rounds: int) -> Iterator[Figure]:
    """Give the figures of real opens."""
    with ExitStack() as stack:
        site = _site(house, stack, servers=2 * (ORDERS * (rounds + 1) + rounds + 2))
        free = [server for server in site.control.servers() if server["type"] == THEIRS]
        pairs, calls = [], []
        for n in range(-1, rounds):
            theirs = [free.pop() for _ in range(ORDERS)]
            if n % 2:
                plain = _plain(site, theirs)
                pair = (_durable(site), plain)
            else:
                pair = (_durable(site), _plain(site, theirs))
            if n >= 0:
                pairs.append((pair[0][0], pair[1][0]))
                calls.append((pair[0][1], pair[1][1]))
        yield Figure("durable / plain open, same calls: rate", [plain / ours for ours, plain in pairs], at_least=0.8)
        yield Figure("  durable: four orders at once", [ours for ours, _ in pairs], "s")
        yield Figure("  plain: four orders at once", [plain for _, plain in pairs], "s")
        yield Figure("  durable: calls to the panel an order", [ours for ours, _ in calls])
        yield Figure("  plain: calls to the panel an order", [plain for _, plain in calls])
        late = [_lateness(site) for _ in range(rounds)]
        yield Figure("ready in the panel → handed over", late, "s", notes=f"lists are read every {OBSERVE} s")
        settle = site.app.policies["ping"].settle.total_seconds()
        yield Figure("  in observation intervals", [one / OBSERVE for one in late], notes=f"ping settles {settle} s")


def _durable(site: Site) -> tuple[float, float]:
    before, began = _calls(site), time.perf_counter()
    site.wait([site.order()[0] for _ in range(ORDERS)])
    return time.perf_counter() - began, (_calls(site) - before) / ORDERS


def _plain(site: Site, servers: Sequence[Mapping[str, Any]]) -> tuple[float, float]:
    before, began, ended = _calls(site), time.perf_counter(), site.worker.count()
    for server in servers:
        state = {
            "server": str(server["id"]), "ip": server["ip"], "login": f"theirs{server['id']}", "os": OS,
            "hostname": "theirs.example.net", "admin": site.admin, "probe": site.probe,
        }  # fmt: skip
        first, *rest = (site.app.celery.signature(f"bench.open_{step.name}", queue="steps") for step in OPEN)
        chain(first.clone(args=(state,)), *rest).apply_async()
    site.worker.wait(ended + len(servers))
    return time.perf_counter() - began, (_calls(site) - before) / ORDERS


def _calls(site: Site) -> int:
    journal = site.control.journal()
    return int(journal[-1]["n"]) if journal else 0


def _lateness(site: Site) -> float:
    """Give the seconds from the host's first answer after its install to the hand-over."""
    job, login = site.order()
    mine: list[Mapping[str, Any]] = []

    def ready() -> bool:
        mine[:] = [one for one in site.control.servers() if one["hostname"] == f"{login}.example.net"]
        return bool(mine and mine[0]["installs"] and not mine[0]["install_in_progress"] and mine[0]["host"]["answers"])

    wait_until(ready, f"the install of {login}", 60)
    began = time.perf_counter()
    site.wait([job])
    return time.perf_counter() - began


def _site(house: House, stack: ExitStack, *, servers: int) -> Site:
    said = _simulator(house, servers)
    control = Control(said["control_url"])
    control.set(**TIMES)
    database = house.new_database()
    settings: dict[str, Any] = {"spans": SPANS, "step_scale": STEP_SCALE, "policies": POLICIES}
    app = stack.enter_context(house.ports(database, **settings))
    endpoint = {"name": "dc1", "url": said["url"], "username": said["admin_user"], "password": PASSWORD}
    environment = {
        "PROVISIONER_SPANS": json.dumps(SPANS),
        "PROVISIONER_STEP_SCALE": str(STEP_SCALE),
        "PROVISIONER_POLICIES": json.dumps(POLICIES),
        "BENCH_ENDPOINT": json.dumps(endpoint),
        "BENCH_POLL": str(OBSERVE),
    }
    probe = f"ssh:{said['ssh_port']}"
    admin = Dcimanager5(Endpoint(**endpoint)).whoami().ref
    _connect(app, endpoint, probe)
    worker = stack.enter_context(house.worker(database, "real", queues="steps,observe", slots=SLOTS, **environment))
    stack.enter_context(house.worker(database, "real", queues="control", slots=1, **environment))
    beat = {
        "PATH": os.defpath,
        "PROVISIONER_DATABASE_URL": house.postgres.url(database),
        "PROVISIONER_BROKER_URL": house.broker_url,
        "PROVISIONER_SECRET_KEY": house.key,
        **environment,
    }
    house.children.start(
        "beat", processes.beat_argv(str(house.folder / "beat.db")), env=beat, log=house.folder / "beat.log", cwd=ROOT
    )
    stack.callback(house.children.stop, "beat")
    return Site(app, control, worker, admin, probe)


def _connect(app: App, endpoint: Mapping[str, str], probe: str) -> None:
    given = ConnectionSettings(
        name="dc1", kind="dcimanager5", url=endpoint["url"], username=endpoint["username"], max_in_flight=8
    )
    connections.save(
        given, PASSWORD, catalogue=app.catalogue, kinds=app.drivers, drivers=app.drivers, observer=app.observer,
        waker=app.waker, owner=bootstrap.owner(app.settings),
    )  # fmt: skip
    app.database.rows(
        "WITH p AS (INSERT INTO package (name, server_type, os_allowed, ipv4, probe, stock_wait_seconds) "
        "VALUES ('small', %(type)s, %(os)s, 1, %(probe)s, 3600) RETURNING id) "
        "INSERT INTO package_connection (package_id, connection_id) SELECT p.id, c.id FROM p, connection c",
        type=OURS,
        os=json.dumps([OS]),
        probe=probe,
    )


def _simulator(house: House, servers: int) -> Mapping[str, Any]:
    log = house.folder / "simulator.log"
    argv = [
        *(sys.executable, "-m", "provisioner.simulators", "--servers", str(servers), "--latency", "none"),
        *("--admin-password", PASSWORD, "--type", OURS, "--type", THEIRS, "--no-tls"),
    ]
    environment = {"PATH": os.defpath, "PYTHONUNBUFFERED": "1"}
    house.children.start("simulator", argv, env=environment, log=log, cwd=ROOT)
    wait_until(lambda: log.exists() and "}\n" in log.read_text(), "the simulator", 30)
    found: Mapping[str, Any] = json.loads(next(line for line in log.read_text().splitlines() if line.startswith("{")))
    return found
