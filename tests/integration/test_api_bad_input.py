"""Every bad input of the API: one clear sentence, nothing stored, no secret told."""

from __future__ import annotations

import http.client
import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import psycopg2
import pytest
from sqlalchemy import event

from provisioner.demo.postgres import EmbeddedPostgres
from provisioner.domain.catalogue import Role
from provisioner.domain.server import User
from provisioner.errors import Denied, RemoteError, Unreachable, Unusable
from provisioner.usecases import tokens
from tests.served import PASSWORD, Served, serve

PLANTED = "planted-panel-password"


@pytest.fixture
def api(database_url: str) -> Iterator[Served]:
    with serve(database_url) as served:
        yield served


@pytest.fixture(scope="module")
def shared(postgres: EmbeddedPostgres, template_database: str) -> Iterator[Served]:
    """Give one API for all tests that must leave nothing behind."""
    postgres.create_database("bad_input", template=template_database)
    with serve(postgres.url("bad_input")) as served:
        served.sell("101")
        yield served
    postgres.drop_database("bad_input")


@pytest.fixture
def shop(api: Served) -> Served:
    """Give an API that has something to sell."""
    api.sell("101")
    return api


def stored(api: Served) -> list[int]:
    return [
        api.ports.database.value(f"SELECT count(*) FROM {table}")  # noqa: S608
        for table in ("service", "job", "secret")
    ]


# --- orders -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "status", "sentence"),
    [
        ({"package": "huge"}, 404, "there is no package 'huge'"),
        ({"os": "plan9"}, 422, "os 'plan9' is not offered with 'small'; choose one of ISPsystem__Debian-12-x86_64"),
        ({"hostname": "srv1"}, 422, "hostname 'srv1' is not a full host name"),
        ({"hostname": "-a-.example.net"}, 422, "is not a full host name"),
        ({"hostname": "10.0.0.1"}, 422, "looks like an address"),
        ({"hostname": "FREE.ds."}, 422, "hostname free.ds marks free servers; choose another"),
        ({"customer": {"reference": "c", "login": "%%%"}}, 422, "has no letter or digit left"),
        ({"customer": {"reference": "c", "login": "Root"}}, 422, "becomes 'root', a name of the system"),
        ({"customer": {"reference": "c"}}, 422, "customer.login: is missing"),
        ({"customer": None}, 422, "customer: must be a JSON object"),
        ({"external_ref": 4711}, 422, "external_ref: input should be a valid string"),
        ({"external_ref": "a/b"}, 422, "external_ref: string should match pattern"),
        ({"external_ref": ""}, 422, "external_ref: string should"),
        ({"hostnam": "x", "colour": 1}, 422, "hostnam: unknown field"),
        ({"hostname": "a\x00b.example.net"}, 400, "hostname holds a NUL character; remove it"),
        ({"os": "\ud800"}, 400, "os holds half of a surrogate pair"),
        ({"\ud800": 1}, 400, "a field's name holds half of a surrogate pair"),
        ({"customer": {"reference": "c\x00", "login": "a"}}, 400, "customer.reference holds a NUL character"),
        ({"os": ["x"] * 3}, 422, "os: input should be a valid string"),
        ({"panel_password": 123456}, 422, "panel_password: input should be a valid string"),
        ({"panel_password": ""}, 422, "panel_password: "),
        ({"hostname": "x" * 300 + ".example.net"}, 422, "hostname: string should have at most 254 characters"),
    ],
)
def test_an_order_that_cannot_be_taken(shared: Served, changes: dict[str, Any], status: int, sentence: str) -> None:
    before = stored(shared)
    for path in ("/v1/services", "/v1/orders/preview"):
        answer = shared.post(path, shared.order(**changes), who="billing")

        assert (answer.status, sentence in answer.detail) == (status, True), answer.text
    assert stored(shared) == before


def test_an_international_host_name_is_taken_in_its_ascii_form(shop: Served) -> None:
    answer = shop.post("/v1/services", shop.order(hostname="Bücher.Example.NET."))

    assert answer.status == 202
    assert answer.json["service"]["hostname"] == "xn--bcher-kva.example.net"


