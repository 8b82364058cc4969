"""The prober against listeners on loopback; ICMP is tested in tests/integration/test_icmp.py."""

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress

import asyncssh
import icmplib  # type: ignore[import-untyped]  # it ships no types
import pytest

from provisioner.domain import touch
from provisioner.errors import BadConfig, Invalid, TransactionOpen
from provisioner.ports import Prober
from provisioner.prober import NetworkProber, Probe, ProbeKind, can_send_icmp, parse_probe

LOOPBACK = "127.0.0.1"
PATIENT: Prober = NetworkProber()
HASTY: Prober = NetworkProber(seconds=0.3)


@contextmanager
def listener(talk: Callable[[socket.socket], None]) -> Iterator[int]:
    """Serve *talk* to each connection, on a port of its own."""
    with socket.create_server((LOOPBACK, 0)) as server:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    with connection, suppress(OSError):
                        talk(connection)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        thread.join(5)


@contextmanager
def ssh_server(key: asyncssh.SSHKey) -> Iterator[int]:
    """Run an SSH server with host key *key*."""
    started: list[int] = []
    ready, stop = threading.Event(), threading.Event()

    async def serve() -> None:
        async with asyncssh.listen(LOOPBACK, 0, server_host_keys=[key]) as server:
            started.append(server.get_port())
            ready.set()
            await asyncio.get_running_loop().run_in_executor(None, stop.wait)

    thread = threading.Thread(target=asyncio.run, args=(serve(),), daemon=True)
    thread.start()
    assert ready.wait(5)
    yield started[0]
    stop.set()
    thread.join(5)


def says(*lines: bytes, drip: float = 0.0, stay: bool = False) -> AbstractContextManager[int]:
    def talk(connection: socket.socket) -> None:
        for line in lines:
            connection.sendall(line)
            time.sleep(drip)
        connection.settimeout(5)
        while stay and connection.recv(4096):
            pass

    return listener(talk)


@contextmanager
def nobody() -> Iterator[int]:
    """Give a port on which nobody listens."""
    with socket.socket() as unused:
        unused.bind((LOOPBACK, 0))
        yield unused.getsockname()[1]


@pytest.mark.parametrize(
    ("text", "probe"),
    [
        ("icmp", Probe(ProbeKind.ICMP)),
        ("tcp:1", Probe(ProbeKind.TCP, 1)),
        ("tcp:65535", Probe(ProbeKind.TCP, 65535)),
        ("ssh:22", Probe(ProbeKind.SSH, 22)),
    ],
)
def test_a_probe_is_read(text: str, probe: Probe) -> None:
    assert parse_probe(text) == probe


@pytest.mark.parametrize(
    "text",
    [
        *("", "ping", "ICMP", "icmp:", "icmp:1", "ssh", "ssh:x", "udp:53", "tcp", "tcp:", "tcp:-1"),
        *("tcp:0", "tcp:65536", "tcp: 22", "tcp:22 ", "tcp:22\n", "tcp:\u0662", "tcp:\u00b2"),
        "tcp:" + "9" * 5000,
    ],
)
def test_what_is_no_probe_is_refused_with_what_to_write(text: str) -> None:
    with pytest.raises(Invalid, match=r"write `icmp`|name a port|1 to 65535") as caught:
        parse_probe(text)

    assert caught.value.field == "probe"


def test_tcp_answers_when_a_connection_is_accepted() -> None:
    with says() as port:
        assert PATIENT.answers(LOOPBACK, f"tcp:{port}")


@pytest.mark.parametrize("kind", ["tcp", "ssh"])
def test_a_refused_connection_is_no_answer(kind: str) -> None:
    with nobody() as port:
        assert not PATIENT.answers(LOOPBACK, f"{kind}:{port}")
        assert PATIENT.host_key(LOOPBACK, f"{kind}:{port}") is None


