"""The demo, as a stranger starts it: it keeps its promises, and nothing stays behind, however it ends."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DEMO = [sys.executable, "-m", "provisioner", "demo"]
ENVIRONMENT = {"PATH": os.defpath, "PYTHONUNBUFFERED": "1"}

pytestmark = [pytest.mark.long, pytest.mark.timeout(700)]


@pytest.fixture
def folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="provisioner-demo-"))
    path.chmod(0o711)
    yield path
    shutil.rmtree(path, ignore_errors=True)


def left(folder: Path) -> list[str]:
    """Return the command lines of processes that were started for *folder*."""
    mark, found = os.fsencode(folder), []
    for process in Path("/proc").iterdir():
        if process.name.isdecimal() and int(process.name) != os.getpid():
            try:
                words = (process / "cmdline").read_bytes()
                if mark in words + (process / "environ").read_bytes():
                    found.append(words.replace(b"\0", b" ").decode(errors="replace"))
            except OSError:
                continue
    return found


def start(folder: Path, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*DEMO, "--state", str(folder), *options],
        env=ENVIRONMENT,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def read_until(process: subprocess.Popen[str], mark: str) -> str:
    assert process.stdout is not None
    said = ""
    while mark not in said:
        line = process.stdout.readline()
        assert line, f"the demo ended before it said {mark!r}:\n{said}"
        said += line
    return said


def test_every_promise_is_kept_and_no_process_stays_behind(folder: Path) -> None:
    process = start(folder, "--once")
    said, _ = process.communicate(timeout=600)

    assert process.returncode == 0, said
    assert re.search(r"first order handed over [\d.]+ s after start", said)
    assert "none broken" in said
    assert "BROKEN" not in said
    assert left(folder) == []


def test_two_demos_at_once_do_not_meet(folder: Path) -> None:
    both = [start(folder, "--once") for _ in range(2)]
    said = [process.communicate(timeout=600)[0] for process in both]

    assert [process.returncode for process in both] == [0, 0], "\n".join(said)
    assert left(folder) == []


def test_a_demo_that_stays_is_gone_within_seconds_of_an_interrupt(folder: Path) -> None:
    process = start(folder, "--stay")
    read_until(process, "It stays up")

    process.send_signal(signal.SIGINT)
    began = time.monotonic()
    process.communicate(timeout=30)

    assert process.returncode == 0
    assert time.monotonic() - began < 10
    assert left(folder) == []


def test_killing_the_demo_kills_its_children(folder: Path) -> None:
    process = start(folder, "--stay")
    read_until(process, "connected the data centre")

    process.kill()
    process.communicate(timeout=30)
    deadline = time.monotonic() + 10
    while left(folder) and time.monotonic() < deadline:
        time.sleep(0.1)

    assert left(folder) == []


def test_reset_removes_what_an_ended_demo_left(folder: Path) -> None:
    base = folder / "state"
    (base / "1" / "logs").mkdir(parents=True)

    done = subprocess.run(
        [*DEMO, "--state", str(base), "--reset"], env=ENVIRONMENT, cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    assert not (base / "1").exists()