@pytest.mark.parametrize(
    ("raw", "status", "sentence"),
    [
        (b"{", 400, "the body is no JSON; send one object"),
        (b"\xff\xfe{}", 400, "the body is not UTF-8"),
        (b'{"a": NaN}', 400, "a is no number that JSON knows"),
        (b"[" * 50_000 + b"]" * 10, 400, "the body is"),
        (b"[" * 200 + b"]" * 200, 400, "nested too deeply"),
        (b'{"a": 1' + b"0" * 5000 + b"}", 400, "the body is no JSON"),
        (b"[]", 422, "must be a JSON object"),
        (b"null", 422, "must be a JSON object"),
        (b"", 422, "a body is missing; send JSON with Content-Type application/json"),
        (b'"' + b"x" * 70_000 + b'"', 413, "the body is larger than 64 KiB; send less"),
    ],
)
def test_a_body_that_cannot_be_read(shared: Served, raw: bytes, status: int, sentence: str) -> None:
    answer = shared.call("POST", "/v1/services", raw=raw)

    assert (answer.status, sentence in answer.detail) == (status, True), answer.text


def test_a_body_without_a_length_is_counted(shared: Served) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", shared.port, timeout=10)
    head = {"Authorization": f"Bearer {shared.tokens['admin']}", "Content-Type": "application/json"}
    connection.request("POST", "/v1/services", iter([b" " * 40_000, b" " * 40_000]), head, encode_chunked=True)
    status = connection.getresponse().status
    connection.close()

    assert status == 413


def test_a_body_of_another_type_is_refused(shared: Served) -> None:
    answer = shared.call(
        "POST", "/v1/services", raw=json.dumps(shared.order()).encode(), headers={"Content-Type": "text/plain"}
    )

    assert answer.status == 422
    assert "application/json" in answer.detail


@pytest.mark.parametrize("path", ["/v1/jobs/1%00", "/v1/services/a%00b", "/v1/jobs?service=%00"])
def test_a_nul_in_the_address_is_refused(shared: Served, path: str) -> None:
    answer = shared.get(path)

    assert (answer.status, answer.detail) == (400, "the address holds a NUL character; remove it")


@pytest.mark.parametrize(
    ("path", "status", "sentence"),
    [
        ("/v1/jobs/4711", 404, "no job 4711"),
        ("/v1/jobs/4711/events", 404, "no job 4711"),
        ("/v1/jobs/0", 422, "job_id: input should be greater than or equal to 1"),
        ("/v1/jobs/x", 422, "job_id: input should be a valid integer"),
        ("/v1/jobs/99999999999999999999", 422, "job_id: input should be less than"),
        ("/v1/jobs?state=lost", 422, "state: input should be 'queued'"),
        ("/v1/services/nobody", 404, "no service 'nobody'"),
        ("/v1/packages/nothing", 404, "no package 'nothing'"),
        ("/v1/stock?package=nothing", 404, "no package 'nothing'"),
        ("/v1/connections/nowhere", 404, "no connection 'nowhere'"),
        ("/v1/connections/No%20Where", 422, "name: string should match pattern"),
        ("/v2", 404, "there is no such path; /docs lists all"),
    ],
)
def test_a_question_about_nothing(shared: Served, path: str, status: int, sentence: str) -> None:
    answer = shared.get(path)

    assert (answer.status, sentence in answer.detail) == (status, True), answer.text


def test_a_wrong_method_is_refused(shared: Served) -> None:
    answer = shared.call("DELETE", "/v1/jobs")

    assert (answer.status, answer.detail) == (405, "this path does not take this method; /docs lists all")


# --- tokens -------------------------------------------------------------------------------------------------------


def test_a_token_that_is_none_is_refused(api: Served) -> None:
    catalogue = api.ports.catalogue
    api.tokens["old"] = tokens.create(
        "old", Role.VIEWER, expires_at=datetime(2020, 1, 1, tzinfo=UTC), catalogue=catalogue
    ).token
    tokens.revoke("viewer", catalogue=catalogue)
    tokens.revoke("viewer", catalogue=catalogue)
    answers = {who: api.get("/v1/jobs", who=who) for who in ("", "wrong", "old", "viewer")}
    basic = api.call("GET", "/v1/jobs", who="", headers={"Authorization": "Basic YTpi"})
    strange = api.call("GET", "/v1/jobs", who="", headers={"Authorization": "Bearer \xe9"})

    assert {answer.status for answer in (*answers.values(), basic, strange)} == {401}
    assert answers["old"].headers["www-authenticate"] == "Bearer"
    assert "send the header `Authorization: Bearer TOKEN`" in answers[""].detail
    assert "wrong, expired or revoked" in answers["viewer"].detail


