"""The units ask for what our command line knows, in a closed room; the environment file shows every default."""

from __future__ import annotations

import configparser
import json
import re
import shlex
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from provisioner import config
from provisioner.config import Settings
from provisioner.domain.attempt import Policy
from provisioner.domain.spans import Spans

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
UNITS = sorted(DEPLOY.glob("*.service"))
PYTHON = "/opt/provisioner/.venv/bin/python"
EXAMPLE = (DEPLOY / "provisioner.env.example").read_text()


class Unit(configparser.RawConfigParser):
    """A unit file, of which only the last value of a key is kept."""

    def __init__(self, file: Path) -> None:
        super().__init__(strict=False, interpolation=None)
        self.read_string(file.read_text())

    def optionxform(self, optionstr: str) -> str:
        return optionstr


def command(file: Path) -> list[str]:
    return shlex.split(Unit(file)["Service"]["ExecStart"])


def settings() -> dict[str, str]:
    """Return what the example sets, with all that it only shows."""
    lines = re.findall(r"^#?(PROVISIONER_[A-Z_]+)=(.*)$", EXAMPLE, re.MULTILINE)
    return {name: "".join(shlex.split(value)) for name, value in lines}


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_a_unit_calls_a_command_that_knows_its_options(unit: Path) -> None:
    python, _m, module, verb, *options = command(unit)

    said = subprocess.run([sys.executable, "-m", module, verb, "--help"], capture_output=True, text=True, check=True)

    assert python == PYTHON
    known = re.findall(r"^  (--[a-z-]+)", said.stdout, re.MULTILINE)
    assert [word for word in options if word.startswith("--") and word not in known] == []


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_a_unit_is_always_restarted_by_a_user_of_its_own_in_a_closed_room(unit: Path) -> None:
    service = Unit(unit)["Service"]

    assert service["Restart"] == "always"
    assert service["User"] == service["Group"] == "provisioner"
    assert service["NoNewPrivileges"] == service["ProtectHome"] == service["PrivateDevices"] == "yes"
    assert service["ProtectSystem"] == "strict"
    assert service["CapabilityBoundingSet"] in ("", "CAP_NET_RAW")
    assert service["EnvironmentFile"].removeprefix("-").startswith("/etc/provisioner/")
    assert Unit(unit)["Unit"]["StartLimitIntervalSec"] == "0"


def test_there_is_a_unit_for_each_process_of_production() -> None:
    assert [unit.name for unit in UNITS] == [
        "provisioner-api.service",
        "provisioner-beat.service",
        "provisioner-control.service",
        "provisioner-flower.service",
        "provisioner-steps@.service",
    ]


@pytest.mark.parametrize("unit", [unit for unit in UNITS if "worker" in command(unit)], ids=lambda unit: unit.name)
def test_a_worker_has_the_time_to_end_every_touch(unit: Path) -> None:
    service = Unit(unit)["Service"]

    assert float(service["TimeoutStopSec"]) > Spans().hard
    assert (service["KillMode"], service["KillSignal"]) == ("mixed", "SIGTERM")


def test_what_people_reach_listens_on_loopback() -> None:
    for name in ("api", "flower"):
        argv = command(DEPLOY / f"provisioner-{name}.service")
        assert argv[argv.index("--host") + 1] == "127.0.0.1"


def test_the_environment_file_shows_every_default() -> None:
    shown = settings()

    for name, field in Settings.model_fields.items():
        default, value = field.default, shown[f"PROVISIONER_{name.upper()}"]
        if isinstance(default, bool | int | float):
            assert json.loads(value) == default, name
        elif name in ("log_level", "node"):
            assert value == default


def test_the_environment_file_can_be_used_with_every_line_in_force(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in settings().items():
        monkeypatch.setenv(name, value)

    found = config.load()

    assert found.engine_spans().observe_long == 60
    assert found.policies == {"install_os": {"deadline": 7200}}
    assert {"deadline"} <= {field.name for field in fields(Policy)}


def test_the_environment_file_names_every_span_with_its_default() -> None:
    shown = dict(re.findall(r"^# (\w+) +([\d.]+)  \S", EXAMPLE, re.MULTILINE))

    assert {name: float(value) for name, value in shown.items()} == {
        field.name: float(getattr(Spans(), field.name)) for field in fields(Spans)
    }
