"""Colocation: people open and close it, all else is done as on a server of ours; judged by the fake data centre."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from provisioner.domain.life import Wish
from provisioner.domain.matters import Department
from provisioner.domain.server import ServerRef
from provisioner.domain.states import JobKind
from provisioner.drivers.fake import FakeServer
from provisioner.errors import IllegalMove, Invalid, NotFound, Unreachable
from provisioner.ports import Asking, Placed
from provisioner.usecases import operate
from provisioner.usecases.answer import answer, link_token, of_link
from tests.site import Site


@pytest.fixture
def site(database_url: str) -> Iterator[Site]:
    made = Site(database_url)
    made.connect()
    made.tickets.save_department(Department("hands", "hands@example.net", language="ru"))
    made.package("rack", kind="colocation", server_type="", os_allowed="[]", ipv4=0)
    made.database.rows("UPDATE package SET department_id = (SELECT id FROM department WHERE name = 'hands')")
    yield made
    made.database.close()


def order(site: Site, ref: str = "ord-1", **changes: Any) -> Placed:
    return site.order(ref, **{"package": "rack", "os": "", "equipment": "1U, two power supplies", **changes})


def asked(site: Site, job: int) -> Asking:
    """Let the job come to its question."""

    def there() -> bool:
        try:
            return site.questions.of_job(job).open and not site.waker.messages
        except NotFound:
            return False

    site.run(there)
    return site.questions.of_job(job)


def mounted(site: Site, asking: Asking, ref: str = "501") -> FakeServer:
    """Do what the technician does: the machine is a server there, and the customer's."""
    made = site.world.add_server(ref)
    made.owner = asking.customer
    return made


def say(site: Site, asking: Asking, *, server: str = "", done: bool = False, by: str = "cli anna") -> str:
    return answer(
        asking,
        server=server,
        done=done,
        by=by,
        questions=site.questions,
        drivers=site.drivers,
        waker=site.waker,
    )


def opened(site: Site, ref: str = "ord-1", server: str = "501") -> FakeServer:
    job = order(site, ref).job_id
    asking = asked(site, job)
    made = mounted(site, asking, server)
    say(site, asking, server=server)
    site.run(site.ended(job))
    assert site.job(job)["state"] == "succeeded", site.trail()
    return made


def service(site: Site, ref: str = "ord-1") -> Any:  # noqa: ANN401 - a row
    return site.database.rows("SELECT * FROM service WHERE external_ref = %(ref)s", ref=ref)[0]


def ask(site: Site, kind: JobKind, **params: Any) -> int:
    wished, due = site.life.wish("panel", "ord-1", Wish(kind, params), by="cli anna", policies=site.policies)
    site.waker.wake(due)
    return wished.job_id


def done(site: Site, job: int) -> None:
    site.run(site.ended(job))
    assert site.job(job)["state"] == "succeeded", site.trail()


def test_a_person_mounts_it_says_which_server_it_is_and_the_service_is_active(site: Site) -> None:
    server = opened(site)
    found = service(site)

    assert (found["state"], found["kind"], found["facts"]["server"]) == ("active", "colocation", "501")
    assert found["root_secret"] is None
    assert site.database.rows("SELECT server_ref, state FROM claim") == [{"server_ref": "501", "state": "handed"}]
    assert [call.method for call in site.world.calls(mutating=True)] == ["create_user"]
    assert server.installs == 0


def test_the_one_who_is_asked_reads_all_that_is_needed(site: Site) -> None:
    asking = asked(site, order(site).job_id)
    site.tickets.project(100)
    text = site.database.value("SELECT text FROM delivery")

    assert (asking.department, asking.language) == ("hands", "ru")
    assert site.database.value("SELECT d.name FROM ticket t JOIN department d ON d.id = t.department_id") == "hands"
    for word in (
        "ord-1.example.net",
        "customer-ord-1",
        "1U, two power supplies",
        "dc1",
        str(asking.customer),
        "[link]",
    ):
        assert word in text


