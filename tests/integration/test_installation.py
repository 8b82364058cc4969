"""A database that went back, or is a copy, is noticed before anything is done with it; real PostgreSQL."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from provisioner.demo.postgres import EmbeddedPostgres
from provisioner.demo.programs import choose_programs
from provisioner.errors import IllegalMove, Overloaded
from provisioner.ports import Refusal
from provisioner.store import migrate
from provisioner.store.audit import AuditStore
from provisioner.store.database import Database
from provisioner.store.installation import InstallationStore, greet
from provisioner.store.reads import ReadsStore
from provisioner.store.reconciler import ReconcilerStore
from provisioner.usecases import audit, servers
from provisioner.views import health
from provisioner.views import job as job_view
from tests.site import SHORT, Site

TELL = """
SELECT c.name, e.text FROM event e JOIN connection c ON c.id = e.connection_id WHERE e.kind = 'installation_halted'"""


@pytest.fixture
def site(database_url: str) -> Iterator[Site]:
    made = Site(database_url, pool_size=4)
    made.connect()
    made.package()
    yield made
    made.database.close()


def connect(url: str) -> str:
    """Connect as every process does; give why it is halted."""
    database = Database(url, greet=greet)
    try:
        return str(database.value("SELECT halted FROM installation"))
    finally:
        database.close()


def acts(site: Site) -> int:
    return len(site.world.calls(mutating=True))


def restore(site: Site, change: str) -> None:
    """Make the books those of another database, as a restore would."""
    site.database.rows("UPDATE installation SET timeline = 1")
    site.database.rows(f"UPDATE installation SET {change}")  # noqa: S608 - the test's own words


def test_the_first_connection_learns_the_timeline_and_halts_nothing(database_url: str) -> None:
    assert connect(database_url) == ""

    database = Database(database_url)
    assert database.value("SELECT timeline FROM installation") == 1
    database.close()


@pytest.mark.parametrize(
    ("change", "word"),
    [("system_identifier = '1'", "cluster"), ("timeline = 7", "timeline 7"), ("database_oid = 1", "another database")],
)
def test_a_database_that_was_restored_copied_or_moved_halts_at_the_first_connection(
    site: Site, change: str, word: str
) -> None:
    site.connect("dc2")
    site.connect("dc3")
    site.database.rows("UPDATE connection SET state = 'disabled' WHERE name = 'dc3'")
    restore(site, change)

    why = connect(site.database.url)
    again = connect(site.database.url)

    assert word in why
    assert again == why
    told = site.database.rows(TELL)
    assert sorted((row["name"], row["text"]) for row in told) == [("dc1", why), ("dc2", why)]


def test_a_dump_that_was_read_back_over_the_same_database_halts(
    postgres: EmbeddedPostgres, site: Site, tmp_path: Path
) -> None:
    assert connect(site.database.url) == ""
    folder = choose_programs(postgres.home / "data").folder
    where, dump = site.database.url.replace("+psycopg2", ""), str(tmp_path / "dump")
    site.database.close()
    for words in (
        ["pg_dump", "--format", "custom", "--file", dump, where],
        ["pg_restore", "--clean", "--no-owner", "--dbname", where, dump],
    ):
        subprocess.run([folder / words[0], *words[1:]], check=True, capture_output=True)

    assert "a dump was read back" in connect(site.database.url)

    InstallationStore(site.database).accept(highest=0)
    assert connect(site.database.url) == ""


def test_a_database_of_no_tables_or_of_the_last_release_is_left_alone(empty_database_url: str) -> None:
    database = Database(empty_database_url, greet=greet)

    assert database.value("SELECT 1") == 1
    database.rows("CREATE TABLE installation (id int, system_identifier text, database_oid bigint)")
    database.close()
    assert database.value("SELECT 1") == 1
    database.close()


def test_a_halted_installation_takes_orders_and_does_nothing(site: Site) -> None:
    server = site.world.add_server("101")
    restore(site, "database_oid = 1")
    why = connect(site.database.url)

    job = site.order().job_id
    for _ in range(20):
        site.tick()

    found = site.job(job)
    assert (found["state"], found["waits_for"], acts(site)) == ("queued", "site", 0)
    shown = job_view.show(job, reads=ReadsStore(site.database), spans=SHORT)
    assert why in shown.sentence
    ready = health.show(reads=ReadsStore(site.database), spans=SHORT)
    assert (ready.ready, ready.installation) == (False, why)
    with pytest.raises(IllegalMove, match="restored"):
        servers.quarantine("dc1", "101", reason="loud", by="test", store=site.quarantine, waker=site.waker,
                           policies=site.policies)  # fmt: skip
    assert server.owner is None


def test_an_attempt_under_way_stands_still_while_it_is_halted_and_goes_on_after_it_was_accepted(site: Site) -> None:
    site.world.add_server("101")
    job = site.order().job_id
    site.run(lambda: acts(site) >= 1)
    restore(site, "database_oid = 1")
    connect(site.database.url)
    site.tick()
    before = acts(site)
    late = site.database.row(
        "UPDATE step SET deadline_at = clock_timestamp() - interval '1 h', arrived_at = clock_timestamp() - interval "
        "'2 h' FROM attempt a WHERE step.attempt_id = a.id AND step.pos = a.pos RETURNING a.id, a.pos"
    )
    assert late is not None

    refused = site.engine.claim(late["id"], late["pos"], owner="test:1", task_id="t", worker="w")
    for _ in range(20):
        site.tick()
        while site.waker.messages:
            assert site.touch(site.waker.messages.popleft()).outcome in ("halted", "fenced")

    assert refused is Refusal.HALTED
    assert acts(site) == before

    InstallationStore(site.database).accept(highest=900)
    patience = site.database.value(
        "SELECT extract(epoch FROM s.deadline_at - clock_timestamp()) FROM step s JOIN attempt a "
        "ON s.attempt_id = a.id AND s.pos = a.pos"
    )
    site.run(site.ended(job))

    assert 3590 < patience < 3601
    assert site.job(job)["state"] == "succeeded"
    assert connect(site.database.url) == ""
    assert site.database.value("SELECT nextval('claim_id_seq')") == 901


def test_it_stays_accepted_and_never_lowers_the_serials(site: Site) -> None:
    site.database.rows("SELECT setval('claim_id_seq', 40)")
    restore(site, "timeline = 3")
    connect(site.database.url)

    InstallationStore(site.database).accept(highest=7)

    assert connect(site.database.url) == ""
    assert site.database.value("SELECT nextval('claim_id_seq')") == 41


# --- what a step reads --------------------------------------------------------------------------------------------


def token(site: Site, serial: int) -> str:
    return f"provisioner {InstallationStore(site.database).name()} claim {serial}"


@pytest.mark.parametrize("case", ["above", "another server"])
def test_a_step_that_reads_a_token_of_the_time_after_the_backup_halts_and_does_not_act(site: Site, case: str) -> None:
    server = site.world.add_server("101")
    if case == "above":
        serial, word = 77, "none above"
    else:
        serial, word = 1, "server 900"
        site.database.rows(
            "INSERT INTO claim (connection_id, server_ref, state, note_token) VALUES (1, '900', 'ended', 't')"
        )
    server.notes = f"old words\n{token(site, serial)}"
    site.order()

    site.run(lambda: bool(site.database.value("SELECT halted FROM installation")))
    for _ in range(10):
        site.tick()
        while site.waker.messages:
            site.touch(site.waker.messages.popleft())

    why = site.database.value("SELECT halted FROM installation")
    assert f"server 101 of dc1 carries our claim {serial}" in why
    assert word in why
    assert server.owner is None
    assert len(site.database.rows(TELL)) == 1


@pytest.mark.parametrize("line", ["provisioner 00000000 claim 77", "see provisioner {name} claim 77", "", "{own}"])
def test_a_token_of_another_installation_words_about_one_and_an_old_one_of_this_server_halt_nothing(
    site: Site, line: str
) -> None:
    server = site.world.add_server("101")
    site.database.rows(
        "INSERT INTO claim (connection_id, server_ref, state, note_token) VALUES (1, '101', 'ended', 't')"
    )
    server.notes = line.format(name=InstallationStore(site.database).name(), own=token(site, 1))
    job = site.order().job_id

    site.run(site.ended(job))

    assert site.job(job)["state"] == "succeeded"
    assert site.database.value("SELECT halted FROM installation") == ""


# --- copies -------------------------------------------------------------------------------------------------------


def test_a_copy_made_by_the_database_halts_itself_and_the_original_goes_on(
    postgres: EmbeddedPostgres, database_url: str
) -> None:
    connect(database_url)
    postgres.create_database("copied", template=database_url.partition("@/")[2].partition("?")[0])
    try:
        assert "another database" in connect(postgres.url("copied"))
        assert connect(database_url) == ""
    finally:
        postgres.drop_database("copied")


def test_of_two_clones_that_no_identity_tells_apart_each_halts_when_it_reads_the_others_line(
    postgres: EmbeddedPostgres, site: Site
) -> None:
    for n in ("101", "102", "103"):
        site.world.add_server(n)
    site.database.close()
    postgres.create_database("clone", template=site.database.url.partition("@/")[2].partition("?")[0])
    clone = Site(postgres.url("clone"), pool_size=4)
    clone.vault, clone.world, clone.drivers = site.vault, site.world, site.drivers
    clone.tools = replace(clone.tools, drivers=site.drivers, prober=site.prober, vault=site.vault)
    try:
        for one, ref in ((site, "ord-1"), (clone, "ord-2")):  # both act: neither has read a word of the other
            job = one.order(ref).job_id
            one.run(one.ended(job))
            assert one.job(job)["state"] == "succeeded"
        said = []
        for one in (site, clone):
            audit.look(
                None,
                quick=False,
                audits=AuditStore(one.database, SHORT),
                drivers=site.drivers,
                installation=InstallationStore(one.database),
                tell=lambda *_: None,
            )
            said.append(str(one.database.value("SELECT halted FROM installation")))

        assert all("carries our claim 1, and in our books that is server" in why for why in said)
        assert said[0] != said[1]
    finally:
        clone.database.close()
        postgres.drop_database("clone")


@pytest.mark.long
def test_a_standby_is_not_used_and_its_promotion_is_noticed_on_the_same_connection() -> None:
    folder = Path(tempfile.mkdtemp(prefix="provisioner-test-"))
    folder.chmod(0o711)
    server = EmbeddedPostgres(folder, fsync=False)
    try:
        server.start()
        server.create_database("site")
        migrate.upgrade(server.url("site"))
        assert connect(server.url("site")) == ""
        server.stop()
        signal = server.home / "data" / "standby.signal"
        signal.touch()
        shutil.chown(signal, user=(server.home / "data").stat().st_uid)
        server.start()
        database = Database(server.url("site"), greet=greet)
        before = database.value("SELECT pg_backend_pid()")
        with pytest.raises(Overloaded, match="read-only"):
            database.rows("UPDATE installation SET name = name")
        kept = database.value("SELECT pg_backend_pid()")
        with server._superuser() as cursor:
            cursor.execute("SELECT pg_promote()")
        ends = time.monotonic() + 20
        while database.value("SELECT pg_is_in_recovery()"):
            assert time.monotonic() < ends
            time.sleep(0.05)

        ReconcilerStore(database, SHORT).sweep()
        assert database.value("SELECT pg_backend_pid()") == kept != before
        assert "timeline 1, this is timeline 2" in str(database.value("SELECT halted FROM installation"))
        database.close()
    finally:
        server.remove()
        shutil.rmtree(folder, ignore_errors=True)
