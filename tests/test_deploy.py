"""What `deploy/` tells an operator is what the code reads and systemd takes."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from provisioner.config import Settings

DEPLOY = Path(__file__).parents[1] / "deploy"


def test_the_environment_file_names_every_setting_and_no_other() -> None:
    text = (DEPLOY / "provisioner.env.example").read_text()
    named = set(re.findall(r"^#?(PROVISIONER_[A-Z_]+)=", text, re.MULTILINE))

    assert {f"PROVISIONER_{name.upper()}" for name in Settings.model_fields} == named


@pytest.mark.services
def test_systemd_takes_every_unit(tmp_path: Path) -> None:
    tool = shutil.which("systemd-analyze")
    assert tool, "systemd-analyze is missing: apt-get install systemd"
    units = []
    for unit in DEPLOY.glob("*.service"):
        # the product is not installed here: only the path of the program differs
        text = unit.read_text().replace("/opt/provisioner/.venv/bin/python", "/usr/bin/env")
        copy = tmp_path / unit.name.replace("@.", "@steps.")
        copy.write_text(text)
        units.append(str(copy))

    done = subprocess.run([tool, "verify", *units], capture_output=True, text=True, check=False, timeout=50)

    ours = [line for line in done.stderr.splitlines() if str(tmp_path) in line]  # the system's own have theirs, too
    assert units
    assert (done.returncode, ours) == (0, [])


def test_every_unit_starts_a_command_that_exists() -> None:
    commands = {
        re.search(r"ExecStart=\S+ -m provisioner (\S+)", unit.read_text()).group(1)  # type: ignore[union-attr]
        for unit in DEPLOY.glob("*.service")
    }

    assert {"api", "worker", "beat", "flower"} == commands
