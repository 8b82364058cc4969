"""
ICMP between two network namespaces; needs root, and says so instead of skipping.

The kernel answers ICMP on all of 127/8, so loopback can't show a silent host.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

import pytest

pytestmark = pytest.mark.services

HOST4, HOST6 = "192.0.2.2", "2001:db8:2::2"
NOBODY4, NOBODY6 = "192.0.2.77", "2001:db8:2::77"
ELSEWHERE4, ELSEWHERE6 = "203.0.113.1", "2001:db8:ffff::1"

PROBE = """
import json, os, sys
from provisioner import prober
from provisioner.errors import BadConfig
if "--ordinary-user" in sys.argv:  # after the imports: the interpreter may be in a home that is closed to others
    "".encode("idna")  # the resolver loads this one late
    os.setgroups([])
    os.setgid(4242)
    os.setuid(4242)
if "--same-identifier" in sys.argv:
    prober.secrets.randbelow = lambda _: 7
answers = {}
for ip in sys.argv[1].split(","):
    try:
        answers[ip] = prober.NetworkProber().answers(ip, "icmp")
    except BadConfig as error:
        answers[ip] = str(error)
print(json.dumps({"answers": answers, "cannot": prober.can_send_icmp()}), flush=True)
while "--keep-on" in sys.argv:
    assert prober.NetworkProber().answers(ip, "icmp")
"""


def run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout


@dataclass(frozen=True)
class Wire:
    """Two namespaces with a cable between them: ours, and the host's."""

    ours: str
    theirs: str

    def start(self, ips: Sequence[str], *options: str) -> subprocess.Popen[str]:
        python = [sys.executable, "-c", PROBE, ",".join(ips), *options]
        command = ["ip", "netns", "exec", self.ours, *python]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def probe(self, *ips: str, options: Sequence[str] = ()) -> tuple[dict[str, bool | str], str]:
        """Probe each of *ips* from our side; gives the answers, and why ICMP can't be sent."""
        with self.start(ips, *options) as process:
            said = json.loads(process.communicate(timeout=30)[0])
        return said["answers"], said["cannot"]


@pytest.fixture(scope="module")
def wire() -> Iterator[Wire]:
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.fail("network namespaces need root and iproute2: run as root, or leave `services` out")
    wire = Wire(f"icmp-a-{os.getpid()}", f"icmp-b-{os.getpid()}")
    try:
        for name in (wire.ours, wire.theirs):
            run("ip", "netns", "add", name)
        run(
            *("ip", "-n", wire.ours, "link", "add", "up0", "type", "veth"),
            *("peer", "name", "up0", "netns", wire.theirs),
        )
        for name, number in ((wire.ours, 1), (wire.theirs, 2)):
            run("ip", "-n", name, "link", "set", "up0", "up")
            run("ip", "-n", name, "address", "add", f"192.0.2.{number}/24", "dev", "up0")
            v6 = f"2001:db8:2::{number}/64"
            run("ip", "-n", name, "address", "add", v6, "dev", "up0", "nodad")
        yield wire
    finally:
        for name in (wire.ours, wire.theirs):
            with suppress(subprocess.CalledProcessError):
                run("ip", "netns", "delete", name)


@pytest.fixture
def deaf(wire: Wire) -> Iterator[None]:
    """The host is there and does not answer echo requests."""
    setting = ("ip", "netns", "exec", wire.theirs, "sysctl", "-qw")
    run(*setting, "net.ipv4.icmp_echo_ignore_all=1")
    yield
    run(*setting, "net.ipv4.icmp_echo_ignore_all=0")


def test_a_host_answers_on_both_families(wire: Wire) -> None:
    answers, cannot = wire.probe(HOST4, HOST6)

    assert answers == {HOST4: True, HOST6: True}
    assert cannot == ""


def test_addresses_without_a_host_or_a_route_do_not_answer(wire: Wire) -> None:
    answers, _ = wire.probe(NOBODY4, NOBODY6, ELSEWHERE4, ELSEWHERE6)

    assert set(answers.values()) == {False}


@pytest.mark.usefixtures("deaf")
def test_a_host_that_ignores_echo_requests_does_not_outlast_the_limit(wire: Wire) -> None:
    began = time.monotonic()
    answers, _ = wire.probe(HOST4)

    assert answers == {HOST4: False}
    assert time.monotonic() - began < 5  # the interpreter's start and the 2 s


def test_replies_to_another_process_are_not_taken_for_ours(wire: Wire) -> None:
    with wire.start([HOST4], "--same-identifier", "--keep-on") as other:
        assert other.stdout is not None
        other.stdout.readline()
        with wire.start([NOBODY4], "--same-identifier") as process:
            said = json.loads(process.communicate(timeout=30)[0])
        still_at_it = other.poll() is None
        other.kill()

    assert still_at_it
    assert said["answers"] == {NOBODY4: False}


def test_an_ordinary_user_is_told_what_to_type_and_that_helps(wire: Wire) -> None:
    run("ip", "netns", "exec", wire.ours, "sysctl", "-qw", "net.ipv4.ping_group_range=1 0")
    answers, cannot = wire.probe(HOST4, options=["--ordinary-user"])
    assert answers == {HOST4: cannot}
    advice = re.search(r"`(sysctl -w [^`]+)`", cannot)
    assert advice is not None

    run("ip", "netns", "exec", wire.ours, "sh", "-c", advice[1])

    answers, cannot = wire.probe(HOST4, HOST6, NOBODY4, options=["--ordinary-user"])
    assert answers == {HOST4: True, HOST6: True, NOBODY4: False}
    assert cannot == ""
