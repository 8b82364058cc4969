"""The compose file starts what the units start, with settings that exist, and opens nothing to the world."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from provisioner.config import Settings
from provisioner.usecases.doctor import OURS

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
WHOLE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = WHOLE["services"]
PRODUCT = {name: one for name, one in SERVICES.items() if one["image"].startswith("provisioner:")}
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
UNIT_OF = {
    "api": "provisioner-api", "beat": "provisioner-beat", "control": "provisioner-control",
    "flower": "provisioner-flower", "steps": "provisioner-steps@", "steps-ams": "provisioner-steps@",
}  # fmt: skip


def unit(name: str) -> str:
    return (DEPLOY / f"{UNIT_OF[name]}.service").read_text()


def unit_command(name: str) -> list[str]:
    """Give what a unit passes to the program, as it must be said in a container."""
    found = re.search(r"^ExecStart=\S+ -m provisioner (.+)$", unit(name), re.MULTILINE)
    slots = re.search(r"^Environment=WORKER_CONCURRENCY=(\d+)$", unit(name), re.MULTILINE)
    assert found
    words = found[1].replace("%i", name.removeprefix("steps-")).replace("--host 127.0.0.1", "--host 0.0.0.0")
    words = words.replace("%d/flower.auth", "/run/secrets/flower_auth")
    return shlex.split(words.replace("${WORKER_CONCURRENCY}", slots[1] if slots else ""))


def test_there_is_a_container_for_each_unit_and_one_that_brings_the_tables_up() -> None:
    assert set(PRODUCT) == {*UNIT_OF, "tables"}
    assert {f"{name}.service" for name in UNIT_OF.values()} == {file.name for file in DEPLOY.glob("*.service")}


@pytest.mark.parametrize("name", UNIT_OF)
def test_a_container_is_called_with_what_its_unit_is(name: str) -> None:
    assert PRODUCT[name]["command"] == unit_command(name)


@pytest.mark.parametrize("name", UNIT_OF)
def test_a_container_comes_again_and_has_the_time_to_end_that_its_unit_has(name: str) -> None:
    one = PRODUCT[name]
    stop = re.search(r"^TimeoutStopSec=(\d+)$", unit(name), re.MULTILINE)

    assert one["restart"] == "always"
    assert stop
    assert int(str(one.get("stop_grace_period", "10s")).removesuffix("s")) >= int(stop[1])


@pytest.mark.parametrize("name", PRODUCT)
def test_a_container_may_write_nowhere_and_has_no_rights(name: str) -> None:
    one = PRODUCT[name]

    assert (one["read_only"], one["cap_drop"], one["init"]) == (True, ["ALL"], True)
    assert one["security_opt"] == ["no-new-privileges:true"]
    assert {volume.partition(":")[2] for volume in one.get("volumes", [])} <= {"/var/lib/provisioner"}


def test_every_setting_that_is_given_exists_and_passwords_are_in_files() -> None:
    given = {name for one in PRODUCT.values() for name in one["environment"]}

    assert given <= {f"PROVISIONER_{name.upper()}" for name in Settings.model_fields}
    assert {one["env_file"] for one in PRODUCT.values()} == {"provisioner.env"}
    assert (DEPLOY / "provisioner.env.example").exists()
    assert "password" not in str([one.get("environment") for one in SERVICES.values()]).lower().replace(
        "password_file", ""
    ).replace("postgres_password", "")


def test_every_queue_of_ours_is_served() -> None:
    served = {
        queue for one in PRODUCT.values() if one["command"][0] == "worker" for queue in one["command"][2].split(",")
    }

    assert {*OURS, "steps"} <= served


def test_nothing_is_open_but_api_and_flower_and_these_on_loopback() -> None:
    ports = {name: one["ports"] for name, one in SERVICES.items() if "ports" in one}

    assert ports == {"api": ["127.0.0.1:8080:8080"], "flower": ["127.0.0.1:5555:5555"]}
    assert WHOLE["networks"]["inside"] == {"internal": True}
    assert [name for name, one in SERVICES.items() if name not in PRODUCT and one["networks"] != ["inside"]] == []


def test_flower_asks_a_password_that_stands_in_a_file() -> None:
    assert "--basic-auth-file" in SERVICES["flower"]["command"]
    assert "--read-only" in SERVICES["flower"]["command"]
    assert "flower_auth" in SERVICES["flower"]["secrets"]


def test_all_that_is_named_is_there() -> None:
    for name, one in SERVICES.items():
        assert set(one.get("secrets", [])) <= set(WHOLE["secrets"]), name
        assert {volume.partition(":")[0] for volume in one.get("volumes", [])} <= set(WHOLE["volumes"]), name
        assert set(one["networks"]) <= set(WHOLE["networks"]), name
        assert set(one.get("depends_on", {})) <= set(SERVICES), name


def test_a_broker_that_is_full_refuses_and_evicts_nothing() -> None:
    command = SERVICES["redis"]["command"]
    assert command[command.index("--maxmemory-policy") + 1] == "noeviction"
    assert {tuple(SERVICES[name]["profiles"]) for name in ("redis", "rabbitmq")} == {("redis",), ("rabbitmq",)}


def test_a_redis_without_a_password_answers_those_inside() -> None:
    """Seen with another image than the official one: all clients were refused."""
    command = SERVICES["redis"]["command"]
    assert command[command.index("--protected-mode") + 1] == "no"
    assert SERVICES["redis"]["networks"] == ["inside"]


def test_workers_may_ping_without_a_capability() -> None:
    """The group of the image's user must be in the range; engines that are not Docker may leave only root's."""
    for name in ("steps", "steps-ams", "control"):
        first, last = SERVICES[name]["sysctls"]["net.ipv4.ping_group_range"].split()
        assert int(first) == 0
        assert int(last) > 10001


def test_the_image_holds_both_packages_from_the_lock_and_runs_as_nobody_special() -> None:
    assert "--require-hashes --only-binary :all: -r deploy/requirements/runtime.txt" in DOCKERFILE
    for package in ("provisioner", "workers"):
        assert f"\nCOPY {package} {package}\n" in DOCKERFILE
    user = DOCKERFILE.index("\nUSER provisioner\n")
    assert user < DOCKERFILE.index("\nENTRYPOINT ")
    assert "pip install" not in DOCKERFILE[user:]
    assert PRODUCT["api"]["build"] == {"context": "..", "dockerfile": "deploy/Dockerfile"}


def test_the_image_is_built_from_what_it_names_alone() -> None:
    kept = [line for line in (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines() if line.startswith("!")]
    copied = re.findall(r"^COPY (\S+) ", DOCKERFILE, re.MULTILINE)

    assert sorted(f"!{path}" for path in copied) == sorted(kept)
    assert all((ROOT / path).exists() for path in copied)
