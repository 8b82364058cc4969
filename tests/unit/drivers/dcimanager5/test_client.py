"""The wire: credentials, documents that can be believed, and what each error means."""

import dataclasses
import logging
import time

import pytest
import requests

from provisioner.domain import touch
from provisioner.domain.connection import PACE_PATIENCE_SECONDS, Endpoint
from provisioner.drivers.dcimanager5.client import (
    LOGIN_PAUSE_SECONDS,
    Client,
    NoRights,
    NotDcimanager,
    UnknownFunction,
    WrongPassword,
)
from provisioner.errors import (
    AlreadyExists,
    BadValue,
    Busy,
    Denied,
    FailureClass,
    Fatal,
    NoSuchObject,
    NotDone,
    PoolEmpty,
    RemoteError,
    Unreachable,
    Unsure,
    Unusable,
)
from tests.unit.drivers.dcimanager5.panel import (
    ENDPOINT,
    PASSWORD,
    Panel,
    doc,
    error,
    listing,
    ok,
)
from tests.unit.drivers.loopback import Loopback, answering, raw

LOGGED_IN = doc("auth", '<auth id="5e55" level="29">5e55</auth>')
SECRETS = (PASSWORD, "ivanov", "root-secret")


def clean(trouble: BaseException) -> None:
    """Nothing that is secret or a customer's stands in an error, its cause or its context."""
    seen: BaseException | None = trouble
    while seen:
        for secret in SECRETS:
            assert secret not in f"{seen!s} {seen!r} {vars(seen)}"
        seen = seen.__cause__ or seen.__context__


def refusal_of_act(panel: Panel, func: str, answer: str, **params: str) -> RemoteError:
    panel.says(func, answer).says("auth", LOGGED_IN)
    with pytest.raises(RemoteError) as caught:
        panel.client().act(func, params, server="127")
    clean(caught.value)
    return caught.value


def refusal_of_look(panel: Panel, func: str, answer: str | bytes | tuple[int, str]) -> RemoteError:
    panel.says(func, answer).says("auth", LOGGED_IN)
    with pytest.raises(RemoteError) as caught:
        panel.client().look(func, {"elid": "127"}, server="127")
    clean(caught.value)
    return caught.value


def test_a_call_carries_function_format_language_and_credentials_in_its_body(panel: Panel) -> None:
    panel.says("server.poweron", ok("server.poweron"))

    panel.client().act("server.poweron", {"elid": "127"})

    assert panel.calls == [
        {
            "elid": "127",
            "func": "server.poweron",
            "out": "xml",
            "lang": "en",
            "authinfo": f"bill_admin:{PASSWORD}",
        }
    ]


@pytest.mark.parametrize(
    ("given", "path"),
    [("", "/dcimgr"), ("/", "/dcimgr"), ("/manager/dcimgr?authinfo=a:b", "/manager/dcimgr")],
)
def test_an_address_without_a_path_gets_the_usual_one(given: str, path: str) -> None:
    seen: list[bytes] = []
    with Loopback(answering(doc("server"), into=seen)) as server:
        url = f"http://127.0.0.1:{server.port}{given}"
        Client(dataclasses.replace(ENDPOINT, url=url)).look("server")

    assert seen[0].startswith(f"POST {path} HTTP/1.1\r\n".encode())


@pytest.mark.parametrize(
    ("kind", "named", "expected"),
    [
        ("auth", "badpassword", WrongPassword),
        ("auth", "", Denied),
        ("access", "server.poweron", NoRights),
        ("extraconfirm", "", Denied),
        ("exists", "", Fatal),
        ("value", "elid", Fatal),
        ("missed", "elid", NoSuchObject),
        ("missed", "func", UnknownFunction),
        ("locked", "", Busy),
        ("running", "operation", Busy),
        ("xml", "xpath", Unsure),
        ("anything", "unheard-of", Fatal),
        ("", "", Fatal),
        ("limit", "ip", Fatal),
    ],
)
def test_what_an_error_means_for_an_act(panel: Panel, kind: str, named: str, expected: type[RemoteError]) -> None:
    trouble = refusal_of_act(panel, "server.poweron", error(kind, named), elid="127")

    assert type(trouble) is expected
    assert (trouble.system, trouble.server) == ("dci-1", "127")


