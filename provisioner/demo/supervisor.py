"""The demo's house: everything that production has, as children on loopback. Touches processes and ports."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shlex
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPException
from pathlib import Path

import provisioner
from provisioner import bootstrap, config
from provisioner.cli import key, processes
from provisioner.demo.children import Children, Exit, free_port
from provisioner.demo.patience import until
from provisioner.demo.postgres import EmbeddedPostgres
from provisioner.demo.state import StateFolder
from provisioner.demo.tether import tethered
from provisioner.domain.catalogue import Role
from provisioner.usecases import tokens

#: Where `python -m provisioner` and `-m celery -A workers.app` find their modules.
ROOT = Path(provisioner.__file__).parents[1]

#: How long a child may take until it can be used; slow disks and cold caches included.
START_SECONDS = 60.0

#: How often something that is awaited is looked at.
POLL_SECONDS = 0.03

#: Demo after demo has a new database in a cluster that is kept, under these names in turn.
DATABASES = ("demo_a", "demo_b")

#: Short spans, in the order that the engine asks for: call < soft < hard < lease.
SPANS = {
    "call": 1.5,
    "soft": 2.0,
    "hard": 2.5,
    "lease": 3.0,
    "reconcile": 0.2,
    "observe_short": 0.3,
    "observe_long": 0.3,
    "observe_stock": 1.0,
    "view_age": 2.0,
    "wake_grace": 1.0,
    "pass_over": 2.0,
    "canary": 2.0,
    "probe": 0.5,
    "tell_again": 1.0,
    "tell_gather": 2.0,
}

#: Every span of the steps' policies (settle, back-off, deadline) is multiplied by this.
STEP_SCALE = 0.02

#: An install must outlast the lease of a worker that died right before it was sent.
POLICIES = {"install_os": {"settle": 5.0}}

#: How long things take in the simulated data centre, in seconds.
DURATIONS = {
    "power": 0.2,
    "boot": 0.3,
    "enable": 0.05,
    "link_settle": 0.1,
    "install_visible": 0.1,
    "install": 1.5,
    "cancel": 0.1,
}

#: Types of the simulated servers in turn, and how many there are in all.
TYPES = ("HP-E3-16G", "HP-E3-16G", "HP-E5-64G", "SM-X11-32G")
SERVERS = 12

#: The second simulated data centre: one type of server, of which most were sold before this product came.
SOLD_TYPE, SOLD, SPARE = "HP-E3-32G", 200, 4

#: Ports for API and Flower: below those that the kernel gives to clients, or one could be taken before its server
#: has loaded.
PORTS = (20_000, 32_000)

#: What both say when their port is taken all the same.
IN_USE = "ddress already in use"

#: The billing panel that the orders come from.
PANEL = "demo"

#: From whom messages to those in charge are.
SENDER = "provisioner@example.net"

#: The simulated administrator's password; it guards nothing but a simulation.
PASSWORD = "demo-secret"  # noqa: S105


class DemoFailed(Exception):
    """A child does not come up; the message says which, and where its words are."""


@dataclass(frozen=True)
class Simulated:
    """The simulated data centre's addresses."""

    url: str
    control_url: str
    ssh_port: int
    admin_user: str
    certificate_sha256: str | None