@pytest.mark.parametrize(
    "lines",
    [
        (b"SSH-2.0-OpenSSH_9.2p1\r\n",),
        (b"SS", b"H-2.0-x\r", b"\n"),
        (b"Welcome\r\nto the data centre\r\n", b"SSH-2.0-x\r\n"),
    ],
)
def test_ssh_answers_with_its_version_line(lines: tuple[bytes, ...]) -> None:
    with says(*lines) as port:
        assert PATIENT.answers(LOOPBACK, f"ssh:{port}")


@pytest.mark.parametrize("lines", [(), (b"220 mail ESMTP\r\n",), (b"no SSH-2.0\r\n",), (b"SSH-",), (b"x" * 20000,)])
def test_another_service_is_no_ssh(lines: tuple[bytes, ...]) -> None:
    with says(*lines) as port:
        assert not PATIENT.answers(LOOPBACK, f"ssh:{port}")


@pytest.mark.parametrize("drip", [0.0, 0.1])
def test_a_silent_or_dripping_service_does_not_outlast_the_limit(drip: float) -> None:
    with says(*[b"x"] * (10 if drip else 0), drip=drip, stay=True) as port:
        began = time.monotonic()

        assert not HASTY.answers(LOOPBACK, f"ssh:{port}")
        assert HASTY.host_key(LOOPBACK, f"ssh:{port}") is None
        assert time.monotonic() - began < 1.5


def test_the_host_key_is_the_servers_fingerprint() -> None:
    key = asyncssh.generate_private_key("ssh-ed25519")

    with ssh_server(key) as port:
        assert PATIENT.answers(LOOPBACK, f"ssh:{port}")
        assert PATIENT.host_key(LOOPBACK, f"ssh:{port}") == key.get_fingerprint("sha256")


def test_an_old_system_with_an_rsa_key_has_a_host_key_too() -> None:
    key = asyncssh.generate_private_key("ssh-rsa", key_size=2048)

    with ssh_server(key) as port:
        assert PATIENT.host_key(LOOPBACK, f"ssh:{port}") == key.get_fingerprint("sha256")


@pytest.mark.parametrize(
    "lines",
    [
        (),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n",),
        (b"SSH-1.0-ancient\r\n",),
        (b"SSH-2.0-x\r\n",),
        (b"SSH-2.0-x\r\n", b"\x00" * 64),
        (b"SSH-2.0-x\r\n", b"\xff" * 64),
        (b"SSH-2.0-x\r\n", b"\x00\x00\x00\x0c\x0a\x14" + b"\xff" * 10),
        (b"x" * 100_000,),
    ],
)
def test_a_host_that_speaks_nonsense_has_no_key(lines: tuple[bytes, ...]) -> None:
    with says(*lines) as port:
        assert HASTY.host_key(LOOPBACK, f"ssh:{port}") is None


@pytest.mark.parametrize("probe", ["icmp", "tcp:22"])
def test_only_an_ssh_probe_has_a_host_key(probe: str) -> None:
    assert PATIENT.host_key(LOOPBACK, probe) is None


@pytest.mark.parametrize("ip", ["", "localhost", "192.0.2.1 ", "192.0.2"])
def test_a_name_or_nothing_is_no_address(ip: str) -> None:
    with pytest.raises(Invalid, match="no IP address"):
        PATIENT.answers(ip, "tcp:22")
    with pytest.raises(Invalid, match="no IP address"):
        PATIENT.host_key(ip, "ssh:22")


def test_no_host_is_looked_at_while_a_transaction_is_open() -> None:
    with says() as port, touch.transaction():
        with pytest.raises(TransactionOpen):
            PATIENT.answers(LOOPBACK, f"tcp:{port}")
        with pytest.raises(TransactionOpen):
            PATIENT.host_key(LOOPBACK, f"ssh:{port}")


def test_without_the_right_to_send_icmp_the_sentence_says_what_to_type(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object, privileged: bool) -> None:
        raise icmplib.SocketPermissionError(privileged)

    monkeypatch.setattr(icmplib, "ICMPv4Socket", refuse)

    assert "sysctl -w net.ipv4.ping_group_range" in can_send_icmp()
    with pytest.raises(BadConfig, match="AmbientCapabilities=CAP_NET_RAW"):
        PATIENT.answers("192.0.2.1", "icmp")
