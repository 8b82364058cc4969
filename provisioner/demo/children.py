"""
The supervisor's children: named, logged, restarted, gone when it goes. Touches processes and logs.

No threads: whoever supervises calls `tend` a few times a second, so that every child is started by
the one thread that `tether` binds it to.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from provisioner.demo.patience import until
from provisioner.demo.tether import tethered

#: A child that ran at least this long before it ended is restarted without growing its back-off.
SETTLED_SECONDS = 10.0

#: First and longest wait before a restart; each early end doubles it.
BACK_OFF_SECONDS = (0.2, 5.0)

#: How long each child that is asked to end has before the next one is asked.
HEAD_START_SECONDS = 0.1

#: How often a child that was asked to end is looked at.
POLL_SECONDS = 0.02


@dataclass(frozen=True)
class Exit:
    """A child ended by itself."""

    name: str
    status: int  #: as `Popen.returncode`: negative for the signal that ended it
    log: Path  #: where its last words are
    restart_in: float | None  #: seconds until it is started again; None when it stays down

    def __str__(self) -> str:
        """Say what a person wants to read."""
        if self.status < 0:
            how = f"was ended by {signal.Signals(-self.status).name}"
        else:
            how = f"ended with status {self.status}"
        then = "it stays down" if self.restart_in is None else f"again in {self.restart_in:.1f} s"
        return f"{self.name} {how}, {then}; see {self.log}"


@dataclass
class _Child:
    name: str
    argv: list[str]
    env: dict[str, str]
    log: Path
    cwd: Path | None
    restart: bool
    process: subprocess.Popen[bytes]
    started: float  #: monotonic
    early_ends: int = 0
    due: float | None = None  #: monotonic; None while it runs or stays down
    counted: bool = field(default=False)  #: its end has been reported


class Children:
    """
    A handful of child processes, each in a session of its own.

    Ctrl-C in our terminal reaches only us; we stop the children, the last started first. When we are
    killed without a chance to do so, the kernel kills them (`tether`).
    """

    def __init__(self) -> None:
        self._children: dict[str, _Child] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def __iter__(self) -> Iterator[str]:
        """Names, in the order of their start."""
        return iter(self._children)

    def start(
        self,
        name: str,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        log: Path,
        cwd: Path | None = None,
        restart: bool = False,
    ) -> int:
        """
        Start *argv* and return its process id; output is appended to *log*.

        *env* is the whole environment, nothing is inherited. With *restart* it is started again
        whenever it ends.

        Raises:
            ValueError: a child of this name is known already.
        """
        if name in self._children:
            message = f"a child named {name} is known already"
            raise ValueError(message)
        log.parent.mkdir(parents=True, exist_ok=True)
        process = _spawn(argv, env, log, cwd)
        self._children[name] = _Child(
            name=name,
            argv=list(argv),
            env=dict(env),
            log=log,
            cwd=cwd,
            restart=restart,
            process=process,
            started=time.monotonic(),
        )
        return process.pid

    def pid(self, name: str) -> int | None:
        """Return the process id of the child that runs under *name*, None while it is down."""
        process = self._children[name].process
        return None if _has_ended(process) else process.pid

    def log(self, name: str) -> Path:
        return self._children[name].log

    def signal(self, name: str, number: signal.Signals) -> None:
        """Send *number* to the child's whole process group; nothing happens when it has ended."""
        process = self._children[name].process
        if not _has_ended(process):
            _signal_group(process, number)

    def tend(self) -> list[Exit]:
        """Start again what is due and return who ended since the last call. Never waits."""
        now = time.monotonic()
        exits = [
            self._note_exit(child, now)
            for child in self._children.values()
            if not child.counted and _has_ended(child.process)
        ]
        for child in self._children.values():
            if child.due is not None and child.due <= now:
                child.process = _spawn(child.argv, child.env, child.log, child.cwd)
                child.started = now
                child.due = None
                child.counted = False
        return exits

    def stop(self, *names: str, grace: float = 5.0) -> None:
        """
        End the children *names*, or all, and forget them. Repeatable.

        Each gets SIGTERM, the last started first, and a moment to be gone before the next one; a
        Celery worker takes 3 s, so nobody waits for another's end. Who is left after *grace*
        seconds is killed.
        """
        deadline = time.monotonic() + grace
        wanted = [name for name in reversed(self._children) if not names or name in names]
        processes = [self._children.pop(name).process for name in wanted]
        for process in processes:
            if not _has_ended(process):
                # Only the leader is asked: a Celery worker ends its own pool.
                process.terminate()
                _wait(process, min(deadline, time.monotonic() + HEAD_START_SECONDS))
        for process in processes:
            while not _wait(process, deadline):
                _signal_group(process, signal.SIGKILL)
                deadline = time.monotonic() + POLL_SECONDS

    def _note_exit(self, child: _Child, now: float) -> Exit:
        child.counted = True
        wait = None
        if child.restart:
            settled = now - child.started >= SETTLED_SECONDS
            child.early_ends = 0 if settled else child.early_ends + 1
            first, longest = BACK_OFF_SECONDS
            wait = min(longest, first * 2.0 ** max(0, child.early_ends - 1))
            child.due = now + wait
        return Exit(child.name, child.process.returncode, child.log, wait)


def free_port() -> int:
    """
    Return a loopback TCP port that nobody listens on right now.

    Somebody may take it before the caller does: where a server can pick its own port (0), let it.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _spawn(argv: Sequence[str], env: Mapping[str, str], log: Path, cwd: Path | None) -> subprocess.Popen[bytes]:
    with log.open("ab") as output:
        return subprocess.Popen(
            tethered(list(argv)),
            env=dict(env),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Tell whether the child ended, and if so, kill what it left in its group and reap it."""
    if process.returncode is None:
        # Looked at before it is reaped: while it is a zombie, its number belongs to nobody else.
        if os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            return False
        _signal_group(process, signal.SIGKILL)
        process.wait()
    return True


def _wait(process: subprocess.Popen[bytes], ends: float) -> bool:
    """Tell whether the child ended by the instant *ends* (monotonic)."""
    return until(lambda: _has_ended(process), seconds=ends - time.monotonic(), every=POLL_SECONDS)


def _signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)
