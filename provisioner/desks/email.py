"""
Messages by mail, over SMTP; touches one mail server.

A mail server knows no keys: what is sent again after a lost answer comes twice, under the same Message-ID, by which
mail programs and help desks recognise it. Follow-ups name the first message in `References`, so they stay one thread.
"""

import re
import smtplib
import socket
import ssl
from contextlib import suppress
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from provisioner.domain import touch
from provisioner.errors import BadConfig, BadValue, Busy, Denied, RemoteError, Unreachable, Unsure
from provisioner.line import Limit, NameUnanswered, NameUnknown
from provisioner.ports import DeskCapabilities, Message, TicketReading, TicketStatus

ADDRESS = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_{|}~-]{1,64}@([A-Za-z0-9-]{1,63}\.)*[A-Za-z0-9-]{1,63}")
PORTS = {"smtp": 587, "smtps": 465, "smtp+plain": 25}
SERVER_SAYS_MOST = 200  #: characters of a mail server's answer that are shown
LATER = 500  #: SMTP codes below it mean: not now


@dataclass(frozen=True, slots=True)
class MailServer:
    """How a mail server is reached."""

    url: str  #: `smtp://` with STARTTLS, `smtps://`, `smtp+plain://` without any encryption
    sender: str  #: from whom the messages are
    username: str = ""
    password: str = field(default="", repr=False)
    ca_file: Path | None = None  #: None: the system's authorities
    total_seconds: float = 10.0  #: limit of one conversation, look-up of the name to the last answer

    def __post_init__(self) -> None:
        """Refuse what can't work. Raises `BadConfig`; the message names the variable, and never its value."""
        try:
            parts = urlsplit(self.url)
            good = parts.scheme in PORTS and bool(parts.hostname) and parts.port != 0 and parts.path in ("", "/")
        except ValueError:
            good, parts = False, urlsplit("")
        if not good:
            raise BadConfig(
                "PROVISIONER_SMTP_URL: write it like smtp://mail.example.net:587, smtps:// or smtp+plain://"
            )
        if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
            raise BadConfig(
                "PROVISIONER_SMTP_URL holds more than an address: set PROVISIONER_SMTP_USERNAME and _PASSWORD"
            )
        if not ADDRESS.fullmatch(self.sender):
            raise BadConfig("PROVISIONER_SMTP_FROM: give a mailbox, like provisioner@example.net")
        if bool(self.username) != bool(self.password):
            raise BadConfig("PROVISIONER_SMTP_USERNAME and PROVISIONER_SMTP_PASSWORD: set both or none")
        if self.username and parts.scheme == "smtp+plain":
            raise BadConfig("PROVISIONER_SMTP_URL: a password does not travel over smtp+plain://; use smtp://")

    @property
    def scheme(self) -> str:
        """How it is encrypted."""
        return urlsplit(self.url).scheme

    @property
    def host(self) -> str:
        """Name or address."""
        return urlsplit(self.url).hostname or ""

    @property
    def port(self) -> int:
        """TCP port."""
        return urlsplit(self.url).port or PORTS[self.scheme]


