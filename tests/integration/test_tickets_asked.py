"""What the API and the command line say of tickets and of those in charge, and what they refuse."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from provisioner.cli.codes import Code
from provisioner.store import connections
from provisioner.vault import generate_key
from tests.command import CommandLine
from tests.served import Served, serve


@pytest.fixture
def served(database_url: str) -> Iterator[Served]:
    with serve(database_url) as made:
        yield made


@pytest.fixture
def cli(served: Served, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    monkeypatch.setenv("PROVISIONER_DATABASE_URL", served.ports.settings.database_url)
    monkeypatch.setenv("PROVISIONER_SECRET_KEY", generate_key())
    return CommandLine(capsys)


def restricted(served: Served) -> None:
    """Sell from dc1, which has somebody in charge, and let it be restricted."""
    assert served.put("/v1/departments/hands", {"address": "hands@example.net"}).status == 200
    assert served.put("/v1/connections/dc1", {**served.connection(), "in_charge": "hands"}).status == 200
    with served.ports.database.transaction() as session:
        connections.restrict(session, 1, "install_os", "the install server is down", served.ports.spans)
    served.tick()


def test_a_connection_names_who_is_in_charge_and_keeps_it(served: Served) -> None:
    restricted(served)

    shown = served.get("/v1/connections/dc1").json
    listed = served.get("/v1/departments", who="viewer").json

    assert shown["in_charge"] == "hands"
    assert listed == [
        {"name": "hands", "desk": "email", "address": "hands@example.net", "language": "en", "connections": ["dc1"]}
    ]


def test_an_unknown_department_is_refused_by_name_with_what_to_type(served: Served) -> None:
    answer = served.put("/v1/connections/dc1", {**served.connection(), "in_charge": "nobody"})

    assert answer.status == 422
    assert answer.detail.startswith("there is no department 'nobody'; type `provisioner department set NAME --address")
    assert served.get("/v1/connections").json == []


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({"address": "hands"}, "address is no mailbox"),
        ({"address": "hands@example.net", "language": "xx"}, "no texts in 'xx'; there are en"),
        ({"address": "hands@example.net", "desk": "pigeon"}, "desk"),
        ({}, "address"),
    ],
)
def test_a_department_that_can_t_be_is_refused_with_a_sentence(
    served: Served, body: dict[str, str], sentence: str
) -> None:
    answer = served.put("/v1/departments/hands", body)

    assert answer.status in (400, 422)
    assert sentence in answer.text
    assert served.get("/v1/departments").json == []


@pytest.mark.parametrize("who", ["viewer", "operator"])
def test_tickets_are_listed_with_their_messages(served: Served, who: str) -> None:
    restricted(served)

    (ticket,) = served.get("/v1/tickets", who=who).json
    one = served.get(f"/v1/tickets/{ticket['id']}", who=who).json

    assert one == ticket
    assert (ticket["to"], ticket["connection"], ticket["state"], ticket["unsent"]) == (
        "hands@example.net",
        "dc1",
        "open",
        1,
    )
    assert [message["kind"] for message in ticket["messages"]] == ["open"]
    assert "the install server is down" in ticket["messages"][0]["text"]


def test_closed_tickets_are_listed_when_asked_for(served: Served) -> None:
    restricted(served)
    with served.ports.database.transaction() as session:
        connections.heal(session, 1, ["install_os"])
    served.tick()

    assert served.get("/v1/tickets").json == []
    assert [one["state"] for one in served.get("/v1/tickets?closed=true").json] == ["closed"]


@pytest.mark.parametrize("path", ["/v1/tickets", "/v1/tickets/1", "/v1/departments"])
def test_billing_sees_none_of_it(served: Served, path: str) -> None:
    assert served.get(path, who="billing").status == 403


def test_only_an_administrator_says_who_is_in_charge(served: Served) -> None:
    assert served.call("PUT", "/v1/departments/x", {"address": "x@example.net"}, who="operator").status == 403


def test_a_ticket_that_is_not_there_is_said(served: Served) -> None:
    answer = served.get("/v1/tickets/77")

    assert (answer.status, answer.detail) == (404, "no ticket 77")


def test_the_command_line_says_the_same(served: Served, cli: CommandLine) -> None:
    restricted(served)

    listed, shown, everything = (
        cli("ticket", "list"),
        cli("ticket", "show", "1"),
        cli("ticket", "list", "--all", "--json"),
    )

    assert (listed[0], shown[0]) == (Code.OK, Code.OK)
    assert "hands@example.net" in listed[1]
    assert "waits" in listed[1]
    assert "ticket 1, open: dc1: install_os fails for the place's fault, orders wait" in shown[1]
    assert "    provisioner connection show dc1" in shown[1]
    assert json.loads(everything[1])[0]["matter"] == "restricted:dc1:install_os"
    assert cli("ticket", "show", "9")[0] == Code.NOT_FOUND


def test_a_ticket_whose_close_is_an_answer_says_when_it_is_looked_at(served: Served, cli: CommandLine) -> None:
    restricted(served)
    before = cli("ticket", "show", "1")[1]

    served.ports.database.rows("UPDATE ticket SET desk_ref = 'RT 7', read_at = '2026-01-02 03:04:05+00'")

    assert "is an answer" not in before
    assert "to close it at RT 7 is an answer; that is looked at again 2026-01-02 03:04" in cli("ticket", "show", "1")[1]
    assert served.get("/v1/tickets/1").json["read_at"].startswith("2026-01-02T03:04:05")


def test_without_a_mail_server_a_department_is_saved_and_told_what_to_set(cli: CommandLine) -> None:
    code, out, err = cli("department", "set", "default", "--address", "oncall@example.net")
    listed = cli("department", "list")[1]

    assert (code, out) == (Code.OK, "default: messages go to oncall@example.net\n")
    assert "WARNING: not now, they wait: the desk 'email' is not set up: set PROVISIONER_SMTP_URL" in err
    assert "oncall@example.net" in listed


def test_a_mail_server_that_does_not_work_is_said_when_it_is_named(
    cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROVISIONER_SMTP_URL", "smtp+plain://127.0.0.1:1")
    monkeypatch.setenv("PROVISIONER_SMTP_FROM", "provisioner@example.net")

    code, _, err = cli("department", "set", "default", "--address", "oncall@example.net")

    assert code == Code.OK
    assert "message via mail server 127.0.0.1:1: connection refused" in err


def test_a_wrong_mail_setting_stops_a_process_and_is_named(cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROVISIONER_SMTP_URL", "smtp://user:planted@mail.example.net")

    code, _, err = cli("ticket", "list")

    assert code == Code.CONFIG
    assert "PROVISIONER_SMTP_URL holds more than an address" in err
    assert "planted" not in err


def test_nobody_in_charge_is_said_with_what_to_type(cli: CommandLine) -> None:
    assert "provisioner department set default" in cli("department", "list")[1]


def test_a_connection_is_put_in_charge_from_the_command_line(
    served: Served, cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, _, err = cli(
        *("connection", "put", "dc1", "--url", "https://127.0.0.1:1", "--username", "u", "--in-charge", "nobody"),
        *("--keep-password",),
    )

    assert code == Code.REFUSED
    assert "there is no department 'nobody'" in err
