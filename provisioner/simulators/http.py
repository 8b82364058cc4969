"""A small HTTP server that can also misbehave: reset, drip, hang, stop short. Loopback only."""

import asyncio
import contextlib
import ipaddress
import logging
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import cast
from urllib.parse import parse_qsl, urlsplit

import h11

_log = logging.getLogger(__name__)

_CHUNK = 65536
_BODY_LIMIT = 4 * 1024 * 1024
_FORM = "application/x-www-form-urlencoded"


@dataclass(frozen=True, slots=True)
class Request:
    """One request, its body complete."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]  #: names in lower case
    body: bytes
    peer: str  #: address of the client
    secure: bool

    @property
    def params(self) -> dict[str, str]:
        """Return query and form body merged; the body wins, the last of equal names wins."""
        merged = dict(parse_qsl(self.query, keep_blank_values=True))
        if self.headers.get("content-type", _FORM).split(";")[0].strip().lower() == _FORM:
            text = self.body.decode("utf-8", "replace")
            merged.update(parse_qsl(text, keep_blank_values=True))
        return merged


@dataclass(frozen=True, slots=True)
class Reply:
    """What goes back, and how badly."""

    body: bytes = b""
    status: int = 200
    content_type: str = "text/html; charset=utf-8"
    headers: tuple[tuple[str, str], ...] = ()
    delay: float = 0.0  #: real seconds before the first byte
    drip: float | None = None  #: real seconds between two bytes of the body
    reset: bool = False  #: no answer, a TCP reset
    hang: bool = False  #: no answer, until the client goes away
    short: int = 0  #: so many bytes of the announced body are never sent
    close: bool = False
    extra: dict[str, object] = field(default_factory=dict)


Handler = Callable[[Request], Awaitable[Reply]]


def check_loopback(host: str) -> None:
    """
    Refuse to listen where others could reach a simulator.

    Raises:
        ValueError: *host* is no loopback address.
    """
    with contextlib.suppress(ValueError):
        if host == "localhost" or ipaddress.ip_address(host).is_loopback:
            return
    message = f"a simulator listens on loopback only (127.0.0.1, ::1, localhost), not on {host}"
    raise ValueError(message)


class HttpServer:
    """Serves *handler*; can be stopped and started again on the same port."""

    def __init__(self, handler: Handler, host: str, port: int) -> None:
        check_loopback(host)
        self._handler = handler
        self._host = host
        self.port = port
        self._server: asyncio.Server | None = None
        self._holder: socket.socket | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._tls: ssl.SSLContext | None = None

    @property
    def listening(self) -> bool:
        """Return whether connections are accepted."""
        return self._server is not None

    async def start(self, tls: ssl.SSLContext | None = None) -> None:
        """Listen; port 0 becomes a free one that is kept from then on."""
        if self._server is not None:
            return
        self._tls = tls
        if self._holder is None:
            self._holder = self._bound()
            self.port = int(self._holder.getsockname()[1])
        self._server = await asyncio.start_server(self._accept, sock=self._bound(), ssl=tls, backlog=512)

    def _bound(self) -> socket.socket:
        """
        Return a socket on our port.

        The first one never listens: it only keeps the port ours while the panel is away. Linux lets a second one
        with SO_REUSEADDR share the address as long as no more than one of them listens.
        """
        family, kind, protocol, _, address = socket.getaddrinfo(self._host, self.port, type=socket.SOCK_STREAM)[0]
        sock = socket.socket(family, kind, protocol)  # asyncio sets TCP_NODELAY only where the protocol is named
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(address)
        except OSError:
            sock.close()
            raise
        return sock

    async def close(self) -> None:
        """Stop, and give the port back."""
        await self.stop()
        holder, self._holder = self._holder, None
        if holder is not None:
            holder.close()

    async def stop(self) -> None:
        """Stop listening and reset every open connection; the port stays ours."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
        for writer in list(self._writers):
            _reset(writer)
        tasks = [task for task in self._tasks if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Not a coroutine: asyncio would report the cancelling of its own task as an error.
        task = asyncio.get_running_loop().create_task(self._talk(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            await _Connection(reader, writer, self._handler, secure=self._tls is not None).run()
        except (ConnectionError, ssl.SSLError, h11.ProtocolError, TimeoutError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()


class _Connection:
    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        handler: Handler,
        *,
        secure: bool,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._handler = handler
        self._secure = secure
        self._h11 = h11.Connection(h11.SERVER)
        peer = writer.get_extra_info("peername")
        self._peer = str(peer[0]) if peer else ""

    async def run(self) -> None:
        while True:
            request = await self._read()
            if request is None:
                return
            reply = await self._reply(request)
            if reply.delay:
                await asyncio.sleep(reply.delay)
            if reply.reset:
                _reset(self._writer)
                return
            if reply.hang:
                while await self._reader.read(_CHUNK):
                    pass
                return
            if not await self._send(reply, head_only=request.method == "HEAD"):
                return
            self._h11.start_next_cycle()

    async def _reply(self, request: Request) -> Reply:
        try:
            return await self._handler(request)
        except Exception:  # noqa: BLE001 - whatever it is, one call must not stop the others
            _log.exception("%s %s: a bug of the simulator", request.method, request.path)
            return Reply(b"the simulator has a bug; see its log", status=500, content_type="text/plain; charset=utf-8")

    async def _event(self) -> h11.Event | type[h11.PAUSED]:
        while True:
            event = self._h11.next_event()
            if event is not h11.NEED_DATA:
                return cast("h11.Event | type[h11.PAUSED]", event)
            if self._h11.they_are_waiting_for_100_continue:
                go_on = h11.InformationalResponse(status_code=100, headers=[])
                self._writer.write(self._h11.send(go_on) or b"")
            self._h11.receive_data(await self._reader.read(_CHUNK))

    async def _read(self) -> Request | None:
        head = await self._event()
        if not isinstance(head, h11.Request):
            return None
        body = bytearray()
        while isinstance(event := await self._event(), h11.Data):
            body += event.data
            if len(body) > _BODY_LIMIT:
                return None
        if not isinstance(event, h11.EndOfMessage):
            return None
        parts = urlsplit(head.target.decode("ascii", "replace"))
        headers = {name.decode("ascii", "replace").lower(): value.decode("latin-1") for name, value in head.headers}
        method = head.method.decode("ascii", "replace")
        return Request(method, parts.path, parts.query, headers, bytes(body), self._peer, self._secure)

    async def _send(self, reply: Reply, *, head_only: bool) -> bool:
        """Send *reply* and return whether the connection can serve another request."""
        headers = [
            ("Content-Type", reply.content_type),
            ("Content-Length", str(len(reply.body))),
            *reply.headers,
        ]
        if reply.close:
            headers.append(("Connection", "close"))
        reason = HTTPStatus(reply.status).phrase
        head = h11.Response(status_code=reply.status, headers=headers, reason=reason)
        self._writer.write(self._h11.send(head) or b"")
        body = b"" if head_only else reply.body
        if reply.short:
            self._writer.write(body[: -reply.short])
            await self._writer.drain()
            return False
        if reply.drip is None:
            self._writer.write(self._h11.send(h11.Data(data=body)) or b"" if body else b"")
        else:
            for index in range(len(body)):
                self._writer.write(self._h11.send(h11.Data(data=body[index : index + 1])) or b"")
                await self._writer.drain()
                await asyncio.sleep(reply.drip)
        self._writer.write(self._h11.send(h11.EndOfMessage()) or b"")
        await self._writer.drain()
        return self._h11.our_state is h11.DONE and self._h11.their_state is h11.DONE


def _reset(writer: asyncio.StreamWriter) -> None:
    """End a connection with a TCP reset instead of an orderly close."""
    sock = writer.get_extra_info("socket")
    if sock is not None:
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
