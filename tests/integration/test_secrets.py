"""Secrets that were planted in an order and in a connection are found nowhere in plain text."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
import structlog

from provisioner.domain.server import ServerRef
from provisioner.drivers.fake import Call, FakeDriver, InstallEnd
from provisioner.errors import RemoteError
from tests.site import Site

PANEL_PASSWORD = "Planted-in-the-0rder-7f3a"
CONNECTION_PASSWORD = "Planted-in-the-c0nnection-91bd"


@pytest.fixture
def logged() -> Iterator[list[str]]:
    """Keep every log line, of every level, with its exception's trace."""
    lines: list[str] = []

    def keep(_logger: object, _name: str, values: structlog.types.EventDict) -> structlog.types.EventDict:
        lines.append(repr(values))
        raise structlog.DropEvent

    before = structlog.get_config()
    structlog.configure(
        processors=[structlog.processors.format_exc_info, keep],
        wrapper_class=structlog.make_filtering_bound_logger(logging.NOTSET),
        cache_logger_on_first_use=False,
    )
    yield lines
    structlog.configure(**before)


@pytest.fixture
def site(database_url: str) -> Iterator[Site]:
    made = Site(database_url)
    sealed, key = made.vault.seal(CONNECTION_PASSWORD)
    connection = made.connect()
    made.database.rows(
        "UPDATE secret SET ciphertext = %(c)s, key_id = %(k)s "
        "WHERE id = (SELECT secret_id FROM connection WHERE id = %(id)s)",
        c=sealed,
        k=key,
        id=connection,
    )
    made.package(attempts_max=2)
    yield made
    made.database.close()


def dump(site: Site) -> str:
    """Give every row of every table as text, byte strings also as what they spell."""
    tables = site.database.rows(
        "SELECT table_name AS name FROM information_schema.tables WHERE table_schema = 'public'"
    )
    assert len(tables) > 15
    found = []
    for table in tables:
        for row in site.database.rows(f'SELECT * FROM "{table["name"]}"'):  # noqa: S608 - names from the catalogue
            found += [
                bytes(value).decode("latin-1") if isinstance(value, memoryview | bytes) else str(value)
                for value in row.values()
            ]
    return "\n".join(found)


def test_planted_secrets_are_found_in_no_row_event_message_or_log_line(site: Site, logged: list[str]) -> None:
    for ref in ("101", "102"):
        site.world.add_server(ref)
    site.world.servers[ServerRef("101")].install_ends = [InstallEnd.FAILED]
    site.world.servers[ServerRef("102")].operation_failed = True  # tried last
    for method in ("create_user", "install"):
        site.world.fault(method, RemoteError)
    reports = []
    placed = site.order("ord-1", panel_password=PANEL_PASSWORD)
    touch = site.touch

    def kept(message: object) -> object:
        report = touch(message)  # type: ignore[arg-type]
        reports.append(report)
        return report

    site.touch = kept  # type: ignore[method-assign, assignment]
    site.run(site.ended(placed.job_id))

    assert site.job(placed.job_id)["state"] == "succeeded", site.trail()
    (sold,) = (server for server in site.world.servers.values() if server.owner not in (None, "5"))
    assert len(sold.os_password) >= 16, "the secret did travel"
    everything = {
        "tables": dump(site),
        "messages": repr(site.waker.sent) + repr(site.waker.losses),
        "log": "\n".join(logged),
        "reports": repr(reports),
        "driver": repr(FakeDriver(site.world)),
        "tools": repr(site.tools),
    }
    assert len(logged) > 10
    for secret in (PANEL_PASSWORD, CONNECTION_PASSWORD, sold.os_password):
        assert [name for name, text in everything.items() if secret in text] == []


def crash(_call: Call) -> None:
    raise ZeroDivisionError


def test_a_call_that_crashes_shows_no_secret_in_its_trace(site: Site, logged: list[str]) -> None:
    server = site.world.add_server("101")
    site.world.fault("install", hook=crash)
    placed = site.order("ord-1", panel_password=PANEL_PASSWORD)

    site.run(site.ended(placed.job_id))

    assert any("step_crashed" in line and "ZeroDivisionError" in line for line in logged)
    for secret in (PANEL_PASSWORD, CONNECTION_PASSWORD, server.os_password):
        assert secret
        assert secret not in "\n".join(logged)
        assert secret not in dump(site)
