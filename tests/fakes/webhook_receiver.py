"""
A receiver of signed webhooks on loopback: checks each call, keeps what it took, and misbehaves to order.

Headers: `Webhook-Id`, `Webhook-Timestamp` (unix seconds), `Webhook-Signature: v1,` and the Base64 of an HMAC-SHA256
with the secret over id, timestamp and body, joined by dots. A repeated id is kept once and answered the same.
Written from the wire's description alone, never from a sender of ours.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

OLDEST_SECONDS = 300  #: a call signed longer ago, or further ahead, is refused
BYTES_MOST = 1024 * 1024


class Trouble(StrEnum):
    """How the receiver misbehaves."""

    ERROR = "error"  #: answers 500
    HANG = "hang"  #: no answer until the receiver ends, or `let_go` is called
    REDIRECT = "redirect"  #: answers 302 to `/elsewhere`; who follows is seen in `followed`
    DROP = "drop"  #: closes the connection without a word


@dataclass(frozen=True, slots=True)
class Received:
    """A webhook that was taken."""

    id: str
    ref: str  #: what the receiver calls it
    timestamp: int  #: unix seconds, as signed
    body: Any  #: decoded JSON
    path: str
    headers: Mapping[str, str]  #: names in lower case


@dataclass(slots=True)
class _Planned:
    """What shall go wrong with the next calls."""

    trouble: Trouble
    calls: int
    taken: bool


class WebhookReceiver:
    """A context manager; what was taken is in `received`, oldest first, each id once."""

    def __init__(self, secret: str | bytes, *, now: Callable[[], float] = time.time) -> None:
        """Check signatures with *secret* by the clock *now*."""
        self.received: list[Received] = []
        self.repeated: list[str] = []  #: ids that came again
        self.refused: list[str] = []  #: why a call was not taken, one sentence a call
        self.calls = 0  #: all of them, the ones that met trouble too
        self.followed = 0  #: calls that followed a redirect
        self._secret = secret.encode() if isinstance(secret, str) else secret
        self._now = now
        self._planned: list[_Planned] = []
        self._lock = threading.Lock()
        self._released = threading.Event()
        self._server = _Server(("127.0.0.1", 0), _handler_of(self))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def url(self) -> str:
        """Where to send to."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/hook"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.let_go()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def misbehave(self, trouble: Trouble, calls: int = 1, *, taken: bool = False) -> None:
        """Meet the next *calls* with *trouble*; *taken*: after the webhook was recorded, as when a reply is lost."""
        with self._lock:
            self._planned.append(_Planned(trouble, calls, taken))

    def let_go(self) -> None:
        """End every call that hangs."""
        self._released.set()

    def answer(
        self, path: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[HTTPStatus, dict[str, str], Trouble | None]:
        """Judge one call; returns status, the JSON to answer with, and the trouble that it meets."""
        with self._lock:
            self.calls += 1
            if path == "/elsewhere":
                self.followed += 1
            planned = self._next_trouble()
            if planned and not planned.taken:
                return HTTPStatus.INTERNAL_SERVER_ERROR, {}, planned.trouble
            status, said = self._take(path, headers, body)
            return status, said, planned.trouble if planned else None

    def released(self) -> None:
        """Wait until hanging calls are let go."""
        self._released.wait()

    def _next_trouble(self) -> _Planned | None:
        if not self._planned:
            return None
        planned = self._planned[0]
        planned.calls -= 1
        if planned.calls <= 0:
            self._planned.pop(0)
        return planned

    def _take(self, path: str, headers: Mapping[str, str], body: bytes) -> tuple[HTTPStatus, dict[str, str]]:
        status, why = self._why_not(headers, body)
        if why:
            self.refused.append(why)
            return status, {"error": why}
        hook = headers["webhook-id"]
        old = next((one for one in self.received if one.id == hook), None)
        if old:
            self.repeated.append(hook)
            return HTTPStatus.OK, {"ref": old.ref}
        ref = f"hook-{len(self.received) + 1}"
        self.received.append(
            Received(hook, ref, int(headers["webhook-timestamp"]), json.loads(body), path, dict(headers))
        )
        return HTTPStatus.OK, {"ref": ref}

    def _why_not(self, headers: Mapping[str, str], body: bytes) -> tuple[HTTPStatus, str]:
        """Say with which status, and why, a call is not taken; "" for one that is."""
        hook, stamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
        if not hook or not (stamp.isascii() and stamp.isdigit()):
            return HTTPStatus.BAD_REQUEST, "Webhook-Id or Webhook-Timestamp is missing, or no number"
        signed = b".".join((hook.encode(), stamp.encode(), body))
        wanted = "v1," + base64.b64encode(hmac.new(self._secret, signed, hashlib.sha256).digest()).decode()
        given = headers.get("webhook-signature", "").split()  # several: while a secret is changed
        if not any(hmac.compare_digest(wanted.encode(), one.encode()) for one in given):
            return HTTPStatus.UNAUTHORIZED, "the signature does not fit"
        if abs(self._now() - int(stamp)) > OLDEST_SECONDS:
            return HTTPStatus.UNAUTHORIZED, f"signed more than {OLDEST_SECONDS} s from now"
        try:
            json.loads(body)
        except ValueError:
            return HTTPStatus.BAD_REQUEST, "the body is no JSON"
        return HTTPStatus.OK, ""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of a client that went away."""


def _handler_of(receiver: WebhookReceiver) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            size = int(self.headers.get("Content-Length") or 0)
            if size > BYTES_MOST:
                self._say(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, {"error": "the body is too large"})
                return
            body = self.rfile.read(size)
            headers = {name.lower(): value for name, value in self.headers.items()}
            status, said, trouble = receiver.answer(self.path, headers, body)
            match trouble:
                case None:
                    self._say(status, said)
                case Trouble.ERROR:
                    self._say(HTTPStatus.INTERNAL_SERVER_ERROR, {"error": "told to"})
                case Trouble.REDIRECT:
                    self._say(HTTPStatus.FOUND, {}, Location="/elsewhere")
                case Trouble.HANG:
                    receiver.released()
                case Trouble.DROP:
                    pass
            self.close_connection = True

        def do_GET(self) -> None:
            receiver.answer(self.path, {}, b"")
            self._say(HTTPStatus.METHOD_NOT_ALLOWED, {"error": "POST it"})

        def _say(self, status: HTTPStatus, body: Mapping[str, str], **headers: str) -> None:
            text = json.dumps(body).encode()
            self.send_response(status)
            for name, value in {
                "Content-Type": "application/json",
                "Content-Length": str(len(text)),
                **headers,
            }.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
            """Stay silent."""

    return Handler
