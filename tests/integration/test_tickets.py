"""One trouble, one message to a person: follow-ups in its thread, an all-clear at its end; seen by a mail server."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from email.message import EmailMessage
from typing import Any

import pytest

from provisioner.desks.email import EmailDesk, MailServer
from provisioner.desks.registry import DeskRegistry
from provisioner.domain.events import EventKind
from provisioner.domain.life import Wish
from provisioner.domain.matters import Department
from provisioner.domain.server import ServerRef
from provisioner.domain.spans import Spans
from provisioner.domain.states import JobKind
from provisioner.domain.wording.texts import SHIPPED
from provisioner.drivers.fake import InstallEnd
from provisioner.errors import BadValue, Invalid, PoolEmpty, RemoteError, Unreachable
from provisioner.ports import Delivery, Message
from provisioner.store import connections
from provisioner.store import tickets as store
from provisioner.store.database import Hot, Session
from provisioner.store.tickets import TicketsStore
from provisioner.usecases import operate, servers, tell
from tests.fakes import mail as fake
from tests.site import OS, SHORT, Site
from tests.statements import counted

ONCALL = "oncall@example.net"
#: what is told again is told at once, so that a test need not wait
AT_ONCE = replace(SHORT, tell_again=0.001, tell_gather=0.001)
PATIENT = replace(SHORT, tell_again=0.001, tell_gather=3000.0)


class Post:
    """A site, its mail server, and a worker that sends what is due."""

    def __init__(self, url: str, spans: Spans) -> None:
        self.site = Site(url, spans=spans, pool_size=4)
        self.server = fake.MailServer()
        self.senders = 0
        self.desk: Any = None

    def desks(self) -> DeskRegistry:
        """Reach the mail server at the port that it has by now."""
        if self.desk is None:
            given = MailServer(self.server.url, "provisioner@example.net", total_seconds=5)
            return DeskRegistry({"email": EmailDesk(given)})
        return DeskRegistry({"email": self.desk})

    def deliver(self, owner: str = "") -> str:
        self.senders += 1
        return tell.deliver(
            owner=owner or f"test:{self.senders}",
            tickets=self.site.tickets,
            desks=self.desks(),
            waker=self.site.waker,
            link=lambda question: f"https://answers.example.net/answer/{question}",
            interrupted=(KeyboardInterrupt,),
        )

    def tell(self) -> None:
        """Let a tick project, then send all that is due."""
        tell.project(tickets=self.site.tickets, waker=self.site.waker, sweep=True)
        self.flush()

    def flush(self) -> None:
        """Send what is due, or is within the second."""
        soon = "SELECT count(*) FROM delivery WHERE sent_at IS NULL AND due_at < clock_timestamp() + interval '1 s'"
        while self.site.database.value(soon):
            self.deliver()

    @property
    def mails(self) -> list[EmailMessage]:
        return self.server.mails

    @property
    def texts(self) -> list[str]:
        return [fake.text(mail) for mail in self.mails]

    def tickets(self) -> list[tuple[str, str, int]]:
        found = self.site.database.rows("SELECT matter, state, count FROM ticket ORDER BY id")
        return [(row["matter"], row["state"], row["count"]) for row in found]

    def change(self, change: Callable[[Session], object]) -> None:
        with self.site.database.transaction() as session:
            change(session)

    def restrict(self, step: str = "install_os", reason: str = "the install server is down") -> None:
        self.change(lambda session: connections.restrict(session, 1, step, reason, self.site.spans))

    def heal(self, step: str = "install_os") -> None:
        self.change(lambda session: connections.heal(session, 1, [step]))

    def in_charge(self, name: str = "default", address: str = ONCALL) -> None:
        tell.save_department(Department(name, address), tickets=self.site.tickets, desks=self.desks())


def made(url: str, spans: Spans) -> Iterator[Post]:
    post = Post(url, spans)
    post.site.connect(max_in_flight=60)
    post.site.package(attempts_max=10)
    with post.server.up():
        post.in_charge()
        yield post
    post.site.database.close()


@pytest.fixture
def post(database_url: str) -> Iterator[Post]:
    yield from made(database_url, AT_ONCE)


@pytest.fixture
def patient(database_url: str) -> Iterator[Post]:
    yield from made(database_url, PATIENT)


def ids(mails: list[EmailMessage]) -> list[str]:
    return [str(mail["Message-ID"]) for mail in mails]


# --- one matter, one message ----------------------------------------------------------------------------------------


def test_a_restricted_place_is_one_message_and_one_all_clear_in_its_thread(post: Post) -> None:
    post.restrict()
    post.tell()
    post.tell()
    opened = len(post.mails)
    post.heal()
    post.tell()
    post.tell()

    first, last = post.mails
    assert opened == 1
    assert first["To"] == ONCALL
    assert str(first["Subject"]).endswith("dc1: install_os fails for the place's fault, orders wait")
    assert "What: install_os fails for the place's fault: the install server is down" in post.texts[0]
    assert "provisioner connection show dc1" in post.texts[0]
    assert last["References"] == first["Message-ID"]
    assert "no longer held back" in post.texts[1]
    assert post.tickets() == [("restricted:dc1:install_os", "closed", 1)]


def test_a_paused_place_is_one_message_and_one_all_clear(post: Post) -> None:
    post.change(lambda session: connections.pause(session, 1, "away", "the place is away: connection refused"))
    post.tell()
    post.change(lambda session: connections.resume(session, 1))
    post.tell()

    assert [str(mail["Subject"]) for mail in post.mails] == [
        "[1] dc1: nothing is called there, orders wait",
        "Re: [1] dc1: nothing is called there, orders wait",
    ]
    assert post.tickets() == [("paused:dc1", "closed", 1)]


def hold(post: Post, count: int, *, reason_class: str = "server") -> list[int]:
    """Have *count* jobs held at the install."""
    post.site.database.rows("UPDATE package SET on_failure = 'hold'")
    for n in range(101, 101 + count):
        server = post.site.world.add_server(str(n))
        server.install_ends = [InstallEnd.FAILED] * 10
    jobs = [post.site.order(f"ord-{n}").job_id for n in range(count)]
    post.site.run(
        lambda: post.site.database.value("SELECT count(*) FROM attempt WHERE state = 'held'") == count, seconds=60
    )
    return jobs


def test_forty_jobs_held_for_one_cause_are_one_matter_with_a_count(patient: Post) -> None:
    site = patient.site
    site.world.add_server("100")
    job = site.order("ord-x").job_id
    site.run(site.ended(job))
    for _ in range(40):
        event(site, job, EventKind.HELD, "install_os: the panel reports a failure", step="install_os", reason="server")
    patient.tell()
    assert patient.tickets() == [("held:dc1:install_os:server", "closed", 40)]  # no attempt is held: over at once
    assert len(patient.mails) == 2
    assert "So far: 40 times" in patient.texts[0]


def event(site: Site, job: int, kind: str, text: str, *, step: str, reason: str) -> None:
    """Write an event as the engine does."""
    site.database.rows(
        "WITH n AS (UPDATE service s SET next_seq = next_seq + 1 FROM job j "
        "WHERE j.id = %(job)s AND s.id = j.service_id "
        "RETURNING s.id, s.next_seq - 1 AS seq) "
        "INSERT INTO event (service_id, seq, job_id, attempt_n, kind, text, data) "
        "SELECT n.id, n.seq, %(job)s, 1, %(kind)s, %(text)s, "
        "jsonb_build_object('step', %(step)s::text, 'class', %(reason)s::text) FROM n",
        job=job, kind=kind, text=text, step=step, reason=reason,
    )  # fmt: skip


def test_jobs_that_are_held_are_told_and_it_ends_when_none_is(post: Post) -> None:
    site = post.site
    first, second = hold(post, 2)
    post.tell()
    told = post.tickets()
    for job in (first, second):
        cancel(site, job)
        site.run(site.ended(job))
        post.flush()
    post.tell()

    assert told == [("held:dc1:install_os:server", "open", 2)]
    assert post.tickets()[0] == ("held:dc1:install_os:server", "closed", 2)
    assert f"provisioner job show {second}" in "".join(post.texts)
    assert "no job stands at install_os any more" in "".join(post.texts)


def cancel(site: Site, job: int) -> None:
    operate.cancel(job, operate.Operator("cli anna", site.services, site.waker, site.policies))


def after_one_failed(site: Site, *, blameless: bool = False, **changes: str) -> int:
    """Let an order fail on server 101, which the place may be to blame for, and go through on the next."""
    ill = site.world.add_server("101")
    ill.install_ends = [InstallEnd.FAILED]
    job = site.order(**changes).job_id
    site.run(lambda: site.database.value("SELECT count(*) FROM quarantine") == 1)
    if blameless:
        site.database.rows("UPDATE quarantine SET site = true, retested_at = clock_timestamp()")
    site.world.add_server("102")
    site.run(site.ended(job))
    assert site.job(job)["state"] == "succeeded"
    return job


def test_a_server_that_failed_is_told_when_its_order_is_through_and_again_when_it_is_back(post: Post) -> None:
    site = post.site
    after_one_failed(site)
    post.tell()
    told = post.tickets()
    site.run(site.ended(release(site)))
    post.tell()

    assert told == [("quarantined:dc1:install_os", "open", 1)]
    assert str(post.mails[0]["Subject"]) == "[1] dc1: install_os failed on server 101: out of sale"
    assert "What: 101: the DCIM says that the install failed; job succeeded" in post.texts[0]
    assert "provisioner server release dc1 101" in post.texts[0]
    rack = site.world.servers[ServerRef("101")].rack
    assert f"Where: connection dc1, server 101 (rack {rack}), order ord-1 of panel, job 1" in post.texts[0]
    assert post.tickets() == [("quarantined:dc1:install_os", "closed", 1)]
    assert len(post.mails) == 2


def test_a_server_that_the_place_is_to_blame_for_is_no_matter_of_its_own(post: Post) -> None:
    after_one_failed(post.site, blameless=True)
    post.tell()

    assert post.mails == []


def release(site: Site) -> int:
    return servers.release(
        "dc1", "101", anyway=False, by="cli anna", store=site.quarantine, waker=site.waker, policies=site.policies
    )


@pytest.mark.long
def test_a_dead_install_server_is_exactly_one_message_and_one_all_clear(post: Post) -> None:
    site = post.site
    fleet = [site.world.add_server(str(n)) for n in range(101, 131)]
    for server in fleet:
        server.install_ends = [InstallEnd.FAILED] * 100
    jobs = [site.order(f"ord-{n}").job_id for n in range(30)]
    site.run(lambda: waiting(site) == 30, seconds=120)
    post.tell()
    during = list(post.tickets())
    for server in fleet:
        server.install_ends.clear()
    site.run(site.ended(*jobs), seconds=120)
    post.tell()

    assert [(matter, state) for matter, state, _ in during] == [("restricted:dc1:install_os", "open")]
    assert [(matter, state) for matter, state, _ in post.tickets()] == [("restricted:dc1:install_os", "closed")]
    assert len(post.mails) == 2


def waiting(site: Site) -> int:
    found: int = site.database.value("SELECT count(*) FROM job WHERE state = 'queued' AND waits_for = 'site'")
    return found


def test_an_order_that_failed_for_good_is_told_and_one_that_succeeds_ends_it(post: Post) -> None:
    site = post.site
    site.database.rows("UPDATE package SET attempts_max = 1, stock_wait_seconds = 0.01")
    job = site.order("ord-1").job_id

    def over() -> bool:
        site.reconciler.sweep()
        return bool(site.job(job)["state"] == "failed")

    site.run(over)
    post.tell()
    told = post.tickets()
    site.database.rows("UPDATE package SET stock_wait_seconds = 3600")
    site.world.add_server("101")
    site.run(site.ended(site.order("ord-2").job_id))
    post.tell()

    assert told == [("failed::open::", "open", 1)]
    assert "no server came free" in post.texts[0]
    assert post.tickets() == [("failed::open::", "closed", 1)]


def test_what_the_order_itself_got_wrong_is_not_told(post: Post) -> None:
    site = post.site
    site.world.add_server("101")
    site.world.fault("create_user", BadValue, times=None)
    job = site.order().job_id
    site.run(site.ended(job))
    post.tell()

    assert site.job(job)["state"] == "failed"
    assert post.mails == []


def test_two_connections_of_one_department_hear_once_that_the_database_went_back(post: Post) -> None:
    post.site.connect("dc2")
    halt = (
        "WITH c AS (UPDATE connection SET next_seq = next_seq + 1 RETURNING id, next_seq - 1 AS seq), "
        "i AS (UPDATE installation SET halted = 'it went back' RETURNING id) "
        "INSERT INTO event (connection_id, seq, kind, text) "
        "SELECT c.id, c.seq, 'installation_halted', 'it went back' FROM c, i"
    )
    post.site.database.rows(halt)
    post.tell()
    post.site.database.rows("UPDATE installation SET halted = ''")
    post.tell()

    assert post.tickets() == [("halted:default", "closed", 2)]
    assert "provisioner audit --after-restore" in post.texts[0]
    assert len(post.mails) == 2


def test_what_an_audit_finds_is_told_until_nothing_of_it_is_left(post: Post) -> None:
    post.site.database.rows(
        "INSERT INTO finding (connection_id, kind, server_ref, key, evidence) VALUES (1, 'unclaimed', '7', '7', 'x')"
    )
    data = {"count": 1, "new": [{"kind": "unclaimed", "server": "7", "evidence": "x"}]}
    post.change(lambda s: connections.tell(s, 1, EventKind.AUDIT_FOUND, "the audit found: unclaimed, server 7", **data))
    post.tell()
    open_ = post.tickets()
    post.site.database.rows("UPDATE finding SET gone_at = clock_timestamp()")
    post.tell()

    assert open_ == [("audit:dc1", "open", 1)]
    assert post.tickets() == [("audit:dc1", "closed", 1)]
    assert "provisioner audit --kept --connection dc1" in post.texts[0]


def handed(site: Site) -> None:
    site.world.add_server("101")
    job = site.order().job_id
    site.run(site.ended(job))


def wish(site: Site, kind: JobKind, ref: str = "ord-1", *, by: str = "cli anna", **params: object) -> int:
    asked, due = site.life.wish("panel", ref, Wish(kind, params), by=by, policies=site.policies)
    site.waker.wake(due)
    return asked.job_id


def test_a_close_that_stands_half_way_is_told_until_the_server_is_clean(post: Post) -> None:
    site = post.site
    handed(site)
    site.world.fault("set_domain", PoolEmpty, times=None)
    job = wish(site, JobKind.CLOSE)
    site.run(lambda: bool(site.database.value("SELECT count(*) FROM event WHERE kind = 'release_incomplete'")))
    post.tell()
    told = post.tickets()
    site.world.heal()
    site.database.rows("UPDATE attempt SET resume_at = clock_timestamp() WHERE state = 'waiting'")
    site.run(site.ended(job))
    post.tell()

    assert told == [("release:dc1:1", "open", 1)]
    assert str(post.mails[0]["Subject"]) == "[1] dc1: server 101 could not be cleaned up"
    assert post.tickets() == [("release:dc1:1", "closed", 1)]


def test_a_token_that_asks_for_too_much_is_told_once_until_nothing_is_held(post: Post) -> None:
    site = post.site
    handed(site)
    site.database.rows(
        "INSERT INTO service (panel, external_ref, package_id, package, state, customer_ref, login, hostname, os, "
        "fingerprint, handed_over_at) SELECT 'panel', 'svc-' || n, p.id, s.package, 'active', 'c', 'l', 'h', 'o', "
        "'{}', clock_timestamp() FROM generate_series(1, 25) n, package p, service s LIMIT 25"
    )
    for n in range(1, 26):
        wish(site, JobKind.REINSTALL, f"svc-{n}", by="token shop", os=OS)
    post.tell()
    told = post.tickets()
    site.life.drop("token shop")
    post.tell()

    assert told == [("guard:token shop", "open", 1)]
    assert "provisioner token drop shop" in post.texts[0]
    assert post.tickets() == [("guard:token shop", "closed", 1)]


def test_a_matter_that_stays_open_is_said_again_with_all_that_it_said(post: Post) -> None:
    post.restrict()
    post.tell()
    for _ in range(2):
        post.site.database.rows("UPDATE delivery SET sent_at = sent_at - interval '25 h'")
        post.tell()
        post.tell()

    assert len(post.mails) == 3
    assert [text.startswith("Still so, since 20") for text in post.texts] == [False, True, True]
    assert all(text.count("Still so") <= 1 and text.count("What to do") == 1 for text in post.texts)
    assert post.mails[2]["References"] == post.mails[0]["Message-ID"]


def test_an_event_of_a_newer_release_waits_and_one_without_words_is_passed_over(
    post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    post.restrict()
    post.site.database.rows("ALTER TABLE event DISABLE TRIGGER event_for_people")
    post.site.database.rows(
        "WITH e AS (INSERT INTO event (connection_id, seq, kind, text) VALUES (1, 900, 'melted', 'x') RETURNING id) "
        "INSERT INTO outbox SELECT id FROM e"
    )
    monkeypatch.setattr("provisioner.domain.matters.subject", lambda *_: 1 / 0)
    post.tell()
    monkeypatch.undo()
    post.heal()
    post.restrict("ping")
    post.site.database.rows("INSERT INTO outbox SELECT max(id) FROM event")
    post.tell()

    assert [str(mail["Subject"]) for mail in post.mails] == ["[1] dc1: ping fails for the place's fault, orders wait"]
    assert post.site.database.value("SELECT count(*) FROM outbox") == 1


def test_a_wake_up_that_nobody_takes_is_not_sent_with_each_tick(post: Post) -> None:
    site = post.site
    site.tickets = TicketsStore(site.database, replace(AT_ONCE, wake_grace=3000.0), SHIPPED)
    post.restrict()
    for _ in range(5):
        tell.project(tickets=site.tickets, waker=site.waker, sweep=False)

    assert site.waker.deliveries == 2  # with the message, and once more: the first may be lost


# --- more of the same -----------------------------------------------------------------------------------------------


def test_more_of_the_same_is_gathered_into_one_follow_up(patient: Post) -> None:
    patient.restrict()
    patient.tell()
    for n in range(5):
        with patient.site.database.transaction() as session:
            connections.tell(session, 1, EventKind.CONNECTION_RESTRICTED, f"again {n}", step="install_os")
        patient.tell()
    gathered = patient.site.database.rows(
        "SELECT kind, text, due_at > clock_timestamp() AS later FROM delivery WHERE n > 1"
    )
    patient.site.database.rows("UPDATE delivery SET due_at = clock_timestamp()")
    patient.tell()

    assert [(row["kind"], row["later"]) for row in gathered] == [("comment", True)]
    assert len(patient.mails) == 2
    assert "What: again 4" in patient.texts[1]
    assert "So far: 6 times" in patient.texts[1]
    assert patient.mails[1]["References"] == patient.mails[0]["Message-ID"]


def test_a_place_that_comes_and_goes_is_one_message_and_one_all_clear(patient: Post) -> None:
    for _ in range(10):
        patient.restrict()
        patient.tell()
        patient.heal()
        patient.tell()

    assert len(patient.mails) == 2
    assert patient.tickets() == [("restricted:dc1:install_os", "closed", 10)]


def test_a_place_that_is_ill_again_and_stays_so_is_told_in_the_same_thread(post: Post) -> None:
    post.restrict()
    post.tell()
    post.heal()
    post.tell()
    post.restrict(reason="again")
    post.tell()

    assert [mail["References"] for mail in post.mails] == [
        None,
        post.mails[0]["Message-ID"],
        post.mails[0]["Message-ID"],
    ]
    assert "What: install_os fails for the place's fault: again" in post.texts[2]
    assert post.tickets() == [("restricted:dc1:install_os", "open", 2)]


def test_two_projections_at_once_make_one_ticket(post: Post) -> None:
    post.restrict()
    with post.site.database.transaction() as session:
        session.value("SELECT pg_try_advisory_xact_lock(hashtext('provisioner outbox'))")
        beside = post.site.tickets.project(100)

    assert beside == 0
    assert post.site.tickets.project(100) == 1
    assert len(post.tickets()) == 1


# --- who hears ------------------------------------------------------------------------------------------------------


def test_the_department_in_charge_hears_and_no_other(post: Post) -> None:
    post.in_charge("dc1-hands", "hands@example.net")
    post.site.database.rows("UPDATE connection SET in_charge = (SELECT id FROM department WHERE name = 'dc1-hands')")
    post.restrict()
    post.tell()

    assert [mail["To"] for mail in post.mails] == ["hands@example.net"]


def test_without_anybody_in_charge_the_timeline_alone_has_it(post: Post) -> None:
    post.site.database.rows("DELETE FROM department")
    post.restrict()
    post.tell()

    assert post.mails == []
    assert post.site.database.value("SELECT count(*) FROM outbox") == 0
    assert post.site.database.value("SELECT count(*) FROM event WHERE kind = 'connection_restricted'") == 1


@pytest.mark.parametrize(
    "address", ["oncall", "a@b@example.net", "a b@example.net", "a@example.net,b@example.net", "ж@example.net"]
)
def test_an_address_that_is_no_mailbox_is_refused(post: Post, address: str) -> None:
    with pytest.raises(Invalid, match="address"):
        post.in_charge("hands", address)

    assert post.site.database.value("SELECT count(*) FROM department") == 1


def test_a_language_without_texts_is_refused_by_name(post: Post) -> None:
    with pytest.raises(Invalid, match="no texts in 'tlh'; there are en"):
        tell.save_department(Department("x", ONCALL, language="tlh"), tickets=post.site.tickets, desks=post.desks())


# --- a mail server that is down -------------------------------------------------------------------------------------


class Broken:
    """A desk that raises."""

    def __init__(self, error: BaseException) -> None:
        self.error, self.calls = error, 0

    def open(self, _message: Message) -> str:
        self.calls += 1
        raise self.error


def test_a_message_waits_with_growing_distance_and_is_sent_once_when_the_server_is_back(database_url: str) -> None:
    post = Post(database_url, replace(SHORT, tell_again=60.0))
    post.site.connect()
    post.site.tickets.save_department(Department("default", ONCALL))
    post.desk = Broken(Unreachable("connection refused"))
    post.restrict()
    post.site.tickets.project(100)
    distances = []
    for _ in range(9):
        assert "put off: connection refused" in post.deliver()
        distances.append(
            round(post.site.database.value("SELECT extract(epoch FROM due_at - clock_timestamp()) FROM delivery"))
        )
        post.site.database.rows("UPDATE delivery SET due_at = clock_timestamp()")
    post.desk = None
    with post.server.up():
        post.tell()

    assert distances == [60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]
    assert len(post.mails) == 1
    assert post.site.database.rows("SELECT tries, error FROM delivery") == [{"tries": 10, "error": ""}]
    post.site.database.close()


def test_a_message_that_is_not_due_again_is_not_tried(database_url: str) -> None:
    post = Post(database_url, replace(SHORT, tell_again=60.0))
    post.site.connect()
    post.site.tickets.save_department(Department("default", ONCALL))
    post.desk = Broken(Unreachable("connection refused"))
    post.restrict()
    post.site.tickets.project(100)
    post.deliver()
    post.heal()
    post.site.tickets.settle()

    assert post.site.tickets.look() == (True, True)  # the all-clear is due by itself …
    assert post.deliver() == "nothing to send"  # … and waits for what stands before it
    assert post.desk.calls == 1
    post.site.database.close()


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ZeroDivisionError("planted-secret")])
def test_a_conversation_that_ends_unforeseen_is_tried_again(post: Post, error: BaseException) -> None:
    post.desk = Broken(error)
    post.restrict()
    post.site.tickets.project(100)
    said = post.deliver()
    post.desk = None
    post.flush()

    assert "put off" in said
    assert "planted" not in said
    assert len(post.mails) == 1


def test_a_sender_killed_between_send_and_mark_doubles_it_at_most_under_the_same_id(database_url: str) -> None:
    spans = replace(AT_ONCE, call=0.05, soft=0.1, hard=0.15, lease=0.2)
    post = Post(database_url, spans)
    post.site.connect()
    with post.server.up():
        post.in_charge()
        post.restrict()
        post.site.tickets.project(100)
        taken = post.site.tickets.take("test:killed")
        assert taken is not None
        post.desks().get("email").open(taken.message)  # here it is killed: nothing was recorded
        meanwhile = post.deliver()
        ends = time.monotonic() + 10
        while len(post.mails) < 2:
            assert time.monotonic() < ends
            post.tell()
        late = post.site.tickets.sent(taken, "<late@example.net>")  # it was only slow: its word comes too late
        post.tell()

    assert meanwhile == "nothing to send"
    assert len(set(ids(post.mails))) == 1
    assert len(post.mails) == 2
    assert not late
    assert post.site.database.value("SELECT desk_ref FROM ticket") == ids(post.mails)[0]
    post.site.database.close()


def test_an_answer_that_was_lost_doubles_it_under_the_same_id(post: Post) -> None:
    answers = iter([None, "250 taken"])
    post.server.answer = lambda _: next(answers)
    post.restrict()
    post.tell()
    ends = time.monotonic() + 10
    while len(post.mails) < 2:
        assert time.monotonic() < ends
        post.tell()

    assert len(set(ids(post.mails))) == 1
    assert post.site.database.value("SELECT count(*) FROM delivery WHERE sent_at IS NOT NULL") == 1


def test_one_sends_at_a_time(post: Post) -> None:
    post.site.connect("dc2")
    post.restrict()
    post.change(lambda session: connections.restrict(session, 2, "ping", "the switch is down", post.site.spans))
    post.site.tickets.project(100)
    taken = post.site.tickets.take("test:a")
    assert taken is not None

    assert post.site.tickets.take("test:b") is None
    assert post.site.tickets.look() == (False, False)  # nobody is woken for it meanwhile
    assert post.site.tickets.sent(taken, "<x@example.net>")
    assert isinstance(post.site.tickets.take("test:b"), Delivery)


def test_a_message_that_is_sent_just_as_its_ticket_is_followed_up_locks_nobody_out(post: Post) -> None:
    post.restrict()
    post.site.tickets.project(100)
    taken = post.site.tickets.take("test:a")
    assert taken is not None
    waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    with ThreadPoolExecutor(1) as pool:
        with post.site.database.transaction() as session:
            session.rows("SELECT FROM ticket FOR UPDATE")  # as a follow-up begins
            sent = pool.submit(post.site.tickets.sent, taken, "<x@example.net>")
            ends = time.monotonic() + 10
            while not post.site.database.value(waits):
                assert time.monotonic() < ends
            session.rows("SELECT FROM delivery FOR UPDATE")  # as it goes on
        sent.result(10)

    assert post.site.database.value("SELECT count(*) FROM delivery WHERE sent_at IS NOT NULL") == 1


def test_a_ticket_number_that_came_back_with_an_old_database_has_another_id(post: Post) -> None:
    post.restrict()
    post.tell()
    post.site.database.rows("TRUNCATE ticket, delivery RESTART IDENTITY")
    post.heal()
    post.restrict()
    post.tell()

    assert len(set(ids(post.mails))) == 2
    assert [str(mail["Subject"])[:3] for mail in post.mails] == ["[1]", "[1]"]


def test_saving_a_department_tries_at_once_what_waits_for_it(database_url: str) -> None:
    post = Post(database_url, replace(SHORT, tell_again=3000.0))
    post.site.connect()
    post.site.tickets.save_department(Department("default", "wrong@example.net"))
    post.server.recipient = lambda to: "250 yes" if to == ONCALL else "550 no such mailbox"
    with post.server.up():
        post.restrict()
        post.tell()
        error = post.site.database.value("SELECT error FROM delivery")
        post.in_charge()
        post.tell()

    assert "the mailbox is refused: 550 no such mailbox" in error
    assert [mail["To"] for mail in post.mails] == [ONCALL]
    post.site.database.close()


@pytest.mark.parametrize("down", [Unreachable("gone"), RemoteError("strange")])
def test_a_mail_server_that_is_down_delays_no_order(post: Post, down: RemoteError) -> None:
    site = post.site
    post.desk = Broken(down)

    after_one_failed(site)
    tell.project(tickets=site.tickets, waker=site.waker, sweep=False)
    post.deliver()

    assert post.desk.calls == 1
    assert site.database.value("SELECT count(*) FROM delivery WHERE sent_at IS NULL") == 1


# --- what stands in it ----------------------------------------------------------------------------------------------


def test_an_idle_tick_costs_one_statement(post: Post) -> None:
    with counted() as count:
        tell.project(tickets=post.site.tickets, waker=post.site.waker, sweep=False)

    assert len(count.statements) == 1


@pytest.mark.parametrize("name", ["LOOK", "TAKE", "OVER", "SEEN", "SILENT", "AGAIN", "SENT", "PUT_OFF", "LATEST"])
def test_no_statement_reads_what_is_over_and_sent(post: Post, name: str) -> None:
    run = post.site.database.rows
    run(
        "WITH t AS (INSERT INTO ticket (department_id, connection_id, matter, subject, state, closed_at) "
        "SELECT 1, 1, 'paused:dc1', 'x', 'closed', clock_timestamp() FROM generate_series(1, 5000) RETURNING id) "
        "INSERT INTO delivery (ticket_id, n, kind, text, sent_at) SELECT t.id, n, 'open', repeat('x', 300), now() "
        "FROM t, generate_series(1, 3) n"
    )
    post.restrict()
    post.site.tickets.project(100)
    run("ANALYZE ticket, delivery")

    values = {
        "turn": "deliver", "lease": 30.0, "remind": 86400.0, "matter": "x", "ref": "", "why": "", "id": 1, "tries": 1,
        "first": 60.0, "most": 3600.0, "ticket": 1, "tell_stuck": 6, "spread_servers": 5, "spread_window": 86400.0,
        "readable": True, "read": 60.0, "reads_most": 60,
    }  # fmt: skip
    statement = getattr(store, name)
    with post.site.database.once() as session:
        if isinstance(statement, Hot):
            session.rows(statement, **values)  # that connection knows it by its name from here on
            statement = statement.execute
        plan = "\n".join(next(iter(row.values())) for row in session.rows(f"EXPLAIN {statement}", **values))

    assert "Seq Scan on ticket" not in plan, plan
    assert "Seq Scan on delivery" not in plan, plan


def test_no_planted_secret_is_in_any_message(post: Post) -> None:
    site = post.site
    after_one_failed(site, panel_password="planted-panel-password")
    post.tell()

    secrets = [site.vault.open(bytes(row["ciphertext"])) for row in site.database.rows("SELECT ciphertext FROM secret")]
    said = "".join(post.texts) + "".join(str(mail) for mail in post.mails)
    assert post.mails
    assert "planted-panel-password" in secrets
    assert [secret for secret in secrets if len(secret) > 6 and secret in said] == []


def test_every_text_names_what_where_when_and_what_to_do(post: Post) -> None:
    post.restrict()
    post.tell()

    lines = post.texts[0].splitlines()
    labels = [line.split(":")[0] for line in lines if re.match(r"^\w[\w ]*:", line)]
    assert labels[1:] == ["What", "Where", "When", "What to do"]


def test_a_server_is_named_with_its_rack(post: Post) -> None:
    after_one_failed(post.site)
    post.tell()
    server, rack = post.site.database.rows(
        "SELECT q.server_ref, v.listed ->> 'rack' AS rack FROM quarantine q JOIN server_view v USING (server_ref)"
    )[0].values()

    assert rack
    assert f"server {server} (rack {rack})" in post.texts[0]


def test_a_server_of_an_unknown_rack_is_named_alone(post: Post) -> None:
    after_one_failed(post.site)
    post.site.database.rows("UPDATE server_view SET listed = listed - 'rack'")
    post.tell()

    assert re.search(r"^Where: connection dc1, server \w+, order", post.texts[0], re.MULTILINE)