@pytest.mark.parametrize(
    ("func", "params", "kind", "expected"),
    [
        ("user.edit", {"name": "ivanov"}, "exists", AlreadyExists),
        ("iplist.edit", {"plid": "127", "elid": "9", "domain": "a.example.net"}, "exists", AlreadyExists),
        ("server.operations", {"elid": "127", "ostemplate": "Debian"}, "exists", Fatal),
        ("server.operations", {"elid": "127", "ostemplate": "Debian"}, "value", BadValue),
        ("server.edit", {"elid": "127", "owner": "3"}, "value", BadValue),
        ("server.connection.on", {"plid": "127", "elid": "5"}, "value", Fatal),
    ],
)
def test_only_a_value_that_was_sent_is_to_blame(
    panel: Panel, func: str, params: dict[str, str], kind: str, expected: type[RemoteError]
) -> None:
    assert type(refusal_of_act(panel, func, error(kind), **params)) is expected


@pytest.mark.parametrize(
    ("kind", "named", "expected"),
    [
        ("auth", "badpassword", WrongPassword),
        ("extraconfirm", "", Denied),
        ("exists", "user", Unusable),
        ("value", "elid", Unusable),
        ("missed", "elid", NoSuchObject),
        ("missed", "func", UnknownFunction),
        ("locked", "", Busy),
        ("xml", "xpath", Unusable),
        ("anything", "unheard-of", Unusable),
    ],
)
def test_what_an_error_means_for_a_look(panel: Panel, kind: str, named: str, expected: type[RemoteError]) -> None:
    assert type(refusal_of_look(panel, "server.edit", error(kind, named))) is expected


def test_an_internal_error_of_any_type_proves_nothing(panel: Panel) -> None:
    answer = error("value", "mac", report=True)

    assert type(refusal_of_act(panel, "server.poweron", answer)) is Unsure
    assert type(refusal_of_look(panel, "server.edit", answer)) is Unusable


@pytest.mark.parametrize(
    ("kind", "named"),
    [("noip", ""), ("limit", ""), ("missed", "ip"), ("value", "iptype"), ("unheard", "pool")],
)
def test_an_empty_pool_is_the_sites_trouble_only_where_an_address_was_asked_for(
    panel: Panel, kind: str, named: str
) -> None:
    asked = refusal_of_act(panel, "iplist.edit", error(kind, named), plid="127", ip="")
    edited = refusal_of_act(panel, "iplist.edit", error(kind, named), plid="127", elid="9")

    assert type(asked) is PoolEmpty
    assert asked.failure_class is FailureClass.SITE
    assert type(edited) is not PoolEmpty


def test_a_field_that_is_missed_is_a_bad_value_and_no_missing_object(panel: Panel) -> None:
    field = refusal_of_act(panel, "iplist.edit", error("missed", "domain"), elid="1", domain="x")
    other = refusal_of_act(panel, "iplist.edit", error("missed", "domain"), elid="1", name="x")
    row = refusal_of_act(panel, "iplist.edit", error("missed", "elid"), elid="1", domain="x")

    assert [type(each) for each in (field, other, row)] == [BadValue, NoSuchObject, NoSuchObject]


def test_a_missing_function_is_the_sites_trouble(panel: Panel) -> None:
    trouble = refusal_of_act(panel, "server.enable", error("missed", "func"))

    assert isinstance(trouble, UnknownFunction)
    assert trouble.failure_class is FailureClass.SITE


def test_an_error_in_place_of_the_document_is_seen(panel: Panel) -> None:
    trouble = refusal_of_act(panel, "server.enable", '<error type="locked"/>')

    assert type(trouble) is Busy


def test_an_error_that_spells_its_type_as_a_child_is_seen(panel: Panel) -> None:
    answer = "<doc><error><type>connection</type><text>no route to 10.0.0.9</text></error></doc>"

    trouble = refusal_of_act(panel, "server.poweron", answer)

    assert type(trouble) is Fatal
    assert trouble.detail == "refused: connection"


def test_an_error_that_names_what_we_sent_is_not_repeated(panel: Panel) -> None:
    trouble = refusal_of_act(panel, "user.edit", error("exists", "ivanov"), name="ivanov")

    assert str(trouble) == "user.edit 127 via dci-1: refused: exists/?"


def test_the_log_holds_no_more_than_the_error(panel: Panel, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)

    refusal_of_act(panel, "user.edit", error("value", "passwd"), name="ivanov", passwd="root-secret")

    assert "panel_error func=user.edit error=value/passwd" in caplog.text
    assert not any(secret in caplog.text for secret in SECRETS)


