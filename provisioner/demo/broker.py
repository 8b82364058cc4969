"""
The supervisor's broker: a Redis made of Python, over real TCP on loopback. Touches one port.

Nothing is kept: after a restart the queues are empty, and the reconciler sends again what is due.
`python -m provisioner.demo.broker --port 6379` runs one as a process of its own.
"""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import threading
from socketserver import StreamRequestHandler
from typing import Any, Self

import redis
from fakeredis import FakeStrictRedis, TcpFakeServer
from fakeredis._clients import _tcp_server

from provisioner.demo.patience import until

_LOG = logging.getLogger(__name__)

#: How long `stop` waits for the connections' threads.
STOP_SECONDS = 2.0
#: How often an idle connection's thread looks up; a message to subscribers waits for it, a command does not. The sixty
#: connections of ten processes cost 2.5 % of a processor so, 8 % at 50 ms, and a third at the 10 ms of fakeredis.
POLL_SECONDS = 0.2


class EmbeddedBroker:
    """
    A broker that Celery and Flower cannot tell from Redis, as far as they use it.

    Listens from the moment it is made, on a port of its own choice when *port* is 0; connections
    wait until `start`.
    """

    def __init__(self, port: int = 0) -> None:
        self._server = _Server(("127.0.0.1", port))
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def port(self) -> int:
        port: int = self._server.server_address[1]
        return port

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Serve, in threads of this process. Repeatable."""
        if self._thread is None:
            self._thread = threading.Thread(
                target=self._server.serve_forever,
                kwargs={"poll_interval": 0.05},
                name="broker",
                daemon=True,
            )
            self._thread.start()

    def stop(self) -> None:
        """Hang up on everybody, close the port and forget all messages. Repeatable; no way back."""
        if self._thread is not None:
            self._server.shutdown()
            self._thread.join()
            self._thread = None
        self._server.server_close()
        until(lambda: not self._server.clients, seconds=STOP_SECONDS, every=0.01)

    def flush(self) -> None:
        """Forget all messages; connections stay."""
        FakeStrictRedis(server=self._server.fake_server).flushall()


class _Handler(StreamRequestHandler):
    """One connection: what fakeredis 2.40 lacks to be taken for Redis by Celery."""

    #: Without it a pipelined reply waits 40 ms for its companions: 11 tasks a second, not 113.
    disable_nagle_algorithm = True

    current_client: Any

    def setup(self) -> None:
        super().setup()
        read = self.current_client.read_response

        def read_response(*args: Any, **kwargs: Any) -> object:
            # fakeredis hangs up after an error; to Redis it is a reply as any other. Celery's
            # first EVALSHA of each script is answered by one (NOSCRIPT).
            try:
                reply: object = read(*args, **kwargs)
            except redis.ResponseError as error:
                return error
            return reply

        self.current_client.read_response = read_response


class _Server(TcpFakeServer):
    def __init__(self, address: tuple[str | bytes | bytearray, int]) -> None:
        super().__init__(address)
        self.daemon_threads = True
        _tcp_server._POLL_INTERVAL = POLL_SECONDS  # noqa: SLF001 - it offers no other way
        theirs: Any = self.RequestHandlerClass
        self.RequestHandlerClass = type("Handler", (_Handler, theirs), {})

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401
        """Pass over clients that went without a word: worker processes are killed here daily."""
        if isinstance(sys.exc_info()[1], (ConnectionError, ValueError)):
            _LOG.debug("broker_client_lost", exc_info=True)
        else:
            super().handle_error(request, client_address)


def main() -> None:
    """Serve until SIGTERM or SIGINT; the first line of output is the address."""
    parser = argparse.ArgumentParser(prog="python -m provisioner.demo.broker")
    parser.add_argument("--port", type=int, default=0, help="0 picks a free one")
    broker = EmbeddedBroker(parser.parse_args().port)
    end = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, end)
    broker.start()
    sys.stdout.write(f"{broker.url}\n")
    sys.stdout.flush()
    signal.sigwait(end)
    broker.stop()


if __name__ == "__main__":
    main()
