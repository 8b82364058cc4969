"""The servers of production, from the system's packages, on ports and folders of our own; they die with us."""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

import amqp
import psycopg2
import pytest
import redis

from provisioner.demo.children import Children
from provisioner.demo.postgres import NOBODY, ROLE
from provisioner.demo.programs import SYSTEM
from provisioner.demo.tether import tethered

READY_SECONDS = 60.0
#: below those that the kernel gives to clients: a server that is away must find its port free when it comes back
PORTS = (20_000, 32_000)
RABBIT = Path("/usr/lib/rabbitmq/bin")  #: the scripts themselves: the ones on the path insist on the system's user


def wait(what: str, held: Callable[[], bool], seconds: float = READY_SECONDS) -> None:
    """Look until *held*; fails with *what* was awaited."""
    ends = time.monotonic() + seconds
    while not held():
        assert time.monotonic() < ends, f"{what}: not within {seconds:.0f} s"
        time.sleep(0.05)


def own_port() -> int:
    """Give a loopback port that nobody listens on, and that the kernel gives to nobody who does not ask for it."""
    draw = random.SystemRandom()
    while True:
        port = draw.randrange(*PORTS)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def program(name: str, package: str, *places: Path) -> str:
    """Give the path of a program; a test that needs one which is missing fails with the line that installs it."""
    found = next((str(place / name) for place in places if os.access(place / name, os.X_OK)), shutil.which(name))
    if found is None:
        pytest.fail(f"{name} is missing. On Debian, type: apt-get install {package}", pytrace=False)
    return found


class Broker(Protocol):
    """What a test does to a broker."""

    url: str

    def stop(self) -> None:
        """End it in order."""

    def kill(self) -> None:
        """End it as the machine's out-of-memory killer would."""

    def begin(self) -> None:
        """Start it, again on what it kept; return when it answers."""

    def freeze(self) -> None:
        """Let it hang: it keeps its connections and answers nobody."""

    def thaw(self) -> None:
        """Let it go on."""

    def empty(self) -> None:
        """Lose every message that waits."""

    def heal(self) -> None:
        """Have it as it was at the beginning."""


class Server:
    """A child in a folder of its own, as `nobody` when we are root."""

    name = ""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / self.name
        self.folder.mkdir(mode=0o711)
        self.port = own_port()
        self.children = Children()
        self.uid = NOBODY if os.geteuid() == 0 else None
        self.home = self.folder / "home"
        self.home.mkdir(mode=0o700)
        self.give(self.home)

    def give(self, path: Path) -> None:
        """Let the server own *path*."""
        if self.uid is not None:
            os.chown(path, self.uid, self.uid)

    @property
    def log(self) -> Path:
        return self.folder / f"{self.name}.log"

    def spawn(self, name: str, argv: list[str], env: Mapping[str, str], farewell: signal.Signals) -> None:
        """Start a child that dies with us."""
        if name in self.children:
            self.children.stop(name)
        tied = tethered(argv, uid=self.uid, farewell=farewell)
        self.children.start(
            name, tied, env={"PATH": os.defpath, "LC_ALL": "C.UTF-8", **env}, log=self.log, cwd=Path("/")
        )

    def run(self, argv: list[str], env: Mapping[str, str] | None = None) -> str:
        """Run a tool of the server to its end, as the server's user."""
        done = subprocess.run(
            tethered(argv, uid=self.uid),
            env={"PATH": os.defpath, "LC_ALL": "C.UTF-8", **(env or {})}, cwd="/", stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=READY_SECONDS,
        )  # fmt: skip
        assert done.returncode == 0, f"{' '.join(argv)}: {done.stdout}"
        return done.stdout

    def signal(self, number: signal.Signals) -> None:
        """Signal the server and all its processes."""
        self.children.signal(self.name, number)

    @property
    def pid(self) -> int | None:
        return self.children.pid(self.name) if self.name in self.children else None

    def freeze(self) -> None:
        pid = self.pid
        assert pid is not None
        self.signal(signal.SIGSTOP)
        threads = Path(f"/proc/{pid}/task")
        wait(
            f"{self.name} stands still",
            lambda: all(_state(thread) == "T" for thread in threads.iterdir()),
        )

    def thaw(self) -> None:
        self.signal(signal.SIGCONT)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        wait(f"{self.name} is dead", lambda: self.pid is None)

    def stop(self) -> None:
        """End it in order, and all that it started."""
        self.thaw_if_there()
        self.children.stop(grace=15)

    def thaw_if_there(self) -> None:
        if self.pid is not None:
            self.thaw()

    def answers(self) -> bool:
        """Tell whether it can be used; what the client raises means no."""
        raise NotImplementedError

    def until_it_answers(self) -> None:
        def up() -> bool:
            assert self.pid is not None, f"{self.name} ended at its start:\n{self.log.read_text()[-3000:]}"
            return self.answers()

        wait(f"{self.name} answers", up)


