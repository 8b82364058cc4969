"""How a simulator is started and stopped: in a thread, as a child process, with and without TLS."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import requests

from provisioner.simulators import Control, Options, Simulator
from provisioner.simulators.__main__ import main, parse
from provisioner.simulators.clock import Clock
from tests.unit.simulators.wire import Wire

ROOT = Path(__file__).parents[3]


def test_it_speaks_tls_with_a_certificate_that_can_be_trusted() -> None:
    with Simulator(servers=2, tls=True) as simulator:
        values = {"func": "rack", "out": "json", "authinfo": simulator.authinfo}
        trusted = str(simulator.ca_file)

        assert simulator.url.startswith("https://")
        assert requests.post(simulator.url, data=values, verify=trusted, timeout=5).json()["doc"]["elem"]
        with pytest.raises(requests.exceptions.SSLError):
            requests.post(simulator.url, data=values, timeout=5)


def test_a_certificate_can_change() -> None:
    with Simulator(servers=1, tls=True) as simulator:
        before = simulator.control.world()["certificate_sha256"]
        assert before == simulator.certificate_sha256

        simulator.control.new_certificate()

        assert simulator.control.world()["certificate_sha256"] != before


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "example.net"])  # noqa: S104 - must be refused
def test_it_refuses_to_listen_where_others_could_reach_it(host: str) -> None:
    with pytest.raises(ValueError, match="loopback only"):
        Simulator(host=host)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (Options(servers=-1), "a fleet has"),
        (Options(speed=0), "positive"),
        (Options(latency="some"), "none or real"),
    ],
)
def test_options_that_cannot_be_are_refused(options: Options, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        Simulator(options)


def test_a_port_in_use_is_said(sim: Simulator, wire: Wire) -> None:
    with pytest.raises(OSError, match=r"(?i)address already in use"):
        Simulator(port=wire.host[1]).start()


def test_it_can_be_stopped_twice() -> None:
    simulator = Simulator(servers=1).start()

    simulator.stop()
    simulator.stop()


def test_real_latency_delays_calls() -> None:
    with Simulator(servers=1, latency="real") as simulator, Wire(simulator) as client:
        simulator.control.set(call=0.1, list_row=0)

        assert client.raw("server").elapsed.total_seconds() >= 0.1


def test_the_seed_decides_the_host_keys() -> None:
    def key(seed: int) -> str:
        with Simulator(servers=1, seed=seed) as simulator:
            return str(simulator.control.change_server("101", template="x")["host_key"])

    assert key(1) == key(1)
    assert key(1) != key(2)


def test_the_command_line_sets_every_option() -> None:
    options = parse(
        [
            *("--servers", "3", "--speed", "60", "--port", "1", "--control-port", "2", "--ssh-port", "3", "--tls"),
            *("--host", "::1", "--seed", "4", "--block", "77", "--admin-user", "a", "--admin-password", "b"),
            *("--latency", "real", "--type", "X", "--type", "Y"),
        ]
    )

    assert options == Options(
        servers=3,
        speed=60,
        port=1,
        control_port=2,
        ssh_port=3,
        tls=True,
        host="::1",
        seed=4,
        block=77,
        admin_user="a",
        admin_password="b",
        latency="real",
        types=("X", "Y"),
    )


def test_the_command_line_says_what_is_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--host", "192.0.2.1"]) == 2

    assert "loopback only" in capsys.readouterr().err


def test_it_runs_as_a_child_process_and_ends_on_a_signal() -> None:
    command = [sys.executable, "-m", "provisioner.simulators", "--servers", "2"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as child:
        assert child.stdout is not None
        ready = json.loads(child.stdout.readline())

        assert Control(ready["control_url"]).healthy()
        assert requests.get(ready["url"], timeout=5).ok
        child.send_signal(signal.SIGTERM)

        assert child.wait(10) == 0


def test_a_clock_follows_its_source_until_it_is_frozen() -> None:
    ticks = iter([10.0, 11.5, 12.0, 20.0, 21.0, 22.5])
    clock = Clock(lambda: next(ticks))
    assert clock.now() == 1.5
    clock.freeze()
    assert clock.now() == 2.0
    clock.advance(3)
    assert clock.now() == 5.0

    clock.resume()

    assert clock.now() == 6.0
