"""Servers by themselves over HTTP: listed with their strikes, taken out of sale, given back; refusals are sentences."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from provisioner.drivers.fake import InstallEnd
from tests.served import Served, serve


@pytest.fixture
def api(database_url: str) -> Iterator[Served]:
    with serve(database_url) as served:
        served.sell("101")
        yield served


def failed_order(api: Served) -> None:
    api.world.servers["101"].install_ends = [InstallEnd.FAILED]  # type: ignore[index]
    job = api.post("/v1/services", api.order()).json["job"]["id"]
    api.run(job, "stock")


def test_a_quarantined_server_is_shown_with_its_strike_and_given_back(api: Served) -> None:
    failed_order(api)
    listed = api.get("/v1/servers?quarantined=true", who="viewer").json
    shown = api.get("/v1/servers/dc1/101", who="viewer").json
    released = api.post("/v1/servers/dc1/101/release", {}, who="operator")
    job = api.run(released.json["id"], "succeeded", "failed")
    history = api.get("/v1/servers/dc1/101", who="viewer").json["strikes"]

    assert [row["server"] for row in listed] == ["101"]
    assert shown["why_not_sold"].startswith("it is in quarantine: the DCIM says that the install failed")
    assert [(strike["step"], strike["by"], strike["site"]) for strike in shown["strikes"]] == [
        ("install_os", "engine", False)
    ]
    assert released.status == 202
    assert (job["state"], job["kind"]) == ("succeeded", "retest")
    assert history[0]["ended_by"] == "token operator"


def test_a_quarantine_by_hand_is_a_job_and_a_second_one_is_refused(api: Served) -> None:
    api.run(api.post("/v1/services", api.order(os="ISPsystem__Debian-12-x86_64")).json["job"]["id"], "succeeded")
    sold = api.post("/v1/servers/dc1/101/quarantine", {"reason": "smells"}, who="operator")
    unknown = api.post("/v1/servers/dc1/999/quarantine", {"reason": "smells"}, who="operator")
    silent = api.post("/v1/servers/dc1/101/quarantine", {"reason": " "}, who="operator")
    free = api.post("/v1/servers/dc1/101/release", {"anyway": True}, who="operator")

    assert (sold.status, unknown.status, silent.status, free.status) == (409, 404, 422, 409)
    assert "handed over to service ord-1" in sold.json["detail"]
    assert "has no server '999'" in unknown.json["detail"]
    assert "not in quarantine" in free.json["detail"]


def test_only_an_operator_may(api: Served) -> None:
    assert api.post("/v1/servers/dc1/101/release", {}, who="viewer").status == 403
    assert api.get("/v1/servers", who="billing").status == 403


def test_a_retest_that_failed_is_not_retried_as_a_job(api: Served) -> None:
    failed_order(api)
    api.world.servers["101"].faulty = True  # type: ignore[index]
    job = api.post("/v1/servers/dc1/101/release", {}, who="operator").json["id"]
    ended = api.run(job, "failed")
    again = api.post(f"/v1/jobs/{job}/retry", {}, who="operator")

    assert "it is marked faulty" in ended["sentence"]
    assert again.status == 409
    assert "provisioner server release" in again.json["detail"]