@pytest.mark.parametrize(
    ("name", "role", "panel", "sentence"),
    [
        ("b", "billing", "", "a billing token needs a panel"),
        ("b", "king", "", "there is no role 'king'; there are billing, viewer, operator, admin"),
        ("Ä", "viewer", "", "name 'Ä': 1 to 63 lower-case letters"),
        ("admin", "viewer", "", "there is a token 'admin' already"),
    ],
)
def test_a_token_that_cannot_be_made(shared: Served, name: str, role: str, panel: str, sentence: str) -> None:
    with pytest.raises(Exception, match=sentence):
        tokens.create(name, role, panel=panel, catalogue=shared.ports.catalogue)


# --- connections --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "error", "field", "sentence"),
    [
        ("whoami", Unreachable("connection refused by dcim.example.net:1500"), "url", "refused"),
        ("whoami", Unreachable("the certificate is not trusted: self-signed"), "tls", "certificate is not trusted"),
        ("whoami", Unreachable("no connection to x within 15 s"), "url", "within 15 s"),
        ("whoami", Denied("the panel refuses the user name or the password"), "username", "or the password"),
        ("whoami", Denied("our user is not an administrator"), "username", "not an administrator"),
        ("whoami", Unusable("answers, but not as a DCImanager does"), "url", "not as a DCImanager does"),
        ("list_servers", Unusable("no whole answer within 15 s"), "url", "no whole answer"),
    ],
)
def test_a_connection_is_saved_only_after_it_was_tried(
    api: Served, method: str, error: RemoteError, field: str, sentence: str
) -> None:
    api.world.fault(method, error)
    answer = api.put("/v1/connections/dc1", api.connection())

    assert answer.status == 422
    assert answer.detail.startswith("connection dc1 is not saved: ")
    assert (sentence in answer.detail, answer.json["field"]) == (True, field)
    assert PASSWORD not in answer.text
    assert api.get("/v1/connections").json == []
    assert stored(api) == [0, 0, 0]


def test_a_saved_connection_shows_what_is_behind_it_and_never_its_password(api: Served) -> None:
    api.world.add_server("101")
    api.world.add_server("102").faulty = True
    owned = api.world.add_server("103")
    owned.owner = User(api.world.administrator.ref, "x", administrator=False).ref
    first = api.put("/v1/connections/dc1", api.connection())
    again = api.put("/v1/connections/dc1", api.connection(max_in_flight=2))
    kept = api.put("/v1/connections/dc1", {**api.connection(max_in_flight=3), "password": None})
    checked = api.post("/v1/connections/dc1/check", who="operator")
    view = api.get("/v1/connections/dc1", who="viewer")
    slots = api.ports.database.value("SELECT count(*) FROM slot")
    secrets = api.ports.database.rows("SELECT encode(ciphertext, 'escape') AS text FROM secret")

    assert [server["server"] for server in first.json["available"]] == ["101"]
    assert {server["server"]: server["why_not"] for server in first.json["unavailable"]} == {
        "102": "it is marked faulty",
        "103": "it has an owner",
    }
    assert first.json["server_types"] == ["HP-E3-16G"]
    assert "ISPsystem__Debian-12-x86_64" in first.json["os_templates"]
    assert first.json["networks"][0]["gateway"] == "198.51.100.1"
    assert (again.status, kept.status, checked.status) == (200, 200, 200)
    assert (view.json["revision"], view.json["servers"], slots) == (3, 3, 3)
    assert view.json["observed_at"]
    assert len(secrets) == 1
    for text in (first.text, again.text, checked.text, view.text, secrets[0]["text"]):
        assert PASSWORD not in text


