"""The suite of the port `Desk`, on every desk that there is."""

from __future__ import annotations

import re
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from provisioner.desks.email import EmailDesk, MailServer
from provisioner.desks.rt import RtDesk, RtServer
from provisioner.desks.webhook import WebhookDesk, WebhookSecret
from provisioner.drivers.http import Caller
from provisioner.errors import BadConfig, BadValue, Denied, Retryable, Unreachable, Unusable
from provisioner.ports import Desk, TicketReading, TicketStatus
from provisioner.webhook import WebhookSender, networks
from tests.contract.desk_suite import SECRET, DeskSuite, Place, Told, following
from tests.fakes import mail as fake
from tests.fakes.lossy import Line
from tests.fakes.rt import FakeTracker, Queue
from tests.fakes.webhook_receiver import Trouble, WebhookReceiver
from tests.services.tracker import HIDDEN, QUEUE, READ_ONLY, RequestTracker

FROM = "provisioner@example.net"
KEY = re.compile(r"\[#(\S+)\]$")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def silent(connection: socket.socket) -> None:
    while connection.recv(65536):
        pass


# --- e-mail -------------------------------------------------------------------------------------------------------


class EmailPlace(Place):
    to, unknown = "oncall@example.net", "oncall"

    def __init__(self, server: fake.MailServer) -> None:
        self.server = server
        self.given = MailServer(server.url, FROM)
        self.desk = EmailDesk(self.given)

    def told(self) -> list[Told]:
        return [
            Told(
                ticket=str(mail["References"] or mail["Message-ID"]),
                key=str(mail["Message-ID"]),
                subject=str(mail["Subject"]),
                text=fake.text(mail),
            )
            for mail in self.server.mails
        ]

    def lose_answer(self) -> None:
        def once(_: object) -> None:
            self.server.answer = lambda _: "250 taken"

        self.server.answer = once

    def nobody(self) -> Desk:
        return EmailDesk(replace(self.given, url=f"smtp+plain://127.0.0.1:{free_port()}"))

    def stranger(self) -> Desk:
        return EmailDesk(
            replace(self.given, url=self.given.url.replace("smtp+plain", "smtp"), username="a", password=SECRET)
        )

    @contextmanager
    def hanging(self) -> Iterator[Desk]:
        with fake.raw(silent) as port:
            yield EmailDesk(replace(self.given, url=f"smtp+plain://127.0.0.1:{port}", total_seconds=1))


class TestEmail(DeskSuite):
    @pytest.fixture
    def place(self) -> Iterator[Place]:
        with fake.MailServer().up() as server:
            yield EmailPlace(server)


# --- webhook ------------------------------------------------------------------------------------------------------


class WebhookPlace(Place):
    unknown = "https://user:pass@chat.example.net/hook"

    def __init__(self, receiver: WebhookReceiver) -> None:
        self.receiver = receiver
        self.to = receiver.url
        self.desk = self.of(SECRET)

    @staticmethod
    def of(secret: str, *, seconds: float = 10.0, allowed: str = "127.0.0.0/8") -> WebhookDesk:
        return WebhookDesk(WebhookSecret(secret), WebhookSender(allowed=networks(allowed), total_seconds=seconds))

    def told(self) -> list[Told]:
        bodies = [received.body for received in self.receiver.received]
        return [Told(body["ticket"], body["id"], body["subject"], body["text"]) for body in bodies]

    def lose_answer(self) -> None:
        self.receiver.misbehave(Trouble.DROP, taken=True)

    def nobody(self) -> Desk:
        self.to = f"http://127.0.0.1:{free_port()}/hook"
        return self.desk

    def stranger(self) -> Desk:
        return self.of("another-" + SECRET)

    @contextmanager
    def hanging(self) -> Iterator[Desk]:
        self.receiver.misbehave(Trouble.HANG)
        yield self.of(SECRET, seconds=1)
        self.receiver.let_go()


