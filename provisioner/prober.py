"""
Looks at a host from outside, as a customer would (ICMP, TCP, SSH); touches the network only.

Synchronous, for a worker's process. `host_key` runs an event loop of its own, so none may run in
its thread already.
"""

import asyncio
import contextlib
import ipaddress
import secrets
import socket
import time
from dataclasses import dataclass
from enum import StrEnum

import asyncssh
import icmplib  # type: ignore[import-untyped]  # it ships no types

from provisioner.domain import touch
from provisioner.errors import BadConfig, Invalid

LIMIT_SECONDS = 2.0  #: total limit of one look
HIGHEST_PORT = 0xFFFF
BANNER_BYTES = 8192  #: an SSH server may say so much before its version line, RFC 4253 section 4.2

NO_ICMP = (
    "this process may not send ICMP; as root, either"
    " `sysctl -w net.ipv4.ping_group_range='0 2147483647'`"
    " (lasting: the same line without `sysctl -w` in /etc/sysctl.d/),"
    " or `AmbientCapabilities=CAP_NET_RAW` in the worker's unit"
)


class ProbeKind(StrEnum):
    """How a host is looked at."""

    ICMP = "icmp"  #: an echo reply comes back
    TCP = "tcp"  #: a connection is accepted
    SSH = "ssh"  #: a connection is accepted and an SSH server introduces itself


@dataclass(frozen=True, slots=True)
class Probe:
    """A package's choice of probe."""

    kind: ProbeKind
    port: int = 0  #: 0 for `icmp`


def parse_probe(text: str) -> Probe:
    """
    Read `icmp`, `tcp:PORT` or `ssh:PORT`.

    Raises:
        Invalid: anything else.
    """
    kind, colon, port = text.partition(":")
    if text == ProbeKind.ICMP:
        return Probe(ProbeKind.ICMP)
    if kind not in {ProbeKind.TCP, ProbeKind.SSH}:
        raise Invalid(
            f"probe {text!r}: write `icmp`, `tcp:PORT` or `ssh:PORT`, for example `ssh:22`",
            field="probe",
        )
    if not colon or not (port.isascii() and port.isdigit()):
        raise Invalid(f"probe {text!r}: name a port, for example `{kind}:22`", field="probe")
    if not 1 <= int(port[:6]) <= HIGHEST_PORT:
        raise Invalid(f"probe {text!r}: a port is 1 to 65535", field="probe")
    return Probe(ProbeKind(kind), int(port))


def can_send_icmp() -> str:
    """Say in a sentence why this process can't send ICMP, and what to type; "" when it can."""
    return NO_ICMP if _icmp_privileged() is None else ""


class NetworkProber:
    """`ports.Prober` on the real network; refused, silent and unroutable hosts don't answer."""

    def __init__(self, seconds: float = LIMIT_SECONDS) -> None:
        """Look for at most *seconds* each time."""
        self._seconds = seconds

    def answers(self, ip: str, probe: str) -> bool:
        """
        Say whether *ip* answers *probe*.

        Raises:
            Invalid: *ip* is no address, or *probe* is none.
            BadConfig: `icmp`, and this process may not send it (`can_send_icmp`).
        """
        address, wanted = _parse_address(ip), parse_probe(probe)
        touch.may_call(self._seconds, mutating=False)
        ends = time.monotonic() + self._seconds
        match wanted.kind:
            case ProbeKind.ICMP:
                return _echoes(address, ends)
            case ProbeKind.TCP:
                return _accepts(address, wanted.port, ends)
            case ProbeKind.SSH:
                return _speaks_ssh(address, wanted.port, ends)

    def host_key(self, ip: str, probe: str) -> str | None:
        """
        Give the fingerprint (`SHA256:…`) of the host key behind an `ssh:PORT` probe.

        None for other probes, and when no key exchange was completed in time.

        Raises:
            Invalid: *ip* is no address, or *probe* is none.
        """
        address, wanted = _parse_address(ip), parse_probe(probe)
        if wanted.kind is not ProbeKind.SSH:
            return None
        touch.may_call(self._seconds, mutating=False)
        ends = time.monotonic() + self._seconds
        try:
            with _connect(address, wanted.port, ends) as connection:
                connection.settimeout(0)
                return asyncio.run(_read_host_key(connection, ends))
        except (OSError, asyncssh.Error, ValueError):  # asyncssh: ValueError for a malformed packet
            return None