def test_a_kept_password_never_goes_to_another_address(api: Served) -> None:
    assert api.put("/v1/connections/dc1", api.connection()).status == 200
    for changes in ({"url": "https://evil.example.net/"}, {"username": "x"}, {"tls": {"verify": False}}):
        answer = api.put("/v1/connections/dc1", {**api.connection(**changes), "password": None})

        assert (answer.status, "give the password again" in answer.detail) == (422, True)
    fresh = api.put("/v1/connections/dc2", {**api.connection(), "password": None})
    assert "is new; give its password" in fresh.detail


def test_what_is_not_safe_is_said_loudly_in_every_listing(api: Served) -> None:
    saved = api.put("/v1/connections/dc1", api.connection(tls={"verify": False}))
    plain = api.put("/v1/connections/dc2", api.connection(url="http://dcim.example.net/"))
    listed = api.get("/v1/connections").json

    assert saved.json["warnings"][0].startswith("CERTIFICATE NOT CHECKED")
    assert plain.json["warnings"][0].startswith("NOT ENCRYPTED")
    assert [len(one["warnings"]) for one in listed] == [1, 1]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"kind": "vmware"}, "there is no kind 'vmware' of DCIM; there are dcimanager5, fake"),
        ({"url": "dcim.example.net"}, "url is no address of a DCIM"),
        ({"url": "https://u:p@dcim.example.net/"}, "url holds more than an address"),
        ({"url": "https://dcim.example.net/?authinfo=a:b"}, "url holds more than an address"),
        ({"bmc_port_pattern": "("}, "bmc_port_pattern is no regular expression"),
        ({"tls": {"fingerprint": "xyz"}}, "tls.fingerprint is no SHA-256"),
        ({"tls": {"ca_pem": "xyz"}}, "tls.ca_pem holds no certificate"),
        ({"tls": {"verifi": True}}, "tls.verifi: unknown field"),
        ({"max_in_flight": 0}, "max_in_flight: input should be greater than"),
    ],
)
def test_a_connection_that_cannot_be_meant(shared: Served, changes: dict[str, Any], sentence: str) -> None:
    before = len(shared.world.journal)
    answer = shared.put("/v1/connections/dc1", shared.connection(**changes))

    assert (answer.status, sentence in answer.detail) == (422, True), answer.text
    assert len(shared.world.journal) == before


def test_a_check_of_a_place_that_is_away_is_a_bad_gateway(shop: Served) -> None:
    shop.world.fault("whoami", Unreachable("connection refused by dcim.example.net:1500", system="dc1"))
    answer = shop.post("/v1/connections/dc1/check")

    assert (answer.status, "connection refused" in answer.detail) == (502, True)


# --- packages -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"server_type": "Cray", "os_allowed": ["plan9", "beos"]},
         "not found: server type Cray on dc1 (it has HP-E3-16G), OS template plan9 on dc1, OS template beos on dc1"),
        ({"connections": {"dc1": 0, "dc9": 1}}, "not found: connection dc9"),
        ({"connections": {}}, "connections: "),
        ({"probe": "http:80"}, "probe 'http:80': write `icmp`, `tcp:PORT` or `ssh:PORT`"),
        ({"probe": "ssh"}, "probe 'ssh': name a port"),
        ({"probe": "tcp:70000"}, "a port is 1 to 65535"),
        ({"ipv4": 0}, "a server without any address can't be reached"),
        ({"on_failure": "panic"}, "on_failure: input should be 'next' or 'hold'"),
        ({"price": 10}, "price: unknown field"),
    ],
)  # fmt: skip
def test_a_package_that_cannot_be_sold(shared: Served, changes: dict[str, Any], sentence: str) -> None:
    answer = shared.put("/v1/packages/large", shared.package(**changes))

    assert (answer.status, sentence in answer.detail) == (422, True), answer.text
    assert shared.get("/v1/packages/large").status == 404


