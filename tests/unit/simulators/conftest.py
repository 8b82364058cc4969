"""Fixtures: a small simulated data centre with a frozen clock, and a client on its wire."""

from collections.abc import Iterator

import pytest

from provisioner.simulators import Control, Simulator
from tests.unit.simulators.wire import QUICK, Wire


@pytest.fixture
def sim() -> Iterator[Simulator]:
    with Simulator(servers=4, types=("HP-E3-16G", "HP-E5-64G")) as simulator:
        simulator.control.set(**QUICK)
        simulator.control.freeze()
        yield simulator


@pytest.fixture
def control(sim: Simulator) -> Control:
    return sim.control


@pytest.fixture
def wire(sim: Simulator) -> Iterator[Wire]:
    with Wire(sim) as client:
        yield client