class EmailDesk:
    """Satisfies `ports.Desk`."""

    capabilities = DeskCapabilities(dedup=False, comment=True, close=False, status=False)

    def __init__(self, server: MailServer) -> None:
        """Send by *server*."""
        self._server = server

    def check(self, to: str) -> None:
        """Try the mail server's address, certificate and credentials, and that *to* is a mailbox; sends nothing."""
        self._mailbox(to)
        self._converse()

    def open(self, message: Message) -> str:
        """Send the first message of a thread; returns its Message-ID."""
        ours = self._id(message)
        self._send(message, ours, ref="")
        return ours

    def comment(self, ref: str, message: Message, *, reopen: bool = False) -> None:
        """Answer the first message of thread *ref*; a thread is never closed."""
        del reopen
        self._send(message, self._id(message), ref=ref)

    def close(self, ref: str, message: Message) -> None:
        """Send the all-clear; what becomes of the thread is up to its readers."""
        self._send(message, self._id(message), ref=ref)

    def status(self, ref: str) -> TicketReading:
        """Say that it can't be known."""
        return TicketReading(TicketStatus.UNKNOWN)

    def _id(self, message: Message) -> str:
        return f"<{message.key}@{self._server.sender.rpartition('@')[2]}>"

    def _send(self, message: Message, ours: str, *, ref: str) -> None:
        self._mailbox(message.to)
        mail = EmailMessage(policy=SMTP)
        mail["From"] = self._server.sender
        mail["To"] = message.to
        mail["Subject"] = f"Re: {message.subject}" if ref else message.subject
        mail["Date"] = formatdate(usegmt=True)
        mail["Message-ID"] = ours
        if ref:
            mail["In-Reply-To"] = ref
            mail["References"] = ref
        mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: nobody's absence note answers it
        mail.set_content(message.text, cte="quoted-printable")
        self._converse(mail, message.to)

    def _mailbox(self, to: str) -> None:
        if not ADDRESS.fullmatch(to):
            raise self._error(BadValue, f"{to!r} is no mailbox")

    def _converse(self, mail: EmailMessage | None = None, to: str = "") -> None:
        """Connect, trust, log in, hand *mail* over; errors are told in our own words."""
        touch.may_call(self._server.total_seconds, mutating=False)
        told: RemoteError | None = None
        conversation = _Conversation(self._server)
        try:
            with conversation.limit, conversation:
                conversation.begin()
                if mail is not None:
                    conversation.hand_over(mail, to)
        except (smtplib.SMTPException, OSError, ValueError) as trouble:
            told = self._told(trouble, conversation)
        # Raised out here, so that the error has no context: the library's own text may hold what we sent.
        if told is not None:
            raise told

    def _told(self, trouble: Exception, server: "_Conversation") -> RemoteError:
        if server.limit.over:  # half an answer, where we cut it, may look like a refusal
            kind = Unsure if server.handing_over else Unreachable
            return self._error(kind, f"no whole answer within {self._server.total_seconds:g} s")
        match trouble:
            case smtplib.SMTPAuthenticationError():
                return self._error(Denied, f"our name or password is refused ({trouble.smtp_code})")
            case smtplib.SMTPRecipientsRefused():
                code, said = next(iter(trouble.recipients.values()), (0, b""))
                return self._refused(code, said, "the mailbox is refused", BadValue)
            case smtplib.SMTPResponseException():
                ours = BadValue if server.handing_over else Denied  # no message is to blame before there is one
                return self._refused(trouble.smtp_code, trouble.smtp_error, "refused", ours)
            case smtplib.SMTPNotSupportedError():
                return self._error(Unreachable, "it offers no STARTTLS, or no way to log in that we know")
            case ssl.SSLCertVerificationError():
                why = trouble.verify_message.split(",")[0].lower()
                return self._error(Unreachable, f"its certificate is not trusted: {why}")
        if server.handing_over:
            return self._error(Unsure, "the connection ended before it said whether it took the message")
        if isinstance(trouble, ssl.SSLError):
            return self._error(Unreachable, "no TLS could be agreed on; is it smtp:// or smtps:// ?")
        return self._error(Unreachable, _no_connection(trouble))

    def _refused(self, code: int, said: bytes | str, what: str, for_good: type[RemoteError]) -> RemoteError:
        text = said.decode(errors="replace") if isinstance(said, bytes) else said
        shown = " ".join("".join(c if c.isprintable() else " " for c in text).split())[:SERVER_SAYS_MOST]
        if self._server.password:
            shown = shown.replace(self._server.password, "…")
        kind = Busy if code < LATER else for_good
        return self._error(kind, f"{what}: {code} {shown}".rstrip())

    def _error(self, kind: type[RemoteError], detail: str) -> RemoteError:
        return kind(detail, operation="message", system=f"mail server {self._server.host}:{self._server.port}")


def _no_connection(trouble: Exception) -> str:
    match trouble:
        case NameUnknown() | NameUnanswered():
            return "its name is unknown"
        case ConnectionRefusedError():
            return "connection refused"
        case TimeoutError():
            return "no connection in time"
        case smtplib.SMTPServerDisconnected() | ConnectionError():
            return "the connection was closed"
        case _:
            return "no way to it"


class _Conversation:
    """One conversation, cut off when its time is over, also under a server that drips."""

    def __init__(self, server: MailServer) -> None:
        self.server = server
        self.handing_over = False  #: the message may have been taken, whatever is answered
        self.limit = Limit(server.total_seconds)
        self.smtp: smtplib.SMTP = _Smtp(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with suppress(smtplib.SMTPException, OSError, ValueError):
            if kind is None:
                self.smtp.quit()  # what was taken stays taken, whatever is answered now
        self.smtp.close()

    def begin(self) -> None:
        """Connect, encrypt, log in."""
        server = self.server
        code, said = self.smtp.connect(server.host, server.port)
        if code != 220:  # noqa: PLR2004 - RFC 5321: ready
            raise smtplib.SMTPConnectError(code, said)
        if server.scheme == "smtp":
            self.smtp.starttls(context=self.context())
        if server.username:
            self.smtp.login(server.username, server.password)

    def hand_over(self, mail: EmailMessage, to: str) -> None:
        """Hand *mail* over; until it is answered nobody knows whether it was taken."""
        self.handing_over = True
        self.smtp.send_message(mail, self.server.sender, [to])
        if self.limit.over:  # half an answer, where we cut it, may look like a whole one
            raise TimeoutError
        self.handing_over = False

    def context(self) -> ssl.SSLContext:
        """Give what the certificate is judged by; read anew each time, so that a renewed file is used at once."""
        try:
            return ssl.create_default_context(cafile=self.server.ca_file)
        except (OSError, ssl.SSLError):
            raise BadConfig("PROVISIONER_SMTP_CA_FILE holds no certificates in PEM") from None

    def dial(self) -> socket.socket:
        """Connect to the first address that answers."""
        return self.limit.connect(self.limit.resolve(self.server.host, self.server.port))


class _Smtp(smtplib.SMTP):
    """The library's client, on a connection of ours."""

    def __init__(self, conversation: _Conversation) -> None:
        ours = conversation.server.sender.rpartition("@")[2]  # asking the resolver for our own name may take long
        super().__init__(local_hostname=ours, timeout=conversation.server.total_seconds)
        self._conversation = conversation

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        """Connect; the library's own hook, which its TLS client uses as well."""
        self._host = host  # what a certificate is compared with
        if self._conversation.server.scheme != "smtps":
            return self._conversation.dial()
        context = self._conversation.context()
        sock = self._conversation.dial()
        try:
            return context.wrap_socket(sock, server_hostname=host)
        except BaseException:
            sock.close()
            raise
