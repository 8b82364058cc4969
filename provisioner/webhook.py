"""
Signed webhooks, going out: one POST to an address that somebody typed in; touches sockets and nothing of ours.

What is judged is the address that is connected to, not its name: one that soon points elsewhere gains nothing.
"""

import base64
import hashlib
import hmac
import http.client
import ipaddress
import socket
import ssl
import time
from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from provisioner.domain import touch
from provisioner.errors import BadConfig, Invalid, Retryable, Unreachable, Unsure
from provisioner.line import Found, Limit, NameUnanswered, NameUnknown

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address

VARIABLE = "PROVISIONER_CALLBACK_NETWORKS"
ANSWER_BYTES = 4096  #: read of an answer's body; nothing in it matters
OPERATION = "callback"
#: a cloud's service for its own machines at a public address; all the others are link-local or private
METADATA = frozenset({ipaddress.ip_address("168.63.129.16")})
NAT64 = ipaddress.ip_network("64:ff9b::/96")


def networks(text: str) -> tuple[Network, ...]:
    """Read networks separated by commas, "" for none. Raises `BadConfig`, naming the variable."""
    try:
        return tuple(ipaddress.ip_network(part.strip()) for part in text.split(",") if part.strip())
    except ValueError:
        raise BadConfig(f"{VARIABLE}: write networks like 192.0.2.0/24, separated by commas") from None


def signature(secret: str, key: str, timestamp: int, body: bytes) -> str:
    """Give the signature's header: HMAC-SHA256 by *secret*, as text, of id, instant and body with dots between."""
    signed = f"{key}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(secret.encode(), signed, hashlib.sha256).digest()).decode("ascii")


class WebhookSender:
    """Satisfies `ports.Webhooks`."""

    def __init__(self, *, allowed: Sequence[Network] = (), ca_file: Path | None = None, total_seconds: float) -> None:
        """Refuse what is not on the public internet but in *allowed*; trust *ca_file*, None: the system's."""
        self._allowed, self._ca_file, self._seconds = tuple(allowed), ca_file, total_seconds

    def check(self, url: str) -> str:
        """
        Say why *url* could not be called now, "" when it can: its name and its addresses; connects to nothing.

        Raises:
            Invalid: it is no address that a webhook can have.
        """
        parts = _parts(url)
        try:
            self._reachable(parts, Limit(self._seconds))
        except Unreachable as error:
            return str(error)
        return ""

    def post(self, url: str, *, secret: str, key: str, body: bytes) -> bytes:
        """
        Post *body*, signed; returns the beginning of an answer of 2xx. Safe to repeat under the same *key*.

        The time limit counts from the name's look-up to the answer. No redirect is followed.

        Raises:
            TransactionOpen: a database transaction is open.
            Unreachable: nothing was sent.
            Unsure: something was sent, and no whole answer came.
            Retryable: it was answered with anything but 2xx.
        """
        touch.may_call(self._seconds, mutating=True)
        try:
            parts = _parts(url)
        except Invalid as error:
            raise _unreachable(str(error)) from None
        limit = Limit(self._seconds)
        with limit, closing(self._connect(parts, limit)) as line:
            status, answer = _exchange(line, parts, limit, self._headers(secret, key, body), body)
        if not http.client.OK <= status < http.client.MULTIPLE_CHOICES:
            where = parts.hostname or ""
            redirect = http.client.MULTIPLE_CHOICES <= status < http.client.BAD_REQUEST
            why = "; redirects are not followed" if redirect else ""
            raise Retryable(f"answered {status}{why}", system=where, operation=OPERATION)
        return answer

    @staticmethod
    def _headers(secret: str, key: str, body: bytes) -> dict[str, str]:
        now = int(time.time())
        return {
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            "User-Agent": "provisioner",
            "Connection": "close",
            "Webhook-Id": key,
            "Webhook-Timestamp": str(now),
            "Webhook-Signature": signature(secret, key, now, body),
        }

    def _connect(self, parts: SplitResult, limit: Limit) -> socket.socket:
        """Connect to the first good address that answers."""
        found = self._reachable(parts, limit)
        trust = self._trust() if parts.scheme == "https" else None
        try:
            line = limit.connect(found)
            try:
                return trust.wrap_socket(line, server_hostname=parts.hostname) if trust else line
            except BaseException:
                line.close()
                raise
        except ssl.SSLCertVerificationError:
            detail = "its certificate is not trusted"
        except (OSError, ValueError):
            detail = f"no connection within {limit.seconds:g} s" if limit.over else "no connection"
        raise _unreachable(detail, parts)

    def _trust(self) -> ssl.SSLContext:
        """Give what the certificate is judged by; read anew each time, so that a renewed file is used at once."""
        try:
            return ssl.create_default_context(cafile=str(self._ca_file) if self._ca_file else None)
        except (OSError, ssl.SSLError):
            raise BadConfig("PROVISIONER_CALLBACK_CA_FILE can't be read, or holds no certificate in PEM") from None

    def _reachable(self, parts: SplitResult, limit: Limit) -> list[Found]:
        """Give the addresses that may be called. Raises `Unreachable` where there is none."""
        found = _resolve(parts, limit)
        good = [one for one in found if not self._refusal(one[4][0], parts.scheme)]
        if not good:
            raise _unreachable(self._refusal(found[0][4][0], parts.scheme), parts)
        return good

    def _refusal(self, text: str, scheme: str) -> str:
        """Say why an address is not called, "" for one that is."""
        address = ipaddress.ip_address(text.partition("%")[0])
        forms = [address, *_inside(address)]
        if any(one in network for network in self._allowed for one in forms if one.version == network.version):
            return ""
        if any(not one.is_global or one.is_multicast or one in METADATA for one in forms):
            return f"its address is not one of the public internet; {VARIABLE} may allow it"
        return f"plain HTTP is only for networks that {VARIABLE} allows: use https://" if scheme == "http" else ""


