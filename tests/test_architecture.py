"""The house keeps its contracts, and each contract bites: see `[tool.importlinter]` in pyproject.toml."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
IDS = {contract["id"] for contract in CONTRACTS}

#: The contract, a module that does not exist yet, and a line in it that the contract forbids.
OFFENCES = [
    ("floors", "provisioner/domain/offender.py", "import provisioner.ports"),
    ("floors", "provisioner/new_room.py", "# on no floor"),
    ("plugged-in", "provisioner/demo/offender.py", "from provisioner.store import migrate"),
    ("plugged-in", "provisioner/demo/offender.py", "import provisioner.drivers.fake"),
    ("steps", "provisioner/demo/offender.py", "from provisioner import steps"),
    ("workers", "provisioner/demo/offender.py", "import workers.app"),
    ("sql", "provisioner/demo/offender.py", "import sqlalchemy.orm"),
    ("celery", "provisioner/demo/offender.py", "from celery import Celery"),
    ("core", "provisioner/domain/offender.py", "import os.path"),
    ("core", "provisioner/steps/offender.py", "import requests"),
    ("drivers", "provisioner/drivers/dcimanager5/offender.py", "import provisioner.drivers.fake"),
    ("desks", "provisioner/desks/rt.py", "import provisioner.desks.email"),
    ("no-circles", "provisioner/errors.py", "def circle():\n    import provisioner.ports"),
]


def lint(house: Path, *contracts: str) -> subprocess.CompletedProcess[str]:
    command = "from importlinter.cli import lint_imports_command as run; run()"
    limits = [word for contract in contracts for word in ("--contract", contract)]
    return subprocess.run(
        [sys.executable, "-c", command, "--no-logo", "--no-cache", *limits],
        cwd=house,
        capture_output=True,
        text=True,
        check=False,
    )


def exists(room: str) -> bool:
    place = ROOT / "provisioner" / room
    return place.with_suffix(".py").exists() or (place / "__init__.py").exists()


def test_every_import_keeps_the_contracts() -> None:
    result = lint(ROOT)

    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize(("contract", "module", "line"), [offence for offence in OFFENCES if offence[0] in IDS])
def test_a_contract_bites(contract: str, module: str, line: str, tmp_path: Path) -> None:
    for part in ("provisioner", "workers"):
        if (ROOT / part).exists():
            shutil.copytree(ROOT / part, tmp_path / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    with (tmp_path / module).open("a") as file:
        file.write(f"\n{line}\n")

    result = lint(tmp_path, contract)

    assert result.returncode == 1
    assert "BROKEN" in result.stdout


def test_every_contract_has_been_seen_to_bite() -> None:
    assert {contract for contract, _module, _line in OFFENCES} >= IDS


def test_a_complete_house_has_no_optional_room() -> None:
    floors = next(contract["layers"] for contract in CONTRACTS if contract["id"] == "floors")
    rooms = [room for floor in floors for room in floor.split(" | ")]
    missing = [room for room in rooms if not exists(room.strip("()"))]

    if not missing:
        assert [room for room in rooms if room.startswith("(")] == []
        assert {contract for contract, _module, _line in OFFENCES} == IDS


def test_no_contract_has_an_exception() -> None:
    assert [contract["id"] for contract in CONTRACTS if "ignore_imports" in contract] == []
