"""
A job runs, another wish arrives: each pair of kinds at each phase of the first, the end written down first.

One system for all of them. The second wish arrives while the first waits its turn (`queued`), right before its first
act is carried out (`begun`), or right after its last one took effect (`past`: for an open hand-over has begun). Or
right before the first one's act fails for good (`held`): then it would wait for a person, but makes way.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest

from provisioner.domain.life import Wish
from provisioner.domain.server import Power, ServerRef, UserRef
from provisioner.domain.states import JobKind
from provisioner.drivers.fake import Call, FakeServer
from provisioner.errors import Fatal, IllegalMove
from provisioner.ports import Sealed, Wakeup
from provisioner.usecases.run_step import Report
from tests.ends import history, sold, unsold
from tests.site import SWEEP_IS_DUE, Site

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]

#: Three letters a pair. How the first ends: succeeded, x superseded, cancelled. How the second does: also refused, =
#: the first carries it out, or (an order) the service's open job. What is had then: Active, Suspended, Closed.
ENDS = """
                 close suspend resume add_address delete_address change_password reinstall power sync open
open queued      csC   ssS     ssA    srA         srA            srA             srA       srA   srA  s=A
open begun       csC   ssS     ssA    srA         srA            srA             srA       srA   srA  s=A
open past        ssC   ssS     ssA    srA         srA            srA             srA       srA   srA  s=A
close queued     s=C   srC     srC    srC         srC            srC             srC       srC   srC  soC
close begun      s=C   srC     srC    srC         srC            srC             srC       srC   srC  soC
close past       s=C   srC     srC    srC         srC            srC             srC       srC   srC  soC
suspend queued   xsC   s=S     xsA    srS         ssS            srS             srS       srS   ssS  soS
suspend begun    ssC   s=S     ssA    srS         ssS            srS             srS       srS   ssS  soS
suspend past     ssC   s=S     ssA    srS         ssS            srS             srS       srS   ssS  soS
resume queued    xsC   xsS     s=A    srA         ssA            srA             srA       srA   ssA  soA
resume begun     ssC   ssS     s=A    srA         ssA            srA             srA       srA   ssA  soA
resume past      ssC   ssS     s=A    srA         ssA            srA             srA       srA   ssA  soA
add_address queued     xsC ssS ssA    ssA         ssA            ssA             ssA       ssA   ssA  soA
add_address begun      ssC ssS ssA    ssA         ssA            ssA             ssA       ssA   ssA  soA
add_address past       ssC ssS ssA    ssA         ssA            ssA             ssA       ssA   ssA  soA
delete_address queued  xsC ssS ssA    ssA         s=A            ssA             ssA       ssA   ssA  soA
delete_address begun   ssC ssS ssA    ssA         ssA            ssA             ssA       ssA   ssA  soA
delete_address past    ssC ssS ssA    ssA         ssA            ssA             ssA       ssA   ssA  soA
change_password queued xsC ssS ssA    ssA         ssA            ssA             ssA       ssA   ssA  soA
change_password begun  ssC ssS ssA    ssA         ssA            ssA             ssA       ssA   ssA  soA
change_password past   ssC ssS ssA    ssA         ssA            ssA             ssA       ssA   ssA  soA
reinstall queued xsC   ssS     ssA    ssA         ssA            ssA             ssA       ssA   ssA  soA
reinstall begun  ssC   ssS     ssA    ssA         ssA            ssA             ssA       ssA   ssA  soA
reinstall past   ssC   ssS     ssA    ssA         ssA            ssA             ssA       ssA   ssA  soA
power queued     xsC   ssS     ssA    ssA         ssA            ssA             ssA       s=A   ssA  soA
power begun      ssC   ssS     ssA    ssA         ssA            ssA             ssA       ssA   ssA  soA
power past       ssC   ssS     ssA    ssA         ssA            ssA             ssA       ssA   ssA  soA
sync queued      xsC   ssS     ssA    ssA         ssA            ssA             ssA       ssA   s=A  soA
sync begun       ssC   ssS     ssA    ssA         ssA            ssA             ssA       ssA   ssA  soA
sync past        ssC   ssS     ssA    ssA         ssA            ssA             ssA       ssA   ssA  soA
"""
#: the same of those that make way, or (an address job) give back what they took and fail
HELD_ENDS = """
                     close suspend resume