class TestWebhook(DeskSuite):
    @pytest.fixture
    def place(self) -> Iterator[WebhookPlace]:
        with WebhookReceiver(SECRET) as receiver:
            yield WebhookPlace(receiver)

    def test_each_message_says_what_it_does_and_to_which_ticket(self, place: WebhookPlace) -> None:
        message = replace(place.message(), language="ru")

        ref = place.desk.open(message)
        place.desk.comment(ref, following(message, 2))
        place.desk.close(ref, following(message, 3))

        bodies = [received.body for received in place.receiver.received]
        assert [(body["kind"], body["ref"]) for body in bodies] == [("open", ""), ("comment", ref), ("close", ref)]
        assert {(body["ticket"], body["language"]) for body in bodies} == {(message.ticket, "ru")}
        assert [body["id"] for body in bodies] == [received.id for received in place.receiver.received]
        assert bodies[0].keys() == {"id", "kind", "ticket", "ref", "subject", "text", "language"}

    def test_a_receiver_s_own_name_of_a_ticket_is_kept(self, place: WebhookPlace) -> None:
        assert place.desk.open(place.message()) == "hook-1"

    @pytest.mark.parametrize("trouble", [Trouble.ERROR, Trouble.REDIRECT])
    def test_any_other_answer_is_no_yes_and_nothing_is_followed(self, place: WebhookPlace, trouble: Trouble) -> None:
        place.receiver.misbehave(trouble)

        with pytest.raises(Retryable, match=r"answered (500|302)"):
            place.desk.open(place.message())

        assert place.receiver.followed == 0

    def test_a_private_address_is_refused_unless_it_is_allowed(self, place: WebhookPlace) -> None:
        desk = place.of(SECRET, allowed="")

        with pytest.raises(Unreachable, match="PROVISIONER_CALLBACK_NETWORKS"):
            desk.check(place.to)
        with pytest.raises(Unreachable, match="PROVISIONER_CALLBACK_NETWORKS"):
            desk.open(place.message())

        assert place.receiver.calls == 0


class Answering:
    """A sender that answers."""

    def __init__(self, answer: bytes) -> None:
        self.answer = answer

    def check(self, url: str) -> str:
        return ""

    def post(self, url: str, *, secret: str, key: str, body: bytes) -> bytes:
        return self.answer


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"ok",
        b"\xff\xfe",
        b"[1]",
        b'{"ref": 7}',
        b'{"ref": ""}',
        b'{"ref": "a\\nb"}',
        b'{"ref": "%s"}' % (b"x" * 201),
    ],
)
def test_where_a_receiver_gives_no_name_of_a_ticket_it_is_called_by_ours(answer: bytes) -> None:
    message = WebhookPlace.message(WebhookPlace.__new__(TestedAddress))

    assert WebhookDesk(WebhookSecret(SECRET), Answering(answer)).open(message) == message.ticket


class TestedAddress(WebhookPlace):
    __test__ = False
    to = "https://chat.example.net/hook"


def test_a_short_secret_is_refused_and_not_shown() -> None:
    with pytest.raises(BadConfig, match="PROVISIONER_WEBHOOK_SECRET_FILE") as told:
        WebhookSecret("planted")

    assert "planted" not in str(told.value)
    assert SECRET not in repr(WebhookSecret(SECRET))


# --- Request Tracker ----------------------------------------------------------------------------------------------


class RtPlace(Place):
    """What the real one and the simulated one share: a line to lose answers on."""

    to, unknown = QUEUE, "no such queue"

    def __init__(self, line: Line, token: str) -> None:
        self.line, self.token = line, token
        self.desk: RtDesk = self.of(token)

    def of(self, token: str, *, port: int = 0, seconds: float = 30.0) -> RtDesk:
        server = RtServer(f"http://127.0.0.1:{port or self.line.port}", token, total_seconds=seconds)
        return RtDesk(server, Caller("RT", ca_file=None, variable="PROVISIONER_RT_CA_FILE"))

    def messages(self) -> list[tuple[int, str, str]]:
        """Give ticket, subject and text of each message."""
        raise NotImplementedError

    def set_status(self, ref: str, status: str) -> None:
        """Change a ticket as the person `root` would."""
        raise NotImplementedError

    def rename(self, ref: str, subject: str) -> None:
        """Change a ticket's subject as a person would."""
        raise NotImplementedError

    def told(self) -> list[Told]:
        found = [(ticket, KEY.search(subject), subject, text) for ticket, subject, text in self.messages()]
        return [Told(str(ticket), key[1] if key else "", subject, text) for ticket, key, subject, text in found]

    def lose_answer(self) -> None:
        self.line.lose()

    def nobody(self) -> Desk:
        return self.of(self.token, port=free_port())

    def stranger(self) -> Desk:
        return self.of(SECRET)

    @contextmanager
    def hanging(self) -> Iterator[Desk]:
        with fake.raw(silent) as port:
            yield self.of(self.token, port=port, seconds=1)