def test_icmp_is_refused_where_this_host_cannot_send_it(shared: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("provisioner.bootstrap.can_send_icmp", lambda: "this process may not send ICMP; type …")
    answer = shared.put("/v1/packages/large", shared.package(probe="icmp"))

    assert (answer.status, answer.detail) == (422, "probe icmp: this process may not send ICMP; type …")


def test_a_package_is_put_again_and_disabled(shop: Served) -> None:
    one = shop.put("/v1/packages/small", shop.package(attempts_max=5)).json
    two = shop.put("/v1/packages/small", shop.package(attempts_max=5)).json
    off = shop.put("/v1/packages/small", shop.package(enabled=False)).json
    refused = shop.post("/v1/services", shop.order())

    assert one == two
    assert (one["attempts_max"], one["connections"], one["enabled"]) == (5, {"dc1": 0}, True)
    assert off["enabled"] is False
    assert (refused.status, "is disabled" in refused.detail) == (422, True)


# --- secrets, load, health ----------------------------------------------------------------------------------------


def test_planted_secrets_are_found_nowhere(shop: Served, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        wrong = shop.post("/v1/services", shop.order("ord-0", panel_password=PLANTED, hostname="x"))
        wrong_type = shop.post("/v1/services", shop.order("ord-0", panel_password=[PLANTED]))
        placed = shop.post("/v1/services", shop.order(panel_password=PLANTED)).json
        shop.run(placed["job"]["id"], "succeeded", "failed")
    shown = [shop.get(path).text for path in ("/v1/services/ord-1", "/v1/services/ord-1/events", "/v1/jobs",
                                              f"/v1/jobs/{placed['job']['id']}", "/v1/connections")]  # fmt: skip
    tables = [row["name"] for row in shop.ports.database.rows(
        "SELECT table_name AS name FROM information_schema.tables WHERE table_schema = 'public'")]  # fmt: skip
    dump = "".join(
        str(shop.ports.database.rows(f"SELECT to_jsonb(t) AS row FROM {table} t"))  # noqa: S608
        for table in tables
    )
    secrets = shop.get("/v1/services/ord-1/secrets", who="billing").json

    assert (wrong.status, wrong_type.status) == (422, 422)
    assert secrets["panel_password"] is None
    for text in (wrong.text, wrong_type.text, str(placed), *shown, caplog.text, dump):
        assert PLANTED not in text
        assert PASSWORD not in text
        assert secrets["root_password"] not in text
        assert shop.tokens["admin"] not in text


def test_a_read_only_database_is_not_ready_and_takes_no_order(shop: Served) -> None:
    fine = shop.call("GET", "/readyz", who="")
    shop.ports.database.rows(
        f"ALTER DATABASE {shop.ports.database.engine.url.database} SET default_transaction_read_only = on"
    )
    shop.ports.database.engine.dispose()
    refused = shop.post("/v1/services", shop.order())
    ready = shop.call("GET", "/readyz", who="")

    assert (fine.status, fine.json["ready"], fine.json["migrations"]) == (200, True, "ok")
    assert (refused.status, refused.headers["retry-after"]) == (503, "2")
    assert refused.detail == "the database is read-only"
    assert (ready.status, ready.json["database"]) == (503, "the database is read-only")
    assert shop.call("GET", "/healthz", who="").json == {"alive": True}


def test_a_database_that_is_away_is_told(api: Served) -> None:
    def refuse(*_: object) -> None:
        raise psycopg2.OperationalError("connection refused")

    event.listen(api.ports.database.engine, "do_connect", refuse)
    api.ports.database.engine.dispose()
    answer = api.get("/v1/jobs")
    ready = api.call("GET", "/readyz", who="")

    assert (answer.status, answer.headers["retry-after"]) == (503, "2")
    assert (ready.status, ready.json["migrations"]) == (503, "unknown")


def test_the_documentation_needs_nothing_from_elsewhere(shared: Served) -> None:
    page = shared.call("GET", "/docs", who="")
    schema = shared.call("GET", "/openapi.json", who="").json

    assert "://" not in page.text
    assert "width=device-width" in page.text
    assert "script-src 'sha256-" in page.headers["content-security-policy"]
    for path, calls in schema["paths"].items():
        for method, call in calls.items():
            assert call["summary"], (method, path)
            assert call.get("description") or path == "/healthz", (method, path)
            if path.startswith("/v1"):
                assert {"401", "422", "503"} <= set(call["responses"]), (method, path)
