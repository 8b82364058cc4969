"""The demo's folder: its database, logs and key. Touches files below one folder."""

from __future__ import annotations

import fcntl
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from provisioner.demo.postgres import EmbeddedPostgres

#: The most demos that may run at once on one folder.
MOST = 20


class NoFolder(Exception):
    """No folder can be had; the message says why and what to do."""


@dataclass(frozen=True)
class StateFolder:
    """A folder that no other demo uses, as long as the lock is open."""

    path: Path
    lock: IO[str]

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    def release(self) -> None:
        """Let another demo have it. Repeatable."""
        self.lock.close()


def take(base: Path) -> StateFolder:
    """
    Take the first folder below *base* that nobody uses: `1`, `2` … The kernel frees it however we end.

    Raises:
        NoFolder: it cannot be written, or very many demos run.
    """
    try:
        base.mkdir(parents=True, exist_ok=True)
        (base / ".gitignore").write_text("*\n")
        for number in range(1, MOST + 1):
            lock = _locked(base / f"{number}.lock")
            if lock is not None:
                folder = base / str(number)
                folder.mkdir(exist_ok=True)
                return StateFolder(folder, lock)
    except OSError as error:
        raise NoFolder(f"cannot write to {base}: {error.strerror}; name another folder with --state") from error
    raise NoFolder(f"{MOST} demos run on {base} already; stop one, or name another folder with --state")


def remove(base: Path) -> list[Path]:
    """Delete what ended demos left in *base*; return what is still in use."""
    used = []
    for folder in sorted(path for path in base.glob("*") if path.is_dir() and path.name.isdecimal()):
        lock = _locked(base / f"{folder.name}.lock")
        if lock is None:
            used.append(folder)
            continue
        with lock:
            EmbeddedPostgres(folder, fsync=False).remove()
            shutil.rmtree(folder, ignore_errors=True)
    return used


def _locked(path: Path) -> IO[str] | None:
    lock = path.open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        return None
    return lock
