"""Real workers, real mail: messages go out, and a mail server that hangs holds up neither orders nor the healer."""

from __future__ import annotations

import json
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import pytest

from provisioner.domain.events import EventKind
from provisioner.domain.life import Wish
from provisioner.domain.matters import Department
from provisioner.domain.server import ServerRef
from provisioner.domain.states import JobKind
from provisioner.drivers.fake import serve_fake
from provisioner.store import connections
from tests.fakes import mail as fake
from tests.fakes.rt import FakeTracker, Queue
from tests.house import OVERRIDES, SHORT_PATIENCE, House

#: how long a conversation may hang: long against the ticks, that others' waits for it would be seen
HANGING = {"call": 6.0, "soft": 7.0, "hard": 8.0, "lease": 9.0}

pytestmark = [pytest.mark.long, pytest.mark.timeout(180)]


@contextmanager
def house(url: str, folder: Path, name: str, mail_url: str, **patience: str) -> Iterator[House]:
    """Have workers up that send their mail to *mail_url*."""
    made = House(url, folder, name)
    made.patience = {
        **SHORT_PATIENCE,
        **patience,
        "PROVISIONER_SMTP_URL": mail_url,
        "PROVISIONER_SMTP_FROM": "provisioner@example.net",
    }
    try:
        with serve_fake(made.world, made.address):
            try:
                made.start(flower=False)
                made.connect(url=made.address)
                made.package()
                made.tickets.save_department(Department("default", "oncall@example.net"))
                yield made
            finally:
                made.children.stop(grace=5)
    finally:
        made.database.close()


def restrict(site: House) -> None:
    with site.database.transaction() as session:
        connections.restrict(session, 1, "reinstall_only", "the switch is down", site.spans)


def test_a_message_goes_out_by_itself_also_when_its_worker_was_killed(database_url: str, state_dir: Path) -> None:
    server = fake.MailServer()
    with server.up(), house(database_url, state_dir, "mail", server.url) as site:
        restrict(site)
        site.wait(lambda: len(server.mails) == 1, 30)
        pid = site.children.pid("control")
        site.children.signal("control", signal.SIGKILL)
        with site.database.transaction() as session:
            connections.heal(session, 1, ["reinstall_only"])
        site.wait(lambda: server.mails[-1]["References"] is not None, 30)

        assert site.children.pid("control") != pid
        # what was not known to be sent when the worker died is sent once more, under the same id
        assert {mail["References"] or mail["Message-ID"] for mail in server.mails} == {server.mails[0]["Message-ID"]}


def test_a_mail_server_that_hangs_holds_up_one_slot_and_nothing_else(database_url: str, state_dir: Path) -> None:
    held: list[float] = []

    def hang(connection: socket.socket) -> None:
        held.append(time.monotonic())
        connection.recv(1)

    patience = {
        "PROVISIONER_SPANS": json.dumps({**OVERRIDES, **HANGING}),
        "PROVISIONER_POLICIES": json.dumps({"install_os": {"settle": 12, "deadline": 120}}),
    }
    with fake.raw(hang) as port, house(database_url, state_dir, "hang", f"smtp://127.0.0.1:{port}", **patience) as site:
        for n in range(12):  # matters of their own: more to send than there are slots
            with site.database.transaction() as session:
                connections.tell(session, 1, EventKind.CONNECTION_RESTRICTED, "the switch is down", step=f"never_{n}")
        site.wait(lambda: bool(held), 30)
        beats = ticks(site)
        site.world.add_server("101")
        job = site.order().job_id
        site.wait(site.ended(job), 60)

        assert site.job(job)["state"] == "succeeded"
        assert max(b - a for a, b in pairwise(beats)) < HANGING["call"] - 1, beats
        assert all(b - a > HANGING["call"] / 2 for a, b in pairwise(held)), held  # never two at once
        assert site.database.value("SELECT count(*) FROM delivery WHERE sent_at IS NOT NULL") == 0


def test_a_ticket_that_a_person_closes_ends_a_close_by_itself(database_url: str, state_dir: Path) -> None:
    token = state_dir / "rt.token"
    token.write_text("1-27-planted0123456789")
    server = fake.MailServer()
    with FakeTracker(token.read_text(), [Queue("hands")]).up() as tracker, server.up():
        patience = {
            "PROVISIONER_SPANS": json.dumps({**OVERRIDES, "tell_read": 0.5}),
            "PROVISIONER_RT_URL": f"http://127.0.0.1:{tracker.port}",
            "PROVISIONER_RT_TOKEN_FILE": str(token),
        }
        with house(database_url, state_dir, "closed", server.url, **patience) as site:
            site.tickets.save_department(Department("default", "hands", desk="rt"))
            site.package("rack", kind="colocation", server_type="", os_allowed="[]", ipv4=0)
            job = site.order(package="rack", os="").job_id
            machine = site.world.add_server("501")
            site.wait(lambda: len(tracker.tickets) == 1, 30)
            asking = site.questions.of_job(job)
            machine.owner = asking.customer
            site.waker.wake(site.questions.answer(asking.question, server=ServerRef("501"), by="test"))
            site.wait(site.ended(job), 30)
            close, _ = site.life.wish("panel", "ord-1", Wish(JobKind.CLOSE), by="test", policies=site.policies)
            site.wait(lambda: len(tracker.tickets) == 2, 30)
            asked = tracker.tickets[1]

            asked.status, asked.updated_by = "resolved", "anna"  # untruly
            unsent = "SELECT count(*) FROM delivery WHERE sent_at IS NULL"
            site.wait(lambda: asked.status == "open" and site.database.value(unsent) == 0, 30)
            machine.owner = None
            asked.status, asked.updated_by = "resolved", "anna"
            site.wait(site.ended(close.job_id), 30)
            said = site.database.value("SELECT text FROM event WHERE kind = 'person_answered' ORDER BY id DESC LIMIT 1")

            assert site.job(close.job_id)["state"] == "succeeded"
            assert said == "answered by anna by the ticket in rt: it is done"


def ticks(site: House, count: int = 20) -> list[float]:
    """Watch the reconciler's heartbeat: when it beat."""
    seen: list[float] = []
    ends = time.monotonic() + 30
    while len(seen) < count:
        assert time.monotonic() < ends, seen
        at = site.database.value("SELECT extract(epoch FROM at)::float FROM heartbeat WHERE name = 'reconcile'")
        if not seen or seen[-1] != at:
            seen.append(at)
        time.sleep(0.02)
    return seen
