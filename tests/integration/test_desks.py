"""One trouble, told by Request Tracker and by webhook: from the department that is saved to the all-clear."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from provisioner.cli.codes import Code
from provisioner.desks.email import EmailDesk, MailServer
from provisioner.desks.registry import DeskRegistry
from provisioner.desks.rt import RtDesk, RtServer
from provisioner.desks.webhook import WebhookDesk, WebhookSecret
from provisioner.domain.matters import Department
from provisioner.drivers.http import Caller
from provisioner.errors import Invalid
from provisioner.ports import Desk
from provisioner.usecases import tell
from provisioner.vault import generate_key
from provisioner.webhook import WebhookSender, networks
from tests.command import CommandLine
from tests.fakes.lossy import Line
from tests.fakes.rt import FakeTracker, Queue
from tests.fakes.webhook_receiver import WebhookReceiver
from tests.integration.test_tickets import AT_ONCE, ONCALL, Post

TOKEN, SECRET = "1-27-planted0123456789", "planted-with-every-webhook"
QUEUE = "DC 1 hands"


@dataclass
class Places:
    """What is behind each desk."""

    tracker: FakeTracker
    line: Line
    receiver: WebhookReceiver


class AllDesks(Post):
    """The site and its mail server, and the other desks."""

    places: Places
    token = TOKEN

    def desks(self) -> DeskRegistry:
        mail = EmailDesk(MailServer(self.server.url, "provisioner@example.net", total_seconds=5))
        rt = RtServer(f"http://127.0.0.1:{self.places.line.port}", self.token, total_seconds=30)
        sender = WebhookSender(allowed=networks("127.0.0.0/8"), total_seconds=30)
        every: dict[str, Desk | None] = {
            "email": mail,
            "rt": RtDesk(rt, Caller("RT", ca_file=None, variable="PROVISIONER_RT_CA_FILE")),
            "webhook": WebhookDesk(WebhookSecret(SECRET), sender),
        }
        return DeskRegistry(every)

    def save(self, desk: str, address: str, name: str = "default") -> str:
        given = Department(name, address, desk=desk)
        return tell.save_department(given, tickets=self.site.tickets, desks=self.desks())

    def departments(self) -> list[tuple[str, str]]:
        return [
            (row["desk"], row["address"]) for row in self.site.database.rows("SELECT desk, address FROM department")
        ]


@pytest.fixture
def places() -> Iterator[Places]:
    queues = [Queue(QUEUE), Queue("read only", writable=False)]
    with (
        FakeTracker(TOKEN, queues).up() as tracker,
        Line(tracker.port).up() as line,
        WebhookReceiver(SECRET) as receiver,
    ):
        yield Places(tracker, line, receiver)


@pytest.fixture
def post(database_url: str, places: Places) -> Iterator[AllDesks]:
    made = AllDesks(database_url, AT_ONCE)
    made.places = places
    made.site.connect()
    with made.server.up():
        yield made
    made.site.database.close()


def test_a_trouble_is_one_ticket_of_rt_and_is_resolved_when_it_heals(post: AllDesks, places: Places) -> None:
    assert post.save("rt", QUEUE) == ""
    post.restrict(reason="the install server is down")
    post.tell()
    open_status = places.tracker.tickets[0].status
    post.heal()
    post.tell()

    (ticket,) = places.tracker.tickets
    (ref,) = post.site.database.rows("SELECT desk_ref FROM ticket")
    assert (ticket.queue, open_status, ticket.status) == (QUEUE, "new", "resolved")
    assert len(ticket.messages) == 2
    assert "the install server is down" in ticket.messages[0][2]
    assert ref["desk_ref"] == str(ticket.id)


def test_a_ticket_whose_answer_was_lost_is_found_again(post: AllDesks, places: Places) -> None:
    post.save("rt", QUEUE)
    places.line.lose()
    post.restrict()
    post.tell()
    places.line.lose()
    post.heal()
    post.tell()

    (ticket,) = places.tracker.tickets
    tries = post.site.database.rows("SELECT tries FROM delivery ORDER BY n")
    assert ticket.status == "resolved"
    assert len(ticket.messages) == 2
    assert [row["tries"] for row in tries] == [2, 2]


def test_a_trouble_is_told_by_webhook_from_the_first_to_the_all_clear(post: AllDesks, places: Places) -> None:
    assert post.save("webhook", places.receiver.url) == ""
    post.restrict()
    post.tell()
    post.heal()
    post.tell()

    first, last = (received.body for received in places.receiver.received)
    assert (first["kind"], last["kind"]) == ("open", "close")
    assert first["ticket"] == last["ticket"]
    assert (first["ref"], last["ref"]) == ("", "hook-1")
    assert first["id"] == f"{first['ticket']}.1"
    assert (places.receiver.refused, places.receiver.repeated) == ([], [])


def test_a_department_that_goes_to_another_desk_takes_its_open_tickets_there(post: AllDesks, places: Places) -> None:
    post.save("email", ONCALL)
    post.restrict()
    post.tell()
    post.save("rt", QUEUE)
    post.site.database.rows("UPDATE delivery SET sent_at = sent_at - interval '25 h'")  # it is time for a reminder
    post.tell()
    post.heal()
    post.tell()

    (ticket,) = places.tracker.tickets
    assert len(post.mails) == 1
    assert ticket.messages[0][2].startswith("Still so, since 20")
    assert ticket.status == "resolved"


def test_an_all_clear_of_what_rt_never_heard_of_is_sent_nowhere_and_waits_for_nobody(
    post: AllDesks, places: Places
) -> None:
    post.save("email", ONCALL)
    post.restrict()
    post.tell()
    post.save("rt", QUEUE)
    post.heal()
    post.tell()

    assert places.tracker.tickets == []
    assert post.site.database.value("SELECT count(*) FROM delivery WHERE sent_at IS NULL") == 0


def test_a_department_that_stays_at_its_desk_keeps_its_tickets(post: AllDesks, places: Places) -> None:
    post.save("rt", QUEUE)
    post.restrict()
    post.tell()
    post.save("rt", QUEUE)
    post.heal()
    post.tell()

    (ticket,) = places.tracker.tickets
    assert len(ticket.messages) == 2


@pytest.mark.parametrize(
    ("desk", "address", "sentence"),
    [
        ("rt", "no such queue", "there is no queue 'no such queue', or our user may not see it"),
        ("rt", "read only", "may not create tickets in the queue 'read only'"),
        ("rt", " ", "no queue's name"),
        ("rt", "a\nb", "no queue's name"),
        ("webhook", "chat.example.net/hook", "no webhook's"),
        ("webhook", "https://user:planted@chat.example.net/", "may hold neither a user name"),
        ("pigeon", "loft", "there is no desk 'pigeon'; there are email, rt, webhook"),
        ("email", QUEUE, "address is no mailbox"),
    ],
)
def test_what_a_desk_does_not_know_is_refused_and_nothing_is_saved(
    post: AllDesks, desk: str, address: str, sentence: str
) -> None:
    with pytest.raises(Invalid) as told:
        post.save(desk, address)

    assert sentence in str(told.value)
    assert "planted" not in str(told.value)
    assert post.departments() == []


def test_refused_credentials_are_said_when_a_department_is_saved(post: AllDesks) -> None:
    post.token = "1-27-another"

    said = post.save("rt", QUEUE)

    assert said.endswith("our token is refused (401)")
    assert post.departments() == [("rt", QUEUE)]


class Cli(CommandLine):
    """The command line with the settings of a site."""

    def __init__(
        self, post: AllDesks, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        super().__init__(capsys)
        (folder / "rt.token").write_text(TOKEN + "\n")
        (folder / "webhook.secret").write_text(SECRET + "\n")
        self.environment = {
            "DATABASE_URL": post.site.database.url,
            "SECRET_KEY": generate_key(),
            "RT_URL": f"http://127.0.0.1:{post.places.line.port}",
            "RT_TOKEN_FILE": str(folder / "rt.token"),
            "WEBHOOK_SECRET_FILE": str(folder / "webhook.secret"),
            "CALLBACK_NETWORKS": "127.0.0.0/8",
        }
        for name, value in self.environment.items():
            monkeypatch.setenv(f"PROVISIONER_{name}", value)


@pytest.fixture
def cli(post: AllDesks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    return Cli(post, tmp_path, monkeypatch, capsys)


def test_the_command_line_saves_departments_of_each_desk_and_refuses_what_is_not_there(
    cli: Cli, post: AllDesks, places: Places
) -> None:
    good = cli("department", "set", "hands", "--desk", "rt", "--address", QUEUE, "--json")
    hook = cli("department", "set", "chat", "--desk", "webhook", "--address", places.receiver.url)
    bad = cli("department", "set", "hands", "--desk", "rt", "--address", "nowhere")

    assert (good[0], hook[0], bad[0]) == (Code.OK, Code.OK, Code.REFUSED)
    assert json.loads(good[1]) == {"name": "hands", "desk": "rt", "address": QUEUE, "language": "en", "trouble": ""}
    assert hook[1:] == (f"chat: messages go to {places.receiver.url}\n", "")
    assert "there is no queue 'nowhere'" in bad[2]
    assert sorted(post.departments()) == [("rt", QUEUE), ("webhook", places.receiver.url)]


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("RT_TOKEN_FILE", "", "PROVISIONER_RT_TOKEN_FILE"),
        ("RT_TOKEN_FILE", "/nowhere/rt.token", "PROVISIONER_RT_TOKEN_FILE can't be read: FileNotFoundError"),
        ("RT_URL", "http://rt.example.net", "PROVISIONER_RT_URL: a token does not travel over http"),
        ("WEBHOOK_SECRET_FILE", "/dev/null", "PROVISIONER_WEBHOOK_SECRET_FILE holds less than 16 characters"),
    ],
)
def test_a_wrong_setting_of_a_desk_stops_a_process_and_is_named(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, name: str, value: str, sentence: str
) -> None:
    monkeypatch.setenv(f"PROVISIONER_{name}", value)

    code, _, err = cli("ticket", "list")

    assert code == Code.CONFIG
    assert sentence in err


@pytest.mark.parametrize(
    ("desk", "address", "what"),
    [
        ("rt", QUEUE, "set PROVISIONER_RT_URL and PROVISIONER_RT_TOKEN_FILE"),
        ("webhook", "https://chat.example.net/hook", "set PROVISIONER_WEBHOOK_SECRET_FILE"),
    ],
)
def test_a_desk_that_is_not_set_up_is_told_what_to_set(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, desk: str, address: str, what: str
) -> None:
    for name in ("RT_URL", "WEBHOOK_SECRET_FILE"):
        monkeypatch.delenv(f"PROVISIONER_{name}")

    code, _, err = cli("department", "set", "hands", "--desk", desk, "--address", address)

    assert code == Code.OK
    assert f"the desk '{desk}' is not set up: {what}" in err
