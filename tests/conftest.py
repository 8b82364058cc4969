"""Fixtures that many rooms' tests share: a migrated PostgreSQL database, and a broker."""

from __future__ import annotations

import itertools
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pytest

from provisioner.demo.broker import EmbeddedBroker
from provisioner.demo.postgres import EmbeddedPostgres

_NUMBERS = itertools.count(1)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show the figures that tests recorded."""
    passed = terminalreporter.stats.get("passed", [])
    told = [(report.nodeid, report.user_properties) for report in passed if report.user_properties]
    if told:
        terminalreporter.section("figures")
    for test, figures in told:
        terminalreporter.write_line(f"{test.rpartition('/')[2]}")
        terminalreporter.write_line("    " + " · ".join(f"{name} {value}" for name, value in figures))


@pytest.fixture(scope="session")
def state_dir() -> Iterator[Path]:
    """
    Return a folder for servers, gone after the session.

    Not pytest's `tmp_path`: that is closed to the unprivileged user that PostgreSQL runs as when
    we are root.
    """
    folder = Path(tempfile.mkdtemp(prefix="provisioner-test-"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres(state_dir: Path) -> Iterator[EmbeddedPostgres]:
    """Run one server a session, so with xdist one a worker; it shares nothing with the others."""
    with EmbeddedPostgres(state_dir, fsync=False) as server:
        yield server


@pytest.fixture(scope="session")
def template_database(postgres: EmbeddedPostgres) -> str:
    """Make the database that all others are copies of: every migration is applied to it."""
    from provisioner.store import migrate  # noqa: PLC0415 - only tests that need it pay for it

    postgres.create_database("template")
    migrate.upgrade(postgres.url("template"))
    # a mould is no database of its own: each copy learns which one it is, else nobody would act in it
    connection = psycopg2.connect(postgres.url("template").replace("+psycopg2", ""))
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute("UPDATE installation SET database_oid = 0")
    finally:
        connection.close()
    return "template"


@pytest.fixture
def database_url(postgres: EmbeddedPostgres, template_database: str) -> Iterator[str]:
    """Return the address of a fresh, migrated database that is dropped after the test."""
    name = f"test_{next(_NUMBERS)}"
    postgres.create_database(name, template=template_database)
    yield postgres.url(name)
    postgres.drop_database(name)


@pytest.fixture
def empty_database_url(postgres: EmbeddedPostgres) -> Iterator[str]:
    """Return the address of a database without a table, for tests of the migrations themselves."""
    name = f"empty_{next(_NUMBERS)}"
    postgres.create_database(name)
    yield postgres.url(name)
    postgres.drop_database(name)


@pytest.fixture(scope="session")
def broker_of_the_session() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker() as server:
        yield server


@pytest.fixture
def broker(broker_of_the_session: EmbeddedBroker) -> Iterator[EmbeddedBroker]:
    """Return a broker without a message. It is this test's alone, as far as others have ended."""
    broker_of_the_session.flush()
    yield broker_of_the_session
    broker_of_the_session.flush()
