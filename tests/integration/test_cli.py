"""The command line on a real database and a simulated data centre: what it says, and how it ends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from provisioner.cli import main
from provisioner.cli.codes import Code
from provisioner.demo.broker import EmbeddedBroker
from provisioner.simulators.serve import Simulator
from provisioner.store.database import Database
from tests.command import CommandLine

DEBIAN = "ISPsystem__Debian-12-x86_64"
TYPE = "HP-E3-16G"

Say = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with Simulator(servers=3, types=(TYPE,), tls=True) as running:
        yield running


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, database_url: str, broker: EmbeddedBroker, tmp_path: Path) -> None:
    key = tmp_path / "secret.key"
    monkeypatch.setenv("PROVISIONER_DATABASE_URL", database_url)
    monkeypatch.setenv("PROVISIONER_BROKER_URL", broker.url)
    monkeypatch.setenv("PROVISIONER_SECRET_KEY_FILE", str(key))
    assert main.run(main.make(), ["key", "generate", str(key)]) == Code.OK


@pytest.fixture
def say(environment: None, capsys: pytest.CaptureFixture[str]) -> Say:
    """Return a way to give a command: exit code, output, errors."""
    return CommandLine(capsys)


def ask(say: Say, *words: str) -> Any:  # noqa: ANN401 - JSON
    """Give a command with --json that has to succeed; return what it printed."""
    code, out, err = say(*words, "--json")
    assert code == Code.OK, err
    return json.loads(out)


@pytest.fixture
def site(say: Say, simulator: Simulator, tmp_path: Path) -> Say:
    """Have a connection and a package."""
    password = tmp_path / "password"
    password.write_text(f"{simulator.admin_password}\n")
    ask(
        say,
        *("connection", "put", "dc1", "--url", simulator.url, "--username", simulator.admin_user),
        *("--password-file", str(password), "--fingerprint", str(simulator.certificate_sha256)),
    )
    ask(say, "package", "put", "ds-1", "--type", TYPE, "--os", DEBIAN, "--on", "dc1", "--ipv4", "2")
    return say


def order(say: Say, ref: str = "ord-1", hostname: str = "alice.example.net") -> Any:  # noqa: ANN401 - JSON
    return ask(
        say,
        *("service", "order", ref, "--package", "ds-1", "--customer", "c-1", "--login", "alice"),
        *("--hostname", hostname, "--os", DEBIAN),
    )


def test_a_connection_is_saved_after_it_was_tried_and_its_password_is_never_shown(
    site: Say, simulator: Simulator
) -> None:
    shown = site("connection", "show", "dc1", "--json")[1] + site("connection", "list")[1]
    checked = ask(site, "connection", "check", "dc1")

    assert simulator.admin_password not in shown
    assert [server["server"] for server in checked["available"]] == ["101", "102", "103"]
    assert checked["server_types"].count(TYPE) == 1


def test_a_wrong_password_is_one_sentence_and_nothing_is_saved(say: Say, simulator: Simulator, tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text("wrong\n")

    code, out, err = say(
        *("connection", "put", "dc1", "--url", simulator.url, "--username", simulator.admin_user),
        *("--password-file", str(password), "--fingerprint", str(simulator.certificate_sha256)),
    )

    assert (code, out) == (Code.REFUSED, "")
    assert err.startswith("provisioner: connection dc1 is not saved")
    assert err.count("\n") == 1
    assert ask(say, "connection", "list") == []


def test_stock_counts_what_can_be_sold_and_says_why_the_rest_cannot(site: Say, simulator: Simulator) -> None:
    simulator.control.change_server(103, hwproblem=True)
    try:
        ask(site, "connection", "put", "dc1", *_again(simulator))
        found = ask(site, "stock", "ds-1")
        text = site("stock")[1]
    finally:
        simulator.control.change_server(103, hwproblem=False)

    assert found[0]["sellable"] == 2
    assert "it is marked faulty" in found[0]["unsellable"][0]["reason"]
    assert "server 103" in text


def _again(simulator: Simulator) -> list[str]:
    pin = ["--fingerprint", str(simulator.certificate_sha256)]
    return ["--url", simulator.url, "--username", simulator.admin_user, "--keep-password", *pin]


def test_an_order_is_placed_once_and_its_job_says_what_it_waits_for(site: Say) -> None:
    first, again = order(site), order(site)
    job = str(first["job"])
    shown = ask(site, "job", "show", job)

    assert (first["created"], again["created"]) == (True, False)
    assert again["job"] == first["job"]
    assert shown["external_ref"] == "ord-1"
    assert shown["sentence"]
    assert shown["sentence"] in site("job", "show", job)[1]
    assert [row["id"] for row in ask(site, "job", "list", "--service", "ord-1")] == [first["job"]]
    assert ask(site, "service", "show", "ord-1")["state"] == "ordered"


def test_a_service_is_shown_with_what_is_wanted_of_it_and_by_whom(site: Say, database_url: str) -> None:
    order(site)
    database = Database(database_url)
    becomes = "UPDATE service SET state = %(state)s, desired = %(desired)s, suspended_by = %(by)s::jsonb"

    def shown(state: str, desired: str, by: str = "[]") -> str:
        database.rows(becomes, state=state, desired=desired, by=by)
        return site("service", "show", "ord-1")[1]

    assert "active\n" in shown("active", "active")
    assert "active; closed is wanted\n" in shown("active", "closed")
    assert "active; suspended (abuse) is wanted\n" in shown("active", "suspended", '["abuse"]')
    assert "suspended (abuse, billing)\n" in shown("suspended", "suspended", '["abuse", "billing"]')
    assert "closed\nno server any more; " in shown("closed", "closed")
    database.close()


def test_the_same_reference_with_other_content_is_refused(site: Say) -> None:
    order(site)

    code, _, err = site(
        *("service", "order", "ord-1", "--package", "ds-1", "--customer", "c-1", "--login", "alice"),
        *("--hostname", "other.example.net", "--os", DEBIAN),
    )

    assert code == Code.REFUSED
    assert "ord-1" in err


def test_a_queued_job_is_cancelled_and_tried_again(site: Say) -> None:
    job = str(order(site)["job"])

    cancelled = ask(site, "job", "cancel", job, "--reason", "ordered twice")
    retried = ask(site, "job", "retry", job)

    assert cancelled["state"] == "cancelled"
    assert retried["state"] == "queued"


def hold_all(say: Say, step: str, *jobs: str) -> None:
    """Let jobs stand as a dead step leaves them: held at *step*, which failed."""
    url = os.environ["PROVISIONER_DATABASE_URL"].replace("+psycopg2", "")
    connection = psycopg2.connect(url)
    try:
        with connection, connection.cursor() as cursor:
            for job in jobs:
                cursor.execute(
                    "WITH a AS (INSERT INTO attempt (job_id, n, connection_id, direction, state, pos, held_since) "
                    "SELECT %s, 1, c.id, 'forward', 'held', 1, clock_timestamp() FROM connection c RETURNING id), "
                    "j AS (UPDATE job SET state = 'running', plan_at = NULL WHERE id = %s) "
                    "INSERT INTO step (attempt_id, direction, pos, name, state, reason_class, outcome) "
                    "SELECT a.id, 'forward', one.* FROM a, (VALUES (0, 'install_os', 'done', NULL, ''), "
                    "(1, %s, 'failed', 'site', 'no route'), (2, 'hand_over', 'pending', NULL, '')) one",
                    (job, job, step),
                )
    finally:
        connection.close()


def test_what_is_held_for_one_cause_is_skipped_or_cancelled_together_after_one_question(
    site: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = [str(order(site, f"ord-{n}", f"srv{n}.example.net")["job"]) for n in range(3)]
    hold_all(site, "ping", *jobs[:2])
    hold_all(site, "claim", jobs[2])
    questions: list[str] = []

    def no(question: str, **_: object) -> bool:
        questions.append(question)
        return False

    monkeypatch.setattr("typer.confirm", no)

    refused, told, _ = site("job", "skip", "--failed", "--step", "ping", "--reason", "filtered")
    _, planned, _ = site("job", "cancel", "--failed", "--location", "dc1", "--dry-run")
    skipped = ask(site, "job", "skip", "--state", "held", "--step", "ping", "--reason", "filtered", "--yes")
    _, unskipped, _ = site("job", "skip", "--failed", "--step", "claim", "--reason", "filtered", "--yes")
    cancelled = ask(site, "job", "cancel", "--failed", "--location", "dc1", "--since", "2h", "--yes")
    elsewhere = ask(site, "job", "cancel", "--failed", "--location", "fra9", "--yes")

    assert refused == Code.REFUSED
    assert questions == ["skip 2 jobs?"]
    assert "2 jobs: goes on after ping as if it had been done; nothing checks that it was; the disks stay" in told
    assert "3 jobs: gives the server back; the disks stay as they are" in planned
    assert [str(one["job"]) for one in skipped] == jobs[:2]
    assert f"job {jobs[2]}: refused: job {jobs[2]}: step claim can't be skipped" in unskipped
    assert [str(one["job"]) for one in cancelled] == jobs[2:], "what was let go on is no longer held"
    assert elsewhere == []


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("job", "retry"), "which job?"),
        (("job", "cancel"), "which job?"),
        (("job", "skip", "--failed", "--reason", "x"), "which step"),
        (("job", "skip", "7", "--reason", "x"), "which step"),
        (("job", "cancel", "--failed", "--since", "2w"), "90m, 2h, 3d"),
    ],
)
def test_a_verb_without_its_whom_is_refused_with_a_sentence(site: Say, words: tuple[str, ...], sentence: str) -> None:
    code, _, err = site(*words)

    assert code == Code.REFUSED
    assert sentence in err


def test_a_preview_takes_nothing(site: Say) -> None:
    wish = ("--package", "ds-1", "--customer", "c-1", "--login", "alice")
    found = ask(site, "service", "preview", *wish, "--hostname", "alice.example.net", "--os", DEBIAN)

    assert found["server"]["connection"] == "dc1"
    assert found["steps"][0] == "00_account"
    assert ask(site, "job", "list") == []


def test_a_place_is_sold_by_hand_and_a_preview_says_that_a_person_names_the_server(site: Say) -> None:
    site("department", "set", "hands", "--address", "hands@example.net")
    ask(site, "package", "put", "rack", "--kind", "colocation", "--on", "dc1", "--department", "hands")
    wish = ("--package", "rack", "--customer", "c-1", "--login", "alice", "--hostname", "box.example.net")
    said = site("service", "preview", *wish)[1]
    placed = ask(site, "service", "order", "ord-9", *wish, "--equipment", "1U")
    code, _, error = site("job", "answer", str(placed["job"]), "--server", "101")

    assert "box.example.net: a person would say which server it is" in said
    assert "00_account, 01_ask_placed" in said
    assert code == Code.NOT_FOUND
    assert "asks nobody anything" in error


def test_a_paused_connection_says_why_and_goes_on(site: Say) -> None:
    site("connection", "pause", "dc1", "--reason", "panel upgrade")
    paused = ask(site, "connection", "show", "dc1")
    site("connection", "resume", "dc1")

    assert (paused["state"], paused["why"]) == ("paused", "panel upgrade")
    assert ask(site, "connection", "show", "dc1")["state"] == "active"


def test_a_token_is_shown_once_and_listed_without_itself(say: Say) -> None:
    made = ask(say, "token", "create", "billing-1", "--role", "billing", "--panel", "whmcs")
    listed = say("token", "list", "--json")[1]
    revoked = ask(say, "token", "revoke", "billing-1")

    assert len(made["token"]) > 30
    assert made["token"] not in listed
    assert revoked["revoked"] is True
    assert ask(say, "token", "list")[0]["revoked_at"] is not None


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("job", "show", "4711"), Code.NOT_FOUND),
        (("service", "show", "nothing"), Code.NOT_FOUND),
        (("connection", "show", "nowhere"), Code.NOT_FOUND),
        (("package", "show", "none"), Code.NOT_FOUND),
        (("token", "create", "x", "--role", "king"), Code.REFUSED),
        (("simulator", "vmmanager"), Code.CONFIG),
        (("job", "show", "seven"), Code.USAGE),
        (("job", "fly"), Code.USAGE),
        (("nonsense",), Code.USAGE),
    ],
)
def test_each_kind_of_trouble_has_its_exit_code_and_no_traceback(say: Say, words: tuple[str, ...], code: Code) -> None:
    ended, out, err = say(*words)

    assert ended == code
    assert "Traceback" not in out + err
    assert err


def test_an_empty_database_is_a_sentence_that_says_what_to_type(
    say: Say, empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROVISIONER_DATABASE_URL", empty_database_url)

    before, told = say("job", "list"), say("db", "current")
    upgraded = say("db", "upgrade")

    assert before[0] == Code.DATABASE
    assert "provisioner db upgrade" in before[2]
    assert told[0] == Code.FAILED
    assert upgraded[0] == Code.OK
    assert say("db", "current")[0] == Code.OK
    assert say("job", "list")[0] == Code.OK


def test_a_database_that_is_away_is_a_sentence(say: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROVISIONER_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none")

    code, _, err = say("job", "list")

    assert code == Code.DATABASE
    assert err.count("\n") == 1


def test_a_missing_setting_names_its_variable(say: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PROVISIONER_DATABASE_URL")

    code, _, err = say("job", "list")

    assert code == Code.CONFIG
    assert "PROVISIONER_DATABASE_URL" in err


def test_a_password_comes_from_standard_input_never_from_the_line(simulator: Simulator) -> None:
    helped = subprocess.run(
        [sys.executable, "-m", "provisioner", "connection", "put", "--help"],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )

    assert "--password-file" in helped.stdout
    assert "--password " not in helped.stdout
    assert "examples:" in helped.stdout


def test_every_command_has_examples_at_the_foot_of_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    nouns = {
        "connection": ("put", "list", "show", "check", "pause", "resume"),
        "package": ("put", "list", "show"),
        "service": ("order", "show", "secrets", "preview"),
        "job": ("list", "show", "watch", "retry", "cancel", "skip", "swap", "hold"),
        "token": ("create", "list", "revoke"),
        "db": ("upgrade", "current"),
        "key": ("generate",),
    }
    lines: list[tuple[str, ...]] = [(noun, verb) for noun, verbs in nouns.items() for verb in verbs]
    lines += [(word,) for word in ("stock", "api", "worker", "beat", "flower", "simulator")]

    for words in lines:
        assert main.run(main.make(), [*words, "--help"]) == Code.OK
        assert "examples:\n" in capsys.readouterr().out, words


def test_the_simulator_takes_the_options_of_its_own_program() -> None:
    running = subprocess.Popen(
        [sys.executable, "-m", "provisioner", "simulator", "dcimanager5", "--servers", "2"],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert running.stdout is not None
        said = json.loads(running.stdout.readline())
    finally:
        running.terminate()
        running.communicate(timeout=20)

    assert said["servers"] == 2
