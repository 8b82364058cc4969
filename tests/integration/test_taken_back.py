"""A wish that is taken back: what is wanted of the service then is what the customer has, and so is the world."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from provisioner.domain.server import ServerRef
from provisioner.drivers.fake import Call, FakeServer, InstallEnd
from provisioner.errors import Fatal
from provisioner.usecases import audit
from tests.ends import ports
from tests.served import Answer, Served, serve
from tests.site import SWEEP_IS_DUE

Body = Mapping[str, Any]
NEEDS_KEY = {"addresses", "password", "reinstall"}


@pytest.fixture
def api(database_url: str) -> Iterator[Served]:
    with serve(database_url) as served:
        served.sell("101")
        job = served.post("/v1/services", served.order(), who="billing").json["job"]["id"]
        assert served.run(job, "succeeded", "failed")["state"] == "succeeded"
        yield served


@pytest.fixture
def server(api: Served) -> FakeServer:
    return api.world.servers[ServerRef("101")]


def ask(api: Served, what: str, body: Body | None = None) -> int:
    key = {"Idempotency_Key": f"{what} {body}"} if what in NEEDS_KEY else {}
    answer = api.post(f"/v1/services/ord-1/{what}", dict(body or {}), who="billing", **key)
    assert answer.status == 202, answer.json
    job: int = answer.json["job"]["id"]
    return job


def give(api: Served, job: int, verb: str) -> Answer:
    body = {} if verb == "retry" else {"reason": "a mistake"}
    return api.post(f"/v1/jobs/{job}/{verb}", body, who="operator")


def beforehand(api: Served, job: int, verb: str) -> str:
    answer = api.post(f"/v1/jobs/{job}/{verb}?dry_run=true", {}, who="operator")
    assert answer.status == 200, answer.json
    does: str = answer.json["does"]
    return does


def wanted(api: Served) -> tuple[str, str, list[str]]:
    found = api.get("/v1/services/ord-1", who="billing").json
    return found["state"], found["desired"], found["suspended_by"]


def state(api: Served, job: int) -> str:
    found: str = api.get(f"/v1/jobs/{job}").json["state"]
    return found


def audited(api: Served) -> list[tuple[str, str]]:
    """Give what an auditor finds."""
    ports = api.ports
    ports.database.rows("UPDATE connection SET username = %(name)s", name=api.world.administrator.login)
    (report,) = audit.look(
        None,
        quick=False,
        audits=ports.audits,
        drivers=ports.drivers,
        installation=ports.installation,
        tell=lambda *_: None,
    )
    assert report.whole, report
    return [(finding.kind, finding.evidence) for finding in report.findings]


def run_until(api: Served, condition: Callable[[], bool]) -> None:
    for _ in range(2000):
        if condition():
            return
        api.tick()
    pytest.fail("it never came")


def at_work(api: Served, server: FakeServer) -> int:
    """Let a reinstall run that does not end by itself."""
    server.install_ends = [InstallEnd.HANGS]
    job = ask(api, "reinstall", {"confirm": "srv1.example.net"})
    run_until(api, lambda: server.installing)
    return job


# --- what was not begun -------------------------------------------------------------------------------------------


def test_a_queued_close_that_is_cancelled_leaves_an_active_service(api: Served, server: FakeServer) -> None:
    at_work(api, server)
    close = ask(api, "close")
    closing = wanted(api)
    says = beforehand(api, close, "cancel")
    cancelled = give(api, close, "cancel")
    again = give(api, close, "cancel")
    suspend = ask(api, "suspend")

    assert closing == ("active", "closed", [])
    assert says == "ends it; nothing of it stands on a server; the service stays active"
    assert (cancelled.status, again.status, state(api, close)) == (200, 200, "cancelled")
    assert state(api, suspend) == "queued"
    assert wanted(api) == ("active", "suspended", ["billing"])


def test_a_close_of_a_suspended_service_that_is_cancelled_leaves_it_suspended_and_free_to_be_resumed(
    api: Served, server: FakeServer
) -> None:
    api.run(ask(api, "suspend"), "succeeded")
    close = ask(api, "close")  # not planned yet
    give(api, close, "cancel")
    stands = wanted(api)
    api.run(ask(api, "resume"), "succeeded")

    assert stands == ("suspended", "suspended", ["billing"])
    assert (wanted(api), ports(server)) == (("active", "active", []), [True, True])
    assert audited(api) == []


@pytest.mark.parametrize("reasons", [("billing",), ("billing", "abuse")])
def test_a_queued_suspend_that_is_cancelled_leaves_nobodys_reason(
    api: Served, server: FakeServer, reasons: tuple[str, ...]
) -> None:
    jobs = {ask(api, "suspend", {"reason": reason}) for reason in reasons}
    give(api, jobs.pop(), "cancel")

    assert jobs == set()
    assert wanted(api) == ("active", "active", [])
    api.run(ask(api, "power", {"state": "off"}), "succeeded")  # refused of a suspended service
    assert ports(server) == [True, True]


def test_a_queued_resume_that_is_cancelled_leaves_its_reason(api: Served, server: FakeServer) -> None:
    api.run(ask(api, "suspend"), "succeeded")
    give(api, ask(api, "resume"), "cancel")

    assert wanted(api) == ("suspended", "suspended", ["billing"])
    assert ports(server) == [False, False]


def test_a_resume_that_is_cancelled_while_its_suspend_runs_leaves_the_suspend(api: Served, server: FakeServer) -> None:
    resumes: list[int] = []
    api.world.fault("set_link", hook=lambda _: resumes.append(ask(api, "resume")))
    suspend = ask(api, "suspend")
    run_until(api, lambda: bool(resumes))
    give(api, resumes[0], "cancel")
    api.run(suspend, "succeeded")

    assert wanted(api) == ("suspended", "suspended", ["billing"])
    assert ports(server) == [False, False]


@pytest.mark.parametrize("what", ["close", "suspend"])
def test_what_was_cancelled_and_is_retried_is_wanted_again(api: Served, server: FakeServer, what: str) -> None:
    job = ask(api, what)
    give(api, job, "cancel")
    assert give(api, job, "retry").status == 200
    stands = wanted(api)[1]
    api.run(job, "succeeded")

    assert stands == {"close": "closed", "suspend": "suspended"}[what]
    assert wanted(api)[:2] == (stands, stands)
    assert ports(server) == [False, False]


def test_what_the_customer_may_not_have_now_is_not_retried(api: Served) -> None:
    job = ask(api, "power", {"state": "off"})
    give(api, job, "cancel")
    give(api, ask(api, "suspend"), "cancel")
    newer = give(api, job, "retry")
    own = ask(api, "power", {"state": "off"})
    give(api, own, "cancel")
    api.ports.database.rows("UPDATE service SET desired = 'suspended', suspended_by = '[\"staff\"]'")
    refused = give(api, own, "retry")

    assert newer.status == 409
    assert refused.detail == f"job {own}: the service is suspended (staff); resume it first"


# --- what was begun -----------------------------------------------------------------------------------------------


def test_a_suspend_that_is_cancelled_half_way_is_undone(api: Served, server: FakeServer) -> None:
    said: list[Any] = []
    suspend = ask(api, "suspend")

    def press(_: Call) -> None:
        said.append(beforehand(api, suspend, "cancel"))
        assert give(api, suspend, "cancel").status == 200

    api.world.fault("set_link", after=True, hook=press)
    api.run(suspend, "cancelled", "failed", "succeeded")

    assert said == ["undoes 1 steps (reopen_ports), then ends the job; the disks stay as they are"]
    assert state(api, suspend) == "cancelled"
    assert wanted(api) == ("active", "active", [])
    assert ports(server) == [True, True]
    assert audited(api) == []
    server.disabled = True
    assert len(audited(api)) == 1, "it would have found something"


def test_a_resume_that_is_cancelled_half_way_is_undone(api: Served, server: FakeServer) -> None:
    api.run(ask(api, "suspend"), "succeeded")
    resume = ask(api, "resume")
    answers: list[int] = []
    api.world.fault("set_link", after=True, hook=lambda _: answers.append(give(api, resume, "cancel").status))
    api.run(resume, "cancelled", "failed", "succeeded")

    assert (answers, state(api, resume)) == ([200], "cancelled")
    assert wanted(api) == ("suspended", "suspended", ["billing"])
    assert ports(server) == [False, False]


def test_a_suspend_that_comes_while_one_is_undone_is_done_after_it(api: Served, server: FakeServer) -> None:
    first = ask(api, "suspend")
    seconds: list[int] = []

    def press(_: Call) -> None:
        give(api, first, "cancel")
        seconds.append(ask(api, "suspend", {"reason": "abuse"}))

    api.world.fault("set_link", after=True, hook=press)
    run_until(api, lambda: bool(seconds))
    api.run(seconds[0], "succeeded")

    assert state(api, first) == "cancelled"
    assert wanted(api) == ("suspended", "suspended", ["abuse"])
    assert ports(server) == [False, False]


def test_a_resume_switches_on_what_a_suspend_that_was_held_had_switched_off(api: Served, server: FakeServer) -> None:
    api.world.fault("set_link", Fatal, skip=1, times=1)
    suspend = ask(api, "suspend")
    run_until(api, lambda: bool(api.ports.database.value("SELECT count(*) FROM attempt WHERE state = 'held'")))
    half = ports(server)
    api.run(ask(api, "resume"), "succeeded")

    assert sorted(half) == [False, True]
    assert state(api, suspend) == "superseded"
    assert wanted(api) == ("active", "active", [])
    assert ports(server) == [True, True]


def test_a_resume_that_waited_behind_a_suspend_which_is_held_goes_when_it_is_asked_again(
    api: Served, server: FakeServer
) -> None:
    resumes: list[int] = []
    api.world.fault("set_link", hook=lambda _: resumes.append(ask(api, "resume")))
    api.world.fault("set_link", Fatal, times=1)
    suspend = ask(api, "suspend")
    run_until(api, lambda: bool(api.ports.database.value("SELECT count(*) FROM attempt WHERE state = 'held'")))
    waits = api.get(f"/v1/jobs/{resumes[0]}").json
    again = ask(api, "resume")
    api.run(again, "succeeded")

    assert (waits["waits_for"], again, state(api, suspend)) == ("job", resumes[0], "superseded")
    assert f"job {suspend} (suspend) goes first and is held for a person (" in waits["sentence"]
    assert wanted(api) == ("active", "active", [])
    assert ports(server) == [True, True]


@pytest.mark.parametrize("again", ["asked again", "by itself"])
@pytest.mark.parametrize(("what", "ends"), [("close", "superseded closed"), ("suspend", "interrupted suspended")])
def test_a_job_that_is_held_makes_way_for_what_came_while_it_was_at_work(
    api: Served, server: FakeServer, what: str, ends: str, again: str
) -> None:
    later: list[int] = []
    server.install_ends = [InstallEnd.FAILED]
    api.world.fault("install", hook=lambda _: later.append(ask(api, what)))
    reinstall = ask(api, "reinstall", {"confirm": "srv1.example.net"})
    run_until(api, lambda: bool(api.ports.database.value("SELECT count(*) FROM attempt WHERE state = 'held'")))
    waits = api.get(f"/v1/jobs/{later[0]}").json["waits_for"]
    if again == "asked again":
        assert ask(api, what) == later[0]
    else:
        api.ports.database.rows(SWEEP_IS_DUE)
    api.run(later[0], "succeeded")

    assert (waits, f"{state(api, reinstall)} {wanted(api)[0]}") == ("job", ends)


def test_a_job_that_makes_way_brings_no_reason_back_that_was_lifted_meanwhile(api: Served, server: FakeServer) -> None:
    server.install_ends = [InstallEnd.FAILED]
    suspends: list[int] = []

    def press(_: Call) -> None:
        suspends.extend(ask(api, "suspend", {"reason": reason}) for reason in ("billing", "staff"))
        ask(api, "resume", {"reason": "billing"})

    api.world.fault("install", hook=press)
    ask(api, "reinstall", {"confirm": "srv1.example.net"})
    run_until(api, lambda: bool(api.ports.database.value("SELECT count(*) FROM attempt WHERE state = 'held'")))
    api.ports.database.rows(SWEEP_IS_DUE)
    api.run(suspends[0], "succeeded")

    assert len(set(suspends)) == 1
    assert wanted(api) == ("suspended", "suspended", ["staff"])


@pytest.mark.parametrize("again", ["asked again", "by itself"])
@pytest.mark.parametrize(
    ("pair", "ends"),
    [
        ("suspend close", "closed of billing"),
        ("resume close", "closed of nobody"),
        ("suspend suspend", "suspended of abuse"),
    ],
)
def test_an_undo_that_is_held_makes_way_for_what_came_behind_it(
    api: Served, server: FakeServer, pair: str, ends: str, again: str
) -> None:
    first, what = pair.split()
    if first == "resume":
        api.run(ask(api, "suspend"), "succeeded")
    undone, later = ask(api, first), list[int]()
    body = {"reason": "abuse"} if what == "suspend" else {}

    def press(_: Call) -> None:
        give(api, undone, "cancel")
        later.append(ask(api, what, body))

    api.world.fault("set_link", after=True, hook=press)
    api.world.fault("set_link", Fatal, skip=1, times=1)
    run_until(api, lambda: bool(api.ports.database.value("SELECT count(*) FROM attempt WHERE state = 'held'")))
    waits = api.get(f"/v1/jobs/{later[0]}").json["waits_for"]
    half = state(api, undone)
    if again == "asked again":
        assert ask(api, what, body) == later[0]
    else:
        api.ports.database.rows(SWEEP_IS_DUE)
    api.run(later[0], "succeeded")

    assert (waits, half, state(api, undone)) == ("job", "compensating", "superseded")
    is_, desired, reasons = wanted(api)
    assert (is_, f"{desired} of {', '.join(reasons) or 'nobody'}") == (ends.partition(" ")[0], ends)
    assert ports(server) == [False, False]


def test_a_close_drops_the_addresses_of_a_job_whose_undo_is_held(api: Served, server: FakeServer) -> None:
    more, closes = ask(api, "addresses", {"count": 1}), list[int]()

    def press(_: Call) -> None:
        give(api, more, "cancel")
        closes.append(ask(api, "close"))

    api.world.fault("add_address", after=True, hook=press)
    api.world.fault("delete_address", Fatal, times=1)
    run_until(api, lambda: bool(api.ports.database.value("SELECT count(*) FROM attempt WHERE state = 'held'")))
    half = (state(api, more), len(server.addresses))
    api.ports.database.rows(SWEEP_IS_DUE)
    api.run(closes[0], "succeeded")

    assert (half, state(api, more)) == (("compensating", 2), "superseded")
    assert (wanted(api)[0], len(server.addresses), server.owner) == ("closed", 1, None)


def test_a_suspension_of_an_order_that_failed_is_not_that_of_the_next(api: Served) -> None:
    order = api.order("ord-2", hostname="srv2.example.net")
    first = api.post("/v1/services", order, who="billing").json["job"]["id"]
    api.run(first, "stock")
    suspend = api.post("/v1/services/ord-2/suspend", {}, who="billing").json["job"]["id"]
    give(api, first, "cancel")
    api.run(suspend, "superseded")
    failed = api.get("/v1/services/ord-2", who="billing").json
    api.world.add_server("102")
    api.run(api.post("/v1/services", order, who="billing").json["job"]["id"], "succeeded")
    found = api.get("/v1/services/ord-2", who="billing").json

    assert (failed["state"], failed["desired"], failed["suspended_by"]) == ("failed", "active", [])
    assert (found["state"], found["desired"], found["suspended_by"]) == ("active", "active", [])


# --- what a suspension interrupted --------------------------------------------------------------------------------


def interrupted(api: Served, server: FakeServer) -> tuple[int, int]:
    """Give a reinstall that a suspend for abuse interrupted in its install, and the suspend, queued."""
    reinstall = at_work(api, server)
    suspend = ask(api, "suspend", {"reason": "abuse"})
    run_until(api, lambda: state(api, reinstall) == "interrupted")
    return reinstall, suspend


def test_an_interrupted_job_whose_undo_would_meet_the_suspend_is_refused_until_that_has_ended(
    api: Served, server: FakeServer
) -> None:
    answers: list[Any] = []
    reinstall = at_work(api, server)
    api.world.fault("set_link", hook=lambda _: answers.append(give(api, reinstall, "cancel")))
    suspend = ask(api, "suspend", {"reason": "abuse"})
    api.run(suspend, "succeeded")
    retried = give(api, reinstall, "retry")
    says = beforehand(api, reinstall, "cancel")
    given = give(api, reinstall, "cancel")
    api.run(reinstall, "cancelled")

    assert [answer.status for answer in answers] == [409]
    assert answers[0].detail == (
        f"job {reinstall}: cancel_install would have to undo what it did, "
        f"and job {suspend} (suspend) is at work there; cancel it after that"
    )
    assert (retried.status, given.status) == (409, 200)
    assert "it goes on after the resume" in retried.detail
    assert says.startswith("undoes 1 steps (cancel_install), then ends the job; an install had begun")
    assert not server.installing
    assert wanted(api) == ("suspended", "suspended", ["abuse"])


def test_an_interrupted_job_that_left_nothing_behind_ends_at_once_whatever_is_at_work(
    api: Served, server: FakeServer
) -> None:
    answers: list[Any] = []
    power = ask(api, "power", {"state": "off"})
    api.world.fault("set_power", hook=lambda _: answers.append(ask(api, "suspend", {"reason": "abuse"})))
    run_until(api, lambda: state(api, power) == "interrupted")
    api.world.fault("set_link", hook=lambda _: answers.append(give(api, power, "cancel").status))
    api.run(answers[0], "succeeded")
    resume = api.run(ask(api, "resume", {"reason": "abuse"}), "succeeded")

    assert answers[1:] == [200]
    assert state(api, power) == "cancelled"
    assert resume["state"] == "succeeded"
    assert ports(server) == [True, True]


@pytest.mark.parametrize("how", ["cancelled", "superseded"])
def test_a_password_of_a_job_that_never_ran_does_not_stay_with_us(api: Served, how: str) -> None:
    job = ask(api, "password", {"password": "correct-horse-battery"})
    if how == "cancelled":
        give(api, job, "cancel")
        api.ports.database.rows("UPDATE secret SET expires_at = expires_at - interval '25 hours'")
    else:
        api.run(ask(api, "close"), "succeeded")
    before = api.ports.database.value("SELECT count(*) FROM secret")
    api.ports.reconciler.sweep()

    assert state(api, job) == how
    assert api.ports.database.value("SELECT secret_id FROM job WHERE id = %(job)s", job=job) is None
    assert api.ports.database.value("SELECT count(*) FROM secret") == before - 1
