"""
TCP connections within a time limit that counts from the look-up of the name to the last byte; touches sockets.

A time limit of a socket starts anew with each byte: a peer that drips holds whoever reads for ever. Here a timer ends
the connection itself.
"""

import ipaddress
import queue
import socket
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Self

Found = tuple[socket.AddressFamily, socket.SocketKind, int, str, Any]  #: one answer about a name


class NameUnknown(OSError):
    """The name has no address."""


class NameUnanswered(TimeoutError):
    """Nobody answered about the name in time."""


class Limit:
    """Ends one connection when its time is over; entered for as long as the connection is used."""

    def __init__(self, seconds: float) -> None:
        """Let all together last *seconds*, from now on."""
        self.seconds = seconds
        self._ends = time.monotonic() + seconds
        self._held: socket.socket | None = None
        self._lock = threading.Lock()
        self._timer = threading.Timer(seconds, self._cut)
        self._timer.daemon = True

    def __enter__(self) -> Self:
        """Start the timer."""
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the timer."""
        self._timer.cancel()
        with self._lock:
            if self._held:
                self._held.close()
            self._held = None

    @property
    def over(self) -> bool:
        """Whether the time is over: what was read may be half an answer."""
        return time.monotonic() >= self._ends

    def left(self) -> float:
        """Give the seconds left, never 0, which sockets read as "do not block"."""
        return max(self._ends - time.monotonic(), 0.001)

    def resolve(self, host: str, port: int) -> Sequence[Found]:
        """
        Look *host* up, in a thread of its own because the resolver takes no time limit.

        Raises:
            NameUnknown: it has no address.
            NameUnanswered: no answer in time.
        """
        answers: queue.SimpleQueue[Sequence[Found]] = queue.SimpleQueue()

        def look() -> None:
            try:
                answers.put(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
            except (OSError, UnicodeError):
                answers.put(())

        if _is_address(host):
            look()
        else:
            threading.Thread(target=look, daemon=True).start()
        try:
            found = answers.get(timeout=self.left())
        except queue.Empty:
            raise NameUnanswered from None
        if not found:
            raise NameUnknown
        return found

    def connect(self, found: Sequence[Found]) -> socket.socket:
        """
        Connect to the first of *found* that answers, and hold it; the time left is shared among them.

        Raises:
            OSError: what the last one said.
        """
        last = OSError()
        for position, (family, kind, protocol, _, address) in enumerate(found):
            try:
                sock = socket.socket(family, kind, protocol)
            except OSError as trouble:  # this machine has no such family
                last = trouble
                continue
            try:
                self._hold(sock)
                sock.settimeout(self.left() / (len(found) - position))
                sock.connect(address)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                sock.settimeout(self.left())
            except OSError as trouble:
                sock.close()
                last = trouble
            else:
                return sock
        raise last

    def _hold(self, sock: socket.socket) -> None:
        """
        Take *sock* as what to cut.

        A duplicate is kept, because TLS detaches the socket that it wraps: shutting down the duplicate ends the
        connection whoever owns it then, also in the middle of a handshake.
        """
        with self._lock:
            if self._held:
                self._held.close()
            self._held = sock.dup()
            if self.over:
                self._shut()

    def _cut(self) -> None:
        with self._lock:
            self._shut()

    def _shut(self) -> None:
        if self._held:
            with suppress(OSError):  # not connected yet, or not any more
                self._held.shutdown(socket.SHUT_RDWR)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
