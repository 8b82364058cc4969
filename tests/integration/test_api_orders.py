"""The API from order to hand-over: what is placed, shown, waited for, and who may see it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from provisioner.demo.postgres import EmbeddedPostgres
from provisioner.drivers.fake import InstallEnd
from tests.served import Served, serve


@pytest.fixture
def api(database_url: str) -> Iterator[Served]:
    with serve(database_url) as served:
        yield served


def test_an_order_is_carried_out_and_its_secrets_are_read_once_by_billing(api: Served) -> None:
    api.sell("101")
    placed = api.post("/v1/services", api.order(), who="billing")
    job = api.run(placed.json["job"]["id"], "succeeded", "failed")
    service = api.get("/v1/services/ord-1", who="billing").json
    secrets = api.get("/v1/services/ord-1/secrets", who="billing")
    erased = api.call("DELETE", "/v1/services/ord-1/secrets", who="billing")
    again = api.call("DELETE", "/v1/services/ord-1/secrets", who="billing")
    gone = api.get("/v1/services/ord-1/secrets", who="billing")
    kinds = [event["kind"] for event in api.get("/v1/services/ord-1/events").json["events"]]

    assert (placed.status, placed.json["created"]) == (202, True)
    assert placed.headers["location"] == f"/v1/jobs/{placed.json['job']['id']}"
    assert job["state"] == "succeeded", job
    assert job["sentence"].startswith("done at ")
    assert [step["name"] for step in job["attempts"][0]["steps"]] == [
        "account", "claim", "domain", "address", "switch_port", "power_on", "install_os", "ping", "hand_over",
    ]  # fmt: skip
    assert all(step["outcome"] and step["ended_at"] for step in job["attempts"][0]["steps"])
    assert (service["state"], service["server"]["server"]) == ("active", "101")
    assert service["addresses"][0]["netmask"] == "255.255.0.0"
    assert secrets.headers["cache-control"] == "no-store"
    assert secrets.json["root_password"] == api.world.servers["101"].os_password  # type: ignore[index]
    assert secrets.json["panel_password"]
    assert secrets.json["gone_at"]
    assert (erased.status, again.status, gone.status) == (204, 204, 404)
    assert kinds[-2:] == ["secret_read", "secret_erased"]


def test_a_failed_server_is_told_with_its_reason(api: Served) -> None:
    api.sell("101", "102")
    for server in api.world.servers.values():
        server.install_ends = [InstallEnd.FAILED]
    first = api.post("/v1/services", api.order()).json["job"]["id"]
    job = api.run(first, "succeeded", "failed", "stock")
    stock = api.get("/v1/stock?package=small").json[0]

    assert "waits for a free server of type HP-E3-16G, since" in job["sentence"]
    assert "the observer, by the list of dc1, looks next" in job["sentence"]
    assert "if none comes free it fails at" in job["sentence"]
    assert {attempt["result"] for attempt in job["attempts"]} == {"quarantined"}
    assert stock["sellable"] == 0
    assert all(server["reason"].startswith("it is in quarantine: ") for server in stock["unsellable"])


def test_the_same_order_again_is_the_same_job(api: Served) -> None:
    api.sell("101")
    first = api.post("/v1/services", api.order(), Idempotency_Key="k1").json
    second = api.post("/v1/services", api.order())
    keyed = api.post("/v1/services", api.order(), Idempotency_Key="k1")
    changed = api.post("/v1/services", api.order(hostname="srv2.example.net"))
    rekeyed = api.post("/v1/services", api.order("ord-2"), Idempotency_Key="k1")

    assert (second.status, second.json["created"], second.json["job"]["id"]) == (202, False, first["job"]["id"])
    assert keyed.json["job"]["id"] == first["job"]["id"]
    assert (changed.status, rekeyed.status) == (409, 409)
    assert "ordered before with other content" in changed.detail
    assert "Idempotency-Key 'k1' came before with another body" in rekeyed.detail
    assert api.get("/v1/services/ord-2").status == 404


def test_a_preview_names_server_and_steps_and_takes_nothing(api: Served) -> None:
    api.sell("101")
    free = api.post("/v1/orders/preview", api.order(), who="billing").json
    api.world.servers["101"].faulty = True  # type: ignore[index]
    assert api.put("/v1/connections/dc1", api.connection()).status == 200
    none = api.post("/v1/orders/preview", api.order(), who="billing").json
    bad = api.post("/v1/orders/preview", api.order(os="plan9"), who="billing")

    assert free["server"] == {"connection": "dc1", "server": "101", "name": "A14R1", "ip": "10.10.0.1"}
    assert (free["steps"][0], free["steps"][-1], free["missing"]) == ("00_account", "08_hand_over", [])
    assert none["server"] is None
    assert none["missing"] == ["no server of type HP-E3-16G is free"]
    assert bad.status == 422
    assert api.get("/v1/jobs").json == []
    assert not any(call.mutating for call in api.world.journal)


def test_a_paused_connection_takes_orders_that_wait(api: Served) -> None:
    api.sell("101")
    paused = api.post("/v1/connections/dc1/pause", {"reason": "the switch is replaced"}, who="operator")
    job = api.run(api.post("/v1/services", api.order()).json["job"]["id"], "site")
    preview = api.post("/v1/orders/preview", api.order("ord-2")).json
    stock = api.get("/v1/stock").json[0]
    resumed = api.post("/v1/connections/dc1/resume", {"reason": "done"}, who="operator")
    twice = api.post("/v1/connections/dc1/resume", {"reason": "done"}, who="operator")
    end = api.run(job["id"], "succeeded", "failed")

    assert (paused.json["state"], paused.json["paused_by"]) == ("paused", "hand")
    assert "dc1 is paused (the switch is replaced)" in job["sentence"]
    assert "until a person resumes" in job["sentence"]
    assert preview["missing"] == ["connection dc1 is paused"]
    assert stock["unsellable"][0]["reason"] == "connection dc1: it is paused: the switch is replaced"
    assert resumed.json["state"] == "active"
    assert (twice.status, twice.detail) == (409, "connection dc1 is active, not paused")
    assert end["state"] == "succeeded"


def test_a_disabled_connection_refuses_orders(api: Served) -> None:
    api.sell("101")
    assert api.put("/v1/connections/dc1", api.connection(enabled=False)).json["state"] == "disabled"
    refused = api.post("/v1/services", api.order())

    assert refused.status == 422
    assert "none of its connections is enabled" in refused.detail


def test_a_job_is_held_until_it_changes(api: Served) -> None:
    api.sell()
    job = api.post("/v1/services", api.order()).json["job"]
    began = time.monotonic()
    unchanged = api.get(f"/v1/jobs/{job['id']}?wait=1")
    waited = time.monotonic() - began
    changer = threading.Timer(0.3, api.post, (f"/v1/jobs/{job['id']}/cancel", {"reason": "a mistake"}))
    changer.start()
    began = time.monotonic()
    changed = api.get(f"/v1/jobs/{job['id']}?wait=20").json
    took = time.monotonic() - began
    changer.join()
    at_once = api.get(f"/v1/jobs/{job['id']}?wait=20").json
    seen = api.get(f"/v1/jobs/{job['id']}?wait=20&seen={job['last_seq']}").json

    assert unchanged.json["state"] == "queued"
    assert 0.9 < waited < 5
    assert changed["state"] == "cancelled"
    assert took < 10
    assert at_once["state"] == seen["state"] == "cancelled"
    assert "a mistake" in str(api.get(f"/v1/jobs/{job['id']}/events").json)


def test_many_who_wait_hold_no_pool_connection(api: Served) -> None:
    api.sell()
    job = api.post("/v1/services", api.order()).json["job"]["id"]
    threads = [threading.Thread(target=api.get, args=(f"/v1/jobs/{job}?wait=3",)) for _ in range(20)]
    for thread in threads:
        thread.start()
    time.sleep(0.5)
    began = time.monotonic()
    answer = api.get("/v1/stock")
    took = time.monotonic() - began
    for thread in threads:
        thread.join()

    assert answer.status == 200
    assert took < 1.5


def test_retry_and_cancel_say_why_not(api: Served) -> None:
    api.sell()
    job = api.post("/v1/services", api.order()).json["job"]["id"]
    early = api.post(f"/v1/jobs/{job}/retry", who="operator")
    cancelled = api.post(f"/v1/jobs/{job}/cancel", {"reason": "a mistake"}, who="operator")
    twice = api.post(f"/v1/jobs/{job}/cancel", who="operator")
    retried = api.post(f"/v1/jobs/{job}/retry", {}, who="operator")
    unknown = api.post("/v1/jobs/4711/retry", who="operator")

    assert (early.status, early.detail) == (
        409,
        f"job {job} is queued; only a held, failed or cancelled one can be retried",
    )
    assert (cancelled.json["job"]["state"], twice.json["job"]["state"]) == ("cancelled", "cancelled")
    assert (retried.status, retried.json["job"]["state"]) == (200, "queued")
    assert (unknown.status, unknown.detail) == (404, "no job 4711")


def test_lists_page_and_filter(api: Served) -> None:
    api.sell()
    ids = [api.post("/v1/services", api.order(f"ord-{n}")).json["job"]["id"] for n in range(3)]
    api.post(f"/v1/jobs/{ids[1]}/cancel")
    queued = api.get("/v1/jobs?state=queued").json
    page = api.get(f"/v1/jobs?limit=1&before={ids[2]}").json
    one = api.get("/v1/jobs?service=ord-0").json
    none = api.get("/v1/jobs?sate=queued")
    events = api.get(f"/v1/jobs/{ids[1]}/events?limit=1").json
    rest = api.get(f"/v1/jobs/{ids[1]}/events?after={events['next_after']}").json

    assert [job["id"] for job in queued] == [ids[2], ids[0]]
    assert [job["id"] for job in page] == [ids[1]]
    assert [job["id"] for job in one] == [ids[0]]
    assert none.status == 422
    assert "unknown parameter sate" in none.detail
    assert events["events"][0]["kind"] == "ordered"
    assert [event["kind"] for event in rest["events"]] == ["commanded", "job_ended"]


# --- who may see what ---------------------------------------------------------------------------------------------


def test_billing_sees_its_own_panel_and_nothing_else(api: Served) -> None:
    api.sell("101")
    job = api.post("/v1/services", api.order(), who="billing").json["job"]["id"]
    paths = [
        "/v1/services/ord-1", "/v1/services/ord-1?panel=demo", "/v1/services/ord-1/events",
        "/v1/services/ord-1/secrets", f"/v1/jobs/{job}", f"/v1/jobs/{job}?wait=1", f"/v1/jobs/{job}/events",
    ]  # fmt: skip
    foreign = [api.get(path, who="other").status for path in paths]
    erase = api.call("DELETE", "/v1/services/ord-1/secrets", who="other")
    own = api.post("/v1/services", api.order(), who="other").json
    both = api.get("/v1/services/ord-1", who="viewer")
    stock = api.get("/v1/stock", who="other").json[0]

    assert foreign == [404] * len(paths)
    assert erase.status == 404
    assert own["created"] is True
    assert [job["panel"] for job in api.get("/v1/jobs", who="other").json] == ["elsewhere"]
    assert (both.status, "name one" in both.detail) == (422, True)
    assert api.get("/v1/services/ord-1?panel=demo", who="viewer").json["panel"] == "demo"
    assert (stock["unsellable"], stock["connections"]) == ([], [])


@pytest.fixture(scope="module")
def shared(postgres: EmbeddedPostgres, template_database: str) -> Iterator[Served]:
    postgres.create_database("roles", template=template_database)
    with serve(postgres.url("roles")) as served:
        yield served
    postgres.drop_database("roles")


@pytest.mark.parametrize(
    ("method", "path", "least"),
    [
        ("GET", "/v1/connections", "viewer"),
        ("GET", "/v1/connections/dc1", "viewer"),
        ("POST", "/v1/connections/dc1/check", "operator"),
        ("POST", "/v1/connections/dc1/pause", "operator"),
        ("POST", "/v1/connections/dc1/resume", "operator"),
        ("PUT", "/v1/connections/dc1", "admin"),
        ("PUT", "/v1/packages/small", "admin"),
        ("POST", "/v1/jobs/1/retry", "operator"),
        ("POST", "/v1/jobs/1/cancel", "operator"),
    ],
)
def test_a_role_below_the_call_is_refused(shared: Served, method: str, path: str, least: str) -> None:
    below = {"viewer": ["billing"], "operator": ["billing", "viewer"], "admin": ["billing", "viewer", "operator"]}
    bodies = {
        "/v1/connections/dc1": shared.connection(), "/v1/packages/small": shared.package(),
        "/v1/connections/dc1/pause": {"reason": "x"}, "/v1/connections/dc1/resume": {"reason": "x"},
    }  # fmt: skip
    body = bodies.get(path) if method != "GET" else None

    for who in below[least]:
        answer = shared.call(method, path, body, who=who)
        assert (who, answer.status) == (who, 403)
        assert f"needs a token of role {least}" in answer.detail
    assert shared.call(method, path, body, who=least).status not in (401, 403)


def test_secrets_are_for_billing_and_orders_for_a_panel(api: Served) -> None:
    api.sell("101")
    api.post("/v1/services", api.order())

    for who in ("viewer", "operator", "admin"):
        assert api.get("/v1/services/ord-1/secrets", who=who).status == 403
    assert api.get("/v1/services/ord-1/secrets", who="billing").status == 409
    assert api.call("DELETE", "/v1/services/ord-1/secrets", who="billing").status == 409
    assert api.post("/v1/services", api.order("ord-2"), who="viewer").status == 403
    assert "names no billing panel" in api.post("/v1/services", api.order("ord-2"), who="root").detail
