"""The auditor's rules where a fleet can't show them one by one: cut rows, spellings, groups, work under way."""

from __future__ import annotations

from dataclasses import replace

import pytest

from provisioner.domain.audit import Booked, BookedAccount, Books, FindingKind, Shown, audit
from provisioner.domain.installation import Placed, Serials
from provisioner.domain.server import (
    FREE_MARKER,
    AddressRow,
    Family,
    ListedServer,
    RowRef,
    ServerReading,
    ServerRef,
    User,
    UserRef,
)
from provisioner.domain.states import ClaimState, ServiceState

ADMIN = UserRef("5")
CUSTOMER = UserRef("31")
NAME = "0a1b2c3d"


def listed(ref: str = "101", **facts: object) -> ListedServer:
    plain = ListedServer(ServerRef(ref), f"R{ref}", "T", FREE_MARKER, f"192.0.2.{ref[-2:].lstrip('0') or '0'}", "")
    return replace(plain, **facts)  # type: ignore[arg-type]


def read(ref: str = "101", *ips: str, **facts: object) -> ServerReading:
    rows = tuple(
        AddressRow(RowRef(str(n)), ip, "", Family.IPV6 if ":" in ip else Family.IPV4, main=n == 0)
        for n, ip in enumerate(ips)
    )
    plain = ServerReading(ServerRef(ref), None, "", disabled=False, faulty=False, addresses=rows, links=())
    return replace(plain, **facts)  # type: ignore[arg-type]


def books(*booked: Booked, **facts: object) -> Books:
    plain = Books(
        "dc1", NAME, ADMIN, "bill_admin", {one.server: one for one in booked}, frozenset(), (), frozenset(),
        Serials(100, {}),
    )  # fmt: skip
    return replace(plain, **facts)  # type: ignore[arg-type]


def sold(ref: str = "101", **facts: object) -> Booked:
    plain = Booked(7, ServerRef(ref), ClaimState.HANDED, "service ord-1 of p", ServiceState.ACTIVE, customer=CUSTOMER)
    return replace(plain, **facts)  # type: ignore[arg-type]


def kinds(shown: Shown, known: Books) -> list[tuple[FindingKind, str]]:
    return [(one.kind, one.server) for one in audit(shown, known)]


def test_a_service_suspended_after_its_links_were_left_out_is_not_judged_by_them() -> None:
    known = books(sold(service_state=ServiceState.SUSPENDED))
    reading = read(owner=CUSTOMER, links=None)

    assert kinds(Shown((listed(),), {ServerRef("101"): reading}, shows_ports=True), known) == []


def test_three_rows_of_one_machine_are_one_finding_whatever_they_share() -> None:
    fleet = (
        listed("101", mac="02:00:5E:00:00:01"),
        listed("102", mac="02-00-5e-00-00-01", ip="192.0.2.77"),
        listed("103", ip="192.0.2.77"),
        listed("104", mac="00:00:00:00:00:00"),
        listed("105", mac="00:00:00:00:00:00"),
    )

    (found,) = audit(Shown(fleet), books())

    assert (found.kind, found.key) == (FindingKind.ONE_MACHINE, "101+102+103")
    assert "192.0.2.77" in found.evidence
    assert "02:00:5e:00:00:01" in found.evidence


def test_a_mac_that_only_the_form_shows_tells_as_well() -> None:
    mac = {"mac": "02:00:5e:00:00:01"}
    fleet = Shown((listed("101"), listed("102")), {ServerRef(r): read(r, **mac) for r in ("101", "102")})

    assert kinds(fleet, books()) == [(FindingKind.ONE_MACHINE, "101")]


def test_addresses_are_compared_not_spelt() -> None:
    shown = Shown((listed(owner="x"),), {ServerRef("101"): read("101", "2001:DB8:0::1", owner=CUSTOMER)})

    assert kinds(shown, books(sold(addresses=("2001:db8::1",)))) == []


def test_a_server_that_came_with_its_customer_has_no_address_in_our_books() -> None:
    shown = Shown((listed(owner="x"),), {ServerRef("101"): read("101", "192.0.2.9", owner=CUSTOMER)})

    assert kinds(shown, books(sold(addresses=()))) == []


@pytest.mark.parametrize("facts", [{"busy": frozenset({ServerRef("101")})}, {}])
def test_what_is_worked_on_is_not_judged(facts: dict[str, object]) -> None:
    found = kinds(Shown((listed(owner="bill_admin"),)), books(**facts))

    assert found == ([] if facts else [(FindingKind.UNCLAIMED, "101")])


