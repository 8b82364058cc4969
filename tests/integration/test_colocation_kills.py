"""The worker dies by SIGKILL before and after each commit and call of a colocation's open and close: same end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from provisioner.demo.postgres import EmbeddedPostgres
from provisioner.domain.life import Wish
from provisioner.domain.matters import Department
from provisioner.domain.server import ServerRef
from provisioner.domain.states import JobKind
from provisioner.drivers.fake import InstallEnd
from provisioner.errors import NotFound
from provisioner.usecases.answer import answer
from tests.kills import KilledSite, Point, killed_site, points_of

pytestmark = pytest.mark.timeout(120)

SERVER = ServerRef("501")
ASKED = (("claim", 1), ("remember", 1), ("save", 1), ("claim", 2), ("read", 1), ("end", 1))
POINTS = {
    "open": [
        *points_of({"account": ["create_user"]}),
        *(Point("ask_placed", operation, nth, after) for operation, nth in ASKED for after in (False, True)),
    ],
    "close": [Point("ask_removed", operation, nth, after) for operation, nth in ASKED for after in (False, True)],
}
EVERY_RUN = frozenset({"ask_placed-after-remember-1", "ask_removed-after-read-1"})


@contextmanager
def place(url: str, folder: Path) -> Iterator[KilledSite]:
    """Give a site that sells places; the machine that a technician will mount is there and nobody's."""
    with killed_site(url, folder, InstallEnd.DONE) as site:
        site.tickets.save_department(Department("default", "oncall@example.net"))
        site.package("rack", kind="colocation", server_type="", os_allowed="[]", ipv4=0)
        site.world.add_server(SERVER).disabled = True
        yield site


def begin(site: KilledSite, name: str) -> int:
    """Ask for the job; a close first has its service opened, undisturbed."""
    job = site.order("ord-1", package="rack", os="").job_id
    if name == "open":
        return job
    site.run(over(site, job))
    site.killer.counts.clear()
    asked, _ = site.life.wish("panel", "ord-1", Wish(JobKind.CLOSE), by="test", policies=site.policies)
    return asked.job_id


def over(site: KilledSite, job: int) -> Callable[[], bool]:
    """Give a condition that plays the technician while the job asks."""
    ended = site.ended(job)

    def done() -> bool:
        try:
            asking = site.questions.of_job(job)
        except NotFound:
            return ended()
        if asking.open and not site.waker.messages:
            driver = site.drivers.get(asking.connection_id)
            driver.edit_server(SERVER, owner=asking.customer if asking.kind == "placed" else None, notes="")
            answer(
                asking,
                server=SERVER,
                done=True,
                by="test",
                questions=site.questions,
                drivers=site.drivers,
                waker=site.waker,
            )
        return ended()

    return done


def truth(site: KilledSite) -> Mapping[str, object]:
    asked = site.database.rows("SELECT kind, answered_by, says FROM question ORDER BY id")
    told = site.database.rows("SELECT kind, count(*) FROM event WHERE kind LIKE 'person%%' GROUP BY kind ORDER BY kind")
    return {
        **site.truth(),
        "service": site.database.rows("SELECT state, kind, desired, claim_id IS NOT NULL AS claimed FROM service"),
        "asked": [tuple(row.values()) for row in asked],
        "told": [tuple(row.values()) for row in told],
    }


Undisturbed = Callable[[str], tuple[Mapping[str, Any], Counter[tuple[str, str]]]]


@pytest.fixture(scope="session")
def undisturbed(postgres: EmbeddedPostgres, template_database: str, state_dir: Path) -> Undisturbed:
    """Give the end of each job without a kill, and how often each operation was passed on the way."""

    @cache
    def run(name: str) -> tuple[Mapping[str, Any], Counter[tuple[str, str]]]:
        database = f"colocation_{name}"
        postgres.create_database(database, template=template_database)
        with place(postgres.url(database), state_dir) as site:
            site.run(over(site, begin(site, name)))
            return truth(site), site.killer.counts

    return run


@pytest.mark.parametrize("name", POINTS)
def test_the_matrix_holds_each_commit_of_the_job(name: str, undisturbed: Undisturbed) -> None:
    end, counts = undisturbed(name)
    mine = {"open": ("account", "ask_placed"), "close": ("ask_removed",)}[name]
    passed = {(step, op): n for (step, op), n in counts.items() if step in mine and op in ("remember", "save", "end")}

    assert end["jobs"][-1][:2] == (name, "succeeded")
    assert passed == Counter(
        (p.step, p.operation) for p in POINTS[name] if not p.after and p.operation in ("remember", "save", "end")
    )


@pytest.mark.parametrize(
    ("name", "point"),
    [
        pytest.param(name, point, id=f"{name}-{point}", marks=() if str(point) in EVERY_RUN else (pytest.mark.long,))
        for name, points in POINTS.items()
        for point in points
    ],
)
def test_a_killed_worker_costs_nothing_but_time(
    name: str, point: Point, undisturbed: Undisturbed, database_url: str, state_dir: Path
) -> None:
    with place(database_url, state_dir) as site:
        ended = over(site, begin(site, name))

        assert site.die_at(point, ended), f"the worker never came to {point}"
        site.run(ended)

        assert undisturbed(name)[0] == truth(site), site.trail()
