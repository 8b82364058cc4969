"""Child processes, really there: they are restarted, stopped in order, and never stay behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from provisioner.demo.children import Children, Exit, free_port
from provisioner.demo.tether import CANNOT_RUN

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {"PATH": "/usr/bin:/bin"}
SLEEP = ["sleep", "600"]
DEAF = ["sh", "-c", "trap '' TERM; sleep 600 & wait; wait"]


def runs(pid: int) -> bool:
    """Tell whether *pid* is a process that has not ended; a zombie has."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def eventually(condition: Callable[[], object], patience: float = 10.0) -> None:
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, "did not come true in time"
        time.sleep(0.02)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "logs" / "child.log"


@pytest.fixture
def children() -> Iterator[Children]:
    with Children() as some:
        yield some


def exits(children: Children) -> list[Exit]:
    """Tend *children* until one has ended."""
    found: list[Exit] = []

    def tend() -> list[Exit]:
        found.extend(children.tend())
        return found

    eventually(tend)
    return found


def test_a_child_gets_its_environment_and_nothing_else_and_writes_its_log(children: Children, log: Path) -> None:
    children.start("one", ["env"], env={**ENVIRONMENT, "WORD": "heard"}, log=log)

    assert [end.status for end in exits(children)] == [0]
    assert log.read_text() == "PATH=/usr/bin:/bin\nWORD=heard\n"


def test_a_child_is_in_a_session_of_its_own(children: Children, log: Path) -> None:
    pid = children.start("one", SLEEP, env=ENVIRONMENT, log=log)

    assert os.getsid(pid) == os.getpgid(pid) == pid


def test_a_name_is_taken_once(children: Children, log: Path) -> None:
    children.start("one", SLEEP, env=ENVIRONMENT, log=log)

    with pytest.raises(ValueError, match="one is known already"):
        children.start("one", SLEEP, env=ENVIRONMENT, log=log)


def test_an_end_is_reported_once_with_its_signal_and_log(children: Children, log: Path) -> None:
    children.start("one", SLEEP, env=ENVIRONMENT, log=log)
    children.signal("one", signal.SIGKILL)

    (end,) = exits(children)

    assert str(end) == f"one was ended by SIGKILL, it stays down; see {log}"
    assert children.tend() == []
    assert children.pid("one") is None


def test_a_program_that_is_missing_is_told_in_the_log(children: Children, log: Path) -> None:
    children.start("one", ["/nonexistent/program"], env=ENVIRONMENT, log=log)

    (end,) = exits(children)

    assert end.status == CANNOT_RUN
    assert "/nonexistent/program: No such file or directory" in log.read_text()


def test_a_worker_that_is_killed_comes_back_with_a_growing_back_off(children: Children, log: Path) -> None:
    pids = [children.start("worker", SLEEP, env=ENVIRONMENT, log=log, restart=True)]
    waits = []
    for _ in range(3):
        children.signal("worker", signal.SIGKILL)
        waits += [end.restart_in for end in exits(children)]
        eventually(lambda: children.tend() or children.pid("worker"))
        pids.append(children.pid("worker") or 0)

    assert waits == [0.2, 0.4, 0.8]
    assert len(set(pids)) == 4


def test_what_a_dead_child_left_behind_is_gone_with_it(children: Children, log: Path) -> None:
    children.start("one", ["sh", "-c", "sleep 600 & echo $!"], env=ENVIRONMENT, log=log)

    exits(children)

    orphan = int(log.read_text())
    eventually(lambda: not runs(orphan))


def test_all_stop_the_last_first(children: Children, log: Path) -> None:
    for name in ("first", "second", "third"):
        script = f"trap 'echo {name}; exit 0' TERM; echo up; while :; do sleep 0.02; done"
        children.start(name, ["sh", "-c", script], env=ENVIRONMENT, log=log)
    eventually(lambda: log.exists() and log.read_text().count("up") == 3)

    children.stop()

    assert log.read_text().split()[3:] == ["third", "second", "first"]
    assert list(children) == []


def test_nobody_waits_for_the_end_of_another(children: Children, log: Path) -> None:
    for name in ("one", "two", "three"):
        children.start(
            name, ["sh", "-c", "trap 'sleep 1; exit 0' TERM; echo up; sleep 600 & wait"], env=ENVIRONMENT, log=log
        )
    eventually(lambda: log.exists() and log.read_text().count("up") == 3)
    began = time.monotonic()

    children.stop()

    assert 1.0 <= time.monotonic() - began < 2.5


def test_some_can_be_stopped_and_the_others_go_on(children: Children, log: Path) -> None:
    stopped = children.start("one", SLEEP, env=ENVIRONMENT, log=log)
    going = children.start("two", SLEEP, env=ENVIRONMENT, log=log)

    children.stop("one")

    assert list(children) == ["two"]
    assert (runs(stopped), runs(going)) == (False, True)


def test_who_does_not_listen_is_killed_after_the_grace_that_all_share(children: Children, log: Path) -> None:
    pids = [children.start(name, DEAF, env=ENVIRONMENT, log=log) for name in ("one", "two", "three")]
    began = time.monotonic()

    children.stop(grace=0.5)

    assert time.monotonic() - began < 1.5
    assert not any(runs(pid) for pid in pids)


def test_a_frozen_child_can_be_stopped(children: Children, log: Path) -> None:
    pid = children.start("one", SLEEP, env=ENVIRONMENT, log=log)
    children.signal("one", signal.SIGSTOP)

    children.stop("one", grace=0.1)
    children.stop("one")

    assert not runs(pid)


def test_a_parent_that_is_killed_leaves_no_child(tmp_path: Path) -> None:
    script = (
        "import os, pathlib, signal, sys\n"
        "from provisioner.demo.children import Children\n"
        "children = Children()\n"
        f"for name in 'abc': print(children.start(name, {DEAF!r}, env={ENVIRONMENT!r},"
        " log=pathlib.Path(sys.argv[1])), flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "log")],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )

    pids = [int(word) for word in done.stdout.split()]
    assert len(pids) == 3
    eventually(lambda: not any(runs(pid) for pid in pids))


def test_a_free_port_is_on_loopback_and_free() -> None:
    assert 1024 < free_port() < 65536
    assert free_port() != free_port()
