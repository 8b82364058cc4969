"""
The supervisor's private PostgreSQL: one data folder, one server. Touches files and processes.

We run `initdb` and `postgres` ourselves, whichever package they come from: as an unprivileged user
when we are root, and without making one. The server listens on a unix socket only.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Self
from urllib.parse import quote

import psycopg2
from psycopg2 import sql

from provisioner.demo.patience import until
from provisioner.demo.programs import (
    ENVIRONMENT,
    PostgresFailed,
    Programs,
    choose_programs,
    executable_by,
    run,
)
from provisioner.demo.tether import tethered

#: Whom PostgreSQL runs as when we are root: `nobody`, by number, so that no account is needed.
NOBODY = 65534

#: The superuser inside the server. It has no password: the socket's folder is closed to others.
ROLE = "provisioner"

#: The kernel's limit for the path of a unix socket is 107, and PostgreSQL adds this to the folder.
SOCKET_FOLDER_MAX = 107 - len("/.s.PGSQL.5432.lock")

#: How long a server may take until it answers; long, since after a crash it replays its log first.
READY_SECONDS = 60.0
#: How often it is looked whether it answers, or has ended.
POLL_SECONDS = 0.01


class EmbeddedPostgres:
    """
    One PostgreSQL server that lives as long as we do.

    Everything is kept in *state_dir*/postgres. When we are root and the unprivileged user cannot
    reach that folder (it lies under a closed home), everything is kept in a folder under /var/tmp
    that is named after it. With *fsync* off, a crash of the machine loses the data; a crash of the
    server does not.
    """

    def __init__(self, state_dir: Path, *, fsync: bool) -> None:
        self._fsync = fsync
        self._state_dir = state_dir.absolute()
        self._process: subprocess.Popen[bytes] | None = None
        self._sockets = Path()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def home(self) -> Path:
        """Where the data, the log and copied programs are."""
        wanted = self._state_dir / "postgres"
        if os.geteuid() != 0 or _open_to_all(self._state_dir):
            return wanted
        return _private_name(Path("/var/tmp"), wanted)  # noqa: S108 - `_own` looks whose it is

    @property
    def log(self) -> Path:
        return self.home / "postgres.log"

    @property
    def pid(self) -> int | None:
        """Process id of the server, None while it is not running."""
        return self._process.pid if self._process and self._process.poll() is None else None

    def start(self) -> None:
        """
        Start the server, on a new data folder when there is none; return when it answers.

        Raises:
            PostgresFailed: no programs, a data folder of another version or user, or a server that
                ended at once.
        """
        if self.pid is not None:
            return
        self._state_dir.mkdir(parents=True, exist_ok=True)
        home = self.home
        uid = _whom_to_run_as(home)
        _make_home(home, uid)
        programs = executable_by(uid, choose_programs(home / "data"), home)
        if not (home / "data").exists():
            self._initialise(programs, home / "data", uid)
        self._sockets = _socket_folder(home, uid)
        self._process = self._launch(programs, home / "data", uid)
        try:
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End the server: in order, after 10 s at once. Repeatable."""
        process, self._process = self._process, None
        if process is None:
            return
        for number, patience in ((signal.SIGINT, 10.0), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0)):
            process.send_signal(number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(patience)
                break
        if self._sockets.parent != self.home:
            with contextlib.suppress(OSError):  # not empty: another server's
                self._sockets.rmdir()

    def kill(self) -> None:
        """Kill the server and its backends with SIGKILL, as a crash would. `start` recovers."""
        process, self._process = self._process, None
        if process is None:
            return
        backends = _offspring(process.pid)
        process.kill()
        process.wait()
        # A backend outlives its server by a moment and holds the memory that the next one refuses.
        for pid in backends:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        until(lambda: not any(_runs(pid) for pid in backends), seconds=5.0, every=POLL_SECONDS)

    def remove(self) -> None:
        """Stop the server and delete its data, for good. Repeatable."""
        self.stop()
        shutil.rmtree(self.home, ignore_errors=True)

    def url(self, database: str) -> str:
        """Return the SQLAlchemy address of *database*."""
        return f"postgresql+psycopg2://{ROLE}@/{quote(database)}?host={quote(str(self._sockets))}"

    def create_database(self, name: str, template: str | None = None) -> None:
        """
        Create the database *name*, empty or as a copy of *template*, which nobody may be using.

        Raises:
            psycopg2.Error: it exists already, or somebody is connected to *template*.
        """
        statement = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
        with self._superuser() as cursor:
            cursor.execute(statement.format(sql.Identifier(name), sql.Identifier(template or "template0")))

    def drop_database(self, name: str) -> None:
        """Drop the database *name*, and whoever is connected to it. Repeatable."""
        statement = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)")
        with self._superuser() as cursor:
            cursor.execute(statement.format(sql.Identifier(name)))

    def has_database(self, name: str) -> bool:
        with self._superuser() as cursor:
            cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,))
            return cursor.fetchone() is not None

    @contextlib.contextmanager
    def _superuser(self) -> Iterator[psycopg2.extensions.cursor]:
        connection = psycopg2.connect(host=str(self._sockets), user=ROLE, dbname="postgres", connect_timeout=3)
        try:
            connection.autocommit = True  # CREATE DATABASE refuses to run in a transaction
            with connection.cursor() as cursor:
                yield cursor
        finally:
            connection.close()

    def _initialise(self, programs: Programs, data: Path, uid: int | None) -> None:
        # Made aside and renamed, so that an interrupted first start leaves no half data folder.
        fresh = data.with_name("data.new")
        arguments = [f"--pgdata={fresh}", f"--username={ROLE}", "--auth=trust", "--encoding=UTF8"]
        if not self._fsync:
            arguments.append("--no-sync")
        said = ""
        for locale in ("C.UTF-8", "C"):  # some small systems lack the first
            shutil.rmtree(fresh, ignore_errors=True)
            _own(fresh, uid)
            done = run([str(programs.folder / "initdb"), *arguments, f"--locale={locale}"], uid)
            if done.returncode == 0:
                fresh.rename(data)
                return
            said = done.stdout
        message = f"initdb failed:\n{said.strip()}"
        raise PostgresFailed(message)

    def _launch(self, programs: Programs, data: Path, uid: int | None) -> subprocess.Popen[bytes]:
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": str(self._sockets),
            "unix_socket_permissions": "0700",
            "max_connections": "200",
            "shared_buffers": "64MB",
            "timezone": "UTC",
            "log_timezone": "UTC",
        }
        if not self._fsync:
            settings |= {"fsync": "off", "full_page_writes": "off"}  # a commit is still handed to the kernel
        argv = [str(programs.folder / "postgres"), "-D", str(data)]
        for key, value in settings.items():
            argv += ["-c", f"{key}={value}"]
        with self.log.open("ab") as output:
            return subprocess.Popen(
                tethered(argv, farewell=signal.SIGQUIT, uid=uid),
                env=ENVIRONMENT,
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _wait_until_ready(self) -> None:
        def answers() -> bool:
            if self.pid is None:
                raise PostgresFailed(self._last_words())
            if not self._holds_the_data():  # or an earlier server on the same data would answer for us
                return False
            with contextlib.suppress(psycopg2.OperationalError), self._superuser():
                return True
            return False

        if not until(answers, seconds=READY_SECONDS, every=POLL_SECONDS):
            message = f"PostgreSQL does not answer within {READY_SECONDS:.0f} s; see {self.log}"
            raise PostgresFailed(message)

    def _holds_the_data(self) -> bool:
        try:
            lines = (self.home / "data" / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return lines[:1] == [str(self.pid)]

    def _last_words(self) -> str:
        words = "\n".join(self.log.read_text(errors="replace").strip().splitlines()[-6:])
        if "postmaster.pid" in words:
            return f"another PostgreSQL runs on {self.home}: stop the demo that started it\n{words}"
        return f"PostgreSQL ended at its start; the end of {self.log}:\n{words}"


def _whom_to_run_as(home: Path) -> int | None:
    """Return who owns the data, `nobody` when that is new or root's; None when it is ourselves."""
    oldest = next((path for path in (home / "data", home) if path.exists()), None)
    owner = oldest.stat().st_uid if oldest else None
    if os.geteuid() == 0:
        return owner or NOBODY
    if owner not in {None, os.geteuid()}:
        message = f"{oldest} belongs to another user ({owner}): start as that user, or delete it"
        raise PostgresFailed(message)
    return None


def _own(folder: Path, uid: int | None) -> None:
    """Make *folder* unless it is there, close it to others, and give it to *uid* (None: to us)."""
    folder.mkdir(exist_ok=True)
    _refuse_strangers(folder, uid)
    if uid is not None:
        os.chown(folder, uid, uid)
    folder.chmod(0o700)


def _make_home(folder: Path, uid: int | None) -> None:
    """Make *folder* unless it is there; ours, but when the server is another user, open to walk."""
    folder.mkdir(mode=0o700 if uid is None else 0o711, exist_ok=True)
    _refuse_strangers(folder, uid)


def _refuse_strangers(folder: Path, uid: int | None) -> None:
    # In a folder that everybody may write to, somebody could have been faster than we.
    owner = folder.lstat().st_uid
    if folder.is_symlink() or owner not in {os.geteuid(), uid}:
        message = f"{folder} belongs to another user ({owner}): delete it"
        raise PostgresFailed(message)


def _open_to_all(folder: Path) -> bool:
    """Tell whether every user may walk to *folder*, as far as it exists."""
    return all(path.stat().st_mode & 0o001 for path in [folder, *folder.parents] if path.exists())


def _socket_folder(home: Path, uid: int | None) -> Path:
    """Return a folder, private to *uid*, whose path is short enough for a unix socket."""
    temporary = [Path(tempfile.gettempdir()), Path("/tmp")]  # noqa: S108 - `_own` looks whose it is
    candidates = [home / "run", *(_private_name(folder, home) for folder in temporary)]
    for folder in candidates:
        if len(os.fsencode(folder)) <= SOCKET_FOLDER_MAX:
            _own(folder, uid)
            return folder
    message = f"no path is short enough for a unix socket: {', '.join(map(str, candidates))}"
    raise PostgresFailed(message)


def _private_name(base: Path, home: Path) -> Path:
    mark = hashlib.sha256(os.fsencode(home)).hexdigest()[:12]
    return base / f"provisioner-{mark}"


def _offspring(pid: int) -> list[int]:
    """Return the process ids of the children of *pid*."""
    folders = [folder for folder in Path("/proc").iterdir() if folder.name.isdecimal()]
    return [int(folder.name) for folder in folders if _stat(folder)[1:2] == [str(pid)]]


def _runs(pid: int) -> bool:
    return _stat(Path(f"/proc/{pid}"))[:1] not in ([], ["Z"])


def _stat(folder: Path) -> list[str]:
    """Return a process's state, parent and so on; nothing when it is gone."""
    try:
        # The name in brackets may hold anything; the state follows its last bracket.
        return (folder / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