suspend held         xsC   -       xsA
resume held          xsC   xsS     -
add_address held     fsC   fsS     -
delete_address held  xsC   xsS     -
change_password held xsC   xsS     -
reinstall held       xsC   isS     -
power held           xsC   xsS     -
"""
WORDS = {
    "s": "succeeded", "x": "superseded", "c": "cancelled", "r": "refused", "=": "the same job", "o": "the open job",
    "i": "interrupted", "f": "failed",
    "A": "active", "S": "suspended", "C": "closed",
}  # fmt: skip

#: which call of the first job opens a phase: its first act (a sync only reads), and its last
FIRST = {
    "open": ("edit_server", 1), "close": ("set_link", 1), "suspend": ("set_link", 1), "resume": ("set_link", 1),
    "add_address": ("add_address", 1), "delete_address": ("delete_address", 1), "change_password": ("set_password", 1),
    "reinstall": ("install", 1), "power": ("set_power", 1), "sync": ("read", 1),
}  # fmt: skip
LAST = {**FIRST, "open": ("edit_server", 2), "close": ("edit_server", 1), "suspend": ("set_link", 2),
        "resume": ("set_link", 2), "add_address": ("add_address", 2)}  # fmt: skip
LANES = 20
PARAMS: Mapping[str, Mapping[str, Any]] = {
    "suspend": {"reason": "billing"}, "resume": {"reason": "billing"}, "add_address": {"count": 2, "family": "ipv6"},
    "power": {"state": "off"}, "reinstall": {"os": "ISPsystem__CentOS-7-amd64"},
}  # fmt: skip
NUMBERS = itertools.count(1)
Waits = Generator[Callable[[], bool]]


OVER = "SELECT id FROM job WHERE state IN ('succeeded', 'failed', 'cancelled', 'superseded', 'interrupted')"


def table(ends: str) -> dict[tuple[str, str, str], tuple[str, str, str]]:
    """Read the table: (first, phase, second) → how both end, and what the customer has."""
    head, *lines = ends.strip().splitlines()
    found = {}
    for line in lines:
        first, phase, *cells = line.split()
        for second, cell in zip(head.split(), cells, strict=True):
            if cell != "-":
                found[first, phase, second] = (WORDS[cell[0]], WORDS[cell[1]], WORDS[cell[2]])
    return found


@dataclass
class Awaited:
    """The instant at which a second wish arrives."""

    method: str
    nth: int
    arrive: Callable[[], None]
    after: bool


class PhasedSite(Site):
    """A site that lets wishes arrive in the middle of a job's touch."""

    def __init__(self, url: str) -> None:
        super().__init__(url, pool_size=4)
        self.touched = 0  #: the job whose touch is under way
        self.awaited: dict[int, Awaited] = {}
        for method in {method for method, _ in (*FIRST.values(), *LAST.values())}:
            for after in (False, True):
                self.world.fault(method, after=after, times=None, hook=partial(self._passed, after))

    def touch(self, message: Wakeup) -> Report:
        self.touched = message.job_id
        return super().touch(message)

    def _passed(self, after: bool, call: Call) -> None:  # noqa: FBT001 - of a partial
        found = self.awaited.get(self.touched)
        if found is None or (found.method, found.after) != (call.method, after):
            return
        found.nth -= 1
        if found.nth == 0:
            del self.awaited[self.touched]
            found.arrive()


