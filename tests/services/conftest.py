"""The real servers, one of each a session, whole again before each test."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.services.servers import Postgres, RabbitMQ, Redis


@pytest.fixture(scope="session")
def servers_folder() -> Iterator[Path]:
    """Give a folder that the servers' user can reach."""
    folder = Path(tempfile.mkdtemp(prefix="provisioner-services-"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def real_postgres(servers_folder: Path) -> Iterator[Postgres]:
    server = Postgres(servers_folder)
    try:
        server.begin()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def real_redis(servers_folder: Path) -> Iterator[Redis]:
    server = Redis(servers_folder)
    try:
        server.begin()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def real_rabbitmq(servers_folder: Path) -> Iterator[RabbitMQ]:
    server = RabbitMQ(servers_folder)
    try:
        server.begin()
        yield server
    finally:
        server.stop()