def _state(thread: Path) -> str:
    return thread.joinpath("stat").read_text().rpartition(")")[2].split()[0]


class Redis(Server):
    """Redis with its append-only file, written through once a second: as production should have it."""

    name = "redis"

    def __init__(self, folder: Path) -> None:
        self.program = program("redis-server", "redis-server")
        super().__init__(folder)
        self.url = f"redis://127.0.0.1:{self.port}/0"

    def begin(self) -> None:
        argv = [self.program, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.home)]
        argv += ["--appendonly", "yes", "--appendfsync", "everysec", "--save", ""]
        self.spawn(self.name, argv, {}, signal.SIGTERM)
        self.until_it_answers()

    @contextmanager
    def client(self) -> Iterator[redis.Redis]:
        made = redis.Redis(port=self.port, socket_timeout=2)
        try:
            yield made
        finally:
            made.close()

    def answers(self) -> bool:
        try:
            with self.client() as client:
                return bool(client.ping())
        except redis.exceptions.RedisError:
            return False

    def empty(self) -> None:
        with self.client() as client:
            client.flushall()

    def heal(self) -> None:
        self.thaw_if_there()
        if self.pid is None:
            self.begin()


class RabbitMQ(Server):
    """RabbitMQ, a node of its own with an epmd of its own; alarms come within half a second."""

    name = "rabbitmq"

    def __init__(self, folder: Path) -> None:
        self.program = program("rabbitmq-server", "rabbitmq-server", RABBIT)
        self.tool = program("rabbitmqctl", "rabbitmq-server", RABBIT)
        super().__init__(folder)
        self.url = f"amqp://guest:guest@127.0.0.1:{self.port}//"
        self.epmd_port = own_port()
        config, plugins = self.folder / "rabbitmq.conf", self.folder / "plugins"
        config.write_text("vm_memory_high_watermark.absolute = 2GB\nmemory_monitor_interval = 200\n"
                          "disk_free_limit.absolute = 10MB\n")  # fmt: skip
        plugins.write_text("[].\n")
        self.env = {
            "HOME": str(self.home),
            "RABBITMQ_NODENAME": f"provisioner{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(own_port()),
            "RABBITMQ_MNESIA_BASE": str(self.home / "mnesia"),
            "RABBITMQ_LOG_BASE": str(self.home / "log"),
            "RABBITMQ_CONFIG_FILE": str(config),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(plugins),
            "RABBITMQ_CONF_ENV_FILE": str(self.folder / "none"),
            "RABBITMQ_PID_FILE": str(self.home / "pid"),
            "RUNNING_UNDER_SYSTEMD": "true",  # the virtual machine takes the place of the script: signals reach it
            "ERL_EPMD_PORT": str(self.epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
        }

    def begin(self) -> None:
        if "epmd" not in self.children or self.children.pid("epmd") is None:
            self.spawn("epmd", ["epmd", "-port", str(self.epmd_port), "-address", "127.0.0.1"], {}, signal.SIGKILL)
        self.spawn(self.name, [self.program], self.env, signal.SIGKILL)
        self.until_it_answers()

    def answers(self) -> bool:
        try:
            with self.connection():
                return True
        except (OSError, amqp.exceptions.AMQPError):
            return False

    def connection(self) -> amqp.Connection:
        return amqp.Connection(host=f"127.0.0.1:{self.port}", connect_timeout=2, read_timeout=5)

    def ctl(self, *words: str) -> str:
        """Run rabbitmqctl; it takes more than a second."""
        return self.run([self.tool, "-q", *words], self.env)

    def alarm(self, *, memory: str) -> None:
        """Set from how much memory on it blocks who publishes: 1 is always, 2GB is never."""
        self.ctl("set_vm_memory_high_watermark", "absolute", memory)

    def alarmed(self) -> bool:
        return "memory" in self.ctl("eval", "rabbit_alarm:get_alarms().")

    def empty(self) -> None:
        with self.connection() as connection:
            for queue in ("steps", "observe", "control"):
                connection.channel().queue_purge(queue)

    def heal(self) -> None:
        self.thaw_if_there()
        if self.pid is None:
            self.begin()
        elif self.alarmed():
            self.alarm(memory="2GB")


class Postgres(Server):
    """Debian's PostgreSQL as it comes: every commit reaches the disk. TCP on loopback, as in production."""

    name = "postgresql"

    def __init__(self, folder: Path, *, data: Path | None = None, log_elsewhere: bool = False) -> None:
        """Keep the tables in *data*, a folder on some other file system; *log_elsewhere*: the log not."""
        places = sorted(SYSTEM.glob("*/bin"), key=lambda one: int(one.parent.name), reverse=True)
        self.program = program("postgres", "postgresql", *places)
        super().__init__(folder)
        self.bin = Path(self.program).resolve().parent
        self.data = (data or self.home) / "data"
        self.log_elsewhere = log_elsewhere

    def begin(self) -> None:
        """Start it, with a new cluster where there is none."""
        if not self.data.exists():
            argv = [str(self.bin / "initdb"), f"--pgdata={self.data}", f"--username={ROLE}", "--auth=trust"]
            argv += ["--encoding=UTF8", "--locale=C.UTF-8", "--wal-segsize=1", "--no-sync"]
            if self.log_elsewhere:
                argv.append(f"--waldir={self.home / 'wal'}")
            self.run(argv)
        settings = {
            "listen_addresses": "127.0.0.1", "port": str(self.port), "unix_socket_directories": "",
            "max_connections": "100", "shared_buffers": "32MB", "timezone": "UTC", "log_timezone": "UTC",
            "max_wal_size": "32MB", "min_wal_size": "4MB",
        }  # fmt: skip
        argv = [str(self.bin / "postgres"), "-D", str(self.data)]
        for key, value in settings.items():
            argv += ["-c", f"{key}={value}"]
        self.spawn(self.name, argv, {"TZ": "UTC"}, signal.SIGQUIT)
        self.until_it_answers()

    def ask(self, sql: str, *values: object, database: str = "postgres") -> list[tuple[object, ...]]:
        """Ask as the superuser, each statement its own commit."""
        connection = psycopg2.connect(host="127.0.0.1", port=self.port, user=ROLE, dbname=database, connect_timeout=3)
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(sql, values or None)
                return list(cursor.fetchall()) if cursor.description else []
        finally:
            connection.close()

    def answers(self) -> bool:
        try:
            return bool(self.ask("SELECT 1"))
        except psycopg2.OperationalError:
            return False

    def url_of(self, database: str) -> str:
        return f"postgresql+psycopg2://{ROLE}@127.0.0.1:{self.port}/{database}"

    def crash(self) -> None:
        """Stop at once, as after a crash: nothing is written, the next start replays the log."""
        self.run([str(self.bin / "pg_ctl"), "stop", "-D", str(self.data), "-m", "immediate", "-w"])
        wait("PostgreSQL is gone", lambda: self.pid is None)


BROKERS: dict[str, type[Redis | RabbitMQ]] = {"redis": Redis, "rabbitmq": RabbitMQ}
