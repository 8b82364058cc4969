"""`provisioner audit` on a real database and a simulated data centre: what it says, and how it ends."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from provisioner.cli.codes import Code
from provisioner.demo.broker import EmbeddedBroker
from provisioner.simulators.serve import Simulator
from provisioner.store.database import Database
from tests.command import CommandLine

Say = Callable[..., tuple[int, str, str]]


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with Simulator(servers=6) as running:
        yield running


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    made = Database(database_url)
    yield made
    made.close()


@pytest.fixture
def key(monkeypatch: pytest.MonkeyPatch, database_url: str, broker: EmbeddedBroker, tmp_path: Path) -> Path:
    """Set the environment; give where the vault's key will be."""
    key = tmp_path / "secret.key"
    monkeypatch.setenv("PROVISIONER_DATABASE_URL", database_url)
    monkeypatch.setenv("PROVISIONER_BROKER_URL", broker.url)
    monkeypatch.setenv("PROVISIONER_SECRET_KEY_FILE", str(key))
    return key


@pytest.fixture
def say(key: Path, simulator: Simulator, capsys: pytest.CaptureFixture[str]) -> Say:
    """Give a way to give a command, with a connection to a fleet that this product has never touched."""
    password = key.with_name("password")
    password.write_text(simulator.admin_password)

    give = CommandLine(capsys)
    assert give("key", "generate", str(key))[0] == Code.OK
    put = ("connection", "put", "dc1", "--url", simulator.url, "--username", simulator.admin_user)
    assert give(*put, "--password-file", str(password))[0] == Code.OK
    return give


def ask(say: Say, *words: str, code: Code = Code.OK) -> Any:  # noqa: ANN401 - JSON
    ended, out, err = say(*words, "--json")
    assert ended == code, err
    return json.loads(out)


def token(database: Database, serial: int) -> str:
    name = database.value("SELECT left(name, 8) FROM installation")
    return f"provisioner {name} claim {serial}"


def test_a_clean_fleet_ends_with_0_and_says_what_it_could_not_see(say: Say) -> None:
    code, out, _ = say("audit")

    assert code == Code.OK
    assert "dc1: 6 servers in the list, 6 read one by one: nothing is wrong" in out
    assert "does not show whether a port is on" in out


def test_findings_end_with_3_each_with_server_evidence_cost_and_mend(say: Say, simulator: Simulator) -> None:
    simulator.control.change_server("101", add_alias="ipv4")
    simulator.control.clear_journal()

    code, out, _ = say("audit", "--connection", "dc1")
    (found,) = ask(say, "audit", code=Code.REFUSED)[0]["findings"]

    assert code == Code.REFUSED
    assert "dc1, server 101: addresses_left" in out
    assert "mend:  provisioner server quarantine dc1 101 --reason" in out
    assert "1 finding" in out
    assert (found["server"], found["kind"]) == ("101", "addresses_left")
    assert found["evidence"].split()[-5] in [row["ip"] for row in simulator.control.server("101")["addresses"]]
    assert all(found["mend"])
    assert found["costs"]
    assert not [call for call in simulator.control.journal() if call["mutating"]]


def test_a_quick_audit_is_one_call_a_connection(say: Say, simulator: Simulator) -> None:
    simulator.control.clear_journal()

    (report,) = ask(say, "audit", "--quick")

    assert [call["func"] for call in simulator.control.journal()] == ["server"]
    assert (report["read"], report["findings"]) == (0, [])
    assert any("quick" in said for said in report["unseen"])


def test_a_place_that_is_away_ends_with_5(say: Say, simulator: Simulator) -> None:
    simulator.control.stop_panel()

    code, out, _ = say("audit")

    assert code == Code.REMOTE
    assert "dc1: could not be read" in out


def test_nonsense_is_refused(say: Say) -> None:
    assert say("audit", "--accept")[0] == Code.REFUSED
    assert say("audit", "--after-restore", "--quick")[0] == Code.REFUSED
    assert say("audit", "--connection", "dc9")[0] == Code.NOT_FOUND


def test_help_has_examples_and_exit_codes(say: Say) -> None:
    code, out, _ = say("audit", "--help")

    assert code == Code.OK
    assert "examples:\n" in out
    assert "  3   something was found" in out


def test_after_a_restore_everything_stands_until_a_person_accepts(
    say: Say, simulator: Simulator, database: Database
) -> None:
    simulator.control.change_server("102", owner=simulator.admin_user, notes=token(database, 30))
    database.rows("UPDATE installation SET timeline = 1, system_identifier = '1'")
    database.rows("UPDATE connection SET state = 'paused', paused_by = 'hand'")

    code, out, _ = say("audit", "--after-restore")
    refused = say("server", "quarantine", "dc1", "101", "--reason", "x", "--wait", "0")
    accepted = ask(say, "audit", "--after-restore", "--accept")
    again = say("audit", "--after-restore")

    assert code == Code.REFUSED
    assert "halted: our books were restored" in out
    assert "dc1, server 102: our claim 30, owner is our administrator" in out
    assert "never free it" in out
    assert "audit --after-restore --accept" in out
    assert refused[0] == Code.REFUSED
    assert "restored" in refused[2]
    assert (accepted["accepted"], accepted["highest"]) == (True, 30)
    assert database.value("SELECT halted FROM installation") == ""
    assert database.value("SELECT nextval('claim_id_seq')") == 31
    assert "not halted" in again[1]


def test_it_is_not_accepted_while_a_fleet_cant_be_read(say: Say, simulator: Simulator, database: Database) -> None:
    database.rows("UPDATE installation SET timeline = 1, system_identifier = '1'")
    simulator.control.stop_panel()

    code, out, err = say("audit", "--after-restore", "--accept")

    assert code == Code.REFUSED
    assert "could not be read" in out
    assert "not all could be read" in err
    assert database.value("SELECT halted FROM installation") != ""


def test_what_the_night_found_is_shown_without_a_call(say: Say, simulator: Simulator, database: Database) -> None:
    database.rows(
        "INSERT INTO finding (connection_id, kind, server_ref, key, evidence) "
        "VALUES (1, 'unclaimed', '101', '101', 'owner is our administrator 5')"
    )
    simulator.control.clear_journal()

    code, out, _ = say("audit", "--kept")
    (found,) = ask(say, "audit", "--kept", "--connection", "dc1", code=Code.REFUSED)
    none = ask(say, "audit", "--kept", "--connection", "other")

    assert code == Code.REFUSED
    assert "dc1, server 101: unclaimed, since" in out
    assert (found["kind"], none) == ("unclaimed", [])
    assert simulator.control.journal() == []
