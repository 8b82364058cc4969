"""The one function that sends: time limit, trust, and what is known after each way to fail."""

import contextlib
import gc
import itertools
import socket
import time
from pathlib import Path

import pytest

from provisioner.domain import touch
from provisioner.domain.connection import TlsPolicy
from provisioner.drivers import http
from provisioner.errors import (
    Busy,
    NotDone,
    RemoteError,
    TransactionOpen,
    Unreachable,
    Unsure,
    Unusable,
)
from tests.unit.drivers.loopback import (
    Certificate,
    Loopback,
    Script,
    answering,
    certificate,
    closed_port,
    dripping,
    raw,
    read_request,
    resetting,
    silent,
)

ABOUT = http.About("dci-1", "server.poweron", "127")
SECRET = b"authinfo=admin%3Ahunter2"
HEAD = b"HTTP/1.1 200 OK\r\n"


@pytest.fixture(scope="module")
def trusted(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return certificate(tmp_path_factory.mktemp("tls"))


def call(url: str, *, mutating: bool = True, seconds: float = 5.0, tls: TlsPolicy | None = None) -> http.Reply:
    session = http.new_session(tls or TlsPolicy())
    return http.send(session, "POST", url, SECRET, total_seconds=seconds, mutating=mutating, about=ABOUT)


def failing(url: str, *, mutating: bool = True, seconds: float = 5.0, tls: TlsPolicy | None = None) -> RemoteError:
    with pytest.raises(RemoteError) as caught:
        call(url, mutating=mutating, seconds=seconds, tls=tls)
    error = caught.value
    assert "hunter2" not in f"{error!s} {error!r} {error.__cause__!r} {error.__context__!r}"
    assert error.system == "dci-1"
    return error


def test_an_answer_of_any_status_is_given_whole() -> None:
    with Loopback(answering("sorry", status="502 Bad Gateway")) as server:
        assert call(server.url) == http.Reply(502, b"sorry")


def test_nothing_is_sent_while_a_transaction_is_open() -> None:
    with Loopback(answering("ok")) as server:
        with touch.transaction(), pytest.raises(TransactionOpen):
            call(server.url, mutating=False)

        assert server.connections == 0


def test_an_act_is_not_sent_when_the_lease_is_shorter_than_its_limit() -> None:
    with Loopback(answering("ok")) as server:
        with touch.lease(3.0), pytest.raises(NotDone) as caught:
            call(server.url, seconds=5.0)

        assert server.connections == 0
        assert str(caught.value).startswith("server.poweron 127 via dci-1: not sent")


DRIPS = {
    "status line": dripping(b"HTTP/1.1 200 ", b"O"),
    "headers": dripping(HEAD, b"X-Drop: 1\r\n"),
    "one header": dripping(HEAD + b"X-Drop: ", b"1"),
    "interim answers": dripping(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "body with a length": dripping(HEAD + b"Content-Length: 100000\r\n\r\n", b"x"),
    "body without a length": dripping(HEAD + b"\r\n", b"x"),
    "chunks": dripping(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
    "nothing": silent,
}


@pytest.mark.parametrize("script", DRIPS.values(), ids=DRIPS.keys())
@pytest.mark.parametrize("mutating", [True, False])
def test_a_dripping_server_is_cut_off_in_time(script: Script, mutating: bool) -> None:  # noqa: FBT001
    with Loopback(script) as server:
        began = time.monotonic()
        error = failing(server.url, mutating=mutating, seconds=0.2)

        assert time.monotonic() - began < 3.0
        assert type(error) is (Unsure if mutating else Unusable)


def test_a_server_that_drips_its_handshake_is_cut_off_and_nothing_was_sent() -> None:
    drip = dripping(b"\x16\x03\x03\x3f\xff", b"\x00", first_read=False)
    with Loopback(drip) as server:
        began = time.monotonic()
        error = failing(server.url.replace("http:", "https:"), seconds=0.2)

        assert time.monotonic() - began < 3.0
        assert type(error) is Unreachable
        assert error.detail == "no TLS connection within 0.2 s"


@pytest.mark.parametrize("start", [HEAD, HEAD + b"\r\n"])
def test_a_dripping_server_is_cut_off_under_tls_too(trusted: Certificate, start: bytes) -> None:
    with Loopback(dripping(start, b"x: 1\r\n"), trusted.server) as server:
        began = time.monotonic()
        error = failing(server.url, seconds=0.3, tls=TlsPolicy(ca_pem=trusted.pem))

        assert time.monotonic() - began < 3.0
        assert type(error) is Unsure
        assert error.detail == "no whole answer within 0.3 s"


def test_an_ipv6_address_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    with Loopback(answering("ok")) as server:
        here = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", server.port))]
        asked: list[object] = []

        def look_up(host: str, *_: object, **__: object) -> object:
            asked.append(host)
            return here

        monkeypatch.setattr(socket, "getaddrinfo", look_up)

        assert call("http://[2001:db8::1]:1500/dcimgr").body == b"ok"
        assert asked == ["2001:db8::1"]


def test_a_family_that_this_host_lacks_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    with Loopback(answering("ok")) as server:
        here = [
            (-1, socket.SOCK_STREAM, 6, "", ("::1", server.port)),
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", server.port)),
        ]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: here)

        assert call("http://dci.example.net/dcimgr").body == b"ok"

        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: here[:1])
        assert failing("http://dci.example.net/dcimgr").detail == "no way to dci.example.net:80"


def test_a_name_server_that_does_not_answer_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def hang(*_: object, **__: object) -> None:
        time.sleep(1.0)

    monkeypatch.setattr(socket, "getaddrinfo", hang)

    error = failing("http://dci.example.net/dcimgr", seconds=0.1)

    assert type(error) is Unreachable
    assert error.detail == "no answer about the name dci.example.net within 0.1 s"


def test_an_unknown_name_is_told_from_a_refused_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with closed_port() as port:
        refused = failing(f"http://127.0.0.1:{port}/dcimgr")

    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    nameless = failing("http://dci.example.net/dcimgr")

    assert (type(refused), type(nameless)) == (Unreachable, Unreachable)
    assert refused.detail == f"connection refused by 127.0.0.1:{port}"
    assert nameless.detail == "the name dci.example.net is unknown"


def test_the_next_address_of_a_name_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    with Loopback(answering("ok")) as server, closed_port() as port:
        both = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", where)) for where in (port, server.port)]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: both)

        assert call("http://dci.example.net/dcimgr").body == b"ok"


def test_a_full_backlog_is_a_connection_that_never_came() -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        port = deaf.getsockname()[1]
        waiting = [socket.socket() for _ in range(4)]
        for sock in waiting:
            sock.setblocking(False)  # noqa: FBT003
            sock.connect_ex(("127.0.0.1", port))

        error = failing(f"http://127.0.0.1:{port}/", seconds=0.2)

        assert type(error) is Unreachable
        assert error.detail == f"no connection to 127.0.0.1:{port} within 0.2 s"
        for sock in waiting:
            sock.close()


CUTS = {
    "reset after the request": resetting(after_request=True),
    "reset in the middle of the request": resetting(after_request=False),
    "closed without a word": raw(b""),
    "no HTTP": raw(b"SSH-2.0-OpenSSH_9.2\r\n"),
    "cut body": raw(HEAD + b"Content-Length: 100\r\n\r\n<doc>"),
    "cut chunk": raw(HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\n<do"),
    "ill chunk": raw(HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n<doc>"),
    "ill gzip": raw(HEAD + b"Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\nabcd"),
    "ill length": raw(HEAD + b"Content-Length: 5, 6\r\n\r\nabcdef"),
    "headers for ever": raw(HEAD + b"X-Drop: 1\r\n" * 200 + b"\r\n"),
}


@pytest.mark.parametrize("script", CUTS.values(), ids=CUTS.keys())
def test_whatever_goes_wrong_after_connecting_leaves_an_act_unsure(script: Script) -> None:
    with Loopback(script) as server:
        assert type(failing(server.url, mutating=True)) is Unsure
        assert type(failing(server.url, mutating=False)) is Unusable


def open_towards(port: int) -> int:
    """Count this process's own ends of connections to *port*, whoever still refers to them."""
    ours = set()
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            ours.add(entry.readlink().name)
    rows = [row.split() for row in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    ends = [row[9] for row in rows if int(row[2].split(":")[1], 16) == port]
    return sum(f"socket:[{inode}]" in ours for inode in ends)


@pytest.mark.parametrize("tls", [TlsPolicy(), TlsPolicy(fingerprint="ab" * 32), None], ids=str)
@pytest.mark.parametrize(
    "script",
    [*CUTS.values(), *DRIPS.values(), answering("ok"), answering("ok", keep_alive=True)],
    ids=[*CUTS, *DRIPS, "whole", "kept open"],
)
def test_no_connection_outlives_its_call(trusted: Certificate, script: Script, tls: TlsPolicy | None) -> None:
    policy = tls or TlsPolicy(ca_pem=trusted.pem)
    gc.disable()
    try:
        with Loopback(script, trusted.server) as server:
            with contextlib.suppress(RemoteError):
                call(server.url, seconds=0.1, tls=policy)

            assert open_towards(server.port) == 0
    finally:
        gc.enable()


def test_an_answer_without_end_is_not_read_to_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "MAX_BODY_BYTES", 1024**2)

    def flood(sock: socket.socket) -> None:
        read_request(sock)
        sock.sendall(HEAD + b"\r\n")
        while True:
            sock.sendall(b"x" * 65536)

    with Loopback(flood) as server:
        error = failing(server.url, mutating=False)

        assert type(error) is Unusable
        assert error.detail == "the answer is longer than 1 MiB"


def test_a_redirect_is_not_followed_and_its_body_is_limited() -> None:
    with Loopback(answering("here")) as target:
        answer = f"HTTP/1.1 307 Moved\r\nLocation: {target.url}\r\nContent-Length: 0\r\n\r\n"
        with Loopback(raw(answer.encode())) as server:
            assert call(server.url).status == 307
            assert target.connections == 0


def test_a_connection_that_the_server_keeps_open_is_not_used_again() -> None:
    with Loopback(answering("ok", keep_alive=True)) as server:
        session = http.new_session(TlsPolicy())
        for mutating in (False, True, True):
            http.send(
                session,
                "POST",
                server.url,
                b"",
                total_seconds=5.0,
                mutating=mutating,
                about=ABOUT,
            )

        assert server.connections == 3


def test_neither_proxies_nor_netrc_nor_cookies_are_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login foreign password foreign\n")
    monkeypatch.setenv("NETRC", str(netrc))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9/")
    seen: list[bytes] = []

    def script(sock: socket.socket) -> None:
        seen.append(read_request(sock))
        sock.sendall(HEAD + b"Set-Cookie: dcimgrses5=foreign\r\nContent-Length: 0\r\n\r\n")
        sock.close()

    with Loopback(script) as server:
        session = http.new_session(TlsPolicy())
        for _ in range(2):
            http.send(session, "POST", server.url, b"", total_seconds=5.0, mutating=False, about=ABOUT)

    assert len(seen) == 2
    assert not any(b"foreign" in request or b"Authorization" in request for request in seen)


@pytest.mark.parametrize(
    "url",
    [
        "ftp://127.0.0.1/",
        "dci.example.net:1500/dcimgr",
        "http:///dcimgr",
        "http://127.0.0.1:99999/",
        "http://[::1/dcimgr",
        "http://admin:hunter2@127.0.0.1/",
        "",
    ],
)
def test_an_ill_address_is_refused_without_repeating_it(url: str) -> None:
    error = failing(url)

    assert type(error) is Unreachable
    assert "the address" in error.detail


def test_a_self_signed_certificate_is_not_trusted_by_itself(trusted: Certificate) -> None:
    with Loopback(answering("ok"), trusted.server) as server:
        error = failing(server.url)

        assert type(error) is Unreachable
        assert error.detail == "the certificate is not trusted: self-signed certificate"


@pytest.mark.parametrize("way", ["ca", "fingerprint", "colons", "off"])
def test_a_certificate_is_trusted_as_the_policy_says(trusted: Certificate, way: str) -> None:
    print_ = trusted.fingerprint
    policies = {
        "ca": TlsPolicy(ca_pem=trusted.pem),
        "fingerprint": TlsPolicy(fingerprint=print_),
        "colons": TlsPolicy(fingerprint=":".join(print_[at : at + 2].upper() for at in range(0, 64, 2))),
        "off": TlsPolicy(verify=False),
    }
    with Loopback(answering("ok"), trusted.server) as server:
        assert call(server.url, tls=policies[way]).body == b"ok"


def test_another_certificate_than_the_pinned_one_gets_nothing(trusted: Certificate) -> None:
    with Loopback(answering("ok"), trusted.server) as server:
        for verify in (True, False):
            error = failing(server.url, tls=TlsPolicy(verify=verify, fingerprint="ab" * 32))

            assert type(error) is Unreachable
            assert "fingerprint is pinned" in error.detail
        assert server.requests == []


@pytest.mark.parametrize(
    ("address", "days", "reason"),
    [("127.0.0.9", 30, "ip address mismatch"), ("127.0.0.1", -1, "certificate has expired")],
)
def test_a_certificate_for_another_host_or_time_is_not_trusted(
    tmp_path: Path, address: str, days: int, reason: str
) -> None:
    made = certificate(tmp_path, address=address, days=days)
    with Loopback(answering("ok"), made.server) as server:
        error = failing(server.url, tls=TlsPolicy(ca_pem=made.pem))

        assert type(error) is Unreachable
        assert error.detail == f"the certificate is not trusted: {reason}"


def test_authorities_of_the_system_that_are_replaced_are_used_from_the_next_call_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = certificate(tmp_path), certificate(tmp_path)
    authorities = tmp_path / "authorities.pem"
    authorities.write_text(old.pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(authorities))
    session = http.new_session(TlsPolicy())

    def look(shown: Certificate) -> int:
        with Loopback(answering("<doc/>"), shown.server) as server:
            return http.send(session, "POST", server.url, SECRET, total_seconds=5.0, mutating=False, about=ABOUT).status

    assert look(old) == 200
    with pytest.raises(Unreachable, match="certificate is not trusted"):
        look(new)
    fresh = tmp_path / "fresh.pem"
    fresh.write_text(new.pem)
    fresh.replace(authorities)  # as a system does: no reader sees half of it

    assert look(new) == 200
    with pytest.raises(Unreachable, match="certificate is not trusted"):
        look(old)


@pytest.mark.parametrize("tls", [TlsPolicy(ca_pem="no certificate"), TlsPolicy(fingerprint="no hex")])
def test_a_policy_that_can_not_be_read_means_that_nothing_is_sent(tls: TlsPolicy) -> None:
    error = failing("https://127.0.0.1:9/", tls=tls)

    assert type(error) is Unreachable


def test_plain_http_behind_an_https_address_is_said_so() -> None:
    def plain(sock: socket.socket) -> None:
        sock.recv(65536)
        sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with Loopback(plain) as server:
        error = failing(server.url.replace("http:", "https:"))

        assert type(error) is Unreachable
        assert "plain HTTP" in error.detail


def test_calls_are_spread_and_a_long_queue_is_refused() -> None:
    now = itertools.count(100.0, 0.0)
    pauses: list[float] = []
    pace = http.Pace(0.5, clock=lambda: next(now), pause=pauses.append)

    for _ in range(3):
        pace.wait(ABOUT)

    assert pauses == [2.0, 4.0]
    with pytest.raises(Busy):
        pace.wait(ABOUT)


def test_a_turn_among_all_processes_is_waited_for_and_none_is_busy() -> None:
    turns: list[float | None] = [0.0, 1.5, None]
    pauses: list[float] = []
    pace = http.Pace(2.0, turn=lambda: turns.pop(0), pause=pauses.append)

    assert [pace.wait(ABOUT), pace.wait(ABOUT)] == [0.0, 1.5]
    assert pauses == [1.5]
    with pytest.raises(Busy):
        pace.wait(ABOUT)


def test_no_limit_means_no_waiting() -> None:
    pauses: list[float] = []
    pace = http.Pace(0.0, pause=pauses.append)

    for _ in range(3):
        pace.wait(ABOUT)

    assert pauses == []
