"""
Orders, wishes, verbs, faults and dying workers in any sequence, against a model of what each customer has.

The model is what was asked and taken: was it closed, whose suspensions stand, which addresses came and went. Whenever
all has come to rest, the books and the world must agree with it; at every instant a free server carries nothing of
anybody. What a cancelled wish leaves is read from the books: they must agree with themselves and with the world.

Bugs that are planted must be found. Most are within the lives that a good system is given; but no two runs are alike,
and the search goes on until one is found.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.errors import Flaky
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from provisioner.demo.postgres import EmbeddedPostgres
from provisioner.domain import life
from provisioner.domain.life import Wish
from provisioner.domain.outcome import AddressesRead, Done, Look, NotBegun
from provisioner.domain.states import JobKind
from provisioner.drivers.fake import Call, FakeDriver
from provisioner.errors import Busy, IllegalMove, Unsure
from provisioner.ports import Wakeup
from provisioner.steps import recipes
from provisioner.steps.address import DeleteAddress
from provisioner.steps.base import StepContext
from provisioner.store import services
from provisioner.usecases import operate
from provisioner.usecases.run_step import Report
from tests.ends import half_way, history, ports, unsold
from tests.site import SHORT, Site

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]

NUMBERS = itertools.count(1)
SPANS = replace(SHORT, call=0.2, soft=0.3, hard=0.4, lease=0.5, wake_grace=0.2, wake_most=0.4)
ACTS = ("edit_server", "set_link", "set_domain", "add_address", "delete_address", "install", "disable", "create_user")
MOST = 3  #: services
REASONS = st.sampled_from(("billing", "abuse"))
WHICH = st.integers(0, MOST - 1)
#: a close ends the tale, so it is the rarest
ASKED = st.sampled_from(
    [*(JobKind.SUSPEND, JobKind.RESUME, JobKind.ADD_ADDRESS, JobKind.DELETE_ADDRESS) * 3, JobKind.CLOSE]
)
LIVES = 25
LIVES_MOST = 200  #: until a planted bug is found


class Killed(BaseException):
    """Stands for SIGKILL: nothing of the worker runs after it."""


@dataclass
class Has:
    """What a customer has, as far as was asked and taken."""

    ref: str
    opened: int  #: the order's job
    close: int | None = None  #: the job that closes it
    suspended_by: set[str] = field(default_factory=set)
    taken_back: bool = False  #: a suspend or resume was cancelled, begun or not
    added: list[int] = field(default_factory=list)  #: jobs that took one address each
    deleted: dict[int, str] = field(default_factory=dict)  #: jobs that gave one back, and which
    newest: int | None = None  #: the job asked last


class MortalSite(Site):
    """A site whose workers may die."""

    def touch(self, message: Wakeup) -> Report:
        try:
            return super().touch(message)
        except Killed:
            return Report(message.step, "killed")


class Life(RuleBasedStateMachine):
    """One data centre with four servers, and what may be asked of it."""

    make: Callable[[], Site]

    @initialize()
    def open_the_site(self) -> None:
        self.site = type(self).make()
        self.services = [self.order(n) for n in range(MOST)]

    # --- what is asked ----------------------------------------------------------------------------------------------

    def order(self, number: int) -> Has:
        ref = f"ord-{number}"
        return Has(ref, self.site.order(ref).job_id)

    def wish(self, has: Has, kind: JobKind, **params: Any) -> int | None:
        try:
            asked, due = self.site.life.wish(
                "panel", has.ref, Wish(kind, params), by="model", policies=self.site.policies
            )
        except IllegalMove:
            return None
        self.site.waker.wake(due)
        has.newest = asked.job_id
        return asked.job_id

    def address(self, has: Has) -> str | None:
        """Give the oldest address beyond the main one that the books show."""
        found: str | None = self.site.database.value(
            "SELECT a.ip FROM address a JOIN service s ON s.claim_id = a.claim_id WHERE s.external_ref = %(ref)s "
            "AND a.state = 'live' AND NOT a.main ORDER BY a.id LIMIT 1",
            ref=has.ref,
        )
        return found

    @rule(which=WHICH, asked=ASKED, reason=REASONS, regret=st.sampled_from((True, False, False)))
    def ask(self, which: int, asked: JobKind, reason: str, regret: bool) -> None:  # noqa: FBT001 - of Hypothesis
        """One rule for all wishes: Hypothesis leaves whole rules out of an example, and lives would be dull."""
        has = self.services[which]
        self.take(has, asked, reason)
        if regret and has.newest is not None:
            self.take_back(has, has.newest)

    def take(self, has: Has, asked: JobKind, reason: str) -> None:
        match asked:
            case JobKind.SUSPEND if self.wish(has, asked, reason=reason) is not None:
                has.suspended_by.add(reason)
            case JobKind.RESUME if self.wish(has, asked, reason=reason) is not None:
                has.suspended_by.discard(reason)
            case JobKind.ADD_ADDRESS if (job := self.wish(has, asked, count=1, family="ipv4")) is not None:
                has.added.append(job)
            case JobKind.DELETE_ADDRESS if ip := self.address(has):
                if (job := self.wish(has, asked, ip=ip)) is not None:
                    has.deleted[job] = ip
            case JobKind.CLOSE if (job := self.wish(has, asked)) is not None:
                has.close = job
            case _:
                pass

    # --- on-call, and what goes wrong --------------------------------------------------------------------------------

    @rule(which=WHICH, retried=st.booleans())
    def hold(self, which: int, retried: bool) -> None:  # noqa: FBT001 - of Hypothesis
        """Let the order stand still; a person may let it go on at once, else at the next rest."""
        has = self.services[which]
        who = operate.Operator("model", self.site.services, self.site.waker, self.site.policies)
        for verb in (lambda job: operate.hold(job, who, reason="look"), lambda job: operate.retry(job, who))[
            : 1 + retried
        ]:
            operate.each([has.opened], verb)

    @rule(which=WHICH, newest=st.booleans())
    def cancel(self, which: int, newest: bool) -> None:  # noqa: FBT001 - of Hypothesis
        """Cancel the order, or what was asked last."""
        has = self.services[which]
        self.take_back(has, has.newest if newest and has.newest else has.opened)

    def take_back(self, has: Has, job: int) -> None:
        who = operate.Operator("model", self.site.services, self.site.waker, self.site.policies)
        (said,) = operate.each([job], lambda one: operate.cancel(one, who))
        has.taken_back |= not said.refused and self.site.job(job)["kind"] in ("suspend", "resume", "close")

    @rule(act=st.sampled_from(ACTS), after=st.booleans(), how=st.sampled_from(("busy", "no answer", "kill")))
    def trouble(self, act: str, after: bool, how: str) -> None:  # noqa: FBT001 - of Hypothesis
        """The next such act is refused, loses its answer, or its worker dies, before or after the effect."""

        def die(_: Call) -> None:
            raise Killed

        if how == "kill":
            self.site.world.fault(act, after=after, hook=die)
        else:
            self.site.world.fault(act, Busy if how == "busy" and not after else Unsure, after=after)

    # --- time -------------------------------------------------------------------------------------------------------

    @rule(rounds=st.integers(1, 60))
    def time_passes(self, rounds: int) -> None:
        left = itertools.count()
        self.site.run(lambda: self.free_servers_are_clean() and next(left) >= rounds)

    def free_servers_are_clean(self) -> bool:
        """Judge in the midst of it: a close that is asked late is over before the next rule."""
        self.a_free_server_carries_nothing_of_anybody()
        return True

    @invariant()
    def a_free_server_carries_nothing_of_anybody(self) -> None:
        site: Site | None = getattr(self, "site", None)
        if site is None:
            return
        for server in site.world.servers.values():
            assert server.owner is not None or unsold(site.world, server) == [], server.ref

    @rule()
    def all_comes_to_rest(self) -> None:
        site = self.site
        site.world.heal()
        who = operate.Operator("night", site.services, site.waker, site.policies)

        def at_rest() -> bool:
            left = site.database.rows(
                "SELECT id, waits_for, held_reason <> '' OR EXISTS (SELECT FROM attempt a WHERE a.job_id = job.id "
                "AND a.state = 'held') AS held FROM job WHERE state IN ('queued', 'running', 'compensating')"
            )
            operate.each((row["id"] for row in left if row["held"]), lambda job: operate.retry(job, who))
            return not left

        site.run(lambda: self.free_servers_are_clean() and at_rest(), seconds=60)
        assert half_way(site) == []
        assert history(site) == []
        for has in self.services:
            self.judge(has)

    def judge(self, has: Has) -> None:
        row = self.site.database.rows("SELECT * FROM service WHERE external_ref = %(ref)s", ref=has.ref)[0]
        assert row["desired"] == ("active" if row["state"] == "failed" else row["state"]), has
        if has.close is not None and self.site.job(has.close)["state"] == "cancelled":
            has.close = None
        if has.taken_back:
            has.taken_back, has.suspended_by = False, set(row["suspended_by"])
        if self.site.job(has.opened)["state"] == "cancelled":
            assert row["state"] == ("closed" if has.close else "failed"), has
            return
        if has.close:
            assert row["state"] == "closed", has
            return
        assert row["state"] == ("suspended" if has.suspended_by else "active"), has
        assert set(row["suspended_by"]) == has.suspended_by, has
        ref = self.site.database.value("SELECT server_ref FROM claim WHERE id = %(id)s", id=row["claim_id"])
        server = self.site.world.servers[ref]
        assert ports(server) == [not has.suspended_by] * 2, has
        gone = {ip for job, ip in has.deleted.items() if self.site.job(job)["state"] == "succeeded"}
        taken = sum(self.site.job(job)["state"] == "succeeded" for job in set(has.added))
        extras = [row.ip for row in server.addresses if not row.main]
        assert len(extras) == taken - len(gone), has
        assert not gone.intersection(extras), has

    def teardown(self) -> None:
        if hasattr(self, "site"):
            try:
                self.all_comes_to_rest()
            finally:
                self.site.database.close()


@pytest.fixture
def live(postgres: EmbeddedPostgres, template_database: str) -> Callable[[int], None]:
    """Give what lives so many lives of a data centre."""

    def make() -> Site:
        name = f"model_{next(NUMBERS)}"
        postgres.create_database(name, template=template_database)
        site = MortalSite(postgres.url(name), spans=SPANS)
        for n in range(4):
            site.world.add_server(str(101 + n))
        site.connect(driver=FakeDriver(site.world, "dc1", call_seconds=0.1))
        site.package(attempts_max=1000)
        return site

    Life.make = staticmethod(make)
    common = settings(
        phases=(Phase.generate,),  # to shrink a life of a minute takes an hour
        stateful_step_count=30,
        derandomize=True,
        database=None,
        deadline=None,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    return lambda lives: run_state_machine_as_test(Life, settings=settings(common, max_examples=lives))


def test_whatever_is_asked_and_whatever_breaks_each_customer_has_what_the_model_says(
    live: Callable[[int], None],
) -> None:
    live(LIVES)


# --- planted ------------------------------------------------------------------------------------------------------


def a_resume_that_lifts_every_reason(planted: pytest.MonkeyPatch) -> None:
    resume = life._resume
    planted.setattr(life, "_resume", lambda standing, wish: resume(replace(standing, suspended_by=frozenset()), wish))


def a_deletion_of_another_address(planted: pytest.MonkeyPatch) -> None:
    def check(_: DeleteAddress, ctx: StepContext) -> Look:
        reading = ctx.read()
        others = [row.ref for row in reading.addresses if not row.main and row.ip != ctx.params["ip"]]
        rows = {row.ref for row in reading.addresses}
        if not others or (ctx.row.acted_at and ctx.row.before["row"] not in rows):
            return Done("gone", (AddressesRead(reading.addresses),))
        return NotBegun({"row": others[0]})

    planted.setattr(DeleteAddress, "check", check)


def a_close_that_frees_the_server_before_its_addresses(planted: pytest.MonkeyPatch) -> None:
    ports_off, addresses, domain, release = recipes.CLOSE
    planted.setitem(recipes.RECIPES, JobKind.CLOSE, (ports_off, release, addresses, domain))


def a_cancel_that_leaves_what_was_wanted(planted: pytest.MonkeyPatch) -> None:
    planted.setattr(services, "restate", lambda *_: None)


@pytest.mark.parametrize(
    "plant",
    [
        a_resume_that_lifts_every_reason,
        a_deletion_of_another_address,
        a_close_that_frees_the_server_before_its_addresses,
        a_cancel_that_leaves_what_was_wanted,
    ],
)
def test_a_planted_bug_is_found(
    plant: Callable[[pytest.MonkeyPatch], None], live: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch)

    with pytest.raises((AssertionError, Flaky)):
        live(LIVES_MOST)
