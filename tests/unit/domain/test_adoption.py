"""A file of sold servers: what can't be read is refused whole, and each line is judged by what it contradicts."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from typing import Any

import pytest

from provisioner.domain.adoption import (
    BYTES_MOST,
    NEEDED,
    Bound,
    Fleet,
    KnownAccount,
    KnownService,
    Ledger,
    Line,
    Verdict,
    draft,
    judge,
    parse,
)
from provisioner.domain.server import FREE_MARKER, ListedServer, ServerRef, User, UserRef
from provisioner.domain.service import Package
from provisioner.domain.states import ClaimState, ServiceState
from provisioner.errors import Invalid

HEAD = ",".join(NEEDED).encode()
ALICE, BOB = User(UserRef("11"), "alice", administrator=False), User(UserRef("12"), "bob", administrator=False)
ADMIN = User(UserRef("5"), "bill_admin", administrator=True)


def listed(ref: str, owner: str, **changes: Any) -> ListedServer:
    server = ListedServer(ServerRef(ref), f"A{ref}", "HP", f"s{ref}.example.net", f"192.0.2.{ref}", owner)
    return replace(server, **changes)


FLEET = Fleet(
    {
        server.ref: server
        for server in (listed("1", "alice"), listed("2", "12"), listed("3", "alice", disabled=True), listed("4", ""))
    },
    (ALICE, BOB, ADMIN),
)
LEDGER = Ledger("whmcs", {"ds": Package("ds", "HP", connections={"dc1": 0})}, {}, {}, {})


def a_line(number: int = 2, server: str = "1", **changes: Any) -> Line:
    line = Line(number, "dc1", ServerRef(server), "ds", f"ord-{server}", "c-1", "alice")
    return replace(line, **changes)


def one(line: Line, fleet: Fleet = FLEET, ledger: Ledger = LEDGER) -> tuple[Verdict, str]:
    (found,) = judge([line], {"dc1": fleet}, ledger)
    return found.verdict, found.says


# --- the file -----------------------------------------------------------------------------------------------------


def test_lines_are_read_with_their_numbers_and_without_blanks() -> None:
    text = b"login, server,connection,package,external_ref,customer_ref,os\n\nalice, 069 ,dc1,ds,ord-1,c-1,\n,,,,,,\n"

    assert parse(text) == (Line(3, "dc1", ServerRef("069"), "ds", "ord-1", "c-1", "alice"),)


def test_a_byte_order_mark_and_line_ends_of_windows_are_taken() -> None:
    (found,) = parse(b"\xef\xbb\xbf" + HEAD + b'\r\ndc1,1,ds,ord-1,"c, 1",\xd0\xb8\xd0\xb2\xd0\xb0\xd0\xbd\r\n')

    assert (found.customer_ref, found.login) == ("c, 1", "иван")


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "line 1: the file is empty; its first line is connection,server,"),
        (b" \n\n", "line 1: the file is empty"),
        (HEAD + b"\n", "line 2, column connection: the file has no line but that of the columns"),
        (b"x" * (BYTES_MOST + 1), "the file is larger than 4 MiB; cut it"),
        (HEAD.replace(b"login", b"user") + b"\n", "line 1, column 6: no column is called 'user'; there are connection"),
        (HEAD.replace(b",", b";") + b"\n", "line 1, column 1: no column is called 'connection;server;package;external"),
        (HEAD + b",login\n", "line 1, column 7: login is there twice"),
        (HEAD.replace(b",login", b"") + b"\n", "line 1, column 6: login is missing"),
        (HEAD + b"\ndc1,1,ds,ord-1,c-1\n", "line 2, column 6: it has 5 values for 6 columns"),
        (HEAD + b"\ndc1,1,ds,ord-1,c-1,a,b\n", "line 2, column 7: it has 7 values for 6 columns"),
        (HEAD + b"\ndc1,1,ds,ord-1,c-1,\xe9ric\n", "line 2, column 20: it is not UTF-8; save the file as UTF-8"),
        (b"\xef\xbb\xbf" + HEAD + b"\n\xd0\xb8\xff", "line 2, column 2: it is not UTF-8"),
        (HEAD + b"\ndc1,1\x00,ds,ord-1,c-1,a\n", "line 2, column 6: a NUL character; save the file as text"),
        (HEAD + b'\ndc1,1,ds,ord-1,c-1,"a\n', "line 2: it is no line of a CSV file"),
        (HEAD + b'\ndc1,1,ds,ord-1,c-1,"a\nb"\n', "line 3, column login: it holds a line break"),
        (HEAD + b"\ndc1,1,ds,ord-1,c-1," + b"a" * 201 + b"\n", "line 2, column login: login has 201 characters"),
        (HEAD + b"\ndc1,1,ds,o,c,a\ndc1,2,ds,p,c,a\ndc1,1,ds,o,c,a\n",
         "line 4, column connection: it says the same as line 2"),
    ],
)  # fmt: skip
def test_a_file_that_cant_be_read_whole_is_refused_with_one_sentence(data: bytes, sentence: str) -> None:
    with pytest.raises(Invalid) as refused:
        parse(data)

    assert str(refused.value).startswith(sentence)
    assert "\n" not in str(refused.value)


# --- each line ----------------------------------------------------------------------------------------------------


def test_a_line_that_nothing_contradicts_is_adopted_with_what_the_dcim_shows() -> None:
    (found,) = judge([a_line()], {"dc1": FLEET}, LEDGER)

    assert found.verdict is Verdict.ADOPT
    assert found.adoption is not None
    assert (found.adoption.user, found.adoption.hostname, found.adoption.ip) == ("11", "s1.example.net", "192.0.2.1")
    assert found.says == "server 1 of dc1, s1.example.net, for user 11: active"


def test_a_list_may_show_the_owner_as_an_id() -> None:
    assert one(a_line(server="2", login="bob"))[0] is Verdict.ADOPT


def test_a_disabled_server_is_adopted_as_suspended() -> None:
    (found,) = judge([a_line(server="3")], {"dc1": FLEET}, LEDGER)

    assert found.adoption is not None
    assert found.adoption.suspended
    assert "suspended" in found.says


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"connection": "dc9"}, "there is no connection 'dc9'"),
        ({"server": "9"}, "server '9' is not in the list of dc1"),
        ({"server": "01"}, "server '01' is not in the list of dc1"),
        ({"server": ""}, "server is empty"),
        ({"package": "none"}, "there is no package 'none'"),
        ({"customer_ref": ""}, "customer_ref is empty"),
        ({"external_ref": "-1"}, "external_ref '-1' is no reference: letters, digits and ._:@+=,- are taken"),
        ({"login": "carol"}, "the DCIM has no user 'carol'"),
        ({"login": "bob"}, "the server's owner is alice, not bob"),
        ({"server": "4"}, "the server has no owner"),
        ({"hostname": "free.ds"}, "hostname free.ds marks free servers; choose another"),
    ],
)  # fmt: skip
def test_what_contradicts_is_said(changes: dict[str, Any], sentence: str) -> None:
    assert one(a_line(**changes)) == (Verdict.CONTRADICTS, sentence)


@pytest.mark.parametrize(
    ("server", "login", "sentence"),
    [
        (listed("1", "alice", server_type="DELL"), "alice", "the server is a DELL, the package sells HP"),
        (listed("1", "alice", ill="its row lacks a name"), "alice", "server 1 can't be believed: its row lacks a name"),
        (listed("1", "bill_admin"), "bill_admin", "user bill_admin is an administrator of the DCIM, no customer"),
        (listed("1", "77"), "alice", "the server's owner is 77, not alice"),
    ],
)
def test_what_the_list_shows_may_contradict(server: ListedServer, login: str, sentence: str) -> None:
    fleet = replace(FLEET, servers={server.ref: server})

    assert one(a_line(login=login), fleet) == (Verdict.CONTRADICTS, sentence)


def test_a_domain_that_names_no_host_asks_for_a_hostname() -> None:
    fleet = replace(FLEET, servers={ServerRef("1"): listed("1", "alice", domain=FREE_MARKER)})
    verdict, says = one(a_line(), fleet)

    assert (verdict, says.endswith("it is the server's domain, so give a hostname")) == (Verdict.CONTRADICTS, True)
    assert one(a_line(hostname="a.example.net"), fleet)[0] is Verdict.ADOPT


def test_an_owner_that_may_be_two_users_is_nobodys() -> None:
    fleet = Fleet({ServerRef("1"): listed("1", "11")}, (ALICE, replace(BOB, login="11")))

    assert one(a_line(), fleet) == (
        Verdict.CONTRADICTS,
        "owner '11' is the login of one user and the id of another",
    )


@pytest.mark.parametrize(
    ("server", "changes", "sentence"),
    [
        ("1", {"external_ref": "o-2"}, "two services on one server: also on line {}"),
        ("1", {"package": "big"}, "two services on one server: also on line {}"),
        ("3", {"external_ref": "ord-1"}, "external_ref stands on two servers: also on line {}"),
        ("3", {"customer_ref": "c-2"}, "the login is another customer's on line {}"),
        ("2", {"login": "bob"}, "the customer has another login on line {}"),
    ],
)
def test_of_two_lines_that_contradict_neither_is_believed(server: str, changes: dict[str, str], sentence: str) -> None:
    ledger = replace(LEDGER, packages={**LEDGER.packages, "big": replace(LEDGER.packages["ds"], name="big")})
    found = judge([a_line(), a_line(3, server, **changes)], {"dc1": FLEET}, ledger)

    assert [(one.verdict, one.says) for one in found] == [
        (Verdict.CONTRADICTS, sentence.format(line)) for line in (3, 2)
    ]


def test_a_wrong_login_bars_its_own_line_alone() -> None:
    found = judge([a_line(), a_line(3, "2", login="alice", customer_ref="c-2")], {"dc1": FLEET}, LEDGER)

    assert [one.verdict for one in found] == [Verdict.ADOPT, Verdict.CONTRADICTS]
    assert found[1].says == "the server's owner is bob, not alice"


KNOWN = KnownService(ServiceState.ACTIVE, "ds", "c-1", "alice", "dc1", "1")


@pytest.mark.parametrize(
    ("known", "sentence"),
    [
        (replace(KNOWN, server="7"), "external_ref ord-1 is in our books with server 7 of dc1"),
        (replace(KNOWN, connection="", server=""), "external_ref ord-1 is in our books with no server yet"),
        (replace(KNOWN, state=ServiceState.CLOSED), "external_ref ord-1 is in our books as closed"),
        (replace(KNOWN, package="big"), "external_ref ord-1 is in our books with package big"),
        (replace(KNOWN, customer_ref="c-7"), "external_ref ord-1 is in our books with customer_ref c-7"),
    ],
)
def test_a_reference_that_is_in_our_books_otherwise_contradicts(known: KnownService, sentence: str) -> None:
    assert one(a_line(), ledger=replace(LEDGER, services={"ord-1": known})) == (Verdict.CONTRADICTS, sentence)


def test_what_was_adopted_says_so_also_when_its_dcim_is_away_or_it_changed_hands() -> None:
    ledger = replace(
        LEDGER, services={"ord-1": KNOWN}, bound={("dc1", "1"): Bound(ClaimState.HANDED, "whmcs", "ord-1")}
    )

    assert one(a_line(), ledger=ledger)[0] is Verdict.ALREADY
    assert one(a_line(), Fleet(error="away"), ledger)[0] is Verdict.ALREADY
    assert one(a_line(), replace(FLEET, servers={}), ledger)[0] is Verdict.ALREADY


def test_a_server_that_we_hold_is_not_adopted_again() -> None:
    ours = replace(LEDGER, bound={("dc1", "1"): Bound(ClaimState.HANDED, "whmcs", "ord-9")})
    nobodys = replace(LEDGER, bound={("dc1", "1"): Bound(ClaimState.QUARANTINED)})

    assert one(a_line(), ledger=ours)[1] == "the server is bound already: to service ord-9 of whmcs (handed)"
    assert one(a_line(), ledger=nobodys)[1] == "the server is bound already: to nobody's service (quarantined)"


@pytest.mark.parametrize(
    ("account", "sentence"),
    [
        (KnownAccount("whmcs", "c-2", "alice", UserRef("11")), "in our books the login is customer c-2's of whmcs"),
        (KnownAccount("bill", "c-1", "alice", UserRef("11")), "in our books the login is customer c-1's of bill"),
        (KnownAccount("whmcs", "c-1", "al", UserRef("11")), "in our books the customer's login there is al"),
        (KnownAccount("whmcs", "c-1", "alice", None),
         "an order of this customer is creating its user just now; import the line later"),
    ],
)  # fmt: skip
def test_a_login_belongs_to_one_customer(account: KnownAccount, sentence: str) -> None:
    assert one(a_line(), ledger=replace(LEDGER, accounts={"dc1": [account]})) == (Verdict.CONTRADICTS, sentence)


def test_a_dcim_that_could_not_be_read_contradicts_nothing() -> None:
    assert one(a_line(), Fleet(error="dc1 is away")) == (Verdict.UNREAD, "dc1 is away")


# --- a file to begin with -----------------------------------------------------------------------------------------


def test_a_draft_holds_what_customers_own_and_we_do_not_know() -> None:
    servers = (
        *FLEET.servers.values(),
        listed("6", "bill_admin"),
        listed("7", "gone"),
        listed("8", "bob", server_type="X"),
    )
    fleet = replace(FLEET, servers={server.ref: server for server in servers})
    text = draft("dc1", fleet, replace(LEDGER, bound={("dc1", "3"): Bound(ClaimState.HANDED)}))

    found = [
        (row["server"], row["package"], row["login"], row["hostname"]) for row in csv.DictReader(io.StringIO(text))
    ]
    assert found == [
        ("1", "ds", "alice", "s1.example.net"), ("2", "ds", "bob", "s2.example.net"),
        ("8", "", "bob", "s8.example.net"),
    ]  # fmt: skip


def test_a_draft_is_a_file_that_can_be_read_and_lacks_what_billing_knows() -> None:
    found = judge(parse(draft("dc1", FLEET, LEDGER).encode()), {"dc1": FLEET}, LEDGER)

    assert {one.says for one in found} == {"external_ref is empty; customer_ref is empty"}
