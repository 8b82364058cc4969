"""The judge finds what is wrong in a data centre's books: one that finds nothing would always say 0."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from provisioner.simulators.client import Control
from tests.chaos.judge import AGAIN, OVER, Verdict, _asked, _robbed, _spared, _walk, _wishes, held
from tests.chaos.technician import Technician
from tests.chaos.town import Place, Town

ADMIN, CUSTOMER = "bill_admin", "u0001"
NAMES = {"5": ADMIN, "31": CUSTOMER}
HOST = "h1.example.net"


def edit(owner: str) -> dict[str, Any]:
    return {"func": "server.edit", "params": {"owner": owner}}


INSTALL = {"func": "server.operations", "params": {"operation": "ostemplate"}}
NAMED = {"func": "iplist.edit", "params": {"domain": HOST}}
CLAIM, HAND_OVER, FREE = edit("5"), edit("31"), edit("no_owner")


def found(*calls: dict[str, Any], before: int = 1, after: int = 0) -> list[str]:
    done = [{**call, "n": n, "effect_at": float(n)} for n, call in enumerate(calls, 1)]
    return [rule for rule, _ in _walk(done, ADMIN, NAMES, {HOST: (before, after)})]


@pytest.mark.parametrize(
    ("calls", "wrong"),
    [
        ((CLAIM, NAMED, INSTALL, HAND_OVER), []),
        ((CLAIM, NAMED, INSTALL, HAND_OVER, FREE, CLAIM, NAMED, INSTALL), []),
        ((CLAIM, NAMED, INSTALL, INSTALL, HAND_OVER), [AGAIN]),
        ((CLAIM, NAMED, INSTALL, HAND_OVER, INSTALL), [OVER]),
        ((CLAIM, NAMED, INSTALL, HAND_OVER, CLAIM, INSTALL), [OVER]),
        ((CLAIM, NAMED, INSTALL, FREE, INSTALL), [OVER]),
        ((INSTALL,), [OVER]),
    ],
)
def test_a_wipe_that_nobody_asked_for_is_found(calls: tuple[dict[str, Any], ...], wrong: list[str]) -> None:
    assert found(*calls) == wrong


def test_a_reinstall_and_a_persons_retry_are_somebodys_wish() -> None:
    assert found(CLAIM, NAMED, INSTALL, HAND_OVER, INSTALL, after=1) == []
    assert found(CLAIM, NAMED, INSTALL, INSTALL, HAND_OVER, before=2) == []


def test_what_another_took_over_our_head_is_told_from_what_he_took_while_it_was_free() -> None:
    users = [{"id": "5", "name": ADMIN}, {"id": "7", "name": "rival"}]
    free = {"id": "101", "owners_before": [None], "owner_id": "7"}
    ours = {"id": "102", "owners_before": [None, "5", "7"], "owner_id": None}

    assert _robbed({"users": users, "servers": [free, ours]}) == {"102"}


def service(state: str, *jobs: tuple[str, str]) -> dict[str, Any]:
    asked = [{"kind": what, "state": end} for what, end in jobs]
    return {"state": state, "kind": "dedicated", "jobs": asked, "hostname": HOST}


def server(*, on: bool = True, disabled: bool = False) -> dict[str, Any]:
    links = [{"type": "Switch", "on": on, "bmc": False}, {"type": "Switch", "on": True, "bmc": True}]
    return {"links": links, "disabled": disabled}


SUSPENDED, RESUMED = ("suspend", "succeeded"), ("resume", "succeeded")
REBOOT = {"func": "server.reboot", "params": {}}


@pytest.mark.parametrize(
    ("told", "is_", "calls", "wrong"),
    [
        (service("active"), server(), [], ""),
        (service("active"), server(on=False), [], "ports are off"),
        (service("active"), server(disabled=True), [], "disabled"),
        (service("suspended", SUSPENDED), server(on=False), [], ""),
        (service("suspended", SUSPENDED), server(), [], "ports are on"),
        (service("active", SUSPENDED, ("resume", "failed")), server(on=False), [], ""),
        (service("active", SUSPENDED, RESUMED), server(on=False), [], "ports are off"),
        (service("active", ("reinstall", "succeeded")), server(), [INSTALL], ""),
        (service("active", ("reinstall", "succeeded")), server(), [], "told of 1 reinstalls"),
        (service("active", ("power", "succeeded")), server(), [REBOOT], ""),
        (service("active", ("power", "succeeded")), server(), [REBOOT, REBOOT], "rebooted 2 times"),
    ],
)
def test_what_was_told_and_is_not_so_is_found(
    told: dict[str, Any], is_: dict[str, Any], calls: list[dict[str, Any]], wrong: str
) -> None:
    found = "; ".join(_asked(told, is_, calls, 0))

    assert wrong in found
    assert bool(wrong) == bool(found)


def test_a_server_that_was_sold_before_answers_for_its_last_customer_alone() -> None:
    told = {**service("active"), "external_ref": "ord-1-2", "server": {"server": "335"}}
    earlier = [CLAIM, HAND_OVER, REBOOT, FREE, CLAIM, HAND_OVER]

    assert not list(_wishes([told], {"335": server()}, {"335": earlier}, {}))
    assert list(_wishes([told], {"335": server()}, {"335": [*earlier, REBOOT]}, {}))


def test_an_install_on_a_customers_own_machine_is_found() -> None:
    place = Place("dc1", Control("http://192.0.2.1"), ADMIN, 22, "")
    technician = Technician(Town(Path()), 1, lambda _: None, float, machines={"ord-1-1": (place, "301")})
    port = {"func": "server.connection.off", "mutating": True}
    verdict = Verdict()

    _spared(place, {"301": [port]}, technician, verdict)
    assert verdict.clean
    _spared(place, {"301": [port, {**INSTALL, "mutating": True}]}, technician, verdict)

    assert len(verdict.cases[OVER]) == 1


def test_a_secret_in_a_log_is_found(tmp_path: Path) -> None:
    secrets, log = tmp_path / "secrets", tmp_path / "steps.log"
    secrets.write_text("Planted-1-c1\nS.*\nx+y/z==")
    log.write_bytes(b'\xff{"password": "x+y/z=="}\nnothing here: Sxx\n')

    assert held(secrets, log) == ["x+y/z=="]
    log.write_text("all is well\n")
    assert held(secrets, log) == []


def test_what_cannot_be_searched_is_not_clean(tmp_path: Path) -> None:
    (tmp_path / "secrets").write_text("Planted-1-c1")

    with pytest.raises(RuntimeError, match=r"away\.log"):
        held(tmp_path / "secrets", tmp_path / "away.log")
