"""
Orders, wishes, verbs, faults and dying workers in any sequence, against a model of what each customer has.

The model is three facts a service: was it closed, whose suspensions stand, how many addresses were added. Whenever all
has come to rest, the books and the world must agree with it; at every instant a free server carries nothing of anybody.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from provisioner.demo.postgres import EmbeddedPostgres
from provisioner.domain.life import Wish
from provisioner.domain.states import JobKind
from provisioner.drivers.fake import Call, FakeDriver
from provisioner.errors import Busy, IllegalMove, Unsure
from provisioner.ports import Wakeup
from provisioner.usecases import operate
from provisioner.usecases.run_step import Report
from tests.ends import half_way, history, ports, unsold
from tests.site import SHORT, Site

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]

NUMBERS = itertools.count(1)
SPANS = replace(SHORT, call=0.2, soft=0.3, hard=0.4, lease=0.5, wake_grace=0.2, wake_most=0.4)
ACTS = ("edit_server", "set_link", "set_domain", "add_address", "delete_address", "install", "disable", "create_user")
MOST = 3  #: services
REASONS = st.sampled_from(("billing", "abuse"))
WHICH = st.integers(0, MOST - 1)
#: a close ends the tale, so it is the rarest
ASKED = st.sampled_from([*(JobKind.SUSPEND, JobKind.RESUME, JobKind.ADD_ADDRESS) * 3, JobKind.CLOSE])


class Killed(BaseException):
    """Stands for SIGKILL: nothing of the worker runs after it."""


@dataclass
class Has:
    """What a customer has, as far as was asked and taken."""

    ref: str
    opened: int  #: the order's job
    closed: bool = False
    suspended_by: set[str] = field(default_factory=set)
    added: list[int] = field(default_factory=list)  #: jobs that took one address each


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
        return asked.job_id

    @rule(which=WHICH, asked=ASKED, reason=REASONS)
    def ask(self, which: int, asked: JobKind, reason: str) -> None:
        """One rule for all wishes: Hypothesis leaves whole rules out of an example, and lives would be dull."""
        has = self.services[which]
        match asked:
            case JobKind.SUSPEND if self.wish(has, asked, reason=reason) is not None:
                has.suspended_by.add(reason)
            case JobKind.RESUME if self.wish(has, asked, reason=reason) is not None:
                has.suspended_by.discard(reason)
            case JobKind.ADD_ADDRESS if (job := self.wish(has, asked, count=1, family="ipv4")) is not None:
                has.added.append(job)
            case JobKind.CLOSE if self.wish(has, asked) is not None:
                has.closed = True
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

    @rule(which=WHICH)
    def cancel(self, which: int) -> None:
        has = self.services[which]
        who = operate.Operator("model", self.site.services, self.site.waker, self.site.policies)
        operate.each([has.opened], lambda job: operate.cancel(job, who))

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
        self.site.run(lambda: next(left) >= rounds)

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

        site.run(at_rest, seconds=60)
        assert half_way(site) == []
        assert history(site) == []
        for has in self.services:
            self.judge(has)

    def judge(self, has: Has) -> None:
        row = self.site.database.rows("SELECT * FROM service WHERE external_ref = %(ref)s", ref=has.ref)[0]
        if self.site.job(has.opened)["state"] == "cancelled":
            assert row["state"] == ("closed" if has.closed else "failed"), has
            return
        if has.closed:
            assert row["state"] == "closed", has
            return
        assert row["state"] == ("suspended" if has.suspended_by else "active"), has
        ref = self.site.database.value("SELECT server_ref FROM claim WHERE id = %(id)s", id=row["claim_id"])
        server = self.site.world.servers[ref]
        assert ports(server) == [not has.suspended_by] * 2, has
        taken = sum(self.site.job(job)["state"] == "succeeded" for job in set(has.added))
        assert len([row for row in server.addresses if not row.main]) == taken, has

    def teardown(self) -> None:
        if hasattr(self, "site"):
            try:
                self.all_comes_to_rest()
            finally:
                self.site.database.close()


def test_whatever_is_asked_and_whatever_breaks_each_customer_has_what_the_model_says(
    postgres: EmbeddedPostgres, template_database: str
) -> None:
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
    run_state_machine_as_test(
        Life,
        settings=settings(
            max_examples=25,
            phases=(Phase.generate,),  # to shrink a life of a minute takes an hour
            stateful_step_count=30,
            derandomize=True,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
