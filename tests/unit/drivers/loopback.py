"""Tiny servers on loopback that answer as badly as a test wants; touches nothing of the product."""

import contextlib
import datetime as dt
import ipaddress
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

Script = Callable[[socket.socket], None]  #: what is done with one accepted connection


class Loopback:
    """Accepts connections on a port of its own and plays *script* with each; keeps what was sent."""

    def __init__(self, script: Script, tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[bytes] = []
        self.connections = 0
        self.stopped = threading.Event()
        self._script = script
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self._thread = threading.Thread(target=self._accept, daemon=True)

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}/dcimgr"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopped.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for sock in self._open:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()
        self._thread.join(5)

    def _accept(self) -> None:
        while not self.stopped.is_set():
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._play, args=(sock,), daemon=True).start()

    def _play(self, sock: socket.socket) -> None:
        try:
            if self._tls:
                sock = self._tls.wrap_socket(sock, server_side=True)
            self._open.append(sock)
            self._script(sock)
        except OSError:
            return
        finally:
            sock.close()


def read_request(sock: socket.socket) -> bytes:
    """Read one request, head and body."""
    got = b""
    while b"\r\n\r\n" not in got:
        piece = sock.recv(65536)
        if not piece:
            return got
        got += piece
    head, _, body = got.partition(b"\r\n\r\n")
    length = 0
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    while len(body) < length and (piece := sock.recv(65536)):
        body += piece
    return head + b"\r\n\r\n" + body


def answering(
    *bodies: bytes | str, status: str = "200 OK", keep_alive: bool = False, into: list[bytes] | None = None
) -> Script:
    """Answer one request a connection with the next of *bodies*, the last for ever."""
    left = list(bodies)

    def script(sock: socket.socket) -> None:
        while request := read_request(sock):
            if into is not None:
                into.append(request)
            body = left.pop(0) if len(left) > 1 else left[0]
            raw = body.encode() if isinstance(body, str) else body
            head = f"HTTP/1.1 {status}\r\nContent-Length: {len(raw)}\r\n"
            head += "\r\n" if keep_alive else "Connection: close\r\n\r\n"
            sock.sendall(head.encode() + raw)
            if not keep_alive:
                sock.close()
                return

    return script


def raw(answer: bytes) -> Script:
    """Read the request, send these very bytes and close."""

    def script(sock: socket.socket) -> None:
        read_request(sock)
        sock.sendall(answer)
        sock.close()

    return script


def dripping(start: bytes, drop: bytes, *, first_read: bool = True) -> Script:
    """Send *start*, then *drop* again and again, each before any time-out that restarts could strike."""

    def script(sock: socket.socket) -> None:
        if first_read:
            read_request(sock)
        sock.sendall(start)
        pause = threading.Event()
        while True:
            sock.sendall(drop)
            pause.wait(0.02)

    return script


def resetting(*, after_request: bool) -> Script:
    """Cut the connection with RST, when the request or its first byte was read."""

    def script(sock: socket.socket) -> None:
        if after_request:
            read_request(sock)
        else:
            sock.recv(1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        sock.close()

    return script


def silent(sock: socket.socket) -> None:
    """Read and never answer."""
    while sock.recv(65536):
        pass


@dataclass(frozen=True)
class Certificate:
    """A self-signed certificate for 127.0.0.1 and localhost."""

    pem: str
    fingerprint: str
    server: ssl.SSLContext = field(repr=False)


def certificate(folder: Path, *, address: str = "127.0.0.1", days: int = 30) -> Certificate:
    """Make a certificate; one that is valid for *days*, expired where that is negative."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "dci.example.net")])
    now = dt.datetime.now(dt.UTC)
    names: list[x509.GeneralName] = [x509.IPAddress(ipaddress.ip_address(address))]
    cert = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=60))
        .not_valid_after(now + dt.timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = cert.public_bytes(serialization.Encoding.PEM).decode()
    file = folder / f"{cert.serial_number}.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    file.write_bytes(private + pem.encode())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return Certificate(pem, cert.fingerprint(hashes.SHA256()).hex(), context)


@contextlib.contextmanager
def closed_port() -> Iterator[int]:
    """Give a port where nobody listens: bound, so that nobody else takes it meanwhile."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield int(holder.getsockname()[1])