BOMB = (
    '<?xml version="1.0"?><!DOCTYPE doc [<!ENTITY a "aaaaaaaaaaaaaaaa">'
    + "".join(f'<!ENTITY {b} "{f"&{a};" * 16}">' for a, b in zip("abcdefgh", "bcdefghi", strict=True))
    + "]><doc>&i;</doc>"
)
XXE = '<?xml version="1.0"?><!DOCTYPE doc [<!ENTITY a SYSTEM "file:///etc/passwd">]><doc>&a;</doc>'

ILL: dict[str, str | bytes | tuple[int, str]] = {
    "nothing": "",
    "blanks": " \r\n",
    "login page": "<!DOCTYPE html><html><form>Login</form></html>",
    "login page of tags": "<html><body><form/></body></html>",
    "login form in XML": doc("logon", "<username/><password/>"),
    "text": "Panel is restarting",
    "JSON": '{"doc":{"elem":[]}}',
    "other XML": "<rss><channel/></rss>",
    "truncated": listing("server", "<id>1</id>")[:-20],
    "truncated at a tag": '<?xml version="1.0"?>\n<doc func="server"><elem><id>1</id></elem>',
    "two roots": "<doc/><doc/>",
    "unknown entity": "<doc>&nbsp;</doc>",
    "ill bytes": b"<doc>\xff\xfe</doc>",
    "control character": b"<doc>\x0b</doc>",
    "unknown encoding": '<?xml version="1.0" encoding="klingon"?><doc/>',
    "entity bomb": BOMB,
    "external entity": XXE,
    "502": (502, "<html>Bad Gateway</html>"),
    "503": (503, doc("server")),
    "504": (504, ""),
    "500": (500, error("value", "mac")),
    "404": (404, "<html>Not Found</html>"),
    "302": (302, ""),
    "401": (401, ""),
}


@pytest.mark.parametrize("answer", ILL.values(), ids=ILL.keys())
def test_an_answer_that_is_no_document_proves_nothing(panel: Panel, answer: str | bytes | tuple[int, str]) -> None:
    look = refusal_of_look(panel, "server.edit", answer)
    panel.says("server.poweron", answer)
    with pytest.raises(RemoteError) as act:
        panel.client().act("server.poweron", {"elid": "127"})

    assert isinstance(look, Unusable)
    assert type(act.value) is Unsure


def test_an_entity_bomb_costs_no_time(panel: Panel) -> None:
    began = time.monotonic()
    refusal_of_look(panel, "server.edit", BOMB)

    assert time.monotonic() - began < 3.0


def test_what_is_no_dcimanager_is_told_from_a_broken_one(panel: Panel) -> None:
    assert type(refusal_of_look(panel, "server", "<html/>")) is NotDcimanager
    assert type(refusal_of_look(panel, "server", (404, "no"))) is NotDcimanager
    assert type(refusal_of_look(panel, "server", "<doc>")) is Unusable
    assert type(refusal_of_look(panel, "server", (502, ""))) is Unusable


def test_a_head_that_is_cut_proves_nothing() -> None:
    with Loopback(raw(b"HTTP/1.1 200 OK\r\nContent-Le")) as server:
        client = Client(dataclasses.replace(ENDPOINT, url=server.url))

        with pytest.raises(Unsure):
            client.act("server.poweron", {"elid": "127"})


def test_too_many_calls_are_no_harm(panel: Panel) -> None:
    panel.says("server.poweron", (429, ""))

    with pytest.raises(Busy):
        panel.client().act("server.poweron", {"elid": "127"})


def test_a_lost_connection_leaves_an_act_unsure_and_shows_no_secret() -> None:
    with Loopback(raw(b"")) as server:
        client = Client(dataclasses.replace(ENDPOINT, url=server.url))

        with pytest.raises(Unsure) as caught:
            client.submit("server.operations", {"elid": "127", "passwd": "root-secret"})
        clean(caught.value)


def test_an_exception_of_requests_with_our_body_in_it_does_not_come_through(panel: Panel) -> None:
    panel.says("server.edit", requests.ConnectionError(f"authinfo=bill_admin:{PASSWORD}"))

    with pytest.raises(Unreachable) as caught:
        panel.client().look("server.edit", {"elid": "1"})
    clean(caught.value)


def test_neither_client_nor_endpoint_show_the_password(panel: Panel) -> None:
    assert PASSWORD not in f"{panel.client()!r} {panel.driver()!r} {ENDPOINT!r}"


