"""A signed POST to an address that somebody typed in: what it says, how long it may last, and where it never goes."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from provisioner.domain import touch
from provisioner.errors import BadConfig, Invalid, Retryable, TransactionOpen, Unreachable, Unsure
from provisioner.simulators import certificate
from provisioner.webhook import WebhookSender, networks
from tests.fakes import mail as fake
from tests.fakes.webhook_receiver import Trouble, WebhookReceiver

SECRET = "planted-webhook-secret"
BODY = b'{"sequence":1}'
LOOPBACK = networks("127.0.0.0/8")
GENEROUS, SHORT = 30.0, 0.3


def sender(*, seconds: float = GENEROUS, **changes: Any) -> WebhookSender:
    return WebhookSender(**{"allowed": LOOPBACK, "total_seconds": seconds, **changes})


def post(one: WebhookSender, url: str, key: str = "hook.1") -> None:
    one.post(url, secret=SECRET, key=key, body=BODY)


@pytest.fixture
def receiver() -> Iterator[WebhookReceiver]:
    with WebhookReceiver(SECRET) as made:
        yield made


def test_a_receiver_that_was_written_from_the_description_takes_the_signature(receiver: WebhookReceiver) -> None:
    post(sender(), receiver.url)

    (taken,) = receiver.received
    assert (taken.id, taken.body, taken.headers["content-type"]) == ("hook.1", {"sequence": 1}, "application/json")
    assert receiver.refused == []


def test_another_secret_is_refused_and_so_is_the_call(receiver: WebhookReceiver) -> None:
    with pytest.raises(Retryable, match="answered 401"):
        sender().post(receiver.url, secret="another", key="hook.1", body=BODY)

    assert receiver.received == []


def test_an_answer_that_is_no_success_is_one(receiver: WebhookReceiver) -> None:
    receiver.misbehave(Trouble.ERROR)

    with pytest.raises(Retryable, match=r"callback via 127\.0\.0\.1: answered 500"):
        post(sender(), receiver.url)


def test_a_redirect_is_not_followed(receiver: WebhookReceiver) -> None:
    receiver.misbehave(Trouble.REDIRECT)

    with pytest.raises(Retryable, match="answered 302; redirects are not followed"):
        post(sender(), receiver.url)

    assert receiver.followed == 0


@pytest.mark.parametrize(("trouble", "why"), [(Trouble.HANG, "no whole answer within"), (Trouble.DROP, "ended before")])
def test_a_lost_answer_is_unsure(receiver: WebhookReceiver, trouble: Trouble, why: str) -> None:
    receiver.misbehave(trouble)

    with pytest.raises(Unsure, match=why):
        post(sender(seconds=SHORT if trouble is Trouble.HANG else GENEROUS), receiver.url)


def drip(line: socket.socket) -> None:
    """Answer with a byte now and then, for ever: no single read takes long."""
    line.recv(65536)
    line.settimeout(0.05)
    with suppress(OSError):
        line.sendall(b"HTTP/1.1 200 OK\r\nX-Long: ")
        while True:
            line.sendall(b"a")
            with suppress(TimeoutError):
                if not line.recv(1):
                    return


def test_the_time_limit_is_of_the_whole_call_and_not_of_each_byte() -> None:
    with fake.raw(drip) as port, pytest.raises(Unsure, match="no whole answer within"):
        post(sender(seconds=SHORT), f"http://127.0.0.1:{port}/hook")


def test_an_endless_answer_is_read_no_further_than_needed() -> None:
    def pour(line: socket.socket) -> None:
        line.recv(65536)
        with suppress(OSError):
            line.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            while True:
                line.sendall(b"a" * 65536)

    with fake.raw(pour) as port:
        post(sender(), f"http://127.0.0.1:{port}/hook")


def test_nothing_is_called_inside_a_transaction(receiver: WebhookReceiver) -> None:
    with touch.transaction(), pytest.raises(TransactionOpen):
        post(sender(), receiver.url)

    assert receiver.calls == 0


PRIVATE = [
    "127.0.0.1", "127.1.2.3", "2130706433", "0x7f.1", "0.0.0.7", "10.1.2.3", "172.16.0.1", "192.168.1.1", "100.64.0.1",
    "169.254.169.254", "168.63.129.16", "224.0.0.1", "255.255.255.255", "localhost", "[::1]", "[::]", "[fd00:ec2::254]",
    "[fe80::1]", "[ff02::1]", "[::ffff:127.0.0.1]", "[::ffff:10.0.0.1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]",
]  # fmt: skip


@pytest.mark.parametrize("host", PRIVATE)
def test_what_is_not_of_the_public_internet_is_never_connected_to(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("provisioner.webhook.socket.socket", None)  # whoever connects fails otherwise
    one = sender(allowed=())

    with pytest.raises(Unreachable, match="not one of the public internet; PROVISIONER_CALLBACK_NETWORKS"):
        post(one, f"https://{host}/hook")

    assert "not one of the public internet" in one.check(f"https://{host}/hook")


def resolver(*answers: list[str]) -> Callable[..., list[Any]]:
    """Give a look-up that answers differently each time."""
    left = list(answers)

    def look(_host: str, port: int, **_: object) -> list[Any]:
        addresses = left.pop(0)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    return look


def test_a_name_that_points_elsewhere_after_it_was_checked_gains_nothing(
    receiver: WebhookReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("provisioner.webhook.socket.getaddrinfo", resolver(["8.8.8.8"], ["127.0.0.1"]))
    one, url = sender(allowed=()), receiver.url.replace("127.0.0.1", "billing.example.net").replace("http:", "https:")

    assert one.check(url) == ""
    with pytest.raises(Unreachable, match="not one of the public internet"):
        post(one, url)

    assert receiver.calls == 0


def test_of_a_names_addresses_only_the_good_ones_are_called(
    receiver: WebhookReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("provisioner.webhook.socket.getaddrinfo", resolver(["10.0.0.1", "127.0.0.1"]))

    post(sender(), receiver.url.replace("127.0.0.1", "billing.example.net"))

    assert receiver.received[0].headers["host"].startswith("billing.example.net:")


def test_plain_http_goes_to_allowed_networks_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("provisioner.webhook.socket.getaddrinfo", resolver(["8.8.8.8"]))

    assert "plain HTTP is only for networks" in sender().check("http://billing.example.net/hook")


@pytest.mark.parametrize(
    "url",
    [
        "", "billing", "ftp://billing.example.net/planted", "https://", "https://:80/planted", "https://[::1/planted",
        "https://name:planted@billing.example.net/", "https://billing.example.net/planted#x", "https://a b/planted",
        "https://billing.example.net:99999/planted", "https://billing.example.net:0/planted", "https://пример/planted",
        "https://billing.example.net/planted\r\nX: y",
    ],
)  # fmt: skip
def test_what_is_no_address_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(Invalid) as refusal:
        sender().check(url)

    assert refusal.value.field == "url"
    assert "planted" not in str(refusal.value)


def test_nobody_there_is_said_in_one_sentence_that_tells_no_path() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]

    with pytest.raises(Unreachable) as trouble:
        post(sender(), f"http://127.0.0.1:{port}/planted-path")

    assert str(trouble.value) == "callback via 127.0.0.1: no connection"


def serve_tls(context: ssl.SSLContext) -> Callable[[socket.socket], None]:
    def answer(line: socket.socket) -> None:
        with suppress(OSError), context.wrap_socket(line, server_side=True) as wrapped:
            wrapped.recv(65536)
            wrapped.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")
            while wrapped.recv(65536):
                """Read the rest: to close on what was not read takes the answer back."""

    return answer


def test_a_certificate_counts_only_when_it_is_trusted(tmp_path: Path) -> None:
    made = certificate.create(tmp_path)

    with fake.raw(serve_tls(made.context())) as port:
        url = f"https://127.0.0.1:{port}/hook"
        post(sender(ca_file=made.file), url)
        with pytest.raises(Unreachable, match="its certificate is not trusted"):
            post(sender(), url)


@pytest.mark.parametrize("text", ["192.0.2.1/24", "all", "127.0.0.1 ; 10.0.0.0/8"])
def test_networks_that_are_none_name_their_variable(text: str) -> None:
    with pytest.raises(BadConfig, match="PROVISIONER_CALLBACK_NETWORKS"):
        networks(text)
