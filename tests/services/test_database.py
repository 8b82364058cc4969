"""PostgreSQL crashes under load, becomes read-only, runs out of disk: refused in so many words, and nothing is lost."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg2
import pytest

from tests.services.servers import Postgres, Redis
from tests.services.works import Answer, Works, works

pytestmark = [pytest.mark.services, pytest.mark.long, pytest.mark.timeout(600)]
Record = Callable[[str, object], None]
AWAY_SECONDS = 3.0
STILL_SECONDS = 4.0  #: longer than a lease
DISK_MB = 110


@pytest.fixture(scope="module")
def site(real_postgres: Postgres, real_redis: Redis) -> Iterator[Works]:
    real_redis.heal()
    with works(real_postgres, real_redis, "database") as made:
        yield made


def acts(site: Works) -> int:
    """Count what was changed in the data centre."""
    return sum(bool(call["effect"]) for call in site.places[0].control.journal())


def refused(answers: list[Answer]) -> list[Answer]:
    """Give who was not taken; each was told to come again."""
    found = [answer for answer in answers if answer.status != 202]
    assert {(one.status, "retry-after" in one.headers) for one in found} <= {(503, True)}
    return found


def test_a_database_that_crashes_under_load_delays_and_no_more(
    site: Works, real_postgres: Postgres, record_property: Record
) -> None:
    site.take(6, "crash")
    site.under_way(3)
    since = len(site.answers)
    real_postgres.crash()
    ends, taken = time.monotonic() + AWAY_SECONDS, 0
    while time.monotonic() < ends:
        taken += site.order("crashed-0").status == 202
        site.spend(0.2)
    real_postgres.begin()
    back = time.monotonic()
    site.take(3, "crashed", every=0.1)
    served = time.monotonic() - back

    figures = site.finish(back)

    site.judged()
    assert taken == 0
    assert len(refused(site.answers[since:])) >= 3
    record_property("orders are taken after, s", round(served, 1))
    for name, value in figures.items():
        record_property(name, value)


def test_a_database_that_became_read_only_stops_everything_until_it_is_not(
    site: Works, real_postgres: Postgres, record_property: Record
) -> None:
    database = site.database_name
    site.take(6, "read")
    site.under_way(3)
    since = len(site.answers)
    real_postgres.ask(f'ALTER DATABASE "{database}" SET default_transaction_read_only = on')
    # as on a fail-over: who was connected is thrown out, and finds what is now a standby
    real_postgres.ask("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", database)
    site.spend(STILL_SECONDS)
    before = acts(site)
    ends = time.monotonic() + STILL_SECONDS
    while time.monotonic() < ends:
        site.order("read-late")
        site.spend(0.5)
    ready, meanwhile = site.ask("GET", "/readyz"), acts(site) - before
    told = refused(site.answers[since:-1])
    real_postgres.ask(f'ALTER DATABASE "{database}" RESET default_transaction_read_only')

    back = time.monotonic()
    site.take(2, "written", every=0.1)
    served = time.monotonic() - back
    figures = site.finish(back)

    site.judged()
    assert len(told) >= 5
    assert {one.body["detail"] for one in told} >= {"the database is read-only"}
    assert ready.status == 503
    assert meanwhile == 0, "an act without a claim"
    record_property("orders are taken after, s", round(served, 1))
    for name, value in figures.items():
        record_property(name, value)


# --- a disk that is full ----------------------------------------------------------------------------------------------


class Disk:
    """A file system of a few megabytes, and a file on it that takes all that is left."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def ballast(self) -> Path:
        return self.folder / "ballast"

    def fill(self) -> None:
        with suppress(OSError), self.ballast.open("ab", buffering=0) as file:
            for size in (1 << 20, 4096, 1):
                with suppress(OSError):
                    while True:
                        file.write(b"\0" * size)

    def free(self) -> None:
        self.ballast.unlink(missing_ok=True)


@contextmanager
def small_disk() -> Iterator[Disk]:
    if os.geteuid() != 0:
        pytest.fail("only root can mount a small disk: run this tier as root", pytrace=False)
    folder = Path(tempfile.mkdtemp(prefix="provisioner-disk-"))
    subprocess.run(["/bin/mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m,mode=0755", "tmpfs", folder], check=True)
    try:
        yield Disk(folder)
    finally:
        subprocess.run(["/bin/umount", folder], check=True)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def disk() -> Iterator[Disk]:
    with small_disk() as made:
        yield made


@pytest.fixture(params=["tables", "tables and log"])
def cramped(request: pytest.FixtureRequest, disk: Disk, servers_folder: Path) -> Iterator[Postgres]:
    """Have a PostgreSQL whose tables, and whose log too, lie on the small disk."""
    own = servers_folder / "cramped"
    own.mkdir(mode=0o711)
    home = disk.folder / "home"
    home.mkdir(mode=0o700)
    server = Postgres(own, data=home, log_elsewhere=request.param == "tables")
    server.give(home)
    try:
        server.begin()
        yield server
    finally:
        server.stop()
        shutil.rmtree(own)


@pytest.fixture
def spare_redis(servers_folder: Path) -> Iterator[Redis]:
    """Have a Redis of its own: the site above still runs on the other, and two on one take each other's messages."""
    own = servers_folder / "spare"
    own.mkdir(mode=0o711)
    server = Redis(own)
    try:
        server.begin()
        yield server
    finally:
        server.stop()
        shutil.rmtree(own)


def use_up(server: Postgres) -> None:
    """Write until there is no room for more, neither in tables nor in the log, as work would within hours."""
    with suppress(psycopg2.Error):
        server.ask("CREATE TABLE ballast AS SELECT repeat('x', 1000) FROM generate_series(1, 100000)")
    if server.log_elsewhere:
        return
    with suppress(psycopg2.Error):
        while True:
            server.ask("SELECT pg_logical_emit_message(false, 'ballast', repeat('x', 200000))")


def test_a_disk_that_is_full_loses_nothing(
    cramped: Postgres, disk: Disk, spare_redis: Redis, record_property: Record
) -> None:
    with works(cramped, spare_redis, "disk", servers=30) as site:
        site.take(5, "full")
        site.under_way(3)
        since = len(site.answers)
        disk.fill()
        use_up(cramped)
        number = itertools.count()
        site.wait("an order refused", lambda: site.order(f"late-{next(number)}").status == 503, 60)
        site.spend(STILL_SECONDS)
        before = acts(site)
        ends = time.monotonic() + STILL_SECONDS
        while time.monotonic() < ends:
            site.order(f"late-{next(number)}")
            site.spend(0.3)
        meanwhile, told = acts(site) - before, refused(site.answers[since:])
        died = cramped.pid is None

        disk.free()
        if died:  # it gave up on a log that it could not write
            cramped.begin()
        back = time.monotonic()
        site.take(2, "room")
        served = time.monotonic() - back
        figures = site.finish(back)

        site.judged()
        assert died is not cramped.log_elsewhere
        assert len(told) >= 5
        assert died or {one.body["detail"] for one in told} == {"the database can't take it now (53100)"}
        assert meanwhile == 0, "an act without a claim"
        record_property("PostgreSQL", "ended" if died else "stayed up")
        record_property("orders are taken after, s", round(served, 1))
        for name, value in figures.items():
            record_property(name, value)
