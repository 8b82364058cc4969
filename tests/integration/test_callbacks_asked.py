"""What the API and the command line say of callbacks, and what they refuse."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from provisioner.cli.codes import Code
from provisioner.usecases import callback
from provisioner.views import callbacks as views
from provisioner.webhook import WebhookSender, networks
from tests.command import CommandLine
from tests.fakes.webhook_receiver import WebhookReceiver
from tests.served import Served, serve

URL = "https://billing.example.net/hook"


@pytest.fixture
def served(database_url: str) -> Iterator[Served]:
    with serve(database_url) as made:
        yield made


def test_what_is_sent_is_what_the_api_shows(served: Served) -> None:
    served.sell("101")
    saved = served.put("/v1/callbacks/demo", {"url": URL})
    with WebhookReceiver(saved.json["secret"]) as receiver:
        assert served.put("/v1/callbacks/demo", {"url": receiver.url}).json["secret"] == ""
        served.run(served.post("/v1/services", served.order()).json["job"]["id"], "succeeded")
        ports = served.ports
        said = callback.send(
            "demo",
            owner="test:1",
            callbacks=ports.callbacks,
            webhooks=WebhookSender(allowed=networks("127.0.0.0/8"), total_seconds=10),
            vault=ports.vault,
            body=lambda one: views.body(one, reads=ports.reads),
            waker=served.waker,
        )

    assert saved.status == 200
    assert said.endswith("demo was told")
    assert receiver.received[0].body["service"] == served.get("/v1/services/ord-1", who="billing").json
    assert served.get("/v1/callbacks/demo").json["sent_at"]


def test_the_secret_is_in_one_answer_and_in_no_other(served: Served) -> None:
    saved = served.put("/v1/callbacks/demo", {"url": URL})
    secret = saved.json["secret"]
    others = [
        served.put("/v1/callbacks/demo", {"url": URL}),
        served.get("/v1/callbacks/demo"),
        served.get("/v1/callbacks"),
    ]
    anew = served.put("/v1/callbacks/demo", {"url": URL, "new_secret": True}).json["secret"]

    assert len(secret) > 40
    assert saved.headers["cache-control"] == "no-store"
    assert [one.status for one in others] == [200, 200, 200]
    assert not any(secret in one.text for one in others)
    assert anew not in ("", secret)


def test_only_an_administrator_sees_and_changes_them(served: Served) -> None:
    calls = [("GET", "/v1/callbacks"), ("GET", "/v1/callbacks/demo"), ("DELETE", "/v1/callbacks/demo")]

    for who in ("operator", "viewer", "billing"):
        assert served.put("/v1/callbacks/demo", {"url": URL}, who=who).status == 403
        assert [served.call(method, path, who=who).status for method, path in calls] == [403, 403, 403]


def test_a_callback_is_deleted_once(served: Served) -> None:
    served.put("/v1/callbacks/demo", {"url": URL})
    answers = [served.call("DELETE", "/v1/callbacks/demo").status for _ in range(2)]

    assert answers == [204, 404]
    assert served.get("/v1/callbacks/demo").detail == "panel 'demo' has no callback"
    assert served.get("/v1/callbacks").json == []


@pytest.mark.parametrize(
    ("body", "field"),
    [({"url": "billing"}, "url"), ({"url": "https://u:planted@billing.example.net/"}, "url"), ({}, "url"),
     ({"url": URL, "secret": "planted"}, "secret")],
)  # fmt: skip
def test_bad_input_is_refused_by_name(served: Served, body: dict[str, str], field: str) -> None:
    answer = served.put("/v1/callbacks/demo", body)

    assert answer.status == 422
    assert field in answer.text
    assert "planted" not in answer.text


def test_an_address_of_ours_is_saved_and_said_to_wait(served: Served) -> None:
    trouble = served.put("/v1/callbacks/demo", {"url": "https://127.0.0.1/hook"}).json["trouble"]

    assert "not one of the public internet; PROVISIONER_CALLBACK_NETWORKS may allow it" in trouble


@pytest.fixture
def cli(served: Served, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    settings = served.ports.settings
    monkeypatch.setenv("PROVISIONER_DATABASE_URL", settings.database_url)
    monkeypatch.setenv("PROVISIONER_SECRET_KEY", settings.secret_key.get_secret_value())
    monkeypatch.setenv("PROVISIONER_BROKER_URL", "redis://127.0.0.1:1/0")
    monkeypatch.setenv("PROVISIONER_CALLBACK_NETWORKS", "127.0.0.0/8")
    return CommandLine(capsys)


def test_the_command_line_saves_lists_replays_and_deletes(served: Served, cli: CommandLine) -> None:
    served.sell()
    put = cli("callback", "put", "demo", "http://127.0.0.1:9/hook")
    again = cli("callback", "put", "demo", "http://127.0.0.1:9/hook")
    served.post("/v1/services", served.order())
    replay = cli("callback", "replay", "demo", "--since", "2h")
    one = cli("callback", "replay", "demo", "--service", "ord-1")
    listed = cli("callback", "list")
    as_json = json.loads(cli("callback", "list", "--json")[1])
    deleted = cli("callback", "delete", "demo")

    assert (put[0], len(put[1].strip()) > 40, put[2]) == (Code.OK, True, "")
    assert "its secret is the old one" in again[1]
    assert replay[1].endswith("services that demo is told of: 1\n")
    assert one[1].endswith("services that demo is told of: 1\n")
    assert "http://127.0.0.1:9/hook" in listed[1]
    assert (as_json[0]["waiting"], as_json[0]["given_up"]) == (1, 0)
    assert deleted[1] == "demo is told nothing more\n"
    assert "no panel hears by itself" in cli("callback", "list")[1]


def test_the_command_line_refuses_with_one_sentence(served: Served, cli: CommandLine) -> None:
    del served
    assert cli("callback", "put", "demo", "billing")[0] == Code.REFUSED
    assert cli("callback", "put", "nobody", URL)[2].startswith("provisioner: no token orders for panel 'nobody'")
    assert cli("callback", "replay", "demo")[0] == Code.NOT_FOUND
    assert cli("callback", "replay", "demo", "--since", "yesterday")[0] == Code.REFUSED


def test_a_wrong_setting_stops_a_process_and_is_named(cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROVISIONER_CALLBACK_NETWORKS", "everywhere")
    code, _, error = cli("callback", "list")

    assert code == Code.CONFIG
    assert "PROVISIONER_CALLBACK_NETWORKS" in error


@pytest.mark.parametrize("panel", ["%00", "%ED%A0%80", "%FF", "%F0%9F%90%98", "a" * 101, "..%2F", "%0A", "%20"])
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_a_panel_that_nobody_has_is_no_crash(served: Served, method: str, panel: str) -> None:
    answer = served.call(method, f"/v1/callbacks/{panel}", {"url": URL} if method == "PUT" else None)

    assert answer.status in {400, 404, 422}
    assert answer.detail
