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
from provisioner.desks.registry import DeskRegistry
from provisioner.desks.rt import RtDesk, RtServer
from provisioner.domain.life import Wish
from provisioner.domain.matters import Department
from provisioner.domain.server import ServerRef
from provisioner.domain.states import JobKind
from provisioner.drivers.fake import InstallEnd
from provisioner.drivers.http import Caller
from provisioner.errors import NotFound
from provisioner.usecases import tell
from provisioner.usecases.answer import answer
from provisioner.usecases.heed import heed
from tests.fakes.rt import FakeTracker, Queue
from tests.kills import KilledSite, Point, Watched, killed_site, points_of

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
#: what is passed when a ticket that was closed is looked at: it is done, or it is not
HEEDED = {
    "done": [Point("", name, 1, after) for name in ("take", "status", "looked", "answer") for after in (False, True)],
    "not": [Point("", name, 1, after) for name in ("looked", "ask_again") for after in (False, True)],
}


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


# --- a close that is answered by closing its ticket -----------------------------------------------------------------


class Heeding:
    """The control worker of a site: makes messages, sends them, looks at tickets; each may be its last."""

    def __init__(self, site: KilledSite, port: int) -> None:
        desk = RtDesk(
            RtServer(f"http://127.0.0.1:{port}", "1-27-planted0123456789", total_seconds=30),
            Caller("RT", ca_file=None, variable="PROVISIONER_RT_CA_FILE"),
        )
        self.site = site
        self.desks = DeskRegistry({"rt": Watched(desk, site.killer, ("status",))})
        self.closings: Any = Watched(site.closings, site.killer, ("take", "looked"))
        self.questions: Any = Watched(site.questions, site.killer, ("answer", "ask_again"))

    def deliver(self) -> None:
        tell.project(tickets=self.site.tickets, waker=self.site.waker, sweep=True)
        tell.deliver(
            owner=self.site.owner(),
            tickets=self.site.tickets,
            desks=self.desks,
            waker=self.site.waker,
            link=lambda _: "",
        )

    def look(self) -> None:
        """Look when it is due, and as if it were due again."""
        self.site.database.rows("UPDATE ticket SET read_at = clock_timestamp() WHERE read_at IS NOT NULL")
        heed(
            owner=self.site.owner(),
            closings=self.closings,
            questions=self.questions,
            desks=self.desks,
            drivers=self.site.drivers,
            engine=self.site.engine,
            waker=self.site.waker,
        )

    def until(self, condition: Callable[[], bool], *, look: bool = True) -> Callable[[], bool]:
        """Do our part each time that *condition* is looked at."""

        def met() -> bool:
            self.deliver()
            if look:
                self.look()
            return condition()

        return met


@pytest.mark.parametrize(
    ("end", "point"),
    [
        pytest.param(
            end, point, id=f"{point}-{end}",
            marks=() if point.after and point.operation in ("answer", "ask_again") else (pytest.mark.long,),
        )
        for end, points in HEEDED.items()
        for point in points
    ],
)  # fmt: skip
def test_a_worker_killed_over_a_closed_ticket_answers_once(
    end: str, point: Point, database_url: str, state_dir: Path
) -> None:
    queue = Queue("hands")
    with FakeTracker("1-27-planted0123456789", [queue]).up() as tracker, place(database_url, state_dir) as site:
        site.tickets.save_department(Department("default", "hands", desk="rt"))
        job = begin(site, "close")
        control = Heeding(site, tracker.port)
        read = "SELECT read_at IS NOT NULL FROM ticket ORDER BY id DESC LIMIT 1"
        site.run(control.until(lambda: bool(site.database.value(read)), look=False))
        driver, asking = site.drivers.get(1), site.questions.of_job(job)
        if end == "done":
            driver.edit_server(SERVER, owner=None, notes="")
        tracker.tickets[-1].status, tracker.tickets[-1].updated_by = "resolved", "anna"
        site.killer.counts.clear()

        died = site.die_at(point, control.until(site.ended(job)))
        if end == "not":
            site.run(control.until(lambda: tracker.tickets[-1].status == "open"))
            for _ in range(3):
                control.look()
            driver.edit_server(SERVER, owner=None, notes="")
            tracker.tickets[-1].status, tracker.tickets[-1].updated_by = "resolved", "anna"
        site.run(control.until(site.ended(job)))

        told = [row["text"] for row in site.database.rows("SELECT text FROM event WHERE kind = 'person_answered'")]
        asked = site.database.value("SELECT count(*) FROM event WHERE kind = 'person_asked'")
        assert died, f"the worker never came to {point}"
        assert asking.open
        assert told[1:] == ["answered by anna by the ticket in rt: it is done"], site.trail()
        assert asked == (2 if end == "done" else 3)