class RtSuite(DeskSuite):
    """What RT's desk has to do beside, on the real one and on the simulated one."""

    def test_a_ticket_s_number_is_its_name_and_all_its_messages_bear_their_keys(self, place: RtPlace) -> None:
        message = place.message()

        ref = place.desk.open(message)
        place.desk.comment(ref, following(message, 2))

        assert [(one.ticket, one.key) for one in place.told()] == [(ref, message.key), (ref, f"{message.ticket}.2")]

    def test_a_token_that_is_refused_is_said_when_it_is_checked(self, place: RtPlace) -> None:
        with pytest.raises(Denied, match=r"our token is refused \(401\)"):
            place.stranger().check(place.to)

    @pytest.mark.parametrize("queue", [HIDDEN, "no such queue", "..", ".", "a/b", "5", "x?y=1#z", "'"])
    def test_a_queue_that_is_not_there_or_not_ours_to_see_is_refused_by_name(self, place: RtPlace, queue: str) -> None:
        with pytest.raises(BadValue, match="there is no queue ") as told:
            place.desk.check(queue)

        assert repr(queue) in str(told.value)

    def test_a_queue_in_which_we_may_not_write_is_refused(self, place: RtPlace) -> None:
        with pytest.raises(BadValue, match="may not create tickets in the queue 'read only'"):
            place.desk.check(READ_ONLY)
        with pytest.raises(Denied, match="No permission to create tickets in the queue 'read only'"):
            place.desk.open(replace(place.message(), to=READ_ONLY))

    def test_a_queue_s_name_is_taken_in_either_case(self, place: RtPlace) -> None:
        place.desk.check(QUEUE.upper().replace("Ü", "ü"))

    def test_a_long_subject_is_cut_and_keeps_its_key(self, place: RtPlace) -> None:
        message = replace(place.message(), subject="[7] " + "я" * 300)

        refs = {place.desk.open(message), place.desk.open(message)}

        (told,) = place.told()
        assert len(refs) == 1
        assert told.key == message.key

    def test_a_key_like_another_is_not_taken_for_it(self, place: RtPlace) -> None:
        message = place.message()
        like = replace(message, key=message.key.replace(".7.", "_7."), ticket="x")

        assert place.desk.open(message) != place.desk.open(like)

    def test_a_ticket_that_a_person_closed_takes_the_all_clear(self, place: RtPlace) -> None:
        message = place.message()
        ref = place.desk.open(message)
        place.set_status(ref, "resolved")
        place.desk.close(ref, following(message, 2))

        assert place.desk.status(ref).status is TicketStatus.CLOSED

    def test_a_ticket_that_a_person_closed_says_who_and_is_opened_again(self, place: RtPlace) -> None:
        message = place.message()
        ref = place.desk.open(message)
        place.set_status(ref, "resolved")
        seen = place.desk.status(ref)

        place.desk.comment(ref, following(message, 2), reopen=True)

        assert seen == TicketReading(TicketStatus.CLOSED, "root")
        assert place.desk.status(ref) == TicketReading(TicketStatus.OPEN)

    @pytest.mark.parametrize("status", ["rejected", "deleted"])
    def test_a_ticket_that_a_person_refused_is_not_done_and_takes_the_all_clear(
        self, place: RtPlace, status: str
    ) -> None:
        message = place.message()
        ref = place.desk.open(message)
        place.set_status(ref, status)

        seen = place.desk.status(ref)
        place.desk.comment(ref, following(message, 2), reopen=True)
        then = place.desk.status(ref)
        place.desk.close(ref, following(message, 3))

        assert (seen.status, then.status) == (TicketStatus.REFUSED, TicketStatus.REFUSED)
        assert place.desk.status(ref).status is not TicketStatus.OPEN

    def test_a_ticket_that_is_not_there_can_t_be_written_to_and_its_status_is_unknown(self, place: RtPlace) -> None:
        with pytest.raises(BadValue):
            place.desk.comment("99999", place.message())

        assert place.desk.status("99999").status is TicketStatus.UNKNOWN

    def test_a_name_that_another_desk_gave_is_refused_and_no_all_clear_is_told_of_what_was_never_opened(
        self, place: RtPlace
    ) -> None:
        with pytest.raises(BadValue, match="is no number of a ticket"):
            place.desk.comment("<abc.7@example.net>", place.message())

        place.desk.close("", place.message())

        assert place.told() == []
        assert place.line.asked == []

    def test_a_follow_up_is_found_again_behind_what_people_wrote(self, place: RtPlace) -> None:
        message = place.message()
        ref = place.desk.open(message)
        place.desk.comment(ref, following(message, 2))
        for n in range(21):  # more than RT gives where it is not asked for more
            place.desk.comment(ref, following(message, n + 100))

        place.desk.comment(ref, following(message, 2))

        assert [one.key for one in place.told()].count(f"{message.ticket}.2") == 1


