"""Colocation as billing orders it and people answer it: API, and the page behind a ticket's link."""

from __future__ import annotations

import html
import logging
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import pytest

from provisioner import bootstrap
from provisioner.usecases.answer import link_token
from tests.served import Answer, Served, serve


@pytest.fixture
def api(database_url: str) -> Iterator[Served]:
    with serve(database_url) as served:
        served.sell("101")
        hands = {"address": "hands@example.net"}
        assert served.put("/v1/departments/hands", hands).status == 200
        assert served.put("/v1/packages/rack", PACKAGE).status == 200
        yield served


PACKAGE = {"kind": "colocation", "department": "hands", "connections": {"dc1": 0}}
ORDER: dict[str, Any] = {"package": "rack", "os": "", "equipment": "1U <b>"}


def asked(api: Served, **changes: Any) -> int:
    """Order a place, and let its job come to the question."""
    job: int = api.post("/v1/services", api.order(**{**ORDER, **changes}), who="billing").json["job"]["id"]
    while api.get(f"/v1/jobs/{job}").json["question"] is None or api.waker.messages:
        api.tick()
    return job


def link(api: Served, job: int) -> str:
    return f"/answer/{link_token(api.ports.questions.of_job(job).question, vault=api.ports.vault)}"


def send(api: Served, path: str, **fields: str) -> Answer:
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    return api.call("POST", path, raw=urlencode(fields).encode(), who="", headers=form)


def mounted(api: Served, job: int, ref: str = "501") -> Any:  # noqa: ANN401 - the fake's server
    server = api.world.add_server(ref)
    server.owner = api.ports.questions.of_job(job).customer
    return server


def test_a_place_is_ordered_mounted_used_and_taken_out_by_the_page(api: Served) -> None:
    job = asked(api)
    page = api.call("GET", link(api, job), who="")
    server = mounted(api, job)
    thanks = send(api, link(api, job), server=" 501 ")
    api.run(job, "succeeded")
    service = api.get("/v1/services/ord-1", who="billing").json
    close = api.post("/v1/services/ord-1/close", {}, who="billing").json["job"]["id"]
    while api.get(f"/v1/jobs/{close}").json["question"] is None:
        api.tick()
    too_early = send(api, link(api, close), done="1")
    server.owner = None
    send(api, link(api, close), done="1")
    api.run(close, "succeeded")

    assert (page.status, thanks.status, too_early.status) == (200, 200, 422)
    assert (service["state"], service["kind"], service["server"]["server"]) == ("active", "colocation", "501")
    assert "still gives server 501" in html.unescape(too_early.text)
    assert api.get("/v1/services/ord-1", who="billing").json["state"] == "closed"


def test_the_page_shows_what_is_needed_and_runs_nothing_that_it_was_given(api: Served) -> None:
    page = api.call("GET", link(api, asked(api)), who="")

    for word in ("ord-1", "srv1.example.net", "c-ord-1", "dc1", "ivanov", html.escape("1U <b>"), 'name="server"'):
        assert word in page.text
    assert "1U <b>" not in page.text
    assert page.headers["cache-control"] == "no-store"
    assert page.headers["referrer-policy"] == "no-referrer"
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "width=device-width" in page.text


def test_a_wrong_id_is_a_sentence_on_the_page_and_what_was_typed_stays(api: Served) -> None:
    job = asked(api)
    answer = send(api, link(api, job), server='9"9')

    assert answer.status == 422
    assert "there is no server" in html.unescape(answer.text)
    assert f'value="{html.escape("9" + chr(34) + "9")}"' in answer.text
    assert api.get(f"/v1/jobs/{job}").json["question"]["answered_at"] is None


def test_a_link_works_once(api: Served) -> None:
    job = asked(api)
    mounted(api, job)
    first, second = link(api, job), link(api, job)
    send(api, first, server="501")

    assert [api.call("GET", path, who="").status for path in (first, second)] == [410, 410]
    assert "answered before" in send(api, second, server="501").text
    assert send(api, second, server="501").status == 410


