"""The receiver that senders are tested against refuses what it must, keeps each id once, and misbehaves to order."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import json
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from tests.fakes.webhook_receiver import Trouble, WebhookReceiver

SECRET = b"correct-horse"


@pytest.fixture
def receiver() -> Iterator[WebhookReceiver]:
    with WebhookReceiver(SECRET) as found:
        yield found


def send(
    receiver: WebhookReceiver, hook: str = "h-1", *, age: int = 0, secret: bytes = SECRET, timeout: float = 10.0
) -> tuple[int, dict[str, str], str | None]:
    body = json.dumps({"event": "active"}).encode()
    stamp = str(int(time.time()) - age)
    signature = hmac.new(secret, f"{hook}.{stamp}.".encode() + body, hashlib.sha256).digest()
    to = http.client.HTTPConnection(urlsplit(receiver.url).netloc, timeout=timeout)
    try:
        to.request(
            "POST",
            "/hook",
            body,
            {
                "Webhook-Id": hook,
                "Webhook-Timestamp": stamp,
                "Webhook-Signature": "v1," + base64.b64encode(signature).decode(),
            },
        )
        answer = to.getresponse()
        return answer.status, json.loads(answer.read()), answer.getheader("Location")
    finally:
        to.close()


def test_a_signed_call_is_recorded_and_answered_with_a_ref(receiver: WebhookReceiver) -> None:
    status, said, _ = send(receiver)

    assert status == 200
    assert [(one.id, one.ref, one.body) for one in receiver.received] == [("h-1", said["ref"], {"event": "active"})]


def test_a_repeated_id_is_recorded_once_and_answered_the_same(receiver: WebhookReceiver) -> None:
    first, again, other = (send(receiver, hook)[1] for hook in ("h-1", "h-1", "h-2"))

    assert first == again != other
    assert [one.id for one in receiver.received] == ["h-1", "h-2"]
    assert receiver.repeated == ["h-1"]


@pytest.mark.parametrize("wrong", [{"age": 301}, {"age": -400}, {"secret": b"wrong"}])
def test_a_call_that_is_old_or_wrongly_signed_is_refused(receiver: WebhookReceiver, wrong: dict[str, int]) -> None:
    status, _, _ = send(receiver, **wrong)  # type: ignore[arg-type]

    assert (status, receiver.received) == (401, [])


def test_it_misbehaves_as_often_as_it_was_told_to(receiver: WebhookReceiver) -> None:
    receiver.misbehave(Trouble.ERROR, 2)
    receiver.misbehave(Trouble.REDIRECT)

    answers = [send(receiver) for _ in range(4)]

    assert [status for status, _, _ in answers] == [500, 500, 302, 200]
    assert answers[2][2] == "/elsewhere"
    assert len(receiver.received) == 1


def test_a_dropped_reply_may_have_been_taken(receiver: WebhookReceiver) -> None:
    receiver.misbehave(Trouble.DROP, taken=True)

    with pytest.raises(http.client.RemoteDisconnected):
        send(receiver)
    assert [one.id for one in receiver.received] == ["h-1"]
    assert send(receiver)[1] == {"ref": receiver.received[0].ref}


def test_a_hanging_call_gets_no_answer(receiver: WebhookReceiver) -> None:
    receiver.misbehave(Trouble.HANG)

    with pytest.raises(TimeoutError):
        send(receiver, timeout=0.2)
    assert receiver.received == []
