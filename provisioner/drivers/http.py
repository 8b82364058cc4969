"""
The one place in drivers that sends HTTP; touches sockets, and asks `domain/touch.py` first.

Each call has a connection of its own: on one that was kept alive nobody could tell "never sent"
from "sent, no answer".
"""

import http.client
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from http.cookiejar import DefaultCookiePolicy
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar
from urllib.parse import urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from provisioner.domain import touch
from provisioner.domain.connection import PACE_PATIENCE_SECONDS, TlsPolicy
from provisioner.errors import BadConfig, Busy, NotDone, RemoteError, Unreachable, Unsure, Unusable
from provisioner.line import Limit, NameUnanswered, NameUnknown

MAX_BODY_BYTES = 64 * 1024 * 1024  #: more than this is no answer of a DCIM
CHUNK_BYTES = 64 * 1024

_SHA256_HEX = re.compile(r"[0-9a-f]{64}")
_Kind = TypeVar("_Kind", bound=RemoteError)


@dataclass(frozen=True, slots=True)
class About:
    """What a call is about, for the message of what goes wrong; holds no value that is sent."""

    system: str  #: the connection's name
    operation: str = ""
    server: str = ""

    def error(self, kind: type[_Kind], detail: str) -> _Kind:
        """Give an error of *kind* that says what, where and why."""
        return kind(detail, system=self.system, operation=self.operation, server=self.server)

    def unanswered(self, detail: str, *, mutating: bool) -> Unsure | Unusable:
        """Give what an unusable answer means: an act is unsure, a look has shown nothing."""
        return self.error(Unsure, detail) if mutating else self.error(Unusable, detail)


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer, whatever its status."""

    status: int
    body: bytes


class Pace:
    """Spreads calls so that no more than so many a second start: those of this process, or of all that share *turn*."""

    def __init__(
        self,
        per_second: float,
        *,
        turn: Callable[[], float | None] | None = None,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], object] | None = None,
    ) -> None:
        self._step = 1 / per_second if per_second > 0 else 0.0
        self._turn = turn or self._own_turn
        self._clock = clock
        self._pause = pause or threading.Event().wait
        self._free_at = clock()
        self._lock = threading.Lock()

    def wait(self, about: About) -> float:
        """
        Return when it is this call's turn, with the seconds that this took.

        Raises:
            Busy: the turn would come later than `PACE_PATIENCE_SECONDS`; nothing was sent.
        """
        if not self._step:
            return 0.0
        seconds = self._turn()
        if seconds is None:
            raise about.error(Busy, "not sent: more calls are waiting than the limit lets through")
        if seconds > 0:
            self._pause(seconds)
        return max(seconds, 0.0)

    def _own_turn(self) -> float | None:
        with self._lock:
            now = self._clock()
            turn = max(now, self._free_at)
            if turn - now > PACE_PATIENCE_SECONDS:
                return None
            self._free_at = turn + self._step
        return turn - now


def new_session(tls: TlsPolicy) -> requests.Session:
    """Give a session that trusts as *tls* says, and neither proxies, cookies nor redirects."""
    session = _Session()
    session.trust_env = False
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    session.headers.clear()
    session.headers.update({"User-Agent": "provisioner", "Accept-Encoding": "identity"})
    for scheme in ("https://", "http://"):
        session.mount(scheme, _Adapter(tls))
    return session


def send(
    session: requests.Session,
    method: str,
    url: str,
    data: bytes,
    *,
    total_seconds: float,
    mutating: bool,
    about: About,
    headers: dict[str, str] | None = None,
) -> Reply:
    """
    Send one request and give the whole answer, of whatever status.

    *total_seconds* counts from the name look-up to the last byte; at its end the socket is shut
    down, also under a server that drips. Nothing is followed, reused or sent twice.
    A body without a length ends where the connection ends: whether it is whole, only its parser
    can say.

    Raises:
        TransactionOpen: a database transaction is open.
        NotDone: *mutating*, and the lease is shorter than the call may last.
        Unreachable: no connection, or none that is trusted; nothing was sent.
        Unsure: *mutating*, and bytes may have been sent, but no whole answer came.
        Unusable: the same of a look.
    """
    try:
        touch.may_call(total_seconds, mutating=mutating)
    except NotDone as refusal:
        raise about.error(NotDone, refusal.detail) from None
    if fault := _address_fault(url):
        raise about.error(Unreachable, fault)
    every = {**(headers or {}), "Connection": "close"}
    call = partial(session.request, method, url, data=data, headers=every)
    with _Watch(total_seconds) as watch:
        try:
            return _exchange(call, watch)
        except _NotConnected as refusal:
            detail = refusal.sentence
        except _TooLong:
            detail = f"the answer is longer than {MAX_BODY_BYTES // 1024**2} MiB"
        except _SAYS_NOTHING as trouble:
            detail = _why(trouble, watch)
    # Raised out here, so that the error has no context: the text of requests' own can hold secrets.
    if not watch.connected:
        raise about.error(Unreachable, detail)
    raise about.unanswered(detail, mutating=mutating)


class Caller:
    """Satisfies `ports.Http`, for those who may not meet a driver; bootstrap hands it to them."""

    def __init__(self, system: str, *, ca_file: Path | None, variable: str) -> None:
        """Call *system*, trusting *ca_file*, None: the system's authorities; *variable* is what names that file."""
        self._system, self._ca_file, self._variable = system, ca_file, variable

    def call(
        self,
        method: str,
        url: str,
        body: bytes,
        *,
        headers: Mapping[str, str],
        seconds: float,
        mutating: bool,
        operation: str,
    ) -> tuple[int, bytes]:
        """Send one request as `send` does. Raises also `BadConfig`: the file with the authorities can't be read."""
        about = About(self._system, operation)
        with new_session(self._trust()) as session:
            reply = send(
                session, method, url, body, total_seconds=seconds, mutating=mutating, about=about, headers=dict(headers)
            )
        return reply.status, reply.body

    def _trust(self) -> TlsPolicy:
        """Read the file anew each time, so that a renewed one is used at once."""
        if self._ca_file is None:
            return TlsPolicy()
        try:
            return TlsPolicy(ca_pem=self._ca_file.read_text())
        except (OSError, UnicodeDecodeError) as error:
            raise BadConfig(f"{self._variable} can't be read: {type(error).__name__}") from None


