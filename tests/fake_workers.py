"""The workers as they are, on a fake data centre that another process serves: `celery -A tests.fake_workers`."""

from __future__ import annotations

import os

from provisioner.domain.connection import Endpoint
from provisioner.drivers.fake import FakeProber, RemoteDatacentre, RemoteFake
from provisioner.ports import Driver
from workers.app import app, wiring

__all__ = ["app"]


def reach(endpoint: Endpoint) -> Driver:
    return RemoteFake(endpoint.url, endpoint.name, call_seconds=endpoint.call_seconds)


wiring().drivers.register("fake", reach)
# the ports are frozen on purpose; a bootstrap of the tests' own is the one who may plug in another
object.__setattr__(wiring(), "prober", FakeProber(RemoteDatacentre(os.environ["FAKE_WORLD"])))