def test_work_under_way_does_not_hide_that_the_database_went_back() -> None:
    shown = Shown((listed(),), {ServerRef("101"): read(notes=f"provisioner {NAME} claim 101")})

    assert kinds(shown, books(busy=frozenset({ServerRef("101")}))) == [(FindingKind.WENT_BACK, "101")]


def test_a_row_that_cant_be_believed_is_not_judged_and_one_without_an_id_calls_nobody_gone() -> None:
    ill = listed("102", owner="bill_admin", ill="no type")
    nameless = listed("", ill="the row has no id")

    assert kinds(Shown((ill,)), books()) == []
    assert kinds(Shown((ill,)), books(sold("101"))) == [(FindingKind.SERVER_GONE, "101")]
    assert kinds(Shown((ill, nameless)), books(sold("101"))) == []


@pytest.mark.parametrize(
    ("owner", "found"), [("ivanov", False), ("31", False), ("bill_admin", True), ("petrov", True), ("", True)]
)
def test_a_quick_look_knows_an_owner_by_login_or_id(owner: str, *, found: bool) -> None:
    account = BookedAccount(CUSTOMER, "ivanov", made_by_us=True, in_service=True)

    seen = kinds(Shown((listed(owner=owner),)), books(sold(), accounts=(account,)))

    assert seen == ([(FindingKind.OWNER_DIFFERS, "101")] if found else [])


@pytest.mark.parametrize("state", [ClaimState.HELD, ClaimState.RELEASING])
@pytest.mark.parametrize(("owner", "wrong"), [(None, False), (ADMIN, False), (CUSTOMER, False), (UserRef("9"), True)])
def test_a_claim_on_its_way_may_be_nobodys_ours_or_the_customers(
    state: ClaimState, owner: UserRef | None, *, wrong: bool
) -> None:
    shown = Shown((listed(),), {ServerRef("101"): read(owner=owner)})

    assert bool(audit(shown, books(sold(state=state)))) is wrong


def test_of_a_customer_whose_user_is_not_known_no_owner_is_wrong() -> None:
    shown = Shown((listed(),), {ServerRef("101"): read(owner=UserRef("9"))})

    assert kinds(shown, books(sold(customer=None))) == []


@pytest.mark.parametrize(
    ("account", "users", "found"),
    [
        (BookedAccount(CUSTOMER, "i", made_by_us=True, in_service=False), (CUSTOMER,), True),
        (BookedAccount(CUSTOMER, "i", made_by_us=True, in_service=False), (), False),  # deleted by hand
        (BookedAccount(CUSTOMER, "i", made_by_us=True, in_service=True), (CUSTOMER,), False),
        (BookedAccount(CUSTOMER, "i", made_by_us=False, in_service=False), (CUSTOMER,), False),
        (BookedAccount(ADMIN, "i", made_by_us=True, in_service=False), (ADMIN,), False),  # owns server 101
    ],
)
def test_an_account_is_unused_when_it_is_ours_alone_and_owns_nothing(
    account: BookedAccount, users: tuple[UserRef, ...], *, found: bool
) -> None:
    there = tuple(User(ref, "i", administrator=False) for ref in users)
    shown = Shown((listed(),), {ServerRef("101"): read(owner=ADMIN)}, there)

    seen = audit(shown, books(accounts=(account,), busy=frozenset({ServerRef("101")})))

    assert [one.key for one in seen] == ([CUSTOMER] if found else [])


def test_a_disabled_server_that_a_close_left_or_that_says_why_is_no_finding() -> None:
    fleet = (
        listed("101", disabled=True),
        listed("102", disabled=True, domain="x.example.net", faulty=True),
        listed("103", disabled=True, domain="x.example.net", blocked=True),
        listed("104", disabled=True, domain="x.example.net", owner="somebody"),
        listed("105", disabled=True, domain="x.example.net"),
        listed("106", disabled=True, diagnosing=True),
    )

    assert kinds(Shown(fleet), books()) == [(FindingKind.DISABLED_UNRECORDED, "105")]


def test_evidence_of_a_claim_names_where_our_books_have_it() -> None:
    serials = Serials(100, {9: Placed("dc2", ServerRef("55"))})
    shown = Shown((listed(),), {ServerRef("101"): read(notes=f"provisioner {NAME} claim 9")})

    (found,) = audit(shown, books(serials=serials))

    assert "server 55 of dc2" in found.evidence
    assert found.mend == ("provisioner audit --after-restore",)