@pytest.mark.parametrize(
    ("server", "owner", "says"),
    [
        ("", None, "which server is it"),
        ("999", None, "there is no server 999 in dc1"),
        ("501", None, "server 501 belongs to nobody in dc1; give it to the customer's user"),
        ("501", "somebody", "server 501 belongs to user"),
    ],
)
def test_a_wrong_server_is_refused_at_once_and_the_job_goes_on_waiting(
    site: Site, server: str, owner: str | None, says: str
) -> None:
    job = order(site).job_id
    asking = asked(site, job)
    made = site.world.add_server("501")
    made.owner = site.world.add_user(owner).ref if owner else None

    with pytest.raises(Invalid, match=says):
        say(site, asking, server=server)
    assert site.questions.of_job(job).open
    assert site.database.rows("SELECT server_ref, state FROM claim") == [{"server_ref": "", "state": "held"}]


def test_a_server_of_another_service_of_the_same_customer_is_refused(site: Site) -> None:
    opened(site, "ord-1")
    job = order(site, "ord-2", customer_ref="customer-ord-1", login="userord-1").job_id
    asking = asked(site, job)

    with pytest.raises(Invalid, match="server 501 is bound to another service already"):
        say(site, asking, server="501")
    assert site.questions.of_job(job).open


def test_a_place_that_is_away_takes_no_answer(site: Site) -> None:
    asking = asked(site, order(site).job_id)
    mounted(site, asking)
    site.world.fault("read", Unreachable)

    with pytest.raises(Unreachable):
        say(site, asking, server="501")
    assert site.questions.of_job(asking.job_id).open


def test_an_answer_that_is_not_true_any_more_is_asked_for_again_with_the_reason(site: Site) -> None:
    job = order(site).job_id
    asking = asked(site, job)
    server = mounted(site, asking)
    say(site, asking, server="501")
    server.owner = None
    again = asked(site, job)

    assert again.says.startswith("server 501 belongs to nobody")
    assert again.server is None
    server.owner = asking.customer
    say(site, again, server="501")
    done(site, job)


def test_who_answers_twice_is_told_who_was_first(site: Site) -> None:
    asking = asked(site, order(site).job_id)
    mounted(site, asking)
    say(site, asking, server="501", by="token boris")

    with pytest.raises(IllegalMove, match="answered before, by token boris"):
        say(site, asking, server="501")
    with pytest.raises(IllegalMove, match="answered before, by token boris"):
        say(site, site.questions.of_job(asking.job_id), server="501")


def test_an_answer_after_a_cancel_is_refused_and_the_ticket_is_withdrawn(site: Site) -> None:
    job = order(site).job_id
    asking = asked(site, job)
    mounted(site, asking)
    site.tickets.project(100)
    operate.cancel(job, operate.Operator("cli anna", site.services, site.waker, site.policies), reason="not paid")
    site.run(site.ended(job))
    site.tickets.settle()

    assert (site.job(job)["state"], service(site)["state"]) == ("cancelled", "failed")
    assert site.database.rows("SELECT state FROM ticket") == [{"state": "closed"}]
    with pytest.raises(IllegalMove, match="nobody waits"):
        say(site, site.questions.of_job(job), server="501")
    assert site.database.rows("SELECT state FROM claim") == [{"state": "ended"}]