class FakePlace(RtPlace):
    def __init__(self, tracker: FakeTracker, line: Line) -> None:
        self.tracker = tracker
        super().__init__(line, tracker.token)

    def messages(self) -> list[tuple[int, str, str]]:
        every = [
            (number, (ticket.id, subject, text))
            for ticket in self.tracker.tickets
            for number, subject, text in ticket.messages
        ]
        return [said for _, said in sorted(every)]

    def set_status(self, ref: str, status: str) -> None:
        ticket = self.tracker.tickets[int(ref) - 1]
        ticket.status, ticket.updated_by = status, "root"


class TestSimulatedRt(RtSuite):
    @pytest.fixture
    def place(self) -> Iterator[FakePlace]:
        queues = [Queue(QUEUE), Queue(READ_ONLY, writable=False), Queue("old", disabled=True)]
        with FakeTracker("1-27-0123456789abcdef", queues).up() as tracker, Line(tracker.port).up() as line:
            yield FakePlace(tracker, line)

    def test_a_disabled_queue_is_refused(self, place: FakePlace) -> None:
        with pytest.raises(BadValue, match="the queue 'old' is disabled"):
            place.desk.check("old")

    def test_a_ticket_that_can_t_be_resolved_says_so_and_is_not_told_of_twice(self, place: FakePlace) -> None:
        message = place.message()
        ref = place.desk.open(message)
        place.tracker.may_modify = False

        for _ in range(2):
            with pytest.raises(BadValue, match=f"ticket {ref} can't be resolved: Ticket {ref}: Permission Denied"):
                place.desk.close(ref, following(message, 2))

        assert len(place.told()) == 2

    def test_a_ticket_that_can_t_be_opened_again_says_so_and_is_not_told_of_twice(self, place: FakePlace) -> None:
        message = place.message()
        ref = place.desk.open(message)
        place.set_status(ref, "resolved")
        place.tracker.may_modify = False

        for _ in range(2):
            with pytest.raises(BadValue, match=f"ticket {ref} can't be opened again: Ticket {ref}: Permission Denied"):
                place.desk.comment(ref, following(message, 2), reopen=True)

        assert len(place.told()) == 2

    def test_a_status_of_an_operator_s_making_is_unknown(self, place: FakePlace) -> None:
        ref = place.desk.open(place.message())
        place.set_status(ref, "waiting for parts")

        assert place.desk.status(ref).status is TicketStatus.UNKNOWN


class RealPlace(RtPlace):
    def __init__(self, tracker: RequestTracker, line: Line) -> None:
        self.tracker = tracker
        self.before = len(tracker.messages())
        super().__init__(line, tracker.token)

    def messages(self) -> list[tuple[int, str, str]]:
        return self.tracker.messages()[self.before :]

    def set_status(self, ref: str, status: str) -> None:
        self.tracker.change(
            "UPDATE Tickets SET Status = ?, LastUpdatedBy = (SELECT id FROM Users WHERE Name = 'root') WHERE id = ?",
            status,
            int(ref),
        )