@pytest.mark.parametrize("token", ["x", "%D1%91", "gAAAAABx", "a" * 5000])
def test_a_link_that_is_none_is_a_sentence(api: Served, token: str) -> None:
    answer = api.call("GET", f"/answer/{token}", who="")

    assert answer.status == 404
    assert "this link is not valid" in answer.text


def test_the_page_speaks_the_departments_language(api: Served) -> None:
    api.ports.database.rows("UPDATE department SET language = 'ru'")
    page = api.call("GET", link(api, asked(api)), who="")

    assert '<html lang="ru">' in page.text
    assert "Это тот сервер" in page.text


def test_an_operator_answers_by_api_and_billing_may_not(api: Served) -> None:
    job = asked(api)
    mounted(api, job)
    refused = api.post(f"/v1/jobs/{job}/answer", {"server": "501"}, who="billing")
    wrong = api.post(f"/v1/jobs/{job}/answer", {"server": "999"}, who="operator")
    right = api.post(f"/v1/jobs/{job}/answer", {"server": "501"}, who="operator")
    again = api.post(f"/v1/jobs/{job}/answer", {"server": "501"}, who="operator")

    assert [one.status for one in (refused, wrong, right, again)] == [403, 422, 200, 409]
    assert right.json["question"]["answered_by"].startswith("token ")
    assert "answered before" in again.detail


def test_a_job_that_asks_nobody_says_so(api: Served) -> None:
    job = api.post("/v1/services", api.order("ord-9"), who="billing").json["job"]["id"]

    answer = api.post(f"/v1/jobs/{job}/answer", {"server": "501"}, who="operator")

    assert (answer.status, answer.detail) == (404, f"job {job} asks nobody anything")


def test_whoever_looks_at_the_job_reads_whom_it_waits_for(api: Served) -> None:
    job = asked(api)
    found = api.get(f"/v1/jobs/{job}").json

    assert "asked department hands at" in found["sentence"]
    assert "the administrator in charge is told" in found["sentence"]
    assert found["question"]["department"] == "hands"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"os": "ISPsystem__Debian-12-x86_64"}, "no OS is installed; leave os out"),
        ({"package": "small", "os": "", "equipment": ""}, "os is empty"),
        ({"package": "small", "os": "ISPsystem__Debian-12-x86_64"}, "leave equipment out"),
    ],
)
def test_an_order_that_does_not_fit_its_package_is_refused(api: Served, change: dict[str, str], says: str) -> None:
    answer = api.post("/v1/services", api.order(**{**ORDER, **change}), who="billing")

    assert answer.status == 422
    assert says in answer.detail


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"server_type": "HP"}, "server_type: colocation is the customer's own machine"),
        ({"os_allowed": ["x"]}, "os_allowed: colocation"),
        ({"department": "nobody"}, "not found: department nobody"),
        ({"department": ""}, "name the department in charge"),
        ({"connections": {"dc9": 0}}, "not found: connection dc9"),
    ],
)
def test_a_package_that_nobody_could_deliver_is_not_saved(api: Served, change: dict[str, Any], says: str) -> None:
    answer = api.put("/v1/packages/bad", {**PACKAGE, **change})

    assert answer.status == 422
    assert says in answer.detail


def test_what_is_the_customers_own_is_not_reinstalled(api: Served) -> None:
    job = asked(api)
    mounted(api, job)
    send(api, link(api, job), server="501")
    api.run(job, "succeeded")
    answer = api.post(
        "/v1/services/ord-1/reinstall", {"confirm": "srv1.example.net"}, who="billing", Idempotency_Key="k"
    )

    assert answer.status == 409
    assert "the customer's own machine" in answer.detail


def test_a_preview_says_that_a_person_is_asked(api: Served) -> None:
    found = api.post("/v1/orders/preview", api.order(**ORDER), who="billing").json

    assert (found["steps"], found["server"], found["missing"]) == (["00_account", "01_ask_placed"], None, [])


def test_no_link_comes_into_the_log_of_the_web_server() -> None:
    said = ("192.0.2.1", "GET", "/answer/secret", "1.1", 200)
    record = logging.LogRecord("uvicorn.access", logging.INFO, "", 0, '%s - "%s %s HTTP/%s" %d', said, None)

    assert bootstrap._without_links(record)
    assert "secret" not in record.getMessage()