def test_nobody_answers_so_the_administrator_in_charge_is_told_and_the_job_waits_on(site: Site) -> None:
    site.tickets.save_department(Department("default", "oncall@example.net"))
    site.policies["ask_placed"] = replace(site.policies["ask_placed"], deadline=timedelta(seconds=0.05))
    job = order(site).job_id
    site.run(lambda: bool(site.database.value("SELECT count(*) FROM question WHERE overdue")))
    site.tickets.project(100)
    told = site.database.rows(
        "SELECT d.name, split_part(t.matter, ':', 1) AS matter FROM ticket t "
        "JOIN department d ON d.id = t.department_id ORDER BY t.id"
    )

    assert [(row["name"], row["matter"]) for row in told] == [("hands", "place"), ("default", "overdue")]
    asking = site.questions.of_job(job)
    mounted(site, asking)
    say(site, asking, server="501")
    done(site, job)
    site.tickets.settle()
    assert {row["state"] for row in site.database.rows("SELECT state FROM ticket")} == {"closed"}


def test_suspend_and_resume_are_those_of_a_server_of_ours(site: Site) -> None:
    server = opened(site)
    done(site, ask(site, JobKind.SUSPEND, reason="billing"))
    off = [link.on for link in server.links if link.kind.value == "switch"]
    done(site, ask(site, JobKind.RESUME, reason="billing"))
    on = [link.on for link in server.links if link.kind.value == "switch"]

    assert (off, on) == ([False, False], [True, True])


def test_a_close_waits_until_the_dcim_gives_it_to_the_customer_no_more(site: Site) -> None:
    server = opened(site)
    job = ask(site, JobKind.CLOSE)
    asking = asked(site, job)
    with pytest.raises(Invalid, match="still gives server 501 to the customer"):
        say(site, asking, done=True)
    with pytest.raises(Invalid, match="say that it is done"):
        say(site, asking)
    server.owner = None
    say(site, asking, done=True)
    done(site, job)

    assert service(site)["state"] == "closed"
    assert site.database.rows("SELECT state FROM claim") == [{"state": "ended"}]
    assert [call.method for call in site.world.calls(mutating=True)] == ["create_user"]


def test_a_close_is_over_too_when_the_server_is_not_there_any_more(site: Site) -> None:
    opened(site)
    job = ask(site, JobKind.CLOSE)
    asking = asked(site, job)
    del site.world.servers[ServerRef("501")]
    say(site, asking, done=True)
    done(site, job)

    assert service(site)["state"] == "closed"


def test_a_close_ends_an_open_that_waits_for_a_person(site: Site) -> None:
    job = order(site).job_id
    asked(site, job)
    close = ask(site, JobKind.CLOSE)
    site.run(site.ended(job, close))

    assert (site.job(job)["state"], site.job(close)["state"]) == ("cancelled", "succeeded")
    assert service(site)["state"] == "closed"


@pytest.mark.parametrize(
    ("changes", "field"),
    [({"os": "ISPsystem__Debian-12-x86_64"}, "os"), ({"equipment": "x" * 1001}, "equipment")],
)
def test_what_does_not_fit_is_refused(site: Site, changes: dict[str, str], field: str) -> None:
    with pytest.raises(Invalid) as refused:
        order(site, **changes)
    assert refused.value.field == field


def test_a_link_opens_its_own_question_and_nothing_else_does(site: Site) -> None:
    asking = asked(site, order(site).job_id)
    token = link_token(asking.question, vault=site.vault)

    assert of_link(token, questions=site.questions, vault=site.vault).question == asking.question
    assert token != link_token(asking.question, vault=site.vault)
    for wrong in (token[:-2], "x", "ё", site.vault.seal("secret")[0].decode(), site.vault.seal("answer x")[0].decode()):
        with pytest.raises(NotFound):
            of_link(wrong, questions=site.questions, vault=site.vault)


def test_on_call_can_hold_it_and_let_it_go_on(site: Site) -> None:
    job = order(site).job_id
    asking = asked(site, job)
    who = operate.Operator("cli anna", site.services, site.waker, site.policies)
    operate.hold(job, who, reason="the customer is on the phone")
    site.run(lambda: bool(site.database.value("SELECT count(*) FROM attempt WHERE state = 'held'")))
    mounted(site, asking)
    say(site, asking, server="501")
    operate.retry(job, who)
    done(site, job)