@pytest.fixture(scope="module")
def tracker() -> Iterator[RequestTracker]:
    folder = Path(tempfile.mkdtemp(prefix="provisioner-rt-"))  # where the server's user can reach it
    folder.chmod(0o711)
    server = RequestTracker(folder)
    try:
        server.begin()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.services
@pytest.mark.timeout(300)
class TestRt(RtSuite):
    @pytest.fixture
    def place(self, tracker: RequestTracker) -> Iterator[RealPlace]:
        with Line(tracker.port).up() as line:
            yield RealPlace(tracker, line)


# --- RT's answers that are none ------------------------------------------------------------------------------------


class Scripted:
    """An HTTP that answers the same to everything."""

    def __init__(self, status: int, body: bytes) -> None:
        self.status, self.body = status, body

    def call(self, method: str, url: str, body: bytes, **_: Any) -> tuple[int, bytes]:
        return self.status, self.body


@pytest.mark.parametrize(
    ("status", "body", "kind", "sentence"),
    [
        (200, b"<html>log in</html>", Unusable, r"no answer of RT's REST2 \(200\); is PROVISIONER_RT_URL right"),
        (404, b"<html>no such page</html>", Unusable, r"no answer of RT's REST2 \(404\)"),
        (302, b"", Unreachable, "sends us elsewhere"),
        (500, b"", Unusable, r"trouble of its own \(500\)"),
        (200, b"[]", Unusable, "another shape"),
        (429, b"{}", Retryable, "429"),
        (401, b"<html/>", Denied, "token is refused"),
    ],
)
def test_what_is_no_answer_of_rt_says_so(status: int, body: bytes, kind: type[Exception], sentence: str) -> None:
    desk = RtDesk(RtServer("https://rt.example.net", SECRET), Scripted(status, body))

    with pytest.raises(kind, match=sentence):
        desk.check("General")


def test_a_token_in_rt_s_words_is_not_shown() -> None:
    desk = RtDesk(
        RtServer("https://rt.example.net", SECRET), Scripted(400, b'{"message": "x %s\\n y"}' % SECRET.encode())
    )

    with pytest.raises(BadValue, match=r"ticket via RT at rt\.example\.net: refused: 400 x … y"):
        desk.check("General")


@pytest.mark.parametrize(
    ("url", "token", "variable"),
    [
        ("rt.example.net", SECRET, "PROVISIONER_RT_URL"),
        ("https://user:planted@rt.example.net", SECRET, "PROVISIONER_RT_URL"),
        ("https://rt.example.net/?x=planted", SECRET, "PROVISIONER_RT_URL"),
        ("http://rt.example.net", SECRET, "does not travel over http"),
        ("https://rt.example.net", "", "PROVISIONER_RT_TOKEN_FILE"),
        ("https://rt.example.net", "planted two", "PROVISIONER_RT_TOKEN_FILE"),
    ],
)
def test_a_wrong_setting_of_rt_is_named_and_not_shown(url: str, token: str, variable: str) -> None:
    with pytest.raises(BadConfig, match=variable) as told:
        RtServer(url, token)

    assert "planted" not in str(told.value)


def test_rt_s_address_may_have_a_path_and_its_token_is_in_no_listing() -> None:
    server = RtServer("http://127.0.0.1:8080/rt/", SECRET)

    assert urlsplit(server.url).path == "/rt/"
    assert SECRET not in repr(server)


def test_a_file_of_authorities_that_is_not_there_is_named(tmp_path: Path) -> None:
    desk = RtDesk(
        RtServer("https://rt.example.net", SECRET),
        Caller("RT", ca_file=tmp_path / "none.pem", variable="PROVISIONER_RT_CA_FILE"),
    )

    with pytest.raises(BadConfig, match="PROVISIONER_RT_CA_FILE can't be read: FileNotFoundError"):
        desk.check("General")
