"""Pauses that stop deadlines, listeners that lose their connection, set-up done by two at once."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from datetime import datetime

import pytest

from provisioner.drivers.fake import Pace
from tests.served import Answer, Served, serve


@pytest.fixture
def api(database_url: str) -> Iterator[Served]:
    with serve(database_url) as served:
        yield served


def test_a_pause_adds_its_time_to_the_deadline_and_nothing_is_done_meanwhile(api: Served) -> None:
    api.sell("101")
    api.world.pace = Pace(install_lasts=1000)
    job = api.post("/v1/services", api.order()).json["job"]["id"]
    while not any(call.method == "install" for call in api.world.journal):
        api.tick()
    while api.get(f"/v1/jobs/{job}").json["attempts"][0]["state"] == "running":
        api.tick()
    before = api.get(f"/v1/jobs/{job}").json
    api.post("/v1/connections/dc1/pause", {"reason": "the switch is replaced"})
    calls = len(api.world.journal)
    for _ in range(5):
        api.tick()
        time.sleep(0.1)
    paused = api.get(f"/v1/jobs/{job}").json
    calls_meanwhile = len(api.world.journal) - calls
    api.post("/v1/connections/dc1/resume", {"reason": "done"})
    after = api.get(f"/v1/jobs/{job}").json

    def deadline(found: dict[str, object]) -> datetime:
        attempt = found["attempts"][0]  # type: ignore[index]
        return datetime.fromisoformat(attempt["steps"][attempt["pos"]]["deadline_at"])

    assert before["attempts"][0]["pos"] == 6
    assert calls_meanwhile == 0
    assert "waits for the site: dc1 is paused (the switch is replaced), since" in paused["sentence"]
    assert "no deadline runs meanwhile; it stays until a person resumes it" in paused["sentence"]
    assert (deadline(after) - deadline(before)).total_seconds() >= 0.5


def test_disabling_a_paused_connection_ends_the_pause(api: Served) -> None:
    api.sell("101")
    api.post("/v1/connections/dc1/pause", {"reason": "x"})
    api.put("/v1/connections/dc1", api.connection(enabled=False))
    disabled = api.get("/v1/connections/dc1").json
    refused = api.post("/v1/connections/dc1/pause", {"reason": "x"})
    api.put("/v1/connections/dc1", api.connection())
    enabled = api.get("/v1/connections/dc1").json

    assert (disabled["state"], disabled["paused_at"], disabled["why"]) == ("disabled", None, "")
    assert refused.status == 409
    assert enabled["state"] == "active"


def test_two_who_save_one_connection_at_once_both_succeed(api: Served) -> None:
    answers: list[Answer] = []
    threads = [
        threading.Thread(target=lambda: answers.append(api.put("/v1/connections/dc1", api.connection())))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [answer.status for answer in answers] == [200] * 4
    assert api.get("/v1/connections/dc1").json["revision"] == 4
    assert api.ports.database.value("SELECT count(*) FROM secret") == 1


def test_a_listener_that_lost_its_connection_listens_again(api: Served) -> None:
    api.sell()
    job = api.post("/v1/services", api.order()).json["job"]["id"]
    listeners = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'provisioner-listener'"
    ended = api.ports.database.rows(f"{listeners} AND datname = current_database()")
    time.sleep(2.5)
    changer = threading.Timer(0.5, api.post, (f"/v1/jobs/{job}/cancel",))
    changer.start()
    began = time.monotonic()
    found = api.get(f"/v1/jobs/{job}?wait=20").json
    changer.join()

    assert len(ended) == 1
    assert found["state"] == "cancelled"
    assert time.monotonic() - began < 10


def test_stock_says_of_each_server_why_it_cannot_be_sold(api: Served) -> None:
    for ref in ("101", "102", "103", "104"):
        api.world.add_server(ref)
    api.world.servers["102"].faulty = True  # type: ignore[index]
    api.world.servers["103"].domain = "old.example.net"  # type: ignore[index]
    assert api.put("/v1/connections/dc1", api.connection()).status == 200
    assert api.put("/v1/packages/small", api.package()).status == 200
    api.run(api.post("/v1/services", api.order()).json["job"]["id"], "succeeded")
    api.ports.database.rows("UPDATE server_view SET gone_from = now() WHERE server_ref = '102'")
    stock = api.get("/v1/stock?package=small").json[0]
    taken = api.get("/v1/services/ord-1").json["server"]["server"]
    reasons = {server["server"]: server["reason"] for server in stock["unsellable"]}

    assert stock["sellable"] == 1
    assert stock["connections"][0]["age_seconds"] < 30
    assert reasons.pop(taken) == "it was handed over to service ord-1 of demo"
    assert reasons["102"].startswith("it is gone from the list since ")
    assert reasons["103"] == "its domain is old.example.net, not free.ds"


def test_half_a_call_is_none(api: Served) -> None:
    api.sell()
    job = api.post("/v1/services", api.order()).json["job"]["id"]
    head = f"POST /v1/jobs/{job}/cancel HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {api.tokens['admin']}\r\n"
    with socket.create_connection(("127.0.0.1", api.port)) as client:
        client.sendall(f"{head}Content-Type: application/json\r\nContent-Length: 20\r\n\r\n{{".encode())
        time.sleep(0.3)
    time.sleep(0.5)

    assert api.get(f"/v1/jobs/{job}").json["state"] == "queued"