def _exchange(
    line: socket.socket, parts: SplitResult, limit: Limit, headers: dict[str, str], body: bytes
) -> tuple[int, bytes]:  # fmt: skip
    """Send one request; give its status, and of its body what is read. Raises `Unsure`."""
    assert parts.hostname is not None  # noqa: S101 - `_parts` has seen to it
    call = http.client.HTTPConnection(parts.hostname, parts.port or _port(parts))
    call.sock = line
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    try:
        call.request("POST", target, body, {"Host": parts.netloc, **headers})
        with call.getresponse() as answer:
            read, status = answer.read(ANSWER_BYTES), answer.status
    except (OSError, http.client.HTTPException, ValueError):
        read, status = b"", 0
    # Raised out here, so that the error has no context: what these libraries say may hold what was sent.
    if limit.over:
        raise Unsure(f"no whole answer within {limit.seconds:g} s", system=parts.hostname, operation=OPERATION)
    if not status:
        raise Unsure("the connection ended before an answer came", system=parts.hostname, operation=OPERATION)
    return status, read


def _parts(url: str) -> SplitResult:
    """Take an address apart. Raises `Invalid`; no message repeats it: a path may hold a secret."""
    parts = urlsplit("")
    bad = True
    with suppress(ValueError):
        parts = urlsplit(url)
        bad = parts.scheme not in ("https", "http") or not parts.hostname or parts.port == 0
    if bad or not url.isascii() or not url.isprintable() or " " in url:
        raise Invalid(
            "url is no address that can be called; write it like https://billing.example.net/hook", field="url"
        )
    if "@" in parts.netloc or parts.fragment:
        raise Invalid("url may hold neither a user name, nor a password, nor a fragment", field="url")
    return parts


def _port(parts: SplitResult) -> int:
    return http.client.HTTPS_PORT if parts.scheme == "https" else http.client.HTTP_PORT


def _resolve(parts: SplitResult, limit: Limit) -> Sequence[Found]:
    """Look the name up. Raises `Unreachable`."""
    try:
        return limit.resolve(parts.hostname or "", parts.port or _port(parts))
    except NameUnanswered:
        detail = f"no answer about its name within {limit.seconds:g} s"
    except NameUnknown:
        detail = "its name is unknown"
    raise _unreachable(detail, parts)


def _inside(address: _Address) -> list[_Address]:
    """Give the IPv4 addresses that an IPv6 one stands for."""
    if isinstance(address, ipaddress.IPv4Address):
        return []
    inner: list[_Address | None] = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    if address in NAT64:
        inner.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return [one for one in inner if one is not None]


def _unreachable(detail: str, parts: SplitResult | None = None) -> Unreachable:
    return Unreachable(detail, system=(parts.hostname or "") if parts else "", operation=OPERATION)
