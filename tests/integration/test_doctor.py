"""`provisioner doctor`: each thing that is wrong is a red line with what to type, whatever else is down."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from provisioner.demo.broker import EmbeddedBroker
from provisioner.demo.children import free_port
from provisioner.desks.email import EmailDesk, MailServer
from provisioner.desks.registry import DeskRegistry
from provisioner.domain.spans import Spans
from provisioner.store import connections, installation
from provisioner.store.database import Database
from provisioner.store.heartbeats import HeartbeatStore
from provisioner.store.reads import ReadsStore
from provisioner.usecases.doctor import Line, examine
from tests.site import Site

ROOT = Path(__file__).parents[2]
VERSION = "1.2.3"
MAIL = MailServer(url="smtp+plain://127.0.0.1:9", sender="provisioner@example.net")
#: billing is told by a callback, and of one service
CALLBACK = """
WITH s AS (INSERT INTO secret (ciphertext, key_id) VALUES ('', '') RETURNING id), c AS (
  INSERT INTO callback (panel, url, secret_id) SELECT 'billmanager', 'https://billing.example.net/hook', id FROM s)
INSERT INTO callback_due (service_id, panel, seq) VALUES (1, 'billmanager', 1)"""


class Broker:
    """A broker that says what it is told to."""

    def __init__(self) -> None:
        self.says = ""

    def trouble(self) -> str:
        return self.says


class Patient:
    """A site, and the doctor who looks at it."""

    def __init__(self, url: str) -> None:
        self.site, self.broker = Site(url), Broker()
        self.late = timedelta()
        self.desks = DeskRegistry({"email": EmailDesk(MAIL), "rt": None})
        self.lives = HeartbeatStore(self.site.database)

    def look(self) -> dict[str, Line]:
        found = examine(
            reads=ReadsStore(self.site.database),
            heartbeats=self.lives,
            broker=self.broker,
            spans=Spans(),
            version=VERSION,
            desks=self.desks,
            clock=lambda: datetime.now(UTC) - self.late,
        )
        assert len({line.about for line in found}) == len(found)
        return {line.about: line for line in found}

    def red(self) -> list[str]:
        return [about for about, line in self.look().items() if not line.well]

    def sql(self, statement: str, **values: object) -> None:
        self.site.database.rows(statement, **values)


@pytest.fixture
def patient(database_url: str) -> Iterator[Patient]:
    """Give a site on which all is well."""
    made = Patient(database_url)
    made.site.world.add_server("101")
    made.site.connect()
    made.site.package()
    made.lives.note("steps@a", version=VERSION, queues=["steps", "observe"])
    made.lives.note("control@a", version=VERSION, queues=["control", "outbox"])
    made.sql("INSERT INTO department (name, address) VALUES ('default', 'oncall@example.net')")
    made.site.tick()
    yield made
    made.site.database.close()


def test_a_site_on_which_all_is_well_is_green(patient: Patient) -> None:
    found = patient.look()

    assert [line for line in found.values() if not line.well] == []
    assert {"database", "migrations", "broker", "last tick", "clock", "worker steps@a", "queue outbox"} <= found.keys()
    assert [line.mend for line in found.values() if line.mend] == []


def paused(patient: Patient) -> None:
    with patient.site.database.transaction() as session:
        connections.pause(session, 1, "denied", "our credentials are refused")


def restricted(patient: Patient) -> None:
    with patient.site.database.transaction() as session:
        connections.restrict(session, 1, "install_os", "the install server is down", patient.site.spans)


def awaited(patient: Patient) -> None:
    patient.site.order()
    patient.site.tick()
    patient.sql("UPDATE attempt SET state = 'waiting', awaits = 'long', resume_at = NULL")
    patient.sql("UPDATE connection SET observed_from = clock_timestamp() - interval '1 h'")


def held(patient: Patient) -> None:
    patient.site.order()
    patient.site.tick()
    patient.sql("UPDATE attempt SET state = 'held', held_since = clock_timestamp() - interval '3 h'")


def unattended(patient: Patient) -> None:
    """Let a message be sent again and again, taken by nobody."""
    patient.site.order()
    patient.site.tick()
    patient.sql("UPDATE attempt SET ready_since = clock_timestamp() - interval '150 s'")


def halted(patient: Patient) -> None:
    with patient.site.database.once() as session:
        installation.halt(session, "our books were restored")


def slow(patient: Patient) -> None:
    patient.late = timedelta(seconds=90)


def fast(patient: Patient) -> None:
    patient.late = -timedelta(seconds=90)


def no_broker(patient: Patient) -> None:
    patient.broker.says = "no answer from redis://127.0.0.1:6379/0"


def untold(patient: Patient) -> None:
    paused(patient)
    patient.sql("UPDATE event SET at = clock_timestamp() - interval '5 min'")


def refused(patient: Patient) -> None:
    patient.sql("INSERT INTO ticket (department_id, matter, subject) SELECT id, 'paused:1', 'away' FROM department")
    patient.sql("INSERT INTO delivery (ticket_id, n, kind, text, error) SELECT id, 1, 'open', 'away', 'relay denied' "
                "FROM ticket")  # fmt: skip


def sick(*statements: str) -> Callable[[Patient], None]:
    def sicken(patient: Patient) -> None:
        for statement in statements:
            patient.sql(statement)

    return sicken


ILLNESSES = {
    "broker": (no_broker, "no answer from", "systemctl status"),
    "last tick": (
        sick("UPDATE heartbeat SET at = at - interval '1 h' WHERE name = 'reconcile'"),
        "60 min ago",
        "provisioner-control",
    ),
    "clock": (slow, "this host is 90 s behind the database", "timedatectl"),
    "clock ": (fast, "this host is 90 s ahead of the database", "timedatectl"),
    "installation": (halted, "our books were restored", "audit --after-restore"),
    "worker steps@a": (
        sick("UPDATE heartbeat SET data = data || '{\"version\": \"1.2.2\"}' WHERE name = 'worker:steps@a'"),
        "version 1.2.2, serves observe, steps; this program is 1.2.3",
        "systemctl restart",
    ),
    "worker control@a": (
        sick("UPDATE heartbeat SET at = at - interval '5 min' WHERE name = 'worker:control@a'"),
        "has been silent for 5 min",
        "journalctl",
    ),
    "queue control": (
        sick("DELETE FROM heartbeat WHERE name = 'worker:control@a'"),
        "nobody serves it",
        "systemctl start provisioner-control",
    ),
    "queue ams": (sick("UPDATE connection SET queue = 'ams'"), "nobody serves it", "provisioner-steps@ams"),
    "workers": (sick("DELETE FROM heartbeat WHERE left(name, 7) = 'worker:'"), "none has given", "systemctl start"),
    "connection dc1": (paused, "paused: our credentials are refused", "connection put dc1"),
    "connection dc1 ": (restricted, "restricted, install_os fails", "job list --failed --step install_os"),
    "connection dc1  ": (awaited, "though work waits for it", "connection check dc1"),
    "connection dc1   ": (
        sick("UPDATE connection SET observe_error = 'the list was cut'"),
        "the last reading failed: the list was cut",
        "connection check dc1",
    ),
    "in charge": (sick("DELETE FROM department"), "nobody is told of errors of dc1", "department set default"),
    "waiting for person": (held, "1 wait for a person, the oldest for 3 h", "job show 1"),
    "waiting for worker": (unattended, "1 wait for a worker, the oldest for", "job show 1"),
    "desk rt": (sick("UPDATE department SET desk = 'rt'"), "PROVISIONER_RT_URL", "provisioner-control"),
    "callback billmanager": (
        sick(CALLBACK, "UPDATE callback SET failures = 3, error = 'answered 503'"),
        "services to tell of: 1, failures in a row: 3, the last: answered 503",
        "callback list",
    ),
    "callback billmanager ": (
        sick(CALLBACK, "UPDATE callback_due SET failed_at = clock_timestamp()"),
        "services that it was not told of in time: 1",
        "callback replay billmanager --failed",
    ),
    "messages": (untold, "nobody empties the outbox: its oldest event waits for 5 min", "provisioner-control"),
    "messages ": (refused, "1 were not taken, the oldest: relay denied", "ticket show 1"),
    "migrations": (sick("UPDATE alembic_version SET version_num = '0001'"), "revision 0001, this", "db upgrade"),
}


@pytest.mark.parametrize("about", ILLNESSES, ids=lambda about: f"{about.strip()} {about.count(' ')}")
def test_what_is_wrong_is_a_red_line_with_what_to_type(patient: Patient, about: str) -> None:
    sicken, says, mend = ILLNESSES[about]
    assert patient.red() == []

    sicken(patient)
    line = patient.look()[about.strip()]

    assert line.well is False
    assert says in line.says
    assert mend in line.mend


def test_a_database_that_takes_no_writes_is_red_though_it_answers(patient: Patient) -> None:
    patient.sql("ALTER TABLE heartbeat ADD CONSTRAINT full_disk CHECK (name <> 'doctor') NOT VALID")
    patient.sql("CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS "
                "$$ BEGIN RAISE EXCEPTION 'no space left on device' USING ERRCODE = '53100'; END $$")  # fmt: skip
    patient.sql("CREATE TRIGGER full_disk BEFORE INSERT OR UPDATE ON heartbeat FOR EACH ROW EXECUTE FUNCTION refuse()")

    line = patient.look()["database"]

    assert (line.well, line.mend) == (False, "df -h; see PostgreSQL's log")


def test_a_worker_that_was_taken_away_is_forgotten_after_an_hour(patient: Patient) -> None:
    patient.lives.note("steps@b", version="0.9", queues=["steps"])
    patient.sql("UPDATE heartbeat SET at = at - interval '61 min' WHERE name = 'worker:steps@b'")

    assert patient.red() == []


def test_a_worker_that_ends_by_itself_leaves_the_list_and_a_name_is_not_kept_for_ever(patient: Patient) -> None:
    patient.lives.forget("steps@a")
    patient.sql("UPDATE heartbeat SET at = at - interval '25 h' WHERE name = 'worker:control@a'")
    patient.lives.note("steps@b", version=VERSION, queues=["steps"])

    assert [row["name"] for row in ReadsStore(patient.site.database).workers()] == ["steps@b"]


def test_with_the_database_down_that_line_is_red_and_the_rest_is_not_known() -> None:
    away = Database(f"postgresql+psycopg2://nobody@127.0.0.1:{free_port()}/nothing")
    found = examine(
        reads=ReadsStore(away),
        heartbeats=HeartbeatStore(away),
        broker=Broker(),
        spans=Spans(),
        version=VERSION,
        desks=DeskRegistry({}),
        clock=lambda: datetime.now(UTC),
    )

    stands = {line.about: line.well for line in found}
    assert stands.pop("database") is False
    assert stands.pop("broker") is True
    assert set(stands.values()) == {None}
    assert {"migrations", "workers", "queues", "connections", "waiting work"} <= stands.keys()


def doctor(database_url: str, broker_url: str, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "provisioner", "doctor", *options],
        env={
            "PATH": os.defpath,
            "PROVISIONER_DATABASE_URL": database_url,
            "PROVISIONER_BROKER_URL": broker_url,
            "PROVISIONER_SMTP_URL": "smtp+plain://127.0.0.1:9",
            "PROVISIONER_SMTP_FROM": "provisioner@example.net",
            "PROVISIONER_SECRET_KEY": "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=",
        },
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_command_says_all_and_its_exit_code_says_it_too(patient: Patient, broker: EmbeddedBroker) -> None:
    from provisioner import __version__  # noqa: PLC0415 - as the command has it

    for name, queues in (("steps@a", ["steps", "observe"]), ("control@a", ["control", "outbox"])):
        patient.lives.note(name, version=__version__, queues=queues)
    patient.site.tick()
    patient.sql("UPDATE heartbeat SET at = clock_timestamp() + interval '20 s' WHERE name = 'reconcile'")

    well = doctor(patient.site.database.url, broker.url, "--json")
    lost = f"redis://:planted-password@127.0.0.1:{free_port()}/0"
    ill = doctor(patient.site.database.url, lost)

    assert (well.returncode, well.stderr) == (0, ""), well.stdout
    assert json.loads(well.stdout)["well"] is True
    assert ill.returncode == 1
    assert "RED    broker" in ill.stdout
    assert "type: systemctl status" in ill.stdout
    assert "planted-password" not in ill.stdout + ill.stderr
