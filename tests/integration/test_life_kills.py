"""The worker dies by SIGKILL before and after each commit and call of each job on a customer's server: same end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from provisioner.demo.postgres import EmbeddedPostgres
from provisioner.domain.attempt import Command, Verb
from provisioner.domain.life import Wish
from provisioner.domain.states import JobKind
from provisioner.drivers.fake import ACTS, InstallEnd
from provisioner.ports import Sealed
from tests.chaos.plants import PLANTS
from tests.kills import KilledSite, Point, killed_site, points_of

pytestmark = pytest.mark.timeout(120)

#: what is asked, and the acts of each step of an undisturbed run
JOBS: Mapping[str, tuple[Wish, Mapping[str, Sequence[str]]]] = {
    "close": (
        Wish(JobKind.CLOSE),
        {
            "ports_off": ["set_link", "set_link", "disable"],
            "drop_addresses": ["delete_address", "delete_address", "set_domain"],
            "free_domain": [],
            "release": ["edit_server"],
        },
    ),
    "suspend": (
        Wish(JobKind.SUSPEND, {"reason": "billing"}),
        {"ports_off": ["set_link", "set_link"], "read_back": []},
    ),
    "add_address": (
        Wish(JobKind.ADD_ADDRESS, {"count": 2, "family": "ipv4"}),
        {"add_address": ["add_address", "add_address"], "read_back": []},
    ),
    "change_password": (Wish(JobKind.CHANGE_PASSWORD), {"change_password": ["set_password"]}),
    "power": (Wish(JobKind.POWER, {"state": "off"}), {"power_off": ["set_power"], "read_back": []}),
    "reboot": (Wish(JobKind.POWER, {"state": "reboot"}), {"reboot": ["reboot"], "read_back": []}),
    "reinstall": (
        Wish(JobKind.REINSTALL, {"os": "ISPsystem__CentOS-7-amd64"}),
        {"install_os": ["install"], "ping": [], "read_back": []},
    ),
}
#: a reboot has no flag: whoever dies between the memo and the save leaves one that nobody may send again
UNSURE = (
    "reboot-after-remember-1", "reboot-before-reboot-1", "reboot-after-reboot-1", "reboot-before-save-1",
)  # fmt: skip
HELD = "SELECT count(*) FROM attempt WHERE state = 'held'"
SECRET = "correct-horse-battery"
POINTS = {name: points_of(steps, last=list(steps)[-1]) for name, (_, steps) in JOBS.items()}
EVERY_RUN = frozenset({"release-after-edit_server-1", "add_address-after-add_address-1", "install_os-after-install-1"})


@contextmanager
def sold(url: str, folder: Path) -> Iterator[KilledSite]:
    """Give a site that has handed one server over."""
    with killed_site(url, folder, InstallEnd.DONE) as site:
        site.run(site.ended(site.order("ord-1").job_id))
        site.killer.counts.clear()
        yield site


def ask(site: KilledSite, name: str) -> int:
    wish, _ = JOBS[name]
    secret = Sealed(*site.vault.seal(SECRET)) if name in ("change_password", "reinstall") else None
    asked, _ = site.life.wish("panel", "ord-1", wish, by="test", secret=secret, policies=site.policies)
    return asked.job_id


def truth(site: KilledSite) -> Mapping[str, object]:
    state = site.database.rows("SELECT state, desired, suspended_by, claim_id IS NOT NULL AS claimed FROM service")
    return {
        **site.truth(),
        "reboots": [server.reboots for server in site.world.servers.values()],
        "service": [tuple(row.values()) for row in state],
        "password changed": SECRET in site.world.passwords.values(),
    }


Undisturbed = Callable[[str], tuple[Mapping[str, Any], Counter[tuple[str, str]]]]


@pytest.fixture(scope="session")
def undisturbed(postgres: EmbeddedPostgres, template_database: str, state_dir: Path) -> Undisturbed:
    """Give the end of each job without a kill, and how often each operation was passed on the way."""

    @cache
    def run(name: str) -> tuple[Mapping[str, Any], Counter[tuple[str, str]]]:
        database = f"undisturbed_{name}"
        postgres.create_database(database, template=template_database)
        with sold(postgres.url(database), state_dir) as site:
            site.run(site.ended(ask(site, name)))
            return truth(site), site.killer.counts

    return run


@pytest.mark.parametrize("name", JOBS)
def test_the_matrix_holds_every_act_of_the_job(name: str, undisturbed: Undisturbed) -> None:
    end, counts = undisturbed(name)

    for step, acts in JOBS[name][1].items():
        assert Counter(acts) == Counter({op: n for (where, op), n in counts.items() if where == step and op in ACTS})
    assert end["jobs"][-1][:2] == (JOBS[name][0].kind, "succeeded")
    assert [str(p) for p in POINTS[name] if counts[p.step, p.operation] < p.nth] == []


def matrix() -> list[Any]:
    return [
        pytest.param(name, point, id=f"{name}-{point}", marks=() if str(point) in EVERY_RUN else (pytest.mark.long,))
        for name, points in POINTS.items()
        for point in points
        if str(point) not in UNSURE
    ]


@pytest.mark.parametrize(("name", "point"), matrix())
def test_a_killed_worker_costs_nothing_but_time(
    name: str, point: Point, undisturbed: Undisturbed, database_url: str, state_dir: Path
) -> None:
    with sold(database_url, state_dir) as site:
        over = site.ended(ask(site, name))

        assert site.die_at(point, over), f"the worker never came to {point}"
        site.run(over)

        assert undisturbed(name)[0] == truth(site), site.trail()


def test_a_memo_that_is_not_committed_before_the_act_is_seen_here(
    undisturbed: Undisturbed, database_url: str, state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    end, _ = undisturbed("add_address")
    PLANTS["no-memo"](monkeypatch.setattr)
    with sold(database_url, state_dir) as site:
        over = site.ended(ask(site, "add_address"))

        assert site.die_at(Point("add_address", "add_address", 1, after=True), over)
        site.run(lambda: over() or bool(site.database.value(HELD)))

        assert end != truth(site)


@pytest.mark.parametrize(
    "point",
    [
        pytest.param(point, id=str(point), marks=() if str(point) == "reboot-after-reboot-1" else (pytest.mark.long,))
        for point in POINTS["reboot"]
        if str(point) in UNSURE
    ],
)
def test_a_reboot_of_a_killed_worker_is_never_sent_again_and_a_person_judges_it(
    point: Point, database_url: str, state_dir: Path
) -> None:
    """The list proves nothing: the power flag stays on through a reboot, as it does where none was taken."""
    with sold(database_url, state_dir) as site:
        job = ask(site, "reboot")
        sent = int(str(point) in ("reboot-after-reboot-1", "reboot-before-save-1"))

        assert site.die_at(point, site.ended(job)), f"the worker never came to {point}"
        assert site.die_at(Point("reboot", "save", 1, after=False), site.ended(job)), "nobody looked at it again"
        site.run(lambda: site.database.value("SELECT state FROM step WHERE name = 'reboot'") == "unsure")
        # its time is up; it was long enough for the worker to come there, however slow the machine
        site.database.rows("UPDATE step SET deadline_at = clock_timestamp() WHERE name = 'reboot'")
        site.database.rows("UPDATE attempt SET resume_at = clock_timestamp() WHERE state = 'waiting'")
        site.run(lambda: site.database.row("SELECT FROM attempt WHERE state = 'held'") is not None)
        judged = [server.reboots for server in site.world.servers.values()]
        told = site.database.value("SELECT text FROM event WHERE kind = 'held'")
        given = Command(Verb.SKIP, by="test", step="reboot", reason="it was seen to come up")
        site.services.command(job, given, site.policies)
        site.run(site.ended(job))

        assert judged == [sent]
        assert told == "reboot: deadline passed: the reboot may or may not have been taken; it is not sent again"
        assert site.job(job)["state"] == "succeeded", site.trail()
        assert [server.reboots for server in site.world.servers.values()] == [sent]