@dataclass
class Lane:
    """A customer with one service after the other, on which pairs run one after the other."""

    site: PhasedSite
    ended: set[int]  #: jobs, as the last look saw them
    ref: str = ""
    server: FakeServer | None = None
    password: str = ""
    extra: str = ""  #: the address that is deleted
    failures: list[str] = field(default_factory=list)

    @property
    def service(self) -> Any:  # noqa: ANN401 - a row
        return self.site.database.rows("SELECT * FROM service WHERE external_ref = %(ref)s", ref=self.ref)[0]

    # --- asking -----------------------------------------------------------------------------------------------------

    def ask(self, kind: str) -> int:
        if kind == "open":
            return self.site.order(self.ref).job_id
        params = dict(PARAMS.get(kind, {}))
        secret = None
        if kind == "delete_address":
            params["ip"] = self.extra
        if kind in ("change_password", "reinstall"):
            clear = f"correct-horse-{next(NUMBERS)}"
            secret = Sealed(*self.site.vault.seal(clear))
            self.password = clear if kind == "change_password" else self.password
        asked, due = self.site.life.wish(
            "panel", self.ref, Wish(JobKind(kind), params), by="test", secret=secret, policies=self.site.policies
        )
        self.site.waker.wake(due)
        return asked.job_id

    def over(self, *jobs: int) -> Callable[[], bool]:
        return lambda: self.ended.issuperset(jobs)

    def do(self, kind: str) -> Waits:
        job = self.ask(kind)
        yield self.over(job)
        assert self.site.job(job)["state"] == "succeeded", f"{kind}: {self.site.job(job)}"

    # --- one pair ---------------------------------------------------------------------------------------------------

    def ready(self, first: str) -> Waits:
        """Bring about what *first* begins from: nothing for an open, else a whole server; suspended for a resume."""
        self.extra = "198.51.100.250"
        if first == "open" or self.server is None or self.server.owner is None:
            if self.server is not None and self.server.owner is not None:
                yield from self.do("close")
            self.ref, self.server = f"ord-{next(NUMBERS)}", None
            if first == "open":
                return
            yield from self.do("open")
            self.find()
        assert self.server is not None
        if self.service["state"] == "suspended" and (first != "resume" or not self.extras()):
            yield from self.do("resume")
        if not self.extras():
            yield from self.do("add_address")
        if self.service["state"] == "active" and first == "resume":
            yield from self.do("suspend")
        self.server.power = Power.ON  # somebody pressed the button
        self.extra = self.extras()[0]

    def find(self) -> None:
        ref = self.site.database.value(
            "SELECT c.server_ref FROM claim c JOIN service s ON s.id = c.service_id WHERE s.external_ref = %(ref)s "
            "ORDER BY c.id DESC LIMIT 1",
            ref=self.ref,
        )
        self.server = self.site.world.servers[ServerRef(ref)] if ref else None

    def extras(self) -> list[str]:
        assert self.server is not None
        return [row.ip for row in self.server.addresses if not row.main]

    def pair(self, first: str, phase: str, second: str, expected: tuple[str, str, str]) -> Waits:
        yield from self.ready(first)
        before = (self.server.installs, len(self.extras())) if self.server else (0, 0)
        answers: list[int | str] = []

        def arrive() -> None:
            try:
                answers.append(self.ask(second))
            except IllegalMove as refusal:
                answers.append(str(refusal))
            if phase == "held":
                raise Fatal("the panel can't")

        a = self.ask(first)
        if phase == "queued":
            arrive()
        else:
            method, nth = (LAST if phase == "past" else FIRST)[first]
            self.site.awaited[a] = Awaited(method, nth, arrive, after=phase == "past")
        yield lambda: bool(answers)
        b = answers[0]
        jobs = [a, *([b] if isinstance(b, int) else [])]
        yield self.over(*jobs)
        self.find()
        ends = (self.site.job(a)["state"], self._second(a, b, second), self.service["state"])
        name = f"{first} {phase}, {second}"
        if ends != expected:
            self.failures.append(f"{name}: {ends} instead of {expected}; the second was told {b}")
            return
        self.failures += [f"{name}: not: {what}" for what in self.judged(first, second, ends, before)]
        if ends[0] == WORDS["i"]:  # it stands still again after the resume
            yield from self.do("close")

    def _second(self, a: int, b: int | str, second: str) -> str:
        if isinstance(b, str):
            return "refused"
        if b == a:
            return "the same job"
        return "the open job" if second == "open" else str(self.site.job(b)["state"])

    def judged(self, first: str, second: str, ends: tuple[str, str, str], before: tuple[int, int]) -> list[str]:
        """Say what the world does not show of what both jobs promise."""
        server, world = self.server, self.site.world
        assert server is not None or ends[2] == "closed"
        if server is None:
            return []
        if ends[2] == "closed":
            return [] if server.owner not in (None, world.administrator.ref) else unsold(world, server)
        ran = [kind for kind, end in ((first, ends[0]), (second, ends[1])) if end == "succeeded"]
        switched = [kind for kind in ran if kind in ("power", "reinstall", "open")]
        package = self.service["package"]
        extras = package["ipv4"] - 1 + package["ipv6"] if first == "open" else before[1]
        wiped = ran.count("reinstall") + (1 if first == "open" else 0)
        wanted = {
            "power": not switched or server.power is (Power.OFF if switched[-1] == "power" else Power.ON),
            f"{wiped} installs": server.installs - before[0] == wiped or first == "open",
            "addresses": len(self.extras()) == extras + 2 * ran.count("add_address") - ("delete_address" in ran),
            "deleted": "delete_address" not in ran or self.extra not in self.extras(),
            "password": "change_password" not in ran
            or world.passwords.get(UserRef(server.owner or "")) == self.password,
        }
        return [what for what, so in wanted.items() if not so] + sold(server, self.service, but={"power_on", "address"})


@pytest.fixture
def site(database_url: str) -> Iterator[PhasedSite]:
    made = PhasedSite(database_url)
    for n in range(2 * LANES):
        made.world.add_server(str(101 + n))
    made.connect(max_in_flight=50)
    made.package(ipv4=3)
    yield made
    made.database.close()


@pytest.mark.parametrize(("ends", "pairs"), [(ENDS, 300), (HELD_ENDS, 14)], ids=["at work", "held"])
def test_every_pair_at_every_phase_ends_as_the_table_says(site: PhasedSite, ends: str, pairs: int) -> None:
    rows = list(table(ends).items())
    ended: set[int] = set()
    lanes = [Lane(site, ended) for _ in range(min(LANES, pairs))]

    def walk(lane: Lane, number: int) -> Waits:
        for (first, phase, second), expected in rows[number :: len(lanes)]:
            yield from lane.pair(first, phase, second, expected)

    waits: dict[int, tuple[Waits, Callable[[], bool]]] = {}
    for number, lane in enumerate(lanes):
        walked = walk(lane, number)
        waits[number] = (walked, next(walked))

    def nothing_left() -> bool:
        site.database.rows(SWEEP_IS_DUE)
        ended.update(row["id"] for row in site.database.rows(OVER))
        for number, (walked, so) in list(waits.items()):
            if so():
                try:
                    waits[number] = (walked, next(walked))
                except StopIteration:
                    del waits[number]
        return not waits

    site.run(nothing_left, seconds=800)

    assert len(rows) == pairs
    failures = sorted(line for lane in lanes for line in lane.failures)
    assert failures == [], "\n".join(failures)
    assert history(site, reinstalls=True) == []