def test_authinfo_that_is_not_allowed_is_replaced_by_one_session(panel: Panel) -> None:
    panel.says("server.enable", error("access"), ok("server.enable"))
    panel.says("auth", LOGGED_IN)
    client = panel.client()

    client.act("server.enable", {"elid": "1"})
    client.act("server.enable", {"elid": "2"})

    assert panel.funcs == ["server.enable", "auth", "server.enable", "server.enable"]
    assert panel.calls[1]["username"] == "bill_admin"
    assert panel.calls[1]["password"] == PASSWORD
    assert [call.get("auth") for call in panel.calls] == [None, None, "5e55", "5e55"]
    assert not any("authinfo" in call for call in panel.calls[1:])


def test_an_expired_session_is_renewed_once(panel: Panel) -> None:
    panel.says("server.enable", error("access"), ok("server.enable"), error("auth", "expired"))
    panel.says("auth", LOGGED_IN)
    client = panel.client()
    client.act("server.enable", {"elid": "1"})

    with pytest.raises(Denied):
        client.act("server.enable", {"elid": "1"})

    assert panel.funcs[3:] == ["server.enable", "auth", "server.enable"]


def test_a_wrong_password_is_tried_once(panel: Panel) -> None:
    panel.says("server.enable", error("auth", "badpassword"))

    with pytest.raises(WrongPassword):
        panel.client().act("server.enable", {"elid": "1"})

    assert panel.funcs == ["server.enable"]


def test_a_refused_login_is_not_repeated_with_every_call(panel: Panel) -> None:
    panel.says("server.enable", error("access")).says("auth", error("auth", "badpassword"))
    client = panel.client()

    for _ in range(3):
        with pytest.raises(Denied):
            client.act("server.enable", {"elid": "1"})
    assert panel.funcs.count("auth") == 1

    panel.now += LOGIN_PAUSE_SECONDS
    with pytest.raises(Denied):
        client.act("server.enable", {"elid": "1"})
    assert panel.funcs.count("auth") == 2


def test_a_login_that_met_an_internal_error_may_come_again(panel: Panel) -> None:
    panel.says("server.enable", error("access"), error("access"), ok("server.enable"))
    panel.says("auth", error("xml", report=True), LOGGED_IN)
    client = panel.client()

    with pytest.raises(NotDone):
        client.act("server.enable", {"elid": "1"})
    client.act("server.enable", {"elid": "1"})
    assert panel.funcs.count("auth") == 2


def test_a_login_that_does_not_help_is_not_repeated_with_every_call(panel: Panel) -> None:
    panel.says("server.enable", error("access", "func")).says("auth", LOGGED_IN)
    client = panel.client()

    for _ in range(3):
        with pytest.raises(NoRights):
            client.act("server.enable", {"elid": "1"})

    assert panel.funcs.count("auth") == 1
    assert "authinfo" in panel.calls[-1]


@pytest.mark.parametrize("answer", [doc("auth"), "<html/>", (502, ""), doc("auth", "<auth/>")])
def test_an_act_whose_login_fails_was_not_done(panel: Panel, answer: str | tuple[int, str]) -> None:
    panel.says("server.enable", error("access")).says("auth", answer)

    with pytest.raises(NotDone) as caught:
        panel.client().act("server.enable", {"elid": "1"})
    clean(caught.value)
    assert panel.funcs == ["server.enable", "auth"]


def test_a_user_with_a_colon_logs_in_from_the_start(panel: Panel) -> None:
    panel.says("server.enable", ok("server.enable")).says("auth", LOGGED_IN)

    panel.client(dataclasses.replace(ENDPOINT, username="bill:admin")).act("server.enable", {})

    assert panel.funcs == ["auth", "server.enable"]


def test_a_user_with_a_colon_who_was_refused_does_not_log_in_with_every_call(panel: Panel) -> None:
    panel.says("auth", error("auth", "badpassword"))
    client = panel.client(dataclasses.replace(ENDPOINT, username="bill:admin"))

    for expected in (WrongPassword, Denied):
        with pytest.raises(expected):
            client.act("server.enable", {})
    assert panel.funcs == ["auth"]


def test_a_login_leaves_an_act_only_the_time_that_is_left(panel: Panel) -> None:
    panel.says("server.enable", error("access")).says("auth", LOGGED_IN)
    panel.takes = ENDPOINT.call_seconds * 0.6

    with pytest.raises(NotDone) as caught:
        panel.client().act("server.enable", {"elid": "1"})
    assert type(caught.value) is NotDone
    assert panel.funcs == ["server.enable", "auth"]


