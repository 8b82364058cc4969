"""Flower, over its own API: what a reader sees of a success, a parked install, an undo, a cancel, and a dead worker."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from provisioner.domain.attempt import Verb
from provisioner.domain.server import ServerRef
from provisioner.drivers.fake import Call, InstallEnd, Pace
from provisioner.usecases.operate import Operator, cancel
from tests.house import House, Seen, house, in_order

pytestmark = [pytest.mark.long, pytest.mark.timeout(240)]
OPEN = [
    "dedicated.00_account", "dedicated.01_claim", "dedicated.02_domain", "dedicated.03_address",
    "dedicated.04_switch_port", "dedicated.05_power_on", "dedicated.06_install_os", "dedicated.07_ping",
    "dedicated.08_hand_over",
]  # fmt: skip
UNDO = ["undo.06_install_os", "undo.04_switch_port", "undo.03_address", "undo.02_domain"]
PATIENCE = 90.0


@pytest.fixture
def flat(database_url: str, state_dir: Path, request: pytest.FixtureRequest) -> Iterator[House]:
    with house(database_url, state_dir, f"flower-{abs(hash(request.node.name)) % 10_000}", flower=True) as made:
        yield made


def server(flat: House, ref: str, end: InstallEnd) -> None:
    """Put up a server of a type of its own, and a package that sells it."""
    put_up = flat.world.add_server(ref)
    put_up.server_type = put_up.description = f"type-{ref}"
    put_up.install_ends = [end]
    flat.package(f"package-{ref}", server_type=f"type-{ref}", attempts_max=1, ipv4=2)


def order(flat: House, ref: str) -> int:
    return flat.order(f"ord-{ref}", package=f"package-{ref}").job_id


def one_trail(tasks: list[Seen]) -> None:
    """One root; each other task has a parent that is there too; nothing under way."""
    assert {task.root for task in tasks} == {tasks[0].id}
    ids = {task.id for task in tasks}
    assert [task.id for task in tasks[1:] if task.parent not in ids] == []


def test_names_order_roots_and_ends_are_as_written(flat: House) -> None:
    flat.connect(url=flat.address)
    for ref, end in (("101", InstallEnd.DONE), ("102", InstallEnd.FAILED), ("103", InstallEnd.HANGS)):
        server(flat, ref, end)
    well, failed, hung = (order(flat, ref) for ref in ("101", "102", "103"))

    def parked() -> bool:
        found = flat.database.row(
            "SELECT FROM attempt a JOIN step s ON s.attempt_id = a.id AND s.pos = a.pos WHERE a.job_id = %(job)s "
            "AND a.state = 'waiting' AND s.name = 'install_os' AND s.memo -> 'seen' ->> 'up' = 'true'",
            job=hung,
        )
        return found is not None

    flat.wait(lambda: flat.ended(well, failed)() and parked(), PATIENCE)
    settled = ("SUCCESS", "FAILURE")
    flat.wait(lambda: all(t.state in settled for job in (well, failed, hung) for t in flat.seen(job)), 20)
    success, undone, waits = (flat.seen(job) for job in (well, failed, hung))

    assert in_order(success) == OPEN
    assert {task.state for task in success} == {"SUCCESS"}
    one_trail(success)

    assert in_order(undone) == [*OPEN[:7], *UNDO, "undo.quarantine"]
    assert [task.name for task in undone if task.state != "SUCCESS"] == ["dedicated.06_install_os"]
    assert any("the install failed" in task.exception for task in undone if task.state == "FAILURE")
    one_trail(undone)

    assert in_order(waits) == OPEN[:7]
    assert {task.state for task in waits} == {"SUCCESS"}
    assert "park" in waits[-1].result
    assert "the install is running" in waits[-1].result
    one_trail(waits)

    cancel(hung, Operator("test", flat.services, flat.sender, flat.policies), reason="mistyped")
    flat.wait(flat.ended(hung), PATIENCE)
    flat.wait(lambda: all(task.state in settled for task in flat.seen(hung)), 20)
    cancelled = flat.seen(hung)

    assert in_order(cancelled) == [*OPEN[:7], *UNDO, "undo.release"]
    assert {task.state for task in cancelled} == {"SUCCESS"}
    one_trail(cancelled)
    assert "Traceback" not in flat.log("steps").read_text()
    assert {name.split(".")[0] for name in flat.flower("tasks?limit=1000")} == {str(well), str(failed), str(hung)}
    secret = flat.world.servers[ServerRef("101")].os_password
    assert secret
    assert secret not in "".join(task.whole for task in (*success, *undone, *cancelled)) + flat.words()
    assert Verb.CANCEL in flat.trail()


def test_nothing_stays_started_when_a_worker_is_killed_in_mid_install(flat: House) -> None:
    flat.connect(url=flat.address)
    server(flat, "101", InstallEnd.DONE)
    # as in production, longer than it takes until lists are read again: a shorter one leaves no trace at all
    flat.world.pace = Pace(install_lasts=timedelta(seconds=12))
    reached, go_on = threading.Event(), threading.Event()

    def hold(_call: Call) -> None:
        reached.set()
        go_on.wait(30)

    flat.world.fault("install", after=True, hook=hold)
    job = order(flat, "101")
    flat.wait(reached.is_set, PATIENCE)
    flat.wait(lambda: any(task.state == "STARTED" for task in flat.seen(job)), 10)

    flat.children.signal("steps", signal.SIGKILL)
    go_on.set()
    flat.wait(flat.ended(job), PATIENCE)

    flat.wait(lambda: {task.state for task in flat.seen(job)} == {"SUCCESS", "FAILURE"}, 20)
    (dead,) = (task for task in flat.seen(job) if task.state == "FAILURE")
    assert dead.name == "dedicated.06_install_os"
    assert "the lease ran out" in dead.exception
    assert flat.job(job)["state"] == "succeeded"
    assert flat.world.servers[ServerRef("101")].installs == 1
    one_trail(flat.seen(job))
