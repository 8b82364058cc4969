"""A way to an HTTP server on loopback that loses an answer when it is told to; one connection, one request."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tests.fakes.mail import raw
from tests.unit.drivers.loopback import read_request


class Line:
    """What passes; the server behind must close each connection after its answer."""

    def __init__(self, port: int) -> None:
        self.behind = port
        self.port = 0
        self.asked: list[str] = []  #: first lines of the requests
        self._losing = threading.Event()

    def lose(self) -> None:
        """Lose the answer of the next request that writes."""
        self._losing.set()

    @contextmanager
    def up(self) -> Iterator[Line]:
        with raw(self._serve) as self.port:
            yield self

    def _serve(self, client: socket.socket) -> None:
        request = read_request(client)
        first = request.partition(b"\r\n")[0].decode("ascii")
        self.asked.append(first)
        with socket.create_connection(("127.0.0.1", self.behind)) as server:
            server.sendall(request)
            answer = b"".join(iter(lambda: server.recv(65536), b""))
        if self._losing.is_set() and not first.startswith("GET"):
            self._losing.clear()
            return
        client.sendall(answer)
