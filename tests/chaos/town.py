"""The whole system as children on loopback: database, broker, API, two of each worker, beat, and the data centres."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import kombu
import redis

from provisioner import bootstrap, config
from provisioner.cli import key, processes
from provisioner.demo.children import Children, free_port
from provisioner.demo.client import Api, ApiError, Json
from provisioner.demo.postgres import EmbeddedPostgres
from provisioner.demo.supervisor import DURATIONS, PORTS, ROOT, STEP_SCALE
from provisioner.domain.catalogue import Role
from provisioner.simulators.client import Control
from provisioner.steps.recipes import STEPS
from provisioner.store.database import Database
from provisioner.usecases import tokens

TYPE = "HP-E3-16G"
OS = "ISPsystem__Debian-12-x86_64"
PANEL = "chaos"
RIVAL = "rival"
ADMIN_PASSWORD = "Planted-admin-of-the-panel"  #: guards nothing but a simulation, and is looked for
SENDER, ONCALL, HANDS = "provisioner@example.net", "oncall@example.net", "hands@example.net"
QUEUES = ("steps", "control", "observe", "outbox")
START_SECONDS = 60.0

#: call < soft < hard < lease; short, so that what takes hours takes seconds
SPANS = {
    "call": 1.5, "soft": 2.0, "hard": 2.5, "lease": 3.0, "reconcile": 0.4, "observe_stock": 1.0, "wake_grace": 2.0,
    "wake_most": 30.0, "pass_over": 2.0, "canary": 2.0, "canary_most": 10.0, "probe": 0.5, "burn_window": 30.0,
    "blast_closes": 100_000, "blast_suspends": 1000.0, "tell_again": 1.0, "tell_gather": 2.0,
}  # fmt: skip
#: longer in proportion than all else, so that a busy machine does not make a good server look bad; what nobody saw
#: waits for its deadline: that must fit into the time after the storm
POLICIES: dict[str, dict[str, float]] = {
    # an act is looked at again when the latest effect would show: the limit of its call, and `stream.LATE`
    **{name: {"deadline": 45.0, "settle": 3.0} for name in STEPS if not name.startswith("ask_")},
    "ping": {"deadline": 45.0},
}
INSTALL = {"settle": 7.0, "deadline": 60.0}  #: at least
SEEN_IN = 7  #: lists, of which three must be usable before an install that none shows counts as not begun
WORKERS = ("steps-1", "steps-2", "control-1", "control-2")
#: ends every other session on our database: what a database that somebody else runs lets us do to it
HANG_UP = """
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
 WHERE datname = current_database() AND pid <> pg_backend_pid()"""


@dataclass(frozen=True)
class Place:
    """One simulated data centre and our connection to it."""

    name: str
    control: Control
    admin: str
    ssh_port: int
    url: str


@dataclass
class Town:
    """All of it; `tend` brings back who ended."""

    folder: Path
    children: Children = field(default_factory=Children)
    places: list[Place] = field(default_factory=list)
    api: Api = field(default_factory=lambda: Api("http://127.0.0.1:1"))
    restarts: int = 0
    plant: str = ""  #: a bug that the workers are to have
    workers: tuple[str, ...] = WORKERS
    database_url: str = ""  #: of an empty database that somebody runs; "": we start one
    broker_url: str = ""  #: of a broker that somebody runs; "": we start one
    mail_url: str = ""
    strangers: set[str] = field(default_factory=set)  #: users that other people made in a panel
    site_options: tuple[str, ...] = ()  #: what each simulated data centre is told besides
    our_environment: dict[str, str] = field(default_factory=dict)  #: of our own processes, besides their settings
    listed: float = 0.5  #: seconds between two lists of a place

    def start(self, *, places: int, servers: int, seed: int) -> None:
        """Have everything up, connected, and one package that is sold from every place."""
        self.start_servers()
        self.take_mail()
        ssh_port = _own_port()  # each place has a network of its own: one package can be sold from all of them
        for n in range(1, places + 1):
            options = ["--servers", str(servers), "--seed", str(seed * 100 + n), "--ssh-port", str(ssh_port)]
            secret = ["--admin-password", ADMIN_PASSWORD, *self.site_options]
            self.begin(f"dc{n}", [sys.executable, "-m", "provisioner.simulators", *options, *secret, "--type", TYPE])
        self.mail_url = self.first_line("mail", "smtp")
        key.write(self.folder / "secret.key")
        settings = config.load(**self._settings())
        bootstrap.upgrade(settings)
        ports = bootstrap.build(settings)
        self.database: Database = ports.database
        made = tokens.create("chaos", Role.ADMIN, panel=PANEL, catalogue=ports.catalogue)
        billing = tokens.create("chaos-billing", Role.BILLING, panel=PANEL, catalogue=ports.catalogue)
        port = free_port()
        self.our_environment = {"PROVISIONER_PUBLIC_URL": f"http://127.0.0.1:{port}", **self.our_environment}
        self.begin("api", processes.api_argv("127.0.0.1", port), ours=True)
        for name in self.workers:
            queues = "steps" if name.startswith("steps") else "control,observe,outbox"
            self.begin(name, processes.worker_argv(queues, 2, name), ours=True)
        self.beat()
        self.api = Api(f"http://127.0.0.1:{port}", made.token)
        self.billing = Api(f"http://127.0.0.1:{port}", billing.token)
        self.tokens = (made.token, billing.token)
        for n in range(1, places + 1):
            said = json.loads(self.first_line(f"dc{n}", "{"))
            place = Place(f"dc{n}", Control(said["control_url"]), said["admin_user"], said["ssh_port"], said["url"])
            place.control.set(**DURATIONS, install_flag_observations=3, free_autoshutdown=False, diag_on_release=False)
            place.control.add_user(RIVAL, "rival-password")
            self.places.append(place)
        self.wait("the API", lambda: self.call("GET", "/healthz") is not None, START_SECONDS)
        self.api.put("/v1/departments/default", {"address": ONCALL})
        self.api.put("/v1/departments/hands", {"address": HANDS})
        for place in self.places:
            self.api.put(f"/v1/connections/{place.name}", _connection(place))
        for n, place in enumerate(self.places):
            self.api.put(f"/v1/packages/{place.name}", _package([place]))
            self.api.put(f"/v1/packages/rack-{place.name}", _rack(place))
            self.api.put(f"/v1/packages/any{n + 1}", _package([*self.places[n:], *self.places[:n]]))
        self.api.put("/v1/packages/any", _package(self.places))

    def start_servers(self) -> None:
        """Start database and broker, unless somebody did; say where they are."""
        if not self.database_url:
            self.postgres = EmbeddedPostgres(self.folder, fsync=False)
            self.postgres.start()
            self.postgres.create_database("chaos")
            self.database_url = self.postgres.url("chaos")
        if not self.broker_url:
            self.begin("broker", [sys.executable, "-m", "provisioner.demo.broker"])
            self.broker_url = self.first_line("broker", "redis://")

    def take_mail(self) -> None:
        """Start the mail server; a second time where it was before."""
        port = urlsplit(self.mail_url).port or 0
        argv = [sys.executable, "-m", "provisioner.demo.mail", "--folder", str(self.mail), "--port", str(port)]
        self.begin("mail", argv)

    @property
    def mail(self) -> Path:
        """Where the messages to those in charge arrive, a file each."""
        return self.folder / "mail"

    def beat(self) -> None:
        """Start beat."""
        self.begin("beat", processes.beat_argv(str(self.folder / "beat.db")), ours=True)

    def begin(self, name: str, argv: list[str], *, ours: bool = False) -> None:
        """Start a child; one of *ours* comes again when it ends, as units make it."""
        env = {"PATH": os.defpath, "LC_ALL": "C.UTF-8", "PYTHONUNBUFFERED": "1"}
        env |= {"HOME": str(self.folder), "TMPDIR": str(self.folder)}  # who is killed leaves folders there
        if ours:
            given = self._settings()
            env |= {
                "PROVISIONER_DATABASE_URL": str(given["database_url"]),
                "PROVISIONER_BROKER_URL": self.broker_url,
                "PROVISIONER_SECRET_KEY_FILE": str(self.folder / "secret.key"),
                "PROVISIONER_SPANS": json.dumps(given["spans"]),
                "PROVISIONER_STEP_SCALE": str(STEP_SCALE),
                "PROVISIONER_POLICIES": json.dumps(self._policies),
                "PROVISIONER_SMTP_URL": self.mail_url,
                "PROVISIONER_SMTP_FROM": SENDER,
                **self.our_environment,
            }
        if self.plant and "workers.app" in argv:
            argv = ["tests.chaos.planted" if word == "workers.app" else word for word in argv]
            env["CHAOS_PLANT"] = self.plant
        log = self.folder / "logs" / f"{name}.log"
        self.children.start(name, argv, env=env, log=log, cwd=ROOT, restart=ours)

    @property
    def _policies(self) -> dict[str, dict[str, float]]:
        settle = max(INSTALL["settle"], SEEN_IN * self.listed)
        return POLICIES | {"install_os": {"settle": settle, "deadline": max(INSTALL["deadline"], 5 * settle)}}

    def _settings(self) -> dict[str, object]:
        return {
            "database_url": self.database_url,
            "broker_url": self.broker_url,
            "secret_key_file": self.folder / "secret.key",
            "spans": SPANS | {"observe_short": self.listed, "observe_long": self.listed, "view_age": 4 * self.listed},
            "step_scale": STEP_SCALE,
            "policies": self._policies,
        }

    def call(self, method: str, path: str, body: Json = None, headers: dict[str, str] | None = None) -> Json | None:
        """Call the API; None while it, or the database behind it, is away."""
        try:
            return self.api.ask(method, path, body, headers)
        except ApiError as error:
            if error.status in (0, 502, 503):
                return None
            raise

    def tend(self) -> None:
        """Bring back who ended."""
        self.restarts += len(self.children.tend())

    def wait(self, what: str, held: Callable[[], bool], seconds: float) -> None:
        """Wait until *held*. Raises `TimeoutError`."""
        ends = time.monotonic() + seconds
        while not held():
            if time.monotonic() > ends:
                raise TimeoutError(f"{what} did not come up within {seconds:.0f} s; logs are in {self.folder}/logs")
            self.tend()
            time.sleep(0.05)

    def first_line(self, name: str, start: str) -> str:
        """Wait for the line in which a child says where it is."""
        found: list[str] = []

        def said() -> bool:
            text = self.children.log(name).read_text(errors="replace")
            found[:] = [line for line in text.splitlines() if line.startswith(start)]
            return bool(found)

        self.wait(name, said, START_SECONDS)
        return found[0].strip()

    # --- what is done to it ---------------------------------------------------------------------------------------

    def kill(self, name: str) -> bool:
        """Kill a worker with all its pool, as the machine's out-of-memory killer would; False when it was down."""
        if name not in self.children or self.children.pid(name) is None:
            return False
        self.children.signal(name, signal.SIGKILL)
        return True

    def kill_one_of(self, name: str, which: int) -> bool:
        """Kill one process of a worker's pool, and leave the rest of it alone; False when there was none."""
        pid = self.children.pid(name)
        found = _offspring(pid) if pid is not None else []
        with suppress(ProcessLookupError):
            if found:
                os.kill(found[which % len(found)], signal.SIGKILL)
        return bool(found)

    def empty_broker(self) -> None:
        """Lose every message."""
        if self.broker_url.startswith("redis"):
            client = redis.Redis.from_url(self.broker_url)
            client.flushall()
            client.close()
            return
        with kombu.Connection(self.broker_url) as connection:
            for name in QUEUES:
                with suppress(*connection.channel_errors):
                    kombu.Queue(name).bind(connection.channel()).purge()

    def restart_database(self) -> None:
        """End PostgreSQL at once, and start it again; one that somebody else runs loses all its sessions."""
        if not hasattr(self, "postgres"):
            self.database.value(HANG_UP)
            return
        pid = self.postgres.pid
        if pid is not None:
            os.kill(pid, signal.SIGQUIT)
        self.wait("PostgreSQL's end", lambda: self.postgres.pid is None, 20)
        self.postgres.start()
        self.database.close()

    def stop(self) -> None:
        """End everything."""
        if hasattr(self, "database"):
            self.database.close()
        self.children.stop(grace=5)
        if hasattr(self, "postgres"):
            self.postgres.stop()


def _connection(place: Place) -> Json:
    return {
        "kind": "dcimanager5", "url": place.url, "username": place.admin, "password": ADMIN_PASSWORD, "tls": {},
        "max_in_flight": 6, "location": place.name,
    }  # fmt: skip


def _package(places: list[Place]) -> Json:
    return {
        "server_type": TYPE, "os_allowed": [OS], "ipv4": 2, "probe": f"ssh:{places[0].ssh_port}", "attempts_max": 20,
        "connections": {place.name: n for n, place in enumerate(places)},
    }  # fmt: skip


def _rack(place: Place) -> Json:
    return {"kind": "colocation", "department": "hands", "connections": {place.name: 0}}


def _own_port() -> int:
    """Give a port that no simulator's machine uses, and that the kernel gives to nobody who does not ask for it."""
    while True:
        port = random.SystemRandom().randrange(*PORTS)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def _offspring(pid: int) -> list[int]:
    """Give the processes that *pid* started."""
    with suppress(OSError):
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []
