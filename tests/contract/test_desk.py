"""What every desk must do, here e-mail: on a mail server that others wrote, encrypted in each way, and the demo's."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path

import pytest

from provisioner.desks.email import EmailDesk, MailServer
from provisioner.desks.registry import DeskRegistry
from provisioner.domain import touch
from provisioner.errors import BadConfig, BadValue, Busy, Denied, RemoteError, TransactionOpen, Unreachable, Unsure
from provisioner.ports import Message, TicketStatus
from provisioner.simulators import certificate
from tests.fakes import mail as fake

ROOT = Path(__file__).parents[2]
FROM, TO = "provisioner@example.net", "oncall@example.net"
FIRST = Message("abc.7.1000.1", TO, "[7] dc1: install_os fails", "What: it fails.\n.\nFür alle: ja")
SECOND = replace(FIRST, key="abc.7.1000.2", text="again")

#: aiosmtpd knows STARTTLS only: where TLS is there from the start it takes the line for a plain one
pytestmark = pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS:UserWarning")

Mails = Callable[[], list[EmailMessage]]


@pytest.fixture(scope="module")
def cert(tmp_path_factory: pytest.TempPathFactory) -> certificate.Certificate:
    return certificate.create(tmp_path_factory.mktemp("certificate"))


def served(way: str, cert: certificate.Certificate) -> fake.MailServer:
    encrypted = way != "smtp+plain"
    return fake.MailServer(scheme=way, tls=cert.context() if encrypted else None, auth=encrypted)


def desk_of(server: fake.MailServer, cert: certificate.Certificate, **changes: object) -> EmailDesk:
    given = MailServer(server.url, FROM, ca_file=cert.file, total_seconds=5)
    if server.auth:
        given = replace(given, username=fake.NAME, password=fake.PASSWORD)
    return EmailDesk(replace(given, **changes))  # type: ignore[arg-type]


@pytest.fixture(params=["smtp", "smtps", "smtp+plain", "demo"])
def desk(
    request: pytest.FixtureRequest, cert: certificate.Certificate, tmp_path: Path
) -> Iterator[tuple[EmailDesk, Mails]]:
    if request.param != "demo":
        with served(request.param, cert).up() as server:
            yield desk_of(server, cert), lambda: server.mails
        return
    argv = [sys.executable, "-m", "provisioner.demo.mail", "--folder", str(tmp_path / "mail")]
    process = subprocess.Popen(argv, cwd=ROOT, env={"PATH": os.defpath}, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    url = process.stdout.readline().strip()

    def mails() -> list[EmailMessage]:
        files = sorted((tmp_path / "mail").glob("*.eml"))
        return [message_from_bytes(file.read_bytes(), policy=policy.default) for file in files]

    try:
        yield EmailDesk(MailServer(url, FROM, total_seconds=5)), mails
    finally:
        process.terminate()
        process.wait(10)
        process.stdout.close()


def test_a_ticket_is_opened_with_all_that_was_said(desk: tuple[EmailDesk, Mails]) -> None:
    ours, mails = desk

    ref = ours.open(FIRST)

    (mail,) = mails()
    assert (mail["From"], mail["To"], mail["Subject"]) == (FROM, TO, FIRST.subject)
    assert mail["Message-ID"] == ref == "<abc.7.1000.1@example.net>"
    assert fake.text(mail).replace("\r\n", "\n").rstrip("\n") == FIRST.text
    assert mail["Auto-Submitted"] == "auto-generated"


def test_what_follows_and_the_all_clear_stay_in_the_thread(desk: tuple[EmailDesk, Mails]) -> None:
    ours, mails = desk
    ref = ours.open(FIRST)

    ours.comment(ref, SECOND)
    ours.close(ref, replace(SECOND, key="abc.7.1000.3"))

    assert [mail["References"] for mail in mails()] == [None, ref, ref]
    assert [mail["In-Reply-To"] for mail in mails()] == [None, ref, ref]
    assert [mail["Subject"] for mail in mails()] == [FIRST.subject, f"Re: {FIRST.subject}", f"Re: {FIRST.subject}"]
    assert len({mail["Message-ID"] for mail in mails()}) == 3


def test_the_same_key_twice_can_be_recognised(desk: tuple[EmailDesk, Mails]) -> None:
    ours, mails = desk

    refs = {ours.open(FIRST), ours.open(FIRST)}

    assert len(refs) == 1
    assert {mail["Message-ID"] for mail in mails()} == refs


def test_a_check_passes_nothing_on_and_what_can_t_be_known_is_said(desk: tuple[EmailDesk, Mails]) -> None:
    ours, mails = desk

    ours.check(TO)

    assert mails() == []
    assert ours.status("<x@example.net>").status is TicketStatus.UNKNOWN
    assert not ours.capabilities.dedup
    assert not ours.capabilities.status


# --- trust --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["smtp", "smtps"])
def test_a_certificate_that_nobody_vouches_for_is_refused(way: str, cert: certificate.Certificate) -> None:
    with served(way, cert).up() as server, pytest.raises(Unreachable, match="certificate is not trusted"):
        desk_of(server, cert, ca_file=None).open(FIRST)

    assert (server.mails, server.logins) == ([], [])


@pytest.mark.parametrize("way", ["smtp", "smtps"])
def test_a_certificate_of_another_name_is_refused(way: str, cert: certificate.Certificate) -> None:
    server = replace(served(way, cert), host="127.0.0.2")

    with server.up(), pytest.raises(Unreachable, match="certificate is not trusted"):
        desk_of(server, cert).open(FIRST)

    assert server.mails == []


def test_a_server_without_starttls_gets_neither_password_nor_message() -> None:
    with fake.MailServer().up() as server:
        given = MailServer(server.url.replace("smtp+plain", "smtp"), FROM, fake.NAME, fake.PASSWORD, total_seconds=5)
        with pytest.raises(Unreachable, match="no STARTTLS"):
            EmailDesk(given).open(FIRST)

    assert (server.mails, server.logins) == ([], [])


def test_a_refused_password_is_said_and_not_shown(cert: certificate.Certificate) -> None:
    with served("smtp", cert).up() as server, pytest.raises(Denied) as told:
        desk_of(server, cert, password="wrong-planted").check(TO)

    assert "refused (535)" in str(told.value)
    assert "planted" not in f"{told.value!r} {told.value.__context__!r} {told.value.__cause__!r}"


# --- trouble ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "kind", "sentence"),
    [
        ("550 no such mailbox", BadValue, "the mailbox is refused: 550 no such mailbox"),
        ("450 greylisted", Busy, "the mailbox is refused: 450 greylisted"),
    ],
)
def test_a_mailbox_that_is_refused_is_said(
    answer: str, kind: type[RemoteError], sentence: str, cert: certificate.Certificate
) -> None:
    server = fake.MailServer(recipient=lambda _: answer)

    with server.up(), pytest.raises(kind, match=sentence):
        desk_of(server, cert).open(FIRST)

    assert server.mails == []


def test_a_message_that_is_refused_was_surely_not_taken(cert: certificate.Certificate) -> None:
    server = fake.MailServer(answer=lambda _: "452 disk full")

    with server.up(), pytest.raises(Busy, match="452 disk full"):
        desk_of(server, cert).open(FIRST)


def test_an_answer_that_is_lost_leaves_it_unsure(cert: certificate.Certificate) -> None:
    server = fake.MailServer(answer=lambda _: None)

    with server.up(), pytest.raises(Unsure, match="before it said whether it took the message"):
        desk_of(server, cert).open(FIRST)

    assert len(server.mails) == 1


def test_nobody_there_is_said() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    with pytest.raises(Unreachable, match=f"via mail server 127.0.0.1:{port}: connection refused"):
        EmailDesk(MailServer(f"smtp://127.0.0.1:{port}", FROM)).check(TO)


def dripping(connection: socket.socket) -> None:
    while True:
        connection.sendall(b"2")
        time.sleep(0.05)


def silent(connection: socket.socket) -> None:
    connection.recv(1)


def dripping_after_the_message(connection: socket.socket) -> None:
    connection.sendall(b"220 ready\r\n")
    lines = connection.makefile("rb")
    for line in lines:
        if line.upper().startswith(b"DATA"):
            break
        connection.sendall(b"250 yes\r\n")
    connection.sendall(b"354 go on\r\n")
    for line in lines:
        if line == b".\r\n":
            break
    dripping(connection)


@pytest.mark.parametrize(
    ("serve", "kind"), [(dripping, Unreachable), (silent, Unreachable), (dripping_after_the_message, Unsure)]
)
@pytest.mark.parametrize("way", ["smtp+plain", "smtps"])
def test_a_conversation_ends_with_its_time_also_byte_by_byte(
    serve: Callable[[socket.socket], None], kind: type[RemoteError], way: str
) -> None:
    with fake.raw(serve) as port:
        server = MailServer(f"{way}://127.0.0.1:{port}", FROM, total_seconds=0.5)
        began = time.monotonic()
        with pytest.raises(kind if way == "smtp+plain" else Unreachable):
            EmailDesk(server).open(FIRST)

    assert time.monotonic() - began < 3


def test_nothing_is_sent_while_a_transaction_is_open(cert: certificate.Certificate) -> None:
    server = fake.MailServer()

    with server.up(), touch.transaction(), pytest.raises(TransactionOpen):
        desk_of(server, cert).open(FIRST)

    assert server.mails == []


def test_a_subject_can_t_smuggle_a_header_in(cert: certificate.Certificate) -> None:
    server = fake.MailServer()

    with server.up(), pytest.raises(ValueError, match="linefeed"):
        desk_of(server, cert).open(replace(FIRST, subject="x\r\nBcc: rival@example.net"))

    assert server.mails == []


@pytest.mark.parametrize(
    "to", ["oncall", "a@b c", "a@example.net, b@example.net", "a@example.net\r\nBcc: b@example.net"]
)
def test_what_is_no_mailbox_is_refused(to: str, cert: certificate.Certificate) -> None:
    with pytest.raises(BadValue, match="is no mailbox"):
        desk_of(fake.MailServer(port=1), cert).open(replace(FIRST, to=to))


# --- settings -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "variable"),
    [
        ({"url": "http://mail.example.net"}, "PROVISIONER_SMTP_URL"),
        ({"url": "smtp://user:planted@mail.example.net"}, "PROVISIONER_SMTP_URL holds more"),
        ({"url": "smtp://mail.example.net:99999"}, "PROVISIONER_SMTP_URL"),
        ({"sender": "nobody"}, "PROVISIONER_SMTP_FROM"),
        ({"username": "a"}, "PROVISIONER_SMTP_PASSWORD"),
        ({"url": "smtp+plain://mail.example.net", "username": "a", "password": "planted"}, "does not travel"),
    ],
)
def test_a_wrong_setting_is_named_and_not_shown(changes: dict[str, str], variable: str) -> None:
    with pytest.raises(BadConfig, match=variable) as told:
        MailServer(**{"url": "smtp://mail.example.net", "sender": FROM, **changes})  # type: ignore[arg-type]

    assert "planted" not in str(told.value)


def test_a_file_without_authorities_is_named(tmp_path: Path, cert: certificate.Certificate) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")

    with served("smtps", cert).up() as server, pytest.raises(BadConfig, match="PROVISIONER_SMTP_CA_FILE"):
        desk_of(server, cert, ca_file=tmp_path / "ca.pem").check(TO)


def test_a_desk_that_is_not_set_up_says_what_to_set() -> None:
    with pytest.raises(BadConfig, match="set PROVISIONER_SMTP_URL"):
        DeskRegistry({"email": None}).get("email")


def test_a_password_is_in_no_listing_of_settings() -> None:
    assert "planted" not in repr(MailServer("smtps://mail.example.net", FROM, "a", "planted"))
