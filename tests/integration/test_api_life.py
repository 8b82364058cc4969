"""What a service may be asked over HTTP: one clear answer each, and nothing changed by a bad one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from provisioner.domain.server import FREE_MARKER
from provisioner.errors import BadValue
from tests.served import Served, serve

KEY = {"Idempotency_Key": "k1"}


@pytest.fixture
def api(database_url: str) -> Iterator[Served]:
    with serve(database_url) as served:
        served.sell("101")
        job = served.post("/v1/services", served.order(), who="billing").json["job"]["id"]
        assert served.run(job, "succeeded", "failed")["state"] == "succeeded"
        yield served


def do(api: Served, what: str, body: dict[str, Any] | None = None, **headers: str) -> Any:  # noqa: ANN401 - JSON
    answer = api.post(f"/v1/services/ord-1/{what}", body or {}, who="billing", **headers)
    assert answer.status == 202, answer.json
    assert answer.headers["location"] == f"/v1/jobs/{answer.json['job']['id']}"
    return api.run(answer.json["job"]["id"], "succeeded", "failed")


def test_a_whole_life(api: Served) -> None:
    server = api.world.servers["101"]  # type: ignore[index]
    do(api, "addresses", {"count": 1, "family": "ipv4"}, **KEY)
    extra = next(row.ip for row in server.addresses if not row.main)
    do(api, "suspend", {"reason": "billing"})
    suspended = api.get("/v1/services/ord-1", who="billing").json
    do(api, "resume", {"reason": "billing"})
    do(api, "password", {"password": "correct-horse"}, Idempotency_Key="k2")
    do(api, "power", {"state": "off"})
    do(api, "power", {"state": "on"})
    do(api, "reinstall", {"confirm": "srv1.example.net"}, Idempotency_Key="k3")
    deleted = api.call("DELETE", f"/v1/services/ord-1/addresses/{extra}", who="billing")
    api.run(deleted.json["job"]["id"], "succeeded")
    do(api, "sync")
    closed = do(api, "close")
    service = api.get("/v1/services/ord-1", who="billing").json

    assert (suspended["state"], suspended["suspended_by"]) == ("suspended", ["billing"])
    assert (closed["state"], service["state"], service["server"]) == ("succeeded", "closed", None)
    assert (server.owner, [row.domain for row in server.addresses]) == (None, [FREE_MARKER])
    assert server.installs == 2


@pytest.mark.parametrize(
    ("what", "body", "status", "sentence"),
    [
        ("suspend", {"reason": "envy"}, 422, "reason"),
        ("addresses", {"count": 0}, 422, "between 1 and 64"),
        ("addresses", {"count": 10_000}, 422, "between 1 and 64"),
        ("addresses", {"count": 1, "family": "ipx"}, 422, "family"),
        ("password", {"password": ""}, 422, "password is empty"),
        ("reinstall", {"confirm": "srv2.example.net"}, 422, "write the hostname"),
        ("reinstall", {"confirm": "yes"}, 422, "write the hostname"),
        ("reinstall", {"confirm": "srv1.example.net", "os": "Plan9"}, 422, "is not offered"),
        ("power", {"state": "purple"}, 422, "state"),
    ],
)
def test_a_bad_wish_is_one_sentence_and_changes_nothing(
    api: Served, what: str, body: dict[str, Any], status: int, sentence: str
) -> None:
    before = len(api.world.calls(mutating=True))
    answer = api.post(f"/v1/services/ord-1/{what}", body, who="billing", **KEY)
    jobs = api.get("/v1/services/ord-1", who="billing").json["jobs"]

    assert answer.status == status, answer.json
    assert sentence in answer.json["detail"]
    assert [job["kind"] for job in jobs] == ["open"]
    assert api.world.calls(mutating=True)[before:] == []


@pytest.mark.parametrize("what", ["addresses", "password", "reinstall", "power"])
def test_what_would_be_done_twice_needs_a_key(api: Served, what: str) -> None:
    bodies = {
        "addresses": {"count": 1}, "password": {}, "reinstall": {"confirm": "srv1.example.net"},
        "power": {"state": "reboot"},
    }  # fmt: skip
    answer = api.post(f"/v1/services/ord-1/{what}", bodies[what], who="billing")

    assert answer.status == 422
    assert "Idempotency-Key" in answer.json["detail"]


@pytest.mark.parametrize(
    ("ip", "status", "sentence"),
    [
        ("10.10.0.1", 422, "main address"),
        ("192.0.2.200", 404, "is not, and was not, one of its addresses"),
        ("nonsense", 422, "is no IP address"),
    ],
)
def test_only_an_own_address_beyond_the_main_one_can_be_deleted(
    api: Served, ip: str, status: int, sentence: str
) -> None:
    answer = api.call("DELETE", f"/v1/services/ord-1/addresses/{ip}", who="billing")

    assert answer.status == status, answer.json
    assert sentence in answer.json["detail"]


def test_an_unknown_or_foreign_service_is_404_and_a_viewer_may_not(api: Served) -> None:
    assert api.post("/v1/services/nobody/close", {}, who="billing").status == 404
    assert api.post("/v1/services/ord-1/close", {}, who="viewer").status == 403


#: each as it would be taken of a live service
ASKED = {
    "suspend": {}, "resume": {}, "addresses": {"count": 1}, "password": {}, "power": {"state": "off"}, "sync": {},
    "reinstall": {"confirm": "srv1.example.net"},
}  # fmt: skip


def test_a_closed_service_takes_nothing_more(api: Served) -> None:
    do(api, "close")
    before = len(api.world.calls(mutating=True))
    again = api.post("/v1/services/ord-1/close", {}, who="billing")
    refused = [api.post(f"/v1/services/ord-1/{what}", body, who="billing", **KEY) for what, body in ASKED.items()]

    assert again.status == 202
    assert again.json["job"]["sentence"].endswith("nothing more happens")
    assert {answer.status for answer in refused} == {409}
    assert [answer.detail for answer in refused] == ["service ord-1: the service is closed; order it anew"] * 7
    assert api.call("DELETE", "/v1/services/ord-1/addresses/10.10.0.1", who="billing").status == 409
    assert api.world.calls(mutating=True)[before:] == []


def test_an_address_of_another_customer_is_not_deleted(api: Served) -> None:
    api.world.add_server("102")
    order = api.order("ord-2", hostname="srv2.example.net")
    api.run(api.post("/v1/services", order, who="billing").json["job"]["id"], "succeeded")
    do(api, "addresses", {"count": 1, "family": "ipv4"}, **KEY)
    (extra,) = [row.ip for server in api.world.servers.values() for row in server.addresses if not row.main]
    answer = api.call("DELETE", f"/v1/services/ord-2/addresses/{extra}", who="billing")

    assert answer.status == 404
    assert answer.detail == f"service ord-2: {extra} is not, and was not, one of its addresses"


def test_a_password_that_the_panel_refuses_waits_for_a_person_and_is_told_nowhere(api: Served) -> None:
    api.world.fault("set_password", BadValue("the password is too weak", system="dc1"))
    job = api.post("/v1/services/ord-1/password", {"password": "planted-and-weak"}, who="billing", **KEY).json["job"]
    shown = api.get(f"/v1/jobs/{job['id']}", who="billing")
    for _ in range(500):
        if "too weak" in shown.json["sentence"]:
            break
        api.tick()
        shown = api.get(f"/v1/jobs/{job['id']}", who="billing")
    events = api.get(f"/v1/jobs/{job['id']}/events", who="billing")

    assert "the password is too weak" in shown.json["sentence"], shown.json["sentence"]
    assert "planted-and-weak" not in shown.text + events.text
    do(api, "password", {"password": "planted-and-strong"}, Idempotency_Key="k2")  # it does not wait behind the first
    assert api.get(f"/v1/jobs/{job['id']}", who="billing").json["state"] == "superseded"
    assert "planted-and-strong" in api.world.passwords.values()


def test_a_package_that_was_disabled_is_still_had_by_its_customers(api: Served) -> None:
    assert api.put("/v1/packages/small", api.package(enabled=False)).status == 200
    order = api.post("/v1/services", api.order("ord-2", hostname="srv2.example.net"), who="billing")

    assert (order.status, "is disabled" in order.detail) == (422, True)
    assert do(api, "reinstall", {"confirm": "srv1.example.net"}, **KEY)["state"] == "succeeded"


def test_a_job_that_waits_says_for_which_and_how_long_such_a_job_takes(api: Served) -> None:
    first = api.post("/v1/services/ord-1/reinstall", {"confirm": "srv1.example.net"}, who="billing", **KEY).json["job"]
    api.tick()
    second = api.post("/v1/services/ord-1/suspend", {}, who="billing").json["job"]

    assert f"job {first['id']} (reinstall) goes first; such a job usually takes 10 to 40 minutes" in second["sentence"]


def test_what_is_said_of_a_job_on_a_customers_server_never_speaks_of_another(api: Served) -> None:
    queued = api.post("/v1/services/ord-1/suspend", {}, who="billing").json["job"]
    api.tick()
    running = api.get(f"/v1/jobs/{queued['id']}", who="billing").json

    assert queued["sentence"].endswith("then it begins")
    assert "it is held for a person: the server is the customer's" in running["sentence"], running["sentence"]


def test_an_operator_says_whose_service_is_meant_where_two_panels_have_one_of_that_name(api: Served) -> None:
    answer = api.post("/v1/services/ord-1/sync?panel=demo", {}, who="operator")
    other = api.post("/v1/services/ord-1/sync?panel=elsewhere", {}, who="operator")

    assert (answer.status, other.status) == (202, 404)