#: All that requests, urllib3 and the sockets below them raise; deliberately not every `Exception`,
#: because Celery's soft time limit is one and belongs to the engine.
_SAYS_NOTHING = (
    requests.RequestException,
    urllib3.exceptions.HTTPError,
    http.client.HTTPException,
    OSError,
    ValueError,
)


class _NotConnected(Exception):
    """No connection that may be used; no byte of the request was sent."""

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)
        self.sentence = sentence


class _TooLong(Exception):
    """The body outgrew `MAX_BODY_BYTES`."""


class _Watch(Limit):
    """Cuts a call off when its time is over, and knows whether it ever had a connection."""

    connected = False

    def __enter__(self) -> Self:
        self._token = _present.set(self)
        return super().__enter__()

    def __exit__(self, *_: object) -> None:
        super().__exit__()
        _present.reset(self._token)


_present: ContextVar[_Watch] = ContextVar("provisioner_http_watch")


def _exchange(call: Callable[..., requests.Response], watch: _Watch) -> Reply:
    with call(timeout=watch.left(), allow_redirects=False, stream=True) as response:
        body = bytearray()
        for chunk in response.iter_content(CHUNK_BYTES):
            body += chunk
            if len(body) > MAX_BODY_BYTES:
                raise _TooLong
        if watch.over:
            # A body without a length ends where the connection ends, also where we cut it.
            raise TimeoutError
        return Reply(response.status_code, bytes(body))


def _why(trouble: Exception, watch: _Watch) -> str:
    """Say in our own words what *trouble* was; its text is never used."""
    if watch.over or isinstance(trouble, requests.Timeout | TimeoutError):
        return f"no whole answer within {watch.seconds:g} s"
    if not watch.connected:
        return "the address is not one that can be called"
    return "the connection ended before a whole answer had come"


def _address_fault(url: str) -> str:
    """Say why *url* can't be called, "" for a good one; the words never repeat it."""
    try:
        parts = urlsplit(url)
        ill = parts.scheme not in {"http", "https"} or not parts.hostname or parts.port == 0
    except ValueError:
        ill = True
    else:
        if parts.username is not None or parts.password is not None:
            return "the address may not hold a user name or a password"
    return "the address is not one that can be called" if ill else ""


def _dial(host: str, port: int, watch: _Watch) -> socket.socket:
    try:
        return watch.connect(watch.resolve(host, port))
    except OSError as trouble:
        sentence = _no_connection(trouble, host, port, watch)
    raise _NotConnected(sentence)


def _no_connection(trouble: OSError, host: str, port: int, watch: _Watch) -> str:
    if isinstance(trouble, NameUnanswered):
        return f"no answer about the name {host} within {watch.seconds:g} s"
    if isinstance(trouble, NameUnknown):
        return f"the name {host} is unknown"
    if watch.over or isinstance(trouble, TimeoutError):
        return f"no connection to {host}:{port} within {watch.seconds:g} s"
    if isinstance(trouble, ConnectionRefusedError):
        return f"connection refused by {host}:{port}"
    return f"no way to {host}:{port}"


class _WatchedHttp(HTTPConnection):
    """A connection that the watch can cut."""

    def _new_conn(self) -> socket.socket:
        return _dial(self.host.strip("[]"), self.port, _present.get())

    def connect(self) -> None:
        super().connect()
        _present.get().connected = True