def test_a_session_does_not_outlast_the_lease(panel: Panel) -> None:
    panel.says("server.enable", ok("server.enable"))

    with touch.lease(1.0), pytest.raises(NotDone):
        panel.client().act("server.enable", {"elid": "1"})
    assert panel.calls == []


@pytest.mark.parametrize("value", ["bell\x07", "half\ud800", "null\x00", "form\x0c"])
def test_what_could_never_be_read_back_is_not_sent(panel: Panel, value: str) -> None:
    with pytest.raises(BadValue) as caught:
        panel.client().act("server.edit", {"notes": f"root-secret {value}"})
    clean(caught.value)
    assert panel.calls == []


def test_a_password_that_can_not_be_sent_is_a_denial(panel: Panel) -> None:
    endpoint = Endpoint(name="dci-1", url=ENDPOINT.url, username="a", password=f"{PASSWORD}\ud800")

    with pytest.raises(Denied) as caught:
        panel.client(endpoint).look("server")
    clean(caught.value)


def test_a_list_that_is_cut_is_unusable(panel: Panel) -> None:
    panel.says("server", listing("server", "<id>1</id>", total=2))

    with pytest.raises(Unusable, match="cut: 1 rows of 2"):
        panel.client().rows("server")


@pytest.mark.parametrize("total", ["many", "-1", "1.5"])
def test_a_total_that_is_no_number_is_unusable(panel: Panel, total: str) -> None:
    panel.says("server", doc("server", f"<elem/><p_elems>{total}</p_elems>"))

    with pytest.raises(Unusable):
        panel.client().rows("server")


def test_an_empty_list_needs_a_sign_that_it_is_that_list(panel: Panel) -> None:
    panel.says("iplist", doc("iplist"), doc("other"), "<doc/>", doc("", "<p_elems>0</p_elems>"))
    client = panel.client()

    assert client.rows("iplist") == []
    for _ in range(2):
        with pytest.raises(NotDcimanager):
            client.rows("iplist")
    assert client.rows("iplist") == []


SUBMITTED = {
    "ok": (ok("f"), True),
    "ok beside the form": (doc("f", "<ok/><slist name='a'/><domain>x</domain>"), True),
    "nothing": (doc("f"), True),
    "new id": (doc("f", "<id>31</id>"), True),
    "new id beside fields": (doc("f", "<id>31</id><domain>x</domain>"), True),
    "new address": (doc("f", "<ip>192.0.2.9</ip>"), True),
    "the form": (doc("f", "<domain>x</domain>"), False),
    "the empty form": (doc("f", "<domain/><ip/>"), False),
    "a select list": (doc("f", "<slist name='family'/>"), False),
}


@pytest.mark.parametrize(("answer", "expected"), SUBMITTED.values(), ids=SUBMITTED.keys())
def test_a_form_that_is_merely_shown_is_no_success(
    panel: Panel,
    answer: str,
    expected: bool,  # noqa: FBT001
) -> None:
    panel.says("f!", answer)
    client = panel.client()

    if expected:
        client.submit("f", {"plid": "1", "domain": "x", "ip": ""})
    else:
        with pytest.raises(Unsure):
            client.submit("f", {"plid": "1", "domain": "x", "ip": ""})
    assert panel.calls[0]["sok"] == "ok"


def test_a_changed_object_that_shows_its_fields_is_the_form(panel: Panel) -> None:
    panel.says("f!", doc("f", "<id>127</id><name>A</name>"))

    with pytest.raises(Unsure):
        panel.client().submit("f", {"elid": "127", "name": "A"})


def test_an_action_needs_no_ok(panel: Panel) -> None:
    panel.says("server.poweron", doc("server.poweron"))

    panel.client().act("server.poweron", {"elid": "1"})


def test_calls_are_paced(panel: Panel) -> None:
    pauses: list[float] = []
    endpoint = dataclasses.replace(ENDPOINT, calls_per_second=2.0)
    client = Client(endpoint, clock=lambda: panel.now, pause=pauses.append)
    panel.says("server", listing("server"))

    for _ in range(3):
        client.rows("server")

    assert pauses == [0.5, 1.0]
    assert PACE_PATIENCE_SECONDS == 5.0


def test_ten_thousand_rows_are_read_quickly(panel: Panel) -> None:
    row = "".join(f"<f{at}>value {at}</f{at}>" for at in range(20))
    panel.says("server", listing("server", *[f"<id>{at}</id>{row}" for at in range(10_000)]))
    began = time.monotonic()

    assert len(panel.client().rows("server")) == 10_000
    assert time.monotonic() - began < 5.0
