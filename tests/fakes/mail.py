"""A real mail server on loopback, written by others (aiosmtpd), and a few that misbehave."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any, cast

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

NAME, PASSWORD = "mailer", "planted-smtp-password"


@dataclass
class MailServer:
    """Takes messages while it is up; *answer* may say otherwise to each."""

    scheme: str = "smtp+plain"
    tls: ssl.SSLContext | None = None
    auth: bool = False
    host: str = "127.0.0.1"
    port: int = 0
    mails: list[EmailMessage] = field(default_factory=list)
    raw: list[bytes] = field(default_factory=list)  #: the same, as they came over the wire
    logins: list[bytes] = field(default_factory=list)
    #: given the message after it was kept: what is answered, None for an answer that is lost
    answer: Callable[[EmailMessage], str | None] = lambda _: "250 taken"
    #: given a recipient: what is answered
    recipient: Callable[[str], str] = lambda _: "250 yes"

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.host}:{self.port}"

    # --- as aiosmtpd calls its handler ----------------------------------------------------------------------------

    async def handle_RCPT(self, _s: SMTP, _n: Session, envelope: Envelope, to: str, options: list[str]) -> str:  # noqa: N802
        answer = self.recipient(to)
        if answer.startswith("2"):
            envelope.rcpt_tos.append(to)
        return answer

    async def handle_DATA(self, server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802
        self.raw.append(cast("bytes", envelope.content))
        mail = message_from_bytes(self.raw[-1], policy=policy.default)
        assert isinstance(mail, EmailMessage)
        self.mails.append(mail)
        answer = self.answer(mail)
        if answer is None:
            cast("asyncio.Transport", server.transport).abort()
            return "421 gone"
        return answer

    def login(self, _server: Any, _session: Any, _envelope: Any, _mechanism: str, data: Any) -> AuthResult:  # noqa: ANN401
        assert isinstance(data, LoginPassword)
        self.logins.append(data.login)
        return AuthResult(success=(data.login, data.password) == (NAME.encode(), PASSWORD.encode()), handled=False)

    # --- life -----------------------------------------------------------------------------------------------------

    @contextmanager
    def up(self) -> Iterator[MailServer]:
        """Listen inside; on the same port as before when it was up before."""
        loop, ready, ended = asyncio.new_event_loop(), threading.Event(), threading.Event()

        def protocol() -> SMTP:
            starttls = self.tls if self.scheme == "smtp" else None
            return SMTP(
                self,
                hostname="mail.example.net",
                tls_context=starttls,
                require_starttls=starttls is not None,
                auth_required=self.auth,
                auth_require_tls=self.scheme == "smtp",
                authenticator=self.login if self.auth else None,
                loop=loop,
            )

        async def serve() -> None:
            implicit = self.tls if self.scheme == "smtps" else None
            server = await loop.create_server(protocol, self.host, self.port, ssl=implicit, reuse_address=True)
            self.port = server.sockets[0].getsockname()[1]
            ready.set()
            while not ended.is_set():  # noqa: ASYNC110 - set by another thread
                await asyncio.sleep(0.01)
            server.close()
            for task in asyncio.all_tasks(loop) - {asyncio.current_task()}:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task

        def run() -> None:
            loop.run_until_complete(serve())
            loop.close()

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        assert ready.wait(10)
        try:
            yield self
        finally:
            ended.set()
            thread.join(10)


@contextmanager
def raw(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    """Have *serve* called with each connection; give the port."""
    listener = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection, suppress(OSError):
                serve(connection)

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(10)


def text(mail: EmailMessage) -> str:
    """Give the body."""
    body = mail.get_body()
    assert body is not None
    return str(body.get_content())
