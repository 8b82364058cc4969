"""The HTTP server under the wires: bad clients, and bugs of its own."""

import asyncio
import logging
import socket

import pytest
import requests

from provisioner.simulators import Simulator
from provisioner.simulators.http import HttpServer, Reply, Request
from tests.unit.simulators.wire import Wire


def test_a_bug_of_the_simulator_is_said_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def broken(_request: Request) -> Reply:
        raise ZeroDivisionError

    async def run() -> int:
        server = HttpServer(broken, "127.0.0.1", 0)
        await server.start()
        try:
            answer = await asyncio.to_thread(requests.get, f"http://127.0.0.1:{server.port}/", timeout=5)
        finally:
            await server.close()
        return answer.status_code

    with caplog.at_level(logging.ERROR):
        assert asyncio.run(run()) == 500
    assert "a bug of the simulator" in caplog.text


@pytest.mark.parametrize(
    "noise", [b"\x16\x03\x01\x02\x00\x01", b"GET / HTTP/9\r\n\r\n", b"POST /dcimgr HTTP/1.1\r\nHost: x"]
)
def test_noise_on_the_socket_disturbs_nobody(sim: Simulator, wire: Wire, noise: bytes) -> None:
    with socket.create_connection(wire.host, timeout=5) as connection:
        connection.sendall(noise)
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(4096):
            pass

    assert wire.rows("rack")


def test_many_requests_share_one_connection(sim: Simulator, wire: Wire) -> None:
    ports = {wire.raw("rack").raw.version for _ in range(3)}

    assert ports == {11}


@pytest.mark.parametrize("method", ["PUT", "DELETE", "HEAD"])
def test_other_methods_are_not_for_the_panel(sim: Simulator, method: str) -> None:
    assert requests.request(method, sim.url, timeout=5).status_code == 405


def test_a_body_too_large_is_cut_off(sim: Simulator) -> None:
    with pytest.raises(requests.ConnectionError):
        requests.post(sim.url, data="x" * (5 * 1024 * 1024), timeout=10)