class Supervisor:
    """Starts the children, brings them back, and stops them all."""

    def __init__(self, state: StateFolder, *, tell: Callable[[str], None]) -> None:
        self._state = state
        self._tell = tell
        self.children = Children()
        self.postgres = EmbeddedPostgres(state.path, fsync=False)  # its database lives as long as this demo
        self._ports: dict[str, int] = {}
        self.exits: list[Exit] = []  #: who ended though nobody asked
        self._database = ""
        self._broker_url = ""
        self._mail_url = ""

    @contextmanager
    def running(self) -> Iterator[None]:
        """Have everything up inside, and nothing left behind afterwards."""
        try:
            self._start()
            yield
        finally:
            self.stop()

    @property
    def simulated(self) -> Simulated:
        """Where the simulated data centre is; waits until it runs."""
        return self._said("simulator")

    @property
    def sold(self) -> Simulated:
        """Where the second one is; waits until it runs."""
        self.begin_sold()
        return self._said("simulator-sold")

    def begin_sold(self) -> None:
        """Start the second simulated data centre; it may wait until the first order is handed over. Repeatable."""
        if "simulator-sold" not in self.children:
            self._begin("simulator-sold", _simulator(SOLD + SPARE, [SOLD_TYPE]))

    def command(self, *words: str) -> str:
        """
        Give the command line a command, as a person on this machine would; return what it prints.

        Raises:
            DemoFailed: it refused; the message has its own words.
        """
        environment = {"PATH": os.defpath, "LC_ALL": "C.UTF-8", "HOME": str(self._state.path), **self.environment()}
        argv = tethered([sys.executable, "-m", "provisioner", *words])
        done = subprocess.run(argv, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode:
            raise DemoFailed(
                f"provisioner {' '.join(words)} ended with {done.returncode}: {done.stderr or done.stdout}"
            )
        return done.stdout

    @property
    def api_url(self) -> str:
        """Where the API is; final once it answered."""
        return f"http://127.0.0.1:{self._ports['api']}"

    @property
    def flower_url(self) -> str:
        """Where Flower is, or will be in a moment."""
        return f"http://127.0.0.1:{self._ports['flower']}"

    def stop(self) -> None:
        """End every child, the database last. Repeatable."""
        self.children.stop(grace=3.0)
        self.postgres.stop()

    def tend(self) -> None:
        """Start again who ended; say so."""
        for ended in self.children.tend():
            if ended.name in self._ports and IN_USE in ended.log.read_text(errors="replace"):
                self._serve(ended.name)
            else:
                self.exits.append(ended)
                self._tell(str(ended))

    def wait(self, what: str, ready: Callable[[], bool], seconds: float = START_SECONDS) -> None:
        """
        Wait until *ready* says yes, tending the children.

        Raises:
            DemoFailed: it does not within *seconds*.
        """

        def tend() -> None:
            self.tend()
            self.require(f"{what} did not come up")

        if not until(ready, seconds=seconds, tend=tend, every=POLL_SECONDS):
            raise DemoFailed(f"{what} did not come up within {seconds:.0f} s; logs are in {self._state.logs}")

    def tokens(self) -> tuple[str, str]:
        """Make a token for everything, and one for billing, which alone may read passwords."""
        ports = bootstrap.build(self._settings())
        try:
            admin = tokens.create("demo", Role.ADMIN, panel=PANEL, catalogue=ports.catalogue)
            billing = tokens.create("demo-billing", Role.BILLING, panel=PANEL, catalogue=ports.catalogue)
        finally:
            ports.database.close()
        return admin.token, billing.token

    @property
    def mail(self) -> Path:
        """Where the messages to those in charge arrive, a file each."""
        return self._state.path / "mail"

    @property
    def logs(self) -> Path:
        """Where the children's words are."""
        return self._state.logs

    def environment(self) -> dict[str, str]:
        """Return our settings, as the children get them."""
        return {
            "PROVISIONER_DATABASE_URL": self.postgres.url(self._database),
            "PROVISIONER_BROKER_URL": self._broker_url,
            "PROVISIONER_SECRET_KEY_FILE": str(self._state.path / "secret.key"),
            "PROVISIONER_SMTP_URL": self._mail_url,
            "PROVISIONER_SMTP_FROM": SENDER,
            "PROVISIONER_PUBLIC_URL": self.api_url if "api" in self._ports else "",
            "PROVISIONER_SPANS": json.dumps(SPANS),
            "PROVISIONER_STEP_SCALE": str(STEP_SCALE),
            "PROVISIONER_POLICIES": json.dumps(POLICIES),
            "FLOWER_UNAUTHENTICATED_API": "true",  # loopback, and nothing in it is real
        }

    def write_environment(self) -> Path:
        """Write what a shell needs to use the command line on this demo; return the file."""
        file = self._state.path / "environment"
        lines = (f"export {name}={shlex.quote(value)}\n" for name, value in self.environment().items())
        file.write_text("".join(lines))
        return file

    def _settings(self) -> config.Settings:
        return config.load(
            database_url=self.postgres.url(self._database),
            broker_url=self._broker_url,
            secret_key_file=self._state.path / "secret.key",
            spans=SPANS,
            step_scale=STEP_SCALE,
            policies=POLICIES,
        )

    def _start(self) -> None:
        for old in self._state.logs.glob("*.log"):
            old.unlink(missing_ok=True)
        for old in self.mail.glob("*.eml"):
            old.unlink(missing_ok=True)
        self._tell("starting: PostgreSQL, broker, API, workers, beat, Flower, a mail sink, a simulated data centre")
        python = sys.executable
        self._begin("broker", [python, "-m", "provisioner.demo.broker"])
        self._begin("mail", [python, "-m", "provisioner.demo.mail", "--folder", str(self.mail)])
        self._begin("simulator", _simulator(SERVERS, TYPES))
        self.postgres.start()
        self._database = self._new_database()
        secret_key = self._state.path / "secret.key"
        secret_key.unlink(missing_ok=True)
        key.write(secret_key)
        self.wait("the broker", lambda: bool(self._first_line("broker", "redis://")))
        self._broker_url = self._first_line("broker", "redis://")
        self.wait("the mail sink", lambda: bool(self._first_line("mail", "smtp")))
        self._mail_url = self._first_line("mail", "smtp")
        # They load for a second before they ask the database anything; the tables are there by then. Who is
        # faster fails at a look, and looks again.
        self._start_ours()
        bootstrap.upgrade(self._settings())
        self._said("simulator")
        self.wait("the API", lambda: _answers(f"{self.api_url}/healthz"))
        # Celery keeps no event for who comes late: Flower has to be there before the first order's first step.
        self.wait("Flower", lambda: _answers(f"{self.flower_url}/healthcheck"))

    def _start_ours(self) -> None:
        self._serve("api")
        self._begin("worker-steps", processes.worker_argv("steps", 2), restart=True)
        # it also reads the lists, so that a steps worker that is killed leaves no gap in the readings
        self._begin("worker-control", processes.worker_argv("control,outbox,observe", 3, "control"), restart=True)
        self._serve("flower")

    def complete(self) -> None:
        """
        Do what may wait until the orders are under way.

        Beat, since each order asks for a tick itself; and the database of the demo before, since dropping it
        writes a checkpoint.
        """
        self._begin("beat", processes.beat_argv(str(self._state.path / "beat.db")), restart=True)
        for name in DATABASES:
            if name != self._database:
                self.postgres.drop_database(name)

    def _serve(self, name: str) -> None:
        """Start API or Flower on a free port; on another one when somebody was faster."""
        if name in self.children:  # it ended, and would come again on the old port
            self.children.stop(name)
        (self._state.logs / f"{name}.log").unlink(missing_ok=True)
        port = self._ports[name] = _free_port()
        argv = processes.api_argv if name == "api" else processes.flower_argv
        self._begin(name, argv("127.0.0.1", port), restart=True)

    def _new_database(self) -> str:
        """Make a database; dropping the one of the demo before takes longer than all the rest, so that comes later."""
        name = next((name for name in DATABASES if not self.postgres.has_database(name)), None)
        if name is None:  # demos were killed before they could drop the other one
            name = DATABASES[0]
            self.postgres.drop_database(name)
        self.postgres.create_database(name)
        return name

    def _said(self, name: str) -> Simulated:
        self.wait(f"the {name}", lambda: bool(self._first_line(name, "{")))
        said = json.loads(self._first_line(name, "{"))
        return Simulated(**{one: said[one] for one in Simulated.__dataclass_fields__})

    def _begin(self, name: str, argv: Sequence[str], *, restart: bool = False) -> None:
        environment = {"PATH": os.defpath, "LC_ALL": "C.UTF-8", "PYTHONUNBUFFERED": "1", "HOME": str(self._state.path)}
        if self._broker_url:
            environment |= self.environment()
        log = self._state.logs / f"{name}.log"
        self.children.start(name, argv, env=environment, log=log, cwd=ROOT, restart=restart)

    def _first_line(self, name: str, start: str) -> str:
        """Return the first line of a child's log that begins with *start*, once it is whole."""
        try:
            text = self.children.log(name).read_text(errors="replace")
        except FileNotFoundError:
            return ""
        return next((line.strip() for line in text.splitlines(keepends=True) if line.startswith(start)), "")

    def require(self, trouble: str) -> None:
        """
        Go on only when nobody ended for good.

        Raises:
            DemoFailed: *trouble*, who ended, and the end of its log.
        """
        for ended in self.exits:
            if ended.restart_in is None:
                raise DemoFailed(f"{trouble}: {ended}\n{tail(ended.log)}")


def tail(log: Path, lines: int = 15) -> str:
    """Return the last words of a child."""
    try:
        return "\n".join(f"    {line}" for line in log.read_text(errors="replace").splitlines()[-lines:])
    except OSError:
        return ""


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2.0) as response:  # noqa: S310 - our own address
            return bool(response.status == HTTPStatus.OK)
    except (OSError, HTTPException):
        return False


def _free_port() -> int:
    """Return a port that nobody listens on, and that the kernel gives to nobody who does not ask for it."""
    for _ in range(100):
        port = random.SystemRandom().randrange(*PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    return free_port()


def _simulator(servers: int, types: Sequence[str]) -> list[str]:
    named = [word for name in types for word in ("--type", name)]
    fleet = ["--servers", str(servers), "--admin-password", PASSWORD, *named]
    return [sys.executable, "-m", "provisioner.simulators", "--tls", *fleet]
