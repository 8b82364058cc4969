"""May a server be sold: each condition bars alone, `disabled` does not, and one machine is never sold twice."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from provisioner.domain.server import ListedServer, Power, ServerRef
from provisioner.domain.stock import bars, sentence, trouble, twins
from tests.builders import a_listed_server


def test_a_free_server_may_be_sold() -> None:
    assert bars(a_listed_server()) == []


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"owner": "ivanov"}, "owner"),
        ({"owner": "0"}, "owner"),
        ({"faulty": True}, "faulty"),
        ({"domain": "srv1.example.net"}, "srv1.example.net"),
        ({"domain": ""}, "empty"),
        ({"domain": "srv1.free.ds"}, "srv1.free.ds"),
        ({"blocked": True}, "blocked"),
        ({"diagnosing": True}, "diagnos"),
        ({"installing": True}, "install"),
        ({"ill": "no type"}, "no type"),
    ],
)
def test_each_condition_bars_alone_and_says_so(changes: dict[str, Any], word: str) -> None:
    found = bars(a_listed_server(**changes))

    assert len(found) == 1
    assert word in found[0]


def test_all_that_bars_is_told_at_once() -> None:
    server = a_listed_server(owner="ivanov", faulty=True, domain="x.example.net", blocked=True)

    assert len(bars(server)) == 4


def test_an_ill_row_tells_only_that_it_cant_be_believed() -> None:
    assert bars(a_listed_server(ill="no id", owner="ivanov", faulty=True)) == ["no id"]


@pytest.mark.parametrize("domain", ["FREE.DS", "free.ds.", "Free.Ds"])
def test_the_marker_counts_in_any_case_and_with_a_final_dot(domain: str) -> None:
    assert bars(a_listed_server(domain=domain)) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"disabled": True},  # close disables, open enables
        {"power": Power.ON},
        {"power": Power.OFF},
        {"power": Power.UNKNOWN},
        {"power_error": True},
        {"operation_failed": True},
    ],
)
def test_what_only_speaks_against_a_server_does_not_bar_it(changes: dict[str, Any]) -> None:
    assert bars(a_listed_server(**changes)) == []


@pytest.mark.parametrize("changes", [{"power_error": True}, {"operation_failed": True}, {"power": Power.UNKNOWN}])
def test_a_server_with_trouble_is_tried_last(changes: dict[str, Any]) -> None:
    assert trouble(a_listed_server(**changes)) > trouble(a_listed_server())


def test_more_trouble_counts_more() -> None:
    one, two = a_listed_server(power_error=True), a_listed_server(power_error=True, operation_failed=True)

    assert trouble(two) > trouble(one)


def listed(ref: str, **changes: Any) -> ListedServer:
    own = {"mac": f"02:00:00:00:00:{ref:0>2}", "ip": f"10.0.0.{ref}"}
    return a_listed_server(ref=ServerRef(ref), **{**own, **changes})


@pytest.mark.parametrize("shared", [{"mac": "02:00:5E:00:00:01"}, {"ip": "10.9.9.9"}])
def test_a_free_row_of_an_owned_machine_is_not_sold(shared: dict[str, str]) -> None:
    servers = [listed("1", owner="ivanov", **shared), listed("2", **shared), listed("3")]

    assert twins(servers) == {"2"}


def test_a_mac_is_the_same_in_any_case() -> None:
    servers = [listed("1", owner="ivanov", mac="02:00:5e:00:00:0a"), listed("2", mac="02:00:5E:00:00:0A")]

    assert twins(servers) == {"2"}


def test_two_rows_without_mac_and_address_are_not_one_machine() -> None:
    servers = [listed("1", owner="ivanov", mac="", ip=""), listed("2", mac="", ip="")]

    assert twins(servers) == set()


def test_rows_of_one_free_machine_do_not_bar_each_other() -> None:
    assert twins([listed("1", ip="10.9.9.9"), listed("2", ip="10.9.9.9")]) == set()


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["", "a", "b"]), st.sampled_from(["", "x", "y"]), st.booleans()), max_size=6))
def test_a_row_is_barred_exactly_when_an_owned_one_shares_a_mark(rows: list[tuple[str, str, bool]]) -> None:
    servers = [
        listed(str(number), mac=mac, ip=ip, owner="ivanov" if owned else "")
        for number, (mac, ip, owned) in enumerate(rows)
    ]
    expected = {
        free.ref
        for free in servers
        for other in servers
        if not free.owner and other.owner
        if (free.mac and free.mac == other.mac) or (free.ip and free.ip == other.ip)
    }

    assert twins(servers) == expected


def test_a_server_compares_by_its_id_byte_for_byte() -> None:
    servers = [listed("69", owner="ivanov", ip="10.9.9.9"), replace(listed("70", ip="10.9.9.9"), ref=ServerRef("069"))]

    assert twins(servers) == {"069"}


def test_reasons_become_one_line() -> None:
    assert sentence(["it is blocked", "it has an owner"]) == "it is blocked; it has an owner"