class _WatchedHttps(HTTPSConnection):
    """The same with TLS: it counts as connected when the certificate has been trusted."""

    def _new_conn(self) -> socket.socket:
        return _dial(self.host.strip("[]"), self.port, _present.get())

    def connect(self) -> None:
        watch = _present.get()
        try:
            super().connect()
        except (OSError, urllib3.exceptions.HTTPError, ValueError) as trouble:
            sentence = _no_trust(trouble, watch)
        else:
            # Where trust was switched off, on purpose, not every call shall warn of it.
            self.is_verified = True
            watch.connected = True
            return
        raise _NotConnected(sentence)


def _no_trust(trouble: Exception, watch: _Watch) -> str:
    if isinstance(trouble, ssl.SSLCertVerificationError):
        return f"the certificate is not trusted: {_verdict(trouble)}"
    if watch.over or isinstance(trouble, TimeoutError):
        return f"no TLS connection within {watch.seconds:g} s"
    if isinstance(trouble, urllib3.exceptions.SSLError):
        return "the certificate is not trusted: it is not the one whose fingerprint is pinned"
    if isinstance(trouble, ssl.SSLEOFError | ConnectionError):
        return "the connection was closed during the TLS handshake"
    return "no TLS could be agreed on; perhaps plain HTTP is spoken here"


def _verdict(trouble: ssl.SSLCertVerificationError) -> str:
    """Give OpenSSL's reason without the names that it may quote."""
    return trouble.verify_message.split(",")[0].lower()


class _Closable(Protocol):
    def close(self) -> None: ...


class _HttpPool(HTTPConnectionPool):
    ConnectionCls = _WatchedHttp

    def _put_conn(self, conn: _Closable | None) -> None:
        if conn:
            conn.close()


class _HttpsPool(HTTPSConnectionPool):
    ConnectionCls = _WatchedHttps

    def _put_conn(self, conn: _Closable | None) -> None:
        if conn:
            conn.close()


class _Session(requests.Session):
    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """Follow nothing; left to itself requests reads the body of a redirect without a limit."""
        return None


class _Adapter(HTTPAdapter):
    """Brings the watched connections and our own idea of trust into requests."""

    def __init__(self, tls: TlsPolicy) -> None:
        self._tls = tls
        self._trust: tuple[object, ssl.SSLContext] | None = None
        super().__init__(max_retries=0)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _HttpPool, "https": _HttpsPool}

    def cert_verify(self, *_: Any, **__: Any) -> None:
        """Leave trust to the context below, where requests would load a bundle of its own."""

    def get_connection_with_tls_context(
        self, request: requests.PreparedRequest, *_: object, **__: object
    ) -> HTTPConnectionPool:
        parts = urlsplit(request.url or "")
        trust: dict[str, Any] = {}
        if parts.scheme == "https":
            context = self._present_context()
            trust = {
                "ssl_context": context,
                "cert_reqs": context.verify_mode,
                "assert_fingerprint": _fingerprint(self._tls) or None,
            }
        pool: HTTPConnectionPool = self.poolmanager.connection_from_host(
            parts.hostname, parts.port, parts.scheme, pool_kwargs=trust
        )
        return pool

    def _present_context(self) -> ssl.SSLContext:
        """Give the context; made anew when the system's authorities are other files than they were."""
        stamp = None if self._tls.ca_pem else _authorities()
        if self._trust is None or self._trust[0] != stamp:
            self._trust = (stamp, _context(self._tls))
        return self._trust[1]


def _authorities() -> Sequence[tuple[int, int]]:
    """Give what changes with the system's authorities: which files they are, and since when."""
    paths = ssl.get_default_verify_paths()
    found = []
    for path in (paths.cafile, paths.capath):
        try:
            stat = Path(path).stat() if path else None
        except OSError:
            continue  # there is none, or it is being replaced: the next call looks again
        if stat:
            found.append((stat.st_ino, stat.st_mtime_ns))
    return found


def _fingerprint(tls: TlsPolicy) -> str:
    """Give the pinned SHA-256 in bare hex, "" when none is pinned."""
    if not tls.fingerprint:
        return ""
    bare = re.sub(r"[:\s]", "", tls.fingerprint).lower().removeprefix("sha256")
    if not _SHA256_HEX.fullmatch(bare):
        raise _NotConnected("the pinned fingerprint is not a SHA-256 in hex")
    return bare


def _context(tls: TlsPolicy) -> ssl.SSLContext:
    """
    Give the context that trusts as *tls* says.

    OpenSSL's strict mode, Python's default since 3.13, is left out: panels of that age show
    certificates without the key identifiers that it demands. A certificate given as authority is
    trusted also when it is not a root, so that a self-signed one can simply be pasted.
    """
    if tls.fingerprint or not tls.verify:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    try:
        context = ssl.create_default_context(cadata=tls.ca_pem or None)
    except (ssl.SSLError, ValueError):
        raise _NotConnected("the connection's authorities are not certificates in PEM") from None
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if tls.ca_pem:
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return context