def _parse_address(ip: str) -> str:
    try:
        return str(ipaddress.ip_address(ip))
    except ValueError:
        raise Invalid(f"{ip!r} is no IP address", field="ip") from None


def _left(ends: float) -> float:
    """Give the seconds left until *ends*, at least a little: 0 would mean "do not wait"."""
    return max(ends - time.monotonic(), 0.001)


def _connect(ip: str, port: int, ends: float) -> socket.socket:
    return socket.create_connection((ip, port), timeout=_left(ends))


def _accepts(ip: str, port: int, ends: float) -> bool:
    try:
        _connect(ip, port, ends).close()
    except OSError:
        return False
    return True


def _speaks_ssh(ip: str, port: int, ends: float) -> bool:
    """Wait for the version line; other lines may come before it."""
    heard = b""
    try:
        with _connect(ip, port, ends) as connection:
            while len(heard) < BANNER_BYTES and time.monotonic() < ends:
                connection.settimeout(_left(ends))
                said = connection.recv(1024)
                if not said:
                    return False
                heard += said
                if any(line.startswith(b"SSH-") for line in heard.split(b"\n")[:-1]):
                    return True
    except OSError:
        pass
    return False


async def _read_host_key(connection: socket.socket, ends: float) -> str | None:
    """
    Let a key exchange prove the key; no login is tried.

    All algorithms are allowed, old ones too: this tells two systems apart and protects nothing.
    """
    options = asyncssh.SSHClientConnectionOptions(
        config=None, username="probe", client_keys=None, agent_path=None, known_hosts=None
    )
    async with asyncio.timeout(_left(ends)):
        key = await asyncssh.get_server_host_key(
            sock=connection, server_host_key_algs="*", kex_algs="*", options=options, config=None
        )
    return None if key is None else key.get_fingerprint("sha256")


def _icmp_privileged() -> bool | None:
    """Say which kind of ICMP socket the kernel grants: raw (True), datagram (False), neither."""
    for privileged in (True, False):
        with contextlib.suppress(icmplib.SocketPermissionError):
            icmplib.ICMPv4Socket(privileged=privileged).close()
            return privileged
    return None


def _echoes(ip: str, ends: float) -> bool:
    """
    Send an echo request, and half-way to the limit a second one, as one packet may get lost.

    The identifier is random and the sender is compared: a raw socket hears the replies to all other
    processes too, and icmplib's own counter is the same in each forked child.
    """
    privileged = _icmp_privileged()
    if privileged is None:
        raise BadConfig(NO_ICMP)
    kind = icmplib.ICMPv6Socket if ":" in ip else icmplib.ICMPv4Socket
    identifier = secrets.randbelow(0x10000)
    half = time.monotonic() + _left(ends) / 2
    try:
        with kind(privileged=privileged) as connection:
            for sequence, until in enumerate((half, ends)):
                request = icmplib.ICMPRequest(destination=ip, id=identifier, sequence=sequence)
                connection.send(request)
                if _hears_reply(connection, request, until):
                    return True
    except icmplib.ICMPLibError:  # no route to it, or none for its family
        return False
    return False


def _hears_reply(
    connection: "icmplib.ICMPv4Socket | icmplib.ICMPv6Socket",
    request: "icmplib.ICMPRequest",
    until: float,
) -> bool:
    """Listen until an answer to *request* comes; icmplib's own matching prolongs its time limit."""
    wanted = (request.id, request.sequence, ipaddress.ip_address(request.destination))
    while time.monotonic() < until:
        try:
            reply = connection.receive(timeout=_left(until))
        except icmplib.TimeoutExceeded:
            return False
        if (reply.id, reply.sequence, ipaddress.ip_address(reply.source)) == wanted:
            with contextlib.suppress(icmplib.ICMPError):
                reply.raise_for_status()
                return True
    return False
